//! The two tasks of an open socket.
//!
//! Owns reading with credit and writing in order. Both end with their socket, and say so once.
//!
//! Bounds: [`UNREAD_MAX`] frames are on their way to the actor at most; the rest stays with the operating system, which
//! slows the server down. [`UNSENT_MAX`] frames wait to be sent at most; a socket that takes no more is given up.

use std::sync::Arc;

use landfall_wire::{SocketSink, SocketStream};
use tokio::sync::{Semaphore, mpsc};

use super::line::SocketId;
use super::machine::Input;
use super::{Heard, SubscriptionMessage};
use crate::port::Port;

/// Frames that are read and not handled yet: enough to keep the actor busy, little enough for commands to get through.
pub(super) const UNREAD_MAX: usize = 64;

/// Frames that wait to be sent. One connection starts no more than half as many subscriptions at a time.
pub(super) const UNSENT_MAX: usize = 2 * super::line::STARTS_MAX;

/// The actor's end of an open socket. Dropping it closes the socket in good order.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) outgoing: mpsc::Sender<String>,
    pub(super) credit: Arc<Semaphore>,
}

impl Opened {
    /// The actor's end, and what the writing task receives.
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (outgoing, unsent) = mpsc::channel(UNSENT_MAX);
        (
            Self {
                outgoing,
                credit: Arc::new(Semaphore::new(UNREAD_MAX)),
            },
            unsent,
        )
    }
}

/// Passes frames on, each for one credit, until the socket ends.
pub(super) async fn read(
    socket: SocketId,
    mut stream: Box<dyn SocketStream>,
    credit: Arc<Semaphore>,
    actor: Port<SubscriptionMessage>,
) {
    loop {
        // The semaphore is never closed; if it were, nobody would wait for frames any more.
        let Ok(permit) = credit.acquire().await else {
            return;
        };
        permit.forget();
        let (input, ended) = match stream.next().await {
            Some(Ok(text)) => (Input::Frame(socket, text), false),
            Some(Err(error)) => (Input::Closed(socket, error.to_string()), true),
            None => (Input::Closed(socket, "the server closed it".to_owned()), true),
        };
        // A stopped actor has no use for frames.
        if actor.tell(SubscriptionMessage::Heard(Heard(input))).is_err() || ended {
            return;
        }
    }
}

/// Sends frames until the actor drops its end, then closes the socket.
pub(super) async fn write(
    socket: SocketId,
    mut sink: Box<dyn SocketSink>,
    mut unsent: mpsc::Receiver<String>,
    actor: Port<SubscriptionMessage>,
) {
    while let Some(text) = unsent.recv().await {
        if let Err(error) = sink.send(text).await {
            let ended = SubscriptionMessage::Heard(Heard(Input::Closed(socket, error.to_string())));
            return actor.tell(ended).unwrap_or(());
        }
    }
    sink.close().await;
}
