//! Ordered byte tables for crates that keep rows of their own form, such as the embedded backend.
//!
//! Owns the facade over redb: tables by name, snapshots, durable transactions, reopening after a fault of the disk.
//! Does not know what keys and values mean; whoever names a [`KvTable`] documents its form in one place.
//!
//! # How a transaction gets to disk
//!
//! As in a store of a log (`commit.rs`), a journal lies in front of the database, in the same file (`disk/layout.rs`) and of the
//! same form (`journal.rs`). A transaction is
//!
//! 1. done to the database, which notes its number with it, and is not committed yet;
//! 2. appended to the journal as one frame, its puts and removes in their order, and synced; from here on no crash
//!    loses it;
//! 3. committed by the database in memory, which shows it to readers; then the caller is answered.
//!
//! Where the frame does not fit, because the journal is full or the frame is larger than it, the database commits on disk
//! instead, with all that gathered in memory since the last time: a checkpoint; and the journal begins again. Between two of
//! them the database may write changed pages out when its cache is full of them, so that what gathers takes no more memory than
//! the cache; nothing on disk leads to these pages before the checkpoint does.
//!
//! After a crash the database is as the last checkpoint left it and knows the number of the newest transaction that is in
//! it. What the journal holds behind that one is done to it again, in order, in one commit in memory. A store that was
//! closed in order has nothing there: the database commits on disk when it is closed.
//!
//! # When the disk fails
//!
//! Where the append or the commit fails, nobody knows whether the transaction is on disk. The caller is told so
//! ([`KvError::OutcomeUnknown`]), nothing more is written, and before the next transaction the file is opened again: what a failed
//! sync may have lost is written again and synced (`disk/faults.rs`), and the journal tells whether the transaction is
//! there. Until then readers see what was acknowledged, which the journal has on disk. They do so from the database as it is in
//! memory, unless it is the database's own part of the file that is in doubt; then they too have the file opened again first,
//! and fail as long as that fails.
//!
//! A store in memory has no journal, and neither has a file that was made before there was one, or by hand: a database alone. It
//! stays one, and its transactions are committed on disk by the database, one by one.
//!
//! # When the file is damaged
//!
//! Where the database panics at damage, the call fails with [`KvError::Corrupt`], and so does the transaction that it was part of; the
//! file is opened anew before the next. A panic of the caller's undoes the transaction and goes on.
//!
//! Invariants: 1. a transaction is on disk as a whole or not at all; 2. `write` returns `Ok` only once it is on disk;
//! 3. a snapshot sees one state, whatever is written meanwhile, and none that a crash could still take back; 4. keys are
//! visited in the order of their bytes; 5. one transaction runs at a time, and readers wait for nothing but the file being
//! opened again.

mod changes;
mod connection;
mod error;
mod range;
mod snapshot;
mod txn;

use std::io;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use connection::Connection;

use crate::disk::{RowsDisk, StorageBackend, database_in};
use crate::panics::contained;

pub use error::KvError;
pub use range::{KvRange, KvTable};
pub use snapshot::KvSnapshot;
pub use txn::KvTxn;

/// What a disk of the caller's has to do.
pub use redb::StorageBackend as DiskBackend;

/// A disk of the caller's: anything that reads, writes and syncs bytes.
pub type BoxedDisk = Box<dyn DiskBackend>;

/// Memory that a store on disk uses to cache pages, in bytes: enough for the inner pages of a million rows. Pages that are
/// changed and not on disk yet are among them, half of it at most.
pub const KV_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Name of the file inside the directory given to [`KvStore::open`].
const FILE_NAME: &str = "rows.redb";

/// Reading rows, from a snapshot or inside a transaction.
pub trait KvRead {
    /// The value at a key.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Calls `visit` with each key and value of the range until it breaks; `visit` may read but not write.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError>;

    /// The first `limit` rows of a range.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn rows(&self, table: KvTable, range: &KvRange, limit: usize) -> Result<Vec<KvRow>, KvError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.scan(table, range, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(rows)
    }
}

/// What a scan calls with each key and value.
pub type KvVisit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type KvRow = (Vec<u8>, Vec<u8>);

