//! Types of fields, and their defaults.
//!
//! Owns what a field of a model or of a non-model type may be. Relation fields get their type here and their association
//! in `relations.rs`.

use std::collections::BTreeSet;

use apollo_compiler::Name;
use apollo_compiler::ast::{FieldDefinition, Type};
use apollo_compiler::parser::SourceSpan;
use landfall_core::{FieldDef, FieldType, ListDef, NonModelDef, Scalar, Value};

use super::RELATION_DIRECTIVES;
use super::document::{Declarations, TypeNode, text_argument};
use crate::diagnostics::Faults;
use crate::suggest::did_you_mean;

/// The field as the schema has it; `None` after reporting why it cannot be had.
pub(super) fn field(
    declarations: &Declarations,
    owner: &TypeNode,
    field: &FieldDefinition,
    faults: &mut Faults,
) -> Option<FieldDef> {
    let (name, list, required) = shape(owner, field, faults)?;
    let ty = field_type(declarations, owner, field, name, faults)?;
    check_relation(declarations, owner, field, name, list.is_some(), &ty, faults);
    let default = default(declarations, owner, field, &ty, list.is_some(), faults);
    Some(FieldDef {
        ty,
        list,
        required,
        default,
        ..FieldDef::scalar(&field.name, Scalar::String)
    })
}

/// The named type of a field, whether it is a list, and whether it must be there.
fn shape<'f>(
    owner: &TypeNode,
    field: &'f FieldDefinition,
    faults: &mut Faults,
) -> Option<(&'f Name, Option<ListDef>, bool)> {
    let (element, required) = match &field.ty {
        Type::Named(name) => return Some((name, None, false)),
        Type::NonNullNamed(name) => return Some((name, None, true)),
        Type::List(element) => (element, false),
        Type::NonNullList(element) => (element, true),
    };
    match &**element {
        Type::Named(name) => Some((
            name,
            Some(ListDef {
                elements_required: false,
            }),
            required,
        )),
        Type::NonNullNamed(name) => Some((
            name,
            Some(ListDef {
                elements_required: true,
            }),
            required,
        )),
        nested => {
            faults.at(
                nested.inner_named_type().location(),
                format!("`{}.{}` is a list of lists", owner.name, field.name),
                "use one list of a non-model type that holds the inner one, or AWSJSON",
            );
            None
        }
    }
}

fn field_type(
    declarations: &Declarations,
    owner: &TypeNode,
    field: &FieldDefinition,
    name: &Name,
    faults: &mut Faults,
) -> Option<FieldType> {
    let place = name.location();
    if let Some(scalar) = Scalar::from_name(name) {
        return Some(FieldType::Scalar(scalar));
    }
    if declarations.enums.contains_key(name.as_str()) {
        return Some(FieldType::Enum(name.to_string()));
    }
    if let Some(object) = declarations.objects.get(name.as_str()) {
        if !object.is_model() {
            return Some(FieldType::NonModel(name.to_string()));
        }
        if owner.is_model() {
            return Some(FieldType::Model(name.as_str().into()));
        }
        faults.at(
            place,
            format!(
                "`{}` is not a model, so `{}` cannot be a relation to `{name}`",
                owner.name, field.name
            ),
            format!(
                "add @model to `{}`, or keep the identifier in a field of type ID",
                owner.name
            ),
        );
        return None;
    }
    if let Some(kind) = declarations.others.get(name.as_str()) {
        faults.at(
            place,
            format!(
                "`{}.{}` has the type `{name}`, which is {kind}",
                owner.name, field.name
            ),
            "use a scalar, an enum, a type or a model",
        );
        return None;
    }
    let mut known: Vec<&str> = Scalar::all().map(Scalar::name).collect();
    known.extend(declarations.enums.keys().map(String::as_str));
    known.extend(declarations.objects.keys().map(String::as_str));
    let label = did_you_mean(name, known, "declare the type, or use a scalar");
    faults.at(place, format!("the type `{name}` is unknown"), label);
    None
}

