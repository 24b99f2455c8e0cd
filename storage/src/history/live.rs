//! The log of a store that another process has open, read beside it.
//!
//! Owns [`LiveLog`]: a place in the log from which it reads on. Nothing is written and nobody is held up; the other process
//! does not notice. What is read is the newest checkpoint of the database, then the journal behind it.
//!
//! Each entry carries the check of the one before it, so entries that were read at different moments make one log exactly
//! if their checks continue each other; everything handed over here does. A look at the database that a checkpoint
//! overtook is thrown away and tried again in smaller portions.
//!
//! Bounds: [`TRIES_MAX`] looks that were overtaken, then it is said that the store is written too fast.

use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use landfall_core::{LogEntry, Schema, Seq, schema_to_json};
use redb::{ReadableDatabase, ReadableTableMetadata};

use super::file::{Head, LogFile, LogWriter};
use super::open::find;
use super::{Filter, History};
use crate::codec;
use crate::digest::{Kept, Maker};
use crate::disk::{Beside, Root};
use crate::error::StorageError;
use crate::journal::entries_in;
use crate::open::schema_in;
use crate::panics::unless_it_panics;
use crate::rebuild::chain_start;
use crate::tables::{LOG, META};

/// Looks at the database in a row that a checkpoint may overtake. The portions get smaller, so more than a few mean that the
/// disk is far slower for the reader than for the writer.
pub const TRIES_MAX: u32 = 100;

/// Entries of the first portion. A checkpoint that is overtaken costs the time to read them once more.
const PORTION: u64 = 1 << 20;

/// Bytes after which a portion ends, however few its entries are: it is held in memory. One entry may go beyond.
const PORTION_BYTES_MAX: usize = 64 << 20;

/// Fewest entries of a portion: opening the database takes longer than reading these.
const PORTION_MIN: u64 = 1 << 10;

/// A log that is read while it grows.
#[derive(Debug)]
pub struct LiveLog {
    file: Beside,
    /// The next entry, and the check of the one before it.
    next: Seq,
    check: u32,
    /// The first entry of the log when it was opened, and the check of the one before it.
    start: (Seq, u32),
    /// Whether what was trimmed came to something that only the base in the store knows.
    based: bool,
    schema: Arc<Schema>,
    /// The root at the last look at the database, if that has read everything.
    read_to_end_of: Option<Root>,
}

/// What one look at the database shows.
struct Look {
    start: (Seq, u32),
    based: bool,
    schema: Schema,
    entries: Vec<(Seq, Vec<u8>)>,
    complete: bool,
}

