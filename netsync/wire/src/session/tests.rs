use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::failure::FailureClass;
use crate::transport::Delivery;

/// A session and the clock that it is told.
struct Driver {
    session: Session,
    now_ms: u64,
}

impl Driver {
    fn new() -> Self {
        Self {
            session: Session::new(),
            now_ms: 1_000,
        }
    }

    /// A session whose connection is acknowledged.
    fn live() -> Self {
        let mut driver = Self::new();
        driver.step(SessionInput::Opened);
        driver.frame(&json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": 300_000}}));
        assert!(driver.session.is_live());
        driver
    }

    fn step(&mut self, input: SessionInput) -> Vec<SessionEffect> {
        self.session.step(self.now_ms, input)
    }

    fn frame(&mut self, json: &serde_json::Value) -> Vec<SessionEffect> {
        self.step(SessionInput::Frame(json.to_string()))
    }

    fn subscribe(&mut self, id: &str) -> Vec<SessionEffect> {
        self.step(subscribe(id))
    }

    fn subscribed(&mut self, id: &str) {
        self.subscribe(id);
        self.frame(&json!({"id": id, "type": "start_ack"}));
    }

    fn unsubscribe(&mut self, id: &str) -> Vec<SessionEffect> {
        self.step(SessionInput::Unsubscribe { id: id.into() })
    }

    fn wait(&mut self, ms: u64) -> Vec<SessionEffect> {
        self.now_ms += ms;
        self.step(SessionInput::Timeout)
    }

    fn unexpected(&self) -> Vec<(&'static str, &'static str)> {
        self.session.unexpected().keys().copied().collect()
    }
}

fn subscribe(id: &str) -> SessionInput {
    SessionInput::Subscribe {
        id: id.into(),
        data: "{}".into(),
        authorization: Credentials::default(),
    }
}

/// The effects in short: what is sent by type, what is told by name.
fn brief(effects: &[SessionEffect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            SessionEffect::Send(frame) => format!("send {}", frame.name()),
            SessionEffect::ConnectionLive { timeout_ms } => format!("connected {timeout_ms}"),
            SessionEffect::SubscriptionLive { id } => format!("live {id}"),
            SessionEffect::SubscriptionFailed { id, class, .. } => format!("failed {id} {class:?}"),
            SessionEffect::Data { id, .. } => format!("data {id}"),
            SessionEffect::Completed { id } => format!("completed {id}"),
            SessionEffect::ConnectionLost { reason } => format!("lost: {reason}"),
            SessionEffect::ArmTimer { at_ms } => format!("timer {at_ms}"),
            SessionEffect::Close => "close".to_owned(),
        })
        .collect()
}

#[test]
fn a_whole_conversation() {
    let mut driver = Driver::new();
    assert_eq!(brief(&driver.subscribe("1")), [""; 0]);
    assert_eq!(
        brief(&driver.step(SessionInput::Opened)),
        ["send connection_init", "timer 16000"]
    );
    let ack = json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": 60_000}});
    assert_eq!(brief(&driver.frame(&ack)), ["connected 60000", "send start"]);
    assert_eq!(brief(&driver.frame(&json!({"type": "ka"}))), [""; 0]);
    assert_eq!(
        brief(&driver.frame(&json!({"id": "1", "type": "start_ack"}))),
        ["live 1"]
    );
    let data = json!({"id": "1", "type": "data", "payload": {"data": {"onCreatePost": null}}});
    let payload = r#"{"data":{"onCreatePost":null}}"#.to_owned();
    assert_eq!(
        driver.frame(&data),
        [SessionEffect::Data {
            id: "1".into(),
            payload
        }]
    );
    assert_eq!(brief(&driver.unsubscribe("1")), ["send stop"]);
    assert_eq!(
        brief(&driver.frame(&data)),
        [""; 0],
        "what was in flight is dropped"
    );
    assert_eq!(
        brief(&driver.frame(&json!({"id": "1", "type": "complete"}))),
        ["completed 1"]
    );
    let closed = SessionInput::Closed {
        reason: "1000".into(),
    };
    assert_eq!(brief(&driver.step(closed)), ["lost: the socket closed: 1000"]);
    assert!(driver.session.is_closed());
    assert_eq!(driver.unexpected(), []);
}

