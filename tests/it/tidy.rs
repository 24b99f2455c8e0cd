//! Rules of the source tree that no compiler checks, and proof that each of them catches what it is for.
//!
//! Owns finding the files and reporting; the rules are in `tidy/`. Each is a pure function from text to violations, so
//! that its test can feed it a bad sample.

mod arrows;
mod examples;
mod links;
mod manifests;
mod parity;
mod source;
mod text;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::landfall::repository;

/// Folders that hold what was built or installed, not what was written.
const FOREIGN_FOLDERS: [&str; 3] = ["target", "node_modules", ".git"];

/// Kinds of files that people write here.
const TEXT_EXTENSIONS: [&str; 10] = [
    "rs", "toml", "md", "js", "json", "graphql", "sh", "yml", "snap", "txt",
];

/// A file of the repository.
#[derive(Debug)]
struct File {
    /// From the root of the repository, with `/` between folders.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|own| own == extension)
    }
}

/// Every text file of the repository, in order of path.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(repository(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found.len() > 50,
        "only {} files were found: the search is broken",
        found.len()
    );
    found
}

fn collect(folder: &Path, found: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if !FOREIGN_FOLDERS.contains(&name) {
                collect(&path, found);
            }
        } else if is_text(&path) {
            let relative = path.strip_prefix(repository()).expect("the search began there");
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push(File {
                path: with_slashes(relative),
                text,
            });
        }
    }
}

/// Whether people wrote it: known by its extension, or a script of `.ci`.
fn is_text(path: &Path) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => TEXT_EXTENSIONS.contains(&extension),
        None => path
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|folder| folder == ".ci"),
    }
}

fn with_slashes(path: &Path) -> String {
    path.iter()
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Applies a rule to every file that it is for.
fn check(applies: impl Fn(&File) -> bool, rule: impl Fn(&File) -> Vec<String>) {
    let violations: Vec<String> = files()
        .iter()
        .filter(|file| applies(file))
        .flat_map(rule)
        .collect();
    report(&violations);
}

/// Fails with every violation.
fn report(violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{} violations:\n  {}",
        violations.len(),
        violations.join("\n  ")
    );
}

/// Cargo's own reading of the manifests.
fn cargo_metadata() -> String {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

#[test]
fn arrows_between_crates_point_one_way() {
    report(&arrows::check(&arrows::packages(&cargo_metadata())));
}

#[test]
fn only_storage_and_the_floors_name_redb() {
    report(&arrows::check_redb(&arrows::packages(&cargo_metadata())));
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    // What is no member of the workspace cannot take its lints.
    let is_member = |file: &File| file.path.ends_with("/Cargo.toml") && !file.path.contains("/fuzz/");
    check(is_member, manifests::check_lints);
}

#[test]
fn every_source_file_opens_with_what_it_owns() {
    check(|file| file.is("rs"), source::check_module_doc);
}

#[test]
fn what_apps_call_is_shown_by_examples() {
    report(&examples::check_engine(&files()));
}

#[test]
fn no_source_file_is_too_long() {
    check(|file| file.is("rs"), source::check_length);
}

#[test]
fn no_source_file_has_loose_ends() {
    check(
        |file| file.is("rs") || file.is("md") || file.is("js"),
        source::check_words,
    );
}

#[test]
fn no_test_is_switched_off_or_waits_by_the_clock() {
    check(|file| file.is("rs"), source::check_tests);
}

#[test]
fn no_choice_is_left_to_chance() {
    check(source::is_deterministic, source::check_selects);
}

#[test]
fn sources_are_in_plain_characters() {
    check(
        |file| file.is("rs") || file.is("toml") || file.is("js"),
        text::check_characters,
    );
}

#[test]
fn no_line_ends_in_white_space() {
    check(|_| true, text::check_line_ends);
}

#[test]
fn every_row_of_the_parity_table_names_a_test_or_a_reason() {
    let files = files();
    let table = files.iter().find(|file| file.path == parity::PATH);
    let sources: Vec<File> = files
        .iter()
        .filter(|file| file.is("rs"))
        .map(|file| File::new(&file.path, &file.text))
        .collect();
    report(&parity::check(table.expect("the table is there"), &sources));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root: PathBuf = repository().to_owned();
    let is_document =
        |file: &File| file.is("md") && (!file.path.contains('/') || file.path.starts_with("docs/"));
    check(is_document, |file| {
        links::check(file, |target| root.join(target).exists())
    });
}
