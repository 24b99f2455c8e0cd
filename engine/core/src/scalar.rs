//! The GraphQL and AWS scalars, and which texts they accept.
//!
//! Owns the list of scalars and the syntax of each. Does not coerce: a value either fits or is refused with a reason.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::value::Value;

/// A scalar type that AppSync knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// `ID`
    Id,
    /// `String`
    String,
    /// `Int`, 32 bits
    Int,
    /// `Float`, finite
    Float,
    /// `Boolean`
    Boolean,
    /// `AWSDate`
    AwsDate,
    /// `AWSTime`
    AwsTime,
    /// `AWSDateTime`
    AwsDateTime,
    /// `AWSTimestamp`, 64 bits
    AwsTimestamp,
    /// `AWSEmail`
    AwsEmail,
    /// `AWSURL`
    AwsUrl,
    /// `AWSPhone`
    AwsPhone,
    /// `AWSIPAddress`
    AwsIpAddress,
    /// `AWSJSON`
    AwsJson,
}

/// Every scalar with its GraphQL name.
const NAMES: [(Scalar, &str); 14] = [
    (Scalar::Id, "ID"),
    (Scalar::String, "String"),
    (Scalar::Int, "Int"),
    (Scalar::Float, "Float"),
    (Scalar::Boolean, "Boolean"),
    (Scalar::AwsDate, "AWSDate"),
    (Scalar::AwsTime, "AWSTime"),
    (Scalar::AwsDateTime, "AWSDateTime"),
    (Scalar::AwsTimestamp, "AWSTimestamp"),
    (Scalar::AwsEmail, "AWSEmail"),
    (Scalar::AwsUrl, "AWSURL"),
    (Scalar::AwsPhone, "AWSPhone"),
    (Scalar::AwsIpAddress, "AWSIPAddress"),
    (Scalar::AwsJson, "AWSJSON"),
];

impl Scalar {
    /// Every scalar.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(scalar, _)| scalar)
    }

    /// The GraphQL name, such as `AWSDateTime`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(scalar, _)| *scalar == self)
            .map_or("", |(_, name)| name)
    }

    /// The scalar of that GraphQL name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(scalar, _)| *scalar)
    }

    /// Whether the value fits the scalar.
    ///
    /// Dates must exist in the calendar, `AWSDateTime` needs an offset (as AppSync demands), `Int` 32 bits.
    ///
    /// # Errors
    /// What the scalar accepts, in words.
    ///
    /// ```
    /// use landfall_core::{Scalar, Value};
    /// assert!(Scalar::AwsDate.check(&Value::from("2026-02-28")).is_ok());
    /// assert!(Scalar::AwsDate.check(&Value::from("2026-02-30")).is_err());
    /// ```
    pub fn check(self, value: &Value) -> Result<(), &'static str> {
        match (self, value) {
            (Self::Id | Self::String, Value::String(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::AwsJson | Self::AwsTimestamp, Value::Int(_)) => Ok(()),
            (Self::Int, Value::Int(n)) => i32::try_from(*n)
                .map(drop)
                .map_err(|_| "an integer between -2147483648 and 2147483647"),
            (Self::Float, Value::Int(_)) => Ok(()),
            (Self::Float, Value::Float(x)) if x.is_finite() => Ok(()),
            (Self::AwsJson, Value::Float(x)) if !x.is_finite() => Err("JSON, which has no NaN or infinity"),
            (Self::AwsJson, _) => Ok(()),
            (_, Value::String(text)) => self.check_text(text),
            _ => Err(self.accepts()),
        }
    }

    fn check_text(self, text: &str) -> Result<(), &'static str> {
        let fits = match self {
            Self::AwsDate => is_date(text),
            Self::AwsTime => is_time(text),
            Self::AwsDateTime => is_date_time(text),
            Self::AwsEmail => is_email(text),
            Self::AwsUrl => is_url(text),
            Self::AwsPhone => is_phone(text),
            Self::AwsIpAddress => is_ip_address(text),
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.accepts()) }
    }

    /// What the scalar accepts, in words for error messages.
    pub fn accepts(self) -> &'static str {
        match self {
            Self::Id | Self::String => "a string",
            Self::Int => "an integer between -2147483648 and 2147483647",
            Self::Float => "a finite number",
            Self::Boolean => "true or false",
            Self::AwsDate => "a date such as 2026-11-21, 2026-11-21Z or 2026-11-21+01:00",
            Self::AwsTime => "a time such as 10:15, 10:15:30.123 or 10:15:30Z",
            Self::AwsDateTime => "a date and time with an offset, such as 2026-11-21T10:15:30.123Z",
            Self::AwsTimestamp => "a whole number of seconds since 1970",
            Self::AwsEmail => "an address such as name@example.com",
            Self::AwsUrl => "an absolute URL such as https://example.com/",
            Self::AwsPhone => "digits, spaces and hyphens, with an optional leading +",
            Self::AwsIpAddress => "an IPv4 or IPv6 address, with an optional prefix length such as /24",
            Self::AwsJson => "JSON",
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Splits off a trailing `Z` or `±hh:mm[:ss]`; `None` if what looks like an offset is not one.
fn split_offset(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_suffix('Z') {
        return Some((rest, Some("Z")));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some((text, None));
    };
    let (rest, offset) = text.split_at(at);
    let parts: Vec<&str> = offset[1..].split(':').collect();
    let number = |part: &str, max: u32| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n: u32| n <= max)
    };
    match parts.as_slice() {
        [h, m] if number(h, 18) && number(m, 59) => Some((rest, Some(offset))),
        [h, m, s] if number(h, 18) && number(m, 59) && number(s, 59) => Some((rest, Some(offset))),
        _ => None,
    }
}

