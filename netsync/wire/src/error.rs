//! What can go wrong between values and the wire.
//!
//! Owns [`WireError`], the one error of this crate. What a server or a transport says is not an error of this crate:
//! it is a [`Failure`](crate::Failure) or a [`TransportError`](crate::TransportError).

use landfall_core::{FieldName, ModelName};

use crate::frame::FRAME_BYTES_MAX;
use crate::selection::SELECTION_FIELDS_MAX;

/// Why something cannot be put on the wire, or why what came from it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The schema has no such model.
    #[error("the schema has no model `{model}`")]
    UnknownModel {
        /// The name.
        model: ModelName,
    },
    /// Selecting every field of the model would make a document that no server takes.
    #[error("selecting `{model}` takes more than {SELECTION_FIELDS_MAX} fields; flatten its non-model types")]
    SelectionTooLarge {
        /// The model.
        model: ModelName,
    },
    /// The server's condition input has no such comparison.
    #[error("the server cannot check `{op}` on `{model}.{field}`; take the comparison out of the condition")]
    ConditionNotExpressible {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// The operator.
        op: &'static str,
    },
    /// The condition can never hold, and the server cannot be told so.
    #[error(
        "the condition of this change to `{model}` can never hold; drop the change or correct the condition"
    )]
    ConditionNeverHolds {
        /// The model.
        model: ModelName,
    },
    /// A frame is larger than what is read or sent.
    #[error("a frame of {bytes} bytes exceeds the {FRAME_BYTES_MAX} that the protocol allows")]
    FrameTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A frame is not one of the protocol.
    #[error("not a realtime frame: {reason}")]
    BadFrame {
        /// What is wrong with it.
        reason: String,
    },
    /// A handshake carries no readable credentials.
    #[error("the handshake carries no credentials: {reason}")]
    BadHandshake {
        /// What is wrong with it.
        reason: String,
    },
    /// The realtime address cannot be derived.
    #[error("no realtime address follows from `{endpoint}`: {reason}; set the realtime URL explicitly")]
    NoRealtimeAddress {
        /// The HTTP endpoint.
        endpoint: String,
        /// Why not.
        reason: &'static str,
    },
    /// A web page came instead of a GraphQL answer.
    #[error(
        "a web page answered with status {status}{} instead of a GraphQL server; \
         a network login page may be in the way, or the endpoint's URL is wrong",
        title.as_ref().map(|title| format!(", titled `{title}`,")).unwrap_or_default()
    )]
    Html {
        /// The HTTP status.
        status: u16,
        /// The page's title, if it has one.
        title: Option<String>,
    },
    /// The answer ends in the middle.
    #[error("the answer with status {status} ends after {bytes} bytes, in the middle of its JSON")]
    Truncated {
        /// The HTTP status.
        status: u16,
        /// How much there was.
        bytes: usize,
    },
    /// The answer is not JSON.
    #[error("the answer with status {status} is not JSON: {reason}")]
    NotJson {
        /// The HTTP status.
        status: u16,
        /// What the parser says.
        reason: String,
    },
    /// The answer is JSON but not the GraphQL answer to the question.
    #[error("the answer with status {status} does not fit the question: {reason}")]
    UnexpectedShape {
        /// The HTTP status.
        status: u16,
        /// What does not fit.
        reason: String,
    },
}
