//! A day without a network: five people work on, and agree in the evening.

use landfall_sim::{Fault, FaultStep, Profile, RunOptions, generate_for, run};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Simulated time from which the day's work is drawn; spread over the day, that is a change a minute and person.
const DRAWN_MS: u64 = 300_000;

#[test]
fn a_day_of_offline_work_by_five_people_syncs_correctly() {
    let mut plan = generate_for(5, Profile::Calm, None, DRAWN_MS, Some(5));
    for step in &mut plan.actions {
        step.at_ms *= DAY_MS / DRAWN_MS;
    }
    plan.busy_ms = DAY_MS + 10 * MINUTE_MS;
    // They leave one after the other in the morning, and come back one after the other.
    plan.faults = (0..5)
        .map(|client| FaultStep {
            at_ms: (1 + client as u64) * MINUTE_MS,
            fault: Fault::Partition {
                client,
                ms: DAY_MS - 6 * MINUTE_MS,
            },
        })
        .collect();
    let outcome = run(&plan, RunOptions::default());
    assert!(
        outcome.is_well(),
        "{:#?}\n{}",
        outcome.violations,
        outcome.story.join("\n")
    );
    assert!(outcome.acknowledged > 500, "only {} writes", outcome.acknowledged);
    assert_eq!(outcome.faults.get("N1"), Some(&5), "everybody was away");
}
