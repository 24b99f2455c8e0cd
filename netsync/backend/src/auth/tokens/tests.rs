//! Good tokens, and every way to make a bad one.

use serde_json::json;

use super::*;

const NOW_MS: i64 = 1_700_000_000_500;
const NOW_S: i64 = 1_700_000_000;
const ISSUER: &str = "https://pool.test";
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

fn fixtures() -> Json {
    serde_json::from_str(include_str!("../../../fixtures/rs256.json")).unwrap()
}

fn sign(header: &Json, claims: &Json, secret: &[u8]) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn header() -> Json {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn claims() -> Json {
    json!({"iss": ISSUER, "sub": "a-1", "aud": "app", "exp": NOW_S + 60})
}

fn shared() -> TokenIssuer {
    TokenIssuer::user_pool(ISSUER, TokenKeys::secret(SECRET).unwrap()).for_audience("app")
}

fn published() -> TokenIssuer {
    let keys = TokenKeys::from_jwks(&fixtures()["jwks"].to_string()).unwrap();
    TokenIssuer::user_pool(ISSUER, keys).for_audience("app")
}

/// Whom a token is for, `None` if it has no form or names no known issuer.
fn judge(token: &str, issuer: TokenIssuer, now_ms: i64) -> Option<Result<String, TokenFault>> {
    let issuers = [issuer];
    let unverified = Unverified::read(token)?;
    let issuer = unverified.issuer(&issuers)?;
    let verified = unverified.verify(issuer, now_ms);
    Some(verified.map(|user| user.claims["sub"].as_str().unwrap_or_default().to_owned()))
}

fn with(mut claims: Json, name: &str, value: Json) -> Json {
    claims[name] = value;
    claims
}

#[test]
fn a_good_token_is_taken_and_every_changed_one_is_not() {
    let token = sign(&header(), &claims(), SECRET);
    assert_eq!(judge(&token, shared(), NOW_MS), Some(Ok("a-1".to_owned())));
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character has bits that decode to nothing; a strict decoder refuses them as well.
        let judged = judge(&changed, shared(), NOW_MS);
        assert!(!matches!(judged, Some(Ok(_))), "byte {at} of {token}");
    }
}

