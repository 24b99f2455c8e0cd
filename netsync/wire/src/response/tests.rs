use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::transport::Delivery;

fn document() -> Document {
    Document::new("GetThing", "getThing", "query GetThing { getThing }")
}

fn read(status: u16, body: &str) -> Result<Json, Failure> {
    read_data(&document(), &HttpResponse::new(status, body))
}

fn failure(status: u16, body: &str) -> Failure {
    read(status, body).expect_err("no data")
}

fn unreadable(body: &str) -> WireError {
    let failure = failure(200, body);
    assert_eq!(
        failure.class,
        FailureClass::Transient {
            delivery: Delivery::Unknown,
            retry_after_ms: None
        }
    );
    match failure.cause {
        FailureCause::Unreadable(error) => error,
        other => panic!("expected an unreadable answer, got {other:?}"),
    }
}

#[test]
fn data_is_found_under_the_root_field_wherever_it_stands() {
    let body = r#"{"extensions":{"a":[1]},"data":{"other":{"x":1},"getThing":{"id":"1"}},"errors":[]}"#;
    assert_eq!(read(200, body), Ok(json!({"id": "1"})));
    assert_eq!(read(200, &format!("\u{feff}{body}\n")), Ok(json!({"id": "1"})));
}

#[test]
fn a_login_page_is_called_one() {
    let page = "\r\n<!DOCTYPE html><html><HEAD><Title lang=en> Wi-Fi\n login </title></head></html>";
    assert_eq!(
        unreadable(page),
        WireError::Html {
            status: 200,
            title: Some("Wi-Fi login".into())
        }
    );
    assert_eq!(
        unreadable("<html>"),
        WireError::Html {
            status: 200,
            title: None
        }
    );
    let error = unreadable(page).to_string();
    assert!(
        error.starts_with("a web page answered with status 200, titled `Wi-Fi login`, instead"),
        "{error}"
    );
    // The same page in place of a proxy's error.
    let refused = failure(502, page);
    assert!(
        matches!(
            refused.cause,
            FailureCause::Unreadable(WireError::Html { status: 502, .. })
        ),
        "{refused:?}"
    );
}

#[test]
fn a_reply_that_was_cut_off_is_told_from_one_that_is_no_json() {
    let whole = r#"{"data":{"getThing":{"id":"1"}}}"#;
    for end in 0..whole.len() {
        assert_eq!(
            unreadable(&whole[..end]),
            WireError::Truncated {
                status: 200,
                bytes: end
            },
            "{end}"
        );
    }
    assert!(matches!(unreadable("upstream error"), WireError::NotJson { .. }));
    assert!(matches!(
        unreadable(&format!("{whole}x")),
        WireError::NotJson { .. }
    ));
    for other in [
        "[]",
        "7",
        r#"{"data":7}"#,
        r#"{"data":{}}"#,
        r#"{"data":null}"#,
        "{}",
        r#"{"data":{"getThing":null}}"#,
    ] {
        assert!(
            matches!(unreadable(other), WireError::UnexpectedShape { .. }),
            "{other}"
        );
    }
}

#[test]
fn errors_are_found_at_any_status() {
    let body = r#"{"errors":[{"errorType":"UnauthorizedException","message":"no"}]}"#;
    assert_eq!(failure(401, body).class, FailureClass::Unauthorized);
    assert_eq!(failure(401, body).error_type(), Some("UnauthorizedException"));
    let malformed = r#"{"errors":{"errorType":"MalformedHttpRequestException","message":"bad"}}"#;
    assert_eq!(failure(400, malformed).class, FailureClass::Permanent);
    assert_eq!(failure(400, "").class, FailureClass::Permanent);
    // An error that sounds final does not make an outage final.
    assert_eq!(failure(502, malformed).delivery(), Delivery::Unknown);
    assert_eq!(failure(422, malformed).class, FailureClass::Permanent);
    let not_there = FailureClass::Transient {
        delivery: Delivery::NotDelivered,
        retry_after_ms: None,
    };
    // A wrong address gets nothing refused for good, whatever answers there.
    for body in ["not found", malformed] {
        assert_eq!(failure(404, body).class, not_there);
        assert!(failure(404, body).is_no_api());
    }
    assert!(!failure(400, malformed).is_no_api());
    assert_eq!(failure(403, "<html>").class, FailureClass::Unauthorized);
}

#[test]
fn the_servers_wish_to_wait_is_kept() {
    let response = HttpResponse {
        retry_after_ms: Some(7_000),
        ..HttpResponse::new(429, "slow down")
    };
    let failure = read_data(&document(), &response).expect_err("throttled");
    assert_eq!(
        failure.class,
        FailureClass::Transient {
            delivery: Delivery::NotDelivered,
            retry_after_ms: Some(7_000)
        }
    );
    let response = HttpResponse {
        retry_after_ms: Some(9),
        ..HttpResponse::new(503, r#"{"errors":[{"message":"x"}]}"#)
    };
    let failure = read_data(&document(), &response).expect_err("unavailable");
    assert_eq!(
        failure.class,
        FailureClass::Transient {
            delivery: Delivery::Unknown,
            retry_after_ms: Some(9)
        }
    );
}

#[test]
fn data_beside_an_error_is_no_data() {
    let body = r#"{"data":{"getThing":1},"errors":[{"errorType":"InternalFailure","message":"m"}]}"#;
    assert_eq!(failure(200, body).delivery(), Delivery::Unknown);
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(status in 0_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_data(&document(), &HttpResponse::new(status, body));
    }

    #[test]
    fn no_near_miss_makes_the_reader_panic(
        status in prop_oneof![Just(200_u16), Just(400), Just(500)],
        body in r#"(\{|"data"|"errors"|"getThing"|:|,|\[|\]|\}|null|1|<title>|"){0,14}"#,
    ) {
        let _ = read_data(&document(), &HttpResponse::new(status, body));
    }
}
