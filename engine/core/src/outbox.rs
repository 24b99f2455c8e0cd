//! Which mutation may be sent next.
//!
//! Owns [`Outbox`], the window of waiting mutations that the outbox actor keeps in memory. Does not store or send.
//!
//! Invariants: 1. of one record only the oldest mutation is ever on its way; 2. a create or update waits for the
//! creates of the records it refers to that came before it; 3. a delete waits for every earlier mutation that refers
//! to its record; 4. mutations of a transaction go in order; 5. everything else may go in parallel.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutation::{Mutation, MutationKind, Seq, Stage};
use crate::names::ModelName;
use crate::planted::planted;
use crate::record::RecordKey;

/// What the sender is to do with a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Send it.
    Send,
    /// Ask the server whether it was applied.
    Inquire,
}

/// What credentials may be about: one kind of change to one model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// Which model.
    pub model: ModelName,
    /// Which kind of change.
    pub kind: MutationKind,
}

/// Waiting mutations in order, with what holds each back.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<Seq, Waiting>,
    by_key: BTreeMap<RecordKey, BTreeSet<Seq>>,
    referring: BTreeMap<RecordKey, BTreeSet<Seq>>,
    by_group: BTreeMap<Seq, BTreeSet<Seq>>,
    /// How many of those that wait are parked; counted, since it is asked for with every change.
    parked: usize,
}

#[derive(Clone, Debug)]
struct Waiting {
    key: RecordKey,
    kind: MutationKind,
    stage: Stage,
    /// Whether the sender has it; survives no restart, unlike the stage.
    taken: bool,
    parents: Vec<RecordKey>,
    group: Option<Seq>,
}

impl Outbox {
    /// Adds a mutation, or takes over its new state. A mutation that was taken is free again unless it is in flight.
    pub fn put(&mut self, mutation: &Mutation) {
        self.remove(mutation.seq);
        let seq = mutation.seq;
        self.by_key.entry(mutation.key.clone()).or_default().insert(seq);
        for parent in &mutation.parents {
            self.referring.entry(parent.clone()).or_default().insert(seq);
        }
        if let Some(group) = mutation.group {
            self.by_group.entry(group).or_default().insert(seq);
        }
        self.parked += usize::from(matches!(mutation.stage, Stage::Parked(_)));
        self.waiting.insert(
            seq,
            Waiting {
                key: mutation.key.clone(),
                kind: mutation.kind,
                stage: mutation.stage.clone(),
                taken: mutation.stage == Stage::InFlight,
                parents: mutation.parents.clone(),
                group: mutation.group,
            },
        );
    }

    /// Forgets a mutation that no longer waits.
    pub fn remove(&mut self, seq: Seq) {
        let Some(gone) = self.waiting.remove(&seq) else {
            return;
        };
        self.parked -= usize::from(matches!(gone.stage, Stage::Parked(_)));
        remove_from(&mut self.by_key, &gone.key, seq);
        for parent in &gone.parents {
            remove_from(&mut self.referring, parent, seq);
        }
        if let Some(group) = gone.group {
            remove_from(&mut self.by_group, &group, seq);
        }
    }

    /// Takes up to `max` mutations that may go now, oldest first, and marks them taken.
    pub fn take(&mut self, max: usize) -> Vec<(Seq, Errand)> {
        let taken = self.take_except(max, &BTreeSet::new());
        taken.into_iter().map(|(seq, errand, _)| (seq, errand)).collect()
    }

    /// Takes up to `max` mutations that may go now and are of none of these topics, oldest first, and marks them taken.
    pub fn take_except(&mut self, max: usize, held_up: &BTreeSet<Topic>) -> Vec<(Seq, Errand, Topic)> {
        let ready = self.waiting.iter().filter_map(|(seq, waiting)| {
            let errand = self.errand(*seq, waiting)?;
            let topic = Topic {
                model: waiting.key.model.clone(),
                kind: waiting.kind,
            };
            (!held_up.contains(&topic)).then_some((*seq, errand, topic))
        });
        let ready: Vec<(Seq, Errand, Topic)> = ready.take(max).collect();
        for (seq, ..) in &ready {
            if let Some(waiting) = self.waiting.get_mut(seq) {
                waiting.taken = true;
            }
        }
        ready
    }

