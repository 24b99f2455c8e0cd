//! `landfall log` on stores that the shell made: what it prints, what it answers to nonsense, and that it only reads.

use std::path::Path;
use std::process::Output;

use serde_json::{Value as Json, json};

use crate::logs;
use crate::support::landfall::{landfall, repository};
use crate::support::line_client::LineClient;
use crate::support::npm;

fn log(path: &Path, words: &[&str]) -> (Output, String, String) {
    let output = landfall()
        .arg("log")
        .arg(path)
        .args(words)
        .output()
        .expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn lines(text: &str) -> Vec<Json> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn shell(data: &Path) -> LineClient {
    let data = data.to_str().expect("its name is text");
    LineClient::landfall("the shell", &npm::schema(), &["--data", data])
}

#[test]
fn a_store_is_read_whether_or_not_it_is_open_and_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut writer = shell(folder.path());
    writer.save("Post", &json!({ "title": "first", "rating": 1 }));
    writer.save("Post", &json!({ "title": "second", "rating": 2 }));
    let (output, told, errors) = log(folder.path(), &["list", "--json", "--kind", "write"]);
    assert!(output.status.success(), "{errors}");
    assert_eq!(lines(&told).len(), 2, "{told}");
    // The rows are the shell's now, and nobody is to think that they were looked at.
    let (output, told, errors) = log(folder.path(), &["verify"]);
    assert!(output.status.success(), "{told}{errors}");
    assert!(told.contains("rows are not compared"), "{told}");
    let (_, told, _) = log(folder.path(), &["verify", "--json"]);
    assert!(lines(&told)[0]["notCompared"].is_string(), "{told}");
    assert!(writer.exit().success());
    let file = folder.path().join(landfall_storage::FILE_NAME);
    let before = std::fs::read(&file).expect("the store is there");

    let (output, told, errors) = log(folder.path(), &["list", "--json", "--kind", "write"]);
    assert!(output.status.success(), "{errors}");
    let entries = lines(&told);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["fields"]["title"], "first");
    assert_eq!(entries[0]["kind"], "write");
    let (output, told, _) = log(folder.path(), &["verify"]);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("a replay gives what the store holds: 2 records") && !told.contains("not compared"),
        "{told}"
    );
    let (output, told, errors) = log(folder.path(), &["list", "--model", "Pots"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(errors.contains("there is no model `Pots`"), "{errors}");
    let seq = entries[0]["seq"].to_string();
    let (_, told, _) = log(folder.path(), &["as-of", &seq, "query", "Post", "--json"]);
    assert_eq!(lines(&told).len(), 1, "{told}");
    let subject = format!("Post/{}.title", entries[1]["id"].as_str().expect("a text"));
    let misnamed = subject.replace(".title", ".titel");
    let (output, told, errors) = log(folder.path(), &["why", &misnamed]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(errors.contains("has no field `titel`"), "{errors}");
    let (_, told, _) = log(folder.path(), &["why", &subject, "--json"]);
    assert_eq!(lines(&told)[0]["value"], "second", "{told}");
    let (output, told, _) = log(
        folder.path(),
        &["bisect", "--model", "Post", "--where", "rating lt 2"],
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "a condition that fails is an exit code of 1"
    );
    assert!(told.contains("fails after") && told.contains("second"), "{told}");

    assert_eq!(
        std::fs::read(&file).expect("still there"),
        before,
        "it was written to"
    );
    // A fork goes on by itself.
    let fork = folder.path().join("fork");
    let (output, told, errors) = log(folder.path(), &["fork", &seq, fork.to_str().expect("text")]);
    assert!(output.status.success(), "{told}{errors}");
    let mut forked = shell(&fork);
    forked.save("Post", &json!({ "title": "third" }));
    assert!(forked.exit().success());
    let (output, told, _) = log(&fork, &["verify"]);
    assert!(output.status.success(), "{told}");
}

#[test]
fn a_log_without_its_end_is_answered_up_to_there_and_no_further() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("cut.lflog");
    let bytes = logs::long(300);
    std::fs::write(&file, &bytes[..bytes.len() * 2 / 3]).expect("it can be written");
    let questions: [&[&str]; 5] = [
        &["as-of", "newest", "query", "Post"],
        &["as-of", "newest", "outbox"],
        &["as-of", "newest", "get", "Post/p299"],
        &["diff", "1", "newest"],
        &["why", "Post/p299.title"],
    ];
    for question in questions {
        let (output, told, errors) = log(&file, question);
        assert_eq!(output.status.code(), Some(1), "{question:?}: {told}");
        let errors = errors.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.is_empty() && errors.contains("is missing") && errors.contains("is known up to e"),
            "{question:?}: {told}{errors}"
        );
        assert!(!errors.contains("rebuild"), "that would not help: {errors}");
    }
    let holds = |condition: &str| log(&file, &["bisect", "--model", "Post", "--where", condition]);
    let (output, told, _) = holds("rating lt 299");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("it holds after every entry up to e") && told.contains("nothing is known"),
        "{told}"
    );
    let (output, told, _) = holds("rating lt 10");
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("fails after e12"), "{told}");
    let (output, told, _) = log(
        &file,
        &["bisect", "--json", "--model", "Post", "--where", "rating lt 299"],
    );
    assert_eq!(
        (output.status.code(), &lines(&told)[0]["holds"]),
        (Some(1), &Json::Null),
        "{told}"
    );
    let sound = lines(&told)[0]["holdsTo"].to_string();
    let (output, told, _) = log(&file, &["as-of", &sound, "query", "Post", "--json"]);
    assert!(output.status.success());
    assert_eq!(
        (lines(&told).len() + 1).to_string(),
        sound,
        "each entry but the first is a post"
    );
    let (output, told, _) = log(&file, &["list", "--limit", "2"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("missing from the log"), "{told}");
}

