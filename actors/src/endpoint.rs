//! Trouble that every part of a run meets by itself and the app is told of once: with the endpoint as a whole, or with a model
//! that the server knows in another form.
//!
//! Owns [`EndpointTrouble`], which the parts of a run share, and the advice for each kind of it. Who meets it first tells it.
//! It says nothing about what is tried again and when; each part goes on as if it were alone.
//!
//! That changes are turned away for their credentials is told apart from the same of connections and queries: credentials are
//! chosen by model and operation, so that the one does not follow from the other, and only an error that names a change
//! says that changes wait.
//!
//! Invariant: of each kind, and of each model, the app is told once, until the server has answered as it should.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use landfall_core::ModelName;
use landfall_wire::{Failure, FailureCause, WireError};

use crate::handlers::ErrorKind;

/// What is wrong with the whole endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whole {
    /// It takes nothing with these credentials.
    Credentials,
    /// What answers is no GraphQL API.
    NoApi,
    /// It is there, and answers each request with a failure of its own.
    Failing,
}

impl Whole {
    /// What a failed request says of the whole endpoint; `None` if it may be about this request alone.
    pub(crate) fn of_failure(failure: &Failure) -> Option<Self> {
        match &failure.cause {
            FailureCause::Status { status }
            | FailureCause::Errors { status, .. }
            | FailureCause::Unreadable(WireError::Html { status, .. })
                if matches!(status, 401 | 403) =>
            {
                Some(Self::Credentials)
            }
            FailureCause::Status { status } | FailureCause::Unreadable(WireError::Html { status, .. })
                if *status >= 500 =>
            {
                Some(Self::Failing)
            }
            _ => failure.is_no_api().then_some(Self::NoApi),
        }
    }

    /// What it means that no realtime connection can be had, by the kind of that error.
    pub(crate) fn of_realtime(kind: ErrorKind, error_type: Option<&str>) -> Option<Self> {
        match (kind, error_type) {
            (ErrorKind::Unauthorized, _) => Some(Self::Credentials),
            // With a type it is an answer of the realtime endpoint, about realtime.
            (ErrorKind::ConfigError, None) => Some(Self::NoApi),
            (ErrorKind::Transient, None) => Some(Self::Failing),
            _ => None,
        }
    }

    /// What the app can do about it.
    pub(crate) fn suggestion(self) -> &'static str {
        match self {
            Self::Credentials => {
                "check the credentials: the API key, or who is signed in, and what they may do; until then everything is \
                 tried again every so often and changes wait"
            }
            Self::NoApi => {
                "see that the address is that of the GraphQL API, which mostly ends in /graphql, and that nothing else \
                 answers there; until then everything is tried again and changes wait"
            }
            Self::Failing => {
                "nothing needs to be done here; everything is tried again until the server answers, and changes wait"
            }
        }
    }
}

/// What the app was told of the endpoint in a run; clones share it.
#[derive(Clone, Debug, Default)]
pub struct EndpointTrouble(Arc<Mutex<Told>>);

/// What the app was told.
#[derive(Debug, Default)]
struct Told {
    of_whole: BTreeSet<Whole>,
    /// That changes are turned away for their credentials.
    of_changes: bool,
    /// Models that do not fit the server's schema.
    of_models: BTreeSet<ModelName>,
}

/// What the app can do about a model that does not fit the server's schema.
pub(crate) fn mismatch_suggestion(model: &ModelName) -> String {
    format!(
        "update the server, or ship models that are generated from the schema that it runs; until then `{model}` gets what \
         others change late or not at all, and is tried again every so often"
    )
}

impl EndpointTrouble {
    /// Takes note of trouble. Returns whether the app is to be told: it was not, since the endpoint last answered.
    pub(crate) fn is_news(&self, whole: Whole) -> bool {
        self.told().of_whole.insert(whole)
    }

    /// Takes note of changes that are turned away for their credentials. Returns whether the app is to be told: it was not,
    /// since the endpoint last let a request in.
    pub(crate) fn is_news_of_changes(&self) -> bool {
        !std::mem::replace(&mut self.told().of_changes, true)
    }

    /// Takes note of a model that does not fit the server's schema. Returns whether the app is to be told: it was not, since
    /// the model was last synced.
    pub(crate) fn is_news_of(&self, model: &ModelName) -> bool {
        self.told().of_models.insert(model.clone())
    }

