//! Landfall beside the real npm client of Amplify DataStore: both sync with one `landfall serve` over real sockets.
//!
//! Each test has a server, an npm client and a Landfall shell of its own and drives both through the line protocol.
//! It waits for what must happen, never for time to pass. What needs no second client is in `side_by_side.rs`. Without
//! Node.js the tests are skipped (`support/npm.rs`).

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// Two clients of different make and the server between them.
struct Meeting {
    npm: LineClient,
    landfall: LineClient,
    server: ServeProcess,
    /// Files of this meeting: the schema as the npm client reads it, and Landfall's data.
    folder: TempDir,
}

/// How the server resolves a change that was made on an old version.
#[derive(Clone, Copy)]
enum Strategy {
    Automerge,
    OptimisticConcurrency,
}

/// Which of the two clients.
#[derive(Clone, Copy, Debug)]
enum Side {
    Npm,
    Landfall,
}

/// Both clients, each once in the first role and once in the second.
const BOTH_WAYS: [(Side, Side); 2] = [(Side::Npm, Side::Landfall), (Side::Landfall, Side::Npm)];

impl Meeting {
    /// Starts all three, not yet synced; `None` if the test is to be skipped.
    fn start(strategy: Strategy) -> Option<Self> {
        let driver = npm::driver()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let introspection = npm::write_introspection(folder.path());
        let server = ServeProcess::start(&npm::schema(), &["--conflict", strategy.flag()]);
        let to_server = ["--endpoint", &server.url, "--api-key", API_KEY];
        let npm = LineClient::npm("the npm client", driver, &introspection, &to_server);
        let landfall = start_landfall(&server, &folder.path().join("data"));
        Some(Self {
            npm,
            landfall,
            server,
            folder,
        })
    }

    /// Starts all three and waits until both clients are synced.
    fn ready(strategy: Strategy) -> Option<Self> {
        let mut meeting = Self::start(strategy)?;
        for side in [Side::Npm, Side::Landfall] {
            meeting.on(side).ok(&json!({"op": "start"}));
            meeting.on(side).wait_hub("ready");
        }
        Some(meeting)
    }

    fn on(&mut self, side: Side) -> &mut LineClient {
        match side {
            Side::Npm => &mut self.npm,
            Side::Landfall => &mut self.landfall,
        }
    }

    /// Saves on one side and waits until both sides have the server's version; answers with the identifier.
    fn share(&mut self, from: Side, model: &str, fields: &Value) -> Value {
        let id = self.on(from).save(model, fields)["id"].clone();
        self.both_have(model, &id, &json!({"_version": 1}));
        id
    }

    /// Waits until both sides hold these fields of a record.
    fn both_have(&mut self, model: &str, id: &Value, fields: &Value) {
        for side in [Side::Npm, Side::Landfall] {
            self.on(side).wait_for(model, id, fields);
        }
    }

    /// Waits until a record is gone on both sides.
    fn both_lack(&mut self, model: &str, id: &Value) {
        for side in [Side::Npm, Side::Landfall] {
            self.on(side).wait_gone(model, id);
        }
    }

    /// What a side's conflict handler or error handler was given since the last look.
    fn heard(&mut self, side: Side, op: &str) -> Vec<Value> {
        match self.on(side).ok(&json!({"op": op})) {
            Value::Array(heard) => heard,
            other => panic!("{op} answers with a list, not {other}"),
        }
    }
}

impl Strategy {
    fn flag(self) -> &'static str {
        match self {
            Self::Automerge => "automerge",
            Self::OptimisticConcurrency => "optimistic-concurrency",
        }
    }
}

fn start_landfall(server: &ServeProcess, data: &Path) -> LineClient {
    let data = data.to_str().expect("temporary folders have plain names");
    let args = ["--data", data, "--endpoint", &server.url, "--api-key", API_KEY];
    LineClient::landfall("the Landfall shell", &npm::schema(), &args)
}

#[test]
fn writes_arrive_on_the_other_side() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for (writer, reader) in BOTH_WAYS {
        let id = meeting.on(writer).save("Post", &json!({"title": "first"}))["id"].clone();
        let arrived = meeting
            .on(reader)
            .wait_for("Post", &id, &json!({"title": "first", "rating": null}));
        assert_eq!(arrived["_version"], 1, "{writer:?} to {reader:?}");
        meeting.on(writer).wait_for("Post", &id, &json!({"_version": 1}));
        meeting.on(reader).update("Post", &id, &json!({"rating": 4}));
        meeting.both_have(
            "Post",
            &id,
            &json!({"title": "first", "rating": 4, "_version": 2}),
        );
    }
}

