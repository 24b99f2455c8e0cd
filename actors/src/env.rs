//! Everything that an actor takes from outside: time, chance, ids, the way to the server, the trace.
//!
//! Owns [`Env`] and its traits. The real implementations are in crate `landfall`, the simulated ones in `landfall-sim`.
//! Nothing else in this crate reads a clock or draws a number.

use std::fmt;
use std::sync::Arc;

use landfall_wire::Transport;

use crate::flight::{Flight, Seat};
use crate::meter::Meter;

/// A clock: monotonic milliseconds for deadlines, wall-clock milliseconds for people.
pub trait Clock: Send + Sync {
    /// Milliseconds since some fixed moment; never goes back.
    fn now_ms(&self) -> u64;
    /// Milliseconds since 1970; may jump.
    fn wall_ms(&self) -> i64;
}

/// A source of chance.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Hears of every message that an actor handles, in order.
pub trait Trace: Send + Sync {
    /// A message was handled at `now_ms` by `actor`.
    fn handled(&self, now_ms: u64, actor: &'static str, message: &'static str);
}

/// Decides how long messages and answers are held on their way; the seam through which a simulator tries orders.
pub trait Schedule: Send + Sync {
    /// Milliseconds to hold the next message for `actor`; 0 delivers at once.
    fn hold_ms(&self, actor: &'static str) -> u64;

    /// Milliseconds to hold an answer that `actor` has just given; 0 hands it over at once. Held or not, what the actor tells
    /// others meanwhile goes its own way, so that whoever asked hears of it before the answer or after it.
    fn hold_answer_ms(&self, _actor: &'static str) -> u64 {
        0
    }
}

/// The world as actors see it.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The way to the server; `None` if there is no server to sync with.
    pub transport: Option<Arc<dyn Transport>>,
    /// Who hears of handled messages.
    pub trace: Arc<dyn Trace>,
    /// How messages are held.
    pub schedule: Arc<dyn Schedule>,
    /// Who records what comes from outside, or plays it again; nobody by default.
    pub flight: Flight,
    /// Where it is counted what happens.
    pub meter: Meter,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("online", &self.transport.is_some())
            .finish_non_exhaustive()
    }
}

impl Env {
    /// The same world as the one who sits there sees it, with that one's clock, chance and way to the server.
    #[must_use]
    pub fn seen_from<S>(&self, seat: Arc<S>, transport: Option<Arc<dyn Transport>>) -> Self
    where
        S: Clock + Entropy + Seat + 'static,
    {
        Self {
            clock: Arc::clone(&seat) as Arc<dyn Clock>,
            entropy: Arc::clone(&seat) as Arc<dyn Entropy>,
            transport,
            trace: Arc::clone(&self.trace),
            schedule: Arc::clone(&self.schedule),
            flight: Flight {
                deck: self.flight.deck.clone(),
                seat: Some(seat),
            },
            meter: self.meter.clone(),
        }
    }

    /// A fresh UUID (version 4) from the environment's entropy.
    pub fn new_id(&self) -> uuid::Uuid {
        let (high, low) = (self.entropy.next_u64(), self.entropy.next_u64());
        uuid::Builder::from_u128((u128::from(high) << 64) | u128::from(low))
            .with_version(uuid::Version::Random)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
    }
}

/// A trace that nobody reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    fn handled(&self, _: u64, _: &'static str, _: &'static str) {}
}

/// A schedule that holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Immediate;

impl Schedule for Immediate {
    fn hold_ms(&self, _: &'static str) -> u64 {
        0
    }
}
