//! A model test of the rules of one record: random histories of an app, an engine, a network and a server.
//!
//! Each step is what a real engine would log; the decisions are the crate's own. After each step an oracle that
//! shares no code with the rules says what the record should be, and at the end everything is delivered and store and
//! server must agree.
//!
//! What is assumed of the world: a request whose answer was given up does not reach the server later; a tombstone
//! outlives every answer of its life, every frame but those of tombstones, every mutation that was sent in it or made
//! on one of its versions, and every copy that the app holds; and the store hears of it before it is purged.

mod oracle;
mod seen;
mod server;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::server::Strategy as Handling;
use self::world::World;
use crate::mutation::MutationKind;
use crate::schema::KeyKind;
use crate::test_support::proptest_config;

/// Most steps of one history: enough for a few edits, their conflicts and a second life.
const STEPS_MAX: usize = 80;

/// Requests that get through while the network is good: more than usually wait.
const GOOD_ROUNDS: usize = 5;

/// Rounds in which a history must come to rest once nothing goes wrong any more: each mutation needs a send, an
/// inquiry and a few conflicts, and each step makes at most one mutation.
const REST_ROUNDS_MAX: usize = STEPS_MAX * 8;

/// One step of a history; a step that is not possible at the moment does nothing.
#[derive(Clone, Debug)]
enum Step {
    /// The app reads the record, sets a field and saves.
    Save(Edit),
    /// The app saves the copy that it took before.
    SaveCopy(Edit),
    /// The app builds the record anew and saves it.
    SaveNew(Edit),
    /// The app reads the record and keeps it.
    Copy,
    /// The app deletes the record, maybe under a condition.
    Delete { conditional: bool },
    /// The oldest mutation is handed to the transport.
    Send,
    /// The server handles the request under way, or refuses it for a reason of its own.
    Serve { refuse: bool },
    /// The answer arrives.
    Answer,
    /// The network is good for a while: what waits is sent and answered.
    GoodNetwork,
    /// Request or answer is lost, or the process dies: the outcome is unknown.
    Lose,
    /// The server is asked what became of a mutation.
    Inquire,
    /// A frame arrives, maybe again, maybe late.
    Frame(usize),
    /// Another client writes.
    Outside(MutationKind, Edit),
    /// The server forgets a tombstone.
    Purge,
    /// The app has the parked mutation sent again.
    Retry,
    /// The app gives the parked mutation up.
    Discard,
    /// Sync no longer covers the record.
    Evict,
}

/// A field set to a value.
#[derive(Clone, Debug)]
struct Edit {
    text: &'static str,
    conditional: bool,
}

/// How one history is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    handling: Handling,
    answers: ConflictAnswer,
    key: KeyKind,
}

/// What the app's conflict handler answers.
#[derive(Clone, Copy, Debug)]
enum ConflictAnswer {
    AcceptRemote,
    KeepLocal,
    Merge,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let texts = vec![
        "title=a",
        "title=b",
        "title=null",
        "rating=1",
        "rating=2",
        "note=n",
        "note=null",
        "tags=[x]",
        "tags=[x,y]",
        "title=c rating=3",
    ];
    (prop::sample::select(texts), prop::bool::weighted(0.15))
        .prop_map(|(text, conditional)| Edit { text, conditional })
}

/// What another client sets: mostly values that this store never writes, so that it can be told whose they are.
fn any_foreign_edit() -> impl Strategy<Value = Edit> {
    let texts = vec![
        "title=x",
        "title=y",
        "rating=7",
        "note=m",
        "tags=[z]",
        "title=z rating=8",
    ];
    let foreign = prop::sample::select(texts).prop_map(|text| Edit {
        text,
        conditional: false,
    });
    prop_oneof![3 => foreign, 1 => any_edit()]
}

/// Steps of an app, an engine and a network in which no other client writes.
fn any_own_step() -> BoxedStrategy<Step> {
    prop_oneof![
        8 => any_edit().prop_map(Step::Save),
        4 => any_edit().prop_map(Step::SaveCopy),
        1 => any_edit().prop_map(Step::SaveNew),
        4 => Just(Step::Copy),
        3 => prop::bool::weighted(0.2).prop_map(|conditional| Step::Delete { conditional }),
        10 => Just(Step::Send),
        10 => prop::bool::weighted(0.1).prop_map(|refuse| Step::Serve { refuse }),
        8 => Just(Step::Answer),
        5 => Just(Step::GoodNetwork),
        3 => Just(Step::Lose),
        4 => Just(Step::Inquire),
        6 => (0..64_usize).prop_map(Step::Frame),
        2 => Just(Step::Purge),
        2 => Just(Step::Retry),
        2 => Just(Step::Discard),
    ]
    .boxed()
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        1 => Just(MutationKind::Create),
        3 => Just(MutationKind::Update),
        1 => Just(MutationKind::Delete),
    ];
    prop_oneof![
        58 => any_own_step(),
        8 => (kind, any_foreign_edit()).prop_map(|(kind, edit)| Step::Outside(kind, edit)),
        1 => Just(Step::Evict),
    ]
}

