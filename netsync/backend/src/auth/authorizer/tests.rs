//! Answers of an authorizer: read, kept, and refused when they make no sense.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

/// Gives the answer that it was made with, and counts.
struct Counting {
    answer: Result<AuthorizerAnswer, AuthorizerFault>,
    asked: AtomicUsize,
}

impl Authorizer for Counting {
    fn authorize(&self, _: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerFault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.clone()
    }
}

fn counting(answer: Result<AuthorizerAnswer, AuthorizerFault>) -> (Arc<Counting>, AuthorizerSettings) {
    let authorizer = Arc::new(Counting {
        answer,
        asked: AtomicUsize::new(0),
    });
    let settings = AuthorizerSettings {
        authorizer: authorizer.clone(),
        ttl_s: 300,
        token_pattern: None,
    };
    (authorizer, settings)
}

fn request() -> AuthorizerRequest {
    AuthorizerRequest {
        authorization_token: "token".to_owned(),
        request_context: AuthorizerContext::default(),
        request_headers: BTreeMap::new(),
    }
}

fn yes() -> AuthorizerAnswer {
    AuthorizerAnswer {
        is_authorized: true,
        ..AuthorizerAnswer::default()
    }
}

#[test]
fn an_answer_is_kept_for_as_long_as_it_says() {
    for (answer, ttl_s) in [
        (yes(), 300),
        (
            AuthorizerAnswer {
                ttl_override: Some(10),
                ..yes()
            },
            10,
        ),
        (
            AuthorizerAnswer {
                ttl_override: Some(u32::MAX),
                ..yes()
            },
            3_600,
        ),
        (AuthorizerAnswer::default(), 300),
    ] {
        let let_in = answer.is_authorized;
        let (authorizer, settings) = counting(Ok(answer));
        let cache = AnswerCache::default();
        let judge = |token: &str, at_s: i64| {
            cache
                .judge(&settings, request, token, NOW_MS + at_s * 1_000)
                .is_ok()
        };
        assert_eq!(judge("a", 0), let_in);
        assert_eq!(judge("a", ttl_s - 1), let_in);
        assert_eq!(authorizer.asked.load(Ordering::Relaxed), 1, "{ttl_s}");
        judge("b", 1);
        assert_eq!(authorizer.asked.load(Ordering::Relaxed), 2, "another token");
        judge("a", ttl_s);
        assert_eq!(authorizer.asked.load(Ordering::Relaxed), 3, "{ttl_s}");
    }
}

#[test]
fn an_answer_of_no_time_and_a_fault_are_not_kept() {
    let fault = AuthorizerFault {
        cause: "gone".to_owned(),
    };
    let at_once = AuthorizerAnswer {
        ttl_override: Some(0),
        ..yes()
    };
    for (answer, expected) in [(Ok(at_once), None), (Err(fault), Some(AuthRefused::Unavailable))] {
        let (authorizer, settings) = counting(answer);
        let cache = AnswerCache::default();
        for asked in 1..=2 {
            assert_eq!(cache.judge(&settings, request, "a", NOW_MS).err(), expected);
            assert_eq!(authorizer.asked.load(Ordering::Relaxed), asked);
        }
    }
}

#[test]
fn the_cache_is_bounded() {
    let (_, settings) = counting(Ok(yes()));
    let cache = AnswerCache::default();
    for number in 0..CACHED_ANSWERS_MAX + 10 {
        cache
            .judge(&settings, request, &number.to_string(), NOW_MS)
            .unwrap();
    }
    assert_eq!(cache.lock().granted.len(), CACHED_ANSWERS_MAX);
}

#[test]
fn tokens_that_are_made_up_drive_out_none_that_is_good() {
    let (authorizer, settings) = counting(Ok(yes()));
    let (_, refusing) = counting(Ok(AuthorizerAnswer::default()));
    let cache = AnswerCache::default();
    cache.judge(&settings, request, "good", NOW_MS).unwrap();
    for number in 0..CACHED_ANSWERS_MAX + 10 {
        let made_up = cache.judge(&refusing, request, &number.to_string(), NOW_MS);
        assert_eq!(made_up.err(), Some(AuthRefused::Wrong));
    }
    cache.judge(&settings, request, "good", NOW_MS).unwrap();
    assert_eq!(authorizer.asked.load(Ordering::Relaxed), 1);
    assert_eq!(cache.lock().refused.len(), CACHED_REFUSALS_MAX);
}

#[test]
fn denied_fields_have_two_forms_and_what_has_neither_lets_nobody_in() {
    let caller = |fields: &[&str]| {
        caller_of(AuthorizerAnswer {
            denied_fields: Some(fields.iter().map(|field| (*field).to_owned()).collect()),
            ..yes()
        })
    };
    let arn = "arn:aws:appsync:us-east-1:111122223333:apis/x/types/Mutation/fields/createPost";
    let Some(Caller::Lambda(user)) = caller(&["Post.secret", arn]) else {
        panic!("it is let in")
    };
    let named = |ty: &str, field: &str| (ty.to_owned(), field.to_owned());
    assert_eq!(
        user.denied_fields,
        BTreeSet::from([named("Post", "secret"), named("Mutation", "createPost")])
    );
    for bad in [
        "secret",
        "Post.",
        ".secret",
        "Post.a.b",
        "arn:aws:x",
        "Post.*",
        "arn:/types/A/fields/",
    ] {
        assert!(caller(&[bad]).is_none(), "{bad}");
    }
}

#[test]
fn answers_are_read_as_appsync_reads_them() {
    let read = |text: &str| serde_json::from_str::<AuthorizerAnswer>(text);
    let full = read(
        r#"{"isAuthorized": true, "resolverContext": {"a": "b"}, "deniedFields": ["Post.secret"], "ttlOverride": 10, "x": 1}"#,
    )
    .unwrap();
    assert!(full.is_authorized && full.ttl_override == Some(10));
    assert_eq!(full.resolver_context.unwrap()["a"], "b");
    assert!(!read("{}").unwrap().is_authorized);
    assert!(
        read(r#"{"isAuthorized": true, "deniedFields": null}"#)
            .unwrap()
            .is_authorized
    );
    for bad in [
        "",
        "[]x",
        r#"{"isAuthorized": "true"}"#,
        r#"{"isAuthorized": true, "ttlOverride": -1}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn requests_have_the_names_of_appsyncs_event_and_show_no_token() {
    let json = serde_json::to_value(request()).unwrap();
    let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["authorizationToken", "requestContext", "requestHeaders"]);
    let names: Vec<&String> = json["requestContext"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "apiId",
            "accountId",
            "requestId",
            "queryString",
            "operationName",
            "variables"
        ]
    );
    assert!(!format!("{:?}", request()).contains("\"token\""));
}
