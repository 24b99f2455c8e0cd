//! The index table when a schema asks for other indexes than it holds: only what is new is built.
//!
//! Owns [`bring_up`] and the note of what the table holds. Invariants: 1. all of it is the transaction that takes on the
//! schema; 2. an index that the table holds already is left as it is.

use std::collections::BTreeSet;

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use landfall_core::{ModelName, keycode};

use crate::catalog::{Catalog, IndexEntry, ModelEntry};
use crate::codec::head::HeadRef;
use crate::error::StorageError;
use crate::index;
use crate::migrate::{Migrations, Progress};
use crate::tables::{INDEX, META, RECORDS, index_prefix, meta, model_prefix, model_range, prefix_end};

/// Stands for the form of entries. Another one has every store make its index table again.
const FORM: u32 = 2;

/// Rows between two reports of progress.
const REPORT_EACH: usize = 1_024;

/// An index as it is noted: its model, its name, its fields with their types.
type Noted = (String, String, String);

fn noted_as(model: &ModelEntry, index: &IndexEntry) -> Noted {
    let fields = index.slots.iter().map(|slot| {
        let field = model.def.stored_field(*slot);
        format!("{}: {}", field.name, field.ty)
    });
    let fields: Vec<String> = fields.collect();
    (model.def.name.to_string(), index.name.clone(), fields.join(", "))
}

fn wanted(catalog: &Catalog) -> BTreeSet<Noted> {
    let mut wanted = BTreeSet::new();
    for model in catalog.models() {
        wanted.extend(model.indexes.iter().map(|index| noted_as(model, index)));
    }
    wanted
}

/// What the table holds; `None` if it has to be made anew.
fn held(transaction: &WriteTransaction) -> Result<Option<BTreeSet<Noted>>, StorageError> {
    let table = transaction.open_table(META)?;
    let Some(bytes) = table.get(meta::INDEXES)? else {
        return Ok(None);
    };
    // An older version noted something else there.
    let found = rmp_serde::from_slice::<(u32, BTreeSet<Noted>)>(bytes.value()).ok();
    Ok(found.filter(|(form, _)| *form == FORM).map(|(_, held)| held))
}

/// Whether the table holds other indexes than the schema asks for.
pub(crate) fn differs(transaction: &WriteTransaction, catalog: &Catalog) -> Result<bool, StorageError> {
    Ok(held(transaction)?.is_none_or(|held| held != wanted(catalog)))
}

/// Has the table hold what the schema asks for; returns whether that is news. `anew` says that no entry can be trusted,
/// `emptied` that there are no rows.
pub(crate) fn bring_up(
    transaction: &WriteTransaction,
    catalog: &Catalog,
    migrations: &Migrations,
    anew: bool,
    emptied: bool,
) -> Result<bool, StorageError> {
    let (wanted, mut held) = (wanted(catalog), held(transaction)?);
    let is_news = held.as_ref() != Some(&wanted);
    if is_news {
        let bytes = rmp_serde::to_vec(&(FORM, &wanted)).expect("writing MessagePack to memory cannot fail");
        transaction
            .open_table(META)?
            .insert(meta::INDEXES, bytes.as_slice())?;
    }
    if emptied || (!is_news && !anew) {
        return Ok(is_news);
    }
    if anew {
        held = None;
    }
    match &held {
        None => drop(transaction.delete_table(INDEX)?),
        Some(held) => {
            for (model, name, _) in held.difference(&wanted) {
                remove(transaction, model, name)?;
            }
        }
    }
    let held = held.unwrap_or_default();
    build(transaction, catalog, migrations, |index| !held.contains(index))?;
    Ok(is_news)
}

fn remove(transaction: &WriteTransaction, model: &str, name: &str) -> Result<(), StorageError> {
    let start = index_prefix(&ModelName::from(model), name);
    let end = prefix_end(&start).expect("a prefix that ends with a zero byte has a successor");
    let mut table = transaction.open_table(INDEX)?;
    Ok(table.retain_in(start.as_slice()..end.as_slice(), |_, ()| false)?)
}

/// Makes the entries of some indexes from the rows.
fn build(
    transaction: &WriteTransaction,
    catalog: &Catalog,
    migrations: &Migrations,
    is_new: impl Fn(&Noted) -> bool,
) -> Result<(), StorageError> {
    let mut table = transaction.open_table(INDEX)?;
    let records = transaction.open_table(RECORDS)?;
    let fresh_of = |model: &ModelEntry| -> Vec<IndexEntry> {
        let fresh = model
            .indexes
            .iter()
            .filter(|index| is_new(&noted_as(model, index)));
        fresh.cloned().collect()
    };
    let fresh = catalog.models().map(|model| (model, fresh_of(model)));
    let fresh: Vec<_> = fresh.filter(|(_, indexes)| !indexes.is_empty()).collect();
    let rows_of = |model: &ModelEntry| {
        let (start, end) = model_range(&model.def.name);
        records.range(start.as_slice()..end.as_slice())
    };
    let mut progress = Progress::of(migrations, || {
        if fresh.len() == catalog.models().count() {
            return Ok(records.len()?);
        }
        let mut total = 0;
        for (model, _) in &fresh {
            total += u64::try_from(rows_of(model)?.count()).unwrap_or(u64::MAX);
        }
        Ok(total)
    })?;
    for (model, indexes) in &fresh {
        let prefix_len = model_prefix(&model.def.name).len();
        let mut unreported = 0;
        for item in rows_of(model)? {
            let (key, head) = item?;
            unreported += 1;
            if unreported == REPORT_EACH {
                progress.step(std::mem::take(&mut unreported));
            }
            let Some(row) = HeadRef::parse(head.value())?.row else {
                continue;
            };
            let values = model.decode(row)?;
            let id = keycode::decode_id(&key.value()[prefix_len..])?;
            for index in indexes {
                if let Some(entry) = index::entry_key(&model.def.name, index, &values, &id) {
                    table.insert(entry.as_slice(), ())?;
                }
            }
        }
        progress.step(unreported);
    }
    progress.finish();
    Ok(())
}

/// Makes all entries again from the rows, as a schema that is new to the store has them made.
#[cfg(test)]
pub(crate) fn rebuild_all(transaction: &WriteTransaction, catalog: &Catalog) -> Result<(), StorageError> {
    transaction.delete_table(INDEX)?;
    build(transaction, catalog, &Migrations::default(), |_| true)
}

#[cfg(test)]
mod tests;
