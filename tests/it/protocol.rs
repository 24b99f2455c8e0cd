//! The line protocol without a network: one body, run on a Landfall shell and on the npm client's driver.
//!
//! What both do alike is what the tests in `interop.rs` can rely on.

use serde_json::{Value, json};

use crate::support::line_client::LineClient;
use crate::support::npm;

/// Round trips until a change that the store has told its observers of must have been seen.
const LOOKS_MAX: usize = 2_000;

/// What a post and a reading answer with: no key that a relation implies.
const NAMES_BY_SDL: [&str; 2] = [
    "blog createdAt id rating title updatedAt",
    "code createdAt device updatedAt value",
];

/// The same where the schema is introspection JSON, in which those keys are fields like any other; the npm client needs them there.
const NAMES_BY_INTROSPECTION: [&str; 2] = [
    "blog blogPostsId createdAt id rating title updatedAt",
    "code createdAt device deviceReadingsOrg deviceReadingsSerial updatedAt value",
];

#[test]
fn the_landfall_shell_speaks_the_protocol() {
    let shell = LineClient::landfall("the Landfall shell", &npm::schema(), &[]);
    converse(shell, &NAMES_BY_SDL);
}

#[test]
fn the_landfall_shell_speaks_the_protocol_by_the_schema_of_the_npm_client() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let introspection = npm::write_introspection(folder.path());
    let shell = LineClient::landfall("the Landfall shell", &introspection, &[]);
    converse(shell, &NAMES_BY_INTROSPECTION);
}

#[test]
fn the_driver_of_the_npm_client_speaks_the_protocol() {
    let Some(driver) = npm::driver() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let introspection = npm::write_introspection(folder.path());
    let client = LineClient::npm("the npm client", driver, &introspection, &[]);
    converse(client, &NAMES_BY_INTROSPECTION);
}

fn converse(mut client: LineClient, names: &[&str; 2]) {
    assert_eq!(client.ok(&json!({"op": "start"})), json!(true));
    single_records(&mut client);
    conditions(&mut client);
    queries(&mut client);
    numbers(&mut client);
    relations(&mut client, names);
    observers(&mut client);
    waits(&mut client);
    refusals(&mut client);
    configuration_and_the_rest(&mut client);
    assert!(client.exit().success());
}

fn single_records(client: &mut LineClient) {
    let blog = client.save("Blog", &json!({"name": "a"}))["id"].clone();
    let post = client.save("Post", &json!({"title": "one", "blog": {"$ref": ["Blog", blog]}}));
    assert_eq!(
        (&post["title"], &post["rating"], &post["blog"]),
        (&json!("one"), &Value::Null, &blog)
    );
    let id = &post["id"];
    assert!(id.is_string());
    assert_eq!(client.update("Post", id, &json!({"rating": 3}))["rating"], 3);
    let got = client.ok(&json!({"op": "get", "model": "Post", "id": id}));
    assert_eq!(
        (&got["title"], &got["rating"], &got["blog"]),
        (&json!("one"), &json!(3), &blog)
    );
    assert_eq!(
        client.ok(&json!({"op": "delete", "model": "Post", "id": id}))["id"],
        *id
    );
    assert_eq!(
        client.ok(&json!({"op": "get", "model": "Post", "id": id})),
        Value::Null
    );
    client.delete("Blog", &blog);
}

fn conditions(client: &mut LineClient) {
    let id = client.save("Post", &json!({"title": "kept", "rating": 1}))["id"].clone();
    let update = |rating: i64| {
        json!({"op": "update", "model": "Post", "id": id, "fields": {"rating": 2},
        "where": ["rating", "eq", rating]})
    };
    client.send(&update(9)).expect_err("the condition does not hold");
    assert_eq!(client.ok(&update(1))["rating"], 2);
    let delete =
        |rating: i64| json!({"op": "delete", "model": "Post", "id": id, "where": ["rating", "gt", rating]});
    client.send(&delete(2)).expect_err("the condition does not hold");
    assert_eq!(client.ok(&delete(1))["id"], id);
}

