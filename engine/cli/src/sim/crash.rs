//! `landfall sim crash`: crash images of the store, opened one after the other.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use landfall_sim::EXIT_INVARIANT;
use landfall_sim::crash::{CrashSweep, Lost, Swept, cut_one, sweep};
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
    /// Cut so many scripts before every operation, and every recovery a second time, instead of a number of images.
    #[arg(long, conflicts_with = "images")]
    scripts: Option<u64>,
    /// Number of threads, each with a script of its own.
    #[arg(long, short, default_value_t = 1, requires = "scripts", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl CrashArgs {
    fn sweep(&self) -> CrashSweep {
        let mut chosen = CrashSweep {
            script: self.script,
            ..CrashSweep::of_seed(self.seed, self.images)
        };
        if self.double || self.scripts.is_some() {
            chosen.double_one_in = 1;
        }
        chosen
    }

    fn bar(&self) -> ProgressBar {
        match self.scripts {
            _ if self.json => bar(Some(0), "images"),
            Some(scripts) => bar(Some(scripts), "scripts"),
            None => bar(Some(self.images), "images"),
        }
    }
}

/// Cuts, opens, compares.
pub(super) fn crash(args: &CrashArgs) -> miette::Result<ExitCode> {
    let timer = Timer::start();
    let chosen = args.sweep();
    let progress = args.bar();
    let swept = match args.scripts {
        Some(scripts) => cut_scripts(&chosen, scripts, args.jobs, &progress),
        None => sweep(&chosen, &mut |images| progress.set_position(images))
            .map(|swept| (swept, timer.core_seconds())),
    };
    progress.finish_and_clear();
    let (swept, core_seconds) = match swept {
        Ok(swept) => swept,
        Err(lost) => {
            println!(
                "{lost}\nagain: landfall sim crash --seed {} --script {} --images 1{}",
                lost.seed,
                lost.script,
                if chosen.double_one_in == 1 {
                    " --double"
                } else {
                    ""
                }
            );
            return Ok(ExitCode::from(EXIT_INVARIANT));
        }
    };
    tell(args, swept, timer.seconds(), swept.images as f64 / core_seconds);
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &CrashArgs, swept: Swept, seconds: f64, per_second: f64) {
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
}

/// Cuts so many scripts on several threads; what it comes to does not depend on how many. Returns also the seconds that
/// cores had worked for it.
fn cut_scripts(
    chosen: &CrashSweep,
    scripts: u64,
    jobs: u8,
    progress: &ProgressBar,
) -> Result<(Swept, f64), Lost> {
    let next = AtomicU64::new(chosen.script);
    let end = chosen.script.saturating_add(scripts);
    let (sender, results) = mpsc::sync_channel(usize::from(jobs));
    let (mut swept, mut core_seconds) = (Swept::default(), 0.0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let timer = Timer::start();
                    // Nobody takes any more once a script has failed.
                    if number >= end
                        || sender
                            .send(cut_one(chosen, number).map(|swept| (swept, timer.core_seconds())))
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for done in results {
            let (of_script, seconds) = done?;
            swept.add(of_script);
            core_seconds += seconds;
            progress.inc(1);
        }
        Ok((swept, core_seconds))
    })
}
