//! One record through time: each entry about it, and what the entry made of it.
//!
//! Owns [`RecordHistory`]. How it is told in words is `tell.rs`.

use std::sync::Arc;

use landfall_core::{
    Change, FieldName, LogEntry, ModelDef, Mutation, Record, RecordKey, RecordState, Row, Seq, Value,
};

use super::History;
use super::fold::{self, PastState, model_of};
use crate::codec::entry::{decode, key_bytes, peek};
use crate::digest::Sought;
use crate::error::StorageError;

/// Everything that happened to a record, as far as the log goes back.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// # let history = landfall_storage::history::open_for_inspection(log)?;
/// use landfall_core::RecordKey;
///
/// let post = history.record(&RecordKey::new("Post", "p1"))?;
/// for step in &post.steps {
///     println!("{} {}", step.entry.seq, step.sentence(&post.def));
/// }
/// assert_eq!(post.steps.len(), 8);
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecordHistory {
    /// The record.
    pub key: RecordKey,
    /// Its model, by the schema in force at the newest entry that was looked at.
    pub def: Arc<ModelDef>,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
    /// The first entry that the log still has.
    pub since: Seq,
    /// The entry up to which was looked.
    pub to: Seq,
}

/// An entry and what it made of its record.
#[derive(Clone, Debug)]
pub struct Step {
    /// The entry.
    pub entry: LogEntry,
    /// What was known of the record before it.
    pub before: Arc<RecordState>,
    /// What was known of the record after it.
    pub after: Arc<RecordState>,
    /// What the app saw change.
    pub changed: Vec<FieldChange>,
    /// The waiting mutation that the entry is about, as it was before the entry; for a write, the mutation that the
    /// write became or was folded into.
    pub mutation: Option<Mutation>,
}

/// A change of a field as the app sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// The field.
    pub field: FieldName,
    /// Its value before; `None` if there was no record.
    pub before: Option<Value>,
    /// Its value after; `None` if there is no record.
    pub after: Option<Value>,
}

impl History {
    /// Everything that happened to a record.
    ///
    /// Reads those parts of the log that may be about the record, which the digests of a store tell, and decodes only what is: about
    /// 0.1 microseconds for each other entry. Of a log without digests it reads everything, on as many threads as the machine has
    /// cores, eight at most. Damage in what need not be read is told by [`History::check`].
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::{RecordKey, Seq};
    ///
    /// let post = history.record(&RecordKey::new("Post", "p2"))?;
    /// assert_eq!(post.steps[0].entry.seq, Seq(10));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`]; as [`History::as_of`].
    pub fn record(&self, key: &RecordKey) -> Result<RecordHistory, StorageError> {
        self.record_to(key, self.end)
    }

    /// Everything that happened to a record up to an entry.
    ///
    /// # Errors
    /// As [`History::record`].
    pub fn record_to(&self, key: &RecordKey, to: Seq) -> Result<RecordHistory, StorageError> {
        if !self.is_empty() {
            self.within(to)?;
        }
        let mark = key_bytes(key);
        let (parts, schema) = self.scan_sought(
            Sought::record(key),
            to,
            &|entries: &mut Vec<LogEntry>, seq, bytes| {
                let peek =
                    peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {seq} is no entry")))?;
                if peek.is_cleared() || peek.is_of_record() && peek.begins_with(&mark) {
                    entries.push(decode(seq, bytes)?);
                }
                Ok(())
            },
        )?;
        let def = Arc::clone(model_of(&schema, &key.model)?);
        let mut steps = Vec::new();
        let mut state = Arc::new(RecordState::default());
        for entry in parts.into_iter().flatten() {
            if entry.change == Change::Cleared && *state == RecordState::default() {
                continue;
            }
            let step = Step::take(entry, &state, &def)?;
            state = Arc::clone(&step.after);
            steps.push(step);
        }
        Ok(RecordHistory {
            key: key.clone(),
            def,
            steps,
            since: self.start,
            to,
        })
    }
}

