mod crashes;
mod damaged;
mod disk;
mod journal;
mod script;

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::range::after_prefix;
use super::*;

const LETTERS: KvTable = KvTable::new("letters-1");
const OTHERS: KvTable = KvTable::new("others-1");

fn put(store: &KvStore, keys: &[&str]) {
    store
        .write(|txn| -> Result<(), KvError> {
            for key in keys {
                txn.put(LETTERS, key.as_bytes(), b"v")?;
            }
            Ok(())
        })
        .unwrap();
}

fn keys(read: &dyn KvRead, range: &KvRange, limit: usize) -> String {
    let rows = read.rows(LETTERS, range, limit).unwrap();
    rows.iter()
        .map(|(key, _)| String::from_utf8_lossy(key))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn scans_are_ordered_bounded_and_resume_after_a_key_in_both_directions() {
    let store = KvStore::in_memory().unwrap();
    put(&store, &["b2", "a", "b1", "c", "b"]);
    let read = store.read().unwrap();
    assert_eq!(keys(&read, &KvRange::all(), 10), "a b b1 b2 c");
    assert_eq!(keys(&read, &KvRange::prefix(b"b"), 10), "b b1 b2");
    assert_eq!(keys(&read, &KvRange::prefix(b"b").descending(), 2), "b2 b1");
    assert_eq!(keys(&read, &KvRange::prefix(b"b").after(b"b"), 10), "b1 b2");
    assert_eq!(
        keys(&read, &KvRange::prefix(b"b").descending().after(b"b1"), 10),
        "b"
    );
    assert_eq!(keys(&read, &KvRange::prefix(b"b").after(b"b2"), 10), "");
    assert_eq!(keys(&read, &KvRange::all(), 0), "");
    let backwards = KvRange::between(Bound::Included(b"c".to_vec()), Bound::Excluded(b"a".to_vec()));
    assert_eq!(keys(&read, &backwards, 10), "");
    assert_eq!(read.rows(OTHERS, &KvRange::all(), 1).unwrap(), []);
    assert_eq!(
        (read.count(LETTERS).unwrap(), read.count(OTHERS).unwrap()),
        (5, 0)
    );
}

#[test]
fn a_prefix_of_high_bytes_has_no_end() {
    assert_eq!(after_prefix(&[1, 255]), Some(vec![2]));
    assert_eq!(after_prefix(&[255, 255]), None);
    assert_eq!(after_prefix(&[]), None);
}

#[test]
fn a_table_has_a_name_of_one_word() {
    for name in ["", "two words", &"long".repeat(64)] {
        let name: &'static str = name.to_owned().leak();
        assert!(crate::panics::caught(|| KvTable::new(name)).is_err(), "{name:?}");
    }
    assert_eq!(KvTable::new("base-1").name(), "base-1");
}

#[test]
fn a_failed_transaction_leaves_nothing() {
    let store = KvStore::in_memory().unwrap();
    put(&store, &["a"]);
    let refused: Result<(), KvError> = store.write(|txn| {
        txn.put(LETTERS, b"b", b"v")?;
        assert!(txn.remove(LETTERS, b"a")?);
        assert_eq!(keys(txn, &KvRange::all(), 10), "b");
        Err(KvError::Full)
    });
    assert_eq!(refused, Err(KvError::Full));
    assert_eq!(keys(&store.read().unwrap(), &KvRange::all(), 10), "a");
}

#[test]
fn a_snapshot_does_not_move() {
    let store = KvStore::in_memory().unwrap();
    put(&store, &["a"]);
    let before = store.read().unwrap();
    put(&store, &["b"]);
    assert_eq!(keys(&before, &KvRange::all(), 10), "a");
    assert_eq!(before.get(LETTERS, b"b").unwrap(), None);
    assert_eq!(
        store.read().unwrap().get(LETTERS, b"b").unwrap(),
        Some(b"v".to_vec())
    );
}

#[test]
fn rows_outlive_the_store_and_a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = KvStore::open(dir.path().join("inner")).unwrap();
    put(&store, &["a"]);
    assert!(matches!(
        KvStore::open(dir.path().join("inner")),
        Err(KvError::Locked { .. })
    ));
    drop(store);
    let again = KvStore::open(dir.path().join("inner")).unwrap();
    assert_eq!(keys(&again.read().unwrap(), &KvRange::all(), 10), "a");
}

