//! SubscriptionProcessor: hears of changes at the server as they happen.
//!
//! Owns the realtime connections, one subscription for each synced model and kind of change, and the buffer that holds
//! what arrives while models are synced. Asks the server through [`Transport`](landfall_wire::Transport), asks
//! `StorageActor` to store records, tells the supervisor how far it has got, tells `ReachabilityActor` how the server
//! answers, and tells the app, by error handler and hub, what it may want to act on.
//!
//! The machine (`subscription/machine.rs`) decides, this shell performs:
//!
//! | file | owns |
//! |---|---|
//! | `machine.rs` | what the supervisor is told and when, and the healing of gaps |
//! | `line.rs`, `feed.rs` | one connection, one subscription |
//! | `buffer.rs` | the gate and the batches |
//! | `catalog.rs` | documents, filters, and what a payload says |
//! | `fetch.rs` | records that came incomplete |
//! | `socket.rs` | the tasks that read and write |
//!
//! Invariants: 1. one batch at a time is with `StorageActor`, so its mailbox is bounded; 2. a socket is closed in good
//! order, also when the actor stops, for as long as `CLOSE_MS_MAX`.
//!
//! What is lost when too much arrives is said in `buffer.rs`: nothing, since the buffer is given up as a whole and a
//! delta sync takes its place.

mod buffer;
mod catalog;
mod feed;
mod fetch;
mod line;
mod machine;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) use testing::high_ratings_of_posts;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use actix::prelude::*;

use landfall_core::ModelName;
use landfall_wire::{FrameText, HttpRequest, Socket, SubscriptionId, TransportError};

use crate::actor;
use crate::endpoint::{Whole, mismatch_suggestion};
use crate::env::Env;
use crate::flight;
use crate::handlers::{ErrorKind, Process, SyncError};
use crate::hub::{HubEvent, HubMessage};
use crate::meter::Count;
use crate::port::{Handle, Message, Port};
use crate::reachability::ReachabilityMessage;
use crate::storage::{RemoteBatch, StorageMessage};
use crate::supervisor::{self, SupervisorMessage};
use crate::timer::{Timed, Timer, arm};
use catalog::{Catalog, Feed};
use fetch::Wanted;
use line::{SocketId, Start};
use machine::{Complaint, Effect, Input, Machine, Notice, Stored};
use socket::Opened;

/// How long a stopping actor waits for its sockets to close, in milliseconds: a close frame is one round trip, and
/// whoever stops a store waits for no network.
const CLOSE_MS_MAX: u64 = 1_000;

/// What the app can do where realtime fails by itself or with everything else.
const NO_CONNECTION: &str = "nothing needs to be done here, unless a proxy stands before the server that lets no WebSocket through; \
     realtime is tried again, and delta syncs stand in for it as far as the server answers those";

/// Messages to the [`SubscriptionProcessor`].
#[derive(Debug)]
pub enum SubscriptionMessage {
    /// From the supervisor: the server can be reached, subscribe. Answered by `SubscriptionsEstablished`.
    Connect,
    /// From the supervisor: the server cannot be reached.
    Disconnect,
    /// From the supervisor: somebody wants a sync. Answered by `GapFound`, unless a sync will follow anyway.
    Heal,
    /// From the supervisor: models are synced, store what has arrived. Answered by `BufferDrained`, or by `GapFound`
    /// if that would leave a gap.
    Drain,
    /// From the supervisor: the run has ended.
    Stop,
    /// From the actor itself: what its tasks heard from server and store.
    Heard(Heard),
}

/// What the tasks of a [`SubscriptionProcessor`] hear.
pub struct Heard(Input);

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Frames hold records, and records are not for logs.
        f.write_str(self.0.name())
    }
}

impl Message for SubscriptionMessage {
    const ACTOR: &'static str = "SubscriptionProcessor";

    fn name(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::Heal => "Heal",
            Self::Drain => "Drain",
            Self::Stop => "Stop",
            Self::Heard(Heard(input)) => input.name(),
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Heard(Heard(Input::Frame(_, text))) => flight::print_of_bytes(text.as_bytes()),
            Self::Heard(Heard(input)) => flight::print_of(&input.name()),
            _ => 0,
        }
    }
}

