//! The table of parity: each row names a test that exists, or says why there is none.
//!
//! Owns what counts as a name and as a reason. What a test checks is read by people.

use super::File;

/// Where the table is.
pub(super) const PATH: &str = "docs/PARITY.md";

/// How a cell without a test begins.
const REASONS: [&str; 2] = ["does not apply", "differs"];

/// Rows without a test that exists; `sources` are all of the repository's.
pub(super) fn check(table: &File, sources: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, cells) in rows(&table.text) {
        let [what, here, ..] = cells.as_slice() else {
            continue;
        };
        if what.starts_with("**") && here.is_empty() {
            // A heading within a table.
            continue;
        }
        let names = names(here);
        let missing: Vec<&&str> = names.iter().filter(|name| !exists(name, sources)).collect();
        for name in &missing {
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
    violations
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
    let table = File::new(
        PATH,
        "## In short\n| a | b |\n|---|---|\n| not looked at | nothing |\n## Tests\n| what | here |\n|---|---|\n\
         | **group** | |\n| one | core `it_works`, better |\n| two | not yet |\n| three | differs: it is refused |\n\
         | four | core `it_is_gone` |\n| five | sim `a_script`, faults `n1_heals` |\n",
    );
    let sources = [
        File::new("a.rs", "fn it_works() {}"),
        File::new(
            "b.rs",
            "scenarios! {\n    outbox::a_script, automerge, []\n}\nfaults! {\n    n1_heals, \"partition\";\n}",
        ),
    ];
    assert_eq!(
        check(&table, &sources),
        [
            "docs/PARITY.md:10: neither a test nor a reason: not yet",
            "docs/PARITY.md:12: there is no test `it_is_gone`",
        ]
    );
}
