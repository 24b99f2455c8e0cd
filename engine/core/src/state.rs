//! What a change does to a record: the fold that turns the log into rows, metadata and outbox.
//!
//! Owns [`RecordState`] and [`RecordState::apply`]. Does not decide what to do (`decide.rs`) and does not store.
//!
//! Invariants, checked after each step of the model test: 1. the visible row is the server's record with the pending
//! mutations replayed on it; 2. the version never goes down within one life of a record; 3. the server's record is
//! kept beside the row exactly while something is pending; 4. the oldest pending mutation names a version unless it
//! is a create, and no mutation overwrites what its author has not seen without the server noticing (`version.rs`);
//! 5. the record on which a mutation was made can be told as long as it waits (`overtaken.rs`).

mod overtaken;
mod version;

pub use self::overtaken::changed_by_others;
pub(crate) use self::version::NEVER_SEEN;
use self::version::{Arrival, is_effect, is_only_ours};
use crate::entry::{Acknowledged, Change, Conflict, Decision, Write};
use crate::mutation::{Coalesced, Mutation, MutationKind, Seq, Stage, coalesce};
use crate::planted::planted;
use crate::record::{FieldMap, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::ModelDef;
use crate::value::Value;

/// How far the clocks of a server's machines may be apart, in milliseconds. Far below the time that a tombstone lives.
const CLOCKS_APART_MS: u64 = 60_000;

/// The version that a create makes.
const FIRST: RecordVersion = RecordVersion(1);

/// Values of a record in slot order.
pub type Row = Vec<Value>;

/// Everything that the store knows of one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordState {
    /// What the app sees; `None` if the record does not exist for it.
    pub row: Option<Row>,
    /// The server's metadata, once the server knows the record.
    pub sync: Option<SyncMetadata>,
    /// Every version after this one was made by this store, so whoever has seen it misses nothing of other writers.
    /// `None` if the newest version is another writer's; above the newest if a pending edit hides a part of that.
    pub own_since: Option<RecordVersion>,
    /// What lies under the pending mutations: the server's record, or what only this store has if the server has none.
    /// Under an update whose record the server deleted it is the last one before that, as long as the update waits.
    pub shadow: Option<Row>,
    /// Mutations that wait for the server, oldest first.
    pub pending: Vec<Mutation>,
}

/// A change that cannot have happened to this record: the log is damaged or was written by a faulty program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} ({change}) names mutation {mutation}, which is not pending for its record")]
pub struct FoldError {
    /// The entry.
    pub seq: Seq,
    /// Name of the change.
    pub change: &'static str,
    /// The mutation that is missing.
    pub mutation: Seq,
}

impl RecordState {
    /// Applies one change of this record.
    ///
    /// # Errors
    /// [`FoldError`] if the change names a mutation that is not pending.
    pub fn apply(&mut self, def: &ModelDef, seq: Seq, change: &Change) -> Result<(), FoldError> {
        match change {
            Change::Write(write) => self.write(def, seq, write),
            Change::Sent(sent) => {
                let mutation = self.pending_mut(seq, change, sent.mutation)?;
                mutation.stage = Stage::InFlight;
                mutation.attempts = if planted("attempts-not-counted") {
                    0
                } else {
                    sent.attempt
                };
            }
            Change::OutcomeUnknown(of) => self.pending_mut(seq, change, of.mutation)?.stage = Stage::Unknown,
            Change::NotApplied(of) => self.pending_mut(seq, change, of.mutation)?.stage = Stage::Queued,
            Change::Retried(of) => self.pending_mut(seq, change, of.mutation)?.try_anew(),
            Change::Edited(edited) => {
                let mutation = self.pending_mut(seq, change, edited.mutation)?;
                mutation.patch.clone_from(&edited.patch);
                mutation.parents.clone_from(&edited.parents);
                mutation.try_anew();
                self.replay(def);
            }
            Change::Acknowledged(ack) => {
                self.pending_mut(seq, change, ack.mutation)?;
                self.acknowledge(def, ack);
            }
            Change::Conflict(conflict) => {
                self.pending_mut(seq, change, conflict.mutation)?;
                let views = self.views(def, Some(conflict.mutation));
                self.conflict(def, conflict);
                self.note_overtaken(def, &views);
            }
            Change::Refused(refused) => {
                let mutation = self.pending_mut(seq, change, refused.mutation)?;
                mutation.stage = Stage::Parked(refused.refusal.clone());
                match &refused.remote {
                    Some(remote) => self.hear(def, Some(refused.mutation), remote),
                    None => self.replay(def),
                }
            }
            Change::Discarded(of) => {
                self.pending_mut(seq, change, of.mutation)?;
                let views = self.views(def, Some(of.mutation));
                self.discard(def, of.mutation);
                self.note_overtaken(def, &views);
            }
            Change::Remote(remote) => self.hear(def, None, &remote.remote),
            Change::Base(base) => *self = base.state(def),
            Change::Evicted(evicted) => {
                *self = Self {
                    sync: evicted.sync,
                    ..Self::default()
                }
            }
            Change::Quarantined(_)
            | Change::Checkpoint(_)
            | Change::SchemaChanged(_)
            | Change::Cleared
            | Change::Opaque(_) => {}
        }
        Ok(())
    }

