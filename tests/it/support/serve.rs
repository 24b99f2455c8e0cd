//! A running `landfall serve`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::landfall::landfall;
use super::process::Process;

/// The key that every client of these tests uses.
pub(crate) const API_KEY: &str = "da2-interop";

/// What the server says before its address, once it accepts connections.
const LISTENING: &str = "listening on ";

/// The slowest start on a machine that runs all tests at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines before the address: a banner may be there, an endless log may not.
const LINES_BEFORE_ADDRESS_MAX: usize = 100;

/// What calls of the endpoint for administration need.
const ADMIN_HEADER: &str = "x-landfall-admin: 1";

/// A server on a port of its own; it ends when dropped.
pub(crate) struct ServeProcess {
    _process: Process,
    /// Its GraphQL endpoint.
    pub(crate) url: String,
}

impl ServeProcess {
    /// Starts a server of `schema` with further `args`.
    ///
    /// # Panics
    /// If it does not say where it listens.
    pub(crate) fn start(schema: &Path, args: &[&str]) -> Self {
        let mut command = landfall();
        command
            .args(["serve", "--port", "0", "--api-key", API_KEY, "--schema"])
            .arg(schema)
            .args(args);
        let mut process = Process::spawn("the server", &mut command);
        let url = address_of(&mut process);
        Self {
            _process: process,
            url,
        }
    }

    /// Host and port at which it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.split('/').nth(2).expect("addresses have a host")
    }

    /// What it answers to somebody else's request, which no client of the test sends.
    ///
    /// # Panics
    /// If it does not answer.
    pub(crate) fn ask(&self, query: &str) -> Json {
        let header = format!("x-api-key: {API_KEY}");
        self.call(
            "POST",
            "/graphql",
            &header,
            &json!({ "query": query }).to_string(),
        )
    }

    /// Makes something go wrong, or puts it right; answers with its state then. For servers with `--dev`.
    ///
    /// # Panics
    /// If it does not take the faults.
    pub(crate) fn inject(&self, faults: &[&str]) -> Json {
        let state = self.call(
            "POST",
            "/_admin/faults",
            ADMIN_HEADER,
            &json!({ "faults": faults }).to_string(),
        );
        assert!(state["faults"].is_array(), "{faults:?}: {state}");
        state
    }

    /// What is wrong with it on purpose, and how many connections it has. For servers with `--dev`.
    ///
    /// # Panics
    /// If it does not answer.
    pub(crate) fn state(&self) -> Json {
        self.call("GET", "/_admin", ADMIN_HEADER, "")
    }

    fn call(&self, method: &str, path: &str, header: &str, body: &str) -> Json {
        let address = self.address();
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        let (_, body) = reply.split_once("\r\n\r\n").expect("replies have a head");
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{reply}"))
    }
}

/// Reads the first lines of a server up to its address, and answers with that.
///
/// # Panics
/// If it does not say where it listens.
pub(crate) fn address_of(server: &mut Process) -> String {
    let url = (0..LINES_BEFORE_ADDRESS_MAX).find_map(|_| {
        let line = server
            .read_line(PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"));
        address(&line).map(str::to_owned)
    });
    url.expect("the server says where it listens in its first lines")
}

/// The address in a line such as `listening on http://127.0.0.1:20002/graphql`.
fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(LISTENING)?;
    rest.split_whitespace()
        .next()
        .filter(|url| url.starts_with("http://"))
}

#[test]
fn the_address_is_found_in_its_line_only() {
    let url = "http://127.0.0.1:4000/graphql";
    assert_eq!(address(&format!("listening on {url}")), Some(url));
    assert_eq!(
        address(&format!("  landfall listening on {url} (automerge)")),
        Some(url)
    );
    assert_eq!(address("listening on nothing"), None);
    assert_eq!(address("starting"), None);
}
