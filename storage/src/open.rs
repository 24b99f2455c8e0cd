//! What happens when a store is opened: format, schema, layouts, and mutations that a stop left on their way.
//!
//! Owns [`prepare`]. Everything is one transaction, so that a crash while opening leaves the store as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{Database, ReadableTable, TableHandle, WriteTransaction};

use landfall_core::{Change, MutationRef, Origin, Schema, SchemaChanged, schema_from_json, schema_to_json};

use crate::catalog::Catalog;
use crate::codec::row::{Layout, LayoutId};
use crate::error::StorageError;
use crate::rebuild;
use crate::schema_diff::{self, SchemaDiff};
use crate::store::{LogHead, OnIncompatible, StoreOptions, read_head};
use crate::tables::{LAYOUTS, META, RECORDS, meta, model_prefix, prefix_end};
use crate::txn::Txn;

/// Newest form of a store that this version reads and writes.
const FORMAT: u32 = 1;

/// Makes a database ready: checks its format, takes on the schema, settles what a crash left open.
pub(crate) fn prepare(
    database: &Database,
    options: &StoreOptions,
) -> Result<(Catalog, LogHead), StorageError> {
    let transaction = database.begin_write()?;
    check_format(&transaction, options)?;
    let head = read_head(database)?;
    let stored = stored_schema(&transaction)?;
    let diff = match &stored {
        Some(stored) => schema_diff::compare(stored, &options.schema),
        None => SchemaDiff::default(),
    };
    let reasons = losses(&transaction, &diff)?;
    let wipe = !reasons.is_empty();
    if wipe && options.incompatible == OnIncompatible::Refuse {
        return Err(StorageError::SchemaIncompatible { reasons });
    }
    let catalog = Arc::new(take_on(&transaction, options)?);
    let planned = {
        let mut txn = Txn::open(&transaction, &catalog, head, options.now_ms)?;
        if wipe {
            txn.append(Origin::App, None, Change::Cleared)?;
        }
        if stored
            .as_ref()
            .is_none_or(|stored| stored.hash() != options.schema.hash())
        {
            let changed = SchemaChanged {
                hash: options.schema.hash().clone(),
                introspection: schema_to_json(&options.schema).to_string(),
            };
            txn.append(Origin::App, None, Change::SchemaChanged(changed))?;
        }
        settle_interrupted(&mut txn)?;
        txn.finish()?
    };
    if !wipe && diff.indexes_changed {
        rebuild::rebuild_indexes(&transaction, &catalog)?;
    }
    if planned == head {
        transaction.abort()?;
    } else {
        transaction.commit()?;
    }
    let catalog = Arc::into_inner(catalog).expect("the transaction that borrowed the catalog is gone");
    Ok((catalog, planned))
}

/// What the changes would lose of the records that there are.
fn losses(transaction: &WriteTransaction, diff: &SchemaDiff) -> Result<Vec<String>, StorageError> {
    let records = transaction.open_table(RECORDS)?;
    let mut reasons = Vec::new();
    for loss in &diff.losses {
        for model in &loss.models {
            let prefix = model_prefix(model);
            let end = prefix_end(&prefix).expect("a prefix that ends with a zero byte has a successor");
            if records
                .range(prefix.as_slice()..end.as_slice())?
                .next()
                .transpose()?
                .is_some()
            {
                reasons.push(loss.reason.clone());
                break;
            }
        }
    }
    Ok(reasons)
}

/// Refuses what is not ours, or newer than us, before any table is opened, which would make it.
fn check_format(transaction: &WriteTransaction, options: &StoreOptions) -> Result<(), StorageError> {
    let tables: Vec<_> = transaction.list_tables()?.collect();
    if !tables.iter().any(|table| table.name() == META.name()) {
        if !tables.is_empty() || transaction.list_multimap_tables()?.next().is_some() {
            return Err(StorageError::Foreign {
                path: options.disk.place(),
            });
        }
        transaction
            .open_table(META)?
            .insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        return Ok(());
    }
    let table = transaction.open_table(META)?;
    let found = table
        .get(meta::FORMAT)?
        .and_then(|value| <[u8; 4]>::try_from(value.value()).ok());
    let found = found
        .map(u32::from_le_bytes)
        .ok_or_else(|| StorageError::corrupt("the format number is missing"))?;
    if found > FORMAT {
        Err(StorageError::TooNew { found, known: FORMAT })
    } else {
        Ok(())
    }
}

fn stored_schema(transaction: &WriteTransaction) -> Result<Option<Schema>, StorageError> {
    schema_in(&transaction.open_table(META)?)
}

/// The schema that a store keeps.
pub(crate) fn schema_in(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<Schema>, StorageError> {
    let unreadable = |why: &str| StorageError::corrupt(format!("the stored schema cannot be read: {why}"));
    let Some(value) = table.get(meta::SCHEMA)? else {
        return Ok(None);
    };
    let (check, json) = value
        .value()
        .split_first_chunk::<4>()
        .ok_or_else(|| unreadable("it is cut short"))?;
    // A flipped bit must not pass for a change of the schema, which may be answered by a wipe.
    if u32::from_le_bytes(*check) != crc32fast::hash(json) {
        return Err(unreadable("it was altered"));
    }
    let json: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| unreadable(&error.to_string()))?;
    schema_from_json(&json).map(Some).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        unreadable(&faults.join("; "))
    })
}

/// Stores the schema and the layouts that it adds.
fn take_on(transaction: &WriteTransaction, options: &StoreOptions) -> Result<Catalog, StorageError> {
    let mut table = transaction.open_table(LAYOUTS)?;
    let mut layouts: BTreeMap<LayoutId, Layout> = BTreeMap::new();
    for item in table.iter()? {
        let (id, bytes) = item?;
        layouts.insert(LayoutId(id.value()), rmp_serde::from_slice(bytes.value())?);
    }
    let (catalog, fresh) = Catalog::build(Arc::clone(&options.schema), &layouts)?;
    for (id, layout) in fresh {
        let bytes = rmp_serde::to_vec(&layout).expect("writing MessagePack to memory cannot fail");
        table.insert(id.0, bytes.as_slice())?;
    }
    store_schema(transaction, &options.schema)?;
    Ok(catalog)
}

fn store_schema(transaction: &WriteTransaction, schema: &Schema) -> Result<(), StorageError> {
    let json = schema_to_json(schema).to_string();
    let mut value = crc32fast::hash(json.as_bytes()).to_le_bytes().to_vec();
    value.extend_from_slice(json.as_bytes());
    transaction
        .open_table(META)?
        .insert(meta::SCHEMA, value.as_slice())?;
    Ok(())
}

/// What every store has before its first entry: the number of its format, and its schema.
pub(crate) fn write_foundation(transaction: &WriteTransaction, schema: &Schema) -> Result<(), StorageError> {
    transaction
        .open_table(META)?
        .insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
    store_schema(transaction, schema)
}

/// A mutation that was on its way when the store stopped has an unknown outcome: the server will be asked.
fn settle_interrupted(txn: &mut Txn<'_>) -> Result<(), StorageError> {
    for mutation in txn.pending_in_flight()? {
        let of = MutationRef {
            key: mutation.key,
            mutation: mutation.seq,
        };
        txn.append(Origin::Recovery, Some(of.mutation), Change::OutcomeUnknown(of))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
