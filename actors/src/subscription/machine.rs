//! The machine of the [`SubscriptionProcessor`](super::SubscriptionProcessor).
//!
//! Owns what the supervisor is told and when: that subscriptions are established, lost, drained. Pure. Connections are
//! [`Line`]s, what has arrived waits in a [`Buffer`], what came incomplete is fetched by way of [`Fetches`].
//!
//! | phase | connect | disconnect | drain | all settled, or deadline | live subscription lost | heal due |
//! |---|---|---|---|---|---|---|
//! | idle | establishing | - | - | | | |
//! | establishing | ? | idle | - | told established; established | - | |
//! | established | ? | idle | gate opens | - | told lost; establishing | told lost, told established |
//! | stopped | - | - | - | | | |
//!
//! `-` has no effect, `?` is counted by name, an empty cell cannot be. A drain while establishing has crossed with the
//! news of a loss: the supervisor will ask again.
//!
//! Established means that every subscription is live, left out (unauthorized), or known to fail again. The deadline is
//! for everything else: after [`establish_max_ms`] sync goes on without what is missing.
//!
//! A gap is something that changed at the server and is known not to be in the buffer: it overflowed, a frame did not
//! say what changed, a batch could not be stored, a subscription became live later than the others. Gaps are healed by
//! a delta sync, which the supervisor runs whenever it hears of established subscriptions; it is told so
//!
//! - instead of opening the gate, if there is a gap when it asks to drain, but not twice in a row, so that a server
//!   which keeps making gaps cannot keep the store from becoming ready;
//! - while live, at most once in [`HEAL_INTERVAL_MS`];
//! - while live and a subscription is missing, every [`POLL_INTERVAL_MS`]: a delta sync stands in for it.
//!
//! Invariants: 1. a sync begins after every subscription that is live was acknowledged, and what arrives from then on
//! waits behind the gate until the sync is over; 2. every gap is followed by a sync that begins later.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{ModelName, MutationKind};
use landfall_wire::{FrameText, HttpRequest, HttpResponse, SessionInput, Subject, TransportError};

use super::buffer::{Buffer, Overflow};
use super::catalog::{Catalog, Feed, ModelIndex, Reading, Unfit};
use super::fetch::{Fetches, TooMany, Wanted};
use super::line::{Fate, Line, News, SocketId, Start, Step};
use crate::handlers::ErrorKind;
use crate::reachability::Outcome;
use crate::storage::RemoteBatch;

/// Shortest time between two syncs that heal gaps, so that a server which sends unreadable frames causes no storm.
pub(super) const HEAL_INTERVAL_MS: u64 = 10_000;

/// How often a delta sync stands in for a subscription that is missing.
pub(super) const POLL_INTERVAL_MS: u64 = 5 * 60_000;

/// How long a few subscriptions may take to be established, as on Android.
const ESTABLISH_MS_MIN: u64 = 60_000;

/// How long the subscriptions of each model may take on top of each other, as on Android.
const ESTABLISH_MS_PER_MODEL: u64 = 20_000;

/// What the machine hears.
#[derive(Debug)]
pub(super) enum Input {
    /// From the supervisor: subscribe.
    Connect,
    /// From the supervisor: the server cannot be reached.
    Disconnect,
    /// From the supervisor: somebody wants a sync.
    Heal,
    /// From the supervisor: the sync is over.
    Drain,
    /// From the supervisor: the run has ended.
    Stop,
    /// The deadline has come.
    TimerDue,
    /// A socket is open.
    Opened(SocketId),
    /// A socket cannot be opened.
    NotOpened(SocketId, TransportError),
    /// A frame came.
    Frame(SocketId, String),
    /// A socket has ended.
    Closed(SocketId, String),
    /// The credentials for a `start` are there, or cannot be had.
    Authorized(SocketId, Start),
    /// The answer about an incomplete record.
    Fetched(Wanted, Result<HttpResponse, TransportError>),
    /// A batch is stored, or never will be.
    Stored(Stored),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is on disk, or said nothing new.
    Done,
    /// The store failed.
    Failed,
}

