//! What a recording consists of.
//!
//! Owns [`Event`] and [`Noted`]. Inputs are there as they were; effects only as fingerprints, which is enough to see that
//! a replay did the same.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};

use landfall_actors::flight::{Answer, Commit, Failed, Input};
use landfall_core::Seq;

/// An actor of a recording; see [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeatName {
    /// Its name.
    pub actor: Cow<'static, str>,
    /// The run of the sync engine that it belongs to; 0 for those that outlive runs.
    pub run: u64,
}

/// An event with its place; see [`Recording`](super::Recording).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Its order number, from 1; each event has its own.
    pub order: u64,
    /// When it happened, in milliseconds of the monotonic clock.
    pub at_ms: u64,
    /// Number of the actor's seat.
    pub seat: u32,
    /// What happened.
    pub event: Event,
}

/// What happens at the border of an actor; see [`Recording`](super::Recording).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// The actor was made; the seat has its name from here on.
    Seated {
        /// The name.
        name: SeatName,
        /// The monotonic clock then, in milliseconds.
        now_ms: u64,
        /// The wall clock then, in milliseconds since 1970.
        wall_ms: i64,
    },
    /// It takes a step: handles a message, or has a timer come due. Both clocks stand still until the next.
    Step {
        /// The name of the message.
        step: Cow<'static, str>,
        /// Fingerprint of what it says; 0 if nobody looks.
        print: u64,
        /// The monotonic clock during the step, in milliseconds.
        now_ms: u64,
        /// The wall clock during the step, in milliseconds since 1970.
        wall_ms: i64,
        /// What the app said, if the message is from the app.
        input: Option<Input>,
    },
    /// It drew a random number, for an identifier or for jitter.
    Draw(u64),
    /// It looked at the store, which had got as far as this entry; nothing if the disk failed.
    Looked(Option<Seq>),
    /// It asked something of the outside.
    Called {
        /// Number of the call, from 1 for each seat.
        call: u64,
        /// What: `Execute`, `Connect`, `Authorize`, `Refused` or `Decide`.
        what: Cow<'static, str>,
        /// Fingerprint of the question.
        print: u64,
    },
    /// A call was answered.
    Answered {
        /// Number of the call.
        call: u64,
        /// The answer.
        answer: Answer,
    },
    /// A frame arrived over the socket that a call opened, or the socket ended.
    Frame {
        /// Number of the call that opened the socket.
        call: u64,
        /// The frame; nothing at the end.
        frame: Option<Result<String, Failed>>,
    },
    /// A frame was handed to the system.
    Sent {
        /// Number of the call that opened the socket.
        call: u64,
        /// Fingerprint of the frame without credentials.
        print: u64,
        /// Why it could not be.
        failed: Option<Failed>,
    },
    /// The storage actor committed, or failed to.
    Committed(Commit),
    /// The store was closed in good order.
    End {
        /// The newest entry.
        head: Seq,
        /// Its check.
        check: u32,
        /// Fingerprint of everything that the app sees.
        state: u64,
    },
}

impl Noted {
    /// Bytes that it takes while it waits to be written, about: what it holds of the outside is counted as long as it will be
    /// in the file.
    pub(super) fn weight(&self) -> u64 {
        struct Counting(u64);
        impl io::Write for Counting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut counting = Counting(size_of::<Self>() as u64);
        match &self.event {
            Event::Seated { .. }
            | Event::Step { input: None, .. }
            | Event::Draw(_)
            | Event::Looked(_)
            | Event::Called { .. }
            | Event::End { .. } => {}
            event @ (Event::Step { .. }
            | Event::Answered { .. }
            | Event::Frame { .. }
            | Event::Sent { .. }
            | Event::Committed(_)) => {
                // The writer meets what cannot be written, and says so.
                rmp_serde::encode::write(&mut counting, event).unwrap_or(());
            }
        }
        counting.0
    }
}

impl Event {
    /// Whether it comes from outside, so that it can be edited.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Step { input: Some(_), .. } | Self::Answered { .. } | Self::Frame { .. }
        )
    }

    /// Whether a replay plays it, rather than expects it of what is played.
    pub fn is_turn(&self) -> bool {
        matches!(
            self,
            Self::Step { .. }
                | Self::Answered { .. }
                | Self::Frame { .. }
                | Self::Sent { .. }
                | Self::End { .. }
        )
    }

    /// A name, as the timeline and breakpoints have it: that of the message, or of the event.
    pub fn name(&self) -> &str {
        match self {
            Self::Seated { .. } => "Seated",
            Self::Step { step, .. } => step,
            Self::Draw(_) => "Draw",
            Self::Looked(_) => "Looked",
            Self::Called { what, .. } => what,
            Self::Answered { .. } => "Answered",
            Self::Frame { .. } => "Frame arrived",
            Self::Sent { .. } => "Sent",
            Self::Committed(_) => "Committed",
            Self::End { .. } => "End",
        }
    }
}
