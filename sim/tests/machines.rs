//! The outbox against a model of it that is so slow and plain that it can be read.
//!
//! `landfall_core::Outbox` keeps indexes so that what may go is found quickly; the model keeps a list and looks at all of
//! it. Whatever is done to both, both must hand out the same.

use std::collections::BTreeSet;

use landfall_core::{Errand, FieldMap, Mutation, MutationKind, Outbox, RecordKey, Refusal, Seq, Stage};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Records of a run: few, so that changes meet.
const RECORDS: u8 = 4;

/// A change that waits, as the model sees it.
#[derive(Clone, Debug)]
struct Waiting {
    mutation: Mutation,
    taken: bool,
}

/// What waits, the oldest first.
#[derive(Clone, Debug, Default)]
struct Model {
    waiting: Vec<Waiting>,
    next: u64,
    /// What the newest take must hand out.
    handed_out: Vec<(Seq, Errand)>,
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        record: u8,
        kind: MutationKind,
        parent: Option<u8>,
        grouped: bool,
    },
    Take(usize),
    /// What becomes of the n-th that waits.
    Stage(usize, Stage),
    Remove(usize),
    GiveBack(usize),
}

fn key(record: u8) -> RecordKey {
    RecordKey::new("M", record.to_string().as_str())
}

fn parked() -> Stage {
    Stage::Parked(Refusal {
        error_type: None,
        message: "no".to_owned(),
    })
}

impl Model {
    /// Whether a change may go, by the rules as they are written down.
    fn may_go(&self, index: usize) -> bool {
        let waiting = &self.waiting[index];
        let mutation = &waiting.mutation;
        let earlier = || self.waiting[..index].iter().map(|waiting| &waiting.mutation);
        let is_first_of_record = earlier().all(|other| other.key != mutation.key);
        let is_first_of_group =
            mutation.group.is_none() || earlier().all(|other| other.group != mutation.group);
        let makes_a_parent = |other: &Mutation| {
            other.kind == MutationKind::Create
                && other.key != mutation.key
                && mutation.parents.contains(&other.key)
        };
        let refers_to_it =
            |other: &Mutation| other.key != mutation.key && other.parents.contains(&mutation.key);
        let family = if mutation.kind == MutationKind::Delete {
            !earlier().any(refers_to_it)
        } else {
            !earlier().any(makes_a_parent)
        };
        !waiting.taken && is_first_of_record && is_first_of_group && family
    }

    fn take(&self, max: usize) -> Vec<(Seq, Errand)> {
        let ready = (0..self.waiting.len()).filter(|index| self.may_go(*index));
        let errands = ready.filter_map(|index| {
            let mutation = &self.waiting[index].mutation;
            match mutation.stage {
                Stage::Queued => Some((mutation.seq, Errand::Send)),
                Stage::Unknown => Some((mutation.seq, Errand::Inquire)),
                Stage::InFlight | Stage::Parked(_) => None,
            }
        });
        errands.take(max).collect()
    }
}

struct Rules;

impl ReferenceStateMachine for Rules {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(state: &Model) -> BoxedStrategy<Step> {
        let kind = prop_oneof![
            Just(MutationKind::Create),
            Just(MutationKind::Update),
            Just(MutationKind::Delete)
        ];
        let parent = proptest::option::of(0..RECORDS);
        let put =
            (0..RECORDS, kind, parent, any::<bool>()).prop_map(|(record, kind, parent, grouped)| Step::Put {
                record,
                kind,
                parent,
                grouped,
            });
        let which = 0..state.waiting.len().max(1);
        let stage = prop_oneof![
            Just(Stage::Queued),
            Just(Stage::InFlight),
            Just(Stage::Unknown),
            Just(parked())
        ];
        prop_oneof![
            4 => put,
            3 => (0..5_usize).prop_map(Step::Take),
            3 => (which.clone(), stage).prop_map(|(which, stage)| Step::Stage(which, stage)),
            2 => which.clone().prop_map(Step::Remove),
            1 => which.prop_map(Step::GiveBack),
        ]
        .boxed()
    }

    fn preconditions(state: &Model, step: &Step) -> bool {
        match step {
            Step::Put { .. } | Step::Take(_) => true,
            Step::Stage(which, _) | Step::Remove(which) | Step::GiveBack(which) => {
                *which < state.waiting.len()
            }
        }
    }

    fn apply(mut state: Model, step: &Step) -> Model {
        match step {
            Step::Put {
                record,
                kind,
                parent,
                grouped,
            } => {
                state.next += 1;
                let seq = Seq(state.next);
                // Changes of one transaction follow each other: pairs will do.
                let group = grouped.then(|| Seq(state.next.div_ceil(2)));
                let mutation = Mutation {
                    seq,
                    key: key(*record),
                    kind: *kind,
                    patch: FieldMap::new(),
                    condition: None,
                    base_version: None,
                    stage: Stage::Queued,
                    attempts: 0,
                    conflict_rounds: 0,
                    parents: parent.iter().map(|parent| key(*parent)).collect(),
                    group,
                    base: None,
                };
                state.waiting.push(Waiting {
                    mutation,
                    taken: false,
                });
            }
            Step::Take(max) => {
                state.handed_out = state.take(*max);
                for (seq, _) in &state.handed_out {
                    let taken = state
                        .waiting
                        .iter_mut()
                        .find(|waiting| waiting.mutation.seq == *seq);
                    taken.expect("what is handed out waits").taken = true;
                }
            }
            Step::Stage(which, stage) => {
                let waiting = &mut state.waiting[*which];
                waiting.mutation.stage = stage.clone();
                waiting.taken = *stage == Stage::InFlight;
            }
            Step::Remove(which) => drop(state.waiting.remove(*which)),
            Step::GiveBack(which) => state.waiting[*which].taken = false,
        }
        state
    }
}

/// The outbox, and where each change is by position.
struct Tested {
    outbox: Outbox,
    order: Vec<Seq>,
}

impl StateMachineTest for Tested {
    type SystemUnderTest = Self;
    type Reference = Rules;

    fn init_test(_: &Model) -> Self {
        Self {
            outbox: Outbox::default(),
            order: Vec::new(),
        }
    }

    fn apply(mut tested: Self, after: &Model, step: Step) -> Self {
        match step {
            Step::Put { .. } => {
                let newest = &after.waiting.last().expect("it was put there").mutation;
                tested.order.push(newest.seq);
                tested.outbox.put(newest);
            }
            Step::Take(max) => assert_eq!(tested.outbox.take(max), after.handed_out),
            Step::Stage(which, _) => tested.outbox.put(&after.waiting[which].mutation),
            Step::Remove(which) => tested.outbox.remove(tested.order.remove(which)),
            Step::GiveBack(which) => tested.outbox.give_back(tested.order[which]),
        }
        tested
    }

    fn check_invariants(tested: &Self, model: &Model) {
        assert_eq!(tested.outbox.len(), model.waiting.len());
        assert_eq!(tested.outbox.is_empty(), model.waiting.is_empty());
        let taken = model.waiting.iter().filter(|one| one.taken).count();
        let moving = taken + model.take(usize::MAX).len();
        assert_eq!(tested.outbox.moving_len(&BTreeSet::new()), moving);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_outbox_hands_out_what_the_rules_allow(sequential 1..80 => Tested);
}
