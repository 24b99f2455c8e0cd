//! Trimming the log: what it told so far becomes the base that it goes on from.
//!
//! Owns [`Store::trim`]. What goes is `retention.rs`' to say.
//!
//! Invariant: nothing is trimmed that is not proven first: the log as it is must make the projections in force.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_core::Seq;

use super::prove::unless_differs;
use super::{Store, closed};
use crate::base;
use crate::commit::{checkpoint, erase};
use crate::error::StorageError;
use crate::panics::caught;
use crate::retention::Retention;

/// What trimming the log has done: the answer of `DataStore::trim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that went.
    pub entries: u64,
    /// The first entry that is left.
    pub start: Seq,
}

impl Store {
    /// Takes away the entries that a policy does not keep. What they had come to becomes the base of the log, so that
    /// projections can still be made again, and states since then still be looked at; what came before cannot.
    ///
    /// The log is [verified](crate::verify) first, which takes as long as reading it, unless somebody has just done that
    /// ([`Reader::prove`](crate::Reader::prove)). After a crash the log is trimmed or as it was. The file keeps its size; the room is used again.
    /// Entries of kinds that this version does not know stay, and so does everything after them.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the log does not make what the store holds, [`StorageError::NoRoomToVerify`]; then nothing is
    /// trimmed. Otherwise the
    /// disk's faults, after which the log is trimmed or as it was.
    pub fn trim(&mut self, retention: &Retention, now_ms: i64) -> Result<Trimmed, StorageError> {
        let snapshot = self.reader().snapshot()?;
        let (start, _) = snapshot.log_bounds()?;
        let Some(cut) = retention.cut(&snapshot, now_ms)? else {
            return Ok(Trimmed { entries: 0, start });
        };
        if cut.0 > self.shared.proven.load(Ordering::Acquire) {
            unless_differs(&snapshot.verify()?.differences)?;
        }
        drop(snapshot);
        let shared = Arc::clone(&self.shared);
        let in_file = |error: StorageError| error.in_written(shared.catalog.file.as_deref());
        let (guard, transaction) = self.begin(&shared).map_err(in_file)?;
        let opened = guard.as_ref().ok_or_else(closed)?;
        let catalog = &shared.catalog;
        let trimmed = caught(move || {
            let left = base::advance(&transaction, catalog, cut)?;
            // No row changes, so what the row cache keeps is as true after this commit as before it.
            let mut journal = opened.journal();
            checkpoint(transaction, &mut journal)?;
            // It begins before the log now, and would be erased at the next opening anyway.
            erase(&mut journal);
            Ok(left)
        });
        drop(guard);
        let trimmed = trimmed.unwrap_or_else(|said| Err(self.broke_off(&said)));
        self.recover_quietly();
        trimmed.map_err(in_file).map(|left| Trimmed {
            entries: left.0 - start.0,
            start: left,
        })
    }
}

#[cfg(test)]
mod tests;
