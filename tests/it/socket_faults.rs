//! A Landfall store over real sockets, with a server and a way to it that fail in every way the promises speak of.
//!
//! Owns the proof that what the simulator shows in virtual time holds for processes, sockets and files: the faults are
//! those of `landfall serve --dev` and of a way between that a test steers (`support/proxy.rs`). Which promise each test
//! is about is in `docs/PARITY.md`. Nothing waits for time to pass; every wait is for an event, with a deadline.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kill::wait_until_sent;
use crate::support::line_client::LineClient;
use crate::support::make::Make;
use crate::support::npm;
use crate::support::proxy::Proxy;
use crate::support::serve::ServeProcess;

/// How often the store is asked for its outbox, a few milliseconds each.
const LOOKS_MAX: usize = 2_000;

/// Longest time until the store has connected and synced again, in milliseconds.
const HEALED_MS: u64 = 60_000;

/// A store that has not been started yet, a server to develop against, and the way between them.
struct Setting {
    store: LineClient,
    way: Proxy,
    server: ServeProcess,
    folder: TempDir,
}

impl Setting {
    fn new(conflict: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let server = ServeProcess::start(&npm::schema(), &["--dev", "--conflict", conflict]);
        let way = Proxy::before(&server);
        let store = open(&npm::schema(), folder.path(), &way.url);
        Self {
            store,
            way,
            server,
            folder,
        }
    }

    fn started(conflict: &str) -> Self {
        let mut setting = Self::new(conflict);
        setting.store.ok(&json!({"op": "start"}));
        setting.store.wait_hub("ready");
        setting
    }

    /// Somebody else does something.
    fn elsewhere(&self, mutation: &str) -> Value {
        let answer = self.server.ask(&format!("mutation {{ {mutation} }}"));
        assert!(answer["errors"].is_null(), "{mutation}: {answer}");
        answer
    }

    /// Somebody else makes a post.
    fn create_elsewhere(&self, id: &str) {
        self.elsewhere(&format!(
            "createPost(input: {{id: \"{id}\", title: \"of another\"}}) {POST}"
        ));
    }

    /// Somebody else changes a post that has this version.
    fn retitle_elsewhere(&self, id: &str, title: &str, version: u32) {
        self.elsewhere(&format!(
            "updatePost(input: {{id: \"{id}\", title: \"{title}\", _version: {version}}}) {POST}"
        ));
    }

    /// The store holds these fields of a post once it has made up for whatever was missed.
    fn healed(&mut self, id: &str, fields: &Value) {
        let wait = json!({"op": "waitFor", "model": "Post", "id": id, "fields": fields, "ms": HEALED_MS});
        self.store.ok(&wait);
    }

    /// The same, for a post that is gone.
    fn healed_away(&mut self, id: &str) {
        let wait = json!({"op": "waitFor", "model": "Post", "id": id, "gone": true, "ms": HEALED_MS});
        self.store.ok(&wait);
    }

    fn list(&mut self, op: &str) -> Vec<Value> {
        match self.store.ok(&json!({ "op": op })) {
            Value::Array(list) => list,
            other => panic!("{op} answers with a list, not {other}"),
        }
    }
}

/// What is selected of a post; messages are made of what mutations select.
const POST: &str =
    "{ id title rating createdAt updatedAt _version _lastChangedAt _deleted blog { id _deleted } }";

fn open(schema: &Path, folder: &Path, url: &str) -> LineClient {
    let store = Make::Landfall.open(schema, folder, url);
    store.expect("the binary runs on every machine")
}

/// Waits until these changes wait, in this order: a change may be told by subscription before it is answered.
fn outbox_becomes(store: &mut LineClient, expected: &[(&Value, &str)]) {
    let mut waiting = Value::Null;
    for _ in 0..LOOKS_MAX {
        waiting = store.ok(&json!({"op": "outbox"}));
        let found: Vec<(&Value, &str)> = waiting
            .as_array()
            .expect("the outbox is a list")
            .iter()
            .map(|mutation| (&mutation["id"], mutation["stage"].as_str().unwrap_or_default()))
            .collect();
        if found == expected {
            return;
        }
    }
    panic!("the outbox is not {expected:?} but {waiting:#}");
}

