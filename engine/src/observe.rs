//! Streams of changes, and queries whose result is kept up to date.
//!
//! Owns [`Observer`] and [`QueryObserver`]. Both join a snapshot and the changes after it without a gap: they listen
//! first, then read, and skip changes that the snapshot already holds, by sequence number.
//!
//! A stream ends when the store is cleared or closed, and only then. Only commits that change a model of interest wait for
//! its reader. One that reads so seldom that more than `OBSERVER_BACKLOG_MAX` of them wait falls behind: an [`Observer`] says
//! so with [`Error::FellBehind`] and goes on, a [`QueryObserver`] runs its query again. The same where the store could not be
//! read for what has come: nobody is left with an old result and without a word.

mod items;
mod window;

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::mpsc;

use landfall_actors::{ChangeSet, HubMessage, Observed, StorageMessage, Synced};
use landfall_core::{BoundPredicate, Model, ModelDef, Origin, Predicate, Record, RecordId, Seq};
use landfall_storage::{ChangeKind, Query, Reader, VisibleChange};

use crate::datastore::DataStore;
use crate::error::Error;
use items::Items;

/// A change of a record that an observer hears of.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// use landfall::{ChangeKind, Origin};
///
/// let mut changes = store.observe(landfall::TypedPredicate::<Post>::all()).await?;
/// let post = store.save(Post::builder().title("Reef").build()?).await?;
/// let change = changes.next().await.ok_or("the store was closed")??;
/// assert_eq!((change.kind, change.origin), (ChangeKind::Insert, Origin::App));
/// assert_eq!(change.element, post);
/// assert_eq!(store.history()?.entry(change.seq)?.seq, change.seq);
/// # Ok(()) }
/// ```
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

/// The result of an observed query at one time; see [`QueryObserver::next`].
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

/// What became of the page of an observed query.
///
/// Whoever keeps a copy of the page takes out what was removed, then puts each placed record, in this order and from wherever it
/// was in the copy, behind the one that is named. See [`QueryObserver::next_changes`].
#[derive(Clone, Debug)]
pub struct QueryChanges<T> {
    /// Records that came onto the page, changed or moved, in the order of the query.
    pub placed: Vec<Placed<T>>,
    /// Records that are on the page no longer.
    pub removed: Vec<RecordId>,
    /// How many records satisfy the predicate, whatever the page.
    pub total: usize,
    /// As of [`QuerySnapshot`].
    pub is_synced: bool,
}

/// A record and its place on the page of an observed query; see [`QueryObserver::next_changes`].
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The record before it; `None` if it is the first.
    pub after: Option<RecordId>,
    /// The record.
    pub element: T,
}

/// How records become what the caller asked for.
type Convert<T> = fn(Record) -> Result<T, Error>;

