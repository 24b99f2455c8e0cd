//! Messages of the realtime protocol as text.
//!
//! Owns the reading of what clients send and the writing of what the server sends. Unknown members are passed over:
//! clients add their own.

use serde::Deserialize;
use serde_json::{Value as Json, json};

/// A message from a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    ConnectionInit,
    Start {
        id: String,
        /// The request, JSON in a string.
        data: String,
        /// Credentials of this subscription.
        authorization: Json,
    },
    Stop {
        id: String,
    },
    /// Longer than messages may be.
    TooLong,
    /// Nothing that the server knows; with the id, if there is one.
    Unknown {
        id: Option<String>,
    },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    payload: Option<Json>,
}

impl Incoming {
    pub(crate) fn read(text: &str, bytes_max: usize) -> Self {
        if text.len() > bytes_max {
            return Self::TooLong;
        }
        let Ok(raw) = serde_json::from_str::<Raw>(text) else {
            return Self::Unknown { id: None };
        };
        let payload = raw.payload.unwrap_or_default();
        match (raw.kind.as_deref(), raw.id) {
            (Some("connection_init"), _) => Self::ConnectionInit,
            (Some("start"), Some(id)) => {
                let data = match &payload["data"] {
                    Json::String(text) => text.clone(),
                    // Not what the protocol says, but it cannot be misread.
                    other => other.to_string(),
                };
                let authorization = payload["extensions"]["authorization"].clone();
                Self::Start {
                    id,
                    data,
                    authorization,
                }
            }
            (Some("stop"), Some(id)) => Self::Stop { id },
            (_, id) => Self::Unknown { id },
        }
    }
}

pub(super) fn connection_ack(timeout_ms: i64) -> String {
    json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": timeout_ms}}).to_string()
}

pub(super) fn keep_alive() -> String {
    r#"{"type":"ka"}"#.to_owned()
}

pub(super) fn connection_error(error_type: &str, code: u16, message: &str) -> String {
    let errors = json!([{"errorType": error_type, "errorCode": code, "message": message}]);
    json!({"type": "connection_error", "payload": {"errors": errors}}).to_string()
}

/// The answer to a message that came too soon after others; it was not read, so its subscription is not known.
pub(super) fn rate_exceeded() -> String {
    error(
        None,
        &json!([{"errorType": "LimitExceededError", "message": "Rate limit exceeded"}]),
    )
}

pub(super) fn start_ack(id: &str) -> String {
    json!({"id": id, "type": "start_ack"}).to_string()
}

pub(super) fn complete(id: &str) -> String {
    json!({"id": id, "type": "complete"}).to_string()
}

/// An error of one subscription, or of none in particular.
pub(super) fn error(id: Option<&str>, errors: &Json) -> String {
    match id {
        Some(id) => json!({"id": id, "type": "error", "payload": {"errors": errors}}).to_string(),
        None => json!({"type": "error", "payload": {"errors": errors}}).to_string(),
    }
}

/// What is before the payload of a data message.
pub(super) fn data_head(id: &str) -> String {
    let id = Json::from(id);
    format!(r#"{{"id":{id},"type":"data","payload":"#)
}

/// What is behind it.
pub(super) const DATA_END: &str = "}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_messages_are_read_with_members_that_clients_add() {
        let text = r#"{"id":"1","type":"start","payload":{"data":"{\"query\":\"q\"}","extensions":{"authorization":{"x-api-key":"k","x-amz-user-agent":"aws-amplify/6"}}},"more":1}"#;
        let Incoming::Start {
            id,
            data,
            authorization,
        } = Incoming::read(text, 1_000)
        else {
            panic!("it is a start")
        };
        assert_eq!((id.as_str(), data.as_str()), ("1", r#"{"query":"q"}"#));
        assert_eq!(authorization["x-api-key"], "k");
    }

    #[test]
    fn junk_is_unknown() {
        for text in ["", "x", "[]", "{}", r#"{"type":"start"}"#, r#"{"type":5}"#] {
            assert_eq!(
                Incoming::read(text, 1_000),
                Incoming::Unknown { id: None },
                "{text}"
            );
        }
        assert_eq!(
            Incoming::read(r#"{"type":"x","id":"7"}"#, 1_000),
            Incoming::Unknown {
                id: Some("7".to_owned())
            }
        );
        assert_eq!(
            Incoming::read(r#"{"type":"connection_init"}"#, 1_000),
            Incoming::ConnectionInit
        );
    }

    #[test]
    fn identifiers_are_escaped() {
        let text = format!("{}{}{DATA_END}", data_head("a\"b"), r#"{"data":null}"#);
        assert_eq!(
            serde_json::from_str::<Json>(&text).unwrap(),
            json!({"id": "a\"b", "type": "data", "payload": {"data": null}})
        );
    }
}
