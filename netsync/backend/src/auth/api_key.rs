//! API keys: what they are, and whether one is known and not expired.
//!
//! Owns [`ApiKey`] and the comparison of a presented key with the known ones.

use crate::hash::constant_time_eq;

/// A key that callers present in `x-api-key`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    key: String,
    expires_at_ms: Option<i64>,
}

impl ApiKey {
    /// A key that never expires.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            expires_at_ms: None,
        }
    }

    /// The same key, refused from a time on (milliseconds since 1970).
    #[must_use]
    pub fn expiring_at(self, at_ms: i64) -> Self {
        Self {
            expires_at_ms: Some(at_ms),
            ..self
        }
    }
}

impl std::fmt::Debug for ApiKey {
    /// Leaves the key itself out, so that it does not end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

/// Whether a key is known and not expired; every key is compared, so that the time taken does not tell which one
/// matched. An empty key is never known.
pub(super) fn is_known(given: &str, keys: &[ApiKey], now_ms: i64) -> bool {
    let matched = keys.iter().fold(false, |known, key| {
        let valid = key.expires_at_ms.is_none_or(|at_ms| now_ms < at_ms);
        (constant_time_eq(key.key.as_bytes(), given.as_bytes()) & valid) | known
    });
    matched && !given.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn any_valid_key_is_let_in_until_it_expires() {
        let keys = [
            ApiKey::new("da2-old").expiring_at(NOW_MS),
            ApiKey::new("da2-new").expiring_at(NOW_MS + 1),
            ApiKey::new(""),
        ];
        assert!(is_known("da2-new", &keys, NOW_MS));
        assert!(!is_known("da2-new", &keys, NOW_MS + 1));
        assert!(!is_known("da2-old", &keys, NOW_MS));
        assert!(is_known("da2-old", &keys, NOW_MS - 1));
        assert!(!is_known("", &keys, NOW_MS));
        assert!(!is_known("da2-new", &[], NOW_MS));
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", ApiKey::new("da2-secret")).contains("secret"));
    }
}
