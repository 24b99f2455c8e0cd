//! What strangers send over WebSockets, and what those get that do not read.

use std::time::Duration;

use super::*;

const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * SECOND_MS;

/// A minute before the beginning of 2027, in milliseconds since 1970.
const START_MS: i64 = 1_798_761_540_000;

#[tokio::test]
async fn junk_in_messages_is_answered_and_junk_in_frames_ends_the_connection_with_its_code() {
    let (_, server) = start().await;
    let mut socket = connect(&server).await;
    for junk in [
        Frame::text("{"),
        Frame::text("[1]"),
        Frame::text("{\"type\":\"connect\"}"),
        Frame::binary(vec![0, 1, 2]),
    ] {
        socket.send(junk).await.unwrap();
        let answer = next_json(&mut socket).await;
        assert_eq!(
            answer["payload"]["errors"][0]["errorType"],
            "UnsupportedOperation"
        );
    }
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    let long = "x".repeat(240 * 1024 + 1);
    let longer = "x".repeat(1024 * 1024);
    for text in [long, longer] {
        let mut socket = connect(&server).await;
        // The server may close before all is written.
        let _ = socket.send(Frame::text(text)).await;
        assert_eq!(close_code(&mut socket).await, Some(1009));
    }
    // Written past the client library: a mask of zeros, then what no text is.
    for (frame, code) in [
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], 1007),
        (&[0x81, 0x01, b'x'], 1002),
        (&[0xf1, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let mut socket = connect(&server).await;
        socket.get_mut().write_all(frame).await.unwrap();
        assert_eq!(close_code(&mut socket).await, Some(code), "{frame:?}");
    }
    // The first connection heard nothing of all that.
    exchange(&server, &create_text("p")).await;
    assert_eq!(next_json(&mut socket).await["type"], "data");
    server.shutdown().await;
}

#[tokio::test]
async fn connections_without_credentials_are_told_so_and_closed() {
    let (backend, server) = start().await;
    let request = format!("ws://{}/graphql/realtime", server.local_addr)
        .into_client_request()
        .unwrap();
    let stream = TcpStream::connect(server.local_addr).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let told = next_json(&mut socket).await;
    let error = &told["payload"]["errors"][0];
    assert_eq!(
        (&told["type"], &error["errorCode"]),
        (&json!("connection_error"), &json!(401))
    );
    assert_eq!(close_code(&mut socket).await, Some(1008));
    assert_eq!(backend.realtime_population(), (0, 0));
    server.shutdown().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_closed() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let (_, server) = start_with(limits, ServeOptions::default()).await;
    let mut first = connect(&server).await;
    subscribe(&mut first, "s", "subscription { onCreatePost { id } }").await;
    let mut second = connect(&server).await;
    let told = next_json(&mut second).await;
    assert_eq!(told["payload"]["errors"][0]["errorType"], "LimitExceededError");
    assert_eq!(close_code(&mut second).await, Some(1013));
    server.shutdown().await;
}

#[tokio::test]
async fn whoever_starts_before_the_init_is_told_and_closed_where_that_is_refused() {
    let mut config = BackendConfig::with_api_key(KEY);
    config.switches.set("start-before-init=refused").unwrap();
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
    let start = |id: &str| {
        let data = json!({"query": "subscription { onCreatePost { id } }"}).to_string();
        let authorization = json!({"host": "localhost", "x-api-key": KEY});
        json!({"id": id, "type": "start", "payload": {"data": data, "extensions": {"authorization": authorization}}})
    };
    let mut hasty = connect(&server).await;
    send(&mut hasty, start("1")).await;
    let told = next_json(&mut hasty).await;
    assert_eq!(
        told["payload"]["errors"][0]["errorType"], "BadRequestException",
        "{told}"
    );
    assert_eq!(close_code(&mut hasty).await, Some(1008));
    let mut patient = connect(&server).await;
    send(&mut patient, json!({"type": "connection_init"})).await;
    assert_eq!(next_json(&mut patient).await["type"], "connection_ack");
    assert_eq!(next_json(&mut patient).await["type"], "ka");
    send(&mut patient, start("1")).await;
    assert_eq!(
        next_json(&mut patient).await,
        json!({"id": "1", "type": "start_ack"})
    );
    server.shutdown().await;
}

#[tokio::test]
async fn the_clock_brings_keep_alives_and_the_ends_of_mute_and_of_old_connections() {
    let (_, server) = start().await;
    server.set_clock(START_MS);
    let (mut mute, mut talking) = (connect(&server).await, connect(&server).await);
    send(&mut talking, json!({"type": "connection_init"})).await;
    assert_eq!(next_json(&mut talking).await["type"], "connection_ack");
    assert_eq!(next_json(&mut talking).await["type"], "ka");
    server.set_clock(START_MS + 40 * SECOND_MS);
    assert_eq!(close_code(&mut mute).await, Some(1008));
    server.set_clock(START_MS + 90 * SECOND_MS);
    assert_eq!(next_json(&mut talking).await, json!({"type": "ka"}));
    server.set_clock(START_MS + DAY_MS + SECOND_MS);
    assert_eq!(close_code(&mut talking).await, Some(1001));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_is_cut_and_the_others_hear_everything() {
    let limits = Limits {
        outgoing_bytes_max: 1024 * 1024,
        ..Limits::default()
    };
    let options = ServeOptions {
        stall_time: Duration::from_millis(300),
        ..ServeOptions::default()
    };
    let (backend, server) = start_with(limits, options).await;
    let query = "subscription { onCreatePost { id title } }";
    let (mut deaf, mut keen) = (connect(&server).await, connect(&server).await);
    subscribe(&mut deaf, "s", query).await;
    subscribe(&mut keen, "s", query).await;
    let title = "x".repeat(200 * 1024);
    let mut sent = 0;
    while backend.realtime_population().0 == 2 {
        let mutation = format!(
            "mutation {{ createPost(input: {{id: \"p{sent}\", title: \"{title}\"}}) {{ id title }} }}"
        );
        post(&server, &mutation).await;
        let heard = next_json(&mut keen).await;
        assert_eq!(heard["payload"]["data"]["onCreatePost"]["id"], format!("p{sent}"));
        sent += 1;
        assert!(
            sent < 500,
            "a hundred megabytes are kept for a client that does not read"
        );
    }
    assert_eq!(backend.realtime_population(), (1, 1));
    // It has what was on its way and then nothing more.
    let mut heard = 0;
    while let Some(Ok(Frame::Text(_))) = deaf.next().await {
        heard += 1;
    }
    assert!(heard < sent, "{heard} of {sent}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_cut_breaks_sockets_off_without_a_close_message() {
    let (backend, server) = start().await;
    let mut socket = connect(&server).await;
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    backend.cut_connections();
    assert_eq!(close_code(&mut socket).await, None);
    let mut again = connect(&server).await;
    subscribe(&mut again, "s", "subscription { onCreatePost { id } }").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered() {
    let (backend, server) = start().await;
    let mut socket = connect(&server).await;
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    socket.close(None).await.unwrap();
    while let Some(frame) = socket.next().await {
        frame.unwrap();
    }
    assert_eq!(backend.realtime_population(), (0, 0));
    server.shutdown().await;
}
