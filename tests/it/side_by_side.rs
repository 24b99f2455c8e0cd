//! The same scenarios with the npm client of Amplify DataStore and with a Landfall store, against `landfall serve`.
//!
//! Owns what needs no second client: the order of a start, conditions, what mutations carry, broken sockets, pages in
//! part, models that are refused, expressions, conflicts. Each scenario is two tests, `with_npm` and `with_landfall`; where
//! Landfall does otherwise on purpose, both are asserted ([`Make`]) and `docs/PARITY.md` says why. Both together are in
//! `interop.rs`. Without Node.js the npm client's half is skipped (`support/npm.rs`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::line_client::LineClient;
use crate::support::make::{Make, side_by_side};
use crate::support::npm;
use crate::support::proxy::Proxy;
use crate::support::serve::ServeProcess;

side_by_side! {
    a_start_tells_its_events_in_order
    a_delta_sync_brings_what_was_missed
    conditions_hold_for_updates_and_deletes
    mutations_carry_what_was_changed_and_the_version
    children_are_deleted_before_their_parent
    what_was_missed_is_synced_after_the_socket_broke
    a_page_with_a_record_that_cannot_be_read_is_taken_in_part
    a_model_that_may_not_be_read_leaves_the_others_in_sync
    only_what_the_expression_covers_is_synced_and_heard
    a_conflict_that_accepts_the_remote_record_is_settled
}

/// Longest time until a client has noticed that its socket broke, connected and synced, in milliseconds. It takes about
/// five seconds on a quiet machine.
const HEALED_MS: u64 = 60_000;

/// How often the server is asked for what a client has sent it, a few milliseconds each.
const ASKED_MAX: usize = 2_000;

/// What a client selects of a post; messages are made of what mutations select.
const POST: &str =
    "id title rating createdAt updatedAt _version _lastChangedAt _deleted blog { id _deleted }";

/// What every start tells, in order.
const START: [&str; 5] = [
    "subscriptionsEstablished",
    "syncQueriesStarted",
    "modelSynced",
    "syncQueriesReady",
    "ready",
];

/// The models of the schema, in its order.
const MODELS: [&str; 5] = ["Blog", "Post", "Device", "Reading", "Sample"];

/// A client that has not been started yet, a server to develop against, and the way between them.
struct Pair {
    client: LineClient,
    way: Proxy,
    server: ServeProcess,
    _folder: TempDir,
}

impl Pair {
    /// `None` if the test is to be skipped.
    fn new(make: Make) -> Option<Self> {
        Self::with(make, &npm::schema(), &[])
    }

    fn with(make: Make, schema: &Path, args: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let server = ServeProcess::start(schema, &[&["--dev"], args].concat());
        let way = Proxy::before(&server);
        let client = make.open(schema, folder.path(), &way.url)?;
        Some(Self {
            client,
            way,
            server,
            _folder: folder,
        })
    }

    fn start(&mut self) {
        self.client.ok(&json!({"op": "start"}));
        self.client.wait_hub("ready");
    }

    /// Somebody else makes a post.
    fn create_post(&self, id: &str, rating: i32) {
        let answer = self.server.ask(&format!(
            "mutation {{ createPost(input: {{id: \"{id}\", title: \"t\", rating: {rating}}}) {{ {POST} }} }}"
        ));
        assert_eq!(answer["data"]["createPost"]["id"], id, "{answer}");
    }

    /// Waits until the server has nothing more to get.
    fn sent(&mut self) {
        self.client
            .wait_hub_with("outboxStatus", &json!({"isEmpty": true}));
    }

    /// The errors that the client's error handler was given.
    fn errors(&mut self) -> Vec<Value> {
        match self.client.ok(&json!({"op": "errors"})) {
            Value::Array(errors) => errors,
            other => panic!("errors are a list, not {other}"),
        }
    }

    /// Every Hub event until all of these were told.
    fn hear_until(&mut self, last: &[&str]) -> Vec<Value> {
        let mut heard: Vec<Value> = Vec::new();
        for _ in 0..ASKED_MAX {
            match self.client.ok(&json!({"op": "hub"})) {
                Value::Array(events) => heard.extend(events),
                other => panic!("events are a list, not {other}"),
            }
            let told = |name: &&str| heard.iter().any(|event| event["event"] == **name);
            if last.iter().all(told) {
                return heard;
            }
        }
        panic!("not all of {last:?} are told: {heard:#?}");
    }

    /// The variables of each request for that field so far.
    fn variables(&self, field: &str) -> Vec<Value> {
        let seen = self.way.seen();
        let requests = seen.requests_for(field);
        requests
            .iter()
            .map(|request| request["variables"].clone())
            .collect()
    }

