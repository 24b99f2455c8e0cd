//! Which changes wait for other credentials, while all others go on.
//!
//! Owns [`Pauses`]. Pure. Credentials are chosen by model and operation, so what one kind of change to one model lacks says
//! nothing of the rest.
//!
//! | pause | answer | denial | deadline |
//! |---|---|---|---|
//! | none | - | waiting | |
//! | trying, one at a time | none; every other: trying | waiting for longer | |
//! | waiting | - | - | trying |
//!
//! What went out before a pause began says nothing of it: many that are denied together count as one denial. While
//! trying, a mutation that has been denied since the last answer lets others go first, since an authorizer may judge by
//! what a request holds.
//!
//! Bound: one pause for each model and kind of change.

use std::collections::{BTreeMap, BTreeSet};

use landfall_core::{Seq, Topic};
use landfall_wire::{Backoff, BackoffPolicy};

use super::gate::FAILED_MAX;

/// When sending is tried again without valid credentials: the app is to act, so there is no hurry.
pub(super) const CREDENTIALS_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 5_000,
    longest_ms: 300_000,
    attempts_max: None,
};

/// Number of the pauses that have begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count(u64);

/// What waits for other credentials.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    pauses: BTreeMap<Topic, Pause>,
    begun: Count,
}

#[derive(Debug)]
struct Pause {
    /// When it is tried again; `None` while it is.
    until_ms: Option<u64>,
    /// What went out when fewer had begun went out before this one.
    since: Count,
    backoff: Backoff,
    /// Mutations that were denied since the last answer.
    denied: BTreeSet<Seq>,
}

impl Pauses {
    /// How many have begun up to now.
    pub(super) fn begun(&self) -> Count {
        self.begun
    }

