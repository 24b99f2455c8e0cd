use redb::{ReadableDatabase, TableDefinition};

use super::*;
use crate::history::open_for_inspection;
use crate::scratch::Scratch;
use crate::store::tests::Tight;
use crate::test_support::in_directory;
use crate::test_support::{
    append, arrived, assert_sound, everything, fields, in_memory, lost, post, put, remote, remove, save,
    sent, snapshot,
};
use crate::{StorageError, Store};
use landfall_core::{
    Acknowledged, Change, Checkpoint, Conflict, Decision, Evicted, MutationKind, MutationRef, Origin,
    Quarantined, Refusal, Refused,
};

/// A store in which every kind of change happened, and in which every projection holds something.
fn eventful() -> Store {
    let mut store = in_memory();
    save(&mut store, "Blog", "id=b1 name=n");
    a_mutation_on_its_way(&mut store);
    mutations_that_end(&mut store);
    what_the_server_sends(&mut store);
    save(&mut store, "Order", "customer=c number=-3 state=new");
    store
}

fn a_mutation_on_its_way(store: &mut Store) {
    let text = "id=p1 title=a rating=1 blogId=b1 status=LIVE score=1.5";
    let key = post("p1");
    let created = save(store, "Post", text).seq;
    append(store, sent(&key, created)).unwrap();
    let updated = save(store, "Post", "id=p1 title=b rating=2").seq;
    append(store, lost(&key, created)).unwrap();
    let (mutation, remote_record) = (created, remote(&key, 1, text));
    let acknowledged = Acknowledged {
        key: key.clone(),
        mutation,
        remote: remote_record,
    };
    append(store, Change::Acknowledged(acknowledged)).unwrap();
    let decision = Decision::Retry {
        kind: MutationKind::Update,
        patch: fields("title=b"),
    };
    let (mutation, remote_record) = (updated, remote(&key, 3, "id=p1 title=z rating=9"));
    let conflict = Conflict {
        key,
        mutation,
        remote: remote_record,
        decision,
        given_up: fields(""),
    };
    append(store, Change::Conflict(conflict)).unwrap();
}

fn mutations_that_end(store: &mut Store) {
    let key = post("p5");
    let mutation = save(store, "Post", "id=p5 title=c").seq;
    append(store, sent(&key, mutation)).unwrap();
    append(
        store,
        Change::NotApplied(MutationRef {
            key: key.clone(),
            mutation,
        }),
    )
    .unwrap();
    let refusal = Refusal {
        error_type: None,
        message: "no".into(),
    };
    append(
        store,
        Change::Refused(Refused {
            key,
            mutation,
            refusal,
            remote: None,
        }),
    )
    .unwrap();
    let mutation = save(store, "Post", "id=p6 title=d").seq;
    append(
        store,
        Change::Discarded(MutationRef {
            key: post("p6"),
            mutation,
        }),
    )
    .unwrap();
}

fn what_the_server_sends(store: &mut Store) {
    append(store, arrived(&post("p2"), 7, "id=p2 title=s rating=5 live=true")).unwrap();
    store.write(5, |txn| remove(txn, &post("p2"))).unwrap();
    append(store, arrived(&post("p3"), 2, "deleted")).unwrap();
    append(store, arrived(&post("p4"), 2, "id=p4 title=e")).unwrap();
    append(
        store,
        Change::Evicted(Evicted {
            key: post("p4"),
            reason: "no".into(),
            sync: None,
        }),
    )
    .unwrap();
    let cursor = SyncCursor {
        last_sync_ms: Some(7),
        ..SyncCursor::default()
    };
    append(
        store,
        Change::Checkpoint(Checkpoint {
            model: "Post".into(),
            cursor,
        }),
    )
    .unwrap();
    let bad = Quarantined {
        model: "Post".into(),
        reason: "no title".into(),
        json: "{}".into(),
    };
    append(store, Change::Quarantined(bad)).unwrap();
}

/// Every projection byte by byte.
fn projections(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let snapshot = snapshot(store);
    let transaction = snapshot.transaction();
    let mut all = Vec::new();
    for item in transaction.open_table(RECORDS).unwrap().iter().unwrap() {
        let (key, value) = item.unwrap();
        all.push((key.value().to_vec(), value.value().to_vec()));
    }
    for item in transaction.open_table(INDEX).unwrap().iter().unwrap() {
        all.push((item.unwrap().0.value().to_vec(), Vec::new()));
    }
    for item in transaction.open_table(OUTBOX).unwrap().iter().unwrap() {
        let (key, value) = item.unwrap();
        all.push((key.value().to_be_bytes().to_vec(), value.value().to_vec()));
    }
    for item in transaction.open_table(CURSORS).unwrap().iter().unwrap() {
        let (key, value) = item.unwrap();
        all.push((key.value().as_bytes().to_vec(), value.value().to_vec()));
    }
    all
}

