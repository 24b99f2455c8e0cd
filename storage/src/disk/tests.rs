use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::test_support::{all, assert_sound, everything, in_directory, options, save, snapshot};
use crate::{Store, StoreOptions};

fn open(directory: &Path) -> Result<Store, StorageError> {
    Store::open(options(Disk::Directory(directory.to_owned())))
}

/// A directory whose database file has this content.
fn with_file(content: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE_NAME), content).unwrap();
    directory
}

fn content(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join(FILE_NAME)).unwrap()
}

/// The bytes of a store that was closed.
fn closed_store() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=a");
    drop(store);
    content(directory.path())
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let mut almost = vec![0; 1024 * 1024];
    almost[700_000] = 1;
    let mut begun = vec![0; 1024 * 1024];
    begun[9..16].copy_from_slice(b"\x01\0\0\0\0\x10\0");
    begun[5_000] = 1;
    for (what, file) in [
        ("text", b"shopping list\n- milk\n".to_vec()),
        ("a short text", b"hi".to_vec()),
        (
            "another database",
            [b"SQLite format 3\0".as_slice(), &[7; 5_000]].concat(),
        ),
        ("nearly nothing but zeros", almost),
        ("a header and something else", begun),
        ("too many zeros", vec![0; 17 * 1024 * 1024]),
        (
            "zeros where the header would be, and no page size",
            [vec![0; 100], vec![1; 4_000]].concat(),
        ),
    ] {
        let directory = with_file(&file);
        let refused = open(directory.path());
        assert!(
            matches!(refused, Err(StorageError::Foreign { .. })),
            "{what}: {refused:?}"
        );
        assert!(content(directory.path()) == file, "{what} was changed");
    }
}

