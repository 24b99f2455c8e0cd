//! Typed relations, and where the other side of a relation is found.
//!
//! Owns [`BelongsTo`], [`HasOne`], [`HasMany`] and the rule [`related`] behind them. Loads nothing.

use std::fmt;
use std::marker::PhantomData;

use super::Model;
use super::field::{TypedPredicate, TypedSort};
use crate::predicate::{Op, Predicate};
use crate::record::{IdPart, RecordId};
use crate::schema::{Association, ModelDef};
use crate::sort::Sort;
use crate::value::Value;

/// Where the other side of a relation is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Related {
    /// Nowhere: this record refers to none.
    Nothing,
    /// Under this identifier of the other model.
    ById(RecordId),
    /// Among the records of the other model that hold this record's key.
    Where(Predicate),
}

/// Where the other side of a relation field is found for a record with these values, which are in slot order.
///
/// `None` if the model has no such relation.
pub fn related(def: &ModelDef, field: &str, values: &[Value]) -> Option<Related> {
    let value = |name: &str| {
        def.slot(name)
            .and_then(|slot| values.get(slot.index()))
            .unwrap_or(&Value::Null)
    };
    let association = def.field(field)?.association.as_ref()?;
    Some(match association {
        Association::HasMany { associated_with } | Association::HasOne { associated_with, .. }
            if association.targets().is_empty() =>
        {
            let keys = def.key.fields.iter().map(|name| value(name));
            if keys.clone().any(Value::is_null) {
                return Some(Related::Nothing);
            }
            let tests = associated_with.iter().zip(keys);
            Related::Where(tests.fold(Predicate::All, |all, (far, key)| {
                all.and(Predicate::field(far, Op::Eq(key.clone())))
            }))
        }
        _ => {
            // A foreign key with a missing part refers to nothing.
            let parts = association
                .targets()
                .iter()
                .map(|name| IdPart::from_value(value(name)));
            parts
                .collect::<Option<Vec<_>>>()
                .map_or(Related::Nothing, |parts| Related::ById(RecordId::new(parts)))
        }
    })
}

macro_rules! relation_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<M, R> {
            name: &'static str,
            models: PhantomData<fn() -> (M, R)>,
        }

        impl<M, R> $name<M, R> {
            /// The relation field of that name in the schema.
            pub const fn new(name: &'static str) -> Self {
                Self { name, models: PhantomData }
            }

            /// Its name in the schema.
            pub const fn name(self) -> &'static str {
                self.name
            }
        }

        impl<M, R> $name<M, R> {
            /// There is such a record, and it satisfies the predicate; relations of it may be followed in turn.
            ///
            /// For queries and observers; the conditions of writes cannot follow relations.
            pub fn any(self, other: TypedPredicate<R>) -> TypedPredicate<M> {
                TypedPredicate::of(Predicate::related(self.name, other.into_predicate()))
            }

            /// There is such a record.
            pub fn exists(self) -> TypedPredicate<M> {
                TypedPredicate::of(Predicate::related(self.name, Predicate::All))
            }
        }

        impl<M: Model, R: Model> $name<M, R> {
            /// Where the other side is found for a record.
            pub fn of(self, record: &M) -> Related {
                related(M::def(), self.name, &record.to_values()).unwrap_or(Related::Nothing)
            }
        }

        impl<M, R> Clone for $name<M, R> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<M, R> Copy for $name<M, R> {}

        impl<M, R> fmt::Debug for $name<M, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.name)
            }
        }
    };
}

relation_type! {
    /// A relation of model `M` to the one record of model `R` that it belongs to, such as `Comment::post()`.
    BelongsTo
}

relation_type! {
    /// A relation of model `M` to at most one record of model `R`, such as `Project::team()`.
    HasOne
}

macro_rules! leads_to_one {
    ($name:ident) => {
        impl<M, R> $name<M, R> {
            /// By fields of the other record; those without one sort as if its fields were missing.
            pub fn by(self, keys: TypedSort<R>) -> TypedSort<M> {
                TypedSort::of(
                    keys.into_keys()
                        .into_iter()
                        .map(|key| Sort {
                            field: format!("{}.{}", self.name, key.field).into(),
                            direction: key.direction,
                        })
                        .collect(),
                )
            }
        }
    };
}

leads_to_one!(BelongsTo);
leads_to_one!(HasOne);

relation_type! {
    /// A relation of model `M` to any number of records of model `R`, such as `Post::comments()`.
    HasMany
}