impl Step {
    fn take(entry: LogEntry, before: &Arc<RecordState>, def: &ModelDef) -> Result<Self, StorageError> {
        let mut after = RecordState::clone(before);
        if entry.change == Change::Cleared {
            after = RecordState::default();
        } else {
            after.apply(def, entry.seq, &entry.change)?;
        }
        Ok(Self::between(entry, Arc::clone(before), Arc::new(after), def))
    }

    fn between(entry: LogEntry, before: Arc<RecordState>, after: Arc<RecordState>, def: &ModelDef) -> Self {
        let named = |seq: Seq, state: &RecordState| state.pending.iter().find(|m| m.seq == seq).cloned();
        let mutation = match (&entry.change, entry.change.mutation()) {
            (_, Some(seq)) => named(seq, &before),
            (Change::Write(write), None) if write.queued => {
                named(entry.seq, &after).or_else(|| after.pending.last().cloned())
            }
            _ => None,
        };
        Self {
            changed: changes(def, before.row.as_ref(), after.row.as_ref()),
            mutation,
            entry,
            before,
            after,
        }
    }

    /// Whether it has to do with a field: it changed it, or is about a mutation that carries it.
    pub fn concerns(&self, field: &str) -> bool {
        let carries = |mutation: &Mutation| {
            mutation.patch.contains_key(field) || mutation.kind == landfall_core::MutationKind::Delete
        };
        self.changed.iter().any(|change| change.field == *field)
            || self.mutation.as_ref().is_some_and(carries)
            || matches!(&self.entry.change, Change::Write(write) if write.patch.contains_key(field))
    }
}

impl PastState {
    /// Carries out the entry that follows, and tells what it did to its record, if it is about one that the schema has.
    ///
    /// With it a state is walked through time; the first one is from [`History::as_of`].
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the entry does not fit.
    pub fn step(&mut self, entry: LogEntry) -> Result<Option<Step>, StorageError> {
        let key = entry.change.key().cloned();
        let known = key.and_then(|key| Some((self.schema.model(&key.model).cloned()?, key)));
        let Some((def, key)) = known else {
            self.apply(&entry)?;
            return Ok(None);
        };
        let before = Arc::new(self.state(&key).cloned().unwrap_or_default());
        self.apply(&entry)?;
        let after = Arc::new(self.state(&key).cloned().unwrap_or_default());
        Ok(Some(Step::between(entry, before, after, &def)))
    }
}

impl RecordHistory {
    /// What is known of the record at the end.
    pub fn state(&self) -> RecordState {
        self.steps
            .last()
            .map(|step| RecordState::clone(&step.after))
            .unwrap_or_default()
    }

    /// The record as the app sees it at the end.
    pub fn latest(&self) -> Option<Record> {
        fold::record(&self.def, &self.state())
    }

    /// The value of a field at the end; `None` if there is no record, or no such field.
    pub fn value(&self, field: &str) -> Option<Value> {
        self.latest()?.get(field).cloned()
    }
}

/// The fields that differ between two rows of a model.
pub(super) fn changes(def: &ModelDef, before: Option<&Row>, after: Option<&Row>) -> Vec<FieldChange> {
    let value = |row: Option<&Row>, at: usize| row.map(|row| row.get(at).cloned().unwrap_or_default());
    def.stored_fields()
        .enumerate()
        .filter_map(|(at, field)| {
            let (before, after) = (value(before, at), value(after, at));
            let same = match (&before, &after) {
                (Some(before), Some(after)) => before.cmp_total(after).is_eq(),
                (None, None) => true,
                // Of a record that comes or goes the empty fields are not worth telling.
                (Some(only), None) | (None, Some(only)) => only.is_null(),
            };
            (!same).then(|| FieldChange {
                field: field.name.clone(),
                before,
                after,
            })
        })
        .collect()
}
