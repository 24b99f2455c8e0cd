//! What it means that a request failed, and so what may be done next.
//!
//! Owns [`FailureClass`] and the two tables by which it is found: HTTP status and `errorType`. Texts of messages
//! decide only where AppSync gives nothing else, which is once: a request that ran too long has a message and no type.
//!
//! | answer | class | can it have taken effect? |
//! |---|---|---|
//! | no connection, a transport that is misconfigured | transient | no |
//! | no credentials | unauthorized | no |
//! | broken connection | transient | perhaps |
//! | 404, 405, 425, 429, 511, any other 4xx without GraphQL errors | transient | no |
//! | 408, 5xx, 3xx, 200 that is no GraphQL answer | transient | perhaps |
//! | 401, 403 | unauthorized | no |
//! | 400, 413, 414, 415, 422, 431, any other 4xx with GraphQL errors | by type, else permanent | no |
//! | 200 with errors | by type, else permanent | by type |
//! | more than the server does for one request, by type | too much | by type |
//!
//! A verdict on a mutation is only taken from something that speaks GraphQL or says that the request itself is at
//! fault: a login page or a proxy must not get a mutation refused.

use std::fmt;

use landfall_core::Refusal;

use crate::error::WireError;
use crate::server_error::ServerError;
use crate::transport::{Delivery, TransportError};

/// What may be done about a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Try again later; ask the server first if a mutation may have taken effect.
    Transient {
        /// Whether it can have taken effect.
        delivery: Delivery,
        /// How long the server asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Other credentials are needed.
    Unauthorized,
    /// The server's record has another version than the mutation was made on.
    Conflict,
    /// The condition of the mutation does not hold, or the record exists already, or not at all.
    ConditionFailed,
    /// The request is more than the server does at once; in smaller parts it may succeed, and alone never.
    TooMuch {
        /// Whether it can have taken effect.
        delivery: Delivery,
    },
    /// The request will never succeed as it is.
    Permanent,
}

/// A request that failed: what may be done, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What may be done.
    pub class: FailureClass,
    /// Why.
    pub cause: FailureCause,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub enum FailureCause {
    /// The server reports errors; the first one decided the class.
    Errors {
        /// The HTTP status.
        status: u16,
        /// What the server reports, the decisive error first; never empty.
        errors: Vec<ServerError>,
    },
    /// The server answered with an error status and nothing else that could be read.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer cannot be read.
    Unreadable(WireError),
    /// There was no answer.
    Transport(TransportError),
}

/// What GraphQL servers other than AppSync call a request that does not fit their schema.
const FORM_ERROR_TYPES: [&str; 2] = ["GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"];

const NOT_DELIVERED: FailureClass = FailureClass::Transient {
    delivery: Delivery::NotDelivered,
    retry_after_ms: None,
};
const UNKNOWN: FailureClass = FailureClass::Transient {
    delivery: Delivery::Unknown,
    retry_after_ms: None,
};

impl FailureClass {
    /// The class of an AppSync `errorType`; `None` for a type that is not known.
    ///
    /// A prefix such as `DynamoDB:` names the data source and does not matter.
    pub fn of_error_type(error_type: &str) -> Option<Self> {
        let name = error_type.rsplit_once(':').map_or(error_type, |(_, name)| name);
        Some(match name {
            "ConflictUnhandled" => Self::Conflict,
            "ConditionalCheckFailedException" => Self::ConditionFailed,
            "Unauthorized"
            | "UnauthorizedException"
            | "NotAuthorizedException"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "ExpiredTokenException"
            | "InvalidSignatureException" => Self::Unauthorized,
            // Nothing was written: refused at the door, lost every race, or the conflict function did not answer.
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "LimitExceededError"
            | "LimitExceededException"
            | "TransactionConflictException"
            | "MaxConflicts"
            | "ConflictError" => NOT_DELIVERED,
            // `DeltaSyncWriteError`: the record was written, the journal was not. The rest may be either.
            "DeltaSyncWriteError"
            | "InternalFailure"
            | "InternalFailureException"
            | "InternalServerError"
            | "InternalServerErrorException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "ProvisionedThroughputExceededException"
            | "ExecutionTimeout" => UNKNOWN,
            // Ours: what one request may write was used up before this was looked at.
            "WriteSizeExceeded" => Self::TooMuch {
                delivery: Delivery::NotDelivered,
            },
            // Ours: the answer to what was written, or what went before it, has used up what one request is given.
            "ResponseSizeExceeded" | "RequestSizeExceeded" | "ResolverLimitExceeded" => Self::TooMuch {
                delivery: Delivery::Unknown,
            },
            _ => return None,
        })
    }

    /// The class of one error of a readable answer.
    pub fn of_error(error: &ServerError) -> Self {
        match error.error_type.as_deref().map(Self::of_error_type) {
            Some(Some(class)) => class,
            Some(None) => Self::Permanent,
            None if error.error_code.is_some_and(|code| code == 401 || code == 403) => Self::Unauthorized,
            // The one text that has no type beside it.
            None if error.message.starts_with("Execution timed out") => UNKNOWN,
            None => Self::Permanent,
        }
    }

    /// Which class wins when an answer has several errors.
    fn rank(self) -> u8 {
        match self {
            Self::Conflict => 0,
            Self::ConditionFailed => 1,
            Self::Unauthorized => 2,
            Self::Transient {
                delivery: Delivery::Unknown,
                ..
            } => 3,
            Self::TooMuch {
                delivery: Delivery::Unknown,
            } => 4,
            Self::Transient { .. } => 5,
            Self::TooMuch { .. } => 6,
            Self::Permanent => 7,
        }
    }

