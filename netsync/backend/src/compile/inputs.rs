//! GraphQL text of the input types: the shared ones, and those of each model.
//!
//! Owns which input a field is filtered with, and the quirks of AppSync's schema that clients can observe: metadata in
//! subscription filters keeps the plain family of inputs; the foreign key of an implicit has-many stands in the
//! parent's subscription filter instead of the child's; models with a custom key still filter on `id`.

use std::collections::BTreeSet;

use landfall_core::{Association, FieldDef, FieldName, FieldType, KeyKind, MutationKind, Scalar, Schema};

use super::Models;
use super::names;
use super::operations::KINDS;
use super::plan::{KeyPlan, ModelPlan, foreign_side};
use super::types::line;

/// Inputs that do not depend on the models.
const SHARED: &str = "\
enum ModelAttributeTypes { binary binarySet bool list map number numberSet string stringSet _null }
enum ModelSortDirection { ASC DESC }
input ModelSizeInput { ne: Int eq: Int le: Int lt: Int ge: Int gt: Int between: [Int] }
input ModelStringInput { ne: String eq: String le: String lt: String ge: String gt: String contains: String notContains: String between: [String] beginsWith: String attributeExists: Boolean attributeType: ModelAttributeTypes size: ModelSizeInput }
input ModelIDInput { ne: ID eq: ID le: ID lt: ID ge: ID gt: ID contains: ID notContains: ID between: [ID] beginsWith: ID attributeExists: Boolean attributeType: ModelAttributeTypes size: ModelSizeInput }
input ModelIntInput { ne: Int eq: Int le: Int lt: Int ge: Int gt: Int between: [Int] attributeExists: Boolean attributeType: ModelAttributeTypes }
input ModelFloatInput { ne: Float eq: Float le: Float lt: Float ge: Float gt: Float between: [Float] attributeExists: Boolean attributeType: ModelAttributeTypes }
input ModelBooleanInput { ne: Boolean eq: Boolean attributeExists: Boolean attributeType: ModelAttributeTypes }
input ModelStringKeyConditionInput { eq: String le: String lt: String ge: String gt: String between: [String] beginsWith: String }
input ModelIDKeyConditionInput { eq: ID le: ID lt: ID ge: ID gt: ID between: [ID] beginsWith: ID }
input ModelIntKeyConditionInput { eq: Int le: Int lt: Int ge: Int gt: Int between: [Int] }
input ModelFloatKeyConditionInput { eq: Float le: Float lt: Float ge: Float gt: Float between: [Float] }
input ModelSubscriptionStringInput { ne: String eq: String le: String lt: String ge: String gt: String contains: String notContains: String between: [String] beginsWith: String in: [String] notIn: [String] }
input ModelSubscriptionIDInput { ne: ID eq: ID le: ID lt: ID ge: ID gt: ID contains: ID notContains: ID between: [ID] beginsWith: ID in: [ID] notIn: [ID] }
input ModelSubscriptionIntInput { ne: Int eq: Int le: Int lt: Int ge: Int gt: Int between: [Int] in: [Int] notIn: [Int] }
input ModelSubscriptionFloatInput { ne: Float eq: Float le: Float lt: Float ge: Float gt: Float between: [Float] in: [Float] notIn: [Float] }
input ModelSubscriptionBooleanInput { ne: Boolean eq: Boolean }
";

pub(super) fn write_shared(out: &mut String, schema: &Schema, models: &Models) {
    out.push_str(SHARED);
    for def in schema.enums() {
        let name = &def.name;
        line(
            out,
            format_args!("input Model{name}Input {{ eq: {name} ne: {name} }}"),
        );
        line(
            out,
            format_args!(
                "input Model{name}ListInput {{ eq: [{name}] ne: [{name}] contains: {name} notContains: {name} }}"
            ),
        );
    }
    write_non_model_inputs(out, schema, models);
}

/// Writes `<Name>Input` for every non-model type that a model's fields reach.
fn write_non_model_inputs(out: &mut String, schema: &Schema, models: &Models) {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = models
        .values()
        .flat_map(|plan| plan.attributes.values())
        .filter_map(non_model)
        .collect();
    while let Some(name) = waiting.pop() {
        if let Some(def) = schema.non_model(&name)
            && reached.insert(name)
        {
            waiting.extend(def.fields.values().filter_map(non_model));
        }
    }
    for def in schema.non_models().filter(|def| reached.contains(&def.name)) {
        let fields: Vec<String> = def
            .fields
            .values()
            .map(|field| format!("{}: {}", field.name, input_type(field)))
            .collect();
        line(
            out,
            format_args!("input {}Input {{ {} }}", def.name, fields.join(" ")),
        );
    }
}

fn non_model(field: &FieldDef) -> Option<String> {
    match &field.ty {
        FieldType::NonModel(name) => Some(name.clone()),
        _ => None,
    }
}

