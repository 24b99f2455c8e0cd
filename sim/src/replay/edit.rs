//! Edits of a recording: an input left out, later, or other than it was.
//!
//! Owns [`Edit`] and its text form. Pure. Only what comes from outside can be edited: what the app said, answers and frames.

use std::str::FromStr;

use landfall::flight::{Answer, Bytes, Event, Input, Noted, Recording};
use serde_json::Value as Json;

/// One change of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The input does not come.
    Drop(u64),
    /// It comes so many milliseconds later.
    Delay(u64, u64),
    /// Within it, at a JSON pointer of what [`input_json`] shows, is this instead.
    Change(u64, String, Json),
}

/// Why an edit cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not written as an edit.
    #[error("`{0}` is no edit: write `drop N`, `delay N MS` or `change N /PATH JSON`")]
    Syntax(String),
    /// There is no such input.
    #[error("event {0} is no input; `landfall replay FILE --list` shows those that are")]
    NoInput(u64),
    /// The input has no such place.
    #[error("event {order} has nothing at `{path}`; it is {shown}")]
    NoPlace {
        /// The event.
        order: u64,
        /// The pointer.
        path: String,
        /// What there is.
        shown: String,
    },
    /// What comes of it is no such input any more.
    #[error("event {order} would not be an input any more: {why}")]
    Unfit {
        /// The event.
        order: u64,
        /// Why.
        why: String,
    },
}

impl FromStr for Edit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let syntax = || EditError::Syntax(text.to_owned());
        let mut words = text.trim().splitn(4, char::is_whitespace);
        let (verb, order) = (words.next().unwrap_or_default(), words.next().ok_or_else(syntax)?);
        let order = order.parse().map_err(|_| syntax())?;
        match (verb, words.next(), words.next()) {
            ("drop", None, None) => Ok(Self::Drop(order)),
            ("delay", Some(ms), None) => Ok(Self::Delay(order, ms.parse().map_err(|_| syntax())?)),
            ("change", Some(path), Some(value)) => {
                let value = serde_json::from_str(value).map_err(|_| syntax())?;
                Ok(Self::Change(order, path.to_owned(), value))
            }
            _ => Err(syntax()),
        }
    }
}

/// An input as JSON: what the app said, or the status and body of an answer, or the frame.
pub fn input_json(event: &Event) -> Option<Json> {
    match event {
        Event::Step {
            input: Some(input), ..
        } => serde_json::to_value(input).ok(),
        Event::Answered {
            answer: Answer::Response { status, body, .. },
            ..
        } => {
            let text = String::from_utf8_lossy(&body.0);
            let body = serde_json::from_str(&text).unwrap_or_else(|_| Json::String(text.into_owned()));
            Some(serde_json::json!({ "status": status, "body": body }))
        }
        Event::Answered { answer, .. } => serde_json::to_value(answer).ok(),
        Event::Frame {
            frame: Some(Ok(text)),
            ..
        } => Some(serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))),
        Event::Frame { .. } => Some(Json::Null),
        _ => None,
    }
}

/// The recording with the edits made.
pub(super) fn apply(recording: &Recording, edits: &[Edit]) -> Result<Recording, EditError> {
    let mut edited = recording.clone();
    for edit in edits {
        let order = match edit {
            Edit::Drop(order) | Edit::Delay(order, _) | Edit::Change(order, ..) => *order,
        };
        let at = edited
            .events
            .iter()
            .position(|noted| noted.order == order && noted.event.is_input())
            .ok_or(EditError::NoInput(order))?;
        match edit {
            Edit::Drop(_) => {
                edited.events.remove(at);
            }
            Edit::Delay(_, ms) => edited.events[at].at_ms = edited.events[at].at_ms.saturating_add(*ms),
            Edit::Change(_, path, value) => change(&mut edited.events[at], path, value)?,
        }
    }
    edited.events.sort_by_key(|noted| noted.at_ms);
    Ok(edited)
}

fn change(noted: &mut Noted, path: &str, value: &Json) -> Result<(), EditError> {
    let order = noted.order;
    let mut shown = input_json(&noted.event).ok_or(EditError::NoInput(order))?;
    let Some(place) = shown.pointer_mut(path) else {
        let (path, shown) = (path.to_owned(), shown.to_string());
        return Err(EditError::NoPlace { order, path, shown });
    };
    *place = value.clone();
    let unfit = |why: String| EditError::Unfit { order, why };
    match &mut noted.event {
        Event::Step {
            input: Some(input), ..
        } => {
            *input = serde_json::from_value::<Input>(shown).map_err(|error| unfit(error.to_string()))?;
        }
        Event::Answered {
            answer: Answer::Response { status, body, .. },
            ..
        } => {
            let new = shown.get("status").and_then(Json::as_u64);
            *status = new
                .and_then(|status| u16::try_from(status).ok())
                .ok_or_else(|| unfit("the status is no HTTP status".to_owned()))?;
            *body = Bytes(match &shown["body"] {
                Json::String(text) => text.clone().into_bytes(),
                json => json.to_string().into_bytes(),
            });
        }
        Event::Answered { answer, .. } => {
            *answer = serde_json::from_value(shown).map_err(|error| unfit(error.to_string()))?;
        }
        Event::Frame { frame, .. } => *frame = Some(Ok(shown.to_string())),
        _ => return Err(EditError::NoInput(order)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_read_from_text() {
        assert_eq!("drop 7".parse(), Ok(Edit::Drop(7)));
        assert_eq!("delay 7 250".parse(), Ok(Edit::Delay(7, 250)));
        let change = Edit::Change(7, "/body/data".to_owned(), serde_json::json!({"a": 1}));
        assert_eq!("change 7 /body/data {\"a\": 1}".parse(), Ok(change));
        for wrong in [
            "",
            "drop",
            "drop x",
            "delay 7",
            "change 7 /a",
            "change 7 /a {",
            "burn 7",
        ] {
            assert_eq!(wrong.parse::<Edit>(), Err(EditError::Syntax(wrong.to_owned())));
        }
    }
}
