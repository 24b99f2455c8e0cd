//! `landfall log ... list` and `show`: entries one by one.
//!
//! Owns how an entry is written for people. Its JSON is the library's.

use std::process::ExitCode;

use clap::Args;
use landfall::history::{Decision, Filter, History, LogChange as Change, entry_json, origin_name};
use landfall::{FieldMap, LogEntry, Origin, Seq};
use serde_json::json;

use super::output::{Output, time};
use super::words::{self, Position, short};
use super::{Stop, unreadable};

/// Which entries are listed; everything that is given has to hold.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those about this model.
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Only those about this record, as MODEL/ID.
    #[arg(long, value_name = "MODEL/ID")]
    record: Option<String>,
    /// Only of this kind; may be given several times.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Filter::kinds()))]
    kind: Vec<String>,
    /// Only those brought about by this; may be given several times.
    #[arg(long, value_parser = origin)]
    origin: Vec<Origin>,
    /// Not before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = words::time)]
    since: Option<i64>,
    /// Not after this time.
    #[arg(long, value_name = "TIME", value_parser = words::time)]
    until: Option<i64>,
    /// Not before this entry.
    #[arg(long, value_name = "ENTRY")]
    pub(super) from: Option<Position>,
    /// Not after this entry.
    #[arg(long, value_name = "ENTRY")]
    pub(super) to: Option<Position>,
    /// Only the newest so many.
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
    /// Go on with what is added, until interrupted. The store may be in use.
    #[arg(long, short)]
    pub(super) follow: bool,
}

fn origin(text: &str) -> Result<Origin, String> {
    let all = [
        Origin::App,
        Origin::Outbox,
        Origin::Response,
        Origin::Subscription,
        Origin::Sync,
        Origin::Recovery,
    ];
    all.into_iter()
        .find(|known| origin_name(*known) == text)
        .ok_or_else(|| format!("an origin is one of {}", all.map(origin_name).join(", ")))
}

pub(super) fn list(history: &History, args: &ListArgs, out: &mut Output) -> Result<ExitCode, Stop> {
    let filter = filter(history, args)?;
    let listing = history.list(&filter, args.limit)?;
    // A model that was removed has entries all the same.
    if listing.matched == 0
        && let Some(model) = &args.model
        && let Some(fault) = words::unknown_model(&*history.schema_at(history.bounds().1)?, model)
    {
        return Err(miette::miette!("{fault}").into());
    }
    let shown = listing.entries.len() as u64;
    let whole = listing.gaps.is_empty() && listing.entries.iter().all(|(_, entry)| entry.is_ok());
    let code = if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if out.wants_json() {
        for (seq, entry) in &listing.entries {
            match entry {
                Ok(entry) => out.object(&entry_json(entry))?,
                Err(error) => out.object(&json!({ "seq": seq, "error": unreadable(error) }))?,
            }
        }
        for (first, last) in &listing.gaps {
            out.object(&json!({ "missing": [first, last] }))?;
        }
        return Ok(code);
    }
    let rows = listing.entries.iter().map(|(seq, entry)| match entry {
        Ok(entry) => row(entry),
        Err(error) => {
            let mut cells = <[String; 6]>::default();
            cells[0] = seq.to_string();
            cells[5] = unreadable(error);
            cells
        }
    });
    out.table(["entry", "time", "origin", "kind", "about", "what"], rows)?;
    if listing.matched > shown {
        let earlier = listing.matched - shown;
        out.line(format!(
            "({earlier} earlier ones; --limit {} shows all)",
            listing.matched
        ))?;
    }
    if listing.matched == shown
        && let Some(trimmed) = words::trimmed(history)?
    {
        out.line(format!("({trimmed})"))?;
    }
    for (first, last) in &listing.gaps {
        out.line(format!("(missing from the log: {first} to {last})"))?;
    }
    Ok(code)
}

fn filter(history: &History, args: &ListArgs) -> Result<Filter, Stop> {
    let mut filter = filter_in(&*history.schema_at(history.bounds().1)?, args)?;
    filter.first = args.from.map(|position| position.of(history));
    filter.last = args.to.map(|position| position.of(history));
    Ok(filter)
}

/// The filter but for the range of entries.
pub(super) fn filter_in(schema: &landfall::Schema, args: &ListArgs) -> Result<Filter, Stop> {
    let record = match &args.record {
        None => None,
        Some(text) => {
            let (key, _) = words::subject(schema, text).map_err(|fault| miette::miette!("{fault}"))?;
            Some(key)
        }
    };
    Ok(Filter {
        model: args.model.as_deref().map(Into::into),
        record,
        kinds: args.kind.clone(),
        origins: args.origin.clone(),
        from_ms: args.since,
        to_ms: args.until,
        first: None,
        last: None,
    })
}

