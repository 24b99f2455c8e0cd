//! Ordered byte tables for crates that keep rows of their own form, such as the embedded backend.
//!
//! Owns the facade over redb: tables by name, snapshots, durable transactions, reopening after a fault of the disk.
//! Does not know what keys and values mean; whoever names a [`KvTable`] documents its form in one place.
//!
//! Invariants: 1. a transaction is on disk as a whole or not at all; 2. `write` returns `Ok` only after the commit;
//! 3. a snapshot sees one state, whatever is written meanwhile; 4. keys are visited in the order of their bytes.

mod disk;
mod error;
mod range;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{PoisonError, RwLock};

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    WriteTransaction,
};

pub use disk::{BoxedDisk, DiskBackend};
pub use error::KvError;
pub use range::{KvRange, KvTable};

/// Memory that a store on disk uses to cache pages, in bytes: enough for the inner pages of a million rows.
pub const KV_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Name of the file inside the directory given to [`KvStore::open`].
const FILE_NAME: &str = "rows.redb";

/// Reading rows, from a snapshot or inside a transaction.
pub trait KvRead {
    /// The value at a key.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Calls `visit` with each key and value of the range until it breaks; `visit` may read but not write.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError>;

    /// The first `limit` rows of a range.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    fn rows(&self, table: KvTable, range: &KvRange, limit: usize) -> Result<Vec<KvRow>, KvError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.scan(table, range, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(rows)
    }
}

/// What a scan calls with each key and value.
pub type KvVisit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type KvRow = (Vec<u8>, Vec<u8>);

/// Ordered byte tables in one redb database.
///
/// Shared between threads by reference: any number of snapshots beside one writer, which the others wait for.
pub struct KvStore {
    place: Place,
    db: RwLock<Connection>,
}

/// Where the bytes are, and how to open them again.
enum Place {
    File(PathBuf),
    Memory,
    Handed,
    Opener(disk::Opener),
}

/// An open database, or none after a fault.
enum Connection {
    Open(Database),
    /// A write failed; redb refuses further writes until the database is opened again.
    Faulty(Database),
    Closed,
}

impl KvStore {
    /// Opens the store in a directory, and makes both if they are missing.
    ///
    /// # Errors
    /// [`KvError::Locked`] if another process has it open; otherwise what the disk says.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, KvError> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(|error| KvError::io(&error))?;
        Self::connect(Place::File(dir.join(FILE_NAME)))
    }

    /// A store that lives in memory and is gone with the value.
    ///
    /// # Errors
    /// [`KvError`] if the database refuses, which memory gives no cause for.
    pub fn in_memory() -> Result<Self, KvError> {
        Self::connect(Place::Memory)
    }

    /// A store over a disk of the caller's, such as a simulated one.
    ///
    /// It cannot be opened again after a fault of the disk; use [`KvStore::with_opener`] where that matters.
    ///
    /// # Errors
    /// What the disk says.
    pub fn with_backend(disk: BoxedDisk) -> Result<Self, KvError> {
        let db = disk::open(disk)?;
        Ok(Self {
            place: Place::Handed,
            db: RwLock::new(Connection::Open(db)),
        })
    }

    /// A store over a disk of the caller's, which is asked for the disk again after each fault.
    ///
    /// # Errors
    /// What the disk says.
    pub fn with_opener(
        opener: impl Fn() -> std::io::Result<BoxedDisk> + Send + Sync + 'static,
    ) -> Result<Self, KvError> {
        Self::connect(Place::Opener(Box::new(opener)))
    }

    fn connect(place: Place) -> Result<Self, KvError> {
        let db = place.open()?;
        Ok(Self {
            place,
            db: RwLock::new(Connection::Open(db)),
        })
    }

    /// Takes a snapshot of what is committed now.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails.
    pub fn read(&self) -> Result<KvSnapshot, KvError> {
        let txn = {
            let connection = self.db.read().unwrap_or_else(PoisonError::into_inner);
            match &*connection {
                Connection::Open(db) | Connection::Faulty(db) => Some(db.begin_read()?),
                Connection::Closed => None,
            }
        };
        let txn = match txn {
            Some(txn) => txn,
            None => self.reopen(|db| Ok(db.begin_read()?))?,
        };
        Ok(KvSnapshot {
            txn,
            tables: RefCell::default(),
        })
    }

    /// Runs `work` in one transaction: committed durably if it returns `Ok`, undone as a whole if `Err`.
    ///
    /// After a fault of the disk the database is opened again before the next write.
    ///
    /// # Errors
    /// What `work` returns; [`KvError::OutcomeUnknown`] if the commit itself failed, since it may be on disk all the
    /// same; otherwise what the disk says, and then nothing of the transaction is on disk.
    pub fn write<T, E: From<KvError>>(
        &self,
        work: impl FnOnce(&mut KvTxn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let txn = self.begin()?;
        let outcome = {
            let mut open = KvTxn {
                txn: &txn,
                tables: RefCell::default(),
                failed: false,
            };
            let outcome = work(&mut open);
            if open.failed {
                self.note_fault();
            }
            outcome
        };
        match outcome {
            Ok(value) => match txn.commit() {
                Ok(()) => Ok(value),
                Err(error) => {
                    self.note_fault();
                    Err(KvError::OutcomeUnknown {
                        cause: error.to_string(),
                    }
                    .into())
                }
            },
            Err(error) => {
                if txn.abort().is_err() {
                    self.note_fault();
                }
                Err(error)
            }
        }
    }

    fn begin(&self) -> Result<WriteTransaction, KvError> {
        let begun = {
            let connection = self.db.read().unwrap_or_else(PoisonError::into_inner);
            match &*connection {
                Connection::Open(db) => Some(db.begin_write()),
                Connection::Faulty(_) | Connection::Closed => None,
            }
        };
        match begun {
            Some(Ok(txn)) => Ok(txn),
            Some(Err(_)) | None => self.reopen(|db| Ok(db.begin_write()?)),
        }
    }

    /// Opens the database again unless another thread just did, and uses it.
    fn reopen<T>(&self, then: impl FnOnce(&Database) -> Result<T, KvError>) -> Result<T, KvError> {
        let mut connection = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Connection::Open(db) = &*connection
            && db.begin_read().is_ok()
        {
            return then(db);
        }
        if matches!(self.place, Place::Handed) {
            return Err(KvError::Io {
                cause: "it failed earlier and cannot be opened again from here".to_owned(),
            });
        }
        // The old database holds the lock of the file, so it goes first.
        *connection = Connection::Closed;
        let db = self.place.open()?;
        let used = then(&db);
        *connection = Connection::Open(db);
        used
    }

    fn note_fault(&self) {
        let mut connection = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *connection = match std::mem::replace(&mut *connection, Connection::Closed) {
            Connection::Open(db) | Connection::Faulty(db) => Connection::Faulty(db),
            Connection::Closed => Connection::Closed,
        };
    }
}

