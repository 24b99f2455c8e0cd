//! OutboxActor: which mutation goes next, and when.
//!
//! Owns a window of the waiting mutations in memory and the order in which they may be taken; the rules are
//! `landfall_core::Outbox`. The outbox itself is on disk, written by `StorageActor` alone: this actor can be lost at
//! any time. Asks no one; tells `MutationProcessor` that there is work, the hub that the outbox filled or emptied, and the
//! app of what keeps it from seeing all that waits.
//!
//! Invariants: 1. the window is a prefix of the outbox, so everything that could hold a mutation back is in it, but for what
//! cannot be read; 2. nothing is taken while paused; 3. a mutation is with the sender at most once; 4. what is held back,
//! however much it is, takes no place from what may go: only [`HELD_BACK_MAX`] bounds it, and that is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{ActorContext, Context};
use tokio::sync::mpsc;

use landfall_core::{Errand, Mutation, Outbox, Seq, Topic, planted};
use landfall_storage::{OutboxChange, Reader, StorageError};

use crate::actor;
use crate::config::SyncSettings;
use crate::env::Env;
use crate::flight::{Input, later};
use crate::handlers::{ErrorKind, Process, SyncError};
use crate::hub::{HubEvent, HubMessage};
use crate::mutation::MutationMessage;
use crate::port::{Handle, Message, Port, Reply};

/// Mutations in memory that may go, or are with the sender; one page more may be there. Enough to keep all lanes busy.
pub const WINDOW_MAX: usize = 1_024;

/// Mutations in memory that may not go: parked, behind what is parked, without credentials, or behind others of their record.
/// Some 600 bytes each, so 60 MB at the bound, which is as much as one delete may take along. What waits behind so many is
/// not looked at before some of them have gone; the error handler is told.
pub const HELD_BACK_MAX: usize = 100_000;

/// Mutations that are read at a time. Each is read once in a run: loading goes on where the last page ended, and whether one
/// may go is judged when it comes and where something changes that it waits for, never by going through all of them.
const PAGE: usize = 256;

/// Mutations of which the app is told that they cannot be read, each once; of more it hears in the log alone.
const UNREADABLE_TOLD_MAX: usize = 100;

/// Messages to the [`OutboxActor`].
#[derive(Debug)]
pub enum OutboxMessage {
    /// From the supervisor: sending may begin; tell this processor of work.
    Resume {
        /// Who sends.
        processor: Port<MutationMessage>,
        /// Whose error handler hears of what cannot be sent.
        settings: Box<SyncSettings>,
    },
    /// From the supervisor: nothing is taken from here on.
    Pause,
    /// From `MutationProcessor`: give me up to this many.
    Take {
        /// Free lanes.
        max: usize,
        /// What is not sent now, whatever waits of it.
        held_up: BTreeSet<Topic>,
        /// What to do with which, oldest first.
        reply: Reply<Vec<(Seq, Errand, Topic)>>,
    },
    /// From `MutationProcessor`: these were not sent after all.
    GiveBack(Vec<Seq>),
    /// From the app: answer once nothing waits any more, or once so much time has passed.
    Drained {
        /// How long to wait; for ever if nothing is said.
        within: Option<Duration>,
        /// Whether the outbox is empty.
        reply: Reply<bool>,
    },
    /// From the app: tell of each change of what waits.
    Watch {
        /// Where the watcher's end goes. It holds one nudge at most: several changes in a row are one to a slow reader.
        reply: Reply<mpsc::Receiver<()>>,
    },
    /// From the supervisor: at the start of a run the hub was told whether changes wait.
    Told {
        /// Whether none does.
        is_empty: bool,
    },
    /// From `StorageActor`: a commit changed the outbox.
    Committed {
        /// What changed.
        changes: Vec<OutboxChange>,
        /// Whether changes wait, as the hub was told last with this commit, if it was told.
        told_empty: Option<bool>,
    },
    /// From `StorageActor`: all data was cleared.
    Cleared,
    /// From the owner: end at once.
    Halt,
}

impl Message for OutboxMessage {
    const ACTOR: &'static str = "OutboxActor";

    fn name(&self) -> &'static str {
        match self {
            Self::Resume { .. } => "Resume",
            Self::Pause => "Pause",
            Self::Take { .. } => "Take",
            Self::GiveBack(_) => "GiveBack",
            Self::Drained { .. } => "Drained",
            Self::Watch { .. } => "Watch",
            Self::Told { .. } => "Told",
            Self::Committed { .. } => "Committed",
            Self::Cleared => "Cleared",
            Self::Halt => "Halt",
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Take { max, .. } => *max as u64,
            Self::GiveBack(mutations) => mutations.iter().fold(1, |print, seq| print * 31 + seq.0),
            // What was committed is checked by the log itself.
            Self::Committed { changes, .. } => changes.len() as u64,
            Self::Told { is_empty } => u64::from(*is_empty),
            Self::Resume { .. }
            | Self::Pause
            | Self::Drained { .. }
            | Self::Watch { .. }
            | Self::Cleared
            | Self::Halt => 0,
        }
    }

    fn input(&self) -> Option<Input> {
        match self {
            Self::Drained { within, .. } => {
                let ms = |within: Duration| u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                Some(Input::Drained(within.map(ms)))
            }
            Self::Watch { .. } => Some(Input::Watch),
            Self::Resume { .. }
            | Self::Pause
            | Self::Take { .. }
            | Self::GiveBack(_)
            | Self::Told { .. }
            | Self::Committed { .. }
            | Self::Cleared
            | Self::Halt => None,
        }
    }
}

