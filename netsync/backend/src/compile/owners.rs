//! Fields that owner rules bring into a model.
//!
//! Owns which fields those are: the one that a rule names and the schema does not declare. The server fills them, so no
//! mutation takes them; subscriptions are asked by them.

use landfall_core::{FieldDef, FieldName, FieldType, ModelDef, Scalar};

/// Field of an owner rule that names none.
const OWNER_FIELD: &str = "owner";

/// Names of the owner fields of a model's rules, in their order, each once.
pub(super) fn named(def: &ModelDef) -> Vec<FieldName> {
    let mut fields: Vec<FieldName> = Vec::new();
    for rule in &def.auth {
        if rule.get("allow").and_then(|allow| allow.as_str()) != Some("owner") {
            continue;
        }
        let field = rule.get("ownerField").and_then(|field| field.as_str());
        let field = FieldName::new(field.unwrap_or(OWNER_FIELD));
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}

/// The owner fields that the schema does not declare.
pub(super) fn undeclared(def: &ModelDef) -> Vec<FieldDef> {
    named(def)
        .iter()
        .filter(|name| def.field(name).is_none())
        .map(|name| FieldDef::scalar(name, Scalar::String))
        .collect()
}

/// The owner fields that a subscription takes as arguments: those that hold one owner.
pub(super) fn arguments<'a>(
    def: &'a ModelDef,
    attribute: impl Fn(&str) -> Option<&'a FieldDef>,
) -> Vec<FieldName> {
    let single = |name: &FieldName| {
        attribute(name).is_some_and(|field| {
            field.list.is_none() && matches!(field.ty, FieldType::Scalar(Scalar::String | Scalar::Id))
        })
    };
    named(def).into_iter().filter(|name| single(name)).collect()
}
