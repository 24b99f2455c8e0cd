//! In which order the steps of a recording are played.
//!
//! Owns [`turns`] and [`openings`]. Pure.
//!
//! Order numbers are given out where things happen, but a step takes time: it begins at its own number and ends after the
//! last of what it did. Two steps of different threads may overlap. What must hold is that a step which saw a commit
//! comes after it, and one which did not see it yet comes before. So a step with views of the store takes the place of
//! its last view, and a step with commits the place of its first commit, or that of the first view that shows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use landfall::Seq;
use landfall::flight::{Event, FaultKind, Noted, SeatName};

/// A thing to be played: a step, an answer or a frame, with what the actor does until its next.
#[derive(Debug)]
pub(super) struct Turn<'r> {
    pub(super) noted: &'r Noted,
    /// What the actor learned from outside, or did to it, in this turn; in order.
    pub(super) nested: VecDeque<Event>,
}

/// How an actor begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    pub(super) now_ms: u64,
    pub(super) wall_ms: i64,
    /// Whether it takes any turn.
    pub(super) has_turns: bool,
    /// What it does before its first turn.
    pub(super) nested: VecDeque<Event>,
}

/// The names of the seats of a recording.
pub(super) fn seats(events: &[Noted]) -> BTreeMap<u32, SeatName> {
    let seated = events.iter().filter_map(|noted| match &noted.event {
        Event::Seated { name, .. } => Some((noted.seat, name.clone())),
        _ => None,
    });
    seated.collect()
}

/// How each actor of a recording begins.
pub(super) fn openings(events: &[Noted]) -> BTreeMap<SeatName, Opening> {
    let mut openings: BTreeMap<u32, (SeatName, Opening)> = BTreeMap::new();
    for noted in events {
        match &noted.event {
            Event::Seated {
                name,
                now_ms,
                wall_ms,
            } => {
                let opening = Opening {
                    now_ms: *now_ms,
                    wall_ms: *wall_ms,
                    has_turns: false,
                    nested: VecDeque::new(),
                };
                openings.insert(noted.seat, (name.clone(), opening));
            }
            event if event.is_turn() => {
                if let Some((_, opening)) = openings.get_mut(&noted.seat) {
                    opening.has_turns = true;
                }
            }
            event => {
                if let Some((_, opening)) = openings.get_mut(&noted.seat)
                    && !opening.has_turns
                {
                    opening.nested.push_back(event.clone());
                }
            }
        }
    }
    openings.into_values().collect()
}

/// The names of the steps that each actor of a recording takes.
pub(super) fn steps(events: &[Noted]) -> BTreeMap<SeatName, BTreeSet<String>> {
    let seats = seats(events);
    let mut steps: BTreeMap<SeatName, BTreeSet<String>> = BTreeMap::new();
    for noted in events {
        if let (Event::Step { step, .. }, Some(seat)) = (&noted.event, seats.get(&noted.seat)) {
            steps.entry(seat.clone()).or_default().insert(step.to_string());
        }
    }
    steps
}

struct Placed<'r> {
    turn: Turn<'r>,
    /// Order number of its place, and 0 if it goes before the turn that is there already, as a commit that was seen does.
    place: (u64, u8),
    looked: Option<u64>,
    /// Order number of the first commit, and the newest entry then.
    committed: Option<(u64, Seq)>,
}

