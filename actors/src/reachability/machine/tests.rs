use super::*;

const REACHED: Input = Input::Report(Outcome::Reached);
const UNREACHABLE: Input = Input::Report(Outcome::Unreachable);

fn probed(turn: u64, outcome: Outcome) -> Input {
    Input::Probed { turn, outcome }
}

fn yes(turn: u64) -> Input {
    probed(turn, Outcome::Reached)
}

fn no(turn: u64) -> Input {
    probed(turn, Outcome::Unreachable)
}

/// Feeds inputs at their times, with the timer going off in between; without jitter, waits are half the policy's.
fn run(forced: bool, inputs: &[(u64, Input)], until_ms: u64) -> (State, Vec<String>) {
    let mut state = State::new(forced);
    let mut told = Vec::new();
    let note = |now_ms: u64, effects: Vec<Effect>, told: &mut Vec<String>| {
        for effect in effects {
            told.push(match effect {
                Effect::Probe { turn } => format!("{now_ms} probe {turn}"),
                Effect::Tell { online: true } => format!("{now_ms} online"),
                Effect::Tell { online: false } => format!("{now_ms} offline"),
            });
        }
    };
    let ends = [(until_ms, None)];
    for (at_ms, input) in inputs
        .iter()
        .map(|(at_ms, input)| (*at_ms, Some(*input)))
        .chain(ends)
    {
        while let Some(due_ms) = state.due_ms().filter(|due_ms| *due_ms <= at_ms) {
            let effects = state.step(due_ms, &mut || 0, Input::TimerDue);
            note(due_ms, effects, &mut told);
        }
        if let Some(input) = input {
            let effects = state.step(at_ms, &mut || 0, input);
            note(at_ms, effects, &mut told);
        }
    }
    (state, told)
}

/// What happens, with inputs in their order and at their times.
#[track_caller]
fn check(inputs: &[(u64, Input)], until_ms: u64, expected: &[&str]) {
    let (state, told) = run(false, inputs, until_ms);
    assert_eq!(told, expected);
    assert!(state.unexpected.is_empty(), "{:?}", state.unexpected);
}

#[test]
fn the_first_verdict_is_told_at_once() {
    check(
        &[(0, Input::Started), (40, yes(1))],
        1_000,
        &["0 probe 1", "40 online"],
    );
    check(
        &[(0, Input::Started), (40, no(1))],
        45,
        &["0 probe 1", "40 offline"],
    );
    // Another actor may be quicker than the probe, whose answer then no longer counts.
    check(
        &[(0, Input::Started), (5, REACHED), (40, no(1))],
        1_000,
        &["0 probe 1", "5 online"],
    );
}

#[test]
fn one_bad_report_asks_before_it_believes() {
    let start = [(0, Input::Started), (1, yes(1))];
    let report = [(500, UNREACHABLE), (510, UNREACHABLE)];
    check(
        &[&start[..], &report, &[(520, yes(2))]].concat(),
        2_000,
        &["0 probe 1", "1 online", "500 probe 2"],
    );
    check(
        &[&start[..], &report, &[(520, no(2))]].concat(),
        800,
        &[
            "0 probe 1",
            "1 online",
            "500 probe 2",
            "570 probe 3",
            "770 offline",
        ],
    );
}

#[test]
fn flapping_within_the_debounce_is_not_told() {
    let flap = [
        (0, Input::Started),
        (1, yes(1)),
        (500, UNREACHABLE),
        (510, no(2)),
        (560, yes(3)),
        (700, UNREACHABLE),
        (710, no(4)),
        (900, REACHED),
    ];
    let (state, told) = run(false, &flap, 5_000);
    let verdicts: Vec<_> = told.iter().filter(|line| line.ends_with("line")).collect();
    assert_eq!(verdicts, ["1 online"]);
    assert_eq!(state.belief, Belief::Online);
}

#[test]
fn probes_while_offline_back_off_to_half_a_minute_and_a_report_ends_them() {
    let mut state = State::new(false);
    state.step(0, &mut || 0, Input::Started);
    let mut now_ms = 0;
    let mut waits = Vec::new();
    for turn in 1..=11 {
        state.step(now_ms, &mut || u64::MAX, no(turn));
        let due_ms = state.due_ms().expect("a probe is due while offline");
        waits.push(due_ms - now_ms);
        now_ms = due_ms;
        assert_eq!(
            state.step(now_ms, &mut || 0, Input::TimerDue),
            [Effect::Probe { turn: turn + 1 }]
        );
    }
    assert!(
        waits.is_sorted() && waits[0] >= 50 && waits[10] >= 15_000 && waits[10] <= 30_000,
        "{waits:?}"
    );

    assert_eq!(state.step(now_ms, &mut || 0, REACHED), []);
    assert_eq!(
        state.step(now_ms + DEBOUNCE_MS, &mut || 0, Input::TimerDue),
        [Effect::Tell { online: true }]
    );
    assert_eq!(state.due_ms(), None, "nothing is due while online");
}

#[test]
fn forcing_is_told_at_once_and_releasing_asks_at_once() {
    check(
        &[
            (0, Input::Started),
            (1, yes(1)),
            (100, Input::ForceOffline { offline: true }),
            (120, REACHED),
            (200, Input::ForceOffline { offline: true }),
            (300, Input::ForceOffline { offline: false }),
            (310, yes(2)),
        ],
        1_000,
        &[
            "0 probe 1",
            "1 online",
            "100 offline",
            "300 probe 2",
            "310 online",
        ],
    );
}

#[test]
fn who_starts_forced_does_not_ask() {
    let (_, told) = run(true, &[(0, Input::Started), (10, REACHED)], 60_000);
    assert_eq!(told, ["0 offline"]);
}

#[test]
fn an_answer_from_before_the_switch_does_not_count() {
    let release = |offline| Input::ForceOffline { offline };
    check(
        &[
            (0, Input::Started),
            (1, release(true)),
            (2, release(false)),
            (3, yes(1)),
            (9, no(2)),
        ],
        20,
        &["0 probe 1", "1 offline", "2 probe 2"],
    );
}

#[test]
fn a_verdict_that_was_told_is_not_told_again() {
    let release = |offline| Input::ForceOffline { offline };
    check(
        &[
            (0, Input::Started),
            (1, no(1)),
            (2, release(true)),
            (3, release(false)),
            (4, no(2)),
        ],
        40,
        &["0 probe 1", "1 offline", "3 probe 2"],
    );
}

#[test]
fn what_cannot_happen_is_named_and_counted() {
    let (state, told) = run(
        false,
        &[(0, REACHED), (1, Input::Started), (2, Input::Started)],
        10,
    );
    assert_eq!(told, ["1 probe 1"]);
    let counted: Vec<_> = state.unexpected.into_iter().collect();
    assert_eq!(counted, [(("new", "reached"), 1), (("unknown", "started"), 1)]);
}
