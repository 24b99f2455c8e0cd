//! Computed fields: what an app declares of them, and reads of them.
//!
//! Owns the builder's part and [`DataStore::computed`]. What a computed field is to predicates and sort keys is
//! `landfall-core`'s.

use std::sync::Arc;

use landfall_core::{
    Base, Computable, Compute, Field, FieldName, Model, ModelName, Record, Scalar, Schema, Value, take_value,
};

use crate::builder::DataStoreBuilder;
use crate::datastore::DataStore;
use crate::error::Error;
use crate::records::Records;

/// A computed field as the builder keeps it.
pub(crate) struct Computed {
    model: ModelName,
    field: FieldName,
    scalar: Scalar,
    compute: Compute,
}

impl Computed {
    /// The schema with the field.
    pub(crate) fn added_to(self, schema: &Schema) -> Result<Schema, Error> {
        Ok(schema.with_computed(&self.model, &self.field, self.scalar, self.compute)?)
    }
}

impl DataStoreBuilder {
    /// Declares a field that is computed from a record whenever it is asked for. Predicates and sort keys of queries,
    /// observers and relations take it like any other; [`DataStore::computed`] reads it.
    ///
    /// It is neither stored nor sent, so it may be another one each time the store is opened. No index helps with it: it is
    /// computed for each record that the rest of the predicate leaves. Conditions of writes, sync expressions and
    /// [`delete_where`](DataStore::delete_where) refuse it, since the server does not have it; so do groups and measures of
    /// aggregates.
    ///
    /// The function sees the stored fields, none of what the server keeps of the record, and has to yield the same for the
    /// same fields. Should it panic, the field is null.
    ///
    /// ```
    /// # landfall::inline_schema!("type Note @model { title: String! body: String }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landfall::{DataStore, Field, ModelQuery};
    ///
    /// const WORDS: Field<Note, i32> = Field::new("words");
    ///
    /// let store = DataStore::builder(schema())
    ///     .computed(WORDS, |note| {
    ///         let body = note.body.as_deref().unwrap_or_default();
    ///         i32::try_from(body.split_whitespace().count()).unwrap_or(i32::MAX)
    ///     })
    ///     .open()
    ///     .await?;
    /// let note = store.save(Note::builder().title("Reef").body("low tide at six").build()?).await?;
    /// store.save(Note::builder().title("Weir").build()?).await?;
    /// assert_eq!(store.computed(&note, WORDS)?, 4);
    /// let long = store.query(ModelQuery::all().filter(WORDS.gt(3)).sort(WORDS.desc()))?;
    /// assert_eq!(long, [note]);
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn computed<M: Model, T: Computable>(
        mut self,
        field: Field<M, T>,
        compute: impl Fn(&M) -> T + Send + Sync + 'static,
    ) -> Self {
        self.computed.push(Computed {
            model: M::NAME.into(),
            field: field.name().into(),
            scalar: T::SCALAR,
            compute: Arc::new(move |values| match M::from_parts(values, None, Base::NONE) {
                Ok(record) => compute(&record).to_value(),
                // As of a row that the Rust type does not fit: a read of it says so.
                Err(_) => Value::Null,
            }),
        });
        self
    }

    /// As [`computed`](Self::computed), for a model known at run time. A value that is not of the scalar counts as null.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Note @model { title: String! }");
    /// use landfall::{DataStore, Model, Scalar, Value};
    ///
    /// let store = DataStore::builder(schema())
    ///     .computed_named("Note", "length", Scalar::Int, |note| match note.get("title") {
    ///         Some(Value::String(title)) => Value::from(title.len() as i64),
    ///         _ => Value::Null,
    ///     })
    ///     .open()
    ///     .await?;
    /// let note = store.save(Note::builder().title("Reef").build()?).await?;
    /// assert_eq!(store.records().computed(&note.to_record(), "length")?, 4.into());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn computed_named(
        mut self,
        model: impl Into<ModelName>,
        field: impl Into<FieldName>,
        scalar: Scalar,
        compute: impl Fn(&Record) -> Value + Send + Sync + 'static,
    ) -> Self {
        let model = model.into();
        let def = self.schema.model(&model).cloned();
        self.computed.push(Computed {
            model,
            field: field.into(),
            scalar,
            compute: Arc::new(move |values| match &def {
                Some(def) => compute(&Record::new(Arc::clone(def), values)),
                // The store is not opened with a field of a model that it has not.
                None => Value::Null,
            }),
        });
        self
    }
}

impl DataStore {
    /// A [computed field](DataStoreBuilder::computed) of a record, which need not be saved.
    ///
    /// # Errors
    /// [`Error::BadPredicate`] if the store was opened without such a field, [`Error::Decode`] if its function yielded
    /// nothing of the type.
    pub fn computed<M: Model, T: Computable>(&self, record: &M, field: Field<M, T>) -> Result<T, Error> {
        let value = self.records().computed(&record.to_record(), field.name())?;
        Ok(take_value(&mut vec![value].into_iter(), M::NAME, field.name())?)
    }
}

impl Records<'_> {
    /// A [computed field](DataStoreBuilder::computed_named) of a record, which need not be saved.
    ///
    /// # Errors
    /// [`Error::BadPredicate`] if the store was opened without such a field.
    pub fn computed(&self, record: &Record, field: &str) -> Result<Value, Error> {
        let def = self.def(&record.def().name)?;
        Ok(def.require_computed(&field.into())?.value(record.values()))
    }
}
