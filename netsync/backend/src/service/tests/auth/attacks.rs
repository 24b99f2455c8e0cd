//! Calls that are refused as a whole, and callers of whom only a part is let through.

use super::*;

const NOTES: &str = "type Note @model @auth(rules: [{ allow: private }, { allow: custom }]) { id: ID! text: String place: Place }
                     type Place { city: String }";
const LIST: &str = "{ listNotes { items { id } } }";

impl Bench {
    fn call_with(&self, headers: &[(&str, &str)]) -> (u16, Json, Option<String>) {
        let call = HttpCall {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: json!({"query": LIST}).to_string().into(),
            ..HttpCall::default()
        };
        let reply = self.backend.handle_http(self.now_ms.get(), &call);
        let header = reply.headers.iter().find(|(name, _)| name == "x-amzn-errortype");
        let error_type = header.map(|(_, value)| value.clone());
        (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap(),
            error_type,
        )
    }
}

fn tokens() -> Vec<(&'static str, String, &'static str)> {
    let claims = Cast::Alice.claims();
    let with = |name: &str, value: Json| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&claims, POOL_SECRET)
    };
    let wrong = "You are not authorized to make this call.";
    let unsigned = {
        let token = sign_with(&json!({"alg": "none"}), &claims, POOL_SECRET);
        token.rsplit_once('.').unwrap().0.to_owned() + "."
    };
    vec![
        ("expired", with("exp", json!(NOW_S)), "Token has expired."),
        ("without end", with("exp", Json::Null), wrong),
        ("not yet good", with("nbf", json!(NOW_S + 100)), wrong),
        ("of another audience", with("aud", json!("other")), wrong),
        ("of no issuer", with("iss", json!("https://evil.test")), wrong),
        (
            "signed with the secret of another issuer",
            sign(&claims, OIDC_SECRET),
            wrong,
        ),
        ("signed with nothing", unsigned, wrong),
        (
            "of another key",
            sign_with(
                &json!({"alg": "HS256", "kid": "x"}),
                &claims,
                b"guessed guessed guessed guessed guessed",
            ),
            wrong,
        ),
        (
            "of another algorithm",
            sign_with(&json!({"alg": "RS256"}), &claims, POOL_SECRET),
            wrong,
        ),
        ("junk", "a.b.c".to_owned(), wrong),
    ]
}

#[test]
fn bad_tokens_are_answered_401_in_appsyncs_words() {
    let bench = guarded(NOTES);
    for (what, token, message) in tokens() {
        for text in [token.clone(), format!("Bearer {token}")] {
            let (status, body, error_type) = bench.call_with(&[("authorization", &text)]);
            assert_eq!(status, 401, "{what}");
            let errors = json!({"errors": [{"errorType": "UnauthorizedException", "message": message}]});
            assert_eq!(body, errors, "{what}");
            assert_eq!(error_type.as_deref(), Some("UnauthorizedException"), "{what}");
        }
    }
    let (status, body, _) = bench.call_with(&[]);
    assert_eq!(
        (status, &body["errors"][0]["message"]),
        (401, &json!("Valid authorization header not provided."))
    );
    let (status, body, _) = bench.call_with(&[("x-api-key", "da2-guess")]);
    assert_eq!(
        (status, &body["errors"][0]["message"]),
        (401, &json!("You are not authorized to make this call."))
    );
}

#[test]
fn without_an_authorizer_a_text_without_form_is_no_token() {
    let mut auth = settings(AuthorizerAnswer::default());
    auth.authorizer = None;
    let config = BackendConfig {
        auth,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(schema(NOTES), config);
    let (status, body, _) = bench.call_with(&[("authorization", "junk")]);
    assert_eq!(
        (status, &body["errors"][0]["message"]),
        (401, &json!("Unable to parse JWT token."))
    );
}

#[test]
fn a_signature_over_another_body_is_answered_403() {
    let bench = guarded(NOTES);
    let headers = Cast::Root.headers(bench.now_ms.get(), "/graphql", "{}");
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let (status, body, error_type) = bench.call_with(&headers);
    assert_eq!(
        (status, error_type.as_deref()),
        (403, Some("InvalidSignatureException")),
        "{body}"
    );
}

#[test]
fn a_caller_of_one_issuer_is_nobody_under_the_rules_of_another() {
    let bench =
        guarded("type Note @model @auth(rules: [{ allow: private, provider: oidc }]) { text: String }");
    assert!(bench.ask_as(Cast::Carol, LIST, json!({})).get("errors").is_none());
    assert_eq!(
        only_error(&bench.ask_as(Cast::Alice, LIST, json!({}))),
        refusal("listNotes", "Query")
    );
}

/// A note, and an authorizer that denies some fields of it.
fn with_denied_fields() -> Bench {
    let answer = AuthorizerAnswer {
        denied_fields: Some(
            [
                "Note.text",
                "Place.city",
                "Mutation.deleteNote",
                "Query.syncNotes",
                "Subscription.onDeleteNote",
            ]
            .map(str::to_owned)
            .into(),
        ),
        resolver_context: json!({"tenant": "t1"}).as_object().cloned(),
        ..AuthorizerAnswer::default()
    };
    let bench = guarded_with(NOTES, answer);
    let create = "mutation { createNote(input: {id: \"n\", text: \"t\", place: {city: \"c\"}}) { id } }";
    bench.data_as(Cast::Alice, create, json!({}));
    bench
}

#[test]
fn denied_fields_are_null_wherever_they_stand() {
    let bench = with_denied_fields();
    let body = bench.ask_as(
        Cast::Lambda,
        "{ getNote(id: \"n\") { id text place { city } } }",
        json!({}),
    );
    assert_eq!(
        body["data"]["getNote"],
        json!({"id": "n", "text": null, "place": {"city": null}})
    );
    let messages: Vec<&str> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        messages,
        [
            "Not Authorized to access text on type Note",
            "Not Authorized to access city on type Place"
        ]
    );
    let body = bench.ask_as(Cast::Lambda, "{ syncNotes { items { id } } }", json!({}));
    assert_eq!(only_error(&body), refusal("syncNotes", "Query"));
    let body = bench.ask_as(
        Cast::Lambda,
        "mutation { deleteNote(input: {id: \"n\", _version: 1}) { id } }",
        json!({}),
    );
    assert_eq!(only_error(&body), refusal("deleteNote", "Mutation"));
    assert!(!bench.backend.records("Note").unwrap()[0].sync.deleted);
}

