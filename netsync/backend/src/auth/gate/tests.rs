//! Which mode a call uses.

use super::*;
use crate::auth::{ApiKey, IamCredential, IamRole, TokenIssuer, TokenKeys};

const NOW_MS: i64 = 1_700_000_000_000;

fn admit(config: BackendConfig, headers: &[(&str, &str)]) -> Result<Arc<Caller>, AuthRefused> {
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let presented = Presented {
        credentials: &Credentials::of_headers(&headers),
        signed: Signed {
            method: "POST",
            path: "/graphql",
            query: None,
            body: b"",
        },
        context: &AuthorizerContext::default,
    };
    Gate::new(Arc::new(config)).admit(NOW_MS, &presented)
}

fn judge_head(config: BackendConfig, headers: &[(String, String)]) -> Judgement {
    Gate::new(Arc::new(config)).judge_head(NOW_MS, &Credentials::of_headers(headers))
}

/// The body is what a signature needs, and an authorizer what its tokens need; with both at hand the answer is the same.
#[test]
fn the_head_says_the_same_as_the_whole_request_or_nothing_yet() {
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
    let signed =
        "AWS4-HMAC-SHA256 Credential=A/20231114/r/appsync/aws4_request, SignedHeaders=host, Signature=0";
    let asking = || {
        let mut config = with_issuer();
        config.auth.authorizer = Some(AuthorizerSettings {
            authorizer: Arc::new(Counting::default()),
            ttl_s: 0,
            token_pattern: Some(TokenPattern::new("^doorman-[0-9]+$").unwrap()),
        });
        config
    };
    let mut said = Vec::new();
    for config in [BackendConfig::default, with_key, with_issuer, asking, with_signer] {
        for headers in [
            vec![],
            vec![("x-api-key", "new")],
            vec![("x-api-key", "old")],
            vec![("x-api-key", "new"), ("authorization", signed)],
            vec![("authorization", "")],
            vec![("authorization", signed)],
            vec![("authorization", token)],
            vec![("authorization", "doorman-1")],
            vec![("authorization", "junk")],
        ] {
            let owned: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            said.push(match judge_head(config(), &owned) {
                Judgement::Done(judged) => {
                    assert_eq!(judged, admit(config(), &headers), "{headers:?}");
                    'd'
                }
                Judgement::NeedsBody => 'b',
                Judgement::NeedsAuthorizer => 'a',
            });
        }
    }
    let said: String = said.into_iter().collect();
    // Who is not known to sign need not send a body.
    assert_eq!(said, "ddddddddd".repeat(3) + "dddddddad" + "dddddbddd");
}

fn with_signer() -> BackendConfig {
    let mut config = with_key();
    config.auth.iam.credentials = vec![IamCredential::new("A", "secret", IamRole::Service)];
    config
}

fn with_key() -> BackendConfig {
    BackendConfig {
        api_keys: vec![ApiKey::new("old").expiring_at(NOW_MS), ApiKey::new("new")],
        ..BackendConfig::default()
    }
}

fn with_issuer() -> BackendConfig {
    let mut config = with_key();
    let keys = TokenKeys::secret(&[1; 32]).unwrap();
    config.auth.issuers = vec![TokenIssuer::oidc("https://a.test", keys)];
    config
}

#[test]
fn modes_that_are_off_let_nobody_in() {
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
    let nothing = || BackendConfig::default();
    let signed =
        "AWS4-HMAC-SHA256 Credential=A/20231114/r/appsync/aws4_request, SignedHeaders=host, Signature=0";
    for (headers, expected) in [
        (vec![], AuthRefused::Missing),
        (vec![("authorization", "")], AuthRefused::Missing),
        (vec![("x-api-key", "")], AuthRefused::Wrong),
        (vec![("x-api-key", "new")], AuthRefused::Wrong),
        (vec![("authorization", token)], AuthRefused::Wrong),
        (vec![("authorization", "opaque")], AuthRefused::Wrong),
        (vec![("authorization", signed)], AuthRefused::UnknownSigner),
    ] {
        assert_eq!(admit(nothing(), &headers), Err(expected), "{headers:?}");
    }
}

#[test]
fn a_key_decides_even_beside_a_token_and_names_have_no_case() {
    assert_eq!(
        admit(with_key(), &[("X-API-Key", " new ")]),
        Ok(Arc::new(Caller::ApiKey))
    );
    assert_eq!(
        admit(with_key(), &[("x-api-key", "old")]),
        Err(AuthRefused::Wrong)
    );
    let both = [
        ("x-api-key", "bad"),
        ("authorization", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"),
    ];
    assert_eq!(admit(with_issuer(), &both), Err(AuthRefused::Wrong));
}

#[test]
fn tokens_of_no_form_are_told_from_tokens_of_strangers() {
    for (authorization, expected) in [
        ("junk", AuthRefused::UnreadableToken),
        ("Bearer junk", AuthRefused::UnreadableToken),
        ("Bearer ", AuthRefused::UnreadableToken),
        ("eyJhbGciOiJIUzI1NiJ9.e30.AAAA", AuthRefused::Wrong),
        ("bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA", AuthRefused::Wrong),
    ] {
        assert_eq!(
            admit(with_issuer(), &[("authorization", authorization)]),
            Err(expected),
            "{authorization}"
        );
    }
}

#[test]
fn words_before_a_token_are_cut_off_without_regard_to_case() {
    for text in ["Bearer t.o.k", "bearer t.o.k", "BEARER  t.o.k", "t.o.k"] {
        assert_eq!(bearer(text), "t.o.k");
    }
    assert_eq!(bearer("Bearer"), "Bearer");
    assert_eq!(bearer("ümläut-ü"), "ümläut-ü");
}

/// Lets everybody in and counts how often it is asked.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl crate::auth::Authorizer for Counting {
    fn authorize(
        &self,
        _: &AuthorizerRequest,
    ) -> Result<crate::auth::AuthorizerAnswer, crate::auth::AuthorizerFault> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(crate::auth::AuthorizerAnswer {
            is_authorized: true,
            ..crate::auth::AuthorizerAnswer::default()
        })
    }
}

#[test]
fn the_authorizer_is_asked_only_about_tokens_that_fit_its_pattern() {
    let authorizer = Arc::new(Counting::default());
    let with = |pattern: Option<&str>| {
        let mut config = with_issuer();
        config.auth.authorizer = Some(AuthorizerSettings {
            authorizer: authorizer.clone(),
            ttl_s: 0,
            token_pattern: pattern.map(|pattern| TokenPattern::new(pattern).unwrap()),
        });
        config
    };
    let pattern = Some("^doorman-[0-9]+$");
    let longest = "x".repeat(OPAQUE_TOKEN_BYTES_MAX);
    let longer = format!("{longest}x");
    for (authorization, pattern, asked) in [
        ("doorman-1", pattern, 1),
        ("doorman-", pattern, 0),
        ("Bearer doorman-1", pattern, 0),
        ("eyJhbGciOiJIUzI1NiJ9.e30.AAAA", pattern, 0),
        ("whatever", None, 1),
        (longest.as_str(), None, 1),
        (longer.as_str(), None, 0),
    ] {
        let before = authorizer.0.load(std::sync::atomic::Ordering::Relaxed);
        let admitted = admit(with(pattern), &[("authorization", authorization)]);
        let after = authorizer.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            (after - before, admitted.is_ok()),
            (asked, asked == 1),
            "{authorization:.32}"
        );
    }
}
