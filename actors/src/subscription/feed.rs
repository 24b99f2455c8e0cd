//! One subscription on a line: how far it has got, and what is done when it fails.
//!
//! Owns the stages, the retries and the complaints of a single subscription. Pure.
//!
//! | failure | while it starts | while it lives |
//! |---|---|---|
//! | filter refused | started again at once, without the filter from here on | the same |
//! | unauthorized, operation disabled | started again at once with the next credentials; once there are no others, left out until the next connection | retried: credentials may have expired |
//! | permanent, and a refused filter where none was sent | retried slowly, and not waited for | the same |
//! | anything else | retried with backoff, and after [`FAILURES_AWAITED_MAX`] in a row not waited for | the same |
//!
//! Whoever is not waited for and becomes live later has missed what changed meanwhile; a delta sync brings that.
//!
//! Invariant: in one streak of failures each kind of error is complained of once. A streak ends when the subscription
//! has lived for [`STABLE_MS`].

use landfall_wire::{Backoff, BackoffPolicy, ServerError, SubscriptionFailure, TransportError};

use super::catalog::{Catalog, Feed, Filter, operation};
use super::line::Step;
use super::machine::Complaint;
use crate::handlers::ErrorKind;

/// When a failed subscription is tried again.
pub(super) const RETRY_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 1_000,
    longest_ms: 5 * 60_000,
    attempts_max: None,
};

/// Shortest wait after a failure that only a change of settings or credentials can mend.
pub(super) const SLOW_RETRY_MS: u64 = 60_000;

/// Failures in a row of a single subscription that sync waits out, about five seconds. One that the server goes on refusing
/// must not hold up what the others bring.
pub(super) const FAILURES_AWAITED_MAX: u32 = 3;

/// How long something has to live before its earlier failures are forgotten.
pub(super) const STABLE_MS: u64 = 60_000;

/// How far a subscription has got.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// It is to be started.
    Idle,
    /// Its credentials are being had.
    Authorizing,
    /// `start` is sent.
    Starting,
    /// It is acknowledged.
    Live {
        /// Since when.
        since_ms: u64,
    },
    /// It has failed and is to be started again.
    Waiting {
        /// When.
        due_ms: u64,
        /// Whether sync waits for it.
        awaited: bool,
    },
    /// It is left out while this connection lasts.
    LeftOut,
}

/// Why a subscription has failed.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) class: SubscriptionFailure,
    pub(super) error_type: Option<String>,
    pub(super) reason: String,
}

/// Credentials that are tried in a row for one subscription: several modes, each renewed once. A bound on transports that
/// never run out of them.
pub(super) const CREDENTIALS_MAX: u32 = 16;

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) feed: Feed,
    pub(super) stage: Stage,
    pub(super) filter: Filter,
    /// Credentials that the server has refused for it on this connection.
    pub(super) attempt: u32,
    /// Why it refused the first of them.
    refused: Option<Cause>,
    backoff: Backoff,
    /// Failures since it has last lived for long, whatever connection they were on.
    failures: u32,
    complained: Option<ErrorKind>,
}

impl Cause {
    /// The server said so.
    pub(super) fn of_errors(class: SubscriptionFailure, errors: &[ServerError]) -> Self {
        let first = errors.first();
        Self {
            class,
            error_type: first.and_then(|error| error.error_type.clone()),
            reason: first.map_or_else(|| "the server gives no reason".to_owned(), ToString::to_string),
        }
    }

    /// The credentials for it cannot be had.
    pub(super) fn of_transport(error: &TransportError) -> Self {
        let class = match error {
            TransportError::Unauthorized { .. } => SubscriptionFailure::Unauthorized,
            TransportError::Misconfigured { .. } => SubscriptionFailure::Permanent,
            _ => SubscriptionFailure::Transient,
        };
        Self {
            class,
            error_type: None,
            reason: error.to_string(),
        }
    }

    /// The server ended it without being asked to.
    pub(super) fn ended() -> Self {
        let reason = "the server ended it".to_owned();
        Self {
            class: SubscriptionFailure::Transient,
            error_type: None,
            reason,
        }
    }
}

