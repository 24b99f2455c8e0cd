//! What the tests of mutations share: two models, mutations, records and failures, and words for verdicts.

use std::sync::Arc;

use landfall_core::{
    Decision, FieldDef, FieldMap, KeyDef, KeyKind, ModelParts, Mutation, MutationKind, RecordId, RecordKey,
    RecordVersion, RemoteRecord, Scalar, Schema, SchemaParts, Seq, Stage, SyncMetadata, Timestamps, Value,
};
use landfall_wire::{
    BadRecord, BadRecordFault, Delivery, Failure, FailureCause, FailureClass, PathFragment, ServerError,
    TransportError,
};

use super::verdict::{Purpose, Verdict};
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
pub(super) fn mutation(seq: u64, kind: MutationKind, key: &str) -> Mutation {
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
pub(super) fn remote(version: u64, title: &str) -> RemoteRecord {
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
pub(super) fn deleted(version: u64) -> RemoteRecord {
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
        Verdict::Ask(Purpose::Conflict(_)) => "ask conflict".to_owned(),
        Verdict::Ask(Purpose::Condition(_)) => "ask condition".to_owned(),
        Verdict::Ask(Purpose::Reread(_)) => "ask reread".to_owned(),
        Verdict::Ask(Purpose::TooMuch(_)) => "ask too much".to_owned(),
        Verdict::Decide(remote) => format!("decide {}", version_text(remote)),
        Verdict::GiveBack => "give back".to_owned(),
    }
}
