//! Log entries: everything that can happen to a store, each with its cause.
//!
//! Owns [`LogEntry`] and [`Change`]. What a change does to a record is `state.rs`; how it is written is
//! `landfall-storage`.
//!
//! Invariant: whatever a projection holds can be computed from the changes alone, so a change carries all that its
//! effect depends on (for example whether a write was queued for the server).

use serde::{Deserialize, Serialize};

use crate::mutation::{Mutation, MutationKind, Refusal, Seq};
use crate::names::ModelName;
use crate::predicate::Predicate;
use crate::record::{FieldMap, RecordKey, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::{ModelDef, SchemaHash};
use crate::state::{RecordState, Row};
use crate::sync_plan::SyncCursor;

/// One entry of the event log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Its position.
    pub seq: Seq,
    /// Wall-clock time of the commit in milliseconds since 1970; for people, never for order.
    pub at_ms: i64,
    /// What brought it about.
    pub origin: Origin,
    /// The entry that led to it, if one did.
    pub cause: Option<Seq>,
    /// What happened.
    pub change: Change,
}

/// What brought an entry about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A call of the app.
    App,
    /// The engine, on the way to the server.
    Outbox,
    /// The server's answer to a mutation.
    Response,
    /// A subscription frame.
    Subscription,
    /// A page of a sync query.
    Sync,
    /// Opening the store after a stop or a crash.
    Recovery,
}

/// What happened. Changes of one record name it in `key`.
///
/// ```
/// use landfall_core::Change;
///
/// // What an entry is about, whatever happened.
/// assert_eq!((Change::Cleared.name(), Change::Cleared.key()), ("cleared", None));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The app wrote a record.
    Write(Write),
    /// A mutation was handed to the transport.
    Sent(Sent),
    /// A mutation's answer will not come.
    OutcomeUnknown(MutationRef),
    /// A mutation certainly was not applied and waits again.
    NotApplied(MutationRef),
    /// The server applied a mutation.
    Acknowledged(Acknowledged),
    /// The server refused a mutation for its version, and how that was decided.
    Conflict(Conflict),
    /// The server refused a mutation for good: it is parked.
    Refused(Refused),
    /// The app had a parked mutation sent again.
    Retried(MutationRef),
    /// The app changed what a parked mutation sets, and had it sent again.
    Edited(Edited),
    /// The app gave a parked mutation up; the server's record is back.
    Discarded(MutationRef),
    /// The server's record arrived.
    Remote(Remote),
    /// A record left the store because sync no longer covers it.
    Evicted(Evicted),
    /// A server record could not be read and was set aside.
    Quarantined(Quarantined),
    /// Sync of a model got as far as this.
    Checkpoint(Checkpoint),
    /// The store took on this schema.
    SchemaChanged(SchemaChanged),
    /// All data was cleared; nothing before it has any effect.
    Cleared,
    /// What the entries about a record that were trimmed from the log had come to. Stands before the log, not in it.
    Base(RecordBase),
    /// An entry of a kind that this version does not know, kept as it is.
    Opaque(Opaque),
}

/// The app wrote a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The record.
    pub key: RecordKey,
    /// Create, update or delete.
    pub kind: MutationKind,
    /// All fields of a create, the changed fields of an update, nothing for a delete.
    pub patch: FieldMap,
    /// Condition that the server is to check.
    pub condition: Option<Predicate>,
    /// Version that the change was made on.
    pub base_version: Option<RecordVersion>,
    /// Whether it goes to the server (`false` for local-only models).
    pub queued: bool,
    /// Records that it refers to.
    pub parents: Vec<RecordKey>,
    /// First entry of the transaction that it belongs to.
    pub group: Option<Seq>,
    /// Of a delete into which a waiting update is folded: whether it waits at the end of the queue, so that what was deleted
    /// with it goes before it. Older entries do not say, and their deletes took the place of the update.
    pub at_end: bool,
    /// Of a delete: how many records it took along, whose deletes come right before it. Older entries do not say.
    pub took_along: Option<u32>,
}

/// Names a mutation of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutationRef {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
}

/// A mutation was handed to the transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// The server applied a mutation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
    /// The server's record after it.
    pub remote: RemoteRecord,
}

/// The server refused a mutation because of its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
    /// The server's record.
    pub remote: RemoteRecord,
    /// What the conflict handler answered.
    pub decision: Decision,
    /// Fields of the mutation that are given up by this: they are neither sent again nor the server's anyway. Older
    /// entries do not say, and have none.
    pub given_up: FieldMap,
}

/// How a conflict was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// The server's record stands; the mutation is dropped.
    AcceptRemote,
    /// The mutation is sent again with these fields, on the server's version.
    Retry {
        /// Create, update or delete.
        kind: MutationKind,
        /// Fields to send.
        patch: FieldMap,
    },
}

/// The server refused a mutation for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
    /// Why.
    pub refusal: Refusal,
    /// The server's record, if it came with the refusal.
    pub remote: Option<RemoteRecord>,
}

/// The app changed what a parked mutation sets, and had it sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edited {
    /// The record.
    pub key: RecordKey,
    /// The mutation.
    pub mutation: Seq,
    /// The fields that it sets from here on, in place of those before.
    pub patch: FieldMap,
    /// Records that it refers to from here on.
    pub parents: Vec<RecordKey>,
    /// Whether the mutation makes the record, so that the patch is all of it. Older entries do not say.
    #[serde(default)]
    pub whole: bool,
}

