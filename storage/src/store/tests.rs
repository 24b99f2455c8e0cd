use landfall_core::{Change, Mutation, Origin, RecordKey, Stage};

use super::*;
use crate::test_support::{
    CachedDisk, all, append, arrived, assert_sound, everything, in_directory, in_memory, options, post, put,
    remove, save, sent, snapshot,
};
use crate::{ChangeKind, OutboxChange, Query};

fn titles(snapshot: &Snapshot) -> Vec<String> {
    let posts = all(snapshot, "Post");
    posts
        .iter()
        .map(|post| {
            post.get("title")
                .and_then(|title| title.as_str())
                .unwrap_or("-")
                .to_owned()
        })
        .collect()
}

fn stages(store: &Store) -> Vec<(Seq, Stage)> {
    let pending: Vec<Mutation> = snapshot(store).pending(Seq::ZERO, 100).unwrap();
    pending
        .into_iter()
        .map(|mutation| (mutation.seq, mutation.stage))
        .collect()
}

#[test]
fn what_was_written_is_read_back() {
    let mut store = in_memory();
    let applied = save(
        &mut store,
        "Post",
        "id=p1 title=a rating=3 tags=[x,y] status=LIVE score=2.5",
    );
    let visible = applied.visible.expect("it appeared");
    assert_eq!((visible.kind, visible.seq), (ChangeKind::Insert, store.head()));
    assert!(
        matches!(applied.outbox.as_slice(), [OutboxChange::Put(mutation)] if mutation.seq == store.head())
    );
    let record = snapshot(&store)
        .get("Post", &"p1".into())
        .unwrap()
        .expect("it is there");
    assert_eq!(record.get("rating"), Some(&3.into()));
    assert_eq!(record.get("tags"), Some(&crate::test_support::value("[x,y]")));
    assert!(record.base().row().is_some(), "it tells what it was read from");
    assert_eq!(snapshot(&store).get("Post", &"p2".into()).unwrap(), None);
    assert!(matches!(
        snapshot(&store).get("Nothing", &"p1".into()),
        Err(StorageError::UnknownModel { .. })
    ));
    assert_sound(&store);
}

#[test]
fn updates_and_deletes_say_what_they_changed() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    let updated = save(&mut store, "Post", "id=p1 title=b")
        .visible
        .expect("it changed");
    assert_eq!(
        (updated.kind, updated.record.get("title")),
        (ChangeKind::Update, Some(&"b".into()))
    );
    let unchanged = store.write(5, |txn| put(txn, "Post", "id=p1 title=b")).unwrap();
    assert!(
        unchanged.value.is_none() && unchanged.head == updated.seq,
        "saving the same again writes nothing"
    );
    let removed = store
        .write(5, |txn| remove(txn, &post("p1")))
        .unwrap()
        .value
        .expect("it was there");
    let gone = removed.visible.expect("it went");
    assert_eq!(
        (gone.kind, gone.record.get("title")),
        (ChangeKind::Delete, Some(&"b".into()))
    );
    assert!(
        matches!(removed.outbox.as_slice(), [OutboxChange::Removed(_)]),
        "the server never saw it"
    );
    assert_sound(&store);
}

#[test]
fn many_appends_are_one_transaction() {
    let mut store = in_memory();
    let before = store.head();
    let written = store.write(5, |txn| {
        for number in 0..50 {
            put(txn, "Post", &format!("id=p{number} title=t{number}"))?;
        }
        assert_eq!(txn.next_seq(), Seq(before.0 + 51));
        assert!(
            txn.state(&post("p7"))?.row.is_some(),
            "the transaction sees what it did"
        );
        Ok(())
    });
    assert_eq!(written.unwrap().head, Seq(before.0 + 50));
    assert_eq!(all(&snapshot(&store), "Post").len(), 50);
    assert_sound(&store);
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    let before = everything(&store);
    let failed: Result<Written<()>, _> = store.write(5, |txn| {
        put(txn, "Post", "id=p2 title=b")?;
        Err(StorageError::full())
    });
    assert!(matches!(failed, Err(StorageError::Full { .. })));
    assert_eq!(everything(&store), before);
    assert_eq!(store.reopened(), 0, "the disk did nothing wrong");
    save(&mut store, "Post", "id=p2 title=b");
    assert_sound(&store);
}

