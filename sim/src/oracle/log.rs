//! What a client's log says, entry by entry, against what its store holds.
//!
//! Owns [`LogAudit`]. It follows the log with rules of its own, far simpler than the engine's: it knows which changes
//! the server certainly has not answered, which mutations must wait, and which versions were held; not how rows are made.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{
    FieldMap, LogEntry, ModelName, MutationKind, Origin, RecordKey, RecordVersion, Seq, Snapshot, Stage,
    StorageError, SyncMetadata, Value,
};
use landfall_core::{Change, Decision, RecordState, SyncCursor, SyncKind, Write};
use serde_json::Value as Json;

use super::{Fault, Findings, ServerWatch};

/// Entries that are read at a time.
const PAGE: usize = 1_000;

/// What is known of a client's log.
#[derive(Debug, Default)]
pub(crate) struct LogAudit {
    newest: Option<LogEntry>,
    records: BTreeMap<RecordKey, Shadow>,
    /// Mutations that must wait.
    expected: BTreeMap<Seq, RecordKey>,
    cursors: BTreeMap<ModelName, SyncCursor>,
    /// Whether sync is stopped, so that nothing of it may take effect.
    pub(crate) stopped: bool,
}

#[derive(Debug, Default)]
struct Shadow {
    /// Changes of the app that the server certainly has not answered.
    writes: Vec<(Seq, MutationKind, FieldMap)>,
    /// Where each mutation was last handed over.
    sent: BTreeMap<Seq, Seq>,
    unknown: BTreeSet<Seq>,
    /// The conflict that a change met last, and the server's version then.
    met: Option<(Seq, RecordVersion)>,
    held: Option<SyncMetadata>,
    /// Whether the server's record, a decision or a refusal came between the app and its edits.
    upset: bool,
}

/// What an entry allows to happen.
#[derive(Default)]
struct Batch {
    touched: BTreeSet<RecordKey>,
    /// Creates that a delete may undo: nobody has seen them.
    cancellable: BTreeSet<Seq>,
    /// Mutations that a discard may take along, by record.
    discarded: BTreeSet<RecordKey>,
    /// Queued writes that are to be found in the outbox, or folded into an earlier mutation of their record.
    queued: Vec<(Seq, RecordKey)>,
    synced: Vec<(ModelName, i64)>,
    refused: Vec<RecordKey>,
    cleared: bool,
    faults: Vec<Fault>,
}

/// What a look at the log came to.
pub(crate) struct Looked {
    pub(crate) faults: Vec<Fault>,
    pub(crate) touched: BTreeSet<RecordKey>,
    pub(crate) refused: Vec<RecordKey>,
    pub(crate) cleared: bool,
}

impl LogAudit {
    /// Position of the newest entry that was looked at.
    pub(crate) fn newest(&self) -> Seq {
        self.newest.as_ref().map_or(Seq::ZERO, |entry| entry.seq)
    }

