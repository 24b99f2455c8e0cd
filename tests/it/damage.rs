//! A store whose file was damaged, as people meet it on the command line: what is damaged, what can be read, what to do.
//!
//! Owns what the commands say and what they leave behind. Which damage is found, and what is made again of it, is tested at
//! every place in `landfall-storage`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::npm;

/// A text that every place of the file which holds it is known by.
const MARKED: &str = "the-post-that-is-hit";

/// What a command said.
struct Said {
    well: bool,
    out: String,
    err: String,
}

fn data(words: &[&str]) -> Said {
    let said = ran("data", words);
    assert!(!said.err.contains("panicked"), "{words:?}: {}", said.err);
    said
}

fn ran(command: &str, words: &[&str]) -> Said {
    let output = landfall()
        .arg(command)
        .args(words)
        .output()
        .expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        well: output.status.success(),
        out: text(&output.stdout),
        // Long lines are broken where they are shown.
        err: text(&output.stderr)
            .split(['\n', '│', '×'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A closed store with posts that came to the server and posts that wait.
struct Example {
    folder: tempfile::TempDir,
    /// The whole file.
    sound: Vec<u8>,
    /// Its records as text.
    records: String,
}

impl Example {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let directory = folder.path().to_str().expect("its name is text");
        let mut shell = LineClient::landfall("the writer", &npm::schema(), &["--data", directory]);
        for number in 0..12 {
            let title = if number == 7 {
                MARKED.to_owned()
            } else {
                format!("post {number}")
            };
            shell.save("Post", &json!({"title": title, "rating": number}));
        }
        assert!(shell.exit().success());
        let file = folder.path().join(landfall_storage::FILE_NAME);
        let mut example = Self {
            sound: fs::read(&file).expect("the store is there"),
            folder,
            records: String::new(),
        };
        example.records = example.export().out;
        assert_eq!(example.records.lines().count(), 12, "{}", example.records);
        example
    }

    fn directory(&self) -> &str {
        self.folder.path().to_str().expect("its name is text")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(landfall_storage::FILE_NAME)
    }

    fn put(&self, bytes: &[u8]) {
        for entry in fs::read_dir(self.folder.path()).expect("the folder is there") {
            fs::remove_file(entry.expect("readable").path()).expect("it can be removed");
        }
        fs::write(self.file(), bytes).expect("it can be written");
    }

    fn export(&self) -> Said {
        let schema = npm::schema();
        let schema = schema.to_str().expect("its name is text");
        data(&["export", "--schema", schema, "--data", self.directory()])
    }

    fn rebuild(&self, words: &[&str]) -> Said {
        data(&[&["rebuild", self.directory()], words].concat())
    }

    /// What waits for the server, by a shell that opens the store.
    fn waiting(&self) -> usize {
        let mut shell = LineClient::landfall("the reader", &npm::schema(), &["--data", self.directory()]);
        let waiting = shell.ok(&json!({"op": "outbox"}));
        assert!(shell.exit().success());
        waiting.as_array().map_or(0, Vec::len)
    }

    /// That an error names the file, and a command that can be given as it is written there.
    fn assert_helps(&self, said: &Said) {
        let file = self.file();
        let name = file.file_name().and_then(|name| name.to_str()).expect("text");
        assert!(said.err.contains(name), "{}", said.err);
        assert!(said.err.contains("landfall data rebuild"), "{}", said.err);
    }
}

fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(wanted))
        .collect()
}

