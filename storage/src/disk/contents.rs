//! What a store's file holds, judged by its first bytes.
//!
//! Owns [`examine`], which only reads. Invariant: what might be somebody's data is never called unfinished.

use std::io;

use redb::StorageBackend;

use super::layout::{self, FileLayout, HEADER_BYTES, Header};

/// Every database begins with it.
pub(super) const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// The headers lie in the first sectors of file and database, which disks write as a whole.
const SECTOR: usize = 512;

/// Where the database's header holds the page size, which is never zero once the header is written.
const PAGE_SIZE_AT: usize = 12;

/// A new store is about 3 MiB; what is much larger was not left by a crash while it was being made.
const UNFINISHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing.
    Empty,
    /// A store, whole or damaged.
    Store(FileLayout),
    /// The beginning of a store that a crash kept from being made: its database has nothing in it.
    Unfinished,
    /// A store of which it is plain already what is damaged.
    Damaged(&'static str),
    /// A store of a newer version, which this is.
    Newer(u32),
    /// Something else.
    Foreign,
}

/// Looks at what is there.
pub(super) fn examine(backend: &dyn StorageBackend) -> io::Result<Contents> {
    let length = backend.len()?;
    if length == 0 {
        return Ok(Contents::Empty);
    }
    let sector = sector_at(backend, 0, length)?;
    let layout = match FileLayout::parse(&sector) {
        Header::Whole(layout) => layout,
        Header::None if !may_be_begun_header(&sector) => FileLayout::default(),
        Header::Newer(found) => return Ok(Contents::Newer(found)),
        // The header is written last, so with nothing behind it the writing of it may have been cut off.
        Header::None | Header::Damaged => {
            let empty = (HEADER_BYTES..=UNFINISHED_BYTES_MAX).contains(&length)
                && is_zero(backend, SECTOR as u64, length)?;
            return Ok(if empty {
                Contents::Unfinished
            } else {
                Contents::Damaged("its header was altered")
            });
        }
    };
    let start = layout.database_start();
    if length < start {
        return Ok(Contents::Damaged("it is cut short"));
    }
    let sector = sector_at(backend, start, length)?;
    if sector.starts_with(MAGIC) {
        return Ok(Contents::Store(layout));
    }
    let unfinished = length <= UNFINISHED_BYTES_MAX + start
        && may_be_begun(&sector)
        && is_zero(backend, start + SECTOR as u64, length)?
        && is_zero(backend, HEADER_BYTES.min(start), start)?;
    Ok(match (unfinished, start) {
        (true, _) => Contents::Unfinished,
        (false, 0) => Contents::Foreign,
        (false, _) => Contents::Damaged("its database does not begin as one"),
    })
}

/// The sector at that place, with zeros for what lies behind the end.
fn sector_at(backend: &dyn StorageBackend, at: u64, length: u64) -> io::Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    let present = usize::try_from(length - at).unwrap_or(SECTOR).min(SECTOR);
    backend.read(at, &mut sector[..present])?;
    Ok(sector)
}

/// Whether the sector holds the first few bytes of a header, and nothing else.
fn may_be_begun_header(sector: &[u8; SECTOR]) -> bool {
    let written = sector
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    written > 0 && layout::MAGIC.starts_with(&sector[..written])
}

/// Whether the sector is the first of a database without its magic number, or nothing but zeros.
fn may_be_begun(sector: &[u8; SECTOR]) -> bool {
    let page_size = sector[PAGE_SIZE_AT..]
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    is_zero(&sector[..MAGIC.len()]) && (is_zero(sector) || page_size.is_power_of_two())
}

fn is_zero(backend: &dyn StorageBackend, start: u64, end: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        backend.read(at, &mut buffer[..count])?;
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}
