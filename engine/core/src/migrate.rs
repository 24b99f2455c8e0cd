//! Migrations: what an app says of a schema change that would otherwise lose data.
//!
//! Owns [`Migration`] and its steps. What a step does to a value, a record, a waiting mutation or a log entry is
//! `migrate/carrier.rs`, standard conversions are `migrate/convert.rs`; carrying it out on disk is `landfall-storage`.
//!
//! Invariant: every step is a function of single fields. So it means the same for a whole record, for the changed
//! fields of a waiting mutation and for an old log entry, and a log that was carried over gives the records that were
//! carried over.

mod carrier;
mod convert;

use std::fmt;
use std::sync::Arc;

pub use carrier::{Carrier, CarryFault};

use crate::names::{FieldName, ModelName};
use crate::value::Value;

/// A conversion of one value into another; the error says why it cannot be.
pub type Converter = Arc<dyn Fn(&Value) -> Result<Value, String> + Send + Sync>;

/// Steps that lead from one schema to the next, under a name.
///
/// An app keeps all migrations that it ever had, oldest first. A store remembers the names of those that it went
/// through, and goes through the others when it is opened with a schema that its data does not fit. One that only converts
/// values by closures is gone through whether the data fits or not.
///
/// ```
/// use landfall_core::{Migration, Value};
///
/// let migration = Migration::named("stars become ratings")
///     .rename_model("Article", "Post")
///     .rename_field("Post", "stars", "rating")
///     .convert("Post", "rating", |stars| match stars {
///         Value::String(text) => Ok(Value::Int(text.matches('*').count() as i64)),
///         other => Err(format!("{other} has no stars")),
///     })
///     .remove_field("Post", "draft")
///     .fill("Post", "language", "en");
/// assert_eq!(migration.steps().len(), 5);
/// ```
#[derive(Clone, Debug)]
pub struct Migration {
    name: String,
    steps: Vec<MigrationStep>,
}

/// One step of a migration. Names are those that the steps before it have led to.
#[derive(Clone)]
#[non_exhaustive]
pub enum MigrationStep {
    /// A model has another name.
    RenameModel {
        /// The old name.
        from: ModelName,
        /// The new name.
        to: ModelName,
    },
    /// A model and its records go.
    RemoveModel {
        /// The model.
        model: ModelName,
    },
    /// A field has another name.
    RenameField {
        /// The model.
        model: ModelName,
        /// The old name.
        from: FieldName,
        /// The new name.
        to: FieldName,
    },
    /// A field and its values go.
    RemoveField {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
    },
    /// A field has another type.
    Convert {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// How values that are not null are converted; by the types alone if nothing is said.
        with: Option<Converter>,
    },
    /// A field that is required from now on has this value where it has none.
    Fill {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// The value.
        value: Value,
    },
}

impl fmt::Display for MigrationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RenameModel { from, to } => write!(f, "rename model `{from}` to `{to}`"),
            Self::RemoveModel { model } => write!(f, "remove model `{model}`"),
            Self::RenameField { model, from, to } => write!(f, "rename `{model}.{from}` to `{to}`"),
            Self::RemoveField { model, field } => write!(f, "remove `{model}.{field}`"),
            Self::Convert { model, field, .. } => write!(f, "convert `{model}.{field}`"),
            Self::Fill { model, field, value } => write!(f, "fill `{model}.{field}` with {value}"),
        }
    }
}

impl fmt::Debug for MigrationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A step that does not fit the schema that it is meant to start from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the migration {migration:?} does not fit the stored data: {step}: {reason}")]
pub struct MigrationMisfit {
    /// The migration.
    pub migration: String,
    /// The step in words.
    pub step: String,
    /// Why it does not fit.
    pub reason: String,
}

impl Migration {
    /// A migration without steps. The name tells it from others for good, so it must not change later.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            steps: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its steps, in order.
    pub fn steps(&self) -> &[MigrationStep] {
        &self.steps
    }

    /// Whether all it does is to convert values by closures, which leaves the schema as it is; false without steps. A store
    /// whose data fits the schema goes through such a migration as well, and through no other.
    pub fn converts_values_only(&self) -> bool {
        let converts = |step: &MigrationStep| matches!(step, MigrationStep::Convert { with: Some(_), .. });
        !self.steps.is_empty() && self.steps.iter().all(converts)
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: MigrationStep) -> Self {
        self.steps.push(step);
        self
    }

    /// A model has another name.
    #[must_use]
    pub fn rename_model(self, from: impl Into<ModelName>, to: impl Into<ModelName>) -> Self {
        self.step(MigrationStep::RenameModel {
            from: from.into(),
            to: to.into(),
        })
    }

    /// A model and its records go. Refused while changes of it wait for the server.
    #[must_use]
    pub fn remove_model(self, model: impl Into<ModelName>) -> Self {
        self.step(MigrationStep::RemoveModel { model: model.into() })
    }

    /// A field has another name.
    #[must_use]
    pub fn rename_field(
        self,
        model: impl Into<ModelName>,
        from: impl Into<FieldName>,
        to: impl Into<FieldName>,
    ) -> Self {
        self.step(MigrationStep::RenameField {
            model: model.into(),
            from: from.into(),
            to: to.into(),
        })
    }

    /// A field and its values go.
    #[must_use]
    pub fn remove_field(self, model: impl Into<ModelName>, field: impl Into<FieldName>) -> Self {
        self.step(MigrationStep::RemoveField {
            model: model.into(),
            field: field.into(),
        })
    }

    /// A field has another type, and this makes values of the new type out of those of the old one.
    ///
    /// It is asked for every value of the field, also in changes that wait for the server and in the log, but not for
    /// nulls. The same value must always give the same result.
    #[must_use]
    pub fn convert(
        self,
        model: impl Into<ModelName>,
        field: impl Into<FieldName>,
        with: impl Fn(&Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.step(MigrationStep::Convert {
            model: model.into(),
            field: field.into(),
            with: Some(Arc::new(with)),
        })
    }

    /// A field has another type, and its values are converted as their types suggest: numbers into each other and
    /// from and to text, single values into lists of one.
    #[must_use]
    pub fn retype(self, model: impl Into<ModelName>, field: impl Into<FieldName>) -> Self {
        self.step(MigrationStep::Convert {
            model: model.into(),
            field: field.into(),
            with: None,
        })
    }

    /// A field that is required from now on has this value where it has none.
    #[must_use]
    pub fn fill(
        self,
        model: impl Into<ModelName>,
        field: impl Into<FieldName>,
        value: impl Into<Value>,
    ) -> Self {
        self.step(MigrationStep::Fill {
            model: model.into(),
            field: field.into(),
            value: value.into(),
        })
    }
}

#[cfg(test)]
mod tests;
