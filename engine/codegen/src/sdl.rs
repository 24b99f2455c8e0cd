//! From GraphQL SDL with Amplify's directives to a [`Schema`].
//!
//! Owns [`parse_sdl`] and the order of the steps. Each step reports its own faults with a place in the source and goes
//! on, so that one run shows all of them.
//!
//! Invariants: 1. stored fields are in AppSync's order: declared ones, timestamps, implicit foreign keys, except that an
//! implicit `id` comes first; 2. implicit names are Amplify's with custom primary keys respected.

mod api;
mod auth;
mod directives;
mod document;
mod fields;
mod keys;
mod legacy;
mod many_to_many;
mod prelude;
mod relations;
mod syntax;
mod validate;

use std::collections::BTreeMap;

use apollo_compiler::Node;
use apollo_compiler::ast::{Directive, FieldDefinition};
use apollo_compiler::parser::SourceSpan;
use indexmap::IndexMap;
use landfall_core::{
    EnumDef, FieldDef, FieldName, KeyDef, ModelParts, NonModelDef, Schema, SchemaParts, Timestamps,
};

use crate::diagnostics::{Faults, SdlErrors};
use crate::naming;
pub(crate) use document::parser;
use document::{Declarations, TypeNode};

/// Directives that make a field a relation.
const RELATION_DIRECTIVES: [&str; 5] = ["hasOne", "hasMany", "belongsTo", "manyToMany", "connection"];

/// Reads a schema from SDL; `name` is what faults call the source, such as `schema.graphql`.
///
/// Understands the directives of Amplify's second generation and `@key` and `@connection` of the first. `@versioned` is
/// passed over: every record has `_version`. Names of operations that `@model` changes are kept for servers
/// ([`landfall_core::ModelApi`]); clients build the default ones, as Amplify's own do.
///
/// # Errors
/// Every fault found, with its place in the source and what to change.
pub fn parse_sdl(name: &str, source: &str) -> Result<Schema, SdlErrors> {
    let mut faults = Faults::new(name, source);
    let Some(declarations) = document::declarations(name, source, &mut faults) else {
        return Err(faults.into_errors());
    };
    directives::check(&declarations, &mut faults);
    let parts = Builder {
        declarations: &declarations,
        models: IndexMap::new(),
        faults: &mut faults,
    }
    .build();
    if faults.is_empty() {
        validate::check(&declarations, &mut faults);
    }
    if !faults.is_empty() {
        return Err(faults.into_errors());
    }
    match Schema::build(parts) {
        Ok(schema) => Ok(schema),
        Err(errors) => {
            for error in errors {
                let place = validate::place_of(&error, &declarations);
                faults.at(place, error.to_string(), validate::label_of(&error));
            }
            Err(faults.into_errors())
        }
    }
}

/// What the steps work on.
struct Builder<'a> {
    declarations: &'a Declarations,
    models: IndexMap<String, ModelParts>,
    faults: &'a mut Faults,
}

/// A relation directive with what it stands on.
#[derive(Clone, Copy)]
struct RelationSite<'a> {
    /// Name of the model that has the field.
    model: &'a str,
    field: &'a Node<FieldDefinition>,
    directive: &'a Node<Directive>,
    /// Name of the other model.
    other: &'a str,
}

impl RelationSite<'_> {
    fn place(&self) -> Option<SourceSpan> {
        self.directive.location()
    }
}

impl<'a> Builder<'a> {
    fn build(mut self) -> SchemaParts {
        let declarations = self.declarations;
        let enums = declarations.enums.values().map(|node| EnumDef {
            name: node.name.to_string(),
            values: node.values.iter().map(|value| value.value.to_string()).collect(),
        });
        let mut non_models = Vec::new();
        let mut apis = BTreeMap::new();
        for node in declarations.objects.values() {
            if node.is_model() {
                let parts = self.model(node);
                self.models.insert(node.name.to_string(), parts);
                let api = self.api(node);
                if !api.is_default() {
                    apis.insert(node.name.as_str().into(), api);
                }
            } else {
                auth::check_placement(node, self.faults);
                let fields = self.fields(node);
                let fields = fields
                    .into_iter()
                    .map(|field| (field.name.clone(), field))
                    .collect();
                non_models.push(NonModelDef {
                    name: node.name.to_string(),
                    fields,
                });
            }
        }
        fields::check_containment(declarations, &non_models, self.faults);
        self.check_query_fields();
        self.many_to_many();
        self.relations();
        SchemaParts {
            enums: enums.collect(),
            models: self.models.into_values().collect(),
            non_models,
            apis,
        }
    }

    /// The model without its relations: declared fields, key, timestamps, indexes.
    fn model(&mut self, node: &TypeNode) -> ModelParts {
        let mut parts = ModelParts {
            name: node.name.as_str().into(),
            plural_name: naming::plural(&node.name),
            syncable: true,
            fields: self.fields(node),
            key: KeyDef::of_fields(vec!["id".into()], false),
            indexes: Vec::new(),
            timestamps: Timestamps::default(),
            auth: Vec::new(),
        };
        self.primary_key(node, &mut parts);
        self.timestamps(node, &mut parts);
        self.indexes(node, &mut parts);
        for directive in node
            .directives
            .iter()
            .filter(|directive| directive.name == "auth")
        {
            parts.auth.extend(auth::rules(directive, self.faults));
        }
        for field in &node.fields {
            for directive in field
                .directives
                .iter()
                .filter(|directive| directive.name == "auth")
            {
                parts
                    .auth
                    .extend(auth::field_rules(directive, &field.name, self.faults));
            }
        }
        parts
    }

    fn fields(&mut self, node: &TypeNode) -> Vec<FieldDef> {
        let declarations = self.declarations;
        node.fields
            .iter()
            .filter_map(|field| fields::field(declarations, node, field, self.faults))
            .collect()
    }

    /// Adds a field that the schema implies, unless the model has one of that name.
    fn imply(&mut self, model: &str, field: FieldDef) {
        if let Some(parts) = self.models.get_mut(model)
            && !parts.fields.iter().any(|known| known.name == field.name)
        {
            parts.fields.push(field);
        }
    }

    /// The key fields of a model, as far as it has them.
    fn key_of(&self, model: &str) -> Vec<FieldDef> {
        let Some(parts) = self.models.get(model) else {
            return Vec::new();
        };
        parts
            .key
            .fields
            .iter()
            .filter_map(|name| find(parts, name).cloned())
            .collect()
    }
}

fn find<'p>(parts: &'p ModelParts, name: &str) -> Option<&'p FieldDef> {
    parts.fields.iter().find(|field| field.name == *name)
}

fn field_names(fields: &[FieldDef]) -> Vec<FieldName> {
    fields.iter().map(|field| field.name.clone()).collect()
}

#[cfg(test)]
mod tests;