#[test]
fn rebuilt_projections_are_the_same_byte_by_byte() {
    let mut store = eventful();
    let (words, bytes) = (everything(&store), projections(&store));
    assert!(bytes.len() > 12, "every projection holds something");
    let entries = store.rebuild().unwrap();
    assert_eq!(entries, store.head().0);
    assert_eq!(everything(&store), words);
    assert_eq!(projections(&store), bytes);
    let found = snapshot(&store).verify().unwrap();
    assert_eq!((found.entries, found.differences), (entries, Vec::new()));
    assert_eq!(found.records, 6, "tombstones and deletes that wait count as well");
    save(&mut store, "Post", "id=p9 title=goes-on");
    assert_sound(&store);
}

/// What `verify` says after a change behind the back of the log; a rebuild must mend it.
fn differences(change: impl FnOnce(&WriteTransaction)) -> Vec<String> {
    let mut store = eventful();
    let sound = projections(&store);
    store.tamper(change);
    assert_ne!(projections(&store), sound, "the change is one");
    let found = snapshot(&store).verify().expect("the log is sound").differences;
    store.rebuild().unwrap();
    assert_eq!(projections(&store), sound);
    found
}

/// The first key and value of a table.
fn first<K: Key + 'static, V: redb::Value + 'static>(table: &impl ReadableTable<K, V>) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = table.first().unwrap().expect("the table holds something");
    (
        K::as_bytes(&key.value()).as_ref().to_vec(),
        V::as_bytes(&value.value()).as_ref().to_vec(),
    )
}

fn key_of(record: &landfall_core::RecordKey) -> Vec<u8> {
    crate::tables::record_key(record)
}

#[test]
fn a_changed_lost_or_invented_record_is_found() {
    let lost = differences(|txn| {
        drop(
            txn.open_table(RECORDS)
                .unwrap()
                .remove(key_of(&post("p1")).as_slice())
                .unwrap(),
        );
    });
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(
        lost[0].contains("p1") && lost[0].contains("not in the store"),
        "{lost:?}"
    );
    let invented = differences(|txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        let (_, head) = first(&table);
        table
            .insert(key_of(&post("p99")).as_slice(), head.as_slice())
            .unwrap();
    });
    assert!(
        invented[0].contains("p99") && invented[0].contains("the log does not make it"),
        "{invented:?}"
    );
    let changed = differences(|txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        let head = table
            .get(key_of(&post("p5")).as_slice())
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
        table
            .insert(key_of(&post("p3")).as_slice(), head.as_slice())
            .unwrap();
    });
    assert!(
        changed[0].contains("p3") && changed[0].contains("by the log"),
        "{changed:?}"
    );
    let damaged = differences(|txn| {
        txn.open_table(RECORDS)
            .unwrap()
            .insert(key_of(&post("p1")).as_slice(), [8, 1, 0].as_slice())
            .unwrap();
    });
    assert!(damaged[0].contains("cannot be read"), "{damaged:?}");
}

#[test]
fn a_lost_or_invented_index_entry_is_found() {
    let lost = differences(|txn| {
        let mut table = txn.open_table(INDEX).unwrap();
        let (key, _) = first(&table);
        table.remove(key.as_slice()).unwrap();
    });
    assert!(
        lost[0].starts_with("index entry") && lost[0].contains("not in the store"),
        "{lost:?}"
    );
    let invented = differences(|txn| {
        txn.open_table(INDEX)
            .unwrap()
            .insert(b"Post\0byRating\0\x01".as_slice(), ())
            .unwrap();
    });
    assert!(invented[0].contains("the log does not make it"), "{invented:?}");
}

