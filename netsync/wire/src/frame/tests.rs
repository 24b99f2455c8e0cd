use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Frame {
    Frame::parse(text).expect(text)
}

fn id() -> SubscriptionId {
    SubscriptionId::new("1")
}

#[test]
fn a_recorded_conversation_is_read_and_printed() {
    let authorization = Map::from_iter([
        ("host".to_owned(), Json::from("localhost")),
        ("x-api-key".to_owned(), Json::from("da2-fake")),
    ]);
    let data = r#"{"query":"subscription { onCreatePost { id } }","variables":{}}"#;
    let conversation = [
        (r#"{"type":"connection_init"}"#, Frame::ConnectionInit),
        (
            r#"{"type":"connection_ack","payload":{"connectionTimeoutMs":300000}}"#,
            Frame::ConnectionAck {
                connection_timeout_ms: Some(300_000),
            },
        ),
        (r#"{"type":"ka"}"#, Frame::KeepAlive),
        (
            r#"{"id":"1","type":"start","payload":{"data":"{\"query\":\"subscription { onCreatePost { id } }\",\"variables\":{}}","extensions":{"authorization":{"host":"localhost","x-api-key":"da2-fake"}}}}"#,
            Frame::Start {
                id: id(),
                data: data.into(),
                authorization: Credentials::new(authorization),
            },
        ),
        (r#"{"id":"1","type":"start_ack"}"#, Frame::StartAck { id: id() }),
        (
            r#"{"id":"1","type":"data","payload":{"data":{"onCreatePost":{"id":"p9"}}}}"#,
            Frame::Data {
                id: id(),
                payload: r#"{"data":{"onCreatePost":{"id":"p9"}}}"#.into(),
            },
        ),
        (r#"{"id":"1","type":"stop"}"#, Frame::Stop { id: id() }),
        (r#"{"id":"1","type":"complete"}"#, Frame::Complete { id: id() }),
    ];
    for (text, frame) in conversation {
        assert_eq!(parse(text), frame);
        let printed: Json = serde_json::from_str(&frame.to_text()).expect("JSON");
        assert_eq!(
            printed,
            serde_json::from_str::<Json>(text).expect("JSON"),
            "{text}"
        );
    }
}

#[test]
fn errors_come_in_every_shape_that_was_seen() {
    let refused = ServerError {
        error_code: Some(401),
        ..ServerError::new("UnauthorizedException", "")
    };
    let list = r#"{"type":"connection_error","payload":{"errors":[{"errorType":"UnauthorizedException","errorCode":401}]}}"#;
    assert_eq!(
        parse(list),
        Frame::ConnectionError {
            errors: vec![refused]
        }
    );
    let limit = ServerError::new("LimitExceededError", "Rate limit exceeded");
    let object = r#"{"type":"error","payload":{"errors":{"errorType":"LimitExceededError","message":"Rate limit exceeded"}}}"#;
    assert_eq!(
        parse(object),
        Frame::Error {
            id: None,
            errors: vec![limit.clone()]
        }
    );
    let bare = r#"{"id":"1","type":"error","payload":{"errorType":"LimitExceededError","message":"Rate limit exceeded"}}"#;
    assert_eq!(
        parse(bare),
        Frame::Error {
            id: Some(id()),
            errors: vec![limit.clone()]
        }
    );
    let beside = r#"{"id":"1","type":"error","errors":[{"errorType":"LimitExceededError","message":"Rate limit exceeded"}]}"#;
    assert_eq!(
        parse(beside),
        Frame::Error {
            id: Some(id()),
            errors: vec![limit]
        }
    );
    assert_eq!(
        parse(r#"{"id":null,"type":"error"}"#),
        Frame::Error {
            id: None,
            errors: Vec::new()
        }
    );
}

#[test]
fn a_timeout_may_be_text_or_missing() {
    let ack = |payload: &str| parse(&format!(r#"{{"type":"connection_ack"{payload}}}"#));
    let timeout = |connection_timeout_ms| Frame::ConnectionAck {
        connection_timeout_ms,
    };
    assert_eq!(
        ack(r#","payload":{"connectionTimeoutMs":"60000"}"#),
        timeout(Some(60_000))
    );
    assert_eq!(ack(r#","payload":{"connectionTimeoutMs":-1}"#), timeout(None));
    assert_eq!(ack(r#","payload":null"#), timeout(None));
    assert_eq!(ack(""), timeout(None));
}

#[test]
fn unknown_types_are_kept_and_known_ones_need_their_id() {
    assert_eq!(
        parse(r#"{"type":"pong","payload":[1]}"#),
        Frame::Unknown { kind: "pong".into() }
    );
    assert_eq!(parse(r#"{"type":"k\u0061"}"#), Frame::KeepAlive);
    let error = Frame::parse(r#"{"type":"start_ack"}"#).expect_err("no id");
    assert_eq!(
        error.to_string(),
        "not a realtime frame: a `start_ack` frame needs an `id`"
    );
    for text in [
        "",
        "{}",
        "[]",
        "7",
        r#"{"type":7}"#,
        r#"{"type":"ka""#,
        r#"{"id":"1","type":"start","payload":{}}"#,
    ] {
        assert!(
            matches!(Frame::parse(text), Err(WireError::BadFrame { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_frame_beyond_the_bound_is_not_even_looked_at() {
    let frame = |payload: usize| {
        format!(
            r#"{{"id":"1","type":"data","payload":"{}"}}"#,
            "x".repeat(payload)
        )
    };
    assert!(Frame::parse(&frame(FRAME_PAYLOAD_BYTES_MAX)).is_ok());
    let large = frame(FRAME_BYTES_MAX);
    assert_eq!(
        Frame::parse(&large),
        Err(WireError::FrameTooLarge { bytes: large.len() })
    );
}

#[test]
fn debug_output_of_a_start_frame_hides_the_credentials() {
    let authorization = Credentials::new(Map::from_iter([("Authorization".to_owned(), "secret".into())]));
    let frame = Frame::Start {
        id: id(),
        data: String::new(),
        authorization,
    };
    assert!(!format!("{frame:?}").contains("secret"));
    assert!(frame.to_text().contains("secret"), "the wire still gets them");
}

fn any_id() -> impl Strategy<Value = SubscriptionId> {
    ".{0,8}".prop_map(|id| SubscriptionId::new(&id))
}

fn any_json() -> impl Strategy<Value = Json> {
    // Numbers that are no integers print and parse with care elsewhere; here they would only compare unequal.
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".{0,6}".prop_map(Json::from)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..3).prop_map(|members| json!(members)),
        ]
    })
}

fn any_errors() -> impl Strategy<Value = Vec<ServerError>> {
    let path = proptest::collection::vec(
        prop_oneof![
            ".{0,4}".prop_map(graphql_client::PathFragment::Key),
            (0..100).prop_map(graphql_client::PathFragment::Index),
        ],
        0..3,
    );
    let present = |json: &Json| !json.is_null();
    let error = (
        proptest::option::of(".{0,8}"),
        proptest::option::of(any::<i64>()),
        ".{0,20}",
        path,
        proptest::option::of(any_json().prop_filter("null means none", present)),
        proptest::collection::vec((0..99, 0..99), 0..2),
    );
    let error = error.prop_map(
        |(error_type, error_code, message, path, data, locations)| ServerError {
            error_type,
            error_code,
            message,
            path,
            locations: locations
                .into_iter()
                .map(|(line, column)| graphql_client::Location { line, column })
                .collect(),
            error_info: data.clone(),
            data,
        },
    );
    proptest::collection::vec(error, 0..3)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let members = proptest::collection::btree_map(".{0,6}", any_json(), 0..3);
    prop_oneof![
        Just(Frame::ConnectionInit),
        Just(Frame::KeepAlive),
        proptest::option::of(any::<u64>()).prop_map(|connection_timeout_ms| Frame::ConnectionAck {
            connection_timeout_ms
        }),
        (any_id(), ".{0,40}", members).prop_map(|(id, data, members)| Frame::Start {
            id,
            data,
            authorization: Credentials::new(members.into_iter().collect()),
        }),
        any_id().prop_map(|id| Frame::Stop { id }),
        any_id().prop_map(|id| Frame::StartAck { id }),
        any_id().prop_map(|id| Frame::Complete { id }),
        (any_id(), any_json()).prop_map(|(id, payload)| Frame::Data {
            id,
            payload: payload.to_string()
        }),
        any_errors().prop_map(|errors| Frame::ConnectionError { errors }),
        (proptest::option::of(any_id()), any_errors()).prop_map(|(id, errors)| Frame::Error { id, errors }),
        "x.{0,6}".prop_map(|kind| Frame::Unknown { kind }),
    ]
}

proptest! {
    #[test]
    fn printing_and_parsing_gives_the_same_frame(frame in any_frame()) {
        prop_assert_eq!(Frame::parse(&frame.to_text()), Ok(frame));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,80}") {
        let _ = Frame::parse(&text);
    }

    #[test]
    fn no_near_miss_makes_the_parser_panic(
        kind in "(start|data|error|connection_ack|connection_error|ka|complete|x)",
        id in any_json(),
        payload in any_json(),
    ) {
        let _ = Frame::parse(&json!({"type": kind, "id": id, "payload": payload}).to_string());
    }
}