/// The server takes a change and its answer never comes: the store asks before it sends anything again. Lists are what
/// would tell, since AUTOMERGE adds to them whatever comes on an old version.
#[test]
fn a_lost_reply_is_asked_about_and_the_change_takes_effect_once() {
    for conflict in ["automerge", "optimistic-concurrency"] {
        let mut setting = Setting::started(conflict);
        let lose_one = ["lose-replies=1"];
        setting.server.inject(&lose_one);
        let sample = setting
            .store
            .save("Sample", &json!({"numbers": [1], "words": ["one"]}))["id"]
            .clone();
        setting.store.wait_for("Sample", &sample, &json!({"_version": 1}));
        // The record comes over the subscription too, perhaps before the reply is lost.
        wait_until_sent(&mut setting.store);
        setting.server.inject(&lose_one);
        let (words, numbers) = (json!(["one", "two", "two"]), json!([1, 2, 3]));
        let lists = json!({"words": words, "numbers": numbers});
        setting.store.update("Sample", &sample, &lists);
        let taken = json!({"words": words, "numbers": numbers, "_version": 2});
        setting.store.wait_for("Sample", &sample, &taken);
        wait_until_sent(&mut setting.store);
        {
            let seen = setting.way.seen();
            for sent in ["createSample", "updateSample"] {
                assert_eq!(seen.requests_for(sent).len(), 1, "{conflict}: {sent}");
            }
            assert_eq!(seen.requests_for("getSample").len(), 2, "{conflict}: it asks");
        }
        let ask = format!("{{ getSample(id: {sample}) {{ words numbers _version }} }}");
        assert_eq!(setting.server.ask(&ask)["data"]["getSample"], taken, "{conflict}");

        setting.server.inject(&lose_one);
        setting.store.delete("Sample", &sample);
        wait_until_sent(&mut setting.store);
        let ask = format!("{{ getSample(id: {sample}) {{ _deleted _version }} }}");
        assert_eq!(
            setting.server.ask(&ask)["data"]["getSample"],
            json!({"_deleted": true, "_version": 3}),
            "{conflict}"
        );
        assert_eq!(setting.list("conflicts"), [] as [Value; 0], "{conflict}");
    }
}

/// A change that the server refuses for good is parked with all of it and told; it holds up nothing but its record.
#[test]
fn a_refused_change_is_parked_and_told_and_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let schema = folder.path().join("schema.graphql");
    let sdl = std::fs::read_to_string(npm::schema()).expect("the schema is there");
    let open_to_all = "type Blog @model @auth(rules: [{ allow: public }])";
    let readable = "type Blog @model @auth(rules: [{ allow: public, operations: [read] }])";
    assert!(sdl.contains(open_to_all));
    std::fs::write(&schema, sdl.replace(open_to_all, readable)).expect("the temporary folder is writable");
    let server = ServeProcess::start(&schema, &["--dev"]);
    let mut store = open(&schema, folder.path(), &server.url);
    store.ok(&json!({"op": "start"}));
    let blog = store.save("Blog", &json!({"name": "not for this key"}))["id"].clone();
    let child = json!({"title": "waits", "blog": {"$ref": ["Blog", blog]}});
    let child = store.save("Post", &child)["id"].clone();
    let other = store.save("Post", &json!({"title": "goes on"}))["id"].clone();
    let told = store.wait_hub("outboxMutationFailed");
    assert_eq!(
        (&told["model"], &told["errorType"]),
        (&json!("Blog"), &json!("Unauthorized"))
    );
    store.wait_for("Post", &other, &json!({"_version": 1}));
    outbox_becomes(&mut store, &[(&blog, "parked"), (&child, "queued")]);
    let errors = store.ok(&json!({"op": "errors"}));
    let of_change = errors
        .as_array()
        .and_then(|errors| errors.iter().find(|error| error["process"] == "mutate"));
    let of_change = of_change.expect("the error handler is told");
    assert_eq!(
        of_change["localModel"]["name"], "not for this key",
        "with all of it: {of_change}"
    );
    let stored = store.ok(&json!({"op": "get", "model": "Blog", "id": blog}));
    assert_eq!(
        stored["name"], "not for this key",
        "nothing is taken away from the app"
    );
}

/// Subscriptions are live before anything is fetched; what they bring while pages are fetched is not lost.
#[test]
fn subscriptions_are_acknowledged_before_anything_is_fetched() {
    let mut setting = Setting::new("automerge");
    setting.create_elsewhere("before");
    setting.way.hold_after("syncPosts", 0);
    setting.store.post(&json!({"op": "start"}));
    setting
        .way
        .wait_until("posts are asked for", |seen| seen.held == 1);
    assert_eq!(setting.way.seen().acknowledged, 15, "three of each model");
    // It comes by subscription, while the page that will not have it is on its way.
    setting.create_elsewhere("meanwhile");
    setting
        .way
        .wait_until("it was told", |seen| seen.messages.len() == 1);
    setting.way.release();
    assert_eq!(setting.store.take_answer(), json!(true));
    for id in ["before", "meanwhile"] {
        setting.healed(id, &json!({"_version": 1}));
    }
}

