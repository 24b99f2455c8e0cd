//! `landfall sim` as people use it: what its subcommands print, and the status with which they end.

use std::process::Output;

use serde_json::Value;

use crate::support::landfall::landfall;

fn sim(args: &[&str]) -> (Output, String) {
    let output = landfall()
        .arg("sim")
        .args(args)
        .output()
        .expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

fn well(args: &[&str]) -> String {
    let (output, text) = sim(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}{errors}");
    text
}

#[test]
fn a_short_batch_is_not_blamed_for_what_it_could_not_see() {
    let text = well(&["coverage", "--runs", "2", "--busy", "5"]);
    assert!(
        text.contains("never seen: ") && text.contains("that is no failure"),
        "{text}"
    );
    for phase in ["off", "stopped", "idle", "waiting", "sending"] {
        assert!(text.contains(phase), "{text}");
    }
    // A long one is, if nothing ever happens in it.
    let (output, text) = sim(&["coverage", "--runs", "100", "--busy", "0"]);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("never seen: ") && !text.contains("that is no failure"),
        "{text}"
    );
}

#[test]
fn crash_images_are_counted_and_the_same_seed_counts_the_same() {
    let count = || -> Value {
        let text = well(&["crash", "--seed", "7", "--images", "300", "--double", "--json"]);
        let mut counted: Value = serde_json::from_str(&text).expect("it prints one object");
        for measured in ["seconds", "imagesPerSecondAndCore"] {
            assert!(counted[measured].take().is_number(), "{text}");
        }
        counted
    };
    let counted = count();
    assert!(
        counted["images"].as_u64() >= Some(300) && counted["secondCuts"].as_u64() > Some(10),
        "{counted}"
    );
    assert_eq!(counted, count());
}

#[test]
fn whole_scripts_are_cut_everywhere_and_every_recovery_a_second_time() {
    let count = |words: &[&str]| -> Value {
        let text = well(&[&["crash", "--json", "--seed", "11"], words].concat());
        let mut counted: Value = serde_json::from_str(&text).expect("it prints one object");
        for measured in ["seconds", "imagesPerSecondAndCore"] {
            assert!(counted[measured].take().is_number(), "{text}");
        }
        counted
    };
    let counted = count(&["--scripts", "2", "--jobs", "2"]);
    assert_eq!(counted["scripts"], 2, "{counted}");
    let number = |name: &str| counted[name].as_u64().unwrap_or(0);
    // Every image that no second cut made was cut again, each in one to four ways.
    let first = number("images") - number("secondCuts");
    assert!(
        first > number("operations") / 2 && number("secondCuts") >= first,
        "{counted}"
    );
    assert_eq!(
        counted,
        count(&["--scripts", "2"]),
        "whatever the number of threads"
    );
}

#[test]
fn a_small_world_is_tried_in_every_order() {
    let text = well(&["exhaust", "--changes", "1", "--losses", "1", "--crashes", "0"]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("automerge: ") && text.contains("optimistic concurrency: "),
        "{text}"
    );
}

#[test]
fn a_seed_is_replayed_like_its_plan_and_up_to_a_line() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("plan.json");
    let file = file.to_str().expect("its name is text");
    let drawn = ["--busy", "10", "--profile", "net"];
    let ran = well(&[&["run", "--seed", "5", "--save-plan", file][..], &drawn].concat());
    let again = well(&[&["replay", "5"][..], &drawn].concat());
    assert_eq!(ran, again);
    assert_eq!(ran, well(&["replay", file]));
    let cut = well(&["replay", file, "--until", "50"]);
    assert!(
        cut.contains("50 lines") && !ran.contains(" 50 lines"),
        "{cut}{ran}"
    );
}

#[test]
fn wrong_arguments_are_told_what_would_be_right() {
    for (args, hint) in [
        (&["run", "--profile", "storm"][..], "calm"),
        (&["run", "--clients", "9"], "1 to 8"),
        (&["replay", "1", "--break", "X1"], "invariants"),
        (&["run", "--knob", "partition"], "NAME=VALUE"),
        (&["run", "--knob", "weather=1"], "knobs"),
        (&["run", "--plant", "ack-removes-two"], "planted-defects"),
        (
            &["bisect", "1", "--good", "HEAD", "--plant", "ack-removes-two"],
            "--plant",
        ),
        (&["scenarios", "--only", "no_such_scenario"], "no scenario"),
        (&["run", "--runs", "0"], "--runs"),
        (
            &["shrink", "1", "--profile", "calm", "--busy", "5"],
            "violates nothing",
        ),
        (&["coverage", "--html", "run.html"], "--html"),
        (&["check-determinism", "--save-plan", "plan.json"], "--save-plan"),
    ] {
        let (output, text) = sim(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}: {text}");
        assert!(errors.contains(hint), "{args:?}: {errors}");
    }
}
