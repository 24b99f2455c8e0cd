//! Mutations: local changes that wait for the server, and how a new one folds into a waiting one.
//!
//! Owns [`Mutation`], its stages and [`coalesce`]. Does not choose which mutation is sent next (`outbox.rs`).
//!
//! Invariants: 1. nothing is folded into a mutation that may have reached the server; 2. a folded mutation keeps its
//! place in the queue, but for a delete, which goes to the end (`state.rs`); 3. nothing is folded across a condition; 4. a
//! folded mutation refers to no record that the waiting one did not refer to, and clashes with nobody that the waiting one
//! does not clash with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::ModelName;
use crate::outbox::Errand;
use crate::planted::planted;
use crate::predicate::Predicate;
use crate::record::{FieldMap, RecordKey, RecordVersion};
use crate::value::Value;

/// Why a change is parked that the server did not even try: its schema does not fit the request, so it is older or newer
/// than the app's. In the place of AppSync's `errorType`, which gives none for that.
pub const SCHEMA_MISMATCH: &str = "SchemaMismatch";

/// Why a change is parked of which nobody knows whether it was applied: the server's schema does not fit the question. In
/// the place of AppSync's `errorType`.
pub const OUTCOME_NOT_SHOWN: &str = "OutcomeNotShown";

/// Why a change is parked of which nobody knows whether it was applied, or which was applied without the server's showing
/// what came of it: the record cannot be read, or not by this user. In the place of AppSync's `errorType`.
pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";

/// AppSync's `errorType` of a condition that does not hold, and of a create that meets a record.
pub const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// Position in the event log, from 1; the only order there is.
///
/// ```
/// use landfall_core::Seq;
///
/// let newest = Seq(41);
/// assert_eq!(newest.next(), Seq(42));
/// assert_eq!(newest.to_string(), "e41");
/// assert!(Seq::ZERO < newest);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// What a mutation does to its record.
///
/// ```
/// use landfall_core::MutationKind;
///
/// assert_eq!((MutationKind::Create.verb(), MutationKind::Create.op_type()), ("create", "INSERT"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MutationKind {
    /// Makes the record.
    Create,
    /// Changes fields of the record.
    Update,
    /// Removes the record.
    Delete,
}

/// Where a mutation is on its way to the server.
///
/// ```
/// use landfall_core::{Refusal, Stage};
///
/// let refused = Stage::Parked(Refusal { error_type: None, message: "not yours".into() });
/// assert_eq!((Stage::Queued.name(), refused.name()), ("queued", "parked"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Certainly not applied by the server; may be sent, changed or dropped.
    Queued,
    /// Handed to the transport; no answer yet.
    InFlight,
    /// No answer came and none will: the server is asked before it is sent again.
    Unknown,
    /// Refused for good; waits for the app and holds back its own record and its children.
    Parked(Refusal),
}

/// Why the server, or the engine on its behalf, refused a mutation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// AppSync's `errorType`, such as [`CONDITION_FAILED`], if it gave one; or the engine's own:
    /// `RecordDeleted`, if the server deleted the record, [`SCHEMA_MISMATCH`] and [`OUTCOME_NOT_SHOWN`], if its schema
    /// is another one, and [`OUTCOME_UNKNOWN`], if it does not show the record.
    pub error_type: Option<String>,
    /// The message that came with it.
    pub message: String,
}

/// A local change that waits for the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutation {
    /// Its identity and its place in the queue: the sequence number of the first log entry folded in, or of the delete into
    /// which an update was folded.
    pub seq: Seq,
    /// The record.
    pub key: RecordKey,
    /// What it does.
    pub kind: MutationKind,
    /// Fields to send: all that were set for a create, the changed ones for an update, none for a delete.
    pub patch: FieldMap,
    /// Condition that the server checks.
    pub condition: Option<Predicate>,
    /// Version of the server's record that the change was made on; `None` for a create, and for a change made while
    /// an earlier one of the same record waits: then whatever becomes of that one hands a version over. Version 0, or
    /// an old one, makes the server notice that the change was not made on its newest record.
    pub base_version: Option<RecordVersion>,
    /// Where it is.
    pub stage: Stage,
    /// How often it was sent.
    pub attempts: u32,
    /// How often the server answered with a conflict.
    pub conflict_rounds: u32,
    /// Records that it refers to: a create waits for theirs, and their delete waits for it.
    pub parents: Vec<RecordKey>,
    /// First entry of the transaction that it belongs to, if any.
    pub group: Option<Seq>,
    /// The record on which it was made, as its author saw it, once that is not what lies under it any more; fields that
    /// are null are left out. Nothing for a create, which is made on nothing.
    #[serde(default)]
    pub base: Option<FieldMap>,
}

