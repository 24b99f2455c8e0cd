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
use crate::relations::queried;
use crate::runtime::Runtime;
use crate::streams::HubEvents;

/// Calls of the app that may be waiting for the storage actor at the same time; more wait for a place.
const CALLS_MAX: usize = 4_096;

/// A local-first store of typed models.
///
/// Cheap to clone, usable from any thread and any async runtime. The data is on disk when a write returns, whether or
/// not there is a network; [`start`](Self::start) begins to sync. Dropping the last clone stops its threads;
/// [`close`](Self::close) also waits until the files are free again, and what is asked after that is answered by
/// [`Error::Closed`].
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// use landfall::{DataStore, ModelQuery};
///
/// let store = DataStore::builder(schema()).open().await?;
/// let post = store.save(Post::builder().title("Low tide").rating(4).build()?).await?;
/// let rated = store.save(Post::copy_of(&post, |post| post.rating = Some(5))).await?;
///
/// let best = store.query(ModelQuery::all().filter(Post::rating().gt(3)).sort(Post::rating().desc()))?;
/// assert_eq!(best, [rated]);
/// store.delete(&post).await?;
/// assert!(store.get::<Post>(post.id.as_str())?.is_none());
/// store.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DataStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) handles: Handles,
    pub(crate) settings: RwLock<SyncSettings>,
    pub(crate) expressions: Expressions,
    pub(crate) calls: Semaphore,
    /// Taken alone by a transaction that others have overtaken too often.
    pub(crate) turns: tokio::sync::RwLock<()>,
    pub(crate) gate: Arc<NetworkGate>,
    runtime: Mutex<Option<Runtime>>,
    recorder: Option<Arc<Recorder>>,
}

impl DataStore {
    /// Opens a store of a schema.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// landfall::inline_schema!("type Post @model { title: String! }");
    ///
    /// let store = landfall::DataStore::builder(schema()).open().await?;
    /// assert_eq!(store.count(landfall::TypedPredicate::<Post>::all())?, 0);
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let models: Vec<&str> = store.schema().models().map(|def| def.name.as_str()).collect();
    /// assert_eq!(models, ["Post"]);
    /// # Ok(()) }
    /// ```
    pub fn schema(&self) -> &Arc<Schema> {
        &self.inner.handles.schema
    }

    /// Saves a model and queues it for the server; returns it as stored, once it is on disk, online or not.
    ///
    /// What is sent are the fields that were changed since the model was read.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Low tide").build()?).await?;
    /// let post = store.save(Post::copy_of(&post, |post| post.rating = Some(5))).await?;
    /// assert_eq!(store.get::<Post>(post.id.as_str())?, Some(post));
    /// // Two saves, one change for the server, since it has seen neither.
    /// assert_eq!(store.outbox().len()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if the model is not valid, or was deleted since it was read; [`Error::Storage`].
    pub async fn save<M: Model>(&self, model: M) -> Result<M, Error> {
        self.save_with(model, None).await
    }

    /// As [`save`](Self::save), if the stored record satisfies the condition; the server checks it as well.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Low tide").rating(2).build()?).await?;
    /// use landfall::Error;
    ///
    /// let renamed = Post::copy_of(&post, |post| post.title = "High tide".to_owned());
    /// let refused = store.save_if(renamed.clone(), Post::rating().gt(3)).await;
    /// assert!(matches!(refused, Err(Error::Refused(_))));
    /// store.save_if(renamed, Post::rating().lt(3)).await?;
    /// # assert_eq!(store.count(Post::title().eq("High tide"))?, 1);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! comments: [Comment] @hasMany }
    /// #     type Comment @model { text: String! post: Post @belongsTo }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Low tide").build()?).await?;
    /// store.save(Comment::builder().text("At six").post(&post).build()?).await?;
    ///
    /// assert_eq!(store.delete(&post).await?, Some(post.clone()));
    /// assert_eq!(store.count(landfall::TypedPredicate::<Comment>::all())?, 0);
    /// assert_eq!(store.delete(&post).await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::CascadeTooLarge`], [`Error::Storage`].
    pub async fn delete<M: Model>(&self, model: &M) -> Result<Option<M>, Error> {
        self.delete_by_id(model.record_id()).await
    }

