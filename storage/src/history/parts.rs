//! The log read in parts, several at the same time.
//!
//! Owns [`History::scan_parts`] and [`at_the_same_time`]. A question about a long log waits for its reading, and a
//! machine has more than one core for that.
//!
//! Invariant: what comes of it does not depend on how many parts there are, nor on which of them is read first: parts
//! are put together in the order of the log, and of several faults the one told is the first in the log.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_core::{Schema, Seq};

use super::{History, Source, schema_told, without_schema};
use crate::codec::entry::peek;
use crate::error::StorageError;

/// Fewest entries of a part: reading them takes some milliseconds, so that starting a thread does not matter.
const PART_MIN: u64 = 32 * 1024;

/// Most parts that are read at the same time. Beyond that the disk, or memory, is what they wait for.
const PARTS_MAX: usize = 8;

/// What one part came to.
struct Read<P> {
    part: P,
    schema: Option<Arc<Schema>>,
    /// The first entry that was found, and the one after the last.
    first: Option<Seq>,
    next: Seq,
    failed: Option<StorageError>,
}

/// What reads a part: its own state, and an entry after the other.
pub(super) type Reading<'v, P> = dyn Fn(&mut P, Seq, &[u8]) -> Result<(), StorageError> + Sync + 'v;

impl History {
    /// As [`History::scan_unbroken`], but the log is read in parts at the same time, each with a state of its own. The
    /// states come back in the order of the log, that of the base first; with them the schema in force after the last
    /// entry, for which a look of its own would read the log once more.
    pub(super) fn scan_parts<P: Default + Send>(
        &self,
        to: Seq,
        reading: &Reading<'_, P>,
    ) -> Result<(Vec<P>, Arc<Schema>), StorageError> {
        self.scan_ranges(&self.parts_to(to), reading)
    }

    /// The parts in which the log up to an entry is read.
    pub(super) fn parts_to(&self, to: Seq) -> Vec<(Seq, Seq)> {
        ranges(self.start, to.min(self.end), threads())
    }

    /// As [`scan_parts`](Self::scan_parts), in these ranges, which follow each other from the first entry on.
    pub(super) fn scan_ranges<P: Default + Send>(
        &self,
        ranges: &[(Seq, Seq)],
        reading: &Reading<'_, P>,
    ) -> Result<(Vec<P>, Arc<Schema>), StorageError> {
        let mut parts = Vec::with_capacity(ranges.len() + 1);
        parts.extend(self.read_base(reading)?);
        let read = at_the_same_time(ranges, |(first, last)| self.read_range(*first, *last, reading));
        let mut expected = self.start;
        let mut schema = None;
        for read in read {
            if let Some(first) = read.first.filter(|first| *first != expected) {
                return Err(self.missing(expected, first));
            }
            if let Some(failed) = read.failed {
                return Err(failed);
            }
            if read.first.is_some() {
                expected = read.next;
            }
            schema = read.schema.or(schema);
            parts.push(read.part);
        }
        if let Some((_, last)) = ranges.last() {
            self.reached(expected, *last)?;
        }
        let schema = schema
            .or_else(|| self.schema.clone())
            .ok_or_else(without_schema)?;
        Ok((parts, schema))
    }

    /// What the base comes to, if the log goes on from one.
    fn read_base<P: Default>(&self, reading: &Reading<'_, P>) -> Result<Option<P>, StorageError> {
        let Source::Store { snapshot, .. } = &self.source else {
            self.refuse_without_base()?;
            return Ok(None);
        };
        let Some(base) = crate::base::of(snapshot.transaction())? else {
            return Ok(None);
        };
        let mut part = P::default();
        crate::base::each(&base, self.start, &mut |seq, bytes| {
            reading(&mut part, seq, bytes)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Some(part))
    }

    fn read_range<P: Default>(&self, first: Seq, last: Seq, reading: &Reading<'_, P>) -> Read<P> {
        let mut read = Read {
            part: P::default(),
            schema: None,
            first: None,
            next: first,
            failed: None,
        };
        let scanned = self.scan(first..=last, &mut |seq, bytes| {
            if read.first.is_none() {
                read.first = Some(seq);
            } else if seq != read.next {
                return Err(self.missing(read.next, seq));
            }
            read.next = seq.next();
            let mut take = || {
                if peek(bytes).is_some_and(|peek| peek.is_newer()) {
                    return Err(StorageError::EntryTooNew { seq, sound: None });
                }
                if let Some(schema) = schema_told(seq, bytes)? {
                    read.schema = Some(schema);
                }
                reading(&mut read.part, seq, bytes)
            };
            take().map_err(|error| self.unreadable(seq, error))?;
            Ok(ControlFlow::Continue(()))
        });
        read.failed = scanned.err();
        read
    }
}

/// How many parts are worked on at the same time.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(PARTS_MAX)
}

