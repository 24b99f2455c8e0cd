//! Reading a schema file, with diagnostics that point into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use landfall_core::{FieldName, ModelName, Schema};
use miette::{IntoDiagnostic, WrapErr};

/// Reads GraphQL SDL or model-introspection JSON.
///
/// # Errors
/// If the file cannot be read or is faulty; each fault with its line and column.
pub(crate) fn read(path: &Path) -> miette::Result<Schema> {
    read_with_implied(path).map(|(schema, _)| schema)
}

/// The same, with the foreign keys of each model that its relations imply and the file does not write.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_with_implied(
    path: &Path,
) -> miette::Result<(Schema, BTreeMap<ModelName, BTreeSet<FieldName>>)> {
    let source = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the schema {}", path.display()))?;
    let schema = parse(&path.display().to_string(), &source)?;
    let implied = landfall_codegen::implied_keys(&source, &schema);
    Ok((schema, implied))
}

/// Parses a schema of that name.
///
/// # Errors
/// If it is faulty.
pub(crate) fn parse(name: &str, source: &str) -> miette::Result<Schema> {
    landfall_codegen::parse_schema(name, source).map_err(|errors| miette::miette!("{errors}"))
}
