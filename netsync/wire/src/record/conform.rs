//! Whether a value out of JSON fits a field, and its form in a row.
//!
//! Owns the rules of the table in `record.rs`. Stops at the first fault of a field: a bad record is set aside whole.

use std::collections::BTreeMap;
use std::fmt;

use landfall_core::{FieldDef, FieldName, FieldType, NonModelDef, Scalar, Schema, VALUE_DEPTH_MAX, Value};

use super::BadRecordFault;
use crate::server_error::shortened;

/// What is wrong with a record.
pub(super) struct Fault {
    pub(super) kind: BadRecordFault,
    pub(super) path: String,
    pub(super) reason: String,
}

pub(super) fn incomplete(path: &str, reason: &str) -> Fault {
    Fault {
        kind: BadRecordFault::Incomplete,
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn malformed(path: &Path<'_>, reason: String) -> Fault {
    Fault {
        kind: BadRecordFault::Malformed,
        path: path.to_string(),
        reason,
    }
}

/// The number, if it is whole and certain.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    // Beyond 2^53 a float no longer says which number it means.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Int(n) => Some(*n),
        #[allow(clippy::cast_possible_truncation)] // Whole and in range by the guard.
        Value::Float(x) if x.fract() == 0.0 && x.abs() <= EXACT_MAX => Some(*x as i64),
        _ => None,
    }
}

/// Where a value is; written out only for a fault.
pub(super) enum Path<'a> {
    Root(&'a FieldName),
    Member(&'a Path<'a>, &'a FieldName),
    Element(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn depth(&self) -> usize {
        match self {
            Self::Root(_) => 0,
            Self::Member(parent, _) | Self::Element(parent, _) => parent.depth() + 1,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => write!(f, "{name}"),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Brings a value into the form that rows hold, or says what is wrong with it.
pub(super) fn conform(
    schema: &Schema,
    field: &FieldDef,
    value: &mut Value,
    path: &Path<'_>,
) -> Result<(), Fault> {
    match (&mut *value, field.list) {
        (Value::Null, _) if field.required => Err(incomplete(&path.to_string(), "is required but null")),
        (Value::Null, _) => Ok(()),
        (Value::List(items), Some(list)) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = Path::Element(path, index);
                match item {
                    Value::Null if list.elements_required => {
                        return Err(incomplete(&path.to_string(), "is required but null"));
                    }
                    Value::Null => {}
                    item => conform_one(schema, field, item, &path)?,
                }
            }
            Ok(())
        }
        (_, Some(_)) => Err(malformed(path, format!("takes a list, not {}", value.kind()))),
        (_, None) => conform_one(schema, field, value, path),
    }
}

fn conform_one(schema: &Schema, field: &FieldDef, value: &mut Value, path: &Path<'_>) -> Result<(), Fault> {
    match (&field.ty, &mut *value) {
        (FieldType::Scalar(Scalar::AwsJson), _) => conform_json(value, path),
        (FieldType::Scalar(Scalar::Boolean), Value::Bool(_)) => Ok(()),
        (FieldType::Scalar(Scalar::Float), Value::Float(_)) => Ok(()),
        (FieldType::Scalar(Scalar::Float), Value::Int(n)) => {
            #[allow(clippy::cast_precision_loss)] // Float fields are doubles on the wire as well.
            let float = *n as f64;
            *value = Value::Float(float);
            Ok(())
        }
        (FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp), number) if whole_number(number).is_some() => {
            *value = Value::from(whole_number(value));
            Ok(())
        }
        // GraphQL lets a server print an `ID` as a number.
        (FieldType::Scalar(Scalar::Id), Value::Int(n)) => {
            *value = Value::String(n.to_string());
            Ok(())
        }
        (FieldType::Scalar(Scalar::Boolean | Scalar::Float | Scalar::Int | Scalar::AwsTimestamp), _) => {
            Err(malformed(
                path,
                format!("is not of type {}: it is {}", field.ty, value.kind()),
            ))
        }
        (FieldType::Scalar(_), Value::String(_)) => Ok(()),
        (FieldType::Enum(name), Value::String(text)) => {
            let known = schema
                .enumeration(name)
                .is_some_and(|def| def.values.iter().any(|known| known == text));
            let reason = || {
                format!(
                    "holds `{}`, which is no value of `{name}` in this schema",
                    shortened(text)
                )
            };
            if known {
                Ok(())
            } else {
                Err(malformed(path, reason()))
            }
        }
        (FieldType::NonModel(name), Value::Object(members)) => match schema.non_model(name) {
            Some(def) => conform_object(schema, def, members, path),
            None => Err(malformed(path, format!("is of the unknown type `{name}`"))),
        },
        (ty, value) => Err(malformed(
            path,
            format!("is not of type {ty}: it is {}", value.kind()),
        )),
    }
}

fn conform_object(
    schema: &Schema,
    def: &NonModelDef,
    members: &mut BTreeMap<String, Value>,
    path: &Path<'_>,
) -> Result<(), Fault> {
    if path.depth() > VALUE_DEPTH_MAX {
        return Err(malformed(
            path,
            format!("is nested deeper than {VALUE_DEPTH_MAX} levels"),
        ));
    }
    members.retain(|name, _| def.fields.contains_key(name.as_str()));
    for field in def.fields.values() {
        // A member that is missing was not selected, which recursive types bring about.
        if let Some(value) = members.get_mut(field.name.as_str()) {
            conform(schema, field, value, &Path::Member(path, &field.name))?;
        }
    }
    Ok(())
}

/// Parses the text of an `AWSJSON` value; some servers send the JSON itself, which is taken as it is.
fn conform_json(value: &mut Value, path: &Path<'_>) -> Result<(), Fault> {
    if let Value::String(text) = value {
        let parsed =
            serde_json::from_str(text).map_err(|error| malformed(path, format!("holds no JSON: {error}")))?;
        *value = parsed;
    }
    if is_deeper_than(value, VALUE_DEPTH_MAX) {
        return Err(malformed(
            path,
            format!("is nested deeper than {VALUE_DEPTH_MAX} levels"),
        ));
    }
    Ok(())
}

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return matches!(value, Value::List(_) | Value::Object(_));
    };
    match value {
        Value::List(items) => items.iter().any(|item| is_deeper_than(item, below)),
        Value::Object(members) => members.values().any(|item| is_deeper_than(item, below)),
        _ => false,
    }
}
