//! What lies in the journal, what is only like it, and files without one.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::disk::{Fault, Op, Survival, TestDisk};
use super::{LETTERS, keys, put};
use crate::kv::{FILE_NAME, KvError, KvRange, KvRead, KvStore};

/// Where the journal begins, and what disks write as a whole.
const JOURNAL_AT: usize = 4_096;
const SECTOR: usize = 512;

/// Bytes of the journal of a simulated disk.
const JOURNAL: usize = 64 * 1024;

fn all(store: &KvStore) -> String {
    keys(&store.read().unwrap(), &KvRange::all(), 1_000)
}

/// What is left of a store with these transactions, of a key each, when the program is killed.
fn killed(transactions: &[&str]) -> Vec<u8> {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    transactions.iter().for_each(|key| put(&store, &[key]));
    disk.image(Survival::Nothing)
}

fn opened(image: Vec<u8>) -> Result<(TestDisk, KvStore), KvError> {
    let disk = TestDisk::with_image(image, 2);
    let store = disk.open()?;
    Ok((disk, store))
}

/// Bytes that the disk was written, and how often it was synced, from an operation on.
fn work_since(disk: &TestDisk, from: usize) -> (usize, usize) {
    let done = &disk.done()[from..];
    let syncs = done.iter().filter(|op| matches!(op, Op::Sync)).count();
    let bytes = done.iter().map(|op| match op {
        Op::Write(_, data) => data.len(),
        Op::SetLen(_) | Op::Sync => 0,
    });
    (bytes.sum(), syncs)
}

#[test]
fn a_transaction_costs_one_write_of_its_own_size_and_one_sync() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    let from = disk.done().len();
    put(&store, &["b"]);
    put(&store, &["c"]);
    assert_eq!(work_since(&disk, from), (2 * SECTOR, 2));
    store
        .write(|txn| txn.remove(LETTERS, b"not there").map(drop))
        .unwrap();
    assert_eq!(work_since(&disk, from), (2 * SECTOR, 2), "nothing was changed");
}

#[test]
fn a_store_that_was_closed_has_nothing_to_take_over() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    put(&store, &["b"]);
    drop(store);
    let mut image = disk.image(Survival::Nothing);
    image[JOURNAL_AT..JOURNAL_AT + JOURNAL].fill(0);
    let (_, store) = opened(image).unwrap();
    assert_eq!(all(&store), "a b");
}

#[test]
fn what_a_kill_left_is_taken_over_as_often_as_it_is_needed() {
    let image = killed(&["a", "b"]);
    let (disk, store) = opened(image).unwrap();
    assert_eq!(all(&store), "a b");
    // Killed again with nothing written since, then with something, then closed.
    let (disk, store) = {
        let image = disk.image(Survival::Nothing);
        drop(store);
        opened(image).unwrap()
    };
    put(&store, &["c"]);
    let (disk, store) = {
        let image = disk.image(Survival::Nothing);
        drop(store);
        opened(image).unwrap()
    };
    assert_eq!(all(&store), "a b c");
    drop(store);
    let (_, store) = opened(disk.image(Survival::Nothing)).unwrap();
    assert_eq!(all(&store), "a b c");
}

#[test]
fn a_torn_frame_is_one_that_was_not_written() {
    let image = killed(&["a", "b", "c"]);
    let last = JOURNAL_AT + 2 * SECTOR;
    let written = image[last..last + SECTOR]
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    for at in (last..=last + written).step_by(3) {
        let mut torn = image.clone();
        torn[at] ^= 0x10;
        let (_, store) = opened(torn).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!(all(&store), "a b", "byte {at}");
        put(&store, &["d"]);
        assert_eq!(all(&store), "a b d");
    }
}

#[test]
fn damage_before_the_last_frame_is_refused_and_said() {
    let mut image = killed(&["a", "b", "c"]);
    image[JOURNAL_AT + SECTOR + 30] ^= 1;
    let refused = opened(image.clone()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the store is damaged (the journal holds transaction 3, but not what follows transaction 1); restore a backup"
    );
    // Nothing was written over what somebody may still want to look at.
    let disk = TestDisk::with_image(image, 3);
    assert!(disk.open().is_err());
    assert!(disk.open().is_err());
}

