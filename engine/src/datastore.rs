//! `DataStore`: what an app calls.
//!
//! Owns the typed calls; those for models known only at run time are in `records.rs`. Writes go through the storage actor and
//! return once they are on disk; reads take a snapshot and wait for nobody.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use landfall_actors::{HubMessage, SupervisorMessage, SyncSettings};
use landfall_core::{Model, Predicate, Record, RecordId, RecordKey, Schema, TypedPredicate};
use landfall_storage::Snapshot;
use landfall_storage::history::{History, RecordHistory};
use tokio::sync::Semaphore;

use crate::assembly::Handles;
use crate::builder::DataStoreBuilder;
use crate::error::Error;
use crate::expressions::Expressions;
use crate::flight::recorder::{Recorder, RecorderReport};
use crate::flight::state_hash;
use crate::gate::NetworkGate;
use crate::model_query::ModelQuery;
use crate::observe::{Observer, QueryObserver};
use crate::outbox::OutboxView;
use crate::records::Records;
use crate::runtime::Runtime;
use crate::streams::HubEvents;

/// Calls of the app that may be waiting for the storage actor at the same time; more wait for a place.
const CALLS_MAX: usize = 4_096;

/// A local-first store of typed models.
///
/// Cheap to clone, usable from any thread and any async runtime. The data is on disk when a write returns, whether or
/// not there is a network; [`start`](Self::start) begins to sync. Dropping the last clone stops its threads;
/// [`close`](Self::close) also waits until the files are free again.
#[derive(Clone, Debug)]
pub struct DataStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) handles: Handles,
    pub(crate) settings: RwLock<SyncSettings>,
    expressions: Expressions,
    pub(crate) calls: Semaphore,
    /// Taken alone by a transaction that others have overtaken too often.
    pub(crate) turns: tokio::sync::RwLock<()>,
    pub(crate) gate: Arc<NetworkGate>,
    runtime: Mutex<Option<Runtime>>,
    recorder: Option<Arc<Recorder>>,
}

impl DataStore {
    /// Opens a store of a schema.
    pub fn builder(schema: &Arc<Schema>) -> DataStoreBuilder {
        DataStoreBuilder::new(Arc::clone(schema))
    }

    pub(crate) fn new(
        handles: Handles,
        settings: SyncSettings,
        expressions: Expressions,
        runtime: Option<Runtime>,
        gate: Arc<NetworkGate>,
        recorder: Option<Arc<Recorder>>,
    ) -> Self {
        let inner = Inner {
            handles,
            settings: RwLock::new(settings),
            expressions,
            calls: Semaphore::new(CALLS_MAX),
            turns: tokio::sync::RwLock::new(()),
            gate,
            runtime: Mutex::new(runtime),
            recorder,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The schema in force.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.inner.handles.schema
    }

    /// Saves a model and queues it for the server; returns it as stored, once it is on disk, online or not.
    ///
    /// What is sent are the fields that were changed since the model was read.
    ///
    /// # Errors
    /// [`Error::Refused`] if the model is not valid, or was deleted since it was read; [`Error::Storage`].
    pub async fn save<M: Model>(&self, model: M) -> Result<M, Error> {
        self.save_with(model, None).await
    }

    /// As [`save`](Self::save), if the stored record satisfies the condition; the server checks it as well.
    ///
    /// # Errors
    /// As [`save`](Self::save), and [`Error::Refused`] if the condition does not hold.
    pub async fn save_if<M: Model>(&self, model: M, condition: TypedPredicate<M>) -> Result<M, Error> {
        self.save_with(model, Some(condition.into_predicate())).await
    }

    async fn save_with<M: Model>(&self, model: M, condition: Option<Predicate>) -> Result<M, Error> {
        let record = self.to_record(&model)?;
        let saved = self.records().save_if(record, condition).await?;
        Ok(M::from_record(saved)?)
    }

    /// Deletes a model and what belongs to it, children first.
    ///
    /// Returns the model as it was; `None` if it was not there.
    ///
    /// # Errors
    /// [`Error::CascadeTooLarge`], [`Error::Storage`].
    pub async fn delete<M: Model>(&self, model: &M) -> Result<Option<M>, Error> {
        self.delete_by_id(model.record_id()).await
    }

    /// As [`delete`](Self::delete), if the stored record satisfies the condition; the server checks it as well.
    ///
    /// # Errors
    /// As [`delete`](Self::delete), and [`Error::Refused`] if the condition does not hold.
    pub async fn delete_if<M: Model>(
        &self,
        model: &M,
        condition: TypedPredicate<M>,
    ) -> Result<Option<M>, Error> {
        let key = RecordKey::new(M::NAME, model.record_id());
        let deleted = self
            .records()
            .delete_if(key, Some(condition.into_predicate()))
            .await?;
        deleted.map(M::from_record).transpose().map_err(Error::from)
    }

    /// Deletes the record of that identifier and what belongs to it.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_by_id<M: Model>(&self, id: impl Into<RecordId>) -> Result<Option<M>, Error> {
        let deleted = self.records().delete(RecordKey::new(M::NAME, id.into())).await?;
        deleted.map(M::from_record).transpose().map_err(Error::from)
    }

