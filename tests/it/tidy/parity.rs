//! The tables of parity: each row names a test that exists, or says why there is none, in every column but the first.
//!
//! Owns what counts as a name and as a reason, and that each promise of the project has a row. What a test checks is
//! read by people.

use super::File;

/// Where the table is.
pub(super) const PATH: &str = "docs/PARITY.md";

/// Promises of the project, each of which has a row of its own.
const PROMISES: usize = 10;

/// How a cell without a test begins.
const REASONS: [&str; 2] = ["does not apply", "differs"];

/// Rows without a test that exists; `sources` are all of the repository's.
pub(super) fn check(table: &File, sources: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut promises = 0;
    for (at, cells) in rows(&table.text) {
        let Some((what, tests)) = cells.split_first() else {
            continue;
        };
        if what.starts_with("**") && tests.iter().all(|cell| cell.is_empty()) {
            // A heading within a table.
            continue;
        }
        if what.starts_with(&format!("{}. ", promises + 1)) {
            promises += 1;
        }
        for here in tests {
            look_at(here, at, table, sources, &mut violations);
        }
    }
    if promises != PROMISES {
        violations.push(format!(
            "{}: {promises} promises are numbered in order; there are {PROMISES}",
            table.path
        ));
    }
    violations
}

fn look_at(here: &str, at: usize, table: &File, sources: &[File], violations: &mut Vec<String>) {
    let names = names(here);
    for name in names.iter().filter(|name| !exists(name, sources)) {
        violations.push(format!("{}:{at}: there is no test `{name}`", table.path));
    }
    let has_reason = REASONS.iter().any(|reason| here.starts_with(reason));
    if names.is_empty() && !has_reason {
        violations.push(format!(
            "{}:{at}: neither a test nor a reason: {here}",
            table.path
        ));
    }
}

/// Rows of all tables but the first, which is the summary, with the number of their line.
fn rows(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut sections = 0;
    let mut rows = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        sections += usize::from(line.starts_with("## "));
        let is_head = lines.peek().is_some_and(|(_, next)| next.starts_with("|---"));
        let is_row = line.starts_with('|') && !line.starts_with("|---") && !is_head;
        if is_row && sections > 1 {
            let cells = line.trim_matches('|').split('|').map(str::trim).collect();
            rows.push((at + 1, cells));
        }
    }
    rows
}

/// Names of tests in a cell: words of lower case with underscores, between backticks.
fn names(cell: &str) -> Vec<&str> {
    let is_name = |text: &&str| {
        text.matches('_').count() >= 1
            && text
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    cell.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// Whether a function of that name is there, or a test that a macro makes of a list.
fn exists(name: &str, sources: &[File]) -> bool {
    let as_function = format!("fn {name}(");
    let in_list = [format!("    {name}, \""), format!("::{name}, ")];
    sources.iter().any(|file| {
        file.text.contains(&as_function) || in_list.iter().any(|form| file.text.contains(form.as_str()))
    })
}

#[test]
fn rows_without_a_test_or_a_reason_are_found() {
    let promises: String = (1..=PROMISES)
        .map(|number| format!("| {number}. kept | sim `it_works` | differs: no socket has it |\n"))
        .collect();
    let table = format!(
        "## In short\n| a | b |\n|---|---|\n| not looked at | nothing |\n## Tests\n| what | here |\n|---|---|\n\
         | **group** | |\n| one | core `it_works`, better |\n| two | not yet |\n| three | differs: it is refused |\n\
         | four | core `it_is_gone` |\n| five | sim `a_script`, faults `n1_heals` |\n\
         ## Promises\n| what | sim | sockets |\n|---|---|---|\n{promises}| twice | `it_works` | one day |\n"
    );
    let sources = [
        File::new("a.rs", "fn it_works() {}"),
        File::new(
            "b.rs",
            "scenarios! {\n    outbox::a_script, automerge, []\n}\nfaults! {\n    n1_heals, \"partition\";\n}",
        ),
    ];
    assert_eq!(
        check(&File::new(PATH, &table), &sources),
        [
            "docs/PARITY.md:10: neither a test nor a reason: not yet",
            "docs/PARITY.md:12: there is no test `it_is_gone`",
            "docs/PARITY.md:27: neither a test nor a reason: one day",
        ]
    );
    let one_less = table.replace("| 7. kept", "| kept");
    assert_eq!(
        check(&File::new(PATH, &one_less), &sources)
            .last()
            .map(String::as_str),
        Some("docs/PARITY.md: 6 promises are numbered in order; there are 10")
    );
}
