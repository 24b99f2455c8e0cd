//! What was read and written since the start.
//!
//! Owns the counters. They count what was done, also by transactions that failed in the end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::write::Outcome;
use crate::conflict::WriteKind;

/// Counters that any thread may raise.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    read: AtomicU64,
    written: AtomicU64,
    merged: AtomicU64,
    handled: AtomicU64,
    refused: AtomicU64,
}

/// What was read and written since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowTally {
    /// Rows that were evaluated.
    pub(crate) read: u64,
    /// Records that were written.
    pub(crate) written: u64,
    /// Writes on an old version that were merged.
    pub(crate) merged: u64,
    /// Conflicts that a handler decided otherwise than by refusing.
    pub(crate) handled: u64,
    /// Writes on an old version that were refused.
    pub(crate) refused: u64,
}

impl Tally {
    pub(super) fn read(&self, rows: usize) {
        self.read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts a write by what became of it.
    pub(crate) fn wrote(&self, write: WriteKind, outcome: &Outcome) {
        let stale = |stored: u64| matches!(write, WriteKind::Update(version) if version != stored);
        match outcome {
            Outcome::Written(item) => {
                self.written.fetch_add(1, Ordering::Relaxed);
                if write == WriteKind::Settle {
                    self.handled.fetch_add(1, Ordering::Relaxed);
                } else if stale(item.version.saturating_sub(1)) {
                    self.merged.fetch_add(1, Ordering::Relaxed);
                }
            }
            Outcome::Kept(_) => {
                self.merged.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Conflict(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    pub(crate) fn now(&self) -> RowTally {
        RowTally {
            read: self.read.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            merged: self.merged.load(Ordering::Relaxed),
            handled: self.handled.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
