//! What a write does to a stored record: versions, conflicts, merging.
//!
//! Owns [`decide`] and the merge of attributes. Pure: it does not read or store, and time is given. How a strategy
//! resolves a stale write is in one place ([`ConflictStrategy`]), so that further strategies join there.
//!
//! Invariants: 1. a version never goes down; 2. a refused write changes nothing; 3. deletes are never merged.

mod handler;
mod webhook;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use landfall_core::Value;

use crate::config::{
    ConditionOrder, HigherVersion, IdleMerge, KindMismatch, ListMerge, MergedUpdatedAt, Switches,
    TombstoneUpdate,
};
use crate::item::{Attributes, Item};

pub use handler::{
    ConflictCall, ConflictHandler, ConflictHandlers, ConflictResolver, HandlerFailed, Resolution,
};
pub use webhook::{ConflictWebhook, WEBHOOK_TIMEOUT};

/// How a write with the wrong version is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictStrategy {
    /// Merge attribute by attribute into the current record (`AUTOMERGE`).
    Automerge,
    /// Refuse (`OPTIMISTIC_CONCURRENCY`).
    OptimisticConcurrency,
    /// Ask the model's handler (`LAMBDA`); see [`BackendConfig::conflict_handlers`](crate::BackendConfig).
    Handler,
}

/// A write as the resolver hands it to the data source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Puts a new record.
    Create {
        /// All its attributes.
        attributes: Attributes,
    },
    /// Changes attributes.
    Update {
        /// `Some` sets, `None` removes.
        changes: Changes,
        /// `_version` of the input; 0 if it has none.
        version: u64,
    },
    /// Turns the record into a tombstone.
    Delete {
        /// `_version` of the input; 0 if it has none.
        version: u64,
    },
    /// What a handler decided.
    Settle {
        /// The record as the handler made it; `None` removes it.
        attributes: Option<Attributes>,
        /// The version that the handler was shown.
        version: u64,
    },
}

/// Attributes that an update sets, or removes where `None`.
pub(crate) type Changes = std::collections::BTreeMap<String, Option<Value>>;

/// What is remembered of a write once it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// It expected this version of the record.
    Update(u64),
    /// A handler decided it.
    Settle,
    /// It made a record, or deleted one.
    Other,
}

impl Write {
    pub(crate) fn kind(&self) -> WriteKind {
        match self {
            Self::Update { version, .. } => WriteKind::Update(*version),
            Self::Settle { .. } => WriteKind::Settle,
            Self::Create { .. } | Self::Delete { .. } => WriteKind::Other,
        }
    }
}

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Accepted: this is the record now.
    Put(Item),
    /// Accepted without anything to write; the stored record is the answer.
    Keep,
    /// The key or the caller's condition does not hold.
    ConditionFailed,
    /// The version is wrong and the strategy gives up.
    Conflict,
    /// The version is wrong and a handler is to decide; this is the record if it were right.
    Ask(Item),
}

/// What decisions depend on beside the write and the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// How stale writes are resolved.
    pub(crate) strategy: ConflictStrategy,
    /// Readings of what is not known of the service.
    pub(crate) switches: &'a Switches,
    /// Time of the change, in milliseconds.
    pub(crate) now_ms: i64,
    /// How long tombstones live, in minutes.
    pub(crate) base_ttl_minutes: u32,
    /// Name of the managed `updatedAt`, if the model has one.
    pub(crate) updated_at: Option<&'a str>,
}

/// Decides a write; `condition` says whether the caller's condition holds for the stored record (or for its absence).
pub(crate) fn decide(
    write: Write,
    stored: Option<&Item>,
    condition: &dyn Fn(Option<&Item>) -> bool,
    rules: &Rules<'_>,
) -> Decision {
    match (write, stored) {
        (Write::Create { attributes }, None) => {
            if condition(None) {
                Decision::Put(rules.item(attributes, 1, false))
            } else {
                Decision::ConditionFailed
            }
        }
        (Write::Create { .. }, Some(_))
        | (Write::Update { .. } | Write::Delete { .. } | Write::Settle { .. }, None) => {
            Decision::ConditionFailed
        }
        (Write::Settle { attributes, version }, Some(stored)) => {
            decide_settled(attributes, version, stored, rules)
        }
        (Write::Update { changes, version }, Some(stored)) => {
            decide_update(changes, version, stored, &|| condition(Some(stored)), rules)
        }
        (Write::Delete { version }, Some(stored)) => {
            let condition = || condition(Some(stored));
            let tombstone = || rules.item(stored.attributes.clone(), stored.version + 1, true);
            if rules.switches.condition_order == ConditionOrder::ConditionFirst && !condition() {
                Decision::ConditionFailed
            } else if version != stored.version && rules.strategy == ConflictStrategy::Handler {
                Decision::Ask(tombstone())
            } else if version != stored.version {
                Decision::Conflict
            } else if condition() {
                Decision::Put(tombstone())
            } else {
                Decision::ConditionFailed
            }
        }
    }
}

