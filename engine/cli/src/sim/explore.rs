//! `landfall sim knobs`, `invariants`, `scenarios`, `check-determinism`, `diff` and `coverage`: what the simulator itself
//! is worth.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_sim::{
    INVARIANTS, KNOBS, Outcome, PHASES, Plan, Profile, Recording, RunOptions, SCENARIOS, SOMETIMES,
    exit_code, play, run,
};

use miette::miette;

use super::{SeedArgs, batch, read_plan};

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

/// Plays scenarios; the status is that of the first violation.
pub(super) fn scenarios(args: &ScenarioArgs) -> miette::Result<ExitCode> {
    let chosen: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&args.only))
        .collect();
    if chosen.is_empty() {
        return Err(miette!(
            help = "`landfall sim scenarios` plays all of them and prints their names",
            "no scenario has `{}` in its name",
            args.only
        ));
    }
    let mut status = None;
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
        if let Some(first) = played.violations.first() {
            status.get_or_insert_with(|| exit_code(first.invariant));
        }
    }
    Ok(status.map_or(ExitCode::SUCCESS, ExitCode::from))
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

/// What a batch that looks for something else found violated.
#[derive(Debug, Default)]
struct Violated {
    seeds: u64,
    /// The status of the first.
    status: Option<u8>,
}

impl Violated {
    /// What to say about a seed that violated something, with the command that runs it again.
    fn note(&mut self, seed: u64, outcome: &Outcome, again: &str) -> Option<String> {
        let first = outcome.violations.first()?;
        self.seeds += 1;
        self.status.get_or_insert_with(|| exit_code(first.invariant));
        Some(format!("seed {seed}: {first}\nagain: {again}"))
    }

    /// Says at the end what may have scrolled away.
    fn tell(&self) {
        if self.seeds > 0 {
            println!("\n{} seeds violated something, see above", self.seeds);
        }
    }

    /// The status of the first violation; `otherwise` if there was none.
    fn status_or(&self, otherwise: ExitCode) -> ExitCode {
        self.status.map_or(otherwise, ExitCode::from)
    }
}

