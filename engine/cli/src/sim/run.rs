//! `landfall sim run`, `replay` and `shrink`: running plans and showing what they came to.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::ProgressBar;
use landfall_sim::{Bug, Outcome, Plan, RunOptions, as_test, exit_code, report, run, timeline};
use miette::miette;
use serde_json::json;

use super::{ReplayArgs, RunArgs, ShrinkArgs, batch, read_plan, write_file};

/// Runs seeds until one fails.
pub(super) fn seeds(args: &RunArgs) -> miette::Result<ExitCode> {
    let (mut failed, mut status) = (0_u64, ExitCode::SUCCESS);
    let keeps_files = args.save_plan.is_some() || args.html.is_some();
    let options = RunOptions {
        echo: args.trace,
        record: args.html.is_some(),
        ..RunOptions::default()
    };
    let work = |seed| {
        let plan = args.seeds.draw.plan(seed)?;
        let outcome = run(&plan, options);
        Ok((plan, outcome))
    };
    let runs = batch::each(
        &args.seeds,
        args.json,
        "runs",
        work,
        |progress, (plan, outcome)| {
            // Of many runs the first that fails is the one to keep.
            if keeps_files && failed == 0 {
                keep_files(args, &plan, &outcome)?;
            }
            progress.suspend(|| show(args, &plan, &outcome));
            let Some(invariant) = outcome.invariant() else {
                return Ok(ControlFlow::Continue(()));
            };
            failed += 1;
            if failed == 1 {
                status = ExitCode::from(exit_code(invariant));
            }
            Ok(if args.keep_going {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    if runs > 1 && !args.json {
        println!("{runs} runs, {failed} failed");
    }
    Ok(status)
}

fn keep_files(args: &RunArgs, plan: &Plan, outcome: &Outcome) -> miette::Result<()> {
    if let Some(file) = &args.save_plan {
        write_file(file, &plan.to_json())?;
    }
    if let Some(file) = &args.html {
        write_file(file, &timeline(plan, outcome))?;
    }
    Ok(())
}

fn show(args: &RunArgs, plan: &Plan, outcome: &Outcome) {
    if args.json {
        return println!("{}", to_json(plan, outcome));
    }
    if (args.seeds.runs == 1 && args.seeds.time.is_none()) || !outcome.is_well() {
        println!("{}", in_a_line(plan, outcome));
    }
    if !outcome.is_well() {
        let again = args.seeds.again(plan.seed);
        print!("{}", report(plan, RunOptions::default(), &again));
    }
}

fn to_json(plan: &Plan, outcome: &Outcome) -> serde_json::Value {
    let mut value = json!({ "seed": plan.seed, "profile": plan.profile.name(), "knobs": plan.knobs.on() });
    if let (Some(members), Ok(serde_json::Value::Object(more))) =
        (value.as_object_mut(), serde_json::to_value(outcome))
    {
        members.extend(more);
    }
    value
}

fn in_a_line(plan: &Plan, outcome: &Outcome) -> String {
    let faults: u64 = outcome.faults.values().sum();
    format!(
        "seed {}: {} writes, {faults} faults of {} kinds, {} power cuts in {} s; trace {} ({} lines)",
        plan.seed,
        outcome.acknowledged,
        outcome.faults.len(),
        outcome.crashes,
        outcome.elapsed_ms / 1_000,
        outcome.trace_hash,
        outcome.trace_lines,
    )
}

/// Runs a plan from a file or a seed.
pub(super) fn replay(args: &ReplayArgs) -> miette::Result<ExitCode> {
    args.plant.put()?;
    let (plan, again) = match args.plan.parse::<u64>() {
        Ok(seed) => (args.draw.plan(seed)?, args.draw.again(seed)),
        Err(_) => (
            read_plan(Path::new(&args.plan))?,
            format!("landfall sim replay {}", args.plan),
        ),
    };
    let options = RunOptions {
        echo: args.trace,
        record: args.html.is_some(),
        until: args.until,
        only: args.only,
        ..RunOptions::default()
    };
    let outcome = run(&plan, options);
    if let Some(file) = &args.html {
        write_file(file, &timeline(&plan, &outcome))?;
    }
    println!("{}", in_a_line(&plan, &outcome));
    let Some(invariant) = outcome.invariant() else {
        return Ok(ExitCode::SUCCESS);
    };
    // The report is of the same run: about the same invariant, and up to the same line.
    let again = format!("{again}{}{} --trace", args.plant.given(), args.limits());
    print!("{}", report(&plan, options, &again));
    Ok(ExitCode::from(exit_code(invariant)))
}

impl ReplayArgs {
    /// What bounds the run, as it was given.
    fn limits(&self) -> String {
        let until = self
            .until
            .map_or_else(String::new, |step| format!(" --until {step}"));
        let only = self
            .only
            .map_or_else(String::new, |invariant| format!(" --break {invariant}"));
        until + &only
    }
}

/// Makes a plan smaller.
pub(super) fn shrink(args: &ShrinkArgs) -> miette::Result<ExitCode> {
    args.plant.put()?;
    let (plan, file) = match args.plan.parse::<u64>() {
        Ok(seed) => (args.draw.plan(seed)?, PathBuf::from(format!("seed-{seed}.json"))),
        Err(_) => (read_plan(Path::new(&args.plan))?, PathBuf::from(&args.plan)),
    };
    let progress = ProgressBar::new_spinner();
    let shrunk = landfall_sim::shrink(&plan, args.tries, &mut |runs, size| {
        progress.set_message(format!("{runs} runs, {size} actions and faults left"));
        progress.inc(1);
    });
    progress.finish_and_clear();
    let Some(shrunk) = shrunk else {
        return Err(miette!(
            "the plan violates nothing, so there is nothing to keep while it is made smaller"
        ));
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| file.with_extension("small.json"));
    let first = shrunk.outcome.violations.first();
    let what = first.map_or_else(String::new, ToString::to_string);
    let bug = Bug {
        reason: what.clone(),
        invariant: shrunk.outcome.invariant().unwrap_or_default().to_owned(),
        plan: shrunk.plan.clone(),
    };
    write_file(&out, &bug.to_json())?;
    let test = out.with_extension("rs");
    write_file(
        &test,
        &as_test(&shrunk.plan, &format!("seed_{}", plan.seed), &what),
    )?;
    println!(
        "{} actions and faults became {} in {} runs: {}, and a test in {}",
        plan.size(),
        shrunk.plan.size(),
        shrunk.runs,
        out.display(),
        test.display()
    );
    print!(
        "{}",
        report(
            &shrunk.plan,
            RunOptions::default(),
            &format!(
                "landfall sim replay {}{} --trace",
                out.display(),
                args.plant.given()
            )
        )
    );
    Ok(ExitCode::SUCCESS)
}
