//! The page of `landfall serve --dev` in a real browser.
//!
//! Headless Chromium, driven through ChromeDriver's HTTP interface. Without Chromium the test is skipped, loudly; with
//! `LANDFALL_REQUIRE_BROWSER=1` it fails instead.
#![cfg(unix)]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// Fails the test if there is no browser, where that must not pass unnoticed.
const REQUIRE_VARIABLE: &str = "LANDFALL_REQUIRE_BROWSER";

/// Calls home and what needs more than a test machine has are switched off.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,800",
];

const QUERY_EDITOR: &str = ".graphiql-query-editor";
/// The editor of variables, or that of headers where those were chosen.
const OTHER_EDITOR: &str = ".graphiql-editor-tool .graphiql-editor:not(.hidden)";
const EXECUTE: &str = "button.graphiql-execute-button";

/// A browser with one tab.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; `None` if there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let installed = |program: &str| {
            let found = Command::new(program).arg("--version").output();
            found.is_ok_and(|output| output.status.success())
        };
        if !(installed("chromium") && installed("chromedriver")) {
            let required = env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
            assert!(
                !required,
                "{REQUIRE_VARIABLE} is set, and chromium and chromedriver are not installed"
            );
            eprintln!(
                "SKIPPED: chromium and chromedriver are not installed, so the page is not tested in a browser"
            );
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let lines = BufReader::new(driver.stdout.take().expect("it was asked for")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("successfully on port ")?;
                rest.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver says its port");
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let mut arguments: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        let options = json!({"binary": "/usr/bin/chromium", "args": arguments});
        let capabilities = json!({"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }});
        let opened = browser.ask("POST", "/session", &json!({"capabilities": capabilities}));
        let session = opened["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {opened}"));
        browser.session = session.to_owned();
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .expect("chromedriver reads");
        // The driver keeps the connection open whatever it is asked for, so the length says where the reply ends.
        let mut reply = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reply.read_line(&mut line).expect("chromedriver answers");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("lengths are numbers");
            }
        }
        let mut body = vec![0; length];
        reply.read_exact(&mut body).expect("chromedriver answers in full");
        let mut body: Value = serde_json::from_slice(&body).expect("chromedriver answers in JSON");
        body["value"].take()
    }

    pub(crate) fn open(&self, url: &str) {
        let answer = self.ask(
            "POST",
            &format!("/session/{}/url", self.session),
            &json!({"url": url}),
        );
        assert_eq!(answer, json!(null), "{url}");
    }

    /// Runs a script in the page; it answers by `return`.
    pub(crate) fn run(&self, script: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        let answer = self.ask("POST", &path, &json!({"script": script, "args": []}));
        assert!(answer.get("error").is_none(), "{script}: {answer}");
        answer
    }

    /// Waits until an expression of the page is true; the driver gives up after 30 seconds.
    pub(crate) fn wait(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const look = () => ({expression}) ? done(true) : requestAnimationFrame(look); look();"
        );
        let path = format!("/session/{}/execute/async", self.session);
        let answer = self.ask("POST", &path, &json!({"script": script, "args": []}));
        let text = || self.run("return document.body.innerText");
        assert_eq!(answer, json!(true), "{expression}\n{}", text());
    }

    pub(crate) fn click(&self, id: &str) {
        self.run(&format!("document.getElementById('{id}').click()"));
    }

    fn fill(&self, id: &str, text: &str) {
        let text = json!(text);
        self.run(&format!(
            "const field = document.getElementById('{id}'); field.value = {text}; field.dispatchEvent(new Event('input'));"
        ));
    }
}

/// What GraphiQL shows, by its own names.
impl Browser {
    /// Puts a text in the place of that of an editor.
    fn write(&self, editor: &str, text: &str) {
        let text = json!(text);
        self.wait(&format!("document.querySelector('{editor} .CodeMirror')"));
        self.run(&format!(
            "document.querySelector('{editor} .CodeMirror').CodeMirror.setValue({text})"
        ));
    }

    fn press(&self, selector: &str) {
        self.wait(&format!("document.querySelector('{selector}')"));
        self.run(&format!("document.querySelector('{selector}').click()"));
    }

    /// Runs a document in the editor.
    fn execute(&self, document: &str, variables: &str) {
        self.write(QUERY_EDITOR, document);
        self.write(OTHER_EDITOR, variables);
        self.press(EXECUTE);
    }

