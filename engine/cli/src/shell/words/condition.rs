//! Typed conditions as predicates of the line protocol.
//!
//! Owns their grammar: comparisons, `and` before `or`, `not`, parentheses. Operands take the form of the field's type,
//! where the model is known.

use landfall::{ModelDef, Schema};
use landfall_core::FieldDef;
use serde_json::{Value as Json, json};

use super::super::values::Fault;
use super::split::Word;
use super::typed;

/// Deepest nesting of parentheses and `not`; nobody types more, and each level takes stack.
const DEPTH_MAX: usize = 64;

/// Turns words into a predicate; `model` tells which fields there are, if it is known.
///
/// # Errors
/// What cannot be understood.
pub(super) fn predicate(words: &[Word], model: Option<(&ModelDef, &Schema)>) -> Result<Json, Fault> {
    if let [word] = words
        && let Some(text) = word.bare().filter(|text| text.starts_with(['[', '{']))
    {
        return serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"));
    }
    let mut parser = Parser {
        words,
        model,
        depth: 0,
    };
    let predicate = parser.any()?;
    match parser.words.first() {
        None => Ok(predicate),
        Some(word) => Err(format!("`{}` is not understood in a condition", word.text())),
    }
}

struct Parser<'a> {
    /// What is left.
    words: &'a [Word],
    model: Option<(&'a ModelDef, &'a Schema)>,
    depth: usize,
}

impl Parser<'_> {
    fn takes(&mut self, keyword: &str) -> bool {
        match self.words.split_first() {
            Some((word, rest)) if word.is(keyword) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    /// Conditions joined by `or`.
    fn any(&mut self) -> Result<Json, Fault> {
        let mut members = vec![self.all()?];
        while self.takes("or") {
            members.push(self.all()?);
        }
        Ok(group("or", members))
    }

    /// Conditions joined by `and`.
    fn all(&mut self) -> Result<Json, Fault> {
        let mut members = vec![self.one()?];
        while self.takes("and") {
            members.push(self.one()?);
        }
        Ok(group("and", members))
    }

    /// A comparison, the opposite of one, or a group in parentheses.
    fn one(&mut self) -> Result<Json, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the condition is nested deeper than {DEPTH_MAX} levels"));
        }
        let one = if self.takes("not") {
            json!({ "not": self.one()? })
        } else if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err("a parenthesis is not closed".to_owned());
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(one)
    }

    fn comparison(&mut self) -> Result<Json, Fault> {
        let is_end = |word: &Word| ["and", "or", ")"].iter().any(|keyword| word.is(keyword));
        let end = self.words.iter().position(is_end).unwrap_or(self.words.len());
        let (comparison, rest) = self.words.split_at(end);
        let [field, op, operands @ ..] = comparison else {
            return Err("a condition is FIELD OP VALUE, such as: rating gt 3".to_owned());
        };
        if operands.is_empty() {
            return Err("a condition is FIELD OP VALUE, such as: rating gt 3".to_owned());
        }
        self.words = rest;
        let def = self
            .model
            .and_then(|(def, schema)| field_of(def, schema, field.text()));
        let is_list = |word: &Word| word.bare().is_some_and(|text| text.starts_with('['));
        let values = operands.iter().map(|operand| typed::operand(operand, def));
        let mut parts = vec![Json::from(field.text()), Json::from(op.text())];
        if op.text() == "in" && !operands.iter().any(is_list) {
            parts.push(values.collect());
        } else {
            parts.extend(values);
        }
        Ok(Json::Array(parts))
    }
}

fn group(key: &str, mut members: Vec<Json>) -> Json {
    if members.len() == 1 {
        members.remove(0)
    } else {
        json!({ key: members })
    }
}

/// The field of that name; `blog.name` is one of a related record.
fn field_of<'a>(def: &'a ModelDef, schema: &'a Schema, name: &str) -> Option<&'a FieldDef> {
    match name.split_once('.') {
        None => def.field(name),
        Some((relation, rest)) => {
            let landfall_core::FieldType::Model(other) = &def.field(relation)?.ty else {
                return None;
            };
            field_of(schema.model(other)?, schema, rest)
        }
    }
}
