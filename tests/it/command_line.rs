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
    // Automerge is two-way: of all that a late change sets the server's values stay, of a field that nobody else touched,
    // too.
    let stories = [
        (
            "optimistic-concurrency",
            "Anna's condition \"DAMAGED\" gave way",
            "3 of 4 edits",
        ),
        ("automerge", "Berta's depthMetres 14.0 gave way", "2 of 4 edits"),
    ];
    for (conflict, gave_way, kept) in stories {
        let (output, story, errors) = run(|command| {
            command.args(["demo", "--conflict", conflict]);
        });
        assert!(output.status.success(), "{story}{errors}");
        assert!(!story.contains('\u{1b}'), "no colours where there is no terminal");
        for part in ["offline", "conflict", "make landfall", "Agreed.", gave_way, kept] {
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

/// Commands that make no sense, and a part of what is answered.
const NONSENSE: [(&str, &str); 22] = [
    ("nonsense", "no JSON"),
    (
        r#"{"op":"waitFor","model":"Post","id":"p1","fields":{"headline":"x"}}"#,
        "`Post` has no field `headline`",
    ),
    (
        r#"{"op":"count","model":"Post","wher":["rating","gt",3]}"#,
        "`count` takes no `wher`; its keys are model, where",
    ),
    (
        r#"{"op":"delete","model":"Post","id":"p1","all":true}"#,
        "takes `id` or",
    ),
    (
        r#"{"op":"count","model":"Post","where":{"and":[],"or":[]}}"#,
        "not `and` and `or` at once",
    ),
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
        "`like` is no operator",
    ),
    (
        r#"{"op":"get","model":"Post","id":true}"#,
        "`id` of the id takes a string, not a boolean (true)",
    ),
    (r#"{"op":"delete","model":"Post","id":null}"#, "takes a string"),
    (
        r#"{"op":"delete","model":"Post","all":"true"}"#,
        "`all` is true or false",
    ),
    (
        r#"{"op":"get","model":"Device","id":{"org":"o","serial":"1"}}"#,
        "`serial` of the id takes an integer",
    ),
    (
        r#"{"op":"waitFor","model":"Post","id":"p","gone":"true"}"#,
        "`gone` is true or false",
    ),
    (
        r#"{"op":"waitFor","model":"Post","id":"p","fields":["title"]}"#,
        "`fields` is an object",
    ),
    (
        r#"{"op":"waitFor","model":"Post","id":"p","ms":"10"}"#,
        "`ms` is a whole number",
    ),
    (
        r#"{"op":"waitHub","event":"ready","ms":18446744073709551615}"#,
        "`ms` is a whole number",
    ),
    (r#"{"op":"configure","conflict":"mine"}"#, "`conflict` is"),
];

#[test]
fn commands_that_make_no_sense_are_answered_and_the_shell_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let input: String = NONSENSE
        .iter()
        .map(|(command, _)| format!("{command}\n"))
        .collect();
    let (output, answers, errors) = shell_on(folder.path(), &input);
    assert!(output.status.success(), "{errors}");
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), NONSENSE.len());
    for ((command, expected), answer) in NONSENSE.iter().zip(answers) {
        assert!(
            answer.starts_with(r#"{"err":"#) && answer.contains(expected),
            "{command}: {answer}"
        );
    }
}

#[test]
fn a_number_for_an_id_is_its_text() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let input = r#"{"op":"save","model":"Reading","fields":{"code":"42","value":1.5}}
{"op":"get","model":"Reading","id":42}
{"op":"delete","model":"Reading","id":42}
{"op":"get","model":"Reading","id":"42"}
"#;
    let (output, answers, errors) = shell_on(folder.path(), input);
    assert!(output.status.success(), "{errors}");
    let answers: Vec<serde_json::Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer is JSON"))
        .collect();
    assert_eq!(answers[1]["ok"]["value"], 1.5, "{answers:?}");
    assert_eq!(answers[2]["ok"]["code"], "42", "{answers:?}");
    assert_eq!(answers[3], serde_json::json!({"ok": null}));
}

#[test]
fn the_log_of_a_command_has_no_colours_in_a_pipe() {
    let (output, _, errors) = run(|command| {
        command
            .args(["demo", "--conflict", "automerge"])
            .env("LANDFALL_LOG", "landfall_actors=debug")
            .env_remove("NO_COLOR");
    });
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains(" DEBUG landfall_actors"), "it logs: {errors}");
    assert!(!errors.contains('\u{1b}'), "{errors}");
}

#[test]
fn a_figure_that_there_is_not_is_not_measured_in_silence() {
    let (output, out, errors) = run(|command| {
        command.args(["bench", "--quick", "--only", "durable svaes"]);
    });
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(out, "");
    assert!(
        errors.contains("durable svaes") && errors.contains("durable saves, one after another"),
        "{errors}"
    );
    assert!(
        !errors.contains("first sync"),
        "only those of the subject: {errors}"
    );
}

