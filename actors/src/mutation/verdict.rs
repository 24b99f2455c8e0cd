//! What an answer of the server means for a mutation.
//!
//! Owns the decisions, as data: nothing here is sent or stored. Pure, and without a state of its own.
//!
//! | answer | verdict |
//! |---|---|
//! | applied | acknowledged |
//! | applied, record unreadable | ask for the record |
//! | version conflict | with the record asked for if it did not come along: acknowledged if a newer record holds all that an update says; else ask the conflict handler; refused after [`CONFLICT_ROUNDS_MAX`] rounds |
//! | condition failed, or exists already | ask for the record: a create or delete may have been applied after all, and a create that met another record is a conflict; else refused with it |
//! | permanent, or this record is not allowed | refused |
//! | the request does not fit the server's schema | refused, as [`SCHEMA_MISMATCH`] |
//! | too much for one request, together with others | perhaps delivered: ask for the record; else not applied |
//! | too much for one request, alone | perhaps delivered: ask for the record; else refused |
//! | credentials | not applied, changes of its kind to its model pause |
//! | transient, not delivered | not applied, gate closed |
//! | transient, perhaps delivered | unknown, gate closed |
//!
//! And what the server's record means when it was asked for:
//!
//! | asked because | found or missing | unreadable or not shown | may pass, credentials |
//! |---|---|---|---|
//! | the outcome is unknown | as [`settle`] says | refused | given back |
//! | it was too much, together with others | as [`settle`] says | refused | unknown |
//! | of a conflict | as [`settle`] says of an update; conflict handler; a deleted record means a delete is through; missing: refused | refused | not applied: the next try meets the conflict again |
//! | a condition failed | acknowledged if [`settle`] says so of a create or delete; conflict handler if it says so of a create; else refused | refused | create: unknown; else not applied |
//! | it was too much alone | as [`settle`] says, but refused if it was not applied | refused | unknown |
//! | its answer was unreadable | acknowledged | refused, saying that it was applied | unknown |

use landfall_core::{
    CONFLICT_ROUNDS_MAX, ModelDef, Mutation, MutationKind, OUTCOME_NOT_SHOWN, OUTCOME_UNKNOWN, RecordVersion,
    Refusal, RemoteRecord, SCHEMA_MISMATCH, Settled, Stage, SyncMetadata, planted, settle,
};
use landfall_wire::{BadRecord, Delivery, Failure, FailureCause, FailureClass, MutationReply};

use super::decided::Known;
use super::gate::Closing;
use crate::endpoint::Whole;
use crate::handlers::ErrorKind;
use crate::storage::Settlement;
use crate::sync::error_kind;

/// Why the server is asked for a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    /// The answer to the mutation was lost: its request may still be carried out.
    Outcome,
    /// Together with others it was more than the server does for one request, and may have been applied before the server
    /// found that. That request has ended.
    Crowded,
    /// The server's version is another, and the record did not come along.
    Conflict(Box<Failure>),
    /// The condition failed, or the record exists already, or not at all.
    Condition(Box<Failure>),
    /// The mutation was applied, but the record in the answer cannot be read.
    Reread(Box<BadRecord>),
    /// It is more than the server does for one request, and may have been applied before the server found that.
    TooMuch(Box<Failure>),
}

/// What the server has of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fetched {
    /// The record, perhaps a tombstone.
    Found(RemoteRecord),
    /// Nothing, not even a tombstone.
    Missing {
        /// The newest that the store knows of it.
        known: Option<SyncMetadata>,
    },
    /// Something that cannot be read.
    Unreadable(Box<BadRecord>),
}

/// What the app is told of a mutation, or of sending as such.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) error_type: Option<String>,
    /// What holds for the whole endpoint, if that is why it waits.
    pub(super) whole: Option<Whole>,
    /// Whether the mutation is refused; otherwise it waits and is sent again.
    pub(super) parked: bool,
    pub(super) mutation: Box<Mutation>,
    pub(super) remote: Option<Box<RemoteRecord>>,
    /// What the store knew of the record, where that was looked up.
    pub(super) known: Box<Known>,
}

/// What becomes of a mutation.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Store this, then tell the app that, if there is something to tell.
    Settle(Settlement, Option<Report>),
    /// Ask the server for the record.
    Ask(Purpose),
    /// Ask the conflict handler.
    Decide(Box<RemoteRecord>),
    /// Nothing is known that was not known before.
    GiveBack,
}

/// How the server is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Health {
    /// It answers.
    Answers,
    /// It does not take anything at the moment.
    Refuses(Closing, Box<Failure>),
}

impl Health {
    /// Whether it is a failure that may pass by itself, for all mutations.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Refuses(Closing::Transient { .. }, _))
    }
}

