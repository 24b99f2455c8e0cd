//! A file without the past: what was cleared is also gone from the pages that the database does not use any more.
//!
//! Owns [`Store::scrub`]. A database keeps its file and reuses the pages of what was deleted, so their old bytes stay
//! until something is written over them. What is left after a clear is copied into a new file, which takes the place
//! of the old one.
//!
//! Invariant: at every moment the directory has one whole file of that name, the old one or the new one.

use std::sync::{Arc, PoisonError};

use redb::ReadableDatabase;

use super::{Store, closed};
use crate::disk::{Disk, FILE_NAME, sync_name};
use crate::error::StorageError;
use crate::snapshot::Snapshot;

impl Store {
    /// Makes the file anew with nothing in it but what the store holds now; returns whether there is a file.
    ///
    /// Snapshots that are still held keep the old file's bytes readable for themselves until they are dropped.
    ///
    /// # Errors
    /// The disk's faults. The old file stays in use then, unless it was only the new one's name that did not get to disk.
    pub fn scrub(&mut self) -> Result<bool, StorageError> {
        let shared = Arc::clone(&self.shared);
        let Disk::Directory(directory) = &shared.disk else {
            return Ok(false);
        };
        self.ensure_open()?;
        let path = directory.join(FILE_NAME);
        let mut database = shared.database.write().unwrap_or_else(PoisonError::into_inner);
        let open = database.as_ref().ok_or_else(closed)?;
        let snapshot = Snapshot::new(open.database.begin_read()?, Arc::clone(&shared.catalog), None)?;
        let unfinished = crate::backup::unfinished_in(directory)?;
        snapshot.copy_to(&unfinished, &mut |_| ())?;
        drop(snapshot);
        // Opened, and so locked, before it has its name: nobody else can open the store in between.
        let fresh = Disk::open_at(&unfinished, shared.pages_bytes, &shared.faults)?;
        let failed = |error: std::io::Error| StorageError::at_path(&path, &error);
        std::fs::rename(&unfinished, &path).map_err(failed)?;
        *database = Some(fresh);
        sync_name(&path).map_err(failed)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::Change;

    use crate::test_support::{
        all, append, assert_sound, everything, in_directory, in_memory, save, snapshot,
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
