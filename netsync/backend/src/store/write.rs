//! Writing records: the decision, and all rows that follow from it.
//!
//! Owns the step from a decided write to base, delta, index and expiry rows.

use std::collections::BTreeSet;

use landfall_storage::kv::KvRead;

use super::read::decode;
use super::{Session, key, tables};
use crate::compile::ModelPlan;
use crate::conflict::{Decision, Rules, Write, decide};
use crate::error::BackendError;
use crate::filter::Filter;
use crate::item::{Attributes, Item};

/// Longest record, in bytes as stored; DynamoDB takes items of 400 KB.
pub(crate) const ITEM_BYTES_MAX: usize = 400 * 1024;

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Written; this is the record now.
    Written(Item),
    /// Accepted without anything to write.
    Kept(Item),
    /// The key or the condition does not hold; nothing was written.
    ConditionFailed,
    /// Refused; this is the record that is stored.
    Conflict(Item),
    /// A handler is to decide; nothing was written.
    Asked {
        /// The record if the version were right.
        new: Box<Item>,
        /// The record that is stored.
        existing: Box<Item>,
    },
    /// The record would be too large; nothing was written.
    TooLarge,
}

impl Session<'_, '_> {
    /// Writes one record as the model's strategy decides.
    ///
    /// # Panics
    /// If a key field is missing, which the input types rule out.
    pub(crate) fn write(
        &self,
        plan: &ModelPlan,
        key_fields: &Attributes,
        write: Write,
        condition: Option<&Filter>,
    ) -> Result<Outcome, BackendError> {
        let base_key = key::base_key(plan, key_fields)
            .unwrap_or_else(|| panic!("a write to `{}` lacks a field of its key", plan.name()));
        let row = self
            .get(tables::BASE, &base_key)?
            .map(|bytes| decode("base-1", &bytes))
            .transpose()?;
        let stored = row.as_ref().filter(|item| !self.store.is_gone(item, self.now_ms));
        let config = &self.store.config;
        let rules = Rules {
            strategy: self.store.strategy(plan),
            switches: &config.switches,
            now_ms: self.now_ms,
            base_ttl_minutes: config.base_ttl_minutes,
            updated_at: plan.def.timestamps.updated_at.as_deref(),
        };
        let nothing = Item {
            attributes: Attributes::new(),
            version: 0,
            last_changed_at_ms: 0,
            deleted: false,
            ttl_s: None,
        };
        let holds = |item: Option<&Item>| {
            condition.is_none_or(|condition| condition.matches(item.unwrap_or(&nothing)))
        };
        match (decide(write, stored, &holds, &rules), stored) {
            (Decision::Put(item), _) => self.put(plan, &base_key, row.as_ref(), item),
            (Decision::Keep, Some(stored)) => Ok(Outcome::Kept(stored.clone())),
            (Decision::Conflict, Some(stored)) => Ok(Outcome::Conflict(stored.clone())),
            (Decision::Ask(new), Some(stored)) => Ok(Outcome::Asked {
                new: Box::new(new),
                existing: Box::new(stored.clone()),
            }),
            (Decision::ConditionFailed, _) => Ok(Outcome::ConditionFailed),
            (Decision::Keep | Decision::Conflict | Decision::Ask(_), None) => {
                panic!("a write to a record that is not there was decided as one to a stored record")
            }
        }
    }

    /// When a change made now may be removed from the delta table, in seconds.
    fn delta_ttl_s(&self) -> i64 {
        self.now_ms.div_euclid(1_000) + i64::from(self.store.config.delta_ttl_minutes) * 60
    }

    fn put(
        &self,
        plan: &ModelPlan,
        base_key: &[u8],
        before: Option<&Item>,
        item: Item,
    ) -> Result<Outcome, BackendError> {
        let bytes = item.encode(plan.name());
        if bytes.len() > ITEM_BYTES_MAX {
            return Ok(Outcome::TooLarge);
        }
        // Without a time to live there are no tombstones: the row goes, the change is still told.
        let removed = item.deleted && self.store.config.base_ttl_minutes == 0;
        let entries = |item: &Item| index_entries(plan, &item.attributes, base_key);
        let old = before.map(entries).unwrap_or_default();
        let new = if removed { BTreeSet::new() } else { entries(&item) };
        let mut txn = self.txn.borrow_mut();
        for entry in old.difference(&new) {
            txn.remove(tables::INDEX, entry)?;
        }
        for entry in new.difference(&old) {
            txn.put(tables::INDEX, entry, base_key)?;
        }
        if removed {
            txn.remove(tables::BASE, base_key)?;
        } else {
            txn.put(tables::BASE, base_key, &bytes)?;
            if let Some(ttl_s) = item.ttl_s {
                txn.put(tables::EXPIRY, &tables::expiry_key(ttl_s, base_key), &[])?;
            }
        }
        let change = self.next_change.get();
        self.next_change.set(change + 1);
        let delta = item.encode_change(plan.name(), &bytes, self.delta_ttl_s());
        self.written_bytes
            .set(self.written_bytes.get() + bytes.len() + delta.len());
        txn.put(
            tables::DELTA,
            &tables::delta_key(plan.name(), self.now_ms, change),
            &delta,
        )?;
        Ok(Outcome::Written(item))
    }
}

/// Keys of all index entries of a record.
pub(super) fn index_entries(plan: &ModelPlan, attributes: &Attributes, base_key: &[u8]) -> BTreeSet<Vec<u8>> {
    plan.indexes
        .iter()
        .filter_map(|index| key::index_key(plan, index, attributes, base_key))
        .collect()
}
