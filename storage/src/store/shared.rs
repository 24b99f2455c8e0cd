//! The open file that the writer and its readers share, and how it is opened again after the disk failed.
//!
//! Owns [`Shared`]. What the log's head then tells of a failed commit is the writer's to say (`store.rs`), another file in the
//! place of this one is `swap.rs`.
//!
//! Invariants: 1. the old database is closed before the file is opened again; 2. readers are shown nothing that was not
//! acknowledged where it cannot be brought to disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use landfall_core::Seq;

use crate::catalog::Catalog;
use crate::disk::{Disk, Faults, Opened};
use crate::error::StorageError;
use crate::open;
use crate::panics::unless_it_panics;
use crate::row_cache::RowCache;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Disk,
    /// The part of the cache that is for pages.
    pub(super) pages_bytes: usize,
    pub(super) cache: Arc<RowCache>,
    pub(super) catalog: Arc<Catalog>,
    /// Those of the file that is open; another file has faults of its own.
    pub(super) faults: RwLock<Arc<Faults>>,
    /// `None` only while the database could not be reopened.
    pub(super) database: RwLock<Option<Opened>>,
    /// How often it was reopened.
    pub(super) reopened: AtomicU64,
    /// The newest entry that is known to be on disk.
    pub(super) acknowledged: AtomicU64,
    /// Whether the disk is too full for a writer, so that the database is open for readers only.
    pub(super) lacks_room: AtomicBool,
    /// Whether the file seems to hold more than was acknowledged, which cannot be brought to disk for lack of room. Nobody
    /// is shown that.
    pub(super) withheld: AtomicBool,
    /// Whether the file's name may not be on disk: nothing is acknowledged as long as that is so.
    pub(super) name_unsynced: AtomicBool,
    /// Whether the writer is gone, and with it the file.
    pub(super) closed: AtomicBool,
    /// The newest entry up to which the log was just verified, for as long as somebody vouches for that (`prove.rs`).
    pub(super) proven: AtomicU64,
}

impl Shared {
    pub(super) fn database(&self) -> RwLockReadGuard<'_, Option<Opened>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the disk failed since the database was last known to be well.
    pub(super) fn suspected(&self) -> bool {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.suspected()
    }

    pub(super) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Why there is no database.
    pub(super) fn why_closed(&self) -> StorageError {
        if self.is_closed() {
            StorageError::Closed
        } else {
            closed()
        }
    }

    /// Reopens the database if the disk failed.
    pub(super) fn heal(&self) -> Result<(), StorageError> {
        if !self.suspected() {
            return Ok(());
        }
        self.heal_in(&mut self.database.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same on behalf of a reader, which leaves it to the others if they are using the database, and to writers to
    /// find out whether there is room again.
    pub(super) fn try_heal(&self) {
        if !self.suspected() || self.lacks_room.load(Ordering::Acquire) {
            return;
        }
        let mut database = match self.database.try_write() {
            Ok(database) => database,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Err(error) = self.heal_in(&mut database) {
            tracing::warn!(%error, "the database could not be reopened");
        }
    }

    fn heal_in(&self, database: &mut Option<Opened>) -> Result<(), StorageError> {
        // A reader may have waited here while the store was closed.
        if self.is_closed() {
            return Err(StorageError::Closed);
        }
        if let Some(open) = database {
            let begun = unless_it_panics(|| {
                let _undone_at_once = open.database.begin_write()?;
                Ok(())
            });
            match begun {
                // It was a fault that the database got over by itself.
                Ok(()) if !self.faults().must_reopen() => {
                    self.faults().clear();
                    return Ok(());
                }
                Err(error) if !self.disk.can_reopen() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // The file is locked as long as the old database lives. What that has in memory alone is in the journal.
        if let Some(old) = database.take() {
            old.forsake();
        }
        self.reopened.fetch_add(1, Ordering::AcqRel);
        let opened = unless_it_panics(|| {
            let opened = self.disk.open(self.pages_bytes, &self.faults())?;
            open::recover(&opened, &self.catalog, None)?;
            Ok(opened)
        });
        if let Err(StorageError::Full { .. }) = opened {
            // There is no room for what the journal holds; it can be read nevertheless. What was not acknowledged may be in the
            // system's cache only: it can be proven absent there, but not that it is on disk.
            let acknowledged = Seq(self.acknowledged.load(Ordering::Acquire));
            let (opened, withheld) = unless_it_panics(|| {
                let opened = self.disk.open_without_writing(self.pages_bytes)?;
                let withheld = open::recover(&opened, &self.catalog, Some(acknowledged))?;
                Ok((opened, withheld))
            })?;
            *database = Some(opened);
            self.cache.restart();
            self.lacks_room.store(true, Ordering::Release);
            self.withheld.store(withheld, Ordering::Release);
            self.faults().distrust();
            return Ok(());
        }
        *database = Some(opened?);
        self.cache.restart();
        self.lacks_room.store(false, Ordering::Release);
        self.withheld.store(false, Ordering::Release);
        self.faults().clear();
        Ok(())
    }
}

pub(super) fn closed() -> StorageError {
    StorageError::Io {
        cause: "the database could not be reopened".to_owned(),
    }
}
