//! What the npm client of Amplify DataStore asserts of a server by its behaviour, one test each, against `landfall serve`.
//!
//! Owns what needs no second client: conditions, broken sockets, pages in part, models that are refused, expressions. The
//! npm client beside a Landfall store is in `interop.rs`. Without Node.js the tests are skipped (`support/npm.rs`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// Longest time until the client has noticed that its socket broke, connected and synced, in milliseconds. It takes about
/// five seconds on a quiet machine.
const HEALED_MS: u64 = 60_000;

/// How often the server is asked for what the client has sent it, a few milliseconds each.
const ASKED_MAX: usize = 2_000;

/// What the client selects of a post; messages are made of what mutations select.
const POST: &str =
    "id title rating createdAt updatedAt _version _lastChangedAt _deleted blog { id _deleted }";

/// A server to develop against, and the npm client, not started yet.
struct Pair {
    npm: LineClient,
    server: ServeProcess,
    _folder: TempDir,
}

impl Pair {
    /// `None` if the test is to be skipped.
    fn new() -> Option<Self> {
        Self::with_schema(&npm::schema())
    }

    fn with_schema(schema: &Path) -> Option<Self> {
        let driver = npm::driver()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let introspection = npm::write_introspection_of(schema, folder.path());
        let server = ServeProcess::start(schema, &["--dev"]);
        let to_server = ["--endpoint", &server.url, "--api-key", API_KEY];
        let npm = LineClient::npm("the npm client", driver, &introspection, &to_server);
        Some(Self {
            npm,
            server,
            _folder: folder,
        })
    }

    fn start(&mut self) {
        self.npm.ok(&json!({"op": "start"}));
        self.npm.wait_hub("ready");
    }

    /// What the server answers to somebody else's request.
    fn ask(&self, query: &str) -> Value {
        self.post("/graphql", "x-api-key", API_KEY, &json!({"query": query}))
    }

    fn create_post(&self, id: &str, rating: i32) {
        let answer = self.ask(&format!(
            "mutation {{ createPost(input: {{id: \"{id}\", title: \"t\", rating: {rating}}}) {{ {POST} }} }}"
        ));
        assert_eq!(answer["data"]["createPost"]["id"], id, "{answer}");
    }

    fn post(&self, path: &str, header: &str, value: &str, body: &Value) -> Value {
        let address = self.server.url.split('/').nth(2).expect("addresses have a host");
        let body = body.to_string();
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\n{header}: {value}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        let (_, body) = reply.split_once("\r\n\r\n").expect("replies have a head");
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{reply}"))
    }

    /// The errors that the client's error handler was given.
    fn errors(&mut self) -> Vec<Value> {
        match self.npm.ok(&json!({"op": "errors"})) {
            Value::Array(errors) => errors,
            other => panic!("errors are a list, not {other}"),
        }
    }
}

#[test]
fn conditions_of_the_npm_client_hold_for_its_updates_and_deletes() {
    let Some(mut pair) = Pair::new() else { return };
    pair.start();
    let id = pair.npm.save("Blog", &json!({"name": "a"}))["id"].clone();
    pair.npm.wait_for("Blog", &id, &json!({"_version": 1}));
    let (model, condition) = ("Blog", json!(["name", "eq", "a"]));
    let update =
        json!({"op": "update", "model": model, "id": id, "fields": {"name": "b"}, "where": condition});
    pair.npm.ok(&update);
    pair.npm
        .wait_for(model, &id, &json!({"name": "b", "_version": 2}));
    // What does not hold here is not sent.
    assert!(pair.npm.send(&update).is_err());
    let condition = json!({"or": [["name", "eq", "c"], ["name", "beginsWith", "b"]]});
    pair.npm
        .ok(&json!({"op": "delete", "model": model, "id": id, "where": condition}));
    pair.npm.wait_gone(model, &id);
    pair.npm.wait_hub_with("outboxStatus", &json!({"isEmpty": true}));
    let query = format!("{{ getBlog(id: {id}) {{ name _version _deleted }} }}");
    let is_deleted = |pair: &Pair| pair.ask(&query)["data"]["getBlog"]["_deleted"] == true;
    assert!(
        (0..ASKED_MAX).any(|_| is_deleted(&pair)),
        "the delete does not arrive"
    );
    let tombstone = pair.ask(&query)["data"]["getBlog"].take();
    assert_eq!(tombstone, json!({"name": "b", "_version": 3, "_deleted": true}));
    assert_eq!(pair.errors(), [] as [Value; 0]);
}

