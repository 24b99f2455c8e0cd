//! Stores, backups and rows of a backend that are kept as files, so that what this version writes is opened by later ones.
//!
//! Owns how they were made. The files stay as they are and have to be opened for ever; to add one for a new form, give it a new
//! name and run this test with `LANDFALL_WRITE_FIXTURES=1`, which writes what is missing and never overwrites. A store's file is
//! kept without its zeros (`support/sparse.rs`). Each was copied while the store was open, as a crash would have left it: a
//! part is in the database, and the rest is in the journal alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall::history::{
    Checkpoint, LogChange as Change, MutationRef, Refused, Remote, Scope, open_for_inspection,
};
use landfall::{Disk, MutationKind, Origin, Retention, Schema, Seq, Stage, Value};
use landfall_backend::{Backend, BackendConfig, HttpCall, SeededEntropy};
use landfall_core::{Refusal, SyncCursor};
use landfall_storage::kv::KvStore;
use landfall_storage::{
    FILE_NAME, OnIncompatible, Query, Snapshot, StorageError, Store, StoreOptions, restore,
};
use serde_json::{Value as Json, json};

use crate::logs::{
    Script, entries_without_schema, kept_file_says_what_was_written, post, rest_of_the_kinds_on, text,
};
use crate::support::landfall::repository;
use crate::support::sparse::{keep, take_out};

/// File of a backend's rows in its directory.
const ROWS_FILE: &str = "rows.redb";

const KEY: &str = "da2-kept";

/// 2026-01-31T12:00:00Z.
const NOON_MS: i64 = 1_769_860_800_000;

fn kept(name: &str) -> PathBuf {
    repository().join("tests/fixtures/stores").join(name)
}

