//! Credentials: which header proves who asks, and where its value comes from.
//!
//! Owns [`Secret`], [`Authorization`] and [`TokenProvider`]. Does not refresh or store tokens: that is the provider's
//! business, which is asked before every request.

use std::error::Error;
use std::fmt;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_wire::{Credentials, TransportError};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Map;

use crate::error::NetsyncError;

const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// A key or a token. Its `Debug` output is `***`, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// What a [`TokenProvider`] resolves to; the error's text must not hold the token.
pub type TokenResult = Result<Secret, Box<dyn Error + Send + Sync>>;

/// Gives the current token for every request: user pool, OIDC or Lambda.
///
/// Called once for each request and each subscription, so it should answer from memory and refresh a token shortly
/// before it runs out. It is given as long as a request.
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
}

/// How requests prove who asks.
#[derive(Clone)]
#[non_exhaustive]
pub enum Authorization {
    /// An AppSync API key, in the header `x-api-key`.
    ApiKey(Secret),
    /// A token, in the header `Authorization`.
    Token(Arc<dyn TokenProvider>),
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

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(_) => f.write_str("ApiKey(***)"),
            Self::Token(_) => f.write_str("Token(..)"),
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

    /// Checks what can be checked before the first request.
    pub(crate) fn check(&self) -> Result<(), NetsyncError> {
        match self {
            Self::ApiKey(key) => header_value(key)
                .map(drop)
                .ok_or(NetsyncError::BadSecret { what: "API key" }),
            Self::Token(_) => Ok(()),
        }
    }

    /// The header of a request.
    pub(crate) async fn header(&self, within: Duration) -> Result<(HeaderName, HeaderValue), TransportError> {
        let (name, secret) = self.secret(within).await?;
        let reason = "it holds characters that HTTP headers cannot carry".to_owned();
        let value = header_value(&secret).ok_or(TransportError::Unauthorized { reason })?;
        Ok((name, value))
    }

    /// The JSON form for a realtime handshake and a `start` frame; `host` is that of the HTTP endpoint.
    pub(crate) async fn credentials(
        &self,
        host: &str,
        within: Duration,
    ) -> Result<Credentials, TransportError> {
        let (name, secret) = self.secret(within).await?;
        // Members of a JSON object are told apart by case, and AppSync documents this spelling.
        let name = if name == AUTHORIZATION {
            "Authorization"
        } else {
            "x-api-key"
        };
        Ok(Credentials::new(Map::from_iter([
            ("host".to_owned(), host.into()),
            (name.to_owned(), secret.expose().into()),
        ])))
    }

    async fn secret(&self, within: Duration) -> Result<(HeaderName, Secret), TransportError> {
        match self {
            Self::ApiKey(key) => Ok((API_KEY_HEADER, key.clone())),
            Self::Token(provider) => match tokio::time::timeout(within, provider.token()).await {
                Ok(Ok(token)) => Ok((AUTHORIZATION, token)),
                Ok(Err(error)) => Err(TransportError::Unauthorized {
                    reason: error.to_string(),
                }),
                Err(_) => {
                    let reason = format!("the token provider took longer than {} ms", within.as_millis());
                    Err(TransportError::Unauthorized { reason })
                }
            },
        }
    }
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

    #[tokio::test]
    async fn each_mode_has_its_header_and_its_member() {
        let (name, value) = Authorization::api_key("da2-x")
            .header(WITHIN)
            .await
            .expect("a header");
        assert_eq!((name.as_str(), value.to_str().ok()), ("x-api-key", Some("da2-x")));
        assert!(value.is_sensitive());
        let token = Authorization::fixed_token("t");
        let (name, _) = token.header(WITHIN).await.expect("a header");
        assert_eq!(name, AUTHORIZATION);
        let credentials = token
            .credentials("example.com", WITHIN)
            .await
            .expect("credentials");
        assert_eq!(
            serde_json::Value::Object(credentials.into_members()),
            serde_json::json!({"host": "example.com", "Authorization": "t"})
        );
    }

    #[tokio::test]
    async fn a_provider_without_a_token_is_unauthorized() {
        let failing = Authorization::token_from(Provider(|| Box::pin(async { Err("signed out".into()) })));
        let error = failing.header(WITHIN).await.expect_err("no token");
        assert_eq!(
            error,
            TransportError::Unauthorized {
                reason: "signed out".into()
            }
        );
        let hanging = Authorization::token_from(Provider(|| Box::pin(future::pending())));
        let error = hanging
            .credentials("example.com", WITHIN)
            .await
            .expect_err("no token");
        assert_eq!(
            error.to_string(),
            "no valid credentials: the token provider took longer than 20 ms"
        );
        let broken = Authorization::fixed_token("a\nb")
            .header(WITHIN)
            .await
            .expect_err("no header");
        assert!(matches!(broken, TransportError::Unauthorized { .. }) && !broken.to_string().contains("a\n"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = Secret::from("da2-secret");
        let authorization = Authorization::ApiKey(key.clone());
        assert_eq!(format!("{key:?} {authorization:?}"), "*** ApiKey(***)");
        assert_eq!(format!("{:?}", Authorization::fixed_token("secret")), "Token(..)");
        let error = Authorization::api_key("da2\nsecret")
            .check()
            .expect_err("bad key");
        assert!(!error.to_string().contains("secret"));
    }
}
