//! Writing rows: one transaction, and what it leaves for the journal.
//!
//! Owns [`KvTxn`]. How it gets to disk is `connection.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use redb::{Table, WriteTransaction};

use super::snapshot::{get_in, scan_table};
use super::{KvError, KvRange, KvRead, KvTable, KvVisit, changes};
use crate::journal::Frame;
use crate::panics::{Fence, Held};

/// A transaction under way; see [`KvStore::write`](super::KvStore::write).
pub struct KvTxn<'txn> {
    txn: &'txn WriteTransaction,
    tables: RefCell<BTreeMap<KvTable, Rc<RefCell<WriteTable<'txn>>>>>,
    done: Done,
    fence: Fence,
}

/// What a transaction came to.
#[derive(Debug)]
pub(super) struct Done {
    /// What it changed, for the journal; `None` in a store without one.
    pub(super) frame: Option<Frame>,
    /// Whether it changed anything.
    pub(super) changed: bool,
    /// Whether the database refused an operation, after which it must not be committed.
    pub(super) failed: bool,
    /// What the database said if it panicked.
    pub(super) broke: Option<String>,
}

type WriteTable<'txn> = Held<Table<'txn, &'static [u8], &'static [u8]>>;

impl<'txn> KvTxn<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction, frame: Option<Frame>) -> Self {
        Self {
            txn,
            tables: RefCell::default(),
            done: Done {
                frame,
                changed: false,
                failed: false,
                broke: None,
            },
            fence: Fence::default(),
        }
    }

    /// Closes the tables.
    pub(super) fn finish(self) -> Done {
        Done {
            broke: self.fence.broke(),
            ..self.done
        }
    }

    /// Writes a value, over the old one if there is any.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    pub fn put(&mut self, table: KvTable, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        let written = self.table(table).and_then(|table| {
            let mut rows = table.borrow_mut();
            Ok(self.fence.around(|| rows.insert(key, value).map(drop))?)
        });
        match &written {
            Ok(()) => self.changed(|out| changes::put(out, table, key, value)),
            Err(_) => self.done.failed = true,
        }
        written
    }

    /// Removes a row; says whether there was one.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    pub fn remove(&mut self, table: KvTable, key: &[u8]) -> Result<bool, KvError> {
        let removed = self.table(table).and_then(|table| {
            let mut rows = table.borrow_mut();
            Ok(self.fence.around(|| rows.remove(key).map(|row| row.is_some()))?)
        });
        match &removed {
            Ok(true) => self.changed(|out| changes::remove(out, table, key)),
            Ok(false) => {}
            Err(_) => self.done.failed = true,
        }
        removed
    }

    fn changed(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.done.changed = true;
        if let Some(frame) = &mut self.done.frame {
            frame.push(encode);
        }
    }

    fn table(&self, table: KvTable) -> Result<Rc<RefCell<WriteTable<'txn>>>, KvError> {
        if let Some(open) = self.tables.borrow().get(&table) {
            return Ok(Rc::clone(open));
        }
        let open = self.fence.around(|| self.txn.open_table(table.definition()))?;
        let open = Rc::new(RefCell::new(Held::new(open)));
        self.tables.borrow_mut().insert(table, Rc::clone(&open));
        Ok(open)
    }
}

impl KvRead for KvTxn<'_> {
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let table = self.table(table)?;
        get_in(&**table.borrow(), key, &self.fence)
    }

    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError> {
        let table = self.table(table)?;
        scan_table(&**table.borrow(), range, visit, &self.fence)
    }
}
