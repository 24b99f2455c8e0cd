//! How actors reach each other: ports, replies and the trace of what went through.
//!
//! Owns [`Port`], [`Reply`] and [`Handle`], the one trait that every actor implements. The rest of the crate says what is
//! sent, this file how.
//!
//! Invariants: 1. messages from one sender to one actor keep their order, held or not; 2. a message to an actor that stopped
//! is answered with [`Gone`], never lost in silence; 3. each handled message is traced before it takes effect. Between
//! an answer and a message to somebody else there is no order: either may be heard of first.
//!
//! Bounds: a mailbox has no limit of its own. What can pile up in it is bounded where it comes from: the app's calls by
//! permits in `landfall::DataStore`, frames by the credit of the socket's reader, requests by lanes, notices by the commit
//! they speak of.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use landfall_core::planted;
use tokio::sync::oneshot;

use crate::env::Env;
use crate::flight::Input;

/// The actor is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has stopped")]
pub struct Gone;

/// A message in its envelope.
#[derive(Debug)]
pub struct Envelope<M>(pub(crate) M);

impl<M: Send + 'static> actix::Message for Envelope<M> {
    type Result = ();
}

/// A message enum: each actor has one.
pub trait Message: Send + 'static {
    /// Name of the actor that takes it.
    const ACTOR: &'static str;
    /// Name of the variant, for the trace.
    fn name(&self) -> &'static str;

    /// A fingerprint of what it says, by which a replay sees whether actors said the same; 0 if nobody looks.
    fn print(&self) -> u64 {
        0
    }

    /// What it says, if it comes from the app.
    fn input(&self) -> Option<Input> {
        None
    }
}

/// The way to an actor's mailbox.
pub struct Port<M: Message> {
    recipient: Recipient<Envelope<M>>,
    env: Env,
    held: Arc<Mutex<VecDeque<Held<M>>>>,
}

/// A message that waits at the turnstile of a simulator.
struct Held<M> {
    due_ms: u64,
    message: M,
}

impl<M: Message> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self {
            recipient: self.recipient.clone(),
            env: self.env.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

impl<M: Message> fmt::Debug for Port<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", M::ACTOR)
    }
}

