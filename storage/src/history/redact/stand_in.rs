//! What stands for a value in a redacted log: another of the same type, by a keyed hash.
//!
//! Owns [`StandIns`]. A record that held a valid value holds one afterwards, so that a store made from a redacted log can
//! be read, changed and exported like the one it came from.
//!
//! Invariants: 1. the same value always gets the same stand-in, wherever it is and whatever its field is called; 2. two that
//! differ get two that differ: integers of 32 bits and plain dates always, the rest but for a chance of one in 2^32 at most
//! for each pair; dates with an offset have only those of the calendar to choose from.

use jiff::SignedDuration;
use jiff::civil::Date;

use landfall_core::Scalar;

use super::REDACTION_KEY_BYTES;

/// Positive integers up to this are exact in JSON, wherever it is read.
const INT_BITS: u32 = 53;

/// Rounds of the network that permutes numbers: from four on it cannot be told from a random permutation.
const ROUNDS: u8 = 4;

/// The first day that a date can name.
const FIRST_DAY: Date = Date::constant(0, 1, 1);

/// Days from then to the last of December of 9999.
const DAYS: u64 = 3_652_425;

/// Nanoseconds of a day.
const DAY_NS: u64 = 86_400_000_000_000;

/// Numbers of 14 digits; with the code of a country they make a telephone number.
const PHONES: u64 = 100_000_000_000_000;

/// Makes stand-ins by a key.
pub(super) struct StandIns {
    key: [u8; REDACTION_KEY_BYTES],
}

impl StandIns {
    pub(super) fn new(key: [u8; REDACTION_KEY_BYTES]) -> Self {
        Self { key }
    }

    /// For text of which nothing is known. An empty text stays empty: whether there is one is shape.
    pub(super) fn text(&self, text: &str) -> String {
        if text.is_empty() {
            String::new()
        } else {
            format!("x{:016x}", self.hash(b't', text.as_bytes()))
        }
    }

    /// For text of a scalar: text that the scalar accepts.
    pub(super) fn text_of(&self, scalar: Scalar, text: &str) -> String {
        let hash = self.hash(b't', text.as_bytes());
        match scalar {
            Scalar::AwsDate => self.date(text).to_string(),
            Scalar::AwsTime => clock(hash % DAY_NS),
            Scalar::AwsDateTime => {
                let day = date_of(self.hash(b'd', text.as_bytes()) % DAYS);
                format!("{day}T{}Z", clock(hash % DAY_NS))
            }
            Scalar::AwsEmail => format!("x{hash:016x}@example.com"),
            Scalar::AwsUrl => format!("https://example.com/x{hash:016x}"),
            Scalar::AwsPhone => format!("+1{:014}", hash % PHONES),
            // Of the block that is set aside for documentation.
            Scalar::AwsIpAddress => {
                let [a, b, c, d] = [48, 32, 16, 0].map(|bits| hash >> bits & 0xffff);
                format!("2001:db8::{a:x}:{b:x}:{c:x}:{d:x}")
            }
            Scalar::AwsJson
            | Scalar::Id
            | Scalar::String
            | Scalar::Int
            | Scalar::Float
            | Scalar::Boolean
            | Scalar::AwsTimestamp => self.text(text),
        }
    }

    /// For an integer: one of 32 bits for one of 32 bits, which then is an `Int` as before, and a larger one for a larger one.
    pub(super) fn int(&self, number: i64) -> i64 {
        if let Ok(small) = i32::try_from(number) {
            let other = self.permuted(b'i', u64::from(small.cast_unsigned()), 1 << u32::BITS);
            let other = u32::try_from(other).expect("a permutation of 32 bits has no more");
            return i64::from(other.cast_signed());
        }
        let bits = self.hash(b'i', &number.to_le_bytes()) >> (u64::BITS - INT_BITS);
        // No larger one comes to where the small ones are.
        i64::try_from(bits | 1 << (INT_BITS - 1)).expect("53 bits fit")
    }

    pub(super) fn float(&self, number: f64) -> f64 {
        let bits = self.hash(b'f', &number.to_bits().to_le_bytes()) >> (u64::BITS - 32);
        f64::from(u32::try_from(bits).expect("32 bits fit")) / 1024.0
    }

    /// Puts the values of an enum into another order.
    pub(super) fn shuffle(&self, values: &mut [&String]) {
        values.sort_by_key(|value| self.hash(b'e', value.as_bytes()));
    }

