//! MutationProcessor: sends local changes to the server and settles what becomes of them.
//!
//! Owns the lanes: how many mutations are on their way at the same time, and what is done about each answer. Takes
//! mutations from `OutboxActor`, which alone knows their order, and gives back what it could not deal with; has
//! `StorageActor` note that a mutation goes out and what became of it, in that order; asks the app's conflict handler,
//! tells its error handler, the hub, and the `ReachabilityActor` how the server answers.
//!
//! The machine (`mutation/machine.rs`, with `gate.rs`, `pauses.rs` and `verdict.rs`) decides, this shell performs. Which
//! mutations share a request is `batch.rs`.
//!
//! Invariants: 1. nothing is sent that is not marked sent on disk; 2. after a lost reply the server is asked before
//! anything is sent again; 3. no failure of the network, of credentials or of the store drops a mutation; 4. what is
//! refused is told with the whole payload, after it is parked on disk.

mod batch;
mod catalog;
mod consult;
mod decided;
mod gate;
mod machine;
mod pauses;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;

use actix::Context;
use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::{Instrument, Span};

use landfall_core::{
    FieldMap, ModelDef, Mutation, OUTCOME_NOT_SHOWN, OUTCOME_UNKNOWN, RECORD_DELETED, RemoteRecord, Row,
    SCHEMA_MISMATCH, Seq, SyncMetadata, Topic, changed_by_others,
};
use landfall_wire::{BATCH_MAX, Failure, HttpRequest, HttpResponse, MutationReply, TransportError};

use crate::actor;
use crate::endpoint::Whole;
use crate::env::Env;
use crate::flight::print_of;
use crate::handlers::{ErrorKind, Process, SyncConflict, SyncError};
use crate::hub::{HubEvent, HubMessage};
use crate::outbox::OutboxMessage;
use crate::port::{Envelope, Handle, Message};
use crate::reachability::{Outcome, ReachabilityMessage};
use crate::storage::{Settlement, StorageMessage};
use crate::supervisor;
use crate::timer::{Timed, Timer, arm};
use catalog::{Catalog, Unsendable};
use decided::Known;
use machine::{Effect, Input, State, Undecided};
use verdict::Report;

/// Messages to the [`MutationProcessor`].
#[derive(Debug)]
pub enum MutationMessage {
    /// From `OutboxActor`: there is work, and it may be sent. No reply; a second wake is harmless.
    Wake,
    /// From the supervisor: take nothing until the next wake. What is on its way is still settled.
    Pause,
    /// From the supervisor: the run has ended.
    Stop,
    /// From the actor itself: something that it waited for has come.
    Heard(MutationNews),
}

/// What a [`MutationProcessor`] waited for.
#[derive(Debug)]
pub struct MutationNews(Box<Input>);

impl Message for MutationMessage {
    const ACTOR: &'static str = "MutationProcessor";

    fn name(&self) -> &'static str {
        match self {
            Self::Wake => "Wake",
            Self::Pause => "Pause",
            Self::Stop => "Stop",
            Self::Heard(MutationNews(input)) => input.name(),
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Heard(MutationNews(input)) => print_of(input),
            _ => 0,
        }
    }
}

/// Sends local changes to the server.
#[derive(Debug)]
pub struct MutationProcessor {
    context: supervisor::Context,
    catalog: Catalog,
    state: State,
    timer: Timer,
    /// Mutations that go in one request at most; one, once the server has refused such a request.
    per_request: usize,
}