    fn write(&mut self, def: &ModelDef, seq: Seq, write: &Write) {
        if write.queued {
            if self.pending.is_empty() && !planted("shadow-not-kept") {
                // From here on the row runs ahead of what lies under it, so that is kept beside it.
                self.shadow.clone_from(&self.row);
            }
            self.note_write(write.base_version);
            let mutation = Mutation {
                seq,
                key: write.key.clone(),
                kind: write.kind,
                patch: write.patch.clone(),
                condition: write.condition.clone(),
                base_version: write.base_version,
                stage: Stage::Queued,
                attempts: 0,
                conflict_rounds: 0,
                parents: write.parents.clone(),
                group: write.group,
                base: None,
            };
            let overtaken = self.newest_overtaken(def);
            match coalesce(self.pending.last_mut(), mutation) {
                Coalesced::Append(mutation) => self.pending.push(mutation),
                Coalesced::Folded if planted("folded-not-shown") => return,
                Coalesced::Folded => {
                    // A delete in the place of an update would go before the deletes that were made between the two, among
                    // them those of its children. At the end it still follows everything that refers to it, and only an
                    // earlier change can hold it back: waiting for later ones instead could go round in circles. That is the
                    // entry's word and no rule of folding, since entries without it have to give what they gave.
                    if let (true, Some(folded)) = (write.at_end, self.pending.last_mut()) {
                        folded.seq = seq;
                    }
                    if let Some(before) = overtaken {
                        self.see_again(def, before, &write.patch);
                    }
                    return self.replay(def);
                }
                Coalesced::Cancelled if planted("cancelled-create-stays") => return self.replay(def),
                Coalesced::Cancelled => {
                    self.pending.pop();
                    // Another writer may have made the record meanwhile: then the server's one shows again.
                    return self.replay(def);
                }
            }
        }
        apply_mutation(&mut self.row, def, write.kind, &write.patch);
    }

    fn acknowledge(&mut self, def: &ModelDef, ack: &Acknowledged) {
        let views = self.views(def, Some(ack.mutation));
        let head = self.pending.first().filter(|head| head.seq == ack.mutation);
        let fits = head.is_some_and(|head| is_effect(head, &ack.remote));
        // A lost answer is put together from the server's record, which may be another writer's with our values in it.
        let certain =
            fits && head.is_some_and(|head| head.stage != Stage::Unknown || is_only_ours(def, head));
        self.forget_if_taken_back(ack.mutation, &ack.remote, true);
        // Learnt while it still waits, so that its own values are not taken for somebody else's.
        if !planted("answer-not-learned") {
            self.learn(def, &ack.remote, certain);
        }
        let alone = certain || (fits && self.is_own(ack.remote.sync));
        if !alone || !self.has(ack.remote.sync) {
            self.meet(def, ack.mutation);
        }
        planted("ack-removes-two").then(|| (self.pending.len() > 1).then(|| self.pending.pop()));
        if let Some(applied) = self.remove(ack.mutation) {
            self.hand_over_applied(&applied, &ack.remote, alone);
        }
        self.replay(def);
        if !certain || !self.has(ack.remote.sync) {
            self.note_overtaken(def, &views);
        }
    }

