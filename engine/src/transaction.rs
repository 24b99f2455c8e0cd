//! Several writes that belong together: read, decide, and have all of it on disk or nothing.
//!
//! Owns [`Transaction`], batches of saves and deletes, and the repetition of a transaction whose reads were overtaken.
//!
//! Invariants: 1. the writes are one commit, one group of the log and of the outbox, and reach the server in order;
//! 2. each record that was read is, when the writes are carried out, as it was read; 3. observers find all of the
//! changes in one change set.

use std::collections::BTreeMap;

use landfall_actors::{WriteDone, WriteOp};
use landfall_core::{Base, Model, Predicate, Record, RecordId, RecordKey, TypedPredicate};
use landfall_storage::Snapshot;

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
#[derive(Debug)]
pub struct Transaction<'s> {
    store: &'s DataStore,
    snapshot: Snapshot,
    /// What was read, as it was.
    reads: BTreeMap<RecordKey, Base>,
    /// What records will be, as far as the transaction says it.
    staged: BTreeMap<RecordKey, Option<Record>>,
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
        if let Some(staged) = self.staged.get(&key) {
            return Ok(staged.clone());
        }
        let record = self.snapshot.get(&key.model, &key.id)?;
        let base = record.as_ref().map_or(Base::NONE, |record| record.base().clone());
        self.reads.insert(key, base);
        Ok(record)
    }

    /// The records that a query selects, as they were when the transaction began.
    ///
    /// Each of them counts as read. A record that another writer makes meanwhile, and that the query would have found,
    /// is not noticed; read a record that both would change if that matters.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`].
    pub fn query<M: Model>(&mut self, query: impl Into<ModelQuery<M>>) -> Result<Vec<M>, Error> {
        let records = self.snapshot.query(&query.into().into())?;
        records
            .into_iter()
            .map(|record| {
                if let Some(id) = record.id() {
                    self.reads
                        .insert(RecordKey::new(M::NAME, id), record.base().clone());
                }
                M::from_record(record).map_err(Error::from)
            })
            .collect()
    }

    /// Saves a model.
    ///
    /// # Errors
    /// [`Error::TransactionTooLarge`]. Whether the model is valid shows when the transaction is carried out.
    pub fn save<M: Model>(&mut self, model: &M) -> Result<(), Error> {
        self.save_record(self.store.to_record(model)?, None)
    }

    /// Saves a model if the stored record satisfies the condition, which the server checks as well; if it does not,
    /// nothing of the transaction happens.
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
            if self.staged.get(&key).is_some_and(Option::is_some) && self.is_as_stored(&key, &record)? {
                // A save writes what differs from what was read. This one follows another, and may go back to that.
                record = record.with_base(Base::NONE);
            }
            self.staged.insert(key, Some(record.clone()));
        }
        self.push(save_op(record, condition))
    }

    /// Deletes a model and what belongs to it, children first.
    ///
    /// # Errors
    /// [`Error::TransactionTooLarge`].
    pub fn delete<M: Model>(&mut self, model: &M) -> Result<(), Error> {
        self.delete_record(model.record_key(), None)
    }

    /// Deletes a model and what belongs to it if the stored record satisfies the condition, which the server checks as
    /// well; if it does not, nothing of the transaction happens.
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
        self.staged.insert(key.clone(), None);
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

    /// Saves many models in one transaction; returns them as stored, in the same order.
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

    /// Deletes many models and what belongs to them in one transaction; returns those that were there, as they were.
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
