use landfall_wire::{Transport as _, credentials_of_subprotocols};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response as ServerResponse};

use super::*;
use crate::HttpTransport;
use crate::testing::{CA_PEM, KEY, endpoint, read_request, serve, serve_tls, transport, write};

type Server = WebSocketStream<TcpStream>;
type Halves = (Box<dyn SocketSink>, Box<dyn SocketStream>);

/// Agrees to the upgrade; returns the socket, the path and the offered sub-protocols.
async fn accept(stream: TcpStream) -> (Server, String, String) {
    let mut path = String::new();
    let mut offered = String::new();
    #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
    let look = |request: &Request, response: ServerResponse| {
        path = request.uri().path().to_owned();
        let protocols = request
            .headers()
            .get(SEC_WEBSOCKET_PROTOCOL)
            .expect("sub-protocols");
        offered = protocols.to_str().expect("text").to_owned();
        agree(request, response)
    };
    let socket = accept_hdr_async(stream, look).await.expect("a handshake");
    (socket, path, offered)
}

async fn connect(url: &str) -> Halves {
    transport(url).connect().await.expect("a socket").split()
}

async fn refusal(url: &str) -> TransportError {
    match transport(url).connect().await {
        Ok(_) => panic!("the handshake should fail"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_handshake_carries_credentials_in_a_sub_protocol() {
    let (url, server) = serve(|stream| async move { accept(stream).await }).await;
    let _halves = connect(&url).await;
    let (_, path, offered) = server.await.expect("the server ends");
    assert_eq!(path, "/graphql/realtime");
    assert!(offered.starts_with("graphql-ws, header-"), "{offered}");
    let credentials = credentials_of_subprotocols(&offered).expect("credentials");
    let host = url.trim_start_matches("http://").trim_end_matches("/graphql");
    assert_eq!(
        serde_json::Value::Object(credentials.into_members()),
        json!({"host": host, "x-api-key": KEY})
    );
}

#[tokio::test]
async fn frames_go_both_ways_and_pings_are_answered() {
    let (url, server) = serve(|stream| async move {
        let (mut socket, ..) = accept(stream).await;
        let first = socket.next().await;
        socket
            .send(Message::Ping(b"are you there"[..].into()))
            .await
            .expect("sent");
        socket.send(Message::text("two")).await.expect("sent");
        let pong = socket.next().await;
        socket.close(None).await.expect("closed");
        while socket.next().await.is_some() {}
        (first, pong)
    })
    .await;
    let (mut sink, mut stream) = connect(&url).await;
    sink.send("one".into()).await.expect("sent");
    assert_eq!(stream.next().await, Some(Ok("two".into())));
    assert_eq!(stream.next().await, None, "the server closed in an orderly way");
    assert_eq!(stream.next().await, None);
    drop((sink, stream));
    let (first, pong) = server.await.expect("the server ends");
    assert_eq!(first.and_then(Result::ok), Some(Message::text("one")));
    assert_eq!(
        pong.and_then(Result::ok),
        Some(Message::Pong(b"are you there"[..].into()))
    );
}

#[tokio::test]
async fn closing_tells_the_server_so() {
    let (url, server) = serve(|stream| async move {
        let (mut socket, ..) = accept(stream).await;
        socket.next().await
    })
    .await;
    let (mut sink, _stream) = connect(&url).await;
    sink.close().await;
    let close = server.await.expect("the server ends").and_then(Result::ok);
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    assert_eq!(close, Some(Message::Close(Some(frame))));
    assert!(sink.send("late".into()).await.is_err());
}

#[tokio::test]
async fn an_end_that_is_not_orderly_is_an_error_once() {
    let (url, _server) = serve(|stream| async move {
        let (mut socket, ..) = accept(stream).await;
        let frame = CloseFrame {
            code: CloseCode::Away,
            reason: "going away".into(),
        };
        socket.close(Some(frame)).await.expect("closed");
    })
    .await;
    let (_sink, mut stream) = connect(&url).await;
    let error = stream.next().await.expect("an end").expect_err("not orderly");
    assert_eq!(
        error,
        TransportError::Interrupted {
            reason: "the server closed the socket with code 1001: going away".into()
        }
    );
    assert_eq!(stream.next().await, None);
    let (url, _server) = serve(|stream| async move { drop(accept(stream).await) }).await;
    let (_sink, mut stream) = connect(&url).await;
    assert!(
        matches!(stream.next().await, Some(Err(TransportError::Interrupted { .. }))),
        "a vanished server"
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_socket() {
    for message in [
        Message::text("x".repeat(FRAME_BYTES_MAX + 1)),
        Message::binary(b"x".to_vec()),
    ] {
        let (url, server) = serve(|stream| async move {
            let (mut socket, ..) = accept(stream).await;
            // The client may hang up before all of it is through.
            socket.send(message).await.unwrap_or_default();
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        let (sink, mut stream) = connect(&url).await;
        assert!(matches!(
            stream.next().await,
            Some(Err(TransportError::Interrupted { .. }))
        ));
        assert_eq!(stream.next().await, None);
        drop((sink, stream));
        server.await.expect("the server ends");
    }
    let (url, _server) = serve(|stream| async move {
        let (mut socket, ..) = accept(stream).await;
        socket
            .send(Message::text("x".repeat(FRAME_BYTES_MAX)))
            .await
            .expect("sent");
    })
    .await;
    let (_sink, mut stream) = connect(&url).await;
    assert_eq!(
        stream.next().await.map(|text| text.map(|text| text.len())),
        Some(Ok(FRAME_BYTES_MAX))
    );
}

/// What a client makes of a handshake that is answered with those bytes; `{accept}` becomes the right key.
async fn answered(reply: &str) -> TransportError {
    let reply = reply.to_owned();
    let (url, server) = serve(move |mut stream| async move {
        let request = read_request(&mut stream).await;
        let key = request
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("sec-websocket-key:")
                    .then(|| line[18..].trim())
            })
            .unwrap_or_default();
        let reply = reply.replace("{accept}", &derive_accept_key(key.as_bytes()));
        write(&mut stream, reply.as_bytes()).await;
        read_request(&mut stream).await;
    })
    .await;
    let error = refusal(&url).await;
    server.await.expect("the server ends");
    error
}

#[tokio::test]
async fn a_handshake_without_agreement_is_refused() {
    let unauthorized = answered("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    assert!(
        matches!(unauthorized, TransportError::Unauthorized { .. }),
        "{unauthorized}"
    );
    for status in ["404 Not Found", "200 OK", "302 Found"] {
        let error = answered(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        let fits = matches!(&error, TransportError::Misconfigured { reason } if reason.contains("check its address"));
        assert!(fits, "{status}: {error}");
    }
    let page = "<html><title>Welcome to the hotel</title></html>";
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let error = answered(&reply).await;
    let fits = matches!(&error, TransportError::Misconfigured { reason } if reason.contains("titled `Welcome to the hotel`"));
    assert!(fits, "{error}");
    let cases = [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "status 503",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 31\r\n\r\n<html><title>Down</title></html",
            "titled `Down`",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
            "status 429",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: wrong\r\nsec-websocket-protocol: graphql-ws\r\n\r\n",
            "does not speak WebSocket",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n",
            "does not speak `graphql-ws`",
        ),
    ];
    for (reply, message) in cases {
        let error = answered(reply).await;
        let fits = matches!(&error, TransportError::Unreachable { reason } if reason.contains(message));
        assert!(fits, "{reply:?}: {error}");
        assert!(!error.to_string().contains(KEY));
    }
}

#[tokio::test]
async fn a_server_that_never_agrees_is_given_up_on() {
    let (url, server) = serve(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        read_request(&mut stream).await
    })
    .await;
    let short = Duration::from_millis(50);
    let timeouts = crate::Timeouts {
        connect: short,
        handshake: short,
        ..crate::Timeouts::default()
    };
    let transport = HttpTransport::new(endpoint(&url).with_timeouts(timeouts)).expect("a transport");
    let error = transport.connect().await.err().expect("no agreement");
    assert!(
        matches!(&error, TransportError::Unreachable { reason } if reason.contains("50 ms")),
        "{error}"
    );
    server.await.expect("the client lets go of the connection");
}

/// Agrees to an upgrade; `Ok` if the client still wants it.
#[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
fn agree(_: &Request, mut response: ServerResponse) -> Result<ServerResponse, ErrorResponse> {
    response.headers_mut().insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(REALTIME_PROTOCOL),
    );
    Ok(response)
}

#[tokio::test]
async fn a_socket_over_tls_trusts_whom_requests_trust() {
    let (url, server) = serve_tls(2, |tls| {
        // The client that does not trust us hangs up before the upgrade.
        if let Ok(mut socket) = tokio_tungstenite::tungstenite::accept_hdr(tls, agree) {
            let text = socket.read().expect("a frame");
            socket.send(text).expect("sent back");
        }
    });
    let error = refusal(&url).await;
    assert!(
        matches!(&error, TransportError::Unreachable { reason } if reason.contains("certificate")),
        "{error}"
    );
    let trusting = endpoint(&url).with_trusted_pem(CA_PEM).expect("PEM");
    let socket = HttpTransport::new(trusting)
        .expect("a transport")
        .connect()
        .await
        .expect("a socket");
    let (mut sink, mut stream) = socket.split();
    sink.send("over TLS".into()).await.expect("sent");
    assert_eq!(stream.next().await, Some(Ok("over TLS".into())));
    server.join().expect("the server ends");
}
