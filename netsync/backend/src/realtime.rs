//! Realtime connections: handshake, subscriptions, keep-alive, fan-out.
//!
//! Owns the state of every connection as a machine without sockets: messages and the time come in, messages queue up
//! to be taken out. Does not execute mutations; it is told of them in the order of their commits.
//!
//! Invariants: 1. a connection's queue is bounded, and so are all queues together; those that do not keep up are cut, the
//! fullest first; 2. messages of one connection
//! are in the order of the mutations; 3. a closed connection gets nothing more.

mod account;
mod connection;
mod frames;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use apollo_compiler::response::JsonMap;
use landfall_core::{ModelName, MutationKind};
use serde_json::json;

use crate::auth::{AuthRefused, ModelRules};
use crate::compile::CompiledSchema;
use crate::config::{BackendConfig, Limits, UnknownStop};
use crate::execute::{Documents, Event, Prepared, Viewer, message};
use crate::faults::Faults;

use account::{Account, Charge, Payload};
pub(crate) use connection::{Candidate, Refused, candidate};
use connection::{Connection, RenderKey, Size, Subscription};
pub(crate) use frames::Incoming;

/// Most events held back while fan-out is paused; beyond that the oldest are lost, as on a service that was cut off.
const PAUSED_EVENTS_MAX: usize = 10_000;

/// Close code of a connection that reached its age.
const CLOSE_GOING_AWAY: u16 = 1001;
/// Stands for a connection that breaks off: no close message has this code, so none is to be sent.
pub(crate) const CLOSE_ABNORMAL: u16 = 1006;
/// Close code of a connection that was refused.
const CLOSE_POLICY: u16 = 1008;
/// Close code after a message that is too long.
const CLOSE_TOO_BIG: u16 = 1009;
/// Close code of a connection that does not keep up.
const CLOSE_TRY_LATER: u16 = 1013;

/// A realtime connection of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// How many connections were opened before it.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// What a connection is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// A text message.
    Frame(String),
    /// Close with a code; nothing follows.
    Close {
        /// WebSocket close code; 1006 means that the connection is to break off without a close message.
        code: u16,
        /// Why, in words.
        reason: &'static str,
    },
}

/// Called when a connection has something to send; must return at once.
pub type Doorbell = Arc<dyn Fn() + Send + Sync>;

/// What is needed to judge a `start`.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) compiled: &'a CompiledSchema,
    pub(crate) config: &'a BackendConfig,
    pub(crate) documents: &'a Documents,
    /// The rules of models that have none.
    pub(crate) implied: &'a ModelRules,
}

/// All realtime connections.
#[derive(Default)]
pub(crate) struct Hub {
    opened: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Who listens to what.
    listeners: BTreeMap<(ModelName, MutationKind), BTreeSet<(ConnectionId, String)>>,
    paused: VecDeque<Event>,
    tally: RealtimeTally,
    /// What waits to be sent, on all connections.
    outgoing: Account,
    /// What all subscriptions take in memory.
    requests: Account,
    /// The documents of subscriptions, as often as each has messages of its own.
    documents: BTreeMap<RenderKey, SharedDocument>,
}

/// A document that subscriptions are sent the same messages by: written once for all of them, and counted once.
struct SharedDocument {
    subscriptions: usize,
    _charge: Charge,
}

/// What went on since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RealtimeTally {
    /// Messages for subscribers that were queued.
    pub(crate) messages: u64,
    /// Messages for subscribers that were too long to be sent.
    pub(crate) oversize: u64,
    /// Connections that were cut because they did not keep up.
    pub(crate) slow: u64,
}

impl Hub {
    /// Opens a connection; one that is refused is told so and closed.
    pub(crate) fn open(
        &mut self,
        now_ms: i64,
        admitted: Result<(), AuthRefused>,
        config: &BackendConfig,
        doorbell: Doorbell,
    ) -> ConnectionId {
        let id = ConnectionId(self.opened);
        self.opened += 1;
        let mut connection = Connection::new(now_ms, config, doorbell, &self.outgoing);
        if let Err(refused) = admitted {
            connection.send(
                frames::connection_error(refused.error_type(), refused.status(), &refused.to_string()),
                config,
            );
            connection.close(CLOSE_POLICY, "unauthorized");
        } else if self.connections.len() >= config.limits.connections_max {
            connection.send(
                frames::connection_error("LimitExceededError", 429, "Rate limit exceeded"),
                config,
            );
            connection.close(CLOSE_TRY_LATER, "too many connections");
        }
        self.connections.insert(id, connection);
        id
    }

