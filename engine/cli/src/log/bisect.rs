//! `landfall log ... bisect`: the first entry after which something does not hold.
//!
//! Owns the command and the file of invariants.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use landfall::history::{History, Invariant, Rule, entry_json, origin_name};
use landfall::{Predicate, Seq, StorageError};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::output::Output;
use super::words::{self, Position};
use super::{Stop, list};

/// What should hold.
#[derive(Debug, Args)]
pub(super) struct BisectArgs {
    /// The model that --where is about.
    #[arg(long, requires = "condition")]
    model: Option<String>,
    /// Every record of the model satisfies this, such as "rating le 5".
    #[arg(long = "where", value_name = "CONDITION", value_parser = words::condition, requires = "model")]
    condition: Option<Predicate>,
    /// A JSON file with a list of invariants: {"name", "model"} and one of {"every": CONDITION},
    /// {"count": CONDITION or null, "atLeast": N, "atMost": N}, {"unique": [FIELD]}.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "condition",
        conflicts_with = "condition"
    )]
    invariant: Option<PathBuf>,
    /// Begin to look after this entry; until then anything may be.
    #[arg(long, value_name = "ENTRY")]
    from: Option<Position>,
}

pub(super) fn bisect(history: &History, args: &BisectArgs, out: &mut Output) -> Result<ExitCode, Stop> {
    let invariants = match (&args.model, &args.condition, &args.invariant) {
        (Some(model), Some(condition), _) => vec![Invariant {
            name: "the condition".to_owned(),
            model: model.as_str().into(),
            rule: Rule::Every(condition.clone()),
        }],
        (_, _, Some(file)) => read_invariants(file)?,
        _ => return Err(miette::miette!("give --model with --where, or --invariant").into()),
    };
    let from = args.from.map_or(Seq::ZERO, |position| position.of(history));
    let failure = match history.first_failure(&invariants, from) {
        Err(StorageError::LogBroken { what, sound }) => {
            let why = format!("the log is damaged: {what}; get a whole copy of it and ask again");
            return undecided(&why, sound, from, out);
        }
        Err(StorageError::EntryTooNew { seq, sound }) => {
            let why =
                format!("{seq} was written by a newer version of Landfall; update Landfall and ask again");
            return undecided(&why, sound, from, out);
        }
        searched => searched?,
    };
    let code = if failure.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if out.wants_json() {
        out.object(&json!({
            "holds": failure.is_none(),
            "invariant": failure.as_ref().map(|failure| &failure.invariant),
            "what": failure.as_ref().map(|failure| &failure.what),
            "entry": failure.as_ref().map(|failure| entry_json(&failure.entry)),
        }))?;
        return Ok(code);
    }
    match failure {
        None => out.line("it holds after every entry")?,
        Some(failure) => {
            let entry = &failure.entry;
            out.line(format!(
                "{} fails after {}: {}",
                failure.invariant, entry.seq, failure.what
            ))?;
            let about = entry.change.key().map(ToString::to_string).unwrap_or_default();
            out.line(format!(
                "{} is a {} by {}: {about} {}",
                entry.seq,
                entry.change.name(),
                origin_name(entry.origin),
                list::summary(&entry.change)
            ))?;
        }
    }
    Ok(code)
}

/// What can be said where the log cannot be read on before anything fails.
fn undecided(why: &str, sound: Option<Seq>, from: Seq, out: &mut Output) -> Result<ExitCode, Stop> {
    let sound = sound.filter(|sound| *sound >= from);
    if out.wants_json() {
        out.object(&json!({ "holds": null, "holdsTo": sound, "why": why }))?;
        return Ok(ExitCode::FAILURE);
    }
    out.line(match sound {
        Some(sound) => {
            format!("it holds after every entry up to {sound}; of what came then nothing is known")
        }
        None => "nothing is known of whether it holds".to_owned(),
    })?;
    out.line(why)?;
    Ok(ExitCode::FAILURE)
}

/// An invariant as it stands in a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: Option<String>,
    model: String,
    every: Option<Json>,
    count: Option<Json>,
    at_least: Option<u64>,
    at_most: Option<u64>,
    unique: Option<Vec<String>>,
}

fn read_invariants(file: &Path) -> Result<Vec<Invariant>, Stop> {
    /// Longest file of invariants; one that people write is far shorter.
    const BYTES_MAX: u64 = 1024 * 1024;
    let failed = |error: &dyn std::fmt::Display| miette::miette!("{}: {error}", file.display());
    let length = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if length > BYTES_MAX {
        return Err(failed(&"it is longer than 1 MiB").into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    let written: Vec<Written> = serde_json::from_str(&text).map_err(|error| failed(&error))?;
    if written.is_empty() {
        // Of nothing it would hold after every entry, which nobody wants to know.
        return Err(failed(&"the list is empty; write at least one invariant into it").into());
    }
    let read = written.into_iter().map(|written| {
        let model = written.model.clone();
        invariant(written).map_err(|fault| failed(&format!("the invariant of {model}: {fault}")).into())
    });
    read.collect()
}

fn invariant(written: Written) -> Result<Invariant, String> {
    let bounded = written.at_least.is_some() || written.at_most.is_some();
    let read = |json: &Json| match json {
        Json::String(typed) => words::condition(typed),
        json => words::condition(&json.to_string()),
    };
    let (rule, described) = match (&written.every, written.unique, bounded) {
        (Some(condition), None, false) => (Rule::Every(read(condition)?), format!("every {condition}")),
        (None, Some(fields), false) => {
            let described = format!("unique {}", fields.join(", "));
            (
                Rule::Unique(fields.into_iter().map(Into::into).collect()),
                described,
            )
        }
        (None, None, true) => {
            let of = match written.count {
                Some(condition) => read(&condition)?,
                None => Predicate::All,
            };
            let (at_least, at_most) = (written.at_least.unwrap_or(0), written.at_most.unwrap_or(u64::MAX));
            (
                Rule::Count {
                    of,
                    at_least,
                    at_most,
                },
                "the number of records".to_owned(),
            )
        }
        _ => {
            return Err(
                "it takes one of `every`, `unique`, and `count` with `atLeast` or `atMost`".to_owned(),
            );
        }
    };
    Ok(Invariant {
        name: written
            .name
            .unwrap_or_else(|| format!("{}: {described}", written.model)),
        model: written.model.into(),
        rule,
    })
}
