//! Why a model is not synced, and what may be done about it.
//!
//! Owns [`Trouble`]. What is done is `model.rs`; what the app is told is the shell's.

use std::fmt;

use landfall_wire::{Failure, FailureClass};

use super::pages::PAGES_MAX;
use crate::handlers::ErrorKind;

/// Why a model cannot be synced; known before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unfit {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
}

/// Why a model is not synced.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// It cannot be.
    Unfit(Unfit),
    /// The server, or the way there.
    Server(Box<Failure>),
    /// The store.
    Store(String),
    /// The server gave a page's own token as that of the next page.
    Circle,
    /// The server's pages did not end after [`PAGES_MAX`].
    Endless,
}

/// What may be done about trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Try again later.
    Wait { retry_after_ms: Option<u64> },
    /// Begin with the first page: the token of this one may be what is wrong.
    FirstPage,
    /// Try again much later: somebody has to do something about it.
    Later,
    /// Nothing, until the next sync.
    None,
}

impl Trouble {
    /// What may be done about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Store(_) => Remedy::Wait { retry_after_ms: None },
            Self::Server(failure) => match failure.class {
                FailureClass::Transient { retry_after_ms, .. } => Remedy::Wait { retry_after_ms },
                FailureClass::Conflict
                | FailureClass::ConditionFailed
                | FailureClass::TooMuch { .. }
                | FailureClass::Permanent => Remedy::FirstPage,
                FailureClass::Unauthorized => Remedy::Later,
            },
            Self::Circle => Remedy::FirstPage,
            // The stored cursor is as far as this sync got, so the next one goes on from there.
            Self::Endless | Self::Unfit(_) => Remedy::None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => f.write_str(&unfit.reason),
            Self::Server(failure) => write!(f, "{failure}"),
            Self::Store(reason) => f.write_str(reason),
            Self::Circle => f.write_str("the server gave a page's own token as that of the next page"),
            Self::Endless => write!(f, "the server's pages did not end after {PAGES_MAX}"),
        }
    }
}
