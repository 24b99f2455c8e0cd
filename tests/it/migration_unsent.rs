//! A new schema with work unsent, for real: the command `landfall migrate` on files, killed and not, and what arrives at a
//! server afterwards.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::kill::wait_until_sent;
use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::process::Process;
use crate::support::serve::{API_KEY, ServeProcess};

/// Unsent changes of the store that is killed; enough for a migration to take a while.
const UNSENT: usize = 600;

/// When a migration is killed, in thousandths of the time that it takes undisturbed.
const KILLED_AT: [u32; 6] = [50, 300, 600, 850, 950, 1_050];

const OLD: &str = "type Visit @model { id: ID! @primaryKey title: String! notes: String depth: Int }";
const NEW: &str = "type Visit @model { id: ID! @primaryKey title: String! remarks: String depth: Int }";

/// A folder with the two schemas.
struct Field {
    folder: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("old.graphql"), OLD).expect("it can be written");
        std::fs::write(folder.path().join("new.graphql"), NEW).expect("it can be written");
        Self { folder }
    }

    fn at(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("its name is text").to_owned()
    }

    fn shell(&self, schema: &str, args: &[&str]) -> LineClient {
        let data = self.at("data");
        let args = [&["--data", data.as_str()], args].concat();
        LineClient::landfall(schema, Path::new(&self.at(schema)), &args)
    }

    fn migration(&self, steps: &[&str]) -> std::process::Command {
        let mut command = landfall();
        command.args([
            "migrate",
            "--schema",
            &self.at("new.graphql"),
            "--data",
            &self.at("data"),
        ]);
        command.args(steps);
        command
    }

    /// Migrates; answers with what it said.
    fn migrate(&self, steps: &[&str]) -> (Output, String) {
        let output = self.migration(steps).output().expect("the command runs");
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output, text)
    }
}

const RENAME: [&str; 2] = ["--rename-field", "Visit.notes=remarks"];

/// What waits, by record and the fields that it sets.
fn unsent(store: &mut LineClient) -> Vec<(String, Value)> {
    let waiting = store.ok(&json!({"op": "outbox", "details": true}));
    let waiting = waiting.as_array().expect("a list").iter();
    waiting
        .map(|change| (change["id"].to_string(), change["fields"].clone()))
        .collect()
}

