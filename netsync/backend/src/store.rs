//! The versioned data source: base rows, delta rows and indexes over a [`KvStore`].
//!
//! Owns transactions and their time. Reading, writing and purging are in the modules below; what a write does to a
//! record is decided in `conflict.rs`.
//!
//! Invariants: 1. base row, delta row and index entries of a write are in one transaction; 2. times of changes never go
//! down, whatever the given clock does; 3. a change that a sync's snapshot does not hold has a time at or after that
//! sync's `startedAt`, so the next delta brings it.

mod key;
mod purge;
mod read;
mod reindex;
mod tables;
mod tally;
mod write;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_storage::kv::{KvError, KvRead, KvSnapshot, KvStore, KvTxn};

use crate::compile::{CompiledSchema, ModelPlan};
use crate::config::{BackendConfig, ExpiredTombstones};
use crate::conflict::ConflictStrategy;
use crate::error::BackendError;

pub use purge::PurgeReport;

pub(crate) use key::{KeyCondition, SortCondition, join_sort_fields};
pub(crate) use read::{HIDDEN_ASKED_BYTES, PageOf, PageRequest, Reading};
pub(crate) use tally::{RowTally, Tally};
pub(crate) use write::Outcome;

/// The rows of a backend.
pub(crate) struct Store {
    kv: KvStore,
    compiled: Arc<CompiledSchema>,
    config: Arc<BackendConfig>,
    /// Held for a whole write, so that changes are published in the order in which they were committed.
    writer: Mutex<WriterState>,
    clock: Mutex<Clock>,
    pub(crate) tally: Tally,
}

/// What one writer leaves to the next.
#[derive(Clone, Copy, Debug)]
struct WriterState {
    /// Number of the next delta row; keeps changes of one millisecond in order.
    next_change: u64,
}

/// Times of changes and of syncs, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// No change gets an earlier time than this.
    floor_ms: i64,
    /// Time of the transaction that is under way.
    writing_ms: Option<i64>,
}

/// The right to write; one at a time.
pub(crate) struct Writer<'a> {
    store: &'a Store,
    state: MutexGuard<'a, WriterState>,
}

/// A write transaction under way.
pub(crate) struct Session<'a, 'txn> {
    pub(crate) store: &'a Store,
    txn: RefCell<&'a mut KvTxn<'txn>>,
    /// Time of the changes made in it.
    pub(crate) now_ms: i64,
    next_change: Cell<u64>,
    /// Bytes of the rows that were put so far, for whoever bounds them.
    written_bytes: Cell<usize>,
}

impl Store {
    /// Opens the rows for a schema; indexes that the schema gained since are built first.
    pub(crate) fn open(
        kv: KvStore,
        compiled: Arc<CompiledSchema>,
        config: Arc<BackendConfig>,
    ) -> Result<Self, BackendError> {
        let meta = tables::read_meta(&kv.read()?)?;
        let store = Self {
            kv,
            compiled,
            config,
            writer: Mutex::new(WriterState {
                next_change: meta.next_change,
            }),
            clock: Mutex::new(Clock {
                floor_ms: meta.floor_ms,
                writing_ms: None,
            }),
            tally: Tally::default(),
        };
        store.reindex()?;
        Ok(store)
    }

    /// How many rows each table holds.
    pub(crate) fn stored_rows(&self) -> Result<[(&'static str, u64); 3], BackendError> {
        let snapshot = self.kv.read()?;
        Ok([
            ("base", snapshot.count(tables::BASE)?),
            ("delta", snapshot.count(tables::DELTA)?),
            ("index", snapshot.count(tables::INDEX)?),
        ])
    }

    /// A snapshot for reads that need no time.
    pub(crate) fn snapshot(&self) -> Result<KvSnapshot, BackendError> {
        Ok(self.kv.read()?)
    }

    /// A snapshot together with the `startedAt` of a sync that begins with it.
    pub(crate) fn snapshot_at(&self, now_ms: i64) -> Result<(KvSnapshot, i64), BackendError> {
        let mut clock = self.clock();
        clock.floor_ms = clock.floor_ms.max(now_ms);
        // A change that is not committed yet is not in the snapshot, and must not be older than the sync.
        let started_at_ms = clock.writing_ms.unwrap_or(clock.floor_ms);
        Ok((self.kv.read()?, started_at_ms))
    }

    /// Waits for the right to write.
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer {
            store: self,
            state: self.writer.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strategy(&self, plan: &ModelPlan) -> ConflictStrategy {
        self.config
            .model_conflicts
            .get(plan.name())
            .copied()
            .unwrap_or(self.config.conflict)
    }

    /// Whether conflicts of a model are decided by a handler.
    pub(crate) fn asks_handler(&self, model: &landfall_core::ModelName) -> bool {
        let strategy = self.config.model_conflicts.get(model);
        *strategy.unwrap_or(&self.config.conflict) == ConflictStrategy::Handler
    }

    /// Whether a row counts as gone.
    fn is_gone(&self, item: &crate::item::Item, now_ms: i64) -> bool {
        self.config.switches.expired_tombstones == ExpiredTombstones::Gone && item.is_expired(now_ms)
    }
}

impl Writer<'_> {
    /// Runs `work` in one durable transaction whose changes all have one time; an error of `work` undoes them.
    pub(crate) fn transaction<T, E: From<KvError> + From<BackendError>>(
        &mut self,
        now_ms: i64,
        work: impl FnOnce(&Session<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let store = self.store;
        let now_ms = {
            let mut clock = store.clock();
            clock.floor_ms = clock.floor_ms.max(now_ms);
            clock.writing_ms = Some(clock.floor_ms);
            clock.floor_ms
        };
        let next_change = self.state.next_change;
        let mut used = next_change;
        let done = store.kv.write(|txn| {
            let session = Session {
                store,
                txn: RefCell::new(txn),
                now_ms,
                next_change: Cell::new(next_change),
                written_bytes: Cell::new(0),
            };
            let value = work(&session)?;
            used = session.next_change.get();
            if used != next_change {
                let mut txn = session.txn.borrow_mut();
                tables::write_meta(
                    &mut txn,
                    tables::Meta {
                        next_change: used,
                        floor_ms: now_ms,
                    },
                )?;
            }
            Ok(value)
        });
        // Numbers of a failed transaction are not used again: it may be on disk all the same.
        self.state.next_change = used;
        store.clock().writing_ms = None;
        done
    }
}

impl Session<'_, '_> {
    /// How much was put in this transaction so far, in bytes of records and changes.
    pub(crate) fn written_bytes(&self) -> usize {
        self.written_bytes.get()
    }
}

impl KvRead for Session<'_, '_> {
    fn get(
        &self,
        table: landfall_storage::kv::KvTable,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, landfall_storage::kv::KvError> {
        self.txn.borrow().get(table, key)
    }

    fn scan(
        &self,
        table: landfall_storage::kv::KvTable,
        range: &landfall_storage::kv::KvRange,
        visit: &mut landfall_storage::kv::KvVisit<'_>,
    ) -> Result<(), landfall_storage::kv::KvError> {
        self.txn.borrow().scan(table, range, visit)
    }
}

#[cfg(test)]
mod tests;
