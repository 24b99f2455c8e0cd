//! Whether mutations may go out: the one backoff that all of them share.
//!
//! Owns [`Gate`]. Pure. What waits for credentials is `pauses.rs`: that is about some mutations and never about all.
//!
//! | gate | this round's answer | this round's failure | deadline |
//! |---|---|---|---|
//! | open | - | closed, next round | |
//! | trying, one at a time | open | closed for longer, next round | |
//! | closed | | | trying |
//!
//! What went out before the gate closed belongs to an older round: many that fail together count as one failure, and a
//! late answer says nothing of how the server is now. Only the longest `Retry-After` of an older round counts.
//!
//! How many go out at the same time adapts to the server: a failure that may pass halves it, each answer allows one more,
//! up to the number of lanes. A server that is throttling is so asked for what it takes, and not for all at once again.
//!
//! While trying, a mutation that has failed since the last answer lets others go first: one that makes the server fail
//! must not hold up the rest.

use std::collections::BTreeSet;

use landfall_core::Seq;
use landfall_wire::{Backoff, BackoffPolicy, RETRY_AFTER_MS_MAX};

/// When sending is tried again after a failure that may pass. The first wait is about a round trip; a minute is the
/// longest that someone watches a change that does not arrive.
pub(super) const SEND_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 200,
    longest_ms: 60_000,
    attempts_max: None,
};

/// Failures in a row after which the app is told that the server does not take anything.
pub(super) const FAILURES_BEFORE_REPORT: u32 = 3;

/// Attempts of one mutation after which it rests before it is tried again, however others fare: the server takes them, and
/// fails at this one.
const ATTEMPTS_BEFORE_REST: u32 = 4;

/// Mutations that are remembered for having failed. Twice as many as would fill the lanes of a busy store; if more fail, it
/// is the server and not the mutations, and all begin anew.
pub(super) const FAILED_MAX: usize = 64;

/// Number of the times that the gate has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Round(u64);

/// What keeps mutations from going out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It may pass by itself, for all of them.
    Transient { retry_after_ms: Option<u64> },
    /// Other credentials are needed, for those like this one.
    Credentials,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Open,
    Trying,
    Closed { until_ms: u64 },
}

/// How long a mutation rests whose attempt of this number failed, in milliseconds; `None` if it may go again with the others.
pub(super) fn rest_ms(attempts: u32, random: &mut dyn FnMut() -> u64) -> Option<u64> {
    let failures_before = attempts.checked_sub(ATTEMPTS_BEFORE_REST)?;
    Some(SEND_BACKOFF.wait_ms(failures_before, random))
}

/// Whether the app is told that this attempt of one mutation failed: at the fourth, and each time that there were twice as
/// many since.
pub(super) fn is_told(attempts: u32) -> bool {
    attempts >= ATTEMPTS_BEFORE_REST && attempts.is_power_of_two()
}

/// The backoff that all mutations share.
#[derive(Debug)]
pub(super) struct Gate {
    position: Position,
    round: Round,
    backoff: Backoff,
    /// Mutations that have failed since the last answer.
    failed: BTreeSet<Seq>,
    /// How many may be out at the same time: from 1 to `lanes`.
    width: usize,
    lanes: usize,
}

