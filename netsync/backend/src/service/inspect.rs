//! Looking at what a backend has stored, from inside the process.
//!
//! Owns the reading of whole tables for tests, simulations and tools. Over
//! the network it can be asked only of a server in development mode.

use std::sync::Arc;

use landfall_core::{FieldMap, RecordId, RecordVersion, RemoteRecord, SyncMetadata};

use super::Backend;
use crate::compile::ModelPlan;
use crate::error::BackendError;
use crate::execute::iso_time;
use crate::item::Item;
use crate::realtime::RealtimeTally;
use crate::store::{PageOf, PageRequest, Reading, RowTally};

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

    /// Every row of the delta table that a model has, oldest first, with the keys that DynamoDB would hold it under.
    ///
    /// # Errors
    /// [`BackendError::UnknownModel`], or what the disk says.
    pub fn delta_rows(&self, model: &str) -> Result<Vec<DeltaRow>, BackendError> {
        let plan = self.plan(model)?;
        let mut rows = Vec::new();
        self.each(plan, Table::Changes, &mut |item| {
            rows.push(delta_row(plan, item)?);
            Ok(())
        })?;
        Ok(rows)
    }

    fn inspect(&self, model: &str, table: Table) -> Result<Vec<RemoteRecord>, BackendError> {
        let plan = self.plan(model)?;
        let mut records = Vec::new();
        self.each(plan, table, &mut |item| {
            records.push(remote_record(plan, item)?);
            Ok(())
        })?;
        Ok(records)
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
        let plan = self.plan(model)?;
        let page = self.page(plan, table, after, limit.clamp(1, INSPECT_PAGE_ROWS))?;
        let records = page.items.into_iter().map(|item| remote_record(plan, item));
        Ok(Looked {
            records: records.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    fn plan(&self, model: &str) -> Result<&Arc<ModelPlan>, BackendError> {
        self.compiled
            .find_model(model)
            .ok_or_else(|| BackendError::UnknownModel {
                model: model.to_owned(),
                known: self
                    .compiled
                    .plans()
                    .map(|plan| plan.name().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    fn each(
        &self,
        plan: &ModelPlan,
        table: Table,
        visit: &mut dyn FnMut(Item) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let mut after = None;
        loop {
            let page = self.page(plan, table, after.as_deref(), INSPECT_PAGE_ROWS)?;
            page.items.into_iter().try_for_each(&mut *visit)?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn page(
        &self,
        plan: &ModelPlan,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<PageOf, BackendError> {
        let snapshot = self.store.snapshot()?;
        // At the beginning of time no tombstone is expired, so all that is stored is seen.
        let reading = Reading {
            store: &self.store,
            rows: &snapshot,
            now_ms: i64::MIN,
        };
        let request = PageRequest {
            hidden_bytes: 0,
            goes_on: None,
            after,
            limit,
            visible: None,
            filter: None,
            descending: false,
        };
        match table {
            Table::Records => reading.scan(plan, &request),
            Table::Changes => reading.changes(plan, i64::MIN, &request),
        }
    }
}

/// A change as AppSync keeps it in the delta table.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaRow {
    /// Partition: the base table and the day of the change by UTC, such as `Post:2023-11-14`.
    pub ds_pk: String,
    /// Sort key: time of day, key of the record and version, such as `22:13:20.123:p1:3`.
    pub ds_sk: String,
    /// `_ttl`: when the row may be removed, in seconds since 1970.
    pub ttl_s: i64,
    /// The record after the change.
    pub record: RemoteRecord,
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

fn delta_row(plan: &ModelPlan, item: Item) -> Result<DeltaRow, BackendError> {
    let ttl_s = item.ttl_s.unwrap_or_default();
    let time = iso_time(item.last_changed_at_ms);
    let (day, clock) = time.split_once('T').unwrap_or((time.as_str(), ""));
    let record = remote_record(plan, item)?;
    Ok(DeltaRow {
        ds_pk: format!("{}:{day}", plan.name()),
        ds_sk: format!(
            "{}:{}:{}",
            clock.trim_end_matches('Z'),
            record.id,
            record.sync.version.0
        ),
        ttl_s,
        record,
    })
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
