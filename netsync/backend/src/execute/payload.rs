//! From the answer of a mutation to the messages of its subscribers.
//!
//! Owns both halves: the answer by field name (aliases undone), and a subscription's selection run over it. What the
//! mutation did not select is null for subscribers, as on AppSync.

use apollo_compiler::ast::Type;
use apollo_compiler::response::{JsonMap, JsonValue};

use super::guard::{goes_with_row, is_denied};
use super::meter::Meter;
use super::selected::{Form, Selected};
use super::walk::{FieldError, Leaf, ObjectValue, ResolveInfo, Resolved};
use crate::auth::{Access, Caller, ModelRules, Operation, Verdict};
use crate::compile::{CompiledSchema, ModelPlan, RelationPlan};
use crate::item::Attributes;

/// The answer of a selection by field name instead of response key. What was selected of one object under several aliases is
/// told together.
pub(super) fn by_name(selected: &Selected, mut answer: JsonMap) -> JsonMap {
    let mut named = JsonMap::with_capacity(selected.fields.len());
    for chosen in &selected.fields {
        let Some(value) = answer.remove(chosen.key.as_str()) else {
            continue;
        };
        let name = chosen.field().name.as_str();
        match (named.get_mut(name), value_by_name(&chosen.form, value)) {
            (Some(JsonValue::Object(before)), JsonValue::Object(more)) => before.extend(more),
            (_, value) => {
                named.insert(name, value);
            }
        }
    }
    named
}

fn value_by_name(form: &Form, value: JsonValue) -> JsonValue {
    match (form, value) {
        (Form::Object(selected), JsonValue::Object(members)) => JsonValue::Object(by_name(selected, members)),
        (form, JsonValue::Array(items)) => {
            JsonValue::Array(items.into_iter().map(|item| value_by_name(form, item)).collect())
        }
        (_, leaf) => leaf,
    }
}

/// Who is sent a message, and what decides what they see of it.
pub(crate) struct Viewer<'a> {
    pub(crate) compiled: &'a CompiledSchema,
    pub(crate) caller: &'a Caller,
    /// The rules of models that have none.
    pub(crate) implied: &'a ModelRules,
    /// The model that the message is about.
    pub(crate) model: &'a ModelPlan,
    /// The stored fields of the record that the rules compare with.
    pub(crate) facts: &'a Attributes,
}

impl Viewer<'_> {
    fn access<'a>(&'a self, plan: &'a ModelPlan) -> Access<'a> {
        Access {
            rules: plan.rules.as_ref().unwrap_or(self.implied),
            caller: self.caller,
        }
    }

    /// Whether a field is shown. Of records beside the one that the message is about nothing is known but what the
    /// mutation selected, so only what is allowed for every record is shown of them.
    fn may_see(&self, type_name: &str, field: &str, root: bool) -> bool {
        if is_denied(self.caller, type_name, field) {
            return false;
        }
        let Some(plan) = self.compiled.find_model(type_name) else {
            return true;
        };
        self.may_see_field(plan, field, root) && self.may_follow(plan, field)
    }

    fn may_see_field(&self, plan: &ModelPlan, field: &str, root: bool) -> bool {
        let access = self.access(plan);
        if !access.fields_differ() || goes_with_row(plan, access, field) {
            return true;
        }
        if root {
            access.field(field, Operation::Listen).holds(self.facts)
        } else {
            access.field(field, Operation::Get) == Verdict::Allowed
        }
    }

    fn may_follow(&self, plan: &ModelPlan, field: &str) -> bool {
        let Some(relation) = plan.relations.get(field) else {
            return true;
        };
        let operation = match relation {
            RelationPlan::ManyByIndex { .. } => Operation::List,
            RelationPlan::ByKey { .. } | RelationPlan::OneByIndex { .. } => Operation::Get,
        };
        let other = self.compiled.model(relation.model());
        self.access(other).operation(operation) == Verdict::Allowed
    }

    /// The fields of the record that are hidden, as a text: messages of one selection are equal where this is equal,
    /// for callers with the same [`Viewer::standing`].
    pub(crate) fn hidden_fields(&self) -> String {
        if !self.access(self.model).fields_differ() {
            return String::new();
        }
        let fields = self.model.attributes.keys().chain(self.model.relations.keys());
        let hidden: Vec<&str> = fields
            .map(landfall_core::FieldName::as_str)
            .filter(|field| !self.may_see_field(self.model, field, true))
            .collect();
        hidden.join(" ")
    }

    /// What a caller may see whatever the record, as a text.
    pub(crate) fn standing(compiled: &CompiledSchema, implied: &ModelRules, caller: &Caller) -> String {
        let mut text = String::new();
        for plan in compiled.plans() {
            let rules = plan.rules.as_ref().unwrap_or(implied);
            let access = Access { rules, caller };
            let mut note = |verdict: &Verdict| {
                text.push(if *verdict == Verdict::Allowed { '1' } else { '0' });
            };
            note(&access.operation(Operation::Get));
            note(&access.operation(Operation::List));
            if access.fields_differ() {
                let fields = plan.attributes.keys().chain(plan.relations.keys());
                fields.for_each(|field| note(&access.field(field, Operation::Get)));
            }
        }
        if let Caller::Lambda(user) = caller {
            for (ty, field) in &user.denied_fields {
                text.push_str(&format!(" {ty}.{field}"));
            }
        }
        text
    }
}

