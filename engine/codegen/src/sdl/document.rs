//! From SDL text to the types that it declares.
//!
//! Owns parsing, merging of extensions, and the rules on names: what is declared twice, what is reserved. Does not look
//! into directives or at the types of fields.

use std::collections::{BTreeMap, BTreeSet};

use apollo_compiler::ast::{
    Definition, Directive, Document, EnumValueDefinition, FieldDefinition, ObjectTypeDefinition,
    ObjectTypeExtension, Value,
};
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::{Parser, SourceSpan};
use apollo_compiler::{Name, Node};
use indexmap::IndexMap;
use landfall_core::Scalar;

use super::prelude::prelude;
use super::syntax::{Explained, explain};
use crate::diagnostics::Faults;
use crate::suggest::did_you_mean;

/// Most tokens that a schema may have; a thousand models of a hundred fields are within it.
const TOKENS_MAX: usize = 2_000_000;

/// Deepest nesting of types and values that is parsed.
const NESTING_MAX: usize = 128;

/// Types of a GraphQL service that hold its operations and no data.
const ROOT_TYPES: [&str; 3] = ["Query", "Mutation", "Subscription"];

/// Fields that the server adds to every model.
const RESERVED_FIELDS: [&str; 4] = ["_version", "_deleted", "_lastChangedAt", "__typename"];

/// An object type with its extensions merged in.
pub(super) struct TypeNode {
    pub(super) name: Name,
    pub(super) directives: Vec<Node<Directive>>,
    pub(super) fields: Vec<Node<FieldDefinition>>,
}

/// An enum with its extensions merged in.
pub(super) struct EnumNode {
    pub(super) name: Name,
    pub(super) values: Vec<Node<EnumValueDefinition>>,
}

/// What a document declares; root types are left out.
pub(super) struct Declarations {
    pub(super) document: Document,
    pub(super) objects: IndexMap<String, TypeNode>,
    pub(super) enums: IndexMap<String, EnumNode>,
    /// Types that models cannot have in fields, each with its kind in words.
    pub(super) others: BTreeMap<String, &'static str>,
}

impl TypeNode {
    /// Whether it is a model.
    pub(super) fn is_model(&self) -> bool {
        self.directive("model").is_some()
    }

    /// The directive of that name on the type.
    pub(super) fn directive(&self, name: &str) -> Option<&Node<Directive>> {
        self.directives.iter().find(|directive| directive.name == name)
    }

    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&Node<FieldDefinition>> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Declarations {
    /// Whether the name is that of a model.
    pub(super) fn is_model(&self, name: &str) -> bool {
        self.objects.get(name).is_some_and(TypeNode::is_model)
    }
}

/// Name and place of each name in an argument that is a name or a list of names; `None` if it is absent or null.
pub(super) fn names_argument(directive: &Directive, name: &str) -> Option<Vec<(String, Option<SourceSpan>)>> {
    let value = directive.specified_argument_by_name(name)?;
    let items = match &**value {
        Value::Null => return None,
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(value),
    };
    Some(
        items
            .iter()
            .filter_map(|item| Some((item.as_str()?.to_owned(), item.location())))
            .collect(),
    )
}

/// Text and place of an argument that is a string.
pub(super) fn text_argument<'a>(
    directive: &'a Directive,
    name: &str,
) -> Option<(&'a str, Option<SourceSpan>)> {
    let value = directive.specified_argument_by_name(name)?;
    Some((value.as_str()?, value.location()))
}

/// A parser with the bounds of a schema.
pub(crate) fn parser() -> Parser {
    Parser::new().token_limit(TOKENS_MAX).recursion_limit(NESTING_MAX)
}

/// Parses the text and collects what it declares; `None` after reporting that it is not GraphQL.
pub(super) fn declarations(name: &str, source: &str, faults: &mut Faults) -> Option<Declarations> {
    let document = match parser().parse_ast(source, name) {
        Ok(document) => document,
        Err(partial) => {
            // The first fault is the one to mend; what comes after it is read in the wrong state.
            let first = partial
                .errors
                .iter()
                .min_by_key(|error| error.error.location().map(|at| at.offset()))?;
            let place = first.error.location().map_or(0, |place| place.offset());
            let Explained { span, message, label } = explain(source, place, &first.error.to_string());
            faults.at_span(span, message, label);
            return None;
        }
    };
    let mut declarations = Declarations {
        document,
        objects: IndexMap::new(),
        enums: IndexMap::new(),
        others: BTreeMap::new(),
    };
    collect(&mut declarations, faults);
    Some(declarations)
}

fn collect(declarations: &mut Declarations, faults: &mut Faults) {
    let definitions = declarations.document.definitions.clone();
    let roots = root_types(&definitions);
    let mut seen = BTreeSet::new();
    for definition in &definitions {
        if definition.is_executable_definition() {
            faults.at(
                definition.location(),
                "an operation or fragment is not part of a schema",
                "remove it, or keep it in a file of its own",
            );
        } else if !definition.is_extension_definition()
            && let Some(name) = definition.name()
            && !matches!(definition, Definition::DirectiveDefinition(_))
            && check_type_name(name, definition, faults)
            && !seen.insert(name.to_string())
        {
            let message = format!("the type `{name}` is declared twice");
            faults.at(
                name.location(),
                message,
                "rename it, or write `extend type` to add to the first",
            );
            continue;
        }
        declare(definition, &roots, declarations);
    }
    for definition in &definitions {
        extend(definition, &roots, declarations, faults);
    }
    check_members(declarations, faults);
}

