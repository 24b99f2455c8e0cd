//! One realtime connection: its queue, its subscriptions, and the judgement of a `start`.
//!
//! Owns [`Connection`], [`Subscription`] and [`Candidate`]. Who listens to what, and when connections end, is the hub's
//! business.
//!
//! Invariant: nothing is queued behind the close.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use apollo_compiler::executable::OperationType;
use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::Value;
use serde_json::{Value as Json, json};

use super::account::{Account, Charge, Payload};
use super::{CLOSE_TRY_LATER, Doorbell, Judge, Out, frames};
use crate::auth::{Access, AuthRefused, Caller, Operation, Verdict, compared_fields};
use crate::config::{BackendConfig, LimitErrors, StartBeforeInit};
use crate::execute::{
    Event, Prepared, RequestFault, Subscribed, Viewer, denied_by_authorizer, goes_with_row, is_denied,
    subscribed,
};
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
    out: VecDeque<Queued>,
    /// Length of what waits; payloads that others wait for as well are counted in full.
    out_bytes: usize,
    /// What it takes in memory, payloads left out.
    held: Charge,
    /// What was taken and may not be written yet.
    writing: Charge,
    pub(super) closing: bool,
    pub(super) doorbell: Doorbell,
}

/// What a queued message is charged beside its text, in bytes.
const QUEUED_BYTES: usize = 64;

/// What a connection is to send.
enum Queued {
    Frame {
        head: String,
        payload: Option<Arc<Payload>>,
    },
    Close {
        code: u16,
        reason: &'static str,
    },
}

impl Queued {
    /// Length of its text.
    fn len(&self) -> usize {
        match self {
            Self::Frame { head, payload: None } => head.len(),
            Self::Frame {
                head,
                payload: Some(payload),
            } => head.len() + payload.text.len() + frames::DATA_END.len(),
            Self::Close { .. } => 0,
        }
    }

    /// What it alone takes in memory.
    fn held(&self) -> usize {
        match self {
            Self::Frame { head, .. } => QUEUED_BYTES + head.len(),
            Self::Close { .. } => QUEUED_BYTES,
        }
    }

    fn into_out(self) -> Out {
        match self {
            Self::Frame { head, payload: None } => Out::Frame(head),
            Self::Frame {
                mut head,
                payload: Some(payload),
            } => {
                head.reserve_exact(payload.text.len() + frames::DATA_END.len());
                head.push_str(&payload.text);
                head.push_str(frames::DATA_END);
                Out::Frame(head)
            }
            Self::Close { code, reason } => Out::Close { code, reason },
        }
    }
}

/// A subscription that was acknowledged.
pub(super) struct Subscription {
    pub(super) prepared: Prepared,
    pub(super) render_key: RenderKey,
    pub(super) to: Subscribed,
    pub(super) filter: Option<SubscriptionFilter>,
    /// Who listens.
    pub(super) caller: Arc<Caller>,
    /// Of which records the rules let the caller hear.
    pub(super) verdict: Verdict,
    /// What it takes in memory, its document left out.
    bytes: Charge,
    /// What its document takes; others may share it.
    document_bytes: usize,
}

/// What a subscription takes in memory beside what its client sent, in bytes: the entries that lead to it, who listens, and
/// the verdict.
const SUBSCRIPTION_BYTES: usize = 1_024;

/// A subscription that was judged and is not acknowledged yet.
pub(crate) struct Candidate {
    prepared: Prepared,
    pub(super) render_key: RenderKey,
    to: Subscribed,
    filter: Option<SubscriptionFilter>,
    caller: Arc<Caller>,
    verdict: Verdict,
}

/// Equal for subscriptions whose messages are equal: document, operation, variables, and what the caller may see.
pub(super) type RenderKey = (usize, String);

/// A subscription that is refused, as the payload's `errors`.
pub(crate) type Refused = Json;

