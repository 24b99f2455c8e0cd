//! One realtime connection, from the opened socket to its end.
//!
//! Owns the order of frames, the subscriptions of the connection and every deadline. Does not open, send or wait: the
//! caller feeds inputs with the time, performs the effects in order, and calls again with `Timeout` when the armed
//! timer is due. A lost connection is not opened again; that is a new session's business, with new identifiers.
//!
//! | state | `Opened` | `connection_ack` | `ka` | `start_ack` `data` `error` `complete` | `connection_error` | `Subscribe` | `Unsubscribe` | `Timeout` | `Closed` |
//! |---|---|---|---|---|---|---|---|---|---|
//! | connecting | send `connection_init`; awaiting ack | ? | ? | ? | lost | kept | dropped | - | lost |
//! | awaiting ack | ? | send kept `start`s; live | ? | ? | lost | kept | dropped | lost if 15 s without ack | lost |
//! | live | ? | ? | alive | to its subscription | lost | send `start` | send `stop` | see below | lost |
//! | closed | ? | - | - | - | - | fails | - | - | - |
//!
//! `?` is unexpected: it is counted under the names of state and input and has no other effect. `-` has no effect.
//! Frames of unknown type, and frames that only clients send, are `?` in every open state. A frame that cannot be read
//! ends the connection, because nobody knows what was lost with it.
//!
//! | subscription | `start_ack` | `data` | `error` | `complete` | `Unsubscribe` | 15 s |
//! |---|---|---|---|---|---|---|
//! | waiting for the connection | ? | ? | ? | ? | ends | - |
//! | starting | live | delivered | fails | ends | send `stop`; stopping | fails, send `stop`; stopping |
//! | live | ? | delivered | fails | ends | send `stop`; stopping | - |
//! | stopping | - | - | ends | ends | ? | ends |
//! | not there | ? | ? | ? | ? | ? | |
//!
//! Any frame proves that the server is alive. Without one for the server's `connectionTimeoutMs` the connection is
//! lost; after 65 seconds it counts as quiet, which is only a hint.
//!
//! Invariants: 1. a subscription that was asked for gets exactly one of `SubscriptionFailed`, `Completed` and
//! `ConnectionLost`, and `SubscriptionLive` at most once before it; 2. nothing follows `ConnectionLost` but the failure
//! of later `Subscribe`s; 3. while the connection is open after `Opened`, a timer is armed.

mod failure;
mod io;

use std::collections::BTreeMap;

use crate::error::WireError;
use crate::frame::{FRAME_PAYLOAD_BYTES_MAX, Frame, SubscriptionId};
use crate::server_error::ServerError;
use crate::transport::Credentials;

pub use self::failure::SubscriptionFailure;
use self::failure::connection_failure;
pub use self::io::{FrameText, LossReason, SessionEffect, SessionInput};

/// How long the server may take to acknowledge the connection, as in the JavaScript client.
pub const CONNECTION_ACK_TIMEOUT_MS: u64 = 15_000;

/// How long the server may take to acknowledge a `start`, and to complete after a `stop`.
pub const START_ACK_TIMEOUT_MS: u64 = 15_000;

/// How long the connection may be silent if the server does not say.
pub const KEEP_ALIVE_TIMEOUT_MS: u64 = 300_000;

/// Shortest silence that is allowed whatever the server says: below this, a busy second would cut the connection.
pub const KEEP_ALIVE_TIMEOUT_MS_MIN: u64 = 5_000;

/// Longest silence that is allowed whatever the server says: beyond this, a dead connection goes unnoticed.
pub const KEEP_ALIVE_TIMEOUT_MS_MAX: u64 = 60 * 60 * 1_000;

/// Silence after which the connection counts as quiet: servers send a `ka` every minute.
pub const QUIET_AFTER_MS: u64 = 65_000;

/// Most subscriptions of one connection; AppSync refuses more.
pub const SUBSCRIPTIONS_MAX: usize = 200;

/// One realtime connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    subscriptions: BTreeMap<SubscriptionId, Stage>,
    armed_at_ms: Option<u64>,
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

#[derive(Debug)]
enum State {
    Connecting,
    AwaitingAck { deadline_ms: u64 },
    Live { timeout_ms: u64, heard_at_ms: u64 },
    Closed,
}

#[derive(Debug)]
enum Stage {
    /// The connection is not acknowledged yet.
    Waiting { start: FrameText },
    /// `start` is sent.
    Starting { deadline_ms: u64 },
    /// `start_ack` has come.
    Live,
    /// `stop` is sent; what still comes is dropped.
    Stopping { deadline_ms: u64, told: Told },
}

/// Whether the caller knows already that a subscription has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It was told of a failure.
    Yes,
    /// It waits for `Completed`.
    No,
}

