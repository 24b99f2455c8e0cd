//! `landfall log` on a store that another process writes at full speed.
//!
//! Owns the proof with real processes that what is read beside a writer is its log, and that the writer's file is only read.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use landfall::history::{Filter, LiveLog, open_for_inspection};
use serde_json::{Value as Json, json};

use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::npm;

/// Saves while the log is read: many checkpoints.
const SAVES: usize = 30_000;

/// Saves on their way at the same time.
const AT_ONCE: usize = 500;

fn writer(data: &Path) -> LineClient {
    let data = data.to_str().expect("its name is text");
    LineClient::landfall("the writer", &npm::schema(), &["--data", data])
}

fn post(number: usize) -> Json {
    let title = format!("post {number} {}", "x".repeat(100));
    json!({ "op": "save", "model": "Post", "fields": { "title": title } })
}

#[test]
fn a_log_is_read_and_followed_while_another_process_writes_it_at_full_speed() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut store = writer(folder.path());
    store.save("Post", &json!({ "title": "first" }));
    let home = folder.path().to_owned();
    // Reads until it has seen everything: copies of the whole, and a place from which it reads on.
    #[expect(
        clippy::disallowed_methods,
        reason = "it reads beside a writer that this thread drives"
    )]
    let reading = std::thread::spawn(move || {
        let mut log = LiveLog::open(&home).expect("it can be read beside its writer");
        let (mut seen, mut copies) = (0, 0);
        while seen < SAVES as u64 {
            let filter = Filter {
                kinds: vec!["write".to_owned()],
                ..Filter::default()
            };
            log.read_on(&filter, |_, entry| {
                entry.expect("every entry is whole");
                seen += 1;
            })
            .expect("each look comes to an end");
            if copies < 5 {
                let copy = open_for_inspection(&home).expect("it can be copied beside its writer");
                let check = copy.check_entries().expect("the copy can be read");
                assert!(check.is_sound(), "{:?}", check.damage);
                assert!(check.entries > 0);
                copies += 1;
            }
        }
        (seen, copies)
    });
    for round in 0..SAVES / AT_ONCE {
        for number in 0..AT_ONCE {
            store.post(&post(round * AT_ONCE + number));
        }
        store.ok(&json!({ "op": "query", "model": "Post", "limit": 1 }));
    }
    let (seen, copies) = reading.join().expect("the reader found nothing wrong");
    assert!(
        seen >= SAVES as u64 && copies == 5,
        "{seen} entries, {copies} copies"
    );
    assert!(store.exit().success());
}

#[test]
fn following_shows_what_is_added_as_it_is_added() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut store = writer(folder.path());
    store.save("Post", &json!({ "title": "before" }));
    let mut follower = landfall()
        .args(["log", folder.path().to_str().expect("its name is text")])
        .args(["list", "--follow", "--json", "--kind", "write"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let told = follower.stdout.take().expect("it was asked for");
    let mut lines = BufReader::new(told).lines().map(|line| {
        let line = line.expect("it is text");
        serde_json::from_str::<Json>(&line).expect("it is JSON")
    });
    assert_eq!(lines.next().expect("a line")["fields"]["title"], "before");
    for title in ["one", "two", "three"] {
        store.save("Post", &json!({ "title": title }));
        assert_eq!(lines.next().expect("a line")["fields"]["title"], title);
    }
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
    assert!(store.exit().success());
}
