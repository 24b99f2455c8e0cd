//! Scripts of transactions, and what is to be found after each: known apart from the store, as a map of rows.
//!
//! Owns [`Step`], [`script`], [`run`] and [`foresee`].

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{
    Acknowledged, Change, FieldDef, IndexDef, KeyDef, KeyKind, ModelParts, Mutation, MutationKind, Origin,
    RecordId, RecordKey, RecordVersion, Remote, RemoteRecord, SaveRequest, Scalar, Schema, SchemaParts, Sent,
    SyncMetadata, Timestamps, Value, decide_delete, decide_save,
};
use landfall_storage::{Query, Snapshot, StorageError, Store, Txn, Written};

use crate::disk::Dice;

/// Transactions of a script; enough for the file to grow, to be cleared and to grow again.
pub const STEPS: u64 = 14;

/// The schema of scripts.
pub fn schema() -> Arc<Schema> {
    schema_with(&[])
}

/// The schema with more fields, each with an index of its own.
///
/// # Panics
/// Never: the schema is sound.
pub fn schema_with(more: &[&str]) -> Arc<Schema> {
    let index = |field: &str| IndexDef {
        name: format!("by {field}"),
        fields: vec![field.into()],
        query_field: None,
    };
    let mut note = ModelParts {
        name: "Note".into(),
        plural_name: "Notes".into(),
        syncable: true,
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("text", Scalar::String),
            FieldDef::scalar("rank", Scalar::Int),
        ],
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: vec![index("rank")],
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    note.fields
        .extend(more.iter().map(|name| FieldDef::scalar(name, Scalar::String)));
    note.indexes.extend(more.iter().map(|name| index(name)));
    Arc::new(
        Schema::build(SchemaParts {
            models: vec![note],
            ..SchemaParts::default()
        })
        .expect("the schema is sound"),
    )
}

/// What one transaction does.
#[derive(Clone, Debug)]
pub enum Step {
    /// A note is saved with this text.
    Save(String, String),
    /// A note is deleted.
    Delete(String),
    /// The oldest mutation is handed to the transport.
    Send,
    /// The server applied the mutation that was handed over last.
    Acknowledge,
    /// The server's record arrived.
    Arrive(String, String),
    /// Everything is cleared.
    Clear,
}

/// Steps of each transaction of a script.
///
/// # Panics
/// Never: lengths are small.
pub fn script(dice: &mut Dice) -> Vec<Vec<Step>> {
    let mut texts = 0;
    let mut text = |dice: &mut Dice| {
        texts += 1;
        // Now and then a value that takes pages of its own.
        let filling = if dice.below(12) == 0 {
            30_000
        } else {
            dice.below(300)
        };
        format!(
            "t{texts}. {}",
            "x".repeat(usize::try_from(filling).expect("small"))
        )
    };
    let step = |dice: &mut Dice, text: &mut dyn FnMut(&mut Dice) -> String| {
        let id = format!("n{}", dice.below(6));
        match dice.below(20) {
            0..=10 => Step::Save(id, text(dice)),
            11..=13 => Step::Delete(id),
            14..=15 => Step::Send,
            16 => Step::Acknowledge,
            17..=18 => Step::Arrive(format!("r{}", dice.below(3)), text(dice)),
            _ => Step::Clear,
        }
    };
    (0..STEPS)
        .map(|_| {
            let count = if dice.below(3) == 0 { 1 + dice.below(6) } else { 1 };
            (0..count).map(|_| step(dice, &mut text)).collect()
        })
        .collect()
}

/// What the app sees: texts, in short, by identifier. Kept without the store.
pub type Rows = BTreeMap<String, String>;

/// A text in short: each is told from the others by its beginning, and its length tells whether it is whole.
fn brief(text: &str) -> String {
    format!(
        "{} ({} bytes)",
        text.split_whitespace().next().unwrap_or_default(),
        text.len()
    )
}

