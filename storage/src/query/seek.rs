//! Several seeks in place of a scan: for `in`, for `or`, and for sets of identifiers that a relation yielded.
//!
//! Owns [`Way`], what the new kinds of queries walk: one plan, or one for each of a few values that a field may have.
//!
//! Invariant: the plans of a way find disjoint records, so that no record is visited twice.

use std::collections::BTreeSet;
use std::fmt;

use landfall_core::{BoundPredicate, IdPart, ModelDef, Op, Record, Slot, Value, keycode};

use super::as_stored;
use super::operand::Kind;
use super::plan::{self, KeyRange, Plan};
use crate::catalog::ModelEntry;
use crate::codec::head::HeadRef;
use crate::codec::row::EncodedRow;
use crate::error::StorageError;
use crate::snapshot::{Snapshot, record};

/// Most values that are looked for one by one; a scan is quicker for more, and each costs a plan in memory.
const SEEKS_MAX: usize = 1_024;

/// How records are found: by these plans, one after another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Way(Vec<Plan>);

impl Way {
    /// The narrowest way to the records of a predicate.
    pub(super) fn choose(model: &ModelEntry, predicate: &BoundPredicate) -> Self {
        let plan = plan::choose(model, predicate);
        if plan != Plan::Scan {
            return Self(vec![plan]);
        }
        seeks(model, predicate).unwrap_or_else(|| Self(vec![Plan::Scan]))
    }

    /// The plans, to be walked one after another.
    pub(super) fn plans(&self) -> &[Plan] {
        &self.0
    }

    /// Whether records come in the order of their identifiers.
    pub(super) fn is_in_key_order(&self) -> bool {
        match self.0.as_slice() {
            [plan] => plan.is_in_key_order(),
            plans => plans.iter().all(|plan| matches!(plan, Plan::Key(_))),
        }
    }

    /// The range of identifiers that is gone through in order; `None` if records are found otherwise.
    pub(super) fn key_range(&self) -> Option<KeyRange> {
        match self.0.as_slice() {
            [Plan::Scan] => Some(KeyRange::default()),
            [Plan::Keys(range)] => Some(range.clone()),
            _ => None,
        }
    }

    /// Whether every record of the model is looked at.
    pub(super) fn is_scan(&self) -> bool {
        self.0 == [Plan::Scan]
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("not at all, since nothing can match"),
            [plan] => plan.fmt(f),
            [Plan::Index { name, .. }, ..] => {
                write!(f, "by {} ranges of the index `{name}`", self.0.len())
            }
            [Plan::Keys(_), ..] => write!(f, "by {} ranges of identifiers", self.0.len()),
            plans => write!(f, "by {} identifiers", plans.len()),
        }
    }
}

/// A plan for each of the values that the first suitable condition allows; `None` if no condition is suitable.
fn seeks(model: &ModelEntry, predicate: &BoundPredicate) -> Option<Way> {
    match predicate {
        BoundPredicate::And(members) => members.iter().find_map(|member| seeks(model, member)),
        BoundPredicate::Field(slot, Op::In(items)) if items.len() <= SEEKS_MAX => {
            // A null equals nothing, so it finds nothing.
            let items = items.iter().filter(|item| !item.is_null());
            plans(model, &[*slot], items.map(|item| vec![item.clone()]))
        }
        BoundPredicate::Or(members) if members.len() <= SEEKS_MAX => alternatives(model, members),
        BoundPredicate::Among(slots, ids) if ids.len() <= SEEKS_MAX => plans(
            model,
            slots,
            ids.iter()
                .map(|id| id.parts().iter().map(IdPart::to_value).collect()),
        ),
        _ => None,
    }
}

