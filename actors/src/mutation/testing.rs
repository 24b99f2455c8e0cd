//! What the tests of mutations share: two models, mutations, records and failures, and words for verdicts.

use std::sync::Arc;

use landfall_core::{
    Decision, Errand, FieldDef, FieldMap, KeyDef, KeyKind, ListDef, ModelParts, Mutation, MutationKind,
    Predicate, RecordId, RecordKey, RecordVersion, Refusal, RemoteRecord, Resolution, Scalar, Schema,
    SchemaParts, Seq, Stage, SyncMetadata, Timestamps, Topic, Value,
};
use landfall_wire::{
    BadRecord, BadRecordFault, Delivery, Failure, FailureCause, FailureClass, MutationReply, PathFragment,
    ServerError, TransportError, WireError,
};

use super::decided::Known;
use super::machine::{Input, Undecided};
use super::verdict::{Fetched, Purpose, Verdict};
use super::{MutationMessage, MutationNews};
use crate::handlers::ErrorKind;
use crate::storage::Settlement;

/// `Todo` has an identifier that the store makes, `Tag` one that the app chooses.
pub(super) fn schema() -> Arc<Schema> {
    let model = |name: &str, kind| ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: true,
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("title", Scalar::String),
            FieldDef {
                list: Some(ListDef {
                    elements_required: false,
                }),
                ..FieldDef::scalar("tags", Scalar::String)
            },
        ],
        key: KeyDef {
            kind,
            fields: vec!["id".into()],
            declared: kind != KeyKind::Managed,
        },
        indexes: Vec::new(),
        timestamps: Timestamps {
            created_at: None,
            updated_at: None,
        },
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: vec![model("Todo", KeyKind::Managed), model("Tag", KeyKind::Custom)],
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("the schema is sound"))
}

/// A mutation of the record of that key, such as `Todo/a`; what it sets is the title `mine`, on version 1.
pub(crate) fn mutation(seq: u64, kind: MutationKind, key: &str) -> Mutation {
    let (model, id) = key.split_once('/').expect("a model and an identifier");
    let is_delete = kind == MutationKind::Delete;
    Mutation {
        seq: Seq(seq),
        key: RecordKey::new(model, id),
        kind,
        patch: if is_delete {
            FieldMap::new()
        } else {
            FieldMap::from([("title".into(), Value::from("mine"))])
        },
        condition: None,
        base_version: (kind != MutationKind::Create).then_some(RecordVersion(1)),
        stage: Stage::Queued,
        attempts: 0,
        conflict_rounds: 0,
        parents: Vec::new(),
        group: None,
        base: None,
    }
}

/// The server's record with identifier `a`.
pub(crate) fn remote(version: u64, title: &str) -> RemoteRecord {
    RemoteRecord {
        id: RecordId::text("a"),
        fields: FieldMap::from([
            ("id".into(), Value::from("a")),
            ("title".into(), Value::from(title)),
        ]),
        sync: SyncMetadata {
            version: RecordVersion(version),
            last_changed_at_ms: 1,
            deleted: false,
        },
    }
}

/// The server's tombstone with identifier `a`.
pub(crate) fn deleted(version: u64) -> RemoteRecord {
    let record = remote(version, "gone");
    RemoteRecord {
        sync: SyncMetadata {
            deleted: true,
            ..record.sync
        },
        ..record
    }
}

/// A failure that may pass.
pub(super) fn transient(delivery: Delivery) -> Failure {
    Failure {
        class: FailureClass::Transient {
            delivery,
            retry_after_ms: None,
        },
        cause: FailureCause::Status { status: 503 },
    }
}

/// A whole request that is turned away.
pub(super) fn no_credentials() -> Failure {
    Failure {
        class: FailureClass::Unauthorized,
        cause: FailureCause::Status { status: 401 },
    }
}

/// A misconfigured transport.
pub(super) fn misconfigured() -> Failure {
    Failure::from(TransportError::Misconfigured {
        reason: "no scheme".into(),
    })
}

