use super::*;
use crate::catalog::Catalog;
use crate::test_support::{built, field, index, model};
use landfall_core::SchemaParts;
use std::collections::BTreeMap;
use std::sync::Arc;

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    keycode::encode_value(&mut out, value);
    out
}

/// Which of the values lie in the range that one comparison leaves of an index on a field of that type.
fn selected(ty: &str, op: &Op, values: &[Value]) -> Vec<Value> {
    let mut parts = model("M", &["id: ID!"]);
    parts.fields.push(field(&format!("f: {ty}")));
    parts.indexes.push(index("byF", &["f"]));
    let schema = built(SchemaParts {
        models: vec![parts],
        ..SchemaParts::default()
    });
    let (catalog, _) = Catalog::build(Arc::new(schema), &BTreeMap::new()).unwrap();
    let model = catalog.model("M").unwrap();
    let slot = model.def.slot("f").unwrap();
    let (range, _) = narrow(&model.def, &model.indexes[0].slots, &[(slot, op)]).expect("narrows");
    let bounds = range.bounds(b"t");
    let lies_in = |value: &&Value| {
        // Entries go on with the identifier.
        let key = [b"t".as_slice(), &encoded(value), b"\x06id\x00\x01"].concat();
        std::ops::RangeBounds::<[u8]>::contains(&bounds.as_bounds(), key.as_slice())
    };
    values.iter().filter(lies_in).cloned().collect()
}

/// 2^53 + 1, which no `f64` holds.
const BEYOND_FLOATS: i64 = 9_007_199_254_740_993;

fn ints() -> Vec<Value> {
    let large = [
        BEYOND_FLOATS - 1,
        BEYOND_FLOATS,
        BEYOND_FLOATS + 1,
        i64::MAX,
        i64::MIN,
    ];
    [Value::Null]
        .into_iter()
        .chain((-2..3).chain(large).map(Value::Int))
        .collect()
}

fn floats() -> Vec<Value> {
    let all = [
        -1e300,
        -1.5,
        -0.0,
        0.0,
        1.0,
        1.5,
        2.0,
        9_007_199_254_740_992.0,
        9_007_199_254_740_994.0,
        1e300,
    ];
    [Value::Null].into_iter().chain(all.map(Value::Float)).collect()
}

fn texts() -> Vec<Value> {
    [Value::Null]
        .into_iter()
        .chain(["", "a", "a\0", "ab", "abc", "ac", "b"].map(Value::from))
        .collect()
}

#[test]
fn ranges_hold_exactly_what_comparisons_with_the_fields_kind_select() {
    let bools = vec![Value::Null, false.into(), true.into()];
    let cases = [
        ("Int", ints(), vec![Value::Int(0), Value::Int(2), Value::Int(-9)]),
        (
            "Float",
            floats(),
            vec![Value::Float(0.0), Value::Float(-0.0), Value::Float(1.2)],
        ),
        (
            "String",
            texts(),
            vec!["".into(), "ab".into(), "a\0".into(), "z".into()],
        ),
        ("Boolean", bools, vec![false.into(), true.into()]),
    ];
    for (ty, values, operands) in cases {
        for operand in operands {
            let all = [
                Op::Eq(operand.clone()),
                Op::Lt(operand.clone()),
                Op::Le(operand.clone()),
                Op::Gt(operand.clone()),
                Op::Ge(operand.clone()),
                Op::Between(operand.clone(), operand.clone()),
            ];
            for op in all {
                let expected: Vec<Value> = values
                    .iter()
                    .filter(|v| op.test(&v.as_ref()) == Some(true))
                    .cloned()
                    .collect();
                assert_eq!(selected(ty, &op, &values), expected, "{ty}: {op:?}");
            }
        }
    }
}

#[test]
fn a_beginning_selects_the_texts_that_have_it() {
    for prefix in ["", "a", "ab", "a\0", "c"] {
        let op = Op::BeginsWith(prefix.into());
        let expected: Vec<Value> = texts()
            .into_iter()
            .filter(|v| op.test(&v.as_ref()) == Some(true))
            .collect();
        assert_eq!(selected("String", &op, &texts()), expected, "{prefix:?}");
    }
}

#[test]
fn ranges_of_the_other_kind_of_number_leave_nothing_out() {
    let floats_of = [0.0, -0.0, 1.5, -1.5, 2.0, 9_007_199_254_740_992.0, -1e300, 1e300].map(Value::Float);
    let ints_of = [0, 2, -1, BEYOND_FLOATS, BEYOND_FLOATS + 2, i64::MAX, i64::MIN].map(Value::Int);
    for (ty, values, operands) in [
        ("Int", ints(), floats_of.to_vec()),
        ("Float", floats(), ints_of.to_vec()),
    ] {
        for operand in &operands {
            let all = [
                Op::Eq(operand.clone()),
                Op::Lt(operand.clone()),
                Op::Le(operand.clone()),
                Op::Gt(operand.clone()),
                Op::Ge(operand.clone()),
                Op::Between(operand.clone(), operand.clone()),
            ];
            for op in all {
                let found: Vec<Vec<u8>> = selected(ty, &op, &values).iter().map(encoded).collect();
                for value in values.iter().filter(|v| op.test(&v.as_ref()) == Some(true)) {
                    assert!(
                        found.contains(&encoded(value)),
                        "{ty}: {op:?} leaves out {value:?}"
                    );
                }
                assert!(
                    !found.contains(&encoded(&Value::Null)),
                    "{ty}: {op:?} lets null in"
                );
            }
        }
    }
}

#[test]
fn conditions_on_one_field_narrow_together() {
    let mut range = KeyRange::default();
    let slot = Slot(1);
    let (low, high) = (Op::Gt(Value::Int(1)), Op::Lt(Value::Int(5)));
    let wide = Op::Ge(Value::Int(0));
    assert!(bound(
        &mut range,
        Kind::Int,
        slot,
        &[(slot, &wide), (slot, &low), (slot, &high)]
    ));
    assert!(!range.is_empty());
    assert_eq!(range.end, Some(encoded(&Value::Int(5))));
    assert_eq!(range.start, prefix_end(&encoded(&Value::Int(1))));
    assert!(bound(
        &mut range,
        Kind::Int,
        slot,
        &[(slot, &Op::Gt(Value::Int(7)))]
    ));
    assert!(range.is_empty());
}