    /// When the next one is tried.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.pauses.values().filter_map(|pause| pause.until_ms).min()
    }

    /// Time has passed. Returns whether something may be tried again.
    pub(super) fn wake(&mut self, now_ms: u64) -> bool {
        let mut is_due = false;
        for pause in self.pauses.values_mut() {
            if pause.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                pause.until_ms = None;
                is_due = true;
            }
        }
        is_due
    }

    /// Everything may go.
    pub(super) fn forgive(&mut self) {
        self.pauses.clear();
    }

    /// The server took the credentials of something that went out after so many had begun.
    pub(super) fn answered(&mut self, topic: &Topic, began: Count) {
        let is_tried = |pause: &Pause| pause.until_ms.is_none() && began >= pause.since;
        if !self.pauses.get(topic).is_some_and(is_tried) {
            return;
        }
        self.pauses.remove(topic);
        // Who signs in has credentials for more than this; each is told once more only after an answer.
        for pause in self.pauses.values_mut() {
            pause.until_ms = None;
        }
    }

    /// There were no valid credentials for something that went out after so many had begun. Returns the number of
    /// denials in a row, unless it counts with an earlier one.
    pub(super) fn denied(
        &mut self,
        seq: Seq,
        topic: &Topic,
        began: Count,
        now_ms: u64,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<u32> {
        let pause = self.pauses.entry(topic.clone()).or_insert_with(|| Pause {
            until_ms: None,
            since: Count(0),
            backoff: Backoff::new(CREDENTIALS_BACKOFF),
            denied: BTreeSet::new(),
        });
        if pause.denied.len() >= FAILED_MAX {
            pause.denied.clear();
        }
        pause.denied.insert(seq);
        if began < pause.since {
            return None;
        }
        let wait_ms = pause
            .backoff
            .next(None, random)
            .unwrap_or(CREDENTIALS_BACKOFF.longest_ms);
        self.begun.0 += 1;
        pause.since = self.begun;
        pause.until_ms = Some(now_ms.saturating_add(wait_ms));
        Some(pause.backoff.attempts())
    }

    /// What may not go now: what waits, and what is tried and has one on its way, as `out` tells of mutations with what had
    /// begun when they went out.
    pub(super) fn held_up<'o>(
        &self,
        out: &(impl Iterator<Item = (&'o Topic, Count)> + Clone),
    ) -> BTreeSet<Topic> {
        let is_out = |topic: &Topic, pause: &Pause| {
            out.clone()
                .any(|(other, began)| other == topic && began >= pause.since)
        };
        let pauses = self.pauses.iter();
        pauses
            .filter(|(topic, pause)| pause.until_ms.is_some() || is_out(topic, pause))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// How many more to look at than may go, so that of what is tried there is one that was not denied yet.
    pub(super) fn spare(&self) -> usize {
        let tried = self.pauses.values().filter(|pause| pause.until_ms.is_none());
        tried.map(|pause| pause.denied.len()).sum()
    }

    /// Which of these may go, oldest first: of what is tried one.
    pub(super) fn admit(&mut self, candidates: &[(Seq, Topic)], held_up: &BTreeSet<Topic>) -> Vec<Seq> {
        let mut tried = BTreeSet::new();
        for (topic, pause) in &mut self.pauses {
            let mut seqs = candidates
                .iter()
                .filter(|(_, other)| other == topic)
                .map(|(seq, _)| *seq);
            let Some(first) = seqs.clone().next() else {
                continue;
            };
            let fresh = seqs.find(|seq| !pause.denied.contains(seq));
            if fresh.is_none() {
                // All have had their turn.
                pause.denied.clear();
            }
            tried.insert(fresh.unwrap_or(first));
        }
        let may_go = |(seq, topic): &&(Seq, Topic)| {
            !held_up.contains(topic) && (!self.pauses.contains_key(topic) || tried.contains(seq))
        };
        candidates.iter().filter(may_go).map(|(seq, _)| *seq).collect()
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::MutationKind;

    use super::*;

    fn topic(model: &str) -> Topic {
        Topic {
            model: model.into(),
            kind: MutationKind::Create,
        }
    }

    /// Denies a mutation that goes out now.
    fn deny(pauses: &mut Pauses, seq: u64, model: &str, now_ms: u64) -> Option<u32> {
        let began = pauses.begun();
        pauses.denied(Seq(seq), &topic(model), began, now_ms, &mut || 0)
    }

    fn held_up(pauses: &Pauses, out: &[(&str, Count)]) -> Vec<String> {
        let out: Vec<(Topic, Count)> = out.iter().map(|(model, began)| (topic(model), *began)).collect();
        let held_up = pauses.held_up(&out.iter().map(|(topic, began)| (topic, *began)));
        held_up.iter().map(|topic| topic.model.to_string()).collect()
    }

    #[test]
    fn one_pause_says_nothing_of_others_and_grows_by_itself() {
        let mut pauses = Pauses::default();
        assert_eq!(deny(&mut pauses, 1, "Draft", 0), Some(1));
        assert_eq!(
            (held_up(&pauses, &[]), pauses.due_ms()),
            (vec!["Draft".into()], Some(2_500))
        );
        // What others are answered has no effect on it.
        pauses.answered(&topic("Comment"), pauses.begun());
        assert!(!pauses.wake(2_499) && pauses.wake(2_500));
        assert_eq!(held_up(&pauses, &[]), [] as [&str; 0]);
        assert_eq!(deny(&mut pauses, 1, "Draft", 2_500), Some(2));
        assert_eq!(pauses.due_ms(), Some(7_500));
    }

    #[test]
    fn those_denied_together_count_once_and_one_is_tried() {
        let mut pauses = Pauses::default();
        let before = pauses.begun();
        assert_eq!(deny(&mut pauses, 1, "Draft", 0), Some(1));
        assert_eq!(
            pauses.denied(Seq(2), &topic("Draft"), before, 1, &mut || 0),
            None,
            "it went out at the same time"
        );
        pauses.wake(u64::MAX);
        pauses.answered(&topic("Draft"), before);
        assert_eq!(pauses.spare(), 2, "a late answer says nothing");
        assert_eq!(
            held_up(&pauses, &[("Draft", before), ("Other", pauses.begun())]),
            [] as [&str; 0]
        );
        assert_eq!(held_up(&pauses, &[("Draft", pauses.begun())]), ["Draft"]);
        let candidates = [1, 2, 3, 4].map(|seq| (Seq(seq), topic(if seq == 4 { "Other" } else { "Draft" })));
        assert_eq!(pauses.admit(&candidates, &BTreeSet::new()), [Seq(3), Seq(4)]);
        assert_eq!(pauses.admit(&candidates, &[topic("Draft")].into()), [Seq(4)]);
        // Where all were denied, the oldest has its turn again.
        assert_eq!(pauses.admit(&candidates[..2], &BTreeSet::new()), [Seq(1)]);
        assert_eq!(pauses.spare(), 0);
    }

    #[test]
    fn credentials_that_are_back_are_tried_for_all_and_told_of_no_further_time() {
        let mut pauses = Pauses::default();
        deny(&mut pauses, 1, "Draft", 0);
        deny(&mut pauses, 2, "Letter", 2_000);
        pauses.wake(2_500);
        pauses.answered(&topic("Draft"), pauses.begun());
        assert_eq!(held_up(&pauses, &[]), [] as [&str; 0]);
        assert_eq!(deny(&mut pauses, 2, "Letter", 3_000), Some(2));
        pauses.forgive();
        assert_eq!((held_up(&pauses, &[]).len(), pauses.due_ms()), (0, None));
    }

    #[test]
    fn no_more_denials_are_remembered_than_help() {
        let mut pauses = Pauses::default();
        for seq in 0..1_000 {
            deny(&mut pauses, seq, "Draft", 0);
        }
        pauses.wake(u64::MAX);
        assert!(pauses.spare() <= FAILED_MAX);
    }
}
