//! A query of the past, over a model of any size.
//!
//! Owns [`History::query`] and [`History::pending`]. The entries of the model are put together by record, still
//! encoded, and then one record after the other is folded and tested. So what is held in memory is the model's part of
//! the log and what was found, not a state for every record, which would take about ten times as much. Both the
//! reading and the folding are shared between threads. A query for a few records looks for them among those with the smallest
//! identifiers first (`first.rs`), and no query folds or holds more records than can be among those that it asks for.
//!
//! Invariant: the result is that of [`PastState::query`](super::PastState::query), however many threads there are.

use std::sync::Arc;

use landfall_core::{BoundSort, ModelDef, Mutation, Record, RecordId, RecordKey, RecordState, Schema, Seq};

use super::History;
use super::first::{self, Firsts};
use super::fold::{self, model_of};
use super::parts::{at_the_same_time, threads};
use super::probe::Probe;
use crate::codec::entry::{Peek, decode, model_bytes, peek};
use crate::error::StorageError;
use crate::query::Query;

/// Bits of a key's check that tell its shard: what belongs together is in one, and each is small enough to be sorted
/// quickly.
const SHARD_BITS: u32 = 6;

const SHARDS: usize = 1 << SHARD_BITS;

/// Entries that are worth a further thread: folding them takes a millisecond.
const FOLDED_MIN: usize = 1_024;

/// Encoded entries, each with those of the same record, from one part of the log.
#[derive(Default)]
struct Gathered {
    shards: Vec<Shard>,
    /// Whether the store was cleared in this part, so that nothing before it counts.
    cleared: bool,
}

#[derive(Default)]
struct Shard {
    bytes: Vec<u8>,
    /// In the order of the log.
    pieces: Vec<Piece>,
}

/// One entry.
struct Piece {
    /// Check of the encoded key, so that the keys themselves are compared only where it is the same.
    hash: u32,
    seq: Seq,
    /// Where the entry is in `bytes`, and where the key is in the entry.
    at: usize,
    length: usize,
    key_at: usize,
    key_length: usize,
}

/// An entry with its bytes.
#[derive(Clone, Copy)]
struct Encoded<'g> {
    piece: &'g Piece,
    entry: &'g [u8],
}

impl<'g> Encoded<'g> {
    fn key(&self) -> &'g [u8] {
        &self.entry[self.piece.key_at..][..self.piece.key_length]
    }
}

impl Gathered {
    fn take(&mut self, seq: Seq, bytes: &[u8], peek: &Peek<'_>) -> Result<(), StorageError> {
        let (key_at, key_length) = peek
            .key_place()
            .ok_or_else(|| StorageError::corrupt(format!("entry {seq} names no record")))?;
        let hash = crc32fast::hash(&bytes[key_at..key_at + key_length]);
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Shard::default);
        }
        let shard = &mut self.shards[(hash >> (u32::BITS - SHARD_BITS)) as usize];
        shard.pieces.push(Piece {
            hash,
            seq,
            at: shard.bytes.len(),
            length: bytes.len(),
            key_at,
            key_length,
        });
        shard.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self) {
        *self = Self {
            cleared: true,
            ..Self::default()
        };
    }
}

/// The entries of a shard from all parts: those of each record next to each other, in order.
fn sorted(parts: &[Gathered], shard: usize) -> Vec<Encoded<'_>> {
    let of_parts = parts.iter().filter_map(|part| part.shards.get(shard));
    let mut all: Vec<Encoded<'_>> = of_parts
        .flat_map(|shard| {
            shard.pieces.iter().map(|piece| Encoded {
                piece,
                entry: &shard.bytes[piece.at..][..piece.length],
            })
        })
        .collect();
    // Both sorts keep the order of the log where what they compare is the same.
    all.sort_by_key(|encoded| encoded.piece.hash);
    for alike in all.chunk_by_mut(|a, b| a.piece.hash == b.piece.hash) {
        if alike.windows(2).any(|pair| pair[0].key() != pair[1].key()) {
            alike.sort_by_key(Encoded::key);
        }
    }
    all
}