#[test]
fn a_store_whose_process_was_killed_is_read_to_its_last_acknowledged_save() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut writer = shell(folder.path());
    for n in 0..20 {
        writer.save("Post", &json!({ "title": format!("post {n}") }));
    }
    writer.kill_9();
    let file = folder.path().join(landfall_storage::FILE_NAME);
    let before = std::fs::read(&file).expect("the store is there");
    let (output, told, errors) = log(folder.path(), &["list", "--json", "--kind", "write"]);
    assert!(output.status.success(), "{errors}");
    let last = lines(&told).pop().expect("there are entries");
    assert_eq!(last["fields"]["title"], "post 19");
    let (output, told, errors) = log(folder.path(), &["verify"]);
    assert!(output.status.success(), "{told}{errors}");
    assert_eq!(
        std::fs::read(&file).expect("still there"),
        before,
        "it was repaired on disk"
    );
}

#[test]
fn an_exported_log_can_be_shown_to_others_and_becomes_a_store_again() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("shared.lflog");
    let name = file.to_str().expect("text");
    let (output, told, errors) = log(&logs::example(), &["export", name, "--redact"]);
    assert!(output.status.success(), "{told}{errors}");
    let bytes = std::fs::read(&file).expect("it was written");
    for secret in [
        "Landfall at last",
        "Landfall!",
        "From elsewhere",
        "Not Authorized",
    ] {
        let shown = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!shown, "{secret} can be read");
    }
    let (output, told, _) = log(&file, &["verify"]);
    assert!(output.status.success(), "{told}");
    let (output, _, errors) = log(&file, &["list", "--follow"]);
    assert!(
        !output.status.success() && errors.contains("to which nothing is added"),
        "{errors}"
    );
    let (output, _, errors) = log(&logs::example(), &["export", name]);
    assert!(
        !output.status.success() && errors.contains("is there already"),
        "{errors}"
    );
    let store = folder.path().join("store");
    let (output, told, errors) = log(&file, &["import", store.to_str().expect("text")]);
    assert!(output.status.success(), "{told}{errors}");
    assert!(
        told.contains("changes wait in it for the server") || told.contains("up to e"),
        "{told}"
    );
    let (output, told, _) = log(&store, &["verify"]);
    assert!(output.status.success(), "{told}");
}

/// A store of five posts that were written again and again, with nothing that waits; its log is trimmed to `kept` entries.
fn trimmed_store(folder: &Path, kept: u64) -> (u64, u64) {
    let source = std::fs::read_to_string(npm::schema()).expect("the schema is there");
    let schema = landfall_codegen::parse_schema("schema.graphql", &source).expect("it is sound");
    let schema = std::sync::Arc::new(schema);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let newest = runtime.expect("the system has an event queue").block_on(async {
        let builder = landfall::DataStore::builder(&schema)
            .directory(folder)
            .local_only();
        let store = builder.open().await.expect("the folder is new");
        let records = store.records();
        for number in 0..20_i64 {
            let mut post = landfall::Record::new(records.def("Post").expect("there"), Vec::new());
            let id = format!("p{}", number % 5);
            for (field, value) in [
                ("id", id.as_str().into()),
                ("title", "T".into()),
                ("rating", number.into()),
            ] {
                assert!(post.set(field, value));
            }
            records.save(post).await.expect("it is complete");
        }
        let newest = store.statistics().expect("readable").log_newest;
        store.close().await;
        newest.0
    });
    let mut command = landfall();
    command.args(["data", "trim", "--schema"]).arg(npm::schema());
    command.arg("--data").arg(folder);
    let output = command
        .args(["--keep-entries", &kept.to_string()])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = newest + 1 - kept;
    let expected = format!("{} entries taken away; the log starts at e{first}\n", first - 1);
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));
    (first, newest)
}

