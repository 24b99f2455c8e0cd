//! `landfall inspect`: the page as a browser shows it.
//!
//! Owns finding and driving a browser without a window. Where there is none the test says so and passes, unless
//! `LANDFALL_REQUIRE_BROWSER` is set. `LANDFALL_BROWSER` names one that is not on the path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[cfg(unix)]
use landfall::DataStore;

#[cfg(unix)]
use crate::browser::Browser;
use crate::logs;
use crate::support::landfall::landfall;

#[cfg(unix)]
landfall::inline_schema!("type Note @model { text: String! }");

/// A browser that can be run without a window.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("LANDFALL_BROWSER").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file());
    let found = named.or(on_path);
    if found.is_none() {
        let required = std::env::var_os("LANDFALL_REQUIRE_BROWSER").is_some();
        assert!(
            !required,
            "LANDFALL_REQUIRE_BROWSER is set and there is no browser: {names:?}"
        );
        eprintln!(
            "SKIPPED: there is no browser ({names:?}); the page of `landfall inspect` was not looked at"
        );
    }
    found
}

/// The document as the browser has it after its scripts ran.
fn shown(browser: &Path, address: &str) -> String {
    let profile = tempfile::tempdir().expect("a temporary folder can be made");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .stderr(Stdio::null())
        .output()
        .expect("the browser runs");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        page.contains("data-ready=\"true\""),
        "the scripts of the page did not run to their end:\n{page}"
    );
    // The data itself is in the page as well, and says nothing of what is shown.
    let (before, rest) = page
        .split_once("<script type=\"application/json\"")
        .expect("the page has its data");
    before.to_owned() + rest.split_once("</script>").expect("the data ends").1
}

#[test]
fn the_page_shows_the_store_as_it_was_at_any_entry() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("page.html");
    let output = landfall()
        .arg("inspect")
        .arg(logs::example())
        .arg("--html")
        .arg(&file)
        .output()
        .expect("the command runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = std::fs::read_to_string(&file).expect("it was written");
    for elsewhere in ["http://", "https://"] {
        assert!(!page.contains(elsewhere), "the page would fetch {elsewhere}");
    }
    let Some(browser) = browser() else { return };
    let at = |hash: &str| shown(&browser, &format!("file://{}#{hash}", file.display()));
    let newest = at("");
    assert!(newest.contains("after e13"), "{newest}");
    assert!(
        newest.contains("Post (3)") && newest.contains("From elsewhere"),
        "{newest}"
    );
    assert!(newest.contains("parked"), "the refused change waits: {newest}");
    let early = at("e3/Post%2Fp1");
    assert!(
        early.contains("Post (1)") && early.contains("after e3"),
        "{early}"
    );
    assert!(!early.contains("<td>parked</td>"), "{early}");
    assert!(early.contains("in flight"), "the create was on its way: {early}");
    assert!(
        early.contains("The conflict handler decided to send title"),
        "the record's story is told: {early}"
    );
}

/// A page that is served. Ends with the test.
struct Served {
    program: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        self.program.kill().unwrap_or(());
        self.program.wait().map(drop).unwrap_or(());
    }
}

fn serve(path: &Path) -> Served {
    let mut command = landfall();
    command.arg("inspect").arg(path).stdout(Stdio::piped());
    let mut program = command.spawn().expect("the command runs");
    let output = program.stdout.take().expect("its output is read here");
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says where it is");
    let address = line
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(address, _)| address.to_owned())
        .unwrap_or_else(|| panic!("no address in {line:?}"));
    Served { program, address }
}

