//! `landfall sim`: simulated runs of three stores and a backend.
//!
//! Exit status 0 if nothing was violated, 1 otherwise.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use landfall_sim::{Options, Report, Seed, three_clients};
use serde_json::json;

/// The same seed gives the same run; a run that fails is repeated by its seed.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Simulated seconds during which clients work and things fail.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    busy: u64,
    /// Print everything that happens to standard error.
    #[arg(long)]
    trace: bool,
    /// Print one JSON object a run.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    // A simulation is a world of its own, with a runtime of its own; it gets a thread of its own.
    tokio::task::spawn_blocking(move || run_all(&args))
        .await
        .map_err(|error| miette::miette!("{error}"))
}

fn run_all(args: &Args) -> ExitCode {
    let progress = if args.runs > 1 && !args.json {
        ProgressBar::new(args.runs)
    } else {
        ProgressBar::hidden()
    };
    let mut failed = 0_u64;
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let options = Options {
            seed: Seed(seed),
            busy_ms: args.busy.saturating_mul(1_000),
            echo: args.trace,
        };
        let report = three_clients(options);
        failed += u64::from(!report.violations.is_empty());
        progress.suspend(|| show(args, &report));
        progress.inc(1);
    }
    progress.finish_and_clear();
    if args.runs > 1 && !args.json {
        println!("{} runs, {failed} failed", args.runs);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show(args: &Args, report: &Report) {
    if args.json {
        println!(
            "{}",
            json!({
                "seed": report.seed,
                "traceHash": report.trace_hash,
                "traceLines": report.trace_lines,
                "elapsedMs": report.elapsed_ms,
                "acknowledged": report.acknowledged,
                "crashes": report.crashes,
                "partitions": report.partitions,
                "violations": report.violations,
            })
        );
        return;
    }
    println!(
        "seed {}: {} writes, {} crashes, {} partitions in {} s; trace {} ({} lines)",
        report.seed,
        report.acknowledged,
        report.crashes,
        report.partitions,
        report.elapsed_ms / 1_000,
        report.trace_hash,
        report.trace_lines,
    );
    if !report.violations.is_empty() {
        for line in &report.recent {
            println!("    {line}");
        }
        for violation in &report.violations {
            println!("  violated: {violation}");
        }
        println!(
            "  again: landfall sim --seed {} --busy {} --trace",
            report.seed, args.busy
        );
    }
}
