//! What strangers send over HTTP: too long, too slow, too much, or nonsense.

use std::time::Duration;

use super::*;
use crate::auth::{ApiKey, IamCredential, IamRole};

/// Short enough to be waited for, long enough for an honest client on a busy machine.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn bodies_that_are_too_long_are_refused_however_they_are_sent() {
    let (_, server) = start().await;
    let body = "x".repeat(3 * 1024 * 1024);
    let chunked = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let announced = format!("{}{body}", post_head(body.len()));
    // Whoever asks first is told before it sends anything.
    let asking = post_head(1024 * 1024 * 1024).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    for request in [chunked, announced, asking] {
        let (head, body) = exchange(&server, &request).await;
        assert!(head.starts_with("http/1.1 413"), "{head}");
        assert!(head.contains("x-amzn-errortype: requestentitytoolarge"), "{head}");
        assert_eq!(refusal(&body).1, "Request body is too large.");
    }
    assert_eq!(
        post(&server, "{ listPosts { items { id } } }").await["errors"],
        json!(null)
    );
    server.shutdown().await;
}

/// The head is what a key, a token or a refusal is judged by, and what it said is not asked again.
#[tokio::test]
async fn a_caller_is_judged_once() {
    const NOW_MS: i64 = 1_700_000_000_000;
    let config = BackendConfig {
        api_keys: vec![ApiKey::new(KEY).expiring_at(NOW_MS + 5_000)],
        ..BackendConfig::default()
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
    server.set_clock(NOW_MS);
    let body = json!({"query": "{ listPosts { nextToken } }"}).to_string();
    let head = post_head(body.len()).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = TcpStream::connect(server.local_addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 12];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(
        &told, b"HTTP/1.1 100",
        "the head was judged, and the body is wanted"
    );
    // The key is over while the body is on its way.
    server.set_clock(NOW_MS + 10_000);
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("HTTP/1.1 200"), "{reply}");
    let (head, _) = exchange(&server, &post_text("{ listPosts { nextToken } }")).await;
    assert!(head.starts_with("http/1.1 401"), "{head}");
    server.shutdown().await;
}

#[tokio::test]
async fn nonsense_is_answered_in_the_form_of_appsync_and_the_server_goes_on() {
    let (_, server) = start().await;
    for (body, message) in [
        ("", "Request body is empty."),
        ("{", "Unable to parse GraphQL query."),
        ("[]", "Unable to parse GraphQL query."),
        ("\u{0}\u{1}", "Unable to parse GraphQL query."),
        ("{\"query\": \"{\"}", "Unable to parse GraphQL query."),
    ] {
        let (head, body) = exchange(&server, &format!("{}{body}", post_head(body.len()))).await;
        assert!(head.starts_with("http/1.1 400"), "{head}");
        assert_eq!(refusal(&body).1, message);
    }
    for (request, status, part) in [
        ("DELETE /graphql HTTP/1.1\r\nhost: x", "405", "POST"),
        ("GET /nowhere HTTP/1.1\r\nhost: x", "404", "/graphql"),
        ("GET /graphql/realtime HTTP/1.1\r\nhost: x", "400", "WebSocket"),
    ] {
        let (head, body) = exchange(&server, &format!("{request}\r\nconnection: close\r\n\r\n")).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}: {head}"
        );
        assert!(head.contains("x-amzn-requestid: "), "{head}");
        assert!(refusal(&body).1.contains(part), "{body}");
    }
    // What is no HTTP at all is the library's to answer.
    for junk in [
        "\u{16}\u{3}\u{1} hello",
        "GET / HTTP/9.9\r\n\r\n",
        "\r\n\r\n\r\nx\r\n\r\n",
    ] {
        let (head, _) = exchange(&server, junk).await;
        assert!(head.is_empty() || head.starts_with("http/1.1 400"), "{head}");
    }
    let long = format!("GET /graphql HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1024 * 1024));
    let (head, _) = exchange(&server, &long).await;
    assert!(head.is_empty() || head.starts_with("http/1.1 431"), "{head}");
    assert_eq!(
        post(&server, "{ listPosts { items { id } } }").await["errors"],
        json!(null)
    );
    server.shutdown().await;
}

