//! Realtime sockets of a simulation.
//!
//! Owns the two halves of a socket. Frames arrive after the link's delay, in order unless the link reorders them; a
//! socket breaks when its link does, and a dead one swallows everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, select};
use tokio::sync::Notify;

use landfall_backend::{ConnectionId, Out};
use landfall_wire::{Socket, SocketSink, SocketStream, TransportError};

use super::{API_KEY, Link, Network, unreachable};
use crate::clock::pass;
use crate::trace::Arrow;

/// How long a message waits for a later one that is to overtake it, in milliseconds.
const OVERTAKE_MS: u64 = 700;

pub(super) async fn connect(network: Network, link: Arc<Link>) -> Result<Box<dyn Socket>, TransportError> {
    if link.refuses_sockets() {
        return Err(unreachable());
    }
    if link.hangs() {
        pass(link.base().timeout_ms).await;
        return Err(unreachable());
    }
    pass(link.delay_ms() + link.delay_ms()).await;
    if link.refuses_sockets() {
        return Err(unreachable());
    }
    let bell = Arc::new(Notify::new());
    let doorbell = Arc::clone(&bell);
    let headers = [
        ("host".to_owned(), "simulation".to_owned()),
        ("x-api-key".to_owned(), API_KEY.to_owned()),
    ];
    let id = network.backend.open_connection(
        network.server_ms(),
        &headers,
        None,
        Arc::new(move || doorbell.notify_one()),
    );
    network.note(&link, "socket opened");
    let connection = Connection {
        generation: link.generation(),
        number: link.open_socket(),
        network,
        link,
        id,
        bell,
        closed: AtomicBool::new(false),
    };
    Ok(Box::new(SimSocket(Arc::new(connection))))
}

struct SimSocket(Arc<Connection>);

impl Socket for SimSocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let sink = Sink {
            connection: Arc::clone(&self.0),
        };
        let stream = Stream {
            connection: self.0,
            waiting: VecDeque::new(),
        };
        (Box::new(sink), Box::new(stream))
    }
}

struct Connection {
    network: Network,
    link: Arc<Link>,
    id: ConnectionId,
    bell: Arc<Notify>,
    generation: u64,
    number: u64,
    closed: AtomicBool,
}

impl Connection {
    fn is_broken(&self) -> bool {
        self.link.generation() != self.generation
    }

    fn is_dead(&self) -> bool {
        self.link.is_dead(self.number)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close_socket();
        self.network.backend.close_connection(self.id);
    }
}

fn broken() -> TransportError {
    TransportError::Interrupted {
        reason: "the socket broke".to_owned(),
    }
}

struct Sink {
    connection: Arc<Connection>,
}

impl SocketSink for Sink {
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            pass(self.connection.link.delay_ms()).await;
            if self.connection.is_broken() {
                return Err(broken());
            }
            if !self.connection.is_dead() {
                let network = &self.connection.network;
                network.trace.mix(text.as_bytes());
                network
                    .backend
                    .frame_in(network.server_ms(), self.connection.id, &text);
            }
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.connection
            .network
            .backend
            .close_connection(self.connection.id);
        self.connection.closed.store(true, Ordering::SeqCst);
        self.connection.bell.notify_one();
        Box::pin(std::future::ready(()))
    }
}

struct Stream {
    connection: Arc<Connection>,
    waiting: VecDeque<Out>,
}

/// Whether a frame carries a record, rather than keeping the connection alive or acknowledging something.
fn is_data(frame: &str) -> bool {
    frame.contains("\"type\":\"data\"") || frame.contains("\"type\": \"data\"")
}

impl Stream {
    /// The next message that is to arrive; waits for one.
    async fn take(&mut self) -> Option<Result<Out, TransportError>> {
        loop {
            if self.connection.is_broken() {
                return Some(Err(broken()));
            }
            if self.connection.closed.load(Ordering::SeqCst) {
                return None;
            }
            self.fill();
            if self.connection.is_dead() {
                self.waiting.clear();
            }
            if let Some(out) = self.waiting.pop_front() {
                return Some(Ok(out));
            }
            let rung = Box::pin(self.connection.bell.notified());
            let broke = Box::pin(self.connection.link.broken_since(self.connection.generation));
            // Which of the two it was is seen at the top of the loop.
            select(broke, rung).await;
        }
    }

    fn fill(&mut self) {
        let connection = &self.connection;
        self.waiting
            .extend(connection.network.backend.take_outgoing(connection.id));
    }

    /// Does to a message with a record what the link does to such messages; `None` if it is lost.
    async fn carry(&mut self, text: String) -> Option<String> {
        let link = Arc::clone(&self.connection.link);
        if link.loses_frames() {
            self.connection.network.note(&link, "message lost");
            return None;
        }
        if link.doubles_frame() {
            self.waiting.push_back(Out::Frame(text.clone()));
        }
        if link.reorders_frame() {
            if self.waiting.is_empty() {
                pass(OVERTAKE_MS).await;
                self.fill();
            }
            if let Some(Out::Frame(next)) = self.waiting.front_mut()
                && is_data(next)
            {
                self.connection.network.note(&link, "message overtaken");
                return Some(std::mem::replace(next, text));
            }
        }
        Some(text)
    }
}

impl SocketStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        Box::pin(async move {
            loop {
                let mut text = match self.take().await? {
                    Ok(Out::Frame(text)) => text,
                    Ok(Out::Close { .. }) => return None,
                    Err(error) => return Some(Err(error)),
                };
                let sent_ms = self.connection.network.clock.elapsed_ms();
                if is_data(&text) {
                    let Some(carried) = self.carry(text).await else {
                        continue;
                    };
                    text = carried;
                }
                pass(self.connection.link.delay_ms()).await;
                if self.connection.is_broken() {
                    return Some(Err(broken()));
                }
                if self.connection.is_dead() {
                    continue;
                }
                self.connection.network.trace.mix(text.as_bytes());
                if is_data(&text) {
                    let network = &self.connection.network;
                    let arrived_ms = network.clock.elapsed_ms();
                    network
                        .trace
                        .arrow(Arrow::message(self.connection.link.name(), sent_ms, arrived_ms));
                }
                return Some(Ok(text));
            }
        })
    }
}
