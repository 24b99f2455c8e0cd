//! The commit path: how a transaction gets to disk.
//!
//! Owns the order of things. A commit is:
//!
//! 1. the entries are appended to the journal and synced; from here on no crash loses them;
//! 2. what they change is taken out of the row cache, and the database commits in memory, which shows them to readers;
//! 3. the caller is answered.
//!
//! When the journal is full, the database commits on disk instead, with everything since the last time: a checkpoint.
//! An error anywhere leaves open whether the entries are on disk; the store is then read anew (`store.rs`) to know.
//!
//! Invariant: the journal begins again only after the database has on disk what its frames hold.

use std::sync::Arc;

use redb::{Durability, WriteTransaction};

use crate::catalog::Catalog;
use crate::disk::Opened;
use crate::error::StorageError;
use crate::journal::Journal;
use crate::row_cache::RowCache;
use crate::store::LogHead;
use crate::txn::{Appended, Txn};

/// What became of a transaction.
pub(crate) enum Tried<R> {
    /// It is on disk.
    Committed { value: R, planned: LogHead },
    /// It is not on disk: `work` failed, or appended nothing.
    Unwritten(Result<R, StorageError>),
    /// Its commit failed, which leaves open whether it is on disk.
    Unsure {
        value: R,
        planned: LogHead,
        error: StorageError,
    },
}

/// Runs one transaction and commits what it appended.
pub(crate) fn attempt<R>(
    transaction: WriteTransaction,
    opened: &Opened,
    cache: &RowCache,
    catalog: &Arc<Catalog>,
    head: LogHead,
    now_ms: i64,
    work: impl FnOnce(&mut Txn<'_>) -> Result<R, StorageError>,
) -> Tried<R> {
    let worked = Txn::open(&transaction, catalog, head, now_ms).and_then(|mut txn| {
        let value = work(&mut txn)?;
        Ok((value, txn.finish()?))
    });
    match worked {
        // Dropping the transaction undoes it. If nothing was appended there is nothing to wait for the disk for.
        Err(error) => Tried::Unwritten(Err(error)),
        Ok((value, appended)) if appended.head == head => Tried::Unwritten(Ok(value)),
        Ok((value, appended)) => {
            let planned = appended.head;
            match commit(transaction, &mut opened.journal(), cache, appended) {
                Ok(()) => Tried::Committed { value, planned },
                Err(error) => Tried::Unsure {
                    value,
                    planned,
                    error,
                },
            }
        }
    }
}

/// Brings what was appended to disk, then lets readers see it. After an error both are open.
fn commit(
    mut transaction: WriteTransaction,
    journal: &mut Journal,
    cache: &RowCache,
    mut appended: Appended,
) -> Result<(), StorageError> {
    let journaled = !appended.cleared && journal.has_room_for(&appended.frame);
    if journaled {
        journal.append(&mut appended.frame)?;
        transaction.set_durability(Durability::None)?;
    }
    // As late as can be, since from here until the commit is visible nothing is added to the cache.
    cache.begin(&appended.touched);
    if journaled {
        transaction.commit()?;
    } else {
        checkpoint(transaction, journal)?;
    }
    cache.show();
    if appended.cleared {
        erase(journal);
    }
    Ok(())
}

/// Commits on disk, with all that was committed in memory before, and lets the journal begin again.
pub(crate) fn checkpoint(
    mut transaction: WriteTransaction,
    journal: &mut Journal,
) -> Result<(), StorageError> {
    // A database that knows its free pages opens at once after a kill; it would read the whole file otherwise.
    transaction.set_quick_repair(journal.exists());
    transaction.commit()?;
    journal.restart();
    Ok(())
}

/// Overwrites what the journal holds of the past.
pub(crate) fn erase(journal: &mut Journal) {
    if let Err(error) = journal.erase() {
        // The store does not depend on it: the database has on disk that its log begins after these frames.
        tracing::warn!(%error, "the journal could not be overwritten; it is tried again when the store is opened");
    }
}
