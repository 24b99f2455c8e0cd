//! Frames of the realtime protocol, in both directions.
//!
//! Owns the parsing and printing of each frame and the bound on its size. Does not know which frame may follow which
//! (`session.rs`).
//!
//! | direction | frames |
//! |---|---|
//! | client to server | `connection_init`, `start`, `stop` |
//! | server to client | `connection_ack`, `connection_error`, `ka`, `start_ack`, `data`, `error`, `complete` |
//!
//! A frame of an unknown type is kept as [`Frame::Unknown`]. Errors may come as a list or as one object, and an
//! `error` frame may lack its `id`. Printing and parsing again gives the same frame.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use crate::error::WireError;
use crate::server_error::{ServerError, ServerErrors};
use crate::transport::Credentials;

/// Most bytes of a frame's payload that AppSync carries.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 240 * 1_024;

/// Most bytes of a frame: its payload and room for what stands around it, credentials included.
pub const FRAME_BYTES_MAX: usize = FRAME_PAYLOAD_BYTES_MAX + 16 * 1_024;

/// Identifier of a subscription on one connection, chosen by the client; never used twice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Arc<str>);

/// One text frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Client: begin.
    ConnectionInit,
    /// Client: subscribe.
    Start {
        /// The subscription.
        id: SubscriptionId,
        /// The document and its variables, as JSON text; see [`Document::start_data`](crate::Document::start_data).
        data: String,
        /// The credentials for it.
        authorization: Credentials,
    },
    /// Client: unsubscribe.
    Stop {
        /// The subscription.
        id: SubscriptionId,
    },
    /// Server: ready for `start`.
    ConnectionAck {
        /// How long the connection may be silent, in milliseconds, if the server says so.
        connection_timeout_ms: Option<u64>,
    },
    /// Server: no connection; it closes.
    ConnectionError {
        /// Why.
        errors: Vec<ServerError>,
    },
    /// Server: still here.
    KeepAlive,
    /// Server: the subscription is live.
    StartAck {
        /// The subscription.
        id: SubscriptionId,
    },
    /// Server: something changed.
    Data {
        /// The subscription.
        id: SubscriptionId,
        /// The GraphQL answer, as JSON text.
        payload: String,
    },
    /// Server: the subscription failed.
    Error {
        /// The subscription; some errors name none.
        id: Option<SubscriptionId>,
        /// Why.
        errors: Vec<ServerError>,
    },
    /// Server: the subscription has ended.
    Complete {
        /// The subscription.
        id: SubscriptionId,
    },
    /// A frame of a type that this version does not know.
    Unknown {
        /// Its type.
        kind: String,
    },
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StartPayload {
    data: String,
    #[serde(default)]
    extensions: StartExtensions,
}

#[derive(Default, Deserialize)]
struct StartExtensions {
    #[serde(default)]
    authorization: Map<String, Json>,
}

