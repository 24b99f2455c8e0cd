//! Records that were set aside: each is logged and told once, however often the server sends it.
//!
//! Owns [`Known`]. It lives as long as the store is open; after that a record is logged once more.
//!
//! Bound: [`KNOWN_MAX`] records are remembered. A server with more broken ones than that has them logged again.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use landfall_core::Quarantined;

/// Records that are remembered: many more than anybody mends by hand, at 8 bytes each.
const KNOWN_MAX: usize = 16_384;

/// Records that were set aside since the store was opened, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeSet<u64>);

impl Known {
    /// Whether this record, broken in this way, was not set aside before.
    pub(super) fn is_news(&mut self, bad: &Quarantined) -> bool {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        // The keys of this hasher are fixed, so the same run remembers the same.
        let mut hasher = DefaultHasher::new();
        (&bad.model, &bad.reason, &bad.json).hash(&mut hasher);
        self.0.insert(hasher.finish())
    }
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
