//! Records that were set aside: each is logged and told once, however often the server sends it.
//!
//! Owns [`Known`]. What an earlier process has logged is read from the log when the first broken record arrives, so that
//! most stores never look.
//!
//! Bounds: [`KNOWN_MAX`] records are remembered, and [`LOOK_BACK_MAX`] entries are looked at, one at a time. A server with
//! more broken records than that, or a log with more entries since, has them logged again.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use landfall_core::{Quarantined, Seq};
use landfall_storage::{Reader, StorageError};

/// Records that are remembered: many more than anybody mends by hand, at 8 bytes each.
const KNOWN_MAX: usize = 16_384;

/// Entries of the log that are looked at, newest first: a fraction of a second, once in the life of a process.
const LOOK_BACK_MAX: u64 = 100_000;

/// Records that were set aside, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: BTreeSet<u64>,
    /// Whether the log was read.
    is_complete: bool,
}

impl Known {
    /// Of a store without a past.
    pub(super) fn of_nothing() -> Self {
        Self {
            seen: BTreeSet::new(),
            is_complete: true,
        }
    }

    /// Remembers what the log says was set aside before, unless that was done already.
    ///
    /// # Errors
    /// The disk's faults; what could not be read is looked for again the next time, unless the log is damaged.
    pub(super) fn recall(&mut self, reader: &Reader) -> Result<(), StorageError> {
        if self.is_complete {
            return Ok(());
        }
        let snapshot = reader.snapshot()?;
        let (first, newest) = snapshot.log_bounds()?;
        let oldest = Seq(first.0.max(newest.0.saturating_sub(LOOK_BACK_MAX)));
        let read = snapshot.quarantined(oldest, |bad| {
            self.seen.insert(fingerprint(&bad));
            if self.seen.len() < KNOWN_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match read {
            // It would be as damaged the next time, and looking again costs as much each time.
            Err(StorageError::Corrupt { .. }) => self.is_complete = true,
            read => {
                read?;
                self.is_complete = true;
            }
        }
        Ok(())
    }

    /// Whether this record, broken in this way, was not set aside before.
    pub(super) fn is_news(&mut self, bad: &Quarantined) -> bool {
        if self.seen.len() >= KNOWN_MAX {
            self.seen.clear();
        }
        self.seen.insert(fingerprint(bad))
    }
}

fn fingerprint(bad: &Quarantined) -> u64 {
    // The keys of this hasher are fixed, so the same run remembers the same.
    let mut hasher = DefaultHasher::new();
    (&bad.model, &bad.reason, &bad.json).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_news_once_and_again_when_it_is_broken_otherwise() {
        let bad = |json: &str| Quarantined {
            model: "Post".into(),
            reason: "no title".into(),
            json: json.into(),
        };
        let mut known = Known::default();
        assert!(known.is_news(&bad("{}")) && !known.is_news(&bad("{}")) && known.is_news(&bad("[]")));
    }
}
