//! Reading rows: one state of a store, and the walk over a range that transactions share.
//!
//! Owns [`KvSnapshot`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::{KvError, KvRange, KvRead, KvTable, KvVisit};

/// One state of the store, unmoved by later writes.
pub struct KvSnapshot {
    txn: ReadTransaction,
    tables: RefCell<BTreeMap<KvTable, Option<Rc<ReadTable>>>>,
}

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl KvSnapshot {
    pub(super) fn new(txn: ReadTransaction) -> Self {
        Self {
            txn,
            tables: RefCell::default(),
        }
    }

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

/// Visits the rows of a range in its order.
pub(super) fn scan_table<T: ReadableTable<&'static [u8], &'static [u8]>>(
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
