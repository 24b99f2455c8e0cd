//! `landfall demo --record` and `landfall replay`: a recorded run is played again by another process.
//!
//! Owns the run of the demo that is kept in `tests/fixtures/recordings`, so that it is played on other machines than the one
//! that recorded it, and by later versions. To make it anew, delete its files and run the test with
//! `LANDFALL_WRITE_FIXTURES=1`, which never overwrites; the test then says what to write into [`KEPT`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value as Json;

use crate::support::landfall::{landfall, repository};

/// A recording that is kept, and where it ended on the machine that made it.
#[derive(Debug, PartialEq)]
struct Kept {
    name: &'static str,
    /// The newest entry and its check, which stands for the whole log.
    entry: u64,
    check: &'static str,
    /// The fingerprint of the records.
    state: &'static str,
}

/// The stores of one run: Anna's before and after it is opened again, and Berta's, which holds the same in the end.
const KEPT: [Kept; 3] = [
    Kept {
        name: "anna",
        entry: 13,
        check: "4204c006",
        state: "d1643028740af397",
    },
    Kept {
        name: "anna-again",
        entry: 21,
        check: "cd7ffdfd",
        state: "c838cdea8b9a05ed",
    },
    Kept {
        name: "berta",
        entry: 15,
        check: "4fc5c0f6",
        state: "c838cdea8b9a05ed",
    },
];

fn kept(name: &str) -> PathBuf {
    repository().join(format!("tests/fixtures/recordings/{name}-1.flight"))
}

/// Records the demo again where its recordings are missing, all of which are of one run.
fn write_kept() {
    let missing = KEPT.iter().all(|recording| !kept(recording.name).exists());
    if !missing || std::env::var_os("LANDFALL_WRITE_FIXTURES").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    demo(folder.path());
    for recording in &KEPT {
        let to = kept(recording.name);
        std::fs::create_dir_all(to.parent().expect("it is in a folder")).expect("it can be made");
        let made = folder.path().join(recording.name).with_extension("flight");
        std::fs::copy(made, to).expect("there is room");
    }
}

fn replay(file: &Path, words: &[&str]) -> (Output, String, String) {
    let output = landfall()
        .arg("replay")
        .arg(file)
        .args(words)
        .output()
        .expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// What single steps show to somebody who types this.
fn stepped(file: &Path, typed: &str) -> String {
    let mut command = landfall()
        .arg("replay")
        .arg(file)
        .arg("--step")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut keys = command.stdin.take().expect("it was asked for");
    keys.write_all(typed.as_bytes()).expect("it reads");
    drop(keys);
    let output = command.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("it is text")
}

fn demo(records: &Path) {
    let output = landfall()
        .args(["demo", "--record"])
        .arg(records)
        .output()
        .expect("the command runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}

#[test]
fn a_recorded_demo_replays_to_the_same_end_and_holds_no_credentials() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    demo(folder.path());
    for name in ["anna", "anna-again", "berta"] {
        let file = folder.path().join(name).with_extension("flight");
        let bytes = std::fs::read(&file).expect("it was recorded");
        let secret = b"da2-demo";
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret),
            "{name}"
        );
        let (output, told, errors) = replay(&file, &["--json"]);
        let told: Json =
            serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{errors}"));
        assert!(output.status.success(), "{name}: {told}{errors}");
        assert_eq!(
            (&told["reachedEnd"], &told["difference"]),
            (&Json::Bool(true), &Json::Null)
        );
        let (_, again, _) = replay(&file, &["--json"]);
        assert_eq!(
            serde_json::from_str::<Json>(&again).expect("it is JSON"),
            told,
            "{name}"
        );
    }
}

/// The run was recorded once, on another machine.
#[test]
fn a_kept_run_of_the_demo_replays_to_the_same_final_hash() {
    write_kept();
    for recording in &KEPT {
        let file = kept(recording.name);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for private in ["da2-demo", "/home/", "/root/", "/tmp/", "\\Users\\"] {
            let private = private.as_bytes();
            let holds = bytes.windows(private.len()).any(|window| window == private);
            assert!(!holds, "{} holds {private:?}", recording.name);
        }
        let (_, told, errors) = replay(&file, &["--json"]);
        let told: Json =
            serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{errors}"));
        let ended = (&told["entry"], &told["check"], &told["state"]);
        assert!(
            told["reachedEnd"] == true
                && ended
                    == (
                        &Json::from(recording.entry),
                        &Json::from(recording.check),
                        &Json::from(recording.state)
                    ),
            "{} was made by an earlier version and ends otherwise now: {told}\nrecorded: {recording:?}\n`difference` names the \
             first thing that this version does otherwise. If that is no mistake, and recordings from the field may differ by \
             it, delete the three files, run this test with LANDFALL_WRITE_FIXTURES=1, and write what it tells then into KEPT. \
             If only the wording of messages changed, raise PRINTS in actors/src/flight.rs instead: older recordings are \
             then compared by what reaches the outside.",
            file.display()
        );
        assert_eq!(told["difference"], Json::Null, "{}: {told}", recording.name);
    }
}

