//! Several writes that belong together: read, decide, and have all of it on disk or nothing.
//!
//! Owns [`Transaction`], batches of saves and deletes, and the repetition of a transaction whose reads were overtaken.
//!
//! Invariants: 1. the writes are one commit, one group of the log and of the outbox, and reach the server in order;
//! 2. each record that was read is, when the writes are carried out, as it was read; 3. observers find all of the
//! changes in one change set.

use std::collections::BTreeMap;

use landfall_actors::{WriteDone, WriteOp};
use landfall_core::{
    Base, BoundSort, Model, ModelName, Page, Predicate, Rank, Record, RecordId, RecordKey, Row,
    TypedPredicate, fill_defaults, validate,
};
use landfall_storage::{Query, Snapshot};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::model_query::ModelQuery;

/// Writes that one transaction may hold; they are one commit and are held in memory until then.
pub const TRANSACTION_WRITES_MAX: usize = 100_000;

/// How often a transaction is tried that others overtake; all but the first few times other transactions wait for it,
/// so that only plain saves can still get ahead.
pub const TRANSACTION_TRIES_MAX: usize = 64;

/// Tries beside other transactions. Most that collide get through at the next try; those that do not are let ahead.
const TRIES_BESIDE_OTHERS: usize = 4;

/// Reads and writes of one transaction; see [`DataStore::transaction`].
///
/// Reads are of one moment and see the transaction's own saves and deletes, but not yet what a delete takes along.
///
/// A save writes what its copy changes. If the copy was read before an earlier save of the same transaction, what that one
/// wrote stays, but for the fields that both change; a copy that changes nothing takes the record back to what was read.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Shelf @model { pieces: Int! } type Booking @model { shelf: ID! pieces: Int! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// let shelf = store.save(Shelf::builder().pieces(5).build()?).await?;
/// let booking = Booking::builder().shelf(&shelf.id).pieces(3).build()?;
/// let taken = store
///     .transaction(|tx| {
///         let Some(shelf) = tx.get::<Shelf>(shelf.id.as_str())? else { return Ok(false) };
///         tx.save(&Shelf::copy_of(&shelf, |shelf| shelf.pieces -= booking.pieces))?;
///         tx.save(&booking)?;
///         // It sees what it has written; nobody else does before it is over.
///         assert_eq!(tx.query(Shelf::pieces().eq(2))?.len(), 1);
///         Ok(true)
///     })
///     .await?;
/// assert!(taken);
/// assert_eq!(store.get::<Shelf>(shelf.id.as_str())?.map(|shelf| shelf.pieces), Some(2));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Transaction<'s> {
    store: &'s DataStore,
    snapshot: Snapshot,
    /// What was read, as it was.
    reads: BTreeMap<RecordKey, Base>,
    /// What records will be, as far as the transaction says it.
    staged: BTreeMap<ModelName, BTreeMap<RecordId, Option<Record>>>,
    writes: Vec<WriteOp>,
}

impl<'s> Transaction<'s> {
    fn begin(store: &'s DataStore) -> Result<Self, Error> {
        Ok(Self {
            store,
            snapshot: store.snapshot()?,
            reads: BTreeMap::new(),
            staged: BTreeMap::new(),
            writes: Vec::new(),
        })
    }