    /// After a start: is what was seen before still there?
    pub(crate) fn recovered(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, StorageError> {
        let Some(newest) = &self.newest else {
            return Ok(Vec::new());
        };
        let (first, _) = snapshot.log_bounds()?;
        if first > newest.seq {
            return Ok(Vec::new());
        }
        let there = snapshot.log(newest.seq.0..=newest.seq.0, 1)?;
        if there.first() == Some(newest) {
            return Ok(Vec::new());
        }
        let what = format!(
            "entry {} ({}) was there before the restart and is {} now",
            newest.seq,
            newest.change.name(),
            there.first().map_or("gone", |entry| entry.change.name())
        );
        Ok(vec![Fault {
            invariant: "I1",
            key: newest.change.key().cloned(),
            what,
        }])
    }

    /// Looks at what is new in the log, and at what the store holds now.
    pub(crate) fn look(
        &mut self,
        snapshot: &Snapshot,
        server: &ServerWatch,
        findings: &Findings,
    ) -> Result<Looked, StorageError> {
        let pending: BTreeMap<Seq, Stage> = snapshot
            .pending(Seq::ZERO, usize::MAX)?
            .into_iter()
            .map(|mutation| (mutation.seq, mutation.stage))
            .collect();
        let mut batch = Batch::default();
        loop {
            let entries = snapshot.log(self.newest().0 + 1.., PAGE)?;
            for entry in &entries {
                self.follow(entry, &mut batch, findings);
            }
            let count = entries.len();
            if let Some(last) = entries.into_iter().next_back() {
                self.newest = Some(last);
            }
            if count < PAGE {
                break;
            }
        }
        self.check_outbox(&pending, &mut batch, findings);
        for key in &batch.touched {
            let state = snapshot.state(key)?;
            if let Some(def) = snapshot.schema().model(&key.model) {
                self.check_record(key, def, &state, server, &mut batch.faults);
            }
        }
        for (model, time) in std::mem::take(&mut batch.synced) {
            check_cursor(snapshot, server, &model, time, &mut batch.faults)?;
        }
        Ok(Looked {
            faults: batch.faults,
            touched: batch.touched,
            refused: batch.refused,
            cleared: batch.cleared,
        })
    }

    fn follow(&mut self, entry: &LogEntry, batch: &mut Batch, findings: &Findings) {
        if self.stopped
            && matches!(
                entry.origin,
                Origin::Response | Origin::Subscription | Origin::Sync
            )
        {
            batch.faults.push(Fault {
                invariant: "I13",
                key: entry.change.key().cloned(),
                what: format!(
                    "entry {} ({}) was made while sync was stopped",
                    entry.seq,
                    entry.change.name()
                ),
            });
        }
        if let Some(key) = entry.change.key() {
            batch.touched.insert(key.clone());
        }
        match &entry.change {
            Change::Cleared => {
                *self = Self {
                    stopped: self.stopped,
                    ..Self::default()
                };
                *batch = Batch {
                    cleared: true,
                    faults: std::mem::take(&mut batch.faults),
                    ..Batch::default()
                };
                findings.seen("cleared");
            }
            Change::Checkpoint(checkpoint) => {
                self.checkpoint(&checkpoint.model, &checkpoint.cursor, batch, findings);
            }
            Change::Evicted(evicted) => {
                self.expected.retain(|_, key| *key != evicted.key);
                self.records.remove(&evicted.key);
            }
            change => self.follow_record(entry.seq, change, batch, findings),
        }
    }

    fn follow_record(&mut self, seq: Seq, change: &Change, batch: &mut Batch, findings: &Findings) {
        let Some(key) = change.key() else { return };
        let shadow = self.records.entry(key.clone()).or_default();
        match change {
            Change::Write(write) if write.queued => self.queued(seq, write, batch, findings),
            Change::Sent(sent) => {
                shadow.sent.insert(sent.mutation, seq);
            }
            Change::OutcomeUnknown(of) => {
                findings.seen("unknown outcome");
                shadow.unknown.insert(of.mutation);
            }
            Change::NotApplied(_) => findings.seen("not applied"),
            Change::Acknowledged(ack) => {
                if shadow.unknown.contains(&ack.mutation) {
                    findings.seen("lost answer settled");
                }
                self.answered(key, ack.mutation, true, batch);
            }
            Change::Conflict(conflict) => {
                findings.seen("conflict");
                shadow.upset = true;
                let live = !conflict.remote.sync.deleted;
                shadow.met = live.then_some((conflict.mutation, conflict.remote.sync.version));
                let dropped = conflict.decision == Decision::AcceptRemote;
                findings.seen(if dropped {
                    "conflict dropped"
                } else {
                    "conflict kept"
                });
                self.answered(key, conflict.mutation, dropped, batch);
            }
            Change::Refused(_) => {
                findings.seen("refused");
                shadow.upset = true;
                batch.refused.push(key.clone());
            }
            Change::Discarded(of) => {
                shadow.upset = true;
                shadow.writes.clear();
                batch.discarded.insert(key.clone());
                self.answered(key, of.mutation, true, batch);
            }
            Change::Remote(remote) => {
                if !shadow.writes.is_empty() {
                    findings.seen("remote under edit");
                }
                if remote.remote.sync.deleted {
                    findings.seen("tombstone");
                    shadow.upset = true;
                }
            }
            _ => {}
        }
    }

    /// The app wrote a record.
    fn queued(&mut self, seq: Seq, write: &Write, batch: &mut Batch, findings: &Findings) {
        let key = &write.key;
        let shadow = self.records.entry(key.clone()).or_default();
        if write.kind == MutationKind::Delete {
            let unseen = |seq: &Seq| !shadow.sent.contains_key(seq);
            let of_record = self.expected.iter().filter(|(_, of)| *of == key);
            batch
                .cancellable
                .extend(of_record.map(|(seq, _)| *seq).filter(unseen));
            if write.group.is_none() && batch.queued.last().is_some_and(|(_, other)| other != key) {
                findings.seen("cascade");
            }
        }
        if let (Some(base), Some(held)) = (write.base_version, shadow.held)
            && base < held.version
        {
            findings.seen("clash unseen");
        }
        shadow.writes.push((seq, write.kind, write.patch.clone()));
        self.expected.insert(seq, key.clone());
        batch.queued.push((seq, key.clone()));
    }

    /// The server answered a mutation: what the app wrote before it was handed over may be in the answer.
    fn answered(&mut self, key: &RecordKey, mutation: Seq, leaves: bool, batch: &mut Batch) {
        let shadow = self.records.entry(key.clone()).or_default();
        let sent = shadow.sent.get(&mutation).copied().unwrap_or(mutation);
        shadow.writes.retain(|(seq, _, _)| *seq > sent);
        if leaves {
            batch.queued.retain(|(seq, _)| *seq != mutation);
            if self.expected.remove(&mutation).is_none() {
                let what = format!("mutation {mutation} of {key} was answered, and did not wait");
                batch.faults.push(Fault::new("I3", key, what));
            }
        }
    }

    fn checkpoint(&mut self, model: &ModelName, cursor: &SyncCursor, batch: &mut Batch, findings: &Findings) {
        let before = self
            .cursors
            .insert(model.clone(), cursor.clone())
            .unwrap_or_default();
        match &cursor.paging {
            Some(_) => findings.seen("many pages"),
            None => {
                if let Some(time) = cursor.last_sync_ms
                    && cursor.last_sync_ms != before.last_sync_ms
                {
                    batch.synced.push((model.clone(), time));
                }
                let again = before.last_full_sync_ms.is_some();
                if again && cursor.last_full_sync_ms == before.last_full_sync_ms {
                    findings.seen("delta sync");
                } else if again {
                    findings.seen("base sync again");
                }
            }
        }
        if cursor
            .paging
            .as_ref()
            .is_some_and(|paging| paging.kind == SyncKind::Delta)
        {
            findings.seen("delta sync");
        }
    }

    /// The outbox holds what must wait, and nothing else.
    fn check_outbox(&mut self, pending: &BTreeMap<Seq, Stage>, batch: &mut Batch, findings: &Findings) {
        for (seq, key) in std::mem::take(&mut batch.queued) {
            if pending.contains_key(&seq) {
                if self.expected.range(..seq).any(|(_, of)| *of == key) {
                    findings.seen("behind another");
                }
                continue;
            }
            if self.expected.remove(&seq).is_none() {
                continue;
            }
            // Folded into an earlier mutation of its record, or it undid one that nobody has seen.
            if self.expected.range(..seq).any(|(_, of)| *of == key) || batch.discarded.contains(&key) {
                findings.seen("folded");
            } else {
                let what = format!("the change {seq} of {key} is not in the outbox");
                batch.faults.push(Fault::new("I3", &key, what));
            }
        }
        let missing: Vec<(Seq, RecordKey)> = self
            .expected
            .iter()
            .filter(|(seq, _)| !pending.contains_key(seq))
            .map(|(seq, key)| (*seq, key.clone()))
            .collect();
        for (seq, key) in missing {
            self.expected.remove(&seq);
            if batch.cancellable.contains(&seq) {
                findings.seen("cancelled");
                let shadow = self.records.entry(key).or_default();
                shadow.writes.clear();
                shadow.upset = true;
            } else if !batch.discarded.contains(&key) {
                let what = format!("mutation {seq} of {key} left the outbox without an answer");
                batch.faults.push(Fault::new("I3", &key, what));
            }
        }
        for seq in pending.keys().filter(|seq| !self.expected.contains_key(seq)) {
            batch.faults.push(Fault {
                invariant: "I3",
                key: None,
                what: format!("mutation {seq} waits, and no change of the app made it"),
            });
        }
    }

    fn check_record(
        &mut self,
        key: &RecordKey,
        def: &landfall::ModelDef,
        state: &RecordState,
        server: &ServerWatch,
        faults: &mut Vec<Fault>,
    ) {
        let Some(shadow) = self.records.get_mut(key) else {
            return;
        };
        if let (Some(held), Some(now)) = (shadow.held, state.sync)
            && now.version < held.version
            && now.last_changed_at_ms <= held.last_changed_at_ms
        {
            let what = format!("{key} went from version {} to {}", held.version.0, now.version.0);
            faults.push(Fault::new("I5", key, what));
        }
        shadow.held = state.sync;
        faults.extend(check_conflict(key, shadow, state));
        faults.extend(check_edits(key, def, shadow, state));
        faults.extend(check_version(key, def, state, server));
    }
}

/// A change that met a conflict is made on the version that it met, or it would meet it again.
fn check_conflict(key: &RecordKey, shadow: &mut Shadow, state: &RecordState) -> Option<Fault> {
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
fn check_edits(
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
fn check_version(
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
fn check_cursor(
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
