//! Opening a store whose schema has changed: migrations, and what they would do.
//!
//! Owns the builder's part. What a migration means is `landfall-core`'s, how it is carried out `landfall-storage`'s.

use std::sync::Arc;

use landfall_core::Migration;
use landfall_storage::{MigrationProgress, MigrationReport, Store};

use crate::builder::DataStoreBuilder;
use crate::error::Error;

impl DataStoreBuilder {
    /// Adds a migration, to be gone through if the stored data does not fit the schema. Give all that the app ever had,
    /// oldest first: the store goes through those that it has not gone through yet, all in one transaction.
    ///
    /// Records, changes that wait for the server and the log are carried over. What the steps leave out is refused as
    /// without them, with every reason, before anything is touched.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = std::env::temp_dir().join(format!("landfall-doc-{}", std::process::id()));
    /// # mod old { landfall::inline_schema!("type Post @model { title: String! stars: String }"); }
    /// landfall::inline_schema!("type Post @model { title: String! rating: Int language: String! }");
    /// use landfall::{DataStore, Migration};
    ///
    /// # let store = DataStore::builder(old::schema()).directory(&directory).open().await?;
    /// # store.save(old::Post::builder().title("T").stars("5").build()?).await?;
    /// # store.close().await;
    /// let store = DataStore::builder(schema())
    ///     .directory(&directory)
    ///     .migrate(
    ///         Migration::named("stars become ratings")
    ///             .rename_field("Post", "stars", "rating")
    ///             .retype("Post", "rating")
    ///             .fill("Post", "language", "en"),
    ///     )
    ///     .open()
    ///     .await?;
    /// # let post = store.first(landfall::TypedPredicate::<Post>::all())?.ok_or("no post")?;
    /// # assert_eq!((post.rating, post.language.as_str()), (Some(5), "en"));
    /// # store.close().await;
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn migrate(mut self, migration: Migration) -> Self {
        self.migrations.push(migration);
        self
    }

    /// Hears how far migrations have got; called from the thread that opens the store.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod older { landfall::inline_schema!("type Post @model { title: String! stars: String }"); }
    /// # landfall::inline_schema!("type Post @model { title: String! rating: String }");
    /// # let home = tempfile::tempdir()?;
    /// use landfall::{DataStore, Migration};
    ///
    /// # let older = DataStore::builder(older::schema()).directory(home.path()).open().await?;
    /// # older.save(older::Post::builder().title("Reef").stars("5").build()?).await?;
    /// # older.close().await;
    /// let store = DataStore::builder(schema())
    ///     .directory(home.path())
    ///     .migrate(Migration::named("stars become ratings").rename_field("Post", "stars", "rating"))
    ///     .on_migration(|at| println!("{} of {}", at.done, at.total))
    ///     .open()
    ///     .await?;
    /// assert_eq!(store.count(Post::rating().eq("5"))?, 1);
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_migration(mut self, hears: impl Fn(MigrationProgress) + Send + Sync + 'static) -> Self {
        self.migrations.on_progress(Arc::new(hears));
        self
    }

    /// Says what opening the store with these migrations would do to its data, and changes nothing. Takes as long as
    /// the migration; nobody may have the store open meanwhile.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod older { landfall::inline_schema!("type Post @model { title: String! stars: String }"); }
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let home = tempfile::tempdir()?;
    /// use landfall::{DataStore, Migration};
    ///
    /// # let older = DataStore::builder(older::schema()).directory(home.path()).open().await?;
    /// # older.save(older::Post::builder().title("Reef").stars("5").build()?).await?;
    /// # older.close().await;
    /// let report = DataStore::builder(schema())
    ///     .directory(home.path())
    ///     .migrate(Migration::named("no more stars").remove_field("Post", "stars"))
    ///     .rehearse()?;
    /// // The post waits for the server still, which will never hear of its stars.
    /// assert_eq!(report.lost_values.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What [`open`](Self::open) would fail with.
    pub fn rehearse(mut self) -> Result<MigrationReport, Error> {
        self.settle()?;
        Ok(Store::rehearse(&self.options(0), &self.migrations)?)
    }
}