#[test]
fn a_changed_lost_or_invented_mutation_is_found() {
    let lost = differences(|txn| drop(txn.open_table(OUTBOX).unwrap().pop_first().unwrap()));
    assert!(
        lost.iter().any(|found| found.contains("pending mutation e")),
        "{lost:?}"
    );
    assert!(
        lost.iter().any(|found| found.contains("missing from the outbox")),
        "its record names it: {lost:?}"
    );
    let invented = differences(|txn| {
        let mut table = txn.open_table(OUTBOX).unwrap();
        let (_, mutation) = first(&table);
        table.insert(999, mutation.as_slice()).unwrap();
    });
    assert_eq!(
        invented,
        ["pending mutation e999 is in the store, but the log does not make it"]
    );
    let changed = differences(|txn| {
        let mut table = txn.open_table(OUTBOX).unwrap();
        let (key, bytes) = first(&table);
        let mut mutation: Mutation = rmp_serde::from_slice(&bytes).unwrap();
        mutation.attempts += 1;
        let seq = u64::from_le_bytes(*key.first_chunk().unwrap());
        table
            .insert(seq, rmp_serde::to_vec(&mutation).unwrap().as_slice())
            .unwrap();
    });
    assert!(
        changed
            .iter()
            .any(|found| found.ends_with("but the log makes another")),
        "{changed:?}"
    );
}

#[test]
fn a_changed_lost_or_invented_cursor_is_found() {
    let lost = differences(|txn| drop(txn.open_table(CURSORS).unwrap().remove("Post").unwrap()));
    assert_eq!(
        lost,
        ["sync cursor of Post is made by the log, but is not in the store"]
    );
    let bytes = rmp_serde::to_vec(&SyncCursor::default()).unwrap();
    let invented = differences(|txn| {
        drop(
            txn.open_table(CURSORS)
                .unwrap()
                .insert("Blog", bytes.as_slice())
                .unwrap(),
        );
    });
    assert_eq!(
        invented,
        ["sync cursor of Blog is in the store, but the log does not make it"]
    );
    let changed = differences(|txn| {
        drop(
            txn.open_table(CURSORS)
                .unwrap()
                .insert("Post", bytes.as_slice())
                .unwrap(),
        );
    });
    assert_eq!(
        changed,
        ["sync cursor of Post is in the store, but the log makes another"]
    );
}

#[test]
fn many_differences_are_cut_off() {
    let found = differences(|txn| {
        for number in 100..200 {
            txn.open_table(OUTBOX)
                .unwrap()
                .insert(number, [].as_slice())
                .unwrap();
        }
    });
    assert_eq!(found.len(), DIFFERENCES_MAX);
}

/// A damaged log is reported by `verify` and `rebuild`, and what is projected stays as it is.
fn assert_damage_is_found(what: &str, change: impl FnOnce(&WriteTransaction)) {
    let mut store = eventful();
    store.tamper(change);
    let before = projections(&store);
    let verified = snapshot(&store).verify();
    assert!(
        matches!(verified, Err(StorageError::Corrupt { .. })),
        "{what}: {verified:?}"
    );
    let rebuilt = store.rebuild();
    assert!(
        matches!(rebuilt, Err(StorageError::Corrupt { .. })),
        "{what}: {rebuilt:?}"
    );
    assert_eq!(projections(&store), before, "{what}");
    save(&mut store, "Post", "id=p9 title=the-store-still-works");
}

#[test]
fn damage_of_the_log_is_found() {
    let entry = |txn: &WriteTransaction, seq: u64| {
        txn.open_table(LOG)
            .unwrap()
            .get(seq)
            .unwrap()
            .unwrap()
            .value()
            .to_vec()
    };
    assert_damage_is_found("an altered entry", |txn| {
        let mut bytes = entry(txn, 5);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        txn.open_table(LOG).unwrap().insert(5, bytes.as_slice()).unwrap();
    });
    assert_damage_is_found("a lost entry", |txn| {
        drop(txn.open_table(LOG).unwrap().remove(5).unwrap());
    });
    assert_damage_is_found("a lost first entry", |txn| {
        drop(txn.open_table(LOG).unwrap().remove(1).unwrap());
    });
    assert_damage_is_found("two entries swapped", |txn| {
        let (a, b) = (entry(txn, 5), entry(txn, 6));
        let mut log = txn.open_table(LOG).unwrap();
        log.insert(5, b.as_slice()).unwrap();
        log.insert(6, a.as_slice()).unwrap();
    });
    assert_damage_is_found("an entry cut short", |txn| {
        let bytes = entry(txn, 5);
        txn.open_table(LOG).unwrap().insert(5, &bytes[..10]).unwrap();
    });
    assert_damage_is_found("a start cut short", |txn| {
        txn.open_table(META)
            .unwrap()
            .insert(meta::LOG_START, [1, 0].as_slice())
            .unwrap();
    });
    assert_damage_is_found("a wrong start", |txn| {
        let value = [2_u64.to_le_bytes().as_slice(), &[0; 4]].concat();
        txn.open_table(META)
            .unwrap()
            .insert(meta::LOG_START, value.as_slice())
            .unwrap();
    });
}