    /// Counts a message of a client and says whether it is to be handled: not once the connection ends, and not beyond
    /// the rate, which is told.
    pub(crate) fn takes_frame(
        &mut self,
        now_ms: i64,
        id: ConnectionId,
        too_long: bool,
        config: &BackendConfig,
    ) -> bool {
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| !connection.closing)
        else {
            return false;
        };
        if too_long || connection.admits_frame(now_ms, config) {
            return true;
        }
        connection.send(frames::rate_exceeded(), config);
        self.cut_if_slow(id, config);
        false
    }

    /// Forgets a connection whose socket is gone.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            for (subscription, of) in &connection.subscriptions {
                self.unlisten(id, subscription, of);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.listeners.is_empty()
    }

    /// Takes what a connection is to send.
    pub(crate) fn take_outgoing(&mut self, id: ConnectionId) -> Vec<Out> {
        self.connections
            .get_mut(&id)
            .map(Connection::take_all)
            .unwrap_or_default()
    }

    /// Whether a connection ends as soon as its last messages are written, or is gone.
    pub(crate) fn ends(&self, id: ConnectionId) -> bool {
        self.connections
            .get(&id)
            .is_none_or(|connection| connection.closing)
    }

    /// Bytes that wait to be sent on all connections, as held in memory.
    #[cfg(test)]
    pub(crate) fn outgoing_bytes(&self) -> usize {
        self.outgoing.total()
    }

    /// Bytes that subscriptions take in memory, on all connections.
    #[cfg(test)]
    pub(crate) fn subscriptions_bytes(&self) -> usize {
        self.requests.total()
    }

    /// Whether there is room for a subscription, which takes more than its request; others may take it while it is judged.
    pub(crate) fn has_room(
        &self,
        id: ConnectionId,
        subscription: &str,
        data: &str,
        config: &BackendConfig,
    ) -> Result<(), Refused> {
        let size = Size {
            of_connection: data.len(),
            of_all: 0,
        };
        match self.connections.get(&id) {
            Some(connection) => connection.has_room(subscription, size, config, &self.requests),
            None => Ok(()),
        }
    }

    /// The connections that have something to send.
    pub(crate) fn waiting(&self) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.has_outgoing())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Takes the first of what a connection is to send: at least one message, and no more after `bytes` are reached.
    pub(crate) fn take_some(&mut self, id: ConnectionId, bytes: usize) -> Vec<Out> {
        self.connections
            .get_mut(&id)
            .map(|connection| connection.take_some(bytes))
            .unwrap_or_default()
    }

    /// What went on since the start.
    pub(crate) fn tally(&self) -> RealtimeTally {
        self.tally
    }

    /// Connections that are open, and their subscriptions.
    pub(crate) fn population(&self) -> (usize, usize) {
        let open = self.connections.values().filter(|connection| !connection.closing);
        open.fold((0, 0), |(connections, subscriptions), connection| {
            (connections + 1, subscriptions + connection.subscriptions.len())
        })
    }

    /// Lets every connection break off, as a network does that fails.
    pub(crate) fn cut_all(&mut self) {
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in all {
            self.cut(id, CLOSE_ABNORMAL, "cut");
        }
    }

    /// Handles a message of a client that [`Hub::takes_frame`] let in; `candidate` is the subscription that it starts, if it
    /// is one that does.
    pub(crate) fn frame(
        &mut self,
        now_ms: i64,
        id: ConnectionId,
        incoming: Incoming,
        candidate: Option<Result<Candidate, Refused>>,
        config: &BackendConfig,
    ) {
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| !connection.closing)
        else {
            return;
        };
        match incoming {
            Incoming::TooLong => return self.cut(id, CLOSE_TOO_BIG, "message too long"),
            Incoming::ConnectionInit => {
                connection.known_at_ms = None;
                connection.keep_alive_at_ms = now_ms + config.limits.keep_alive_ms;
                connection.send(
                    frames::connection_ack(config.limits.connection_timeout_ms),
                    config,
                );
                connection.send(frames::keep_alive(), config);
            }
            Incoming::Start { id: subscription, .. } => {
                let too_soon = connection.comes_too_soon(config);
                let candidate = candidate.expect("whoever hands a `start` on has judged it");
                let listened =
                    candidate.and_then(|candidate| self.listen(id, &subscription, candidate, config));
                let answer = match listened {
                    Ok(()) => frames::start_ack(&subscription),
                    Err(errors) => frames::error(echoed(Some(&subscription), config), &errors),
                };
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                connection.send(answer, config);
                if too_soon {
                    // One message each: whoever does not know the protocol does not get to try.
                    connection.close(CLOSE_POLICY, "connection_init must be the first message");
                }
            }
            Incoming::Stop { id: subscription } => {
                let stopped = connection.subscriptions.remove(&subscription);
                if stopped.is_some() || config.switches.unknown_stop == UnknownStop::Completed {
                    connection.send(frames::complete(&subscription), config);
                }
                if let Some(stopped) = stopped {
                    self.unlisten(id, &subscription, &stopped);
                }
            }
            Incoming::Unknown { id: subscription } => {
                let message = "unknown not supported through the realtime channel";
                let errors = json!([{"errorType": "UnsupportedOperation", "message": message}]);
                connection.send(
                    frames::error(echoed(subscription.as_deref(), config), &errors),
                    config,
                );
            }
        }
        self.cut_if_slow(id, config);
    }

    /// Takes a subscription in, if there is room for it.
    fn listen(
        &mut self,
        id: ConnectionId,
        subscription: &str,
        candidate: Candidate,
        config: &BackendConfig,
    ) -> Result<(), Refused> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        let (own, document) = (candidate.own_bytes(subscription), candidate.document_bytes());
        let is_shared = self.documents.contains_key(&candidate.render_key);
        let size = Size {
            of_connection: own + document,
            of_all: if is_shared { own } else { own + document },
        };
        connection.has_room(subscription, size, config, &self.requests)?;
        let requests = &self.requests;
        self.documents
            .entry(candidate.render_key.clone())
            .or_insert_with(|| SharedDocument {
                subscriptions: 0,
                _charge: requests.charge(document),
            })
            .subscriptions += 1;
        let admitted = candidate.acknowledged(requests.charge(own));
        connection.known_at_ms = None;
        let key = (admitted.to.model.clone(), admitted.to.kind);
        connection.subscriptions.insert(subscription.to_owned(), admitted);
        let listeners = self.listeners.entry(key).or_default();
        listeners.insert((id, subscription.to_owned()));
        Ok(())
    }

    /// Sends what is due: keep-alives, and the end of connections that are old.
    pub(crate) fn tick(&mut self, now_ms: i64, config: &BackendConfig) {
        let limits = &config.limits;
        let mut old = Vec::new();
        for (id, connection) in self
            .connections
            .iter_mut()
            .filter(|(_, connection)| !connection.closing)
        {
            if connection.ends_at_ms(config) <= now_ms {
                old.push(*id);
            } else if connection.known_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                connection.close(CLOSE_POLICY, "no connection_init in time");
            } else if connection.keep_alive_at_ms <= now_ms {
                connection.keep_alive_at_ms = now_ms + limits.keep_alive_ms.max(1);
                connection.send(frames::keep_alive(), config);
            }
        }
        for id in old {
            self.cut(id, CLOSE_GOING_AWAY, "connection reached its age");
        }
        let open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in open {
            self.cut_if_slow(id, config);
        }
    }

    /// When [`Hub::tick`] has something to do next.
    pub(crate) fn next_deadline_ms(&self, config: &BackendConfig) -> Option<i64> {
        let open = self.connections.values().filter(|connection| !connection.closing);
        open.map(|connection| {
            let due_ms = connection.keep_alive_at_ms.min(connection.ends_at_ms(config));
            connection.known_at_ms.map_or(due_ms, |at_ms| due_ms.min(at_ms))
        })
        .min()
    }

    /// Whether anybody is told of such a mutation, now or once fan-out goes on.
    pub(crate) fn hears(&self, model: &ModelName, kind: MutationKind, faults: &Faults) -> bool {
        faults.fan_out_paused || self.listeners.contains_key(&(model.clone(), kind))
    }

    /// Tells subscribers of mutations, in the order given.
    pub(crate) fn publish(&mut self, events: Vec<Event>, judge: Judge<'_>, faults: &mut Faults) {
        if faults.fan_out_paused {
            self.paused.extend(events);
            let excess = self.paused.len().saturating_sub(PAUSED_EVENTS_MAX);
            self.paused.drain(..excess);
            return;
        }
        for event in self.paused.drain(..).chain(events).collect::<Vec<_>>() {
            self.publish_one(&event, judge, faults);
        }
    }

    fn publish_one(&mut self, event: &Event, judge: Judge<'_>, faults: &mut Faults) {
        let Some(listeners) = self.listeners.get(&(event.model.clone(), event.kind)) else {
            return;
        };
        // Many clients subscribe with the same document, whose message is the same for all of them.
        let mut payloads: BTreeMap<(RenderKey, String), Option<Arc<Payload>>> = BTreeMap::new();
        let (limits, mut cut) = (&judge.config.limits, Vec::new());
        for (id, subscription_id) in listeners {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            // Nothing is written for those that are not sent it.
            if connection.closing || connection.is_slow(judge.config) {
                continue;
            }
            let Some(subscription) = connection.subscriptions.get(subscription_id) else {
                continue;
            };
            if !subscription.may_hear(event) || !subscription.wants(event) || faults.take_dropped_message() {
                continue;
            }
            let viewer = subscription.viewer(event, judge);
            let key = (subscription.render_key.clone(), viewer.hidden_fields());
            let payload = match payloads.get(&key) {
                Some(payload) => payload.clone(),
                None => {
                    let text = payload_text(&subscription.prepared, &event.record, &viewer, judge.config);
                    let payload = text.map(|text| Payload::new(text, &self.outgoing));
                    payloads.insert(key, payload.clone());
                    payload
                }
            };
            let Some(payload) = payload else {
                self.tally.oversize += 1;
                continue;
            };
            let head = frames::data_head(subscription_id);
            if head.len() + payload.text.len() + frames::DATA_END.len() > limits.frame_bytes_max {
                self.tally.oversize += 1;
                continue;
            }
            if faults.take_duplicated_message() {
                connection.send_data(head.clone(), &payload, judge.config);
            }
            self.tally.messages += 1;
            connection.send_data(head, &payload, judge.config);
            if connection.is_slow(judge.config) {
                cut.push(*id);
            }
            if self.outgoing.total() > limits.outgoing_total_bytes_max {
                drop(payload);
                payloads.clear();
                cut.extend(shed(&mut self.connections, &self.outgoing, limits));
            }
        }
        cut.sort_unstable();
        cut.dedup();
        for id in cut {
            self.end_slow(id);
        }
    }

    fn unlisten(&mut self, id: ConnectionId, subscription: &str, of: &Subscription) {
        if let Entry::Occupied(mut document) = self.documents.entry(of.render_key.clone()) {
            document.get_mut().subscriptions -= 1;
            if document.get().subscriptions == 0 {
                document.remove();
            }
        }
        let key = (of.to.model.clone(), of.to.kind);
        if let Some(listeners) = self.listeners.get_mut(&key) {
            listeners.remove(&(id, subscription.to_owned()));
            if listeners.is_empty() {
                self.listeners.remove(&key);
            }
        }
    }

    fn cut_if_slow(&mut self, id: ConnectionId, config: &BackendConfig) {
        if self
            .connections
            .get(&id)
            .is_some_and(|connection| connection.is_slow(config))
        {
            self.end_slow(id);
        }
        if self.outgoing.total() > config.limits.outgoing_total_bytes_max {
            let cut = shed(&mut self.connections, &self.outgoing, &config.limits);
            cut.into_iter().for_each(|id| self.end_slow(id));
        }
    }

    /// Cuts a connection that does not keep up, and counts it once.
    fn end_slow(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.end_slow();
        let subscriptions = std::mem::take(&mut connection.subscriptions);
        self.tally.slow += 1;
        for (subscription, of) in &subscriptions {
            self.unlisten(id, subscription, of);
        }
    }

    fn cut(&mut self, id: ConnectionId, code: u16, reason: &'static str) {
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| !connection.closing)
        else {
            return;
        };
        if matches!(code, CLOSE_TRY_LATER | CLOSE_ABNORMAL) {
            // Whoever did not read so far is not sent the rest either.
            connection.clear();
        }
        connection.close(code, reason);
        let subscriptions = std::mem::take(&mut connection.subscriptions);
        for (subscription, of) in &subscriptions {
            self.unlisten(id, subscription, of);
        }
    }
}

