//! A trimmed log makes what the whole one made, and says what it no longer knows.

use landfall_core::{Change, Checkpoint, FieldName, Migration, Seq, SyncCursor, Value};

use crate::history::{History, PastState, REDACTION_KEY_BYTES, Redaction, Scope, read_exported};
use crate::tables::{CURSORS, OUTBOX, RECORDS};
use crate::test_support::{
    append, arrived, assert_sound, everything, in_directory, in_memory, lost, options_with, post, save, sent,
    shop_parts, snapshot,
};
use crate::{Disk, Migrations, Query, Retention, StorageError, Store, Trimmed};

/// What a store holds apart from its log.
fn held(store: &Store) -> String {
    let text = everything(store);
    let is_state = |line: &&str| !line.starts_with("LogEntry");
    text.lines().filter(is_state).collect::<Vec<_>>().join("\n")
}

/// A store of records in every condition whose log is not held by a change that waits.
fn busy(mut store: Store) -> Store {
    for number in 0..20 {
        // From the server, so that nothing waits for it.
        let text = format!("id=p{number} title=old");
        append(&mut store, arrived(&post(&format!("p{number}")), 1, &text)).unwrap();
    }
    for number in 0..20 {
        let text = format!("id=p{number} title=t{number}");
        append(&mut store, arrived(&post(&format!("p{number}")), 2, &text)).unwrap();
    }
    append(&mut store, arrived(&post("p3"), 3, "deleted")).unwrap();
    let cursor = SyncCursor {
        last_sync_ms: Some(7),
        ..SyncCursor::default()
    };
    let model = "Post".into();
    append(&mut store, Change::Checkpoint(Checkpoint { model, cursor })).unwrap();
    store
}

fn bounds(store: &Store) -> (Seq, Seq) {
    snapshot(store).log_bounds().unwrap()
}

fn keep(entries: u64) -> Retention {
    Retention::everything().entries(entries)
}

#[test]
fn what_is_held_does_not_change_and_is_still_made_by_the_log() {
    for entries in [0, 1, 5, 21, 30] {
        let mut store = busy(in_memory());
        let (before, (_, end)) = (held(&store), bounds(&store));
        let trimmed = store.trim(&keep(entries), 0).unwrap();
        let start = Seq(end.0 + 1 - entries.max(1));
        assert_eq!(trimmed.start, start, "the newest entry stays");
        assert_eq!((bounds(&store), trimmed.entries), ((start, end), start.0 - 1));
        assert_eq!(held(&store), before);
        assert_sound(&store);
        // The projections are made from the base and what is left.
        store.rebuild().unwrap();
        assert_eq!(held(&store), before);
        // And go on from there, to be trimmed again.
        append(&mut store, arrived(&post("p1"), 9, "id=p1 title=new")).unwrap();
        let before = held(&store);
        store.trim(&keep(1), 0).unwrap();
        store.rebuild().unwrap();
        assert_eq!(held(&store), before);
        assert_sound(&store);
    }
}

#[test]
fn what_was_just_proven_is_not_verified_again_for_as_long_as_somebody_vouches_for_it() {
    let mut store = busy(in_memory());
    let reader = store.reader();
    let over = reader.prove(&|| false);
    assert!(matches!(over, Err(StorageError::Closed)), "{over:?}");
    let proof = reader.prove(&|| true).unwrap();
    let (_, end) = bounds(&store);
    for version in [9, 10] {
        let text = format!("id=p1 title=new-{version}");
        append(&mut store, arrived(&post("p1"), version, &text)).unwrap();
    }
    // Nobody could trim this who looked.
    store.tamper(|transaction| {
        let key = crate::tables::record_key(&post("p2"));
        drop(transaction.open_table(RECORDS).unwrap().remove(key.as_slice()));
    });
    let step = |seq: u64| keep(0).through(Seq(seq));
    assert_eq!(store.trim(&step(10), 0).unwrap().start, Seq(11));
    let newer = store.trim(&keep(0), 0);
    assert!(
        matches!(newer, Err(StorageError::Corrupt { .. })),
        "{end} is the last that was proven: {newer:?}"
    );
    assert_eq!(store.trim(&step(20), 0).unwrap().start, Seq(21));
    drop(proof);
    let alone = store.trim(&step(30), 0);
    assert!(matches!(alone, Err(StorageError::Corrupt { .. })), "{alone:?}");
    let refused = reader.prove(&|| true).map(drop);
    assert!(
        matches!(refused, Err(StorageError::Corrupt { .. })),
        "{refused:?}"
    );
    assert_eq!(bounds(&store).0, Seq(21));
}

