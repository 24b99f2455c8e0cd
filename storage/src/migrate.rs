//! Migrations on disk: rows, waiting mutations, cursors and the log, carried over to another schema.
//!
//! Owns [`Migrations`], [`MigrationReport`], [`LostValues`] and the pass over the tables. What a step does to a value, a mutation or an
//! entry is `landfall_core::Carrier`'s; when a migration is needed at all is `open.rs`'s.
//!
//! Invariants: 1. all of it is the transaction that takes on the schema, so a crash leaves the store as it was before
//! or as it is after; 2. the log that was carried over gives the projections that were carried over; 3. entries keep
//! their numbers, and those of a model that goes are kept as they were written, out of the reach of replays; 4. a
//! damaged log is not made to look sound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use landfall_core::{
    Carrier, CarryFault, FieldMap, FieldName, Migration, ModelName, Mutation, Row, Schema, Seq, Value,
    keycode,
};

use crate::base;
use crate::catalog::Catalog;
use crate::codec::head::{HeadParts, HeadRef};
use crate::codec::{entry, row};
use crate::digest;
use crate::error::StorageError;
use crate::rebuild::chain_start;
use crate::store::LogHead;
use crate::tables::{CURSORS, LOG, META, OUTBOX, RECORDS, meta, model_range, record_key_of};

/// Rows or entries that are held in memory at a time.
const BATCH_LEN: usize = 1_024;

/// Most faults that are listed; the first few tell what is wrong.
const FAULTS_MAX: usize = 20;

/// Records that were carried over and wait to take the places of the old ones. Lives inside one transaction.
const CARRIED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("carried-1");

/// Hears how far a migration has got.
pub type OnProgress = Arc<dyn Fn(MigrationProgress) + Send + Sync>;

/// The migrations of an app, oldest first.
#[derive(Clone, Default)]
pub struct Migrations {
    list: Vec<Migration>,
    progress: Option<OnProgress>,
}

/// How far a migration has got, which `DataStoreBuilder::on_migration` hears, or the building of indexes, which comes after it and begins at zero again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationProgress {
    /// Records, mutations and entries that are done.
    pub done: u64,
    /// All of them. The last report of each of the two says that all are done.
    pub total: u64,
}

/// What a migration did, or would do: the answer of `DataStoreBuilder::rehearse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// What the new schema cannot keep without a migration; empty if none is needed.
    pub reasons: Vec<String>,
    /// Names of the migrations that were gone through, in order.
    pub applied: Vec<String>,
    /// Names of those that were not: the store went through them before, or its data did not need them.
    pub skipped: Vec<String>,
    /// Records that were carried over.
    pub records: u64,
    /// Changes that wait for the server and were carried over.
    pub mutations: u64,
    /// Log entries that were carried over.
    pub entries: u64,
    /// Values of changes that wait for the server and that go with their fields, in the order of models and fields.
    pub lost_values: Vec<LostValues>,
    /// All changes that wait for the server afterwards, those that were carried over included.
    pub waiting: u64,
}

/// Values that the server never gets: changes that wait for it set them, and a migration takes their field away.
///
/// Written out, it is a sentence about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostValues {
    /// The model, by its new name.
    pub model: ModelName,
    /// The field, by the name that it had in the store.
    pub field: FieldName,
    /// How many waiting changes set it; at least one.
    pub changes: u64,
}

impl fmt::Display for LostValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = match self.changes {
            1 => "1 unsent change sets".to_owned(),
            several => format!("{several} unsent changes set"),
        };
        write!(
            f,
            "{changes} `{}.{}`, which the server never got",
            self.model, self.field
        )
    }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

impl Migrations {
    /// Adds a migration that is newer than those before it.
    pub fn push(&mut self, migration: Migration) {
        self.list.push(migration);
    }

