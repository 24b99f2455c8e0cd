//! What differs between two states of the past.
//!
//! Owns [`Difference`]. Only records that an entry between the two is about are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use landfall_core::{
    FieldMap, FieldName, ModelDef, ModelName, RecordKey, RecordState, Seq, SyncCursor, SyncMetadata, Value,
};

use super::History;
use super::fold::{PastState, Scope};
use super::record::FieldChange;
use crate::codec::entry::peek;
use crate::error::StorageError;

/// What differs between the states after two entries.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The entry after which `before` was so.
    pub from: Seq,
    /// The entry after which `after` was so; it may be the earlier one.
    pub to: Seq,
    /// The records that differ, by key.
    pub records: Vec<RecordDifference>,
    /// The models whose sync has got elsewhere.
    pub cursors: Vec<CursorDifference>,
}

/// What differs of a record.
#[derive(Clone, Debug)]
pub struct RecordDifference {
    /// The record.
    pub key: RecordKey,
    /// What the app sees differently; empty if only the server's metadata or the outbox differ.
    pub fields: Vec<FieldChange>,
    /// Whether the app saw the record, before and after.
    pub visible: (bool, bool),
    /// The server's metadata, before and after.
    pub sync: (Option<SyncMetadata>, Option<SyncMetadata>),
    /// Mutations that waited, before and after.
    pub pending: (Vec<Seq>, Vec<Seq>),
}

/// Where sync of a model had got, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorDifference {
    /// The model.
    pub model: ModelName,
    /// Before.
    pub before: Option<SyncCursor>,
    /// After.
    pub after: Option<SyncCursor>,
}

impl History {
    /// What differs between the states after two entries, from the first to the second, whichever is earlier; the earlier one
    /// may be the one before the first.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::Seq;
    ///
    /// let difference = history.diff(Seq(5), Seq(9))?;
    /// assert_eq!(difference.records[0].fields[0].field, "rating");
    /// assert_eq!(difference.records[0].fields[0].after, Some(5.into()));
    /// let back = history.diff(Seq(9), Seq(5))?;
    /// assert_eq!(back.records[0].fields[0].before, Some(5.into()));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// As [`History::as_of`].
    pub fn diff(&self, from: Seq, to: Seq) -> Result<Difference, StorageError> {
        let scope = self.touched(from.min(to), from.max(to))?;
        let (before, after) = (self.as_of(from, &scope)?, self.as_of(to, &scope)?);
        let keys: BTreeSet<RecordKey> = before
            .states()
            .chain(after.states())
            .map(|(key, _)| key)
            .collect();
        let records = keys
            .into_iter()
            .filter_map(|key| difference(key, &before, &after));
        let models: BTreeSet<&ModelName> = before.cursors().keys().chain(after.cursors().keys()).collect();
        let cursors = models.into_iter().map(|model| CursorDifference {
            model: model.clone(),
            before: before.cursors().get(model).cloned(),
            after: after.cursors().get(model).cloned(),
        });
        Ok(Difference {
            from,
            to,
            records: records.collect(),
            cursors: cursors.filter(|cursor| cursor.before != cursor.after).collect(),
        })
    }

    /// The records that entries after `from` up to `to` are about; all if the store was cleared between them.
    fn touched(&self, from: Seq, to: Seq) -> Result<Scope, StorageError> {
        let mut keys = BTreeSet::new();
        let mut cleared = false;
        self.scan(from.next()..=to, &mut |_, bytes| {
            if let Some(peek) = peek(bytes) {
                cleared |= peek.is_cleared();
                keys.extend(peek.key());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(if cleared { Scope::All } else { Scope::Records(keys) })
    }
}

fn difference(key: RecordKey, before: &PastState, after: &PastState) -> Option<RecordDifference> {
    let (old, new) = (before.state(&key), after.state(&key));
    // The models may differ if the schema changed in between, so fields are compared by name.
    let old_fields = visible(before, &key, old);
    let new_fields = visible(after, &key, new);
    let pending = |state: Option<&RecordState>| -> Vec<Seq> {
        state.map_or_else(Vec::new, |state| state.pending.iter().map(|m| m.seq).collect())
    };
    let found = RecordDifference {
        fields: changes(old_fields.as_ref(), new_fields.as_ref()),
        visible: (old_fields.is_some(), new_fields.is_some()),
        sync: (old.and_then(|state| state.sync), new.and_then(|state| state.sync)),
        pending: (pending(old), pending(new)),
        key,
    };
    let same = found.fields.is_empty()
        && found.visible.0 == found.visible.1
        && found.sync.0 == found.sync.1
        && old.map(|state| &state.pending) == new.map(|state| &state.pending);
    (!same).then_some(found)
}

fn visible(past: &PastState, key: &RecordKey, state: Option<&RecordState>) -> Option<FieldMap> {
    let row = state?.row.as_ref()?;
    let def: &ModelDef = past.schema.model(&key.model)?;
    let fields = def.stored_fields().map(|field| field.name.clone());
    Some(fields.zip(row.iter().cloned()).collect())
}

fn value(fields: Option<&FieldMap>, name: &FieldName) -> Option<Value> {
    fields.map(|fields| fields.get(name).cloned().unwrap_or_default())
}

fn changes(before: Option<&FieldMap>, after: Option<&FieldMap>) -> Vec<FieldChange> {
    let names: BTreeMap<_, ()> = before
        .into_iter()
        .chain(after)
        .flat_map(|fields| fields.keys().map(|name| (name.clone(), ())))
        .collect();
    names
        .into_keys()
        .filter_map(|field| {
            let (old, new) = (value(before, &field), value(after, &field));
            let empty = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_null);
            (old != new && !(empty(&old) && empty(&new))).then_some(FieldChange {
                field,
                before: old,
                after: new,
            })
        })
        .collect()
}