/// What the app sees after these steps.
pub fn foresee(rows: &mut Rows, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Save(id, text) | Step::Arrive(id, text) => drop(rows.insert(id.clone(), brief(text))),
            Step::Delete(id) => drop(rows.remove(id)),
            Step::Clear => rows.clear(),
            Step::Send | Step::Acknowledge => {}
        }
    }
}

fn key(id: &str) -> RecordKey {
    RecordKey::new("Note", id)
}

fn perform(txn: &mut Txn<'_>, step: &Step) -> Result<(), StorageError> {
    let def = txn.model("Note")?;
    let schema = Arc::clone(txn.schema());
    let change = match step {
        Step::Save(id, text) => {
            let state = txn.state(&key(id))?;
            let rank = i64::try_from(text.len() % 7).expect("small");
            let values = vec![id.as_str().into(), text.as_str().into(), Value::Int(rank)];
            let base = state.row.clone();
            let request = SaveRequest {
                values,
                base,
                seen: state.sync,
                condition: None,
                queued: true,
                group: None,
            };
            decide_save(&schema, &def, &state, request)
                .expect("a note fits its model")
                .map(Change::Write)
        }
        Step::Delete(id) => {
            let state = txn.state(&key(id))?;
            decide_delete(&schema, &def, &state, key(id), None, true, None)
                .expect("nothing forbids it")
                .map(Change::Write)
        }
        Step::Send => first_pending(txn)?.map(|(key, mutation)| {
            let attempt = mutation.attempts + 1;
            Change::Sent(Sent {
                key,
                mutation: mutation.seq,
                attempt,
            })
        }),
        Step::Acknowledge => first_pending(txn)?
            .map(|(key, mutation)| {
                let version = 1 + txn.state(&key)?.sync.map_or(0, |sync| sync.version.0);
                let fields = mutation.patch.clone();
                let deleted = mutation.kind == MutationKind::Delete;
                let remote = RemoteRecord {
                    id: key.id.clone(),
                    fields,
                    sync: metadata(version, deleted),
                };
                Ok::<_, StorageError>(Change::Acknowledged(Acknowledged {
                    key,
                    mutation: mutation.seq,
                    remote,
                }))
            })
            .transpose()?,
        Step::Arrive(id, text) => {
            let version = 1 + txn.state(&key(id))?.sync.map_or(0, |sync| sync.version.0);
            let fields = [
                ("id".into(), id.as_str().into()),
                ("text".into(), text.as_str().into()),
            ]
            .into();
            let remote = RemoteRecord {
                id: RecordId::text(id),
                fields,
                sync: metadata(version, false),
            };
            Some(Change::Remote(Remote { key: key(id), remote }))
        }
        Step::Clear => Some(Change::Cleared),
    };
    change.map_or(Ok(()), |change| txn.append(Origin::App, None, change).map(drop))
}

fn metadata(version: u64, deleted: bool) -> SyncMetadata {
    SyncMetadata {
        version: RecordVersion(version),
        last_changed_at_ms: 0,
        deleted,
    }
}

/// The oldest mutation of the first note that has one.
fn first_pending(txn: &Txn<'_>) -> Result<Option<(RecordKey, Mutation)>, StorageError> {
    for number in 0..6 {
        let key = key(&format!("n{number}"));
        if let Some(mutation) = txn.state(&key)?.pending.into_iter().next() {
            return Ok(Some((key, mutation)));
        }
    }
    Ok(None)
}

/// Carries one transaction out.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If the rules refuse a note, which fits its model.
pub fn run(store: &mut Store, steps: &[Step]) -> Result<Written<()>, StorageError> {
    store.write(0, |txn| steps.iter().try_for_each(|step| perform(txn, step)))
}

/// What the app sees in a snapshot, in short.
///
/// # Errors
/// What the store says.
pub fn rows_of(snapshot: &Snapshot) -> Result<Rows, StorageError> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let records = snapshot.query(&Query::all("Note"))?;
    Ok(records
        .iter()
        .map(|record| (text(record.get("id")), brief(&text(record.get("text")))))
        .collect())
}