/// The seeks of all members, if none of them finds what another finds: by identifiers, by the first fields of them, or by values
/// that all fields of one index must have.
fn alternatives(model: &ModelEntry, members: &[BoundPredicate]) -> Option<Way> {
    let mut found: Vec<Plan> = Vec::new();
    for member in members {
        let Way(plans) = Way::choose(model, member);
        found.extend(plans);
        if found.len() > SEEKS_MAX {
            return None;
        }
    }
    let Some(first) = found.first() else {
        return Some(Way(found));
    };
    let fits = |plan: &Plan| match (first, plan) {
        (Plan::Key(_), Plan::Key(_)) => true,
        (Plan::Keys(first), Plan::Keys(range)) => first.is_prefix() && range.is_prefix(),
        (
            Plan::Index {
                name, exact: true, ..
            },
            Plan::Index {
                name: other,
                exact: true,
                ..
            },
        ) => name == other,
        _ => false,
    };
    if !found.iter().all(fits) {
        return None;
    }
    let place = |plan: &Plan| match plan {
        Plan::Key(id) => encoded_id(id),
        Plan::Index { range, .. } | Plan::Keys(range) => range.bounds(&[]).into_start(),
        Plan::Scan => Vec::new(),
    };
    found.sort_by_cached_key(place);
    found.dedup();
    // What begins with certain values is a part of what begins with fewer of them, which comes right before it.
    let is_part = |pair: &[Plan]| match pair {
        [Plan::Keys(wide), Plan::Keys(narrow)] => narrow.begins_with(wide),
        _ => false,
    };
    if found.windows(2).any(is_part) {
        return None;
    }
    Some(Way(found))
}

fn plans(model: &ModelEntry, slots: &[Slot], wanted: impl Iterator<Item = Vec<Value>>) -> Option<Way> {
    let mut distinct = BTreeSet::new();
    let mut plans = Vec::new();
    for values in wanted {
        let values = slots
            .iter()
            .zip(&values)
            .map(|(slot, value)| exact(&model.def, *slot, value))
            .collect::<Option<Vec<_>>>()?;
        let mut encoded = Vec::new();
        values
            .iter()
            .for_each(|value| keycode::encode_value(&mut encoded, value));
        if !distinct.insert(encoded) {
            continue;
        }
        let equal = slots
            .iter()
            .zip(values)
            .map(|(slot, value)| BoundPredicate::Field(*slot, Op::Eq(value)));
        match plan::choose(model, &BoundPredicate::And(equal.collect())) {
            Plan::Scan => return None,
            plan => plans.push(plan),
        }
    }
    // Two plans of different kinds cannot come of the same fields, but the order of values need not be that of keys.
    if plans.iter().all(|plan| matches!(plan, Plan::Key(_))) {
        plans.sort_by(|a, b| match (a, b) {
            (Plan::Key(a), Plan::Key(b)) => encoded_id(a).cmp(&encoded_id(b)),
            _ => std::cmp::Ordering::Equal,
        });
    }
    Some(Way(plans))
}

fn encoded_id(id: &landfall_core::RecordId) -> Vec<u8> {
    let mut out = Vec::new();
    keycode::encode_id(&mut out, id);
    out
}

/// The one value as the field holds it that equals a wanted one; `None` if there may be more than one.
fn exact(def: &ModelDef, slot: Slot, value: &Value) -> Option<Value> {
    Kind::of(def, slot)?.equal(&as_stored(def, slot, value))
}

impl Snapshot {
    /// Calls `visit` with the key and the row of each matching record until it returns `false`.
    pub(super) fn each_row(
        &self,
        model: &ModelEntry,
        way: &Way,
        predicate: &BoundPredicate,
        mut visit: impl FnMut(&[u8], &EncodedRow<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut going = true;
        for plan in &way.0 {
            self.walk(model, plan, predicate, |found| {
                if let Some(row) = found.head.row {
                    going = visit(found.key, &model.row(row)?)?;
                }
                Ok(going)
            })?;
            if !going {
                break;
            }
        }
        Ok(())
    }

    /// The record at an encoded key.
    pub(super) fn record_at(&self, model: &ModelEntry, key: &[u8]) -> Result<Option<Record>, StorageError> {
        match self.head(key)? {
            Some(head) => record(model, &HeadRef::parse(head.bytes())?, head.shared()),
            None => Ok(None),
        }
    }
}
