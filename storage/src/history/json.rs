//! Entries as JSON, for tools.
//!
//! Owns [`entry_json`]. Names are those of the log in camel case; identifiers are a scalar, or a list for a composite
//! one; field values are as the server has them.

use landfall_core::{
    Change, Conflict, Decision, FieldMap, LogEntry, RecordKey, RemoteRecord, SyncMetadata, Value, Write,
};
use serde_json::{Map, Value as Json, json};

use super::origin_name;

/// An entry as JSON: `seq`, `atMs`, `origin`, `cause`, `kind`, for changes of records `model` and `id`, and what the
/// kind has beside these.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// # let history = landfall_storage::history::open_for_inspection(log)?;
/// let json = landfall_storage::history::entry_json(&history.entry(landfall_core::Seq(10))?);
/// assert_eq!((json["kind"].as_str(), json["id"].as_str()), (Some("write"), Some("p2")));
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
pub fn entry_json(entry: &LogEntry) -> Json {
    let own = [
        ("seq", json!(entry.seq)),
        ("atMs", json!(entry.at_ms)),
        ("origin", json!(origin_name(entry.origin))),
        ("cause", json!(entry.cause)),
        ("kind", json!(entry.change.name())),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    Json::Object(own.chain(change_json(&entry.change)).collect())
}

/// What a change says, without its kind.
pub fn change_json(change: &Change) -> Map<String, Json> {
    let mut out = Map::new();
    if let Some(key) = change.key() {
        out.extend(key_members(key));
    }
    if let Some(mutation) = change.mutation() {
        out.insert("mutation".to_owned(), json!(mutation));
    }
    let rest = match change {
        Change::Write(write) => write_json(write),
        Change::Sent(sent) => json!({ "attempt": sent.attempt }),
        Change::Acknowledged(ack) => json!({ "remote": remote_json(&ack.remote) }),
        Change::Conflict(conflict) => conflict_json(conflict),
        Change::Refused(refused) => json!({
            "errorType": refused.refusal.error_type,
            "message": refused.refusal.message,
            "remote": refused.remote.as_ref().map(remote_json),
        }),
        Change::Remote(remote) => json!({ "remote": remote_json(&remote.remote) }),
        Change::Evicted(evicted) => json!({ "reason": evicted.reason }),
        Change::Base(base) => {
            json!({ "row": base.row.as_ref().map(fields_json), "pending": base.pending.len() })
        }
        Change::Quarantined(bad) => json!({ "model": bad.model, "reason": bad.reason, "json": bad.json }),
        Change::Checkpoint(checkpoint) => {
            json!({ "model": checkpoint.model, "cursor": cursor_json(&checkpoint.cursor) })
        }
        Change::SchemaChanged(changed) => json!({ "hash": changed.hash }),
        Change::Opaque(opaque) => json!({
            "number": opaque.kind,
            "version": opaque.version,
            "payloadBytes": opaque.payload.len(),
        }),
        _ => json!({}),
    };
    if let Json::Object(members) = rest {
        out.extend(members);
    }
    out
}

/// How much a delete took along is there if it says so.
fn write_json(write: &Write) -> Json {
    let mut json = json!({
        "write": write.kind.verb(),
        "fields": fields_json(&write.patch),
        "condition": write.condition,
        "baseVersion": write.base_version,
        "queued": write.queued,
        "parents": write.parents.iter().map(key_json).collect::<Vec<_>>(),
        "group": write.group,
    });
    if let Some(took_along) = write.took_along {
        json["tookAlong"] = took_along.into();
    }
    json
}

/// What was given up is there if something was.
fn conflict_json(conflict: &Conflict) -> Json {
    let mut json = json!({
        "remote": remote_json(&conflict.remote),
        "decision": decision_json(&conflict.decision),
    });
    if !conflict.given_up.is_empty() {
        json["givenUp"] = fields_json(&conflict.given_up);
    }
    json
}

fn decision_json(decision: &Decision) -> Json {
    match decision {
        Decision::AcceptRemote => json!({ "accept": "remote" }),
        Decision::Retry { kind, patch } => json!({ "retry": kind.verb(), "fields": fields_json(patch) }),
    }
}

pub(super) fn key_members(key: &RecordKey) -> Map<String, Json> {
    [
        ("model".to_owned(), json!(key.model)),
        ("id".to_owned(), key.id.to_json()),
    ]
    .into_iter()
    .collect()
}

/// A key as JSON.
fn key_json(key: &RecordKey) -> Json {
    Json::Object(key_members(key))
}

fn fields_json(fields: &FieldMap) -> Json {
    Json::Object(
        fields
            .iter()
            .map(|(name, value): (_, &Value)| (name.to_string(), value.into()))
            .collect(),
    )
}

fn remote_json(remote: &RemoteRecord) -> Json {
    let fields = remote.fields.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), Json::from(value)));
    Json::Object(fields.chain(sync_members(&remote.sync)).collect())
}

/// The server's metadata by the names that it gives them.
pub(super) fn sync_members(sync: &SyncMetadata) -> Map<String, Json> {
    [
        ("_version".to_owned(), json!(sync.version)),
        ("_lastChangedAt".to_owned(), json!(sync.last_changed_at_ms)),
        ("_deleted".to_owned(), json!(sync.deleted)),
    ]
    .into_iter()
    .collect()
}

fn cursor_json(cursor: &landfall_core::SyncCursor) -> Json {
    json!({
        "lastSyncMs": cursor.last_sync_ms,
        "lastFullSyncMs": cursor.last_full_sync_ms,
        "expression": cursor.expression,
        "paging": cursor.paging.as_ref().map(|paging| json!({
            "kind": format!("{:?}", paging.kind).to_lowercase(),
            "startedAtMs": paging.started_at_ms,
            "received": paging.received,
        })),
    })
}
