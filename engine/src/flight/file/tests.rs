use proptest::prelude::*;

use super::*;
use crate::flight::{Answer, Bytes, Event, SeatName};

fn noted(order: u64, event: Event) -> Noted {
    Noted {
        order,
        at_ms: order * 3,
        seat: 1,
        event,
    }
}

fn some_events() -> Vec<Noted> {
    let name = SeatName {
        actor: "Hub".into(),
        run: 0,
    };
    let seated = Event::Seated {
        name,
        now_ms: 1,
        wall_ms: -2,
    };
    let answer = Answer::Response {
        status: 200,
        retry_after_ms: None,
        body: Bytes(vec![0, 200, 255]),
    };
    vec![
        noted(1, seated),
        noted(2, Event::Draw(u64::MAX)),
        noted(3, Event::Answered { call: 1, answer }),
        noted(
            4,
            Event::Frame {
                call: 2,
                frame: Some(Ok("{}".to_owned())),
            },
        ),
    ]
}

/// A recording with one segment for each event.
fn written(events: &[Noted]) -> Vec<u8> {
    let head = Head {
        version: FLIGHT_VERSION,
        written_by: "test".to_owned(),
        schema: Json::Null,
        queues_changes: true,
        endpoint: None,
        directions: Vec::new(),
        prints: crate::flight::PRINTS,
    };
    let mut file = MAGIC.to_vec();
    put_segment(&mut file, 0, Kind::Head, &serde_json::to_vec(&head).unwrap()).unwrap();
    put_segment(&mut file, 1, Kind::Base, b"base").unwrap();
    for (number, event) in events.iter().enumerate() {
        let mut payload = Vec::new();
        put_event(&mut payload, event).unwrap();
        put_segment(
            &mut file,
            u32::try_from(number).unwrap() + 2,
            Kind::Events,
            &payload,
        )
        .unwrap();
    }
    file
}

#[test]
fn what_was_written_is_read_again() {
    let events = some_events();
    let recording = Recording::read(&mut written(&events).as_slice()).unwrap();
    assert_eq!(recording.events, events);
    assert_eq!(recording.base, b"base");
    assert_eq!((recording.cut, recording.head.queues_changes), (None, true));
}

