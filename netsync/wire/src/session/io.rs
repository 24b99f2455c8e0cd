//! What goes into a realtime session and what comes out of it.
//!
//! Owns the inputs, the effects and the reasons of a loss. Decides nothing.

use std::fmt;

use super::{CONNECTION_ACK_TIMEOUT_MS, SubscriptionFailure};
use crate::error::WireError;
use crate::failure::FailureClass;
use crate::frame::{Frame, SubscriptionId};
use crate::server_error::ServerError;
use crate::transport::Credentials;

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum SessionInput {
    /// The socket is open.
    Opened,
    /// A text frame came.
    Frame(String),
    /// The socket is gone, or could not be opened.
    Closed {
        /// Why, for people.
        reason: String,
    },
    /// The caller wants a subscription.
    Subscribe {
        /// Its identifier; never used before on this connection.
        id: SubscriptionId,
        /// The text of [`Document::start_data`](crate::Document::start_data).
        data: String,
        /// What [`Transport::authorize`](crate::Transport::authorize) made of that text.
        authorization: Credentials,
    },
    /// The caller no longer wants a subscription.
    Unsubscribe {
        /// The subscription.
        id: SubscriptionId,
    },
    /// The armed timer is due.
    Timeout,
}

/// What a session wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEffect {
    /// Send this frame.
    Send(FrameText),
    /// The server acknowledged the connection.
    ConnectionLive {
        /// How long it may be silent, in milliseconds.
        timeout_ms: u64,
    },
    /// The server acknowledged the subscription: every later change is delivered.
    SubscriptionLive {
        /// The subscription.
        id: SubscriptionId,
    },
    /// The subscription has failed and is gone; the others live on.
    SubscriptionFailed {
        /// The subscription.
        id: SubscriptionId,
        /// What may be done.
        class: SubscriptionFailure,
        /// What the server reports.
        errors: Vec<ServerError>,
    },
    /// Something changed.
    Data {
        /// The subscription.
        id: SubscriptionId,
        /// For [`read_subscription`](crate::read_subscription).
        payload: String,
    },
    /// The subscription has ended, as the caller or the server wished.
    Completed {
        /// The subscription.
        id: SubscriptionId,
    },
    /// The connection has ended, and every subscription with it.
    ConnectionLost {
        /// Why.
        reason: LossReason,
    },
    /// Call with `Timeout` at this time, and forget the timer armed before.
    ArmTimer {
        /// The time, on the clock of `now_ms`.
        at_ms: u64,
    },
    /// Close the socket.
    Close,
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum LossReason {
    /// The socket is gone.
    Closed {
        /// What its end says.
        reason: String,
    },
    /// The server did not acknowledge the connection in time.
    AckTimeout,
    /// The server was silent for too long.
    KeepAliveMissed {
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// The server refused the connection.
    Refused {
        /// What may be done: other credentials, nothing, or another try.
        class: FailureClass,
        /// What it reports.
        errors: Vec<ServerError>,
    },
    /// The server sent something that is no frame.
    BadFrame(WireError),
}

/// A printed frame. Its `Debug` output holds no content, since a `start` carries credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct FrameText {
    name: &'static str,
    text: String,
}

impl FrameText {
    pub(super) fn of(frame: &Frame) -> Self {
        Self {
            name: frame.name(),
            text: frame.to_text(),
        }
    }

    /// The frame's type, such as `start`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text to send.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl fmt::Debug for FrameText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.name, self.text.len())
    }
}

impl SessionInput {
    /// A word for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Frame(_) => "frame",
            Self::Closed { .. } => "closed",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { reason } => write!(f, "the socket closed: {reason}"),
            Self::AckTimeout => write!(f, "no connection_ack within {CONNECTION_ACK_TIMEOUT_MS} ms"),
            Self::KeepAliveMissed { silent_ms } => write!(f, "the server was silent for {silent_ms} ms"),
            Self::Refused { errors, .. } => match errors.first() {
                Some(error) => write!(f, "the server refused the connection: {error}"),
                None => f.write_str("the server refused the connection"),
            },
            Self::BadFrame(error) => write!(f, "{error}"),
        }
    }
}
