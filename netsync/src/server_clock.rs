//! What time it is for the server: signatures that are made by a wrong clock are refused.
//!
//! Owns [`ServerClock`]: how far the server is ahead of this machine, as the `Date` of its replies says. Small differences
//! are left alone, since AWS takes signatures of five minutes either way and a reply is some time on its way.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap};

static DATES: DateTimeParser = DateTimeParser::new();

/// Differences up to this one are of no account, in milliseconds.
const TOLERATED_MS: i64 = 60_000;

/// How far the server's clock is ahead of this machine's.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    ahead_ms: AtomicI64,
}

impl ServerClock {
    /// How far it is ahead, in milliseconds; 0 while the two agree.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Takes note of what a reply says that arrived now. What cannot be read says nothing.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        self.note_at(headers, Timestamp::now().as_millisecond());
    }

    fn note_at(&self, headers: &HeaderMap, now_ms: i64) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(server) = date.and_then(|date| DATES.parse_timestamp(date.trim()).ok()) else {
            return;
        };
        let ahead_ms = server.as_millisecond().saturating_sub(now_ms);
        let ahead_ms = if ahead_ms.saturating_abs() > TOLERATED_MS {
            ahead_ms
        } else {
            0
        };
        // Small changes are the way of the reply, and would only make each signature look like a new try.
        if ahead_ms.abs_diff(self.ahead_ms()) > TOLERATED_MS.unsigned_abs() || ahead_ms == 0 {
            self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        }
    }
}

/// The time for the server in the form that signatures take.
pub(crate) fn amz_date(ahead_ms: i64) -> String {
    let now = Timestamp::now();
    let then = Timestamp::from_millisecond(now.as_millisecond().saturating_add(ahead_ms));
    // A server that is out of all bounds gets this machine's time.
    then.unwrap_or(now).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    /// 21 Nov 2026 10:00:00 UTC.
    const NOW_MS: i64 = 1_795_255_200_000;

    fn after(dates: &[&'static str]) -> i64 {
        let clock = ServerClock::default();
        for date in dates {
            let headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))]);
            clock.note_at(&headers, NOW_MS);
        }
        clock.ahead_ms()
    }

    #[test]
    fn only_a_difference_that_matters_is_noted() {
        assert_eq!(after(&["Sat, 21 Nov 2026 10:00:59 GMT"]), 0);
        assert_eq!(after(&["Sat, 21 Nov 2026 12:00:00 GMT"]), 7_200_000);
        assert_eq!(after(&["Sat, 21 Nov 2026 08:00:00 GMT"]), -7_200_000);
        assert_eq!(
            after(&["Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 12:00:30 GMT"]),
            7_200_000,
            "a reply that was longer on its way is no other clock"
        );
        assert_eq!(
            after(&["Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 10:00:01 GMT"]),
            0,
            "a clock that was set right is right"
        );
        assert_eq!(after(&["yesterday"]), 0);
    }

    #[test]
    fn a_server_out_of_all_bounds_gets_our_time() {
        assert_eq!(amz_date(i64::MAX).len(), "20261121T100000Z".len());
        assert!(amz_date(0) <= amz_date(86_400_000));
    }
}
