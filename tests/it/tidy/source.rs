//! Rules for Rust sources: what a file opens with, how long it may be, and what may not stay in it.

use super::File;

/// Lines of a file without its tests; beyond that there is a seam to cut it at.
const LINES_MAX: usize = 800;

/// Shortest first line of a file's documentation: less says nothing.
const DOC_CHARACTERS_MIN: usize = 20;

/// Words of unfinished work. In two halves, or this file would break the rule.
const LOOSE_ENDS: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimplemented", "!("),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
];

/// Attributes that switch a test off, or let it pass for the wrong reason.
const EVASIONS: [&str; 2] = [concat!("#[ig", "nore"), concat!("#[should_", "panic")];

/// Waiting for time to pass instead of for what must happen.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];

/// Every file but `tests.rs` opens with a `//!` line that says what it owns.
pub(super) fn check_module_doc(file: &File) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let doc = first.strip_prefix("//!").unwrap_or_default().trim();
    if is_unit_test(file) || doc.chars().count() >= DOC_CHARACTERS_MIN {
        return Vec::new();
    }
    vec![format!(
        "{}: does not open with a `//!` line that says what it owns",
        file.path
    )]
}

/// No file is longer than [`LINES_MAX`], its tests not counted.
pub(super) fn check_length(file: &File) -> Vec<String> {
    let (product, _) = split_tests(file);
    let lines = product.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![format!(
        "{}: {lines} lines without tests, at most {LINES_MAX} are allowed",
        file.path
    )]
}

/// No word of unfinished work is left.
pub(super) fn check_words(file: &File) -> Vec<String> {
    find(&file.path, 0, &file.text, &LOOSE_ENDS)
}

/// No test is switched off, and none sleeps.
pub(super) fn check_tests(file: &File) -> Vec<String> {
    let mut violations = find(&file.path, 0, &file.text, &EVASIONS);
    let (product, tests) = split_tests(file);
    violations.extend(find(&file.path, product.lines().count(), tests, &SLEEPS));
    violations
}

/// Folders whose code is the same in simulation: nothing there may be left to chance.
const DETERMINISTIC: [&str; 6] = [
    "actors/src/",
    "engine/core/src/",
    "engine/src/",
    "netsync/wire/src/",
    "sim/src/",
    "storage/src/",
];

/// Whether the file is one of those that run the same in simulation.
pub(super) fn is_deterministic(file: &File) -> bool {
    file.is("rs") && DETERMINISTIC.iter().any(|folder| file.path.starts_with(folder))
}

/// Every `select!` begins with `biased;`: without it chance says which branch is looked at first, and no seed decides about it.
pub(super) fn check_selects(file: &File) -> Vec<String> {
    let select = concat!("sel", "ect!");
    let mut violations = Vec::new();
    for (line, content) in file.text.lines().enumerate() {
        let code = content.split("//").next().unwrap_or_default();
        if !contains_word(code, select) {
            continue;
        }
        let at: usize = file.text.lines().take(line).map(|line| line.len() + 1).sum();
        let behind = file.text.get(at..).unwrap_or_default();
        let inside = behind.split_once('{').map_or("", |(_, inside)| inside);
        if !inside.trim_start().starts_with("biased;") {
            violations.push(format!(
                "{}:{}: `{select}` does not begin with `biased;`",
                file.path,
                line + 1
            ));
        }
    }
    violations
}

/// Where one of the words is in `text`, which begins after line `line` of its file.
fn find(path: &str, line: usize, text: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, content) in text.lines().enumerate() {
        for word in words.iter().filter(|word| contains_word(content, word)) {
            found.push(format!("{path}:{}: `{word}` must not be here", line + at + 1));
        }
    }
    found
}

/// Whether `word` is in `line` and not merely a part of a longer word.
fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_part) && word.starts_with(is_part);
        let after = line[at + word.len()..].chars().next().is_some_and(is_part) && word.ends_with(is_part);
        !before && !after
    })
}

/// The part of a file that ships and the part that tests it: the latter is the last `mod tests { .. }`, or everything
/// in files that hold only tests.
fn split_tests(file: &File) -> (&str, &str) {
    if is_unit_test(file) {
        return ("", &file.text);
    }
    if is_integration_test(file) {
        return (&file.text, &file.text);
    }
    let mut lines = Vec::new();
    let mut at = 0;
    for line in file.text.split_inclusive('\n') {
        if line.starts_with("mod tests {") {
            // The attributes above the module, `#[cfg(test)]` among them, are a part of it.
            let start = lines
                .iter()
                .rev()
                .take_while(|(_, line): &&(usize, &str)| line.starts_with("#["))
                .last();
            return file.text.split_at(start.map_or(at, |(start, _)| *start));
        }
        lines.push((at, line));
        at += line.len();
    }
    (&file.text, "")
}

