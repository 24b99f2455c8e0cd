//! Sync: replies, cursors, pages, times to live.

use landfall_backend::BackendConfig;
use serde_json::{Value as Json, json};

use crate::support::{Bench, KEY, MINUTE_MS, START_MS, only_error};

const SDL: &str = "type Post @model {
    id: ID!  title: String  rating: Int
    blogId: ID @index(name: \"byBlog\", sortKeyFields: [\"title\"], queryField: \"postsByBlog\")
}";

const SYNC: &str = "query operation($limit: Int, $nextToken: String, $lastSync: AWSTimestamp, $filter: ModelPostFilterInput) \
    { syncPosts(limit: $limit, nextToken: $nextToken, lastSync: $lastSync, filter: $filter) \
    { items { id title _version _deleted _lastChangedAt } nextToken startedAt } }";

fn sync(bench: &Bench, variables: Json) -> Json {
    bench.data(SYNC, variables)["syncPosts"].take()
}

/// Runs a mutation at a time.
fn at(bench: &Bench, ms: i64, mutation: &str) {
    bench.now_ms.set(START_MS + ms - 1);
    bench.data(&format!("mutation {{ {mutation} {{ id }} }}"), Json::Null);
}

/// The history of the contract's vectors: p1 changed twice, p2 created and deleted.
fn vectors() -> Bench {
    let bench = Bench::of(SDL);
    at(&bench, -100_000, "createPost(input: {id: \"p1\", title: \"a0\"})");
    at(
        &bench,
        500,
        "updatePost(input: {id: \"p1\", title: \"a1\", _version: 1})",
    );
    at(&bench, 900, "createPost(input: {id: \"p2\", title: \"b\"})");
    at(
        &bench,
        1_000,
        "updatePost(input: {id: \"p1\", title: \"a\", _version: 2})",
    );
    at(&bench, 2_000, "deletePost(input: {id: \"p2\", _version: 1})");
    bench.now_ms.set(START_MS + 9_999);
    bench
}

fn row(id: &str, title: &str, version: u64, deleted: bool, at_ms: i64) -> Json {
    json!({"id": id, "title": title, "_version": version, "_deleted": deleted.then_some(true), "_lastChangedAt": START_MS + at_ms})
}

#[test]
fn a_base_sync_gives_one_row_per_record_tombstones_included() {
    let bench = vectors();
    let expected = json!({
        "items": [row("p1", "a", 3, false, 1_000), row("p2", "b", 2, true, 2_000)],
        "nextToken": null, "startedAt": START_MS + 10_000
    });
    assert_eq!(sync(&bench, json!({"lastSync": 0})), expected);
    bench.now_ms.set(START_MS + 9_999);
    assert_eq!(sync(&bench, json!({})), expected);
}

#[test]
fn a_delta_sync_gives_one_row_per_change_in_order_of_time() {
    let expected = json!({
        "items": [
            row("p1", "a1", 2, false, 500), row("p2", "b", 1, false, 900),
            row("p1", "a", 3, false, 1_000), row("p2", "b", 2, true, 2_000)
        ],
        "nextToken": null, "startedAt": START_MS + 10_000
    });
    assert_eq!(sync(&vectors(), json!({"lastSync": START_MS})), expected);
}

#[test]
fn an_empty_page_may_have_a_token_and_the_limit_counts_what_is_evaluated() {
    let bench = vectors();
    let filter = json!({"title": {"eq": "b"}});
    let first = sync(&bench, json!({"limit": 1, "filter": filter}));
    assert_eq!(first["items"], json!([]));
    let second = sync(
        &bench,
        json!({"limit": 1, "filter": filter, "nextToken": first["nextToken"]}),
    );
    assert_eq!(
        (&second["items"][0]["id"], &second["nextToken"]),
        (&json!("p2"), &Json::Null)
    );
}

