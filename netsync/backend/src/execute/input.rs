//! Inputs of mutations and keys on their way to stored attributes.
//!
//! Owns the conversion of a coerced JSON value by the type of its field, the defaults of the schema, and the reading of
//! key conditions.

use apollo_compiler::response::JsonValue;
use landfall_core::{FieldDef, FieldName, FieldType, Scalar, Schema, Value};

use super::coerce::Arguments;
use super::scalars;
use crate::compile::{KeyPlan, ModelPlan, sort_argument_name};
use crate::json::value_of;
use crate::store::{KeyCondition, SortCondition, join_sort_fields};

/// A value as it is stored in a field.
pub(super) fn stored(schema: &Schema, field: &FieldDef, json: &JsonValue) -> Value {
    match (field.list, json) {
        (_, JsonValue::Null) => Value::Null,
        (Some(_), JsonValue::Array(items)) => {
            Value::List(items.iter().map(|item| stored_one(schema, field, item)).collect())
        }
        // GraphQL takes a single value for a list of one.
        (Some(_), single) => Value::List(vec![stored_one(schema, field, single)]),
        (None, json) => stored_one(schema, field, json),
    }
}

fn stored_one(schema: &Schema, field: &FieldDef, json: &JsonValue) -> Value {
    match (&field.ty, json) {
        (FieldType::Scalar(Scalar::AwsJson), JsonValue::String(text)) => {
            scalars::parse_json(text.as_str()).unwrap_or(Value::Null)
        }
        (FieldType::Scalar(Scalar::Id), JsonValue::Number(number)) => Value::String(number.to_string()),
        (FieldType::NonModel(name), JsonValue::Object(members)) => {
            let def = schema.non_model(name);
            let member = |(name, json): (&_, &JsonValue)| {
                let name: &str = apollo_compiler::response::serde_json_bytes::ByteString::as_str(name);
                let field = def.and_then(|def| def.fields.get(name));
                let value = field.map_or_else(|| value_of(json), |field| stored(schema, field, json));
                (name.to_owned(), value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        (_, json) => value_of(json),
    }
}

/// The value that `@default` gives a field.
pub(super) fn default_value(field: &FieldDef) -> Option<Value> {
    let text = field.default.as_deref()?;
    match &field.ty {
        FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp) => text.parse().ok().map(Value::Int),
        FieldType::Scalar(Scalar::Float) => text
            .parse()
            .ok()
            .filter(|x: &f64| x.is_finite())
            .map(Value::Float),
        FieldType::Scalar(Scalar::Boolean) => text.parse().ok().map(Value::Bool),
        FieldType::Scalar(Scalar::AwsJson) => scalars::parse_json(text),
        FieldType::Scalar(_) | FieldType::Enum(_) => Some(Value::from(text)),
        FieldType::NonModel(_) | FieldType::Model(_) => None,
    }
}

/// A key field's value out of arguments.
pub(super) fn key_value(
    schema: &Schema,
    plan: &ModelPlan,
    field: &FieldName,
    arguments: &Arguments<'_>,
) -> Option<Value> {
    let value = stored(schema, &plan.attributes[field], arguments.get(field.as_str())?);
    (!value.is_null()).then_some(value)
}

/// A condition on sort fields that selects nothing that could be told: no operand, or several operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadCondition;

/// The condition on a key's sort fields among the arguments, if there is one.
///
/// # Errors
/// [`BadCondition`] for what DynamoDB refuses: passed over, it would select more than was asked for.
pub(super) fn sort_condition(
    schema: &Schema,
    plan: &ModelPlan,
    key: &KeyPlan,
    arguments: &Arguments<'_>,
) -> Result<Option<SortCondition>, BadCondition> {
    let operators = sort_argument_name(key)
        .and_then(|name| arguments.get(name.as_str()))
        .and_then(JsonValue::as_object);
    let mut given = operators
        .into_iter()
        .flatten()
        .filter(|(_, operand)| !operand.is_null());
    let Some((operator, operand)) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(BadCondition);
    }
    comparison(schema, plan, key, operator.as_str(), operand)
        .map(Some)
        .ok_or(BadCondition)
}

fn comparison(
    schema: &Schema,
    plan: &ModelPlan,
    key: &KeyPlan,
    operator: &str,
    operand: &JsonValue,
) -> Option<SortCondition> {
    let one = |json: &JsonValue| sort_operand(schema, plan, key, json);
    Some(match operator {
        "eq" => SortCondition::Eq(one(operand)?),
        "lt" => SortCondition::Lt(one(operand)?),
        "le" => SortCondition::Le(one(operand)?),
        "gt" => SortCondition::Gt(one(operand)?),
        "ge" => SortCondition::Ge(one(operand)?),
        "between" => {
            let [low, high] = operand.as_array()?.as_slice() else {
                return None;
            };
            SortCondition::Between(one(low)?, one(high)?)
        }
        "beginsWith" => SortCondition::BeginsWith(one(operand)?.as_str()?.to_owned()),
        _ => return None,
    })
}

/// A single sort value as itself; of several, as many as are given from the first on, joined.
fn sort_operand(schema: &Schema, plan: &ModelPlan, key: &KeyPlan, json: &JsonValue) -> Option<Value> {
    let value = |field: &FieldName, json: &JsonValue| stored(schema, &plan.attributes[field], json);
    match key.sort.as_slice() {
        [only] => Some(value(only, json)).filter(|value| !value.is_null()),
        several => {
            let members = json.as_object()?;
            let given: Vec<Value> = several
                .iter()
                .map_while(|field| members.get(field.as_str()).map(|json| value(field, json)))
                .take_while(|value| !value.is_null())
                .collect();
            join_sort_fields(given.iter().map(Some)).filter(|_| !given.is_empty())
        }
    }
}

/// Selects the records whose foreign key holds these values.
pub(super) fn foreign_key_condition(index: &KeyPlan, values: &[Value]) -> Option<KeyCondition> {
    let (partition, rest) = values.split_first()?;
    let sort = match rest {
        [] => None,
        [only] if index.sort.len() == 1 => Some(SortCondition::Eq(only.clone())),
        several => Some(SortCondition::Eq(join_sort_fields(several.iter().map(Some))?)),
    };
    Some(KeyCondition {
        partition: partition.clone(),
        sort,
    })
}
