//! `landfall serve` as those meet it who host it: its log, its end by signals, its certificate, what it refuses.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::landfall::{landfall, repository};
use crate::support::npm;

const KEY: &str = "da2-of-this-test";

/// A server whose log goes to a file.
struct Hosted {
    child: Child,
    /// `http://127.0.0.1:4000/graphql`
    url: String,
    folder: TempDir,
}

impl Hosted {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = File::create(folder.path().join("log")).expect("the log can be made");
        let mut command = landfall();
        command
            .args(["serve", "--port", "0", "--api-key", KEY, "--schema"])
            .arg(npm::schema())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it was asked for"))
            .read_line(&mut line)
            .expect("it says something");
        let url = line
            .trim()
            .rsplit(' ')
            .next()
            .expect("lines have words")
            .to_owned();
        let hosted = Self { child, url, folder };
        assert!(hosted.url.contains("://"), "{line}{}", hosted.log());
        hosted
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }

    fn connect(&self) -> TcpStream {
        let address = self.url.split('/').nth(2).expect("addresses have a host");
        TcpStream::connect(address).expect("it listens")
    }

    fn request(&self, key: &str, query: &str) -> String {
        let body = serde_json::json!({"query": query}).to_string();
        format!(
            "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn ask(&self, key: &str, query: &str) -> String {
        let mut stream = self.connect();
        stream
            .write_all(self.request(key, query).as_bytes())
            .expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        reply
    }

    /// The body of a reply, unless the server ends before it is sent.
    fn try_ask(&self, query: &str) -> Option<Value> {
        let address = self.url.split('/').nth(2)?;
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(self.request(KEY, query).as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("signals can be sent").success());
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // An error means that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_end_the_server_in_order_and_what_runs_is_answered() {
    for signal in ["TERM", "INT"] {
        let mut hosted = Hosted::start(&[]);
        let mut halfway = hosted.connect();
        let request = hosted.request(KEY, "{ listPosts { nextToken } }");
        let (first, rest) = request.split_at(request.len() - 5);
        halfway.write_all(first.as_bytes()).expect("it reads");
        // A call that is answered shows that the server has seen the one before.
        assert!(hosted.ask(KEY, "{ listPosts { nextToken } }").contains("200 OK"));
        hosted.signal(signal);
        halfway.write_all(rest.as_bytes()).expect("it still reads");
        let mut reply = String::new();
        halfway.read_to_string(&mut reply).expect("it still answers");
        assert!(reply.contains("\"listPosts\":"), "{reply}");
        assert!(hosted.end().success(), "{}", hosted.log());
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut hosted = Hosted::start(&["--log-level", "info"]);
    let mut halfway = hosted.connect();
    let request = hosted.request(KEY, "{ listPosts { nextToken } }");
    halfway
        .write_all(&request.as_bytes()[..request.len() - 5])
        .expect("it reads");
    assert!(hosted.ask(KEY, "{ listPosts { nextToken } }").contains("200 OK"));
    hosted.signal("INT");
    while !hosted.log().contains("finishing what runs") {
        std::thread::yield_now();
    }
    hosted.signal("INT");
    assert_eq!(hosted.end().code(), Some(1), "{}", hosted.log());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_in_the_middle_of_writes() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 3;
    const ACKNOWLEDGED_BEFORE_THE_KILL: usize = 60;
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let args = ["--data", data.path().to_str().expect("its name is text")];
    let mut acknowledged = BTreeSet::new();
    let begun = Hosted::start(&args).try_ask("{ syncPosts(limit: 1) { startedAt } }");
    let begun_ms = begun.expect("it answers")["data"]["syncPosts"]["startedAt"].take();
    for round in 0..ROUNDS {
        let mut hosted = Hosted::start(&args);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (hosted, count) = (&hosted, &count);
                    scope.spawn(move || {
                        let mut done = Vec::new();
                        loop {
                            let id = format!("r{round}-w{writer}-{}", done.len());
                            let create = format!(
                                "mutation {{ createPost(input: {{id: \"{id}\", title: \"t\"}}) {{ _version }} }}"
                            );
                            match hosted.try_ask(&create) {
                                Some(body) if body["data"]["createPost"]["_version"] == 1 => done.push(id),
                                _ => return done,
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let enough = || count.load(Ordering::Relaxed) >= ACKNOWLEDGED_BEFORE_THE_KILL;
            while !enough() && writers.iter().any(|writer| !writer.is_finished()) {
                std::thread::yield_now();
            }
            hosted.signal("KILL");
            for writer in writers {
                acknowledged.extend(writer.join().expect("writers only ask"));
            }
        });
        hosted.end();
        assert!(acknowledged.len() >= (round + 1) * ACKNOWLEDGED_BEFORE_THE_KILL);
    }
    let hosted = Hosted::start(&args);
    // Both tables: the base, and the changes since the beginning.
    for since in [String::new(), format!("lastSync: {begun_ms}")] {
        let mut found = BTreeSet::new();
        let mut token = Value::Null;
        loop {
            let query = format!(
                "{{ syncPosts(limit: 1000, nextToken: {token} {since}) {{ items {{ id _version }} nextToken }} }}"
            );
            let mut page = hosted.try_ask(&query).expect("it answers")["data"]["syncPosts"].take();
            let items = page["items"].as_array().expect("a page has items");
            found.extend(
                items
                    .iter()
                    .filter_map(|item| item["id"].as_str().map(str::to_owned)),
            );
            token = page["nextToken"].take();
            if token.is_null() {
                break;
            }
        }
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[test]
fn the_log_is_json_with_a_line_for_each_call_and_without_secrets() {
    let mut hosted = Hosted::start(&["--log-format", "json", "--log-level", "info"]);
    let secret = "the title of a post";
    hosted.ask(
        KEY,
        &format!("mutation {{ createPost(input: {{title: \"{secret}\"}}) {{ id }} }}"),
    );
    hosted.ask("da2-wrong", "{ listPosts { nextToken } }");
    hosted.signal("TERM");
    assert!(hosted.end().success());
    let log = hosted.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let calls: Vec<&Value> = lines.iter().filter(|line| line["message"] == "call").collect();
    assert_eq!(calls.len(), 2, "{log}");
    assert_eq!(calls[0]["operation"], "createPost");
    assert_eq!(
        (&calls[0]["kind"], &calls[0]["outcome"]),
        (&"mutation".into(), &"ok".into())
    );
    assert_eq!(
        (&calls[1]["status"], &calls[1]["outcome"]),
        (&401.into(), &"unauthorized".into())
    );
    assert!(
        calls
            .iter()
            .all(|call| call["request_id"].is_string() && call["took_ms"].is_number())
    );
    for text in [KEY, "da2-wrong", secret] {
        assert!(!log.contains(text), "{log}");
    }
}

#[test]
fn a_certificate_makes_the_address_https_and_a_broken_one_is_refused() {
    let fixture = |name: &str| repository().join("netsync/fixtures").join(name);
    let path = |name: &str| {
        fixture(name)
            .to_str()
            .expect("paths of the repository are text")
            .to_owned()
    };
    let (chain, ca) = (path("localhost.pem"), path("ca.pem"));
    let hosted = Hosted::start(&["--tls-cert", &chain, "--tls-key", &chain]);
    assert!(hosted.url.starts_with("https://127.0.0.1:"), "{}", hosted.url);
    for (args, part) in [
        (
            &["--tls-cert", &ca, "--tls-key", &ca][..],
            "the TLS certificate cannot be used",
        ),
        (
            &["--tls-cert", "/nowhere.pem", "--tls-key", &chain],
            "cannot read /nowhere.pem",
        ),
        (&["--tls-cert", &chain], "--tls-key"),
    ] {
        let output = landfall()
            .args(["serve", "--schema"])
            .arg(npm::schema())
            .args(args)
            .output()
            .expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(part), "{errors}");
    }
}

#[test]
fn the_key_that_everybody_knows_is_for_this_machine_only() {
    let output = landfall()
        .args(["serve", "--host", "0.0.0.0", "--schema"])
        .arg(npm::schema())
        .env_remove("LANDFALL_API_KEY")
        .output()
        .expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("everybody knows"),
        "{errors}"
    );
}
