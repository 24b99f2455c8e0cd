//! What each command does inside the transaction, and the answers that wait for its commit.
//!
//! Owns [`Batch`]; what becomes of mutations is `write/settle.rs`. The decisions themselves are `landfall_core`'s.
//!
//! Invariants: 1. a command either appends everything that it decided, or the whole transaction fails. A write of the app
//! decides all before it appends, so that the rules can refuse it while the others go on; 2. an answer that was decided on
//! what other commands of the transaction have done waits for the commit as well, refusals included; 3. whoever asked is
//! answered, also if damage has the database panic.

mod settle;

use landfall_core::{Change, MutationKind, Origin, Record, RecordState, Seq, Write, planted};
use landfall_storage::{StorageError, Txn};

use super::logged::Line;
use super::notice::{Changes, Told};
use super::plan::{Plan, Step};
use super::quarantine::Known;
use super::{Epoch, RemoteCounts, StorageMessage, WriteDone, WriteError, WriteOp};
use crate::meter::OfEntry;
use crate::port::Reply;
pub(super) use settle::LEFT_EXPRESSION;

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
    /// Which of the answers is that of whoever had all data cleared.
    clear_answer: Option<usize>,
    pub(super) changes: Changes,
    pub(super) quarantine: Known,
    /// The newest entry that was appended.
    newest: Option<Seq>,
    /// Entries that the command at hand has appended.
    of_command: usize,
    /// What the command at hand takes back.
    undone: Option<Seq>,
    pub(super) stale: u64,
    /// Mutations that were marked as sent.
    marked: Vec<Seq>,
}

