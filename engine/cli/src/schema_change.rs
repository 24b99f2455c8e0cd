//! What a person can say on the command line about data that a new schema does not keep.
//!
//! Owns the steps of `landfall migrate` that each loss asks for. What is lost is the store's to say
//! ([`schema_losses`](landfall_storage::schema_losses)); here is only how a person goes on from there.

use landfall::{ModelDef, ModelName, Schema};
use landfall_core::{FieldDef, FieldName};
use landfall_storage::{LossKind, SchemaLoss, schema_losses};

/// Names that are proposed for one that is gone; more would be a guess.
const PROPOSED_MAX: usize = 3;

/// The steps that a new schema asks for, a line for each loss: any one of those on the line does.
///
/// A loss that no step helps with has no line: records cannot be found by other fields.
pub(crate) fn proposed_steps(old: &Schema, new: &Schema) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for loss in schema_losses(old, new) {
        for line in steps(&loss, old, new) {
            // Two changes of a type ask for the same conversion of the fields that hold it.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// The lines for one loss.
fn steps(loss: &SchemaLoss, old: &Schema, new: &Schema) -> Vec<String> {
    // Of an enum or a type of objects: the fields that hold it are converted, each by a step of its own.
    if !loss.held_by.is_empty() {
        let places = loss.held_by.iter();
        return places
            .map(|(model, field)| format!("--retype {model}.{field}"))
            .collect();
    }
    match &loss.what {
        LossKind::ModelRemoved { model } => {
            let names = old.model(model).map(|was| models_like(was, old, new));
            let renames = names.unwrap_or_default();
            let renames = renames.iter().map(|is| format!("--rename-model {model}={is}"));
            vec![any_of(renames, format!("--remove-model {model}"))]
        }
        LossKind::FieldRemoved { owner, field } => {
            let names = old.model(owner).zip(new.model(owner));
            let names = names.map(|(was, is)| fields_like(field, was, is));
            let renames = names.unwrap_or_default();
            let renames = renames
                .iter()
                .map(|is| format!("--rename-field {owner}.{field}={is}"));
            vec![any_of(renames, format!("--remove-field {owner}.{field}"))]
        }
        LossKind::TypeChanged { owner, field, .. } => vec![format!("--retype {owner}.{field}")],
        LossKind::BecameRequired { owner, field, .. } | LossKind::NewRequired { owner, field, .. } => {
            vec![format!("--fill {owner}.{field}=VALUE")]
        }
        LossKind::KeyChanged { .. } | LossKind::EnumValueRemoved { .. } => Vec::new(),
    }
}

fn any_of(renames: impl Iterator<Item = String>, removal: String) -> String {
    let steps: Vec<String> = renames.chain([removal]).collect();
    steps.join(", or ")
}

/// Models that have come, with the same fields.
fn models_like(was: &ModelDef, old: &Schema, new: &Schema) -> Vec<ModelName> {
    let came = new.models().filter(|is| old.model(&is.name).is_none());
    let alike = came.filter(|is| same_fields(was, is));
    alike.map(|is| is.name.clone()).take(PROPOSED_MAX).collect()
}

/// Fields that have come, of the same type.
fn fields_like(name: &FieldName, was: &ModelDef, is: &ModelDef) -> Vec<FieldName> {
    let Some(field) = was.field(name) else {
        return Vec::new();
    };
    let was_there = |name: &FieldName| was.field(name).is_some_and(FieldDef::is_stored);
    let came = is.stored_fields().filter(|is| !was_there(&is.name));
    let alike = came.filter(|is| same_type(field, is));
    alike.map(|is| is.name.clone()).take(PROPOSED_MAX).collect()
}

fn same_type(was: &FieldDef, is: &FieldDef) -> bool {
    was.ty == is.ty && was.list.is_some() == is.list.is_some()
}

fn same_fields(was: &ModelDef, is: &ModelDef) -> bool {
    was.stored_fields()
        .all(|field| is.field(&field.name).is_some_and(|is| same_type(field, is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(old: &str, new: &str) -> Vec<String> {
        let schema = |sdl| crate::schema_file::parse("s", sdl).expect("sound");
        proposed_steps(&schema(old), &schema(new))
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

    #[test]
    fn what_holds_a_type_that_changed_is_converted_field_by_field() {
        let old = "enum Mood { GOOD BAD } type Place { city: String zip: Int mood: Mood }
            type Visit @model { title: String! place: Place before: [Place] mood: Mood }";
        let new = "enum Mood { GOOD } type Place { city: String! mood: Mood }
            type Visit @model { title: String! place: Place before: [Place] mood: Mood }";
        let places = [
            "--retype Visit.place",
            "--retype Visit.before",
            "--retype Visit.mood",
        ];
        let mut told = proposed(old, new);
        told.sort_by_key(|line| places.iter().position(|place| place == line));
        assert_eq!(told, places);
    }

    #[test]
    fn nothing_is_proposed_for_another_key() {
        let old = "type Visit @model { id: ID! @primaryKey code: String! }";
        let new = "type Visit @model { id: ID! code: String! @primaryKey }";
        assert_eq!(proposed(old, new), [] as [&str; 0]);
    }
}