#[test]
fn a_start_frame_carries_the_text_and_the_credentials_unchanged() {
    let mut driver = Driver::live();
    let authorization = Credentials::new(Map::from_iter([("x-api-key".to_owned(), json!("k"))]));
    let effects = driver.step(SessionInput::Subscribe {
        id: "7".into(),
        data: r#"{"query":"q","variables":{}}"#.into(),
        authorization: authorization.clone(),
    });
    let Some(SessionEffect::Send(start)) = effects.into_iter().next() else {
        panic!("a start frame")
    };
    assert!(!format!("{start:?}").contains('k'), "{start:?}");
    let expected = Frame::Start {
        id: "7".into(),
        data: r#"{"query":"q","variables":{}}"#.into(),
        authorization,
    };
    assert_eq!(Frame::parse(&start.into_text()), Ok(expected));
}

#[test]
fn a_connection_that_is_not_acknowledged_in_time_is_lost() {
    let mut driver = Driver::new();
    driver.subscribe("1");
    driver.step(SessionInput::Opened);
    assert_eq!(
        brief(&driver.wait(14_999)),
        ["timer 16000"],
        "too early, so the timer is armed again"
    );
    assert_eq!(
        brief(&driver.wait(1)),
        ["lost: no connection_ack within 15000 ms", "close"]
    );
    assert_eq!(brief(&driver.wait(1)), [""; 0]);
    assert_eq!(driver.session.subscriptions(), 0);
}

#[test]
fn a_refused_connection_says_what_may_be_done() {
    let cases = [
        (
            json!([{"errorType": "UnauthorizedException", "errorCode": 401}]),
            FailureClass::Unauthorized,
        ),
        (json!([{"errorCode": 403}]), FailureClass::Unauthorized),
        (
            json!({"errorType": "BadRequestException", "message": "m"}),
            FailureClass::Permanent,
        ),
        (
            json!([{"errorType": "ConnectionLimitExceeded"}]),
            FailureClass::Transient {
                delivery: Delivery::NotDelivered,
                retry_after_ms: None,
            },
        ),
    ];
    for (errors, expected) in cases {
        let mut driver = Driver::new();
        driver.step(SessionInput::Opened);
        let effects = driver.frame(&json!({"type": "connection_error", "payload": {"errors": errors}}));
        let Some(SessionEffect::ConnectionLost {
            reason: LossReason::Refused { class, .. },
        }) = effects.first()
        else {
            panic!("refused: {effects:?}")
        };
        assert_eq!(*class, expected);
        assert_eq!(effects.last(), Some(&SessionEffect::Close));
    }
}

#[test]
fn silence_ends_the_connection_and_any_frame_prolongs_it() {
    let mut driver = Driver::live();
    driver.now_ms += 64_999;
    assert!(!driver.session.is_quiet(driver.now_ms));
    driver.now_ms += 1;
    assert!(driver.session.is_quiet(driver.now_ms));
    driver.frame(&json!({"type": "ka"}));
    assert!(!driver.session.is_quiet(driver.now_ms));
    assert_eq!(brief(&driver.wait(299_999)), ["timer 366000"]);
    assert_eq!(
        brief(&driver.wait(1)),
        ["lost: the server was silent for 300000 ms", "close"]
    );
}

