//! Copies of a store: made while it is in use, put back into an empty directory; and what a store consists of.
//!
//! Owns [`Snapshot::backup`], [`restore`] and [`Statistics`].
//!
//! Invariants: 1. a backup is the store at one commit, whatever is written meanwhile; 2. neither a backup nor what is
//! restored has its name before all of it is on disk; 3. nothing that exists is written over.

use std::borrow::Borrow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError, TableHandle, Value, WriteTransaction,
};

use landfall_core::{ModelName, Predicate, Seq};

use crate::base;
use crate::commit::checkpoint;
use crate::digest;
use crate::disk::{FILE_NAME, Names, Opened, open_over};
use crate::error::StorageError;
use crate::overlay::Overlay;
use crate::panics::unless_it_panics;
use crate::snapshot::Snapshot;
use crate::tables::{BASE, CURSORS, DIGESTS, IN_FLIGHT, INDEX, LAYOUTS, LOG, META, OUTBOX, RECORDS, meta};
use crate::unfinished::Unfinished;

/// Page cache of the copy that is being made, in bytes: it is written once from front to back.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// How far a copy has got; `DataStore::backup` and `restore` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// Rows of tables, or bytes of a file, that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// Rows between two reports of progress.
const REPORT_EVERY: u64 = 4_096;

/// What a store consists of; `DataStore::statistics` counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Number of records of each model that the app sees, in the order of the schema.
    pub records: Vec<(ModelName, u64)>,
    /// Changes that wait for the server, refused ones included.
    pub pending: u64,
    /// Entries in the log.
    pub log_entries: u64,
    /// The first entry that is still in the log.
    pub log_start: Seq,
    /// The newest entry.
    pub log_newest: Seq,
    /// Bytes that records take, with what is known of them.
    pub record_bytes: u64,
    /// Bytes that the log takes.
    pub log_bytes: u64,
    /// Bytes that indexes take.
    pub index_bytes: u64,
}

impl Snapshot {
    /// Copies the store as it is in this snapshot into a directory, which is made if missing; returns the number of
    /// rows copied. The copy is a store like any other: open it there, or [`restore`] it elsewhere.
    ///
    /// Writers go on meanwhile. The copy has no free pages, so it is smaller than the store may be.
    ///
    /// # Errors
    /// [`StorageError::Exists`] if the directory has a store already, [`StorageError::Corrupt`] if the store has a table
    /// that this version does not know; otherwise the disks' faults. An unfinished copy is left behind under another
    /// name only if it cannot be removed.
    pub fn backup(
        &self,
        directory: &Path,
        mut progress: impl FnMut(CopyProgress),
    ) -> Result<u64, StorageError> {
        self.said(|| {
            let (mut unfinished, path, names) = fresh(directory)?;
            let copied = self.copy_to(&unfinished, &mut progress);
            let rows = copied.map_err(|error| error.no_room_in(&path))?;
            unfinished.publish(&path, &names)?;
            Ok(rows)
        })
    }

    pub(crate) fn copy_to(
        &self,
        to: &Unfinished,
        progress: &mut dyn FnMut(CopyProgress),
    ) -> Result<u64, StorageError> {
        let opened = to.open(CACHE_BYTES, &Arc::default())?;
        let transaction = opened.database.begin_write()?;
        self.refuse_unknown_tables()?;
        let mut copy = Copy {
            from: self.transaction(),
            to: &transaction,
            progress,
            at: CopyProgress { done: 0, total: 0 },
        };
        copy.count()?;
        copy.table(LAYOUTS)?;
        copy.table(BASE)?;
        copy.table(LOG)?;
        copy.table(DIGESTS)?;
        copy.table(RECORDS)?;
        copy.table(OUTBOX)?;
        copy.table(IN_FLIGHT)?;
        copy.table(INDEX)?;
        copy.table(CURSORS)?;
        copy.table(META)?;
        // An older program may have left some of what it has trimmed or cleared.
        digest::forget_before(&transaction, self.log_bounds()?.0)?;
        // A file that is new has never held what was cleared.
        transaction.open_table(META)?.remove(meta::UNSCRUBBED)?;
        let rows = copy.at.done;
        checkpoint(transaction, &mut opened.journal())?;
        Ok(rows)
    }

    /// A copy without a table that is not known here would be a copy of something else.
    fn refuse_unknown_tables(&self) -> Result<(), StorageError> {
        let known = [
            LAYOUTS.name(),
            BASE.name(),
            LOG.name(),
            DIGESTS.name(),
            RECORDS.name(),
            OUTBOX.name(),
            IN_FLIGHT.name(),
            INDEX.name(),
            CURSORS.name(),
            META.name(),
        ];
        match self
            .transaction()
            .list_tables()?
            .find(|table| !known.contains(&table.name()))
        {
            None => Ok(()),
            Some(unknown) => Err(StorageError::corrupt(format!(
                "it has a table `{}`, which this version does not know; use the version that made it",
                unknown.name()
            ))),
        }
    }

