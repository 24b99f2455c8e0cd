//! What the app is told of failures: Amplify's kinds of errors, and what to do about each.
//!
//! Owns the mapping from a [`Failure`] to an [`ErrorKind`]. It says nothing about what the engine does next; the class
//! of the failure decides that.
//!
//! | failure | kind |
//! |---|---|
//! | misconfigured transport | `ConfigError` |
//! | other credentials are needed | `Unauthorized` |
//! | may pass by itself | `Transient` |
//! | the document or an input does not fit the server's schema | `BadModel` |
//! | null where the server's schema wants a value | `BadRecord` |
//! | anything else | `Unknown` |

use landfall_wire::{Failure, FailureCause, FailureClass, ServerError, TransportError};

use crate::handlers::ErrorKind;

/// How AppSync words that a document or an input does not fit its schema; there is no type beside it.
const BAD_MODEL_TEXTS: [&str; 2] = ["Validation error of type", "not defined for input object type"];

/// How AppSync words that a null is where none may be; there is no type beside it.
const BAD_RECORD_TEXTS: [&str; 2] = [
    "Cannot return null for non-nullable type",
    "has coerced Null value for NonNull type",
];

/// Amplify's kind of a failed request.
pub(crate) fn error_kind(failure: &Failure) -> ErrorKind {
    if let FailureCause::Transport(TransportError::Misconfigured { .. }) = failure.cause {
        return ErrorKind::ConfigError;
    }
    kind_of(failure.class, failure.errors().first())
}

/// Amplify's kind of one error of a readable answer.
pub(crate) fn server_error_kind(error: &ServerError) -> ErrorKind {
    kind_of(FailureClass::of_error(error), Some(error))
}

fn kind_of(class: FailureClass, error: Option<&ServerError>) -> ErrorKind {
    let says =
        |texts: &[&str]| error.is_some_and(|error| texts.iter().any(|text| error.message.contains(text)));
    match class {
        FailureClass::Transient { .. } => ErrorKind::Transient,
        FailureClass::Unauthorized => ErrorKind::Unauthorized,
        _ if says(&BAD_MODEL_TEXTS) => ErrorKind::BadModel,
        _ if says(&BAD_RECORD_TEXTS) => ErrorKind::BadRecord,
        FailureClass::Conflict
        | FailureClass::ConditionFailed
        | FailureClass::TooMuch { .. }
        | FailureClass::Permanent => ErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permanent(message: &str) -> ErrorKind {
        server_error_kind(&ServerError {
            message: message.to_owned(),
            ..ServerError::default()
        })
    }

    #[test]
    fn kinds_follow_the_class_and_texts_decide_only_what_has_no_type() {
        assert_eq!(
            permanent("Validation error of type FieldUndefined: Field 'x'"),
            ErrorKind::BadModel
        );
        assert_eq!(
            permanent("Variable 'x' has coerced Null value for NonNull type 'ID!'"),
            ErrorKind::BadRecord
        );
        assert_eq!(permanent("no idea"), ErrorKind::Unknown);
        assert_eq!(
            server_error_kind(&ServerError::new("Unauthorized", "no")),
            ErrorKind::Unauthorized
        );
        assert_eq!(
            server_error_kind(&ServerError::new("ThrottlingException", "slow")),
            ErrorKind::Transient
        );
    }

    #[test]
    fn a_wrong_setting_is_no_outage() {
        let failure = Failure::from(TransportError::Misconfigured {
            reason: "no scheme".into(),
        });
        assert_eq!(error_kind(&failure), ErrorKind::ConfigError);
        let failure = Failure::from(TransportError::Unreachable {
            reason: "no route".into(),
        });
        assert_eq!(error_kind(&failure), ErrorKind::Transient);
    }
}
