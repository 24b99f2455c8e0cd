//! A store that is open, made anew from its log.
//!
//! Owns [`Store::remake`]. The file is written anew instead of mended: what a damaged page says is free, or lies elsewhere, may
//! be a page of the log.
//!
//! Invariant: at every moment the directory has one whole file of that name, the old one or the new one.

use std::sync::Arc;

use redb::ReadableDatabase;

use super::Store;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::remake::{Remade, Sound, make, of_log};

impl Store {
    /// Makes rows, indexes, outbox and cursors again from the log; records, their versions and what waits for the server are
    /// then what the log says, whatever was damaged. A store in a directory gets a new file; others are rebuilt in place.
    ///
    /// Readers go on meanwhile, and wait only while the new file takes the place of the old one. The old one is closed then: snapshots
    /// of it that are still held read what is in memory, and fail with [`StorageError::Io`] where they need the file. Needs as much room on the disk as the log and what it comes to.
    ///
    /// # Errors
    /// [`StorageError::LogDamaged`] if the log itself is damaged, and the disk's faults. The store is as it was then; if it was only
    /// the new file's name that did not get to disk, the new file is in use, and writes fail until it does.
    pub fn remake(&mut self) -> Result<Remade, StorageError> {
        let shared = Arc::clone(&self.shared);
        let Disk::Directory(directory) = &shared.disk else {
            let entries = self.rebuild()?;
            let snapshot = self.reader().snapshot()?;
            return Ok(Remade {
                entries,
                newest: self.head.seq,
                records: redb::ReadableTableMetadata::len(snapshot.records())?,
                pending: snapshot.pending_len()?,
                ..Remade::default()
            });
        };
        let file = shared.catalog.file.as_deref();
        self.ensure_open()?;
        self.remove_kept_if_cleared(directory)
            .and_then(|()| {
                self.anew(directory, |open, unfinished| {
                    let transaction = open.database.begin_read()?;
                    make(&transaction, &Sound::of_open(&transaction)?, unfinished)
                })
            })
            .map_err(|error| of_log(error, file))
    }
}

#[cfg(test)]
mod tests {
    use crate::StorageError;
    use crate::disk::fail_after;
    use crate::test_support::{all, assert_sound, in_directory, put, save, snapshot};

    #[test]
    fn what_is_written_after_a_failed_sync_of_the_name_goes_to_the_file_that_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        save(&mut store, "Post", "id=p1 title=a");
        fail_after(0);
        let remade = store.remake();
        assert!(matches!(remade, Err(StorageError::Io { .. })), "{remade:?}");
        let refused = store.write(5, |txn| put(txn, "Post", "id=p2 title=b"));
        assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
        fail_after(u32::MAX);
        save(&mut store, "Post", "id=p2 title=b");
        drop(store);
        let again = in_directory(directory.path());
        assert_eq!(all(&snapshot(&again), "Post").len(), 2);
        assert_sound(&again);
    }
}
