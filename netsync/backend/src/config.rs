//! What can be set on a backend, with AppSync's and Amplify's values as defaults.
//!
//! Owns [`BackendConfig`], [`Limits`] and [`Switches`]. A switch exists where the behaviour of the real service is not
//! settled by evidence; its default is the reading that the evidence favours, and clients must be right under both.

use std::collections::BTreeMap;

use landfall_core::ModelName;

use crate::auth::{ApiKey, AuthSettings};
use crate::conflict::{ConflictHandlers, ConflictStrategy};
use crate::hash::HashKey;

/// Settings of a backend.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// Keys that callers may present; without any, no call with a key is let in.
    pub api_keys: Vec<ApiKey>,
    /// The identities that are accepted beside API keys.
    pub auth: AuthSettings,
    /// How conflicts are resolved where `model_conflicts` says nothing.
    pub conflict: ConflictStrategy,
    /// How conflicts of single models are resolved.
    pub model_conflicts: BTreeMap<ModelName, ConflictStrategy>,
    /// Who decides conflicts under [`ConflictStrategy::Handler`].
    pub conflict_handlers: ConflictHandlers,
    /// How long a deleted record stays as a tombstone, in minutes; 0 keeps none.
    pub base_ttl_minutes: u32,
    /// How long a change stays in the delta table, and how old a `lastSync` is answered from it, in minutes.
    pub delta_ttl_minutes: u32,
    /// Key that binds page tokens; tokens of another key are refused. Without one a random key is drawn at each start,
    /// and pages that were begun before a restart cannot be gone on with.
    pub token_key: Option<HashKey>,
    /// Bounds on what callers may ask.
    pub limits: Limits,
    /// Readings of what is not known of the real service.
    pub switches: Switches,
}

impl BackendConfig {
    /// Settings with one API key that never expires.
    pub fn with_api_key(key: impl Into<String>) -> Self {
        Self {
            api_keys: vec![ApiKey::new(key)],
            ..Self::default()
        }
    }
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            auth: AuthSettings::default(),
            conflict: ConflictStrategy::Automerge,
            model_conflicts: BTreeMap::new(),
            conflict_handlers: ConflictHandlers::default(),
            base_ttl_minutes: 43_200,
            delta_ttl_minutes: 30,
            token_key: None,
            limits: Limits::default(),
            switches: Switches::default(),
        }
    }
}

