//! Digests of the log: for each block of so many consecutive entries, which records they may be about.
//!
//! Owns the form of a digest, the table of them, and what of the log a question about one record has to read. A digest is a
//! Bloom filter of the encoded keys: of a record that the block has entries about it says so always, of another one in
//! less than one case of a hundred. What concerns every record, such as a clear, is a mark of the block.
//!
//! ```text
//! check before the block u32 · check of its last entry u32 · marks u8 · filter, one byte at least · CRC-32 u32
//! ```
//!
//! The CRC-32 covers the number of the block and everything before it. The checks are those of the log's chain
//! (`codec/entry.rs`), which stand for all entries up to theirs: a digest is believed if the log has the check of its last
//! entry there, or if the digest behind it is believed and goes on from that check. So whoever writes the log anew without
//! knowing of digests, as an older program does, makes them no lies but waste.
//!
//! Invariants: 1. a digest is a cache, and a block without one that is believed is read; 2. a block gets one only once it is
//! full, when no entry comes to it any more; 3. what is cleared takes all digests along; 4. nothing that goes wrong with
//! digests keeps anything else from being done.

mod made;
mod passed;

use landfall_core::Seq;

use crate::codec::entry::{key_bytes, peek};
use landfall_core::RecordKey;

pub(crate) use made::{Due, Maker, Verifier, forget, forget_before, insert, of};
pub(crate) use passed::{Kept, stretches};

/// Entries of a block. A digest takes about a hundredth of what the entries take, and reading a block about as long as reading
/// a hundred digests. Tests have short blocks, so that short logs have some.
pub(crate) const BLOCK_LEN: u64 = if cfg!(test) { 16 } else { 1_024 };

/// Bits of the filter for each record that the block is about.
const BITS_PER_RECORD: usize = 10;

/// Bits that a record has in the filter: as many as make the fewest errors with [`BITS_PER_RECORD`], about 0.8 of a hundred.
const BITS_SET: usize = 7;

/// The block has something that whoever asks about any record, or about schemas, has to see.
const MARKED: u8 = 1;

/// Nothing is known of the block but that it could not be read.
const UNREAD: u8 = 2;

/// Bytes before the filter, and behind it.
const HEADER_LEN: usize = 9;
const SUM_LEN: usize = 4;

/// The block that an entry is in.
pub(crate) fn block_of(seq: Seq) -> u64 {
    seq.0 / BLOCK_LEN
}

/// Number of blocks that are full, from the first that there can be, in a log that ends with an entry.
pub(crate) fn full_blocks(newest: Seq) -> u64 {
    newest.0.saturating_add(1) / BLOCK_LEN
}

fn first_of(block: u64) -> Seq {
    Seq(block.saturating_mul(BLOCK_LEN))
}

fn last_of(block: u64) -> Seq {
    Seq(first_of(block).0.saturating_add(BLOCK_LEN - 1))
}

/// What a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sought {
    /// A record.
    Record(Hashed),
    /// Only what concerns every record, such as the schemas that were taken on.
    Marks,
}

impl Sought {
    pub(crate) fn record(key: &RecordKey) -> Self {
        Self::Record(Hashed::of(&key_bytes(key)))
    }
}

/// Where the bits of a record are, in a filter of any length: each by four bytes of a hash of its key. They are independent of each other,
/// so that no record is in the filters of many blocks by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hashed([u32; BITS_SET]);

impl Hashed {
    /// Of an encoded key.
    fn of(key: &[u8]) -> Self {
        let hash = blake3::hash(key);
        let (words, _) = hash.as_bytes().as_chunks();
        Self(std::array::from_fn(|number| u32::from_le_bytes(words[number])))
    }

    fn bits(self, filter_len: usize) -> impl Iterator<Item = (usize, u8)> {
        self.0.into_iter().map(move |word| {
            let bit = word as usize % (filter_len * 8);
            (bit / 8, 1 << (bit % 8))
        })
    }
}

/// What is known of a block.
#[derive(Clone, Copy, Debug)]
struct Digest<'a> {
    before: u32,
    last: u32,
    marks: u8,
    filter: &'a [u8],
}

impl<'a> Digest<'a> {
    /// Reads the digest of a block; `None` if it is none of that block, or damaged.
    fn read(block: u64, bytes: &'a [u8]) -> Option<Self> {
        let (rest, sum) = bytes.split_last_chunk::<SUM_LEN>()?;
        let (header, filter) = rest.split_at_checked(HEADER_LEN)?;
        if filter.is_empty() || u32::from_le_bytes(*sum) != sum_of(block, rest) {
            return None;
        }
        Some(Self {
            before: u32::from_le_bytes(*header.first_chunk()?),
            last: u32::from_le_bytes(*header[4..].first_chunk()?),
            marks: header[8],
            filter,
        })
    }

    fn write(&self, block: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.filter.len() + SUM_LEN);
        out.extend_from_slice(&self.before.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        out.push(self.marks);
        out.extend_from_slice(self.filter);
        let sum = sum_of(block, &out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Whether the block may have something that is sought; `false` is certain.
    fn may_have(&self, sought: Sought) -> bool {
        self.marks != 0
            || match sought {
                Sought::Record(hashed) => hashed
                    .bits(self.filter.len())
                    .all(|(byte, bit)| self.filter[byte] & bit != 0),
                Sought::Marks => false,
            }
    }
}

fn sum_of(block: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The filter of some records, each of which may be named several times.
fn filter_of(records: &mut Vec<Hashed>) -> Vec<u8> {
    records.sort_unstable();
    records.dedup();
    let mut filter = vec![0; (records.len() * BITS_PER_RECORD).div_ceil(8).max(1)];
    for record in records {
        for (byte, bit) in record.bits(filter.len()) {
            filter[byte] |= bit;
        }
    }
    filter
}

/// What an entry is about, as far as digests know.
#[derive(Debug, PartialEq, Eq)]
enum About {
    Record(Hashed),
    /// Everything, or what cannot be told.
    Marked,
    /// Nothing that somebody could seek here.
    Nothing,
}

fn about(bytes: &[u8]) -> About {
    let Some(peek) = peek(bytes) else {
        return About::Marked;
    };
    if peek.is_cleared() || peek.is_schema() || peek.is_newer() {
        return About::Marked;
    }
    if !peek.is_of_record() {
        return About::Nothing;
    }
    match peek.key_place() {
        Some((at, length)) => About::Record(Hashed::of(&bytes[at..at + length])),
        None => About::Marked,
    }
}

#[cfg(test)]
mod tests;
