//! The part of a sorted result that a query shows, kept up to date in O(log n) for each changed record.
//!
//! Owns [`Window`]: the records before the page, on it and after it, each in order. A record that comes or goes moves
//! at most one other across each border, so a change costs a few steps down a tree, however large the result is.
//!
//! Invariants: 1. every record before the page sorts before those on it, and these before those after it; 2. the page
//! begins after as many records as the query skips, and is full if there are enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{Page, Rank, RecordId};

/// A sorted result with its page.
#[derive(Debug)]
pub(super) struct Window<T> {
    skip: usize,
    limit: usize,
    ranks: BTreeMap<RecordId, Arc<Rank>>,
    before: BTreeMap<Arc<Rank>, T>,
    shown: BTreeMap<Arc<Rank>, T>,
    after: BTreeMap<Arc<Rank>, T>,
}

impl<T> Window<T> {
    pub(super) fn new(page: Page) -> Self {
        Self {
            skip: page.offset(),
            limit: page.limit.unwrap_or(usize::MAX),
            ranks: BTreeMap::new(),
            before: BTreeMap::new(),
            shown: BTreeMap::new(),
            after: BTreeMap::new(),
        }
    }

    /// Puts a record in its place, from wherever it was. Returns whether the page changed.
    pub(super) fn put(&mut self, rank: Rank, item: T) -> bool {
        let mut changed = self.take_out(rank.id());
        let rank = Arc::new(rank);
        self.ranks.insert(rank.id().clone(), Arc::clone(&rank));
        let is_below =
            |part: &BTreeMap<Arc<Rank>, T>| part.last_key_value().is_some_and(|(last, _)| rank < *last);
        if is_below(&self.before) {
            self.before.insert(rank, item);
        } else if is_below(&self.shown) {
            self.shown.insert(rank, item);
            changed = true;
        } else {
            self.after.insert(rank, item);
        }
        changed | self.level()
    }

    /// Takes a record out. Returns whether the page changed.
    pub(super) fn remove(&mut self, id: &RecordId) -> bool {
        self.take_out(id) | self.level()
    }

    /// The page, in order.
    pub(super) fn page(&self) -> impl Iterator<Item = &T> {
        self.shown.values()
    }

    /// Number of records of the whole result.
    pub(super) fn total(&self) -> usize {
        self.ranks.len()
    }

    /// Takes a record out and leaves the borders as they are. Returns whether it was on the page.
    fn take_out(&mut self, id: &RecordId) -> bool {
        let Some(rank) = self.ranks.remove(id) else {
            return false;
        };
        if self.shown.remove(&rank).is_some() {
            return true;
        }
        if self.before.remove(&rank).is_none() {
            self.after.remove(&rank);
        }
        false
    }

    /// Moves records across the borders until these are where they belong. Returns whether the page changed.
    fn level(&mut self) -> bool {
        let mut changed = false;
        while self.before.len() > self.skip {
            changed |= shift(self.before.pop_last(), &mut self.shown);
        }
        while self.before.len() < self.skip {
            let first = match self.shown.pop_first() {
                Some(first) => {
                    changed = true;
                    Some(first)
                }
                None => self.after.pop_first(),
            };
            if !shift(first, &mut self.before) {
                break;
            }
        }
        while self.shown.len() > self.limit {
            changed |= shift(self.shown.pop_last(), &mut self.after);
        }
        while self.shown.len() < self.limit && shift(self.after.pop_first(), &mut self.shown) {
            changed = true;
        }
        changed
    }
}

fn shift<T>(item: Option<(Arc<Rank>, T)>, to: &mut BTreeMap<Arc<Rank>, T>) -> bool {
    match item {
        Some((rank, item)) => {
            to.insert(rank, item);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_core::Direction;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn rank(id: u8, value: u8, direction: Direction) -> Rank {
        Rank::new(
            vec![(i64::from(value).into(), direction)],
            RecordId::text(format!("r{id:02}")),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
            ..ProptestConfig::default()
        })]

        /// After every change the page is that of everything sorted anew, and a change of the page is told.
        #[test]
        fn the_page_is_that_of_everything_sorted_anew(
            changes in vec((0..20_u8, option::weighted(0.7, 0..8_u8)), 0..120),
            limit in option::of(0..6_usize),
            number in 0..4_usize,
            descending in any::<bool>(),
        ) {
            let direction = if descending { Direction::Descending } else { Direction::Ascending };
            let page = Page { limit, page: number };
            let mut window = Window::new(page);
            let mut all: BTreeMap<u8, (u8, usize)> = BTreeMap::new();
            let mut shown: Vec<(u8, usize)> = Vec::new();
            for (step, (id, value)) in changes.into_iter().enumerate() {
                let told = match value {
                    Some(value) => {
                        all.insert(id, (value, step));
                        window.put(rank(id, value, direction), (id, step))
                    }
                    None => {
                        all.remove(&id);
                        window.remove(rank(id, 0, direction).id())
                    }
                };
                let mut sorted: Vec<_> = all.iter().collect();
                sorted.sort_by_key(|(id, (value, _))| rank(**id, *value, direction));
                let expected: Vec<(u8, usize)> = sorted
                    .into_iter()
                    .skip(page.offset())
                    .take(limit.unwrap_or(usize::MAX))
                    .map(|(id, (_, step))| (*id, *step))
                    .collect();
                prop_assert_eq!(window.page().copied().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(window.total(), all.len());
                prop_assert!(told || expected == shown, "a change of the page was not told");
                shown = expected;
            }
        }
    }

    #[test]
    fn what_happens_behind_the_page_is_not_told() {
        let mut window = Window::new(Page::first(2));
        for id in 0..4 {
            window.put(rank(id, id, Direction::Ascending), ());
        }
        assert!(!window.put(rank(9, 9, Direction::Ascending), ()));
        assert!(!window.remove(rank(3, 0, Direction::Ascending).id()));
        assert!(window.remove(rank(1, 0, Direction::Ascending).id()));
    }
}
