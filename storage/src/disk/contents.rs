//! What a database file holds, judged by its first bytes.
//!
//! Owns [`examine`], which only reads. Invariant: what might be somebody's data is never called unfinished.

use std::io;

use redb::StorageBackend;

/// Every database file begins with it.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// The header of a database lies in the first sector, which disks write as a whole.
const SECTOR: usize = 512;

/// Where the header holds the page size, which is never zero once the header is written.
const PAGE_SIZE_AT: usize = 12;

/// A new database is about 1 MiB; what is much larger was not left by a crash while it was being made.
const UNFINISHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a database file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing.
    Empty,
    /// A database, whole or damaged.
    Database,
    /// The beginning of a database that a crash kept from being made: its magic number is written last.
    Unfinished,
    /// Something else.
    Foreign,
}

/// Looks at what is there.
pub(super) fn examine(backend: &dyn StorageBackend) -> io::Result<Contents> {
    let length = backend.len()?;
    if length == 0 {
        return Ok(Contents::Empty);
    }
    let mut sector = [0; SECTOR];
    let present = usize::try_from(length).unwrap_or(SECTOR).min(SECTOR);
    backend.read(0, &mut sector[..present])?;
    if sector.starts_with(MAGIC) {
        return Ok(Contents::Database);
    }
    let unfinished =
        length <= UNFINISHED_BYTES_MAX && may_be_begun(&sector) && is_zero_from(backend, SECTOR, length)?;
    Ok(if unfinished {
        Contents::Unfinished
    } else {
        Contents::Foreign
    })
}

/// Whether the first sector is that of a database without its magic number, or nothing but zeros.
fn may_be_begun(sector: &[u8; SECTOR]) -> bool {
    let page_size = sector[PAGE_SIZE_AT..]
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    is_zero(&sector[..MAGIC.len()]) && (is_zero(sector) || page_size.is_power_of_two())
}

fn is_zero_from(backend: &dyn StorageBackend, start: usize, length: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = start as u64;
    while at < length {
        let count = usize::try_from(length - at)
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