/// Hears of changes at the server as they happen.
#[derive(Debug)]
pub struct SubscriptionProcessor {
    context: supervisor::Context,
    machine: Machine,
    timer: Timer,
    /// The way to its own mailbox; `None` until it runs.
    port: Option<Port<SubscriptionMessage>>,
    /// At most one socket for each line.
    sockets: BTreeMap<SocketId, Wire>,
    /// Tasks that still write or close.
    writers: usize,
    stopping: bool,
}

/// How far a socket has got.
#[derive(Debug)]
enum Wire {
    Opening(SpawnHandle),
    Open { opened: Opened, reader: SpawnHandle },
}

impl SubscriptionProcessor {
    /// A processor that waits for `Connect`.
    pub fn new(context: supervisor::Context) -> Self {
        let machine = Machine::new(Catalog::new(&context.schema, &context.settings));
        Self {
            context,
            machine,
            timer: Timer::default(),
            port: None,
            sockets: BTreeMap::new(),
            writers: 0,
            stopping: false,
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let Env { clock, entropy, .. } = &self.context.env;
        let effects = self
            .machine
            .step(clock.now_ms(), &mut || entropy.next_u64(), input);
        for effect in effects {
            self.perform(effect, ctx);
        }
        arm(self, ctx, self.machine.due_ms());
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Open(socket) => self.open(socket, ctx),
            Effect::Send { socket, frame } => self.send(socket, frame),
            Effect::Close(socket) => self.close(socket, ctx),
            Effect::Authorize {
                socket,
                feed,
                data,
                attempt,
            } => self.authorize(socket, feed, data, attempt, ctx),
            Effect::Refused => {
                if let Some(transport) = &self.context.env.transport {
                    transport.connection_refused();
                }
            }
            Effect::Fetch(wanted, request) => self.fetch(wanted, request, ctx),
            Effect::Store(batch) => self.store(batch, ctx),
            Effect::Tell(notice) => self.tell(notice),
            // An actor of this run that is gone has stopped with the run, and nobody misses what it would have heard.
            Effect::Report(outcome) => {
                self.context
                    .reachability
                    .tell(ReachabilityMessage::Report(outcome))
                    .unwrap_or(());
            }
            Effect::Complain(complaint) => self.complain(*complaint),
            Effect::Quit => self.quit(ctx),
        }
    }

    fn port(&self) -> &Port<SubscriptionMessage> {
        self.port
            .as_ref()
            .expect("an actor has its port from its first moment on")
    }

    /// Puts something that was heard at the end of the mailbox.
    fn hear(&self, input: Input) {
        self.port()
            .tell(SubscriptionMessage::Heard(Heard(input)))
            .unwrap_or(());
    }

    fn open(&mut self, socket: SocketId, ctx: &mut Context<Self>) {
        let Some(transport) = &self.context.env.transport else {
            let reason = "there is no server to sync with".to_owned();
            return self.hear(Input::NotOpened(socket, TransportError::Misconfigured { reason }));
        };
        let opening = transport
            .connect()
            .into_actor(self)
            .map(move |result, actor, ctx| match result {
                Ok(opened) => actor.opened(socket, opened, ctx),
                Err(error) => {
                    actor.sockets.remove(&socket);
                    actor.hear(Input::NotOpened(socket, error));
                }
            });
        let opening = ctx.spawn(opening);
        self.sockets.insert(socket, Wire::Opening(opening));
    }

    fn opened(&mut self, socket: SocketId, open: Box<dyn Socket>, ctx: &mut Context<Self>) {
        if !matches!(self.sockets.get(&socket), Some(Wire::Opening(_))) {
            // Given up in the moment it opened; dropping it is all that is left to do.
            return;
        }
        let (sink, stream) = open.split();
        let (opened, unsent) = Opened::new();
        let reading = socket::read(socket, stream, opened.credit.clone(), self.port().clone());
        let reader = ctx.spawn(reading.into_actor(self));
        let writing = socket::write(socket, sink, unsent, self.port().clone());
        let writing = flight::resume(self.context.env.clone(), "Written", writing);
        ctx.spawn(writing.into_actor(self).map(|(), actor, ctx| actor.written(ctx)));
        self.writers += 1;
        self.sockets.insert(socket, Wire::Open { opened, reader });
        self.hear(Input::Opened(socket));
    }

