//! Realtime connections over WebSocket.
//!
//! Owns the way of messages between a socket and its connection in the hub, and the end of both. A client that does not
//! read is not read either; what waits for it is bounded by the hub's queue, which cuts it at the bound.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::SinkExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::{PARSED_AT_ONCE_BYTES, header_list, respond};
use super::shell::Shell;
use crate::auth::SUBPROTOCOL;
use crate::http::Refusal;
use crate::realtime::{CLOSE_ABNORMAL, ConnectionId, Incoming, Out};
use crate::service::Backend;

/// Bytes that are taken from the hub's queue and written at a time.
const WRITTEN_AT_ONCE_BYTES: usize = 64 * 1024;

/// How long a client may take to answer a close message.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// Close code at the end of the server.
const CLOSE_GOING_AWAY: u16 = 1001;
/// Close code after what is no WebSocket.
const CLOSE_PROTOCOL: u16 = 1002;
/// Close code after text that is no UTF-8.
const CLOSE_NO_TEXT: u16 = 1007;
/// Close code after a message that is too long.
const CLOSE_TOO_BIG: u16 = 1009;

const NO_WEBSOCKET: Refusal = Refusal::Shell(
    400,
    "BadRequestException",
    "Subscriptions need a WebSocket of the subprotocol graphql-ws.",
);

/// Answers the handshake of a realtime connection.
pub(super) async fn upgrade(
    State(shell): State<Shell>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(socket) = socket else {
        return respond(shell.refuse(NO_WEBSOCKET)).await;
    };
    let headers = header_list(&headers);
    // One byte more than the service allows, so that it is the service that refuses.
    let longest = shell.backend.config().limits.frame_bytes_max + 1;
    socket
        .protocols([SUBPROTOCOL])
        .max_message_size(longest)
        .max_frame_size(longest)
        .on_upgrade(async move |mut socket| {
            let alive = shell.alive.clone();
            let mut aborted = shell.stop.aborted();
            tokio::select! {
                () = connection(&shell, &mut socket, headers, query) => {}
                () = aborted.wait() => {}
            }
            drop(alive);
        })
}

/// How a connection ends.
enum Ending {
    /// With a close message from us.
    Close(u16, &'static str),
    /// The client said goodbye.
    Goodbye,
    /// Without a word.
    BrokenOff,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(code, reason) => write!(f, "{reason} ({code})"),
            Self::Goodbye => f.write_str("the client said goodbye"),
            Self::BrokenOff => f.write_str("broken off"),
        }
    }
}

/// A connection of the hub that ends with its socket, however that ends.
struct Open<'s> {
    shell: &'s Shell,
    id: ConnectionId,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shell.backend.close_connection(self.id);
    }
}

async fn connection(
    shell: &Shell,
    socket: &mut WebSocket,
    headers: Vec<(String, String)>,
    query: Option<String>,
) {
    let bell = Arc::new(Notify::new());
    let ring = Arc::clone(&bell);
    let doorbell = Arc::new(move || ring.notify_one());
    let asks = shell
        .backend
        .handshake_may_block(shell.clock.now_ms(), &headers, query.as_deref());
    let opened = shell.admit(asks, false, move |backend, now_ms| {
        backend.open_connection(now_ms, &headers, query.as_deref(), doorbell)
    });
    let Some(id) = opened.await else { return };
    let open = Open { shell, id };
    let begun = Instant::now();
    tracing::debug!(connection = id.number(), "a realtime connection begins");
    let ending = carry(shell, socket, id, &bell).await;
    tracing::info!(
        connection = id.number(),
        %ending,
        lasted_s = begun.elapsed().as_secs(),
        "a realtime connection ended"
    );
    // Nobody is told anything more, while the goodbye takes its time.
    drop(open);
    match ending {
        Ending::Close(code, reason) => close(socket, code, reason).await,
        Ending::Goodbye => drain(socket).await,
        Ending::BrokenOff => {}
    }
}

