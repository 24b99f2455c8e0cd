//! What lies where in a store's file: a header, the journal, the database.
//!
//! Owns [`FileLayout`] and [`Region`]. What the journal's bytes mean is `journal.rs`; the database's are redb's.
//!
//! ```text
//! 0      header: magic 16 · version u32 · bytes of the journal u64 · CRC-32 of the header u32; zeros up to 4,096
//! 4,096  journal
//! then   database, up to the end of the file
//! ```
//!
//! One file holds both, so that neither can be copied or lost without the other, and one sync serves both. A file that
//! begins with the database itself has no journal; a store in memory is such a file.
//!
//! The header keeps its form in every later version, so that an older program can tell a newer file from a damaged one.
//!
//! Invariants: 1. the header is on disk only after the file has the length that it speaks of; 2. a file is made anew only once
//! nothing of what it held is left.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

/// Every store's file begins with it.
pub(super) const MAGIC: &[u8; 16] = b"landfall store\x1A\x0A";

/// Newest version of this layout that is known.
pub(super) const VERSION: u32 = 1;

/// Room for the header, a page of its own so that the journal's writes never touch it.
pub(super) const HEADER_BYTES: u64 = 4_096;

/// Bytes of the header that mean something, its checksum included.
const HEADER_LEN: usize = 32;

/// Largest journal that is believed, so that a damaged header cannot ask for all memory.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much is written at once when the journal is filled with zeros.
const ZEROS: usize = 256 * 1024;

/// Where in the file what lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileLayout {
    /// Zero if the file has neither header nor journal.
    pub(crate) journal_bytes: u64,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// No header of ours.
    None,
    /// A header, whole.
    Whole(FileLayout),
    /// A header of a version that is not known.
    Newer(u32),
    /// A header that was altered.
    Damaged,
}

impl FileLayout {
    /// Where the database begins.
    pub(super) fn database_start(self) -> u64 {
        if self.journal_bytes == 0 {
            0
        } else {
            HEADER_BYTES + self.journal_bytes
        }
    }

    /// Reads the header off the first bytes of a file.
    pub(super) fn parse(bytes: &[u8]) -> Header {
        if !bytes.starts_with(MAGIC) {
            return Header::None;
        }
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Header::Damaged;
        };
        let (body, check) = header.split_at(HEADER_LEN - 4);
        let (version, journal_bytes) = body[MAGIC.len()..].split_at(4);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let journal_bytes = number(journal_bytes);
        if number(check) != u64::from(crc32fast::hash(body)) {
            Header::Damaged
        } else if number(version) != u64::from(VERSION) {
            Header::Newer(u32::try_from(number(version)).expect("four bytes are a u32"))
        } else if journal_bytes == 0 || journal_bytes > JOURNAL_BYTES_MAX {
            Header::Damaged
        } else {
            Header::Whole(Self { journal_bytes })
        }
    }

    fn encode(self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&self.journal_bytes.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        header
    }

    /// Makes a file anew, up to where the database begins.
    pub(super) fn create(self, backend: &dyn StorageBackend) -> io::Result<()> {
        if backend.len()? > 0 {
            // The beginnings of an earlier attempt are gone before the new ones come: nothing would know the end of the one
            // behind the beginning of the other for what it is.
            backend.set_len(0)?;
            backend.sync_data()?;
        }
        if self.journal_bytes == 0 {
            return Ok(());
        }
        backend.set_len(self.database_start())?;
        // A journal that has its blocks already can be synced without waiting for the file system's own journal.
        write_zeros(backend, 0, self.database_start())?;
        backend.sync_data()?;
        backend.write(0, &self.encode())?;
        backend.sync_data()
    }
}

/// Writes zeros from `start` up to `end`.
pub(crate) fn write_zeros(backend: &dyn StorageBackend, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(ZEROS).min(ZEROS);
        backend.write(at, &zeros[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// A part of a file, which its user takes for a file of its own.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    file: Arc<dyn StorageBackend>,
    start: u64,
}

impl Region {
    /// The part that begins at `start`.
    pub(crate) fn new(file: Arc<dyn StorageBackend>, start: u64) -> Self {
        Self { file, start }
    }
}

impl StorageBackend for Region {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(self.start))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(self.start + offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(self.start + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(self.start + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Locks are about the file as a whole: whoever has the database has the journal.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_an_altered_one_is_not_believed() {
        let layout = FileLayout {
            journal_bytes: 65_536,
        };
        let header = layout.encode();
        assert_eq!(FileLayout::parse(&header), Header::Whole(layout));
        assert_eq!(layout.database_start(), 69_632);
        for at in 0..header.len() {
            let mut altered = header.clone();
            altered[at] ^= 1;
            let found = FileLayout::parse(&altered);
            let fits = if at < MAGIC.len() {
                Header::None
            } else {
                Header::Damaged
            };
            assert_eq!(found, fits, "byte {at}");
            assert_eq!(
                FileLayout::parse(&header[..at]),
                if at < MAGIC.len() {
                    Header::None
                } else {
                    Header::Damaged
                }
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&7_u32.to_le_bytes());
        header.extend_from_slice(&65_536_u64.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        assert_eq!(FileLayout::parse(&header), Header::Newer(7));
    }
}