#[test]
fn a_replay_stops_where_it_is_told_to_and_edits_lead_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    demo(folder.path());
    let anna = folder.path().join("anna.flight");
    let (_, told, _) = replay(&anna, &["--break", "StorageActor.Commit"]);
    assert!(told.contains("stopped: StorageActor.Commit was taken"), "{told}");
    let (_, told, _) = replay(&anna, &["--break-when", "Buoy", "condition eq \"DAMAGED\""]);
    assert!(
        told.contains("stopped: Buoy") && told.contains("chain worn"),
        "{told}"
    );
    let (_, told, _) = replay(&anna, &["--break-unless", "Buoy", "label eq \"Buoy 7\""]);
    assert!(told.contains("fails") && told.contains("Buoy 8"), "{told}");
    let told = stepped(&anna, "\n?\n\nq\n");
    assert!(told.contains("Enter: one on"), "{told}");
    assert_eq!(
        told.lines().filter(|line| line.contains(" ms  ")).count(),
        3,
        "{told}"
    );
    assert!(told.contains("\n3 events played"), "{told}");
    let told = stepped(&anna, "c\n");
    assert!(told.contains("every effect was as recorded"), "{told}");
    let (_, inputs, _) = replay(&anna, &["--list", "--json"]);
    let inputs: Vec<Json> = inputs
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    let damaged = inputs
        .iter()
        .find(|input| input["name"] == "Write" && input.to_string().contains("chain worn"))
        .expect("Anna wrote so");
    let number = damaged["event"].to_string();
    let (_, told, _) = replay(&anna, &["--until", &number]);
    assert!(
        told.contains(&format!("stopped: event {number} is reached")),
        "{told}"
    );
    assert!(told.contains(&format!("up to event {number}: ")), "{told}");
    // Delayed by nothing, it ends as it did.
    let (output, told, errors) = replay(&anna, &["--json", "--what-if", &format!("delay {number} 0")]);
    assert!(output.status.success(), "{told}{errors}");
    let compared: Json = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(
        (&compared["drift"], &compared["differ"]),
        (&Json::from(0), &Json::Array(Vec::new()))
    );
    let edit = format!("drop {number}");
    let (output, told, errors) = replay(&anna, &["--what-if", &edit, "-v"]);
    assert!(output.status.success(), "{told}{errors}");
    assert!(errors.contains("steps are the same"), "{errors}");
    assert!(
        told.contains("as it was") && told.contains("chain worn"),
        "{told}"
    );
    let (output, _, errors) = replay(&anna, &["--what-if", "drop 999999"]);
    assert!(
        !output.status.success() && errors.contains("no input"),
        "{errors}"
    );
}

#[test]
fn a_stop_or_a_choice_that_cannot_be_is_refused_before_anything_is_played() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    demo(folder.path());
    let anna = folder.path().join("anna.flight");
    let wrong: [(&[&str], &str); 8] = [
        (&["--break-when", "Boey", "label eq \"x\""], "Boey"),
        (&["--break-unless", "Buoy", "lable eq \"x\""], "lable"),
        (&["--break-when", "Buoy", "label resembles \"x\""], "resembles"),
        (&["--break", "StorageActor.Comit"], "StorageActor.Commit"),
        (&["--until", "99999999"], "the last of the recording"),
        (&["--list", "--verbose"], "cannot be used with"),
        (
            &["--list", "--break-when", "Buoy", "label eq \"x\""],
            "cannot be used with",
        ),
        (
            &["--what-if", "drop 1", "--break-unless", "Buoy", "label eq \"x\""],
            "cannot be used with",
        ),
    ];
    for (words, hint) in wrong {
        let (output, told, errors) = replay(&anna, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}{errors}");
        assert!(
            errors.contains(hint) && told.is_empty(),
            "{words:?}: {told}{errors}"
        );
    }
}

#[test]
fn damaged_and_foreign_recordings_are_told_as_such() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    demo(folder.path());
    let anna = folder.path().join("anna.flight");
    let whole = std::fs::read(&anna).expect("it was recorded");
    let cut = folder.path().join("cut.flight");
    std::fs::write(&cut, &whole[..whole.len() - 20]).expect("there is room");
    let (output, told, errors) = replay(&cut, &[]);
    assert!(output.status.success(), "{told}{errors}");
    assert!(errors.contains("is damaged at byte"), "{errors}");
    let foreign = folder.path().join("foreign.flight");
    std::fs::write(&foreign, b"something else").expect("there is room");
    let (output, _, errors) = replay(&foreign, &[]);
    assert!(
        !output.status.success() && errors.contains("no recording of Landfall"),
        "{errors}"
    );
}
