//! A store's file made anew from its log, whatever else in the old one is damaged.
//!
//! Owns [`remake`], for a store that nobody has open, and the copy that [`Store::remake`](crate::Store::remake) makes of one
//! that is open. What it takes from the old file are the schema, the log and the base that the log goes on from; rows, indexes,
//! outbox and cursors are made again, so that identifiers, versions and what waits for the server stay as they were.
//!
//! Invariants: 1. every entry is checked before it is taken; 2. the old file is not written to, and what has to be mended to
//! open it is mended in memory; 3. at every moment there is one whole file of the store's name; 4. nothing is given up unless
//! that was asked for, and then the old file is kept, for as long as it holds nothing that was cleared.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, Value,
    WriteTransaction,
};

use landfall_core::{Change, Schema, Seq, schema_from_json};

use crate::catalog::Catalog;
use crate::codec;
use crate::commit::checkpoint;
use crate::disk::{FILE_NAME, Opened, open_mended, open_over, sync_name};
use crate::error::StorageError;
use crate::journal::Found;
use crate::open::{append_again, layouts, schema_in, write_foundation};
use crate::overlay::Overlay;
use crate::panics::unless_it_panics;
use crate::rebuild::{self, chain_start};
use crate::store::LogHead;
use crate::tables::{BASE, LAYOUTS, LOG, META, OUTBOX, RECORDS, meta};
use crate::unfinished::Unfinished;

/// Page cache of the file that is made, in bytes.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Most damaged files that are kept in one directory: whoever has so many has to look at them first.
const KEPT_MAX: u32 = 100;

/// What the name of a damaged file that is kept goes on with, before a number.
const KEPT_SUFFIX: &str = ".damaged-";

/// How much of a damaged log a store is made from; `landfall::rebuild` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of it; if a part is damaged, nothing is changed.
    #[default]
    Everything,
    /// The entries before the damage. What came after them is lost.
    UpToDamage,
}

/// What a store was made of: the answer of `DataStore::rebuild`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remade {
    /// Entries in its log.
    pub entries: u64,
    /// The newest of them.
    pub newest: Seq,
    /// Records that there are, those included that the app does not see.
    pub records: u64,
    /// Changes that wait for the server.
    pub pending: u64,
    /// Why entries were given up; `None` if none were.
    pub lost: Option<String>,
    /// Where the old file is, if entries were given up.
    pub kept: Option<PathBuf>,
    /// Whether the next opening of the store removes that file, since bytes of what was cleared are still in it.
    pub kept_until_opened: bool,
}

/// Makes the store in a directory, or a store's file, anew from its log. Nobody may have it open.
///
/// Needs as much room on the disk as the log and what it comes to.
///
/// # Errors
/// [`StorageError::LogDamaged`] if not all of the log is whole and [`Extent::Everything`] was asked for, or if none of it is;
/// [`StorageError::NoStore`], [`StorageError::Locked`], [`StorageError::TooNew`], [`StorageError::Foreign`] and the disk's
/// faults. Nothing is changed then; if it was only the new file's name that could not be brought to disk, the new file has it
/// already, and a power cut may bring the old one back.
pub fn remake(path: &Path, extent: Extent) -> Result<Remade, StorageError> {
    let path = &file_of(path)?;
    unless_it_panics(|| remake_file(path, extent)).map_err(|error| of_log(error, Some(path)))
}

/// Damage of what a store is made from, for which making it anew is no cure.
pub(crate) fn of_log(error: StorageError, file: Option<&Path>) -> StorageError {
    let (what, sound) = match error {
        StorageError::Corrupt { what, .. } => (what, None),
        StorageError::LogDamaged { what, sound, .. } => (what, sound),
        other => return other,
    };
    StorageError::LogDamaged {
        path: file.map(ToOwned::to_owned),
        what,
        sound,
    }
}

fn file_of(path: &Path) -> Result<PathBuf, StorageError> {
    let file = if path.is_dir() {
        path.join(FILE_NAME)
    } else {
        path.to_owned()
    };
    if file.is_file() {
        Ok(file)
    } else {
        Err(StorageError::NoStore {
            path: path.to_owned(),
        })
    }
}

fn remake_file(path: &Path, extent: Extent) -> Result<Remade, StorageError> {
    // Locked against writers until the new file has its name.
    let overlay = Overlay::open(path)?;
    let old = open_old(&overlay, path)?;
    let transaction = old.database.begin_read()?;
    let log = Sound::of(&transaction, &old);
    let refusal = |what: String| StorageError::LogDamaged {
        path: Some(path.to_owned()),
        what,
        sound: log.entries_there(),
    };
    match (&log.damage, extent) {
        (Some(what), Extent::Everything) => return Err(refusal(what.clone())),
        (Some(what), Extent::UpToDamage) if log.entries_there().is_none() => {
            return Err(refusal(what.clone()));
        }
        _ => {}
    }
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let mut unfinished = Unfinished::begin(directory)?;
    let mut made = make(&transaction, &log, &unfinished)?;
    made.lost.clone_from(&log.damage);
    let is_unscrubbed = is_unscrubbed(&transaction)?;
    if is_unscrubbed {
        // What was kept earlier; the new file may have no mark of it, so nobody else would.
        remove_kept(directory)?;
    }
    if made.lost.is_some() {
        made.kept = Some(keep(path)?);
        made.kept_until_opened = is_unscrubbed;
    }
    unfinished.replace_closed(path)?;
    sync_name(path).map_err(|error| StorageError::at_path(path, &error))?;
    Ok(made)
}