/// Chooses what is sent next.
#[derive(Debug)]
pub struct OutboxActor {
    env: Env,
    reader: Reader,
    hub: Port<HubMessage>,
    processor: Option<Port<MutationMessage>>,
    /// Those of the newest run; nothing before the first.
    settings: Option<Box<SyncSettings>>,
    window: Outbox,
    /// Up to where the outbox was read; what comes to lie before is in the window.
    reached: Seq,
    /// What was read of it and could not be: it waits on disk, and nobody can send it.
    unreadable: BTreeSet<Seq>,
    /// Whether everything that waits was read.
    complete: bool,
    /// [`HELD_BACK_MAX`], but for tests.
    held_back_max: usize,
    /// What the sender does not want now, as it said last.
    held_up: BTreeSet<Topic>,
    /// Whether the app was told in this run that more is held back than is looked at.
    told_crowded: bool,
    /// Of which mutations the app was told that they cannot be read.
    told_unreadable: BTreeSet<Seq>,
    /// What the hub was last told; nothing before the first start.
    told_empty: Option<bool>,
    /// Those who wait until nothing waits, by number.
    draining: BTreeMap<u64, Reply<bool>>,
    next_draining: u64,
    watchers: Vec<mpsc::Sender<()>>,
}

impl OutboxActor {
    /// A paused outbox.
    pub fn new(env: Env, reader: Reader, hub: Port<HubMessage>) -> Self {
        Self {
            env,
            reader,
            hub,
            processor: None,
            settings: None,
            window: Outbox::default(),
            reached: Seq::ZERO,
            unreadable: BTreeSet::new(),
            complete: false,
            held_back_max: HELD_BACK_MAX,
            held_up: BTreeSet::new(),
            told_crowded: false,
            told_unreadable: BTreeSet::new(),
            told_empty: None,
            draining: BTreeMap::new(),
            next_draining: 0,
            watchers: Vec::new(),
        }
    }

    /// Reads on until there is enough that may go, or nothing more.
    fn load(&mut self) {
        if self.complete || !self.has_room() {
            return;
        }
        let snapshot = match self.env.look(&self.reader) {
            Ok(snapshot) => snapshot,
            // The next commit tries again; until then what is in the window goes on.
            Err(error) => return tracing::warn!(%error, "the outbox cannot be read"),
        };
        while !self.complete && self.has_room() {
            match snapshot.pending_each(self.reached, PAGE) {
                Ok(page) => self.take_in(page),
                Err(error) => return tracing::warn!(%error, "the outbox cannot be read"),
            }
        }
    }

    fn take_in(&mut self, page: Vec<(Seq, Result<Mutation, StorageError>)>) {
        self.complete = page.len() < PAGE;
        for (seq, read) in page {
            self.reached = seq;
            match read {
                Ok(mutation) => self.window.put(&mutation),
                Err(error) => self.pass_over(seq, &error),
            }
        }
        if !self.complete && self.is_crowded() {
            self.tell_crowded();
        }
    }

    /// Whether more of what waits is to be looked at.
    fn has_room(&self) -> bool {
        self.window.moving_len(&self.held_up) < WINDOW_MAX && !self.is_crowded()
    }

    fn is_crowded(&self) -> bool {
        let read = self.window.len() + self.unreadable.len();
        read - self.window.moving_len(&self.held_up) >= self.held_back_max
    }

    /// Leaves out a mutation that cannot be read; the others go on.
    fn pass_over(&mut self, seq: Seq, error: &StorageError) {
        tracing::warn!(%error, %seq, "a change that waits cannot be read");
        self.unreadable.insert(seq);
        if self.told_unreadable.contains(&seq) || self.told_unreadable.len() >= UNREADABLE_TOLD_MAX {
            return;
        }
        let message = format!("the waiting change {seq} cannot be read and is not sent: {error}");
        let suggestion = "the other changes go on; make the store again from its log, which has the change as well (`rebuild`), \
                          and start sync again";
        if self.report(message, suggestion) {
            self.told_unreadable.insert(seq);
        }
    }

    fn tell_crowded(&mut self) {
        if self.told_crowded {
            return;
        }
        let message = format!(
            "{} changes wait for others that were refused, for credentials, or for the app; what was made after them \
             is not sent before some of them have gone",
            self.held_back_max
        );
        let suggestion =
            "retry, edit or discard what is parked in the outbox, or sign in; nothing is lost meanwhile";
        self.told_crowded = self.report(message, suggestion);
    }