impl MutationProcessor {
    /// A processor that waits for [`MutationMessage::Wake`].
    pub fn new(context: supervisor::Context) -> Self {
        let catalog = Catalog::new(&context.schema, &context.settings);
        let lanes = context.settings.lanes.max(1);
        let state = State::new(std::sync::Arc::clone(&context.schema), lanes);
        let per_request = context.settings.mutations_per_request.clamp(1, BATCH_MAX);
        Self {
            per_request,
            context,
            catalog,
            state,
            timer: Timer::default(),
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let entropy = &self.context.env.entropy;
            let effects = self
                .state
                .step(self.context.env.clock.now_ms(), &mut || entropy.next_u64(), input);
            let mut sends = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Send(mutation) if self.per_request > 1 => sends.push(*mutation),
                    effect => inputs.extend(self.perform(effect, ctx)),
                }
            }
            inputs.extend(self.send_together(sends, ctx));
        }
        arm(self, ctx, self.state.due_ms());
    }

    /// Performs an effect; returns what follows from it at once.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) -> Option<Input> {
        match effect {
            Effect::Take { max, held_up } => self.take(max, held_up, ctx),
            Effect::GiveBack(mutations) => {
                self.context
                    .outbox
                    .tell(OutboxMessage::GiveBack(mutations))
                    .unwrap_or(());
            }
            Effect::Mark(mutations) => self.mark(mutations, ctx),
            Effect::Load(seq) => return Some(self.load(seq)),
            Effect::Send(mutation) => return self.send(*mutation, ctx),
            Effect::Fetch(mutation) => return self.fetch(*mutation, ctx),
            Effect::Decide { mutation, remote } => self.decide(&mutation, *remote, ctx),
            Effect::Settle { seq, settlement } => self.settle(seq, settlement, ctx),
            Effect::AnnouncePaused { reason } => {
                self.context
                    .hub
                    .tell(HubMessage::Publish(HubEvent::OutboxPaused { reason }))
                    .unwrap_or(());
            }
            Effect::Report(report) => self.complain(report),
        }
        None
    }

    fn take(&self, max: usize, held_up: BTreeSet<Topic>, ctx: &mut Context<Self>) {
        let outbox = self.context.outbox.clone();
        let take = move |reply| OutboxMessage::Take { max, held_up, reply };
        let taking = async move { outbox.ask(take).await };
        // An outbox that is gone has nothing to give.
        ctx.spawn(
            taking
                .into_actor(self)
                .map(|taken, _, ctx| hear(ctx, Input::Taken(taken.unwrap_or_default()))),
        );
    }

    fn mark(&self, asked: Vec<Seq>, ctx: &mut Context<Self>) {
        let (storage, epoch, mutations) = (self.context.storage.clone(), self.context.epoch, asked.clone());
        let marking = async move {
            storage
                .ask(|reply| StorageMessage::MarkSent {
                    epoch,
                    mutations,
                    reply,
                })
                .await
        };
        let marking = marking.into_actor(self).map(move |answer, _, ctx| {
            let marked = match answer {
                Ok(marked) => marked.map_err(|error| error.to_string()),
                Err(gone) => Err(gone.to_string()),
            };
            hear(ctx, Input::Marked { asked, marked });
        });
        ctx.spawn(marking);
    }

    fn load(&self, seq: Seq) -> Input {
        let loaded = self
            .context
            .env
            .look(&self.context.reader)
            .and_then(|snapshot| snapshot.mutation(seq));
        Input::Loaded {
            seq,
            loaded: loaded
                .map(|found| found.map(Box::new))
                .map_err(|error| error.to_string()),
        }
    }

    fn send(&self, mutation: Mutation, ctx: &mut Context<Self>) -> Option<Input> {
        let request = match self.catalog.request(&mutation) {
            Ok(request) => request,
            Err(unsendable) => return Some(not_sent(&mutation, unsendable)),
        };
        let span = tracing::debug_span!(target: "landfall::mutation", "send", mutation = %mutation.seq, model = %mutation.model());
        self.execute((request, span), ctx, move |actor, result| {
            let reply = match result {
                Ok(response) => actor.catalog.read(&mutation, &response),
                Err(error) => MutationReply::Failed(Failure::from(error)),
            };
            Input::Replied {
                seq: mutation.seq,
                reply: Box::new(reply),
            }
        });
        None
    }

    fn fetch(&self, mutation: Mutation, ctx: &mut Context<Self>) -> Option<Input> {
        let request = match self.catalog.get_request(&mutation) {
            Ok(request) => request,
            Err(unsendable) => return Some(not_sent(&mutation, unsendable)),
        };
        let span = tracing::debug_span!(target: "landfall::mutation", "inquire", mutation = %mutation.seq, model = %mutation.model());
        self.execute((request, span), ctx, move |actor, result| {
            let fetched = match result {
                Ok(response) => actor
                    .catalog
                    .read_get(&mutation, actor.known(&mutation), &response),
                Err(error) => Err(Box::new(Failure::from(error))),
            };
            Input::Fetched {
                seq: mutation.seq,
                fetched,
            }
        });
        None
    }

    /// Sends a request, in a span that says of which mutation it is; what `read` makes of the answer is heard in its turn.
    fn execute(
        &self,
        (request, span): (HttpRequest, Span),
        ctx: &mut Context<Self>,
        read: impl FnOnce(&Self, Result<HttpResponse, TransportError>) -> Input + 'static,
    ) {
        let asking = self
            .ask(request, span)
            .into_actor(self)
            .map(move |result, actor, ctx| {
                actor.report(&result);
                let input = read(actor, result);
                hear(ctx, input);
            });
        ctx.spawn(asking);
    }

    fn ask(
        &self,
        request: HttpRequest,
        span: Span,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        match &self.context.env.transport {
            // Where nobody listens the span is none, and the future goes as it is.
            Some(transport) if span.is_disabled() => transport.execute(request),
            Some(transport) => {
                let asking = span.in_scope(|| transport.execute(request));
                asking.instrument(span).boxed()
            }
            None => {
                let error = TransportError::Unreachable {
                    reason: "there is no server".to_owned(),
                };
                std::future::ready(Err(error)).boxed()
            }
        }
    }

    /// Tells the app what became of a change, or why sending waits, unless that holds for the whole endpoint and was told. What
    /// was told of a connection or of queries that are turned away does not count: it says nothing of changes.
    fn complain(&self, report: Report) {
        let endpoint = &self.context.endpoint;
        let is_news = match report.whole {
            None => true,
            // A server that fails at changes alone is told of by each change that it goes on failing at.
            Some(Whole::Failing) => !endpoint.is_told(Whole::Failing),
            Some(Whole::Credentials) => endpoint.is_news_of_changes(),
            Some(whole @ Whole::NoApi) => endpoint.is_news(whole),
        };
        if is_news {
            self.context.settings.report(sync_error(report));
        }
    }

    fn report(&self, result: &Result<HttpResponse, TransportError>) {
        if matches!(result, Ok(response) if (200..300).contains(&response.status)) {
            self.context.endpoint.was_let_in();
        }
        let outcome = Outcome::of_result(result);
        self.context
            .reachability
            .tell(ReachabilityMessage::Report(outcome))
            .unwrap_or(());
    }

    fn known(&self, mutation: &Mutation) -> Option<SyncMetadata> {
        let state = self
            .context
            .env
            .look(&self.context.reader)
            .and_then(|snapshot| snapshot.state(&mutation.key));
        state.ok()?.sync
    }

    /// Asks the app. A handler that panics has answered nothing, and takes nobody with it.
    fn decide(&self, mutation: &Mutation, remote: RemoteRecord, ctx: &mut Context<Self>) {
        let seq = mutation.seq;
        let conflict = self.conflict(mutation, remote);
        let known = Known {
            record: conflict.local.clone(),
            base: conflict.base.clone(),
        };
        let handler = std::sync::Arc::clone(&self.context.settings.conflict_handler);
        let within = self.context.settings.conflict_timeout;
        let deciding = AssertUnwindSafe(async move { handler.decide(conflict).await }).catch_unwind();
        let deciding = async move {
            match actix::clock::timeout(within, deciding).await {
                Ok(Ok(resolution)) => Ok(resolution),
                Ok(Err(_)) => Err(Undecided::Panicked),
                Err(_) => Err(Undecided::TookTooLong),
            }
        };
        let deciding = consult::recorded(&self.context.env, seq, deciding);
        let deciding = deciding.into_actor(self).map(move |resolution, _, ctx| {
            let known = Box::new(known);
            hear(
                ctx,
                Input::Decided {
                    seq,
                    resolution,
                    known,
                },
            );
        });
        ctx.spawn(deciding);
    }

    fn conflict(&self, mutation: &Mutation, remote: RemoteRecord) -> SyncConflict {
        // Without the store's view the handler still has what was sent and what the server has.
        let state = self
            .context
            .env
            .look(&self.context.reader)
            .and_then(|snapshot| snapshot.state(&mutation.key));
        let state = state.unwrap_or_default();
        let def = self.context.schema.model(mutation.model());
        let base = def.and_then(|def| state.base_of(def, mutation.seq));
        let overtaken = def.map_or_else(Vec::new, |def| changed_by_others(def, base.as_ref(), &remote));
        let fields = |row: Option<Row>| def.zip(row).map(|(def, row)| to_fields(def, row));
        SyncConflict {
            key: mutation.key.clone(),
            kind: mutation.kind,
            local: fields(state.row),
            base: fields(base),
            remote,
            overtaken,
            changed: mutation.patch.keys().cloned().collect(),
            attempts: mutation.conflict_rounds.saturating_add(1),
        }
    }

    fn settle(&self, seq: Seq, settlement: Settlement, ctx: &mut Context<Self>) {
        let (storage, epoch) = (self.context.storage.clone(), self.context.epoch);
        let covered = self.catalog.covers(&settlement, || {
            let snapshot = self.context.env.look(&self.context.reader).ok()?;
            let mutation = snapshot.mutation(seq).ok()??;
            Some(mutation.key.model)
        });
        let settling = async move {
            storage
                .ask(|reply| StorageMessage::Settle {
                    epoch,
                    mutation: seq,
                    settlement,
                    covered,
                    reply,
                })
                .await
        };
        let settling = settling.into_actor(self).map(move |answer, _, ctx| {
            let settled = match answer {
                Ok(settled) => settled.map_err(|error| error.to_string()),
                Err(gone) => Err(gone.to_string()),
            };
            if let Err(error) = &settled {
                tracing::warn!(mutation = %seq, error, "what became of a mutation cannot be stored yet");
            }
            hear(ctx, Input::Settled { seq, settled });
        });
        ctx.spawn(settling);
    }
}

