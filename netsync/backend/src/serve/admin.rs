//! The endpoint for administration: faults, the clock, and the tables as they are stored.
//!
//! Owns `/_admin`, which only a server in development mode has. It asks for no credentials, since such a server listens on
//! this machine only. Pages of other origins, which a browser on this machine may have open, are kept out: calls need a
//! header that a page of another origin cannot set, and an address of this machine in `Host`, so that no name of
//! somebody else's leads here.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use landfall_core::RemoteRecord;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::shell::{Shell, inject};
use crate::error::BackendError;
use crate::faults::FaultCommand;

/// Longest body of a command, in bytes.
const COMMANDS_BYTES_MAX: usize = 64 * 1024;

/// Rows of a page unless the caller says how many.
const ROWS_DEFAULT: usize = 50;

/// The header that says that no page of another origin is calling.
const OWN_HEADER: &str = "x-landfall-admin";

pub(super) fn routes() -> Router<Shell> {
    Router::new()
        .route("/_admin", get(state))
        .route("/_admin/faults", get(state).post(inject_all))
        .route("/_admin/tables/{model}", get(table))
        .layer(DefaultBodyLimit::max(COMMANDS_BYTES_MAX))
        .layer(middleware::from_fn(keep_others_out))
}

async fn keep_others_out(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !headers.contains_key(OWN_HEADER) || !host.is_some_and(is_this_machine) {
        let text = "administration is for this machine: call it by its loopback address, with the header x-landfall-admin: 1";
        return answer(StatusCode::FORBIDDEN, &json!({"error": text}));
    }
    next.run(request).await
}

/// Whether the value of a `Host` header is this machine by definition: a loopback address, `localhost` or a name under
/// `.localhost` (RFC 6761), with or without a port.
pub(super) fn is_this_machine(host: &str) -> bool {
    let Some(name) = host_name(host) else { return false };
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let mut labels = name.rsplit('.');
            let is_local = |last: &str| last.eq_ignore_ascii_case("localhost");
            labels.next().is_some_and(is_local) && labels.all(|label| !label.is_empty())
        }
    }
}

/// The name or address of a `Host` header without port and brackets; `None` if it is no such header.
pub(super) fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = if port.is_empty() {
        ""
    } else {
        port.strip_prefix(':')?
    };
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()).then_some(name)
}

fn answer(status: StatusCode, body: &Json) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

/// What is on, what the clock says, and which tables there are.
async fn state(State(shell): State<Shell>) -> Response {
    answer(StatusCode::OK, &state_of(&shell))
}

fn state_of(shell: &Shell) -> Json {
    let active = shell.backend.faults().active();
    let faults: Vec<String> = active.iter().map(ToString::to_string).collect();
    let plans = shell.backend.compiled().plans();
    let models: Vec<&str> = plans.map(|plan| plan.name().as_str()).collect();
    let (connections, subscriptions) = shell.backend.realtime_population();
    json!({
        "clockMs": shell.clock.now_ms(),
        "faults": faults,
        "models": models,
        "connections": connections,
        "subscriptions": subscriptions,
    })
}

#[derive(Deserialize)]
struct Commands {
    faults: Vec<String>,
}

/// Takes `{"faults": ["fail=503*3"]}`: all of them, or none if one is wrong.
async fn inject_all(State(shell): State<Shell>, body: Bytes) -> Response {
    let refuse = |cause: String| answer(StatusCode::BAD_REQUEST, &json!({"error": cause}));
    let commands = match serde_json::from_slice::<Commands>(&body) {
        Ok(commands) => commands.faults,
        Err(error) => {
            return refuse(format!("send {{\"faults\": [\"fail=503*3\"]}} as JSON: {error}"));
        }
    };
    let commands: Result<Vec<FaultCommand>, _> = commands.iter().map(|text| text.parse()).collect();
    let commands = match commands {
        Ok(commands) => commands,
        Err(error) => return refuse(error.to_string()),
    };
    let work = move || {
        commands
            .into_iter()
            .try_for_each(|command| inject(&shell.options, &shell.clock, &shell.backend, command))
            .map(|()| state_of(&shell))
    };
    finish(tokio::task::spawn_blocking(work).await)
}

#[derive(Deserialize)]
struct Look {
    changes: Option<bool>,
    after: Option<String>,
    limit: Option<usize>,
}

/// A page of a table as it is stored.
async fn table(State(shell): State<Shell>, Path(model): Path<String>, Query(look): Query<Look>) -> Response {
    let Ok(after) = look.after.map(|after| URL_SAFE_NO_PAD.decode(after)).transpose() else {
        let text = "`after` is the `next` of a page";
        return answer(StatusCode::BAD_REQUEST, &json!({"error": text}));
    };
    let backend = Arc::clone(&shell.backend);
    let work = move || {
        let limit = look.limit.unwrap_or(ROWS_DEFAULT);
        let looked = backend.look(&model, look.changes.unwrap_or(false), after.as_deref(), limit)?;
        let rows: Vec<Json> = looked.records.iter().map(row).collect();
        let next = looked.next.map(|next| URL_SAFE_NO_PAD.encode(next));
        Ok(json!({"rows": rows, "next": next}))
    };
    finish(tokio::task::spawn_blocking(work).await)
}

fn row(record: &RemoteRecord) -> Json {
    let mut row: serde_json::Map<String, Json> = record
        .fields
        .iter()
        .map(|(name, value)| {
            // What is stored came as JSON, so it is JSON again.
            let json = serde_json::to_value(crate::json::json_of(value)).unwrap_or_default();
            (name.to_string(), json)
        })
        .collect();
    row.insert("_version".to_owned(), json!(record.sync.version.0));
    row.insert("_lastChangedAt".to_owned(), json!(record.sync.last_changed_at_ms));
    row.insert("_deleted".to_owned(), json!(record.sync.deleted));
    Json::Object(row)
}

fn finish(done: Result<Result<Json, BackendError>, tokio::task::JoinError>) -> Response {
    match done {
        Ok(Ok(body)) => answer(StatusCode::OK, &body),
        Ok(Err(error @ BackendError::UnknownModel { .. })) => {
            answer(StatusCode::NOT_FOUND, &json!({"error": error.to_string()}))
        }
        Ok(Err(error)) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"error": error.to_string()}),
        ),
        Err(_) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"error": "the work died; see the log"}),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        for own in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:4000",
            "[::1]:4000",
            "127.9.9.9",
            "app.localhost:3000",
            "a.b.LocalHost",
            "localhost.:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            ":80",
            ".localhost",
            "evil..localhost",
            "notlocalhost",
            "app.localhost.evil.example:80",
            "localhost:80:evil.example",
            "localhost:evil",
            "[localhost]",
            "[::1]evil.example",
            "[::1",
            "[::2]:80",
        ] {
            assert!(!is_this_machine(other), "{other}");
        }
    }
}
