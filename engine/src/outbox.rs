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
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// use landfall::MutationKind;
///
/// let post = store.save(Post::builder().title("Reef").build()?).await?;
/// let outbox = store.outbox();
/// assert_eq!(outbox.len()?, 1);
/// let change = &outbox.list(100)?[0];
/// assert_eq!((change.kind, change.stage.name()), (MutationKind::Create, "queued"));
/// assert_eq!(change.patch["title"], "Reef".into());
///
/// // The server has not seen it yet, so a delete leaves nothing to be told.
/// store.delete(&post).await?;
/// assert!(outbox.is_empty()?);
/// # Ok(()) }
/// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// for title in ["Reef", "Weir"] {
    ///     store.save(Post::builder().title(title).build()?).await?;
    /// }
    /// let waiting = store.outbox().list(100)?;
    /// let titles: Vec<_> = waiting.iter().map(|change| change.patch["title"].clone()).collect();
    /// assert_eq!(titles, ["Reef".into(), "Weir".into()]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], also if one of them is damaged: see [`parked`](Self::parked), which goes on without it.
    pub fn list(&self, limit: usize) -> Result<Vec<Mutation>, Error> {
        self.list_after(Seq::ZERO, limit)
    }

    /// Up to `limit` of those that were made after `after`, oldest first: the next page of a list that is long.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for title in ["Reef", "Weir", "Quay"] {
    /// #     store.save(Post::builder().title(title).build()?).await?;
    /// # }
    /// let mut page = store.outbox().list(2)?;
    /// let mut waiting = page.len();
    /// while let Some(last) = page.last() {
    ///     page = store.outbox().list_after(last.seq, 2)?;
    ///     waiting += page.len();
    /// }
    /// assert_eq!(waiting, 3);
    /// # Ok(()) }
    /// ```
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
    /// Looks through everything that waits. A change that cannot be read keeps the app from no other, and is left out; the
    /// error handler is told of it when sync starts.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod served { landfall::inline_schema!("type Post @model { title: String! }"); }
    /// # landfall::inline_schema!("type Post @model { title: String! mood: String }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (served::schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// use landfall::{HubEvent, Stage};
    ///
    /// // The server does not know `mood`.
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// let mut events = store.hub().await?;
    /// store.save(Post::builder().title("Reef").mood("calm").build()?).await?;
    /// store.start().await?;
    /// while let Some(event) = events.next().await {
    ///     if matches!(event, HubEvent::OutboxMutationFailed { .. }) { break }
    /// }
    /// for change in store.outbox().parked(100)? {
    ///     let Stage::Parked(refusal) = &change.stage else { continue };
    ///     println!("{} of {} was refused: {}", change.kind.verb(), change.key, refusal.message);
    /// #   assert_eq!(refusal.error_type.as_deref(), Some(landfall::SCHEMA_MISMATCH));
    /// }
    /// # assert_eq!(store.outbox().parked(100)?.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn parked(&self, limit: usize) -> Result<Vec<Mutation>, Error> {
        self.parked_after(Seq::ZERO, limit)
    }

    /// Up to `limit` of those that were made after `after`, oldest first: the next page of them.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut page = store.outbox().parked(100)?;
    /// while let Some(last) = page.last() {
    ///     println!("{} and more were refused", last.key);
    ///     page = store.outbox().parked_after(last.seq, 100)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn parked_after(&self, mut after: Seq, limit: usize) -> Result<Vec<Mutation>, Error> {
        let snapshot = self.store.snapshot()?;
        let mut found = Vec::new();
        while found.len() < limit {
            let page = snapshot.pending_each(after, LOOK_AT)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let readable = page.into_iter().filter_map(|(_, read)| read.ok());
            let parked =
                readable.filter(|mutation| matches!(mutation.stage, landfall_core::Stage::Parked(_)));
            found.extend(parked.take(limit - found.len()));
        }
        Ok(found)
    }

    /// Waits until nothing waits for the server any more, for as long as it takes.
    ///
    /// A parked change waits for the app, so with one of them this does not return.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// store.start().await?;
    /// store.outbox().drained().await?;
    /// assert!(store.outbox().is_empty()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn drained(&self) -> Result<(), Error> {
        self.wait_for_empty(None).await?;
        Ok(())
    }

    /// As [`drained`](Self::drained), for so long at most. Returns whether nothing waits any more.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use std::time::Duration;
    ///
    /// assert!(store.outbox().drained_within(Duration::ZERO).await?);
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert!(!store.outbox().drained_within(Duration::from_millis(20)).await?, "there is no server");
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut waiting = store.outbox().watch().await?;
    /// assert_eq!(waiting.next(100).await.ok_or("the store was closed")??.len(), 0);
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(waiting.next(100).await.ok_or("the store was closed")??.len(), 1);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod served { landfall::inline_schema!("type Post @model { title: String! }"); }
    /// # landfall::inline_schema!("type Post @model { title: String! mood: String }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (served::schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// # let mut events = store.hub().await?;
    /// # let post = store.save(Post::builder().title("Reef").mood("calm").build()?).await?;
    /// # store.start().await?;
    /// # while !matches!(events.next().await, Some(landfall::HubEvent::OutboxMutationFailed { .. })) {}
    /// # store.stop().await?;
    /// for refused in store.outbox().parked(100)? {
    ///     store.outbox().retry(refused.seq).await?;
    /// }
    /// assert_eq!(store.outbox().parked(100)?.len(), 0);
    /// # assert_eq!(store.outbox().len()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotParked`], [`Error::Storage`], [`Error::Closed`].
    pub async fn retry(&self, mutation: Seq) -> Result<(), Error> {
        let storage = &self.store.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::RetryParked { mutation, reply })
            .await??)
    }

    /// Sends every change again that is refused now, however many they are; those that the server refuses meanwhile are left
    /// as they are. Returns how many.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(store.outbox().retry_all().await?, 0, "it waits, but nobody refused it");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Closed`]; those before it are sent again.
    pub async fn retry_all(&self) -> Result<u64, Error> {
        self.decide_all(Verdict::Retry, LOOK_AT).await
    }

    /// Changes the fields that a refused change sets, and sends it again: those given take the place of all that it
    /// set before, so begin with its [`patch`](Mutation::patch). The record shows them at once.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod served { landfall::inline_schema!("enum Mood { CALM } type Post @model { title: String! mood: Mood }"); }
    /// # landfall::inline_schema!("enum Mood { CALM STORMY } type Post @model { title: String! mood: Mood }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (served::schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// # let mut events = store.hub().await?;
    /// # let post = store.save(Post::builder().title("Reef").mood(Mood::Stormy).build()?).await?;
    /// # store.start().await?;
    /// # while !matches!(events.next().await, Some(landfall::HubEvent::OutboxMutationFailed { .. })) {}
    /// // The server does not know the mood `STORMY`.
    /// for refused in store.outbox().parked(100)? {
    ///     let mut fields = refused.patch;
    ///     fields.insert("mood".into(), "CALM".into());
    ///     store.outbox().edit(refused.seq, fields).await?;
    /// }
    /// store.outbox().drained().await?;
    /// assert_eq!(store.count(Post::mood().eq(Mood::Calm))?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotParked`]; [`Error::MayBeApplied`] if nobody knows whether the server has applied it;
    /// [`Error::Refused`] if the change is a delete or the record would not fit its model;
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod served { landfall::inline_schema!("type Post @model { title: String! }"); }
    /// # landfall::inline_schema!("type Post @model { title: String! mood: String }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (served::schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// # let mut events = store.hub().await?;
    /// # let post = store.save(Post::builder().title("Reef").mood("calm").build()?).await?;
    /// # store.start().await?;
    /// # while !matches!(events.next().await, Some(landfall::HubEvent::OutboxMutationFailed { .. })) {}
    /// for refused in store.outbox().parked(100)? {
    ///     store.outbox().discard(refused.seq).await?;
    /// }
    /// // The post was never made at the server, so now it is gone.
    /// assert!(store.get::<Post>(post.id.as_str())?.is_none());
    /// assert!(store.outbox().is_empty()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotParked`], [`Error::Storage`], [`Error::Closed`].
    pub async fn discard(&self, mutation: Seq) -> Result<(), Error> {
        let storage = &self.store.inner.handles.storage;
        Ok(storage
            .ask(|reply| StorageMessage::DiscardParked { mutation, reply })
            .await??)
    }

    /// Gives every change up that is refused now, however many they are. Returns how many.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(store.outbox().discard_all().await?, 0);
    /// assert_eq!(store.outbox().len()?, 1, "what was not refused still waits");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Closed`]; those before it are given up.
    pub async fn discard_all(&self) -> Result<u64, Error> {
        self.decide_all(Verdict::Discard, LOOK_AT).await
    }

    /// Decides about each change that is parked now, so many in memory at a time.
    async fn decide_all(&self, verdict: Verdict, page_len: usize) -> Result<u64, Error> {
        // What the server refuses from here on, be it again, is for the next call.
        let (_, newest) = self.store.snapshot()?.log_bounds()?;
        let (mut decided, mut after) = (0, Seq::ZERO);
        loop {
            let page = self.parked_after(after, page_len)?;
            let Some(last) = page.last() else {
                return Ok(decided);
            };
            after = last.seq;
            for mutation in page {
                if mutation.seq > newest {
                    return Ok(decided);
                }
                let answer = match verdict {
                    Verdict::Retry => self.retry(mutation.seq).await,
                    Verdict::Discard => self.discard(mutation.seq).await,
                };
                match answer {
                    Ok(()) => decided += 1,
                    // Somebody else was faster.
                    Err(Error::NotParked { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// What is decided about a refused change.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Retry,
    Discard,
}

/// What waits for the server, again after each change; see [`OutboxView::watch`].
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

#[cfg(test)]
mod tests;
