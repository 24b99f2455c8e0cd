//! What a store remembers of its disk: whether it failed, and what a failed sync may have lost.
//!
//! Owns [`Faults`] and [`Watched`], through which every byte of a store passes.
//!
//! After a failed sync a system may drop what was to be written and still show it to those who read, so that a later
//! sync succeeds without it. Therefore what was written since the last sync is known by position, and is written
//! again from what can be read before the file is opened anew. What is lost by then is found by checksums; what is not
//! is on disk for sure once the next sync succeeds. Until then nothing more is written, not even by a database that is
//! being closed: a later sync would succeed, and what was lost would pass for being there.

use std::io;
use std::ops::Bound;

use landfall_core::planted;
use redb::{BackendError, StorageBackend};

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most ranges that are remembered between two syncs; beyond it they are joined into one. Each takes 16 bytes.
const RANGES_MAX: usize = 65_536;

/// How much is copied at once when ranges are written again.
const COPY_BYTES: usize = 1024 * 1024;

/// Everything, for faults that are not about some bytes.
const EVERYTHING: u64 = u64::MAX;

/// Outlives the databases that are opened on one disk, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    suspected: AtomicBool,
    must_reopen: AtomicBool,
    /// End of what faults made doubtful since the database was last known to be well; 0 if nothing.
    doubtful_to: AtomicU64,
    unsynced: Mutex<Vec<Range>>,
}

/// Bytes from `start` up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
}

impl Faults {
    /// Whether the disk failed since the database was last known to be well.
    pub(crate) fn suspected(&self) -> bool {
        self.suspected.load(Ordering::Acquire)
    }

    /// Notes that the disk failed, or may have.
    pub(crate) fn suspect(&self) {
        self.suspected.store(true, Ordering::Release);
    }

    /// Notes that what was written may not be what will be read, so that the file has to be opened again; until then it
    /// takes no more writes.
    pub(crate) fn distrust(&self) {
        self.must_reopen.store(true, Ordering::Release);
        self.suspect();
    }

    /// Whether the file has to be opened again.
    pub(crate) fn must_reopen(&self) -> bool {
        self.must_reopen.load(Ordering::Acquire)
    }

    /// Whether what lies at that position or behind it may not be what can be read, or can be read no more: a fault was
    /// met there, or a failed sync may have lost what was written there.
    pub(crate) fn reach(&self, position: u64) -> bool {
        self.doubtful_to.load(Ordering::Acquire) > position
    }

    /// Notes that the database is well.
    pub(crate) fn clear(&self) {
        self.doubtful_to.store(0, Ordering::Release);
        self.suspected.store(false, Ordering::Release);
    }

    /// Whether something was written that no sync has covered.
    pub(super) fn have_unsynced(&self) -> bool {
        !self.unsynced().is_empty()
    }

    /// Writes again what a failed sync may have lost, and syncs it.
    pub(super) fn write_again(&self, backend: &dyn StorageBackend) -> io::Result<()> {
        let ranges = if planted("unsynced-not-written-again") {
            Vec::new()
        } else {
            self.unsynced().clone()
        };
        let length = backend.len()?;
        // The length may be among what was lost.
        backend.set_len(length)?;
        for range in &ranges {
            let mut at = range.start;
            while at < range.end.min(length) {
                let count = usize::try_from(range.end.min(length) - at)
                    .unwrap_or(COPY_BYTES)
                    .min(COPY_BYTES);
                let mut bytes = vec![0; count];
                backend.read(at, &mut bytes)?;
                backend.write(at, &bytes)?;
                at += count as u64;
            }
        }
        backend.sync_data()?;
        self.unsynced().clear();
        Ok(())
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<Range>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was written, or half of it was. Noted afterwards: a sync that ran meanwhile did not cover it for sure.
    fn wrote(&self, start: u64, length: usize) {
        let end = start.saturating_add(length as u64);
        let mut ranges = self.unsynced();
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(Range { start, end }),
        }
        if ranges.len() > RANGES_MAX {
            join(&mut ranges);
        }
    }

    /// Notes a fault that makes what lies before `end` doubtful.
    fn doubt(&self, end: u64) {
        self.doubtful_to.fetch_max(end, Ordering::AcqRel);
        self.suspect();
    }

    /// Notes the fault, if it is one, of an operation on what lies before `end`.
    fn note<T, E>(&self, result: Result<T, E>, end: u64) -> Result<T, E> {
        if result.is_err() {
            self.doubt(end);
        }
        result
    }
}

fn join(ranges: &mut Vec<Range>) {
    let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let end = end_of(ranges);
    *ranges = vec![Range { start, end }];
}

/// Where the last of the ranges ends.
fn end_of(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| range.end).max().unwrap_or(0)
}

/// A backend whose faults are noted, and which takes no more writes after a failed sync.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn StorageBackend>,
    faults: Arc<Faults>,
}

impl Watched {
    pub(super) fn new(inner: Box<dyn StorageBackend>, faults: Arc<Faults>) -> Self {
        faults.must_reopen.store(false, Ordering::Release);
        Self { inner, faults }
    }

    fn refuse_until_reopened(&self) -> io::Result<()> {
        if self.faults.must_reopen() {
            self.faults.suspect();
            Err(io::Error::other(
                "after an earlier fault the file has to be opened again",
            ))
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.faults.note(self.inner.len(), EVERYTHING)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        self.faults.note(self.inner.read(offset, out), end)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // The database no longer knows how long its file is.
        self.faults.note(self.refuse_until_reopened(), EVERYTHING)?;
        self.faults.note(self.inner.set_len(len), EVERYTHING)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.note(self.refuse_until_reopened(), EVERYTHING)?;
        // What is written while the sync runs may not be part of it.
        let before = std::mem::take(&mut *self.faults.unsynced());
        let synced = if planted("commit-not-durable") {
            Ok(())
        } else {
            let synced = self.inner.sync_data();
            if planted("failed-sync-trusted") {
                Ok(())
            } else {
                synced
            }
        };
        if synced.is_err() {
            self.faults.distrust();
            let mut ranges = self.faults.unsynced();
            let since = std::mem::replace(&mut *ranges, before);
            ranges.extend(since);
            let end = end_of(&ranges);
            drop(ranges);
            self.faults.doubt(end);
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.refuse_until_reopened()?;
        let written = self.inner.write(offset, data);
        self.faults.wrote(offset, data.len());
        let end = offset.saturating_add(data.len() as u64);
        if self.faults.must_reopen() {
            // A sync that failed meanwhile may have lost it.
            self.faults.doubt(end);
        }
        self.faults.note(written, end)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
