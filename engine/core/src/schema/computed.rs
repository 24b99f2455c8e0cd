//! Fields that an app computes from a record whenever they are read.
//!
//! Owns [`ComputedField`], its place in a schema, and [`Computable`], the Rust types that one can have. What may compare
//! one is decided in `predicate.rs`: queries and observers, but nothing that a server checks as well.
//!
//! Invariants: 1. a computed field is neither stored, indexed, logged nor sent, and is no part of the fingerprint of a
//! schema;
//! 2. its value depends on the record's stored fields alone, which is the app's promise.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{FieldDef, FieldType, ModelDef, Schema, Slot};
use crate::model::FieldValue;
use crate::names::{FieldName, ModelName};
use crate::predicate::{FieldSource, PredicateError, unknown_field};
use crate::scalar::Scalar;
use crate::value::Value;

/// Computes a field from the values of a record's stored fields, in slot order.
pub type Compute = Arc<dyn Fn(Vec<Value>) -> Value + Send + Sync>;

/// A field that is computed and not stored.
#[derive(Clone)]
pub struct ComputedField {
    def: FieldDef,
    /// Number of the stored fields that it may depend on: all of the model.
    stored_len: usize,
    compute: Compute,
}

/// A computed field that a schema cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{model}.{field}` cannot be a computed field: {reason}")]
pub struct ComputedMisfit {
    /// The model.
    pub model: ModelName,
    /// The field.
    pub field: FieldName,
    /// Why not.
    pub reason: String,
}

/// A Rust type that a computed field can have.
pub trait Computable: FieldValue {
    /// The GraphQL type by which it is compared.
    const SCALAR: Scalar;
}

impl Computable for bool {
    const SCALAR: Scalar = Scalar::Boolean;
}

impl Computable for i32 {
    const SCALAR: Scalar = Scalar::Int;
}

impl Computable for f64 {
    const SCALAR: Scalar = Scalar::Float;
}

impl Computable for String {
    const SCALAR: Scalar = Scalar::String;
}

impl<T: Computable> Computable for Option<T> {
    const SCALAR: Scalar = T::SCALAR;
}

impl ComputedField {
    /// Its name and its type, as those of a stored field that need not be there.
    pub fn def(&self) -> &FieldDef {
        &self.def
    }

    /// The slots that its value may depend on.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..=u16::MAX).map(Slot).take(self.stored_len)
    }

    /// Its value for a record.
    ///
    /// Null if the app's function yields what is not of the field's type, or panics: what it does is not to pass for
    /// damage of the record.
    pub fn value<S: FieldSource + ?Sized>(&self, source: &S) -> Value {
        let values = self
            .slots()
            .map(|slot| source.value_at(slot).to_value())
            .collect();
        let value = catch_unwind(AssertUnwindSafe(|| (self.compute)(values))).unwrap_or_default();
        let fits = matches!(&self.def.ty, FieldType::Scalar(scalar) if scalar.check(&value).is_ok());
        if fits { value } else { Value::Null }
    }
}

impl fmt::Debug for ComputedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.def.name, self.def)
    }
}

impl PartialEq for ComputedField {
    /// Functions cannot be compared; those of one name in one model are taken to be the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.def, self.stored_len) == (&other.def, other.stored_len)
    }
}

impl ModelDef {
    /// The computed field of that name, which is asked for by it.
    ///
    /// # Errors
    /// [`PredicateError::UnknownField`] if there is none.
    pub fn require_computed(&self, name: &FieldName) -> Result<&Arc<ComputedField>, PredicateError> {
        self.computed(name).ok_or_else(|| unknown_field(self, name))
    }

    /// The computed field of that name.
    pub fn computed(&self, name: &str) -> Option<&Arc<ComputedField>> {
        self.computed.iter().find(|field| field.def.name == name)
    }
}