impl LiveLog {
    /// Opens the log of a store, whether or not a process has it open, and stands before its first entry.
    ///
    /// # Errors
    /// [`StorageError::NoStore`], [`StorageError::Foreign`], [`StorageError::TooNew`], [`StorageError::Corrupt`],
    /// [`StorageError::Busy`] and the disk's faults.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let file = Beside::open(&find(path)?)?;
        let look = look_until_whole(&file, Seq::ZERO, 0)?.0;
        Ok(Self {
            file,
            next: look.start.0,
            check: look.start.1,
            start: look.start,
            based: look.based,
            schema: Arc::new(look.schema),
            read_to_end_of: None,
        })
    }

    /// The schema in force when the log was opened.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The next entry that would be read.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Reads everything that follows, and hands over what the filter wants. Returns the number of entries that were read.
    ///
    /// # Errors
    /// [`StorageError::Trimmed`] if the log was trimmed or cleared beyond this place, [`StorageError::Busy`],
    /// [`StorageError::Corrupt`] and the disk's faults; what was handed over stands, and a later call reads on behind it.
    pub fn read_on(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(Seq, Result<LogEntry, StorageError>),
    ) -> Result<u64, StorageError> {
        let marks = super::filter::Marks::of(filter);
        self.take_on(&mut |seq, bytes| {
            let in_range =
                filter.first.is_none_or(|first| seq >= first) && filter.last.is_none_or(|last| seq <= last);
            if in_range && filter.wants(&marks, bytes) {
                each(seq, codec::entry::decode(seq, bytes));
            }
            Ok(())
        })
    }

    /// Copies the log as far as it goes now, so that it can be looked at like any other. The copy is in a file without a
    /// name, which is gone with the history.
    ///
    /// # Errors
    /// As [`read_on`](Self::read_on), and the faults of the disk for temporary files.
    pub fn history(&mut self) -> Result<History, StorageError> {
        let mut copy = tempfile::tempfile()?;
        let mut digests = Kept::default();
        let mut maker = Maker::after(self.check);
        {
            let mut out = std::io::BufWriter::new(&mut copy);
            let head = Head {
                start: self.next,
                start_check: self.check,
                end: Seq(self.next.0.saturating_sub(1)),
                redacted: false,
                based: self.based,
                base: None,
                schema: Some(schema_to_json(&self.schema)),
                written_by: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let mut writer = LogWriter::begin(&mut out, &head)?;
            self.take_on(&mut |seq, bytes| {
                digests.take(&mut maker, seq, bytes);
                writer.entry(seq, bytes)
            })?;
            writer.end()?;
        }
        copy.seek(SeekFrom::Start(0))?;
        let mut history = History::of_file(LogFile::open(Box::new(copy))?);
        history.is_beside = true;
        history.digests = digests;
        Ok(history)
    }

    /// Hands over everything that follows, in order.
    fn take_on(
        &mut self,
        each: &mut dyn FnMut(Seq, &[u8]) -> Result<(), StorageError>,
    ) -> Result<u64, StorageError> {
        let before = self.next;
        let mut at_end = false;
        loop {
            // The journal first: while it reaches back to this place there is no need to open the database.
            let root = self.file.root()?;
            for (seq, bytes) in entries_in(&self.file.journal()?) {
                // Frames may be of an earlier time; those that do not follow are left to the database.
                if seq == self.next && codec::entry::verify(seq, &bytes, self.check).is_ok() {
                    self.hand_over(seq, &bytes, each)?;
                }
            }
            if at_end || self.read_to_end_of.as_ref() == Some(&root) {
                return Ok(self.next.0 - before.0);
            }
            let (look, root) = look_until_whole(&self.file, self.next, PORTION)?;
            if look.start.0 > self.next || look.start < self.start {
                return Err(StorageError::Trimmed {
                    seq: self.next,
                    start: look.start.0,
                });
            }
            (self.start, self.based) = (look.start, look.based);
            at_end = look.complete;
            self.read_to_end_of = look.complete.then_some(root);
            for (seq, bytes) in look.entries {
                self.hand_over(seq, &bytes, each)?;
            }
        }
    }

    fn hand_over(
        &mut self,
        seq: Seq,
        bytes: &[u8],
        each: &mut dyn FnMut(Seq, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let check = codec::entry::verify(seq, bytes, self.check)?;
        each(seq, bytes)?;
        (self.next, self.check) = (seq.next(), check);
        Ok(())
    }
}

/// Looks at the database until no checkpoint has overtaken the look.
fn look_until_whole(file: &Beside, from: Seq, portion: u64) -> Result<(Look, Root), StorageError> {
    let mut portion = portion;
    let mut found = None;
    for _ in 0..TRIES_MAX {
        let before = file.root()?;
        let look = unless_it_panics(|| look(file, from, portion, PORTION_BYTES_MAX));
        if file.root()? == before {
            match look {
                Ok(look) => return Ok((look, before)),
                // Nobody wrote meanwhile, so the file itself is damaged; but a first time proves nothing, since a page may
                // have been on its way.
                Err(error) if found.is_some() => return Err(error),
                Err(error) => found = Some(error),
            }
        }
        portion = (portion / 2).max(PORTION_MIN.min(portion));
    }
    Err(StorageError::Busy)
}

fn look(file: &Beside, from: Seq, portion: u64, bytes_max: usize) -> Result<Look, StorageError> {
    let database = file.database()?;
    let transaction = database.begin_read()?;
    let table = transaction.open_table(META)?;
    let start = chain_start(&table)?;
    let schema = schema_in(&table)?.ok_or_else(|| StorageError::corrupt("it has no schema".to_owned()))?;
    let log = transaction.open_table(LOG)?;
    let mut entries = Vec::new();
    let mut complete = true;
    let mut held = 0;
    for item in log.range(from.0..)? {
        if entries.len() as u64 >= portion || held >= bytes_max {
            complete = false;
            break;
        }
        let (seq, bytes) = item?;
        held += bytes.value().len();
        entries.push((Seq(seq.value()), bytes.value().to_vec()));
    }
    let based = match crate::base::of(&transaction)? {
        Some(base) => !base.is_empty()?,
        None => false,
    };
    Ok(Look {
        start,
        based,
        schema,
        entries,
        complete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{in_directory, save};

    #[test]
    fn a_portion_ends_with_the_entry_that_fills_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = in_directory(folder.path());
        for number in 0..5 {
            save(&mut store, "Post", &format!("id=p{number} title=a"));
        }
        drop(store);
        let file = Beside::open(&find(folder.path()).unwrap()).unwrap();
        let all = look(&file, Seq::ZERO, PORTION, PORTION_BYTES_MAX).unwrap();
        assert!(all.complete && all.entries.len() >= 5);
        let bytes: usize = all.entries.iter().map(|(_, bytes)| bytes.len()).sum();
        let first = look(&file, Seq::ZERO, PORTION, 1).unwrap();
        assert_eq!((first.complete, first.entries.len()), (false, 1));
        let most = look(&file, Seq::ZERO, PORTION, bytes - 1).unwrap();
        assert_eq!((most.complete, most.entries.len()), (true, all.entries.len()));
    }
}
