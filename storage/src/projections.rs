//! Rows, indexes, outbox and cursors: the tables that are made from the log, and how an entry changes them.
//!
//! Owns [`Projections`]. The meaning of an entry is `landfall_core::RecordState::apply`; this file loads the state of the
//! record, lets the core change it, and writes back what differs.
//!
//! Invariants: 1. what an entry does depends only on the tables before it and on the entry itself, so that `rebuild.rs`
//! gets the same from the log alone; 2. an entry that does not fit its record is refused before anything is written.

use std::rc::Rc;
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use landfall_core::{
    Base, Change, FoldError, LogEntry, Mutation, Record, RecordKey, RecordState, Row, Seq, Stage,
    SyncMetadata,
};

use crate::catalog::{Catalog, ModelEntry};
use crate::codec;
use crate::codec::head::{HeadParts, HeadRef};
use crate::error::StorageError;
use crate::fenced::Rows;
use crate::index;
use crate::panics::Fence;
use crate::row_cache::Touched;
use crate::tables::{CURSORS, IN_FLIGHT, INDEX, OUTBOX, RECORDS, record_key};
use crate::txn::{Applied, ChangeKind, OutboxChange, VisibleChange};

/// The tables that can be made again from the log.
pub(crate) struct Projections<'t> {
    pub(crate) records: Rows<'t, &'static [u8], &'static [u8]>,
    pub(crate) outbox: Rows<'t, u64, &'static [u8]>,
    pub(crate) in_flight: Rows<'t, u64, ()>,
    pub(crate) index: Rows<'t, &'static [u8], ()>,
    pub(crate) cursors: Rows<'t, &'static str, &'static [u8]>,
    /// Records that were written.
    pub(crate) touched: Touched,
    buffer: Vec<u8>,
}

impl<'t> Projections<'t> {
    /// Those of a store in which all tables are there.
    pub(crate) fn of(transaction: &'t WriteTransaction, fence: &Rc<Fence>) -> Self {
        Self {
            records: Rows::of(transaction, RECORDS, fence),
            outbox: Rows::of(transaction, OUTBOX, fence),
            in_flight: Rows::of(transaction, IN_FLIGHT, fence),
            index: Rows::of(transaction, INDEX, fence),
            cursors: Rows::of(transaction, CURSORS, fence),
            touched: Touched::default(),
            buffer: Vec::with_capacity(512),
        }
    }

    /// The same; tables that are not there are made.
    pub(crate) fn make(transaction: &'t WriteTransaction, fence: &Rc<Fence>) -> Result<Self, StorageError> {
        let made = Self::of(transaction, fence);
        made.records.make()?;
        made.outbox.make()?;
        made.in_flight.make()?;
        made.index.make()?;
        made.cursors.make()?;
        Ok(made)
    }

    /// Carries out one entry of the log. What names a model that the schema no longer has changes nothing: its entries
    /// are kept, its rows are not.
    pub(crate) fn project(&mut self, catalog: &Catalog, entry: &LogEntry) -> Result<(), StorageError> {
        match entry.change.key() {
            Some(key) if catalog.model(&key.model).is_err() => Ok(()),
            Some(key) => {
                let step = self
                    .decide(catalog, entry, key, None)
                    .map_err(|stop| match stop {
                        Stop::Storage(error) => error,
                        Stop::Misfit(error) => error.into(),
                    })?;
                self.perform(entry, step).map(drop)
            }
            None => self.project_other(entry).map(drop),
        }
    }

    /// Carries out an entry that is not about one record.
    pub(crate) fn project_other(&mut self, entry: &LogEntry) -> Result<Applied, StorageError> {
        match &entry.change {
            Change::Checkpoint(checkpoint) => {
                let bytes =
                    rmp_serde::to_vec(&checkpoint.cursor).expect("writing MessagePack to memory cannot fail");
                self.cursors.write(|cursors| {
                    cursors
                        .insert(checkpoint.model.as_str(), bytes.as_slice())
                        .map(drop)
                })?;
            }
            Change::Cleared => self.clear()?,
            _ => {}
        }
        Ok(Applied {
            seq: entry.seq,
            ..Applied::default()
        })
    }

