//! Where a sync query reads, how much of it, and how it goes on: base or delta, page limits, page tokens.
//!
//! Owns the choice of the source and the form of tokens. Pure; reading is done by the store.
//!
//! Invariants: 1. the first page decides source and `startedAt`, later ones follow the token; 2. a token works only for
//! the field, model and filter that it was made for, and only with the key it was made with; 3. a token shows nothing
//! of where it goes on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::config::{BadLimit, DeltaBoundary, FutureLastSync, Limits, Switches};
use crate::hash::{HashKey, keyed_hash};

/// How long a paged delta sync may take, in milliseconds; the delta table keeps its rows that much longer, so that no
/// page misses what was purged after the first.
pub(crate) const DELTA_PAGING_MS_MAX: i64 = 60 * 60 * 1_000;

const MS_PER_MINUTE: i64 = 60_000;

/// Where a sync query reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SyncSource {
    /// The base table: every record once.
    Base,
    /// The delta table: every change at or after a time.
    Delta {
        /// The time, in milliseconds.
        since_ms: i64,
    },
}

/// Chooses the source of a first page.
pub(crate) fn choose_source(
    last_sync_ms: Option<i64>,
    now_ms: i64,
    delta_ttl_minutes: u32,
    switches: &Switches,
) -> SyncSource {
    let oldest_ms = now_ms - i64::from(delta_ttl_minutes) * MS_PER_MINUTE;
    match last_sync_ms {
        Some(last_sync_ms) if last_sync_ms > 0 && last_sync_ms >= oldest_ms => {
            if last_sync_ms > now_ms && switches.future_last_sync == FutureLastSync::Base {
                return SyncSource::Base;
            }
            let since_ms = match switches.delta_boundary {
                DeltaBoundary::Included => last_sync_ms,
                DeltaBoundary::Excluded => last_sync_ms.saturating_add(1),
            };
            SyncSource::Delta { since_ms }
        }
        _ => SyncSource::Base,
    }
}

/// How many rows a page evaluates, or `None` if the asked limit is refused.
pub(crate) fn page_limit(asked: Option<i64>, limits: &Limits, switches: &Switches) -> Option<usize> {
    let Some(asked) = asked else {
        return Some(limits.page_default);
    };
    match usize::try_from(asked) {
        Ok(asked) if (1..=limits.page_max).contains(&asked) => Some(asked),
        _ if switches.bad_limit == BadLimit::Clamped => {
            Some(usize::try_from(asked).unwrap_or(0).clamp(1, limits.page_max))
        }
        _ => None,
    }
}

/// Where a paged read goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageToken {
    /// Key of the last row that was evaluated.
    pub(crate) position: Vec<u8>,
    /// Source, for sync queries.
    pub(crate) source: Option<SyncSource>,
    /// `startedAt` of the first page, for sync queries.
    pub(crate) started_at_ms: Option<i64>,
}

impl PageToken {
    /// The token's text; `scope` names the field, model and filter it is good for.
    ///
    /// What it says is encrypted: its position is the key of a record, which the caller may not be allowed to see. Equal
    /// tokens have equal texts, so that runs are repeated byte for byte.
    ///
    /// # Panics
    /// Never: a token is shorter than what can be encrypted.
    pub(crate) fn seal(&self, scope: &str, key: &HashKey) -> String {
        let mut body = rmp_serde::to_vec(self).expect("tokens can be written to memory");
        // The nonce is made of what it is used for, so that it is not used for anything else.
        let nonce = nonce(&body, scope, key);
        cipher(key)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(scope.as_bytes()),
                &mut body,
            )
            .expect("tokens are short enough to be encrypted");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &body].concat())
    }

    /// Reads a token; `None` if it was not made for this scope with this key, or is too old.
    pub(crate) fn open(text: &str, scope: &str, key: &HashKey, now_ms: i64) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let body = cipher(key)
            .open_in_place(nonce, Aad::from(scope.as_bytes()), &mut sealed)
            .ok()?;
        let token: Self = rmp_serde::from_slice(body).ok()?;
        let too_old = matches!(token.source, Some(SyncSource::Delta { .. }))
            && token
                .started_at_ms
                .is_some_and(|started_at_ms| started_at_ms + DELTA_PAGING_MS_MAX < now_ms);
        (!too_old).then_some(token)
    }
}

fn nonce(body: &[u8], scope: &str, key: &HashKey) -> [u8; NONCE_LEN] {
    // The length keeps the two parts apart.
    let mut message = (body.len() as u64).to_le_bytes().to_vec();
    message.extend_from_slice(body);
    message.extend_from_slice(scope.as_bytes());
    let tag = keyed_hash(key, &message);
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&tag[..NONCE_LEN]);
    nonce
}