    /// Says who hears how far a migration has got.
    pub fn on_progress(&mut self, progress: OnProgress) {
        self.progress = Some(progress);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A store's data under another schema.
pub(crate) struct Carried {
    /// The schema of the data now, to be compared with the one that the store is opened with.
    pub(crate) schema: Arc<Schema>,
    pub(crate) head: LogHead,
    pub(crate) report: MigrationReport,
}

/// Goes through the migrations that the store has not gone through yet; `None` if there is none.
///
/// The catalog is that of the new schema, and `head` where the log ends. `fits` says that the data fits the schema as it is:
/// then only those are gone through that convert nothing but values.
pub(crate) fn carry_over(
    transaction: &WriteTransaction,
    migrations: &Migrations,
    stored: &Arc<Schema>,
    catalog: &Catalog,
    head: LogHead,
    fits: bool,
) -> Result<Option<Carried>, StorageError> {
    let gone_through = names(transaction)?;
    let pending: Vec<&Migration> = migrations
        .list
        .iter()
        .filter(|migration| is_pending(migration, &gone_through, fits))
        .collect();
    if pending.is_empty() {
        return Ok(None);
    }
    let carrier = Carrier::new(stored, &catalog.schema, &pending)?;
    let layouts = crate::open::layouts(transaction)?;
    let (old, _) = Catalog::build(Arc::clone(stored), &layouts)?;
    let mut pass = Pass {
        transaction,
        carrier: &carrier,
        old: &old,
        new: catalog,
        progress: Progress::new(transaction, migrations, &carrier)?,
        faults: Vec::new(),
        lost: BTreeMap::new(),
        report: MigrationReport {
            applied: pending
                .iter()
                .map(|migration| migration.name().to_owned())
                .collect(),
            ..MigrationReport::default()
        },
    };
    pass.outbox()?;
    pass.records()?;
    pass.base()?;
    let head = pass.log(head)?;
    pass.cursors()?;
    pass.progress.finish();
    pass.report.lost_values = lost_values(pass.lost);
    if !pass.faults.is_empty() {
        return Err(StorageError::MigrationFailed { faults: pass.faults });
    }
    let schema = carrier
        .carried_schema()
        .map_err(|faults| StorageError::MigrationFailed {
            faults: faults.iter().map(ToString::to_string).collect(),
        })?;
    Ok(Some(Carried {
        schema,
        head,
        report: pass.report,
    }))
}

fn lost_values(lost: BTreeMap<(ModelName, FieldName), u64>) -> Vec<LostValues> {
    let values = lost.into_iter().map(|((model, field), changes)| LostValues {
        model,
        field,
        changes,
    });
    values.collect()
}

/// Whether a store has to go through a migration.
fn is_pending(migration: &Migration, gone_through: &BTreeSet<String>, fits: bool) -> bool {
    !gone_through.contains(migration.name()) && (!fits || migration.converts_values_only())
}

/// Names of the migrations that a store need not go through; see [`carry_over`].
pub(crate) fn skipped(
    transaction: &WriteTransaction,
    migrations: &Migrations,
    fits: bool,
) -> Result<Vec<String>, StorageError> {
    let gone_through = names(transaction)?;
    let skipped = migrations
        .list
        .iter()
        .filter(|migration| !is_pending(migration, &gone_through, fits));
    Ok(skipped.map(|migration| migration.name().to_owned()).collect())
}

/// Notes that the store has gone through all of the app's migrations, or need not. Returns whether that is news.
pub(crate) fn note_names(
    transaction: &WriteTransaction,
    migrations: &Migrations,
) -> Result<bool, StorageError> {
    let mut all = names(transaction)?;
    let before = all.len();
    all.extend(
        migrations
            .list
            .iter()
            .map(|migration| migration.name().to_owned()),
    );
    if all.len() == before {
        return Ok(false);
    }
    let bytes = rmp_serde::to_vec(&all).expect("writing MessagePack to memory cannot fail");
    transaction
        .open_table(META)?
        .insert(meta::MIGRATIONS, bytes.as_slice())?;
    Ok(true)
}

fn names(transaction: &WriteTransaction) -> Result<BTreeSet<String>, StorageError> {
    match transaction.open_table(META)?.get(meta::MIGRATIONS)? {
        Some(bytes) => Ok(rmp_serde::from_slice(bytes.value())?),
        None => Ok(BTreeSet::new()),
    }
}

/// Tells how far something has got.
pub(crate) struct Progress<'m> {
    done: u64,
    total: u64,
    hears: Option<&'m OnProgress>,
}

impl<'m> Progress<'m> {
    fn new(
        transaction: &WriteTransaction,
        migrations: &'m Migrations,
        carrier: &Carrier,
    ) -> Result<Self, StorageError> {
        Self::of(migrations, || {
            let records = transaction.open_table(RECORDS)?;
            let mut total = transaction.open_table(OUTBOX)?.len()? + transaction.open_table(LOG)?.len()?;
            // Those of other models stay as they are.
            for model in carrier.touched() {
                let (start, end) = model_range(model);
                let rows = records.range(start.as_slice()..end.as_slice())?;
                total += u64::try_from(rows.count()).unwrap_or(u64::MAX);
            }
            Ok(total)
        })
    }

    /// The progress of something that has so many steps, which are counted if somebody hears of them.
    pub(crate) fn of(
        migrations: &'m Migrations,
        total: impl FnOnce() -> Result<u64, StorageError>,
    ) -> Result<Self, StorageError> {
        let hears = migrations.progress.as_ref();
        Ok(Self {
            done: 0,
            total: if hears.is_some() { total()? } else { 0 },
            hears,
        })
    }

