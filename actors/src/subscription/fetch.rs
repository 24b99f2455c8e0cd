//! Records that came incomplete and are asked for one by one.
//!
//! Owns which are wanted and which are asked for. Pure.
//!
//! Invariants: 1. at most [`ASKED_MAX`] are asked for at a time; 2. a record that changes again while it is asked for
//! is asked for once more; 3. at most [`WANTED_MAX`] wait, beyond which a sync is the shorter way.

use std::collections::BTreeSet;

use landfall_core::RecordId;

use super::catalog::ModelIndex;

/// Records that are asked for at the same time; they are exceptions and must not crowd out the outbox.
pub(super) const ASKED_MAX: usize = 4;

/// Records that wait to be asked for: beyond that, one page of a delta sync has them all.
pub(super) const WANTED_MAX: usize = 100;

/// A record by its identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) model: ModelIndex,
    pub(super) id: RecordId,
}

/// Too many records are wanted; this one is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Records that came incomplete.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    wanted: BTreeSet<Wanted>,
    asked: BTreeSet<Wanted>,
}

impl Fetches {
    /// A record is to be asked for.
    pub(super) fn want(&mut self, wanted: Wanted) -> Result<(), TooMany> {
        if self.wanted.len() >= WANTED_MAX && !self.wanted.contains(&wanted) {
            return Err(TooMany);
        }
        self.wanted.insert(wanted);
        Ok(())
    }

    /// The next record to ask for, if one may be.
    pub(super) fn ask(&mut self) -> Option<Wanted> {
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        let next = self
            .wanted
            .iter()
            .find(|wanted| !self.asked.contains(*wanted))?
            .clone();
        self.wanted.remove(&next);
        self.asked.insert(next.clone());
        Some(next)
    }

    /// The answer is here. Returns whether it was asked for.
    pub(super) fn answered(&mut self, wanted: &Wanted) -> bool {
        self.asked.remove(wanted)
    }

    /// Gives up what has not been asked for.
    pub(super) fn forget(&mut self) {
        self.wanted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::catalog::Catalog;
    use crate::subscription::testing::schema;

    fn wanted(id: &str) -> Wanted {
        let catalog = Catalog::new(&schema(&["Post"]), &crate::config::SyncSettings::default());
        Wanted {
            model: catalog.lines()[0][0].model,
            id: RecordId::text(id),
        }
    }

    #[test]
    fn a_record_that_changes_while_it_is_asked_for_is_asked_for_again() {
        let mut fetches = Fetches::default();
        fetches.want(wanted("a")).unwrap();
        assert_eq!(fetches.ask(), Some(wanted("a")));
        fetches.want(wanted("a")).unwrap();
        fetches.want(wanted("a")).unwrap();
        assert_eq!(fetches.ask(), None, "not twice at the same time");
        assert!(fetches.answered(&wanted("a")));
        assert_eq!(fetches.ask(), Some(wanted("a")));
        assert!(fetches.answered(&wanted("a")) && !fetches.answered(&wanted("a")));
        assert_eq!(fetches.ask(), None);
    }

    #[test]
    fn few_are_asked_for_and_not_many_wait() {
        let mut fetches = Fetches::default();
        for number in 0..WANTED_MAX {
            fetches.want(wanted(&number.to_string())).unwrap();
        }
        assert_eq!(fetches.want(wanted("one more")), Err(TooMany));
        assert_eq!(fetches.want(wanted("0")), Ok(()), "it waits already");
        let asked = std::iter::from_fn(|| fetches.ask()).count();
        assert_eq!(asked, ASKED_MAX);
        fetches.forget();
        assert!(fetches.answered(&wanted("0")));
        assert_eq!(fetches.ask(), None);
    }
}
