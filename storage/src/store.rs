//! A store: the one writer, its readers, and recovery after the disk failed.
//!
//! Owns [`Store`] (the writer) and [`Reader`] (any number, on any thread). What a write transaction does is `txn.rs`,
//! how it gets to disk `commit.rs`.
//!
//! Invariants: 1. a write is acknowledged only when its entries are on disk, in the journal or in the database; 2. after an error of the disk the database is closed
//! and opened again before anything else is written, and the log's head tells whether the failed commit is there;
//! 3. a log that ends neither where it was acknowledged nor where the failed commit would end is never written to;
//! 4. readers never wait for the writer, except while the database is being reopened or gets a new file; 5. what is read where
//! nothing can be written proves at most that a commit is absent; 6. nothing is acknowledged in a file whose name may not be on disk.

mod compact;
mod digests;
mod prove;
mod remake;
mod scrub;
mod shared;
mod swap;
mod trim;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use landfall_core::{Schema, Seq};

use crate::catalog::Catalog;
use crate::codec;
use crate::commit::{BEGIN_TRIES, Tried, attempt, checkpoint};
use crate::disk::{Disk, Faults, Opened};
use crate::error::StorageError;
use crate::migrate::{MigrationReport, Migrations};
use crate::panics::{caught, unless_it_panics};
use crate::row_cache::{RowCache, Touched, pages_part, rows_part};
use crate::snapshot::Snapshot;
use crate::tables::LOG;
use crate::txn::Txn;
use crate::{open, rebuild};

pub use compact::Compacted;
pub use prove::Proof;
use shared::{Shared, closed};
pub use trim::Trimmed;

/// Cache by default, in bytes: half of it for pages of the database, half for rows that were read.
pub const CACHE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Where its bytes live.
    pub disk: Disk,
    /// The models.
    pub schema: Arc<Schema>,
    /// Most memory that pages of the database and rows are kept in, in bytes.
    pub cache_bytes: usize,
    /// Whether to give up stored data that a changed schema cannot keep.
    pub incompatible: OnIncompatible,
    /// Wall-clock time of opening in milliseconds since 1970, for the entries that opening itself makes.
    pub now_ms: i64,
}

/// What to do if the stored data does not fit the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnIncompatible {
    /// Refuse to open; nothing is changed.
    #[default]
    Refuse,
    /// Clear all data, unsent mutations included.
    Wipe,
}

/// Head of the log: the newest entry and its check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogHead {
    pub(crate) seq: Seq,
    pub(crate) check: u32,
}

/// The writer of a store. There is one; it belongs to the storage actor.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// The newest entry that is known to be on disk.
    head: LogHead,
    /// Where the log ends if a commit that failed is on disk after all.
    unsure: Option<LogHead>,
    /// The opening of the database whose log `head` was read from.
    opening: u64,
    /// Blocks of the log before this one need no look whether they have digests (`store/digests.rs`).
    pub(crate) digested: u64,
}

/// Reads a store from any thread, beside the writer.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// What a write transaction yields.
#[derive(Debug)]
pub struct Written<R> {
    /// What the closure returned.
    pub value: R,
    /// The newest entry after the transaction.
    pub head: Seq,
}

impl Store {
    /// Opens the store, makes it if there is none, takes on the schema, and settles what a crash left open.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`StorageError::Foreign`], [`StorageError::TooNew`],
    /// [`StorageError::SchemaIncompatible`] and the disk's own faults; nothing is changed then.
    pub fn open(options: StoreOptions) -> Result<Self, StorageError> {
        Self::open_migrating(options, &Migrations::default())
    }

    /// Says what opening the store with this schema and these migrations would do to its data. Nothing is changed.
    ///
    /// # Errors
    /// What [`Store::open_migrating`] would fail with.
    pub fn rehearse(
        options: &StoreOptions,
        migrations: &Migrations,
    ) -> Result<MigrationReport, StorageError> {
        let faults = Arc::new(Faults::default());
        unless_it_panics(|| {
            let opened = options.disk.open(pages_part(options.cache_bytes), &faults)?;
            open::rehearse(&opened, options, migrations)
        })
    }

