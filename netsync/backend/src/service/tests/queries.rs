//! Lists, index queries and relations.

use super::*;
use crate::config::Limits;

fn posts() -> Bench {
    let bench = bench();
    for (id, blog, title, rating) in [
        ("p1", "b", "x", 1),
        ("p2", "b", "a", 2),
        ("p3", "c", "m", 3),
        ("p4", "b", "m", 4),
    ] {
        bench.create(json!({"id": id, "blogId": blog, "title": title, "rating": rating}));
    }
    bench
}

#[test]
fn lists_page_filter_and_show_tombstones() {
    let bench = posts();
    bench.delete(json!({"id": "p1", "_version": 1}));
    let list = |arguments: &str| {
        let query = format!("{{ listPosts{arguments} {{ items {{ id _deleted }} nextToken }} }}");
        bench.data(&query, Json::Null)["listPosts"].take()
    };
    assert_eq!(ids(&list("")), "p1 p2 p3 p4");
    assert_eq!(list("")["items"][0], json!({"id": "p1", "_deleted": true}));
    let first = list("(limit: 3)");
    let token = first["nextToken"].as_str().unwrap();
    let rest = list(&format!("(limit: 3, nextToken: \"{token}\")"));
    assert_eq!(
        (ids(&first), ids(&rest), &rest["nextToken"]),
        ("p1 p2 p3".into(), "p4".into(), &Json::Null)
    );
    let nested = "(filter: {rating: {gt: 2}, or: [{title: {eq: \"m\"}}, {not: {rating: {lt: 9}}}]})";
    assert_eq!(ids(&list(nested)), "p3 p4");
    assert_eq!(
        ids(&list("(filter: {and: [{id: {eq: null}}]})")),
        "",
        "the filter of clients that want nothing"
    );
    assert_eq!(ids(&list("(filter: {})")), "p1 p2 p3 p4");
}

#[test]
fn lists_refuse_what_appsync_refuses() {
    let bench = posts();
    for (field, error_type) in [
        ("listPosts(filter: {and: []})", "Unrecognized Filter"),
        (
            "listPosts(filter: {rating: {between: [1]}})",
            "Unrecognized Filter",
        ),
        ("listPosts(limit: 1001)", "BadRequest"),
        ("listPosts(limit: 0)", "BadRequest"),
        ("listPosts(nextToken: \"x\")", "UserIllegalArgumentException"),
        (
            "listDevices(serialRev: {eq: {serial: \"s\"}})",
            "InvalidArgumentsError",
        ),
        ("listDevices(sortDirection: DESC)", "InvalidArgumentsError"),
    ] {
        let body = bench.ask(&format!("{{ {field} {{ nextToken }} }}"), Json::Null);
        assert_eq!(only_error(&body).0, error_type, "{field}");
    }
}

#[test]
fn a_token_does_not_work_for_another_field_or_filter() {
    let bench = posts();
    let token =
        bench.data("{ listPosts(limit: 1) { nextToken } }", Json::Null)["listPosts"]["nextToken"].take();
    let list = "query($t: String, $f: ModelPostFilterInput) \
                { listPosts(limit: 2, nextToken: $t, filter: $f) { items { id } } }";
    assert_eq!(ids(&bench.data(list, json!({"t": token}))["listPosts"]), "p2 p3");
    let filtered = bench.ask(list, json!({"t": token, "f": {"rating": {"gt": 0}}}));
    assert!(
        only_error(&filtered)
            .1
            .ends_with("Invalid pagination token given."),
        "{filtered}"
    );
    let sync = "query($t: String) { syncPosts(limit: 1, nextToken: $t) { nextToken } }";
    assert_eq!(
        only_error(&bench.ask(sync, json!({"t": token}))).0,
        "UserIllegalArgumentException"
    );
}