    fn date(&self, text: &str) -> Date {
        let day = match day_of(text) {
            Some(day) => self.permuted(b'd', day, DAYS),
            None => self.hash(b't', text.as_bytes()) % DAYS,
        };
        date_of(day)
    }

    /// Another number below `size` for each below it: a Feistel network over the next even number of bits, walked until the
    /// number is below `size` again.
    fn permuted(&self, kind: u8, number: u64, size: u64) -> u64 {
        let half = (u64::BITS - (size - 1).leading_zeros()).div_ceil(2);
        let mask = (1_u64 << half) - 1;
        let mut number = number;
        loop {
            let (mut left, mut right) = (number >> half, number & mask);
            for round in 0..ROUNDS {
                let mut bytes = [kind, round, 0, 0, 0, 0, 0, 0, 0, 0];
                bytes[2..].copy_from_slice(&right.to_le_bytes());
                (left, right) = (right, left ^ (self.hash(b'p', &bytes) & mask));
            }
            number = left << half | right;
            // The walk ends: it goes round a circle of the permutation, and began below `size`.
            if number < size {
                return number;
            }
        }
    }

    fn hash(&self, kind: u8, bytes: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[kind]);
        hasher.update(bytes);
        let hash = hasher.finalize();
        let first = hash.as_bytes().first_chunk::<8>();
        u64::from_le_bytes(*first.expect("a hash has 32 bytes"))
    }
}

/// The number of a date without an offset.
fn day_of(text: &str) -> Option<u64> {
    let date = Date::strptime("%Y-%m-%d", text).ok()?;
    let day = u64::try_from(date.duration_since(FIRST_DAY).as_hours() / 24).ok()?;
    (date.to_string() == text && day < DAYS).then_some(day)
}

fn date_of(day: u64) -> Date {
    let hours = i64::try_from(day).map_or(0, |day| day * 24);
    FIRST_DAY.saturating_add(SignedDuration::from_hours(hours))
}

/// A time of the day to the nanosecond.
fn clock(ns: u64) -> String {
    let (seconds, ns) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ns:09}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use landfall_core::Value;
    use proptest::prelude::*;

    use super::*;

    fn stand_ins(key: u8) -> StandIns {
        StandIns::new([key; REDACTION_KEY_BYTES])
    }

    #[test]
    fn every_scalar_of_text_accepts_its_stand_ins() {
        let numbers = [Scalar::Int, Scalar::Float, Scalar::Boolean, Scalar::AwsTimestamp];
        for scalar in Scalar::all().filter(|scalar| !numbers.contains(scalar)) {
            for key in 0..50 {
                let other = stand_ins(key).text_of(scalar, "something");
                assert_eq!(
                    scalar.check(&Value::from(other.as_str())),
                    Ok(()),
                    "{scalar} {other}"
                );
            }
        }
    }

    #[test]
    fn dates_of_the_whole_calendar_change_places() {
        let days = [0, 1, 59, 60, 738_000, DAYS - 1];
        let mut seen = BTreeSet::new();
        for day in days {
            let text = date_of(day).to_string();
            assert_eq!(day_of(&text), Some(day), "{text}");
            let other = stand_ins(3).text_of(Scalar::AwsDate, &text);
            assert_eq!(
                Scalar::AwsDate.check(&Value::from(other.as_str())),
                Ok(()),
                "{other}"
            );
            assert!(seen.insert(other));
        }
        assert_eq!(
            (date_of(0).to_string(), date_of(DAYS - 1).to_string()),
            ("0000-01-01".into(), "9999-12-31".into())
        );
        assert_eq!(day_of("2026-11-21Z"), None);
    }

    #[test]
    fn a_permutation_takes_each_place_once() {
        for size in [1, 2, 3, 100, 257] {
            let places: BTreeSet<u64> = (0..size).map(|n| stand_ins(9).permuted(b'x', n, size)).collect();
            assert_eq!(places, (0..size).collect());
        }
    }

    proptest! {
        #[test]
        fn an_int_stays_one_and_a_larger_number_does_not_become_one(key in any::<u8>(), small in any::<i32>(), large in any::<i64>()) {
            let int = |number| i32::try_from(stand_ins(key).int(number)).is_ok();
            prop_assert!(int(i64::from(small)));
            prop_assert_eq!(int(large), i32::try_from(large).is_ok());
        }
    }
}
