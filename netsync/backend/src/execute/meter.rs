//! What one request may cost: bytes of its answer, bytes of its arguments, and whether anybody still waits for it.
//!
//! Owns [`Meter`] and the lengths that are charged to it. Does not say what a request that costs too much is answered
//! (`context.rs` does). Invariants: 1. what is charged is what is held in memory, but for a constant factor; 2. once a
//! request ran out it gets nothing more, so that what is left of its run is bounded by the length of its document.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast::Value as Literal;
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::Value;

use super::errors::Fault;
use crate::config::Limits;

/// What a member of an object is charged beside its name and its value, in bytes; it is held in a map.
pub(super) const MEMBER_BYTES: usize = 48;

/// What the name of a type is charged: names are short, and a schema's author chose them.
const NAME_BYTES: usize = 64;

/// What an error is charged beside its message, in bytes: its path, its place, its entry.
const ERROR_BYTES: usize = 256;

/// What a value among arguments is charged beside its text, in bytes.
const NODE_BYTES: usize = 8;

/// Whether the caller of a job still waits for its answer.
#[derive(Clone, Debug, Default)]
pub struct CallerGone(Arc<AtomicBool>);

impl CallerGone {
    /// Notes that nobody waits any more: a query ends at the next field that it comes to, a mutation before the next
    /// record that it would write.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was noted.
    pub fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a request gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RanOut {
    /// Its answer is too long.
    Answer,
    /// Its arguments are too long, variables put in.
    Arguments,
    /// It wrote too much.
    Writes,
    /// Nobody waits for it.
    Caller,
}

impl RanOut {
    /// What the caller is told.
    pub(super) fn fault(self, limits: &Limits) -> Fault {
        match self {
            Self::Answer => Fault::new(
                "ResponseSizeExceeded",
                format!(
                    "The answer would be longer than {} bytes; select fewer fields or a smaller page.",
                    limits.answer_bytes_max
                ),
            ),
            Self::Arguments => Fault::new("RequestSizeExceeded", too_long_arguments(limits)),
            Self::Writes => Fault::new(
                "WriteSizeExceeded",
                format!(
                    "The request writes more than {} bytes; send its mutations in several requests.",
                    limits.written_bytes_max
                ),
            ),
            Self::Caller => Fault::new("ExecutionTimeout", "Execution timed out."),
        }
    }
}

/// What is said of arguments that are too long.
pub(super) fn too_long_arguments(limits: &Limits) -> String {
    format!(
        "The arguments are longer than {} bytes once variables are put in.",
        limits.arguments_bytes_max
    )
}

/// What is left to one request.
#[derive(Debug)]
pub(super) struct Meter {
    answer_max: usize,
    answer_left: Cell<usize>,
    arguments_left: Cell<usize>,
    ran_out: Cell<Option<RanOut>>,
    /// Whether nobody waits; `None` where what was begun is finished all the same.
    gone: Option<CallerGone>,
}

impl Meter {
    /// A meter; `gone` ends the request, if it is given.
    pub(super) fn new(answer_bytes: usize, arguments_bytes: usize, gone: Option<CallerGone>) -> Self {
        Self {
            answer_max: answer_bytes,
            answer_left: Cell::new(answer_bytes),
            arguments_left: Cell::new(arguments_bytes),
            ran_out: Cell::new(None),
            gone,
        }
    }

    /// Why the request gets nothing more, if it does not.
    pub(super) fn ran_out(&self) -> Option<RanOut> {
        self.ran_out.get()
    }

    /// What was charged for the answer so far, in bytes.
    pub(super) fn answer_bytes(&self) -> usize {
        self.answer_max - self.answer_left.get()
    }

    /// Lets the request get nothing more.
    pub(super) fn run_out(&self, why: RanOut) -> RanOut {
        let first = self.ran_out.get().unwrap_or(why);
        self.ran_out.set(Some(first));
        first
    }

    /// Charges bytes of the answer.
    ///
    /// # Errors
    /// Why there is nothing left.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), RanOut> {
        if let Some(why) = self.ran_out.get() {
            return Err(why);
        }
        if self.gone.as_ref().is_some_and(CallerGone::is_noted) {
            return Err(self.run_out(RanOut::Caller));
        }
        match self.answer_left.get().checked_sub(bytes) {
            Some(left) => self.answer_left.set(left),
            None => return Err(self.run_out(RanOut::Answer)),
        }
        Ok(())
    }

    /// Charges an error with a message so long; the error itself is let through.
    pub(super) fn charge_error(&self, message_bytes: usize) {
        // Whoever runs out by it is told at the next field.
        let _ = self.charge(ERROR_BYTES + message_bytes);
    }

    /// Charges the arguments of a field.
    ///
    /// # Errors
    /// Why there is nothing left.
    pub(super) fn charge_arguments(&self, bytes: usize) -> Result<(), RanOut> {
        if let Some(why) = self.ran_out.get() {
            return Err(why);
        }
        match self.arguments_left.get().checked_sub(bytes) {
            Some(left) => self.arguments_left.set(left),
            None => return Err(self.run_out(RanOut::Arguments)),
        }
        Ok(())
    }
}