    /// The record of that identifier.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Reef").rating(4).build()?).await?;
    /// store
    ///     .transaction(|tx| match tx.get::<Post>(post.id.as_str())? {
    ///         Some(post) => tx.save(&Post::copy_of(&post, |post| post.rating = post.rating.map(|rating| rating + 1))),
    ///         None => Ok(()),
    ///     })
    ///     .await?;
    /// assert_eq!(store.count(Post::rating().eq(5))?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn get<M: Model>(&mut self, id: impl Into<RecordId>) -> Result<Option<M>, Error> {
        let record = self.get_record(RecordKey::new(M::NAME, id.into()))?;
        record.map(M::from_record).transpose().map_err(Error::from)
    }

    /// As [`get`](Self::get), for models known at run time.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn get_record(&mut self, key: RecordKey) -> Result<Option<Record>, Error> {
        if let Some(staged) = self.staged(&key).cloned() {
            if staged.is_some() {
                // What it will be depends on what it was.
                self.note_read(&key)?;
            }
            return Ok(staged);
        }
        let record = self.snapshot.get(&key.model, &key.id)?;
        let base = record.as_ref().map_or(Base::NONE, |record| record.base().clone());
        self.reads.insert(key, base);
        Ok(record)
    }

    /// The records that a query selects, as they were when the transaction began, with its own saves and deletes.
    ///
    /// Each of them counts as read. A record that another writer makes meanwhile, and that the query would have found,
    /// is not noticed; read a record that both would change if that matters.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for rating in [4, 5] { store.save(Post::builder().title("Reef").rating(rating).build()?).await?; }
    /// let raised = store
    ///     .transaction(|tx| {
    ///         let good = tx.query(Post::rating().gt(3))?;
    ///         for post in &good {
    ///             tx.save(&Post::copy_of(post, |post| post.rating = Some(9)))?;
    ///         }
    ///         Ok(good.len())
    ///     })
    ///     .await?;
    /// assert_eq!((raised, store.count(Post::rating().eq(9))?), (2, 2));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`]; [`Error::QueryAfterWrite`] for a query that follows
    /// relations to a model of which the transaction has written records.
    pub fn query<M: Model>(&mut self, query: impl Into<ModelQuery<M>>) -> Result<Vec<M>, Error> {
        let records = self.query_records(query.into().into())?;
        let models = records.into_iter().map(M::from_record);
        models.collect::<Result<_, _>>().map_err(Error::from)
    }

    /// As [`query`](Self::query), for models known at run time.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_records(&mut self, query: Query) -> Result<Vec<Record>, Error> {
        let records = match self.staged.get(&query.model) {
            _ if query.follows_relations() => {
                let models = self.snapshot.models_of(&query)?;
                if let Some(model) = models.into_iter().find(|model| self.staged.contains_key(model)) {
                    return Err(Error::QueryAfterWrite { model });
                }
                self.snapshot.query(&query)?
            }
            None => self.snapshot.query(&query)?,
            Some(staged) => over(&self.snapshot, query, staged)?,
        };
        for record in &records {
            let Some(id) = record.id() else { continue };
            let key = RecordKey::new(record.def().name.clone(), id);
            if self.staged(&key).is_some() {
                self.note_read(&key)?;
            } else {
                self.reads.insert(key, record.base().clone());
            }
        }
        Ok(records)
    }

    /// Saves a model.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::Error;
    ///
    /// let post = Post::builder().title("Reef").build()?;
    /// let given_up: Result<(), Error> = store
    ///     .transaction(|tx| {
    ///         tx.save(&post)?;
    ///         Err(Error::Closed)
    ///     })
    ///     .await;
    /// assert!(given_up.is_err());
    /// assert!(store.get::<Post>(post.id.as_str())?.is_none(), "all or nothing");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::TransactionTooLarge`]. Whether the model is valid shows when the transaction is carried out.
    pub fn save<M: Model>(&mut self, model: &M) -> Result<(), Error> {
        self.save_record(self.store.to_record(model)?, None)
    }

    /// Saves a model if the stored record satisfies the condition, which the server checks as well; if it does not,
    /// nothing of the transaction happens.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Reef").rating(4).build()?).await?;
    /// let renamed = Post::copy_of(&post, |post| post.title = "Weir".to_owned());
    /// let refused = store.transaction(|tx| tx.save_if(&renamed, Post::rating().gt(4))).await;
    /// assert!(matches!(refused, Err(landfall::Error::Refused(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_if<M: Model>(&mut self, model: &M, condition: TypedPredicate<M>) -> Result<(), Error> {
        self.save_record(self.store.to_record(model)?, Some(condition.into_predicate()))
    }

    /// As [`save_if`](Self::save_if), for models known at run time.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_record(&mut self, mut record: Record, condition: Option<Predicate>) -> Result<(), Error> {
        if let Some(id) = record.id() {
            let key = RecordKey::new(record.def().name.clone(), id);
            let mut read = self.snapshot.values_read(&record)?;
            let changes_nothing = read.as_ref().is_some_and(|read| read == record.values());
            let follows = self.staged(&key).is_some_and(Option::is_some);
            if follows && changes_nothing && self.is_as_stored(&key, &record)? {
                // It follows a save of what it was read as, and goes back to that.
                record = record.with_base(Base::NONE);
                read = None;
            }
            let staged = self.merged(&key, &record, read.as_ref())?;
            self.stage(key, Some(staged));
        }
        self.push(save_op(record, condition))
    }

    /// What a record will be after a save.
    fn merged(&self, key: &RecordKey, record: &Record, read: Option<&Row>) -> Result<Record, Error> {
        let current = match self.staged(key) {
            Some(staged) => staged.as_ref().map(|staged| staged.values().to_vec()),
            None => {
                let stored = self.snapshot.get(&key.model, &key.id)?;
                stored.map(|stored| stored.values().to_vec())
            }
        };
        let def = record.def();
        let mut values = record.values().to_vec();
        if let Some(current) = current {
            let changed = |slot: usize| read.is_none_or(|read| read[slot] != values[slot]);
            let keeps = |(slot, field): (usize, &landfall_core::FieldDef)| field.read_only || !changed(slot);
            let kept: Vec<bool> = def.stored_fields().enumerate().map(keeps).collect();
            for (slot, current) in current.into_iter().enumerate().filter(|(slot, _)| kept[*slot]) {
                values[slot] = current;
            }
        } else {
            fill_defaults(def, &mut values);
        }
        // Values take the form that they are stored in. What is wrong with them shows when they are.
        let _faults = validate(self.store.schema(), def, &mut values);
        let merged = Record::new(std::sync::Arc::clone(def), values).with_sync(record.sync());
        Ok(self.snapshot.as_read(merged)?)
    }

    fn staged(&self, key: &RecordKey) -> Option<&Option<Record>> {
        self.staged.get(&key.model)?.get(&key.id)
    }

    fn stage(&mut self, key: RecordKey, record: Option<Record>) {
        self.staged.entry(key.model).or_default().insert(key.id, record);
    }

    /// From here on the record must stay as it was stored when the transaction began.
    fn note_read(&mut self, key: &RecordKey) -> Result<(), Error> {
        if !self.reads.contains_key(key) {
            let stored = self.snapshot.get(&key.model, &key.id)?;
            let base = stored.map_or(Base::NONE, |stored| stored.base().clone());
            self.reads.insert(key.clone(), base);
        }
        Ok(())
    }

    /// Deletes a model and what belongs to it, children first.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let new = Post::builder().title("Weir").build()?;
    /// store
    ///     .transaction(|tx| {
    ///         tx.delete(&post)?;
    ///         tx.save(&new)
    ///     })
    ///     .await?;
    /// assert_eq!(store.count(Post::title().eq("Reef"))?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::TransactionTooLarge`].
    pub fn delete<M: Model>(&mut self, model: &M) -> Result<(), Error> {
        self.delete_record(model.record_key(), None)
    }

    /// Deletes a model and what belongs to it if the stored record satisfies the condition, which the server checks as
    /// well; if it does not, nothing of the transaction happens.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").rating(2).build()?).await?;
    /// let refused = store.transaction(|tx| tx.delete_if(&post, Post::rating().gt(3))).await;
    /// assert!(matches!(refused, Err(landfall::Error::Refused(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_if<M: Model>(&mut self, model: &M, condition: TypedPredicate<M>) -> Result<(), Error> {
        self.delete_record(model.record_key(), Some(condition.into_predicate()))
    }

    /// As [`delete_if`](Self::delete_if), for models known at run time.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_record(&mut self, key: RecordKey, condition: Option<Predicate>) -> Result<(), Error> {
        self.stage(key.clone(), None);
        self.push(WriteOp::Delete {
            key,
            condition,
            guard: None,
        })
    }

    /// Whether a record was read as it was stored when the transaction began; from here on it has to stay so.
    fn is_as_stored(&mut self, key: &RecordKey, record: &Record) -> Result<bool, Error> {
        if let Some(read) = self.reads.get(key) {
            // The record at hand may be an older copy than what was read.
            return Ok(read.row() == record.base().row());
        }
        let stored = self.snapshot.get(&key.model, &key.id)?;
        let stored = stored.map_or(Base::NONE, |stored| stored.base().clone());
        let same = stored.row() == record.base().row();
        if same {
            self.reads.insert(key.clone(), stored);
        }
        Ok(same)
    }

    fn push(&mut self, op: WriteOp) -> Result<(), Error> {
        if self.writes.len() >= TRANSACTION_WRITES_MAX {
            return Err(Error::TransactionTooLarge {
                max: TRANSACTION_WRITES_MAX,
            });
        }
        self.writes.push(op);
        Ok(())
    }

    /// What is to be carried out: first that nothing that was read has changed, then the writes.
    fn into_ops(self) -> Vec<WriteOp> {
        let expected = self
            .reads
            .into_iter()
            .map(|(key, row)| WriteOp::Expect { key, row });
        expected.chain(self.writes).collect()
    }
}

