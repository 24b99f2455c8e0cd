//! Heads of records kept in memory, so that reading again what was read before need not go through the B-tree.
//!
//! Owns [`RowCache`] (one per store) and [`CacheView`] (one per snapshot): which commit a kept head belongs to, and who
//! may use it. Single heads are kept by `points.rs`, runs of neighbours, which scans leave behind, by `runs.rs`. Does
//! not read the database.
//!
//! Commits are numbered. `begun` is the newest that may become visible at any moment, `shown` the newest that is
//! visible for certain. A commit takes out what it changes after it has begun and before it can be seen.
//!
//! Invariants: 1. what is kept was in the database at commit `loaded_at`, and no commit up to `begun` has changed it
//! since; 2. so a snapshot that is known to be at least as new as `loaded_at` may use it; 3. only a snapshot that is
//! exactly `begun` may add to the cache: an older one could bring back what was taken out.

mod doorkeeper;
mod points;
mod runs;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use landfall_core::planted;

use doorkeeper::Doorkeeper;
use points::Points;
use runs::Runs;
pub(crate) use runs::{Run, RunBuilder};

/// Most keys that a transaction notes one by one; one that changes more empties the cache, which costs it less.
pub(crate) const TOUCHED_KEYS_MAX: usize = 16_384;

/// The heads of one store that are in memory.
#[derive(Debug)]
pub(crate) struct RowCache {
    begun: AtomicU64,
    shown: AtomicU64,
    doorkeeper: Doorkeeper,
    held: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    points: Points,
    runs: Runs,
}

/// The records that a transaction changes.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    keys: Vec<Vec<u8>>,
    all: bool,
}

/// What a snapshot may do with the cache.
#[derive(Debug)]
pub(crate) struct CacheView {
    cache: Arc<RowCache>,
    /// The snapshot is at least this commit.
    at_least: u64,
    /// It is exactly that commit, and no later one had begun when it was taken.
    exact: bool,
}

/// A head that was found in memory.
#[derive(Debug)]
pub(crate) enum Kept {
    /// By itself.
    Point(Arc<[u8]>),
    /// Among its neighbours: where in the bytes of the run.
    InRun(Arc<Run>, Range<usize>),
}

impl Kept {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Point(head) => head,
            Self::InRun(run, place) => run.bytes_at(place.clone()),
        }
    }
}

impl Touched {
    pub(crate) fn note(&mut self, key: Vec<u8>) {
        if self.keys.len() < TOUCHED_KEYS_MAX {
            self.keys.push(key);
        } else {
            self.note_all();
        }
    }

    pub(crate) fn note_all(&mut self) {
        self.all = true;
        self.keys = Vec::new();
    }
}

/// Bytes of a cache budget that are for rows; the rest is for pages of the database.
pub(crate) fn rows_part(cache_bytes: usize) -> usize {
    cache_bytes / 2
}

/// Bytes of a cache budget that are for pages of the database.
pub(crate) fn pages_part(cache_bytes: usize) -> usize {
    cache_bytes - rows_part(cache_bytes)
}

/// Part of the rows' memory that single heads get: what is read by identifier again and again is little.
const POINTS_SHARE: usize = 8;

impl RowCache {
    /// An empty cache of at most about so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let points = bytes / POINTS_SHARE;
        Self {
            begun: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            doorkeeper: Doorkeeper::default(),
            held: RwLock::new(Held {
                points: Points::new(points),
                runs: Runs::new(bytes - points),
            }),
        }
    }

    /// A commit begins that changes these records. To be called before readers can see any of it.
    pub(crate) fn begin(&self, touched: &Touched) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever adds holds it as well, and must find the number changed.
        self.begun.fetch_add(1, Ordering::AcqRel);
        if touched.all {
            held.forget();
        } else {
            for key in &touched.keys {
                if !planted("cached-record-outlives-commit") {
                    held.points.remove(key);
                }
                if !planted("cached-run-outlives-commit") {
                    held.runs.remove(key);
                }
            }
        }
    }

    /// The commit that began last is visible.
    pub(crate) fn show(&self) {
        self.shown
            .store(self.begun.load(Ordering::Acquire), Ordering::Release);
    }

    /// The database was opened anew, and may have lost or gained the commit that failed.
    pub(crate) fn restart(&self) {
        let mut touched = Touched::default();
        touched.note_all();
        self.begin(&touched);
        self.show();
    }

    /// Takes a snapshot by `take`, and finds out which commit it is.
    pub(crate) fn view<T, E>(
        self: &Arc<Self>,
        take: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, CacheView), E> {
        let at_least = self.shown.load(Ordering::Acquire);
        let taken = take()?;
        // If a later commit were in the snapshot, its beginning would show here: it came before its visibility.
        let exact = self.begun.load(Ordering::Acquire) == at_least;
        let view = CacheView {
            cache: Arc::clone(self),
            at_least,
            exact,
        };
        Ok((taken, view))
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `add` keep something that was read at commit `at`, if no later one has begun.
    fn add(&self, at: u64, add: impl FnOnce(&mut Held) -> bool) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.begun.load(Ordering::Acquire) == at && add(&mut held)
    }
}

impl Held {
    fn forget(&mut self) {
        self.points.clear();
        self.runs.clear();
    }
}

impl CacheView {
    /// The head at a key, if it is kept.
    pub(crate) fn head(&self, key: &[u8]) -> Option<Kept> {
        let held = self.cache.held();
        if let Some(head) = held.points.get(key, self.at_least) {
            return Some(Kept::Point(head));
        }
        let run = held.runs.covering(key, self.at_least)?;
        drop(held);
        let place = run.find(key)?;
        Some(Kept::InRun(run, place))
    }

    /// Keeps a head that was read from the snapshot, if it is still that of the newest commit and was asked for before.
    pub(crate) fn keep(&self, key: &[u8], head: &[u8]) {
        if self.exact && self.cache.doorkeeper.has_seen(key) {
            self.cache.add(self.at_least, |held| {
                held.points.insert(key, head, self.at_least);
                true
            });
        }
    }

    /// The kept run that covers a key, with everything there is between its ends.
    pub(crate) fn run(&self, key: &[u8]) -> Option<Arc<Run>> {
        self.cache.held().runs.covering(key, self.at_least)
    }

    /// Where the first kept run after a key begins.
    pub(crate) fn next_run(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.held().runs.start_after(key, self.at_least)
    }

    /// Whether there is any use in packing what is read from the snapshot now.
    pub(crate) fn keeps_runs(&self) -> bool {
        self.exact && self.cache.begun.load(Ordering::Acquire) == self.at_least
    }

    /// Keeps a run that was read from the snapshot, if it is still that of the newest commit and there is room.
    pub(crate) fn keep_run(&self, run: Run) -> bool {
        self.exact
            && self
                .cache
                .add(self.at_least, |held| held.runs.insert(run, self.at_least))
    }

    /// A scan begins; what the last few scans did not use gives way to what it reads.
    pub(crate) fn begin_scan(&self) {
        self.cache.held().runs.begin_scan();
    }
}

#[cfg(test)]
mod tests;
