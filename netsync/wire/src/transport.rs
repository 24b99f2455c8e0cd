//! The seam between the engine and a network: one request, one reply, and one socket for realtime.
//!
//! Owns the [`Transport`] trait, the values that pass through it and [`TransportError`]. Does not open anything:
//! `landfall-netsync` does so for real, the simulator in virtual time.
//!
//! Invariants: 1. an error says whether the request can have reached the server; 2. no `Debug` output of this module
//! holds a credential or the content of a record.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use landfall_core::ModelName;
use serde_json::{Map, Value as Json};

/// Name of a GraphQL operation, such as `SyncPosts`; what traces and metrics call a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationName {
    name: Arc<str>,
    subject: Option<Subject>,
}

/// What a request is about, for whoever chooses credentials by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The model.
    pub model: ModelName,
    /// What is done with its records.
    pub access: Access,
}

/// What is done with records of a model, as `@auth` rules tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// One is made.
    Create,
    /// One is changed.
    Update,
    /// One is removed.
    Delete,
    /// They are fetched.
    Read,
    /// They are subscribed to.
    Listen,
}

/// One GraphQL request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The body: `{"query", "variables", "operationName"}` as JSON text.
    pub body: String,
    /// The operation, for traces.
    pub operation: OperationName,
}

/// What came back for a request, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// How long the server asks to wait before the next try, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// Whether a request that failed can have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// The server certainly did not act on it: it may be sent again as it is.
    NotDelivered,
    /// The server may have acted on it: it must be asked before a mutation is sent again.
    Unknown,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The request certainly did not get through: name lookup, connecting or the TLS handshake failed.
    #[error("the server cannot be reached: {reason}")]
    Unreachable {
        /// What failed.
        reason: String,
    },
    /// The request may have got through: the connection broke or the time ran out before the whole reply was here.
    #[error("the connection broke before the whole reply arrived: {reason}")]
    Interrupted {
        /// What failed.
        reason: String,
    },
    /// No credentials could be had, so nothing was sent; or the realtime handshake was refused for lack of them.
    #[error("no valid credentials: {reason}")]
    Unauthorized {
        /// What failed.
        reason: String,
    },
    /// The configuration cannot work; nothing is sent until it is corrected.
    #[error("the transport is misconfigured: {reason}")]
    Misconfigured {
        /// What to correct.
        reason: String,
    },
}

/// Credentials inside a realtime handshake or a `start` frame; a JSON object whose `Debug` output hides the values.
#[derive(Clone, Default, PartialEq)]
pub struct Credentials(Map<String, Json>);

/// Sends requests and opens realtime sockets to one endpoint.
///
/// Futures own what they need, so that a caller may drop the transport while one runs. They resolve with an error
/// rather than hang: an implementation bounds the time of each.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for the whole reply.
    ///
    /// Any reply is `Ok`, also one with an error status; see [`read_mutation`](crate::read_mutation) and its kin.
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>>;

    /// Opens a realtime socket; credentials travel in the handshake, which the implementation does.
    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>>;

    /// Makes the `authorization` extension of a `start` frame for exactly this `data` text.
    ///
    /// Signing transports sign the text, so it must be sent unchanged.
    fn authorize(&self, payload: &str) -> BoxFuture<'static, Result<Credentials, TransportError>>;

    /// As [`authorize`](Self::authorize), for a subscription about this, by the credentials that are next in turn:
    /// `attempt` counts those that the server refused for it. By default there are no others.
    fn authorize_start(
        &self,
        _subject: &Subject,
        payload: &str,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        if attempt == 0 {
            return self.authorize(payload);
        }
        let reason = "the server refuses the credentials, and there are no others".to_owned();
        Box::pin(std::future::ready(Err(TransportError::Unauthorized { reason })))
    }

    /// The server refused the credentials of a realtime connection after it was open: the next
    /// [`connect`](Self::connect) should not present the same. By default nothing is made of that.
    fn connection_refused(&self) {}

    /// The endpoint's address, for messages; never holds credentials.
    fn endpoint(&self) -> &str;
}

/// An open realtime socket.
pub trait Socket: Send {
    /// Takes the two directions apart, so that one task may wait for frames while another sends.
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>);
}

/// The sending half of a socket.
pub trait SocketSink: Send {
    /// Sends one text frame; resolves when the system has taken it, which is not when the server has.
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Closes the socket with code 1000; the other half then ends.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// The receiving half of a socket.
pub trait SocketStream: Send {
    /// Waits for the next text frame; `None` after an orderly end, and after every error.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>>;
}

impl OperationName {
    /// A name of any text.
    pub fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            subject: None,
        }
    }

    /// The same name, of an operation about this.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self {
            subject: Some(subject),
            ..self
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the operation is about, if that is one model.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpRequest({}, {} bytes)", self.operation, self.body.len())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({}, {} bytes)", self.status, self.body.len())
    }
}

impl HttpResponse {
    /// A reply of that status and body that asks for no delay.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            retry_after_ms: None,
            body: body.into(),
        }
    }
}

impl TransportError {
    /// Whether the request can have taken effect.
    pub fn outcome(&self) -> Delivery {
        match self {
            Self::Interrupted { .. } => Delivery::Unknown,
            Self::Unreachable { .. } | Self::Unauthorized { .. } | Self::Misconfigured { .. } => {
                Delivery::NotDelivered
            }
        }
    }
}

impl Credentials {
    /// Credentials of those members.
    pub fn new(members: Map<String, Json>) -> Self {
        Self(members)
    }

    /// The members; whoever prints them gives the credentials away.
    pub fn members(&self) -> &Map<String, Json> {
        &self.0
    }

    /// Takes the members out.
    pub fn into_members(self) -> Map<String, Json> {
        self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.keys().map(|name| (name, "***")))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interruption_leaves_the_outcome_open() {
        let reason = || "x".to_owned();
        assert_eq!(
            TransportError::Interrupted { reason: reason() }.outcome(),
            Delivery::Unknown
        );
        assert_eq!(
            TransportError::Unreachable { reason: reason() }.outcome(),
            Delivery::NotDelivered
        );
        assert_eq!(
            TransportError::Unauthorized { reason: reason() }.outcome(),
            Delivery::NotDelivered
        );
        assert_eq!(
            TransportError::Misconfigured { reason: reason() }.outcome(),
            Delivery::NotDelivered
        );
    }

    #[test]
    fn debug_output_hides_credentials_and_content() {
        let mut members = Map::new();
        members.insert("x-api-key".into(), "da2-secret".into());
        assert_eq!(
            format!("{:?}", Credentials::new(members)),
            r#"{"x-api-key": "***"}"#
        );
        let request = HttpRequest {
            body: "secret".into(),
            operation: OperationName::new("GetPost"),
        };
        assert_eq!(format!("{request:?}"), "HttpRequest(GetPost, 6 bytes)");
        assert_eq!(
            format!("{:?}", HttpResponse::new(200, "secret")),
            "HttpResponse(200, 6 bytes)"
        );
    }
}
