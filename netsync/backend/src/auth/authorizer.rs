//! The Lambda mode: somebody else judges tokens.
//!
//! Owns [`Authorizer`], the values it takes and gives (AppSync's, by their names), and the cache of its answers. How it
//! is reached is not known here (`webhook.rs` is one way).
//!
//! Invariants: 1. the cache holds no token, only hashes of them; 2. it is bounded; 3. an answer that cannot be understood
//! lets nobody in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::identity::{Caller, LambdaUser};
use super::refusal::AuthRefused;
use super::settings::AuthorizerSettings;

/// Most answers that are kept; one has some hundred bytes unless the authorizer adds a large context.
const CACHED_ANSWERS_MAX: usize = 10_000;
/// Most refusals that are kept. They are kept apart: tokens that somebody makes up must not drive out those that are good.
const CACHED_REFUSALS_MAX: usize = 2_000;
/// Longest time that an answer may ask to be kept, in seconds (AppSync: an hour).
const TTL_S_MAX: u32 = 3_600;
/// Most fields that an answer may deny.
const DENIED_FIELDS_MAX: usize = 10_000;

/// Judges the tokens of callers, as a Lambda authorizer of AppSync does.
pub trait Authorizer: Send + Sync {
    /// Judges a call. May block: whoever serves a backend over sockets asks on a thread of its own.
    ///
    /// # Errors
    /// [`AuthorizerFault`] if no answer can be had; the call is then refused as one to try again.
    fn authorize(&self, request: &AuthorizerRequest) -> Result<AuthorizerAnswer, AuthorizerFault>;
}

/// What an authorizer is told; as JSON it is the event that AppSync sends.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerRequest {
    /// What the caller sent as `Authorization`.
    pub authorization_token: String,
    /// What is asked.
    pub request_context: AuthorizerContext,
    /// The headers of the request, without the token.
    pub request_headers: BTreeMap<String, String>,
}

/// What is asked.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerContext {
    /// The API's identifier; always `landfall`.
    pub api_id: String,
    /// The account; always zeros.
    pub account_id: String,
    /// Names the call.
    pub request_id: String,
    /// The GraphQL document; empty when a realtime connection is opened.
    pub query_string: String,
    /// The operation's name, if the caller gave one.
    pub operation_name: Option<String>,
    /// The variables.
    pub variables: Json,
}

impl std::fmt::Debug for AuthorizerRequest {
    /// Leaves the token and the headers out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizerRequest")
            .field("request_context", &self.request_context)
            .finish_non_exhaustive()
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizerAnswer {
    /// Whether the call is let in.
    pub is_authorized: bool,
    /// What it adds for resolvers; texts, numbers and truth values by name.
    pub resolver_context: Option<Map<String, Json>>,
    /// Fields that the caller gets nothing of: `Type.field`, or an ARN that ends in `types/Type/fields/field`.
    pub denied_fields: Option<Vec<String>>,
    /// How long the answer may be kept, in seconds, instead of the API's own setting; 0 keeps it not at all.
    pub ttl_override: Option<u32>,
}

/// No answer was to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authorizer cannot be asked: {cause}; see whether it runs")]
pub struct AuthorizerFault {
    /// What went wrong, without anything secret.
    pub cause: String,
}

/// The hash of a token.
type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// Answers by the hash of their token.
#[derive(Default)]
pub(super) struct AnswerCache {
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    granted: BTreeMap<TokenHash, Kept<Arc<Caller>>>,
    refused: BTreeMap<TokenHash, Kept<()>>,
}

struct Kept<T> {
    until_ms: i64,
    answer: T,
}

impl Answers {
    fn known(&self, key: &TokenHash, now_ms: i64) -> Option<Result<Arc<Caller>, AuthRefused>> {
        if let Some(kept) = self.granted.get(key).filter(|kept| now_ms < kept.until_ms) {
            return Some(Ok(Arc::clone(&kept.answer)));
        }
        let refused = self.refused.get(key).filter(|kept| now_ms < kept.until_ms);
        refused.map(|_| Err(AuthRefused::Wrong))
    }
}

/// Keeps an answer among at most so many.
fn keep<T>(kept: &mut BTreeMap<TokenHash, Kept<T>>, key: TokenHash, new: Kept<T>, now_ms: i64, most: usize) {
    if kept.len() >= most {
        kept.retain(|_, kept| now_ms < kept.until_ms);
    }
    if kept.len() >= most {
        kept.pop_first();
    }
    kept.insert(key, new);
}

fn hash_of(token: &str) -> TokenHash {
    let mut key = TokenHash::default();
    key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    key
}

impl AnswerCache {
    /// The answer that is kept for a token, if one is.
    pub(super) fn known(&self, token: &str, now_ms: i64) -> Option<Result<Arc<Caller>, AuthRefused>> {
        self.lock().known(&hash_of(token), now_ms)
    }

    /// Judges a token, by a kept answer or by asking.
    pub(super) fn judge(
        &self,
        settings: &AuthorizerSettings,
        request: impl FnOnce() -> AuthorizerRequest,
        token: &str,
        now_ms: i64,
    ) -> Result<Arc<Caller>, AuthRefused> {
        let key = hash_of(token);
        if let Some(known) = self.lock().known(&key, now_ms) {
            return known;
        }
        // Asked without the lock: a slow authorizer holds up nobody else.
        let answer = settings.authorizer.authorize(&request()).map_err(|fault| {
            tracing::warn!(%fault, "a call was refused");
            AuthRefused::Unavailable
        })?;
        let ttl_s = answer.ttl_override.unwrap_or(settings.ttl_s).min(TTL_S_MAX);
        let caller = caller_of(answer).map(Arc::new);
        if ttl_s > 0 {
            let until_ms = now_ms.saturating_add(i64::from(ttl_s) * 1_000);
            let mut answers = self.lock();
            match caller.clone() {
                Some(answer) => {
                    let new = Kept { until_ms, answer };
                    keep(&mut answers.granted, key, new, now_ms, CACHED_ANSWERS_MAX);
                }
                None => {
                    let new = Kept { until_ms, answer: () };
                    keep(&mut answers.refused, key, new, now_ms, CACHED_REFUSALS_MAX);
                }
            }
        }
        caller.ok_or(AuthRefused::Wrong)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn caller_of(answer: AuthorizerAnswer) -> Option<Caller> {
    if !answer.is_authorized {
        return None;
    }
    let denied = answer.denied_fields.unwrap_or_default();
    if denied.len() > DENIED_FIELDS_MAX {
        return None;
    }
    // What cannot be read might be the field that matters most.
    let denied_fields: Option<BTreeSet<(String, String)>> =
        denied.iter().map(|name| denied_field(name)).collect();
    Some(Caller::Lambda(LambdaUser {
        denied_fields: denied_fields?,
        resolver_context: answer.resolver_context.unwrap_or_default(),
    }))
}

fn denied_field(name: &str) -> Option<(String, String)> {
    let (ty, field) = match name.strip_prefix("arn:") {
        Some(arn) => arn.rsplit_once("/types/")?.1.split_once("/fields/")?,
        None => name.split_once('.')?,
    };
    let plain = |text: &str| {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !text.is_empty() && text.bytes().all(named)
    };
    (plain(ty) && plain(field)).then(|| (ty.to_owned(), field.to_owned()))
}

#[cfg(test)]
mod tests;