#[test]
fn entries_of_any_length_are_trimmed() {
    let mut store = in_memory();
    // More than is folded at once.
    let long = "x".repeat(1024 * 1024);
    for number in 0..20 {
        let text = format!("id=p{} title={long}{number}", number % 7);
        append(
            &mut store,
            arrived(&post(&format!("p{}", number % 7)), number + 1, &text),
        )
        .unwrap();
    }
    let before = held(&store);
    let (_, end) = bounds(&store);
    assert_eq!(store.trim(&keep(1), 0).unwrap().start, end);
    store.rebuild().unwrap();
    assert_eq!(held(&store), before);
    assert_sound(&store);
}

#[test]
fn nothing_goes_that_a_waiting_change_needs() {
    let mut store = busy(in_memory());
    let waiting = save(&mut store, "Post", "id=p1 title=mine");
    for number in 4..10 {
        let text = format!("id=p{number} title=later");
        append(&mut store, arrived(&post(&format!("p{number}")), 5, &text)).unwrap();
    }
    let before = held(&store);
    assert_eq!(store.trim(&keep(1), 0).unwrap().start, waiting.seq);
    assert_eq!(store.trim(&keep(1), 0).unwrap().entries, 0);
    assert_eq!(held(&store), before);
    assert_sound(&store);
}

#[test]
fn what_waited_when_the_base_was_made_is_settled_by_what_follows() {
    let mut store = busy(in_memory());
    let key = post("p1");
    let waiting = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&key, waiting)).unwrap();
    append(&mut store, lost(&key, waiting)).unwrap();
    append(
        &mut store,
        Change::Discarded(landfall_core::MutationRef {
            key,
            mutation: waiting,
        }),
    )
    .unwrap();
    let before = held(&store);
    // Between the write and what became of it.
    let (_, end) = bounds(&store);
    store.trim(&keep(end.0 - waiting.0), 0).unwrap();
    store.rebuild().unwrap();
    assert_eq!(held(&store), before);
    assert_sound(&store);
}

#[test]
fn limits_are_by_number_by_age_and_by_bytes() {
    let trimmed = |retention: &Retention, now_ms| {
        let mut store = busy(in_memory());
        let trimmed = store.trim(retention, now_ms).unwrap();
        (trimmed, bounds(&store))
    };
    let whole = bounds(&busy(in_memory()));
    let day = 24 * 60 * 60 * 1_000;
    let nothing = Trimmed {
        entries: 0,
        start: whole.0,
    };
    assert_eq!(trimmed(&Retention::everything(), i64::MAX), (nothing, whole));
    // By the clock the first entry, which opening made, is younger than those that follow it.
    assert_eq!(trimmed(&Retention::everything().days(1), day), (nothing, whole));
    let (gone, (start, _)) = trimmed(&Retention::everything().days(1), day + 1_001);
    assert_eq!(
        (gone.start, start),
        (whole.1, whole.1),
        "all but the newest are older than a day"
    );
    let (gone, _) = trimmed(&Retention::everything().bytes(u64::MAX), 0);
    assert_eq!(gone.entries, 0);
    let (few, _) = trimmed(&Retention::everything().bytes(2_000), 0);
    let (fewer, _) = trimmed(&Retention::everything().bytes(500), 0);
    assert!(
        few.entries > 0 && fewer.entries > few.entries,
        "{few:?} {fewer:?}"
    );
}

