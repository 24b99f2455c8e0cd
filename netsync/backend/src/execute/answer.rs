//! The answer to a request, as it is written.
//!
//! Owns [`Answer`]: the text of `data`, where the answers of its root fields are in it, and the reading of one of them by
//! those who are told of it. What it holds was written here, so that reading it cannot fail.

use std::ops::Range;

use apollo_compiler::Name;
use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::Value;
use serde::Serialize;

/// How the body of an answer begins.
const HEAD: &[u8] = b"{\"data\":";

/// Room that an answer begins with, in bytes: enough for a record of a dozen fields.
const CAPACITY: usize = 512;

/// The body of an answer up to the end of `data`.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    roots: Vec<Root>,
}

/// Where the answer of a root field is.
#[derive(Debug)]
struct Root {
    key: Name,
    at: Range<usize>,
}

/// A place in an answer to which it can be cut back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize);

impl Answer {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(CAPACITY);
        bytes.extend_from_slice(HEAD);
        Self {
            bytes,
            roots: Vec::new(),
        }
    }

    /// The answer to a request that has none: `data` is null.
    pub(super) fn null() -> Self {
        let mut answer = Self::new();
        answer.raw(b"null");
        answer
    }

    /// The body, with the errors of the request.
    pub(crate) fn into_body(self, errors: &[impl Serialize]) -> Vec<u8> {
        let mut body = self.bytes;
        if !errors.is_empty() {
            body.extend_from_slice(b",\"errors\":");
            serde_json::to_writer(&mut body, errors).expect("errors can be written to memory");
        }
        body.push(b'}');
        body
    }

    /// The end of what is written.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.bytes.len())
    }

    /// Takes back what was written since.
    pub(super) fn cut(&mut self, mark: Mark) {
        self.bytes.truncate(mark.0);
        self.roots.retain(|root| root.at.end <= mark.0);
    }

    /// Writes JSON as it is.
    pub(super) fn raw(&mut self, json: &[u8]) {
        self.bytes.extend_from_slice(json);
    }

    /// Writes the name of a member; names of GraphQL need no escapes.
    pub(super) fn key(&mut self, key: &str) {
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    /// Writes a text.
    pub(super) fn text(&mut self, text: &str) {
        let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        if text.as_bytes().iter().all(plain) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            self.json(text);
        }
    }

    /// Writes anything that can be written as JSON.
    pub(super) fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.bytes, value).expect("values can be written to memory");
    }

    /// Writes a stored value.
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.raw(b"null"),
            Value::Bool(true) => self.raw(b"true"),
            Value::Bool(false) => self.raw(b"false"),
            Value::String(text) => self.text(text),
            value => self.json(value),
        }
    }

    /// Notes that what was written since is the answer of a root field.
    pub(super) fn root(&mut self, key: &Name, from: Mark) {
        self.roots.push(Root {
            key: key.clone(),
            at: from.0..self.bytes.len(),
        });
    }

    /// Takes back the answer of a root field.
    pub(super) fn take_back(&mut self, key: &str) {
        const NULL: &[u8] = b"null";
        let Some(at) = self.roots.iter().position(|root| root.key == key) else {
            return;
        };
        let old = self.roots[at].at.clone();
        self.bytes.splice(old.clone(), NULL.iter().copied());
        self.roots[at].at.end = old.start + NULL.len();
        for behind in &mut self.roots[at + 1..] {
            let moved = |place: usize| place + NULL.len() - old.len();
            behind.at = moved(behind.at.start)..moved(behind.at.end);
        }
    }

    /// The record that a root field was answered with, by response key; `None` if it was null.
    pub(super) fn record(&self, key: &str) -> Option<JsonMap> {
        let root = self.roots.iter().find(|root| root.key == key)?;
        match (Reader {
            rest: &self.bytes[root.at.clone()],
        })
        .value()
        {
            JsonValue::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether a root field was answered with a record.
    pub(super) fn has_record(&self, key: &str) -> bool {
        let root = self.roots.iter().find(|root| root.key == key);
        root.is_some_and(|root| self.bytes[root.at.start] == b'{')
    }
}

/// Reads what was written here, every number as it was, and however deep it nests: a reader of JSON from outside has a bound for
/// that.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self) -> JsonValue {
        match self.rest.first() {
            Some(b'{') => {
                let mut members = JsonMap::new();
                self.each(b'}', |reader| {
                    let key = reader.text();
                    reader.skip();
                    let value = reader.value();
                    members.insert(key, value);
                });
                JsonValue::Object(members)
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.each(b']', |reader| items.push(reader.value()));
                JsonValue::Array(items)
            }
            Some(b'"') => JsonValue::from(self.text()),
            _ => self.word(),
        }
    }

    /// Reads what is between brackets and commas.
    fn each(&mut self, end: u8, mut read: impl FnMut(&mut Self)) {
        self.skip();
        while self.rest.first().is_some_and(|byte| *byte != end) {
            read(self);
            if self.rest.first() == Some(&b',') {
                self.skip();
            }
        }
        self.skip();
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn text(&mut self) -> String {
        let (mut length, mut escaped) = (1, false);
        while let Some(byte) = self.rest.get(length) {
            match byte {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    length += 1;
                }
                _ => {}
            }
            length += 1;
        }
        let (quoted, rest) = self.rest.split_at((length + 1).min(self.rest.len()));
        self.rest = rest;
        let text = if escaped {
            serde_json::from_slice(quoted).ok()
        } else {
            let inner = quoted.get(1..length);
            inner.and_then(|inner| String::from_utf8(inner.to_vec()).ok())
        };
        text.expect("what was written is a text")
    }

    fn word(&mut self) -> JsonValue {
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let word = std::str::from_utf8(word).expect("what was written is a text");
        match word {
            "true" => JsonValue::Bool(true),
            "false" => JsonValue::Bool(false),
            number => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(int), _) => JsonValue::from(int),
                (Err(_), Ok(float)) => JsonValue::from(float),
                _ => JsonValue::Null,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use apollo_compiler::name;
    use serde_json::json;

    use super::*;
    use crate::json::{json_of, value_of};

    fn answered(roots: &[(Name, Value)]) -> Answer {
        let mut answer = Answer::new();
        answer.raw(b"{");
        for (number, (key, value)) in roots.iter().enumerate() {
            if number > 0 {
                answer.raw(b",");
            }
            answer.key(key);
            let mark = answer.mark();
            answer.value(value);
            answer.root(key, mark);
        }
        answer.raw(b"}");
        answer
    }

    #[test]
    fn what_was_written_is_read_as_it_was_to_the_last_digit() {
        let value = value_of(&JsonValue::from(json!({
            "text": "a \"quote\", a \\ and \u{1}, \u{fc}n\u{ef}", "empty": "", "none": null, "yes": true, "no": false,
            "ints": [0, -1, i64::MAX, i64::MIN], "nested": [[], {}, {"a": [{"b": "}]"}]}],
        })));
        let Value::Object(mut members) = value else {
            panic!("an object")
        };
        // Numbers that a quick reader of JSON gets wrong by their last digit, among others.
        let floats = [
            0.1 + 0.2,
            5e-324,
            1.0,
            -0.0,
            1.797e308,
            0.916_345_371_808_551_9,
            138.767_418_398_903_17,
            98.669_910_878_426_73,
            0.455_665_101_490_664_75,
            981.300_486_115_101_1,
            9.598_158_834_829_645,
        ];
        members.insert(
            "floats".to_owned(),
            Value::List(floats.map(Value::Float).to_vec()),
        );
        let value = Value::Object(members);
        let answer = answered(&[(name!("a"), value.clone()), (name!("b"), Value::Null)]);
        let read = answer.record("a").unwrap();
        assert_eq!(
            value_of(&JsonValue::Object(read.clone())).to_string(),
            value.to_string()
        );
        assert_eq!(JsonValue::Object(read), json_of(&value));
        assert_eq!(
            (
                answer.has_record("a"),
                answer.has_record("b"),
                answer.has_record("c")
            ),
            (true, false, false)
        );
        assert!(answer.record("b").is_none() && answer.record("c").is_none());
    }

    #[test]
    fn an_answer_that_is_taken_back_leaves_the_others_where_they_are() {
        let record = |text: &str| value_of(&JsonValue::from(json!({"id": text})));
        let mut answer = answered(&[
            (name!("a"), record("one")),
            (name!("b"), record("two")),
            (name!("c"), record("three")),
        ]);
        answer.take_back("b");
        answer.take_back("unknown");
        assert!(answer.record("b").is_none());
        assert_eq!(answer.record("c").unwrap()["id"], "three");
        let body = answer.into_body(&["e"]);
        let expected = r#"{"data":{"a":{"id":"one"},"b":null,"c":{"id":"three"}},"errors":["e"]}"#;
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}
