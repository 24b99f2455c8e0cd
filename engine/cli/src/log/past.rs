//! `landfall log ... as-of`, `diff`, `fork`, `why` and `bisect`: the store as it was, and how it came to be so.
//!
//! Owns these commands and the file of invariants.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use landfall::history::{
    FieldChange, History, Invariant, PastState, RecordDifference, Rule, Scope, entry_json,
};
use landfall::{Page, Predicate, Query, Record, Seq, Value, record_json};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::output::{Output, time};
use super::report::seqs;
use super::words::{self, Position, short};
use super::{Stop, list};

/// A moment, and what is asked about it.
#[derive(Debug, Args)]
pub(super) struct AsOfArgs {
    /// The entry after which the store is looked at.
    entry: Position,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Shows records of a model, in the order of their identifiers.
    Query {
        /// The model.
        model: String,
        /// Which of them, such as "rating gt 3 and title beginsWith He".
        #[arg(long = "where", value_name = "CONDITION", value_parser = words::condition)]
        condition: Option<Predicate>,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Shows everything that was known of a record: what the app saw, the server's record, what waited.
    Get {
        /// The record, as MODEL/ID.
        record: String,
    },
    /// Shows the changes that waited for the server.
    Outbox,
    /// Shows how far sync of the models had got.
    Sync,
}

pub(super) fn as_of(history: &History, args: &AsOfArgs, out: &mut Output) -> Result<ExitCode, Stop> {
    let seq = args.entry.of(history);
    match &args.question {
        Question::Query {
            model,
            condition,
            limit,
        } => {
            let query = Query {
                predicate: condition.clone().unwrap_or(Predicate::All),
                page: Page {
                    limit: *limit,
                    ..Page::default()
                },
                ..Query::all(model.as_str())
            };
            records(&history.query(seq, &query)?, out)?;
        }
        Question::Get { record } => get(history, seq, record, out)?,
        Question::Outbox => outbox(&history.as_of(seq, &Scope::All)?, out)?,
        Question::Sync => sync(&history.as_of(seq, &Scope::All)?, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn records(found: &[Record], out: &mut Output) -> Result<(), Stop> {
    if out.wants_json() {
        for record in found {
            out.object(&record_json(record))?;
        }
        return Ok(());
    }
    for record in found {
        let fields = record.to_fields();
        let named = fields.iter().filter(|(_, value)| !value.is_null());
        let named: Vec<String> = named
            .map(|(name, value)| format!("{name}={}", short(value)))
            .collect();
        let version = record.sync().map_or_else(
            || "not on the server".to_owned(),
            |sync| format!("version {}", sync.version.0),
        );
        out.line(format!("{} ({version})", named.join(" ")))?;
    }
    out.line(counted(found.len(), "record"))?;
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn get(history: &History, seq: Seq, text: &str, out: &mut Output) -> Result<(), Stop> {
    let schema = history.schema_at(seq)?;
    let (key, _) = words::subject(&schema, text).map_err(|fault| miette::miette!("{fault}"))?;
    let past = history.as_of(seq, &Scope::Records([key.clone()].into()))?;
    let state = past.state(&key).cloned().unwrap_or_default();
    let server = state.shadow.as_ref().zip(schema.model(&key.model));
    let server = server.map(|(row, def)| Record::new(std::sync::Arc::clone(def), row.clone()));
    let record = past.get(&key);
    let sync = state.sync;
    if out.wants_json() {
        out.object(&json!({
            "record": record.as_ref().map(record_json),
            "version": sync.map(|sync| sync.version),
            "deleted": sync.map(|sync| sync.deleted),
            "under": server.as_ref().map(record_json),
            "pending": state.pending.iter().map(mutation_json).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    match &record {
        Some(record) => {
            for (name, value) in record.to_fields() {
                out.line(format!("{name:>16}  {value}"))?;
            }
        }
        None => out.line(format!("{key} was not there for the app"))?,
    }
    out.line(match sync {
        None => "the server did not know it".to_owned(),
        Some(sync) if sync.deleted => format!("deleted on the server, as version {}", sync.version.0),
        Some(sync) => format!("the server's version {}", sync.version.0),
    })?;
    if let Some(server) = server {
        out.line(format!("under what waits: {}", record_json(&server)))?;
    }
    waiting(state.pending.iter(), out)
}

fn mutation_json(mutation: &landfall::Mutation) -> Json {
    json!({
        "mutation": mutation.seq,
        "model": mutation.key.model,
        "id": mutation.key.id.to_string(),
        "kind": mutation.kind.verb(),
        "fields": mutation.patch.iter().map(|(name, value)| (name.to_string(), value.into()))
            .collect::<serde_json::Map<String, Json>>(),
        "stage": mutation.stage.name(),
        "attempts": mutation.attempts,
        "conflictRounds": mutation.conflict_rounds,
        "baseVersion": mutation.base_version,
    })
}

fn outbox(past: &PastState, out: &mut Output) -> Result<(), Stop> {
    let pending = past.pending();
    if out.wants_json() {
        for mutation in pending {
            out.object(&mutation_json(mutation))?;
        }
        return Ok(());
    }
    let count = pending.len();
    waiting(pending.into_iter(), out)?;
    out.line(format!("{count} waiting"))?;
    Ok(())
}

fn waiting<'m>(pending: impl Iterator<Item = &'m landfall::Mutation>, out: &mut Output) -> Result<(), Stop> {
    let rows: Vec<[String; 5]> = pending
        .map(|mutation| {
            let named: Vec<String> = mutation
                .patch
                .iter()
                .map(|(name, value)| format!("{name}={}", short(value)))
                .collect();
            [
                mutation.seq.to_string(),
                mutation.key.to_string(),
                mutation.kind.verb().to_owned(),
                mutation.stage.name().to_owned(),
                named.join(" "),
            ]
        })
        .collect();
    if !rows.is_empty() {
        out.table(["waits", "record", "kind", "stage", "fields"], rows)?;
    }
    Ok(())
}

fn sync(past: &PastState, out: &mut Output) -> Result<(), Stop> {
    if out.wants_json() {
        for (model, cursor) in past.cursors() {
            out.object(&json!({
                "model": model,
                "lastSyncMs": cursor.last_sync_ms,
                "lastFullSyncMs": cursor.last_full_sync_ms,
                "expression": cursor.expression,
                "received": cursor.paging.as_ref().map(|paging| paging.received),
            }))?;
        }
        return Ok(());
    }
    let told = |at: Option<i64>| at.map_or_else(|| "never".to_owned(), time);
    let rows = past.cursors().iter().map(|(model, cursor)| {
        let paging = cursor.paging.as_ref();
        [
            model.to_string(),
            told(cursor.last_sync_ms),
            told(cursor.last_full_sync_ms),
            paging.map_or_else(String::new, |paging| {
                format!("{} received, more to come", paging.received)
            }),
        ]
    });
    out.table(["model", "last sync", "last full sync", "under way"], rows)?;
    Ok(())
}

pub(super) fn diff(history: &History, from: Seq, to: Seq, out: &mut Output) -> Result<ExitCode, Stop> {
    let found = history.diff(from, to)?;
    for record in &found.records {
        if out.wants_json() {
            out.object(&difference_json(record))?;
        } else {
            difference_lines(record, out)?;
        }
    }
    if !out.wants_json() {
        for cursor in &found.cursors {
            out.line(format!("sync of {} went on", cursor.model))?;
        }
        let count = counted(found.records.len(), "record");
        out.line(format!(
            "{count} different between {} and {}",
            found.from, found.to
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn difference_json(record: &RecordDifference) -> Json {
    let field = |change: &FieldChange| {
        json!({
            "field": change.field,
            "before": change.before.as_ref().map(Json::from),
            "after": change.after.as_ref().map(Json::from),
        })
    };
    json!({
        "model": record.key.model,
        "id": record.key.id.to_string(),
        "visible": [record.visible.0, record.visible.1],
        "fields": record.fields.iter().map(field).collect::<Vec<_>>(),
        "version": [record.sync.0.map(|sync| sync.version), record.sync.1.map(|sync| sync.version)],
        "pending": [record.pending.0, record.pending.1],
    })
}

fn difference_lines(record: &RecordDifference, out: &mut Output) -> Result<(), Stop> {
    let what = match record.visible {
        (false, true) => "appeared",
        (true, false) => "went",
        (true, true) if !record.fields.is_empty() => "changed",
        _ => "as the app saw it the same",
    };
    out.line(format!("{} {what}", record.key))?;
    let told = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), short);
    for change in &record.fields {
        out.line(format!(
            "  {}: {} -> {}",
            change.field,
            told(&change.before),
            told(&change.after)
        ))?;
    }
    let version = |sync: Option<landfall::SyncMetadata>| {
        sync.map_or_else(
            || "none".to_owned(),
            |sync| {
                format!(
                    "{}{}",
                    sync.version.0,
                    if sync.deleted { " (deleted)" } else { "" }
                )
            },
        )
    };
    if record.sync.0 != record.sync.1 {
        out.line(format!(
            "  server's version: {} -> {}",
            version(record.sync.0),
            version(record.sync.1)
        ))?;
    }
    if record.pending.0 != record.pending.1 {
        let told = |waiting: &[Seq]| {
            if waiting.is_empty() {
                "nothing".to_owned()
            } else {
                seqs(waiting)
            }
        };
        out.line(format!(
            "  waiting: {} -> {}",
            told(&record.pending.0),
            told(&record.pending.1)
        ))?;
    }
    Ok(())
}

pub(super) fn fork(
    history: &History,
    seq: Seq,
    directory: &Path,
    out: &mut Output,
) -> Result<ExitCode, Stop> {
    let entries = history.fork(seq, directory)?;
    let waiting = history.as_of(seq, &Scope::All)?.pending().len();
    if out.wants_json() {
        out.object(&json!({ "entries": entries, "newest": seq, "waiting": waiting }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(format!(
        "{}: a store of {entries} entries, up to {seq}",
        directory.display()
    ))?;
    if waiting > 0 {
        out.line(format!(
            "{waiting} changes wait in it for the server; if it is connected, they are sent a second time"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn why(
    history: &History,
    subject: &str,
    at: Option<Position>,
    out: &mut Output,
) -> Result<ExitCode, Stop> {
    let to = at.unwrap_or(Position::Newest).of(history);
    let schema = history.schema_at(to)?;
    let (key, field) = words::subject(&schema, subject).map_err(|fault| miette::miette!("{fault}"))?;
    let record = history.record_to(&key, to)?;
    let why = record.why(field.as_deref());
    let code = if why.lines.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    if out.wants_json() {
        let told: Vec<Json> = why
            .lines
            .iter()
            .zip(
                record
                    .steps
                    .iter()
                    .filter(|step| field.as_deref().is_none_or(|field| step.concerns(field))),
            )
            .map(|(line, step)| json!({ "text": line.text, "entry": entry_json(&step.entry) }))
            .collect();
        out.object(&json!({
            "subject": why.subject,
            "value": field.as_deref().and_then(|field| record.value(field)).as_ref().map(Json::from),
            "verdict": why.verdict,
            "story": told,
        }))?;
        return Ok(code);
    }
    out.line(format!("{}.", why.subject))?;
    for sentence in &why.verdict {
        out.line(sentence)?;
    }
    if !why.lines.is_empty() {
        out.line("")?;
        out.line("What happened:")?;
    }
    for line in &why.lines {
        out.line(format!(
            "{:>6}  {}  {}",
            line.seq.to_string(),
            time(line.at_ms),
            line.text
        ))?;
    }
    Ok(code)
}

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
    let failure = history.first_failure(&invariants, from)?;
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
                landfall::history::origin_name(entry.origin),
                list::summary(&entry.change)
            ))?;
        }
    }
    Ok(code)
}

/// An invariant as it stands in a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: Option<String>,
    model: String,
    every: Option<Json>,
    count: Option<Option<Json>>,
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
    let read = written.into_iter().map(|written| {
        let model = written.model.clone();
        invariant(written).map_err(|fault| failed(&format!("the invariant of {model}: {fault}")).into())
    });
    read.collect()
}

fn invariant(written: Written) -> Result<Invariant, String> {
    let bounded = written.at_least.is_some() || written.at_most.is_some();
    let read = |json: &Json| words::condition(&json.to_string());
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
            let of = match written.count.flatten() {
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