/// Bounds on what callers may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a request, in bytes. AppSync takes operations up to 1 MiB.
    pub body_bytes_max: usize,
    /// Deepest nesting of fields in a document; the hardest setting of AppSync's depth limit is looser.
    pub query_depth_max: usize,
    /// Most fields that a document selects after its fragments are unfolded, against documents that grow when executed.
    pub query_fields_max: usize,
    /// Most fields of a document that are answered under another name (ours; Amplify's clients send none, and those who
    /// batch mutations some dozens): only by aliases can a field be asked for again and again. Within introspection each
    /// counts for twenty.
    pub aliases_max: usize,
    /// Most root fields of one document; each may read a thousand rows.
    pub root_fields_max: usize,
    /// Most reads of relations within one request (AppSync: 10,000 resolvers).
    pub resolvers_max: usize,
    /// Most bytes of rows read within one request; an answer is held in memory as a whole.
    pub read_bytes_max: usize,
    /// Most bytes of an answer, each member counted with some fifty more for what it takes in memory (AppSync: 5 MB of text).
    pub answer_bytes_max: usize,
    /// Most bytes of arguments within one request once variables are put in, those of a relation counted for each record
    /// that it is followed from (ours): a variable may be named thousands of times.
    pub arguments_bytes_max: usize,
    /// Most bytes that one request writes, rows of changes included; beyond it the mutations that are left are refused
    /// (ours). As much as 32 records of the largest size, which is what Landfall's client sends in one request.
    pub written_bytes_max: usize,
    /// Most bytes of answers to mutations that are committed together (ours): beyond it the commit is closed, and what waits
    /// comes into the next. No answer leaves before its commit.
    pub commit_answers_bytes_max: usize,
    /// Most documents whose parsed form is kept.
    pub documents_cached_max: usize,
    /// Most bytes that parsed documents take that are kept, as held in memory (ours): some hundred times their text.
    pub documents_cached_bytes_max: usize,
    /// Rows that a page evaluates when the caller names no limit.
    pub page_default: usize,
    /// Most rows that a page evaluates.
    pub page_max: usize,
    /// Most subscriptions of one connection (AppSync: 200, earlier 100 and 50).
    pub subscriptions_max: usize,
    /// Most fields that a subscription selects after its fragments are unfolded (ours): each is looked up for every
    /// message.
    pub subscription_fields_max: usize,
    /// Most bytes that the subscriptions of one connection keep, as held in memory: a document takes some hundred times its text.
    pub subscription_bytes_max: usize,
    /// Most bytes that the subscriptions of all connections keep, as held in memory; what many are sent alike counts
    /// once (ours).
    pub subscriptions_bytes_max: usize,
    /// Longest identifier of a subscription, in bytes; clients send UUIDs.
    pub subscription_id_bytes_max: usize,
    /// Most messages of one connection in a second; as many may come at once after a quiet second.
    pub frames_per_second_max: u32,
    /// How long a new connection may say nothing that the server knows, in milliseconds.
    pub init_timeout_ms: i64,
    /// Most realtime connections at once; each holds buffers.
    pub connections_max: usize,
    /// Longest realtime message in either direction, in bytes (AppSync: 240 KB).
    pub frame_bytes_max: usize,
    /// Most messages that wait for a slow connection before it is cut.
    pub outgoing_frames_max: usize,
    /// Most bytes that wait for a slow connection before it is cut.
    pub outgoing_bytes_max: usize,
    /// Most bytes that wait for all slow connections together, as held in memory: a payload that many wait for counts once.
    /// Beyond it the fullest connections are cut (ours).
    pub outgoing_total_bytes_max: usize,
    /// How long a realtime connection may last, in milliseconds (AppSync: 24 hours).
    pub connection_age_ms_max: i64,
    /// Time between two keep-alive messages, in milliseconds.
    pub keep_alive_ms: i64,
    /// What clients are told to wait for a message before they give a connection up, in milliseconds.
    pub connection_timeout_ms: i64,
    /// Most calls in a second, of all callers that were let in together; those beyond are answered 429. `None` bounds them
    /// not (AppSync: some thousand).
    pub calls_per_second_max: Option<u32>,
    /// Most comparisons and connectives of a filter or condition (DynamoDB: 300 operators); each row is held against all.
    pub filter_operators_max: usize,
    /// Most OR-ed combinations that a subscription filter unfolds to.
    pub filter_combinations_max: usize,
    /// Most different fields in a subscription filter.
    pub filter_attributes_max: usize,
    /// Most values of `in` and `notIn` in a subscription filter.
    pub filter_values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            query_depth_max: 50,
            query_fields_max: 20_000,
            aliases_max: 1_000,
            root_fields_max: 100,
            resolvers_max: 10_000,
            read_bytes_max: 64 * 1024 * 1024,
            answer_bytes_max: 8 * 1024 * 1024,
            arguments_bytes_max: 4 * 1024 * 1024,
            written_bytes_max: 32 * 1024 * 1024,
            commit_answers_bytes_max: 32 * 1024 * 1024,
            documents_cached_max: 512,
            documents_cached_bytes_max: 64 * 1024 * 1024,
            page_default: 100,
            page_max: 1_000,
            subscriptions_max: 200,
            subscription_fields_max: 500,
            subscription_bytes_max: 8 * 1024 * 1024,
            subscriptions_bytes_max: 256 * 1024 * 1024,
            subscription_id_bytes_max: 256,
            frames_per_second_max: 1_000,
            init_timeout_ms: 30_000,
            connections_max: 10_000,
            frame_bytes_max: 240 * 1024,
            outgoing_frames_max: 4_096,
            outgoing_bytes_max: 16 * 1024 * 1024,
            outgoing_total_bytes_max: 256 * 1024 * 1024,
            connection_age_ms_max: 24 * 60 * 60 * 1_000,
            keep_alive_ms: 60_000,
            connection_timeout_ms: 300_000,
            calls_per_second_max: None,
            filter_operators_max: 300,
            filter_combinations_max: 10,
            filter_attributes_max: 5,
            filter_values_max: 5,
        }
    }
}

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident { $(#[$default_doc:meta])* $default:ident, $($(#[$other_doc:meta])* $other:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$default_doc])*
            #[default]
            $default,
            $($(#[$other_doc])* $other,)+
        }

        impl $name {
            /// Every reading, the default first.
            pub const ALL: &'static [Self] = &[Self::$default, $(Self::$other),+];
        }
    };
}

/// Readings of what is not known of the real service; the defaults are those the evidence favours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// An update whose `_version` is above the stored one.
    pub higher_version: HigherVersion,
    /// Which is looked at first, version or condition.
    pub condition_order: ConditionOrder,
    /// An update of a tombstone with its right version.
    pub tombstone_update: TombstoneUpdate,
    /// A `_version` in the input of a create.
    pub version_in_create: VersionInCreate,
    /// Lists on both sides of a merge.
    pub list_merge: ListMerge,
    /// Values of different kinds on the two sides of a merge.
    pub kind_mismatch: KindMismatch,
    /// A merge that leaves the record as it was.
    pub idle_merge: IdleMerge,
    /// The managed `updatedAt` after a merge.
    pub merged_updated_at: MergedUpdatedAt,
    /// An explicit null in the input of a create.
    pub null_in_create: NullInCreate,
    /// Changes of the very millisecond of `lastSync`.
    pub delta_boundary: DeltaBoundary,
    /// A `lastSync` that lies ahead of the server's clock.
    pub future_last_sync: FutureLastSync,
    /// A page limit of 0 or above the maximum.
    pub bad_limit: BadLimit,
    /// Tombstones whose time to live is over but which are not purged yet.
    pub expired_tombstones: ExpiredTombstones,
    /// `stop` for a subscription that does not exist.
    pub unknown_stop: UnknownStop,
    /// The form of `payload.errors` in error messages about limits.
    pub limit_errors: LimitErrors,
    /// `start` on a realtime connection whose client has not sent `connection_init`.
    pub start_before_init: StartBeforeInit,
}

