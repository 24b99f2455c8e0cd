//! Damaged pages, at which the database panics: whoever meets one is told of damage, and the store goes on.

use std::path::Path;

use landfall_core::RecordId;

use super::*;
use crate::retention::Retention;
use crate::tables::record_key;
use crate::test_support::{
    CachedDisk, all, assert_sound, everything, in_directory, leaves_holding, options, post, put, remove,
    save, snapshot,
};

/// What tells the leaves of the store's own tables from those of the database's, such as its list of free pages: when it commits, it
/// panics there in a destructor as well, which ends the process.
const OURS: [&[u8]; 4] = [b"Post", b"title", b"format", b"records-1"];

/// Whatever a call answers, damage is told in words that say so.
fn tolerated<T>(what: &str, at: usize, answer: Result<T, StorageError>) {
    match answer {
        Ok(_)
        | Err(
            StorageError::Corrupt { .. }
            | StorageError::LogDamaged { .. }
            | StorageError::Foreign { .. }
            | StorageError::TooNew { .. }
            | StorageError::OutcomeUnknown { .. }
            | StorageError::SchemaIncompatible { .. },
        ) => {}
        Err(StorageError::Io { cause }) if cause.contains("reopened") => {}
        Err(error) => panic!("{what} with byte {at} flipped: {error}"),
    }
}

#[test]
fn no_flipped_bit_in_the_head_of_a_leaf_panics_whoever_calls() {
    let disk = CachedDisk::default();
    let mut store = Store::open(options(disk.disk())).unwrap();
    for number in 0..4 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title=t{number} rating=1 status=LIVE"),
        );
    }
    drop(store);
    let whole = disk.bytes();
    let leaves = leaves_holding(&whole, &OURS);
    assert!(leaves.len() >= 6, "most tables have one: {}", leaves.len());
    for at in leaves.into_iter().flat_map(|leaf| leaf..leaf + 64) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut store = match Store::open(options(CachedDisk::holding(bytes).disk())) {
            Ok(store) => store,
            Err(error) => {
                tolerated::<()>("opening", at, Err(error));
                continue;
            }
        };
        let reader = store.reader();
        let read = |what: &str, read: &dyn Fn(&Snapshot) -> Result<(), StorageError>| {
            tolerated(what, at, reader.snapshot().and_then(|now| read(&now)));
        };
        read("a read", &|now| now.get("Post", &RecordId::text("p1")).map(drop));
        read("a query", &|now| now.query(&crate::Query::all("Post")).map(drop));
        read("the outbox", &|now| now.pending(Seq::ZERO, 100).map(drop));
        read("the log", &|now| now.log(.., 100).map(drop));
        read("verifying", &|now| now.verify().map(drop));
        tolerated(
            "a save",
            at,
            store.write(5, |txn| put(txn, "Post", "id=p2 title=new")),
        );
        tolerated("a delete", at, store.write(5, |txn| remove(txn, &post("p1"))));
        tolerated("a trim", at, store.trim(&Retention::everything().entries(1), 5));
        tolerated("a rebuild", at, store.rebuild());
        tolerated(
            "a clear",
            at,
            store.write(5, |txn| {
                txn.append(landfall_core::Origin::App, None, landfall_core::Change::Cleared)
            }),
        );
    }
}

/// Makes the number of entries in those leaves nonsense that hold these bytes.
fn break_leaves(file: &Path, holding: &[u8]) -> usize {
    let mut bytes = std::fs::read(file).unwrap();
    let hit = leaves_holding(&bytes, &[holding]);
    for at in &hit {
        bytes[at + 2..at + 4].fill(0xFF);
    }
    std::fs::write(file, bytes).unwrap();
    hit.len()
}

