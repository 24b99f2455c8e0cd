//! OutboxActor: which mutation goes next, and when.
//!
//! Owns a window of the waiting mutations in memory and the order in which they may be taken; the rules are
//! `landfall_core::Outbox`. The outbox itself is on disk, written by `StorageActor` alone: this actor can be lost at
//! any time. Asks no one; tells `MutationProcessor` that there is work and the hub that the outbox filled or emptied.
//!
//! Invariants: 1. the window is a prefix of the outbox, so everything that could hold a mutation back is in it;
//! 2. nothing is taken while paused; 3. a mutation is with the sender at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{ActorContext, Context};
use tokio::sync::mpsc;

use landfall_core::{Errand, Outbox, Seq, Topic, planted};
use landfall_storage::{OutboxChange, Reader};

use crate::actor;
use crate::env::Env;
use crate::flight::{Input, later};
use crate::hub::{HubEvent, HubMessage};
use crate::mutation::MutationMessage;
use crate::port::{Handle, Message, Port, Reply};

/// Mutations in memory that are not parked. Enough to keep all lanes busy past a long row of edits of one record.
pub const WINDOW_MAX: usize = 1_024;

/// Messages to the [`OutboxActor`].
#[derive(Debug)]
pub enum OutboxMessage {
    /// From the supervisor: sending may begin; tell this processor of work.
    Resume {
        /// Who sends.
        processor: Port<MutationMessage>,
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
    window: Outbox,
    /// Whether the window holds everything that waits.
    complete: bool,
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
            window: Outbox::default(),
            complete: false,
            told_empty: None,
            draining: BTreeMap::new(),
            next_draining: 0,
            watchers: Vec::new(),
        }
    }

    /// Fills the window up from the disk.
    fn load(&mut self) {
        let room = WINDOW_MAX.saturating_sub(self.window.len() - self.window.parked_len());
        if self.complete || room == 0 {
            return;
        }
        let after = self.window.last().unwrap_or(Seq::ZERO);
        match self
            .env
            .look(&self.reader)
            .and_then(|snapshot| snapshot.pending(after, room))
        {
            Ok(waiting) => {
                self.complete = waiting.len() < room;
                for mutation in &waiting {
                    self.window.put(mutation);
                }
            }
            // The next commit tries again; until then what is in the window goes on.
            Err(error) => tracing::warn!(%error, "the outbox cannot be read"),
        }
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
            OutboxChange::Removed(mutation) => self.window.remove(mutation.seq),
            OutboxChange::Put(mutation) => {
                let inside = self.window.last().is_some_and(|last| mutation.seq <= last);
                let has_room = self.window.len() - self.window.parked_len() < WINDOW_MAX;
                if inside || (self.complete && has_room) {
                    self.window.put(&mutation);
                } else {
                    self.complete = false;
                }
            }
        }
    }

    /// Tells whoever wants to know that the outbox filled or emptied, and the sender that there is work. The hub hears of
    /// what is queued and answered from `StorageActor` already, in its place among the other events of the commit.
    fn announce(&mut self) {
        let is_empty = self.complete && self.window.is_empty();
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
            OutboxMessage::Resume { processor } => {
                // What an earlier sender had taken is free again: it is gone.
                if !planted("taken-kept-at-resume") {
                    self.window = Outbox::default();
                }
                self.complete = false;
                self.processor = Some(processor);
                self.load();
                self.announce();
            }
            OutboxMessage::Pause => self.processor = None,
            OutboxMessage::Take { max, held_up, reply } => {
                let taken = if self.processor.is_some() {
                    self.window.take_except(max, &held_up)
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
                self.window = Outbox::default();
                self.complete = true;
                self.announce();
            }
            OutboxMessage::Halt => ctx.stop(),
        }
    }
}

actor!(OutboxActor);
