//! What is on the page: entries, records step by step, what waits, sync.
//!
//! Owns [`collect`]. States are folded here, once; the page only chooses which of them to show.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use landfall::history::{
    Filter, History, LogChange as Change, Merge, PastState, RecordState, Scope, Step, SyncCursor, entry_json,
};
use landfall::{LogEntry, ModelDef, Mutation, RecordKey, Schema, Seq, StorageError};
use serde_json::{Map, Value as Json, json};

use super::sides;

/// Entries on a page unless asked otherwise; a browser shows them at once.
pub(super) const ENTRIES_DEFAULT: u64 = 5_000;

/// Most entries on a page: more than that makes a file of some hundred megabytes.
pub(super) const ENTRIES_MAX: u64 = 100_000;

/// Longest log of which all records are on the page.
const WHOLE_MAX: u64 = 200_000;

/// Most records that are on the page though no entry on it is about them.
const QUIET_RECORDS_MAX: usize = 5_000;

/// Collects the newest entries of a log, and the states that they led through.
///
/// # Errors
/// The disk's faults. What is damaged is told on the page.
pub(super) fn collect(history: &History, path: &Path, entries: u64) -> Result<Json, StorageError> {
    let check = history.check_entries()?;
    let (first, newest) = history.bounds();
    let end = check.sound_to.unwrap_or(Seq(first.0 - 1));
    let from = Seq((end.0 + 1).saturating_sub(entries).max(first.0));
    let mut page = Page::default();
    let mut models = Json::Null;
    // Without a schema there are no states; the entries are there all the same. The records are shown with the fields of
    // the newest schema.
    if let Ok(schema) = history.schema_at(end)
        && let Ok(mut past) = history.as_of_in(Seq(from.0 - 1), &scope(history, from, end)?, schema)
    {
        models = models_json(&past.schema);
        page.walk(history, &mut past, from, end)?;
    } else {
        page.list(history, from, end)?;
    }
    let damage: Vec<&String> = check.damage.iter().map(|damage| &damage.what).collect();
    Ok(json!({
        "title": path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default(),
        "redacted": history.is_redacted(),
        "first": first,
        "newest": newest,
        "from": from,
        "to": end,
        "damage": damage,
        "models": models,
        "entries": page.entries,
        "records": page.records,
        "cursors": page.cursors,
        "quietLeftOut": page.left_out,
        "onlyTouched": history.len() > WHOLE_MAX,
    }))
}

/// Of a long log only the records that the page has entries about, so that not all others have to be held in memory.
fn scope(history: &History, from: Seq, end: Seq) -> Result<Scope, StorageError> {
    if history.len() <= WHOLE_MAX {
        return Ok(Scope::All);
    }
    let mut keys = BTreeSet::new();
    history.entries(&between(from, end), |_, entry| {
        keys.extend(entry.ok().and_then(|entry| entry.change.key().cloned()));
        ControlFlow::Continue(())
    })?;
    Ok(Scope::Records(keys))
}

#[derive(Default)]
struct Page {
    entries: Vec<Json>,
    /// By the text of the key: model, id, and the states with the entry that each follows.
    records: BTreeMap<String, Json>,
    cursors: Vec<Json>,
    left_out: u64,
    /// What came from the server of each record in its present life, by which it is told what the server merged.
    heard: BTreeMap<RecordKey, Heard>,
}

/// What the page has of a record that somebody else may have changed.
#[derive(Default)]
struct Heard {
    /// The entries that brought versions.
    remotes: Vec<LogEntry>,
    /// The newest merge, the entry that told of it, and its place on the page: the other version may come after it.
    merged: Option<(usize, Step, Merge)>,
}

/// What there was before the first entry of the page.
struct Start {
    at: Seq,
    states: BTreeMap<RecordKey, RecordState>,
}

