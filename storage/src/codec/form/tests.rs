use landfall_core::{
    Acknowledged, Change, Checkpoint, Conflict, Decision, Edited, Evicted, IdPart, LogEntry, ModelName,
    Mutation, MutationKind, MutationRef, Op, Origin, Paging, Predicate, Quarantined, RecordBase, RecordId,
    RecordKey, RecordVersion, Refusal, Refused, Remote, RemoteRecord, SchemaChanged, SchemaHash, Sent, Seq,
    Stage, SyncCursor, SyncKind, SyncMetadata, Value, Write,
};

use super::*;
use crate::codec::entry;
use crate::error::StorageError;

/// One line for each form that was ever written: kind, version, and the payload of the sample in hexadecimal digits.
const KEPT: &str = include_str!("kept_forms.txt");

fn key() -> RecordKey {
    RecordKey::new(
        "Order",
        RecordId::new(vec![IdPart::Text("c".into()), IdPart::Int(-3)]),
    )
}

fn fields() -> landfall_core::FieldMap {
    [
        ("list".into(), Value::List(vec![Value::Int(7), Value::Null])),
        ("many".into(), Value::Int(-70_000)),
        ("none".into(), Value::Null),
        ("real".into(), Value::Float(0.5)),
        ("sure".into(), Value::Bool(true)),
        ("text".into(), Value::from("text")),
    ]
    .into()
}

fn metadata() -> SyncMetadata {
    SyncMetadata {
        version: RecordVersion(4),
        last_changed_at_ms: 1_769_850_000_000,
        deleted: true,
    }
}

fn remote() -> RemoteRecord {
    RemoteRecord {
        id: key().id,
        fields: fields(),
        sync: metadata(),
    }
}

fn predicate() -> Predicate {
    Predicate::field("many", Op::Gt(3.into()))
        .and(Predicate::Not(Box::new(Predicate::field(
            "text",
            Op::BeginsWith("t".into()),
        ))))
        .or(Predicate::field("real", Op::Between(0.into(), 1.into())))
}

fn write() -> Write {
    Write {
        key: key(),
        kind: MutationKind::Update,
        patch: fields(),
        condition: Some(predicate()),
        base_version: Some(RecordVersion(3)),
        queued: true,
        parents: vec![RecordKey::new("Blog", "b1")],
        group: Some(Seq(9)),
        at_end: true,
        took_along: Some(2),
    }
}

fn refusal() -> Refusal {
    Refusal {
        error_type: Some("Unauthorized".into()),
        message: "not so".into(),
    }
}

fn cursor() -> SyncCursor {
    SyncCursor {
        last_sync_ms: Some(1_769_000_000_000),
        last_full_sync_ms: Some(1_768_000_000_000),
        expression: Some("{}".into()),
        paging: Some(Paging {
            kind: SyncKind::Delta,
            next_token: "next".into(),
            started_at_ms: 5,
            received: 100,
            fresh: true,
            limit: 7,
        }),
    }
}

fn mutation() -> Mutation {
    Mutation {
        seq: Seq(12),
        key: key(),
        kind: MutationKind::Create,
        patch: fields(),
        condition: Some(predicate()),
        base_version: Some(RecordVersion(3)),
        stage: Stage::Parked(refusal()),
        attempts: 2,
        conflict_rounds: 1,
        parents: vec![RecordKey::new("Blog", "b1")],
        group: Some(Seq(9)),
        base: Some(fields()),
    }
}

fn conflict() -> Conflict {
    Conflict {
        key: key(),
        mutation: Seq(12),
        remote: remote(),
        decision: Decision::Retry {
            kind: MutationKind::Delete,
            patch: fields(),
        },
        given_up: fields(),
    }
}