    /// Finds out what an entry does to its record; writes nothing. `before` is the state of the record, if it is known.
    pub(crate) fn decide<'c>(
        &self,
        catalog: &'c Catalog,
        entry: &LogEntry,
        key: &RecordKey,
        before: Option<RecordState>,
    ) -> Result<Step<'c>, Stop> {
        let model = catalog.model(&key.model)?;
        let encoded_key = record_key(key);
        let before = match before {
            Some(known) => {
                debug_assert_eq!(
                    self.state(model, &encoded_key).ok().as_ref(),
                    Some(&known),
                    "the state that was handed in must be that of now"
                );
                known
            }
            None => self.state(model, &encoded_key)?,
        };
        let mut after = before.clone();
        after
            .apply(&model.def, entry.seq, &entry.change)
            .map_err(Stop::Misfit)?;
        Ok(Step {
            model,
            key: key.clone(),
            encoded_key,
            before,
            after,
        })
    }

    pub(crate) fn perform(&mut self, entry: &LogEntry, step: Step<'_>) -> Result<Applied, StorageError> {
        let Step {
            model,
            key,
            encoded_key,
            before,
            after,
        } = step;
        if !same_head(&before, &after) {
            self.write_head(model, &encoded_key, &after)?;
            self.touched.note(encoded_key);
        }
        let pairs = index::changes(
            &key.model,
            &model.indexes,
            &key.id,
            before.row.as_deref(),
            after.row.as_deref(),
        );
        for (old, new) in pairs {
            if let Some(old) = old.filter(|_| !landfall_core::planted("index-entry-left")) {
                self.index.write(|index| index.remove(old.as_slice()).map(drop))?;
            }
            if let Some(new) = new.filter(|_| !landfall_core::planted("index-not-written")) {
                self.index
                    .write(|index| index.insert(new.as_slice(), ()).map(drop))?;
            }
        }
        let outbox = self.write_outbox(before.pending, &after.pending)?;
        let visible = visible_change(
            model,
            key,
            entry,
            (before.row, before.sync),
            (after.row, after.sync),
        );
        Ok(Applied {
            seq: entry.seq,
            visible,
            outbox,
        })
    }

    pub(crate) fn state(&self, model: &ModelEntry, encoded_key: &[u8]) -> Result<RecordState, StorageError> {
        let Some(guard) = self.records.read(|records| records.get(encoded_key))? else {
            return Ok(RecordState::default());
        };
        HeadRef::parse(self.records.value(&guard)?)?.state(model, |seq| self.mutation(seq))
    }

    /// A pending mutation.
    pub(crate) fn mutation(&self, seq: Seq) -> Result<Option<Mutation>, StorageError> {
        match self.outbox.read(|outbox| outbox.get(seq.0))? {
            Some(bytes) => Ok(Some(rmp_serde::from_slice(self.outbox.value(&bytes)?)?)),
            None => Ok(None),
        }
    }

    fn write_head(
        &mut self,
        model: &ModelEntry,
        key: &[u8],
        state: &RecordState,
    ) -> Result<(), StorageError> {
        if *state == RecordState::default() {
            return self.records.write(|records| records.remove(key).map(drop));
        }
        let encode = |row: &Row, out: &mut Vec<u8>| codec::row::encode(out, model.layout, row);
        self.buffer.clear();
        let parts = HeadParts {
            sync: state.sync,
            own_since: state.own_since,
            row: state.row.as_ref().map(|row| |out: &mut Vec<u8>| encode(row, out)),
            shadow: state
                .shadow
                .as_ref()
                .map(|row| |out: &mut Vec<u8>| encode(row, out)),
        };
        codec::head::encode(
            &mut self.buffer,
            parts,
            state.pending.iter().map(|mutation| mutation.seq),
        );
        let head = self.buffer.as_slice();
        self.records.write(|records| records.insert(key, head).map(drop))
    }

    /// Brings the outbox from what waited before to what waits after; both are in order.
    fn write_outbox(
        &mut self,
        before: Vec<Mutation>,
        after: &[Mutation],
    ) -> Result<Vec<OutboxChange>, StorageError> {
        let mut changes = Vec::new();
        let mut before = before.into_iter().peekable();
        for mutation in after {
            while let Some(gone) = before.next_if(|old| old.seq < mutation.seq) {
                changes.push(self.remove_mutation(gone)?);
            }
            let old = before.next_if(|old| old.seq == mutation.seq);
            if old.as_ref() != Some(mutation) {
                self.buffer.clear();
                rmp_serde::encode::write(&mut self.buffer, mutation).expect("writing to memory cannot fail");
                let (seq, bytes) = (mutation.seq.0, self.buffer.as_slice());
                self.outbox.write(|outbox| outbox.insert(seq, bytes).map(drop))?;
                if mutation.stage == Stage::InFlight {
                    self.in_flight
                        .write(|in_flight| in_flight.insert(seq, ()).map(drop))?;
                } else if old.is_some_and(|old| old.stage == Stage::InFlight) {
                    self.in_flight
                        .write(|in_flight| in_flight.remove(seq).map(drop))?;
                }
                changes.push(OutboxChange::Put(mutation.clone()));
            }
        }
        for gone in before.filter(|_| !landfall_core::planted("outbox-row-left")) {
            changes.push(self.remove_mutation(gone)?);
        }
        Ok(changes)
    }

    fn remove_mutation(&mut self, gone: Mutation) -> Result<OutboxChange, StorageError> {
        let seq = gone.seq.0;
        self.outbox.write(|outbox| outbox.remove(seq).map(drop))?;
        if gone.stage == Stage::InFlight {
            self.in_flight
                .write(|in_flight| in_flight.remove(seq).map(drop))?;
        }
        Ok(OutboxChange::Removed(gone))
    }

    /// Empties every projection.
    pub(crate) fn clear(&mut self) -> Result<(), StorageError> {
        self.touched.note_all();
        self.records.write(|records| records.retain(|_, _| false))?;
        self.outbox
            .write(|outbox| outbox.retain(|_, _| landfall_core::planted("clear-keeps-outbox")))?;
        self.in_flight
            .write(|in_flight| in_flight.retain(|_, ()| false))?;
        self.index.write(|index| index.retain(|_, ()| false))?;
        self.cursors.write(|cursors| cursors.retain(|_, _| false))
    }
}

