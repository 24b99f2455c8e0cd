//! What the walk over a selection is answered with: records, connections, embedded objects.
//!
//! Owns the resolution of their fields and the form of values on their way out. Reading goes through the context, which
//! counts it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use landfall_core::{FieldDef, FieldType, NonModelDef, Scalar, Value};

use super::context::Context;
use super::guard::{Shown, asked, shown_value};
use super::input;
use super::query;
use super::walk::{FieldError, ObjectValue, ResolveInfo, Resolved};
use crate::auth::Operation;
use crate::compile::{ModelPlan, RelationPlan};
use crate::item::{Attributes, DELETED, Item, LAST_CHANGED_AT, VERSION};
use crate::store::Reading;

/// A record of a model.
pub(super) struct RecordObject<'c> {
    pub(super) ctx: &'c Context<'c>,
    pub(super) plan: &'c ModelPlan,
    /// What it was reached by, which decides which of its fields are shown.
    pub(super) operation: Operation,
    pub(super) item: Cow<'c, Item>,
}

/// A page of records.
pub(super) struct ConnectionObject<'c> {
    pub(super) ctx: &'c Context<'c>,
    pub(super) plan: &'c ModelPlan,
    pub(super) type_name: String,
    pub(super) operation: Operation,
    pub(super) items: Vec<Item>,
    pub(super) next_token: Option<String>,
    pub(super) started_at_ms: Option<i64>,
}

/// An object of a non-model type.
struct EmbeddedObject<'c> {
    ctx: &'c Context<'c>,
    def: &'c NonModelDef,
    members: &'c BTreeMap<String, Value>,
}

impl ObjectValue for RecordObject<'_> {
    fn type_name(&self) -> &str {
        self.plan.name()
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        let name = info.field_name();
        match self.ctx.shown(self.plan, self.operation, &self.item, name) {
            Shown::Yes => {}
            Shown::Redacted => return Ok(Resolved::null()),
            Shown::Refused => return Err(self.ctx.unauthorized(name, self.plan.name())),
        }
        if let Some(field) = self.plan.attributes.get(name) {
            let value = self.item.attributes.get(name).unwrap_or(&Value::Null);
            return Ok(match shown_value(self.plan, name, value) {
                Some(value) => owned(self.ctx, value)?,
                None => resolved(self.ctx, field, value, info)?,
            });
        }
        if let Some(leaf) = metadata(&self.item, name) {
            return self.ctx.leaf(Cow::Owned(leaf));
        }
        match self.plan.relations.get(name) {
            Some(relation) => self.follow(name, relation, info),
            None => Err(self.unknown_field_error(info)),
        }
    }
}

/// A metadata field; `_deleted` is null on live records.
pub(super) fn metadata(item: &Item, name: &str) -> Option<Value> {
    Some(match name {
        VERSION => Value::Int(i64::try_from(item.version).unwrap_or(i64::MAX)),
        LAST_CHANGED_AT => Value::Int(item.last_changed_at_ms),
        DELETED if item.deleted => Value::Bool(true),
        DELETED => Value::Null,
        _ => return None,
    })
}

impl<'c> RecordObject<'c> {
    fn follow<'a>(
        &'a self,
        name: &str,
        relation: &RelationPlan,
        info: &'a ResolveInfo<'a>,
    ) -> Result<Resolved<'a>, FieldError> {
        let ctx = self.ctx;
        let own_key = || -> Option<Vec<Value>> {
            self.plan
                .key
                .fields()
                .map(|field| self.item.attributes.get(field.as_str()).cloned())
                .collect()
        };
        let other = ctx.compiled.model(relation.model());
        if ctx.redacts_relation(self.plan, other, info.field_name()) {
            return Ok(Resolved::null());
        }
        match relation {
            RelationPlan::ByKey { sources, .. } => {
                let mut key = Attributes::new();
                for (source, field) in sources.iter().zip(other.key.fields()) {
                    match self.item.attributes.get(source.as_str()) {
                        None | Some(Value::Null) => return Ok(Resolved::null()),
                        Some(value) => key.insert(field.to_string(), value.clone()),
                    };
                }
                let one = asked(other, Operation::Get, info, self.plan.name());
                let item = ctx.visible_record(one, || ctx.read(|reading| reading.get(other, &key)))?;
                record(ctx, other, item, info)
            }
            RelationPlan::OneByIndex { index, .. } => {
                let index = other
                    .index(index)
                    .expect("relations name indexes that are planned");
                let condition =
                    own_key().and_then(|values| input::foreign_key_condition(&index.key, &values));
                let Some(condition) = condition else {
                    return Ok(Resolved::null());
                };
                let first = || {
                    let read = |reading: &Reading<'c>| {
                        reading.query(other, Some(index), &condition, &query::first(1))
                    };
                    // One row, hidden or not; were it charged, it would show.
                    Ok(ctx.read(read)?.items.into_iter().next())
                };
                let one = asked(other, Operation::Get, info, self.plan.name());
                let item = ctx.visible_record(one, first)?;
                record(ctx, other, item, info)
            }
            RelationPlan::ManyByIndex { index, .. } => {
                let index = other
                    .index(index)
                    .expect("relations name indexes that are planned");
                let condition =
                    own_key().and_then(|values| input::foreign_key_condition(&index.key, &values));
                let many = asked(other, Operation::List, info, self.plan.name());
                query::related(ctx, many, index, condition, self.plan.page_limit(name), info)
            }
        }
    }
}