    fn has(&mut self, id: &str) -> bool {
        let get = json!({"op": "get", "model": "Post", "id": id});
        !self.client.ok(&get).is_null()
    }
}

/// The events of a start in Amplify's order, and models parents first.
fn a_start_tells_its_events_in_order(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.client.ok(&json!({"op": "start"}));
    let heard = pair.hear_until(&["ready", "outboxStatus"]);
    let names: Vec<&str> = heard.iter().filter_map(|event| event["event"].as_str()).collect();
    let first = |name: &str| names.iter().position(|told| *told == name);
    let places = START.map(first);
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{names:?}"
    );
    let data = |name: &str| first(name).map(|at| &heard[at]["data"]);
    assert_eq!(data("networkStatus"), Some(&json!({"active": true})));
    assert_eq!(data("outboxStatus"), Some(&json!({"isEmpty": true})));
    let models = &data("syncQueriesStarted").expect("it was told")["models"];
    assert_eq!(*models, json!(MODELS));
    let synced: Vec<&Value> = heard
        .iter()
        .filter(|event| event["event"] == "modelSynced")
        .map(|event| &event["data"])
        .collect();
    let place = |name: &str| synced.iter().position(|event| event["model"] == name);
    assert!(are_parents_first(synced.len(), place), "{synced:?}");
    for event in &synced {
        let nothing = json!({"model": event["model"], "isFullSync": true, "isDeltaSync": false,
            "counts": {"new": 0, "updated": 0, "deleted": 0}});
        assert_eq!(**event, nothing);
    }
}

/// Whether a list of so many models has each of the schema once, and parents before their children.
fn are_parents_first(listed: usize, place: impl Fn(&str) -> Option<usize>) -> bool {
    let has_all = listed == MODELS.len() && MODELS.iter().all(|model| place(model).is_some());
    let are_before = |(parent, child): &(&str, &str)| place(parent) < place(child);
    has_all && [("Blog", "Post"), ("Device", "Reading")].iter().all(are_before)
}

/// After a spell offline only what was missed is asked for, and the server answers from its delta table.
fn a_delta_sync_brings_what_was_missed(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.create_post("known", 1);
    pair.start();
    pair.client.go_offline();
    pair.create_post("missed", 2);
    pair.client.forget_hub();
    pair.client.go_online();
    let synced = MODELS.map(|_| pair.client.wait_hub("modelSynced"));
    let posts = synced.iter().find(|event| event["model"] == "Post");
    assert_eq!(
        posts,
        Some(&json!({"model": "Post", "isFullSync": false, "isDeltaSync": true,
            "counts": {"new": 1, "updated": 0, "deleted": 0}}))
    );
    pair.client
        .wait_for("Post", &json!("missed"), &json!({"rating": 2}));
    let asked = pair.variables("syncPosts");
    let last_sync = |at: usize| asked[at]["lastSync"].as_i64().unwrap_or(0);
    assert_eq!((asked.len(), last_sync(0)), (2, 0), "{asked:?}");
    assert!(last_sync(1) > 0, "{asked:?}");
}

fn conditions_hold_for_updates_and_deletes(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.start();
    let id = pair.client.save("Blog", &json!({"name": "a"}))["id"].clone();
    pair.client.wait_for("Blog", &id, &json!({"_version": 1}));
    let (model, condition) = ("Blog", json!(["name", "eq", "a"]));
    let update =
        json!({"op": "update", "model": model, "id": id, "fields": {"name": "b"}, "where": condition});
    pair.client.ok(&update);
    pair.client
        .wait_for(model, &id, &json!({"name": "b", "_version": 2}));
    // What does not hold here is not sent.
    assert!(pair.client.send(&update).is_err());
    let condition = json!({"or": [["name", "eq", "c"], ["name", "beginsWith", "b"]]});
    pair.client
        .ok(&json!({"op": "delete", "model": model, "id": id, "where": condition}));
    pair.client.wait_gone(model, &id);
    pair.sent();
    let query = format!("{{ getBlog(id: {id}) {{ name _version _deleted }} }}");
    let is_deleted = |pair: &Pair| pair.server.ask(&query)["data"]["getBlog"]["_deleted"] == true;
    assert!(
        (0..ASKED_MAX).any(|_| is_deleted(&pair)),
        "the delete does not arrive"
    );
    let tombstone = pair.server.ask(&query)["data"]["getBlog"].take();
    assert_eq!(tombstone, json!({"name": "b", "_version": 3, "_deleted": true}));
    assert_eq!(pair.errors(), [] as [Value; 0]);
    assert_eq!(
        pair.variables("updateBlog"),
        [
            json!({"input": {"id": id, "name": "b", "_version": 1}, "condition": {"and": [{"name": {"eq": "a"}}]}})
        ]
    );
    let either = json!({"or": [{"name": {"eq": "c"}}, {"name": {"beginsWith": "b"}}]});
    assert_eq!(
        pair.variables("deleteBlog"),
        [json!({"input": {"id": id, "_version": 2}, "condition": either})]
    );
}

