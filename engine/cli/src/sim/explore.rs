//! `landfall sim knobs`, `invariants`, `check-determinism`, `diff`, `coverage` and `bench`: what the simulator itself is
//! worth.
#![allow(clippy::disallowed_methods, reason = "`bench` measures real time")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args as ClapArgs;
use landfall_sim::{INVARIANTS, KNOBS, Line, Plan, RunOptions, SCENARIOS, SOMETIMES, play, run};
use miette::miette;
use serde_json::json;

use super::{RunArgs, read_plan};

/// Lines before the first difference that `diff` shows.
const LINES_BEFORE: usize = 8;

/// What is compared.
#[derive(Debug, ClapArgs)]
pub(crate) struct DiffArgs {
    /// A plan.
    one: PathBuf,
    /// Another plan, such as the same one with a row left out.
    other: PathBuf,
}

/// Which scenarios are played.
#[derive(Debug, ClapArgs)]
pub(crate) struct ScenarioArgs {
    /// Only those whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
}

/// Plays scenarios.
pub(super) fn scenarios(args: &ScenarioArgs) -> miette::Result<ExitCode> {
    let mut failed = 0_u64;
    let chosen = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&args.only));
    for scenario in chosen {
        let played = play(scenario);
        let verdict = if played.violations.is_empty() {
            "well"
        } else {
            "NOT WELL"
        };
        println!(
            "{verdict:<8} {} ({})",
            scenario.name,
            scenario.upstream.join(", ")
        );
        println!("         there: {}", scenario.what);
        for violation in &played.violations {
            println!("         {violation}");
        }
        failed += u64::from(!played.violations.is_empty());
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lists the knobs.
pub(super) fn knobs() {
    for knob in KNOBS {
        println!(
            "{:<4} {:<20} {:>4}  {}",
            knob.id,
            knob.name,
            knob.chaos,
            knob.what.trim()
        );
    }
}

/// Lists the invariants.
pub(super) fn invariants() {
    for (id, what) in INVARIANTS {
        println!("{id:<4} {what}");
    }
}

/// Runs each seed twice.
pub(super) fn check_determinism(args: &RunArgs) -> miette::Result<ExitCode> {
    for seed in args.seeds() {
        let plan = args.plan(seed)?;
        let (one, other) = (
            run(&plan, RunOptions::default()),
            run(&plan, RunOptions::default()),
        );
        if one != other {
            println!(
                "seed {seed} ran differently: {} and {}",
                one.trace_hash, other.trace_hash
            );
            show_difference(&plan, &plan);
            return Ok(ExitCode::from(landfall_sim::exit_code("I19")));
        }
    }
    println!("{} seeds ran the same twice", args.runs);
    Ok(ExitCode::SUCCESS)
}

/// Compares two plans' runs.
pub(super) fn diff(args: &DiffArgs) -> miette::Result<ExitCode> {
    let same = !show_difference(&read_plan(&args.one)?, &read_plan(&args.other)?);
    if same {
        println!("the runs are the same, line by line");
    }
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Shows the first line that differs, with what came before. Returns whether one does.
fn show_difference(one: &Plan, other: &Plan) -> bool {
    let [one, other] = [one, other].map(lines);
    let shorter = one.len().min(other.len());
    let first = (0..shorter).find(|at| one[*at] != other[*at]);
    let Some(at) = first.or_else(|| (one.len() != other.len()).then_some(shorter)) else {
        return false;
    };
    for line in &one[at.saturating_sub(LINES_BEFORE)..at] {
        println!("  {line}");
    }
    for (mark, lines) in [("-", &one), ("+", &other)] {
        match lines.get(at) {
            Some(line) => println!("{mark} {line}"),
            None => println!("{mark} (the run is over)"),
        }
    }
    println!("they part at line {at}");
    true
}

fn lines(plan: &Plan) -> Vec<Line> {
    let options = RunOptions {
        record: true,
        ..RunOptions::default()
    };
    run(plan, options).recording.unwrap_or_default().lines
}

/// What a batch has tested.
pub(super) fn coverage(args: &RunArgs) -> miette::Result<ExitCode> {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in args.seeds() {
        let outcome = run(&args.plan(seed)?, RunOptions::default());
        for (what, times) in outcome.sometimes {
            *seen.entry(what).or_default() += times;
        }
        for (id, times) in outcome.faults {
            *faults.entry(id).or_default() += times;
        }
    }
    println!("{} seeds of profile {}", args.runs, args.profile.name());
    println!("\nfaults");
    for knob in KNOBS {
        let times = faults.get(knob.id).copied().unwrap_or(0);
        println!("  {:<4} {:<20} {times:>8}", knob.id, knob.name);
    }
    println!("\nmust be seen sometimes");
    for (name, what) in SOMETIMES {
        let times = seen.get(name).copied().unwrap_or(0);
        println!("  {name:<34} {times:>8}  {what}");
    }
    let missed: Vec<&str> = SOMETIMES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !seen.contains_key(name))
        .collect();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nnever seen: {}", missed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// How fast simulations run.
pub(super) fn bench(args: &RunArgs) -> miette::Result<ExitCode> {
    if args.runs == 0 {
        return Err(miette!("nothing is measured with --runs 0"));
    }
    let start = Instant::now();
    let (mut virtual_ms, mut lines, mut writes, mut settled_ms) = (0, 0, 0, Vec::new());
    for seed in args.seeds() {
        let outcome = run(&args.plan(seed)?, RunOptions::default());
        virtual_ms += outcome.elapsed_ms;
        lines += outcome.trace_lines;
        writes += outcome.acknowledged;
        settled_ms.push(outcome.settled_ms);
    }
    let seconds = start.elapsed().as_secs_f64();
    settled_ms.sort_unstable();
    let slowest = settled_ms.last().copied().unwrap_or(0);
    let median = settled_ms.get(settled_ms.len() / 2).copied().unwrap_or(0);
    let hours = virtual_ms as f64 / 3_600_000.0;
    let figures = json!({
        "profile": args.profile.name(),
        "seeds": args.runs,
        "seconds": seconds,
        "seedsPerSecond": args.runs as f64 / seconds,
        "simulatedHoursPerSecond": hours / seconds,
        "linesPerSecond": lines as f64 / seconds,
        "writesPerSecond": writes as f64 / seconds,
        "settledMsMedian": median,
        "settledMsMax": slowest,
    });
    if args.json {
        println!("{figures}");
    } else {
        println!("{figures:#}");
    }
    Ok(ExitCode::SUCCESS)
}