    /// Gives a taken mutation back, for instance because sending was paused before it went out.
    pub fn give_back(&mut self, seq: Seq) {
        if let Some(waiting) = self.waiting.get_mut(&seq) {
            waiting.taken = planted("give-back-forgotten");
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of mutations in the window.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Number of mutations in the window that are parked.
    pub fn parked_len(&self) -> usize {
        self.parked
    }

    /// Position of the newest mutation in the window.
    pub fn last(&self) -> Option<Seq> {
        self.waiting.last_key_value().map(|(seq, _)| *seq)
    }

    fn errand(&self, seq: Seq, waiting: &Waiting) -> Option<Errand> {
        let errand = match waiting.stage {
            Stage::Queued => Errand::Send,
            Stage::Unknown => Errand::Inquire,
            Stage::InFlight | Stage::Parked(_) => return None,
        };
        let held = waiting.taken
            || (first(&self.by_key, &waiting.key) != Some(seq) && !planted("order-ignored"))
            || waiting.group.is_some_and(|group| {
                first(&self.by_group, &group) != Some(seq) && !planted("group-order-ignored")
            })
            || (self.waits_for_parent(seq, waiting) && !planted("parents-ignored"))
            || (self.waits_for_children(seq, waiting) && !planted("children-not-awaited"));
        (!held).then_some(errand)
    }

    fn waits_for_parent(&self, seq: Seq, waiting: &Waiting) -> bool {
        waiting.kind != MutationKind::Delete
            && waiting
                .parents
                .iter()
                .filter(|parent| **parent != waiting.key)
                .any(|parent| {
                    // Also a create behind something else, such as the delete of an earlier record of the same identifier.
                    self.by_key.get(parent).is_some_and(|seqs| {
                        seqs.range(..seq)
                            .any(|earlier| self.waiting[earlier].kind == MutationKind::Create)
                    })
                })
    }

    fn waits_for_children(&self, seq: Seq, waiting: &Waiting) -> bool {
        waiting.kind == MutationKind::Delete
            && self.referring.get(&waiting.key).is_some_and(|referring| {
                referring
                    .range(..seq)
                    .any(|child| self.waiting[child].key != waiting.key)
            })
    }
}

fn first<K: Ord>(index: &BTreeMap<K, BTreeSet<Seq>>, key: &K) -> Option<Seq> {
    index.get(key).and_then(|seqs| seqs.first().copied())
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Seq>>, key: &K, seq: Seq) {
    if let Some(seqs) = index.get_mut(key) {
        seqs.remove(&seq);
        if seqs.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Refusal;
    use crate::record::FieldMap;

    fn mutation(seq: u64, key: &str, kind: MutationKind, parents: &[&str]) -> Mutation {
        Mutation {
            seq: Seq(seq),
            key: RecordKey::new("M", key),
            kind,
            patch: FieldMap::new(),
            condition: None,
            base_version: None,
            stage: Stage::Queued,
            attempts: 0,
            conflict_rounds: 0,
            parents: parents
                .iter()
                .map(|parent| RecordKey::new("M", *parent))
                .collect(),
            group: None,
            base: None,
        }
    }

    fn taken(outbox: &mut Outbox) -> Vec<u64> {
        outbox.take(100).into_iter().map(|(seq, _)| seq.0).collect()
    }

    #[test]
    fn unrelated_records_go_in_parallel_and_one_record_in_order() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "a", MutationKind::Create, &[]));
        outbox.put(&mutation(2, "a", MutationKind::Update, &[]));
        outbox.put(&mutation(3, "b", MutationKind::Create, &[]));
        assert_eq!(taken(&mut outbox), [1, 3]);
        assert_eq!(taken(&mut outbox), [] as [u64; 0]);
        outbox.remove(Seq(1));
        assert_eq!(taken(&mut outbox), [2]);
    }