#[test]
fn a_file_that_a_crash_left_half_made_is_made_anew() {
    let whole = closed_store();
    let start = whole.windows(4).position(|window| window == b"redb").unwrap();
    let mut headed = whole[..512].to_vec();
    headed.resize(start, 0);
    let mut begun = headed.clone();
    begun.extend_from_slice(&whole[start..start + 512]);
    begun[start..start + 9].fill(0);
    begun.resize(start + 1024 * 1024 + 8_192, 0);
    for (what, file) in [
        ("empty", Vec::new()),
        ("zeros", vec![0; 1024 * 1024]),
        ("a few zeros", vec![0; 5]),
        (
            "a header cut off in its magic",
            [&headed[..7], &[0; 9_000]].concat(),
        ),
        (
            "a header cut off behind its magic",
            [&headed[..21], &[0; 9_000]].concat(),
        ),
        ("a header and an empty journal", headed),
        ("all but the database's magic number", begun),
    ] {
        let directory = with_file(&file);
        let mut store = open(directory.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        save(&mut store, "Post", "id=p1 title=a");
        drop(store);
        assert_eq!(
            all(&snapshot(&in_directory(directory.path())), "Post").len(),
            1,
            "{what}"
        );
    }
}

#[test]
fn what_an_opening_made_is_gone_if_it_fails_and_what_was_there_stays() {
    let path = |directory: &tempfile::TempDir| directory.path().join(FILE_NAME);
    let fresh = tempfile::tempdir().unwrap();
    let empty = with_file(&[]);
    fail_after(0);
    let refused = [open(fresh.path()), open(empty.path())];
    fail_after(u32::MAX);
    for refused in refused {
        assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
    }
    assert!(!path(&fresh).exists(), "nobody is made to believe in a store");
    assert!(path(&empty).exists(), "it may be somebody's");
    save(&mut in_directory(fresh.path()), "Post", "id=p1 title=a");

    // Whatever kept it from opening, what somebody else has made of it in the meantime is theirs.
    let file = File::options().read(true).write(true).open(path(&fresh)).unwrap();
    take_back(file, &path(&fresh));
    assert!(path(&fresh).exists());
}

#[test]
fn a_half_made_file_that_somebody_is_making_is_left_to_them() {
    let directory = with_file(&[0; 4_096]);
    let theirs = FileBackend::new(
        File::options()
            .read(true)
            .write(true)
            .open(directory.path().join(FILE_NAME))
            .unwrap(),
    );
    let theirs = theirs.unwrap();
    assert!(theirs.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    let refused = open(directory.path());
    assert!(matches!(refused, Err(StorageError::Locked { .. })), "{refused:?}");
    assert_eq!(content(directory.path()).len(), 4_096);
}

#[test]
fn a_file_cut_short_is_damaged_whatever_its_length() {
    let whole = closed_store();
    let mut lengths: Vec<usize> = (0..20).map(|part| whole.len() / 20 * part + 1).collect();
    // Of a file of a few sectors nobody can tell whether it was a store.
    lengths.extend([4_095, 4_096, 4_097, 8_192, whole.len() - 4_096, whole.len() - 1]);
    for length in lengths.into_iter().filter(|length| *length > 512) {
        let directory = with_file(&whole[..length]);
        match open(directory.path()) {
            Err(StorageError::Corrupt { .. }) => {}
            // Only unused pages were cut off.
            Ok(store) => assert_sound(&store),
            other => panic!("cut to {length}: {other:?}"),
        }
    }
}

#[test]
fn damaged_bytes_are_never_believed() {
    never_believed(&closed_store(), 0);
}

#[test]
fn damaged_bytes_of_a_killed_store_are_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    for title in ["a", "b", "c"] {
        save(&mut store, "Post", &format!("id=p{title} title={title}"));
    }
    let whole = content(directory.path());
    let before_last = HEADER_BYTES + 2 * 512;
    // The last frame is not looked at: damage of it is what a crash in the middle of it would leave.
    never_believed(&whole[..], usize::try_from(before_last).unwrap());
}

/// Flips bits all over a store's file, but not in the sector at `spared`.
fn never_believed(whole: &[u8], spared: usize) {
    let sound = everything(&in_directory(with_file(whole).path()));
    let spared = spared..spared + if spared == 0 { 0 } else { 512 };
    for at in (0..whole.len())
        .filter(|at| whole[*at] != 0 && !spared.contains(at))
        .step_by(101)
    {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x10;
        let directory = with_file(&damaged);
        // What is opened in spite of it must be the same, or say itself that it is not.
        match open(directory.path()) {
            Ok(store) => {
                let said = snapshot(&store)
                    .verify()
                    .is_ok_and(|found| found.differences.is_empty());
                assert!(!said || everything(&store) == sound, "byte {at}");
                // Damage of the free pages' list shows when redb checks itself while closing, in test builds.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(store)));
            }
            Err(error) => {
                let fits = matches!(
                    error,
                    StorageError::Corrupt { .. } | StorageError::Foreign { .. } | StorageError::TooNew { .. }
                );
                assert!(fits, "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn something_else_in_the_way_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(FILE_NAME)).unwrap();
    assert!(matches!(
        open(directory.path()),
        Err(StorageError::Foreign { .. })
    ));
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside_a_file = open(file.path());
    assert!(
        matches!(inside_a_file, Err(StorageError::Io { .. })),
        "{inside_a_file:?}"
    );
}

#[test]
fn directories_are_made_as_deep_as_needed() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    in_directory(&deep);
    assert!(deep.join(FILE_NAME).is_file());
}

/// A disk that outlives its databases and does what it is told to.
#[derive(Clone, Debug, Default)]
struct Moody {
    bytes: Arc<InMemoryBackend>,
    mood: Arc<Mood>,
}

#[derive(Debug, Default)]
struct Mood {
    /// Writes and syncs fail.
    refuses_writes: AtomicBool,
    /// The next read fails.
    stumbles: AtomicBool,
    /// Opening fails.
    gone: AtomicBool,
    /// Positions written.
    written: Mutex<Vec<u64>>,
}

impl Moody {
    fn options(&self) -> StoreOptions {
        let disk = self.clone();
        let open: OpenBackend = Arc::new(move || {
            if disk.mood.gone.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Box::new(disk.clone()))
        });
        options(Disk::Custom(open))
    }

    /// Without a cache every read reaches the disk, and what is written does so before its commit.
    fn uncached(&self) -> StoreOptions {
        StoreOptions {
            cache_bytes: 0,
            ..self.options()
        }
    }

    fn write_fault(&self) -> io::Result<()> {
        if self.mood.refuses_writes.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Moody {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.mood.stumbles.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("a read went wrong"));
        }
        StorageBackend::read(&*self.bytes, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_fault()?;
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.write_fault()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_fault()?;
        self.mood.written.lock().unwrap().push(offset);
        StorageBackend::write(&*self.bytes, offset, data)
    }
}

#[test]
fn a_read_that_went_wrong_fails_no_later_read_and_no_write() {
    let disk = Moody::default();
    let mut store = Store::open(disk.uncached()).unwrap();
    save(&mut store, "Post", "id=p1 title=a");
    let reader = store.reader();
    let get = || reader.snapshot()?.get("Post", &"p1".into());
    disk.mood.stumbles.store(true, Ordering::SeqCst);
    assert!(matches!(get(), Err(StorageError::Io { .. })), "the read itself");
    assert!(get().unwrap().is_some(), "the next one");
    assert_eq!(store.reopened(), 1);
    disk.mood.stumbles.store(true, Ordering::SeqCst);
    assert!(get().is_err());
    save(&mut store, "Post", "id=p2 title=b");
    assert_eq!(
        store.reopened(),
        2,
        "the write found the database closed, and opened it"
    );
    assert_sound(&store);
}

#[test]
fn a_snapshot_from_before_a_fault_says_so_or_still_holds() {
    let disk = Moody::default();
    let mut store = Store::open(disk.uncached()).unwrap();
    save(&mut store, "Post", "id=p1 title=a");
    let before = store.reader().snapshot().unwrap();
    disk.mood.stumbles.store(true, Ordering::SeqCst);
    let met = store
        .reader()
        .snapshot()
        .and_then(|now| now.get("Post", &"p1".into()));
    assert!(met.is_err());
    save(&mut store, "Post", "id=p1 title=b");
    assert_eq!(store.reopened(), 1);
    match before.get("Post", &"p1".into()) {
        Ok(record) => assert_eq!(record.unwrap().get("title"), Some(&"a".into())),
        Err(StorageError::Io { cause }) => assert!(cause.contains("take a new snapshot"), "{cause}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_full_disk_is_said_so_and_the_store_goes_on_when_there_is_room() {
    let disk = Moody::default();
    let mut store = Store::open(disk.options()).unwrap();
    save(&mut store, "Post", "id=p1 title=a");
    let head = store.head();
    disk.mood.refuses_writes.store(true, Ordering::SeqCst);
    let refused = store.write(5, |txn| crate::test_support::put(txn, "Post", "id=p2 title=b"));
    assert!(
        matches!(
            refused,
            Err(StorageError::Full { .. } | StorageError::OutcomeUnknown { .. })
        ),
        "{refused:?}"
    );
    let again = store.write(5, |txn| crate::test_support::put(txn, "Post", "id=p2 title=b"));
    assert!(
        matches!(again, Err(StorageError::Full { .. })),
        "it is not even tried: {again:?}"
    );
    disk.mood.refuses_writes.store(false, Ordering::SeqCst);
    let ids: Vec<_> = all(&store.reader().snapshot().unwrap(), "Post");
    assert!(
        (1..=2).contains(&ids.len()),
        "readers open the database again as well"
    );
    save(&mut store, "Post", "id=p3 title=c");
    assert!(store.head() > head);
    assert_sound(&store);
}

#[test]
fn an_unknown_outcome_is_found_out_when_the_disk_is_back() {
    let disk = Moody::default();
    let mut store = Store::open(disk.options()).unwrap();
    save(&mut store, "Post", "id=p1 title=a");
    disk.mood.refuses_writes.store(true, Ordering::SeqCst);
    disk.mood.gone.store(true, Ordering::SeqCst);
    let unknown = store.write(5, |txn| crate::test_support::put(txn, "Post", "id=p2 title=b"));
    assert!(
        matches!(unknown, Err(StorageError::OutcomeUnknown { .. })),
        "{unknown:?}"
    );
    assert!(matches!(store.reader().snapshot(), Err(StorageError::Io { .. })));
    disk.mood.refuses_writes.store(false, Ordering::SeqCst);
    disk.mood.gone.store(false, Ordering::SeqCst);
    store.write(5, |_| Ok(())).unwrap();
    let known = snapshot(&store).log_bounds().unwrap().1;
    assert_eq!(store.head(), known, "the store knows where its log ends");
    assert_sound(&store);
}

#[test]
fn a_log_that_went_back_is_not_written_to() {
    let disk = Moody::default();
    let mut store = Store::open(disk.uncached()).unwrap();
    save(&mut store, "Post", "id=p1 title=a");
    let older = Moody::default();
    let mut backup = Store::open(older.options()).unwrap();
    save(&mut backup, "Post", "id=p1 title=another");
    drop(backup);
    disk.mood.stumbles.store(true, Ordering::SeqCst);
    assert!(
        store
            .reader()
            .snapshot()
            .and_then(|s| s.get("Post", &"p1".into()))
            .is_err()
    );
    let length = older.bytes.len().unwrap();
    disk.bytes.set_len(length).unwrap();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    StorageBackend::read(&*older.bytes, 0, &mut bytes).unwrap();
    StorageBackend::write(&*disk.bytes, 0, &bytes).unwrap();
    let refused = store.write(5, |txn| crate::test_support::put(txn, "Post", "id=p2 title=b"));
    assert!(
        matches!(refused, Err(StorageError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    let disk = Moody::default();
    let faults = Arc::new(Faults::default());
    let watched = Watched::new(Box::new(disk.clone()), Arc::clone(&faults));
    watched.set_len(100).unwrap();
    watched.write(0, &[1; 10]).unwrap();
    watched.sync_data().unwrap();
    assert!(!faults.have_unsynced());
    watched.write(20, &[2; 10]).unwrap();
    watched.write(30, &[3; 10]).unwrap();
    watched.write(95, &[4; 5]).unwrap();
    disk.mood.refuses_writes.store(true, Ordering::SeqCst);
    assert!(watched.sync_data().is_err());
    assert!(faults.suspected() && faults.have_unsynced());
    assert!(faults.write_again(&disk).is_err());
    assert!(faults.have_unsynced(), "still to be done");
    disk.mood.refuses_writes.store(false, Ordering::SeqCst);
    assert!(watched.sync_data().is_err(), "no later sync covers up for it");
    assert!(watched.write(50, &[5]).is_err() && watched.set_len(200).is_err());
    // Shortened since: what is gone is not written.
    disk.bytes.set_len(97).unwrap();
    disk.mood.written.lock().unwrap().clear();
    faults.write_again(&disk).unwrap();
    assert_eq!(*disk.mood.written.lock().unwrap(), [20, 95]);
    assert_eq!(disk.bytes.len().unwrap(), 97);
    assert!(!faults.have_unsynced());
}

#[test]
fn a_file_that_lost_its_name_before_it_was_locked_is_not_the_one_that_is_opened() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(in_directory(home.path()));
    let mut newer = in_directory(other.path());
    save(&mut newer, "Post", "id=p1 title=a");
    let head = newer.head_and_check();
    drop(newer);
    let path = home.path().join(FILE_NAME);
    let tries = std::cell::Cell::new(0);
    let opened = open_named(home.path(), &path, |file, _| {
        if tries.replace(tries.get() + 1) == 0 {
            // Somebody makes the store anew, and closes it.
            std::fs::rename(other.path().join(FILE_NAME), &path).unwrap();
        }
        let fresh = FileLayout {
            journal_bytes: JOURNAL_BYTES,
        };
        let fresh = Fresh::store(fresh, None);
        open_backend(file_backend(file, &path)?, &path, 1 << 20, &Arc::default(), fresh)
    })
    .unwrap();
    assert_eq!(tries.get(), 2);
    let found = crate::store::read_head(&opened.database).unwrap();
    assert_eq!((found.seq, found.check), head);
}
