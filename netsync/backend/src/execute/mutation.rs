//! Root fields that write: create, update, delete.
//!
//! Owns the step from an input to a write (identifiers, defaults, timestamps) and from its outcome to an answer or to
//! AppSync's error.

use std::borrow::Cow;

use apollo_compiler::response::{JsonMap, JsonValue};
use jiff::fmt::temporal::DateTimePrinter;
use landfall_core::{FieldDef, FieldType, MutationKind, Value};

use super::coerce::Arguments;
use super::context::Context;
use super::errors::Fault;
use super::guard::{Asked, Shown, asked_mutation, is_denied, shown_value};
use super::input;
use super::meter::{leaf_bytes, member_bytes};
use super::objects::{RecordObject, leaf, metadata};
use super::selected::{Form, Selected, Source};
use super::settle;
use super::walk::{FieldError, ObjectValue, ResolveInfo, Resolved};
use crate::compile::{ModelPlan, RootField, made_by_server};
use crate::config::{NullInCreate, VersionInCreate};
use crate::conflict::{Changes, HandlerFailed, Resolution, Write};
use crate::item::{Attributes, Item, VERSION};
use crate::json::json_of;
use crate::store::Outcome;

/// The root of mutations.
pub(super) struct MutationRoot<'c> {
    pub(super) ctx: &'c Context<'c>,
}

impl ObjectValue for MutationRoot<'_> {
    fn type_name(&self) -> &str {
        "Mutation"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        let ctx = self.ctx;
        let Some(RootField::Mutate(model, kind)) = ctx.compiled.root(info.field_name()) else {
            return Err(self.unknown_field_error(info));
        };
        ctx.begin_mutation(info.response_key())?;
        ctx.check_denied("Mutation", info.field_name())?;
        ctx.charge(info.chosen.object_bytes)?;
        let plan = ctx.compiled.model(model);
        let arguments = ctx.arguments(info)?;
        let empty = JsonMap::new();
        let given = arguments
            .get("input")
            .and_then(JsonValue::as_object)
            .unwrap_or(&empty);
        let condition = ctx.filter(&arguments, "condition")?;
        let (key, mut write) = plan_write(ctx, plan, *kind, given)?;
        check_key_lengths(ctx, plan, &key)?;
        let asked = asked_mutation(plan, *kind, info.field_name());
        // Every round of a conflict comes by here, so whoever waits for a handler is judged by the record as it is now.
        ctx.check_write(asked, given, arguments.get("condition"), &key, &mut write)?;
        let writer = ctx.writer.expect("mutations run inside a write transaction");
        let written = write.kind();
        let mut outcome = writer
            .write(plan, &key, write, condition.as_ref())
            .map_err(|error| ctx.die(error))?;
        if let Outcome::Asked { new, existing } = outcome {
            outcome = match settled(ctx, plan, info, &arguments, &new, &existing)? {
                Some(write) => writer
                    .write(plan, &key, write, None)
                    .map_err(|error| ctx.die(error))?,
                None => {
                    let refused = Outcome::Conflict(*existing);
                    ctx.reading.store.tally.wrote(written, &refused);
                    refused
                }
            };
        }
        self.answer(asked, *kind, outcome, info)
    }
}

impl<'c> MutationRoot<'c> {
    fn answer<'a>(
        &'a self,
        asked: Asked<'a>,
        kind: MutationKind,
        outcome: Outcome,
        info: &'a ResolveInfo<'a>,
    ) -> Result<Resolved<'a>, FieldError> {
        let (ctx, plan) = (self.ctx, asked.plan);
        let record = |item| {
            Resolved::object(RecordObject {
                ctx,
                plan,
                operation: asked.operation,
                item: Cow::Owned(item),
            })
        };
        match outcome {
            Outcome::Written(item) => {
                ctx.tell(info, plan.name(), kind, ctx.facts(plan, &item));
                Ok(record(item))
            }
            Outcome::Kept(item) => Ok(record(item)),
            Outcome::ConditionFailed => {
                let message = ctx.dynamodb_message("The conditional request failed");
                Err(ctx.fault(Fault::new("ConditionalCheckFailedException", message)))
            }
            Outcome::Asked { .. } => panic!("what a handler decided was to be decided by a handler again"),
            Outcome::TooLarge => {
                let message = ctx.dynamodb_message("Item size has exceeded the maximum allowed size");
                Err(ctx.fault(Fault::new("DynamoDbException", message)))
            }
            Outcome::Conflict(item) => {
                let data = match &info.chosen.form {
                    Form::Object(selected) => cut(ctx, asked, &item, selected),
                    _ => JsonMap::new(),
                };
                let fault = Fault::new("ConflictUnhandled", "Conflict resolver rejects mutation.");
                Err(ctx.fault(Fault {
                    data: JsonValue::Object(data),
                    ..fault
                }))
            }
        }
    }
}