/// What an answer to a mutation means.
pub(super) fn of_reply(def: &ModelDef, mutation: &Mutation, reply: MutationReply) -> (Verdict, Health) {
    let verdict = match reply {
        MutationReply::Applied(remote) => Verdict::Settle(Settlement::Acknowledged(remote), None),
        MutationReply::Unreadable(bad) => Verdict::Ask(Purpose::Reread(bad)),
        MutationReply::Conflict {
            server: Some(remote),
            failure,
        } => conflict(def, mutation, remote, &failure),
        MutationReply::Conflict {
            server: None,
            failure,
        } => Verdict::Ask(Purpose::Conflict(Box::new(failure))),
        MutationReply::ConditionFailed {
            server: Some(remote),
            failure,
        } => condition_failed(def, mutation, Some(remote), None, &failure),
        MutationReply::ConditionFailed {
            server: None,
            failure,
        } => Verdict::Ask(Purpose::Condition(Box::new(failure))),
        // Sent again it is among fewer.
        MutationReply::Crowded(failure) if failure.delivery() == Delivery::NotDelivered => {
            Verdict::Settle(Settlement::NotApplied, None)
        }
        MutationReply::Crowded(_) => Verdict::Ask(Purpose::Crowded),
        MutationReply::Failed(failure) => return of_failure(mutation, failure),
    };
    (verdict, Health::Answers)
}

fn of_failure(mutation: &Mutation, failure: Failure) -> (Verdict, Health) {
    match closing(&failure) {
        Some(closing) => {
            let settlement = match failure.delivery() {
                Delivery::NotDelivered => Settlement::NotApplied,
                Delivery::Unknown if planted("unknown-means-not-applied") => Settlement::NotApplied,
                Delivery::Unknown => Settlement::Unknown,
            };
            (
                Verdict::Settle(settlement, None),
                Health::Refuses(closing, Box::new(failure)),
            )
        }
        None if is_too_much_and_perhaps_applied(failure.class) => {
            (Verdict::Ask(Purpose::TooMuch(Box::new(failure))), Health::Answers)
        }
        None => (refused(mutation, &failure, None), Health::Answers),
    }
}

fn is_too_much_and_perhaps_applied(class: FailureClass) -> bool {
    let too_much = FailureClass::TooMuch {
        delivery: Delivery::Unknown,
    };
    class == too_much
}

/// What it means that the server has this, or that it could not be asked.
pub(super) fn of_fetched(
    def: &ModelDef,
    mutation: &Mutation,
    purpose: Purpose,
    fetched: Result<Fetched, Box<Failure>>,
) -> (Verdict, Health) {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(failure) => match closing(&failure) {
            Some(closing) => return (not_asked(mutation, &purpose), Health::Refuses(closing, failure)),
            None => {
                let of_form = failure.is_of_form();
                let why = failure.to_string();
                return (
                    not_shown(mutation, purpose, &why, kind_of(&failure), of_form),
                    Health::Answers,
                );
            }
        },
    };
    let (remote, known) = match fetched {
        Fetched::Found(remote) => (Some(remote), None),
        Fetched::Missing { known } => (None, known),
        Fetched::Unreadable(bad) => {
            return (
                not_shown(mutation, purpose, &bad.to_string(), ErrorKind::BadRecord, false),
                Health::Answers,
            );
        }
    };
    let verdict = match purpose {
        Purpose::Outcome | Purpose::Crowded => outcome(def, mutation, remote, known, None),
        Purpose::TooMuch(failure) => outcome(def, mutation, remote, known, Some(&failure)),
        Purpose::Conflict(failure) => match remote {
            Some(remote) => conflict(def, mutation, remote, &failure),
            None if mutation.kind == MutationKind::Delete => acknowledged(def, mutation, None, known),
            None => refused(mutation, &failure, None),
        },
        Purpose::Condition(failure) => condition_failed(def, mutation, remote, known, &failure),
        Purpose::Reread(_) => acknowledged(def, mutation, remote, known),
    };
    (verdict, Health::Answers)
}

/// What the record says of a mutation whose outcome is unknown; `lasting` is why it would fail again.
fn outcome(
    def: &ModelDef,
    mutation: &Mutation,
    remote: Option<RemoteRecord>,
    known: Option<SyncMetadata>,
    lasting: Option<&Failure>,
) -> Verdict {
    match (settle(def, mutation, remote.as_ref()), remote) {
        (Settled::Applied, remote) => acknowledged(def, mutation, remote, known),
        (Settled::Conflict, Some(remote)) => conflict_without_failure(mutation, remote),
        (Settled::NotApplied | Settled::Conflict, remote) => match lasting {
            Some(failure) => refused(mutation, failure, remote),
            None => Verdict::Settle(Settlement::NotApplied, None),
        },
    }
}