    /// Waits until the answer contains a text.
    fn wait_for_answer(&self, text: &str) {
        let answer = "document.querySelector('.graphiql-response .CodeMirror').CodeMirror.getValue()";
        self.wait(&format!("{answer}.includes({})", json!(text)));
    }

    /// What the browser complained of.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let path = format!("/session/{}/se/log", self.session);
        let entries = self.ask("POST", &path, &json!({"type": "browser"}));
        let entries = entries.as_array().expect("a log is a list");
        let texts = entries.iter().filter_map(|entry| entry["message"].as_str());
        texts.map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends the browser; the driver alone would leave it behind.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.ask("DELETE", &format!("/session/{}", self.session), &json!({}))
            }));
        }
        // An error means that it has ended already, which is what is wanted.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn graphiql_reads_the_schema_runs_operations_and_listens() {
    let Some(browser) = Browser::start() else { return };
    let server = ServeProcess::start(&npm::schema(), &["--dev"]);
    open_page(&browser, &server);
    let status = "document.getElementById('status').textContent";

    // A subscription listens, and hears of what another caller creates.
    browser.execute("subscription { onCreatePost { id title } }", "");
    browser.wait(&format!("{status} === 'listening'"));
    browser.run(&format!(
        "fetch('/graphql', {{method: 'POST', headers: {{'x-api-key': '{API_KEY}'}}, body: JSON.stringify({{query: \
         'mutation {{ createPost(input: {{id: \"p1\", title: \"<b>fish & chips</b>\"}}) {{ id title }} }}'}})}})"
    ));
    browser.wait_for_answer("<b>fish & chips</b>");
    browser.press(EXECUTE);
    browser.wait(&format!("{status}.startsWith('closed (1000')"));

    browser.execute(
        "mutation Rename($t: String!) { updatePost(input: {id: \"p1\", title: $t, _version: 1}) { id title _version } }",
        "{\"t\": \"peas\"}",
    );
    browser.wait_for_answer("\"_version\": 2");
    browser.wait(&format!("{status}.startsWith('200 in ')"));
    // What is wrong is underlined by GraphiQL and refused by the server.
    browser.execute("{ getPost(id: \"p1\") { nothing } }", "");
    browser.wait_for_answer("Validation error of type FieldUndefined");
    browser.wait("document.querySelector('.graphiql-query-editor .CodeMirror-lint-mark-error')");
    // The headers of the editor take the place of the key.
    browser.press("button[data-name=\"headers\"]");
    browser.wait(
        "document.querySelector('.graphiql-editor-tool .graphiql-editor').classList.contains('hidden')",
    );
    browser.write(OTHER_EDITOR, "{\"x-api-key\": \"wrong\"}");
    browser.write(QUERY_EDITOR, "{ getPost(id: \"p1\") { title } }");
    browser.press(EXECUTE);
    browser.wait_for_answer("UnauthorizedException");
    browser.write(OTHER_EDITOR, "");
    browser.press(EXECUTE);
    browser.wait_for_answer("\"peas\"");

    // From the schema to the field of a type, by clicks.
    browser.press("button[aria-label=\"Show Documentation Explorer\"]");
    let explorer = "document.querySelector('.graphiql-doc-explorer').textContent";
    browser.press(".graphiql-doc-explorer a.graphiql-doc-explorer-type-name");
    browser.wait(&format!("{explorer}.includes('syncPosts')"));
    browser.run(
        "[...document.querySelectorAll('.graphiql-doc-explorer a')].find((one) => one.textContent === 'Post').click()",
    );
    browser.wait(&format!("{explorer}.includes('_lastChangedAt')"));

    picture(&browser);
    let complaints = browser.complaints();
    let policy = complaints
        .iter()
        .find(|text| text.contains("Content Security Policy"));
    assert_eq!(policy, None, "{complaints:#?}");
    let thrown = complaints.iter().find(|text| text.contains("Uncaught"));
    assert_eq!(thrown, None, "{complaints:#?}");
}