pub(super) fn row(entry: &LogEntry) -> [String; 6] {
    let about = match &entry.change {
        Change::Quarantined(bad) => bad.model.to_string(),
        Change::Checkpoint(checkpoint) => checkpoint.model.to_string(),
        change => change.key().map(ToString::to_string).unwrap_or_default(),
    };
    [
        entry.seq.to_string(),
        time(entry.at_ms),
        origin_name(entry.origin).to_owned(),
        entry.change.name().to_owned(),
        about,
        summary(&entry.change),
    ]
}

/// What a change says, in a few words.
pub(super) fn summary(change: &Change) -> String {
    match change {
        Change::Write(write) => {
            let to_server = if write.queued { "" } else { " (local)" };
            format!("{}{to_server} {}", write.kind.verb(), fields(&write.patch))
        }
        Change::Sent(sent) => format!("{}, attempt {}", sent.mutation, sent.attempt),
        Change::Acknowledged(ack) => format!("{}, version {}", ack.mutation, ack.remote.sync.version.0),
        Change::Conflict(conflict) => {
            let decided = match &conflict.decision {
                Decision::AcceptRemote if conflict.given_up.is_empty() => {
                    "the server's record stands".to_owned()
                }
                Decision::AcceptRemote => {
                    format!(
                        "the server's record stands, given up {}",
                        fields(&conflict.given_up)
                    )
                }
                Decision::Retry { patch, .. } => format!("again with {}", fields(patch)),
            };
            format!(
                "{}, version {}; {decided}",
                conflict.mutation, conflict.remote.sync.version.0
            )
        }
        Change::Refused(refused) => {
            let kind = refused.refusal.error_type.as_deref().unwrap_or("refused");
            format!(
                "{}, {kind}: {}",
                refused.mutation,
                words::cut(&refused.refusal.message)
            )
        }
        Change::Remote(remote) => {
            let deleted = if remote.remote.sync.deleted {
                ", deleted"
            } else {
                ""
            };
            format!(
                "version {}{deleted} {}",
                remote.remote.sync.version.0,
                fields(&remote.remote.fields)
            )
        }
        Change::Evicted(evicted) => evicted.reason.clone(),
        Change::Base(_) => "what came before was trimmed".to_owned(),
        Change::Quarantined(bad) => words::cut(&bad.reason),
        Change::Checkpoint(checkpoint) => match (&checkpoint.cursor.paging, checkpoint.cursor.last_sync_ms) {
            (Some(paging), _) => format!("{} received, more to come", paging.received),
            (None, Some(at)) => format!("in sync as of {}", time(at)),
            (None, None) => "from the start".to_owned(),
        },
        Change::SchemaChanged(changed) => changed.hash.0.clone(),
        Change::Opaque(opaque) => format!("kind {} of version {}, unknown here", opaque.kind, opaque.version),
        change => change.mutation().map(|seq| seq.to_string()).unwrap_or_default(),
    }
}

fn fields(fields: &FieldMap) -> String {
    /// Most fields that are named.
    const NAMED_MAX: usize = 4;
    let more = fields.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = fields
        .iter()
        .take(NAMED_MAX)
        .map(|(name, value)| format!("{name}={}", short(value)))
        .collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(" ")
}

pub(super) fn show(history: &History, seq: Seq, out: &mut Output) -> Result<ExitCode, Stop> {
    let entry = history.entry(seq)?;
    let (causes, effects) = (history.causes(&entry)?, history.led_to(seq)?);
    let earliest = causes.last().unwrap_or(&entry).cause;
    let lost = earliest.filter(|cause| *cause < history.bounds().0);
    if out.wants_json() {
        let all = |entries: &[LogEntry]| entries.iter().map(entry_json).collect::<Vec<_>>();
        out.object(&json!({
            "entry": entry_json(&entry),
            "causes": all(&causes),
            "causesTrimmedAt": lost,
            "ledTo": all(&effects),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let told = entry_json(&entry);
    for (name, value) in told.as_object().into_iter().flatten() {
        let value = match name.as_str() {
            "atMs" => format!("{} ({})", time(entry.at_ms), entry.at_ms),
            "seq" | "mutation" | "group" if value.is_u64() => format!("e{value}"),
            "cause" => entry
                .cause
                .map_or_else(|| "none".to_owned(), |cause| cause.to_string()),
            _ => words::plain(value),
        };
        out.line(format!("{name:>12}  {value}"))?;
    }
    chain(out, "because of", &causes)?;
    if let Some(lost) = lost {
        out.line("")?;
        out.line(format!("before that: {lost}, which is no longer in the log"))?;
    }
    chain(out, "led to", &effects)?;
    Ok(ExitCode::SUCCESS)
}

fn chain(out: &mut Output, title: &str, entries: &[LogEntry]) -> Result<(), Stop> {
    if entries.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line(format!("{title}:"))?;
    out.table(
        ["entry", "time", "origin", "kind", "about", "what"],
        entries.iter().map(row),
    )?;
    Ok(())
}
