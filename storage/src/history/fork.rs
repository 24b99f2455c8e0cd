//! A new store that holds a log up to one of its entries, to go on from there.
//!
//! Owns [`History::fork`]. Invariant: the new log is the old one byte for byte, and an attempt that fails leaves no store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use redb::WriteTransaction;

use landfall_core::{Schema, Seq};

use super::History;
use crate::base;
use crate::codec;
use crate::disk::{Disk, FILE_NAME, Faults};
use crate::error::StorageError;
use crate::open::write_foundation;
use crate::store::{CACHE_BYTES_DEFAULT, OnIncompatible, Store, StoreOptions};
use crate::tables::{BASE, LOG, META, meta};

impl History {
    /// Makes a store in a directory that holds none, with the log up to an entry and the schema in force then. Returns
    /// the number of entries.
    ///
    /// Changes that waited for the server then wait in the new store as well: whoever connects it to the server sends
    /// them a second time.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// # let folder = tempfile::tempdir()?;
    /// # let directory = folder.path().join("as-of-6");
    /// use landfall_core::Seq;
    ///
    /// history.fork(Seq(6), &directory)?;
    /// let fork = landfall_storage::history::open_for_inspection(&directory)?;
    /// assert_eq!(fork.entry(Seq(6))?.change.name(), "sent");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StorageError::Exists`]; [`StorageError::NoBase`] for an exported file of a trimmed log that lacks what it goes on from;
    /// [`StorageError::Corrupt`] if the log is damaged before the entry; as [`History::as_of`] and [`Store::open`].
    pub fn fork(&self, seq: Seq, directory: &Path) -> Result<u64, StorageError> {
        self.within(seq)?;
        // Before there could be a file to remove.
        self.refuse_without_base()?;
        let file = directory.join(FILE_NAME);
        if file.exists() {
            return Err(StorageError::Exists { path: file });
        }
        let made = self.fork_to(seq, &Disk::Directory(directory.to_owned()));
        if made.is_err() && file.exists() {
            // It was made here a moment ago, and is not what was asked for.
            std::fs::remove_file(&file).map_err(|error| StorageError::at_path(&file, &error))?;
        }
        made
    }

    /// As [`fork`](Self::fork), onto any disk that holds no store. What an attempt that fails leaves on it is the caller's
    /// to remove.
    ///
    /// # Errors
    /// As there, but for [`StorageError::Exists`].
    pub fn fork_to(&self, seq: Seq, disk: &Disk) -> Result<u64, StorageError> {
        self.within(seq)?;
        self.refuse_without_base()?;
        let schema = self.schema_at(seq)?;
        let entries = self.write_log(seq, disk, &schema)?;
        let options = StoreOptions {
            disk: disk.clone(),
            schema,
            cache_bytes: CACHE_BYTES_DEFAULT,
            incompatible: OnIncompatible::Refuse,
            now_ms: 0,
        };
        Store::open(options)?.rebuild()?;
        Ok(entries)
    }

    fn write_log(&self, seq: Seq, disk: &Disk, schema: &Schema) -> Result<u64, StorageError> {
        let opened = disk.open(CACHE_BYTES_DEFAULT, &Arc::new(Faults::default()))?;
        let transaction = opened.database.begin_write()?;
        write_foundation(&transaction, schema)?;
        let mut entries = 0;
        {
            let mut start = self.start.0.to_le_bytes().to_vec();
            start.extend_from_slice(&self.start_check.to_le_bytes());
            transaction
                .open_table(META)?
                .insert(meta::LOG_START, start.as_slice())?;
            let mut log = transaction.open_table(LOG)?;
            let mut chain = self.start_check;
            self.scan_log_unbroken(seq, &mut |at, bytes| {
                chain = codec::entry::verify(at, bytes, chain)?;
                log.insert(at.0, bytes)?;
                entries += 1;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        self.write_base(&transaction)?;
        let wanted = seq.0 + 1 - self.start.0;
        if entries != wanted {
            return Err(StorageError::corrupt(format!(
                "of the {wanted} entries up to {seq} only {entries} are there"
            )));
        }
        transaction.commit()?;
        Ok(entries)
    }

    /// What the log of the new store goes on from.
    fn write_base(&self, transaction: &WriteTransaction) -> Result<(), StorageError> {
        if !self.has_base()? {
            return Ok(());
        }
        let mut to = transaction.open_table(BASE)?;
        self.each_known_of_base(&mut |seq, bytes| {
            let told = codec::entry::decode(seq, bytes)?.change;
            let key = base::key_of(&told).ok_or_else(|| {
                StorageError::corrupt(format!("its base has an entry of the kind `{}`", told.name()))
            })?;
            to.insert(key.as_slice(), bytes)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }
}
