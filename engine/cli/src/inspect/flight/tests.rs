use std::path::PathBuf;

use landfall::Seq;
use landfall::flight::{Bytes, FailedKind, Fault, FaultKind};

use super::*;

/// A recording of a run that comes with the source.
fn example() -> Recording {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/counter.flight");
    open(&path).expect("it can be read").expect("it is a recording")
}

fn noted(order: u64, seat: u32, event: Event) -> Noted {
    Noted {
        order,
        at_ms: 10 * order,
        seat,
        event,
    }
}

fn seat(actor: &'static str, run: u64) -> Event {
    Event::Seated {
        name: SeatName {
            actor: actor.into(),
            run,
        },
        now_ms: 0,
        wall_ms: 0,
    }
}

fn called(call: u64) -> Event {
    Event::Called {
        call,
        what: "Execute".into(),
        print: 0,
    }
}

fn commit(head: u64, fault: Option<Fault>) -> Event {
    Event::Committed(Commit {
        base: Some(Seq(2)),
        head: Seq(head),
        check: 7,
        fault,
    })
}

/// What goes wrong in a run, and texts that want to be markup or steer a terminal.
fn hostile() -> Recording {
    let body = r#"{"data":"</script><script>alert(1)</script>\u001b[2J"}"#;
    let answer = Answer::Response {
        status: 200,
        retry_after_ms: None,
        body: Bytes(body.into()),
    };
    let fault = Fault {
        kind: FaultKind::Full,
        cause: "no room \u{1b}[2J".into(),
        carried: Some(1),
        there: false,
    };
    let failed = Answer::Failed(Failed {
        kind: FailedKind::Unreachable,
        reason: "gone".into(),
    });
    let mut recording = example();
    recording.events = vec![
        noted(1, 1, seat("StorageActor", 0)),
        noted(2, 2, seat("SyncProcessor", 1)),
        noted(3, 2, called(1)),
        noted(4, 2, Event::Answered { call: 1, answer }),
        noted(5, 1, commit(4, None)),
        noted(6, 1, Event::Looked(Some(Seq(4)))),
        noted(9, 1, commit(4, Some(fault))),
        noted(10, 2, called(2)),
        noted(
            11,
            2,
            Event::Answered {
                call: 2,
                answer: failed,
            },
        ),
        noted(12, 3, seat("SyncProcessor", 2)),
    ];
    recording
}

#[test]
fn a_recording_is_shown_with_its_lanes_commits_and_faults() {
    let data = collect(&hostile(), Path::new("run.flight"), 100);
    assert_eq!(
        data["lanes"],
        serde_json::json!(["StorageActor", "SyncProcessor"]),
        "runs share a lane"
    );
    assert_eq!(data["events"][4]["entries"], serde_json::json!([2, 4]));
    assert_eq!(
        data["events"][6]["entries"],
        Json::Null,
        "what failed made nothing"
    );
    assert!(
        data["events"][6]["fault"]
            .as_str()
            .is_some_and(|fault| fault.contains("no room"))
    );
    assert_eq!(data["events"][8]["fault"], "Unreachable: gone");
    assert_eq!(
        (&data["events"][9]["lane"], &data["events"][9]["run"]),
        (&1.into(), &2.into())
    );
    let notes = data["notes"].to_string();
    assert!(
        notes.contains("dropped 2 events") && notes.contains("at event 7"),
        "{notes}"
    );
}

#[test]
fn the_newest_events_are_shown_and_what_they_say_is_cut() {
    let mut recording = example();
    let all = recording.events.len() as u64;
    let data = collect(&recording, Path::new("run.flight"), 3);
    assert_eq!(data["events"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        (data["skipped"].as_u64(), data["total"].as_u64()),
        (Some(all - 3), Some(all))
    );
    assert_eq!(data["events"][2]["kind"], "end");
    let long = Event::Frame {
        call: 1,
        frame: Some(Ok("x".repeat(10 * EVENT_CHARS_MAX))),
    };
    recording.events.push(noted(all + 1, 1, long));
    let data = collect(&recording, Path::new("run.flight"), u64::MAX);
    let says = data["events"][all as usize]["says"]
        .as_str()
        .map_or(0, |says| says.chars().count());
    assert_eq!(says, EVENT_CHARS_MAX + 1);
}

#[test]
fn what_went_wrong_is_counted_over_the_whole_recording() {
    for events in [1, 3, 5, 100] {
        let text = summary(&collect(&hostile(), Path::new("run.flight"), events));
        for part in [
            "run.flight: 10 events",
            "  StorageActor: 4\n",
            "  SyncProcessor: 6\n",
            "what went wrong: 2\n",
            "FAULT the disk: Full no room",
            "FAULT Unreachable: gone",
        ] {
            assert!(text.contains(part), "{part} with {events} shown:\n{text}");
        }
    }
    let data = collect(&hostile(), Path::new("run.flight"), 3);
    assert_eq!(data["wrongBefore"]["count"], 1);
    assert_eq!(data["wrongBefore"]["newest"][0]["order"], 9);
}

#[test]
fn what_a_recording_says_leaves_neither_its_element_nor_its_line() {
    let data = collect(&hostile(), Path::new("run.flight"), 100);
    let page = page(&data);
    assert!(!page.contains("<script>alert(1)"), "it would run");
    for from_elsewhere in ["http://", "https://", "src=", "@import", "fetch("] {
        assert!(
            !page.contains(from_elsewhere),
            "{from_elsewhere} would be fetched"
        );
    }
    let text = summary(&data);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(
        text.contains("what went wrong: 2") && text.contains("FAULT Unreachable: gone"),
        "{text}"
    );
    assert!(text.contains("StorageActor.Committed  e2 to e4"), "{text}");
}

#[test]
fn what_is_no_recording_is_left_to_others() {
    let log = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/counter.lflog");
    assert!(open(&log).expect("it is no recording").is_none());
    assert!(
        open(Path::new(env!("CARGO_MANIFEST_DIR")))
            .expect("a directory is none")
            .is_none()
    );
    let folder = tempfile::tempdir().expect("there is room");
    let broken = folder.path().join("broken.flight");
    std::fs::write(&broken, b"\x89LFREC\r\nSEGM").expect("there is room");
    assert!(open(&broken).is_err(), "what is wrong with it is said");
}

#[test]
fn what_went_wrong_is_cut_like_what_is_said() {
    let failed = |length: usize| {
        let failed = Answer::Failed(Failed {
            kind: FailedKind::Unreachable,
            reason: "x".repeat(length),
        });
        Event::Answered {
            call: 1,
            answer: failed,
        }
    };
    let mut recording = example();
    recording.events = vec![noted(1, 1, failed(10 * EVENT_CHARS_MAX))];
    let data = collect(&recording, Path::new("run.flight"), 100);
    let fault = data["events"][0]["fault"].as_str().expect("it is told");
    assert_eq!(fault.chars().count(), EVENT_CHARS_MAX + 1);

    let many = TEXT_BYTES_MAX / EVENT_CHARS_MAX + 10;
    recording.events = (0..many as u64)
        .map(|order| noted(order, 1, failed(EVENT_CHARS_MAX)))
        .collect();
    let data = collect(&recording, Path::new("run.flight"), EVENTS_MAX);
    let events = data["events"].as_array().expect("a list");
    let faults: usize = events
        .iter()
        .map(|event| event["fault"].as_str().expect("that it failed is told").len())
        .sum();
    assert!(faults <= TEXT_BYTES_MAX + events.len() * "…".len(), "{faults}");
}