#[test]
fn a_trimmed_log_says_what_it_can_still_answer_and_answers_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");
    let (first, newest) = trimmed_store(&data, 3);
    let before = first - 1;
    let reach = format!("entries can be looked at from e{first} on, states from e{before} on");
    for command in ["list", "stats", "verify"] {
        let (output, told, errors) = log(&data, &[command]);
        assert!(
            output.status.success() && told.contains(&reach),
            "{command}: {told}{errors}"
        );
    }
    for command in ["stats", "verify"] {
        let (_, told, _) = log(&data, &[command, "--json"]);
        assert_eq!(lines(&told)[0]["trimmed"], true, "{told}");
    }
    // As far back as it says, and no further.
    for at in [before, first, newest] {
        let (output, told, errors) = log(&data, &["as-of", &at.to_string(), "query", "Post", "--json"]);
        assert!(output.status.success(), "{errors}");
        assert_eq!(lines(&told).len(), 5, "at {at}");
    }
    let (output, _, errors) = log(&data, &["as-of", &(before - 1).to_string(), "query", "Post"]);
    assert!(
        !output.status.success() && errors.contains(&format!("starts at e{first}")),
        "{errors}"
    );
    let (output, told, _) = log(&data, &["why", "Post/p0.rating"]);
    assert!(output.status.success() && told.contains("trimmed"), "{told}");
    let (output, told, _) = log(&data, &["why", "Post/p4.rating"]);
    assert!(output.status.success() && told.contains("19"), "{told}");
    let (output, told, errors) = log(&data, &["diff", &before.to_string(), &newest.to_string()]);
    assert!(
        output.status.success() && told.contains("Post/p4"),
        "{told}{errors}"
    );
    let fork = folder.path().join("fork");
    let (output, told, errors) = log(&data, &["fork", &first.to_string(), fork.to_str().expect("text")]);
    assert!(output.status.success(), "{told}{errors}");
    let (output, told, errors) = log(&fork, &["verify"]);
    assert!(
        output.status.success() && told.contains("5 records"),
        "{told}{errors}"
    );

    // A file answers as far, and a store is made of it.
    let file = folder.path().join("log.lflog");
    let (output, told, errors) = log(&data, &["export", file.to_str().expect("text")]);
    assert!(output.status.success(), "{told}{errors}");
    let (_, told, _) = log(&file, &["stats"]);
    assert!(told.contains(&reach), "{told}");
    for at in [before, newest] {
        let (_, told, errors) = log(&file, &["as-of", &at.to_string(), "query", "Post", "--json"]);
        assert_eq!(lines(&told).len(), 5, "at {at}: {errors}");
    }
    let store = folder.path().join("store");
    let (output, told, errors) = log(&file, &["import", store.to_str().expect("text")]);
    assert!(output.status.success(), "{told}{errors}");
    let (output, told, _) = log(&store, &["verify"]);
    assert!(output.status.success() && told.contains("5 records"), "{told}");
}

/// Before, a file had the entries alone.
#[test]
fn an_older_file_of_a_trimmed_log_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = repository().join("tests/fixtures/logs/trimmed-1.lflog");
    let (output, told, _) = log(&file, &["stats"]);
    assert!(
        output.status.success() && told.contains("and no states"),
        "{told}"
    );
    let store = folder.path().join("store");
    let (output, _, errors) = log(&file, &["import", store.to_str().expect("text")]);
    assert!(
        !output.status.success() && errors.contains("the log was trimmed"),
        "{errors}"
    );
}

