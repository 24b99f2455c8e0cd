//! Running a store: backups, and what it consists of.
//!
//! Owns the typed calls; the copies themselves are `landfall-storage`'s.

use std::path::Path;

use landfall_actors::StorageMessage;
use landfall_storage::{Compacted, CopyProgress, Extent, Remade, Retention, Statistics, Trimmed};

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

    /// Makes everything but the log again, from the log: for a store that says that it is damaged, or of which
    /// [`verify`](landfall_storage::Snapshot::verify) says that it is not what its log says. Records, their versions, and
    /// what waits for the server are then what they were; the server is told nothing. Streams hear nothing of what was
    /// mended.
    ///
    /// A store in a directory gets a new file, which needs as much room as the old one's log and records. Writes wait
    /// meanwhile; reads go on, but one that began on the old file and still needs it when the new one takes its place fails
    /// with [`Error::Storage`], and may be tried again. For a store that does not even open there is
    /// [`rebuild`](crate::rebuild).
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Site::builder().name("reef").build()?).await?;
    /// let made = store.rebuild().await?;
    /// assert_eq!((made.records, made.pending), (1, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] with [`LogDamaged`](landfall_storage::StorageError::LogDamaged) if the log itself is damaged, and
    /// for faults of the disk; the store is as it was then, or, if only the new file's name could not be brought to disk,
    /// made again, and writes fail until it is there. [`Error::Closed`].
    pub async fn rebuild(&self) -> Result<Remade, Error> {
        let storage = &self.inner.handles.storage;
        Ok(storage.ask(|reply| StorageMessage::Rebuild { reply }).await??)
    }

    /// Gives back to the file system what trimming, deleting and clearing have left free in the store's file: makes the file
    /// anew with what the store holds. Needs room for the new file beside the old one. Writes wait meanwhile, about as long
    /// as copying takes; reads do not.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = std::env::temp_dir().join(format!("landfall-compact-doc-{}", std::process::id()));
    /// # let store = landfall::DataStore::builder(schema()).directory(&home).open().await?;
    /// # store.save(Site::builder().name("reef").build()?).await?;
    /// let compacted = store.compact().await?;
    /// println!("{} bytes of {} are left", compacted.after, compacted.before);
    /// # assert!(compacted.after <= compacted.before);
    /// # assert_eq!(store.count(landfall::TypedPredicate::<Site>::all())?, 1);
    /// # store.close().await;
    /// # std::fs::remove_dir_all(&home)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] for faults of the disk; the store is as it was then. [`Error::Closed`].
    pub async fn compact(&self) -> Result<Compacted, Error> {
        let storage = &self.inner.handles.storage;
        Ok(storage.ask(|reply| StorageMessage::Compact { reply }).await??)
    }

    /// What the store consists of: records of each model, what waits, how long the log is. Takes as long as a scan.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// let held = store.statistics()?;
    /// assert_eq!(held.records, [("Post".into(), 1)]);
    /// assert_eq!(held.pending, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn statistics(&self) -> Result<Statistics, Error> {
        Ok(self.snapshot()?.statistics()?)
    }
}

/// Puts a backup into a directory that has no store yet; returns the number of bytes copied. The backup stays.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// # let home = tempfile::tempdir()?;
/// store.backup(home.path().join("monday"), |_| ())?;
/// let bytes = landfall::restore(home.path().join("monday"), home.path().join("posts"), |_| ())?;
/// assert!(bytes > 0);
/// // There is a store now, and nothing takes its place.
/// assert!(landfall::restore(home.path().join("monday"), home.path().join("posts"), |_| ()).is_err());
/// # Ok(()) }
/// ```
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

/// Makes a store that nobody has open again from its log, also if it is too damaged to be opened; see
/// [`DataStore::rebuild`]. Takes the directory of a store, or its file; the schema is the store's own. Blocks the calling
/// thread.
///
/// With [`Extent::UpToDamage`] also if the log is damaged: the store is then as it was after the last entry before the
/// damage, and the old file is kept beside the new one, under the name that the answer tells. What the server acknowledged
/// after that is sent to it a second time, and meets the server's record as a conflict.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let home = tempfile::tempdir()?;
/// use landfall::{DataStore, Extent};
///
/// let store = DataStore::builder(schema()).directory(home.path()).open().await?;
/// store.save(Post::builder().title("Reef").build()?).await?;
/// store.close().await;
///
/// let made = landfall::rebuild(home.path(), Extent::Everything)?;
/// assert_eq!((made.records, made.pending), (1, 1));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Storage`] if there is no store, if it is open, if not all of its log is whole, and for faults of the disk;
/// nothing was changed then.
pub fn rebuild(store: impl AsRef<Path>, extent: Extent) -> Result<Remade, Error> {
    Ok(landfall_storage::remake(store.as_ref(), extent)?)
}
