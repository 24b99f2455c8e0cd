//! Races, as far as the server has a part in them.

use landfall_backend::{BackendConfig, ConflictStrategy, HttpCall};
use serde_json::{Value as Json, json};

use crate::support::{Bench, KEY, MINUTE_MS, START_MS, only_error};

const SDL: &str = "type Post @model { title: String  tags: [String] }";

fn update(bench: &Bench, version: u64, tag: &str) -> Json {
    let query = format!(
        "mutation {{ updatePost(input: {{id: \"p\", title: \"{tag}\", tags: [\"{tag}\"], _version: {version}}}) {{ title tags _version }} }}"
    );
    bench.ask(&query, Json::Null)
}

const CREATE: &str = "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _version } }";

#[test]
fn a_change_between_the_first_page_and_the_last_comes_with_the_next_delta() {
    let bench = Bench::of(SDL);
    for id in ["a", "b", "c"] {
        bench.data(
            &format!("mutation {{ createPost(input: {{id: \"{id}\"}}) {{ id }} }}"),
            Json::Null,
        );
    }
    let sync = "query($l: AWSTimestamp, $t: String) { syncPosts(lastSync: $l, nextToken: $t, limit: 2) { items { id _version } nextToken startedAt } }";
    let first = bench.data(sync, json!({}))["syncPosts"].take();
    bench.data(
        "mutation { updatePost(input: {id: \"a\", title: \"late\", _version: 1}) { id } }",
        Json::Null,
    );
    bench.data(sync, json!({"t": first["nextToken"]}));
    let delta = bench.data(sync, json!({"l": first["startedAt"]}))["syncPosts"].take();
    assert_eq!(delta["items"], json!([{"id": "a", "_version": 2}]));
}

#[test]
fn a_create_whose_reply_was_lost_fails_when_it_is_sent_again() {
    let bench = Bench::of(SDL);
    bench.backend.faults().lose_replies(1);
    let lost = bench.backend.handle_http(
        START_MS,
        &HttpCall::post(KEY, json!({"query": CREATE}).to_string()),
    );
    assert!(lost.lost);
    assert_eq!(
        only_error(&bench.ask(CREATE, Json::Null)).0,
        "ConditionalCheckFailedException"
    );
    assert_eq!(
        bench.backend.changes("Post").unwrap().len(),
        1,
        "equal content is no success"
    );
}

#[test]
fn an_update_whose_reply_was_lost_conflicts_with_itself_and_doubles_its_lists() {
    let bench = Bench::of(SDL);
    bench.data(CREATE, Json::Null);
    update(&bench, 1, "x");
    let again = update(&bench, 1, "x")["data"]["updatePost"].take();
    assert_eq!(again, json!({"title": "x", "tags": ["x", "x"], "_version": 3}));
}

#[test]
fn of_a_delete_and_an_update_from_two_clients_the_later_loses() {
    let bench = Bench::of(SDL);
    bench.data(CREATE, Json::Null);
    let delete = "mutation { deletePost(input: {id: \"p\", _version: 1}) { _version _deleted } }";
    bench.data(delete, Json::Null);
    let body = bench.ask(
        "mutation { updatePost(input: {id: \"p\", title: \"x\", _version: 1}) { _version _deleted } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "ConflictUnhandled");
    assert_eq!(
        body["errors"][0]["data"],
        json!({"_version": 2, "_deleted": true})
    );
    let bench = Bench::of(SDL);
    bench.data(CREATE, Json::Null);
    update(&bench, 1, "x");
    let body = bench.ask(delete, Json::Null);
    assert_eq!(
        body["errors"][0]["data"],
        json!({"_version": 2, "_deleted": null})
    );
}

#[test]
fn after_the_purge_a_new_life_begins_at_version_one() {
    let bench = Bench::of(SDL);
    bench.data(CREATE, Json::Null);
    update(&bench, 1, "x");
    bench.data(
        "mutation { deletePost(input: {id: \"p\", _version: 2}) { id } }",
        Json::Null,
    );
    assert_eq!(
        only_error(&bench.ask(CREATE, Json::Null)).0,
        "ConditionalCheckFailedException"
    );
    bench.now_ms.set(START_MS + 43_201 * MINUTE_MS);
    bench.backend.purge(bench.now_ms.get()).unwrap();
    assert_eq!(bench.data(CREATE, Json::Null)["createPost"]["_version"], 1);
}

#[test]
fn subscribers_get_null_for_what_a_mutation_did_not_select() {
    let bench = Bench::of(SDL);
    let full = bench.listen(&["onCreatePost { id title _version _lastChangedAt _deleted }"]);
    bench.data(
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _version _lastChangedAt } }",
        Json::Null,
    );
    let message = bench.heard(full).remove(0);
    assert_eq!(
        message["payload"]["data"]["onCreatePost"],
        json!({"id": "p", "title": null, "_version": 1, "_lastChangedAt": START_MS + 1, "_deleted": null})
    );
}

