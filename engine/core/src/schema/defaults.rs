//! What `@default` gives a field, and schemas some of whose models stay local.
//!
//! Owns the reading of the text of a default, which follows Amplify: by the type of the field.

use std::sync::Arc;

use super::{FieldDef, FieldType, ModelDef, Schema, build, topology};
use crate::names::ModelName;
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
pub(crate) fn fill_defaults(def: &ModelDef, values: &mut [Value]) {
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

impl Schema {
    /// The same schema with these models kept local: they are neither sent nor fetched.
    ///
    /// # Errors
    /// The first name that is no model.
    pub fn with_local_models(&self, models: &[ModelName]) -> Result<Self, ModelName> {
        let mut schema = self.clone();
        for name in models {
            let def = schema.models.get_mut(name).ok_or_else(|| name.clone())?;
            Arc::make_mut(def).syncable = false;
        }
        schema.levels = topology::levels(&schema.models);
        schema.hash = build::hash(&schema);
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::blog;

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

    #[test]
    fn models_that_stay_local_are_not_synced() {
        let schema = blog();
        let local = schema.with_local_models(&["Comment".into()]).expect("a model");
        assert!(!local.model("Comment").expect("there").syncable);
        assert!(
            !local
                .topological_levels()
                .iter()
                .flatten()
                .any(|name| name == "Comment")
        );
        assert_ne!(local.hash(), schema.hash());
        assert_eq!(schema.with_local_models(&["Nobody".into()]), Err("Nobody".into()));
    }
}