#[test]
fn a_silly_timeout_is_brought_into_bounds() {
    for (asked, granted) in [
        (json!(0), 5_000),
        (json!(u64::MAX), 3_600_000),
        (json!(null), 300_000),
    ] {
        let mut driver = Driver::new();
        driver.step(SessionInput::Opened);
        let effects =
            driver.frame(&json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": asked}}));
        assert_eq!(effects[0], SessionEffect::ConnectionLive { timeout_ms: granted });
    }
}

#[test]
fn a_start_without_an_answer_fails_alone() {
    let mut driver = Driver::live();
    driver.subscribed("live");
    assert_eq!(
        brief(&driver.subscribe("1")),
        ["send start"],
        "an earlier timer is armed already"
    );
    assert_eq!(
        brief(&driver.wait(15_000)),
        ["failed 1 Transient", "send stop", "timer 31000"]
    );
    // The acknowledgement that comes too late changes nothing, nor does data.
    assert_eq!(
        brief(&driver.frame(&json!({"id": "1", "type": "start_ack"}))),
        [""; 0]
    );
    assert_eq!(
        brief(&driver.frame(&json!({"id": "1", "type": "data", "payload": {}}))),
        [""; 0]
    );
    assert_eq!(brief(&driver.unsubscribe("1")), [""; 0]);
    assert_eq!(driver.unexpected(), []);
    assert_eq!(
        brief(&driver.wait(15_000)),
        ["timer 316000"],
        "given up without another word"
    );
    assert_eq!(driver.session.subscriptions(), 1);
}

#[test]
fn a_stop_without_an_answer_completes() {
    let mut driver = Driver::live();
    driver.subscribed("1");
    driver.unsubscribe("1");
    assert_eq!(brief(&driver.wait(15_000)), ["completed 1", "timer 301000"]);
    assert_eq!(driver.session.subscriptions(), 0);
}

#[test]
fn one_failing_subscription_leaves_the_others_alone() {
    let cases = [
        (
            json!([{"errorType": "Unauthorized", "message": "m"}]),
            "Unauthorized",
        ),
        (json!([{"errorType": "OperationDisabled"}]), "Unauthorized"),
        (
            json!({"errorType": "MaxSubscriptionsReachedError"}),
            "MaxSubscriptions",
        ),
        (json!([{"errorType": "LimitExceededError"}]), "Transient"),
        (json!([{"errorType": "DuplicatedOperationError"}]), "Transient"),
        (json!([]), "Transient"),
        (json!([{"errorType": "UnsupportedOperation"}]), "Permanent"),
        (
            json!([{"message": "Validation error of type UnknownArgument: Unknown field argument filter @ 'x'"}]),
            "FilterRefused",
        ),
        (
            json!([{"message": "Filters exceed maximum attributes limit"}]),
            "FilterRefused",
        ),
        (
            json!([{"message": "x"}, {"errorType": "Unauthorized"}]),
            "Unauthorized",
        ),
    ];
    for (errors, class) in cases {
        let mut driver = Driver::live();
        driver.subscribed("other");
        driver.subscribe("1");
        let effects = driver.frame(&json!({"id": "1", "type": "error", "payload": {"errors": errors}}));
        assert_eq!(brief(&effects), [format!("failed 1 {class}")], "{errors}");
        assert!(driver.session.is_live() && driver.session.subscriptions() == 1);
    }
}

#[test]
fn an_error_without_an_id_is_put_down_to_the_only_one_that_starts() {
    let error = json!({"type": "error", "payload": {"errors": [{"errorType": "LimitExceededError"}]}});
    let mut driver = Driver::live();
    driver.subscribed("live");
    driver.subscribe("1");
    assert_eq!(brief(&driver.frame(&error)), ["failed 1 Transient"]);
    driver.subscribe("2");
    driver.subscribe("3");
    assert_eq!(brief(&driver.frame(&error)), [""; 0]);
    assert_eq!(driver.unexpected(), [("live", "error without an id")]);
}

#[test]
fn the_bounds_are_kept_without_asking_the_server() {
    let mut driver = Driver::live();
    for number in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(brief(&driver.subscribe(&number.to_string()))[0], "send start");
    }
    assert_eq!(
        brief(&driver.subscribe("one more")),
        ["failed one more MaxSubscriptions"]
    );
    let mut driver = Driver::live();
    let data = "x".repeat(FRAME_PAYLOAD_BYTES_MAX + 1);
    let large = SessionInput::Subscribe {
        id: "1".into(),
        data,
        authorization: Credentials::default(),
    };
    assert_eq!(brief(&driver.step(large)), ["failed 1 Permanent"]);
}

#[test]
fn a_frame_that_cannot_be_read_ends_the_connection() {
    let mut driver = Driver::live();
    let effects = driver.step(SessionInput::Frame("{".into()));
    assert!(matches!(
        effects[0],
        SessionEffect::ConnectionLost {
            reason: LossReason::BadFrame(_)
        }
    ));
    assert_eq!(effects[1], SessionEffect::Close);
}

#[test]
fn whoever_comes_after_the_end_is_told() {
    let mut driver = Driver::live();
    driver.step(SessionInput::Closed {
        reason: "gone".into(),
    });
    assert_eq!(brief(&driver.subscribe("1")), ["failed 1 Transient"]);
    assert_eq!(brief(&driver.unsubscribe("1")), [""; 0]);
    assert_eq!(brief(&driver.frame(&json!({"type": "ka"}))), [""; 0]);
    assert_eq!(driver.unexpected(), []);
}

