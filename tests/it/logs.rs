//! Logs that are kept as files: the example of the debugging guide, and one that has every kind of entry.
//!
//! Owns how they were made. Files of earlier versions stay as they are and have to be readable for ever; to add one for
//! a new version, give it a new name and run this test with `LANDFALL_WRITE_FIXTURES=1`, which writes what is missing
//! and never overwrites.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall::history::{
    Acknowledged, Checkpoint, Conflict, Decision, Evicted, Filter, History, LogChange as Change, MutationRef,
    Opaque, Quarantined, Refused, Remote, RemoteRecord, Scope, Sent, SyncCursor, Write,
};
use landfall::{
    Disk, FieldMap, LogEntry, MutationKind, Origin, RecordKey, RecordVersion, Schema, Seq, SyncMetadata,
    Value,
};
use landfall_core::{Paging, Refusal, SyncKind};
use landfall_storage::{OnIncompatible, Store, StoreOptions};

use crate::support::landfall::repository;

/// The log that the guide walks through.
pub(crate) fn example() -> PathBuf {
    repository().join("engine/examples/clash.lflog")
}

fn every_kind() -> PathBuf {
    repository().join("tests/fixtures/logs/every-kind-1.lflog")
}

/// 2026-01-31T09:00:00Z.
const MORNING_MS: i64 = 1_769_850_000_000;

/// A store whose entries are made one by one, a second apart.
pub(crate) struct Script {
    pub(crate) store: Store,
    at_ms: i64,
}

impl Script {
    fn new() -> Self {
        Self::on(Disk::Memory)
    }

    /// The same on another disk than memory.
    pub(crate) fn on(disk: Disk) -> Self {
        let path = repository().join("engine/examples/blog.graphql");
        let source = std::fs::read_to_string(&path).expect("the example schema is there");
        let schema: Schema = landfall_codegen::parse_schema("blog.graphql", &source).expect("it is sound");
        let options = StoreOptions {
            disk,
            schema: Arc::new(schema),
            cache_bytes: 1024 * 1024,
            incompatible: OnIncompatible::Refuse,
            now_ms: MORNING_MS,
        };
        Self {
            store: Store::open(options).expect("there is room"),
            at_ms: MORNING_MS,
        }
    }

    /// The same after the store was closed in order and opened again, so that the database has what the journal had.
    pub(crate) fn reopened(self, disk: Disk) -> Self {
        let at_ms = self.at_ms;
        drop(self.store);
        Self {
            at_ms,
            ..Self::on(disk)
        }
    }

    pub(crate) fn append(&mut self, origin: Origin, cause: Option<Seq>, change: Change) -> Seq {
        self.at_ms += 1_000;
        self.store
            .write(self.at_ms, |txn| txn.append(origin, cause, change))
            .expect("it fits")
            .head
    }

    pub(crate) fn write(
        &mut self,
        key: &str,
        kind: MutationKind,
        patch: &[(&str, Value)],
        base: Option<u64>,
    ) -> Seq {
        let write = Write {
            key: post(key),
            kind,
            patch: fields(patch),
            condition: None,
            base_version: base.map(RecordVersion),
            queued: true,
            parents: Vec::new(),
            group: None,
            at_end: false,
            took_along: None,
        };
        self.append(Origin::App, None, Change::Write(write))
    }

    pub(crate) fn sent(&mut self, key: &str, mutation: Seq, attempt: u32) {
        let key = post(key);
        let sent = Sent {
            key,
            mutation,
            attempt,
        };
        self.append(Origin::Outbox, Some(mutation), Change::Sent(sent));
    }

    fn acknowledged(&mut self, key: &str, mutation: Seq, version: u64, told: &[(&str, Value)]) {
        let remote = self.remote(key, version, told);
        let key = post(key);
        let change = Change::Acknowledged(Acknowledged {
            key,
            mutation,
            remote,
        });
        self.append(Origin::Response, Some(mutation), change);
    }

    pub(crate) fn remote(&self, key: &str, version: u64, told: &[(&str, Value)]) -> RemoteRecord {
        RemoteRecord {
            id: post(key).id,
            fields: fields(told),
            sync: SyncMetadata {
                version: RecordVersion(version),
                last_changed_at_ms: self.at_ms + 500,
                deleted: told.is_empty(),
            },
        }
    }

    pub(crate) fn history(&self) -> History {
        History::of_snapshot(self.store.reader().snapshot().expect("memory")).expect("memory")
    }
}

pub(crate) fn post(id: &str) -> RecordKey {
    RecordKey::new("Post", id)
}

pub(crate) fn fields(named: &[(&str, Value)]) -> FieldMap {
    named
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect()
}

pub(crate) fn text(text: &str) -> Value {
    text.into()
}

/// The exported log of so many posts, with ratings from 0 on, in several blocks.
pub(crate) fn long(posts: i64) -> Vec<u8> {
    let mut script = Script::new();
    for n in 0..posts {
        let id = format!("p{n}");
        let told = [
            ("id", text(&id)),
            ("title", text(&"long ".repeat(200))),
            ("rating", n.into()),
        ];
        script.write(&id, MutationKind::Create, &told, None);
    }
    let mut bytes = Vec::new();
    let history = script.history();
    history.export(&mut bytes, None).expect("memory");
    bytes
}

