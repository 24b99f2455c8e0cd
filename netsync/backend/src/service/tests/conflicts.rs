//! Conflicts as clients see them: answer, error, stored record, changes.

use super::*;
use crate::config::{IdleMerge, Switches};
use crate::conflict::ConflictStrategy;

fn optimistic() -> Bench {
    let conflict = ConflictStrategy::OptimisticConcurrency;
    bench_with(
        fixtures::blog(),
        BackendConfig {
            conflict,
            ..BackendConfig::with_api_key(KEY)
        },
    )
}

fn changes(bench: &Bench) -> usize {
    bench.backend.changes("Post").unwrap().len()
}

#[test]
fn the_item_of_a_conflict_is_cut_as_an_answer_would_be() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "x", "where": {"lat": 1.0, "lon": 2.0}}));
    let refused = bench.ask(
        "mutation { deletePost(input: {id: \"p1\", _version: 9}) \
         { id title @skip(if: true) where { lat } where { lon __typename } } }",
        json!({}),
    );
    assert_eq!(
        refused["errors"][0]["data"],
        json!({"id": "p1", "where": {"lat": 1.0, "lon": 2.0, "__typename": "Geo"}})
    );
}

#[test]
fn a_refused_conflict_carries_the_stored_record_cut_down_to_the_selection() {
    let bench = optimistic();
    bench.create(json!({"id": "p1", "title": "server", "where": {"lat": 1.0, "lon": 2.0}, "blogId": "b"}));
    let query = "mutation($i: UpdatePostInput!) { updatePost(input: $i) \
                 { id headline: title where { lat } ...V comments { items { id } } } } \
                 fragment V on Post { _version _deleted __typename }";
    let body = bench.ask(query, json!({"i": {"id": "p1", "title": "mine", "_version": 7}}));
    assert_eq!(body["data"], json!({"updatePost": null}));
    let error = &body["errors"][0];
    let stored = json!({
        "id": "p1", "headline": "server", "where": {"lat": 1.0}, "_version": 1, "_deleted": null,
        "__typename": "Post", "comments": null
    });
    assert_eq!(error["data"], stored);
    let expected = (
        "ConflictUnhandled".to_owned(),
        "Conflict resolver rejects mutation.".to_owned(),
    );
    assert_eq!(only_error(&body), expected);
    assert_eq!(
        (&error["path"], &error["errorInfo"]),
        (&json!(["updatePost"]), &Json::Null)
    );
    assert_eq!(
        error["locations"],
        json!([{"line": 1, "column": 34, "sourceName": null}])
    );
    assert_eq!(
        (bench.get("p1")["title"].clone(), changes(&bench)),
        (json!("server"), 1)
    );
}

#[test]
fn the_golden_sequence_of_the_swift_suite_holds_under_optimistic_concurrency() {
    let bench = optimistic();
    assert_eq!(bench.create(json!({"id": "p", "title": "a"}))["_version"], 1);
    let second = bench.update(json!({"id": "p", "title": "b", "_version": 1}));
    assert_eq!(second["data"]["updatePost"]["_version"], 2);
    let conditional = "mutation { updatePost(input: {id: \"p\", title: \"c\", _version: 2}, \
                       condition: {title: {eq: \"x\"}}) { id } }";
    assert_eq!(
        only_error(&bench.ask(conditional, Json::Null)).0,
        "ConditionalCheckFailedException"
    );
    let stale = bench.update(json!({"id": "p", "title": "c", "_version": 1}));
    assert_eq!(only_error(&stale).0, "ConflictUnhandled");
    assert_eq!(stale["errors"][0]["data"]["_version"], 2);
    let again = "mutation { createPost(input: {id: \"p\", title: \"a\"}) { id } }";
    assert_eq!(
        only_error(&bench.ask(again, Json::Null)).0,
        "ConditionalCheckFailedException"
    );
    assert_eq!(changes(&bench), 2);
}