#[test]
fn an_index_query_is_sorted_conditioned_and_paged_both_ways() {
    let bench = posts();
    let query = |arguments: &str| {
        let query = format!("{{ postsByBlog(blogId: \"b\"{arguments}) {{ items {{ id }} nextToken }} }}");
        bench.data(&query, Json::Null)["postsByBlog"].take()
    };
    assert_eq!(ids(&query("")), "p2 p4 p1");
    assert_eq!(ids(&query(", sortDirection: DESC")), "p1 p4 p2");
    assert_eq!(ids(&query(", title: {beginsWith: \"m\"}")), "p4");
    assert_eq!(ids(&query(", title: {between: [\"a\", \"m\"]}")), "p2 p4");
    assert_eq!(
        ids(&query(", title: {gt: \"a\"}, filter: {rating: {ne: 4}}")),
        "p1"
    );
    let first = query(", sortDirection: DESC, limit: 2");
    let token = first["nextToken"].as_str().unwrap();
    assert_eq!(
        ids(&query(&format!(
            ", sortDirection: DESC, limit: 2, nextToken: \"{token}\""
        ))),
        "p2"
    );
}

#[test]
fn composite_sort_keys_are_conditioned_by_their_first_fields() {
    let bench = bench();
    for (serial, rev) in [("s1", 1), ("s1", 2), ("s2", 1)] {
        let create = "mutation($i: CreateDeviceInput!) { createDevice(input: $i) { rev } }";
        bench.data(create, json!({"i": {"org": "o", "serial": serial, "rev": rev}}));
    }
    let list = |arguments: &str| {
        let query = format!("{{ listDevices(org: \"o\"{arguments}) {{ items {{ serial rev }} }} }}");
        let data = bench.data(&query, Json::Null);
        let items = data["listDevices"]["items"].as_array().unwrap();
        let one = |item: &Json| format!("{}#{}", item["serial"].as_str().unwrap(), item["rev"]);
        items.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(""), "s1#1 s1#2 s2#1");
    assert_eq!(list(", sortDirection: DESC"), "s2#1 s1#2 s1#1");
    assert_eq!(list(", serialRev: {eq: {serial: \"s1\", rev: 2}}"), "s1#2");
    assert_eq!(list(", serialRev: {beginsWith: {serial: \"s1\"}}"), "s1#1 s1#2");
    assert_eq!(list(", serialRev: {ge: {serial: \"s1\", rev: 2}}"), "s1#2 s2#1");
    assert_eq!(
        list(", serialRev: {between: [{serial: \"s1\", rev: 2}, {serial: \"s2\", rev: 1}]}"),
        "s1#2 s2#1"
    );
}

#[test]
fn relations_are_followed_to_live_and_deleted_records_alike() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a"}));
    for (id, post) in [("c1", "p1"), ("c2", "p1"), ("c3", "gone")] {
        let create = "mutation($i: CreateCommentInput!) { createComment(input: $i) { id } }";
        bench.data(
            create,
            json!({"i": {"id": id, "content": "c", "postCommentsId": post}}),
        );
    }
    let label = bench.data(
        "mutation { createLabel(input: {name: \"l\"}) { id } }",
        Json::Null,
    )["createLabel"]["id"]
        .take();
    let join = "mutation($l: ID!) { createPostLabels(input: {postId: \"p1\", labelId: $l}) { id } }";
    bench.data(join, json!({"l": label}));
    bench.delete(json!({"id": "p1", "_version": 1}));
    let data = bench.data(
        "{ getPost(id: \"p1\") { comments { items { id post { id _deleted } } } \
           labels { items { label { name posts { items { post { id } } } } } } } \
           getComment(id: \"c3\") { id post { id } } }",
        Json::Null,
    );
    let post = json!({"id": "p1", "_deleted": true});
    let comments = json!([{"id": "c1", "post": post}, {"id": "c2", "post": post}]);
    assert_eq!(data["getPost"]["comments"]["items"], comments);
    let labelled = json!({"name": "l", "posts": {"items": [{"post": {"id": "p1"}}]}});
    assert_eq!(data["getPost"]["labels"]["items"][0]["label"], labelled);
    assert_eq!(data["getComment"], json!({"id": "c3", "post": null}));
}

#[test]
fn pages_of_relations_have_tokens_of_their_own() {
    let bench = bench();
    for post in ["p1", "p2"] {
        bench.create(json!({"id": post, "title": "a"}));
        for n in 0..3 {
            let input = json!({"id": format!("{post}c{n}"), "content": "c", "postCommentsId": post});
            let create = "mutation($i: CreateCommentInput!) { createComment(input: $i) { id } }";
            bench.data(create, json!({"i": input}));
        }
    }
    let page = "query($id: ID!, $t: String) \
                { getPost(id: $id) { comments(limit: 2, nextToken: $t) { items { id } nextToken } } }";
    let first = bench.data(page, json!({"id": "p1"}))["getPost"]["comments"].take();
    assert_eq!(ids(&first), "p1c0 p1c1");
    let rest = bench.data(page, json!({"id": "p1", "t": first["nextToken"]}))["getPost"]["comments"].take();
    assert_eq!((ids(&rest).as_str(), &rest["nextToken"]), ("p1c2", &Json::Null));
    let other = bench.ask(page, json!({"id": "p2", "t": first["nextToken"]}));
    assert_eq!(only_error(&other).0, "UserIllegalArgumentException");
}

