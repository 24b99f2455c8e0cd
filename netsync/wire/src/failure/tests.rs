use super::*;

const LATER: FailureClass = FailureClass::Transient {
    delivery: Delivery::NotDelivered,
    retry_after_ms: None,
};
const ASK: FailureClass = FailureClass::Transient {
    delivery: Delivery::Unknown,
    retry_after_ms: None,
};
const TOO_MUCH: FailureClass = FailureClass::TooMuch {
    delivery: Delivery::Unknown,
};

#[test]
fn every_error_type_of_the_catalogue_has_its_class() {
    let cases = [
        ("ConflictUnhandled", Some(FailureClass::Conflict)),
        (
            "ConditionalCheckFailedException",
            Some(FailureClass::ConditionFailed),
        ),
        (
            "DynamoDB:ConditionalCheckFailedException",
            Some(FailureClass::ConditionFailed),
        ),
        ("Unauthorized", Some(FailureClass::Unauthorized)),
        ("UnauthorizedException", Some(FailureClass::Unauthorized)),
        ("MaxConflicts", Some(LATER)),
        ("ConflictError", Some(LATER)),
        ("ThrottlingException", Some(LATER)),
        ("DeltaSyncWriteError", Some(ASK)),
        ("InternalFailure", Some(ASK)),
        ("DynamoDB:ProvisionedThroughputExceededException", Some(ASK)),
        ("ExecutionTimeout", Some(ASK)),
        (
            "WriteSizeExceeded",
            Some(FailureClass::TooMuch {
                delivery: Delivery::NotDelivered,
            }),
        ),
        ("ResponseSizeExceeded", Some(TOO_MUCH)),
        ("RequestSizeExceeded", Some(TOO_MUCH)),
        ("ResolverLimitExceeded", Some(TOO_MUCH)),
        ("BadRequest", None),
        ("MappingTemplate", None),
        ("Lambda:Unhandled", None),
        ("UnsupportedOperation", None),
        ("SomethingNew", None),
    ];
    for (error_type, class) in cases {
        assert_eq!(FailureClass::of_error_type(error_type), class, "{error_type}");
    }
}

#[test]
fn an_error_without_a_type_is_permanent_unless_time_ran_out() {
    let error = |message: &str| ServerError {
        message: message.into(),
        ..ServerError::default()
    };
    assert_eq!(FailureClass::of_error(&error("Execution timed out.")), ASK);
    assert_eq!(
        FailureClass::of_error(&error("Validation error of type FieldUndefined")),
        FailureClass::Permanent
    );
    let refused = ServerError {
        error_code: Some(401),
        ..ServerError::default()
    };
    assert_eq!(FailureClass::of_error(&refused), FailureClass::Unauthorized);
}

#[test]
fn the_status_alone_says_whether_a_request_can_have_taken_effect() {
    let cases = [
        (200, StatusVerdict::Read),
        (302, StatusVerdict::Final(ASK)),
        (400, StatusVerdict::Unless(FailureClass::Permanent)),
        (401, StatusVerdict::Final(FailureClass::Unauthorized)),
        (403, StatusVerdict::Final(FailureClass::Unauthorized)),
        (404, StatusVerdict::Final(LATER)),
        (407, StatusVerdict::Unless(LATER)),
        (408, StatusVerdict::Final(ASK)),
        (413, StatusVerdict::Unless(FailureClass::Permanent)),
        (429, StatusVerdict::Final(LATER)),
        (500, StatusVerdict::Final(ASK)),
        (502, StatusVerdict::Final(ASK)),
        (503, StatusVerdict::Final(ASK)),
        (511, StatusVerdict::Final(LATER)),
        (0, StatusVerdict::Final(ASK)),
    ];
    for (status, verdict) in cases {
        assert_eq!(status_verdict(status), verdict, "{status}");
    }
}

#[test]
fn the_decisive_error_comes_first() {
    let errors = vec![
        ServerError::new("BadRequest", "a"),
        ServerError::new("ThrottlingException", "b"),
        ServerError::new("ConflictUnhandled", "c"),
    ];
    let failure = Failure::of_errors(200, errors, Some(5), FailureClass::Permanent);
    assert_eq!(failure.class, FailureClass::Conflict);
    assert_eq!(failure.error_type(), Some("ConflictUnhandled"));
    let messages: Vec<_> = failure
        .errors()
        .iter()
        .map(|error| error.message.as_str())
        .collect();
    assert_eq!(messages, ["c", "a", "b"]);
    assert_eq!(failure.to_string(), "ConflictUnhandled: c (and 2 more)");
    assert_eq!(failure.to_refusal().message, "c");
}

#[test]
fn transport_errors_refuse_nothing() {
    let interrupted = Failure::from(TransportError::Interrupted {
        reason: "reset".into(),
    });
    assert_eq!(
        (interrupted.class, interrupted.delivery()),
        (ASK, Delivery::Unknown)
    );
    let unreachable = Failure::from(TransportError::Unreachable {
        reason: "refused".into(),
    });
    assert_eq!(
        (unreachable.class, unreachable.delivery()),
        (LATER, Delivery::NotDelivered)
    );
    let misconfigured = Failure::from(TransportError::Misconfigured {
        reason: "no URL".into(),
    });
    assert_eq!(misconfigured.class, LATER);
    let unauthorized = Failure::from(TransportError::Unauthorized {
        reason: "no key".into(),
    });
    assert_eq!(unauthorized.class, FailureClass::Unauthorized);
    assert_eq!(unauthorized.to_refusal().message, "no valid credentials: no key");
}

#[test]
fn a_refusal_of_the_form_is_told_from_one_of_a_record_without_its_text() {
    let failure = |status: u16, errors: &serde_json::Value| {
        let errors = errors.as_array().unwrap().iter().cloned();
        let errors = errors.map(ServerError::from_json).collect();
        Failure::of_errors(status, errors, None, FailureClass::Permanent)
    };
    let form =
        serde_json::json!([{ "path": null, "locations": [{ "line": 1, "column": 2 }], "message": "any" }]);
    assert!(failure(200, &form).is_of_form() && failure(400, &form).is_of_form());
    assert!(!failure(500, &form).is_of_form());
    let other_servers =
        serde_json::json!([{ "message": "any", "extensions": { "code": "GRAPHQL_VALIDATION_FAILED" } }]);
    assert!(failure(400, &other_servers).is_of_form());
    for about_the_record in [
        serde_json::json!([{ "path": ["createPost"], "message": "any" }]),
        serde_json::json!([{ "path": ["createPost"], "errorType": "Lambda:Unhandled", "message": "any" }]),
        serde_json::json!([{ "path": null, "errorType": "BadRequestException", "message": "any" }]),
        serde_json::json!([{ "path": null, "errorType": "Unauthorized", "message": "any" }]),
        serde_json::json!([]),
    ] {
        assert!(
            !failure(200, &about_the_record).is_of_form(),
            "{about_the_record}"
        );
    }
    let transport = TransportError::Unreachable {
        reason: "no route".into(),
    };
    assert!(!Failure::from(transport).is_of_form());
}
