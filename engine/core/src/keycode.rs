//! Bytes that sort as the values they encode: identifiers and index entries.
//!
//! Owns the encoding. Values of one field are of one type, so numbers of different kinds are not mixed.
//!
//! Invariants: 1. encoded order is [`Value::cmp_total`] for the values of one field; 2. no encoding is a prefix of another,
//! so parts may be concatenated; 3. what was encoded can be decoded.

use crate::record::{IdPart, RecordId};
use crate::value::Value;

const TAG_NULL: u8 = 0x01;
const TAG_FALSE: u8 = 0x02;
const TAG_TRUE: u8 = 0x03;
const TAG_INT: u8 = 0x04;
const TAG_FLOAT: u8 = 0x05;
const TAG_TEXT: u8 = 0x06;
/// Ends a text; a zero byte inside a text is written as `ESCAPE`.
const END: [u8; 2] = [0x00, 0x01];
const ESCAPE: [u8; 2] = [0x00, 0xff];

/// Bytes that are no encoded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no encoded key")]
pub struct BadKey;

/// Appends a scalar value. Lists and objects are not indexed: they encode as null.
pub fn encode_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null | Value::List(_) | Value::Object(_) => out.push(TAG_NULL),
        Value::Bool(false) => out.push(TAG_FALSE),
        Value::Bool(true) => out.push(TAG_TRUE),
        Value::Int(n) => encode_int(out, *n),
        Value::Float(x) => {
            // Flipping the sign bit of positive numbers and all bits of negative ones makes the order that of the bytes.
            // Adding zero turns the negative zero, which equals the other, into that.
            let bits = (x + 0.0).to_bits();
            let sortable = if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits };
            out.push(TAG_FLOAT);
            out.extend_from_slice(&sortable.to_be_bytes());
        }
        Value::String(text) => encode_text(out, text),
    }
}

/// Appends an identifier, part by part.
pub fn encode_id(out: &mut Vec<u8>, id: &RecordId) {
    for part in id.parts() {
        match part {
            IdPart::Bool(b) => out.push(if *b { TAG_TRUE } else { TAG_FALSE }),
            IdPart::Int(n) => encode_int(out, *n),
            IdPart::Text(text) => encode_text(out, text),
        }
    }
}

/// Reads an identifier to the end of the bytes.
///
/// # Errors
/// [`BadKey`] if the bytes were not made by [`encode_id`].
pub fn decode_id(mut bytes: &[u8]) -> Result<RecordId, BadKey> {
    let mut parts = Vec::with_capacity(1);
    while let Some((tag, rest)) = bytes.split_first() {
        let (part, rest) = match *tag {
            TAG_FALSE => (IdPart::Bool(false), rest),
            TAG_TRUE => (IdPart::Bool(true), rest),
            TAG_INT => {
                let (number, rest) = rest.split_first_chunk::<8>().ok_or(BadKey)?;
                (IdPart::Int(i64::from_be_bytes(*number) ^ i64::MIN), rest)
            }
            TAG_TEXT => decode_text(rest)?,
            _ => return Err(BadKey),
        };
        parts.push(part);
        bytes = rest;
    }
    Ok(RecordId::new(parts))
}

/// The bytes after `count` encoded values.
///
/// # Errors
/// [`BadKey`] if the bytes do not begin with that many encoded values.
pub fn skip(mut bytes: &[u8], count: usize) -> Result<&[u8], BadKey> {
    for _ in 0..count {
        let (tag, rest) = bytes.split_first().ok_or(BadKey)?;
        bytes = match *tag {
            TAG_NULL | TAG_FALSE | TAG_TRUE => rest,
            TAG_INT | TAG_FLOAT => rest.get(8..).ok_or(BadKey)?,
            TAG_TEXT => {
                // A zero byte inside a text is followed by the escape mark, so the first other pair ends it.
                let mut at = 0;
                loop {
                    at += rest
                        .get(at..)
                        .and_then(|tail| tail.iter().position(|b| *b == 0))
                        .ok_or(BadKey)?;
                    match rest.get(at + 1) {
                        Some(mark) if *mark == END[1] => break &rest[at + 2..],
                        Some(mark) if *mark == ESCAPE[1] => at += 2,
                        _ => return Err(BadKey),
                    }
                }
            }
            _ => return Err(BadKey),
        };
    }
    Ok(bytes)
}

