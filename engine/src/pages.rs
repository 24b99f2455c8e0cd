//! Pages that stay correct while others write, and what a query costs.
//!
//! Owns [`ResultPage`] and the typed calls around cursors. What a cursor is belongs to `landfall-storage`.

use landfall_core::{Model, Record};
use landfall_storage::{Cursor, Explanation, Query, RecordPage};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::model_query::ModelQuery;
use crate::records::Records;

/// A page of a query's result; see [`DataStore::page`].
#[derive(Clone, Debug)]
pub struct ResultPage<T> {
    /// The records, in the order of the query.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if there was nothing more when this one was read.
    pub next: Option<Cursor>,
}

impl DataStore {
    /// A page of a query: the first one, or the one after a cursor. The query's limit is the size of the page.
    ///
    /// A numbered page begins after so many records, so it shifts when others write; a cursor is a place in the order.
    /// A record that stays where it is is seen exactly once, whatever comes and goes meanwhile. A cursor has a text
    /// form (`to_string` and `parse`) for links and files.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for name in ["a", "b", "c"] { store.save(Site::builder().name(name).build()?).await?; }
    /// use landfall::ModelQuery;
    ///
    /// let sites = ModelQuery::<Site>::all().sort(Site::name().asc()).limit(2);
    /// let first = store.page(sites.clone(), None)?;
    /// let second = store.page(sites, first.next.as_ref())?;
    /// assert_eq!((first.items.len(), second.items.len()), (2, 1));
    /// assert!(second.next.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] if the query has no limit, asks for a numbered page, or is not the one that the cursor
    /// belongs to; [`Error::BadPredicate`], [`Error::Decode`].
    pub fn page<M: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
        after: Option<&Cursor>,
    ) -> Result<ResultPage<M>, Error> {
        let RecordPage { records, next } = self.snapshot()?.page_after(&query.into().into(), after)?;
        let items = records
            .into_iter()
            .map(|record| M::from_record(record).map_err(Error::from))
            .collect::<Result<_, _>>()?;
        Ok(ResultPage { items, next })
    }

    /// How a query is carried out: what is looked up first, by which index or scan its records are found, and whether
    /// they have to be sorted. What is at the other ends of relations is looked up for it.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! @index(name: \"byName\") }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let explained = store.explain(Site::name().eq("reef"))?;
    /// assert_eq!(explained.plan, "by a range of the index `byName`");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`].
    pub fn explain<M: Model>(&self, query: impl Into<ModelQuery<M>>) -> Result<Explanation, Error> {
        Ok(self.snapshot()?.explanation(&query.into().into())?)
    }
}

impl Records<'_> {
    /// A page of a query; see [`DataStore::page`].
    ///
    /// # Errors
    /// As [`DataStore::page`].
    pub fn page(&self, query: &Query, after: Option<&Cursor>) -> Result<ResultPage<Record>, Error> {
        let RecordPage { records, next } = self.store().snapshot()?.page_after(query, after)?;
        Ok(ResultPage { items: records, next })
    }

    /// How a query is carried out; see [`DataStore::explain`].
    ///
    /// # Errors
    /// As [`DataStore::explain`].
    pub fn explain(&self, query: &Query) -> Result<Explanation, Error> {
        Ok(self.store().snapshot()?.explanation(query)?)
    }
}