    /// As [`Store::open`], and goes through those migrations that the store has not gone through yet, if its data does
    /// not fit the schema. All of that is one transaction: after a crash it is done or not begun.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StorageError::MigrationMisfit`] and [`StorageError::MigrationFailed`]; nothing is
    /// changed then.
    pub fn open_migrating(options: StoreOptions, migrations: &Migrations) -> Result<Self, StorageError> {
        let faults = Arc::new(Faults::default());
        let file = options.disk.file();
        let open = || {
            unless_it_panics(|| {
                let opened = options.disk.open(pages_part(options.cache_bytes), &faults)?;
                let (catalog, head, is_checkpoint) = open::prepare(&opened, &options, migrations)?;
                Ok((opened, catalog, head, is_checkpoint))
            })
            .map_err(|error| error.in_written(file.as_deref()))
        };
        let opened = match open() {
            // If a sync failed, only this call knows what has to be written again.
            Err(error) if faults.suspected() => {
                tracing::warn!(%error, "the disk failed while the store was opened; trying once more");
                open()
            }
            other => other,
        };
        let ((opened, mut catalog, head), lacks_room, is_checkpoint) = match opened {
            Err(error @ StorageError::Full { .. }) => {
                (open_where_there_is_no_room(&options, error)?, true, false)
            }
            opened => {
                let (opened, catalog, head, is_checkpoint) = opened?;
                ((opened, catalog, head), false, is_checkpoint)
            }
        };
        catalog.file = file;
        faults.clear();
        if lacks_room {
            faults.distrust();
        }
        let shared = Shared {
            disk: options.disk,
            pages_bytes: pages_part(options.cache_bytes),
            cache: Arc::new(RowCache::new(rows_part(options.cache_bytes))),
            catalog: Arc::new(catalog),
            faults: RwLock::new(faults),
            database: RwLock::new(Some(opened)),
            reopened: AtomicU64::new(0),
            acknowledged: AtomicU64::new(head.seq.0),
            lacks_room: AtomicBool::new(lacks_room),
            withheld: AtomicBool::new(false),
            // Whoever gave the file its name may have been killed before it was on disk.
            name_unsynced: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            proven: AtomicU64::new(0),
        };
        let mut store = Self {
            shared: Arc::new(shared),
            head,
            unsure: None,
            opening: 0,
            digested: 0,
        };
        scrub::finish_earlier(&mut store);
        if is_checkpoint {
            store.make_digests();
        }
        Ok(store)
    }

    /// A reader, which may be cloned and sent to other threads.
    pub fn reader(&self) -> Reader {
        Reader {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The schema in force.
    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.shared.catalog.schema)
    }

    /// The newest entry of the log.
    pub fn head(&self) -> Seq {
        self.head.seq
    }

    /// The newest entry of the log and its check, which stands for the whole log up to it.
    pub fn head_and_check(&self) -> (Seq, u32) {
        (self.head.seq, self.head.check)
    }

    /// How often the database had to be reopened after an error of the disk.
    pub fn reopened(&self) -> u64 {
        self.shared.reopened()
    }