/// What the shell is to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Open a socket.
    Open(SocketId),
    /// Send a frame.
    Send {
        /// Where.
        socket: SocketId,
        /// The frame.
        frame: FrameText,
    },
    /// Close a socket, or stop opening it.
    Close(SocketId),
    /// Have a `start` authorized, and give it an identifier.
    Authorize {
        /// For which socket.
        socket: SocketId,
        /// What is subscribed.
        feed: Feed,
        /// The text.
        data: String,
        /// Credentials that were refused for it.
        attempt: u32,
    },
    /// Tell the transport that the credentials of a connection were refused.
    Refused,
    /// Ask for a record.
    Fetch(Wanted, HttpRequest),
    /// Have these stored.
    Store(RemoteBatch),
    /// Tell the supervisor.
    Tell(Notice),
    /// Tell the `ReachabilityActor`.
    Report(Outcome),
    /// Tell the app.
    Complain(Box<Complaint>),
    /// Nothing more will come: stop once the sockets are closed.
    Quit,
}

/// How far subscriptions have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Established,
    Lost,
    /// Something was missed while the subscriptions live on.
    GapFound,
    Drained,
}

/// An error that the app is to hear of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Complaint {
    /// The model; `None` if the whole connection is concerned.
    pub(super) model: Option<ModelName>,
    /// What the subscription is about.
    pub(super) operation: Option<MutationKind>,
    pub(super) kind: ErrorKind,
    /// AppSync's type, if it gave one.
    pub(super) error_type: Option<String>,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Establishing { deadline_ms: u64 },
    Established,
    Stopped,
}

/// Subscriptions of a run.
#[derive(Debug)]
pub(super) struct Machine {
    catalog: Arc<Catalog>,
    phase: Phase,
    lines: Vec<Line>,
    buffer: Buffer,
    fetches: Fetches,
    gap: bool,
    complained_of_unfit: bool,
    /// Whether the last drain was answered by another sync.
    drain_postponed: bool,
    /// Since when a subscription is missing.
    lacking_since_ms: Option<u64>,
    /// When the supervisor was last told to sync.
    told_at_ms: u64,
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

/// How long subscriptions may take to be established before sync goes on without those that are missing.
pub(super) fn establish_max_ms(models: usize) -> u64 {
    let models = u64::try_from(models).unwrap_or(u64::MAX);
    models
        .saturating_mul(ESTABLISH_MS_PER_MODEL)
        .max(ESTABLISH_MS_MIN)
}

impl Input {
    /// A word for the trace.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::Heal => "Heal",
            Self::Drain => "Drain",
            Self::Stop => "Stop",
            Self::TimerDue => "TimerDue",
            Self::Opened(_) => "Opened",
            Self::NotOpened(..) => "NotOpened",
            Self::Frame(..) => "Frame",
            Self::Closed(..) => "Closed",
            Self::Authorized(..) => "Authorized",
            Self::Fetched(..) => "Fetched",
            Self::Stored(_) => "Stored",
        }
    }
}

impl Complaint {
    fn of(unfit: &Unfit) -> Self {
        Self {
            model: Some(unfit.model.clone()),
            operation: None,
            kind: unfit.kind,
            error_type: None,
            message: unfit.reason.clone(),
        }
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Establishing { .. } => "establishing",
            Self::Established => "established",
            Self::Stopped => "stopped",
        }
    }
}

impl Machine {
    /// A machine that is not connected.
    pub(super) fn new(catalog: Catalog) -> Self {
        let lines = catalog.lines().into_iter().enumerate();
        let lines = lines
            .map(|(number, feeds)| Line::new(number, feeds, &catalog))
            .collect();
        Self {
            catalog: Arc::new(catalog),
            phase: Phase::Idle,
            lines,
            buffer: Buffer::new(),
            fetches: Fetches::default(),
            gap: false,
            complained_of_unfit: false,
            drain_postponed: false,
            lacking_since_ms: None,
            told_at_ms: 0,
            unexpected: BTreeMap::new(),
        }
    }

    /// What a subscription is about.
    pub(super) fn subject(&self, feed: Feed) -> Subject {
        self.catalog.subject(feed)
    }

