//! Tokens that are fetched when they are needed, kept while they last, and renewed shortly before they end.
//!
//! Owns [`CachedTokens`]. Where tokens come from is the app's business.
//!
//! Invariant: one fetch at a time; whoever needs a token meanwhile waits for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::authorization::{Secret, TokenProvider, TokenResult};

/// How long before its end a token is renewed by default: longer than a request may take.
pub const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// A [`TokenProvider`] around a function that fetches a token: from Cognito, an OIDC provider, or wherever.
///
/// The end of a token is read from its claim `exp`. A token that is no JWT is kept until the server refuses it, or for
/// as long as [`lasting`](Self::lasting) says.
///
/// ```
/// use landfall_netsync::{Authorization, CachedTokens, Secret};
///
/// async fn sign_in() -> Result<Secret, Box<dyn std::error::Error + Send + Sync>> {
///     Ok(Secret::new("eyJ..."))
/// }
///
/// let authorization = Authorization::token_from(CachedTokens::new(sign_in));
/// ```
#[derive(Clone)]
pub struct CachedTokens {
    inner: Arc<Inner>,
}

struct Inner {
    fetch: Box<dyn Fn() -> BoxFuture<'static, TokenResult> + Send + Sync>,
    renew_before: Duration,
    lasting: Option<Duration>,
    now_s: fn() -> i64,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Secret,
    /// When it ends, in seconds since 1970; `None` if that is not known.
    ends_s: Option<i64>,
}

impl CachedTokens {
    /// Tokens that this function fetches.
    pub fn new<F>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = TokenResult> + Send + 'static,
    {
        Self::build(Box::new(move || Box::pin(fetch())), RENEW_BEFORE, None, || {
            jiff::Timestamp::now().as_second()
        })
    }

    fn build(
        fetch: Box<dyn Fn() -> BoxFuture<'static, TokenResult> + Send + Sync>,
        renew_before: Duration,
        lasting: Option<Duration>,
        now_s: fn() -> i64,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                fetch,
                renew_before,
                lasting,
                now_s,
                kept: Mutex::new(None),
            }),
        }
    }

    /// The same, renewing tokens so long before they end.
    ///
    /// # Panics
    /// If tokens are in use already: this is for setting up.
    #[must_use]
    pub fn renewing_before(self, time: Duration) -> Self {
        let inner = Arc::into_inner(self.inner).expect("tokens are set up before they are shared");
        Self::build(inner.fetch, time, inner.lasting, inner.now_s)
    }

    /// The same, for tokens that do not say when they end and last so long.
    ///
    /// # Panics
    /// If tokens are in use already: this is for setting up.
    #[must_use]
    pub fn lasting(self, time: Duration) -> Self {
        let inner = Arc::into_inner(self.inner).expect("tokens are set up before they are shared");
        Self::build(inner.fetch, inner.renew_before, Some(time), inner.now_s)
    }
}

impl fmt::Debug for CachedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedTokens(..)")
    }
}

impl Inner {
    async fn token(&self, rejected: Option<&Secret>) -> TokenResult {
        let mut kept = self.kept.lock().await;
        if let Some(found) = &*kept
            && self.is_good(found)
            && rejected != Some(&found.token)
        {
            return Ok(found.token.clone());
        }
        // Whatever was kept is of no use, also if there will be no other.
        *kept = None;
        let token = (self.fetch)().await?;
        *kept = Some(Kept {
            ends_s: self.end_of(&token),
            token: token.clone(),
        });
        Ok(token)
    }

    fn is_good(&self, kept: &Kept) -> bool {
        let before_s = i64::try_from(self.renew_before.as_secs()).unwrap_or(i64::MAX);
        kept.ends_s
            .is_none_or(|ends_s| (self.now_s)() < ends_s.saturating_sub(before_s))
    }

    fn end_of(&self, token: &Secret) -> Option<i64> {
        expiry(token.expose()).or_else(|| {
            let lasting_s = i64::try_from(self.lasting?.as_secs()).unwrap_or(i64::MAX);
            Some((self.now_s)().saturating_add(lasting_s))
        })
    }
}

/// The claim `exp` of a JWT, in seconds since 1970. Nobody's word is taken for more than when to ask again.
fn expiry(token: &str) -> Option<i64> {
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Json = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_i64()
}

impl TokenProvider for CachedTokens {
    fn token(&self) -> BoxFuture<'static, TokenResult> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.token(None).await })
    }

    fn renew(&self, rejected: &Secret) -> BoxFuture<'static, TokenResult> {
        let (inner, rejected) = (Arc::clone(&self.inner), rejected.clone());
        Box::pin(async move { inner.token(Some(&rejected)).await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    static NOW_S: AtomicI64 = AtomicI64::new(1_000);

    fn jwt(number: i64, exp: i64) -> String {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"n":{number},"exp":{exp}}}"#));
        format!("h.{claims}.s")
    }

    fn counted(token: impl Fn(i64) -> String + Send + Sync + 'static, now_s: fn() -> i64) -> CachedTokens {
        let count = AtomicI64::new(0);
        CachedTokens::build(
            Box::new(move || {
                let token = token(count.fetch_add(1, Ordering::SeqCst));
                Box::pin(async move { Ok(Secret::from(token)) })
            }),
            RENEW_BEFORE,
            None,
            now_s,
        )
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_its_end() {
        let tokens = counted(
            |number| jwt(number, 2_000 + number * 1_000),
            || NOW_S.load(Ordering::SeqCst),
        );
        let first = tokens.token().await.expect("a token");
        NOW_S.store(1_939, Ordering::SeqCst);
        assert!(tokens.token().await.expect("a token") == first);
        NOW_S.store(1_940, Ordering::SeqCst);
        assert!(tokens.token().await.expect("a token") != first);
    }

    #[tokio::test]
    async fn a_rejected_token_is_replaced_once_however_many_say_so() {
        let tokens = counted(|number| format!("opaque {number}"), || 0);
        let first = tokens.token().await.expect("a token");
        let second = tokens.renew(&first).await.expect("a token");
        assert_eq!(second.expose(), "opaque 1");
        assert_eq!(tokens.renew(&first).await.expect("a token").expose(), "opaque 1");
        assert_eq!(tokens.token().await.expect("a token").expose(), "opaque 1");
    }

    #[tokio::test]
    async fn a_failed_fetch_is_told_and_tried_again_next_time() {
        let count = AtomicI64::new(0);
        let tokens = CachedTokens::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            async move {
                if number == 0 {
                    Err("signed out".into())
                } else {
                    Ok(Secret::from("t"))
                }
            }
        });
        assert_eq!(
            tokens.token().await.err().map(|error| error.to_string()),
            Some("signed out".to_owned())
        );
        assert!(tokens.token().await.is_ok());
        assert_eq!(format!("{tokens:?}"), "CachedTokens(..)");
    }

    #[test]
    fn only_a_jwt_tells_its_end() {
        assert_eq!(expiry(&jwt(0, 77)), Some(77));
        assert_eq!(expiry(&format!("Bearer {}", jwt(0, 77))), Some(77));
        for text in ["", "a.b", "a.b.c", "a.e30.c", "a.%%%.c", "a.b.c.d"] {
            assert_eq!(expiry(text), None, "{text}");
        }
    }
}
