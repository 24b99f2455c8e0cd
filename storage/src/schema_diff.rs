//! What changed between two schemas, and whether stored data survives it.
//!
//! Owns [`schema_losses`], which everybody asks who has data of one schema and is given another: stores, and the tables of the
//! backend. A change is compatible if every stored row is still valid and nothing stored becomes unreachable.
//! Whether there is a stored row at all is asked elsewhere (`open.rs`): a change of an empty model loses nothing.

use std::fmt;

use landfall_core::{FieldDef, FieldName, FieldType, ModelDef, ModelName, Schema};

/// A change of a schema that loses or invalidates data.
///
/// Written out, it is the reason that [`StorageError::SchemaIncompatible`](crate::StorageError::SchemaIncompatible) lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaLoss {
    /// The models whose records it concerns, by the old schema; at least one.
    pub models: Vec<ModelName>,
    /// Of a change of an enum or a type of objects: the fields of these models that hold such values, also inside others.
    pub held_by: Vec<(ModelName, FieldName)>,
    /// What changed.
    pub what: LossKind,
}

/// What there is to lose. An owner is a model or a type of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// A model is gone.
    ModelRemoved {
        /// Its name.
        model: ModelName,
    },
    /// Records of a model are found by other fields.
    KeyChanged {
        /// Its name.
        model: ModelName,
    },
    /// A stored field is gone, or stored no longer.
    FieldRemoved {
        /// What had the field.
        owner: String,
        /// Its name.
        field: FieldName,
    },
    /// A field has another type.
    TypeChanged {
        /// What has the field.
        owner: String,
        /// Its name.
        field: FieldName,
        /// Its GraphQL type as it was.
        from: String,
        /// Its GraphQL type as it is.
        to: String,
    },
    /// A field may no longer be null, or an element of its list may not.
    BecameRequired {
        /// What has the field.
        owner: String,
        /// Its name.
        field: FieldName,
        /// Its GraphQL type as it was.
        from: String,
        /// Its GraphQL type as it is.
        to: String,
    },
    /// A field is new and may not be null, but nothing stored has it.
    NewRequired {
        /// What has the field.
        owner: String,
        /// Its name.
        field: FieldName,
        /// Whether the owner is a type of objects, not a model.
        in_objects: bool,
    },
    /// An enum has a value no longer.
    EnumValueRemoved {
        /// The enum.
        enumeration: String,
        /// The value.
        value: String,
    },
}

impl LossKind {
    /// Whether it only asks for values that are not there; whatever was stored is still shown.
    pub fn only_asks(&self) -> bool {
        match self {
            Self::BecameRequired { .. } | Self::NewRequired { .. } => true,
            Self::ModelRemoved { .. }
            | Self::KeyChanged { .. }
            | Self::FieldRemoved { .. }
            | Self::TypeChanged { .. }
            | Self::EnumValueRemoved { .. } => false,
        }
    }
}

impl fmt::Display for SchemaLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModelRemoved { model } => write!(f, "model `{model}` was removed"),
            Self::KeyChanged { model } => write!(f, "the primary key of `{model}` changed"),
            Self::FieldRemoved { owner, field } => write!(f, "`{owner}.{field}` was removed"),
            Self::TypeChanged {
                owner,
                field,
                from,
                to,
            } => write!(f, "`{owner}.{field}` changed its type from {from} to {to}"),
            Self::BecameRequired {
                owner,
                field,
                from,
                to,
            } => write!(f, "`{owner}.{field}` became required: {from} is now {to}"),
            Self::NewRequired {
                owner,
                field,
                in_objects,
            } => {
                let stored = if *in_objects { "objects" } else { "records" };
                write!(
                    f,
                    "`{owner}.{field}` is new and required, but stored {stored} lack it"
                )
            }
            Self::EnumValueRemoved { enumeration, value } => {
                write!(f, "enum `{enumeration}` lost the value {value}")
            }
        }
    }
}

/// Where losses are collected that concern the same models.
struct Losses<'a> {
    models: Vec<ModelName>,
    held_by: Vec<(ModelName, FieldName)>,
    all: &'a mut Vec<SchemaLoss>,
}

impl<'a> Losses<'a> {
    fn of_model(model: &ModelDef, all: &'a mut Vec<SchemaLoss>) -> Self {
        Self {
            models: vec![model.name.clone()],
            held_by: Vec::new(),
            all,
        }
    }

    /// Those of an enum or a type of objects.
    fn of_type(old: &Schema, name: &str, all: &'a mut Vec<SchemaLoss>) -> Self {
        let held_by = holders(old, name);
        let mut models: Vec<ModelName> = held_by.iter().map(|(model, _)| model.clone()).collect();
        models.dedup();
        Self { models, held_by, all }
    }

    fn note(&mut self, what: LossKind) {
        // What no record holds cannot be lost.
        if self.models.is_empty() {
            return;
        }
        self.all.push(SchemaLoss {
            models: self.models.clone(),
            held_by: self.held_by.clone(),
            what,
        });
    }
}