impl<M: Message> Port<M> {
    /// The port of an actor.
    pub fn new<A>(address: &Addr<A>, env: Env) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Envelope<M>>,
    {
        Self {
            recipient: address.clone().recipient(),
            env,
            held: Arc::default(),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Gone`] if the actor has stopped.
    pub fn tell(&self, message: M) -> Result<(), Gone> {
        let hold_ms = self.env.schedule.hold_ms(M::ACTOR);
        let mut held = self.held();
        // As long as one is held none may pass it, also when it is due by now: whoever lets it through may not have
        // been woken yet.
        if hold_ms == 0 && held.is_empty() {
            drop(held);
            return self.deliver(message);
        }
        let earliest_ms = held.back().map_or(0, |last| last.due_ms);
        let due_ms = earliest_ms.max(self.env.clock.now_ms() + hold_ms);
        held.push_back(Held { due_ms, message });
        if held.len() == 1 {
            actix::spawn(self.clone().let_through());
        }
        Ok(())
    }

    /// Delivers what is held, each at its time, until nothing is.
    async fn let_through(self) {
        loop {
            let Some(due_ms) = self.held().front().map(|first| first.due_ms) else {
                return;
            };
            let wait_ms = due_ms.saturating_sub(self.env.clock.now_ms());
            actix::clock::sleep(Duration::from_millis(wait_ms)).await;
            let mut held = self.held();
            let Some(first) = held.pop_front() else { return };
            // The actor may have stopped meanwhile; the sender was told nothing, as with a message lost in a mailbox
            // that is dropped. Only a simulator holds messages.
            self.deliver(first.message).unwrap_or(());
        }
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Held<M>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: M) -> Result<(), Gone> {
        if !self.recipient.connected() {
            return Err(Gone);
        }
        self.recipient.do_send(Envelope(message));
        Ok(())
    }

    /// Sends a message that carries a reply, and waits for the answer.
    ///
    /// # Errors
    /// [`Gone`] if the actor has stopped, or stops before it answers.
    pub async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> M) -> Result<T, Gone> {
        let (sender, receiver) = oneshot::channel();
        let message = message(Reply(Way::Own(sender)));
        let unanswered = planted("save-not-answered") && message.name() == "Write"
            || planted("clear-not-answered") && M::ACTOR == "Supervisor" && message.name() == "Clear";
        self.tell(message)?;
        if unanswered {
            std::future::pending::<()>().await;
        }
        let answer = receiver.await.map_err(|_| Gone)?;
        let hold_ms = self.env.schedule.hold_answer_ms(M::ACTOR);
        if hold_ms > 0 {
            actix::clock::sleep(Duration::from_millis(hold_ms)).await;
        }
        Ok(answer)
    }
}

/// Where the answer to a message goes.
pub struct Reply<T>(Way<T>);

/// A way back to whoever asked.
enum Way<T> {
    Own(oneshot::Sender<T>),
    /// Shared with a twin; empty once one of the two has answered.
    Shared(Arc<Mutex<Option<oneshot::Sender<T>>>>),
}

impl<T> Reply<T> {
    /// A reply and the end at which it arrives.
    pub fn channel() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Way::Own(sender)), receiver)
    }

    /// Answers. Whoever asked may have given up waiting, which is no fault of the actor's; or have had the answer of a
    /// `twin`.
    pub fn send(self, answer: T) {
        let sender = match self.0 {
            Way::Own(sender) => Some(sender),
            Way::Shared(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).take(),
        };
        if let Some(sender) = sender {
            sender.send(answer).unwrap_or(());
        }
    }

    /// A second reply to the same question, of which the first answer counts. Whoever asked hears that the actor is gone
    /// only when both are.
    pub(crate) fn twin(&mut self) -> Self {
        if let Way::Shared(shared) = &self.0 {
            return Self(Way::Shared(Arc::clone(shared)));
        }
        let shared = Arc::new(Mutex::new(None));
        if let Way::Own(sender) = std::mem::replace(&mut self.0, Way::Shared(Arc::clone(&shared))) {
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
        Self(Way::Shared(shared))
    }

    /// Whether a twin has answered.
    pub(crate) fn is_answered(&self) -> bool {
        match &self.0 {
            Way::Own(_) => false,
            Way::Shared(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).is_none(),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// What an actor does with its messages; [`crate::actor!`] connects it to actix.
pub trait Handle: Actor<Context = Context<Self>> {
    /// The actor's messages.
    type Message: Message;

    /// The environment it was made with.
    fn env(&self) -> &Env;

    /// Called once, before the first message.
    fn begin(&mut self, _: &mut Context<Self>) {}

    /// Handles one message.
    fn handle(&mut self, message: Self::Message, ctx: &mut Context<Self>);
}

/// Makes a [`Handle`] an actix actor that traces each message before handling it.
#[macro_export]
macro_rules! actor {
    ($actor:ty) => {
        impl actix::Actor for $actor {
            type Context = actix::Context<Self>;

            fn started(&mut self, ctx: &mut actix::Context<Self>) {
                $crate::Handle::begin(self, ctx);
            }
        }

        impl actix::Handler<$crate::Envelope<<$actor as $crate::Handle>::Message>> for $actor {
            type Result = ();

            fn handle(
                &mut self,
                envelope: $crate::Envelope<<$actor as $crate::Handle>::Message>,
                ctx: &mut actix::Context<Self>,
            ) {
                $crate::flight::receive(self, envelope.into_message(), ctx);
            }
        }
    };
}

impl<M> Envelope<M> {
    /// The message.
    pub fn into_message(self) -> M {
        self.0
    }
}

/// Tells the trace of a message about to be handled.
pub fn trace_message<M: Message>(env: &Env, message: &M) {
    env.trace.handled(env.clock.now_ms(), M::ACTOR, message.name());
}

#[cfg(test)]
mod tests;
