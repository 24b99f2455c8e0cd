//! Opening a log to look at it, whatever it is kept in.
//!
//! Owns [`open_for_inspection`]. Invariant: what is opened is not written to, not even to repair it after a crash.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_core::{Schema, Seq};
use redb::ReadableDatabase;

use super::cut::open_damaged;
use super::file::{LogFile, MAGIC};
use super::{History, LiveLog};
use crate::codec;
use crate::disk::{Disk, FILE_NAME, Faults};
use crate::error::StorageError;
use crate::open::schema_in;
use crate::overlay::Overlay;
use crate::panics::unless_it_panics;
use crate::store::{CACHE_BYTES_DEFAULT, OnIncompatible, Store, StoreOptions};
use crate::tables::{LOG, META};

/// The time of the entries that opening itself makes, by which they are told from those that were there.
const OPENED_AT_MS: i64 = i64::MIN;

/// Opens the log of a store, by its directory or its file, or an exported log.
///
/// A store that a crash left open is repaired in memory; its file stays as it was. As long as the log is looked at, the
/// store cannot be opened for writing. A file that was cut short, lengthened, or damaged at its head is read as far as its pages
/// go, which [`History::check`] tells. Of a store that a process has open the log is copied as it is now, beside that
/// process ([`LiveLog`]); its rows are not compared with it then.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// let history = landfall_storage::history::open_for_inspection(log)?;
/// assert_eq!(history.len(), 13);
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
///
/// # Errors
/// [`StorageError::NoStore`], [`StorageError::Busy`] if a process writes it too fast, [`StorageError::Foreign`],
/// [`StorageError::TooNew`], [`StorageError::LogDamaged`] if no entry can be read, [`StorageError::BadLogFile`] and the disk's
/// faults.
pub fn open_for_inspection(path: &Path) -> Result<History, StorageError> {
    let file = find(path)?;
    let mut first = [0; MAGIC.len()];
    let mut opened = File::open(&file).map_err(|error| StorageError::at_path(&file, &error))?;
    let read = opened
        .read(&mut first)
        .map_err(|error| StorageError::at_path(&file, &error))?;
    if read == 0 {
        // An empty file is a store that was about to be made: there is nothing in it.
        return Err(StorageError::NoStore { path: file });
    }
    if looks_exported(&first[..read]) {
        return Ok(History::of_file(LogFile::open(Box::new(opened))?));
    }
    drop(opened);
    match open_store(&file) {
        // Somebody writes it: its log can be read beside them.
        Err(StorageError::Locked { .. }) => LiveLog::open(&file)?.history(),
        opened => opened,
    }
}

/// Opens an exported log that is in memory.
///
/// # Errors
/// [`StorageError::BadLogFile`].
pub fn read_exported(bytes: Vec<u8>) -> Result<History, StorageError> {
    Ok(History::of_file(LogFile::open(Box::new(std::io::Cursor::new(
        bytes,
    )))?))
}

/// Also if a copy took it for text, or cut it off, so that it can be said what is wrong with it.
fn looks_exported(first: &[u8]) -> bool {
    first.len() >= 6 && (first[1..6] == MAGIC[1..6] || first[2..] == MAGIC[2..first.len()])
}

/// The file that a path means.
pub(super) fn find(path: &Path) -> Result<PathBuf, StorageError> {
    let file = if path.is_dir() {
        path.join(FILE_NAME)
    } else {
        path.to_owned()
    };
    match std::fs::metadata(&file) {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(StorageError::Foreign { path: file }),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StorageError::NoStore {
            path: path.to_owned(),
        }),
        Err(error) => Err(StorageError::at_path(&file, &error)),
    }
}

fn open_store(file: &Path) -> Result<History, StorageError> {
    let overlay = Overlay::open(file)?;
    match open_on(&overlay, file) {
        Err(StorageError::Corrupt { what, .. }) => open_damaged(&overlay, file, &what),
        opened => opened,
    }
}

/// Opens the log of a store's file on changes in memory.
pub(super) fn open_on(overlay: &Overlay, file: &Path) -> Result<History, StorageError> {
    let overlay = overlay.clone();
    let disk = Disk::Custom(Arc::new(move || Ok(Box::new(overlay.clone()))));
    let schema = unless_it_panics(|| stored_schema(&disk)).map_err(|error| of_file(error, file))?;
    let options = StoreOptions {
        disk,
        schema: Arc::new(schema),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: OPENED_AT_MS,
    };
    let store = Store::open(options).map_err(|error| of_file(error, file))?;
    let snapshot = store.reader().snapshot()?.of_file(file);
    let end = snapshot.said(|| newest_before_opening(&snapshot))?;
    History::of_store(snapshot, Some(store), end)
}

/// The store knows its disk by no name; the reader wants to know which file is meant.
fn of_file(error: StorageError, file: &Path) -> StorageError {
    match error {
        StorageError::Foreign { .. } => StorageError::Foreign {
            path: file.to_owned(),
        },
        StorageError::Corrupt { what, .. } => StorageError::Corrupt {
            path: Some(file.to_owned()),
            what,
        },
        other => other.in_file(Some(file)),
    }
}

fn stored_schema(disk: &Disk) -> Result<Schema, StorageError> {
    let opened = disk.open(CACHE_BYTES_DEFAULT, &Arc::new(Faults::default()))?;
    let transaction = opened.database.begin_read()?;
    let foreign = || StorageError::Foreign { path: disk.place() };
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(foreign()),
    };
    schema_in(&table)?.ok_or_else(foreign)
}

fn newest_before_opening(snapshot: &crate::Snapshot) -> Result<Seq, StorageError> {
    let (start, _) = snapshot.log_bounds()?;
    let log = snapshot.transaction().open_table(LOG)?;
    for item in redb::ReadableTable::iter(&log)?.rev() {
        let (seq, bytes) = item?;
        if codec::entry::peek(bytes.value()).is_none_or(|peek| peek.at_ms != OPENED_AT_MS) {
            return Ok(Seq(seq.value()));
        }
    }
    Ok(Seq(start.0 - 1))
}
