//! Credentials: what proves who asks, and where it comes from.
//!
//! Owns [`Secret`], [`Authorization`] and the providers. Does not store tokens: that is the provider's business
//! (`tokens.rs` has one), which is asked before every request, and again if the server refuses what it gave.

use std::error::Error;
use std::fmt;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_wire::{Credentials, TransportError};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Map;
use url::Url;

use crate::error::NetsyncError;
use crate::server_clock::amz_date;
use crate::sigv4::{Signed, Signer, sign};

const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
const DATE_HEADER: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION_HEADER: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The type of every body, which signatures cover.
pub(crate) const BODY_TYPE: &str = "application/json; charset=UTF-8";

/// A key or a token. Its `Debug` output is `***`, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// What a [`TokenProvider`] resolves to; the error's text must not hold the token.
pub type TokenResult = Result<Secret, Box<dyn Error + Send + Sync>>;

/// What an [`AwsCredentialsProvider`] resolves to; the error's text must not hold a secret.
pub type AwsCredentialsResult = Result<AwsCredentials, Box<dyn Error + Send + Sync>>;

/// Gives the current token for every request: user pool, OIDC or Lambda.
///
/// Called once for each request and each subscription, so it should answer from memory and renew a token shortly
/// before it runs out, as [`CachedTokens`](crate::CachedTokens) does. It is given as long as a request.
///
/// ```
/// use futures_util::future::BoxFuture;
/// use landfall_netsync::{Secret, TokenProvider, TokenResult};
///
/// struct FromEnvironment;
///
/// impl TokenProvider for FromEnvironment {
///     fn token(&self) -> BoxFuture<'static, TokenResult> {
///         Box::pin(async { Ok(Secret::new(&std::env::var("ID_TOKEN")?)) })
///     }
/// }
/// ```
pub trait TokenProvider: Send + Sync {
    /// The token as it goes into the `Authorization` header, with or without `Bearer`.
    fn token(&self) -> BoxFuture<'static, TokenResult>;

    /// Another token, since the server refused this one. The same one again means that there is no other.
    fn renew(&self, _rejected: &Secret) -> BoxFuture<'static, TokenResult> {
        self.token()
    }
}

/// AWS credentials, such as those of an identity pool or of a role.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// The access key's identifier.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Gives the current AWS credentials for every request; should answer from memory.
pub trait AwsCredentialsProvider: Send + Sync {
    /// The credentials.
    fn credentials(&self) -> BoxFuture<'static, AwsCredentialsResult>;

    /// Others, since the server refused these. The same ones again mean that there are no others.
    fn renew(&self, _rejected: &AwsCredentials) -> BoxFuture<'static, AwsCredentialsResult> {
        self.credentials()
    }
}

/// How requests prove who asks.
#[derive(Clone)]
#[non_exhaustive]
pub enum Authorization {
    /// An AppSync API key, in the header `x-api-key`.
    ApiKey(Secret),
    /// A token, in the header `Authorization`.
    Token(Arc<dyn TokenProvider>),
    /// A signature with AWS credentials (Signature Version 4).
    Iam(Arc<dyn AwsCredentialsProvider>),
}

/// Credentials in hand.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Held {
    ApiKey(Secret),
    Token(Secret),
    Aws(AwsCredentials),
}

/// What credentials are presented for; a signature covers it.
pub(crate) struct Call<'a> {
    pub(crate) url: &'a Url,
    pub(crate) host: &'a str,
    pub(crate) region: &'a str,
    pub(crate) body: &'a str,
    /// How far the server's clock is ahead, in milliseconds.
    pub(crate) ahead_ms: i64,
}

impl Secret {
    /// A secret of that text.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text; whoever prints it gives it away.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsCredentials(***)")
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(_) => f.write_str("ApiKey(***)"),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Iam(_) => f.write_str("Iam(..)"),
        }
    }
}

/// A token that stays the same.
struct FixedToken(Secret);

impl TokenProvider for FixedToken {
    fn token(&self) -> BoxFuture<'static, TokenResult> {
        Box::pin(future::ready(Ok(self.0.clone())))
    }
}

/// Credentials that stay the same.
struct FixedCredentials(AwsCredentials);

impl AwsCredentialsProvider for FixedCredentials {
    fn credentials(&self) -> BoxFuture<'static, AwsCredentialsResult> {
        Box::pin(future::ready(Ok(self.0.clone())))
    }
}

impl Authorization {
    /// An API key.
    pub fn api_key(key: impl Into<Secret>) -> Self {
        Self::ApiKey(key.into())
    }

    /// A token that is asked for before each request.
    pub fn token_from(provider: impl TokenProvider + 'static) -> Self {
        Self::Token(Arc::new(provider))
    }

    /// A token that stays the same, for tools and tests.
    pub fn fixed_token(token: impl Into<Secret>) -> Self {
        Self::token_from(FixedToken(token.into()))
    }