    /// As [`delete`](Self::delete), if the stored record satisfies the condition; the server checks it as well.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Low tide").rating(5).build()?).await?;
    /// assert!(store.delete_if(&post, Post::rating().lt(3)).await.is_err());
    /// assert_eq!(store.delete_if(&post, Post::rating().gt(3)).await?, Some(post));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Low tide").build()?).await?;
    /// assert_eq!(store.delete_by_id::<Post>(post.id.as_str()).await?, Some(post));
    /// assert_eq!(store.delete_by_id::<Post>("nobody").await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_by_id<M: Model>(&self, id: impl Into<RecordId>) -> Result<Option<M>, Error> {
        let deleted = self.records().delete(RecordKey::new(M::NAME, id.into())).await?;
        deleted.map(M::from_record).transpose().map_err(Error::from)
    }

    /// Deletes every record that satisfies the predicate, and what belongs to them, in one transaction. Returns those that
    /// satisfied it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// for rating in [1, 2, 5] {
    ///     store.save(Post::builder().title("Tides").rating(rating).build()?).await?;
    /// }
    /// assert_eq!(store.delete_where(Post::rating().lt(3)).await?.len(), 2);
    /// assert_eq!(store.count(landfall::TypedPredicate::<Post>::all())?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`delete`](Self::delete); [`Error::BadPredicate`]; [`Error::TooManyToDelete`] if there are more of them than
    /// [`TRANSACTION_WRITES_MAX`](crate::TRANSACTION_WRITES_MAX), or they take along more than 100,000 others
    /// ([`Error::CascadeTooLarge`]). Nothing is deleted then.
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }
    /// #     type Berth @model { pier: String! @primaryKey(sortKeyFields: [\"number\"]) number: Int! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Low tide").build()?).await?;
    /// assert_eq!(store.get::<Post>(post.id.as_str())?, Some(post));
    /// assert_eq!(store.get::<Post>("nobody")?, None);
    ///
    /// // An identifier of several fields is had from a record.
    /// use landfall::Model;
    /// let berth = store.save(Berth::builder().pier("north").number(7).build()?).await?;
    /// assert_eq!(store.get::<Berth>(berth.record_id())?, Some(berth));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn get<M: Model>(&self, id: impl Into<RecordId>) -> Result<Option<M>, Error> {
        let record = self.snapshot()?.get(M::NAME, &id.into())?;
        record.map(M::from_record).transpose().map_err(Error::from)
    }

    /// The records that a predicate or a whole query selects.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for (title, rating) in [("Weir", 1), ("Reef", 5), ("Tide", 4)] {
    /// #     store.save(Post::builder().title(title).rating(rating).build()?).await?;
    /// # }
    /// use landfall::ModelQuery;
    ///
    /// assert_eq!(store.query(Post::rating().gt(3))?.len(), 2);
    /// let best = store.query(ModelQuery::all().sort(Post::rating().desc()).limit(1))?;
    /// assert_eq!(best[0].title, "Reef");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`].
    pub fn query<M: Model>(&self, query: impl Into<ModelQuery<M>>) -> Result<Vec<M>, Error> {
        queried(&self.snapshot()?, &query.into().into())
    }

    /// The number of records that a predicate selects.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().title("Low tide").rating(5).build()?).await?;
    /// assert_eq!(store.count(Post::rating().gt(3))?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn count<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<u64, Error> {
        Ok(self.snapshot()?.count(M::NAME, &predicate.into_predicate())?)
    }

    /// The stream of changes of a model, local and remote, from here on.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::ChangeKind;
    ///
    /// let mut good = store.observe(Post::rating().gt(3)).await?;
    /// store.save(Post::builder().title("Weir").rating(1).build()?).await?;
    /// store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    ///
    /// let change = good.next().await.ok_or("the store was closed")??;
    /// assert_eq!((change.kind, change.element.title.as_str()), (ChangeKind::Insert, "Reef"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Closed`].
    pub async fn observe<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<Observer<M>, Error> {
        Observer::typed(self, predicate.into_predicate()).await
    }

    /// The result of a query, and its result again after each change.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::ModelQuery;
    ///
    /// let mut best = store.observe_query(ModelQuery::all().sort(Post::rating().desc()).limit(10)).await?;
    /// let first = best.next().await.ok_or("the store was closed")??;
    /// assert!(first.items.is_empty());
    ///
    /// store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    /// let second = best.next().await.ok_or("the store was closed")??;
    /// assert_eq!((second.items[0].title.as_str(), second.total), ("Reef", 1));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::HubEvent;
    ///
    /// let mut events = store.hub().await?;
    /// store.start().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// while let Some(event) = events.next().await {
    ///     if let HubEvent::OutboxMutationEnqueued { record, .. } = event {
    ///         assert_eq!(record.get("title"), Some(&"Reef".into()));
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let waiting = store.outbox().list(100)?;
    /// assert_eq!(waiting[0].key.id, post.id.as_str().into());
    /// # Ok(()) }
    /// ```
    pub fn outbox(&self) -> OutboxView<'_> {
        OutboxView::new(self)
    }

    /// The store for models that are known only at run time.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::Query;
    ///
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// let posts = store.records().query(&Query::all("Post"))?;
    /// assert_eq!(posts[0].get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// Stops syncing and clears all data, the log and queued changes included. Streams of changes end.
    ///
    /// No byte of it is left in the store's directory: the file is made anew, which needs room for the little that it then
    /// holds, and damaged files that [`rebuild`](crate::rebuild) has kept beside it are removed. If the process ends before
    /// that is done, the next opening does it. A read that began before and still needs the old file fails.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// store.clear().await?;
    /// assert_eq!(store.count(landfall::TypedPredicate::<Post>::all())?, 0);
    /// assert!(store.outbox().is_empty()?);
    /// # Ok(()) }
    /// ```
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

    /// Stops syncing, ends the store's threads and waits until its files are closed: the next one who opens the directory does
    /// not find it locked. Other clones are closed with it: what is asked of them is answered by [`Error::Closed`]. A
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
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let home = tempfile::tempdir()?;
    /// let file = home.path().join("run.flight");
    /// let store = landfall::DataStore::builder(schema()).record(file).open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// let report = store.recording().ok_or("it is recorded")?;
    /// assert!(report.events > 0 && !report.stopped);
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let before = store.snapshot()?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// // It goes on showing what there was when it was taken.
    /// let id = post.id.as_str().into();
    /// assert_eq!(before.get("Post", &id)?, None);
    /// assert!(store.snapshot()?.get("Post", &id)?.is_some());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Model, Seq};
    /// use landfall::history::Scope;
    ///
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let first = store.history()?.bounds().1;
    /// store.save(Post::copy_of(&post, |post| post.title = "Weir".to_owned())).await?;
    ///
    /// let then = store.history()?.as_of(first, &Scope::All)?;
    /// let was = then.get(&post.record_key()).ok_or("it was there")?;
    /// assert_eq!(was.get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// store.save(Post::copy_of(&post, |post| post.rating = Some(5))).await?;
    ///
    /// let history = store.history_of::<Post>(post.id.as_str())?;
    /// assert_eq!(history.steps.len(), 2);
    /// # Ok(()) }
    /// ```
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