/// Two people edit a post at the same time; then somebody may not do what they try.
fn clash() -> Script {
    clash_on(Disk::Memory)
}

fn clash_on(disk: Disk) -> Script {
    let mut script = Script::on(disk);
    let first = [
        ("id", text("p1")),
        ("title", text("Landfall")),
        ("rating", 3.into()),
    ];
    let created = script.write("p1", MutationKind::Create, &first, None);
    script.sent("p1", created, 1);
    script.acknowledged("p1", created, 1, &first);
    let mine = script.write(
        "p1",
        MutationKind::Update,
        &[("title", text("Landfall at last"))],
        Some(1),
    );
    script.sent("p1", mine, 1);
    let theirs = [
        ("id", text("p1")),
        ("title", text("Landfall!")),
        ("rating", 5.into()),
    ];
    let conflict = Change::Conflict(Conflict {
        key: post("p1"),
        mutation: mine,
        remote: script.remote("p1", 2, &theirs),
        decision: Decision::Retry {
            kind: MutationKind::Update,
            patch: fields(&[("title", text("Landfall at last"))]),
        },
        given_up: fields(&[]),
    });
    script.append(Origin::Response, Some(mine), conflict);
    script.sent("p1", mine, 2);
    let merged = [
        ("id", text("p1")),
        ("title", text("Landfall at last")),
        ("rating", 5.into()),
    ];
    script.acknowledged("p1", mine, 3, &merged);
    let second = [("id", text("p2")), ("title", text("Draft")), ("rating", 9.into())];
    let draft = script.write("p2", MutationKind::Create, &second, None);
    script.sent("p2", draft, 1);
    let refused = Change::Refused(Refused {
        key: post("p2"),
        mutation: draft,
        refusal: Refusal {
            error_type: Some("Unauthorized".to_owned()),
            message: "Not Authorized to access createPost on type Mutation".to_owned(),
        },
        remote: None,
    });
    script.append(Origin::Response, Some(draft), refused);
    let remote = script.remote(
        "p3",
        1,
        &[
            ("id", text("p3")),
            ("title", text("From elsewhere")),
            ("rating", 4.into()),
        ],
    );
    let key = post("p3");
    script.append(Origin::Subscription, None, Change::Remote(Remote { key, remote }));
    script
}

/// What the clash lacks of the kinds that there are.
fn rest_of_the_kinds() -> Script {
    rest_of_the_kinds_on(Disk::Memory)
}

