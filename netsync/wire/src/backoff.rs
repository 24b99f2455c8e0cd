//! How long to wait before the next try.
//!
//! Owns the arithmetic of exponential backoff with jitter. Pure: randomness is handed in, and waiting is the caller's.
//!
//! Try n waits `first_ms * 2^(n-1)`, at most `longest_ms`; half of that is certain, the other half is drawn, so that
//! clients which failed together do not come back together. A server's `Retry-After` is a lower bound.

/// Longest `Retry-After` that is believed: beyond an hour a server is asked again anyway, in case it was mistaken.
pub const RETRY_AFTER_MS_MAX: u64 = 60 * 60 * 1_000;

/// When to try again, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The wait after the first failure, in milliseconds.
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    pub longest_ms: u64,
    /// After how many failures to give up; `None` for never, as promised for mutations.
    pub attempts_max: Option<u32>,
}

/// The failures so far of something that is tried again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    policy: BackoffPolicy,
    attempts: u32,
}

impl Default for BackoffPolicy {
    /// From 200 ms to a minute, without end.
    fn default() -> Self {
        Self {
            first_ms: 200,
            longest_ms: 60_000,
            attempts_max: None,
        }
    }
}

impl BackoffPolicy {
    /// How long to wait after so many failures before the last, in milliseconds: half of it, and a random part of the other
    /// half.
    pub fn wait_ms(&self, failures_before: u32, random: &mut dyn FnMut() -> u64) -> u64 {
        self.draw(failures_before, random).0
    }

    /// The wait, and the part of it that is random.
    fn draw(&self, doublings: u32, random: &mut dyn FnMut() -> u64) -> (u64, u64) {
        let full = 1_u64
            .checked_shl(doublings)
            .and_then(|factor| self.first_ms.checked_mul(factor))
            .map_or(self.longest_ms, |wait| wait.min(self.longest_ms));
        let drawn = full - full / 2;
        // The bias of a remainder does not matter at these sizes.
        let jitter = random() % (drawn + 1);
        (full / 2 + jitter, jitter)
    }
}

impl Backoff {
    /// No failure yet.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, attempts: 0 }
    }

    /// Counts a failure; returns how long to wait in milliseconds, or `None` if it is time to give up.
    ///
    /// `retry_after_ms` is what the server asked for; the wait is no shorter, up to [`RETRY_AFTER_MS_MAX`].
    ///
    /// ```
    /// use landfall_wire::{Backoff, BackoffPolicy};
    /// let mut backoff = Backoff::new(BackoffPolicy { first_ms: 100, longest_ms: 400, attempts_max: Some(3) });
    /// let mut no_jitter = || 0;
    /// assert_eq!(backoff.next(None, &mut no_jitter), Some(50));
    /// assert_eq!(backoff.next(Some(1_000), &mut no_jitter), Some(1_000));
    /// assert_eq!(backoff.next(None, &mut no_jitter), Some(200));
    /// assert_eq!(backoff.next(None, &mut no_jitter), None);
    /// ```
    pub fn next(&mut self, retry_after_ms: Option<u64>, random: &mut dyn FnMut() -> u64) -> Option<u64> {
        if self.policy.attempts_max.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let doublings = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        let (wait, jitter) = self.policy.draw(doublings, random);
        // The jitter goes on top of what the server asks for, or all would come back at that very moment.
        let asked = retry_after_ms.map_or(0, |asked| asked.min(RETRY_AFTER_MS_MAX).saturating_add(jitter));
        Some(wait.max(asked))
    }

    /// Forgets the failures, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many failures there were since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(BackoffPolicy {
            first_ms: 100,
            longest_ms: 1_000,
            attempts_max: None,
        });
        let shortest: Vec<_> = (0..6).map(|_| backoff.next(None, &mut || 0)).collect();
        assert_eq!(shortest, [50, 100, 200, 400, 500, 500].map(Some));
        assert_eq!(backoff.attempts(), 6);
        backoff.reset();
        // With a whole period as the draw, the wait is the full one.
        assert_eq!(backoff.next(None, &mut || 50), Some(100));
    }

    #[test]
    fn an_absurd_retry_after_is_cut() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        assert_eq!(backoff.next(Some(u64::MAX), &mut || 0), Some(RETRY_AFTER_MS_MAX));
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds(
            first_ms in any::<u64>(), longest_ms in any::<u64>(), drawn in any::<u64>(), tries in 1_usize..200,
        ) {
            let mut backoff = Backoff::new(BackoffPolicy { first_ms, longest_ms, attempts_max: None });
            for _ in 0..tries {
                let wait = backoff.next(None, &mut || drawn);
                prop_assert!(wait.is_some_and(|wait| wait <= longest_ms));
            }
        }
    }
}
