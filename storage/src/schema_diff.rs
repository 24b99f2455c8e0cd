//! What changed between two schemas, and whether stored data survives it.
//!
//! Owns [`compare`]. A change is compatible if every stored row is still valid and nothing stored becomes unreachable.
//! Whether there is a stored row at all is asked elsewhere (`open.rs`): a change of an empty model loses nothing.

use landfall_core::{FieldDef, FieldType, ModelDef, ModelName, Schema};

/// Differences that matter to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SchemaDiff {
    /// What would lose or invalidate data.
    pub(crate) losses: Vec<Loss>,
}

/// A change that loses or invalidates data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The models whose records it concerns.
    pub(crate) models: Vec<ModelName>,
    /// What changed, in words.
    pub(crate) reason: String,
}

/// Where losses are collected that concern the same models.
struct Losses<'a> {
    models: Vec<ModelName>,
    all: &'a mut Vec<Loss>,
}

impl Losses<'_> {
    fn note(&mut self, reason: String) {
        self.all.push(Loss {
            models: self.models.clone(),
            reason,
        });
    }
}

/// Compares the schema that a store holds with the one that it is opened with.
pub(crate) fn compare(old: &Schema, new: &Schema) -> SchemaDiff {
    let mut diff = SchemaDiff::default();
    for model in old.models() {
        let mut losses = Losses {
            models: vec![model.name.clone()],
            all: &mut diff.losses,
        };
        match new.model(&model.name) {
            Some(successor) => {
                compare_models(model, successor, &mut losses);
            }
            None => losses.note(format!("model `{}` was removed", model.name)),
        }
    }
    for old_enum in old.enums() {
        let Some(new_enum) = new.enumeration(&old_enum.name) else {
            continue;
        };
        let mut losses = Losses {
            models: users(old, &old_enum.name),
            all: &mut diff.losses,
        };
        for value in old_enum
            .values
            .iter()
            .filter(|value| !new_enum.values.contains(value))
        {
            losses.note(format!("enum `{}` lost the value {value}", old_enum.name));
        }
    }
    for old_type in old.non_models() {
        let Some(new_type) = new.non_model(&old_type.name) else {
            continue;
        };
        let mut losses = Losses {
            models: users(old, &old_type.name),
            all: &mut diff.losses,
        };
        for field in old_type.fields.values() {
            match new_type.fields.get(&field.name) {
                None => losses.note(format!("`{}.{}` was removed", old_type.name, field.name)),
                Some(successor) => compare_fields(&old_type.name, field, successor, &mut losses),
            }
        }
        for field in new_type
            .fields
            .values()
            .filter(|f| f.required && !old_type.fields.contains_key(&f.name))
        {
            losses.note(format!(
                "`{}.{}` is new and required, but stored objects lack it",
                new_type.name, field.name
            ));
        }
    }
    diff
}

/// Models whose rows may hold values of an enum or non-model type, directly or inside other non-model types.
fn users(schema: &Schema, name: &str) -> Vec<ModelName> {
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
    let holds = |model: &ModelDef| {
        model
            .stored_fields()
            .any(|field| names.iter().any(|name| is_of(field, name)))
    };
    schema
        .models()
        .filter(|model| holds(model))
        .map(|model| model.name.clone())
        .collect()
}

fn is_of(field: &FieldDef, name: &str) -> bool {
    matches!(&field.ty, FieldType::Enum(ty) | FieldType::NonModel(ty) if ty == name)
}

fn compare_models(old: &ModelDef, new: &ModelDef, losses: &mut Losses<'_>) {
    if old.key.fields != new.key.fields {
        losses.note(format!("the primary key of `{}` changed", old.name));
    }
    for field in old.stored_fields() {
        match new.field(&field.name).filter(|successor| successor.is_stored()) {
            None => losses.note(format!("`{}.{}` was removed", old.name, field.name)),
            Some(successor) => compare_fields(&old.name, field, successor, losses),
        }
    }
    for field in new
        .stored_fields()
        .filter(|field| field.required && !field.read_only)
    {
        if !old.field(&field.name).is_some_and(FieldDef::is_stored) {
            let model = &new.name;
            losses.note(format!(
                "`{model}.{}` is new and required, but stored records lack it",
                field.name
            ));
        }
    }
}

fn compare_fields(owner: &str, old: &FieldDef, new: &FieldDef, losses: &mut Losses<'_>) {
    if old.ty != new.ty || old.list.is_some() != new.list.is_some() {
        losses.note(format!(
            "`{owner}.{}` changed its type from {old} to {new}",
            old.name
        ));
        return;
    }
    let elements = |field: &FieldDef| field.list.is_some_and(|list| list.elements_required);
    if (new.required && !old.required && !new.read_only) || (elements(new) && !elements(old)) {
        losses.note(format!(
            "`{owner}.{}` became required: {old} is now {new}",
            old.name
        ));
    }
}
