//! What a save, a delete, an answer or a conflict leads to: from a request and a record's state to the change.
//!
//! Owns the decisions; `state.rs` carries them out. Reads nothing but its arguments.

mod conflict;
mod edit;

pub use self::conflict::{RECORD_DELETED, Resolution, decide_conflict, given_up};
pub use self::edit::decide_edit;
use crate::entry::Write;
use crate::mutation::{Mutation, MutationKind, Seq};
use crate::names::{FieldName, ModelName};
use crate::planted::planted;
use crate::predicate::{Predicate, PredicateError};
use crate::record::{FieldMap, IdPart, RecordId, RecordKey, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::{KeyKind, ModelDef, Schema, fill_defaults};
use crate::state::{NEVER_SEEN, RecordState, Row, is_subset};
use crate::validate::{InvalidRecord, validate};

/// How often one mutation may meet a conflict before it is parked.
pub const CONFLICT_ROUNDS_MAX: u32 = 10;

/// A record to be saved.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// Its values in slot order.
    pub values: Row,
    /// Its values when it was read from the store; `None` if it was made by the app.
    pub base: Option<Row>,
    /// The server's metadata when it was read.
    pub seen: Option<SyncMetadata>,
    /// Condition on the stored record.
    pub condition: Option<Predicate>,
    /// Whether the change goes to the server.
    pub queued: bool,
    /// First entry of the transaction that it belongs to.
    pub group: Option<Seq>,
}

/// Why a write was not carried out; nothing was changed.
///
/// ```
/// use landfall_core::{RecordKey, WriteRefused};
///
/// let refused = WriteRefused::ConditionFailed { key: RecordKey::new("Post", "p1") };
/// assert!(refused.to_string().contains("Post/p1"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteRefused {
    /// The record does not fit its model.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
    /// The condition does not fit the model.
    #[error(transparent)]
    BadCondition(#[from] PredicateError),
    /// The stored record does not satisfy the condition.
    #[error("the stored `{key}` does not satisfy the condition; read it again and decide anew")]
    ConditionFailed {
        /// The record.
        key: RecordKey,
    },
    /// A waiting delete sets no fields that could be edited.
    #[error("the change of `{key}` that waits is a delete, which sets no fields; retry or discard it")]
    NothingToEdit {
        /// The record.
        key: RecordKey,
    },
    /// The record that an edit refers to is made behind it.
    #[error(
        "`{key}` cannot refer to `{parent}` yet, whose create waits behind this change; edit it once that create is sent, or \
         discard it and save `{key}` anew"
    )]
    ParentBehind {
        /// The record.
        key: RecordKey,
        /// The record that it is to refer to.
        parent: RecordKey,
    },
    /// The records of the model come from the server alone.
    #[error(
        "`{model}` is only pulled, so nothing would carry this write of `{key}` to the server; change it there, or open \
         the store with another `model_sync`"
    )]
    PullOnly {
        /// The model.
        model: ModelName,
        /// The record.
        key: RecordKey,
    },
    /// The record was read, then deleted, and is now saved.
    #[error("`{key}` was deleted after it was read; build a new record to make it again")]
    Gone {
        /// The record.
        key: RecordKey,
    },
}

/// Decides a save. `None` means that nothing would change, so nothing is written.
///
/// A new record whose fields are missing gets the values of their `@default`, as the server would give it (Amplify
/// shows them only after the server's answer).
///
/// What is sent are the fields that differ from what the caller had read, not from what is stored: a stale copy does
/// not undo the changes of others in fields that the caller left alone.
///
/// # Errors
/// See [`WriteRefused`].
///
/// # Panics
/// If the values are not those of the model's stored fields, one each: our own bug.
pub fn decide_save(
    schema: &Schema,
    def: &ModelDef,
    state: &RecordState,
    request: SaveRequest,
) -> Result<Option<Write>, WriteRefused> {
    decide(schema, def, state, request, false)
}

/// Decides the save of an imported record: as [`decide_save`], but a new record keeps the values of fields that only the
/// server writes, such as timestamps, until the server says otherwise. They are not sent.
///
/// # Errors
/// See [`WriteRefused`].
///
/// # Panics
/// As [`decide_save`].
pub fn decide_import(
    schema: &Schema,
    def: &ModelDef,
    state: &RecordState,
    request: SaveRequest,
) -> Result<Option<Write>, WriteRefused> {
    decide(schema, def, state, request, true)
}

