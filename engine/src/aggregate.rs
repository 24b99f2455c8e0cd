//! Counts, sums, extremes and averages of fields, with the types of the fields.
//!
//! Owns [`Aggregate`] and [`Grouped`]. The rules are SQL's: missing values take no part, and what is computed of
//! nothing is `None` (a count is 0). Nothing is decoded but the result.

use std::marker::PhantomData;

use landfall_core::{
    Comparable, DecodeError, Field, FieldName, FieldValue, Model, Numeric, Predicate, TypedPredicate, Value,
};
use landfall_storage::{Group, Measure, Snapshot};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::model_query::ModelQuery;

/// Aggregates of the records that a predicate selects, all of one moment; see [`DataStore::aggregate`].
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Reading @model { site: String! celsius: Float }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// # for (site, celsius) in [("reef", Some(14.5)), ("reef", Some(15.5)), ("bay", None)] {
/// #     store.save(Reading::builder().site(site).celsius(celsius).build()?).await?;
/// # }
/// let readings = store.aggregate(landfall::TypedPredicate::<Reading>::all())?;
/// assert_eq!(readings.count()?, 3);
/// assert_eq!(readings.min(Reading::celsius())?, Some(14.5));
/// assert_eq!(readings.max(Reading::celsius())?, Some(15.5));
/// assert_eq!(readings.sum(Reading::celsius())?, Some(30.0));
/// assert_eq!(readings.avg(Reading::celsius())?, Some(15.0), "what is missing takes no part");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Aggregate<M> {
    snapshot: Snapshot,
    predicate: Predicate,
    marker: PhantomData<fn() -> M>,
}

/// Aggregates of groups of records that have the same value in a field, in the order of these values.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Reading @model { site: String! celsius: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// # for (site, celsius) in [("reef", 14), ("reef", 16), ("bay", 17)] {
/// #     store.save(Reading::builder().site(site).celsius(celsius).build()?).await?;
/// # }
/// let readings = store.aggregate(landfall::TypedPredicate::<Reading>::all())?;
/// let by_site = readings.group_by(Reading::site());
/// let (bay, reef) = (|| "bay".to_owned(), || "reef".to_owned());
/// assert_eq!(by_site.count()?, [(bay(), 1), (reef(), 2)]);
/// assert_eq!(by_site.sum(Reading::celsius())?, [(bay(), Some(17)), (reef(), Some(30))]);
/// assert_eq!(by_site.max(Reading::celsius())?, [(bay(), Some(17)), (reef(), Some(16))]);
/// assert_eq!(by_site.min(Reading::celsius())?, [(bay(), Some(17)), (reef(), Some(14))]);
/// assert_eq!(by_site.avg(Reading::celsius())?, [(bay(), Some(17.0)), (reef(), Some(15.0))]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Grouped<'a, M, G> {
    of: &'a Aggregate<M>,
    field: Field<M, G>,
}

impl DataStore {
    /// Aggregates of the records that a predicate selects.
    ///
    /// ```
    /// # landfall::inline_schema!("type Reading @model { site: String! celsius: Float }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for (site, celsius) in [("reef", 14.5), ("reef", 15.5), ("bay", 17.0)] {
    /// #     store.save(Reading::builder().site(site).celsius(celsius).build()?).await?;
    /// # }
    /// use landfall::TypedPredicate;
    ///
    /// let readings = store.aggregate(TypedPredicate::<Reading>::all())?;
    /// assert_eq!(readings.count()?, 3);
    /// assert_eq!(readings.max(Reading::celsius())?, Some(17.0));
    /// let by_site = readings.group_by(Reading::site()).avg(Reading::celsius())?;
    /// assert_eq!(by_site, [("bay".to_owned(), Some(17.0)), ("reef".to_owned(), Some(15.0))]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn aggregate<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<Aggregate<M>, Error> {
        Ok(Aggregate {
            snapshot: self.snapshot()?,
            predicate: predicate.into_predicate(),
            marker: PhantomData,
        })
    }

    /// Whether there is a record that the predicate selects; stops at the first.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    /// assert!(store.exists(Post::rating().gt(3))?);
    /// assert!(!store.exists(Post::rating().gt(5))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn exists<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<bool, Error> {
        Ok(self.snapshot()?.exists(M::NAME, &predicate.into_predicate())?)
    }

    /// The first record of a query, in its order.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for (title, rating) in [("Reef", 5), ("Weir", 4)] {
    /// #     store.save(Post::builder().title(title).rating(rating).build()?).await?;
    /// # }
    /// use landfall::ModelQuery;
    ///
    /// let best = store.first(ModelQuery::all().sort(Post::rating().desc()))?;
    /// assert_eq!(best.map(|post| post.title), Some("Reef".to_owned()));
    /// assert_eq!(store.first(Post::rating().gt(5))?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`].
    pub fn first<M: Model>(&self, query: impl Into<ModelQuery<M>>) -> Result<Option<M>, Error> {
        Ok(self.query(query.into().limit(1))?.into_iter().next())
    }
}

