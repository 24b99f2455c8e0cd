//! Which identities an API accepts, beside API keys.
//!
//! Owns [`AuthSettings`] and [`TokenPattern`]. Checks nothing by itself (`gate.rs`). Secrets are left out of every `Debug`
//! output.

use std::sync::Arc;

use super::authorizer::Authorizer;
use super::iam::IamCredential;
use super::tokens::TokenIssuer;

/// A way in which callers say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMode {
    /// A key in `x-api-key`.
    #[default]
    ApiKey,
    /// A token of an Amazon Cognito user pool.
    UserPool,
    /// A token of an OpenID Connect provider.
    Oidc,
    /// A request signed with AWS Signature Version 4.
    Iam,
    /// A token that an authorizer judges.
    Lambda,
}

/// The identities that an API accepts beside API keys; by default none.
///
/// Several modes may be on at once. Which one a call uses is seen by its headers: `x-api-key` is an API key, an
/// `Authorization` that starts with `AWS4-HMAC-SHA256` is IAM, a JSON web token belongs to the issuer that it names, and
/// everything else goes to the authorizer.
///
/// ```
/// use landfall_backend::{AuthSettings, BackendConfig, TokenIssuer, TokenKeys};
///
/// let keys = TokenKeys::secret(b"thirty-two random bytes, or more")?;
/// let config = BackendConfig {
///     auth: AuthSettings {
///         issuers: vec![TokenIssuer::oidc("https://id.example.com/", keys).for_audience("app")],
///         ..AuthSettings::default()
///     },
///     ..BackendConfig::with_api_key("da2-mine")
/// };
/// assert_eq!(config.auth.issuers.len(), 1);
/// # Ok::<(), landfall_backend::KeyFault>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// The mode that models without `@auth` are open to.
    pub default_mode: AuthMode,
    /// Whose tokens are accepted.
    pub issuers: Vec<TokenIssuer>,
    /// Whose signatures are accepted.
    pub iam: IamSettings,
    /// Who judges tokens that are no JSON web tokens of an issuer.
    pub authorizer: Option<AuthorizerSettings>,
}

/// The IAM mode.
#[derive(Clone, Debug, Default)]
pub struct IamSettings {
    /// The region that signatures must name; without one any region is taken.
    pub region: Option<String>,
    /// Who may sign; without any the mode is off.
    pub credentials: Vec<IamCredential>,
    /// Whether credentials that belong to no identity pool may do everything, whatever the rules say.
    pub access_everywhere: bool,
}

/// The Lambda mode.
#[derive(Clone)]
pub struct AuthorizerSettings {
    /// Who judges.
    pub authorizer: Arc<dyn Authorizer>,
    /// How long an answer is kept unless it says otherwise, in seconds; 0 keeps none. AppSync's default is 300.
    pub ttl_s: u32,
    /// What a token must look like for the authorizer to be asked about it; without a pattern it is asked about any.
    pub token_pattern: Option<TokenPattern>,
}

/// What tokens for an authorizer look like (AppSync: `identityValidationExpression`): a regular expression that is found
/// in the token. It takes time in proportion to the token, whatever is sent.
///
/// ```
/// use landfall_backend::TokenPattern;
///
/// assert!(TokenPattern::new("^doorman-[0-9a-f]{32}$").is_ok());
/// assert!(TokenPattern::new("(").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct TokenPattern(regex::Regex);

/// Most bytes that a pattern may take in memory once it is compiled; those of tokens take some thousand.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pattern for tokens: {cause}")]
pub struct PatternFault {
    /// What is wrong with it.
    pub cause: String,
}

impl TokenPattern {
    /// A pattern, anchored only where it says so with `^` and `$`.
    ///
    /// # Errors
    /// [`PatternFault`] if it is no regular expression, or one that grows beyond all measure.
    pub fn new(pattern: &str) -> Result<Self, PatternFault> {
        let mut builder = regex::RegexBuilder::new(pattern);
        let compiled = builder.size_limit(PATTERN_BYTES_MAX).build();
        compiled.map(Self).map_err(|error| PatternFault {
            cause: error.to_string(),
        })
    }

    /// Whether a token looks like this.
    pub(super) fn fits(&self, token: &str) -> bool {
        self.0.is_match(token)
    }
}

impl std::fmt::Debug for AuthorizerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizerSettings")
            .field("ttl_s", &self.ttl_s)
            .finish_non_exhaustive()
    }
}
