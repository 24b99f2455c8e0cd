//! Calls of the API over HTTP.
//!
//! Owns the way of one call from its head to its reply, and the time that it may take. What it answers is decided in
//! `service.rs`; the refusals of the shell itself have the same form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::address::AddressRooms;
use super::body::{self, Budget, Place};
use super::metrics::{self, Operation};
use super::shell::Shell;
use crate::auth::{Caller, Judgement};
use crate::execute::{CallerGone, ErrorEntry};
use crate::faults::FieldError;
use crate::http::{HttpCall, HttpReply, Refusal, refuse};
use crate::service::{Backend, Job, Ran};

/// Longest body or message that is parsed on the spot, in bytes; longer ones must not hold up the other calls. A document of
/// that length takes two milliseconds at the worst.
pub(super) const PARSED_AT_ONCE_BYTES: usize = 4 * 1024;

/// Longest reply that no room is taken for, in bytes; so many for each socket are nothing.
const REPLY_COUNTED_BYTES: usize = 16 * 1024;

const WRONG_METHOD: Refusal = Refusal::Shell(
    405,
    "BadRequestException",
    "Requests are sent with POST, queries also with GET.",
);

const NOT_FOUND: Refusal = Refusal::Shell(
    404,
    "NotFoundException",
    "There is nothing here; the API is at /graphql, subscriptions are at /graphql/realtime.",
);

const BODY_LATE: Refusal = Refusal::Shell(
    408,
    "RequestTimeoutException",
    "The request body did not arrive in time.",
);

/// Answers a call to the API.
pub(super) async fn call(State(shell): State<Shell>, request: Request) -> Response {
    let begun = Instant::now();
    let mut account = Account::default();
    let reply = answer(&shell, request, &mut account).await;
    let outcome = metrics::outcome(&reply, account.timed_out);
    let took = begun.elapsed();
    let request_id = reply
        .headers
        .iter()
        .find_map(|(name, value)| (name == "x-amzn-requestid").then_some(value.as_str()));
    tracing::info!(
        request_id,
        kind = account.operation.kind,
        operation = account.operation.name,
        outcome,
        status = reply.status,
        took_ms = took.as_secs_f64() * 1e3,
        bytes = reply.body.len(),
        "call"
    );
    shell.metrics.called(account.operation, outcome, took);
    respond(reply).await
}

/// Takes room for a long reply for as long as its caller does not read it; `None` if there is none.
fn hold(reply: HttpReply, replies: &Arc<Budget>) -> Option<HttpReply> {
    if reply.body.len() <= REPLY_COUNTED_BYTES {
        return Some(reply);
    }
    let body = body::hold(reply.body.clone(), replies)?;
    Some(HttpReply { body, ..reply })
}

/// The same of the reply to a mutation. It was run and may have taken effect, so that is told, and not that the service failed.
pub(super) fn hold_answer(reply: HttpReply, request_id: &str, replies: &Arc<Budget>) -> HttpReply {
    let (delay_ms, lost) = (reply.delay_ms, reply.lost);
    hold(reply, replies).unwrap_or_else(|| HttpReply {
        delay_ms,
        lost,
        ..refuse(Refusal::Invalid(vec![ErrorEntry::of_no_room()]), request_id)
    })
}

/// What is told of a call in logs and metrics.
#[derive(Default)]
struct Account {
    operation: Operation,
    timed_out: bool,
}

/// Notes when a caller is told that its call timed out, or went away: what runs for it ends.
struct Waiting(CallerGone);

impl Drop for Waiting {
    fn drop(&mut self) {
        // A job that is done does not look.
        self.0.note();
    }
}

/// Answers a call to nowhere.
pub(super) async fn not_found(State(shell): State<Shell>) -> Response {
    respond(shell.refuse(NOT_FOUND)).await
}