fn mutations_carry_what_was_changed_and_the_version(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.start();
    let blog = pair.client.save("Blog", &json!({"name": "a"}))["id"].clone();
    pair.client.wait_for("Blog", &blog, &json!({"_version": 1}));
    let fields = json!({"title": "t", "rating": 1, "blog": {"$ref": ["Blog", blog]}});
    let id = pair.client.save("Post", &fields)["id"].clone();
    pair.client.wait_for("Post", &id, &json!({"_version": 1}));
    pair.client.update("Post", &id, &json!({"rating": 2}));
    pair.client.wait_for("Post", &id, &json!({"_version": 2}));
    pair.client.update("Post", &id, &json!({"rating": null}));
    pair.client.wait_for("Post", &id, &json!({"_version": 3}));
    pair.client.delete("Post", &id);
    pair.way.wait_until("the delete is sent", |seen| {
        !seen.requests_for("deletePost").is_empty()
    });
    assert_eq!(
        pair.variables("createPost"),
        [json!({"input": {"id": id, "title": "t", "rating": 1, "blogPostsId": blog}})]
    );
    // Without a condition the npm client says so, and Landfall says nothing of it.
    let variables = |input: Value| match make {
        Make::Npm => json!({"input": input, "condition": null}),
        Make::Landfall => json!({"input": input}),
    };
    assert_eq!(
        pair.variables("updatePost"),
        [
            variables(json!({"id": id, "rating": 2, "_version": 1})),
            variables(json!({"id": id, "rating": null, "_version": 2})),
        ]
    );
    assert_eq!(
        pair.variables("deletePost"),
        [variables(json!({"id": id, "_version": 3}))]
    );
}

fn children_are_deleted_before_their_parent(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.start();
    let blog = pair.client.save("Blog", &json!({"name": "a"}))["id"].clone();
    pair.client.wait_for("Blog", &blog, &json!({"_version": 1}));
    for title in ["one", "two"] {
        let fields = json!({"title": title, "blog": {"$ref": ["Blog", blog]}});
        let id = pair.client.save("Post", &fields)["id"].clone();
        pair.client.wait_for("Post", &id, &json!({"_version": 1}));
    }
    pair.client.delete("Blog", &blog);
    pair.way.wait_until("the parent's delete is sent", |seen| {
        !seen.requests_for("deleteBlog").is_empty()
    });
    let seen = pair.way.seen();
    assert_eq!(
        seen.requests_for("deletePost").len(),
        2,
        "the children's deletes were sent before the parent's"
    );
}

fn what_was_missed_is_synced_after_the_socket_broke(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.start();
    pair.client.forget_hub();
    pair.server.inject(&["cut-sockets"]);
    pair.create_post("missed", 1);
    let waiting = json!({"op": "waitFor", "model": "Post", "id": "missed", "ms": HEALED_MS});
    assert_eq!(pair.client.ok(&waiting)["_version"], 1);
    let told = pair.hear_until(&["syncQueriesReady"]);
    let names: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
    // The npm client connects anew without a word; Landfall says that its subscriptions are live again.
    let is_said = names.contains(&&json!("subscriptionsEstablished"));
    assert_eq!(is_said, make == Make::Landfall, "{names:?}");
}

fn a_page_with_a_record_that_cannot_be_read_is_taken_in_part(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    for id in ["before", "broken", "later"] {
        pair.create_post(id, 1);
    }
    let broken = pair
        .server
        .ask("mutation { updatePost(input: {id: \"broken\", title: null, _version: 1}) { id } }");
    assert_eq!(broken["data"]["updatePost"]["id"], "broken", "{broken}");
    pair.client.ok(&json!({"op": "start"}));
    let told = pair.client.wait_hub("nonApplicableDataReceived");
    assert_eq!(told["modelName"], "Post", "{told}");
    pair.client.wait_hub("ready");
    for id in ["before", "later"] {
        pair.client.wait_for("Post", &json!(id), &json!({"title": "t"}));
    }
    assert!(!pair.has("broken"));
    let errors = pair.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (kind, process, model) = (
        &errors[0]["errorType"],
        &errors[0]["process"],
        &errors[0]["model"],
    );
    assert_eq!(
        (kind, process, model),
        (&json!("BadRecord"), &json!("sync"), &json!("Post"))
    );
}

