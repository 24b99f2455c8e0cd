//! Creates, updates and deletes: what the server adds, and how values are stored and shown.

use super::*;
use crate::config::{Limits, Switches, VersionInCreate};

#[test]
fn a_create_gets_an_id_defaults_and_timestamps() {
    let bench = bench();
    let post = bench.create(json!({"title": "a"}));
    let id = post["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
    assert_eq!(post["rating"], 0, "@default");
    assert_eq!(post["createdAt"], "2023-11-14T22:13:20.001Z");
    assert_eq!(post["updatedAt"], post["createdAt"]);
    assert_eq!((&post["_version"], &post["_deleted"]), (&json!(1), &Json::Null));
    assert_eq!(post["_lastChangedAt"], START_MS + 1);
    // A default stands in for an explicit null as well, and for nothing that was given.
    assert_eq!(bench.create(json!({"title": "a", "rating": null}))["rating"], 0);
    assert_eq!(bench.create(json!({"title": "a", "rating": 7}))["rating"], 7);
}

#[test]
fn values_of_every_kind_come_back_as_they_went_in() {
    let bench = bench();
    let input = json!({
        "id": "p1", "title": "a", "rating": -3, "score": 2.5, "live": true, "status": "LIVE",
        "kinds": ["DRAFT", "LIVE"], "tags": ["x", "y"], "at": "2026-01-01T10:00:00+01:00",
        "where": {"lat": 1.5, "lon": null}, "meta": "{\"b\":[1,2.5,null],\"a\":\"x\"}", "blogId": "b"
    });
    let mut post = bench.create(input.clone());
    // JSON is parsed on the way in and printed on the way out; its members are sorted.
    assert_eq!(post["meta"].take(), json!("{\"a\":\"x\",\"b\":[1,2.5,null]}"));
    for (name, value) in input
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "meta")
    {
        assert_eq!(&post[name], value, "{name}");
    }
    assert_eq!(bench.create(json!({"title": "t", "score": 2}))["score"], 2.0);
    let encoded = bench.create(json!({"title": "t", "meta": "\"[1]\""}));
    assert_eq!(encoded["meta"], "\"[1]\"", "doubly encoded text stays text");
    let lenient = bench.create(json!({"id": 5, "title": "t", "tags": "one"}));
    assert_eq!(lenient["tags"], json!(["one"]), "a single value is a list of one");
    assert_eq!(bench.get("5")["title"], "t", "numbers are taken for identifiers");
}

#[test]
fn a_null_in_a_create_is_stored_and_in_an_update_removes() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a", "score": null, "blogId": null}));
    bench.create(json!({"id": "p2", "title": "a", "score": 1.0}));
    bench.update(json!({"id": "p2", "score": null, "_version": 1}));
    let matching = |filter: Json| {
        let query = "query($f: ModelPostFilterInput) { listPosts(filter: $f) { items { id } } }";
        ids(&bench.data(query, json!({"f": filter}))["listPosts"])
    };
    assert_eq!(matching(json!({"score": {"eq": null}})), "p1");
    assert_eq!(matching(json!({"score": {"attributeExists": false}})), "p2");
    assert_eq!(
        matching(json!({"blogId": {"attributeExists": false}})),
        "p1 p2",
        "no null in a field of an index"
    );
}

#[test]
fn an_absent_variable_inside_an_input_is_not_a_null() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a", "rating": 4}));
    let query = "mutation($t: String, $r: Int) { updatePost(input: {id: \"p1\", title: $t, rating: $r, _version: 1}) \
                 { title rating } }";
    assert_eq!(
        bench.data(query, json!({"t": "b"}))["updatePost"],
        json!({"title": "b", "rating": 4})
    );
}

#[test]
fn an_update_moves_the_updated_time_only() {
    let bench = bench();
    let post = bench.create(json!({"id": "p1", "title": "a"}));
    let updated = bench.update(json!({"id": "p1", "title": "b", "_version": 1}))["data"]["updatePost"].take();
    assert_eq!(updated["createdAt"], post["createdAt"]);
    assert_eq!(updated["updatedAt"], "2023-11-14T22:13:20.002Z");
    assert_eq!(
        (&updated["_version"], &updated["_lastChangedAt"]),
        (&json!(2), &json!(START_MS + 2))
    );
}