    /// Takes in a server record that settles nothing; it came with the refusal of `refused`, if with one.
    fn hear(&mut self, def: &ModelDef, refused: Option<Seq>, remote: &RemoteRecord) {
        let views = self.views(def, None);
        if let Some(mutation) = refused {
            self.forget_if_taken_back(mutation, remote, false);
        }
        let own = self.learn(def, remote, false);
        self.replay(def);
        if !own {
            self.note_overtaken(def, &views);
        }
    }

    /// Forgets the server's record if what answers a mutation is older than what the server had told before it was sent:
    /// the server went back, and what it says from here on is news.
    fn forget_if_taken_back(&mut self, mutation: Seq, remote: &RemoteRecord, applied: bool) {
        let sent = self.pending.iter().find(|pending| pending.seq == mutation);
        if sent.is_some_and(|sent| takes_back(sent, remote.sync.version, applied)) {
            self.sync = None;
            self.shadow = None;
            self.own_since = None;
        }
    }

    fn conflict(&mut self, def: &ModelDef, conflict: &Conflict) {
        self.forget_if_taken_back(conflict.mutation, &conflict.remote, false);
        self.learn(def, &conflict.remote, false);
        self.meet(def, conflict.mutation);
        match &conflict.decision {
            Decision::AcceptRemote if planted("dropped-still-waits") => {}
            Decision::AcceptRemote => {
                if let Some(dropped) = self.remove(conflict.mutation) {
                    self.hand_over_dropped(&dropped);
                }
            }
            Decision::Retry { kind, patch } => {
                // Whoever decided has seen this record of the server, which need not be the newest.
                let seen = self.decided_on(def, &conflict.remote);
                if let Some(mutation) = self.pending.iter_mut().find(|m| m.seq == conflict.mutation) {
                    mutation.kind = *kind;
                    mutation.patch = patch.clone();
                    mutation.base = seen;
                    mutation.conflict_rounds += 1;
                    let answered = mutation.stage != Stage::Unknown;
                    mutation.stage = Stage::Queued;
                    if conflict.remote.sync.deleted || planted("conflict-keeps-version") {
                        // A tombstone cannot be edited; the old version makes the server say so again.
                        mutation.base_version.get_or_insert(NEVER_SEEN);
                    } else {
                        // A read that lags behind takes nothing back; if the server did, its next answer says so.
                        let lagging = mutation.base_version.filter(|_| !answered);
                        mutation.base_version = lagging.max(Some(conflict.remote.sync.version));
                    }
                }
            }
        }
        self.replay(def);
    }

    /// A create turned out to be about a record that others have written: what waits behind it has seen nothing of that.
    fn meet(&mut self, def: &ModelDef, mutation: Seq) {
        let head = self.pending.first();
        if self.own_since == Some(NEVER_SEEN) {
            // It is all our own: the delete that was to make room was given up.
            return;
        }
        if head.is_some_and(|head| head.seq == mutation && head.kind == MutationKind::Create) {
            let server = self.server_row().cloned();
            self.pin_unseen(def, None, server.as_ref());
        }
    }

    /// Gives a mutation up. What was built on a create that is given up goes with it, up to the next create.
    fn discard(&mut self, def: &ModelDef, mutation: Seq) {
        let Some(dropped) = self.remove(mutation) else {
            return;
        };
        if dropped.kind == MutationKind::Create {
            let mut built_on = true;
            self.pending.retain(|later| {
                built_on &= later.seq < dropped.seq || later.kind != MutationKind::Create;
                later.seq < dropped.seq || !built_on
            });
        }
        self.hand_over_dropped(&dropped);
        if !planted("discard-keeps-edit") {
            self.replay(def);
        }
    }