fn decide(
    schema: &Schema,
    def: &ModelDef,
    state: &RecordState,
    mut request: SaveRequest,
    keeps_read_only: bool,
) -> Result<Option<Write>, WriteRefused> {
    if state.row.is_none() && request.base.is_none() {
        fill_defaults(def, &mut request.values);
    }
    validate(schema, def, &mut request.values)?;
    let id =
        RecordId::of_values(def, &request.values).expect("validation refuses records without key fields");
    let key = RecordKey {
        model: def.name.clone(),
        id,
    };
    let Some(row) = &state.row else {
        if request.base.is_some() {
            return Err(WriteRefused::Gone { key });
        }
        return Ok(Some(create(schema, def, key, &request, keeps_read_only)));
    };
    check_condition(def, row, request.condition.as_ref(), &key)?;
    let reference = request.base.as_ref().unwrap_or(row);
    let mut patch = difference(def, reference, &request.values);
    planted("patch-loses-field").then(|| patch.len() > 1 && patch.pop_last().is_some());
    if patch.is_empty() {
        return Ok(None);
    }
    let base_version = base_version(def, state, &request, &patch);
    add_sort_key_groups(def, row, &mut patch);
    let mut merged = row.clone();
    for (name, value) in &patch {
        if let Some(slot) = def.slot(name) {
            merged[slot.index()] = value.clone();
        }
    }
    Ok(Some(Write {
        base_version,
        parents: parents(schema, def, &merged),
        kind: MutationKind::Update,
        condition: request.condition,
        queued: request.queued,
        group: request.group,
        at_end: false,
        took_along: None,
        key,
        patch,
    }))
}

/// Decides a delete. `None` means that there is nothing to delete.
///
/// # Errors
/// [`WriteRefused::ConditionFailed`] and [`WriteRefused::BadCondition`].
pub fn decide_delete(
    schema: &Schema,
    def: &ModelDef,
    state: &RecordState,
    key: RecordKey,
    condition: Option<Predicate>,
    queued: bool,
    group: Option<Seq>,
) -> Result<Option<Write>, WriteRefused> {
    let Some(row) = &state.row else { return Ok(None) };
    check_condition(def, row, condition.as_ref(), &key)?;
    Ok(Some(Write {
        key,
        kind: MutationKind::Delete,
        patch: FieldMap::new(),
        condition,
        base_version: newest_version(def, state, |_| true),
        queued,
        parents: parents(schema, def, row),
        group,
        at_end: true,
        took_along: None,
    }))
}

fn create(
    schema: &Schema,
    def: &ModelDef,
    key: RecordKey,
    request: &SaveRequest,
    keeps_read_only: bool,
) -> Write {
    let patch = def
        .stored_fields()
        .zip(&request.values)
        .filter(|(field, value)| !value.is_null() && (keeps_read_only || !field.read_only))
        .map(|(field, value)| (field.name.clone(), value.clone()))
        .collect();
    Write {
        parents: parents(schema, def, &request.values),
        key,
        kind: MutationKind::Create,
        patch,
        // A condition speaks of a stored record, and there is none (as in the JavaScript client).
        condition: None,
        base_version: None,
        queued: request.queued,
        group: request.group,
        at_end: false,
        took_along: None,
    }
}

fn check_condition(
    def: &ModelDef,
    row: &Row,
    condition: Option<&Predicate>,
    key: &RecordKey,
) -> Result<(), WriteRefused> {
    match condition {
        Some(condition) if !condition.bind(def)?.matches(row) && !planted("condition-ignored") => {
            Err(WriteRefused::ConditionFailed { key: key.clone() })
        }
        _ => Ok(()),
    }
}

/// Fields of `new` that differ from `old`; neither key fields nor those that only the server writes.
fn difference(def: &ModelDef, old: &Row, new: &Row) -> FieldMap {
    def.stored_fields()
        .zip(old.iter().zip(new))
        .filter(|(field, (old, new))| {
            !field.read_only && !def.key.fields.contains(&field.name) && old.cmp_total(new).is_ne()
        })
        .map(|(field, (_, new))| (field.name.clone(), new.clone()))
        .collect()
}

/// If one field of a composite sort key changes, AppSync wants all of them, since it stores them joined.
///
/// The others are sent as they are stored, not as the caller read them: they are not the caller's changes.
fn add_sort_key_groups(def: &ModelDef, stored: &Row, patch: &mut FieldMap) {
    for index in def.indexes.iter().filter(|index| index.fields.len() > 2) {
        let group: &[FieldName] = &index.fields[1..];
        if group.iter().any(|field| patch.contains_key(field)) {
            for field in group {
                if let Some(slot) = def.slot(field) {
                    patch
                        .entry(field.clone())
                        .or_insert_with(|| stored[slot.index()].clone());
                }
            }
        }
    }
}