/// Longest value of a partition key, in bytes (DynamoDB).
const PARTITION_BYTES_MAX: usize = 2_048;

/// Longest value of a sort key, in bytes (DynamoDB); several fields are joined to one.
const SORT_BYTES_MAX: usize = 1_024;

/// Refuses keys that are longer than DynamoDB's; indexes here take values of any length.
fn check_key_lengths(ctx: &Context<'_>, plan: &ModelPlan, key: &Attributes) -> Result<(), FieldError> {
    let length = |field: &landfall_core::FieldName| {
        let value = key.get(field.as_str());
        value.and_then(Value::as_str).map_or(0, str::len)
    };
    let sort: usize = plan.key.sort.iter().map(|field| length(field) + 1).sum();
    for (name, length, most) in [
        ("hashkey", length(&plan.key.partition), PARTITION_BYTES_MAX),
        ("rangekey", sort.saturating_sub(1), SORT_BYTES_MAX),
    ] {
        if length > most {
            let what = format!(
                "One or more parameter values were invalid: Size of {name} has exceeded the maximum size limit of {most} bytes"
            );
            return Err(ctx.fault(Fault::new("DynamoDbException", ctx.dynamodb_message(&what))));
        }
    }
    Ok(())
}

/// The write that a handler made of a conflict; `None` if it refused.
fn settled(
    ctx: &Context<'_>,
    plan: &ModelPlan,
    info: &ResolveInfo<'_>,
    arguments: &Arguments<'_>,
    new: &Item,
    existing: &Item,
) -> Result<Option<Write>, FieldError> {
    let response_key = info.response_key();
    let version = existing.version;
    let round = ctx.conflicts.expect("mutations know their round");
    let failed = |why: &HandlerFailed| ctx.fault(Fault::new("ConflictError", why.to_string()));
    match round.answer(response_key, version) {
        Some(Ok(Resolution::Resolve(item))) => {
            let attributes = settle::attributes_of(ctx.schema(), plan, item, &existing.attributes);
            Ok(Some(Write::Settle {
                attributes: Some(attributes.map_err(|why| failed(&why))?),
                version,
            }))
        }
        Some(Ok(Resolution::Remove)) => Ok(Some(Write::Settle {
            attributes: None,
            version,
        })),
        Some(Ok(Resolution::Reject)) => Ok(None),
        Some(Err(why)) => Err(failed(why)),
        None if round.is_last => {
            let message = "The record changed each time before its conflict could be resolved.";
            Err(ctx.fault(Fault::new("MaxConflicts", message)))
        }
        None => {
            let call = settle::call_of(plan, info.field_name(), new, existing, arguments, ctx.caller);
            round.ask(response_key, version, plan.name(), call);
            // The round ends here whatever its answer is.
            Err(ctx.fault(Fault::new("MaxConflicts", "The conflict handler was not asked.")))
        }
    }
}

/// The stored record cut down to the selection. Relations are not followed: AppSync filters the bare item.
fn cut(ctx: &Context<'_>, asked: Asked<'_>, item: &Item, selected: &Selected) -> JsonMap {
    let plan = asked.plan;
    let mut data = JsonMap::with_capacity(selected.fields.len());
    for chosen in &selected.fields {
        if ctx.charge(member_bytes(chosen.field())).is_err() {
            break;
        }
        let name = chosen.field().name.as_str();
        let value = match plan.attributes.get(name) {
            _ if ctx.shown(plan, asked.operation, item, name) != Shown::Yes => JsonValue::Null,
            Some(def) => {
                let value = item.attributes.get(name).unwrap_or(&Value::Null);
                let shown = shown_value(plan, name, value);
                cut_value(ctx, def, shown.as_ref().unwrap_or(value), &chosen.form)
            }
            None if chosen.source == Source::TypeName => JsonValue::from(plan.name().as_str()),
            None => metadata(item, name).map_or(JsonValue::Null, |value| json_of(&value)),
        };
        data.insert(chosen.key.as_str(), value);
    }
    data
}

