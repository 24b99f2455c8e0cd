//! Whether values fit a model: types, required fields, enums, every AWS scalar, list elements.
//!
//! Owns [`validate`] and [`FieldFault`]. Finds every fault of a record at once, and brings numbers into the one form
//! that rows hold (a `Float` field holds `Value::Float` even where the app gave an integer).

use std::fmt;

use crate::names::{FieldName, ModelName};
use crate::scalar::Scalar;
use crate::schema::{FieldDef, FieldType, ModelDef, NonModelDef, Schema, Types};
use crate::value::Value;

/// Deepest nesting of non-model objects and JSON that is accepted.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Largest record that the app may save, in bytes of [`Value::bytes`]: far more than a server takes (AppSync's items end
/// at 400 KB), and little enough that a record, the server's version of it and a conflict between the two fit into one
/// entry of the log and into memory several times.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is wrong with one field of a record.
///
/// ```
/// use landfall_core::FieldFault;
///
/// let fault = FieldFault { path: "tags[2]".into(), message: "must not be null".into() };
/// assert_eq!(fault.to_string(), "`tags[2]` must not be null");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Where, such as `address.city` or `tags[2]`.
    pub path: String,
    /// What is wrong and what would be accepted.
    pub message: String,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.path, self.message)
    }
}

/// Everything that is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRecord {
    /// The model.
    pub model: ModelName,
    /// Every fault, in field order; never empty.
    pub faults: Vec<FieldFault>,
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be saved: ", self.model)?;
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidRecord {}

/// Checks values in slot order against a model and brings numbers into the form that rows hold.
///
/// Managed timestamps may be null although the server never leaves them so.
///
/// # Errors
/// Every fault found.
pub fn validate(schema: &Schema, def: &ModelDef, values: &mut [Value]) -> Result<(), InvalidRecord> {
    let mut faults = check_fields(schema, def.stored_fields(), values);
    for name in &def.key.fields {
        let empty = def
            .slot(name)
            .is_some_and(|slot| values[slot.index()] == Value::String(String::new()));
        if empty {
            let message = "is part of the identifier and must not be empty".to_owned();
            faults.push(FieldFault {
                path: name.to_string(),
                message,
            });
        }
    }
    if faults.is_empty() {
        // Only of what is known not to be nested without end.
        faults.extend(too_large(def, values));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(InvalidRecord {
            model: def.name.clone(),
            faults,
        })
    }
}

/// What is wrong with an object of a non-model type that is no part of a record yet; its values are in field order.
pub(crate) fn validate_members(schema: &Schema, def: &NonModelDef, values: &mut [Value]) -> Vec<FieldFault> {
    check_fields(schema, def.fields.values(), values)
}

/// Checks each value against its field.
fn check_fields<'s>(
    schema: &Schema,
    fields: impl Iterator<Item = &'s FieldDef>,
    values: &mut [Value],
) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    for (field, value) in fields.zip(values) {
        if value.is_null() && field.read_only {
            continue;
        }
        check_field(&schema.types, field, value, &Path::Root(&field.name), &mut faults);
    }
    faults
}

/// The fault of a record that is larger than it may be, at its largest field.
fn too_large(def: &ModelDef, values: &[Value]) -> Option<FieldFault> {
    let bytes = values.iter().map(Value::bytes).sum::<usize>();
    if bytes <= RECORD_BYTES_MAX {
        return None;
    }
    let fields = def.stored_fields().zip(values);
    let (largest, _) = fields.max_by_key(|(_, value)| value.bytes())?;
    Some(FieldFault {
        path: largest.name.to_string(),
        message: format!(
            "makes the record {bytes} bytes large, more than {RECORD_BYTES_MAX}; keep what is large elsewhere, and its \
             address here"
        ),
    })
}

/// Checks one value against its field, and brings numbers into the form that rows hold; the error is in words.
pub(crate) fn check_value(schema: &Schema, field: &FieldDef, value: &mut Value) -> Result<(), String> {
    if value.is_null() && field.read_only {
        return Ok(());
    }
    let mut faults = Vec::new();
    check_field(&schema.types, field, value, &Path::Root(&field.name), &mut faults);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults
            .iter()
            .map(FieldFault::to_string)
            .collect::<Vec<_>>()
            .join("; "))
    }
}

/// What is wrong with an object of a non-model type that somebody names to compare with; nothing if it could be stored.
pub(crate) fn object_faults(types: &Types, field: &FieldDef, object: &Value) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    let path = Path::Root(&field.name);
    check_one(types, field, &mut object.clone(), &path, &mut faults);
    faults
}

/// Where a value is, built without allocation until a fault is found.
enum Path<'a> {
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

