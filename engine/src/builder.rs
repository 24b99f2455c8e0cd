//! How a store is opened: every setting with its default written out.
//!
//! Owns [`DataStoreBuilder`].

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_actors::{
    ConflictHandler, Env, ErrorHandler, Immediate, Leaving, Listen, NoTrace, SyncSettings,
};
use landfall_core::{Model, ModelName, ModelSync, Predicate, Schema, TypedPredicate};
use landfall_netsync::{AuthMode, AuthStrategy, Authorization, Endpoint, HttpTransport, MultiAuth};
use landfall_storage::{
    CACHE_BYTES_DEFAULT, Disk, Migrations, OnIncompatible, Retention, Store, StoreOptions,
};
use landfall_wire::Transport;

use crate::assembly::assemble;
use crate::computed::Computed;
use crate::datastore::DataStore;
use crate::error::Error;
use crate::expressions::Expressions;
use crate::flight::{Flight, recorder::Recorder};
use crate::gate::{GatedTransport, NetworkGate};
use crate::os_env::{OsClock, OsEntropy};
use crate::runtime::Runtime;
use crate::trimming::is_due;

/// Longest recording if nothing else is said: a day of a busy client.
const RECORDING_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Opens a [`DataStore`].
///
/// | setting | default |
/// |---|---|
/// | [`directory`](Self::directory) | none: the data is in memory and gone when the store is closed |
/// | [`endpoint`](Self::endpoint), [`endpoint_with`](Self::endpoint_with) | none: changes are kept for the server until there is one |
/// | [`namespace`](Self::namespace) | none: one user of the directory |
/// | [`local_only`](Self::local_only), [`local_only_model`](Self::local_only_model) | off |
/// | [`model_sync`](Self::model_sync) | both ways |
/// | [`computed`](Self::computed) | none |
/// | [`migrate`](Self::migrate), [`wipe_if_incompatible`](Self::wipe_if_incompatible) | a schema that would lose data is refused |
/// | [`retention`](Self::retention) | the log keeps everything |
/// | [`cache_bytes`](Self::cache_bytes) | 64 MiB |
/// | [`page_size`](Self::page_size), [`records_max`](Self::records_max) | 1,000; 10,000 |
/// | [`full_sync_interval`](Self::full_sync_interval) | 24 hours |
/// | [`conflict_handler`](Self::conflict_handler) | applies the changed fields to the server's record |
/// | [`error_handler`](Self::error_handler) | logs |
/// | [`listen`](Self::listen) | by subscriptions |
/// | [`leaving`](Self::leaving) | at once |
/// | [`record`](Self::record) | nothing is recorded |
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let home = tempfile::tempdir()?;
/// use landfall::{DataStore, Leaving, Retention};
/// use std::time::Duration;
///
/// let store = DataStore::builder(schema())
///     .directory(home.path())
///     .namespace("ada")
///     .endpoint("https://example.com/graphql", "da2-your-key")
///     .sync_expression(Post::rating().gt(3))
///     .leaving(Leaving::WithNextSync)
///     .page_size(100)
///     .records_max(50_000)
///     .full_sync_interval(Duration::from_secs(60 * 60))
///     .retention(Retention::everything().days(90))
///     .cache_bytes(16 * 1024 * 1024)
///     .open()
///     .await?;
/// assert_eq!(landfall::namespaces(home.path())?, ["ada"]);
/// # store.close().await;
/// # Ok(()) }
/// ```
pub struct DataStoreBuilder {
    pub(crate) schema: Arc<Schema>,
    disk: Disk,
    cache_bytes: usize,
    incompatible: OnIncompatible,
    local_only: bool,
    /// Which way the changes of models travel, in the order in which it was said.
    model_sync: Vec<(ModelName, ModelSync)>,
    pub(crate) computed: Vec<Computed>,
    namespace: Option<String>,
    endpoint: Option<(String, Authorization)>,
    /// Other ways to prove who asks.
    others: Vec<(AuthMode, Authorization)>,
    strategy: Option<Arc<dyn AuthStrategy>>,
    region: Option<String>,
    realtime_url: Option<String>,
    transport: Option<Arc<dyn Transport>>,
    pub(crate) migrations: Migrations,
    retention: Retention,
    settings: SyncSettings,
    expressions: Expressions,
    /// Where the run is recorded, and how long the file may become.
    record: Option<(PathBuf, u64)>,
}

