//! `landfall sim run`, `replay` and `shrink`: running plans and showing what they came to.

use std::process::ExitCode;

use indicatif::ProgressBar;
use landfall_sim::{Bug, Outcome, Plan, RunOptions, as_test, exit_code, report, run, timeline};
use miette::miette;
use serde_json::json;

use super::{ReplayArgs, RunArgs, ShrinkArgs, read_plan, write_file};

/// Runs seeds until one fails.
pub(super) fn seeds(args: &RunArgs) -> miette::Result<ExitCode> {
    let progress = if args.runs > 1 && !args.json {
        ProgressBar::new(args.runs)
    } else {
        ProgressBar::hidden()
    };
    let (mut failed, mut status) = (0_u64, ExitCode::SUCCESS);
    for seed in args.seeds() {
        let plan = args.plan(seed)?;
        let options = RunOptions {
            echo: args.trace,
            record: args.html.is_some(),
        };
        let outcome = run(&plan, options);
        if let Some(file) = &args.save_plan {
            write_file(file, &plan.to_json())?;
        }
        if let Some(file) = &args.html {
            write_file(file, &timeline(&plan, &outcome))?;
        }
        progress.suspend(|| show(args, &plan, &outcome));
        progress.inc(1);
        if let Some(invariant) = outcome.invariant() {
            failed += 1;
            if failed == 1 {
                status = ExitCode::from(exit_code(invariant));
            }
            if !args.keep_going {
                break;
            }
        }
    }
    progress.finish_and_clear();
    if args.runs > 1 && !args.json {
        println!("{} runs, {failed} failed", args.runs);
    }
    Ok(status)
}

fn show(args: &RunArgs, plan: &Plan, outcome: &Outcome) {
    if args.json {
        return println!("{}", to_json(plan, outcome));
    }
    if args.runs == 1 || !outcome.is_well() {
        println!("{}", in_a_line(plan, outcome));
    }
    if !outcome.is_well() {
        print!("{}", report(plan, &args.again(plan.seed)));
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

/// Runs a plan from a file.
pub(super) fn replay(args: &ReplayArgs) -> miette::Result<ExitCode> {
    let plan = read_plan(&args.file)?;
    let options = RunOptions {
        echo: args.trace,
        record: args.html.is_some(),
    };
    let outcome = run(&plan, options);
    if let Some(file) = &args.html {
        write_file(file, &timeline(&plan, &outcome))?;
    }
    println!("{}", in_a_line(&plan, &outcome));
    let Some(invariant) = outcome.invariant() else {
        return Ok(ExitCode::SUCCESS);
    };
    let again = format!("landfall sim replay {} --trace", args.file.display());
    print!("{}", report(&plan, &again));
    Ok(ExitCode::from(exit_code(invariant)))
}

/// Makes a plan smaller.
pub(super) fn shrink(args: &ShrinkArgs) -> miette::Result<ExitCode> {
    let plan = read_plan(&args.file)?;
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
        .unwrap_or_else(|| args.file.with_extension("small.json"));
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
            &format!("landfall sim replay {} --trace", out.display())
        )
    );
    Ok(ExitCode::SUCCESS)
}