#[test]
fn the_npm_client_syncs_what_it_missed_after_its_socket_broke() {
    let Some(mut pair) = Pair::new() else { return };
    pair.start();
    pair.post(
        "/_admin/faults",
        "x-landfall-admin",
        "1",
        &json!({"faults": ["cut-sockets"]}),
    );
    pair.create_post("missed", 1);
    let waiting = json!({"op": "waitFor", "model": "Post", "id": "missed", "ms": HEALED_MS});
    assert_eq!(pair.npm.ok(&waiting)["_version"], 1);
}

#[test]
fn a_page_with_a_record_that_cannot_be_read_is_taken_in_part_by_the_npm_client() {
    let Some(mut pair) = Pair::new() else { return };
    for id in ["before", "broken", "later"] {
        pair.create_post(id, 1);
    }
    let broken =
        pair.ask("mutation { updatePost(input: {id: \"broken\", title: null, _version: 1}) { id } }");
    assert_eq!(broken["data"]["updatePost"]["id"], "broken", "{broken}");
    pair.npm.ok(&json!({"op": "start"}));
    let told = pair.npm.wait_hub("nonApplicableDataReceived");
    assert_eq!(told["modelName"], "Post", "{told}");
    pair.npm.wait_hub("ready");
    for id in ["before", "later"] {
        pair.npm.wait_for("Post", &json!(id), &json!({"title": "t"}));
    }
    let errors = pair.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        (&errors[0]["errorType"], &errors[0]["operation"]),
        (&json!("BadRecord"), &json!("syncPosts"))
    );
}

#[test]
fn a_model_that_the_npm_client_may_not_read_leaves_the_others_in_sync() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let schema = folder.path().join("schema.graphql");
    let sdl = std::fs::read_to_string(npm::schema()).expect("the schema is there");
    let open = "type Device @model @auth(rules: [{ allow: public }])";
    assert!(sdl.contains(open));
    let closed = sdl.replace(open, "type Device @model @auth(rules: [{ allow: private }])");
    std::fs::write(&schema, closed).expect("the temporary folder is writable");
    let Some(mut pair) = Pair::with_schema(&schema) else {
        return;
    };
    pair.create_post("p", 1);
    pair.start();
    pair.npm.wait_for("Post", &json!("p"), &json!({"_version": 1}));
    let refused: Vec<(Value, Value)> = pair
        .errors()
        .into_iter()
        .filter(|error| error["errorType"] == "Unauthorized")
        .map(|mut error| (error["process"].take(), error["model"].take()))
        .collect();
    assert!(refused.contains(&(json!("sync"), json!("Device"))), "{refused:?}");
    assert!(refused.iter().all(|(_, model)| model == "Device"), "{refused:?}");
}

#[test]
fn the_npm_client_syncs_and_hears_only_what_its_expression_covers() {
    let Some(mut pair) = Pair::new() else { return };
    pair.create_post("low", 1);
    pair.create_post("high", 9);
    pair.npm
        .ok(&json!({"op": "configure", "syncExpressions": [["Post", ["rating", "gt", 5]]]}));
    pair.start();
    let has = |pair: &mut Pair, id: &str| {
        !pair
            .npm
            .ok(&json!({"op": "get", "model": "Post", "id": id}))
            .is_null()
    };
    assert_eq!((has(&mut pair, "high"), has(&mut pair, "low")), (true, false));
    pair.create_post("lower", 2);
    pair.create_post("higher", 8);
    pair.npm.wait_for("Post", &json!("higher"), &json!({"rating": 8}));
    // Messages come in the order of their commits.
    assert!(!has(&mut pair, "lower"));
}
