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
///
/// What may go is kept apart from what is held back, so that a take costs what it takes, however much is held back. It is
/// judged anew only where something changes that it depends on: the end of a create judges each record that refers to it
/// once, every other change judges a few mutations.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<Seq, Waiting>,
    by_key: BTreeMap<RecordKey, BTreeSet<Seq>>,
    /// Of those the creates, which others wait for.
    creates: BTreeMap<RecordKey, BTreeSet<Seq>>,
    referring: BTreeMap<RecordKey, BTreeSet<Seq>>,
    by_group: BTreeMap<Seq, BTreeSet<Seq>>,
    /// What may be taken.
    ready: BTreeMap<Topic, BTreeSet<Seq>>,
    /// How many are with the sender; counted, since it is asked for with every change.
    taken: usize,
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

impl Waiting {
    fn of(mutation: &Mutation) -> Self {
        Self {
            key: mutation.key.clone(),
            kind: mutation.kind,
            stage: mutation.stage.clone(),
            taken: mutation.stage == Stage::InFlight,
            parents: mutation.parents.clone(),
            group: mutation.group,
        }
    }

    fn topic(&self) -> Topic {
        Topic {
            model: self.key.model.clone(),
            kind: self.kind,
        }
    }

    /// Whether it holds back the same others, and is held back by the same, as that mutation.
    fn stands_like(&self, mutation: &Mutation) -> bool {
        (&self.key, self.kind, self.group) == (&mutation.key, mutation.kind, mutation.group)
            && self.parents == mutation.parents
    }
}

impl Outbox {
    /// Adds a mutation, or takes over its new state. A mutation that was taken is free again unless it is in flight.
    pub fn put(&mut self, mutation: &Mutation) {
        let seq = mutation.seq;
        if let Some(known) = self
            .waiting
            .get_mut(&seq)
            .filter(|known| known.stands_like(mutation))
        {
            known.stage.clone_from(&mutation.stage);
            self.set_taken(seq, mutation.stage == Stage::InFlight);
            return;
        }
        self.remove(seq);
        let new = Waiting::of(mutation);
        self.by_key.entry(new.key.clone()).or_default().insert(seq);
        if new.kind == MutationKind::Create {
            self.creates.entry(new.key.clone()).or_default().insert(seq);
        }
        for parent in &new.parents {
            self.referring.entry(parent.clone()).or_default().insert(seq);
        }
        if let Some(group) = new.group {
            self.by_group.entry(group).or_default().insert(seq);
        }
        self.taken += usize::from(new.taken);
        self.waiting.insert(seq, new.clone());
        self.judge(seq);
        self.judge_around(seq, &new);
    }

    /// Forgets a mutation that no longer waits.
    pub fn remove(&mut self, seq: Seq) {
        let Some(gone) = self.waiting.remove(&seq) else {
            return;
        };
        self.taken -= usize::from(gone.taken);
        remove_from(&mut self.ready, &gone.topic(), seq);
        remove_from(&mut self.by_key, &gone.key, seq);
        remove_from(&mut self.creates, &gone.key, seq);
        for parent in &gone.parents {
            remove_from(&mut self.referring, parent, seq);
        }
        if let Some(group) = gone.group {
            remove_from(&mut self.by_group, &group, seq);
        }
        self.judge_around(seq, &gone);
    }

    /// Takes up to `max` mutations that may go now, oldest first, and marks them taken.
    pub fn take(&mut self, max: usize) -> Vec<(Seq, Errand)> {
        let taken = self.take_except(max, &BTreeSet::new());
        taken.into_iter().map(|(seq, errand, _)| (seq, errand)).collect()
    }

    /// Takes up to `max` mutations that may go now and are of none of these topics, oldest first, and marks them taken.
    pub fn take_except(&mut self, max: usize, held_up: &BTreeSet<Topic>) -> Vec<(Seq, Errand, Topic)> {
        let may_go = self.ready.iter().filter(|(topic, _)| !held_up.contains(topic));
        let oldest = may_go.flat_map(|(topic, ready)| ready.iter().take(max).map(move |seq| (*seq, topic)));
        let mut oldest: Vec<(Seq, &Topic)> = oldest.collect();
        oldest.sort_unstable();
        let taken: Vec<(Seq, Errand, Topic)> = oldest
            .into_iter()
            .take(max)
            .filter_map(|(seq, topic)| Some((seq, errand_of(&self.waiting[&seq].stage)?, topic.clone())))
            .collect();
        for (seq, ..) in &taken {
            self.set_taken(*seq, true);
        }
        taken
    }

