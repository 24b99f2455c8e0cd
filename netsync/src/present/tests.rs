use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use landfall_wire::{Access, OperationName, Transport as _, credentials_of_subprotocols};
use tokio::net::TcpListener;

use super::*;
use crate::authorization::Authorization;
use crate::testing::{read_request, write};
use crate::{AuthMode, Endpoint, HttpTransport, ProxyUse, Secret, TokenProvider, TokenResult};

/// A server that answers one connection after the other; returns what was asked.
async fn server(replies: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/graphql", listener.local_addr().expect("an address"));
    #[expect(
        clippy::disallowed_methods,
        reason = "the other end of a real connection needs a task of its own"
    )]
    let task = tokio::spawn(async move {
        let mut asked = Vec::new();
        for reply in replies {
            let (mut stream, _) = listener.accept().await.expect("a client");
            asked.push(read_request(&mut stream).await);
            write(&mut stream, reply.as_bytes()).await;
        }
        asked
    });
    (url, task)
}

fn reply(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn request(access: Access) -> HttpRequest {
    let subject = Subject {
        model: "Post".into(),
        access,
    };
    HttpRequest {
        body: r#"{"query":"{ a }"}"#.into(),
        operation: OperationName::new("Thing").about(subject),
    }
}

/// Gives `t0` until that is refused, then `t1`, and so on up to `t2`.
struct Numbered(Arc<AtomicUsize>);

impl Numbered {
    fn now(&self) -> BoxFuture<'static, TokenResult> {
        let token = format!("t{}", self.0.load(Ordering::SeqCst));
        Box::pin(async move { Ok(Secret::from(token)) })
    }
}

impl TokenProvider for Numbered {
    fn token(&self) -> BoxFuture<'static, TokenResult> {
        self.now()
    }

    fn renew(&self, _: &Secret) -> BoxFuture<'static, TokenResult> {
        if self.0.load(Ordering::SeqCst) < 2 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        self.now()
    }
}

fn endpoint(url: &str, authorization: Authorization) -> Endpoint {
    Endpoint::new(url, authorization)
        .expect("a good endpoint")
        .with_proxy(ProxyUse::Direct)
}

fn presented(request: &str) -> &str {
    request
        .lines()
        .find(|line| line.starts_with("authorization: ") || line.starts_with("x-api-key: "))
        .unwrap_or("nothing")
}

const OK: &str = r#"{"data":{"a":1}}"#;
const DENIED: &str = r#"{"data":{"a":null},"errors":[{"errorType":"Unauthorized","message":"no"}]}"#;

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_and_the_request_sent_again() {
    let replies = vec![reply("401 Unauthorized", "{}"), reply("200 OK", OK)];
    let (url, server) = server(replies).await;
    let tokens = Authorization::token_from(Numbered(Arc::default()));
    let transport = HttpTransport::new(endpoint(&url, tokens)).expect("a transport");
    let answer = transport.execute(request(Access::Create)).await.expect("a reply");
    assert_eq!(answer.status, 200);
    let asked = server.await.expect("the server ends");
    let tokens: Vec<&str> = asked.iter().map(|request| presented(request)).collect();
    assert_eq!(tokens, ["authorization: t0", "authorization: t1"]);
    assert_eq!(
        asked[0].split_once("\r\n\r\n").map(|(_, body)| body),
        asked[1].split_once("\r\n\r\n").map(|(_, body)| body)
    );
}

#[tokio::test]
async fn when_the_renewed_token_is_refused_as_well_the_refusal_is_the_answer() {
    let (url, server) = server(vec![reply("401 Unauthorized", "{}"); 2]).await;
    let tokens = Authorization::token_from(Numbered(Arc::default()));
    let transport = HttpTransport::new(endpoint(&url, tokens)).expect("a transport");
    let answer = transport.execute(request(Access::Create)).await.expect("a reply");
    assert_eq!(answer.status, 401);
    assert_eq!(server.await.expect("the server ends").len(), 2);
}