/// The cipher of tokens, under a key of its own.
fn cipher(key: &HashKey) -> LessSafeKey {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"page tokens");
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("a SHA-256 has the length of a key");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_010_000;
    const WINDOW_MS: i64 = 30 * MS_PER_MINUTE;

    #[test]
    fn a_first_page_reads_the_delta_only_within_the_window() {
        let base = SyncSource::Base;
        let delta = |since_ms| SyncSource::Delta { since_ms };
        let cases = [
            (None, base),
            (Some(0), base),
            (Some(-5), base),
            (Some(NOW_MS - WINDOW_MS - 1), base),
            (Some(NOW_MS - WINDOW_MS), delta(NOW_MS - WINDOW_MS)),
            (Some(NOW_MS - 1), delta(NOW_MS - 1)),
            (Some(NOW_MS), delta(NOW_MS)),
            (Some(NOW_MS + 1), delta(NOW_MS + 1)),
            (Some(i64::MAX), delta(i64::MAX)),
        ];
        for (last_sync, expected) in cases {
            assert_eq!(
                choose_source(last_sync, NOW_MS, 30, &Switches::default()),
                expected,
                "{last_sync:?}"
            );
        }
    }

    #[test]
    fn switches_move_the_boundary_and_the_future() {
        let switches = Switches {
            delta_boundary: DeltaBoundary::Excluded,
            future_last_sync: FutureLastSync::Base,
            ..Switches::default()
        };
        let choose = |last_sync| choose_source(Some(last_sync), NOW_MS, 30, &switches);
        assert_eq!(choose(NOW_MS), SyncSource::Delta { since_ms: NOW_MS + 1 });
        assert_eq!(choose(NOW_MS + 1), SyncSource::Base);
    }

    #[test]
    fn page_limits_have_a_default_and_bounds() {
        let (limits, refused) = (Limits::default(), Switches::default());
        let clamped = Switches {
            bad_limit: BadLimit::Clamped,
            ..refused
        };
        for (asked, strict, lenient) in [
            (None, Some(100), Some(100)),
            (Some(1), Some(1), Some(1)),
            (Some(1_000), Some(1_000), Some(1_000)),
            (Some(1_001), None, Some(1_000)),
            (Some(0), None, Some(1)),
            (Some(-3), None, Some(1)),
        ] {
            assert_eq!(page_limit(asked, &limits, &refused), strict, "{asked:?}");
            assert_eq!(page_limit(asked, &limits, &clamped), lenient, "{asked:?}");
        }
    }

    #[test]
    fn a_token_works_only_for_its_scope_key_and_time() {
        let token = PageToken {
            position: vec![1, 2, 3],
            source: Some(SyncSource::Delta { since_ms: 5 }),
            started_at_ms: Some(NOW_MS),
        };
        let key = [7; 16];
        let text = token.seal("syncPosts {}", &key);
        assert_eq!(
            PageToken::open(&text, "syncPosts {}", &key, NOW_MS),
            Some(token.clone())
        );
        assert_eq!(PageToken::open(&text, "listPosts {}", &key, NOW_MS), None);
        assert_eq!(PageToken::open(&text, "syncPosts {}", &[8; 16], NOW_MS), None);
        assert_eq!(
            PageToken::open(&text, "syncPosts {}", &key, NOW_MS + DELTA_PAGING_MS_MAX + 1),
            None
        );
        let base = PageToken {
            source: Some(SyncSource::Base),
            ..token
        };
        let sealed = base.seal("s", &key);
        assert_eq!(PageToken::open(&sealed, "s", &key, i64::MAX), Some(base));
        for broken in ["", "!", "AAAA", &text[1..]] {
            assert_eq!(
                PageToken::open(broken, "syncPosts {}", &key, NOW_MS),
                None,
                "{broken:?}"
            );
        }
    }

    #[test]
    fn a_token_does_not_show_the_key_it_goes_on_behind() {
        let token = PageToken {
            position: b"secret-record".to_vec(),
            source: None,
            started_at_ms: None,
        };
        let sealed = URL_SAFE_NO_PAD.decode(token.seal("s", &[1; 16])).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn every_changed_byte_breaks_a_token() {
        let token = PageToken {
            position: vec![9; 8],
            source: None,
            started_at_ms: None,
        };
        let bytes = URL_SAFE_NO_PAD.decode(token.seal("s", &[1; 16])).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(PageToken::open(&text, "s", &[1; 16], NOW_MS), None, "byte {at}");
        }
    }
}
