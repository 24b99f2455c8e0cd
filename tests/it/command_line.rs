//! The command `landfall` as people use it: the demonstration, and what it says when it is given nonsense.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::landfall::landfall;
use crate::support::npm;

fn run(configure: impl FnOnce(&mut Command)) -> (Output, String, String) {
    let mut command = landfall();
    configure(&mut command);
    let output = command.output().expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn the_demo_tells_its_story_in_plain_text_and_ends_well() {
    for conflict in ["optimistic-concurrency", "automerge"] {
        let (output, story, errors) = run(|command| {
            command.args(["demo", "--conflict", conflict]);
        });
        assert!(output.status.success(), "{story}{errors}");
        assert!(!story.contains('\u{1b}'), "no colours where there is no terminal");
        for part in ["offline", "conflict", "make landfall", "Agreed."] {
            assert!(story.contains(part), "{part} is missing:\n{story}");
        }
    }
}

#[test]
fn a_faulty_schema_is_shown_with_line_and_column() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("schema.graphql");
    std::fs::write(&path, "type Post @model {\n  title: Strng!\n}\n").expect("the file can be written");
    let (output, _, errors) = run(|command| {
        command.arg("modelgen").arg(&path);
    });
    assert!(!output.status.success());
    assert!(errors.contains(":2:10"), "{errors}");
    assert!(
        errors.contains("String"),
        "the nearest name is suggested: {errors}"
    );
}

fn shell_on(data: &Path, input: &str) -> (Output, String, String) {
    let mut command = landfall();
    command
        .args(["shell", "--json", "--schema"])
        .arg(npm::schema())
        .arg("--data")
        .arg(data);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the shell runs");
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write;
        // A shell that refuses to open reads nothing, which closes the pipe.
        stdin.write_all(input.as_bytes()).unwrap_or(());
    }
    let output = child.wait_with_output().expect("the shell ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn a_development_token_is_all_that_is_printed_and_a_second_one_has_the_same_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let secret = folder.path().join("secret");
    let token = |groups: &str| {
        let (output, token, errors) = run(|command| {
            command.args([
                "serve",
                "token",
                "--user",
                "alice",
                "--groups",
                groups,
                "--dev-secret",
            ]);
            command.arg(&secret);
        });
        assert!(output.status.success(), "{errors}");
        assert_eq!(errors, "");
        assert_eq!(token.lines().count(), 1, "{token}");
        assert_eq!(token.trim().split('.').count(), 3, "{token}");
        token
    };
    token("admin,staff");
    let first = std::fs::read_to_string(&secret).expect("it was made");
    token("admin");
    assert_eq!(std::fs::read_to_string(&secret).expect("still there"), first);
    let (output, out, errors) = run(|command| {
        command.args(["serve", "token"]);
    });
    assert!(!output.status.success() && out.is_empty());
    assert!(errors.contains("--user"), "{errors}");
    let (output, _, errors) = run(|command| {
        command.arg("serve");
    });
    assert!(!output.status.success());
    assert!(errors.contains("--schema"), "{errors}");
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("landfall.store");
    std::fs::write(&file, "a letter to my aunt").expect("the file can be written");
    let (output, _, errors) = shell_on(folder.path(), "");
    assert!(!output.status.success());
    assert!(errors.contains("is not a Landfall store"), "{errors}");
    assert_eq!(
        std::fs::read_to_string(&file).expect("still there"),
        "a letter to my aunt"
    );
}

#[test]
fn a_second_process_on_the_same_directory_is_told_so() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().to_str().expect("its name is text").to_owned();
    let mut first = crate::support::line_client::LineClient::landfall(
        "the first shell",
        &npm::schema(),
        &["--data", &data],
    );
    first.save("Post", &serde_json::json!({"title": "mine"}));
    let (output, _, errors) = shell_on(folder.path(), "");
    assert!(!output.status.success());
    assert!(errors.contains("in use by another process"), "{errors}");
    assert!(first.exit().success());
}

#[test]
fn commands_that_make_no_sense_are_answered_and_the_shell_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let commands = [
        ("nonsense", "no JSON"),
        (r#"{"op":"fly"}"#, "there is no op `fly`"),
        (r#"{"op":"query","model":"Pots"}"#, "there is no model `Pots`"),
        (
            r#"{"op":"save","model":"Post","fields":{}}"#,
            "`title` is required",
        ),
        (
            r#"{"op":"save","model":"Post","fields":{"title":5}}"#,
            "`title` takes a string",
        ),
        (
            r#"{"op":"save","model":"Post","fields":{"title":"x","rating":"many"}}"#,
            "`rating` takes an integer",
        ),
        (
            r#"{"op":"save","model":"Sample","fields":{"numbers":[],"status":"GONE"}}"#,
            "takes one of",
        ),
        (
            r#"{"op":"save","model":"Post","fields":{"headline":"x"}}"#,
            "has no field `headline`",
        ),
        (
            r#"{"op":"query","model":"Post","where":["rating","like","x"]}"#,
            "is no comparison",
        ),
    ];
    let input: String = commands
        .iter()
        .map(|(command, _)| format!("{command}\n"))
        .collect();
    let (output, answers, errors) = shell_on(folder.path(), &input);
    assert!(output.status.success(), "{errors}");
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), commands.len());
    for ((command, expected), answer) in commands.iter().zip(answers) {
        assert!(
            answer.starts_with(r#"{"err":"#) && answer.contains(expected),
            "{command}: {answer}"
        );
    }
}
