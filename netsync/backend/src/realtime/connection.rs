//! One realtime connection: its queue, its subscriptions, and the judgement of a `start`.
//!
//! Owns [`Connection`] and [`Subscription`]. Who listens to what, and when connections end, is the hub's business.
//!
//! Invariant: nothing is queued behind the close.

use std::collections::{BTreeMap, VecDeque};

use apollo_compiler::executable::OperationType;
use apollo_compiler::response::{JsonMap, JsonValue};
use serde_json::{Value as Json, json};

use super::{Doorbell, Judge, Out};
use crate::auth::{AuthRefused, Credentials, authenticate};
use crate::config::{BackendConfig, LimitErrors};
use crate::execute::{Prepared, RequestFault, Subscribed, subscribed};
use crate::http::GraphqlRequest;
use crate::subscription_filter::SubscriptionFilter;

/// A connection, open or closing.
pub(super) struct Connection {
    pub(super) opened_at_ms: i64,
    pub(super) keep_alive_at_ms: i64,
    /// When it is closed unless it says something by then; `None` once it did.
    pub(super) known_at_ms: Option<i64>,
    /// Messages that may come before the rate is exceeded, in thousandths, and when that was counted.
    allowance: (i64, i64),
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) out: VecDeque<Out>,
    pub(super) out_bytes: usize,
    pub(super) closing: bool,
    pub(super) doorbell: Doorbell,
}

/// A subscription that was acknowledged.
pub(super) struct Subscription {
    pub(super) prepared: Prepared,
    pub(super) render_key: RenderKey,
    pub(super) to: Subscribed,
    pub(super) filter: Option<SubscriptionFilter>,
    /// Length of its request.
    bytes: usize,
}

/// Equal for subscriptions whose messages are equal: document, operation, variables.
pub(super) type RenderKey = (usize, String);

/// A subscription that is refused, as the payload's `errors`.
type Refused = Json;

impl Connection {
    pub(super) fn new(now_ms: i64, config: &BackendConfig, doorbell: Doorbell) -> Self {
        Self {
            opened_at_ms: now_ms,
            keep_alive_at_ms: now_ms + config.limits.keep_alive_ms,
            known_at_ms: Some(now_ms.saturating_add(config.limits.init_timeout_ms)),
            allowance: (i64::from(config.limits.frames_per_second_max) * 1_000, now_ms),
            subscriptions: BTreeMap::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            closing: false,
            doorbell,
        }
    }

    pub(super) fn send(&mut self, frame: String, config: &BackendConfig) {
        // One more than the bound is let in, so that the connection is seen to be slow.
        if self.closing || self.is_slow(config) {
            return;
        }
        self.out_bytes += frame.len();
        self.out.push_back(Out::Frame(frame));
        (self.doorbell)();
    }

    /// Takes the first of what is queued: at least one message, and no more after `bytes` are reached.
    pub(super) fn take_some(&mut self, bytes: usize) -> Vec<Out> {
        let mut taken = Vec::new();
        let mut length = 0;
        while length < bytes
            && let Some(out) = self.out.pop_front()
        {
            if let Out::Frame(frame) = &out {
                length += frame.len();
            }
            taken.push(out);
        }
        self.out_bytes = self.out_bytes.saturating_sub(length);
        taken
    }