/// The version that an update is made on.
///
/// Normally the newest one known. If another writer changed one of the same fields after the caller read them, it is
/// a version from before that change, so that the server notices the conflict.
fn base_version(
    def: &ModelDef,
    state: &RecordState,
    request: &SaveRequest,
    patch: &FieldMap,
) -> Option<RecordVersion> {
    if let (Some(base), Some(server), Some(newest)) = (&request.base, state.server_row(), state.sync)
        && !is_being_made(state)
    {
        // A copy from before the record was known to the server, or from an earlier life, has seen nothing of it.
        let seen = request
            .seen
            .filter(|seen| !seen.deleted && seen.version <= newest.version);
        let seen = seen.map_or(NEVER_SEEN, |seen| seen.version);
        let missed = seen < state.own_since.unwrap_or(newest.version) && !planted("stale-copy-on-newest");
        let mut slots = patch.keys().filter_map(|name| def.slot(name));
        if missed && slots.any(|slot| server[slot.index()].cmp_total(&base[slot.index()]).is_ne()) {
            // Even the newest version is not seen as a whole while a waiting edit hides a part of it.
            return Some(seen.min(RecordVersion(newest.version.0.saturating_sub(1))));
        }
    }
    newest_version(def, state, |name| patch.contains_key(name))
}

/// The version that a change of the visible row is made on; `None` if that of an earlier change is yet to come.
fn newest_version(
    def: &ModelDef,
    state: &RecordState,
    writes: impl Fn(&FieldName) -> bool,
) -> Option<RecordVersion> {
    if state.pending.is_empty() {
        return state.sync.map(|sync| sync.version);
    }
    // What is built on a create follows it, whatever else the server may have under the same identifier.
    if is_being_made(state) {
        None
    } else {
        state.hidden_since(def, writes)
    }
}

/// Whether the record that the app sees is one whose create still waits.
fn is_being_made(state: &RecordState) -> bool {
    state
        .pending
        .iter()
        .any(|mutation| mutation.kind == MutationKind::Create)
}

/// Records that a row refers to through foreign keys that it holds, whichever side's relation says so: its own belongs-to,
/// its own has-one whose key it holds, or a has-many or has-one of the other model.
///
/// The server may refuse a reference to a record that it does not have yet, whatever the relation is called.
pub fn parents(schema: &Schema, def: &ModelDef, row: &Row) -> Vec<RecordKey> {
    let belongings = schema.belongings(&def.name).iter();
    let keys = belongings.filter_map(|belonging| {
        let parts = belonging.by.iter().map(|field| {
            let slot = def.slot(field)?;
            IdPart::from_value(&row[slot.index()])
        });
        Some(RecordKey {
            model: belonging.to.clone(),
            id: RecordId::new(parts.collect::<Option<Vec<_>>>()?),
        })
    });
    keys.collect()
}

/// What became of a mutation whose answer was lost, judged by the server's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The server applied it.
    Applied,
    /// The server did not apply it; it may be sent again.
    NotApplied,
    /// Others have written the record since: to be decided like a conflict, never blindly sent again.
    Conflict,
}

/// Judges a mutation whose answer was lost by the server's record (`None` if the server has none).
///
/// Sending again what may have been applied doubles lists under AUTOMERGE and resurrects overwritten values, so
/// whatever is not certain is treated as a conflict.
pub fn settle(def: &ModelDef, mutation: &Mutation, server: Option<&RemoteRecord>) -> Settled {
    let Some(server) = server else {
        return if mutation.kind == MutationKind::Delete {
            Settled::Applied
        } else {
            Settled::NotApplied
        };
    };
    let holds = is_subset(&mutation.patch, &server.fields);
    match mutation.kind {
        MutationKind::Create if planted("create-always-applied") => Settled::Applied,
        // Whoever made it, all that was to be made is there.
        MutationKind::Create if holds && !server.sync.deleted => Settled::Applied,
        // It was made and deleted since: nobody else makes a record with an identifier that only this store knows. But
        // the app may make it again after a delete, which the server refuses: its tombstone then has the values of the
        // earlier life.
        MutationKind::Create if holds && def.key.kind == KeyKind::Managed => Settled::Applied,
        // The server refuses a create over a tombstone of an earlier life; that tells the app that the identifier was
        // taken.
        MutationKind::Create if server.sync.deleted => Settled::NotApplied,
        // Another client made a record with this identifier, or has changed the one that was made here: the version does
        // not tell which, and either way there is something of others that must not be lost, and something of ours.
        MutationKind::Create => Settled::Conflict,
        MutationKind::Delete if server.sync.deleted => Settled::Applied,
        MutationKind::Update | MutationKind::Delete if Some(server.sync.version) == mutation.base_version => {
            Settled::NotApplied
        }
        // A read that lags behind shows a version from before this change, whatever values it holds.
        MutationKind::Update
            if holds && !server.sync.deleted && Some(server.sync.version) > mutation.base_version =>
        {
            Settled::Applied
        }
        MutationKind::Update | MutationKind::Delete => Settled::Conflict,
    }
}

#[cfg(test)]
mod tests;
