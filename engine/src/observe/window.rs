//! The part of a sorted result that a query shows, kept up to date in O(log n) for each changed record.
//!
//! Owns [`Window`]: the places of all records in order, and the records of the page with some on either side of it. A
//! record that comes or goes moves at most one other across each border, so a change costs a few steps down a tree,
//! however large the result is, and memory holds little of what is not shown.
//!
//! When more records have left the page than were kept beside it, the window is [incomplete](Window::is_incomplete): its
//! owner runs the query again and fills a new one ([`Filling`]). As many as the root of their number are kept, so that this
//! is seldom.
//!
//! Invariants: 1. far before, near before, shown, near after and far after are one order; 2. while it is complete, the page
//! begins after as many records as the query skips, and is full if there are enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_core::{Page, Rank, RecordId};

/// Fewest records that are kept on either side of a page.
const MARGIN_MIN: usize = 64;

/// Most of them: a window over a million records runs its query again after a thousand of its page have gone.
const MARGIN_MAX: usize = 4_096;

/// How many records are kept on either side of the page of a result of so many.
fn margin_of(total: usize) -> usize {
    total.isqrt().clamp(MARGIN_MIN, MARGIN_MAX)
}

/// A window that is being filled with a whole result, whose records come in any order.
///
/// A record that comes moves those behind it back by one, so one that is before the page by now may be on it in the end: all up
/// to the page's end are held until the last has come. One that is behind the page stays behind it.
#[derive(Debug)]
pub(super) struct Filling<T> {
    page: Page,
    ranks: BTreeMap<RecordId, Arc<Rank>>,
    near: BTreeMap<Arc<Rank>, T>,
    far_after: BTreeSet<Arc<Rank>>,
}

impl<T> Filling<T> {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            ranks: BTreeMap::new(),
            near: BTreeMap::new(),
            far_after: BTreeSet::new(),
        }
    }

    /// Takes in a record that has not come before.
    pub(super) fn put(&mut self, rank: Rank, item: T) {
        let rank = Arc::new(rank);
        self.ranks.insert(rank.id().clone(), Arc::clone(&rank));
        if self.far_after.first().is_some_and(|first| *first < rank) {
            self.far_after.insert(rank);
            return;
        }
        self.near.insert(rank, item);
        let end = self
            .page
            .offset()
            .saturating_add(self.page.limit.unwrap_or(usize::MAX));
        if self.near.len() > end.saturating_add(margin_of(self.ranks.len()))
            && let Some((rank, _)) = self.near.pop_last()
        {
            self.far_after.insert(rank);
        }
    }

    /// The window over all that has come.
    pub(super) fn finish(self) -> Window<T> {
        let mut window = Window {
            ranks: self.ranks,
            near_after: self.near,
            far_after: self.far_after,
            ..Window::empty(self.page)
        };
        window.level();
        window
    }
}

/// Most records that are remembered as news for those who ask for nothing else; after more all of the page is news. As many as
/// are kept beside a page at most.
const TOUCHED_MAX: usize = 4_096;

/// A sorted result with its page.
#[derive(Debug)]
pub(super) struct Window<T> {
    skip: usize,
    limit: usize,
    ranks: BTreeMap<RecordId, Arc<Rank>>,
    far_before: BTreeSet<Arc<Rank>>,
    near_before: BTreeMap<Arc<Rank>, T>,
    shown: BTreeMap<Arc<Rank>, T>,
    near_after: BTreeMap<Arc<Rank>, T>,
    far_after: BTreeSet<Arc<Rank>>,
    is_incomplete: bool,
    /// Records that came onto the page, left it or changed on it since this was last taken; `None` for all.
    touched: Option<BTreeSet<RecordId>>,
}

impl<T> Window<T> {
    fn empty(page: Page) -> Self {
        Self {
            skip: page.offset(),
            limit: page.limit.unwrap_or(usize::MAX),
            ranks: BTreeMap::new(),
            far_before: BTreeSet::new(),
            near_before: BTreeMap::new(),
            shown: BTreeMap::new(),
            near_after: BTreeMap::new(),
            far_after: BTreeSet::new(),
            is_incomplete: false,
            touched: None,
        }
    }

