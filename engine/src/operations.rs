//! Running a store: backups, and what it consists of.
//!
//! Owns the typed calls; the copies themselves are `landfall-storage`'s.

use std::path::Path;

use landfall_actors::StorageMessage;
use landfall_storage::{CopyProgress, Retention, Statistics, Trimmed};

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

    /// Takes away the entries of the log that a policy does not keep. What they had come to becomes the base that the log
    /// goes on from, so records, changes that wait and everything since then are as before; states of before then can
    /// no longer be looked at. See [`retention`](crate::DataStoreBuilder::retention) for doing so at each opening.
    ///
    /// The log is verified first. Writes wait meanwhile, about as long as reading the log takes; reads do not.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).local_only().open().await?;
    /// # for name in ["reef", "bay", "cove"] { store.save(Site::builder().name(name).build()?).await?; }
    /// use landfall::{Retention, Seq};
    ///
    /// let trimmed = store.trim(Retention::everything().days(90).entries(2)).await?;
    /// assert_eq!(store.statistics()?.log_start, trimmed.start);
    /// assert!(store.history()?.entry(Seq(1)).is_err());
    /// # assert_eq!(store.count(landfall::TypedPredicate::<Site>::all())?, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] if the log does not make what the store holds, and nothing is trimmed then; for faults of the
    /// disk. [`Error::Closed`].
    pub async fn trim(&self, retention: Retention) -> Result<Trimmed, Error> {
        let storage = &self.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::Trim { retention, reply })
            .await??)
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
