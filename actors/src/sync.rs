//! SyncProcessor: fetches what the server has, page by page, parents before children.
//!
//! Owns base and delta syncs from start to end. Asks the server for pages and `StorageActor` to store them; tells the
//! hub how far it has got, the supervisor when it is through, and the `ReachabilityActor` how the server answers. What
//! a record does to the store is the storage's business, what subscriptions bring meanwhile the subscriptions'.
//!
//! The machine (`sync/machine.rs`, with `model.rs`, `pages.rs` and `sweep.rs`) decides, this shell performs.
//!
//! Invariants: 1. a cursor is stored with the page that it follows; 2. an answer that came after a cancel is ignored
//! and counted; 3. a model that fails is reported, tried again if that may help, and holds up nobody; 4. a change that
//! the server refused for its schema's sake is tried again after a sync of its model (`mismatched.rs`).

mod catalog;
mod doubts;
mod machine;
mod mismatched;
mod model;
mod pages;
mod report;
mod seen;
mod sweep;
mod trouble;

use std::collections::VecDeque;

use actix::Context;
use actix::prelude::*;

use landfall_core::{ModelName, Page, RecordId, SyncAges, SyncKind};
use landfall_storage::{Query, Snapshot, StorageError};
use landfall_wire::{Failure, HttpRequest, HttpResponse, ServerError, TransportError};
use tracing::{Instrument, Span};

use crate::actor;
use crate::endpoint::{Whole, mismatch_suggestion};
use crate::env::Env;
use crate::handlers::{ErrorKind, Process, SyncError};
use crate::hub::{HubEvent, HubMessage};
use crate::port::{Envelope, Handle, Message};
use crate::reachability::{Outcome, ReachabilityMessage};
use crate::storage::{RemoteBatch, StorageMessage};
use crate::supervisor::{self, SupervisorMessage};
use crate::timer::{Timed, Timer, arm};
use catalog::Catalog;
use machine::{Effect, Input, Limits, State};
use mismatched::Mismatched;
use model::{Question, Ticket};
pub(crate) use report::error_kind;
use report::server_error_kind;
use seen::SEEN_MAX;
use sweep::Portion;
use trouble::Trouble;

/// Most records of a page that AppSync takes for a limit.
const PAGE_SIZE_MAX: u32 = 1_000;

/// Messages to the [`SyncProcessor`].
#[derive(Debug)]
pub enum SyncMessage {
    /// From the supervisor: sync every model. Told [`SupervisorMessage::SyncFinished`] once each is synced or has failed
    /// for now. While a sync goes on, another follows it, and the end of that one is told.
    Start,
    /// From the supervisor: the server cannot be reached, or there is a gap anyway. No reply; nothing that arrives
    /// later is stored.
    Cancel,
    /// From the supervisor: the run has ended.
    Stop,
    /// From the actor itself: something that it waited for has come.
    Heard(SyncNews),
}

/// What a [`SyncProcessor`] waited for.
#[derive(Debug)]
pub struct SyncNews(Box<Input>);

impl Message for SyncMessage {
    const ACTOR: &'static str = "SyncProcessor";

    fn name(&self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Cancel => "Cancel",
            Self::Stop => "Stop",
            Self::Heard(SyncNews(input)) => input.name(),
        }
    }
}

/// Fetches what the server has.
#[derive(Debug)]
pub struct SyncProcessor {
    context: supervisor::Context,
    catalog: Catalog,
    state: State,
    timer: Timer,
    mismatched: Mismatched,
}