    /// A writing task has ended.
    fn written(&mut self, ctx: &mut Context<Self>) {
        self.writers -= 1;
        if self.stopping && self.writers == 0 {
            ctx.stop();
        }
    }

    fn send(&mut self, socket: SocketId, frame: FrameText) {
        let Some(Wire::Open { opened, .. }) = self.sockets.get(&socket) else {
            return;
        };
        if opened.outgoing.try_send(frame.into_text()).is_err() {
            self.hear(Input::Closed(socket, "it takes no more frames".to_owned()));
        }
    }

    fn close(&mut self, socket: SocketId, ctx: &mut Context<Self>) {
        match self.sockets.remove(&socket) {
            Some(Wire::Opening(task) | Wire::Open { reader: task, .. }) => {
                // The writing task ends by itself: its channel is dropped with the rest.
                ctx.cancel_future(task);
            }
            None => {}
        }
    }

    fn authorize(
        &mut self,
        socket: SocketId,
        feed: Feed,
        data: String,
        attempt: u32,
        ctx: &mut Context<Self>,
    ) {
        let Some(transport) = &self.context.env.transport else {
            return;
        };
        let id = SubscriptionId::new(&self.context.env.new_id().to_string());
        let authorizing = transport
            .authorize_start(&self.machine.subject(feed), &data, attempt)
            .into_actor(self)
            .map(move |authorization, actor, _| {
                actor.hear(Input::Authorized(
                    socket,
                    Start {
                        feed,
                        id,
                        data,
                        authorization,
                    },
                ));
            });
        ctx.spawn(authorizing);
    }

    fn fetch(&mut self, wanted: Wanted, request: HttpRequest, ctx: &mut Context<Self>) {
        let Some(transport) = &self.context.env.transport else {
            return;
        };
        let asking = transport.execute(request).into_actor(self);
        ctx.spawn(asking.map(move |result, actor, _| actor.hear(Input::Fetched(wanted, result))));
    }