impl Page {
    fn walk(
        &mut self,
        history: &History,
        past: &mut PastState,
        from: Seq,
        end: Seq,
    ) -> Result<(), StorageError> {
        let base = Seq(from.0 - 1);
        for (model, cursor) in past.cursors() {
            self.cursors.push(cursor_json(base, model, cursor));
        }
        let start = Start {
            at: base,
            states: past.states().map(|(key, state)| (key, state.clone())).collect(),
        };
        let schema = std::sync::Arc::clone(&past.schema);
        let mut failed = None;
        let mut shown: BTreeSet<RecordKey> = BTreeSet::new();
        history.entries(&between(from, end), |_, entry| {
            match entry.and_then(|entry| self.step(past, entry, &start, &mut shown)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        let quiet = start.states.iter().filter(|(key, _)| !shown.contains(*key));
        for (at, (key, state)) in quiet.enumerate() {
            if at < QUIET_RECORDS_MAX {
                self.add(&schema, key, base, state, "");
            } else {
                self.left_out += 1;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn step(
        &mut self,
        past: &mut PastState,
        entry: LogEntry,
        start: &Start,
        shown: &mut BTreeSet<RecordKey>,
    ) -> Result<(), StorageError> {
        let seq = entry.seq;
        let mut told = entry_json(&entry);
        if let Change::Checkpoint(checkpoint) = &entry.change {
            self.cursors
                .push(cursor_json(seq, &checkpoint.model, &checkpoint.cursor));
        }
        if entry.change == Change::Cleared {
            self.heard.clear();
            for record in self.records.values_mut() {
                push(
                    record,
                    state_json(None, &RecordState::default(), seq, "The app cleared the store."),
                );
            }
        }
        if let Some(step) = past.step(entry)? {
            let key = step.entry.change.key().cloned();
            if let Some((key, def)) = key.and_then(|key| {
                let def = past.schema.model(&key.model)?;
                Some((key, def))
            }) {
                let merge = self.hear(def, &key, &step);
                let sentence = step.sentence_of(def, merge.as_ref());
                told["text"] = sentence.as_str().into();
                if let Some(merge) = merge {
                    told["sides"] = sides::of_merge(def, &step, &merge);
                    let at = self.entries.len();
                    self.heard.entry(key.clone()).or_default().merged = Some((at, step.clone(), merge));
                }
                if let Change::Conflict(conflict) = &step.entry.change {
                    told["sides"] = sides::of_conflict(def, &step, conflict);
                }
                if shown.insert(key.clone())
                    && let Some(state) = start.states.get(&key)
                {
                    self.add(&past.schema, &key, start.at, state, "");
                }
                self.add(&past.schema, &key, seq, &step.after, &sentence);
            }
        }
        self.entries.push(told);
        Ok(())
    }

    /// Takes note of an entry of a record, and tells what the server merged if that is what it is about.
    fn hear(&mut self, def: &ModelDef, key: &RecordKey, step: &Step) -> Option<Merge> {
        if step.ends_life() {
            self.heard.remove(key);
            return None;
        }
        if let Change::Remote(_) = &step.entry.change {
            let heard = self.heard.entry(key.clone()).or_default();
            heard.remotes.push(step.entry.clone());
            if let Some((at, answer, merge)) = &mut heard.merged {
                let before = merge.other.clone();
                merge.hear(&step.entry);
                if let Some(told) = self.entries.get_mut(*at).filter(|_| merge.other != before) {
                    told["text"] = answer.sentence_of(def, Some(merge)).into();
                    told["sides"] = sides::of_merge(def, answer, merge);
                }
            }
            return None;
        }
        let mut merge = step.merge()?;
        let heard = self.heard.get(key);
        let remotes = heard.into_iter().flat_map(|heard| &heard.remotes);
        remotes.for_each(|entry| merge.hear(entry));
        Some(merge)
    }

    fn list(&mut self, history: &History, from: Seq, end: Seq) -> Result<(), StorageError> {
        history.entries(&between(from, end), |seq, entry| {
            self.entries.push(match entry {
                Ok(entry) => entry_json(&entry),
                Err(error) => json!({ "seq": seq, "kind": "unreadable", "text": error.to_string() }),
            });
            ControlFlow::Continue(())
        })
    }

    fn add(&mut self, schema: &Schema, key: &RecordKey, seq: Seq, state: &RecordState, text: &str) {
        let record = self
            .records
            .entry(key.to_string())
            .or_insert_with(|| json!({ "model": key.model, "id": key.id.to_string(), "steps": [] }));
        push(record, state_json(Some((schema, key)), state, seq, text));
    }
}

fn push(record: &mut Json, step: Json) {
    if let Some(steps) = record["steps"].as_array_mut() {
        steps.push(step);
    }
}

fn between(from: Seq, end: Seq) -> Filter {
    Filter {
        first: Some(from),
        last: Some(end),
        ..Filter::default()
    }
}

fn state_json(of: Option<(&Schema, &RecordKey)>, state: &RecordState, seq: Seq, text: &str) -> Json {
    let row = of.and_then(|(schema, key)| {
        let def = schema.model(&key.model)?;
        let row = state.row.as_ref()?;
        let fields = def.stored_fields().map(|field| field.name.to_string());
        Some(
            fields
                .zip(row.iter().map(Json::from))
                .collect::<Map<String, Json>>(),
        )
    });
    json!({
        "seq": seq,
        "row": row,
        "version": state.sync.map(|sync| sync.version),
        "deleted": state.sync.is_some_and(|sync| sync.deleted),
        "pending": state.pending.iter().map(mutation_json).collect::<Vec<_>>(),
        "text": text,
    })
}

fn mutation_json(mutation: &Mutation) -> Json {
    let fields = mutation.patch.iter();
    json!({
        "mutation": mutation.seq,
        "kind": mutation.kind.verb(),
        "stage": mutation.stage.name(),
        "attempts": mutation.attempts,
        "fields": fields.map(|(name, value)| (name.to_string(), value.into())).collect::<Map<String, Json>>(),
    })
}

fn cursor_json(seq: Seq, model: &str, cursor: &SyncCursor) -> Json {
    json!({
        "seq": seq,
        "model": model,
        "lastSyncMs": cursor.last_sync_ms,
        "lastFullSyncMs": cursor.last_full_sync_ms,
        "received": cursor.paging.as_ref().map(|paging| paging.received),
    })
}

fn models_json(schema: &Schema) -> Json {
    let models = schema.models().map(|def| {
        let fields: Vec<&str> = def.stored_fields().map(|field| field.name.as_str()).collect();
        json!({ "name": def.name, "fields": fields })
    });
    models.collect()
}

#[cfg(test)]
mod tests;
