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
    let bytes = std::fs::read(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the schema {}", path.display()))?;
    let source =
        text(bytes).map_err(|fault| miette::miette!("cannot read the schema {}: {fault}", path.display()))?;
    let schema = parse(&path.display().to_string(), &source)?;
    let implied = landfall_codegen::implied_keys(&source, &schema);
    Ok((schema, implied))
}

/// The text of a file, or where it stops being one.
fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        format!("line {line} is no text in UTF-8; save the file in that encoding")
    })
}

/// Parses a schema of that name.
///
/// # Errors
/// If it is faulty.
pub(crate) fn parse(name: &str, source: &str) -> miette::Result<Schema> {
    landfall_codegen::parse_schema(name, source).map_err(|errors| miette::miette!("{errors}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_another_encoding_is_told_by_its_line() {
        let fault = text(b"type Post @model {\n  # f\xfcr\n}".to_vec()).unwrap_err();
        assert!(fault.starts_with("line 2 is no text in UTF-8"), "{fault}");
        assert_eq!(text(b"# plain".to_vec()).as_deref(), Ok("# plain"));
    }
}