    /// Records that came onto the page, left it or changed on it since this was last asked for; `None` for all.
    pub(super) fn take_touched(&mut self) -> Option<BTreeSet<RecordId>> {
        self.touched.replace(BTreeSet::new())
    }

    /// All of the page is news again.
    pub(super) fn touch_all(&mut self) {
        self.touched = None;
    }

    /// Whether a record is on the page.
    pub(super) fn shows(&self, id: &RecordId) -> bool {
        self.ranks
            .get(id)
            .is_some_and(|rank| self.shown.contains_key(rank))
    }

    /// Those of some records that are on the page, in order, each with the one before it.
    pub(super) fn places_of(&self, ids: &BTreeSet<RecordId>) -> Vec<(Option<RecordId>, &T)> {
        let ranks: BTreeSet<&Arc<Rank>> = ids.iter().filter_map(|id| self.ranks.get(id)).collect();
        let place = |rank: &Arc<Rank>| {
            let item = self.shown.get(rank)?;
            let before = self.shown.range(..Arc::clone(rank)).next_back();
            Some((before.map(|(before, _)| before.id().clone()), item))
        };
        ranks.into_iter().filter_map(place).collect()
    }

    fn touch(&mut self, id: &RecordId) {
        if let Some(touched) = &mut self.touched {
            touched.insert(id.clone());
            if touched.len() > TOUCHED_MAX {
                self.touched = None;
            }
        }
    }

    /// Puts a record in its place, from wherever it was. Returns whether the page changed.
    pub(super) fn put(&mut self, rank: Rank, item: T) -> bool {
        let mut changed = self.take_out(rank.id());
        let rank = Arc::new(rank);
        self.ranks.insert(rank.id().clone(), Arc::clone(&rank));
        let is_below =
            |part: &BTreeMap<Arc<Rank>, T>| part.last_key_value().is_some_and(|(last, _)| rank < *last);
        if self.far_before.last().is_some_and(|last| rank < *last) {
            self.far_before.insert(rank);
        } else if is_below(&self.near_before) {
            self.near_before.insert(rank, item);
        } else if is_below(&self.shown) {
            self.touch(rank.id());
            self.shown.insert(rank, item);
            changed = true;
        } else if self.far_after.first().is_none_or(|first| rank < *first) {
            self.near_after.insert(rank, item);
        } else {
            self.far_after.insert(rank);
        }
        changed | self.level()
    }

    /// Takes a record out. Returns whether the page changed.
    pub(super) fn remove(&mut self, id: &RecordId) -> bool {
        self.take_out(id) | self.level()
    }

    /// The page, in order; what there is of it if the window is incomplete.
    pub(super) fn page(&self) -> impl Iterator<Item = &T> {
        self.shown.values()
    }

    /// Number of records of the whole result.
    pub(super) fn total(&self) -> usize {
        self.ranks.len()
    }

