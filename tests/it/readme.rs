//! The README to the letter: its program in a project of its own, and its second step.
//!
//! Owns how blocks of it are found. What they hold is taken from the README, so that nobody reads anything else than what
//! is tested here.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::Person;
use crate::support::landfall::{landfall, repository, target_dir};
use crate::support::process::Process;
use crate::support::serve::address_of;

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).expect("the README is there")
}

/// The blocks of a section with their languages.
fn blocks<'a>(text: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("the README has no section `{heading}`"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let fences = section.split("```").skip(1).step_by(2);
    fences.filter_map(|fence| fence.split_once('\n')).collect()
}

/// The words after `cargo run --release --` in a block.
fn arguments<'a>(block: (&str, &'a str)) -> Vec<&'a str> {
    let line = block.1.trim();
    let rest = line.strip_prefix("cargo run --release -- ");
    rest.unwrap_or_else(|| panic!("`{line}` runs something else"))
        .split(' ')
        .collect()
}

#[test]
fn the_demonstration_tells_what_the_readme_shows_of_it() {
    let readme = readme();
    let (_, shown) = readme.split_once("```text\n").expect("the README shows it");
    let shown = shown.split("```").next().unwrap_or_default();
    let output = landfall().arg("demo").output().expect("it starts");
    let story = String::from_utf8_lossy(&output.stdout);
    // No two runs take the same time.
    let words = |line: &str| {
        let line = line.trim();
        let timed = line
            .split_once("s ")
            .filter(|(time, _)| time.parse::<f64>().is_ok());
        timed.map_or(line, |(_, rest)| rest).to_owned()
    };
    let told: Vec<String> = story.lines().map(words).collect();
    let mut lines = shown.lines().filter(|line| !matches!(line.trim(), "" | "…"));
    assert!(lines.clone().count() > 4, "{shown}");
    assert!(
        lines.all(|line| told.contains(&words(line))),
        "{shown}\nis now\n{story}"
    );
}

#[test]
fn the_second_step_shows_what_the_readme_says() {
    let readme = readme();
    let [serve, shell, typed, seen] = blocks(&readme, "Try it with a backend")[..] else {
        panic!("the second step has other blocks");
    };
    // The port may be taken on this machine, so another one stands for it.
    let serve: Vec<&str> = arguments(serve)
        .into_iter()
        .map(|word| if word == "8080" { "0" } else { word })
        .collect();
    let mut command = landfall();
    command.args(serve).current_dir(repository());
    let mut server = Process::spawn("the README's server", &mut command);
    let url = address_of(&mut server);
    let sit_down = || {
        let words: Vec<String> = arguments(shell)
            .into_iter()
            .map(|word| word.replace("http://127.0.0.1:8080/graphql", &url))
            .collect();
        assert!(words.contains(&url), "{words:?}");
        let mut person = Person::sit_down_with(|command| {
            command.args(&words).current_dir(repository());
        });
        assert!(readme.contains("Both say `in sync with http://127.0.0.1:8080/graphql`."));
        person.sees(&[&format!("in sync with {url}")]);
        person
    };
    let (mut one, mut other) = (sit_down(), sit_down());
    let line = typed.1.trim().strip_prefix("landfall> ");
    one.types(line.expect("something is typed"));
    let parts: Vec<&str> = seen.1.trim().split('…').collect();
    other.sees(&parts);
    for (line, answer) in [
        ("online off", "offline:"),
        ("outbox", "none"),
        ("online on", "in sync"),
        ("help", "save MODEL"),
    ] {
        let word = line.split(' ').next().unwrap_or_default();
        assert!(readme.contains(&format!("`{line}`")) || word == "help", "{line}");
        other.types(line);
        other.sees(&[answer]);
    }
}

/// Builds a few crates the first time, whose features differ without the rest of the workspace; after that next to nothing.
#[test]
fn the_twenty_lines_run_in_a_fresh_project() {
    let readme = readme();
    let [(toml, dependencies), (rust, program)] = blocks(&readme, "Twenty lines")[..] else {
        panic!("the twenty lines have other blocks");
    };
    assert_eq!((toml, rust), ("toml", "rust,no_run"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let engine = repository().join("engine");
    let beside = "\"../landfall/engine\"";
    assert!(dependencies.contains(beside), "{dependencies}");
    let dependencies = dependencies.replace(beside, &format!("{engine:?}"));
    let package = "[package]\nname = \"readme-twenty-lines\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    let manifest = format!("{package}\n{dependencies}\n{}", profiles());
    write(&folder.path().join("Cargo.toml"), &manifest);
    fs::create_dir(folder.path().join("src")).expect("the folder is ours");
    write(&folder.path().join("src/main.rs"), program);
    // The same versions as here, so that nothing has to be fetched or built that is there already.
    fs::copy(repository().join("Cargo.lock"), folder.path().join("Cargo.lock"))
        .expect("the lock file is there");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--offline", "--target-dir"])
        .arg(target_dir())
        .current_dir(folder.path())
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "", "a newcomer sees no warning");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, "Landfall has 5 stars\n");
    assert!(readme.contains(&format!("prints `{}`", printed.trim())));
    assert!(folder.path().join("blog-data").is_dir(), "the store is on disk");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the file can be written");
}

/// The profiles of the workspace: with them the project takes most of its dependencies from the folder of the tests.
fn profiles() -> String {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).expect("the manifest is there");
    let from = manifest.find("[profile.").expect("the workspace has profiles");
    manifest[from..].to_owned()
}

#[test]
fn blocks_are_those_of_their_section() {
    let text =
        "# T\n```sh\nno\n```\n\n## A\n```toml\na\n```\nb\n```rust,no_run\nc\nd\n```\n\n## B\n```sh\ne\n```\n";
    assert_eq!(blocks(text, "A"), [("toml", "a\n"), ("rust,no_run", "c\nd\n")]);
    assert_eq!(blocks(text, "B"), [("sh", "e\n")]);
}
