//! What `@default` gives a field.
//!
//! Owns the reading of the text of a default, which follows Amplify: by the type of the field.

use super::{FieldDef, FieldType, ModelDef};
use crate::scalar::Scalar;
use crate::value::Value;

impl FieldDef {
    /// The value that `@default` gives the field; `None` without one, and for a text that does not fit the type.
    pub fn default_value(&self) -> Option<Value> {
        let text = self.default.as_deref()?;
        if self.list.is_some() {
            return None;
        }
        match &self.ty {
            FieldType::Scalar(scalar) => {
                let value = match scalar {
                    Scalar::Int | Scalar::AwsTimestamp => Value::Int(text.parse().ok()?),
                    Scalar::Float => Value::Float(text.parse().ok()?),
                    Scalar::Boolean => Value::Bool(text.parse().ok()?),
                    Scalar::AwsJson => serde_json::from_str::<serde_json::Value>(text).ok()?.into(),
                    _ => Value::from(text),
                };
                scalar.check(&value).is_ok().then_some(value)
            }
            FieldType::Enum(_) => Some(Value::from(text)),
            FieldType::NonModel(_) | FieldType::Model(_) => None,
        }
    }
}

/// Gives missing fields of a new record the values of their `@default`. Key fields are the app's business.
pub fn fill_defaults(def: &ModelDef, values: &mut [Value]) {
    for (field, value) in def.stored_fields().zip(values) {
        if value.is_null()
            && field.default.is_some()
            && !def.key.fields.contains(&field.name)
            && let Some(default) = field.default_value()
        {
            *value = default;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(scalar: Scalar, text: &str) -> FieldDef {
        FieldDef {
            default: Some(text.to_owned()),
            ..FieldDef::scalar("f", scalar)
        }
    }

    #[test]
    fn defaults_are_read_by_the_type_of_their_field() {
        let read = |scalar, text| field(scalar, text).default_value();
        assert_eq!(read(Scalar::Int, "5"), Some(5.into()));
        assert_eq!(read(Scalar::Int, "5.5"), None);
        assert_eq!(read(Scalar::Float, "5"), Some(5.0.into()));
        assert_eq!(read(Scalar::Float, "inf"), None);
        assert_eq!(read(Scalar::Boolean, "true"), Some(true.into()));
        assert_eq!(read(Scalar::String, "5"), Some("5".into()));
        assert_eq!(read(Scalar::AwsDate, "tomorrow"), None);
        assert_eq!(read(Scalar::AwsJson, "[1]"), Some(vec![1].into()));
        assert_eq!(FieldDef::scalar("f", Scalar::Int).default_value(), None);
    }
}
