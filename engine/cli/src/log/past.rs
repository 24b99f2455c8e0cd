//! `landfall log ... as-of`, `diff`, `fork` and `why`: the store as it was, and how it came to be so.
//!
//! Owns these commands. The work is the library's; here is how it is shown.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use landfall::history::{FieldChange, History, PastState, RecordDifference, Scope, entry_json};
use landfall::{Page, Predicate, Query, Record, Seq, Value, record_json};
use serde_json::{Value as Json, json};

use super::Stop;
use super::output::{Output, time};
use super::report::seqs;
use super::words::{self, Position, short};

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
        /// At most so many; the end says if there are more, with --json by a last object {"_more":true}.
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
                    // One more shows whether there are more.
                    limit: limit.map(|limit| limit.saturating_add(1)),
                    ..Page::default()
                },
                ..Query::all(model.as_str())
            };
            records(&history.query(seq, &query)?, limit.unwrap_or(usize::MAX), out)?;
        }
        Question::Get { record } => get(history, seq, record, out)?,
        Question::Outbox => outbox(&history.pending(seq)?, out)?,
        // Where sync had got depends on no record.
        Question::Sync => sync(&history.as_of(seq, &Scope::Records(BTreeSet::new()))?, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the first of the records, at most so many.
fn records(found: &[Record], most: usize, out: &mut Output) -> Result<(), Stop> {
    let shown = &found[..found.len().min(most)];
    if out.wants_json() {
        for record in shown {
            out.object(&record_json(record))?;
        }
        if shown.len() < found.len() {
            // No record is only this: each has the fields of its key.
            out.object(&json!({ "_more": true }))?;
        }
        return Ok(());
    }
    for record in shown {
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
    if shown.len() < found.len() {
        let all = counted(found.len(), "record");
        out.line(format!(
            "{} of at least {all}; raise --limit to see more",
            shown.len()
        ))?;
    } else {
        out.line(counted(found.len(), "record"))?;
    }
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

fn outbox(pending: &[landfall::Mutation], out: &mut Output) -> Result<(), Stop> {
    if out.wants_json() {
        for mutation in pending {
            out.object(&mutation_json(mutation))?;
        }
        return Ok(());
    }
    let count = pending.len();
    waiting(pending.iter(), out)?;
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
    let waiting = history.pending(seq)?.len();
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
    if why.lines.is_empty()
        && let Some((key, fault)) = words::misnamed_field(&schema, subject)
        && !history.record_to(&key, to)?.steps.is_empty()
    {
        return Err(miette::miette!("{fault}").into());
    }
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