#[test]
fn what_was_there_before_a_client_is_synced_to_it() {
    let Some(mut meeting) = Meeting::start(Strategy::Automerge) else {
        return;
    };
    meeting.npm.ok(&json!({"op": "start"}));
    meeting.npm.wait_hub("ready");
    let id = meeting.npm.save("Post", &json!({"title": "early"}))["id"].clone();
    meeting.npm.wait_for("Post", &id, &json!({"_version": 1}));
    meeting.landfall.ok(&json!({"op": "start"}));
    meeting.landfall.wait_hub("ready");
    let post = meeting
        .landfall
        .ok(&json!({"op": "get", "model": "Post", "id": id}));
    assert_eq!(post["title"], "early");
    assert!(meeting.landfall.exit().success());
    assert!(meeting.npm.exit().success());
}

#[test]
fn offline_edits_of_both_sides_converge() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    let edited_by_npm = meeting.share(Side::Landfall, "Post", &json!({"title": "a"}));
    let edited_by_landfall = meeting.share(Side::Npm, "Post", &json!({"title": "b"}));
    let deleted_by_landfall = meeting.share(Side::Npm, "Post", &json!({"title": "c"}));

    meeting.npm.go_offline();
    meeting.landfall.go_offline();
    meeting
        .npm
        .update("Post", &edited_by_npm, &json!({"title": "a, npm"}));
    let made_by_npm = meeting.npm.save("Post", &json!({"title": "made offline by npm"}))["id"].clone();
    meeting
        .landfall
        .update("Post", &edited_by_landfall, &json!({"title": "b, landfall"}));
    meeting.landfall.delete("Post", &deleted_by_landfall);
    let made_by_landfall = meeting
        .landfall
        .save("Post", &json!({"title": "made offline by landfall"}))["id"]
        .clone();
    assert_eq!(meeting.heard(Side::Npm, "outbox").len(), 2);
    assert_eq!(meeting.heard(Side::Landfall, "outbox").len(), 3);

    meeting.landfall.go_online();
    meeting.npm.go_online();
    meeting.both_have("Post", &edited_by_npm, &json!({"title": "a, npm", "_version": 2}));
    meeting.both_have(
        "Post",
        &edited_by_landfall,
        &json!({"title": "b, landfall", "_version": 2}),
    );
    meeting.both_lack("Post", &deleted_by_landfall);
    meeting.both_have(
        "Post",
        &made_by_npm,
        &json!({"title": "made offline by npm", "_version": 1}),
    );
    meeting.both_have(
        "Post",
        &made_by_landfall,
        &json!({"title": "made offline by landfall", "_version": 1}),
    );
}

#[test]
fn a_crash_between_save_and_send_loses_nothing() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    meeting.landfall.go_offline();
    let id = meeting.landfall.save("Post", &json!({"title": "survives"}))["id"].clone();
    meeting.landfall.kill_9();

    meeting.landfall = start_landfall(&meeting.server, &meeting.folder.path().join("data"));
    meeting.landfall.ok(&json!({"op": "start"}));
    meeting.both_have("Post", &id, &json!({"title": "survives", "_version": 1}));
}

/// The server keeps its own scalars and takes what it has no value for: both sides end with its record.
#[test]
fn automerge_settles_a_conflict_the_same_on_both_sides() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for (late, early) in BOTH_WAYS {
        let id = meeting.share(late, "Post", &json!({"title": "common"}));
        meeting.on(late).go_offline();
        meeting
            .on(late)
            .update("Post", &id, &json!({"title": "late", "rating": 9}));
        meeting.on(early).update("Post", &id, &json!({"title": "early"}));
        meeting.on(early).wait_for("Post", &id, &json!({"_version": 2}));
        meeting.on(late).go_online();
        meeting.both_have(
            "Post",
            &id,
            &json!({"title": "early", "rating": 9, "_version": 3}),
        );
    }
}

/// The server refuses the later change; its maker's conflict handler gives in.
#[test]
fn a_refused_change_that_accepts_the_remote_record_converges() {
    let Some(mut meeting) = Meeting::ready(Strategy::OptimisticConcurrency) else {
        return;
    };
    for (late, early) in BOTH_WAYS {
        let id = conflict(&mut meeting, late, early, "remote");
        meeting.both_have(
            "Post",
            &id,
            &json!({"title": "early", "rating": null, "_version": 2}),
        );
        assert_eq!(meeting.heard(late, "conflicts").len(), 1, "{late:?} was late");
        assert_eq!(meeting.heard(early, "conflicts").len(), 0, "{early:?} was early");
        assert!(meeting.heard(late, "outbox").is_empty());
    }
}

