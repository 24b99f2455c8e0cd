//! Realtime: the three ways to say who connects, and who starts what.

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::service::tests::realtime::silent;

impl Bench {
    pub(super) fn connect_as(&self, who: Cast) -> ConnectionId {
        let headers = who.headers(self.now_ms.get(), "/graphql/connect", "{}");
        self.backend
            .open_connection(self.now_ms.get(), &headers, None, silent())
    }

    /// The first frame that answers a `start`.
    pub(super) fn start_as(&self, who: Cast, connection: ConnectionId, query: &str) -> Json {
        self.start_with(who, connection, "1", query)
    }

    pub(super) fn start_with(&self, who: Cast, connection: ConnectionId, id: &str, query: &str) -> Json {
        let data = json!({"query": query, "variables": {}}).to_string();
        let headers = who.headers(self.now_ms.get(), "/graphql", &data);
        let authorization: Json = headers
            .into_iter()
            .map(|(name, value)| (name, json!(value)))
            .collect();
        let payload = json!({"data": data, "extensions": {"authorization": authorization}});
        let frame = json!({"id": id, "type": "start", "payload": payload}).to_string();
        self.backend.frame_in(self.now_ms.get(), connection, &frame);
        self.messages(connection).pop().unwrap_or_default()
    }

    /// Frames as JSON; a close as its code.
    pub(super) fn messages(&self, connection: ConnectionId) -> Vec<Json> {
        let json = |out| match out {
            Out::Frame(text) => serde_json::from_str(&text).unwrap(),
            Out::Close { code, .. } => json!(code),
        };
        self.backend
            .take_outgoing(connection)
            .into_iter()
            .map(json)
            .collect()
    }
}

const NOTES: &str = "type Note @model @auth(rules: [{ allow: owner }, { allow: groups, groups: [\"Admin\"] }, \
                     { allow: custom }, { allow: private, provider: iam }]) { text: String }";

#[test]
fn a_connection_says_who_it_is_in_three_ways_whatever_the_mode() {
    let bench = guarded(NOTES);
    for who in Cast::BOUND {
        let headers = who.headers(bench.now_ms.get(), "/graphql/connect", "{}");
        let object: Json = headers
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let encoded = STANDARD.encode(object.to_string()).replace('+', "%2B");
        let protocol = format!(
            "graphql-ws, header-{}",
            URL_SAFE_NO_PAD.encode(object.to_string())
        );
        let query = format!("header={encoded}&payload=e30=");
        let ways: [(Vec<(String, String)>, Option<&str>); 3] = [
            (headers, None),
            (vec![("sec-websocket-protocol".to_owned(), protocol)], None),
            (Vec::new(), Some(&query)),
        ];
        for (headers, query) in ways {
            let connection = bench
                .backend
                .open_connection(bench.now_ms.get(), &headers, query, silent());
            assert_eq!(
                bench.messages(connection),
                Vec::<Json>::new(),
                "{who:?} {headers:?} {query:?}"
            );
        }
    }
}

#[test]
fn connections_of_nobody_are_told_why_and_closed() {
    let bench = guarded(NOTES);
    let expired = sign(
        &json!({"iss": POOL, "sub": "a-1", "aud": AUDIENCE, "exp": NOW_S}),
        POOL_SECRET,
    );
    let cases = [
        (
            None,
            "UnauthorizedException",
            401,
            "Valid authorization header not provided.",
        ),
        (
            Some("other"),
            "UnauthorizedException",
            401,
            "You are not authorized to make this call.",
        ),
        (
            Some(expired.as_str()),
            "UnauthorizedException",
            401,
            "Token has expired.",
        ),
        (
            Some("AWS4-HMAC-SHA256 x"),
            "InvalidSignatureException",
            403,
            "The request signature we calculated does not match",
        ),
    ];
    for (authorization, error_type, code, message) in cases {
        let headers: Vec<(String, String)> = authorization
            .map(|text| ("Authorization".to_owned(), text.to_owned()))
            .into_iter()
            .collect();
        let connection = bench
            .backend
            .open_connection(bench.now_ms.get(), &headers, None, silent());
        let messages = bench.messages(connection);
        let error = &messages[0]["payload"]["errors"][0];
        assert_eq!(messages[0]["type"], "connection_error");
        assert_eq!(
            (&error["errorType"], &error["errorCode"]),
            (&json!(error_type), &json!(code))
        );
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!(messages[1], json!(1008));
    }
}

