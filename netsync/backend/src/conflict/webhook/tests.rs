//! The webhook against a server that answers as a Lambda handler would, and as a broken one would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;
use crate::conflict::ConflictResolver;

fn call() -> ConflictCall {
    let item = |version: u64| -> Map<String, Json> {
        json!({"id": "p", "title": "t", "_version": version})
            .as_object()
            .unwrap()
            .clone()
    };
    ConflictCall {
        new_item: item(2),
        existing_item: item(1),
        arguments: Map::new(),
        resolver: ConflictResolver {
            table_name: "Post-landfall-local".to_owned(),
            aws_region: "local".to_owned(),
            parent_type: "Mutation".to_owned(),
            field: "updatePost".to_owned(),
        },
        identity: None,
    }
}

async fn listening(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// What the webhook makes of a handler that answers so.
fn asked(
    timeout: Duration,
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> Result<Resolution, HandlerFailed> {
    let runtime = Runtime::new().unwrap();
    let routes = Router::new().route("/hook", post(move || async move { answer() }));
    let address = runtime.block_on(listening(routes));
    let webhook = ConflictWebhook::new(
        &format!("http://{address}/hook?key=secret"),
        timeout,
        runtime.handle().clone(),
    )
    .unwrap();
    webhook.resolve(&call())
}

fn failure(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    let failed = asked(WEBHOOK_TIMEOUT, answer).unwrap_err().to_string();
    assert!(!failed.contains("secret"), "{failed}");
    failed
}

#[test]
fn a_webhook_is_sent_the_event_and_its_answer_is_done() {
    let runtime = Runtime::new().unwrap();
    let seen = Arc::new(Mutex::new(Json::Null));
    let noted = Arc::clone(&seen);
    let routes = Router::new().route(
        "/",
        post(move |body: String| {
            *noted.lock().unwrap() = serde_json::from_str(&body).unwrap();
            async { json!({"action": "RESOLVE", "item": {"title": "settled"}}).to_string() }
        }),
    );
    let address = runtime.block_on(listening(routes));
    let webhook = ConflictWebhook::new(
        &format!("http://{address}/"),
        WEBHOOK_TIMEOUT,
        runtime.handle().clone(),
    )
    .unwrap();
    let item = json!({"title": "settled"}).as_object().unwrap().clone();
    assert_eq!(webhook.resolve(&call()), Ok(Resolution::Resolve(item)));
    let seen = seen.lock().unwrap();
    assert_eq!(
        (&seen["newItem"]["_version"], &seen["resolver"]["field"]),
        (&json!(2), &json!("updatePost"))
    );
}

#[test]
fn answers_that_are_none_fail_and_keep_the_address_to_themselves() {
    assert!(failure(|| StatusCode::INTERNAL_SERVER_ERROR.into_response()).contains("status 500"));
    assert!(failure(|| "nope".into_response()).contains("did not answer with JSON"));
    assert!(failure(|| "{}".into_response()).contains("no action"));
    // A redirect could lead anywhere, so it is not followed.
    assert!(failure(|| Redirect::temporary("http://127.0.0.1:9/").into_response()).contains("status 307"));
    let long = || Body::from(vec![b' '; ANSWER_BYTES_MAX + 1]).into_response();
    assert!(failure(long).contains("too long"));
}

#[test]
fn an_answer_that_does_not_come_in_time_fails() {
    let never =
        || Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>()).into_response();
    let late = asked(Duration::from_millis(50), never).unwrap_err().to_string();
    assert!(late.contains("in time"), "{late}");
}

#[test]
fn a_handler_that_is_not_there_fails() {
    let runtime = Runtime::new().unwrap();
    let address = runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        listener.local_addr().unwrap()
    });
    let webhook = ConflictWebhook::new(
        &format!("http://{address}/"),
        WEBHOOK_TIMEOUT,
        runtime.handle().clone(),
    )
    .unwrap();
    let failed = webhook.resolve(&call()).unwrap_err().to_string();
    assert!(failed.contains("could not be reached"), "{failed}");
}

#[test]
fn only_addresses_of_http_are_taken() {
    let runtime = Runtime::new().unwrap();
    for url in ["ftp://host/", "not a url", ""] {
        assert!(
            ConflictWebhook::new(url, WEBHOOK_TIMEOUT, runtime.handle().clone()).is_err(),
            "{url}"
        );
    }
}