#[test]
fn a_change_that_does_not_fit_does_not_harm_the_others() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    let missing = Seq(99);
    store
        .write(5, |txn| {
            put(txn, "Post", "id=p2 title=b")?;
            let misfit = txn.append(Origin::Outbox, None, sent(&post("p1"), missing));
            assert!(matches!(misfit, Err(StorageError::Misfit(error)) if error.mutation == missing));
            let unknown = txn.append(
                Origin::App,
                None,
                arrived(&RecordKey::new("Nothing", "x"), 1, "id=x"),
            );
            assert!(matches!(unknown, Err(StorageError::UnknownModel { .. })));
            put(txn, "Post", "id=p3 title=c").map(drop)
        })
        .unwrap();
    assert_eq!(titles(&snapshot(&store)), ["a", "b", "c"]);
    assert_sound(&store);
}

#[test]
fn snapshots_do_not_move() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    let before = snapshot(&store);
    save(&mut store, "Post", "id=p1 title=b");
    save(&mut store, "Post", "id=p2 title=c");
    append(&mut store, Change::Cleared).unwrap();
    assert_eq!(titles(&before), ["a"]);
    assert_eq!(before.pending_len().unwrap(), 1);
    assert_eq!(before.log_bounds().unwrap(), (Seq(1), Seq(2)));
    assert_eq!(titles(&snapshot(&store)), [] as [String; 0]);
}

#[test]
fn a_reader_may_be_used_while_a_transaction_is_under_way() {
    let mut store = in_memory();
    let reader = store.reader();
    store
        .write(5, |txn| {
            put(txn, "Post", "id=p1 title=a")?;
            assert_eq!(
                titles(&reader.snapshot()?),
                [] as [String; 0],
                "not committed, not seen"
            );
            Ok(())
        })
        .unwrap();
    assert_eq!(titles(&reader.snapshot().unwrap()), ["a"]);
}

#[test]
fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Blog", "id=b1 name=n");
    save(&mut store, "Post", "id=p1 title=a blogId=b1");
    append(&mut store, arrived(&post("p2"), 4, "id=p2 title=s")).unwrap();
    let before = everything(&store);
    let head = store.head();
    drop(store);
    let store = in_directory(directory.path());
    assert_eq!(everything(&store), before);
    assert_eq!(store.head(), head, "opening again makes no entry");
    assert_sound(&store);
}

#[test]
fn a_mutation_on_its_way_has_an_unknown_outcome_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    let first = save(&mut store, "Post", "id=p1 title=a").seq;
    let second = save(&mut store, "Post", "id=p2 title=b").seq;
    append(&mut store, sent(&post("p1"), first)).unwrap();
    assert_eq!(
        stages(&store),
        [(first, Stage::InFlight), (second, Stage::Queued)]
    );
    drop(store);
    let store = in_directory(directory.path());
    assert_eq!(stages(&store), [(first, Stage::Unknown), (second, Stage::Queued)]);
    let last = snapshot(&store).log(store.head().0.., 1).unwrap().remove(0);
    assert_eq!((last.origin, last.cause), (Origin::Recovery, Some(first)));
    assert_sound(&store);
    let head = store.head();
    drop(store);
    assert_eq!(in_directory(directory.path()).head(), head, "it is said once");
}

