//! Root fields that read: get, list, sync, index queries; and the pages of relations.
//!
//! Owns paging with tokens. Which rows a base sync reads is chosen in `access.rs`.

use std::borrow::Cow;

use apollo_compiler::response::{JsonMap, JsonValue};

use super::access::Access;
use super::coerce::Arguments;
use super::context::Context;
use super::errors::Fault;
use super::guard::{Asked, asked};
use super::input;
use super::objects::{ConnectionObject, RecordObject};
use super::walk::{FieldError, ObjectValue, ResolveInfo, Resolved};
use crate::auth::Operation;
use crate::compile::{IndexPlan, KeyPlan, ModelPlan, RootField, sort_argument_name};
use crate::filter::Filter;
use crate::item::Attributes;
use crate::store::{KeyCondition, PageOf, PageRequest, Reading, SortCondition};
use crate::sync::{PageToken, SyncSource, choose_source, page_limit};

/// How far a page reads over rows that its caller must not know of, in bytes as stored. Only beyond it does a page end
/// early, with a token that tells how much is hidden; it costs some tenth of a second.
const HIDDEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The root of queries.
pub(super) struct QueryRoot<'c> {
    pub(super) ctx: &'c Context<'c>,
    /// `startedAt` of syncs that begin with this request.
    pub(super) started_at_ms: i64,
}

impl ObjectValue for QueryRoot<'_> {
    fn type_name(&self) -> &str {
        "Query"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        let ctx = self.ctx;
        ctx.check_denied("Query", info.field_name())?;
        let arguments = ctx.arguments(info)?;
        // The page or record that the field answers with.
        ctx.charge(info.chosen.object_bytes)?;
        match ctx.compiled.root(info.field_name()) {
            Some(RootField::Get(model)) => {
                let plan = ctx.compiled.model(model);
                get(ctx, asked(plan, Operation::Get, info, "Query"), &arguments)
            }
            Some(RootField::List(model)) => {
                let plan = ctx.compiled.model(model);
                list(ctx, asked(plan, Operation::List, info, "Query"), &arguments)
            }
            Some(RootField::Sync(model)) => {
                let plan = ctx.compiled.model(model);
                self.sync(asked(plan, Operation::Sync, info, "Query"), &arguments)
            }
            Some(RootField::IndexQuery(model, index)) => {
                let plan = ctx.compiled.model(model);
                let index = plan
                    .index(index)
                    .expect("query fields name indexes that are planned");
                index_query(
                    ctx,
                    asked(plan, Operation::List, info, "Query"),
                    index,
                    &arguments,
                )
            }
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

fn get<'c>(
    ctx: &'c Context<'c>,
    asked: Asked<'c>,
    arguments: &Arguments<'_>,
) -> Result<Resolved<'c>, FieldError> {
    let plan = asked.plan;
    // Whoever may not read a field of the key may not guess it either: a record that is not found by it and one that must
    // not be found look the same.
    let keys = plan.key.fields().map(ToString::to_string);
    let by_key = ctx.protected(asked, keys)?;
    let mut key = Attributes::new();
    for field in plan.key.fields() {
        let Some(value) = input::key_value(ctx.schema(), plan, field, arguments) else {
            return Ok(Resolved::null());
        };
        key.insert(field.to_string(), value);
    }
    let found = || {
        let item = ctx.read(|reading| reading.get(plan, &key))?;
        Ok(item.filter(|item| by_key.as_ref().is_none_or(|visible| visible.matches(item))))
    };
    let item = ctx.visible_record(asked, found)?;
    Ok(Resolved::nullable_object(item.map(|item| RecordObject {
        ctx,
        plan,
        operation: asked.operation,
        item: Cow::Owned(item),
    })))
}

fn list<'c>(
    ctx: &'c Context<'c>,
    asked: Asked<'c>,
    arguments: &Arguments<'_>,
) -> Result<Resolved<'c>, FieldError> {
    let plan = asked.plan;
    let given = |name: &str| arguments.get(name).is_some_and(|value| !value.is_null());
    if given("filter") && is_blank(arguments) {
        return Err(ctx.fault(Fault::new(
            "Unrecognized Filter",
            "Unable to process the filter expression",
        )));
    }
    let condition = key_condition(ctx, plan, &plan.key, arguments)?;
    // A condition on the key compares its fields, and rows come in their order.
    let by = condition.as_ref().map(|_| &plan.key);
    let mut paging = Paging::read(ctx, asked, by, "", arguments)?;
    let Some(condition) = condition else {
        let partition = &plan.key.partition;
        for dependent in sort_argument_name(&plan.key)
            .iter()
            .map(String::as_str)
            .chain(["sortDirection"])
        {
            if given(dependent) {
                let message = format!(
                    "When providing argument '{dependent}' you must also provide arguments '{partition}'."
                );
                return Err(ctx.fault(Fault::new("InvalidArgumentsError", message)));
            }
        }
        paging.descending = false;
        return paging.connection(ctx, plan, |reading, request| reading.scan(plan, request));
    };
    paging.connection(ctx, plan, |reading, request| {
        reading.query(plan, None, &condition, request)
    })
}