/// Opens the old file on changes in memory; if it does not open as it is, with what can be mended of its headers.
fn open_old(overlay: &Overlay, path: &Path) -> Result<Opened, StorageError> {
    let refused = match unless_it_panics(|| open_over(overlay.clone(), path)) {
        Err(error @ (StorageError::Corrupt { .. } | StorageError::Foreign { .. })) => error,
        opened => return opened,
    };
    match (unless_it_panics(|| open_mended(overlay, path)), refused) {
        (Ok(opened), _) => Ok(opened),
        (Err(_), StorageError::Corrupt { what, .. }) => Err(StorageError::LogDamaged {
            path: Some(path.to_owned()),
            what,
            sound: None,
        }),
        (Err(_), refused) => Err(refused),
    }
}

/// What is whole of a log.
#[derive(Default)]
pub(crate) struct Sound {
    /// What comes before the first entry.
    pub(crate) start: LogHead,
    /// The last entry of the table before any damage.
    pub(crate) end: LogHead,
    /// What follows it in the journal.
    pub(crate) journaled: Vec<Found>,
    /// The schema that the log says is in force at its end.
    pub(crate) schema: Option<Schema>,
    /// What is wrong with what follows; `None` if everything is whole.
    pub(crate) damage: Option<String>,
}

impl Sound {
    /// Reads the log as far as it is whole.
    pub(crate) fn of(transaction: &ReadTransaction, old: &Opened) -> Self {
        let mut sound = Self::default();
        if let Err(error) = unless_it_panics(|| sound.read(transaction)) {
            sound.damage = Some(error.gist());
        } else {
            match unless_it_panics(|| old.journal().recover(sound.end)) {
                Ok(found) => sound.journaled = found,
                Err(error) => sound.damage = Some(error.gist()),
            }
        }
        sound
    }

    /// The whole log of a store that is open, whose journal holds nothing that the database does not show.
    pub(crate) fn of_open(transaction: &ReadTransaction) -> Result<Self, StorageError> {
        let mut sound = Self::default();
        match unless_it_panics(|| sound.read(transaction)) {
            Ok(()) => Ok(sound),
            Err(error) => Err(StorageError::LogDamaged {
                path: None,
                what: error.gist(),
                sound: sound.entries_there(),
            }),
        }
    }

    fn read(&mut self, transaction: &ReadTransaction) -> Result<(), StorageError> {
        let (start, check) = chain_start(&transaction.open_table(META)?)?;
        self.start = LogHead {
            seq: Seq(start.0 - 1),
            check,
        };
        self.end = self.start;
        for item in transaction.open_table(LOG)?.iter()? {
            let (seq, bytes) = item.map_err(|error| {
                let what = StorageError::from(error).gist();
                StorageError::corrupt(format!(
                    "what follows {} in the log cannot be read ({what})",
                    self.end.seq
                ))
            })?;
            let (seq, expected) = (Seq(seq.value()), self.end.seq.next());
            if seq != expected {
                return Err(StorageError::corrupt(format!(
                    "{expected} is missing; the log goes on with {seq}"
                )));
            }
            let check = codec::entry::verify(seq, bytes.value(), self.end.check)
                .map_err(|_| StorageError::corrupt(format!("{seq} of the log was altered")))?;
            let entry = codec::entry::decode(seq, bytes.value())?;
            if let Change::SchemaChanged(changed) = entry.change {
                self.schema = serde_json::from_str(&changed.introspection)
                    .ok()
                    .and_then(|json| schema_from_json(&json).ok());
            }
            self.end = LogHead { seq, check };
        }
        Ok(())
    }

    /// The first and the last entry that are whole.
    pub(crate) fn entries_there(&self) -> Option<(Seq, Seq)> {
        let last = self.journaled.last().map_or(self.end.seq, |found| found.seq);
        (last > self.start.seq).then(|| (self.start.seq.next(), last))
    }
}