#[test]
fn a_journal_of_another_file_is_refused() {
    let ours = killed(&["a"]);
    // One that is ahead, and one that has another history.
    let disk = TestDisk::with_image(ours.clone(), 4);
    let store = disk.open().unwrap();
    drop(store);
    let store = disk.open().unwrap();
    put(&store, &["b"]);
    put(&store, &["c"]);
    let ahead = disk.image(Survival::Nothing);
    drop(store);
    let mut mixed = killed(&[]);
    mixed[JOURNAL_AT..JOURNAL_AT + JOURNAL].copy_from_slice(&ahead[JOURNAL_AT..JOURNAL_AT + JOURNAL]);
    let refused = opened(mixed).err().unwrap();
    assert!(
        refused
            .to_string()
            .contains("begins with transaction 2, but the rows end with 0"),
        "{refused}"
    );
    let other = {
        let disk = TestDisk::with_image(killed(&["z"]), 4);
        drop(disk.open().unwrap());
        disk.image(Survival::Nothing)
    };
    let mut mixed = other;
    mixed[JOURNAL_AT..JOURNAL_AT + JOURNAL].copy_from_slice(&ahead[JOURNAL_AT..JOURNAL_AT + JOURNAL]);
    let refused = opened(mixed).err().unwrap();
    assert!(
        refused
            .to_string()
            .contains("after another transaction 1 than the rows end with"),
        "{refused}"
    );
    // One frame of another history in front of a frame that continues the one that was there.
    let mut mixed = killed(&["a", "b"]);
    let sector = JOURNAL_AT..JOURNAL_AT + SECTOR;
    mixed[sector.clone()].copy_from_slice(&killed(&["z"])[sector]);
    let refused = opened(mixed).err().unwrap().to_string();
    assert!(
        refused.contains("holds transaction 2, but not what follows transaction 1"),
        "{refused}"
    );
}

#[test]
fn frames_of_an_earlier_round_are_not_taken_for_new_ones() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    let set = |number: u32| {
        store
            .write(|txn| txn.put(LETTERS, b"n", &[&number.to_be_bytes()[..], &[1; 300]].concat()))
            .unwrap();
    };
    // Each takes a sector: the journal is gone through three and a half times.
    let count = u32::try_from(JOURNAL / SECTOR * 7 / 2).unwrap();
    for number in 0..count {
        set(number);
        if number % 37 == 0 || number + 1 == count {
            let (_, store) = opened(disk.image(Survival::Nothing)).unwrap();
            let found = store.read().unwrap().get(LETTERS, b"n").unwrap().unwrap();
            assert_eq!(found[..4], number.to_be_bytes());
        }
    }
}

#[test]
fn a_transaction_larger_than_the_journal_goes_to_disk_as_a_checkpoint() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    for key in [b"b", b"c"] {
        store
            .write(|txn| txn.put(LETTERS, key, &vec![9; JOURNAL]))
            .unwrap();
        put(&store, &["d"]);
        let (_, found) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&found), all(&store));
    }
    // Larger than any frame that is built.
    store
        .write(|txn| -> Result<(), KvError> {
            for key in 0..6_u8 {
                txn.put(LETTERS, &[b'e', key], &vec![key; 1024 * 1024])?;
            }
            Ok(())
        })
        .unwrap();
    put(&store, &["z"]);
    let (_, found) = opened(disk.image(Survival::Nothing)).unwrap();
    assert_eq!(all(&found), all(&store));
    assert_eq!(all(&found).split(' ').count(), 11);
}