    /// Gives a taken mutation back, for instance because sending was paused before it went out.
    pub fn give_back(&mut self, seq: Seq) {
        self.set_taken(seq, planted("give-back-forgotten"));
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of mutations in the window.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Number of mutations in the window that are with the sender or may be taken and are of none of these topics. The others
    /// wait for one of them, for the app, or for credentials.
    pub fn moving_len(&self, held_up: &BTreeSet<Topic>) -> usize {
        let may_go = self.ready.iter().filter(|(topic, _)| !held_up.contains(topic));
        self.taken + may_go.map(|(_, ready)| ready.len()).sum::<usize>()
    }

    fn set_taken(&mut self, seq: Seq, taken: bool) {
        if let Some(waiting) = self.waiting.get_mut(&seq) {
            self.taken -= usize::from(waiting.taken);
            self.taken += usize::from(taken);
            waiting.taken = taken;
            self.judge(seq);
        }
    }

    /// Notes whether a mutation may go.
    fn judge(&mut self, seq: Seq) {
        let Some(waiting) = self.waiting.get(&seq) else {
            return;
        };
        if self.may_go(seq, waiting) {
            self.ready.entry(waiting.topic()).or_default().insert(seq);
        } else {
            remove_from(&mut self.ready, &waiting.topic(), seq);
        }
    }

    /// Judges what a mutation that came or went may have held back, or let go.
    fn judge_around(&mut self, seq: Seq, changed: &Waiting) {
        // Of a record, and of a group, only the oldest can go: those two changed places, or one follows the other.
        let mut affected: Vec<Seq> = first_two(&self.by_key, &changed.key);
        if let Some(group) = changed.group {
            affected.extend(first_two(&self.by_group, &group));
        }
        if changed.kind == MutationKind::Create
            && let Some(children) = self.referring.get(&changed.key)
        {
            affected.extend(children.range(seq..));
        }
        let parents = changed.parents.iter();
        affected.extend(parents.filter_map(|parent| first(&self.by_key, parent)));
        for seq in affected {
            self.judge(seq);
        }
    }

    fn may_go(&self, seq: Seq, waiting: &Waiting) -> bool {
        let held = waiting.taken
            || (first(&self.by_key, &waiting.key) != Some(seq) && !planted("order-ignored"))
            || waiting.group.is_some_and(|group| {
                first(&self.by_group, &group) != Some(seq) && !planted("group-order-ignored")
            })
            || (self.waits_for_parent(seq, waiting) && !planted("parents-ignored"))
            || (self.waits_for_children(seq, waiting) && !planted("children-not-awaited"));
        !held && errand_of(&waiting.stage).is_some()
    }

    fn waits_for_parent(&self, seq: Seq, waiting: &Waiting) -> bool {
        waiting.kind != MutationKind::Delete
            && waiting
                .parents
                .iter()
                .filter(|parent| **parent != waiting.key)
                // Also a create behind something else, such as the delete of an earlier record of the same identifier.
                .any(|parent| first(&self.creates, parent).is_some_and(|create| create < seq))
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

/// What is to be done with a mutation at that stage, if nothing holds it back.
fn errand_of(stage: &Stage) -> Option<Errand> {
    match stage {
        Stage::Queued => Some(Errand::Send),
        Stage::Unknown => Some(Errand::Inquire),
        Stage::InFlight | Stage::Parked(_) => None,
    }
}

fn first_two<K: Ord>(index: &BTreeMap<K, BTreeSet<Seq>>, key: &K) -> Vec<Seq> {
    let seqs = index.get(key).into_iter().flatten();
    seqs.take(2).copied().collect()
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
    fn what_moves_is_counted_through_every_change() {
        let mut outbox = Outbox::default();
        let nothing = BTreeSet::new();
        let queued = mutation(1, "a", MutationKind::Create, &[]);
        let parked = Mutation {
            stage: refused(),
            ..queued.clone()
        };
        let in_flight = Mutation {
            stage: Stage::InFlight,
            ..queued.clone()
        };
        outbox.put(&mutation(2, "b", MutationKind::Create, &["a"]));
        for (change, expected) in [
            (&queued, 1),
            (&parked, 0),
            (&parked, 0),
            (&in_flight, 1),
            (&queued, 1),
        ] {
            outbox.put(change);
            assert_eq!(outbox.moving_len(&nothing), expected, "{}", change.stage.name());
        }
        assert_eq!(taken(&mut outbox), [1]);
        assert_eq!(outbox.moving_len(&nothing), 1, "it is with the sender");
        outbox.give_back(Seq(1));
        let creates = Topic {
            model: "M".into(),
            kind: MutationKind::Create,
        };
        assert_eq!(outbox.moving_len(&BTreeSet::from([creates])), 0);
        outbox.remove(Seq(1));
        outbox.remove(Seq(1));
        assert_eq!(outbox.moving_len(&nothing), 1, "its child may go");
        assert_eq!(outbox.len(), 1);
    }

    /// What is judged step by step is what follows from the whole, whatever comes and goes in whatever order.
    #[test]
    fn what_may_go_does_not_depend_on_how_it_came_about() {
        use proptest::prelude::*;
        let step = (0..12_u64, 0..5_usize, 0..3_usize, 0..6_usize, 0..5_u8, 0..3_u64);
        let config = crate::test_support::proptest_config(400);
        proptest!(config, |(steps in proptest::collection::vec(step, 1..60))| {
            let names = ["a", "b", "c", "d", "e"];
            let kinds = [MutationKind::Create, MutationKind::Update, MutationKind::Delete];
            let mut outbox = Outbox::default();
            let mut whole: BTreeMap<Seq, (Mutation, bool)> = BTreeMap::new();
            for (seq, name, kind, parent, act, group) in steps {
                let seq = Seq(seq);
                match act {
                    0 => {
                        outbox.remove(seq);
                        whole.remove(&seq);
                    }
                    1 => {
                        outbox.give_back(seq);
                        if let Some((_, taken)) = whole.get_mut(&seq) {
                            *taken = false;
                        }
                    }
                    2 => {
                        for (seq, _) in outbox.take(2) {
                            whole.get_mut(&seq).expect("what is taken waits").1 = true;
                        }
                    }
                    _ => {
                        let parents: Vec<&str> = names.get(parent).copied().into_iter().collect();
                        let mut new = mutation(seq.0, names[name], kinds[kind], &parents);
                        new.group = (group > 0).then_some(Seq(group));
                        if act == 3 {
                            new.stage = [Stage::InFlight, Stage::Unknown, refused()][kind].clone();
                        }
                        outbox.put(&new);
                        let taken = new.stage == Stage::InFlight;
                        whole.insert(seq, (new, taken));
                    }
                }
                let ready: BTreeSet<Seq> = outbox.ready.values().flatten().copied().collect();
                let free = whole.keys().copied().filter(|seq| goes_by_the_rules(&whole, *seq));
                prop_assert_eq!(ready, free.collect());
                prop_assert_eq!(outbox.taken, whole.values().filter(|(_, taken)| *taken).count());
            }
        });
    }

    /// The rules at the head of this file, word by word.
    fn goes_by_the_rules(whole: &BTreeMap<Seq, (Mutation, bool)>, seq: Seq) -> bool {
        let (mutation, taken) = &whole[&seq];
        let mut earlier = whole.range(..seq).map(|(_, (earlier, _))| earlier);
        !taken
            && matches!(mutation.stage, Stage::Queued | Stage::Unknown)
            && !earlier.any(|earlier| {
                let other = earlier.key != mutation.key;
                let is_parent = mutation.parents.contains(&earlier.key);
                let is_child = earlier.parents.contains(&mutation.key);
                !other
                    || (mutation.group.is_some() && mutation.group == earlier.group)
                    || (mutation.kind != MutationKind::Delete
                        && is_parent
                        && earlier.kind == MutationKind::Create)
                    || (mutation.kind == MutationKind::Delete && is_child)
            })
    }

    fn refused() -> Stage {
        Stage::Parked(Refusal {
            error_type: None,
            message: "no".into(),
        })
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