#[test]
fn what_is_unexpected_is_counted_under_its_name() {
    let mut driver = Driver::new();
    driver.frame(&json!({"type": "ka"}));
    driver.step(SessionInput::Opened);
    driver.step(SessionInput::Opened);
    driver.frame(&json!({"id": "1", "type": "start_ack"}));
    driver.frame(&json!({"type": "connection_ack"}));
    driver.frame(&json!({"type": "connection_ack"}));
    driver.frame(&json!({"type": "a new kind"}));
    driver.frame(&json!({"id": "1", "type": "stop"}));
    driver.frame(&json!({"id": "9", "type": "data"}));
    driver.frame(&json!({"id": "9", "type": "complete"}));
    driver.frame(&json!({"id": "9", "type": "error"}));
    driver.unsubscribe("9");
    driver.subscribed("1");
    driver.frame(&json!({"id": "1", "type": "start_ack"}));
    driver.subscribe("1");
    driver.unsubscribe("1");
    driver.unsubscribe("1");
    assert_eq!(
        driver.unexpected(),
        [
            ("awaiting ack", "opened"),
            ("awaiting ack", "start_ack"),
            ("connecting", "ka"),
            ("live", "connection_ack"),
            ("live", "stop"),
            ("live", "subscribe again"),
            ("live", "unknown"),
            ("no such subscription", "complete"),
            ("no such subscription", "data"),
            ("no such subscription", "error"),
            ("no such subscription", "unsubscribe"),
            ("stopping", "unsubscribe"),
            ("subscribed", "start_ack"),
        ]
    );
}

fn any_input() -> impl Strategy<Value = SessionInput> {
    let id = "[1-5]";
    let frame = prop_oneof![
        Just(json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": 20_000}})),
        Just(json!({"type": "ka"})),
        Just(json!({"type": "other"})),
        id.prop_map(|id| json!({"id": id, "type": "start_ack"})),
        id.prop_map(|id| json!({"id": id, "type": "data", "payload": {}})),
        id.prop_map(|id| json!({"id": id, "type": "complete"})),
        id.prop_map(|id| json!({"id": id, "type": "error"})),
        Just(json!({"type": "error"})),
    ];
    prop_oneof![
        4 => Just(SessionInput::Opened),
        12 => frame.prop_map(|frame| SessionInput::Frame(frame.to_string())),
        8 => id.prop_map(|id| subscribe(&id)),
        4 => id.prop_map(|id| SessionInput::Unsubscribe { id: id.as_str().into() }),
        4 => Just(SessionInput::Timeout),
        1 => Just(SessionInput::Closed { reason: "x".into() }),
        1 => Just(SessionInput::Frame("?".into())),
    ]
}

proptest! {
    /// The three invariants of the module, under any inputs.
    #[test]
    fn every_subscription_ends_once_and_a_timer_is_always_armed(
        inputs in proptest::collection::vec((any_input(), 0_u64..20_000), 0..60),
    ) {
        let mut session = Session::new();
        let mut now_ms = 0;
        let mut open = std::collections::BTreeMap::new();
        let mut used = std::collections::BTreeSet::new();
        let mut armed = None;
        let mut lost = false;
        for (input, wait_ms) in inputs {
            now_ms += wait_ms;
            if let SessionInput::Subscribe { id, .. } = &input {
                // Identifiers are never used twice, as the caller promises.
                if !used.insert(id.clone()) {
                    continue;
                }
                open.insert(id.clone(), false);
            }
            if matches!(input, SessionInput::Timeout) {
                armed = None;
            }
            let was_lost = lost;
            for effect in session.step(now_ms, input) {
                match effect {
                    SessionEffect::SubscriptionLive { id } => {
                        prop_assert_eq!(open.insert(id, true), Some(false), "live once, and only if asked for");
                    }
                    SessionEffect::Data { id, .. } => prop_assert!(open.contains_key(&id)),
                    SessionEffect::Completed { id } | SessionEffect::SubscriptionFailed { id, .. } => {
                        prop_assert!(open.remove(&id).is_some(), "ended once");
                    }
                    SessionEffect::ConnectionLost { .. } => {
                        prop_assert!(!lost);
                        lost = true;
                        open.clear();
                    }
                    SessionEffect::ArmTimer { at_ms } => {
                        prop_assert!(!was_lost && at_ms >= now_ms);
                        armed = Some(at_ms);
                    }
                    SessionEffect::Send(_) | SessionEffect::ConnectionLive { .. } => prop_assert!(!was_lost),
                    SessionEffect::Close => prop_assert!(lost),
                }
            }
            prop_assert_eq!(lost, session.is_closed());
            let idle = matches!(session.state_name(), "connecting" | "closed");
            prop_assert!(idle || armed.is_some());
            if session.subscriptions() == 0 {
                prop_assert!(lost || open.is_empty());
            }
        }
    }
}