    /// Inputs that were not expected, by the names of state and input.
    pub(super) fn unexpected(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut all = self.unexpected.clone();
        for (names, count) in self.lines.iter().flat_map(Line::unexpected) {
            *all.entry(names).or_default() += count;
        }
        all
    }

    /// When the machine wants to hear `TimerDue`.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let of_phase = match self.phase {
            Phase::Idle | Phase::Stopped => return None,
            Phase::Establishing { deadline_ms } => Some(deadline_ms),
            Phase::Established => self.heal_due_ms(),
        };
        self.lines.iter().filter_map(Line::due_ms).chain(of_phase).min()
    }

    fn heal_due_ms(&self) -> Option<u64> {
        if self.phase != Phase::Established || !self.buffer.is_live() {
            return None;
        }
        if self.gap {
            return Some(self.told_at_ms.saturating_add(HEAL_INTERVAL_MS));
        }
        let since_ms = self.lacking_since_ms?.max(self.told_at_ms);
        Some(since_ms.saturating_add(POLL_INTERVAL_MS))
    }

    /// Takes an input; returns what is to be done, in this order.
    pub(super) fn step(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, input: Input) -> Vec<Effect> {
        let catalog = Arc::clone(&self.catalog);
        let mut step = Step {
            now_ms,
            random,
            catalog: &catalog,
            effects: Vec::new(),
            news: Vec::new(),
        };
        if self.phase == Phase::Stopped {
            return step.effects;
        }
        let name = input.name();
        if let Fate::Unexpected(state) = self.take(input, &mut step) {
            *self.unexpected.entry((state, name)).or_default() += 1;
        }
        for news in std::mem::take(&mut step.news) {
            self.hear(news, &mut step);
        }
        self.go_on(&mut step);
        step.effects
    }

    fn take(&mut self, input: Input, step: &mut Step<'_>) -> Fate {
        match input {
            Input::Connect => return self.connect(step),
            Input::Disconnect => self.disconnect(Phase::Idle, step),
            // While subscriptions are being established, a sync follows anyway.
            Input::Heal if self.phase == Phase::Established => self.heal(step),
            Input::Heal => {}
            Input::Drain => self.drain(step),
            Input::Stop => {
                self.disconnect(Phase::Stopped, step);
                step.effects.push(Effect::Quit);
            }
            Input::TimerDue => self.lines.iter_mut().for_each(|line| line.timer(step)),
            Input::Opened(socket) => return self.lines[socket.line].opened(socket.turn, step),
            Input::NotOpened(socket, error) => {
                return self.lines[socket.line].not_opened(socket.turn, &error, step);
            }
            Input::Frame(socket, text) => {
                return self.lines[socket.line].heard(socket.turn, SessionInput::Frame(text), step);
            }
            Input::Closed(socket, reason) => {
                return self.lines[socket.line].heard(socket.turn, SessionInput::Closed { reason }, step);
            }
            Input::Authorized(socket, start) => {
                return self.lines[socket.line].authorized(socket.turn, start, step);
            }
            Input::Fetched(wanted, result) => return self.fetched(&wanted, &result, step),
            Input::Stored(stored) => {
                if !self.buffer.stored() {
                    return Fate::Unexpected("nothing is being stored");
                }
                self.gap |= stored == Stored::Failed;
            }
        }
        Fate::Taken
    }

    fn connect(&mut self, step: &mut Step<'_>) -> Fate {
        if self.phase != Phase::Idle {
            return Fate::Unexpected(self.phase.name());
        }
        self.buffer.close();
        self.drain_postponed = false;
        self.phase = self.establishing(step.now_ms);
        if !std::mem::replace(&mut self.complained_of_unfit, true) {
            step.catalog
                .unfit()
                .iter()
                .for_each(|unfit| step.complain(Complaint::of(unfit)));
        }
        self.lines.iter_mut().for_each(|line| line.connect(step));
        Fate::Taken
    }

    /// What has arrived stays in the buffer; a sync follows the next connection in any case.
    fn disconnect(&mut self, phase: Phase, step: &mut Step<'_>) {
        self.lines.iter_mut().for_each(|line| line.disconnect(step));
        self.fetches.forget();
        self.phase = phase;
    }

    fn drain(&mut self, step: &mut Step<'_>) {
        if self.phase != Phase::Established {
            return;
        }
        self.drain_postponed = self.gap && !self.drain_postponed;
        if self.drain_postponed {
            self.heal(step);
        } else {
            self.buffer.drain();
        }
    }

    /// Has the supervisor sync once more.
    fn heal(&mut self, step: &mut Step<'_>) {
        self.await_sync(step.now_ms);
        step.effects.push(Effect::Tell(Notice::GapFound));
    }

    fn establishing(&self, now_ms: u64) -> Phase {
        Phase::Establishing {
            deadline_ms: now_ms.saturating_add(establish_max_ms(self.catalog.models_len())),
        }
    }

    /// A sync begins: whatever happened before is its business.
    fn establish(&mut self, step: &mut Step<'_>) {
        self.phase = Phase::Established;
        self.await_sync(step.now_ms);
        step.effects.push(Effect::Tell(Notice::Established));
    }

    fn await_sync(&mut self, now_ms: u64) {
        self.gap = false;
        self.told_at_ms = now_ms;
        self.buffer.close();
    }

    fn hear(&mut self, news: News, step: &mut Step<'_>) {
        match news {
            News::Live => self.gap |= self.phase == Phase::Established,
            News::Lost => {
                if self.phase == Phase::Established {
                    self.phase = self.establishing(step.now_ms);
                    step.effects.push(Effect::Tell(Notice::Lost));
                }
            }
            News::Data { feed, payload } => {
                let reading = step.catalog.read_data(feed, &payload);
                self.read(feed.model, reading, payload.len(), step);
            }
        }
    }

    fn fetched(
        &mut self,
        wanted: &Wanted,
        result: &Result<HttpResponse, TransportError>,
        step: &mut Step<'_>,
    ) -> Fate {
        if !self.fetches.answered(wanted) {
            return Fate::Unexpected("nothing is asked for");
        }
        step.effects.push(Effect::Report(Outcome::of_result(result)));
        let (reading, bytes) = match result {
            Ok(response) => (step.catalog.read_get(wanted.model, response), response.body.len()),
            Err(_) => (Reading::Unknown, 0),
        };
        self.read(wanted.model, reading, bytes, step);
        Fate::Taken
    }

    fn read(&mut self, model: ModelIndex, reading: Reading, bytes: usize, step: &Step<'_>) {
        match reading {
            Reading::Apply(item) => {
                if let Err(Overflow { dropped }) =
                    self.buffer.push(step.catalog.model(model).clone(), item, bytes)
                {
                    tracing::warn!(dropped, "more arrived than can wait; a sync will bring it");
                    self.gap = true;
                }
            }
            Reading::Nothing => {}
            Reading::Incomplete(id) => {
                if let Err(TooMany) = self.fetches.want(Wanted { model, id }) {
                    self.gap = true;
                }
            }
            Reading::Unknown => self.gap = true,
        }
    }

    /// What follows by itself from where everything stands now.
    fn go_on(&mut self, step: &mut Step<'_>) {
        if let Phase::Establishing { deadline_ms } = self.phase
            && (deadline_ms <= step.now_ms || self.lines.iter().all(Line::is_settled))
        {
            self.establish(step);
        }
        if self.lines.iter().any(Line::is_lacking) {
            self.lacking_since_ms.get_or_insert(step.now_ms);
        } else {
            self.lacking_since_ms = None;
        }
        if self.heal_due_ms().is_some_and(|due_ms| due_ms <= step.now_ms) {
            self.heal(step);
        }
        while let Some(wanted) = self.fetches.ask() {
            let request = step.catalog.get(wanted.model, &wanted.id);
            step.effects.push(Effect::Fetch(wanted, request));
        }
        if let Some(batch) = self.buffer.next_batch() {
            step.effects.push(Effect::Store(batch));
        }
        // Nobody waits for it any more if the connection has gone meanwhile.
        if self.buffer.take_drained() && self.phase == Phase::Established {
            step.effects.push(Effect::Tell(Notice::Drained));
        }
    }
}

#[cfg(test)]
mod tests;
