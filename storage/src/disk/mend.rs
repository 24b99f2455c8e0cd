//! What can be mended of the head of a damaged database, so that what is whole behind it can be read.
//!
//! Owns [`mend`]. It is only done in memory, to a file that is about to be read once: nothing says that what is read then is
//! right, so whoever reads it has to check it.
//!
//! ```text
//! the database's first page, as its documentation has it:
//! 0   magic 9 · god byte 1 (bit 1: was not closed in order) · 2 unused · page size u32
//! 16  header pages of a region u32 · most data pages of a region u32 · full regions u32 · data pages of the last one u32
//! ```

use std::io;

use redb::StorageBackend;

use super::contents::MAGIC;
use super::layout::FileLayout;

/// Where the byte of flags is.
const GOD_BYTE_AT: usize = 9;

/// Has the database verify every page before it opens, and refuse all if one is damaged.
const WAS_NOT_CLOSED: u8 = 2;

/// Bytes that are looked at.
const HEADER_LEN: usize = 32;

/// Largest file that a header is believed to speak of, in bytes: what is cut off costs no memory until it is read.
const LENGTH_MAX: u64 = 1 << 44;

/// Makes the head of a database whole as far as it is known what it must be, and the file as long as that says.
pub(super) fn mend(file: &dyn StorageBackend, layout: FileLayout) -> io::Result<()> {
    let start = layout.database_start();
    let mut header = [0; HEADER_LEN];
    file.read(start, &mut header)?;
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[GOD_BYTE_AT] &= !WAS_NOT_CLOSED;
    file.write(start, &header)?;
    let stated = length_in(&header).map(|length| start + length);
    if let Some(length) = stated
        && length <= LENGTH_MAX
        && file.len()? < length
    {
        file.set_len(length)?;
    }
    Ok(())
}

/// How long the database is by its header; `None` if that makes no sense.
fn length_in(header: &[u8; HEADER_LEN]) -> Option<u64> {
    let number = |at: usize| {
        let bytes = header[at..].first_chunk().copied().unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    };
    let (page, region_header, region_data) = (number(12), number(16), number(20));
    let (full, last) = (number(24), number(28));
    let regions = full.checked_mul(region_header + region_data)?;
    let trailing = if last > 0 { region_header + last } else { 0 };
    page.checked_mul(regions.checked_add(trailing)?.checked_add(1)?)
}
