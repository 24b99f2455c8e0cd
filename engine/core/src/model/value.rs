//! Rust types of fields, and how their values become [`Value`]s and come back.
//!
//! Owns [`FieldValue`] for every scalar, option, list and box, and [`Operand`], what a field is compared with.
//! Generated enums and non-model types implement [`FieldValue`] themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::vec;

use serde_json::Value as Json;

use super::DecodeError;
use crate::aws::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, for_each_aws_text,
};
use crate::value::Value;

/// A Rust type that a field can have.
///
/// ```
/// use landfall_core::{FieldValue, Value};
///
/// assert_eq!(Some(5).to_value(), Value::Int(5));
/// assert_eq!(Option::<i32>::from_value(Value::Null), Ok(None));
/// assert!(i32::from_value("five".into()).is_err());
/// ```
pub trait FieldValue: Sized {
    /// The type without `Option` and `Box`: what the field is compared with.
    type Base: FieldValue;

    /// The value as rows hold it.
    fn to_value(&self) -> Value;

    /// Takes the value over from a row; texts are moved and not checked again.
    ///
    /// # Errors
    /// A value of another kind.
    fn from_value(value: Value) -> Result<Self, ValueFault>;
}

/// A value that does not fit a Rust type.
///
/// ```
/// use landfall_core::{FieldValue, ValueFault};
///
/// let fault = i32::from_value("five".into()).err().map(|fault: ValueFault| fault.in_member("rating"));
/// assert!(fault.is_some_and(|fault| fault.to_string().starts_with("`rating` takes")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFault {
    /// Where, such as `address.city` or `tags[2]`; empty for the value itself.
    pub path: String,
    /// What would fit, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
}

/// A text that is no value of an enum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no value of `{name}`; its values are {}", .known.join(", "))]
pub struct UnknownEnumValue {
    /// The enum.
    pub name: &'static str,
    /// The text.
    pub text: String,
    /// The values that it has.
    pub known: &'static [&'static str],
}

