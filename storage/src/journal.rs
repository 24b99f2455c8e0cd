//! The journal: the entries of the newest commits, written to disk before the database holds them there.
//!
//! A commit costs one append to the journal and one sync; the database takes it on in memory, and brings what has
//! gathered there to disk in one go, a checkpoint, when the journal is full. After a crash the database is as the last
//! checkpoint left it, and the entries of the journal are appended to it again (`open.rs`), which projects them again.
//!
//! Owns the form of a frame, and which frames count. Does not know what an entry means.
//!
//! ```text
//! sector: 1 if a frame begins in it, 2 if one goes on in it, 0 if it was never written · 511 bytes of the frame
//! frame:  first entry u64 · check of the entry before it u32 · entries u32 · bytes u32 · CRC-32 u32
//!         then for each entry: length u32 · encoded entry (`codec/entry.rs`); zeros up to a whole sector
//! ```
//!
//! Entries hold what users and servers write. A sector says itself whether a frame begins in it, so that nothing that
//! somebody has a store keep can pass for a frame.
//!
//! Invariants: 1. a frame is one commit, all of it or none; 2. frames lie behind each other from the start of the
//! region, and each continues the chain of checks of the one before, so that what an earlier round left behind them
//! is never taken for a part of them; 3. no two frames share a sector, so a torn write harms no frame but its own (on
//! disks with larger sectors: as long as these keep what they held when a write to them is cut off);
//! 4. a frame is written only when the one before it is on disk, and overwritten only when the database holds it
//! there. Taking frames over after a crash lets no file grow, so a full disk keeps nobody from reading.

use std::io;

use landfall_core::{Seq, planted};
use redb::StorageBackend;

use crate::codec;
use crate::disk::{Region, write_zeros};
use crate::error::StorageError;
use crate::store::LogHead;

/// What disks write as a whole, in bytes.
const SECTOR: usize = 512;

/// First byte of a sector in which a frame begins.
const BEGINS: u8 = 1;

/// First byte of a sector in which a frame goes on.
const GOES_ON: u8 = 2;

/// Bytes of a frame in a sector.
const PIECE: usize = SECTOR - 1;

/// Largest frame that is built, in bytes. A larger commit goes to the database itself, and need not be kept twice.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a frame before its first entry.
const HEADER_LEN: usize = 24;

/// Where in the header the checksum is; it covers everything else.
const CRC_AT: usize = 20;

/// The entries of one commit, on their way to the journal.
#[derive(Debug)]
pub(crate) struct Frame {
    first: Seq,
    previous_check: u32,
    entries: u32,
    /// Room for the header, then the entries; of a frame that is too large, only the last one.
    bytes: Vec<u8>,
    is_too_large: bool,
}

impl Frame {
    /// A frame without entries, for what follows `head`.
    pub(crate) fn after(head: LogHead) -> Self {
        let mut bytes = Vec::with_capacity(4 * SECTOR);
        bytes.resize(HEADER_LEN, 0);
        Self {
            first: head.seq.next(),
            previous_check: head.check,
            entries: 0,
            bytes,
            is_too_large: false,
        }
    }

    /// Adds an entry, which `encode` writes. Returns the entry's bytes and what `encode` returned.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> u32) -> (&[u8], u32) {
        if self.bytes.len() > FRAME_BYTES_MAX {
            self.is_too_large = true;
        }
        if self.is_too_large {
            self.bytes.truncate(HEADER_LEN);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let check = encode(&mut self.bytes);
        let entry = start + 4;
        let length = u32::try_from(self.bytes.len() - entry).expect("an entry is far smaller than 4 GiB");
        self.bytes[start..entry].copy_from_slice(&length.to_le_bytes());
        self.entries += 1;
        (&self.bytes[entry..], check)
    }

    /// Fills in the header. Returns the frame in sectors.
    fn seal(&mut self) -> Vec<u8> {
        let length =
            u32::try_from(self.bytes.len()).expect("a frame that fits the journal is smaller than 4 GiB");
        self.bytes[..8].copy_from_slice(&self.first.0.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&self.previous_check.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.entries.to_le_bytes());
        self.bytes[16..CRC_AT].copy_from_slice(&length.to_le_bytes());
        let crc = crc_of(&self.bytes);
        self.bytes[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        let mut sectors = Vec::with_capacity(on_disk(self.bytes.len()));
        let mut tag = BEGINS;
        for piece in self.bytes.chunks(PIECE) {
            sectors.push(tag);
            sectors.extend_from_slice(piece);
            tag = GOES_ON;
        }
        sectors.resize(on_disk(self.bytes.len()), 0);
        sectors
    }
}

/// Bytes that a frame of that length takes in the journal; more than there are where the length, which may come from a damaged
/// disk, makes no sense.
fn on_disk(length: usize) -> usize {
    length.div_ceil(PIECE).saturating_mul(SECTOR)
}

/// Checksum of a frame without its padding.
fn crc_of(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..CRC_AT]);
    hasher.update(&frame[HEADER_LEN..]);
    hasher.finalize()
}