    /// Whether records of the page are not known.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Number of records that are held.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.near_before.len() + self.shown.len() + self.near_after.len()
    }

    /// Takes a record out and leaves the borders as they are. Returns whether it was on the page.
    fn take_out(&mut self, id: &RecordId) -> bool {
        let Some(rank) = self.ranks.remove(id) else {
            return false;
        };
        if self.shown.remove(&rank).is_some() {
            self.touch(id);
            return true;
        }
        let is_near = self.near_before.remove(&rank).is_some() || self.near_after.remove(&rank).is_some();
        if !is_near && !self.far_before.remove(&rank) {
            self.far_after.remove(&rank);
        }
        false
    }

    /// Moves records across the borders until these are where they belong. Returns whether the page changed.
    fn level(&mut self) -> bool {
        let mut changed = self.level_start() | self.level_end();
        let margin = margin_of(self.ranks.len());
        while self.near_before.len() > margin
            && let Some((rank, _)) = self.near_before.pop_first()
        {
            self.far_before.insert(rank);
        }
        while self.near_after.len() > margin
            && let Some((rank, _)) = self.near_after.pop_last()
        {
            self.far_after.insert(rank);
        }
        changed |= self.is_incomplete;
        changed
    }

    fn level_start(&mut self) -> bool {
        let mut changed = false;
        while self.before() > self.skip {
            match self.near_before.pop_last() {
                Some(last) => {
                    changed = true;
                    self.touch(last.0.id());
                    self.shown.insert(last.0, last.1);
                }
                None => return self.miss(),
            }
        }
        while self.before() < self.skip {
            if let Some(first) = self.shown.pop_first() {
                changed = true;
                self.touch(first.0.id());
                self.near_before.insert(first.0, first.1);
            } else if let Some(first) = self.near_after.pop_first() {
                self.near_before.insert(first.0, first.1);
            } else if self.far_after.is_empty() {
                break;
            } else {
                return self.miss();
            }
        }
        changed
    }

    fn level_end(&mut self) -> bool {
        let mut changed = false;
        while self.shown.len() > self.limit
            && let Some((rank, item)) = self.shown.pop_last()
        {
            changed = true;
            self.touch(rank.id());
            self.near_after.insert(rank, item);
        }
        while self.shown.len() < self.limit {
            if let Some(first) = self.near_after.pop_first() {
                changed = true;
                self.touch(first.0.id());
                self.shown.insert(first.0, first.1);
            } else if self.far_after.is_empty() {
                break;
            } else {
                return self.miss();
            }
        }
        changed
    }

    /// Number of records before the page.
    fn before(&self) -> usize {
        self.far_before.len() + self.near_before.len()
    }

    fn miss(&mut self) -> bool {
        self.is_incomplete = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_core::Direction;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    /// A window over records in the order in which they are given.
    fn filled<T>(page: Page, records: impl IntoIterator<Item = (Rank, T)>) -> Window<T> {
        let mut filling = Filling::new(page);
        for (rank, item) in records {
            filling.put(rank, item);
        }
        filling.finish()
    }

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
            let mut window = Window::empty(page);
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
                if window.is_incomplete() {
                    let again = |(id, (value, step)): (&u8, &(u8, usize))| {
                        (rank(*id, *value, direction), (*id, *step))
                    };
                    window = filled(page, all.iter().map(again));
                }
                prop_assert_eq!(window.page().copied().collect::<Vec<_>>(), expected.clone());
                prop_assert!(!window.is_incomplete());
                prop_assert_eq!(window.total(), all.len());
                prop_assert!(told || expected == shown, "a change of the page was not told");
                shown = expected;
            }
        }
    }

    fn wide(id: u32) -> Rank {
        let id = RecordId::text(format!("r{id:06}"));
        Rank::new(Vec::new(), id)
    }

    #[test]
    fn few_records_are_held_beside_the_page_and_their_end_is_told() {
        let page = Page {
            limit: Some(10),
            page: 500,
        };
        let fill = || filled(page, (0..10_000).map(|id| (wide(id), id)));
        let mut window = fill();
        assert_eq!(
            window.page().copied().collect::<Vec<_>>(),
            (5_000..5_010).collect::<Vec<_>>()
        );
        assert!(
            window.held() <= 10 + 2 * 100,
            "{} of 10,000 records are held",
            window.held()
        );
        // From behind the page and from before it, until nothing is left there.
        for edge in [5_010, 4_999] {
            let mut gone = 0;
            while !window.is_incomplete() {
                assert_eq!(window.page().count(), 10);
                let id = if edge == 5_010 { edge - 1 + gone } else { gone };
                assert!(window.remove(wide(id).id()), "the page has moved on");
                gone += 1;
            }
            assert!((64..=110).contains(&gone), "{gone} have gone");
            window = fill();
        }
    }

    /// The number of a run whose choices are made by chance; it is in every message of a failure.
    const SEED: u32 = 7;

    /// A simple generator: each call gives a number below another.
    fn chance(seed: u32) -> impl FnMut(u32) -> u32 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        }
    }

    fn shuffled<T>(mut all: Vec<T>, random: &mut impl FnMut(u32) -> u32) -> Vec<T> {
        for last in (1..all.len()).rev() {
            let other = random(u32::try_from(last + 1).expect("few"));
            all.swap(last, usize::try_from(other).expect("small"));
        }
        all
    }

    #[test]
    fn a_window_is_filled_in_any_order() {
        let mut random = chance(SEED);
        let ascending: Vec<u32> = (0..2_000).collect();
        let descending = ascending.iter().rev().copied().collect();
        let mixed = shuffled(ascending.clone(), &mut random);
        let pages = [
            (Some(10), 0),
            (Some(10), 10),
            (Some(100), 1),
            (Some(10), 100),
            (Some(150), 3),
            (Some(300), 6),
            (Some(300), 7),
            (Some(0), 3),
            (None, 0),
        ];
        for (name, order) in [("up", ascending), ("down", descending), ("mixed", mixed)] {
            for (limit, number) in pages {
                let page = Page { limit, page: number };
                let mut window = filled(page, order.iter().map(|id| (wide(*id), *id)));
                assert!(!window.is_incomplete(), "{name}, {page:?}, seed {SEED}");
                assert_eq!(window.total(), 2_000);
                let shown = limit.unwrap_or(2_000);
                let all = 0..2_000;
                let expected = all.skip(page.offset()).take(shown);
                assert!(
                    window.page().copied().eq(expected),
                    "{name}, {page:?}, seed {SEED}"
                );
                assert!(
                    window.held() <= shown.saturating_add(2 * MARGIN_MIN),
                    "{name}, {page:?}, seed {SEED}: {} are held",
                    window.held()
                );
                // It goes on from there: the first goes, and everything moves up by one.
                window.remove(wide(0).id());
                let expected = (1..2_000).skip(page.offset()).take(shown);
                assert!(
                    window.page().copied().eq(expected),
                    "{name}, {page:?}, seed {SEED}"
                );
            }
        }
    }

    #[test]
    fn windows_of_every_size_agree_with_everything_sorted_anew() {
        // So that the margins are crossed often: more records than the strategy above makes.
        let mut random = chance(SEED);
        for (limit, number) in [(5, 0), (5, 40), (1, 300), (200, 1)] {
            let page = Page {
                limit: Some(limit),
                page: number,
            };
            let (mut window, mut all) = (Window::empty(page), BTreeSet::new());
            for step in 0..6_000_u32 {
                // It grows to some hundreds, then shrinks from one side.
                let id = random(if step < 2_000 { 1_000 } else { 700 });
                if step < 2_000 || random(3) == 0 {
                    all.insert(id);
                    window.put(wide(id), id);
                } else {
                    let id = all.iter().copied().find(|other| *other >= id).unwrap_or(id);
                    all.remove(&id);
                    window.remove(wide(id).id());
                }
                if window.is_incomplete() {
                    let again = shuffled(all.iter().copied().collect(), &mut random);
                    window = filled(page, again.into_iter().map(|id| (wide(id), id)));
                }
                let expected = all.iter().skip(page.offset()).take(limit);
                assert!(
                    window.page().eq(expected),
                    "step {step}, limit {limit}, seed {SEED}"
                );
            }
        }
    }

    #[test]
    fn what_happens_behind_the_page_is_not_told() {
        let mut window = Window::empty(Page::first(2));
        for id in 0..4 {
            window.put(rank(id, id, Direction::Ascending), ());
        }
        assert!(!window.put(rank(9, 9, Direction::Ascending), ()));
        assert!(!window.remove(rank(3, 0, Direction::Ascending).id()));
        assert!(window.remove(rank(1, 0, Direction::Ascending).id()));
    }
}