#[test]
fn started_at_is_that_of_the_first_page() {
    let bench = vectors();
    let first = sync(&bench, json!({"limit": 1}));
    bench.now_ms.set(START_MS + 60_000);
    let second = sync(&bench, json!({"limit": 1, "nextToken": first["nextToken"]}));
    assert_eq!(second["startedAt"], first["startedAt"]);
}

#[test]
fn a_cursor_older_than_the_window_gets_the_base_without_being_told() {
    let bench = vectors();
    bench.now_ms.set(START_MS + 30 * MINUTE_MS);
    let ids = |page: &Json| page["items"].as_array().unwrap().len();
    assert_eq!(
        ids(&sync(&bench, json!({"lastSync": START_MS}))),
        2,
        "the base, not four changes"
    );
}

#[test]
fn a_comparison_with_null_gives_no_rows_and_no_error() {
    for last_sync in [0, START_MS] {
        let page = sync(
            &vectors(),
            json!({"lastSync": last_sync, "filter": {"and": [{"id": {"eq": null}}]}}),
        );
        assert_eq!(page["items"], json!([]));
    }
}

#[test]
fn a_token_is_bound_to_its_field_and_filter_and_cannot_be_made_up() {
    let bench = vectors();
    let token = sync(&bench, json!({"limit": 1}))["nextToken"].take();
    for variables in [
        json!({"nextToken": token, "filter": {"title": {"eq": "a"}}}),
        json!({"nextToken": "AAAA"}),
        json!({"nextToken": ""}),
    ] {
        let body = bench.ask(SYNC, variables);
        assert!(
            only_error(&body).1.contains("Invalid pagination token given"),
            "{body}"
        );
    }
    let list = "query($t: String) { listPosts(nextToken: $t) { items { id } } }";
    assert!(
        only_error(&bench.ask(list, json!({"t": token})))
            .1
            .contains("Invalid pagination token")
    );
    assert!(
        !token.as_str().unwrap().contains("p1"),
        "a token does not show its position"
    );
}

#[test]
fn limits_are_a_hundred_by_default_and_a_thousand_at_most() {
    let bench = Bench::of(SDL);
    for n in 0..101 {
        let create = format!("mutation {{ createPost(input: {{id: \"p{n}\"}}) {{ id }} }}");
        bench.data(&create, Json::Null);
    }
    let page = sync(&bench, json!({}));
    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    assert!(page["nextToken"].is_string());
    for limit in [0, 1_001] {
        assert_eq!(
            only_error(&bench.ask(SYNC, json!({"limit": limit}))).0,
            "BadRequest"
        );
    }
}

#[test]
fn filters_see_the_last_values_of_tombstones() {
    let page = sync(
        &vectors(),
        json!({"filter": {"title": {"eq": "b"}, "_deleted": {"eq": true}}}),
    );
    assert_eq!(page["items"][0]["id"], "p2");
}

