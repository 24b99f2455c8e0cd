//! Landfall's store: the event log, and everything that is projected from it, in one redb file.
//!
//! The only crate that names redb. A write transaction ([`Txn`]) appends log entries; each is projected into rows,
//! indexes, metadata and outbox in the same commit. Readers take snapshots beside the writer. No rules live here
//! (`landfall-core` has them), no channels and no threads (`landfall-actors` has those).

mod catalog;
mod codec;
mod disk;
mod error;
pub mod history;
mod index;
pub mod kv;
mod open;
mod projections;
mod query;
mod rebuild;
mod schema_diff;
mod snapshot;
mod store;
mod tables;
#[cfg(test)]
mod test_support;
mod txn;

pub use disk::{Disk, FILE_NAME, InMemoryBackend, OpenBackend, StorageBackend};
pub use error::StorageError;
pub use query::{Plan, Query};
pub use rebuild::{DIFFERENCES_MAX, Verification, verify};
pub use snapshot::Snapshot;
pub use store::{CACHE_BYTES_DEFAULT, OnIncompatible, Reader, Store, StoreOptions, Written};
pub use txn::{Applied, ChangeKind, OutboxChange, Txn, VisibleChange};
