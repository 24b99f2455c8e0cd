//! Whether a call is let in.
//!
//! Owns [`Gate`]: which of the modes a call uses, as its headers show, and the check by that mode. Does not look at what
//! is asked.
//!
//! Invariant: a mode without keys, issuers, credentials or authorizer lets nobody in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api_key;
use super::authorizer::{AnswerCache, AuthorizerContext, AuthorizerRequest};
use super::credentials::Credentials;
use super::iam;
use super::identity::Caller;
use super::refusal::AuthRefused;
use super::settings::{AuthorizerSettings, TokenPattern};
use super::tokens::{TokenFault, Unverified};
use crate::config::BackendConfig;

/// Longest token that an authorizer is asked about, in bytes.
const OPAQUE_TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The check at the door.
pub(crate) struct Gate {
    config: Arc<BackendConfig>,
    answers: AnswerCache,
}

/// What a caller shows.
pub(crate) struct Presented<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) signed: Signed<'a>,
    /// What an authorizer is told of the request, made only if one is asked.
    pub(crate) context: &'a dyn Fn() -> AuthorizerContext,
}

/// The parts of a request that a signature is over, beside its headers.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

impl Gate {
    pub(crate) fn new(config: Arc<BackendConfig>) -> Self {
        Self {
            config,
            answers: AnswerCache::default(),
        }
    }

    /// Judges a caller by the head of a request alone; `None` if more is needed, which may be the body or an authorizer.
    pub(crate) fn judge_head(
        &self,
        now_ms: i64,
        credentials: &Credentials,
    ) -> Option<Result<(), AuthRefused>> {
        let authorization = credentials.authorization.as_deref().unwrap_or_default();
        if credentials.api_key.is_none() && authorization.starts_with(iam::ALGORITHM) {
            return None;
        }
        if let Some(token) = self.asks_about(credentials) {
            return self.answers.known(token, now_ms).map(|known| known.map(drop));
        }
        let presented = Presented {
            credentials,
            signed: Signed {
                method: "",
                path: "",
                query: None,
                body: b"",
            },
            context: &AuthorizerContext::default,
        };
        Some(self.admit(now_ms, &presented).map(drop))
    }

    /// Whether an authorizer has to be waited for.
    pub(crate) fn needs_asking(&self, now_ms: i64, credentials: &Credentials) -> bool {
        self.asks_about(credentials)
            .is_some_and(|token| self.answers.known(token, now_ms).is_none())
    }

    /// The token that an authorizer judges, if one does.
    fn asks_about<'a>(&self, credentials: &'a Credentials) -> Option<&'a str> {
        let settings = self.config.auth.authorizer.as_ref()?;
        let token = credentials.authorization.as_deref()?;
        if credentials.api_key.is_some() || token.is_empty() || token.starts_with(iam::ALGORITHM) {
            return None;
        }
        let issuers = &self.config.auth.issuers;
        let is_known = Unverified::read(bearer(token)).is_some_and(|token| token.issuer(issuers).is_some());
        (!is_known && may_be_asked_about(settings, token)).then_some(token)
    }

    /// Lets a caller in, or says why not. Blocks if [`Gate::needs_asking`] says so.
    pub(crate) fn admit(&self, now_ms: i64, presented: &Presented<'_>) -> Result<Arc<Caller>, AuthRefused> {
        let credentials = presented.credentials;
        if let Some(given) = &credentials.api_key {
            return if api_key::is_known(given, &self.config.api_keys, now_ms) {
                Ok(Arc::new(Caller::ApiKey))
            } else {
                Err(AuthRefused::Wrong)
            };
        }
        let authorization = credentials.authorization.as_deref().unwrap_or_default();
        if authorization.is_empty() {
            return Err(AuthRefused::Missing);
        }
        let auth = &self.config.auth;
        if authorization.starts_with(iam::ALGORITHM) {
            let headers = &credentials.headers;
            return iam::verify(authorization, &presented.signed, headers, &auth.iam, now_ms)
                .map(|user| Arc::new(Caller::Iam(user)));
        }
        let token = bearer(authorization);
        let unverified = Unverified::read(token);
        let issuer = unverified.as_ref().and_then(|token| token.issuer(&auth.issuers));
        match (unverified, issuer, &auth.authorizer) {
            (Some(token), Some(issuer), _) => match token.verify(issuer, now_ms) {
                Ok(user) => Ok(Arc::new(Caller::User(user))),
                Err(TokenFault::Expired) => Err(AuthRefused::ExpiredToken),
                Err(TokenFault::Refused) => Err(AuthRefused::Wrong),
            },
            (_, None, Some(settings)) => self.ask(settings, authorization, presented, now_ms),
            (Some(_), None, None) => Err(AuthRefused::Wrong),
            (None, _, _) if auth.issuers.is_empty() => Err(AuthRefused::Wrong),
            (None, _, _) => Err(AuthRefused::UnreadableToken),
        }
    }

    fn ask(
        &self,
        settings: &AuthorizerSettings,
        token: &str,
        presented: &Presented<'_>,
        now_ms: i64,
    ) -> Result<Arc<Caller>, AuthRefused> {
        if !may_be_asked_about(settings, token) {
            return Err(AuthRefused::Wrong);
        }
        let request = || {
            let others = presented.credentials.headers.iter();
            let request_headers: BTreeMap<String, String> = others
                .filter(|(name, _)| name != "authorization")
                .cloned()
                .collect();
            AuthorizerRequest {
                authorization_token: token.to_owned(),
                request_context: (presented.context)(),
                request_headers,
            }
        };
        self.answers.judge(settings, request, token, now_ms)
    }
}

/// Whether a token is of the form that the settings demand; others are refused without asking.
fn may_be_asked_about(settings: &AuthorizerSettings, token: &str) -> bool {
    let fits = |pattern: &TokenPattern| pattern.fits(token);
    token.len() <= OPAQUE_TOKEN_BYTES_MAX && settings.token_pattern.as_ref().is_none_or(fits)
}

/// The token itself: Amplify's clients send it bare, others with the word that the standard has for it.
fn bearer(authorization: &str) -> &str {
    match authorization.split_at_checked(7) {
        Some((word, token)) if word.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => authorization,
    }
}

#[cfg(test)]
mod tests;
