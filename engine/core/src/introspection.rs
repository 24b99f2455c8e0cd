//! Model-introspection JSON to and from [`Schema`].
//!
//! Owns both directions of Amplify's JSON form. Writes the form of `model-introspection.json` (version 1, associations
//! as arrays); reads that form, `amplify_outputs.json` around it, and the older form of `schema.js`. Whether the parts
//! fit together is checked by `schema/build.rs`.
//!
//! Invariants: 1. reading what was written gives the same schema; 2. equal schemas are written alike, byte for byte,
//! since [`crate::SchemaHash`] is made of the text.

mod api;
mod read;
mod relations;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use crate::schema::{
    AUTH_FIELD, Association, FieldDef, FieldType, KeyKind, ModelDef, Schema, SchemaError, Timestamps,
};

pub use read::from_json;

/// What is wrong with an introspection document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct IntrospectionError {
    /// Where in the document, such as `models.Post.fields.title`.
    pub path: String,
    /// What is wrong there and what would be accepted.
    pub message: String,
}

impl From<SchemaError> for IntrospectionError {
    fn from(error: SchemaError) -> Self {
        let path = match &error {
            SchemaError::NoModels => "models".to_owned(),
            SchemaError::DuplicateType { name } => name.clone(),
            SchemaError::DuplicateField { owner, field } | SchemaError::UnknownType { owner, field, .. } => {
                format!("{owner}.fields.{field}")
            }
            SchemaError::UnknownField { model, .. } | SchemaError::TooManyFields { model, .. } => {
                format!("models.{model}")
            }
            SchemaError::BadKeyField { model, field }
            | SchemaError::MissingAssociation { model, field, .. }
            | SchemaError::ForeignKeyLength { model, field, .. } => format!("models.{model}.fields.{field}"),
        };
        Self {
            path,
            message: error.to_string(),
        }
    }
}

/// Writes the schema as model-introspection JSON.
///
/// Beside Amplify's own members a field has `default` if the schema says `@default`; Amplify's tools ignore it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let json = serde_json::json!({ "version": 1, "models": { "Post": { "name": "Post", "pluralName": "Posts", "fields": {
/// #     "id": { "name": "id", "type": "ID", "isRequired": true },
/// #     "title": { "name": "title", "type": "String", "isRequired": true },
/// #     "rating": { "name": "rating", "type": "Int", "isRequired": false },
/// # } } } });
/// # let schema = landfall_core::schema_from_json(&json).map_err(|faults| format!("{faults:?}"))?;
/// use landfall_core::{schema_from_json, schema_to_json};
///
/// let json = schema_to_json(&schema);
/// assert_eq!(json["models"]["Post"]["fields"]["title"]["type"], "String");
/// assert_eq!(schema_from_json(&json).map(|again| again.hash().clone()), Ok(schema.hash().clone()));
/// # Ok(()) }
/// ```
pub fn to_json(schema: &Schema) -> Json {
    let models: Map<String, Json> = schema
        .models()
        .map(|model| (model.name.to_string(), model_json(model)))
        .collect();
    let enums: Map<String, Json> = schema
        .enums()
        .map(|def| {
            (
                def.name.clone(),
                json!({ "name": def.name, "values": def.values }),
            )
        })
        .collect();
    let non_models: Map<String, Json> = schema
        .non_models()
        .map(|def| {
            (
                def.name.clone(),
                json!({ "name": def.name, "fields": fields_json(def.fields.values()) }),
            )
        })
        .collect();
    json!({ "version": 1, "models": models, "enums": enums, "nonModels": non_models })
}

fn model_json(model: &ModelDef) -> Json {
    let (partition, sort) = match model.key.fields.split_first() {
        Some((partition, sort)) => (json!(partition), json!(sort)),
        None => (Json::Null, json!([])),
    };
    json!({
        "name": model.name,
        "fields": with_field_rules(fields_json(model.fields.values()), &model.auth),
        "syncable": model.syncable,
        "pluralName": model.plural_name,
        "attributes": attributes_json(model),
        "primaryKeyInfo": {
            "isCustomPrimaryKey": matches!(model.key.kind, KeyKind::Custom | KeyKind::Composite),
            "primaryKeyFieldName": partition,
            "sortKeyFieldNames": sort,
        },
    })
}