/// Ends connections until what waits is well below its bound, the fullest first: those that read are the last to pay for
/// those that do not.
fn shed(
    connections: &mut BTreeMap<ConnectionId, Connection>,
    outgoing: &Account,
    limits: &Limits,
) -> Vec<ConnectionId> {
    let enough = limits.outgoing_total_bytes_max / 4 * 3;
    let mut fullest: Vec<(usize, ConnectionId)> = connections
        .iter()
        .filter(|(_, connection)| !connection.closing && connection.fullness() > 0)
        .map(|(id, connection)| (connection.fullness(), *id))
        .collect();
    fullest.sort_unstable();
    let mut cut = Vec::new();
    while outgoing.total() > enough
        && let Some((_, id)) = fullest.pop()
    {
        if let Some(connection) = connections.get_mut(&id) {
            connection.end_slow();
            cut.push(id);
        }
    }
    cut
}

/// The identifier to answer under; one that is too long is not sent back.
fn echoed<'i>(id: Option<&'i str>, config: &BackendConfig) -> Option<&'i str> {
    id.filter(|id| id.len() <= config.limits.subscription_id_bytes_max)
}

/// The payload of a message; `None` if it is too long to be sent.
fn payload_text(
    prepared: &Prepared,
    record: &JsonMap,
    viewer: &Viewer<'_>,
    config: &BackendConfig,
) -> Option<String> {
    let body = message(prepared, record, viewer, config.limits.frame_bytes_max)?.into_body();
    Some(String::from_utf8(body).expect("JSON is UTF-8"))
}
