//! What a schema no longer has of another one, and what can be said about it on the command line.
//!
//! Owns [`losses`] and the steps that each one asks for. Whether stored data is lost at all is the store's to say
//! (`landfall_storage`); here is only how a person goes on from there.

use std::fmt;

use landfall::{ModelDef, ModelName, Schema};
use landfall_core::{FieldDef, FieldName};

/// Names that are proposed for one that is gone; more would be a guess.
const PROPOSED_MAX: usize = 3;

/// Something that a new schema no longer has, or has in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A model is gone; these have come, with the same fields.
    Model(ModelName, Vec<ModelName>),
    /// A field is gone; these have come, of the same type.
    Field(ModelName, FieldName, Vec<FieldName>),
    /// A field has another type.
    Type(ModelName, FieldName),
    /// A field is required, and was not, or was not there.
    Required(ModelName, FieldName),
}

/// What `new` no longer has of `old`, in the order of `old`.
pub(crate) fn losses(old: &Schema, new: &Schema) -> Vec<Loss> {
    let mut losses = Vec::new();
    for was in old.models() {
        match new.model(&was.name) {
            Some(is) => of_model(was, is, &mut losses),
            None => {
                let came = new.models().filter(|is| old.model(&is.name).is_none());
                let alike = came.filter(|is| same_fields(was, is));
                let names = alike.map(|is| is.name.clone()).take(PROPOSED_MAX);
                losses.push(Loss::Model(was.name.clone(), names.collect()));
            }
        }
    }
    losses
}

fn of_model(was: &ModelDef, is: &ModelDef, losses: &mut Vec<Loss>) {
    let stored = |def: &ModelDef, name: &FieldName| def.field(name).is_some_and(FieldDef::is_stored);
    for field in was.stored_fields() {
        let place = || (was.name.clone(), field.name.clone());
        match is.field(&field.name).filter(|is| is.is_stored()) {
            Some(is) if !same_type(field, is) => {
                let (model, name) = place();
                losses.push(Loss::Type(model, name));
            }
            Some(is) if is.required && !field.required => {
                let (model, name) = place();
                losses.push(Loss::Required(model, name));
            }
            Some(_) => {}
            None => {
                let came = is.stored_fields().filter(|is| !stored(was, &is.name));
                let alike = came.filter(|is| same_type(field, is));
                let names = alike.map(|is| is.name.clone()).take(PROPOSED_MAX).collect();
                let (model, name) = place();
                losses.push(Loss::Field(model, name, names));
            }
        }
    }
    let came = is
        .stored_fields()
        .filter(|field| field.required && !field.read_only && !stored(was, &field.name));
    losses.extend(came.map(|field| Loss::Required(is.name.clone(), field.name.clone())));
}

fn same_type(was: &FieldDef, is: &FieldDef) -> bool {
    was.ty == is.ty && was.list.is_some() == is.list.is_some()
}

fn same_fields(was: &ModelDef, is: &ModelDef) -> bool {
    was.stored_fields()
        .all(|field| is.field(&field.name).is_some_and(|is| same_type(field, is)))
}

impl Loss {
    /// Steps of `landfall migrate` that say what becomes of it; any one of them does.
    pub(crate) fn steps(&self) -> Vec<String> {
        match self {
            Self::Model(old, alike) => alike
                .iter()
                .map(|new| format!("--rename-model {old}={new}"))
                .chain([format!("--remove-model {old}")])
                .collect(),
            Self::Field(model, old, alike) => alike
                .iter()
                .map(|new| format!("--rename-field {model}.{old}={new}"))
                .chain([format!("--remove-field {model}.{old}")])
                .collect(),
            Self::Type(model, field) => vec![format!("--retype {model}.{field}")],
            Self::Required(model, field) => vec![format!("--fill {model}.{field}=VALUE")],
        }
    }

    /// Whether values of the old schema cannot be seen by the new one.
    pub(crate) fn hides_values(&self) -> bool {
        !matches!(self, Self::Required(..))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(model, _) => write!(f, "model `{model}` is gone"),
            Self::Field(model, field, _) => write!(f, "`{model}.{field}` is gone"),
            Self::Type(model, field) => write!(f, "`{model}.{field}` has another type"),
            Self::Required(model, field) => write!(f, "`{model}.{field}` is required now"),
        }
    }
}

/// The steps that the losses ask for, a line each.
pub(crate) fn proposed_steps(losses: &[Loss]) -> Vec<String> {
    losses.iter().map(|loss| loss.steps().join(", or ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(old: &str, new: &str) -> Vec<String> {
        let schema = |sdl| crate::schema_file::parse("s", sdl).expect("sound");
        proposed_steps(&losses(&schema(old), &schema(new)))
    }

    #[test]
    fn a_field_that_went_may_be_one_of_those_of_its_type_that_came() {
        let old = "type Visit @model { title: String! notes: String depth: Int mood: String }";
        let new =
            "type Visit @model { title: String! remarks: String depth: Float mood: String! kind: String! }";
        assert_eq!(
            proposed(old, new),
            [
                "--rename-field Visit.notes=remarks, or --rename-field Visit.notes=kind, or --remove-field Visit.notes",
                "--retype Visit.depth",
                "--fill Visit.mood=VALUE",
                "--fill Visit.kind=VALUE",
            ]
        );
        assert_eq!(proposed(old, old), [] as [&str; 0]);
    }

    #[test]
    fn a_model_that_went_may_be_one_with_its_fields_that_came() {
        let old = "type Post @model { title: String! } type Draft @model { text: Int }";
        let new = "type Article @model { title: String! stars: Int }";
        assert_eq!(
            proposed(old, new),
            [
                "--rename-model Post=Article, or --remove-model Post",
                "--remove-model Draft"
            ]
        );
    }
}
