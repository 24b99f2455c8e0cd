//! One write transaction: entries are appended, and what they mean is projected in the same breath.
//!
//! Owns [`Txn`]: the order of entries, their checks, and what a transaction may read. What an entry does to the other
//! tables is `projections.rs`.
//!
//! Invariants: 1. an entry and what it means are committed together, or neither of them is; 2. where the database panics at damage, the
//! call that met it fails and nothing of the transaction is committed; a panic of anybody else's is none of damage's, and goes on.

use std::rc::Rc;
use std::sync::Arc;

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use landfall_core::{
    Change, LogEntry, ModelDef, ModelName, Mutation, Origin, Record, RecordId, RecordKey, RecordState, Row,
    Schema, Seq, SyncCursor, SyncMetadata, Value, keycode,
};

use crate::catalog::Catalog;
use crate::codec;
use crate::codec::head::HeadRef;
use crate::digest;
use crate::error::StorageError;
use crate::fenced::Rows;
use crate::journal::Frame;
use crate::panics::Fence;
use crate::projections::{Projections, Stop};
use crate::query;
use crate::row_cache::Touched;
use crate::store::LogHead;
use crate::tables::{BASE, LOG, META, meta, model_range, record_key};

/// A write transaction.
pub struct Txn<'t> {
    transaction: &'t WriteTransaction,
    fence: Rc<Fence>,
    catalog: &'t Arc<Catalog>,
    head: LogHead,
    now_ms: i64,
    log: Rows<'t, u64, &'static [u8]>,
    projections: Projections<'t>,
    /// What goes to the journal.
    frame: Frame,
    /// Whether the store was cleared.
    cleared: bool,
    /// Set while an entry is being written, and left so if that fails: what is there then must not be committed.
    torn: bool,
}

