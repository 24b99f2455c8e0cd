//! The shell as people type into it: what it says by itself, and that it takes what is typed as it is meant.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::landfall::{landfall, repository};
use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::process::Process;
use crate::support::serve::{API_KEY, ServeProcess};
use crate::support::sparse::take_out;

/// The slowest start of a process on a machine that runs all tests at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines before the one that is waited for; a table has several.
const LINES_MAX: usize = 100;

/// A shell that somebody types into, through a pipe.
pub(crate) struct Person {
    process: Process,
    _home: tempfile::TempDir,
}

impl Person {
    pub(crate) fn sit_down(schema: &Path, args: &[&str]) -> Self {
        Self::sit_down_with(|command| {
            command.args(["shell", "--schema"]).arg(schema).args(args);
        })
    }

    /// Sits down at a command of one's own.
    pub(crate) fn sit_down_with(configure: impl FnOnce(&mut Command)) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = landfall();
        configure(&mut command);
        // The history of whoever runs the tests is none of their business.
        command.env("HOME", home.path());
        Self {
            process: Process::spawn("the shell", &mut command),
            _home: home,
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.process
            .write_line(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    /// Reads up to the line that has all of these texts in it; answers with everything that was read.
    pub(crate) fn sees(&mut self, texts: &[&str]) -> String {
        let mut seen = String::new();
        for _ in 0..LINES_MAX {
            match self.process.read_line(PATIENCE) {
                Ok(line) => {
                    seen += &line;
                    seen += "\n";
                    if texts.iter().all(|text| line.contains(text)) {
                        return seen;
                    }
                }
                Err(error) => panic!("no line with {texts:?}: {error}\nseen was:\n{seen}"),
            }
        }
        panic!("no line with {texts:?} in\n{seen}");
    }

    /// Leaves, and reads to the end.
    pub(crate) fn leaves(self) -> String {
        self.leaves_with(0)
    }

    /// Leaves, reads to the end and finds this exit status.
    pub(crate) fn leaves_with(mut self, status: i32) -> String {
        self.types("exit");
        let mut seen = String::new();
        while let Ok(line) = self.process.read_line(PATIENCE) {
            seen += &line;
            seen += "\n";
        }
        let ended = self.process.wait_for_end(PATIENCE);
        assert_eq!(ended.expect("it ends").code(), Some(status), "{seen}");
        seen
    }
}

#[test]
fn a_shell_with_an_endpoint_syncs_by_itself_and_says_what_others_do() {
    let server = ServeProcess::start(&npm::schema(), &[]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut other = LineClient::landfall("another store", &npm::schema(), &args);
    other.ok(&json!({"op": "start"}));
    other.save("Blog", &json!({"name": "before"}));
    other.wait_hub("outboxMutationProcessed");

    let mut person = Person::sit_down(&npm::schema(), &args);
    let seen = person.sees(&["in sync with", &server.url]);
    assert!(seen.contains("synced Blog: 1 new"), "{seen}");
    person.types("count Blog");
    assert_eq!(person.sees(&["1"]).lines().last(), Some("1"));
    // A colour of somebody else's making stays a text.
    let blog = other.save("Blog", &json!({"name": "field\u{1b}[31m notes"}));
    let id = blog["id"].as_str().expect("an identifier");
    let seen = person.sees(&["arrived: new Blog", id, "field"]);
    assert!(!seen.contains('\u{1b}'), "{seen}");
    other.update("Blog", &blog["id"], &json!({"name": "42"}));
    person.sees(&["arrived: changed Blog", id, r#"name="42""#]);
    other.delete("Blog", &blog["id"]);
    person.sees(&["arrived: deleted Blog", id]);

    person.types("save Blog name=mine");
    let mut seen = person.sees(&["sent: create of Blog"]);
    person.types("online off");
    seen += &person.sees(&["offline: changes wait"]);
    assert!(!seen.contains("arrived"), "one's own saves are no news: {seen}");
    person.types("online on");
    person.sees(&["in sync with"]);
    person.leaves();
}

#[test]
fn a_wrong_key_is_complained_about_without_being_asked() {
    let server = ServeProcess::start(&npm::schema(), &[]);
    let args = ["--endpoint", &server.url, "--api-key", "da2-wrong"];
    let mut person = Person::sit_down(&npm::schema(), &args);
    let seen = person.sees(&["error:", "check the credentials"]);
    assert!(!seen.contains("in sync"), "{seen}");
    assert!(!seen.contains("da2-wrong"), "keys are never shown: {seen}");

    let mut late = Person::sit_down(&npm::schema(), &[&args[..], &["--offline"]].concat());
    late.types("start");
    late.sees(&["error:", "check the credentials"]);
}

#[test]
fn whoever_leaves_is_told_what_becomes_of_unsent_changes() {
    let server = ServeProcess::start(&npm::schema(), &[]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut hasty = Person::sit_down(&npm::schema(), &args);
    hasty.types("save Blog name=hasty");
    let seen = hasty.leaves();
    assert!(!seen.contains("not sent"), "{seen}");
    let mut other = LineClient::landfall("another store", &npm::schema(), &args);
    other.ok(&json!({"op": "start"}));
    let hasty = other.ok(&json!({"op": "query", "model": "Blog", "where": ["name", "eq", "hasty"]}));
    assert_eq!(hasty.as_array().map(Vec::len), Some(1), "it arrived: {hasty}");

    let offline = [&args[..], &["--offline"]].concat();
    let mut person = Person::sit_down(&npm::schema(), &offline);
    person.types("save Blog name=lost");
    let seen = person.leaves();
    assert!(
        seen.contains("1 change not sent, and gone with the temporary store; --data DIR keeps a store"),
        "{seen}"
    );
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().to_str().expect("its name is text");
    let mut person = Person::sit_down(&npm::schema(), &[&offline[..], &["--data", data]].concat());
    person.types("save Blog name=kept");
    let seen = person.leaves();
    assert!(seen.contains("1 change not sent yet: kept in"), "{seen}");
    let args = [&args[..], &["--data", data]].concat();
    let mut person = Person::sit_down(&npm::schema(), &args);
    person.sees(&["sent: create of Blog"]);
    let seen = person.leaves();
    assert!(!seen.contains("not sent"), "{seen}");
}

#[test]
fn what_is_typed_is_taken_as_it_is_meant() {
    let mut person = Person::sit_down(&npm::schema(), &[]);
    for name in ["2024", "\"2024\"", "true", "\"and\""] {
        person.types(&format!("save Blog name={name}"));
        person.sees(&[name.trim_matches('"')]);
    }
    for (condition, count) in [
        ("name eq 2024", "2"),
        ("name eq \"2024\"", "2"),
        ("name eq \"and\"", "1"),
        ("name eq true or name eq 2024", "3"),
        ("not (name eq true or name eq 2024)", "1"),
    ] {
        person.types(&format!("count Blog where {condition}"));
        assert_eq!(person.sees(&[count]).lines().last(), Some(count), "{condition}");
    }
    person.types("save Reading code=42 value=1.5");
    person.sees(&["42", "1.5"]);
    person.types("save Post title=x blog=42 rating=7");
    person.sees(&["x", "7", "42"]);
    person.types("update Reading 42 value=2 if value gt 3");
    person.types("waitFor Reading 42 value=1.5 within 1000");
    person.sees(&["42", "1.5"]);
    person.types("update Reading 42 value=2.5 if value lt 3 or value gt 9");
    person.sees(&["42", "2.5"]);
    person.types("delete Reading \"42\"");
    person.sees(&["42", "2.5"]);
    // One condition did not hold, and a script would want to know.
    person.leaves_with(1);
}

#[test]
fn a_script_is_told_by_the_status_that_a_command_failed() {
    for (line, status) in [
        ("count Blog", 0),
        ("nonsense", 1),
        ("count Nope", 1),
        ("clear", 1),
    ] {
        let mut script = Person::sit_down(&npm::schema(), &[]);
        script.types(line);
        script.leaves_with(status);
    }
}

#[test]
fn what_is_typed_can_be_recorded_and_played_again() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("typed.flight");
    let path = file.to_str().expect("temporary folders have plain names");
    let mut person = Person::sit_down(&npm::schema(), &["--record", path]);
    person.types("save Blog name=recorded");
    person.leaves_with(0);
    let output = landfall().arg("replay").arg(&file).arg("--json").output();
    let output = output.expect("the command runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains(r#""reachedEnd":true"#),
        "{told}"
    );

    // What is there is not written over.
    let again = landfall()
        .args(["shell", "--record", path, "--schema"])
        .arg(npm::schema())
        .output()
        .expect("the command runs");
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && told.contains("typed.flight"), "{told}");
}

/// A recording begins with the whole log.
#[test]
fn a_store_whose_log_was_trimmed_is_not_recorded_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let kept = repository().join("tests/fixtures/stores/trimmed-1.sparse");
    take_out(&kept, &folder.path().join("landfall.store"));
    let output = landfall()
        .args(["shell", "--record"])
        .arg(folder.path().join("typed.flight"))
        .arg("--data")
        .arg(folder.path())
        .arg("--schema")
        .arg(repository().join("engine/examples/blog.graphql"))
        .output()
        .expect("the command runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("was trimmed"), "{told}");
    assert!(!folder.path().join("typed.flight").exists());
}

#[test]
fn an_identifier_that_the_store_makes_cannot_be_given() {
    let mut person = Person::sit_down(&npm::schema(), &[]);
    person.types("save Blog id=mine name=x");
    person.types("count Blog");
    assert_eq!(person.sees(&["0"]).lines().last(), Some("0"), "nothing is saved");
    person.leaves_with(1);
}

/// A shell that is broken off while nobody types, by Ctrl-C, by a service manager or with its terminal.
#[cfg(unix)]
#[test]
fn a_shell_that_is_broken_off_leaves_no_temporary_store_behind() {
    use rustix::process::{Pid, Signal, kill_process};
    crate::support::process::let_children_hang_up();
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut person = Person::sit_down_with(|command| {
            command.args(["shell", "--schema"]).arg(npm::schema());
            command.env("TMPDIR", folder.path());
        });
        person.types("save Blog name=x");
        person.sees(&["name"]);
        let pid = i32::try_from(person.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("it is ours");
        // Its input stays open until it has ended by itself: the end of input would be another reason to leave.
        while person.process.read_line(PATIENCE).is_ok() {}
        let ended = person.process.wait_for_end(PATIENCE).expect("it ends");
        assert_eq!(ended.code(), Some(status));
        let left = std::fs::read_dir(folder.path()).expect("it is there").count();
        assert_eq!(left, 0, "{signal:?}");
    }
}

/// Whoever leaves a shell whose server does not answer.
#[cfg(unix)]
#[test]
fn whoever_leaves_is_told_what_the_end_waits_for() {
    use rustix::process::{Pid, Signal, kill_process};
    // It takes connections and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/graphql", silent.local_addr().expect("it has one"));
    let args = ["--endpoint", &url, "--api-key", "k"];
    let mut person = Person::sit_down(&npm::schema(), &args);
    person.types("save Blog name=waits");
    person.types("exit");
    person.sees(&["sending 1 change; Ctrl-C gives it up with the temporary store"]);
    let pid = i32::try_from(person.process.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("it runs"), Signal::INT).expect("it is ours");
    let ended = person.process.wait_for_end(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(130));
}

/// What a phone that was updated before its server goes through.
#[test]
fn changes_that_an_older_server_refuses_are_sent_once_it_is_updated() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    let path = |name: &str| at(name).to_str().expect("its name is text").to_owned();
    let model = |more: &str| format!("type Visit @model {{ id: ID! @primaryKey title: String! {more} }}");
    std::fs::write(at("old.graphql"), model("")).expect("it can be written");
    std::fs::write(at("new.graphql"), model("weather: String")).expect("it can be written");
    let tables = path("tables");
    let data = path("data");
    let server = ServeProcess::start(&at("old.graphql"), &["--data", &tables]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY, "--data", &data];
    let mut person = Person::sit_down(&at("old.graphql"), &[&args[..], &["--offline"]].concat());
    person.types("save Visit id=v1 title=first");
    person.sees(&["first"]);
    person.leaves();

    // The app is updated, the server is not.
    let mut person = Person::sit_down(&at("new.graphql"), &args);
    person.sees(&[
        "error:",
        "mutate Visit/v1",
        "tried again by itself",
        "update the server",
    ]);
    person.types("outbox");
    let seen = person.sees(&["SchemaMismatch"]);
    assert!(seen.contains("parked"), "{seen}");
    let seen = person.leaves();
    assert!(
        seen.contains("1 change not sent, as the server runs another schema")
            && !seen.contains("the next time"),
        "{seen}"
    );
    drop(server);

    let server = ServeProcess::start(&at("new.graphql"), &["--data", &tables]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY, "--data", &data];
    let mut person = Person::sit_down(&at("new.graphql"), &args);
    let seen = person.sees(&["sent: create of Visit"]);
    assert!(seen.contains("1 change refused by the server and kept"), "{seen}");
    assert!(seen.contains("tried again: create of Visit/v1"), "{seen}");
    let seen = person.leaves();
    assert!(!seen.contains("not sent"), "{seen}");
    assert_eq!(
        server.ask("{ listVisits { items { id title weather _version } } }")["data"]["listVisits"]["items"],
        json!([{"id": "v1", "title": "first", "weather": null, "_version": 1}])
    );
}

/// Without being asked for details, the outbox answers with what the line protocol lists.
fn assert_only_keys_of_the_protocol(store: &mut LineClient) {
    let plain = store.ok(&json!({"op": "outbox"}));
    let attempts = &plain[0]["attempts"];
    assert!(attempts.is_u64(), "{plain}");
    let expected =
        json!({"model": "Seat", "id": "a", "op": "create", "stage": "parked", "attempts": attempts});
    assert_eq!(plain[0], expected);
}

#[test]
fn what_the_server_refused_is_listed_with_its_reason_and_decided_upon() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (old, schema) = (folder.path().join("old.graphql"), folder.path().join("s.graphql"));
    let model = |more: &str| format!("type Seat @model {{ id: ID! @primaryKey name: String! {more} }}");
    std::fs::write(&old, model("")).expect("it can be written");
    std::fs::write(&schema, model("row: Int")).expect("it can be written");
    let data = folder.path().join("data");
    let data = data.to_str().expect("its name is text");
    let server = ServeProcess::start(&old, &[]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY, "--data", data];
    let mut person = Person::sit_down(&schema, &args);
    for id in ["a", "b"] {
        person.types(&format!("save Seat id={id} name=mine"));
        person.sees(&["error:", &format!("mutate Seat/{id}")]);
    }
    let seen = person.leaves();
    assert!(seen.contains("2 changes not sent, as the server runs"), "{seen}");

    let mut store = LineClient::landfall("the same store", &schema, &["--data", data]);
    assert_only_keys_of_the_protocol(&mut store);
    let waiting = store.ok(&json!({"op": "outbox", "details": true}));
    assert_eq!(
        (
            &waiting[0]["stage"],
            &waiting[0]["errorType"],
            &waiting[0]["fields"]["name"]
        ),
        (&json!("parked"), &json!("SchemaMismatch"), &json!("mine"))
    );
    assert!(waiting[0]["reason"].is_string(), "{waiting}");
    let about = |op: &str, id: &str| json!({"op": op, "model": "Seat", "id": id});
    let refused = store
        .send(&about("retry", "nope"))
        .expect_err("there is no such change");
    assert!(
        refused.contains("no change of Seat/nope was refused"),
        "{refused}"
    );
    assert_eq!(store.ok(&about("discard", "a")), json!(1));
    assert_eq!(
        store.ok(&json!({"op": "get", "model": "Seat", "id": "a"})),
        json!(null)
    );
    let edit = json!({"op": "edit", "model": "Seat", "id": "b", "fields": {"name": "better"}});
    assert_eq!(store.ok(&edit), json!(1));
    let waiting = store.ok(&json!({"op": "outbox", "details": true}));
    assert_eq!(
        (
            &waiting[0]["id"],
            &waiting[0]["stage"],
            &waiting[0]["fields"]["name"]
        ),
        (&json!("b"), &json!("queued"), &json!("better"))
    );
    assert_eq!(
        store.ok(&json!({"op": "retry", "all": true})),
        json!(0),
        "nothing is refused now"
    );
    assert!(store.exit().success());
    let mut person = Person::sit_down(&schema, &["--data", data]);
    person.types("discard Seat b");
    person.leaves_with(1);
}

#[test]
fn metrics_say_what_was_counted_and_what_waits() {
    let mut store = LineClient::landfall("a store", &npm::schema(), &[]);
    store.save("Blog", &json!({"name": "secret"}));
    let metrics = store.ok(&json!({"op": "metrics"}));
    assert_eq!(
        (&metrics["writes"], &metrics["queued"]),
        (&json!(1), &json!(1)),
        "{metrics}"
    );
    assert_eq!(
        (&metrics["sent"], &metrics["newest"]),
        (&json!(0), &json!(2)),
        "{metrics}"
    );
    assert!(!metrics.to_string().contains("secret"));
    assert!(store.exit().success());
}

#[test]
fn all_metrics_can_be_read_by_whoever_types() {
    let mut person = Person::sit_down(&npm::schema(), &[]);
    person.types("metrics");
    person.sees(&["metrics all", "shows all"]);
    person.types("metrics all");
    for name in ["newest", "commits", "hubEventsLost"] {
        person.sees(&[name]);
    }
    person.leaves_with(0);
}

/// A shell on a terminal.
#[cfg(unix)]
mod terminal {
    use super::*;
    use crate::support::terminal::Terminal;

    #[test]
    fn what_arrives_is_shown_above_the_line_that_is_being_typed() {
        let server = ServeProcess::start(&npm::schema(), &[]);
        let args = ["--endpoint", &server.url, "--api-key", API_KEY];
        let mut command = landfall();
        command.args(["shell", "--schema"]).arg(npm::schema()).args(args);
        let mut terminal = Terminal::open(command);
        terminal.shows("in sync with");
        terminal.shows("landfall> ");
        terminal.types("save Blog na");
        terminal.shows("na");
        let mut other = LineClient::landfall("another store", &npm::schema(), &args);
        other.ok(&json!({"op": "start"}));
        for name in ["first", "second", "third"] {
            other.save("Blog", &json!({"name": name}));
            terminal.shows("arrived: new Blog");
            terminal.shows(&format!("name=\"{name}\""));
            terminal.shows("landfall> save Blog na");
        }
        terminal.types("me=mine\r");
        terminal.shows("sent: create of Blog");
        terminal.types("exit\r");
        assert!(terminal.ends().success());
        let mine = json!({"op": "count", "model": "Blog", "where": ["name", "eq", "mine"]});
        other.ok(&json!({"op": "stop"}));
        other.ok(&json!({"op": "start"}));
        assert_eq!(other.ok(&mine), 1);
    }
}