/// The entries of one record.
struct OfRecord<'g>(&'g [Encoded<'g>]);

impl OfRecord<'_> {
    /// Its identifier; `None` if that cannot be read, which folding tells.
    fn id(&self) -> Option<RecordId> {
        let key = peek(self.0.first()?.entry)?.key()?;
        Some(key.id)
    }

    /// Whether it is known that no change of it can wait: the app never wrote it, as far as the log tells.
    fn has_nothing_of_the_app(&self) -> bool {
        let is_of_app =
            |encoded: &Encoded<'_>| peek(encoded.entry).is_none_or(|peek| peek.is_write() || peek.is_base());
        !self.0.iter().any(is_of_app)
    }

    /// Whether what the record came to cannot match.
    fn is_ruled_out_by(&self, probe: &mut Probe<'_>) -> bool {
        match self.0 {
            [only] => probe.rules_out(only.entry, only.piece.key_length),
            _ => false,
        }
    }

    /// What the record came to; `None` if the schema does not have its model.
    fn fold<'s>(
        &self,
        schema: &'s Schema,
    ) -> Result<Option<(RecordKey, &'s Arc<ModelDef>, RecordState)>, StorageError> {
        let mut state = RecordState::default();
        let mut last = None;
        for encoded in self.0 {
            let entry = decode(encoded.piece.seq, encoded.entry)?;
            let key = entry.change.key();
            let Some((key, def)) = key.and_then(|key| Some((key, schema.model(&key.model)?))) else {
                return Ok(None);
            };
            state.apply(def, entry.seq, &entry.change)?;
            last = Some((key.clone(), def));
        }
        Ok(last.map(|(key, def)| (key, def, state)))
    }
}

/// Hands over one record after the other to each thread's own state; the states are in no order that means anything, but
/// are always the same.
fn each_record<T: Send>(
    parts: &[Gathered],
    threads: usize,
    new: impl Fn() -> T + Sync,
    each: impl Fn(&mut T, &OfRecord<'_>) -> Result<(), StorageError> + Sync,
) -> Result<Vec<T>, StorageError> {
    let shards: Vec<usize> = (0..SHARDS).collect();
    let of_threads: Vec<&[usize]> = shards.chunks(SHARDS.div_ceil(threads)).collect();
    let done = at_the_same_time(&of_threads, |shards| {
        let mut state = new();
        for shard in *shards {
            for record in sorted(parts, *shard).chunk_by(|a, b| a.key() == b.key()) {
                each(&mut state, &OfRecord(record))?;
            }
        }
        Ok(state)
    });
    done.into_iter().collect()
}

/// How many threads are to fold what was gathered: a few entries are folded sooner than a thread is started.
fn folding(parts: &[Gathered]) -> usize {
    let shards = parts.iter().flat_map(|part| &part.shards);
    let held: usize = shards.map(|shard| shard.pieces.len()).sum();
    threads().min(1 + held / FOLDED_MIN)
}

/// Records that are found before those that cannot be asked for are given up: few enough to be little memory, and many enough
/// that sorting them is seldom. In tests there are few records.
const FOUND_MIN: usize = if cfg!(test) { 2 } else { 1_024 };

/// The first of the records that were found, in the order of a query.
struct Found<'q> {
    sort: &'q BoundSort,
    /// How many can be asked for, those of earlier pages included.
    most: usize,
    records: Vec<(RecordId, Record)>,
    /// Whether the first of those that were found so far are as many, so that no later one can be asked for.
    last: Option<RecordId>,
}

impl<'q> Found<'q> {
    fn new(sort: &'q BoundSort, most: usize) -> Self {
        Self {
            sort,
            most,
            records: Vec::new(),
            last: None,
        }
    }

    /// Whether a record of that identifier can be among the first.
    fn may_hold(&self, id: &RecordId) -> bool {
        self.last.as_ref().is_none_or(|last| id < last)
    }

    fn take(&mut self, id: RecordId, record: Record) {
        self.records.push((id, record));
        if self.records.len() >= self.most.saturating_mul(2).max(FOUND_MIN) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let sort = self.sort;
        self.records.sort_by(|(a_id, a), (b_id, b)| {
            // Without an order there is nothing to compare, and ties are in the order of the identifiers.
            sort.compare(a.values(), b.values()).then_with(|| a_id.cmp(b_id))
        });
        self.records.truncate(self.most);
        if sort.is_empty() && self.records.len() == self.most {
            self.last = self.records.last().map(|(id, _)| id.clone());
        }
    }
}

/// The records among what was gathered that a query asks for.
fn found_in(
    parts: &[Gathered],
    threads: usize,
    schema: &Schema,
    query: &Query,
) -> Result<Vec<Record>, StorageError> {
    let def = model_of(schema, &query.model)?;
    let predicate = query.predicate.bind(def)?;
    let sort = BoundSort::bind(&query.sort, def)?;
    let most = first::wanted(query).unwrap_or(usize::MAX);
    let found = each_record(
        parts,
        threads,
        || (Probe::new(&predicate, def), Found::new(&sort, most)),
        |(probe, found), of_record| {
            if found.last.is_some() && of_record.id().is_some_and(|id| !found.may_hold(&id)) {
                return Ok(());
            }
            if probe
                .as_mut()
                .is_some_and(|probe| of_record.is_ruled_out_by(probe))
            {
                return Ok(());
            }
            if let Some((key, def, state)) = of_record.fold(schema)?
                && state.row.as_ref().is_some_and(|row| predicate.matches(row))
                && let Some(record) = fold::record_of(def, state.row, state.sync)
            {
                found.take(key.id, record);
            }
            Ok(())
        },
    )?;
    let mut all = Found::new(&sort, most);
    all.records = found.into_iter().flat_map(|(_, found)| found.records).collect();
    all.cut();
    let page = all.records.into_iter().skip(query.page.offset());
    Ok(page.map(|(_, record)| record).collect())
}