    /// Takes over a server record unless an equal or newer one is known; `answers` says that it is known to be the
    /// effect of the oldest mutation alone. Returns whether it is an effect of this store's, as far as it says something.
    fn learn(&mut self, def: &ModelDef, remote: &RemoteRecord, answers: bool) -> bool {
        // What is certain needs no clock that agrees with the others of the server.
        let follows = answers && self.sync.is_none_or(|known| remote.sync.version > known.version);
        if !follows && !self.accepts(remote.sync) && !planted("old-version-taken") {
            return true;
        }
        // A version that went down is of a new life, which shares nothing with the one before it.
        let next_life = self
            .sync
            .is_some_and(|known| remote.sync.version <= known.version);
        let before = self.server_row().filter(|_| !next_life).cloned();
        let now = (!remote.sync.deleted).then(|| {
            // Fields that the selection left out keep what was known of them.
            let mut row = before.clone().unwrap_or_default();
            row.resize(def.stored_len(), Value::Null);
            merge(&mut row, def, &remote.fields);
            planted("server-field-lost").then(|| row.get_mut(2).map(std::mem::take));
            row
        });
        let new_life = next_life && self.server_row().is_some();
        let arrival = Arrival {
            remote,
            before: before.as_ref(),
            now: now.as_ref(),
            new_life,
            answers,
        };
        let own = self.take_note(def, &arrival);
        self.sync = Some(not_before(self.sync, remote.sync));
        planted("version-not-noted").then(|| self.sync.as_mut().map(|sync| sync.version.0 += 1));
        if self.pending.is_empty() {
            self.row = now;
            self.shadow = None;
        } else if now.is_some() && !planted("shadow-not-updated") {
            self.shadow = now;
        }
        own
    }

    /// Whether a server record says something that is not known yet.
    ///
    /// That is one that [`is_news`], and the very version with which a record left the store: it left because sync did
    /// not cover it, and whoever offers it again has found that sync covers it now.
    pub fn accepts(&self, remote: SyncMetadata) -> bool {
        let has_left = self.row.is_none() && self.pending.is_empty() && !remote.deleted;
        is_news(self.sync, remote) || (has_left && self.sync == Some(remote))
    }

    /// Whether this is what is known of the server's record; for the time of a tombstone see [`not_before`].
    fn has(&self, sync: SyncMetadata) -> bool {
        self.sync
            .is_some_and(|known| known == sync || known == not_before(Some(known), sync))
    }

    /// The server's record as far as it is known; `None` if it has none or a tombstone.
    pub(crate) fn server_row(&self) -> Option<&Row> {
        self.sync.filter(|sync| !sync.deleted)?;
        if self.pending.is_empty() {
            self.row.as_ref()
        } else {
            self.shadow.as_ref()
        }
    }

    /// Makes the visible row again: what lies under the pending mutations, with them on top.
    ///
    /// Under an update whose record the server deleted, that is the last record before: until the clash is decided the
    /// app keeps its edit. An update with nothing under it, such as one whose create was decided away, shows nothing;
    /// it still goes out, and its refusal tells the app.
    fn replay(&mut self, def: &ModelDef) {
        let edits = self
            .pending
            .first()
            .is_some_and(|head| head.kind == MutationKind::Update);
        if self.sync.is_some_and(|sync| sync.deleted) && !edits {
            self.shadow = None;
        }
        if self.pending.is_empty() {
            if self.shadow.is_some() || self.sync.is_none_or(|sync| sync.deleted) {
                self.row = self.shadow.take();
            }
            return;
        }
        let mut row = self.shadow.clone();
        for mutation in self.pending.iter().filter(|_| !planted("replay-forgets-edits")) {
            apply_mutation(&mut row, def, mutation.kind, &mutation.patch);
        }
        self.row = row;
    }

    fn pending_mut(&mut self, seq: Seq, change: &Change, mutation: Seq) -> Result<&mut Mutation, FoldError> {
        self.pending
            .iter_mut()
            .find(|pending| pending.seq == mutation)
            .ok_or(FoldError {
                seq,
                change: change.name(),
                mutation,
            })
    }

