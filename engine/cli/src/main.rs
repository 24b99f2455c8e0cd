//! The command `landfall`: the demonstration, the backend, the shell, the log and its inspector, the code generator, the
//! reader of other APIs and the benchmark.
//!
//! Owns the list of commands and the exit codes: 0 success, 1 the command found what it was asked to find wrong or
//! could not do its work, 2 it was called wrongly, 129, 130 and 143 its work was broken off by a closed terminal, by
//! Ctrl-C or by a request to end.

mod bench;
mod credentials;
mod data;
mod demo;
mod file_kind;
mod inspect;
mod log;
mod logging;
mod migrate;
mod modelgen;
mod opening;
mod pull;
mod replay;
mod schema_change;
mod schema_file;
mod serve;
mod shell;
mod signals;
mod sim;
mod stdout;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Amplify DataStore for Rust: local-first models that sync with AppSync.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main job: two stores edit offline, meet a conflict, reconnect and agree.
    Demo(demo::Args),
    /// Serves an AppSync-compatible backend for a schema.
    Serve(Box<serve::Args>),
    /// Opens a store to type into, or to drive by JSON lines.
    Shell(shell::Args),
    /// Prints Rust models for a schema, or its model-introspection JSON.
    Modelgen(modelgen::Args),
    /// Copies a store, puts a copy back, writes records as text and reads them.
    Data(data::Args),
    /// Carries a store over to another schema, or says what that would do.
    Migrate(migrate::Args),
    /// Reads the schema of an API that is there already, as SDL for models.
    Pull(pull::Args),
    /// Reads the log of a store: lists, explains, verifies, exports, and shows the store as it was.
    Log(log::Args),
    /// Shows a store as a page in the browser: entries, records, what waits, and a slider through time.
    Inspect(inspect::Args),
    /// Plays what a flight recorder wrote, and says where it goes another way.
    Replay(replay::Args),
    /// Measures the store, each figure beside its floor.
    Bench(bench::Args),
    /// Runs stores, network and backend in simulation, from a seed.
    Sim(sim::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.command.start_log();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Of a damaged file the library panics, and the error that comes of it says all there is to say.
        if !landfall_storage::panics_become_errors() {
            print(panic);
        }
    }));
    // What is read by a program stays on one line.
    let wraps = std::io::stderr().is_terminal();
    let handler = move |_: &_| -> Box<dyn miette::ReportHandler> {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(wraps).build())
    };
    miette::set_hook(Box::new(handler)).expect("nothing was reported before");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        if let Err(error) = signals::outlive_file_limits() {
            tracing::warn!(%error, "a file that may not grow any more may end the process");
        }
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(*args).await,
            Command::Shell(args) => shell::run(args).await,
            Command::Modelgen(args) => modelgen::run(&args),
            Command::Data(args) => data::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Pull(args) => pull::run(args).await,
            Command::Log(args) => log::run(args).await,
            Command::Inspect(args) => inspect::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Sim(args) => sim::run(args).await,
        }
    });
    // Somebody may still sit at a prompt, or hold the other end of a pipe, that a thread reads from.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn start_log(&self) {
        match self {
            Self::Serve(args) => args.start_log(),
            _ => logging::start(logging::LogFormat::default(), logging::LogLevel::default()),
        }
    }
}
