//! Every schema of `tests/fixtures/schemas`: what it comes to, and what the broken ones are told.
//!
//! The expected texts lie beside the schemas. `LANDFALL_UPDATE_FIXTURES=1 cargo test -p landfall-codegen` writes them
//! anew; look at the difference before you keep it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use landfall_codegen::{parse_schema, parse_sdl};
use landfall_core::{Association, FieldDef, KeyKind, ModelDef, Schema, schema_to_json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/schemas")
}

/// The schemas of a folder, in the order of their names.
fn schemas(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut found: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "graphql"))
        .map(|path| {
            (
                path.file_name().expect("a name").to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no schemas in {}", folder.display());
    found
}

/// Compares with the file beside the schema, or writes it if asked to.
fn check_beside(schema: &Path, actual: &str) {
    let path = schema.with_extension("txt");
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("LANDFALL_UPDATE_FIXTURES").is_some() {
        fs::write(&path, &actual).expect("the expected text can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs from what is expected beside it; it comes to:\n{actual}",
        schema.display()
    );
}

fn show(schema: &Schema) -> String {
    let mut text = String::new();
    for def in schema.enums() {
        let _ = writeln!(text, "enum {}: {}\n", def.name, def.values.join(" "));
    }
    for def in schema.non_models() {
        let _ = writeln!(text, "type {}", def.name);
        def.fields.values().for_each(|field| show_field(field, &mut text));
        text.push('\n');
    }
    for model in schema.models() {
        show_model(model, &mut text);
    }
    let levels = schema.topological_levels().iter();
    let levels: Vec<String> = levels.map(|level| level.join(" ")).collect();
    let _ = writeln!(text, "order: {}", levels.join(" < "));
    text
}

fn show_model(model: &ModelDef, text: &mut String) {
    let kind = match model.key.kind {
        KeyKind::Managed => "managed",
        KeyKind::OptionallyManaged => "optionally managed",
        KeyKind::Custom => "custom",
        KeyKind::Composite => "composite",
    };
    let _ = writeln!(
        text,
        "model {} ({}), {kind} key {}",
        model.name,
        model.plural_name,
        model.key.fields.join(" ")
    );
    model.fields.values().for_each(|field| show_field(field, text));
    for index in &model.indexes {
        let query = index.query_field.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "  index {} on {}, query {query}",
            index.name,
            index.fields.join(" ")
        );
    }
    let stamps = [&model.timestamps.created_at, &model.timestamps.updated_at];
    let stamps = stamps.map(|name| name.as_ref().map_or("-", |name| name.as_str()));
    let _ = writeln!(text, "  timestamps {}", stamps.join(" "));
    for rule in &model.auth {
        let _ = writeln!(text, "  auth {rule}");
    }
    text.push('\n');
}

fn show_field(field: &FieldDef, text: &mut String) {
    let _ = write!(text, "  {}: {field}", field.name);
    if field.read_only {
        text.push_str(" read-only");
    }
    if let Some(default) = &field.default {
        let _ = write!(text, " = {default:?}");
    }
    match &field.association {
        Some(Association::BelongsTo { targets }) => {
            let _ = write!(text, " <- belongs to by {}", targets.join(" "));
        }
        Some(Association::HasMany { associated_with }) => {
            let _ = write!(text, " -> has many by their {}", associated_with.join(" "));
        }
        Some(Association::HasOne {
            associated_with,
            targets,
        }) => {
            let _ = write!(
                text,
                " -> has one by {:?} to their {}",
                targets,
                associated_with.join(" ")
            );
        }
        None => {}
    }
    text.push('\n');
}

#[test]
fn schemas_come_to_what_is_written_beside_them() {
    for (name, path) in schemas(&fixtures()) {
        let source = fs::read_to_string(&path).expect("a schema");
        let schema = parse_sdl(&name, &source).unwrap_or_else(|errors| panic!("{errors}"));
        check_beside(&path, &show(&schema));
        let json = schema_to_json(&schema).to_string();
        assert_eq!(
            parse_schema(&name, &json).as_ref(),
            Ok(&schema),
            "{name} survives introspection JSON"
        );
    }
}

#[test]
fn broken_schemas_are_told_what_to_change() {
    for (name, path) in schemas(&fixtures().join("broken")) {
        let source = fs::read_to_string(&path).expect("a schema");
        let errors = parse_sdl(&name, &source).expect_err(&name);
        for error in &errors {
            assert!(
                !error.label.is_empty() && error.line > 0 && error.column > 0,
                "{name}: {error:?}"
            );
        }
        check_beside(&path, &errors.to_string());
    }
}
