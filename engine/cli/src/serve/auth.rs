//! Who may call a served backend: flags, and the file that `--auth` names.
//!
//! Owns the form of the file. Secrets may stand in it or in files beside it; none is ever printed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use landfall_backend::{
    ApiKey, AuthMode, AuthSettings, AuthorizerSettings, BackendConfig, DevIssuer, IamCredential, IamRole,
    IamSettings, TokenIssuer, TokenKeys, TokenPattern, Webhook,
};
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde::Deserialize;

use super::hosting::WELL_KNOWN_API_KEY;
use super::{given, secret};

/// How callers say who they are.
#[derive(Debug, ClapArgs)]
pub(crate) struct AuthArgs {
    /// Key that clients must present; `da2-landfall` unless `--auth` is given.
    #[arg(long, value_name = "KEY", env = "LANDFALL_API_KEY", hide_env_values = true, value_parser = given::api_key)]
    api_key: Option<String>,
    /// JSON file that says whom to let in: API keys, user pools, OpenID Connect, IAM, an authorizer.
    #[arg(long, value_name = "FILE")]
    auth: Option<PathBuf>,
    /// Accepts the tokens that `landfall serve token` issues on this machine. For development.
    #[arg(long)]
    dev_tokens: bool,
    #[command(flatten)]
    secret: secret::SecretArgs,
}

impl AuthArgs {
    /// Whether tokens count that anybody with a file can issue.
    pub(super) fn takes_dev_tokens(&self) -> bool {
        self.dev_tokens
    }