/// The server's record arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// The record.
    pub key: RecordKey,
    /// What the server sent.
    pub remote: RemoteRecord,
}

/// A record left the store because sync no longer covers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evicted {
    /// The record.
    pub key: RecordKey,
    /// Why, such as `left the sync expression`.
    pub reason: String,
    /// The server's metadata when it left, so that an older message cannot bring it back; `None` if the server no
    /// longer has the record, so that whatever has its identifier next is news.
    #[serde(default)]
    pub sync: Option<SyncMetadata>,
}

/// A server record that could not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The model.
    pub model: ModelName,
    /// What is wrong with it.
    pub reason: String,
    /// The record as JSON text, cut to a bound by whoever made the entry.
    pub json: String,
}

/// Sync of a model got as far as this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The model.
    pub model: ModelName,
    /// What the next sync starts from.
    pub cursor: SyncCursor,
}

/// The store took on a schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaChanged {
    /// Its fingerprint.
    pub hash: SchemaHash,
    /// The schema as model-introspection JSON text.
    pub introspection: String,
}

/// What the trimmed entries about a record had come to: its state, by the names of its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordBase {
    /// The record.
    pub key: RecordKey,
    /// See [`RecordState::row`].
    pub row: Option<FieldMap>,
    /// See [`RecordState::sync`].
    pub sync: Option<SyncMetadata>,
    /// See [`RecordState::own_since`].
    pub own_since: Option<RecordVersion>,
    /// See [`RecordState::shadow`].
    pub shadow: Option<FieldMap>,
    /// See [`RecordState::pending`].
    pub pending: Vec<Mutation>,
}

impl RecordBase {
    /// The state of a record, taken down.
    pub fn of(key: RecordKey, def: &ModelDef, state: &RecordState) -> Self {
        let named = |row: &Row| -> FieldMap {
            let fields = def.stored_fields().map(|field| field.name.clone());
            let values = fields.zip(row.iter().cloned());
            values.filter(|(_, value)| !value.is_null()).collect()
        };
        Self {
            key,
            row: state.row.as_ref().map(named),
            sync: state.sync,
            own_since: state.own_since,
            shadow: state.shadow.as_ref().map(named),
            pending: state.pending.clone(),
        }
    }

    /// The state that it tells of. Fields that the model no longer has are passed over.
    pub fn state(&self, def: &ModelDef) -> RecordState {
        let row = |fields: &FieldMap| -> Row {
            let value = |name| fields.get(name).cloned().unwrap_or_default();
            def.stored_fields().map(|field| value(&field.name)).collect()
        };
        RecordState {
            row: self.row.as_ref().map(row),
            sync: self.sync,
            own_since: self.own_since,
            shadow: self.shadow.as_ref().map(row),
            pending: self.pending.clone(),
        }
    }
}

/// An entry of an unknown kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// Number of the kind.
    pub kind: u16,
    /// Version of its payload.
    pub version: u8,
    /// The payload as written.
    pub payload: Vec<u8>,
}

impl Change {
    /// The record that it changes, if it changes one.
    pub fn key(&self) -> Option<&RecordKey> {
        match self {
            Self::Write(change) => Some(&change.key),
            Self::Sent(change) => Some(&change.key),
            Self::OutcomeUnknown(change)
            | Self::NotApplied(change)
            | Self::Retried(change)
            | Self::Discarded(change) => Some(&change.key),
            Self::Acknowledged(change) => Some(&change.key),
            Self::Conflict(change) => Some(&change.key),
            Self::Refused(change) => Some(&change.key),
            Self::Edited(change) => Some(&change.key),
            Self::Remote(change) => Some(&change.key),
            Self::Evicted(change) => Some(&change.key),
            Self::Base(base) => Some(&base.key),
            Self::Quarantined(_)
            | Self::Checkpoint(_)
            | Self::SchemaChanged(_)
            | Self::Cleared
            | Self::Opaque(_) => None,
        }
    }

    /// The mutation that it is about, if it is about one that already waits.
    pub fn mutation(&self) -> Option<Seq> {
        match self {
            Self::Sent(change) => Some(change.mutation),
            Self::OutcomeUnknown(change)
            | Self::NotApplied(change)
            | Self::Retried(change)
            | Self::Discarded(change) => Some(change.mutation),
            Self::Acknowledged(change) => Some(change.mutation),
            Self::Conflict(change) => Some(change.mutation),
            Self::Refused(change) => Some(change.mutation),
            Self::Edited(change) => Some(change.mutation),
            _ => None,
        }
    }

    /// Name of the kind, for lists and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Sent(_) => "sent",
            Self::OutcomeUnknown(_) => "outcome unknown",
            Self::NotApplied(_) => "not applied",
            Self::Acknowledged(_) => "acknowledged",
            Self::Conflict(_) => "conflict",
            Self::Refused(_) => "refused",
            Self::Retried(_) => "retried",
            Self::Edited(_) => "edited",
            Self::Discarded(_) => "discarded",
            Self::Remote(_) => "remote",
            Self::Evicted(_) => "evicted",
            Self::Quarantined(_) => "quarantined",
            Self::Checkpoint(_) => "checkpoint",
            Self::SchemaChanged(_) => "schema changed",
            Self::Cleared => "cleared",
            Self::Base(_) => "base",
            Self::Opaque(_) => "opaque",
        }
    }
}
