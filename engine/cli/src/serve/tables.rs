//! Which schema the rows of a directory of tables were made by.
//!
//! Owns the note of it beside the tables, and the refusal to serve them by a schema that hides what they hold: a client
//! that was migrated would still have values that its server says are null.
//!
//! Rows themselves know no schema: they are items as AppSync's tables hold them. A directory of before there were notes is
//! served as it is, and noted.

use std::path::Path;

use landfall::{Schema, schema_from_json, schema_to_json};
use landfall_storage::{SchemaLoss, schema_losses};

/// The note's name, beside the tables.
const NOTE: &str = "served-schema.json";

/// Checks that the schema shows all that the rows were made with.
///
/// # Errors
/// If it does not, and that was not accepted: with all that would be hidden.
pub(super) fn check(directory: &Path, schema: &Schema, accepted: bool) -> miette::Result<()> {
    let noted = match std::fs::read_to_string(directory.join(NOTE)) {
        Ok(noted) => noted,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // Told below.
        Err(_) => String::new(),
    };
    let before = serde_json::from_str(&noted).map(|json: serde_json::Value| schema_from_json(&json));
    let Ok(Ok(before)) = before else {
        eprintln!(
            "warning: {NOTE} cannot be read, so nothing is known of the schema that the rows were made by"
        );
        return Ok(());
    };
    let (asked_for, hidden): (Vec<SchemaLoss>, Vec<SchemaLoss>) = schema_losses(&before, schema)
        .into_iter()
        .partition(|loss| loss.what.only_asks());
    for loss in asked_for {
        eprintln!("warning: {loss}; rows that lack it are answered with an error in its place");
    }
    if hidden.is_empty() {
        return Ok(());
    }
    let hidden: Vec<String> = hidden.iter().map(ToString::to_string).collect();
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
        assert!(
            refused.to_string().contains("`Visit.notes` was removed"),
            "{refused}"
        );
        check(folder.path(), &renamed, true).expect("that was accepted");
        note(folder.path(), &renamed);
        check(folder.path(), &renamed, false).expect("it is noted");
        std::fs::write(folder.path().join(NOTE), "{").expect("written");
        check(folder.path(), &first, false).expect("an unreadable note is no refusal");
    }

    #[test]
    fn what_a_store_would_refuse_is_refused_here_in_the_same_words() {
        let schema = |mood: &str, place: &str, visit: &str| {
            let sdl =
                format!("enum Mood {{ {mood} }} type Place {{ {place} }} type Visit @model {{ {visit} }}");
            crate::schema_file::parse("s", &sdl).expect("sound")
        };
        let visit = "id: ID! @primaryKey code: String! mood: Mood place: Place";
        let folder = tempfile::tempdir().expect("a directory");
        note(folder.path(), &schema("GOOD BAD", "city: String zip: Int", visit));
        for (changed, words) in [
            (
                schema(
                    "GOOD BAD",
                    "city: String zip: Int",
                    "id: ID! code: String! @primaryKey mood: Mood place: Place",
                ),
                "the primary key of `Visit` changed",
            ),
            (
                schema("GOOD", "city: String zip: Int", visit),
                "enum `Mood` lost the value BAD",
            ),
            (
                schema("GOOD BAD", "city: String zip: String", visit),
                "`Place.zip` changed its type from Int to String",
            ),
            (
                schema("GOOD BAD", "city: String", visit),
                "`Place.zip` was removed",
            ),
        ] {
            let refused = check(folder.path(), &changed, false).expect_err("it hides what rows hold");
            assert!(refused.to_string().contains(words), "{refused}");
            check(folder.path(), &changed, true).expect("that was accepted");
        }
        // Values that are asked for hide none.
        let asks = schema("GOOD BAD", "city: String! zip: Int", visit);
        check(folder.path(), &asks, false).expect("everything is shown");
    }
}