#[test]
fn the_past_is_told_as_far_as_it_goes() {
    let mut store = busy(in_memory());
    append(&mut store, arrived(&post("p1"), 8, "id=p1 title=newest")).unwrap();
    let whole = History::of_snapshot(snapshot(&store)).unwrap();
    let (_, end) = bounds(&store);
    store.trim(&keep(3), 0).unwrap();
    let history = History::of_snapshot(snapshot(&store)).unwrap();
    assert!(history.is_trimmed().unwrap() && !whole.is_trimmed().unwrap());
    for seq in [Seq(end.0 - 3), Seq(end.0 - 1), end] {
        let (ours, theirs) = (
            history.as_of(seq, &Scope::All).unwrap(),
            whole.as_of(seq, &Scope::All).unwrap(),
        );
        let states =
            |past: &PastState| format!("{:?} {:?}", past.states().collect::<Vec<_>>(), past.cursors());
        assert_eq!(states(&ours), states(&theirs), "{seq}");
    }
    for seq in [Seq(1), Seq(end.0 - 4)] {
        let trimmed = history.as_of(seq, &Scope::All);
        assert!(matches!(trimmed, Err(StorageError::Trimmed { start, .. }) if start == Seq(end.0 - 2)));
        assert!(matches!(history.entry(seq), Err(StorageError::Trimmed { .. })));
    }
    let told = history.record(&post("p1")).unwrap();
    assert_eq!(told.steps.len(), 2, "what was trimmed had come to one state");
    assert_eq!(told.state(), whole.record(&post("p1")).unwrap().state());
    let untouched = history.record(&post("p5")).unwrap();
    let why = format!("{:?}", untouched.why(Some("title")));
    assert!(why.contains("trimmed"), "{why}");
    let unknown = history.record(&post("nobody")).unwrap().why(None);
    assert!(unknown.subject.contains("begins at"), "{}", unknown.subject);

    // A fork has the base as well.
    let fork = tempfile::tempdir().unwrap();
    history.fork(end, fork.path()).unwrap();
    assert_eq!(held(&in_directory(fork.path())), held(&store));
}

/// A store whose log has its last three entries, and that log.
fn of_three_entries() -> (Store, History) {
    let mut store = busy(in_memory());
    append(&mut store, arrived(&post("p1"), 8, "id=p1 title=newest")).unwrap();
    store.trim(&keep(3), 0).unwrap();
    let history = History::of_snapshot(snapshot(&store)).unwrap();
    (store, history)
}

fn exported(history: &History, redaction: Option<&Redaction>) -> Vec<u8> {
    let mut bytes = Vec::new();
    history.export(&mut bytes, redaction).unwrap();
    bytes
}

#[test]
fn an_exported_file_has_what_the_log_goes_on_from() {
    let (store, history) = of_three_entries();
    let (start, end) = history.bounds();
    let bytes = exported(&history, None);
    let file = read_exported(bytes.clone()).unwrap();
    // And so has a file that is made of the file.
    assert_eq!((file.bounds(), exported(&file, None)), (history.bounds(), bytes));
    assert!(file.is_trimmed().unwrap() && file.holds_base().unwrap());
    assert!(file.check().unwrap().is_sound());
    for seq in start.0 - 1..=end.0 {
        let states = |history: &History| {
            let past = history.as_of(Seq(seq), &Scope::All).unwrap();
            format!("{:?} {:?}", past.states().collect::<Vec<_>>(), past.cursors())
        };
        assert_eq!(states(&file), states(&history), "after e{seq}");
    }
    let found = |history: &History| history.query(end, &Query::all("Post")).unwrap();
    assert_eq!(found(&file), found(&history));
    let told = |history: &History| history.record(&post("p1")).unwrap().state();
    assert_eq!(told(&file), told(&history));
    let imported = tempfile::tempdir().unwrap();
    file.fork(end, imported.path()).unwrap();
    assert_eq!(held(&in_directory(imported.path())), held(&store));

    // Of a redacted one the states are as many, and have nothing of what was there.
    let redaction = Redaction::new([7; REDACTION_KEY_BYTES], history.schema().cloned());
    let redacted = exported(&history, Some(&redaction));
    assert!(!redacted.windows(3).any(|bytes| bytes == b"t12"), "it is a title");
    let redacted = read_exported(redacted).unwrap();
    let count = |history: &History| history.as_of(end, &Scope::All).unwrap().states().count();
    assert_eq!(count(&redacted), count(&history));
    assert!(redacted.check().unwrap().is_sound());
}

#[test]
fn a_redacted_file_has_what_waited_when_the_base_was_made() {
    let mut store = busy(in_memory());
    let key = post("p1");
    let waiting = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&key, waiting)).unwrap();
    append(&mut store, lost(&key, waiting)).unwrap();
    let discarded = landfall_core::MutationRef {
        key,
        mutation: waiting,
    };
    append(&mut store, Change::Discarded(discarded)).unwrap();
    let (_, end) = bounds(&store);
    store.trim(&keep(end.0 - waiting.0), 0).unwrap();
    let history = History::of_snapshot(snapshot(&store)).unwrap();
    let redaction = Redaction::new([7; REDACTION_KEY_BYTES], history.schema().cloned());
    let redacted = read_exported(exported(&history, Some(&redaction))).unwrap();
    let (start, end) = history.bounds();
    for seq in start.0 - 1..=end.0 {
        let counts = |history: &History| {
            let past = history.as_of(Seq(seq), &Scope::All).unwrap();
            let count = |of: fn(&landfall_core::RecordState) -> usize| -> usize {
                past.states().map(|(_, state)| of(state)).sum()
            };
            (
                count(|state| usize::from(state.row.is_some())),
                count(|state| usize::from(state.shadow.is_some())),
                count(|state| state.pending.len()),
            )
        };
        assert_eq!(counts(&redacted), counts(&history), "after e{seq}");
    }
    let imported = tempfile::tempdir().unwrap();
    redacted.fork(end, imported.path()).unwrap();
    let rows = |store: &Store| snapshot(store).query(&Query::all("Post")).unwrap().len();
    assert_eq!(rows(&in_directory(imported.path())), rows(&store));
}