/// Whether the file holds unit tests only: `tests.rs` under `src`, or a file in a folder `tests` beside it.
fn is_unit_test(file: &File) -> bool {
    let Some((_, in_crate)) = file.path.split_once("/src/") else {
        return false;
    };
    format!("/{in_crate}").contains("/tests/") || in_crate.split('/').next_back() == Some("tests.rs")
}

/// Whether the file tests a crate from outside.
fn is_integration_test(file: &File) -> bool {
    !is_unit_test(file) && format!("/{}", file.path).contains("/tests/")
}

#[test]
fn a_file_that_does_not_say_what_it_owns_is_caught() {
    let caught = |path, text| check_module_doc(&File::new(path, text)).len();
    assert_eq!(caught("a/src/b.rs", "use std::fs;\n"), 1);
    assert_eq!(caught("a/src/b.rs", "//! Short.\n"), 1);
    assert_eq!(caught("a/src/b.rs", ""), 1);
    assert_eq!(
        caught("a/src/b.rs", "//! Owns the order in which things are sent.\n"),
        0
    );
    assert_eq!(caught("a/src/b/tests.rs", "use super::*;\n"), 0);
    assert_eq!(caught("a/src/b/tests/model.rs", "use super::*;\n"), 0);
    for path in ["tests/it/b.rs", "a/tests/b.rs", "a/src/latests.rs"] {
        assert_eq!(caught(path, "use std::fs;\n"), 1, "{path}");
    }
}

#[test]
fn a_file_that_is_too_long_is_caught_and_its_tests_are_not_counted() {
    let long = "//! x\n".repeat(LINES_MAX + 1);
    let tested = format!(
        "{}\n#[cfg(test)]\nmod tests {{\n{long}}}\n",
        "//! x\n".repeat(LINES_MAX - 1)
    );
    assert_eq!(check_length(&File::new("a/src/b.rs", &long)).len(), 1);
    assert_eq!(check_length(&File::new("a/tests/b.rs", &long)).len(), 1);
    assert_eq!(check_length(&File::new("a/src/b.rs", &tested)), [""; 0]);
    assert_eq!(check_length(&File::new("a/src/b/tests.rs", &long)), [""; 0]);
}

#[test]
fn every_loose_end_is_caught() {
    for word in LOOSE_ENDS {
        let caught = check_words(&File::new("a/src/b.rs", &format!("fine\n    {word} later\n")));
        assert_eq!(caught, [format!("a/src/b.rs:2: `{word}` must not be here")]);
    }
    let longer = concat!("on", "TO", "DOlist");
    assert_eq!(
        check_words(&File::new("a/src/b.rs", longer)),
        [""; 0],
        "a part of a word is no word"
    );
}

#[test]
fn a_choice_that_is_left_to_chance_is_caught() {
    let select = concat!("sel", "ect!");
    let caught = |text: &str| check_selects(&File::new("actors/src/b.rs", text));
    let unbiased = format!("//! b\n    let x = tokio::{select} {{\n        a = b => a,\n    }};\n");
    assert_eq!(
        caught(&unbiased),
        [format!(
            "actors/src/b.rs:2: `{select}` does not begin with `biased;`"
        )]
    );
    for fine in [
        format!("tokio::{select} {{\n        biased;\n        a = b => a,\n    }}"),
        format!("tokio::{select} {{ biased; a = b => a }}"),
        format!("// {select} is used with care"),
        format!("futures_util::{}_biased! {{ a = b => a }}", "select"),
    ] {
        assert_eq!(caught(&fine), [""; 0], "{fine}");
    }
    for (path, expected) in [
        ("actors/src/hub.rs", true),
        ("engine/cli/src/shell.rs", false),
        ("netsync/backend/src/serve/work.rs", false),
    ] {
        assert_eq!(is_deterministic(&File::new(path, "")), expected, "{path}");
    }
}

#[test]
fn a_test_that_is_switched_off_or_sleeps_is_caught() {
    for evasion in EVASIONS {
        assert_eq!(
            check_tests(&File::new("a/src/b.rs", &format!("{evasion}]\n"))).len(),
            1
        );
    }
    for sleep in SLEEPS {
        let call = format!("std::{sleep}second);\n");
        assert_eq!(check_tests(&File::new("tests/it/b.rs", &call)).len(), 1, "{call}");
        assert_eq!(
            check_tests(&File::new("a/src/b/tests.rs", &call)).len(),
            1,
            "{call}"
        );
        let caught = check_tests(&File::new(
            "a/src/b.rs",
            &format!("//! b\n\n#[cfg(test)]\nmod tests {{\n{call}}}\n"),
        ));
        assert_eq!(caught, [format!("a/src/b.rs:5: `{sleep}` must not be here")]);
        assert_eq!(
            check_tests(&File::new("a/src/b.rs", &call)),
            [""; 0],
            "a shell may sleep outside its tests"
        );
    }
}
