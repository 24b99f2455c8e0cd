//! The store beside a naive one: whatever is done to both, both say the same.
//!
//! The naive store is maps of values that are searched from end to end. Random scripts write, query, watch, close, reopen,
//! migrate, clear and move the data; after each step rows, outbox, observers and answers are compared, and at the end the
//! log with what was projected from it.
//!
//! `LANDFALL_SEED` chooses other scripts, `LANDFALL_CASES` how many.

mod naive;
mod questions;
mod reference;
mod schemas;
mod system;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use reference::Reference;
use system::System;

/// Scripts by default: as many as fit into some ten seconds.
const CASES: u32 = 48;

/// Most steps of a script.
const STEPS_MAX: usize = 40;

fn number_from(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_store_does_what_a_naive_one_does() {
    let seed = number_from("LANDFALL_SEED", 1);
    println!("LANDFALL_SEED={seed}");
    let cases = number_from("LANDFALL_CASES", u64::from(CASES));
    let config = ProptestConfig {
        cases: u32::try_from(cases).expect("fewer than four billion cases"),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config.clone());
    let scripts = Reference::sequential_strategy(1..STEPS_MAX);
    let ran = runner.run(&scripts, |(state, steps, seen)| {
        System::test_sequential(config.clone(), state, steps, seen);
        Ok(())
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(reason, (_, steps, _))) => panic!("{reason}\nLANDFALL_SEED={seed}\n{steps:#?}"),
        Err(other) => panic!("LANDFALL_SEED={seed}: {other}"),
    }
}