    /// What the store consists of. Looks at every record, so it takes as long as a scan.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn statistics(&self) -> Result<Statistics, StorageError> {
        self.said(|| {
            let mut records = Vec::new();
            for model in self.schema().models() {
                records.push((model.name.clone(), self.count(&model.name, &Predicate::All)?));
            }
            let transaction = self.transaction();
            let (log_start, log_newest) = self.log_bounds()?;
            let log = transaction.open_table(LOG)?;
            Ok(Statistics {
                records,
                pending: self.pending_len()?,
                log_entries: log.len()?,
                log_start,
                log_newest,
                record_bytes: self.records().stats()?.stored_bytes(),
                log_bytes: log.stats()?.stored_bytes(),
                index_bytes: transaction.open_table(INDEX)?.stats()?.stored_bytes(),
            })
        })
    }
}

/// A copy that is being made.
struct Copy<'a> {
    from: &'a ReadTransaction,
    to: &'a WriteTransaction,
    progress: &'a mut dyn FnMut(CopyProgress),
    at: CopyProgress,
}

impl Copy<'_> {
    fn count(&mut self) -> Result<(), StorageError> {
        let from = self.from;
        self.at.total = from.open_table(LAYOUTS)?.len()?
            + from.open_table(LOG)?.len()?
            + from.open_table(RECORDS)?.len()?
            + from.open_table(OUTBOX)?.len()?
            + from.open_table(IN_FLIGHT)?.len()?
            + from.open_table(INDEX)?.len()?
            + from.open_table(CURSORS)?.len()?
            + from.open_table(META)?.len()?
            + base::of(from)?.map_or(Ok(0), |base| base.len())?
            + digest::of(from)?.map_or(Ok(0), |digests| digests.len())?;
        Ok(())
    }

    fn table<K, V>(&mut self, definition: TableDefinition<'static, K, V>) -> Result<(), StorageError>
    where
        K: Key + 'static,
        V: Value + 'static,
        for<'k> K::SelfType<'k>: Borrow<K::SelfType<'k>>,
        for<'v> V::SelfType<'v>: Borrow<V::SelfType<'v>>,
    {
        let from = match self.from.open_table(definition) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut to = self.to.open_table(definition)?;
        for item in from.iter()? {
            let (key, value) = item?;
            to.insert(key.value(), value.value())?;
            self.at.done += 1;
            if self.at.done.is_multiple_of(REPORT_EVERY) {
                (self.progress)(self.at);
            }
        }
        (self.progress)(self.at);
        Ok(())
    }
}

/// Puts a backup into a directory that has no store yet; returns the number of bytes.
///
/// The backup stays as it is. Nobody may have it open meanwhile.
///
/// # Errors
/// [`StorageError::Exists`] if the directory has a store already, [`StorageError::Foreign`] if there is no store to
/// restore, [`StorageError::Locked`] if it is open, and the disks' faults. Whoever may only read the backup can restore it.
pub fn restore(
    backup: &Path,
    directory: &Path,
    mut progress: impl FnMut(CopyProgress),
) -> Result<u64, StorageError> {
    let source = backup.join(FILE_NAME);
    // Locked until the copy is made. What has to be written to open it is kept in memory.
    let locked = check_store(&source)?;
    let (mut unfinished, path, names) = fresh(directory)?;
    let bytes = copy_file(&source, &unfinished, &mut progress)?;
    unfinished.publish(&path, &names)?;
    drop(locked);
    Ok(bytes)
}

/// That the file is a store of ours which can be opened. It is not written to, and locked against writers as long as what is returned
/// is there.
fn check_store(path: &Path) -> Result<Opened, StorageError> {
    let foreign = || StorageError::Foreign {
        path: path.to_owned(),
    };
    if !path.is_file() {
        return Err(foreign());
    }
    let overlay = Overlay::open(path)?;
    let opened = unless_it_panics(|| open_over(overlay, path))?;
    let ours = match opened.database.begin_read()?.open_table(META) {
        Ok(table) => table.get(meta::FORMAT)?.is_some(),
        Err(TableError::TableDoesNotExist(_)) => false,
        Err(error) => return Err(error.into()),
    };
    if ours { Ok(opened) } else { Err(foreign()) }
}

