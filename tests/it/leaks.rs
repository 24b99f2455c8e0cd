//! No leaks: a process whose store is started, stopped and cleared again and again is as large as after the first rounds.
//!
//! Owns what the system and the server count: open files, threads, connections, subscriptions. What actors hold is
//! counted in the simulator (`sim/tests/promises/leaks.rs`).
#![cfg(target_os = "linux")]

use std::fs;

use serde_json::{Value, json};

use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// Rounds until everything that a process makes once is there.
const ROUNDS_FIRST: usize = 5;

/// Rounds in which one thing left over each time would be seen.
const ROUNDS: usize = 40;

/// Connections that an HTTP client keeps open for later requests, and threads that a runtime keeps for later work: they
/// come and go, and are a few however many rounds there are.
const SPARE_MAX: usize = 8;

/// How often the server is asked for its connections, a few milliseconds each, until it has noticed those that ended.
const ASKED_MAX: usize = 5_000;

/// Open files and threads of a process.
fn size(process: u32) -> [usize; 2] {
    ["fd", "task"].map(|what| {
        let listed = fs::read_dir(format!("/proc/{process}/{what}"));
        listed.expect("the process runs").count()
    })
}

fn population(server: &ServeProcess) -> (Value, Value) {
    let mut state = server.state();
    (state["connections"].take(), state["subscriptions"].take())
}

fn expect_population(server: &ServeProcess, connections: usize, subscriptions: usize) {
    let expected = (json!(connections), json!(subscriptions));
    let met = (0..ASKED_MAX).any(|_| population(server) == expected);
    assert!(met, "{:?} instead of {expected:?}", population(server));
}

/// Starts, writes, observes, and ends all of it.
fn round(store: &mut LineClient, number: usize) {
    store.ok(&json!({"op": "start"}));
    store.ok(&json!({"op": "observe", "model": "Post"}));
    store.ok(&json!({"op": "observeQuery", "model": "Post"}));
    let post = store.save("Post", &json!({"title": format!("round {number}")}))["id"].clone();
    if number.is_multiple_of(2) {
        store.wait_for("Post", &post, &json!({"_version": 1}));
    }
    store.ok(&json!({"op": if number.is_multiple_of(3) { "stop" } else { "clear" }}));
}

#[test]
fn a_process_that_starts_and_stops_again_and_again_does_not_grow() {
    let server = ServeProcess::start(&npm::schema(), &["--dev"]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut store = LineClient::landfall("the store", &npm::schema(), &args);
    // The last round of each kind ends with `clear`, which ends observers as well.
    for number in 0..ROUNDS_FIRST {
        round(&mut store, number);
    }
    expect_population(&server, 0, 0);
    let first = size(store.id());
    for number in 0..ROUNDS {
        round(&mut store, number);
        let (connections, _) = population(&server);
        assert!(
            connections.as_u64().is_some_and(|open| open <= 1),
            "{connections}"
        );
    }
    expect_population(&server, 0, 0);
    let last = size(store.id());
    assert!(
        last.iter()
            .zip(first)
            .all(|(last, first)| *last <= first + SPARE_MAX),
        "files and threads were {first:?} and are {last:?}"
    );
    store.ok(&json!({"op": "start"}));
    store.wait_hub("ready");
    expect_population(&server, 1, 15);
    assert!(store.exit().success());
    expect_population(&server, 0, 0);
}