#[test]
fn a_field_is_renamed_with_unsent_changes_and_they_arrive_under_its_new_name() {
    let field = Field::new();
    let tables = field.at("tables");
    let server = ServeProcess::start(Path::new(&field.at("old.graphql")), &["--data", &tables]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut store = field.shell("old.graphql", &args);
    store.ok(&json!({"op": "start"}));
    store.save("Visit", &json!({"id": "v1", "title": "one", "notes": "sent"}));
    wait_until_sent(&mut store);
    store.go_offline();
    store.update(
        "Visit",
        &json!("v1"),
        &json!({"notes": "edited offline", "depth": 3}),
    );
    store.save(
        "Visit",
        &json!({"id": "v2", "title": "two", "notes": "field note"}),
    );
    assert!(store.exit().success());
    drop(server);

    // Without a step the store stays shut, and says which step it lacks.
    let (output, told) = field.migrate(&["--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in ["2 unsent changes are safe", "--rename-field Visit.notes=remarks"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (output, told) = field.migrate(&RENAME);
    assert!(output.status.success(), "{told}");

    let accept = ["--data", &tables, "--accept-schema-change"];
    let server = ServeProcess::start(Path::new(&field.at("new.graphql")), &accept);
    let mut store = field.shell("new.graphql", &["--endpoint", &server.url, "--api-key", API_KEY]);
    let waiting = unsent(&mut store);
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    store.ok(&json!({"op": "start"}));
    wait_until_sent(&mut store);
    assert!(store.exit().success());
    let served = server.ask("{ listVisits { items { id remarks depth } } }");
    let mut served = served["data"]["listVisits"]["items"]
        .as_array()
        .expect("a list")
        .clone();
    served.sort_by_key(|visit| visit["id"].to_string());
    assert_eq!(
        served,
        [
            json!({"id": "v1", "remarks": "edited offline", "depth": 3}),
            json!({"id": "v2", "remarks": "field note", "depth": null})
        ]
    );
}

#[test]
fn a_server_does_not_hide_what_its_tables_hold_without_being_told_to() {
    let field = Field::new();
    let tables = field.at("tables");
    drop(ServeProcess::start(
        Path::new(&field.at("old.graphql")),
        &["--data", &tables],
    ));
    let output = landfall()
        .args([
            "serve",
            "--port",
            "0",
            "--api-key",
            API_KEY,
            "--schema",
            &field.at("new.graphql"),
        ])
        .args(["--data", &tables])
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("`Visit.notes` is gone") && told.contains("--accept-schema-change"),
        "{told}"
    );
    drop(ServeProcess::start(
        Path::new(&field.at("old.graphql")),
        &["--data", &tables],
    ));
}

#[test]
fn values_that_the_server_never_got_are_given_up_only_when_that_is_said() {
    let field = Field::new();
    let mut store = field.shell("old.graphql", &[]);
    store.save(
        "Visit",
        &json!({"id": "v1", "title": "one", "notes": "only here"}),
    );
    store.save("Visit", &json!({"id": "v2", "title": "two"}));
    assert!(store.exit().success());
    let remove = ["--remove-field", "Visit.notes"];
    let lost = "1 unsent change sets `Visit.notes`, which the server never got";
    let (output, told) = field.migrate(&[&remove[..], &["--dry-run"]].concat());
    assert!(output.status.success() && told.contains(lost), "{told}");
    let (output, told) = field.migrate(&remove);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(lost) && told.contains("--drop-unsent"), "{told}");
    let mut store = field.shell("old.graphql", &[]);
    assert_eq!(unsent(&mut store).len(), 2, "nothing was changed");
    assert!(store.exit().success());
    let (output, told) = field.migrate(&[&remove[..], &["--drop-unsent"]].concat());
    assert!(output.status.success(), "{told}");
    let mut store = field.shell("new.graphql", &[]);
    let waiting = unsent(&mut store);
    assert_eq!(waiting.len(), 2);
    assert!(
        waiting.iter().all(|(_, fields)| fields.get("notes").is_none()),
        "{waiting:?}"
    );
    assert!(store.exit().success());
}

#[cfg(unix)]
#[test]
fn a_migration_that_is_killed_leaves_every_unsent_change_before_or_after() {
    let field = Field::new();
    let mut store = field.shell("old.graphql", &[]);
    for number in 0..UNSENT {
        store.save(
            "Visit",
            &json!({"id": format!("v{number:03}"), "title": "t", "notes": format!("n{number}")}),
        );
    }
    let before = unsent(&mut store);
    assert_eq!(before.len(), UNSENT);
    assert!(store.exit().success());
    let kept = field.at("kept");
    std::fs::create_dir(&kept).expect("it can be made");
    copy(&field.at("data"), &kept);
    #[expect(
        clippy::disallowed_methods,
        reason = "how long the migration takes says when to kill the next one"
    )]
    let began = std::time::Instant::now();
    let (output, told) = field.migrate(&RENAME);
    let took = began.elapsed();
    assert!(output.status.success(), "{told}");
    let (mut not_yet, mut done) = (0, 0);
    for thousandths in KILLED_AT {
        std::fs::remove_dir_all(field.at("data")).expect("nobody has it open");
        std::fs::create_dir(field.at("data")).expect("it can be made");
        copy(&kept, &field.at("data"));
        let mut command = field.migration(&RENAME);
        command.stdin(Stdio::null());
        let mut migration = Process::spawn("the migration", &mut command);
        // Ended by itself or not: what is left is looked at.
        migration
            .wait_for_end(took * thousandths / 1_000)
            .map(drop)
            .unwrap_or(());
        migration.kill_9();
        let is_old = landfall()
            .args([
                "data",
                "stats",
                "--schema",
                &field.at("old.graphql"),
                "--data",
                &field.at("data"),
            ])
            .output()
            .expect("the command runs")
            .status
            .success();
        let (schema, name) = if is_old {
            ("old.graphql", "notes")
        } else {
            ("new.graphql", "remarks")
        };
        not_yet += u32::from(is_old);
        done += u32::from(!is_old);
        let mut store = field.shell(schema, &[]);
        let after = unsent(&mut store);
        assert_eq!(after.len(), UNSENT, "killed at {thousandths}");
        for ((id, was), (also, is)) in before.iter().zip(&after) {
            assert_eq!((id, &was["notes"]), (also, &is[name]), "killed at {thousandths}");
        }
        assert!(store.exit().success());
        let sound = landfall().args(["log", &field.at("data"), "verify"]).output();
        assert!(
            sound.expect("the command runs").status.success(),
            "killed at {thousandths}"
        );
    }
    assert!(not_yet > 0, "{not_yet} killed before the commit, {done} after it");
}

fn copy(from: &str, to: &str) {
    for file in std::fs::read_dir(from).expect("it is there") {
        let file = file.expect("readable");
        std::fs::copy(file.path(), Path::new(to).join(file.file_name())).expect("there is room");
    }
}