    /// A signature with AWS credentials that are asked for before each request.
    pub fn iam_from(provider: impl AwsCredentialsProvider + 'static) -> Self {
        Self::Iam(Arc::new(provider))
    }

    /// A signature with AWS credentials that stay the same.
    pub fn iam(credentials: AwsCredentials) -> Self {
        Self::iam_from(FixedCredentials(credentials))
    }

    /// Checks what can be checked before the first request.
    pub(crate) fn check(&self) -> Result<(), NetsyncError> {
        match self {
            Self::ApiKey(key) => header_value(key)
                .map(drop)
                .ok_or(NetsyncError::BadSecret { what: "API key" }),
            Self::Token(_) | Self::Iam(_) => Ok(()),
        }
    }

    /// Whether a provider may have others if the server refuses what it gave.
    pub(crate) fn is_renewable(&self) -> bool {
        !matches!(self, Self::ApiKey(_))
    }

    /// The credentials as they are now.
    pub(crate) async fn hold(&self, within: Duration) -> Result<Held, TransportError> {
        match self {
            Self::ApiKey(key) => Ok(Held::ApiKey(key.clone())),
            Self::Token(provider) => in_time(within, provider.token()).await.map(Held::Token),
            Self::Iam(provider) => in_time(within, provider.credentials()).await.map(Held::Aws),
        }
    }

    /// Others than these, which the server refused; `None` if there are none.
    pub(crate) async fn renew(&self, within: Duration, rejected: &Held) -> Option<Held> {
        let renewed = match (self, rejected) {
            (Self::Token(provider), Held::Token(token)) => {
                in_time(within, provider.renew(token)).await.map(Held::Token)
            }
            (Self::Iam(provider), Held::Aws(credentials)) => {
                in_time(within, provider.renew(credentials)).await.map(Held::Aws)
            }
            _ => return None,
        };
        renewed.ok().filter(|renewed| renewed != rejected)
    }
}

async fn in_time<T>(
    within: Duration,
    asking: BoxFuture<'static, Result<T, Box<dyn Error + Send + Sync>>>,
) -> Result<T, TransportError> {
    let reason = match tokio::time::timeout(within, asking).await {
        Ok(Ok(given)) => return Ok(given),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the token provider took longer than {} ms", within.as_millis()),
    };
    Err(TransportError::Unauthorized { reason })
}

impl Held {
    /// Whether what is presented depends on the time.
    pub(crate) fn is_signature(&self) -> bool {
        matches!(self, Self::Aws(_))
    }

    /// The headers of a request.
    pub(crate) fn headers(&self, call: &Call<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, TransportError> {
        let named = match self {
            Self::ApiKey(key) => vec![(API_KEY_HEADER, key.clone())],
            Self::Token(token) => vec![(AUTHORIZATION, token.clone())],
            Self::Aws(credentials) => {
                let time = amz_date(call.ahead_ms);
                let session = credentials.session_token.as_ref();
                let mut signed = vec![
                    ("content-type", BODY_TYPE),
                    ("host", call.host),
                    ("x-amz-date", time.as_str()),
                ];
                signed.extend(session.map(|token| ("x-amz-security-token", token.expose())));
                let signature = signature(credentials, call, &signed, &time);
                let mut named = vec![
                    (AUTHORIZATION, Secret::from(signature)),
                    (DATE_HEADER, Secret::from(time)),
                ];
                named.extend(session.map(|token| (SESSION_HEADER, token.clone())));
                named
            }
        };
        let value = |secret: &Secret| {
            let reason = "it holds characters that HTTP headers cannot carry".to_owned();
            header_value(secret).ok_or(TransportError::Unauthorized { reason })
        };
        named
            .into_iter()
            .map(|(name, secret)| Ok((name, value(&secret)?)))
            .collect()
    }

    /// The JSON form for a realtime handshake and a `start` frame. Members of a JSON object are told apart by case, and
    /// AppSync documents this spelling.
    pub(crate) fn credentials(&self, call: &Call<'_>) -> Credentials {
        let mut members = Map::new();
        let mut put = |name: &str, value: &str| drop(members.insert(name.to_owned(), value.into()));
        match self {
            Self::ApiKey(key) => {
                put("host", call.host);
                put("x-api-key", key.expose());
            }
            Self::Token(token) => {
                put("host", call.host);
                put("Authorization", token.expose());
            }
            Self::Aws(credentials) => {
                let time = amz_date(call.ahead_ms);
                let session = credentials.session_token.as_ref();
                let mut signed = vec![
                    ("accept", "application/json, text/javascript"),
                    ("content-encoding", "amz-1.0"),
                    ("content-type", BODY_TYPE),
                    ("host", call.host),
                    ("x-amz-date", time.as_str()),
                ];
                signed.extend(session.map(|token| ("x-amz-security-token", token.expose())));
                for (name, value) in &signed {
                    let is_session = *name == "x-amz-security-token";
                    put(if is_session { "X-Amz-Security-Token" } else { name }, value);
                }
                put("Authorization", &signature(credentials, call, &signed, &time));
            }
        }
        Credentials::new(members)
    }
}

fn signature(credentials: &AwsCredentials, call: &Call<'_>, headers: &[(&str, &str)], time: &str) -> String {
    let signer = Signer {
        access_key_id: &credentials.access_key_id,
        secret_access_key: &credentials.secret_access_key,
        region: call.region,
        service: "appsync",
    };
    let signed = Signed {
        method: "POST",
        url: call.url,
        headers,
        body: call.body.as_bytes(),
        time,
    };
    sign(&signer, &signed)
}

fn header_value(secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(20);

    struct Provider(fn() -> BoxFuture<'static, TokenResult>);

    impl TokenProvider for Provider {
        fn token(&self) -> BoxFuture<'static, TokenResult> {
            (self.0)()
        }
    }

    fn url() -> Url {
        "https://example.com/graphql".parse().expect("a URL")
    }

    fn call(url: &Url) -> Call<'_> {
        Call {
            url,
            host: "example.com",
            region: "eu-west-1",
            body: "{}",
            ahead_ms: 0,
        }
    }