impl Connection {
    pub(super) fn new(now_ms: i64, config: &BackendConfig, doorbell: Doorbell, outgoing: &Account) -> Self {
        Self {
            opened_at_ms: now_ms,
            keep_alive_at_ms: now_ms + config.limits.keep_alive_ms,
            known_at_ms: Some(now_ms.saturating_add(config.limits.init_timeout_ms)),
            allowance: (i64::from(config.limits.frames_per_second_max) * 1_000, now_ms),
            subscriptions: BTreeMap::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            held: outgoing.charge(0),
            writing: outgoing.charge(0),
            closing: false,
            doorbell,
        }
    }

    pub(super) fn send(&mut self, frame: String, config: &BackendConfig) {
        let (head, payload) = (frame, None);
        self.queue(Queued::Frame { head, payload }, config);
    }

    /// Sends a data message whose payload others may be sent as well.
    pub(super) fn send_data(&mut self, head: String, payload: &Arc<Payload>, config: &BackendConfig) {
        let payload = Some(Arc::clone(payload));
        self.queue(Queued::Frame { head, payload }, config);
    }

    fn queue(&mut self, queued: Queued, config: &BackendConfig) {
        // One more than the bound is let in, so that the connection is seen to be slow.
        if self.closing || self.is_slow(config) {
            return;
        }
        self.out_bytes += queued.len();
        self.held.set(self.held.bytes() + queued.held());
        self.out.push_back(queued);
        (self.doorbell)();
    }