fn encode_int(out: &mut Vec<u8>, number: i64) {
    out.push(TAG_INT);
    out.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
}

fn encode_text(out: &mut Vec<u8>, text: &str) {
    out.push(TAG_TEXT);
    if text.as_bytes().contains(&0) {
        for byte in text.bytes() {
            if byte == 0 {
                out.extend_from_slice(&ESCAPE);
            } else {
                out.push(byte);
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&END);
}

fn decode_text(bytes: &[u8]) -> Result<(IdPart, &[u8]), BadKey> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0).ok_or(BadKey)?;
        text.extend_from_slice(&rest[..zero]);
        let (mark, tail) = rest[zero..].split_first_chunk::<2>().ok_or(BadKey)?;
        rest = tail;
        match *mark {
            END => break,
            ESCAPE => text.push(0),
            _ => return Err(BadKey),
        }
    }
    let text = String::from_utf8(text).map_err(|_| BadKey)?;
    Ok((IdPart::Text(text), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(&mut out, value);
        out
    }

    #[test]
    fn bytes_sort_as_their_values() {
        let ascending: [&[Value]; 3] = [
            &[
                Value::Null,
                Value::Int(i64::MIN),
                Value::Int(-1),
                Value::Int(0),
                Value::Int(7),
                Value::Int(i64::MAX),
            ],
            &[
                Value::Null,
                Value::Float(-1e300),
                Value::Float(-0.5),
                Value::Float(0.0),
                Value::Float(2.5),
            ],
            &[
                Value::Null,
                "".into(),
                "\0".into(),
                "\0a".into(),
                "a".into(),
                "a\0".into(),
                "aa".into(),
                "b".into(),
            ],
        ];
        for values in ascending {
            for pair in values.windows(2) {
                assert!(
                    encoded(&pair[0]) < encoded(&pair[1]),
                    "{} before {}",
                    pair[0],
                    pair[1]
                );
            }
        }
    }

    #[test]
    fn identifiers_come_back() {
        for id in [
            RecordId::text("p1"),
            RecordId::text(""),
            RecordId::text("a\0b\0"),
            RecordId::new(vec![
                IdPart::Text("x".into()),
                IdPart::Int(-3),
                IdPart::Bool(true),
            ]),
        ] {
            let mut bytes = Vec::new();
            encode_id(&mut bytes, &id);
            assert_eq!(decode_id(&bytes), Ok(id));
        }
        assert_eq!(decode_id(&[9]), Err(BadKey));
        assert_eq!(decode_id(&[TAG_TEXT, b'a']), Err(BadKey));
        assert_eq!(decode_id(&[TAG_INT, 1]), Err(BadKey));
    }

    #[test]
    fn skipping_stops_after_each_value() {
        let values = [
            Value::Null,
            true.into(),
            5_i64.into(),
            2.5.into(),
            "a\0b".into(),
            "".into(),
        ];
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for value in &values {
            encode_value(&mut bytes, value);
            ends.push(bytes.len());
        }
        for (count, end) in ends.iter().enumerate() {
            assert_eq!(skip(&bytes, count), Ok(&bytes[*end..]));
        }
        assert_eq!(skip(&bytes, values.len() + 1), Err(BadKey));
    }

    #[test]
    fn no_part_runs_into_the_next() {
        let one = RecordId::new(vec![IdPart::Text("ab".into()), IdPart::Text("c".into())]);
        let other = RecordId::new(vec![IdPart::Text("a".into()), IdPart::Text("bc".into())]);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        encode_id(&mut a, &one);
        encode_id(&mut b, &other);
        assert_ne!(a, b);
    }
}
