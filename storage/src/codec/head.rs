//! Heads: everything about one record but its pending mutations, which are in the outbox table.
//!
//! Owns the encoding. The visible row comes early, so that a scan finds it with two additions.
//!
//! ```text
//! flags u8 · [version u64 · change time i64] · [own since u64] · [row length u32 · row] · [shadow length u32 · shadow] · pending u64 ...
//! ```

use std::ops::Range;

use landfall_core::{Mutation, RecordState, RecordVersion, Seq, SyncMetadata};

use crate::catalog::ModelEntry;
use crate::error::StorageError;

const HAS_SYNC: u8 = 1;
const DELETED: u8 = 2;
const HAS_OWN_SINCE: u8 = 4;
const HAS_ROW: u8 = 8;
const HAS_SHADOW: u8 = 16;

/// Bytes of the length before a row.
const LENGTH_LEN: usize = 4;

/// A head with its rows still encoded.
#[derive(Debug, Default)]
pub(crate) struct HeadRef<'a> {
    pub(crate) sync: Option<SyncMetadata>,
    pub(crate) own_since: Option<RecordVersion>,
    pub(crate) row: Option<&'a [u8]>,
    /// Where in the head the row begins, if there is one.
    row_at: usize,
    pub(crate) shadow: Option<&'a [u8]>,
    pending: &'a [u8],
}

impl<'a> HeadRef<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, StorageError> {
        let mut input = Input(bytes);
        let flags = input.take(1)?[0];
        let sync = if flags & HAS_SYNC == 0 {
            None
        } else {
            let version = u64::from_le_bytes(input.array()?);
            let last_changed_at_ms = i64::from_le_bytes(input.array()?);
            let deleted = flags & DELETED != 0;
            Some(SyncMetadata {
                version: RecordVersion(version),
                last_changed_at_ms,
                deleted,
            })
        };
        let own_since = if flags & HAS_OWN_SINCE == 0 {
            None
        } else {
            Some(RecordVersion(u64::from_le_bytes(input.array()?)))
        };
        let row_at = bytes.len() - input.0.len() + LENGTH_LEN;
        let row = if flags & HAS_ROW == 0 {
            None
        } else {
            Some(input.block()?)
        };
        let shadow = if flags & HAS_SHADOW == 0 {
            None
        } else {
            Some(input.block()?)
        };
        if input.0.len() % 8 != 0 {
            return Err(damaged());
        }
        Ok(Self {
            sync,
            own_since,
            row,
            row_at,
            shadow,
            pending: input.0,
        })
    }

    /// Only the visible row, for scans that look at far more records than they return.
    #[inline]
    pub(crate) fn row_in(bytes: &'a [u8]) -> Result<Option<&'a [u8]>, StorageError> {
        let flags = *bytes.first().ok_or_else(damaged)?;
        if flags & HAS_ROW == 0 {
            return Ok(None);
        }
        let sync = if flags & HAS_SYNC == 0 { 0 } else { 16 };
        let own_since = if flags & HAS_OWN_SINCE == 0 { 0 } else { 8 };
        let mut input = Input(bytes.get(1 + sync + own_since..).ok_or_else(damaged)?);
        input.block().map(Some)
    }

    /// The whole state of the record; `mutation` looks one up in the outbox.
    pub(crate) fn state(
        &self,
        model: &ModelEntry,
        mutation: impl Fn(Seq) -> Result<Option<Mutation>, StorageError>,
    ) -> Result<RecordState, StorageError> {
        let decode = |row: &[u8]| model.decode(row);
        let found = |seq: Seq| {
            mutation(seq)?
                .ok_or_else(|| StorageError::corrupt(format!("mutation {seq} is missing from the outbox")))
        };
        Ok(RecordState {
            row: self.row.map(decode).transpose()?,
            sync: self.sync,
            own_since: self.own_since,
            shadow: self.shadow.map(decode).transpose()?,
            pending: self.pending().map(found).collect::<Result<_, _>>()?,
        })
    }

    /// Where in the head the row is.
    pub(crate) fn row_place(&self) -> Option<Range<usize>> {
        self.row.map(|row| self.row_at..self.row_at + row.len())
    }

    /// Sequence numbers of the pending mutations, oldest first.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = Seq> + 'a {
        self.pending
            .as_chunks::<8>()
            .0
            .iter()
            .map(|chunk| Seq(u64::from_le_bytes(*chunk)))
    }
}

