//! What builders of generated models are made of.
//!
//! Owns [`IntoField`], what a setter takes, and [`BuildError`], everything that is wrong with a builder at once. What fits
//! is the business of `validate.rs`, so that a builder and a save say the same.

use std::fmt;

use crate::aws::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, for_each_aws_text,
};

use super::NonModel;
use super::value::FieldValue;
use crate::schema::{FieldDef, Schema, Slot};
use crate::validate::{FieldFault, validate, validate_members};
use crate::value::Value;

/// What a setter of a builder takes for a field of type `T`: a `T`, or what can become one.
///
/// An optional field takes a value with or without `Some`; textual scalars take text, which is checked; floats take
/// whole numbers; lists take arrays.
///
/// ```
/// use landfall_core::{AwsDate, IntoField, Value};
///
/// let day: Option<AwsDate> = "2026-11-21".into_field()?;
/// assert_eq!(day.map(|day| day.to_string()), Some("2026-11-21".to_owned()));
/// let bad: Result<AwsDate, Value> = "soon".into_field();
/// assert_eq!(bad, Err(Value::from("soon")));
/// # Ok::<(), Value>(())
/// ```
pub trait IntoField<T> {
    /// Makes the field's value.
    ///
    /// # Errors
    /// What does not fit, as it was given: `build` says what is wrong with it, at its place in the record.
    fn into_field(self) -> Result<T, Value>;
}

impl<T: FieldValue> IntoField<T> for T {
    fn into_field(self) -> Result<T, Value> {
        Ok(self)
    }
}

impl<T: FieldValue> IntoField<Option<T>> for T {
    fn into_field(self) -> Result<Option<T>, Value> {
        Ok(Some(self))
    }
}

impl<T: NonModel> IntoField<Option<Box<T>>> for T {
    fn into_field(self) -> Result<Option<Box<T>>, Value> {
        Ok(Some(Box::new(self)))
    }
}

impl<T: FieldValue, U: IntoField<T>, const N: usize> IntoField<Vec<T>> for [U; N] {
    fn into_field(self) -> Result<Vec<T>, Value> {
        let items = self.map(IntoField::into_field);
        if items.iter().all(Result::is_ok) {
            return Ok(items.into_iter().flatten().collect());
        }
        // Every element that does not fit has a fault of its own.
        let given = items
            .into_iter()
            .map(|item| item.map_or_else(|given| given, |value| value.to_value()));
        Err(Value::List(given.collect()))
    }
}

impl<T: FieldValue, U: IntoField<T>, const N: usize> IntoField<Option<Vec<T>>> for [U; N] {
    fn into_field(self) -> Result<Option<Vec<T>>, Value> {
        IntoField::<Vec<T>>::into_field(self).map(Some)
    }
}

/// Implements a setter's conversion for a field and for an optional field.
macro_rules! converts {
    ($from:ty => $to:ty, $value:ident, $convert:expr) => {
        impl IntoField<$to> for $from {
            fn into_field(self) -> Result<$to, Value> {
                let $value = self;
                $convert
            }
        }

        impl IntoField<Option<$to>> for $from {
            fn into_field(self) -> Result<Option<$to>, Value> {
                IntoField::<$to>::into_field(self).map(Some)
            }
        }
    };
}

converts!(&str => String, text, Ok(text.to_owned()));
converts!(&String => String, text, Ok(text.clone()));
converts!(i32 => f64, number, Ok(f64::from(number)));
converts!(i64 => AwsTimestamp, seconds, Ok(AwsTimestamp(seconds)));

macro_rules! aws_texts {
    ($($name:ident),*) => {$(
        converts!(&str => $name, text, IntoField::<$name>::into_field(text.to_owned()));
        converts!(String => $name, text, $name::try_from(text).map_err(|invalid| Value::String(invalid.text)));
    )*};
}

for_each_aws_text!(aws_texts);

/// The value that `@default` gives a field; what builders of generated models use.
///
/// # Panics
/// If the field has no default that fits it: generated code asks only for those that have.
pub fn default_of<T: FieldValue>(schema: &Schema, ty: &str, field: &str) -> T {
    let of_object = || schema.non_model(ty)?.fields.get(field);
    let field_def = schema
        .model(ty)
        .and_then(|def| def.field(field))
        .or_else(of_object);
    match field_def.and_then(FieldDef::default_value).map(T::from_value) {
        Some(Ok(value)) => value,
        _ => panic!("`{ty}.{field}` has no default that fits it; generate the models again"),
    }
}

/// What is wrong with one field of a builder.
///
/// Whatever a save would refuse is told by `build` already, in the same words:
///
/// ```
/// use landfall_core::{BuildError, BuildFault, FieldFault};
///
/// let score = FieldFault { path: "score".into(), message: "takes a finite number, not NaN".into() };
/// let faults = vec![BuildFault::Missing { field: "title" }, BuildFault::Invalid(score)];
/// assert_eq!(
///     BuildError { ty: "Post", faults }.to_string(),
///     "`Post` cannot be built: `title` is required; `score` takes a finite number, not NaN"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// A required field was not set.
    #[error("`{field}` is required")]
    Missing {
        /// Its name in the schema.
        field: &'static str,
    },
    /// A value does not fit its field; a save would refuse it.
    #[error("{0}")]
    Invalid(FieldFault),
}

