//! Runs of neighbouring records: what scans read, packed so that the next scan goes through it without the B-tree.
//!
//! Owns [`Run`], [`RunBuilder`] and [`Runs`]. A run covers a half-open range of keys and holds every head in it, so a key
//! inside that it does not list is not there at all. Runs do not overlap.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes after which a run ends: small enough that a changed record costs the next scan little, large enough that a scan
/// seldom looks for the next one.
const RUN_BYTES: usize = 16 * 1024;

/// What a run takes besides its bytes: keys of the map, allocations, counters.
const OVERHEAD_BYTES: usize = 256;

/// How many scans may pass a run by before it gives way to another.
const IDLE_SCANS: u64 = 4;

/// Runs that are looked at to find room for one more.
const EVICT_STEPS: usize = 16;

/// Every head between two keys, in order.
#[derive(Debug)]
pub(crate) struct Run {
    start: Vec<u8>,
    end: Vec<u8>,
    /// Keys and heads, one after another.
    bytes: Box<[u8]>,
    rows: Box<[RowAt]>,
    loaded_at: u64,
    used: AtomicU64,
}

/// Where a row begins, and its head; the row ends where the next begins.
#[derive(Clone, Copy, Debug)]
struct RowAt {
    key: u32,
    head: u32,
}

/// A run being read.
#[derive(Debug)]
pub(crate) struct RunBuilder {
    start: Vec<u8>,
    bytes: Vec<u8>,
    rows: Vec<RowAt>,
}

#[derive(Debug)]
pub(super) struct Runs {
    by_start: BTreeMap<Vec<u8>, Arc<Run>>,
    bytes: usize,
    bytes_max: usize,
    scans: AtomicU64,
    /// Where the search for runs that may go is to continue.
    hand: Vec<u8>,
}

impl Run {
    /// Where the run ends; this key is not in it.
    pub(crate) fn end(&self) -> &[u8] {
        &self.end
    }

    /// Every row from a key on: its key and its head.
    pub(crate) fn rows_from(&self, from: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let first = if from <= self.start.as_slice() {
            0
        } else {
            self.rows
                .partition_point(|row| &self.bytes[row.key as usize..row.head as usize] < from)
        };
        (first..self.rows.len()).map(|index| {
            let (key, head) = self.places(index);
            (&self.bytes[key], &self.bytes[head])
        })
    }

    /// Where the head of a key is.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Range<usize>> {
        let found = self
            .rows
            .binary_search_by(|row| self.bytes[row.key as usize..row.head as usize].cmp(key));
        found.ok().map(|index| self.places(index).1)
    }

    pub(crate) fn bytes_at(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    fn places(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let RowAt { key, head } = self.rows[index];
        let end = self
            .rows
            .get(index + 1)
            .map_or(self.bytes.len(), |next| next.key as usize);
        (key as usize..head as usize, head as usize..end)
    }

    fn size(&self) -> usize {
        self.start.len() * 2
            + self.end.len()
            + self.bytes.len()
            + self.rows.len() * size_of::<RowAt>()
            + OVERHEAD_BYTES
    }
}

impl RunBuilder {
    /// A run that begins with the smallest key from `start` on.
    pub(crate) fn new(start: Vec<u8>) -> Self {
        Self {
            start,
            bytes: Vec::with_capacity(RUN_BYTES + 1024),
            rows: Vec::with_capacity(RUN_BYTES / 128),
        }
    }

