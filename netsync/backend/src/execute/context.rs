//! What every resolver of one request shares: the rows, the variables, the faults found so far.
//!
//! Owns the count of reads and what is noted while the request runs. Invariants: 1. a fault of
//! the store itself ends the request as a whole, never as a field that is quietly null; 2. whatever becomes part of the
//! answer was charged to the request's meter.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use apollo_compiler::response::JsonMap;
use landfall_core::{ModelName, MutationKind, Schema, Value};

use super::coerce::Arguments;
use super::errors::Fault;
use super::meter::{self, CallerGone, Meter, RanOut};
use super::settle::ConflictRound;
use super::walk::{FieldError, Leaf, ResolveInfo, Resolved};
use super::{Environment, Stopwatch, Told};
use crate::auth::{Caller, ModelRules};
use crate::compile::{CompiledSchema, ModelPlan};
use crate::config::BackendConfig;
use crate::conflict::Write;
use crate::entropy::{Entropy, uuid_v4};
use crate::error::BackendError;
use crate::filter::Filter;
use crate::hash::HashKey;
use crate::item::Attributes;
use crate::store::{HIDDEN_ASKED_BYTES, Outcome, PageOf, Reading, Session};

/// How long a query may pass over rows that are hidden from its caller, in milliseconds: some gigabytes on a machine that has
/// nothing else to do, and not for so long that a few callers keep all places.
const HIDDEN_IN_QUERY_MS_MAX: u64 = 5_000;

/// The same of a mutation, for which all others wait.
const HIDDEN_IN_MUTATION_MS_MAX: u64 = 500;

/// Writes records; what a mutation has and a query has not.
pub(super) trait RecordWriter {
    fn write(
        &self,
        plan: &ModelPlan,
        key: &Attributes,
        write: Write,
        condition: Option<&Filter>,
    ) -> Result<Outcome, BackendError>;

    /// How much was written in the transaction so far, in bytes.
    fn written_bytes(&self) -> usize;
}

impl RecordWriter for Session<'_, '_> {
    fn write(
        &self,
        plan: &ModelPlan,
        key: &Attributes,
        write: Write,
        condition: Option<&Filter>,
    ) -> Result<Outcome, BackendError> {
        let kind = write.kind();
        let outcome = Session::write(self, plan, key, write, condition)?;
        self.store.tally.wrote(kind, &outcome);
        Ok(outcome)
    }

    fn written_bytes(&self) -> usize {
        Session::written_bytes(self)
    }
}

/// Shared by the resolvers of one request.
pub(crate) struct Context<'c> {
    pub(super) compiled: &'c CompiledSchema,
    pub(super) config: &'c BackendConfig,
    pub(super) reading: Reading<'c>,
    pub(super) writer: Option<&'c dyn RecordWriter>,
    pub(super) variables: &'c JsonMap,
    /// What handlers decided of the conflicts of this mutation, and what they are still to decide.
    pub(super) conflicts: Option<&'c ConflictRound>,
    entropy: &'c Mutex<Box<dyn Entropy>>,
    pub(super) token_key: &'c HashKey,
    pub(super) caller: &'c Caller,
    /// The rules of models that have none.
    pub(super) implied: &'c ModelRules,
    gone: &'c CallerGone,
    fatal: RefCell<Option<BackendError>>,
    reads_left: Cell<usize>,
    bytes_left: Cell<usize>,
    /// Bytes of hidden rows that were passed over since it was asked last whether to go on.
    hidden_unasked: Cell<usize>,
    /// When passing over hidden rows ends, by the stopwatch; set when it begins.
    hidden_until_ms: Cell<Option<u64>>,
    stopwatch: Option<Stopwatch>,
    pub(super) meter: Meter,
    /// What others had written in the transaction before, in bytes.
    written_before: usize,
    /// Response key of the mutation that is run.
    mutating: RefCell<String>,
    /// Mutations whose answers are not whole, by response key, and why.
    cut_short: RefCell<BTreeMap<String, RanOut>>,
    /// What was written, for subscribers.
    told: RefCell<Vec<Told>>,
}

