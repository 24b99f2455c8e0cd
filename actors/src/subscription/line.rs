//! One realtime connection that is kept up.
//!
//! Owns opening and reopening, and which of its subscriptions are started when; frames and their deadlines are the
//! wire's [`Session`], a single subscription's fate is [`Subscribed`]. Pure.
//!
//! | link | connect | socket opens | cannot be opened | frame, socket ends | timer |
//! |---|---|---|---|---|---|
//! | idle | open; opening | - | - | - | - |
//! | opening | ? | session begins; open | waiting | ? | - |
//! | open | ? | ? | ? | the session's; if it ends, waiting | the session's, and subscriptions to be retried |
//! | waiting | ? | - | - | - | when due: open; opening |
//!
//! Disconnecting leads to idle from everywhere. Each opening has a new [`SocketId`]; what still comes from an older one
//! is stale (`-`), what cannot come is unexpected (`?`).
//!
//! A connection is opened again with jittered backoff, slowly if the server or the settings refuse it. One that cannot be had
//! [`OPENINGS_AWAITED_MAX`] times in a row is told of and not waited for any more. A connection that
//! has lived for [`STABLE_MS`], as one that the server cuts after 24 hours, starts anew from the shortest wait.
//!
//! Invariants: 1. at most [`STARTS_MAX`] subscriptions are being started; 2. with a new connection every subscription is
//! started again, with fresh credentials and a fresh identifier.

use std::collections::BTreeMap;

use landfall_wire::{
    Backoff, BackoffPolicy, Credentials, FailureClass, LossReason, Session, SessionEffect, SessionInput,
    SubscriptionId, TransportError,
};

use super::catalog::{Catalog, Feed};
use super::feed::{Cause, SLOW_RETRY_MS, STABLE_MS, Stage, Subscribed};
use super::machine::{Complaint, Effect};
use crate::handlers::ErrorKind;
use crate::reachability::Outcome;

/// Subscriptions that are being started at the same time on one connection: enough to hide the round trip, and well
/// below the rate at which a server refuses.
pub(super) const STARTS_MAX: usize = 32;

/// Connections in a row that cannot be had before sync goes on without, one or two seconds: a proxy that knows no WebSocket, or
/// a server that fails, must hold up neither what plain requests bring nor the news of it.
pub(super) const OPENINGS_AWAITED_MAX: u32 = 3;

/// When a lost connection is opened again.
pub(super) const RECONNECT_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 500,
    longest_ms: 60_000,
    attempts_max: None,
};

/// One opening of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketId {
    pub(super) line: usize,
    pub(super) turn: u64,
}

/// What became of subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// A subscription is live.
    Live,
    /// The connection is lost, and live subscriptions with it.
    Lost,
    /// Something changed.
    Data {
        /// What is subscribed.
        feed: Feed,
        /// The payload.
        payload: String,
    },
}

/// One step: when, with what chance, and what comes of it.
pub(super) struct Step<'a> {
    pub(super) now_ms: u64,
    pub(super) random: &'a mut dyn FnMut() -> u64,
    pub(super) catalog: &'a Catalog,
    pub(super) effects: Vec<Effect>,
    pub(super) news: Vec<News>,
}

/// What an input is to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It had its effect.
    Taken,
    /// It belongs to a socket that is given up.
    Stale,
    /// It should not have come; this is the state that it met.
    Unexpected(&'static str),
}

/// A `start` frame that is ready to be sent, but for its credentials.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) feed: Feed,
    /// Fresh; never used before.
    pub(super) id: SubscriptionId,
    /// The text that was authorized.
    pub(super) data: String,
    pub(super) authorization: Result<Credentials, TransportError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Idle,
    Opening,
    Open {
        /// Since when the server has acknowledged the connection.
        live_since_ms: Option<u64>,
    },
    Waiting {
        due_ms: u64,
        /// Whether sync waits for it: not if the server or the settings refuse any connection, or none came for so long.
        awaited: bool,
    },
}

