//! The log read in parts, several at the same time.
//!
//! Owns [`History::scan_ranges`], [`History::scan_sought`] and [`at_the_same_time`]. A question about a long log waits for its reading, and a
//! machine has more than one core for that.
//!
//! Invariant: what comes of it does not depend on how many parts there are, nor on which of them is read first: parts
//! are put together in the order of the log, and of several faults the one told is the first in the log.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_core::{Schema, Seq};

use super::{History, schema_told, without_schema};
use crate::codec::entry::peek;
use crate::digest::Sought;
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
    /// The parts in which the log up to an entry is read.
    pub(super) fn parts_to(&self, to: Seq) -> Vec<(Seq, Seq)> {
        ranges(self.start, to.min(self.end), threads())
    }

    /// As [`History::scan_unbroken`], but the log is read in these ranges at the same time, each with a state of its own; they follow
    /// each other from the first entry on. The states come back in the order of the log, that of the base first; with them
    /// the schema in force after the last entry, for which a look of its own would read the log once more.
    pub(super) fn scan_ranges<P: Default + Send>(
        &self,
        ranges: &[(Seq, Seq)],
        reading: &Reading<'_, P>,
    ) -> Result<(Vec<P>, Arc<Schema>), StorageError> {
        let shares: Vec<Vec<(Seq, Seq)>> = ranges.iter().map(|range| vec![*range]).collect();
        self.scan_shares(&shares, reading)
    }

    /// The same, but only what has to be read to find everything that is sought ([`History::stretches`]). Nothing that is left out
    /// tells of a schema.
    pub(super) fn scan_sought<P: Default + Send>(
        &self,
        sought: Sought,
        to: Seq,
        reading: &Reading<'_, P>,
    ) -> Result<(Vec<P>, Arc<Schema>), StorageError> {
        let stretches = self.stretches(sought, self.start, to.min(self.end));
        self.scan_shares(&shares(stretches, threads()), reading)
    }

    /// Reads each share on a thread of its own. In a share, and from share to share, ranges come in the order of the log;
    /// what lies between them is known to be there.
    fn scan_shares<P: Default + Send>(
        &self,
        shares: &[Vec<(Seq, Seq)>],
        reading: &Reading<'_, P>,
    ) -> Result<(Vec<P>, Arc<Schema>), StorageError> {
        let mut parts = Vec::new();
        parts.extend(self.read_base(reading)?);
        let read = at_the_same_time(shares, |share| self.read_share(share, reading));
        let mut schema = None;
        // The entry that has to come next, and the one up to which it may have gone missing.
        let mut expected = self.start;
        let mut before = None;
        for (first, last, read) in read.into_iter().flatten() {
            if before.is_none_or(|before: Seq| before.next() != first) {
                before.map_or(Ok(()), |before| self.reached(expected, before))?;
                expected = first;
            }
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
            before = Some(last);
        }
        before.map_or(Ok(()), |before| self.reached(expected, before))?;
        let schema = schema
            .or_else(|| self.schema.clone())
            .ok_or_else(without_schema)?;
        Ok((parts, schema))
    }

    /// Reads the ranges of a share, up to the first that cannot be read.
    fn read_share<P: Default>(
        &self,
        share: &[(Seq, Seq)],
        reading: &Reading<'_, P>,
    ) -> Vec<(Seq, Seq, Read<P>)> {
        let mut all = Vec::with_capacity(share.len());
        for (first, last) in share {
            let read = self.read_range(*first, *last, reading);
            let failed = read.failed.is_some();
            all.push((*first, *last, read));
            if failed {
                break;
            }
        }
        all
    }

    /// What the base comes to, if the log goes on from one.
    fn read_base<P: Default>(&self, reading: &Reading<'_, P>) -> Result<Option<P>, StorageError> {
        self.refuse_without_base()?;
        if !self.has_base()? {
            return Ok(None);
        }
        let mut part = P::default();
        self.each_known_of_base(&mut |seq, bytes| {
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

/// Shares stretches out, in their order, among at most so many who read about as many entries each.
fn shares(stretches: Vec<(Seq, Seq)>, most: usize) -> Vec<Vec<(Seq, Seq)>> {
    let entries: u64 = stretches.iter().map(|(first, last)| last.0 + 1 - first.0).sum();
    let each = entries.div_ceil((entries / PART_MIN).clamp(1, most as u64));
    let mut shares = Vec::new();
    let (mut share, mut room) = (Vec::new(), each);
    for (mut first, last) in stretches {
        while first <= last {
            let end = last.min(Seq(first.0 + room - 1));
            share.push((first, end));
            room -= end.0 + 1 - first.0;
            if room == 0 {
                shares.push(std::mem::take(&mut share));
                room = each;
            }
            first = end.next();
        }
    }
    if !share.is_empty() {
        shares.push(share);
    }
    shares
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

    #[test]
    fn shares_hold_every_stretch_in_order_and_about_as_much_each() {
        let stretches = vec![
            (Seq(1), Seq(PART_MIN)),
            (Seq(PART_MIN * 2), Seq(PART_MIN * 2)),
            (Seq(PART_MIN * 3), Seq(PART_MIN * 9)),
        ];
        let in_all: u64 = stretches.iter().map(|(first, last)| last.0 + 1 - first.0).sum();
        for most in 1..=PARTS_MAX {
            let shares = shares(stretches.clone(), most);
            assert_eq!(shares.len(), most.min(7));
            let mut joined: Vec<(Seq, Seq)> = Vec::new();
            for (first, last) in shares.iter().flatten() {
                match joined.last_mut().filter(|before| before.1.next() == *first) {
                    Some(before) => before.1 = *last,
                    None => joined.push((*first, *last)),
                }
            }
            assert_eq!(joined, stretches);
            for share in &shares {
                let held: u64 = share.iter().map(|(first, last)| last.0 + 1 - first.0).sum();
                assert!(held <= in_all.div_ceil(shares.len() as u64), "{held} of {in_all}");
            }
        }
        assert!(shares(Vec::new(), 3).is_empty());
    }

    #[test]
    fn between_stretches_nothing_is_missing_and_in_them_everything_that_is_not_there_is() {
        let mut store = in_memory();
        for number in 0..20 {
            save(&mut store, "Post", &format!("id=p{number} title=a"));
        }
        let mut history = history(&store);
        // Beyond e21 there is nothing.
        history.end = Seq(30);
        let see: &Reading<'_, Seen> = &|seen, seq, _| {
            seen.0.push(seq);
            Ok(())
        };
        let scan = |shares: &[Vec<(u64, u64)>]| {
            let seqs = |share: &Vec<(u64, u64)>| share.iter().map(|(a, b)| (Seq(*a), Seq(*b))).collect();
            let shares: Vec<Vec<(Seq, Seq)>> = shares.iter().map(seqs).collect();
            match history.scan_shares(&shares, see) {
                Ok((parts, _)) => Ok(parts.into_iter().flat_map(|seen| seen.0).collect::<Vec<_>>()),
                Err(error) => Err(error.to_string()),
            }
        };
        let there = [vec![(2, 3), (6, 6)], vec![(7, 8)], vec![(12, 12)]];
        assert_eq!(scan(&there), Ok([2, 3, 6, 7, 8, 12].map(Seq).to_vec()));
        let gap = |shares: &[Vec<(u64, u64)>], told: &str| {
            let error = scan(shares).unwrap_err();
            assert!(error.contains(told), "{error}");
        };
        gap(&[vec![(20, 23)], vec![(25, 26)]], "a gap from e22 to e23");
        gap(&[vec![(20, 23), (24, 26)]], "a gap from e22 to e26");
        gap(&[vec![(3, 4), (23, 25)]], "a gap from e23 to e25");
        gap(&[vec![(3, 4)], vec![(29, 30)]], "its end, e29 to e30, is missing");
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
