//! The shortest way to the records of a predicate: by identifier, by a range of identifiers or of an index, or by a scan.
//!
//! Owns [`Plan`] and [`choose`]. A plan may find too many records, never too few: the predicate is tested on each.

use std::fmt;
use std::ops::Bound;

use landfall_core::{BoundPredicate, IdPart, ModelDef, Op, RecordId, Slot, Value, keycode};

use super::operand::Kind;
use crate::catalog::ModelEntry;
use crate::tables::prefix_end;

/// How a query finds its records.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// One record by its identifier.
    Key(RecordId),
    /// A range of identifiers: records are kept in their order.
    Keys(KeyRange),
    /// A range of an index.
    Index {
        /// The index.
        name: String,
        /// Which of its entries.
        range: KeyRange,
        /// Whether every field of the index must have one value, so that entries come in the order of identifiers.
        exact: bool,
    },
    /// All records of the model.
    Scan,
}

/// A range of keys that begin with the same encoded values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRange {
    /// Encoded values that all keys begin with.
    prefix: Vec<u8>,
    /// What comes next is not before this.
    start: Option<Vec<u8>>,
    /// What comes next is before this.
    end: Option<Vec<u8>>,
}

/// Bounds of a key range as owned bytes.
pub(super) struct Bounds {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Bounds {
    pub(super) fn as_bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            Bound::Included(&self.start),
            self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

impl Bounds {
    /// The first key of the range.
    pub(super) fn into_start(self) -> Vec<u8> {
        self.start
    }

    /// The first key of the range and the first behind it.
    pub(super) fn into_keys(self) -> (Vec<u8>, Vec<u8>) {
        let end = self
            .end
            .expect("a table's own prefix ends with a zero byte, so that keys have an end");
        (self.start, end)
    }
}

impl KeyRange {
    /// The bounds behind a table's own prefix.
    pub(super) fn bounds(&self, table_prefix: &[u8]) -> Bounds {
        let prefix = [table_prefix, &self.prefix].concat();
        let end = match &self.end {
            Some(end) => Some([prefix.as_slice(), end].concat()),
            None => prefix_end(&prefix),
        };
        let mut start = prefix;
        start.extend_from_slice(self.start.as_deref().unwrap_or_default());
        Bounds { start, end }
    }

    /// Bytes that all keys begin with.
    pub(super) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// Whether nothing can lie in the range.
    pub(super) fn is_empty(&self) -> bool {
        matches!((&self.start, &self.end), (Some(start), Some(end)) if start >= end)
    }

    /// Whether all keys that begin with certain values are in it, and no others.
    pub(super) fn is_prefix(&self) -> bool {
        self.start.is_none() && self.end.is_none()
    }

    /// Whether the keys of both begin with what those of the other begin with.
    pub(super) fn begins_with(&self, other: &Self) -> bool {
        self.prefix.starts_with(&other.prefix)
    }

