//! Faults of documents in AppSync's words.
//!
//! Owns the translation of the validator's messages and the check of AWS scalars in literals, which the validator takes
//! for free-form. Texts follow graphql-java, on which AppSync stands; clients match on some of them.

use apollo_compiler::ast::{Document, Value};
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::executable::{ExecutableDocument, Selection, Type};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{Node, Schema};
use landfall_core::Scalar;

use super::errors::{ErrorEntry, locations};
use super::locate::{Surroundings, surroundings, value_text};
use super::scalars;

/// Most entries of one answer; a document can be wrong in as many places as it has.
const ENTRIES_MAX: usize = 100;

/// Translates what the validator found.
pub(super) fn entries(schema: &Schema, document: &Document, faults: &DiagnosticList) -> Vec<ErrorEntry> {
    let mut entries: Vec<ErrorEntry> = Vec::new();
    for fault in faults.iter().take(ENTRIES_MAX) {
        let span = fault.error.location();
        let around = span
            .map(|span| surroundings(schema, document, span))
            .unwrap_or_default();
        let (kind, text) = translate(&fault.error.to_string(), &around);
        if kind == "SubSelectionRequired" && around.selects {
            // The validator drops fields that do not exist, reports each, and then misses them.
            continue;
        }
        let at = if around.path.is_empty() {
            String::new()
        } else {
            format!(" @ '{}'", around.path)
        };
        let message = format!("Validation error of type {kind}: {text}{at}");
        // One cause can be found twice, as for a variable of the wrong type.
        if !entries.iter().any(|entry| entry.message == message) {
            entries.push(ErrorEntry::of_request(
                message,
                Some(locations(span, fault.sources)),
            ));
        }
    }
    entries
}

/// A message of the validator, whose names are in backticks, and what surrounds its place.
struct Said<'a> {
    message: &'a str,
    around: &'a Surroundings,
}

impl Said<'_> {
    /// A name in the message, counted from 0.
    fn name(&self, at: usize) -> &str {
        self.message
            .split('`')
            .nth(2 * at + 1)
            .unwrap_or_default()
            .trim_start_matches('$')
    }
}

/// How a message begins, what else it holds, AppSync's type of the error, and its text.
type Rule = (&'static str, &'static str, &'static str, fn(&Said<'_>) -> String);

const RULES: [Rule; 17] = [
    ("type `", "does not have a field", "FieldUndefined", |said| {
        format!("Field '{}' in type '{}' is undefined", said.name(1), said.name(0))
    }),
    (
        "the argument `",
        "is not supported by",
        "UnknownArgument",
        |said| format!("Unknown field argument {}", said.name(0)),
    ),
    ("the required argument `", "", "MissingFieldArgument", |said| {
        // The name is a coordinate such as `Query.getPost(id:)`.
        let argument = said.name(0).rsplit_once('(').map_or("", |(_, argument)| argument);
        format!("Missing field argument {}", argument.trim_end_matches([':', ')']))
    }),
    ("cannot find type `", "", "UnknownType", |said| {
        format!("Unknown type {}", said.name(0))
    }),
    ("type condition `", "", "UnknownType", |said| {
        format!("Unknown type {}", said.name(0))
    }),
    ("variable `$", "is not defined", "UndefinedVariable", |said| {
        format!("Undefined variable {}", said.name(0))
    }),
    ("unused variable", "", "UnusedVariable", |said| {
        format!("Unused variable {}", said.name(0))
    }),
    (
        "variable `$",
        "cannot be used for argument",
        "VariableTypeMismatch",
        |said| {
            format!(
                "Variable type '{}' doesn't match expected type '{}'",
                said.name(1),
                said.name(3)
            )
        },
    ),
    ("fragment `", "must be used", "UnusedFragment", |said| {
        format!("Unused fragment {}", said.name(0))
    }),
    ("cannot find fragment `", "", "UndefinedFragment", |said| {
        format!("Undefined fragment {}", said.name(0))
    }),
    (
        "field selection of",
        "must not have subselections",
        "SubSelectionNotAllowed",
        |said| {
            format!(
                "Sub selection not allowed on leaf type {} of field {}",
                said.name(0),
                said.around.field
            )
        },
    ),
    (
        "interface, union and object types must have",
        "",
        "SubSelectionRequired",
        |said| {
            let ty = said.around.ty.as_deref().unwrap_or("null");
            format!(
                "Sub selection required for type {ty} of field {}",
                said.around.field
            )
        },
    ),
    ("cannot find directive `", "", "UnknownDirective", |said| {
        format!("Unknown directive {}", said.name(0).trim_start_matches('@'))
    }),
    (
        "",
        "directive is not supported for",
        "MisplacedDirective",
        |said| {
            let directive = said.message.split_whitespace().next().unwrap_or_default();
            format!(
                "Directive {} not allowed here",
                directive.trim_matches(['`', '@'])
            )
        },
    ),
    ("`", "fragment cannot reference itself", "FragmentCycle", |_| {
        "Fragment cycles not allowed".to_owned()
    }),
    ("", "cannot be applied to `", "InvalidFragmentType", |said| {
        // A named fragment has its own name before those of the two types.
        let first = usize::from(said.message.starts_with("fragment `"));
        format!(
            "Fragment cannot be spread here as objects of type {} can never be of type {}",
            said.name(first + 1),
            said.name(first)
        )
    }),
    (
        "",
        "can only have one root field",
        "SubscriptionMultipleRootFields",
        |_| "Subscription operation must have exactly one root field".to_owned(),
    ),
];

