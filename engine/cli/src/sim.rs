//! `landfall sim`: simulated runs of stores and a backend.
//!
//! Owns the subcommands' arguments. Exit status: 0 if nothing was violated; otherwise that of the first violation (127 a
//! panic, 128 no quiet in the end, 129 an invariant, 130 a run that went differently the second time), or 1 where no
//! seed is at fault: a survivor among planted defects, a batch that tested too little, a wrong argument.

mod batch;
mod bench;
mod bisect;
mod crash;
mod exhaust;
mod explore;
mod mutants;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use landfall_sim::{CLIENTS_DRAWN_MAX, INVARIANTS, Knobs, Plan, Profile, generate_for};
use miette::{IntoDiagnostic, WrapErr, miette};

/// The same seed gives the same run; a run that fails is repeated by its seed.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds, one after the other; what `landfall sim` does without a subcommand.
    Run(RunArgs),
    /// Runs a plan again, from a file or from its seed.
    Replay(ReplayArgs),
    /// Makes a plan that fails smaller, and writes it, a test and a bug for the bug base.
    Shrink(ShrinkArgs),
    /// Lists the faults with their identifiers and knobs.
    Knobs,
    /// Lists the invariants that are checked.
    Invariants,
    /// Runs each seed twice and compares.
    CheckDeterminism(SeedArgs),
    /// Compares two runs and shows where they part.
    Diff(explore::DiffArgs),
    /// Finds the commit since which a plan fails.
    Bisect(bisect::BisectArgs),
    /// Cuts the power before every disk operation of random transactions, and opens what is left.
    Crash(crash::CrashArgs),
    /// Tries every order of what can happen to two clients and one record.
    Exhaust(exhaust::ExhaustArgs),
    /// Shows what a batch of seeds has and has not tested.
    Coverage(SeedArgs),
    /// Measures how fast simulations run, and how fast they find, repeat and shrink.
    Bench(bench::BenchArgs),
    /// Plays the scenario library.
    Scenarios(explore::ScenarioArgs),
    /// Plants defects one after the other and shows which oracle finds each; needs a build with `planted-defects`.
    Mutants(mutants::MutantArgs),
}

/// A defect to find.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct PlantArgs {
    /// Plants this defect, one of those of `landfall sim mutants`; needs a build with `planted-defects`.
    #[arg(long, value_name = "DEFECT")]
    plant: Option<String>,
}

impl PlantArgs {
    /// Plants the defect on this thread, if one is to be planted.
    fn put(&self) -> miette::Result<()> {
        match &self.plant {
            Some(name) => put_defect(name),
            None => Ok(()),
        }
    }

    /// As it was given.
    fn given(&self) -> String {
        self.plant
            .as_ref()
            .map_or_else(String::new, |name| format!(" --plant {name}"))
    }
}

#[cfg(feature = "planted-defects")]
fn put_defect(name: &str) -> miette::Result<()> {
    if landfall_sim::plant_defect(name) {
        Ok(())
    } else {
        Err(miette!(
            help = "`landfall sim mutants` lists them",
            "there is no defect `{name}`"
        ))
    }
}

#[cfg(not(feature = "planted-defects"))]
fn put_defect(name: &str) -> miette::Result<()> {
    Err(miette!(
        help = "cargo build --release -p landfall-cli --features planted-defects",
        "`{name}` cannot be planted: this build has no defects"
    ))
}

/// How a seed becomes a plan.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DrawArgs {
    /// Simulated seconds during which clients work and things fail.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    busy: u64,
    /// Which kinds of faults there are: calm, net, server, remote (both), disk, life or chaos.
    #[arg(long, default_value = "chaos", value_parser = profile)]
    profile: Profile,
    /// Have all faults of the profile in each seed; otherwise each seed turns half of them off.
    #[arg(long)]
    every_fault: bool,
    /// Sets how often a fault begins, per mille and simulated second, such as `partition=50`; all others are off then.
    #[arg(long = "knob", value_name = "NAME=VALUE")]
    knobs: Vec<String>,
    /// Number of clients, 1 to 8; as many as each seed draws if not said.
    #[arg(long, value_parser = clients)]
    clients: Option<usize>,
}

/// Which seeds are run.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SeedArgs {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of seeds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Run seeds for so many seconds instead of a number of them.
    #[arg(long, value_name = "SECONDS", conflicts_with = "runs")]
    time: Option<u64>,
    /// Number of threads, each with a simulation of its own.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    plant: PlantArgs,
}

impl SeedArgs {
    /// The command that runs one of them again.
    fn again(&self, seed: u64) -> String {
        format!("{}{} --trace", self.draw.again(seed), self.plant.given())
    }
}

/// Which seeds are run, and what is kept of them.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    seeds: SeedArgs,
    /// Print everything that happens to standard error.
    #[arg(long)]
    trace: bool,
    /// Print one JSON object a run.
    #[arg(long)]
    json: bool,
    /// Write the plan of the first seed that fails to this file, or of the last one if all go well.
    #[arg(long, value_name = "FILE")]
    save_plan: Option<PathBuf>,
    /// Draw the first run that fails as a timeline into this HTML file, or the last one if all go well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Go on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
}