/// An error of one field in an answer with status 200; its type decides the class.
pub(super) fn error(error_type: &str) -> Failure {
    let path = vec![PathFragment::Key("updateTodo".into())];
    error_at(error_type, path)
}

/// An error in an answer with status 200.
pub(super) fn error_at(error_type: &str, path: Vec<PathFragment>) -> Failure {
    let error = ServerError {
        path,
        ..ServerError::new(error_type, "no")
    };
    let class = FailureClass::of_error(&error);
    Failure {
        class,
        cause: FailureCause::Errors {
            status: 200,
            errors: vec![error],
        },
    }
}

/// A record that cannot be read.
pub(super) fn unreadable() -> Box<BadRecord> {
    Box::new(BadRecord {
        id: None,
        fault: BadRecordFault::Malformed,
        path: "title".into(),
        reason: "is a list".into(),
        json: "{}".into(),
    })
}

/// A settlement in words.
pub(super) fn settlement_text(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Acknowledged(remote) => format!("acknowledged {}", version_text(remote)),
        Settlement::Conflict {
            remote,
            decision: Decision::AcceptRemote,
        } => {
            format!("accepts remote {}", version_text(remote))
        }
        Settlement::Conflict {
            remote,
            decision: Decision::Retry { kind, patch },
        } => {
            let fields: Vec<String> = patch
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!(
                "{} again {} on {}",
                kind.verb(),
                fields.join(" "),
                version_text(remote)
            )
        }
        Settlement::Refused { refusal, remote } => {
            let error_type = refusal.error_type.as_deref().unwrap_or("untyped");
            let remote = remote
                .as_ref()
                .map(|remote| format!(", {}", version_text(remote)))
                .unwrap_or_default();
            format!("refused {error_type}{remote}")
        }
        Settlement::NotApplied => "not applied".to_owned(),
        Settlement::Unknown => "unknown".to_owned(),
    }
}

fn version_text(remote: &RemoteRecord) -> String {
    format!(
        "{}{}",
        remote.sync.version,
        if remote.sync.deleted { " deleted" } else { "" }
    )
}

/// A verdict in words.
pub(super) fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Settle(settlement, report) => {
            let refused = matches!(settlement, Settlement::Refused { .. });
            assert_eq!(
                report.is_some(),
                refused,
                "what is refused is told, and nothing else"
            );
            settlement_text(settlement)
        }
        Verdict::Ask(Purpose::Outcome) => "ask outcome".to_owned(),
        Verdict::Ask(Purpose::Crowded) => "ask crowded".to_owned(),
        Verdict::Ask(Purpose::Conflict(_)) => "ask conflict".to_owned(),
        Verdict::Ask(Purpose::Condition(_)) => "ask condition".to_owned(),
        Verdict::Ask(Purpose::Reread(_)) => "ask reread".to_owned(),
        Verdict::Ask(Purpose::TooMuch(_)) => "ask too much".to_owned(),
        Verdict::Decide(remote) => format!("decide {}", version_text(remote)),
        Verdict::GiveBack => "give back".to_owned(),
    }
}