/// What the arguments of a field are charged with variables put in; never more than is asked about.
pub(super) fn arguments_bytes(field: &Field, variables: &JsonMap, most: usize) -> usize {
    let mut total: usize = 0;
    for argument in &field.arguments {
        total = total.saturating_add(argument_bytes(&argument.value, variables, most - total.min(most)));
        if total > most {
            break;
        }
    }
    total
}

fn argument_bytes(value: &Literal, variables: &JsonMap, most: usize) -> usize {
    let mut total = NODE_BYTES;
    match value {
        Literal::Variable(name) => {
            let known = variables.get(name.as_str());
            total += known.map_or(0, |value| value_bytes(value, most));
        }
        Literal::String(text) => total += text.len(),
        Literal::Enum(name) => total += name.len(),
        Literal::List(items) => {
            for item in items {
                if total > most {
                    break;
                }
                total += argument_bytes(item, variables, most - total);
            }
        }
        Literal::Object(members) => {
            for (name, member) in members {
                if total > most {
                    break;
                }
                total += name.len() + argument_bytes(member, variables, most - total);
            }
        }
        Literal::Null | Literal::Int(_) | Literal::Float(_) | Literal::Boolean(_) => {}
    }
    total
}

/// What a value among JSON takes in memory beside its text, in bytes: the value, its place in a list or a map, and the
/// room that these keep for more.
const HELD_NODE_BYTES: usize = 128;

/// What an object takes in memory, in bytes.
pub(super) fn held_bytes(members: &JsonMap) -> usize {
    members.iter().fold(HELD_NODE_BYTES, |total, (name, member)| {
        total + name.as_str().len() + held_value_bytes(member)
    })
}

fn held_value_bytes(value: &JsonValue) -> usize {
    match value {
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) => HELD_NODE_BYTES,
        JsonValue::String(text) => HELD_NODE_BYTES + text.as_str().len(),
        JsonValue::Array(items) => HELD_NODE_BYTES + items.iter().map(held_value_bytes).sum::<usize>(),
        JsonValue::Object(members) => held_bytes(members),
    }
}

/// What a value is charged; it is looked at no further than what is asked about.
fn value_bytes(value: &JsonValue, most: usize) -> usize {
    let mut total = NODE_BYTES;
    match value {
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) => {}
        JsonValue::String(text) => total += text.as_str().len(),
        JsonValue::Array(items) => {
            for item in items {
                if total > most {
                    break;
                }
                total += value_bytes(item, most - total);
            }
        }
        JsonValue::Object(members) => {
            for (name, member) in members {
                if total > most {
                    break;
                }
                total += name.as_str().len() + value_bytes(member, most - total);
            }
        }
    }
    total
}

/// What a member is charged beside its value.
pub(super) fn member_bytes(field: &Field) -> usize {
    // The name of a type is the only value that is answered without being asked of us.
    let value = if field.name == "__typename" { NAME_BYTES } else { 0 };
    MEMBER_BYTES + field.response_key().len() + value
}

/// What a leaf is charged: its length in the answer.
pub(super) fn leaf_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Int(_) | Value::Float(_) => 8,
        Value::String(text) => text_bytes(text),
        Value::List(items) => items.iter().map(|item| NODE_BYTES + leaf_bytes(item)).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| MEMBER_BYTES + name.len() + leaf_bytes(member))
            .sum(),
    }
}

/// Length of a text in JSON, where control characters are written with six.
fn text_bytes(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| *byte < 0x20).count();
    text.len() + 5 * escaped
}

/// Calls `each` with every field of a selection, fragments unfolded.
pub(super) fn each_field(document: &ExecutableDocument, set: &SelectionSet, each: &mut dyn FnMut(&Field)) {
    for selection in &set.selections {
        match selection {
            Selection::Field(field) => each(field),
            Selection::InlineFragment(fragment) => each_field(document, &fragment.selection_set, each),
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.fragment_name) {
                    each_field(document, &fragment.selection_set, each);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_ran_out_stays_so_and_says_why_it_did_first() {
        let meter = Meter::new(10, 10, None);
        assert_eq!(meter.charge(10), Ok(()));
        assert_eq!(meter.charge_arguments(11), Err(RanOut::Arguments));
        assert_eq!(meter.charge(0), Err(RanOut::Arguments));
        assert_eq!(meter.run_out(RanOut::Answer), RanOut::Arguments);
    }

    #[test]
    fn nobody_waits_for_what_was_given_up() {
        let gone = CallerGone::default();
        let meter = Meter::new(10, 10, Some(gone.clone()));
        assert_eq!(meter.charge(1), Ok(()));
        gone.note();
        assert_eq!(meter.charge(1), Err(RanOut::Caller));
    }

    #[test]
    fn values_are_charged_by_their_length_and_looked_at_no_further_than_need_be() {
        let value = JsonValue::from(json!({"a": ["xyz", 1], "b": null}));
        assert_eq!(value_bytes(&value, 1_000), 5 * NODE_BYTES + 2 + 3);
        let long = JsonValue::from(json!(vec![0; 100_000]));
        assert!(value_bytes(&long, 50) < 100);
        assert_eq!(leaf_bytes(&Value::from("a\u{1}")), 7);
    }
}
