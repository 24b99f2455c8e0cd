//! Raw redb with the very rows that Landfall stored: the floor of the writing figures.
//!
//! Reads the rows out of a store's own file, so that the floor writes the same bytes into the same tables.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::rows::report;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log-1");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records-1");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox-1");
const INDEX: TableDefinition<&[u8], ()> = TableDefinition::new("index-1");

/// What one save wrote.
#[derive(Debug, Default)]
pub(super) struct SavedRow {
    seq: u64,
    entry: Vec<u8>,
    record: (Vec<u8>, Vec<u8>),
    mutation: Vec<u8>,
    index: Vec<Vec<u8>>,
}

/// Reads what each save of a closed store wrote, in the order of the saves.
pub(super) fn rows_of(directory: &Path) -> miette::Result<Vec<SavedRow>> {
    let inside = landfall_storage::database_of(directory).map_err(report)?;
    let database = Database::builder().create_with_backend(inside).map_err(report)?;
    let transaction = database.begin_read().map_err(report)?;
    let mut rows: BTreeMap<u64, SavedRow> = BTreeMap::new();
    for item in transaction
        .open_table(OUTBOX)
        .map_err(report)?
        .iter()
        .map_err(report)?
    {
        let (seq, mutation) = item.map_err(report)?;
        let row = SavedRow {
            seq: seq.value(),
            mutation: mutation.value().to_vec(),
            ..SavedRow::default()
        };
        rows.insert(seq.value(), row);
    }
    for item in transaction
        .open_table(LOG)
        .map_err(report)?
        .iter()
        .map_err(report)?
    {
        let (seq, entry) = item.map_err(report)?;
        if let Some(row) = rows.get_mut(&seq.value()) {
            row.entry = entry.value().to_vec();
        }
    }
    let mut by_id: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for item in transaction
        .open_table(RECORDS)
        .map_err(report)?
        .iter()
        .map_err(report)?
    {
        let (key, head) = item.map_err(report)?;
        // A head ends with the position of its pending mutation, a key with the identifier.
        let Some(seq) = head.value().last_chunk::<8>().map(|seq| u64::from_le_bytes(*seq)) else {
            continue;
        };
        if let Some(row) = rows.get_mut(&seq) {
            by_id.insert(key.value()["Item\0".len()..].to_vec(), seq);
            row.record = (key.value().to_vec(), head.value().to_vec());
        }
    }
    let id_length = by_id.keys().next().map_or(0, Vec::len);
    for item in transaction
        .open_table(INDEX)
        .map_err(report)?
        .iter()
        .map_err(report)?
    {
        let (key, ()) = (item.map_err(report)?.0, ());
        let id = &key.value()[key.value().len().saturating_sub(id_length)..];
        if let Some(row) = by_id.get(id).and_then(|seq| rows.get_mut(seq)) {
            row.index.push(key.value().to_vec());
        }
    }
    Ok(rows.into_values().collect())
}

/// Which tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// All of them, as a save does.
    All,
    /// Those that are projected from the log.
    Projections,
}

/// Writes the rows into a fresh database, so many to a durable transaction.
pub(super) fn write(
    path: &Path,
    rows: &[SavedRow],
    per_transaction: usize,
    tables: Tables,
) -> miette::Result<()> {
    let database = Database::builder()
        .set_cache_size(landfall_storage::CACHE_BYTES_DEFAULT)
        .create(path)
        .map_err(report)?;
    for chunk in rows.chunks(per_transaction) {
        let transaction = database.begin_write().map_err(report)?;
        {
            let mut records = transaction.open_table(RECORDS).map_err(report)?;
            let mut outbox = transaction.open_table(OUTBOX).map_err(report)?;
            let mut index = transaction.open_table(INDEX).map_err(report)?;
            let mut log = match tables {
                Tables::All => Some(transaction.open_table(LOG).map_err(report)?),
                Tables::Projections => None,
            };
            for row in chunk {
                if let Some(log) = &mut log {
                    log.insert(row.seq, row.entry.as_slice()).map_err(report)?;
                }
                records
                    .insert(row.record.0.as_slice(), row.record.1.as_slice())
                    .map_err(report)?;
                outbox.insert(row.seq, row.mutation.as_slice()).map_err(report)?;
                for key in &row.index {
                    index.insert(key.as_slice(), ()).map_err(report)?;
                }
            }
        }
        transaction.commit().map_err(report)?;
    }
    Ok(())
}
