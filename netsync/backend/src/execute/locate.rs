//! Finding what a place in a document belongs to: the path of fields, and the argument with its value.
//!
//! Owns the walk of the syntax tree and AppSync's way of writing literal values into messages.

use apollo_compiler::ast::{Argument, Definition, Document, Selection, Value};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::{Name, Node, Schema};

/// What surrounds a place.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    /// Names of the fields from the root, joined by `/`.
    pub(super) path: String,
    /// Name of the innermost field.
    pub(super) field: String,
    /// Name of its type, if the field exists.
    pub(super) ty: Option<Name>,
    /// Whether it has a selection, be it of fields that do not exist.
    pub(super) selects: bool,
    /// The argument that holds the place.
    pub(super) argument: Option<ArgumentAt>,
}

/// An argument, down to the input field that holds a place.
#[derive(Debug, PartialEq)]
pub(super) struct ArgumentAt {
    /// Dotted name, such as `input.title`.
    pub(super) name: String,
    /// Its value as AppSync writes it.
    pub(super) value: String,
    /// Whether the value is a variable.
    pub(super) is_variable: bool,
}

/// Looks a place up.
pub(super) fn surroundings(schema: &Schema, document: &Document, place: SourceSpan) -> Surroundings {
    let mut found = Surroundings::default();
    for definition in &document.definitions {
        let (selections, root, inside) = match definition {
            Definition::OperationDefinition(operation) => {
                let root = schema.root_operation(operation.operation_type).cloned();
                (&operation.selection_set, root, holds(operation, place))
            }
            Definition::FragmentDefinition(fragment) => (
                &fragment.selection_set,
                Some(fragment.type_condition.clone()),
                holds(fragment, place),
            ),
            _ => continue,
        };
        if inside {
            found.ty = root;
            descend(schema, selections, place, &mut found);
        }
    }
    found
}

fn holds<T>(node: &Node<T>, place: SourceSpan) -> bool {
    node.location()
        .is_some_and(|span| span.offset() <= place.offset() && place.end_offset() <= span.end_offset())
}

fn descend(schema: &Schema, selections: &[Selection], place: SourceSpan, found: &mut Surroundings) {
    for selection in selections {
        match selection {
            Selection::Field(field) if holds(field, place) => {
                let name = field.response_name();
                if !found.path.is_empty() {
                    found.path.push('/');
                }
                found.path.push_str(name);
                found.field = field.name.to_string();
                found.selects = !field.selection_set.is_empty();
                let definition = found
                    .ty
                    .as_ref()
                    .and_then(|ty| schema.type_field(ty, &field.name).ok());
                found.ty = definition.map(|definition| definition.ty.inner_named_type().clone());
                found.argument = field
                    .arguments
                    .iter()
                    .find_map(|argument| in_argument(argument, place));
                return descend(schema, &field.selection_set, place, found);
            }
            Selection::InlineFragment(fragment) if holds(fragment, place) => {
                return descend(schema, &fragment.selection_set, place, found);
            }
            _ => {}
        }
    }
}

fn in_argument(argument: &Node<Argument>, place: SourceSpan) -> Option<ArgumentAt> {
    holds(argument, place).then(|| {
        let (mut name, mut value) = (argument.name.to_string(), &argument.value);
        while let Some((member, inner)) = value
            .as_object()
            .and_then(|members| members.iter().find(|(_, inner)| holds(inner, place)))
        {
            name = format!("{name}.{member}");
            value = inner;
        }
        ArgumentAt {
            name,
            value: value_text(value),
            is_variable: value.as_variable().is_some(),
        }
    })
}

/// A literal as AppSync writes it, such as `StringValue{value='x'}`.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "NullValue{}".to_owned(),
        Value::Boolean(b) => format!("BooleanValue{{value={b}}}"),
        Value::Int(n) => format!("IntValue{{value={n}}}"),
        Value::Float(x) => format!("FloatValue{{value={x}}}"),
        Value::String(text) => format!("StringValue{{value='{text}'}}"),
        Value::Enum(name) => format!("EnumValue{{name='{name}'}}"),
        Value::Variable(name) => format!("VariableReference{{name='{name}'}}"),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value_text(item)).collect();
            format!("ArrayValue{{values=[{}]}}", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, member)| format!("ObjectField{{name='{name}', value={}}}", value_text(member)))
                .collect();
            format!("ObjectValue{{objectFields=[{}]}}", members.join(", "))
        }
    }
}
