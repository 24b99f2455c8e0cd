//! Which entries somebody wants to see.
//!
//! Owns [`Filter`]. Most entries are passed over by their first bytes, without decoding them.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use landfall_core::{LogEntry, ModelName, Origin, RecordKey, Seq};

use super::History;
use crate::codec::entry::{LOG_KIND_NAMES, key_bytes, model_bytes, peek};
use crate::codec::{self};
use crate::digest::Sought;
use crate::error::StorageError;

/// Which entries are wanted; those that satisfy everything that is set.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// # let history = landfall_storage::history::open_for_inspection(log)?;
/// use landfall_core::RecordKey;
/// use landfall_storage::history::Filter;
///
/// let of_post = Filter {
///     record: Some(RecordKey::new("Post", "p1")),
///     kinds: vec!["conflict".to_owned(), "acknowledged".to_owned()],
///     ..Filter::default()
/// };
/// let newest = history.list(&of_post, 2)?;
/// assert_eq!((newest.entries.len(), newest.matched), (2, 3));
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// About this model or one of its records.
    pub model: Option<ModelName>,
    /// About this record.
    pub record: Option<RecordKey>,
    /// Of one of these kinds, by [`Filter::kinds`]; of any if empty.
    pub kinds: Vec<String>,
    /// Brought about by one of these; by any if empty.
    pub origins: Vec<Origin>,
    /// Not before this time, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Not after this time, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Not before this entry.
    pub first: Option<Seq>,
    /// Not after this entry.
    pub last: Option<Seq>,
}

/// Entries that were found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The newest ones, oldest first; an entry that cannot be read comes as what is wrong with it.
    pub entries: Vec<(Seq, Result<LogEntry, StorageError>)>,
    /// How many there are in all.
    pub matched: u64,
    /// Entries of the range that the log should have and has not: first and last of each gap, at most [`GAPS_MAX`].
    pub gaps: Vec<(Seq, Seq)>,
}

/// Most gaps that are listed.
pub const GAPS_MAX: usize = 20;

impl Filter {
    /// The kinds that there are, as they are named in lists; entries that this version does not know are `opaque`.
    pub fn kinds() -> [&'static str; 17] {
        LOG_KIND_NAMES
    }

    pub(super) fn wants(&self, marks: &Marks, bytes: &[u8]) -> bool {
        let Some(peek) = peek(bytes) else {
            // It cannot be told what it is, which who asks for anything in particular does not want to see.
            return *self
                == Self {
                    first: self.first,
                    last: self.last,
                    ..Self::default()
                };
        };
        (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == peek.kind))
            && (self.origins.is_empty() || peek.origin.is_some_and(|origin| self.origins.contains(&origin)))
            && self.from_ms.is_none_or(|from| peek.at_ms >= from)
            && self.to_ms.is_none_or(|to| peek.at_ms <= to)
            && marks.model.as_ref().is_none_or(|model| peek.is_of_model(model))
            && marks
                .record
                .as_ref()
                .is_none_or(|key| peek.is_of_record() && peek.begins_with(key))
    }
}

/// What entries are recognised by.
pub(super) struct Marks {
    model: Option<Vec<u8>>,
    record: Option<Vec<u8>>,
}

impl Marks {
    pub(super) fn of(filter: &Filter) -> Self {
        Self {
            model: filter.model.as_deref().map(model_bytes),
            record: filter.record.as_ref().map(key_bytes),
        }
    }
}

impl History {
    /// Hands over the entries that a filter wants, oldest first, until `each` says to stop.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_storage::history::Filter;
    /// use std::ops::ControlFlow;
    ///
    /// let mut writes = 0;
    /// history.entries(&Filter { kinds: vec!["write".to_owned()], ..Filter::default() }, |_, _| {
    ///     writes += 1;
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(writes, 3);
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// The disk's faults. An entry that cannot be read is handed over as what is wrong with it.
    pub fn entries(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Seq, Result<LogEntry, StorageError>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let marks = Marks::of(filter);
        let mut flow = ControlFlow::Continue(());
        for (first, last) in self.stretches_of(filter) {
            self.scan(first..=last, &mut |seq, bytes| {
                if filter.wants(&marks, bytes) {
                    flow = each(seq, codec::entry::decode(seq, bytes));
                }
                Ok(flow)
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The newest entries that a filter wants, at most `limit`.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<Listing, StorageError> {
        let marks = Marks::of(filter);
        let mut newest: VecDeque<(Seq, Vec<u8>)> = VecDeque::new();
        let mut listing = Listing::default();
        let mut gap_to = |seq: Seq, expected: Seq| {
            if seq > expected && listing.gaps.len() < GAPS_MAX {
                listing.gaps.push((expected, Seq(seq.0 - 1)));
            }
        };
        for (first, last) in self.stretches_of(filter) {
            let mut expected = first;
            self.scan(first..=last, &mut |seq, bytes| {
                gap_to(seq, expected);
                expected = seq.next();
                if filter.wants(&marks, bytes) {
                    listing.matched += 1;
                    if newest.len() >= limit {
                        newest.pop_front();
                    }
                    if limit > 0 {
                        newest.push_back((seq, bytes.to_vec()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
            gap_to(last.next(), expected);
        }
        listing.entries = newest
            .into_iter()
            .map(|(seq, bytes)| (seq, codec::entry::decode(seq, &bytes)))
            .collect();
        Ok(listing)
    }

    /// What has to be read to find everything that a filter wants: all of its range, unless it is about one record.
    fn stretches_of(&self, filter: &Filter) -> Vec<(Seq, Seq)> {
        let first = filter.first.map_or(self.start, |first| first.max(self.start));
        let last = filter.last.map_or(self.end, |last| last.min(self.end));
        match &filter.record {
            Some(record) => self.stretches(Sought::record(record), first, last),
            None if first <= last => vec![(first, last)],
            None => Vec::new(),
        }
    }
}
