//! A file that seems writable and is never written to: what is written is kept in memory, page by page.
//!
//! Owns [`Overlay`]. A database that a crash left open has to be repaired before it can be read, and opening a store may
//! add entries; on an overlay both happen, and the file stays as it was. A full disk is another use: what the journal
//! holds can be taken over where the file cannot grow.
//!
//! Invariant: the file is locked against writers as long as it is looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::disk::{has_name, locked};
use crate::error::StorageError;

/// Size of the pieces in which writes are kept: the database's own page size.
const PAGE: u64 = 4_096;

/// A handle to a file with changes in memory on top; all clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Overlay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: Box<dyn StorageBackend>,
    top: Mutex<Top>,
}

/// What lies on top of the file.
#[derive(Debug)]
struct Top {
    /// Length of the whole.
    len: u64,
    /// How much of the file still shows: it shrinks with the length, and does not grow back.
    shown: u64,
    /// Written pages, by number.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Opens a file for reading, and locks it against writers.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let said = |error: io::Error| StorageError::at_path(path, &error);
        let file = File::open(path).map_err(said)?;
        let same = file.try_clone().map_err(said)?;
        let file = FileBackend::new(file).map_err(|error| StorageError::Io {
            cause: format!("{}: {error}", path.display()),
        })?;
        locked(
            file.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded),
            path,
        )?;
        if !has_name(&same, path) {
            // Its store was made anew before it was locked, by somebody who has it open.
            return Err(StorageError::Locked {
                path: path.to_owned(),
            });
        }
        Self::over(Box::new(file)).map_err(said)
    }

    /// Takes all changes away, so that the file shows as it is.
    pub(crate) fn forget(&self) -> io::Result<()> {
        let len = self.0.file.len()?;
        let mut top = self.0.top();
        (top.len, top.shown) = (len, len);
        top.pages.clear();
        Ok(())
    }

    /// Lays changes in memory over a file that the caller has locked.
    pub(crate) fn over(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = file.len()?;
        let top = Top {
            len,
            shown: len,
            pages: BTreeMap::new(),
        };
        Ok(Self(Arc::new(Shared {
            file,
            top: Mutex::new(top),
        })))
    }
}

impl Shared {
    fn top(&self) -> std::sync::MutexGuard<'_, Top> {
        self.top.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` from the file alone; what the file does not show is zero.
    fn below(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = shown.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        let (from_file, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if from_file.is_empty() {
            return Ok(());
        }
        self.file.read(offset, from_file)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.top().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let top = self.0.top();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > top.len) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "read beyond the end of the file",
            ));
        }
        let touched = offset / PAGE..(offset + out.len() as u64).div_ceil(PAGE);
        if top.pages.range(touched.clone()).next().is_none() {
            let shown = top.shown;
            drop(top);
            return self.0.below(shown, offset, out);
        }
        self.0.below(top.shown, offset, out)?;
        for (number, page) in top.pages.range(touched) {
            copy_overlap(*number * PAGE, page, offset, out);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut top = self.0.top();
        if len < top.len {
            top.shown = top.shown.min(len);
            top.pages.retain(|number, _| number * PAGE < len);
            if let Some(page) = top.pages.get_mut(&(len / PAGE)) {
                let kept = usize::try_from(len % PAGE).expect("it is less than a page");
                page[kept..].fill(0);
            }
        }
        top.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut top = self.0.top();
        let end = offset + data.len() as u64;
        for number in offset / PAGE..end.div_ceil(PAGE) {
            let start = number * PAGE;
            let mut page = match top.pages.remove(&number) {
                Some(page) => page,
                None => {
                    let mut page = vec![0; usize::try_from(PAGE).expect("a page fits memory")];
                    self.0.below(top.shown, start, &mut page)?;
                    page.into_boxed_slice()
                }
            };
            copy_overlap(offset, data, start, &mut page);
            top.pages.insert(number, page);
        }
        top.len = top.len.max(end);
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }
}

/// Copies the part of `from`, which lies at `from_at`, that falls into `to`, which lies at `to_at`.
fn copy_overlap(from_at: u64, from: &[u8], to_at: u64, to: &mut [u8]) {
    let start = from_at.max(to_at);
    let end = (from_at + from.len() as u64).min(to_at + to.len() as u64);
    if start >= end {
        return;
    }
    let index = |at: u64| usize::try_from(at).expect("an offset into a slice fits memory");
    let length = index(end - start);
    let (source, target) = (index(start - from_at), index(start - to_at));
    to[target..target + length].copy_from_slice(&from[source..source + length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_seen_and_the_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let original: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        std::fs::write(&path, &original).unwrap();
        let overlay = Overlay::open(&path).unwrap();
        // The same operations on a plain vector say what has to come out.
        let mut expected = original.clone();
        for (offset, length) in [
            (0, 3),
            (4_090, 20),
            (9_999, 1),
            (8_192, 4_096),
            (12_000, 10),
            (100, 9_000),
        ] {
            let data = vec![0xAB; length];
            overlay.write(offset as u64, &data).unwrap();
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].copy_from_slice(&data);
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
            let mut seen = vec![1; expected.len()];
            overlay.read(0, &mut seen).unwrap();
            assert_eq!(seen, expected);
        }
        for len in [5_000, 20_000, 100, 4_096] {
            overlay.set_len(len as u64).unwrap();
            expected.resize(len, 0);
            let mut seen = vec![1; len];
            overlay.read(0, &mut seen).unwrap();
            assert_eq!(seen, expected, "cut to {len}");
        }
        assert!(overlay.read(4_090, &mut [0; 10]).is_err(), "beyond the end");
        assert_eq!(std::fs::read(&path).unwrap(), original);
    }
}
