//! Who may do what, through the front door.
//!
//! Owns the cast of these tests: callers of every mode, with the credentials that real clients would send.

mod attacks;
mod conflicts;
mod fields;
mod frames;
mod keyed;
mod keys;
mod matrix;
mod oracle;
mod relations;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value as Json, json};

use super::*;
use crate::auth::{
    AuthMode, AuthSettings, Authorizer, AuthorizerAnswer, AuthorizerFault, AuthorizerRequest,
    AuthorizerSettings, IamCredential, IamRole, IamSettings, IamSigner, TokenIssuer, TokenKeys,
};
use crate::config::BackendConfig;

pub(super) const POOL: &str = "https://pool.test";
pub(super) const OIDC: &str = "https://oidc.test";
pub(super) const AUDIENCE: &str = "app";
pub(super) const POOL_SECRET: &[u8] = b"pool pool pool pool pool pool pool pool";
pub(super) const OIDC_SECRET: &[u8] = b"oidc oidc oidc oidc oidc oidc oidc oidc";
pub(super) const OPAQUE: &str = "opaque-token";
pub(super) const HOST: &str = "localhost";
/// Everything below is asked at this second or within the next hour.
pub(super) const NOW_S: i64 = START_MS / 1_000;

/// Somebody who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cast {
    /// Holds the API key.
    Key,
    /// Of the user pool, in no group.
    Alice,
    /// Of the user pool, in the groups Admin and red.
    Bob,
    /// Of the OpenID Connect provider, in the group blue. Calls itself what others are called in the user pool, and is in
    /// groups of the same names, which must count for nothing there.
    Carol,
    /// Signs requests, signed in.
    Signed,
    /// Signs requests, as a guest.
    Guest,
    /// Let in by the authorizer.
    Lambda,
    /// Signs requests and may do everything.
    Root,
}

impl Cast {
    /// Those whom rules speak of.
    pub(super) const BOUND: [Self; 7] = [
        Self::Key,
        Self::Alice,
        Self::Bob,
        Self::Carol,
        Self::Signed,
        Self::Guest,
        Self::Lambda,
    ];

    /// The headers that authorize a POST to a path.
    pub(super) fn headers(self, now_ms: i64, path: &str, body: &str) -> Vec<(String, String)> {
        let authorization = |token: String| vec![("authorization".to_owned(), token)];
        match self {
            Self::Key => vec![("x-api-key".to_owned(), KEY.to_owned())],
            Self::Alice | Self::Bob => authorization(sign(&self.claims(), POOL_SECRET)),
            Self::Carol => authorization(format!("Bearer {}", sign(&self.claims(), OIDC_SECRET))),
            Self::Lambda => authorization(OPAQUE.to_owned()),
            Self::Signed | Self::Guest | Self::Root => {
                IamSigner::new(self.credential(), "eu-west-1").headers(now_ms, HOST, path, body.as_bytes())
            }
        }
    }

    pub(super) fn claims(self) -> Json {
        let mut claims = json!({"exp": NOW_S + 3_600, "aud": AUDIENCE});
        let own = match self {
            Self::Alice => {
                json!({"iss": POOL, "sub": "a-1", "cognito:username": "alice", "token_use": "id", "email": "carol@x.test"})
            }
            Self::Bob => json!({
                "iss": POOL, "sub": "b-1", "username": "bob", "token_use": "access", "cognito:groups": ["Admin", "red"],
            }),
            _ => json!({
                "iss": OIDC, "sub": "c-1", "email": "carol@x.test", "cognito:groups": "[\"blue\", \"Staff\", \"red\"]", "username": "alice",
            }),
        };
        let own = own.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(own);
        claims
    }

    fn credential(self) -> IamCredential {
        let role = match self {
            Self::Signed => IamRole::Authenticated,
            Self::Guest => IamRole::Unauthenticated,
            _ => IamRole::Service,
        };
        IamCredential::new(format!("AKIA{self:?}"), format!("secret of {self:?}"), role)
    }
}

/// Signs a token as an honest issuer would.
pub(super) fn sign(claims: &Json, secret: &[u8]) -> String {
    sign_with(&json!({"alg": "HS256", "typ": "JWT"}), claims, secret)
}

pub(super) fn sign_with(header: &Json, claims: &Json, secret: &[u8]) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Lets one token in.
struct Doorman(AuthorizerAnswer);

impl Authorizer for Doorman {
    fn authorize(&self, request: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerFault> {
        Ok(AuthorizerAnswer {
            is_authorized: request.authorization_token == OPAQUE,
            ..self.0.clone()
        })
    }
}

/// Settings with every mode on.
pub(super) fn settings(answer: AuthorizerAnswer) -> AuthSettings {
    let keys = |secret| TokenKeys::secret(secret).unwrap();
    AuthSettings {
        issuers: vec![
            TokenIssuer::user_pool(POOL, keys(POOL_SECRET)).for_audience(AUDIENCE),
            TokenIssuer::oidc(OIDC, keys(OIDC_SECRET)).for_audience(AUDIENCE),
        ],
        iam: IamSettings {
            region: Some("eu-west-1".to_owned()),
            credentials: [Cast::Signed, Cast::Guest, Cast::Root]
                .map(Cast::credential)
                .into(),
            access_everywhere: true,
        },
        authorizer: Some(AuthorizerSettings {
            authorizer: Arc::new(Doorman(answer)),
            ttl_s: 300,
            token_pattern: None,
        }),
        ..AuthSettings::default()
    }
}

pub(super) fn schema(sdl: &str) -> Arc<Schema> {
    Arc::new(landfall_codegen::parse_sdl("test.graphql", sdl).unwrap_or_else(|errors| panic!("{errors}")))
}

/// A backend for a schema with every mode on.
pub(super) fn guarded(sdl: &str) -> Bench {
    guarded_with(sdl, AuthorizerAnswer::default())
}

pub(super) fn guarded_with(sdl: &str, answer: AuthorizerAnswer) -> Bench {
    let config = BackendConfig {
        auth: settings(answer),
        ..BackendConfig::with_api_key(KEY)
    };
    bench_with(schema(sdl), config)
}

impl Bench {
    /// Status and body of the reply to somebody's request.
    pub(super) fn call_as(&self, who: Cast, request: &Json) -> (u16, Json) {
        self.now_ms.set(self.now_ms.get() + 1);
        let (now_ms, body) = (self.now_ms.get(), request.to_string());
        let call = HttpCall {
            headers: who.headers(now_ms, "/graphql", &body),
            body: body.into(),
            ..HttpCall::default()
        };
        let reply = self.backend.handle_http(now_ms, &call);
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    /// The body of the reply to somebody's request, which must have status 200.
    pub(super) fn ask_as(&self, who: Cast, query: &str, variables: Json) -> Json {
        let mut request = json!({"query": query});
        request["variables"] = variables;
        let (status, body) = self.call_as(who, &request);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// `data` of somebody's request, which must have no errors.
    pub(super) fn data_as(&self, who: Cast, query: &str, variables: Json) -> Json {
        let mut body = self.ask_as(who, query, variables);
        assert!(body.get("errors").is_none(), "{who:?} {query}: {body}");
        body["data"].take()
    }
}

/// The refusal of a root field as AppSync words it.
pub(super) fn refusal(field: &str, parent: &str) -> (String, String) {
    (
        "Unauthorized".to_owned(),
        format!("Not Authorized to access {field} on type {parent}"),
    )
}