impl Gate {
    /// An open gate for so many at the same time.
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            width: lanes,
            lanes,
            position: Position::Open,
            round: Round(0),
            backoff: Backoff::new(SEND_BACKOFF),
            failed: BTreeSet::new(),
        }
    }

    /// The round that a request made now belongs to.
    pub(super) fn round(&self) -> Round {
        self.round
    }

    /// How many may go out, if so many of this round are out and so many lanes are free.
    pub(super) fn room(&self, out: usize, free: usize) -> usize {
        match self.position {
            Position::Open => free.min(self.width.saturating_sub(out)),
            Position::Trying => free.min(1_usize.saturating_sub(out)),
            Position::Closed { .. } => 0,
        }
    }

    /// How many to look at, if so many may go out: while only one may, one of them has not failed yet.
    pub(super) fn candidates(&self, room: usize) -> usize {
        if self.position == Position::Trying {
            self.failed.len() + 1
        } else {
            room
        }
    }

    /// When it opens a little.
    pub(super) fn due_ms(&self) -> Option<u64> {
        if let Position::Closed { until_ms } = self.position {
            Some(until_ms)
        } else {
            None
        }
    }

    /// Time has passed. Returns whether something may go out again.
    pub(super) fn wake(&mut self, now_ms: u64) -> bool {
        let due = self.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if due {
            self.position = Position::Trying;
        }
        due
    }

    /// The way to the server is back and a sync has just gone over it: what was learnt before does not count.
    pub(super) fn forgive(&mut self) {
        self.round.0 += 1;
        self.position = Position::Open;
        self.width = self.lanes;
        self.forget();
    }

    /// The server answered a request of that round.
    pub(super) fn answered(&mut self, round: Round) {
        if round == self.round && !matches!(self.position, Position::Closed { .. }) {
            self.width = self.lanes.min(self.width.saturating_add(1));
            self.position = Position::Open;
            self.forget();
        }
    }

    /// A request of that round failed. Returns the number of failures in a row, unless it counts with an earlier one.
    pub(super) fn failed(
        &mut self,
        seq: Option<Seq>,
        round: Round,
        retry_after_ms: Option<u64>,
        now_ms: u64,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<u32> {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        self.failed.extend(seq);
        if round != self.round {
            if let (Position::Closed { until_ms }, Some(asked_ms)) = (&mut self.position, retry_after_ms) {
                *until_ms = (*until_ms).max(now_ms.saturating_add(asked_ms.min(RETRY_AFTER_MS_MAX)));
            }
            return None;
        }
        if seq.is_some() {
            self.width = (self.width / 2).max(1);
        }
        let wait_ms = self
            .backoff
            .next(retry_after_ms, random)
            .unwrap_or(SEND_BACKOFF.longest_ms);
        let failures = self.backoff.attempts();
        self.round.0 += 1;
        let until_ms = now_ms.saturating_add(wait_ms);
        // The store may fail as well while the server is waited for.
        let until_ms = self.due_ms().map_or(until_ms, |due_ms| due_ms.max(until_ms));
        self.position = Position::Closed { until_ms };
        Some(failures)
    }

    /// Which of these go, oldest first, if so many may. While only one may, one that has not failed since the last
    /// answer goes before older ones that have.
    pub(super) fn choose(&mut self, candidates: &[Seq], room: usize) -> Vec<Seq> {
        if room == 0 || self.position != Position::Trying {
            return candidates.iter().take(room).copied().collect();
        }
        let fresh = candidates.iter().find(|seq| !self.failed.contains(seq));
        if fresh.is_none() {
            // All have had their turn.
            self.failed.clear();
        }
        Vec::from_iter(fresh.or_else(|| candidates.first()).copied())
    }

    fn forget(&mut self) {
        self.backoff.reset();
        self.failed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(gate: &mut Gate, round: Round, retry_after_ms: Option<u64>, now_ms: u64) -> Option<u32> {
        gate.failed(None, round, retry_after_ms, now_ms, &mut || 0)
    }

    #[test]
    fn many_failures_of_one_round_count_once() {
        let mut gate = Gate::new(32);
        let round = gate.round();
        assert_eq!(fail(&mut gate, round, None, 0), Some(1));
        assert_eq!(fail(&mut gate, round, None, 1), None);
        assert_eq!(gate.due_ms(), Some(100));
        // The server's wish counts all the same.
        fail(&mut gate, round, Some(7_000), 2);
        assert_eq!(gate.due_ms(), Some(7_002));
    }

    #[test]
    fn a_server_that_fails_is_asked_for_half_as_much_and_ever_more_while_it_answers() {
        let mut gate = Gate::new(8);
        assert_eq!((gate.room(0, 8), gate.room(5, 8)), (8, 3));
        for expected in [4, 2, 1, 1] {
            let round = gate.round();
            gate.failed(Some(Seq(1)), round, None, 0, &mut || 0);
            gate.wake(u64::MAX);
            assert_eq!(gate.width, expected);
        }
        for expected in 2..=8 {
            gate.answered(gate.round());
            assert_eq!((gate.room(0, 8), gate.room(expected, 8)), (expected, 0));
        }
        gate.answered(gate.round());
        assert_eq!(gate.room(0, 100), 8, "no more than there are lanes");
        // That the store cannot note something says nothing of the server.
        let round = gate.round();
        fail(&mut gate, round, None, 0);
        assert_eq!(gate.width, 8);
        gate.failed(Some(Seq(1)), gate.round(), None, 0, &mut || 0);
        gate.forgive();
        assert_eq!(gate.room(0, 8), 8, "a network that is back is as good as new");
    }

    #[test]
    fn as_many_lanes_as_there_are_numbers_do_not_overflow() {
        let mut gate = Gate::new(usize::MAX);
        gate.answered(gate.round());
        assert_eq!(gate.room(0, 8), 8);
    }

    #[test]
    fn one_is_tried_before_all_may_go() {
        let mut gate = Gate::new(32);
        assert_eq!(gate.room(3, 5), 5);
        let old = gate.round();
        fail(&mut gate, old, None, 0);
        assert_eq!(gate.room(0, 5), 0);
        assert!(!gate.wake(99) && gate.wake(100));
        assert_eq!((gate.room(0, 5), gate.room(1, 5)), (1, 0));
        gate.answered(old);
        assert_eq!(
            gate.room(1, 5),
            0,
            "an answer from before the failure says nothing"
        );
        gate.answered(gate.round());
        assert_eq!(gate.room(3, 5), 5);
    }

    #[test]
    fn waits_grow_until_an_answer() {
        let mut gate = Gate::new(32);
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for _ in 0..3 {
            let round = gate.round();
            fail(&mut gate, round, None, now_ms);
            waits.push(gate.due_ms().unwrap() - now_ms);
            now_ms = gate.due_ms().unwrap();
            gate.wake(now_ms);
        }
        assert_eq!(waits, [100, 200, 400]);
        gate.answered(gate.round());
        let round = gate.round();
        assert_eq!(fail(&mut gate, round, None, 0), Some(1));
        assert_eq!(gate.due_ms(), Some(100));
    }

    #[test]
    fn what_failed_lets_others_go_first() {
        let mut gate = Gate::new(32);
        let seqs = [Seq(1), Seq(2)];
        assert_eq!(gate.choose(&seqs, 2), seqs);
        for (failed, next) in [(Seq(1), Seq(2)), (Seq(2), Seq(1))] {
            gate.failed(Some(failed), gate.round(), None, 0, &mut || 0);
            gate.wake(u64::MAX);
            assert!(gate.candidates(1) > 1, "there is a choice");
            assert_eq!(gate.choose(&seqs, 1), [next]);
        }
        assert_eq!(gate.choose(&[], 1), []);
    }

    #[test]
    fn no_more_failures_are_remembered_than_help() {
        let mut gate = Gate::new(32);
        let round = gate.round();
        for seq in 0..1_000 {
            gate.failed(Some(Seq(seq)), round, None, 0, &mut || 0);
        }
        gate.wake(u64::MAX);
        assert!(gate.candidates(1) <= FAILED_MAX + 1);
    }
}