#[test]
fn a_recording_cut_by_a_crash_is_read_up_to_the_cut_and_says_so() {
    let events = some_events();
    let file = written(&events);
    let mut whole = 0;
    for length in 0..file.len() {
        match Recording::read(&mut &file[..length]) {
            Ok(recording) => {
                assert!(recording.events.len() >= whole && events.starts_with(&recording.events));
                whole = recording.events.len();
            }
            Err(RecordingError::Foreign | RecordingError::Damaged { .. }) => assert_eq!(whole, 0),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(whole, events.len() - 1);
    let recording = Recording::read(&mut &file[..file.len() - 1]).unwrap();
    assert_eq!(recording.cut.unwrap().why, "it was cut off within a segment");
}

#[test]
fn of_a_segment_that_was_cut_off_the_events_before_the_cut_are_read() {
    let events = some_events();
    let empty = written(&[]);
    let (mut payload, mut ends) = (Vec::new(), Vec::new());
    for event in &events {
        put_event(&mut payload, event).unwrap();
        ends.push(empty.len() + SEGMENT_HEAD_LEN + payload.len());
    }
    let mut file = empty.clone();
    put_segment(&mut file, 2, Kind::Events, &payload).unwrap();
    for length in empty.len() + 1..file.len() {
        let recording = Recording::read(&mut &file[..length]).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(recording.events, events[..whole], "cut at {length}");
        let cut = recording.cut.unwrap();
        assert_eq!(cut.why, "it was cut off within a segment");
        let begins = empty.len() + SEGMENT_HEAD_LEN;
        let at = match whole {
            0 if length < begins => empty.len(),
            0 => begins,
            _ => ends[whole - 1],
        };
        assert_eq!(cut.at, at as u64);
    }
    // An altered byte is not told from a whole one within a segment, whose events have no checks of their own.
    let middle = empty.len() + SEGMENT_HEAD_LEN + 9;
    file[middle] ^= 1;
    let recording = Recording::read(&mut file.as_slice()).unwrap();
    assert!(recording.events.is_empty());
    assert_eq!(
        recording.cut.unwrap().why,
        "the checksum of a segment does not agree"
    );
}

#[test]
fn missing_order_numbers_are_what_the_recorder_dropped() {
    let mut events = some_events();
    events[2].order = 7;
    events[3].order = 9;
    let recording = Recording::read(&mut written(&events).as_slice()).unwrap();
    assert_eq!((recording.gap(), recording.dropped()), (Some((3, 4)), 5));
}

#[test]
fn foreign_and_newer_files_are_refused_politely() {
    let refused = |bytes: &[u8]| Recording::read(&mut &*bytes).unwrap_err().to_string();
    assert!(refused(b"SQLite format 3").contains("no recording of Landfall"));
    assert!(refused(b"").contains("no recording of Landfall"));
    let mut file = MAGIC.to_vec();
    put_segment(&mut file, 0, Kind::Head, br#"{"version": 99}"#).unwrap();
    assert!(refused(&file).contains("version 99, this program reads up to 1"));
}

#[test]
fn an_impossible_time_and_a_condition_nested_too_deep_end_the_reading() {
    let events = some_events();
    let read = |event| {
        let mut all = events.clone();
        all.push(noted(5, event));
        Recording::read(&mut written(&all).as_slice()).unwrap()
    };
    let step = |now_ms, input| Event::Step {
        step: "Write".into(),
        print: 0,
        now_ms,
        wall_ms: 0,
        input,
    };
    assert_eq!(read(step(7, None)).cut, None);
    let late = read(step(u64::MAX, None));
    assert_eq!(late.cut.unwrap().why, "an event claims a time that cannot be");
    assert_eq!(late.events, events);
    let mut condition = landfall_core::Predicate::All;
    for _ in 0..2_000 {
        condition = landfall_core::Predicate::Not(Box::new(condition));
    }
    let delete = crate::flight::OpInput::Delete {
        key: landfall_core::RecordKey::new("Post", landfall_core::RecordId::text("p1")),
        condition: Some(condition),
        guard: None,
    };
    let deep = read(step(7, Some(crate::flight::Input::Write(vec![delete]))));
    assert_eq!(
        deep.cut.unwrap().why,
        "an event nests deeper than any that is recorded"
    );
    assert_eq!(deep.events, events);
}

#[test]
fn a_recording_without_its_end_is_not_closed() {
    let mut events = some_events();
    let read = |events: &[Noted]| Recording::read(&mut written(events).as_slice()).unwrap();
    assert!(!read(&events).is_closed());
    let end = Event::End {
        head: landfall_core::Seq(1),
        check: 2,
        state: 3,
    };
    events.push(noted(5, end));
    assert!(read(&events).is_closed());
}

proptest! {
    #[test]
    fn flipped_bits_never_panic_and_never_pass(at in 0_usize..10_000, bit in 0_u8..8) {
        let events = some_events();
        let mut file = written(&events);
        let at = at % file.len();
        file[at] ^= 1 << bit;
        if let Ok(recording) = Recording::read(&mut file.as_slice()) {
            prop_assert!(recording.cut.is_some());
            prop_assert!(events.starts_with(&recording.events));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), behind in any::<bool>()) {
        let mut file = if behind { written(&some_events()) } else { MAGIC.to_vec() };
        file.extend(bytes);
        drop(Recording::read(&mut file.as_slice()));
    }
}

#[test]
fn a_recording_that_does_not_say_how_it_prints_is_of_no_generation_of_now() {
    let file = written(&some_events());
    let mut head = Recording::read(&mut file.as_slice()).unwrap().head;
    assert_eq!(head.prints, crate::flight::PRINTS);
    head.prints = 0;
    let mut json = serde_json::to_value(&head).unwrap();
    json.as_object_mut().unwrap().remove("prints");
    let mut old = MAGIC.to_vec();
    put_segment(&mut old, 0, Kind::Head, &serde_json::to_vec(&json).unwrap()).unwrap();
    let read = Recording::read(&mut old.as_slice()).unwrap().head;
    assert_eq!(read, head);
    assert_ne!(read.prints, crate::flight::PRINTS, "its prints are not compared");
}
