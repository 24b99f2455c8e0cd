//! The strict replay: one turn after the other, each compared.
//!
//! Owns [`drive`]. After each turn virtual time passes, which it does only once every task waits for something: so everything
//! that follows from a turn has been offered before the next is taken.

use std::collections::{BTreeMap, VecDeque};

use landfall::DataStore;
use landfall::flight::{Answer, Event, Failed, Noted, Recording, SeatName, state_hash};

use super::deck::{Compared, Control, Sending, is_inner, told};
use super::plan::{Turn, seats, turns};
use super::{Go, Moment, Played, Watch};
use crate::clock::pass;

/// How long a step may take to be offered, in doublings of a virtual millisecond: a day. The only waits that are not in the
/// recording are those of the storage actor for a disk that failed.
const DOUBLINGS_MAX: u32 = 27;

/// Plays until something ends it.
pub(super) async fn drive(
    store: &DataStore,
    control: &Control,
    recording: &Recording,
    watch: &mut Watch<'_>,
) -> Played {
    let (seats, gap) = (seats(&recording.events), recording.gap());
    let unknown = SeatName {
        actor: "the store".into(),
        run: 0,
    };
    let mut played = Played {
        events: 0,
        last: 0,
        difference: None,
        head: Default::default(),
        state: 0,
        reached_end: false,
        gap: None,
    };
    settle().await;
    let mut head = newest(store);
    let turns = turns(playable(recording));
    let last_of: BTreeMap<u32, u64> = if is_cut(recording) {
        turns
            .iter()
            .map(|turn| (turn.noted.seat, turn.noted.order))
            .collect()
    } else {
        BTreeMap::new()
    };
    for turn in turns {
        let noted = turn.noted;
        let seat = seats.get(&noted.seat).unwrap_or(&unknown);
        {
            let mut state = control.lock();
            (state.at, state.at_ms) = (noted.order, noted.at_ms);
            state.seat(seat).open_ended |= last_of.get(&noted.seat) == Some(&noted.order);
        }
        let nested = turn.nested.clone();
        take(store, control, seat, turn).await;
        check_done(control, seat);
        control
            .lock()
            .note_what_is_more(matches!(noted.event, Event::End { .. }));
        if let Some(difference) = control.lock().difference.clone() {
            played.difference = Some(difference);
            break;
        }
        (played.events, played.last) = (played.events + 1, noted.order);
        played.reached_end |= matches!(noted.event, Event::End { .. });
        let before = std::mem::replace(&mut head, newest(store));
        let committed = head != before && nested.iter().any(|event| matches!(event, Event::Committed(_)));
        let moment = Moment {
            noted,
            seat,
            store,
            committed,
        };
        if watch(&moment) == Go::Stop {
            return played;
        }
    }
    played.gap = gap.filter(|_| played.difference.is_none());
    played
}

/// The events before the first that was dropped.
pub(super) fn playable(recording: &Recording) -> &[Noted] {
    let end = recording.gap().map_or(u64::MAX, |(from, _)| from);
    let length = recording.events.partition_point(|noted| noted.order < end);
    &recording.events[..length]
}

/// Whether a recording ends in the middle, so that the last turn of each actor may lack something.
pub(super) fn is_cut(recording: &Recording) -> bool {
    recording.gap().is_some()
        || !recording
            .events
            .last()
            .is_some_and(|noted| matches!(noted.event, Event::End { .. }))
}

fn newest(store: &DataStore) -> landfall::Seq {
    let head = store
        .snapshot()
        .and_then(|snapshot| Ok(snapshot.head_and_check()?));
    head.map(|(seq, _)| seq).unwrap_or_default()
}

/// Waits until nothing happens any more by itself.
async fn settle() {
    pass(1).await;
}

async fn take(store: &DataStore, control: &Control, seat: &SeatName, turn: Turn<'_>) {
    let Turn { noted, nested } = turn;
    match &noted.event {
        Event::Step { .. } => step(store, control, seat, noted, nested).await,
        Event::Answered { call, answer } => answered(control, seat, *call, answer, nested),
        Event::Frame { call, frame } => {
            let mut state = control.lock();
            let arrived = state.seat(seat).frames.get(call).cloned();
            if arrived.is_none_or(|frames| frames.send(frame.clone()).is_err()) && frame.is_some() {
                state.differs(
                    seat,
                    "a frame arrived".to_owned(),
                    "that socket is not open".to_owned(),
                );
            }
        }
        Event::Sent { call, print, failed } => sent(control, seat, *call, *print, failed.clone()).await,
        Event::End { head, check, state } => ended(store, control, seat, (*head, *check, *state)),
        _ => {}
    }
    settle().await;
}

