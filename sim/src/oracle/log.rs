//! What a client's log says, entry by entry, against what its store holds.
//!
//! Owns [`LogAudit`]. It follows the log with rules of its own, far simpler than the engine's: it knows which changes
//! the server certainly has not answered, which mutations must wait, and which versions were held; not how rows are made.

mod checks;

use std::collections::{BTreeMap, BTreeSet};

use landfall::{
    FieldMap, FieldName, LogEntry, ModelName, MutationKind, Origin, RecordKey, RecordVersion, Seq, Snapshot,
    Stage, StorageError, SyncMetadata, Value,
};
use landfall_core::{
    CONFLICT_ROUNDS_MAX, Change, Conflict, Decision, Edited, RECORD_DELETED, RecordState, Refusal, Refused,
    SyncCursor, SyncKind, Write,
};

use super::{Fault, Findings, ServerWatch};
use checks::{check_conflict, check_cursor, check_edits, check_version};

/// The version of a record that nobody has changed since it was made.
const FIRST_VERSION: RecordVersion = RecordVersion(1);

/// Entries that are read at a time.
const PAGE: usize = 1_000;

/// What is known of a client's log.
#[derive(Debug, Default)]
pub(crate) struct LogAudit {
    newest: Option<LogEntry>,
    records: BTreeMap<RecordKey, Shadow>,
    /// Mutations that must wait.
    expected: BTreeMap<Seq, RecordKey>,
    /// Which records each of them refers to.
    referring: BTreeMap<Seq, Vec<RecordKey>>,
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
    /// How often each mutation met a conflict.
    conflicts: BTreeMap<Seq, u32>,
    /// How many refusals the server had told when it was last looked whether one is missing.
    refusals: u64,
    /// Whether the server's record, a decision or a refusal came between the app and its edits.
    upset: bool,
}

/// What an entry allows to happen.
#[derive(Default)]
struct Batch {
    touched: BTreeSet<RecordKey>,
    /// Creates that a delete may undo: nobody has seen them.
    cancellable: BTreeSet<Seq>,
    /// Changes that may have been folded into a delete, which goes to the end of the queue, with that delete.
    replaced: BTreeMap<Seq, Seq>,
    /// Mutations that a discard may take along, by record.
    discarded: BTreeSet<RecordKey>,
    /// Queued writes that are to be found in the outbox, or folded into an earlier mutation of their record.
    queued: Vec<(Seq, RecordKey)>,
    synced: Vec<(ModelName, i64)>,
    /// Records of which a change was refused, with what was said, or given up in a way that the app is told of.
    refused: Vec<(RecordKey, Option<String>)>,
    /// Refusals: why, how many conflicts there were before, and of which record.
    verdicts: Vec<(RecordKey, Refusal, u32)>,
    /// Records of which something was sent.
    sent: BTreeSet<RecordKey>,
    /// Texts that conflicts sent out again, on a version that their author has not read.
    retried: Vec<String>,
    /// Records whose delete was given up.
    deletes_given_up: Vec<RecordKey>,
    cleared: bool,
    faults: Vec<Fault>,
}

/// What a look at the log came to.
pub(crate) struct Looked {
    pub(crate) faults: Vec<Fault>,
    pub(crate) touched: BTreeSet<RecordKey>,
    /// Records of which a change was refused, with what was said, or given up in a way that the app is told of.
    pub(crate) refused: Vec<(RecordKey, Option<String>)>,
    /// Texts that conflicts sent out again, on a version that their author has not read.
    pub(crate) retried: Vec<String>,
    /// Records whose delete was given up, because others had changed them: what is to come after it need not wait for it.
    pub(crate) deletes_given_up: Vec<RecordKey>,
    pub(crate) cleared: bool,
}

impl Batch {
    /// Whether a change was folded into a delete that waits in its place.
    fn is_replaced(&self, seq: Seq, pending: &BTreeMap<Seq, Stage>) -> bool {
        let delete = self.replaced.get(&seq);
        delete.is_some_and(|delete| pending.contains_key(delete))
    }
}

impl LogAudit {
    /// Position of the newest entry that was looked at.
    pub(crate) fn newest(&self) -> Seq {
        self.newest.as_ref().map_or(Seq::ZERO, |entry| entry.seq)
    }