#[test]
fn each_subscription_is_judged_by_what_it_brings_itself() {
    let bench = guarded(NOTES);
    let connection = bench.connect_as(Cast::Key);
    let query = "subscription { onCreateNote { id } }";
    let refused = bench.start_with(Cast::Key, connection, "1", query);
    assert_eq!(
        refused["payload"]["errors"][0]["errorType"], "Unauthorized",
        "{refused}"
    );
    for (id, who) in [("2", Cast::Alice), ("3", Cast::Signed), ("4", Cast::Lambda)] {
        let answer = bench.start_with(who, connection, id, query);
        assert_eq!(answer, json!({"id": id, "type": "start_ack"}), "{who:?}");
    }
    let body = "{\"id\":\"5\",\"type\":\"start\",\"payload\":{\"data\":\"{}\"}}";
    bench.backend.frame_in(bench.now_ms.get(), connection, body);
    let answer = bench.messages(connection).pop().unwrap();
    assert_eq!(
        answer["payload"]["errors"][0]["errorType"], "UnauthorizedException",
        "{answer}"
    );
}

#[test]
fn running_subscriptions_outlive_their_token_and_new_ones_do_not() {
    let bench = guarded(NOTES);
    let connection = bench.connect_as(Cast::Bob);
    let query = "subscription { onCreateNote { id owner } }";
    assert_eq!(bench.start_as(Cast::Bob, connection, query)["type"], "start_ack");
    bench.now_ms.set(START_MS + 2 * 3_600_000);
    let create = "mutation { createNote(input: {id: \"n\"}) { id owner } }";
    bench.data_as(Cast::Root, create, json!({}));
    assert_eq!(bench.messages(connection).len(), 1);
    let answer = bench.start_with(Cast::Bob, connection, "2", query);
    assert_eq!(answer["payload"]["errors"][0]["message"], "Token has expired.");
}

#[test]
fn an_owner_argument_must_name_the_caller_unless_the_caller_may_hear_everything() {
    let bench = guarded(NOTES);
    let start = |who: Cast, argument: &str| {
        let connection = bench.connect_as(who);
        let query = format!("subscription {{ onCreateNote(owner: {argument}) {{ id owner }} }}");
        let answer = bench.start_as(who, connection, &query);
        (answer["type"] == "start_ack", connection)
    };
    for (who, argument, allowed) in [
        (Cast::Alice, "\"alice\"", true),
        (Cast::Alice, "\"a-1\"", true),
        (Cast::Alice, "\"a-1::alice\"", true),
        (Cast::Alice, "\"bob\"", false),
        (Cast::Alice, "\"\"", false),
        (Cast::Alice, "null", false),
        (Cast::Bob, "\"alice\"", true),
        (Cast::Key, "\"alice\"", false),
    ] {
        assert_eq!(start(who, argument).0, allowed, "{who:?} {argument}");
    }
    let (_, alice) = start(Cast::Alice, "\"alice\"");
    let (_, admin_for_alice) = start(Cast::Bob, "\"alice\"");
    let (_, admin_for_bob) = start(Cast::Bob, "\"bob\"");
    bench.data_as(
        Cast::Alice,
        "mutation { createNote(input: {id: \"n\"}) { id owner } }",
        json!({}),
    );
    let heard = |connection| bench.messages(connection).len();
    assert_eq!(
        (heard(alice), heard(admin_for_alice), heard(admin_for_bob)),
        (1, 1, 0)
    );
}