fn cut_value(ctx: &Context<'_>, def: &FieldDef, value: &Value, form: &Form) -> JsonValue {
    match (&def.ty, value) {
        (_, Value::List(items)) if def.list.is_some() => {
            let items = items.iter().map(|item| cut_value(ctx, def, item, form));
            JsonValue::Array(items.collect())
        }
        (FieldType::NonModel(name), Value::Object(members)) => {
            let (Some(embedded), Form::Object(selected)) = (ctx.schema().non_model(name), form) else {
                return JsonValue::Null;
            };
            let mut data = JsonMap::with_capacity(selected.fields.len());
            for chosen in &selected.fields {
                if ctx.charge(member_bytes(chosen.field())).is_err() {
                    break;
                }
                let member = chosen.field().name.as_str();
                let denied = is_denied(ctx.caller, name, member);
                let value = members.get(member).filter(|_| !denied).unwrap_or(&Value::Null);
                let value = match embedded.fields.get(member) {
                    Some(def) => cut_value(ctx, def, value, &chosen.form),
                    None if chosen.source == Source::TypeName => JsonValue::from(name.as_str()),
                    None => JsonValue::Null,
                };
                data.insert(chosen.key.as_str(), value);
            }
            JsonValue::Object(data)
        }
        (_, value) => {
            let value = leaf(def, value);
            // Nothing of it is answered once the request ran out.
            match ctx.charge(leaf_bytes(&value)) {
                Ok(()) => json_of(&value),
                Err(_) => JsonValue::Null,
            }
        }
    }
}

/// The key and the write that an input asks for.
fn plan_write(
    ctx: &Context<'_>,
    plan: &ModelPlan,
    kind: MutationKind,
    given: &JsonMap,
) -> Result<(Attributes, Write), FieldError> {
    let mut values = Attributes::new();
    for (name, json) in given {
        if let Some(field) = plan.attributes.get(name.as_str()) {
            values.insert(name.as_str().to_owned(), input::stored(ctx.schema(), field, json));
        }
    }
    // No version counts as version 0, which no stored record has.
    let version = given.get(VERSION).and_then(JsonValue::as_i64);
    let known_version = version
        .and_then(|version| u64::try_from(version).ok())
        .unwrap_or(0);
    let now = iso_time(ctx.reading.now_ms);
    match kind {
        MutationKind::Create => {
            if version.is_some() && ctx.config.switches.version_in_create == VersionInCreate::BadRequest {
                let message = "Sync metadata must not be part of the input of a create.";
                return Err(ctx.fault(Fault::new("BadRequest", message)));
            }
            let attributes = complete(ctx, plan, values, &now);
            Ok((key_of(plan, &attributes), Write::Create { attributes }))
        }
        MutationKind::Update => {
            let key = key_of(plan, &values);
            values.retain(|name, _| !plan.is_key(name));
            let mut changes: Changes = values
                .into_iter()
                .map(|(name, value)| (name, (!value.is_null()).then_some(value)))
                .collect();
            if let Some(field) = &plan.def.timestamps.updated_at {
                changes
                    .entry(field.to_string())
                    .or_insert_with(|| Some(now.into()));
            }
            Ok((
                key,
                Write::Update {
                    changes,
                    version: known_version,
                },
            ))
        }
        MutationKind::Delete => Ok((
            key_of(plan, &values),
            Write::Delete {
                version: known_version,
            },
        )),
    }
}

fn key_of(plan: &ModelPlan, values: &Attributes) -> Attributes {
    let field =
        |name: &landfall_core::FieldName| Some((name.to_string(), values.get(name.as_str())?.clone()));
    plan.key.fields().filter_map(field).collect()
}

/// A create's attributes with what the server adds.
fn complete(ctx: &Context<'_>, plan: &ModelPlan, mut values: Attributes, now: &str) -> Attributes {
    for field in plan.attributes.values() {
        let name = field.name.as_str();
        let absent = values.get(name).is_none_or(Value::is_null);
        if absent && plan.is_key(name) && made_by_server(plan, field) {
            values.insert(name.to_owned(), ctx.uuid().into());
        } else if absent && let Some(default) = input::default_value(field) {
            values.insert(name.to_owned(), default);
        }
    }
    let timestamps = &plan.def.timestamps;
    for field in [&timestamps.created_at, &timestamps.updated_at]
        .into_iter()
        .flatten()
    {
        if values.get(field.as_str()).is_none_or(Value::is_null) {
            values.insert(field.to_string(), now.into());
        }
    }
    let indexed = |name: &str| {
        plan.indexes
            .iter()
            .any(|index| index.key.fields().any(|field| field == name))
    };
    let nulls_stored = ctx.config.switches.null_in_create == NullInCreate::Stored;
    // DynamoDB takes no null in a field of an index.
    values.retain(|name, value| !value.is_null() || (nulls_stored && !indexed(name)));
    values
}

/// A time as the managed timestamps have it: UTC, three digits of fraction.
pub(crate) fn iso_time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => DateTimePrinter::new()
            .precision(Some(3))
            .timestamp_to_string(&time),
        // Ten thousand years off: the clock is wrong, and no text can say it.
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_timestamps_have_three_digits_of_fraction() {
        assert_eq!(iso_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(iso_time(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(iso_time(i64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
