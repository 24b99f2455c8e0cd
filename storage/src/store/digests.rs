//! Digests of blocks of the log that have become full, made once a checkpoint is over.
//!
//! Owns [`Store::make_digests`]. They are a commit of their own, in memory, which the next checkpoint brings to disk: what the app
//! has saved is acknowledged whatever becomes of them, and what a kill takes away is made again.

use std::sync::Arc;

use super::{Store, closed};
use crate::commit::commit_in_memory;
use crate::digest::{Due, full_blocks};
use crate::error::StorageError;
use crate::panics::caught;

/// Stands for a block that no log reaches: no digest is made any more.
const GIVEN_UP: u64 = u64::MAX;

impl Store {
    /// Makes the digests that are due. After a fault of the disk no more are made as long as the store is open, since who saves
    /// something must not pay for it again and again.
    pub(super) fn make_digests(&mut self) {
        if full_blocks(self.head.seq) <= self.digested {
            return;
        }
        self.digested = match self.try_to_make_digests() {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "digests of the log cannot be made; questions about it take longer");
                self.recover_quietly();
                GIVEN_UP
            }
        };
    }

    /// Returns the first block that has none yet.
    fn try_to_make_digests(&mut self) -> Result<u64, StorageError> {
        let shared = Arc::clone(&self.shared);
        let due = {
            let guard = shared.database();
            Due::find(&*guard.as_ref().ok_or_else(closed)?.database)?
        };
        let next = due.next();
        if due.is_nothing() {
            return Ok(next);
        }
        let (guard, transaction) = self.begin(&shared)?;
        // No row changes, so what the row cache keeps is as true after this commit as before it.
        let written = caught(move || {
            due.write(&transaction)?;
            commit_in_memory(transaction)
        });
        drop(guard);
        match written {
            Ok(Ok(())) => Ok(next),
            Ok(Err(error)) => {
                self.distrust();
                Err(error)
            }
            Err(said) => Err(self.broke_off(&said)),
        }
    }
}