fn attributes_json(model: &ModelDef) -> Vec<Json> {
    let mut properties = timestamps_json(&model.timestamps);
    api::write(&model.api, &mut properties);
    let mut attributes = vec![json!({ "type": "model", "properties": properties })];
    if model.key.declared {
        attributes.push(json!({ "type": "key", "properties": { "fields": model.key.fields } }));
    }
    for index in &model.indexes {
        let mut properties = Map::new();
        properties.insert("name".to_owned(), json!(index.name));
        if let Some(query_field) = &index.query_field {
            properties.insert("queryField".to_owned(), json!(query_field));
        }
        properties.insert("fields".to_owned(), json!(index.fields));
        attributes.push(json!({ "type": "key", "properties": properties }));
    }
    let rules: Vec<&Json> = model
        .auth
        .iter()
        .filter(|rule| rule.get(AUTH_FIELD).is_none())
        .collect();
    if !rules.is_empty() {
        attributes.push(json!({ "type": "auth", "properties": { "rules": rules } }));
    }
    attributes
}

/// Rules on single fields stand among the attributes of these.
fn with_field_rules(mut fields: Map<String, Json>, rules: &[Json]) -> Map<String, Json> {
    let mut by_field: IndexMap<&str, Vec<Json>> = IndexMap::new();
    for rule in rules {
        let (Some(field), Some(mut rule)) = (
            rule.get(AUTH_FIELD).and_then(Json::as_str),
            rule.as_object().cloned(),
        ) else {
            continue;
        };
        rule.shift_remove(AUTH_FIELD);
        by_field.entry(field).or_default().push(Json::Object(rule));
    }
    for (field, rules) in by_field {
        if let Some(field) = fields.get_mut(field) {
            field["attributes"] = json!([{ "type": "auth", "properties": { "rules": rules } }]);
        }
    }
    fields
}

/// Only a change from the defaults is written; a timestamp that is switched off is null.
fn timestamps_json(timestamps: &Timestamps) -> Map<String, Json> {
    let mut properties = Map::new();
    if *timestamps != Timestamps::default() {
        let names = json!({ "createdAt": timestamps.created_at, "updatedAt": timestamps.updated_at });
        properties.insert("timestamps".to_owned(), names);
    }
    properties
}

fn fields_json<'a>(fields: impl Iterator<Item = &'a FieldDef>) -> Map<String, Json> {
    fields
        .map(|field| (field.name.to_string(), field_json(field)))
        .collect()
}

fn field_json(field: &FieldDef) -> Json {
    let ty = match &field.ty {
        FieldType::Scalar(scalar) => json!(scalar.name()),
        FieldType::Enum(name) => json!({ "enum": name }),
        FieldType::NonModel(name) => json!({ "nonModel": name }),
        FieldType::Model(name) => json!({ "model": name }),
    };
    // Of a list, `isRequired` speaks of the elements and `isArrayNullable` of the list itself.
    let required = field.list.map_or(field.required, |list| list.elements_required);
    let mut members = Map::new();
    members.insert("name".to_owned(), json!(field.name));
    members.insert("isArray".to_owned(), json!(field.list.is_some()));
    members.insert("type".to_owned(), ty);
    members.insert("isRequired".to_owned(), json!(required));
    members.insert("attributes".to_owned(), json!([]));
    if field.list.is_some() {
        members.insert("isArrayNullable".to_owned(), json!(!field.required));
    }
    if field.read_only {
        members.insert("isReadOnly".to_owned(), json!(true));
    }
    if let Some(default) = &field.default {
        members.insert("default".to_owned(), json!(default));
    }
    if let Some(association) = &field.association {
        members.insert("association".to_owned(), association_json(association));
    }
    Json::Object(members)
}

fn association_json(association: &Association) -> Json {
    match association {
        Association::BelongsTo { targets } => {
            json!({ "connectionType": "BELONGS_TO", "targetNames": targets })
        }
        Association::HasMany { associated_with } => {
            json!({ "connectionType": "HAS_MANY", "associatedWith": associated_with })
        }
        Association::HasOne {
            associated_with,
            targets,
        } if targets.is_empty() => {
            json!({ "connectionType": "HAS_ONE", "associatedWith": associated_with })
        }
        Association::HasOne {
            associated_with,
            targets,
        } => {
            json!({ "connectionType": "HAS_ONE", "associatedWith": associated_with, "targetNames": targets })
        }
    }
}

#[cfg(test)]
mod tests;
