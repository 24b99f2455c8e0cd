//! The server over real sockets on the loopback device.

mod calls;
mod development;
mod hosting;
mod limits;
mod shutdown;
mod sockets;

use futures_util::{SinkExt, StreamExt};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use super::*;
use crate::config::{BackendConfig, Limits};
use crate::fixtures;

const KEY: &str = "da2-test";

async fn start() -> (Arc<Backend>, ServerHandle) {
    start_with(Limits::default(), ServeOptions::default()).await
}

async fn start_with(limits: Limits, options: ServeOptions) -> (Arc<Backend>, ServerHandle) {
    let config = BackendConfig {
        limits,
        ..BackendConfig::with_api_key(KEY)
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let handle = serve_with(([127, 0, 0, 1], 0).into(), Arc::clone(&backend), options)
        .await
        .unwrap();
    (backend, handle)
}

/// The head of a POST with a body of a length.
fn post_head(length: usize) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

/// A POST of a query.
fn post_text(query: &str) -> String {
    let body = json!({"query": query}).to_string();
    format!("{}{body}", post_head(body.len()))
}

fn create_text(id: &str) -> String {
    post_text(&format!(
        "mutation {{ createPost(input: {{id: \"{id}\", title: \"t\"}}) {{ id title }} }}"
    ))
}

/// `errorType` and message of a refusal.
fn refusal(body: &str) -> (String, String) {
    let body: Json = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    let error = &body["errors"][0];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("message"))
}

/// A realtime connection, its `connection_init` not sent yet.
async fn connect(server: &ServerHandle) -> Socket {
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
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-ws");
    socket
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn send(socket: &mut Socket, frame: Json) {
    socket.send(Frame::text(frame.to_string())).await.unwrap();
}

async fn next_json(socket: &mut Socket) -> Json {
    let frame = socket.next().await.unwrap().unwrap();
    serde_json::from_str(frame.to_text().unwrap()).unwrap_or_else(|_| panic!("no JSON: {frame:?}"))
}

/// Starts a subscription and waits until it is acknowledged.
async fn subscribe(socket: &mut Socket, id: &str, query: &str) {
    let data = json!({"query": query, "variables": {}}).to_string();
    let extensions = json!({"authorization": {"host": "localhost", "x-api-key": KEY}});
    let payload = json!({"data": data, "extensions": extensions});
    send(socket, json!({"id": id, "type": "start", "payload": payload})).await;
    assert_eq!(next_json(socket).await, json!({"id": id, "type": "start_ack"}));
}

/// Reads until the connection is closed; the code, or `None` if it broke off.
async fn close_code(socket: &mut Socket) -> Option<u16> {
    while let Some(frame) = socket.next().await {
        match frame {
            Ok(Frame::Close(Some(close))) => return Some(close.code.into()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    None
}

/// Sends one request and reads the reply to the end: head and body.
async fn exchange(server: &ServerHandle, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.local_addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // A reply that is lost ends in an error; what came before it is what the caller has.
    let _ = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8_lossy(&reply);
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
    let mut socket = connect(&server).await;
    send(&mut socket, json!({"type": "connection_init"})).await;
    assert_eq!(next_json(&mut socket).await["type"], "connection_ack");
    assert_eq!(next_json(&mut socket).await["type"], "ka");
    subscribe(&mut socket, "s", "subscription { onCreatePost { id _deleted } }").await;

    post(
        &server,
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _deleted } }",
    )
    .await;
    let frame = next_json(&mut socket).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutations_without_a_conflict_wait_for_no_handler_however_many_are_asked() {
    let (word, heard) = std::sync::mpsc::channel();
    let config = BackendConfig {
        conflict: crate::conflict::ConflictStrategy::Handler,
        conflict_handlers: crate::conflict::ConflictHandlers::for_all(Slow(heard.into())),
        ..BackendConfig::with_api_key(KEY)
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), Arc::clone(&backend))
        .await
        .unwrap();
    let places = shell::ASKING_JOBS_MAX;
    let posts: Vec<String> = (0..places).map(|n| format!("p{n}")).collect();
    for id in &posts {
        exchange(&server, &create_text(id)).await;
    }
    let stale = |id: String| {
        let server = &server;
        async move {
            let update =
                format!("mutation {{ updatePost(input: {{id: \"{id}\", title: \"u\"}}) {{ _deleted }} }}");
            post(server, &update).await
        }
    };
    let decided = futures_util::future::join_all(posts.into_iter().map(stale));
    let meanwhile = async {
        // Without a conflict, one after the other, while every place is taken or about to be.
        for n in 0..10 {
            let other =
                format!("mutation {{ createPost(input: {{id: \"q{n}\", title: \"t\"}}) {{ _version }} }}");
            let created = post(&server, &other).await;
            assert_eq!(created["data"]["createPost"]["_version"], 1);
        }
        (0..places).for_each(|_| word.send(()).unwrap());
    };
    let (decided, ()) = tokio::join!(decided, meanwhile);
    for answer in decided {
        assert_eq!(answer["data"]["updatePost"]["_deleted"], true, "{answer}");
    }
    server.shutdown().await;
}