type Effects = Vec<SessionEffect>;

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session whose socket is being opened.
    pub fn new() -> Self {
        Self {
            state: State::Connecting,
            subscriptions: BTreeMap::new(),
            armed_at_ms: None,
            unexpected: BTreeMap::new(),
        }
    }

    /// Takes an input at a time of a clock that never goes back; returns what to do.
    pub fn step(&mut self, now_ms: u64, input: SessionInput) -> Vec<SessionEffect> {
        let mut effects = Vec::new();
        match input {
            SessionInput::Opened => self.opened(now_ms, &mut effects),
            SessionInput::Frame(text) => self.frame(now_ms, &text, &mut effects),
            SessionInput::Closed { reason } => self.lose(LossReason::Closed { reason }, &mut effects),
            SessionInput::Subscribe {
                id,
                data,
                authorization,
            } => {
                self.subscribe(now_ms, id, data, authorization, &mut effects);
            }
            SessionInput::Unsubscribe { id } => self.unsubscribe(now_ms, id, &mut effects),
            SessionInput::Timeout => {
                self.armed_at_ms = None;
                self.timeout(now_ms, &mut effects);
            }
        }
        self.arm(now_ms, &mut effects);
        effects
    }

    /// A word for the state, for traces.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Connecting => "connecting",
            State::AwaitingAck { .. } => "awaiting ack",
            State::Live { .. } => "live",
            State::Closed => "closed",
        }
    }

    /// Whether the connection is acknowledged and not lost.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether a live connection was silent for longer than servers usually are: it may be dead already.
    pub fn is_quiet(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Live { heard_at_ms, .. } if now_ms.saturating_sub(heard_at_ms) >= QUIET_AFTER_MS)
    }

    /// Number of subscriptions that count towards [`SUBSCRIPTIONS_MAX`].
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// How often which input was unexpected in which state, by their names.
    pub fn unexpected(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.unexpected
    }

    fn count_unexpected(&mut self, state: &'static str, input: &'static str) {
        let count = self.unexpected.entry((state, input)).or_default();
        *count = count.saturating_add(1);
    }

    fn opened(&mut self, now_ms: u64, effects: &mut Effects) {
        match self.state {
            State::Connecting => {
                self.state = State::AwaitingAck {
                    deadline_ms: now_ms.saturating_add(CONNECTION_ACK_TIMEOUT_MS),
                };
                effects.push(SessionEffect::Send(FrameText::of(&Frame::ConnectionInit)));
            }
            State::AwaitingAck { .. } | State::Live { .. } | State::Closed => {
                self.count_unexpected(self.state_name(), "opened");
            }
        }
    }

    fn lose(&mut self, reason: LossReason, effects: &mut Effects) {
        if self.is_closed() {
            return;
        }
        let socket_is_gone = matches!(reason, LossReason::Closed { .. });
        self.state = State::Closed;
        self.subscriptions.clear();
        effects.push(SessionEffect::ConnectionLost { reason });
        if !socket_is_gone {
            effects.push(SessionEffect::Close);
        }
    }

    fn frame(&mut self, now_ms: u64, text: &str, effects: &mut Effects) {
        if self.is_closed() {
            return;
        }
        let frame = match Frame::parse(text) {
            Ok(frame) => frame,
            Err(error) => return self.lose(LossReason::BadFrame(error), effects),
        };
        if let State::Live { heard_at_ms, .. } = &mut self.state {
            *heard_at_ms = now_ms;
        }
        match (&self.state, frame) {
            (_, Frame::ConnectionError { errors }) => {
                self.lose(
                    LossReason::Refused {
                        class: connection_failure(&errors),
                        errors,
                    },
                    effects,
                );
            }
            (
                State::AwaitingAck { .. },
                Frame::ConnectionAck {
                    connection_timeout_ms,
                },
            ) => {
                self.acknowledged(now_ms, connection_timeout_ms, effects);
            }
            (State::Live { .. }, Frame::KeepAlive) => {}
            (State::Live { .. }, Frame::Error { id: None, errors }) => self.anonymous_error(errors, effects),
            (State::Live { .. }, Frame::Error { id: Some(id), errors }) => self.failed(id, errors, effects),
            (State::Live { .. }, Frame::StartAck { id }) => self.started(id, effects),
            (State::Live { .. }, Frame::Data { id, payload }) => self.data(id, payload, effects),
            (State::Live { .. }, Frame::Complete { id }) => self.completed(id, effects),
            (_, frame) => self.count_unexpected(self.state_name(), frame.name()),
        }
    }

    fn acknowledged(&mut self, now_ms: u64, timeout_ms: Option<u64>, effects: &mut Effects) {
        let timeout_ms = timeout_ms
            .unwrap_or(KEEP_ALIVE_TIMEOUT_MS)
            .clamp(KEEP_ALIVE_TIMEOUT_MS_MIN, KEEP_ALIVE_TIMEOUT_MS_MAX);
        self.state = State::Live {
            timeout_ms,
            heard_at_ms: now_ms,
        };
        effects.push(SessionEffect::ConnectionLive { timeout_ms });
        let deadline_ms = now_ms.saturating_add(START_ACK_TIMEOUT_MS);
        for stage in self.subscriptions.values_mut() {
            if let Stage::Waiting { .. } = stage
                && let Stage::Waiting { start } = std::mem::replace(stage, Stage::Starting { deadline_ms })
            {
                effects.push(SessionEffect::Send(start));
            }
        }
    }

    fn subscribe(
        &mut self,
        now_ms: u64,
        id: SubscriptionId,
        data: String,
        authorization: Credentials,
        effects: &mut Effects,
    ) {
        if self.is_closed() {
            return effects.push(SubscriptionFailure::Transient.of(id, "the connection is lost"));
        }
        if self.subscriptions.contains_key(&id) {
            return self.count_unexpected(self.state_name(), "subscribe again");
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let reason = format!("the connection has {SUBSCRIPTIONS_MAX} subscriptions already");
            return effects.push(SubscriptionFailure::MaxSubscriptions.of(id, &reason));
        }
        if data.len() > FRAME_PAYLOAD_BYTES_MAX {
            let error = WireError::FrameTooLarge { bytes: data.len() };
            return effects.push(SubscriptionFailure::Permanent.of(id, &error.to_string()));
        }
        let start = FrameText::of(&Frame::Start {
            id: id.clone(),
            data,
            authorization,
        });
        if self.is_live() {
            effects.push(SessionEffect::Send(start));
            let deadline_ms = now_ms.saturating_add(START_ACK_TIMEOUT_MS);
            self.subscriptions.insert(id, Stage::Starting { deadline_ms });
        } else {
            self.subscriptions.insert(id, Stage::Waiting { start });
        }
    }

    fn unsubscribe(&mut self, now_ms: u64, id: SubscriptionId, effects: &mut Effects) {
        if self.is_closed() {
            return;
        }
        match self.subscriptions.get_mut(&id) {
            Some(Stage::Waiting { .. }) => {
                self.subscriptions.remove(&id);
                effects.push(SessionEffect::Completed { id });
            }
            Some(stage @ (Stage::Starting { .. } | Stage::Live)) => {
                *stage = Stage::Stopping {
                    deadline_ms: now_ms.saturating_add(START_ACK_TIMEOUT_MS),
                    told: Told::No,
                };
                effects.push(SessionEffect::Send(FrameText::of(&Frame::Stop { id })));
            }
            // After a failure that the caller has yet to hear of, an unsubscribe may cross it.
            Some(Stage::Stopping { told: Told::Yes, .. }) => {}
            Some(Stage::Stopping { told: Told::No, .. }) => self.count_unexpected("stopping", "unsubscribe"),
            None => self.count_unexpected("no such subscription", "unsubscribe"),
        }
    }

    fn started(&mut self, id: SubscriptionId, effects: &mut Effects) {
        match self.subscriptions.get_mut(&id) {
            Some(stage @ Stage::Starting { .. }) => {
                *stage = Stage::Live;
                effects.push(SessionEffect::SubscriptionLive { id });
            }
            Some(Stage::Stopping { .. }) => {}
            stage => {
                let name = stage_name(stage.as_deref());
                self.count_unexpected(name, "start_ack");
            }
        }
    }

    fn data(&mut self, id: SubscriptionId, payload: String, effects: &mut Effects) {
        match self.subscriptions.get(&id) {
            Some(Stage::Live | Stage::Starting { .. }) => effects.push(SessionEffect::Data { id, payload }),
            Some(Stage::Stopping { .. }) => {}
            stage => {
                let name = stage_name(stage);
                self.count_unexpected(name, "data");
            }
        }
    }

    fn completed(&mut self, id: SubscriptionId, effects: &mut Effects) {
        match self.take_sent(&id, "complete") {
            Some(Stage::Stopping { told: Told::Yes, .. }) | None => {}
            Some(_) => effects.push(SessionEffect::Completed { id }),
        }
    }

    fn failed(&mut self, id: SubscriptionId, errors: Vec<ServerError>, effects: &mut Effects) {
        match self.take_sent(&id, "error") {
            Some(Stage::Stopping { told: Told::Yes, .. }) | None => {}
            // Whoever unsubscribed has what it wants.
            Some(Stage::Stopping { told: Told::No, .. }) => effects.push(SessionEffect::Completed { id }),
            Some(_) => {
                let class = SubscriptionFailure::of_errors(&errors);
                effects.push(SessionEffect::SubscriptionFailed { id, class, errors });
            }
        }
    }

    /// Takes out a subscription that the server knows of; counts the input if there is none.
    fn take_sent(&mut self, id: &SubscriptionId, input: &'static str) -> Option<Stage> {
        let stage = self.subscriptions.get(id);
        if let None | Some(Stage::Waiting { .. }) = stage {
            let name = stage_name(stage);
            self.count_unexpected(name, input);
            return None;
        }
        self.subscriptions.remove(id)
    }

    /// An error without an identifier: rate limits come so. It belongs to the one that is starting, if there is just
    /// one; several are left to their deadlines, since failing the wrong one would leave the right one hanging.
    fn anonymous_error(&mut self, errors: Vec<ServerError>, effects: &mut Effects) {
        let mut starting = self
            .subscriptions
            .iter()
            .filter(|(_, stage)| matches!(stage, Stage::Starting { .. }))
            .map(|(id, _)| id);
        match (starting.next().cloned(), starting.next()) {
            (Some(id), None) => self.failed(id, errors, effects),
            _ => self.count_unexpected("live", "error without an id"),
        }
    }

    fn timeout(&mut self, now_ms: u64, effects: &mut Effects) {
        match self.state {
            State::Connecting | State::Closed => {}
            State::AwaitingAck { deadline_ms } => {
                if now_ms >= deadline_ms {
                    self.lose(LossReason::AckTimeout, effects);
                }
            }
            State::Live {
                timeout_ms,
                heard_at_ms,
            } => {
                let silent_ms = now_ms.saturating_sub(heard_at_ms);
                if silent_ms >= timeout_ms && landfall_core::planted("dead-socket-not-noticed") {
                    self.state = State::Live {
                        timeout_ms,
                        heard_at_ms: now_ms,
                    };
                } else if silent_ms >= timeout_ms {
                    return self.lose(LossReason::KeepAliveMissed { silent_ms }, effects);
                }
                self.subscription_timeouts(now_ms, effects);
            }
        }
    }

    fn subscription_timeouts(&mut self, now_ms: u64, effects: &mut Effects) {
        self.subscriptions.retain(|id, stage| match *stage {
            Stage::Starting { deadline_ms } if now_ms >= deadline_ms => {
                let reason = format!("the server did not acknowledge it within {START_ACK_TIMEOUT_MS} ms");
                effects.push(SubscriptionFailure::Transient.of(id.clone(), &reason));
                // It may yet become live on the server, so the server is told to let go of it.
                effects.push(SessionEffect::Send(FrameText::of(&Frame::Stop {
                    id: id.clone(),
                })));
                let deadline_ms = now_ms.saturating_add(START_ACK_TIMEOUT_MS);
                *stage = Stage::Stopping {
                    deadline_ms,
                    told: Told::Yes,
                };
                true
            }
            Stage::Stopping { deadline_ms, told } if now_ms >= deadline_ms => {
                if told == Told::No {
                    effects.push(SessionEffect::Completed { id: id.clone() });
                }
                false
            }
            Stage::Waiting { .. } | Stage::Starting { .. } | Stage::Live | Stage::Stopping { .. } => true,
        });
    }

    /// The next time at which silence means something.
    fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Connecting | State::Closed => None,
            State::AwaitingAck { deadline_ms } => Some(deadline_ms),
            State::Live {
                timeout_ms,
                heard_at_ms,
            } => {
                let of_subscriptions = self.subscriptions.values().filter_map(|stage| match stage {
                    Stage::Starting { deadline_ms } | Stage::Stopping { deadline_ms, .. } => {
                        Some(*deadline_ms)
                    }
                    Stage::Waiting { .. } | Stage::Live => None,
                });
                of_subscriptions
                    .chain([heard_at_ms.saturating_add(timeout_ms)])
                    .min()
            }
        }
    }

    /// Arms the timer if the armed one comes too late. One that comes too early arms the next when it is due, so that
    /// a busy connection does not move its timer with every frame.
    fn arm(&mut self, now_ms: u64, effects: &mut Effects) {
        let Some(deadline_ms) = self.deadline_ms() else {
            return;
        };
        if self.armed_at_ms.is_none_or(|armed| armed > deadline_ms) {
            let at_ms = deadline_ms.max(now_ms);
            self.armed_at_ms = Some(at_ms);
            effects.push(SessionEffect::ArmTimer { at_ms });
        }
    }
}

fn stage_name(stage: Option<&Stage>) -> &'static str {
    match stage {
        Some(Stage::Waiting { .. }) => "waiting",
        Some(Stage::Starting { .. }) => "starting",
        Some(Stage::Live) => "subscribed",
        Some(Stage::Stopping { .. }) => "stopping",
        None => "no such subscription",
    }
}

#[cfg(test)]
mod tests;