#[test]
fn clearing_leaves_nothing_of_the_past() {
    let mut store = in_memory();
    for number in 0..20 {
        save(&mut store, "Post", &format!("id=p{number} title=secret rating=1"));
    }
    let checkpoint = landfall_core::Checkpoint {
        model: "Post".into(),
        cursor: landfall_core::SyncCursor {
            last_sync_ms: Some(7),
            ..Default::default()
        },
    };
    append(&mut store, Change::Checkpoint(checkpoint)).unwrap();
    store
        .write(5, |txn| {
            put(txn, "Post", "id=p1 title=secret-too")?;
            txn.append(Origin::App, None, Change::Cleared)?;
            put(txn, "Post", "id=new title=fresh")
        })
        .unwrap();
    let now = snapshot(&store);
    assert_eq!(titles(&now), ["fresh"]);
    assert_eq!(now.pending_len().unwrap(), 1);
    assert_eq!(
        now.cursor(&"Post".into()).unwrap(),
        landfall_core::SyncCursor::default()
    );
    assert!(!everything(&store).contains("secret"));
    let (start, newest) = now.log_bounds().unwrap();
    assert_eq!(newest, store.head());
    let log = now.log(.., 100).unwrap();
    assert_eq!(
        log.iter().map(|entry| entry.change.name()).collect::<Vec<_>>(),
        ["cleared", "write"]
    );
    assert_eq!(log[0].seq, start);
    assert_sound(&store);
    store.rebuild().unwrap();
    assert_eq!(titles(&snapshot(&store)), ["fresh"]);
}

#[test]
fn unknown_kinds_of_entries_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    let opaque = Change::Opaque(landfall_core::Opaque {
        kind: 900,
        version: 7,
        payload: vec![1, 2, 3],
    });
    let seq = append(&mut store, opaque.clone()).unwrap().seq;
    save(&mut store, "Post", "id=p1 title=a");
    drop(store);
    let mut store = in_directory(directory.path());
    store.rebuild().unwrap();
    assert_eq!(
        snapshot(&store).log(seq.0..=seq.0, 1).unwrap().remove(0).change,
        opaque
    );
    assert_sound(&store);
}

#[test]
fn a_second_opening_of_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    let second = Store::open(options(Disk::Directory(directory.path().to_owned())));
    assert!(matches!(second, Err(StorageError::Locked { path }) if path.ends_with(crate::FILE_NAME)));
    drop(store);
    in_directory(directory.path());
}

/// What a kill leaves behind: the file as it is at this moment.
fn killed(directory: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(
        directory.join(crate::FILE_NAME),
        copy.path().join(crate::FILE_NAME),
    )
    .unwrap();
    copy
}

/// How often the database inside a store's file had to be read as a whole to be opened.
fn repairs(directory: &std::path::Path) -> u64 {
    let bytes = std::fs::read(directory.join(crate::FILE_NAME)).unwrap();
    let start = bytes.windows(4).position(|window| window == b"redb").unwrap();
    let alone = directory.join("database alone");
    std::fs::write(&alone, &bytes[start..]).unwrap();
    let repaired = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&repaired);
    let mut builder = Database::builder();
    builder.set_repair_callback(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    drop(builder.open(&alone).unwrap());
    repaired.load(Ordering::Relaxed)
}

#[test]
fn a_killed_store_has_every_write_and_opens_without_a_repair() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    let mut written = Vec::new();
    // Far more than the journal holds, so that checkpoints come in between.
    let filling = "x".repeat(60_000);
    for number in 10..90 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title={number}{filling}"),
        );
        written.push(number.to_string());
        if number % 8 == 0 {
            let copy = killed(directory.path());
            assert_eq!(repairs(copy.path()), 0, "after {number}");
            let again = in_directory(copy.path());
            assert_eq!(again.head(), store.head());
            assert_sound(&again);
            let found: Vec<String> = titles(&snapshot(&again))
                .iter()
                .map(|title| title.trim_end_matches('x').to_owned())
                .collect();
            assert_eq!(found, written, "after {number}");
        }
    }
}

#[test]
fn a_store_killed_again_and_again_before_any_checkpoint_loses_nothing() {
    let mut directory = tempfile::tempdir().unwrap();
    drop(in_directory(directory.path()));
    for number in 10..20 {
        let mut store = in_directory(directory.path());
        save(&mut store, "Post", &format!("id=p{number} title=t{number}"));
        assert_eq!(titles(&snapshot(&store)).len(), number - 9);
        assert_sound(&store);
        directory = killed(directory.path());
    }
}

