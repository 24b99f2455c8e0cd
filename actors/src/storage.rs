//! StorageActor: the only writer of the store.
//!
//! Owns the group commit: commands are collected while the last commit is on its way to the disk, carried out in one
//! transaction, and answered after its commit. What a command does to the store is `storage/write.rs`, with `plan.rs` and
//! `remote.rs`; who hears of it is `storage/notice.rs`. Reads do not come here: a [`landfall_storage::Reader`] takes
//! snapshots beside it.
//!
//! Invariants: 1. no reply before the commit, but refusals that were decided on nothing that is not committed; 2. observers
//! and the outbox hear of changes in commit order, after the commit; 3. a command of an older epoch changes nothing and is
//! counted; 4. what is on disk is heard of, also if the disk failed to say so at first.

mod again;
mod logged;
mod message;
mod notice;
mod plan;
mod quarantine;
mod recorded;
mod remote;
mod write;

use std::collections::BTreeSet;
use std::time::Duration;

use actix::prelude::*;

use landfall_core::Seq;
use landfall_storage::{StorageError, Store};

use crate::actor;
use crate::env::Env;
use crate::hub::HubMessage;
use crate::meter::Count;
use crate::outbox::OutboxMessage;
use crate::port::{Handle, Port};

pub use message::{
    ChangeSet, Epoch, LeftOver, Observed, RemoteBatch, RemoteCounts, Settlement, StorageMessage, WriteDone,
    WriteError, WriteOp,
};

/// Commands in one commit. More would make each caller wait longer than the disk saves it.
pub const WRITE_BATCH_MAX: usize = 256;

/// Change sets that wait for a slow observer, of the models that it asked for: a second of busy writing. To one that falls
/// further behind nothing is sent until it has taken note of that and read anew.
pub const OBSERVER_BACKLOG_MAX: usize = 1_024;

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
    /// Mutations that may be in flight by the log, but were not sent: whoever marked them was told that the commit failed.
    unsent: BTreeSet<Seq>,
}

/// A commit whose outcome is unknown.
#[derive(Debug)]
struct Unsure {
    /// The newest entry, if it is there.
    planned: Seq,
    /// What there is to tell then.
    changes: notice::Changes,
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
            unsent: BTreeSet::new(),
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
            self.env.meter.add(Count::CommitsFull, 1);
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
        let unsent = &self.unsent;
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
        self.env.meter.add(Count::Stale, batch.stale);
        if written.is_err() {
            self.env.meter.add(Count::CommitsFailed, 1);
        }
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
                let planned = batch.newest();
                self.unsent.extend(batch.take_marked());
                // Every command was carried out: it is the commit that failed.
                let changes = batch.fail(&WriteError::from(error));
                self.unsure = planned.map(|planned| Unsure { planned, changes });
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
        let scrubbed = if batch.cleared() { self.scrub() } else { Ok(()) };
        self.leftovers = false;
        self.unsent.clear();
        // Who is answered and asks the outbox next must find there what was written.
        let (meter, commands) = (&self.env.meter, batch.len() as u64);
        meter.add(Count::Commits, 1);
        meter.add(Count::Commands, commands);
        meter.raise(Count::CommandsMax, commands);
        self.listeners.hear(batch.take_changes(), meter);
        batch.succeed(&scrubbed.map_err(WriteError::from));
    }

    /// Takes what was cleared out of the file itself. If that fails the data is gone for everybody who asks the store; only
    /// the bytes of free pages are left, until the next clear or opening.
    fn scrub(&mut self) -> Result<(), StorageError> {
        self.store.scrub().map(drop).map_err(|error| {
            tracing::warn!(%error, "what was cleared could not be removed from the file itself");
            StorageError::Unscrubbed {
                cause: error.to_string(),
            }
        })
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
            if unsure.changes.cleared {
                // Whoever asked was told of an error then.
                self.scrub().unwrap_or(());
            }
            // Whoever asked was told of an error; those who only listen must not miss what is there.
            self.env.meter.add(Count::Commits, 1);
            self.listeners.hear(unsure.changes, &self.env.meter);
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
            StorageMessage::Observe { models, reply } => {
                // What was collected before belongs to the past of the new observer.
                self.commit(ctx);
                reply.send(self.listeners.observe(models));
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
            StorageMessage::Compact { reply } => {
                self.commit(ctx);
                reply.send(self.store.compact().map_err(WriteError::from));
            }
            StorageMessage::Rebuild { reply } => {
                self.commit(ctx);
                let made = self.store.remake();
                if let Ok(made) = &made {
                    tracing::info!(newest = %made.newest, entries = made.entries, records = made.records, "rebuilt from the log");
                }
                reply.send(made.map_err(WriteError::from));
            }
            StorageMessage::Trim { retention, reply } => {
                self.commit(ctx);
                let trimmed = self.store.trim(&retention, self.env.clock.wall_ms());
                if let Ok(trimmed) = &trimmed {
                    tracing::info!(start = %trimmed.start, entries = trimmed.entries, "the log is trimmed");
                }
                reply.send(trimmed.map_err(WriteError::from));
            }
            command @ (StorageMessage::Write { .. }
            | StorageMessage::Undo { .. }
            | StorageMessage::MarkSent { .. }
            | StorageMessage::Settle { .. }
            | StorageMessage::ApplyRemote { .. }
            | StorageMessage::RetryMismatched { .. }
            | StorageMessage::RetryParked { .. }
            | StorageMessage::EditParked { .. }
            | StorageMessage::DiscardParked { .. }) => self.collect(command, ctx),
        }
    }
}

actor!(StorageActor);

#[cfg(test)]
mod tests;