/// AppSync's type and text for a message of the validator.
fn translate(message: &str, around: &Surroundings) -> (&'static str, String) {
    let said = Said { message, around };
    let rule = RULES
        .iter()
        .find(|(begins, holds, _, _)| message.starts_with(begins) && message.contains(holds));
    match rule {
        Some((_, _, kind, text)) => (kind, text(&said)),
        None => {
            wrong_type(message, said.name(0), around).unwrap_or_else(|| ("InvalidSyntax", message.to_owned()))
        }
    }
}

fn wrong_type(message: &str, first: &str, around: &Surroundings) -> Option<(&'static str, String)> {
    let argument = around.argument.as_ref()?;
    let given = format!("argument '{}' with value '{}'", argument.name, argument.value);
    let second = || message.split('`').nth(3).unwrap_or_default();
    let text = if message.starts_with("the required field `") {
        let field = first.rsplit_once('.').map_or(first, |(_, field)| field);
        format!("{given} is missing required fields '[{field}]'")
    } else if message.starts_with("field `") && message.contains("does not exist on") {
        format!("{given} contains a field not in '{}': '{first}'", second())
    } else if message.starts_with("value `") {
        format!("{given} is not a valid '{}'", second())
    } else if let Some(rest) = message.strip_prefix("expected value of type ") {
        let expected = rest
            .split(", found")
            .next()
            .unwrap_or_default()
            .trim_end_matches('!');
        if argument.is_variable {
            return Some((
                "VariableTypeMismatch",
                format!("Variable type doesn't match expected type '{expected}'"),
            ));
        }
        format!("{given} is not a valid '{expected}'")
    } else if message.contains("cannot represent") {
        let scalar = if message.starts_with("int") {
            "Int"
        } else {
            "Float"
        };
        format!("{given} is not a valid '{scalar}'")
    } else {
        return None;
    };
    Some(("WrongType", text))
}

/// Checks AWS scalars that are written into the document itself.
pub(super) fn literal_faults(
    schema: &Schema,
    source: &Document,
    document: &Valid<ExecutableDocument>,
) -> Vec<ErrorEntry> {
    let mut walk = Walk {
        schema,
        source,
        document,
        entries: Vec::new(),
    };
    for operation in document.operations.iter() {
        walk.selections(&operation.selection_set.selections);
    }
    for fragment in document.fragments.values() {
        walk.selections(&fragment.selection_set.selections);
    }
    walk.entries
}

struct Walk<'a> {
    schema: &'a Schema,
    source: &'a Document,
    document: &'a Valid<ExecutableDocument>,
    entries: Vec<ErrorEntry>,
}

impl Walk<'_> {
    fn selections(&mut self, selections: &[Selection]) {
        for selection in selections {
            match selection {
                Selection::Field(field) => {
                    for argument in &field.arguments {
                        if let Some(definition) = field.definition.argument_by_name(&argument.name) {
                            self.value(&definition.ty, &argument.value);
                        }
                    }
                    self.selections(&field.selection_set.selections);
                }
                Selection::InlineFragment(fragment) => self.selections(&fragment.selection_set.selections),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn value(&mut self, ty: &Type, value: &Node<Value>) {
        let name = ty.inner_named_type();
        match (&**value, self.schema.types.get(name)) {
            (Value::List(items), _) => items.iter().for_each(|item| self.value(ty.item_type(), item)),
            (Value::Object(members), Some(ExtendedType::InputObject(input))) => {
                for (member, value) in members {
                    if let Some(field) = input.fields.get(member) {
                        self.value(&field.ty, value);
                    }
                }
            }
            (Value::Null | Value::Variable(_), _) => {}
            (literal, Some(ExtendedType::Scalar(scalar))) if !scalar.is_built_in() => {
                let fits = Scalar::from_name(name).is_none_or(|scalar| {
                    scalars::literal_json(literal).is_some_and(|json| scalars::check(scalar, &json).is_ok())
                });
                if !fits {
                    self.refuse(name, value);
                }
            }
            _ => {}
        }
    }

    fn refuse(&mut self, ty: &str, value: &Node<Value>) {
        let span = value.location();
        let around = span
            .map(|span| surroundings(self.schema, self.source, span))
            .unwrap_or_default();
        let argument = around.argument.map(|argument| argument.name).unwrap_or_default();
        let message = format!(
            "Validation error of type WrongType: argument '{argument}' with value '{}' is not a valid '{ty}' @ '{}'",
            value_text(value),
            around.path
        );
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(ErrorEntry::of_request(
                message,
                Some(locations(span, &self.document.sources)),
            ));
        }
    }
}