fn acknowledged(
    def: &ModelDef,
    mutation: &Mutation,
    remote: Option<RemoteRecord>,
    known: Option<SyncMetadata>,
) -> Verdict {
    let remote = remote.unwrap_or_else(|| tombstone(def, mutation, known));
    Verdict::Settle(Settlement::Acknowledged(remote), None)
}

/// Stands for a record that the server has forgotten: of a newer version than all that is known of it, and no later, so
/// that it is older than whatever life the identifier may have next.
fn tombstone(def: &ModelDef, mutation: &Mutation, known: Option<SyncMetadata>) -> RemoteRecord {
    let newest = known
        .map(|known| known.version)
        .max(mutation.base_version)
        .unwrap_or_default();
    let version = RecordVersion(newest.0.saturating_add(1));
    RemoteRecord {
        id: mutation.key.id.clone(),
        fields: mutation.key.id.to_fields(def),
        sync: SyncMetadata {
            version,
            last_changed_at_ms: known.map_or(0, |known| known.last_changed_at_ms),
            deleted: true,
        },
    }
}

fn conflict(def: &ModelDef, mutation: &Mutation, remote: RemoteRecord, failure: &Failure) -> Verdict {
    // A request that was doubled on its way meets what its twin has done; and whoever did it, there is nothing to decide.
    if mutation.kind == MutationKind::Update && settle(def, mutation, Some(&remote)) == Settled::Applied {
        return Verdict::Settle(Settlement::Acknowledged(remote), None);
    }
    conflict_or(mutation, remote, |remote| {
        refused(mutation, failure, Some(remote))
    })
}

/// A conflict that the engine found by asking, so that there is no failure to quote.
fn conflict_without_failure(mutation: &Mutation, remote: RemoteRecord) -> Verdict {
    conflict_or(mutation, remote, |remote| {
        let refusal = Refusal {
            error_type: None,
            message: format!(
                "others have changed the record each of the {CONFLICT_ROUNDS_MAX} times it was sent"
            ),
        };
        refuse(mutation, refusal, ErrorKind::Unknown, Some(remote))
    })
}

fn conflict_or(
    mutation: &Mutation,
    remote: RemoteRecord,
    give_up: impl FnOnce(RemoteRecord) -> Verdict,
) -> Verdict {
    if mutation.kind == MutationKind::Delete && remote.sync.deleted {
        // Both sides want the same.
        Verdict::Settle(Settlement::Acknowledged(remote), None)
    } else if mutation.conflict_rounds.saturating_add(1) >= CONFLICT_ROUNDS_MAX {
        give_up(remote)
    } else {
        Verdict::Decide(Box::new(remote))
    }
}

fn condition_failed(
    def: &ModelDef,
    mutation: &Mutation,
    remote: Option<RemoteRecord>,
    known: Option<SyncMetadata>,
    failure: &Failure,
) -> Verdict {
    // An update changes a record that is there, so only a create or a delete can have been through before.
    let settled = match mutation.kind {
        MutationKind::Update => Settled::NotApplied,
        MutationKind::Create | MutationKind::Delete => settle(def, mutation, remote.as_ref()),
    };
    match (settled, remote) {
        (Settled::Applied, remote) => acknowledged(def, mutation, remote, known),
        (Settled::Conflict, Some(remote)) if mutation.kind == MutationKind::Create => {
            conflict(def, mutation, remote, failure)
        }
        (Settled::NotApplied | Settled::Conflict, remote) => refused(mutation, failure, remote),
    }
}

/// What becomes of a mutation if the server cannot be asked at the moment.
fn not_asked(mutation: &Mutation, purpose: &Purpose) -> Verdict {
    match purpose {
        Purpose::Outcome => Verdict::GiveBack,
        Purpose::Conflict(_) => Verdict::Settle(Settlement::NotApplied, None),
        Purpose::Condition(_) if mutation.kind != MutationKind::Create => {
            Verdict::Settle(Settlement::NotApplied, None)
        }
        Purpose::Crowded | Purpose::Condition(_) | Purpose::Reread(_) | Purpose::TooMuch(_) => {
            Verdict::Settle(Settlement::Unknown, None)
        }
    }
}

