//! A new file in the place of the one that is open.
//!
//! Owns the order of it: the file takes the name, then the store goes on in it, then the name gets to disk. Between the first and
//! the last a crash leaves either file under that name, so nothing is acknowledged there.
//!
//! Invariants: 1. the file that has the name, as the system tells it, is the one that is written to; 2. what is written to it is
//! acknowledged only once its name is on disk.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Shared, close};
use crate::disk::{Disk, Faults, Opened, sync_name};
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::unfinished::Unfinished;

/// A file that is open, and so locked, but has not got its name.
pub(super) struct Fresh {
    opened: Opened,
    /// Its own: what the old file has not on disk is no matter of the new one.
    faults: Arc<Faults>,
}

impl Fresh {
    pub(super) fn open(shared: &Shared, unfinished: &Unfinished) -> Result<Self, StorageError> {
        let faults = Arc::new(Faults::default());
        let opened = unless_it_panics(|| unfinished.open(shared.pages_bytes, &faults))?;
        Ok(Self { opened, faults })
    }
}

impl Shared {
    /// Gives a new file the name of the old one, and goes on in it. It holds the same commit.
    ///
    /// An error of the renaming leaves everything as it was. One of the syncing of the name leaves the new file in use, and writes
    /// wait until its name is on disk.
    pub(super) fn swap(
        &self,
        database: &mut Option<Opened>,
        fresh: Fresh,
        unfinished: &mut Unfinished,
    ) -> Result<(), StorageError> {
        unfinished.replace(&self.disk.place())?;
        self.name_unsynced.store(true, Ordering::Release);
        let mut old = database.replace(fresh.opened);
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = fresh.faults;
        self.lacks_room.store(false, Ordering::Release);
        // What the cache keeps may have come from damaged pages.
        self.cache.restart();
        close(&mut old);
        self.sync_name()
    }

    /// Brings the file's name to disk, unless it is known to be there.
    pub(super) fn sync_name(&self) -> Result<(), StorageError> {
        if !self.name_unsynced.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Disk::Directory(_) = &self.disk {
            let path = self.disk.place();
            sync_name(&path).map_err(|error| StorageError::at_path(&path, &error))?;
        }
        self.name_unsynced.store(false, Ordering::Release);
        Ok(())
    }
}