#[test]
fn after_a_failed_append_readers_see_what_was_acknowledged_and_nothing_else() {
    for fault in [
        Fault::Refused,
        Fault::Halved,
        Fault::SyncLost,
        Fault::SyncForgotten,
    ] {
        for operation in 0..2 {
            let what = format!("{fault:?} of {operation}");
            let disk = TestDisk::new(7);
            let store = disk.open().unwrap();
            put(&store, &["a"]);
            let at = disk.count() + operation;
            // Everything from there on: the file cannot be opened again either.
            disk.fail(at..usize::MAX, fault);
            let failed = store.write(|txn| txn.put(LETTERS, b"b", b"v"));
            assert!(
                matches!(failed, Err(KvError::OutcomeUnknown { .. })),
                "{what}: {failed:?}"
            );
            assert_eq!(all(&store), "a", "{what}: the journal has it");
            let again = store.write(|txn| txn.put(LETTERS, b"c", b"v"));
            assert!(matches!(again, Err(KvError::Io { .. })), "{what}: {again:?}");
            disk.heal();
            put(&store, &["d"]);
            let seen = all(&store);
            assert!(seen == "a d" || seen == "a b d", "{what}: {seen}");
            let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
            assert_eq!(all(&left), seen, "{what}");
        }
    }
}

#[test]
fn after_a_failed_checkpoint_nothing_is_read_before_it_is_known_what_is_there() {
    for operation in 0..40 {
        let disk = TestDisk::new(operation);
        let store = disk.open().unwrap();
        put(&store, &["a"]);
        let next = disk.count();
        let at = next + usize::try_from(operation).unwrap();
        disk.fail(at..usize::MAX, Fault::SyncForgotten);
        let large = vec![3; 2 * JOURNAL];
        let failed = store.write(|txn| txn.put(LETTERS, b"b", &large));
        let Err(error) = failed else {
            assert!(operation > 2, "a checkpoint is more than {operation} operations");
            return;
        };
        // What the caller is told: it failed before anything could be on disk, or nobody knows.
        assert!(
            matches!(error, KvError::OutcomeUnknown { .. } | KvError::Io { .. }),
            "{error}"
        );
        if let Ok(read) = store.read()
            && let Ok(rows) = read.rows(LETTERS, &KvRange::all(), 10)
        {
            assert_eq!(rows.len(), 1, "operation {operation}: only `a` is there for sure");
        }
        disk.heal();
        put(&store, &["c"]);
        let seen = all(&store);
        assert!(seen == "a c" || seen == "a b c", "operation {operation}: {seen}");
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), seen, "operation {operation}");
    }
    panic!("a checkpoint has fewer operations");
}

#[test]
fn readers_have_the_file_opened_again_if_what_they_read_may_be_lost() {
    for seed in 0..30 {
        let disk = TestDisk::new(seed);
        let store = disk.open_uncached().unwrap();
        put(&store, &["a", "b"]);
        put(&store, &["c"]);
        let next = disk.count();
        disk.fail(next..usize::MAX, Fault::SyncForgotten);
        assert!(store.write(|txn| txn.put(LETTERS, b"d", b"v")).is_err());
        if let Ok(read) = store.read()
            && let Ok(rows) = read.rows(LETTERS, &KvRange::all(), 10)
        {
            assert_eq!(rows.len(), 3, "seed {seed}");
        }
        disk.heal();
        let seen = all(&store);
        assert!(seen.starts_with("a b c"), "seed {seed}: {seen}");
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert!(all(&left).starts_with(&seen), "seed {seed}");
    }
}

#[test]
fn a_disk_that_takes_no_writes_can_be_read() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    let cut = TestDisk::with_image(disk.image(Survival::Nothing), 2);
    disk.fail(disk.count()..usize::MAX, Fault::Full);
    let failed = store.write(|txn| txn.put(LETTERS, b"b", b"v"));
    assert!(
        matches!(failed, Err(KvError::OutcomeUnknown { .. })),
        "{failed:?}"
    );
    // Killed, and opened where there is no room to take over what the journal holds.
    cut.fail(0..usize::MAX, Fault::Full);
    let found = cut.open().unwrap();
    for (disk, store) in [(disk, store), (cut, found)] {
        assert_eq!(all(&store), "a");
        for _ in 0..2 {
            let refused = store.write(|txn| txn.put(LETTERS, b"c", b"v"));
            assert_eq!(refused, Err(KvError::Full));
            assert_eq!(all(&store), "a");
        }
        disk.heal();
        put(&store, &["d"]);
        assert_eq!(all(&store), "a d");
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), "a d");
    }
}