fn is_calendar_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok()
}

fn is_clock_time(text: &str) -> bool {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let number = |part: &str, max: u8| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n: u8| n <= max)
    };
    let whole = match parts.as_slice() {
        [h, m] => number(h, 23) && number(m, 59) && fraction.is_none(),
        [h, m, s] => number(h, 23) && number(m, 59) && number(s, 59),
        _ => false,
    };
    whole && fraction.is_none_or(|f| (1..=9).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()))
}

fn is_date(text: &str) -> bool {
    // The hyphens of the date itself are not an offset, so it is cut off first.
    let (Some(date), Some(rest)) = (text.get(..10), text.get(10..)) else {
        return false;
    };
    is_calendar_date(date) && (rest.is_empty() || matches!(split_offset(rest), Some(("", Some(_)))))
}

fn is_time(text: &str) -> bool {
    split_offset(text).is_some_and(|(clock, _)| is_clock_time(clock))
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    is_calendar_date(date) && matches!(split_offset(time), Some((clock, Some(_))) if is_clock_time(clock))
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let local_fits = !local.is_empty()
        && local
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b));
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    local_fits && domain.split('.').all(label_fits)
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let has_authority = rest
        .strip_prefix("//")
        .is_none_or(|authority| !authority.is_empty());
    scheme_fits && !rest.is_empty() && has_authority && !text.contains(char::is_whitespace)
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.len() >= 2
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b' ' || b == b'-')
}

fn is_ip_address(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let length_max = if Ipv4Addr::from_str(address).is_ok() {
        32
    } else if Ipv6Addr::from_str(address).is_ok() {
        128
    } else {
        return false;
    };
    prefix
        .is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse().is_ok_and(|n: u8| n <= length_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scalar: Scalar, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(
                scalar.check(&Value::from(*text)).is_ok(),
                "{scalar} should accept {text:?}"
            );
        }
        for text in bad {
            assert!(
                scalar.check(&Value::from(*text)).is_err(),
                "{scalar} should refuse {text:?}"
            );
        }
    }

    #[test]
    fn dates_and_times_follow_the_calendar_and_the_clock() {
        check(
            Scalar::AwsDate,
            &[
                "2026-11-21",
                "2024-02-29",
                "2026-11-21Z",
                "2026-11-21-07:00",
                "2026-11-21+01:30:15",
            ],
            &[
                "2026-02-29",
                "2026-13-01",
                "26-01-01",
                "2026-1-1",
                "2026-11-21 ",
                "",
                "2026-11-21+1",
                "ä026-11-21",
            ],
        );
        check(
            Scalar::AwsTime,
            &[
                "10:15",
                "10:15:30",
                "10:15:30.1",
                "10:15:30.123456789Z",
                "23:59:59-08:00",
            ],
            &["24:00", "10:60", "10", "10:15.5", "10:15:30.", "10:15:30+", "x"],
        );
        check(
            Scalar::AwsDateTime,
            &[
                "2026-11-21T10:15Z",
                "2026-11-21T10:15:30.123Z",
                "2026-11-21T10:15:30+01:00",
            ],
            &[
                "2026-11-21T10:15:30",
                "2026-11-21",
                "2026-11-21 10:15Z",
                "2026-02-30T00:00Z",
            ],
        );
    }

    #[test]
    fn texts_with_a_syntax_are_checked() {
        check(
            Scalar::AwsEmail,
            &["a@b", "x.y+z@example.com"],
            &["@b", "a@", "a b@c", "a@b..c", "a@-b"],
        );
        check(
            Scalar::AwsUrl,
            &["https://example.com/x?y=1", "mailto:a@b"],
            &["example.com", "//x", "https://", "a b:c"],
        );
        check(
            Scalar::AwsPhone,
            &["+1 555-0100", "112"],
            &["1", "+", "call me", "-12"],
        );
        check(
            Scalar::AwsIpAddress,
            &["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"],
            &["256.0.0.1", "1.2.3", "::1/129", "10.0.0.0/", "10.0.0.0/33"],
        );
    }

    #[test]
    fn numbers_have_bounds_and_kinds() {
        assert!(Scalar::Int.check(&Value::Int(i64::from(i32::MAX))).is_ok());
        assert!(Scalar::Int.check(&Value::Int(i64::from(i32::MAX) + 1)).is_err());
        assert!(Scalar::Int.check(&Value::Float(1.0)).is_err());
        assert!(Scalar::Float.check(&Value::Int(3)).is_ok());
        assert!(Scalar::Float.check(&Value::Float(f64::NAN)).is_err());
        assert!(Scalar::AwsTimestamp.check(&Value::Int(1_700_000_000_123)).is_ok());
        assert!(Scalar::Boolean.check(&Value::Int(1)).is_err());
    }

    #[test]
    fn every_scalar_is_found_by_its_name() {
        for scalar in Scalar::all() {
            assert_eq!(Scalar::from_name(scalar.name()), Some(scalar));
        }
        assert_eq!(Scalar::from_name("Date"), None);
    }
}
