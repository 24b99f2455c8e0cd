//! What the app can set about sync, as plain data, with every default written out.
//!
//! Owns [`SyncSettings`]. Units are in the types: durations, numbers of records.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use landfall_core::{ModelName, Predicate};

use crate::handlers::{ApplyLocalChanges, ConflictHandler, ErrorHandler, LogErrors, SyncError};

/// How the store syncs; `DataStoreBuilder::sync_settings` and `DataStore::configure` change it.
///
/// ```
/// use landfall_actors::SyncSettings;
///
/// let settings = SyncSettings::default();
/// assert_eq!((settings.page_size, settings.records_max, settings.lanes), (1_000, 10_000, 32));
/// ```
#[derive(Clone)]
pub struct SyncSettings {
    /// Records that a page of a sync query asks for. Amplify: `syncPageSize`, 1,000; AppSync takes no more.
    pub page_size: u32,
    /// Records of one model that one sync fetches at most; a model that has more is reported as truncated. Amplify:
    /// `maxRecordsToSync`, 10,000.
    pub records_max: u64,
    /// How long delta syncs will do before everything is fetched again. Amplify: `fullSyncInterval`, 24 hours.
    pub full_sync_interval: Duration,
    /// Which records of a model sync; a model without one syncs all. Amplify: `syncExpressions`.
    pub expressions: BTreeMap<ModelName, Predicate>,
    /// How long the server remembers what was deleted (Amplify: 30 days). If nothing was synced for so long, everything
    /// is fetched again: a delta sync would not mention all that has gone.
    pub tombstone_life: Duration,
    /// How far back the server's list of changes goes (Amplify: 30 minutes). A model with an expression that was not
    /// synced for so long is fetched again; the server would send everything in any case.
    pub delta_life: Duration,
    /// How the store hears of changes of a model; by subscriptions, if nothing is said here.
    pub listening: BTreeMap<ModelName, Listen>,
    /// Who the user is, as the owner fields of records have it. Given, subscriptions to models with an owner rule name it
    /// as an argument, as Amplify's clients do by a claim of the token; APIs of its first generation demand that. Without,
    /// the server is left to apply its rules, which those of today do. None by default.
    pub owner: Option<String>,
    /// When a record is noticed that no longer satisfies the expression of its model.
    pub leaving: Leaving,
    /// Models that are synced at the same time.
    pub models_in_parallel: usize,
    /// Mutations of unrelated records that are on their way at the same time, at most: fewer while the server fails or
    /// throttles.
    pub lanes: usize,
    /// Mutations that travel in one request at most, told apart by aliases; each is answered and judged alone. More than
    /// one is for servers that are known to take it, such as Landfall's backend with few round trips to spare; a lost
    /// answer leaves the outcome of all of them unknown. One by default, as with Amplify's clients; at most
    /// [`BATCH_MAX`](landfall_wire::BATCH_MAX) are sent together. Ours.
    pub mutations_per_request: usize,
    /// Decides conflicts. By default the changed fields are applied to the server's record.
    pub conflict_handler: Arc<dyn ConflictHandler>,
    /// How long the conflict handler may take. After that the change is parked, with the server's record beside it.
    pub conflict_timeout: Duration,
    /// Hears of what the app may want to act on. By default it is logged.
    pub error_handler: Arc<dyn ErrorHandler>,
}

/// How the store hears of changes of a model, as `DataStoreBuilder::listen` has it. Ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// By subscriptions, as they happen.
    #[default]
    Live,
    /// By a delta sync every so often, at most once a second; for models that change rarely, or servers that allow few
    /// subscriptions.
    Polling(Duration),
    /// Not at all; each start and each `sync_now` fetches what has changed.
    Off,
}

/// When a record is noticed that another client changed so that it no longer satisfies the sync expression. Ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    /// At once: updates are subscribed without the filter and tested here. Costs the traffic of all updates of the model.
    #[default]
    AtOnce,
    /// With the next sync: the server filters updates, and so keeps quiet about those that lead out.
    WithNextSync,
}

/// Shortest time between two polls of a model, so that a wrong setting does not keep the server busy.
const POLL_INTERVAL_MIN: Duration = Duration::from_secs(1);

impl Listen {
    /// Time between two polls; `None` unless it polls.
    pub(crate) fn poll_interval(&self) -> Option<Duration> {
        match self {
            Self::Polling(interval) => Some((*interval).max(POLL_INTERVAL_MIN)),
            Self::Live | Self::Off => None,
        }
    }
}

impl SyncSettings {
    /// Hands an error to the app. A handler that panics takes no actor with it.
    pub(crate) fn report(&self, error: SyncError) {
        let handled = std::panic::catch_unwind(AssertUnwindSafe(|| self.error_handler.handle(error)));
        if handled.is_err() {
            tracing::error!("the app's error handler panicked; sync goes on");
        }
    }
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            page_size: 1_000,
            records_max: 10_000,
            full_sync_interval: Duration::from_secs(24 * 60 * 60),
            expressions: BTreeMap::new(),
            tombstone_life: Duration::from_secs(30 * 24 * 60 * 60),
            delta_life: Duration::from_secs(30 * 60),
            listening: BTreeMap::new(),
            owner: None,
            leaving: Leaving::default(),
            models_in_parallel: 4,
            lanes: 32,
            mutations_per_request: 1,
            conflict_handler: Arc::new(ApplyLocalChanges),
            conflict_timeout: Duration::from_secs(5 * 60),
            error_handler: Arc::new(LogErrors),
        }
    }
}

impl fmt::Debug for SyncSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSettings")
            .field("page_size", &self.page_size)
            .field("records_max", &self.records_max)
            .field("full_sync_interval", &self.full_sync_interval)
            .field("expressions", &self.expressions)
            .field("listening", &self.listening)
            .field("models_in_parallel", &self.models_in_parallel)
            .field("lanes", &self.lanes)
            .field("mutations_per_request", &self.mutations_per_request)
            .finish_non_exhaustive()
    }
}
