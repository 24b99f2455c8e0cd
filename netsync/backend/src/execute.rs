//! Running GraphQL operations over the store.
//!
//! Owns the execution of prepared requests, the answers in AppSync's form, and the messages that mutations have for
//! subscribers. Does not know HTTP or sockets.
//!
//! Invariants: 1. a refused mutation has no message; 2. an answer is made of the same transaction that its writes are in.

mod access;
mod coerce;
mod context;
mod documents;
mod errors;
mod guard;
mod input;
mod locate;
mod meter;
mod mutation;
mod objects;
mod payload;
mod query;
mod scalars;
mod settle;
mod validation;

use std::sync::Mutex;

use apollo_compiler::executable::{OperationType, Selection};
use apollo_compiler::resolvers::{Execution, ObjectValue};
use apollo_compiler::response::{GraphQLError, JsonMap, JsonValue, ResponseDataPathSegment};
use apollo_compiler::{ExecutableDocument, Name};
use landfall_core::{ModelName, MutationKind};

use crate::auth::{Caller, ModelRules};
use crate::compile::{CompiledSchema, RootField};
use crate::config::BackendConfig;
use crate::entropy::Entropy;
use crate::error::BackendError;
use crate::hash::HashKey;
use crate::item::Attributes;
use crate::store::{Reading, Session};

use context::Context;
use errors::Location;

pub(crate) use documents::{Documents, Prepared, RequestFault};
pub(crate) use errors::ErrorEntry;
pub(crate) use guard::{denied_by_authorizer, goes_with_row, is_denied};
pub use meter::CallerGone;
pub(crate) use mutation::iso_time;
pub(crate) use payload::Viewer;
pub(crate) use settle::{ConflictRound, Question};

/// What execution needs beside the request.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'c> {
    pub(crate) compiled: &'c CompiledSchema,
    pub(crate) config: &'c BackendConfig,
    pub(crate) entropy: &'c Mutex<Box<dyn Entropy>>,
    /// Key that binds page tokens.
    pub(crate) token_key: &'c HashKey,
    /// Who is calling.
    pub(crate) caller: &'c Caller,
    /// The rules of models that have none.
    pub(crate) implied: &'c ModelRules,
    /// Whether the caller still waits.
    pub(crate) gone: &'c CallerGone,
    /// What passing over hidden rows is timed by; without it that ends when the caller is gone.
    pub(crate) stopwatch: Option<Stopwatch>,
}

/// Milliseconds since some moment; never goes back.
pub(crate) type Stopwatch = fn() -> u64;

/// The answer to a request, and what subscribers are to be told.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    /// `data`; `None` is null.
    pub(crate) data: Option<JsonMap>,
    /// `errors`.
    pub(crate) errors: Vec<ErrorEntry>,
    /// One for each mutation that took effect and has an answer, in their order.
    pub(crate) events: Vec<Event>,
    /// What was charged for the answer, in bytes.
    pub(crate) answer_bytes: usize,
}

impl Executed {
    /// The answer to a caller who does not wait for it any more.
    pub(crate) fn timed_out() -> Self {
        Self {
            errors: vec![ErrorEntry::of_request("Execution timed out.", None)],
            ..Self::default()
        }
    }
}

/// A mutation as subscribers hear of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) model: ModelName,
    pub(crate) kind: MutationKind,
    /// The record in the mutation's answer, by field name.
    pub(crate) record: JsonMap,
    /// The stored fields that decide who may hear of it, whatever the mutation selected.
    pub(crate) facts: Attributes,
}

/// Runs a query on a snapshot.
pub(crate) fn run_query(
    environment: Environment<'_>,
    prepared: &Prepared,
    reading: Reading<'_>,
    started_at_ms: i64,
) -> Result<Executed, BackendError> {
    let ctx = Context::new(environment, reading, None, &prepared.variables);
    run(
        &ctx,
        prepared,
        &query::QueryRoot {
            ctx: &ctx,
            started_at_ms,
        },
    )
}

/// Runs a mutation inside a write transaction.
pub(crate) fn run_mutation(
    environment: Environment<'_>,
    prepared: &Prepared,
    session: &Session<'_, '_>,
    conflicts: &ConflictRound,
) -> Result<Executed, BackendError> {
    let reading = Reading {
        store: session.store,
        rows: session,
        now_ms: session.now_ms,
    };
    let mut ctx = Context::new(environment, reading, Some(session), &prepared.variables);
    ctx.conflicts = Some(conflicts);
    let mut executed = run(&ctx, prepared, &mutation::MutationRoot { ctx: &ctx })?;
    refuse_cut_short(&ctx, &mut executed);
    executed.events = events(&ctx, prepared, executed.data.as_ref());
    Ok(executed)
}