#[test]
fn claims_are_checked_by_the_given_time() {
    let at = |claims: &Json| judge(&sign(&header(), claims, SECRET), shared(), NOW_MS);
    let (expired, refused, good) = (
        Some(Err(TokenFault::Expired)),
        Some(Err(TokenFault::Refused)),
        Some(Ok("a-1".to_owned())),
    );
    for (name, value, expected) in [
        ("exp", json!(NOW_S), &expired),
        ("exp", json!(NOW_S + 1), &good),
        ("exp", json!(NOW_S as f64 + 1.5), &good),
        ("exp", json!(-1), &expired),
        ("exp", json!(1e300), &good),
        ("exp", json!("soon"), &refused),
        ("exp", Json::Null, &refused),
        ("exp", json!([NOW_S + 60]), &refused),
        ("nbf", json!(NOW_S), &good),
        ("nbf", json!(NOW_S + 1), &refused),
        ("nbf", json!("x"), &refused),
        ("aud", json!("other"), &refused),
        ("aud", json!(["other", "app"]), &good),
        ("aud", json!([]), &refused),
        ("aud", json!({"app": "app"}), &refused),
        ("client_id", json!("app"), &good),
        ("token_use", json!("access"), &good),
        ("token_use", json!("refresh"), &refused),
        ("token_use", json!(5), &refused),
    ] {
        assert_eq!(
            &at(&with(claims(), name, value.clone())),
            expected,
            "{name} {value}"
        );
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(at(&endless), refused);
    let mut for_nobody = claims();
    for_nobody.as_object_mut().unwrap().remove("aud");
    assert_eq!(at(&for_nobody), refused);
    assert_eq!(at(&with(for_nobody.clone(), "client_id", json!("app"))), good);
    assert_eq!(
        at(&with(for_nobody, "azp", json!("app"))),
        refused,
        "that is a claim of OpenID Connect"
    );
    for stranger in [
        json!("https://pool.test/"),
        json!(null),
        json!(["https://pool.test"]),
    ] {
        assert_eq!(at(&with(claims(), "iss", stranger.clone())), None, "{stranger}");
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    let fixtures = fixtures();
    let modulus = fixtures["modulus"].as_str().unwrap();
    // The public key is known to everybody; as a secret it must prove nothing, in whichever form.
    for secret in [
        modulus.as_bytes(),
        &decode(modulus).unwrap(),
        fixtures["jwks"].to_string().as_bytes(),
    ] {
        let forged = sign(&json!({"alg": "HS256", "kid": "one"}), &claims(), secret);
        assert_eq!(
            judge(&forged, published(), NOW_MS),
            Some(Err(TokenFault::Refused))
        );
    }
    let unsigned = |alg: &str| {
        let token = sign(&json!({"alg": alg, "kid": "one"}), &claims(), SECRET);
        let (message, _) = token.rsplit_once('.').unwrap();
        (format!("{message}."), message.to_owned(), token)
    };
    for alg in [
        "none", "None", "NONE", "", "RS256", "HS512", "PS256", "ES256", "EdDSA",
    ] {
        let (empty, cut, signed) = unsigned(alg);
        for token in [empty, cut, signed] {
            for issuer in [shared(), published()] {
                assert!(
                    !matches!(judge(&token, issuer, NOW_MS), Some(Ok(_))),
                    "{alg}: {token}"
                );
            }
        }
    }
}

#[test]
fn published_keys_are_found_by_their_name() {
    let fixtures = fixtures();
    let at = |name: &str| judge(fixtures[name].as_str().unwrap(), published(), NOW_MS);
    assert_eq!(at("good"), Some(Ok("a-1".to_owned())));
    assert_eq!(at("good_two"), Some(Ok("a-1".to_owned())));
    for name in [
        "signed_by_another_key",
        "unknown_kid",
        "no_kid",
        "key_for_encryption",
    ] {
        assert_eq!(at(name), Some(Err(TokenFault::Refused)), "{name}");
    }
    let good = fixtures["good"].as_str().unwrap();
    assert_eq!(
        judge(good, published(), (NOW_S + 3_600) * 1_000),
        Some(Err(TokenFault::Expired))
    );
    let other_audience = TokenIssuer::user_pool(
        ISSUER,
        TokenKeys::from_jwks(&fixtures["jwks"].to_string()).unwrap(),
    )
    .for_audience("another");
    assert_eq!(
        judge(good, other_audience, NOW_MS),
        Some(Err(TokenFault::Refused))
    );
}

#[test]
fn headers_cannot_bring_their_own_key_or_demands() {
    let key = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    for header in [
        json!({"alg": "HS256", "jwk": key}),
        json!({"alg": "HS256", "jku": "https://evil.test/jwks.json"}),
        json!({"alg": "HS256", "x5u": "https://evil.test/cert.pem"}),
    ] {
        let token = sign(&header, &claims(), &[7; 32]);
        assert!(
            !matches!(judge(&token, shared(), NOW_MS), Some(Ok(_))),
            "{header}"
        );
    }
    let token = sign(&json!({"alg": "HS256", "crit": ["exp"]}), &claims(), SECRET);
    assert_eq!(judge(&token, shared(), NOW_MS), Some(Err(TokenFault::Refused)));
}

#[test]
fn what_is_no_token_is_not_read() {
    let token = sign(&header(), &claims(), SECRET);
    let (message, tag) = token.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        &format!("{token}.{tag}"),
        &format!("{head}.{tag}"),
        &format!("{body}.{head}.{tag}"),
        &format!("{head}.{}.{tag}", URL_SAFE_NO_PAD.encode("[1]")),
        &format!("{head}.{}.{tag}", URL_SAFE_NO_PAD.encode("{")),
        &format!("{head}.{}.{tag}", URL_SAFE_NO_PAD.encode("[".repeat(10_000))),
        &format!("{head}.{}.{tag}", "A".repeat(TOKEN_BYTES_MAX)),
    ] {
        assert!(Unverified::read(text).is_none(), "{text:.60}");
    }
}

#[test]
fn keys_that_prove_nothing_are_refused_and_none_is_shown() {
    assert_eq!(
        TokenKeys::secret(b"short").unwrap_err(),
        KeyFault::ShortSecret { given: 5 }
    );
    for (text, fault) in [
        ("", KeyFault::NoKeySet),
        ("{}", KeyFault::NoKeySet),
        (r#"{"keys": []}"#, KeyFault::NoUsableKey),
        (
            r#"{"keys": [{"kty": "oct", "k": "YQ"}]}"#,
            KeyFault::ShortSecret { given: 1 },
        ),
        (
            r#"{"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}"#,
            KeyFault::NoKeySet,
        ),
        (
            // Of eight bits: it would refuse every token later.
            r#"{"keys": [{"kty": "RSA", "n": "_w", "e": "AQAB"}]}"#,
            KeyFault::NoUsableKey,
        ),
    ] {
        assert_eq!(TokenKeys::from_jwks(text).unwrap_err(), fault, "{text}");
    }
    let many: Vec<Json> = (0..=KEYS_MAX).map(|_| json!({"kty": "EC"})).collect();
    assert_eq!(
        TokenKeys::from_jwks(&json!({"keys": many}).to_string()).unwrap_err(),
        KeyFault::TooManyKeys
    );
    let shown = format!("{:?}", shared());
    assert!(!shown.contains("secret") && !shown.contains("97, 32"), "{shown}");
}