impl<'c> Context<'c> {
    pub(super) fn new(
        environment: Environment<'c>,
        reading: Reading<'c>,
        writer: Option<&'c dyn RecordWriter>,
        variables: &'c JsonMap,
    ) -> Self {
        let Environment {
            compiled,
            config,
            entropy,
            token_key,
            caller,
            implied,
            gone,
            stopwatch,
        } = environment;
        // A mutation that was begun is told to subscribers as a whole, so its answer is finished.
        let ends_with = writer.is_none().then(|| gone.clone());
        Self {
            compiled,
            config,
            token_key,
            caller,
            implied,
            gone,
            reading,
            writer,
            variables,
            conflicts: None,
            entropy,
            fatal: RefCell::default(),
            reads_left: Cell::new(config.limits.resolvers_max),
            bytes_left: Cell::new(config.limits.read_bytes_max),
            hidden_unasked: Cell::new(0),
            hidden_until_ms: Cell::new(None),
            stopwatch,
            meter: Meter::new(
                config.limits.answer_bytes_max,
                config.limits.arguments_bytes_max,
                ends_with,
            ),
            written_before: writer.map_or(0, RecordWriter::written_bytes),
            mutating: RefCell::default(),
            cut_short: RefCell::default(),
            told: RefCell::default(),
        }
    }

