//! The first records of the past, in the order of their identifiers.
//!
//! Owns [`Firsts`], and the guess whether it is worth while. Whoever asks for twenty of a million records does not need the million put together. While the log is
//! read, entries are kept of the records alone whose identifiers are the smallest so far, at most so many; of the rest only
//! the smallest identifier that was let go is known.
//!
//! Invariant: of each record before that identifier every entry is there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use landfall_core::{Record, RecordId, RecordState, Schema, Seq};

use super::History;
use super::fold::{self, model_of};
use super::probe::Probe;
use crate::codec::entry::{decode, model_bytes, peek};
use crate::error::StorageError;
use crate::query::Query;

/// Most records that a query may ask for to be looked for in this way: their entries are held in trees, which are slower than
/// what holds the entries of all.
const WANTED_MAX: usize = 16 * 1024;

/// Records of which entries are kept beyond those that are asked for, since some will have been deleted.
const SPARE: usize = 4 * 1024;

/// How many times as many records as are asked for are kept, since some will not match.
const KEPT_FACTOR: usize = 4;

/// Encoded entries of the records with the smallest identifiers, from one part of the log.
#[derive(Default)]
pub(super) struct Firsts {
    /// In the order of the log, of each record.
    records: BTreeMap<RecordId, Vec<(Seq, Box<[u8]>)>>,
    /// The smallest identifier of which an entry was let go.
    before: Option<RecordId>,
    /// Whether the store was cleared in this part, so that nothing before it counts.
    pub(super) cleared: bool,
}

/// How many records with the smallest identifiers are to be kept for a query; `None` if it asks for too many, or in another
/// order.
pub(super) fn kept_for(query: &Query) -> Option<usize> {
    let wanted = wanted(query)?;
    (query.sort.is_empty() && wanted <= WANTED_MAX).then_some(wanted * KEPT_FACTOR + SPARE)
}

/// How many of the matching records have to be found, those of earlier pages included.
pub(super) fn wanted(query: &Query) -> Option<usize> {
    Some(query.page.limit?.saturating_add(query.page.offset()))
}

impl Firsts {
    /// Takes an entry about a record of that identifier; at most so many records are kept.
    pub(super) fn take(&mut self, most: usize, id: RecordId, (seq, bytes): (Seq, &[u8])) {
        if self.before.as_ref().is_some_and(|before| id >= *before) {
            return;
        }
        self.records.entry(id).or_default().push((seq, bytes.into()));
        if self.records.len() > most {
            self.before = self.records.pop_last().map(|(id, _)| id);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            cleared: true,
            ..Self::default()
        };
    }
}

/// Entries that are looked at to guess how many records match.
const SAMPLE: u64 = 2_048;

impl History {
    /// Whether so many records seem to have enough among them that match, by the first entries of the log: if they have not,
    /// the log is read a second time. A guess that is wrong costs time alone.
    pub(super) fn seem_enough(&self, kept: usize, query: &Query) -> Result<bool, StorageError> {
        let def = self.schema().and_then(|schema| schema.model(&query.model));
        let Some((def, predicate)) = def.and_then(|def| Some((def, query.predicate.bind(def).ok()?))) else {
            return Ok(true);
        };
        let Some(mut probe) = Probe::new(&predicate, def) else {
            return Ok(true);
        };
        let (start, _) = self.bounds();
        let model = model_bytes(&query.model);
        let (mut seen, mut passing) = (0, 0);
        self.scan(start..=Seq(start.0 + SAMPLE), &mut |_, bytes| {
            if let Some(peek) = peek(bytes).filter(|peek| peek.is_of_record() && peek.is_of_model(&model))
                && let Some((_, key_length)) = peek.key_place()
            {
                seen += 1;
                passing += usize::from(!probe.rules_out(bytes, key_length));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let wanted = wanted(query).unwrap_or(usize::MAX);
        Ok(passing.saturating_mul(kept) >= wanted.saturating_mul(seen))
    }
}

/// The records that a query asks for; `None` if what was kept is not enough to tell.
pub(super) fn found_in(
    parts: Vec<Firsts>,
    schema: &Schema,
    query: &Query,
) -> Result<Option<Vec<Record>>, StorageError> {
    let Some(wanted) = wanted(query) else {
        return Ok(None);
    };
    let def = model_of(schema, &query.model)?;
    let predicate = query.predicate.bind(def)?;
    let before = parts.iter().filter_map(|part| part.before.clone()).min();
    let mut records: BTreeMap<RecordId, Vec<(Seq, Box<[u8]>)>> = BTreeMap::new();
    for part in parts {
        for (id, entries) in part.records {
            if before.as_ref().is_none_or(|before| id < *before) {
                records.entry(id).or_default().extend(entries);
            }
        }
    }
    let mut found = Vec::new();
    for entries in records.values() {
        if found.len() >= wanted {
            break;
        }
        let mut state = RecordState::default();
        for (seq, bytes) in entries {
            state.apply(def, *seq, &decode(*seq, bytes)?.change)?;
        }
        if state.row.as_ref().is_some_and(|row| predicate.matches(row)) {
            found.extend(fold::record_of(def, state.row, state.sync));
        }
    }
    if before.is_some() && found.len() < wanted {
        return Ok(None);
    }
    Ok(Some(found.into_iter().skip(query.page.offset()).collect()))
}