#[test]
fn where_there_is_no_room_to_make_sure_of_a_transaction_it_is_not_shown() {
    for seed in 0..10 {
        let disk = TestDisk::new(seed);
        let store = disk.open().unwrap();
        put(&store, &["a"]);
        let next = disk.count();
        // The frame can be read, and may not be on disk.
        disk.fail(next + 1..next + 2, Fault::SyncLost);
        disk.fail(next + 2..usize::MAX, Fault::Full);
        assert!(store.write(|txn| txn.put(LETTERS, b"b", b"v")).is_err());
        let refused = store.write(|txn| txn.put(LETTERS, b"c", b"v"));
        assert_eq!(refused, Err(KvError::Full));
        if let Ok(read) = store.read() {
            assert_eq!(keys(&read, &KvRange::all(), 10), "a", "seed {seed}");
        }
        disk.heal();
        let seen = all(&store);
        assert!(seen == "a" || seen == "a b", "seed {seed}: {seen}");
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), seen, "seed {seed}");
    }
}

#[test]
fn a_read_that_failed_fails_no_later_read_and_no_write() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    for number in 0..60_u8 {
        store
            .write(|txn| txn.put(LETTERS, &[number], &[number; 2_000]))
            .unwrap();
    }
    drop(store);
    let store = disk.open_uncached().unwrap();
    let read = store.read().unwrap();
    disk.fail_reads(true);
    assert!(read.get(LETTERS, &[30]).is_err());
    let failed = store.write(|txn| txn.put(LETTERS, &[30], b"v"));
    assert!(failed.is_err(), "{failed:?}");
    disk.fail_reads(false);
    assert_eq!(
        store.read().unwrap().get(LETTERS, &[30]).unwrap(),
        Some(vec![30; 2_000])
    );
    put(&store, &["b"]);
    assert_eq!(store.read().unwrap().count(LETTERS).unwrap(), 61);
}

#[test]
fn an_error_that_the_caller_passes_over_undoes_the_transaction_all_the_same() {
    let disk = TestDisk::new(1);
    let store = disk.open_uncached().unwrap();
    put(&store, &["a"]);
    let passed_over = store.write(|txn| -> Result<(), KvError> {
        disk.fail_reads(true);
        let failed = txn.put(LETTERS, b"b", b"v");
        assert!(failed.is_err(), "{failed:?}");
        disk.fail_reads(false);
        Ok(())
    });
    assert!(matches!(passed_over, Err(KvError::Io { .. })), "{passed_over:?}");
    assert_eq!(all(&store), "a");
    put(&store, &["c"]);
    assert_eq!(all(&store), "a c");
}

#[test]
fn what_a_program_left_in_the_systems_cache_is_on_disk_before_the_next_one_builds_on_it() {
    for seed in 0..20 {
        let disk = TestDisk::new(seed);
        let store = disk.open().unwrap();
        put(&store, &["a"]);
        let next = disk.count();
        // The write succeeds, its sync fails and loses it beneath the cache, and then the program gives up.
        disk.fail(next + 1..usize::MAX, Fault::SyncLost);
        assert!(store.write(|txn| txn.put(LETTERS, b"b", b"v")).is_err());
        drop(store);
        disk.heal();
        let store = disk.open().unwrap();
        let seen = all(&store);
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), seen, "seed {seed}");
        put(&store, &["c"]);
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), all(&store), "seed {seed}");
    }
}

#[test]
fn rows_that_went_back_are_not_used() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    let older = disk.image(Survival::Everything);
    put(&store, &["b"]);
    // Somebody puts a backup in place of the file, and a fault has it opened again.
    disk.replace(older);
    let next = disk.count();
    disk.fail(next..next + 1, Fault::Refused);
    assert!(store.write(|txn| txn.put(LETTERS, b"c", b"v")).is_err());
    for _ in 0..2 {
        let refused = store.write(|txn| txn.put(LETTERS, b"d", b"v"));
        assert!(matches!(refused, Err(KvError::Corrupt { .. })), "{refused:?}");
        assert!(store.read().is_err(), "nor are they read");
    }
}