    pub(super) fn schema(&self) -> &'c Schema {
        self.compiled.models()
    }

    /// The arguments of a field with variables put in; those that are absent stay absent.
    pub(super) fn arguments<'a>(&self, info: &ResolveInfo<'a>) -> Result<Arguments<'a>, FieldError>
    where
        'c: 'a,
    {
        let field = info.chosen.field();
        let most = self.config.limits.arguments_bytes_max;
        let bytes = meter::arguments_bytes(field, self.variables, most);
        self.meter.charge_arguments(bytes).map_err(|why| self.stop(why))?;
        Ok(Arguments::of(field, self.variables))
    }

    /// Charges bytes of the answer.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), FieldError> {
        self.meter.charge(bytes).map_err(|why| self.stop(why))
    }

    /// A leaf on its way out.
    pub(super) fn leaf<'v>(&self, value: Cow<'v, Value>) -> Result<Resolved<'v>, FieldError> {
        self.charge(meter::leaf_bytes(&value))?;
        Ok(Resolved::Leaf(Leaf::Value(value)))
    }

    /// Stops a field of a request that ran out. What the caller is told is added to the whole answer, once.
    fn stop(&self, why: RanOut) -> FieldError {
        if self.writer.is_some() {
            let mutating = self.mutating.borrow();
            self.cut_short.borrow_mut().entry(mutating.clone()).or_insert(why);
        }
        FieldError::Said(String::new())
    }

    /// Begins a mutation, unless the request ran out or nobody waits for it.
    pub(super) fn begin_mutation(&self, response_key: &str) -> Result<(), FieldError> {
        response_key.clone_into(&mut self.mutating.borrow_mut());
        if self.gone.is_noted() || self.conflicts.is_some_and(ConflictRound::is_over) {
            self.meter.run_out(RanOut::Caller);
        }
        let written = self.writer.map_or(0, RecordWriter::written_bytes);
        if written.saturating_sub(self.written_before) >= self.config.limits.written_bytes_max {
            self.meter.run_out(RanOut::Writes);
        }
        self.charge(0)
    }

    /// The mutations whose answers are not whole, and why.
    pub(super) fn take_cut_short(&self) -> BTreeMap<String, RanOut> {
        self.cut_short.take()
    }

    /// Reads a filter or condition among arguments.
    pub(super) fn filter(&self, arguments: &Arguments<'_>, name: &str) -> Result<Option<Filter>, FieldError> {
        let filter = arguments.get(name).map_or(Ok(None), Filter::read).map_err(|_| {
            self.fault(Fault::new(
                "Unrecognized Filter",
                "Unable to process the filter expression",
            ))
        })?;
        let count = filter.as_ref().map_or(0, Filter::comparisons);
        if count > self.config.limits.filter_operators_max {
            let expression = if name == "condition" {
                "Condition"
            } else {
                "Filter"
            };
            let what = format!(
                "Invalid {expression}Expression: The expression contains too many operators; operator count: {count}"
            );
            return Err(self.fault(Fault::new("DynamoDbException", self.dynamodb_message(&what))));
        }
        Ok(filter)
    }

    /// A message as DynamoDB's client words it.
    pub(super) fn dynamodb_message(&self, what: &str) -> String {
        let request = self.uuid().replace('-', "").to_uppercase();
        format!("{what} (Service: DynamoDb, Status Code: 400, Request ID: {request})")
    }

    /// Charges a fault and makes an error of it.
    pub(super) fn fault(&self, fault: Fault) -> FieldError {
        self.meter.charge_error(fault.message.len());
        FieldError::Fault(Box::new(fault))
    }

    /// Reads rows, as far as the request may.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Reading<'c>) -> Result<T, BackendError>,
    ) -> Result<T, FieldError> {
        self.charge(0)?;
        match self.reads_left.get().checked_sub(1) {
            Some(left) => self.reads_left.set(left),
            None => {
                let most = self.config.limits.resolvers_max;
                let message = format!(
                    "Request runs more than {most} resolvers; select fewer relations or a smaller page."
                );
                return Err(self.fault(Fault::new("ResolverLimitExceeded", message)));
            }
        }
        read(&self.reading).map_err(|error| self.die(error))
    }

    /// Reads a page, as far as the request may.
    pub(super) fn read_page(
        &self,
        read: impl FnOnce(&Reading<'c>) -> Result<PageOf, BackendError>,
    ) -> Result<PageOf, FieldError> {
        let too_much = || {
            let message = "Request reads too much data; select fewer relations or a smaller page.";
            self.fault(Fault::new("ResponseSizeExceeded", message))
        };
        // What could not be kept is not read either.
        if self.bytes_left.get() == 0 {
            return Err(too_much());
        }
        let page = self.read(read)?;
        if page.hidden > 0 {
            let hidden = self.hidden_unasked.get() + page.hidden % HIDDEN_ASKED_BYTES;
            self.hidden_unasked.set(hidden % HIDDEN_ASKED_BYTES);
            if page.gave_up || (hidden >= HIDDEN_ASKED_BYTES && !self.goes_on_hidden()) {
                let why = self.meter.run_out(RanOut::Caller);
                return Err(self.stop(why));
            }
        }
        match self.bytes_left.get().checked_sub(page.bytes) {
            Some(left) => self.bytes_left.set(left),
            None => {
                self.bytes_left.set(0);
                return Err(too_much());
            }
        }
        Ok(page)
    }

    /// Whether to go on passing over rows that are hidden from the caller. They are no part of what a request may read, as
    /// that would tell how many there are, so it is time that bounds them.
    pub(super) fn goes_on_hidden(&self) -> bool {
        if self.gone.is_noted() {
            return false;
        }
        let Some(stopwatch) = self.stopwatch else {
            return true;
        };
        let (now_ms, most_ms) = match self.writer {
            Some(_) => (stopwatch(), HIDDEN_IN_MUTATION_MS_MAX),
            None => (stopwatch(), HIDDEN_IN_QUERY_MS_MAX),
        };
        let until_ms = self
            .hidden_until_ms
            .get()
            .unwrap_or(now_ms.saturating_add(most_ms));
        self.hidden_until_ms.set(Some(until_ms));
        now_ms < until_ms
    }

    /// Ends the request.
    pub(super) fn die(&self, error: BackendError) -> FieldError {
        self.fatal.borrow_mut().get_or_insert(error);
        FieldError::Said("the store failed".to_owned())
    }

    /// The fault that ended the request, if one did.
    pub(super) fn take_fatal(&self) -> Option<BackendError> {
        self.fatal.borrow_mut().take()
    }

    /// A random identifier.
    pub(super) fn uuid(&self) -> String {
        uuid_v4(
            self.entropy
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut(),
        )
    }

    /// Notes that subscribers are to be told of a root field's answer.
    pub(super) fn tell(
        &self,
        info: &ResolveInfo<'_>,
        model: &ModelName,
        kind: MutationKind,
        facts: Attributes,
    ) {
        self.told.borrow_mut().push(Told {
            key: info.chosen.key.clone(),
            model: model.clone(),
            kind,
            facts,
        });
    }

    /// What subscribers are to be told of, in its order.
    pub(super) fn take_told(&self) -> Vec<Told> {
        self.told.take()
    }
}