#[test]
fn the_page_shows_tables_and_injects_faults() {
    let Some(browser) = Browser::start() else { return };
    let server = ServeProcess::start(&npm::schema(), &["--dev"]);
    open_page(&browser, &server);
    let text = |id: &str| format!("document.getElementById('{id}').textContent");
    browser.execute(
        "mutation Make($t: String!) { createPost(input: {id: \"p1\", title: $t}) { id title _version } }",
        "{\"t\": \"<b>fish & chips</b>\"}",
    );
    browser.wait_for_answer("\"_version\": 1");

    // What is stored is shown as text, whatever it looks like.
    browser.click("tab-tables");
    browser.wait("document.getElementById('table-model').options.length > 1");
    browser.run("const model = document.getElementById('table-model'); model.value = 'Post'; model.dispatchEvent(new Event('change'));");
    browser.wait(&format!("{}.includes('<b>fish & chips</b>')", text("table")));
    assert_eq!(
        browser.run("return document.querySelectorAll('#table b').length"),
        json!(0)
    );

    browser.click("tab-query");
    browser.execute("subscription { onCreatePost { id title } }", "");
    browser.wait(&format!("{} === 'listening'", text("status")));
    browser.click("tab-faults");
    browser.fill("fault", "nonsense");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.includes('is no fault')", text("fault-error")));
    browser.fill("fault", "cut-sockets");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.startsWith('closed (1006')", text("status")));
    browser.fill("fault", "fail=503*all");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.includes('fail=503*all')", text("fault-state")));
    browser.click("tab-query");
    browser.execute("{ listPosts { items { id } } }", "");
    browser.wait_for_answer("\"status\": 503");
    browser.wait(&format!("{}.startsWith('503 in ')", text("status")));
}

/// Opens the page with the server's key, and waits until GraphiQL is there.
fn open_page(browser: &Browser, server: &ServeProcess) {
    let page = server.url.trim_end_matches("graphql");
    browser.open(&format!("{page}#key={API_KEY}"));
    browser.wait("document.querySelector('.graphiql-query-editor .CodeMirror')");
}

/// Keeps a picture of the page where somebody asks for one.
fn picture(browser: &Browser) {
    if let Some(path) = env::var_os("LANDFALL_SCREENSHOT") {
        let address = format!("/session/{}/screenshot", browser.session);
        let shot = browser.ask("GET", &address, &json!({}));
        std::fs::write(path, shot.as_str().unwrap_or_default()).expect("the picture can be written");
    }
}

/// When the violation happens that is made up for the picture.
const VIOLATED_AT_MS: u64 = 9_000;

#[test]
fn the_timeline_of_a_simulated_run_is_drawn_without_asking_anybody_for_anything() {
    let Some(browser) = Browser::start() else { return };
    let plan = landfall_sim::generate(3, landfall_sim::Profile::Net, None, 10_000);
    let options = landfall_sim::RunOptions {
        record: true,
        ..landfall_sim::RunOptions::default()
    };
    let mut outcome = landfall_sim::run(&plan, options);
    assert!(outcome.is_well(), "{:#?}", outcome.violations);
    outcome.violations.push(landfall_sim::Violation {
        invariant: "I1",
        at_ms: VIOLATED_AT_MS,
        step: 1,
        who: plan.clients[0].name.clone(),
        what: "something <b>made up</b>".to_owned(),
        key: None,
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("timeline.html");
    std::fs::write(&file, landfall_sim::timeline(&plan, &outcome)).expect("there is room");
    browser.open(&format!("file://{}", file.display()));
    let count = |selector: &str| {
        let script = format!("return document.querySelectorAll({}).length", json!(selector));
        browser.run(&script).as_u64().unwrap_or(0)
    };
    assert_eq!(
        count("line.lane"),
        plan.clients.len() as u64 + 1,
        "clients and server"
    );
    assert_eq!(count("line.violation"), 1);
    assert!(count("rect.fault") > 0, "faults are bands");
    let arrows = &outcome.recording.as_ref().expect("it was recorded").arrows;
    // The picture ends a little after the first violation.
    let drawn = |from_server: bool| {
        let is_drawn = |arrow: &&landfall_sim::Arrow| {
            arrow.from_server == from_server && arrow.sent_ms <= VIOLATED_AT_MS + 2_000
        };
        arrows.iter().filter(is_drawn).collect::<Vec<_>>()
    };
    let (asked, told) = (drawn(false), drawn(true));
    let answered = asked.iter().filter(|arrow| arrow.arrived_ms.is_some()).count();
    assert!(
        asked.len() > 10 && !told.is_empty(),
        "the run has messages of each kind"
    );
    assert_eq!(
        count("line.request, line.reply, line.message, line.lost"),
        (asked.len() + answered + told.len()) as u64,
        "messages are arrows"
    );
    assert_eq!(count("svg b"), 0, "what is said is text, whatever it looks like");
    // It is seen where it belongs, and works where there is no network.
    browser.run("document.querySelector('line.violation').scrollIntoView()");
    let fetched = browser.run("return performance.getEntriesByType('resource').length");
    assert_eq!(fetched, json!(0));
}