/// The server refuses the later change; its maker's conflict handler insists, on the new version.
#[test]
fn a_refused_change_that_insists_wins_on_both_sides() {
    let Some(mut meeting) = Meeting::ready(Strategy::OptimisticConcurrency) else {
        return;
    };
    for (late, early) in BOTH_WAYS {
        let id = conflict(&mut meeting, late, early, "local");
        meeting.both_have("Post", &id, &json!({"title": "late", "rating": 9, "_version": 3}));
        assert_eq!(meeting.heard(late, "conflicts").len(), 1, "{late:?} was late");
    }
}

/// Makes `late` change a record offline that `early` changes meanwhile, and lets it come back; answers with the record.
fn conflict(meeting: &mut Meeting, late: Side, early: Side, handling: &str) -> Value {
    let id = meeting.share(early, "Post", &json!({"title": "common"}));
    meeting
        .on(late)
        .ok(&json!({"op": "configure", "conflict": handling}));
    meeting.on(late).go_offline();
    meeting
        .on(late)
        .update("Post", &id, &json!({"title": "late", "rating": 9}));
    meeting.on(early).update("Post", &id, &json!({"title": "early"}));
    meeting.on(early).wait_for("Post", &id, &json!({"_version": 2}));
    meeting.on(late).go_online();
    meeting
        .on(late)
        .wait_hub_with("outboxStatus", &json!({"isEmpty": true}));
    id
}

#[test]
fn deletes_propagate() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for (deleter, other) in BOTH_WAYS {
        let live = meeting.share(deleter, "Post", &json!({"title": "seen to go"}));
        meeting.on(deleter).delete("Post", &live);
        meeting.both_lack("Post", &live);

        let missed = meeting.share(other, "Post", &json!({"title": "gone on return"}));
        meeting.on(other).go_offline();
        meeting.on(deleter).forget_hub();
        meeting.on(deleter).delete("Post", &missed);
        meeting
            .on(deleter)
            .wait_hub_with("outboxStatus", &json!({"isEmpty": true}));
        meeting.on(other).go_online();
        meeting.both_lack("Post", &missed);
        assert!(
            meeting.heard(other, "errors").is_empty(),
            "{other:?} was told of no error"
        );
    }
}

#[test]
fn relations_cross_and_can_be_moved_and_cut() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for (writer, reader) in BOTH_WAYS {
        let old = meeting.share(writer, "Blog", &json!({"name": "old"}));
        let new = meeting.share(reader, "Blog", &json!({"name": "new"}));
        let post = meeting.share(
            writer,
            "Post",
            &json!({"title": "moves", "blog": {"$ref": ["Blog", old]}}),
        );
        meeting.both_have("Post", &post, &json!({"blog": old}));
        meeting
            .on(reader)
            .update("Post", &post, &json!({"blog": {"$ref": ["Blog", new]}}));
        meeting.both_have("Post", &post, &json!({"blog": new, "_version": 2}));
        meeting.on(writer).update("Post", &post, &json!({"blog": null}));
        meeting.both_have(
            "Post",
            &post,
            &json!({"blog": null, "title": "moves", "_version": 3}),
        );
    }
}

/// Deleting a parent deletes its children, on the side that deletes and through the server on the other.
#[test]
fn a_cascading_delete_arrives_whole() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for (deleter, other) in BOTH_WAYS {
        let blog = meeting.share(other, "Blog", &json!({"name": "closes"}));
        let post = meeting.share(
            other,
            "Post",
            &json!({"title": "goes too", "blog": {"$ref": ["Blog", blog]}}),
        );
        meeting.on(deleter).delete("Blog", &blog);
        meeting.both_lack("Post", &post);
        meeting.both_lack("Blog", &blog);
    }
}

