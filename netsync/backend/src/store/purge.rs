//! Removing what has outlived its time: tombstones and delta rows.
//!
//! Owns [`PurgeReport`] and the two passes. Each transaction removes a bounded number of rows, so that a purge of any
//! size neither holds other writers up for long nor grows in memory.

use std::ops::Bound;

use landfall_core::ModelName;
use landfall_storage::kv::{KvRange, KvRead, KvTable};

use super::read::decode;
use super::write::index_entries;
use super::{Session, Store, tables};
use crate::error::BackendError;
use crate::sync::DELTA_PAGING_MS_MAX;

/// Rows removed in one transaction, so that a waiting write waits for milliseconds.
const PURGE_BATCH_ROWS: usize = 1_000;

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Tombstones; their identifiers can be used again.
    pub tombstones: u64,
    /// Changes that no delta sync can ask for any more.
    pub changes: u64,
}

impl Store {
    /// Removes tombstones whose time is over, and changes that even a long paged sync no longer needs.
    pub(crate) fn purge(&self, now_ms: i64) -> Result<PurgeReport, BackendError> {
        let mut report = PurgeReport::default();
        // Each round removes rows, so the loops end when none is due.
        while self.has_rows(tables::EXPIRY, &expired(now_ms))? {
            report.tombstones += self
                .writer()
                .transaction(now_ms, |session| session.purge_tombstones(PURGE_BATCH_ROWS))?;
        }
        for plan in self.compiled.plans() {
            while self.has_rows(tables::DELTA, &self.outdated(plan.name(), now_ms))? {
                report.changes += self.writer().transaction(now_ms, |session| {
                    session.purge_changes(plan.name(), PURGE_BATCH_ROWS)
                })?;
            }
        }
        Ok(report)
    }

    fn has_rows(&self, table: KvTable, range: &KvRange) -> Result<bool, BackendError> {
        Ok(!self.kv.read()?.rows(table, range, 1)?.is_empty())
    }

    /// Keys of changes that no delta sync, however long, can still ask for.
    fn outdated(&self, model: &ModelName, now_ms: i64) -> KvRange {
        let ttl_ms = i64::from(self.config.delta_ttl_minutes) * 60_000;
        let end = tables::delta_prefix(model, now_ms - ttl_ms - DELTA_PAGING_MS_MAX);
        KvRange::between(Bound::Included(tables::model_prefix(model)), Bound::Excluded(end))
    }
}

/// Expiry keys of tombstones whose time is over.
fn expired(now_ms: i64) -> KvRange {
    let end = tables::expiry_key(now_ms.div_euclid(1_000) + 1, &[]);
    KvRange::between(Bound::Unbounded, Bound::Excluded(end))
}

impl Session<'_, '_> {
    /// Removes a batch of tombstones; an expiry row goes whether its tombstone is still there or not.
    fn purge_tombstones(&self, limit: usize) -> Result<u64, BackendError> {
        let mut removed = 0;
        for (expiry_key, _) in self.rows(tables::EXPIRY, &expired(self.now_ms), limit)? {
            let (ttl_s, base_key) =
                tables::split_expiry_key(&expiry_key).ok_or_else(|| BackendError::BadRow {
                    table: "expiry-1",
                    cause: "a key is too short".to_owned(),
                })?;
            let row = self.get(tables::BASE, base_key)?;
            let item = row.map(|row| decode("base-1", &row)).transpose()?;
            let mut txn = self.txn.borrow_mut();
            txn.remove(tables::EXPIRY, &expiry_key)?;
            // A record that was made anew, or deleted again, has another end.
            let Some(item) = item.filter(|item| item.deleted && item.ttl_s == Some(ttl_s)) else {
                continue;
            };
            let model = base_key
                .split(|byte| *byte == 0)
                .next()
                .and_then(|name| std::str::from_utf8(name).ok());
            if let Some(plan) = model.and_then(|name| self.store.compiled.find_model(name)) {
                for entry in index_entries(plan, &item.attributes, base_key) {
                    txn.remove(tables::INDEX, &entry)?;
                }
            }
            txn.remove(tables::BASE, base_key)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn purge_changes(&self, model: &ModelName, limit: usize) -> Result<u64, BackendError> {
        let due = self.rows(tables::DELTA, &self.store.outdated(model, self.now_ms), limit)?;
        let mut txn = self.txn.borrow_mut();
        for (key, _) in &due {
            txn.remove(tables::DELTA, key)?;
        }
        Ok(due.len() as u64)
    }
}
