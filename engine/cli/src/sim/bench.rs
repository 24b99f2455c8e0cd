//! `landfall sim bench`: what a simulation costs, what finding, repeating and shrinking a failure cost.
//!
//! Owns the figures and what they should be at least or at most. Seconds are those of one core, whatever else it does. What
//! needs a failing seed is measured with planted defects, and is left out of a build without them.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_sim::crash::{CrashSweep, sweep};
use landfall_sim::{Knobs, Plan, Profile, RunOptions, fault_scenario, generate_for, run};
use serde_json::{Value, json};

use super::batch::Timer;

/// Simulated hours a wall second and core, at least.
const HOURS_MIN: f64 = 5.0;
/// Crash images a wall second and core, at least.
const IMAGES_MIN: f64 = 1_000.0;
/// Fault scenarios that `cargo test` has at least.
const SCENARIOS: u64 = 300;
/// Seconds for them, at most.
const SCENARIOS_S_MAX: f64 = 60.0;

/// Plans are drawn to press many writes into a short run. People write less: of so many actions one is left then.
const PEOPLE_ACT_ONE_IN: usize = 20;

/// How much is measured.
#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// Seeds whose simulated hours are counted.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Simulated seconds of work in each.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    busy: u64,
    /// Crash images.
    #[arg(long, default_value_t = 10_000)]
    images: u64,
    /// Planted defects that are found, run again and shrunk.
    #[arg(long, default_value_t = 12)]
    defects: usize,
    /// Print one JSON object in one line.
    #[arg(long)]
    json: bool,
}

