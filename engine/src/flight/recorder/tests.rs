use super::*;
use crate::flight::{Bytes, Failed, FailedKind, Recording};

fn head() -> Head {
    Head {
        version: FLIGHT_VERSION,
        written_by: String::new(),
        schema: serde_json::Value::Null,
        queues_changes: false,
        endpoint: None,
        directions: Vec::new(),
        prints: crate::flight::PRINTS,
    }
}

fn draw(order: u64) -> Noted {
    Noted {
        order,
        at_ms: 0,
        seat: 1,
        event: Event::Draw(order),
    }
}

/// An answer of the server with so many bytes.
fn answer(bytes: usize) -> Event {
    let answer = Answer::Response {
        status: 200,
        retry_after_ms: None,
        body: Bytes(vec![b' '; bytes]),
    };
    Event::Answered { call: 1, answer }
}

/// Order numbers of what waits for the writer.
fn waiting(receiver: &Receiver<Item>) -> Vec<u64> {
    let orders = receiver.try_iter().filter_map(|item| match item {
        Item::Event(noted, _) => Some(noted.order),
        Item::Base(..) | Item::Close => None,
    });
    orders.collect()
}

#[test]
fn addresses_lose_what_may_be_credentials() {
    assert_eq!(
        without_query("https://me:p@w@a.example/graphql@x?key=1"),
        "https://a.example/graphql@x"
    );
    assert_eq!(
        without_query("https://a.example/graphql"),
        "https://a.example/graphql"
    );
}

#[test]
fn a_writer_that_is_full_has_events_dropped_and_says_so() {
    let (sender, receiver) = bounded(2);
    let shared = Shared::new(sender);
    for bits in 0..5 {
        shared.note(1, 0, Event::Draw(bits));
    }
    assert_eq!(shared.dropped.load(Ordering::SeqCst), 3);
    drop(receiver.try_recv());
    shared.note(1, 0, Event::Draw(9));
    assert_eq!(waiting(&receiver), [2, 6], "a hole tells what was dropped");
}

#[test]
fn what_waits_is_bounded_by_its_bytes_as_well() {
    let (sender, receiver) = bounded(RECORDER_QUEUE_MAX);
    let shared = Shared::new(sender);
    let most = usize::try_from(RECORDER_QUEUE_BYTES_MAX).unwrap();
    // The last one may be as long as it is; what follows finds the bound reached, however short it is.
    for event in [
        answer(most / 2),
        answer(most / 2 - 4_096),
        answer(most / 4),
        answer(most),
        Event::Draw(1),
    ] {
        shared.note(1, 0, event);
    }
    assert_eq!(shared.dropped.load(Ordering::SeqCst), 2);
    assert_eq!(waiting(&receiver), [1, 2, 3]);
    let bytes = shared.queued.load(Ordering::SeqCst);
    let held = RECORDER_QUEUE_BYTES_MAX / 4 * 5;
    assert!(
        (held - 8_192..held + 8_192).contains(&bytes),
        "dropped events are not counted, and those that wait are: {bytes}"
    );
}

#[test]
fn what_was_written_no_longer_counts() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("long.flight");
    let recorder = Recorder::start(&path, u64::MAX, &head()).unwrap();
    recorder.shared.note(1, 0, answer(1_000_000));
    let failed = Failed {
        kind: FailedKind::Interrupted,
        reason: "gone".to_owned(),
    };
    let (call, print, failed) = (1, 2, Some(failed));
    recorder.shared.note(1, 0, Event::Sent { call, print, failed });
    recorder.close();
    assert_eq!(recorder.shared.queued.load(Ordering::SeqCst), 0);
    let recording = Recording::open(&path).unwrap();
    assert_eq!((recording.events.len(), recording.cut), (2, None));
}

#[test]
fn events_that_never_cease_are_written_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("steady.flight");
    let mut writer = Writer::begin(File::create_new(&path).unwrap(), u64::MAX, &head()).unwrap();
    let (begin, step) = (Instant::now(), FLUSH_AFTER / 4);
    let mut in_file = Vec::new();
    for (order, tick) in (1..).zip(0..9) {
        writer.take(&draw(order), begin + step * tick).unwrap();
        in_file.push(Recording::open(&path).unwrap().events.len());
    }
    // None is followed by silence, and none waits longer than it may.
    assert_eq!(in_file, [0, 0, 0, 0, 5, 5, 5, 5, 5]);
    writer.take(&draw(10), begin + step * 9).unwrap();
    assert_eq!(Recording::open(&path).unwrap().events.len(), 10);
    assert_eq!(writer.due, None);
}

#[test]
fn a_recording_ends_at_its_bound_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("small.flight");
    let recorder = Recorder::start(&path, 512, &head()).unwrap();
    for bits in 0..1_000 {
        recorder.shared.note(1, 0, Event::Draw(bits));
    }
    recorder.close();
    let report = recorder.report();
    assert!(report.stopped);
    assert!(std::fs::metadata(&path).unwrap().len() <= 512);
    let there = Recording::open(&path).unwrap().events.len() as u64;
    assert_eq!(
        there + report.dropped,
        report.events,
        "what was queued is lost as well: {report:?}"
    );
}

#[test]
fn a_recording_that_is_given_up_leaves_no_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("none.flight");
    // Its head does not fit.
    assert!(Recorder::start(&path, 1, &head()).is_err());
    assert!(!path.exists());
    let recorder = Recorder::start(&path, 512, &head()).unwrap();
    assert!(path.exists());
    recorder.give_up();
    recorder.shared.note(1, 0, Event::Looked(Some(Seq(1))));
    assert!(recorder.report().stopped && recorder.report().events == 0);
    assert!(!path.exists());
}