fn record<'c>(
    ctx: &'c Context<'c>,
    plan: &'c ModelPlan,
    item: Option<Item>,
    info: &ResolveInfo<'_>,
) -> Result<Resolved<'c>, FieldError> {
    ctx.charge(info.chosen.object_bytes)?;
    Ok(Resolved::nullable_object(item.map(|item| RecordObject {
        ctx,
        plan,
        operation: Operation::Get,
        item: Cow::Owned(item),
    })))
}

impl ObjectValue for ConnectionObject<'_> {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        self.ctx.check_denied(&self.type_name, info.field_name())?;
        match info.field_name() {
            "items" => {
                let each = info.chosen.object_bytes;
                // A request that ran out gets no more rows; its answer is refused as a whole.
                Ok(Resolved::list(self.items.iter().map_while(move |item| {
                    self.ctx.charge(each).ok()?;
                    Some(Resolved::object(RecordObject {
                        ctx: self.ctx,
                        plan: self.plan,
                        operation: self.operation,
                        item: Cow::Borrowed(item),
                    }))
                })))
            }
            "nextToken" => {
                let token = self.next_token.clone().map_or(Value::Null, Value::String);
                self.ctx.leaf(Cow::Owned(token))
            }
            "startedAt" => {
                let started_at_ms = self.started_at_ms.map_or(Value::Null, Value::Int);
                self.ctx.leaf(Cow::Owned(started_at_ms))
            }
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

impl ObjectValue for EmbeddedObject<'_> {
    fn type_name(&self) -> &str {
        &self.def.name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        self.ctx.check_denied(&self.def.name, info.field_name())?;
        match self.def.fields.get(info.field_name()) {
            Some(field) => {
                let value = self.members.get(info.field_name()).unwrap_or(&Value::Null);
                resolved(self.ctx, field, value, info)
            }
            None => Err(self.unknown_field_error(info)),
        }
    }
}

/// A value that was made of a stored one.
fn owned<'c>(ctx: &'c Context<'c>, value: Value) -> Result<Resolved<'c>, FieldError> {
    match value {
        Value::List(items) => Ok(Resolved::list(
            items
                .into_iter()
                .map_while(|item| ctx.leaf(Cow::Owned(item)).ok()),
        )),
        value => ctx.leaf(Cow::Owned(value)),
    }
}

/// A stored value as the walk takes it.
fn resolved<'c>(
    ctx: &'c Context<'c>,
    field: &'c FieldDef,
    value: &'c Value,
    info: &ResolveInfo<'_>,
) -> Result<Resolved<'c>, FieldError> {
    // What an object of the list is charged; scalars have no selection.
    let each = info.chosen.object_bytes;
    match value {
        Value::Null => ctx.leaf(Cow::Borrowed(value)),
        Value::List(items) if field.list.is_some() => {
            Ok(Resolved::list(items.iter().map_while(move |item| {
                resolved_one(ctx, field, item, each).ok()
            })))
        }
        value => resolved_one(ctx, field, value, each),
    }
}

fn resolved_one<'c>(
    ctx: &'c Context<'c>,
    field: &'c FieldDef,
    value: &'c Value,
    each: usize,
) -> Result<Resolved<'c>, FieldError> {
    match (&field.ty, value) {
        (FieldType::NonModel(name), Value::Object(members)) => {
            ctx.charge(each)?;
            Ok(match ctx.schema().non_model(name) {
                Some(def) => Resolved::object(EmbeddedObject { ctx, def, members }),
                None => Resolved::null(),
            })
        }
        (_, value) => ctx.leaf(leaf(field, value)),
    }
}

/// A scalar on its way out: `AWSJSON` is printed as a string, whole floats stay floats.
pub(super) fn leaf<'v>(field: &FieldDef, value: &'v Value) -> Cow<'v, Value> {
    match (&field.ty, value) {
        (_, Value::Null) => Cow::Borrowed(value),
        (FieldType::Scalar(Scalar::AwsJson), value) => Cow::Owned(Value::String(value.to_string())),
        #[allow(clippy::cast_precision_loss)] // GraphQL's Float is a double.
        (FieldType::Scalar(Scalar::Float), Value::Int(int)) => Cow::Owned(Value::Float(*int as f64)),
        (_, value) => Cow::Borrowed(value),
    }
}
