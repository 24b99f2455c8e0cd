//! The world of one history: the app's store, a network with at most one request in it, and the server.
//!
//! Plays the engine: turns each step into the change that a real engine would log, and has the oracle check it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::oracle::Oracle;
use super::seen::{Authors, Seen};
use super::server::{Answer, Request, Server};
use super::{ConflictAnswer, Edit, GOOD_ROUNDS, REST_ROUNDS_MAX, Setup, Step};
use crate::decide::{
    CONFLICT_ROUNDS_MAX, Resolution, SaveRequest, Settled, decide_conflict, decide_delete, decide_save,
    given_up, settle,
};
use crate::entry::{
    Acknowledged, Change, Conflict, Decision, Evicted, MutationRef, Refused, Remote, Sent, Write,
};
use crate::mutation::{Mutation, MutationKind, Refusal, Seq, Stage};
use crate::predicate::{Op, Predicate};
use crate::record::{FieldMap, RecordKey, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::{KeyKind, ModelDef, Schema};
use crate::state::{RecordState, Row};
use crate::test_support::lab::show_write;
use crate::test_support::{blog, fields, lay_over, row, show_fields, show_mutation, show_row};
use crate::value::Value;

/// The store, the network with at most one request in it, and the server.
pub(super) struct World {
    schema: Schema,
    def: Arc<ModelDef>,
    setup: Setup,
    pub(super) server: Server,
    state: RecordState,
    log: Vec<(Seq, Change)>,
    oracle: Oracle,
    copy: Option<(Row, Option<SyncMetadata>, Seen)>,
    authors: Authors,
    /// What was to be seen when each waiting delete was made, or decided to be sent again.
    deleted: BTreeMap<Seq, FieldMap>,
    network: Option<(Request, Option<Answer>)>,
    /// What this history has seen, so that a run can show that it saw everything.
    pub(super) seen: BTreeMap<&'static str, u32>,
    pub(super) trace: Vec<String>,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let schema = blog();
        let name = if setup.key == KeyKind::Managed {
            "Memo"
        } else {
            "Todo"
        };
        let def = Arc::clone(schema.model(name).expect("a model of the blog schema"));
        Self {
            schema,
            def,
            setup,
            server: Server::new(setup.handling),
            state: RecordState::default(),
            log: Vec::new(),
            oracle: Oracle::default(),
            copy: None,
            authors: Authors::default(),
            deleted: BTreeMap::new(),
            network: None,
            seen: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    fn key(&self) -> RecordKey {
        RecordKey {
            model: self.def.name.clone(),
            id: "t1".into(),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Logs and applies a change, then checks everything that must hold after it.
    fn apply(&mut self, change: Change) -> Result<(), String> {
        let seq = Seq(self.log.len() as u64 + 1);
        let before = self.state.clone();
        let applied = self.state.apply(&self.def, seq, &change);
        let pending: Vec<String> = self.state.pending.iter().map(show_mutation).collect();
        let row = show_row(&self.def, self.state.row.as_ref());
        self.trace.push(format!(
            "{seq} {}: {} -> {row} [{}]",
            change.name(),
            told(&change),
            pending.join(", ")
        ));
        applied.map_err(|error| error.to_string())?;
        self.oracle.check(&self.def, seq, &change, &before, &self.state)?;
        self.authors.note(&change);
        self.see(change.name());
        self.log.push((seq, change));
        Ok(())
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Save(edit) => {
                let base = self.state.row.clone();
                self.save(base, self.state.sync, self.reader(), edit)?;
            }
            Step::SaveCopy(edit) => {
                if let Some((base, version, seen)) = self.copy.clone() {
                    self.save(Some(base), version, seen, edit)?;
                }
            }
            Step::SaveNew(edit) => self.save(None, None, self.reader(), edit)?,
            Step::Copy => {
                let row = self.state.row.clone();
                self.copy = row.map(|row| (row, self.state.sync, self.reader()));
            }
            Step::Delete { conditional } => self.delete(*conditional)?,
            Step::Send => self.send()?,
            Step::Serve { refuse } => self.serve(*refuse)?,
            Step::Answer => self.answer()?,
            Step::GoodNetwork => self.good_network()?,
            Step::Lose => self.lose()?,
            Step::Inquire => self.inquire()?,
            Step::Frame(pick) => self.frame(*pick)?,
            Step::Outside(kind, edit) => {
                if *kind != MutationKind::Create || self.setup.key != KeyKind::Managed {
                    self.trace
                        .push(format!("   another client: {} {}", kind.verb(), edit.text));
                    self.server.outside(*kind, &fields(edit.text));
                }
            }
            Step::Purge => self.purge(),
            Step::Retry => {
                if let Some(of) = self.parked() {
                    self.apply(Change::Retried(of))?;
                }
            }
            Step::Discard => {
                if let Some(of) = self.parked() {
                    self.apply(Change::Discarded(of))?;
                }
            }
            Step::Evict => {
                if self.state.pending.is_empty() && self.state.sync.is_some() {
                    self.apply(Change::Evicted(Evicted {
                        key: self.key(),
                        reason: "left".into(),
                        sync: None,
                    }))?;
                }
            }
        }
        self.server.broken.take().map_or(Ok(()), Err)
    }

    fn reader(&self) -> Seen {
        self.authors.reader(&self.def, &self.state)
    }

    fn save(
        &mut self,
        base: Option<Row>,
        version: Option<SyncMetadata>,
        seen: Seen,
        edit: &Edit,
    ) -> Result<(), String> {
        // An identifier that the store makes is never made twice.
        if base.is_none() && self.setup.key == KeyKind::Managed && !self.log.is_empty() {
            return Ok(());
        }
        let mut values = base.clone().unwrap_or_else(|| row(&self.def, "id=t1"));
        lay_over(&self.def, &mut values, &fields(edit.text));
        let request = SaveRequest {
            values,
            seen: version.filter(|_| base.is_some()),
            base,
            condition: edit.conditional.then(condition),
            queued: true,
            group: None,
        };
        match decide_save(&self.schema, &self.def, &self.state, request) {
            Ok(Some(write)) => self.write(write, seen),
            Ok(None) => Ok(()),
            Err(refused) => {
                self.trace.push(format!("   save refused: {refused}"));
                Ok(())
            }
        }
    }

    fn delete(&mut self, conditional: bool) -> Result<(), String> {
        let condition = conditional.then(condition);
        match decide_delete(
            &self.schema,
            &self.def,
            &self.state,
            self.key(),
            condition,
            true,
            None,
        ) {
            Ok(Some(write)) => self.write(write, self.reader()),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn write(&mut self, write: Write, seen: Seen) -> Result<(), String> {
        let (kind, patch) = (write.kind, write.patch.clone());
        let visible = self.state.row.clone();
        let newest = self
            .state
            .pending
            .last()
            .map(|mutation| (mutation.seq, mutation.attempts));
        let waiting = self.state.pending.len();
        self.apply(Change::Write(write))?;
        if let Some(into) = self
            .state
            .pending
            .last()
            .filter(|_| self.state.pending.len() >= waiting)
        {
            self.authors.wrote(into.seq, kind, &patch, seen);
        }
        match self.state.pending.len() {
            now if now > waiting => {
                self.see("appended");
                let seq = Seq(self.log.len() as u64);
                if let Some(row) = visible.filter(|_| kind == MutationKind::Delete) {
                    self.deleted.insert(seq, named(&self.def, &row));
                }
            }
            now if now == waiting => self.see("folded"),
            _ => {
                self.see("cancelled");
                let (cancelled, attempts) = newest.ok_or("nothing could be cancelled")?;
                if attempts > 0 || self.server.has_applied(cancelled) {
                    return Err(format!(
                        "{cancelled} was cancelled although the server may have applied it"
                    ));
                }
            }
        }
        Ok(())
    }

    fn head(&self, stage: &Stage) -> Option<&Mutation> {
        self.state
            .pending
            .first()
            .filter(|mutation| mutation.stage == *stage)
    }

    fn parked(&self) -> Option<MutationRef> {
        let head = self.state.pending.first()?;
        matches!(head.stage, Stage::Parked(_)).then(|| MutationRef {
            key: self.key(),
            mutation: head.seq,
        })
    }

    fn send(&mut self) -> Result<(), String> {
        let Some(head) = self.head(&Stage::Queued).cloned() else {
            return Ok(());
        };
        let attempt = head.attempts + 1;
        self.apply(Change::Sent(Sent {
            key: self.key(),
            mutation: head.seq,
            attempt,
        }))?;
        self.network = Some((Request::of(&head), None));
        Ok(())
    }

    fn serve(&mut self, refuse: bool) -> Result<(), String> {
        let Some((request, answer @ None)) = &mut self.network else {
            return Ok(());
        };
        let (given, applied) = if refuse {
            (Answer::Refused(None), None)
        } else {
            self.server.handle(&self.def, request)
        };
        if let Some(applied) = applied {
            self.authors.check(&self.server, &applied)?;
        }
        self.trace
            .push(format!("   server: {} {}", request.mutation, told_answer(&given)));
        let what = match &given {
            Answer::Applied(_) => "server applied",
            Answer::VersionMismatch(_) => "server saw another version",
            Answer::Refused(_) => "server refused",
        };
        *answer = Some(given);
        self.see(what);
        Ok(())
    }

    fn answer(&mut self) -> Result<(), String> {
        let Some((request, Some(answer))) = self.network.take_if(|(_, answer)| answer.is_some()) else {
            return Ok(());
        };
        let (key, mutation) = (self.key(), request.mutation);
        match answer {
            Answer::Applied(remote) => self.apply(Change::Acknowledged(Acknowledged {
                key,
                mutation,
                remote,
            })),
            Answer::VersionMismatch(remote) => self.conflict(mutation, remote),
            // The identifier is taken: the record that took it is a conflict, a tombstone is not.
            Answer::Refused(Some(remote)) if !remote.sync.deleted && self.is_create(mutation) => {
                self.conflict(mutation, remote)
            }
            Answer::Refused(remote) => self.park(mutation, remote),
        }
    }

    fn is_create(&self, mutation: Seq) -> bool {
        self.state
            .pending
            .iter()
            .any(|m| m.seq == mutation && m.kind == MutationKind::Create)
    }

    fn park(&mut self, mutation: Seq, remote: Option<RemoteRecord>) -> Result<(), String> {
        let refusal = Refusal {
            error_type: None,
            message: "no".into(),
        };
        self.apply(Change::Refused(Refused {
            key: self.key(),
            mutation,
            refusal,
            remote,
        }))
    }

    fn conflict(&mut self, mutation: Seq, remote: RemoteRecord) -> Result<(), String> {
        // Both sides want a deleted record deleted, whatever was in it.
        if !remote.sync.deleted {
            self.check_base(mutation)?;
        }
        let pending = self
            .state
            .pending
            .iter()
            .find(|m| m.seq == mutation)
            .expect("it waits for this answer");
        if pending.conflict_rounds >= CONFLICT_ROUNDS_MAX {
            return self.park(mutation, Some(remote));
        }
        let resolution = match self.setup.answers {
            ConflictAnswer::AcceptRemote => Resolution::AcceptRemote,
            ConflictAnswer::KeepLocal => Resolution::KeepLocal,
            ConflictAnswer::Merge => {
                let mut merged = remote.fields.clone();
                merged.extend(pending.patch.clone());
                merged.insert("note".into(), "merged".into());
                Resolution::Merged(merged)
            }
        };
        let Ok(decision) = decide_conflict(pending, &remote, resolution) else {
            self.see("parked for a deletion");
            return self.park(mutation, Some(remote));
        };
        let given_up = given_up(pending, &remote, &decision);
        if let (Decision::Retry { .. }, Some(seen)) = (&decision, self.deleted.get_mut(&mutation)) {
            // Whoever decided has seen this, also if the delete goes on as an update.
            *seen = without_nulls(&remote.fields);
        }
        self.apply(Change::Conflict(Conflict {
            key: self.key(),
            mutation,
            remote,
            decision,
            given_up,
        }))
    }

    /// A delete that meets a conflict knows the record on which it was made, whatever has happened to it since.
    fn check_base(&mut self, mutation: Seq) -> Result<(), String> {
        let Some(expected) = self.deleted.get(&mutation) else {
            return Ok(());
        };
        let found = self.state.base_of(&self.def, mutation);
        let found = found.map(|row| named(&self.def, &row)).unwrap_or_default();
        if *expected != found {
            return Err(format!(
                "{mutation} deleted {}, but is said to have deleted {}",
                show_fields(expected),
                show_fields(&found)
            ));
        }
        self.see("base of a delete");
        Ok(())
    }

    fn lose(&mut self) -> Result<(), String> {
        self.network = None;
        self.copy = None;
        let Some(head) = self.head(&Stage::InFlight) else {
            return Ok(());
        };
        let of = MutationRef {
            key: self.key(),
            mutation: head.seq,
        };
        self.apply(Change::OutcomeUnknown(of))
    }

    fn inquire(&mut self) -> Result<(), String> {
        let Some(head) = self.head(&Stage::Unknown).cloned() else {
            return Ok(());
        };
        let (key, mutation) = (self.key(), head.seq);
        let server = self.server.item().cloned();
        match (settle(&self.def, &head, server.as_ref()), server) {
            (Settled::NotApplied, _) => {
                self.see("settled as not applied");
                self.apply(Change::NotApplied(MutationRef { key, mutation }))
            }
            (Settled::Applied, Some(remote)) => {
                self.see("settled as applied");
                self.apply(Change::Acknowledged(Acknowledged {
                    key,
                    mutation,
                    remote,
                }))
            }
            (Settled::Conflict, Some(remote)) => {
                self.see("settled as a conflict");
                self.conflict(mutation, remote)
            }
            (Settled::Applied, None) if head.kind == MutationKind::Delete => {
                self.see("deleted what the server does not have");
                let remote = self.absent();
                self.apply(Change::Acknowledged(Acknowledged {
                    key,
                    mutation,
                    remote,
                }))
            }
            (settled, None) => Err(format!(
                "{settled:?}, although the server has nothing to tell it by"
            )),
        }
    }

    /// A tombstone in the place of a record that the server does not have, no newer than the one that is known.
    fn absent(&self) -> RemoteRecord {
        let unheard = SyncMetadata {
            version: RecordVersion(0),
            last_changed_at_ms: 0,
            deleted: true,
        };
        let sync = SyncMetadata {
            deleted: true,
            ..self.state.sync.unwrap_or(unheard)
        };
        RemoteRecord {
            id: "t1".into(),
            fields: FieldMap::new(),
            sync,
        }
    }

    fn frame(&mut self, pick: usize) -> Result<(), String> {
        let Some(index) = pick.checked_rem(self.server.frames.len()) else {
            return Ok(());
        };
        let remote = self.server.frames[index].clone();
        self.apply(Change::Remote(Remote {
            key: self.key(),
            remote,
        }))
    }

    fn purge(&mut self) {
        let heard = self
            .server
            .item()
            .is_some_and(|item| item.sync.deleted && self.state.sync == Some(item.sync));
        let open = self
            .state
            .pending
            .iter()
            .any(|m| m.attempts > 0 || m.base_version.is_some());
        if heard && !open {
            self.see("purged");
            self.trace.push("   server: purges the tombstone".into());
            self.server.purge();
            self.copy = None;
        }
    }

    fn good_network(&mut self) -> Result<(), String> {
        for _ in 0..GOOD_ROUNDS {
            self.serve(false)?;
            self.answer()?;
            self.inquire()?;
            self.send()?;
        }
        Ok(())
    }

    /// Nothing goes wrong any more: everything is sent, answered and delivered; what is parked is given up.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..REST_ROUNDS_MAX {
            for step in [
                Step::Serve { refuse: false },
                Step::Answer,
                Step::Inquire,
                Step::Discard,
                Step::Send,
            ] {
                self.step(&step)?;
            }
            if self.state.pending.is_empty() {
                break;
            }
        }
        if let Some(newest) = self.server.frames.last().cloned() {
            self.apply(Change::Remote(Remote {
                key: self.key(),
                remote: newest,
            }))?;
        }
        let live = |record: &&RemoteRecord| !record.sync.deleted;
        let theirs = self.server.item().filter(live).map(|record| {
            let mut row = row(&self.def, "");
            lay_over(&self.def, &mut row, &record.fields);
            row
        });
        if self.state.row != theirs || !self.state.pending.is_empty() || self.state.shadow.is_some() {
            return Err(format!(
                "at rest, the store has {:?}, but the server {theirs:?}",
                self.state
            ));
        }
        self.fold_again()
    }

    /// The log alone gives the same state.
    fn fold_again(&self) -> Result<(), String> {
        let mut again = RecordState::default();
        for (seq, change) in &self.log {
            again
                .apply(&self.def, *seq, change)
                .map_err(|error| error.to_string())?;
        }
        if again == self.state {
            Ok(())
        } else {
            Err(format!("folded again: {again:?} is not {:?}", self.state))
        }
    }
}

/// The condition of every conditional write.
fn condition() -> Predicate {
    Predicate::field("rating", Op::Ne(2.into()))
}

/// The fields of a row that are not null.
fn named(def: &ModelDef, row: &Row) -> FieldMap {
    let names = def.stored_fields().map(|field| field.name.clone());
    without_nulls(&names.zip(row.iter().cloned()).collect())
}

fn without_nulls(fields: &FieldMap) -> FieldMap {
    let fields = fields.clone().into_iter();
    fields.filter(|(_, value)| *value != Value::Null).collect()
}

fn told(change: &Change) -> String {
    let server = |record: &RemoteRecord| {
        let fields = without_nulls(&record.fields);
        let deleted = if record.sync.deleted { " deleted" } else { "" };
        format!(
            "{}{deleted}@{} {}",
            record.sync.version,
            record.sync.last_changed_at_ms,
            show_fields(&fields)
        )
    };
    let of = change
        .mutation()
        .map(|mutation| format!("{mutation} "))
        .unwrap_or_default();
    match change {
        Change::Write(write) => show_write(write),
        Change::Acknowledged(ack) => of + &server(&ack.remote),
        Change::Conflict(conflict) => format!("{of}{} -> {:?}", server(&conflict.remote), conflict.decision),
        Change::Refused(refused) => of + &refused.remote.as_ref().map(server).unwrap_or_default(),
        Change::Remote(remote) => server(&remote.remote),
        _ => of,
    }
}

fn told_answer(answer: &Answer) -> String {
    match answer {
        Answer::Applied(record) => format!("applied as {}", record.sync.version),
        Answer::VersionMismatch(record) => format!("has {}", record.sync.version),
        Answer::Refused(_) => "refused".into(),
    }
}