/// What becomes of a mutation if the server will not show the record, or not so that it can be read; `of_form` if that is
/// because the question does not fit its schema.
fn not_shown(mutation: &Mutation, purpose: Purpose, why: &str, kind: ErrorKind, of_form: bool) -> Verdict {
    let (message, error_type) = match purpose {
        Purpose::Conflict(failure) | Purpose::Condition(failure) => return refused(mutation, &failure, None),
        Purpose::Outcome | Purpose::Crowded | Purpose::TooMuch(_) => (
            format!("whether it was applied is not known, and the server does not show the record: {why}"),
            if of_form {
                OUTCOME_NOT_SHOWN
            } else {
                OUTCOME_UNKNOWN
            },
        ),
        Purpose::Reread(bad) => (
            format!("it was applied, but the server's record cannot be read: {bad}"),
            OUTCOME_UNKNOWN,
        ),
    };
    let error_type = Some(error_type.to_owned());
    refuse(mutation, Refusal { error_type, message }, kind, None)
}

fn refused(mutation: &Mutation, failure: &Failure, remote: Option<RemoteRecord>) -> Verdict {
    let mut refusal = failure.to_refusal();
    if failure.is_of_form() {
        refusal.error_type = Some(SCHEMA_MISMATCH.to_owned());
    }
    refuse(mutation, refusal, kind_of(failure), remote)
}

/// What the app is told of a request that failed. It was checked against the app's schema before, so one whose form is
/// refused shows that the server's is another.
fn kind_of(failure: &Failure) -> ErrorKind {
    match error_kind(failure) {
        ErrorKind::Unknown if failure.is_of_form() => ErrorKind::BadModel,
        kind => kind,
    }
}

/// Refuses a mutation that cannot be put on the wire. If that is for its model's sake, another schema may mend it.
pub(super) fn unsendable(mutation: &Mutation, message: String, kind: ErrorKind) -> Verdict {
    let error_type = (kind == ErrorKind::BadModel).then_some(match mutation.stage {
        Stage::Unknown => OUTCOME_NOT_SHOWN,
        Stage::Queued | Stage::InFlight | Stage::Parked(_) => SCHEMA_MISMATCH,
    });
    let refusal = Refusal {
        error_type: error_type.map(str::to_owned),
        message,
    };
    refuse(mutation, refusal, kind, None)
}

/// Refuses a mutation and tells the app with the full payload.
pub(super) fn refuse(
    mutation: &Mutation,
    refusal: Refusal,
    kind: ErrorKind,
    remote: Option<RemoteRecord>,
) -> Verdict {
    refuse_knowing(mutation, refusal, kind, remote, Known::default())
}

/// The same where more is known of the record.
pub(super) fn refuse_knowing(
    mutation: &Mutation,
    refusal: Refusal,
    kind: ErrorKind,
    remote: Option<RemoteRecord>,
    known: Known,
) -> Verdict {
    let report = Report {
        kind,
        message: refusal.message.clone(),
        error_type: refusal.error_type.clone(),
        whole: None,
        parked: true,
        mutation: Box::new(mutation.clone()),
        remote: remote.clone().map(Box::new),
        known: Box::new(known),
    };
    Verdict::Settle(Settlement::Refused { refusal, remote }, Some(report))
}

/// What a failure says of sending as such; `None` if it is about this mutation alone.
fn closing(failure: &Failure) -> Option<Closing> {
    match failure.class {
        FailureClass::Transient { .. } if planted("unknown-means-refused") => None,
        FailureClass::Transient {
            delivery: Delivery::NotDelivered,
            ..
        } if planted("throttled-means-refused") => None,
        FailureClass::Transient { .. }
            if planted("outage-means-refused") && matches!(failure.cause, FailureCause::Transport(_)) =>
        {
            None
        }
        FailureClass::Unauthorized if planted("unauthorized-means-refused") => None,
        FailureClass::Transient { retry_after_ms, .. } => Some(Closing::Transient { retry_after_ms }),
        FailureClass::Unauthorized if is_about_credentials(failure) => Some(Closing::Credentials),
        FailureClass::Unauthorized
        | FailureClass::Conflict
        | FailureClass::ConditionFailed
        | FailureClass::TooMuch { .. }
        | FailureClass::Permanent => None,
    }
}

/// Whether the whole request was turned away, and not only this record.
///
/// A resolver's refusal comes with status 200 and names its field, or has AppSync's plain type for that.
fn is_about_credentials(failure: &Failure) -> bool {
    match &failure.cause {
        FailureCause::Errors {
            status: 200..=299,
            errors,
        } => errors.first().is_none_or(|error| {
            error.path.is_empty()
                && error
                    .error_type
                    .as_deref()
                    .is_some_and(|error_type| error_type != "Unauthorized")
        }),
        FailureCause::Errors { .. }
        | FailureCause::Status { .. }
        | FailureCause::Unreadable(_)
        | FailureCause::Transport(_) => true,
    }
}

#[cfg(test)]
mod tests;
