//! AppSync's scalars as Rust types.
//!
//! Owns one newtype per AWS scalar but `AWSJSON`, which is `serde_json::Value`. What a scalar accepts is
//! `scalar.rs`'s business.
//!
//! Invariants: 1. a text newtype holds a text that its scalar accepts; 2. the text is kept as given, and order and
//! equality are those of the text, so that `10:15Z` and `10:15:00Z` differ.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::scalar::Scalar;
use crate::value::Value;

/// A text that is not of the scalar type it was given for.
///
/// ```
/// use landfall_core::AwsEmail;
///
/// let error = AwsEmail::try_from("nobody").err().ok_or("it is no address")?;
/// assert_eq!(error.text, "nobody");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("takes {}, not {text:?}", .scalar.accepts())]
pub struct InvalidScalar {
    /// The scalar type.
    pub scalar: Scalar,
    /// The text.
    pub text: String,
}

/// Applies a macro to every text newtype; `model/` implements its traits with it.
macro_rules! for_each_aws_text {
    ($apply:ident) => {
        $apply!(
            AwsDate,
            AwsTime,
            AwsDateTime,
            AwsEmail,
            AwsUrl,
            AwsPhone,
            AwsIpAddress
        );
    };
}
pub(crate) use for_each_aws_text;

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes a text out of a row, where it was checked when it was written.
            pub(crate) fn of_stored(text: String) -> Self {
                Self(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidScalar;

            fn try_from(text: String) -> Result<Self, InvalidScalar> {
                let value = Value::String(text);
                let fits = Scalar::$name.check(&value).is_ok();
                let Value::String(text) = value else { unreachable!("made of a string above") };
                if fits { Ok(Self(text)) } else { Err(InvalidScalar { scalar: Scalar::$name, text }) }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidScalar;

            fn try_from(text: &str) -> Result<Self, InvalidScalar> {
                text.to_owned().try_into()
            }
        }

        impl FromStr for $name {
            type Err = InvalidScalar;

            fn from_str(text: &str) -> Result<Self, InvalidScalar> {
                text.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::String(value.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type! {
    /// `AWSDate`: a calendar date, with an optional offset.
    AwsDate
}

text_type! {
    /// `AWSTime`: a time of day, with an optional offset.
    AwsTime
}

text_type! {
    /// `AWSDateTime`: a date and time with an offset.
    ///
    /// ```
    /// use landfall_core::AwsDateTime;
    /// let at: AwsDateTime = "2026-11-21T10:15:30.123Z".parse()?;
    /// assert_eq!(at.as_str(), "2026-11-21T10:15:30.123Z");
    /// assert!("2026-11-21T10:15:30".parse::<AwsDateTime>().is_err());
    /// # Ok::<(), landfall_core::InvalidScalar>(())
    /// ```
    AwsDateTime
}

text_type! {
    /// `AWSEmail`: an email address.
    AwsEmail
}

text_type! {
    /// `AWSURL`: an absolute URL.
    AwsUrl
}

text_type! {
    /// `AWSPhone`: a telephone number.
    AwsPhone
}

text_type! {
    /// `AWSIPAddress`: an IPv4 or IPv6 address, with an optional prefix length.
    AwsIpAddress
}

/// `AWSTimestamp`: seconds since 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AwsTimestamp(pub i64);

impl From<i64> for AwsTimestamp {
    fn from(seconds: i64) -> Self {
        Self(seconds)
    }
}

impl From<AwsTimestamp> for i64 {
    fn from(timestamp: AwsTimestamp) -> Self {
        timestamp.0
    }
}

impl From<AwsTimestamp> for Value {
    fn from(timestamp: AwsTimestamp) -> Self {
        Self::Int(timestamp.0)
    }
}

impl FromStr for AwsTimestamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for AwsTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_given_and_checked() {
        let email: AwsEmail = "Ann@Example.com".parse().expect("an address");
        assert_eq!(
            (email.as_str(), email.to_string()),
            ("Ann@Example.com", "Ann@Example.com".to_owned())
        );
        let error = AwsIpAddress::try_from("300.0.0.1").expect_err("no address");
        assert_eq!(
            error.to_string(),
            r#"takes an IPv4 or IPv6 address, with an optional prefix length such as /24, not "300.0.0.1""#
        );
        assert!(AwsDate::try_from("2026-02-28").is_ok() && AwsDate::try_from("2026-02-30").is_err());
        assert!(AwsTime::try_from("10:15").is_ok() && AwsTime::try_from("25:00").is_err());
        assert!(AwsUrl::try_from("https://x/").is_ok() && AwsUrl::try_from("x").is_err());
        assert!(AwsPhone::try_from("+1 555-0100").is_ok() && AwsPhone::try_from("x").is_err());
    }

    #[test]
    fn serde_reads_only_what_the_scalar_accepts() {
        let date: AwsDate = serde_json::from_str("\"2026-11-21\"").expect("a date");
        assert_eq!(serde_json::to_string(&date).expect("JSON"), "\"2026-11-21\"");
        let error = serde_json::from_str::<AwsDate>("\"soon\"").expect_err("no date");
        assert!(error.to_string().contains("takes a date such as"), "{error}");
        assert_eq!(
            serde_json::from_str::<AwsTimestamp>("-5").expect("a timestamp"),
            AwsTimestamp(-5)
        );
    }
}