impl Subscribed {
    pub(super) fn new(feed: Feed, catalog: &Catalog) -> Self {
        Self {
            feed,
            stage: Stage::Idle,
            filter: if catalog.has_filter(feed) {
                Filter::AtServer
            } else {
                Filter::AtReceiver
            },
            attempt: 0,
            refused: None,
            backoff: Backoff::new(RETRY_BACKOFF),
            failures: 0,
            complained: None,
        }
    }

    /// Whether nobody has to wait for it.
    pub(super) fn is_settled(&self) -> bool {
        matches!(
            self.stage,
            Stage::Live { .. } | Stage::LeftOut | Stage::Waiting { awaited: false, .. }
        )
    }

    /// Whether it should be live and is not.
    pub(super) fn is_lacking(&self) -> bool {
        !matches!(self.stage, Stage::Live { .. } | Stage::LeftOut)
    }

    /// Its connection is gone. Returns whether it was live.
    pub(super) fn lost(&mut self, now_ms: u64) -> bool {
        let was_live = self.note_stability(now_ms);
        self.stage = Stage::Idle;
        self.attempt = 0;
        self.refused = None;
        was_live
    }

    /// It has failed alone.
    pub(super) fn failed(&mut self, cause: Cause, step: &mut Step<'_>) {
        let was_live = self.note_stability(step.now_ms);
        let starts = self.stage == Stage::Starting;
        if cause.class == SubscriptionFailure::Unauthorized && starts && self.attempt < CREDENTIALS_MAX {
            // The server refuses these credentials; the transport knows whether there are others.
            self.attempt += 1;
            self.refused.get_or_insert(cause);
            self.stage = Stage::Idle;
            return;
        }
        self.attempt = 0;
        // What the server said tells more than that there are no other credentials.
        let cause = match self.refused.take() {
            Some(refused) if cause.class == SubscriptionFailure::Unauthorized => refused,
            _ => cause,
        };
        let model = step.catalog.model(self.feed.model);
        let prefix = self.feed.kind.prefix();
        let kind = match (cause.class, self.filter) {
            (SubscriptionFailure::FilterRefused, Filter::AtServer) => {
                self.filter = Filter::AtReceiver;
                self.stage = Stage::Idle;
                tracing::warn!(%model, prefix, reason = cause.reason, "subscribed without the filter");
                return;
            }
            (SubscriptionFailure::FilterRefused | SubscriptionFailure::Permanent, _) => {
                self.retry(Some(SLOW_RETRY_MS), step);
                ErrorKind::BadModel
            }
            (SubscriptionFailure::Unauthorized, _) => {
                if was_live {
                    self.retry(None, step);
                } else {
                    self.stage = Stage::LeftOut;
                }
                ErrorKind::Unauthorized
            }
            (SubscriptionFailure::MaxSubscriptions | SubscriptionFailure::Transient, _) => {
                self.retry(None, step);
                ErrorKind::Transient
            }
        };
        if self.complained.replace(kind) != Some(kind) {
            step.complain(Complaint {
                model: Some(model.clone()),
                operation: Some(operation(self.feed.kind)),
                kind,
                error_type: cause.error_type,
                message: format!("{prefix}: {}", cause.reason),
            });
        }
    }

    /// Forgets earlier failures if it has lived for long. Returns whether it was live.
    fn note_stability(&mut self, now_ms: u64) -> bool {
        let Stage::Live { since_ms } = self.stage else {
            return false;
        };
        if now_ms.saturating_sub(since_ms) >= STABLE_MS {
            self.backoff.reset();
            self.failures = 0;
            self.complained = None;
        }
        true
    }

    fn retry(&mut self, at_least_ms: Option<u64>, step: &mut Step<'_>) {
        let wait_ms = self
            .backoff
            .next(at_least_ms, step.random)
            .unwrap_or(RETRY_BACKOFF.longest_ms);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Waiting {
            due_ms: step.now_ms.saturating_add(wait_ms),
            awaited: at_least_ms.is_none() && self.failures < FAILURES_AWAITED_MAX,
        };
    }
}
