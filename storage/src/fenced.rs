//! A table inside a write transaction: opened when it is first needed, and never called but behind the fence.
//!
//! Owns [`Rows`]. Looking a table up costs about as much as writing a row to it, and most transactions need three of six.
//!
//! Invariants: 1. a panic of the database in a table is an error of that call, and noted in the fence of the transaction; 2. what is
//! not the database's is called outside of it, so that its panics stay what they are.

use std::cell::OnceCell;
use std::rc::Rc;

use redb::{AccessGuard, Key, Table, TableDefinition, Value, WriteTransaction};

use crate::error::StorageError;
use crate::panics::{Fence, Held};

/// A table of a transaction.
pub(crate) struct Rows<'t, K: Key + 'static, V: Value + 'static> {
    transaction: &'t WriteTransaction,
    definition: TableDefinition<'static, K, V>,
    fence: Rc<Fence>,
    open: OnceCell<Held<Table<'t, K, V>>>,
}

impl<'t, K: Key + 'static, V: Value + 'static> Rows<'t, K, V> {
    pub(crate) fn of(
        transaction: &'t WriteTransaction,
        definition: TableDefinition<'static, K, V>,
        fence: &Rc<Fence>,
    ) -> Self {
        Self {
            transaction,
            definition,
            fence: Rc::clone(fence),
            open: OnceCell::new(),
        }
    }

    /// Opens the table now, which makes it if there is none.
    pub(crate) fn make(&self) -> Result<(), StorageError> {
        if self.open.get().is_none() {
            let table = self
                .fence
                .around(|| self.transaction.open_table(self.definition))?;
            self.open.get_or_init(|| Held::new(table));
        }
        Ok(())
    }

    /// Reads from the table.
    pub(crate) fn read<'s, T, E>(
        &'s self,
        read: impl FnOnce(&'s Table<'t, K, V>) -> Result<T, E>,
    ) -> Result<T, StorageError>
    where
        StorageError: From<E>,
    {
        self.make()?;
        let table = self.open.get().expect(OPEN);
        self.fence.around(|| read(table))
    }

    /// Changes the table.
    pub(crate) fn write<T, E>(
        &mut self,
        write: impl FnOnce(&mut Table<'t, K, V>) -> Result<T, E>,
    ) -> Result<T, StorageError>
    where
        StorageError: From<E>,
    {
        self.make()?;
        let table = self.open.get_mut().expect(OPEN);
        self.fence.around(|| write(table))
    }

    /// A value that was read.
    pub(crate) fn value<'g>(&self, guard: &'g AccessGuard<'_, V>) -> Result<V::SelfType<'g>, StorageError> {
        self.fence.around(|| Ok::<_, StorageError>(guard.value()))
    }
}

/// Why a table is there.
const OPEN: &str = "it was opened just now";
