//! Running GraphQL operations over the store.
//!
//! Owns the execution of prepared requests, the answers in AppSync's form, and the messages that mutations have for
//! subscribers. Does not know HTTP or sockets.
//!
//! Invariants: 1. a refused mutation has no message; 2. an answer is made of the same transaction that its writes are in.

mod access;
mod answer;
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
mod selected;
mod settle;
mod validation;
mod walk;

use std::sync::{Arc, Mutex};

use apollo_compiler::Name;
use apollo_compiler::executable::OperationType;
use apollo_compiler::response::{JsonMap, ResponseDataPathSegment};
use landfall_core::{ModelName, MutationKind};

use crate::auth::{Caller, ModelRules};
use crate::compile::{CompiledSchema, RootField};
use crate::config::BackendConfig;
use crate::entropy::Entropy;
use crate::error::BackendError;
use crate::hash::HashKey;
use crate::item::Attributes;
use crate::store::{Reading, Session};

use answer::Answer;
use context::Context;
use selected::{Form, Selected};
use walk::{FieldError, ObjectValue, Raised, Request, Trouble, Walked};

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
#[derive(Debug)]
pub(crate) struct Executed {
    /// `data`.
    answer: Answer,
    /// `errors`.
    pub(crate) errors: Vec<ErrorEntry>,
    /// One for each mutation that took effect and has an answer, in their order.
    pub(crate) told: Vec<Told>,
    /// What subscribers are told, where that is not what the caller is answered.
    told_of: Option<Answer>,
    /// What the operation selects; `None` if it was not executed.
    selected: Option<Arc<Selected>>,
    /// What was charged for the answer, in bytes.
    pub(crate) answer_bytes: usize,
}

impl Default for Executed {
    fn default() -> Self {
        Self {
            answer: Answer::null(),
            errors: Vec::new(),
            told: Vec::new(),
            told_of: None,
            selected: None,
            answer_bytes: 0,
        }
    }
}

impl Executed {
    /// The answer to a request that failed as a whole.
    pub(crate) fn failed(why: ErrorEntry) -> Self {
        Self::refused(vec![why])
    }

    /// The same with several reasons.
    pub(crate) fn refused(errors: Vec<ErrorEntry>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }

    /// The answer to a caller who does not wait for it any more.
    pub(crate) fn timed_out() -> Self {
        Self::failed(ErrorEntry::of_request("Execution timed out.", None))
    }

    /// An error in place of the answer; subscribers are told all the same.
    pub(crate) fn answered_with(self, error: ErrorEntry) -> Self {
        Self {
            told: self.told,
            told_of: Some(self.answer),
            selected: self.selected,
            ..Self::failed(error)
        }
    }

    /// The body that carries it.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.answer.into_body(&self.errors)
    }

    /// A mutation as its subscribers hear of it.
    pub(crate) fn event(&self, told: Told) -> Option<Event> {
        let record = self.told_of.as_ref().unwrap_or(&self.answer).record(&told.key)?;
        let chosen = self
            .selected
            .as_ref()?
            .fields
            .iter()
            .find(|chosen| chosen.key == told.key)?;
        let Form::Object(selected) = &chosen.form else {
            return None;
        };
        Some(Event {
            model: told.model,
            kind: told.kind,
            record: payload::by_name(selected, record),
            facts: told.facts,
        })
    }
}

/// A mutation that subscribers are to be told of, if there are any: what they hear is made only then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// What it is answered under.
    key: Name,
    pub(crate) model: ModelName,
    pub(crate) kind: MutationKind,
    /// The stored fields that decide who may hear of it, whatever the mutation selected.
    facts: Attributes,
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
    executed.told = ctx.take_told();
    executed.told.retain(|told| executed.answer.has_record(&told.key));
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
        executed.answer.take_back(&key);
        let fault = why.fault(&ctx.config.limits);
        let entry = ErrorEntry::of_field(path.unwrap_or_default(), Vec::new(), fault);
        executed.errors.push(entry);
    }
}

fn run(ctx: &Context<'_>, prepared: &Prepared, root: &dyn ObjectValue) -> Result<Executed, BackendError> {
    let selected = prepared.selected(ctx.compiled);
    let (answer, errors) = walk(ctx.compiled, prepared, &selected, root);
    if let Some(error) = ctx.take_fatal() {
        return Err(error);
    }
    // A page without its end must not be taken for a whole one.
    if ctx.writer.is_none()
        && let Some(why) = ctx.meter.ran_out()
    {
        return Ok(Executed::failed(ErrorEntry::of_whole(
            why.fault(&ctx.config.limits),
        )));
    }
    Ok(Executed {
        answer,
        errors,
        told: Vec::new(),
        told_of: None,
        selected: Some(selected),
        answer_bytes: ctx.meter.answer_bytes(),
    })
}

/// Asks a root object all that a request selects.
fn walk(
    compiled: &CompiledSchema,
    prepared: &Prepared,
    selected: &Selected,
    root: &dyn ObjectValue,
) -> (Answer, Vec<ErrorEntry>) {
    let request = Request {
        schema: compiled.graphql(),
        document: &prepared.document.executable,
        operation: prepared.operation(),
        selected,
        variables: &prepared.variables,
    };
    let Walked { answer, errors } = request.walk(root);
    let errors = errors.into_iter().map(|raised| entry(prepared, selected, raised));
    (answer, errors.collect())
}

/// What is told of a field that failed.
fn entry(prepared: &Prepared, selected: &Selected, raised: Raised) -> ErrorEntry {
    let Raised { path, location, what } = raised;
    let message = match what {
        Trouble::Error(FieldError::Fault(fault)) => {
            let at = errors::locations(location, &prepared.document.executable.sources);
            return ErrorEntry::of_field(path, at, *fault);
        }
        Trouble::Error(FieldError::Said(message)) | Trouble::Said(message) => message,
        Trouble::Null(ty) => {
            let (ty, at) = (ty.trim_end_matches('!'), errors::path_text(&path));
            let parent = parent_type(selected, &path);
            format!("Cannot return null for non-nullable type: '{ty}' within parent '{parent}' ({at})")
        }
        Trouble::Misfit(why) => format!("Can't serialize value ({}) : {why}", errors::path_text(&path)),
    };
    ErrorEntry {
        path: Some(path),
        fault: None,
        locations: None,
        message,
    }
}

/// Name of the type that has the field at a path.
fn parent_type<'s>(selected: &'s Selected, path: &[ResponseDataPathSegment]) -> &'s str {
    let mut keys = path.iter().filter_map(|segment| match segment {
        ResponseDataPathSegment::Field(name) => Some(name),
        ResponseDataPathSegment::ListIndex(_) => None,
    });
    let mut parent = selected;
    // The last is the field itself, whose form is not gone into.
    let _own = keys.next_back();
    for key in keys {
        let inner = parent.fields.iter().find(|chosen| chosen.key == *key);
        match inner.map(|chosen| &chosen.form) {
            Some(Form::Object(inner)) => parent = inner,
            _ => break,
        }
    }
    &parent.type_name
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
            arguments.insert(argument.name.as_str(), value.into_owned());
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
    let root = payload::MessageRoot {
        record,
        viewer,
        meter: &meter,
    };
    let selected = prepared.selected(viewer.compiled);
    let (answer, errors) = walk(viewer.compiled, prepared, &selected, &root);
    if meter.ran_out().is_some() {
        return None;
    }
    Some(Executed {
        answer,
        errors,
        ..Executed::default()
    })
}