    /// The model was synced.
    pub(crate) fn was_synced(&self, model: &ModelName) {
        self.told().of_models.remove(model);
    }

    /// Whether the app was told of such trouble, since the endpoint last answered.
    pub(crate) fn is_told(&self, whole: Whole) -> bool {
        self.told().of_whole.contains(&whole)
    }

    /// The endpoint has answered as it should.
    pub(crate) fn is_over(&self) {
        let mut told = self.told();
        told.of_whole.clear();
        told.of_changes = false;
    }

    /// The endpoint has let a request in.
    pub(crate) fn was_let_in(&self) {
        let mut told = self.told();
        told.of_whole.remove(&Whole::Credentials);
        told.of_changes = false;
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use landfall_wire::{FailureClass, ServerError, TransportError};

    use super::*;

    fn failure(cause: FailureCause) -> Failure {
        Failure {
            class: FailureClass::Permanent,
            cause,
        }
    }

    fn page(status: u16) -> FailureCause {
        FailureCause::Unreadable(WireError::Html { status, title: None })
    }

    fn errors(status: u16, error_type: &str) -> FailureCause {
        FailureCause::Errors {
            status,
            errors: vec![ServerError::new(error_type, "no")],
        }
    }

    #[test]
    fn what_holds_for_the_whole_endpoint_is_told_from_what_is_about_one_request() {
        for (cause, expected) in [
            (errors(401, "UnauthorizedException"), Some(Whole::Credentials)),
            (page(403), Some(Whole::Credentials)),
            (page(200), Some(Whole::NoApi)),
            (FailureCause::Status { status: 404 }, Some(Whole::NoApi)),
            (page(503), Some(Whole::Failing)),
            (FailureCause::Status { status: 500 }, Some(Whole::Failing)),
            // A model that this user may not read, and a resolver that fails.
            (errors(200, "Unauthorized"), None),
            (errors(500, "InternalFailure"), None),
        ] {
            assert_eq!(Whole::of_failure(&failure(cause.clone())), expected, "{cause:?}");
        }
        let unreachable = TransportError::Unreachable {
            reason: "gone".into(),
        };
        assert_eq!(
            Whole::of_failure(&Failure::from(unreachable)),
            None,
            "that is an outage"
        );
        assert_eq!(
            Whole::of_realtime(ErrorKind::Unauthorized, Some("UnauthorizedException")),
            Some(Whole::Credentials)
        );
        assert_eq!(
            Whole::of_realtime(ErrorKind::ConfigError, Some("BadRequestException")),
            None
        );
        assert_eq!(
            Whole::of_realtime(ErrorKind::Transient, None),
            Some(Whole::Failing)
        );
    }

    #[test]
    fn each_kind_is_news_once_until_the_endpoint_answers() {
        let trouble = EndpointTrouble::default();
        let other_part = trouble.clone();
        assert!(trouble.is_news(Whole::Credentials) && !other_part.is_news(Whole::Credentials));
        assert!(trouble.is_news_of_changes() && !other_part.is_news_of_changes());
        assert!(other_part.is_news(Whole::NoApi));
        assert!(trouble.is_told(Whole::NoApi) && !trouble.is_told(Whole::Failing));
        trouble.was_let_in();
        assert!(trouble.is_news_of_changes());
        assert!(trouble.is_news(Whole::Credentials) && !trouble.is_news(Whole::NoApi));
        other_part.is_over();
        assert!(trouble.is_news_of_changes());
        assert!(trouble.is_news(Whole::Credentials) && trouble.is_news(Whole::NoApi));
    }

    #[test]
    fn a_model_that_does_not_fit_is_news_once_until_it_is_synced() {
        let (trouble, blog, post) = (EndpointTrouble::default(), "Blog".into(), "Post".into());
        let other_part = trouble.clone();
        assert!(trouble.is_news_of(&blog) && !other_part.is_news_of(&blog));
        assert!(other_part.is_news_of(&post), "each by itself");
        // That the endpoint answers says nothing of its schema.
        trouble.is_over();
        trouble.was_synced(&post);
        assert!(!trouble.is_news_of(&blog) && trouble.is_news_of(&post));
    }
}
