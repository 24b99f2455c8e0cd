//! What a replay stops at: an event, a message, a condition on records.
//!
//! Owns [`Stops`]. Everything that is named is looked for in the recording before it is played: a name that is not in it
//! would be waited for in vain, and the end of the replay be taken for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall::flight::{Event, Noted, Recording, SeatName};
use landfall::{Disk, Predicate, Query, Record, Schema, StorageError, record_json, schema_from_json};
use landfall_sim::replay::Moment;
use landfall_storage::{OnIncompatible, Store, StoreOptions};

use super::Args;
use crate::log::words;

/// Page cache of the empty store that conditions are tried on, in bytes.
const CACHE_BYTES: usize = 64 * 1024;

/// A condition on the records of a model, as it was typed.
struct Condition {
    model: String,
    typed: String,
    predicate: Predicate,
}

impl Condition {
    /// The pairs of a model and a condition that were typed.
    fn all(typed: &[String]) -> Result<Vec<Self>, String> {
        let pairs = typed.chunks_exact(2).map(|pair| {
            let (model, typed) = (pair[0].clone(), pair[1].clone());
            let predicate =
                words::condition(&typed).map_err(|error| format!("`{typed}` is no condition: {error}"))?;
            Ok(Self {
                model,
                typed,
                predicate,
            })
        });
        pairs.collect()
    }

    fn query(&self) -> Query {
        Query {
            predicate: self.predicate.clone(),
            ..Query::all(self.model.as_str())
        }
    }
}

/// What a replay is to stop at.
pub(super) struct Stops<'a> {
    until: Option<u64>,
    /// Whether that event is one that is played: others may be played before it that have higher numbers.
    until_is_turn: bool,
    breaks: &'a [String],
    when: Vec<Condition>,
    unless: Vec<Condition>,
}

impl<'a> Stops<'a> {
    /// What was asked for, if the recording has what it names.
    ///
    /// # Errors
    /// What is wrong with it, for whoever typed it.
    pub(super) fn of(args: &'a Args, recording: &Recording) -> Result<Self, String> {
        let (when, unless) = (
            Condition::all(&args.break_when)?,
            Condition::all(&args.break_unless)?,
        );
        check_conditions(recording, when.iter().chain(&unless))?;
        check_breaks(recording, &args.breaks)?;
        let last = recording
            .events
            .iter()
            .map(|noted| noted.order)
            .max()
            .unwrap_or(0);
        if let Some(until) = args.until.filter(|until| *until > last) {
            return Err(format!(
                "there is no event {until}: the last of the recording is {last}"
            ));
        }
        let is_until = |noted: &Noted| Some(noted.order) == args.until && noted.event.is_turn();
        Ok(Self {
            until: args.until,
            until_is_turn: recording.events.iter().any(is_until),
            breaks: &args.breaks,
            when,
            unless,
        })
    }

    /// Why to stop here.
    ///
    /// # Errors
    /// What the store says that is played on.
    pub(super) fn reason(&self, moment: &Moment<'_>) -> Result<Option<String>, String> {
        let order = moment.noted.order;
        if self
            .until
            .is_some_and(|until| order == until || !self.until_is_turn && order > until)
        {
            return Ok(Some(format!("event {order} is reached")));
        }
        let name = moment.noted.event.name();
        let full = full_name(moment.seat, name);
        if self.breaks.iter().any(|at| at == name || *at == full) {
            return Ok(Some(format!("{full} was taken")));
        }
        if !moment.committed {
            return Ok(None);
        }
        let found = |query: &Query| {
            let records = moment.store.records().query(query);
            records.map_err(|error| error.to_string())
        };
        for condition in &self.when {
            let Condition { model, typed, .. } = condition;
            if let Some(record) = found(&condition.query())?.first() {
                return Ok(Some(format!("{model} {typed}: {}", record_json(record))));
            }
        }
        for condition in &self.unless {
            let Condition { model, typed, .. } = condition;
            let (all, good) = (found(&Query::all(model.as_str()))?, found(&condition.query())?);
            let is_bad = |record: &&Record| good.iter().all(|good| good.id() != record.id());
            if let Some(record) = all.iter().find(is_bad) {
                return Ok(Some(format!("{model} {typed} fails: {}", record_json(record))));
            }
        }
        Ok(None)
    }
}

fn full_name(seat: &SeatName, name: &str) -> String {
    format!("{}.{name}", seat.actor)
}

/// Requires that each message is one that the recording has a turn of.
fn check_breaks(recording: &Recording, breaks: &[String]) -> Result<(), String> {
    if breaks.is_empty() {
        return Ok(());
    }
    let (mut seats, mut full, mut short) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for noted in &recording.events {
        match &noted.event {
            Event::Seated { name, .. } => drop(seats.insert(noted.seat, name)),
            event if event.is_turn() => {
                short.insert(event.name());
                full.extend(seats.get(&noted.seat).map(|seat| full_name(seat, event.name())));
            }
            _ => {}
        }
    }
    match breaks
        .iter()
        .find(|at| !short.contains(at.as_str()) && !full.contains(*at))
    {
        None => Ok(()),
        Some(at) => {
            let known: Vec<&str> = full.iter().map(String::as_str).collect();
            Err(format!(
                "no message `{at}` is in the recording; it has {}",
                known.join(", ")
            ))
        }
    }
}

/// Requires that each condition can be asked of the recorded schema, by asking it of an empty store.
fn check_conditions<'c>(
    recording: &Recording,
    conditions: impl Iterator<Item = &'c Condition>,
) -> Result<(), String> {
    let mut conditions = conditions.peekable();
    if conditions.peek().is_none() {
        return Ok(());
    }
    // A schema that cannot be read is told by the replay.
    let Ok(schema) = schema_from_json(&recording.head.schema) else {
        return Ok(());
    };
    let empty = empty_store(Arc::new(schema)).map_err(|error| error.to_string())?;
    let snapshot = empty.reader().snapshot().map_err(|error| error.to_string())?;
    for condition in conditions {
        let Condition { model, typed, .. } = condition;
        if let Err(error) = snapshot.query(&condition.query()) {
            return Err(format!("`{model} {typed}`: {error}"));
        }
    }
    Ok(())
}

fn empty_store(schema: Arc<Schema>) -> Result<Store, StorageError> {
    Store::open(StoreOptions {
        disk: Disk::Memory,
        schema,
        cache_bytes: CACHE_BYTES,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    })
}
