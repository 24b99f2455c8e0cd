//! What a flight recorder sees of the actors, and how a recording drives them again.
//!
//! Owns the seams: [`Deck`] gives each actor an [`Env`] of its own with a [`Seat`] in it, and the seat hears of every step
//! that the actor takes, of every view of the store that it looks at, of every commit, and of every call to the outside.
//! A recorder notes all of it; a replay also decides when a step is taken and what a call brings. Without a deck none
//! of this costs more than looking whether there is one. What is written to a file, and how, is not this module's.
//!
//! Invariants: 1. a step is told before it takes effect, on the thread that takes it; 2. whatever an actor learns from
//! outside during a step is told between that step and the actor's next one; 3. a step that has to wait for its turn is not
//! taken before, and not at all once its actor has stopped.

mod data;
#[cfg(test)]
mod prints;
mod settings;

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::BoxFuture;

use landfall_core::Seq;
use landfall_storage::{Reader, Snapshot, StorageError};

use crate::env::Env;
use crate::port::{Handle, Message, trace_message};
pub(crate) use data::without_queries;
pub use data::{Answer, Bytes, Commit, Decided, Failed, FailedKind, Fault, FaultKind, Input, OpInput};
pub use settings::SettingsInput;

/// Gives actors their seats; one for each store.
pub trait Deck: Send + Sync {
    /// The environment of an actor that is being made. `run` tells the actors of one run of the sync engine from those
    /// of another.
    fn board(&self, actor: &'static str, run: u64, env: &Env) -> Env;
}

/// What has an actor take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A message that was sent to it: it takes each, in the order in which they arrive.
    Message,
    /// A timer, which is offered when it is set, and is not taken if it is cancelled before it runs out.
    Timer,
    /// Work that it waited for is done.
    Resumed,
}

/// Hears of what one actor does; a replay also answers.
pub trait Seat: Send + Sync {
    /// A step could be taken now. What is returned resolves when it is its turn; `None` means at once.
    fn turn(&self, _step: &'static str, _print: u64, _prompt: Prompt) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// A step is taken now. `input` is what the app said, if the step comes from the app.
    fn taken(&self, step: &'static str, print: u64, input: Option<Input>);

    /// The actor looked at the store, whose newest entry was `head`; `None` if it could not be read. Returns whether
    /// that stands; if not, the actor is told that the disk failed.
    fn looked(&self, head: Option<Seq>) -> bool;

    /// What is to become of the commit that begins now, if that is decided from outside.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// A commit is over.
    fn committed(&self, commit: Commit);

    /// The actor asks something of the outside. Returns the number of the call.
    fn called(&self, what: &'static str, print: u64) -> u64;

    /// The call was answered.
    fn answered(&self, call: u64, answer: Answer);

    /// The answer to a call, if it is decided from outside.
    fn answer_of(&self, _call: u64) -> Option<BoxFuture<'static, Answer>> {
        None
    }
}

/// Whether, and by whom, actors are watched.
#[derive(Clone, Default)]
pub struct Flight {
    /// Who gives seats to actors that are made.
    pub deck: Option<Arc<dyn Deck>>,
    /// The seat of the actor whose environment this is.
    pub seat: Option<Arc<dyn Seat>>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.deck.is_some() {
            "Flight(watched)"
        } else {
            "Flight"
        })
    }
}

impl Flight {
    fn turn(&self, step: &'static str, print: u64, prompt: Prompt) -> Option<BoxFuture<'static, ()>> {
        self.seat.as_ref()?.turn(step, print, prompt)
    }

    fn taken(&self, step: &'static str, print: u64, input: Option<Input>) {
        if let Some(seat) = &self.seat {
            seat.taken(step, print, input);
        }
    }
}

impl Env {
    /// The environment of an actor that is being made.
    #[must_use]
    pub fn of(&self, actor: &'static str, run: u64) -> Self {
        match &self.flight.deck {
            Some(deck) => deck.board(actor, run, self),
            None => self.clone(),
        }
    }

