//! When and what a store syncs, as the app decides it.
//!
//! Owns starting, stopping and pausing, and the settings that are in force. What they do is `landfall-actors`' business.

use std::sync::PoisonError;

use landfall_actors::{SupervisorMessage, SyncSettings};
use landfall_core::{Model, Predicate, TypedPredicate};

use crate::datastore::DataStore;
use crate::error::Error;

impl DataStore {
    /// Starts to sync. Returns once the parts run; it does not wait for the network.
    ///
    /// Without an endpoint nothing is synced and local changes stay queued.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// store.start().await?;
    ///
    /// store.outbox().drained().await?;
    /// # assert!(store.outbox().is_empty()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`] if a computed sync expression does not fit its model; [`Error::Closed`].
    pub async fn start(&self) -> Result<(), Error> {
        self.compute_expressions().await?;
        let settings = Box::new(self.settings());
        self.inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::Start { settings, reply })
            .await?;
        Ok(())
    }

    /// Waits until the store is in sync and changes flow both ways. Returns `false` as soon as it is known that this
    /// cannot be now, because there is no network, no endpoint, or the store is stopped.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// assert!(!store.ready().await?, "it is not started");
    /// store.start().await?;
    /// assert!(store.ready().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn ready(&self) -> Result<bool, Error> {
        Ok(self
            .inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::AwaitReady { reply })
            .await?)
    }

    /// Stops syncing. Local data and queued changes stay.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.start().await?;
    /// assert!(store.ready().await?);
    /// store.stop().await?;
    ///
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert_eq!(store.outbox().len()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn stop(&self) -> Result<(), Error> {
        Ok(self
            .inner
            .handles
            .supervisor
            .ask(|reply| SupervisorMessage::Stop { reply })
            .await?)
    }

    fn settings(&self) -> SyncSettings {
        let settings = self.inner.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the app for the sync expressions that it computes. Returns whether one has changed.
    async fn compute_expressions(&self) -> Result<bool, Error> {
        let computed = self.inner.expressions.compute(self.schema()).await?;
        let settings = self.inner.settings.write();
        let mut settings = settings.unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (model, expression) in computed {
            let before = settings.expressions.insert(model, expression.clone());
            changed |= before != Some(expression);
        }
        Ok(changed)
    }

    /// Puts changed settings in force. A store that syncs begins anew; one that does not uses them at its next start.
    async fn reconfigure(&self) -> Result<(), Error> {
        let settings = Box::new(self.settings());
        let supervisor = &self.inner.handles.supervisor;
        Ok(supervisor
            .ask(|reply| SupervisorMessage::Reconfigure { settings, reply })
            .await?)
    }

    /// Asks again for the sync expressions that the app computes. If one has changed, the store syncs by it: records that
    /// it selects are fetched, those that it does not leave the store unless a change of them waits.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Task @model { team: String! }");
    /// use std::sync::{Arc, Mutex};
    /// use landfall::{DataStore, Op, Predicate};
    ///
    /// let team = Arc::new(Mutex::new("red"));
    /// # let asked = Arc::new(Mutex::new(Vec::new()));
    /// # let noted = Arc::clone(&asked);
    /// let of_user = Arc::clone(&team);
    /// let store = DataStore::builder(schema())
    ///     .sync_expression_from("Task", move || {
    ///         let team = *of_user.lock().unwrap();
    /// #         noted.lock().unwrap().push(team);
    ///         async move { Predicate::field("team", Op::Eq(team.into())) }
    ///     })
    ///     .open()
    ///     .await?;
    /// store.start().await?;
    /// *team.lock().unwrap() = "blue";
    /// store.refresh_expressions().await?;
    /// # assert_eq!(*asked.lock().unwrap(), ["red", "blue"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn refresh_expressions(&self) -> Result<(), Error> {
        if self.compute_expressions().await? {
            self.reconfigure().await?;
        }
        Ok(())
    }

    /// Syncs only the records of a model that satisfy the predicate, from here on; [`TypedPredicate::all`] syncs all.
    /// Records that it selects are fetched, those that it does not leave the store unless a change of them waits.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Task @model { team: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # let builder = || landfall::DataStore::builder(schema()).endpoint(&url, "da2-key");
    /// # let other = builder().open().await?;
    /// # for team in ["red", "blue"] { other.save(Task::builder().team(team).build()?).await?; }
    /// # other.start().await?;
    /// # other.outbox().drained().await?;
    /// let store = builder().sync_expression(Task::team().eq("red")).open().await?;
    /// store.start().await?;
    /// assert!(store.ready().await?);
    /// assert_eq!(store.query(Task::team().eq("red"))?.len(), 1);
    ///
    /// store.set_sync_expression(Task::team().eq("blue")).await?;
    /// assert!(store.sync_now().await?);
    /// assert_eq!(store.query(Task::team().eq("blue"))?.len(), 1);
    /// assert_eq!(store.count(landfall::TypedPredicate::<Task>::all())?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`], [`Error::Closed`].
    pub async fn set_sync_expression<M: Model>(&self, predicate: TypedPredicate<M>) -> Result<(), Error> {
        self.set_sync_expression_for(M::NAME, predicate.into_predicate())
            .await
    }

    /// As [`set_sync_expression`](Self::set_sync_expression), for a model known at run time.
    ///
    /// # Errors
    /// As there, and [`Error::Storage`] if there is no such model.
    pub async fn set_sync_expression_for(&self, model: &str, predicate: Predicate) -> Result<(), Error> {
        let def = self.records().def(model)?;
        predicate.bind(&def)?;
        let mut changed = false;
        self.configure(|settings| {
            let before = settings.expressions.insert(def.name.clone(), predicate.clone());
            changed = before.unwrap_or(Predicate::All) != predicate;
        });
        if changed {
            self.reconfigure().await?;
        }
        Ok(())
    }

    /// Fetches what has changed now, without waiting for subscriptions to tell. Returns whether a sync is over that began
    /// after this call: `false` as soon as it is known that there is none, as without a network or while the pull is
    /// paused. Models that failed are told by the error handler.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # let other = landfall::DataStore::builder(schema()).endpoint(&url, "da2-key").open().await?;
    /// use landfall::{DataStore, Listen, TypedPredicate};
    ///
    /// let store = DataStore::builder(schema()).endpoint(url, "da2-key").listen("Post", Listen::Off).open().await?;
    /// assert!(!store.sync_now().await?, "it is not started");
    /// store.start().await?;
    /// # assert!(store.ready().await?);
    /// # other.save(Post::builder().title("Reef").build()?).await?;
    /// # other.start().await?;
    /// # other.outbox().drained().await?;
    /// // Another client has saved a post meanwhile.
    /// assert!(store.sync_now().await?);
    /// assert_eq!(store.count(TypedPredicate::<Post>::all())?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn sync_now(&self) -> Result<bool, Error> {
        let supervisor = &self.inner.handles.supervisor;
        Ok(supervisor
            .ask(|reply| SupervisorMessage::SyncNow { reply })
            .await?)
    }

    /// Says that there are other credentials than before, as after a sign-in: what waits for that goes on at once.
    ///
    /// Credentials are asked for with each request, so everything that was refused for lack of them goes on by itself; but it is
    /// tried ever less often, changes down to every five minutes. This has the store begin anew, as [`stop`](Self::stop) and
    /// [`start`](Self::start) would: realtime connections are those of whoever is signed in now, computed sync expressions are asked
    /// for again, then it syncs and sends. A store that does not sync uses the new ones at its next start.
    ///
    /// Whoever hands the store to another user calls [`clear`](Self::clear) first: what waits would go out in the new user's name.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.start().await?;
    /// // The user has signed in again.
    /// store.credentials_changed().await?;
    /// assert!(store.ready().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadPredicate`] if a computed sync expression does not fit its model; [`Error::Closed`].
    pub async fn credentials_changed(&self) -> Result<(), Error> {
        self.compute_expressions().await?;
        self.reconfigure().await
    }

    /// Keeps local changes from being sent until [`resume_push`](Self::resume_push). What is on its way is still settled.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// # use std::time::Duration;
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.start().await?;
    /// store.pause_push()?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert!(!store.outbox().drained_within(Duration::from_millis(50)).await?);
    ///
    /// store.resume_push()?;
    /// store.outbox().drained().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn pause_push(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePush { paused: true })
    }

    /// Sends local changes again.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn resume_push(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePush { paused: false })
    }

    /// Stops fetching and listening until [`resume_pull`](Self::resume_pull). Local changes are still sent.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.start().await?;
    /// store.pause_pull()?;
    /// assert!(!store.sync_now().await?);
    ///
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// store.outbox().drained().await?;
    /// store.resume_pull()?;
    /// assert!(store.sync_now().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn pause_pull(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePull { paused: true })
    }

    /// Listens again, and fetches what was missed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn resume_pull(&self) -> Result<(), Error> {
        self.tell(SupervisorMessage::PausePull { paused: false })
    }

    fn tell(&self, message: SupervisorMessage) -> Result<(), Error> {
        Ok(self.inner.handles.supervisor.tell(message)?)
    }

    /// Changes how the next start syncs.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.configure(|settings| settings.page_size = 100);
    /// store.start().await?;
    /// # Ok(()) }
    /// ```
    pub fn configure(&self, change: impl FnOnce(&mut SyncSettings)) {
        change(
            &mut self
                .inner
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Cuts the network as this store sees it, or restores it; for tests and demonstrations.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let kept = landfall_storage::kv::KvStore::in_memory()?;
    /// # let (known, config) = (schema().clone(), landfall_backend::BackendConfig::with_api_key("da2-key"));
    /// # let backend = landfall_backend::Backend::new(known, config, kept, landfall_backend::os_entropy())?;
    /// # let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), std::sync::Arc::new(backend)).await?;
    /// # let url = server.endpoint();
    /// let store = landfall::DataStore::builder(schema()).endpoint(url, "da2-key").open().await?;
    /// store.set_online(false)?;
    /// store.start().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert!(!store.ready().await?);
    ///
    /// store.set_online(true)?;
    /// store.outbox().drained().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_online(&self, online: bool) -> Result<(), Error> {
        self.inner.gate.set_cut(!online);
        Ok(self
            .inner
            .handles
            .supervisor
            .tell(SupervisorMessage::ForceOffline { offline: !online })?)
    }
}