/// What the actor may hear that is printed: each kind, and each way in which it may turn out.
pub(crate) fn samples() -> Vec<MutationMessage> {
    let mut inputs = vec![
        Input::Taken(vec![(
            Seq(2),
            Errand::Send,
            Topic {
                model: "Todo".into(),
                kind: MutationKind::Create,
            },
        )]),
        Input::Marked {
            asked: vec![Seq(2), Seq(3), Seq(4)],
            marked: Ok(mutations_in_every_stage()),
        },
        Input::Marked {
            asked: vec![Seq(2)],
            marked: Err("no".into()),
        },
        Input::Unsendable {
            seq: Seq(2),
            kind: ErrorKind::BadModel,
            reason: "no".into(),
        },
    ];
    let one = || Some(Box::new(mutation(2, MutationKind::Update, "Todo/a")));
    let loaded = [Ok(one()), Ok(None), Err("no".into())];
    inputs.extend(loaded.map(|loaded| Input::Loaded { seq: Seq(2), loaded }));
    inputs.extend(replies().into_iter().map(|reply| Input::Replied {
        seq: Seq(2),
        reply: Box::new(reply),
    }));
    let fetched = [
        Ok(Fetched::Found(remote(3, "theirs"))),
        Ok(Fetched::Missing {
            known: Some(remote(2, "mine").sync),
        }),
        Ok(Fetched::Unreadable(unreadable())),
        Err(Box::new(no_credentials())),
    ];
    inputs.extend(fetched.map(|fetched| Input::Fetched { seq: Seq(2), fetched }));
    let merged = FieldMap::from([("title".into(), Value::from("both"))]);
    let resolutions = [
        Ok(Resolution::AcceptRemote),
        Ok(Resolution::KeepLocal),
        Ok(Resolution::Merged(merged.clone())),
        Err(Undecided::Panicked),
        Err(Undecided::TookTooLong),
    ];
    inputs.extend(resolutions.map(|resolution| Input::Decided {
        seq: Seq(2),
        resolution,
        known: Box::new(Known {
            record: Some(merged.clone()),
            base: None,
        }),
    }));
    inputs.extend([Ok(()), Err("no".into())].map(|settled| Input::Settled { seq: Seq(2), settled }));
    let heard = inputs.into_iter().inspect(is_sampled);
    heard
        .map(|input| MutationMessage::Heard(MutationNews(Box::new(input))))
        .collect()
}

/// Whoever adds something that the machine hears is to add a sample of it.
fn is_sampled(input: &Input) {
    match input {
        Input::Wake
        | Input::Pause
        | Input::TimerDue
        | Input::Taken(_)
        | Input::Marked { .. }
        | Input::Loaded { .. }
        | Input::Unsendable { .. }
        | Input::Replied { .. }
        | Input::Fetched { .. }
        | Input::Decided { .. }
        | Input::Settled { .. } => {}
    }
}

fn mutations_in_every_stage() -> Vec<Mutation> {
    let parked = Stage::Parked(Refusal {
        error_type: None,
        message: "no".into(),
    });
    let stages = [Stage::Queued, Stage::InFlight, Stage::Unknown, parked];
    let in_stage = |stage: Stage| Mutation {
        stage,
        patch: FieldMap::from([
            ("title".into(), Value::from("mine")),
            ("stars".into(), Value::from(3)),
            ("share".into(), Value::from(0.5)),
            ("done".into(), Value::from(true)),
            ("note".into(), Value::Null),
            ("tags".into(), Value::List(vec![Value::from("a")])),
        ]),
        condition: Some(Predicate::field("stars", landfall_core::Op::Ge(3.into()))),
        parents: vec![RecordKey::new("Tag", "b")],
        group: Some(Seq(1)),
        ..mutation(2, MutationKind::Update, "Todo/a")
    };
    stages.map(in_stage).into()
}

fn replies() -> Vec<MutationReply> {
    let server = Some(remote(3, "theirs"));
    let conflict = MutationReply::Conflict {
        server: server.clone(),
        failure: error("ConflictUnhandled"),
    };
    let failed = MutationReply::ConditionFailed {
        server,
        failure: error("ConditionalCheckFailedException"),
    };
    let unreadable_answer = Failure {
        class: FailureClass::Permanent,
        cause: FailureCause::Unreadable(WireError::UnknownModel { model: "Todo".into() }),
    };
    let mut replies = vec![
        MutationReply::Applied(remote(2, "mine")),
        MutationReply::Unreadable(unreadable()),
        conflict,
        failed,
        MutationReply::Failed(unreadable_answer),
    ];
    let failures = [
        transient(Delivery::Unknown),
        transient(Delivery::NotDelivered),
        no_credentials(),
        misconfigured(),
        error("Unauthorized"),
    ];
    replies.extend(failures.map(MutationReply::Failed));
    replies
}
