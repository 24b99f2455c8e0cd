//! What the machine leaves for later: settlements that rest, questions that are asked again.
//!
//! Owns the deadlines of mutations in hand. What rests is either what the store did not take, or what the server has failed
//! at more than once, so that it is not tried again at once. What waits is an update of a list of which the server shows no
//! effect: the request may still be on its way, and sent twice the list would hold its elements twice under automerge. What is
//! put off is of unknown outcome, and the server has failed at several questions about it in a row, however others fare: asked
//! with each answer to them, it would close the gate for them each time.

use landfall_core::{Mutation, MutationKind, Seq};
use landfall_wire::Failure;

use super::super::gate::rest_ms;
use super::super::verdict::{self, Fetched, Health, Purpose, Report, Verdict};
use super::held::{Held, Place, Stage};
use super::step::Effect;
use super::{State, Turn, WAITING_MAX, is_through};
use crate::storage::Settlement;

/// How long after it was sent a request may still be carried out, in milliseconds: AppSync's own limit for one.
pub(in crate::mutation) const LATE_MS: u64 = 30_000;

/// Mutations that are put off at the same time; the rest of [`WAITING_MAX`] is for those that may still be carried out.
pub(super) const PUT_OFF_MAX: usize = WAITING_MAX / 2;

/// Mutations of which failed questions are counted: many more than are put off, as one that is given up is not heard of.
const QUESTIONS_MAX: usize = 1_024;

impl State {
    /// What rests is settled with the next deadline, and what is put off asked about.
    pub(super) fn rouse(&mut self, now_ms: u64) {
        self.questions.clear();
        for held in self.held.values_mut() {
            if let Stage::Resting { until_ms, .. } | Stage::PutOff { until_ms } = &mut held.stage {
                *until_ms = now_ms;
            }
        }
    }

    pub(super) fn timer(&mut self, turn: &mut Turn<'_>) {
        self.hungry |= self.gate.wake(turn.now_ms);
        self.hungry |= self.pauses.wake(turn.now_ms);
        let mut back = Vec::new();
        for (seq, held) in &mut self.held {
            match &mut held.stage {
                Stage::Resting {
                    until_ms,
                    settlement,
                    report,
                } if *until_ms <= turn.now_ms => {
                    turn.effects.push(Effect::Settle {
                        seq: *seq,
                        settlement: settlement.clone(),
                    });
                    held.stage = Stage::Settling(settlement.clone(), report.take());
                }
                Stage::Waiting { until_ms } | Stage::PutOff { until_ms } if *until_ms <= turn.now_ms => {
                    back.push(*seq);
                }
                Stage::Resting { .. }
                | Stage::Waiting { .. }
                | Stage::PutOff { .. }
                | Stage::Marking
                | Stage::Loading
                | Stage::Sending(_)
                | Stage::Fetching(..)
                | Stage::Deciding(..)
                | Stage::Settling(..) => {}
            }
        }
        if !back.is_empty() {
            // The outbox hands them out again, to be asked about as soon as a lane is free and the server takes questions.
            self.held.retain(|seq, _| !back.contains(seq));
            self.hungry = true;
            turn.effects.push(Effect::GiveBack(back));
        }
    }

    /// Of several in one request this one has gone out again, alone.
    pub(in crate::mutation) fn sent_again(&mut self, mutation: &Mutation, now_ms: u64) {
        if mutation.writes_list() {
            self.note_sent(vec![mutation.seq], now_ms);
        }
    }

    pub(super) fn note_sent(&mut self, sent: Vec<Seq>, now_ms: u64) {
        if sent.is_empty() {
            return;
        }
        self.sent_ms
            .retain(|_, sent_ms| sent_ms.saturating_add(LATE_MS) > now_ms);
        self.sent_ms.extend(sent.into_iter().map(|seq| (seq, now_ms)));
    }

    /// When the server has certainly carried out what it ever will of a mutation.
    pub(super) fn late_until_ms(&self, seq: Seq) -> u64 {
        let sent_ms = self.sent_ms.get(&seq).copied().unwrap_or_default();
        sent_ms.max(self.began_ms).saturating_add(LATE_MS)
    }