#[test]
fn a_broken_leaf_is_named_holds_up_no_other_and_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(crate::FILE_NAME);
    let mut store = in_directory(directory.path());
    for number in 100..300 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title={}", "t".repeat(60)),
        );
    }
    let before = everything(&store);
    drop(store);
    assert!(break_leaves(&path, &record_key(&post("p150"))) > 0);
    let mut store = in_directory(directory.path());
    let now = snapshot(&store);
    let is_corrupt = |error: &StorageError| matches!(error, StorageError::Corrupt { path: Some(_), .. });
    let read = now.get("Post", &RecordId::text("p150")).unwrap_err();
    assert!(is_corrupt(&read), "{read}");
    assert!(now.get("Post", &RecordId::text("p299")).unwrap().is_some());
    let told = now.verify().unwrap().differences;
    assert!(
        told.iter()
            .any(|what| what.contains("the records cannot be read after Post")),
        "{told:?}"
    );
    let written = store.write(5, |txn| remove(txn, &post("p150"))).unwrap_err();
    assert!(is_corrupt(&written), "{written}");
    // The next is carried out as if nothing had happened.
    save(&mut store, "Blog", "id=b1 name=n");
    drop(now);
    store.remake().unwrap();
    assert_sound(&store);
    let after = everything(&store);
    assert!(
        before
            .lines()
            .filter(|line| line.starts_with("Post"))
            .all(|line| after.contains(line))
    );
    assert_eq!(all(&snapshot(&store), "Blog").len(), 1);
}

#[test]
fn damage_that_the_caller_passes_over_keeps_the_transaction_from_being_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(crate::FILE_NAME);
    let mut store = in_directory(directory.path());
    for number in 100..300 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title={}", "t".repeat(60)),
        );
    }
    drop(store);
    assert!(break_leaves(&path, &record_key(&post("p150"))) > 0);
    let mut store = in_directory(directory.path());
    let head = store.head();
    let written = store.write(5, |txn| {
        put(txn, "Blog", "id=b1 name=n")?;
        let met = txn.state(&post("p150"));
        assert!(matches!(met, Err(StorageError::Corrupt { .. })), "{met:?}");
        // Whoever goes on in spite of it is not listened to.
        put(txn, "Blog", "id=b2 name=n").map(drop)
    });
    assert!(
        matches!(&written, Err(StorageError::Corrupt { what, .. }) if what.contains("broke off")),
        "{written:?}"
    );
    assert_eq!(store.head(), head);
    assert!(all(&snapshot(&store), "Blog").is_empty());
    assert_eq!(store.reopened(), 1, "it does not go on in what the panic left");
    save(&mut store, "Blog", "id=b3 name=n");
    assert_eq!(all(&snapshot(&store), "Blog").len(), 1);
}

/// Has the list of free pages speak of pages where the file has none.
fn break_free_list(file: &Path) {
    /// Where in a leaf with one list of pages its second page is, and in that the number of a region.
    const REGION_AT: usize = 38;
    let mut bytes = std::fs::read(file).unwrap();
    let ours = leaves_holding(&bytes, &OURS);
    let others = leaves_holding(&bytes, &[b"\x01"]);
    let lists: Vec<usize> = others
        .into_iter()
        .filter(|at| {
            !ours.contains(at) && bytes[at + 2..at + 4] == [1, 0] && bytes[at + 16..at + 24] == [0; 8]
        })
        .collect();
    assert!(!lists.is_empty());
    for at in lists {
        bytes[at + REGION_AT] |= 0x80;
    }
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_store_whose_list_of_free_pages_is_damaged_can_be_made_again() {
    let offline = |path: &Path| drop(crate::remake(path, crate::Extent::Everything).unwrap());
    let online = |path: &Path| {
        let mut store = in_directory(path);
        assert_eq!(all(&snapshot(&store), "Post").len(), 20, "it can be read");
        store.remake().unwrap();
        save(&mut store, "Blog", "id=b1 name=n");
    };
    for make_again in [&offline as &dyn Fn(&Path), &online] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        for number in 0..60 {
            let title = "t".repeat(900);
            save(&mut store, "Post", &format!("id=p{number} title={title}"));
        }
        for number in 0..40 {
            store
                .write(5, |txn| remove(txn, &post(&format!("p{number}"))))
                .unwrap();
        }
        drop(store);
        break_free_list(&directory.path().join(crate::FILE_NAME));
        make_again(directory.path());
        let store = in_directory(directory.path());
        assert_eq!(all(&snapshot(&store), "Post").len(), 20);
        assert_sound(&store);
    }
}