/// Checks that relation directives stand on relation fields, one on each.
fn check_relation(
    declarations: &Declarations,
    owner: &TypeNode,
    field: &FieldDefinition,
    type_name: &Name,
    is_list: bool,
    ty: &FieldType,
    faults: &mut Faults,
) {
    let at = format!("`{}.{}`", owner.name, field.name);
    let mut directives = field
        .directives
        .iter()
        .filter(|d| RELATION_DIRECTIVES.contains(&d.name.as_str()));
    let Some(directive) = directives.next() else {
        if matches!(ty, FieldType::Model(_)) {
            let label = if is_list {
                "add @hasMany or @manyToMany"
            } else {
                "add @belongsTo if this side holds the other's identifier, or else @hasOne"
            };
            faults.at(
                field.name.location(),
                format!("{at} is of the model type `{type_name}` but says nothing of the relation"),
                label,
            );
        }
        return;
    };
    if let Some(second) = directives.next() {
        let message = format!("{at} has both @{} and @{}", directive.name, second.name);
        faults.at(second.location(), message, "keep the one that is meant");
    }
    let name = directive.name.as_str();
    if !matches!(ty, FieldType::Model(_)) {
        let label = if declarations.objects.contains_key(type_name.as_str()) {
            format!("add @model to `{type_name}`, or remove @{name}")
        } else {
            format!("remove @{name}, or use a type with @model")
        };
        faults.at(
            directive.location(),
            format!("{at} has @{name}, but `{type_name}` is not a model"),
            label,
        );
    } else if is_list && matches!(name, "hasOne" | "belongsTo") {
        let message = format!("{at} has @{name}, but is a list");
        faults.at(
            type_name.location(),
            message,
            format!("write `{type_name}` without brackets, or use @hasMany"),
        );
    } else if !is_list && matches!(name, "hasMany" | "manyToMany") {
        let message = format!("{at} has @{name}, but is not a list");
        faults.at(type_name.location(), message, format!("write `[{type_name}]`"));
    }
}

/// The text of `@default`, checked against the type of the field.
fn default(
    declarations: &Declarations,
    owner: &TypeNode,
    field: &FieldDefinition,
    ty: &FieldType,
    is_list: bool,
    faults: &mut Faults,
) -> Option<String> {
    let directive = field.directives.get("default")?;
    let at = format!("`{}.{}`", owner.name, field.name);
    let Some((text, place)) = text_argument(directive, "value") else {
        // A value of another kind has been reported already.
        if directive.specified_argument_by_name("value").is_none() {
            faults.at(
                directive.location(),
                format!("@default of {at} has no value"),
                "add `value: \"...\"`",
            );
        }
        return None;
    };
    let accepted = match ty {
        _ if is_list => Err("cannot be given for a list".to_owned()),
        FieldType::Scalar(scalar) => check_scalar(*scalar, text),
        FieldType::Enum(name) => {
            let values = declarations
                .enums
                .get(name)
                .map_or(&[][..], |node| node.values.as_slice());
            let known: Vec<&str> = values.iter().map(|value| value.value.as_str()).collect();
            if known.contains(&text) {
                Ok(())
            } else {
                Err(format!("must be one of {}", known.join(", ")))
            }
        }
        FieldType::NonModel(_) | FieldType::Model(_) => {
            Err("can be given for scalars and enums only".to_owned())
        }
    };
    if let Err(reason) = accepted {
        refuse_default(place, &at, text, &reason, faults);
        return None;
    }
    Some(text.to_owned())
}

fn refuse_default(place: Option<SourceSpan>, at: &str, text: &str, reason: &str, faults: &mut Faults) {
    let label = if reason.starts_with("can") {
        "remove @default".to_owned()
    } else {
        format!("it {reason}")
    };
    faults.at(place, format!("the default {text:?} of {at} {reason}"), label);
}

/// Reads the text of a default as Amplify does, by the type of the field.
fn check_scalar(scalar: Scalar, text: &str) -> Result<(), String> {
    let value = match scalar {
        Scalar::Int | Scalar::AwsTimestamp => text.parse().ok().map(Value::Int),
        Scalar::Float => text.parse().ok().map(Value::Float),
        Scalar::Boolean => text.parse().ok().map(Value::Bool),
        Scalar::AwsJson => serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .map(Value::from),
        _ => Some(Value::from(text)),
    };
    let fits = value.is_some_and(|value| scalar.check(&value).is_ok());
    if fits {
        Ok(())
    } else {
        Err(format!("must be {}", scalar.accepts()))
    }
}

/// Reports non-model types that contain themselves without a way to end.
pub(super) fn check_containment(declarations: &Declarations, types: &[NonModelDef], faults: &mut Faults) {
    for def in types {
        let mut seen = BTreeSet::new();
        let mut open = vec![def];
        while let Some(inner) = open.pop() {
            for field in inner
                .fields
                .values()
                .filter(|field| field.required && field.list.is_none())
            {
                let FieldType::NonModel(name) = &field.ty else {
                    continue;
                };
                if *name == def.name {
                    let place = declarations
                        .objects
                        .get(&inner.name)
                        .and_then(|node| node.field(&field.name));
                    faults.at(
                        place.and_then(|field| field.ty.inner_named_type().location()),
                        format!("every `{name}` would contain another `{name}`, without end"),
                        "make the field optional by removing the `!`",
                    );
                } else if seen.insert(name.as_str()) {
                    open.extend(types.iter().find(|other| other.name == *name));
                }
            }
        }
    }
}