/// One realtime connection.
#[derive(Debug)]
pub(super) struct Line {
    number: usize,
    turn: u64,
    link: Link,
    session: Session,
    session_due_ms: Option<u64>,
    feeds: Vec<Subscribed>,
    /// Positions in `feeds` of those that are starting or live.
    by_id: BTreeMap<SubscriptionId, usize>,
    backoff: Backoff,
    /// Openings in a row of which no connection came.
    failures: u32,
    complained: Option<ErrorKind>,
    /// What earlier sessions did not expect.
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

impl Step<'_> {
    /// The app is to hear of an error.
    pub(super) fn complain(&mut self, complaint: Complaint) {
        self.effects.push(Effect::Complain(Box::new(complaint)));
    }
}

impl Line {
    /// A line of that number for those subscriptions.
    pub(super) fn new(number: usize, feeds: Vec<Feed>, catalog: &Catalog) -> Self {
        Self {
            number,
            turn: 0,
            link: Link::Idle,
            session: Session::new(),
            session_due_ms: None,
            feeds: feeds
                .into_iter()
                .map(|feed| Subscribed::new(feed, catalog))
                .collect(),
            by_id: BTreeMap::new(),
            backoff: Backoff::new(RECONNECT_BACKOFF),
            failures: 0,
            complained: None,
            unexpected: BTreeMap::new(),
        }
    }

