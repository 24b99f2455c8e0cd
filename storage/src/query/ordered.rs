//! Queries that follow relations or go on from a cursor.
//!
//! Owns [`Cursor`], [`RecordPage`] and [`Explanation`]. Plain queries take the quicker way in `query.rs`.
//!
//! Invariants: 1. the result is that of a full scan, sorted, with ties in the order of identifiers; 2. pages by cursor
//! name a place in the order, not a number of records, so a record that neither changes its place nor goes while
//! somebody pages is seen exactly once, whatever is written meanwhile.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use landfall_core::{BoundPredicate, Direction, Record, RecordId, Value, compare_keys, identifier_at};

use super::plan::KeyRange;
use super::relation::{Followed, Resolver, SortPath, leads_away, sort_paths};
use super::seek::Way;
use super::{Query, Snapshot, wanted_of};
use crate::catalog::ModelEntry;
use crate::codec::head::HeadRef;
use crate::codec::row::EncodedRow;
use crate::error::StorageError;
use crate::tables::model_prefix;

/// Values of related records that one query remembers; those of further ones are read again for each row.
const REMEMBERED_MAX: usize = 65_536;

/// Longest text that is read as a cursor, in bytes; one is as long as the sort keys of one record, twice.
pub const CURSOR_LEN_MAX: usize = 1 << 20;

/// A place between two records of a query's order, from which the next page goes on.
///
/// As a text it can be handed out, for instance in a link; it says nothing but the sort keys and the identifier of
/// the record before it. It belongs to the query that it came from, whose page size alone may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Fingerprint of model, predicate and sort.
    query: u32,
    values: Vec<Value>,
    /// Encoded identifier.
    id: Vec<u8>,
}