    /// Every record that the log told of since the last clear, gone ones included.
    pub(crate) fn told_of(&self) -> impl Iterator<Item = &RecordKey> {
        self.records.keys()
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
        client: &str,
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
        self.check_refusals(client, server, &mut batch);
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
            retried: batch.retried,
            deletes_given_up: batch.deletes_given_up,
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
                batch.sent.insert(key.clone());
                self.check_children(key, sent.mutation, batch);
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
                self.answered(key, ack.mutation, batch);
            }
            Change::Conflict(conflict) => {
                findings.seen("conflict");
                *shadow.conflicts.entry(conflict.mutation).or_default() += 1;
                shadow.upset = true;
                let live = !conflict.remote.sync.deleted;
                shadow.met = live.then_some((conflict.mutation, conflict.remote.sync.version));
                match &conflict.decision {
                    Decision::AcceptRemote => {
                        findings.seen("conflict dropped");
                        if ends_unseen(shadow, conflict) {
                            findings.seen("edit or delete lost");
                            batch.refused.push((key.clone(), None));
                        }
                        if newest_kind(shadow, conflict) == Some(MutationKind::Delete) {
                            batch.deletes_given_up.push(key.clone());
                        }
                        self.answered(key, conflict.mutation, batch);
                    }
                    // The app's change goes on as it was, except for a create that met another record.
                    Decision::Retry { patch, .. } => {
                        findings.seen("conflict kept");
                        give_up_what_the_other_record_has(shadow, conflict, patch);
                        let texts = patch.values().filter_map(Value::as_str);
                        batch.retried.extend(texts.map(str::to_owned));
                    }
                }
            }
            Change::Refused(refused) => {
                findings.seen("refused");
                refuse(shadow, refused, batch);
            }
            Change::Edited(edited) => edit(shadow, edited),
            Change::Discarded(of) => {
                shadow.upset = true;
                shadow.writes.clear();
                batch.discarded.insert(key.clone());
                self.answered(key, of.mutation, batch);
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
            if write.at_end
                && let Some((newest, _)) = self.expected.iter().rfind(|(_, of)| *of == key)
            {
                batch.replaced.insert(*newest, seq);
            }
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
        self.referring.insert(seq, write.parents.clone());
        self.expected.insert(seq, key.clone());
        batch.queued.push((seq, key.clone()));
    }

    /// The delete of a record goes out after every earlier change of another one that refers to it.
    fn check_children(&mut self, key: &RecordKey, mutation: Seq, batch: &mut Batch) {
        let shadow = self.records.entry(key.clone()).or_default();
        let is_delete = |(seq, kind, _): &(Seq, MutationKind, FieldMap)| {
            *seq == mutation && *kind == MutationKind::Delete
        };
        if !shadow.writes.iter().any(is_delete) {
            return;
        }
        let expected = &self.expected;
        self.referring.retain(|seq, _| expected.contains_key(seq));
        let child = self.referring.range(..mutation).find(|(seq, parents)| {
            parents.contains(key) && expected.get(*seq).is_some_and(|child| child != key)
        });
        if let Some((seq, _)) = child {
            let what = format!(
                "{key} is deleted on the server before {}, which belongs to it",
                expected[seq]
            );
            batch.faults.push(Fault::new("I4", key, what));
        }
    }

