//! `landfall sim crash`: crash images of the store, opened one after the other.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_sim::EXIT_INVARIANT;
use landfall_sim::crash::{CrashSweep, sweep};
use serde_json::json;

use super::batch::{Timer, bar};

/// What is cut, and how often.
#[derive(Debug, ClapArgs)]
pub(crate) struct CrashArgs {
    /// Where the scripts and what survives of them follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first script.
    #[arg(long, default_value_t = 0)]
    script: u64,
    /// How many images are opened, up to the end of a script.
    #[arg(long, default_value_t = 20_000)]
    images: u64,
    /// Cut each image a second time while it recovers; otherwise one of 16 is.
    #[arg(long)]
    double: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Cuts, opens, compares.
pub(super) fn crash(args: &CrashArgs) -> miette::Result<ExitCode> {
    let timer = Timer::start();
    let mut chosen = CrashSweep {
        script: args.script,
        ..CrashSweep::of_seed(args.seed, args.images)
    };
    if args.double {
        chosen.double_one_in = 1;
    }
    let progress = bar((!args.json).then_some(args.images).or(Some(0)), "images");
    let swept = sweep(&chosen, &mut |images| progress.set_position(images));
    progress.finish_and_clear();
    let swept = match swept {
        Ok(swept) => swept,
        Err(lost) => {
            println!(
                "{lost}\nagain: landfall sim crash --seed {} --script {} --images 1{}",
                lost.seed,
                lost.script,
                if args.double { " --double" } else { "" }
            );
            return Ok(ExitCode::from(EXIT_INVARIANT));
        }
    };
    let seconds = timer.seconds();
    let per_second = swept.images as f64 / timer.core_seconds();
    if args.json {
        println!(
            "{}",
            json!({
                "seed": args.seed,
                "scripts": swept.scripts,
                "operations": swept.operations,
                "images": swept.images,
                "secondCuts": swept.second,
                "seconds": seconds,
                "imagesPerSecondAndCore": per_second,
                "lost": 0,
            })
        );
    } else {
        println!(
            "{} images of {} operations in {} scripts opened, {} of them cut twice; nothing acknowledged was lost \
             ({per_second:.0} a second and core)",
            swept.images, swept.operations, swept.scripts, swept.second
        );
    }
    Ok(ExitCode::SUCCESS)
}