fn a_model_that_may_not_be_read_leaves_the_others_in_sync(make: Make) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let schema = folder.path().join("schema.graphql");
    let sdl = std::fs::read_to_string(npm::schema()).expect("the schema is there");
    let open = "type Device @model @auth(rules: [{ allow: public }])";
    assert!(sdl.contains(open));
    let closed = sdl.replace(open, "type Device @model @auth(rules: [{ allow: private }])");
    std::fs::write(&schema, closed).expect("the temporary folder is writable");
    let Some(mut pair) = Pair::with(make, &schema, &[]) else {
        return;
    };
    pair.create_post("p", 1);
    pair.start();
    pair.client.wait_for("Post", &json!("p"), &json!({"_version": 1}));
    let errors = pair.errors();
    assert!(
        errors
            .iter()
            .all(|error| error["errorType"] == "Unauthorized" && error["model"] == "Device"),
        "{errors:#?}"
    );
    let told: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {}", error["process"], error["operation"]))
        .collect();
    let distinct = told.iter().collect::<BTreeSet<_>>();
    let of = |process: &str| distinct.iter().filter(|what| what.contains(process)).count();
    assert_eq!((of("sync"), of("subscribe")), (1, 3), "{errors:#?}");
    // The npm client asks once more for what is not acknowledged soon enough, and tells each refusal.
    if make == Make::Landfall {
        assert_eq!(told.len(), distinct.len(), "{errors:#?}");
    }
}

fn only_what_the_expression_covers_is_synced_and_heard(make: Make) {
    let Some(mut pair) = Pair::new(make) else { return };
    pair.create_post("low", 1);
    pair.create_post("high", 9);
    pair.client
        .ok(&json!({"op": "configure", "syncExpressions": [["Post", ["rating", "gt", 5]]]}));
    pair.start();
    assert_eq!((pair.has("high"), pair.has("low")), (true, false));
    pair.create_post("lower", 2);
    pair.create_post("higher", 8);
    pair.client
        .wait_for("Post", &json!("higher"), &json!({"rating": 8}));
    // Messages come in the order of their commits.
    assert!(!pair.has("lower"));
    let filter = json!({"and": [{"rating": {"gt": 5}}]});
    assert_eq!(pair.variables("syncPosts")[0]["filter"], filter);
    let seen = pair.way.seen();
    let filtered = ["onCreatePost", "onUpdatePost", "onDeletePost"].map(|field| {
        let start = seen.starts.iter().find(|start| start.field == field);
        start.expect("it was asked for").variables["filter"] == filter
    });
    // Landfall hears of every update, so that a record that leaves the expression leaves the store.
    assert_eq!(filtered, [true, make == Make::Npm, true]);
}

/// The server refuses a change on an old version, and the client's handler gives in.
fn a_conflict_that_accepts_the_remote_record_is_settled(make: Make) {
    let optimistic = ["--conflict", "optimistic-concurrency"];
    let Some(mut pair) = Pair::with(make, &npm::schema(), &optimistic) else {
        return;
    };
    pair.client.ok(&json!({"op": "configure", "conflict": "remote"}));
    pair.create_post("p", 1);
    pair.start();
    let id = json!("p");
    pair.client.go_offline();
    pair.client.update("Post", &id, &json!({"title": "mine"}));
    let theirs = pair.server.ask(&format!(
        "mutation {{ updatePost(input: {{id: \"p\", rating: 7, _version: 1}}) {{ {POST} }} }}"
    ));
    assert_eq!(theirs["data"]["updatePost"]["_version"], 2, "{theirs}");
    pair.client.forget_hub();
    pair.client.go_online();
    pair.client
        .wait_for("Post", &id, &json!({"title": "t", "rating": 7, "_version": 2}));
    pair.sent();
    assert_eq!(pair.variables("updatePost").len(), 1, "it is not sent again");
    let conflicts = pair.client.ok(&json!({"op": "conflicts"}));
    let (local, remote) = (&conflicts[0]["localModel"], &conflicts[0]["remoteModel"]);
    assert_eq!(
        (
            &local["title"],
            &remote["title"],
            &remote["rating"],
            &remote["_version"]
        ),
        (&json!("mine"), &json!("t"), &json!(7), &json!(2))
    );
    // The npm client asks for the record that the refusal came with, and knows only what it has sent.
    let asked = pair.variables("getPost").len();
    match make {
        Make::Npm => assert_eq!((asked, &local["rating"]), (1, &json!(null))),
        Make::Landfall => assert_eq!((asked, &local["rating"]), (0, &json!(7))),
    }
}
