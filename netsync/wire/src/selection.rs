//! Which fields a document asks for: all that rows hold, and the server's metadata.
//!
//! Owns the selection set of a model. Queries and subscriptions select no relations: their foreign keys are stored
//! fields. Every mutation asks for everything, since what it leaves out reaches no subscriber and no conflict handler
//! either; that includes the keys of the records it belongs to, which is where Amplify's clients read foreign keys from.
//!
//! Invariants: 1. a selection has no empty braces; 2. it has at most [`SELECTION_FIELDS_MAX`] fields.

use landfall_core::{Association, FieldName, FieldType, ModelDef, NonModelDef, Schema};

use crate::error::WireError;

/// How often a non-model type may contain itself in a selection.
///
/// GraphQL cannot ask for a tree of any depth; what lies deeper than this is not read, and is lost if the field is
/// then saved. Four levels of a tree are more than forms and settings use.
pub const NON_MODEL_REPEATS_MAX: usize = 4;

/// Most fields of a selection, nested ones included: types that contain each other twice grow exponentially.
pub const SELECTION_FIELDS_MAX: usize = 5_000;

/// Writes the selection set of a model, without the outer braces.
pub(crate) fn selection(schema: &Schema, def: &ModelDef) -> Result<String, WireError> {
    let mut writer = Writer {
        schema,
        text: String::new(),
        fields: 0,
        path: Vec::new(),
    };
    for field in def.stored_fields() {
        writer.field(&field.name, &field.ty);
    }
    if writer.fields > SELECTION_FIELDS_MAX {
        return Err(WireError::SelectionTooLarge {
            model: def.name.clone(),
        });
    }
    writer.text.push_str("_version _lastChangedAt _deleted");
    Ok(writer.text)
}

/// Writes the records that a model belongs to as Amplify's clients select them: their keys and `_deleted`.
///
/// Begins with a space; empty if the model belongs to none.
pub(crate) fn belongs_to_selection(schema: &Schema, def: &ModelDef) -> String {
    let mut text = String::new();
    for (field, association) in def.relations() {
        let (Association::BelongsTo { .. }, FieldType::Model(other)) = (association, &field.ty) else {
            continue;
        };
        let Some(other) = schema.model(other) else {
            continue;
        };
        let keys: Vec<&str> = other.key.fields.iter().map(FieldName::as_str).collect();
        text.push_str(&format!(" {} {{ {} _deleted }}", field.name, keys.join(" ")));
    }
    text
}

struct Writer<'a> {
    schema: &'a Schema,
    text: String,
    fields: usize,
    path: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    fn field(&mut self, name: &str, ty: &'a FieldType) {
        self.fields += 1;
        if self.fields > SELECTION_FIELDS_MAX {
            return;
        }
        let start = self.text.len();
        self.text.push_str(name);
        self.text.push(' ');
        if let FieldType::NonModel(type_name) = ty {
            let before = self.fields;
            self.text.push_str("{ ");
            if let Some(def) = self.schema.non_model(type_name) {
                self.members(def);
            }
            if self.fields == before {
                // Nothing of it may be selected any more, so the field itself goes.
                self.text.truncate(start);
                self.fields -= 1;
                return;
            }
            self.text.push_str("} ");
        }
    }

    fn members(&mut self, def: &'a NonModelDef) {
        let repeats = self.path.iter().filter(|name| **name == def.name).count();
        if repeats >= NON_MODEL_REPEATS_MAX {
            return;
        }
        self.path.push(&def.name);
        for field in def.fields.values().filter(|field| field.is_stored()) {
            self.field(&field.name, &field.ty);
        }
        self.path.pop();
    }
}