/// Steps in which two clients edit the same fields all the time.
fn any_contested_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_edit().prop_map(Step::Save),
        4 => any_edit().prop_map(Step::SaveCopy),
        3 => Just(Step::Copy),
        1 => prop::bool::weighted(0.2).prop_map(|conditional| Step::Delete { conditional }),
        3 => Just(Step::Send),
        3 => prop::bool::weighted(0.1).prop_map(|refuse| Step::Serve { refuse }),
        3 => Just(Step::Answer),
        4 => Just(Step::GoodNetwork),
        1 => Just(Step::Discard),
        5 => (0..64_usize).prop_map(Step::Frame),
        4 => any_foreign_edit().prop_map(|edit| Step::Outside(MutationKind::Update, edit)),
    ]
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let handlings = [Handling::Automerge, Handling::Optimistic];
    let answers = [
        ConflictAnswer::AcceptRemote,
        ConflictAnswer::KeepLocal,
        ConflictAnswer::Merge,
    ];
    let keys = [
        KeyKind::OptionallyManaged,
        KeyKind::OptionallyManaged,
        KeyKind::Managed,
    ];
    (0..2_usize, 0..3_usize, 0..3_usize).prop_map(move |(handling, answer, key)| Setup {
        handling: handlings[handling],
        answers: answers[answer],
        key: keys[key],
    })
}

/// Runs a history to its end; a failure tells all that happened.
fn run(setup: Setup, steps: &[Step]) -> (World, Result<(), TestCaseError>) {
    let mut world = World::new(setup);
    let outcome = steps
        .iter()
        .try_for_each(|step| world.step(step))
        .and_then(|()| world.come_to_rest());
    let outcome = outcome
        .map_err(|wrong| TestCaseError::fail(format!("{wrong}\n{setup:?}\n{}", world.trace.join("\n"))));
    (world, outcome)
}

/// Runs random histories and returns how often each thing was seen.
fn run_histories(
    cases: u32,
    step: impl Strategy<Value = Step>,
    check: impl Fn(&World) -> Result<(), String>,
) -> BTreeMap<&'static str, u32> {
    let seen = RefCell::new(BTreeMap::new());
    let histories = (any_setup(), prop::collection::vec(step, 1..STEPS_MAX));
    let outcome = TestRunner::new(proptest_config(cases)).run(&histories, |(setup, steps)| {
        let (world, outcome) = run(setup, &steps);
        outcome?;
        check(&world).map_err(|wrong| {
            TestCaseError::fail(format!("{wrong}\n{setup:?}\n{}", world.trace.join("\n")))
        })?;
        let mut seen = seen.borrow_mut();
        for (what, times) in world.seen {
            *seen.entry(what).or_default() += times;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    seen.into_inner()
}

#[test]
fn every_history_keeps_the_invariants_and_ends_in_agreement() {
    let seen = run_histories(600, any_step(), |_| Ok(()));
    println!("{seen:?}");
    let all = [
        "write",
        "sent",
        "outcome unknown",
        "not applied",
        "acknowledged",
        "conflict",
        "refused",
        "retried",
        "discarded",
        "remote",
        "evicted",
        "appended",
        "folded",
        "cancelled",
        "purged",
        "server applied",
        "server saw another version",
        "server refused",
        "settled as applied",
        "settled as not applied",
        "settled as a conflict",
    ];
    for what in all {
        assert!(seen.contains_key(what), "no history has seen `{what}`: {seen:?}");
    }
}

/// Nobody else writes, so whatever is lost, repeated or late, the server never sees an old version of ours.
#[test]
fn a_store_is_never_in_conflict_with_itself() {
    let seen = run_histories(400, any_own_step(), |world| match world.server.mismatches {
        0 => Ok(()),
        times => Err(format!("the server saw an old version {times} times")),
    });
    for what in [
        "acknowledged",
        "outcome unknown",
        "settled as applied",
        "remote",
        "folded",
        "discarded",
    ] {
        assert!(seen.contains_key(what), "no history has seen `{what}`: {seen:?}");
    }
}

/// The server lets a mutation overwrite another writer's value only if its author had seen that, or if whoever decided
/// its conflict had: this is checked at each mutation that the server accepts on the version that it names.
#[test]
fn no_change_of_another_writer_is_overwritten_unseen() {
    let seen = run_histories(2000, any_contested_step(), |_| Ok(()));
    for what in [
        "server applied",
        "server saw another version",
        "conflict",
        "folded",
        "discarded",
    ] {
        assert!(seen.contains_key(what), "no history has seen `{what}`: {seen:?}");
    }
}
