//! How deep a MessagePack value nests.
//!
//! Owns [`nests_too_deep`]. The decoder calls itself for each condition within a condition and has no bound for that, so a file
//! from a stranger could exhaust the stack; this looks first, without calling itself. Whether the bytes are a value at all
//! is the decoder's to say.

/// Deepest nesting that is read. A condition has 64 groups in each other at most, of two levels each, and a value 64
/// levels, so nothing that was written comes near; and this many fit into the stack of any thread.
pub(crate) const NESTING_MAX: usize = 256;

/// Whether lists and maps of a MessagePack value lie deeper within each other than is read: then it is not to be decoded.
///
/// ```
/// let deep = vec![0x91; 100_000];
/// assert!(landfall_storage::nests_too_deep(&deep));
/// assert!(!landfall_storage::nests_too_deep(&[0x91, 0xc0]));
/// ```
pub fn nests_too_deep(bytes: &[u8]) -> bool {
    // A level takes a byte at least, so that most values need not be looked through.
    if bytes.len() <= NESTING_MAX {
        return false;
    }
    // How many values are still to come of each list and map that is open.
    let mut open: Vec<u64> = vec![1];
    let mut rest = bytes;
    while let Some(left) = open.last_mut() {
        let Some(fewer) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = fewer;
        let Some((inner, behind)) = value(rest) else {
            return false;
        };
        rest = behind;
        if inner > 0 {
            open.push(inner);
        }
        if open.len() > NESTING_MAX {
            return true;
        }
    }
    false
}

/// Reads the beginning of a value: how many values lie in it, and what follows. `None` if it is cut off.
fn value(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (marker, rest) = bytes.split_first()?;
    let skip = |length: usize| Some((0, rest.get(length..)?));
    // A number of so many bytes, and what follows it.
    let number = |width: usize| {
        let (digits, rest) = rest.split_at_checked(width)?;
        let number = digits
            .iter()
            .fold(0_u64, |number, digit| number << 8 | u64::from(*digit));
        Some((number, rest))
    };
    let text = |width: usize, more: u64| {
        let (length, rest) = number(width)?;
        let length = usize::try_from(length + more).ok()?;
        Some((0, rest.get(length..)?))
    };
    match marker {
        0x80..=0x8f => Some((2 * u64::from(marker & 0x0f), rest)),
        0x90..=0x9f => Some((u64::from(marker & 0x0f), rest)),
        0xa0..=0xbf => skip(usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => text(1, 0),
        0xc5 | 0xda => text(2, 0),
        0xc6 | 0xdb => text(4, 0),
        0xc7 => text(1, 1),
        0xc8 => text(2, 1),
        0xc9 => text(4, 1),
        0xcc | 0xd0 => skip(1),
        0xcd | 0xd1 | 0xd4 => skip(2),
        0xd5 => skip(3),
        0xca | 0xce | 0xd2 => skip(4),
        0xd6 => skip(5),
        0xcb | 0xcf | 0xd3 => skip(8),
        0xd7 => skip(9),
        0xd8 => skip(17),
        0xdc => number(2),
        0xdd => number(4),
        0xde => number(2).map(|(pairs, rest)| (2 * pairs, rest)),
        0xdf => number(4).map(|(pairs, rest)| (2 * pairs, rest)),
        _ => skip(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as bytes, not as a list of numbers.
    struct Blob(Vec<u8>);

    impl serde::Serialize for Blob {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    #[test]
    fn every_kind_of_value_is_passed_over_and_only_depth_counts() {
        let long = "x".repeat(70_000);
        let wide: Vec<u32> = (0..70_000).collect();
        let bytes = |length: usize| Blob(vec![0x91; length]);
        let some = (
            (
                1_u8,
                -1_i8,
                300_u16,
                -300_i16,
                70_000_u32,
                -70_000_i32,
                u64::MAX,
                i64::MIN,
            ),
            (
                1.5_f32,
                1.5_f64,
                true,
                Option::<u8>::None,
                "short",
                &long[..300],
                &long,
            ),
            (bytes(3), bytes(300), bytes(70_000), &wide, &wide[..300]),
            serde_json::json!({ "a": [{ "b": 1 }], "c": {} }),
        );
        let mut encoded = rmp_serde::to_vec(&some).unwrap();
        let mut rest = encoded.as_slice();
        let mut left = 1;
        while left > 0 {
            let (inner, behind) = value(rest).unwrap();
            (left, rest) = (left - 1 + inner, behind);
        }
        assert!(rest.is_empty(), "it ends where the value ends");
        assert!(!nests_too_deep(&encoded));
        encoded.truncate(encoded.len() / 2);
        assert!(!nests_too_deep(&encoded), "the decoder says that it is cut off");
        assert!(nests_too_deep(&[0x91; NESTING_MAX + 1]));
        assert!(!nests_too_deep(&[0x91; NESTING_MAX / 2]));
    }
}
