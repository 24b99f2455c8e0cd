//! One entry of an `errors` list, in AppSync's form and in that of the GraphQL specification.
//!
//! Owns [`ServerError`] and its tolerant reading. Does not judge what an error means (`failure.rs`).
//!
//! AppSync puts `errorType`, `errorInfo` and `data` beside `message`; other servers put them under `extensions`.
//! Realtime frames say `errorCode`. A list of errors may come as one object.

use std::fmt;

use graphql_client::{Location, PathFragment};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};

/// Most errors that are kept of one answer: a page of 1,000 items may hold an error for each and then some.
pub const ERRORS_MAX: usize = 2_000;

/// Most characters that are kept of an error's message.
pub const MESSAGE_CHARS_MAX: usize = 2_000;

/// One error that a server reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerError {
    /// AppSync's type, such as `ConflictUnhandled`.
    pub error_type: Option<String>,
    /// Status-like code of realtime errors, such as 401.
    pub error_code: Option<i64>,
    /// What went wrong, for people.
    pub message: String,
    /// Where in the answer; empty if the error concerns the whole request.
    pub path: Vec<PathFragment>,
    /// Where in the document.
    pub locations: Vec<Location>,
    /// What came with it: for a conflict, the server's record.
    pub data: Option<Json>,
    /// More of what came with it.
    pub error_info: Option<Json>,
}

/// The errors of an answer or a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerErrors(pub(crate) Vec<ServerError>);

impl ServerError {
    /// An error of that type and message.
    pub fn new(error_type: &str, message: &str) -> Self {
        Self {
            error_type: Some(error_type.into()),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Reads an error of any form; what it lacks stays empty.
    pub fn from_json(json: Json) -> Self {
        let Json::Object(mut members) = json else {
            let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            return Self {
                message: shortened(&text),
                ..Self::default()
            };
        };
        let mut extensions = match members.remove("extensions") {
            Some(Json::Object(extensions)) => extensions,
            _ => Map::new(),
        };
        let mut take = |name: &str| {
            let present = |from: &mut Map<String, Json>| from.remove(name).filter(|value| !value.is_null());
            present(&mut members).or_else(|| present(&mut extensions))
        };
        let text = |value: Json| match value {
            Json::String(text) => text,
            other => other.to_string(),
        };
        Self {
            error_type: take("errorType").or_else(|| take("code")).map(text),
            error_code: take("errorCode").and_then(|code| code.as_i64()),
            message: shortened(&take("message").map(text).unwrap_or_default()),
            path: take("path")
                .and_then(|path| serde_json::from_value(path).ok())
                .unwrap_or_default(),
            locations: take("locations").map(locations).unwrap_or_default(),
            data: take("data"),
            error_info: take("errorInfo"),
        }
    }

    /// The error in AppSync's form.
    pub fn to_json(&self) -> Json {
        let mut members = Map::new();
        if !self.path.is_empty() {
            members.insert("path".into(), path_json(&self.path));
        }
        if let Some(data) = &self.data {
            members.insert("data".into(), data.clone());
        }
        if let Some(error_type) = &self.error_type {
            members.insert("errorType".into(), error_type.as_str().into());
        }
        if let Some(error_code) = self.error_code {
            members.insert("errorCode".into(), error_code.into());
        }
        if let Some(error_info) = &self.error_info {
            members.insert("errorInfo".into(), error_info.clone());
        }
        if !self.locations.is_empty() {
            let locations = self
                .locations
                .iter()
                .map(|at| serde_json::json!({"line": at.line, "column": at.column}));
            members.insert("locations".into(), locations.collect());
        }
        members.insert("message".into(), self.message.as_str().into());
        Json::Object(members)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error_type, self.message.is_empty()) {
            (Some(error_type), true) => f.write_str(error_type),
            (Some(error_type), false) => write!(f, "{error_type}: {}", self.message),
            (None, true) => f.write_str("an error without a message"),
            (None, false) => f.write_str(&self.message),
        }
    }
}

fn path_json(path: &[PathFragment]) -> Json {
    path.iter()
        .map(|fragment| match fragment {
            PathFragment::Key(key) => Json::from(key.as_str()),
            PathFragment::Index(index) => Json::from(*index),
        })
        .collect()
}

/// AppSync adds a `sourceName` to each, and sends null for none.
fn locations(json: Json) -> Vec<Location> {
    serde_json::from_value(json).unwrap_or_default()
}

/// The text, cut to [`MESSAGE_CHARS_MAX`].
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

impl<'de> Deserialize<'de> for ServerErrors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServerErrorsVisitor)
    }
}