/// Which plan is run again, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReplayArgs {
    /// The plan: a file, or a seed, whose plan is drawn again with the settings below.
    plan: String,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    plant: PlantArgs,
    /// Print everything that happens to standard error.
    #[arg(long)]
    trace: bool,
    /// End at this line of the trace.
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Let only violations of this invariant count.
    #[arg(long = "break", value_name = "INVARIANT", value_parser = invariant)]
    only: Option<&'static str>,
    /// Draw the run as a timeline into this HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Which plan is made smaller.
#[derive(Debug, ClapArgs)]
pub(crate) struct ShrinkArgs {
    /// The plan: a file, or a seed, whose plan is drawn again with the settings below.
    plan: String,
    /// Where the small plan goes; beside the given one, or to `seed-N.small.json`, if not said.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    plant: PlantArgs,
    /// Most plans that are tried.
    #[arg(long, default_value_t = 2_000)]
    tries: usize,
}

fn profile(name: &str) -> Result<Profile, String> {
    let names: Vec<&str> = Profile::ALL.iter().map(|profile| profile.name()).collect();
    Profile::of_name(name).ok_or_else(|| format!("the profiles are {}", names.join(", ")))
}

fn clients(text: &str) -> Result<usize, String> {
    let count = text.parse().ok();
    count
        .filter(|count| (1..=CLIENTS_DRAWN_MAX).contains(count))
        .ok_or_else(|| format!("a number from 1 to {CLIENTS_DRAWN_MAX}"))
}

fn invariant(id: &str) -> Result<&'static str, String> {
    let known = INVARIANTS.iter().find(|(known, _)| *known == id);
    known
        .map(|(known, _)| *known)
        .ok_or_else(|| "`landfall sim invariants` lists them".to_owned())
}

impl DrawArgs {
    fn knobs(&self) -> miette::Result<Option<Knobs>> {
        if self.knobs.is_empty() {
            return Ok(None);
        }
        let mut knobs = Knobs::default();
        for text in &self.knobs {
            knobs.set_from_text(text).into_diagnostic()?;
        }
        Ok(Some(knobs))
    }

    fn plan(&self, seed: u64) -> miette::Result<Plan> {
        let all = self.every_fault.then(|| self.profile.knobs());
        let knobs = self.knobs()?.or(all);
        let busy_ms = self.busy.saturating_mul(1_000);
        let plan = generate_for(seed, self.profile, knobs, busy_ms, self.clients);
        plan.check().into_diagnostic()?;
        Ok(plan)
    }

    /// The command that runs a seed again, without what is planted and how it is shown.
    fn again(&self, seed: u64) -> String {
        let knobs: String = self.knobs.iter().map(|knob| format!(" --knob {knob}")).collect();
        let clients = self
            .clients
            .map_or_else(String::new, |clients| format!(" --clients {clients}"));
        let every_fault = if self.every_fault { " --every-fault" } else { "" };
        format!(
            "landfall sim replay {seed} --busy {} --profile {}{clients}{every_fault}{knobs}",
            self.busy,
            self.profile.name()
        )
    }
}

fn read_plan(file: &Path) -> miette::Result<Plan> {
    let text = std::fs::read_to_string(file)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} cannot be read", file.display()))?;
    // A bug of the bug base holds its plan.
    let plan = landfall_sim::Bug::from_json(&text).map(|bug| bug.plan);
    plan.or_else(|_| Plan::from_json(&text))
        .into_diagnostic()
        .wrap_err_with(|| format!("{} holds no plan", file.display()))
}

fn write_file(file: &Path, text: &str) -> miette::Result<()> {
    std::fs::write(file, text)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} cannot be written", file.display()))
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    // A simulation is a world of its own, with a runtime of its own; it gets a thread of its own.
    tokio::task::spawn_blocking(move || dispatch(args))
        .await
        .map_err(|error| miette!("{error}"))?
}

fn dispatch(args: Args) -> miette::Result<ExitCode> {
    match args.command {
        None => run::seeds(&args.run),
        Some(Command::Run(args)) => run::seeds(&args),
        Some(Command::Replay(args)) => run::replay(&args),
        Some(Command::Shrink(args)) => run::shrink(&args),
        Some(Command::Knobs) => {
            explore::knobs();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Invariants) => {
            explore::invariants();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::CheckDeterminism(args)) => explore::check_determinism(&args),
        Some(Command::Diff(args)) => explore::diff(&args),
        Some(Command::Coverage(args)) => explore::coverage(&args),
        Some(Command::Bisect(args)) => bisect::bisect(&args),
        Some(Command::Crash(args)) => crash::crash(&args),
        Some(Command::Exhaust(args)) => exhaust::exhausted(&args),
        Some(Command::Bench(args)) => bench::bench(&args),
        Some(Command::Scenarios(args)) => explore::scenarios(&args),
        Some(Command::Mutants(args)) => mutants::mutants(&args),
    }
}
