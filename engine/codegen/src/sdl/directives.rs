//! Whether directives are used as they are defined: known, in a place that takes them, with arguments that fit.
//!
//! Owns the check against `prelude.graphql`; what a directive means for a model is checked where it is read. Directives
//! that GraphQL itself defines are left to the validation of the whole document.

use std::collections::BTreeSet;

use apollo_compiler::Node;
use apollo_compiler::ast::{
    Definition, Directive, DirectiveDefinition, DirectiveLocation, EnumTypeDefinition,
    InputObjectTypeDefinition, InputValueDefinition, Type, Value,
};
use apollo_compiler::parser::SourceSpan;

use super::document::Declarations;
use super::prelude::prelude;
use crate::diagnostics::Faults;
use crate::suggest::did_you_mean;

/// Directives of GraphQL itself.
const BUILT_IN: [&str; 4] = ["deprecated", "specifiedBy", "include", "skip"];

/// Checks every directive on the types and fields of the document.
pub(super) fn check(declarations: &Declarations, faults: &mut Faults) {
    let own: BTreeSet<&str> = declarations
        .document
        .definitions
        .iter()
        .filter_map(Definition::as_directive_definition)
        .map(|definition| definition.name.as_str())
        .collect();
    for node in declarations.objects.values() {
        check_list(&node.directives, DirectiveLocation::Object, &own, faults);
        for field in &node.fields {
            check_list(
                &field.directives.0,
                DirectiveLocation::FieldDefinition,
                &own,
                faults,
            );
        }
    }
}

fn check_list(
    directives: &[Node<Directive>],
    location: DirectiveLocation,
    own: &BTreeSet<&str>,
    faults: &mut Faults,
) {
    let mut seen = BTreeSet::new();
    for directive in directives {
        let name = directive.name.as_str();
        let Some(definition) = prelude().directives.get(name) else {
            if !own.contains(name) && !BUILT_IN.contains(&name) {
                let known = prelude().directives.keys().map(String::as_str);
                let label = did_you_mean(name, known, "remove it, or define the directive");
                faults.at(
                    directive.name.location(),
                    format!("the directive `@{name}` is unknown"),
                    label,
                );
            }
            continue;
        };
        if !definition.locations.contains(&location) {
            let (is_on, belongs_on) = match location {
                DirectiveLocation::Object => ("a type", "a field"),
                _ => ("a field", "a type"),
            };
            faults.at(
                directive.location(),
                format!("`@{name}` cannot be on {is_on}"),
                format!("move it to {belongs_on}"),
            );
        }
        if !seen.insert(name) && !definition.repeatable {
            faults.at(
                directive.location(),
                format!("`@{name}` is given twice"),
                "remove one of them",
            );
        }
        check_arguments(directive, definition, faults);
    }
}

fn check_arguments(directive: &Node<Directive>, definition: &DirectiveDefinition, faults: &mut Faults) {
    let name = &directive.name;
    let owner = format!("@{name}");
    let mut given = BTreeSet::new();
    for argument in &directive.arguments {
        if !given.insert(argument.name.as_str()) {
            let message = format!("`{owner}` has the argument `{}` twice", argument.name);
            faults.at(argument.name.location(), message, "remove one of them");
        }
        check_member(
            &owner,
            &argument.name,
            &argument.value,
            &definition.arguments,
            faults,
        );
    }
    check_required(
        &owner,
        directive.location(),
        &given,
        &definition.arguments,
        faults,
    );
}

/// Checks one argument of a directive, or one member of an object in it.
fn check_member(
    owner: &str,
    name: &apollo_compiler::Name,
    value: &Node<Value>,
    definitions: &[Node<InputValueDefinition>],
    faults: &mut Faults,
) {
    match definitions.iter().find(|definition| definition.name == *name) {
        Some(definition) => check_value(&format!("{owner}.{name}"), &definition.ty, value, faults),
        None => {
            let known: Vec<&str> = definitions
                .iter()
                .map(|definition| definition.name.as_str())
                .collect();
            let otherwise = if known.is_empty() {
                "it takes no arguments".to_owned()
            } else {
                format!("it takes {}", known.join(", "))
            };
            let label = did_you_mean(name, known.iter().copied(), otherwise);
            faults.at(
                name.location(),
                format!("`{owner}` has no argument `{name}`"),
                label,
            );
        }
    }
}

fn check_required(
    owner: &str,
    place: Option<SourceSpan>,
    given: &BTreeSet<&str>,
    definitions: &[Node<InputValueDefinition>],
    faults: &mut Faults,
) {
    for definition in definitions.iter().filter(|definition| definition.is_required()) {
        let name = &definition.name;
        if !given.contains(name.as_str()) {
            faults.at(
                place,
                format!("`{owner}` lacks `{name}`"),
                format!("add `{name}: ...` of type {}", definition.ty),
            );
        }
    }
}

fn check_value(owner: &str, ty: &Type, value: &Node<Value>, faults: &mut Faults) {
    let mut refuse = |expected: String| {
        faults.at(
            value.location(),
            format!("`{owner}` takes {expected}"),
            format!("write {expected} here"),
        );
    };
    match (ty, &**value) {
        (Type::NonNullNamed(_) | Type::NonNullList(_), Value::Null) => {
            refuse(format!("a value of type {ty}"));
        }
        (_, Value::Null) => {}
        (Type::List(element) | Type::NonNullList(element), Value::List(items)) => {
            for item in items {
                check_value(owner, element, item, faults);
            }
        }
        // GraphQL reads a single value as a list of one.
        (Type::List(element) | Type::NonNullList(element), _) => check_value(owner, element, value, faults),
        (Type::Named(name) | Type::NonNullNamed(name), _) => match name.as_str() {
            "String" if value.as_str().is_none() => refuse("a string in quotes".to_owned()),
            "Int" if value.to_i32().is_none() => refuse("a whole number".to_owned()),
            "String" | "Int" => {}
            other => {
                if let Some(definition) = prelude().enums.get(other) {
                    check_enum(owner, definition, value, faults);
                } else if let Some(definition) = prelude().inputs.get(other) {
                    check_object(owner, definition, value, faults);
                }
            }
        },
    }
}

fn check_enum(owner: &str, definition: &EnumTypeDefinition, value: &Node<Value>, faults: &mut Faults) {
    let known: Vec<&str> = definition
        .values
        .iter()
        .map(|value| value.value.as_str())
        .collect();
    let given = value.as_enum().map(apollo_compiler::Name::as_str);
    if given.is_some_and(|given| known.contains(&given)) {
        return;
    }
    let text = given.or_else(|| value.as_str()).unwrap_or_default();
    let otherwise = format!("write one of {} without quotes", known.join(", "));
    let label = match (value.as_str(), known.contains(&text)) {
        (Some(_), true) => format!("write {text} without quotes"),
        _ => did_you_mean(text, known.iter().copied(), otherwise),
    };
    faults.at(
        value.location(),
        format!("`{owner}` takes one of {}", known.join(", ")),
        label,
    );
}

fn check_object(
    owner: &str,
    definition: &InputObjectTypeDefinition,
    value: &Node<Value>,
    faults: &mut Faults,
) {
    let Some(members) = value.as_object() else {
        let names: Vec<&str> = definition
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        faults.at(
            value.location(),
            format!("`{owner}` takes an object"),
            format!("write an object in braces with {}", names.join(", ")),
        );
        return;
    };
    let given: BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    for (name, member) in members {
        check_member(owner, name, member, &definition.fields, faults);
    }
    check_required(owner, value.location(), &given, &definition.fields, faults);
}
