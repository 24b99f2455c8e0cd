//! What each command does inside the transaction, and the answers that wait for its commit.
//!
//! Owns [`Batch`]. The decisions themselves are `landfall_core`'s.
//!
//! Invariant: a command either appends everything that it decided or nothing; it decides all before it appends.

use std::collections::BTreeMap;

use landfall_core::{
    Acknowledged, Association, Change, Checkpoint, Conflict, Decision, FieldType, ModelDef, Mutation,
    MutationKind, MutationRef, Origin, Record, RecordId, RecordKey, RecordState, Refused, Remote,
    RemoteRecord, SaveRequest, Sent, Seq, Stage, Value, Write, decide_delete, decide_save, is_news, planted,
};
use landfall_storage::{Applied, ChangeKind, StorageError, Txn};

use super::notice::Changes;
use super::{Epoch, RemoteBatch, RemoteCounts, Settlement, StorageMessage, WriteDone, WriteError, WriteOp};
use crate::hub::HubEvent;
use crate::port::Reply;

/// Records that one delete may take along; their mutations and entries are one transaction.
const CASCADE_MAX: usize = 100_000;

/// What applies to every command of a batch.
pub(super) struct Rules {
    pub(super) queue_changes: bool,
    pub(super) epoch: Epoch,
}

/// Answers that wait for the commit.
type Answer = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Commands of one transaction.
#[derive(Default)]
pub(super) struct Batch {
    answers: Vec<Answer>,
    changes: Changes,
    pub(super) stale: u64,
}

/// Why a command was not carried out: by the rules (others go on), or because the store failed (all fail).
enum Stop {
    Refused(WriteError),
    Failed(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        match error {
            // The caller's mistake, not the disk's.
            StorageError::UnknownModel { .. } | StorageError::BadQuery(_) => Self::Refused(error.into()),
            error => Self::Failed(error),
        }
    }
}

impl From<landfall_core::WriteRefused> for Stop {
    fn from(refused: landfall_core::WriteRefused) -> Self {
        Self::Refused(refused.into())
    }
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Answers everybody. Returns what there is to tell.
    pub(super) fn succeed(self) -> Changes {
        for answer in self.answers {
            answer(Ok(()));
        }
        self.changes
    }

    /// Tells everybody that the transaction failed.
    pub(super) fn fail(self, error: &WriteError) {
        for answer in self.answers {
            answer(Err(error.clone()));
        }
    }

    /// Carries out one command. An error means that the whole transaction has failed.
    pub(super) fn carry_out(
        &mut self,
        txn: &mut Txn<'_>,
        rules: &Rules,
        command: StorageMessage,
    ) -> Result<(), StorageError> {
        match command {
            StorageMessage::Write { ops, reply } => {
                let done = self.write(txn, rules, ops);
                self.answer(done, reply)
            }
            StorageMessage::MarkSent {
                epoch,
                mutations,
                reply,
            } => {
                let done = if self.is_stale(rules, epoch) {
                    Ok(Vec::new())
                } else {
                    self.mark_sent(txn, &mutations)
                };
                self.answer(done, reply)
            }
            StorageMessage::Settle {
                epoch,
                mutation,
                settlement,
                reply,
            } => {
                let done = if self.is_stale(rules, epoch) {
                    Ok(())
                } else {
                    self.settle(txn, mutation, settlement)
                };
                self.answer(done, reply)
            }
            StorageMessage::ApplyRemote { epoch, batch, reply } => {
                let done = if self.is_stale(rules, epoch) {
                    Ok(RemoteCounts::default())
                } else {
                    self.apply_remote(txn, batch)
                };
                self.answer(done, reply)
            }
            StorageMessage::RetryParked { mutation, reply } => {
                let done = self.retry(txn, mutation);
                self.answer(done, reply)
            }
            StorageMessage::DiscardParked { mutation, reply } => {
                let done = self.discard(txn, mutation);
                self.answer(done, reply)
            }
            StorageMessage::Clear { reply, .. } => {
                let done = self.append(txn, Origin::App, None, Change::Cleared).map(drop);
                self.changes.visible.clear();
                self.changes.outbox.clear();
                self.changes.cleared = true;
                self.answer(done, reply)
            }
            StorageMessage::Observe { .. }
            | StorageMessage::BeginEpoch { .. }
            | StorageMessage::Rebuild { .. }
            | StorageMessage::Commit
            | StorageMessage::Halt => unreachable!("only commands that write are collected"),
        }
    }

    fn is_stale(&mut self, rules: &Rules, epoch: Epoch) -> bool {
        let stale = epoch != rules.epoch;
        self.stale += u64::from(stale);
        stale
    }