pub(super) fn write_model(out: &mut String, models: &Models, plan: &ModelPlan) {
    write_filter(out, plan);
    if plan.has_mutations() {
        write_condition(out, plan);
    }
    if plan.has_subscriptions() {
        write_subscription_filter(out, models, plan);
    }
    for kind in KINDS {
        if plan.mutation_name(kind).is_some() {
            write_mutation_input(out, plan, kind);
        }
    }
    write_composite_key(out, plan, &plan.key, "Primary");
    for index in &plan.indexes {
        write_composite_key(out, plan, &index.key, &names::pascal(&index.name));
    }
}

/// Name of a model's filter input.
pub(super) fn model_filter(model: &str) -> String {
    format!("Model{model}FilterInput")
}

/// Name of a model's condition input.
pub(super) fn model_condition(model: &str) -> String {
    format!("Model{model}ConditionInput")
}

/// Name of a model's subscription filter input.
pub(super) fn model_subscription_filter(model: &str) -> String {
    format!("ModelSubscription{model}FilterInput")
}

/// Name of the input of a mutation, such as `CreatePostInput`.
pub(super) fn mutation_input(kind: MutationKind, model: &str) -> String {
    format!("{}Input", names::upper_first(&names::mutation_field(kind, model)))
}

fn write_filter(out: &mut String, plan: &ModelPlan) {
    let filter = model_filter(plan.name());
    let mut members = compared(plan.attributes.values());
    if !plan.attributes.contains_key("id") {
        members.push("id: ModelIDInput".to_owned());
    }
    members.push(format!(
        "and: [{filter}] or: [{filter}] not: {filter} _deleted: ModelBooleanInput"
    ));
    line(out, format_args!("input {filter} {{ {} }}", members.join(" ")));
}

fn write_condition(out: &mut String, plan: &ModelPlan) {
    let condition = model_condition(plan.name());
    let mut members = compared(plan.attributes.values().filter(|field| !plan.is_key(&field.name)));
    members.push(format!(
        "and: [{condition}] or: [{condition}] not: {condition} _deleted: ModelBooleanInput"
    ));
    line(out, format_args!("input {condition} {{ {} }}", members.join(" ")));
}

fn compared<'a>(fields: impl Iterator<Item = &'a FieldDef>) -> Vec<String> {
    fields
        .filter_map(|field| Some(format!("{}: {}", field.name, filter_input(field)?)))
        .collect()
}

fn write_subscription_filter(out: &mut String, models: &Models, plan: &ModelPlan) {
    let filter = model_subscription_filter(plan.name());
    let elsewhere: BTreeSet<FieldName> = models
        .values()
        .flat_map(|other| implicit_has_many(models, other, Some(plan)))
        .map(|f| f.name.clone())
        .collect();
    let mut members: Vec<String> = plan
        .attributes
        .values()
        .filter(|field| !elsewhere.contains(&field.name))
        .filter_map(|field| {
            // Owners that the server added keep the plain family, like the metadata.
            let input = if plan.owners.contains(&field.name) {
                filter_input(field)
            } else {
                subscription_input(field)
            };
            Some(format!("{}: {}", field.name, input?))
        })
        .collect();
    if !plan.attributes.contains_key("id") {
        members.push("id: ModelSubscriptionIDInput".to_owned());
    }
    members.push(format!(
        "and: [{filter}] or: [{filter}] _deleted: ModelBooleanInput"
    ));
    let own: BTreeSet<&str> = plan.attributes.keys().map(FieldName::as_str).collect();
    for field in implicit_has_many(models, plan, None) {
        if let Some(input) = subscription_input(field).filter(|_| !own.contains(field.name.as_str())) {
            members.push(format!("{}: {input}", field.name));
        }
    }
    line(out, format_args!("input {filter} {{ {} }}", members.join(" ")));
}

/// Foreign-key fields, in the children, of the parent's has-many relations that declare none.
fn implicit_has_many<'a>(
    models: &'a Models,
    parent: &'a ModelPlan,
    only_child: Option<&'a ModelPlan>,
) -> impl Iterator<Item = &'a FieldDef> {
    parent
        .def
        .relations()
        .filter(|(_, association)| matches!(association, Association::HasMany { .. }))
        .filter_map(move |(field, association)| match &field.ty {
            FieldType::Model(child) => Some((field, association, models.get(child)?)),
            _ => None,
        })
        .filter(move |(_, _, child)| only_child.is_none_or(|only| only.name() == child.name()))
        .flat_map(move |(field, association, child)| {
            foreign_side(association)
                .iter()
                .zip(parent.key.fields())
                .filter_map(move |(foreign, key)| {
                    let implicit = names::implicit_foreign_key(parent.name(), &field.name, key);
                    (implicit == **foreign)
                        .then(|| child.attributes.get(foreign))
                        .flatten()
                })
        })
}

