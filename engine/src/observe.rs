//! Streams of changes, and queries whose result is kept up to date.
//!
//! Owns [`Observer`] and [`QueryObserver`]. Both join a snapshot and the changes after it without a gap: they listen
//! first, then read, and skip changes that the snapshot already holds, by sequence number.
//!
//! A stream ends when the store is cleared or closed, and when its reader falls too far behind to be told every change;
//! then it has to be opened anew.

mod items;
mod window;

use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::mpsc;

use landfall_actors::{ChangeSet, HubEvent, HubMessage, StorageMessage, SyncState};
use landfall_core::{BoundPredicate, Model, ModelDef, ModelName, Origin, Predicate, Record, Seq};
use landfall_storage::{ChangeKind, Query, Reader, VisibleChange};

use crate::datastore::DataStore;
use crate::error::Error;
use items::Items;

/// A change of a record that an observer hears of.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// What happened to it.
    pub kind: ChangeKind,
    /// The record as it is now; as it was, for a delete.
    pub element: T,
    /// What brought the change about.
    pub origin: Origin,
    /// The log entry that made it.
    pub seq: Seq,
}

/// The result of an observed query at one time.
#[derive(Clone, Debug)]
pub struct QuerySnapshot<T> {
    /// The records, in the order of the query; those of its page, if it asks for one.
    pub items: Vec<T>,
    /// How many records satisfy the predicate, whatever the page.
    pub total: usize,
    /// Whether the model is in sync: it was synced since the last start, and since then neither the network nor a sync of
    /// the model failed, none was cut off at the record limit, and sync was not stopped.
    pub is_synced: bool,
}

/// How records become what the caller asked for.
type Convert<T> = fn(Record) -> Result<T, Error>;

/// The changes of one model.
#[derive(Debug)]
pub struct Observer<T> {
    receiver: mpsc::Receiver<ChangeSet>,
    def: Arc<ModelDef>,
    predicate: Test,
    /// Changes of the set being handed out, newest last.
    waiting: std::collections::VecDeque<VisibleChange>,
    convert: Convert<T>,
    marker: PhantomData<fn() -> T>,
}

/// How an observer tells the changes that it is interested in.
#[derive(Debug)]
enum Test {
    /// By the record alone.
    Alone(BoundPredicate),
    /// By the records that it is related to, as they are when the change is handed out.
    Following(Predicate, Reader),
}

impl<M: Model> Observer<M> {
    pub(crate) async fn typed(store: &DataStore, predicate: Predicate) -> Result<Self, Error> {
        let def = store.records().def(M::NAME)?;
        Self::new(store, def, predicate, |record| Ok(M::from_record(record)?)).await
    }
}

impl Observer<Record> {
    pub(crate) async fn untyped(
        store: &DataStore,
        def: Arc<ModelDef>,
        predicate: Predicate,
    ) -> Result<Self, Error> {
        Self::new(store, def, predicate, Ok).await
    }
}

impl<T> Observer<T> {
    async fn new(
        store: &DataStore,
        def: Arc<ModelDef>,
        predicate: Predicate,
        convert: Convert<T>,
    ) -> Result<Self, Error> {
        let reader = &store.inner.handles.reader;
        let predicate = if predicate.follows_relations() {
            reader.snapshot()?.selects(&def.name, &predicate, &[])?;
            Test::Following(predicate, reader.clone())
        } else {
            Test::Alone(predicate.bind(&def)?)
        };
        let receiver = store
            .inner
            .handles
            .storage
            .ask(|reply| StorageMessage::Observe { reply })
            .await?;
        Ok(Self {
            receiver,
            def,
            predicate,
            waiting: std::collections::VecDeque::new(),
            convert,
            marker: PhantomData,
        })
    }

    /// Waits for the next change; `None` once the stream has ended.
    pub async fn next(&mut self) -> Option<Result<Change<T>, Error>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(self.change(change));
            }
            let set = self.receiver.recv().await?;
            if let Err(error) = self.take(&set) {
                return Some(Err(error));
            }
        }
    }

    /// Waits for the next changes that were made together; `None` once the stream has ended.
    ///
    /// What one transaction changed is never split. What others wrote in the same commit is there as well.
    pub async fn next_set(&mut self) -> Option<Result<Vec<Change<T>>, Error>> {
        while self.waiting.is_empty() {
            let set = self.receiver.recv().await?;
            if let Err(error) = self.take(&set) {
                return Some(Err(error));
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        Some(waiting.into_iter().map(|change| self.change(change)).collect())
    }

    /// The next change, if there is one already.
    pub fn try_next(&mut self) -> Option<Result<Change<T>, Error>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(self.change(change));
            }
            let set = self.receiver.try_recv().ok()?;
            if let Err(error) = self.take(&set) {
                return Some(Err(error));
            }
        }
    }

    fn take(&mut self, set: &ChangeSet) -> Result<(), Error> {
        let mut of_interest: Vec<VisibleChange> = set
            .iter()
            .filter(|change| change.key.model == self.def.name)
            .filter(|change| match &self.predicate {
                Test::Alone(predicate) => predicate.matches(change.record.values()),
                Test::Following(..) => true,
            })
            .cloned()
            .collect();
        if let Test::Following(predicate, reader) = &self.predicate
            && !of_interest.is_empty()
        {
            let records: Vec<Record> = of_interest.iter().map(|change| change.record.clone()).collect();
            let selected = reader.snapshot()?.selects(&self.def.name, predicate, &records)?;
            let mut selected = selected.into_iter();
            of_interest.retain(|_| selected.next() == Some(true));
        }
        self.waiting.extend(of_interest);
        Ok(())
    }

    fn change(&self, change: VisibleChange) -> Result<Change<T>, Error> {
        Ok(Change {
            kind: change.kind,
            element: (self.convert)(change.record)?,
            origin: change.origin,
            seq: change.seq,
        })
    }
}

