//! Reading rows: one state of a store, and the walk over a range that transactions share.
//!
//! Owns [`KvSnapshot`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::rc::Rc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::{KvError, KvRange, KvRead, KvTable, KvVisit};
use crate::panics::{Fence, Held, contained};

/// One state of the store, unmoved by later writes.
pub struct KvSnapshot {
    tables: RefCell<BTreeMap<KvTable, Option<Rc<ReadTable>>>>,
    txn: Held<ReadTransaction>,
    fence: Fence,
}

type ReadTable = Held<ReadOnlyTable<&'static [u8], &'static [u8]>>;

impl KvSnapshot {
    pub(super) fn new(txn: ReadTransaction) -> Self {
        Self {
            tables: RefCell::default(),
            txn: Held::new(txn),
            fence: Fence::default(),
        }
    }

    /// The table, or `None` if nothing was ever written to it.
    fn table(&self, table: KvTable) -> Result<Option<Rc<ReadTable>>, KvError> {
        if let Some(open) = self.tables.borrow().get(&table) {
            return Ok(open.clone());
        }
        let open = self
            .fence
            .around(|| match self.txn.open_table(table.definition()) {
                Ok(open) => Ok(Some(Rc::new(Held::new(open)))),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error),
            })?;
        self.tables.borrow_mut().insert(table, open.clone());
        Ok(open)
    }

    /// How many rows a table has; costs the same however many they are.
    ///
    /// # Errors
    /// [`KvError`] if the disk fails or its contents are damaged.
    pub fn count(&self, table: KvTable) -> Result<u64, KvError> {
        match self.table(table)? {
            Some(table) => Ok(self.fence.around(|| table.len())?),
            None => Ok(0),
        }
    }
}

impl KvRead for KvSnapshot {
    fn get(&self, table: KvTable, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match self.table(table)? {
            Some(table) => get_in(&**table, key, &self.fence),
            None => Ok(None),
        }
    }

    fn scan(&self, table: KvTable, range: &KvRange, visit: &mut KvVisit<'_>) -> Result<(), KvError> {
        match self.table(table)? {
            Some(table) => scan_table(&**table, range, visit, &self.fence),
            None => Ok(()),
        }
    }
}

/// The value at a key.
pub(super) fn get_in<T: ReadableTable<&'static [u8], &'static [u8]>>(
    table: &T,
    key: &[u8],
    fence: &Fence,
) -> Result<Option<Vec<u8>>, KvError> {
    Ok(fence.around(|| {
        table
            .get(key)
            .map(|value| value.map(|value| value.value().to_vec()))
    })?)
}

/// Visits the rows of a range in its order.
pub(super) fn scan_table<T: ReadableTable<&'static [u8], &'static [u8]>>(
    table: &T,
    range: &KvRange,
    visit: &mut KvVisit<'_>,
    fence: &Fence,
) -> Result<(), KvError> {
    if range.is_empty() {
        return Ok(());
    }
    let mut visitors_panic = None;
    let visited = fence.around(|| {
        let mut rows = table.range::<&[u8]>(range.bounds())?;
        while let Some(row) = if range.descending {
            rows.next_back()
        } else {
            rows.next()
        } {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            match contained(|| visit(key, value)) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(panic) => {
                    visitors_panic = Some(panic);
                    break;
                }
            }
        }
        Ok::<_, redb::StorageError>(())
    });
    // It is no damage, so it goes past the fence.
    if let Some(panic) = visitors_panic {
        resume_unwind(panic);
    }
    Ok(visited?)
}
