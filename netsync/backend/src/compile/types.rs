//! GraphQL text of the object types: models, connections, non-model types, enums.
//!
//! Owns the order of the fields, which follows AppSync's: declared, timestamps, metadata, implicit foreign keys.

use std::fmt::Write;

use landfall_core::{FieldDef, FieldName, Schema};

use super::inputs::{key_condition_argument, model_filter};
use super::plan::{ModelPlan, RelationPlan};
use super::{Models, names};

/// Scalars and directives that AppSync adds to every schema.
const PRELUDE: &str = "\
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
scalar AWSDate
scalar AWSTime
scalar AWSDateTime
scalar AWSTimestamp
scalar AWSEmail
scalar AWSJSON
scalar AWSURL
scalar AWSPhone
scalar AWSIPAddress
";

/// Arguments that every connection takes after its key conditions.
const CONNECTION_ARGUMENTS: &str = "sortDirection: ModelSortDirection, limit: Int, nextToken: String";

pub(super) fn write_prelude(out: &mut String) {
    out.push_str(PRELUDE);
}

pub(super) fn write_enums(out: &mut String, schema: &Schema) {
    for def in schema.enums() {
        line(
            out,
            format_args!("enum {} {{ {} }}", def.name, def.values.join(" ")),
        );
    }
}

pub(super) fn write_non_models(out: &mut String, schema: &Schema) {
    for def in schema.non_models() {
        let fields: Vec<String> = def
            .fields
            .values()
            .map(|field| format!("{}: {field}", field.name))
            .collect();
        line(out, format_args!("type {} {{ {} }}", def.name, fields.join(" ")));
    }
}

pub(super) fn write_model(out: &mut String, models: &Models, plan: &ModelPlan) {
    let name = plan.name();
    line(out, format_args!("type {name} {{"));
    let declared = plan.def.fields.values().filter(|f| !is_late(plan, &f.name));
    for field in declared {
        match plan.relations.get(&field.name) {
            Some(relation) => write_relation(out, models, field, relation),
            None if field.is_stored() => line(out, format_args!("  {}: {field}", field.name)),
            // The other side is local to the devices, so the server has nothing to follow.
            None => {}
        }
    }
    for field in plan
        .attributes
        .values()
        .filter(|f| plan.managed.contains(&f.name))
    {
        line(out, format_args!("  {}: {field}", field.name));
    }
    line(
        out,
        format_args!("  _version: Int!\n  _deleted: Boolean\n  _lastChangedAt: AWSTimestamp!"),
    );
    for field in plan
        .attributes
        .values()
        .filter(|f| plan.implicit.contains(&f.name) || plan.owners.contains(&f.name))
    {
        line(out, format_args!("  {}: {field}", field.name));
    }
    line(out, format_args!("}}"));
    line(
        out,
        format_args!(
            "type Model{name}Connection {{ items: [{name}]! nextToken: String startedAt: AWSTimestamp }}"
        ),
    );
}

/// Whether the field stands behind the declared ones.
fn is_late(plan: &ModelPlan, field: &FieldName) -> bool {
    plan.managed.contains(field) || plan.implicit.contains(field)
}

fn write_relation(out: &mut String, models: &Models, field: &FieldDef, relation: &RelationPlan) {
    match relation {
        RelationPlan::ByKey { model, .. } | RelationPlan::OneByIndex { model, .. } => {
            let bang = if field.required { "!" } else { "" };
            line(out, format_args!("  {}: {model}{bang}", field.name));
        }
        RelationPlan::ManyByIndex { model, index } => {
            let other = &models[model];
            let condition = other
                .index(index)
                .and_then(|index| key_condition_argument(other, &index.key, &names::pascal(&index.name)))
                // With a composite foreign key the sort fields are part of it and not for the caller to choose.
                .filter(|_| !sort_is_foreign_key(other, index))
                .map(|argument| format!("{argument}, "))
                .unwrap_or_default();
            line(
                out,
                format_args!(
                    "  {}({condition}filter: {}, {CONNECTION_ARGUMENTS}): Model{model}Connection",
                    field.name,
                    model_filter(model),
                ),
            );
        }
    }
}

/// Whether the index was made for a foreign key of several fields.
fn sort_is_foreign_key(other: &ModelPlan, index: &str) -> bool {
    other
        .index(index)
        .is_some_and(|index| index.name.starts_with("gsi-") && !index.key.sort.is_empty())
}

/// Appends a line.
pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}