#[test]
fn a_panic_inside_a_transaction_does_not_make_a_later_kill_costly() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=a");
    let panicked = crate::panics::caught(|| {
        store.write(5, |txn| -> Result<(), StorageError> {
            put(txn, "Post", "id=p2 title=b")?;
            panic!("as an app's closure might")
        })
    });
    assert!(panicked.is_err());
    let filling = "x".repeat(60_000);
    for number in 10..90 {
        save(&mut store, "Post", &format!("id=p{number} title={filling}"));
    }
    assert_eq!(repairs(killed(directory.path()).path()), 0);
    assert_sound(&store);
}

#[test]
fn what_was_cleared_is_not_left_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=confidential");
    let journaled = |directory: &std::path::Path| {
        let bytes = std::fs::read(directory.join(crate::FILE_NAME)).unwrap();
        let start = bytes.windows(4).position(|window| window == b"redb").unwrap();
        bytes[..start].windows(12).any(|window| window == b"confidential")
    };
    assert!(journaled(directory.path()));
    store
        .write(0, |txn| txn.append(Origin::App, None, Change::Cleared))
        .unwrap();
    assert!(!journaled(directory.path()));
    assert_sound(&store);
}

#[test]
fn references_are_found_with_and_without_an_index() {
    let mut store = in_memory();
    for (id, blog) in [("p1", "b1"), ("p2", "b2"), ("p3", "b1"), ("p4", "null")] {
        save(&mut store, "Post", &format!("id={id} title=t blogId={blog}"));
        save(
            &mut store,
            "Order",
            &format!("customer=c number={} blogId={blog}", &id[1..]),
        );
    }
    store
        .write(5, |txn| {
            let found = |txn: &Txn<'_>, model: &str, field: &str, value: &str| {
                let ids = txn.referring(
                    &model.into(),
                    &[field],
                    &[crate::test_support::value(value)],
                    usize::MAX,
                )?;
                Ok::<_, StorageError>(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
            };
            assert_eq!(
                found(txn, "Post", "blogId", "b1")?,
                ["p1", "p3"],
                "by the index of the relation"
            );
            assert_eq!(found(txn, "Order", "blogId", "b1")?, ["c#1", "c#3"], "by a scan");
            assert_eq!(
                found(txn, "Post", "blogId", "null")?,
                [] as [&str; 0],
                "null refers to nothing"
            );
            assert_eq!(found(txn, "Order", "blogId", "null")?, [] as [&str; 0]);
            let unknown = found(txn, "Post", "nothing", "b1");
            assert!(
                matches!(unknown, Err(StorageError::BadQuery(_))),
                "never everything: {unknown:?}"
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn queries_name_what_they_ask_wrongly() {
    let store = in_memory();
    let bad = Query {
        sort: vec![landfall_core::Sort::ascending("nothing")],
        ..Query::all("Post")
    };
    assert!(matches!(
        snapshot(&store).query(&bad),
        Err(StorageError::BadQuery(_))
    ));
    assert!(matches!(
        snapshot(&store).explain(&bad),
        Err(StorageError::BadQuery(_))
    ));
    let unknown = snapshot(&store).count("Nothing", &landfall_core::Predicate::All);
    assert!(matches!(unknown, Err(StorageError::UnknownModel { .. })));
}

#[test]
fn a_panic_inside_a_transaction_leaves_nothing_and_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=a");
    let before = everything(&store);
    let said = crate::panics::caught(|| {
        store.write::<()>(5, |txn| {
            put(txn, "Post", "id=p2 title=b")?;
            panic!("a promise was broken");
        })
    });
    assert_eq!(
        said.unwrap_err(),
        "a promise was broken",
        "it passes for no damage"
    );
    assert_eq!(everything(&store), before);
    assert_eq!(store.reopened(), 0, "nothing is wrong with the file");
    save(&mut store, "Post", "id=p3 title=c");
    drop(store);
    let store = in_directory(directory.path());
    assert_eq!(titles(&snapshot(&store)), ["a", "c"]);
    assert_sound(&store);
}

#[test]
fn parts_of_the_log_can_be_read_even_where_there_are_none() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    save(&mut store, "Post", "id=p2 title=b");
    let now = snapshot(&store);
    let seqs = |range: (std::ops::Bound<u64>, std::ops::Bound<u64>), limit| {
        now.log(range, limit)
            .unwrap()
            .iter()
            .map(|entry| entry.seq.0)
            .collect::<Vec<_>>()
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    assert_eq!(seqs((Excluded(1), Unbounded), 10), [2, 3]);
    assert_eq!(seqs((Unbounded, Included(2)), 10), [1, 2]);
    assert_eq!(seqs((Unbounded, Unbounded), 1), [1]);
    assert_eq!(seqs((Excluded(2), Excluded(2)), 10), [] as [u64; 0]);
    assert_eq!(seqs((Included(3), Included(1)), 10), [] as [u64; 0]);
    assert_eq!(seqs((Included(9), Unbounded), 10), [] as [u64; 0]);
}

/// A disk whose file cannot grow beyond a length.
#[derive(Clone, Debug)]
pub(crate) struct Tight {
    bytes: Arc<crate::InMemoryBackend>,
    pub(crate) longest: Arc<AtomicU64>,
}

impl Tight {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Arc::default(),
            longest: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    fn disk(&self) -> Disk {
        let disk = self.clone();
        Disk::Custom(Arc::new(move || Ok(Box::new(disk.clone()))))
    }

    fn holds(&self, end: u64) -> std::io::Result<()> {
        if end > self.longest.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl crate::StorageBackend for Tight {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        crate::StorageBackend::read(&*self.bytes, offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.holds(len)?;
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.holds(offset + data.len() as u64)?;
        crate::StorageBackend::write(&*self.bytes, offset, data)
    }
}

#[test]
fn a_store_with_something_to_settle_opens_on_a_full_disk_and_can_be_read() {
    let disk = Tight::new();
    let mut store = Store::open(options(disk.disk())).unwrap();
    let created = save(&mut store, "Post", "id=sent title=on-its-way").seq;
    append(&mut store, sent(&post("sent"), created)).unwrap();
    for number in 0..50 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title={}", "x".repeat(3_000)),
        );
    }
    let before = everything(&store);
    drop(store);

    // Not even what is there already can be written over, as on a file system that copies what it changes.
    disk.longest.store(0, Ordering::SeqCst);
    let mut store = Store::open(options(disk.disk())).expect("it can be read");
    assert_eq!(
        everything(&store),
        before,
        "nothing that was acknowledged is missing"
    );
    assert!(
        stages(&store).contains(&(created, Stage::InFlight)),
        "it is settled when there is room"
    );
    for _ in 0..2 {
        let refused = store.write(5, |txn| put(txn, "Post", "id=late title=t"));
        assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
        assert_eq!(everything(&store), before);
    }
    disk.longest.store(u64::MAX, Ordering::SeqCst);
    save(&mut store, "Post", "id=late title=t");
    assert_sound(&store);
    drop(store);
    let store = Store::open(options(disk.disk())).unwrap();
    assert!(
        stages(&store).iter().all(|(_, stage)| *stage != Stage::InFlight),
        "it is settled"
    );
    assert_eq!(all(&snapshot(&store), "Post").len(), 52);
    assert_sound(&store);
}

#[test]
fn nothing_is_acknowledged_or_shown_that_no_sync_has_brought_to_disk() {
    let disk = CachedDisk::default();
    drop(Store::open(options(disk.disk())).unwrap());
    let made = disk.bytes();
    let mut refused = 0;
    // Each save fills a good part of the journal, so that checkpoints are among the syncs that fail.
    let filling = "x".repeat(9_000);
    for full_from in 0.. {
        let disk = CachedDisk::holding(made.clone());
        let mut store = Store::open(options(disk.disk())).unwrap();
        let reader = store.reader();
        disk.full_from
            .store(disk.syncs.load(Ordering::SeqCst) + full_from, Ordering::SeqCst);
        let mut told = Vec::new();
        let (mut failed, mut after_failure) = (false, 0);
        for number in 10..30 {
            if after_failure == 3 {
                break;
            }
            let title = format!("{number}{filling}");
            match store.write(5, |txn| put(txn, "Post", &format!("id=p{number} title={title}"))) {
                Ok(_) => told.push(title),
                Err(StorageError::Full { .. } | StorageError::OutcomeUnknown { .. }) => failed = true,
                Err(error) => panic!("full from sync {full_from}: {error}"),
            }
            if !failed && number < 29 {
                continue;
            }
            after_failure += 1;
            // Where what there is cannot be told from what was acknowledged, nothing is shown.
            let seen = reader.snapshot().map(|now| titles(&now)).unwrap_or_default();
            let cut = Store::open(options(disk.after_power_cut().disk())).unwrap();
            let kept = titles(&snapshot(&cut));
            for title in told.iter().chain(&seen) {
                assert!(
                    kept.contains(title),
                    "full from sync {full_from}: {}",
                    &title[..2]
                );
            }
            assert_sound(&cut);
        }
        if !failed {
            break;
        }
        refused += 1;
        // Once there is room, the store goes on, and what was open is settled.
        disk.full_from.store(u64::MAX, Ordering::SeqCst);
        save(&mut store, "Post", "id=late title=late");
        let now = titles(&snapshot(&store));
        assert!(told.iter().all(|title| now.contains(title)));
        assert_sound(&store);
        drop(store);
        assert_eq!(
            titles(&snapshot(&Store::open(options(disk.disk())).unwrap())),
            now
        );
    }
    assert!(refused > 20, "each sync of the saves has failed once: {refused}");
}

#[test]
fn a_full_disk_is_said_with_the_directory_that_cannot_grow() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    let failed = store.write(5, |_| Err::<(), _>(StorageError::full()));
    assert_eq!(
        failed.unwrap_err().to_string(),
        format!(
            "the disk is full, so {} cannot grow; free some space and try again",
            directory.path().display()
        )
    );
    let failed = in_memory().write(5, |_| Err::<(), _>(StorageError::full()));
    let told = failed.unwrap_err().to_string();
    assert_eq!(told, "the disk is full; free some space and try again");
    // Who copies a store elsewhere is told of the other place.
    let elsewhere = directory.path().join("copy").join("some.file");
    let full = StorageError::at_path(&elsewhere, &std::io::ErrorKind::StorageFull.into());
    let told = full.in_written(Some(directory.path())).to_string();
    assert!(
        told.contains(&format!("so {} cannot grow", elsewhere.display())),
        "{told}"
    );
}

#[test]
fn a_new_schema_is_not_taken_on_without_room_and_no_store_is_made() {
    let disk = Tight::new();
    disk.longest.store(100_000, Ordering::SeqCst);
    let refused = Store::open(options(disk.disk()));
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
}

#[test]
fn a_reader_of_a_closed_store_is_told_so_and_keeps_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=a");
    let reader = store.reader();
    let held = reader.snapshot().unwrap();
    drop(store);
    for _ in 0..2 {
        let refused = reader.snapshot();
        assert!(matches!(refused, Err(StorageError::Closed)), "{refused:?}");
    }
    let mut again = Store::open(options(Disk::Directory(directory.path().to_owned())))
        .expect("neither the reader nor its snapshot keep the file");
    save(&mut again, "Post", "id=p2 title=b");
    drop(held);
    assert_eq!(titles(&snapshot(&again)), ["a", "b"]);
}

impl Store {
    /// The index entries that the rows make, without changing anything.
    pub(crate) fn index_from_rows(&mut self) -> Vec<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let (_guard, transaction) = self.begin(&shared).unwrap();
        crate::index_build::rebuild_all(&transaction, &shared.catalog).unwrap();
        let table = transaction.open_table(crate::tables::INDEX).unwrap();
        table
            .iter()
            .unwrap()
            .map(|item| item.unwrap().0.value().to_vec())
            .collect()
    }

    /// Changes tables behind the back of the log.
    pub(crate) fn tamper(&mut self, change: impl FnOnce(&WriteTransaction)) {
        let shared = Arc::clone(&self.shared);
        let (_guard, transaction) = self.begin(&shared).unwrap();
        change(&transaction);
        transaction.commit().unwrap();
    }
}