/// Whether a file that is kept is to be made now.
fn is_to_be_made(kept: &Path) -> bool {
    !kept.exists() && std::env::var_os("LANDFALL_WRITE_FIXTURES").is_some()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// A store with every kind of entry, with changes that wait in every condition, and with the metadata of a sync.
fn everything(disk: &Disk) -> Script {
    let mut script = rest_of_the_kinds_on(disk.clone());
    // In memory there is nothing to open again.
    if matches!(disk, Disk::Directory(_)) {
        script = script.reopened(disk.clone());
    }
    let cursor = SyncCursor {
        last_sync_ms: Some(NOON_MS),
        last_full_sync_ms: Some(NOON_MS - 1),
        ..SyncCursor::default()
    };
    let model = "Blog".into();
    script.append(
        Origin::Sync,
        None,
        Change::Checkpoint(Checkpoint { model, cursor }),
    );
    let told = [
        ("id", text("p6")),
        ("title", text("From the server")),
        ("rating", 2.into()),
    ];
    let remote = script.remote("p6", 7, &told);
    let key = post("p6");
    script.append(Origin::Sync, None, Change::Remote(Remote { key, remote }));
    let edited = |rating: i64| [("rating", Value::from(rating))];
    let refused = script.write("p6", MutationKind::Update, &edited(3), Some(7));
    script.sent("p6", refused, 1);
    let refusal = Refusal {
        error_type: Some("Unauthorized".to_owned()),
        message: "not so".to_owned(),
    };
    let refused = Refused {
        key: post("p6"),
        mutation: refused,
        refusal,
        remote: None,
    };
    script.append(Origin::Response, Some(refused.mutation), Change::Refused(refused));
    for id in ["p7", "p8"] {
        let fresh = [("id", text(id)), ("title", text("Unsent")), ("rating", 1.into())];
        let made = script.write(id, MutationKind::Create, &fresh, None);
        if id == "p7" {
            script.sent(id, made, 1);
        }
    }
    script
}

/// The same in memory, as a store finds it that is opened after a crash: of what was on its way the outcome is not known.
fn everything_found() -> Script {
    let mut script = everything(&Disk::Memory);
    let pending = snapshot(&script.store)
        .pending(Seq::ZERO, usize::MAX)
        .expect("memory");
    let sent = pending
        .iter()
        .find(|mutation| mutation.stage == Stage::InFlight)
        .expect("p7 was sent");
    let of = MutationRef {
        key: sent.key.clone(),
        mutation: sent.seq,
    };
    let change = Change::OutcomeUnknown(of);
    script
        .store
        .write(NOON_MS, |txn| {
            txn.append(Origin::Recovery, Some(sent.seq), change)
        })
        .expect("memory");
    script
}

/// A store whose log was trimmed and goes on from a base.
fn trimmed(disk: &Disk) -> Script {
    let mut script = Script::on(disk.clone());
    let arrive = |script: &mut Script, id: &str, version: u64, title: &str| {
        let remote = script.remote(id, version, &[("id", text(id)), ("title", text(title))]);
        let key = post(id);
        script.append(Origin::Sync, None, Change::Remote(Remote { key, remote }))
    };
    for id in ["p1", "p2", "p3"] {
        arrive(&mut script, id, 1, "Before");
    }
    let newest = arrive(&mut script, "p2", 2, "Trimmed as well");
    let kept = Retention::everything().entries(1);
    let trimmed = script.store.trim(&kept, NOON_MS).expect("there is room");
    assert_eq!(trimmed.start, newest);
    arrive(&mut script, "p3", 2, "After");
    script.write("p1", MutationKind::Update, &[("title", text("Unsent"))], Some(1));
    script
}

/// What a store holds and what waits in it, in words.
fn held(snapshot: &Snapshot) -> String {
    let mut held = String::new();
    for model in snapshot.schema().models() {
        let found = snapshot
            .query(&Query::all(model.name.as_str()))
            .expect("readable");
        let records: Vec<_> = found
            .iter()
            .map(|record| (record.to_fields(), record.sync()))
            .collect();
        let cursor = snapshot.cursor(&model.name).expect("readable");
        held += &format!("{}: {records:?}, synced {cursor:?}\n", model.name);
    }
    for id in 1..10 {
        let key = post(&format!("p{id}"));
        held += &format!("{key}: {:?}\n", snapshot.state(&key).expect("readable"));
    }
    let pending = snapshot.pending(Seq::ZERO, usize::MAX).expect("readable");
    held + &format!("waiting: {pending:?}")
}

fn snapshot(store: &Store) -> Snapshot {
    store.reader().snapshot().expect("readable")
}

/// Makes the kept file if it is to be made, copies it into a directory and opens it there, first to look and then to write.
fn opened(name: &str, directory: &Path, make: &dyn Fn(&Disk) -> Script) -> Store {
    let kept = kept(name);
    if is_to_be_made(&kept) {
        let made = folder();
        let script = make(&Disk::Directory(made.path().to_owned()));
        keep(&made.path().join(FILE_NAME), &kept);
        drop(script);
    }
    take_out(&kept, &directory.join(FILE_NAME));
    open(directory)
}

fn open(directory: &Path) -> Store {
    let looked_at = open_for_inspection(directory)
        .unwrap_or_else(|error| panic!("a store of a released version has to be readable: {error}"));
    let check = looked_at.check().expect("readable");
    assert!(check.is_sound(), "{check:?}");
    let schema: Arc<Schema> = Arc::clone(looked_at.schema().expect("it is in the store"));
    drop(looked_at);
    Store::open(StoreOptions {
        disk: Disk::Directory(directory.to_owned()),
        schema,
        cache_bytes: 1024 * 1024,
        incompatible: OnIncompatible::Refuse,
        now_ms: NOON_MS,
    })
    .expect("a store of a released version can be opened")
}

/// That a kept store is what the same steps make today, and can be written.
fn is_as_it_was(mut store: Store, today: &Script) {
    let history = |store: &Store| landfall::history::History::of_snapshot(snapshot(store)).expect("readable");
    let (then, now) = (
        entries_without_schema(&history(&store)),
        entries_without_schema(&today.history()),
    );
    for (then, now) in then.iter().zip(&now) {
        assert_eq!(then, now);
    }
    assert_eq!(then.len(), now.len());
    assert_eq!(held(&snapshot(&store)), held(&snapshot(&today.store)));
    let (first, newest) = history(&store).bounds();
    for seq in first.0..=newest.0 {
        let past = |history: &landfall::history::History| {
            let past = history.as_of(Seq(seq), &Scope::All).expect("whole");
            format!("{:?} {:?}", past.states().collect::<Vec<_>>(), past.cursors())
        };
        assert_eq!(past(&history(&store)), past(&today.history()), "after e{seq}");
    }
    let remote = today.remote("p9", 1, &[("id", text("p9")), ("title", text("New"))]);
    let key = post("p9");
    let change = Change::Remote(Remote { key, remote });
    store
        .write(NOON_MS, |txn| txn.append(Origin::Sync, None, change))
        .expect("there is room");
    assert!(history(&store).check().expect("readable").is_sound());
}

#[test]
fn a_kept_store_opens_with_its_records_log_outbox_and_sync_metadata() {
    let directory = folder();
    let store = opened("everything-1.sparse", directory.path(), &everything);
    let stages: Vec<&str> = snapshot(&store)
        .pending(Seq::ZERO, usize::MAX)
        .expect("readable")
        .iter()
        .map(|mutation| mutation.stage.name())
        .collect();
    assert_eq!(stages, ["parked", "unknown", "queued"]);
    let synced = snapshot(&store).cursor(&"Blog".into()).expect("readable");
    assert_eq!(synced.last_sync_ms, Some(NOON_MS));
    is_as_it_was(store, &everything_found());
}

#[test]
fn a_kept_store_whose_log_was_trimmed_opens_with_its_base() {
    let directory = folder();
    let store = opened("trimmed-1.sparse", directory.path(), &trimmed);
    let (start, _) = snapshot(&store).log_bounds().expect("readable");
    assert_eq!(start, Seq(5));
    is_as_it_was(store, &trimmed(&Disk::Memory));
}

#[test]
fn a_kept_export_of_a_trimmed_log_has_what_it_goes_on_from() {
    let today = trimmed(&Disk::Memory);
    let path = repository().join("tests/fixtures/logs/trimmed-2.lflog");
    kept_file_says_what_was_written(&path, &today);
    // Files of version 1 have the entries alone, and say so.
    let path = repository().join("tests/fixtures/logs/trimmed-1.lflog");
    let older = open_for_inspection(&path).expect("a file of an older version has to be readable");
    assert!(older.check().expect("readable").is_sound() && older.has_base().expect("readable"));
    let entries = (
        entries_without_schema(&older),
        entries_without_schema(&today.history()),
    );
    assert_eq!(entries.0, entries.1);
    let (_, newest) = older.bounds();
    let refused = older.as_of(newest, &Scope::All);
    assert!(matches!(refused, Err(StorageError::NoBase { .. })), "{refused:?}");
}

#[test]
fn a_kept_backup_is_put_back() {
    let kept = kept("backup-1.sparse");
    if is_to_be_made(&kept) {
        let (made, copy) = (folder(), folder());
        let script = everything(&Disk::Directory(made.path().to_owned()));
        snapshot(&script.store)
            .backup(copy.path(), |_| ())
            .expect("there is room");
        keep(&copy.path().join(FILE_NAME), &kept);
    }
    let (backup, directory) = (folder(), folder());
    take_out(&kept, &backup.path().join(FILE_NAME));
    restore(backup.path(), directory.path(), |_| ()).expect("a backup of a released version can be put back");
    is_as_it_was(open(directory.path()), &everything_found());
}

fn backend(rows: KvStore) -> Backend {
    let sdl = "type Note @model @auth(rules: [{ allow: public }]) { text: String! mark: Int }";
    let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).expect("a sound schema");
    let config = BackendConfig::with_api_key(KEY);
    Backend::new(Arc::new(schema), config, rows, SeededEntropy::new(1))
        .expect("the rows of a released version can be opened")
}

