//! Realtime sockets: the upgrade of an HTTP request, and text frames in both directions.
//!
//! Owns the WebSocket handshake with its credentials and the two halves of a socket. Pings are answered while the
//! receiving half is polled. Does not know what the frames say (`landfall_wire::Session` does).
//!
//! The handshake runs on the HTTP client rather than on tungstenite's own: that one logs the request, credentials
//! included, and knows neither proxies nor the trusted certificates of the transport.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use landfall_wire::{
    FRAME_BYTES_MAX, HTML_TITLE_BYTES_MAX, REALTIME_PROTOCOL, Socket, SocketSink, SocketStream,
    TransportError, subprotocols, web_page,
};
use reqwest::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Response, StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

use crate::authorization::{Call, Held};
use crate::http::{Inner, failure};

/// How long the server may take to agree to a close; after that the socket is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a read asks of the system at once; frames are small, and one connection serves all subscriptions.
const READ_BUFFER_BYTES: usize = 16 * 1_024;

/// Most bytes that wait to be sent: a few `start` frames of the largest size. A peer that takes nothing is cut off.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

/// How long is waited for the beginning of a page that came instead of a socket; it only names who answered.
const PAGE_WAIT: Duration = Duration::from_secs(2);

/// Opens a socket with those credentials: sends the upgrade request and waits for the server's agreement.
pub(crate) async fn open(inner: &Inner, held: &Held) -> Result<Box<dyn Socket>, TransportError> {
    let timeouts = inner.endpoint.timeouts;
    // What is signed is a request that is never sent as such.
    let mut url = inner.endpoint.url().clone();
    url.set_path(&format!("{}/connect", url.path().trim_end_matches('/')));
    let credentials = held.credentials(&Call {
        url: &url,
        host: &inner.host,
        region: &inner.endpoint.region,
        body: "{}",
        ahead_ms: inner.clock.ahead_ms(),
    });
    let mut protocols = HeaderValue::from_str(&subprotocols(&credentials)).map_err(|_| {
        let reason = "the credentials do not fit into a header".to_owned();
        TransportError::Unauthorized { reason }
    })?;
    protocols.set_sensitive(true);
    match tokio::time::timeout(timeouts.connect + timeouts.handshake, upgrade(inner, protocols)).await {
        Ok(socket) => socket,
        Err(_) => {
            let reason = format!(
                "no agreement to a realtime socket within {} ms",
                timeouts.handshake.as_millis()
            );
            Err(unreachable(reason))
        }
    }
}

async fn upgrade(inner: &Inner, protocols: HeaderValue) -> Result<Box<dyn Socket>, TransportError> {
    let key = generate_key();
    let reply = inner
        .upgrades
        .get(http_url(inner.endpoint.realtime()))
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, protocols)
        .send()
        .await
        // Whatever broke, no subscription was asked for yet.
        .map_err(|error| match failure(error) {
            TransportError::Interrupted { reason } => unreachable(reason),
            other => other,
        })?;
    inner.clock.note(reply.headers());
    if let Err(error) = check(&reply, &key) {
        return Err(named_after_page(error, reply).await);
    }
    let stream = reply
        .upgrade()
        .await
        .map_err(|error| unreachable(error.without_url().to_string()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let stream = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    Ok(Box::new(RealtimeSocket { stream }))
}

fn unreachable(reason: String) -> TransportError {
    TransportError::Unreachable { reason }
}

/// The address with the scheme that an HTTP client knows.
fn http_url(realtime: &Url) -> Url {
    let mut url = realtime.clone();
    let scheme = if url.scheme() == "wss" { "https" } else { "http" };
    url.set_scheme(scheme)
        .expect("ws and http are both special schemes");
    url
}

/// Whether a server that answers so may open a socket if it is asked again soon.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Says of a refusal that a web page came with it, and which.
async fn named_after_page(error: TransportError, mut reply: Response) -> TransportError {
    let is_for_good = matches!(error, TransportError::Misconfigured { .. });
    if !is_for_good && !may_pass(reply.status()) {
        return error;
    }
    let status = reply.status().as_u16();
    let mut head = Vec::new();
    let reading = async {
        while head.len() < HTML_TITLE_BYTES_MAX
            && let Ok(Some(part)) = reply.chunk().await
        {
            let room = HTML_TITLE_BYTES_MAX - head.len();
            head.extend_from_slice(&part[..part.len().min(room)]);
        }
    };
    // What has not come by then, or cannot be read, has no title.
    tokio::time::timeout(PAGE_WAIT, reading).await.unwrap_or(());
    match web_page(status, &head) {
        Some(page) if !is_for_good => unreachable(format!("the realtime endpoint: {page}")),
        Some(page) => TransportError::Misconfigured {
            reason: format!("{page}; check its address, and that no login page or proxy stands before it"),
        },
        None => error,
    }
}

/// Whether the server agreed, by the rules of RFC 6455.
fn check(reply: &Response, key: &str) -> Result<(), TransportError> {
    match reply.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            let reason = format!("the realtime endpoint answered with status {}", status.as_u16());
            return Err(TransportError::Unauthorized { reason });
        }
        status => {
            let reason = format!(
                "the realtime endpoint answered with status {} instead of opening a socket",
                status.as_u16()
            );
            return Err(if may_pass(status) {
                unreachable(reason)
            } else {
                let reason =
                    format!("{reason}; check its address, and that no login page or proxy stands before it");
                TransportError::Misconfigured { reason }
            });
        }
    }
    let headers = reply.headers();
    let fits = has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade")
        && headers
            .get(SEC_WEBSOCKET_ACCEPT)
            .is_some_and(|accept| *accept == derive_accept_key(key.as_bytes()));
    if !fits {
        return Err(unreachable(
            "the realtime endpoint does not speak WebSocket".to_owned(),
        ));
    }
    match headers.get(SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if *protocol == REALTIME_PROTOCOL => Ok(()),
        _ => Err(unreachable(format!(
            "the realtime endpoint does not speak `{REALTIME_PROTOCOL}`"
        ))),
    }
}

