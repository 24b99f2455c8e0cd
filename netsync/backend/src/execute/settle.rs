//! Conflicts that a handler decides: what it is asked, and what its answer becomes.
//!
//! Owns [`ConflictRound`], which carries questions out of a mutation and answers back into it. Calls no handler: the
//! mutation is rolled back, the handlers are asked without any lock, and the mutation runs anew with their answers.
//!
//! Invariant: an answer counts only for the version of the record that it was given for.

use std::cell::RefCell;
use std::collections::BTreeMap;

use landfall_core::{FieldDef, FieldType, ModelName, Scalar, Schema, Value};
use serde_json::{Map, Value as Json};

use super::coerce::Arguments;
use crate::auth::Caller;
use crate::compile::ModelPlan;
use crate::conflict::{ConflictCall, ConflictResolver, HandlerFailed, Resolution};
use crate::item::{Attributes, DELETED, Item, LAST_CHANGED_AT, TTL, TYPE_NAME, VERSION};

/// A conflict, told apart from others of its request: the response key of the mutation, and the stored version.
type Place = (String, u64);

/// One attempt at a mutation whose conflicts are decided by handlers.
#[derive(Debug, Default)]
pub(crate) struct ConflictRound {
    answers: BTreeMap<Place, Result<Resolution, HandlerFailed>>,
    asked: RefCell<Vec<Question>>,
    /// The last attempt: conflicts that are not decided by now are not asked any more.
    pub(crate) is_last: bool,
    /// Only whether there is anything to ask is of interest: what comes behind the first question is not begun.
    pub(crate) only_looks: bool,
}

/// A conflict that waits for its handler.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    place: Place,
    pub(crate) model: ModelName,
    pub(crate) call: ConflictCall,
}

impl ConflictRound {
    /// A round that is rolled back if there is anything to ask.
    pub(crate) fn look() -> Self {
        Self {
            only_looks: true,
            ..Self::default()
        }
    }

    /// The round after this one, with the answers to its questions; `None` once a question is not asked any more.
    pub(crate) fn next(
        self,
        is_last: bool,
        mut ask: impl FnMut(&Question) -> Option<Result<Resolution, HandlerFailed>>,
    ) -> Option<Self> {
        let mut answers = self.answers;
        for question in self.asked.into_inner() {
            let answer = ask(&question)?;
            answers.insert(question.place, answer);
        }
        Some(Self {
            answers,
            is_last,
            ..Self::default()
        })
    }

    /// Whether the rest of the mutation is of no interest: it is rolled back whatever comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.only_looks && self.has_questions()
    }

    /// Whether a handler must be asked before the mutation can go on.
    pub(crate) fn has_questions(&self) -> bool {
        !self.asked.borrow().is_empty()
    }

    pub(super) fn answer(
        &self,
        response_key: &str,
        version: u64,
    ) -> Option<&Result<Resolution, HandlerFailed>> {
        self.answers.get(&(response_key.to_owned(), version))
    }

    pub(super) fn ask(&self, response_key: &str, version: u64, model: &ModelName, call: ConflictCall) {
        self.asked.borrow_mut().push(Question {
            place: (response_key.to_owned(), version),
            model: model.clone(),
            call,
        });
    }
}

/// What a handler is told of a conflict.
pub(super) fn call_of(
    plan: &ModelPlan,
    field: &str,
    new: &Item,
    existing: &Item,
    arguments: &Arguments<'_>,
    caller: &Caller,
) -> ConflictCall {
    let json = |value| serde_json::to_value(value).expect("arguments can be written to memory");
    let arguments = arguments.iter();
    ConflictCall {
        new_item: item_json(plan, new),
        existing_item: item_json(plan, existing),
        arguments: arguments
            .map(|(name, value)| (name.to_owned(), json(value)))
            .collect(),
        resolver: ConflictResolver {
            table_name: format!("{}-landfall-local", plan.name()),
            aws_region: "local".to_owned(),
            parent_type: "Mutation".to_owned(),
            field: field.to_owned(),
        },
        identity: Some(caller.identity()).filter(|identity| !identity.is_null()),
    }
}

/// An item as DynamoDB would hand it out: plain JSON with its metadata, `AWSJSON` parsed.
fn item_json(plan: &ModelPlan, item: &Item) -> Map<String, Json> {
    let json = |value: &Value| serde_json::to_value(value).expect("values can be written to memory");
    let mut members: Map<String, Json> = item
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), json(value)))
        .collect();
    members.insert(TYPE_NAME.to_owned(), Json::from(plan.name().as_str()));
    members.insert(VERSION.to_owned(), Json::from(item.version));
    members.insert(LAST_CHANGED_AT.to_owned(), Json::from(item.last_changed_at_ms));
    if item.deleted {
        members.insert(DELETED.to_owned(), Json::from(true));
    }
    if let Some(ttl_s) = item.ttl_s {
        members.insert(TTL.to_owned(), Json::from(ttl_s));
    }
    members
}

/// The attributes of a record that a handler made; its key stays the stored one's, as do owners that no input can name,
/// and what the model does not have is left out.
///
/// # Errors
/// What does not fit the model.
pub(super) fn attributes_of(
    schema: &Schema,
    plan: &ModelPlan,
    item: &Map<String, Json>,
    existing: &Attributes,
) -> Result<Attributes, HandlerFailed> {
    let mut attributes = Attributes::new();
    for (name, field) in &plan.attributes {
        if plan.is_key(name) || plan.owners.contains(name) {
            if let Some(kept) = existing.get(name.as_str()) {
                attributes.insert(name.to_string(), kept.clone());
            }
        } else if let Some(json) = item.get(name.as_str()).filter(|json| !json.is_null()) {
            let value = Value::from(json);
            if !fits(schema, field, &value) {
                let reason = format!("the conflict handler answered a `{name}` that is not of type {field}");
                return Err(HandlerFailed::new(reason));
            }
            attributes.insert(name.to_string(), value);
        }
    }
    Ok(attributes)
}

fn fits(schema: &Schema, field: &FieldDef, value: &Value) -> bool {
    match value {
        Value::Null => !field.required,
        Value::List(items) if field.list.is_some() => items.iter().all(|item| match item {
            Value::Null => field.list.is_some_and(|list| !list.elements_required),
            item => fits_one(schema, field, item),
        }),
        value => field.list.is_none() && fits_one(schema, field, value),
    }
}

fn fits_one(schema: &Schema, field: &FieldDef, value: &Value) -> bool {
    match (&field.ty, value) {
        // Stored parsed, so any JSON will do.
        (FieldType::Scalar(Scalar::AwsJson), _) => true,
        (FieldType::Scalar(scalar), value) => scalar.check(value).is_ok(),
        (FieldType::Enum(name), Value::String(text)) => schema
            .enumeration(name)
            .is_some_and(|def| def.values.contains(text)),
        (FieldType::NonModel(name), Value::Object(members)) => schema.non_model(name).is_some_and(|def| {
            def.fields.values().all(|field| {
                fits(
                    schema,
                    field,
                    members.get(field.name.as_str()).unwrap_or(&Value::Null),
                )
            })
        }),
        _ => false,
    }
}