#[tokio::test]
async fn clients_that_are_slow_to_send_are_not_waited_for() {
    let options = ServeOptions {
        head_time: SHORT,
        request_time: SHORT,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    // Half a head: closed. Half a body: told so.
    let (head, _) = exchange(&server, "POST /graphql HTTP/1.1\r\nhost: x\r\n").await;
    assert!(head.is_empty() || head.starts_with("http/1.1 408"), "{head}");
    let (head, body) = exchange(&server, &format!("{}{{\"qu", post_head(100))).await;
    assert!(head.starts_with("http/1.1 408"), "{head}");
    assert_eq!(refusal(&body).0, "RequestTimeoutException");
    // A body that breaks off has nobody to tell; the server goes on.
    let mut stream = TcpStream::connect(server.local_addr).await.unwrap();
    stream.write_all(post_head(100).as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(
        post(&server, "{ listPosts { items { id } } }").await["errors"],
        json!(null)
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_too_long_is_told_so_and_one_that_was_not_begun_never_runs() {
    let options = ServeOptions {
        request_time: SHORT,
        ..ServeOptions::default()
    };
    let (backend, server) = start_with(Limits::default(), options).await;
    {
        let _held = backend.hold_writer();
        let (first, second) = (create_text("p1"), create_text("p2"));
        let first = exchange(&server, &first);
        let second = async {
            // The writer has the first by the time it is answered, and waits itself; what comes now waits behind it.
            let (_, body) = first.await;
            let waiting = exchange(&server, &second).await.1;
            [body, waiting]
        };
        for body in second.await {
            let body: Json = serde_json::from_str(&body).unwrap();
            let error = json!({"path": null, "locations": null, "message": "Execution timed out."});
            assert_eq!(body, json!({"data": null, "errors": [error]}));
        }
    }
    post(
        &server,
        "mutation { createPost(input: {id: \"p3\", title: \"t\"}) { id } }",
    )
    .await;
    let stored = backend.records("Post").unwrap();
    let ids: Vec<String> = stored.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["p3"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_call_times_out_by_the_clock_that_is_set() {
    let (backend, server) = start().await;
    {
        let _held = backend.hold_writer();
        let late = create_text("late");
        let mut late = std::pin::pin!(exchange(&server, &late));
        // Set until the call has begun; by the machine's own clock it would have half a minute.
        let mut now_ms = 1_700_000_000_000;
        let (_, body) = loop {
            tokio::select! {
                biased;
                reply = &mut late => break reply,
                () = tokio::task::yield_now() => {}
            }
            now_ms += 31_000;
            server.set_clock(now_ms);
        };
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["errors"][0]["message"], "Execution timed out.", "{body}");
    }
    // A clock that moves by less breaks nothing off.
    let (_, body) = exchange(&server, &create_text("next")).await;
    assert!(body.contains("\"next\""), "{body}");
    server.shutdown().await;
}

/// Lets everybody in, once so many have come.
struct Turnstile {
    inside: std::sync::Mutex<usize>,
    open: std::sync::Condvar,
    /// Told of each caller that is in.
    seen: tokio::sync::mpsc::UnboundedSender<usize>,
}

impl crate::auth::Authorizer for Turnstile {
    fn authorize(
        &self,
        _: &crate::auth::AuthorizerRequest,
    ) -> Result<crate::auth::AuthorizerAnswer, crate::auth::AuthorizerFault> {
        let mut inside = self.inside.lock().unwrap();
        *inside += 1;
        self.seen.send(*inside).unwrap();
        // Ended by the test, which makes room for more than ever come.
        let _inside = self.open.wait_while(inside, |inside| *inside < OPENED).unwrap();
        Ok(crate::auth::AuthorizerAnswer {
            is_authorized: true,
            ..crate::auth::AuthorizerAnswer::default()
        })
    }
}

/// More than the callers of the test below.
const OPENED: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorizer_judges_so_many_at_once_and_the_others_wait() {
    const CALLERS: usize = 70;
    let (seen, mut inside) = tokio::sync::mpsc::unbounded_channel();
    let turnstile = Arc::new(Turnstile {
        inside: std::sync::Mutex::default(),
        open: std::sync::Condvar::default(),
        seen,
    });
    let mut config = BackendConfig::with_api_key(KEY);
    config.auth.default_mode = crate::auth::AuthMode::Lambda;
    config.auth.authorizer = Some(crate::auth::AuthorizerSettings {
        authorizer: turnstile.clone(),
        ttl_s: 0,
        token_pattern: None,
    });
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
    let body = json!({"query": "{ listPosts { nextToken } }"}).to_string();
    let call = |n: usize| {
        format!(
            "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: caller-{n}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let calls: Vec<String> = (0..CALLERS).map(call).collect();
    let calls = futures_util::future::join_all(calls.iter().map(|call| exchange(&server, call)));
    let doorman = async {
        for expected in 1..=shell::JUDGED_AT_ONCE_MAX {
            assert_eq!(inside.recv().await, Some(expected));
        }
        // All places are taken, and nobody leaves: whoever else came by the time of these calls is not in.
        for _ in 0..20 {
            let health = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            assert!(exchange(&server, health).await.0.starts_with("http/1.1 200"));
        }
        assert!(inside.try_recv().is_err());
        // Whoever needs no authorizer waits for none of them.
        let known = post(&server, "{ listPosts { nextToken } }").await;
        assert!(known["errors"].is_array() || known["data"].is_object(), "{known}");
        let mut socket = connect(&server).await;
        send(&mut socket, json!({"type": "connection_init"})).await;
        assert_eq!(next_json(&mut socket).await["type"], "connection_ack");
        drop(socket);
        *turnstile.inside.lock().unwrap() = OPENED;
        turnstile.open.notify_all();
    };
    let (answers, ()) = tokio::join!(calls, doorman);
    for (head, body) in answers {
        assert!(head.starts_with("http/1.1 200"), "{head} {body}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn bodies_take_no_more_room_than_there_is() {
    let options = ServeOptions {
        bodies_bytes_max: 500,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let padded = post_text(&format!("{{ listPosts {{ nextToken }} }} #{}", "x".repeat(500)));
    let (head, body) = exchange(&server, &padded).await;
    assert!(head.starts_with("http/1.1 429"), "{head}");
    assert_eq!(
        refusal(&body),
        ("ThrottlingException".to_owned(), "Rate exceeded".to_owned())
    );
    assert_eq!(
        post(&server, "{ listPosts { nextToken } }").await["errors"],
        json!(null)
    );
    server.shutdown().await;
}

/// Asks until the server has a place again.
async fn until_served(server: &ServerHandle) {
    loop {
        let (head, _) = exchange(server, &post_text("{ listPosts { nextToken } }")).await;
        if head.starts_with("http/1.1 200") {
            return;
        }
        assert!(head.is_empty() || head.starts_with("http/1.1 503"), "{head}");
    }
}

#[tokio::test]
async fn a_socket_too_many_is_told_so_until_another_leaves() {
    let options = ServeOptions {
        sockets_max: 1,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let mut first = TcpStream::connect(server.local_addr).await.unwrap();
    let staying = post_text("{ listPosts { nextToken } }").replace("connection: close\r\n", "");
    first.write_all(staying.as_bytes()).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    let (head, body) = exchange(&server, &post_text("{ listPosts { nextToken } }")).await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(refusal(&body).0, "ServiceUnavailableException");
    drop(first);
    until_served(&server).await;
    // A realtime connection takes a place as well, for as long as it lasts.
    let mut socket = connect(&server).await;
    let (head, _) = exchange(&server, &post_text("{ listPosts { nextToken } }")).await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    socket.close(None).await.unwrap();
    drop(socket);
    until_served(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_replies_loses_its_socket() {
    let options = ServeOptions {
        sockets_max: 1,
        stall_time: SHORT,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let long = "x".repeat(300 * 1024);
    post(
        &server,
        &format!("mutation {{ createPost(input: {{id: \"p\", title: \"{long}\"}}) {{ id }} }}"),
    )
    .await;
    until_served(&server).await;
    let fields: String = (0..50).map(|n| format!("t{n}: title ")).collect();
    let request = post_text(&format!("{{ getPost(id: \"p\") {{ {fields} }} }}"));
    let mut stream = TcpStream::connect(server.local_addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // Its place is free once the server gave up on it.
    until_served(&server).await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    assert!(reply.len() < 50 * long.len(), "the reply was broken off");
    server.shutdown().await;
}

#[tokio::test]
async fn strangers_take_no_room_that_callers_need() {
    let options = ServeOptions {
        strangers_bytes_max: 500,
        ..ServeOptions::default()
    };
    let mut config = BackendConfig::with_api_key(KEY);
    config.auth.iam.credentials = vec![IamCredential::new("A", "secret", IamRole::Service)];
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve_with(([127, 0, 0, 1], 0).into(), backend, options)
        .await
        .unwrap();
    let padded = post_text(&format!("{{ listPosts {{ nextToken }} }} #{}", "x".repeat(500)));
    let (head, _) = exchange(&server, &padded).await;
    assert!(
        head.starts_with("http/1.1 200"),
        "a key is judged by the head: {head}"
    );
    // A wrong key is refused without room for its body, a signature can be judged only with the body.
    let wrong = padded.replace(KEY, "da2-wrong");
    let (head, _) = exchange(&server, &wrong).await;
    assert!(head.starts_with("http/1.1 401"), "{head}");
    let signed = |by: &str| {
        let signature = format!(
            "authorization: AWS4-HMAC-SHA256 Credential={by}/20231114/r/appsync/aws4_request, SignedHeaders=host, Signature=0"
        );
        padded.replace(&format!("x-api-key: {KEY}"), &signature)
    };
    let (head, _) = exchange(&server, &signed("A")).await;
    assert!(head.starts_with("http/1.1 429"), "{head}");
    // One that is known to nobody is refused like a wrong key.
    let (head, _) = exchange(&server, &signed("B")).await;
    assert!(
        head.starts_with("http/1.1 403") || head.starts_with("http/1.1 401"),
        "{head}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn long_replies_that_nobody_reads_take_no_more_room_than_there_is() {
    let options = ServeOptions {
        replies_bytes_max: 20_000,
        ..ServeOptions::default()
    };
    let (backend, server) = start_with(Limits::default(), options).await;
    let create = |id: &str| {
        let title = "x".repeat(30_000);
        format!("mutation {{ createPost(input: {{id: \"{id}\", title: \"{title}\"}}) {{ id title }} }}")
    };
    let (head, body) = exchange(&server, &post_text(&create("p"))).await;
    assert!(head.starts_with("http/1.1 200"), "it took effect: {head}");
    let (error_type, message) = refusal(&body);
    assert_eq!(error_type, "ResponseSizeExceeded");
    assert!(message.starts_with("The mutation was run"), "{message}");
    assert_eq!(backend.changes("Post").unwrap().len(), 1);
    // One whose every part was refused has a long answer as well, and nobody may be told that it took effect.
    let refused = (0..90).map(|n| format!("a{n}: createPost(input: {{id: \"p\", title: \"t\"}}) {{ id }} "));
    let refused = format!("mutation {{ {} }}", refused.collect::<String>());
    let (_, body) = exchange(&server, &post_text(&refused)).await;
    assert_eq!(refusal(&body), (error_type, message));
    assert_eq!(backend.changes("Post").unwrap().len(), 1);
    let (head, _) = exchange(&server, &post_text("{ getPost(id: \"p\") { title } }")).await;
    assert!(head.starts_with("http/1.1 429"), "{head}");
    let short = post(&server, "{ getPost(id: \"p\") { id } }").await;
    assert_eq!(short["data"]["getPost"]["id"], "p");
    server.shutdown().await;
}

#[test]
fn callers_beyond_the_rate_are_throttled_and_strangers_use_none_of_it_up() {
    let mut config = BackendConfig::with_api_key(KEY);
    config.limits.calls_per_second_max = Some(1);
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap();
    let query = json!({"query": "{ listPosts { nextToken } }"}).to_string();
    let status = |at_ms: i64, key: &str| {
        let call = crate::http::HttpCall::post(key, query.clone());
        backend.handle_http(1_700_000_000_000 + at_ms, &call).status
    };
    assert_eq!(status(500, "da2-wrong"), 401);
    assert_eq!(
        [status(500, KEY), status(999, KEY), status(1_000, KEY)],
        [200, 429, 200]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_over_sockets_get_one_accepted_write_per_version() {
    const WRITERS: usize = 32;
    let config = BackendConfig {
        conflict: crate::conflict::ConflictStrategy::OptimisticConcurrency,
        ..BackendConfig::with_api_key(KEY)
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let server = serve(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
    exchange(&server, &create_text("p")).await;
    let barrier = tokio::sync::Barrier::new(WRITERS);
    let write = async |writer: usize| {
        let (mut version, mut refused) = (1, 0);
        barrier.wait().await;
        loop {
            let query = format!(
                "mutation {{ updatePost(input: {{id: \"p\", title: \"{writer}\", _version: {version}}}) {{ _version }} }}"
            );
            let body = post(&server, &query).await;
            match body["data"]["updatePost"]["_version"].as_u64() {
                Some(accepted) => return (version, accepted, refused),
                None => {
                    assert_eq!(body["errors"][0]["errorType"], "ConflictUnhandled", "{body}");
                    refused += 1;
                    version = body["errors"][0]["data"]["_version"].as_u64().unwrap();
                }
            }
        }
    };
    let written = futures_util::future::join_all((0..WRITERS).map(write)).await;
    let mut versions = Vec::new();
    for (given, accepted, _) in &written {
        assert_eq!(*accepted, given + 1);
        versions.push(*accepted);
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + WRITERS as u64).collect::<Vec<_>>());
    // All began with the same version, so all but one were refused at least once.
    let refused: usize = written.iter().map(|(_, _, refused)| refused).sum();
    assert!(refused >= WRITERS - 1, "{refused}");
    server.shutdown().await;
}

#[tokio::test]
async fn calls_that_were_understood_share_their_room() {
    let options = ServeOptions {
        calls_bytes_max: 20_000,
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let wide = format!("{{ listPosts {{ items {{ {} }} }} }}", "id ".repeat(200));
    for _ in 0..2 {
        let (head, _) = exchange(&server, &post_text(&wide)).await;
        assert!(head.starts_with("http/1.1 429"), "{head}");
        // Room is given back once a call is done, one by one.
        for query in [
            "{ listPosts { nextToken } }",
            "mutation { createPost(input: {title: \"t\"}) { id } }",
        ] {
            for _ in 0..10 {
                assert_eq!(post(&server, query).await["errors"], json!(null));
            }
        }
    }
    server.shutdown().await;
}
