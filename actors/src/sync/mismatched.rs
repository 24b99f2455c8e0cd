//! Which parked changes are tried again because their model syncs now.
//!
//! Owns [`Mismatched`]. A change whose form the server refused was checked against the app's schema before, so the two
//! schemas differ, and the app can do nothing about it but wait for the server's. That a sync of the model goes
//! through afterwards is the sign that the server has caught up. What was refused for reasons of its own record is no
//! business of this.
//!
//! Bounds: a change is tried [`TRIES_PER_RUN`] times in a run, and [`LOOKED_THROUGH_MAX`] changes are looked through.

use std::collections::{BTreeMap, BTreeSet};

use landfall_core::{ModelName, Seq};
use landfall_storage::{Snapshot, StorageError};

/// How often a change is tried again between a start and the next one. A sync shows that a model can be read, not that
/// it can be written, so a try may fail; each that fails is reported.
pub(super) const TRIES_PER_RUN: u32 = 3;

/// Waiting changes that are looked through, oldest first. What was refused stood in the outbox's window when it was
/// sent, so it is at the front.
const LOOKED_THROUGH_MAX: usize = 10_000;

/// Changes that are read at a time.
const PAGE: usize = 1_000;

/// What syncs, and what was tried for that reason.
#[derive(Debug, Default)]
pub(super) struct Mismatched {
    /// Models that were synced since it was last looked.
    fitting: BTreeSet<ModelName>,
    /// How often each change was to be tried in this run. No more than are looked through at a time.
    tries: BTreeMap<Seq, u32>,
}

impl Mismatched {
    /// A sync of the model went through.
    pub(super) fn fits(&mut self, model: ModelName) {
        self.fitting.insert(model);
    }

    /// Whether there is a reason to look.
    pub(super) fn is_due(&self) -> bool {
        !self.fitting.is_empty()
    }

    /// What is to be tried again now, oldest first.
    ///
    /// # Errors
    /// The disk's faults, but for damage within a change; then the reason to look stands.
    pub(super) fn take(&mut self, snapshot: &Snapshot) -> Result<Vec<Seq>, StorageError> {
        let (mut parked, mut after, mut seen) = (Vec::new(), Seq::ZERO, 0);
        while seen < LOOKED_THROUGH_MAX {
            let page = snapshot.pending_each(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            let is_last = page.len() < PAGE;
            (after, seen) = (*last, seen + page.len());
            // One that cannot be read holds up no other; the outbox has told of it.
            let readable = page.into_iter().filter_map(|(_, read)| read.ok());
            let waits = readable.filter(|mutation| {
                mutation.awaits_schema().is_some() && self.fitting.contains(mutation.model())
            });
            parked.extend(waits.map(|mutation| mutation.seq));
            if is_last {
                break;
            }
        }
        self.fitting.clear();
        parked.retain(|seq| {
            let tries = self.tries.entry(*seq).or_default();
            *tries += 1;
            *tries <= TRIES_PER_RUN
        });
        while self.tries.len() > LOOKED_THROUGH_MAX {
            self.tries.pop_first();
        }
        Ok(parked)
    }
}