    pub(crate) fn with_retry_after(self, retry_after_ms: Option<u64>) -> Self {
        match self {
            Self::Transient { delivery, .. } => Self::Transient {
                delivery,
                retry_after_ms,
            },
            other => other,
        }
    }
}

/// What an error status says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusVerdict {
    /// The body decides.
    Read,
    /// GraphQL errors in the body decide; without any, this class.
    Unless(FailureClass),
    /// The body does not matter.
    Final(FailureClass),
}

/// Reads the HTTP status.
pub(crate) fn status_verdict(status: u16) -> StatusVerdict {
    match status {
        200..=299 => StatusVerdict::Read,
        401 | 403 => StatusVerdict::Final(FailureClass::Unauthorized),
        // 404 and 405: the address is not that of the API, which is no verdict on what was sent there.
        404 | 405 | 425 | 429 | 511 => StatusVerdict::Final(NOT_DELIVERED),
        400 | 413 | 414 | 415 | 422 | 431 => StatusVerdict::Unless(FailureClass::Permanent),
        408 => StatusVerdict::Final(UNKNOWN),
        406..=499 | 402 => StatusVerdict::Unless(NOT_DELIVERED),
        _ => StatusVerdict::Final(UNKNOWN),
    }
}

impl Failure {
    /// The failure that a list of errors means; the decisive error comes first afterwards.
    ///
    /// `fallback` is the class if there is no error.
    pub(crate) fn of_errors(
        status: u16,
        mut errors: Vec<ServerError>,
        retry_after_ms: Option<u64>,
        fallback: FailureClass,
    ) -> Self {
        let ranked = errors.iter().map(FailureClass::of_error).enumerate();
        let Some((position, class)) = ranked.min_by_key(|(_, class)| class.rank()) else {
            let class = fallback.with_retry_after(retry_after_ms);
            return Self {
                class,
                cause: FailureCause::Status { status },
            };
        };
        errors[..=position].rotate_right(1);
        Self {
            class: class.with_retry_after(retry_after_ms),
            cause: FailureCause::Errors { status, errors },
        }
    }

    pub(crate) fn unreadable(error: WireError) -> Self {
        Self {
            class: UNKNOWN,
            cause: FailureCause::Unreadable(error),
        }
    }

    /// What the server reports; empty if it reports nothing.
    pub fn errors(&self) -> &[ServerError] {
        match &self.cause {
            FailureCause::Errors { errors, .. } => errors,
            _ => &[],
        }
    }

    /// The decisive error's AppSync type.
    pub fn error_type(&self) -> Option<&str> {
        self.errors().first()?.error_type.as_deref()
    }

    /// Whether the server refused the form of the request, before it looked at any record: the document or its variables
    /// do not fit its schema. GraphQL calls that a request error: it has no path. AppSync gives it no type either.
    pub fn is_of_form(&self) -> bool {
        let FailureCause::Errors {
            status: 200..=299 | 400,
            errors,
        } = &self.cause
        else {
            return false;
        };
        let is_of_form = |error: &ServerError| {
            let error_type = error.error_type.as_deref();
            error.path.is_empty() && error_type.is_none_or(|name| FORM_ERROR_TYPES.contains(&name))
        };
        self.class == FailureClass::Permanent && errors.first().is_some_and(is_of_form)
    }

    /// Whether what answered is no GraphQL API: the address is wrong, or something stands in front of it.
    pub fn is_no_api(&self) -> bool {
        matches!(
            self.cause,
            FailureCause::Status { status: 404 | 405 }
                | FailureCause::Errors {
                    status: 404 | 405,
                    ..
                }
                | FailureCause::Unreadable(_)
        )
    }

    /// Whether the request can have taken effect.
    pub fn delivery(&self) -> Delivery {
        match self.class {
            FailureClass::Transient { delivery, .. } | FailureClass::TooMuch { delivery } => delivery,
            _ => Delivery::NotDelivered,
        }
    }

    /// The failure as what a parked mutation remembers.
    pub fn to_refusal(&self) -> Refusal {
        let message = match self.errors().first() {
            Some(error) if !error.message.is_empty() => error.message.clone(),
            _ => self.to_string(),
        };
        Refusal {
            error_type: self.error_type().map(str::to_owned),
            message,
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let class = match &error {
            TransportError::Interrupted { .. } => UNKNOWN,
            // A wrong configuration is no verdict on the request: it waits until that is corrected.
            TransportError::Unreachable { .. } | TransportError::Misconfigured { .. } => NOT_DELIVERED,
            TransportError::Unauthorized { .. } => FailureClass::Unauthorized,
        };
        Self {
            class,
            cause: FailureCause::Transport(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            FailureCause::Errors { status, errors } => {
                if let Some(first) = errors.first() {
                    write!(f, "{first}")?;
                }
                if errors.len() > 1 {
                    write!(f, " (and {} more)", errors.len() - 1)?;
                }
                if *status == 200 {
                    Ok(())
                } else {
                    write!(f, " (status {status})")
                }
            }
            FailureCause::Status { status } => write!(f, "the server answered with status {status}"),
            FailureCause::Unreadable(error) => write!(f, "{error}"),
            FailureCause::Transport(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