#[test]
fn automerge_answers_with_the_merged_record_and_writes_one_change() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a", "tags": ["x"], "where": {"lat": 1.0}, "meta": "{\"k\":1}"}));
    bench.update(json!({"id": "p", "title": "server", "_version": 1}));
    let merged = bench.update(json!({
        "id": "p", "title": "mine", "tags": ["x", "y"], "where": {"lat": 9.0, "lon": 5.0},
        "meta": "{\"k\":2,\"l\":3}", "score": 1.5, "_version": 1
    }));
    let post = &merged["data"]["updatePost"];
    assert_eq!(post["title"], "server", "scalars of the server stay");
    assert_eq!(post["tags"], json!(["x", "x", "y"]), "lists are appended");
    assert_eq!(post["where"], json!({"lat": 1.0, "lon": 5.0}), "maps are merged");
    assert_eq!(post["meta"], "{\"k\":1,\"l\":3}", "and so is parsed JSON");
    assert_eq!(post["score"], 1.5, "missing values are filled");
    assert_eq!(
        (&post["_version"], &post["updatedAt"]),
        (&json!(3), &json!("2023-11-14T22:13:20.002Z"))
    );
    assert_eq!(changes(&bench), 3);
}

#[test]
fn an_update_without_a_version_seems_to_succeed_and_loses_the_write() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a"}));
    let body = bench.update(json!({"id": "p", "title": "b"}));
    let post = &body["data"]["updatePost"];
    assert_eq!((&post["title"], &post["_version"]), (&json!("a"), &json!(2)));
    assert_eq!(
        only_error(&bench.delete(json!({"id": "p"}))).0,
        "ConflictUnhandled"
    );
}

#[test]
fn a_retried_update_conflicts_with_itself_and_doubles_lists_only() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a"}));
    let update = json!({"id": "p", "title": "b", "tags": ["x"], "_version": 1});
    bench.update(update.clone());
    let again = bench.update(update);
    let post = &again["data"]["updatePost"];
    assert_eq!(
        (&post["title"], &post["tags"], &post["_version"]),
        (&json!("b"), &json!(["x", "x"]), &json!(3))
    );
}

#[test]
fn tombstones_refuse_stale_writes_and_say_that_they_are_deleted() {
    for bench in [bench(), optimistic()] {
        bench.create(json!({"id": "p", "title": "a"}));
        let deleted = bench.delete(json!({"id": "p", "_version": 1}));
        assert_eq!(deleted["data"]["deletePost"]["_deleted"], true);
        let update = bench.update(json!({"id": "p", "title": "b", "_version": 1}));
        for refused in [update, bench.delete(json!({"id": "p", "_version": 1}))] {
            assert_eq!(only_error(&refused).0, "ConflictUnhandled");
            assert_eq!(refused["errors"][0]["data"]["_deleted"], true);
        }
        let missing = json!({"id": "none", "_version": 1});
        for refused in [bench.update(missing.clone()), bench.delete(missing)] {
            assert_eq!(only_error(&refused).0, "ConditionalCheckFailedException");
        }
        assert_eq!(changes(&bench), 2);
    }
}

#[test]
fn each_model_may_have_a_strategy_of_its_own() {
    let config = BackendConfig {
        model_conflicts: [("Post".into(), ConflictStrategy::OptimisticConcurrency)].into(),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.create(json!({"id": "p", "title": "a"}));
    assert_eq!(
        only_error(&bench.update(json!({"id": "p", "title": "b", "_version": 9}))).0,
        "ConflictUnhandled"
    );
    bench.data(
        "mutation { createLabel(input: {id: \"l\", name: \"a\"}) { id } }",
        Json::Null,
    );
    let update = "mutation { updateLabel(input: {id: \"l\", name: \"b\", _version: 9}) { name _version } }";
    assert_eq!(
        bench.data(update, Json::Null)["updateLabel"],
        json!({"name": "a", "_version": 2})
    );
}

#[test]
fn a_merge_that_changes_nothing_is_written_unless_switched_off() {
    // `updatedAt` is rejected like any scalar, so only the version could change.
    let run = |idle_merge| {
        let switches = Switches {
            idle_merge,
            ..Switches::default()
        };
        let bench = bench_with(
            fixtures::blog(),
            BackendConfig {
                switches,
                ..BackendConfig::with_api_key(KEY)
            },
        );
        bench.create(json!({"id": "p", "title": "a"}));
        let version =
            bench.update(json!({"id": "p", "title": "b"}))["data"]["updatePost"]["_version"].clone();
        (version, changes(&bench))
    };
    assert_eq!(run(IdleMerge::Written), (json!(2), 2));
    assert_eq!(run(IdleMerge::Skipped), (json!(1), 1));
}
