//! The base: what the entries that were trimmed from the log had come to, one entry for each record and sync cursor.
//!
//! Owns the table, and how it moves forward. An entry of the base is encoded like one of the log (`Change::Base`,
//! `Change::Checkpoint`), so whoever folds the log folds the base first and needs to know no more of it. It has the
//! position of the last entry that was trimmed.
//!
//! Invariants: 1. the base is what the trimmed entries come to by the rules that make the projections; 2. it moves in
//! the transaction that trims the log, so that the two always meet; 3. it names fields, not their places, so that a new
//! schema reads it as it reads the log.

use std::collections::BTreeMap;

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction,
};

use landfall_core::{
    Carrier, CarryFault, Change, LogEntry, ModelName, RecordBase, RecordKey, RecordState, Seq,
};

use crate::catalog::Catalog;
use crate::codec::entry;
use crate::digest;
use crate::error::StorageError;
use crate::rebuild::chain_start;
use crate::tables::{BASE, LOG, META, meta, record_key};

/// Entries that are folded before the base is written: each holds one record in memory.
const BATCH_LEN: usize = 10_000;

/// Bytes of entries that are folded before the base is written, and one entry more.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Begins the keys of sync cursors; no model's name does.
const CURSOR_MARK: u8 = 0;

type Based<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// The base as it is in a snapshot; `None` if the log was never trimmed.
pub(crate) fn of(
    transaction: &ReadTransaction,
) -> Result<Option<ReadOnlyTable<&'static [u8], &'static [u8]>>, StorageError> {
    match transaction.open_table(BASE) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Hands over every entry of the base of a log that starts at `start`. Returns whether the visitor wants to go on.
pub(crate) fn each(
    base: &impl ReadableTable<&'static [u8], &'static [u8]>,
    start: Seq,
    visit: &mut crate::history::Visit<'_>,
) -> Result<bool, StorageError> {
    let at = Seq(start.0.saturating_sub(1));
    for item in base.iter()? {
        let (_, bytes) = item?;
        if visit(at, bytes.value())?.is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves the base to an entry of the log, and takes the log up to there away. Returns the first entry that is left.
///
/// It stops before an entry of a kind that this version does not know: what that comes to is known only to the version
/// that wrote it.
pub(crate) fn advance(
    transaction: &WriteTransaction,
    catalog: &Catalog,
    mut cut: Seq,
) -> Result<Seq, StorageError> {
    let (start, mut check) = chain_start(&transaction.open_table(META)?)?;
    let mut log = transaction.open_table(LOG)?;
    let mut base = transaction.open_table(BASE)?;
    let mut next = start;
    while next <= cut {
        let batch = batch_of(&log, next, cut)?;
        let mut folded = Folded::new();
        for (seq, bytes) in &batch {
            if *seq != next {
                break;
            }
            let told = entry::decode(*seq, bytes)?;
            if matches!(told.change, Change::Opaque(_)) {
                cut = Seq(seq.0 - 1);
                break;
            }
            check = entry::verify(*seq, bytes, check)?;
            fold(&mut base, &mut folded, catalog, told)?;
            next = seq.next();
        }
        if next <= cut && batch.last().is_none_or(|(last, _)| last.next() != next) {
            return Err(StorageError::corrupt(format!("entry {next} is missing")));
        }
        write(&mut base, catalog, folded)?;
    }
    log.retain_in(..next.0, |_, _| false)?;
    digest::forget_before(transaction, next)?;
    let mut value = next.0.to_le_bytes().to_vec();
    value.extend_from_slice(&check.to_le_bytes());
    transaction
        .open_table(META)?
        .insert(meta::LOG_START, value.as_slice())?;
    Ok(next)
}

/// The next entries up to one, as many as are folded at once.
fn batch_of(
    log: &impl ReadableTable<u64, &'static [u8]>,
    next: Seq,
    cut: Seq,
) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
    let mut batch = Vec::new();
    let mut bytes_len = 0;
    for item in log.range(next.0..=cut.0)? {
        let (seq, bytes) = item?;
        bytes_len += bytes.value().len();
        batch.push((Seq(seq.value()), bytes.value().to_vec()));
        if batch.len() == BATCH_LEN || bytes_len >= BATCH_BYTES {
            break;
        }
    }
    Ok(batch)
}

/// Records that a batch has changed, by their encoded keys, each with the entry that changed it last.
type Folded = BTreeMap<Vec<u8>, (RecordKey, RecordState, LogEntry)>;

fn fold(
    base: &mut Based<'_>,
    folded: &mut Folded,
    catalog: &Catalog,
    told: LogEntry,
) -> Result<(), StorageError> {
    match &told.change {
        Change::Cleared => {
            base.retain(|_, _| false)?;
            folded.clear();
        }
        Change::Checkpoint(checkpoint) => {
            let key = cursor_key(&checkpoint.model);
            base.insert(key.as_slice(), encoded(&told).as_slice())?;
        }
        change => {
            // What names a model that the schema no longer has changes nothing, as in the projections.
            let Some(key) = change.key().cloned() else {
                return Ok(());
            };
            let Ok(model) = catalog.model(&key.model) else {
                return Ok(());
            };
            let encoded_key = record_key(&key);
            let mut state = match folded.remove(&encoded_key) {
                Some((_, state, _)) => state,
                None => match base.get(encoded_key.as_slice())? {
                    Some(bytes) => based(bytes.value())?.state(&model.def),
                    None => RecordState::default(),
                },
            };
            state.apply(&model.def, told.seq, change)?;
            folded.insert(encoded_key, (key, state, told));
        }
    }
    Ok(())
}

fn write(base: &mut Based<'_>, catalog: &Catalog, folded: Folded) -> Result<(), StorageError> {
    for (encoded_key, (key, state, last)) in folded {
        if state == RecordState::default() {
            base.remove(encoded_key.as_slice())?;
            continue;
        }
        let def = &catalog.model(&key.model)?.def;
        let told = LogEntry {
            change: Change::Base(RecordBase::of(key, def, &state)),
            ..last
        };
        base.insert(encoded_key.as_slice(), encoded(&told).as_slice())?;
    }
    Ok(())
}

fn cursor_key(model: &ModelName) -> Vec<u8> {
    let mut key = vec![CURSOR_MARK];
    key.extend_from_slice(model.as_bytes());
    key
}

/// Where an entry of the base is kept; `None` of one that is not of a base.
pub(crate) fn key_of(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Checkpoint(checkpoint) => Some(cursor_key(&checkpoint.model)),
        Change::Base(base) => Some(record_key(&base.key)),
        _ => None,
    }
}

/// What entries of the base have for the check before them: they are outside of the chain, since the base is rewritten in
/// places. The database's own checks guard its pages.
pub(crate) const CHAIN: u32 = 0;

fn encoded(told: &LogEntry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry::encode(&mut bytes, told, CHAIN);
    bytes
}

fn based(bytes: &[u8]) -> Result<RecordBase, StorageError> {
    match entry::decode(Seq::ZERO, bytes)?.change {
        Change::Base(base) => Ok(base),
        other => Err(StorageError::corrupt(format!(
            "the base of a record is an entry of the kind `{}`",
            other.name()
        ))),
    }
}

/// The base as it was carried over, until it takes the place of the old one. Lives inside one transaction, so that a base of any size
/// needs no more memory than a page of it.
const CARRIED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("carried-base-1");

/// Carries the base over to another schema; hands over what cannot be carried.
pub(crate) fn carry(
    transaction: &WriteTransaction,
    carrier: &Carrier,
    mut fault: impl FnMut(CarryFault),
) -> Result<(), StorageError> {
    {
        let mut carried = transaction.open_table(CARRIED)?;
        for item in transaction.open_table(BASE)?.iter()? {
            let (_, bytes) = item?;
            let mut told = entry::decode(Seq::ZERO, bytes.value())?;
            match carrier.change(&told.change) {
                Ok(Some(change)) => {
                    let Some(key) = key_of(&change) else { continue };
                    told.change = change;
                    carried.insert(key.as_slice(), encoded(&told).as_slice())?;
                }
                Ok(None) => {}
                Err(found) => fault(found),
            }
        }
    }
    transaction.delete_table(BASE)?;
    transaction.rename_table(CARRIED, BASE)?;
    Ok(())
}
