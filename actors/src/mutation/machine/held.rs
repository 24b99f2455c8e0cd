//! What the machine holds of a mutation that is in hand: its stage and where it came from.
//!
//! Owns the types only; what leads from one stage to the next is `machine.rs`.

use landfall_core::{Mutation, RemoteRecord, Topic};

use super::super::gate::Round;
use super::super::pauses::Count;
use super::super::verdict::{Purpose, Report};
use crate::storage::Settlement;

/// A mutation in hand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) stage: Stage,
    pub(super) place: Place,
}

impl Held {
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::PutOff { .. })
    }
}

/// What a mutation in hand is about, and when it went out.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: Topic,
    pub(super) round: Round,
    pub(super) began: Count,
}

#[derive(Debug)]
pub(super) enum Stage {
    Marking,
    Loading,
    Sending(Box<Mutation>),
    Fetching(Box<Mutation>, Purpose),
    /// The server shows no effect of it yet.
    Waiting {
        until_ms: u64,
    },
    /// The server fails at the question about it.
    PutOff {
        until_ms: u64,
    },
    Deciding(Box<Mutation>, Box<RemoteRecord>),
    Settling(Settlement, Option<Report>),
    Resting {
        until_ms: u64,
        settlement: Settlement,
        report: Option<Report>,
    },
}

impl Stage {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Marking => "marking",
            Self::Loading => "loading",
            Self::Sending(_) => "sending",
            Self::Fetching(..) => "fetching",
            Self::Waiting { .. } => "waiting",
            Self::PutOff { .. } => "put off",
            Self::Deciding(..) => "deciding",
            Self::Settling(..) => "settling",
            Self::Resting { .. } => "resting",
        }
    }
}