    /// Deletes every record that satisfies the predicate, and what belongs to them. Returns those that satisfied it.
    ///
    /// # Errors
    /// As [`delete`](Self::delete); [`Error::BadPredicate`].
    pub async fn delete_where<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<Vec<M>, Error> {
        let deleted = self
            .records()
            .delete_where(M::NAME, predicate.into_predicate())
            .await?;
        deleted
            .into_iter()
            .map(|record| M::from_record(record).map_err(Error::from))
            .collect()
    }

    /// The record of that identifier.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn get<M: Model>(&self, id: impl Into<RecordId>) -> Result<Option<M>, Error> {
        let record = self.snapshot()?.get(M::NAME, &id.into())?;
        record.map(M::from_record).transpose().map_err(Error::from)
    }

    /// The records that a predicate or a whole query selects.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`].
    pub fn query<M: Model>(&self, query: impl Into<ModelQuery<M>>) -> Result<Vec<M>, Error> {
        let records = self.snapshot()?.query(&query.into().into())?;
        records
            .into_iter()
            .map(|record| M::from_record(record).map_err(Error::from))
            .collect()
    }

    /// The number of records that a predicate selects.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn count<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<u64, Error> {
        Ok(self.snapshot()?.count(M::NAME, &predicate.into_predicate())?)
    }

    /// The stream of changes of a model, local and remote, from here on.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn observe<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<Observer<M>, Error> {
        Observer::typed(self, predicate.into_predicate()).await
    }

    /// The result of a query, and its result again after each change.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Closed`].
    pub async fn observe_query<M: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
    ) -> Result<QueryObserver<M>, Error> {
        QueryObserver::typed(self, query.into().into()).await
    }

    /// The stream of lifecycle events (Amplify's Hub, channel `datastore`), from here on.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn hub(&self) -> Result<HubEvents, Error> {
        let listening = self
            .inner
            .handles
            .hub
            .ask(|reply| HubMessage::Listen { reply })
            .await?;
        Ok(HubEvents::new(listening.events))
    }

    /// Changes that wait for the server: list them, wait for them, retry or discard refused ones.
    pub fn outbox(&self) -> OutboxView<'_> {
        OutboxView::new(self)
    }

    /// The store for models that are known only at run time.
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// Starts to sync. Returns once the parts run; it does not wait for the network.
    ///
    /// Without an endpoint nothing is synced and local changes stay queued.
    ///
    /// # Errors
    /// [`Error::BadPredicate`] if a computed sync expression does not fit its model; [`Error::Closed`].
    pub async fn start(&self) -> Result<(), Error> {
        self.compute_expressions().await?;
        let settings = Box::new(self.settings());
        self.inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::Start { settings, reply })
            .await?;
        Ok(())
    }

    /// Waits until the store is in sync and changes flow both ways. Returns `false` as soon as it is known that this
    /// cannot be now, because there is no network, no endpoint, or the store is stopped.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn ready(&self) -> Result<bool, Error> {
        Ok(self
            .inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::AwaitReady { reply })
            .await?)
    }

    /// Stops syncing. Local data and queued changes stay.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn stop(&self) -> Result<(), Error> {
        Ok(self
            .inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::Stop { reply })
            .await?)
    }

    /// Stops syncing and clears all data, the log and queued changes included. Streams of changes end.
    ///
    /// No byte of it is left in the store's directory: the file is made anew, which needs room for the little that it then
    /// holds, and damaged files that [`rebuild`](crate::rebuild) has kept beside it are removed. If the process ends before
    /// that is done, the next opening does it. A read that began before and still needs the old file fails.
    ///
    /// # Errors
    /// [`Error::Storage`]; with [`Unscrubbed`](landfall_storage::StorageError::Unscrubbed) everything is cleared, but its
    /// bytes are still in the file. [`Error::Closed`].
    pub async fn clear(&self) -> Result<(), Error> {
        Ok(self
            .inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::Clear { reply })
            .await??)
    }

    fn settings(&self) -> SyncSettings {
        let settings = self.inner.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the app for the sync expressions that it computes. Returns whether one has changed.
    async fn compute_expressions(&self) -> Result<bool, Error> {
        let computed = self.inner.expressions.compute(self.schema()).await?;
        let settings = self.inner.settings.write();
        let mut settings = settings.unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (model, expression) in computed {
            let before = settings.expressions.insert(model, expression.clone());
            changed |= before != Some(expression);
        }
        Ok(changed)
    }

    /// Puts changed settings in force. A store that syncs begins anew; one that does not uses them at its next start.
    async fn reconfigure(&self) -> Result<(), Error> {
        let settings = Box::new(self.settings());
        let supervisor = &self.inner.handles.supervisor;
        Ok(supervisor
            .ask(|reply| SupervisorMessage::Reconfigure { settings, reply })
            .await?)
    }

    /// Asks again for the sync expressions that the app computes. If one has changed, the store syncs by it: records that
    /// it selects are fetched, those that it does not leave the store unless a change of them waits.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn refresh_expressions(&self) -> Result<(), Error> {
        if self.compute_expressions().await? {
            self.reconfigure().await?;
        }
        Ok(())
    }

    /// Syncs only the records of a model that satisfy the predicate, from here on; [`TypedPredicate::all`] syncs all.
    /// Records that it selects are fetched, those that it does not leave the store unless a change of them waits.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn set_sync_expression<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<(), Error> {
        self.set_sync_expression_for(M::NAME, predicate.into_predicate())
            .await
    }

    /// As [`set_sync_expression`](Self::set_sync_expression), for a model known at run time.
    ///
    /// # Errors
    /// As there, and [`Error::Storage`] if there is no such model.
    pub async fn set_sync_expression_for(&self, model: &str, predicate: Predicate) -> Result<(), Error> {
        let def = self.records().def(model)?;
        predicate.bind(&def)?;
        let mut changed = false;
        self.configure(|settings| {
            let before = settings.expressions.insert(def.name.clone(), predicate.clone());
            changed = before.unwrap_or(Predicate::All) != predicate;
        });
        if changed {
            self.reconfigure().await?;
        }
        Ok(())
    }

    /// Fetches what has changed now, without waiting for subscriptions to tell. Returns whether a sync is over that began
    /// after this call: `false` as soon as it is known that there is none, as without a network or while the pull is
    /// paused. Models that failed are told by the error handler.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn sync_now(&self) -> Result<bool, Error> {
        let supervisor = &self.inner.handles.supervisor;
        Ok(supervisor
            .ask(|reply| SupervisorMessage::SyncNow { reply })
            .await?)
    }

    /// Keeps local changes from being sent until [`resume_push`](Self::resume_push). What is on its way is still settled.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn pause_push(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePush { paused: true })
    }

    /// Sends local changes again.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn resume_push(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePush { paused: false })
    }

    /// Stops fetching and listening until [`resume_pull`](Self::resume_pull). Local changes are still sent.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn pause_pull(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePull { paused: true })
    }

    /// Listens again, and fetches what was missed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn resume_pull(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePull { paused: false })
    }

    fn tell(&self, message: SupervisorMessage) -> Result<(), Error> {
        Ok(self.inner.handles.supervisor.tell(message)?)
    }

    /// Changes how the next start syncs.
    pub fn configure(&self, change: impl FnOnce(&mut SyncSettings)) {
        change(
            &mut self
                .inner
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Cuts the network as this store sees it, or restores it; for tests and demonstrations.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_online(&self, online: bool) -> Result<(), Error> {
        self.inner.gate.set_cut(!online);
        Ok(self
            .inner
            .handles
            .supervisor
            .tell(SupervisorMessage::ForceOffline { offline: !online })?)
    }

    /// Stops syncing, ends the store's threads and waits until its files are closed: the next one who opens the directory
    /// does not find it locked. Other clones are closed with it: what is asked of them is answered by [`Error::Closed`]. A
    /// [`snapshot`](Self::snapshot) that was taken before can be read only as far as it is in memory.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = std::env::temp_dir().join(format!("landfall-close-doc-{}", std::process::id()));
    /// let store = landfall::DataStore::builder(schema()).directory(&home).open().await?;
    /// let clone = store.clone();
    /// store.close().await;
    ///
    /// let read = clone.count(landfall::TypedPredicate::<Site>::all());
    /// assert!(matches!(read, Err(landfall::Error::Closed)));
    /// let again = landfall::DataStore::builder(schema()).directory(&home).open().await?;
    /// # again.close().await;
    /// # std::fs::remove_dir_all(&home)?;
    /// # Ok(()) }
    /// ```
    pub async fn close(self) {
        // A store whose threads are gone already is as good as stopped.
        self.stop().await.unwrap_or(());
        self.note_end();
        let runtime = self
            .inner
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            runtime.close().await;
        }
        if let Some(recorder) = &self.inner.recorder {
            recorder.close();
        }
    }

    /// What the flight recorder has done so far; `None` if nothing is [recorded](DataStoreBuilder::record).
    pub fn recording(&self) -> Option<RecorderReport> {
        self.inner.recorder.as_ref().map(|recorder| recorder.report())
    }

    /// Notes what the store holds at the end of a recording, for replays to compare with.
    fn note_end(&self) {
        let Some(recorder) = &self.inner.recorder else {
            return;
        };
        let ended = self.snapshot().and_then(|snapshot| {
            let (head, check) = snapshot.head_and_check()?;
            Ok((head, check, state_hash(&snapshot)?))
        });
        match ended {
            Ok((head, check, state)) => {
                recorder.end(head, check, state, self.inner.handles.env.clock.now_ms());
            }
            Err(error) => tracing::warn!(%error, "the recording ends without the state to compare with"),
        }
    }

    /// Ends the store's actors as a crash would; for simulators, which then take its disk away.
    #[doc(hidden)]
    pub fn halt(&self) {
        // A store that is gone already needs no ending.
        self.inner
            .handles
            .supervisor
            .tell(SupervisorMessage::Halt)
            .unwrap_or(());
    }

    /// A view of the newest commit, for several reads that belong together and for the log.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(self.inner.handles.reader.snapshot()?)
    }

    /// What happened to the store so far: its log, states of the past, and exports, as of now.
    ///
    /// Holds a view of the newest commit; later ones do not change it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn history(&self) -> Result<History, Error> {
        Ok(History::of_snapshot(self.snapshot()?)?)
    }

    /// What happened to one record, and [why](RecordHistory::why) its fields are what they are.
    ///
    /// Reads the log once; a log of a million entries takes some tenths of a second.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn history_of<M: Model>(&self, id: impl Into<RecordId>) -> Result<RecordHistory, Error> {
        Ok(self.history()?.record(&RecordKey::new(M::NAME, id.into()))?)
    }

    pub(crate) fn to_record<M: Model>(&self, model: &M) -> Result<Record, Error> {
        let def = self.records().def(M::NAME)?;
        // The model's own schema may order fields differently from the one that the store was opened with.
        let own = M::schema().model(M::NAME).filter(|own| !Arc::ptr_eq(own, &def));
        let record = match own {
            Some(own) if own.stored_fields().ne(def.stored_fields()) => {
                let fields = Record::new(Arc::clone(own), model.to_values()).to_fields();
                Record::from_fields(def, &fields)
            }
            _ => Record::new(def, model.to_values()),
        };
        Ok(record
            .with_sync(model.sync_metadata())
            .with_base(model.base().clone()))
    }
}
