//! One write, everything that follows: answer, stored record, changes in the delta table, what three subscribers hear.

use super::realtime::silent;
use super::*;
use crate::conflict::ConflictStrategy;

/// Prepared record; write; story under automerge; story under optimistic concurrency if it differs.
///
/// The record has rating 1, an update sets it to 9. `told` counts the messages to a subscriber that selects all, to one
/// that selects only the identifier, and to one whose filter (a rating below 5) the old record passes and the new does
/// not.
const STORIES: [&str; 14] = [
    "nothing | create | answer v1 1, stored v1 1, +1 change, told 1 1 1",
    "live v3 | create | ConditionalCheckFailedException null, stored v3 1, +0 change, told 0 0 0",
    "tombstone v4 | create | ConditionalCheckFailedException null, stored v4 1 deleted, +0 change, told 0 0 0",
    "live v3 | update v3 | answer v4 9, stored v4 9, +1 change, told 1 1 0",
    "live v3 | update v2 | answer v4 1, stored v4 1, +1 change, told 1 1 1 | ConflictUnhandled v3 1, stored v3 1, +0 change, told 0 0 0",
    "live v3 | update v0 | answer v4 1, stored v4 1, +1 change, told 1 1 1 | ConflictUnhandled v3 1, stored v3 1, +0 change, told 0 0 0",
    "live v3 | update v7 | answer v4 1, stored v4 1, +1 change, told 1 1 1 | ConflictUnhandled v3 1, stored v3 1, +0 change, told 0 0 0",
    "nothing | update v1 | ConditionalCheckFailedException null, stored nothing, +0 change, told 0 0 0",
    "tombstone v4 | update v4 | answer v5 9 deleted, stored v5 9 deleted, +1 change, told 1 1 0",
    "tombstone v4 | update v3 | ConflictUnhandled v4 1 deleted, stored v4 1 deleted, +0 change, told 0 0 0",
    "live v3 | delete v3 | answer v4 1 deleted, stored v4 1 deleted, +1 change, told 1 1 1",
    "live v3 | delete v2 | ConflictUnhandled v3 1, stored v3 1, +0 change, told 0 0 0",
    "nothing | delete v1 | ConditionalCheckFailedException null, stored nothing, +0 change, told 0 0 0",
    "tombstone v4 | delete v3 | ConflictUnhandled v4 1 deleted, stored v4 1 deleted, +0 change, told 0 0 0",
];

fn prepare(bench: &Bench, state: &str) {
    if state == "nothing" {
        return;
    }
    bench.create(json!({"id": "p", "title": "a", "rating": 1}));
    for version in 1..3 {
        bench.update(json!({"id": "p", "title": "b", "_version": version}));
    }
    if state.starts_with("tombstone") {
        bench.delete(json!({"id": "p", "_version": 3}));
    }
}

/// `v4 9 deleted` of a record as the server shows it.
fn shown(record: &Json) -> String {
    if record.is_null() {
        return "null".to_owned();
    }
    let deleted = if record["_deleted"] == true {
        " deleted"
    } else {
        ""
    };
    format!("v{} {}{deleted}", record["_version"], record["rating"])
}

/// Opens a connection that listens to creates, updates and deletes of posts.
fn listen(bench: &Bench, argument: &str, selection: &str) -> ConnectionId {
    let headers = [("x-api-key".to_owned(), KEY.to_owned())];
    let connection = bench.backend.open_connection(START_MS, &headers, None, silent());
    for field in ["onCreatePost", "onUpdatePost", "onDeletePost"] {
        let data =
            json!({"query": format!("subscription {{ {field}{argument} {{ {selection} }} }}")}).to_string();
        let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
        let start = json!({"id": field, "type": "start", "payload": payload}).to_string();
        bench.backend.frame_in(START_MS, connection, &start);
    }
    assert_eq!(bench.backend.take_outgoing(connection).len(), 3);
    connection
}

fn tell(strategy: ConflictStrategy, state: &str, write: &str) -> String {
    let config = BackendConfig {
        conflict: strategy,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    prepare(&bench, state);
    let listeners = [
        listen(&bench, "", "id title rating _version _deleted"),
        listen(&bench, "", "id"),
        listen(&bench, "(filter: {rating: {lt: 5}})", "id"),
    ];
    let changes = bench.backend.changes("Post").unwrap().len();
    let (verb, version) = write.split_once(" v").unwrap_or((write, "0"));
    let version: u64 = version.parse().unwrap();
    let body = match verb {
        "create" => {
            let query = "mutation { createPost(input: {id: \"p\", title: \"c\", rating: 1}) \
                         { id title rating _version _deleted } }";
            bench.ask(query, Json::Null)
        }
        "update" => bench.update(json!({"id": "p", "rating": 9, "_version": version})),
        _ => bench.delete(json!({"id": "p", "_version": version})),
    };
    let answer = match body["errors"].get(0) {
        Some(error) => format!(
            "{} {}",
            error["errorType"].as_str().unwrap(),
            shown(&error["data"])
        ),
        None => format!("answer {}", shown(&body["data"][format!("{verb}Post")])),
    };
    let told = listeners.map(|listener| bench.backend.take_outgoing(listener).len().to_string());
    let stored = match bench.get("p") {
        Json::Null => "nothing".to_owned(),
        record => shown(&record),
    };
    let changes = bench.backend.changes("Post").unwrap().len() - changes;
    format!(
        "{answer}, stored {stored}, +{changes} change, told {}",
        told.join(" ")
    )
}

#[test]
fn a_write_has_one_story_from_answer_to_subscribers() {
    for story in STORIES {
        let columns: Vec<&str> = story.split(" | ").collect();
        let optimistic = columns.get(3).unwrap_or(&columns[2]);
        for (strategy, expected) in [
            (ConflictStrategy::Automerge, columns[2]),
            (ConflictStrategy::OptimisticConcurrency, optimistic),
        ] {
            let told = tell(strategy, columns[0], columns[1]);
            assert_eq!(
                told, expected,
                "{} <- {} under {strategy:?}",
                columns[0], columns[1]
            );
        }
    }
}