/// A disk that outlives its databases and fails while told to.
#[derive(Clone, Debug, Default)]
struct Flaky {
    bytes: Arc<redb::backends::InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl DiskBackend for Flaky {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        DiskBackend::read(&*self.bytes, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        DiskBackend::write(&*self.bytes, offset, data)
    }
}

#[test]
fn a_store_writes_again_after_the_disk_failed() {
    let disk = Flaky::default();
    let handed = disk.clone();
    let store = KvStore::with_opener(move || Ok(Box::new(handed.clone()))).unwrap();
    put(&store, &["a"]);
    disk.full.store(true, Ordering::SeqCst);
    let failed: Result<(), KvError> = store.write(|txn| txn.put(LETTERS, b"b", b"v"));
    assert!(
        matches!(failed, Err(KvError::OutcomeUnknown { .. })),
        "{failed:?}"
    );
    assert!(
        keys(&store.read().unwrap(), &KvRange::all(), 10).starts_with('a'),
        "reads go on"
    );
    disk.full.store(false, Ordering::SeqCst);
    put(&store, &["c"]);
    let after = keys(&store.read().unwrap(), &KvRange::all(), 10);
    assert!(after == "a c" || after == "a b c", "{after}");
}

#[test]
fn a_disk_without_an_opener_stays_closed_for_writes() {
    let disk = Flaky::default();
    let store = KvStore::with_backend(Box::new(disk.clone())).unwrap();
    put(&store, &["a"]);
    disk.full.store(true, Ordering::SeqCst);
    let write = || store.write(|txn| txn.put(LETTERS, b"b", b"v"));
    assert!(matches!(write(), Err(KvError::OutcomeUnknown { .. })));
    disk.full.store(false, Ordering::SeqCst);
    assert!(matches!(write(), Err(KvError::Io { .. })));
}

#[test]
fn snapshots_on_other_threads_see_whole_transactions_while_checkpoints_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = KvStore::open(dir.path()).unwrap();
    let ended = AtomicBool::new(false);
    let value = |number: u32| [number.to_be_bytes().as_slice(), &[7; 40_000]].concat();
    let set = |number: u32| {
        store.write(|txn| -> Result<(), KvError> {
            txn.put(LETTERS, b"a", &value(number))?;
            txn.put(OTHERS, b"b", &value(number))
        })
    };
    set(0).unwrap();
    let look = || {
        let (mut last, mut looks) = (0, 0);
        while !ended.load(Ordering::SeqCst) || looks == 0 {
            let read = store.read().unwrap();
            let a = read.get(LETTERS, b"a").unwrap().unwrap();
            assert!(
                a == read.get(OTHERS, b"b").unwrap().unwrap(),
                "half a transaction"
            );
            let number = u32::from_be_bytes(*a.first_chunk().unwrap());
            assert!(number >= last, "{number} after {last}");
            (last, looks) = (number, looks + 1);
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(look), scope.spawn(look), scope.spawn(look)];
        // Four times the journal.
        (1..100).for_each(|number| set(number).unwrap());
        ended.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_snapshot_can_be_taken_inside_a_transaction_and_does_not_show_it() {
    let store = disk::TestDisk::new(1).open().unwrap();
    put(&store, &["a"]);
    let seen = store.write(|txn| -> Result<String, KvError> {
        txn.put(LETTERS, b"b", b"v")?;
        Ok(keys(&store.read()?, &KvRange::all(), 10))
    });
    assert_eq!(seen.unwrap(), "a");
    assert_eq!(keys(&store.read().unwrap(), &KvRange::all(), 10), "a b");
}

#[test]
fn a_panic_inside_a_transaction_undoes_it_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = KvStore::open(dir.path()).unwrap();
    put(&store, &["a"]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.write(|txn| -> Result<(), KvError> {
            txn.put(LETTERS, b"b", b"v")?;
            panic!("the caller's own");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(keys(&store.read().unwrap(), &KvRange::all(), 10), "a");
    put(&store, &["c"]);
    drop(store);
    let again = KvStore::open(dir.path()).unwrap();
    assert_eq!(keys(&again.read().unwrap(), &KvRange::all(), 10), "a c");
}

#[test]
fn a_file_of_a_log_is_not_one_of_rows_and_the_other_way_round() {
    let (log, rows) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(crate::test_support::in_directory(log.path()));
    put(&KvStore::open(rows.path()).unwrap(), &["a"]);
    let log_file = log.path().join(crate::FILE_NAME);
    let rows_file = rows.path().join(FILE_NAME);
    let parked = rows.path().join("parked");
    std::fs::rename(&log_file, &parked).unwrap();
    std::fs::rename(&rows_file, &log_file).unwrap();
    std::fs::rename(&parked, &rows_file).unwrap();
    let refused = KvStore::open(rows.path()).err().unwrap();
    assert!(matches!(refused, KvError::Foreign { .. }), "{refused}");
    let directory = crate::Disk::Directory(log.path().to_owned());
    let refused = crate::Store::open(crate::test_support::options(directory)).unwrap_err();
    assert!(
        matches!(refused, crate::StorageError::Foreign { .. }),
        "{refused}"
    );
    std::fs::rename(&rows_file, &parked).unwrap();
    std::fs::write(&rows_file, "shopping list: milk").unwrap();
    let refused = KvStore::open(rows.path()).err().unwrap();
    assert!(matches!(refused, KvError::Foreign { .. }), "{refused}");
    assert_eq!(std::fs::read(&rows_file).unwrap(), b"shopping list: milk");
    std::fs::rename(&parked, &log_file).unwrap();
    drop(crate::test_support::in_directory(log.path()));
}