/// Cuts the entries from `first` to `last` into at most so many ranges of about the same length.
fn ranges(first: Seq, last: Seq, most: usize) -> Vec<(Seq, Seq)> {
    let entries = (last.0 + 1).saturating_sub(first.0);
    if entries == 0 {
        return Vec::new();
    }
    let parts = (entries / PART_MIN).clamp(1, most as u64);
    let cut = |part: u64| Seq(first.0 + entries / parts * part + (entries % parts).min(part));
    (0..parts)
        .map(|part| (cut(part), Seq(cut(part + 1).0 - 1)))
        .collect()
}

/// Does the same with each item, each on a thread of its own; what comes of them is in their order.
pub(super) fn at_the_same_time<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let Some((first, rest)) = items.split_first() else {
        return Vec::new();
    };
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = rest.iter().map(|item| scope.spawn(move || work(item))).collect();
        let mut done = Vec::with_capacity(items.len());
        done.push(work(first));
        for other in others {
            done.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use crate::test_support::{in_memory, save};

    #[test]
    fn ranges_meet_and_leave_nothing_out() {
        for entries in [
            1,
            2,
            PART_MIN - 1,
            PART_MIN * 2 + 1,
            PART_MIN * 7 + 5,
            PART_MIN * 100 + 3,
        ] {
            for most in 1..=PARTS_MAX {
                let cut = ranges(Seq(17), Seq(16 + entries), most);
                assert!((1..=most).contains(&cut.len()), "{} of {most}", cut.len());
                assert_eq!((cut[0].0, cut[cut.len() - 1].1), (Seq(17), Seq(16 + entries)));
                for pair in cut.windows(2) {
                    assert_eq!(pair[0].1.next(), pair[1].0);
                }
            }
        }
        assert!(ranges(Seq(5), Seq(4), 3).is_empty());
    }

    /// The positions in each part.
    #[derive(Default)]
    struct Seen(Vec<Seq>);

    #[test]
    fn the_parts_are_the_log_however_it_is_cut() {
        let mut store = in_memory();
        for number in 0..20 {
            save(&mut store, "Post", &format!("id=p{number} title=a"));
        }
        let history = history(&store);
        let (first, last) = history.bounds();
        let all: Vec<Seq> = (first.0..=last.0).map(Seq).collect();
        let see: &Reading<'_, Seen> = &|seen, seq, _| {
            seen.0.push(seq);
            Ok(())
        };
        for cut in first.0..last.0 {
            let halves = [(first, Seq(cut)), (Seq(cut + 1), last)];
            let (parts, schema) = history.scan_ranges(&halves, see).unwrap();
            assert_eq!(parts.len(), 2);
            assert_eq!(parts.into_iter().flat_map(|seen| seen.0).collect::<Vec<_>>(), all);
            assert_eq!(schema.hash(), store.schema().hash());
        }
    }

    #[test]
    fn the_first_fault_in_the_log_is_told_whichever_part_it_is_in() {
        let mut store = in_memory();
        for number in 0..8 {
            save(&mut store, "Post", &format!("id=p{number} title=a"));
        }
        let history = history(&store);
        let (first, last) = history.bounds();
        let fail: &Reading<'_, Seen> = &|_, seq, _| {
            if seq.0 >= 3 {
                return Err(StorageError::corrupt(format!("fault at {seq}")));
            }
            Ok(())
        };
        for cut in first.0..last.0 {
            let halves = [(first, Seq(cut)), (Seq(cut + 1), last)];
            let told = history
                .scan_ranges(&halves, fail)
                .err()
                .map(|error| error.to_string());
            assert!(
                told.as_ref().is_some_and(|told| told.contains("fault at e3")),
                "{told:?}"
            );
        }
    }
}