/// Messages of changes never come, and then the socket is cut: the new one does not bring them, a delta sync does.
#[test]
fn a_gap_behind_a_cut_socket_is_healed_by_a_delta_sync() {
    let mut setting = Setting::started("automerge");
    for id in ["edited", "gone"] {
        setting.create_elsewhere(id);
        setting.healed(id, &json!({"_version": 1}));
    }
    setting.store.forget_hub();
    setting.server.inject(&["drop-messages=3"]);
    setting.retitle_elsewhere("edited", "behind the cut", 1);
    setting.create_elsewhere("new");
    setting.elsewhere(&format!(
        "deletePost(input: {{id: \"gone\", _version: 1}}) {POST}"
    ));
    setting.server.inject(&["cut-sockets"]);
    setting.healed("edited", &json!({"title": "behind the cut", "_version": 2}));
    setting.healed("new", &json!({"_version": 1}));
    setting.healed_away("gone");
    let told = json!({"op": "waitHub", "event": "modelSynced", "ms": HEALED_MS,
        "data": {"model": "Post", "isFullSync": false, "isDeltaSync": true,
            "counts": {"new": 1, "updated": 1, "deleted": 1}}});
    setting.store.ok(&told);
    assert_eq!(setting.way.seen().connections, 2);
}

/// One subscription is refused when all are begun anew: it is asked for again alone, on the same connection, while the
/// others stay live; what came meanwhile is fetched.
#[test]
fn a_subscription_that_fails_is_retried_alone_and_its_gap_healed() {
    let mut setting = Setting::started("automerge");
    let all: Vec<String> = {
        let seen = setting.way.seen();
        seen.starts.iter().map(|start| start.field.clone()).collect()
    };
    assert_eq!(all.len(), 15, "three of each model: {all:?}");
    let failing = "onCreatePost";
    setting.way.refuse_subscription(failing);
    setting.server.inject(&["cut-sockets"]);
    let failed = json!({"op": "waitHub", "event": "subscriptionFailed", "ms": HEALED_MS});
    assert_eq!(setting.store.ok(&failed)["data"]["model"], "Post");
    setting
        .way
        .wait_until("all are asked for on the new connection", |seen| {
            all.iter().all(|field| seen.starts_of(field, 2) > 0) && seen.acknowledged == 2 * all.len() - 1
        });
    setting.create_elsewhere("unheard");
    setting.elsewhere(
        "createBlog(input: {id: \"heard\", name: \"n\"}) { id name _version _lastChangedAt _deleted }",
    );
    // The others are live: this one is told, and the one of the post is not.
    setting
        .way
        .wait_until("the others are live", |seen| !seen.messages.is_empty());
    setting
        .way
        .wait_until("it is retried", |seen| seen.starts_of(failing, 2) > 1);
    setting.way.allow_all();
    setting.healed("unheard", &json!({"_version": 1}));
    setting
        .store
        .wait_for("Blog", &json!("heard"), &json!({"name": "n"}));
    // From here on it is heard like the others.
    setting.create_elsewhere("heard at last");
    setting.healed("heard at last", &json!({"_version": 1}));
    let seen = setting.way.seen();
    assert_eq!(seen.connections, 2, "no connection was given up for it");
    for field in all.iter().filter(|field| *field != failing) {
        assert_eq!(seen.starts_of(field, 2), 1, "{field} was left alone");
    }
}

/// A record that cannot be read is set aside, told once, and its model goes on: what else there is, what comes live, and
/// the record itself once it is mended.
#[test]
fn a_bad_record_is_set_aside_and_its_model_goes_on() {
    let mut setting = Setting::new("automerge");
    for id in ["before", "broken", "later"] {
        setting.create_elsewhere(id);
    }
    setting
        .server
        .ask("mutation { updatePost(input: {id: \"broken\", title: null, _version: 1}) { id } }");
    setting.store.ok(&json!({"op": "start"}));
    let told = setting.store.wait_hub("nonApplicableDataReceived");
    assert_eq!(told["modelName"], "Post");
    setting.store.wait_hub("ready");
    for id in ["before", "later"] {
        setting.healed(id, &json!({"title": "of another", "_version": 1}));
    }
    let errors = setting.list("errors");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(
        (&errors[0]["errorType"], &errors[0]["model"]),
        (&json!("BadRecord"), &json!("Post"))
    );
    setting.create_elsewhere("live");
    setting.healed("live", &json!({"_version": 1}));
    setting
        .store
        .update("Post", &json!("later"), &json!({"rating": 1}));
    setting.healed("later", &json!({"rating": 1, "_version": 2}));
    setting.retitle_elsewhere("broken", "mended", 2);
    setting.healed("broken", &json!({"title": "mended", "_version": 3}));
}