impl SubscriptionId {
    /// An identifier of any text.
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Frame {
    /// The frame's type as it stands on the wire.
    pub fn kind(&self) -> &str {
        match self {
            Self::Unknown { kind } => kind,
            known => known.name(),
        }
    }

    /// A word for traces and counters: the type, or `unknown`, whatever the server calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConnectionInit => "connection_init",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
            Self::ConnectionAck { .. } => "connection_ack",
            Self::ConnectionError { .. } => "connection_error",
            Self::KeepAlive => "ka",
            Self::StartAck { .. } => "start_ack",
            Self::Data { .. } => "data",
            Self::Error { .. } => "error",
            Self::Complete { .. } => "complete",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`], or [`WireError::BadFrame`] if it is no JSON object with a type, or lacks what
    /// its type needs.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        if text.len() > FRAME_BYTES_MAX {
            return Err(WireError::FrameTooLarge { bytes: text.len() });
        }
        let raw: Raw<'_> = serde_json::from_str(text).map_err(bad)?;
        let id = || raw.id.as_deref().map(SubscriptionId::new);
        let needed = || id().ok_or_else(|| bad(format!("a `{}` frame needs an `id`", raw.kind)));
        Ok(match &*raw.kind {
            "connection_init" => Self::ConnectionInit,
            "start" => {
                let payload = raw.payload.map_or("null", RawValue::get);
                let payload: StartPayload = serde_json::from_str(payload).map_err(bad)?;
                let authorization = Credentials::new(payload.extensions.authorization);
                Self::Start {
                    id: needed()?,
                    data: payload.data,
                    authorization,
                }
            }
            "stop" => Self::Stop { id: needed()? },
            "connection_ack" => Self::ConnectionAck {
                connection_timeout_ms: raw.payload.and_then(timeout_ms),
            },
            "connection_error" => Self::ConnectionError {
                errors: raw.server_errors()?,
            },
            "ka" => Self::KeepAlive,
            "start_ack" => Self::StartAck { id: needed()? },
            "data" => {
                let payload = raw.payload.map_or("null", RawValue::get);
                Self::Data {
                    id: needed()?,
                    payload: payload.to_owned(),
                }
            }
            "error" => Self::Error {
                id: id(),
                errors: raw.server_errors()?,
            },
            "complete" => Self::Complete { id: needed()? },
            kind => Self::Unknown {
                kind: kind.to_owned(),
            },
        })
    }

    /// Prints the frame.
    pub fn to_text(&self) -> String {
        let json = match self {
            Self::Data { id, payload } => return data_text(id, payload),
            Self::ConnectionInit | Self::KeepAlive | Self::Unknown { .. } => json!({ "type": self.kind() }),
            Self::Start {
                id,
                data,
                authorization,
            } => json!({
                "id": id.as_str(),
                "type": self.kind(),
                "payload": { "data": data, "extensions": { "authorization": authorization.members() } },
            }),
            Self::Stop { id } | Self::StartAck { id } | Self::Complete { id } => {
                json!({ "id": id.as_str(), "type": self.kind() })
            }
            Self::ConnectionAck {
                connection_timeout_ms: Some(timeout_ms),
            } => {
                json!({ "type": self.kind(), "payload": { "connectionTimeoutMs": timeout_ms } })
            }
            Self::ConnectionAck {
                connection_timeout_ms: None,
            } => json!({ "type": self.kind() }),
            Self::ConnectionError { errors } | Self::Error { id: None, errors } => {
                json!({ "type": self.kind(), "payload": errors_json(errors) })
            }
            Self::Error { id: Some(id), errors } => {
                json!({ "id": id.as_str(), "type": self.kind(), "payload": errors_json(errors) })
            }
        };
        json.to_string()
    }
}

/// Prints a `data` frame around its payload, which is JSON already.
fn data_text(id: &SubscriptionId, payload: &str) -> String {
    format!(
        r#"{{"id":{},"type":"data","payload":{payload}}}"#,
        Json::from(id.as_str())
    )
}

fn errors_json(errors: &[ServerError]) -> Json {
    let errors: Vec<Json> = errors.iter().map(ServerError::to_json).collect();
    json!({ "errors": errors })
}

fn bad(reason: impl fmt::Display) -> WireError {
    WireError::BadFrame {
        reason: reason.to_string(),
    }
}

fn timeout_ms(payload: &RawValue) -> Option<u64> {
    let payload: Json = serde_json::from_str(payload.get()).ok()?;
    let timeout = payload.get("connectionTimeoutMs")?;
    timeout.as_u64().or_else(|| timeout.as_str()?.parse().ok())
}

impl Raw<'_> {
    /// The errors in `payload.errors`, in `errors`, or in the payload itself.
    fn server_errors(&self) -> Result<Vec<ServerError>, WireError> {
        #[derive(Deserialize)]
        struct Payload {
            errors: ServerErrors,
        }
        if let Some(payload) = self.payload {
            if let Ok(payload) = serde_json::from_str::<Payload>(payload.get()) {
                return Ok(payload.errors.0);
            }
            let errors: ServerErrors = serde_json::from_str(payload.get()).map_err(bad)?;
            return Ok(errors.0);
        }
        let errors = self.errors.map_or("null", RawValue::get);
        serde_json::from_str::<ServerErrors>(errors)
            .map(|errors| errors.0)
            .map_err(bad)
    }
}

#[cfg(test)]
mod tests;