#[tokio::test]
async fn a_key_that_is_refused_is_not_tried_again() {
    let (url, server) = server(vec![reply("401 Unauthorized", "{}")]).await;
    let transport = HttpTransport::new(endpoint(&url, Authorization::api_key("k"))).expect("a transport");
    let answer = transport.execute(request(Access::Create)).await.expect("a reply");
    assert_eq!(answer.status, 401);
    assert_eq!(server.await.expect("the server ends").len(), 1);
}

/// Asks for these one after the other, with the user's token before the key for reading; returns what was presented.
async fn presented_for(tokens: Authorization, replies: &[&str], asked: &[Access]) -> Vec<String> {
    let replies = replies.iter().map(|body| reply("200 OK", body)).collect();
    let (url, server) = server(replies).await;
    let strategy = |subject: &Subject| match subject.access {
        Access::Read => vec![AuthMode::UserPool, AuthMode::ApiKey],
        _ => vec![AuthMode::UserPool],
    };
    let endpoint = endpoint(&url, Authorization::api_key("k"))
        .with_authorization(AuthMode::UserPool, tokens)
        .expect("good")
        .with_strategy(Arc::new(strategy));
    let transport = HttpTransport::new(endpoint).expect("a transport");
    for access in asked {
        let answer = transport.execute(request(*access)).await.expect("a reply");
        assert_eq!(answer.body, OK.as_bytes());
    }
    let asked = server.await.expect("the server ends");
    asked
        .iter()
        .map(|request| presented(request).to_owned())
        .collect()
}

#[tokio::test]
async fn a_strategy_goes_on_to_the_next_mode_and_each_request_begins_with_the_first() {
    let token = Authorization::fixed_token("t");
    let replies = [DENIED, OK, DENIED, OK, OK];
    let presented = presented_for(token, &replies, &[Access::Read, Access::Read, Access::Update]).await;
    assert_eq!(
        presented,
        [
            "authorization: t",
            "x-api-key: k",
            "authorization: t",
            "x-api-key: k",
            "authorization: t"
        ]
    );
}

/// Has no token the first time it is asked, as before a sign-in.
struct SignsIn(AtomicUsize);

impl TokenProvider for SignsIn {
    fn token(&self) -> BoxFuture<'static, TokenResult> {
        let is_first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            if is_first {
                return Err("signed out".into());
            }
            Ok(Secret::from("t".to_owned()))
        })
    }
}

#[tokio::test]
async fn who_signs_in_is_asked_for_at_once_though_another_mode_worked_before() {
    let tokens = Authorization::token_from(SignsIn(AtomicUsize::default()));
    let presented = presented_for(tokens, &[OK, OK], &[Access::Read, Access::Read]).await;
    assert_eq!(presented, ["x-api-key: k", "authorization: t"]);
}

/// Has no token, ever.
struct SignedOut;

impl TokenProvider for SignedOut {
    fn token(&self) -> BoxFuture<'static, TokenResult> {
        Box::pin(async { Err("signed out".into()) })
    }
}

/// What comes of a request for which there are two ways, the user's token before or after a key.
async fn refused_in_two_ways(
    tokens: Authorization,
    modes: [AuthMode; 2],
    replies: Vec<String>,
) -> Result<HttpResponse, TransportError> {
    let (url, server) = server(replies).await;
    let strategy = move |_: &Subject| modes.to_vec();
    let endpoint = endpoint(&url, Authorization::api_key("k"))
        .with_authorization(AuthMode::UserPool, tokens)
        .expect("good")
        .with_strategy(Arc::new(strategy));
    let transport = HttpTransport::new(endpoint).expect("a transport");
    let answer = transport.execute(request(Access::Update)).await;
    server.await.expect("each reply was asked for");
    answer
}

