//! Filters and conditions with DynamoDB's semantics.
//!
//! Owns the tree, its reading from a coerced GraphQL input, and its evaluation on attributes. Does not know models: the
//! schema has already said which fields and operators there are. Subscription filters differ (`subscription_filter.rs`).
//!
//! Invariants: 1. all operators of one input object hold together; 2. a comparison with a missing attribute is false,
//! but `ne` and `notContains` are true; 3. null equals only a stored null.

use std::cmp::Ordering;

use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::Value;

use crate::item::Item;
use crate::json::value_of;

/// A condition on the attributes of one record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    /// All hold; true if empty.
    All(Vec<Filter>),
    /// One holds; false if empty.
    Any(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// One attribute compared.
    Compare(String, Comparison),
}

/// A comparison of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Comparison {
    Eq(Value),
    Ne(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    /// Both bounds included.
    Between(Value, Value),
    BeginsWith(String),
    /// Part of a text, or element of a list.
    Contains(Value),
    NotContains(Value),
    /// The attribute is there, be it null.
    Exists(bool),
    /// The attribute is of DynamoDB's type of that name.
    OfType(AttributeType),
    /// The size of a text (in bytes), list or map compares so.
    Size(Box<Comparison>),
    /// Equal to one of them (subscriptions only).
    In(Vec<Value>),
    /// Equal to none of them (subscriptions only).
    NotIn(Vec<Value>),
    /// A text that is one of them, or a list with one of them in it (rules of `@auth` only).
    NamesAny(Vec<Value>),
}

/// DynamoDB's types that stored values can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeType {
    Bool,
    List,
    Map,
    Number,
    String,
    Null,
    /// Sets and binaries, which nothing here is stored as.
    Other,
}

/// A filter input that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadFilter;

impl Filter {
    /// Reads a filter or condition input; `None` if it compares nothing.
    ///
    /// # Errors
    /// [`BadFilter`] if an operator has no operand it can use, such as `between` with one bound.
    pub(crate) fn read(input: &JsonValue) -> Result<Option<Self>, BadFilter> {
        match input {
            JsonValue::Null => Ok(None),
            JsonValue::Object(members) => {
                let filter = Self::read_members(members)?;
                Ok((!filter.is_blank()).then_some(filter))
            }
            _ => Err(BadFilter),
        }
    }

    fn read_members(members: &JsonMap) -> Result<Self, BadFilter> {
        let mut all = Vec::new();
        for (name, operand) in members {
            let name = name.as_str();
            match (name, operand) {
                (_, JsonValue::Null) => {}
                ("and", operand) => all.extend(Self::read_group(operand, Self::All)?),
                ("or", operand) => all.extend(Self::read_group(operand, Self::Any)?),
                ("not", JsonValue::Object(member)) => {
                    let member = Self::read_members(member)?;
                    if !member.is_blank() {
                        all.push(Self::Not(Box::new(member)));
                    }
                }
                (_, JsonValue::Object(operators)) => {
                    for (operator, operand) in operators {
                        let comparison = Comparison::read(operator.as_str(), operand)?;
                        all.extend(comparison.map(|comparison| Self::Compare(name.to_owned(), comparison)));
                    }
                }
                _ => return Err(BadFilter),
            }
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Self::All(all)
        })
    }

    fn read_group(operand: &JsonValue, group: fn(Vec<Self>) -> Self) -> Result<Option<Self>, BadFilter> {
        // GraphQL takes a single member for a list of one.
        let members = operand
            .as_array()
            .map_or(std::slice::from_ref(operand), Vec::as_slice);
        let mut filters = Vec::new();
        for member in members {
            match member {
                JsonValue::Null => {}
                JsonValue::Object(member) => filters.push(Self::read_members(member)?),
                _ => return Err(BadFilter),
            }
        }
        filters.retain(|filter| !filter.is_blank());
        Ok((!filters.is_empty()).then(|| group(filters)))
    }

    /// How many comparisons it makes; a range counts as one.
    pub(crate) fn comparisons(&self) -> usize {
        match self {
            Self::All(members) | Self::Any(members) => members.iter().map(Self::comparisons).sum(),
            Self::Not(member) => member.comparisons(),
            Self::Compare(_, Comparison::In(values) | Comparison::NotIn(values)) => values.len().max(1),
            Self::Compare(..) => 1,
        }
    }

    /// Whether it compares nothing, which is not the same as matching nothing.
    fn is_blank(&self) -> bool {
        matches!(self, Self::All(members) | Self::Any(members) if members.is_empty())
    }

    /// Whether the record is selected.
    pub(crate) fn matches(&self, item: &Item) -> bool {
        self.test(&|name| item.attribute(name))
    }

    /// Whether attributes looked up by name are selected.
    pub(crate) fn test<'v>(&self, attribute: &dyn Fn(&str) -> Option<&'v Value>) -> bool {
        match self {
            Self::All(members) => members.iter().all(|member| member.test(attribute)),
            Self::Any(members) => members.iter().any(|member| member.test(attribute)),
            Self::Not(member) => !member.test(attribute),
            Self::Compare(name, comparison) => comparison.test(attribute(name)),
        }
    }
}