fn ids(records: &str) -> Vec<Value> {
    records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn flipped_bytes_in_rows_are_mended_and_in_the_log_are_given_up_only_if_asked() {
    let example = Example::new();
    let (mut in_rows, mut in_log) = (0, 0);
    for at in places(&example.sound, MARKED.as_bytes()) {
        let mut damaged = example.sound.clone();
        damaged[at + 4] = 0xFF;
        example.put(&damaged);
        let read = example.export();
        if !read.well {
            in_rows += 1;
            example.assert_helps(&read);
        }
        // Opening and closing wrote to it.
        example.put(&damaged);
        let rebuilt = example.rebuild(&[]);
        if rebuilt.well {
            assert!(
                rebuilt.out.contains("12 records, 12 changes that wait"),
                "{}",
                rebuilt.out
            );
            assert_eq!(
                ids(&example.export().out),
                ids(&example.records),
                "identity is kept"
            );
            assert_eq!(example.waiting(), 12);
            continue;
        }
        in_log += 1;
        example.assert_helps(&rebuilt);
        for part in [
            "the log of",
            "was altered",
            "nothing was changed",
            "are whole",
            "--up-to-damage",
            "landfall data export",
        ] {
            assert!(rebuilt.err.contains(part), "{part}: {}", rebuilt.err);
        }
        assert_eq!(
            fs::read(example.file()).expect("it is there"),
            damaged,
            "nothing was changed"
        );
        let given_up = example.rebuild(&["--up-to-damage"]);
        assert!(given_up.well, "{}", given_up.err);
        assert!(
            given_up.out.contains("7 records, 7 changes that wait") && given_up.out.contains("is lost"),
            "{}",
            given_up.out
        );
        assert!(
            given_up.out.contains("landfall.store.damaged-1"),
            "{}",
            given_up.out
        );
        let kept = Path::new(example.directory()).join("landfall.store.damaged-1");
        assert_eq!(fs::read(kept).expect("it is kept"), damaged);
        assert_eq!(example.export().out.lines().count(), 7);
        assert_eq!(example.waiting(), 7);
    }
    assert!(in_rows > 0 && in_log > 0, "both were met: {in_rows} and {in_log}");
}

#[test]
fn a_truncated_file_is_named_and_what_is_left_of_it_is_told() {
    let example = Example::new();
    let length = example.sound.len();
    for cut in [length / 2, length * 4 / 5, length - 4_096, length - 1] {
        example.put(&example.sound[..cut]);
        let read = example.export();
        if read.well {
            // Pages that nothing lies in.
            assert_eq!(ids(&read.out), ids(&example.records), "cut at {cut}");
            continue;
        }
        example.assert_helps(&read);
        example.put(&example.sound[..cut]);
        let rebuilt = example.rebuild(&[]);
        if rebuilt.well {
            assert_eq!(ids(&example.export().out), ids(&example.records), "cut at {cut}");
        } else {
            assert!(
                rebuilt.err.contains("nothing was changed") && rebuilt.err.contains("restore a backup"),
                "cut at {cut}: {}",
                rebuilt.err
            );
            assert_eq!(fs::read(example.file()).expect("it is there").len(), cut);
        }
    }
}

#[test]
fn a_damaged_header_keeps_nobody_from_their_records() {
    let example = Example::new();
    let mut damaged = example.sound.clone();
    damaged[3] ^= 0x20;
    example.put(&damaged);
    let read = example.export();
    assert!(!read.well, "{}", read.out);
    example.put(&damaged);
    let rebuilt = example.rebuild(&[]);
    assert!(rebuilt.well, "{}", rebuilt.err);
    assert_eq!(ids(&example.export().out), ids(&example.records));
}

#[test]
fn rebuilding_what_is_no_store_or_is_in_use_is_refused() {
    let example = Example::new();
    let mut shell = LineClient::landfall("the owner", &npm::schema(), &["--data", example.directory()]);
    shell.save("Post", &json!({"title": "late"}));
    let refused = example.rebuild(&[]);
    assert!(
        !refused.well && refused.err.contains("in use by another process"),
        "{}",
        refused.err
    );
    assert!(shell.exit().success());
    let nowhere = data(&["rebuild", "/nonexistent/landfall"]);
    assert!(
        !nowhere.well && nowhere.err.contains("there is no store at"),
        "{}",
        nowhere.err
    );
    // A sound store is none the worse for it.
    assert!(example.rebuild(&[]).well);
    assert_eq!(example.export().out.lines().count(), 13);
}

#[test]
fn a_page_at_which_the_database_panics_is_told_by_verify_and_made_again() {
    const PAGE: usize = 4_096;
    const LEAF: u8 = 1;
    let example = Example::new();
    let mut broken = example.sound.clone();
    let start = places(&broken, b"redb")[0];
    let mut hit = 0;
    for at in (start..broken.len() - PAGE).step_by(PAGE) {
        let page = &mut broken[at..at + PAGE];
        // Keys of rows have a zero byte behind the model's name; entries of the log have none.
        let holds = |mark: &[u8]| page.windows(mark.len()).any(|window| window == mark);
        if page[0] == LEAF && holds(MARKED.as_bytes()) && holds(b"Post\0") {
            // The number of entries.
            page[2..4].fill(0xFF);
            hit += 1;
        }
    }
    assert!(hit > 0);
    example.put(&broken);
    let verified = ran("log", &[example.directory(), "verify"]);
    assert!(!verified.well);
    assert!(
        verified.out.contains("the records cannot be read"),
        "{} {}",
        verified.out,
        verified.err
    );
    assert!(!verified.err.contains("panicked"), "{}", verified.err);
    let read = example.export();
    assert!(!read.well);
    example.assert_helps(&read);
    assert!(example.rebuild(&[]).well);
    assert_eq!(example.export().out, example.records);
}
