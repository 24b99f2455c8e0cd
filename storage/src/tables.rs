//! Every table of a store: key and value in words, the version of its form in its name.
//!
//! Owns names and key forms. What the values mean is said where they are encoded (`codec/`).

use redb::TableDefinition;

use landfall_core::keycode;
use landfall_core::{ModelName, RecordId, RecordKey};

/// Table: meta. Key: a name of [`meta`]. Value: see there. Not a projection.
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta-1");

/// Table: log. Key: sequence number. Value: encoded entry (`codec/entry.rs`). The truth.
pub(crate) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log-1");

/// Table: base. Key: [`record_key`], or a zero byte and a model. Value: encoded entry that stands for those which were
/// trimmed (`base.rs`). Not a projection: the log goes on from it.
pub(crate) const BASE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("base-1");

/// Table: layouts. Key: layout number. Value: model and field names (`codec/row.rs`). Not a projection: rows name it.
pub(crate) const LAYOUTS: TableDefinition<u16, &[u8]> = TableDefinition::new("layouts-1");

/// Table: records. Key: [`record_key`]. Value: encoded head (`codec/head.rs`). Rebuilt from the log.
pub(crate) const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records-1");

/// Table: outbox. Key: sequence number of the first entry folded in. Value: `Mutation` as MessagePack. Rebuilt from the log.
pub(crate) const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox-1");

/// Table: in flight. Key: that of a mutation in the outbox which is on its way. Value: nothing. Rebuilt from the log.
pub(crate) const IN_FLIGHT: TableDefinition<u64, ()> = TableDefinition::new("in-flight-1");

/// Table: index. Key: model, index name, indexed values, identifier (`index.rs`). Value: nothing. Rebuilt from the log.
pub(crate) const INDEX: TableDefinition<&[u8], ()> = TableDefinition::new("index-1");

/// Table: cursors. Key: model. Value: `SyncCursor` as MessagePack. Rebuilt from the log.
pub(crate) const CURSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("cursors-1");

/// Table: digests. Key: number of a block of the log. Value: its digest (`digest.rs`). Made again from the log, and never needed.
pub(crate) const DIGESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("digests-1");

/// Keys of the meta table.
pub(crate) mod meta {
    /// Four bytes: version of the whole store's form.
    pub(crate) const FORMAT: &str = "format";
    /// The schema in force: CRC-32 of what follows in four bytes, then model-introspection JSON.
    pub(crate) const SCHEMA: &str = "schema";
    /// Twelve bytes: the first entry that is still in the log, and the check of the one before it.
    pub(crate) const LOG_START: &str = "log start";
    /// The indexes that the index table holds, as MessagePack; see `index_build.rs`.
    pub(crate) const INDEXES: &str = "indexes";
    /// Nothing. While it is there, the file may hold bytes of what was cleared, on pages that are free and in the journal.
    pub(crate) const UNSCRUBBED: &str = "unscrubbed";
    /// Names of the migrations that the store went through, or did not need, as MessagePack.
    pub(crate) const MIGRATIONS: &str = "migrations";
}

/// Ends a model or index name inside a key; names cannot contain it.
const NAME_END: u8 = 0;

/// Key of a record: model name, a zero byte, encoded identifier.
pub(crate) fn record_key(key: &RecordKey) -> Vec<u8> {
    record_key_of(&key.model, &key.id)
}

/// Key of a record by its parts.
pub(crate) fn record_key_of(model: &ModelName, id: &RecordId) -> Vec<u8> {
    let mut out = model_prefix(model);
    keycode::encode_id(&mut out, id);
    out
}

/// Beginning of the keys of all records of a model.
pub(crate) fn model_prefix(model: &ModelName) -> Vec<u8> {
    let mut out = Vec::with_capacity(model.len() + 48);
    out.extend_from_slice(model.as_bytes());
    out.push(NAME_END);
    out
}

/// Where the keys of all records of a model begin and end; the end is none of them.
pub(crate) fn model_range(model: &ModelName) -> (Vec<u8>, Vec<u8>) {
    let start = model_prefix(model);
    let end = prefix_end(&start).expect("a prefix that ends with a zero byte has a successor");
    (start, end)
}

/// Beginning of the keys of all entries of an index.
pub(crate) fn index_prefix(model: &ModelName, index: &str) -> Vec<u8> {
    let mut out = model_prefix(model);
    out.extend_from_slice(index.as_bytes());
    out.push(NAME_END);
    out
}

/// The smallest key that is greater than every key with this prefix; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