#[test]
fn a_message_tells_what_the_reply_tells_so_that_either_may_come_first() {
    let bench = Bench::of(SDL);
    let fields = "id title tags _version _lastChangedAt _deleted";
    let connection = bench.listen(&[&format!("onUpdatePost {{ {fields} }}")]);
    bench.data(CREATE, Json::Null);
    let update = |version: u64| {
        let query = format!(
            "mutation {{ updatePost(input: {{id: \"p\", title: \"u\", tags: [\"x\"], _version: {version}}}) {{ {fields} }} }}"
        );
        bench.data(&query, Json::Null)["updatePost"].take()
    };
    // The second is merged.
    let answers = [update(1), update(1)];
    let mut messages = bench.heard(connection);
    let told: Vec<Json> = messages
        .iter_mut()
        .map(|message| message["payload"]["data"]["onUpdatePost"].take())
        .collect();
    assert_eq!(told, answers);
}

#[test]
fn what_is_written_after_a_connection_was_cut_for_its_age_comes_with_the_next_delta() {
    let bench = Bench::of(SDL);
    let connection = bench.listen(&["onCreatePost { id }"]);
    let day_ms = 24 * 60 * MINUTE_MS;
    bench.now_ms.set(START_MS + day_ms - MINUTE_MS);
    let sync = "query($l: AWSTimestamp) { syncPosts(lastSync: $l) { items { id _version } startedAt } }";
    let cursor = bench.data(sync, json!({}))["syncPosts"]["startedAt"].take();
    bench.now_ms.set(START_MS + day_ms);
    bench.backend.tick(bench.now_ms.get());
    let out = bench.backend.take_outgoing(connection);
    assert!(
        matches!(out.last(), Some(landfall_backend::Out::Close { code: 1001, .. })),
        "{out:?}"
    );
    bench.backend.close_connection(connection);
    bench.data(CREATE, Json::Null);
    let again = bench.listen(&["onCreatePost { id }"]);
    assert_eq!(
        bench.heard(again),
        [] as [Json; 0],
        "what was missed is not sent again"
    );
    let delta = bench.data(sync, json!({"l": cursor}))["syncPosts"].take();
    assert_eq!(delta["items"], json!([{"id": "p", "_version": 1}]));
}

#[test]
fn a_clock_that_goes_back_moves_neither_cursor_nor_changes_back() {
    let bench = Bench::of(SDL);
    bench.now_ms.set(START_MS + 1_000);
    bench.data(CREATE, Json::Null);
    let sync =
        "query($l: AWSTimestamp) { syncPosts(lastSync: $l) { items { _version _lastChangedAt } startedAt } }";
    let cursor = bench.data(sync, json!({}))["syncPosts"]["startedAt"]
        .as_i64()
        .unwrap();
    bench.now_ms.set(START_MS);
    update(&bench, 1, "x");
    let delta = bench.data(sync, json!({"l": cursor}))["syncPosts"].take();
    assert_eq!(delta["items"].as_array().unwrap().len(), 1, "{delta}");
    assert!(delta["startedAt"].as_i64().unwrap() >= cursor);
}

#[test]
fn thirty_two_writers_of_one_record_get_one_accepted_write_per_version() {
    const WRITERS: u64 = 32;
    for strategy in [
        ConflictStrategy::OptimisticConcurrency,
        ConflictStrategy::Automerge,
    ] {
        let config = BackendConfig {
            conflict: strategy,
            ..BackendConfig::with_api_key(KEY)
        };
        let bench = Bench::new(SDL, config);
        bench.data(CREATE, Json::Null);
        let backend = &bench.backend;
        let barrier = std::sync::Barrier::new(usize::try_from(WRITERS).unwrap());
        let barrier = &barrier;
        let written: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    scope.spawn(move || {
                        let (mut version, mut refused) = (1, 0);
                        barrier.wait();
                        loop {
                            let query =
                                "mutation($i: UpdatePostInput!) { updatePost(input: $i) { _version } }";
                            let input = json!({"id": "p", "title": writer.to_string(), "_version": version});
                            let request = json!({"query": query, "variables": {"i": input}}).to_string();
                            let reply = backend.handle_http(START_MS, &HttpCall::post(KEY, request));
                            let body: Json = serde_json::from_slice(&reply.body).unwrap();
                            match body["data"]["updatePost"]["_version"].as_u64() {
                                Some(accepted) => return (version, accepted, refused),
                                None => {
                                    refused += 1;
                                    version = body["errors"][0]["data"]["_version"].as_u64().unwrap();
                                }
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let refused: u64 = written.iter().map(|(_, _, refused)| refused).sum();
        if strategy == ConflictStrategy::OptimisticConcurrency {
            // All begin with the same version: of those but one is accepted, and what is accepted follows on what was given.
            assert!(refused >= WRITERS - 1, "{refused}");
            assert!(
                written.iter().all(|(given, accepted, _)| *accepted == given + 1),
                "{written:?}"
            );
        } else {
            assert_eq!(refused, 0, "all are merged");
        }
        let mut versions: Vec<u64> = written.iter().map(|(_, accepted, _)| *accepted).collect();
        versions.sort_unstable();
        assert_eq!(versions, (2..2 + WRITERS).collect::<Vec<_>>(), "{strategy:?}");
        assert_eq!(backend.changes("Post").unwrap().len() as u64, 1 + WRITERS);
    }
}
