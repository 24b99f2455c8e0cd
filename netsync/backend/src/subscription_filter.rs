//! Enhanced subscription filters: a list of alternatives, each a list of comparisons that hold together.
//!
//! Owns their reading from the `filter` argument, AppSync's limits with the texts clients look for, and their test
//! against the message of a mutation. They differ from query filters on purpose: several operators on one field are
//! alternatives, and a field that the mutation did not select never matches.
//!
//! Invariant: a filter that was read has at most the alternatives and fields that the limits allow.

use std::collections::BTreeSet;

use apollo_compiler::response::{JsonMap, JsonValue};

use crate::config::Limits;
use crate::filter::Comparison;
use crate::json::value_of;

/// A subscription filter in disjunctive form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubscriptionFilter {
    groups: Vec<Group>,
}

/// Comparisons that hold together, each on a field of its own.
type Group = Vec<(String, Comparison)>;

/// Why a subscription filter is refused; the texts are those that clients recognise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterRefused {
    #[error("Filters exceed maximum attributes limit")]
    TooManyAttributes,
    #[error("Filters combination exceed maximum limit")]
    TooManyCombinations,
    #[error("filter uses same fieldName multiple time")]
    RepeatedField,
    #[error("Filters exceed maximum values limit of in and notIn")]
    TooManyValues,
    #[error("Invalid subscription filter operand")]
    BadOperand,
}

impl SubscriptionFilter {
    /// Reads the argument; `None` if it compares nothing, so that every message passes.
    ///
    /// # Errors
    /// [`FilterRefused`] if the filter is outside the limits.
    pub(crate) fn read(input: &JsonValue, limits: &Limits) -> Result<Option<Self>, FilterRefused> {
        let JsonValue::Object(members) = input else {
            return Ok(None);
        };
        let mut fields = BTreeSet::new();
        collect_fields(members, &mut fields);
        if fields.is_empty() {
            return Ok(None);
        }
        if fields.len() > limits.filter_attributes_max {
            return Err(FilterRefused::TooManyAttributes);
        }
        let groups = read_members(members, limits)?;
        for group in &groups {
            let distinct: BTreeSet<&str> = group.iter().map(|(field, _)| field.as_str()).collect();
            if distinct.len() < group.len() {
                return Err(FilterRefused::RepeatedField);
            }
        }
        let blank = groups.iter().all(Vec::is_empty);
        Ok((!blank).then_some(Self { groups }))
    }

    /// How many alternatives there are; each has what it compares with for itself.
    pub(crate) fn alternatives(&self) -> usize {
        self.groups.len()
    }

    /// Whether a message passes; `payload` is the record in it, by field name.
    pub(crate) fn matches(&self, payload: &JsonMap) -> bool {
        self.groups.iter().any(|group| {
            group
                .iter()
                .all(|(field, comparison)| holds(payload, field, comparison))
        })
    }
}

fn holds(payload: &JsonMap, field: &str, comparison: &Comparison) -> bool {
    payload
        .get(field)
        .is_some_and(|value| comparison.test(Some(&value_of(value))))
}

fn collect_fields<'a>(members: &'a JsonMap, fields: &mut BTreeSet<&'a str>) {
    for (name, operand) in members {
        match (name.as_str(), operand) {
            (_, JsonValue::Null) => {}
            ("and" | "or", operand) => {
                for member in group_members(operand) {
                    if let JsonValue::Object(member) = member {
                        collect_fields(member, fields);
                    }
                }
            }
            (name, _) => {
                fields.insert(name);
            }
        }
    }
}

/// GraphQL takes a single member for a list of one.
fn group_members(operand: &JsonValue) -> &[JsonValue] {
    operand
        .as_array()
        .map_or(std::slice::from_ref(operand), Vec::as_slice)
}

fn read_members(members: &JsonMap, limits: &Limits) -> Result<Vec<Group>, FilterRefused> {
    let mut all = vec![Group::new()];
    for (name, operand) in members {
        let alternatives = match (name.as_str(), operand) {
            (_, JsonValue::Null) => continue,
            ("and", operand) => {
                for member in group_members(operand) {
                    if let JsonValue::Object(member) = member {
                        all = product(&all, &read_members(member, limits)?, limits)?;
                    }
                }
                continue;
            }
            ("or", operand) => {
                let mut any = Vec::new();
                for member in group_members(operand) {
                    if let JsonValue::Object(member) = member {
                        any.append(&mut read_members(member, limits)?);
                    }
                }
                any
            }
            (field, JsonValue::Object(operators)) => read_operators(field, operators, limits)?,
            _ => return Err(FilterRefused::BadOperand),
        };
        if !alternatives.is_empty() {
            all = product(&all, &alternatives, limits)?;
        }
    }
    Ok(all)
}

fn read_operators(field: &str, operators: &JsonMap, limits: &Limits) -> Result<Vec<Group>, FilterRefused> {
    let mut alternatives = Vec::new();
    for (operator, operand) in operators {
        let comparison =
            Comparison::read(operator.as_str(), operand).map_err(|_| FilterRefused::BadOperand)?;
        match comparison {
            Some(Comparison::In(values) | Comparison::NotIn(values))
                if values.len() > limits.filter_values_max =>
            {
                return Err(FilterRefused::TooManyValues);
            }
            Some(comparison) => alternatives.push(vec![(field.to_owned(), comparison)]),
            None => {}
        }
    }
    Ok(alternatives)
}

/// Every group of the one side with every group of the other.
fn product(one: &[Group], other: &[Group], limits: &Limits) -> Result<Vec<Group>, FilterRefused> {
    if one.len().saturating_mul(other.len()) > limits.filter_combinations_max {
        return Err(FilterRefused::TooManyCombinations);
    }
    Ok(one
        .iter()
        .flat_map(|a| other.iter().map(move |b| [a.as_slice(), b.as_slice()].concat()))
        .collect())
}

#[cfg(test)]
mod tests;
