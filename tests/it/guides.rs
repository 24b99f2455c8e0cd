//! The commands of the guides, run as they stand there: what a reader sees is what the guide shows.
//!
//! Owns the form: in a `console` block a line after `$ ` is a command, and what follows it up to the next one is its
//! output to the letter, but for `…`, which stands for what no two runs have in common of a line, and by itself for such
//! lines. Commands of one guide run in one folder, one after the other.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::logs;
use crate::support::landfall::{landfall, repository};

/// A command with the output that the guide shows.
#[derive(Debug, PartialEq)]
struct Example {
    line: usize,
    command: String,
    output: String,
}

/// The examples of a text, in order.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push(Example {
                    line: at + 1,
                    command: command.to_owned(),
                    output: String::new(),
                }),
                (None, Some(example)) => {
                    example.output += line;
                    example.output += "\n";
                }
                (None, None) => panic!("line {}: output without a command", at + 1),
            },
        }
    }
    found
}

/// Runs a command line of words without quotes, or with double quotes around words with blanks.
fn run(line: &str, folder: &Path) -> String {
    let mut words = line.split('"').enumerate().flat_map(|(at, part)| -> Vec<String> {
        if at % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(str::to_owned).collect()
        }
    });
    let program = words.next().expect("a command has a program");
    let mut command = match program.as_str() {
        "landfall" => landfall(),
        other => Command::new(other),
    };
    // Both go where a terminal would have them, in their order.
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let both = writer.try_clone().expect("a pipe has room for two writers");
    command
        .args(words)
        .current_dir(folder)
        .stdout(both)
        .stderr(writer);
    let mut running = command.spawn().expect("the command runs");
    // It holds the ends that are written to, and the text ends only once nobody does.
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the output is text");
    running.wait().expect("the command ends");
    text
}

#[test]
fn the_commands_of_the_debugging_guide_show_what_it_says() {
    let text = guide("debugging.md");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let log: PathBuf = logs::example();
    std::fs::copy(&log, folder.path().join("clash.lflog")).expect("the example is there");
    std::fs::write(folder.path().join("rules.json"), rules_of(&text)).expect("the file can be written");
    follow(&text, folder.path());
}

/// The recording that the guide plays is of an engine with a planted defect; this engine is sound.
#[test]
fn the_walk_through_finds_the_planted_defect() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for name in ["counter.flight", "counter.lflog"] {
        let kept = repository().join("engine/examples").join(name);
        std::fs::copy(&kept, folder.path().join(name)).expect("the example is there");
    }
    follow(&guide("finding-a-defect.md"), folder.path());
}

/// A store whose changes wait goes through a schema change by hand.
#[test]
fn the_walk_through_of_a_schema_change_keeps_what_was_not_sent() {
    let text = guide("changing-a-schema.md");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, block) in [
        ("old.graphql", block(&text, "graphql", 0)),
        ("new.graphql", block(&text, "graphql", 1)),
        ("visits.csv", block(&text, "csv", 0)),
    ] {
        std::fs::write(folder.path().join(name), block).expect("the file can be written");
    }
    follow(&text, folder.path());
}

/// What stands in a block of that language, counted from 0.
fn block<'t>(text: &'t str, language: &str, index: usize) -> &'t str {
    let fence = format!("```{language}\n");
    let after = text.split(&fence).nth(index + 1).expect("the guide shows it");
    after.split_once("```").expect("the block ends").0
}

fn guide(name: &str) -> String {
    let guide = repository().join("docs/guides").join(name);
    std::fs::read_to_string(&guide).expect("the guide is there")
}

/// Runs the commands of a guide, and compares what they print with what it shows.
fn follow(text: &str, folder: &Path) {
    let examples = examples(text);
    assert!(examples.len() > 5, "the guide shows {} commands", examples.len());
    for example in examples {
        let output = run(&example.command, folder);
        assert!(
            shows(&example.output, &output),
            "line {}: {}\n{}\nis now\n{output}",
            example.line,
            example.command,
            example.output
        );
    }
}

/// Whether the output is what the guide shows.
fn shows(shown: &str, output: &str) -> bool {
    let lines = |text: &'_ str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    all_shown(&lines(shown), &lines(output))
}

fn all_shown(shown: &[String], output: &[String]) -> bool {
    match (shown.split_first(), output.split_first()) {
        (None, rest) => rest.is_none(),
        // By itself it stands for any lines.
        (Some((line, rest)), _) if line == "…" => {
            (0..=output.len()).any(|at| all_shown(rest, &output[at..]))
        }
        (Some((line, rest)), Some((printed, more))) => line_shown(line, printed) && all_shown(rest, more),
        (Some(_), None) => false,
    }
}

fn line_shown(shown: &str, printed: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else {
        return shown == printed;
    };
    let (middle, last) = rest.rsplit_once('…').unwrap_or(("", rest));
    let inner = printed.strip_prefix(first);
    let Some(inner) = inner.and_then(|printed| printed.strip_suffix(last)) else {
        return false;
    };
    let mut pieces = middle.split('…');
    pieces
        .try_fold(inner, |left, piece| left.split_once(piece).map(|(_, left)| left))
        .is_some()
}

/// The file of invariants that the guide shows.
fn rules_of(text: &str) -> &str {
    let block = text
        .split_once("```json\n")
        .expect("the guide shows invariants")
        .1;
    block.split_once("```").expect("the block ends").0
}

#[test]
fn examples_are_found_with_their_output() {
    let text =
        "words\n```console\n$ one two\nout\n\nmore\n$ three\n```\n$ no example\n```sh\n$ nor this\n```\n";
    let expected =
        [(3, "one two", "out\n\nmore\n"), (7, "three", "")].map(|(line, command, output)| Example {
            line,
            command: command.to_owned(),
            output: output.to_owned(),
        });
    assert_eq!(examples(text), expected);
    assert!(shows("a … c\n", "a b b c\n") && shows("…b…c", "abbc") && shows("…", ""));
    assert!(!shows("a … c\n", "a b\nb c\n") && !shows("a …\n", "a b\nmore\n"));
    assert!(shows("a\n…\nd\n", "a\nb\nc\nd\n") && !shows("a\n…\nd\n", "a\nb\nc\n"));
    assert!(!shows("a … c\n", "a b\n") && !shows("a…b…c", "a c") && !shows("ab…bc", "abc"));
    let said = run(r#"echo a "b  c" d"#, Path::new("."));
    assert_eq!(said, "a b  c d\n");
}