/// A page of a query's result, as [`Snapshot::page_after`] gives it; of typed records it is `DataStore::page`.
#[derive(Clone, Debug)]
pub struct RecordPage {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` if there was nothing more when this one was read.
    pub next: Option<Cursor>,
}

/// How a query is carried out: the answer of `DataStore::explain`. Written out, it is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The relations that are followed first, innermost first.
    pub relations: Vec<Followed>,
    /// How the records are then found, such as ``by a range of the index `byBlog` ``.
    pub plan: String,
    /// Whether every record of the model is looked at.
    pub scans: bool,
    /// Whether what was found has to be put in order.
    pub sorts: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for relation in &self.relations {
            write!(f, "{relation}, then ")?;
        }
        f.write_str(&self.plan)?;
        if self.sorts {
            f.write_str(", sorted")?;
        }
        Ok(())
    }
}

impl Query {
    /// Whether more than the records of its own model decide what it finds, or in which order.
    pub fn follows_relations(&self) -> bool {
        self.predicate.follows_relations() || leads_away(&self.sort)
    }

    fn fingerprint(&self) -> u32 {
        let shape = (&self.model, &self.predicate, &self.sort);
        crc32fast::hash(&rmp_serde::to_vec(&shape).expect("writing MessagePack to memory cannot fail"))
    }
}

/// A place in the order of a query.
struct Place {
    values: Vec<(Value, Direction)>,
    /// Key of the record.
    key: Vec<u8>,
}

impl Place {
    fn of_cursor(cursor: &Cursor, model: &ModelEntry, paths: &[SortPath<'_>]) -> Self {
        let directions = paths.iter().map(|path| path.direction);
        Self {
            values: cursor.values.iter().cloned().zip(directions).collect(),
            key: [model_prefix(&model.def.name).as_slice(), &cursor.id].concat(),
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_keys(&self.values, &other.values).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

impl Snapshot {
    /// The next page of a query after a cursor, or its first page without one; the query's limit is the page size.
    ///
    /// # Errors
    /// [`StorageError::BadCursor`] if the cursor is of another query, or the query has no limit or asks for a numbered
    /// page; otherwise as [`Snapshot::query`].
    pub fn page_after(&self, query: &Query, after: Option<&Cursor>) -> Result<RecordPage, StorageError> {
        self.said(|| {
            let size = match query.page.limit {
                Some(size) if size > 0 && query.page.page == 0 => size,
                _ => {
                    return Err(StorageError::BadCursor {
                        reason: "pages by cursor need a limit above 0 and no page number",
                    });
                }
            };
            if after.is_some_and(|cursor| cursor.query != query.fingerprint()) {
                return Err(StorageError::BadCursor {
                    reason: "it belongs to another query; ask for the first page of this one",
                });
            }
            let model = self.catalog().model(&query.model)?;
            let predicate = self.resolve(model, &query.predicate)?;
            let paths = sort_paths(self, model, &query.sort)?;
            if after.is_some_and(|cursor| cursor.values.len() != paths.len()) {
                return Err(StorageError::BadCursor {
                    reason: "it was altered",
                });
            }
            let after = after.map(|cursor| Place::of_cursor(cursor, model, &paths));
            let way = Way::choose(model, &predicate);
            let wanted = size.saturating_add(1);
            let mut places = self.places(model, (&way, &predicate), &paths, after.as_ref(), wanted)?;
            let next = (places.len() > size).then(|| {
                places.truncate(size);
                let last = &places[size - 1];
                Cursor {
                    query: query.fingerprint(),
                    values: last.values.iter().map(|(value, _)| value.clone()).collect(),
                    id: last.key[model_prefix(&model.def.name).len()..].to_vec(),
                }
            });
            let records = self.records_at(model, &places)?;
            Ok(RecordPage { records, next })
        })
    }

    /// A query that follows relations.
    pub(super) fn query_following(&self, query: &Query) -> Result<Vec<Record>, StorageError> {
        let model = self.catalog().model(&query.model)?;
        let predicate = self.resolve(model, &query.predicate)?;
        let way = Way::choose(model, &predicate);
        self.query_by_seeks(model, query, &way, &predicate)
    }

    /// A query of which is known already how its records are found.
    pub(super) fn query_by_seeks(
        &self,
        model: &ModelEntry,
        query: &Query,
        way: &Way,
        predicate: &BoundPredicate,
    ) -> Result<Vec<Record>, StorageError> {
        let paths = sort_paths(self, model, &query.sort)?;
        let places = self.places(model, (way, predicate), &paths, None, wanted_of(query))?;
        self.records_at(model, places.get(query.page.offset()..).unwrap_or_default())
    }

    /// How a query is carried out. What is at the other ends of relations is looked up for it.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn explanation(&self, query: &Query) -> Result<Explanation, StorageError> {
        self.said(|| {
            let model = self.catalog().model(&query.model)?;
            let mut resolver = Resolver {
                snapshot: self,
                followed: Vec::new(),
            };
            let predicate = resolver.resolve(&model.def, &query.predicate)?;
            sort_paths(self, model, &query.sort)?;
            let way = Way::choose(model, &predicate);
            Ok(Explanation {
                relations: resolver.followed,
                plan: way.to_string(),
                scans: way.is_scan(),
                sorts: !query.sort.is_empty() || !way.is_in_key_order(),
            })
        })
    }

    /// The predicate of a model on its records alone.
    pub(super) fn resolve(
        &self,
        model: &ModelEntry,
        predicate: &landfall_core::Predicate,
    ) -> Result<BoundPredicate, StorageError> {
        Resolver {
            snapshot: self,
            followed: Vec::new(),
        }
        .resolve(&model.def, predicate)
    }

    /// The first `wanted` places after another, in order.
    fn places(
        &self,
        model: &ModelEntry,
        (way, predicate): (&Way, &BoundPredicate),
        paths: &[SortPath<'_>],
        after: Option<&Place>,
        wanted: usize,
    ) -> Result<Vec<Place>, StorageError> {
        if wanted == 0 {
            return Ok(Vec::new());
        }
        if let (true, Some(range)) = (paths.is_empty(), way.key_range()) {
            return self.scan_after((model, &range), predicate, after, wanted);
        }
        let mut keys = SortValues::default();
        let mut heap: BinaryHeap<Place> = BinaryHeap::new();
        self.each_row(model, way, predicate, |key, row| {
            let place = Place {
                values: keys.of(self, paths, row)?,
                key: key.to_vec(),
            };
            if after.is_none_or(|after| place > *after)
                && (heap.len() < wanted || heap.peek().is_some_and(|worst| place < *worst))
            {
                if heap.len() >= wanted {
                    heap.pop();
                }
                heap.push(place);
            }
            Ok(true)
        })?;
        Ok(heap.into_sorted_vec())
    }

    /// The same in the order of identifiers, where a page begins where the last one ended.
    fn scan_after(
        &self,
        (model, range): (&ModelEntry, &KeyRange),
        predicate: &BoundPredicate,
        after: Option<&Place>,
        wanted: usize,
    ) -> Result<Vec<Place>, StorageError> {
        let (start, end) = range.bounds(&model_prefix(&model.def.name)).into_keys();
        let mut places = Vec::new();
        let start = match after {
            Some(after) if after.key >= start => Bound::Excluded(after.key.as_slice()),
            _ => Bound::Included(start.as_slice()),
        };
        // A cursor may name a place behind the range, and conditions may leave nothing of it.
        if let Bound::Excluded(first) | Bound::Included(first) = start
            && first >= end.as_slice()
        {
            return Ok(places);
        }
        let range = (start, Bound::Excluded(end.as_slice()));
        for item in self.records().range::<&[u8]>(range)? {
            let (key, head) = item?;
            let Some(row) = HeadRef::parse(head.value())?.row else {
                continue;
            };
            if predicate.matches(&model.row(row)?) {
                places.push(Place {
                    values: Vec::new(),
                    key: key.value().to_vec(),
                });
                if places.len() >= wanted {
                    break;
                }
            }
        }
        Ok(places)
    }

    fn records_at(&self, model: &ModelEntry, places: &[Place]) -> Result<Vec<Record>, StorageError> {
        places
            .iter()
            .map(|place| {
                self.record_at(model, &place.key)?
                    .ok_or_else(|| StorageError::corrupt("a record vanished from a snapshot"))
            })
            .collect()
    }
}

/// Values of sort keys; those of related records are read once for each of these, not once a row.
#[derive(Default)]
struct SortValues {
    remembered: BTreeMap<(usize, RecordId), Value>,
}

impl SortValues {
    fn of(
        &mut self,
        snapshot: &Snapshot,
        paths: &[SortPath<'_>],
        row: &EncodedRow<'_>,
    ) -> Result<Vec<(Value, Direction)>, StorageError> {
        let mut values = Vec::with_capacity(paths.len());
        for (number, path) in paths.iter().enumerate() {
            let value = match path.hops.first() {
                None => path.key.value(row),
                Some(first) => match identifier_at(&first.near, row) {
                    Some(near) => self.related(snapshot, number, path, near)?,
                    None => Value::Null,
                },
            };
            values.push((value, path.direction));
        }
        Ok(values)
    }

    fn related(
        &mut self,
        snapshot: &Snapshot,
        number: usize,
        path: &SortPath<'_>,
        near: RecordId,
    ) -> Result<Value, StorageError> {
        let place = (number, near);
        if let Some(value) = self.remembered.get(&place) {
            return Ok(value.clone());
        }
        let mut record = None;
        for (index, hop) in path.hops.iter().enumerate() {
            let near = match &record {
                None if index == 0 => Some(place.1.clone()),
                None => None,
                Some(record) => identifier_at(&hop.near, Record::values(record)),
            };
            record = match near {
                Some(near) => snapshot.step(hop, &near)?,
                None => None,
            };
        }
        let value = record.map_or(Value::Null, |record| path.key.value(record.values()));
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(place, value.clone());
        }
        Ok(value)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = rmp_serde::to_vec(self).expect("writing MessagePack to memory cannot fail");
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || StorageError::BadCursor {
            reason: "it is not a text that was handed out as one",
        };
        if text.len() > CURSOR_LEN_MAX || !text.len().is_multiple_of(2) || !text.is_ascii() {
            return Err(bad());
        }
        let bytes = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| bad())?;
        rmp_serde::from_slice(&bytes).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests;
