//! `landfall log ... stats`, `verify` and `export`: the log as a whole.
//!
//! Owns these commands. Invariant: a file that was asked for is there in full, or not at all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use landfall::Seq;
use landfall::history::{Check, History, REDACTION_KEY_BYTES, Redaction, Tally};
use serde_json::{Value as Json, json};

use super::Stop;
use super::output::{Output, time};
use super::words;

pub(super) fn stats(history: &History, out: &mut Output) -> Result<ExitCode, Stop> {
    let stats = history.stats()?;
    let (first, last) = history.bounds();
    if out.wants_json() {
        out.object(&json!({
            "first": first,
            "newest": last,
            "entries": stats.total.entries,
            "bytes": stats.total.bytes,
            "firstMs": stats.times_ms.map(|(first, _)| first),
            "newestMs": stats.times_ms.map(|(_, last)| last),
            "longest": stats.longest.map(|(seq, bytes)| json!({ "seq": seq, "bytes": bytes })),
            "unreadable": stats.unreadable,
            "missing": history.len() - stats.total.entries,
            "redacted": history.is_redacted(),
            "trimmed": history.is_trimmed()?,
            "kinds": tallies(&stats.kinds),
            "models": tallies(&stats.models),
            "origins": tallies(&stats.origins),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if history.is_empty() {
        out.line("the log is empty")?;
        return Ok(ExitCode::SUCCESS);
    }
    let redacted = if history.is_redacted() { ", redacted" } else { "" };
    out.line(format!(
        "{} entries, {first} to {last}, {} bytes{redacted}",
        stats.total.entries, stats.total.bytes
    ))?;
    if let Some(trimmed) = words::trimmed(history)? {
        out.line(trimmed)?;
    }
    if let Some((first, last)) = stats.times_ms {
        out.line(format!("written from {} to {}", time(first), time(last)))?;
    }
    if let Some((seq, bytes)) = stats.longest {
        out.line(format!("the longest is {seq} with {bytes} bytes"))?;
    }
    if stats.unreadable > 0 {
        out.line(format!(
            "{} cannot be read; `verify` says which",
            stats.unreadable
        ))?;
    }
    if stats.total.entries < history.len() {
        let missing = history.len() - stats.total.entries;
        out.line(format!("{missing} are missing; `verify` says which"))?;
    }
    tally_table(out, "kind", &stats.kinds)?;
    tally_table(out, "model", &stats.models)?;
    tally_table(out, "origin", &stats.origins)
}

fn tallies<K: Display>(tallies: &BTreeMap<K, Tally>) -> Json {
    let member = |(name, tally): (&K, &Tally)| {
        let tally = json!({ "entries": tally.entries, "bytes": tally.bytes });
        (name.to_string(), tally)
    };
    Json::Object(tallies.iter().map(member).collect())
}

fn tally_table<K: Display>(
    out: &mut Output,
    title: &str,
    tallies: &BTreeMap<K, Tally>,
) -> Result<ExitCode, Stop> {
    out.line("")?;
    let rows = tallies.iter().map(|(name, tally)| {
        [
            name.to_string(),
            tally.entries.to_string(),
            tally.bytes.to_string(),
        ]
    });
    out.table([title, "entries", "bytes"], rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Why the rows of a store in use are not compared with its log.
const IN_USE: &str = "rows are not compared: an app has the store open; close it there and verify again to have that done as well";

pub(super) fn verify(history: &History, out: &mut Output) -> Result<ExitCode, Stop> {
    let check = history.check()?;
    let code = if check.is_sound() && check.newer.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if out.wants_json() {
        let damage = check.damage.iter();
        out.object(&json!({
            "sound": check.is_sound(),
            "trimmed": history.is_trimmed()?,
            "entries": check.entries,
            "unknown": check.unknown,
            "newer": check.newer,
            "soundTo": check.sound_to,
            "damage": damage.map(|d| json!({ "seq": d.seq, "what": d.what })).collect::<Vec<_>>(),
            "notCompared": history.is_beside_its_owner().then_some(IN_USE),
            "projections": check.projections.as_ref().map(|found| json!({
                "records": found.records,
                "differences": found.differences,
            })),
        }))?;
        return Ok(code);
    }
    told(history, &check, out)?;
    Ok(code)
}

fn told(history: &History, check: &Check, out: &mut Output) -> Result<(), Stop> {
    let (first, last) = history.bounds();
    if check.damage.is_empty() {
        out.line(format!(
            "{} entries, {first} to {last}: all there, whole, and each follows the one before it",
            check.entries
        ))?;
    } else {
        out.line(format!(
            "the log is damaged; {} entries of {first} to {last} are there:",
            check.entries
        ))?;
        for damage in &check.damage {
            out.line(format!("  {}", damage.what))?;
        }
        out.line(match check.sound_to {
            Some(seq) => {
                format!("everything up to {seq} can be read and replayed: try as-of, fork or export")
            }
            None => "nothing of it can be replayed; list still shows what can be read".to_owned(),
        })?;
    }
    if let Some(trimmed) = words::trimmed(history)? {
        out.line(trimmed)?;
    }
    if check.unknown > 0 {
        out.line(format!(
            "{} entries are of kinds that this version does not know; they are kept as they are",
            check.unknown
        ))?;
    }
    if let Some(newer) = check.newer {
        out.line(format!(
            "{newer} was written by a newer version of Landfall, so from there on nothing can be replayed; update Landfall"
        ))?;
    }
    let Some(projections) = &check.projections else {
        if history.is_beside_its_owner() {
            out.line(IN_USE)?;
        }
        return Ok(());
    };
    if projections.differences.is_empty() {
        out.line(format!(
            "a replay gives what the store holds: {} records, indexes, outbox and sync state",
            projections.records
        ))?;
    } else {
        out.line("a replay gives something else than the store holds:")?;
        for difference in &projections.differences {
            out.line(format!("  {difference}"))?;
        }
    }
    Ok(())
}

pub(super) fn export(
    history: &History,
    file: &Path,
    redact: bool,
    out: &mut Output,
) -> Result<ExitCode, Stop> {
    let failed = |error: &dyn Display| miette::miette!("{} cannot be written: {error}", file.display());
    if file.exists() {
        return Err(miette::miette!("{} is there already; choose another name", file.display()).into());
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    let schema = history.schema_at(history.bounds().1).ok();
    let redaction = redact.then(|| Redaction::new(random_key(), schema));
    let done = {
        let mut writer = BufWriter::new(part.as_file_mut());
        let done = history
            .export(&mut writer, redaction.as_ref())
            .map_err(|error| failed(&error))?;
        writer.flush().map_err(|error| failed(&error))?;
        done
    };
    part.as_file().sync_all().map_err(|error| failed(&error))?;
    part.persist_noclobber(file)
        .map_err(|error| failed(&error.error))?;
    let holds_states = !history.is_trimmed().map_err(|error| failed(&error))?
        || history.holds_base().map_err(|error| failed(&error))?;
    if out.wants_json() {
        out.object(&json!({
            "entries": done.entries,
            "bytes": done.bytes,
            "leftOut": done.left_out,
            "redacted": redact,
            "holdsStates": holds_states,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(format!(
        "{}: {} entries, {} bytes",
        file.display(),
        done.entries,
        done.bytes
    ))?;
    if redact {
        out.line("values are replaced and the key is gone; names of models and fields, times and booleans are as they were")?;
    }
    if done.left_out > 0 {
        out.line(format!("{} unreadable entries were left out", done.left_out))?;
    }
    if !holds_states {
        out.line("the log was trimmed, and what it goes on from cannot be read while an app has the store open: the file has entries and no states; close the app and export again for those")?;
    }
    if done.entries < history.len() {
        let missing = history.len() - done.entries;
        let what = if missing == 1 { "entry is" } else { "entries are" };
        out.line(format!("{missing} {what} missing; `verify` says which"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Two identifiers of version 4 have 244 random bits.
fn random_key() -> [u8; REDACTION_KEY_BYTES] {
    let mut key = [0; REDACTION_KEY_BYTES];
    let (first, second) = key.split_at_mut(REDACTION_KEY_BYTES / 2);
    first.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    second.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key
}

/// Numbers of entries for people.
pub(super) fn seqs(seqs: &[Seq]) -> String {
    let seqs: Vec<String> = seqs.iter().map(ToString::to_string).collect();
    seqs.join(" ")
}
