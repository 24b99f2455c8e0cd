//! What happens when a store is opened: entries that are only in the journal, format, schema, layouts, and mutations that
//! a stop left on their way.
//!
//! Owns [`prepare`] and [`recover`]. Everything is one transaction, so that a crash while opening leaves the store as
//! it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{
    Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableHandle, WriteTransaction,
};

use landfall_core::{
    Change, MutationRef, Origin, RecordKey, Schema, SchemaChanged, Seq, schema_from_json, schema_to_json,
};

use crate::catalog::Catalog;
use crate::codec::row::{Layout, LayoutId};
use crate::commit::{checkpoint, erase};
use crate::disk::Opened;
use crate::error::StorageError;
use crate::index_build;
use crate::journal::{Found, Journal};
use crate::migrate::{self, MigrationReport, Migrations};
use crate::rebuild;
use crate::schema_diff::{SchemaLoss, schema_losses};
use crate::store::{LogHead, OnIncompatible, StoreOptions, read_head};
use crate::tables::{LAYOUTS, META, OUTBOX, RECORDS, meta, model_range};
use crate::txn::Txn;

/// Newest form of a store that this version reads and writes.
const FORMAT: u32 = 1;

/// Makes a store ready: takes over what a crash left in the journal, checks the format, takes on the schema, settles
/// what a stop left open. Returns also whether that took a checkpoint.
pub(crate) fn prepare(
    opened: &Opened,
    options: &StoreOptions,
    migrations: &Migrations,
) -> Result<(Catalog, LogHead, bool), StorageError> {
    let mut transaction = opened.database.begin_write()?;
    let prepared = prepare_in(&transaction, opened, options, migrations)?;
    let mut journal = opened.journal();
    if prepared.changed {
        checkpoint(transaction, &mut journal)?;
    } else if prepared.recovered {
        transaction.set_durability(Durability::None)?;
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    if prepared.forgets {
        // Behind what was taken over just now, which nothing but the journal has on disk.
        erase(&mut journal);
    }
    say_opened(&prepared);
    let catalog = prepared.catalog;
    let catalog = Arc::into_inner(catalog).expect("the transaction that borrowed the catalog is gone");
    Ok((catalog, prepared.head, prepared.changed))
}

/// Says in the program's log which entries opening has appended, now that they are on disk.
fn say_opened(prepared: &Prepared) {
    let report = &prepared.report;
    if !report.applied.is_empty() {
        tracing::info!(
            migrations = ?report.applied,
            records = report.records,
            mutations = report.mutations,
            entries = report.entries,
            newest = %prepared.head.seq,
            "the store was carried over to another schema"
        );
    }
    for entry in &prepared.appended {
        let key = entry.key.as_ref();
        tracing::info!(
            target: "landfall::entry",
            entry = %entry.seq,
            kind = entry.kind,
            model = key.map(|key| tracing::field::display(&key.model)),
            id = key.map(|key| tracing::field::display(&key.id)),
            mutation = entry.cause.map(tracing::field::display),
            cause = entry.cause.map(tracing::field::display),
            "{}",
            entry.kind
        );
    }
}

/// As [`prepare`], on a disk without room, of which [`Disk::open_without_writing`](crate::disk::Disk::open_without_writing)
/// keeps in memory what is written: mutations that a stop left on their way stay so until there is room, and the log ends where it
/// ends on disk.
///
/// [`StorageError::Full`] if there is a schema to take on.
pub(crate) fn prepare_to_read(
    opened: &Opened,
    options: &StoreOptions,
) -> Result<(Catalog, LogHead), StorageError> {
    let mut transaction = opened.database.begin_write()?;
    check_format(&transaction, options)?;
    let on_disk = read_head(&opened.database)?;
    let found = opened.journal().recover(on_disk)?;
    let stored = stored_schema(&transaction)?.filter(|stored| stored.hash() == options.schema.hash());
    if stored.is_none() {
        return Err(StorageError::full());
    }
    let catalog = Arc::new(take_on(&transaction, &options.schema)?);
    let head = append_again(&transaction, &catalog, on_disk, &found)?;
    if index_build::differs(&transaction, &catalog)? {
        return Err(StorageError::full());
    }
    transaction.set_durability(Durability::None)?;
    transaction.commit()?;
    let catalog = Arc::into_inner(catalog).expect("the transaction that borrowed the catalog is gone");
    Ok((catalog, head))
}

/// Says what taking on the schema would do, and changes nothing.
pub(crate) fn rehearse(
    opened: &Opened,
    options: &StoreOptions,
    migrations: &Migrations,
) -> Result<MigrationReport, StorageError> {
    let transaction = opened.database.begin_write()?;
    let report = prepare_in(&transaction, opened, options, migrations)?.report;
    transaction.abort()?;
    Ok(report)
}

/// A store whose transaction is still to be committed.
struct Prepared {
    catalog: Arc<Catalog>,
    head: LogHead,
    /// Whether there is something new that has to be on disk.
    changed: bool,
    /// Whether entries of the journal were taken over.
    recovered: bool,
    /// Whether the journal holds what the store gave up.
    forgets: bool,
    report: MigrationReport,
    /// What opening itself appends.
    appended: Vec<Appended>,
}

/// What the program's log says of an entry that opening appends.
struct Appended {
    seq: Seq,
    kind: &'static str,
    key: Option<RecordKey>,
    /// What led to it, which is the mutation that it is about, if it is about one.
    cause: Option<Seq>,
}

fn prepare_in(
    transaction: &WriteTransaction,
    opened: &Opened,
    options: &StoreOptions,
    migrations: &Migrations,
) -> Result<Prepared, StorageError> {
    check_format(transaction, options)?;
    let on_disk = read_head(&opened.database)?;
    let found = opened.journal().recover(on_disk)?;
    let stored = stored_schema(transaction)?.map(Arc::new);
    let head = match &stored {
        // The journal's entries were made under the schema of their time.
        Some(stored) => {
            let catalog = Arc::new(take_on(transaction, stored)?);
            append_again(transaction, &catalog, on_disk, &found)?
        }
        None if found.is_empty() => on_disk,
        None => {
            let what = "the journal has entries, but the store has no schema";
            return Err(StorageError::corrupt(what));
        }
    };
    let changes = stored
        .as_ref()
        .map_or_else(Vec::new, |stored| schema_losses(stored, &options.schema));
    let mut reasons = losses(transaction, &changes)?;
    let catalog = Arc::new(take_on(transaction, &options.schema)?);
    let mut report = MigrationReport::default();
    let mut carried_head = head;
    report.skipped = migrate::skipped(transaction, migrations, reasons.is_empty())?;
    if let Some(stored) = &stored
        && let Some(carried) = migrate::carry_over(
            transaction,
            migrations,
            stored,
            &catalog,
            head,
            reasons.is_empty(),
        )?
    {
        let skipped = std::mem::take(&mut report.skipped);
        let left = schema_losses(&carried.schema, &options.schema);
        report = carried.report;
        report.skipped = skipped;
        carried_head = carried.head;
        report.reasons = std::mem::replace(&mut reasons, losses(transaction, &left)?);
    }
    let wipe = !reasons.is_empty();
    if wipe && options.incompatible == OnIncompatible::Refuse {
        let again = |name: &String| {
            format!(
                "the migration {name:?} was gone through before and is not done again; new steps need a new name"
            )
        };
        reasons.extend(report.skipped.iter().map(again));
        return Err(StorageError::SchemaIncompatible { reasons });
    }
    let noted = migrate::note_names(transaction, migrations)?;
    let is_new = stored.is_none_or(|stored| stored.hash() != options.schema.hash());
    let (planned, appended) = bring_up(transaction, &catalog, options, carried_head, wipe, is_new)?;
    // Rows that were carried over are in no index as they are now.
    let carried = !report.applied.is_empty();
    let reindexed = index_build::bring_up(transaction, &catalog, migrations, carried, wipe)?;
    report.waiting = transaction.open_table(OUTBOX)?.len()?;
    Ok(Prepared {
        catalog,
        head: planned,
        changed: noted || reindexed || planned != head,
        recovered: head != on_disk,
        // A crash may have come between a clear and the erasing that follows it.
        forgets: wipe || !report.applied.is_empty() || is_left_over(transaction, &opened.journal())?,
        report,
        appended,
    })
}

/// Whether the journal has something that the log no longer has.
fn is_left_over(transaction: &WriteTransaction, journal: &Journal) -> Result<bool, StorageError> {
    let (start, _) = rebuild::chain_start(&transaction.open_table(META)?)?;
    Ok(journal.oldest().is_some_and(|oldest| oldest < start))
}

/// Appends what opening itself has to say. Returns where the log ends then, and what was appended.
fn bring_up(
    transaction: &WriteTransaction,
    catalog: &Arc<Catalog>,
    options: &StoreOptions,
    head: LogHead,
    wipe: bool,
    is_new: bool,
) -> Result<(LogHead, Vec<Appended>), StorageError> {
    let mut txn = Txn::open(transaction, catalog, head, options.now_ms)?;
    let mut appended = Vec::new();
    if wipe {
        appended.push(append(&mut txn, Origin::App, None, Change::Cleared)?);
    }
    if is_new {
        let changed = SchemaChanged {
            hash: options.schema.hash().clone(),
            introspection: schema_to_json(&options.schema).to_string(),
        };
        appended.push(append(
            &mut txn,
            Origin::App,
            None,
            Change::SchemaChanged(changed),
        )?);
    }
    settle_interrupted(&mut txn, &mut appended)?;
    Ok((txn.finish()?.head, appended))
}

/// Appends an entry, and keeps what there is to say of it.
fn append(
    txn: &mut Txn<'_>,
    origin: Origin,
    cause: Option<Seq>,
    change: Change,
) -> Result<Appended, StorageError> {
    let (kind, key) = (change.name(), change.key().cloned());
    let seq = txn.append(origin, cause, change)?.seq;
    Ok(Appended {
        seq,
        kind,
        key,
        cause,
    })
}

/// Makes a store that was reopened while it was in use as it was: takes over what is only in the journal. Returns whether
/// entries after `newest` were left there.
///
/// [`StorageError::Full`] if the database itself has such entries: `newest` is given where there is no room to bring them to disk.
pub(crate) fn recover(
    opened: &Opened,
    catalog: &Arc<Catalog>,
    newest: Option<Seq>,
) -> Result<bool, StorageError> {
    let head = read_head(&opened.database)?;
    let mut found = opened.journal().recover(head)?;
    let newest = newest.unwrap_or(Seq(u64::MAX));
    if head.seq > newest {
        return Err(StorageError::full());
    }
    let in_all = found.len();
    found.retain(|entry| entry.seq <= newest);
    let withheld = found.len() < in_all;
    if !found.is_empty() {
        let mut transaction = opened.database.begin_write()?;
        append_again(&transaction, catalog, head, &found)?;
        // The journal has it on disk, and a full disk must not keep the store closed.
        transaction.set_durability(Durability::None)?;
        transaction.commit()?;
    }
    let mut journal = opened.journal();
    let (start, _) = rebuild::chain_start(&opened.database.begin_read()?.open_table(META)?)?;
    if journal.oldest().is_some_and(|oldest| oldest < start) {
        // A clear whose commit failed at first is there after all.
        erase(&mut journal);
    }
    Ok(withheld)
}

/// Appends entries of the journal to the log that ends with `head`. Returns where it ends then.
pub(crate) fn append_again(
    transaction: &WriteTransaction,
    catalog: &Arc<Catalog>,
    head: LogHead,
    found: &[Found],
) -> Result<LogHead, StorageError> {
    let mut txn = Txn::open(transaction, catalog, head, 0)?;
    for Found { seq, bytes } in found {
        txn.append_again(*seq, bytes).map_err(|error| match error {
            StorageError::Misfit(_) | StorageError::UnknownModel { .. } => StorageError::corrupt(format!(
                "entry {seq} of the journal does not fit the records: {error}"
            )),
            other => other,
        })?;
    }
    Ok(txn.finish()?.head)
}

/// What the changes would lose of the records that there are.
fn losses(transaction: &WriteTransaction, changes: &[SchemaLoss]) -> Result<Vec<String>, StorageError> {
    let records = transaction.open_table(RECORDS)?;
    let mut reasons = Vec::new();
    for loss in changes {
        for model in &loss.models {
            let (start, end) = model_range(model);
            if records
                .range(start.as_slice()..end.as_slice())?
                .next()
                .transpose()?
                .is_some()
            {
                reasons.push(loss.to_string());
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

/// The layouts that rows on disk name.
pub(crate) fn layouts(transaction: &WriteTransaction) -> Result<BTreeMap<LayoutId, Layout>, StorageError> {
    let mut layouts = BTreeMap::new();
    for item in transaction.open_table(LAYOUTS)?.iter()? {
        let (id, bytes) = item?;
        layouts.insert(LayoutId(id.value()), rmp_serde::from_slice(bytes.value())?);
    }
    Ok(layouts)
}

/// Stores the schema and the layouts that it adds.
fn take_on(transaction: &WriteTransaction, schema: &Arc<Schema>) -> Result<Catalog, StorageError> {
    let layouts = layouts(transaction)?;
    let mut table = transaction.open_table(LAYOUTS)?;
    let (catalog, fresh) = Catalog::build(Arc::clone(schema), &layouts)?;
    for (id, layout) in fresh {
        let bytes = rmp_serde::to_vec(&layout).expect("writing MessagePack to memory cannot fail");
        table.insert(id.0, bytes.as_slice())?;
    }
    store_schema(transaction, schema)?;
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
fn settle_interrupted(txn: &mut Txn<'_>, appended: &mut Vec<Appended>) -> Result<(), StorageError> {
    for mutation in txn.pending_in_flight()? {
        let of = MutationRef {
            key: mutation.key,
            mutation: mutation.seq,
        };
        let mutation = of.mutation;
        let change = Change::OutcomeUnknown(of);
        appended.push(append(txn, Origin::Recovery, Some(mutation), change)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