#[test]
fn a_field_that_is_not_null_in_the_type_fails_on_output_once_removed() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a"}));
    let body = bench.update(json!({"id": "p1", "title": null, "_version": 1}));
    assert_eq!(body["data"], json!({"updatePost": null}));
    let text = "Cannot return null for non-nullable type: 'String' within parent 'Post'";
    assert_eq!(only_error(&body).1, format!("{text} (/updatePost/title)"));
    assert_eq!(body["errors"][0]["path"], json!(["updatePost", "title"]));
    // In lists the record becomes null, and its neighbours stay.
    bench.create(json!({"id": "p2", "title": "b"}));
    let body = bench.ask("{ listPosts { items { title } } }", Json::Null);
    assert_eq!(body["data"]["listPosts"]["items"], json!([null, {"title": "b"}]));
    assert_eq!(only_error(&body).1, format!("{text} (/listPosts/items[0]/title)"));
}

#[test]
fn several_mutations_of_one_request_stand_alone() {
    let bench = bench();
    let create = |alias: &str, id: &str, title: &str| {
        format!("{alias}: createPost(input: {{id: \"{id}\", title: \"{title}\"}}) {{ id }}")
    };
    let fields = [
        create("a", "p1", "a"),
        create("b", "p1", "b"),
        create("c", "p2", "c"),
    ];
    let body = bench.ask(&format!("mutation {{ {} }}", fields.join(" ")), Json::Null);
    assert_eq!(
        body["data"],
        json!({"a": {"id": "p1"}, "b": null, "c": {"id": "p2"}})
    );
    assert_eq!(body["errors"][0]["path"], json!(["b"]));
    assert_eq!(bench.get("p1")["title"], "a");
}

#[test]
fn a_number_beyond_the_integers_does_not_take_its_condition_along() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a", "score": 1.0}));
    let delete = |bound: &str| {
        let query = format!(
            "mutation {{ deletePost(input: {{id: \"p1\", _version: 1}}, condition: {{score: {{gt: {bound}}}}}) {{ _version }} }}"
        );
        bench.ask(&query, json!({}))
    };
    for bound in ["99999999999999999999999", "9223372036854775808"] {
        assert_eq!(
            only_error(&delete(bound)).0,
            "ConditionalCheckFailedException",
            "{bound}"
        );
    }
    let done = delete("-99999999999999999999999");
    assert_eq!(done["data"]["deletePost"]["_version"], 2, "{done}");
}

#[test]
fn conditions_are_checked_against_the_stored_record() {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a", "rating": 3}));
    let update = |condition: Json, version: u64| {
        let query = "mutation($i: UpdatePostInput!, $c: ModelPostConditionInput) \
                     { updatePost(input: $i, condition: $c) { rating _version } }";
        bench.ask(
            query,
            json!({"i": {"id": "p1", "rating": 9, "_version": version}, "c": condition}),
        )
    };
    let refused = update(json!({"rating": {"gt": 5}}), 1);
    let (error_type, message) = only_error(&refused);
    assert_eq!(error_type, "ConditionalCheckFailedException");
    let beginning = "The conditional request failed (Service: DynamoDb, Status Code: 400, Request ID: ";
    assert!(message.starts_with(beginning), "{message}");
    assert_eq!(
        (&refused["data"], &refused["errors"][0]["data"]),
        (&json!({"updatePost": null}), &Json::Null)
    );
    let accepted = update(json!({"rating": {"eq": 3}, "title": {"beginsWith": "a"}}), 1);
    assert_eq!(
        accepted["data"]["updatePost"],
        json!({"rating": 9, "_version": 2})
    );
}

#[test]
fn composite_keys_name_one_record() {
    let bench = bench();
    let create =
        "mutation($i: CreateDeviceInput!) { createDevice(input: $i) { org serial rev note made _version } }";
    let device = bench.data(
        create,
        json!({"i": {"org": "o", "serial": "s", "rev": 1, "note": "n"}}),
    );
    assert_eq!(device["createDevice"]["made"], "2023-11-14T22:13:20.001Z");
    bench.data(create, json!({"i": {"org": "o", "serial": "s", "rev": 2}}));
    let get = "query($rev: Int!) { getDevice(org: \"o\", serial: \"s\", rev: $rev) { note _version } }";
    assert_eq!(
        bench.data(get, json!({"rev": 1}))["getDevice"],
        json!({"note": "n", "_version": 1})
    );
    assert_eq!(bench.data(get, json!({"rev": 3}))["getDevice"], Json::Null);
    let delete = "mutation { deleteDevice(input: {org: \"o\", serial: \"s\", rev: 1, _version: 1}) \
                  { rev _deleted _version note } }";
    let deleted = bench.data(delete, Json::Null);
    assert_eq!(
        deleted["deleteDevice"],
        json!({"rev": 1, "_deleted": true, "_version": 2, "note": "n"})
    );
}