    #[test]
    fn what_is_held_up_is_passed_over_however_much_of_it_waits() {
        let mut outbox = Outbox::default();
        for seq in 1..=5 {
            outbox.put(&mutation(seq, &format!("r{seq}"), MutationKind::Create, &[]));
        }
        outbox.put(&mutation(6, "other", MutationKind::Update, &[]));
        let topic = |kind| Topic {
            model: "M".into(),
            kind,
        };
        let held_up = BTreeSet::from([topic(MutationKind::Create)]);
        let other = (Seq(6), Errand::Send, topic(MutationKind::Update));
        assert_eq!(outbox.take_except(2, &held_up), [other]);
        assert_eq!(outbox.take_except(2, &held_up), []);
        assert_eq!(taken(&mut outbox), [1, 2, 3, 4, 5], "they were not taken");
    }

    #[test]
    fn children_wait_for_the_create_of_their_parent() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "parent", MutationKind::Create, &[]));
        outbox.put(&mutation(2, "child", MutationKind::Create, &["parent"]));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.remove(Seq(1));
        assert_eq!(taken(&mut outbox), [2]);
    }

    #[test]
    fn children_wait_for_a_parent_that_is_deleted_and_made_again() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "parent", MutationKind::Delete, &[]));
        outbox.put(&mutation(2, "parent", MutationKind::Create, &[]));
        outbox.put(&mutation(3, "child", MutationKind::Create, &["parent"]));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.remove(Seq(1));
        assert_eq!(taken(&mut outbox), [2]);
        outbox.remove(Seq(2));
        assert_eq!(taken(&mut outbox), [3]);
    }

    #[test]
    fn a_parent_is_deleted_after_its_children() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "child", MutationKind::Delete, &["parent"]));
        outbox.put(&mutation(2, "parent", MutationKind::Delete, &[]));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.remove(Seq(1));
        assert_eq!(taken(&mut outbox), [2]);
    }

    #[test]
    fn a_parked_create_holds_back_its_record_and_children_only() {
        let mut outbox = Outbox::default();
        let mut parked = mutation(1, "a", MutationKind::Create, &[]);
        parked.stage = Stage::Parked(Refusal {
            error_type: None,
            message: "no".into(),
        });
        outbox.put(&parked);
        outbox.put(&mutation(2, "a", MutationKind::Update, &[]));
        outbox.put(&mutation(3, "child", MutationKind::Create, &["a"]));
        outbox.put(&mutation(4, "b", MutationKind::Create, &[]));
        assert_eq!(taken(&mut outbox), [4]);
    }

    #[test]
    fn parked_mutations_are_counted_through_every_change() {
        let mut outbox = Outbox::default();
        let queued = mutation(1, "a", MutationKind::Create, &[]);
        let mut parked = queued.clone();
        parked.stage = Stage::Parked(Refusal {
            error_type: None,
            message: "no".into(),
        });
        for (change, expected) in [
            (&queued, 0),
            (&parked, 1),
            (&parked, 1),
            (&queued, 0),
            (&parked, 1),
        ] {
            outbox.put(change);
            assert_eq!(outbox.parked_len(), expected);
        }
        outbox.remove(Seq(1));
        outbox.remove(Seq(1));
        assert_eq!(outbox.parked_len(), 0);
    }

    #[test]
    fn a_record_that_refers_to_itself_is_not_held_back() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "a", MutationKind::Create, &["a"]));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.put(&mutation(1, "a", MutationKind::Delete, &["a"]));
        assert_eq!(taken(&mut outbox), [1]);
    }

    #[test]
    fn an_unknown_outcome_is_inquired_before_anything_else_of_the_record() {
        let mut outbox = Outbox::default();
        let mut unknown = mutation(1, "a", MutationKind::Create, &[]);
        unknown.stage = Stage::Unknown;
        outbox.put(&unknown);
        outbox.put(&mutation(2, "a", MutationKind::Update, &[]));
        assert_eq!(outbox.take(9), [(Seq(1), Errand::Inquire)]);
    }

    #[test]
    fn what_is_given_back_or_changed_can_be_taken_again() {
        let mut outbox = Outbox::default();
        outbox.put(&mutation(1, "a", MutationKind::Create, &[]));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.give_back(Seq(1));
        assert_eq!(taken(&mut outbox), [1]);
        outbox.put(&mutation(1, "a", MutationKind::Create, &[]));
        assert_eq!(taken(&mut outbox), [1]);
    }
}
