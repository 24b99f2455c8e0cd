//! A file without the past: what was cleared is also gone from the pages that the database does not use any more.
//!
//! Owns [`Store::scrub`]. A database keeps its file and reuses the pages of what was deleted, so their old bytes stay
//! until something is written over them. What is left after a clear is copied into a new file, which takes the place
//! of the old one (`swap.rs`). Files beside it that hold what the store held go as well.
//!
//! A clear marks the file in its own transaction, and only a new file is without the mark: whatever comes between, the next opening
//! finds it.
//!
//! Invariants: 1. at every moment the directory has one whole file of that name, the old one or the new one; 2. the mark goes only
//! with the bytes that it speaks of.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::ReadableDatabase;

use super::{Store, closed};
use crate::backup::CopyProgress;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::remake::{is_unscrubbed, remove_kept};
use crate::snapshot::Snapshot;
use crate::unfinished::remove_left_over;

impl Store {
    /// Makes the file anew with nothing in it but what the store holds now, and removes the damaged files that were kept beside it;
    /// returns whether there is a file. To be called after a clear; opening the store does it where that was cut off.
    ///
    /// Readers go on meanwhile, and wait only while the new file takes the place of the old one. The old one is closed then: snapshots
    /// of it that are still held read what is in memory, and fail with [`StorageError::Io`] where they need the file.
    ///
    /// # Errors
    /// The disk's faults. The old file stays in use then; if it was only the new one's name that did not get to disk, the new one
    /// is in use, and writes fail until it does.
    pub fn scrub(&mut self) -> Result<bool, StorageError> {
        let shared = Arc::clone(&self.shared);
        let Disk::Directory(directory) = &shared.disk else {
            return Ok(false);
        };
        remove_kept(directory)?;
        self.rewrite(directory, &mut |_| ())?;
        Ok(true)
    }

    /// Goes on in a copy of the file, which has nothing in it but what the store holds now.
    pub(super) fn rewrite(
        &mut self,
        directory: &Path,
        progress: &mut dyn FnMut(CopyProgress),
    ) -> Result<(), StorageError> {
        let shared = Arc::clone(&self.shared);
        self.ensure_open()?;
        if shared.lacks_room.load(Ordering::Acquire) {
            return Err(StorageError::full().in_written(shared.catalog.file.as_deref()));
        }
        self.anew(directory, |open, unfinished| {
            let snapshot = Snapshot::new(open.database.begin_read()?, Arc::clone(&shared.catalog), None)?;
            snapshot.copy_to(unfinished, progress).map(drop)
        })
        .map_err(|error| error.in_written(shared.catalog.file.as_deref()))
    }
}