/// Runs each seed twice.
pub(super) fn check_determinism(args: &SeedArgs) -> miette::Result<ExitCode> {
    let (mut status, mut violated) = (ExitCode::SUCCESS, Violated::default());
    let work = |seed| {
        let plan = args.draw.plan(seed)?;
        let outcomes = [0; 2].map(|_| run(&plan, RunOptions::default()));
        Ok((plan, outcomes))
    };
    let runs = batch::each(args, false, "seeds", work, |progress, (plan, [one, other])| {
        if one == other {
            if let Some(said) = violated.note(plan.seed, &one, &args.again(plan.seed)) {
                progress.suspend(|| println!("{said}"));
            }
            return Ok(ControlFlow::Continue(()));
        }
        progress.suspend(|| {
            println!(
                "seed {} ran differently: {} and {}",
                plan.seed, one.trace_hash, other.trace_hash
            );
            show_difference(&plan, &plan);
        });
        status = ExitCode::from(exit_code("I19"));
        Ok(ControlFlow::Break(()))
    })?;
    if status == ExitCode::SUCCESS {
        println!("{runs} seeds ran the same twice");
        violated.tell();
        status = violated.status_or(status);
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
    let [one, other] = [one, other].map(recorded);
    // Of long runs only the newest lines are kept; lines are counted from the beginning of the run.
    let from = one.lines_dropped.max(other.lines_dropped);
    let line = |of: &Recording, at: usize| of.lines.get(at - of.lines_dropped).cloned();
    let ends = [&one, &other].map(|of| of.lines_dropped + of.lines.len());
    let last = ends[0].max(ends[1]);
    let Some(at) = (from..last).find(|at| line(&one, *at) != line(&other, *at)) else {
        return false;
    };
    for before in (from.max(at.saturating_sub(LINES_BEFORE))..at).filter_map(|at| line(&one, at)) {
        println!("  {before}");
    }
    for (mark, of) in [("-", &one), ("+", &other)] {
        match line(of, at) {
            Some(line) => println!("{mark} {line}"),
            None => println!("{mark} (the run is over)"),
        }
    }
    println!(
        "they part at line {at}{}",
        if at == from && from > 0 { " or before" } else { "" }
    );
    true
}

fn recorded(plan: &Plan) -> Recording {
    let options = RunOptions {
        record: true,
        ..RunOptions::default()
    };
    run(plan, options).recording.unwrap_or_default()
}

/// What a batch has tested.
pub(super) fn coverage(args: &SeedArgs) -> miette::Result<ExitCode> {
    let mut violated = Violated::default();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut phases: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut effects: BTreeMap<&str, u64> = BTreeMap::new();
    let work = |seed| Ok((seed, run(&args.draw.plan(seed)?, RunOptions::default())));
    let runs = batch::each(args, false, "seeds", work, |progress, (seed, outcome)| {
        if let Some(said) = violated.note(seed, &outcome, &args.again(seed)) {
            progress.suspend(|| println!("{said}"));
        }
        for (what, times) in outcome.sometimes {
            *seen.entry(what).or_default() += times;
        }
        for (id, times) in outcome.effects {
            *effects.entry(id).or_default() += times;
        }
        for (id, met) in outcome.phases {
            for (phase, times) in met {
                *phases.entry(id).or_default().entry(phase).or_default() += times;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    println!("{runs} seeds of profile {}", args.draw.profile.name());
    show_phases(&phases, &effects);
    let judged = judge_coverage(args, runs, &seen);
    violated.tell();
    Ok(violated.status_or(judged))
}

/// How often each fault met a client that was doing what, and how often it had an effect: a message that it lost, an
/// operation that it failed.
fn show_phases(phases: &BTreeMap<&str, BTreeMap<&str, u64>>, effects: &BTreeMap<&str, u64>) {
    print!("\n{:<25}", "faults, by what they met");
    PHASES.iter().for_each(|phase| print!(" {phase:>9}"));
    println!(" {:>9}", "effects");
    for knob in KNOBS {
        print!("  {:<4} {:<18}", knob.id, knob.name);
        for phase in PHASES {
            let times = phases.get(knob.id).and_then(|met| met.get(phase));
            print!(" {:>9}", times.copied().unwrap_or(0));
        }
        println!(" {:>9}", effects.get(knob.id).copied().unwrap_or(0));
    }
}

/// What was seen, and whether that is enough; only of a batch that had the chance to see everything.
fn judge_coverage(args: &SeedArgs, runs: u64, seen: &BTreeMap<&str, u64>) -> ExitCode {
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

#[cfg(test)]
mod tests {
    use landfall_sim::{Violation, generate};

    use super::*;

    #[test]
    fn a_batch_that_looks_for_something_else_tells_what_was_violated_first() {
        let plan = generate(1, Profile::Calm, None, 1_000);
        let well = run(&plan, RunOptions::default());
        let violated_by = |invariant| {
            let mut outcome = well.clone();
            outcome.violations.push(Violation {
                invariant,
                at_ms: 1,
                step: 1,
                who: "anna".to_owned(),
                what: "made up".to_owned(),
                key: None,
            });
            outcome
        };
        let mut violated = Violated::default();
        assert_eq!(violated.note(1, &well, "again"), None);
        assert_eq!(violated.status_or(ExitCode::FAILURE), ExitCode::FAILURE);
        let said = violated
            .note(2, &violated_by("E1"), "sim replay 2")
            .unwrap_or_default();
        assert!(
            said.contains("made up") && said.ends_with("again: sim replay 2"),
            "{said}"
        );
        violated.note(3, &violated_by("I1"), "sim replay 3");
        assert_eq!(
            (violated.seeds, violated.status),
            (2, Some(landfall_sim::EXIT_LIVENESS))
        );
    }
}
