//! From the answer of a mutation to the messages of its subscribers.
//!
//! Owns both halves: the answer by field name (aliases undone), and a subscription's selection run over it. What the
//! mutation did not select is null for subscribers, as on AppSync.

use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast::Type;
use apollo_compiler::executable::{Field, Selection};
use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::{JsonMap, JsonValue};

/// The answer of a selection by field name instead of response key.
pub(super) fn by_name(document: &ExecutableDocument, sets: &[&[Selection]], answer: &JsonMap) -> JsonMap {
    let mut fields: Vec<(&str, &str, Vec<&[Selection]>)> = Vec::new();
    for set in sets {
        collect(document, set, &mut |field| {
            let (key, inner) = (
                field.response_key().as_str(),
                field.selection_set.selections.as_slice(),
            );
            match fields.iter_mut().find(|(known, _, _)| *known == key) {
                Some((_, _, sets)) => sets.push(inner),
                None => fields.push((key, field.name.as_str(), vec![inner])),
            }
        });
    }
    let mut named = JsonMap::with_capacity(fields.len());
    for (key, name, sets) in fields {
        if let Some(value) = answer.get(key) {
            named.insert(name, value_by_name(document, &sets, value));
        }
    }
    named
}

fn value_by_name(document: &ExecutableDocument, sets: &[&[Selection]], value: &JsonValue) -> JsonValue {
    match value {
        JsonValue::Object(members) => JsonValue::Object(by_name(document, sets, members)),
        JsonValue::Array(items) => JsonValue::Array(
            items
                .iter()
                .map(|item| value_by_name(document, sets, item))
                .collect(),
        ),
        leaf => leaf.clone(),
    }
}

/// Calls `each` with every field, fragments unfolded. Types need no look: the answer has only what applied.
fn collect<'d>(document: &'d ExecutableDocument, set: &'d [Selection], each: &mut dyn FnMut(&'d Field)) {
    for selection in set {
        match selection {
            Selection::Field(field) => each(field),
            Selection::InlineFragment(fragment) => {
                collect(document, &fragment.selection_set.selections, each);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.fragment_name) {
                    collect(document, &fragment.selection_set.selections, each);
                }
            }
        }
    }
}

/// The root of a subscription: its one field is the record in the mutation's answer.
pub(super) struct MessageRoot<'c> {
    pub(super) record: &'c JsonMap,
}

/// An object inside the answer.
struct MessageObject<'c> {
    type_name: &'c str,
    members: &'c JsonMap,
}

impl ObjectValue for MessageRoot<'_> {
    fn type_name(&self) -> &str {
        "Subscription"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let type_name = info.field_definition().ty.inner_named_type();
        Ok(ResolvedValue::object(MessageObject {
            type_name,
            members: self.record,
        }))
    }
}

impl ObjectValue for MessageObject<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let value = self.members.get(info.field_name()).unwrap_or(&JsonValue::Null);
        Ok(resolved(&info.field_definition().ty, value))
    }
}

fn resolved<'a>(ty: &'a Type, value: &'a JsonValue) -> ResolvedValue<'a> {
    match value {
        JsonValue::Array(items) if ty.is_list() => {
            ResolvedValue::list(items.iter().map(move |item| resolved(ty.item_type(), item)))
        }
        JsonValue::Object(members) => ResolvedValue::object(MessageObject {
            type_name: ty.inner_named_type(),
            members,
        }),
        leaf => ResolvedValue::Leaf(leaf.clone()),
    }
}
