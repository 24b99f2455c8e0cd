//! One write transaction: entries are appended, and what they mean is projected in the same breath.
//!
//! Owns [`Txn`]. The meaning of an entry is `landfall_core::RecordState::apply`; this file loads the state of the
//! record, lets the core change it, and writes back what differs.
//!
//! Invariant: rows, indexes, metadata and outbox after an entry depend only on what they were before it and on the
//! entry, so that `rebuild.rs` gets the same from the log alone.

use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

use landfall_core::{
    Change, FoldError, LogEntry, ModelDef, ModelName, Mutation, Origin, Record, RecordId, RecordKey, RecordState, Row,
    Schema, Seq, Stage, SyncCursor, SyncMetadata, Value,
};

use crate::catalog::{Catalog, ModelEntry};
use crate::codec;
use crate::codec::head::{HeadParts, HeadRef};
use crate::error::StorageError;
use crate::index;
use crate::query;
use crate::store::LogHead;
use crate::tables::{CURSORS, INDEX, LOG, META, OUTBOX, RECORDS, meta, model_prefix, prefix_end, record_key};

/// A write transaction with its tables open.
pub struct Txn<'t> {
    transaction: &'t WriteTransaction,
    catalog: &'t Arc<Catalog>,
    head: LogHead,
    now_ms: i64,
    log: Table<'t, u64, &'static [u8]>,
    projections: Projections<'t>,
    buffer: Vec<u8>,
    /// Set while an entry is being written, and left so if that fails: what is there then must not be committed.
    torn: bool,
}

/// The tables that can be made again from the log.
pub(crate) struct Projections<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    outbox: Table<'t, u64, &'static [u8]>,
    index: Table<'t, &'static [u8], ()>,
    cursors: Table<'t, &'static str, &'static [u8]>,
    buffer: Vec<u8>,
}

/// What an entry changed.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Its position.
    pub seq: Seq,
    /// Set if what the app sees of a record changed.
    pub visible: Option<VisibleChange>,
    /// Mutations that were added, changed or removed.
    pub outbox: Vec<OutboxChange>,
}

/// A change of what the app sees of a record.
#[derive(Clone, Debug)]
pub struct VisibleChange {
    /// The record.
    pub key: RecordKey,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The record as it is now; for a delete, as it was.
    pub record: Record,
    /// The entry that changed it.
    pub seq: Seq,
    /// What brought the entry about.
    pub origin: Origin,
}

/// What happened to a visible record (DataStore's `opType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It appeared.
    Insert,
    /// It changed.
    Update,
    /// It went.
    Delete,
}

/// A change of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxChange {
    /// The mutation is new, or has changed.
    Put(Mutation),
    /// The mutation no longer waits.
    Removed(Mutation),
}