#[test]
fn a_file_that_lacks_some_of_its_base_has_entries_and_no_states() {
    let (_, history) = of_three_entries();
    let (start, end) = history.bounds();
    let bytes = exported(&history, None);
    let base_at = bytes.windows(4).position(|bytes| bytes == b"LFS1").unwrap();
    for at in [base_at, base_at + 9, base_at + 40] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let damaged = read_exported(damaged).unwrap();
        assert_eq!(damaged.entry(start).unwrap(), history.entry(start).unwrap());
        let check = damaged.check().unwrap();
        assert!(
            !check.is_sound() && format!("{check:?}").contains("goes on from"),
            "{check:?}"
        );
        let no_base = |error| matches!(error, StorageError::NoBase { start: found, is_exported: true } if found == start);
        let refused = damaged.as_of(end, &Scope::All).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("`list`, `show`, `stats` and `verify` read") && !text.contains("close the app"),
            "{text}"
        );
        assert!(no_base(refused));
        assert!(no_base(damaged.record(&post("p1")).unwrap_err()));
        let nothing = tempfile::tempdir().unwrap();
        assert!(no_base(damaged.fork(end, nothing.path()).unwrap_err()));
        let disk = Disk::Directory(nothing.path().to_owned());
        assert!(no_base(damaged.fork_to(end, &disk).unwrap_err()));
        assert_eq!(std::fs::read_dir(nothing.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_base_outlives_closing_backups_and_goes_with_a_clear() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = busy(in_directory(directory.path()));
    store.trim(&keep(2), 0).unwrap();
    let before = held(&store);
    drop(store);
    let mut store = in_directory(directory.path());
    assert_sound(&store);
    assert_eq!(held(&store), before);
    let copy = directory.path().join("copy");
    snapshot(&store).backup(&copy, |_| ()).unwrap();
    let mut copied = in_directory(&copy);
    copied.rebuild().unwrap();
    assert_eq!(held(&copied), before);
    append(&mut store, Change::Cleared).unwrap();
    store.rebuild().unwrap();
    assert_sound(&store);
    let history = History::of_snapshot(snapshot(&store)).unwrap();
    assert!(!history.is_trimmed().unwrap());
}

#[test]
fn a_migration_carries_the_base_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = busy(in_directory(directory.path()));
    store.trim(&keep(2), 0).unwrap();
    let titles = |store: &Store, name: &str| -> Vec<Value> {
        let posts = crate::test_support::all(&snapshot(store), "Post");
        posts
            .iter()
            .map(|post| post.get(name).cloned().unwrap_or_default())
            .collect()
    };
    let before = titles(&store, "title");
    drop(store);
    let mut parts = shop_parts();
    let posts = parts
        .models
        .iter_mut()
        .find(|model| model.name.as_str() == "Post")
        .expect("a shop has posts");
    for field in &mut posts.fields {
        if field.name.as_str() == "title" {
            field.name = FieldName::from("headline");
        }
    }
    for index in &mut posts.indexes {
        for name in &mut index.fields {
            if name.as_str() == "title" {
                *name = FieldName::from("headline");
            }
        }
    }
    let schema = crate::test_support::built(parts);
    let mut migrations = Migrations::default();
    migrations.push(Migration::named("headlines").rename_field("Post", "title", "headline"));
    let disk = Disk::Directory(directory.path().to_owned());
    let mut store = Store::open_migrating(options_with(disk, schema), &migrations).unwrap();
    assert_eq!(titles(&store, "headline"), before);
    assert_sound(&store);
    store.rebuild().unwrap();
    assert_eq!(titles(&store, "headline"), before);
}

