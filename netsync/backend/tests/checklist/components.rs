//! The components that the contract names, as far as they can be seen from outside.

use std::sync::Arc;

use landfall_backend::{Backend, BackendConfig, ConflictStrategy, FieldError, SeededEntropy};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};

use crate::support::{Bench, KEY, only_error};

const SDL: &str = "type Post @model { title: String! @default(value: \"untitled\")  rating: Int @default(value: \"3\")  live: Boolean @default(value: \"true\") }
type Label @model { name: String }";

#[test]
fn the_same_service_is_called_in_process_without_sockets() {
    let bench = Bench::of(SDL);
    let created = bench.data(
        "mutation { createPost(input: {title: \"t\"}) { _version } }",
        Json::Null,
    );
    assert_eq!(created["createPost"]["_version"], 1);
}

#[test]
fn base_row_delta_row_and_message_are_one_commit() {
    let bench = Bench::of(SDL);
    let listener = bench.listen(&["onCreatePost { id }"]);
    bench.data(
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }",
        Json::Null,
    );
    let counts = (
        bench.backend.records("Post").unwrap().len(),
        bench.backend.changes("Post").unwrap().len(),
        bench.heard(listener).len(),
    );
    assert_eq!(counts, (1, 1, 1));
}

#[test]
fn a_failed_delta_write_can_be_injected_and_the_mutation_took_effect() {
    let bench = Bench::of(SDL);
    bench.backend.faults().fail_fields(1, FieldError::DeltaSyncWrite);
    let body = bench.ask(
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "DeltaSyncWriteError");
    assert_eq!(bench.backend.records("Post").unwrap().len(), 1);
}

#[test]
fn max_conflicts_can_be_injected_and_nothing_was_written() {
    let bench = Bench::of(SDL);
    bench.backend.faults().fail_fields(1, FieldError::MaxConflicts);
    let body = bench.ask(
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "MaxConflicts");
    assert!(bench.backend.records("Post").unwrap().is_empty());
}

#[test]
fn calls_can_be_failed_with_a_status() {
    let bench = Bench::of(SDL);
    for status in [401, 429, 500] {
        bench.backend.faults().fail_next(1, status);
        assert_eq!(
            bench.post(&json!({"query": "{ listPosts { nextToken } }"})).0,
            status
        );
    }
    bench.data("{ listPosts { nextToken } }", Json::Null);
}

#[test]
fn fan_out_can_be_paused_and_messages_dropped() {
    let bench = Bench::of(SDL);
    let listener = bench.listen(&["onCreateLabel { name }"]);
    let create = || {
        bench.data(
            "mutation { createLabel(input: {name: \"n\"}) { name } }",
            Json::Null,
        );
    };
    bench.backend.faults().pause_fan_out();
    create();
    assert_eq!(bench.heard(listener).len(), 0);
    bench.backend.resume_fan_out();
    assert_eq!(bench.heard(listener).len(), 1);
    bench.backend.faults().drop_messages(1);
    create();
    create();
    assert_eq!(bench.heard(listener).len(), 1);
}

#[test]
fn each_model_may_resolve_conflicts_in_its_own_way() {
    let config = BackendConfig {
        model_conflicts: [("Label".into(), ConflictStrategy::OptimisticConcurrency)].into(),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = Bench::new(SDL, config);
    bench.data("mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } createLabel(input: {id: \"l\", name: \"n\"}) { id } }", Json::Null);
    bench.data(
        "mutation { updatePost(input: {id: \"p\", title: \"u\"}) { id } }",
        Json::Null,
    );
    let body = bench.ask(
        "mutation { updateLabel(input: {id: \"l\", name: \"m\"}) { id } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "ConflictUnhandled");
}

#[test]
fn defaults_fill_what_is_absent_or_null_on_create_only() {
    let bench = Bench::of(SDL);
    let create = "mutation($i: CreatePostInput!) { createPost(input: $i) { title rating live } }";
    let created = |input: Json| bench.data(create, json!({"i": input}))["createPost"].take();
    assert_eq!(
        created(json!({"id": "a", "title": "t"})),
        json!({"title": "t", "rating": 3, "live": true})
    );
    assert_eq!(
        created(json!({"title": "t", "rating": null, "live": false})),
        json!({"title": "t", "rating": 3, "live": false})
    );
    // The field stays required in the input, whatever its default.
    let body = bench.ask(create, json!({"i": {}}));
    assert!(only_error(&body).1.contains("coerced Null value"), "{body}");
    let updated = bench.data(
        "mutation { updatePost(input: {id: \"a\", rating: null, _version: 1}) { rating } }",
        Json::Null,
    );
    assert_eq!(updated["updatePost"]["rating"], Json::Null);
}

#[test]
fn rows_outlive_the_process_and_so_do_cursors() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let schema = Arc::new(landfall_codegen::parse_sdl("schema.graphql", SDL).unwrap());
        let kv = KvStore::open(directory.path()).unwrap();
        let backend = Backend::new(
            schema,
            BackendConfig::with_api_key(KEY),
            kv,
            SeededEntropy::new(1),
        )
        .unwrap();
        Bench {
            backend,
            now_ms: crate::support::START_MS.into(),
        }
    };
    let bench = open();
    bench.data(
        "mutation { createLabel(input: {id: \"l\", name: \"n\"}) { id } }",
        Json::Null,
    );
    let started_at = bench.data("{ syncLabels { startedAt } }", Json::Null)["syncLabels"]["startedAt"].take();
    drop(bench);
    let bench = open();
    bench.now_ms.set(started_at.as_i64().unwrap());
    bench.data(
        "mutation { updateLabel(input: {id: \"l\", name: \"m\", _version: 1}) { id } }",
        Json::Null,
    );
    let delta = bench.data(
        "query($l: AWSTimestamp) { syncLabels(lastSync: $l) { items { _version } } }",
        json!({"l": started_at}),
    );
    assert_eq!(delta["syncLabels"]["items"], json!([{"_version": 2}]));
}