impl Place {
    fn open(&self) -> Result<Database, KvError> {
        match self {
            Self::File(path) => disk::builder()
                .create(path)
                .map_err(|error| KvError::opening(error, path)),
            Self::Memory => disk::open(Box::new(redb::backends::InMemoryBackend::new())),
            Self::Opener(opener) => disk::open(opener().map_err(|error| KvError::io(&error))?),
            Self::Handed => unreachable!("a handed disk is opened once, by `with_backend`"),
        }
    }
}

/// One state of the store, unmoved by later writes.
pub struct KvSnapshot {
    txn: ReadTransaction,
    tables: RefCell<BTreeMap<KvTable, Option<Rc<ReadTable>>>>,
}

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl KvSnapshot {
    /// The table, or `None` if nothing was ever written to it.
    fn table(&self, table: KvTable) -> Result<Option<Rc<ReadTable>>, KvError> {
        if let Some(open) = self.tables.borrow().get(&table) {
            return Ok(open.clone());
        }
        let open = match self.txn.open_table(table.definition()) {
            Ok(open) => Some(Rc::new(open)),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        self.tables.borrow_mut().insert(table, open.clone());
        Ok(open)
    }

    /// How many rows a table has; costs the same however many they are.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    pub fn count(&self, table: KvTable) -> Result<u64, KvError> {
        match self.table(table)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        }
    }
}

impl KvRead for KvSnapshot {
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let Some(table) = self.table(table)? else {
            return Ok(None);
        };
        Ok(ReadableTable::get(&*table, key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError> {
        match self.table(table)? {
            Some(table) => scan_table(&*table, range, visit),
            None => Ok(()),
        }
    }
}

/// A transaction under way; see [`KvStore::write`].
pub struct KvTxn<'txn> {
    txn: &'txn WriteTransaction,
    tables: RefCell<BTreeMap<KvTable, Rc<RefCell<WriteTable<'txn>>>>>,
    failed: bool,
}

type WriteTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

impl<'txn> KvTxn<'txn> {
    /// Writes a value, over the old one if there is any.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails.
    pub fn put(&mut self, table: KvTable, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        let written = self.table(table).and_then(|table| {
            table.borrow_mut().insert(key, value)?;
            Ok(())
        });
        self.failed |= written.is_err();
        written
    }

    /// Removes a row; says whether there was one.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails.
    pub fn remove(&mut self, table: KvTable, key: &[u8]) -> Result<bool, KvError> {
        let removed = self
            .table(table)
            .and_then(|table| Ok(table.borrow_mut().remove(key)?.is_some()));
        self.failed |= removed.is_err();
        removed
    }

    fn table(&self, table: KvTable) -> Result<Rc<RefCell<WriteTable<'txn>>>, KvError> {
        if let Some(open) = self.tables.borrow().get(&table) {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(RefCell::new(self.txn.open_table(table.definition())?));
        self.tables.borrow_mut().insert(table, Rc::clone(&open));
        Ok(open)
    }
}

impl KvRead for KvTxn<'_> {
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let table = self.table(table)?;
        let table = table.borrow();
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError> {
        let table = self.table(table)?;
        let table = table.borrow();
        scan_table(&*table, range, visit)
    }
}

fn scan_table<T: ReadableTable<&'static [u8], &'static [u8]>>(
    table: &T,
    range: &KvRange,
    visit: &mut KvVisit<'_>,
) -> Result<(), KvError> {
    if range.is_empty() {
        return Ok(());
    }
    let mut rows = table.range::<&[u8]>(range.bounds())?;
    while let Some(row) = if range.descending {
        rows.next_back()
    } else {
        rows.next()
    } {
        let (key, value) = row?;
        if visit(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
