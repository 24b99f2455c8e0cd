//! Landfall's store: the event log, and everything that is projected from it, in one file.
//!
//! The only crate that names redb. A write transaction ([`Txn`]) appends log entries; each is projected into rows,
//! indexes, metadata and outbox in the same commit. A commit is on disk once its entries are in the journal, and the
//! database catches up by checkpoints. Readers take snapshots beside the writer. No rules live here
//! (`landfall-core` has them), no channels and no threads (`landfall-actors` has those), but for those that share the
//! reading of a long log and end with the question ([`history`]).

mod backup;
mod base;
mod catalog;
mod codec;
mod commit;
mod digest;
mod disk;
mod error;
mod fenced;
pub mod history;
mod index;
mod index_build;
mod journal;
pub mod kv;
mod listing;
mod migrate;
mod open;
mod overlay;
mod panics;
mod projections;
mod query;
mod rebuild;
mod remake;
mod retention;
mod row_cache;
mod schema_diff;
mod scratch;
mod snapshot;
mod store;
mod sync;
mod tables;
#[cfg(test)]
mod test_support;
mod txn;
mod unfinished;

pub use backup::{CopyProgress, Statistics, restore};
pub use codec::nesting::nests_too_deep;
pub use disk::{Disk, FILE_NAME, InMemoryBackend, OpenBackend, StorageBackend, database_of};
pub use error::StorageError;
pub use listing::Listing;
pub use migrate::{LostValues, MigrationProgress, MigrationReport, Migrations, OnProgress};
pub use panics::panics_become_errors;
pub use query::{
    CURSOR_LEN_MAX, Cursor, Explanation, Followed, GROUPS_MAX, Group, Measure, Plan, Query, RecordPage,
};
pub use rebuild::{DIFFERENCES_MAX, Verification, verify};
pub use remake::{Extent, Remade, remake};
pub use retention::Retention;
pub use schema_diff::{LossKind, SchemaLoss, schema_losses};
pub use snapshot::Snapshot;
pub use store::{
    CACHE_BYTES_DEFAULT, Compacted, OnIncompatible, Proof, Reader, Store, StoreOptions, Trimmed, Written,
};
pub use txn::{Applied, ChangeKind, OutboxChange, Txn, VisibleChange};
