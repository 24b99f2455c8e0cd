//! What clients were promised, and whether it was kept.
//!
//! Owns [`Ledger`]: an account of acknowledged writes that shares no code with the engine. A write that was tried and
//! not answered may be there or not; one that was answered must be there.

use std::collections::BTreeMap;

use landfall::{FieldMap, RecordKey, Stage, Value};
use landfall_backend::Backend;

use crate::client::SimClient;

/// Acknowledged and attempted writes of notes; each note is written by its owner alone.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    notes: BTreeMap<RecordKey, Account>,
    pub(super) acknowledged: u64,
    pub(super) crashes: u64,
    pub(super) partitions: u64,
}

#[derive(Debug, Default)]
struct Account {
    /// The newest acknowledged text; `None` if the note was deleted. Unset if nothing was acknowledged.
    acknowledged: Option<Option<Value>>,
    /// Writes tried since then.
    attempted: Vec<Option<Value>>,
    /// All writes tried: each makes at most one version on the server.
    attempts: u64,
}

impl Ledger {
    /// A write begins.
    pub(super) fn attempt(&mut self, key: &RecordKey, text: Option<Value>) {
        let account = self.notes.entry(key.clone()).or_default();
        account.attempted.push(text);
        account.attempts += 1;
    }

    /// A write was answered with success.
    pub(super) fn acknowledge(&mut self, key: &RecordKey, text: Option<Value>) {
        self.acknowledged += 1;
        let account = self.notes.entry(key.clone()).or_default();
        account.acknowledged = Some(text);
        account.attempted.clear();
    }

    /// Compares the accounts with what the backend holds in the end.
    pub(super) fn check(&self, backend: &Backend) -> Vec<String> {
        let stored = match backend.records("Note") {
            Ok(records) => records,
            Err(error) => return vec![format!("the backend cannot be read: {error}")],
        };
        let stored: BTreeMap<_, _> = stored
            .into_iter()
            .map(|record| (record.id.clone(), record))
            .collect();
        let mut violations = Vec::new();
        for (key, account) in &self.notes {
            let record = stored.get(&key.id);
            let live = record.filter(|record| !record.sync.deleted);
            let text = live.map(|record| record.fields.get("text").cloned().unwrap_or_default());
            let mut allowed: Vec<Option<Value>> = account.attempted.clone();
            // Nothing acknowledged: the note may never have come to be.
            allowed.push(account.acknowledged.clone().unwrap_or(None));
            if !allowed.contains(&text) {
                violations.push(format!(
                    "{key} is {text:?} on the server; allowed were {allowed:?}"
                ));
            }
            if let Some(record) = record
                && record.sync.version.0 > account.attempts
            {
                let times = record.sync.version.0;
                violations.push(format!(
                    "{key} was written {} times and applied {times} times",
                    account.attempts
                ));
            }
        }
        violations
    }
}

/// How clients and backend differ, and what is still to be sent.
pub(super) fn differences(clients: &[SimClient], backend: &Backend) -> Vec<String> {
    let mut found = Vec::new();
    for model in ["Note", "Board"] {
        let server = match backend.records(model) {
            Ok(records) => records,
            Err(error) => return vec![error.to_string()],
        };
        let server: BTreeMap<_, (u64, FieldMap)> = server
            .into_iter()
            .filter(|record| !record.sync.deleted)
            .map(|record| (record.id, (record.sync.version.0, without_nulls(record.fields))))
            .collect();
        for client in clients {
            let local = client
                .store()
                .records()
                .query(&landfall::Query::all(model))
                .unwrap_or_default();
            let local: BTreeMap<_, (u64, FieldMap)> = local
                .into_iter()
                .filter_map(|record| {
                    let version = record.sync().map_or(0, |sync| sync.version.0);
                    Some((record.id()?, (version, without_nulls(record.to_fields()))))
                })
                .collect();
            for (id, theirs) in &server {
                match local.get(id) {
                    None => found.push(format!("{} lacks {model}/{id}", client.name())),
                    Some(ours) if ours != theirs => {
                        found.push(format!(
                            "{} holds {model}/{id} as {ours:?}, the server as {theirs:?}",
                            client.name()
                        ));
                    }
                    Some(_) => {}
                }
            }
            for id in local.keys().filter(|id| !server.contains_key(id)) {
                found.push(format!("{} still has {model}/{id}", client.name()));
            }
        }
    }
    for client in clients {
        for mutation in client.store().outbox().list(usize::MAX).unwrap_or_default() {
            let why = match &mutation.stage {
                Stage::Parked(refusal) => format!(" ({:?}: {})", refusal.error_type, refusal.message),
                _ => String::new(),
            };
            found.push(format!(
                "{} still holds {} {}{why}",
                client.name(),
                mutation.stage.name(),
                mutation.key
            ));
        }
    }
    found
}

fn without_nulls(fields: FieldMap) -> FieldMap {
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}