/// The result of a query, kept up to date.
#[derive(Debug)]
pub struct QueryObserver<T> {
    changes: mpsc::Receiver<ChangeSet>,
    events: mpsc::Receiver<HubEvent>,
    model: ModelName,
    items: Items,
    /// Changes up to here are in the result already.
    seen: Seq,
    is_synced: bool,
    /// Whether the first result is still to be handed out.
    fresh: bool,
    convert: Convert<T>,
}

impl<M: Model> QueryObserver<M> {
    pub(crate) async fn typed(store: &DataStore, query: Query) -> Result<Self, Error> {
        Self::new(store, query, |record| Ok(M::from_record(record)?)).await
    }
}

impl QueryObserver<Record> {
    pub(crate) async fn untyped(store: &DataStore, query: Query) -> Result<Self, Error> {
        Self::new(store, query, Ok).await
    }
}

impl<T> QueryObserver<T> {
    async fn new(store: &DataStore, query: Query, convert: Convert<T>) -> Result<Self, Error> {
        let def = store.records().def(&query.model)?;
        let listening = store
            .inner
            .handles
            .hub
            .ask(|reply| HubMessage::Listen { reply })
            .await?;
        let changes = store
            .inner
            .handles
            .storage
            .ask(|reply| StorageMessage::Observe { reply })
            .await?;
        let snapshot = store.snapshot()?;
        let (_, seen) = snapshot.log_bounds()?;
        let items = Items::new(&def, query, &snapshot, &store.inner.handles.reader)?;
        let is_synced = listening.synced.contains(&def.name);
        Ok(Self {
            changes,
            events: listening.events,
            model: def.name.clone(),
            items,
            seen,
            is_synced,
            fresh: true,
            convert,
        })
    }

    /// The result as it is at first, then waits for each next one; `None` once the stream has ended.
    pub async fn next(&mut self) -> Option<Result<QuerySnapshot<T>, Error>> {
        self.advance().await?;
        Some(self.snapshot())
    }

    /// As [`next`](Self::next), but hands out only how many records there are, which costs nothing: for those who show
    /// a count, and for those who look at the result only now and then.
    pub async fn next_total(&mut self) -> Option<Result<usize, Error>> {
        self.advance().await?;
        Some(self.items.refresh().map(|()| self.items.total()))
    }

    /// Waits until there is something new; `None` once the stream has ended.
    async fn advance(&mut self) -> Option<()> {
        if std::mem::take(&mut self.fresh) {
            return Some(());
        }
        loop {
            let changed = tokio::select! {
                biased;
                set = self.changes.recv() => self.apply(&set?),
                event = self.events.recv() => self.hear(&event?),
            };
            // What has come meanwhile belongs to the same result.
            if self.catch_up() || changed {
                return Some(());
            }
        }
    }

    /// The next result, if there is one already.
    pub fn try_next(&mut self) -> Option<Result<QuerySnapshot<T>, Error>> {
        let fresh = std::mem::take(&mut self.fresh);
        (self.catch_up() || fresh).then(|| self.snapshot())
    }

    fn catch_up(&mut self) -> bool {
        let mut changed = false;
        while let Ok(set) = self.changes.try_recv() {
            changed |= self.apply(&set);
        }
        while let Ok(event) = self.events.try_recv() {
            changed |= self.hear(&event);
        }
        changed
    }

    fn apply(&mut self, set: &ChangeSet) -> bool {
        let mut changed = false;
        for change in set.iter().filter(|change| change.seq > self.seen) {
            changed |= self.items.apply(change);
        }
        changed
    }

    fn hear(&mut self, event: &HubEvent) -> bool {
        let is_synced = match event.sync_state() {
            Some(SyncState::InSync(model)) if *model == self.model => true,
            Some(SyncState::Behind(model)) if *model == self.model => false,
            Some(SyncState::AllBehind) => false,
            Some(SyncState::InSync(_) | SyncState::Behind(_)) | None => self.is_synced,
        };
        std::mem::replace(&mut self.is_synced, is_synced) != is_synced
    }

    fn snapshot(&mut self) -> Result<QuerySnapshot<T>, Error> {
        self.items.refresh()?;
        let items = self
            .items
            .page()
            .map(|record| (self.convert)(record.clone()))
            .collect::<Result<_, _>>()?;
        Ok(QuerySnapshot {
            items,
            total: self.items.total(),
            is_synced: self.is_synced,
        })
    }
}