/// Takes answers back that are not whole: what is left of them must be taken for a record by nobody, subscribers least.
fn refuse_cut_short(ctx: &Context<'_>, executed: &mut Executed) {
    for (key, why) in ctx.take_cut_short() {
        let of_it = |entry: &ErrorEntry| match entry.path.as_deref() {
            Some([ResponseDataPathSegment::Field(name), ..]) => *name == key.as_str(),
            _ => false,
        };
        executed.errors.retain(|entry| !of_it(entry));
        let path = Name::new(&key).map(|name| vec![ResponseDataPathSegment::Field(name)]);
        if let Some(answer) = executed.data.as_mut().and_then(|data| data.get_mut(key.as_str())) {
            *answer = JsonValue::Null;
        }
        let fault = why.fault(&ctx.config.limits);
        let entry = ErrorEntry::of_field(path.unwrap_or_default(), Vec::new(), fault);
        executed.errors.push(entry);
    }
}

fn run(ctx: &Context<'_>, prepared: &Prepared, root: &dyn ObjectValue) -> Result<Executed, BackendError> {
    let answer = Execution::new(ctx.compiled.graphql(), &prepared.document.executable)
        .operation(prepared.operation())
        .coerced_variable_values(&prepared.variables)
        .enable_schema_introspection(true)
        .execute_sync(root);
    if let Some(error) = ctx.take_fatal() {
        return Err(error);
    }
    // A page without its end must not be taken for a whole one.
    if ctx.writer.is_none()
        && let Some(why) = ctx.meter.ran_out()
    {
        return Ok(Executed {
            errors: vec![ErrorEntry::of_whole(why.fault(&ctx.config.limits))],
            ..Executed::default()
        });
    }
    Ok(match answer {
        Ok(answer) => {
            let errors = answer
                .errors
                .into_iter()
                .map(|error| entry(Some(ctx), ctx.compiled, prepared, error));
            Executed {
                errors: errors.collect(),
                data: answer.data,
                events: Vec::new(),
                answer_bytes: ctx.meter.answer_bytes(),
            }
        }
        Err(fault) => Executed {
            errors: vec![ErrorEntry::of_request(fault.message().to_string(), None)],
            ..Executed::default()
        },
    })
}

/// Translates an error of the executor.
fn entry(
    ctx: Option<&Context<'_>>,
    compiled: &CompiledSchema,
    prepared: &Prepared,
    error: GraphQLError,
) -> ErrorEntry {
    let locations: Vec<Location> = error.locations.into_iter().map(Location::from).collect();
    if let Some(fault) = ctx.and_then(|ctx| ctx.fault_of(&error.message)) {
        return ErrorEntry::of_field(error.path, locations, fault);
    }
    let at = errors::path_text(&error.path);
    let message = match error
        .message
        .strip_prefix("non-null type ")
        .and_then(|rest| rest.split(' ').next())
    {
        Some(ty) => {
            let parent = parent_type(compiled, prepared, &error.path);
            let ty = ty.trim_end_matches('!');
            format!("Cannot return null for non-nullable type: '{ty}' within parent '{parent}' ({at})")
        }
        None if error.message.starts_with("resolver returned") => {
            format!("Can't serialize value ({at}) : {}", error.message)
        }
        None => error.message,
    };
    ErrorEntry {
        path: Some(error.path),
        fault: None,
        locations: None,
        message,
    }
}

/// Name of the type that has the field at a path.
fn parent_type(compiled: &CompiledSchema, prepared: &Prepared, path: &[ResponseDataPathSegment]) -> String {
    let operation = prepared.operation();
    let document = &prepared.document.executable;
    let mut parent = operation.object_type().to_string();
    let mut sets: Vec<&[Selection]> = vec![&operation.selection_set.selections];
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|segment| match segment {
            ResponseDataPathSegment::Field(name) => Some(name.as_str()),
            ResponseDataPathSegment::ListIndex(_) => None,
        })
        .collect();
    let Some((_, above)) = keys.split_last() else {
        return parent;
    };
    for key in above {
        let mut inner = Vec::new();
        for set in &sets {
            find(document, set, key, &mut inner);
        }
        let Some((name, _)) = inner.first() else { break };
        let Ok(definition) = compiled.graphql().type_field(&parent, name) else {
            break;
        };
        parent = definition.ty.inner_named_type().to_string();
        sets = inner.into_iter().map(|(_, set)| set).collect();
    }
    parent
}

