//! Looking at every record of a model, in the order of their keys.
//!
//! Owns the walk over runs that earlier scans left in memory and over the pages of the database where there are none. What
//! is read from pages is packed into runs for the next scan. Which records match is the visitor's business.

use super::plan::KeyRange;
use crate::catalog::ModelEntry;
use crate::error::StorageError;
use crate::row_cache::{CacheView, RunBuilder};
use crate::snapshot::Snapshot;
use crate::tables::{model_prefix, model_range};

impl Snapshot {
    /// Calls `visit` with the key and the head of each record of a model until it returns `false`.
    pub(super) fn scan(
        &self,
        model: &ModelEntry,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let (at, end) = model_range(&model.def.name);
        let Some(cache) = self.cache() else {
            self.scan_pages(None, &at, &end, visit)?;
            return Ok(());
        };
        cache.begin_scan();
        self.scan_between(cache, Some(cache), (at, end), visit)
    }

    /// The same for the records within a range of identifiers. A range is often short, so nothing is packed for it.
    pub(super) fn scan_within(
        &self,
        model: &ModelEntry,
        range: &KeyRange,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let bounds = range.bounds(&model_prefix(&model.def.name));
        let (start, end) = bounds.into_keys();
        let Some(cache) = self.cache() else {
            self.scan_pages(None, &start, &end, visit)?;
            return Ok(());
        };
        self.scan_between(cache, None, (start, end), visit)
    }

    /// Visits what is between two keys; what is read from pages is packed if there is a place for it.
    fn scan_between(
        &self,
        cache: &CacheView,
        packed_into: Option<&CacheView>,
        (mut at, end): (Vec<u8>, Vec<u8>),
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        while at < end {
            if let Some(run) = cache.run(&at) {
                for (key, head) in run.rows_from(&at) {
                    // A run may go on behind a range.
                    if key >= end.as_slice() || !visit(key, head)? {
                        return Ok(());
                    }
                }
                at.clear();
                at.extend_from_slice(run.end());
            } else {
                let next = cache.next_run(&at).filter(|next| *next < end);
                let until = next.unwrap_or_else(|| end.clone());
                if !self.scan_pages(packed_into, &at, &until, visit)? {
                    return Ok(());
                }
                at = until;
            }
        }
        Ok(())
    }

    /// Visits what the database has between two keys; `false` if the visitor has had enough.
    fn scan_pages(
        &self,
        cache: Option<&CacheView>,
        from: &[u8],
        until: &[u8],
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<bool, StorageError> {
        let mut packing = cache
            .filter(|cache| cache.keeps_runs())
            .map(|_| RunBuilder::new(from.to_vec()));
        // Comparing a few bytes here is cheaper than having the database compare whole keys with an end.
        for item in self.records().range::<&[u8]>(from..)? {
            let (key, head) = item?;
            let (key, head) = (key.value(), head.value());
            if key >= until {
                break;
            }
            if let Some(run) = &mut packing
                && !pack(cache, run, key, head)
            {
                packing = None;
            }
            if !visit(key, head)? {
                return Ok(false);
            }
        }
        if let (Some(cache), Some(run)) = (cache, packing) {
            cache.keep_run(run.finish(until.to_vec()));
        }
        Ok(true)
    }
}

/// Adds a row to a run, or to the next one if it is full; `false` once there is no use in going on.
fn pack(cache: Option<&CacheView>, run: &mut RunBuilder, key: &[u8], head: &[u8]) -> bool {
    if run.is_full() {
        let full = std::mem::replace(run, RunBuilder::new(key.to_vec()));
        let kept = cache.is_some_and(|cache| cache.keep_run(full.finish(key.to_vec())) && cache.keeps_runs());
        if !kept {
            return false;
        }
    }
    run.push(key, head)
}