/// The result of a query of one model over a snapshot, where these records are otherwise.
fn over(
    snapshot: &Snapshot,
    query: Query,
    staged: &BTreeMap<RecordId, Option<Record>>,
) -> Result<Vec<Record>, Error> {
    let (offset, limit) = (query.page.offset(), query.page.limit);
    // Each of them may take the place of one that the page would show.
    let end = limit.map(|limit| offset.saturating_add(limit).saturating_add(staged.len()));
    let wide = Query {
        page: Page { limit: end, page: 0 },
        ..query
    };
    let mut found = snapshot.query(&wide)?;
    let Some(def) = snapshot.schema().model(&wide.model) else {
        return Ok(found);
    };
    let (predicate, sort) = (
        wide.predicate.bind_for_query(def)?,
        BoundSort::bind(&wide.sort, def)?,
    );
    found.retain(|record| record.id().is_none_or(|id| !staged.contains_key(&id)));
    let own = staged.values().flatten();
    found.extend(own.filter(|record| predicate.matches(record.values())).cloned());
    found.sort_by_cached_key(|record| record.id().map(|id| Rank::of(&sort, record.values(), id)));
    let page = found.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX));
    Ok(page.collect())
}

fn save_op(record: Record, condition: Option<Predicate>) -> WriteOp {
    let model = record.def().name.clone();
    let (values, seen, base) = record.into_parts();
    WriteOp::Save {
        model,
        values,
        base,
        seen,
        condition,
    }
}