/// What an earlier process has left in the store's directory: a copy that it did not finish, and bytes of what was cleared. Neither
/// keeps the store from being used.
pub(super) fn finish_earlier(store: &mut Store) {
    let Disk::Directory(directory) = &store.shared.disk else {
        return;
    };
    if let Err(error) = remove_left_over(directory) {
        tracing::debug!(%error, "an unfinished copy cannot be removed");
    }
    let scrubbed = match store.is_unscrubbed() {
        Ok(true) => store.scrub().map(drop),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = scrubbed {
        tracing::warn!(%error, "bytes of what was cleared may still be in the file; it is tried again at the next opening");
    }
}

impl Store {
    /// Before the file is made anew by others than [`Store::scrub`]: a new file has no mark, so what the mark speaks of and that
    /// file does not replace goes first. Where nothing was cleared, what was kept stays.
    pub(super) fn remove_kept_if_cleared(&mut self, directory: &Path) -> Result<(), StorageError> {
        self.ensure_open()?;
        if self.is_unscrubbed()? {
            remove_kept(directory)?;
        }
        Ok(())
    }

    /// Whether the file may hold bytes of what was cleared.
    fn is_unscrubbed(&self) -> Result<bool, StorageError> {
        let guard = self.shared.database();
        let opened = guard.as_ref().ok_or_else(closed)?;
        unless_it_panics(|| is_unscrubbed(&opened.database.begin_read()?))
            .map_err(|error| error.in_file(self.shared.catalog.file.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use landfall_core::Change;

    use super::*;
    use crate::disk::{FILE_NAME, fail_after};
    use crate::test_support::{
        all, append, assert_sound, built, everything, in_directory, in_memory, options, put, save,
        shop_parts, snapshot,
    };

    #[test]
    fn no_byte_of_what_was_cleared_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        for number in 0..200 {
            save(
                &mut store,
                "Post",
                &format!("id=p{number} title=secret-{number} rating=1"),
            );
        }
        let bytes = || std::fs::read(directory.path().join(crate::FILE_NAME)).unwrap();
        let holds_secret = |bytes: &[u8]| bytes.windows(7).any(|window| window == b"secret-");
        assert!(holds_secret(&bytes()));
        append(&mut store, Change::Cleared).unwrap();
        assert!(
            holds_secret(&bytes()),
            "clearing alone leaves the bytes of free pages"
        );
        let held = snapshot(&store);
        save(&mut store, "Post", "id=new title=fresh");
        let before = everything(&store);
        assert!(store.scrub().unwrap());
        assert!(!holds_secret(&bytes()));
        assert_eq!(everything(&store), before);
        assert!(all(&held, "Post").is_empty(), "a snapshot stays what it was");
        drop(held);
        save(&mut store, "Post", "id=newer title=fresh");
        assert_sound(&store);
        drop(store);
        let again = in_directory(directory.path());
        assert_eq!(all(&snapshot(&again), "Post").len(), 2);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(!in_memory().scrub().unwrap());
    }

    /// Whether a file holds what [`secrets_in`] saved.
    fn holds_secret(path: &Path) -> bool {
        let bytes = fs::read(path).unwrap();
        bytes.windows(7).any(|window| window == b"secret-")
    }

    fn secrets_in(directory: &Path) -> Store {
        let mut store = in_directory(directory);
        for number in 0..200 {
            save(&mut store, "Post", &format!("id=p{number} title=secret-{number}"));
        }
        store
    }

    #[test]
    fn what_a_crash_left_of_a_clear_is_gone_after_the_next_opening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut store = secrets_in(directory.path());
        append(&mut store, Change::Cleared).unwrap();
        drop(store);
        // The process ended before it scrubbed, in the middle of its copy.
        fs::write(directory.path().join("landfall.unfinished"), b"secret-copy").unwrap();
        assert!(holds_secret(&path));
        let mut store = in_directory(directory.path());
        assert!(!holds_secret(&path));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(!store.is_unscrubbed().unwrap());
        save(&mut store, "Post", "id=p1 title=fresh");
        assert_sound(&store);
        drop(store);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(!in_directory(directory.path()).is_unscrubbed().unwrap());
        assert!(before <= fs::metadata(&path).unwrap().modified().unwrap());
    }

    #[test]
    fn readers_do_not_wait_while_the_new_file_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = secrets_in(directory.path());
        let (reader, shared) = (store.reader(), Arc::clone(&store.shared));
        let mut looks = 0;
        store
            .rewrite(directory.path(), &mut |_| {
                assert!(shared.database.try_read().is_ok(), "a reader would wait here");
                assert_eq!(all(&reader.snapshot().unwrap(), "Post").len(), 200);
                looks += 1;
            })
            .unwrap();
        assert!(looks > 0);
        assert_eq!(all(&snapshot(&store), "Post").len(), 200);
        assert_sound(&store);
    }

    #[test]
    fn a_clear_that_cannot_be_scrubbed_stays_to_be_scrubbed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut store = secrets_in(directory.path());
        append(&mut store, Change::Cleared).unwrap();
        let in_the_way = directory.path().join("landfall.unfinished");
        fs::create_dir(&in_the_way).unwrap();
        assert!(store.scrub().is_err());
        save(&mut store, "Post", "id=p1 title=fresh");
        drop(store);
        let mut store = in_directory(directory.path());
        assert!(holds_secret(&path) && store.is_unscrubbed().unwrap());
        fs::remove_dir(&in_the_way).unwrap();
        assert!(store.scrub().unwrap());
        assert!(!holds_secret(&path) && !store.is_unscrubbed().unwrap());
        assert_eq!(all(&snapshot(&store), "Post").len(), 1);
        // Neither a backup nor a store that is made anew has anything to scrub.
        append(&mut store, Change::Cleared).unwrap();
        let copy = tempfile::tempdir().unwrap();
        snapshot(&store).backup(copy.path(), |_| ()).unwrap();
        assert!(!in_directory(copy.path()).is_unscrubbed().unwrap());
        store.remake().unwrap();
        assert!(!store.is_unscrubbed().unwrap());
    }

    #[test]
    fn what_a_new_schema_wiped_is_not_left_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        drop(secrets_in(directory.path()));
        let mut wiping = options(crate::Disk::Directory(directory.path().to_owned()));
        let mut parts = shop_parts();
        parts.models.remove(1);
        wiping.schema = std::sync::Arc::new(built(parts));
        wiping.incompatible = crate::OnIncompatible::Wipe;
        drop(Store::open(wiping).unwrap());
        assert!(!holds_secret(&directory.path().join(FILE_NAME)));
    }

    #[test]
    fn damaged_files_that_were_kept_go_with_a_clear_and_with_nothing_else() {
        // After a clear whose scrub was cut off, whoever makes the file anew takes the mark away, and so what it speaks of.
        let all_that_make_anew: [fn(&mut Store); 3] = [
            |store| assert!(store.scrub().unwrap()),
            |store| assert!(store.compact().unwrap().after > 0),
            |store| drop(store.remake().unwrap()),
        ];
        for (number, make_anew) in all_that_make_anew.into_iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            let files = || fs::read_dir(directory.path()).unwrap().count();
            let mut store = in_directory(directory.path());
            for number in [1, 12] {
                fs::write(
                    directory.path().join(format!("{FILE_NAME}.damaged-{number}")),
                    b"secret-",
                )
                .unwrap();
            }
            store.compact().unwrap();
            store.remake().unwrap();
            assert_eq!(files(), 3, "nothing was cleared");
            append(&mut store, Change::Cleared).unwrap();
            make_anew(&mut store);
            assert_eq!(files(), 1, "{number}");
            assert!(!store.is_unscrubbed().unwrap());
        }
    }

    #[test]
    fn nothing_is_acknowledged_in_a_file_whose_name_is_not_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        save(&mut store, "Post", "id=old title=old");
        append(&mut store, Change::Cleared).unwrap();
        fail_after(0);
        let scrubbed = store.scrub();
        assert!(matches!(scrubbed, Err(StorageError::Io { .. })), "{scrubbed:?}");
        for _ in 0..2 {
            let refused = store.write(5, |txn| put(txn, "Post", "id=p1 title=a"));
            assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
        }
        assert!(all(&snapshot(&store), "Post").is_empty(), "it can be read");
        fail_after(u32::MAX);
        save(&mut store, "Post", "id=p2 title=b");
        drop(store);
        assert_eq!(all(&snapshot(&in_directory(directory.path())), "Post").len(), 1);
    }

    #[test]
    fn a_file_that_cannot_take_the_place_of_the_old_one_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut store = in_directory(directory.path());
        save(&mut store, "Post", "id=p1 title=a");
        // Nothing can be renamed to what is a directory.
        fs::rename(&path, directory.path().join("aside")).unwrap();
        fs::create_dir(&path).unwrap();
        for refused in [store.scrub().map(drop), store.remake().map(drop)] {
            assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
            assert!(!directory.path().join("landfall.unfinished").exists());
        }
        fs::remove_dir(&path).unwrap();
        fs::rename(directory.path().join("aside"), &path).unwrap();
        save(&mut store, "Post", "id=p2 title=b");
        assert_sound(&store);
    }

    #[test]
    fn a_name_that_an_earlier_process_gave_is_on_disk_before_the_first_write() {
        let directory = tempfile::tempdir().unwrap();
        drop(in_directory(directory.path()));
        let mut store = in_directory(directory.path());
        fail_after(0);
        let refused = store.write(5, |txn| put(txn, "Post", "id=p1 title=a"));
        assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
        fail_after(u32::MAX);
        save(&mut store, "Post", "id=p1 title=a");
        fail_after(0);
        save(&mut store, "Post", "id=p2 title=b");
        fail_after(u32::MAX);
    }

    #[test]
    fn the_new_file_is_locked_as_the_old_one_was() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        append(&mut store, Change::Cleared).unwrap();
        assert!(store.scrub().unwrap());
        let second = crate::Store::open(crate::test_support::options(crate::Disk::Directory(
            directory.path().to_owned(),
        )));
        assert!(matches!(second, Err(crate::StorageError::Locked { .. })));
    }
}