    /// Runs one write transaction: everything that `work` appends is on disk when this returns, or nothing of it.
    ///
    /// # Errors
    /// What `work` returned, in which case nothing was written; [`StorageError::Corrupt`] if it met damage; or the fault of the
    /// disk. Whatever the error is but [`StorageError::OutcomeUnknown`], nothing of the transaction is on disk.
    ///
    /// # Panics
    /// If `work` does. Nothing of the transaction is on disk then, and the store goes on.
    pub fn write<R>(
        &mut self,
        now_ms: i64,
        work: impl FnOnce(&mut Txn<'_>) -> Result<R, StorageError>,
    ) -> Result<Written<R>, StorageError> {
        let shared = Arc::clone(&self.shared);
        let in_file = |error: StorageError| error.in_written(shared.catalog.file.as_deref());
        let (guard, transaction) = self.begin(&shared).map_err(in_file)?;
        let opened = guard.as_ref().ok_or_else(closed)?;
        let (cache, catalog) = (&shared.cache, &shared.catalog);
        let tried = attempt(transaction, opened, cache, catalog, self.head, now_ms, work);
        if let Tried::Committed { planned, .. } = &tried {
            // Before a reader can open the database anew, who would not show it otherwise.
            shared.acknowledged.store(planned.seq.0, Ordering::Release);
        }
        drop(guard);
        match tried {
            Tried::Committed {
                value,
                planned,
                is_checkpoint,
            } => {
                self.head = planned;
                if is_checkpoint {
                    self.make_digests();
                }
                Ok(Written {
                    value,
                    head: planned.seq,
                })
            }
            Tried::Unwritten(result) => {
                self.recover_quietly();
                let head = self.head.seq;
                result.map(|value| Written { value, head }).map_err(in_file)
            }
            Tried::BrokenOff(said) => Err(in_file(self.broke_off(&said))),
            Tried::Panicked {
                panic,
                planned,
                is_doubtful,
            } => {
                self.unsure = planned;
                if is_doubtful {
                    self.distrust();
                }
                self.recover_quietly();
                resume_unwind(panic)
            }
            Tried::Unsure {
                value,
                planned,
                error,
            } => self.find_out(planned, error, value),
        }
    }

    /// After a panic inside a transaction, of which nothing was committed. The database would go on, but no longer note its
    /// free pages, and a kill would cost a repair: it is opened anew.
    fn broke_off(&mut self, said: &str) -> StorageError {
        self.distrust();
        self.recover_quietly();
        StorageError::corrupt(format!("a transaction broke off: {said}"))
    }

    /// Has the file opened anew before anything else is written, if it can be.
    fn distrust(&self) {
        self.shared.faults().suspect();
        if self.shared.disk.can_reopen() {
            self.shared.faults().distrust();
        }
    }

    /// Drops all projections and makes them again from the log, in the file that there is. Where that may be damaged,
    /// [`remake`](Self::remake) is safer: what a damaged page says is free may hold something else.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the log itself is damaged, and the disk's faults. Both the old and the new
    /// projections are those of the log as far as it is sound, so nothing is lost either way.
    pub fn rebuild(&mut self) -> Result<u64, StorageError> {
        let shared = Arc::clone(&self.shared);
        let (guard, transaction) = self
            .begin(&shared)
            .map_err(|error| error.in_written(shared.catalog.file.as_deref()))?;
        let opened = guard.as_ref().ok_or_else(closed)?;
        let (cache, catalog) = (&shared.cache, &shared.catalog);
        let rebuilt = caught(move || {
            let count = rebuild::rebuild(&transaction, catalog)?;
            let mut touched = Touched::default();
            touched.note_all();
            cache.begin(&touched);
            checkpoint(transaction, &mut opened.journal())?;
            cache.show();
            Ok(count)
        });
        drop(guard);
        let rebuilt = rebuilt.unwrap_or_else(|said| Err(self.broke_off(&said)));
        self.recover_quietly();
        rebuilt.map_err(|error| error.in_written(shared.catalog.file.as_deref()))
    }

    /// Begins a transaction, on a database that is reopened if need be and kept open by the guard.
    fn begin<'s>(
        &mut self,
        shared: &'s Shared,
    ) -> Result<(RwLockReadGuard<'s, Option<Opened>>, WriteTransaction), StorageError> {
        let mut failed = closed();
        for _ in 0..BEGIN_TRIES {
            self.ensure_open()?;
            if shared.lacks_room.load(Ordering::Acquire) {
                return Err(StorageError::full());
            }
            shared.sync_name()?;
            let guard = shared.database();
            if shared.reopened() != self.opening {
                // A reader reopened the database just now, so its log has to be looked at.
                continue;
            }
            let begun = guard
                .as_ref()
                .map(|opened| unless_it_panics(|| Ok(opened.database.begin_write()?)));
            match begun {
                Some(Ok(transaction)) => return Ok((guard, transaction)),
                Some(Err(error)) => failed = error,
                None => {}
            }
            shared.faults().suspect();
        }
        Err(failed)
    }

    /// Reopens the database if the disk failed, and sees to it that `head` is where its log ends.
    fn ensure_open(&mut self) -> Result<(), StorageError> {
        self.shared.heal()?;
        if self.shared.reopened() == self.opening && self.unsure.is_none() {
            return Ok(());
        }
        let guard = self.shared.database();
        if self.shared.withheld.load(Ordering::Acquire) {
            // What became of the failed commit is known once a sync succeeds.
            return Err(StorageError::full());
        }
        let opening = self.shared.reopened();
        let opened = guard.as_ref().ok_or_else(closed)?;
        let found = unless_it_panics(|| read_head(&opened.database))?;
        if found != self.head && Some(found) != self.unsure {
            let (found, head) = (found.seq, self.head.seq);
            let what = format!(
                "the log ends at {found}, and not as it was acknowledged up to {head}; another program may have written \
                 to it meanwhile"
            );
            return Err(StorageError::corrupt(what));
        }
        self.shared.acknowledged.store(found.seq.0, Ordering::Release);
        drop(guard);
        (self.head, self.unsure, self.opening) = (found, None, opening);
        Ok(())
    }