/// A change of each kind with everything in it that there may be.
fn samples() -> Vec<Change> {
    let of = MutationRef {
        key: key(),
        mutation: Seq(12),
    };
    vec![
        Change::Write(write()),
        Change::Sent(Sent {
            key: key(),
            mutation: Seq(12),
            attempt: 2,
        }),
        Change::OutcomeUnknown(of.clone()),
        Change::NotApplied(of.clone()),
        Change::Acknowledged(Acknowledged {
            key: key(),
            mutation: Seq(12),
            remote: remote(),
        }),
        Change::Conflict(conflict()),
        Change::Refused(Refused {
            key: key(),
            mutation: Seq(12),
            refusal: refusal(),
            remote: Some(remote()),
        }),
        Change::Retried(of.clone()),
        Change::Discarded(of),
        Change::Remote(Remote {
            key: key(),
            remote: remote(),
        }),
        Change::Evicted(Evicted {
            key: key(),
            reason: "left".into(),
            sync: Some(metadata()),
        }),
        Change::Quarantined(Quarantined {
            model: ModelName::from("Order"),
            reason: "why".into(),
            json: "{}".into(),
        }),
        Change::Checkpoint(Checkpoint {
            model: ModelName::from("Order"),
            cursor: cursor(),
        }),
        Change::SchemaChanged(SchemaChanged {
            hash: SchemaHash("abc".into()),
            introspection: "{}".into(),
        }),
        Change::Cleared,
        Change::Edited(Edited {
            key: key(),
            mutation: Seq(12),
            patch: fields(),
            parents: vec![RecordKey::new("Blog", "b1")],
            whole: true,
        }),
        Change::Base(RecordBase {
            key: key(),
            row: Some(fields()),
            sync: Some(metadata()),
            own_since: Some(RecordVersion(2)),
            shadow: Some(fields()),
            pending: vec![mutation()],
        }),
    ]
}

/// What a change is in a form that did not have all of it yet.
fn as_told_by(version: u8, change: &Change) -> Change {
    match change {
        Change::Write(write) if version < 3 => Change::Write(Write {
            at_end: version == 2,
            took_along: None,
            ..write.clone()
        }),
        Change::Conflict(conflict) if version < 2 => Change::Conflict(Conflict {
            given_up: [].into(),
            ..conflict.clone()
        }),
        other => other.clone(),
    }
}

fn logged(change: Change) -> LogEntry {
    LogEntry {
        seq: Seq(20),
        at_ms: 5,
        origin: Origin::App,
        cause: None,
        change,
    }
}

/// Kind, version and payload of a change as it is written now.
fn written(change: Change) -> (u16, u8, Vec<u8>) {
    let mut bytes = Vec::new();
    entry::encode(&mut bytes, &logged(change), 0);
    let (kind, version) = (u16::from_le_bytes([bytes[1], bytes[2]]), bytes[3]);
    (kind, version, bytes[21..bytes.len() - 4].to_vec())
}

/// A form as a line of the kept ones.
fn line(change: Change) -> String {
    let (kind, version, payload) = written(change);
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind} {version} {digits}").trim_end().to_owned()
}

fn read(kind: u16, version: u8, payload: Vec<u8>) -> Result<Change, StorageError> {
    let mut bytes = Vec::new();
    let opaque = landfall_core::Opaque {
        kind,
        version,
        payload,
    };
    entry::encode(&mut bytes, &logged(Change::Opaque(opaque)), 0);
    Ok(entry::decode_known(Seq(20), &bytes)?.change)
}

#[test]
fn what_is_written_has_the_form_that_its_version_always_had() {
    let lines = samples().into_iter().map(line);
    let changed: Vec<String> = lines
        .filter(|line| !KEPT.lines().any(|kept| kept == line))
        .collect();
    assert!(
        changed.is_empty(),
        "what is written has not the form that is kept for its version. Stores that are in use have the old one: give the new one \
         the next version in form.rs, with a step from the version before, and add these lines to kept_forms.txt, in which no \
         line is ever changed:\n{}",
        changed.join("\n")
    );
}