/// The turns of a recording, in the order in which they are played.
pub(super) fn turns(events: &[Noted]) -> Vec<Turn<'_>> {
    let mut placed: Vec<Placed<'_>> = Vec::new();
    let mut current: BTreeMap<u32, usize> = BTreeMap::new();
    let mut views: Vec<(u64, Seq)> = Vec::new();
    for noted in events {
        if noted.event.is_turn() {
            current.insert(noted.seat, placed.len());
            placed.push(Placed {
                turn: Turn {
                    noted,
                    nested: VecDeque::new(),
                },
                place: (noted.order, 1),
                looked: None,
                committed: None,
            });
            continue;
        }
        let Some(turn) = current.get(&noted.seat).map(|at| &mut placed[*at]) else {
            continue;
        };
        match &noted.event {
            Event::Looked(head) => {
                turn.looked = Some(noted.order);
                views.extend(head.map(|head| (noted.order, head)));
            }
            Event::Committed(commit) => {
                turn.committed.get_or_insert((noted.order, commit.head));
            }
            _ => {}
        }
        turn.turn.nested.push_back(noted.event.clone());
    }
    for turn in &mut placed {
        if let Some(order) = turn.looked {
            turn.place = (order, 1);
        }
        if let Some((end, head)) = turn.committed {
            turn.place = (end, 1);
            let begin = turn.turn.noted.order;
            let from = views.partition_point(|(order, _)| *order < begin);
            let shown = views[from..].iter().take_while(|(order, _)| *order < end);
            if let Some((order, _)) = shown.into_iter().find(|(_, seen)| *seen >= head) {
                turn.place = (*order, 0);
            }
        }
    }
    mark_what_was_there(&mut placed);
    placed.sort_by_key(|turn| turn.place);
    placed.into_iter().map(|turn| turn.turn).collect()
}

/// Of a commit with unknown outcome, the next one tells whether it was there: the log went on behind it, or not.
fn mark_what_was_there(placed: &mut [Placed<'_>]) {
    let mut next_base: Option<Seq> = None;
    for event in placed
        .iter_mut()
        .rev()
        .flat_map(|turn| turn.turn.nested.iter_mut().rev())
    {
        if let Event::Committed(commit) = event {
            if let (Some(fault), Some(base), Some(next)) = (&mut commit.fault, commit.base, next_base) {
                fault.there = fault.kind == FaultKind::Unknown && next > base;
            }
            next_base = commit.base.or(next_base);
        }
    }
}

#[cfg(test)]
mod tests {
    use landfall::flight::{Commit, Fault};

    use super::*;

    fn noted(order: u64, seat: u32, event: Event) -> Noted {
        Noted {
            order,
            at_ms: 0,
            seat,
            event,
        }
    }

    fn step(order: u64, seat: u32) -> Noted {
        let event = Event::Step {
            step: "Step".into(),
            print: 0,
            now_ms: 0,
            wall_ms: 0,
            input: None,
        };
        noted(order, seat, event)
    }

    fn commit(order: u64, head: u64) -> Noted {
        let commit = Commit {
            base: Some(Seq(head)),
            head: Seq(head),
            check: 0,
            fault: None,
        };
        noted(order, 1, Event::Committed(commit))
    }

    fn looked(order: u64, head: u64) -> Noted {
        noted(order, 2, Event::Looked(Some(Seq(head))))
    }

    fn order_of(events: &[Noted]) -> Vec<u64> {
        turns(events).iter().map(|turn| turn.noted.order).collect()
    }

    #[test]
    fn a_commit_comes_before_the_first_view_that_shows_it() {
        // The view was taken after the commit was visible and before it was noted.
        assert_eq!(
            order_of(&[step(1, 1), step(2, 2), looked(3, 5), commit(4, 5)]),
            [1, 2]
        );
        assert_eq!(
            order_of(&[step(1, 2), step(2, 1), looked(3, 5), commit(4, 5)]),
            [2, 1]
        );
    }

    #[test]
    fn a_commit_comes_after_the_views_that_do_not_show_it() {
        assert_eq!(
            order_of(&[step(1, 1), step(2, 2), looked(3, 4), commit(4, 5)]),
            [2, 1]
        );
    }

    #[test]
    fn the_next_commit_tells_what_became_of_an_unknown_one() {
        let failing = |order, base| {
            let fault = Fault {
                kind: FaultKind::Unknown,
                cause: String::new(),
                carried: Some(1),
                there: false,
            };
            let commit = Commit {
                base: Some(Seq(base)),
                head: Seq(0),
                check: 0,
                fault: Some(fault),
            };
            noted(order, 1, Event::Committed(commit))
        };
        let there = |next_base| {
            let events = [step(1, 1), failing(2, 3), step(3, 1), commit(4, next_base)];
            let turns = turns(&events);
            match &turns[0].nested[0] {
                Event::Committed(commit) => commit.fault.clone().unwrap().there,
                other => panic!("{other:?}"),
            }
        };
        assert!(there(5) && !there(3));
    }
}
