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
use crate::panics::{Held, Panic, caught, contained, unless_it_panics};
use crate::row_cache::RowCache;
use crate::store::LogHead;
use crate::txn::{Appended, Txn};

/// How often a transaction is begun before the disk counts as failing: a fault that a reader met earlier shows only
/// when a transaction begins, and must not fail a write that has not touched the disk yet.
pub(crate) const BEGIN_TRIES: usize = 3;

/// What became of a transaction.
pub(crate) enum Tried<R> {
    /// It is on disk; by a checkpoint, or in the journal.
    Committed {
        value: R,
        planned: LogHead,
        is_checkpoint: bool,
    },
    /// It is not on disk: `work` failed, or appended nothing.
    Unwritten(Result<R, StorageError>),
    /// It is not on disk: the database panicked in it, and said this.
    BrokenOff(String),
    /// Its commit failed, which leaves open whether it is on disk.
    Unsure {
        value: R,
        planned: LogHead,
        error: StorageError,
    },
    /// Somebody else than the database panicked: `work`, or what commits it, which leaves open whether it is on disk.
    Panicked {
        panic: Panic,
        planned: Option<LogHead>,
        /// Whether the file has to be opened anew.
        is_doubtful: bool,
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
    let mut txn = Txn::begin(&transaction, catalog, head, now_ms);
    // Nothing of the database is dropped while a panic unwinds: it has work to do then, and a second panic would end the process.
    let worked = contained(|| work(&mut txn));
    let broke = txn.broke();
    let worked = match worked {
        Ok(Ok(value)) => Ok(txn.finish().map(|appended| (value, appended))),
        Ok(Err(error)) => {
            drop(txn);
            Ok(Err(error))
        }
        Err(panic) => {
            drop(txn);
            Err(panic)
        }
    };
    let (value, appended) = match (worked, &broke) {
        (Ok(Ok((value, appended))), None) if appended.head != head => (value, appended),
        (unwritten, _) => {
            // Dropping the transaction undoes it. If nothing was appended there is nothing to wait for the disk for.
            let undone = caught(|| drop(transaction));
            return match (unwritten, broke.or(undone.err())) {
                (Err(panic), broke) => Tried::Panicked {
                    panic,
                    planned: None,
                    is_doubtful: broke.is_some(),
                },
                (Ok(_), Some(said)) => Tried::BrokenOff(said),
                (Ok(worked), None) => Tried::Unwritten(worked.map(|(value, _)| value)),
            };
        }
    };
    let planned = appended.head;
    match contained(|| commit(transaction, &mut opened.journal(), cache, appended)) {
        Ok(Ok(is_checkpoint)) => Tried::Committed {
            value,
            planned,
            is_checkpoint,
        },
        Ok(Err(error)) => Tried::Unsure {
            value,
            planned,
            error,
        },
        Err(panic) => Tried::Panicked {
            panic,
            planned: Some(planned),
            is_doubtful: true,
        },
    }
}

/// Brings what was appended to disk, then lets readers see it; returns whether by a checkpoint. After an error both are open.
fn commit(
    transaction: WriteTransaction,
    journal: &mut Journal,
    cache: &RowCache,
    mut appended: Appended,
) -> Result<bool, StorageError> {
    let transaction = Held::new(transaction);
    let journaled = !appended.cleared && journal.has_room_for(&appended.frame);
    if journaled {
        journal.append(&mut appended.frame)?;
    }
    // As late as can be, since from here until the commit is visible nothing is added to the cache.
    cache.begin(&appended.touched);
    if journaled {
        commit_in_memory(transaction.into_inner())?;
    } else {
        checkpoint(transaction.into_inner(), journal)?;
    }
    cache.show();
    if appended.cleared {
        erase(journal);
    }
    Ok(!journaled)
}

/// Commits on disk, with all that was committed in memory before, and lets the journal begin again.
pub(crate) fn checkpoint(
    mut transaction: WriteTransaction,
    journal: &mut Journal,
) -> Result<(), StorageError> {
    let knows_free_pages = journal.exists();
    unless_it_panics(move || {
        // A database that knows its free pages opens at once after a kill; it would read the whole file otherwise.
        transaction.set_quick_repair(knows_free_pages);
        Ok(transaction.commit()?)
    })?;
    journal.restart();
    Ok(())
}

/// Commits in memory, since the journal has on disk what there is to commit.
pub(crate) fn commit_in_memory(mut transaction: WriteTransaction) -> Result<(), StorageError> {
    unless_it_panics(move || {
        transaction.set_durability(Durability::None)?;
        Ok(transaction.commit()?)
    })
}

/// Overwrites what the journal holds of the past.
pub(crate) fn erase(journal: &mut Journal) {
    if let Err(error) = journal.erase() {
        // The store does not depend on it: the database has on disk that its log begins after these frames. After a clear in a
        // directory the file as a whole is still to be made anew, which is tried until it succeeds.
        tracing::warn!(%error, "the journal could not be overwritten; it is tried again at an opening that still finds it");
    }
}
