//! Looking at what a backend has stored, from inside the process.
//!
//! Owns the reading of whole tables for tests, simulations and tools. Nothing here can be asked over the network.

use std::sync::Arc;

use landfall_core::{FieldMap, RecordId, RecordVersion, RemoteRecord, SyncMetadata};

use super::Backend;
use crate::compile::ModelPlan;
use crate::error::BackendError;
use crate::execute::iso_time;
use crate::item::Item;
use crate::store::{PageRequest, Reading};

/// Rows that are read at a time.
const INSPECT_PAGE_ROWS: usize = 1_000;

/// What is read.
#[derive(Clone, Copy)]
enum Table {
    Records,
    Changes,
}

impl Backend {
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
        let snapshot = self.store.snapshot()?;
        // At the beginning of time no tombstone is expired, so all that is stored is seen.
        let reading = Reading {
            store: &self.store,
            rows: &snapshot,
            now_ms: i64::MIN,
        };
        let mut after = None;
        loop {
            let request = PageRequest {
                after: after.as_deref(),
                limit: INSPECT_PAGE_ROWS,
                visible: None,
                filter: None,
                descending: false,
            };
            let page = match table {
                Table::Records => reading.scan(plan, &request)?,
                Table::Changes => reading.changes(plan, i64::MIN, &request)?,
            };
            page.items.into_iter().try_for_each(&mut *visit)?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
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
