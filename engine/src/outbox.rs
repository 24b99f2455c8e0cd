//! What the app can see and do of changes that wait for the server.
//!
//! Owns [`OutboxView`] and [`OutboxWatch`].

use std::time::Duration;

use landfall_actors::{OutboxMessage, StorageMessage};
use landfall_core::{FieldMap, Mutation, Seq};
use tokio::sync::mpsc;

use crate::datastore::DataStore;
use crate::error::Error;

/// Waiting changes that are read at a time.
const LOOK_AT: usize = 1_000;

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
        self.list_after(Seq::ZERO, limit)
    }

    /// Up to `limit` of those that were made after `after`, oldest first: the next page of a list that is long.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn list_after(&self, after: Seq, limit: usize) -> Result<Vec<Mutation>, Error> {
        Ok(self.store.snapshot()?.pending(after, limit)?)
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

    /// The parked changes: those that the server refused for good, oldest first, at most `limit`.
    ///
    /// Looks through everything that waits.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn parked(&self, limit: usize) -> Result<Vec<Mutation>, Error> {
        let snapshot = self.store.snapshot()?;
        let (mut found, mut after) = (Vec::new(), Seq::ZERO);
        while found.len() < limit {
            let page = snapshot.pending(after, LOOK_AT)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            let parked = page
                .into_iter()
                .filter(|mutation| matches!(mutation.stage, landfall_core::Stage::Parked(_)));
            found.extend(parked.take(limit - found.len()));
        }
        Ok(found)
    }

    /// Waits until nothing waits for the server any more, for as long as it takes.
    ///
    /// A parked change waits for the app, so with one of them this does not return.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn drained(&self) -> Result<(), Error> {
        self.wait_for_empty(None).await?;
        Ok(())
    }

    /// As [`drained`](Self::drained), for so long at most. Returns whether nothing waits any more.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn drained_within(&self, time: Duration) -> Result<bool, Error> {
        self.wait_for_empty(Some(time)).await
    }

    async fn wait_for_empty(&self, within: Option<Duration>) -> Result<bool, Error> {
        let outbox = &self.store.inner.handles.outbox;
        Ok(outbox
            .ask(|reply| OutboxMessage::Drained { within, reply })
            .await?)
    }

    /// The stream of what waits: the list as it is, and again after each change.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn watch(&self) -> Result<OutboxWatch, Error> {
        let outbox = &self.store.inner.handles.outbox;
        Ok(OutboxWatch {
            store: self.store.clone(),
            nudges: outbox.ask(|reply| OutboxMessage::Watch { reply }).await?,
            fresh: true,
        })
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

    /// Changes the fields that a refused change sets, and sends it again: those given take the place of those that it
    /// set before. The record shows them at once.
    ///
    /// # Errors
    /// [`Error::NotParked`]; [`Error::Refused`] if the change is a delete or the record would not fit its model;
    /// [`Error::Storage`], [`Error::Closed`].
    pub async fn edit(&self, mutation: Seq, fields: FieldMap) -> Result<(), Error> {
        let storage = &self.store.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::EditParked {
                mutation,
                patch: fields,
                reply,
            })
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

/// What waits for the server, again after each change.
#[derive(Debug)]
pub struct OutboxWatch {
    store: DataStore,
    nudges: mpsc::Receiver<()>,
    /// Whether the first list is still to be handed out.
    fresh: bool,
}

impl OutboxWatch {
    /// Up to `limit` waiting changes, oldest first: at once the first time, then after the next change. Several changes
    /// in a row may come as one. `None` once the store is closed.
    pub async fn next(&mut self, limit: usize) -> Option<Result<Vec<Mutation>, Error>> {
        if !std::mem::take(&mut self.fresh) {
            self.nudges.recv().await?;
        }
        Some(self.store.outbox().list(limit))
    }
}