/// Whether two states have the same head: they differ in the outbox alone, or not at all.
fn same_head(before: &RecordState, after: &RecordState) -> bool {
    let (pending, pending_after) = (before.pending.iter(), after.pending.iter());
    same_row(before.row.as_ref(), after.row.as_ref())
        && before.sync == after.sync
        && before.own_since == after.own_since
        && same_row(before.shadow.as_ref(), after.shadow.as_ref())
        && pending
            .map(|mutation| mutation.seq)
            .eq(pending_after.map(|mutation| mutation.seq))
}

/// Whether two rows are stored alike: zero and minus zero are equal as numbers, and have different places in an index.
fn same_row(before: Option<&Row>, after: Option<&Row>) -> bool {
    before == after
        && before.zip(after).is_none_or(|(before, after)| {
            before
                .iter()
                .zip(after)
                .all(|(before, after)| before.cmp_total(after).is_eq())
        })
}

/// What an entry does to its record.
pub(crate) struct Step<'c> {
    model: &'c ModelEntry,
    key: RecordKey,
    encoded_key: Vec<u8>,
    before: RecordState,
    after: RecordState,
}

/// Why an entry cannot be carried out.
pub(crate) enum Stop {
    Storage(StorageError),
    Misfit(FoldError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// A record as whoever reads it from the store gets it: a later save tells from its base what was changed.
pub(crate) fn as_read(model: &ModelEntry, row: Row, sync: Option<SyncMetadata>) -> Record {
    let mut bytes = Vec::new();
    codec::row::encode(&mut bytes, model.layout, &row);
    Record::new(Arc::clone(&model.def), row)
        .with_sync(sync)
        .with_base(Base::of_row(bytes.into()))
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
        (Some(old), Some(new)) if same_row(Some(&old), Some(&new)) && before_sync == sync => return None,
        (Some(_), Some(new)) => (ChangeKind::Update, new),
    };
    let record = match kind {
        // Whoever saves it again makes it anew.
        ChangeKind::Delete => Record::new(Arc::clone(&model.def), row).with_sync(sync),
        ChangeKind::Insert | ChangeKind::Update => as_read(model, row, sync),
    };
    Some(VisibleChange {
        key,
        kind,
        record,
        seq: entry.seq,
        origin: entry.origin,
    })
}