#[test]
fn damage_and_nonsense_are_answered_in_words() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let nowhere = folder.path().join("nowhere");
    let (output, _, errors) = log(&nowhere, &["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("there is no store at"), "{errors}");
    assert!(!nowhere.exists(), "looking makes nothing");
    let cut = folder.path().join("cut.lflog");
    let whole = std::fs::read(logs::example()).expect("the example is there");
    std::fs::write(&cut, &whole[..whole.len() - 10]).expect("it can be written");
    let (output, told, _) = log(&cut, &["verify"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("it was cut off after e"), "{told}");
    let (output, told, _) = log(&cut, &["list"]);
    assert!(
        output.status.success() && told.contains("Landfall at last"),
        "{told}"
    );
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, "[]").expect("it can be written");
    for (words, expected) in [
        (vec!["show", "99"], "there is no entry e99; the newest is e"),
        (vec!["show", "twelve"], "a position is the number of an entry"),
        (vec!["why", "Pots/1"], "there is no model `Pots`"),
        (vec!["why", "p1"], "a subject is MODEL/ID"),
        (vec!["as-of", "3", "query", "Pots"], "there is no model `Pots`"),
        (
            vec!["as-of", "3", "query", "Post", "--where", "rating like 3"],
            "`like` is no operator",
        ),
        (vec!["list", "--kind", "wrote"], "possible values: opaque, write"),
        (vec!["list", "--since", "yesterday"], "a time is like"),
        (vec!["bisect"], "--invariant"),
        (
            vec!["bisect", "--invariant", empty.to_str().expect("its name is text")],
            "the list is empty",
        ),
    ] {
        let (output, _, errors) = log(&logs::example(), &words);
        assert!(
            !output.status.success() && errors.contains(expected),
            "{words:?}: {errors}"
        );
    }
}

#[test]
fn a_file_of_another_kind_is_told_which_command_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/examples");
    let letter = folder.path().join("letter.txt");
    std::fs::write(&letter, "Dear aunt, nothing has landed yet. ".repeat(1_000)).expect("it can be written");
    let recording = examples.join("counter.flight");
    let exported = examples.join("counter.lflog");
    let replays = format!("`landfall replay {}` plays it", recording.display());
    let lists = format!("`landfall log {} list` reads it", exported.display());
    for (words, file, expected) in [
        (["log", "list"], &recording, "is a recording of a run"),
        (["log", "list"], &recording, replays.as_str()),
        (
            ["log", "list"],
            &letter,
            "is none of the files that Landfall writes",
        ),
        (
            ["inspect", "--text"],
            &letter,
            "is none of the files that Landfall writes",
        ),
        (["replay", "--list"], &exported, "is an exported log"),
        (["replay", "--list"], &exported, lists.as_str()),
        (["replay", "--list"], &letter, "no recording of Landfall"),
    ] {
        let [command, option] = words;
        let output = landfall().arg(command).arg(file).arg(option).output();
        let output = output.expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{words:?}");
        assert!(errors.contains(expected), "{words:?}: {errors}");
        assert!(!errors.contains("directory,"), "a file was named: {errors}");
        assert!(!errors.contains('{'), "{errors}");
    }
}

#[test]
fn a_difference_is_told_in_the_direction_that_was_asked_for() {
    let told = |words: &[&str]| log(&logs::example(), words).1;
    let (forth, back) = (told(&["diff", "5", "9"]), told(&["diff", "9", "5"]));
    assert!(
        forth.contains("rating: 3 -> 5") && forth.contains("between e5 and e9"),
        "{forth}"
    );
    assert!(
        back.contains("rating: 5 -> 3") && back.contains("between e9 and e5"),
        "{back}"
    );
}

#[test]
fn a_limit_that_leaves_records_out_says_so() {
    let told = |limit: &str| {
        let (_, told, _) = log(
            &logs::example(),
            &["as-of", "newest", "query", "Post", "--limit", limit],
        );
        (
            told.lines().count(),
            told.lines().last().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        told("2"),
        (3, "2 of at least 3 records; raise --limit to see more".to_owned())
    );
    assert_eq!(told("3"), (4, "3 records".to_owned()));
    // In JSON the last object says so, after as many records.
    let told = |limit: &str| {
        let words = ["as-of", "newest", "query", "Post", "--json", "--limit", limit];
        let (_, told, _) = log(&logs::example(), &words);
        let objects = told
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"));
        objects.collect::<Vec<Json>>()
    };
    let (two, three) = (told("2"), told("3"));
    assert_eq!((two.len(), &two[2]), (3, &json!({ "_more": true })));
    assert_eq!(two[..2], three[..2]);
    assert!(three.len() == 3 && three[2]["id"] == "p3", "{three:?}");
}
