//! Typed fields, and the predicates and sort orders that are made of them.
//!
//! Owns [`Field`], [`TypedPredicate`] and [`TypedSort`]: they keep the model in the type and forget it when they become
//! a [`Predicate`] or [`Sort`]s. What an operator means is `predicate.rs`'s business.

use std::fmt;
use std::marker::PhantomData;

use super::value::{Comparable, Containing, FieldValue, Operand, Textual};
use crate::predicate::{Op, Predicate};
use crate::sort::Sort;
use crate::value::Value;

/// A stored field of model `M` whose Rust type is `T`, such as `Post::rating()`.
///
/// Fields of type `Option<T>` are compared with a `T`; a comparison with a missing value selects nothing.
///
/// ```
/// use landfall_core::{Field, Op, Predicate};
///
/// struct Post;
///
/// impl Post {
///     // As generated models have it.
///     fn rating() -> Field<Post, Option<i32>> {
///         Field::new("rating")
///     }
/// }
///
/// let good = Post::rating().gt(3).and(Post::rating().ne(9));
/// let without_types = Predicate::field("rating", Op::Gt(3.into())).and(Predicate::field("rating", Op::Ne(9.into())));
/// assert_eq!(good.into_predicate(), without_types);
/// ```
pub struct Field<M, T> {
    name: &'static str,
    types: PhantomData<fn() -> (M, T)>,
}

impl<M, T> Field<M, T> {
    /// The field of that name in the schema.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// const WORDS: Field<Post, i32> = Field::new("words");
    /// assert_eq!(WORDS.name(), "words");
    /// ```
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// Its name in the schema.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// assert_eq!(Post::rating().name(), "rating");
    /// ```
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Smallest first, missing values before all others.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// assert_eq!(Post::rating().asc().keys(), [landfall_core::Sort::ascending("rating")]);
    /// ```
    pub fn asc(self) -> TypedSort<M> {
        TypedSort {
            keys: vec![Sort::ascending(self.name)],
            model: PhantomData,
        }
    }

    /// Largest first, missing values last.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// assert_eq!(Post::rating().desc().keys(), [landfall_core::Sort::descending("rating")]);
    /// ```
    pub fn desc(self) -> TypedSort<M> {
        TypedSort {
            keys: vec![Sort::descending(self.name)],
            model: PhantomData,
        }
    }

    fn compare(self, op: Op) -> TypedPredicate<M> {
        TypedPredicate::new(Predicate::field(self.name, op))
    }
}

impl<M, T: FieldValue> Field<M, T> {
    /// Equal to the operand; if that is `None`, missing.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().eq(3), 3));
    /// assert!(holds(Post::rating().eq(None), Value::Null));
    /// assert!(!holds(Post::rating().eq(3), Value::Null));
    /// ```
    pub fn eq(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Eq(operand.into().into_value()))
    }

    /// Not equal to the operand, and not missing.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().ne(3), 4));
    /// assert!(!holds(Post::rating().ne(3), Value::Null));
    /// ```
    pub fn ne(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Ne(operand.into().into_value()))
    }

    /// Equal to one of the operands.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().is_in([3, 4]), 4));
    /// assert!(!holds(Post::rating().is_in([3, 4]), 5));
    /// ```
    pub fn is_in<I>(self, operands: I) -> TypedPredicate<M>
    where
        I: IntoIterator,
        I::Item: Into<Operand<T::Base>>,
    {
        self.compare(Op::In(
            operands
                .into_iter()
                .map(|operand| operand.into().into_value())
                .collect(),
        ))
    }
}

impl<M, T: FieldValue> Field<M, Option<T>> {
    /// Missing.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().is_null(), Value::Null));
    /// ```
    pub fn is_null(self) -> TypedPredicate<M> {
        self.compare(Op::Eq(Value::Null))
    }

    /// Not missing.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().is_present(), 0));
    /// ```
    pub fn is_present(self) -> TypedPredicate<M> {
        self.compare(Op::Ne(Value::Null))
    }
}