    /// A backend's settings with these identities.
    pub(super) fn config(&self) -> miette::Result<BackendConfig> {
        let mut config = match &self.auth {
            Some(path) => read(path)?,
            None => BackendConfig::default(),
        };
        match (&self.api_key, &self.auth) {
            (Some(key), _) => config.api_keys.push(ApiKey::new(key)),
            // Whoever says whom to let in does not mean a key that is known to everybody.
            (None, Some(_)) => {}
            (None, None) => config.api_keys.push(ApiKey::new(WELL_KNOWN_API_KEY)),
        }
        if self.dev_tokens {
            let issuer = DevIssuer::new(&self.secret.read_or_make()?).into_diagnostic()?;
            config.auth.issuers.push(issuer.settings());
        }
        Ok(config)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    default_mode: Mode,
    api_keys: Vec<KeyEntry>,
    user_pools: Vec<IssuerEntry>,
    oidc: Vec<IssuerEntry>,
    iam: Option<IamEntry>,
    lambda: Option<LambdaEntry>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    #[default]
    ApiKey,
    UserPool,
    Oidc,
    Iam,
    Lambda,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyEntry {
    key: String,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    #[serde(default)]
    audiences: Vec<String>,
    jwks: Option<serde_json::Value>,
    jwks_file: Option<PathBuf>,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IamEntry {
    region: Option<String>,
    #[serde(default)]
    access_everywhere: bool,
    credentials: Vec<CredentialEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CredentialEntry {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    #[serde(default)]
    role: Role,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Role {
    Authenticated,
    Unauthenticated,
    #[default]
    Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LambdaEntry {
    url: String,
    #[serde(default = "five_minutes")]
    ttl_seconds: u32,
    token_pattern: Option<String>,
}

fn five_minutes() -> u32 {
    300
}

fn read(path: &Path) -> miette::Result<BackendConfig> {
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read `{}`", path.display()))?;
    let beside = path.parent().unwrap_or(Path::new("."));
    parse(&text, beside).wrap_err_with(|| format!("`{}` says whom to let in", path.display()))
}

/// The settings that a file's text says; files that it names are found beside it.
fn parse(text: &str, beside: &Path) -> miette::Result<BackendConfig> {
    let file: File = serde_json::from_str(text).into_diagnostic()?;
    let mut issuers = Vec::new();
    for entry in &file.user_pools {
        issuers.push(entry.issuer(TokenIssuer::user_pool, beside)?);
    }
    for entry in &file.oidc {
        issuers.push(entry.issuer(TokenIssuer::oidc, beside)?);
    }
    let api_keys: miette::Result<Vec<ApiKey>> = file.api_keys.iter().map(KeyEntry::key).collect();
    Ok(BackendConfig {
        api_keys: api_keys?,
        auth: AuthSettings {
            default_mode: match file.default_mode {
                Mode::ApiKey => AuthMode::ApiKey,
                Mode::UserPool => AuthMode::UserPool,
                Mode::Oidc => AuthMode::Oidc,
                Mode::Iam => AuthMode::Iam,
                Mode::Lambda => AuthMode::Lambda,
            },
            issuers,
            iam: file.iam.map(IamEntry::settings).transpose()?.unwrap_or_default(),
            authorizer: file.lambda.map(LambdaEntry::settings).transpose()?,
        },
        ..BackendConfig::default()
    })
}

impl KeyEntry {
    fn key(&self) -> miette::Result<ApiKey> {
        let key = ApiKey::new(given::api_key(&self.key).map_err(|fault| miette!("`apiKeys`: {fault}"))?);
        let Some(text) = &self.expires_at else {
            return Ok(key);
        };
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            miette!("`expiresAt` must be a time such as 2027-01-31T00:00:00Z, it is `{text}`")
        })?;
        Ok(key.expiring_at(time.as_millisecond()))
    }
}

impl IssuerEntry {
    fn issuer(
        &self,
        make: fn(String, TokenKeys) -> TokenIssuer,
        beside: &Path,
    ) -> miette::Result<TokenIssuer> {
        let file = |path: &PathBuf| {
            let path = beside.join(path);
            std::fs::read_to_string(&path)
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot read `{}`", path.display()))
        };
        let keys = match (&self.jwks, &self.jwks_file, &self.secret, &self.secret_file) {
            (Some(jwks), None, None, None) => TokenKeys::from_jwks(&jwks.to_string()),
            (None, Some(path), None, None) => TokenKeys::from_jwks(&file(path)?),
            (None, None, Some(secret), None) => TokenKeys::secret(secret.as_bytes()),
            (None, None, None, Some(path)) => TokenKeys::secret(file(path)?.trim().as_bytes()),
            _ => {
                return Err(miette!(
                    "`{}` needs one of jwks, jwksFile, secret and secretFile",
                    self.issuer
                ));
            }
        };
        let keys = keys.map_err(|fault| miette!("the keys of `{}`: {fault}", self.issuer))?;
        let audiences = self.audiences.iter();
        Ok(
            audiences.fold(make(self.issuer.clone(), keys), |issuer, audience| {
                issuer.for_audience(audience)
            }),
        )
    }
}

impl IamEntry {
    fn settings(self) -> miette::Result<IamSettings> {
        for entry in &self.credentials {
            let parts = [&entry.access_key_id, &entry.secret_access_key];
            if parts
                .into_iter()
                .chain(&entry.session_token)
                .any(|part| part.trim().is_empty())
            {
                // A signature with an empty secret is one that everybody can make.
                return Err(miette!(
                    "the credential `{}` of `iam` is incomplete; give accessKeyId, secretAccessKey and, if there is one, sessionToken",
                    entry.access_key_id
                ));
            }
        }
        let credential = |entry: CredentialEntry| {
            let role = match entry.role {
                Role::Authenticated => IamRole::Authenticated,
                Role::Unauthenticated => IamRole::Unauthenticated,
                Role::Service => IamRole::Service,
            };
            let credential = IamCredential::new(entry.access_key_id, entry.secret_access_key, role);
            match entry.session_token {
                Some(token) => credential.with_session_token(token),
                None => credential,
            }
        };
        Ok(IamSettings {
            region: self.region,
            credentials: self.credentials.into_iter().map(credential).collect(),
            access_everywhere: self.access_everywhere,
        })
    }
}

impl LambdaEntry {
    fn settings(self) -> miette::Result<AuthorizerSettings> {
        let webhook = Webhook::new(&self.url, tokio::runtime::Handle::current()).into_diagnostic()?;
        Ok(AuthorizerSettings {
            authorizer: Arc::new(webhook),
            ttl_s: self.ttl_seconds,
            token_pattern: self
                .token_pattern
                .as_deref()
                .map(TokenPattern::new)
                .transpose()
                .into_diagnostic()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BackendConfig, String> {
        parse(text, Path::new(".")).map_err(|report| format!("{report:?}"))
    }

    #[tokio::test]
    async fn every_mode_has_its_place_and_no_secret_is_shown() {
        let config = parsed(
            r#"{
                "defaultMode": "userPool",
                "apiKeys": [{ "key": "hidden" }, { "key": "hidden", "expiresAt": "2027-01-31T00:00:00Z" }],
                "userPools": [{ "issuer": "https://a", "audiences": ["x"], "secret": "hidden hidden hidden hidden hidden" }],
                "oidc": [{ "issuer": "https://b", "jwks": { "keys": [{ "kty": "oct", "k": "aGlkZGVuIGhpZGRlbiBoaWRkZW4gaGlkZGVuIGhpZGRlbg" }] } }],
                "iam": { "region": "eu-west-1", "credentials": [{ "accessKeyId": "A", "secretAccessKey": "hidden", "role": "authenticated" }] },
                "lambda": { "url": "http://127.0.0.1:1/authorize", "tokenPattern": "^doorman-" }
            }"#,
        )
        .unwrap();
        assert_eq!(config.api_keys.len(), 2);
        assert_eq!(config.auth.default_mode, AuthMode::UserPool);
        assert_eq!(config.auth.issuers.len(), 2);
        assert_eq!(config.auth.iam.credentials.len(), 1);
        let authorizer = config.auth.authorizer.as_ref().unwrap();
        assert_eq!(
            (authorizer.ttl_s, authorizer.token_pattern.is_some()),
            (300, true)
        );
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn what_is_not_understood_is_said() {
        for (text, fault) in [
            ("{", "EOF"),
            (r#"{"apiKey": "x"}"#, "unknown field `apiKey`"),
            (r#"{"apiKeys": [{"key": "k", "expiresAt": "soon"}]}"#, "expiresAt"),
            (r#"{"oidc": [{"issuer": "https://b"}]}"#, "needs one of"),
            (
                r#"{"oidc": [{"issuer": "https://b", "secret": "short"}]}"#,
                "at least 32",
            ),
            (
                r#"{"oidc": [{"issuer": "https://b", "secret": "s", "jwks": {}}]}"#,
                "needs one of",
            ),
            (
                r#"{"oidc": [{"issuer": "https://b", "jwksFile": "none.json"}]}"#,
                "none.json",
            ),
            (r#"{"lambda": {"url": "ftp://x"}}"#, "http"),
            (
                r#"{"lambda": {"url": "http://x", "tokenPattern": "("}}"#,
                "no pattern",
            ),
            (r#"{"apiKeys": [{"key": ""}]}"#, "at least one character"),
            (
                r#"{"iam": {"credentials": [{"accessKeyId": "A", "secretAccessKey": ""}]}}"#,
                "incomplete",
            ),
            (r#"{"defaultMode": "magic"}"#, "magic"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
