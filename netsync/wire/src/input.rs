//! Variables of the documents: inputs of mutations, keys, and the arguments of a sync query.
//!
//! Owns how values of the store become GraphQL input values: `AWSJSON` travels as JSON text, everything else as
//! plain JSON. Filters and conditions are mapped in `filter.rs`.

use landfall_core::{
    AUTH_FIELD, FieldDef, FieldMap, FieldType, ModelDef, Mutation, MutationKind, RecordId, RecordVersion,
    Scalar, Schema, Value,
};
use serde_json::{Map, Value as Json};

use crate::document::Variables;
use crate::error::WireError;
use crate::filter::condition;

/// Arguments of a sync query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncArguments<'a> {
    /// The filter, from [`sync_filter`](crate::sync_filter).
    pub filter: Option<&'a Json>,
    /// Most items that the server looks at for the page; AppSync allows 1,000.
    pub limit: u32,
    /// Token of the page; `None` for the first.
    pub next_token: Option<&'a str>,
    /// `startedAt` of an earlier sync, in milliseconds; `None` for a base sync.
    pub last_sync_ms: Option<i64>,
}

impl SyncArguments<'_> {
    /// The variables; what is not given is left out.
    pub fn to_variables(&self) -> Variables {
        let mut variables = Map::new();
        if let Some(filter) = self.filter {
            variables.insert("filter".into(), filter.clone());
        }
        variables.insert("limit".into(), self.limit.into());
        if let Some(token) = self.next_token {
            variables.insert("nextToken".into(), token.into());
        }
        if let Some(last_sync_ms) = self.last_sync_ms {
            variables.insert("lastSync".into(), last_sync_ms.into());
        }
        variables
    }
}

/// Variables of a query for one record.
pub fn get_variables(schema: &Schema, def: &ModelDef, id: &RecordId) -> Variables {
    key_input(schema, def, id)
}

/// Variables of a subscription: its filter, and the argument that names the owner with its value.
pub fn subscription_variables(filter: Option<&Json>, owner: Option<(&str, &str)>) -> Variables {
    let filter = filter.map(|filter| ("filter".to_owned(), filter.clone()));
    let owner = owner.map(|(argument, owner)| (argument.to_owned(), owner.into()));
    filter.into_iter().chain(owner).collect()
}

/// Variables of a mutation: `input`, and `condition` if there is one.
///
/// A create sends the fields that were set, an update the identifier and the changed ones, a delete the identifier.
/// Fields that only the server writes are left out. So is an owner field set to null in a create: to the server that
/// is a claim to nobody's record, while an absent one means the caller's.
///
/// # Errors
/// [`WireError::ConditionNotExpressible`] or [`WireError::ConditionNeverHolds`] for the condition.
pub fn mutation_variables(
    schema: &Schema,
    def: &ModelDef,
    mutation: &Mutation,
) -> Result<Variables, WireError> {
    let mut input = match mutation.kind {
        MutationKind::Create => create_input(schema, def, &mutation.patch),
        MutationKind::Update => fields_input(schema, def, &mutation.patch),
        MutationKind::Delete => Map::new(),
    };
    input.extend(key_input(schema, def, &mutation.key.id));
    if let Some(RecordVersion(version)) = mutation.base_version
        && mutation.kind != MutationKind::Create
    {
        input.insert("_version".into(), version.into());
    }
    let mut variables = Map::new();
    variables.insert("input".into(), Json::Object(input));
    if let Some(predicate) = &mutation.condition
        && let Some(condition) = condition(def, &mutation.key.id, predicate)?
    {
        variables.insert("condition".into(), condition);
    }
    Ok(variables)
}

fn create_input(schema: &Schema, def: &ModelDef, fields: &FieldMap) -> Map<String, Json> {
    let mut input = fields_input(schema, def, fields);
    for owner in owner_fields(def) {
        if input.get(owner).is_some_and(Json::is_null) {
            input.remove(owner);
        }
    }
    input
}

fn owner_fields(def: &ModelDef) -> impl Iterator<Item = &str> {
    owner_rules(def).map(|rule| rule.get("ownerField").and_then(Json::as_str).unwrap_or("owner"))
}

fn owner_rules(def: &ModelDef) -> impl Iterator<Item = &Json> {
    def.auth
        .iter()
        .filter(|rule| rule.get("allow").and_then(Json::as_str) == Some("owner"))
}

/// Name of the argument by which a subscription to a model says whose records it is about; `None` if the model has no
/// owner rule that is about reading, if everybody may read it anyway, or if its records have several owners.
///
/// The last owner rule counts, as with Amplify's clients.
pub fn owner_argument(def: &ModelDef) -> Option<&str> {
    let reads = |rule: &&Json| match rule.get("operations").and_then(Json::as_array) {
        None => true,
        Some(operations) => operations
            .iter()
            .filter_map(Json::as_str)
            .any(|operation| matches!(operation, "read" | "listen")),
    };
    let of_model = |rule: &&Json| rule.get(AUTH_FIELD).is_none();
    let is_for_all = |rule: &Json| {
        let allow = rule.get("allow").and_then(Json::as_str);
        matches!(allow, Some("public" | "private"))
    };
    if def.auth.iter().filter(of_model).filter(reads).any(is_for_all) {
        return None;
    }
    let rule = owner_rules(def).filter(of_model).filter(reads).last()?;
    let field = rule.get("ownerField").and_then(Json::as_str).unwrap_or("owner");
    let has_several = def.field(field).is_some_and(|field| field.list.is_some());
    (!has_several).then_some(field)
}

fn fields_input(schema: &Schema, def: &ModelDef, fields: &FieldMap) -> Map<String, Json> {
    def.stored_fields()
        .filter(|field| !field.read_only)
        .filter_map(|field| {
            let value = fields.get(&field.name)?;
            Some((field.name.to_string(), to_input(schema, field, value)))
        })
        .collect()
}

fn key_input(schema: &Schema, def: &ModelDef, id: &RecordId) -> Map<String, Json> {
    id.to_fields(def)
        .iter()
        .filter_map(|(name, value)| {
            let field = def.field(name)?;
            // Identifiers keep floats as text; the server wants the number back.
            let number = match (&field.ty, value) {
                (FieldType::Scalar(Scalar::Float), Value::String(text)) => {
                    text.parse().ok().map(Value::Float)
                }
                _ => None,
            };
            Some((
                name.to_string(),
                to_input(schema, field, number.as_ref().unwrap_or(value)),
            ))
        })
        .collect()
}

/// The input form of a field's value.
pub(crate) fn to_input(schema: &Schema, field: &FieldDef, value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::List(items) if field.list.is_some() => items
            .iter()
            .map(|item| element_input(schema, field, item))
            .collect(),
        value => element_input(schema, field, value),
    }
}

fn element_input(schema: &Schema, field: &FieldDef, value: &Value) -> Json {
    match (&field.ty, value) {
        (_, Value::Null) => Json::Null,
        (FieldType::Scalar(Scalar::AwsJson), value) => Json::String(value.to_string()),
        (FieldType::NonModel(name), Value::Object(members)) => {
            let Some(def) = schema.non_model(name) else {
                return value.into();
            };
            members
                .iter()
                .filter_map(|(name, value)| {
                    Some((
                        name.clone(),
                        to_input(schema, def.fields.get(name.as_str())?, value),
                    ))
                })
                .collect()
        }
        (_, value) => value.into(),
    }
}

#[cfg(test)]
mod tests;