    /// Keeps the answer for after the commit, unless the rules refused the command: that needs no commit.
    fn answer<T: Send + 'static>(
        &mut self,
        done: Result<T, Stop>,
        reply: Reply<Result<T, WriteError>>,
    ) -> Result<(), StorageError> {
        match done {
            Ok(value) if planted("reply-before-commit") => {
                reply.send(Ok(value));
                Ok(())
            }
            Ok(value) => {
                self.answers
                    .push(Box::new(move |committed| reply.send(committed.map(|()| value))));
                Ok(())
            }
            Err(Stop::Refused(error)) => {
                reply.send(Err(error));
                Ok(())
            }
            Err(Stop::Failed(error)) => {
                self.answers.push(Box::new(move |committed| {
                    // The transaction fails as a whole, so this is never answered with success.
                    if let Err(error) = committed {
                        reply.send(Err(error));
                    }
                }));
                Err(error)
            }
        }
    }

    fn append(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        cause: Option<Seq>,
        change: Change,
    ) -> Result<Applied, Stop> {
        let applied = txn.append(origin, cause, change)?;
        self.changes.take(applied.clone());
        Ok(applied)
    }

    fn write(&mut self, txn: &mut Txn<'_>, rules: &Rules, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Stop> {
        let group = (ops.len() > 1).then(|| txn.next_seq());
        let mut plan = Plan {
            group,
            queue_changes: rules.queue_changes,
            ..Plan::default()
        };
        let mut steps = Vec::with_capacity(ops.len());
        for op in ops {
            if planted("half-transaction") && !steps.is_empty() {
                break;
            }
            steps.push(plan.decide(txn, op)?);
        }
        steps.into_iter().map(|step| self.perform(txn, step)).collect()
    }

    fn perform(&mut self, txn: &mut Txn<'_>, step: Step) -> Result<WriteDone, Stop> {
        match step {
            Step::Unchanged(record) => Ok(WriteDone {
                record,
                cascaded: Vec::new(),
            }),
            Step::Writes(writes) => {
                let mut records = Vec::with_capacity(writes.len());
                for write in writes {
                    let (kind, queued) = (write.kind, write.queued);
                    let applied = self.append(txn, Origin::App, None, Change::Write(write))?;
                    let record = applied.visible.map(|visible| visible.record);
                    if let (true, Some(record)) = (queued, &record) {
                        self.changes.enqueued(kind, record.clone());
                    }
                    records.extend(record);
                }
                // Children are deleted before their parent, so the record that was asked for comes last.
                let record = records.pop();
                Ok(WriteDone {
                    record,
                    cascaded: records,
                })
            }
        }
    }

    fn mark_sent(&mut self, txn: &mut Txn<'_>, mutations: &[Seq]) -> Result<Vec<Mutation>, Stop> {
        let mut sent = Vec::with_capacity(mutations.len());
        for seq in mutations {
            let Some(mutation) = txn.mutation(*seq)? else {
                continue;
            };
            if mutation.stage != Stage::Queued {
                continue;
            }
            let of = Sent {
                key: mutation.key,
                mutation: *seq,
                attempt: mutation.attempts + 1,
            };
            if !planted("sent-not-noted") {
                self.append(txn, Origin::Outbox, Some(*seq), Change::Sent(of))?;
            }
            sent.push(txn.mutation(*seq)?.ok_or_else(|| missing(*seq))?);
        }
        Ok(sent)
    }

    fn settle(&mut self, txn: &mut Txn<'_>, seq: Seq, settlement: Settlement) -> Result<(), Stop> {
        let Some(mutation) = txn.mutation(seq)? else {
            return Ok(());
        };
        let key = mutation.key.clone();
        let of = MutationRef {
            key: key.clone(),
            mutation: seq,
        };
        match settlement {
            Settlement::Acknowledged(remote) => {
                self.processed(txn, &mutation, &remote)?;
                let change = Change::Acknowledged(Acknowledged {
                    key,
                    mutation: seq,
                    remote,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::Conflict { remote, decision } => {
                let accepted_remote = decision == Decision::AcceptRemote;
                if accepted_remote {
                    self.processed(txn, &mutation, &remote)?;
                }
                self.changes.events.push(HubEvent::ConflictResolved {
                    key: key.clone(),
                    accepted_remote,
                });
                let change = Change::Conflict(Conflict {
                    key,
                    mutation: seq,
                    remote,
                    decision,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::Refused { refusal, remote } => {
                self.changes.events.push(HubEvent::OutboxMutationFailed {
                    key: key.clone(),
                    kind: mutation.kind,
                    error_type: refusal.error_type.clone(),
                    message: refusal.message.clone(),
                });
                let change = Change::Refused(Refused {
                    key,
                    mutation: seq,
                    refusal,
                    remote,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::NotApplied => {
                let change = if planted("not-applied-means-acknowledged") {
                    Change::Discarded(of)
                } else {
                    Change::NotApplied(of)
                };
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::Unknown => {
                self.append(txn, Origin::Outbox, Some(seq), Change::OutcomeUnknown(of))?;
            }
        }
        Ok(())
    }

    fn processed(&mut self, txn: &Txn<'_>, mutation: &Mutation, remote: &RemoteRecord) -> Result<(), Stop> {
        let def = txn.model(mutation.model())?;
        let record = Record::from_fields(def, &remote.fields).with_sync(Some(remote.sync));
        self.changes.events.push(HubEvent::OutboxMutationProcessed {
            kind: mutation.kind,
            record,
        });
        Ok(())
    }

    fn apply_remote(&mut self, txn: &mut Txn<'_>, batch: RemoteBatch) -> Result<RemoteCounts, Stop> {
        let model = txn.model(&batch.model)?;
        let mut counts = RemoteCounts::default();
        let skipped = usize::from(planted("page-row-skipped") && batch.origin == Origin::Sync);
        for remote in batch.records.into_iter().skip(skipped) {
            let key = RecordKey {
                model: model.name.clone(),
                id: remote.id.clone(),
            };
            // Most echoes say nothing new, and what says nothing new is no entry.
            if !is_news(txn.state(&key)?.sync, remote.sync) && !planted("old-version-taken")
                || remote.sync.deleted && planted("tombstones-skipped")
            {
                continue;
            }
            let applied = self.append(txn, batch.origin, None, Change::Remote(Remote { key, remote }))?;
            match applied.visible.map(|visible| visible.kind) {
                Some(ChangeKind::Insert) => counts.new += 1,
                Some(ChangeKind::Update) => counts.updated += 1,
                Some(ChangeKind::Delete) => counts.deleted += 1,
                None => {}
            }
        }
        for bad in batch.bad {
            let event = HubEvent::RecordQuarantined {
                model: bad.model.clone(),
                reason: bad.reason.clone(),
            };
            self.changes.events.push(event);
            self.append(txn, batch.origin, None, Change::Quarantined(bad))?;
        }
        if let Some(cursor) = batch.cursor {
            let change = Change::Checkpoint(Checkpoint {
                model: model.name.clone(),
                cursor,
            });
            self.append(txn, batch.origin, None, change)?;
        }
        Ok(counts)
    }

    fn retry(&mut self, txn: &mut Txn<'_>, seq: Seq) -> Result<(), Stop> {
        let mutation = parked(txn, seq)?;
        let of = MutationRef {
            key: mutation.key,
            mutation: seq,
        };
        self.append(txn, Origin::App, Some(seq), Change::Retried(of))?;
        Ok(())
    }

    /// Gives a parked mutation up. What was built on a refused create goes with it.
    fn discard(&mut self, txn: &mut Txn<'_>, seq: Seq) -> Result<(), Stop> {
        let mutation = parked(txn, seq)?;
        let pending = txn.state(&mutation.key)?.pending;
        let later = pending
            .iter()
            .filter(|other| other.seq > seq && mutation.kind == MutationKind::Create);
        for gone in later.map(|other| other.seq).chain([seq]).collect::<Vec<_>>() {
            let of = MutationRef {
                key: mutation.key.clone(),
                mutation: gone,
            };
            self.append(txn, Origin::App, Some(seq), Change::Discarded(of))?;
        }
        Ok(())
    }
}

fn missing(seq: Seq) -> StorageError {
    StorageError::Corrupt {
        what: format!("mutation {seq} vanished inside its own transaction"),
    }
}

fn parked(txn: &Txn<'_>, seq: Seq) -> Result<Mutation, Stop> {
    match txn.mutation(seq)? {
        Some(mutation) if matches!(mutation.stage, Stage::Parked(_)) => Ok(mutation),
        _ => Err(Stop::Refused(WriteError::NotParked { seq })),
    }
}

/// What one operation of the app comes to.
enum Step {
    /// Nothing is written; the record as it is, if there is one.
    Unchanged(Option<Record>),
    /// These writes, in order; the record that was asked for comes last.
    Writes(Vec<Write>),
}

/// Decisions of one command, made before anything is written. Later operations see the effect of earlier ones.
#[derive(Default)]
struct Plan {
    group: Option<Seq>,
    queue_changes: bool,
    decided: BTreeMap<RecordKey, RecordState>,
    next: u64,
}

impl Plan {
    fn decide(&mut self, txn: &Txn<'_>, op: WriteOp) -> Result<Step, Stop> {
        match op {
            WriteOp::Save {
                model,
                values,
                base,
                seen,
                condition,
            } => {
                let def = txn.model(&model)?;
                let base = base.row().map(|row| txn.decode_row(row)).transpose()?;
                let queued = self.queue_changes && def.syncable && !planted("queued-not-written");
                let request = SaveRequest {
                    values,
                    base,
                    seen,
                    condition,
                    queued,
                    group: self.group,
                };
                let Some(id) = RecordId::of_values(&def, &request.values) else {
                    // Validation says which key field is missing.
                    decide_save(txn.schema(), &def, &RecordState::default(), request)?;
                    unreachable!("validation refuses records without key fields");
                };
                let key = RecordKey { model, id };
                let state = self.state(txn, &key)?;
                match decide_save(txn.schema(), &def, &state, request)? {
                    Some(write) => {
                        self.note(&def, state, &write)?;
                        Ok(Step::Writes(vec![write]))
                    }
                    None => {
                        let record = state.row.map(|row| Record::new(def, row).with_sync(state.sync));
                        Ok(Step::Unchanged(record))
                    }
                }
            }
            WriteOp::Delete {
                key,
                condition,
                guard,
            } => {
                let def = txn.model(&key.model)?;
                let state = self.state(txn, &key)?;
                if let (Some(guard), Some(row)) = (&guard, &state.row)
                    && !guard
                        .bind(&def)
                        .map_err(landfall_core::WriteRefused::from)?
                        .matches(row)
                {
                    return Ok(Step::Unchanged(None));
                }
                let mut writes = Vec::new();
                self.delete(txn, &def, key, condition, &mut writes)?;
                Ok(if writes.is_empty() {
                    Step::Unchanged(None)
                } else {
                    Step::Writes(writes)
                })
            }
        }
    }

    /// Deletes what belongs to the record, then the record, depth first (as the originals do).
    fn delete(
        &mut self,
        txn: &Txn<'_>,
        def: &ModelDef,
        key: RecordKey,
        condition: Option<landfall_core::Predicate>,
        writes: &mut Vec<Write>,
    ) -> Result<(), Stop> {
        let state = self.state(txn, &key)?;
        let queued = self.queue_changes && def.syncable && !planted("queued-not-written");
        // Decided first, so that a condition that fails leaves the children alone as well.
        let Some(write) = decide_delete(
            txn.schema(),
            def,
            &state,
            key.clone(),
            condition,
            queued,
            self.group,
        )?
        else {
            return Ok(());
        };
        if writes.len() >= CASCADE_MAX {
            return Err(Stop::Refused(WriteError::CascadeTooLarge {
                key,
                max: CASCADE_MAX,
            }));
        }
        // Noted before its children, so that records that refer to each other do not go round in circles.
        self.note(def, state, &write)?;
        for child in children(txn, def, &key.id)? {
            let child_def = txn.model(&child.model)?;
            self.delete(txn, &child_def, child, None, writes)?;
        }
        writes.push(write);
        Ok(())
    }

    fn state(&self, txn: &Txn<'_>, key: &RecordKey) -> Result<RecordState, Stop> {
        match self.decided.get(key) {
            Some(state) => Ok(state.clone()),
            None => Ok(txn.state(key)?),
        }
    }

    /// Remembers what a record will be, for later operations of the same command.
    fn note(&mut self, def: &ModelDef, mut state: RecordState, write: &Write) -> Result<(), Stop> {
        self.next += 1;
        let seq = Seq(u64::MAX - self.next);
        state
            .apply(def, seq, &Change::Write(write.clone()))
            .map_err(StorageError::from)?;
        self.decided.insert(write.key.clone(), state);
        Ok(())
    }
}

/// Records that belong to a record by has-one and has-many relations.
fn children(txn: &Txn<'_>, def: &ModelDef, id: &RecordId) -> Result<Vec<RecordKey>, Stop> {
    let values: Vec<Value> = id.parts().iter().map(landfall_core::IdPart::to_value).collect();
    let mut found = Vec::new();
    for (field, association) in def.relations() {
        let fields = match association {
            Association::HasMany { associated_with } => associated_with,
            Association::HasOne {
                associated_with,
                targets,
            } if targets.is_empty() => associated_with,
            Association::HasOne { .. } | Association::BelongsTo { .. } => continue,
        };
        let FieldType::Model(model) = &field.ty else {
            continue;
        };
        let names: Vec<&str> = fields.iter().map(landfall_core::FieldName::as_str).collect();
        let ids = txn.referring(model, &names, &values)?;
        found.extend(ids.into_iter().map(|id| RecordKey {
            model: model.clone(),
            id,
        }));
    }
    Ok(found)
}