impl<M, T: FieldValue<Base: Comparable>> Field<M, T> {
    /// Less than the operand.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().lt(3), 2));
    /// assert!(!holds(Post::rating().lt(3), Value::Null));
    /// ```
    pub fn lt(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Lt(operand.into().into_value()))
    }

    /// Less than the operand or equal to it.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().le(3), 3));
    /// ```
    pub fn le(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Le(operand.into().into_value()))
    }

    /// Greater than the operand.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().gt(3), 4));
    /// assert!(!holds(Post::rating().gt(3), 3));
    /// ```
    pub fn gt(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Gt(operand.into().into_value()))
    }

    /// Greater than the operand or equal to it.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().ge(3), 3));
    /// ```
    pub fn ge(self, operand: impl Into<Operand<T::Base>>) -> TypedPredicate<M> {
        self.compare(Op::Ge(operand.into().into_value()))
    }

    /// Between two bounds, both included.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::rating().between(3, 5), 5));
    /// assert!(!holds(Post::rating().between(3, 5), 6));
    /// ```
    pub fn between(
        self,
        low: impl Into<Operand<T::Base>>,
        high: impl Into<Operand<T::Base>>,
    ) -> TypedPredicate<M> {
        self.compare(Op::Between(low.into().into_value(), high.into().into_value()))
    }
}

impl<M, T: FieldValue<Base: Textual>> Field<M, T> {
    /// Begins with the text; case-sensitive.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::title().begins_with("Re"), "Reef"));
    /// assert!(!holds(Post::title().begins_with("re"), "Reef"));
    /// ```
    pub fn begins_with(self, prefix: impl Into<String>) -> TypedPredicate<M> {
        self.compare(Op::BeginsWith(prefix.into()))
    }
}

impl<M, T: FieldValue<Base: Containing>> Field<M, T> {
    /// Has the text as a part, or the element; case-sensitive.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
    /// # impl Post { fn tags() -> Field<Self, Vec<String>> { Field::new("tags") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::title().contains("ee"), "Reef"));
    /// assert!(holds(Post::tags().contains("sea"), vec!["sea", "tide"]));
    /// ```
    pub fn contains(self, part: impl Into<Operand<<T::Base as Containing>::Part>>) -> TypedPredicate<M> {
        self.compare(Op::Contains(part.into().into_value()))
    }

    /// Lacks the text or the element; a missing value is not selected.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, Value};
    /// # struct Post;
    /// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
    /// # fn holds(predicate: landfall_core::TypedPredicate<Post>, value: impl Into<Value>) -> bool {
    /// #     let Predicate::Field(_, op) = predicate.into_predicate() else { return false };
    /// #     op.test(&value.into().as_ref()) == Some(true)
    /// # }
    /// assert!(holds(Post::title().not_contains("sea"), "Reef"));
    /// assert!(!holds(Post::title().not_contains("sea"), Value::Null));
    /// ```
    pub fn not_contains(self, part: impl Into<Operand<<T::Base as Containing>::Part>>) -> TypedPredicate<M> {
        self.compare(Op::NotContains(part.into().into_value()))
    }
}

impl<M, T> Clone for Field<M, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, T> Copy for Field<M, T> {}

impl<M, T> fmt::Debug for Field<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name)
    }
}

/// A condition on the fields of model `M`.
///
/// ```
/// # use landfall_core::{Field, Predicate};
/// # struct Post;
/// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
/// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
/// let good = Post::rating().gt(3).or(Post::title().begins_with("Re"));
/// let bad = !good.clone();
/// assert_ne!(good, bad);
/// assert_eq!(bad.into_predicate(), Predicate::Not(Box::new(good.into_predicate())));
/// ```
pub struct TypedPredicate<M> {
    predicate: Predicate,
    model: PhantomData<fn() -> M>,
}

impl<M> TypedPredicate<M> {
    fn new(predicate: Predicate) -> Self {
        Self {
            predicate,
            model: PhantomData,
        }
    }