#[test]
fn what_this_version_does_not_know_stays_with_all_after_it() {
    let mut store = busy(in_memory());
    let unknown = landfall_core::Opaque {
        kind: 999,
        version: 1,
        payload: vec![1, 2, 3],
    };
    append(&mut store, Change::Opaque(unknown)).unwrap();
    let (_, at) = bounds(&store);
    for number in 0..5 {
        append(&mut store, arrived(&post("p1"), 10 + number, "id=p1 title=later")).unwrap();
    }
    let before = held(&store);
    let trimmed = store.trim(&keep(1), 0).unwrap();
    assert_eq!((trimmed.start, trimmed.entries), (at, at.0 - 1));
    assert_eq!(store.trim(&keep(1), 0).unwrap().entries, 0);
    assert_eq!(held(&store), before);
    assert_sound(&store);
}

#[test]
fn a_clear_is_no_trim_and_a_trim_after_it_is_one() {
    let is_trimmed = |store: &Store| {
        let history = History::of_snapshot(snapshot(store)).unwrap();
        history.is_trimmed().unwrap()
    };
    let mut store = busy(in_memory());
    append(&mut store, Change::Cleared).unwrap();
    assert!(bounds(&store).0 > Seq(1) && !is_trimmed(&store));
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=new")).unwrap();
    let evicted = landfall_core::Evicted {
        key: post("p1"),
        reason: "left".to_owned(),
        sync: None,
    };
    append(&mut store, Change::Evicted(evicted)).unwrap();
    append(&mut store, arrived(&post("p2"), 1, "id=p2 title=new")).unwrap();
    // Nothing is left of what goes, so there is no base; the entries are gone all the same.
    store.trim(&keep(1), 0).unwrap();
    assert!(is_trimmed(&store));
    assert_sound(&store);
}

#[test]
fn rows_in_memory_are_those_of_the_store_before_and_after_a_trim() {
    let mut store = busy(in_memory());
    let read = |store: &Store| format!("{:?}", crate::test_support::all(&snapshot(store), "Post"));
    // Twice, so that they are kept.
    assert_eq!(read(&store), read(&store));
    let held_open = snapshot(&store);
    let before = read(&store);
    store.trim(&keep(1), 0).unwrap();
    assert_eq!(read(&store), before);
    append(&mut store, arrived(&post("p1"), 9, "id=p1 title=newest")).unwrap();
    let mut uncached = snapshot(&store);
    uncached.forgo_cache();
    let from_pages = format!("{:?}", crate::test_support::all(&uncached, "Post"));
    assert_eq!(read(&store), from_pages);
    assert_ne!(from_pages, before);
    assert_eq!(
        format!("{:?}", crate::test_support::all(&held_open, "Post")),
        before,
        "an older snapshot stays what it was"
    );
}

#[test]
fn a_log_that_does_not_make_the_store_is_not_trimmed() {
    let mut store = busy(in_memory());
    {
        let guard = store.shared.database();
        let transaction = guard.as_ref().unwrap().database.begin_write().unwrap();
        transaction.open_table(CURSORS).unwrap().remove("Post").unwrap();
        transaction.commit().unwrap();
    }
    let refused = store.trim(&keep(1), 0);
    assert!(
        matches!(refused, Err(StorageError::Corrupt { .. })),
        "{refused:?}"
    );
    assert_eq!(bounds(&store).0, Seq(1));
}

#[test]
fn a_waiting_change_that_cannot_be_read_holds_what_it_needs_and_is_named() {
    let mut store = busy(in_memory());
    let waiting = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, arrived(&post("p9"), 9, "id=p9 title=new")).unwrap();
    let whole = held(&store);
    store.tamper(|txn| {
        let mut outbox = txn.open_table(OUTBOX).unwrap();
        outbox.insert(waiting.0, b"\xc1".as_slice()).unwrap();
    });
    let (start, _) = bounds(&store);
    let trimmable = snapshot(&store).trimmable(&keep(1), 0).unwrap();
    assert_eq!(trimmable, waiting.0 - start.0, "everything before it");
    // What the log does not make is told, and nothing is taken away before it was made again.
    let refused = store.trim(&keep(1), 0).unwrap_err().to_string();
    assert!(
        refused.contains("p1")
            && refused.contains("cannot be read")
            && refused.contains("landfall data rebuild"),
        "{refused}"
    );
    assert_eq!(bounds(&store).0, start);
    store.rebuild().unwrap();
    assert_eq!(held(&store), whole);
    assert_eq!(store.trim(&keep(1), 0).unwrap().entries, trimmable);
    assert_sound(&store);
}
