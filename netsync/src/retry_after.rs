//! How long a server asks to wait.
//!
//! Owns the reading of `Retry-After`, in seconds or as a date. A date is taken relative to the reply's own `Date`, so
//! that our clock does not matter.

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

static DATES: DateTimeParser = DateTimeParser::new();

/// The wait in milliseconds; `None` if the server asks for none or does so illegibly.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let wish = text(RETRY_AFTER)?;
    if let Ok(seconds) = wish.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = DATES.parse_timestamp(wish).ok()?.as_millisecond();
    let now = DATES.parse_timestamp(text(DATE)?).ok()?.as_millisecond();
    Some(u64::try_from(until.saturating_sub(now)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn wait(retry_after: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        retry_after_ms(&headers)
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        const NOW: Option<&str> = Some("Sat, 21 Nov 2026 10:00:00 GMT");
        assert_eq!(wait("7", None), Some(7_000));
        assert_eq!(wait(" 0 ", None), Some(0));
        assert_eq!(wait("Sat, 21 Nov 2026 10:01:30 GMT", NOW), Some(90_000));
        assert_eq!(wait("Sat, 21 Nov 2026 09:00:00 GMT", NOW), Some(0));
        assert_eq!(wait("18446744073709551615", None), Some(u64::MAX));
    }

    #[test]
    fn what_cannot_be_read_is_no_wish() {
        assert_eq!(wait("soon", None), None);
        assert_eq!(wait("-1", None), None);
        assert_eq!(wait("Sat, 21 Nov 2026 10:01:30 GMT", None), None);
        assert_eq!(retry_after_ms(&HeaderMap::new()), None);
    }
}
