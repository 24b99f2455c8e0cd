//! `landfall log`: what happened to a store, from its log.
//!
//! Owns the arguments and the exit codes: 0 if what was asked for is as it should be, 1 if the log is damaged, an
//! invariant fails or the work cannot be done, 2 if the command was called wrongly. What is looked at is never written to.

mod bisect;
mod follow;
mod list;
mod output;
mod past;
mod report;
pub(crate) mod words;

pub(crate) use output::time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use landfall::history::{self, History};

use crate::file_kind::no_log;
use output::Output;
use words::Position;

/// Reads the log of a store, also while a process has it open, or an exported log; it writes to neither.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Directory of a store, its file, or an exported log.
    path: PathBuf,
    #[command(subcommand)]
    command: Command,
    /// Print JSON: one object a line for lists, one object for everything else.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists entries, oldest first.
    List(list::ListArgs),
    /// Shows an entry in full, what led to it and what it led to.
    Show {
        /// Number of the entry, such as 12 or e12; `newest` for the last one.
        entry: Position,
    },
    /// Counts entries by kind, model and origin.
    Stats,
    /// Checks that every entry is there and whole, and that a replay gives what the store holds.
    Verify,
    /// Writes the log to one file, which every command here reads as well.
    Export {
        /// The file to make.
        file: PathBuf,
        /// Replace all values, so that the file can be shown to others: equal values stay equal, the key is thrown away.
        #[arg(long)]
        redact: bool,
    },
    /// Makes a store of the whole log in a new directory.
    Import {
        /// A directory without a store.
        directory: PathBuf,
    },
    /// Shows what the store held after an entry.
    AsOf(past::AsOfArgs),
    /// Shows what changed between two entries, or backwards what would take it back.
    Diff {
        /// The state after this entry is compared ...
        from: Position,
        /// ... with the state after this one.
        to: Position,
    },
    /// Makes a store in a new directory that holds the log up to an entry.
    Fork {
        /// The last entry that it gets.
        entry: Position,
        /// A directory without a store.
        directory: PathBuf,
    },
    /// Tells why a record or a field is what it is: who wrote it, who won, and whether the server has it.
    Why {
        /// MODEL/ID or MODEL/ID.FIELD; parts of a composite id are joined by `#`.
        subject: String,
        /// Look at the state after this entry, not at the newest.
        #[arg(long, value_name = "ENTRY")]
        at: Option<Position>,
    },
    /// Finds the first entry after which something does not hold.
    Bisect(bisect::BisectArgs),
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    // Reading a log is plain work on files; it must not hold up the runtime.
    tokio::task::spawn_blocking(move || look(&args))
        .await
        .map_err(|error| miette::miette!("{error}"))?
}

fn look(args: &Args) -> miette::Result<ExitCode> {
    if let Command::List(list) = &args.command
        && list.follow
    {
        return follow::follow(&args.path, list, &mut Output::new(args.json));
    }
    let history = history::open_for_inspection(&args.path)
        .map_err(|error| no_log(&args.path, error).unwrap_or_else(said))?;
    let mut out = Output::new(args.json);
    let done = perform(&args.command, &history, &mut out).and_then(|code| {
        out.finish()?;
        Ok(code)
    });
    match done {
        Err(Stop::Closed) => Ok(ExitCode::SUCCESS),
        Err(Stop::Report(report)) => Err(report),
        Ok(code) => Ok(code),
    }
}

fn perform(command: &Command, history: &History, out: &mut Output) -> Result<ExitCode, Stop> {
    match command {
        Command::List(args) => list::list(history, args, out),
        Command::Show { entry } => list::show(history, entry.of(history), out),
        Command::Stats => report::stats(history, out),
        Command::Verify => report::verify(history, out),
        Command::Export { file, redact } => report::export(history, file, *redact, out),
        Command::Import { directory } => past::fork(history, history.bounds().1, directory, out),
        Command::AsOf(args) => past::as_of(history, args, out),
        Command::Diff { from, to } => past::diff(history, from.of(history), to.of(history), out),
        Command::Fork { entry, directory } => past::fork(history, entry.of(history), directory, out),
        Command::Why { subject, at } => past::why(history, subject, *at, out),
        Command::Bisect(args) => bisect::bisect(history, args, out),
    }
}

/// Why a command ends before its end.
#[derive(Debug)]
enum Stop {
    /// Whoever read the output has seen enough.
    Closed,
    /// It cannot be done.
    Report(miette::Report),
}

impl From<landfall::StorageError> for Stop {
    fn from(error: landfall::StorageError) -> Self {
        Self::Report(said(error))
    }
}

impl From<miette::Report> for Stop {
    fn from(report: miette::Report) -> Self {
        Self::Report(report)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Report(miette::miette!("the output cannot be written: {error}"))
        }
    }
}

fn said(error: landfall::StorageError) -> miette::Report {
    match error {
        // Whatever it is, it is in the log that was asked about, and making a store again from that is no help.
        landfall::StorageError::Corrupt { path: None, what } => miette::miette!(
            help = "`landfall log PATH verify` says up to where it can be read",
            "the log is damaged: {what}"
        ),
        other => miette::miette!("{other}"),
    }
}

/// Why an entry cannot be shown.
fn unreadable(error: &landfall::StorageError) -> String {
    match error {
        landfall::StorageError::Corrupt { path: None, what } => format!("it cannot be read: {what}"),
        other => other.to_string(),
    }
}
