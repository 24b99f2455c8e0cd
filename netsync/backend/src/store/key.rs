//! Keys of records and index entries, and the ranges that key conditions select.
//!
//! Owns how attributes become key bytes. A key sorts first by its partition, then by its sort value: one field as
//! itself, several joined by `#` to one text, as AppSync stores them. The fields themselves follow, so that records
//! whose joined texts are equal stay apart.

use std::ops::Bound;

use landfall_core::keycode;
use landfall_core::{FieldName, FieldType, Scalar, Value};
use landfall_storage::kv::KvRange;

use super::tables;
use crate::compile::{IndexPlan, KeyPlan, ModelPlan};
use crate::item::Attributes;

/// Bytes that end an encoded text; left off, the encoding is a prefix of that of every longer text.
const TEXT_END_LEN: usize = 2;

/// Selects records by a key: one partition, and perhaps a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyCondition {
    /// Value of the partition field.
    pub(crate) partition: Value,
    /// Condition on the sort value.
    pub(crate) sort: Option<SortCondition>,
}

/// Condition on a sort value; several fields are given joined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SortCondition {
    Eq(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    /// Both bounds included.
    Between(Value, Value),
    BeginsWith(String),
}

/// Joins sort fields as AppSync does; `None` if one is missing.
pub(crate) fn join_sort_fields<'v>(values: impl Iterator<Item = Option<&'v Value>>) -> Option<Value> {
    let texts: Option<Vec<String>> = values
        .map(|value| match value? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
        .collect();
    Some(Value::String(texts?.join("#")))
}

/// Key of the base row of a record; `None` if a key field is missing.
pub(super) fn base_key(plan: &ModelPlan, attributes: &Attributes) -> Option<Vec<u8>> {
    let mut key = tables::model_prefix(plan.name());
    push_value(
        &mut key,
        plan,
        &plan.key.partition,
        present(attributes, &plan.key.partition)?,
    );
    if let Some(sort) = sort_value(&plan.key, attributes)? {
        push_sort(&mut key, plan, &plan.key, &sort);
        if plan.key.sort.len() > 1 {
            for field in &plan.key.sort {
                push_value(&mut key, plan, field, present(attributes, field)?);
            }
        }
    }
    Some(key)
}

/// Key of a record's entry in an index.
///
/// Records without a value for a field of the index are entered below those with one: index queries pass them over, as
/// DynamoDB leaves them out, while syncs find them. `None` if the partition itself is missing.
pub(super) fn index_key(
    plan: &ModelPlan,
    index: &IndexPlan,
    attributes: &Attributes,
    base_key: &[u8],
) -> Option<Vec<u8>> {
    let mut key = tables::index_prefix(plan.name(), &index.name);
    push_value(
        &mut key,
        plan,
        &index.key.partition,
        present(attributes, &index.key.partition)?,
    );
    match sort_value(&index.key, attributes) {
        Some(Some(sort)) => push_sort(&mut key, plan, &index.key, &sort),
        Some(None) => {}
        None => keycode::encode_value(&mut key, &Value::Null),
    }
    key.extend_from_slice(base_key);
    Some(key)
}

/// The keys that a condition selects in an index, or in the base table.
pub(super) fn range(plan: &ModelPlan, index: Option<&IndexPlan>, condition: &KeyCondition) -> KvRange {
    let key = index.map_or(&plan.key, |index| &index.key);
    let mut prefix = match index {
        Some(index) => tables::index_prefix(plan.name(), &index.name),
        None => tables::model_prefix(plan.name()),
    };
    push_value(&mut prefix, plan, &key.partition, &condition.partition);
    if key.sort.is_empty() {
        return KvRange::prefix(&prefix);
    }
    let bytes = |value: &Value| {
        let mut bytes = prefix.clone();
        push_sort(&mut bytes, plan, key, value);
        bytes
    };
    // Entries without a sort value are below every entry with one.
    let mut lowest = prefix.clone();
    keycode::encode_value(&mut lowest, &Value::Null);
    let lowest = KvRange::prefix(&lowest).end();
    let highest = KvRange::prefix(&prefix).end();
    let (from, to) = match &condition.sort {
        None => (from_end(lowest), highest),
        Some(SortCondition::Eq(value)) => return KvRange::prefix(&bytes(value)),
        Some(SortCondition::Lt(value)) => (from_end(lowest), Bound::Excluded(bytes(value))),
        Some(SortCondition::Le(value)) => (from_end(lowest), KvRange::prefix(&bytes(value)).end()),
        Some(SortCondition::Gt(value)) => (from_end(KvRange::prefix(&bytes(value)).end()), highest),
        Some(SortCondition::Ge(value)) => (Bound::Included(bytes(value)), highest),
        Some(SortCondition::Between(low, high)) => {
            (Bound::Included(bytes(low)), KvRange::prefix(&bytes(high)).end())
        }
        Some(SortCondition::BeginsWith(text)) => {
            let mut beginning = bytes(&Value::from(text.as_str()));
            beginning.truncate(beginning.len() - TEXT_END_LEN);
            return KvRange::prefix(&beginning);
        }
    };
    KvRange::between(from, to)
}

/// The keys of a whole partition, entries without a sort value included.
pub(super) fn partition_range(plan: &ModelPlan, index: Option<&IndexPlan>, partition: &Value) -> KvRange {
    let (mut prefix, field) = match index {
        Some(index) => (
            tables::index_prefix(plan.name(), &index.name),
            &index.key.partition,
        ),
        None => (tables::model_prefix(plan.name()), &plan.key.partition),
    };
    push_value(&mut prefix, plan, field, partition);
    KvRange::prefix(&prefix)
}

/// Where one range ends, the next begins.
fn from_end(end: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    match end {
        Bound::Excluded(key) => Bound::Included(key),
        Bound::Included(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn present<'a>(attributes: &'a Attributes, field: &FieldName) -> Option<&'a Value> {
    attributes.get(field.as_str()).filter(|value| !value.is_null())
}

/// The sort value: outer `None` if a field is missing, inner `None` if the key has no sort fields.
fn sort_value(key: &KeyPlan, attributes: &Attributes) -> Option<Option<Value>> {
    match key.sort.as_slice() {
        [] => Some(None),
        [only] => present(attributes, only).cloned().map(Some),
        several => join_sort_fields(several.iter().map(|field| present(attributes, field))).map(Some),
    }
}

fn push_sort(key: &mut Vec<u8>, plan: &ModelPlan, of: &KeyPlan, value: &Value) {
    match of.sort.as_slice() {
        [only] => push_value(key, plan, only, value),
        _ => keycode::encode_value(key, value),
    }
}

fn push_value(key: &mut Vec<u8>, plan: &ModelPlan, field: &FieldName, value: &Value) {
    let float = plan
        .attributes
        .get(field)
        .is_some_and(|def| def.ty == FieldType::Scalar(Scalar::Float));
    match value {
        // JSON writes whole floats as integers; within one field all must be encoded alike.
        #[allow(clippy::cast_precision_loss)]
        Value::Int(int) if float => keycode::encode_value(key, &Value::Float(*int as f64)),
        value => keycode::encode_value(key, value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compile::CompiledSchema;
    use crate::fixtures;

    fn attributes(json: &serde_json::Value) -> Attributes {
        json.as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.into()))
            .collect()
    }

    fn device(org: &str, serial: &str, rev: i64) -> Attributes {
        attributes(&json!({"org": org, "serial": serial, "rev": rev}))
    }

    #[test]
    fn composite_keys_sort_by_the_joined_text_and_stay_apart() {
        let compiled = CompiledSchema::compile(fixtures::blog()).unwrap();
        let plan = compiled.model("Device");
        let key = |org: &str, serial: &str, rev| base_key(plan, &device(org, serial, rev)).unwrap();
        // "a!#1" comes before "a#1", and "a#10" before "a#2", as DynamoDB sorts the joined texts.
        assert!(key("o", "a!", 1) < key("o", "a", 1));
        assert!(key("o", "a", 10) < key("o", "a", 2));
        assert!(key("n", "z", 9) < key("o", "a", 1));
        assert_eq!(
            base_key(plan, &attributes(&json!({"org": "o", "serial": "a"}))),
            None
        );
        assert_eq!(
            join_sort_fields([Value::from("s"), Value::from(1)].iter().map(Some)),
            Some(Value::from("s#1"))
        );
    }

    #[test]
    fn records_without_a_sort_value_are_in_the_partition_but_in_no_condition() {
        let compiled = CompiledSchema::compile(fixtures::blog()).unwrap();
        let plan = compiled.model("Post");
        let index = &plan.indexes[0];
        let with = attributes(&json!({"id": "p", "blogId": "b", "title": ""}));
        let without = attributes(&json!({"id": "p", "blogId": "b", "title": null}));
        let key = |attributes: &Attributes| index_key(plan, index, attributes, b"base").unwrap();
        let holds = |range: &KvRange, key: &[u8]| range.contains(key);
        let whole = partition_range(plan, Some(index), &Value::from("b"));
        let query = range(
            plan,
            Some(index),
            &KeyCondition {
                partition: Value::from("b"),
                sort: None,
            },
        );
        assert!(holds(&whole, &key(&with)) && holds(&whole, &key(&without)));
        assert!(holds(&query, &key(&with)) && !holds(&query, &key(&without)));
        assert_eq!(
            index_key(plan, index, &attributes(&json!({"id": "p"})), b"base"),
            None
        );
    }

    #[test]
    fn sort_conditions_select_what_they_say() {
        let compiled = CompiledSchema::compile(fixtures::blog()).unwrap();
        let plan = compiled.model("Post");
        let index = &plan.indexes[0];
        let titles = ["", "a", "ab", "b", "c"];
        let select = |sort: SortCondition| {
            let range = range(
                plan,
                Some(index),
                &KeyCondition {
                    partition: Value::from("x"),
                    sort: Some(sort),
                },
            );
            let hit = |title: &&&str| {
                let attributes = attributes(&json!({"id": "p", "blogId": "x", "title": title}));
                range.contains(&index_key(plan, index, &attributes, b"base").unwrap())
            };
            titles.iter().filter(hit).copied().collect::<Vec<_>>().join(",")
        };
        let text = Value::from;
        assert_eq!(select(SortCondition::Eq(text("a"))), "a");
        assert_eq!(select(SortCondition::Lt(text("ab"))), ",a");
        assert_eq!(select(SortCondition::Le(text("ab"))), ",a,ab");
        assert_eq!(select(SortCondition::Gt(text("a"))), "ab,b,c");
        assert_eq!(select(SortCondition::Ge(text("ab"))), "ab,b,c");
        assert_eq!(select(SortCondition::Between(text("a"), text("b"))), "a,ab,b");
        assert_eq!(select(SortCondition::Between(text("c"), text("a"))), "");
        assert_eq!(select(SortCondition::BeginsWith("a".to_owned())), "a,ab");
        assert_eq!(select(SortCondition::BeginsWith(String::new())), ",a,ab,b,c");
    }
}
