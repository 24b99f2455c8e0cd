//! StorageActor: the only writer of the store.
//!
//! Owns the group commit: commands are collected while the last commit is on its way to the disk, carried out in one
//! transaction, and answered after its commit. What a command does to the store is `storage/write.rs`, with `plan.rs` and
//! `remote.rs`; who hears of it is `storage/notice.rs`. Reads do not come here: a [`landfall_storage::Reader`] takes snapshots beside it.
//!
//! Invariants: 1. no reply before the commit; 2. observers and the outbox hear of changes in commit order, after the
//! commit; 3. a command of an older epoch changes nothing and is counted; 4. what is on disk is heard of, also if the
//! disk failed to say so at first.

mod again;
mod notice;
mod plan;
mod quarantine;
mod recorded;
mod remote;
mod write;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use landfall_core::{
    Decision, FieldMap, ModelName, Mutation, Origin, Quarantined, Record, RecordId, RecordKey, Refusal,
    RemoteRecord, Row, Seq, SyncCursor, SyncMetadata, WriteRefused,
};
use landfall_storage::{Remade, Retention, StorageError, Store, Trimmed, VisibleChange};

use crate::actor;
use crate::env::Env;
use crate::flight::Input;
use crate::hub::HubMessage;
use crate::outbox::OutboxMessage;
use crate::port::{Handle, Message, Port, Reply};

/// Commands in one commit. More would make each caller wait longer than the disk saves it.
pub const WRITE_BATCH_MAX: usize = 256;

/// Change sets that wait for a slow observer. One that falls further behind is cut off and has to start anew.
pub const OBSERVER_BACKLOG_MAX: usize = 1_024;

/// A run of the sync engine; raised by each start, stop and clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A write of the app.
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// Save a record.
    Save {
        /// The model.
        model: ModelName,
        /// Its values in slot order.
        values: Row,
        /// The encoded row that it was read from.
        base: landfall_core::Base,
        /// The server's metadata when it was read.
        seen: Option<SyncMetadata>,
        /// Condition on the stored record, checked here and by the server.
        condition: Option<landfall_core::Predicate>,
    },
    /// Delete a record and those that belong to it.
    Delete {
        /// The record.
        key: RecordKey,
        /// Condition on the stored record, checked here and by the server.
        condition: Option<landfall_core::Predicate>,
        /// Predicate that the record must still satisfy, checked here alone; if it does not, nothing happens.
        guard: Option<landfall_core::Predicate>,
    },
    /// Nothing is written, but the record must still be as it was read: what the other writes say depends on it.
    Expect {
        /// The record.
        key: RecordKey,
        /// The encoded row that it was read from; none if it was not there.
        row: landfall_core::Base,
    },
}

/// What a write of the app did.
#[derive(Clone, Debug, Default)]
pub struct WriteDone {
    /// The record after a save, or as it was before a delete; `None` if there was nothing to delete.
    pub record: Option<Record>,
    /// Everything else that a delete took along, children first.
    pub cascaded: Vec<Record>,
}

/// Why a write of the app failed. Nothing of it is in the store unless the outcome is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The rules refused it.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// The store failed.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// A delete would take along more records than one transaction may hold.
    #[error(
        "deleting `{key}` would delete more than {max} records that belong to it; delete those in parts first"
    )]
    CascadeTooLarge {
        /// The record.
        key: RecordKey,
        /// The bound.
        max: usize,
    },
    /// A record is no longer as it was read. Everything may be read again and decided anew.
    #[error("`{key}` was changed since it was read; read it again and decide anew")]
    Changed {
        /// The record.
        key: RecordKey,
    },
    /// The mutation does not wait, or is not parked.
    #[error("mutation {seq} is not parked; only refused mutations can be retried, edited or discarded")]
    NotParked {
        /// The mutation.
        seq: Seq,
    },
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// What became of a mutation that was sent.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The server applied it.
    Acknowledged(RemoteRecord),
    /// The server's record had another version; decided so.
    Conflict {
        /// The server's record.
        remote: RemoteRecord,
        /// What is to be done.
        decision: Decision,
    },
    /// The server refused it for good.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The server's record, if it came along.
        remote: Option<RemoteRecord>,
    },
    /// It certainly was not applied.
    NotApplied,
    /// No answer will come.
    Unknown,
}

