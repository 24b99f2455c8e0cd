//! Relations: the other end of one record, loaded when it is asked for, and of many records, loaded at once.
//!
//! Owns the typed calls, and many-to-many relations through their join models. Loading the other ends of many records
//! costs one pass over the other model, not one query a record, and all of it is of one moment.

use landfall_core::{BelongsTo, FieldType, HasMany, HasOne, Model, Predicate, Record, TypedPredicate};
use landfall_storage::{Query, Snapshot};

use crate::datastore::DataStore;
use crate::error::Error;
use crate::model_query::ModelQuery;

impl DataStore {
    /// The record that a model belongs to; `None` if it belongs to none, or to one that is not here.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! comments: [Comment] @hasMany }
    /// #     type Comment @model { text: String! post: Post @belongsTo }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let comment = store.save(Comment::builder().text("At six").post(&post).build()?).await?;
    /// assert_eq!(store.parent(&comment, Comment::post())?, Some(post));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn parent<M: Model, R: Model>(
        &self,
        model: &M,
        relation: BelongsTo<M, R>,
    ) -> Result<Option<R>, Error> {
        let found = self.ends::<M, R>(&self.snapshot()?, std::slice::from_ref(model), relation.name())?;
        Ok(found.into_iter().flatten().next())
    }

    /// The one record that a model has, by its own foreign key: a `@belongsTo` at the other end has another one, which has
    /// to be set as well (as in Amplify).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Boat @model { name: String! log: Log @hasOne } type Log @model { pages: Int! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let log = store.save(Log::builder().pages(40).build()?).await?;
    /// let boat = store.save(Boat::builder().name("Ada").log(&log).build()?).await?;
    /// assert_eq!(store.child(&boat, Boat::log())?, Some(log));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn child<M: Model, R: Model>(&self, model: &M, relation: HasOne<M, R>) -> Result<Option<R>, Error> {
        let found = self.ends::<M, R>(&self.snapshot()?, std::slice::from_ref(model), relation.name())?;
        Ok(found.into_iter().flatten().next())
    }

    /// The records that a model has, in the order of their identifiers.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! comments: [Comment] @hasMany }
    /// #     type Comment @model { text: String! post: Post @belongsTo }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// let comment = store.save(Comment::builder().text("At six").post(&post).build()?).await?;
    /// assert_eq!(store.children(&post, Post::comments())?, [comment]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn children<M: Model, R: Model>(&self, model: &M, relation: HasMany<M, R>) -> Result<Vec<R>, Error> {
        let found = self.ends::<M, R>(&self.snapshot()?, std::slice::from_ref(model), relation.name())?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// The records of a query, each with the one that it belongs to.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! readings: [Reading] @hasMany }
    /// #                           type Reading @model { celsius: Float site: Site @belongsTo }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let reef = store.save(Site::builder().name("reef").build()?).await?;
    /// # store.save(Reading::builder().celsius(14.5).site(&reef).build()?).await?;
    /// let at_the_reef = Reading::site().any(Site::name().eq("reef"));
    /// for (reading, site) in store.query_with_parents(at_the_reef, Reading::site())? {
    ///     println!("{:?} at {:?}", reading.celsius, site.map(|site| site.name));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Storage`], [`Error::Decode`].
    pub fn query_with_parents<M: Model, R: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
        relation: BelongsTo<M, R>,
    ) -> Result<Vec<(M, Option<R>)>, Error> {
        self.with_ends(query.into(), relation.name(), |ends| ends.into_iter().next())
    }

    /// The records of a query, each with the one that it has.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Boat @model { name: String! log: Log @hasOne } type Log @model { pages: Int! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let log = store.save(Log::builder().pages(40).build()?).await?;
    /// let boat = store.save(Boat::builder().name("Ada").log(&log).build()?).await?;
    /// assert_eq!(store.query_with_child(Boat::name().eq("Ada"), Boat::log())?, [(boat, Some(log))]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`query_with_parents`](Self::query_with_parents).
    pub fn query_with_child<M: Model, R: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
        relation: HasOne<M, R>,
    ) -> Result<Vec<(M, Option<R>)>, Error> {
        self.with_ends(query.into(), relation.name(), |ends| ends.into_iter().next())
    }

    /// The records of a query, each with those that it has.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! comments: [Comment] @hasMany }
    /// #     type Comment @model { text: String! post: Post @belongsTo }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// # store.save(Comment::builder().text("At six").post(&post).build()?).await?;
    /// for (post, comments) in store.query_with_children(Post::title().begins_with("R"), Post::comments())? {
    ///     println!("{} has {} comments", post.title, comments.len());
    /// #   assert_eq!(comments.len(), 1);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`query_with_parents`](Self::query_with_parents).
    pub fn query_with_children<M: Model, R: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
        relation: HasMany<M, R>,
    ) -> Result<Vec<(M, Vec<R>)>, Error> {
        self.with_ends(query.into(), relation.name(), |ends| ends)
    }

    /// The records that a model is linked to through a join model, such as one that `@manyToMany` makes: `links` leads
    /// to the join model, `far` from there to the other side. In the order of the links' identifiers.
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! tags: [Tag] @manyToMany(relationName: \"PostTags\") }
    /// #                           type Tag @model { label: String! posts: [Post] @manyToMany(relationName: \"PostTags\") }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let post = store.save(Post::builder().title("Landfall").build()?).await?;
    /// let tag = store.save(Tag::builder().label("sea").build()?).await?;
    /// store.save(PostTags::builder().post(&post).tag(&tag).build()?).await?;
    ///
    /// let tags = store.linked(&post, Post::tags(), PostTags::tag())?;
    /// assert_eq!(tags[0].label, "sea");
    /// let about_the_sea = Post::tags().any(PostTags::tag().any(Tag::label().eq("sea")));
    /// assert_eq!(store.query(about_the_sea)?.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Decode`].
    pub fn linked<M: Model, J: Model, R: Model>(
        &self,
        model: &M,
        links: HasMany<M, J>,
        far: BelongsTo<J, R>,
    ) -> Result<Vec<R>, Error> {
        let linked = self.linked_ends(&self.snapshot()?, std::slice::from_ref(model), links, far)?;
        Ok(linked.into_iter().next().unwrap_or_default())
    }

    /// The records of a query, each with those that it is linked to through a join model; see [`linked`](Self::linked).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! tags: [Tag] @manyToMany(relationName: \"PostTags\") }
    /// #     type Tag @model { label: String! posts: [Post] @manyToMany(relationName: \"PostTags\") }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// # let post = store.save(Post::builder().title("Reef").build()?).await?;
    /// # let tag = store.save(Tag::builder().label("sea").build()?).await?;
    /// # store.save(PostTags::builder().post(&post).tag(&tag).build()?).await?;
    /// use landfall::ModelQuery;
    ///
    /// for (post, tags) in store.query_with_linked(ModelQuery::<Post>::all(), Post::tags(), PostTags::tag())? {
    ///     let labels: Vec<&str> = tags.iter().map(|tag| tag.label.as_str()).collect();
    ///     println!("{}: {}", post.title, labels.join(", "));
    /// #   assert_eq!(labels, ["sea"]);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`query_with_parents`](Self::query_with_parents).
    pub fn query_with_linked<M: Model, J: Model, R: Model>(
        &self,
        query: impl Into<ModelQuery<M>>,
        links: HasMany<M, J>,
        far: BelongsTo<J, R>,
    ) -> Result<Vec<(M, Vec<R>)>, Error> {
        let snapshot = self.snapshot()?;
        let models: Vec<M> = queried(&snapshot, &query.into().into())?;
        let linked = self.linked_ends(&snapshot, &models, links, far)?;
        Ok(models.into_iter().zip(linked).collect())
    }

    fn linked_ends<M: Model, J: Model, R: Model>(
        &self,
        snapshot: &Snapshot,
        models: &[M],
        links: HasMany<M, J>,
        far: BelongsTo<J, R>,
    ) -> Result<Vec<Vec<R>>, Error> {
        let records = self.records_of(models)?;
        let links = snapshot.related(M::NAME, links.name(), &records, &Predicate::All)?;
        let flat: Vec<Record> = links.iter().flatten().cloned().collect();
        let mut ends = snapshot
            .related(J::NAME, far.name(), &flat, &Predicate::All)?
            .into_iter();
        links
            .iter()
            .map(|links| typed(ends.by_ref().take(links.len()).flatten().collect()))
            .collect()
    }

    fn with_ends<M: Model, R: Model, E>(
        &self,
        query: ModelQuery<M>,
        relation: &str,
        each: impl Fn(Vec<R>) -> E,
    ) -> Result<Vec<(M, E)>, Error> {
        let snapshot = self.snapshot()?;
        let models: Vec<M> = queried(&snapshot, &query.into())?;
        let ends = self.ends::<M, R>(&snapshot, &models, relation)?;
        Ok(models.into_iter().zip(ends.into_iter().map(each)).collect())
    }

    /// What is at the other end of a relation, for each of the models.
    fn ends<M: Model, R: Model>(
        &self,
        snapshot: &Snapshot,
        models: &[M],
        relation: &str,
    ) -> Result<Vec<Vec<R>>, Error> {
        let records = self.records_of(models)?;
        let ends = snapshot.related(
            M::NAME,
            relation,
            &records,
            TypedPredicate::<R>::all().as_predicate(),
        )?;
        ends.into_iter().map(typed).collect()
    }

    fn records_of<M: Model>(&self, models: &[M]) -> Result<Vec<Record>, Error> {
        models.iter().map(|model| self.to_record(model)).collect()
    }

    /// Records at the other end of a relation; `None` if the model has no such relation or its keys are null.
    pub(crate) fn related(&self, record: &Record, relation: &str) -> Result<Option<Vec<Record>>, Error> {
        let def = record.def();
        let is_relation = |field: &landfall_core::FieldDef| matches!(field.ty, FieldType::Model(_));
        let Some(association) = def
            .field(relation)
            .filter(|field| is_relation(field))
            .and_then(|field| field.association.as_ref())
        else {
            return Ok(None);
        };
        let refers =
            |target: &landfall_core::FieldName| record.get(target).is_some_and(|value| !value.is_null());
        if record.id().is_none() || !association.targets().iter().all(refers) {
            return Ok(None);
        }
        let records = std::slice::from_ref(record);
        let found = self
            .snapshot()?
            .related(&def.name, relation, records, &Predicate::All)?;
        Ok(found.into_iter().next())
    }
}

/// The models that a query asks for. Each gets its type as it is found, which spares the memory for untyped ones.
pub(crate) fn queried<M: Model>(snapshot: &Snapshot, query: &Query) -> Result<Vec<M>, Error> {
    let typed = snapshot.query_map(query, M::from_record)?;
    Ok(typed.into_iter().collect::<Result<_, _>>()?)
}

fn typed<M: Model>(records: Vec<Record>) -> Result<Vec<M>, Error> {
    records
        .into_iter()
        .map(|record| M::from_record(record).map_err(Error::from))
        .collect()
}