/// The changes of one model.
///
/// It ends when the store is cleared or closed. If 1,024 commits with changes of the model wait to be read, those that follow
/// are left out until the reader is told by one [`Error::FellBehind`]; then it goes on. Whoever keeps a copy of the records
/// reads them again on that error: every change that was left out is there, and every later one is told (some
/// of these may be in what was read as well). A predicate that follows relations is looked up in the store for each set of
/// changes; where that fails, the reader is told why, then by [`Error::FellBehind`] that the set was left out.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// # let posts = store.clone();
/// use landfall::{Error, TypedPredicate};
///
/// let mut changes = store.observe(TypedPredicate::<Post>::all()).await?;
/// # posts.save(Post::builder().title("Reef").build()?).await?;
/// # posts.close().await;
/// # let mut heard = 0;
/// while let Some(change) = changes.next().await {
///     match change {
///         Ok(change) => println!("{:?} {}", change.kind, change.element.title),
///         // Too much came at once: whoever keeps a copy reads it again, then goes on.
///         Err(Error::FellBehind { .. }) => drop(store.query(TypedPredicate::<Post>::all())?),
///         Err(error) => return Err(error.into()),
///     }
/// #   heard += 1;
/// }
/// # assert_eq!(heard, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Observer<T> {
    receiver: mpsc::Receiver<Observed>,
    def: Arc<ModelDef>,
    predicate: Test,
    /// Changes of the set being handed out, newest last.
    waiting: std::collections::VecDeque<VisibleChange>,
    /// Whether a set was left out, since the store could not be read for it, and the reader was not told so yet.
    is_behind: bool,
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
            Test::Alone(predicate.bind_for_query(&def)?)
        };
        let receiver = store
            .inner
            .handles
            .storage
            .ask(|reply| StorageMessage::Observe {
                models: vec![def.name.clone()],
                reply,
            })
            .await?;
        Ok(Self {
            receiver,
            def,
            predicate,
            waiting: std::collections::VecDeque::new(),
            is_behind: false,
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
            if let Some(behind) = self.take_behind() {
                return Some(Err(behind));
            }
            let message = self.receiver.recv().await?;
            if let Err(error) = self.take(&message) {
                return Some(Err(error));
            }
        }
    }

    /// Waits for the next changes that were made together; `None` once the stream has ended.
    ///
    /// What one transaction changed is never split. What others wrote in the same commit is there as well.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut changes = store.observe(landfall::TypedPredicate::<Post>::all()).await?;
    /// store.save_all(vec![Post::builder().title("Reef").build()?, Post::builder().title("Weir").build()?]).await?;
    /// assert_eq!(changes.next_set().await.ok_or("the store was closed")??.len(), 2);
    /// # Ok(()) }
    /// ```
    pub async fn next_set(&mut self) -> Option<Result<Vec<Change<T>>, Error>> {
        while self.waiting.is_empty() {
            if let Some(behind) = self.take_behind() {
                return Some(Err(behind));
            }
            let message = self.receiver.recv().await?;
            if let Err(error) = self.take(&message) {
                return Some(Err(error));
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        Some(waiting.into_iter().map(|change| self.change(change)).collect())
    }

    /// The next change, if there is one already. `None` does not tell whether there will be one; see
    /// [`has_ended`](Self::has_ended).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut changes = store.observe(landfall::TypedPredicate::<Post>::all()).await?;
    /// assert!(changes.try_next().is_none());
    /// # Ok(()) }
    /// ```
    pub fn try_next(&mut self) -> Option<Result<Change<T>, Error>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(self.change(change));
            }
            if let Some(behind) = self.take_behind() {
                return Some(Err(behind));
            }
            let message = self.receiver.try_recv().ok()?;
            if let Err(error) = self.take(&message) {
                return Some(Err(error));
            }
        }
    }

    /// Whether nothing will come any more, since the store was cleared or closed.
    pub fn has_ended(&self) -> bool {
        self.waiting.is_empty() && !self.is_behind && self.receiver.is_empty() && self.receiver.is_closed()
    }

    /// Says once that something was left out.
    fn take_behind(&mut self) -> Option<Error> {
        std::mem::take(&mut self.is_behind).then(|| Error::FellBehind {
            model: self.def.name.clone(),
        })
    }

    fn take(&mut self, message: &Observed) -> Result<(), Error> {
        let set = match message {
            Observed::Changes(set) => set,
            Observed::FellBehind => {
                self.is_behind = true;
                return Ok(());
            }
        };
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
            let looked_up = reader
                .snapshot()
                .and_then(|snapshot| snapshot.selects(&self.def.name, predicate, &records));
            let mut selected = match looked_up {
                Ok(selected) => selected.into_iter(),
                Err(error) => {
                    // Whether the set is of interest will not be asked again.
                    self.is_behind = true;
                    return Err(error.into());
                }
            };
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
///
/// It ends when the store is cleared or closed. However seldom it is asked, it answers with what there is: if 1,024 commits
/// with changes of its models wait, it runs its query again instead of following them. A result that could not be read is an
/// error, and is read again by the next call, which does not wait for another change.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// use landfall::ModelQuery;
///
/// let best = ModelQuery::all().sort(Post::rating().desc()).limit(1);
/// let mut best = store.observe_query(best).await?;
/// assert_eq!(best.next().await.ok_or("the store was closed")??.total, 0);
/// for rating in [4, 5, 3] {
///     store.save(Post::builder().title("Reef").rating(rating).build()?).await?;
/// }
/// // However much has happened since then, it answers with what there is.
/// let page = best.next().await.ok_or("the store was closed")??;
/// assert_eq!((page.items[0].rating, page.total), (Some(5), 3));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct QueryObserver<T> {
    changes: mpsc::Receiver<Observed>,
    synced: Synced,
    def: Arc<ModelDef>,
    query: Query,
    reader: Reader,
    items: Items,
    /// Changes up to here are in the result already.
    seen: Seq,
    is_synced: bool,
    /// Whether changes were left out, so that the query has to be run again.
    is_behind: bool,
    /// Whether a result could not be read, so that the next call reads it again instead of waiting.
    is_owed: bool,
    /// Whether the first result is still to be handed out.
    fresh: bool,
    /// The page as it was when its changes were last handed out.
    told: BTreeSet<RecordId>,
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
        let models = store.snapshot()?.models_of(&query)?;
        let changes = store
            .inner
            .handles
            .storage
            .ask(|reply| StorageMessage::Observe { models, reply })
            .await?;
        let reader = store.inner.handles.reader.clone();
        let (items, seen) = run(&def, &query, &reader)?;
        let synced = listening.synced;
        let is_synced = synced.contains(&def.name);
        Ok(Self {
            changes,
            synced,
            def,
            query,
            reader,
            items,
            seen,
            is_synced,
            is_behind: false,
            is_owed: false,
            fresh: true,
            told: BTreeSet::new(),
            convert,
        })
    }

    /// The result as it is at first, then waits for each next one; `None` once the stream has ended.
    ///
    /// Every record of the page is copied each time; [`next_changes`](Self::next_changes) copies those that are news.
    pub async fn next(&mut self) -> Option<Result<QuerySnapshot<T>, Error>> {
        self.advance().await?;
        Some(self.snapshot())
    }

    /// As [`next`](Self::next), but copies only what became of the page since this was last called, all of it at first: a
    /// change of one record costs the same however large the page is.
    ///
    /// A query that follows relations is run again, and so is one whose reader fell behind, whose page lost more than was kept
    /// beside it, or of which more than 4,096 records changed at once; then every record of the page is placed anew.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// use landfall::{DataStore, Model, ModelQuery, RecordId};
    ///
    /// let store = DataStore::builder(schema()).open().await?;
    /// let mut posts = store.observe_query(ModelQuery::<Post>::all().sort(Post::title().asc())).await?;
    /// let mut shown: Vec<Post> = Vec::new();
    /// let place = |shown: &[Post], id: &RecordId| shown.iter().position(|post| post.record_id() == *id);
    ///
    /// # for title in ["c", "a", "b"] {
    /// # store.save(Post::builder().title(title).build()?).await?;
    /// // In a loop, for as long as the page is shown:
    /// let changes = posts.next_changes().await.ok_or("the store was closed")??;
    /// for id in &changes.removed {
    ///     place(&shown, id).map(|at| shown.remove(at));
    /// }
    /// for placed in changes.placed {
    ///     place(&shown, &placed.element.record_id()).map(|at| shown.remove(at));
    ///     let before = placed.after.and_then(|id| place(&shown, &id));
    ///     shown.insert(before.map_or(0, |at| at + 1), placed.element);
    /// }
    /// # }
    /// # let titles: Vec<&str> = shown.iter().map(|post| post.title.as_str()).collect();
    /// # assert_eq!(titles, ["a", "b", "c"]);
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    pub async fn next_changes(&mut self) -> Option<Result<QueryChanges<T>, Error>> {
        self.advance().await?;
        Some(self.page_changes())
    }

    /// As [`next`](Self::next), but hands out only how many records there are, which costs nothing: for those who show
    /// a count, and for those who look at the result only now and then.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut posts = store.observe_query(landfall::ModelQuery::<Post>::all()).await?;
    /// assert_eq!(posts.next_total().await.ok_or("the store was closed")??, 0);
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(posts.next_total().await.ok_or("the store was closed")??, 1);
    /// # Ok(()) }
    /// ```
    pub async fn next_total(&mut self) -> Option<Result<usize, Error>> {
        self.advance().await?;
        Some(self.refresh(false).map(|()| self.items.total()))
    }

    /// Waits until there is something new; `None` once the stream has ended.
    async fn advance(&mut self) -> Option<()> {
        if std::mem::take(&mut self.fresh) {
            return Some(());
        }
        if self.is_owed && !self.changes.is_closed() {
            // A caller who asks again and again while the disk fails leaves the thread to others in between.
            tokio::task::yield_now().await;
            self.catch_up();
            return Some(());
        }
        loop {
            let changed = tokio::select! {
                biased;
                message = self.changes.recv() => self.apply(&message?),
                goes_on = self.synced.changed() => goes_on.then(|| self.hear())?,
            };
            // What has come meanwhile belongs to the same result.
            if self.catch_up() || changed {
                return Some(());
            }
        }
    }

    /// The next result, if there is one already. `None` does not tell whether there will be one; see
    /// [`has_ended`](Self::has_ended).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let mut posts = store.observe_query(landfall::ModelQuery::<Post>::all()).await?;
    /// assert_eq!(posts.try_next().ok_or("the first result is there at once")??.total, 0);
    /// assert!(posts.try_next().is_none());
    /// # Ok(()) }
    /// ```
    pub fn try_next(&mut self) -> Option<Result<QuerySnapshot<T>, Error>> {
        let fresh = std::mem::take(&mut self.fresh);
        (self.catch_up() || fresh).then(|| self.snapshot())
    }

    /// Whether nothing will come any more, since the store was cleared or closed.
    pub fn has_ended(&self) -> bool {
        !self.fresh && self.changes.is_empty() && self.changes.is_closed()
    }

    fn page_changes(&mut self) -> Result<QueryChanges<T>, Error> {
        self.refresh(true)?;
        let touched = self.items.take_touched();
        let places = self.items.places_of(touched.as_ref());
        let place = |(after, record): (Option<RecordId>, &Record)| {
            let id = record.id();
            let element = (self.convert)(record.clone())?;
            Ok((id, Placed { after, element }))
        };
        let placed: Vec<_> = match places.into_iter().map(place).collect() {
            Ok(placed) => placed,
            Err(error) => {
                // What was not handed out is news still.
                self.items.touch_all();
                return Err(error);
            }
        };
        let removed: Vec<RecordId> = match &touched {
            Some(touched) => {
                let is_gone = |id: &&RecordId| self.told.contains(*id) && !self.items.shows(id);
                touched.iter().filter(is_gone).cloned().collect()
            }
            None => {
                let now: BTreeSet<RecordId> = self.items.page().filter_map(Record::id).collect();
                self.told.difference(&now).cloned().collect()
            }
        };
        for id in &removed {
            self.told.remove(id);
        }
        let (ids, placed): (Vec<Option<RecordId>>, Vec<Placed<T>>) = placed.into_iter().unzip();
        self.told.extend(ids.into_iter().flatten());
        Ok(QueryChanges {
            placed,
            removed,
            total: self.items.total(),
            is_synced: self.is_synced,
        })
    }

    fn catch_up(&mut self) -> bool {
        // A query that could not be run again is tried again.
        let mut changed = (self.is_behind || self.is_owed) && !self.changes.is_closed();
        while let Ok(message) = self.changes.try_recv() {
            changed |= self.apply(&message);
        }
        changed | self.hear()
    }

    fn apply(&mut self, message: &Observed) -> bool {
        match message {
            Observed::Changes(set) => self.apply_set(set),
            Observed::FellBehind => {
                self.is_behind = true;
                true
            }
        }
    }

    fn apply_set(&mut self, set: &ChangeSet) -> bool {
        let mut changed = false;
        for change in set.iter().filter(|change| change.seq > self.seen) {
            changed |= self.items.apply(change);
        }
        changed
    }

    /// Makes sure that the items are those of after the last change; of a page that is not wanted only their number.
    fn refresh(&mut self, page_is_wanted: bool) -> Result<(), Error> {
        self.is_owed = true;
        if self.is_behind || (page_is_wanted && self.items.is_incomplete()) {
            (self.items, self.seen) = run(&self.def, &self.query, &self.reader)?;
            self.is_behind = false;
        }
        self.items.refresh()?;
        self.is_owed = false;
        Ok(())
    }

    fn hear(&mut self) -> bool {
        let is_synced = self.synced.contains(&self.def.name);
        std::mem::replace(&mut self.is_synced, is_synced) != is_synced
    }

    fn snapshot(&mut self) -> Result<QuerySnapshot<T>, Error> {
        self.refresh(true)?;
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

/// The result of a query as it is now, and the newest entry that is in it.
fn run(def: &Arc<ModelDef>, query: &Query, reader: &Reader) -> Result<(Items, Seq), Error> {
    let snapshot = reader.snapshot()?;
    let (_, seen) = snapshot.log_bounds()?;
    Ok((Items::new(def, query.clone(), &snapshot, reader)?, seen))
}
