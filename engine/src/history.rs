//! What happened to a store: its log, states of the past, and the reasons for a value.
//!
//! Owns the names under which the storage crate's reading of logs is part of the public interface. A store that is open
//! in this process gives its [`History`] by [`DataStore::history`](crate::DataStore::history); one that no process has
//! open, and an exported log, are opened with [`open_for_inspection`].

pub use landfall_core::{
    Acknowledged, Change as LogChange, Checkpoint, Conflict, Decision, Evicted, MutationRef, Opaque,
    Quarantined, RecordState, Refused, Remote, RemoteRecord, SchemaChanged, Sent, SyncCursor, Write,
};
pub use landfall_storage::history::{
    CHAIN_MAX, Check, CursorDifference, DAMAGE_MAX, Damage, Difference, Exported, Failure, FieldChange,
    Filter, GAPS_MAX, History, Invariant, Line, Listing, LiveLog, PastState, REDACTION_KEY_BYTES,
    RecordDifference, RecordHistory, Redaction, Rule, Scope, Stats, Step, Tally, Why, change_json,
    entry_json, open_for_inspection, origin_name,
};