impl Schema {
    /// The same schema with a field more that is computed.
    ///
    /// # Errors
    /// If there is no such model, if it has a field of that name already, or if that is no name of a field.
    pub fn with_computed(
        &self,
        model: &ModelName,
        field: &FieldName,
        scalar: Scalar,
        compute: Compute,
    ) -> Result<Self, ComputedMisfit> {
        let misfit = |reason: String| ComputedMisfit {
            model: model.clone(),
            field: field.clone(),
            reason,
        };
        let mut schema = self.clone();
        let Some(def) = schema.models.get_mut(model) else {
            let known: Vec<&str> = self.models().map(|def| def.name.as_str()).collect();
            return Err(misfit(format!(
                "there is no model `{model}`, only {}",
                known.join(", ")
            )));
        };
        if def.field(field).is_some() || def.computed(field).is_some() {
            return Err(misfit("the model has a field of that name".to_owned()));
        }
        // A dot would lead to a related record.
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if field.is_empty() || !field.chars().all(is_name) {
            return Err(misfit("names have letters, digits and underscores".to_owned()));
        }
        let def = Arc::make_mut(def);
        let stored_len = def.stored_len();
        def.computed.push(Arc::new(ComputedField {
            def: FieldDef::scalar(field, scalar),
            stored_len,
            compute,
        }));
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predicate::{BoundPredicate, Op, Predicate};
    use crate::sort::{BoundSort, Sort, SortKey};
    use crate::test_support::{blog, row};

    fn of(schema: &Schema, field: &str, compute: Compute) -> Result<Schema, ComputedMisfit> {
        schema.with_computed(&"Todo".into(), &field.into(), Scalar::Int, compute)
    }

    /// The number of letters of the title.
    fn letters() -> Schema {
        let schema = blog();
        let title = schema
            .model("Todo")
            .and_then(|def| def.slot("title"))
            .expect("a slot");
        let compute = move |values: Vec<Value>| match &values[title.index()] {
            Value::String(text) => i64::try_from(text.len()).expect("short").into(),
            _ => Value::Null,
        };
        of(&schema, "letters", Arc::new(compute)).expect("it fits")
    }

    #[test]
    fn queries_compare_it_and_conditions_do_not() {
        let schema = letters();
        let def = schema.model("Todo").expect("there");
        let long = Predicate::field("letters", Op::Gt(3.into()));
        let bound = long.bind_for_query(def).expect("queries take it");
        assert!(matches!(bound, BoundPredicate::Computed(..)));
        assert!(bound.matches(&row(def, "title=abcd")));
        assert!(!bound.matches(&row(def, "title=abc")));
        assert!(!bound.matches(&row(def, "rating=1")), "nothing is unknown");
        let not = Predicate::Not(Box::new(long.clone()))
            .bind_for_query(def)
            .expect("it fits");
        assert!(not.matches(&row(def, "title=abc")) && !not.matches(&row(def, "rating=1")));
        assert_eq!(
            Predicate::All.and(long.clone()).bind(def),
            Err(PredicateError::Computed {
                model: "Todo".into(),
                field: "letters".into()
            })
        );
        let odd = Predicate::field("letters", Op::Eq("x".into())).bind_for_query(def);
        assert!(matches!(odd, Err(PredicateError::BadOperand { .. })), "{odd:?}");
        let unknown = long
            .bind_for_query(blog().model("Todo").expect("there"))
            .expect_err("it is not in this one");
        assert!(matches!(unknown, PredicateError::UnknownField { .. }));
    }

    #[test]
    fn records_are_put_in_its_order() {
        let schema = letters();
        let def = schema.model("Todo").expect("there");
        let keys = [Sort::descending("letters"), Sort::ascending("title")];
        let sort = BoundSort::bind(&keys, def).expect("both are fields");
        assert!(matches!(sort.keys()[0].0, SortKey::Computed(_)));
        let mut rows: Vec<_> = ["title=b", "title=aa", "rating=1", "title=bb", "title=a"]
            .iter()
            .map(|text| row(def, text))
            .collect();
        rows.sort_by(|a, b| sort.compare(a, b));
        let title = def.slot("title").expect("a slot").index();
        let titles: Vec<String> = rows.iter().map(|row| row[title].to_string()).collect();
        assert_eq!(titles, [r#""aa""#, r#""bb""#, r#""a""#, r#""b""#, "null"]);
    }

    #[test]
    fn it_is_no_change_of_the_schema() {
        let (schema, plain) = (letters(), blog());
        assert_eq!(schema.hash(), plain.hash());
        assert_eq!(crate::schema_to_json(&schema), crate::schema_to_json(&plain));
        let def = schema.model("Todo").expect("there");
        assert_eq!((def.slot("letters"), def.field("letters")), (None, None));
    }

    #[test]
    fn what_is_no_value_of_the_field_is_null() {
        let values: [Compute; 3] = [
            Arc::new(|_| "text".into()),
            Arc::new(|_| i64::MAX.into()),
            Arc::new(|_| panic!("the app's own fault")),
        ];
        for compute in values {
            let schema = of(&blog(), "odd", compute).expect("it fits");
            let def = schema.model("Todo").expect("there");
            let value = def.computed("odd").expect("there").value(&row(def, "title=a"));
            assert_eq!(value, Value::Null);
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let none: Compute = Arc::new(|_| Value::Null);
        for name in ["title", "", "blog.name"] {
            let refused = of(&blog(), name, Arc::clone(&none)).map(drop);
            assert!(refused.is_err(), "{name}");
        }
        let twice = of(&letters(), "letters", Arc::clone(&none)).map(drop);
        assert!(twice.is_err_and(|misfit| misfit.to_string().contains("has a field of that name")));
        let nobody = blog().with_computed(&"Nobody".into(), &"x".into(), Scalar::Int, none);
        assert!(nobody.is_err_and(|misfit| misfit.to_string().contains("no model `Nobody`")));
    }
}