/// Has the actor hear of something in its turn, so that the trace shows it.
fn hear(ctx: &mut Context<MutationProcessor>, input: Input) {
    ctx.notify(Envelope(MutationMessage::Heard(MutationNews(Box::new(input)))));
}

fn not_sent(mutation: &Mutation, unsendable: Unsendable) -> Input {
    Input::Unsendable {
        seq: mutation.seq,
        kind: unsendable.kind,
        reason: unsendable.reason,
    }
}

fn to_fields(def: &ModelDef, row: Row) -> FieldMap {
    def.stored_fields()
        .map(|field| field.name.clone())
        .zip(row)
        .collect()
}

/// What the app can do about what it is told.
fn suggestion(report: &Report) -> &'static str {
    match (report.kind, report.parked) {
        (ErrorKind::LostUpdate, _) => {
            "tell the user: `local` is what was changed and `record` the record with it; save a new record if it is still \
             wanted, or delete again"
        }
        (ErrorKind::ConfigError, false) => "correct the configuration; changes wait for that",
        (_, false) => "nothing needs to be done; changes wait and are sent once the server takes them",
        (ErrorKind::Unauthorized, true) => {
            "give the user access to the record and retry the parked change, or discard it"
        }
        (_, true) if is_of_schema(report.error_type.as_deref()) => {
            "the change is kept, and tried again by itself once its model syncs with this schema: update the server, or ship \
             models of the schema that it runs; `retry` tries it now, `discard` gives it up"
        }
        (ErrorKind::BadModel, true) => {
            "generate the models from the schema that the server runs, then retry the parked change or discard it"
        }
        (_, true) if report.error_type.as_deref() == Some(RECORD_DELETED) => {
            "the change is parked: discard it to accept the deletion, save what is still wanted of `record` as a new \
             record, or retry it to ask the conflict handler again"
        }
        (_, true) if report.error_type.as_deref() == Some(OUTCOME_UNKNOWN) => {
            "the change is parked: `retry` asks the server again what became of it, `discard` leaves it at that"
        }
        (_, true) => "the change is parked: retry it once what the server says is dealt with, or discard it",
    }
}

