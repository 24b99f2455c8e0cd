//! `landfall sim mutants`: which oracle finds which planted defect, and after how many seeds.

use std::process::ExitCode;

use clap::Args as ClapArgs;

/// Which defects are planted.
#[derive(Debug, ClapArgs)]
pub(crate) struct MutantArgs {
    /// Only those whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Most seeds that are tried for each.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Simulated seconds of work in each run.
    #[arg(long, default_value_t = 30)]
    busy: u64,
    /// Number of threads, each with a defect of its own.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

/// Prints the table; fails if a defect survives.
#[cfg(feature = "planted-defects")]
pub(super) fn mutants(args: &MutantArgs) -> miette::Result<ExitCode> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    let chosen: Vec<_> = landfall_sim::AREAS
        .iter()
        .flat_map(|area| area.defects.iter().map(move |defect| (area.name, defect)))
        .filter(|(_, defect)| defect.name.contains(&args.only))
        .collect();
    if chosen.is_empty() {
        return Err(miette::miette!("no defect has `{}` in its name", args.only));
    }
    println!(
        "{:<14} {:<32} {:<8} {:<5} {:>5}  what the oracle said",
        "area", "defect", "profile", "by", "seeds"
    );
    let progress = super::batch::bar(Some(chosen.len() as u64), "defects");
    let next = AtomicUsize::new(0);
    let (sender, kills) = mpsc::sync_channel(usize::from(args.jobs));
    let mut survivors = 0;
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            let (sender, next, chosen) = (sender.clone(), &next, &chosen);
            // A defect is planted on one thread, and seen by no other.
            scope.spawn(move || {
                while let Some((area, defect)) = chosen.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let kill = landfall_sim::hunt(defect, args.seeds, args.busy.saturating_mul(1_000));
                    if sender.send((area, defect, kill)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (area, defect, kill) in kills {
            survivors += usize::from(kill.is_none());
            progress.suspend(|| show(area, defect, kill, args.seeds));
            progress.inc(1);
        }
    });
    progress.finish_and_clear();
    println!("{} of {} defects found", chosen.len() - survivors, chosen.len());
    Ok(if survivors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(feature = "planted-defects")]
fn show(area: &str, defect: &landfall_sim::Defect, kill: Option<landfall_sim::Kill>, seeds: u64) {
    let (name, profile) = (defect.name, defect.profile.name());
    match kill {
        Some(kill) => println!(
            "{area:<14} {name:<32} {profile:<8} {:<5} {:>5}  {}",
            kill.invariant, kill.seeds, kill.said
        ),
        None => println!(
            "{area:<14} {name:<32} {profile:<8} SURVIVED {seeds} seeds: {}",
            defect.what
        ),
    }
}

/// Says what is missing.
#[cfg(not(feature = "planted-defects"))]
pub(super) fn mutants(args: &MutantArgs) -> miette::Result<ExitCode> {
    let help = format!(
        "cargo run -p landfall-cli --features planted-defects -- sim mutants --seeds {} --busy {} --jobs {} --only '{}'",
        args.seeds, args.busy, args.jobs, args.only
    );
    Err(miette::miette!(help = help, "this build has no planted defects"))
}
