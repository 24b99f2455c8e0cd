//! The typed layer: what generated models implement, and what they offer to those who write queries.
//!
//! Owns [`Model`] and [`NonModel`]; `value.rs` owns the conversion of single values, `field.rs` the typed fields and
//! predicates, `relation.rs` the typed relations, `build.rs` what builders need. Does not generate code
//! (`landfall-codegen` does) and stores nothing.
//!
//! Invariant: values are in slot order, the order of [`ModelDef::stored_fields`].

mod build;
mod field;
mod relation;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use build::{BuildError, BuildFault, BuildFields, IntoField, Pending, default_of};
pub use field::{Field, TypedPredicate, TypedSort};
pub use relation::{BelongsTo, HasMany, HasOne, Related, related};
pub use value::{
    Comparable, Containing, FieldValue, Numeric, Operand, Textual, UnknownEnumValue, ValueFault, take_member,
    take_value,
};

use crate::introspection::from_json as schema_from_json;
use crate::record::{Base, Record, RecordId, RecordKey, SyncMetadata};
use crate::schema::{ModelDef, Schema};
use crate::validate::{InvalidRecord, validate};
use crate::value::Value;

/// A model as a Rust type; implemented by generated code.
pub trait Model: Clone + Send + Sync + Sized + 'static {
    /// Its name in the schema, such as `Post`.
    const NAME: &'static str;

    /// The schema that it belongs to.
    fn schema() -> &'static Arc<Schema>;

    /// The identifier.
    fn record_id(&self) -> RecordId;

    /// The values of all stored fields, in slot order.
    fn to_values(&self) -> Vec<Value>;

    /// The row that it was read from; [`Base::NONE`] if the app made it.
    fn base(&self) -> &Base;

    /// Makes an instance of values in slot order, which are moved and not copied.
    ///
    /// # Errors
    /// The first value that does not fit its field.
    fn from_parts(values: Vec<Value>, sync: Option<SyncMetadata>, base: Base) -> Result<Self, DecodeError>;

    /// What the server says of it, once known.
    fn sync_metadata(&self) -> Option<SyncMetadata>;

    /// Its definition in the schema.
    ///
    /// # Panics
    /// If [`Model::schema`] lacks [`Model::NAME`], which generated code takes from one document.
    fn def() -> &'static Arc<ModelDef> {
        match Self::schema().model(Self::NAME) {
            Some(def) => def,
            None => panic!("the schema of `{}` has no model of that name", Self::NAME),
        }
    }

    /// The identifier across models.
    fn record_key(&self) -> RecordKey {
        RecordKey::new(Self::NAME, self.record_id())
    }

    /// The same record without its type.
    fn to_record(&self) -> Record {
        Record::new(Arc::clone(Self::def()), self.to_values())
            .with_sync(self.sync_metadata())
            .with_base(self.base().clone())
    }

    /// The same record if a save takes its values: builders check theirs, `copy_of` and literals of the struct do not.
    ///
    /// # Errors
    /// Every fault, in the words of the save.
    fn validated(self) -> Result<Self, InvalidRecord> {
        validate(Self::schema(), Self::def(), &mut self.to_values())?;
        Ok(self)
    }

    /// Gives a record its type.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is of another model, or if a value does not fit its field.
    fn from_record(record: Record) -> Result<Self, DecodeError> {
        if record.def().name != Self::NAME {
            let fault = ValueFault::new(
                "a record of this model",
                &format!("one of `{}`", record.def().name),
            );
            return Err(DecodeError {
                model: Self::NAME,
                fault,
            });
        }
        let (values, sync, base) = record.into_parts();
        Self::from_parts(values, sync, base)
    }
}

/// A non-model type as a Rust type; implemented by generated code.
pub trait NonModel: Clone + Sized {
    /// Its name in the schema, such as `Address`.
    const NAME: &'static str;

    /// Its members by their names in the schema.
    fn to_members(&self) -> BTreeMap<String, Value>;

    /// Makes an instance of members by their names in the schema; absent ones are null.
    ///
    /// # Errors
    /// The first member that does not fit its field.
    fn from_members(members: BTreeMap<String, Value>) -> Result<Self, ValueFault>;
}

/// Reads the schema that generated code carries as introspection JSON.
///
/// # Panics
/// If the text is not a schema: somebody edited generated code.
pub fn embedded_schema(text: &str) -> Arc<Schema> {
    let json = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(error) => panic!("the schema in the generated models is not JSON ({error}); generate them again"),
    };
    match schema_from_json(&json) {
        Ok(schema) => Arc::new(schema),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            panic!(
                "the schema in the generated models is unsound, generate them again: {}",
                faults.join("; ")
            )
        }
    }
}

/// A stored value that does not fit the Rust type of its field: the row and the code come from different schemas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{model}` cannot be read: {fault}; generate the models again from the schema of the store")]
pub struct DecodeError {
    /// The model.
    pub model: &'static str,
    /// Where in the record and what is wrong.
    pub fault: ValueFault,
}

#[cfg(test)]
mod tests;