/// Whether the filter has members but compares nothing.
fn is_blank(arguments: &Arguments<'_>) -> bool {
    let filter = arguments.get("filter");
    filter
        .and_then(JsonValue::as_object)
        .is_some_and(|filter| !filter.is_empty())
        && filter.is_some_and(|filter| Filter::read(filter) == Ok(None))
}

fn index_query<'c>(
    ctx: &'c Context<'c>,
    asked: Asked<'c>,
    index: &'c IndexPlan,
    arguments: &Arguments<'_>,
) -> Result<Resolved<'c>, FieldError> {
    let plan = asked.plan;
    let paging = Paging::read(ctx, asked, Some(&index.key), "", arguments)?;
    let Some(condition) = key_condition(ctx, plan, &index.key, arguments)? else {
        return Ok(Resolved::null());
    };
    paging.connection(ctx, plan, |reading, request| {
        reading.query(plan, Some(index), &condition, request)
    })
}

/// The page of a has-many relation.
pub(super) fn related<'c>(
    ctx: &'c Context<'c>,
    asked: Asked<'c>,
    index: &'c IndexPlan,
    condition: Option<KeyCondition>,
    page_limit: Option<usize>,
    info: &ResolveInfo<'_>,
) -> Result<Resolved<'c>, FieldError> {
    let plan = asked.plan;
    let arguments = ctx.arguments(info)?;
    ctx.charge(info.chosen.object_bytes)?;
    let scope = format!("{}.{} {condition:?}", plan.name(), index.name);
    let mut paging = Paging::read(ctx, asked, Some(&index.key), &scope, &arguments)?;
    if let Some(page_limit) = page_limit.filter(|_| arguments.get("limit").is_none_or(JsonValue::is_null)) {
        paging.limit = page_limit.min(ctx.config.limits.page_max);
    }
    let Some(mut condition) = condition else {
        return paging.connection(ctx, plan, |_, _| Ok(PageOf::default()));
    };
    // With a foreign key of one field the index's sort key is the caller's to choose.
    if condition.sort.is_none() {
        condition.sort = sort_condition(ctx, plan, &index.key, &arguments)?;
    }
    paging.connection(ctx, plan, |reading, request| {
        reading.query(plan, Some(index), &condition, request)
    })
}

fn key_condition(
    ctx: &Context<'_>,
    plan: &ModelPlan,
    key: &KeyPlan,
    arguments: &Arguments<'_>,
) -> Result<Option<KeyCondition>, FieldError> {
    let Some(partition) = input::key_value(ctx.schema(), plan, &key.partition, arguments) else {
        return Ok(None);
    };
    let sort = sort_condition(ctx, plan, key, arguments)?;
    Ok(Some(KeyCondition { partition, sort }))
}

fn sort_condition(
    ctx: &Context<'_>,
    plan: &ModelPlan,
    key: &KeyPlan,
    arguments: &Arguments<'_>,
) -> Result<Option<SortCondition>, FieldError> {
    input::sort_condition(ctx.schema(), plan, key, arguments).map_err(|_| {
        let what = "Invalid KeyConditionExpression: a sort key takes one operator with its operands";
        ctx.fault(Fault::new("DynamoDbException", ctx.dynamodb_message(what)))
    })
}

/// The first rows, all of them wanted.
pub(super) fn first(limit: usize) -> PageRequest<'static> {
    PageRequest {
        after: None,
        limit,
        visible: None,
        hidden_bytes: 0,
        goes_on: None,
        filter: None,
        descending: false,
    }
}

impl<'c> QueryRoot<'c> {
    fn sync(&self, asked: Asked<'c>, arguments: &Arguments<'_>) -> Result<Resolved<'c>, FieldError> {
        let (ctx, plan) = (self.ctx, asked.plan);
        let filter = ctx.filter(arguments, "filter")?;
        let access = Access::choose(plan, filter.as_ref(), |field| {
            ctx.may_order_by(asked, arguments.get("filter"), field)
        });
        let mut paging = Paging::read(ctx, asked, None, access.name(), arguments)?;
        let last_sync_ms = arguments.get("lastSync").and_then(JsonValue::as_i64);
        let (source, started_at_ms) = match &paging.token {
            Some(token) => match (token.source, token.started_at_ms) {
                (Some(source), Some(started_at_ms)) => (source, started_at_ms),
                _ => return Err(bad_token(ctx)),
            },
            None => {
                let ttl = ctx.config.delta_ttl_minutes;
                (
                    choose_source(last_sync_ms, self.started_at_ms, ttl, &ctx.config.switches),
                    self.started_at_ms,
                )
            }
        };
        let model = plan.name().as_str();
        paging.sync = Some((source, started_at_ms));
        match source {
            SyncSource::Delta { since_ms } => {
                tracing::debug!(model, source = "delta", since_ms, "sync");
                paging.connection(ctx, plan, |reading, request| {
                    reading.changes(plan, since_ms, request)
                })
            }
            SyncSource::Base => {
                tracing::debug!(
                    model,
                    source = "base",
                    operation = if access.is_query() { "Query" } else { "Scan" },
                    key = access.name(),
                    by_sort_key = access.is_sorted(),
                    "sync"
                );
                paging.connection(ctx, plan, |reading, request| access.read(reading, plan, request))
            }
        }
    }
}