/// Ordered byte tables in one file.
///
/// Shared between threads by reference: any number of snapshots beside one writer, which the others wait for.
pub struct KvStore {
    connection: Connection,
    /// Held for a whole transaction.
    writer: Mutex<()>,
}

impl KvStore {
    /// Opens the store in a directory, and makes both if they are missing.
    ///
    /// # Errors
    /// [`KvError::Locked`] if another process has it open; otherwise what the disk says.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, KvError> {
        Self::connect(RowsDisk::File(dir.as_ref().join(FILE_NAME)))
    }

    /// A store that lives in memory and is gone with the value.
    ///
    /// # Errors
    /// [`KvError`] if the database refuses, which memory gives no cause for.
    pub fn in_memory() -> Result<Self, KvError> {
        Self::connect(RowsDisk::Memory)
    }

    /// A store over a disk of the caller's, such as a simulated one.
    ///
    /// It cannot be opened again after a fault of the disk; use [`KvStore::with_opener`] where that matters.
    ///
    /// # Errors
    /// What the disk says.
    pub fn with_backend(disk: BoxedDisk) -> Result<Self, KvError> {
        Self::connect(RowsDisk::Handed(Mutex::new(Some(disk))))
    }

    /// A store over a disk of the caller's, which is asked for the disk again after each fault.
    ///
    /// # Errors
    /// What the disk says.
    pub fn with_opener(
        opener: impl Fn() -> io::Result<BoxedDisk> + Send + Sync + 'static,
    ) -> Result<Self, KvError> {
        Self::connect(RowsDisk::Opener(Box::new(opener)))
    }

    fn connect(disk: RowsDisk) -> Result<Self, KvError> {
        Self::with_cache(disk, KV_CACHE_BYTES)
    }

    fn with_cache(disk: RowsDisk, cache_bytes: usize) -> Result<Self, KvError> {
        Ok(Self {
            connection: Connection::open(disk, cache_bytes)?,
            writer: Mutex::default(),
        })
    }

    /// Takes a snapshot of what is committed now.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails. A snapshot that was taken before the disk failed may fail as well; a new one does
    /// not, once the disk is well.
    pub fn read(&self) -> Result<KvSnapshot, KvError> {
        Ok(KvSnapshot::new(self.connection.begin_read()?))
    }

    /// Runs `work` in one transaction: on disk when this returns if `work` returns `Ok`, undone as a whole if `Err`.
    ///
    /// After a fault of the disk the database is opened again before the next write. If `work` panics, the transaction is undone and the
    /// panic goes on. If `work` itself calls this, it waits
    /// for itself for ever; it may call [`KvStore::read`], which does not show the transaction.
    ///
    /// # Errors
    /// What `work` returns; [`KvError::OutcomeUnknown`] if the commit itself failed, since it may be on disk all the
    /// same; otherwise what the disk says, and then nothing of the transaction is on disk.
    pub fn write<T, E: From<KvError>>(
        &self,
        work: impl FnOnce(&mut KvTxn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.connection.begin_write().map_err(KvError::from)?;
        let mut txn = KvTxn::new(begun.transaction(), self.connection.frame(&begun));
        // Undone before it goes on: the database, if it were dropped by a panic, would no longer note its free pages, and a kill would
        // cost a repair.
        let outcome = contained(|| work(&mut txn));
        let done = txn.finish();
        match outcome {
            Ok(Ok(value)) => {
                self.connection.commit(begun, done)?;
                Ok(value)
            }
            Ok(Err(error)) => {
                self.connection.undo(begun, done.broke.is_some());
                Err(error)
            }
            Err(panic) => {
                self.connection.undo(begun, done.broke.is_some());
                resume_unwind(panic)
            }
        }
    }
}

/// The database inside the file of a store in a directory that is closed, for tools that look at its tables.
///
/// # Errors
/// [`KvError::Foreign`] if there are no rows, [`KvError::TooNew`], [`KvError::Corrupt`], and the disk's faults.
pub fn database_of(directory: &Path) -> Result<impl StorageBackend + use<>, KvError> {
    Ok(database_in(&directory.join(FILE_NAME))?)
}

#[cfg(test)]
mod tests;
