//! What builders of generated models are made of.
//!
//! Owns [`IntoField`], what a setter takes, and [`BuildError`], everything that is wrong with a builder at once.

use crate::aws::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, InvalidScalar,
    for_each_aws_text,
};

use super::NonModel;
use super::value::FieldValue;
use crate::schema::{FieldDef, Schema};

/// What a setter of a builder takes for a field of type `T`: a `T`, or what can become one.
///
/// An optional field takes a value with or without `Some`; textual scalars take text, which is checked; floats take
/// whole numbers; lists take arrays.
///
/// ```
/// use landfall_core::{AwsDate, IntoField};
///
/// let day: Option<AwsDate> = "2026-11-21".into_field()?;
/// assert_eq!(day.map(|day| day.to_string()), Some("2026-11-21".to_owned()));
/// let bad: Result<AwsDate, _> = "soon".into_field();
/// assert!(bad.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoField<T> {
    /// Makes the field's value.
    ///
    /// # Errors
    /// A text that the scalar does not accept.
    fn into_field(self) -> Result<T, InvalidScalar>;
}

impl<T: FieldValue> IntoField<T> for T {
    fn into_field(self) -> Result<T, InvalidScalar> {
        Ok(self)
    }
}

impl<T: FieldValue> IntoField<Option<T>> for T {
    fn into_field(self) -> Result<Option<T>, InvalidScalar> {
        Ok(Some(self))
    }
}

impl<T: NonModel> IntoField<Option<Box<T>>> for T {
    fn into_field(self) -> Result<Option<Box<T>>, InvalidScalar> {
        Ok(Some(Box::new(self)))
    }
}

impl<T, U: IntoField<T>, const N: usize> IntoField<Vec<T>> for [U; N] {
    fn into_field(self) -> Result<Vec<T>, InvalidScalar> {
        self.into_iter().map(IntoField::into_field).collect()
    }
}

impl<T, U: IntoField<T>, const N: usize> IntoField<Option<Vec<T>>> for [U; N] {
    fn into_field(self) -> Result<Option<Vec<T>>, InvalidScalar> {
        IntoField::<Vec<T>>::into_field(self).map(Some)
    }
}

/// Implements a setter's conversion for a field and for an optional field.
macro_rules! converts {
    ($from:ty => $to:ty, $value:ident, $convert:expr) => {
        impl IntoField<$to> for $from {
            fn into_field(self) -> Result<$to, InvalidScalar> {
                let $value = self;
                $convert
            }
        }

        impl IntoField<Option<$to>> for $from {
            fn into_field(self) -> Result<Option<$to>, InvalidScalar> {
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
        converts!(&str => $name, text, text.try_into());
        converts!(String => $name, text, text.try_into());
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// A required field was not set.
    #[error("`{field}` is required")]
    Missing {
        /// Its name in the schema.
        field: &'static str,
    },
    /// A text is not of the field's scalar type.
    #[error("`{field}` {error}")]
    Invalid {
        /// Its name in the schema.
        field: &'static str,
        /// What is wrong with the text.
        error: InvalidScalar,
    },
}

/// Everything that is wrong with a builder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{ty}` cannot be built: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BuildError {
    /// The model or non-model type.
    pub ty: &'static str,
    /// Every fault, in field order; never empty.
    pub faults: Vec<BuildFault>,
}

/// A field of a builder: not set, set, or set to something that does not fit.
#[derive(Clone, Debug)]
pub struct Pending<T>(Option<Result<T, InvalidScalar>>);

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

    /// The value of a required field; `None` after noting a fault.
    pub fn required(self, field: &'static str, faults: &mut BuildFaults) -> Option<T> {
        match self.0 {
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => faults.note(BuildFault::Invalid { field, error }),
            None => faults.note(BuildFault::Missing { field }),
        }
    }

    /// The value of a field that is made if it was not set; `None` after noting a fault.
    pub fn or_else(
        self,
        field: &'static str,
        faults: &mut BuildFaults,
        make: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.0 {
            None => Some(make()),
            set => Self(set).required(field, faults),
        }
    }
}

/// The faults that were found while building.
#[derive(Debug, Default)]
pub struct BuildFaults(Vec<BuildFault>);

impl BuildFaults {
    fn note<T>(&mut self, fault: BuildFault) -> Option<T> {
        self.0.push(fault);
        None
    }

    /// The error that they make up.
    pub fn into_error(self, ty: &'static str) -> BuildError {
        BuildError { ty, faults: self.0 }
    }
}