    fn store(&mut self, batch: RemoteBatch, ctx: &mut Context<Self>) {
        let storage = self.context.storage.clone();
        let epoch = self.context.epoch;
        let asking = async move {
            storage
                .ask(|reply| StorageMessage::ApplyRemote { epoch, batch, reply })
                .await
        };
        ctx.spawn(asking.into_actor(self).map(|answer, actor, _| {
            let stored = match answer {
                Ok(Ok(_)) => Stored::Done,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "records of a subscription could not be stored; a sync will bring them");
                    Stored::Failed
                }
                Err(_) => Stored::Failed,
            };
            actor.hear(Input::Stored(stored));
        }));
    }

    fn tell(&mut self, notice: Notice) {
        let epoch = self.context.epoch;
        let message = match notice {
            Notice::Established => SupervisorMessage::SubscriptionsEstablished { epoch },
            Notice::Lost => SupervisorMessage::SubscriptionsLost { epoch },
            Notice::GapFound => SupervisorMessage::GapFound { epoch },
            Notice::Drained => SupervisorMessage::BufferDrained { epoch },
        };
        self.context.supervisor.tell(message).unwrap_or(());
    }

    fn complain(&mut self, complaint: Complaint) {
        if let Some(model) = complaint.model.clone() {
            let event = HubEvent::SubscriptionFailed {
                model,
                reason: complaint.message.clone(),
            };
            self.context.hub.tell(HubMessage::Publish(event)).unwrap_or(());
        }
        let whole = match complaint.model {
            None => Whole::of_realtime(complaint.kind, complaint.error_type.as_deref()),
            Some(_) => None,
        };
        if whole.is_some_and(|whole| !self.context.endpoint.is_news(whole)) {
            return;
        }
        let mismatched = complaint
            .model
            .as_ref()
            .filter(|_| complaint.kind == ErrorKind::BadModel);
        if mismatched.is_some_and(|model| !self.context.endpoint.is_news_of(model)) {
            return;
        }
        let suggestion = match whole {
            // Plain requests may fare better.
            Some(Whole::Failing) => NO_CONNECTION.to_owned(),
            Some(whole) => whole.suggestion().to_owned(),
            None => suggestion(complaint.kind, complaint.model.as_ref()),
        };
        self.context.settings.report(SyncError {
            kind: complaint.kind,
            process: Process::Subscribe,
            message: complaint.message,
            error_type: complaint.error_type,
            model: complaint.model,
            key: None,
            operation: complaint.operation,
            local: None,
            remote: None,
            record: None,
            base: None,
            suggestion,
        });
    }

    fn quit(&mut self, ctx: &mut Context<Self>) {
        let unexpected = self.machine.unexpected();
        if !unexpected.is_empty() {
            tracing::debug!(?unexpected, "what was not expected in this run");
        }
        self.stopping = true;
        if self.writers == 0 {
            return ctx.stop();
        }
        let within = Duration::from_millis(CLOSE_MS_MAX);
        flight::later(self, ctx, "CloseOverdue", within, |_, ctx| ctx.stop());
    }

    fn count(&self, input: &Input) {
        let count = match input {
            Input::Frame(..) => Count::Frames,
            Input::Opened(_) => Count::SocketsOpened,
            Input::NotOpened(..) | Input::Closed(..) => Count::SocketsLost,
            _ => return,
        };
        self.context.env.meter.add(count, 1);
    }

    /// A frame is handled: another may be read.
    fn return_credit(&self, socket: SocketId) {
        if let Some(Wire::Open { opened, .. }) = self.sockets.get(&socket) {
            opened.credit.add_permits(1);
        }
    }
}

/// What the app may do about an error.
fn suggestion(kind: ErrorKind, model: Option<&ModelName>) -> String {
    let what = model.map_or_else(|| "realtime".to_owned(), |model| format!("`{model}`"));
    match (kind, model) {
        (ErrorKind::BadModel, Some(model)) => mismatch_suggestion(model),
        (ErrorKind::Unauthorized, _) => {
            format!(
                "check the credentials and what they may read; {what} is tried again with the next connection"
            )
        }
        (ErrorKind::ConfigError | ErrorKind::BadModel, _) => {
            format!("correct the configuration of {what} and start again")
        }
        (ErrorKind::Transient, _) => {
            format!("nothing; {what} is subscribed again, and delta syncs stand in until then")
        }
        (ErrorKind::BadRecord | ErrorKind::LostUpdate | ErrorKind::Unknown, _) => {
            "report what the message says to the server's operator".to_owned()
        }
    }
}

impl Handle for SubscriptionProcessor {
    type Message = SubscriptionMessage;

    fn env(&self) -> &Env {
        &self.context.env
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.port = Some(Port::new(&ctx.address(), self.context.env.clone()));
    }

    fn handle(&mut self, message: SubscriptionMessage, ctx: &mut Context<Self>) {
        let input = match message {
            SubscriptionMessage::Connect => Input::Connect,
            SubscriptionMessage::Disconnect => Input::Disconnect,
            SubscriptionMessage::Heal => Input::Heal,
            SubscriptionMessage::Drain => Input::Drain,
            SubscriptionMessage::Stop => Input::Stop,
            SubscriptionMessage::Heard(Heard(input)) => input,
        };
        self.count(&input);
        let read_from = match &input {
            Input::Frame(socket, _) => Some(*socket),
            _ => None,
        };
        self.step(input, ctx);
        if let Some(socket) = read_from {
            self.return_credit(socket);
        }
    }
}

impl Timed for SubscriptionProcessor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn timer_due(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::TimerDue, ctx);
    }
}

actor!(SubscriptionProcessor);

#[cfg(test)]
mod tests;