/// The region of the file that holds the frames.
#[derive(Debug)]
pub(crate) struct Journal {
    region: Region,
    capacity: u64,
    /// Where the next frame goes.
    at: u64,
    oldest: Option<Seq>,
}

/// An entry that was found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seq: Seq,
    pub(crate) bytes: Vec<u8>,
}

impl Journal {
    /// The journal in a region of that many bytes. With none, no frame ever fits, and every commit is a checkpoint.
    pub(crate) fn new(region: Region, capacity: u64) -> Self {
        Self {
            region,
            capacity,
            at: 0,
            oldest: None,
        }
    }

    /// Whether there is a journal at all.
    pub(crate) fn exists(&self) -> bool {
        self.capacity > 0
    }

    /// Whether the frame can be appended before the next checkpoint.
    pub(crate) fn has_room_for(&self, frame: &Frame) -> bool {
        !frame.is_too_large && self.at + on_disk(frame.bytes.len()) as u64 <= self.capacity
    }

    /// Brings a frame to disk. After an error it may be there or not; the journal must be read again to know.
    pub(crate) fn append(&mut self, frame: &mut Frame) -> io::Result<()> {
        let bytes = frame.seal();
        self.region.write(self.at, &bytes)?;
        if !planted("journal-not-synced") {
            self.region.sync_data()?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Begins again at the start, since the database holds on disk what the frames say.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    /// Overwrites everything behind the frames that the database does not have on disk yet, so that nothing of what was cleared
    /// can be read.
    ///
    /// The first sector goes last: a frame begins in it if there is none before it, so that what a crash leaves is known by it, and
    /// is erased at the next opening.
    pub(crate) fn erase(&mut self) -> io::Result<()> {
        let first = (self.at + SECTOR as u64).min(self.capacity);
        write_zeros(&self.region, first, self.capacity)?;
        self.region.sync_data()?;
        write_zeros(&self.region, self.at, first)?;
        self.region.sync_data()?;
        self.oldest = None;
        Ok(())
    }

    /// The first entry of the oldest frame behind those that were taken over, of which the beginning at least was there when the
    /// region was read; `None` if there was none.
    pub(crate) fn oldest(&self) -> Option<Seq> {
        self.oldest
    }

    /// The entries that follow `head`, in order: those that a crash kept from the database, whose log ends with `head`
    /// as it was just opened. The next frame goes behind them.
    pub(crate) fn recover(&mut self, head: LogHead) -> Result<Vec<Found>, StorageError> {
        if planted("journal-not-recovered") {
            return Ok(Vec::new());
        }
        let mut region = vec![0; usize::try_from(self.capacity).expect("a journal fits into memory")];
        self.region.read(0, &mut region)?;
        let mut found = Vec::new();
        let mut end: Option<LogHead> = None;
        let mut at = 0;
        while let Some(frame) = frame_in(&region[at..]) {
            let (first, previous_check) = position(&frame);
            if end.is_some_and(|end| first != end.seq.next() || previous_check != end.check) {
                // A frame that an earlier round left behind.
                break;
            }
            refuse_unless_it_follows(head, first, previous_check, end.is_none())?;
            let (entries, last) = entries_of(&frame, first, previous_check).ok_or_else(|| {
                StorageError::corrupt(format!(
                    "the journal's frame of entry {first} is whole, but its entries are not"
                ))
            })?;
            found.extend(entries.into_iter().filter(|entry| entry.seq > head.seq));
            end = Some(last);
            at += on_disk(frame.len());
        }
        refuse_if_later(&region[at..], end.map_or(head.seq, |end| end.seq.max(head.seq)))?;
        if !found.is_empty() {
            // They can be read, but a program that was killed after a failed sync may have left them in the system's
            // cache only, where no later sync would look for them.
            self.region.write(0, &region[..at])?;
        }
        if end.is_some() {
            // Likewise what the database shows has to be on disk before frames that hold the same are overwritten.
            self.region.sync_data()?;
        }
        let taken = if found.is_empty() { 0 } else { at };
        self.at = taken as u64;
        self.oldest = beginnings_in(&region[taken..])
            .map(|sector| position(&sector[1..]).0)
            .min();
        Ok(found)
    }
}

/// The entries of the frames that lie behind each other from the start of a journal, as far as they are whole; for who
/// reads a journal that somebody else writes. They may be of any time: what they follow is in their checks.
pub(crate) fn entries_in(region: &[u8]) -> Vec<(Seq, Vec<u8>)> {
    let mut found = Vec::new();
    let mut end: Option<LogHead> = None;
    let mut at = 0;
    while let Some(frame) = region.get(at..).and_then(frame_in) {
        let (first, previous_check) = position(&frame);
        if end.is_some_and(|end| first != end.seq.next() || previous_check != end.check) {
            break;
        }
        let Some((entries, last)) = entries_of(&frame, first, previous_check) else {
            break;
        };
        found.extend(entries.into_iter().map(|entry| (entry.seq, entry.bytes)));
        end = Some(last);
        at += on_disk(frame.len());
    }
    found
}

/// The frame that begins with that sector, if there is a whole one.
fn frame_in(region: &[u8]) -> Option<Vec<u8>> {
    let (tag, first) = region.get(..SECTOR)?.split_first()?;
    let length = u32_at(first, 16) as usize;
    let sectors = region.get(..on_disk(length)).filter(|_| length >= HEADER_LEN)?;
    if *tag != BEGINS
        || sectors[SECTOR..]
            .iter()
            .step_by(SECTOR)
            .any(|tag| *tag != GOES_ON)
    {
        return None;
    }
    let mut frame: Vec<u8> = sectors
        .chunks(SECTOR)
        .flat_map(|sector| &sector[1..])
        .copied()
        .collect();
    frame.truncate(length);
    (crc_of(&frame) == u32_at(&frame, CRC_AT) || planted("torn-frame-accepted")).then_some(frame)
}

/// A frame is written only once the one before it is on disk. If there is one that belongs behind the end, what lies
/// between was on disk too, and it is no crash that took it away.
fn refuse_if_later(rest: &[u8], end: Seq) -> Result<(), StorageError> {
    let later = beginnings_in(rest)
        .filter(|sector| position(&sector[1..]).0 > end)
        .find_map(frame_in);
    match later {
        Some(frame) => Err(StorageError::corrupt(format!(
            "the journal holds entry {}, but not what follows entry {end}",
            position(&frame).0
        ))),
        None => Ok(()),
    }
}

/// What goes on from each sector in which a frame begins, whole or not.
fn beginnings_in(region: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sectors = (0..region.len()).step_by(SECTOR).map(|at| &region[at..]);
    sectors.filter(|sector| sector.len() >= SECTOR && sector[0] == BEGINS)
}

/// Refuses frames that do not follow the log: one of the two is then not what it was.
fn refuse_unless_it_follows(
    head: LogHead,
    first: Seq,
    previous_check: u32,
    begins: bool,
) -> Result<(), StorageError> {
    let head_seq = head.seq;
    if begins && first > head_seq.next() {
        return Err(StorageError::corrupt(format!(
            "the journal begins with entry {first}, but the log ends with {head_seq}"
        )));
    }
    if first == head_seq.next() && previous_check != head.check {
        return Err(StorageError::corrupt(format!(
            "the journal goes on after another entry {head_seq} than the log ends with"
        )));
    }
    Ok(())
}

fn position(frame: &[u8]) -> (Seq, u32) {
    let first = frame.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (Seq(first), u32_at(frame, 8))
}

/// The entries of a frame, and where the log ends with them; `None` if they are not what the header says.
fn entries_of(frame: &[u8], first: Seq, previous_check: u32) -> Option<(Vec<Found>, LogHead)> {
    let mut rest = &frame[HEADER_LEN..];
    let mut entries = Vec::new();
    let mut check = previous_check;
    let mut seq = first;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let bytes = tail.get(..length)?;
        check = codec::entry::verify(seq, bytes, check).ok()?;
        entries.push(Found {
            seq,
            bytes: bytes.to_vec(),
        });
        seq = seq.next();
        rest = &tail[length..];
    }
    let last = LogHead {
        seq: entries.last()?.seq,
        check,
    };
    let whole = rest.is_empty() && entries.len() == u32_at(frame, 12) as usize;
    whole.then_some((entries, last))
}

/// Four bytes at a place that is known to be there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