impl DataStore {
    /// Reads and writes several records of any models: all writes or none, one commit, sent to the server in order.
    ///
    /// If another writer changes a record that `work` has read before the writes are carried out, `work` is called
    /// again with what is there now, so it should have no effect outside of the transaction. An error that it returns
    /// ends the transaction, and nothing is written.
    ///
    /// The server has no transactions: it gets the writes one after another, and refuses each by itself. What follows a
    /// refused one waits until the app has decided about that.
    ///
    /// ```
    /// # landfall::inline_schema!("type Account @model { owner: String! cents: Int! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let from = store.save(Account::builder().owner("Ada").cents(500).build()?).await?;
    /// # let to = store.save(Account::builder().owner("Max").cents(0).build()?).await?;
    /// store
    ///     .transaction(|tx| {
    ///         let (from, to) = (tx.get::<Account>(from.id.as_str())?, tx.get::<Account>(to.id.as_str())?);
    ///         let (Some(from), Some(to)) = (from, to) else { return Ok(()) };
    ///         tx.save(&Account::copy_of(&from, |account| account.cents -= 100))?;
    ///         tx.save(&Account::copy_of(&to, |account| account.cents += 100))
    ///     })
    ///     .await?;
    /// # assert_eq!(store.get::<Account>(to.id.as_str())?.map(|account| account.cents), Some(100));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `work` returned; [`Error::Refused`] for a record that is not valid or a condition that does not hold;
    /// [`Error::Changed`] if others were quicker [`TRANSACTION_TRIES_MAX`] times; [`Error::Storage`],
    /// [`Error::CascadeTooLarge`]. Nothing is written then.
    pub async fn transaction<R>(
        &self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut tries = 1;
        loop {
            let turns = &self.inner.turns;
            let (_beside_others, _alone);
            if tries <= TRIES_BESIDE_OTHERS {
                _beside_others = turns.read().await;
            } else {
                _alone = turns.write().await;
            }
            let mut transaction = Transaction::begin(self)?;
            let value = work(&mut transaction)?;
            if transaction.writes.is_empty() {
                // What was read is of one moment already.
                return Ok(value);
            }
            match self.records().write(transaction.into_ops()).await {
                Ok(_) => return Ok(value),
                Err(Error::Changed { .. }) if tries < TRANSACTION_TRIES_MAX => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Saves many models in one transaction; returns them as stored, in the same order. They are sent in that order as well,
    /// so that one which the server refuses holds back those after it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let posts = vec![Post::builder().title("Reef").build()?, Post::builder().title("Weir").build()?];
    /// let saved = store.save_all(posts).await?;
    /// assert_eq!(saved[1].title, "Weir");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save) for the first that cannot be saved, and [`Error::TransactionTooLarge`]; nothing is
    /// saved then.
    pub async fn save_all<M: Model>(&self, models: Vec<M>) -> Result<Vec<M>, Error> {
        let mut records = Vec::with_capacity(models.len().min(TRANSACTION_WRITES_MAX));
        for model in &models {
            records.push(self.to_record(model)?);
        }
        let saved = self.records().save_all(records).await?;
        saved
            .into_iter()
            .map(|record| M::from_record(record).map_err(Error::from))
            .collect()
    }

    /// Deletes many models and what belongs to them in one transaction; returns those that were there, as they were. They are
    /// sent in that order as well; [`delete_where`](Self::delete_where) sends each by itself.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let posts = vec![Post::builder().title("Reef").build()?, Post::builder().title("Weir").build()?];
    /// let posts = store.save_all(posts).await?;
    /// assert_eq!(store.delete_all(&posts).await?, posts);
    /// assert!(store.delete_all(&posts).await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`delete`](Self::delete), and [`Error::TransactionTooLarge`]; nothing is deleted then.
    pub async fn delete_all<M: Model>(&self, models: &[M]) -> Result<Vec<M>, Error> {
        let ops = models.iter().map(|model| WriteOp::Delete {
            key: model.record_key(),
            condition: None,
            guard: None,
        });
        let done = write_all(self, ops.collect()).await?;
        done.into_iter()
            .filter_map(|done| done.record)
            .map(|record| M::from_record(record).map_err(Error::from))
            .collect()
    }
}

impl crate::records::Records<'_> {
    /// Saves many records in one transaction; see [`DataStore::save_all`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::Model;
    ///
    /// let posts = vec![Post::builder().title("Reef").build()?.to_record()];
    /// let saved = store.records().save_all(posts).await?;
    /// assert_eq!(saved[0].get("title"), Some(&"Reef".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`DataStore::save_all`].
    pub async fn save_all(&self, records: Vec<Record>) -> Result<Vec<Record>, Error> {
        let keys: Vec<RecordKey> = records
            .iter()
            .map(|record| {
                let id = record.id().unwrap_or_else(|| RecordId::text(""));
                RecordKey::new(record.def().name.clone(), id)
            })
            .collect();
        let ops = records.into_iter().map(|record| save_op(record, None)).collect();
        let done = write_all(self.store(), ops).await?;
        done.into_iter()
            .zip(keys)
            .map(|(done, key)| done.record.ok_or(Error::NotFound { key }))
            .collect()
    }
}

async fn write_all(store: &DataStore, ops: Vec<WriteOp>) -> Result<Vec<WriteDone>, Error> {
    if ops.len() > TRANSACTION_WRITES_MAX {
        return Err(Error::TransactionTooLarge {
            max: TRANSACTION_WRITES_MAX,
        });
    }
    if ops.is_empty() {
        return Ok(Vec::new());
    }
    store.records().write(ops).await
}
