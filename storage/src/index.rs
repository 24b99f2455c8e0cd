//! Secondary indexes: which entries a row has, and how they change with it.
//!
//! Owns the keys of the index table. Invariants: 1. a visible row has exactly one entry in each index whose first
//! field is not null; 2. entries change in the transaction that changes the row.

use landfall_core::keycode;
use landfall_core::{ModelName, RecordId, Value};

use crate::catalog::IndexEntry;
use crate::tables::index_prefix;

/// Key of a row's entry in an index; `None` if the row has none there.
pub(crate) fn entry_key(model: &ModelName, index: &IndexEntry, values: &[Value], id: &RecordId) -> Option<Vec<u8>> {
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
            (Some(old), Some(new)) => {
                index.slots.iter().any(|slot| old[slot.index()].cmp_total(&new[slot.index()]).is_ne())
            }
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

    fn changed(old: Option<[Value; 2]>, new: Option<[Value; 2]>) -> [bool; 2] {
        let index = IndexEntry { name: "i".into(), slots: vec![Slot(0), Slot(1)] };
        let old = old.as_ref().map(<[Value; 2]>::as_slice);
        let new = new.as_ref().map(<[Value; 2]>::as_slice);
        let pairs = changes(&"M".into(), &[index], &"id".into(), old, new);
        [pairs.iter().any(|(old, _)| old.is_some()), pairs.iter().any(|(_, new)| new.is_some())]
    }

    #[test]
    fn entries_come_and_go_with_the_values_that_they_hold() {
        let row = |first: Value, second: i64| Some([first, Value::Int(second)]);
        assert_eq!(changed(None, row("a".into(), 1)), [false, true]);
        assert_eq!(changed(row("a".into(), 1), row("a".into(), 2)), [true, true]);
        assert_eq!(changed(row("a".into(), 1), row("a".into(), 1)), [false, false]);
        assert_eq!(changed(row("a".into(), 1), None), [true, false]);
    }

    #[test]
    fn a_row_without_a_first_value_has_no_entry() {
        let row = |first: Value| Some([first, Value::Int(1)]);
        assert_eq!(changed(None, row(Value::Null)), [false, false]);
        assert_eq!(changed(row(Value::Null), row("a".into())), [false, true]);
        assert_eq!(changed(row("a".into()), row(Value::Null)), [true, false]);
    }
}
