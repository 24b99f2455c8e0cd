//! Clients that cost as little as they can: the machine's time is to go to the server that is measured.
//!
//! Owns one HTTP connection that is kept open, and one realtime connection.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::bench::rows::report;

/// Longest reply: a page of a sync with room to spare.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An HTTP connection.
pub(in crate::bench) struct Connection {
    stream: TcpStream,
    key: &'static str,
    /// What was read: a reply, and nothing behind it.
    read: Vec<u8>,
}

impl Connection {
    pub(in crate::bench) async fn open(address: SocketAddr, key: &'static str) -> miette::Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(report)?;
        stream.set_nodelay(true).map_err(report)?;
        Ok(Self {
            stream,
            key,
            read: Vec::new(),
        })
    }

    /// Sends a request and answers with the body of the reply.
    pub(in crate::bench) async fn post(&mut self, body: &str) -> miette::Result<&[u8]> {
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n\
             content-type: application/json; charset=UTF-8\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.map_err(report)?;
        self.read.clear();
        loop {
            if let Some(start) = self.reply_at()? {
                return Ok(&self.read[start..]);
            }
            if self.read.len() > REPLY_BYTES_MAX {
                return Err(miette::miette!("the reply has no end"));
            }
            if self.stream.read_buf(&mut self.read).await.map_err(report)? == 0 {
                return Err(miette::miette!("the server closed the connection"));
            }
        }
    }

    /// Where the body begins, once all of it is there.
    fn reply_at(&self) -> miette::Result<Option<usize>> {
        let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(miette::miette!("{}", String::from_utf8_lossy(&self.read)));
        }
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            .ok_or_else(|| miette::miette!("the reply does not say its length"))?;
        Ok((self.read.len() >= end + 4 + length).then_some(end + 4))
    }
}

/// The token of the next page, found without parsing the rows; it stands behind them.
pub(super) fn next_token(body: &[u8]) -> miette::Result<Json> {
    const NAME: &[u8] = b"\"nextToken\":";
    let tail = &body[body.len().saturating_sub(2_048)..];
    let at = tail
        .windows(NAME.len())
        .rposition(|window| window == NAME)
        .ok_or_else(|| miette::miette!("the page has no token"))?;
    let mut tokens = serde_json::Deserializer::from_slice(&tail[at + NAME.len()..]).into_iter::<Json>();
    tokens
        .next()
        .ok_or_else(|| miette::miette!("the token has no value"))?
        .map_err(report)
}

/// A realtime connection.
pub(super) struct Subscriber {
    socket: WebSocketStream<TcpStream>,
    key: &'static str,
}

impl Subscriber {
    pub(super) async fn open(address: SocketAddr, key: &'static str) -> miette::Result<Self> {
        let mut request = format!("ws://{address}/graphql/realtime")
            .into_client_request()
            .map_err(report)?;
        let headers = request.headers_mut();
        headers.insert("x-api-key", key.parse().map_err(report)?);
        headers.insert("sec-websocket-protocol", "graphql-ws".parse().map_err(report)?);
        let stream = TcpStream::connect(address).await.map_err(report)?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .map_err(report)?;
        Ok(Self { socket, key })
    }

    /// Starts a subscription and waits until it is acknowledged.
    pub(super) async fn start(&mut self, id: &str, query: &str) -> miette::Result<()> {
        let data = json!({"query": query, "variables": {}}).to_string();
        let extensions = json!({"authorization": {"host": "localhost", "x-api-key": self.key}});
        let payload = json!({"data": data, "extensions": extensions});
        let start = json!({"id": id, "type": "start", "payload": payload});
        self.socket
            .send(Message::text(start.to_string()))
            .await
            .map_err(report)?;
        let answer = self.hear().await?;
        if answer.contains("start_ack") {
            Ok(())
        } else {
            Err(miette::miette!("{answer}"))
        }
    }

    /// The next message.
    pub(super) async fn hear(&mut self) -> miette::Result<String> {
        let message = self
            .socket
            .next()
            .await
            .ok_or_else(|| miette::miette!("the server closed the connection"))?
            .map_err(report)?;
        Ok(message.into_text().map_err(report)?.to_string())
    }
}