#[test]
fn a_tombstone_lives_for_its_time_and_not_longer() {
    let config = BackendConfig {
        base_ttl_minutes: 60,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = Bench::new(SDL, config);
    at(&bench, 0, "createPost(input: {id: \"p\"})");
    at(&bench, 1_000, "deletePost(input: {id: \"p\", _version: 1})");
    let rows = |bench: &Bench| sync(bench, json!({}))["items"].as_array().unwrap().len();
    bench.now_ms.set(START_MS + 60 * MINUTE_MS);
    assert_eq!(rows(&bench), 1);
    bench.now_ms.set(START_MS + 1_000 + 60 * MINUTE_MS);
    assert_eq!(rows(&bench), 0);
    assert_eq!(bench.backend.purge(bench.now_ms.get()).unwrap().tombstones, 1);
}

#[test]
fn rows_of_the_delta_table_live_for_half_an_hour_by_their_ttl() {
    let rows = vectors().backend.delta_rows("Post").unwrap();
    let last = rows.last().unwrap();
    assert_eq!(
        (last.ds_pk.as_str(), last.ds_sk.as_str(), last.ttl_s),
        (
            "Post:2023-11-14",
            "22:13:22.000:p2:2",
            (START_MS + 2_000) / 1_000 + 30 * 60
        )
    );
}

#[test]
fn an_index_query_sorts_conditions_and_filters() {
    let bench = Bench::of(SDL);
    for (id, title, rating) in [("p1", "c", 1), ("p2", "a", 2), ("p3", "b", 3)] {
        let create = format!(
            "mutation {{ createPost(input: {{id: \"{id}\", title: \"{title}\", rating: {rating}, blogId: \"b\"}}) {{ id }} }}"
        );
        bench.data(&create, Json::Null);
    }
    let query = |arguments: &str| {
        let query = format!("{{ postsByBlog(blogId: \"b\"{arguments}) {{ items {{ id }} }} }}");
        let items = bench.data(&query, Json::Null)["postsByBlog"]["items"].take();
        let ids: Vec<String> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect();
        ids.join(" ")
    };
    assert_eq!(query(""), "p2 p3 p1");
    assert_eq!(query(", sortDirection: DESC"), "p1 p3 p2");
    assert_eq!(query(", title: {ge: \"b\"}"), "p3 p1");
    assert_eq!(query(", title: {between: [\"a\", \"b\"]}"), "p2 p3");
    assert_eq!(query(", filter: {rating: {gt: 2}}"), "p3");
    assert_eq!(query(", limit: 1"), "p2");
}

#[test]
fn filters_have_dynamodbs_semantics() {
    let bench = Bench::of(SDL);
    let create = "mutation($i: CreatePostInput!) { createPost(input: $i) { id } }";
    bench.data(
        create,
        json!({"i": {"id": "full", "title": "héllo", "rating": 5}}),
    );
    bench.data(create, json!({"i": {"id": "null", "title": "x", "rating": null}}));
    bench.data(create, json!({"i": {"id": "none", "title": "x"}}));
    let list = |filter: Json| {
        let query = "query($f: ModelPostFilterInput) { listPosts(filter: $f) { items { id } } }";
        let items = bench.data(query, json!({"f": filter}))["listPosts"]["items"].take();
        let mut ids: Vec<String> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids.join(" ")
    };
    let rating = |operators: Json| list(json!({"rating": operators}));
    assert_eq!(
        rating(json!({"attributeExists": true})),
        "full null",
        "a stored null exists"
    );
    assert_eq!(rating(json!({"attributeExists": false})), "none");
    assert_eq!(rating(json!({"attributeType": "_null"})), "null");
    assert_eq!(rating(json!({"attributeType": "number"})), "full");
    assert_eq!(rating(json!({"eq": null})), "null", "never a missing attribute");
    assert_eq!(
        rating(json!({"ne": 5})),
        "none null",
        "true of a missing attribute"
    );
    assert_eq!(rating(json!({"lt": 9})), "full", "false of a missing attribute");
    assert_eq!(rating(json!({"between": [5, 5]})), "full");
    assert_eq!(
        rating(json!({"gt": 1, "lt": 5})),
        "",
        "all operators of one field hold together"
    );
    let title = |operators: Json| list(json!({"title": operators}));
    assert_eq!(title(json!({"size": {"eq": 6}})), "full", "counted in bytes");
    assert_eq!(title(json!({"size": {"between": [1, 5]}})), "none null");
    assert_eq!(title(json!({"beginsWith": "hé"})), "full");
    assert_eq!(title(json!({"contains": "ll"})), "full");
    assert_eq!(title(json!({"notContains": "ll"})), "none null");
    assert_eq!(
        list(json!({"or": [{"rating": {"eq": 5}}, {"id": {"eq": "none"}}]})),
        "full none"
    );
    assert_eq!(list(json!({"not": {"title": {"eq": "x"}}})), "full");
}