    /// Carries a verdict out: after a failure that `may_pass` perhaps later.
    pub(super) fn conclude(
        &mut self,
        seq: Seq,
        place: Place,
        mutation: Box<Mutation>,
        verdict: Verdict,
        may_pass: bool,
        turn: &mut Turn<'_>,
    ) {
        match verdict {
            Verdict::Settle(settlement, report) if may_pass => {
                self.rest(seq, place, &mutation, settlement, report, turn);
            }
            verdict => self.rule(seq, place, verdict, Some(mutation), turn),
        }
    }

    /// Settles a mutation that the server failed at, now or, if that was not the first time, after a while.
    pub(super) fn rest(
        &mut self,
        seq: Seq,
        place: Place,
        mutation: &Mutation,
        settlement: Settlement,
        report: Option<Report>,
        turn: &mut Turn<'_>,
    ) {
        let is_resting = |held: &&Held| matches!(held.stage, Stage::Resting { .. });
        // The other half of the lanes is for those that may be taken.
        let has_room = self.held.values().filter(is_resting).count() < self.lanes / 2;
        match rest_ms(mutation.attempts, turn.random).filter(|_| has_room) {
            None => self.rule(seq, place, Verdict::Settle(settlement, report), None, turn),
            Some(rest_ms) => {
                let stage = Stage::Resting {
                    until_ms: turn.now_ms.saturating_add(rest_ms),
                    settlement,
                    report,
                };
                self.held.insert(seq, Held { stage, place });
            }
        }
    }

    /// Counts that the server failed at the question about a mutation.
    fn question_failed(&mut self, seq: Seq) {
        *self.questions.entry(seq).or_default() += 1;
        if self.questions.len() > QUESTIONS_MAX {
            self.questions.pop_first();
        }
    }

    /// Has a mutation asked about again, at once or, if the server fails at that question again and again, after a while.
    fn put_off(&mut self, seq: Seq, place: Place, turn: &mut Turn<'_>) {
        let failures = self.questions.get(&seq).copied().unwrap_or_default();
        let has_room = self.held.values().filter(|held| held.waits()).count() < PUT_OFF_MAX;
        match rest_ms(failures, turn.random).filter(|_| has_room) {
            None => self.rule(seq, place, Verdict::GiveBack, None, turn),
            Some(rest_ms) => {
                let until_ms = turn.now_ms.saturating_add(rest_ms);
                let stage = Stage::PutOff { until_ms };
                self.held.insert(seq, Held { stage, place });
            }
        }
    }

    /// What the server has of a record that it was asked for.
    pub(super) fn fetched(
        &mut self,
        seq: Seq,
        place: Place,
        mutation: Box<Mutation>,
        purpose: Purpose,
        fetched: Result<Fetched, Box<Failure>>,
        turn: &mut Turn<'_>,
    ) {
        let (asks, is_over) = (
            matches!(purpose, Purpose::Outcome | Purpose::Crowded),
            purpose != Purpose::Outcome,
        );
        let (verdict, health) = verdict::of_fetched(self.def(&mutation), &mutation, purpose, fetched);
        let may_pass = health.may_pass();
        let not_applied = asks && matches!(verdict, Verdict::Settle(Settlement::NotApplied, _));
        let has_failed = may_pass && matches!(verdict, Verdict::GiveBack);
        if has_failed {
            self.question_failed(seq);
        } else {
            self.questions.remove(&seq);
        }
        let until_ms = self.late_until_ms(seq);
        let may_come = mutation.kind == MutationKind::Update && mutation.writes_list();
        // What others have changed meanwhile says nothing of whether it still comes: it would be merged into that, and so would
        // what is decided now.
        let waits = (not_applied || matches!(verdict, Verdict::Decide(_)))
            && may_come
            && !is_over
            && turn.now_ms < until_ms;
        // That a server answers a question does not show that it takes changes.
        if !((not_applied || waits) && health == Health::Answers) {
            self.note(seq, &place, health, is_through(&verdict), &mutation, turn);
        }
        if waits {
            let stage = Stage::Waiting { until_ms };
            self.held.insert(seq, Held { stage, place });
        } else if has_failed {
            self.put_off(seq, place, turn);
        } else {
            self.conclude(seq, place, mutation, verdict, may_pass, turn);
        }
    }
}