fn decide_update(
    changes: Changes,
    version: u64,
    stored: &Item,
    condition: &dyn Fn() -> bool,
    rules: &Rules<'_>,
) -> Decision {
    let order = rules.switches.condition_order;
    if order == ConditionOrder::ConditionFirst && !condition() {
        return Decision::ConditionFailed;
    }
    let accepted_above = rules.strategy == ConflictStrategy::Automerge
        && rules.switches.higher_version == HigherVersion::Accepted
        && version > stored.version;
    if version == stored.version || accepted_above {
        if stored.deleted && rules.switches.tombstone_update == TombstoneUpdate::Conflict {
            return Decision::Conflict;
        }
        if !condition() {
            return Decision::ConditionFailed;
        }
        let mut item = rules.item(apply(&stored.attributes, changes), version + 1, stored.deleted);
        item.ttl_s = stored.ttl_s;
        return Decision::Put(item);
    }
    match rules.strategy {
        ConflictStrategy::OptimisticConcurrency => Decision::Conflict,
        ConflictStrategy::Handler => {
            let mut item = rules.item(
                apply(&stored.attributes, changes),
                stored.version + 1,
                stored.deleted,
            );
            item.ttl_s = stored.ttl_s;
            Decision::Ask(item)
        }
        ConflictStrategy::Automerge if stored.deleted => Decision::Conflict,
        ConflictStrategy::Automerge => {
            if order != ConditionOrder::VersionOnly && !condition() {
                return Decision::ConditionFailed;
            }
            merged(&changes, stored, rules)
        }
    }
}

/// What a handler decided takes effect on the version that it was shown, whatever the version of the input.
fn decide_settled(
    attributes: Option<Attributes>,
    version: u64,
    stored: &Item,
    rules: &Rules<'_>,
) -> Decision {
    if version != stored.version {
        return Decision::Conflict;
    }
    let Some(attributes) = attributes else {
        return Decision::Put(rules.item(stored.attributes.clone(), version + 1, true));
    };
    // Metadata in a handler's answer is ignored, so a tombstone stays one.
    let mut item = rules.item(attributes, version + 1, stored.deleted);
    item.ttl_s = stored.ttl_s;
    Decision::Put(item)
}

fn merged(changes: &Changes, stored: &Item, rules: &Rules<'_>) -> Decision {
    let mut attributes = stored.attributes.clone();
    for (name, change) in changes {
        let renewed = rules.switches.merged_updated_at == MergedUpdatedAt::Renewed
            && rules.updated_at == Some(name.as_str());
        match change {
            Some(incoming) if renewed => {
                attributes.insert(name.clone(), incoming.clone());
            }
            Some(incoming) => merge_attribute(&mut attributes, name, incoming, rules.switches),
            // A removal needs the right version, so the stored value stays.
            None => {}
        }
    }
    if rules.switches.idle_merge == IdleMerge::Skipped && attributes == stored.attributes {
        return Decision::Keep;
    }
    Decision::Put(rules.item(attributes, stored.version + 1, false))
}

impl Rules<'_> {
    fn item(&self, attributes: Attributes, version: u64, deleted: bool) -> Item {
        let ttl_s = self.now_ms.div_euclid(1_000) + i64::from(self.base_ttl_minutes) * 60;
        Item {
            attributes,
            version,
            last_changed_at_ms: self.now_ms,
            deleted,
            ttl_s: deleted.then_some(ttl_s),
        }
    }
}

/// An update with the right version: sets and removes, no merging.
fn apply(stored: &Attributes, changes: Changes) -> Attributes {
    let mut attributes = stored.clone();
    for (name, change) in changes {
        match change {
            Some(value) => attributes.insert(name, value),
            None => attributes.remove(&name),
        };
    }
    attributes
}

/// Merges one incoming value into the stored attributes.
fn merge_attribute(stored: &mut Attributes, name: &str, incoming: &Value, switches: &Switches) {
    match stored.get_mut(name) {
        None | Some(Value::Null) => {
            stored.insert(name.to_owned(), incoming.clone());
        }
        Some(current) => merge_value(current, incoming, switches),
    }
}

fn merge_value(stored: &mut Value, incoming: &Value, switches: &Switches) {
    match (stored, incoming) {
        (Value::List(stored), Value::List(incoming)) => match switches.list_merge {
            ListMerge::Append => stored.extend(incoming.iter().cloned()),
            ListMerge::Replace => stored.clone_from(incoming),
            ListMerge::Union => {
                // Looked up in order: a record may hold hundreds of thousands of elements, and the writer waits.
                let mut known: BTreeSet<Ordered<'_>> = stored.iter().map(Ordered).collect();
                let new = incoming.iter().filter(|element| known.insert(Ordered(element)));
                let new: Vec<Value> = new.cloned().collect();
                stored.extend(new);
            }
        },
        (Value::Object(stored), Value::Object(incoming)) => {
            for (name, incoming) in incoming {
                merge_attribute(stored, name, incoming, switches);
            }
        }
        (stored, incoming) => {
            let mismatch = kind(stored) != kind(incoming) && !incoming.is_null();
            if mismatch && switches.kind_mismatch == KindMismatch::IncomingWins {
                *stored = incoming.clone();
            }
        }
    }
}

/// A value by the order that all values have; numbers that compare alike are one, as they are to DynamoDB.
struct Ordered<'a>(&'a Value);

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_total(other.0)
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

/// DynamoDB's kinds, as far as a merge tells them apart.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::String(_) => 3,
        Value::List(_) => 4,
        Value::Object(_) => 5,
    }
}

#[cfg(test)]
mod tests;
