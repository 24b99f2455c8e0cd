use std::io::{Read as _, Write as _};
use std::time::Duration;

use landfall_wire::{Delivery, OperationName};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::{CA_PEM, KEY, endpoint, read_request, serve, serve_tls, transport, write};
use crate::{Authorization, Timeouts};

fn request() -> HttpRequest {
    HttpRequest {
        body: r#"{"query":"{ a }"}"#.into(),
        operation: OperationName::new("GetThing"),
    }
}

/// Serves one reply of those bytes; returns what the client made of it and what the server was asked.
async fn exchange(reply: &str) -> (Result<HttpResponse, TransportError>, String) {
    let reply = reply.to_owned();
    let (url, server) = serve(move |mut stream| async move {
        let request = read_request(&mut stream).await;
        write(&mut stream, reply.as_bytes()).await;
        request
    })
    .await;
    let result = transport(&url).execute(request()).await;
    (result, server.await.expect("the server ends"))
}

#[tokio::test]
async fn a_request_carries_the_body_the_key_and_nothing_else_that_matters() {
    let (reply, asked) = exchange("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let reply = reply.expect("a reply");
    assert_eq!(
        (reply.status, reply.retry_after_ms, reply.body.as_slice()),
        (200, None, b"{}".as_slice())
    );
    let (head, body) = asked.split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /graphql HTTP/1.1"), "{head}");
    for line in [
        "x-api-key: da2-secret",
        "content-type: application/json; charset=UTF-8",
        "accept: application/json",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert_eq!(body, r#"{"query":"{ a }"}"#);
}

#[tokio::test]
async fn any_reply_is_passed_on_as_it_is() {
    let page = "<html><title>Wi-Fi login</title></html>";
    let (reply, _) = exchange(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    ))
    .await;
    assert_eq!(reply, Ok(HttpResponse::new(200, page)));
    let (reply, _) = exchange("HTTP/1.1 429 Slow Down\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(
        reply,
        Ok(HttpResponse {
            retry_after_ms: Some(3_000),
            ..HttpResponse::new(429, "")
        })
    );
    let (reply, _) =
        exchange("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(
        reply.map(|reply| reply.status),
        Ok(302),
        "a redirect is not followed"
    );
    let (reply, _) = exchange("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(reply.map(|reply| reply.status), Ok(401));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/graphql", listener.local_addr().expect("an address"));
    drop(listener);
    let error = transport(&url)
        .execute(request())
        .await
        .expect_err("nobody there");
    assert!(
        matches!(&error, TransportError::Unreachable { reason } if reason.contains("refused")),
        "{error}"
    );
    assert_eq!(error.outcome(), Delivery::NotDelivered);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    let error = transport("http://does-not-exist.invalid/")
        .execute(request())
        .await
        .expect_err("no such name");
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_reply_that_breaks_off_leaves_the_outcome_unknown() {
    for reply in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\"",
    ] {
        let (result, _) = exchange(reply).await;
        let error = result.expect_err(reply);
        assert!(
            matches!(error, TransportError::Interrupted { .. }),
            "{reply:?}: {error}"
        );
        assert_eq!(error.outcome(), Delivery::Unknown);
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_reply_leaves_the_outcome_unknown() {
    let (url, server) = serve(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
        stream.set_zero_linger().expect("linger can be set");
    })
    .await;
    let error = transport(&url).execute(request()).await.expect_err("reset");
    assert!(matches!(error, TransportError::Interrupted { .. }), "{error}");
    server.await.expect("the server ends");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let (url, server) = serve(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        // Holds the connection until the client lets go of it.
        read_request(&mut stream).await
    })
    .await;
    let timeouts = Timeouts {
        request: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let transport = HttpTransport::new(endpoint(&url).with_timeouts(timeouts)).expect("a transport");
    let error = transport.execute(request()).await.expect_err("no answer");
    assert!(
        matches!(&error, TransportError::Interrupted { reason } if reason.contains("timed out")),
        "{error}"
    );
    drop(transport);
    assert_eq!(server.await.expect("the server ends"), "");
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_refused_before_or_while_it_comes() {
    /// Chunks of a mebibyte; far more than the bound and all buffers on the way can take.
    const CHUNKS: usize = 500;
    let announced = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        REPLY_BYTES_MAX + 1
    );
    let (result, _) = exchange(&announced).await;
    let error = result.expect_err("too large");
    assert!(
        matches!(&error, TransportError::Interrupted { reason } if reason.contains("smaller pages")),
        "{error}"
    );
    let (url, server) = serve(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        write(
            &mut stream,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
        let mut sent = 0;
        while sent < CHUNKS && write(&mut stream, chunk.as_bytes()).await {
            sent += 1;
        }
        sent
    })
    .await;
    let error = transport(&url).execute(request()).await.expect_err("too large");
    assert!(
        matches!(&error, TransportError::Interrupted { reason } if reason.contains("smaller pages")),
        "{error}"
    );
    assert!(
        server.await.expect("the server ends") < CHUNKS,
        "the client hangs up"
    );
}

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let (url, server) = serve(|mut stream: TcpStream| async move {
        for _ in 0..3 {
            read_request(&mut stream).await;
            write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let transport = transport(&url);
    for _ in 0..3 {
        assert_eq!(
            transport
                .clone()
                .execute(request())
                .await
                .map(|reply| reply.status),
            Ok(200)
        );
    }
    server
        .await
        .expect("the server saw all three on its one connection");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let endpoint = Endpoint::new("http://127.0.0.1:1/", Authorization::fixed_token("a\nb")).expect("good");
    let error = HttpTransport::new(endpoint)
        .expect("a transport")
        .execute(request())
        .await
        .expect_err("no token");
    assert!(matches!(error, TransportError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn start_frames_get_the_host_and_the_key() {
    let transport = transport("http://localhost:8080/graphql");
    let credentials = transport.authorize("{}").await.expect("credentials");
    assert_eq!(
        serde_json::Value::Object(credentials.members().clone()),
        serde_json::json!({"host": "localhost:8080", "x-api-key": KEY})
    );
    assert_eq!(transport.endpoint(), "http://localhost:8080/graphql");
    assert!(!format!("{transport:?} {credentials:?}").contains(KEY));
}

#[tokio::test]
async fn tls_trusts_added_authorities_and_no_strangers() {
    let (url, server) = serve_tls(2, |mut tls| {
        let mut request = [0; 8_192];
        // The client that does not trust us hangs up here.
        if tls.read(&mut request).is_ok() {
            tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .expect("a reply");
        }
    });
    let error = transport(&url)
        .execute(request())
        .await
        .expect_err("a stranger's certificate");
    assert!(
        matches!(&error, TransportError::Unreachable { reason } if reason.contains("certificate")),
        "{error}"
    );
    let trusting = endpoint(&url).with_trusted_pem(CA_PEM).expect("PEM");
    let reply = HttpTransport::new(trusting)
        .expect("a transport")
        .execute(request())
        .await;
    assert_eq!(reply.map(|reply| reply.status), Ok(204));
    server.join().expect("the server ends");
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_unreachable() {
    let (url, server) = serve(|mut stream: TcpStream| async move { read_request(&mut stream).await }).await;
    let timeouts = Timeouts {
        connect: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let endpoint = endpoint(&url.replace("http:", "https:")).with_timeouts(timeouts);
    let endpoint = endpoint.with_trusted_pem(CA_PEM).expect("PEM");
    let error = HttpTransport::new(endpoint)
        .expect("a transport")
        .execute(request())
        .await
        .expect_err("hangs");
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    server.await.expect("the server ends");
}
