//! Landfall is Amplify DataStore for Rust: an embeddable, local-first store for typed models.
//!
//! Every write lands on disk first, as an entry of an event log, and makes landfall in the cloud when there is one:
//! over GraphQL, with AWS AppSync or with Landfall's own AppSync-compatible backend.
//!
//! The README below is compiled by the tests, and so is every guide in `docs/guides`.
#![doc = include_str!("../../README.md")]

mod aggregate;
mod assembly;
mod builder;
mod computed;
mod datastore;
mod error;
mod expressions;
pub mod flight;
mod gate;
pub mod history;
mod metrics;
mod migration;
mod model_query;
mod namespace;
mod observe;
mod operations;
mod os_env;
mod outbox;
mod pages;
mod records;
mod relations;
mod runtime;
mod streams;
mod syncing;
mod transaction;
mod transfer;
mod trimming;
mod undo;

pub use aggregate::{Aggregate, Grouped};
pub use builder::DataStoreBuilder;
pub use datastore::DataStore;
pub use error::Error;
pub use metrics::{METRICS_OUTBOX_MAX, Metrics};
pub use model_query::ModelQuery;
pub use namespace::{NAMESPACE_LEN_MAX, namespaces};
pub use observe::{Change, Observer, Placed, QueryChanges, QueryObserver, QuerySnapshot};
pub use operations::{rebuild, restore};
pub use outbox::{OutboxView, OutboxWatch};
pub use pages::ResultPage;
pub use records::Records;
pub use streams::HubEvents;
pub use transaction::{TRANSACTION_TRIES_MAX, TRANSACTION_WRITES_MAX, Transaction};
pub use transfer::{IMPORT_LINE_LEN_MAX, TransferError, TransferProgress};

pub use landfall_actors::{
    AcceptRemote, ApplyLocalChanges, Clock, ConflictHandler, DecideBy, Entropy, Env, ErrorHandler, ErrorKind,
    HubEvent, Immediate, Leaving, Listen, LogErrors, Meter, NoTrace, Process, Schedule, SyncConflict,
    SyncError, SyncSettings, Trace, WriteDone, WriteOp, record_json,
};
pub use landfall_core::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, Base, BelongsTo,
    BuildError, BuildFault, Comparable, Computable, ComputedMisfit, Containing, DecodeError, Direction,
    Field, FieldFault, FieldMap, FieldName, FieldValue, HasMany, HasOne, IntoField, InvalidRecord,
    InvalidScalar, LogEntry, Migration, MigrationStep, Model, ModelDef, ModelName, ModelSync, Mutation,
    MutationKind, NonModel, Numeric, OUTCOME_NOT_SHOWN, OUTCOME_UNKNOWN, Op, Origin, Page, Predicate,
    PredicateError, RECORD_BYTES_MAX, RECORD_DELETED, Record, RecordId, RecordKey, RecordVersion, Resolution,
    SCHEMA_MISMATCH, Scalar, Schema, Seq, Sort, Stage, SyncMetadata, TypedPredicate, TypedSort,
    UnknownEnumValue, Value, ValueFault, WriteRefused, schema_from_json, schema_to_json,
};
pub use landfall_macros::{include_schema, inline_schema};
pub use landfall_netsync::{
    AuthMode, AuthStrategy, Authorization, AwsCredentials, AwsCredentialsProvider, AwsCredentialsResult,
    CachedTokens, MultiAuth, Secret, TokenProvider, TokenResult,
};
pub use landfall_storage::{
    ChangeKind, Compacted, CopyProgress, Cursor, Disk, Explanation, Extent, Followed, Group, LostValues,
    Measure, MigrationProgress, MigrationReport, Plan, Query, RecordPage, Remade, Retention, Snapshot,
    Statistics, StorageError, Trimmed, Verification,
};
pub use landfall_wire::{Access, Subject, Transport, TransportError};

/// The guides of `docs/guides`, so that their snippets are compiled.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../docs/guides/embedding.md")]
    mod embedding {}
    #[doc = include_str!("../../docs/guides/syncing.md")]
    mod syncing {}
    #[doc = include_str!("../../docs/guides/simulating.md")]
    mod simulating {}
    #[doc = include_str!("../../docs/guides/debugging.md")]
    mod debugging {}
}

/// What generated code names; not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use landfall_core::{
        BuildFields, IdPart, Pending, default_of, embedded_schema, take_member, take_value,
    };
    pub use serde;
    pub use serde_json;

    /// A fresh identifier for a record that the app makes.
    pub fn new_id() -> String {
        crate::os_env::new_id()
    }
}
