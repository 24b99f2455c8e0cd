//! A query of the past, over a model of any size.
//!
//! Owns [`History::query`] and [`History::pending`]. The entries of the model are put together by record, still
//! encoded, and then one record after the other is folded and tested. So what is held in memory is the model's part of
//! the log and what was found, not a state for every record, which would take about ten times as much.
//!
//! Invariant: the result is that of [`PastState::query`](super::PastState::query).

use std::hash::{DefaultHasher, Hasher};
use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_core::{BoundSort, ModelDef, Mutation, Record, RecordId, RecordKey, RecordState, Schema, Seq};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::History;
use super::fold::{self, model_of};
use crate::codec::entry::{Peek, decode, model_bytes, peek};
use crate::error::StorageError;
use crate::query::Query;

/// Encoded entries of one model.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// One of them.
struct Piece {
    /// Of the encoded key, so that sorting seldom has to compare the keys themselves.
    hash: u64,
    seq: Seq,
    /// Where the entry is in `bytes`, and where the key is in the entry.
    at: usize,
    length: usize,
    key_at: usize,
    key_length: usize,
}

impl Gathered {
    fn take(&mut self, seq: Seq, bytes: &[u8], peek: &Peek<'_>) -> Result<(), StorageError> {
        let (key_at, key_length) =
            key_in(peek).ok_or_else(|| StorageError::corrupt(format!("entry {seq} names no record")))?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes[key_at..key_at + key_length]);
        self.pieces.push(Piece {
            hash: hasher.finish(),
            seq,
            at: self.bytes.len(),
            length: bytes.len(),
            key_at,
            key_length,
        });
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn key(&self, piece: &Piece) -> &[u8] {
        &self.bytes[piece.at + piece.key_at..][..piece.key_length]
    }

    fn entry(&self, piece: &Piece) -> &[u8] {
        &self.bytes[piece.at..][..piece.length]
    }

    /// Puts the pieces of each record together, in order.
    fn sort(&mut self) {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.sort_unstable_by(|a, b| {
            let by_hash = a.hash.cmp(&b.hash);
            by_hash
                .then_with(|| self.key(a).cmp(self.key(b)))
                .then(a.seq.cmp(&b.seq))
        });
        self.pieces = pieces;
    }

    /// Folds one record after the other, and hands each over; those of models that the schema has not are passed over.
    fn fold_each(
        mut self,
        schema: &Schema,
        mut each: impl FnMut(RecordKey, &Arc<ModelDef>, RecordState),
    ) -> Result<(), StorageError> {
        self.sort();
        let of_one = |a: &Piece, b: &Piece| a.hash == b.hash && self.key(a) == self.key(b);
        for pieces in self.pieces.chunk_by(of_one) {
            let mut state = RecordState::default();
            let mut last = None;
            for piece in pieces {
                let entry = decode(piece.seq, self.entry(piece))?;
                let key = entry.change.key();
                let Some((key, def)) = key.and_then(|key| Some((key, schema.model(&key.model)?))) else {
                    break;
                };
                state.apply(def, entry.seq, &entry.change)?;
                last = Some((key.clone(), def));
            }
            if let Some((key, def)) = last {
                each(key, def, state);
            }
        }
        Ok(())
    }
}

/// Where the encoded key is in an entry that changes a record, and how long it is.
fn key_in(peek: &Peek<'_>) -> Option<(usize, usize)> {
    let (at, from) = peek.key_from()?;
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(from));
    IgnoredAny::deserialize(&mut deserializer).ok()?;
    let length = usize::try_from(deserializer.get_ref().position()).ok()?;
    Some((at, length))
}

impl History {
    /// The records that a query would have found after an entry.
    ///
    /// Reads the log up to the entry and decodes what is about the model: about two microseconds an entry. Holds these
    /// entries in memory, encoded, and the records that are found.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], [`StorageError::BadQuery`]; as [`History::as_of`].
    pub fn query(&self, seq: Seq, query: &Query) -> Result<Vec<Record>, StorageError> {
        let (gathered, schema) = self.gather(seq, Some(&query.model))?;
        let def = model_of(&schema, &query.model)?;
        let predicate = query.predicate.bind(def)?;
        let sort = BoundSort::bind(&query.sort, def)?;
        let mut found: Vec<(RecordId, Record)> = Vec::new();
        gathered.fold_each(&schema, |key, def, state| {
            if state.row.as_ref().is_some_and(|row| predicate.matches(row))
                && let Some(record) = fold::record(def, &state)
            {
                found.push((key.id, record));
            }
        })?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        if !sort.is_empty() {
            found.sort_by(|(_, a), (_, b)| sort.compare(a.values(), b.values()));
        }
        let limit = query.page.limit.unwrap_or(usize::MAX);
        let page = found.into_iter().skip(query.page.offset()).take(limit);
        Ok(page.map(|(_, record)| record).collect())
    }

    /// The changes that waited for the server after an entry, oldest first.
    ///
    /// Reads and decodes the log up to the entry, and holds what of it is about records in memory, encoded.
    ///
    /// # Errors
    /// As [`History::as_of`].
    pub fn pending(&self, seq: Seq) -> Result<Vec<Mutation>, StorageError> {
        let (gathered, schema) = self.gather(seq, None)?;
        let mut pending = Vec::new();
        gathered.fold_each(&schema, |_, _, state| pending.extend(state.pending))?;
        pending.sort_by_key(|mutation: &Mutation| mutation.seq);
        Ok(pending)
    }

    /// The entries about the records of one model, or of all, and the schema in force after the last.
    fn gather(&self, seq: Seq, model: Option<&str>) -> Result<(Gathered, Arc<Schema>), StorageError> {
        self.within_or_before_all(seq)?;
        let model = model.map(model_bytes);
        let mut gathered = Gathered::default();
        let schema = self.scan_with_schema(seq, &mut |at, bytes| {
            let peek = peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {at} is no entry")))?;
            if peek.is_cleared() {
                gathered = Gathered::default();
            } else if peek.is_of_record() && model.as_ref().is_none_or(|model| peek.is_of_model(model)) {
                gathered.take(at, bytes, &peek)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((gathered, schema))
    }
}