/// Compares the schema that data was stored by with the one that it is to be read by: what would be lost of it, or would be
/// no record any more. In the order of the old schema: models with their fields, enums, types of objects.
pub fn schema_losses(old: &Schema, new: &Schema) -> Vec<SchemaLoss> {
    let mut all = Vec::new();
    for model in old.models() {
        let mut losses = Losses::of_model(model, &mut all);
        match new.model(&model.name) {
            Some(successor) => compare_models(model, successor, &mut losses),
            None => losses.note(LossKind::ModelRemoved {
                model: model.name.clone(),
            }),
        }
    }
    compare_enums(old, new, &mut all);
    compare_non_models(old, new, &mut all);
    all
}

fn compare_enums(old: &Schema, new: &Schema, all: &mut Vec<SchemaLoss>) {
    for old_enum in old.enums() {
        let Some(new_enum) = new.enumeration(&old_enum.name) else {
            // Every field that held it has another type, and says so.
            continue;
        };
        let mut losses = Losses::of_type(old, &old_enum.name, all);
        let is_gone = |value: &&String| !new_enum.values.contains(*value);
        for value in old_enum.values.iter().filter(is_gone) {
            losses.note(LossKind::EnumValueRemoved {
                enumeration: old_enum.name.clone(),
                value: value.clone(),
            });
        }
    }
}

fn compare_non_models(old: &Schema, new: &Schema, all: &mut Vec<SchemaLoss>) {
    for old_type in old.non_models() {
        let Some(new_type) = new.non_model(&old_type.name) else {
            continue;
        };
        let mut losses = Losses::of_type(old, &old_type.name, all);
        for field in old_type.fields.values() {
            match new_type.fields.get(&field.name) {
                None => losses.note(LossKind::FieldRemoved {
                    owner: old_type.name.clone(),
                    field: field.name.clone(),
                }),
                Some(successor) => compare_fields(&old_type.name, field, successor, &mut losses),
            }
        }
        let is_new = |field: &&FieldDef| field.required && !old_type.fields.contains_key(&field.name);
        for field in new_type.fields.values().filter(is_new) {
            losses.note(LossKind::NewRequired {
                owner: new_type.name.clone(),
                field: field.name.clone(),
                in_objects: true,
            });
        }
    }
}

/// Stored fields that may hold values of an enum or a type of objects, directly or inside other objects; model by model.
fn holders(schema: &Schema, name: &str) -> Vec<(ModelName, FieldName)> {
    let mut names = vec![name.to_owned()];
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        for holder in schema.non_models() {
            if !names.contains(&holder.name) && holder.fields.values().any(|field| is_of(field, &name)) {
                names.push(holder.name.clone());
            }
        }
        next += 1;
    }
    let holds = |field: &&FieldDef| names.iter().any(|name| is_of(field, name));
    let held_by = schema.models().flat_map(|model| {
        let fields = model.stored_fields().filter(holds);
        fields.map(|field| (model.name.clone(), field.name.clone()))
    });
    held_by.collect()
}

fn is_of(field: &FieldDef, name: &str) -> bool {
    matches!(&field.ty, FieldType::Enum(ty) | FieldType::NonModel(ty) if ty == name)
}

fn compare_models(old: &ModelDef, new: &ModelDef, losses: &mut Losses<'_>) {
    if old.key.fields != new.key.fields {
        losses.note(LossKind::KeyChanged {
            model: old.name.clone(),
        });
    }
    for field in old.stored_fields() {
        match new.field(&field.name).filter(|successor| successor.is_stored()) {
            None => losses.note(LossKind::FieldRemoved {
                owner: old.name.to_string(),
                field: field.name.clone(),
            }),
            Some(successor) => compare_fields(&old.name, field, successor, losses),
        }
    }
    for field in new
        .stored_fields()
        .filter(|field| field.required && !field.read_only)
    {
        if !old.field(&field.name).is_some_and(FieldDef::is_stored) {
            losses.note(LossKind::NewRequired {
                owner: new.name.to_string(),
                field: field.name.clone(),
                in_objects: false,
            });
        }
    }
}

fn compare_fields(owner: &str, old: &FieldDef, new: &FieldDef, losses: &mut Losses<'_>) {
    let (owner, field) = (owner.to_owned(), old.name.clone());
    let (from, to) = (old.to_string(), new.to_string());
    if old.ty != new.ty || old.list.is_some() != new.list.is_some() {
        losses.note(LossKind::TypeChanged {
            owner,
            field,
            from,
            to,
        });
        return;
    }
    let elements = |field: &FieldDef| field.list.is_some_and(|list| list.elements_required);
    if (new.required && !old.required && !new.read_only) || (elements(new) && !elements(old)) {
        losses.note(LossKind::BecameRequired {
            owner,
            field,
            from,
            to,
        });
    }
}