    /// Whether there is nothing left to wait for: each subscription is live, left out, or known never to come.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.link, Link::Waiting { awaited: false, .. })
            || self.feeds.iter().all(Subscribed::is_settled)
    }

    /// Whether a subscription that should be live is not.
    pub(super) fn is_lacking(&self) -> bool {
        self.feeds.iter().any(Subscribed::is_lacking)
    }

    /// Frames that no session expected, by the names of state and frame.
    pub(super) fn unexpected(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> {
        self.unexpected
            .iter()
            .chain(self.session.unexpected())
            .map(|(names, count)| (*names, *count))
    }

    /// When the line wants to hear [`timer`](Self::timer).
    pub(super) fn due_ms(&self) -> Option<u64> {
        match self.link {
            Link::Idle | Link::Opening => None,
            Link::Waiting { due_ms, .. } => Some(due_ms),
            Link::Open { .. } => {
                let retries = self.feeds.iter().filter_map(|one| match one.stage {
                    Stage::Waiting { due_ms, .. } => Some(due_ms),
                    _ => None,
                });
                retries.chain(self.session_due_ms).min()
            }
        }
    }

    fn socket(&self) -> SocketId {
        SocketId {
            line: self.number,
            turn: self.turn,
        }
    }

    /// What an input of that opening is while the link is neither opening nor open.
    fn fate(&self, turn: u64) -> Fate {
        match self.link {
            _ if turn != self.turn => Fate::Stale,
            Link::Idle | Link::Waiting { .. } => Fate::Stale,
            Link::Opening => Fate::Unexpected("opening"),
            Link::Open { .. } => Fate::Unexpected("open"),
        }
    }

    /// Opens the line.
    pub(super) fn connect(&mut self, step: &mut Step<'_>) {
        assert_eq!(
            self.link,
            Link::Idle,
            "a line is connected once, and again only after it was disconnected"
        );
        self.open(step);
    }

    /// Closes the line.
    pub(super) fn disconnect(&mut self, step: &mut Step<'_>) {
        if matches!(self.link, Link::Opening | Link::Open { .. }) {
            step.effects.push(Effect::Close(self.socket()));
        }
        self.leave(Link::Idle, step.now_ms);
        // The way there may be another the next time.
        self.failures = 0;
    }

    fn open(&mut self, step: &mut Step<'_>) {
        self.turn += 1;
        self.link = Link::Opening;
        step.effects.push(Effect::Open(self.socket()));
    }

    /// Leaves the connection behind; what was learnt about failures and filters stays. Returns whether a live
    /// subscription went with it.
    fn leave(&mut self, link: Link, now_ms: u64) -> bool {
        for (names, count) in std::mem::take(&mut self.session).unexpected() {
            *self.unexpected.entry(*names).or_default() += count;
        }
        self.link = link;
        self.session_due_ms = None;
        self.by_id.clear();
        let mut lost_live = false;
        for one in &mut self.feeds {
            lost_live |= one.lost(now_ms);
        }
        lost_live
    }

    /// The socket is open.
    pub(super) fn opened(&mut self, turn: u64, step: &mut Step<'_>) -> Fate {
        if turn != self.turn || self.link != Link::Opening {
            return self.fate(turn);
        }
        self.link = Link::Open { live_since_ms: None };
        self.session(SessionInput::Opened, step);
        Fate::Taken
    }

    /// The socket cannot be opened.
    pub(super) fn not_opened(&mut self, turn: u64, error: &TransportError, step: &mut Step<'_>) -> Fate {
        if turn != self.turn || self.link != Link::Opening {
            return self.fate(turn);
        }
        step.effects.push(Effect::Report(Outcome::of_error(error)));
        let refusal = match error {
            TransportError::Unauthorized { .. } => Some(ErrorKind::Unauthorized),
            TransportError::Misconfigured { .. } => Some(ErrorKind::ConfigError),
            _ => None,
        };
        self.wait(refusal, &error.to_string(), None, step);
        Fate::Taken
    }

    /// A frame came, or the socket ended.
    pub(super) fn heard(&mut self, turn: u64, input: SessionInput, step: &mut Step<'_>) -> Fate {
        if turn != self.turn || !matches!(self.link, Link::Open { .. }) {
            return self.fate(turn);
        }
        self.session(input, step);
        Fate::Taken
    }

    /// The credentials for a `start` are there, or cannot be had.
    pub(super) fn authorized(&mut self, turn: u64, start: Start, step: &mut Step<'_>) -> Fate {
        if turn != self.turn || !matches!(self.link, Link::Open { .. }) {
            return self.fate(turn);
        }
        let awaited = |one: &Subscribed| one.feed == start.feed && one.stage == Stage::Authorizing;
        let Some(position) = self.feeds.iter().position(awaited) else {
            return Fate::Unexpected("open");
        };
        match start.authorization {
            Ok(authorization) => {
                self.feeds[position].stage = Stage::Starting;
                self.by_id.insert(start.id.clone(), position);
                self.session(
                    SessionInput::Subscribe {
                        id: start.id,
                        data: start.data,
                        authorization,
                    },
                    step,
                );
            }
            Err(error) => {
                self.feeds[position].failed(Cause::of_transport(&error), step);
                self.start_some(step);
            }
        }
        Fate::Taken
    }

    /// The deadline has come, perhaps another line's.
    pub(super) fn timer(&mut self, step: &mut Step<'_>) {
        match self.link {
            Link::Waiting { due_ms, .. } if due_ms <= step.now_ms => self.open(step),
            Link::Open { .. } => {
                for one in &mut self.feeds {
                    if matches!(one.stage, Stage::Waiting { due_ms, .. } if due_ms <= step.now_ms) {
                        one.stage = Stage::Idle;
                    }
                }
                if self.session_due_ms.is_some_and(|due_ms| due_ms <= step.now_ms) {
                    self.session_due_ms = None;
                    self.session(SessionInput::Timeout, step);
                }
                self.start_some(step);
            }
            Link::Idle | Link::Opening | Link::Waiting { .. } => {}
        }
    }

    fn session(&mut self, input: SessionInput, step: &mut Step<'_>) {
        for effect in self.session.step(step.now_ms, input) {
            match effect {
                SessionEffect::Send(frame) => step.effects.push(Effect::Send {
                    socket: self.socket(),
                    frame,
                }),
                SessionEffect::ConnectionLive { .. } => {
                    self.link = Link::Open {
                        live_since_ms: Some(step.now_ms),
                    };
                    self.failures = 0;
                    self.complained = None;
                    step.effects.push(Effect::Report(Outcome::Reached));
                }
                SessionEffect::SubscriptionLive { id } => {
                    if let Some(position) = self.by_id.get(&id) {
                        self.feeds[*position].stage = Stage::Live {
                            since_ms: step.now_ms,
                        };
                        step.news.push(News::Live);
                    }
                }
                SessionEffect::SubscriptionFailed { id, class, errors } => {
                    self.failed(&id, Cause::of_errors(class, &errors), step);
                }
                SessionEffect::Completed { id } => self.failed(&id, Cause::ended(), step),
                SessionEffect::Data { id, payload } => {
                    if let Some(position) = self.by_id.get(&id) {
                        step.news.push(News::Data {
                            feed: self.feeds[*position].feed,
                            payload,
                        });
                    }
                }
                // The last that a session has to say but for closing the socket, which every loss does.
                SessionEffect::ConnectionLost { reason } => return self.lost(&reason, step),
                SessionEffect::ArmTimer { at_ms } => self.session_due_ms = Some(at_ms),
                SessionEffect::Close => {}
            }
        }
        self.start_some(step);
    }

    fn failed(&mut self, id: &SubscriptionId, cause: Cause, step: &mut Step<'_>) {
        if let Some(position) = self.by_id.remove(id) {
            self.feeds[position].failed(cause, step);
        }
    }

    /// Starts as many subscriptions as may be started at a time.
    fn start_some(&mut self, step: &mut Step<'_>) {
        if !self.session.is_live() {
            return;
        }
        let starting = |one: &&Subscribed| matches!(one.stage, Stage::Authorizing | Stage::Starting);
        let room = STARTS_MAX.saturating_sub(self.feeds.iter().filter(starting).count());
        let socket = self.socket();
        for one in self
            .feeds
            .iter_mut()
            .filter(|one| one.stage == Stage::Idle)
            .take(room)
        {
            one.stage = Stage::Authorizing;
            let data = step.catalog.start_data(one.feed, one.filter);
            step.effects.push(Effect::Authorize {
                socket,
                feed: one.feed,
                data,
                attempt: one.attempt,
            });
        }
    }

    fn lost(&mut self, reason: &LossReason, step: &mut Step<'_>) {
        let refusal = match reason {
            LossReason::Refused {
                class: FailureClass::Unauthorized,
                ..
            } => Some(ErrorKind::Unauthorized),
            LossReason::Refused {
                class: FailureClass::Permanent,
                ..
            } => Some(ErrorKind::ConfigError),
            // It refused for the moment, but it answered.
            LossReason::Refused { .. } => None,
            LossReason::Closed { .. }
            | LossReason::AckTimeout
            | LossReason::KeepAliveMissed { .. }
            | LossReason::BadFrame(_) => {
                step.effects.push(Effect::Report(Outcome::Unreachable));
                None
            }
        };
        if refusal == Some(ErrorKind::Unauthorized) {
            step.effects.push(Effect::Refused);
        }
        let error_type = match reason {
            LossReason::Refused { errors, .. } => errors.first().and_then(|error| error.error_type.clone()),
            _ => None,
        };
        self.wait(refusal, &reason.to_string(), error_type, step);
    }

    /// Gives the socket up and waits before the next.
    fn wait(
        &mut self,
        refusal: Option<ErrorKind>,
        reason: &str,
        error_type: Option<String>,
        step: &mut Step<'_>,
    ) {
        tracing::debug!(line = self.number, reason, "no realtime connection");
        if let Link::Open {
            live_since_ms: Some(since_ms),
        } = self.link
            && step.now_ms.saturating_sub(since_ms) >= STABLE_MS
        {
            self.backoff.reset();
        }
        let at_least_ms = refusal.map(|_| SLOW_RETRY_MS);
        let wait_ms = self
            .backoff
            .next(at_least_ms, step.random)
            .unwrap_or(RECONNECT_BACKOFF.longest_ms);
        step.effects.push(Effect::Close(self.socket()));
        let was_live = matches!(
            self.link,
            Link::Open {
                live_since_ms: Some(_)
            }
        );
        self.failures = self.failures.saturating_add(u32::from(!was_live));
        let given_up = (self.failures >= OPENINGS_AWAITED_MAX).then_some(ErrorKind::Transient);
        let trouble = refusal.or(given_up);
        let link = Link::Waiting {
            due_ms: step.now_ms.saturating_add(wait_ms),
            awaited: trouble.is_none(),
        };
        if self.leave(link, step.now_ms) {
            step.news.push(News::Lost);
        }
        if let Some(kind) = trouble
            && self.complained.replace(kind) != Some(kind)
        {
            let message = format!("no realtime connection: {reason}");
            step.complain(Complaint {
                model: None,
                operation: None,
                kind,
                error_type,
                message,
            });
        }
    }
}
