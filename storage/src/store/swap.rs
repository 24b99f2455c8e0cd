//! A new file in the place of the one that is open.
//!
//! Owns [`Store::anew`] and the order of it: somebody fills a file with what the store holds, it is opened, takes the name, the store
//! goes on in it, then the name gets to disk. Between the taking of the name and the last a crash leaves either file under that name,
//! so nothing is acknowledged there.
//!
//! Invariants: 1. the file that has the name, as the system tells it, is the one that is written to; 2. what is written to it is
//! acknowledged only once its name is on disk; 3. the new file holds the last commit of the old one; 4. readers wait while the files
//! change places, and not while the new one is filled.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Shared, Store, closed};
use crate::disk::{Disk, Faults, Opened, sync_name};
use crate::error::StorageError;
use crate::panics::unless_it_panics;
use crate::unfinished::Unfinished;

/// A file that is open, and so locked, but has not got its name.
struct Fresh {
    opened: Opened,
    /// Its own: what the old file has not on disk is no matter of the new one.
    faults: Arc<Faults>,
}

impl Fresh {
    fn open(shared: &Shared, unfinished: &Unfinished) -> Result<Self, StorageError> {
        let faults = Arc::new(Faults::default());
        let opened = unless_it_panics(|| unfinished.open(shared.pages_bytes, &faults))?;
        Ok(Self { opened, faults })
    }
}

impl Store {
    /// Has `fill` put what the store holds into a new file in its directory, and goes on in that one.
    ///
    /// Nothing is committed between the filling and the change of files: whoever commits has the store to himself, as this call
    /// has it, and in an app that is the storage actor, which does one thing at a time. A reader may open the old file again
    /// after a fault; what it shows then is what was acknowledged, as before.
    ///
    /// An error before the file has its name leaves everything as it was.
    pub(super) fn anew<T>(
        &mut self,
        directory: &Path,
        fill: impl FnOnce(&Opened, &Unfinished) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.ensure_open()?;
        let shared = Arc::clone(&self.shared);
        let mut unfinished = Unfinished::begin(directory)?;
        let filled = {
            let guard = shared.database();
            let open = guard.as_ref().ok_or_else(closed)?;
            unless_it_panics(|| fill(open, &unfinished))?
        };
        // Opened, and so locked, before it has its name: nobody else can open the store in between.
        let fresh = Fresh::open(&shared, &unfinished)?;
        shared.swap(fresh, &mut unfinished)?;
        Ok(filled)
    }
}

impl Shared {
    /// Gives a new file the name of the old one, and goes on in it. It holds the same commit.
    ///
    /// An error of the renaming leaves everything as it was. One of the syncing of the name leaves the new file in use, and writes
    /// wait until its name is on disk.
    fn swap(&self, fresh: Fresh, unfinished: &mut Unfinished) -> Result<(), StorageError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        unfinished.replace(&self.disk.place())?;
        self.name_unsynced.store(true, Ordering::Release);
        let old = database.replace(fresh.opened);
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = fresh.faults;
        self.lacks_room.store(false, Ordering::Release);
        // What the cache keeps may have come from damaged pages.
        self.cache.restart();
        // Its file has no name any more.
        if let Some(old) = old {
            old.forsake();
        }
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
