//! Realtime sockets of a simulation.
//!
//! Owns the two halves of a socket. Frames keep their order and arrive after the link's delay; a socket breaks when its
//! link does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::Notify;

use landfall_backend::{ConnectionId, Out};
use landfall_wire::{Socket, SocketSink, SocketStream, TransportError};

use super::{API_KEY, Link, Network, unreachable};
use crate::clock::pass;

pub(super) async fn connect(network: Network, link: Arc<Link>) -> Result<Box<dyn Socket>, TransportError> {
    if link.is_cut() {
        return Err(unreachable());
    }
    pass(link.delay_ms() + link.delay_ms()).await;
    if link.is_cut() {
        return Err(unreachable());
    }
    let bell = Arc::new(Notify::new());
    let doorbell = Arc::clone(&bell);
    let headers = [
        ("host".to_owned(), "simulation".to_owned()),
        ("x-api-key".to_owned(), API_KEY.to_owned()),
    ];
    let id = network.backend.open_connection(
        network.clock.unix_ms(),
        &headers,
        None,
        Arc::new(move || doorbell.notify_one()),
    );
    network.note(&link, "socket opened");
    let generation = link.generation();
    Ok(Box::new(SimSocket {
        network,
        link,
        id,
        bell,
        generation,
    }))
}

struct SimSocket {
    network: Network,
    link: Arc<Link>,
    id: ConnectionId,
    bell: Arc<Notify>,
    generation: u64,
}

impl Socket for SimSocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let connection = Arc::new(Connection {
            network: self.network,
            link: self.link,
            id: self.id,
            bell: self.bell,
            generation: self.generation,
            closed: AtomicBool::new(false),
        });
        let sink = Sink {
            connection: Arc::clone(&connection),
        };
        (
            Box::new(sink),
            Box::new(Stream {
                connection,
                waiting: std::collections::VecDeque::new(),
            }),
        )
    }
}

struct Connection {
    network: Network,
    link: Arc<Link>,
    id: ConnectionId,
    bell: Arc<Notify>,
    generation: u64,
    closed: AtomicBool,
}

impl Connection {
    fn is_broken(&self) -> bool {
        self.link.generation() != self.generation
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
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
            let network = &self.connection.network;
            network
                .backend
                .frame_in(network.clock.unix_ms(), self.connection.id, &text);
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
    waiting: std::collections::VecDeque<Out>,
}

impl SocketStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        Box::pin(async move {
            loop {
                if self.connection.is_broken() {
                    return Some(Err(broken()));
                }
                if self.connection.closed.load(Ordering::SeqCst) {
                    return None;
                }
                match self.waiting.pop_front() {
                    Some(Out::Frame(text)) => {
                        pass(self.connection.link.delay_ms()).await;
                        if self.connection.is_broken() {
                            return Some(Err(broken()));
                        }
                        return Some(Ok(text));
                    }
                    Some(Out::Close { .. }) => return None,
                    None => {}
                }
                let connection = &self.connection;
                self.waiting
                    .extend(connection.network.backend.take_outgoing(connection.id));
                if self.waiting.is_empty() {
                    let rung = Box::pin(connection.bell.notified());
                    let broke = Box::pin(connection.link.broken_since(connection.generation));
                    // Which of the two it was is seen at the top of the loop.
                    match select(broke, rung).await {
                        Either::Left(_) | Either::Right(_) => {}
                    }
                }
            }
        })
    }
}
