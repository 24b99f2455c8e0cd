//! What goes into a step of the machine and what comes out of it.
//!
//! Owns [`Input`] and [`Effect`]. The shell turns messages into the one, and carries out the other.

use std::collections::BTreeSet;

use landfall_core::{Errand, Mutation, RemoteRecord, Resolution, Seq, Topic};
use landfall_wire::{Failure, MutationReply};

use crate::handlers::ErrorKind;
use crate::mutation::decided::Known;
use crate::mutation::verdict::{Fetched, Report};
use crate::storage::Settlement;

/// What the machine hears.
#[derive(Debug)]
pub(in crate::mutation) enum Input {
    /// From the outbox: there is work.
    Wake,
    /// From the supervisor: take nothing until the next wake.
    Pause,
    /// The deadline has come.
    TimerDue,
    /// The outbox gave these.
    Taken(Vec<(Seq, Errand, Topic)>),
    /// Of the mutations that were to be marked sent, these were.
    Marked {
        asked: Vec<Seq>,
        marked: Result<Vec<Mutation>, String>,
    },
    /// A mutation whose outcome is unknown was read; `None` if it does not wait any more.
    Loaded {
        seq: Seq,
        loaded: Result<Option<Box<Mutation>>, String>,
    },
    /// A mutation cannot be put on the wire.
    Unsendable {
        seq: Seq,
        kind: ErrorKind,
        reason: String,
    },
    /// The server answered a mutation, or will not.
    Replied { seq: Seq, reply: Box<MutationReply> },
    /// The server answered what it has of a record, or will not.
    Fetched {
        seq: Seq,
        fetched: Result<Fetched, Box<Failure>>,
    },
    /// The conflict handler answered, or failed; and what the store knew when it was asked.
    Decided {
        seq: Seq,
        resolution: Result<Resolution, Undecided>,
        known: Box<Known>,
    },
    /// A settlement is stored, or could not be.
    Settled { seq: Seq, settled: Result<(), String> },
}

/// Why a conflict handler has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mutation) enum Undecided {
    Panicked,
    TookTooLong,
}

impl Input {
    /// A name for traces.
    pub(in crate::mutation) fn name(&self) -> &'static str {
        match self {
            Self::Wake => "Wake",
            Self::Pause => "Pause",
            Self::TimerDue => "TimerDue",
            Self::Taken(_) => "Taken",
            Self::Marked { marked: Ok(_), .. } => "Marked",
            Self::Marked { marked: Err(_), .. } => "NotMarked",
            Self::Loaded { .. } => "Loaded",
            Self::Unsendable { .. } => "Unsendable",
            Self::Replied { .. } => "Replied",
            Self::Fetched { .. } => "Fetched",
            Self::Decided { .. } => "Decided",
            Self::Settled { settled: Ok(()), .. } => "Settled",
            Self::Settled { settled: Err(_), .. } => "NotSettled",
        }
    }
}

/// What the shell is to do.
#[derive(Debug)]
pub(in crate::mutation) enum Effect {
    /// Ask the outbox for work that is of none of these topics.
    Take { max: usize, held_up: BTreeSet<Topic> },
    /// Give mutations back to the outbox.
    GiveBack(Vec<Seq>),
    /// Have mutations marked sent.
    Mark(Vec<Seq>),
    /// Read a mutation from the store.
    Load(Seq),
    /// Send a mutation.
    Send(Box<Mutation>),
    /// Ask the server for a mutation's record.
    Fetch(Box<Mutation>),
    /// Ask the conflict handler.
    Decide {
        mutation: Box<Mutation>,
        remote: Box<RemoteRecord>,
    },
    /// Store what became of a mutation.
    Settle { seq: Seq, settlement: Settlement },
    /// Tell the hub that sending waits for the app.
    AnnouncePaused { reason: String },
    /// Tell the app of an error.
    Report(Report),
}