/// The fields with a response key, fragments unfolded: their names and selections.
fn find<'d>(
    document: &'d ExecutableDocument,
    set: &'d [Selection],
    key: &str,
    found: &mut Vec<(&'d str, &'d [Selection])>,
) {
    for selection in set {
        match selection {
            Selection::Field(field) if field.response_key() == key => {
                found.push((field.name.as_str(), &field.selection_set.selections));
            }
            Selection::Field(_) => {}
            Selection::InlineFragment(fragment) => {
                find(document, &fragment.selection_set.selections, key, found);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.fragment_name) {
                    find(document, &fragment.selection_set.selections, key, found);
                }
            }
        }
    }
}

fn events(ctx: &Context<'_>, prepared: &Prepared, data: Option<&JsonMap>) -> Vec<Event> {
    let (Some(data), document) = (data, &prepared.document.executable) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    for (key, answer) in data {
        let JsonValue::Object(answer) = answer else {
            continue;
        };
        let mut fields = Vec::new();
        find(
            document,
            &prepared.operation().selection_set.selections,
            key.as_str(),
            &mut fields,
        );
        let Some((name, _)) = fields.first() else { continue };
        if let Some(RootField::Mutate(model, kind)) = ctx.compiled.root(name)
            && !ctx.is_silent(key.as_str())
        {
            let sets: Vec<&[Selection]> = fields.iter().map(|(_, set)| *set).collect();
            let record = payload::by_name(document, &sets, answer);
            events.push(Event {
                model: model.clone(),
                kind: *kind,
                record,
                facts: ctx.facts_noted(key.as_str()),
            });
        }
    }
    events
}

/// A subscription's root field: what it listens to, and its arguments with variables put in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subscribed {
    /// Name of the root field.
    pub(crate) field: String,
    pub(crate) model: ModelName,
    pub(crate) kind: MutationKind,
    pub(crate) arguments: JsonMap,
}

impl Subscribed {
    /// What its arguments take in memory, in bytes.
    pub(crate) fn arguments_bytes(&self) -> usize {
        meter::held_bytes(&self.arguments)
    }
}

/// Reads a subscription operation; `None` if its root field is none of the schema's.
pub(crate) fn subscribed(compiled: &CompiledSchema, prepared: &Prepared) -> Option<Subscribed> {
    if prepared.kind() != OperationType::Subscription {
        return None;
    }
    let field = prepared
        .operation()
        .root_fields(&prepared.document.executable)
        .next()?;
    let Some(RootField::Subscribe(model, kind)) = compiled.root(&field.name) else {
        return None;
    };
    let mut arguments = JsonMap::new();
    for argument in &field.arguments {
        if let Some(value) = coerce::with_variables(&argument.value, &prepared.variables) {
            arguments.insert(argument.name.as_str(), value);
        }
    }
    Some(Subscribed {
        field: field.name.to_string(),
        model: model.clone(),
        kind: *kind,
        arguments,
    })
}

/// What a subscriber is sent: its own selection of what the mutation selected, and of that what it may see; `None` if it is
/// longer than so many bytes.
pub(crate) fn message(
    prepared: &Prepared,
    record: &JsonMap,
    viewer: &Viewer<'_>,
    bytes_max: usize,
) -> Option<Executed> {
    let meter = meter::Meter::new(bytes_max, 0, None);
    let compiled = viewer.compiled;
    let answer = Execution::new(compiled.graphql(), &prepared.document.executable)
        .operation(prepared.operation())
        .coerced_variable_values(&prepared.variables)
        .execute_sync(&payload::MessageRoot {
            record,
            viewer,
            meter: &meter,
        });
    if meter.ran_out().is_some() {
        return None;
    }
    Some(match answer {
        Ok(answer) => {
            let errors = answer
                .errors
                .into_iter()
                .map(|error| entry(None, compiled, prepared, error));
            Executed {
                errors: errors.collect(),
                data: answer.data,
                ..Executed::default()
            }
        }
        Err(fault) => Executed {
            errors: vec![ErrorEntry::of_request(fault.message().to_string(), None)],
            ..Executed::default()
        },
    })
}