impl Served {
    fn ask(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

#[test]
fn the_page_is_served_to_this_machine_and_to_no_other_site() {
    let served = serve(&logs::example());
    let address = served.address.clone();
    let ask = |host: &str| served.ask("/", host);
    let page = ask(&address);
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("Landfall at last"),
        "{page}"
    );
    let elsewhere = ask("evil.example");
    assert!(
        elsewhere.starts_with("HTTP/1.1 403") && !elsewhere.contains("Landfall at last"),
        "{elsewhere}"
    );
    let Some(browser) = browser() else { return };
    assert!(shown(&browser, &format!("http://{address}/")).contains("Post (3)"));
}

#[cfg(unix)]
async fn note(store: &DataStore, text: &str) {
    let note = Note::builder().text(text).build().expect("complete");
    store.save(note).await.expect("saved");
}

#[cfg(unix)]
#[tokio::test]
async fn the_page_follows_a_store_that_another_process_has_open() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let store = DataStore::builder(schema())
        .directory(folder.path())
        .open()
        .await
        .expect("it can be made");
    note(&store, "before the page").await;
    let served = serve(folder.path());
    let ask = |after: u64| served.ask(&format!("/data?after={after}"), &served.address);
    let newest = || store.history().expect("it is open").bounds().1.0;
    let page = served.ask("/", &served.address);
    assert!(page.contains("before the page"), "{page}");
    assert!(ask(newest()).starts_with("HTTP/1.1 204"), "nothing was added");
    let seen = newest();
    let browser = Browser::start();
    if let Some(browser) = &browser {
        browser.open(&format!("http://{}/", served.address));
        browser.wait(&format!("document.body.dataset.ready && document.getElementById('position').textContent.includes('e{seen}')"));
    }
    note(&store, "while it is open").await;
    if let Some(browser) = &browser {
        let records = "document.getElementById('records').textContent";
        browser.wait(&format!("{records}.includes('while it is open')"));
        browser.wait("document.getElementById('live').textContent.startsWith('Follows')");
        // Whoever looks at an older entry stays there, and is told.
        browser.click("back");
        note(&store, "behind the back").await;
        browser.wait("document.getElementById('live').textContent.includes('has gone on by 1 ')");
        let shown = browser.run(&format!("return {records}"));
        assert!(
            !shown.as_str().expect("a text").contains("behind the back"),
            "{shown}"
        );
        browser.run("document.getElementById('slider').value = 1e9; document.getElementById('slider').dispatchEvent(new Event('input'))");
        browser.wait(&format!("{records}.includes('behind the back')"));
        let complaints = browser.complaints();
        let wrong = |text: &&String| text.contains("Content Security Policy") || text.contains("Uncaught");
        assert_eq!(complaints.iter().find(wrong), None, "{complaints:#?}");
    }
    // Asked as a page asks that has seen less: until then nothing more is collected than that costs in rest.
    let answer = loop {
        let answer = ask(seen);
        if answer.contains("while it is open") {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        served
            .ask("/data?after=0", "evil.example")
            .starts_with("HTTP/1.1 403")
    );
    // The store is neither locked nor changed by being looked at.
    note(&store, "at the end").await;
    assert!(
        store
            .history()
            .expect("it is open")
            .check()
            .expect("it can be read")
            .is_sound()
    );
    store.close().await;
    let again = DataStore::builder(schema()).directory(folder.path()).open().await;
    again.expect("nobody else holds it").close().await;
}

/// Clicks the first button of that text within an element.
#[cfg(unix)]
fn press(browser: &Browser, within: &str, text: &str) {
    let pressed = browser.run(&format!(
        "const found = [...document.querySelectorAll('#{within} button')].find((button) => button.textContent.startsWith('{text}')); \
         if (found) found.click(); return Boolean(found)"
    ));
    assert_eq!(pressed, true, "there is no `{text}` in #{within}");
}

#[cfg(unix)]
fn shown_in(browser: &Browser, element: &str) -> String {
    let shown = browser.run(&format!(
        "return document.getElementById('{element}').textContent"
    ));
    shown.as_str().expect("a text").to_owned()
}

/// The words of all tables that stand on more than one line, but for those that are too long for a column.
#[cfg(unix)]
const BROKEN_WORDS: &str = "
    const broken = [];
    for (const cell of document.querySelectorAll('th, td')) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/[A-Za-z0-9]{2,20}/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
                if (lines.size > 1) broken.push(word[0]);
            }
        }
    }
    return broken;";

/// Who won which field, as somebody finds out who sees the page for the first time.
#[cfg(unix)]
#[test]
fn a_conflict_is_seen_from_both_sides_by_clicking() {
    let served = serve(&logs::example());
    let Some(browser) = Browser::start() else { return };
    browser.open(&format!("http://{}/", served.address));
    browser.wait("document.body.dataset.ready");
    press(&browser, "entries", "e7 ");
    browser.wait("document.querySelector('#entry .sides')");
    let told = shown_in(&browser, "entry");
    for sentence in [
        "This store made its update on version 1 of the record.",
        "Somebody else changed the record meanwhile and was first at the server, which has version 2 since.",
        "This store won title.",
        "The server won rating.",
    ] {
        assert!(told.contains(sentence), "`{sentence}` is missing: {told}");
    }
    let rows = browser.run(
        "return [...document.querySelectorAll('#entry .sides tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))",
    );
    assert_eq!(
        rows,
        serde_json::json!([
            [
                "title",
                "Landfall",
                "Landfall at last",
                "Landfall!",
                "this store",
                "Landfall at last"
            ],
            ["rating", "3", "3", "5", "the server", "5"],
        ])
    );
    let winners =
        browser.run("return [...document.querySelectorAll('#entry .wins')].map((cell) => cell.textContent)");
    assert_eq!(winners, serde_json::json!(["Landfall at last", "5"]));
    assert_eq!(browser.run(BROKEN_WORDS), serde_json::json!([]));
    // To what it was because of, and from there to what that led to.
    press(&browser, "entry", "e5");
    browser.wait("document.getElementById('position').textContent.startsWith('after e5,')");
    assert!(!shown_in(&browser, "entry").contains("Both sides"));
    press(&browser, "entry", "e7");
    browser.wait("document.querySelector('#entry .sides')");
    assert_no_complaints(&browser);
}

#[cfg(unix)]
fn assert_no_complaints(browser: &Browser) {
    let complaints = browser.complaints();
    let wrong = |text: &&String| text.contains("Content Security Policy") || text.contains("Uncaught");
    assert_eq!(complaints.iter().find(wrong), None, "{complaints:#?}");
}

