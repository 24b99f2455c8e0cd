//! Tokens for development: what a user pool would issue, signed with a secret of one's own.
//!
//! Owns [`DevIssuer`]. For machines of developers only: whoever knows the secret is whoever they like.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

use super::tokens::{KeyFault, TokenIssuer, TokenKeys};

/// Issues tokens that a backend takes for those of a user pool.
#[derive(Clone)]
pub struct DevIssuer {
    secret: Vec<u8>,
}

impl std::fmt::Debug for DevIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevIssuer").finish_non_exhaustive()
    }
}

/// Whom a token is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The user's name.
    pub user: String,
    /// The user's identifier (`sub`); the name if left out.
    pub sub: Option<String>,
    /// The groups the user is in.
    pub groups: Vec<String>,
    /// When it is issued, in milliseconds since 1970.
    pub now_ms: i64,
    /// How long it is good, in seconds.
    pub lifetime_s: u32,
}

impl DevIssuer {
    /// What the tokens have as `iss`.
    pub const ISSUER: &str = "https://landfall.invalid/development";
    /// What the tokens have as `aud`.
    pub const AUDIENCE: &str = "landfall-development";

    /// An issuer with that secret.
    ///
    /// # Errors
    /// [`KeyFault::ShortSecret`] below 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyFault> {
        TokenKeys::secret(secret)?;
        Ok(Self {
            secret: secret.to_vec(),
        })
    }

    /// The issuer as a backend's settings take it.
    ///
    /// # Panics
    /// Never: the secret was long enough when the issuer was made.
    pub fn settings(&self) -> TokenIssuer {
        let keys = TokenKeys::secret(&self.secret).expect("the secret was checked when the issuer was made");
        TokenIssuer::user_pool(Self::ISSUER, keys).for_audience(Self::AUDIENCE)
    }

    /// Issues a token.
    pub fn issue(&self, request: &TokenRequest) -> String {
        let issued_at_s = request.now_ms.div_euclid(1_000);
        let mut claims = json!({
            "iss": Self::ISSUER,
            "aud": Self::AUDIENCE,
            "sub": request.sub.as_ref().unwrap_or(&request.user),
            "cognito:username": request.user,
            "token_use": "id",
            "iat": issued_at_s,
            "exp": issued_at_s.saturating_add(i64::from(request.lifetime_s)),
        });
        if !request.groups.is_empty() {
            claims["cognito:groups"] = json!(request.groups);
        }
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "typ": "JWT"})),
            part(&claims)
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
