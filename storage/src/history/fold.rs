//! States of the past: the entries up to one of them, done again.
//!
//! Owns [`PastState`]. Only what is asked for is folded: one model, a few records, or everything. It is held in memory.
//!
//! Invariant: the result is that of a store which got these entries and no more, read with the schema in force then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_core::{
    BoundSort, Change, LogEntry, ModelDef, ModelName, Mutation, Record, RecordId, RecordKey, RecordState,
    Row, Schema, Seq, SyncCursor, SyncMetadata,
};

use super::History;
use crate::codec::entry::{Peek, decode, key_bytes, model_bytes, peek};
use crate::error::StorageError;
use crate::query::Query;

/// Which part of the past is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// Everything.
    All,
    /// The records of one model.
    Model(ModelName),
    /// These records.
    Records(BTreeSet<RecordKey>),
}

/// What a store held after an entry.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// # let history = landfall_storage::history::open_for_inspection(log)?;
/// use landfall_core::Seq;
/// use landfall_storage::{Query, history::Scope};
///
/// let then = history.as_of(Seq(6), &Scope::All)?;
/// assert_eq!(then.query(&Query::all("Post"))?.len(), 1);
/// assert_eq!(then.pending()[0].seq, Seq(5));
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PastState {
    /// The entry.
    pub seq: Seq,
    /// The schema in force then.
    pub schema: Arc<Schema>,
    records: BTreeMap<ModelName, BTreeMap<RecordId, RecordState>>,
    cursors: BTreeMap<ModelName, SyncCursor>,
}

impl PastState {
    pub(crate) fn new(seq: Seq, schema: Arc<Schema>) -> Self {
        Self {
            seq,
            schema,
            records: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Carries out an entry, as the projections do: what names a model that the schema has not changes nothing.
    pub(crate) fn apply(&mut self, entry: &LogEntry) -> Result<(), StorageError> {
        self.seq = entry.seq;
        match &entry.change {
            Change::Cleared => {
                self.records.clear();
                self.cursors.clear();
            }
            Change::Checkpoint(checkpoint) => {
                self.cursors
                    .insert(checkpoint.model.clone(), checkpoint.cursor.clone());
            }
            change => {
                if let Some(key) = change.key()
                    && let Some(def) = self.schema.model(&key.model)
                {
                    apply_to_record(&mut self.records, def, key, entry)?;
                }
            }
        }
        Ok(())
    }

    /// Everything that was known of a record.
    pub fn state(&self, key: &RecordKey) -> Option<&RecordState> {
        self.records.get(&key.model)?.get(&key.id)
    }

    /// Every record that something was known of, by model and identifier; those that the app did not see as well.
    pub fn states(&self) -> impl Iterator<Item = (RecordKey, &RecordState)> {
        self.records.iter().flat_map(|(model, records)| {
            records.iter().map(|(id, state)| {
                let key = RecordKey {
                    model: model.clone(),
                    id: id.clone(),
                };
                (key, state)
            })
        })
    }

    /// The record as the app saw it.
    pub fn get(&self, key: &RecordKey) -> Option<Record> {
        record(self.schema.model(&key.model)?, self.state(key)?)
    }

    /// The records that a query asks for.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`] and [`StorageError::BadQuery`], by the schema in force then.
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, StorageError> {
        let def = model_of(&self.schema, &query.model)?;
        let predicate = query.predicate.bind(def)?;
        let sort = BoundSort::bind(&query.sort, def)?;
        let mut found: Vec<Record> = self
            .records
            .get(&query.model)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|state| state.row.as_ref().is_some_and(|row| predicate.matches(row)))
            .filter_map(|state| record(def, state))
            .collect();
        if !sort.is_empty() {
            // Records come in the order of their identifiers, and a stable sort leaves ties in it.
            found.sort_by(|a, b| sort.compare(a.values(), b.values()));
        }
        let limit = query.page.limit.unwrap_or(usize::MAX);
        Ok(found.into_iter().skip(query.page.offset()).take(limit).collect())
    }

    /// The mutations that waited for the server, oldest first.
    pub fn pending(&self) -> Vec<&Mutation> {
        let states = self.records.values().flat_map(BTreeMap::values);
        let mut pending: Vec<&Mutation> = states.flat_map(|state| &state.pending).collect();
        pending.sort_by_key(|mutation| mutation.seq);
        pending
    }

    /// Where sync of the models had got.
    pub fn cursors(&self) -> &BTreeMap<ModelName, SyncCursor> {
        &self.cursors
    }
}

fn apply_to_record(
    records: &mut BTreeMap<ModelName, BTreeMap<RecordId, RecordState>>,
    def: &ModelDef,
    key: &RecordKey,
    entry: &LogEntry,
) -> Result<(), StorageError> {
    if !records.contains_key(&key.model) {
        records.insert(key.model.clone(), BTreeMap::new());
    }
    let of_model = records
        .get_mut(&key.model)
        .expect("it was put there if it was missing");
    if let Some(state) = of_model.get_mut(&key.id) {
        state.apply(def, entry.seq, &entry.change)?;
        if *state == RecordState::default() {
            of_model.remove(&key.id);
        }
    } else {
        let mut state = RecordState::default();
        state.apply(def, entry.seq, &entry.change)?;
        if state != RecordState::default() {
            of_model.insert(key.id.clone(), state);
        }
    }
    Ok(())
}

/// The record that the app sees of a state.
pub(super) fn record(def: &Arc<ModelDef>, state: &RecordState) -> Option<Record> {
    record_of(def, state.row.clone(), state.sync)
}

/// The same of a state that is not needed any more.
pub(super) fn record_of(def: &Arc<ModelDef>, row: Option<Row>, sync: Option<SyncMetadata>) -> Option<Record> {
    Some(Record::new(Arc::clone(def), row?).with_sync(sync))
}

/// The model of that name.
pub(super) fn model_of<'s>(schema: &'s Schema, model: &ModelName) -> Result<&'s Arc<ModelDef>, StorageError> {
    schema.model(model).ok_or_else(|| {
        let known: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
        StorageError::UnknownModel {
            model: model.to_string(),
            known: known.join(", "),
        }
    })
}