#[test]
fn entries_lost_at_the_end_show_as_differences() {
    let mut store = eventful();
    let newest = store.head().0;
    store.tamper(|txn| {
        for seq in newest - 4..=newest {
            txn.open_table(LOG).unwrap().remove(seq).unwrap();
        }
    });
    assert_ne!(snapshot(&store).verify().unwrap().differences, [] as [String; 0]);
}

#[test]
fn an_index_entry_without_its_record_is_reported_by_queries() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a rating=1");
    store.tamper(|txn| {
        drop(
            txn.open_table(RECORDS)
                .unwrap()
                .remove(key_of(&post("p1")).as_slice())
                .unwrap(),
        );
    });
    let query = crate::Query {
        predicate: landfall_core::Predicate::field("rating", landfall_core::Op::Eq(1.into())),
        ..crate::Query::all("Post")
    };
    let found = snapshot(&store).query(&query);
    assert!(matches!(found, Err(StorageError::Corrupt { .. })), "{found:?}");
}

#[test]
fn tables_are_walked_side_by_side() {
    const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");
    let filled = |keys: &[u64]| {
        let database = Database::builder()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for key in keys {
                table.insert(key, [].as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
        database.begin_read().unwrap().open_table(TABLE).unwrap()
    };
    let mut seen = Vec::new();
    let visit = |key, side, _: [Option<&[u8]>; 2]| {
        seen.push((key, side));
        Ok(())
    };
    walk_both(&filled(&[1, 2, 5, 300]), &filled(&[2, 3, 5, 7]), visit).unwrap();
    let (store, log, both) = (Side::Store, Side::Log, Side::Both);
    assert_eq!(
        seen,
        [(1, store), (2, both), (3, log), (5, both), (7, log), (300, store)]
    );
}

#[test]
fn writes_of_a_transaction_are_replayed_one_by_one() {
    let mut store = in_memory();
    store
        .write(5, |txn| {
            put(txn, "Post", "id=p1 title=a")?;
            put(txn, "Post", "id=p1 title=b")?;
            remove(txn, &post("p1"))?;
            put(txn, "Post", "id=p1 title=c")?;
            txn.append(
                Origin::Sync,
                None,
                arrived(&post("p1"), 4, "id=p1 title=d rating=4"),
            )
        })
        .unwrap();
    assert_sound(&store);
}

#[test]
fn what_a_store_in_a_directory_is_compared_with_lies_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Blog", "id=b1 name=n");
    let is_in_file = |snapshot: &Snapshot| Scratch::beside(snapshot.place()).unwrap().is_in_file();
    assert!(is_in_file(&snapshot(&store)));
    assert!(!is_in_file(&snapshot(&in_memory())));
    assert_sound(&store);
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files(), 1, "it has no name");
    drop(store);
    let history = open_for_inspection(directory.path()).unwrap();
    assert!(is_in_file(history.snapshot().expect("it is of a store")));
    assert!(
        history
            .check()
            .unwrap()
            .projections
            .unwrap()
            .differences
            .is_empty()
    );
    assert_eq!(files(), 1);
}

#[test]
fn a_disk_without_room_for_verifying_says_so_and_leaves_the_store_alone() {
    let mut store = in_memory();
    for number in 0..50 {
        let text = format!("id=b{number} name={}", "n".repeat(10_000));
        save(&mut store, "Blog", &text);
    }
    for size in [0, 4_096, 65_536, 200_000, 400_000] {
        let tight = Tight::new();
        tight.longest.store(size, std::sync::atomic::Ordering::SeqCst);
        let place = std::path::PathBuf::from("beside-the-store");
        let verified = Scratch::on(Arc::new(tight), Some(place))
            .and_then(|scratch| verify_in(&scratch, &snapshot(&store), &|| true));
        let error = verified.expect_err("the records alone are larger");
        assert!(
            matches!(&error, StorageError::NoRoomToVerify { path } if path.ends_with("beside-the-store")),
            "{size}: {error}"
        );
    }
    save(&mut store, "Blog", "id=late name=n");
    assert_sound(&store);
}
