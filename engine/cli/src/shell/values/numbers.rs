//! Numbers as JSON has them: one kind, however they are spelled.
//!
//! Owns [`same`], by which answers are compared with what a script waits for, and whole numbers that are spelled with a
//! point. A script in JavaScript cannot write 4.0, and one in Python writes it without being asked.

use landfall::{Schema, Value};
use landfall_core::{FieldType, Scalar};
use serde_json::{Number, Value as Json};

/// Up to here, on both sides of zero, each whole number is a double of its own: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Doubles below this, on both sides of zero, fit in 128 bits.
const WHOLE_MAX: f64 = 1e38;

/// Whether two pieces of JSON are equal, where numbers are equal by their value: `4` and `4.0` are.
pub(crate) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => same_number(a, b),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            let is_in_b = |(name, a): (&String, &Json)| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(is_in_b)
        }
        (a, b) => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        _ => false,
    }
}

/// The number, if it is whole and of a size that anybody counts with.
fn whole(number: &Number) -> Option<i128> {
    let integer = number.as_i64().map(i128::from);
    integer.or_else(|| number.as_u64().map(i128::from)).or_else(|| {
        let double = number.as_f64()?;
        let is_whole = double.fract() == 0.0 && double.abs() < WHOLE_MAX;
        #[allow(clippy::cast_possible_truncation)] // It is within the bound.
        is_whole.then_some(double as i128)
    })
}

/// The whole number that is spelled with a point or an exponent, such as `1.0`; `None` for any other.
pub(super) fn integral(double: f64) -> Option<i64> {
    let is_whole = double.fract() == 0.0 && double.abs() <= EXACT_MAX;
    #[allow(clippy::cast_possible_truncation)] // It is within the bound.
    is_whole.then_some(double as i64)
}

/// Spells whole numbers as such wherever the type, or one within it, takes no others: GraphQL's `Int` takes `1.0`.
pub(super) fn spell(schema: &Schema, ty: &FieldType, value: &mut Value) {
    match (ty, &mut *value) {
        (FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp), Value::Float(double)) => {
            if let Some(integer) = integral(*double) {
                *value = Value::Int(integer);
            }
        }
        (
            FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp) | FieldType::NonModel(_),
            Value::List(items),
        ) => {
            items.iter_mut().for_each(|item| spell(schema, ty, item));
        }
        (FieldType::NonModel(name), Value::Object(members)) => {
            let Some(def) = schema.non_model(name) else {
                return;
            };
            for (name, member) in members {
                if let Some(field) = def.fields.get(name.as_str()) {
                    spell(schema, &field.ty, member);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_the_same_by_their_value_however_deep() {
        for (a, b, expected) in [
            (json!(4), json!(4.0), true),
            (json!(-0.0), json!(0), true),
            (json!(1e3), json!(1000), true),
            (json!(u64::MAX), json!(u64::MAX), true),
            (json!(1e300), json!(1e300), true),
            (json!({"a": [1, {"b": 2.0}]}), json!({"a": [1.0, {"b": 2}]}), true),
            (json!({"a": 1, "b": 2}), json!({"b": 2.0, "a": 1.0}), true),
            (json!(4), json!(4.5), false),
            (
                json!(9_007_199_254_740_993_i64),
                json!(9_007_199_254_740_992.0),
                false,
            ),
            (json!(4), json!("4"), false),
            (json!(1), json!(true), false),
            (json!([1]), json!([1, 2]), false),
            (json!({"a": 1}), json!({"a": 1, "b": null}), false),
            (json!({"a": 1}), json!({"b": 1}), false),
        ] {
            assert_eq!(same(&a, &b), expected, "{a} and {b}");
            assert_eq!(same(&b, &a), expected, "{b} and {a}");
        }
    }

    #[test]
    fn whole_numbers_are_spelled_as_such_where_the_type_takes_no_others() {
        let sdl = "type Place { floor: Int height: Float rooms: [Int] inner: Place }
                   type Note @model { count: Int counts: [Int] at: AWSTimestamp place: Place places: [Place]
                                      ratio: Float more: AWSJSON text: String }";
        let schema = landfall_codegen::parse_sdl("s.graphql", sdl).unwrap();
        for (field, given, spelled) in [
            ("count", json!(1.0), json!(1)),
            ("count", json!(1.5), json!(1.5)),
            ("count", json!(1e300), json!(1e300)),
            ("counts", json!([1.0, 2, null]), json!([1, 2, null])),
            ("at", json!(1.7e9), json!(1_700_000_000)),
            (
                "place",
                json!({"floor": 2.0, "height": 2.0, "rooms": [3.0], "inner": {"floor": -1.0}}),
                json!({"floor": 2, "height": 2.0, "rooms": [3], "inner": {"floor": -1}}),
            ),
            ("places", json!([{"floor": 0.0}]), json!([{"floor": 0}])),
            // These take others as well.
            ("ratio", json!(1.0), json!(1.0)),
            ("more", json!({"a": 1.0}), json!({"a": 1.0})),
            ("text", json!(1.0), json!(1.0)),
        ] {
            let field = schema.model("Note").unwrap().field(field).unwrap();
            let mut value = Value::from(&given);
            spell(&schema, &field.ty, &mut value);
            assert_eq!(Json::from(&value), spelled, "{}: {given}", field.name);
        }
    }
}
