//! Every table of the backend: key and value in words, the version of its form in its name.
//!
//! Owns names, key prefixes and the meta row. Keys of records and index entries are made in `key.rs`.

use landfall_core::ModelName;
use landfall_storage::kv::{KvError, KvRead, KvTable, KvTxn};

use crate::error::BackendError;

/// Table: base. Key: model, zero byte, record key. Value: the record, live or tombstone (`item.rs`).
pub(super) const BASE: KvTable = KvTable::new("base-1");

/// Table: delta. Key: model, zero byte, time of the change in milliseconds, number of the change. Value: the record
/// after the change (`item.rs`).
pub(super) const DELTA: KvTable = KvTable::new("delta-1");

/// Table: index. Key: model, zero byte, index name, zero byte, partition value, sort value, record key. Value: key of
/// the base row.
pub(super) const INDEX: KvTable = KvTable::new("index-1");

/// Table: expiry. Key: end of a tombstone's life in seconds, key of the base row. Value: nothing.
pub(super) const EXPIRY: KvTable = KvTable::new("expiry-1");

/// Table: meta. Key: a name below. Value: see there.
pub(super) const META: KvTable = KvTable::new("meta-1");

/// Meta: 8 bytes number of the next change, 8 bytes time of the last one in milliseconds, both big-endian.
const META_STATE: &[u8] = b"state";

/// Meta: the indexes that were built, one `model index fields` a line.
pub(super) const META_INDEXES: &[u8] = b"indexes";

/// Ends a model or index name inside a key; GraphQL names cannot contain it.
const NAME_END: u8 = 0;

/// What is kept across restarts beside the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) next_change: u64,
    pub(super) floor_ms: i64,
}

pub(super) fn read_meta(read: &dyn KvRead) -> Result<Meta, BackendError> {
    let Some(bytes) = read.get(META, META_STATE)? else {
        return Ok(Meta::default());
    };
    let bad = || BackendError::BadRow {
        table: "meta-1",
        cause: "the state has not 16 bytes".to_owned(),
    };
    let (next_change, floor_ms) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
    let floor_ms = <[u8; 8]>::try_from(floor_ms).map_err(|_| bad())?;
    Ok(Meta {
        next_change: u64::from_be_bytes(*next_change),
        floor_ms: i64::from_be_bytes(floor_ms),
    })
}

pub(super) fn write_meta(txn: &mut KvTxn<'_>, meta: Meta) -> Result<(), KvError> {
    let mut bytes = meta.next_change.to_be_bytes().to_vec();
    bytes.extend_from_slice(&meta.floor_ms.to_be_bytes());
    txn.put(META, META_STATE, &bytes)
}

/// Beginning of the keys of a model's rows.
pub(super) fn model_prefix(model: &ModelName) -> Vec<u8> {
    let mut key = Vec::with_capacity(model.len() + 64);
    key.extend_from_slice(model.as_bytes());
    key.push(NAME_END);
    key
}

/// Beginning of the keys of an index.
pub(super) fn index_prefix(model: &ModelName, index: &str) -> Vec<u8> {
    let mut key = model_prefix(model);
    key.extend_from_slice(index.as_bytes());
    key.push(NAME_END);
    key
}

/// Beginning of the keys of a model's changes at or after a time.
pub(super) fn delta_prefix(model: &ModelName, at_ms: i64) -> Vec<u8> {
    let mut key = model_prefix(model);
    key.extend_from_slice(&sortable(at_ms).to_be_bytes());
    key
}

/// Key of a change.
pub(super) fn delta_key(model: &ModelName, at_ms: i64, change: u64) -> Vec<u8> {
    let mut key = delta_prefix(model, at_ms);
    key.extend_from_slice(&change.to_be_bytes());
    key
}

/// Key of a tombstone's end.
pub(super) fn expiry_key(ttl_s: i64, base_key: &[u8]) -> Vec<u8> {
    let mut key = sortable(ttl_s).to_be_bytes().to_vec();
    key.extend_from_slice(base_key);
    key
}

/// The end of life and the base key in an expiry key.
pub(super) fn split_expiry_key(key: &[u8]) -> Option<(i64, &[u8])> {
    let (time, base_key) = key.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*time) ^ i64::MIN, base_key))
}

/// Moves the sign so that the bytes sort as the numbers.
fn sortable(number: i64) -> i64 {
    number ^ i64::MIN
}