    /// Looks at the store, and tells the seat which commit was seen.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn look(&self, reader: &Reader) -> Result<Snapshot, StorageError> {
        let Some(seat) = &self.flight.seat else {
            return reader.snapshot();
        };
        let seen = reader
            .snapshot()
            .and_then(|snapshot| Ok((snapshot.log_bounds()?.1, snapshot)));
        match seen {
            Ok((head, snapshot)) if seat.looked(Some(head)) => Ok(snapshot),
            Ok(_) => Err(StorageError::Io {
                cause: "as it was recorded".to_owned(),
            }),
            Err(error) => {
                seat.looked(None);
                Err(error)
            }
        }
    }
}

/// Has an actor handle a message: now, or when it is its turn.
pub fn receive<A: Handle>(actor: &mut A, message: A::Message, ctx: &mut Context<A>) {
    let Some(seat) = &actor.env().flight.seat else {
        trace_message(actor.env(), &message);
        let _handling = span_of(&message).entered();
        return actor.handle(message, ctx);
    };
    let (step, print) = (message.name(), message.print());
    let take = move |actor: &mut A, ctx: &mut Context<A>| {
        actor.env().flight.taken(step, print, message.input());
        trace_message(actor.env(), &message);
        let _handling = span_of(&message).entered();
        actor.handle(message, ctx);
    };
    match seat.turn(step, print, Prompt::Message) {
        None => take(actor, ctx),
        Some(turn) => {
            ctx.spawn(turn.into_actor(actor).map(move |(), actor, ctx| take(actor, ctx)));
        }
    }
}

/// The span in which a message is handled; where nobody listens it costs a comparison.
fn span_of<M: Message>(message: &M) -> tracing::Span {
    tracing::trace_span!(target: "landfall::actor", "handle", actor = M::ACTOR, message = message.name())
}

/// Has an actor take a step after a while, or when it is its turn.
pub(crate) fn later<A: Handle>(
    actor: &A,
    ctx: &mut Context<A>,
    step: &'static str,
    delay: Duration,
    then: impl FnOnce(&mut A, &mut Context<A>) + 'static,
) -> SpawnHandle {
    let take = move |actor: &mut A, ctx: &mut Context<A>| {
        actor.env().flight.taken(step, 0, None);
        then(actor, ctx);
    };
    match actor.env().flight.turn(step, 0, Prompt::Timer) {
        None => ctx.run_later(delay, take),
        Some(turn) => ctx.spawn(turn.into_actor(actor).map(move |(), actor, ctx| take(actor, ctx))),
    }
}

/// Waits for `work`, and then for the turn of the step that goes on with what it brought.
pub(crate) async fn resume<T>(env: Env, step: &'static str, work: impl Future<Output = T>) -> T {
    let done = work.await;
    if let Some(turn) = env.flight.turn(step, 0, Prompt::Resumed) {
        turn.await;
    }
    env.flight.taken(step, 0, None);
    done
}

/// The generation of fingerprints that this program makes. Those of another generation cannot be compared with them: it
/// is raised whenever a message that is printed, or anything within it, says the same in another way.
pub const PRINTS: u32 = 2;

/// A fingerprint of what a message says, from its `Debug` output: equal in a run and in its replay by a program of the same
/// generation ([`PRINTS`]), of no other use.
pub fn print_of(told: &impl fmt::Debug) -> u64 {
    struct Printing(Fnv);
    impl fmt::Write for Printing {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            #[cfg(test)]
            prints::note(text);
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut printing = Printing(Fnv::default());
    // Writing into a hash cannot fail; what a `Debug` of its own makes of errors does not matter here.
    fmt::write(&mut printing, format_args!("{told:?}")).unwrap_or(());
    printing.0.finish()
}

/// The 64-bit FNV-1a hash: the same on every machine and in every version, unlike the standard library's.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The fingerprint of bytes.
pub fn print_of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(bytes);
    hash.finish()
}