impl<M: Model> Aggregate<M> {
    /// Number of records.
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.snapshot.count(M::NAME, &self.predicate)?)
    }

    /// Smallest value of a field.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn min<T: FieldValue<Base: Comparable>>(&self, field: Field<M, T>) -> Result<Option<T::Base>, Error> {
        self.one(Measure::Min(field.name().into()))
    }

    /// Largest value of a field.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn max<T: FieldValue<Base: Comparable>>(&self, field: Field<M, T>) -> Result<Option<T::Base>, Error> {
        self.one(Measure::Max(field.name().into()))
    }

    /// Sum of a field; of whole numbers one of 64 bits.
    ///
    /// # Errors
    /// As [`count`](Self::count), and [`Error::Decode`] for a sum of whole numbers that exceeds 64 bits.
    pub fn sum<T>(&self, field: Field<M, T>) -> Result<Option<<T::Base as Numeric>::Sum>, Error>
    where
        T: FieldValue<Base: Numeric>,
    {
        self.one(Measure::Sum(field.name().into()))
    }

    /// Average of a field.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn avg<T: FieldValue<Base: Numeric>>(&self, field: Field<M, T>) -> Result<Option<f64>, Error> {
        self.one(Measure::Avg(field.name().into()))
    }

    /// The same for each group of records that have the same value in a field.
    pub fn group_by<G: FieldValue>(&self, field: Field<M, G>) -> Grouped<'_, M, G> {
        Grouped { of: self, field }
    }

    fn one<T: FieldValue>(&self, measure: Measure) -> Result<Option<T>, Error> {
        let groups = self.groups(None, measure)?;
        let value = groups
            .into_iter()
            .next()
            .and_then(|group| group.values.into_iter().next());
        decoded::<M, Option<T>>(value.unwrap_or_default())
    }

    fn groups(&self, group_by: Option<&FieldName>, measure: Measure) -> Result<Vec<Group>, Error> {
        Ok(self
            .snapshot
            .aggregate(M::NAME, &self.predicate, group_by, &[measure])?)
    }
}

impl<M: Model, G: FieldValue> Grouped<'_, M, G> {
    /// Number of records of each group.
    ///
    /// # Errors
    /// As [`Aggregate::count`], and [`Error::BadPredicate`] for a field that has no order to group by, such as a list.
    pub fn count(&self) -> Result<Vec<(G, u64)>, Error> {
        let counted = self.each::<i64>(Measure::Count)?;
        let counts = counted
            .into_iter()
            .map(|(key, count)| (key, count.unwrap_or(0).unsigned_abs()));
        Ok(counts.collect())
    }

    /// Smallest value of a field in each group.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn min<T>(&self, field: Field<M, T>) -> Result<Vec<(G, Option<T::Base>)>, Error>
    where
        T: FieldValue<Base: Comparable>,
    {
        self.each(Measure::Min(field.name().into()))
    }

    /// Largest value of a field in each group.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn max<T>(&self, field: Field<M, T>) -> Result<Vec<(G, Option<T::Base>)>, Error>
    where
        T: FieldValue<Base: Comparable>,
    {
        self.each(Measure::Max(field.name().into()))
    }

    /// Sum of a field in each group.
    ///
    /// # Errors
    /// As [`Aggregate::sum`] and [`count`](Self::count).
    #[allow(clippy::type_complexity)] // The sum of the base type of the field, for each group: there is no shorter way.
    pub fn sum<T>(&self, field: Field<M, T>) -> Result<Vec<(G, Option<<T::Base as Numeric>::Sum>)>, Error>
    where
        T: FieldValue<Base: Numeric>,
    {
        self.each(Measure::Sum(field.name().into()))
    }

    /// Average of a field in each group.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn avg<T: FieldValue<Base: Numeric>>(
        &self,
        field: Field<M, T>,
    ) -> Result<Vec<(G, Option<f64>)>, Error> {
        self.each(Measure::Avg(field.name().into()))
    }

    fn each<T: FieldValue>(&self, measure: Measure) -> Result<Vec<(G, Option<T>)>, Error> {
        self.of
            .groups(Some(&self.field.name().into()), measure)?
            .into_iter()
            .map(|group| {
                let value = group.values.into_iter().next().unwrap_or_default();
                Ok((decoded::<M, G>(group.key)?, decoded::<M, Option<T>>(value)?))
            })
            .collect()
    }
}

fn decoded<M: Model, T: FieldValue>(value: Value) -> Result<T, Error> {
    T::from_value(value).map_err(|fault| {
        DecodeError {
            model: M::NAME,
            fault,
        }
        .into()
    })
}
