//! Validation of the whole document by GraphQL's own rules, and places for the faults that a built schema reports.
//!
//! Owns the last look: the steps before have reported what they know of with better words, so that what is found here
//! is rare.

use apollo_compiler::Schema as GraphqlSchema;
use apollo_compiler::ast::Document;
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::SourceSpan;
use landfall_core::SchemaError;

use super::document::{Declarations, is_prelude_redefinition};
use super::prelude::prelude;
use crate::diagnostics::Faults;

/// A root type for schemas of models, which have none of their own.
const QUERY: &str = "type Query { landfall: Boolean }";

/// Validates the document together with Amplify's definitions.
pub(super) fn check(declarations: &Declarations, faults: &mut Faults) {
    let mut document = declarations.document.clone();
    document
        .definitions
        .retain(|definition| !is_prelude_redefinition(definition));
    let has_query = document.definitions.iter().any(|definition| {
        definition.as_schema_definition().is_some() || definition.name().is_some_and(|n| n == "Query")
    });
    let mut builder = GraphqlSchema::builder()
        .add_ast(&prelude().document)
        .add_ast(&document);
    if !has_query && let Ok(query) = Document::parse(QUERY, "query.graphql") {
        builder = builder.add_ast(&query);
    }
    let errors = match builder.build() {
        Ok(schema) => match schema.validate() {
            Ok(_) => return,
            Err(invalid) => invalid.errors,
        },
        Err(invalid) => invalid.errors,
    };
    for error in errors.iter() {
        let message = error.error.to_string();
        let label = label_of_graphql(&message);
        faults.at(error.error.location(), message, label);
    }
}

/// What to change about an error of GraphQL's own rules, as far as those of the steps before leave some.
fn label_of_graphql(message: &str) -> &'static str {
    // Without braces; empty ones are a slip that the parser meets.
    if message.ends_with("has no fields") {
        "write them in braces after it, such as `{ title: String }`"
    } else if message.ends_with("has no enum values") {
        "write them in braces after it, such as `{ ACTIVE }`"
    } else {
        "GraphQL does not allow this"
    }
}

/// What to change about an error of the whole schema.
pub(super) fn label_of(error: &SchemaError) -> &'static str {
    match error {
        SchemaError::NoModels => "add @model to the types whose records are to be stored",
        SchemaError::DuplicateField { .. } => "rename the field, or what implies the other one",
        SchemaError::TooManyFields { .. } => "move some of the fields to a model of their own",
        _ => "change what the message names",
    }
}

/// Where the type or field that an error speaks of is declared.
pub(super) fn place_of(error: &SchemaError, declarations: &Declarations) -> Option<SourceSpan> {
    let (owner, field) = match error {
        SchemaError::NoModels => (declarations.objects.keys().next()?.as_str(), None),
        SchemaError::DuplicateType { name } => (name.as_str(), None),
        SchemaError::DuplicateField { owner, field } | SchemaError::UnknownType { owner, field, .. } => {
            (owner.as_str(), Some(field))
        }
        SchemaError::UnknownField { model, field, .. }
        | SchemaError::BadKeyField { model, field }
        | SchemaError::MissingAssociation { model, field, .. }
        | SchemaError::ForeignKeyLength { model, field, .. } => (model.as_str(), Some(field)),
        SchemaError::TooManyFields { model, .. } => (model.as_str(), None),
        _ => return None,
    };
    let node = declarations.objects.get(owner)?;
    let field = field
        .and_then(|name| node.field(name))
        .and_then(|field| field.name.location());
    field.or_else(|| node.name.location())
}