    async fn headers(
        authorization: &Authorization,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, TransportError> {
        authorization.hold(WITHIN).await?.headers(&call(&url()))
    }

    #[tokio::test]
    async fn each_mode_has_its_header_and_its_member() {
        let found = headers(&Authorization::api_key("da2-x")).await.expect("a header");
        let (name, value) = &found[0];
        assert_eq!((name.as_str(), value.to_str().ok()), ("x-api-key", Some("da2-x")));
        assert!(value.is_sensitive());
        let token = Authorization::fixed_token("t");
        assert_eq!(headers(&token).await.expect("a header")[0].0, AUTHORIZATION);
        let held = token.hold(WITHIN).await.expect("a token");
        let credentials = held.credentials(&call(&url()));
        assert_eq!(
            serde_json::Value::Object(credentials.into_members()),
            serde_json::json!({"host": "example.com", "Authorization": "t"})
        );
    }

    #[tokio::test]
    async fn aws_credentials_sign_requests_and_frames() {
        let authorization = Authorization::iam(AwsCredentials {
            access_key_id: "AKID".into(),
            secret_access_key: "hidden".into(),
            session_token: Some("session".into()),
        });
        let found = headers(&authorization).await.expect("headers");
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["authorization", "x-amz-date", "x-amz-security-token"]);
        let signature = found[0].1.to_str().expect("text");
        assert!(
            signature.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"),
            "{signature}"
        );
        assert!(
            signature.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"),
            "{signature}"
        );
        let held = authorization.hold(WITHIN).await.expect("credentials");
        let members = held.credentials(&call(&url())).into_members();
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "accept",
                "content-encoding",
                "content-type",
                "host",
                "x-amz-date",
                "X-Amz-Security-Token",
                "Authorization"
            ]
        );
        assert!(!format!("{members:?} {found:?} {authorization:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn a_provider_without_a_token_is_unauthorized() {
        let failing = Authorization::token_from(Provider(|| Box::pin(async { Err("signed out".into()) })));
        let error = headers(&failing).await.expect_err("no token");
        assert_eq!(
            error,
            TransportError::Unauthorized {
                reason: "signed out".into()
            }
        );
        let hanging = Authorization::token_from(Provider(|| Box::pin(future::pending())));
        let error = headers(&hanging).await.expect_err("no token");
        assert_eq!(
            error.to_string(),
            "no valid credentials: the token provider took longer than 20 ms"
        );
        let broken = headers(&Authorization::fixed_token("a\nb"))
            .await
            .expect_err("no header");
        assert!(matches!(broken, TransportError::Unauthorized { .. }) && !broken.to_string().contains("a\n"));
    }

    #[tokio::test]
    async fn what_stays_the_same_cannot_be_renewed() {
        let token = Authorization::fixed_token("t");
        let held = token.hold(WITHIN).await.expect("a token");
        assert!(token.renew(WITHIN, &held).await.is_none());
        assert!(!Authorization::api_key("k").is_renewable());
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = Secret::from("da2-secret");
        let authorization = Authorization::ApiKey(key.clone());
        assert_eq!(format!("{key:?} {authorization:?}"), "*** ApiKey(***)");
        assert_eq!(format!("{:?}", Authorization::fixed_token("secret")), "Token(..)");
        let credentials = AwsCredentials {
            access_key_id: "AKID".into(),
            secret_access_key: "secret".into(),
            session_token: None,
        };
        assert_eq!(format!("{credentials:?}"), "AwsCredentials(***)");
        let error = Authorization::api_key("da2\nsecret")
            .check()
            .expect_err("bad key");
        assert!(!error.to_string().contains("secret"));
    }
}
