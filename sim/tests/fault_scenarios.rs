//! Three hundred short runs under faults of every kind, as a part of every test run.
//!
//! The same runs are what `landfall sim bench` measures as `faultScenarios`. They go on as many threads as there are
//! processors; a simulation is one thread, whichever, and the first twenty are compared with a second run.
#![allow(
    clippy::disallowed_methods,
    reason = "the test itself is outside of what it simulates: it measures how long it takes"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use landfall_sim::{Outcome, RunOptions, fault_scenario, report, run};

/// How many there are.
const SCENARIOS: u64 = 300;

/// How many are run twice, on whichever thread comes first.
const TWICE: u64 = 20;

/// Runs scenario after scenario on so many threads.
fn on_threads(threads: usize, count: u64) -> BTreeMap<u64, Outcome> {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut outcomes = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= count {
                return outcomes;
            }
            outcomes.push((number, run(&fault_scenario(number), RunOptions::default())));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let outcomes = workers.into_iter().map(|worker| worker.join().expect("it ends"));
        outcomes.flatten().collect()
    })
}

#[test]
fn three_hundred_fault_scenarios_keep_every_promise_and_run_the_same_on_any_thread() {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = on_threads(threads, SCENARIOS);
    let seconds = start.elapsed().as_secs_f64();
    let faults: u64 = outcomes
        .values()
        .flat_map(|outcome| outcome.faults.values())
        .sum();
    let kinds: std::collections::BTreeSet<_> = outcomes
        .values()
        .flat_map(|outcome| outcome.effects.keys())
        .collect();
    println!(
        "{SCENARIOS} scenarios with {faults} faults, of which {} kinds met something, in {seconds:.1} s",
        kinds.len()
    );
    for (number, outcome) in &outcomes {
        assert!(
            outcome.is_well(),
            "fault scenario {number}:\n{}",
            report(&fault_scenario(*number), RunOptions::default(), "the same test")
        );
    }
    assert!(
        faults > 3 * SCENARIOS && kinds.len() > 30,
        "the runs have hardly any faults: {faults}, of which {} kinds met something",
        kinds.len()
    );
    for (number, outcome) in on_threads(1, TWICE) {
        assert_eq!(
            outcome, outcomes[&number],
            "fault scenario {number} ran differently on one thread"
        );
    }
}