    /// So many more steps are done.
    pub(crate) fn step(&mut self, done: usize) {
        self.done += u64::try_from(done).unwrap_or(0);
        self.tell();
    }

    /// Everything is done.
    pub(crate) fn finish(&mut self) {
        if self.done != self.total {
            self.done = self.total;
            self.tell();
        }
    }

    fn tell(&self) {
        if let Some(hears) = self.hears {
            hears(MigrationProgress {
                done: self.done.min(self.total),
                total: self.total,
            });
        }
    }
}

/// One pass over everything.
struct Pass<'a> {
    transaction: &'a WriteTransaction,
    carrier: &'a Carrier,
    old: &'a Catalog,
    new: &'a Catalog,
    progress: Progress<'a>,
    faults: Vec<String>,
    /// How many waiting changes set each field that goes.
    lost: BTreeMap<(ModelName, FieldName), u64>,
    report: MigrationReport,
}

/// An encoded key with the bytes that are there.
type Item = (Vec<u8>, Vec<u8>);

impl Pass<'_> {
    fn note(&mut self, place: impl FnOnce() -> String, fault: &CarryFault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{}: {fault}", place()));
        }
    }

    fn outbox(&mut self) -> Result<(), StorageError> {
        let mut table = self.transaction.open_table(OUTBOX)?;
        let mut after = Bound::Unbounded;
        loop {
            let batch = table
                .range::<u64>((after, Bound::Unbounded))?
                .take(BATCH_LEN)
                .map(|item| {
                    let (seq, bytes) = item?;
                    Ok((seq.value(), rmp_serde::from_slice(bytes.value())?))
                })
                .collect::<Result<Vec<(u64, Mutation)>, StorageError>>()?;
            let Some((last, _)) = batch.last() else {
                return Ok(());
            };
            after = Bound::Excluded(*last);
            self.progress.step(batch.len());
            for (seq, mutation) in batch {
                if let Some(model) = self.carrier.model(&mutation.key.model) {
                    for field in self.carrier.given_up(&mutation) {
                        *self.lost.entry((model.clone(), field.clone())).or_default() += 1;
                    }
                }
                match self.carrier.mutation(&mutation) {
                    Ok(Some(carried)) if carried == mutation => {}
                    Ok(Some(carried)) => {
                        let bytes = rmp_serde::to_vec(&carried).expect("writing to memory cannot fail");
                        table.insert(seq, bytes.as_slice())?;
                        self.report.mutations += 1;
                    }
                    Ok(None) => {
                        let fault = CarryFault {
                            model: mutation.key.model.clone(),
                            field: "*".into(),
                            reason:
                                "the model is to be removed, but this change waits for the server; let it be \
                                     sent or discard it first"
                                    .to_owned(),
                        };
                        self.note(|| format!("the change of `{}`", mutation.key), &fault);
                    }
                    Err(fault) => self.note(|| format!("the waiting change of `{}`", mutation.key), &fault),
                }
            }
        }
    }

    /// Records go by way of a table of their own, since models may swap their names.
    fn records(&mut self) -> Result<(), StorageError> {
        let touched: Vec<ModelName> = self.carrier.touched().cloned().collect();
        {
            let mut carried = self.transaction.open_table(CARRIED)?;
            let mut records = self.transaction.open_table(RECORDS)?;
            for model in &touched {
                let (prefix, end) = model_range(model);
                loop {
                    let batch: Vec<Item> = records
                        .range(prefix.as_slice()..end.as_slice())?
                        .take(BATCH_LEN)
                        .map(|item| {
                            let (key, head) = item?;
                            Ok((key.value().to_vec(), head.value().to_vec()))
                        })
                        .collect::<Result<_, StorageError>>()?;
                    if batch.is_empty() {
                        break;
                    }
                    self.progress.step(batch.len());
                    for (key, head) in batch {
                        records.remove(key.as_slice())?;
                        if let Some((key, head)) = self.record(model, &key[prefix.len()..], &head)? {
                            carried.insert(key.as_slice(), head.as_slice())?;
                            self.report.records += 1;
                        }
                    }
                }
            }
            for item in carried.iter()? {
                let (key, head) = item?;
                records.insert(key.value(), head.value())?;
            }
        }
        self.transaction.delete_table(CARRIED)?;
        Ok(())
    }

    fn record(&mut self, model: &ModelName, id: &[u8], head: &[u8]) -> Result<Option<Item>, StorageError> {
        let Some(to) = self.carrier.model(model) else {
            return Ok(None);
        };
        let id = keycode::decode_id(id)?;
        let (head, from) = (HeadRef::parse(head)?, self.old.model(model)?);
        let mut carried = |bytes: Option<&[u8]>| -> Result<Option<Row>, StorageError> {
            let Some(bytes) = bytes else { return Ok(None) };
            let values = from.decode(bytes)?;
            match self.row(model, &to, values)? {
                Ok(row) => Ok(Some(row)),
                Err(fault) => {
                    self.note(|| format!("`{to}/{id}`"), &fault);
                    Ok(None)
                }
            }
        };
        let (row, shadow) = (carried(head.row)?, carried(head.shadow)?);
        let Ok(entry) = self.new.model(&to) else {
            // What the new schema lacks is reported when the schemas are compared.
            return Ok(None);
        };
        let encode = |row: Row| move |out: &mut Vec<u8>| row::encode(out, entry.layout, &row);
        let parts = HeadParts {
            sync: head.sync,
            own_since: head.own_since,
            row: row.map(encode),
            shadow: shadow.map(encode),
        };
        let mut bytes = Vec::new();
        crate::codec::head::encode(&mut bytes, parts, head.pending());
        Ok(Some((record_key_of(&to, &id), bytes)))
    }

    fn row(
        &self,
        model: &ModelName,
        to: &ModelName,
        values: Vec<Value>,
    ) -> Result<Result<Row, CarryFault>, StorageError> {
        let old = &self.old.model(model)?.def;
        let fields: FieldMap = old
            .stored_fields()
            .map(|field| field.name.clone())
            .zip(values)
            .collect();
        let fields = match self.carrier.fields(model, &fields, true) {
            Ok(fields) => fields,
            Err(fault) => return Ok(Err(fault)),
        };
        let Ok(new) = self.new.model(to) else {
            return Ok(Ok(Vec::new()));
        };
        let value = |field: &landfall_core::FieldDef| fields.get(&field.name).cloned().unwrap_or_default();
        Ok(Ok(new.def.stored_fields().map(value).collect()))
    }

    fn log(&mut self, head: LogHead) -> Result<LogHead, StorageError> {
        let (start, first_check) = chain_start(&self.transaction.open_table(META)?)?;
        let mut table = self.transaction.open_table(LOG)?;
        let (mut old_check, mut check, mut next) = (first_check, first_check, start);
        // Those that there are speak of entries that are written anew here.
        digest::forget(self.transaction)?;
        let mut digests = digest::Maker::after(first_check);
        let mut buffer = Vec::new();
        loop {
            let batch = table
                .range::<u64>(next.0..)?
                .take(BATCH_LEN)
                .map(|item| {
                    let (seq, bytes) = item?;
                    Ok((Seq(seq.value()), bytes.value().to_vec()))
                })
                .collect::<Result<Vec<(Seq, Vec<u8>)>, StorageError>>()?;
            if batch.is_empty() {
                break;
            }
            self.progress.step(batch.len());
            for (seq, bytes) in batch {
                if seq != next {
                    return Err(StorageError::corrupt(format!("entry {next} is missing")));
                }
                old_check = entry::verify(seq, &bytes, old_check)?;
                let mut told = entry::decode(seq, &bytes)?;
                match self.carrier.change(&told.change) {
                    Ok(Some(change)) => {
                        self.report.entries += u64::from(change != told.change);
                        told.change = change;
                    }
                    Ok(None) => {
                        self.report.entries += 1;
                        told.change = entry::retired(&bytes);
                    }
                    Err(fault) => self.note(|| format!("entry {seq}"), &fault),
                }
                buffer.clear();
                check = entry::encode(&mut buffer, &told, check);
                table.insert(seq.0, buffer.as_slice())?;
                if let Some(made) = digests.take(seq, &buffer) {
                    digest::insert(self.transaction, made)?;
                }
                next = seq.next();
            }
        }
        Ok(LogHead { check, ..head })
    }

    fn base(&mut self) -> Result<(), StorageError> {
        let (transaction, carrier) = (self.transaction, self.carrier);
        base::carry(transaction, carrier, |fault| {
            self.note(|| "what was trimmed from the log".to_owned(), &fault);
        })
    }

    fn cursors(&self) -> Result<(), StorageError> {
        let mut table = self.transaction.open_table(CURSORS)?;
        let mut all = Vec::new();
        for item in table.iter()? {
            let (model, bytes) = item?;
            all.push((ModelName::from(model.value()), bytes.value().to_vec()));
        }
        table.retain(|_, _| false)?;
        for (model, bytes) in all {
            if let Some(to) = self.carrier.model(&model) {
                table.insert(to.as_str(), bytes.as_slice())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
