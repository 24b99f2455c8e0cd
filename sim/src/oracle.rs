//! What must be true while a simulation runs and in the end, checked by code that shares nothing with the engine.
//!
//! Owns [`Findings`], the list of invariants and the list of what must be seen over a batch of runs. Who looks:
//! `oracle/judge.rs` after every commit of a client, with `log.rs` (what the log says), `stream.rs` (what observers are
//! told) and `ledger.rs` (what the app was promised); `oracle/server.rs` at every call that the server answers;
//! `oracle/end.rs` when everything is repaired.

mod causal;
mod end;
mod judge;
mod ledger;
mod log;
mod server;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub(crate) use end::{check_indexes, check_promises, differences};
pub(crate) use judge::Bell;
pub use judge::Judge;
pub(crate) use ledger::Ledger;
pub use server::ServerWatch;

/// Most violations that are kept of a run; the first one is what matters.
const VIOLATIONS_MAX: usize = 50;

/// What is checked, with the identifier that reports and shrinking go by.
pub const INVARIANTS: &[(&str, &str)] = &[
    ("I1", "what was acknowledged to the app survives every crash"),
    ("I2", "the server applies each change at most once"),
    (
        "I3",
        "a change leaves the outbox only by an answer, a decision, or the app",
    ),
    (
        "I4",
        "the server sees the changes of a record in order, and parents before children",
    ),
    ("I5", "a version never goes down within one life of a record"),
    ("I6", "a change that the server has not answered stays visible"),
    ("I7", "everything at or before a stored cursor is stored"),
    (
        "I8",
        "the app reads what it wrote, and never an older version than before",
    ),
    ("I9", "a transaction is visible as a whole or not at all"),
    ("I10", "an observer is told every change once, in order"),
    (
        "I11",
        "after a conflict a change is sent again on the version that it met",
    ),
    (
        "I12",
        "what a client holds of a version is what the server made of it",
    ),
    ("I13", "nothing of a run of sync takes effect after its end"),
    ("I14", "requests and sockets stay within their bounds"),
    (
        "I15",
        "what the server refuses is told to the app, and so is what a deletion or an edit of others ends",
    ),
    ("I16", "the log replays to what the store holds"),
    ("I17", "an index finds what a scan finds"),
    ("I18", "a write whose condition does not hold changes nothing"),
    ("I20", "a delete takes along what belongs to the record"),
    ("I22", "no part of a client panics"),
    (
        "I23",
        "no change overwrites what its author had not read without the server noticing",
    ),
    (
        "E1",
        "after everything is repaired all become quiet within a bound",
    ),
    (
        "E2",
        "in the end all clients hold what the server holds and have nothing left to send",
    ),
    ("E3", "in the end the server holds what was acknowledged"),
    ("E6", "in the end nothing is left open"),
];

/// What must be seen in some run of a batch, or the batch has not tested it.
pub const SOMETIMES: &[(&str, &str)] = &[
    ("conflict", "the server refused a change for its version"),
    ("conflict kept", "a conflict was decided for the local change"),
    (
        "conflict dropped",
        "a conflict was decided for the server's record",
    ),
    (
        "edit or delete lost",
        "an edit was given up to a deletion, or a delete to an edit, and that was told",
    ),
    ("merged", "the server merged a stale change"),
    ("unknown outcome", "the answer to a change was lost"),
    (
        "lost answer settled",
        "a change whose answer was lost turned out to be applied",
    ),
    (
        "not applied",
        "a change was certainly not applied and waited again",
    ),
    ("refused", "the server refused a change for good"),
    ("folded", "a change was folded into a waiting one"),
    ("cancelled", "a delete undid a create that nobody had seen"),
    (
        "behind another",
        "a change waited behind another one of its record",
    ),
    (
        "remote under edit",
        "the server's record arrived while a local edit waited",
    ),
    ("tombstone", "a delete of another client arrived"),
    ("delta sync", "a sync was answered with changes only"),
    ("base sync again", "a sync fetched everything once more"),
    ("many pages", "a sync took more than one page"),
    ("power cut", "a client's power went"),
    (
        "power cut with changes under way",
        "a client's power went while a change was on its way",
    ),
    ("commit failed", "the disk failed a commit"),
    ("disk full", "a disk that was full refused a write"),
    ("cleared", "all local data was cleared"),
    ("cascade", "a delete took others along"),
    (
        "clash unseen",
        "a change was made on an old version because another writer was there first",
    ),
];

/// Something that was not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Identifier of the invariant.
    pub invariant: &'static str,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// Number of the trace line at that time.
    pub step: u64,
    /// Who, or `server`.
    pub who: String,
    /// What.
    pub what: String,
    /// The record, if it is about one.
    pub key: Option<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.who, self.what)
    }
}

/// What the oracles found; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    violations: Vec<Violation>,
    sometimes: BTreeMap<&'static str, u64>,
    /// The only invariant whose violation counts.
    only: Option<&'static str>,
    /// Invariants whose violations do not count.
    pardoned: BTreeSet<&'static str>,
    closed: bool,
}

impl Findings {
    /// Notes a violation.
    pub(crate) fn violated(&self, violation: Violation) {
        let mut found = self.found();
        let counts = found.only.is_none_or(|only| only == violation.invariant)
            && !found.pardoned.contains(violation.invariant);
        if counts && !found.closed && found.violations.len() < VIOLATIONS_MAX {
            found.violations.push(violation);
        }
    }

    /// Has no violation count but those of this invariant.
    pub(crate) fn only(&self, invariant: &'static str) {
        self.found().only = Some(invariant);
    }

    /// Has violations of this invariant not count from here on, for scripts that break it themselves: a server that says
    /// what it did not do, data that is taken away behind the store.
    pub fn pardon(&self, invariant: &'static str) {
        self.found().pardoned.insert(invariant);
    }

    /// Notes that something was seen that must be seen sometimes.
    pub(crate) fn seen(&self, what: &'static str) {
        debug_assert!(
            SOMETIMES.iter().any(|(name, _)| *name == what),
            "{what} is not in the list"
        );
        *self.found().sometimes.entry(what).or_default() += 1;
    }

    /// The violations so far, the first one first.
    pub fn violations(&self) -> Vec<Violation> {
        self.found().violations.clone()
    }

    /// Whether something was violated.
    pub fn is_violated(&self) -> bool {
        !self.found().violations.is_empty()
    }

    /// What was seen, and how often.
    pub fn sometimes(&self) -> BTreeMap<&'static str, u64> {
        self.found().sometimes.clone()
    }

    /// Takes nothing more: what happens while a simulation is torn down means nothing.
    pub(crate) fn close(&self) {
        self.found().closed = true;
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a check found: the invariant, the record, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) invariant: &'static str,
    pub(crate) key: Option<landfall::RecordKey>,
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(invariant: &'static str, key: &landfall::RecordKey, what: String) -> Self {
        Self {
            invariant,
            key: Some(key.clone()),
            what,
        }
    }
}