/// Measures everything.
pub(super) fn bench(args: &BenchArgs) -> miette::Result<ExitCode> {
    let figures = json!({
        "simulatedHours": {
            "clients": CLIENTS,
            "seeds": args.runs,
            "atLeast": HOURS_MIN,
            "aWriteEverySecondOrTwo": {
                "redbOnSimulatedDisks": hours(args, 1, false),
                "redbInMemory": hours(args, 1, true),
            },
            "aFewWritesAMinute": {
                "redbOnSimulatedDisks": hours(args, PEOPLE_ACT_ONE_IN, false),
                "redbInMemory": hours(args, PEOPLE_ACT_ONE_IN, true),
            },
        },
        "crashImages": crash_images(args.images)?,
        "faultScenarios": fault_scenarios(),
        "failures": failures(args.defects),
    });
    if args.json {
        println!("{figures}");
    } else {
        println!("{figures:#}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Clients of the hours.
const CLIENTS: usize = 4;

/// The plan of the hours: four clients, everything that network and server can do, nothing else.
fn plan_of_hours(seed: u64, busy: u64) -> Plan {
    let knobs = Knobs::chaos_of("NS");
    generate_for(
        seed,
        Profile::Chaos,
        Some(knobs),
        busy.saturating_mul(1_000),
        Some(CLIENTS),
    )
}

fn hours(args: &BenchArgs, one_in: usize, in_memory: bool) -> Value {
    let options = RunOptions {
        in_memory,
        ..RunOptions::default()
    };
    let (mut virtual_ms, mut lines, mut writes, mut faults) = (0, 0, 0, 0);
    let mut settled_ms = Vec::new();
    let timer = Timer::start();
    for seed in 1..=args.runs {
        let mut plan = plan_of_hours(seed, args.busy);
        plan.actions = plan.actions.into_iter().step_by(one_in).collect();
        let outcome = run(&plan, options);
        virtual_ms += outcome.elapsed_ms;
        lines += outcome.trace_lines;
        writes += outcome.acknowledged;
        faults += outcome.faults.values().sum::<u64>();
        settled_ms.push(outcome.settled_ms);
    }
    let seconds = timer.core_seconds();
    let minutes = virtual_ms as f64 / 60_000.0;
    json!({
        "hoursPerSecond": minutes / 60.0 / seconds,
        "seedsPerSecond": args.runs as f64 / seconds,
        "writesPerSimulatedMinute": writes as f64 / minutes,
        "faultsPerSimulatedMinute": faults as f64 / minutes,
        "writesPerSecond": writes as f64 / seconds,
        "linesPerSecond": lines as f64 / seconds,
        "settledMsMedian": median(&mut settled_ms),
        "settledMsMax": settled_ms.last(),
    })
}

fn crash_images(images: u64) -> miette::Result<Value> {
    let timer = Timer::start();
    let swept =
        sweep(&CrashSweep::of_seed(1, images), &mut |_| {}).map_err(|lost| miette::miette!("{lost}"))?;
    let seconds = timer.core_seconds();
    Ok(json!({
        "images": swept.images,
        "perSecond": swept.images as f64 / seconds,
        "atLeast": IMAGES_MIN,
    }))
}

fn fault_scenarios() -> Value {
    let timer = Timer::start();
    for number in 0..SCENARIOS {
        run(&fault_scenario(number), RunOptions::default());
    }
    json!({
        "count": SCENARIOS,
        "seconds": timer.core_seconds(),
        "atMostSeconds": SCENARIOS_S_MAX,
    })
}

fn median<T: Copy + PartialOrd>(values: &mut [T]) -> Option<T> {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

#[cfg(feature = "planted-defects")]
mod planted {
    use landfall_sim::{defects, failing_plan, shrink, with_defect};

    use super::*;

    /// Seconds until the violation of a failing seed is seen again, at most.
    const REPLAY_S_MAX: f64 = 1.0;
    /// User actions of a shrunk plan, at most, at the median.
    const ACTIONS_MAX: usize = 8;
    /// Seconds for shrinking, at most, at the median.
    const SHRINK_S_MAX: f64 = 120.0;
    /// Seeds that are searched for each defect.
    const SEEDS_MAX: u64 = 100;
    /// Simulated seconds of work in each, in milliseconds.
    const BUSY_MS: u64 = 30_000;
    /// Plans that are tried while shrinking.
    const TRIES: usize = 2_000;

    /// What failures cost, measured on every n-th defect.
    pub(super) fn failures(count: usize) -> Value {
        let step = defects().count().div_ceil(count.max(1)).max(1);
        let (mut replay_s, mut shrink_s, mut actions, mut faults) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for defect in defects().step_by(step) {
            let Some(plan) = failing_plan(defect, SEEDS_MAX, BUSY_MS) else {
                continue;
            };
            with_defect(defect, || {
                let timer = Timer::start();
                run(&plan, RunOptions::default());
                replay_s.push(timer.core_seconds());
                let timer = Timer::start();
                if let Some(shrunk) = shrink(&plan, TRIES, &mut |_, _| {}) {
                    shrink_s.push(timer.core_seconds());
                    actions.push(shrunk.plan.actions.len());
                    faults.push(shrunk.plan.faults.len());
                }
            });
        }
        json!({
            "defects": replay_s.len(),
            "replaySecondsMedian": median(&mut replay_s),
            "replaySecondsMax": replay_s.last(),
            "replayAtMostSeconds": REPLAY_S_MAX,
            "shrinkSecondsMedian": median(&mut shrink_s),
            "shrinkSecondsMax": shrink_s.last(),
            "shrinkAtMostSeconds": SHRINK_S_MAX,
            "actionsMedian": median(&mut actions),
            "actionsMax": actions.last(),
            "actionsAtMost": ACTIONS_MAX,
            "faultsMedian": median(&mut faults),
        })
    }
}

#[cfg(feature = "planted-defects")]
fn failures(count: usize) -> Value {
    planted::failures(count)
}

#[cfg(not(feature = "planted-defects"))]
fn failures(_: usize) -> Value {
    json!(
        "measured with planted defects: cargo run --release -p landfall-cli --features planted-defects -- sim bench"
    )
}