fn write_mutation_input(out: &mut String, plan: &ModelPlan, kind: MutationKind) {
    let mut members = Vec::new();
    let mut late = Vec::new();
    for field in plan.attributes.values() {
        let is_key = plan.is_key(&field.name);
        if plan.is_server_written(&field.name) || (kind == MutationKind::Delete && !is_key) {
            continue;
        }
        let required = match kind {
            MutationKind::Create => field.required && !made_by_server(plan, field),
            MutationKind::Update | MutationKind::Delete => is_key,
        };
        let member = format!(
            "{}: {}",
            field.name,
            input_type(&FieldDef {
                required,
                ..field.clone()
            })
        );
        if plan.implicit.contains(&field.name) {
            late.push(member);
        } else {
            members.push(member);
        }
    }
    members.push("_version: Int".to_owned());
    members.append(&mut late);
    line(
        out,
        format_args!(
            "input {} {{ {} }}",
            mutation_input(kind, plan.name()),
            members.join(" ")
        ),
    );
}

/// Whether the server makes the value of a create that leaves it out: an `id` that is the whole key.
pub(crate) fn made_by_server(plan: &ModelPlan, field: &FieldDef) -> bool {
    let textual = matches!(field.ty, FieldType::Scalar(Scalar::Id | Scalar::String));
    let managed = matches!(plan.def.key.kind, KeyKind::Managed | KeyKind::OptionallyManaged);
    let timestamp = [&plan.def.timestamps.created_at, &plan.def.timestamps.updated_at]
        .into_iter()
        .flatten()
        .any(|t| *t == field.name);
    timestamp || (managed && textual && plan.is_key(&field.name))
}

fn input_type(field: &FieldDef) -> String {
    match &field.ty {
        FieldType::NonModel(name) => FieldDef {
            ty: FieldType::NonModel(format!("{name}Input")),
            ..field.clone()
        }
        .to_string(),
        _ => field.to_string(),
    }
}

/// The input that filters and conditions compare a field with; `None` if it cannot be compared.
fn filter_input(field: &FieldDef) -> Option<String> {
    match &field.ty {
        FieldType::Scalar(scalar) => Some(format!("Model{}Input", family(*scalar))),
        FieldType::Enum(name) if field.list.is_some() => Some(format!("Model{name}ListInput")),
        FieldType::Enum(name) => Some(format!("Model{name}Input")),
        FieldType::NonModel(_) | FieldType::Model(_) => None,
    }
}

fn subscription_input(field: &FieldDef) -> Option<String> {
    match &field.ty {
        FieldType::Scalar(scalar) => Some(format!("ModelSubscription{}Input", family(*scalar))),
        FieldType::Enum(_) => Some("ModelSubscriptionStringInput".to_owned()),
        FieldType::NonModel(_) | FieldType::Model(_) => None,
    }
}

/// The family of inputs for a scalar: every AWS scalar but the timestamp is compared as text.
fn family(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Id => "ID",
        Scalar::Int | Scalar::AwsTimestamp => "Int",
        Scalar::Float => "Float",
        Scalar::Boolean => "Boolean",
        _ => "String",
    }
}

/// Name of the argument over a key's sort fields: the field, or several joined as `serialRev`.
pub(crate) fn sort_argument_name(key: &KeyPlan) -> Option<String> {
    match key.sort.as_slice() {
        [] => None,
        [only] => Some(only.to_string()),
        several => Some(names::camel(several)),
    }
}

/// The argument that conditions a key's sort fields, such as `title: ModelStringKeyConditionInput`.
pub(super) fn key_condition_argument(plan: &ModelPlan, key: &KeyPlan, key_name: &str) -> Option<String> {
    let name = sort_argument_name(key)?;
    let input = match key.sort.as_slice() {
        [only] => {
            let family = match &plan.attributes[only].ty {
                FieldType::Scalar(scalar) if family(*scalar) != "Boolean" => family(*scalar),
                _ => "String",
            };
            format!("Model{family}KeyConditionInput")
        }
        _ => format!("Model{}{key_name}CompositeKeyConditionInput", plan.name()),
    };
    Some(format!("{name}: {input}"))
}

fn write_composite_key(out: &mut String, plan: &ModelPlan, key: &KeyPlan, key_name: &str) {
    if key.sort.len() < 2 {
        return;
    }
    let stem = format!("Model{}{key_name}CompositeKey", plan.name());
    line(
        out,
        format_args!(
            "input {stem}ConditionInput {{ eq: {stem}Input le: {stem}Input lt: {stem}Input ge: {stem}Input gt: {stem}Input \
             between: [{stem}Input] beginsWith: {stem}Input }}"
        ),
    );
    let members: Vec<String> = key
        .sort
        .iter()
        .map(|field| format!("{field}: {}", plan.attributes[field].ty))
        .collect();
    line(out, format_args!("input {stem}Input {{ {} }}", members.join(" ")));
}