async fn answer(shell: &Shell, request: Request, account: &mut Account) -> HttpReply {
    let time = shell.options.request_time;
    let deadline = Instant::now() + time;
    let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let deadline_ms = shell.clock.now_ms().saturating_add(time_ms);
    let (head, body) = request.into_parts();
    let get = match head.method {
        Method::GET => true,
        Method::POST => false,
        _ => return shell.refuse(WRONG_METHOD),
    };
    let most = shell.backend.config().limits.body_bytes_max;
    let headers = header_list(&head.headers);
    // Whoever is refused by the head alone takes no room for a body.
    let rooms = head.extensions.get::<AddressRooms>();
    let (room, of_address, caller) = match shell.backend.judge_head(shell.clock.now_ms(), &headers) {
        Judgement::Done(Ok(caller)) => (&shell.bodies, rooms.map(|rooms| &rooms.bodies), Some(caller)),
        Judgement::Done(Err(refused)) => {
            // Whoever asks first has sent nothing yet.
            if !head.headers.contains_key(header::EXPECT) {
                // Too late is as good as read: the answer is the same.
                let _ = tokio::time::timeout_at(deadline, body::discard_all(body)).await;
            }
            return shell.refuse(Refusal::Unauthorized(refused));
        }
        Judgement::NeedsBody | Judgement::NeedsAuthorizer => {
            (&shell.strangers, rooms.map(|rooms| &rooms.strangers), None)
        }
    };
    let reading = body::read(&head.headers, body, most, room, of_address);
    let taken = match tokio::time::timeout_at(deadline, reading).await {
        Ok(Ok(taken)) => taken,
        Ok(Err(refusal)) => return shell.refuse(refusal),
        Err(_) => return shell.refuse(BODY_LATE),
    };
    let call = HttpCall {
        get,
        query: head.uri.query().map(str::to_owned),
        headers,
        body: taken.bytes.clone(),
    };
    let running = tokio::time::timeout_at(deadline, shell.run(call, caller, &mut account.operation));
    let reply = tokio::select! {
        reply = running => reply.ok(),
        // Whoever sets the clock need not wait for what takes its time.
        () = shell.clock.set_beyond(deadline_ms) => None,
    };
    if let Some(reply) = reply {
        return reply;
    }
    account.timed_out = true;
    let entry = ErrorEntry::of_request("Execution timed out.", None);
    shell.refuse(Refusal::Invalid(vec![entry]))
}

impl Shell {
    /// A refusal with an identifier of its own.
    pub(super) fn refuse(&self, refusal: Refusal) -> HttpReply {
        refuse(refusal, &self.backend.new_request_id())
    }

    /// Runs a call; `caller` sends it, if its head was enough to tell.
    async fn run(&self, call: HttpCall, caller: Option<Arc<Caller>>, operation: &mut Operation) -> HttpReply {
        let length = call.query.as_ref().map_or(0, String::len) + call.body.len();
        let long = length > PARSED_AT_ONCE_BYTES;
        let request_id = self.backend.new_request_id();
        let caller = match self.judged(&call, caller, &request_id).await {
            Ok(caller) => caller,
            Err(reply) => return self.hold(*reply),
        };
        let job = self
            .admit(false, long, move |backend, now_ms| {
                backend.prepare_from(now_ms, &call, caller, &request_id)
            })
            .await
            .unwrap_or_else(|| Err(Box::new(self.refuse(Refusal::Internal))));
        let job = match job {
            Ok(job) => job,
            Err(reply) => return self.hold(*reply),
        };
        *operation = Operation::of(&job);
        let Some(room) = Place::take(&self.calls, job.held_bytes()) else {
            return self.refuse(Refusal::Status(429));
        };
        let _waiting = Waiting(job.caller_gone());
        if job.is_mutation() {
            self.write(job, room).await
        } else {
            self.read(job, room).await
        }
    }

