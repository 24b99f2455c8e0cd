//! Running a store: backups, and what it consists of.
//!
//! Owns the typed calls; the copies themselves are `landfall-storage`'s.

use std::path::Path;

use landfall_storage::{CopyProgress, Statistics};

use crate::datastore::DataStore;
use crate::error::Error;

impl DataStore {
    /// Copies the store as it is now into a directory, while it goes on being used; returns the number of rows copied.
    ///
    /// The copy is a store of its own: open it where it is, or put it back with [`restore`](crate::restore). It holds
    /// everything, also the log and what waits for the server. So do not sync from a store and from its copy: changes
    /// that wait in both would be sent twice.
    ///
    /// Blocks the calling thread for as long as copying takes.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = std::env::temp_dir().join(format!("landfall-backup-doc-{}", std::process::id()));
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # store.save(Site::builder().name("reef").build()?).await?;
    /// store.backup(home.join("monday"), |at| println!("{} of {}", at.done, at.total))?;
    /// landfall::restore(home.join("monday"), home.join("again"), |_| ())?;
    ///
    /// let again = landfall::DataStore::builder(schema()).directory(home.join("again")).open().await?;
    /// # assert_eq!(again.statistics()?.records[0].1, 1);
    /// # again.close().await;
    /// # std::fs::remove_dir_all(&home)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory has a store already, and for faults of the disks.
    pub fn backup(
        &self,
        directory: impl AsRef<Path>,
        progress: impl FnMut(CopyProgress),
    ) -> Result<u64, Error> {
        Ok(self.snapshot()?.backup(directory.as_ref(), progress)?)
    }

    /// What the store consists of: records of each model, what waits, how long the log is. Takes as long as a scan.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn statistics(&self) -> Result<Statistics, Error> {
        Ok(self.snapshot()?.statistics()?)
    }
}

/// Puts a backup into a directory that has no store yet; returns the number of bytes copied. The backup stays.
///
/// # Errors
/// [`Error::Storage`] if there is a store already, if the backup is none or is open, and for faults of the disks.
pub fn restore(
    backup: impl AsRef<Path>,
    directory: impl AsRef<Path>,
    progress: impl FnMut(CopyProgress),
) -> Result<u64, Error> {
    Ok(landfall_storage::restore(
        backup.as_ref(),
        directory.as_ref(),
        progress,
    )?)
}