/// A recording that comes with the source.
fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/examples/counter.flight")
}

#[cfg(unix)]
#[test]
fn a_recording_is_looked_through_by_clicking() {
    let served = serve(&recording());
    let elsewhere = served.ask("/", "evil.example");
    assert!(elsewhere.starts_with("HTTP/1.1 403"), "{elsewhere}");
    let Some(browser) = Browser::start() else { return };
    browser.open(&format!("http://{}/", served.address));
    browser.wait("document.body.dataset.ready");
    let lanes = shown_in(&browser, "lanes");
    assert!(lanes.contains("StorageActor") && lanes.contains("Hub"), "{lanes}");
    assert!(shown_in(&browser, "notes").contains("events, written by"));
    let at = |event: &str| {
        browser.wait(&format!(
            "document.getElementById('position').textContent.startsWith('event {event},')"
        ));
    };
    // The write that the walk-through of the guide is about, and the commit that came of it.
    press(&browser, "lanes", "20");
    at("20");
    let event = shown_in(&browser, "event");
    assert!(
        event.contains("StorageActor, Write") && event.contains("seatsLeft"),
        "{event}"
    );
    browser.click("forth");
    at("21");
    browser.click("forth");
    at("22");
    let event = shown_in(&browser, "event");
    assert!(event.contains("It made e7 of the log"), "{event}");
    press(&browser, "commits", "event 13");
    at("13");
    let event = shown_in(&browser, "event");
    assert!(event.contains("It made e4 of the log"), "{event}");
    browser.click("back");
    at("12");
    // Reads and random numbers are left out until they are asked for.
    let rows = || {
        browser
            .run("return document.querySelectorAll('#lanes tbody tr').length")
            .as_u64()
    };
    let before = rows();
    browser.run("document.getElementById('filter').value = 'commit'; document.getElementById('filter').dispatchEvent(new Event('input'))");
    assert!(rows() < before, "{before:?}");
    assert!(!shown_in(&browser, "lanes").contains("Write"));
    browser.run("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))");
    browser.click("reads");
    assert!(rows() >= before, "{before:?}");
    browser.click("fault");
    browser.wait("document.getElementById('position').textContent === 'nothing went wrong'");
    assert_no_complaints(&browser);
}

fn inspected(path: &Path) -> String {
    let output = landfall().arg("inspect").arg(path).arg("--text").output();
    let output = output.expect("the command runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn without_a_terminal_the_newest_state_is_printed_as_text() {
    let text = inspected(&logs::example());
    for part in [
        "clash.lflog: e1 to e13",
        "e7 conflict Post/p1",
        "Post (3)",
        "p1  id=p1  title=Landfall at last",
        "Post/p2  e10 waits: create, parked",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
    let text = inspected(&recording());
    assert!(text.contains("StorageActor.Committed  e7 to e7"), "{text}");
    assert!(text.contains("what went wrong: 0"), "{text}");
}

/// Up, down, to a cause, to a record, out: and the terminal is as it was.
#[cfg(unix)]
#[test]
fn a_terminal_is_looked_through_by_keys_and_left_as_it_was() {
    use crate::support::terminal::Terminal;

    let mut command = landfall();
    command.arg("inspect").arg(logs::example()).arg("--text");
    let mut terminal = Terminal::open(command);
    terminal.shows("\u{1b}[?1049h");
    terminal.shows("after e13");
    for _ in 0..6 {
        terminal.types("k");
    }
    terminal.shows("after e7");
    terminal.shows("The server won rating.");
    terminal.types("c");
    terminal.shows("after e5");
    terminal.types("2");
    terminal.shows("* title: Landfall at last");
    terminal.types("4");
    terminal.shows("e5 waits: update, queued");
    terminal.types("/refused\r");
    terminal.shows("filter: refused");
    terminal.types("q");
    terminal.shows("\u{1b}[?25h");
    terminal.shows("\u{1b}[?1049l");
    assert!(terminal.ends().success());
}

/// Whoever ends the process from outside finds a terminal that shows what is typed.
#[cfg(unix)]
#[test]
fn a_terminal_is_left_as_it_was_by_a_process_that_is_asked_to_end() {
    use crate::support::terminal::Terminal;

    let mut command = landfall();
    command.arg("inspect").arg(logs::example()).arg("--text");
    let mut terminal = Terminal::open(command);
    assert!(terminal.takes_lines());
    terminal.shows("after e13");
    while terminal.takes_lines() {
        // The key is waited for in a thread of its own.
        std::thread::yield_now();
    }
    terminal.terminates();
    terminal.shows("\u{1b}[?1049l");
    assert!(terminal.ends().success());
    assert!(terminal.takes_lines());
}

/// As `head` does when it has enough: the pipe is closed before anything is written.
#[test]
fn whoever_stops_reading_the_text_ends_the_command_without_a_complaint() {
    for shown in [logs::example(), recording()] {
        let mut command = landfall();
        command.arg("inspect").arg(shown).arg("--text");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && told.is_empty(),
            "{}: {told}",
            output.status
        );
    }
}