#[test]
fn who_hears_does_not_depend_on_what_the_mutation_selects() {
    let bench = guarded(NOTES);
    let query = "subscription { onCreateNote { id owner } }";
    let (alice, bob) = (bench.connect_as(Cast::Alice), bench.connect_as(Cast::Bob));
    bench.start_as(Cast::Alice, alice, query);
    bench.start_as(Cast::Bob, bob, query);
    // The admin's record calls itself Alice's in its answer; it is the stored owner that counts.
    bench.data_as(
        Cast::Bob,
        "mutation { createNote(input: {id: \"alice\"}) { owner: id } }",
        json!({}),
    );
    assert_eq!(bench.messages(alice), Vec::<Json>::new());
    assert_eq!(bench.messages(bob).len(), 1);
    bench.data_as(
        Cast::Alice,
        "mutation { createNote(input: {id: \"n2\"}) { id } }",
        json!({}),
    );
    assert_eq!(bench.messages(alice).len(), 1);
}

#[test]
fn rules_and_the_callers_filter_both_hold() {
    let bench = guarded(NOTES);
    let alice = bench.connect_as(Cast::Alice);
    let query = "subscription { onCreateNote(filter: {text: {eq: \"x\"}}) { id } }";
    assert_eq!(bench.start_as(Cast::Alice, alice, query)["type"], "start_ack");
    let create = |who, id: &str, text: &str| {
        let query =
            format!("mutation {{ createNote(input: {{id: \"{id}\", text: \"{text}\"}}) {{ id text }} }}");
        bench.data_as(who, &query, json!({}));
    };
    create(Cast::Alice, "1", "x");
    create(Cast::Alice, "2", "y");
    create(Cast::Bob, "3", "x");
    let heard: Vec<Json> = bench.messages(alice);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["payload"]["data"]["onCreateNote"]["id"], "1");
}

/// Lets everybody in, and counts how often it is asked.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl Authorizer for Counting {
    fn authorize(&self, _: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerFault> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(AuthorizerAnswer {
            is_authorized: true,
            ..AuthorizerAnswer::default()
        })
    }
}

#[test]
fn a_flood_of_starts_is_stopped_before_the_authorizer_is_asked() {
    let counting = Arc::new(Counting::default());
    let config = BackendConfig {
        auth: AuthSettings {
            authorizer: Some(AuthorizerSettings {
                authorizer: counting.clone(),
                ttl_s: 0,
                token_pattern: None,
            }),
            ..AuthSettings::default()
        },
        limits: crate::config::Limits {
            frames_per_second_max: 3,
            ..crate::config::Limits::default()
        },
        ..BackendConfig::default()
    };
    let bench = bench_with(schema(NOTES), config);
    let connection = bench.connect_as(Cast::Lambda);
    let kinds: Vec<Json> = (0..20)
        .map(|n| {
            let start = bench.start_with(
                Cast::Lambda,
                connection,
                &n.to_string(),
                "subscription { onCreateNote { id } }",
            );
            start["type"].clone()
        })
        .collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "start_ack").count(), 3);
    assert!(kinds[3..].iter().all(|kind| kind == "error"), "{kinds:?}");
    // Once for the connection, once for each start that was taken.
    assert_eq!(counting.0.load(std::sync::atomic::Ordering::Relaxed), 4);
}

#[test]
fn a_record_that_moves_to_another_owner_is_heard_of_by_that_one_alone() {
    let bench = guarded(
        "type Note @model @auth(rules: [{ allow: owner, identityClaim: \"sub\" }]) { text: String owner: String }",
    );
    let create = "mutation { createNote(input: {id: \"n\"}) { id } }";
    bench.data_as(Cast::Alice, create, json!({}));
    let [alice, bob] = [Cast::Alice, Cast::Bob].map(|who| {
        let connection = bench.connect_as(who);
        let answer = bench.start_as(who, connection, "subscription { onUpdateNote { id } }");
        assert_eq!(answer["type"], "start_ack", "{answer}");
        connection
    });
    let give = "mutation { updateNote(input: {id: \"n\", owner: \"b-1\", _version: 1}) { id } }";
    bench.data_as(Cast::Alice, give, json!({}));
    assert_eq!(bench.messages(alice), Vec::<Json>::new());
    assert_eq!(bench.messages(bob).len(), 1);
}
