//! Between the JSON of requests and stored values.
//!
//! Owns the two conversions. Numbers keep their kind; what JSON cannot hold does not occur in stored values.

use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::Value;

/// JSON as a stored value.
pub(crate) fn value_of(json: &JsonValue) -> Value {
    match json {
        JsonValue::Null => Value::Null,
        JsonValue::Bool(b) => Value::Bool(*b),
        JsonValue::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        JsonValue::String(text) => Value::String(text.as_str().to_owned()),
        JsonValue::Array(items) => Value::List(items.iter().map(value_of).collect()),
        JsonValue::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, member)| (name.as_str().to_owned(), value_of(member)))
                .collect(),
        ),
    }
}

/// A stored value as JSON.
pub(crate) fn json_of(value: &Value) -> JsonValue {
    match value {
        Value::Null => JsonValue::Null,
        Value::Bool(b) => JsonValue::Bool(*b),
        Value::Int(int) => JsonValue::from(*int),
        Value::Float(float) => JsonValue::from(*float),
        Value::String(text) => JsonValue::from(text.as_str()),
        Value::List(items) => JsonValue::Array(items.iter().map(json_of).collect()),
        Value::Object(members) => {
            let mut map = JsonMap::with_capacity(members.len());
            for (name, member) in members {
                map.insert(name.as_str(), json_of(member));
            }
            JsonValue::Object(map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_with_integers_apart_from_floats() {
        let json = JsonValue::from(serde_json::json!({"a": [1, 1.0, null, "x", true], "b": {"c": -7}}));
        let value = value_of(&json);
        assert_eq!(value.to_string(), r#"{"a":[1,1.0,null,"x",true],"b":{"c":-7}}"#);
        assert_eq!(json_of(&value), json);
    }
}
