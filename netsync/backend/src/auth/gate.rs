//! Whether a call is let in.
//!
//! Owns [`Gate`]: which of the modes a call uses, as its headers show, and the check by that mode. Does not look at what
//! is asked.
//!
//! Invariants: 1. a mode without keys, issuers, credentials or authorizer lets nobody in; 2. which mode decides is said in
//! one place ([`Gate::way`]), so that the head of a request and the whole of it are judged alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api_key;
use super::authorizer::{AnswerCache, AuthorizerContext, AuthorizerRequest};
use super::credentials::Credentials;
use super::iam;
use super::identity::Caller;
use super::refusal::AuthRefused;
use super::settings::{AuthorizerSettings, TokenPattern};
use super::tokens::{TokenFault, TokenIssuer, Unverified};
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

/// What the head of a request says of its sender.
pub(crate) enum Judgement {
    /// Nothing more is needed, and nobody judges again.
    Done(Result<Arc<Caller>, AuthRefused>),
    /// A signature is over the body, too.
    NeedsBody,
    /// An authorizer has to be waited for.
    NeedsAuthorizer,
}

/// The mode that a caller uses, with what it is judged by.
enum Way<'a> {
    /// There is no more to it.
    Judged(Result<Arc<Caller>, AuthRefused>),
    /// A token of a known issuer.
    Token(Box<Unverified<'a>>, &'a TokenIssuer),
    /// A signature.
    Signature(&'a str),
    /// A token that an authorizer judges.
    Authorizer(&'a AuthorizerSettings, &'a str),
}

impl Gate {
    pub(crate) fn new(config: Arc<BackendConfig>) -> Self {
        Self {
            config,
            answers: AnswerCache::default(),
        }
    }

    /// Which mode a caller uses: the first of these that its credentials show.
    fn way<'a>(&'a self, credentials: &'a Credentials, now_ms: i64) -> Way<'a> {
        if let Some(given) = &credentials.api_key {
            let is_known = api_key::is_known(given, &self.config.api_keys, now_ms);
            return Way::Judged(
                is_known
                    .then(|| Arc::new(Caller::ApiKey))
                    .ok_or(AuthRefused::Wrong),
            );
        }
        let authorization = credentials.authorization.as_deref().unwrap_or_default();
        if authorization.is_empty() {
            return Way::Judged(Err(AuthRefused::Missing));
        }
        if authorization.starts_with(iam::ALGORITHM) {
            return Way::Signature(authorization);
        }
        let auth = &self.config.auth;
        let unverified = Unverified::read(bearer(authorization));
        let issuer = unverified.as_ref().and_then(|token| token.issuer(&auth.issuers));
        match (unverified, issuer, &auth.authorizer) {
            (Some(token), Some(issuer), _) => Way::Token(Box::new(token), issuer),
            (_, None, Some(settings)) if may_be_asked_about(settings, authorization) => {
                Way::Authorizer(settings, authorization)
            }
            (None, _, None) if !auth.issuers.is_empty() => Way::Judged(Err(AuthRefused::UnreadableToken)),
            _ => Way::Judged(Err(AuthRefused::Wrong)),
        }
    }

    /// Judges a caller by the head of a request, as far as that can be done without its body and without waiting.
    pub(crate) fn judge_head(&self, now_ms: i64, credentials: &Credentials) -> Judgement {
        match self.way(credentials, now_ms) {
            Way::Judged(judged) => Judgement::Done(judged),
            Way::Token(token, issuer) => Judgement::Done(verify(*token, issuer, now_ms)),
            // Whoever is not known need not send a body.
            Way::Signature(authorization) => {
                match iam::signer(authorization, &credentials.headers, &self.config.auth.iam) {
                    Ok(_) => Judgement::NeedsBody,
                    Err(refused) => Judgement::Done(Err(refused)),
                }
            }
            Way::Authorizer(_, token) => {
                let known = self.answers.known(token, now_ms);
                known.map_or(Judgement::NeedsAuthorizer, Judgement::Done)
            }
        }
    }

    /// Whether an authorizer has to be waited for.
    pub(crate) fn needs_asking(&self, now_ms: i64, credentials: &Credentials) -> bool {
        match self.way(credentials, now_ms) {
            Way::Authorizer(_, token) => self.answers.known(token, now_ms).is_none(),
            Way::Judged(_) | Way::Token(..) | Way::Signature(_) => false,
        }
    }

    /// Lets a caller in, or says why not. Blocks if [`Gate::needs_asking`] says so.
    pub(crate) fn admit(&self, now_ms: i64, presented: &Presented<'_>) -> Result<Arc<Caller>, AuthRefused> {
        let credentials = presented.credentials;
        match self.way(credentials, now_ms) {
            Way::Judged(judged) => judged,
            Way::Token(token, issuer) => verify(*token, issuer, now_ms),
            Way::Signature(authorization) => {
                let (headers, iam) = (&credentials.headers, &self.config.auth.iam);
                iam::verify(authorization, &presented.signed, headers, iam, now_ms)
                    .map(|user| Arc::new(Caller::Iam(user)))
            }
            Way::Authorizer(settings, token) => self.ask(settings, token, presented, now_ms),
        }
    }

    fn ask(
        &self,
        settings: &AuthorizerSettings,
        token: &str,
        presented: &Presented<'_>,
        now_ms: i64,
    ) -> Result<Arc<Caller>, AuthRefused> {
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

fn verify(token: Unverified<'_>, issuer: &TokenIssuer, now_ms: i64) -> Result<Arc<Caller>, AuthRefused> {
    match token.verify(issuer, now_ms) {
        Ok(user) => Ok(Arc::new(Caller::User(user))),
        Err(TokenFault::Expired) => Err(AuthRefused::ExpiredToken),
        Err(TokenFault::Refused) => Err(AuthRefused::Wrong),
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
