//! The server over real sockets on the loopback device.

use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use super::*;
use crate::config::BackendConfig;
use crate::fixtures;

const KEY: &str = "da2-test";

async fn start() -> (Arc<Backend>, ServerHandle) {
    let config = BackendConfig::with_api_key(KEY);
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let handle = serve(([127, 0, 0, 1], 0).into(), Arc::clone(&backend))
        .await
        .unwrap();
    (backend, handle)
}

/// Sends one request and reads the reply to the end: head and body.
async fn exchange(server: &ServerHandle, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.local_addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // A reply that is lost ends in an error; what came before it is what the caller has.
    let _ = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    (head.to_lowercase(), body.to_owned())
}

async fn post(server: &ServerHandle, query: &str) -> Json {
    let body = json!({"query": query, "variables": null}).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json; charset=UTF-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let (head, body) = exchange(server, &format!("{head}{body}")).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn queries_and_mutations_are_answered_over_http() {
    let (_, server) = start().await;
    let created = post(
        &server,
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _version } }",
    )
    .await;
    assert_eq!(
        created,
        json!({"data": {"createPost": {"id": "p", "_version": 1}}})
    );
    let get = format!(
        "GET /graphql?query=%7BgetPost(id:%22p%22)%7Btitle%7D%7D HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\n\r\n"
    );
    let (head, body) = exchange(&server, &get).await;
    assert!(
        head.contains("content-type: application/json") && head.contains("x-amzn-requestid: "),
        "{head}"
    );
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert_eq!(body, r#"{"data":{"getPost":{"title":"t"}}}"#);
    server.shutdown().await;
}

#[tokio::test]
async fn refusals_and_preflights_have_their_status() {
    let (_, server) = start().await;
    for (request, status) in [
        ("POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 0", "401"),
        (
            "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: da2-test\r\ncontent-length: 0",
            "400",
        ),
        ("PUT /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 0", "405"),
        ("GET /nowhere HTTP/1.1\r\nhost: x", "404"),
        (
            "OPTIONS /graphql HTTP/1.1\r\nhost: x\r\naccess-control-request-headers: x-api-key",
            "204",
        ),
    ] {
        let (head, _) = exchange(&server, &format!("{request}\r\nconnection: close\r\n\r\n")).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}: {head}"
        );
    }
    let body = "x".repeat(1024 * 1024 + 1);
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {}",
        body.len()
    );
    let (head, _) = exchange(&server, &format!("{head}\r\nconnection: close\r\n\r\n{body}")).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_lost_reply_breaks_off_and_what_was_written_stays() {
    let (backend, server) = start().await;
    backend.faults().lose_replies(1);
    let body = r#"{"query":"mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (_, reply) = exchange(&server, &request).await;
    assert!(!reply.contains("createPost"), "{reply}");
    assert_eq!(backend.records("Post").unwrap().len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn subscriptions_hear_mutations_over_a_websocket_and_end_with_the_server() {
    let (_, server) = start().await;
    let mut request = format!("ws://{}/graphql/realtime", server.local_addr)
        .into_client_request()
        .unwrap();
    let header = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        json!({"host": "localhost", "x-api-key": KEY}).to_string(),
    );
    let protocols = format!("graphql-ws, header-{header}");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols.parse().unwrap());
    let stream = TcpStream::connect(server.local_addr).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-ws");

    let send = |frame: Json| Frame::text(frame.to_string());
    use futures_util::{SinkExt, StreamExt};
    socket
        .send(send(json!({"type": "connection_init"})))
        .await
        .unwrap();
    let data = json!({"query": "subscription { onCreatePost { id _deleted } }", "variables": {}}).to_string();
    let extensions = json!({"authorization": {"host": "localhost", "x-api-key": KEY}});
    let payload = json!({"data": data, "extensions": extensions});
    socket
        .send(send(json!({"id": "s", "type": "start", "payload": payload})))
        .await
        .unwrap();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "start_ack") {
        let frame: Json =
            serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        kinds.push(frame["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["connection_ack", "ka", "start_ack"]);

    post(
        &server,
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _deleted } }",
    )
    .await;
    let frame: Json = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    let record = json!({"data": {"onCreatePost": {"id": "p", "_deleted": null}}});
    assert_eq!(frame, json!({"id": "s", "type": "data", "payload": record}));

    server.shutdown().await;
    let end = socket.next().await.unwrap().unwrap();
    assert!(
        matches!(&end, Frame::Close(Some(frame)) if u16::from(frame.code) == 1001),
        "{end:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_mutations_all_take_effect() {
    let (backend, server) = start().await;
    let server = Arc::new(server);
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let query =
                    format!("mutation {{ createPost(input: {{id: \"p{n}\", title: \"t\"}}) {{ id }} }}");
                post(&server, &query).await["data"]["createPost"]["id"].clone()
            })
        })
        .collect();
    for (n, caller) in callers.into_iter().enumerate() {
        assert_eq!(caller.await.unwrap(), json!(format!("p{n}")));
    }
    assert_eq!(backend.records("Post").unwrap().len(), 64);
    Arc::try_unwrap(server).unwrap().shutdown().await;
}

/// Waits for a word before it decides.
struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl crate::conflict::ConflictHandler for Slow {
    fn resolve(
        &self,
        _: &crate::conflict::ConflictCall,
    ) -> Result<crate::conflict::Resolution, crate::conflict::HandlerFailed> {
        self.0.lock().unwrap().recv().unwrap();
        Ok(crate::conflict::Resolution::Remove)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_conflict_handler_but_its_own_caller() {
    let (word, heard) = std::sync::mpsc::channel();
    let config = BackendConfig {
        conflict: crate::conflict::ConflictStrategy::Handler,
        conflict_handlers: crate::conflict::ConflictHandlers::for_all(Slow(heard.into())),
        ..BackendConfig::with_api_key(KEY)
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
    let create = "mutation { createPost(input: {id: \"p\", title: \"t\"}) { _version } }";
    post(&server, create).await;
    let stale = "mutation { updatePost(input: {id: \"p\", title: \"u\"}) { _version _deleted } }";
    let other = "mutation { createPost(input: {id: \"q\", title: \"t\"}) { _version } }";
    let meanwhile = async {
        let created = post(&server, other).await;
        assert_eq!(created["data"]["createPost"]["_version"], 1);
        word.send(()).unwrap();
    };
    let (decided, ()) = tokio::join!(post(&server, stale), meanwhile);
    assert_eq!(
        decided["data"]["updatePost"],
        json!({"_version": 2, "_deleted": true})
    );
    server.shutdown().await;
}
