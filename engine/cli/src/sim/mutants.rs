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
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Simulated seconds of work in each run.
    #[arg(long, default_value_t = 30)]
    busy: u64,
}

/// Prints the table; fails if a defect survives.
#[cfg(feature = "planted-defects")]
pub(super) fn mutants(args: &MutantArgs) -> miette::Result<ExitCode> {
    let chosen: Vec<_> = landfall_sim::DEFECTS
        .iter()
        .filter(|defect| defect.name.contains(&args.only))
        .collect();
    let mut survivors = Vec::new();
    println!(
        "{:<32} {:<8} {:<5} {:>5}  what the oracle said",
        "defect", "profile", "by", "seeds"
    );
    for defect in &chosen {
        let profile = defect.profile.name();
        match landfall_sim::hunt(defect, args.seeds, args.busy.saturating_mul(1_000)) {
            Some(kill) => println!(
                "{:<32} {profile:<8} {:<5} {:>5}  {}",
                defect.name, kill.invariant, kill.seeds, kill.said
            ),
            None => {
                survivors.push(defect.name);
                println!(
                    "{:<32} {profile:<8} SURVIVED {} seeds: {}",
                    defect.name, args.seeds, defect.what
                );
            }
        }
    }
    println!(
        "{} of {} defects found",
        chosen.len() - survivors.len(),
        chosen.len()
    );
    Ok(if survivors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says what is missing.
#[cfg(not(feature = "planted-defects"))]
pub(super) fn mutants(args: &MutantArgs) -> miette::Result<ExitCode> {
    let help = format!(
        "cargo run -p landfall-cli --features planted-defects -- sim mutants --seeds {} --busy {} --only '{}'",
        args.seeds, args.busy, args.only
    );
    Err(miette::miette!(help = help, "this build has no planted defects"))
}
