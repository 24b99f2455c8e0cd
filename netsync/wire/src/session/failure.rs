//! What it means that a subscription, or a whole realtime connection, was refused.
//!
//! Owns the classes and how errors are sorted into them: by type, and by text only for filters, where AppSync's
//! validation gives no type.

use crate::failure::FailureClass;
use crate::frame::SubscriptionId;
use crate::server_error::ServerError;
use crate::session::SessionEffect;
use crate::transport::Delivery;

/// What may be done about a failed subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionFailure {
    /// Other credentials are needed; or the operation is switched off, which the same people can change.
    Unauthorized,
    /// The server does not take the filter: subscribe without it.
    FilterRefused,
    /// The connection has all the subscriptions that it may have.
    MaxSubscriptions,
    /// Try again later, with a new identifier.
    Transient,
    /// It will never succeed as it is.
    Permanent,
}

/// Texts by which AppSync's validation refuses a subscription's filter.
const FILTER_REFUSALS: [&str; 6] = [
    "UnknownArgument: Unknown field argument filter",
    "Filters exceed maximum attributes limit",
    "Filters combination exceed maximum limit",
    "filter uses same fieldName multiple time",
    "The variables input contains a field name 'not'",
    "The variables input contains a field that is not defined for input object type",
];

impl SubscriptionFailure {
    /// The class of an `error` frame's errors: that of the first which has a class of its own.
    pub fn of_errors(errors: &[ServerError]) -> Self {
        // A server that gives no reason may have none tomorrow.
        let Some(first) = errors.first() else {
            return Self::Transient;
        };
        let of_first = Self::of_error(first);
        errors
            .iter()
            .map(Self::of_error)
            .find(|class| *class != Self::Permanent)
            .unwrap_or(of_first)
    }

    fn of_error(error: &ServerError) -> Self {
        if FILTER_REFUSALS.iter().any(|text| error.message.contains(text)) {
            return Self::FilterRefused;
        }
        match error.error_type.as_deref() {
            Some("MaxSubscriptionsReachedError" | "MaxSubscriptionsReachedException") => {
                Self::MaxSubscriptions
            }
            Some("OperationDisabled") => Self::Unauthorized,
            Some("DuplicatedOperationError") => Self::Transient,
            _ => match FailureClass::of_error(error) {
                FailureClass::Unauthorized => Self::Unauthorized,
                FailureClass::Transient { .. } => Self::Transient,
                FailureClass::Conflict
                | FailureClass::ConditionFailed
                | FailureClass::TooMuch { .. }
                | FailureClass::Permanent => Self::Permanent,
            },
        }
    }

    /// The effect for a failure that the session itself finds.
    pub(super) fn of(self, id: SubscriptionId, reason: &str) -> SessionEffect {
        let errors = vec![ServerError {
            message: reason.to_owned(),
            ..ServerError::default()
        }];
        SessionEffect::SubscriptionFailed {
            id,
            class: self,
            errors,
        }
    }
}

/// The class of a `connection_error`: permanent only where the request itself is at fault.
pub(super) fn connection_failure(errors: &[ServerError]) -> FailureClass {
    let transient = FailureClass::Transient {
        delivery: Delivery::NotDelivered,
        retry_after_ms: None,
    };
    let of_error = |error: &ServerError| match (error.error_type.as_deref(), error.error_code) {
        (_, Some(401 | 403)) => FailureClass::Unauthorized,
        (Some("BadRequestException" | "BadRequest"), _) | (_, Some(400)) => FailureClass::Permanent,
        _ => match FailureClass::of_error(error) {
            FailureClass::Unauthorized => FailureClass::Unauthorized,
            _ => transient,
        },
    };
    errors
        .iter()
        .map(of_error)
        .find(|class| *class != transient)
        .unwrap_or(transient)
}