impl History {
    /// The records that a query would have found after an entry.
    ///
    /// Reads the log up to the entry on as many threads as the machine has cores, eight at most. Holds what is about the
    /// model in memory, encoded, and the records that are found. If it asks for few records, without an order of its own, only
    /// those with the smallest identifiers are held, and the others only if too few of these match.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], [`StorageError::BadQuery`]; as [`History::as_of`].
    pub fn query(&self, seq: Seq, query: &Query) -> Result<Vec<Record>, StorageError> {
        self.within_or_before_all(seq)?;
        if let Some(most) = first::kept_for(query)
            && self.seem_enough(most, query)?
        {
            let (parts, schema) = self.gather_first(&self.parts_to(seq), &query.model, most)?;
            if let Some(found) = first::found_in(parts, &schema, query)? {
                return Ok(found);
            }
        }
        let (parts, schema) = self.gather(seq, Some(&query.model))?;
        found_in(&parts, folding(&parts), &schema, query)
    }

    /// The changes that waited for the server after an entry, oldest first.
    ///
    /// Reads the log up to the entry, decodes what is about records that the app wrote, and holds what is about any record in
    /// memory, encoded.
    ///
    /// # Errors
    /// As [`History::as_of`].
    pub fn pending(&self, seq: Seq) -> Result<Vec<Mutation>, StorageError> {
        let (parts, schema) = self.gather(seq, None)?;
        let pending = each_record(&parts, folding(&parts), Vec::new, |pending, of_record| {
            if !of_record.has_nothing_of_the_app()
                && let Some((_, _, state)) = of_record.fold(&schema)?
            {
                pending.extend(state.pending);
            }
            Ok(())
        })?;
        let mut pending: Vec<Mutation> = pending.into_iter().flatten().collect();
        pending.sort_by_key(|mutation: &Mutation| mutation.seq);
        Ok(pending)
    }

    /// The entries about the records of a model with the smallest identifiers, at most so many, and the schema in force after the
    /// last entry.
    fn gather_first(
        &self,
        ranges: &[(Seq, Seq)],
        model: &str,
        most: usize,
    ) -> Result<(Vec<Firsts>, Arc<Schema>), StorageError> {
        let model = model_bytes(model);
        let (mut parts, schema) = self.scan_ranges(ranges, &|firsts: &mut Firsts, at, bytes| {
            let peek = peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {at} is no entry")))?;
            if peek.is_cleared() {
                firsts.clear();
            } else if peek.is_of_record() && peek.is_of_model(&model) {
                let id = peek
                    .id_in(&model)
                    .ok_or_else(|| StorageError::corrupt(format!("entry {at} names no record")))?;
                firsts.take(most, id, (at, bytes));
            }
            Ok(())
        })?;
        if let Some(newest_clear) = parts.iter().rposition(|part| part.cleared) {
            parts.drain(..newest_clear);
        }
        Ok((parts, schema))
    }

    /// The entries about the records of one model, or of all, and the schema in force after the last.
    fn gather(&self, seq: Seq, model: Option<&str>) -> Result<(Vec<Gathered>, Arc<Schema>), StorageError> {
        self.within_or_before_all(seq)?;
        self.gather_from(&self.parts_to(seq), model)
    }