/// Names of the root operation types: the usual ones, and those of a `schema` definition.
fn root_types(definitions: &[Definition]) -> BTreeSet<String> {
    let mut roots: BTreeSet<String> = ROOT_TYPES.iter().map(|name| (*name).to_owned()).collect();
    for definition in definitions.iter().filter_map(Definition::as_schema_definition) {
        roots.extend(
            definition
                .root_operations
                .iter()
                .map(|operation| operation.1.to_string()),
        );
    }
    roots
}

/// Whether the name may be that of a type. A root type is an object type that is no model.
fn check_type_name(name: &Name, definition: &Definition, faults: &mut Faults) -> bool {
    if is_prelude_redefinition(definition) {
        return false;
    }
    let is_model = definition.directives().has("model");
    let is_plain_object = matches!(definition, Definition::ObjectTypeDefinition(_)) && !is_model;
    if ROOT_TYPES.contains(&name.as_str()) && !is_plain_object {
        faults.at(
            name.location(),
            format!("`{name}` is the name of a root operation type"),
            "choose another name; GraphQL reserves this one",
        );
        return false;
    }
    if Scalar::from_name(name).is_some() {
        faults.at(
            name.location(),
            format!("`{name}` is the name of a scalar"),
            "choose another name",
        );
        return false;
    }
    if name.starts_with("__") {
        let message = format!("the name `{name}` begins with two underscores, which GraphQL reserves");
        faults.at(name.location(), message, "choose another name");
        return false;
    }
    true
}

/// Some schemas declare Amplify's scalars, enums and inputs for their editor; those declarations say nothing new.
pub(super) fn is_prelude_redefinition(definition: &Definition) -> bool {
    let Some(name) = definition.name() else {
        return false;
    };
    match definition {
        Definition::ScalarTypeDefinition(_) => Scalar::from_name(name).is_some(),
        Definition::EnumTypeDefinition(_) => prelude().enums.contains_key(name.as_str()),
        Definition::InputObjectTypeDefinition(_) => prelude().inputs.contains_key(name.as_str()),
        Definition::DirectiveDefinition(_) => prelude().directives.contains_key(name.as_str()),
        _ => false,
    }
}

fn declare(definition: &Definition, roots: &BTreeSet<String>, declarations: &mut Declarations) {
    if is_prelude_redefinition(definition) {
        return;
    }
    let mut other = |name: &Name, kind| {
        declarations.others.entry(name.to_string()).or_insert(kind);
    };
    match definition {
        Definition::ObjectTypeDefinition(def) if roots.contains(def.name.as_str()) => {
            other(&def.name, "a root operation type");
        }
        Definition::ObjectTypeDefinition(def) => {
            let ObjectTypeDefinition {
                name,
                directives,
                fields,
                ..
            } = &**def;
            let node = TypeNode {
                name: name.clone(),
                directives: directives.0.clone(),
                fields: fields.clone(),
            };
            declarations.objects.entry(name.to_string()).or_insert(node);
        }
        Definition::EnumTypeDefinition(def) => {
            let node = EnumNode {
                name: def.name.clone(),
                values: def.values.clone(),
            };
            declarations.enums.entry(def.name.to_string()).or_insert(node);
        }
        Definition::InterfaceTypeDefinition(def) => other(&def.name, "an interface"),
        Definition::UnionTypeDefinition(def) => other(&def.name, "a union"),
        Definition::InputObjectTypeDefinition(def) => other(&def.name, "an input"),
        Definition::ScalarTypeDefinition(def) => other(&def.name, "a custom scalar"),
        _ => {}
    }
}

fn extend(
    definition: &Definition,
    roots: &BTreeSet<String>,
    declarations: &mut Declarations,
    faults: &mut Faults,
) {
    let missing = match definition {
        Definition::ObjectTypeExtension(ext) if roots.contains(ext.name.as_str()) => None,
        Definition::ObjectTypeExtension(ext) => match declarations.objects.get_mut(ext.name.as_str()) {
            Some(node) => {
                let ObjectTypeExtension {
                    directives, fields, ..
                } = &**ext;
                node.directives.extend(directives.iter().cloned());
                node.fields.extend(fields.iter().cloned());
                None
            }
            None => Some((
                &ext.name,
                declarations.objects.keys().cloned().collect::<Vec<_>>(),
            )),
        },
        Definition::EnumTypeExtension(ext) => match declarations.enums.get_mut(ext.name.as_str()) {
            Some(node) => {
                node.values.extend(ext.values.iter().cloned());
                None
            }
            None => Some((&ext.name, declarations.enums.keys().cloned().collect())),
        },
        _ => None,
    };
    if let Some((name, known)) = missing {
        let label = did_you_mean(name, known.iter().map(String::as_str), "declare the type first");
        faults.at(
            name.location(),
            format!("the type `{name}` is extended but not declared"),
            label,
        );
    }
}

/// Checks the names of fields and values.
fn check_members(declarations: &Declarations, faults: &mut Faults) {
    for node in declarations.objects.values() {
        let mut seen = BTreeSet::new();
        for field in &node.fields {
            let name = &field.name;
            if (node.is_model() && RESERVED_FIELDS.contains(&name.as_str())) || name.starts_with("__") {
                faults.at(
                    name.location(),
                    format!("the field name `{name}` is reserved"),
                    "rename the field; the server keeps its own data under this name",
                );
            }
            if !seen.insert(name.as_str()) {
                let message = format!("`{}` has two fields named `{name}`", node.name);
                faults.at(name.location(), message, "rename or remove one of them");
            }
        }
    }
    for node in declarations.enums.values() {
        let mut seen = BTreeSet::new();
        for value in node
            .values
            .iter()
            .filter(|value| !seen.insert(value.value.as_str()))
        {
            let message = format!("the enum `{}` has the value `{}` twice", node.name, value.value);
            faults.at(value.value.location(), message, "remove it");
        }
    }
}