/// The store is killed between two pages. The next one goes on with the page that was on its way, and fetches nothing
/// of what was stored again.
#[test]
fn paging_is_resumed_where_it_stopped_after_a_kill() {
    let mut setting = Setting::new("automerge");
    let ids: Vec<String> = (0..9).map(|number| format!("p{number}")).collect();
    for id in &ids {
        setting.create_elsewhere(id);
    }
    let pages = json!({"op": "configure", "syncPageSize": 2});
    setting.store.ok(&pages);
    setting.way.hold_after("syncPosts", 2);
    setting.store.post(&json!({"op": "start"}));
    setting
        .way
        .wait_until("the third page is asked for", |seen| seen.held == 1);
    setting.store.kill_9();
    let tokens: Vec<Value> = tokens(&setting.way, 0);
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    setting.way.release();

    setting.store = open(&npm::schema(), setting.folder.path(), &setting.way.url);
    // A page is stored while the next is asked for, so the second may be or not.
    let stored = setting.store.ok(&json!({"op": "count", "model": "Post"}));
    let pages_stored = match stored.as_u64() {
        Some(2) => 1,
        Some(4) => 2,
        other => panic!("a page holds two records, not {other:?}"),
    };
    setting.store.ok(&pages);
    setting.store.ok(&json!({"op": "start"}));
    for id in &ids {
        setting.healed(id, &json!({"_version": 1}));
    }
    let resumed = self::tokens(&setting.way, tokens.len());
    assert!(tokens[pages_stored].is_string(), "in the middle: {tokens:?}");
    assert_eq!(resumed[0], tokens[pages_stored], "it goes on from there");
    assert_eq!(
        resumed.len(),
        5 - pages_stored,
        "what was missing and no more: {resumed:?}"
    );
}

/// Which pages of all posts were asked for, after so many; a delta sync for what was made meanwhile may follow.
fn tokens(way: &Proxy, after: usize) -> Vec<Value> {
    let seen = way.seen();
    let requests = seen.requests_for("syncPosts");
    let is_of_all = |variables: &&Value| variables["lastSync"].as_i64().unwrap_or(0) == 0;
    let variables = requests.iter().map(|request| &request["variables"]);
    let later = variables.filter(is_of_all).skip(after);
    later.map(|variables| variables["nextToken"].clone()).collect()
}

/// Whatever the server says for a while, no change is dropped, none is parked, and each takes effect once.
#[test]
fn throttling_and_outages_drop_nothing() {
    let mut setting = Setting::started("automerge");
    let mut ids = Vec::new();
    for faults in [
        &["fail=503*4"][..],
        &["fail=429*4"],
        &["lose-requests=2"],
        &["fail=500*2", "lose-replies=2"],
        &["throttle=2"],
    ] {
        setting.server.inject(faults);
        for number in 0..3 {
            let title = format!("{faults:?} {number}");
            ids.push((
                setting.store.save("Post", &json!({"title": title}))["id"].clone(),
                title,
            ));
        }
        let edited = ids[ids.len() - 1].0.clone();
        setting.store.update("Post", &edited, &json!({"rating": 1}));
        wait_until_sent(&mut setting.store);
        setting.server.inject(&["clear"]);
    }
    for (id, title) in &ids {
        let ask = format!("{{ getPost(id: {id}) {{ title _version }} }}");
        let served = setting.server.ask(&ask)["data"]["getPost"].take();
        assert_eq!(served["title"], title.as_str(), "{served}");
        let stored = setting.store.ok(&json!({"op": "get", "model": "Post", "id": id}));
        assert_eq!(stored["_version"], served["_version"], "{stored}");
        assert!(
            served["_version"].as_u64().is_some_and(|version| version <= 2),
            "once: {served}"
        );
    }
    let seen = setting.way.seen();
    assert!(seen.requests_for("createPost").len() >= ids.len());
}