#[tokio::test]
async fn who_is_signed_out_of_one_way_is_not_refused_for_good_by_the_other() {
    for modes in [
        [AuthMode::UserPool, AuthMode::ApiKey],
        [AuthMode::ApiKey, AuthMode::UserPool],
    ] {
        let tokens = Authorization::token_from(SignedOut);
        let answer = refused_in_two_ways(tokens, modes, vec![reply("200 OK", DENIED)]).await;
        assert!(
            matches!(&answer, Err(TransportError::Unauthorized { reason }) if reason == "signed out"),
            "{answer:?}"
        );
        // That the server does not take the key tells more.
        let tokens = Authorization::token_from(SignedOut);
        let answer = refused_in_two_ways(tokens, modes, vec![reply("401 Unauthorized", "{}")]).await;
        assert_eq!(answer.expect("a reply").status, 401);
    }
    let replies = vec![reply("401 Unauthorized", "{}"), reply("200 OK", DENIED)];
    let modes = [AuthMode::UserPool, AuthMode::ApiKey];
    let answer = refused_in_two_ways(Authorization::fixed_token("old"), modes, replies).await;
    assert_eq!(answer.expect("a reply").status, 401, "the token has run out");
    let replies = vec![reply("200 OK", DENIED); 2];
    let answer = refused_in_two_ways(Authorization::fixed_token("t"), modes, replies).await;
    assert_eq!(answer.expect("a reply").body, DENIED.as_bytes());
}

#[tokio::test]
async fn a_start_frame_is_authorized_by_one_way_after_the_other() {
    let strategy = |_: &Subject| vec![AuthMode::UserPool, AuthMode::ApiKey];
    let endpoint = endpoint("http://127.0.0.1:9/graphql", Authorization::api_key("k"))
        .with_authorization(
            AuthMode::UserPool,
            Authorization::token_from(Numbered(Arc::default())),
        )
        .expect("good")
        .with_strategy(Arc::new(strategy));
    let transport = HttpTransport::new(endpoint).expect("a transport");
    let subject = Subject {
        model: "Post".into(),
        access: Access::Listen,
    };
    let mut presented = Vec::new();
    for attempt in 0.. {
        match transport.authorize_start(&subject, "{}", attempt).await {
            Ok(credentials) => {
                let members = credentials.into_members();
                let shown = members.get("Authorization").or(members.get("x-api-key"));
                presented.push(shown.and_then(Json::as_str).unwrap_or("nothing").to_owned());
            }
            Err(error) => {
                assert!(matches!(error, TransportError::Unauthorized { .. }), "{error}");
                break;
            }
        }
    }
    assert_eq!(presented, ["t0", "t1", "k"]);
}