/// Keys that the app chooses, of one field and of two, and a relation to the latter.
#[test]
fn custom_and_composite_keys_cross() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    for ((writer, reader), org) in BOTH_WAYS.into_iter().zip(["north", "south"]) {
        let device = json!({"org": org, "serial": 7});
        meeting
            .on(writer)
            .save("Device", &json!({"org": org, "serial": 7, "note": "new"}));
        meeting.both_have(
            "Device",
            &device,
            &json!({"org": org, "serial": 7, "note": "new", "_version": 1}),
        );
        meeting
            .on(reader)
            .update("Device", &device, &json!({"note": "used"}));
        meeting.both_have("Device", &device, &json!({"note": "used", "_version": 2}));

        let code = json!(format!("{org}-1"));
        let reading = json!({"code": code, "value": 1.5, "device": {"$ref": ["Device", device]}});
        meeting.on(writer).save("Reading", &reading);
        meeting.both_have(
            "Reading",
            &code,
            &json!({"value": 1.5, "device": device, "_version": 1}),
        );
        meeting.on(reader).delete("Reading", &code);
        meeting.both_lack("Reading", &code);
        meeting.both_have("Device", &device, &json!({"_version": 2}));
    }
}

#[test]
fn every_kind_of_field_crosses_unchanged() {
    let Some(mut meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    let full = json!({
        "text": "quotes \" \\ and a line\nbreak, \u{e9}\u{4e2d}\u{1f30a}",
        "count": -2_147_483_648_i64,
        "ratio": 0.1,
        "flag": false,
        "date": "2024-02-29",
        "time": "23:59:59.999",
        "at": "2024-02-29T12:30:00.000Z",
        "stamp": 1_709_209_800_000_i64,
        "mail": "someone@example.com",
        "document": {"list": [1, 2.5, null, {"deep": true}], "text": "{\"not\": \"parsed\"}", "none": null},
        "link": "https://example.com/a?b=c#d",
        "phone": "+49 30 123456",
        "address": "2001:db8::1",
        "status": "LIVE",
        "statuses": ["DRAFT", null, "LIVE"],
        "words": ["one", null, ""],
        "numbers": [3, 1, 2],
        "place": {"name": "here", "lat": -33.5, "labels": ["x", "y"]},
        "places": [{"name": "there", "lat": null, "labels": []}, null],
    });
    let empty = json!({"numbers": []});
    for (writer, reader) in BOTH_WAYS {
        let id = meeting.share(writer, "Sample", &full);
        let arrived = meeting
            .on(reader)
            .ok(&json!({"op": "get", "model": "Sample", "id": id}));
        for (name, value) in full.as_object().expect("the fields are an object") {
            assert_eq!(&arrived[name], value, "{name} from {writer:?} to {reader:?}");
        }
        let id = meeting.share(writer, "Sample", &empty);
        let arrived = meeting
            .on(reader)
            .ok(&json!({"op": "get", "model": "Sample", "id": id}));
        assert_eq!(arrived["numbers"], json!([]), "from {writer:?} to {reader:?}");
        assert!(arrived["document"].is_null() && arrived["place"].is_null() && arrived["words"].is_null());
    }
}

/// Two Landfall stores and the npm client on one server: whatever one of them writes, the two others see.
#[test]
fn two_landfall_shells_and_the_npm_client_see_each_others_writes() {
    let Some(meeting) = Meeting::ready(Strategy::Automerge) else {
        return;
    };
    let mut third = start_landfall(&meeting.server, &meeting.folder.path().join("of the third"));
    third.ok(&json!({"op": "start"}));
    third.wait_hub("ready");
    let mut everybody = [meeting.landfall, third, meeting.npm];
    for writer in 0..everybody.len() {
        let blog = everybody[writer].save("Blog", &json!({"name": format!("blog {writer}")}))["id"].clone();
        let fields = json!({"title": format!("post {writer}"), "blog": {"$ref": ["Blog", blog]}});
        let post = everybody[writer].save("Post", &fields)["id"].clone();
        let written = json!({"title": format!("post {writer}"), "blog": blog, "_version": 1});
        for client in &mut everybody {
            client.wait_for(
                "Blog",
                &blog,
                &json!({"name": format!("blog {writer}"), "_version": 1}),
            );
            client.wait_for("Post", &post, &written);
        }
        // Each of the others changes it in turn, and the last one deletes it.
        let (next, last) = ((writer + 1) % 3, (writer + 2) % 3);
        everybody[next].update("Post", &post, &json!({"rating": writer}));
        for client in &mut everybody {
            client.wait_for("Post", &post, &json!({"rating": writer, "_version": 2}));
        }
        everybody[last].delete("Post", &post);
        for client in &mut everybody {
            client.wait_gone("Post", &post);
        }
    }
    for client in &mut everybody {
        assert_eq!(client.ok(&json!({"op": "count", "model": "Blog"})), 3);
        assert_eq!(client.ok(&json!({"op": "errors"})), json!([]));
    }
    let [landfall, third, npm] = everybody;
    for client in [landfall, third, npm] {
        assert!(client.exit().success());
    }
}
