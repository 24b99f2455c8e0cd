//! A store that is killed again and again: what it acknowledged is there, and each change reaches the server once.
//!
//! Owns the proof with real processes, real files and real sockets; `landfall-sim` has the same in virtual time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// How often the store is killed.
const KILLS: u32 = 100;

/// Most saves that are answered before a kill.
const SAVES_MAX: u64 = 6;

/// Seed of the moments at which the store is killed, unless `LANDFALL_SEED` names another.
const SEED: u64 = 20_261_121;

/// A small generator of its own, so that the test shares nothing with what it tests.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn a_store_killed_a_hundred_times_loses_nothing_and_sends_everything_once() {
    let seed = std::env::var("LANDFALL_SEED")
        .ok()
        .map_or(SEED, |text| text.parse().expect("a whole number"));
    println!("LANDFALL_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().to_str().expect("its name is text").to_owned();
    let server = ServeProcess::start(&npm::schema(), &[]);
    let args = ["--data", &data, "--endpoint", &server.url, "--api-key", API_KEY];
    let open = || LineClient::landfall("the store", &npm::schema(), &args);
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let mut serial = 0;
    for round in 0..KILLS {
        let mut store = open();
        if round % 2 == 0 {
            // Every other life syncs, so that mutations are on their way when the kill comes.
            store.ok(&json!({"op": "start"}));
        }
        assert_all_there(&mut store, &acknowledged);
        for _ in 0..chance.below(SAVES_MAX + 1) {
            serial += 1;
            let saved = store.save("Post", &json!({"title": format!("post {serial}")}));
            let id = saved["id"].as_str().expect("an identifier is text").to_owned();
            acknowledged.insert(id, saved["title"].clone());
        }
        for _ in 0..chance.below(4) {
            // These are not waited for: they may be there afterwards or not.
            serial += 1;
            store
                .post(&json!({"op": "save", "model": "Post", "fields": {"title": format!("post {serial}")}}));
        }
        store.kill_9();
    }
    let mut store = open();
    store.ok(&json!({"op": "start"}));
    assert_all_there(&mut store, &acknowledged);
    wait_until_sent(&mut store);
    assert_sent_once(&server, &acknowledged);
    assert!(store.exit().success());
}

fn assert_all_there(store: &mut LineClient, acknowledged: &BTreeMap<String, Value>) {
    let stored = store.ok(&json!({"op": "query", "model": "Post"}));
    let stored: BTreeMap<&str, &Value> = stored
        .as_array()
        .expect("a query answers with a list")
        .iter()
        .filter_map(|post| Some((post["id"].as_str()?, &post["title"])))
        .collect();
    for (id, title) in acknowledged {
        assert_eq!(stored.get(id.as_str()), Some(&title), "{id} was acknowledged");
    }
}

/// How often an outbox may have become empty before the test looks at it.
const EMPTIED_MAX: usize = 1_000;

/// Waits until nothing waits for the server any more.
pub(crate) fn wait_until_sent(store: &mut LineClient) {
    let empty = json!({"op": "waitHub", "event": "outboxStatus", "data": {"isEmpty": true}, "ms": 60_000});
    for _ in 0..EMPTIED_MAX {
        if store.ok(&json!({"op": "outbox"})) == json!([]) {
            return;
        }
        // This may be an event of the past, so the outbox is looked at again.
        store.ok(&empty);
    }
    panic!("the outbox is never empty for long");
}

/// A fresh store sees what the server has: every acknowledged post, at its first version.
fn assert_sent_once(server: &ServeProcess, acknowledged: &BTreeMap<String, Value>) {
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut fresh = LineClient::landfall("a fresh store", &npm::schema(), &args);
    fresh.ok(&json!({"op": "start"}));
    let served = fresh.ok(&json!({"op": "query", "model": "Post"}));
    let served = served.as_array().expect("a query answers with a list");
    for post in served {
        assert_eq!(post["_version"], 1, "applied more than once: {post}");
    }
    let mut titles: Vec<&str> = served.iter().filter_map(|post| post["title"].as_str()).collect();
    titles.sort_unstable();
    let all = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), all, "a change reached the server twice");
    for (id, title) in acknowledged {
        let found = served
            .iter()
            .any(|post| post["id"] == id.as_str() && post["title"] == *title);
        assert!(found, "{id} was acknowledged and is not on the server");
    }
}