#[test]
fn denied_fields_cannot_be_found_out_by_comparing() {
    let bench = with_denied_fields();
    for query in [
        "{ listNotes(filter: {or: [{text: {eq: \"t\"}}]}) { items { id } } }",
        "mutation { updateNote(input: {id: \"n\", _version: 1}, condition: {text: {eq: \"t\"}}) { id } }",
    ] {
        let body = bench.ask_as(Cast::Lambda, query, json!({}));
        assert_eq!(only_error(&body).1, "Unauthorized on [text]", "{query}");
    }
}

#[test]
fn denied_fields_are_kept_from_subscribers() {
    let bench = with_denied_fields();
    let connection = bench.connect_as(Cast::Lambda);
    let query = "subscription { onUpdateNote(filter: {text: {eq: \"u\"}}) { id } }";
    let refused = bench.start_with(Cast::Lambda, connection, "0", query);
    assert_eq!(
        refused["payload"]["errors"][0]["message"],
        "Unauthorized on [text]"
    );
    let refused = bench.start_with(
        Cast::Lambda,
        connection,
        "1",
        "subscription { onDeleteNote { id } }",
    );
    assert_eq!(refused["type"], "error", "{refused}");
    let query = "subscription { onUpdateNote { id text place { city } } }";
    assert_eq!(
        bench.start_with(Cast::Lambda, connection, "2", query)["type"],
        "start_ack"
    );
    let update =
        "mutation { updateNote(input: {id: \"n\", text: \"u\", _version: 1}) { id text place { city } } }";
    bench.data_as(Cast::Alice, update, json!({}));
    let heard = bench.messages(connection).pop().unwrap();
    let expected = json!({"id": "n", "text": null, "place": {"city": null}});
    assert_eq!(heard["payload"]["data"]["onUpdateNote"], expected);
}

#[test]
fn identities_are_those_that_resolvers_of_appsync_see() {
    let bench = guarded(NOTES);
    let identity = |who: Cast| {
        let body = json!({"query": LIST}).to_string();
        let call = HttpCall {
            headers: who.headers(bench.now_ms.get(), "/graphql", &body),
            body: body.into(),
            ..HttpCall::default()
        };
        bench
            .backend
            .prepare(bench.now_ms.get(), &call)
            .unwrap()
            .identity()
    };
    assert_eq!(identity(Cast::Key), Json::Null);
    let bob = identity(Cast::Bob);
    assert_eq!(
        (&bob["sub"], &bob["username"], &bob["groups"], &bob["issuer"]),
        (
            &json!("b-1"),
            &json!("bob"),
            &json!(["Admin", "red"]),
            &json!(POOL)
        )
    );
    assert_eq!(identity(Cast::Carol)["claims"]["email"], "carol@x.test");
    assert_eq!(
        identity(Cast::Guest)["cognitoIdentityAuthType"],
        "unauthenticated"
    );
    assert_eq!(identity(Cast::Lambda), json!({"resolverContext": {}}));
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let shown = format!("{:?}", settings(AuthorizerAnswer::default()));
    for secret in ["secret of", "pool pool", "oidc oidc", KEY] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let config = BackendConfig::with_api_key(KEY);
    assert!(!format!("{config:?}").contains(KEY));
}

#[test]
fn models_that_nobody_can_reach_are_named() {
    let sdl = "type Open @model { text: String }
               type Pool @model @auth(rules: [{ allow: owner }]) { text: String }
               type Both @model @auth(rules: [{ allow: public }, { allow: private, provider: oidc }]) { text: String }";
    let bench = bench_with(schema(sdl), BackendConfig::with_api_key(KEY));
    let expected = "nobody can reach `Pool`: its rules are for userPools, and nothing of that kind is set up";
    assert_eq!(bench.backend.unreachable_models(), [expected]);
    assert_eq!(guarded(sdl).backend.unreachable_models(), Vec::<String>::new());
}