/// What became of a new mutation.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Lives for one call on the stack; a box would only add an allocation.
pub enum Coalesced {
    /// It waits behind the others.
    Append(Mutation),
    /// It was folded into the waiting one.
    Folded,
    /// It undid a create that nobody has seen: both are gone.
    Cancelled,
}

impl Seq {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);

    /// The next position.
    ///
    /// # Panics
    /// After 2^64 entries.
    #[must_use]
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("the log has fewer than 2^64 entries"),
        )
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl MutationKind {
    /// AppSync's verb, such as `create`.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// DataStore's `opType`, such as `INSERT`.
    pub fn op_type(self) -> &'static str {
        match self {
            Self::Create => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl Stage {
    /// A word for lists and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in flight",
            Self::Unknown => "unknown",
            Self::Parked(_) => "parked",
        }
    }
}

impl Mutation {
    /// The model of its record.
    pub fn model(&self) -> &ModelName {
        &self.key.model
    }

    /// What to do with it once the server's schema fits; `None` if it does not wait for that. One whose outcome is unknown
    /// is asked about before it is sent again.
    pub fn awaits_schema(&self) -> Option<Errand> {
        let Stage::Parked(refusal) = &self.stage else {
            return None;
        };
        match refusal.error_type.as_deref() {
            Some(SCHEMA_MISMATCH) => Some(Errand::Send),
            Some(OUTCOME_NOT_SHOWN) => Some(Errand::Inquire),
            _ => None,
        }
    }

    /// Whether it is parked although it may have been applied: it is asked about before it is sent again, and cannot be
    /// edited until then.
    pub fn may_be_applied(&self) -> bool {
        matches!(&self.stage, Stage::Parked(refusal) if matches!(
            refusal.error_type.as_deref(),
            Some(OUTCOME_NOT_SHOWN | OUTCOME_UNKNOWN)
        ))
    }

    /// Whether it writes a list. Sent twice, one may hold its elements twice: AppSync's automerge puts lists together.
    pub fn writes_list(&self) -> bool {
        self.patch.values().any(Value::has_list)
    }

    /// Has it sent again on the app's word, which gives it a fresh allowance of conflicts.
    pub(crate) fn try_anew(&mut self) {
        self.stage = Stage::Queued;
        self.conflict_rounds = 0;
    }

    /// Whether the server certainly has not seen it, so that it may still be changed.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Queued
    }
}

/// Folds `new` into `last`, the newest waiting mutation of the same record, where the rules allow it.
///
/// | last (queued) | new | result |
/// |---|---|---|
/// | create | update | create with the new fields on top |
/// | create, never sent | delete | both gone |
/// | create, sent before | delete | appended |
/// | update | update | update with both sets of fields |
/// | update | delete | delete, which the caller puts at the end |
/// | delete | any | appended |
/// | any with a condition, or not queued | any | appended |
/// | any | any with a condition | appended |
/// | any | update that refers to a record that the last one does not refer to | appended |
/// | any | any made on an older version, so that the server notices a clash | appended |
///
/// A create that was sent before may have been seen after all, so that its delete has to be sent as well. An update
/// that refers to more records than the waiting one might have to wait for one of them, which the place in the queue
/// of the waiting one would not allow.
///
/// Source: the pending-event rules of the JavaScript and Swift clients, with the place in the queue kept.
pub fn coalesce(last: Option<&mut Mutation>, new: Mutation) -> Coalesced {
    let Some(last) = last else {
        return Coalesced::Append(new);
    };
    let may_fold = (last.is_open() || planted("fold-into-sent"))
        && last.condition.is_none()
        && new.condition.is_none()
        && last.group == new.group
        && (new.base_version.is_none() || new.base_version == last.base_version);
    if !may_fold {
        return Coalesced::Append(new);
    }
    match (last.kind, new.kind) {
        (MutationKind::Create | MutationKind::Update, MutationKind::Update)
            if new.parents.iter().all(|parent| last.parents.contains(parent)) =>
        {
            last.patch
                .extend(new.patch.into_iter().filter(|_| !planted("fold-forgets-fields")));
            last.parents = new.parents;
            Coalesced::Folded
        }
        (MutationKind::Create, MutationKind::Delete)
            if last.attempts == 0 || planted("cancel-sent-create") =>
        {
            Coalesced::Cancelled
        }
        (MutationKind::Update, MutationKind::Delete) => {
            last.kind = MutationKind::Delete;
            last.patch = FieldMap::new();
            last.parents = new.parents;
            Coalesced::Folded
        }
        _ => Coalesced::Append(new),
    }
}

#[cfg(test)]
mod tests;
