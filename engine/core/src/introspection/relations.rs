//! From what an introspection document says of relations to foreign-key fields.
//!
//! Owns two rules: foreign keys that the older form leaves out are added as stored fields, and `associatedWith` may
//! name a relation field of the other model where the foreign keys of that relation are meant. Does not check that
//! foreign keys fit the keys they refer to; `schema/build.rs` does.

use indexmap::IndexMap;

use super::read::{Connection, RawAssociation, RawModel, Reader};
use crate::names::{FieldName, ModelName};
use crate::scalar::Scalar;
use crate::schema::{Association, FieldDef, FieldType};

type Models = IndexMap<ModelName, RawModel>;

/// Gives every relation field of the models its association.
pub(super) fn resolve(models: &mut Models, reader: &mut Reader) {
    let mut missing = Vec::new();
    for model in models.values() {
        for (name, association) in &model.associations {
            missing.extend(missing_fields(models, model, name, association));
        }
    }
    for (owner, field) in missing {
        if let Some(owner) = models.get_mut(&owner)
            && field_of(owner, &field.name).is_none()
        {
            owner.parts.fields.push(field);
        }
    }
    let mut resolved = Vec::new();
    for (model_index, model) in models.values().enumerate() {
        for (field_index, field) in model.parts.fields.iter().enumerate() {
            if let Some(raw) = model.associations.get(&field.name) {
                let path = format!("models.{}.fields.{}.association", model.parts.name, field.name);
                resolved.push((
                    model_index,
                    field_index,
                    association(models, field, raw, &path, reader),
                ));
            }
        }
    }
    for (model_index, field_index, association) in resolved {
        models[model_index].parts.fields[field_index].association = Some(association);
    }
}

/// Foreign keys that a relation needs and that no field holds yet, each with the model that shall store it.
fn missing_fields(
    models: &Models,
    model: &RawModel,
    name: &FieldName,
    association: &RawAssociation,
) -> Vec<(ModelName, FieldDef)> {
    let Some(relation) = field_of(model, name) else {
        return Vec::new();
    };
    let Some(other) = other_model(models, relation) else {
        return Vec::new();
    };
    let (holder, referred, names) = match association.kind {
        Connection::HasMany => (
            other,
            model,
            association.associated_with.as_deref().unwrap_or_default(),
        ),
        Connection::HasOne if association.targets.is_empty() => return Vec::new(),
        Connection::BelongsTo | Connection::HasOne => (model, other, association.targets.as_slice()),
    };
    // The server makes an implicit foreign key as required as the relation that implies it.
    let required = association.kind != Connection::HasMany && relation.required;
    names
        .iter()
        .enumerate()
        .filter(|(_, name)| field_of(holder, name).is_none())
        .map(|(index, name)| {
            let ty = key_type(referred, index, names.len());
            let field = FieldDef {
                ty,
                required,
                ..FieldDef::scalar(name, Scalar::Id)
            };
            (holder.parts.name.clone(), field)
        })
        .collect()
}

/// Type of the key field that a foreign key refers to; `ID` if the key has another shape.
fn key_type(referred: &RawModel, index: usize, len: usize) -> FieldType {
    let key = &referred.parts.key.fields;
    let field = key
        .get(index)
        .filter(|_| key.len() == len)
        .and_then(|name| field_of(referred, name));
    field.map_or(FieldType::Scalar(Scalar::Id), |field| field.ty.clone())
}

fn association(
    models: &Models,
    field: &FieldDef,
    raw: &RawAssociation,
    path: &str,
    reader: &mut Reader,
) -> Association {
    if !matches!(field.ty, FieldType::Model(_)) {
        reader.fault(
            path,
            format!("is on a field of type {field}; only fields of a model type are relations"),
        );
    }
    let targets = raw.targets.clone();
    // An unknown other model is reported when the schema is built.
    let other = other_model(models, field);
    let associated_with = match (&raw.associated_with, other) {
        (Some(names), Some(other)) => stored_names(other, names, !targets.is_empty(), path, reader),
        (Some(names), None) => names.clone(),
        (None, other) => other
            .map(|other| other.parts.key.fields.clone())
            .unwrap_or_default(),
    };
    match raw.kind {
        Connection::BelongsTo => Association::BelongsTo { targets },
        Connection::HasOne => Association::HasOne {
            associated_with,
            targets,
        },
        Connection::HasMany => Association::HasMany { associated_with },
    }
}

/// Replaces relation fields of the other model by their foreign keys, or by its key if this side holds the foreign keys.
fn stored_names(
    other: &RawModel,
    names: &[FieldName],
    this_side_holds: bool,
    path: &str,
    reader: &mut Reader,
) -> Vec<FieldName> {
    let mut stored = Vec::with_capacity(names.len());
    for name in names {
        match other.associations.get(name) {
            None => stored.push(name.clone()),
            Some(_) if this_side_holds => stored.extend(other.parts.key.fields.iter().cloned()),
            Some(relation) if relation.targets.is_empty() => {
                let other = &other.parts.name;
                reader.fault(
                    path,
                    format!("is associated with `{other}.{name}`, which holds no foreign key"),
                );
            }
            Some(relation) => stored.extend(relation.targets.iter().cloned()),
        }
    }
    stored
}

fn other_model<'a>(models: &'a Models, relation: &FieldDef) -> Option<&'a RawModel> {
    match &relation.ty {
        FieldType::Model(other) => models.get(other),
        _ => None,
    }
}

fn field_of<'a>(model: &'a RawModel, name: &FieldName) -> Option<&'a FieldDef> {
    model.parts.fields.iter().find(|field| field.name == *name)
}
