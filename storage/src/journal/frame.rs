//! The form of a frame, whatever the things in it mean.
//!
//! Owns [`Frame`], which is written, [`Framed`], which was read, and [`Link`], by which frames continue each other.
//!
//! ```text
//! sector: 1 if a frame begins in it, 2 if one goes on in it, 0 if it was never written · 511 bytes of the frame
//! frame:  number of its first link u64 · check of the link before it u32 · items u32 · bytes u32 · CRC-32 u32
//!         then for each item: length u32 · the item; zeros up to a whole sector
//! ```
//!
//! What items are, and which of them a [`Link`] stands for, is up to who writes them: the log of a store has one for each
//! entry (`entries.rs`), a store of rows one for each transaction (`kv/changes.rs`).

use landfall_core::planted;

/// What disks write as a whole, in bytes.
pub(super) const SECTOR: usize = 512;

/// First byte of a sector in which a frame begins.
pub(super) const BEGINS: u8 = 1;

/// First byte of a sector in which a frame goes on.
const GOES_ON: u8 = 2;

/// Bytes of a frame in a sector.
const PIECE: usize = SECTOR - 1;

/// Largest frame that is built, in bytes. A larger commit goes to the database itself, and need not be kept twice.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a frame before its first item.
const HEADER_LEN: usize = 24;

/// Where in the header the checksum is; it covers everything else.
const CRC_AT: usize = 20;

/// A place in what the frames continue: its number, and a check that stands for everything up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) check: u32,
}

/// One commit, on its way to the journal.
#[derive(Debug)]
pub(crate) struct Frame {
    first: u64,
    previous_check: u32,
    items: u32,
    /// Room for the header, then the items; of a frame that is too large, only the last one.
    bytes: Vec<u8>,
    is_too_large: bool,
    /// Whether the header is filled in for the items that there are.
    is_closed: bool,
}

impl Frame {
    /// A frame without items, for what follows `head`.
    pub(crate) fn after(head: impl Into<Link>) -> Self {
        let head = head.into();
        let mut bytes = Vec::with_capacity(4 * SECTOR);
        bytes.resize(HEADER_LEN, 0);
        Self {
            first: head.number.saturating_add(1),
            previous_check: head.check,
            items: 0,
            bytes,
            is_too_large: false,
            is_closed: false,
        }
    }

    /// Adds an item, which `encode` writes. Returns the item's bytes and what `encode` returned.
    pub(crate) fn push<T>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> T) -> (&[u8], T) {
        if self.bytes.len() > FRAME_BYTES_MAX {
            self.is_too_large = true;
        }
        if self.is_too_large {
            self.bytes.truncate(HEADER_LEN);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let returned = encode(&mut self.bytes);
        let item = start + 4;
        let length = u32::try_from(self.bytes.len() - item).expect("an item is far smaller than 4 GiB");
        self.bytes[start..item].copy_from_slice(&length.to_le_bytes());
        self.items += 1;
        self.is_closed = false;
        (&self.bytes[item..], returned)
    }

    /// Whether it fits into so many bytes of a journal.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        !self.is_too_large && on_disk(self.bytes.len()) as u64 <= bytes
    }

    /// Fills in the header. Returns the link of a frame that is a single one, with its checksum for a check; that of a frame that
    /// is too large covers its header and its last item.
    pub(crate) fn close(&mut self) -> Link {
        let length =
            u32::try_from(self.bytes.len()).expect("a frame that fits the journal is smaller than 4 GiB");
        self.bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&self.previous_check.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.items.to_le_bytes());
        self.bytes[16..CRC_AT].copy_from_slice(&length.to_le_bytes());
        let crc = crc_of(&self.bytes);
        self.bytes[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        self.is_closed = true;
        Link {
            number: self.first,
            check: crc,
        }
    }

    /// The frame in sectors, its header filled in.
    pub(super) fn seal(&mut self) -> Vec<u8> {
        if !self.is_closed {
            self.close();
        }
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

/// A frame that was found whole.
#[derive(Debug)]
pub(crate) struct Framed(Vec<u8>);

impl Framed {
    /// The frame that begins with that sector, if there is a whole one.
    pub(super) fn in_sectors(region: &[u8]) -> Option<Self> {
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
        let framed = Self(frame);
        (crc_of(&framed.0) == framed.checksum() || planted("torn-frame-accepted")).then_some(framed)
    }

    /// Number of its first link.
    pub(crate) fn first(&self) -> u64 {
        first_in(&self.0)
    }

    /// Check of the link before it.
    pub(crate) fn previous_check(&self) -> u32 {
        u32_at(&self.0, 8)
    }

    /// Its checksum, which covers the check of the link before it.
    pub(crate) fn checksum(&self) -> u32 {
        u32_at(&self.0, CRC_AT)
    }

    /// Bytes that it takes in the journal.
    pub(super) fn on_disk(&self) -> usize {
        on_disk(self.0.len())
    }

    /// Its items; `None` if they are not as many as the header says, or end elsewhere than the frame.
    pub(crate) fn items(&self) -> Option<Vec<&[u8]>> {
        let mut rest = &self.0[HEADER_LEN..];
        let mut items = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            items.push(tail.get(..length)?);
            rest = &tail[length..];
        }
        let whole = rest.is_empty() && items.len() == u32_at(&self.0, 12) as usize;
        whole.then_some(items)
    }
}

/// Number of the first link of the frame whose bytes begin there.
pub(super) fn first_in(frame: &[u8]) -> u64 {
    frame.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Four bytes at a place that is known to be there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_closed_is_not_summed_up_again() {
        let mut frame = Frame::after(Link::default());
        frame.push(|out| out.push(7));
        let link = frame.close();
        let last = frame.bytes.len() - 1;
        frame.bytes[last] ^= 1;
        let sealed = frame.seal();
        assert!(
            Framed::in_sectors(&sealed).is_none(),
            "a second sum would pass this for whole"
        );
        frame.bytes[last] ^= 1;
        let framed = Framed::in_sectors(&frame.seal()).unwrap();
        assert_eq!((framed.first(), framed.checksum()), (link.number, link.check));
        frame.push(|out| out.push(8));
        let framed = Framed::in_sectors(&frame.seal()).unwrap();
        assert_eq!(framed.items().unwrap(), [[7].as_slice(), &[8]]);
    }
}
