//! Which records of a model sync: the sync expression, put to a record as the server sends it.
//!
//! Owns [`Scope`]. Pure. What becomes of a record that is not covered is the storage's business.
//!
//! A server's filter may let more through than the expression says, so every record is tested again here. A tombstone
//! is covered always, since what is deleted must go wherever it is.

use std::cell::Cell;

use landfall_core::{
    BoundPredicate, FieldMap, FieldSource, ModelDef, Predicate, PredicateError, RemoteRecord, Slot, Value,
    ValueRef,
};

/// The records of a model that sync.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    expression: Option<BoundPredicate>,
}

/// Whether a record is one of those that sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// It is, or it is a tombstone.
    Covered,
    /// It is not.
    Outside,
    /// The expression asks for a field that the record lacks; a missing field is not null.
    Open,
}

impl Scope {
    /// The scope of an expression; without one everything syncs.
    ///
    /// # Errors
    /// [`PredicateError`] if the expression does not fit the model.
    pub(crate) fn new(def: &ModelDef, expression: Option<&Predicate>) -> Result<Self, PredicateError> {
        let expression = expression.map(|expression| expression.bind(def)).transpose()?;
        Ok(Self { expression })
    }

    /// The expression; without one everything syncs.
    pub(crate) fn expression(&self) -> Option<&BoundPredicate> {
        self.expression.as_ref()
    }

    /// Whether the record is one of those that sync.
    pub(crate) fn coverage(&self, def: &ModelDef, record: &RemoteRecord) -> Coverage {
        let Some(expression) = self.expression.as_ref().filter(|_| !record.sync.deleted) else {
            return Coverage::Covered;
        };
        let fields = Fields {
            def,
            fields: &record.fields,
            missed: Cell::new(false),
        };
        let matches = expression.matches(&fields);
        match (fields.missed.get(), matches) {
            (true, _) => Coverage::Open,
            (false, true) => Coverage::Covered,
            (false, false) => Coverage::Outside,
        }
    }
}

/// The fields of a record as an expression reads them, and whether it looked for one that is not there.
struct Fields<'a> {
    def: &'a ModelDef,
    fields: &'a FieldMap,
    missed: Cell<bool>,
}

impl FieldSource for Fields<'_> {
    fn value_at(&self, slot: Slot) -> ValueRef<'_> {
        match self.fields.get(&self.def.stored_field(slot).name) {
            Some(value) => Value::as_ref(value),
            None => {
                self.missed.set(true);
                ValueRef::Null
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::{FieldName, Op, RecordId, RecordVersion, Schema, SyncMetadata};

    use super::*;
    use crate::subscription::high_ratings_of_posts;

    #[test]
    fn null_is_outside_a_missing_field_leaves_it_open_and_a_tombstone_is_always_covered() {
        let (schema, expression): (std::sync::Arc<Schema>, Predicate) = high_ratings_of_posts();
        let def = schema.model("Post").expect("it has posts");
        let scope = Scope::new(def, Some(&expression)).expect("it fits");
        let coverage = |rating: Option<Value>, deleted| {
            let fields = rating
                .into_iter()
                .map(|rating| (FieldName::from("rating"), rating))
                .collect();
            let sync = SyncMetadata {
                version: RecordVersion(1),
                last_changed_at_ms: 1,
                deleted,
            };
            let id = RecordId::text("a");
            scope.coverage(def, &RemoteRecord { id, fields, sync })
        };
        assert_eq!(coverage(Some(Value::Int(4)), false), Coverage::Covered);
        assert_eq!(coverage(Some(Value::Int(3)), false), Coverage::Outside);
        assert_eq!(coverage(Some(Value::Null), false), Coverage::Outside);
        assert_eq!(coverage(Some(Value::Int(3)), true), Coverage::Covered);
        assert_eq!(coverage(None, false), Coverage::Open);
        let bad = Predicate::field("colour", Op::Eq(Value::Int(3)));
        assert!(Scope::new(def, Some(&bad)).is_err());
    }
}