#[test]
fn composite_foreign_keys_and_has_one_are_followed() {
    let bench = bench_with(fixtures::relations(), BackendConfig::with_api_key(KEY));
    let run = |query: &str| bench.data(query, Json::Null);
    run("mutation { createItem(input: {order: \"o\", line: 7}) { line } }");
    run(
        "mutation { a: createPart(input: {id: \"x\", itemPartsOrder: \"o\", itemPartsLine: 7}) { id } \
         b: createPart(input: {id: \"y\", itemPartsOrder: \"o\", itemPartsLine: 8}) { id } }",
    );
    run("mutation { createBadge(input: {id: \"z\", badgeOrder: \"o\", badgeLine: 7}) { id } }");
    let item =
        run("{ getItem(order: \"o\", line: 7) { parts { items { id item { line } } } badge { id } } }");
    let expected = json!({"parts": {"items": [{"id": "x", "item": {"line": 7}}]}, "badge": {"id": "z"}});
    assert_eq!(item["getItem"], expected);
    run(
        "mutation { a: createTeam(input: {id: \"t\", teamProjectId: \"p\"}) { id } \
         b: createProject(input: {id: \"p\", projectTeamId: \"t\"}) { id } }",
    );
    let project = run("{ getProject(id: \"p\") { team { id project { id team { id } } } } }");
    assert_eq!(
        project["getProject"],
        json!({"team": {"id": "t", "project": {"id": "p", "team": {"id": "t"}}}})
    );
}

#[test]
fn tokens_outlive_a_restart_only_with_a_key_that_is_set() {
    let token_after_restart = |token_key| {
        let config = BackendConfig {
            token_key,
            ..BackendConfig::with_api_key(KEY)
        };
        let dir = tempfile::tempdir().unwrap();
        let open = |seed| {
            let kv = KvStore::open(dir.path()).unwrap();
            let backend =
                Backend::new(fixtures::blog(), config.clone(), kv, SeededEntropy::new(seed)).unwrap();
            Bench {
                backend,
                now_ms: START_MS.into(),
            }
        };
        let bench = open(1);
        bench.create(json!({"id": "p1", "title": "t"}));
        bench.create(json!({"id": "p2", "title": "t"}));
        let page = "query($t: String) { syncPosts(limit: 1, nextToken: $t) { items { id } nextToken } }";
        let token = bench.data(page, json!({}))["syncPosts"]["nextToken"].take();
        drop(bench);
        open(2).ask(page, json!({"t": token}))
    };
    let goes_on = token_after_restart(Some([7; 16]));
    assert_eq!(ids(&goes_on["data"]["syncPosts"]), "p2");
    assert_eq!(
        only_error(&token_after_restart(None)).0,
        "UserIllegalArgumentException"
    );
}

#[test]
fn no_page_is_read_once_a_request_may_read_no_more() {
    let limits = Limits {
        read_bytes_max: 20_000,
        ..Limits::default()
    };
    let config = BackendConfig {
        limits,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.create(json!({"id": "p", "title": "t"}));
    for n in 0..30 {
        let create = format!(
            "mutation {{ createComment(input: {{id: \"{n}\", content: \"c\", postCommentsId: \"p\"}}) {{ id }} }}"
        );
        bench.data(&create, Json::Null);
    }
    let before = bench.backend.store.tally.now().read;
    let body = bench.ask(
        "{ listComments(limit: 1000) { items { post { comments(limit: 1000) { items { id } } } } } }",
        Json::Null,
    );
    assert_eq!(body["errors"][0]["errorType"], "ResponseSizeExceeded", "{body}");
    let read = bench.backend.store.tally.now().read - before;
    // The comments, their post for each, and a few pages of its comments instead of thirty.
    assert!(read < 300, "{read} rows were read");
}