    fn narrow(&mut self, start: Option<Vec<u8>>, end: Option<Vec<u8>>) {
        // No start sorts before every start, but no end sorts before every end as well.
        self.start = self.start.take().max(start);
        self.end = match (self.end.take(), end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Plan {
    /// Whether records come in the order of their identifiers.
    pub(super) fn is_in_key_order(&self) -> bool {
        !matches!(self, Self::Index { exact: false, .. })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "by identifier {id}"),
            Self::Keys(_) => f.write_str("by a range of identifiers"),
            Self::Index { name, .. } => write!(f, "by a range of the index `{name}`"),
            Self::Scan => f.write_str("by a scan of all records"),
        }
    }
}

/// Chooses the way: identifier, else the range of identifiers or the index that more conditions narrow, else a scan.
pub(super) fn choose(model: &ModelEntry, predicate: &BoundPredicate) -> Plan {
    let mut conditions = Vec::new();
    collect(predicate, &mut conditions);
    if let Some(id) = identifier(model, &conditions) {
        return Plan::Key(id);
    }
    let by_index = model
        .indexes
        .iter()
        .filter_map(|index| {
            narrow(&model.def, &index.slots, &conditions).map(|(range, narrowed)| (narrowed, index, range))
        })
        // The first of equals, so that the plan does not depend on anything but the schema.
        .max_by(|(a, first, _), (b, second, _)| a.cmp(b).then_with(|| second.name.cmp(&first.name)));
    let keys = ordered_key(&model.def);
    match (narrow(&model.def, &keys, &conditions), by_index) {
        // Of equals the one that leads to the records themselves.
        (Some((range, narrowed)), by_index)
            if by_index.as_ref().is_none_or(|(other, ..)| narrowed >= *other) =>
        {
            Plan::Keys(range)
        }
        (_, Some((narrowed, index, range))) => Plan::Index {
            name: index.name.clone(),
            range,
            exact: narrowed == 2 * index.slots.len(),
        },
        (_, None) => Plan::Scan,
    }
}

/// The first fields of the identifier by which records are in order; keys hold floats as text.
fn ordered_key(def: &ModelDef) -> Vec<Slot> {
    let in_order = |slot: &Slot| matches!(Kind::of(def, *slot), Some(Kind::Bool | Kind::Int | Kind::Text));
    def.key_slots().iter().copied().take_while(in_order).collect()
}

/// Conditions that every record of the result satisfies.
fn collect<'a>(predicate: &'a BoundPredicate, conditions: &mut Vec<(Slot, &'a Op)>) {
    match predicate {
        BoundPredicate::Field(slot, op) => conditions.push((*slot, op)),
        BoundPredicate::And(members) => members.iter().for_each(|member| collect(member, conditions)),
        // What is computed is in no index.
        BoundPredicate::All
        | BoundPredicate::Or(_)
        | BoundPredicate::Not(_)
        | BoundPredicate::Among(..)
        | BoundPredicate::Computed(..) => {}
    }
}

fn identifier(model: &ModelEntry, conditions: &[(Slot, &Op)]) -> Option<RecordId> {
    let part = |slot: &Slot| IdPart::from_value(&equal_to(&model.def, conditions, *slot)?);
    model
        .def
        .key_slots()
        .iter()
        .map(part)
        .collect::<Option<Vec<_>>>()
        .map(RecordId::new)
}

/// The value that a field must have.
fn equal_to(def: &ModelDef, conditions: &[(Slot, &Op)], slot: Slot) -> Option<Value> {
    let kind = Kind::of(def, slot)?;
    conditions.iter().find_map(|(other, op)| match op {
        Op::Eq(value) if *other == slot => kind.equal(value),
        _ => None,
    })
}

/// The range of keys of these fields that the conditions leave, and how strongly they narrow it: two for each field that
/// must have one value, one more for bounds of the next. `None` if not at all.
fn narrow(def: &ModelDef, slots: &[Slot], conditions: &[(Slot, &Op)]) -> Option<(KeyRange, usize)> {
    let mut range = KeyRange::default();
    let mut narrowed = 0;
    for slot in slots {
        if let Some(value) = equal_to(def, conditions, *slot) {
            keycode::encode_value(&mut range.prefix, &value);
            narrowed += 2;
            continue;
        }
        if Kind::of(def, *slot).is_some_and(|kind| bound(&mut range, kind, *slot, conditions)) {
            narrowed += 1;
        }
        break;
    }
    (narrowed > 0).then_some((range, narrowed))
}

/// Narrows by comparisons on one field. Returns whether there were any.
fn bound(range: &mut KeyRange, kind: Kind, slot: Slot, conditions: &[(Slot, &Op)]) -> bool {
    let mut narrowed = false;
    for (_, op) in conditions.iter().filter(|(other, _)| *other == slot) {
        let (start, end) = match op {
            Op::Eq(value) => (kind.start(value, true), kind.end(value, true)),
            Op::Gt(value) => (kind.start(value, false), None),
            Op::Ge(value) => (kind.start(value, true), None),
            Op::Lt(value) => (None, kind.end(value, false)),
            Op::Le(value) => (None, kind.end(value, true)),
            Op::Between(low, high) => (kind.start(low, true), kind.end(high, true)),
            Op::BeginsWith(prefix) if kind == Kind::Text => {
                let (start, end) = Kind::beginning(prefix);
                (Some(start), end)
            }
            _ => continue,
        };
        narrowed |= start.is_some() || end.is_some();
        range.narrow(start, end);
    }
    if narrowed {
        // A comparison holds for no null.
        let (start, end) = kind.limits();
        range.narrow(Some(start), Some(end));
    }
    narrowed
}

#[cfg(test)]
mod tests;