/// Carries messages both ways until either side ends.
async fn carry(shell: &Shell, socket: &mut WebSocket, id: ConnectionId, bell: &Notify) -> Ending {
    let mut stopped = shell.stop.finished();
    loop {
        let outgoing = shell.backend.take_some_outgoing(id, WRITTEN_AT_ONCE_BYTES);
        if !outgoing.is_empty() {
            if let Some(ending) = write_unless_cut(shell, socket, id, bell, outgoing).await {
                return ending;
            }
            // There may be more; what the client says gets its turn first.
            bell.notify_one();
        }
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => receive(shell, id, &text).await,
                // No client sends binary messages; to the service they are junk.
                Some(Ok(Message::Binary(_))) => shell.backend.frame_in(shell.clock.now_ms(), id, ""),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) => return Ending::Goodbye,
                Some(Err(error)) => return ending_of(&error),
                None => return Ending::BrokenOff,
            },
            () = bell.notified() => {}
            () = stopped.wait() => return Ending::Close(CLOSE_GOING_AWAY, "the server stops"),
        }
    }
}

/// Handles a message of the client.
pub(super) async fn receive(shell: &Shell, id: ConnectionId, text: &str) {
    let now_ms = shell.clock.now_ms();
    if !shell.backend.takes_frame(now_ms, id, text.len()) {
        return;
    }
    let long = text.len() > PARSED_AT_ONCE_BYTES;
    let incoming = if long {
        let text = text.to_owned();
        let read = shell.admit(false, true, move |backend, _| backend.read_frame(&text));
        let Some(incoming) = read.await else {
            return tracing::error!("a realtime message died");
        };
        incoming
    } else {
        shell.backend.read_frame(text)
    };
    let asks = shell.backend.start_may_block(now_ms, &incoming);
    // Only what starts a subscription has a document to be parsed.
    let long = long && matches!(incoming, Incoming::Start { .. });
    let handle = move |backend: &Backend, now_ms| backend.handle_frame(now_ms, id, incoming);
    if shell.admit(asks, long, handle).await.is_none() {
        tracing::error!("a realtime message died");
    }
}

/// Writes messages; a client that is cut meanwhile has only so long to read on, so that what is written to it is given up.
async fn write_unless_cut(
    shell: &Shell,
    socket: &mut WebSocket,
    id: ConnectionId,
    bell: &Notify,
    outgoing: Vec<Out>,
) -> Option<Ending> {
    let mut writing = std::pin::pin!(write(socket, outgoing));
    loop {
        tokio::select! {
            ending = writing.as_mut() => return ending,
            () = bell.notified() => {
                if shell.backend.connection_ends(id) {
                    let written = tokio::time::timeout(GOODBYE_TIME, writing).await;
                    return written.unwrap_or(Some(Ending::BrokenOff));
                }
            }
        }
    }
}

/// Writes messages; says how the connection ends if it does.
async fn write(socket: &mut WebSocket, outgoing: Vec<Out>) -> Option<Ending> {
    for out in outgoing {
        match out {
            Out::Frame(text) => {
                if socket.feed(Message::Text(text.into())).await.is_err() {
                    return Some(Ending::BrokenOff);
                }
            }
            Out::Close { code, .. } if code == CLOSE_ABNORMAL => return Some(Ending::BrokenOff),
            Out::Close { code, reason } => return Some(Ending::Close(code, reason)),
        }
    }
    socket.flush().await.err().map(|_| Ending::BrokenOff)
}

/// What a socket that cannot be read is told.
fn ending_of(error: &axum::Error) -> Ending {
    // The type of the error is that of a library of axum's which axum does not hand on; its texts are tested.
    let text = error.to_string();
    if text.contains("Space limit exceeded") {
        Ending::Close(CLOSE_TOO_BIG, "message too long")
    } else if text.contains("UTF-8") {
        Ending::Close(CLOSE_NO_TEXT, "text is UTF-8")
    } else if text.contains("protocol error") {
        Ending::Close(CLOSE_PROTOCOL, "not the WebSocket protocol")
    } else {
        Ending::BrokenOff
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            drain(socket).await;
        }
    };
    // A client that does not answer is left behind.
    let _ = tokio::time::timeout(GOODBYE_TIME, goodbye).await;
}

/// Reads until the client has closed as well: a socket that is closed with bytes unread loses what it was sent last.
async fn drain(socket: &mut WebSocket) {
    let reading = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(GOODBYE_TIME, reading).await;
}
