//! The store for models that are known only at run time: tools, shells, generic code.
//!
//! Owns [`Records`]. The typed calls of `DataStore` end here as well.

use std::sync::Arc;

use landfall_actors::{Count, StorageMessage, WriteDone, WriteOp};
use landfall_core::{ModelDef, ModelName, Predicate, Record, RecordId, RecordKey, Seq};
use landfall_storage::{Query, StorageError};
use tokio::sync::{SemaphorePermit, TryAcquireError};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::observe::{Observer, QueryObserver};

/// The untyped calls of a store.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    store: &'a DataStore,
}

impl<'a> Records<'a> {
    pub(crate) fn new(store: &'a DataStore) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &'a DataStore {
        self.store
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Error::Storage`] with the models that there are.
    pub fn def(&self, model: &str) -> Result<Arc<ModelDef>, Error> {
        let schema = self.store.schema();
        schema.model(model).cloned().ok_or_else(|| {
            let known: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
            StorageError::UnknownModel {
                model: model.to_owned(),
                known: known.join(", "),
            }
            .into()
        })
    }

    /// Saves a record; see [`DataStore::save`].
    ///
    /// # Errors
    /// As [`DataStore::save`].
    pub async fn save(&self, record: Record) -> Result<Record, Error> {
        self.save_if(record, None).await
    }

    /// Saves a record if the stored one satisfies the condition; see [`DataStore::save_if`].
    ///
    /// # Errors
    /// As [`DataStore::save_if`].
    pub async fn save_if(&self, record: Record, condition: Option<Predicate>) -> Result<Record, Error> {
        let model = record.def().name.clone();
        let key_of = |record: &Record| RecordKey {
            model: record.def().name.clone(),
            id: record.id().unwrap_or_else(|| RecordId::text("")),
        };
        let key = key_of(&record);
        let (values, seen, base) = record.into_parts();
        let op = WriteOp::Save {
            model,
            values,
            base,
            seen,
            condition,
        };
        let done = self.write(vec![op]).await?.pop().unwrap_or_default();
        done.record.ok_or(Error::NotFound { key })
    }

    /// Deletes a record and what belongs to it; see [`DataStore::delete`].
    ///
    /// # Errors
    /// As [`DataStore::delete`].
    pub async fn delete(&self, key: RecordKey) -> Result<Option<Record>, Error> {
        self.delete_if(key, None).await
    }

    /// Deletes a record if it satisfies the condition; see [`DataStore::delete_if`].
    ///
    /// # Errors
    /// As [`DataStore::delete_if`].
    pub async fn delete_if(
        &self,
        key: RecordKey,
        condition: Option<Predicate>,
    ) -> Result<Option<Record>, Error> {
        self.def(&key.model)?;
        let done = self
            .write(vec![WriteOp::Delete {
                key,
                condition,
                guard: None,
            }])
            .await?
            .pop();
        Ok(done.and_then(|done| done.record))
    }

    /// Deletes every record that satisfies the predicate; see [`DataStore::delete_where`].
    ///
    /// # Errors
    /// As [`DataStore::delete_where`].
    pub async fn delete_where(&self, model: &str, predicate: Predicate) -> Result<Vec<Record>, Error> {
        let def = self.def(model)?;
        // The writer tests it once more, and it knows neither relations nor what is computed; said whether records are found
        // or not.
        predicate.bind(&def)?;
        let found = self.store.snapshot()?.query(&Query {
            predicate: predicate.clone(),
            ..Query::all(def.name.clone())
        })?;
        let ops = found
            .into_iter()
            .filter_map(|record| {
                let key = RecordKey {
                    model: record.def().name.clone(),
                    id: record.id()?,
                };
                // Checked again when it is carried out: the record may have changed since it was found.
                Some(WriteOp::Delete {
                    key,
                    condition: None,
                    guard: Some(predicate.clone()),
                })
            })
            .collect::<Vec<_>>();
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self
            .write_apart(ops)
            .await?
            .into_iter()
            .filter_map(|done| done.record)
            .collect())
    }

    /// Carries out several writes in one transaction: all or none, one commit, sent in order. One that the server refuses
    /// holds back those after it.
    ///
    /// # Errors
    /// That of the first write that cannot be carried out; then none is.
    pub async fn write(&self, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Error> {
        self.carry_out(ops, true).await
    }

    /// Carries out several writes that have nothing to do with each other: all or none, one commit, but each is sent by
    /// itself, so that one which the server refuses holds back only what refers to its record.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) async fn write_apart(&self, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Error> {
        self.carry_out(ops, false).await
    }

    async fn carry_out(&self, ops: Vec<WriteOp>, grouped: bool) -> Result<Vec<WriteDone>, Error> {
        let _place = self.place().await?;
        let storage = &self.store.inner.handles.storage;
        let done = storage
            .ask(|reply| StorageMessage::Write { ops, grouped, reply })
            .await??;
        say(&done);
        Ok(done)
    }

    /// As [`write`](Self::write), to take back what an entry did: the entries that this makes name it as their cause.
    pub(crate) async fn take_back(&self, entry: Seq, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Error> {
        let _place = self.place().await?;
        let storage = &self.store.inner.handles.storage;
        let done = storage
            .ask(|reply| StorageMessage::Undo { entry, ops, reply })
            .await??;
        say(&done);
        Ok(done)
    }

    /// Waits until the call is one of those that may wait for the disk.
    async fn place(&self) -> Result<SemaphorePermit<'_>, Error> {
        let calls = &self.store.inner.calls;
        match calls.try_acquire() {
            Ok(place) => Ok(place),
            Err(TryAcquireError::Closed) => Err(Error::Closed),
            Err(TryAcquireError::NoPermits) => {
                self.store.inner.handles.env.meter.add(Count::CallsHeldBack, 1);
                calls.acquire().await.map_err(|_| Error::Closed)
            }
        }
    }

    /// The record of that identifier.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn get(&self, model: &str, id: &RecordId) -> Result<Option<Record>, Error> {
        Ok(self.store.snapshot()?.get(model, id)?)
    }

    /// The records that a query selects.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, Error> {
        Ok(self.store.snapshot()?.query(query)?)
    }

    /// The number of records that a predicate selects.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn count(&self, model: &str, predicate: &Predicate) -> Result<u64, Error> {
        Ok(self.store.snapshot()?.count(model, predicate)?)
    }

    /// Records at the other end of a relation field; `None` if there is no such relation or its keys are null.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn related(&self, record: &Record, relation: &str) -> Result<Option<Vec<Record>>, Error> {
        self.store.related(record, relation)
    }

    /// The stream of changes of a model from here on.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn observe(&self, model: &str, predicate: Predicate) -> Result<Observer<Record>, Error> {
        Observer::untyped(self.store, self.def(model)?, predicate).await
    }

    /// The result of a query, and its result again after each change.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Closed`].
    pub async fn observe_query(&self, query: Query) -> Result<QueryObserver<Record>, Error> {
        QueryObserver::untyped(self.store, query).await
    }

    /// A fresh identifier, for models whose identifiers the store makes.
    pub fn new_id(&self, model: impl Into<ModelName>) -> RecordKey {
        RecordKey {
            model: model.into(),
            id: RecordId::text(self.store.inner.handles.env.new_id().to_string()),
        }
    }
}

/// Says in the caller's log, and so in the caller's span, which entries a call has become: that is how a request that an app
/// serves leads to the entries that it made.
fn say(done: &[WriteDone]) {
    if !tracing::enabled!(target: "landfall::call", tracing::Level::DEBUG) {
        return;
    }
    for done in done {
        let Some(entry) = done.entry else { continue };
        let record = done.record.as_ref();
        tracing::debug!(
            target: "landfall::call",
            %entry,
            model = record.map(|record| tracing::field::display(&record.def().name)),
            id = record.and_then(Record::id).map(tracing::field::display),
            "written"
        );
    }
}
