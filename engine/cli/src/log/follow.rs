//! `landfall log ... list --follow`: entries as they are added, by whoever has the store open.
//!
//! Owns the waiting. The file is looked at a few times a second, beside its owner, and never locked or written.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use landfall::history::{self, LiveLog, entry_json};
use landfall::{LogEntry, Seq, StorageError};
use serde_json::json;

use super::list::{ListArgs, filter_in, row};
use super::output::Output;
use super::{Stop, said, unreadable};
use crate::file_kind::no_log;

/// Time between two looks. Soon enough for somebody who watches, and one page read if nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn follow(path: &Path, args: &ListArgs, out: &mut Output) -> miette::Result<ExitCode> {
    match tail(path, args, out) {
        Err(Stop::Closed) => Ok(ExitCode::SUCCESS),
        Err(Stop::Report(report)) => Err(report),
        Ok(code) => Ok(code),
    }
}

fn tail(path: &Path, args: &ListArgs, out: &mut Output) -> Result<ExitCode, Stop> {
    let mut log = LiveLog::open(path).map_err(|error| unfollowed(path, error))?;
    let mut filter = filter_in(log.schema(), args)?;
    filter.first = args.from.and_then(super::words::Position::entry);
    filter.last = args.to.and_then(super::words::Position::entry);
    let mut newest: VecDeque<(Seq, Result<LogEntry, StorageError>)> = VecDeque::new();
    log.read_on(&filter, |seq, entry| {
        newest.push_back((seq, entry));
        if newest.len() > args.limit {
            newest.pop_front();
        }
    })
    .map_err(said)?;
    if newest.is_empty()
        && let Some(model) = &args.model
        && let Some(fault) = super::words::unknown_model(log.schema(), model)
    {
        return Err(miette::miette!("{fault}").into());
    }
    loop {
        for (seq, entry) in newest.drain(..) {
            print(seq, entry, out)?;
        }
        out.finish()?;
        if filter.last.is_some_and(|last| log.next() > last) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK_EVERY);
        match log.read_on(&filter, |seq, entry| newest.push_back((seq, entry))) {
            // It is written too fast at the moment; what was read stands.
            Ok(_) | Err(StorageError::Busy) => {}
            Err(error) => return Err(said(error).into()),
        }
    }
}

/// Why a log cannot be followed. An exported one is a Landfall log, only not one that grows.
fn unfollowed(path: &Path, error: StorageError) -> miette::Report {
    let is_exported = || history::open_for_inspection(path).is_ok_and(|history| history.is_file());
    if matches!(error, StorageError::Foreign { .. }) && is_exported() {
        return miette::miette!(
            help = "list it without --follow, or follow the store that it was exported from",
            "{} is an exported log, to which nothing is added",
            path.display()
        );
    }
    no_log(path, error).unwrap_or_else(said)
}

fn print(seq: Seq, entry: Result<LogEntry, StorageError>, out: &mut Output) -> Result<(), Stop> {
    match entry {
        Ok(entry) if out.wants_json() => out.object(&entry_json(&entry))?,
        Err(error) if out.wants_json() => out.object(&json!({ "seq": seq, "error": unreadable(&error) }))?,
        Ok(entry) => {
            let [entry, time, origin, kind, about, what] = row(&entry);
            out.line(format!(
                "{entry:<8} {time}  {origin:<12} {kind:<14} {about}  {what}"
            ))?;
        }
        Err(error) => out.line(format!("{seq:<8} {}", unreadable(&error)))?,
    }
    Ok(())
}
