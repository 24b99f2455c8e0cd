//! Looking at what a backend has stored, from inside the process.
//!
//! Owns the reading of whole tables for tests, simulations and tools. Over
//! the network it can be asked only of a server in development mode.

use landfall_core::{FieldMap, RecordId, RecordVersion, RemoteRecord, SyncMetadata};

use super::Backend;
use crate::compile::ModelPlan;
use crate::error::BackendError;
use crate::item::Item;
use crate::realtime::RealtimeTally;
use crate::store::{PageRequest, Reading, RowTally};

/// Rows that are read at a time.
const INSPECT_PAGE_ROWS: usize = 1_000;

/// What is read.
#[derive(Clone, Copy)]
enum Table {
    Records,
    Changes,
}

impl Backend {
    /// How many rows each table holds, tombstones and old changes included.
    pub(crate) fn stored_rows(&self) -> Result<[(&'static str, u64); 3], BackendError> {
        self.store.stored_rows()
    }

    /// What was read and written since the start.
    pub(crate) fn row_tally(&self) -> RowTally {
        self.store.tally.now()
    }

    /// What realtime connections did since the start.
    pub(crate) fn realtime_tally(&self) -> RealtimeTally {
        self.hub().tally()
    }

    /// Every record of a model in key order, tombstones included, as they are stored.
    ///
    /// # Errors
    /// [`BackendError::UnknownModel`], or what the disk says.
    pub fn records(&self, model: &str) -> Result<Vec<RemoteRecord>, BackendError> {
        self.inspect(model, Table::Records)
    }

    /// Every change of a model that the delta table still holds, oldest first.
    ///
    /// # Errors
    /// [`BackendError::UnknownModel`], or what the disk says.
    pub fn changes(&self, model: &str) -> Result<Vec<RemoteRecord>, BackendError> {
        self.inspect(model, Table::Changes)
    }

    fn inspect(&self, model: &str, table: Table) -> Result<Vec<RemoteRecord>, BackendError> {
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let mut looked = self.inspect_page(model, table, after.as_deref(), INSPECT_PAGE_ROWS)?;
            records.append(&mut looked.records);
            match looked.next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// A page of a model's records, or of its changes, at most 1,000; `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`BackendError::UnknownModel`], or what the disk says.
    pub fn look(
        &self,
        model: &str,
        changes: bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Looked, BackendError> {
        let table = if changes { Table::Changes } else { Table::Records };
        self.inspect_page(model, table, after, limit.clamp(1, INSPECT_PAGE_ROWS))
    }

    fn inspect_page(
        &self,
        model: &str,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Looked, BackendError> {
        let plan = self
            .compiled
            .find_model(model)
            .ok_or_else(|| BackendError::UnknownModel {
                model: model.to_owned(),
                known: self
                    .compiled
                    .plans()
                    .map(|plan| plan.name().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let snapshot = self.store.snapshot()?;
        // At the beginning of time no tombstone is expired, so all that is stored is seen.
        let reading = Reading {
            store: &self.store,
            rows: &snapshot,
            now_ms: i64::MIN,
        };
        let request = PageRequest {
            after,
            limit,
            filter: None,
            descending: false,
        };
        let page = match table {
            Table::Records => reading.scan(plan, &request)?,
            Table::Changes => reading.changes(plan, i64::MIN, &request)?,
        };
        let records = page.items.into_iter().map(|item| remote_record(plan, item));
        Ok(Looked {
            records: records.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }
}

/// A page of what is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Looked {
    /// The rows, in the order of their keys; changes oldest first.
    pub records: Vec<RemoteRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Vec<u8>>,
}

fn remote_record(plan: &ModelPlan, item: Item) -> Result<RemoteRecord, BackendError> {
    let fields: FieldMap = item
        .attributes
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    let id = RecordId::of_fields(&plan.def, &fields).ok_or_else(|| BackendError::BadRow {
        table: "base-1",
        cause: "a key field is missing".to_owned(),
    })?;
    let sync = SyncMetadata {
        version: RecordVersion(item.version),
        last_changed_at_ms: item.last_changed_at_ms,
        deleted: item.deleted,
    };
    Ok(RemoteRecord { id, fields, sync })
}