    /// Gives a predicate its model.
    pub(super) fn of(predicate: Predicate) -> Self {
        Self::new(predicate)
    }

    /// Every record (Amplify's `Predicates.ALL`).
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate, TypedPredicate};
    /// # struct Post;
    /// assert_eq!(TypedPredicate::<Post>::all().into_predicate(), Predicate::All);
    /// ```
    pub fn all() -> Self {
        Self::new(Predicate::All)
    }

    /// Both hold.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
    /// let good = Post::rating().gt(3).and(Post::title().begins_with("R"));
    /// assert!(matches!(good.as_predicate(), Predicate::And(both) if both.len() == 2));
    /// ```
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(self.predicate.and(other.predicate))
    }

    /// At least one holds.
    ///
    /// ```
    /// # use landfall_core::{Field, Predicate};
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// let either = Post::rating().gt(3).or(Post::rating().is_null());
    /// assert!(matches!(either.as_predicate(), Predicate::Or(both) if both.len() == 2));
    /// ```
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::new(self.predicate.or(other.predicate))
    }

    /// It does not hold; of a comparison with a missing value neither holds.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// assert_eq!(Post::rating().gt(3).not(), !Post::rating().gt(3));
    /// ```
    #[must_use]
    #[allow(clippy::should_implement_trait)] // `!predicate` works too; chains read better with a method.
    pub fn not(self) -> Self {
        Self::new(Predicate::Not(Box::new(self.predicate)))
    }

    /// The predicate without the model's type.
    pub fn as_predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// Takes the predicate out.
    pub fn into_predicate(self) -> Predicate {
        self.predicate
    }
}

impl<M> std::ops::Not for TypedPredicate<M> {
    type Output = Self;

    fn not(self) -> Self {
        Self::not(self)
    }
}

impl<M> From<TypedPredicate<M>> for Predicate {
    fn from(typed: TypedPredicate<M>) -> Self {
        typed.predicate
    }
}

impl<M> Clone for TypedPredicate<M> {
    fn clone(&self) -> Self {
        Self::new(self.predicate.clone())
    }
}

impl<M> PartialEq for TypedPredicate<M> {
    fn eq(&self, other: &Self) -> bool {
        self.predicate == other.predicate
    }
}

impl<M> fmt::Debug for TypedPredicate<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.predicate.fmt(f)
    }
}

/// An order of the records of model `M`; ties keep the order of identifiers.
///
/// ```
/// # use landfall_core::Field;
/// # struct Post;
/// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
/// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
/// let order = Post::rating().desc().then(Post::title().asc());
/// assert_eq!(order.keys().len(), 2);
/// ```
pub struct TypedSort<M> {
    keys: Vec<Sort>,
    model: PhantomData<fn() -> M>,
}

impl<M> TypedSort<M> {
    /// Gives sort keys their model.
    pub(super) fn of(keys: Vec<Sort>) -> Self {
        Self {
            keys,
            model: PhantomData,
        }
    }

    /// Orders by the other's fields what this one leaves equal.
    ///
    /// ```
    /// # use landfall_core::Field;
    /// # struct Post;
    /// # impl Post { fn rating() -> Field<Self, Option<i32>> { Field::new("rating") } }
    /// # impl Post { fn title() -> Field<Self, String> { Field::new("title") } }
    /// let order = Post::rating().desc().then(Post::title().asc());
    /// assert_eq!(order.into_keys()[1].field, "title");
    /// ```
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// The sort keys, most significant first.
    pub fn keys(&self) -> &[Sort] {
        &self.keys
    }

    /// Takes the sort keys out, most significant first.
    pub fn into_keys(self) -> Vec<Sort> {
        self.keys
    }
}

impl<M> From<TypedSort<M>> for Vec<Sort> {
    fn from(typed: TypedSort<M>) -> Self {
        typed.keys
    }
}

impl<M> Clone for TypedSort<M> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            model: PhantomData,
        }
    }
}

impl<M> PartialEq for TypedSort<M> {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl<M> fmt::Debug for TypedSort<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.fmt(f)
    }
}
