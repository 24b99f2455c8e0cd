//! A day without a network on which nothing else goes right either: power cuts, restarts, wrong clocks.

use landfall_sim::{Fault, FaultStep, Profile, RunOptions, generate_for, run};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Simulated time from which the day's work is drawn; spread over the day, that is a change every two minutes and person.
const DRAWN_MS: u64 = 150_000;

/// Who takes part.
const CLIENTS: usize = 5;

/// How often each one's device fails in the course of the day, by each kind of fault.
const FAILURES: u64 = 4;

/// What happens to a client's device, one kind after the other.
fn failure(client: usize, number: u64) -> Fault {
    let off_ms = 1_000 + number * 20_000;
    match number % 4 {
        0 => Fault::Crash { client, off_ms },
        1 => Fault::Restart { client, off_ms },
        2 => Fault::CrashAtOperation {
            client,
            operations: 3 + number,
            off_ms,
            // Every other time the power goes once more while the store recovers.
            again: (number % 8 == 2).then_some(5),
        },
        _ => Fault::WallClockJumps {
            client,
            by_ms: if number % 8 == 3 { 7_200_000 } else { -7_200_000 },
        },
    }
}

#[test]
fn a_day_of_offline_work_with_power_cuts_and_restarts_loses_nothing() {
    let mut plan = generate_for(11, Profile::Calm, None, DRAWN_MS, Some(CLIENTS));
    for step in &mut plan.actions {
        step.at_ms *= DAY_MS / DRAWN_MS;
    }
    plan.busy_ms = DAY_MS + 10 * MINUTE_MS;
    plan.faults = Vec::new();
    for client in 0..CLIENTS {
        // They leave one after the other in the morning, and come back one after the other.
        let left_ms = (1 + client as u64) * MINUTE_MS;
        let fault = Fault::Partition {
            client,
            ms: DAY_MS - 6 * MINUTE_MS,
        };
        plan.faults.push(FaultStep {
            at_ms: left_ms,
            fault,
        });
        let times = FAILURES * 4;
        plan.faults.extend((0..times).map(|number| FaultStep {
            at_ms: left_ms + (number + 1) * DAY_MS / (times + 1),
            fault: failure(client, number),
        }));
    }
    plan.faults.sort_by_key(|step| step.at_ms);
    let outcome = run(&plan, RunOptions::default());
    assert!(
        outcome.is_well(),
        "{:#?}\n{}",
        outcome.violations,
        outcome.story.join("\n")
    );
    assert!(outcome.acknowledged > 250, "only {} writes", outcome.acknowledged);
    let each = CLIENTS as u64 * FAILURES;
    let expected = [
        ("N1", CLIENTS as u64),
        ("C1", each),
        ("C2", each),
        ("C16", each),
        ("C17", each),
    ];
    for (id, times) in expected {
        assert_eq!(outcome.faults.get(id), Some(&times), "{id}");
    }
}
