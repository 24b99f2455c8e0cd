//! The shell as people type into it: what it says by itself, and that it takes what is typed as it is meant.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::process::Process;
use crate::support::serve::{API_KEY, ServeProcess};

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
    pub(crate) fn leaves(mut self) -> String {
        self.types("exit");
        let mut seen = String::new();
        while let Ok(line) = self.process.read_line(PATIENCE) {
            seen += &line;
            seen += "\n";
        }
        let status = self.process.wait_for_end(PATIENCE);
        assert!(status.expect("it ends").success(), "{seen}");
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
    person.leaves();
}

/// A shell on a terminal.
#[cfg(unix)]
mod terminal {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Stdio};
    use std::sync::mpsc::{Receiver, channel};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// The other end of a terminal that a shell runs on.
    struct Terminal {
        child: Child,
        keys: File,
        screen: Receiver<Vec<u8>>,
        seen: String,
        _home: tempfile::TempDir,
    }

    impl Terminal {
        fn open(schema: &Path, args: &[&str]) -> Self {
            let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
            grantpt(&keys).expect("it is ours");
            unlockpt(&keys).expect("it can be used");
            let name = ptsname(&keys, Vec::new()).expect("it has a name");
            let path = name.to_str().expect("the name is text");
            let end = || {
                let file = File::options().read(true).write(true).open(path);
                Stdio::from(file.expect("it can be opened"))
            };
            let home = tempfile::tempdir().expect("a temporary folder can be made");
            let mut command = landfall();
            command.args(["shell", "--schema"]).arg(schema).args(args);
            command
                .env("HOME", home.path())
                .env("TERM", "xterm")
                .env("NO_COLOR", "1");
            command.stdin(end()).stdout(end()).stderr(end());
            let child = command.spawn().expect("the shell starts");
            let keys = File::from(keys);
            let (sender, screen) = channel();
            let mut output = keys.try_clone().expect("it can be read as well");
            let read = move || {
                let mut bytes = [0; 4096];
                // A terminal that nobody has open any more cannot be read.
                while let Ok(count) = output.read(&mut bytes) {
                    if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                        return;
                    }
                }
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "a terminal can be read with a deadline only from a thread of its own"
            )]
            std::thread::spawn(read);
            Self {
                child,
                keys,
                screen,
                seen: String::new(),
                _home: home,
            }
        }

        fn types(&mut self, keys: &str) {
            self.keys
                .write_all(keys.as_bytes())
                .expect("the terminal takes keys");
        }

        /// Waits until this is on the screen; answers with what came before it since the last time.
        fn shows(&mut self, text: &str) -> String {
            loop {
                if let Some((before, after)) = self.seen.split_once(text) {
                    let before = before.to_owned();
                    self.seen = after.to_owned();
                    return before;
                }
                match self.screen.recv_timeout(PATIENCE) {
                    Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                    Err(error) => panic!("no `{text}`: {error}; seen was {:?}", self.seen),
                }
            }
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            // It may have ended already.
            self.child.kill().unwrap_or(());
            self.child.wait().map(drop).unwrap_or(());
        }
    }

    #[test]
    fn what_arrives_is_shown_above_the_line_that_is_being_typed() {
        let server = ServeProcess::start(&npm::schema(), &[]);
        let args = ["--endpoint", &server.url, "--api-key", API_KEY];
        let mut terminal = Terminal::open(&npm::schema(), &args);
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
        let status = terminal.child.wait().expect("it ends");
        assert!(status.success());
        let mine = json!({"op": "count", "model": "Blog", "where": ["name", "eq", "mine"]});
        other.ok(&json!({"op": "stop"}));
        other.ok(&json!({"op": "start"}));
        assert_eq!(other.ok(&mine), 1);
    }
}
