//! Which schema the rows of a directory of tables were made by.
//!
//! Owns the note of it beside the tables, and the refusal to serve them by a schema that hides what they hold: a client
//! that was migrated would still have values that its server says are null.
//!
//! Rows themselves know no schema: they are items as AppSync's tables hold them. A directory of before there were notes is
//! served as it is, and noted.

use std::path::Path;

use landfall::{Schema, schema_from_json, schema_to_json};

use crate::schema_change::{Loss, losses};

/// The note's name, beside the tables.
const NOTE: &str = "served-schema.json";

/// Checks that the schema shows all that the rows were made with.
///
/// # Errors
/// If it does not, and that was not accepted: with all that would be hidden.
pub(super) fn check(directory: &Path, schema: &Schema, accepted: bool) -> miette::Result<()> {
    let Ok(noted) = std::fs::read_to_string(directory.join(NOTE)) else {
        return Ok(());
    };
    let before = serde_json::from_str(&noted).map(|json: serde_json::Value| schema_from_json(&json));
    let Ok(Ok(before)) = before else {
        eprintln!(
            "warning: {NOTE} cannot be read, so nothing is known of the schema that the rows were made by"
        );
        return Ok(());
    };
    let hidden: Vec<String> = losses(&before, schema)
        .iter()
        .filter(|loss| loss.hides_values())
        .map(Loss::to_string)
        .collect();
    if hidden.is_empty() {
        return Ok(());
    }
    let hidden = hidden.join("; ");
    if accepted {
        eprintln!(
            "warning: the rows in {} were made by another schema: {hidden}",
            directory.display()
        );
        return Ok(());
    }
    Err(miette::miette!(
        help = "rows are not carried over by `serve`: keep what went beside what came until every client has sent its \
                values again, serve a directory of its own, or give --accept-schema-change",
        "the rows in {} were made by another schema, and this one does not show all that they hold: {hidden}; nothing was \
         changed",
        directory.display()
    ))
}

/// Notes that rows are made by this schema from here on.
pub(super) fn note(directory: &Path, schema: &Schema) {
    let (path, fresh) = (directory.join(NOTE), directory.join(format!("{NOTE}.new")));
    let written = std::fs::write(&fresh, schema_to_json(schema).to_string())
        .and_then(|()| std::fs::rename(&fresh, &path));
    if let Err(error) = written {
        eprintln!("warning: {} cannot be written: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_hides_is_refused_and_what_it_adds_is_not() {
        let folder = tempfile::tempdir().expect("a directory");
        let schema = |fields: &str| {
            let sdl = format!("type Visit @model {{ title: String! {fields} }}");
            crate::schema_file::parse("s", &sdl).expect("sound")
        };
        let first = schema("notes: String");
        check(folder.path(), &first, false).expect("nothing is known of the rows");
        note(folder.path(), &first);
        check(folder.path(), &schema("notes: String weather: String"), false).expect("it adds");
        let renamed = schema("remarks: String");
        let refused = check(folder.path(), &renamed, false).expect_err("it hides notes");
        assert!(refused.to_string().contains("`Visit.notes` is gone"), "{refused}");
        check(folder.path(), &renamed, true).expect("that was accepted");
        note(folder.path(), &renamed);
        check(folder.path(), &renamed, false).expect("it is noted");
        std::fs::write(folder.path().join(NOTE), "{").expect("written");
        check(folder.path(), &first, false).expect("an unreadable note is no refusal");
    }
}