/// Parts of a head to be written; `row` and `shadow` append an encoded row.
pub(crate) struct HeadParts<R, S> {
    pub(crate) sync: Option<SyncMetadata>,
    pub(crate) own_since: Option<RecordVersion>,
    pub(crate) row: Option<R>,
    pub(crate) shadow: Option<S>,
}

/// Appends a head.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    parts: HeadParts<impl FnOnce(&mut Vec<u8>), impl FnOnce(&mut Vec<u8>)>,
    pending: impl Iterator<Item = Seq>,
) {
    let mut flags = 0;
    if let Some(sync) = parts.sync {
        flags |= HAS_SYNC | if sync.deleted { DELETED } else { 0 };
    }
    flags |= if parts.own_since.is_some() {
        HAS_OWN_SINCE
    } else {
        0
    };
    flags |= if parts.row.is_some() { HAS_ROW } else { 0 };
    flags |= if parts.shadow.is_some() { HAS_SHADOW } else { 0 };
    out.push(flags);
    if let Some(sync) = parts.sync {
        out.extend_from_slice(&sync.version.0.to_le_bytes());
        out.extend_from_slice(&sync.last_changed_at_ms.to_le_bytes());
    }
    if let Some(RecordVersion(version)) = parts.own_since {
        out.extend_from_slice(&version.to_le_bytes());
    }
    if let Some(row) = parts.row {
        block(out, row);
    }
    if let Some(shadow) = parts.shadow {
        block(out, shadow);
    }
    for seq in pending {
        out.extend_from_slice(&seq.0.to_le_bytes());
    }
}

fn block(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length =
        u32::try_from(out.len() - at - 4).expect("a row is shorter than 4 GiB: its values are bounded");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], StorageError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn block(&mut self) -> Result<&'a [u8], StorageError> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        self.take(length)
    }
}

fn damaged() -> StorageError {
    StorageError::corrupt("a record head is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_with_any_of_their_parts() {
        let sync = SyncMetadata {
            version: RecordVersion(3),
            last_changed_at_ms: -5,
            deleted: true,
        };
        for mask in 0..16_u8 {
            let mut bytes = Vec::new();
            let parts = HeadParts {
                sync: (mask & 1 != 0).then_some(sync),
                own_since: (mask & 8 != 0).then_some(RecordVersion(2)),
                row: (mask & 2 != 0).then_some(|out: &mut Vec<u8>| out.extend_from_slice(b"row")),
                shadow: (mask & 4 != 0).then_some(|out: &mut Vec<u8>| out.extend_from_slice(b"shadow")),
            };
            encode(&mut bytes, parts, [Seq(1), Seq(9)].into_iter());
            let head = HeadRef::parse(&bytes).expect("readable");
            assert_eq!(head.sync, (mask & 1 != 0).then_some(sync));
            assert_eq!(head.own_since, (mask & 8 != 0).then_some(RecordVersion(2)));
            assert_eq!(head.row, (mask & 2 != 0).then_some(b"row".as_slice()));
            assert_eq!(head.shadow, (mask & 4 != 0).then_some(b"shadow".as_slice()));
            assert_eq!(head.pending().collect::<Vec<_>>(), [Seq(1), Seq(9)]);
            assert_eq!(HeadRef::row_in(&bytes).expect("readable"), head.row);
        }
    }

    #[test]
    fn a_cut_head_is_reported() {
        let parts = HeadParts {
            sync: None,
            own_since: None,
            row: Some(|out: &mut Vec<u8>| out.extend_from_slice(b"row")),
            shadow: None::<fn(&mut Vec<u8>)>,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, parts, std::iter::once(Seq(1)));
        for cut in [0, 1, 4, 7, bytes.len() - 1] {
            assert!(HeadRef::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for cut in [0, 1, 4, 7] {
            assert!(HeadRef::row_in(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