/// What a transaction appended.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Where the log ends with it.
    pub(crate) head: LogHead,
    /// For the journal.
    pub(crate) frame: Frame,
    /// Whether the store was cleared, of which the journal must keep nothing.
    pub(crate) cleared: bool,
    /// Records that were written.
    pub(crate) touched: Touched,
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
    /// A transaction in a store in which all tables are there.
    pub(crate) fn begin(
        transaction: &'t WriteTransaction,
        catalog: &'t Arc<Catalog>,
        head: LogHead,
        now_ms: i64,
    ) -> Self {
        let fence = Rc::default();
        Self {
            transaction,
            catalog,
            head,
            now_ms,
            log: Rows::of(transaction, LOG, &fence),
            projections: Projections::of(transaction, &fence),
            frame: Frame::after(head),
            cleared: false,
            torn: false,
            fence,
        }
    }

    /// The same; tables that are not there are made.
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        catalog: &'t Arc<Catalog>,
        head: LogHead,
        now_ms: i64,
    ) -> Result<Self, StorageError> {
        let mut txn = Self::begin(transaction, catalog, head, now_ms);
        txn.log.make()?;
        txn.projections = Projections::make(transaction, &txn.fence)?;
        Ok(txn)
    }

    /// Why nothing of it may be committed, if the database panicked in it.
    pub(crate) fn broke(&self) -> Option<String> {
        self.fence.broke()
    }

    /// What has to be committed.
    pub(crate) fn finish(self) -> Result<Appended, StorageError> {
        if self.torn {
            // It had an error of its own, which whoever called has passed over.
            let cause =
                "an entry of the transaction was only written in part, and nobody gave up for it".to_owned();
            return Err(StorageError::Io { cause });
        }
        Ok(Appended {
            head: self.head,
            frame: self.frame,
            cleared: self.cleared,
            touched: self.projections.touched,
        })
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
        self.projections
            .state(self.catalog.model(&key.model)?, &record_key(key))
    }

    /// The row that a record of a model was read from, decoded.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], and [`StorageError::Corrupt`] if the bytes are no row of it.
    pub fn decode_row(&self, model: &str, row: &[u8]) -> Result<Row, StorageError> {
        self.catalog.model(model)?.decode(row)
    }

    /// A record of that row, as whoever reads it gets it: a later save tells what was changed.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`].
    pub fn record(&self, model: &str, row: Row, sync: Option<SyncMetadata>) -> Result<Record, StorageError> {
        Ok(crate::projections::as_read(self.catalog.model(model)?, row, sync))
    }

    /// Where sync of a model has got.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn cursor(&self, model: &ModelName) -> Result<SyncCursor, StorageError> {
        let cursors = &self.projections.cursors;
        match cursors.read(|cursors| cursors.get(model.as_str()))? {
            Some(bytes) => Ok(rmp_serde::from_slice(cursors.value(&bytes)?)?),
            None => Ok(SyncCursor::default()),
        }
    }

    /// A pending mutation.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn mutation(&self, seq: Seq) -> Result<Option<Mutation>, StorageError> {
        self.projections.mutation(seq)
    }

    /// Whether no mutation waits for the server.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn outbox_is_empty(&self) -> Result<bool, StorageError> {
        self.projections.outbox.read(ReadableTableMetadata::is_empty)
    }

    /// Every pending mutation that is on its way, oldest first.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn pending_in_flight(&self) -> Result<Vec<Mutation>, StorageError> {
        let mut found = Vec::new();
        for seq in self.in_flight()? {
            found.push(self.mutation(seq)?.ok_or_else(|| {
                StorageError::corrupt(format!("mutation {seq} is on its way, but not in the outbox"))
            })?);
        }
        Ok(found)
    }

    /// Which pending mutations are on their way, oldest first.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn in_flight(&self) -> Result<Vec<Seq>, StorageError> {
        let in_flight = &self.projections.in_flight;
        in_flight.read(|in_flight| {
            let seqs = in_flight.iter()?.map(|item| Ok(Seq(item?.0.value())));
            seqs.collect::<Result<Vec<Seq>, redb::StorageError>>()
        })
    }

    /// Identifiers of the records of `model` whose `fields` hold `values`, by index where there is one; `most` of them if
    /// there are more.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn referring(
        &self,
        model: &ModelName,
        fields: &[&str],
        values: &[Value],
        most: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        let Projections { records, index, .. } = &self.projections;
        records.read(|records| {
            index.read(|index| query::referring(self.catalog, records, index, model, fields, (values, most)))
        })
    }

    /// Identifiers of all visible records of a model.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and the disk's faults.
    pub fn ids(&self, model: &ModelName) -> Result<Vec<RecordId>, StorageError> {
        let (prefix, end) = model_range(&self.catalog.model(model)?.def.name);
        self.projections.records.read(|records| {
            let mut ids = Vec::new();
            for item in records.range(prefix.as_slice()..end.as_slice())? {
                let (key, head) = item?;
                if HeadRef::parse(head.value())?.row.is_some() {
                    ids.push(keycode::decode_id(&key.value()[prefix.len()..])?);
                }
            }
            Ok::<_, StorageError>(ids)
        })
    }

    /// Appends an entry and projects it.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and [`StorageError::Misfit`], after which the transaction is as it was and may
    /// go on; [`StorageError::Corrupt`] and the disk's faults, after which nothing of it will be committed.
    pub fn append(
        &mut self,
        origin: Origin,
        cause: Option<Seq>,
        change: Change,
    ) -> Result<Applied, StorageError> {
        self.append_to(None, origin, cause, change)
    }

    /// The same for a caller who has read the state of the entry's record already, which saves reading it again.
    ///
    /// The state must be that of now: [`Txn::state`] with nothing appended to the record since.
    ///
    /// # Errors
    /// As [`Txn::append`].
    pub fn append_to(
        &mut self,
        state: Option<RecordState>,
        origin: Origin,
        cause: Option<Seq>,
        change: Change,
    ) -> Result<Applied, StorageError> {
        let entry = LogEntry {
            seq: self.head.seq.next(),
            at_ms: self.now_ms,
            origin,
            cause,
            change,
        };
        let previous = self.head.check;
        self.append_entry(state, &entry, |out| codec::entry::encode(out, &entry, previous))
    }

    /// The same for an entry that was encoded before, byte for byte: an older version may have written it in another form.
    pub(crate) fn append_again(&mut self, seq: Seq, bytes: &[u8]) -> Result<Applied, StorageError> {
        let entry = codec::entry::decode_known(seq, bytes)?;
        let check = codec::entry::verify(seq, bytes, self.head.check)?;
        self.append_entry(None, &entry, |out| {
            out.extend_from_slice(bytes);
            check
        })
    }

    fn append_entry(
        &mut self,
        state: Option<RecordState>,
        entry: &LogEntry,
        encode: impl FnOnce(&mut Vec<u8>) -> u32,
    ) -> Result<Applied, StorageError> {
        let step =
            match entry.change.key() {
                Some(key) => Some(self.projections.decide(self.catalog, entry, key, state).map_err(
                    |stop| match stop {
                        Stop::Storage(error) => error,
                        Stop::Misfit(error) => StorageError::Misfit(error),
                    },
                )?),
                None => None,
            };
        self.torn = true;
        if entry.change == Change::Cleared {
            self.forget_log(entry.seq)?;
            self.cleared = true;
        }
        let (bytes, check) = self.frame.push(encode);
        self.log.write(|log| log.insert(entry.seq.0, bytes).map(drop))?;
        self.head = LogHead {
            seq: entry.seq,
            check,
        };
        let applied = match step {
            Some(step) => self.projections.perform(entry, step)?,
            None => self.projections.project_other(entry)?,
        };
        self.torn = false;
        Ok(applied)
    }

    /// Removes every entry before `start`; what remains of the chain starts from the check of the last one removed.
    fn forget_log(&mut self, start: Seq) -> Result<(), StorageError> {
        self.log.write(|log| log.retain_in(..start.0, |_, _| false))?;
        let mut value = start.0.to_le_bytes().to_vec();
        value.extend_from_slice(&self.head.check.to_le_bytes());
        self.fence.around(|| {
            self.transaction.delete_table(BASE)?;
            digest::forget(self.transaction)?;
            let mut table = self.transaction.open_table(META)?;
            table.insert(meta::LOG_START, value.as_slice())?;
            // Goes with the file that what was cleared may still be read in (`store/scrub.rs`).
            table.insert(meta::UNSCRUBBED, [].as_slice())?;
            Ok::<_, StorageError>(())
        })
    }
}

#[cfg(test)]
mod tests;