pub(crate) fn rest_of_the_kinds_on(disk: Disk) -> Script {
    let mut script = clash_on(disk);
    let of = |key: &str, mutation| MutationRef {
        key: post(key),
        mutation,
    };
    let edit = script.write("p3", MutationKind::Update, &[("title", text("Edited"))], Some(1));
    script.sent("p3", edit, 1);
    script.append(
        Origin::Recovery,
        Some(edit),
        Change::OutcomeUnknown(of("p3", edit)),
    );
    script.append(Origin::Response, Some(edit), Change::NotApplied(of("p3", edit)));
    let parked = Seq(10);
    script.append(Origin::App, Some(parked), Change::Retried(of("p2", parked)));
    script.append(Origin::App, Some(parked), Change::Discarded(of("p2", parked)));
    let evicted = Evicted {
        key: post("p3"),
        reason: "left the sync expression".to_owned(),
        sync: None,
    };
    script.append(Origin::Sync, None, Change::Evicted(evicted));
    let quarantined = Quarantined {
        model: "Post".into(),
        reason: "`title` takes a string, not 5".to_owned(),
        json: r#"{"id":"p4","title":5}"#.to_owned(),
    };
    script.append(Origin::Sync, None, Change::Quarantined(quarantined));
    let cursor = SyncCursor {
        last_sync_ms: Some(1_769_000_000_000),
        last_full_sync_ms: Some(1_768_000_000_000),
        expression: Some(r#"{"rating":{"gt":3}}"#.to_owned()),
        paging: Some(Paging {
            kind: SyncKind::Delta,
            next_token: "next".to_owned(),
            started_at_ms: 1_769_000_000_001,
            received: 100,
            fresh: false,
            limit: 0,
        }),
    };
    let model = "Post".into();
    script.append(
        Origin::Sync,
        None,
        Change::Checkpoint(Checkpoint { model, cursor }),
    );
    let delete = script.write("p1", MutationKind::Delete, &[], Some(3));
    script.acknowledged("p1", delete, 4, &[]);
    // Of a version that is to come.
    let opaque = Opaque {
        kind: 900,
        version: 3,
        payload: vec![0x93, 1, 2, 3],
    };
    script.append(Origin::App, None, Change::Opaque(opaque));
    script
}

fn entries(history: &History) -> Vec<LogEntry> {
    let listing = history.list(&Filter::default(), usize::MAX).expect("readable");
    listing
        .entries
        .into_iter()
        .map(|(_, entry)| entry.expect("readable"))
        .collect()
}

/// The schema is JSON text, whose form may grow; everything else stays as it was written.
pub(crate) fn entries_without_schema(history: &History) -> Vec<LogEntry> {
    let mut all = entries(history);
    for entry in &mut all {
        if let Change::SchemaChanged(changed) = &mut entry.change {
            changed.introspection.clear();
        }
    }
    all
}

pub(crate) fn kept_file_says_what_was_written(path: &Path, script: &Script) {
    let now = script.history();
    if !path.exists() && std::env::var_os("LANDFALL_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        let mut file = std::fs::File::create_new(path).expect("it is not there yet");
        now.export(&mut file, None).expect("it can be written");
    }
    let kept = landfall::history::open_for_inspection(path).unwrap_or_else(|error| {
        panic!(
            "{} is of a released version and has to be readable: {error}",
            path.display()
        )
    });
    assert!(kept.check().expect("readable").is_sound());
    assert_eq!(entries_without_schema(&kept), entries_without_schema(&now));
    let (_, last) = kept.bounds();
    let (then, today) = (
        kept.as_of(last, &Scope::All).expect("whole"),
        now.as_of(last, &Scope::All).expect("whole"),
    );
    let words = |past: &landfall::history::PastState| format!("{:?}", past.states().collect::<Vec<_>>());
    assert_eq!(words(&then), words(&today));
}

#[test]
fn the_log_of_the_guide_is_readable() {
    kept_file_says_what_was_written(&example(), &clash());
}

#[test]
fn a_log_with_every_kind_of_entry_is_readable() {
    let script = rest_of_the_kinds();
    kept_file_says_what_was_written(&every_kind(), &script);
    let stats = script.history().stats().expect("memory");
    // A cleared store forgets what was before, so that kind has a log of its own. The file was written before edits.
    for kind in Filter::kinds() {
        assert!(
            stats.kinds.contains_key(kind) || ["cleared", "edited"].contains(&kind),
            "{kind} is missing from the file"
        );
    }
}

#[test]
fn a_log_with_an_edited_mutation_is_readable() {
    let mut script = rest_of_the_kinds();
    let clash = script.write("p2", MutationKind::Update, &[("title", text("Refused"))], Some(1));
    let refused = landfall_core::Refused {
        key: post("p2"),
        mutation: clash,
        refusal: landfall_core::Refusal {
            error_type: None,
            message: "not so".to_owned(),
        },
        remote: None,
    };
    script.append(Origin::Response, Some(clash), Change::Refused(refused));
    let edited = landfall_core::Edited {
        whole: false,
        key: post("p2"),
        mutation: clash,
        patch: [("title".into(), text("Corrected"))].into(),
        parents: Vec::new(),
    };
    script.append(Origin::App, Some(clash), Change::Edited(edited));
    let path = repository().join("tests/fixtures/logs/edited-1.lflog");
    kept_file_says_what_was_written(&path, &script);
}

/// The forms that are newer than those of `every-kind-1.lflog`, whose conflicts do not say what was given up.
#[test]
fn a_log_whose_conflicts_say_what_was_given_up_is_readable() {
    let mut script = rest_of_the_kinds();
    let edit = script.write("p5", MutationKind::Update, &[("title", text("Lost"))], Some(1));
    script.sent("p5", edit, 1);
    let conflict = Change::Conflict(Conflict {
        key: post("p5"),
        mutation: edit,
        remote: script.remote("p5", 2, &[("id", text("p5")), ("title", text("Theirs"))]),
        decision: Decision::AcceptRemote,
        given_up: fields(&[("title", text("Lost"))]),
    });
    script.append(Origin::Response, Some(edit), conflict);
    let path = repository().join("tests/fixtures/logs/given-up-2.lflog");
    kept_file_says_what_was_written(&path, &script);
    let old = landfall::history::open_for_inspection(&every_kind()).expect("it is kept");
    let told = entries(&old).into_iter().find_map(|entry| match entry.change {
        Change::Conflict(conflict) => Some(conflict.given_up),
        _ => None,
    });
    assert_eq!(
        told,
        Some(fields(&[])),
        "a conflict of version 1 is read in the newest form"
    );
}

#[test]
fn a_cleared_log_is_readable() {
    let mut script = clash();
    script.append(Origin::App, None, Change::Cleared);
    script.write(
        "p5",
        MutationKind::Create,
        &[("id", text("p5")), ("title", text("Anew"))],
        None,
    );
    kept_file_says_what_was_written(&repository().join("tests/fixtures/logs/cleared-1.lflog"), &script);
}

#[test]
fn entries_of_an_unknown_kind_survive_export_import_and_a_fork() {
    let history = rest_of_the_kinds().history();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (_, last) = history.bounds();
    history.fork(last, folder.path()).expect("whole");
    let imported = landfall::history::open_for_inspection(folder.path()).expect("made a moment ago");
    assert_eq!(entries(&imported), entries(&history));
    let check = imported.check().expect("readable");
    assert!(check.is_sound() && check.unknown == 1, "{check:?}");
}
