//! Queries of one model, as an app writes them.
//!
//! Owns [`ModelQuery`]. How a query is carried out is `landfall_storage`'s.

use std::marker::PhantomData;

use landfall_core::{Model, Page, Predicate, Sort, TypedPredicate, TypedSort};
use landfall_storage::Query;

/// A query of one model: which records, in which order, how many.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// # for (title, rating) in [("Weir", 4), ("Reef", 5), ("Tide", 1), ("Cove", 5)] {
/// #     store.save(Post::builder().title(title).rating(rating).build()?).await?;
/// # }
/// use landfall::ModelQuery;
///
/// let good = ModelQuery::all()
///     .filter(Post::rating().gt(3))
///     .sort(Post::rating().desc().then(Post::title().asc()))
///     .limit(2);
/// let titles = |posts: Vec<Post>| posts.into_iter().map(|post| post.title).collect::<Vec<_>>();
/// assert_eq!(titles(store.query(good.clone())?), ["Cove", "Reef"]);
/// assert_eq!(titles(store.query(good.page(1))?), ["Weir"]);
///
/// // A predicate alone is a query as well.
/// assert_eq!(titles(store.query(Post::rating().lt(3))?), ["Tide"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ModelQuery<M> {
    pub(crate) predicate: Predicate,
    sort: Vec<Sort>,
    page: Page,
    marker: PhantomData<fn() -> M>,
}

impl<M: Model> ModelQuery<M> {
    /// All records, in the order of their identifiers.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(store.query(landfall::ModelQuery::<Post>::all())?.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn all() -> Self {
        Self {
            predicate: Predicate::All,
            sort: Vec::new(),
            page: Page::default(),
            marker: PhantomData,
        }
    }

    /// Only those that also satisfy the predicate.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # store.save(Post::builder().title("Reef").rating(5).build()?).await?;
    /// let good = landfall::ModelQuery::all().filter(Post::rating().gt(3));
    /// assert_eq!(store.query(good.clone())?.len(), 1);
    /// assert_eq!(store.query(good.filter(Post::title().begins_with("W")))?.len(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn filter(mut self, predicate: TypedPredicate<M>) -> Self {
        self.predicate = self.predicate.and(predicate.into_predicate());
        self
    }

    /// In this order; ties are in the order of identifiers.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for (title, rating) in [("Weir", 4), ("Reef", 5)] {
    /// #     store.save(Post::builder().title(title).rating(rating).build()?).await?;
    /// # }
    /// let posts = store.query(landfall::ModelQuery::all().sort(Post::title().asc()))?;
    /// assert_eq!((posts[0].title.as_str(), posts[1].title.as_str()), ("Reef", "Weir"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn sort(mut self, keys: TypedSort<M>) -> Self {
        self.sort.extend(keys.into_keys());
        self
    }

    /// At most so many.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for title in ["Weir", "Reef"] { store.save(Post::builder().title(title).build()?).await?; }
    /// assert_eq!(store.query(landfall::ModelQuery::<Post>::all().limit(1))?.len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn limit(mut self, records: usize) -> Self {
        self.page.limit = Some(records);
        self
    }

    /// The page of that number, from 0; needs a [`limit`](Self::limit).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # for title in ["Weir", "Reef", "Tide"] { store.save(Post::builder().title(title).build()?).await?; }
    /// let posts = landfall::ModelQuery::all().sort(Post::title().asc()).limit(2);
    /// assert_eq!(store.query(posts.clone().page(1))?[0].title, "Weir");
    /// assert!(store.query(posts.page(2))?.is_empty());
    /// # Ok(()) }
    /// ```
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
