//! Building the indexes that a changed schema needs.
//!
//! Owns the comparison of the indexes that were built with those that are planned, and the rebuild of a model's entries.
//!
//! Invariant: the list of built indexes is written after their entries, so a rebuild that was cut short is done again.

use landfall_core::FieldName;
use landfall_storage::kv::{KvRange, KvRead, KvTable};

use super::read::decode;
use super::write::index_entries;
use super::{Store, tables};
use crate::compile::ModelPlan;
use crate::error::BackendError;

/// Rows handled in one transaction, which bounds the memory of a rebuild.
const REINDEX_BATCH_ROWS: usize = 1_000;

impl Store {
    /// Rebuilds the indexes of every model whose indexes are not those that were built last.
    pub(super) fn reindex(&self) -> Result<(), BackendError> {
        let planned: Vec<String> = self.compiled.plans().map(|plan| built_line(plan)).collect();
        let planned = planned.join("\n");
        let built = self
            .kv
            .read()?
            .get(tables::META, tables::META_INDEXES)?
            .unwrap_or_default();
        if built == planned.as_bytes() {
            return Ok(());
        }
        let built = String::from_utf8_lossy(&built).into_owned();
        for plan in self.compiled.plans() {
            if !built.lines().any(|line| line == built_line(plan)) {
                self.clear_index(plan)?;
                self.build_index(plan)?;
            }
        }
        self.kv
            .write(|txn| Ok(txn.put(tables::META, tables::META_INDEXES, planned.as_bytes())?))
    }

    fn clear_index(&self, plan: &ModelPlan) -> Result<(), BackendError> {
        let range = KvRange::prefix(&tables::model_prefix(plan.name()));
        self.in_batches(tables::INDEX, &range, |txn, key, _| {
            Ok(txn.remove(tables::INDEX, key).map(drop)?)
        })
    }

    fn build_index(&self, plan: &ModelPlan) -> Result<(), BackendError> {
        let range = KvRange::prefix(&tables::model_prefix(plan.name()));
        self.in_batches(tables::BASE, &range, |txn, base_key, row| {
            for entry in index_entries(plan, &decode("base-1", row)?.attributes, base_key) {
                txn.put(tables::INDEX, &entry, base_key)?;
            }
            Ok(())
        })
    }

    fn in_batches(
        &self,
        table: KvTable,
        range: &KvRange,
        each: impl Fn(&mut landfall_storage::kv::KvTxn<'_>, &[u8], &[u8]) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let mut rest = range.clone();
        loop {
            let last = self.kv.write(|txn| -> Result<_, BackendError> {
                let rows = txn.rows(table, &rest, REINDEX_BATCH_ROWS)?;
                for (key, value) in &rows {
                    each(txn, key, value)?;
                }
                Ok(rows
                    .last()
                    .filter(|_| rows.len() == REINDEX_BATCH_ROWS)
                    .map(|(key, _)| key.clone()))
            })?;
            match last {
                Some(key) => rest = range.clone().after(&key),
                None => return Ok(()),
            }
        }
    }
}

/// One line that changes whenever the entries of a model's indexes would.
fn built_line(plan: &ModelPlan) -> String {
    let indexes: Vec<String> = plan
        .indexes
        .iter()
        .map(|index| {
            let fields: Vec<&str> = index.key.fields().map(FieldName::as_str).collect();
            format!("{}({})", index.name, fields.join(","))
        })
        .collect();
    format!("{} {}", plan.name(), indexes.join(" "))
}
