//! A smaller file: what trimming, deleting and rewriting have left free goes back to the file system.
//!
//! Owns [`Compacted`] and [`Store::compact`]. How a file is made anew is `store/scrub.rs`'s.

use crate::error::StorageError;
use crate::store::Store;

/// What compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before; 0 for a store that is in no file.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
}

impl Store {
    /// Makes the file anew without its free pages. Needs room for the new file beside the old one.
    ///
    /// # Errors
    /// The disk's faults; the store stays as it was then.
    pub fn compact(&mut self) -> Result<Compacted, StorageError> {
        let before = self.file_bytes()?;
        self.scrub()?;
        let after = self.file_bytes()?;
        Ok(Compacted { before, after })
    }

    fn file_bytes(&self) -> Result<u64, StorageError> {
        let snapshot = self.reader().snapshot()?;
        let Some(file) = &snapshot.catalog().file else {
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
