use std::sync::Arc;

use landfall::history::{Acknowledged, Remote, RemoteRecord, Sent, Write};
use landfall::{Disk, FieldMap, MutationKind, Origin, RecordVersion, SyncMetadata, Value};
use landfall_storage::{OnIncompatible, Store, StoreOptions};

use super::*;

fn store() -> Store {
    let source = include_str!("../../../../examples/blog.graphql");
    let schema: Schema = landfall_codegen::parse_schema("blog.graphql", source).expect("it is sound");
    let options = StoreOptions {
        disk: Disk::Memory,
        schema: Arc::new(schema),
        cache_bytes: 1024 * 1024,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    Store::open(options).expect("memory is always there")
}

fn append(store: &mut Store, change: Change) -> Seq {
    let written = store.write(1, |txn| txn.append(Origin::Subscription, None, change));
    written.expect("it fits").head
}

fn post() -> RecordKey {
    RecordKey::new("Post", "p1")
}

fn titled(title: &str, rating: i64) -> FieldMap {
    let fields = [
        ("id", Value::from("p1")),
        ("title", Value::from(title)),
        ("rating", Value::from(rating)),
    ];
    fields.map(|(name, value)| (name.into(), value)).into()
}

fn remote(version: u64, title: &str, rating: i64) -> RemoteRecord {
    RemoteRecord {
        id: post().id,
        fields: titled(title, rating),
        sync: SyncMetadata {
            version: RecordVersion(version),
            last_changed_at_ms: 1,
            deleted: false,
        },
    }
}

fn arrived(version: u64, title: &str, rating: i64) -> Change {
    Change::Remote(Remote {
        key: post(),
        remote: remote(version, title, rating),
    })
}

/// An edit of the title on version 1 that the server answers with version 3 and somebody else's title.
fn merged(other_is_first: bool) -> Json {
    let mut store = store();
    append(&mut store, arrived(1, "first", 3));
    let edit = append(
        &mut store,
        Change::Write(Write {
            key: post(),
            kind: MutationKind::Update,
            patch: [("title".into(), Value::from("mine"))].into(),
            condition: None,
            base_version: Some(RecordVersion(1)),
            queued: true,
            parents: Vec::new(),
            group: None,
            at_end: false,
            took_along: None,
        }),
    );
    let sent = Sent {
        key: post(),
        mutation: edit,
        attempt: 1,
    };
    let answered = Change::Acknowledged(Acknowledged {
        key: post(),
        mutation: edit,
        remote: remote(3, "theirs", 5),
    });
    if other_is_first {
        append(&mut store, arrived(2, "theirs", 5));
        append(&mut store, Change::Sent(sent));
        append(&mut store, answered);
    } else {
        append(&mut store, Change::Sent(sent));
        append(&mut store, answered);
        append(&mut store, arrived(2, "theirs", 5));
    }
    let snapshot = store.reader().snapshot().expect("memory is always there");
    let history = History::of_snapshot(snapshot).expect("memory is always there");
    collect(&history, Path::new("store"), ENTRIES_DEFAULT).expect("memory is always there")
}

#[test]
fn an_edit_that_the_server_merged_away_is_shown_from_both_sides() {
    for (other_is_first, other) in [(true, 4), (false, 6)] {
        let data = merged(other_is_first);
        let entries = data["entries"].as_array().expect("they are listed");
        let answer = entries.iter().find(|entry| entry["kind"] == "acknowledged");
        let answer = answer.expect("it was answered");
        let text = answer["text"].as_str().unwrap_or_default();
        assert!(
            text.contains(&format!(
                "its version 2, e{other}, had title \"theirs\", and it kept that"
            )),
            "{text}"
        );
        let sides = &answer["sides"];
        assert_eq!(
            (&sides["baseVersion"], &sides["theirVersion"]),
            (&json!(1), &json!(2))
        );
        let rows: Vec<(&str, &str)> = sides["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap_or_default();
                (text("field"), text("winner"))
            })
            .collect();
        assert_eq!(rows, [("title", "the server"), ("rating", "the server")]);
        assert_eq!(sides["fields"][0]["ours"], "mine");
        assert_eq!(sides["fields"][0]["theirs"], "theirs");
        let verdict = sides["verdict"].to_string();
        for sentence in [
            format!("was first at the server, which had version 2 by then (e{other})"),
            "The server won title, rating.".to_owned(),
        ] {
            assert!(verdict.contains(&sentence), "{verdict}");
        }
    }
}
