//! What those need who host a server: TLS, origins, health, metrics.

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

const LOCALHOST: &[u8] = include_bytes!("../../../../fixtures/localhost.pem");
const CA: &[u8] = include_bytes!("../../../../fixtures/ca.pem");

fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect_tls(server: &ServerHandle) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(server.local_addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    connector().connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn calls_and_subscriptions_work_over_tls_and_plain_clients_do_no_harm() {
    let options = ServeOptions {
        tls: Some(TlsIdentity::from_pem(LOCALHOST, LOCALHOST).unwrap()),
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    assert!(server.endpoint().starts_with("https://127.0.0.1:"));
    let (head, _) = exchange(&server, &create_text("p0")).await;
    assert!(
        !head.starts_with("http/1.1 200"),
        "plain text is not answered: {head}"
    );
    let request = format!("wss://localhost:{}/graphql/realtime", server.local_addr.port());
    let mut request = request.into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, connect_tls(&server).await)
        .await
        .unwrap();
    let data = json!({"query": "subscription { onCreatePost { id } }"}).to_string();
    let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
    let start = json!({"id": "s", "type": "start", "payload": payload});
    socket.send(Frame::text(start.to_string())).await.unwrap();
    let acknowledged = socket.next().await.unwrap().unwrap();
    assert!(acknowledged.to_text().unwrap().contains("start_ack"));
    let mut calling = connect_tls(&server).await;
    calling.write_all(create_text("p1").as_bytes()).await.unwrap();
    let mut reply = String::new();
    calling.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let heard = socket.next().await.unwrap().unwrap();
    assert!(heard.to_text().unwrap().contains("p1"));
    let (goodbye, ()) = tokio::join!(socket.next(), server.shutdown());
    assert!(matches!(goodbye, Some(Ok(Frame::Close(_)))), "{goodbye:?}");
}

async fn preflight(server: &ServerHandle, path: &str, origin: &str) -> String {
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: x-api-key,content-type\r\nconnection: close\r\n\r\n"
    );
    exchange(server, &request).await.0
}

#[tokio::test]
async fn pages_of_the_origins_that_are_named_may_call_and_no_others() {
    let (_, open) = start().await;
    let head = preflight(&open, "/graphql", "https://any.example").await;
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(
        head.contains("access-control-allow-headers: x-api-key,content-type"),
        "{head}"
    );
    let head = preflight(&open, "/health", "https://any.example").await;
    assert!(!head.contains("access-control"), "{head}");
    open.shutdown().await;
    let options = ServeOptions {
        origins: Some(vec!["https://app.example".to_owned()]),
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let head = preflight(&server, "/graphql", "https://app.example").await;
    assert!(
        head.contains("access-control-allow-origin: https://app.example\r\n"),
        "{head}"
    );
    assert!(
        head.contains("vary: origin"),
        "caches must tell origins apart: {head}"
    );
    for other in ["https://app.example.evil", "null", "http://app.example"] {
        let head = preflight(&server, "/graphql", other).await;
        assert!(!head.contains("access-control-allow"), "{other}: {head}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn where_the_key_is_known_to_everybody_only_this_machine_is_served_and_others_are_told_why() {
    let options = ServeOptions {
        local_pages_only: true,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    for (host, origin, is_served) in [
        ("app.localhost:3000", "http://app.localhost:3000", true),
        ("localhost:3000", "http://127.0.0.2:3000", true),
        ("[::1]:3000", "http://[::1]:3000", true),
        ("127.0.0.1", "https://app.example", false),
        ("app.example", "http://localhost:3000", false),
    ] {
        let query = json!({"query": "{ listPosts { nextToken } }"}).to_string();
        let length = query.len();
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nx-api-key: {KEY}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{query}"
        );
        let (head, body) = exchange(&server, &request).await;
        let status = if is_served { "200" } else { "403" };
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{host} {origin}: {head}"
        );
        if !is_served {
            let (error_type, message) = refusal(&body);
            assert_eq!(error_type, "Forbidden", "{body}");
            assert!(message.contains("--cors-origin"), "{message}");
        }
    }
    server.shutdown().await;
}

async fn get_text(server: &ServerHandle, path: &str) -> (String, String) {
    exchange(
        server,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn health_is_answered_and_metrics_only_where_they_are_wanted() {
    let (_, server) = start().await;
    let (head, body) = get_text(&server, "/health").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, r#"{"status":"ok"}"#);
    assert!(get_text(&server, "/metrics").await.0.starts_with("http/1.1 404"));
    server.shutdown().await;
}

#[tokio::test]
async fn metrics_count_calls_rows_conflicts_and_subscribers_and_hold_no_text_of_callers() {
    let options = ServeOptions {
        metrics: true,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let mut socket = connect(&server).await;
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    post(
        &server,
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id _version } }",
    )
    .await;
    post(&server, "query Sneaky { a: getPost(id: \"p\") { title } }").await;
    post(
        &server,
        "query Sneaky { a: getPost(id: \"p\") { title } b: listPosts { nextToken } }",
    )
    .await;
    for _ in 0..2 {
        // The second is stale, and is merged.
        post(
            &server,
            "mutation { updatePost(input: {id: \"p\", rating: 1, _version: 1}) { id } }",
        )
        .await;
    }
    post(
        &server,
        "mutation { deletePost(input: {id: \"p\", _version: 1}) { id } }",
    )
    .await;
    post(&server, "{ nothing }").await;
    exchange(&server, &post_text("{ x }").replace(KEY, "da2-wrong-key")).await;
    let (head, page) = get_text(&server, "/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        r#"landfall_requests_total{kind="mutation",operation="createPost",outcome="ok"} 1"#,
        r#"landfall_requests_total{kind="mutation",operation="updatePost",outcome="ok"} 2"#,
        r#"landfall_requests_total{kind="mutation",operation="deletePost",outcome="errors"} 1"#,
        r#"landfall_requests_total{kind="query",operation="getPost",outcome="ok"} 1"#,
        r#"landfall_requests_total{kind="query",operation="several",outcome="ok"} 1"#,
        r#"landfall_requests_total{kind="none",operation="none",outcome="errors"} 1"#,
        r#"landfall_requests_total{kind="none",operation="none",outcome="unauthorized"} 1"#,
        r#"landfall_request_duration_seconds_count{kind="mutation"} 4"#,
        r#"landfall_realtime_connections 1"#,
        r#"landfall_realtime_subscriptions 1"#,
        r#"landfall_realtime_messages_total 1"#,
        r#"landfall_conflicts_total{resolution="merged"} 1"#,
        r#"landfall_conflicts_total{resolution="refused"} 1"#,
        r#"landfall_rows_written_total 3"#,
        r#"landfall_rows{table="base"} 1"#,
        r#"landfall_rows{table="delta"} 3"#,
    ] {
        assert!(page.lines().any(|own| own == line), "{line} is missing:\n{page}");
    }
    for text in [KEY, "wrong-key", "Sneaky", "nothing"] {
        assert!(!page.contains(text), "{text}:\n{page}");
    }
    server.shutdown().await;
}
