//! Queries of one model, as an app writes them.
//!
//! Owns [`ModelQuery`]. How a query is carried out is `landfall_storage`'s.

use std::marker::PhantomData;

use landfall_core::{Model, Page, Predicate, Sort, TypedPredicate, TypedSort};
use landfall_storage::Query;

/// A query of one model: which records, in which order, how many.
#[derive(Clone, Debug)]
pub struct ModelQuery<M> {
    pub(crate) predicate: Predicate,
    sort: Vec<Sort>,
    page: Page,
    marker: PhantomData<fn() -> M>,
}

impl<M: Model> ModelQuery<M> {
    /// All records, in the order of their identifiers.
    pub fn all() -> Self {
        Self {
            predicate: Predicate::All,
            sort: Vec::new(),
            page: Page::default(),
            marker: PhantomData,
        }
    }

    /// Only those that also satisfy the predicate.
    #[must_use]
    pub fn filter(mut self, predicate: TypedPredicate<M>) -> Self {
        self.predicate = self.predicate.and(predicate.into_predicate());
        self
    }

    /// In this order; ties are in the order of identifiers.
    #[must_use]
    pub fn sort(mut self, keys: TypedSort<M>) -> Self {
        self.sort.extend(keys.into_keys());
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, records: usize) -> Self {
        self.page.limit = Some(records);
        self
    }

    /// The page of that number, from 0; needs a [`limit`](Self::limit).
    #[must_use]
    pub fn page(mut self, number: usize) -> Self {
        self.page.page = number;
        self
    }
}

impl<M: Model> From<ModelQuery<M>> for Query {
    fn from(query: ModelQuery<M>) -> Self {
        Self {
            model: M::NAME.into(),
            predicate: query.predicate,
            sort: query.sort,
            page: query.page,
        }
    }
}

impl<M: Model> From<TypedPredicate<M>> for ModelQuery<M> {
    fn from(predicate: TypedPredicate<M>) -> Self {
        Self::all().filter(predicate)
    }
}
