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

/// A browser with one tab.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; `None` if there is none to start.
    fn start() -> Option<Self> {
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
        let capabilities = json!({"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}});
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

    fn open(&self, url: &str) {
        let answer = self.ask(
            "POST",
            &format!("/session/{}/url", self.session),
            &json!({"url": url}),
        );
        assert_eq!(answer, json!(null), "{url}");
    }

    /// Runs a script in the page; it answers by `return`.
    fn run(&self, script: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        let answer = self.ask("POST", &path, &json!({"script": script, "args": []}));
        assert!(answer.get("error").is_none(), "{script}: {answer}");
        answer
    }

    /// Waits until an expression of the page is true; the driver gives up after 30 seconds.
    fn wait(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const look = () => ({expression}) ? done(true) : requestAnimationFrame(look); look();"
        );
        let path = format!("/session/{}/execute/async", self.session);
        let answer = self.ask("POST", &path, &json!({"script": script, "args": []}));
        let text = || self.run("return document.body.innerText");
        assert_eq!(answer, json!(true), "{expression}\n{}", text());
    }

    fn click(&self, id: &str) {
        self.run(&format!("document.getElementById('{id}').click()"));
    }

    fn fill(&self, id: &str, text: &str) {
        let text = json!(text);
        self.run(&format!(
            "const field = document.getElementById('{id}'); field.value = {text}; field.dispatchEvent(new Event('input'));"
        ));
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
fn the_page_runs_queries_listens_shows_docs_and_tables_and_injects_faults() {
    let Some(browser) = Browser::start() else { return };
    let server = ServeProcess::start(&npm::schema(), &["--dev"]);
    browser.open(&format!(
        "{}#key={API_KEY}",
        server.url.trim_end_matches("graphql")
    ));
    let text = |id: &str| format!("document.getElementById('{id}').textContent");

    // A subscription listens, a mutation is answered, and the subscriber hears of it.
    browser.fill("query", "subscription { onCreatePost { id title } }");
    browser.click("run");
    browser.wait(&format!("{} === 'listening'", text("live-status")));
    browser.fill(
        "query",
        "mutation Make($t: String!) { createPost(input: {id: \"p1\", title: $t}) { id title _version } }",
    );
    browser.fill("variables", "{\"t\": \"<b>fish & chips</b>\"}");
    browser.click("run");
    browser.wait(&format!("{}.includes('\"_version\": 1')", text("result")));
    browser.wait(&format!("{}.startsWith('200 in ')", text("status")));
    browser.wait(&format!("{}.includes('fish & chips')", text("live")));
    browser.fill("variables", "no JSON");
    browser.click("run");
    browser.wait(&format!(
        "{}.includes('The variables are no JSON')",
        text("result")
    ));

    browser.click("tab-docs");
    browser.wait(&format!("{}.includes('getPost')", text("docs-type")));
    browser.fill("docs-search", "createPostInput");
    browser.wait("document.querySelectorAll('#docs-list li').length > 0");
    browser.run("document.querySelector('#docs-list button').click()");
    browser.wait(&format!("{}.includes('title')", text("docs-type")));

    // What is stored is shown as text, whatever it looks like.
    browser.click("tab-tables");
    browser.run("const model = document.getElementById('table-model'); window.chosen = model");
    browser.wait("document.getElementById('table-model').options.length > 1");
    browser.run("const model = document.getElementById('table-model'); model.value = 'Post'; model.dispatchEvent(new Event('change'));");
    browser.wait(&format!("{}.includes('<b>fish & chips</b>')", text("table")));
    assert_eq!(
        browser.run("return document.querySelectorAll('#table b').length"),
        json!(0)
    );

    browser.click("tab-faults");
    browser.fill("fault", "nonsense");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.includes('is no fault')", text("fault-error")));
    browser.fill("fault", "cut-sockets");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.startsWith('closed (1006')", text("live-status")));
    browser.fill("fault", "fail=503*all");
    browser.run("document.getElementById('fault-form').requestSubmit()");
    browser.wait(&format!("{}.includes('fail=503*all')", text("fault-state")));
    browser.click("tab-query");
    browser.fill("variables", "");
    browser.fill("query", "{ listPosts { items { id } } }");
    browser.click("run");
    browser.wait(&format!("{}.startsWith('503 in ')", text("status")));
    if let Some(path) = env::var_os("LANDFALL_SCREENSHOT") {
        let shot = browser.ask(
            "GET",
            &format!("/session/{}/screenshot", browser.session),
            &json!({}),
        );
        std::fs::write(path, shot.as_str().unwrap_or_default()).expect("the picture can be written");
    }
}
