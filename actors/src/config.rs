//! What the app can set about sync, as plain data, with every default written out.
//!
//! Owns [`SyncSettings`]. Units are in the types: durations, numbers of records.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use landfall_core::{ModelName, Predicate};

use crate::handlers::{ApplyLocalChanges, ConflictHandler, ErrorHandler, LogErrors};

/// How the store syncs.
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
    /// Models that are synced at the same time.
    pub models_in_parallel: usize,
    /// Mutations of unrelated records that are on their way at the same time.
    pub lanes: usize,
    /// Decides conflicts. By default the changed fields are applied to the server's record.
    pub conflict_handler: Arc<dyn ConflictHandler>,
    /// Hears of what the app may want to act on. By default it is logged.
    pub error_handler: Arc<dyn ErrorHandler>,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            page_size: 1_000,
            records_max: 10_000,
            full_sync_interval: Duration::from_secs(24 * 60 * 60),
            expressions: BTreeMap::new(),
            models_in_parallel: 4,
            lanes: 32,
            conflict_handler: Arc::new(ApplyLocalChanges),
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
            .field("models_in_parallel", &self.models_in_parallel)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}
