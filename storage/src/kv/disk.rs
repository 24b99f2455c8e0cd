//! Disks that are handed in, such as those of a simulation.
//!
//! Owns the adapter that lets redb use a boxed disk, and the settings every database is opened with.

use std::io;
use std::ops::Bound;

use redb::{BackendError, Builder, Database};

pub use redb::StorageBackend as DiskBackend;

use super::{KV_CACHE_BYTES, KvError};

/// A disk of the caller's: anything that reads, writes and syncs bytes.
pub type BoxedDisk = Box<dyn DiskBackend>;

/// Hands out the disk again after a fault.
pub(super) type Opener = Box<dyn Fn() -> io::Result<BoxedDisk> + Send + Sync>;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(KV_CACHE_BYTES);
    builder
}

pub(super) fn open(disk: BoxedDisk) -> Result<Database, KvError> {
    builder()
        .create_with_backend(Handed(disk))
        .map_err(|error| KvError::opening(error, "the given disk".as_ref()))
}

/// Passes every call on; the trait is not implemented for boxes.
#[derive(Debug)]
struct Handed(BoxedDisk);

impl DiskBackend for Handed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