switch! {
    /// See [`Switches::higher_version`].
    HigherVersion {
        /// Differs, so it is a conflict.
        Conflict,
        /// Taken under automerge; the next version is above both.
        Accepted,
    }
}

switch! {
    /// See [`Switches::condition_order`].
    ConditionOrder {
        /// A stale write is a conflict even if its condition fails too.
        VersionFirst,
        /// A failed condition is reported even if the write is stale too.
        ConditionFirst,
        /// As `VersionFirst`, and a merge goes through without its condition being looked at.
        VersionOnly,
    }
}

switch! {
    /// See [`Switches::tombstone_update`].
    TombstoneUpdate {
        /// Written; the record stays deleted.
        StaysDeleted,
        /// Refused as a conflict.
        Conflict,
    }
}

switch! {
    /// See [`Switches::version_in_create`].
    VersionInCreate {
        /// Refused as an edit of sync metadata.
        BadRequest,
        /// Left out of the record.
        Ignored,
    }
}

switch! {
    /// See [`Switches::list_merge`]; all but `Append` are extensions that users of AppSync have asked for.
    ListMerge {
        /// The incoming elements go behind the stored ones, duplicates included.
        Append,
        /// The incoming list takes the place of the stored one.
        Replace,
        /// Incoming elements that are not stored yet go behind the stored ones.
        Union,
    }
}

switch! {
    /// See [`Switches::kind_mismatch`].
    KindMismatch {
        /// The stored value stays, as for two scalars.
        StoredWins,
        /// The incoming value is taken.
        IncomingWins,
    }
}

switch! {
    /// See [`Switches::idle_merge`].
    IdleMerge {
        /// Written all the same: next version, delta row, subscription message.
        Written,
        /// Answered with the stored record; nothing is written.
        Skipped,
    }
}

switch! {
    /// See [`Switches::merged_updated_at`].
    MergedUpdatedAt {
        /// The stored time stays, as for any scalar.
        Kept,
        /// The time of the merge.
        Renewed,
    }
}

switch! {
    /// See [`Switches::null_in_create`].
    NullInCreate {
        /// Stored as a null that exists.
        Stored,
        /// Left out of the record.
        Omitted,
    }
}

switch! {
    /// See [`Switches::delta_boundary`].
    DeltaBoundary {
        /// Sent again; nothing can be missed.
        Included,
        /// Not sent again.
        Excluded,
    }
}

switch! {
    /// See [`Switches::future_last_sync`].
    FutureLastSync {
        /// Answered with an empty delta.
        EmptyDelta,
        /// Answered with a base sync.
        Base,
    }
}

switch! {
    /// See [`Switches::bad_limit`].
    BadLimit {
        /// Refused.
        Refused,
        /// Moved to the nearest limit that is allowed.
        Clamped,
    }
}

switch! {
    /// See [`Switches::expired_tombstones`].
    ExpiredTombstones {
        /// Gone the moment their time is over.
        Gone,
        /// There until they are purged, as DynamoDB does for up to two days.
        UntilPurged,
    }
}

switch! {
    /// See [`Switches::unknown_stop`].
    UnknownStop {
        /// Passed over.
        Ignored,
        /// Answered with `complete`.
        Completed,
    }
}

switch! {
    /// See [`Switches::start_before_init`].
    StartBeforeInit {
        /// Served: AWS's guide calls the message optional.
        Served,
        /// Answered with an error, and the connection is closed, as the guide had it before.
        Refused,
    }
}

switch! {
    /// See [`Switches::limit_errors`].
    LimitErrors {
        /// A list of errors, as in every other message.
        List,
        /// One error object, as seen on the real service.
        Object,
    }
}
