//! A store that is open, made anew from its log.
//!
//! Owns [`Store::remake`]. The file is written anew instead of mended: what a damaged page says is free, or lies elsewhere, may
//! be a page of the log.
//!
//! Invariant: at every moment the directory has one whole file of that name, the old one or the new one.

use std::sync::{Arc, PoisonError};

use redb::ReadableDatabase;

use super::{Store, closed, unless_it_panics};
use crate::backup::unfinished_in;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::remake::{Remade, Sound, make, of_log, take_its_name};

impl Store {
    /// Makes rows, indexes, outbox and cursors again from the log; records, their versions and what waits for the server are
    /// then what the log says, whatever was damaged. A store in a directory gets a new file; others are rebuilt in place.
    ///
    /// Readers go on meanwhile. Needs as much room on the disk as the log and what it comes to.
    ///
    /// # Errors
    /// [`StorageError::LogDamaged`] if the log itself is damaged, and the disk's faults. The store is as it was then.
    pub fn remake(&mut self) -> Result<Remade, StorageError> {
        let shared = Arc::clone(&self.shared);
        let Disk::Directory(directory) = &shared.disk else {
            let entries = self.rebuild()?;
            let snapshot = self.reader().snapshot()?;
            return Ok(Remade {
                entries,
                newest: self.head.seq,
                records: redb::ReadableTableMetadata::len(snapshot.records())?,
                pending: snapshot.pending_len()?,
                ..Remade::default()
            });
        };
        let file = shared.catalog.file.as_deref();
        self.ensure_open()?;
        let path = shared.disk.place();
        let unfinished = unfinished_in(directory)?;
        let made = unless_it_panics(|| {
            let guard = shared.database();
            let open = guard.as_ref().ok_or_else(closed)?;
            let transaction = open.database.begin_read()?;
            make(&transaction, &Sound::of_open(&transaction)?, &unfinished)
        });
        let made = made.map_err(|error| of_log(error, file))?;
        // Opened, and so locked, before it has its name: nobody else can open the store in between.
        let fresh = Disk::open_at(&unfinished, shared.pages_bytes, &shared.faults)?;
        let mut database = shared.database.write().unwrap_or_else(PoisonError::into_inner);
        take_its_name(&unfinished, &path)?;
        *database = Some(fresh);
        // What it kept may have come from damaged pages.
        shared.cache.restart();
        drop(database);
        Ok(made)
    }
}
