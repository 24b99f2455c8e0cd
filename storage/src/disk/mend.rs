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

/// Where the size of a page is.
const PAGE_SIZE_AT: usize = 12;

/// Bytes that are looked at.
const HEADER_LEN: usize = 32;

/// Largest file that a header is believed to speak of, in bytes: what is cut off costs no memory until it is read.
const LENGTH_MAX: u64 = 1 << 44;

/// Smallest and largest page that is believed.
const PAGE_BYTES: std::ops::RangeInclusive<u64> = 512..=1 << 16;

/// Makes the head of a database whole as far as it is known what it must be, and the file as long as that says. What is longer
/// than that by less than a page is cut off: no page of the database can be there.
pub(super) fn mend(file: &dyn StorageBackend, layout: FileLayout) -> io::Result<()> {
    let start = layout.database_start();
    let mut header = [0; HEADER_LEN];
    file.read(start, &mut header)?;
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[GOD_BYTE_AT] &= !WAS_NOT_CLOSED;
    file.write(start, &header)?;
    let stated = length_in(&header).map(|length| start + length);
    let length = file.len()?;
    match stated {
        Some(stated) if length < stated && stated <= LENGTH_MAX => file.set_len(stated),
        _ => {
            let page = number_at(&header, PAGE_SIZE_AT);
            let odd = length.saturating_sub(start) % page.max(1);
            let is_page = page.is_power_of_two() && PAGE_BYTES.contains(&page);
            if is_page && odd > 0 {
                file.set_len(length - odd)?;
            }
            Ok(())
        }
    }
}

fn number_at(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    let bytes = header[at..].first_chunk().copied().unwrap_or_default();
    u64::from(u32::from_le_bytes(bytes))
}

/// How long the database is by its header; `None` if that makes no sense.
fn length_in(header: &[u8; HEADER_LEN]) -> Option<u64> {
    let number = |at: usize| number_at(header, at);
    let (page, region_header, region_data) = (number(PAGE_SIZE_AT), number(16), number(20));
    let (full, last) = (number(24), number(28));
    let regions = full.checked_mul(region_header + region_data)?;
    let trailing = if last > 0 { region_header + last } else { 0 };
    page.checked_mul(regions.checked_add(trailing)?.checked_add(1)?)
}
