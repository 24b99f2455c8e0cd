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