/// The root of a subscription: its one field is the record in the mutation's answer.
pub(super) struct MessageRoot<'c> {
    pub(super) record: &'c JsonMap,
    pub(super) viewer: &'c Viewer<'c>,
    /// How long the message may be.
    pub(super) meter: &'c Meter,
}

/// An object inside the answer.
struct MessageObject<'c> {
    viewer: &'c Viewer<'c>,
    meter: &'c Meter,
    /// Whether it is the record that the message is about.
    root: bool,
    type_name: &'c str,
    members: &'c JsonMap,
}

impl ObjectValue for MessageRoot<'_> {
    fn type_name(&self) -> &str {
        "Subscription"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        let type_name = info.ty().inner_named_type();
        charge(self.meter, info.chosen.names_bytes)?;
        Ok(Resolved::object(MessageObject {
            viewer: self.viewer,
            meter: self.meter,
            root: true,
            type_name,
            members: self.record,
        }))
    }
}

impl ObjectValue for MessageObject<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        let name = info.field_name();
        if !self.viewer.may_see(self.type_name, name, self.root) {
            return Ok(Resolved::null());
        }
        let value = self.members.get(name).unwrap_or(&JsonValue::Null);
        resolved(self.viewer, self.meter, info.ty(), value, info.chosen.names_bytes)
    }
}

/// A value as the walk takes it; `each` is what an object of the field is charged.
fn resolved<'a>(
    viewer: &'a Viewer<'a>,
    meter: &'a Meter,
    ty: &'a Type,
    value: &'a JsonValue,
    each: usize,
) -> Result<Resolved<'a>, FieldError> {
    Ok(match value {
        JsonValue::Array(items) if ty.is_list() => Resolved::list(
            items
                .iter()
                .map_while(move |item| resolved(viewer, meter, ty.item_type(), item, each).ok()),
        ),
        JsonValue::Object(members) => {
            charge(meter, each)?;
            Resolved::object(MessageObject {
                viewer,
                meter,
                root: false,
                type_name: ty.inner_named_type(),
                members,
            })
        }
        leaf => {
            charge(meter, leaf.as_str().map_or(1, str::len))?;
            Resolved::Leaf(Leaf::Json(leaf))
        }
    })
}

fn charge(meter: &Meter, bytes: usize) -> Result<(), FieldError> {
    // A message that is too long is not sent, so nobody reads why.
    meter.charge(bytes).map_err(|_| FieldError::Said(String::new()))
}
