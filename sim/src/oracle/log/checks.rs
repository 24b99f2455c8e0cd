//! What must hold of one record, or of one model, after a batch of log entries.
//!
//! Owns the comparisons of what the log allows with what the store holds; what the log allows is `log.rs`.

use std::collections::BTreeMap;

use landfall::{ModelName, MutationKind, RecordKey, Snapshot, StorageError, Value};
use landfall_core::RecordState;
use serde_json::Value as Json;

use super::super::{Fault, ServerWatch};
use super::Shadow;

/// A change that met a conflict is made on the version that it met, or it would meet it again.
pub(super) fn check_conflict(key: &RecordKey, shadow: &mut Shadow, state: &RecordState) -> Option<Fault> {
    let (mutation, version) = shadow.met.take()?;
    let again = state.pending.iter().find(|pending| pending.seq == mutation)?;
    let stale = again.base_version.is_none_or(|base| base < version);
    stale.then(|| {
        let what = format!(
            "after a conflict with version {} of {key} it goes out on {:?}",
            version.0, again.base_version
        );
        Fault::new("I11", key, what)
    })
}

/// What the app changed last and the server has not answered is what the app sees.
pub(super) fn check_edits(
    key: &RecordKey,
    def: &landfall::ModelDef,
    shadow: &Shadow,
    state: &RecordState,
) -> Option<Fault> {
    let (_, newest, _) = shadow.writes.last()?;
    let fault = |what: String| Some(Fault::new("I6", key, what));
    let made = shadow
        .writes
        .iter()
        .rposition(|(_, kind, _)| *kind == MutationKind::Create);
    let Some(row) = &state.row else {
        let must_be_there = *newest != MutationKind::Delete && (made.is_some() || !shadow.upset);
        return must_be_there
            .then_some(())
            .and_then(|()| fault(format!("{key} is gone although its change waits")));
    };
    if *newest == MutationKind::Delete {
        return fault(format!("{key} is there although its delete waits"));
    }
    let mut edits: BTreeMap<&str, &Value> = BTreeMap::new();
    for (_, kind, patch) in &shadow.writes {
        if *kind != MutationKind::Update {
            edits.clear();
        }
        edits.extend(patch.iter().map(|(name, value)| (name.as_str(), value)));
    }
    for (name, value) in edits {
        let shown = def.slot(name).and_then(|slot| row.get(slot.index()));
        if shown.is_some_and(|shown| shown != value) {
            return fault(format!(
                "{key}.{name} shows `{}`, the app wrote `{value}` and has no answer",
                shown.unwrap_or(&Value::Null)
            ));
        }
    }
    None
}

/// What lies under the app's changes is a version that the server made, as the server made it.
pub(super) fn check_version(
    key: &RecordKey,
    def: &landfall::ModelDef,
    state: &RecordState,
    server: &ServerWatch,
) -> Option<Fault> {
    let sync = state.sync?;
    let fault = |what: String| Some(Fault::new("I12", key, what));
    let Some(version) = server.version(key, sync) else {
        return fault(format!(
            "{key} has version {}, which the server never made",
            sync.version.0
        ));
    };
    if version.deleted != sync.deleted {
        return fault(format!(
            "{key} is held as deleted: {}, the server says {}",
            sync.deleted, version.deleted
        ));
    }
    let held = if state.pending.is_empty() {
        state.row.as_ref()
    } else {
        state.shadow.as_ref()
    };
    let Some(row) = held.filter(|_| !sync.deleted) else {
        let lost = state.pending.is_empty() && !sync.deleted;
        return lost
            .then_some(())
            .and_then(|()| fault(format!("{key} has version {} and no row", sync.version.0)));
    };
    for (name, theirs) in &version.fields {
        let Some(slot) = def.slot(name) else { continue };
        let ours = row.get(slot.index()).map_or(Json::Null, Json::from);
        if ours != *theirs {
            return fault(format!(
                "{key}.{name} is {ours} in version {}, the server made {theirs}",
                sync.version.0
            ));
        }
    }
    None
}

/// Everything from before the time of a cursor is stored.
pub(super) fn check_cursor(
    snapshot: &Snapshot,
    server: &ServerWatch,
    model: &ModelName,
    time: i64,
    faults: &mut Vec<Fault>,
) -> Result<(), StorageError> {
    for (key, version) in server.before(model, time) {
        let held = snapshot.state(key)?.sync;
        let stored = match held {
            Some(held) => {
                held.version.0 >= version.version || held.last_changed_at_ms >= version.changed_at_ms
            }
            // A record that was deleted before it was ever heard of need not be known.
            None => version.deleted,
        };
        if !stored {
            let what = format!(
                "sync of {model} got as far as {time}, and version {} of {key} from {} is not stored",
                version.version, version.changed_at_ms
            );
            faults.push(Fault::new("I7", key, what));
        }
    }
    Ok(())
}