fn check_field(
    types: &Types,
    field: &FieldDef,
    value: &mut Value,
    path: &Path<'_>,
    faults: &mut Vec<FieldFault>,
) {
    if value.is_null() {
        if field.required {
            push(faults, path, "is required");
        }
        return;
    }
    let Some(list) = field.list else {
        return check_one(types, field, value, path, faults);
    };
    let Value::List(items) = value else {
        return push(
            faults,
            path,
            &format!("takes a list, not {} ({value})", value.kind()),
        );
    };
    for (index, item) in items.iter_mut().enumerate() {
        let path = Path::Element(path, index);
        if item.is_null() {
            if list.elements_required {
                push(faults, &path, "must not be null");
            }
        } else {
            check_one(types, field, item, &path, faults);
        }
    }
}

fn check_one(
    types: &Types,
    field: &FieldDef,
    value: &mut Value,
    path: &Path<'_>,
    faults: &mut Vec<FieldFault>,
) {
    match &field.ty {
        FieldType::Scalar(Scalar::AwsJson) if json_depth(value) > VALUE_DEPTH_MAX => {
            push(
                faults,
                path,
                &format!("is nested deeper than {VALUE_DEPTH_MAX} levels"),
            );
        }
        FieldType::Scalar(Scalar::AwsJson) if !json_is_finite(value) => {
            push(faults, path, "takes JSON, which has no NaN or infinity");
        }
        FieldType::Scalar(scalar) => match scalar.check(value) {
            Ok(()) => {
                if let (Scalar::Float, Value::Int(int)) = (scalar, &*value) {
                    #[allow(clippy::cast_precision_loss)] // Float fields are doubles on the wire as well.
                    let float = *int as f64;
                    *value = Value::Float(float);
                }
            }
            Err(accepts) => push(faults, path, &format!("takes {accepts}, not {}", found(value))),
        },
        FieldType::Enum(name) => {
            let values = types
                .enums
                .get(name)
                .map(|def| def.values.as_slice())
                .unwrap_or_default();
            let known = value
                .as_str()
                .is_some_and(|text| values.iter().any(|v| v == text));
            if !known {
                push(
                    faults,
                    path,
                    &format!("takes one of {}, not {value}", values.join(", ")),
                );
            }
        }
        FieldType::NonModel(name) => match (types.non_models.get(name), &mut *value) {
            (Some(def), Value::Object(members)) => check_object(types, def, members, path, faults),
            _ => push(
                faults,
                path,
                &format!("takes an object of type `{name}`, not {}", value.kind()),
            ),
        },
        FieldType::Model(_) => push(faults, path, "is a relation and holds no value of its own"),
    }
}

fn check_object(
    types: &Types,
    def: &NonModelDef,
    members: &mut std::collections::BTreeMap<String, Value>,
    path: &Path<'_>,
    faults: &mut Vec<FieldFault>,
) {
    if path.depth() > VALUE_DEPTH_MAX {
        return push(
            faults,
            path,
            &format!("is nested deeper than {VALUE_DEPTH_MAX} objects"),
        );
    }
    for field in def.fields.values() {
        let path = Path::Member(path, &field.name);
        match members.get_mut(field.name.as_str()) {
            Some(value) => check_field(types, field, value, &path, faults),
            None if field.required => push(faults, &path, "is required"),
            None => {}
        }
    }
    for name in members
        .keys()
        .filter(|name| !def.fields.contains_key(name.as_str()))
    {
        let known: Vec<&str> = def.fields.keys().map(FieldName::as_str).collect();
        push(
            faults,
            path,
            &format!("has no member `{name}`; `{}` has {}", def.name, known.join(", ")),
        );
    }
}

/// What was given instead, in words: numbers without end are no JSON, as which every other value is shown.
fn found(value: &Value) -> String {
    match value {
        Value::Float(x) if x.is_nan() => "NaN".to_owned(),
        Value::Float(x) if x.is_infinite() => "an infinite one".to_owned(),
        _ => format!("{} ({value})", value.kind()),
    }
}

/// Depth of a JSON value, counted no further than just past the bound.
fn json_depth(value: &Value) -> usize {
    fn depth(value: &Value, at: usize) -> usize {
        if at > VALUE_DEPTH_MAX {
            return at;
        }
        match value {
            Value::List(items) => items.iter().map(|item| depth(item, at + 1)).max().unwrap_or(at),
            Value::Object(members) => members
                .values()
                .map(|item| depth(item, at + 1))
                .max()
                .unwrap_or(at),
            _ => at,
        }
    }
    depth(value, 0)
}

/// Whether every number in a JSON value is one; called only on values within the depth bound.
fn json_is_finite(value: &Value) -> bool {
    match value {
        Value::Float(x) => x.is_finite(),
        Value::List(items) => items.iter().all(json_is_finite),
        Value::Object(members) => members.values().all(json_is_finite),
        _ => true,
    }
}

fn push(faults: &mut Vec<FieldFault>, path: &Path<'_>, message: &str) {
    faults.push(FieldFault {
        path: path.to_string(),
        message: message.to_owned(),
    });
}

#[cfg(test)]
mod tests;