    /// Who sends a call, if an authorizer has to be waited for to know; what they send is parsed only then, in a place for
    /// that. Otherwise who is known already.
    async fn judged(
        &self,
        call: &HttpCall,
        caller: Option<Arc<Caller>>,
        request_id: &str,
    ) -> Result<Option<Arc<Caller>>, Box<HttpReply>> {
        if caller.is_some() || !self.backend.call_may_block(self.clock.now_ms(), &call.headers) {
            return Ok(caller);
        }
        let (call, request_id) = (call.clone(), request_id.to_owned());
        let judge = move |backend: &Backend, now_ms| backend.judge_call(now_ms, &call, &request_id);
        match self.admit(true, false, judge).await {
            Some(judged) => judged.map(Some),
            None => Err(Box::new(self.refuse(Refusal::Internal))),
        }
    }

    async fn read(&self, job: Job, room: Place) -> HttpReply {
        let Ok(place) = Arc::clone(&self.queries).acquire_owned().await else {
            return self.refuse(Refusal::Internal);
        };
        let (backend, now_ms) = (Arc::clone(&self.backend), self.clock.now_ms());
        // The place is kept until the query is done: one whose caller was told that it timed out ends soon, but not at once.
        let reading = tokio::task::spawn_blocking(move || {
            let reply = backend.run_query(now_ms, &job);
            drop((place, room, job));
            reply
        });
        let reply = reading.await.unwrap_or_else(|_| self.refuse(Refusal::Internal));
        self.hold(reply)
    }

    /// Takes room for the reply to a call that changed nothing.
    fn hold(&self, reply: HttpReply) -> HttpReply {
        hold(reply, &self.replies).unwrap_or_else(|| self.refuse(Refusal::Status(429)))
    }

    /// Runs a mutation beside the queue: others do not wait for its conflict handler.
    async fn ask(&self, job: Job, room: Place, field_error: Option<FieldError>) -> HttpReply {
        let Ok(place) = Arc::clone(&self.asking).acquire_owned().await else {
            return self.refuse(Refusal::Internal);
        };
        let (backend, clock) = (Arc::clone(&self.backend), Arc::clone(&self.clock));
        let replies = Arc::clone(&self.replies);
        // The place is kept until the mutation is done. If its caller was told that it timed out, that is after the question
        // that was being asked.
        let asking = tokio::task::spawn_blocking(move || {
            let reply = backend.run_asking(clock.now_ms(), &job, field_error);
            drop((place, room));
            hold_answer(reply, job.request_id(), &replies)
        });
        asking.await.unwrap_or_else(|_| self.refuse(Refusal::Internal))
    }

    async fn write(&self, job: Job, room: Place) -> HttpReply {
        // Whether a handler must be asked shows only when the mutation is run.
        let again = if job.may_ask_handler() {
            let Some(room) = Place::take(&self.calls, job.held_bytes()) else {
                return self.refuse(Refusal::Status(429));
            };
            Some((job.clone(), room))
        } else {
            None
        };
        let (answer, answered) = oneshot::channel();
        if self.jobs.send((job, answer, room)).await.is_err() {
            return self.refuse(Refusal::Internal);
        }
        match (answered.await, again) {
            (Ok(Ran::Replied(reply)), _) => reply,
            (Ok(Ran::MustAsk(field_error)), Some((job, room))) => self.ask(job, room, field_error).await,
            // If the writer died, the outcome is unknown.
            _ => self.refuse(Refusal::Internal),
        }
    }
}

/// Headers as the service reads them.
pub(super) fn header_list(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

/// Sends a reply on its way, late or broken off if a fault was injected.
pub(super) async fn respond(reply: HttpReply) -> Response {
    if reply.delay_ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(reply.delay_ms)).await;
    }
    let mut response = if reply.lost {
        // The head goes out, the body breaks off: the caller knows no more than after a cut line.
        let cut =
            futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("the reply is lost")) });
        Body::from_stream(cut).into_response()
    } else {
        Body::from(reply.body).into_response()
    };
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