    /// Tells the app, if there is a run whose error handler could be told.
    fn report(&self, message: String, suggestion: &str) -> bool {
        let Some(settings) = &self.settings else {
            return false;
        };
        settings.report(SyncError {
            kind: ErrorKind::Unknown,
            process: Process::Mutate,
            message,
            error_type: None,
            model: None,
            key: None,
            operation: None,
            local: None,
            remote: None,
            record: None,
            base: None,
            suggestion: suggestion.to_owned(),
        });
        true
    }

    /// Forgets what was read, and what of it is with the sender.
    fn forget(&mut self) {
        self.window = Outbox::default();
        self.unreadable.clear();
        self.reached = Seq::ZERO;
        self.complete = false;
    }

    fn wait_for_empty(&mut self, within: Option<Duration>, reply: Reply<bool>, ctx: &mut Context<Self>) {
        let number = self.next_draining;
        self.next_draining += 1;
        self.draining.insert(number, reply);
        if let Some(within) = within {
            later(self, ctx, "WaitedLong", within, move |actor, _| {
                if let Some(reply) = actor.draining.remove(&number) {
                    reply.send(false);
                }
            });
        }
    }

    /// Tells whoever watches that something changed; one who has not looked since the last time knows already.
    fn nudge(&mut self) {
        self.watchers
            .retain(|watcher| !matches!(watcher.try_send(()), Err(mpsc::error::TrySendError::Closed(()))));
    }

    fn take_over(&mut self, change: OutboxChange) {
        match change {
            OutboxChange::Removed(mutation) => {
                self.window.remove(mutation.seq);
                self.unreadable.remove(&mutation.seq);
            }
            OutboxChange::Put(mutation) => {
                if mutation.seq <= self.reached || (self.complete && self.has_room()) {
                    self.unreadable.remove(&mutation.seq);
                    self.reached = self.reached.max(mutation.seq);
                    self.window.put(&mutation);
                } else {
                    self.complete = false;
                    if self.is_crowded() {
                        self.tell_crowded();
                    }
                }
            }
        }
    }

    /// Tells whoever wants to know that the outbox filled or emptied, and the sender that there is work. The hub hears of
    /// what is queued and answered from `StorageActor` already, in its place among the other events of the commit.
    fn announce(&mut self) {
        let is_empty = self.complete && self.window.is_empty() && self.unreadable.is_empty();
        if self.told_empty.is_some_and(|told| told != is_empty) {
            self.told_empty = Some(is_empty);
            self.hub
                .tell(HubMessage::Publish(HubEvent::OutboxStatus { is_empty }))
                .unwrap_or(());
        }
        if is_empty {
            for reply in std::mem::take(&mut self.draining).into_values() {
                reply.send(true);
            }
        } else if let Some(processor) = &self.processor
            && !planted("sender-not-woken")
        {
            processor.tell(MutationMessage::Wake).unwrap_or(());
        }
    }
}

impl Handle for OutboxActor {
    type Message = OutboxMessage;

    fn env(&self) -> &Env {
        &self.env
    }

    fn handle(&mut self, message: OutboxMessage, ctx: &mut Context<Self>) {
        match message {
            OutboxMessage::Resume { processor, settings } => {
                // What an earlier sender had taken is free again: it is gone.
                if !planted("taken-kept-at-resume") {
                    self.forget();
                }
                self.held_up.clear();
                self.told_crowded = false;
                self.processor = Some(processor);
                self.settings = Some(settings);
                self.load();
                self.announce();
            }
            OutboxMessage::Pause => self.processor = None,
            OutboxMessage::Take { max, held_up, reply } => {
                self.held_up = held_up;
                let taken = if self.processor.is_some() {
                    // What is not wanted now makes room for what lies behind it.
                    self.load();
                    self.window.take_except(max, &self.held_up)
                } else {
                    Vec::new()
                };
                reply.send(taken);
            }
            OutboxMessage::GiveBack(mutations) => {
                mutations.into_iter().for_each(|seq| self.window.give_back(seq));
            }
            OutboxMessage::Drained { within, reply } => {
                self.wait_for_empty(within, reply, ctx);
                self.load();
                self.announce();
            }
            OutboxMessage::Watch { reply } => {
                let (sender, receiver) = mpsc::channel(1);
                self.watchers.push(sender);
                reply.send(receiver);
            }
            OutboxMessage::Told { is_empty } => {
                self.told_empty = Some(is_empty);
                self.load();
                self.announce();
            }
            OutboxMessage::Committed { changes, told_empty } => {
                self.nudge();
                self.told_empty = told_empty.or(self.told_empty);
                changes.into_iter().for_each(|change| self.take_over(change));
                self.load();
                self.announce();
            }
            OutboxMessage::Cleared => {
                self.nudge();
                self.forget();
                self.complete = true;
                self.announce();
            }
            OutboxMessage::Halt => ctx.stop(),
        }
    }
}

actor!(OutboxActor);

#[cfg(test)]
mod tests;