/// Everything that is wrong with a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// The model or non-model type.
    pub ty: &'static str,
    /// Every fault, in field order; never empty.
    pub faults: Vec<BuildFault>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be built: ", self.ty)?;
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}

/// A field of a builder: not set, set, or set to something that does not fit.
#[derive(Clone, Debug)]
pub struct Pending<T>(Option<Result<T, Value>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Pending<T> {
    /// Sets the field; the last call counts.
    pub fn set(&mut self, value: impl IntoField<T>) {
        self.0 = Some(value.into_field());
    }
}

/// The fields of a type that is being built, taken one by one in the order of the schema.
#[derive(Debug)]
pub struct BuildFields {
    schema: &'static Schema,
    ty: &'static str,
    /// What was taken so far, as rows hold it.
    values: Vec<Value>,
    /// Required fields that were not set, with their places among the values.
    missing: Vec<(usize, &'static str)>,
}

impl BuildFields {
    /// No field yet of a type with that many.
    pub fn of(schema: &'static Schema, ty: &'static str, count: usize) -> Self {
        Self {
            schema,
            ty,
            values: Vec::with_capacity(count),
            missing: Vec::new(),
        }
    }

    /// The next field, which is required; `None` after noting that it is missing or does not fit.
    pub fn required<T: FieldValue>(&mut self, pending: Pending<T>, field: &'static str) -> Option<T> {
        if pending.0.is_none() {
            self.missing.push((self.values.len(), field));
            self.values.push(Value::Null);
        }
        self.note(pending.0?)
    }

    /// The next field, which is made if it was not set; `None` after noting that it does not fit.
    pub fn or_else<T: FieldValue>(&mut self, pending: Pending<T>, make: impl FnOnce() -> T) -> Option<T> {
        self.note(pending.0.unwrap_or_else(|| Ok(make())))
    }

    /// The next field, which nobody sets.
    pub fn made<T: FieldValue>(&mut self, value: T) -> Option<T> {
        self.note(Ok(value))
    }

    fn note<T: FieldValue>(&mut self, field: Result<T, Value>) -> Option<T> {
        match field {
            Ok(value) => {
                self.values.push(value.to_value());
                Some(value)
            }
            Err(given) => {
                self.values.push(given);
                None
            }
        }
    }

    /// Makes the instance if everything that was taken can be saved.
    ///
    /// # Errors
    /// Every fault.
    ///
    /// # Panics
    /// If `make` finds a field missing that the schema accepts: generated code and its schema belong together.
    pub fn build<T>(mut self, make: impl FnOnce() -> Option<T>) -> Result<T, BuildError> {
        let invalid = self.invalid();
        if !invalid.is_empty() || !self.missing.is_empty() {
            return Err(self.error(invalid));
        }
        match make() {
            Some(built) => Ok(built),
            None => panic!("`{}` does not fit its schema; generate the models again", self.ty),
        }
    }

    fn error(self, invalid: Vec<FieldFault>) -> BuildError {
        let is_missing = |fault: &FieldFault| self.missing.iter().any(|(_, field)| *field == fault.path);
        let missing = self.missing.iter();
        let mut placed: Vec<(usize, BuildFault)> = invalid
            .into_iter()
            .filter(|fault| !is_missing(fault))
            .map(|fault| (self.place(&fault), BuildFault::Invalid(fault)))
            .chain(missing.map(|&(place, field)| (place, BuildFault::Missing { field })))
            .collect();
        placed.sort_by_key(|(place, _)| *place);
        BuildError {
            ty: self.ty,
            faults: placed.into_iter().map(|(_, fault)| fault).collect(),
        }
    }

    /// What a save would refuse, missing fields included.
    fn invalid(&mut self) -> Vec<FieldFault> {
        if let Some(def) = self.schema.model(self.ty) {
            let checked = validate(self.schema, def, &mut self.values);
            return checked.err().map(|invalid| invalid.faults).unwrap_or_default();
        }
        let def = self.schema.non_model(self.ty);
        def.map(|def| validate_members(self.schema, def, &mut self.values))
            .unwrap_or_default()
    }

    /// Where the field of a fault is among the fields of the type.
    fn place(&self, fault: &FieldFault) -> usize {
        let root = fault.path.split(['.', '[']).next().unwrap_or_default();
        let of_model = self.schema.model(self.ty).and_then(|def| def.slot(root));
        let of_object = || self.schema.non_model(self.ty)?.fields.get_index_of(root);
        of_model.map_or_else(|| of_object().unwrap_or_default(), Slot::index)
    }
}
