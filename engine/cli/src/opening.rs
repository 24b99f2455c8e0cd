//! What a person is told when a store does not open with a schema.
//!
//! Owns the help beside the store's own reasons: that unsent changes are safe, and which steps would carry the data over.

use std::path::Path;

use landfall::{DataStore, DataStoreBuilder, Error, Mutation, Schema, StorageError, history};

use crate::schema_change::proposed_steps;

/// Makes a directory that is removed at the end. `or` is what else can be done where none can be made.
///
/// # Errors
/// Why there is none, and what can be done about it.
pub(crate) fn temporary(or: &str) -> miette::Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|error| {
        miette::miette!(
            "no temporary directory: {error}; set TMPDIR to a directory that may be written to{or}"
        )
    })
}

/// Opens a store.
///
/// # Errors
/// What keeps it from opening, with what can be done about it.
pub(crate) async fn open(
    builder: DataStoreBuilder,
    directory: &Path,
    schema: &Schema,
) -> miette::Result<DataStore> {
    builder
        .open()
        .await
        .map_err(|error| explained(&error, directory, schema))
}

/// An error of opening, with what can be done about it.
pub(crate) fn explained(error: &Error, directory: &Path, schema: &Schema) -> miette::Report {
    let is_of_schema = matches!(error, Error::Storage(storage) if matches!(**storage, StorageError::SchemaIncompatible { .. }));
    let Some(stored) = is_of_schema.then(|| Stored::read(directory)).flatten() else {
        return miette::miette!("{error}");
    };
    let unsent = match stored.unsent.len() {
        0 => String::new(),
        1 => "; 1 unsent change is safe".to_owned(),
        count => format!("; {count} unsent changes are safe"),
    };
    let mut help =
        "say what becomes of the data with `landfall migrate` (an app: `DataStoreBuilder::migrate`)"
            .to_owned();
    let steps = proposed_steps(&stored.schema, schema);
    if !steps.is_empty() {
        help += " and steps such as\n  ";
        help += &steps.join("\n  ");
    }
    miette::miette!(help = help, "{error}{unsent}")
}

/// What a store holds, by its own schema.
pub(crate) struct Stored {
    /// Its schema.
    pub(crate) schema: Schema,
    /// Changes that the server does not have.
    pub(crate) unsent: Vec<Mutation>,
}

impl Stored {
    /// Reads a store that nobody has open, without changing it; `None` if it cannot be read so.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let history = history::open_for_inspection(directory).ok()?;
        let (_, newest) = history.bounds();
        Some(Self {
            schema: Schema::clone(history.schema()?),
            unsent: history.pending(newest).ok()?,
        })
    }
}