fn has_token(headers: &HeaderMap, name: &reqwest::header::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

struct RealtimeSocket {
    stream: WebSocketStream<Upgraded>,
}

struct Sink {
    sink: SplitSink<WebSocketStream<Upgraded>, Message>,
}

struct Stream {
    stream: SplitStream<WebSocketStream<Upgraded>>,
    has_ended: bool,
}

impl Socket for RealtimeSocket {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let (sink, stream) = self.stream.split();
        (
            Box::new(Sink { sink }),
            Box::new(Stream {
                stream,
                has_ended: false,
            }),
        )
    }
}

impl SocketSink for Sink {
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>> {
        async move {
            self.sink
                .send(Message::text(text))
                .await
                .map_err(|error| interrupted(&error))
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        let close = async {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            // A socket that cannot be closed in an orderly way is gone already, which is all that was wanted.
            if self.sink.send(Message::Close(Some(frame))).await.is_ok() {
                self.sink.close().await.unwrap_or_default();
            }
        };
        async move {
            tokio::time::timeout(CLOSE_TIMEOUT, close)
                .await
                .unwrap_or_default();
        }
        .boxed()
    }
}

impl SocketStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        async move {
            if self.has_ended {
                return None;
            }
            let item = self.next_text().await;
            self.has_ended = !matches!(item, Some(Ok(_)));
            item
        }
        .boxed()
    }
}

impl Stream {
    async fn next_text(&mut self) -> Option<Result<String, TransportError>> {
        loop {
            let reason = match self.stream.next().await? {
                Ok(Message::Text(text)) => return Some(Ok(text.as_str().to_owned())),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(None)) => return None,
                Ok(Message::Close(Some(CloseFrame {
                    code: CloseCode::Normal,
                    ..
                }))) => return None,
                Ok(Message::Close(Some(CloseFrame { code, reason }))) => {
                    format!("the server closed the socket with code {code}: {reason}")
                }
                Ok(Message::Binary(_)) => "the server sent a binary frame".to_owned(),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return None,
                Err(error) => return Some(Err(interrupted(&error))),
            };
            return Some(Err(TransportError::Interrupted { reason }));
        }
    }
}

/// Takes kind and text of an error; the text of some holds the frame that could not be sent.
fn interrupted(error: &Error) -> TransportError {
    let reason = match error {
        Error::WriteBufferFull(_) => "the server takes no more frames".to_owned(),
        Error::Http(_) | Error::HttpFormat(_) => "the handshake failed".to_owned(),
        other => other.to_string(),
    };
    TransportError::Interrupted { reason }
}

#[cfg(test)]
mod tests;
