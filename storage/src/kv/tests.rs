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
