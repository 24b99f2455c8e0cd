//! A smaller file: what trimming, deleting and rewriting have left free goes back to the file system.
//!
//! Owns [`Compacted`] and [`Store::compact`]. How a file is written anew is `scrub.rs`'s.

use super::{Shared, Store};
use crate::disk::Disk;
use crate::error::StorageError;

/// What compaction did: the answer of `DataStore::compact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before; 0 for a store that is in no file.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
}

impl Store {
    /// Makes the file anew without its free pages. Needs room for the new file beside the old one. What was kept of a damaged store
    /// stays.
    ///
    /// Readers go on meanwhile, and wait only while the new file takes the place of the old one. The old one is closed then: snapshots
    /// of it that are still held read what is in memory, and fail with [`StorageError::Io`] where they need the file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the store cannot be copied as it is, and the disk's faults. The old file stays in use then; if it
    /// was only the new one's name that did not get to disk, the new one is in use, and writes fail until it does.
    pub fn compact(&mut self) -> Result<Compacted, StorageError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let before = shared.file_bytes()?;
        if let Disk::Directory(directory) = &shared.disk {
            self.remove_kept_if_cleared(directory)?;
            self.rewrite(directory, &mut |_| ())?;
        }
        let after = shared.file_bytes()?;
        Ok(Compacted { before, after })
    }
}

impl Shared {
    fn file_bytes(&self) -> Result<u64, StorageError> {
        let Some(file) = &self.catalog.file else {
            return Ok(0);
        };
        let metadata = std::fs::metadata(file).map_err(|error| StorageError::at_path(file, &error))?;
        Ok(metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_sound, everything, in_directory, in_memory, put, remove, save};

    #[test]
    fn free_pages_go_back_to_the_file_system_and_everything_else_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = in_directory(directory.path());
        for round in 0..2 {
            store
                .write(5, |txn| {
                    for number in 0..2_000 {
                        let key = format!("p{number}");
                        if round == 0 {
                            put(txn, "Post", &format!("id={key} title={}", "long".repeat(50)))?;
                        } else {
                            remove(txn, &crate::test_support::post(&key))?;
                        }
                    }
                    Ok(())
                })
                .expect("the disk is well");
        }
        save(&mut store, "Post", "id=kept title=t");
        store
            .trim(&crate::Retention::everything().entries(1), 5)
            .expect("the disk is well");
        let before = everything(&store);
        let compacted = store.compact().expect("the disk is well");
        assert!(compacted.after < compacted.before / 2, "{compacted:?}");
        assert_eq!(everything(&store), before);
        assert_sound(&store);
        drop(store);
        let again = in_directory(directory.path());
        assert_eq!(everything(&again), before);
        assert_eq!(
            in_memory().compact().expect("nothing to do"),
            Compacted { before: 0, after: 0 }
        );
    }
}
