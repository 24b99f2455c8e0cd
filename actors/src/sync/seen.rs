//! What a full sync has met so far, so that what it has not met can leave the store.
//!
//! Owns [`Seen`]. Lives in memory only: a full sync that was begun by an earlier process ends without removing anything
//! and another one follows it. Pure.
//!
//! Identifiers are kept as fingerprints of 64 bits. Should two of them share one, a record stays that might have left.
//!
//! Bound: [`SEEN_MAX`] records; a sync that meets more removes nothing, and the app is told.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use landfall_core::RecordId;
use landfall_wire::SyncPage;

use super::catalog::Answer;

/// Records of one sync that are remembered: about 64 MiB.
pub(super) const SEEN_MAX: usize = 4_000_000;

/// What a full sync of one model has met.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// `startedAt` of the sync; `None` before its first page.
    pub(super) started_at_ms: Option<i64>,
    met: BTreeSet<u64>,
    /// Items that it cannot put a name to; any record may be behind each.
    nameless: u64,
    /// Whether an item came along with an error.
    had_errors: bool,
    /// Whether it met more than is remembered, so that what is missing cannot be told.
    blind: bool,
}

impl Seen {
    /// Takes note of a page.
    pub(super) fn note(&mut self, answer: &Answer) {
        let SyncPage {
            items, bad, errors, ..
        } = &answer.page;
        if self.blind {
            return;
        }
        self.had_errors |= !errors.is_empty();
        self.nameless += bad.iter().filter(|bad| bad.id.is_none()).count() as u64;
        let unreadable = bad.iter().filter_map(|bad| bad.id.as_ref());
        for id in items.iter().map(|record| &record.id).chain(unreadable) {
            self.met.insert(fingerprint(id));
        }
        self.blind |= self.met.len() > SEEN_MAX;
        if self.blind {
            // Nobody will ask for what was met.
            self.met = BTreeSet::new();
        }
    }

    /// Whether it can tell what it has met.
    pub(super) fn is_whole(&self) -> bool {
        !self.blind
    }

    /// How many items it cannot put a name to; `None` if what it has not met is certainly not there.
    pub(super) fn nameless(&self) -> Option<u64> {
        (self.nameless > 0 || self.had_errors).then_some(self.nameless)
    }

    /// Whether it has met a record.
    pub(super) fn has(&self, id: &RecordId) -> bool {
        self.met.contains(&fingerprint(id))
    }
}

fn fingerprint(id: &RecordId) -> u64 {
    // The keys of this hasher are fixed, so every run computes the same.
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
