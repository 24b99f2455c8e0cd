//! OutboxActor: which mutation goes next, and when.
//!
//! Owns a window of the waiting mutations in memory and the order in which they may be taken; the rules are
//! `landfall_core::Outbox`. The outbox itself is on disk, written by `StorageActor` alone: this actor can be lost at
//! any time. Asks no one; tells `MutationProcessor` that there is work and the hub that the outbox filled or emptied.
//!
//! Invariants: 1. the window is a prefix of the outbox, so everything that could hold a mutation back is in it;
//! 2. nothing is taken while paused; 3. a mutation is with the sender at most once.

use actix::{ActorContext, Context};

use landfall_core::{Errand, Outbox, Seq};
use landfall_storage::{OutboxChange, Reader};

use crate::actor;
use crate::env::Env;
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
        /// What to do with which, oldest first.
        reply: Reply<Vec<(Seq, Errand)>>,
    },
    /// From `MutationProcessor`: these were not sent after all.
    GiveBack(Vec<Seq>),
    /// From the app: answer once nothing waits any more.
    Drained {
        /// Sent when the outbox is empty.
        reply: Reply<()>,
    },
    /// From `StorageActor`: a commit changed the outbox.
    Committed(Vec<OutboxChange>),
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
            Self::Committed(_) => "Committed",
            Self::Cleared => "Cleared",
            Self::Halt => "Halt",
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
    /// What the hub was last told.
    told_empty: Option<bool>,
    draining: Vec<Reply<()>>,
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
            draining: Vec::new(),
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
            .reader
            .snapshot()
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

    /// Tells whoever wants to know that the outbox filled or emptied, and the sender that there is work.
    fn announce(&mut self) {
        let is_empty = self.complete && self.window.is_empty();
        if self.told_empty != Some(is_empty) {
            self.told_empty = Some(is_empty);
            self.hub
                .tell(HubMessage::Publish(HubEvent::OutboxStatus { is_empty }))
                .unwrap_or(());
        }
        if is_empty {
            self.draining.drain(..).for_each(|reply| reply.send(()));
        } else if let Some(processor) = &self.processor {
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
                self.window = Outbox::default();
                self.complete = false;
                self.told_empty = None;
                self.processor = Some(processor);
                self.load();
                self.announce();
            }
            OutboxMessage::Pause => self.processor = None,
            OutboxMessage::Take { max, reply } => {
                let taken = if self.processor.is_some() {
                    self.window.take(max)
                } else {
                    Vec::new()
                };
                reply.send(taken);
            }
            OutboxMessage::GiveBack(mutations) => {
                mutations.into_iter().for_each(|seq| self.window.give_back(seq));
            }
            OutboxMessage::Drained { reply } => {
                self.draining.push(reply);
                self.load();
                self.announce();
            }
            OutboxMessage::Committed(changes) => {
                changes.into_iter().for_each(|change| self.take_over(change));
                self.load();
                self.announce();
            }
            OutboxMessage::Cleared => {
                self.window = Outbox::default();
                self.complete = true;
                self.announce();
            }
            OutboxMessage::Halt => ctx.stop(),
        }
    }
}

actor!(OutboxActor);