impl ValueFault {
    /// A fault of the value itself.
    pub fn new(expected: &str, found: &str) -> Self {
        Self {
            path: String::new(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    /// A fault of the value itself, which is of the wrong kind.
    pub fn kind(expected: &str, found: &Value) -> Self {
        Self::new(expected, found.kind())
    }

    /// The same fault, seen from the object or record that has the field.
    #[must_use]
    pub fn in_member(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same fault, seen from the list that has the element.
    #[must_use]
    pub fn in_element(mut self, index: usize) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}` ", self.path)?;
        }
        write!(f, "takes {}, not {}", self.expected, self.found)
    }
}

impl std::error::Error for ValueFault {}

/// Takes the next value of a record; what [`super::Model::from_parts`] is made of.
///
/// # Errors
/// A value that does not fit, with the names of the model and of the field; missing values are null.
#[inline]
pub fn take_value<T: FieldValue>(
    values: &mut vec::IntoIter<Value>,
    model: &'static str,
    field: &'static str,
) -> Result<T, DecodeError> {
    T::from_value(values.next().unwrap_or_default()).map_err(|fault| DecodeError {
        model,
        fault: fault.in_member(field),
    })
}

/// Takes a member of an object; what [`super::NonModel::from_members`] is made of.
///
/// # Errors
/// A value that does not fit, with the name of the member; missing members are null.
pub fn take_member<T: FieldValue>(
    members: &mut BTreeMap<String, Value>,
    name: &'static str,
) -> Result<T, ValueFault> {
    T::from_value(members.remove(name).unwrap_or_default()).map_err(|fault| fault.in_member(name))
}

impl FieldValue for bool {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        match value {
            Value::Bool(b) => Ok(b),
            other => Err(ValueFault::kind("a boolean", &other)),
        }
    }
}

impl FieldValue for i32 {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::Int(i64::from(*self))
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        match value {
            Value::Int(n) => {
                Self::try_from(n).map_err(|_| ValueFault::new("a 32-bit integer", &n.to_string()))
            }
            other => Err(ValueFault::kind("an integer", &other)),
        }
    }
}

impl FieldValue for i64 {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::Int(*self)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        match value {
            Value::Int(n) => Ok(n),
            other => Err(ValueFault::kind("an integer", &other)),
        }
    }
}

impl FieldValue for f64 {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::Float(*self)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        match value {
            Value::Float(x) => Ok(x),
            #[allow(clippy::cast_precision_loss)] // What JSON writes without a fraction is still a Float.
            Value::Int(n) => Ok(n as Self),
            other => Err(ValueFault::kind("a number", &other)),
        }
    }
}

impl FieldValue for String {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::String(self.clone())
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(ValueFault::kind("a string", &other)),
        }
    }
}

/// `AWSJSON`. A JSON null and an absent value are the same in a row; an `Option` reads both as `None`.
impl FieldValue for Json {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::from(self)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        Ok(into_json(value))
    }
}

/// Moves a value into JSON. Rows hold no value deeper than `VALUE_DEPTH_MAX`, which bounds the recursion.
fn into_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(b),
        Value::Int(n) => Json::from(n),
        Value::Float(x) => Json::from(x),
        Value::String(text) => Json::String(text),
        Value::List(items) => Json::Array(items.into_iter().map(into_json).collect()),
        Value::Object(members) => Json::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, into_json(value)))
                .collect(),
        ),
    }
}

impl FieldValue for AwsTimestamp {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::Int(self.0)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        i64::from_value(value).map(Self)
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    type Base = T::Base;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        if value.is_null() {
            Ok(None)
        } else {
            T::from_value(value).map(Some)
        }
    }
}

/// A non-model type that contains itself is kept in boxes.
impl<T: FieldValue> FieldValue for Box<T> {
    type Base = T::Base;

    fn to_value(&self) -> Value {
        T::to_value(self)
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        T::from_value(value).map(Self::new)
    }
}

impl<T: FieldValue> FieldValue for Vec<T> {
    type Base = Self;

    fn to_value(&self) -> Value {
        Value::List(self.iter().map(T::to_value).collect())
    }

    fn from_value(value: Value) -> Result<Self, ValueFault> {
        let Value::List(items) = value else {
            return Err(ValueFault::kind("a list", &value));
        };
        let read = |(index, item)| T::from_value(item).map_err(|fault| fault.in_element(index));
        items.into_iter().enumerate().map(read).collect()
    }
}

/// A type whose values have an order that predicates can use.
pub trait Comparable: FieldValue {}

impl Comparable for i32 {}
impl Comparable for i64 {}
impl Comparable for f64 {}
impl Comparable for String {}
impl Comparable for AwsTimestamp {}

/// A type whose values can be added up.
pub trait Numeric: Comparable {
    /// The type of a sum.
    type Sum: FieldValue;
}

impl Numeric for i32 {
    type Sum = i64;
}

impl Numeric for i64 {
    type Sum = Self;
}

impl Numeric for f64 {
    type Sum = Self;
}

/// A type whose values are texts, so that predicates can ask how they begin.
pub trait Textual: FieldValue {}

impl Textual for String {}

/// A type whose values have parts, so that predicates can ask for one: texts, and lists.
pub trait Containing: FieldValue {
    /// The type of a part.
    type Part: FieldValue;
}

impl Containing for String {
    type Part = Self;
}

impl<T: FieldValue> Containing for Vec<T> {
    type Part = T::Base;
}

/// What a field of type `B` is compared with.
///
/// Made of a `B`, of a reference to one, of an option (none asks for absence), and of what is as good as a `B`: text
/// for every textual scalar, which need not be complete (`"2026-11"` is a useful bound), whole numbers for floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand<B> {
    value: Value,
    base: PhantomData<fn() -> B>,
}

impl<B> Operand<B> {
    fn of(value: Value) -> Self {
        Self {
            value,
            base: PhantomData,
        }
    }

    /// The value to compare with.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl<B: FieldValue> From<B> for Operand<B> {
    fn from(value: B) -> Self {
        Self::of(value.to_value())
    }
}

impl<B: FieldValue> From<&B> for Operand<B> {
    fn from(value: &B) -> Self {
        Self::of(value.to_value())
    }
}

impl<B: FieldValue> From<Option<B>> for Operand<B> {
    fn from(value: Option<B>) -> Self {
        Self::of(value.to_value())
    }
}

impl From<&str> for Operand<String> {
    fn from(text: &str) -> Self {
        Self::of(text.into())
    }
}

impl From<i32> for Operand<f64> {
    fn from(number: i32) -> Self {
        Self::of(Value::Float(number.into()))
    }
}

impl From<i64> for Operand<AwsTimestamp> {
    fn from(seconds: i64) -> Self {
        Self::of(Value::Int(seconds))
    }
}

macro_rules! aws_texts {
    ($($name:ident),*) => {$(
        impl FieldValue for $name {
            type Base = Self;

            fn to_value(&self) -> Value {
                Value::String(self.as_str().to_owned())
            }

            fn from_value(value: Value) -> Result<Self, ValueFault> {
                String::from_value(value).map(Self::of_stored)
            }
        }

        impl Comparable for $name {}
        impl Textual for $name {}

        impl Containing for $name {
            type Part = String;
        }

        impl From<&str> for Operand<$name> {
            fn from(text: &str) -> Self {
                Self::of(text.into())
            }
        }
    )*};
}

for_each_aws_text!(aws_texts);