    /// Whether the run is long enough.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= RUN_BYTES
    }

    /// Adds the next row; `false` if it does not fit, since places take four bytes. The run is of no use then.
    pub(crate) fn push(&mut self, key: &[u8], head: &[u8]) -> bool {
        let (key_at, head_at) = (self.bytes.len(), self.bytes.len() + key.len());
        let (Ok(key_at), Ok(head_at), Ok(_)) = (
            u32::try_from(key_at),
            u32::try_from(head_at),
            u32::try_from(head_at + head.len()),
        ) else {
            return false;
        };
        self.rows.push(RowAt {
            key: key_at,
            head: head_at,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(head);
        true
    }

    /// Ends the run before `end`, where the next one may begin.
    pub(crate) fn finish(self, end: Vec<u8>) -> Run {
        Run {
            start: self.start,
            end,
            bytes: self.bytes.into_boxed_slice(),
            rows: self.rows.into_boxed_slice(),
            loaded_at: 0,
            used: AtomicU64::new(0),
        }
    }
}

impl Runs {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            by_start: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            scans: AtomicU64::new(0),
            hand: Vec::new(),
        }
    }

    pub(super) fn begin_scan(&self) {
        self.scans.fetch_add(1, Ordering::Relaxed);
    }

    /// The run that a key falls into, whether the key exists or not.
    pub(super) fn covering(&self, key: &[u8], at_least: u64) -> Option<Arc<Run>> {
        let run = self.at(key).filter(|run| run.loaded_at <= at_least)?;
        run.used
            .store(self.scans.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(run))
    }

    /// Start of the first run after a key that a snapshot of that commit may use.
    pub(super) fn start_after(&self, key: &[u8], at_least: u64) -> Option<Vec<u8>> {
        self.by_start
            .range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded))
            .find(|(_, run)| run.loaded_at <= at_least)
            .map(|(start, _)| start.clone())
    }

    /// Keeps a run; `false` if there is no room for it. Where another scan was quicker, its run stays.
    pub(super) fn insert(&mut self, mut run: Run, loaded_at: u64) -> bool {
        run.loaded_at = loaded_at;
        run.used = AtomicU64::new(self.scans.load(Ordering::Relaxed));
        let overlaps = self
            .by_start
            .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(run.end.as_slice())))
            .next_back()
            .is_some_and(|(_, last)| last.end > run.start);
        if overlaps {
            return true;
        }
        let size = run.size();
        self.make_room(size);
        let fits = self.bytes + size <= self.bytes_max;
        if fits {
            self.bytes += size;
            self.by_start.insert(run.start.clone(), Arc::new(run));
        }
        fits
    }

    /// Takes out the run that a key falls into.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(start) = self.at(key).map(|run| run.start.clone()) {
            self.take_out(&start);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    fn at(&self, key: &[u8]) -> Option<&Arc<Run>> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let (_, run) = self.by_start.range::<[u8], _>(up_to).next_back()?;
        (key < run.end.as_slice()).then_some(run)
    }

    fn take_out(&mut self, start: &[u8]) {
        if let Some(run) = self.by_start.remove(start) {
            self.bytes -= run.size();
        }
    }

    /// Lets runs go that the last few scans did not use, until there is room or enough were looked at.
    fn make_room(&mut self, wanted: usize) {
        let now = self.scans.load(Ordering::Relaxed);
        for _ in 0..EVICT_STEPS {
            if self.bytes + wanted <= self.bytes_max || self.by_start.is_empty() {
                return;
            }
            let after = (Bound::Excluded(self.hand.as_slice()), Bound::Unbounded);
            match self.by_start.range::<[u8], _>(after).next() {
                None => self.hand.clear(),
                Some((start, run)) => {
                    let idle = now.saturating_sub(run.used.load(Ordering::Relaxed));
                    self.hand = start.clone();
                    if idle > IDLE_SCANS {
                        let start = self.hand.clone();
                        self.take_out(&start);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run over `from..to` with a row at each of the keys.
    fn run(from: u8, to: u8, keys: &[u8]) -> Run {
        let mut builder = RunBuilder::new(vec![from]);
        for key in keys {
            assert!(builder.push(&[*key], &[*key, *key]));
        }
        builder.finish(vec![to])
    }

    #[test]
    fn a_run_knows_what_is_between_its_ends() {
        let run = run(10, 20, &[11, 13, 19]);
        let rows = |from| {
            run.rows_from(&[from])
                .map(|(key, head)| (key[0], head[1]))
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(0), [(11, 11), (13, 13), (19, 19)]);
        assert_eq!(rows(12), [(13, 13), (19, 19)]);
        assert_eq!(rows(13), [(13, 13), (19, 19)]);
        assert_eq!(rows(20), []);
        assert_eq!(
            run.find(&[13]).map(|place| run.bytes_at(place).to_vec()),
            Some(vec![13, 13])
        );
        assert_eq!(run.find(&[12]), None);
    }

    #[test]
    fn a_changed_key_takes_out_the_run_around_it_even_if_it_is_new() {
        let mut runs = Runs::new(100_000);
        assert!(runs.insert(run(10, 20, &[11]), 3));
        runs.insert(run(20, 30, &[25]), 3);
        assert!(runs.covering(&[20], 3).is_some_and(|run| run.end() == [30]));
        runs.remove(&[9]);
        runs.remove(&[30]);
        assert_eq!(runs.by_start.len(), 2, "neither is inside");
        runs.remove(&[12]);
        assert!(runs.covering(&[11], 3).is_none());
        assert!(runs.covering(&[25], 3).is_some());
        assert!(runs.covering(&[25], 2).is_none(), "loaded after that commit");
        assert_eq!(runs.start_after(&[0], 3), Some(vec![20]));
        assert_eq!(runs.start_after(&[0], 2), None);
        runs.remove(&[20]);
        assert_eq!(runs.bytes, 0);
    }

    #[test]
    fn runs_never_overlap() {
        let mut runs = Runs::new(100_000);
        runs.insert(run(10, 20, &[11]), 1);
        for (from, to) in [(5, 11), (12, 13), (19, 25), (10, 20), (5, 25)] {
            runs.insert(run(from, to, &[]), 1);
        }
        assert_eq!(runs.by_start.len(), 1);
        runs.insert(run(5, 10, &[]), 1);
        runs.insert(run(20, 25, &[]), 1);
        assert_eq!(runs.by_start.len(), 3);
    }

    #[test]
    fn idle_runs_give_way_and_those_in_use_stay() {
        let one = run(0, 1, &[0]).size();
        let mut runs = Runs::new(one * 10);
        runs.begin_scan();
        (0..30).for_each(|n| assert_eq!(runs.insert(run(n, n + 1, &[n]), 1), n < 10));
        assert_eq!(
            runs.by_start.len(),
            10,
            "a scan does not push out its own beginning"
        );
        for _ in 0..=IDLE_SCANS {
            runs.begin_scan();
            assert!(runs.covering(&[5], 1).is_some());
        }
        let late = (40..80).filter(|n| runs.insert(run(*n, n + 1, &[*n]), 1)).count();
        assert_eq!(late, 9);
        assert_eq!(runs.by_start.len(), 10);
        assert!(runs.covering(&[5], 1).is_some(), "in use");
        assert!(runs.covering(&[6], 1).is_none(), "idle");
        assert!(runs.bytes <= runs.bytes_max);
    }
}