    fn gather_from(
        &self,
        ranges: &[(Seq, Seq)],
        model: Option<&str>,
    ) -> Result<(Vec<Gathered>, Arc<Schema>), StorageError> {
        let model = model.map(model_bytes);
        let (mut parts, schema) = self.scan_ranges(ranges, &|gathered: &mut Gathered, at, bytes| {
            let peek = peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {at} is no entry")))?;
            if peek.is_cleared() {
                gathered.clear();
            } else if peek.is_of_record() && model.as_ref().is_none_or(|model| peek.is_of_model(model)) {
                gathered.take(at, bytes, &peek)?;
            }
            Ok(())
        })?;
        if let Some(newest_clear) = parts.iter().rposition(|part| part.cleared) {
            parts.drain(..newest_clear);
        }
        Ok((parts, schema))
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::{Change, Op, Origin, Page, Predicate, Sort};
    use proptest::prelude::*;

    use super::*;
    use crate::history::Scope;
    use crate::history::tests::{deeds, history, perform, random_store};
    use crate::test_support::{append, arrived, in_memory, post};

    #[test]
    fn a_record_of_which_an_entry_was_let_go_is_not_among_the_first() {
        let mut store = in_memory();
        for id in ["p1", "p2", "p3", "p4"] {
            append(&mut store, arrived(&post(id), 1, &format!("id={id} title=a"))).unwrap();
        }
        let cut = store.head();
        append(&mut store, arrived(&post("p1"), 2, "deleted")).unwrap();
        append(&mut store, arrived(&post("p5"), 1, "id=p5 title=a")).unwrap();
        let history = history(&store);
        let (first, last) = history.bounds();
        let ranges = [(first, cut), (cut.next(), last)];
        let page = Page {
            limit: Some(2),
            page: 0,
        };
        let query = Query {
            page,
            ..Query::all("Post")
        };
        let there = history.as_of(last, &Scope::All).unwrap().query(&query).unwrap();
        for most in 1..6 {
            let (parts, schema) = history.gather_first(&ranges, "Post", most).unwrap();
            let found = first::found_in(parts, &schema, &query).unwrap();
            // With two the third is let go, which comes before the fifth that the second part has.
            assert_eq!(found, (most > 2).then(|| there.clone()), "{most}");
        }
    }

    #[test]
    fn few_records_are_looked_for_among_all_of_them_at_once() {
        let mut store = in_memory();
        for number in 0..100 {
            let title = if number % 10 == 0 { "rare" } else { "often" };
            append(
                &mut store,
                arrived(
                    &post(&format!("p{number}")),
                    1,
                    &format!("id=p{number} title={title}"),
                ),
            )
            .unwrap();
        }
        let history = history(&store);
        let seem_enough = |title: &str, kept: usize| {
            let page = Page {
                limit: Some(2),
                page: 0,
            };
            let predicate = Predicate::field("title", Op::Eq(title.into()));
            history
                .seem_enough(
                    kept,
                    &Query {
                        page,
                        predicate,
                        ..Query::all("Post")
                    },
                )
                .unwrap()
        };
        assert!(seem_enough("often", 4) && seem_enough("rare", 20));
        assert!(!seem_enough("rare", 19) && !seem_enough("never", 1_000));
        let all = Query {
            page: Page {
                limit: Some(2),
                page: 0,
            },
            ..Query::all("Post")
        };
        assert!(history.seem_enough(1, &all).unwrap(), "everything matches");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn neither_parts_nor_threads_show_in_what_is_found(
            deeds in deeds(50),
            cleared in any::<bool>(),
            more in deeds(20),
            cuts in proptest::collection::btree_set(2..60_u64, 0..4),
            threads in 1..5_usize,
            page in (0..5_usize, 0..3_usize),
            most in 1..6_usize,
        ) {
            let mut store = random_store(&deeds);
            if cleared {
                store.write(5, |txn| txn.append(Origin::App, None, Change::Cleared)).unwrap();
            }
            for deed in &more {
                perform(&mut store, deed);
            }
            let history = history(&store);
            let (first, last) = history.bounds();
            let mut ranges = Vec::new();
            let mut from = first;
            for cut in cuts.into_iter().map(Seq).filter(|cut| *cut > first && *cut <= last) {
                ranges.push((from, Seq(cut.0 - 1)));
                from = cut;
            }
            ranges.push((from, last));
            let (parts, schema) = history.gather_from(&ranges, Some("Post")).unwrap();
            let past = history.as_of(last, &Scope::Model("Post".into())).unwrap();
            let predicates = [
                Predicate::All,
                Predicate::field("rating", Op::Ge(3.into())),
                Predicate::Not(Box::new(Predicate::field("rating", Op::Eq(2.into())))),
                Predicate::field("title", Op::BeginsWith("t1".into()))
                    .or(Predicate::field("title", Op::BeginsWith("r".into()))),
                Predicate::field("rating", Op::Eq(landfall_core::Value::Null)),
            ];
            for predicate in predicates {
                let all = Query { predicate, ..Query::all("Post") };
                let page = Page { limit: Some(page.0), page: page.1 };
                let first = Query { page, ..all.clone() };
                let by_rating = Query { sort: vec![Sort::descending("rating")], ..first.clone() };
                for query in [all, first, by_rating] {
                    let there = past.query(&query).unwrap();
                    prop_assert_eq!(&found_in(&parts, threads, &schema, &query).unwrap(), &there);
                    prop_assert_eq!(&history.query(last, &query).unwrap(), &there);
                    if query.sort.is_empty() {
                        let (parts, _) = history.gather_first(&ranges, "Post", most).unwrap();
                        let found = first::found_in(parts, &schema, &query).unwrap();
                        prop_assert!(found.is_none_or(|found| found == there));
                    }
                }
            }
        }
    }
}