impl Comparison {
    /// Reads an operator; `None` if its operand is an absent one, as `contains: null`.
    ///
    /// # Errors
    /// [`BadFilter`] if the operator is unknown or its operand is of no use.
    pub(crate) fn read(operator: &str, operand: &JsonValue) -> Result<Option<Self>, BadFilter> {
        let value = || value_of(operand);
        Ok(Some(match operator {
            // Comparing with null is meant; the other operators have nothing to do without an operand.
            "eq" => Self::Eq(value()),
            "ne" => Self::Ne(value()),
            _ if operand.is_null() => return Ok(None),
            "lt" => Self::Lt(value()),
            "le" => Self::Le(value()),
            "gt" => Self::Gt(value()),
            "ge" => Self::Ge(value()),
            "between" => match value() {
                Value::List(bounds) => match <[Value; 2]>::try_from(bounds) {
                    Ok([low, high]) => Self::Between(low, high),
                    Err(_) => return Err(BadFilter),
                },
                _ => return Err(BadFilter),
            },
            "beginsWith" => Self::BeginsWith(operand.as_str().ok_or(BadFilter)?.to_owned()),
            "contains" => Self::Contains(value()),
            "notContains" => Self::NotContains(value()),
            "attributeExists" => Self::Exists(operand.as_bool().ok_or(BadFilter)?),
            "attributeType" => Self::OfType(AttributeType::of_name(operand.as_str().ok_or(BadFilter)?)),
            "size" => return Self::read_size(operand),
            "in" => Self::In(list(value())),
            "notIn" => Self::NotIn(list(value())),
            _ => return Err(BadFilter),
        }))
    }

    fn read_size(operand: &JsonValue) -> Result<Option<Self>, BadFilter> {
        // Amplify's templates take one operator of a size; with several, all of them must hold.
        let mut operators = operand
            .as_object()
            .ok_or(BadFilter)?
            .iter()
            .filter(|(_, operand)| !operand.is_null());
        let Some((operator, operand)) = operators.next() else {
            return Ok(None);
        };
        if operators.next().is_some() {
            return Err(BadFilter);
        }
        Ok(Self::read(operator.as_str(), operand)?.map(|comparison| Self::Size(Box::new(comparison))))
    }

    /// Whether an attribute, `None` if missing, compares so.
    pub(crate) fn test(&self, attribute: Option<&Value>) -> bool {
        match self {
            Self::Eq(operand) => attribute.is_some_and(|value| equal(value, operand)),
            Self::Ne(operand) => attribute.is_none_or(|value| !equal(value, operand)),
            Self::Lt(operand) => order(attribute, operand).is_some_and(Ordering::is_lt),
            Self::Le(operand) => order(attribute, operand).is_some_and(Ordering::is_le),
            Self::Gt(operand) => order(attribute, operand).is_some_and(Ordering::is_gt),
            Self::Ge(operand) => order(attribute, operand).is_some_and(Ordering::is_ge),
            Self::Between(low, high) => {
                order(attribute, low).is_some_and(Ordering::is_ge)
                    && order(attribute, high).is_some_and(Ordering::is_le)
            }
            Self::BeginsWith(prefix) => attribute
                .and_then(Value::as_str)
                .is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Contains(part) => contains(attribute, part),
            Self::NotContains(part) => !contains(attribute, part),
            Self::Exists(exists) => attribute.is_some() == *exists,
            Self::OfType(ty) => attribute.is_some_and(|value| AttributeType::of(value) == *ty),
            Self::Size(comparison) => {
                let size = attribute.and_then(size).map(Value::Int);
                size.is_some() && comparison.test(size.as_ref())
            }
            Self::In(items) => attribute.is_some_and(|value| items.iter().any(|item| equal(value, item))),
            Self::NotIn(items) => attribute.is_none_or(|value| !items.iter().any(|item| equal(value, item))),
            Self::NamesAny(names) => match attribute {
                Some(Value::List(items)) => items.iter().any(|item| names.contains(item)),
                Some(value) => names.contains(value),
                None => false,
            },
        }
    }
}

impl AttributeType {
    fn of_name(name: &str) -> Self {
        match name {
            "bool" => Self::Bool,
            "list" => Self::List,
            "map" => Self::Map,
            "number" => Self::Number,
            "string" => Self::String,
            "_null" => Self::Null,
            _ => Self::Other,
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) | Value::Float(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::List(_) => Self::List,
            Value::Object(_) => Self::Map,
        }
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::List(items) => items,
        single => vec![single],
    }
}

/// Equality with numbers compared as numbers, also inside lists and maps.
fn equal(a: &Value, b: &Value) -> bool {
    AttributeType::of(a) == AttributeType::of(b) && a.cmp_total(b).is_eq()
}

/// Order of two numbers or two texts; other kinds have none.
fn order(attribute: Option<&Value>, operand: &Value) -> Option<Ordering> {
    let attribute = attribute?;
    let ty = AttributeType::of(attribute);
    let ordered =
        matches!(ty, AttributeType::Number | AttributeType::String) && ty == AttributeType::of(operand);
    ordered.then(|| attribute.cmp_total(operand))
}

fn contains(attribute: Option<&Value>, part: &Value) -> bool {
    match (attribute, part) {
        (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
        (Some(Value::List(items)), part) => items.iter().any(|item| equal(item, part)),
        _ => false,
    }
}

fn size(value: &Value) -> Option<i64> {
    let size = match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return None,
    };
    i64::try_from(size).ok()
}

#[cfg(test)]
mod tests;