    /// Reopens the database if the disk failed in a call that has its answer already; if that fails the next call
    /// tries again.
    fn recover_quietly(&mut self) {
        if self.shared.suspected()
            && let Err(error) = self.ensure_open()
        {
            tracing::warn!(%error, "the database could not be reopened");
        }
    }

    /// After a failed commit the database is reopened, and the log says what became of the commit.
    fn find_out<R>(
        &mut self,
        planned: LogHead,
        error: StorageError,
        value: R,
    ) -> Result<Written<R>, StorageError> {
        tracing::warn!(%error, "a commit failed; reopening the database");
        // The journal may hold what the database does not.
        self.distrust();
        self.unsure = Some(planned);
        match self.ensure_open() {
            Ok(()) if self.head == planned => Ok(Written {
                value,
                head: planned.seq,
            }),
            Ok(()) => Err(error.in_written(self.shared.catalog.file.as_deref())),
            Err(second) => Err(StorageError::OutcomeUnknown {
                cause: format!("{error}; reopening failed: {second}"),
            }),
        }
    }
}

/// A store in which there is something to settle before it can be written to, on a disk that is too full for that: what it
/// holds can be read. The next write looks whether there is room by then.
fn open_where_there_is_no_room(
    options: &StoreOptions,
    full: StorageError,
) -> Result<(Opened, Catalog, LogHead), StorageError> {
    let opened = unless_it_panics(|| {
        let opened = options
            .disk
            .open_without_writing(pages_part(options.cache_bytes))?;
        let (catalog, head) = open::prepare_to_read(&opened, options)?;
        Ok((opened, catalog, head))
    })
    .map_err(|error| {
        // Such as a store that is not made yet, or one that has a new schema to take on.
        tracing::debug!(%error, "the store cannot be read without writing either");
        full
    })?;
    tracing::warn!("the disk is full; the store can be read, and written to once there is room");
    Ok(opened)
}

impl Drop for Store {
    /// Closes the file, whoever still has a reader: the next one who opens the store must not find it locked.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let mut database = self
            .shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
    }
}

impl Reader {
    /// A view of the newest commit, untouched by later ones.
    ///
    /// # Errors
    /// The disk's faults. A snapshot that was taken before the disk failed may fail as well; a new one does not, once
    /// the disk is well. [`StorageError::Closed`] once the [`Store`] is gone.
    pub fn snapshot(&self) -> Result<Snapshot, StorageError> {
        if self.shared.is_closed() {
            return Err(StorageError::Closed);
        }
        self.shared.try_heal();
        let guard = self.shared.database();
        let opened = guard.as_ref().ok_or_else(|| self.shared.why_closed())?;
        let catalog = &self.shared.catalog;
        unless_it_panics(|| {
            let (transaction, view) = self.shared.cache.view(|| opened.database.begin_read())?;
            Snapshot::new(transaction, Arc::clone(catalog), Some(view))
        })
        .map_err(|error| error.in_file(catalog.file.as_deref()))
    }

    /// The schema in force.
    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.shared.catalog.schema)
    }
}

/// The newest entry in the log.
pub(crate) fn read_head(database: &Database) -> Result<LogHead, StorageError> {
    let transaction = database.begin_read()?;
    let log = match transaction.open_table(LOG) {
        Ok(log) => log,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(LogHead::default()),
        Err(error) => return Err(error.into()),
    };
    let Some((seq, entry)) = log.last()? else {
        return Ok(LogHead::default());
    };
    let check = codec::entry::stored_check(entry.value())
        .ok_or_else(|| StorageError::corrupt("the newest entry is cut short"))?;
    Ok(LogHead {
        seq: Seq(seq.value()),
        check,
    })
}

#[cfg(test)]
mod damaged;
#[cfg(test)]
pub(crate) mod tests;