#[test]
fn metadata_cannot_be_written() {
    let create = "mutation($input: CreatePostInput!) { createPost(input: $input) { id } }";
    let ask = |bench: &Bench, more: Json| {
        let mut input = json!({"id": "p", "title": "a"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        bench.ask(create, json!({"input": input}))
    };
    let strict = bench();
    assert_eq!(only_error(&ask(&strict, json!({"_version": 4}))).0, "BadRequest");
    assert!(
        only_error(&ask(&strict, json!({"_deleted": true})))
            .1
            .contains("_deleted")
    );
    assert!(
        only_error(&ask(&strict, json!({"createdAt": "2026-01-01T00:00:00Z"})))
            .1
            .contains("createdAt")
    );
    let switches = Switches {
        version_in_create: VersionInCreate::Ignored,
        ..Switches::default()
    };
    let config = BackendConfig {
        switches,
        ..BackendConfig::with_api_key(KEY)
    };
    let lenient = bench_with(fixtures::blog(), config);
    assert_eq!(
        ask(&lenient, json!({"_version": 4}))["data"]["createPost"]["id"],
        "p"
    );
    assert_eq!(lenient.get("p")["_version"], 1);
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let bench = bench();
    let create = "mutation($input: CreatePostInput!) { createPost(input: $input) { id } }";
    let body = bench.ask(create, json!({"input": {"title": "x".repeat(410 * 1024)}}));
    assert!(
        only_error(&body)
            .1
            .starts_with("Item size has exceeded the maximum allowed size"),
        "{body}"
    );
}

#[test]
fn a_commit_is_closed_once_its_answers_are_long() {
    let limits = Limits {
        commit_answers_bytes_max: 3_000,
        ..Limits::default()
    };
    let config = BackendConfig {
        limits,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    let title = "x".repeat(1_000);
    let job = |id: &str, answer: &str| {
        let query =
            format!("mutation {{ createPost(input: {{id: \"{id}\", title: \"{title}\"}}) {{ {answer} }} }}");
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        bench.backend.prepare(START_MS, &call).unwrap()
    };
    let commits = |jobs: &[Job]| {
        let (mut rest, mut sizes) = (jobs, Vec::new());
        while !rest.is_empty() {
            let ran = bench.backend.run_commit(START_MS, rest);
            assert!(
                ran.iter()
                    .all(|ran| matches!(ran, Ran::Replied(reply) if reply.errors == 0))
            );
            sizes.push(ran.len());
            rest = &rest[ran.len()..];
        }
        sizes
    };
    let long: Vec<Job> = (0..10).map(|n| job(&format!("long{n}"), "id title")).collect();
    assert_eq!(commits(&long), [3, 3, 3, 1]);
    // It is the answers that count, not what is written.
    let short: Vec<Job> = (0..10).map(|n| job(&format!("short{n}"), "id")).collect();
    assert_eq!(commits(&short), [10]);
    // Whoever asks for all of them is answered all of them.
    let again: Vec<Job> = (0..10).map(|n| job(&format!("again{n}"), "id title")).collect();
    let replies = bench.backend.run_mutations(START_MS, &again);
    for (n, reply) in replies.iter().enumerate() {
        let body: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["data"]["createPost"]["id"], format!("again{n}"));
    }
    assert_eq!(replies.len(), 10);
}

#[test]
fn the_answers_of_a_commit_are_few_long_ones_unless_it_is_set_otherwise() {
    let limits = Limits::default();
    // The last of them may be as long as any.
    let most = limits.commit_answers_bytes_max + limits.answer_bytes_max;
    assert!(most <= 40 * 1024 * 1024, "{most}");
}
