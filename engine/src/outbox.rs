//! What the app can see and do of changes that wait for the server.
//!
//! Owns [`OutboxView`].

use landfall_actors::{OutboxMessage, StorageMessage};
use landfall_core::{Mutation, Seq};

use crate::datastore::DataStore;
use crate::error::Error;

/// Changes that wait for the server.
#[derive(Clone, Copy, Debug)]
pub struct OutboxView<'a> {
    store: &'a DataStore,
}

impl<'a> OutboxView<'a> {
    pub(crate) fn new(store: &'a DataStore) -> Self {
        Self { store }
    }

    /// Up to `limit` waiting changes, oldest first; refused ones are among them.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn list(&self, limit: usize) -> Result<Vec<Mutation>, Error> {
        Ok(self.store.snapshot()?.pending(Seq::ZERO, limit)?)
    }

    /// Number of waiting changes.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn len(&self) -> Result<u64, Error> {
        Ok(self.store.snapshot()?.pending_len()?)
    }

    /// Whether nothing waits.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Waits until nothing waits for the server any more; bound it with a timeout of your own.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn drained(&self) -> Result<(), Error> {
        Ok(self
            .store
            .inner
            .handles
            .outbox
            .ask(|reply| OutboxMessage::Drained { reply })
            .await?)
    }

    /// Sends a refused change again.
    ///
    /// # Errors
    /// [`Error::NotParked`], [`Error::Storage`], [`Error::Closed`].
    pub async fn retry(&self, mutation: Seq) -> Result<(), Error> {
        let storage = &self.store.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::RetryParked { mutation, reply })
            .await??)
    }

    /// Gives a refused change up: the server's record is back, or the record is gone if the server has none.
    ///
    /// # Errors
    /// [`Error::NotParked`], [`Error::Storage`], [`Error::Closed`].
    pub async fn discard(&self, mutation: Seq) -> Result<(), Error> {
        let storage = &self.store.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::DiscardParked { mutation, reply })
            .await??)
    }
}