#[test]
fn a_figure_has_its_floor_and_its_target_and_a_check_ends_as_the_figures_say() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (output, figures, errors) = run(|command| {
        command.args(["bench", "--quick", "--json", "--check", "--directory"]);
        command.arg(folder.path());
    });
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("it prints JSON and nothing else");
    let figures = figures["figures"].as_array().expect("a list of figures");
    let mut missed = Vec::new();
    let mut names = Vec::new();
    for figure in figures {
        for number in ["value", "floor", "ratio", "target"] {
            assert!(figure[number].as_f64() > Some(0.0), "{number} of {figure}");
        }
        assert!(figure["unit"].is_string(), "{figure}");
        let name = figure["name"].as_str().expect("a figure has a name");
        let is_met = figure["ratio"].as_f64() >= figure["target"].as_f64();
        assert_eq!(figure["met"], is_met, "{figure}");
        names.push(name);
        if !is_met {
            missed.push(name);
        }
    }
    for name in [
        "durable saves, one after another",
        "durable saves, 64 concurrent savers",
        "get by id, typed",
        "indexed predicate",
        "replay of the log",
        "reopen after a kill",
        "memory with all rows open",
    ] {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    let status = if missed.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for name in missed {
        assert!(errors.contains(name), "{name} is not named: {errors}");
    }
}

#[test]
fn a_directory_without_a_store_is_named_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    for action in [
        &["stats"][..],
        &["export"],
        &["backup", "copy"],
        &["trim", "--keep-days", "3"],
    ] {
        let (output, out, errors) = run(|command| {
            command
                .current_dir(folder.path())
                .args(["data", action[0], "--schema"]);
            command
                .arg(npm::schema())
                .arg("--data")
                .arg(at("typo"))
                .args(&action[1..]);
        });
        assert_eq!(output.status.code(), Some(1), "{action:?}: {out}{errors}");
        assert!(errors.contains("there is no store in"), "{errors}");
        assert!(!at("typo").exists() && !at("copy").exists(), "{action:?}");
    }
    let (output, _, errors) = run(|command| {
        command.args(["data", "restore"]).arg(at("typo")).arg(at("to"));
    });
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("there is no copy of a store"), "{errors}");
}

#[test]
fn a_place_where_no_store_can_be_is_told_with_what_to_name_instead() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("file");
    std::fs::write(&file, "hello").expect("the file can be written");
    let mut places = vec![(file, "name a directory, or one that can be made")];
    if cfg!(target_os = "linux") {
        places.push((
            "/proc/store".into(),
            "name a directory that is there or can be made",
        ));
    }
    for (place, advice) in places {
        let (output, _, errors) = shell_on(&place, "");
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(advice), "{}: {errors}", place.display());
    }
}

/// Half-made files of a crash look the same, so that the store opens; but somebody may have had records there.
#[test]
fn a_file_that_holds_nothing_is_taken_for_a_new_store_and_that_is_said() {
    for (what, bytes) in [("no bytes", 0), ("zeros", 3 * 1024 * 1024)] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let saved = "{\"op\":\"save\",\"model\":\"Blog\",\"fields\":{\"name\":\"x\"}}\n";
        let (_, _, quiet) = shell_on(folder.path(), saved);
        assert!(!quiet.contains("holds nothing"), "{quiet}");
        let path = folder.path().join(landfall_storage::FILE_NAME);
        std::fs::write(&path, vec![0; bytes]).expect("the file can be written");
        let (_, answer, said) = shell_on(folder.path(), "{\"op\":\"count\",\"model\":\"Blog\"}\n");
        assert_eq!(answer.trim(), "{\"ok\":0}", "{what}: {said}");
        assert!(
            said.contains("ERROR") && said.contains("was there and holds nothing"),
            "{what}: {said}"
        );
    }
}

/// The demonstration offers only what it can show.
#[test]
fn the_demo_knows_no_conflict_handler_of_the_server() {
    let (output, _, errors) = run(|command| {
        command.args(["demo", "--conflict", "handler"]);
    });
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("automerge") && errors.contains("optimistic-concurrency"),
        "{errors}"
    );
}

/// Who sends it into a file has to know that the file is not whole.
#[cfg(target_os = "linux")]
#[test]
fn a_demo_that_cannot_be_told_fails() {
    let mut command = landfall();
    command.arg("demo");
    let full = std::fs::File::options().write(true).open("/dev/full");
    command.stdout(full.expect("it is there"));
    let output = command.output().expect("it can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("standard output cannot be written"), "{errors}");
}

#[cfg(unix)]
#[test]
fn a_demo_that_is_broken_off_leaves_nothing_behind() {
    use rustix::process::{Pid, Signal, kill_process};
    crate::support::process::let_children_hang_up();
    for (signal, status) in [(Signal::INT, 130), (Signal::HUP, 129)] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = landfall();
        command.arg("demo").env("TMPDIR", folder.path());
        let mut demo = crate::support::process::Process::spawn("the demonstration", &mut command);
        let patience = std::time::Duration::from_secs(60);
        while !demo.read_line(patience).expect("it tells").contains("Buoy 7") {}
        let pid = i32::try_from(demo.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("it is ours");
        let ended = demo.wait_for_end(patience).expect("it ends");
        assert_eq!(ended.code(), Some(status));
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
