//! Conversions that the types of two fields suggest.
//!
//! Owns [`standard`]. Nothing is rounded, cut or guessed: a value that has no exact counterpart is an error.

use crate::scalar::Scalar;
use crate::schema::{FieldDef, FieldType};
use crate::value::Value;

/// Up to here every integer is a `f64` of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value as a field of this type holds it; the error says why it cannot be.
pub(super) fn standard(value: &Value, field: &FieldDef) -> Result<Value, String> {
    if field.list.is_some() {
        let items = match value {
            Value::List(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let items = items.iter().map(|item| single(item, &field.ty));
        return items.collect::<Result<_, _>>().map(Value::List);
    }
    match value {
        Value::List(items) if !is_json(&field.ty) => match items.as_slice() {
            [] => Ok(Value::Null),
            [only] => single(only, &field.ty),
            many => Err(format!("a list of {} values is not one value", many.len())),
        },
        value => single(value, &field.ty),
    }
}

fn is_json(ty: &FieldType) -> bool {
    matches!(ty, FieldType::Scalar(Scalar::AwsJson))
}

fn single(value: &Value, ty: &FieldType) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let converted = match ty {
        FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp) => int(value),
        FieldType::Scalar(Scalar::Float) => float(value),
        FieldType::Scalar(Scalar::Boolean) => boolean(value),
        FieldType::Scalar(Scalar::AwsJson) | FieldType::NonModel(_) => Some(value.clone()),
        FieldType::Scalar(_) | FieldType::Enum(_) => text(value),
        FieldType::Model(_) => None,
    };
    converted.ok_or_else(|| format!("{value} has no counterpart of type {ty}"))
}

fn int(value: &Value) -> Option<Value> {
    match value {
        Value::Int(_) => Some(value.clone()),
        Value::Bool(b) => Some(Value::Int(i64::from(*b))),
        #[allow(clippy::cast_possible_truncation)] // Whole and within the range in which both are exact.
        Value::Float(x) if x.fract() == 0.0 && x.abs() <= EXACT_MAX => Some(Value::Int(*x as i64)),
        Value::String(text) => text.trim().parse().ok().map(Value::Int),
        _ => None,
    }
}

fn float(value: &Value) -> Option<Value> {
    match value {
        Value::Float(_) => Some(value.clone()),
        #[allow(clippy::cast_precision_loss)] // Within the range in which both are exact.
        Value::Int(n) if (*n as f64).abs() <= EXACT_MAX => Some(Value::Float(*n as f64)),
        Value::String(text) => {
            let number: f64 = text.trim().parse().ok()?;
            number.is_finite().then_some(Value::Float(number))
        }
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::Int(0) => Some(Value::Bool(false)),
        Value::Int(1) => Some(Value::Bool(true)),
        Value::String(text) => text.trim().to_ascii_lowercase().parse().ok().map(Value::Bool),
        _ => None,
    }
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Bool(b) => Some(Value::String(b.to_string())),
        Value::Int(n) => Some(Value::String(n.to_string())),
        Value::Float(x) => Some(Value::String(x.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ListDef;

    #[test]
    fn values_are_converted_exactly_or_not_at_all() {
        let to = |scalar, value: Value| standard(&value, &FieldDef::scalar("f", scalar)).ok();
        assert_eq!(to(Scalar::Int, " 42".into()), Some(42.into()));
        assert_eq!(to(Scalar::Int, 3.0.into()), Some(3.into()));
        assert_eq!(to(Scalar::Int, 3.5.into()), None);
        assert_eq!(to(Scalar::Float, 3.into()), Some(3.0.into()));
        assert_eq!(to(Scalar::Float, "nan".into()), None);
        assert_eq!(to(Scalar::Float, i64::MAX.into()), None);
        assert_eq!(to(Scalar::Boolean, "TRUE".into()), Some(true.into()));
        assert_eq!(to(Scalar::Boolean, 2.into()), None);
        assert_eq!(to(Scalar::String, 2.5.into()), Some("2.5".into()));
        assert_eq!(to(Scalar::String, Value::Null), Some(Value::Null));
        assert_eq!(to(Scalar::String, vec![1].into()), Some("1".into()));
        assert_eq!(to(Scalar::String, vec![1, 2].into()), None);
        assert_eq!(to(Scalar::AwsJson, vec![1, 2].into()), Some(vec![1, 2].into()));
        let list = FieldDef {
            list: Some(ListDef {
                elements_required: true,
            }),
            ..FieldDef::scalar("f", Scalar::Int)
        };
        assert_eq!(standard(&"5".into(), &list), Ok(vec![5].into()));
        assert_eq!(standard(&vec!["5", "6"].into(), &list), Ok(vec![5, 6].into()));
    }
}