    fn remove(&mut self, mutation: Seq) -> Option<Mutation> {
        let position = self.pending.iter().position(|pending| pending.seq == mutation)?;
        Some(self.pending.remove(position))
    }
}

/// Whether a server record is newer than what is known.
///
/// Versions decide within one life of a record. A record that was purged on the server and made again starts over at
/// version 1, which only the change time tells.
pub fn is_news(known: Option<SyncMetadata>, remote: SyncMetadata) -> bool {
    let Some(known) = known else { return true };
    let later = remote.last_changed_at_ms > known.last_changed_at_ms;
    if remote.version > known.version {
        // A tombstone from before the newest change is of an earlier life: it must not end this one.
        return !remote.deleted
            || remote.last_changed_at_ms >= known.last_changed_at_ms
            || is_deleted_by(known, remote);
    }
    // The last version before the end, which a machine whose clock is ahead has made. Only a create may be of a new life.
    if known.deleted && remote.version > FIRST && is_deleted_by(remote, known) {
        return false;
    }
    // After a tombstone the new life may already be over when it is first heard of, so any later change is news. If
    // the tombstone was missed, only version 1 is sure to be a new life: the first create repeated has an earlier time.
    let starts = remote.version == FIRST && !remote.deleted && known.version > FIRST;
    later && (known.deleted || starts)
}

/// Whether a tombstone ends this very version, although its time may be earlier: each machine of the server has a clock of its
/// own. A tombstone of an earlier life is older by as long as the server keeps one.
fn is_deleted_by(live: SyncMetadata, tombstone: SyncMetadata) -> bool {
    let apart_ms = tombstone.last_changed_at_ms.abs_diff(live.last_changed_at_ms);
    tombstone.deleted
        && !live.deleted
        && live.version.0.checked_add(1) == Some(tombstone.version.0)
        && apart_ms <= CLOCKS_APART_MS
}

/// What is remembered of a server record: a tombstone ends what is known, and so is of no earlier time, lest what it ended
/// looks like a new life when it is heard once more.
fn not_before(known: Option<SyncMetadata>, remote: SyncMetadata) -> SyncMetadata {
    let ended_ms = known
        .filter(|known| remote.deleted && known.version <= remote.version)
        .map(|known| known.last_changed_at_ms);
    SyncMetadata {
        last_changed_at_ms: remote.last_changed_at_ms.max(ended_ms.unwrap_or(i64::MIN)),
        ..remote
    }
}

/// Whether a version that answers a mutation shows that the server went back, as after a restored backup: it is older than
/// the one on which the mutation was made, or no newer although the mutation was `applied` on top of that.
pub fn takes_back(sent: &Mutation, found: RecordVersion, applied: bool) -> bool {
    // A record that was asked for because the answer was lost proves nothing: such a read may lag behind.
    let told = sent.base_version.filter(|_| sent.stage != Stage::Unknown);
    told.is_some_and(|told| told > found || (applied && told == found))
}

/// Whether every field of `patch` has the same value in `fields`; null and missing are the same.
pub fn is_subset(patch: &FieldMap, fields: &FieldMap) -> bool {
    patch.iter().all(|(name, value)| match fields.get(name) {
        Some(theirs) => theirs.cmp_total(value).is_eq(),
        None => value.is_null(),
    })
}

/// Applies a create, update or delete to a visible row.
fn apply_mutation(row: &mut Option<Row>, def: &ModelDef, kind: MutationKind, patch: &FieldMap) {
    match kind {
        MutationKind::Create => {
            let mut fresh = vec![Value::Null; def.stored_len()];
            merge(&mut fresh, def, patch);
            *row = Some(fresh);
        }
        MutationKind::Update => {
            if let Some(row) = row {
                merge(row, def, patch);
            }
        }
        MutationKind::Delete if planted("delete-not-shown") => {}
        MutationKind::Delete => *row = None,
    }
}

/// Lays fields over a row; fields that the model no longer stores are passed over.
fn merge(row: &mut Row, def: &ModelDef, fields: &FieldMap) {
    for (name, value) in fields {
        if let Some(slot) = def.slot(name) {
            row[slot.index()] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests;
