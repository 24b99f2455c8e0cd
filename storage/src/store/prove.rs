//! Verifying a store beside its writer, for whoever is about to trim the log.
//!
//! Owns [`Proof`]. Verifying takes as long as reading the log, and only the trimming itself has to keep writes waiting.
//!
//! Invariant: a proof is of what was read while it was made, and nobody can keep one without holding the [`Proof`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_core::Seq;

use super::Reader;
use super::shared::Shared;
use crate::error::StorageError;
use crate::rebuild::verify_while;

/// That the log makes what the store holds, as [`Reader::prove`] has just found. As long as it is held, [`Store::trim`](super::Store::trim) takes
/// entries up to there without verifying them again.
#[derive(Debug)]
#[must_use = "what was proven is forgotten when this is dropped"]
pub struct Proof {
    shared: Arc<Shared>,
}

impl Drop for Proof {
    fn drop(&mut self) {
        self.shared.proven.store(0, Ordering::Release);
    }
}

impl Reader {
    /// [Verifies](crate::verify) the store as it is now, on the calling thread, beside whoever reads and writes.
    ///
    /// `goes_on` is asked again and again whether to go on; once it says no, this fails with [`StorageError::Closed`].
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the log does not make what the store holds; [`StorageError::NoRoomToVerify`]; the disk's faults.
    pub fn prove(&self, goes_on: &dyn Fn() -> bool) -> Result<Proof, StorageError> {
        let snapshot = self.snapshot()?;
        let (_, newest): (Seq, Seq) = snapshot.log_bounds()?;
        let found = snapshot.said(|| verify_while(&snapshot, goes_on))?;
        unless_differs(&found.differences)?;
        self.shared.proven.store(newest.0, Ordering::Release);
        Ok(Proof {
            shared: Arc::clone(&self.shared),
        })
    }
}

/// Refuses to trim the log of a store that holds something else than the log makes.
pub(super) fn unless_differs(differences: &[String]) -> Result<(), StorageError> {
    match differences.first() {
        None => Ok(()),
        Some(difference) => Err(StorageError::corrupt(format!(
            "the log is not trimmed, since it does not make what the store holds: {difference}"
        ))),
    }
}