impl SyncProcessor {
    /// A processor that waits for [`SyncMessage::Start`].
    pub fn new(context: supervisor::Context) -> Self {
        let (catalog, levels) = Catalog::new(&context.schema, &context.settings);
        let limits = Limits {
            page_size: context.settings.page_size.clamp(1, PAGE_SIZE_MAX),
            records_max: context.settings.records_max.max(1),
            models_in_parallel: context.settings.models_in_parallel.max(1),
            ages: SyncAges {
                full_sync_interval: context.settings.full_sync_interval,
                tombstone_life: context.settings.tombstone_life,
                delta_life: context.settings.delta_life,
            },
        };
        Self {
            context,
            catalog,
            state: State::new(limits, levels),
            timer: Timer::default(),
            mismatched: Mismatched::default(),
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        if matches!(input, Input::Answered { answer: Ok(_), .. }) {
            self.context.endpoint.is_over();
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let entropy = &self.context.env.entropy;
            let effects = self
                .state
                .step(self.context.env.clock.now_ms(), &mut || entropy.next_u64(), input);
            for effect in effects {
                match effect {
                    Effect::ReadCursor { ticket, model } => inputs.push_back(self.read_cursor(ticket, model)),
                    Effect::List(portion) => inputs.push_back(self.list(portion)),
                    Effect::Ask(question) => self.ask(question, ctx),
                    Effect::Inquire { ticket, model, id } => self.inquire(ticket, model, &id, ctx),
                    Effect::Store { ticket, batch } => self.store(ticket, batch, ctx),
                    Effect::Finished => {
                        let finished = SupervisorMessage::SyncFinished {
                            epoch: self.context.epoch,
                        };
                        // A supervisor that is gone waits for nothing.
                        self.context.supervisor.tell(finished).unwrap_or(());
                    }
                    announcement => {
                        if let Effect::Synced { model, .. } = &announcement {
                            self.mismatched.fits(model.clone());
                            self.context.endpoint.was_synced(model);
                        }
                        self.announce(announcement);
                    }
                }
            }
        }
        if self.state.is_resting() {
            self.retry_mismatched(ctx);
        }
        arm(self, ctx, self.state.due_ms());
    }

    fn read_cursor(&self, ticket: Ticket, model: ModelName) -> Input {
        let cursor = self
            .context
            .env
            .look(&self.context.reader)
            .and_then(|snapshot| Ok((snapshot.cursor(&model)?, holds(&snapshot, &model)?)));
        let wall_ms = self.context.env.clock.wall_ms();
        Input::CursorRead {
            ticket,
            model,
            cursor: cursor.map_err(|error| error.to_string()),
            wall_ms,
        }
    }

    fn list(&self, portion: Portion) -> Input {
        let Portion {
            ticket,
            model,
            after,
            before_ms,
        } = portion;
        let expression = self.catalog.expression(&model);
        let listed = self.context.env.look(&self.context.reader).and_then(|snapshot| {
            snapshot.settled(&model, after.as_ref(), before_ms, expression, sweep::PORTION)
        });
        Input::Listed {
            ticket,
            model,
            listed: listed.map_err(|error| error.to_string()),
        }
    }

    fn ask(&self, question: Question, ctx: &mut Context<Self>) {
        let request = self.catalog.request(&question);
        let span = tracing::debug_span!(target: "landfall::sync", "sync", model = %question.model);
        self.execute((request, span), ctx, move |actor, result| {
            let Question { ticket, model, .. } = question;
            let answer = result.and_then(|response| actor.catalog.read(&model, &response));
            Input::Answered {
                ticket,
                model,
                answer,
            }
        });
    }

    fn inquire(&self, ticket: Ticket, model: ModelName, id: &RecordId, ctx: &mut Context<Self>) {
        let request = self.catalog.inquiry(&model, id);
        let span = tracing::debug_span!(target: "landfall::sync", "inquire", model = %model, id = %id);
        self.execute((request, span), ctx, move |actor, result| {
            let found = result.and_then(|response| actor.catalog.read_inquiry(&model, &response));
            Input::Inquired { ticket, model, found }
        });
    }

    /// Sends a request; what `read` makes of the answer is heard in its turn.
    fn execute(
        &self,
        (request, span): (Option<HttpRequest>, Span),
        ctx: &mut Context<Self>,
        read: impl FnOnce(&Self, Result<HttpResponse, Box<Failure>>) -> Input + 'static,
    ) {
        let (Some(transport), Some(request)) = (&self.context.env.transport, request) else {
            let failure = Failure::from(TransportError::Unreachable {
                reason: "there is no server".to_owned(),
            });
            let input = read(self, Err(Box::new(failure)));
            return hear(ctx, input);
        };
        let asking = span
            .in_scope(|| transport.execute(request))
            .instrument(span)
            .into_actor(self)
            .map(move |result, actor, ctx| {
                let outcome = Outcome::of_result(&result);
                actor
                    .context
                    .reachability
                    .tell(ReachabilityMessage::Report(outcome))
                    .unwrap_or(());
                let input = read(actor, result.map_err(|error| Box::new(Failure::from(error))));
                hear(ctx, input);
            });
        ctx.spawn(asking);
    }

    fn store(&self, ticket: Ticket, batch: RemoteBatch, ctx: &mut Context<Self>) {
        let (storage, epoch, model) = (
            self.context.storage.clone(),
            self.context.epoch,
            batch.model.clone(),
        );
        let storing = async move {
            storage
                .ask(|reply| StorageMessage::ApplyRemote { epoch, batch, reply })
                .await
        };
        let storing = storing.into_actor(self).map(move |answer, _, ctx| {
            let stored = match answer {
                Ok(stored) => stored.map_err(|error| error.to_string()),
                Err(gone) => Err(gone.to_string()),
            };
            hear(
                ctx,
                Input::Stored {
                    ticket,
                    model,
                    stored,
                },
            );
        });
        ctx.spawn(storing);
    }

    /// Has what the server refused for the form of a model tried again, since that model syncs now.
    fn retry_mismatched(&mut self, ctx: &mut Context<Self>) {
        if !self.mismatched.is_due() {
            return;
        }
        let snapshot = self.context.env.look(&self.context.reader);
        let mutations = match snapshot.and_then(|snapshot| self.mismatched.take(&snapshot)) {
            Ok(mutations) if mutations.is_empty() => return,
            Ok(mutations) => mutations,
            Err(error) => {
                // The next sync looks again.
                return tracing::warn!(%error, "what the server refused for its schema's sake cannot be looked up");
            }
        };
        let (storage, epoch) = (self.context.storage.clone(), self.context.epoch);
        let retrying = async move {
            storage
                .ask(|reply| StorageMessage::RetryMismatched {
                    epoch,
                    mutations,
                    reply,
                })
                .await
        };
        ctx.spawn(retrying.into_actor(self).map(|answer, _, _| {
            // A store that is gone tries nothing; the next start does.
            if let Ok(Err(error)) = answer {
                tracing::warn!(%error, "what the server refused for its schema's sake is not tried again yet");
            }
        }));
    }

    fn announce(&self, effect: Effect) {
        let event = match effect {
            Effect::Begun { models } => HubEvent::SyncQueriesStarted {
                models: self.catalog.in_order_of_schema(&models),
            },
            Effect::Progress { model, received } => HubEvent::SyncProgress { model, received },
            Effect::Synced { model, kind, counts } => HubEvent::ModelSynced {
                model,
                is_full_sync: kind == SyncKind::Base,
                is_delta_sync: kind == SyncKind::Delta,
                new: counts.new,
                updated: counts.updated,
                deleted: counts.deleted,
            },
            Effect::Truncated { model, received } => HubEvent::SyncTruncated { model, received },
            Effect::NonApplicable { model, errors } => {
                for error in &errors {
                    self.report(item_error(&model, error));
                }
                HubEvent::NonApplicableDataReceived {
                    model,
                    errors: errors.iter().map(ServerError::to_json).collect(),
                }
            }
            Effect::Failed {
                model,
                trouble,
                tried_again,
            } => {
                self.complain(&model, &trouble, tried_again);
                HubEvent::ModelSyncFailed {
                    model,
                    reason: trouble.to_string(),
                }
            }
            Effect::Kept { model, records } => return self.report(kept_error(&model, records)),
            Effect::Ready => HubEvent::SyncQueriesReady,
            Effect::ReadCursor { .. }
            | Effect::List(_)
            | Effect::Ask(_)
            | Effect::Inquire { .. }
            | Effect::Store { .. }
            | Effect::Finished => return,
        };
        self.context.hub.tell(HubMessage::Publish(event)).unwrap_or(());
    }

    /// Tells why a model is not synced, unless that holds for all of them, or for its subscriptions as well, and was told.
    fn complain(&self, model: &ModelName, trouble: &Trouble, tried_again: bool) {
        let mut error = model_error(model, trouble, tried_again);
        if let Trouble::Server(failure) = trouble
            && let Some(whole) = Whole::of_failure(failure)
        {
            if !self.context.endpoint.is_news(whole) {
                return;
            }
            error.model = None;
            error.suggestion = whole.suggestion().to_owned();
        } else if error.kind == ErrorKind::BadModel && !self.context.endpoint.is_news_of(model) {
            return;
        }
        self.report(error);
    }

    fn report(&self, error: SyncError) {
        self.context.settings.report(error);
    }
}

/// Whether the store holds anything of a model that a full sync might not meet.
fn holds(snapshot: &Snapshot, model: &ModelName) -> Result<bool, StorageError> {
    let first = Query {
        page: Page {
            limit: Some(1),
            ..Page::default()
        },
        ..Query::all(model.clone())
    };
    Ok(!snapshot.query(&first)?.is_empty())
}

/// Has the actor hear of something in its turn, so that the trace shows it.
fn hear(ctx: &mut Context<SyncProcessor>, input: Input) {
    ctx.notify(Envelope(SyncMessage::Heard(SyncNews(Box::new(input)))));
}

/// An error about one item of a page.
fn item_error(model: &ModelName, error: &ServerError) -> SyncError {
    SyncError {
        error_type: error.error_type.clone(),
        suggestion: "the record is kept as far as it came; see that the server can deliver all of it"
            .to_owned(),
        ..sync_error(server_error_kind(error), model, error.to_string())
    }
}

/// What a full sync could not do for records that it has not met.
fn kept_error(model: &ModelName, records: Option<u64>) -> SyncError {
    let message = match records {
        Some(records) => format!(
            "a full sync has left {records} records in the store that it did not meet: the server gave items without \
             an identifier, and did not tell of each record whether it is there"
        ),
        None => format!(
            "a full sync has met more than {SEEN_MAX} records, so it cannot tell what the server no longer has; nothing \
             has left the store"
        ),
    };
    SyncError {
        suggestion: "see that the server can deliver every record; the next full sync looks again".to_owned(),
        ..sync_error(ErrorKind::BadRecord, model, message)
    }
}

/// The error of a model that is not synced.
fn model_error(model: &ModelName, trouble: &Trouble, tried_again: bool) -> SyncError {
    let (kind, error_type) = match trouble {
        Trouble::Unfit(unfit) => (unfit.kind, None),
        Trouble::Server(failure) => (error_kind(failure), failure.error_type().map(str::to_owned)),
        Trouble::Store(_) => (ErrorKind::Transient, None),
        Trouble::Circle | Trouble::Endless => (ErrorKind::Unknown, None),
    };
    let suggestion = match kind {
        ErrorKind::BadModel => mismatch_suggestion(model),
        _ => suggestion(kind, tried_again).to_owned(),
    };
    SyncError {
        error_type,
        suggestion,
        ..sync_error(kind, model, trouble.to_string())
    }
}

/// What the app may do about an error that is no matter of schemas.
fn suggestion(kind: ErrorKind, tried_again: bool) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => {
            "give the user access to the model, or sign in again; it is tried again every so often, and with each start"
        }
        ErrorKind::Transient if tried_again => {
            "nothing needs to be done; the model is tried again until it succeeds"
        }
        _ if tried_again => {
            "see what the server says, and what asks for it: a sync expression, the schema, the rights of the user; the \
             model is tried again every so often"
        }
        ErrorKind::ConfigError => "correct the configuration, then start again",
        ErrorKind::BadModel
        | ErrorKind::BadRecord
        | ErrorKind::Transient
        | ErrorKind::LostUpdate
        | ErrorKind::Unknown => "see what the server says; the model is tried again with the next sync",
    }
}

fn sync_error(kind: ErrorKind, model: &ModelName, message: String) -> SyncError {
    SyncError {
        kind,
        process: Process::Sync,
        message,
        error_type: None,
        model: Some(model.clone()),
        key: None,
        operation: None,
        local: None,
        remote: None,
        record: None,
        base: None,
        suggestion: String::new(),
    }
}

impl Handle for SyncProcessor {
    type Message = SyncMessage;

    fn env(&self) -> &Env {
        &self.context.env
    }

    fn handle(&mut self, message: SyncMessage, ctx: &mut Context<Self>) {
        match message {
            SyncMessage::Start => self.step(Input::Start, ctx),
            SyncMessage::Cancel => self.step(Input::Cancel, ctx),
            SyncMessage::Heard(SyncNews(input)) => self.step(*input, ctx),
            SyncMessage::Stop => ctx.stop(),
        }
    }
}

impl Timed for SyncProcessor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn timer_due(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::TimerDue, ctx);
    }
}

actor!(SyncProcessor);

#[cfg(test)]
mod tests;