impl<'t> Txn<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        catalog: &'t Arc<Catalog>,
        head: LogHead,
        now_ms: i64,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            transaction,
            catalog,
            head,
            now_ms,
            log: transaction.open_table(LOG)?,
            projections: Projections::open(transaction)?,
            buffer: Vec::with_capacity(512),
            torn: false,
        })
    }

    /// Where the log ends with what was appended.
    pub(crate) fn finish(self) -> Result<LogHead, StorageError> {
        if self.torn {
            let cause = "an entry of the transaction was only written in part".to_owned();
            return Err(StorageError::Io { cause });
        }
        Ok(self.head)
    }

    /// The schema in force.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.catalog.schema
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`].
    pub fn model(&self, name: &str) -> Result<Arc<ModelDef>, StorageError> {
        Ok(Arc::clone(&self.catalog.model(name)?.def))
    }

    /// Sequence number that the next entry gets.
    pub fn next_seq(&self) -> Seq {
        self.head.seq.next()
    }

    /// Everything that is known of a record, uncommitted changes included.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn state(&self, key: &RecordKey) -> Result<RecordState, StorageError> {
        self.catalog.model(&key.model)?;
        self.projections.state(self.catalog, &record_key(key))
    }

    /// The row that a record was read from, decoded.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the bytes are no row of this store.
    pub fn decode_row(&self, row: &[u8]) -> Result<Row, StorageError> {
        self.catalog.reader(codec::row::layout_of(row)?)?.decode(row)
    }

    /// Where sync of a model has got.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn cursor(&self, model: &ModelName) -> Result<SyncCursor, StorageError> {
        match self.projections.cursors.get(model.as_str())? {
            Some(bytes) => Ok(rmp_serde::from_slice(bytes.value())?),
            None => Ok(SyncCursor::default()),
        }
    }

    /// A pending mutation.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn mutation(&self, seq: Seq) -> Result<Option<Mutation>, StorageError> {
        match self.projections.outbox.get(seq.0)? {
            Some(bytes) => Ok(Some(rmp_serde::from_slice(bytes.value())?)),
            None => Ok(None),
        }
    }

    /// Every pending mutation that is on its way, oldest first.
    pub(crate) fn pending_in_flight(&self) -> Result<Vec<Mutation>, StorageError> {
        let mut found = Vec::new();
        for item in self.projections.outbox.iter()? {
            let mutation: Mutation = rmp_serde::from_slice(item?.1.value())?;
            if mutation.stage == Stage::InFlight {
                found.push(mutation);
            }
        }
        Ok(found)
    }

    /// Identifiers of the records of `model` whose `fields` hold `values`, by index where there is one.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn referring(
        &self,
        model: &ModelName,
        fields: &[&str],
        values: &[Value],
    ) -> Result<Vec<RecordId>, StorageError> {
        let projections = &self.projections;
        query::referring(self.catalog, &projections.records, &projections.index, model, fields, values)
    }

    /// Identifiers of all visible records of a model.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn ids(&self, model: &ModelName) -> Result<Vec<RecordId>, StorageError> {
        let prefix = model_prefix(&self.catalog.model(model)?.def.name);
        let end = prefix_end(&prefix);
        let range = (
            std::ops::Bound::Included(prefix.as_slice()),
            end.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
        );
        let mut ids = Vec::new();
        for item in self.projections.records.range::<&[u8]>(range)? {
            let (key, head) = item?;
            if HeadRef::parse(head.value())?.row.is_some() {
                ids.push(landfall_core::keycode::decode_id(&key.value()[prefix.len()..])?);
            }
        }
        Ok(ids)
    }

    /// Appends an entry and projects it.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and [`StorageError::Misfit`], after which the transaction is as it was and may
    /// go on; [`StorageError::Corrupt`] and the disk's faults, after which nothing of it will be committed.
    pub fn append(&mut self, origin: Origin, cause: Option<Seq>, change: Change) -> Result<Applied, StorageError> {
        let entry = LogEntry { seq: self.head.seq.next(), at_ms: self.now_ms, origin, cause, change };
        let step = match entry.change.key() {
            Some(key) => Some(self.projections.decide(self.catalog, &entry, key).map_err(|stop| match stop {
                Stop::Storage(error) => error,
                Stop::Misfit(error) => StorageError::Misfit(error),
            })?),
            None => None,
        };
        self.torn = true;
        self.buffer.clear();
        let check = codec::entry::encode(&mut self.buffer, &entry, self.head.check);
        if entry.change == Change::Cleared {
            self.forget_log(entry.seq)?;
        }
        self.log.insert(entry.seq.0, self.buffer.as_slice())?;
        self.head = LogHead { seq: entry.seq, check };
        let applied = match step {
            Some(step) => self.projections.perform(&entry, step)?,
            None => self.projections.project_other(&entry)?,
        };
        self.torn = false;
        Ok(applied)
    }

    /// Removes every entry before `start`; what remains of the chain starts from the check of the last one removed.
    fn forget_log(&mut self, start: Seq) -> Result<(), StorageError> {
        self.log.retain_in(..start.0, |_, _| false)?;
        let mut value = start.0.to_le_bytes().to_vec();
        value.extend_from_slice(&self.head.check.to_le_bytes());
        self.transaction.open_table(META)?.insert(meta::LOG_START, value.as_slice())?;
        Ok(())
    }
}

impl<'t> Projections<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            outbox: transaction.open_table(OUTBOX)?,
            index: transaction.open_table(INDEX)?,
            cursors: transaction.open_table(CURSORS)?,
            buffer: Vec::with_capacity(512),
        })
    }

    /// Carries out one entry of the log. What names a model that the schema no longer has changes nothing: its entries
    /// are kept, its rows are not.
    pub(crate) fn project(&mut self, catalog: &Catalog, entry: &LogEntry) -> Result<(), StorageError> {
        match entry.change.key() {
            Some(key) if catalog.model(&key.model).is_err() => Ok(()),
            Some(key) => {
                let step = self.decide(catalog, entry, key).map_err(|stop| match stop {
                    Stop::Storage(error) => error,
                    Stop::Misfit(error) => error.into(),
                })?;
                self.perform(entry, step).map(drop)
            }
            None => self.project_other(entry).map(drop),
        }
    }

    /// Carries out an entry that is not about one record.
    fn project_other(&mut self, entry: &LogEntry) -> Result<Applied, StorageError> {
        match &entry.change {
            Change::Checkpoint(checkpoint) => {
                let bytes = rmp_serde::to_vec(&checkpoint.cursor).expect("writing MessagePack to memory cannot fail");
                self.cursors.insert(checkpoint.model.as_str(), bytes.as_slice())?;
            }
            Change::Cleared => self.clear()?,
            _ => {}
        }
        Ok(Applied { seq: entry.seq, ..Applied::default() })
    }

    /// Finds out what an entry does to its record; writes nothing.
    fn decide<'c>(&self, catalog: &'c Catalog, entry: &LogEntry, key: &RecordKey) -> Result<Step<'c>, Stop> {
        let model = catalog.model(&key.model)?;
        let encoded_key = record_key(key);
        let before = self.state(catalog, &encoded_key)?;
        let mut after = before.clone();
        after.apply(&model.def, entry.seq, &entry.change).map_err(Stop::Misfit)?;
        Ok(Step { model, key: key.clone(), encoded_key, before, after })
    }

    fn perform(&mut self, entry: &LogEntry, step: Step<'_>) -> Result<Applied, StorageError> {
        let Step { model, key, encoded_key, before, after } = step;
        self.write_head(model, &encoded_key, &after)?;
        let pairs = index::changes(&key.model, &model.indexes, &key.id, before.row.as_deref(), after.row.as_deref());
        for (old, new) in pairs {
            if let Some(old) = old {
                self.index.remove(old.as_slice())?;
            }
            if let Some(new) = new {
                self.index.insert(new.as_slice(), ())?;
            }
        }
        let outbox = self.write_outbox(before.pending, &after.pending)?;
        let visible = visible_change(model, key, entry, (before.row, before.sync), (after.row, after.sync));
        Ok(Applied { seq: entry.seq, visible, outbox })
    }

    pub(crate) fn state(&self, catalog: &Catalog, encoded_key: &[u8]) -> Result<RecordState, StorageError> {
        let Some(guard) = self.records.get(encoded_key)? else { return Ok(RecordState::default()) };
        let head = HeadRef::parse(guard.value())?;
        let decode = |row: &[u8]| catalog.reader(codec::row::layout_of(row)?)?.decode(row);
        let pending = head
            .pending()
            .map(|seq| match self.outbox.get(seq.0)? {
                Some(bytes) => Ok(rmp_serde::from_slice(bytes.value())?),
                None => Err(StorageError::corrupt(format!("mutation {seq} is missing from the outbox"))),
            })
            .collect::<Result<_, StorageError>>()?;
        Ok(RecordState {
            row: head.row.map(decode).transpose()?,
            sync: head.sync,
            own_since: head.own_since,
            shadow: head.shadow.map(decode).transpose()?,
            pending,
        })
    }

    fn write_head(&mut self, model: &ModelEntry, key: &[u8], state: &RecordState) -> Result<(), StorageError> {
        if *state == RecordState::default() {
            self.records.remove(key)?;
            return Ok(());
        }
        let encode = |row: &Row, out: &mut Vec<u8>| codec::row::encode(out, model.layout, row);
        self.buffer.clear();
        let parts = HeadParts {
            sync: state.sync,
            own_since: state.own_since,
            row: state.row.as_ref().map(|row| |out: &mut Vec<u8>| encode(row, out)),
            shadow: state.shadow.as_ref().map(|row| |out: &mut Vec<u8>| encode(row, out)),
        };
        codec::head::encode(&mut self.buffer, parts, state.pending.iter().map(|mutation| mutation.seq));
        self.records.insert(key, self.buffer.as_slice())?;
        Ok(())
    }

    /// Brings the outbox from what waited before to what waits after; both are in order.
    fn write_outbox(&mut self, before: Vec<Mutation>, after: &[Mutation]) -> Result<Vec<OutboxChange>, StorageError> {
        let mut changes = Vec::new();
        let mut before = before.into_iter().peekable();
        for mutation in after {
            while let Some(gone) = before.next_if(|old| old.seq < mutation.seq) {
                self.outbox.remove(gone.seq.0)?;
                changes.push(OutboxChange::Removed(gone));
            }
            if before.next_if(|old| old.seq == mutation.seq).as_ref() != Some(mutation) {
                self.buffer.clear();
                rmp_serde::encode::write(&mut self.buffer, mutation).expect("writing to memory cannot fail");
                self.outbox.insert(mutation.seq.0, self.buffer.as_slice())?;
                changes.push(OutboxChange::Put(mutation.clone()));
            }
        }
        for gone in before {
            self.outbox.remove(gone.seq.0)?;
            changes.push(OutboxChange::Removed(gone));
        }
        Ok(changes)
    }

    /// Empties every projection.
    pub(crate) fn clear(&mut self) -> Result<(), StorageError> {
        self.records.retain(|_, _| false)?;
        self.outbox.retain(|_, _| false)?;
        self.index.retain(|_, ()| false)?;
        self.cursors.retain(|_, _| false)?;
        Ok(())
    }
}

/// What an entry does to its record.
struct Step<'c> {
    model: &'c ModelEntry,
    key: RecordKey,
    encoded_key: Vec<u8>,
    before: RecordState,
    after: RecordState,
}

/// Why an entry cannot be carried out.
enum Stop {
    Storage(StorageError),
    Misfit(FoldError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

fn visible_change(
    model: &ModelEntry,
    key: RecordKey,
    entry: &LogEntry,
    (before, before_sync): (Option<Row>, Option<SyncMetadata>),
    (after, sync): (Option<Row>, Option<SyncMetadata>),
) -> Option<VisibleChange> {
    let (kind, row) = match (before, after) {
        (None, None) => return None,
        (None, Some(new)) => (ChangeKind::Insert, new),
        (Some(old), None) => (ChangeKind::Delete, old),
        (Some(old), Some(new)) if old == new && before_sync == sync => return None,
        (Some(_), Some(new)) => (ChangeKind::Update, new),
    };
    let record = Record::new(Arc::clone(&model.def), row).with_sync(sync);
    Some(VisibleChange { key, kind, record, seq: entry.seq, origin: entry.origin })
}

#[cfg(test)]
mod tests;