fn ask(backend: &Backend, at_ms: i64, document: &str) -> Json {
    let call = HttpCall::post(KEY, json!({ "query": document }).to_string());
    let reply = backend.handle_http(at_ms, &call);
    let body: Json = serde_json::from_slice(&reply.body).expect("JSON");
    assert!(body["errors"].is_null(), "{document}: {body}");
    body["data"].clone()
}

/// Makes records of several versions, one of them deleted.
const STEPS: [&str; 5] = [
    r#"createNote(input: { id: "n1", text: "first", mark: 1 })"#,
    r#"createNote(input: { id: "n2", text: "second" })"#,
    r#"updateNote(input: { id: "n1", mark: 2, _version: 1 })"#,
    r#"deleteNote(input: { id: "n2", _version: 1 })"#,
    r#"createNote(input: { id: "n3", text: "third" })"#,
];

/// A backend over these rows, which carries out some of the steps.
fn filled(rows: KvStore, steps: std::ops::Range<usize>) -> Backend {
    let backend = backend(rows);
    let fields = "{ id text mark _version _lastChangedAt _deleted }";
    for (at_ms, step) in (NOON_MS..).zip(STEPS).skip(steps.start).take(steps.len()) {
        ask(&backend, at_ms, &format!("mutation {{ {step} {fields} }}"));
    }
    backend
}

#[test]
fn the_kept_rows_of_a_backend_are_served() {
    let kept = kept("backend-1.sparse");
    if is_to_be_made(&kept) {
        let made = folder();
        let rows = || KvStore::open(made.path()).expect("there is room");
        drop(filled(rows(), 0..3));
        let serving = filled(rows(), 3..STEPS.len());
        keep(&made.path().join(ROWS_FILE), &kept);
        drop(serving);
    }
    let directory = folder();
    take_out(&kept, &directory.path().join(ROWS_FILE));
    let then = backend(KvStore::open(directory.path()).expect("rows of a released version can be opened"));
    let today = filled(KvStore::in_memory().expect("memory"), 0..STEPS.len());
    assert_eq!(
        then.records("Note").expect("readable"),
        today.records("Note").expect("readable")
    );
    let delta = |backend: &Backend| backend.delta_rows("Note").expect("readable");
    assert_eq!((delta(&then), delta(&then).len()), (delta(&today), 5));
    // What changed since the second step, as a client that was away asks for it.
    let since = format!(
        "{{ syncNotes(lastSync: {}) {{ items {{ id text mark _version _deleted }} startedAt }} }}",
        NOON_MS + 1
    );
    let told = |backend: &Backend| ask(backend, NOON_MS + 10, &since);
    assert_eq!(told(&then), told(&today));
    let update = r#"mutation { updateNote(input: { id: "n1", text: "again", _version: 2 }) { _version } }"#;
    assert_eq!(ask(&then, NOON_MS + 20, update)["updateNote"]["_version"], 3);
}