/// The paging arguments of a field.
struct Paging {
    scope: String,
    operation: Operation,
    /// Which rows there are for the caller.
    visible: Option<Filter>,
    limit: usize,
    filter: Option<Filter>,
    descending: bool,
    token: Option<PageToken>,
    /// Source and `startedAt`, for sync queries.
    sync: Option<(SyncSource, i64)>,
}

impl Paging {
    fn read<'c>(
        ctx: &'c Context<'c>,
        asked: Asked<'c>,
        by: Option<&KeyPlan>,
        detail: &str,
        arguments: &Arguments<'_>,
    ) -> Result<Self, FieldError> {
        let keys = by.into_iter().flat_map(KeyPlan::fields);
        let visible = ctx.visible_rows(asked, arguments.get("filter"), keys.map(ToString::to_string))?;
        let asked_limit = arguments.get("limit").and_then(JsonValue::as_i64);
        let limit = page_limit(asked_limit, &ctx.config.limits, &ctx.config.switches).ok_or_else(|| {
            let most = ctx.config.limits.page_max;
            ctx.fault(Fault::new(
                "BadRequest",
                format!("Value for field '$[limit]' must be between 1 and {most}."),
            ))
        })?;
        let filter = ctx.filter(arguments, "filter")?;
        let scope = scope(asked.field, detail, arguments);
        let token = match arguments.get("nextToken").and_then(JsonValue::as_str) {
            Some(text) => {
                let token = PageToken::open(text, &scope, ctx.token_key, ctx.reading.now_ms);
                Some(token.ok_or_else(|| bad_token(ctx))?)
            }
            None => None,
        };
        let descending = arguments.get("sortDirection").and_then(JsonValue::as_str) == Some("DESC");
        Ok(Self {
            scope,
            operation: asked.operation,
            visible,
            limit,
            filter,
            descending,
            token,
            sync: None,
        })
    }

    fn connection<'c>(
        self,
        ctx: &'c Context<'c>,
        plan: &'c ModelPlan,
        read: impl FnOnce(&Reading<'c>, &PageRequest<'_>) -> Result<PageOf, crate::error::BackendError>,
    ) -> Result<Resolved<'c>, FieldError> {
        let goes_on = || ctx.goes_on_hidden();
        let request = PageRequest {
            after: self.token.as_ref().map(|token| token.position.as_slice()),
            limit: self.limit,
            visible: self.visible.as_ref(),
            hidden_bytes: HIDDEN_BYTES_MAX,
            goes_on: Some(&goes_on),
            filter: self.filter.as_ref(),
            descending: self.descending,
        };
        let page = ctx.read_page(|reading| read(reading, &request))?;
        let started_at_ms = self.sync.map(|(_, started_at_ms)| started_at_ms);
        let next_token = page.next.map(|position| {
            let token = PageToken {
                position,
                source: self.sync.map(|(source, _)| source),
                started_at_ms,
            };
            token.seal(&self.scope, ctx.token_key)
        });
        let type_name = format!("Model{}Connection", plan.name());
        let connection = ConnectionObject {
            ctx,
            plan,
            type_name,
            operation: self.operation,
            items: page.items,
            next_token,
            started_at_ms,
        };
        Ok(Resolved::object(connection))
    }
}

/// What a token is bound to: everything that decides which rows come in which order.
fn scope(field: &str, detail: &str, arguments: &Arguments<'_>) -> String {
    let mut bound = JsonMap::new();
    for (name, value) in arguments.iter().filter(|(_, value)| !value.is_null()) {
        if !matches!(name, "limit" | "nextToken" | "lastSync") {
            bound.insert(name, value.clone());
        }
    }
    bound.sort_keys();
    format!("{field} {detail} {}", JsonValue::Object(bound))
}

fn bad_token(ctx: &Context<'_>) -> FieldError {
    let message = "com.amazonaws.deepdish.common.pagination.InvalidPaginationTokenException: Invalid pagination token given.";
    ctx.fault(Fault::new("UserIllegalArgumentException", message))
}
