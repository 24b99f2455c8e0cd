//! How a store is opened: every setting with its default written out.
//!
//! Owns [`DataStoreBuilder`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_actors::{ConflictHandler, Env, ErrorHandler, Immediate, NoTrace, SyncSettings};
use landfall_core::{Model, ModelName, Predicate, Schema, TypedPredicate};
use landfall_netsync::{Authorization, Endpoint, HttpTransport};
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, Migrations, OnIncompatible, Store, StoreOptions};
use landfall_wire::Transport;

use crate::assembly::assemble;
use crate::datastore::DataStore;
use crate::error::Error;
use crate::gate::{GatedTransport, NetworkGate};
use crate::os_env::{OsClock, OsEntropy};
use crate::runtime::Runtime;

/// Opens a [`DataStore`].
///
/// | setting | default |
/// |---|---|
/// | [`directory`](Self::directory) | none: the data is in memory and gone when the store is closed |
/// | [`endpoint`](Self::endpoint) | none: changes are kept for the server until there is one |
/// | [`namespace`](Self::namespace) | none: one user of the directory |
/// | [`local_only`](Self::local_only), [`local_only_model`](Self::local_only_model) | off |
/// | [`migrate`](Self::migrate), [`wipe_if_incompatible`](Self::wipe_if_incompatible) | a schema that would lose data is refused |
/// | [`cache_bytes`](Self::cache_bytes) | 64 MiB |
/// | [`page_size`](Self::page_size), [`records_max`](Self::records_max) | 1,000; 10,000 |
/// | [`full_sync_interval`](Self::full_sync_interval) | 24 hours |
/// | [`conflict_handler`](Self::conflict_handler) | applies the changed fields to the server's record |
/// | [`error_handler`](Self::error_handler) | logs |
pub struct DataStoreBuilder {
    schema: Arc<Schema>,
    disk: Disk,
    cache_bytes: usize,
    incompatible: OnIncompatible,
    local_only: bool,
    local_models: Vec<ModelName>,
    namespace: Option<String>,
    endpoint: Option<(String, String)>,
    realtime_url: Option<String>,
    transport: Option<Arc<dyn Transport>>,
    pub(crate) migrations: Migrations,
    settings: SyncSettings,
}

