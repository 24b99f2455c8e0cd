//! Secondary indexes: which entries a row has, and how they change with it.
//!
//! Owns the keys of the index table. Invariants: 1. a visible row has exactly one entry in each index whose first
//! field is not null; 2. entries change in the transaction that changes the row.

use landfall_core::keycode;
use landfall_core::{ModelName, RecordId, Value};

use crate::catalog::IndexEntry;
use crate::tables::index_prefix;

/// Key of a row's entry in an index; `None` if the row has none there.
pub(crate) fn entry_key(
    model: &ModelName,
    index: &IndexEntry,
    values: &[Value],
    id: &RecordId,
) -> Option<Vec<u8>> {
    if values[index.slots.first()?.index()].is_null() {
        return None;
    }
    let mut key = index_prefix(model, &index.name);
    for slot in &index.slots {
        keycode::encode_value(&mut key, &values[slot.index()]);
    }
    keycode::encode_id(&mut key, id);
    Some(key)
}

/// Entries to remove and to insert when a row changes from `old` to `new`.
pub(crate) fn changes(
    model: &ModelName,
    indexes: &[IndexEntry],
    id: &RecordId,
    old: Option<&[Value]>,
    new: Option<&[Value]>,
) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
    indexes
        .iter()
        .filter(|index| match (old, new) {
            (Some(old), Some(new)) => index
                .slots
                .iter()
                .any(|slot| old[slot.index()].cmp_total(&new[slot.index()]).is_ne()),
            (None, None) => false,
            _ => true,
        })
        .map(|index| {
            let key = |values| entry_key(model, index, values, id);
            (old.and_then(key), new.and_then(key))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_core::Slot;

    fn changed(old: Option<&[Value]>, new: Option<&[Value]>) -> [bool; 2] {
        let index = IndexEntry {
            name: "i".into(),
            slots: vec![Slot(0), Slot(1)],
        };
        let pairs = changes(&"M".into(), &[index], &"id".into(), old, new);
        [
            pairs.iter().any(|(old, _)| old.is_some()),
            pairs.iter().any(|(_, new)| new.is_some()),
        ]
    }

    fn row(first: impl Into<Value>, second: i64) -> [Value; 2] {
        [first.into(), second.into()]
    }

    #[test]
    fn entries_come_and_go_with_the_values_that_they_hold() {
        let (one, two) = (row("a", 1), row("a", 2));
        assert_eq!(changed(None, Some(&one)), [false, true]);
        assert_eq!(changed(Some(&one), Some(&two)), [true, true]);
        assert_eq!(changed(Some(&one), Some(&one)), [false, false]);
        assert_eq!(changed(Some(&one), None), [true, false]);
    }

    #[test]
    fn a_row_without_a_first_value_has_no_entry() {
        let (without, with) = (row(Value::Null, 1), row("a", 1));
        assert_eq!(changed(None, Some(&without)), [false, false]);
        assert_eq!(changed(Some(&without), Some(&with)), [false, true]);
        assert_eq!(changed(Some(&with), Some(&without)), [true, false]);
    }
}