fn copy_file(
    from: &Path,
    to: &Unfinished,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<u64, StorageError> {
    /// Bytes that are held in memory at a time.
    const CHUNK_LEN: usize = 1 << 20;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| StorageError::at_path(&path, &error)
    };
    let mut source = File::open(from).map_err(failed(from))?;
    let total = source.metadata().map_err(failed(from))?.len();
    let mut target = to.file();
    let mut chunk = vec![0; CHUNK_LEN];
    let mut done = 0;
    loop {
        let read = io::Read::read(&mut source, &mut chunk).map_err(failed(from))?;
        if read == 0 {
            break;
        }
        io::Write::write_all(&mut target, &chunk[..read]).map_err(failed(to.path()))?;
        done += u64::try_from(read).unwrap_or(0);
        progress(CopyProgress { done, total });
    }
    Ok(done)
}

/// Where a copy is made, what it is called once it is whole, and the names that come of it.
fn fresh(directory: &Path) -> Result<(Unfinished, PathBuf, Names), StorageError> {
    let path = directory.join(FILE_NAME);
    if path.exists() {
        return Err(StorageError::Exists { path });
    }
    let names = Names::of(directory);
    fs::create_dir_all(directory).map_err(|error| StorageError::at_path(directory, &error))?;
    Ok((Unfinished::begin(directory)?, path, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{
        assert_sound, everything, in_directory, options, post, remove, save, snapshot,
    };
    use crate::{Disk, Store};

    #[test]
    fn a_backup_is_the_store_at_one_commit() {
        let home = tempfile::tempdir().unwrap();
        let (live, copy) = (home.path().join("live"), home.path().join("copy"));
        let mut store = in_directory(&live);
        for number in 0..50 {
            save(
                &mut store,
                "Post",
                &format!("id=p{number} title=t rating={number}"),
            );
        }
        let before = everything(&store);
        let seen = snapshot(&store);
        // Written after the snapshot was taken, so not in the backup.
        save(&mut store, "Post", "id=late title=t");
        store.write(5, |txn| remove(txn, &post("p1")).map(drop)).unwrap();
        let mut last = CopyProgress { done: 0, total: 0 };
        let rows = seen.backup(&copy, |at| last = at).unwrap();
        assert_eq!((last.done, last.total), (rows, rows));
        let copied = in_directory(&copy);
        assert_eq!(everything(&copied), before);
        assert_sound(&copied);
        assert!(matches!(
            seen.backup(&copy, |_| ()),
            Err(StorageError::Exists { .. })
        ));
        assert_eq!(fs::read_dir(&copy).unwrap().count(), 1);
    }

    #[test]
    fn a_backup_is_restored_where_there_is_nothing_yet() {
        let home = tempfile::tempdir().unwrap();
        let (live, copy, back) = (
            home.path().join("live"),
            home.path().join("copy"),
            home.path().join("back"),
        );
        let mut store = in_directory(&live);
        save(&mut store, "Post", "id=p1 title=t");
        let before = everything(&store);
        snapshot(&store).backup(&copy, |_| ()).unwrap();
        assert!(matches!(
            restore(&copy, &live, |_| ()),
            Err(StorageError::Exists { .. })
        ));
        let bytes = fs::read(copy.join(FILE_NAME)).unwrap();
        assert!(restore(&copy, &back, |_| ()).unwrap() > 0);
        assert!(
            fs::read(copy.join(FILE_NAME)).unwrap() == bytes,
            "it is only read"
        );
        assert_eq!(everything(&in_directory(&back)), before);
        let open = in_directory(&copy);
        assert!(matches!(
            restore(&copy, &home.path().join("x"), |_| ()),
            Err(StorageError::Locked { .. })
        ));
        drop(open);
        let nothing = home.path().join("nothing");
        assert!(matches!(
            restore(&nothing, &home.path().join("x"), |_| ()),
            Err(StorageError::Foreign { .. })
        ));
        fs::create_dir_all(&nothing).unwrap();
        fs::write(nothing.join(FILE_NAME), "somebody's letter").unwrap();
        assert!(matches!(
            restore(&nothing, &home.path().join("x"), |_| ()),
            Err(StorageError::Foreign { .. })
        ));
    }

    #[test]
    fn statistics_count_what_is_there() {
        let mut store = Store::open(options(Disk::Memory)).unwrap();
        save(&mut store, "Post", "id=p1 title=t rating=1");
        save(&mut store, "Blog", "id=b1 name=n");
        let statistics = snapshot(&store).statistics().unwrap();
        let records: Vec<(&str, u64)> = statistics
            .records
            .iter()
            .map(|(model, count)| (model.as_str(), *count))
            .collect();
        assert_eq!(records, [("Blog", 1), ("Post", 1), ("Order", 0)]);
        assert_eq!(
            (statistics.pending, statistics.log_entries, statistics.log_newest),
            (2, 3, Seq(3))
        );
        assert!(statistics.record_bytes > 0 && statistics.log_bytes > statistics.index_bytes);
    }
}