/// Messages come twice, and all of them once more when newer ones have come: nothing goes back, and observers hear each
/// change once.
#[test]
fn late_and_doubled_messages_put_nothing_back() {
    let mut setting = Setting::started("automerge");
    setting.store.ok(&json!({"op": "observe", "model": "Post"}));
    setting.server.inject(&["duplicate-messages=4"]);
    setting.create_elsewhere("post");
    setting.retitle_elsewhere("post", "second", 1);
    setting.retitle_elsewhere("post", "third", 2);
    setting.create_elsewhere("gone");
    setting.healed("gone", &json!({"_version": 1}));
    setting.elsewhere(&format!(
        "deletePost(input: {{id: \"gone\", _version: 1}}) {POST}"
    ));
    setting.healed_away("gone");
    setting.way.repeat_messages(1);
    // Messages keep their order, so whatever came late was met before this one.
    setting.create_elsewhere("last");
    setting.healed("last", &json!({"_version": 1}));
    let post = setting
        .store
        .ok(&json!({"op": "get", "model": "Post", "id": "post"}));
    assert_eq!((&post["title"], &post["_version"]), (&json!("third"), &json!(3)));
    setting.healed_away("gone");
    let mut heard = setting.list("observed");
    let mut told = Vec::new();
    for change in &mut heard {
        told.push((change["op"].take(), change["el"]["id"].take()));
    }
    let expected = [
        ("INSERT", "post"),
        ("UPDATE", "post"),
        ("UPDATE", "post"),
        ("INSERT", "gone"),
        ("DELETE", "gone"),
        ("INSERT", "last"),
    ];
    assert_eq!(told, expected.map(|(op, id)| (json!(op), json!(id))));
}

/// The server hangs with one request: local work goes on, and so does whatever has nothing to do with that record. Its
/// child waits, and so does the next change of the record itself.
#[test]
fn a_server_that_hangs_holds_up_one_record_and_nothing_local() {
    let mut setting = Setting::started("automerge");
    setting.way.hold_after("createBlog", 0);
    let blog = setting.store.save("Blog", &json!({"name": "slow"}))["id"].clone();
    setting.way.wait_until("it is on its way", |seen| seen.held == 1);
    let child = json!({"title": "child", "blog": {"$ref": ["Blog", blog]}});
    let child = setting.store.save("Post", &child)["id"].clone();
    setting.store.update("Blog", &blog, &json!({"name": "renamed"}));
    let other = setting.store.save("Post", &json!({"title": "other"}))["id"].clone();
    assert_eq!(setting.store.ok(&json!({"op": "count", "model": "Post"})), 2);
    setting.store.wait_for("Post", &other, &json!({"_version": 1}));
    let waiting = [(&blog, "inFlight"), (&child, "queued"), (&blog, "queued")];
    outbox_becomes(&mut setting.store, &waiting);
    {
        let seen = setting.way.seen();
        assert_eq!(
            seen.requests_for("createPost").len(),
            1,
            "the child waits for its parent"
        );
        assert_eq!(seen.requests_for("updateBlog").len(), 0, "one record in order");
    }
    setting.way.release();
    setting.store.wait_for("Post", &child, &json!({"_version": 1}));
    let renamed = json!({"name": "renamed", "_version": 2});
    setting.store.wait_for("Blog", &blog, &renamed);
    wait_until_sent(&mut setting.store);
}

/// What was saved offline under an older schema is kept and sent after the store was opened with a newer one.
#[test]
fn unsent_work_outlives_a_new_schema() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let newer = folder.path().join("newer.graphql");
    let sdl = std::fs::read_to_string(npm::schema()).expect("the schema is there");
    let sdl = sdl.replace("  rating: Int\n", "  rating: Int\n  subtitle: String\n");
    assert!(sdl.contains("subtitle"));
    std::fs::write(&newer, sdl).expect("the temporary folder is writable");
    let server = ServeProcess::start(&newer, &["--dev"]);
    let way = Proxy::before(&server);
    let mut store = open(&npm::schema(), folder.path(), &way.url);
    store.ok(&json!({"op": "start"}));
    let known = store.save("Post", &json!({"title": "known"}))["id"].clone();
    store.wait_for("Post", &known, &json!({"_version": 1}));
    store.go_offline();
    store.update("Post", &known, &json!({"rating": 5}));
    let made = store.save("Post", &json!({"title": "made offline"}))["id"].clone();
    assert!(store.exit().success());

    let mut store = open(&newer, folder.path(), &way.url);
    let waiting = store.ok(&json!({"op": "outbox"}));
    assert_eq!(waiting.as_array().map(Vec::len), Some(2), "{waiting}");
    store.update("Post", &made, &json!({"subtitle": "and after"}));
    store.ok(&json!({"op": "start"}));
    store.wait_for("Post", &known, &json!({"rating": 5, "_version": 2}));
    wait_until_sent(&mut store);
    let ask = format!("{{ getPost(id: {made}) {{ title subtitle }} }}");
    let served = server.ask(&ask)["data"]["getPost"].take();
    assert_eq!(served, json!({"title": "made offline", "subtitle": "and after"}));
}
