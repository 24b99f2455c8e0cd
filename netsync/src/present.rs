//! Which credentials are presented, and which next if the server refuses them.
//!
//! Owns [`Presenting`], what was presented for the newest connection. For one request, the ways that the endpoint's
//! strategy names are tried in order; credentials that the server turns away as such (401, 403) are renewed once before
//! the next way. A refused request has had no effect, so asking again is safe.
//!
//! Each request begins with the best way again, whatever came of the last one: who is signed out may sign in, and what
//! is refused for one record may be granted for the next. Going on in a lesser way would write records without an owner
//! and read them without the fields that only owners see.
//!
//! Who was let in no way hears of what other credentials may mend, if that was the trouble with one of them.
//!
//! Invariants: 1. each way is tried once for a request, once more if the reply tells that our clock is wrong, and once
//! more with renewed credentials; 2. a request whose
//! outcome is unknown is never sent again here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use landfall_wire::{
    Credentials, HttpRequest, HttpResponse, Socket, Subject, TransportError, is_batch_alias,
};
use serde_json::Value as Json;

use crate::authorization::{Call, Held};
use crate::http::{Inner, send};
use crate::websocket;

/// Longest answer that is searched for a refusal: it holds no data, so it is short.
const REFUSAL_BYTES_MAX: usize = 64 * 1_024;

/// What was presented for the newest realtime connection, and what came of it.
#[derive(Default)]
pub(crate) struct Presenting {
    connection: Mutex<Option<Presented>>,
}

/// What was presented for the newest realtime connection.
struct Presented {
    /// Position among the endpoint's ways.
    way: usize,
    held: Held,
    is_renewed: bool,
    is_refused: bool,
}

impl Presenting {
    fn connection(&self) -> MutexGuard<'_, Option<Presented>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server refused the newest realtime connection.
    pub(crate) fn connection_refused(&self) {
        if let Some(presented) = &mut *self.connection() {
            presented.is_refused = true;
        }
    }
}

/// Sends a request, in as many ways as it takes.
pub(crate) async fn execute(inner: &Inner, request: HttpRequest) -> Result<HttpResponse, TransportError> {
    let within = inner.endpoint.timeouts.request;
    let ways = inner.endpoint.ways_for(request.operation.subject());
    let mut refused = None;
    for (_, authorization) in &ways {
        let mut held = match authorization.hold(within).await {
            Ok(held) => held,
            Err(error) => {
                keep_weightiest(&mut refused, Err(error));
                continue;
            }
        };
        let ahead_ms = inner.clock.ahead_ms();
        let mut reply = send(inner, &request, &held).await?;
        if turned_away(&reply) && signed_at_the_wrong_time(inner, &held, ahead_ms) {
            reply = send(inner, &request, &held).await?;
        }
        if turned_away(&reply)
            && let Some(renewed) = authorization.renew(within, &held).await
        {
            held = renewed;
            reply = send(inner, &request, &held).await?;
        }
        let is_refused = turned_away(&reply) || (ways.len() > 1 && is_denied(&reply));
        if !is_refused {
            return Ok(reply);
        }
        keep_weightiest(&mut refused, Ok(reply));
    }
    refused.expect("there is at least one way to ask")
}

/// Keeps the refusal that says most of why no way has worked; of several that say as much, that of the best way.
///
/// What other credentials may mend goes before a denial: who is signed out of one way and denied in the next has not been
/// refused for good, and what is asked waits for the sign-in. That the server does not take credentials tells more than
/// that a provider has none.
fn keep_weightiest(
    refused: &mut Option<Result<HttpResponse, TransportError>>,
    next: Result<HttpResponse, TransportError>,
) {
    let weight = |refusal: &Result<HttpResponse, TransportError>| match refusal {
        Ok(reply) if turned_away(reply) => 3,
        Err(_) => 2,
        Ok(_) => 1,
    };
    if weight(&next) > refused.as_ref().map_or(0, weight) {
        *refused = Some(next);
    }
}

/// Whether the server's reply has told that the time which was signed, so far ahead of ours, is wrong.
fn signed_at_the_wrong_time(inner: &Inner, held: &Held, ahead_ms: i64) -> bool {
    held.is_signature() && inner.clock.ahead_ms() != ahead_ms
}

/// Whether the server did not take the credentials as such.
fn turned_away(reply: &HttpResponse) -> bool {
    matches!(reply.status, 401 | 403)
}

