//! The pure rules of Landfall: schema, values, records, predicates, log entries, and what each of them does.
//!
//! Nothing here reads a clock, a file, a socket or a random number: every function is a rule that a test can call.
//! `landfall-storage` stores what these rules decide, `landfall-actors` performs it.

mod aws;
mod decide;
mod entry;
mod introspection;
pub mod keycode;
mod migrate;
mod model;
mod mutation;
mod names;
mod outbox;
mod planted;
mod predicate;
mod rank;
mod record;
mod scalar;
mod schema;
mod sort;
mod state;
mod sync_plan;
#[cfg(test)]
mod test_support;
mod validate;
mod value;

pub use aws::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, InvalidScalar,
};
pub use decide::{
    CONFLICT_ROUNDS_MAX, RECORD_DELETED, Resolution, SaveRequest, Settled, WriteRefused, decide_conflict,
    decide_delete, decide_edit, decide_import, decide_save, given_up, parents, settle,
};
pub use entry::{
    Acknowledged, Change, Checkpoint, Conflict, Decision, Edited, Evicted, LogEntry, MutationRef, Opaque,
    Origin, Quarantined, RecordBase, Refused, Remote, SchemaChanged, Sent, Write,
};
pub use introspection::{IntrospectionError, from_json as schema_from_json, to_json as schema_to_json};
pub use migrate::{Carrier, CarryFault, Converter, Migration, MigrationMisfit, MigrationStep};
pub use model::{
    BelongsTo, BuildError, BuildFault, BuildFields, Comparable, Containing, DecodeError, Field, FieldValue,
    HasMany, HasOne, IntoField, Model, NonModel, Numeric, Operand, Pending, Related, Textual, TypedPredicate,
    TypedSort, UnknownEnumValue, ValueFault, default_of, embedded_schema, related, take_member, take_value,
};
pub use mutation::{
    CONDITION_FAILED, Coalesced, Mutation, MutationKind, OUTCOME_NOT_SHOWN, OUTCOME_UNKNOWN, Refusal,
    SCHEMA_MISMATCH, Seq, Stage, coalesce,
};
pub use names::{FieldName, ModelName};
pub use outbox::{Errand, Outbox, Topic};
#[cfg(feature = "planted-defects")]
pub use planted::plant;
pub use planted::planted;
pub use predicate::{
    BoundPredicate, FieldSource, Op, PREDICATE_DEPTH_MAX, Predicate, PredicateError, identifier_at,
};
pub use rank::Rank;
pub use record::{
    Base, FieldMap, IdPart, Record, RecordId, RecordKey, RecordVersion, RemoteRecord, SyncMetadata,
};
pub use scalar::Scalar;
pub use schema::{
    AUTH_FIELD, ApiName, Association, Belonging, Computable, Compute, ComputedField, ComputedMisfit, EnumDef,
    FieldDef, FieldType, IndexDef, KeyDef, KeyKind, ListDef, ModelApi, ModelDef, ModelParts, ModelSync,
    NonModelDef, STORED_FIELDS_MAX, Schema, SchemaError, SchemaHash, SchemaParts, Slot, SubscriptionLevel,
    Timestamps, fill_defaults,
};
pub use sort::{BoundSort, Direction, Page, Sort, SortKey, compare_keys};
pub use state::{FoldError, RecordState, Row, changed_by_others, is_news, is_subset, takes_back};
pub use sync_plan::{Paging, SyncAges, SyncCursor, SyncKind, SyncPlan, plan as plan_sync};
pub use validate::{FieldFault, InvalidRecord, RECORD_BYTES_MAX, VALUE_DEPTH_MAX, validate};
pub use value::{Value, ValueRef};