/// Makes a store of a log in a file that is not there yet.
pub(crate) fn make(from: &ReadTransaction, log: &Sound, to: &Unfinished) -> Result<Remade, StorageError> {
    let opened = to.open(CACHE_BYTES, &Arc::default())?;
    let transaction = opened.database.begin_write()?;
    let catalog = Arc::new(found(from, log, &transaction)?);
    {
        let mut table = transaction.open_table(LOG)?;
        for item in from.open_table(LOG)?.range(..=log.end.seq.0)? {
            let (seq, bytes) = item?;
            table.insert(seq.value(), bytes.value())?;
        }
    }
    let mut made = Remade {
        entries: rebuild::rebuild(&transaction, &catalog)?,
        ..Remade::default()
    };
    made.newest = append_again(&transaction, &catalog, log.end, &log.journaled)?.seq;
    made.entries += log.journaled.len() as u64;
    made.records = rows_in(&transaction, RECORDS)?;
    made.pending = rows_in(&transaction, OUTBOX)?;
    checkpoint(transaction, &mut opened.journal())?;
    Ok(made)
}

fn rows_in<K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    definition: TableDefinition<'static, K, V>,
) -> Result<u64, StorageError> {
    Ok(redb::ReadableTableMetadata::len(
        &transaction.open_table(definition)?,
    )?)
}

/// Copies what a log stands on: format, schema, migrations, layouts of rows, base.
fn found(from: &ReadTransaction, log: &Sound, to: &WriteTransaction) -> Result<Catalog, StorageError> {
    let kept = from.open_table(META)?;
    {
        let mut table = to.open_table(META)?;
        for item in kept.iter()? {
            let (name, value) = item?;
            table.insert(name.value(), value.value())?;
        }
        if log.damage.is_none() {
            // A file that is new has never held what was cleared. Where the old one is kept beside it, the mark speaks of that
            // one, which the next opening removes.
            table.remove(meta::UNSCRUBBED)?;
        }
    }
    // The log has the schema as well.
    let schema = match (schema_in(&kept), &log.schema) {
        (Ok(Some(schema)), _) => schema,
        (Ok(None) | Err(_), Some(schema)) => schema.clone(),
        (Ok(None), None) => return Err(StorageError::corrupt("it has no schema")),
        (Err(error), None) => return Err(error),
    };
    write_foundation(to, &schema)?;
    let copied = copy_numbered(from, to);
    if let Err(error) = copied {
        // Layouts are of rows, which are all written anew.
        tracing::warn!(%error, "the layouts of the old rows cannot be read; they are made anew");
        to.delete_table(LAYOUTS)?;
    }
    copy_base(from, to)?;
    let (catalog, fresh) = Catalog::build(Arc::new(schema), &layouts(to)?)?;
    let mut table = to.open_table(LAYOUTS)?;
    for (id, layout) in fresh {
        let bytes = rmp_serde::to_vec(&layout).expect("writing MessagePack to memory cannot fail");
        table.insert(id.0, bytes.as_slice())?;
    }
    Ok(catalog)
}

fn copy_numbered(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StorageError> {
    {
        let mut table = to.open_table(LAYOUTS)?;
        for item in from.open_table(LAYOUTS)?.iter()? {
            let (id, layout) = item?;
            table.insert(id.value(), layout.value())?;
        }
    }
    layouts(to).map(drop)
}

fn copy_base(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StorageError> {
    let base = match from.open_table(BASE) {
        Ok(base) => base,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut table = to.open_table(BASE)?;
    for item in base.iter()? {
        let (key, entry) = item?;
        table.insert(key.value(), entry.value())?;
    }
    Ok(())
}

/// Gives the old file a second name, so that it is still there when the new one has taken the first. Returns it.
fn keep(path: &Path) -> Result<PathBuf, StorageError> {
    let failed = |error: std::io::Error| StorageError::at_path(path, &error);
    for number in 1..=KEPT_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{KEPT_SUFFIX}{number}"));
        let kept = path.with_file_name(name);
        if kept.exists() {
            continue;
        }
        // Not every file system has links.
        if fs::hard_link(path, &kept).is_err() {
            fs::copy(path, &kept).map_err(failed)?;
            // The renaming to come takes the original away.
            fs::File::open(&kept)
                .and_then(|copy| copy.sync_all())
                .map_err(failed)?;
        }
        sync_name(&kept).map_err(failed)?;
        return Ok(kept);
    }
    Err(StorageError::Exists {
        path: path.with_file_name(format!("{FILE_NAME}{KEPT_SUFFIX}{KEPT_MAX}")),
    })
}

/// Whether a clear has not been followed by a new file yet (`store/scrub.rs`).
pub(crate) fn is_unscrubbed(transaction: &ReadTransaction) -> Result<bool, StorageError> {
    Ok(transaction.open_table(META)?.get(meta::UNSCRUBBED)?.is_some())
}

/// Removes the damaged files that were kept beside a store when it was made again without what was damaged.
pub(crate) fn remove_kept(directory: &Path) -> Result<(), StorageError> {
    let failed = |error: std::io::Error| StorageError::at_path(directory, &error);
    let kept = format!("{FILE_NAME}{KEPT_SUFFIX}");
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(kept.as_bytes()) {
            fs::remove_file(entry.path()).map_err(|error| StorageError::at_path(&entry.path(), &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