/// A report in Amplify's shape.
fn sync_error(report: Report) -> SyncError {
    let suggestion = report
        .whole
        .map_or_else(|| suggestion(&report), Whole::suggestion);
    let mutation = report.mutation;
    SyncError {
        kind: report.kind,
        process: Process::Mutate,
        message: report.message,
        error_type: report.error_type,
        model: Some(mutation.model().clone()),
        operation: Some(mutation.kind),
        key: Some(mutation.key),
        local: Some(mutation.patch),
        remote: report.remote.map(|remote| *remote),
        record: report.known.record,
        base: report.known.base,
        suggestion: suggestion.to_owned(),
    }
}

/// Whether a change is parked because the schemas differ.
fn is_of_schema(error_type: Option<&str>) -> bool {
    matches!(error_type, Some(SCHEMA_MISMATCH | OUTCOME_NOT_SHOWN))
}

impl Handle for MutationProcessor {
    type Message = MutationMessage;

    fn env(&self) -> &Env {
        &self.context.env
    }

    fn handle(&mut self, message: MutationMessage, ctx: &mut Context<Self>) {
        match message {
            MutationMessage::Wake => self.step(Input::Wake, ctx),
            MutationMessage::Pause => self.step(Input::Pause, ctx),
            MutationMessage::Heard(MutationNews(input)) => self.step(*input, ctx),
            MutationMessage::Stop => ctx.stop(),
        }
    }
}

impl Timed for MutationProcessor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn timer_due(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::TimerDue, ctx);
    }
}

actor!(MutationProcessor);

#[cfg(test)]
mod tests;