/// Why a command was not carried out: by the rules (others go on), or because the store failed (all fail).
pub(super) enum Stop {
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
    pub(super) fn new(quarantine: Known) -> Self {
        Self {
            quarantine,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether all data was cleared.
    pub(super) fn cleared(&self) -> bool {
        self.changes.cleared
    }

    /// The newest entry that was appended; `None` if none was.
    pub(super) fn newest(&self) -> Option<Seq> {
        self.newest
    }

    pub(super) fn take_quarantine(&mut self) -> Known {
        std::mem::take(&mut self.quarantine)
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn take_marked(&mut self) -> Vec<Seq> {
        std::mem::take(&mut self.marked)
    }

    /// Answers everybody; whoever had all data cleared hears whether its bytes are gone from the file as well.
    pub(super) fn succeed(self, scrubbed: &Result<(), WriteError>) {
        for (at, answer) in self.answers.into_iter().enumerate() {
            answer(if Some(at) == self.clear_answer {
                scrubbed.clone()
            } else {
                Ok(())
            });
        }
    }

    /// Tells everybody who asked that the transaction failed. Returns what there is to tell if it is there after all.
    pub(super) fn fail(self, error: &WriteError) -> Changes {
        for answer in self.answers {
            answer(Err(error.clone()));
        }
        self.changes
    }

    /// Carries out one command. An error means that the whole transaction has failed.
    pub(super) fn carry_out(
        &mut self,
        txn: &mut Txn<'_>,
        rules: &Rules,
        command: StorageMessage,
    ) -> Result<(), StorageError> {
        self.of_command = 0;
        match command {
            StorageMessage::Write { ops, grouped, reply } => {
                self.undone = None;
                let done = self.write(txn, rules, ops, grouped);
                self.answer(done, reply)
            }
            StorageMessage::Undo { entry, ops, reply } => {
                self.undone = Some(entry);
                let done = self.write(txn, rules, ops, true);
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
                covered,
                reply,
            } => {
                let done = if self.is_stale(rules, epoch) {
                    Ok(())
                } else {
                    self.settle(txn, mutation, settlement, covered)
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
            parked @ (StorageMessage::RetryMismatched { .. }
            | StorageMessage::RetryParked { .. }
            | StorageMessage::EditParked { .. }
            | StorageMessage::DiscardParked { .. }) => self.carry_out_of_parked(txn, rules, parked),
            StorageMessage::Clear { reply, .. } => {
                let done = self.clear(txn);
                self.clear_answer = Some(self.answers.len());
                self.answer(done, reply)
            }
            StorageMessage::Observe { .. }
            | StorageMessage::BeginEpoch { .. }
            | StorageMessage::Rebuild { .. }
            | StorageMessage::Compact { .. }
            | StorageMessage::Trim { .. }
            | StorageMessage::Commit
            | StorageMessage::FindOut
            | StorageMessage::Halt => unreachable!("only commands that write are collected"),
        }
    }

    /// Carries out a command that is about parked mutations.
    fn carry_out_of_parked(
        &mut self,
        txn: &mut Txn<'_>,
        rules: &Rules,
        command: StorageMessage,
    ) -> Result<(), StorageError> {
        match command {
            StorageMessage::RetryMismatched {
                epoch,
                mutations,
                reply,
            } => {
                let done = if self.is_stale(rules, epoch) {
                    Ok(())
                } else {
                    self.retry_mismatched(txn, &mutations)
                };
                self.answer(done, reply)
            }
            StorageMessage::RetryParked { mutation, reply } => {
                let done = self.retry(txn, mutation);
                self.answer(done, reply)
            }
            StorageMessage::EditParked {
                mutation,
                patch,
                reply,
            } => {
                let done = self.edit(txn, mutation, patch);
                self.answer(done, reply)
            }
            StorageMessage::DiscardParked { mutation, reply } => {
                let done = self.discard(txn, mutation);
                self.answer(done, reply)
            }
            StorageMessage::Write { .. }
            | StorageMessage::Undo { .. }
            | StorageMessage::MarkSent { .. }
            | StorageMessage::Settle { .. }
            | StorageMessage::ApplyRemote { .. }
            | StorageMessage::Clear { .. }
            | StorageMessage::Observe { .. }
            | StorageMessage::BeginEpoch { .. }
            | StorageMessage::Rebuild { .. }
            | StorageMessage::Compact { .. }
            | StorageMessage::Trim { .. }
            | StorageMessage::Commit
            | StorageMessage::FindOut
            | StorageMessage::Halt => {
                unreachable!("the others are carried out by themselves")
            }
        }
    }

    fn is_stale(&mut self, rules: &Rules, epoch: Epoch) -> bool {
        let stale = epoch != rules.epoch && !planted("stale-epoch-accepted");
        self.stale += u64::from(stale);
        stale
    }

    /// Keeps the answer for after the commit. A refusal is given at once if the transaction has changed nothing so far: it
    /// was decided on what is in the store for sure.
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
            Err(Stop::Refused(error)) if self.newest.is_none() => {
                reply.send(Err(error));
                Ok(())
            }
            Err(Stop::Refused(refused)) => {
                self.answers
                    .push(Box::new(move |committed| reply.send(committed.and(Err(refused)))));
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

    pub(super) fn append(
        &mut self,
        txn: &mut Txn<'_>,
        origin: Origin,
        cause: Option<Seq>,
        change: Change,
    ) -> Result<Told<'_>, Stop> {
        self.append_to(txn, None, origin, cause, change)
    }

    /// The same where the state of the record has just been read.
    pub(super) fn append_to(
        &mut self,
        txn: &mut Txn<'_>,
        state: Option<RecordState>,
        origin: Origin,
        cause: Option<Seq>,
        change: Change,
    ) -> Result<Told<'_>, Stop> {
        let line = Line::about(origin, cause, &change);
        let counted = OfEntry::of(&change);
        let applied = txn
            .append_to(state, origin, cause, change)
            .map_err(|error| match error {
                // The entry does not fit its record and nothing of it is written. If the command has written nothing
                // either, it alone fails; a command that is carried out in part must not be committed.
                error @ StorageError::Misfit(_) if self.of_command == 0 => Stop::Refused(error.into()),
                error => Stop::from(error),
            })?;
        self.newest = Some(applied.seq);
        self.of_command += 1;
        self.changes.logged.appended(applied.seq, line);
        self.changes.tally.appended(counted);
        Ok(self.changes.take(applied))
    }

    /// Carries out the app's writes; those that are grouped are sent in order as well.
    fn write(
        &mut self,
        txn: &mut Txn<'_>,
        rules: &Rules,
        ops: Vec<WriteOp>,
        grouped: bool,
    ) -> Result<Vec<WriteDone>, Stop> {
        let writes = ops.iter().filter(|op| !matches!(op, WriteOp::Expect { .. }));
        let group = (grouped && writes.count() > 1).then(|| txn.next_seq());
        let plan = if self.undone.is_some() {
            Plan::taking_back
        } else {
            Plan::new
        };
        let mut plan = plan(group, &ops, rules.queue_changes);
        let mut steps = Vec::with_capacity(ops.len());
        for op in ops {
            if planted("half-transaction") && !steps.is_empty() {
                break;
            }
            steps.push(plan.decide(txn, op)?);
        }
        steps.into_iter().map(|step| self.perform(txn, step)).collect()
    }

    /// Removes all data; nobody is told of what this transaction changed before.
    fn clear(&mut self, txn: &mut Txn<'_>) -> Result<(), Stop> {
        let done = self.append(txn, Origin::App, None, Change::Cleared).map(drop);
        self.changes.visible.clear();
        self.changes.outbox.clear();
        self.changes.cleared = true;
        if self.changes.told_empty == Some(false) {
            self.changes.outbox_status(true);
        }
        self.quarantine = Known::of_nothing();
        done
    }

    fn perform(&mut self, txn: &mut Txn<'_>, step: Step) -> Result<WriteDone, Stop> {
        match step {
            Step::Unchanged(record) => Ok(WriteDone {
                record,
                ..WriteDone::default()
            }),
            Step::Write(decided) => {
                let (write, state) = *decided;
                Ok(WriteDone {
                    record: self.perform_one(txn, write, Some(state))?,
                    entry: self.newest,
                    ..WriteDone::default()
                })
            }
            Step::Writes(writes) => {
                let mut records = Vec::with_capacity(writes.len());
                for write in writes {
                    records.extend(self.perform_one(txn, write, None)?);
                }
                // Children are deleted before their parent, so the record that was asked for comes last.
                let record = records.pop();
                Ok(WriteDone {
                    record,
                    entry: self.newest,
                    cascaded: records,
                })
            }
        }
    }

    /// Appends a write. Returns the record as it is now, or as it was before a delete.
    fn perform_one(
        &mut self,
        txn: &mut Txn<'_>,
        write: Write,
        state: Option<RecordState>,
    ) -> Result<Option<Record>, Stop> {
        let (kind, queued) = (write.kind, write.queued);
        let key = write.key.clone();
        let told = self.append_to(txn, state, Origin::App, self.undone, Change::Write(write))?;
        let record = match told.visible {
            Some(visible) => Some(visible.record.clone()),
            None if kind == MutationKind::Delete => None,
            // The values were there already: they came from the server after the app had read the record.
            None => {
                let RecordState { row, sync, .. } = txn.state(&key)?;
                row.map(|row| txn.record(&key.model, row, sync)).transpose()?
            }
        };
        if let (true, Some(record)) = (queued, &record) {
            self.changes.enqueued(kind, record.clone());
        }
        Ok(record)
    }
}

/// Answers a command that was not carried out because the transaction failed before it came to it.
pub(super) fn refuse(command: StorageMessage, error: &WriteError) {
    let error = error.clone();
    match command {
        StorageMessage::Write { reply, .. } | StorageMessage::Undo { reply, .. } => reply.send(Err(error)),
        StorageMessage::MarkSent { reply, .. } => reply.send(Err(error)),
        StorageMessage::ApplyRemote { reply, .. } => reply.send(Err(error)),
        StorageMessage::Settle { reply, .. }
        | StorageMessage::RetryMismatched { reply, .. }
        | StorageMessage::RetryParked { reply, .. }
        | StorageMessage::EditParked { reply, .. }
        | StorageMessage::DiscardParked { reply, .. }
        | StorageMessage::Clear { reply, .. } => reply.send(Err(error)),
        StorageMessage::Observe { .. }
        | StorageMessage::BeginEpoch { .. }
        | StorageMessage::Rebuild { .. }
        | StorageMessage::Compact { .. }
        | StorageMessage::Trim { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => unreachable!("only commands that write are collected"),
    }
}