#[test]
fn a_full_disk_is_said_so_can_be_read_and_is_written_again_once_there_is_room() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a"]);
    disk.fill();
    let large = vec![1; 100_000];
    let mut written = 0;
    let refused = (0..200_u8).find_map(|number| {
        let done = store.write(|txn| txn.put(LETTERS, &[b'b', number], &large));
        written += usize::from(done.is_ok());
        done.err()
    });
    assert_eq!(refused, Some(KvError::Full), "after {written}");
    let count = || store.read().unwrap().count(LETTERS).unwrap();
    assert_eq!(count(), 1 + written as u64);
    let still = store.write(|txn| txn.put(LETTERS, b"c", &large));
    assert_eq!(still, Err(KvError::Full));
    // Killed while it is full: it opens, to be read.
    let cut = TestDisk::with_image(disk.image(Survival::Nothing), 2);
    cut.fill();
    let found = cut.open().unwrap();
    assert_eq!(found.read().unwrap().count(LETTERS).unwrap(), count());
    for (disk, store) in [(&disk, &store), (&cut, &found)] {
        disk.heal();
        put(store, &["d"]);
        assert_eq!(store.read().unwrap().count(LETTERS).unwrap(), 2 + written as u64);
    }
}

/// A file as it was before rows had a journal: a database alone.
fn plain(directory: &Path) -> Vec<u8> {
    let path = directory.join(FILE_NAME);
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(LETTERS.definition())
        .unwrap()
        .insert(b"old".as_slice(), b"v".as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    std::fs::read(path).unwrap()
}

#[test]
fn a_file_from_before_the_journal_goes_on_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let before = plain(directory.path());
    for round in ["one", "two"] {
        let store = KvStore::open(directory.path()).unwrap();
        put(&store, &[round]);
    }
    let store = KvStore::open(directory.path()).unwrap();
    assert_eq!(all(&store), "old one two");
    drop(store);
    let after = std::fs::read(directory.path().join(FILE_NAME)).unwrap();
    assert_eq!(after[..9], before[..9], "it is a database still");
    let database = Database::open(directory.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_read().unwrap();
    assert_eq!(
        transaction.list_tables().unwrap().count(),
        1,
        "with no table of ours in it"
    );
    let table = transaction.open_table(LETTERS.definition()).unwrap();
    assert_eq!(table.iter().unwrap().count(), 3);
}

#[test]
fn a_transaction_in_a_file_from_before_the_journal_outlives_a_power_cut_and_faults() {
    let directory = tempfile::tempdir().unwrap();
    let image = plain(directory.path());
    let mut failures = 0;
    for seed in 0..20 {
        let fault = if seed % 2 == 0 {
            Fault::SyncLost
        } else {
            Fault::SyncForgotten
        };
        let disk = TestDisk::with_image(image.clone(), seed);
        let store = disk.open().unwrap();
        put(&store, &["one"]);
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), "old one");
        let next = disk.count();
        disk.fail(next..usize::MAX, fault);
        let failed = store.write(|txn| txn.put(LETTERS, b"two", b"v"));
        failures += usize::from(failed.is_err());
        disk.heal();
        let seen = all(&store);
        assert!(seen == "old one" || seen == "old one two", "seed {seed}: {seen}");
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), seen, "seed {seed}");
        put(&store, &["three"]);
        let (_, left) = opened(disk.image(Survival::Nothing)).unwrap();
        assert_eq!(all(&left), all(&store), "seed {seed}");
    }
    assert_eq!(failures, 20);
}

#[test]
fn the_database_of_a_closed_store_can_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    put(&KvStore::open(directory.path()).unwrap(), &["a", "b"]);
    let inside = crate::kv::database_of(directory.path()).unwrap();
    let database = Database::builder().create_with_backend(inside).unwrap();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(LETTERS.definition()).unwrap();
    assert_eq!(table.iter().unwrap().count(), 2);
    drop(database);
    let empty = tempfile::tempdir().unwrap();
    assert!(crate::kv::database_of(empty.path()).is_err());
}