    /// Counts a message that came in; says whether the rate allows it.
    pub(super) fn admits_frame(&mut self, now_ms: i64, config: &BackendConfig) -> bool {
        let per_second = i64::from(config.limits.frames_per_second_max);
        let (left, counted_ms) = self.allowance;
        // In a millisecond as many thousandths are added as messages in a second.
        let gained = now_ms
            .saturating_sub(counted_ms)
            .max(0)
            .saturating_mul(per_second);
        let left = left.saturating_add(gained).min(per_second * 1_000);
        let admitted = left >= 1_000;
        self.allowance = (if admitted { left - 1_000 } else { left }, now_ms);
        admitted
    }

    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        if !self.closing {
            self.closing = true;
            self.out.push_back(Out::Close { code, reason });
            (self.doorbell)();
        }
    }

    pub(super) fn is_slow(&self, config: &BackendConfig) -> bool {
        !self.closing
            && (self.out.len() > config.limits.outgoing_frames_max
                || self.out_bytes > config.limits.outgoing_bytes_max)
    }

    pub(super) fn ends_at_ms(&self, config: &BackendConfig) -> i64 {
        self.opened_at_ms
            .saturating_add(config.limits.connection_age_ms_max)
    }

    /// Judges a `start`.
    pub(super) fn admit(
        &self,
        now_ms: i64,
        id: &str,
        data: &str,
        authorization: &Json,
        judge: Judge<'_>,
    ) -> Result<Subscription, Refused> {
        let config = judge.config;
        if self.subscriptions.contains_key(id) {
            return Err(refused(
                "DuplicatedOperationError",
                "Operation with that id already exists",
            ));
        }
        if id.len() > config.limits.subscription_id_bytes_max {
            return Err(refused("BadRequestException", "Operation id is too long"));
        }
        let kept: usize = self.subscriptions.values().map(|kept| kept.bytes).sum();
        if kept.saturating_add(data.len()) > config.limits.subscription_bytes_max {
            return Err(refused(
                "LimitExceededError",
                "The subscriptions of this connection are too large",
            ));
        }
        let most = config.limits.subscriptions_max;
        if self.subscriptions.len() >= most {
            let message = format!("Max number of {most} subscriptions reached");
            let one = json!({"errorType": "MaxSubscriptionsReachedError", "message": message});
            return Err(match config.switches.limit_errors {
                LimitErrors::List => json!([one]),
                LimitErrors::Object => one,
            });
        }
        authenticate(&Credentials::of_json(authorization), &config.api_keys, now_ms)
            .map_err(|why| refused(AuthRefused::TYPE, &why.to_string()))?;
        let request = GraphqlRequest::of_json(data.as_bytes())
            .map_err(|_| refused("MalformedHttpRequestException", "Unable to parse GraphQL query."))?;
        let prepared = judge
            .documents
            .prepare(
                &request.query,
                request.operation_name.as_deref(),
                &request.variables,
            )
            .map_err(refused_request)?;
        if prepared.kind() != OperationType::Subscription {
            return Err(refused(
                "UnsupportedOperation",
                " not supported through the realtime channel",
            ));
        }
        let to = subscribed(judge.compiled, &prepared).ok_or_else(|| {
            refused(
                "UnsupportedOperation",
                " not supported through the realtime channel",
            )
        })?;
        let filter = match to.arguments.get("filter") {
            Some(filter) => SubscriptionFilter::read(filter, &config.limits)
                .map_err(|why| refused("BadRequestException", &why.to_string()))?,
            None => None,
        };
        Ok(Subscription {
            render_key: prepared.render_key(),
            prepared,
            to,
            filter,
            bytes: data.len(),
        })
    }
}

impl Subscription {
    /// Whether a message passes the filter, or without one the plain arguments: each must equal the field of its name.
    pub(super) fn wants(&self, record: &JsonMap) -> bool {
        passes(&self.to.arguments, self.filter.as_ref(), record)
    }
}

fn passes(arguments: &JsonMap, filter: Option<&SubscriptionFilter>, record: &JsonMap) -> bool {
    match filter {
        Some(filter) => filter.matches(record),
        None => arguments
            .iter()
            .filter(|(name, _)| name.as_str() != "filter")
            .all(|(name, value)| record.get(name.as_str()).unwrap_or(&JsonValue::Null) == value),
    }
}

fn refused(error_type: &str, message: &str) -> Refused {
    json!([{"errorType": error_type, "message": message}])
}

fn refused_request(fault: RequestFault) -> Refused {
    match fault {
        RequestFault::Malformed => refused("MalformedHttpRequestException", "Unable to parse GraphQL query."),
        RequestFault::BadRequest(message) => refused("BadRequestException", &message),
        RequestFault::Invalid(entries) => json!(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_arguments_must_equal_the_fields_of_their_names_and_a_null_is_an_argument() {
        let object = |json: Json| JsonValue::from(json).as_object().unwrap().clone();
        let record = object(json!({"owner": "ann", "rating": 4, "status": null}));
        for (arguments, expected) in [
            (json!({}), true),
            (json!({"owner": "ann"}), true),
            (json!({"owner": "bob"}), false),
            (json!({"owner": "ann", "rating": 4}), true),
            (json!({"owner": "ann", "rating": 5}), false),
            (json!({"owner": null}), false),
            (json!({"status": null}), true),
            // What the mutation did not select is null for its subscribers.
            (json!({"gone": null}), true),
            (json!({"gone": "x"}), false),
            // A filter that compares nothing is none.
            (json!({"filter": {}, "owner": "ann"}), true),
        ] {
            assert_eq!(
                passes(&object(arguments.clone()), None, &record),
                expected,
                "{arguments}"
            );
        }
        // A filter switches the plain arguments off.
        let filter = JsonValue::from(json!({"rating": {"ge": 4}}));
        let filter = SubscriptionFilter::read(&filter, &crate::config::Limits::default()).unwrap();
        let arguments = object(json!({"filter": {"rating": {"ge": 4}}, "owner": "bob"}));
        assert!(passes(&arguments, filter.as_ref(), &record));
    }
}