/// Whether the server took the credentials and refused what was asked, so that it came to nothing.
fn is_denied(reply: &HttpResponse) -> bool {
    if reply.status != 200 || reply.body.len() > REFUSAL_BYTES_MAX {
        return false;
    }
    let Ok(body) = serde_json::from_slice::<Json>(&reply.body) else {
        return false;
    };
    let has_data = match &body["data"] {
        Json::Object(fields) => fields.values().any(|field| !field.is_null()),
        data => !data.is_null(),
    };
    // Of several mutations in one request, one may have failed for another reason, and after it was carried out. And where
    // the refusal of one takes the data of all along, nothing is said of the others.
    let is_refusal = |error: &Json| {
        let kind = error["errorType"].as_str();
        let of_one = body["data"].is_null() && error["path"][0].as_str().is_some_and(is_batch_alias);
        kind.is_some_and(|kind| kind.starts_with("Unauthorized")) && !of_one
    };
    let errors = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    !has_data && !errors.is_empty() && errors.iter().all(is_refusal)
}

/// Credentials for a `start` frame; `attempt` counts those that the server has refused for it.
pub(crate) async fn for_start(
    inner: &Inner,
    subject: Option<&Subject>,
    payload: &str,
    attempt: u32,
) -> Result<Credentials, TransportError> {
    let within = inner.endpoint.timeouts.request;
    let call = Call {
        url: inner.endpoint.url(),
        host: &inner.host,
        region: &inner.endpoint.region,
        body: payload,
        ahead_ms: inner.clock.ahead_ms(),
    };
    let mut left = attempt;
    for (_, authorization) in inner.endpoint.ways_for(subject) {
        // A way counts once, and once more if it can be renewed.
        let turns = if authorization.is_renewable() { 2 } else { 1 };
        if left >= turns {
            left -= turns;
            continue;
        }
        let renewing = left == 1;
        left = 0;
        let held = match authorization.hold(within).await {
            Ok(held) => held,
            Err(error) if attempt == 0 && inner.endpoint.ways_for(subject).len() == 1 => return Err(error),
            Err(_) => continue,
        };
        if !renewing {
            return Ok(held.credentials(&call));
        }
        if let Some(renewed) = authorization.renew(within, &held).await {
            return Ok(renewed.credentials(&call));
        }
    }
    let reason = "the server refuses the credentials, and there are no others".to_owned();
    Err(TransportError::Unauthorized { reason })
}

/// Opens a realtime socket, in as many ways as it takes.
pub(crate) async fn connect(inner: &Inner) -> Result<Box<dyn Socket>, TransportError> {
    let within = inner.endpoint.timeouts.request;
    let ways = &inner.endpoint.ways;
    let last = inner.presenting.connection().take();
    let (first, mut rejected) = match last {
        Some(last) if last.is_refused && last.is_renewed => (last.way + 1, None),
        Some(last) if last.is_refused => (last.way, Some(last.held)),
        Some(last) => (last.way, None),
        None => (0, None),
    };
    let mut refused = None;
    for way in (0..ways.len()).map(|offset| (first + offset) % ways.len()) {
        let authorization = &ways[way].1;
        let held = match rejected.take() {
            Some(rejected) => authorization
                .renew(within, &rejected)
                .await
                .map(|held| (held, true)),
            None => match authorization.hold(within).await {
                Ok(held) => Some((held, false)),
                Err(error) => {
                    refused.get_or_insert(error);
                    None
                }
            },
        };
        let Some((mut held, mut is_renewed)) = held else {
            continue;
        };
        let ahead_ms = inner.clock.ahead_ms();
        let mut opened = websocket::open(inner, &held).await;
        if matches!(opened, Err(TransportError::Unauthorized { .. }))
            && signed_at_the_wrong_time(inner, &held, ahead_ms)
        {
            opened = websocket::open(inner, &held).await;
        }
        if matches!(opened, Err(TransportError::Unauthorized { .. }))
            && !is_renewed
            && let Some(renewed) = authorization.renew(within, &held).await
        {
            (held, is_renewed) = (renewed, true);
            opened = websocket::open(inner, &held).await;
        }
        match opened {
            Err(error @ TransportError::Unauthorized { .. }) => refused = Some(error),
            opened => {
                *inner.presenting.connection() = Some(Presented {
                    way,
                    held,
                    is_renewed,
                    is_refused: false,
                });
                return opened;
            }
        }
    }
    Err(refused.unwrap_or_else(|| TransportError::Unauthorized {
        reason: "the server refuses the credentials, and there are no others".to_owned(),
    }))
}

#[cfg(test)]
mod tests;
