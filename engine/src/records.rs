//! The store for models that are known only at run time: tools, shells, generic code.
//!
//! Owns [`Records`]. The typed calls of `DataStore` end here as well.

use std::sync::Arc;

use landfall_actors::{Count, StorageMessage, WriteDone, WriteError, WriteOp};
use landfall_core::{ModelDef, ModelName, Page, Predicate, Record, RecordId, RecordKey, Seq};
use landfall_storage::{Query, StorageError};
use tokio::sync::{SemaphorePermit, TryAcquireError};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::observe::{Observer, QueryObserver};
use crate::transaction::TRANSACTION_WRITES_MAX;

/// The untyped calls of a store.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// use landfall::{Op, Predicate, Query, Record};
///
/// let posts = store.records();
/// let (def, id) = (posts.def("Post")?, posts.new_id("Post").id);
/// let mut post = Record::from_fields(def.clone(), &id.to_fields(&def));
/// post.set("title", "Reef".into());
/// post.set("rating", 5.into());
/// let saved = posts.save(post).await?;
///
/// let good = Predicate::field("rating", Op::Gt(3.into()));
/// assert_eq!(posts.count("Post", &good)?, 1);
/// let found = posts.query(&Query { predicate: good, ..Query::all("Post") })?;
/// assert_eq!(found[0].id(), saved.id());
/// # Ok(()) }
/// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let def = store.records().def("Post")?;
    /// assert!(def.field("title").is_some());
    /// let unknown = store.records().def("Pots").err().ok_or("there is no such model")?;
    /// assert!(unknown.to_string().contains("Post"));
    /// # Ok(()) }
    /// ```
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

    /// Saves a record; see [`DataStore::save`]. A new one needs its identifier, such as a [`new_id`](Self::new_id).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::Record;
    ///
    /// let posts = store.records();
    /// let (def, id) = (posts.def("Post")?, posts.new_id("Post").id);
    /// let mut post = Record::from_fields(def.clone(), &id.to_fields(&def));
    /// post.set("title", "Reef".into());
    /// let mut post = posts.save(post).await?;
    /// post.set("rating", 5.into());
    /// assert_eq!(posts.save(post).await?.get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`DataStore::save`].
    pub async fn save(&self, record: Record) -> Result<Record, Error> {
        self.save_if(record, None).await
    }

    /// Saves a record if the stored one satisfies the condition; see [`DataStore::save_if`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Model, Op, Predicate};
    ///
    /// let mut post = store.save(Post::builder().title("Reef").rating(2).build()?).await?.to_record();
    /// post.set("title", "Weir".into());
    /// let good = Predicate::field("rating", Op::Gt(3.into()));
    /// assert!(store.records().save_if(post, Some(good)).await.is_err());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Model, RecordKey};
    ///
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let gone = store.records().delete(post.record_key()).await?;
    /// assert_eq!(gone.and_then(|record| record.id()), Some(post.record_id()));
    /// assert!(store.records().delete(RecordKey::new("Post", "nobody")).await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`DataStore::delete`].
    pub async fn delete(&self, key: RecordKey) -> Result<Option<Record>, Error> {
        self.delete_if(key, None).await
    }

    /// Deletes a record if it satisfies the condition; see [`DataStore::delete_if`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Model, Op, Predicate};
    ///
    /// let post = store.save(Post::builder().title("Reef").rating(2).build()?).await?;
    /// let good = Predicate::field("rating", Op::Gt(3.into()));
    /// assert!(store.records().delete_if(post.record_key(), Some(good)).await.is_err());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Op, Predicate};
    ///
    /// store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    /// store.save(Post::builder().title("Weir").rating(1).build()?).await?;
    /// let low = Predicate::field("rating", Op::Lt(3.into()));
    /// let gone = store.records().delete_where("Post", low).await?;
    /// assert_eq!(gone[0].get("title"), Some(&"Weir".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`DataStore::delete_where`].
    pub async fn delete_where(&self, model: &str, predicate: Predicate) -> Result<Vec<Record>, Error> {
        self.delete_at_most(TRANSACTION_WRITES_MAX, model, predicate)
            .await
    }

    /// The same for so many records: they are in memory together, and keep the only writer for themselves.
    async fn delete_at_most(
        &self,
        max: usize,
        model: &str,
        predicate: Predicate,
    ) -> Result<Vec<Record>, Error> {
        let def = self.def(model)?;
        // The writer tests it once more, and it knows neither relations nor what is computed; said whether records are found
        // or not.
        predicate.bind(&def)?;
        let found = self.store.snapshot()?.query(&Query {
            predicate: predicate.clone(),
            // One more than may go, so that it is known whether there are more.
            page: Page::first(max + 1),
            ..Query::all(def.name.clone())
        })?;
        if found.len() > max {
            let model = def.name.clone();
            return Err(Error::TooManyToDelete { model, max });
        }
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::{Model, WriteOp};
    ///
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let delete = WriteOp::Delete { key: post.record_key(), condition: None, guard: None };
    /// let done = store.records().write(vec![delete]).await?;
    /// assert_eq!(done[0].record.as_ref().and_then(|was| was.id()), Some(post.record_id()));
    /// assert!(done[0].entry.is_some());
    /// # Ok(()) }
    /// ```
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
    ///
    /// # Errors
    /// [`Error::CannotUndo`] if a record that is to be deleted is referred to by one that is not.
    pub(crate) async fn take_back(&self, entry: Seq, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Error> {
        let _place = self.place().await?;
        let storage = &self.store.inner.handles.storage;
        let done = storage
            .ask(|reply| StorageMessage::Undo { entry, ops, reply })
            .await?
            .map_err(|error| match error {
                needed @ WriteError::StillNeeded { .. } => Error::CannotUndo {
                    seq: entry,
                    reason: needed.to_string(),
                },
                error => error.into(),
            })?;
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let found = store.records().get("Post", &post.id.as_str().into())?.ok_or("it was saved")?;
    /// assert_eq!(found.get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn get(&self, model: &str, id: &RecordId) -> Result<Option<Record>, Error> {
        Ok(self.store.snapshot()?.get(model, id)?)
    }

    /// The records that a query selects.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    /// # store.save(Post::builder().title("Weir").rating(1).build()?).await?;
    /// use landfall::{Page, Query, Sort};
    ///
    /// let best = Query { sort: vec![Sort::descending("rating")], page: Page::first(1), ..Query::all("Post") };
    /// assert_eq!(store.records().query(&best)?[0].get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! comments: [Comment] @hasMany }
    /// #     type Comment @model { text: String! post: Post @belongsTo }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::Model;
    ///
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// store.save(Comment::builder().text("At six").post(&post).build()?).await?;
    /// let comments = store.records().related(&post.to_record(), "comments")?.ok_or("no such relation")?;
    /// assert_eq!(comments[0].get("text"), Some(&"At six".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn related(&self, record: &Record, relation: &str) -> Result<Option<Vec<Record>>, Error> {
        self.store.related(record, relation)
    }

    /// The stream of changes of a model from here on.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut changes = store.records().observe("Post", landfall::Predicate::All).await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// let change = changes.next().await.ok_or("the store was closed")??;
    /// assert_eq!(change.element.get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`] if there is no such model, [`Error::Closed`].
    pub async fn observe(&self, model: &str, predicate: Predicate) -> Result<Observer<Record>, Error> {
        Observer::untyped(self.store, self.def(model)?, predicate).await
    }

    /// The result of a query, and its result again after each change.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut posts = store.records().observe_query(landfall::Query::all("Post")).await?;
    /// assert_eq!(posts.next().await.ok_or("the store was closed")??.total, 0);
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(posts.next().await.ok_or("the store was closed")??.total, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Closed`].
    pub async fn observe_query(&self, query: Query) -> Result<QueryObserver<Record>, Error> {
        QueryObserver::untyped(self.store, query).await
    }

    /// A fresh identifier, for models whose identifiers the store makes.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let (one, other) = (store.records().new_id("Post"), store.records().new_id("Post"));
    /// assert_ne!(one, other);
    /// # Ok(()) }
    /// ```
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

#[cfg(test)]
mod tests;