impl std::fmt::Debug for DataStoreBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Credentials must not be printed.
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
            model_sync: Vec::new(),
            computed: Vec::new(),
            namespace: None,
            endpoint: None,
            others: Vec::new(),
            strategy: None,
            region: None,
            realtime_url: None,
            transport: None,
            migrations: Migrations::default(),
            retention: Retention::everything(),
            settings: SyncSettings::default(),
            expressions: Expressions::default(),
            record: None,
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

    /// Most memory for pages of the database and rows that were read, half for each, in bytes; the only memory that grows
    /// with use.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Clears all data, unsent changes included, if it does not fit the schema. Without this, opening is refused then.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # mod older { landfall::inline_schema!("type Post @model { title: String! }"); }
    /// # landfall::inline_schema!("type Post @model { title: Int! }");
    /// # let home = tempfile::tempdir()?;
    /// # let older = landfall::DataStore::builder(older::schema()).directory(home.path()).open().await?;
    /// # older.save(older::Post::builder().title("Reef").build()?).await?;
    /// # older.close().await;
    /// // The titles that are stored there are texts; in this schema they are numbers.
    /// let builder = || landfall::DataStore::builder(schema()).directory(home.path());
    /// assert!(builder().open().await.is_err());
    /// let store = builder().wipe_if_incompatible().open().await?;
    /// assert_eq!(store.count(landfall::TypedPredicate::<Post>::all())?, 0);
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn wipe_if_incompatible(mut self) -> Self {
        self.incompatible = OnIncompatible::Wipe;
        self
    }

    /// Which entries the log keeps. The others are [trimmed](DataStore::trim) after the store was opened, as soon as they
    /// are a quarter of the log. The log is verified first, which takes as long as reading it and, for a while, as much room on
    /// the disk as the records; the store is in use meanwhile, and going on is tried at the next opening where it is closed before.
    /// Without a policy the log keeps everything.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Never queues changes for a server; for stores that will not sync.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// let store = landfall::DataStore::builder(schema()).local_only().open().await?;
    /// store.save(Post::builder().title("Reef").build()?).await?;
    /// assert!(store.outbox().is_empty()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn local_only(mut self) -> Self {
        self.local_only = true;
        self
    }

    /// Keeps the records of a model local: they are neither sent nor fetched, whatever the schema says.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! } type Draft @model { title: String! }");
    /// let store = landfall::DataStore::builder(schema()).local_only_model::<Draft>().open().await?;
    /// store.save(Draft::builder().title("Reef").build()?).await?;
    /// store.save(Post::builder().title("Weir").build()?).await?;
    /// assert_eq!(store.outbox().len()?, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn local_only_model<M: Model>(self) -> Self {
        self.local_only_model_named(M::NAME)
    }

    /// As [`local_only_model`](Self::local_only_model), for a model known at run time.
    #[must_use]
    pub fn local_only_model_named(mut self, model: impl Into<ModelName>) -> Self {
        self.model_sync.push((model.into(), ModelSync::None));
        self
    }

    /// Which way the changes of a model travel: [both](ModelSync::Both) ways unless this says otherwise. Nothing that is
    /// stored changes by it, so it may be another one each time the store is opened; what waits for the server from
    /// before is sent.
    ///
    /// ```
    /// # landfall::inline_schema!("type Price @model { cents: Int! } type Reading @model { celsius: Float! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landfall::{DataStore, Error, ModelSync, WriteRefused};
    ///
    /// let store = DataStore::builder(schema())
    ///     .model_sync::<Price>(ModelSync::Pull)
    ///     .model_sync::<Reading>(ModelSync::Push)
    ///     .open()
    ///     .await?;
    /// store.save(Reading::builder().celsius(14.5).build()?).await?;
    /// let refused = store.save(Price::builder().cents(100).build()?).await;
    /// assert!(matches!(refused, Err(Error::Refused(WriteRefused::PullOnly { .. }))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn model_sync<M: Model>(self, sync: ModelSync) -> Self {
        self.model_sync_named(M::NAME, sync)
    }

    /// As [`model_sync`](Self::model_sync), for a model known at run time.
    #[must_use]
    pub fn model_sync_named(mut self, model: impl Into<ModelName>, sync: ModelSync) -> Self {
        self.model_sync.push((model.into(), sync));
        self
    }

    /// Keeps the data of one of several users of the directory, apart from that of the others.
    ///
    /// Each name has files of its own, with its own outbox: changes that one user made offline are never sent with
    /// the credentials of another. Closing the store and opening it under another name switches users without wiping
    /// anything. Needs a [`directory`](Self::directory). [`namespaces`](crate::namespaces) lists the names.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let home = tempfile::tempdir()?;
    /// let of = |user: &str| landfall::DataStore::builder(schema()).directory(home.path()).namespace(user);
    /// let ada = of("ada").open().await?;
    /// ada.save(Post::builder().title("Reef").build()?).await?;
    /// ada.close().await;
    ///
    /// let max = of("max").open().await?;
    /// assert_eq!(max.count(landfall::TypedPredicate::<Post>::all())?, 0);
    /// # max.close().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Syncs with an AppSync API, such as `http://127.0.0.1:8080/graphql`, using an API key.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>, api_key: impl Into<String>) -> Self {
        self.endpoint = Some((url.into(), Authorization::api_key(api_key.into())));
        self
    }

    /// Syncs with an AppSync API, proving who asks in another way than by an API key: a token of a user pool, of an OIDC
    /// provider or for a Lambda function, or a signature with AWS credentials.
    ///
    /// ```
    /// use landfall::{Authorization, CachedTokens, DataStore, Secret};
    ///
    /// landfall::inline_schema!("type Task @model { title: String! }");
    ///
    /// async fn id_token() -> Result<Secret, Box<dyn std::error::Error + Send + Sync>> {
    ///     Ok(Secret::new("eyJ..."))
    /// }
    ///
    /// let builder = DataStore::builder(schema())
    ///     .endpoint_with("https://example.com/graphql", Authorization::token_from(CachedTokens::new(id_token)));
    /// ```
    #[must_use]
    pub fn endpoint_with(mut self, url: impl Into<String>, authorization: Authorization) -> Self {
        self.endpoint = Some((url.into(), authorization));
        self
    }

    /// Another way to prove who asks, used where the [`auth_strategy`](Self::auth_strategy) names its mode.
    #[must_use]
    pub fn also_authorized(mut self, mode: AuthMode, authorization: Authorization) -> Self {
        self.others.push((mode, authorization));
        self
    }

    /// Chooses among several ways to prove who asks, by model and operation (Amplify's `authModeStrategy`).
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// use landfall::{Access, AuthMode, Authorization, DataStore, Subject};
    ///
    /// // Whoever is signed in writes; everybody may read.
    /// let builder = DataStore::builder(schema())
    ///     .endpoint_with("https://example.com/graphql", Authorization::fixed_token("eyJ..."))
    ///     .also_authorized(AuthMode::ApiKey, Authorization::api_key("da2-your-key"))
    ///     .auth_strategy(|subject: &Subject| match subject.access {
    ///         Access::Read | Access::Listen => vec![AuthMode::ApiKey],
    ///         _ => vec![AuthMode::UserPool],
    ///     });
    /// ```
    #[must_use]
    pub fn auth_strategy(mut self, strategy: impl AuthStrategy + 'static) -> Self {
        self.strategy = Some(Arc::new(strategy));
        self
    }

    /// Chooses among several ways to prove who asks by the `@auth` rules of each model (Amplify's `MULTI_AUTH`).
    #[must_use]
    pub fn multi_auth(self) -> Self {
        let strategy = MultiAuth::of_schema(&self.schema);
        self.auth_strategy(strategy)
    }

    /// The AWS region of the API, for signatures; needed only if the API has a domain of its own.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
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
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
    /// use landfall::{DataStore, Error};
    ///
    /// let store = DataStore::builder(schema()).sync_expression(Post::rating().gt(3)).open().await?;
    /// // The server checks it as well, so it has to be about fields that the model has.
    /// let refused = DataStore::builder(schema())
    ///     .sync_expression_for("Post", landfall::Predicate::field("colour", landfall::Op::Eq("red".into())))
    ///     .open()
    ///     .await;
    /// assert!(matches!(refused, Err(Error::BadPredicate(_))));
    /// # Ok(()) }
    /// ```
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

    /// Syncs only the records of a model that satisfy the predicate which `compute` makes; it is asked at each
    /// [`start`](DataStore::start) and by [`refresh_expressions`](DataStore::refresh_expressions). A changed answer has
    /// everything fetched again, and what it does not select leaves the store.
    ///
    /// ```
    /// use landfall::{DataStore, Op, Predicate};
    ///
    /// landfall::inline_schema!("type Task @model { team: String! }");
    ///
    /// async fn team_of_the_user() -> String {
    ///     "red".to_owned()
    /// }
    ///
    /// let builder = DataStore::builder(schema()).sync_expression_from("Task", || async {
    ///     Predicate::field("team", Op::Eq(team_of_the_user().await.into()))
    /// });
    /// ```
    #[must_use]
    pub fn sync_expression_from<F>(
        mut self,
        model: impl Into<ModelName>,
        compute: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Predicate> + Send + 'static,
    {
        self.expressions
            .insert(model.into(), Arc::new(move || Box::pin(compute())));
        self
    }

    /// When a record is noticed that others changed so that its model's expression no longer selects it.
    #[must_use]
    pub fn leaving(mut self, leaving: Leaving) -> Self {
        self.settings.leaving = leaving;
        self
    }

    /// How the store hears of changes of a model.
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! } type Country @model { name: String! }");
    /// use landfall::{DataStore, Listen};
    /// use std::time::Duration;
    ///
    /// let builder = DataStore::builder(schema())
    ///     .listen("Post", Listen::Polling(Duration::from_secs(60)))
    ///     .listen("Country", Listen::Off);
    /// ```
    #[must_use]
    pub fn listen(mut self, model: impl Into<ModelName>, listen: Listen) -> Self {
        self.settings.listening.insert(model.into(), listen);
        self
    }

    /// Every other setting of sync.
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// let builder = landfall::DataStore::builder(schema()).sync_settings(|settings| {
    ///     settings.lanes = 8;
    ///     settings.owner = Some("ada".to_owned());
    /// });
    /// ```
    #[must_use]
    pub fn sync_settings(mut self, change: impl FnOnce(&mut SyncSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Decides conflicts (Amplify's `conflictHandler`).
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// use landfall::{DataStore, DecideBy, Resolution, SyncConflict};
    ///
    /// // What others have not touched is still ours; otherwise theirs stands.
    /// let builder = DataStore::builder(schema()).conflict_handler(DecideBy(|conflict: SyncConflict| {
    ///     let clash = conflict.changed.iter().any(|field| conflict.overtaken.contains(field));
    ///     if clash { Resolution::AcceptRemote } else { Resolution::KeepLocal }
    /// }));
    /// ```
    #[must_use]
    pub fn conflict_handler(mut self, handler: impl ConflictHandler + 'static) -> Self {
        self.settings.conflict_handler = Arc::new(handler);
        self
    }

    /// Hears of errors during sync (Amplify's `errorHandler`).
    ///
    /// ```
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// use landfall::{DataStore, ErrorHandler, SyncError};
    ///
    /// struct Tell;
    ///
    /// impl ErrorHandler for Tell {
    ///     fn handle(&self, error: SyncError) {
    ///         eprintln!("{}: {} {}", error.kind.name(), error.message, error.suggestion);
    ///     }
    /// }
    ///
    /// let builder = DataStore::builder(schema()).error_handler(Tell);
    /// ```
    #[must_use]
    pub fn error_handler(mut self, handler: impl ErrorHandler + 'static) -> Self {
        self.settings.error_handler = Arc::new(handler);
        self
    }

    /// Records every outside input of this run in a new file, from which `landfall replay` can play it again: what the app
    /// writes, what the server sends, timers, clocks, random numbers, errors of the disk. Credentials are not recorded;
    /// records are. The store never waits for the recorder; what it has to drop it says, see
    /// [`recording`](DataStore::recording). Ours.
    ///
    /// The file must not be there yet; [`open`](Self::open) fails otherwise, and leaves no file if it fails for another
    /// reason. A store whose log was [trimmed](Self::retention) before is not recorded, since a recording begins with a copy
    /// of the whole log: the log of the program says so, and [`stopped`](crate::flight::RecorderReport::stopped) is true.
    ///
    /// While a store is recorded, errors of its transport lose what may be credentials before anybody sees them: the
    /// queries of addresses, and why there are no valid credentials.
    #[must_use]
    pub fn record(self, file: impl Into<PathBuf>) -> Self {
        self.record_up_to(file, RECORDING_BYTES_MAX)
    }

    /// As [`record`](Self::record); recording ends when the file would become longer than so many bytes.
    #[must_use]
    pub fn record_up_to(mut self, file: impl Into<PathBuf>, bytes: u64) -> Self {
        self.record = Some((file.into(), bytes));
        self
    }

    /// Begins to record, if that is wanted, and has the actors of `env` watched.
    fn start_recorder(&self, env: &mut Env) -> Result<Option<Arc<Recorder>>, Error> {
        let Some((file, bytes_max)) = &self.record else {
            return Ok(None);
        };
        let head = Recorder::head(&self.schema, !self.local_only, env.transport.as_ref());
        let recorder = Recorder::start(file, *bytes_max, &head).map_err(|error| {
            let file = file.display();
            let reason = match error.kind() {
                ErrorKind::AlreadyExists => {
                    format!("{file} is there already; choose another name or remove it")
                }
                _ => format!("{file}: {error}"),
            };
            Error::CannotRecord { reason }
        })?;
        env.flight.deck = Some(recorder.deck(env));
        Ok(Some(recorder))
    }

    /// Opens the store. It does not sync until [`DataStore::start`].
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { title: String! }");
    /// # let home = tempfile::tempdir()?;
    /// use landfall::{DataStore, Error};
    ///
    /// let store = DataStore::builder(schema()).directory(home.path()).open().await?;
    /// let second = DataStore::builder(schema()).directory(home.path()).open().await;
    /// assert!(matches!(second, Err(Error::Storage(_))), "the first one has it open");
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory is locked, foreign, damaged, or does not fit the schema, and for a setting of a
    /// model that there is not; [`Error::BadNamespace`]; [`Error::BadEndpoint`] if the endpoint cannot work;
    /// [`Error::BadPredicate`] for a sync expression and [`Error::BadComputedField`] for a computed field that does not fit
    /// its model; [`Error::CannotRecord`] if the file of a recording cannot be made. Nothing is changed then.
    pub async fn open(mut self) -> Result<DataStore, Error> {
        self.settle()?;
        self.check_expressions()?;
        let gate = Arc::new(NetworkGate::default());
        let transport = self
            .way_to_server()?
            .map(|inner| Arc::new(GatedTransport::new(inner, Arc::clone(&gate))) as Arc<dyn Transport>);
        let mut env = Env {
            clock: Arc::new(OsClock::new()),
            entropy: Arc::new(OsEntropy),
            transport,
            trace: Arc::new(NoTrace),
            schedule: Arc::new(Immediate),
            flight: Flight::default(),
            meter: landfall_actors::Meter::default(),
        };
        let recorder = self.start_recorder(&mut env)?;
        let now_ms = env.clock.wall_ms();
        let options = self.options(now_ms);
        let opened = Runtime::open(env, options, self.migrations, !self.local_only, recorder.clone()).await;
        if let (Err(_), Some(recorder)) = (&opened, &recorder) {
            // The next attempt may have the same name.
            recorder.give_up();
        }
        let (mut runtime, handles) = opened?;
        runtime.trim_meanwhile(&handles, self.retention);
        let store = DataStore::new(
            handles,
            self.settings,
            self.expressions,
            Some(runtime),
            gate,
            recorder,
        );
        Ok(store)
    }

    /// Opens the store on the current actix system, in the given world; for simulators. Its log is trimmed by then.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(mut self, mut env: Env) -> Result<DataStore, Error> {
        self.settle()?;
        self.check_expressions()?;
        let now_ms = env.clock.wall_ms();
        let mut store = Store::open_migrating(self.options(now_ms), &self.migrations)?;
        if is_due(&store.reader().snapshot()?, &self.retention, now_ms)? {
            store.trim(&self.retention, now_ms)?;
        }
        let recorder = self.start_recorder(&mut env)?;
        if let Some(recorder) = &recorder {
            recorder.begin(&store.reader());
        }
        let handles = assemble(env, store, !self.local_only, None);
        Ok(DataStore::new(
            handles,
            self.settings,
            self.expressions,
            None,
            Arc::default(),
            recorder,
        ))
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
        if !self.model_sync.is_empty() {
            let said = self.model_sync.iter().map(|(model, sync)| (model, *sync));
            let schema = self.schema.with_model_sync(said);
            self.schema = Arc::new(schema.map_err(|model| unknown(&self.schema, &model))?);
        }
        for computed in std::mem::take(&mut self.computed) {
            self.schema = Arc::new(computed.added_to(&self.schema)?);
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
        let Some((url, authorization)) = &self.endpoint else {
            return Ok(None);
        };
        let mut endpoint = Endpoint::new(url, authorization.clone())?;
        for (mode, authorization) in &self.others {
            endpoint = endpoint.with_authorization(*mode, authorization.clone())?;
        }
        if let Some(strategy) = &self.strategy {
            endpoint = endpoint.with_strategy(Arc::clone(strategy));
        }
        if let Some(region) = &self.region {
            endpoint = endpoint.with_region(region);
        }
        if let Some(realtime_url) = &self.realtime_url {
            endpoint = endpoint.with_realtime_url(realtime_url)?;
        }
        Ok(Some(Arc::new(HttpTransport::new(endpoint)?)))
    }

    fn check_expressions(&self) -> Result<(), Error> {
        for model in self.expressions.models().chain(self.settings.listening.keys()) {
            self.def(model)?;
        }
        for (model, predicate) in &self.settings.expressions {
            predicate.bind(self.def(model)?)?;
        }
        Ok(())
    }

    fn def(&self, model: &ModelName) -> Result<&landfall_core::ModelDef, Error> {
        self.schema
            .model(model)
            .map(Arc::as_ref)
            .ok_or_else(|| unknown(&self.schema, model))
    }
}

fn unknown(schema: &Schema, model: &ModelName) -> Error {
    let known: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
    let (model, known) = (model.to_string(), known.join(", "));
    landfall_storage::StorageError::UnknownModel { model, known }.into()
}