/// Tells by the first bytes of an entry whether a scope needs it.
pub(super) enum Sieve<'s> {
    All,
    Model(Vec<u8>),
    Record(Vec<u8>),
    Records(&'s BTreeSet<RecordKey>),
}

impl<'s> Sieve<'s> {
    pub(super) fn of(scope: &'s Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Model(model) => Self::Model(model_bytes(model)),
            Scope::Records(keys) => match keys.first() {
                Some(key) if keys.len() == 1 => Self::Record(key_bytes(key)),
                _ => Self::Records(keys),
            },
        }
    }

    pub(super) fn passes(&self, peek: &Peek<'_>) -> bool {
        if !peek.is_of_record() {
            return peek.is_cleared() || peek.is_checkpoint();
        }
        match self {
            Self::All => true,
            Self::Model(model) => peek.is_of_model(model),
            Self::Record(key) => peek.begins_with(key),
            Self::Records(keys) => peek.key().is_some_and(|key| keys.contains(&key)),
        }
    }
}

impl History {
    /// What a store held after an entry, as far as the scope asks for it.
    ///
    /// Reads the log up to the entry, and decodes what the scope needs of it: about a microsecond an entry. The records
    /// of the scope are held in memory.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::{RecordKey, Seq};
    /// use landfall_storage::history::Scope;
    ///
    /// let then = history.as_of(Seq(5), &Scope::Model("Post".into()))?;
    /// let post = then.get(&RecordKey::new("Post", "p1"));
    /// assert_eq!(post.and_then(|post| post.get("rating").cloned()), Some(3.into()));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// [`StorageError::Trimmed`], [`StorageError::NoEntry`]; [`StorageError::Corrupt`] if the log is damaged before the
    /// entry; the disk's faults.
    pub fn as_of(&self, seq: Seq, scope: &Scope) -> Result<PastState, StorageError> {
        self.as_of_in(seq, scope, self.schema_at(seq)?)
    }

    /// The same, read with another schema than the one in force then, such as that of a later entry to which the state
    /// is to be [walked](PastState::step).
    ///
    /// # Errors
    /// As [`History::as_of`].
    pub fn as_of_in(&self, seq: Seq, scope: &Scope, schema: Arc<Schema>) -> Result<PastState, StorageError> {
        let before_all = self.before_all();
        self.within_or_before_all(seq)?;
        let mut past = PastState::new(before_all, schema);
        self.fold_into(&mut past, seq, scope)?;
        past.seq = seq;
        Ok(past)
    }

    fn fold_into(&self, past: &mut PastState, seq: Seq, scope: &Scope) -> Result<(), StorageError> {
        let sieve = Sieve::of(scope);
        self.scan_unbroken(seq, &mut |at, bytes| {
            let peek = peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {at} is no entry")))?;
            if sieve.passes(&peek) {
                past.apply(&decode(at, bytes)?)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}