    /// Whether something waits to be sent.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.out.is_empty()
    }

    /// How much waits for the client, what is being written included.
    pub(super) fn fullness(&self) -> usize {
        self.out_bytes + self.writing.bytes()
    }

    /// Takes the first of what is queued: at least one message, and no more after `bytes` are reached. What was taken
    /// before counts as written.
    pub(super) fn take_some(&mut self, bytes: usize) -> Vec<Out> {
        let mut taken = Vec::new();
        let (mut length, mut held) = (0, self.held.bytes());
        while length < bytes
            && let Some(queued) = self.out.pop_front()
        {
            length += queued.len();
            held = held.saturating_sub(queued.held());
            taken.push(queued.into_out());
        }
        self.out_bytes = self.out_bytes.saturating_sub(length);
        self.held.set(held);
        // What is written to a client that is cut is given up soon, and nobody else is cut for it.
        self.writing.set(if self.closing { 0 } else { length });
        taken
    }

    /// Takes all that is queued, as written.
    pub(super) fn take_all(&mut self) -> Vec<Out> {
        let taken = self.take_some(usize::MAX);
        self.writing.set(0);
        taken
    }

    /// Ends a connection that does not keep up: whoever did not read so far is not sent the rest either.
    pub(super) fn end_slow(&mut self) {
        if !self.closing {
            self.clear();
            self.close(CLOSE_TRY_LATER, "connection does not keep up");
        }
    }

    /// Drops what is queued.
    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.out_bytes = 0;
        self.held.set(0);
        self.writing.set(0);
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
            self.out.push_back(Queued::Close { code, reason });
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

    /// Whether a `start` is refused because its client has not introduced itself.
    pub(super) fn comes_too_soon(&self, config: &BackendConfig) -> bool {
        // Under that reading nothing but `connection_init` makes a connection known.
        config.switches.start_before_init == StartBeforeInit::Refused && self.known_at_ms.is_some()
    }

    /// Whether there is room for a subscription, which is seen before it is judged, by the length of its request, and once
    /// more when it was, by what it takes in memory.
    pub(super) fn has_room(
        &self,
        id: &str,
        size: Size,
        config: &BackendConfig,
        requests: &Account,
    ) -> Result<(), Refused> {
        if self.comes_too_soon(config) {
            return Err(refused(
                "BadRequestException",
                "connection_init must be the first message",
            ));
        }
        if self.subscriptions.contains_key(id) {
            return Err(refused(
                "DuplicatedOperationError",
                "Operation with that id already exists",
            ));
        }
        if id.len() > config.limits.subscription_id_bytes_max {
            return Err(refused("BadRequestException", "Operation id is too long"));
        }
        let kept = self.subscriptions.values();
        let kept: usize = kept.map(|kept| kept.bytes.bytes() + kept.document_bytes).sum();
        if kept.saturating_add(size.of_connection) > config.limits.subscription_bytes_max {
            return Err(refused(
                "LimitExceededError",
                "The subscriptions of this connection are too large",
            ));
        }
        if requests.total().saturating_add(size.of_all) > config.limits.subscriptions_bytes_max {
            return Err(refused(
                "LimitExceededError",
                "The subscriptions of all connections are too large",
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
        Ok(())
    }
}

/// How much more there is to keep with a subscription, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// For its connection.
    pub(super) of_connection: usize,
    /// For all connections: what others have as well is there already.
    pub(super) of_all: usize,
}

/// Judges a `start`; it takes time, so it is for nobody who holds the hub.
pub(crate) fn candidate(
    data: &str,
    caller: Result<Arc<Caller>, AuthRefused>,
    judge: Judge<'_>,
) -> Result<Candidate, Refused> {
    let caller = caller.map_err(|why| refused(why.error_type(), &why.to_string()))?;
    let request = GraphqlRequest::of_json(data.as_bytes())
        .map_err(|_| refused("MalformedHttpRequestException", "Unable to parse GraphQL query."))?;
    let prepared = judge
        .documents
        .prepare(
            &request.query,
            request.operation_name.as_deref(),
            request.variables,
        )
        .map_err(refused_request)?;
    if prepared.kind() != OperationType::Subscription {
        let message = format!("{} not supported through the realtime channel", prepared.kind());
        return Err(refused("UnsupportedOperation", &message));
    }
    let most = judge.config.limits.subscription_fields_max;
    if prepared.fields() > most {
        let message = format!("Subscription selects too many fields; the most is {most}.");
        return Err(refused("LimitExceededError", &message));
    }
    let to = subscribed(judge.compiled, &prepared).ok_or_else(|| {
        refused(
            "UnsupportedOperation",
            "this subscription is not supported through the realtime channel",
        )
    })?;
    let filter = match to.arguments.get("filter") {
        Some(filter) => SubscriptionFilter::read(filter, &judge.config.limits)
            .map_err(|why| refused("BadRequestException", &why.to_string()))?,
        None => None,
    };
    let verdict = may_listen(judge, &caller, &to)?;
    let (document, variables) = prepared.render_key();
    let standing = Viewer::standing(judge.compiled, judge.implied, &caller);
    Ok(Candidate {
        render_key: (document, format!("{variables} {standing}")),
        prepared,
        to,
        filter,
        caller,
        verdict,
    })
}

impl Candidate {
    /// What it takes in memory, its document left out, in bytes.
    pub(super) fn own_bytes(&self, id: &str) -> usize {
        let alternatives = self.filter.as_ref().map_or(0, SubscriptionFilter::alternatives);
        SUBSCRIPTION_BYTES
            + 2 * id.len()
            + self.render_key.1.len()
            + self.prepared.variables_bytes()
            + self.to.arguments_bytes() * (1 + alternatives)
    }

    /// What its document takes, in bytes.
    pub(super) fn document_bytes(&self) -> usize {
        self.prepared.document_bytes()
    }

    /// The subscription that it becomes; `bytes` is what it takes in memory, its document left out.
    pub(super) fn acknowledged(self, bytes: Charge) -> Subscription {
        Subscription {
            document_bytes: self.prepared.document_bytes(),
            prepared: self.prepared,
            render_key: self.render_key,
            to: self.to,
            filter: self.filter,
            caller: self.caller,
            verdict: self.verdict,
            bytes,
        }
    }
}

/// What the rules say of a subscription; who may hear of some records only must not ask for those of others.
fn may_listen(judge: Judge<'_>, caller: &Caller, to: &Subscribed) -> Result<Verdict, Refused> {
    let plan = judge.compiled.model(&to.model);
    let access = Access {
        rules: plan.rules.as_ref().unwrap_or(judge.implied),
        caller,
    };
    let denied = || {
        let message = format!("Not Authorized to access {} on type Subscription", to.field);
        refused("Unauthorized", &message)
    };
    let unauthorized_on = |fields: Vec<String>| {
        let message = format!("Unauthorized on [{}]", fields.join(", "));
        refused("Unauthorized", &message)
    };
    let filter = to.arguments.get("filter");
    let compared = filter.map(compared_fields).unwrap_or_default();
    let by_authorizer = denied_by_authorizer(caller, plan, &compared);
    if !by_authorizer.is_empty() {
        return Err(unauthorized_on(by_authorizer));
    }
    let compared = compared
        .into_iter()
        .filter(|field| !goes_with_row(plan, access, field));
    let verdict = access
        .rows(Operation::Listen, compared)
        .map_err(unauthorized_on)?;
    if verdict == Verdict::Denied || is_denied(caller, "Subscription", &to.field) {
        return Err(denied());
    }
    if verdict != Verdict::Allowed {
        let own = |(name, value): (&str, &JsonValue)| {
            value
                .as_str()
                .is_some_and(|value| access.may_listen_as(name, value))
        };
        let mut owners = to
            .arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| *name != "filter");
        if !owners.all(own) {
            return Err(denied());
        }
    }
    Ok(verdict)
}

