//! Error entries in AppSync's flat form.
//!
//! Owns [`ErrorEntry`] and [`Fault`]. `errorType`, `errorInfo` and `data` are members of the entry itself, not
//! extensions; entries of faults in the request itself lack them.

use apollo_compiler::parser::{LineColumn, SourceMap, SourceSpan};
use apollo_compiler::response::{JsonValue, ResponseDataPathSegment};
use serde::Serialize;

/// An entry of `errors`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ErrorEntry {
    pub(crate) path: Option<Vec<ResponseDataPathSegment>>,
    #[serde(flatten)]
    pub(crate) fault: Option<FaultMembers>,
    pub(crate) locations: Option<Vec<Location>>,
    pub(crate) message: String,
}

/// The members that only faults of fields have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaultMembers {
    pub(crate) data: JsonValue,
    pub(crate) error_type: Option<String>,
    pub(crate) error_info: JsonValue,
}

/// A place in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Location {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Always null, as AppSync has it.
    pub(crate) source_name: (),
}

/// What a resolver says went wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) error_type: String,
    pub(crate) message: String,
    /// The stored record on a conflict, cut down to the selection.
    pub(crate) data: JsonValue,
}

impl Fault {
    pub(crate) fn new(error_type: &str, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.to_owned(),
            message: message.into(),
            data: JsonValue::Null,
        }
    }
}

impl ErrorEntry {
    /// A mutation whose answer cannot be kept until it is read; whether it was refused was in that answer.
    pub(crate) fn of_no_room() -> Self {
        Self::of_whole(Fault::new(
            "ResponseSizeExceeded",
            "The mutation was run, but there is no room for its answer; read what became of its records.",
        ))
    }

    /// A fault of the request at a place of its document.
    pub(crate) fn of_request(message: impl Into<String>, locations: Option<Vec<Location>>) -> Self {
        Self {
            path: None,
            fault: None,
            locations,
            message: message.into(),
        }
    }

    /// A fault of the service that was injected.
    pub(crate) fn of_injected(error_type: &str) -> Self {
        let members = FaultMembers {
            data: JsonValue::Null,
            error_type: Some(error_type.to_owned()),
            error_info: JsonValue::Null,
        };
        Self {
            path: None,
            fault: Some(members),
            locations: None,
            message: format!("{error_type} was injected."),
        }
    }

    /// A fault of the answer as a whole.
    pub(crate) fn of_whole(fault: Fault) -> Self {
        Self {
            path: None,
            locations: None,
            ..Self::of_field(Vec::new(), Vec::new(), fault)
        }
    }

    /// A fault of a field.
    pub(crate) fn of_field(
        path: Vec<ResponseDataPathSegment>,
        locations: Vec<Location>,
        fault: Fault,
    ) -> Self {
        let members = FaultMembers {
            data: fault.data,
            error_type: Some(fault.error_type),
            error_info: JsonValue::Null,
        };
        Self {
            path: Some(path),
            fault: Some(members),
            locations: Some(locations),
            message: fault.message,
        }
    }
}

impl From<LineColumn> for Location {
    fn from(at: LineColumn) -> Self {
        Self {
            line: at.line,
            column: at.column,
            source_name: (),
        }
    }
}

/// The place of a node, as a list of one.
pub(crate) fn locations(span: Option<SourceSpan>, sources: &SourceMap) -> Vec<Location> {
    span.and_then(|span| span.line_column(sources))
        .map(Location::from)
        .into_iter()
        .collect()
}

/// A path as AppSync writes it in messages, such as `/syncPosts/items[3]/title`.
pub(crate) fn path_text(path: &[ResponseDataPathSegment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            ResponseDataPathSegment::Field(name) => {
                text.push('/');
                text.push_str(name);
            }
            ResponseDataPathSegment::ListIndex(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_have_the_members_that_appsync_gives_them() {
        let location = Location {
            line: 2,
            column: 3,
            source_name: (),
        };
        let path = vec![ResponseDataPathSegment::Field(apollo_compiler::name!(
            "updatePost"
        ))];
        let fault = Fault {
            data: json!({"id": "p1"}).into(),
            ..Fault::new("ConflictUnhandled", "Conflict resolver rejects mutation.")
        };
        let entry = ErrorEntry::of_field(path, vec![location], fault);
        assert_eq!(
            serde_json::to_value(&entry).unwrap(),
            json!({
                "path": ["updatePost"], "data": {"id": "p1"}, "errorType": "ConflictUnhandled", "errorInfo": null,
                "locations": [{"line": 2, "column": 3, "sourceName": null}],
                "message": "Conflict resolver rejects mutation."
            })
        );
        let entry = ErrorEntry::of_request("Validation error", Some(vec![location]));
        assert_eq!(
            serde_json::to_value(&entry).unwrap(),
            json!({"path": null, "locations": [{"line": 2, "column": 3, "sourceName": null}], "message": "Validation error"})
        );
    }

    #[test]
    fn paths_show_list_indexes_in_brackets() {
        let path = [
            ResponseDataPathSegment::Field(apollo_compiler::name!("syncPosts")),
            ResponseDataPathSegment::Field(apollo_compiler::name!("items")),
            ResponseDataPathSegment::ListIndex(3),
            ResponseDataPathSegment::Field(apollo_compiler::name!("title")),
        ];
        assert_eq!(path_text(&path), "/syncPosts/items[3]/title");
    }
}
