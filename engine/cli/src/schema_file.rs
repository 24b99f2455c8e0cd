//! Reading a schema file, with diagnostics that point into it.

use std::path::Path;

use landfall_core::Schema;
use miette::{IntoDiagnostic, WrapErr};

/// Reads GraphQL SDL or model-introspection JSON.
///
/// # Errors
/// If the file cannot be read or is faulty; each fault with its line and column.
pub(crate) fn read(path: &Path) -> miette::Result<Schema> {
    let source = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the schema {}", path.display()))?;
    parse(&path.display().to_string(), &source)
}

/// Parses a schema of that name.
///
/// # Errors
/// If it is faulty.
pub(crate) fn parse(name: &str, source: &str) -> miette::Result<Schema> {
    landfall_codegen::parse_schema(name, source).map_err(|errors| miette::miette!("{errors}"))
}