    /// The server answered a mutation, which leaves: what the app wrote before it was handed over may be in the answer.
    fn answered(&mut self, key: &RecordKey, mutation: Seq, batch: &mut Batch) {
        let shadow = self.records.entry(key.clone()).or_default();
        let sent = shadow.sent.get(&mutation).copied().unwrap_or(mutation);
        shadow.writes.retain(|(seq, _, _)| *seq > sent);
        batch.queued.retain(|(seq, _)| *seq != mutation);
        if self.expected.remove(&mutation).is_none() {
            let what = format!("mutation {mutation} of {key} was answered, and did not wait");
            batch.faults.push(Fault::new("I3", key, what));
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
            // Folded into another mutation of its record, or it undid one that nobody has seen.
            if self.expected.range(..seq).any(|(_, of)| *of == key)
                || batch.is_replaced(seq, pending)
                || batch.discarded.contains(&key)
            {
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
            if batch.is_replaced(seq, pending) {
                findings.seen("folded");
            } else if batch.cancellable.contains(&seq) {
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

    /// What is refused was refused by the server since it was sent last, or the engine had a reason of its own for it.
    fn check_refusals(&mut self, client: &str, server: &ServerWatch, batch: &mut Batch) {
        for (key, refusal, conflicts) in std::mem::take(&mut batch.verdicts) {
            let told = server.refusals(client, &key);
            let shadow = self.records.entry(key.clone()).or_default();
            let by_server = told > shadow.refusals;
            let is_deleted =
                refusal.error_type.as_deref() == Some(RECORD_DELETED) && server.was_deleted(&key);
            let often_enough = conflicts + 1 >= CONFLICT_ROUNDS_MAX;
            if !by_server && !is_deleted && !often_enough {
                let why = refusal.error_type.unwrap_or(refusal.message);
                let what = format!("{key} was refused ({why}), and not by the server");
                batch.faults.push(Fault::new("I3", &key, what));
            }
            shadow.refusals = told;
            batch.sent.remove(&key);
        }
        for key in std::mem::take(&mut batch.sent) {
            let told = server.refusals(client, &key);
            self.records.entry(key).or_default().refusals = told;
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

/// A change was refused; whether by the server is asked when all new entries were followed.
fn refuse(shadow: &mut Shadow, refused: &Refused, batch: &mut Batch) {
    shadow.upset = true;
    let conflicts = shadow.conflicts.get(&refused.mutation).copied().unwrap_or(0);
    let (key, refusal) = (refused.key.clone(), refused.refusal.clone());
    batch.refused.push((key.clone(), Some(refusal.message.clone())));
    batch.verdicts.push((key, refusal, conflicts));
}

/// The app put something else in place of what a refused change sets.
fn edit(shadow: &mut Shadow, edited: &Edited) {
    shadow.upset = true;
    let sent = shadow
        .sent
        .get(&edited.mutation)
        .copied()
        .unwrap_or(edited.mutation);
    let later = shadow.writes.iter().position(|(seq, _, _)| *seq > sent);
    let later = shadow.writes.split_off(later.unwrap_or(shadow.writes.len()));
    let kind = shadow
        .writes
        .first()
        .map_or(MutationKind::Update, |(_, kind, _)| *kind);
    shadow.writes = vec![(edited.mutation, kind, edited.patch.clone())];
    shadow.writes.extend(later);
}

/// Whether a change is given up that the app could not expect to lose: an edit to a deletion, or a delete to an edit.
fn ends_unseen(shadow: &Shadow, conflict: &Conflict) -> bool {
    newest_kind(shadow, conflict)
        .is_some_and(|kind| (kind == MutationKind::Delete) != conflict.remote.sync.deleted)
}

/// What the newest of the app's writes did that went with the change that met a conflict.
fn newest_kind(shadow: &Shadow, conflict: &Conflict) -> Option<MutationKind> {
    let sent = shadow.sent.get(&conflict.mutation).copied();
    let sent = sent.unwrap_or(conflict.mutation);
    let newest = shadow.writes.iter().rfind(|(seq, _, _)| *seq <= sent)?;
    Some(newest.1)
}

/// A create that met another record gives up what that record has already, and everything once somebody has changed it;
/// only what it lacks from the start stays the app's to see.
fn give_up_what_the_other_record_has(shadow: &mut Shadow, conflict: &Conflict, patch: &FieldMap) {
    let sent = shadow
        .sent
        .get(&conflict.mutation)
        .copied()
        .unwrap_or(conflict.mutation);
    let is_create = |(seq, kind, _): &(Seq, MutationKind, FieldMap)| {
        *seq == conflict.mutation && *kind == MutationKind::Create
    };
    if !shadow.writes.iter().any(is_create) {
        return;
    }
    let remote = &conflict.remote;
    let is_as_made = remote.sync.version == FIRST_VERSION;
    let lacks = |name: &FieldName| remote.fields.get(name).is_none_or(Value::is_null);
    for (_, _, fields) in shadow.writes.iter_mut().filter(|(seq, _, _)| *seq <= sent) {
        fields.retain(|name, _| patch.contains_key(name) || is_as_made && lacks(name));
    }
}