impl std::fmt::Debug for DataStoreBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The API key must not be printed.
        f.debug_struct("DataStoreBuilder")
            .field("disk", &self.disk)
            .field("endpoint", &self.endpoint.as_ref().map(|(url, _)| url))
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl DataStoreBuilder {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        Self {
            schema,
            disk: Disk::Memory,
            cache_bytes: CACHE_BYTES_DEFAULT,
            incompatible: OnIncompatible::Refuse,
            local_only: false,
            local_models: Vec::new(),
            namespace: None,
            endpoint: None,
            realtime_url: None,
            transport: None,
            migrations: Migrations::default(),
            settings: SyncSettings::default(),
        }
    }

    /// Keeps the data in this directory, which is made if missing. One process may have it open.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.disk = Disk::Directory(directory.into());
        self
    }

    /// Keeps the data on a disk of your own making.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disk = disk;
        self
    }

    /// Size of the page cache in bytes; the only memory that grows with use.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Clears all data, unsent changes included, if it does not fit the schema. Without this, opening is refused then.
    #[must_use]
    pub fn wipe_if_incompatible(mut self) -> Self {
        self.incompatible = OnIncompatible::Wipe;
        self
    }

    /// Never queues changes for a server; for stores that will not sync.
    #[must_use]
    pub fn local_only(mut self) -> Self {
        self.local_only = true;
        self
    }

    /// Keeps the records of a model local: they are neither sent nor fetched, whatever the schema says.
    #[must_use]
    pub fn local_only_model<M: Model>(self) -> Self {
        self.local_only_model_named(M::NAME)
    }

    /// As [`local_only_model`](Self::local_only_model), for a model known at run time.
    #[must_use]
    pub fn local_only_model_named(mut self, model: impl Into<ModelName>) -> Self {
        self.local_models.push(model.into());
        self
    }

    /// Keeps the data of one of several users of the directory, apart from that of the others.
    ///
    /// Each name has files of its own, with its own outbox: changes that one user made offline are never sent with
    /// the credentials of another. Closing the store and opening it under another name switches users without wiping
    /// anything. Needs a [`directory`](Self::directory). [`namespaces`](crate::namespaces) lists the names.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Syncs with an AppSync API, such as `http://127.0.0.1:8080/graphql`, using an API key.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>, api_key: impl Into<String>) -> Self {
        self.endpoint = Some((url.into(), api_key.into()));
        self
    }

    /// The realtime address, if it does not follow from the endpoint by AppSync's rule.
    #[must_use]
    pub fn realtime_url(mut self, url: impl Into<String>) -> Self {
        self.realtime_url = Some(url.into());
        self
    }

    /// Syncs over a transport of your own making; wins over [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Records that a page of a sync query asks for (Amplify's `syncPageSize`).
    #[must_use]
    pub fn page_size(mut self, records: u32) -> Self {
        self.settings.page_size = records;
        self
    }

    /// Records of one model that one sync fetches at most (Amplify's `maxRecordsToSync`).
    #[must_use]
    pub fn records_max(mut self, records: u64) -> Self {
        self.settings.records_max = records;
        self
    }

    /// How long delta syncs will do before everything is fetched again (Amplify's `fullSyncInterval`).
    #[must_use]
    pub fn full_sync_interval(mut self, interval: Duration) -> Self {
        self.settings.full_sync_interval = interval;
        self
    }

    /// Syncs only the records of a model that satisfy the predicate (Amplify's `syncExpression`).
    #[must_use]
    pub fn sync_expression<M: Model>(self, predicate: TypedPredicate<M>) -> Self {
        self.sync_expression_for(M::NAME, predicate.into_predicate())
    }

    /// As [`sync_expression`](Self::sync_expression), for a model known at run time.
    #[must_use]
    pub fn sync_expression_for(mut self, model: impl Into<ModelName>, predicate: Predicate) -> Self {
        self.settings.expressions.insert(model.into(), predicate);
        self
    }

    /// Decides conflicts (Amplify's `conflictHandler`).
    #[must_use]
    pub fn conflict_handler(mut self, handler: impl ConflictHandler + 'static) -> Self {
        self.settings.conflict_handler = Arc::new(handler);
        self
    }

    /// Hears of errors during sync (Amplify's `errorHandler`).
    #[must_use]
    pub fn error_handler(mut self, handler: impl ErrorHandler + 'static) -> Self {
        self.settings.error_handler = Arc::new(handler);
        self
    }

    /// Opens the store. It does not sync until [`DataStore::start`].
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory is locked, foreign, damaged, or does not fit the schema;
    /// [`Error::BadEndpoint`] if the endpoint cannot work; [`Error::BadPredicate`] for a sync expression that does not
    /// fit its model. Nothing is changed then.
    pub async fn open(mut self) -> Result<DataStore, Error> {
        self.settle()?;
        self.check_expressions()?;
        let gate = Arc::new(NetworkGate::default());
        let transport = self
            .way_to_server()?
            .map(|inner| Arc::new(GatedTransport::new(inner, Arc::clone(&gate))) as Arc<dyn Transport>);
        let env = Env {
            clock: Arc::new(OsClock::new()),
            entropy: Arc::new(OsEntropy),
            transport,
            trace: Arc::new(NoTrace),
            schedule: Arc::new(Immediate),
        };
        let options = self.options(env.clock.wall_ms());
        let (runtime, handles) = Runtime::open(env, options, self.migrations, !self.local_only).await?;
        Ok(DataStore::new(handles, self.settings, Some(runtime), gate))
    }

    /// Opens the store on the current actix system, in the given world; for simulators.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(mut self, env: Env) -> Result<DataStore, Error> {
        self.settle()?;
        self.check_expressions()?;
        let store = Store::open_migrating(self.options(env.clock.wall_ms()), &self.migrations)?;
        let handles = assemble(env, store, !self.local_only, None);
        Ok(DataStore::new(handles, self.settings, None, Arc::default()))
    }

    /// Works out what the settings mean together.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        if let Some(name) = self.namespace.take() {
            let Disk::Directory(directory) = &self.disk else {
                return Err(Error::BadNamespace {
                    name,
                    reason: "it needs a directory to lie in",
                });
            };
            self.disk = Disk::Directory(crate::namespace::directory_of(directory, &name)?);
        }
        if !self.local_models.is_empty() {
            let local = self.schema.with_local_models(&self.local_models);
            self.schema = Arc::new(local.map_err(|model| unknown(&self.schema, &model))?);
        }
        Ok(())
    }

    pub(crate) fn options(&self, now_ms: i64) -> StoreOptions {
        StoreOptions {
            disk: self.disk.clone(),
            schema: Arc::clone(&self.schema),
            cache_bytes: self.cache_bytes,
            incompatible: self.incompatible,
            now_ms,
        }
    }

    fn way_to_server(&self) -> Result<Option<Arc<dyn Transport>>, Error> {
        if let Some(transport) = &self.transport {
            return Ok(Some(Arc::clone(transport)));
        }
        let Some((url, api_key)) = &self.endpoint else {
            return Ok(None);
        };
        let mut endpoint = Endpoint::new(url, Authorization::api_key(api_key.as_str()))?;
        if let Some(realtime_url) = &self.realtime_url {
            endpoint = endpoint.with_realtime_url(realtime_url)?;
        }
        Ok(Some(Arc::new(HttpTransport::new(endpoint)?)))
    }

    fn check_expressions(&self) -> Result<(), Error> {
        for (model, predicate) in &self.settings.expressions {
            let Some(def) = self.schema.model(model) else {
                return Err(unknown(&self.schema, model));
            };
            predicate.bind(def)?;
        }
        Ok(())
    }
}

fn unknown(schema: &Schema, model: &ModelName) -> Error {
    let known: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
    let (model, known) = (model.to_string(), known.join(", "));
    landfall_storage::StorageError::UnknownModel { model, known }.into()
}