fn queries(client: &mut LineClient) {
    for (title, rating) in [("ant", 3), ("bee", 1), ("cat", 2), ("dog", 4)] {
        client.save("Post", &json!({"title": title, "rating": rating}));
    }
    let mut titles = |keys: Value| {
        let mut command = json!({"op": "query", "model": "Post", "sort": [["rating", "ASCENDING"]]});
        for (key, value) in keys.as_object().expect("the keys are an object") {
            command[key] = value.clone();
        }
        let rows = client.ok(&command);
        let title = |row: &Value| row["title"].as_str().expect("titles are text").to_owned();
        rows.as_array()
            .expect("a query answers with a list")
            .iter()
            .map(title)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(titles(json!({})), "bee cat ant dog");
    assert_eq!(
        titles(json!({"sort": [["title", "DESCENDING"]]})),
        "dog cat bee ant"
    );
    assert_eq!(titles(json!({"limit": 3})), "bee cat ant");
    assert_eq!(titles(json!({"limit": 3, "page": 1})), "dog");
    for (predicate, expected) in [
        (json!(["rating", "eq", 2]), "cat"),
        (json!(["rating", "ne", 2]), "bee ant dog"),
        (json!(["rating", "le", 2]), "bee cat"),
        (json!(["rating", "lt", 2]), "bee"),
        (json!(["rating", "ge", 3]), "ant dog"),
        (json!(["rating", "gt", 3]), "dog"),
        (json!(["rating", "between", 2, 3]), "cat ant"),
        (json!(["title", "beginsWith", "b"]), "bee"),
        (json!(["title", "contains", "o"]), "dog"),
        (json!(["title", "notContains", "t"]), "bee dog"),
        (
            json!({"and": [["rating", "gt", 1], ["title", "contains", "t"]]}),
            "cat ant",
        ),
        (
            json!({"or": [["rating", "eq", 1], {"and": [["rating", "eq", 4]]}]}),
            "bee dog",
        ),
        (
            json!({"not": {"or": [["rating", "eq", 1], ["rating", "eq", 4]]}}),
            "cat ant",
        ),
    ] {
        assert_eq!(titles(json!({"where": predicate})), expected, "{predicate}");
    }
    assert_eq!(client.ok(&json!({"op": "count", "model": "Post"})), 4);
    assert_eq!(
        client.ok(&json!({"op": "count", "model": "Post", "where": ["rating", "gt", 1]})),
        3
    );
    let deleted = client.ok(&json!({"op": "delete", "model": "Post", "where": ["rating", "gt", 1]}));
    assert_eq!(deleted.as_array().map(Vec::len), Some(3));
    let deleted = client.ok(&json!({"op": "delete", "model": "Post", "all": true}));
    assert_eq!(deleted[0]["title"], "bee");
    assert_eq!(client.ok(&json!({"op": "count", "model": "Post"})), 0);
}

/// JSON has one kind of number: a script in JavaScript cannot write 4.0, and one in Python writes it without being asked.
fn numbers(client: &mut LineClient) {
    let reading = client.save("Reading", &json!({"code": "n1", "value": 4}))["code"].clone();
    for value in [json!(4), json!(4.0)] {
        client.wait_for("Reading", &reading, &json!({"value": value}));
    }
    let post = client.save("Post", &json!({"title": "numbers", "rating": 3.0}));
    assert_eq!(post["rating"].as_f64(), Some(3.0));
    for rating in [json!(3), json!(3.0)] {
        client.wait_for("Post", &post["id"], &json!({"rating": rating}));
    }
    let near =
        json!({"op": "waitFor", "model": "Post", "id": post["id"], "fields": {"rating": 3.5}, "ms": 50});
    client.send(&near).expect_err("3 is not 3.5");
    client.delete("Reading", &reading);
    client.delete("Post", &post["id"]);
}

/// What a record of a model with relations answers with, and nothing beside it.
fn relations(client: &mut LineClient, names: &[&str; 2]) {
    let blog = client.save("Blog", &json!({"name": "b"}))["id"].clone();
    client.save("Device", &json!({"org": "o", "serial": 1}));
    let device = json!({"org": "o", "serial": 1});
    let post = client.save("Post", &json!({"title": "t", "blog": {"$ref": ["Blog", blog]}}));
    let reading = client.save(
        "Reading",
        &json!({"code": "r1", "device": {"$ref": ["Device", device]}}),
    );
    assert_eq!((&post["blog"], &reading["device"]), (&blog, &device));
    for (record, names) in [&post, &reading].into_iter().zip(names) {
        let mut keys: Vec<&str> = record
            .as_object()
            .expect("a record")
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        assert_eq!(keys.join(" "), *names, "{record}");
    }
    for (model, id) in [
        ("Post", &post["id"]),
        ("Reading", &json!("r1")),
        ("Device", &device),
        ("Blog", &blog),
    ] {
        client.delete(model, id);
    }
}

fn observers(client: &mut LineClient) {
    client.save("Blog", &json!({"name": "before"}));
    assert_eq!(
        client.ok(&json!({"op": "observe", "model": "Post", "where": ["rating", "gt", 0]})),
        true
    );
    assert_eq!(client.ok(&json!({"op": "observeQuery", "model": "Blog"})), true);
    client.save("Post", &json!({"title": "unseen", "rating": 0}));
    let id = client.save("Post", &json!({"title": "seen", "rating": 1}))["id"].clone();
    let mut seen = collect(client, "observed", 1);
    client.update("Post", &id, &json!({"rating": 2}));
    seen.extend(collect(client, "observed", 1));
    client.delete("Post", &id);
    seen.extend(collect(client, "observed", 1));
    let changes: Vec<_> = seen
        .iter()
        .map(|change| (&change["op"], &change["el"]["id"]))
        .collect();
    assert_eq!(
        changes,
        [
            (&json!("INSERT"), &id),
            (&json!("UPDATE"), &id),
            (&json!("DELETE"), &id)
        ]
    );
    let snapshots = collect(client, "snapshots", 1);
    assert_eq!(snapshots[0]["items"][0]["name"], "before");
    assert!(snapshots[0]["isSynced"].is_boolean());
}

/// What `op` has kept, once there is as much of it as expected.
fn collect(client: &mut LineClient, op: &str, expected: usize) -> Vec<Value> {
    let mut kept = Vec::new();
    for _ in 0..LOOKS_MAX {
        kept.extend(
            client
                .ok(&json!({"op": op}))
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        if kept.len() >= expected {
            return kept;
        }
    }
    panic!("{op} has {} of {expected}: {kept:?}", kept.len());
}

fn waits(client: &mut LineClient) {
    let id = client.save("Post", &json!({"title": "waited for", "rating": 1}))["id"].clone();
    assert_eq!(
        client.wait_for("Post", &id, &json!({"rating": 1}))["title"],
        "waited for"
    );
    let never = json!({"op": "waitFor", "model": "Post", "id": id, "fields": {"rating": 2}, "ms": 50});
    let error = client.send(&never).expect_err("it is not so");
    assert!(
        error.contains("waited for"),
        "the last record seen is a part of: {error}"
    );
    client.delete("Post", &id);
    client.wait_gone("Post", &id);
    let never = json!({"op": "waitHub", "event": "noSuchEvent", "ms": 50});
    client.send(&never).expect_err("it never comes");
}

fn refusals(client: &mut LineClient) {
    for refused in [
        json!({"op": "noSuchOp"}),
        json!({"op": "get", "model": "NoSuchModel", "id": "x"}),
        json!({"op": "query", "model": "Post", "where": ["noSuchField", "eq", 1]}),
        json!({"op": "query", "model": "Post", "where": ["rating", "noSuchOperator", 1]}),
        json!({"op": "save", "model": "Post", "fields": {"rating": 1}}),
        json!({"op": "save", "model": "Post", "fields": {"title": 1}}),
        json!({"op": "update", "model": "Post", "id": "nobody", "fields": {"rating": 1}}),
        json!({"op": "delete", "model": "Post"}),
        json!({"op": "configure", "conflict": "both"}),
    ] {
        let error = client.send(&refused).expect_err(&refused.to_string());
        assert!(!error.is_empty(), "{refused}");
    }
    client.send_line("no json").expect_err("this is no command");
    assert_eq!(
        client.ok(&json!({"op": "count", "model": "Post", "where": ["title", "eq", "x"]})),
        0
    );
}

fn configuration_and_the_rest(client: &mut LineClient) {
    let configure = json!({"op": "configure", "conflict": "local", "syncExpressions": [["Post", ["rating", "gt", 1]]],
        "syncPageSize": 100, "maxRecordsToSync": 1000, "fullSyncInterval": 60});
    assert_eq!(client.ok(&configure), true);
    for list in ["errors", "conflicts", "outbox", "hub"] {
        assert!(client.ok(&json!({"op": list})).is_array(), "{list}");
    }
    let early = client.ok(&json!({"op": "time"})).as_f64();
    assert!(early.is_some() && early <= client.ok(&json!({"op": "time"})).as_f64());
    for value in [false, true] {
        assert_eq!(client.ok(&json!({"op": "online", "value": value})), true);
    }
    for op in ["stop", "start", "clear", "start"] {
        assert_eq!(client.ok(&json!({"op": op})), true, "{op}");
    }
    assert_eq!(
        client.ok(&json!({"op": "count", "model": "Blog"})),
        0,
        "clear leaves nothing"
    );
}