struct ServerErrorsVisitor;

impl<'de> Visitor<'de> for ServerErrorsVisitor {
    type Value = ServerErrors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of errors, or one error")
    }

    fn visit_unit<E>(self) -> Result<ServerErrors, E> {
        Ok(ServerErrors::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<ServerErrors, E> {
        Ok(ServerErrors(vec![ServerError::from_json(text.into())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ServerErrors, A::Error> {
        let mut errors = Vec::new();
        while let Some(json) = seq.next_element::<Json>()? {
            if errors.len() < ERRORS_MAX {
                errors.push(ServerError::from_json(json));
            }
        }
        Ok(ServerErrors(errors))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ServerErrors, A::Error> {
        let json = Json::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(ServerErrors(vec![ServerError::from_json(json)]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(json: &Json) -> Vec<ServerError> {
        serde_json::from_str::<ServerErrors>(&json.to_string())
            .expect("reads")
            .0
    }

    #[test]
    fn appsync_form_is_read_whole() {
        let error = json!({
            "path": ["updatePost", 0], "data": {"id": "p1"}, "errorType": "ConflictUnhandled", "errorInfo": null,
            "locations": [{"line": 2, "column": 3, "sourceName": null}], "message": "Conflict resolver rejects mutation.",
        });
        let read = errors(&json!([error]));
        assert_eq!(read[0].error_type.as_deref(), Some("ConflictUnhandled"));
        assert_eq!(
            read[0].path,
            [PathFragment::Key("updatePost".into()), PathFragment::Index(0)]
        );
        assert_eq!(read[0].data, Some(json!({"id": "p1"})));
        assert_eq!(read[0].locations, [Location { line: 2, column: 3 }]);
        assert_eq!(read[0].error_info, None);
    }

    #[test]
    fn one_object_nothing_and_nonsense_are_read_too() {
        assert_eq!(
            errors(&json!({"errorType": "X", "message": "m"})),
            [ServerError::new("X", "m")]
        );
        assert_eq!(errors(&json!(null)), []);
        assert_eq!(errors(&json!("broken"))[0].message, "broken");
        assert_eq!(
            errors(&json!([7, {"message": 8, "path": 9, "errorCode": "x"}]))[1].message,
            "8"
        );
    }

    #[test]
    fn extensions_stand_in_for_missing_members_only() {
        let read = errors(
            &json!([{"message": "m", "extensions": {"code": "THROTTLED", "data": {"a": 1}, "message": "n"}}]),
        );
        assert_eq!(read[0].error_type.as_deref(), Some("THROTTLED"));
        assert_eq!(read[0].data, Some(json!({"a": 1})));
        assert_eq!(read[0].message, "m");
    }

    #[test]
    fn long_messages_and_long_lists_are_cut() {
        let read = errors(&json!([{"message": "ä".repeat(MESSAGE_CHARS_MAX + 1)}]));
        assert_eq!(read[0].message.chars().count(), MESSAGE_CHARS_MAX + 4);
        let many: Vec<Json> = (0..=ERRORS_MAX)
            .map(|n| json!({ "message": n.to_string() }))
            .collect();
        assert_eq!(errors(&many.into()).len(), ERRORS_MAX);
    }
}