/// Records of the server to be stored in one transaction.
#[derive(Clone, Debug)]
pub struct RemoteBatch {
    /// Where they come from.
    pub origin: Origin,
    /// Their model.
    pub model: ModelName,
    /// The records; of one identifier the newest version wins, whatever the order.
    pub records: Vec<RemoteRecord>,
    /// Records that the sync expression does not select; they leave the store, unless something of them waits.
    pub outside: Vec<RemoteRecord>,
    /// Records that a full sync has not met.
    pub left_over: Option<LeftOver>,
    /// Records that could not be read.
    pub bad: Vec<Quarantined>,
    /// The records are as the server had them at this time of its clock or later: of what changed before, an older version
    /// is no late message. `None` if they may be late.
    pub as_of_ms: Option<i64>,
    /// How far sync of the model has got with them.
    pub cursor: Option<SyncCursor>,
}

/// Records that a full sync has not met, so that the server has them no longer or sync does not cover them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// The records; those of which something waits stay.
    pub ids: Vec<RecordId>,
    /// Those that changed at this time of the server's clock or later stay: the sync may have looked before.
    pub before_ms: i64,
}

impl RemoteBatch {
    /// A batch of nothing.
    pub fn new(origin: Origin, model: ModelName) -> Self {
        Self {
            origin,
            model,
            records: Vec::new(),
            outside: Vec::new(),
            left_over: None,
            bad: Vec::new(),
            as_of_ms: None,
            cursor: None,
        }
    }
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteCounts {
    /// Records that appeared.
    pub new: u64,
    /// Records that changed.
    pub updated: u64,
    /// Records that went.
    pub deleted: u64,
}

/// Changes of one commit, in order; what observers receive.
pub type ChangeSet = Arc<[VisibleChange]>;

/// Messages to the [`StorageActor`].
#[derive(Debug)]
pub enum StorageMessage {
    /// From the app: carry out these writes, all or none.
    Write {
        /// The writes, in order.
        ops: Vec<WriteOp>,
        /// One result a write.
        reply: Reply<Result<Vec<WriteDone>, WriteError>>,
    },
    /// From the app: the same, to take back what an entry did; the entries name it as their cause.
    Undo {
        /// The entry, or the first of its transaction.
        entry: Seq,
        /// The writes, in order.
        ops: Vec<WriteOp>,
        /// One result a write.
        reply: Reply<Result<Vec<WriteDone>, WriteError>>,
    },
    /// From `MutationProcessor`: these mutations are about to be sent. Those that do not wait any more are left out of the answer.
    MarkSent {
        /// The run of the engine.
        epoch: Epoch,
        /// The mutations.
        mutations: Vec<Seq>,
        /// The mutations as they are to be sent.
        reply: Reply<Result<Vec<Mutation>, WriteError>>,
    },
    /// From `MutationProcessor`: this became of a mutation.
    Settle {
        /// The run of the engine.
        epoch: Epoch,
        /// The mutation.
        mutation: Seq,
        /// What became of it.
        settlement: Settlement,
        /// Whether the server's record that came along is one of those that sync; one that is not leaves the store
        /// once nothing of it waits.
        covered: bool,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From `SyncProcessor` and `SubscriptionProcessor`: store these records of the server.
    ApplyRemote {
        /// The run of the engine.
        epoch: Epoch,
        /// The records.
        batch: RemoteBatch,
        /// What they did.
        reply: Reply<Result<RemoteCounts, WriteError>>,
    },
    /// From the app: send a parked mutation again.
    RetryParked {
        /// The mutation.
        mutation: Seq,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: change the fields that a parked mutation sets, and send it again.
    EditParked {
        /// The mutation.
        mutation: Seq,
        /// The fields that it sets from here on.
        patch: FieldMap,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: give a parked mutation up and bring the server's record back.
    DiscardParked {
        /// The mutation.
        mutation: Seq,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: hear of every change from here on.
    Observe {
        /// Where the observer's end goes.
        reply: Reply<mpsc::Receiver<ChangeSet>>,
    },
    /// From the supervisor: commands of older epochs no longer count, and the answers to what an older run sent will
    /// not come: those mutations are of unknown outcome from here on.
    BeginEpoch {
        /// The new run of the engine.
        epoch: Epoch,
        /// Sent once everything before it is on disk.
        reply: Reply<()>,
    },
    /// From the supervisor: clear all data.
    Clear {
        /// The run of the engine from here on.
        epoch: Epoch,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: make everything but the log again, from the log.
    Rebuild {
        /// Sent when it is done.
        reply: Reply<Result<Remade, WriteError>>,
    },
    /// From the app: take away the entries that a policy does not keep.
    Trim {
        /// What the log keeps.
        retention: Retention,
        /// Sent when it is done.
        reply: Reply<Result<Trimmed, WriteError>>,
    },
    /// From the actor itself: commit what has been collected.
    Commit,
    /// From the actor itself: find out what became of a commit of which the disk did not tell.
    FindOut,
    /// From the owner: end at once; what was not committed is as after a crash.
    Halt,
}

impl Message for StorageMessage {
    const ACTOR: &'static str = "StorageActor";

    fn name(&self) -> &'static str {
        match self {
            Self::Write { .. } => "Write",
            Self::Undo { .. } => "Undo",
            Self::MarkSent { .. } => "MarkSent",
            Self::Settle { .. } => "Settle",
            Self::ApplyRemote { .. } => "ApplyRemote",
            Self::RetryParked { .. } => "RetryParked",
            Self::EditParked { .. } => "EditParked",
            Self::DiscardParked { .. } => "DiscardParked",
            Self::Observe { .. } => "Observe",
            Self::BeginEpoch { .. } => "BeginEpoch",
            Self::Clear { .. } => "Clear",
            Self::Rebuild { .. } => "Rebuild",
            Self::Trim { .. } => "Trim",
            Self::Commit => "Commit",
            Self::FindOut => "FindOut",
            Self::Halt => "Halt",
        }
    }

    fn print(&self) -> u64 {
        recorded::print(self)
    }

    fn input(&self) -> Option<Input> {
        recorded::input(self)
    }
}

/// The only writer of the store.
#[derive(Debug)]
pub struct StorageActor {
    env: Env,
    store: Store,
    /// Whether changes are queued for the server.
    queue_changes: bool,
    epoch: Epoch,
    /// Commands of older epochs that were ignored.
    stale: u64,
    collected: Vec<StorageMessage>,
    listeners: notice::Listeners,
    quarantine: quarantine::Known,
    /// Whether mutations of an older run may still count as being on their way.
    leftovers: bool,
    /// A commit of which the disk did not tell whether it is there.
    unsure: Option<Unsure>,
    /// Mutations that are in flight by the log, but were not sent: whoever marked them was told that the commit failed.
    unsent: Vec<Seq>,
}

/// A commit whose outcome is unknown.
#[derive(Debug)]
struct Unsure {
    /// The newest entry, if it is there.
    planned: Seq,
    /// What there is to tell then.
    changes: notice::Changes,
    /// Mutations that it marks as sent, which nobody has sent.
    marked: Vec<Seq>,
}

/// How long the actor waits before it looks what became of a commit, in milliseconds: the disk has just failed, and
/// the next command looks as well.
const FIND_OUT_MS: u64 = 1_000;

impl StorageActor {
    /// The writer of a store. `queue_changes` is false for a store that never syncs.
    pub fn new(env: Env, store: Store, queue_changes: bool) -> Self {
        let listeners = notice::Listeners::default();
        Self {
            env,
            store,
            queue_changes,
            epoch: Epoch::default(),
            stale: 0,
            collected: Vec::new(),
            listeners,
            quarantine: quarantine::Known::default(),
            leftovers: false,
            unsure: None,
            unsent: Vec::new(),
        }
    }

    /// Tells it who is to hear of commits; done once, before it starts.
    #[must_use]
    pub fn with_listeners(mut self, outbox: Port<OutboxMessage>, hub: Port<HubMessage>) -> Self {
        self.listeners.connect(outbox, hub);
        self
    }

    /// Keeps a command for the next commit, which follows once the mailbox has been read that far.
    fn collect(&mut self, command: StorageMessage, ctx: &mut Context<Self>) {
        if self.collected.is_empty() {
            ctx.notify(crate::port::Envelope(StorageMessage::Commit));
        }
        self.collected.push(command);
        if self.collected.len() >= WRITE_BATCH_MAX {
            self.commit(ctx);
        }
    }

    /// Carries out what was collected in one transaction, then answers; if that meets damage, each command in a
    /// transaction of its own, so that a damaged record fails nobody but those who write it.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        let mut commands = std::mem::take(&mut self.collected);
        if commands.is_empty() && !self.leftovers && !self.has_open_questions() {
            return;
        }
        let spares = again::spares(&mut commands);
        let Err(damage) = self.commit_together(commands, !spares.is_empty(), ctx) else {
            return;
        };
        tracing::warn!(error = %damage, commands = spares.len(), "the commit met damage; its commands go one by one");
        for command in spares.into_iter().filter(|spare| !again::is_answered(spare)) {
            if let Err(error) = self.commit_together(vec![command], false, ctx) {
                unreachable!("a command that has no spare is answered: {error}");
            }
        }
    }

    /// Carries commands out in one transaction, then answers. Those that have spares are not answered if the transaction
    /// met damage; that is the error.
    fn commit_together(
        &mut self,
        commands: Vec<StorageMessage>,
        have_spares: bool,
        ctx: &mut Context<Self>,
    ) -> Result<(), StorageError> {
        let mut commands = commands.into_iter();
        let rules = write::Rules {
            queue_changes: self.queue_changes,
            epoch: self.epoch,
        };
        self.recall_broken(commands.as_slice());
        let mut batch = write::Batch::new(std::mem::take(&mut self.quarantine));
        let (leftovers, mut base) = (self.leftovers, None);
        let (unsure, unsent) = (&self.unsure, &self.unsent);
        let fault = recorded::fault(&self.env);
        let mut carried = 0;
        let written = match recorded::never_begins(fault.as_ref()) {
            Some(error) => Err(error),
            None => self.store.write(self.env.clock.wall_ms(), |txn| {
                base = Some(txn.next_seq());
                if leftovers {
                    batch.settle_leftovers(txn)?;
                }
                batch.settle_unsent(txn, unsent)?;
                if let Some(unsure) = unsure
                    && txn.next_seq() == unsure.planned.next()
                {
                    batch.settle_unsent(txn, &unsure.marked)?;
                }
                loop {
                    // Before a command is taken, so that whoever waits for it hears of the error with those behind it.
                    recorded::fail_at(fault.as_ref(), carried, commands.as_slice().is_empty())?;
                    let Some(command) = commands.next() else {
                        return Ok(());
                    };
                    batch.carry_out(txn, &rules, command)?;
                    carried += 1;
                }
            }),
        };
        let written = recorded::told(&self.env, &self.store, (base, carried), fault, written);
        self.stale += batch.stale;
        if let Some(base) = base {
            self.found_out(base);
        }
        // What was not committed is not in the log, and has to be news again.
        if written.is_ok() {
            self.quarantine = batch.take_quarantine();
        }
        match written {
            Ok(_) => self.committed(batch),
            Err(error @ StorageError::OutcomeUnknown { .. }) => {
                tracing::error!(%error, commands = batch.len(), "what became of this commit is not known");
                let (planned, marked) = (batch.newest(), batch.take_marked());
                // Every command was carried out: it is the commit that failed.
                let changes = batch.fail(&WriteError::from(error));
                self.unsure = planned.map(|planned| Unsure {
                    planned,
                    changes,
                    marked,
                });
                self.look_again(ctx);
            }
            // It began, so something in it is damaged, and not the store as a whole.
            Err(error @ StorageError::Corrupt { .. }) if have_spares && base.is_some() => return Err(error),
            Err(error) => {
                let commands_in_all = batch.len() + commands.len();
                tracing::error!(%error, commands = commands_in_all, "nothing of this commit is in the store");
                let error = WriteError::from(error);
                batch.fail(&error);
                // Those that it did not come to: the transaction could not begin, or broke off.
                commands.for_each(|command| write::refuse(command, &error));
                if self.has_open_questions() {
                    self.look_again(ctx);
                }
            }
        }
        Ok(())
    }

    /// The commands of a batch are on disk.
    fn committed(&mut self, mut batch: write::Batch) {
        if batch.cleared()
            && let Err(error) = self.store.scrub()
        {
            // The data is gone for everybody who asks the store; only the bytes of free pages are left.
            tracing::warn!(%error, "what was cleared could not be removed from the file itself");
        }
        self.leftovers = false;
        self.unsent.clear();
        // Who is answered and asks the outbox next must find there what was written.
        self.listeners.hear(batch.take_changes());
        batch.succeed();
    }

    /// Before a broken record is logged: which were logged by an earlier process.
    fn recall_broken(&mut self, commands: &[StorageMessage]) {
        let brings_broken = |command: &StorageMessage| matches!(command, StorageMessage::ApplyRemote { batch, .. } if !batch.bad.is_empty());
        if commands.iter().any(brings_broken)
            && let Err(error) = self.quarantine.recall(&self.store.reader())
        {
            tracing::warn!(%error, "which records were set aside before cannot be read; some may be logged again");
        }
    }

    /// A transaction has begun behind this entry, so it is known what became of the commit before.
    fn found_out(&mut self, next: Seq) {
        if let Some(unsure) = self.unsure.take()
            && next == unsure.planned.next()
        {
            // Whoever asked was told of an error; those who only listen must not miss what is there.
            self.listeners.hear(unsure.changes);
            self.unsent.extend(unsure.marked);
        }
    }

    /// Whether another transaction is needed to know what became of an earlier one, or to set right what came of it.
    fn has_open_questions(&self) -> bool {
        self.unsure.is_some() || !self.unsent.is_empty()
    }

    fn look_again(&self, ctx: &mut Context<Self>) {
        ctx.notify_later(
            crate::port::Envelope(StorageMessage::FindOut),
            Duration::from_millis(FIND_OUT_MS),
        );
    }
}

impl Handle for StorageActor {
    type Message = StorageMessage;

    fn env(&self) -> &Env {
        &self.env
    }

    fn handle(&mut self, message: StorageMessage, ctx: &mut Context<Self>) {
        match message {
            StorageMessage::Commit => self.commit(ctx),
            StorageMessage::FindOut => {
                if self.has_open_questions() {
                    self.commit(ctx);
                }
            }
            StorageMessage::Halt => {
                self.collected.clear();
                ctx.stop();
            }
            StorageMessage::Observe { reply } => {
                // What was collected before belongs to the past of the new observer.
                self.commit(ctx);
                reply.send(self.listeners.observe());
            }
            StorageMessage::BeginEpoch { epoch, reply } => {
                self.commit(ctx);
                self.epoch = epoch;
                // If the disk fails now, the next commit settles them: nothing is sent before.
                self.leftovers = !landfall_core::planted("recovery-forgotten");
                self.commit(ctx);
                reply.send(());
            }
            StorageMessage::Clear { epoch, reply } => {
                self.commit(ctx);
                self.epoch = epoch;
                self.collect(StorageMessage::Clear { epoch, reply }, ctx);
                self.commit(ctx);
            }
            StorageMessage::Rebuild { reply } => {
                self.commit(ctx);
                reply.send(self.store.remake().map_err(WriteError::from));
            }
            StorageMessage::Trim { retention, reply } => {
                self.commit(ctx);
                let trimmed = self.store.trim(&retention, self.env.clock.wall_ms());
                reply.send(trimmed.map_err(WriteError::from));
            }
            command @ (StorageMessage::Write { .. }
            | StorageMessage::Undo { .. }
            | StorageMessage::MarkSent { .. }
            | StorageMessage::Settle { .. }
            | StorageMessage::ApplyRemote { .. }
            | StorageMessage::RetryParked { .. }
            | StorageMessage::EditParked { .. }
            | StorageMessage::DiscardParked { .. }) => self.collect(command, ctx),
        }
    }
}

actor!(StorageActor);

#[cfg(test)]
mod tests;