/// Has the actor take a step, once it is ready to.
async fn step(store: &DataStore, control: &Control, seat: &SeatName, noted: &Noted, nested: VecDeque<Event>) {
    let Event::Step {
        step,
        print,
        now_ms,
        wall_ms,
        input,
    } = &noted.event
    else {
        return;
    };
    if let Some(input) = input {
        // A store that is closed shows in the step that is not offered.
        store.inject(&seat.actor, input.clone()).unwrap_or(());
        settle().await;
    }
    for doubling in 0..=DOUBLINGS_MAX {
        {
            let mut state = control.lock();
            let compared = state.compared;
            let place = state.seat(seat);
            place.waiting.retain(|waiting| !waiting.go.is_closed());
            let mut offered = place.waiting.iter();
            let mut found = offered.position(|waiting| waiting.step == step && waiting.print == *print);
            if found.is_none() && compared == Compared::Outside {
                found = place.waiting.iter().position(|waiting| waiting.step == step);
            }
            if let Some(found) = found {
                let waiting = place.waiting.remove(found);
                (place.now_ms, place.wall_ms, place.expected) = (*now_ms, *wall_ms, nested);
                // It was not closed a moment ago, and nothing has run since.
                waiting.go.send(()).unwrap_or(());
                return;
            }
            let said_otherwise = place.waiting.iter().find(|waiting| waiting.step == step);
            if let Some(other) = said_otherwise {
                let now = format!("{} says something else ({:016x})", other.step, other.print);
                state.differs(seat, told(&noted.event), now);
                return;
            }
        }
        pass(1 << doubling).await;
    }
    let mut state = control.lock();
    // A message between actors that there no longer is; what its step did to the outside has to be done by another.
    if state.compared == Compared::Outside && input.is_none() && nested.iter().all(is_inner) {
        return;
    }
    let offered: Vec<&str> = state
        .seat(seat)
        .waiting
        .iter()
        .map(|waiting| waiting.step)
        .collect();
    let now = match offered.as_slice() {
        [] => "it has nothing to do".to_owned(),
        steps => format!("it would take {}", steps.join(", ")),
    };
    state.differs(seat, told(&noted.event), now);
}

fn answered(control: &Control, seat: &SeatName, call: u64, answer: &Answer, nested: VecDeque<Event>) {
    let mut state = control.lock();
    let place = state.seat(seat);
    match place.calls.remove(&call) {
        // Whoever asked may have given up waiting, as it had then.
        Some(asking) => {
            place.expected = nested;
            asking.send(answer.clone()).unwrap_or(());
        }
        None => state.differs(
            seat,
            format!("call {call} is answered"),
            "no such call was made".to_owned(),
        ),
    }
}

async fn sent(control: &Control, seat: &SeatName, call: u64, print: u64, failed: Option<Failed>) {
    for _ in 0..2 {
        {
            let mut state = control.lock();
            let sends = state.seat(seat).sends.entry(call).or_default();
            if let Some(Sending { print: now, done, .. }) = sends.pop_front() {
                done.send(failed).unwrap_or(());
                if now != print {
                    let recorded = format!("a frame ({print:016x}) was sent");
                    state.differs(seat, recorded, format!("another one is ({now:016x})"));
                }
                return;
            }
        }
        settle().await;
    }
    let mut state = control.lock();
    state.differs(seat, "a frame was sent".to_owned(), "none is".to_owned());
}

/// Notes what the recording has the actor do in its turn, and it did not.
fn check_done(control: &Control, seat: &SeatName) {
    let mut state = control.lock();
    let is_lenient = state.compared == Compared::Outside;
    let missing = {
        let expected = &mut state.seat(seat).expected;
        expected.retain(|event| !(is_lenient && is_inner(event)));
        expected.pop_front()
    };
    if let Some(missing) = missing {
        state.differs(seat, told(&missing), "it does not do that".to_owned());
    }
}

fn ended(store: &DataStore, control: &Control, seat: &SeatName, recorded: (landfall::Seq, u32, u64)) {
    let end = store.snapshot().and_then(|snapshot| {
        let (head, check) = snapshot.head_and_check()?;
        Ok((head, check, state_hash(&snapshot)?))
    });
    let words = |(head, check, state): (landfall::Seq, u32, u64)| {
        format!("an end at entry {head}, check {check:08x}, state {state:016x}")
    };
    match end {
        Ok(end) if end == recorded => {}
        Ok(end) => control.lock().differs(seat, words(recorded), words(end)),
        Err(error) => control.lock().differs(seat, words(recorded), error.to_string()),
    }
}
