//! `landfall sim knobs`, `invariants`, `scenarios`, `check-determinism`, `diff` and `coverage`: what the simulator itself
//! is worth.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_sim::{
    INVARIANTS, KNOBS, Line, PHASES, Plan, Profile, RunOptions, SCENARIOS, SOMETIMES, play, run,
};

use super::{RunArgs, batch, read_plan};

/// Seeds of a batch that must have seen everything that is to be seen sometimes; fewer may miss the rarest by bad luck.
const JUDGED_FROM: u64 = 100;

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
    let mut status = ExitCode::SUCCESS;
    let work = |seed| {
        let plan = args.draw.plan(seed)?;
        let outcomes = [0; 2].map(|_| run(&plan, RunOptions::default()));
        Ok((plan, outcomes))
    };
    let runs = batch::each(args, "seeds", work, |progress, (plan, [one, other])| {
        if one == other {
            return Ok(ControlFlow::Continue(()));
        }
        progress.suspend(|| {
            println!(
                "seed {} ran differently: {} and {}",
                plan.seed, one.trace_hash, other.trace_hash
            );
            show_difference(&plan, &plan);
        });
        status = ExitCode::from(landfall_sim::exit_code("I19"));
        Ok(ControlFlow::Break(()))
    })?;
    if status == ExitCode::SUCCESS {
        println!("{runs} seeds ran the same twice");
    }
    Ok(status)
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
    let mut phases: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let work = |seed| Ok(run(&args.draw.plan(seed)?, RunOptions::default()));
    let runs = batch::each(args, "seeds", work, |_, outcome| {
        for (what, times) in outcome.sometimes {
            *seen.entry(what).or_default() += times;
        }
        for (id, met) in outcome.phases {
            for (phase, times) in met {
                *phases.entry(id).or_default().entry(phase).or_default() += times;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    println!("{runs} seeds of profile {}", args.draw.profile.name());
    show_phases(&phases);
    Ok(judge_coverage(args, runs, &seen))
}

/// How often each fault met a client that was doing what.
fn show_phases(phases: &BTreeMap<&str, BTreeMap<&str, u64>>) {
    print!("\n{:<25}", "faults, by what they met");
    PHASES.iter().for_each(|phase| print!(" {phase:>9}"));
    println!();
    for knob in KNOBS {
        print!("  {:<4} {:<18}", knob.id, knob.name);
        for phase in PHASES {
            let times = phases.get(knob.id).and_then(|met| met.get(phase));
            print!(" {:>9}", times.copied().unwrap_or(0));
        }
        println!();
    }
}

/// What was seen, and whether that is enough; only of a batch that had the chance to see everything.
fn judge_coverage(args: &RunArgs, runs: u64, seen: &BTreeMap<&str, u64>) -> ExitCode {
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
        return ExitCode::SUCCESS;
    }
    println!("\nnever seen: {}", missed.join(", "));
    let has_all_faults = args.draw.profile == Profile::Chaos && args.draw.knobs.is_empty();
    if has_all_faults && runs >= JUDGED_FROM {
        return ExitCode::FAILURE;
    }
    println!(
        "that is no failure: only a batch of at least {JUDGED_FROM} seeds of profile {} must see all of it, as \
         `landfall sim coverage --runs {JUDGED_FROM}`",
        Profile::Chaos.name()
    );
    ExitCode::SUCCESS
}
