//! What people type after `landfall log`: positions, times, subjects and conditions.
//!
//! Owns their grammar, and how a value or the reach of a log is put for people. Does not read entries.

use std::str::FromStr;

use landfall::history::History;
use landfall::{FieldName, ModelDef, RecordId, RecordKey, Schema, Seq, StorageError, Value};
use landfall_core::{FieldType, IdPart, Scalar};
use serde_json::Value as Json;

use crate::shell;

/// A position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Entry(Seq),
    Newest,
}

impl Position {
    /// The entry, if it is one by number.
    pub(super) fn entry(self) -> Option<Seq> {
        match self {
            Self::Entry(seq) => Some(seq),
            Self::Newest => None,
        }
    }

    pub(super) fn of(self, history: &History) -> Seq {
        match self {
            Self::Entry(seq) => seq,
            Self::Newest => history.bounds().1,
        }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        let digits = text.strip_prefix('e').unwrap_or(text);
        digits
            .parse()
            .map(|number| Self::Entry(Seq(number)))
            .map_err(|_| "a position is the number of an entry, such as 12 or e12, or `newest`".to_owned())
    }
}

/// A point in time: RFC 3339, or milliseconds since 1970.
pub(super) fn time(text: &str) -> Result<i64, String> {
    if let Ok(milliseconds) = text.parse() {
        return Ok(milliseconds);
    }
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "a time is like 2026-01-31T12:00:00Z, or milliseconds since 1970".to_owned())
}

/// `MODEL/ID` or `MODEL/ID.FIELD`.
pub(super) fn subject(schema: &Schema, text: &str) -> Result<(RecordKey, Option<FieldName>), String> {
    let (model, rest) = text
        .split_once('/')
        .ok_or("a subject is MODEL/ID or MODEL/ID.FIELD, such as Post/p1.title")?;
    let def = schema
        .model(model)
        .ok_or_else(|| unknown_model(schema, model).unwrap_or_default())?;
    // An id may have dots in it as well, so what follows the last one is a field only if the model has it.
    let field = rest
        .rsplit_once('.')
        .and_then(|(id, field)| def.slot(field).map(|_| (id, FieldName::from(field))));
    let (id, field) = match field {
        Some((id, field)) => (id, Some(field)),
        None => (rest, None),
    };
    Ok((RecordKey::new(model, identifier(def, id)?), field))
}

/// What is wrong with a subject about which the log says nothing, if its end was meant as a field: the record before it, and
/// the sentence.
pub(super) fn misnamed_field(schema: &Schema, text: &str) -> Option<(RecordKey, String)> {
    let (model, rest) = text.split_once('/')?;
    let def = schema.model(model)?;
    let (id, field) = rest.rsplit_once('.')?;
    if def.slot(field).is_some() {
        return None;
    }
    let key = RecordKey::new(model, identifier(def, id).ok()?);
    let known: Vec<&str> = def.stored_fields().map(|field| field.name.as_str()).collect();
    Some((
        key,
        format!("`{model}` has no field `{field}`; it has {}", known.join(", ")),
    ))
}

/// What is wrong with the name of a model that the schema does not have; nothing if it has it.
pub(super) fn unknown_model(schema: &Schema, model: &str) -> Option<String> {
    if schema.model(model).is_some() {
        return None;
    }
    let known: Vec<&str> = schema.models().map(|def| def.name.as_str()).collect();
    Some(format!(
        "there is no model `{model}`; the schema has {}",
        known.join(", ")
    ))
}

/// An identifier as it is printed: its parts joined by `#`.
fn identifier(def: &ModelDef, text: &str) -> Result<RecordId, String> {
    let fields = &def.key.fields;
    let parts: Vec<&str> = text.splitn(fields.len().max(1), '#').collect();
    if parts.len() != fields.len() {
        let names: Vec<&str> = fields.iter().map(FieldName::as_str).collect();
        return Err(format!("the id of `{}` is {}", def.name, names.join("#")));
    }
    fields
        .iter()
        .zip(parts)
        .map(|(field, text)| part(def, field, text))
        .collect::<Result<_, _>>()
        .map(RecordId::new)
}

fn part(def: &ModelDef, field: &FieldName, text: &str) -> Result<IdPart, String> {
    let scalar = match def.field(field).map(|field| &field.ty) {
        Some(FieldType::Scalar(scalar)) => *scalar,
        _ => Scalar::String,
    };
    let wrong = || format!("`{field}` of the id takes {}, not `{text}`", scalar.accepts());
    Ok(match scalar {
        Scalar::Int | Scalar::AwsTimestamp => IdPart::Int(text.parse().map_err(|_| wrong())?),
        Scalar::Boolean => IdPart::Bool(text.parse().map_err(|_| wrong())?),
        _ => IdPart::Text(text.to_owned()),
    })
}

/// What a trimmed log can still answer; `None` if nothing was trimmed.
pub(super) fn trimmed(history: &History) -> Result<Option<String>, StorageError> {
    if !history.is_trimmed()? {
        return Ok(None);
    }
    let (first, _) = history.bounds();
    if history.has_base()? && !history.holds_base()? {
        return Ok(Some(format!(
            "the log was trimmed: what is read of it has entries from {first} on, and no states"
        )));
    }
    let before = Seq(first.0 - 1);
    Ok(Some(format!(
        "the log was trimmed: entries can be looked at from {first} on, states from {before} on; what led to the state of \
         {before} is gone"
    )))
}

/// A condition: comparisons joined by `and` as in the shell, or the JSON of the line protocol.
pub(crate) fn condition(text: &str) -> Result<landfall::Predicate, String> {
    shell::condition(text)
}

/// A value for people, cut to a length that a line can bear.
pub(super) fn short(value: &Value) -> String {
    cut(&value.to_string())
}

/// A text cut to a length that a line can bear.
pub(crate) fn cut(text: &str) -> String {
    /// Longest text of a value, in characters.
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A member of JSON for people.
pub(super) fn plain(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let sdl = "type Post @model { title: String! }
                   type Order @model { customer: ID! @primaryKey(sortKeyFields: [\"number\"]) number: Int! state: String }";
        landfall_codegen::parse_sdl("schema.graphql", sdl).expect("sound")
    }

    #[test]
    fn subjects_name_records_and_fields() {
        let schema = schema();
        let read = |text: &str| subject(&schema, text);
        let (key, field) = read("Post/a.b.title").expect("understood");
        assert_eq!(
            (key.to_string(), field),
            ("Post/a.b".to_owned(), Some("title".into()))
        );
        let (key, field) = read("Post/a.b.c").expect("understood");
        assert_eq!((key.to_string(), field), ("Post/a.b.c".to_owned(), None));
        let (key, field) = read("Order/c#-3.state").expect("understood");
        assert_eq!(key.id.parts(), [IdPart::Text("c".into()), IdPart::Int(-3)]);
        assert_eq!(field, Some("state".into()));
        for bad in ["Post", "Pots/1", "Order/c", "Order/c#many"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn positions_and_times_are_read() {
        assert_eq!("e12".parse(), Ok(Position::Entry(Seq(12))));
        assert_eq!("12".parse(), Ok(Position::Entry(Seq(12))));
        assert_eq!("newest".parse(), Ok(Position::Newest));
        assert!("twelve".parse::<Position>().is_err());
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(time("17"), Ok(17));
        assert!(time("yesterday").is_err());
    }
}
