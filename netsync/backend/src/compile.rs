//! From a schema of models to the GraphQL schema that AppSync would make of it.
//!
//! Owns [`CompiledSchema`]: the text, its validated form, and what every root field does. Does not execute.
//!
//! Invariant: every field of the root types has an entry in `roots`.

mod inputs;
mod names;
mod operations;
mod plan;
mod roots;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use apollo_compiler::validation::Valid;
use indexmap::IndexMap;
use landfall_core::{ModelName, Schema};

use crate::error::BackendError;

pub(crate) use inputs::{made_by_server, sort_argument_name};
pub(crate) use plan::{IndexPlan, KeyPlan, ModelPlan, RelationPlan};
pub(crate) use roots::RootField;

/// Plans of the models that sync, in declaration order.
pub(crate) type Models = IndexMap<ModelName, Arc<ModelPlan>>;

/// A schema ready to be served.
#[derive(Debug)]
pub struct CompiledSchema {
    core: Arc<Schema>,
    text: String,
    graphql: Valid<apollo_compiler::Schema>,
    models: Models,
    roots: BTreeMap<String, RootField>,
}

impl CompiledSchema {
    /// Compiles the models that sync.
    ///
    /// # Errors
    /// [`BackendError::Schema`] if names collide, or if no model syncs; [`BackendError::Rules`] if rules cannot be applied.
    pub fn compile(core: Arc<Schema>) -> Result<Self, BackendError> {
        let mut compiled = Self {
            models: ModelPlan::all(&core)?,
            core,
            text: String::new(),
            graphql: Valid::assume_valid(apollo_compiler::Schema::new()),
            roots: BTreeMap::new(),
        };
        let mut text = String::new();
        types::write_prelude(&mut text);
        types::write_enums(&mut text, &compiled.core);
        types::write_non_models(&mut text, &compiled.core);
        for plan in compiled.models.values() {
            types::write_model(&mut text, &compiled.models, plan);
        }
        inputs::write_shared(&mut text, &compiled.core, &compiled.models);
        for plan in compiled.models.values() {
            inputs::write_model(&mut text, &compiled.models, plan);
        }
        let collisions = roots::write(&mut text, &mut compiled);
        if !collisions.is_empty() {
            let faults = format!("several root fields are named {}", collisions.join(", "));
            return Err(BackendError::Schema { faults });
        }
        if !compiled.roots.values().any(RootField::is_query) {
            let faults = "no model has a query; leave one switched on".to_owned();
            return Err(BackendError::Schema { faults });
        }
        compiled.graphql =
            apollo_compiler::Schema::parse_and_validate(&text, "schema.graphql").map_err(|faults| {
                BackendError::Schema {
                    faults: faults.errors.to_string(),
                }
            })?;
        compiled.text = text;
        Ok(compiled)
    }

    /// The schema in GraphQL's own language, as AppSync would show it.
    pub fn graphql_text(&self) -> &str {
        &self.text
    }

    /// The models it was compiled from.
    pub fn models(&self) -> &Arc<Schema> {
        &self.core
    }

    pub(crate) fn graphql(&self) -> &Valid<apollo_compiler::Schema> {
        &self.graphql
    }

    /// What a root field does; names are unique across queries, mutations and subscriptions.
    pub(crate) fn root(&self, field: &str) -> Option<&RootField> {
        self.roots.get(field)
    }

    /// The plan of a model.
    ///
    /// # Panics
    /// If the model does not sync; names inside the backend come from the schema itself.
    pub(crate) fn model(&self, name: &str) -> &Arc<ModelPlan> {
        self.models
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` is not a model of the served schema"))
    }

    /// The plan of a model that may be unknown.
    pub(crate) fn find_model(&self, name: &str) -> Option<&Arc<ModelPlan>> {
        self.models.get(name)
    }

    /// The plans of all models, in declaration order.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Arc<ModelPlan>> {
        self.models.values()
    }
}

#[cfg(test)]
mod tests;
