//! The command `landfall`: the demonstration, the backend, the shell, the code generator and the benchmark.
//!
//! Owns the list of commands and the exit codes: 0 success, 1 the command found what it was asked to find wrong or
//! could not do its work, 2 it was called wrongly.

mod bench;
mod demo;
mod log;
mod modelgen;
mod schema_file;
mod serve;
mod shell;
mod sim;

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
    Serve(serve::Args),
    /// Opens a store to type into, or to drive by JSON lines.
    Shell(shell::Args),
    /// Prints Rust models for a schema, or its model-introspection JSON.
    Modelgen(modelgen::Args),
    /// Measures the store, each figure beside its floor.
    Bench(bench::Args),
    /// Runs stores, network and backend in simulation, from a seed.
    Sim(sim::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.command.start_log();
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
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Shell(args) => shell::run(args).await,
            Command::Modelgen(args) => modelgen::run(&args),
            Command::Bench(args) => bench::run(args).await,
            Command::Sim(args) => sim::run(args).await,
        }
    });
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
            _ => log::start(log::LogFormat::default(), log::LogLevel::default()),
        }
    }
}