impl Subscription {
    /// Whether the rules let the caller hear of the record.
    pub(super) fn may_hear(&self, event: &Event) -> bool {
        self.verdict.holds(&event.facts)
    }

    /// What decides what the caller sees of a message.
    pub(super) fn viewer<'a>(&'a self, event: &'a Event, judge: Judge<'a>) -> Viewer<'a> {
        Viewer {
            compiled: judge.compiled,
            caller: &self.caller,
            implied: judge.implied,
            model: judge.compiled.model(&event.model),
            facts: &event.facts,
        }
    }

    /// Whether a message passes the filter, or without one the plain arguments: each must equal the field of its name.
    pub(super) fn wants(&self, event: &Event) -> bool {
        passes(&self.to.arguments, self.filter.as_ref(), event)
    }
}

fn passes(arguments: &JsonMap, filter: Option<&SubscriptionFilter>, event: &Event) -> bool {
    let record = &event.record;
    match filter {
        Some(filter) => filter.matches(record),
        None => arguments
            .iter()
            .filter(|(name, _)| name.as_str() != "filter")
            .all(|(name, value)| {
                record.get(name.as_str()).unwrap_or(&JsonValue::Null) == value
                    || is_name_of_owner(event.facts.get(name.as_str()), value)
            }),
    }
}

/// Whether an owner argument means the stored owner, by all of the name or by a part of it.
fn is_name_of_owner(stored: Option<&Value>, argument: &JsonValue) -> bool {
    let (Some(Value::String(stored)), Some(name)) = (stored, argument.as_str()) else {
        return false;
    };
    stored == name || stored.split("::").any(|part| part == name)
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
        let event = Event {
            model: "Post".into(),
            kind: landfall_core::MutationKind::Create,
            record: object(json!({"owner": "ann", "rating": 4, "status": null})),
            facts: crate::item::Attributes::new(),
        };
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
                passes(&object(arguments.clone()), None, &event),
                expected,
                "{arguments}"
            );
        }
        // A filter switches the plain arguments off.
        let filter = JsonValue::from(json!({"rating": {"ge": 4}}));
        let filter = SubscriptionFilter::read(&filter, &crate::config::Limits::default()).unwrap();
        let arguments = object(json!({"filter": {"rating": {"ge": 4}}, "owner": "bob"}));
        assert!(passes(&arguments, filter.as_ref(), &event));
    }
}