#[test]
fn every_form_that_was_ever_written_is_read() {
    let samples = samples();
    let mut versions = std::collections::BTreeMap::<u16, Vec<u8>>::new();
    for line in KEPT.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let (kind, version): (u16, u8) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let digits = words.get(2).copied().unwrap_or_default().as_bytes();
        let payload = digits.chunks(2).map(|two| {
            let two = std::str::from_utf8(two).unwrap();
            u8::from_str_radix(two, 16).unwrap()
        });
        let sample = samples
            .iter()
            .find(|sample| written((*sample).clone()).0 == kind)
            .unwrap();
        assert_eq!(
            read(kind, version, payload.collect()).unwrap(),
            as_told_by(version, sample),
            "{line}"
        );
        versions.entry(kind).or_default().push(version);
    }
    for form in &FORMS {
        let all: Vec<u8> = (1..=form.version).collect();
        assert_eq!(
            versions[&form.kind], all,
            "kind {}: a form has no line",
            form.kind
        );
    }
}

#[test]
fn the_forms_are_in_order_and_steps_lead_from_the_first_to_the_newest() {
    for (index, form) in FORMS.iter().enumerate() {
        assert_eq!(usize::from(form.kind), index + 1);
        for version in 1..form.version {
            let steps = UPCASTS
                .iter()
                .filter(|step| (step.kind, step.from) == (form.kind, version));
            assert_eq!(steps.count(), 1, "kind {} from version {version}", form.kind);
        }
    }
    for change in samples() {
        let (kind, version, payload) = written(change);
        assert!(!has_more_values(kind, version, &payload));
        let values = form_of(kind).unwrap().values;
        assert_eq!(
            rmp::decode::read_array_len(&mut &payload[..]).ok(),
            values,
            "kind {kind}"
        );
    }
}

#[test]
fn steps_are_taken_one_after_the_other() {
    let steps = [
        Upcast {
            kind: 900,
            from: 2,
            step: |payload| Some([payload, b"c"].concat()),
        },
        Upcast {
            kind: 900,
            from: 1,
            step: |payload| Some([payload, b"b"].concat()),
        },
        Upcast {
            kind: 901,
            from: 1,
            step: |_| None,
        },
    ];
    let through = |kind, from, to| through(&steps, (kind, from), to, b"a").map(Cow::into_owned);
    assert_eq!(through(900, 1, 3), Some(b"abc".to_vec()));
    assert_eq!(through(900, 2, 3), Some(b"ac".to_vec()));
    assert_eq!(through(900, 3, 3), Some(b"a".to_vec()));
    assert_eq!(through(901, 1, 2), None, "it has not the form of its version");
    assert_eq!(through(900, 1, 4), None, "a step is missing");
}

/// The form of version 2 was written under the number 1 for some hours.
#[test]
fn a_conflict_that_says_what_is_given_up_is_read_under_either_number() {
    let (kind, _, payload) = written(Change::Conflict(conflict()));
    for version in [1, 2] {
        assert_eq!(
            read(kind, version, payload.clone()).unwrap(),
            Change::Conflict(conflict())
        );
    }
}

#[test]
fn what_a_newer_program_wrote_is_never_called_damaged() {
    let (kind, version, payload) = written(Change::Conflict(conflict()));
    let newer = |version: u8, payload: Vec<u8>| {
        let error = read(kind, version, payload).unwrap_err();
        assert!(
            matches!(error, StorageError::EntryTooNew { seq: Seq(20), .. }),
            "{error}"
        );
        let told = error.to_string();
        assert!(
            told.contains("update Landfall") && !told.contains("damaged"),
            "{told}"
        );
    };
    newer(version + 1, payload.clone());
    newer(version + 1, b"whatever it may be".to_vec());
    // One value more under the same number.
    let longer = [&[list_of(6)], &payload[1..], &[EMPTY_MAP]].concat();
    newer(version, longer);
    // Of a model that was removed nothing is known for good, and a kind that is not known is passed over.
    assert!(matches!(
        read(kind, u8::MAX, payload.clone()),
        Ok(Change::Opaque(_))
    ));
    assert!(matches!(read(900, 1, payload), Ok(Change::Opaque(_))));
}
