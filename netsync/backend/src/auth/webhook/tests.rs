//! An authorizer behind a URL, over real sockets on the loopback device.
#![allow(
    clippy::disallowed_methods,
    reason = "the authorizer is a server of its own, and a backend that waits for it does so away from the runtime"
)]

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::auth::{AuthMode, AuthSettings, AuthorizerContext, AuthorizerSettings};
use crate::{Backend, BackendConfig, SeededEntropy};

/// An authorizer that lets `good` in, and answers other tokens in every wrong way. Its URL.
async fn authorizer() -> String {
    async fn judge(body: String) -> (axum::http::StatusCode, String) {
        let event: Json = serde_json::from_str(&body).unwrap();
        let ok = |text: String| (axum::http::StatusCode::OK, text);
        match event["authorizationToken"].as_str().unwrap() {
            "good" => ok(json!({"isAuthorized": true, "deniedFields": ["Blog.name"]}).to_string()),
            "bad" => ok(json!({"isAuthorized": false}).to_string()),
            "junk" => ok("<html>".to_owned()),
            "long" => ok("x".repeat(ANSWER_BYTES_MAX + 1)),
            _ => (axum::http::StatusCode::FOUND, String::new()),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().route("/authorize", post(judge));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    format!("http://{address}/authorize")
}

async fn ask(webhook: &Webhook, token: &str) -> Result<bool, String> {
    let request = AuthorizerRequest {
        authorization_token: token.to_owned(),
        request_context: AuthorizerContext::default(),
        request_headers: std::collections::BTreeMap::new(),
    };
    let webhook = webhook.clone();
    let answer = tokio::task::spawn_blocking(move || webhook.authorize(&request))
        .await
        .unwrap();
    answer
        .map(|answer| answer.is_authorized)
        .map_err(|fault| fault.cause)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_answer_in_order_lets_anybody_in() {
    let url = authorizer().await;
    let webhook = Webhook::new(&url, Handle::current()).unwrap();
    assert_eq!(ask(&webhook, "good").await, Ok(true));
    assert_eq!(ask(&webhook, "bad").await, Ok(false));
    for (token, cause) in [
        ("junk", "its answer is none of an authorizer"),
        ("long", "its answer has more than"),
        ("elsewhere", "it answered with status 302"),
    ] {
        let fault = ask(&webhook, token).await.unwrap_err();
        assert!(fault.starts_with(cause), "{fault}");
    }
    let nobody = Webhook::new("http://127.0.0.1:1/authorize", Handle::current()).unwrap();
    let fault = ask(&nobody, "good").await.unwrap_err();
    assert!(!fault.contains("good"), "{fault}");
    for bad in ["", "authorize", "ftp://a.test/", "file:///etc/passwd"] {
        assert!(Webhook::new(bad, Handle::current()).is_err(), "{bad}");
    }
}

async fn post_as(address: std::net::SocketAddr, token: &str, query: &str) -> (String, Json) {
    let body = json!({"query": query}).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_backend_asks_it() {
    let webhook = Webhook::new(&authorizer().await, Handle::current()).unwrap();
    let config = BackendConfig {
        auth: AuthSettings {
            default_mode: AuthMode::Lambda,
            authorizer: Some(AuthorizerSettings {
                authorizer: Arc::new(webhook),
                ttl_s: 60,
                token_pattern: None,
            }),
            ..AuthSettings::default()
        },
        ..BackendConfig::default()
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(crate::fixtures::blog(), config, kv, SeededEntropy::new(1)).unwrap();
    let server = crate::serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .unwrap();
    let query = "{ listPosts { items { id } } }";
    let (status, body) = post_as(server.local_addr, "good", query).await;
    assert_eq!(
        (status.as_str(), &body["data"]["listPosts"]["items"]),
        ("200", &json!([]))
    );
    let (status, body) = post_as(server.local_addr, "bad", query).await;
    assert_eq!(
        (status.as_str(), &body["errors"][0]["errorType"]),
        ("401", &json!("UnauthorizedException"))
    );
    let (status, body) = post_as(server.local_addr, "junk", query).await;
    assert_eq!(
        (status.as_str(), &body["errors"][0]["errorType"]),
        ("500", &json!("InternalFailure"))
    );
    server.shutdown().await;
}