#[test]
fn only_an_answer_without_data_is_a_denial() {
    let is = |body: &str| is_denied(&HttpResponse::new(200, body));
    assert!(is(DENIED));
    assert!(is(
        r#"{"data":null,"errors":[{"errorType":"UnauthorizedException"}]}"#
    ));
    assert!(!is(OK));
    assert!(!is(
        r#"{"data":{"a":{"items":[]}},"errors":[{"errorType":"Unauthorized"}]}"#
    ));
    assert!(!is(r#"{"data":null,"errors":[{"errorType":"BadRequest"}]}"#));
    // Of two mutations the second may have been carried out.
    assert!(!is(
        r#"{"data":{"m0":null,"m1":null},"errors":[{"errorType":"Unauthorized"},{"errorType":"InternalFailure"}]}"#
    ));
    assert!(!is(
        r#"{"data":null,"errors":[{"errorType":"Unauthorized","path":["m1"]}]}"#
    ));
    assert!(is(
        r#"{"data":null,"errors":[{"errorType":"Unauthorized","path":["createPost"]}]}"#
    ));
    assert!(!is("<html>"));
}

#[tokio::test]
async fn a_realtime_handshake_that_is_refused_is_tried_with_a_renewed_token() {
    let (url, server) = server(vec![reply("401 Unauthorized", ""); 2]).await;
    let tokens = Authorization::token_from(Numbered(Arc::default()));
    let transport = HttpTransport::new(endpoint(&url, tokens)).expect("a transport");
    let refused = transport.connect().await.err();
    assert!(
        matches!(refused, Some(TransportError::Unauthorized { .. })),
        "{refused:?}"
    );
    let asked = server.await.expect("the server ends");
    let offered = asked.iter().map(|request| {
        let mut lines = request.lines();
        let line = lines.find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        let credentials = credentials_of_subprotocols(line.expect("sub-protocols")).expect("credentials");
        credentials.into_members()["Authorization"].clone()
    });
    assert_eq!(offered.collect::<Vec<Json>>(), ["t0", "t1"]);
}

/// A reply that says what time it is on the server.
fn reply_at(status: &str, date: &str) -> String {
    format!("HTTP/1.1 {status}\r\ndate: {date}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}")
}

/// The time that a request was signed at.
fn signed_at(request: &str) -> String {
    let line = request.lines().find_map(|line| line.strip_prefix("x-amz-date: "));
    line.expect("it is signed").to_owned()
}

/// An endpoint that wants signatures.
fn signing(url: &str) -> Endpoint {
    let credentials = crate::AwsCredentials {
        access_key_id: "AKID".into(),
        secret_access_key: "hidden".into(),
        session_token: None,
    };
    endpoint(url, Authorization::iam(credentials)).with_region("eu-west-1")
}

#[tokio::test]
async fn a_signature_by_a_wrong_clock_is_made_anew_by_the_servers() {
    let date = "Fri, 01 Jan 2100 12:00:00 GMT";
    let replies = vec![
        reply_at("403 Forbidden", date),
        reply_at("200 OK", date),
        reply_at("200 OK", date),
    ];
    let (url, asked) = server(replies).await;
    let transport = HttpTransport::new(signing(&url)).expect("a transport");
    for _ in 0..2 {
        let reply = transport.execute(request(Access::Read)).await.expect("a reply");
        assert_eq!(reply.status, 200);
    }
    let asked = asked.await.expect("the server ends");
    assert!(!signed_at(&asked[0]).starts_with("2100"));
    assert!(signed_at(&asked[1]).starts_with("21000101T12"), "{}", asked[1]);
    assert!(signed_at(&asked[2]).starts_with("21000101T12"), "and so it stays");
}

#[tokio::test]
async fn a_handshake_that_a_wrong_clock_has_signed_is_signed_anew() {
    let (url, asked) = server(vec![
        reply_at("403 Forbidden", "Fri, 01 Jan 2100 12:00:00 GMT");
        2
    ])
    .await;
    let transport = HttpTransport::new(signing(&url)).expect("a transport");
    let refused = transport.connect().await.err();
    assert!(
        matches!(refused, Some(TransportError::Unauthorized { .. })),
        "{refused:?}"
    );
    let asked = asked.await.expect("the server ends");
    let times = asked.iter().map(|request| {
        let mut lines = request.lines();
        let line = lines.find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        let credentials = credentials_of_subprotocols(line.expect("sub-protocols")).expect("credentials");
        credentials.into_members()["x-amz-date"].clone()
    });
    let is_later: Vec<bool> = times
        .map(|time| time.as_str().expect("a text").starts_with("2100"))
        .collect();
    assert_eq!(is_later, [false, true]);
}

#[tokio::test]
async fn a_date_that_is_right_or_a_key_gives_no_second_try() {
    let date = "Fri, 01 Jan 2100 12:00:00 GMT";
    let now = jiff::Timestamp::now()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    for (date, endpoint_of) in [
        (
            date,
            (|url: &str| endpoint(url, Authorization::api_key("k"))) as fn(&str) -> Endpoint,
        ),
        (&now, signing),
    ] {
        let (url, asked) = server(vec![reply_at("403 Forbidden", date)]).await;
        let transport = HttpTransport::new(endpoint_of(&url)).expect("a transport");
        let reply = transport.execute(request(Access::Read)).await.expect("a reply");
        assert_eq!(reply.status, 403);
        assert_eq!(asked.await.expect("the server ends").len(), 1, "{date}");
    }
}
