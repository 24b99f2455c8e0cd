use std::collections::VecDeque;

use landfall_core::MutationKind::{self, Create, Delete, Update};
use landfall_core::{CONFLICT_ROUNDS_MAX, Decision, FieldMap, Outbox, RemoteRecord, Resolution, Value};
use landfall_wire::{Delivery, FailureClass, MutationReply};

use super::super::gate::SEND_BACKOFF;
use super::super::pauses::CREDENTIALS_BACKOFF;
use super::super::testing::{
    deleted, error, misconfigured, mutation, no_credentials, remote, schema, settlement_text, transient,
};
use super::later::{LATE_MS, PUT_OFF_MAX};
use super::*;
use crate::handlers::ErrorKind;
use crate::mutation::verdict::Fetched;

/// The machine with the rules of the outbox and a store that forgets nothing; the test is the server.
struct Lab {
    state: State,
    now_ms: u64,
    outbox: Outbox,
    paused: bool,
    stored: BTreeMap<Seq, Mutation>,
    /// Whether the store answers at all.
    stuck: bool,
    disk_full: bool,
    /// Whether the outbox hears of a commit, and hands out what is ready then, before the commit is answered.
    outbox_first: bool,
    inputs: VecDeque<Input>,
    /// Inputs that come when there are no others.
    late: VecDeque<Input>,
    /// Requests without an answer: mutations and questions.
    out: BTreeMap<Seq, Mutation>,
    asked: BTreeMap<Seq, Mutation>,
    trace: Vec<String>,
}

fn lab(lanes: usize) -> Lab {
    Lab {
        state: State::new(schema(), lanes),
        now_ms: 0,
        outbox: Outbox::default(),
        paused: false,
        stored: BTreeMap::new(),
        stuck: false,
        disk_full: false,
        outbox_first: false,
        inputs: VecDeque::new(),
        late: VecDeque::new(),
        out: BTreeMap::new(),
        asked: BTreeMap::new(),
        trace: Vec::new(),
    }
}

/// A lab that is awake, with those mutations sent as far as there are lanes.
fn with(lanes: usize, mutations: &[(MutationKind, &str)]) -> Lab {
    let mut lab = lab(lanes);
    for (index, (kind, key)) in mutations.iter().enumerate() {
        lab.put(mutation(index as u64 + 1, *kind, key));
    }
    lab.feed(Input::Wake);
    lab
}

impl Lab {
    fn put(&mut self, mutation: Mutation) {
        self.outbox.put(&mutation);
        self.stored.insert(mutation.seq, mutation);
    }

    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front().or_else(|| self.late.pop_front()) {
            for effect in self.state.step(self.now_ms, &mut || 0, input) {
                self.perform(effect);
            }
            assert!(
                self.state.in_lanes() <= self.state.lanes,
                "more in hand than there are lanes"
            );
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Take { max, held_up } => {
                let taken = if self.paused {
                    Vec::new()
                } else {
                    self.outbox.take_except(max, &held_up)
                };
                self.inputs.push_back(Input::Taken(taken));
            }
            Effect::GiveBack(seqs) => seqs.into_iter().for_each(|seq| self.outbox.give_back(seq)),
            Effect::Mark(asked) => self.mark(asked),
            Effect::Load(seq) => {
                self.inputs.push_back(Input::Loaded {
                    seq,
                    loaded: Ok(self.stored.get(&seq).cloned().map(Box::new)),
                });
            }
            Effect::Send(mutation) => {
                let version = mutation
                    .base_version
                    .map(|version| format!(" on {version}"))
                    .unwrap_or_default();
                self.trace
                    .push(format!("send {} {}{version}", mutation.seq, mutation.kind.verb()));
                self.out.insert(mutation.seq, *mutation);
            }
            Effect::Fetch(mutation) => {
                self.trace.push(format!("ask {}", mutation.seq));
                self.asked.insert(mutation.seq, *mutation);
            }
            Effect::Decide { mutation, remote } => {
                self.trace
                    .push(format!("decide {} {}", mutation.seq, remote.sync.version));
            }
            Effect::Settle { seq, settlement } => self.settle(seq, settlement),
            Effect::AnnouncePaused { reason } => self.trace.push(format!("paused: {reason}")),
            Effect::Report(report) => {
                let what = match report.kind {
                    ErrorKind::LostUpdate => "gone",
                    _ if report.parked => "parked",
                    _ => "waits",
                };
                self.trace.push(format!(
                    "told {} {} {what}",
                    report.kind.name(),
                    report.mutation.seq
                ));
            }
        }
    }

    fn mark(&mut self, asked: Vec<Seq>) {
        if self.disk_full {
            self.inputs.push_back(Input::Marked {
                asked,
                marked: Err("disk full".into()),
            });
            return;
        }
        let mut marked = Vec::new();
        for seq in &asked {
            let Some(mutation) = self.stored.get_mut(seq).filter(|mutation| mutation.is_open()) else {
                continue;
            };
            mutation.stage = MutationStage::InFlight;
            mutation.attempts += 1;
            self.outbox.put(mutation);
            marked.push(mutation.clone());
        }
        self.inputs.push_back(Input::Marked {
            asked,
            marked: Ok(marked),
        });
    }

    fn settle(&mut self, seq: Seq, settlement: Settlement) {
        self.trace.push(format!("{seq} {}", settlement_text(&settlement)));
        if self.stuck {
            return;
        }
        if self.disk_full {
            return self.inputs.push_back(Input::Settled {
                seq,
                settled: Err("disk full".into()),
            });
        }
        let mutation = self.stored.get_mut(&seq).expect("only what waits is settled");
        match settlement {
            Settlement::Acknowledged(_)
            | Settlement::Conflict {
                decision: Decision::AcceptRemote,
                ..
            } => {
                self.stored.remove(&seq);
                self.outbox.remove(seq);
            }
            Settlement::Conflict {
                remote,
                decision: Decision::Retry { kind, patch },
            } => {
                mutation.kind = kind;
                mutation.patch = patch;
                mutation.base_version = Some(remote.sync.version);
                mutation.conflict_rounds += 1;
                mutation.stage = MutationStage::Queued;
            }
            Settlement::Refused { refusal, .. } => mutation.stage = MutationStage::Parked(refusal),
            Settlement::NotApplied => mutation.stage = MutationStage::Queued,
            Settlement::Unknown => mutation.stage = MutationStage::Unknown,
        }
        if let Some(mutation) = self.stored.get(&seq) {
            self.outbox.put(mutation);
        }
        let answers = if self.outbox_first {
            &mut self.late
        } else {
            &mut self.inputs
        };
        answers.push_back(Input::Settled { seq, settled: Ok(()) });
        if !self.paused {
            self.inputs.push_back(Input::Wake);
        }
    }

    fn reply(&mut self, seq: u64, reply: MutationReply) {
        let mutation = self.out.remove(&Seq(seq)).expect("it was sent");
        self.feed(Input::Replied {
            seq: mutation.seq,
            reply: Box::new(reply),
        });
    }

    fn fail(&mut self, seq: u64, failure: Failure) {
        self.reply(seq, MutationReply::Failed(failure));
    }

    fn apply(&mut self, seq: u64) {
        let version = self.out[&Seq(seq)]
            .base_version
            .map_or(1, |version| version.0 + 1);
        self.reply(seq, MutationReply::Applied(remote(version, "mine")));
    }

    fn found(&mut self, seq: u64, fetched: Result<Fetched, Failure>) {
        let mutation = self.asked.remove(&Seq(seq)).expect("it was asked for");
        self.feed(Input::Fetched {
            seq: mutation.seq,
            fetched: fetched.map_err(Box::new),
        });
    }

    fn conflict(&mut self, seq: u64, server: Option<RemoteRecord>) {
        self.reply(
            seq,
            MutationReply::Conflict {
                server,
                failure: error("ConflictUnhandled"),
            },
        );
    }

    fn decide(&mut self, seq: u64, resolution: Result<Resolution, Undecided>) {
        self.feed(Input::Decided {
            seq: Seq(seq),
            resolution,
            known: Box::default(),
        });
    }

    fn pause(&mut self) {
        self.paused = true;
        self.feed(Input::Pause);
    }

    /// The outbox is resumed: it knows nothing of what was taken, and wakes.
    fn resume(&mut self) {
        self.paused = false;
        self.outbox = Outbox::default();
        self.stored
            .values()
            .for_each(|mutation| self.outbox.put(mutation));
        self.feed(Input::Wake);
    }

    /// Lets time pass up to a moment, with the timer going off in between.
    fn until(&mut self, at_ms: u64) {
        while let Some(due_ms) = self.state.due_ms().filter(|due_ms| *due_ms <= at_ms) {
            self.now_ms = due_ms;
            self.feed(Input::TimerDue);
        }
        self.now_ms = at_ms;
    }

    /// Lets time pass until something is due; returns how long that took.
    fn next_due(&mut self) -> u64 {
        let due_ms = self.state.due_ms().expect("something is due");
        let wait_ms = due_ms - self.now_ms;
        self.until(due_ms);
        wait_ms
    }

    /// What happened since the last check.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.trace), expected);
        assert!(self.state.unexpected.is_empty(), "{:?}", self.state.unexpected);
    }
}

const NOT_DELIVERED: Delivery = Delivery::NotDelivered;
const PERHAPS: Delivery = Delivery::Unknown;

#[test]
fn a_second_wake_is_harmless() {
    let mut lab = lab(2);
    lab.put(mutation(1, Create, "Todo/a"));
    lab.feed(Input::Wake);
    lab.check(&["send e1 create"]);
    lab.feed(Input::Wake);
    lab.check(&[]);
}

#[test]
fn unrelated_records_go_in_parallel_and_one_record_in_order() {
    let mut lab = with(
        2,
        &[
            (Create, "Todo/a"),
            (Update, "Todo/a"),
            (Create, "Todo/b"),
            (Create, "Todo/c"),
        ],
    );
    lab.check(&["send e1 create", "send e3 create"]);
    lab.apply(3);
    lab.check(&["e3 acknowledged v1", "send e4 create"]);
    lab.apply(1);
    lab.check(&["e1 acknowledged v1", "send e2 update on v1"]);
    lab.apply(4);
    lab.apply(2);
    lab.check(&["e4 acknowledged v1", "e2 acknowledged v2"]);
    assert!(lab.outbox.is_empty() && lab.state.held.is_empty());
}

#[test]
fn a_refused_mutation_is_parked_told_after_the_commit_and_holds_up_only_its_record() {
    let mut lab = with(4, &[(Update, "Todo/a"), (Update, "Todo/a"), (Update, "Todo/b")]);
    lab.trace.clear();
    lab.fail(1, error("Unauthorized"));
    lab.check(&["e1 refused Unauthorized", "told Unauthorized e1 parked"]);
    lab.apply(3);
    lab.check(&["e3 acknowledged v2"]);
    assert_eq!(lab.stored.len(), 2, "it is parked, and what follows it waits");
}

#[test]
fn what_goes_once_more_does_so_whoever_hears_of_its_settlement_first() {
    for outbox_first in [false, true] {
        let mut lab = lab(2);
        lab.outbox_first = outbox_first;
        lab.put(mutation(1, Update, "Todo/a"));
        lab.feed(Input::Wake);
        lab.conflict(1, Some(remote(2, "theirs")));
        lab.decide(1, Ok(Resolution::KeepLocal));
        assert_eq!(
            lab.trace.last().map(String::as_str),
            Some("send e1 update on v2"),
            "{:?}",
            lab.trace
        );
        lab.apply(1);
        assert!(lab.outbox.is_empty() && lab.state.held.is_empty());
    }
}

#[test]
fn what_certainly_did_not_arrive_waits_for_the_gate_and_is_sent_again() {
    let mut lab = with(2, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    lab.trace.clear();
    lab.fail(1, transient(NOT_DELIVERED));
    lab.fail(2, transient(NOT_DELIVERED));
    lab.check(&["e1 not applied", "e2 not applied"]);
    // Two that failed together are one failure, and one is tried before all go again; not one that has just failed.
    assert_eq!(lab.next_due(), SEND_BACKOFF.first_ms / 2);
    lab.check(&["send e3 update on v1"]);
    lab.apply(3);
    lab.check(&[
        "e3 acknowledged v2",
        "send e1 update on v1",
        "send e2 update on v1",
    ]);
    assert_eq!(lab.stored[&Seq(1)].attempts, 2);
}

#[test]
fn a_server_that_is_down_is_tried_slower_and_slower_and_told_of_once() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    let mut waits = Vec::new();
    for _ in 0..14 {
        lab.fail(1, transient(NOT_DELIVERED));
        let mut wait_ms = 0;
        while lab.out.is_empty() {
            wait_ms += lab.next_due();
        }
        waits.push(wait_ms);
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits[..3], [100, 200, 400]);
    assert_eq!(
        waits[13],
        SEND_BACKOFF.longest_ms / 2,
        "half of the wait is certain, the rest drawn"
    );
    let told: Vec<_> = lab.trace.iter().filter(|line| line.starts_with("told")).collect();
    assert_eq!(told, ["told Transient e1 waits"]);
    lab.apply(1);
    assert!(lab.stored.is_empty(), "nothing is dropped, however long it takes");
}

#[test]
fn a_retry_after_is_honoured() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    let class = FailureClass::Transient {
        delivery: NOT_DELIVERED,
        retry_after_ms: Some(7_000),
    };
    lab.fail(
        1,
        Failure {
            class,
            ..transient(NOT_DELIVERED)
        },
    );
    assert_eq!(lab.next_due(), 7_000);
}

#[test]
fn a_record_that_makes_the_server_fail_does_not_hold_up_the_others() {
    let mut lab = with(1, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    for seq in [2, 3] {
        lab.fail(1, transient(NOT_DELIVERED));
        lab.trace.clear();
        lab.next_due();
        lab.check(&[&format!("send e{seq} update on v1")]);
        lab.apply(seq);
    }
    assert_eq!(lab.stored.len(), 1);
}

#[test]
fn a_lost_answer_is_asked_about_before_anything_is_sent_again() {
    let lost = || {
        let mut lab = with(4, &[(Update, "Todo/a")]);
        lab.fail(1, transient(PERHAPS));
        lab.trace.clear();
        lab.next_due();
        lab.check(&["ask e1"]);
        lab
    };
    let mut applied = lost();
    applied.found(1, Ok(Fetched::Found(remote(2, "mine"))));
    applied.check(&["e1 acknowledged v2"]);
    let mut not_applied = lost();
    not_applied.found(1, Ok(Fetched::Found(remote(1, "old"))));
    not_applied.check(&["e1 not applied", "send e1 update on v1"]);
    let mut overtaken = lost();
    overtaken.found(1, Ok(Fetched::Found(remote(3, "theirs"))));
    overtaken.check(&["decide e1 v3"]);
    let mut unanswered = lost();
    unanswered.found(1, Err(transient(PERHAPS)));
    unanswered.check(&[]);
    assert_eq!(unanswered.next_due(), 200);
    unanswered.check(&["ask e1"]);
    let mut refused = lost();
    refused.found(1, Err(error("Unauthorized")));
    refused.check(&["e1 refused OutcomeUnknown", "told Unauthorized e1 parked"]);
}

/// The answer to an update is lost, the server shows no effect of it; returns how long the next try has to wait.
fn lose_and_find_nothing(lab: &mut Lab) -> u64 {
    lab.fail(1, transient(PERHAPS));
    let mut wait_ms = 0;
    while lab.asked.is_empty() {
        wait_ms += lab.next_due();
    }
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    wait_ms
}

#[test]
fn a_server_that_answers_questions_and_takes_no_changes_is_tried_ever_less_often_and_told() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    let waits: Vec<u64> = (0..12).map(|_| lose_and_find_nothing(&mut lab)).collect();
    let told = lab.trace.iter().filter(|line| line.contains("told")).count();
    assert_eq!(told, 1, "{:?}", lab.trace);
    assert_eq!(&waits[..3], [100, 200, 400]);
    assert!(waits[11] >= 30_000, "{waits:?}");
    lab.trace.clear();
    // Once it takes one, all is as it was.
    lab.apply(1);
    lab.put(mutation(9, Update, "Todo/b"));
    lab.feed(Input::Wake);
    assert_eq!(lab.state.room(), 1, "one more than before");
    lab.check(&["e1 acknowledged v2", "send e9 update on v1"]);
}

/// The server answers the change, but not the question that has to follow; returns how long the next try has to wait.
fn answer_and_fail_the_question(lab: &mut Lab, reply: MutationReply) -> u64 {
    lab.reply(1, reply);
    lab.found(1, Err(transient(PERHAPS)));
    let mut wait_ms = 0;
    while !lab.out.contains_key(&Seq(1)) {
        wait_ms += lab.next_due();
    }
    wait_ms
}

#[test]
fn a_server_that_answers_changes_and_no_questions_is_tried_ever_less_often_and_told() {
    let condition = || MutationReply::ConditionFailed {
        server: None,
        failure: error("ConditionalCheckFailedException"),
    };
    let conflict = || MutationReply::Conflict {
        server: None,
        failure: error("ConflictUnhandled"),
    };
    for reply in [&condition as &dyn Fn() -> MutationReply, &conflict] {
        let mut lab = with(4, &[(Update, "Todo/a")]);
        let waits: Vec<u64> = (0..12)
            .map(|_| answer_and_fail_the_question(&mut lab, reply()))
            .collect();
        assert_eq!(&waits[..3], [100, 200, 400]);
        assert!(waits.is_sorted() && waits[11] >= 30_000, "{waits:?}");
        let told = lab.trace.iter().filter(|line| line.contains("told")).count();
        assert_eq!(told, 1, "{:?}", lab.trace);
    }
}

#[test]
fn a_change_whose_question_fails_rests_while_the_server_takes_the_others() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    let mut waits = Vec::new();
    for round in 2..20 {
        let begun_ms = lab.now_ms;
        lab.conflict(1, None);
        lab.found(1, Err(transient(PERHAPS)));
        lab.put(mutation(round, Create, &format!("Todo/{round}")));
        lab.feed(Input::Wake);
        while !lab.out.contains_key(&Seq(1)) {
            if lab.out.contains_key(&Seq(round)) {
                lab.apply(round);
            } else {
                lab.next_due();
            }
        }
        if lab.out.contains_key(&Seq(round)) {
            lab.apply(round);
        }
        waits.push(lab.now_ms - begun_ms);
    }
    assert_eq!(waits.last(), Some(&30_000), "{waits:?}");
}

/// What was lost is asked about in vain, so many times, while the server takes a create each time; returns how long each
/// question had to wait.
fn ask_in_vain(lab: &mut Lab, times: u64) -> Vec<u64> {
    let mut waits = Vec::new();
    for round in 0..times {
        let begun_ms = lab.now_ms;
        lab.found(1, Err(transient(PERHAPS)));
        let other = 100 + round;
        lab.put(mutation(other, Create, &format!("Todo/{other}")));
        lab.feed(Input::Wake);
        while lab.asked.is_empty() || lab.stored.contains_key(&Seq(other)) {
            if lab.out.contains_key(&Seq(other)) {
                lab.apply(other);
            } else {
                lab.next_due();
            }
        }
        waits.push(lab.now_ms - begun_ms);
    }
    waits
}

#[test]
fn a_question_that_fails_for_ever_is_put_off_and_told_while_the_server_answers_others() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    let waits = ask_in_vain(&mut lab, 18);
    assert!(waits[..3].iter().all(|wait_ms| *wait_ms <= 200), "{waits:?}");
    assert!(waits[3..].is_sorted(), "{waits:?}");
    assert_eq!(waits.last(), Some(&30_000), "half of the longest: {waits:?}");
    let told: Vec<&String> = lab.trace.iter().filter(|line| line.contains("told")).collect();
    assert_eq!(told.len(), 3, "of the 4th, the 8th and the 16th: {told:?}");
    // An answer ends it, and what is asked later begins anew.
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.fail(1, transient(PERHAPS));
    while lab.asked.is_empty() {
        lab.next_due();
    }
    assert!(ask_in_vain(&mut lab, 1)[0] <= 200);
}

#[test]
fn what_is_put_off_is_asked_about_at_once_when_the_server_is_back_and_takes_no_lane() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    ask_in_vain(&mut lab, 12);
    lab.found(1, Err(transient(PERHAPS)));
    lab.put(mutation(9, Create, "Todo/b"));
    lab.trace.clear();
    while lab.out.is_empty() {
        lab.next_due();
    }
    lab.check(&["send e9 create"]);
    lab.apply(9);
    lab.pause();
    lab.resume();
    lab.trace.clear();
    let mut waited_ms = 0;
    while lab.asked.is_empty() {
        waited_ms += lab.next_due();
    }
    assert_eq!(waited_ms, 0);
}

#[test]
fn so_many_questions_are_put_off_and_no_more() {
    let count = PUT_OFF_MAX as u64 + 8;
    let mut lab = lab(usize::try_from(count).expect("it is small"));
    for record in 0..count {
        lab.put(Mutation {
            stage: MutationStage::Unknown,
            ..mutation(10_000 + record, Update, &format!("Todo/{record}"))
        });
    }
    lab.feed(Input::Wake);
    let put_off = |lab: &Lab| lab.state.held.values().filter(|held| held.waits()).count();
    let mut most = 0;
    for other in 1..2_000 {
        while let Some(seq) = lab.asked.keys().next().copied() {
            lab.found(seq.0, Err(transient(PERHAPS)));
        }
        most = most.max(put_off(&lab));
        // The server answers this one, so that all of them may be asked about again.
        lab.put(mutation(other, Create, &format!("Tag/{other}")));
        lab.feed(Input::Wake);
        while !lab.out.contains_key(&Seq(other)) {
            lab.next_due();
        }
        lab.apply(other);
    }
    assert_eq!(most, PUT_OFF_MAX);
}

#[test]
fn a_change_that_the_server_fails_at_rests_while_it_takes_the_others() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    let mut waits = Vec::new();
    for round in 2..20 {
        let begun_ms = lab.now_ms;
        lab.fail(1, transient(NOT_DELIVERED));
        // Another one is taken as soon as the gate opens a little.
        lab.put(mutation(round, Create, &format!("Todo/{round}")));
        lab.feed(Input::Wake);
        while !lab.out.contains_key(&Seq(1)) {
            if lab.out.contains_key(&Seq(round)) {
                lab.apply(round);
            } else {
                lab.next_due();
            }
        }
        if lab.out.contains_key(&Seq(round)) {
            lab.apply(round);
        }
        waits.push(lab.now_ms - begun_ms);
    }
    assert!(waits[..3].iter().all(|wait_ms| *wait_ms <= 200), "{waits:?}");
    assert_eq!(
        waits.last(),
        Some(&30_000),
        "half of the longest, the least of its jitter: {waits:?}"
    );
    let told: Vec<&String> = lab.trace.iter().filter(|line| line.contains("told")).collect();
    assert_eq!(
        told.len(),
        3,
        "at the 4th, the 8th and the 16th attempt: {told:?}"
    );
}

#[test]
fn what_rests_goes_again_at_once_when_the_server_is_back() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    for _ in 0..9 {
        lab.fail(1, transient(NOT_DELIVERED));
        while lab.out.is_empty() {
            lab.next_due();
        }
    }
    lab.fail(1, transient(NOT_DELIVERED));
    lab.pause();
    lab.trace.clear();
    lab.resume();
    let mut waited_ms = 0;
    while lab.out.is_empty() {
        waited_ms += lab.next_due();
    }
    assert_eq!(waited_ms, 0);
    lab.check(&["e1 not applied", "send e1 update on v1"]);
}

/// A lab that is awake long enough that nothing of a former run can come, with an update on its way that writes a list.
fn with_list() -> Lab {
    with_list_in(4)
}

fn with_list_in(lanes: usize) -> Lab {
    let mut lab = lab(lanes);
    lab.feed(Input::Wake);
    lab.now_ms = 100_000;
    let mut update = mutation(1, Update, "Todo/a");
    let tags = Value::List(vec![Value::from("x")]);
    update.patch = FieldMap::from([("tags".into(), tags)]);
    lab.put(update);
    lab.feed(Input::Wake);
    lab.check(&["send e1 update on v1"]);
    lab
}

#[test]
fn a_list_is_not_sent_again_while_the_first_request_may_still_be_carried_out() {
    let mut lab = with_list();
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.check(&["e1 unknown", "ask e1"]);
    lab.until(100_000 + LATE_MS - 1);
    lab.check(&[]);
    lab.until(100_000 + LATE_MS);
    lab.check(&["ask e1"]);
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.check(&["e1 not applied", "send e1 update on v1"]);
}

#[test]
fn a_list_whose_request_was_carried_out_late_is_not_sent_twice() {
    let mut lab = with_list();
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.until(100_000 + LATE_MS);
    lab.trace.clear();
    let mut late = remote(2, "old");
    late.fields = lab.asked[&Seq(1)].patch.clone();
    lab.found(1, Ok(Fetched::Found(late)));
    lab.check(&["e1 acknowledged v2"]);
}

#[test]
fn a_list_that_waits_keeps_nothing_else_from_being_sent() {
    for lanes in [1, 4] {
        let mut lab = with_list_in(lanes);
        lab.fail(1, transient(PERHAPS));
        lab.next_due();
        lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
        lab.trace.clear();
        lab.put(mutation(2, Update, "Todo/b"));
        lab.put(mutation(3, Update, "Todo/a"));
        lab.feed(Input::Wake);
        lab.check(&["send e2 update on v1"]);
        // Its lane may be taken when its time has come.
        lab.until(100_000 + LATE_MS);
        if lanes == 1 {
            lab.check(&[]);
        }
        lab.apply(2);
        assert!(lab.trace.contains(&"ask e1".to_owned()), "{:?}", lab.trace);
    }
}

#[test]
fn so_many_lists_wait_beside_the_lanes_and_more_in_them() {
    let mut lab = lab(2);
    lab.feed(Input::Wake);
    let of_lists = mutation(1, Update, "Todo/a");
    let topic = Topic {
        model: of_lists.key.model.clone(),
        kind: Update,
    };
    for seq in 0..=WAITING_MAX as u64 {
        let held = Held {
            stage: Stage::Waiting { until_ms: u64::MAX },
            place: lab.state.place(topic.clone()),
        };
        lab.state.held.insert(Seq(1_000 + seq), held);
    }
    lab.put(mutation(1, Update, "Todo/a"));
    lab.put(mutation(2, Update, "Todo/b"));
    lab.feed(Input::Wake);
    lab.check(&["send e1 update on v1"]);
}

#[test]
fn a_list_that_was_too_much_with_others_does_not_wait() {
    let mut lab = with_list();
    lab.trace.clear();
    lab.reply(1, MutationReply::Crowded(error("ResponseSizeExceeded")));
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.check(&["ask e1", "e1 not applied", "send e1 update on v1"]);
}

#[test]
fn what_was_too_much_with_others_is_asked_about_until_the_server_tells() {
    let mut lab = with(4, &[(Update, "Todo/a")]);
    lab.reply(1, MutationReply::Crowded(error("ResponseSizeExceeded")));
    lab.trace.clear();
    lab.found(1, Err(transient(PERHAPS)));
    lab.next_due();
    lab.check(&["e1 unknown", "ask e1"]);
}

#[test]
fn a_list_that_others_have_changed_is_decided_about_once_the_request_can_come_no_more() {
    let mut lab = with_list();
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.trace.clear();
    lab.found(1, Ok(Fetched::Found(remote(2, "theirs"))));
    lab.check(&[]);
    lab.until(100_000 + LATE_MS);
    // It came late, and was merged into what they had changed.
    let mut merged = remote(3, "theirs");
    merged.fields.extend(lab.asked[&Seq(1)].patch.clone());
    lab.found(1, Ok(Fetched::Found(merged)));
    lab.check(&["ask e1", "e1 acknowledged v3"]);
    let mut lab = with_list();
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.found(1, Ok(Fetched::Found(remote(2, "theirs"))));
    lab.until(100_000 + LATE_MS);
    lab.trace.clear();
    lab.found(1, Ok(Fetched::Found(remote(2, "theirs"))));
    lab.check(&["decide e1 v2"]);
}

#[test]
fn a_list_that_waits_is_given_back_where_sending_was_paused() {
    let mut lab = with_list();
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.found(1, Ok(Fetched::Found(remote(1, "old"))));
    lab.pause();
    lab.trace.clear();
    lab.until(100_000 + LATE_MS);
    lab.check(&[]);
    assert!(lab.state.held.is_empty());
}

#[test]
fn a_lost_create_and_a_lost_delete_are_found_out() {
    let mut lab = with(4, &[(Create, "Todo/a"), (Delete, "Todo/b")]);
    lab.fail(1, transient(PERHAPS));
    lab.fail(2, transient(PERHAPS));
    lab.trace.clear();
    lab.next_due();
    lab.check(&["ask e1"]);
    lab.found(1, Ok(Fetched::Found(remote(1, "mine"))));
    lab.check(&["e1 acknowledged v1", "ask e2"]);
    lab.found(
        2,
        Ok(Fetched::Missing {
            known: Some(remote(1, "mine").sync),
        }),
    );
    lab.check(&["e2 acknowledged v2 deleted"]);
}

#[test]
fn a_create_that_exists_already_is_asked_about() {
    let failed = || MutationReply::ConditionFailed {
        server: None,
        failure: error("ConditionalCheckFailedException"),
    };
    let mut lab = with(4, &[(Create, "Tag/a"), (Create, "Tag/b")]);
    lab.trace.clear();
    lab.reply(1, failed());
    lab.reply(2, failed());
    lab.check(&["ask e1", "ask e2"]);
    lab.found(1, Ok(Fetched::Found(remote(1, "mine"))));
    lab.found(2, Ok(Fetched::Found(remote(1, "theirs"))));
    // Somebody else was first: that is a conflict, and no sign that the create went through.
    lab.check(&["e1 acknowledged v1", "decide e2 v1"]);
    let fill = FieldMap::from([("note".into(), "kept".into())]);
    lab.decide(2, Ok(Resolution::Merged(fill)));
    lab.check(&["e2 update again note=\"kept\" on v1", "send e2 update on v1"]);
}

#[test]
fn a_conflict_is_decided_while_others_go_on() {
    let mut lab = with(2, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    lab.trace.clear();
    lab.conflict(1, Some(remote(4, "theirs")));
    lab.apply(2);
    lab.check(&["decide e1 v4", "e2 acknowledged v2", "send e3 update on v1"]);
    lab.decide(1, Ok(Resolution::KeepLocal));
    lab.check(&["e1 update again title=\"mine\" on v4", "send e1 update on v4"]);
    lab.conflict(1, Some(remote(5, "theirs")));
    let merged = FieldMap::from([("title".into(), Value::from("ours"))]);
    lab.decide(1, Ok(Resolution::Merged(merged)));
    lab.check(&[
        "decide e1 v5",
        "e1 update again title=\"ours\" on v5",
        "send e1 update on v5",
    ]);
    lab.conflict(1, None);
    lab.check(&["ask e1"]);
    lab.found(1, Ok(Fetched::Found(deleted(6))));
    lab.decide(1, Ok(Resolution::KeepLocal));
    lab.check(&[
        "decide e1 v6",
        "e1 refused RecordDeleted, v6 deleted",
        "told Unknown e1 parked",
    ]);
}

#[test]
fn a_change_that_is_given_up_to_a_deletion_is_told_once_that_is_stored() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.trace.clear();
    lab.conflict(1, Some(deleted(6)));
    lab.decide(1, Ok(Resolution::AcceptRemote));
    lab.check(&[
        "decide e1 v6",
        "e1 accepts remote v6 deleted",
        "told LostUpdate e1 gone",
    ]);
}

#[test]
fn conflicts_without_end_are_parked() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    for round in 1..CONFLICT_ROUNDS_MAX {
        lab.conflict(1, Some(remote(u64::from(round) + 10, "theirs")));
        lab.decide(1, Ok(Resolution::KeepLocal));
    }
    lab.trace.clear();
    lab.conflict(1, Some(remote(99, "theirs")));
    lab.check(&["e1 refused ConflictUnhandled, v99", "told Unknown e1 parked"]);
}

#[test]
fn a_handler_that_fails_decides_nothing() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.conflict(1, Some(remote(4, "theirs")));
    lab.trace.clear();
    lab.decide(1, Err(Undecided::Panicked));
    lab.check(&["e1 refused untyped, v4", "told Unknown e1 parked"]);
}

#[test]
fn missing_credentials_pause_sending_and_park_nothing() {
    let mut lab = with(2, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    lab.trace.clear();
    lab.fail(1, no_credentials());
    lab.fail(2, no_credentials());
    lab.check(&[
        "paused: the server answered with status 401",
        "told Unauthorized e1 waits",
        "e1 not applied",
        "e2 not applied",
    ]);
    assert_eq!(lab.next_due(), CREDENTIALS_BACKOFF.first_ms / 2);
    lab.check(&["send e3 update on v1"]);
    // Told once, until something was answered.
    lab.fail(3, no_credentials());
    lab.check(&["e3 not applied"]);
    assert_eq!(lab.next_due(), CREDENTIALS_BACKOFF.first_ms);
    lab.apply(1);
    lab.check(&[
        "send e1 update on v1",
        "e1 acknowledged v2",
        "send e2 update on v1",
        "send e3 update on v1",
    ]);
}

#[test]
fn what_lacks_credentials_holds_up_no_other_model_or_kind_of_change() {
    let mut lab = with(2, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    lab.fail(1, no_credentials());
    lab.fail(2, no_credentials());
    lab.trace.clear();
    lab.put(mutation(4, Create, "Tag/a"));
    lab.put(mutation(5, Create, "Todo/d"));
    lab.feed(Input::Wake);
    lab.check(&["send e4 create", "send e5 create"]);
    lab.apply(4);
    lab.apply(5);
    lab.check(&["e4 acknowledged v1", "e5 acknowledged v1"]);
    // That those went has nothing to do with these: each wait is longer than the last, and nobody is told again.
    for wait_ms in [CREDENTIALS_BACKOFF.first_ms / 2, CREDENTIALS_BACKOFF.first_ms] {
        assert_eq!(lab.next_due(), wait_ms);
        let sent = *lab.out.keys().next().expect("one is tried");
        lab.put(mutation(sent.0 + 100, Create, &format!("Tag/{sent}")));
        lab.feed(Input::Wake);
        lab.fail(sent.0, no_credentials());
        lab.apply(sent.0 + 100);
        assert!(
            !lab.trace
                .iter()
                .any(|line| line.starts_with("paused") || line.starts_with("told")),
            "{:?}",
            lab.trace
        );
    }
}

#[test]
fn a_long_row_without_credentials_is_passed_over() {
    let drafts: Vec<String> = (0..50).map(|draft| format!("Todo/{draft}")).collect();
    let mut mutations: Vec<(MutationKind, &str)> =
        drafts.iter().map(|draft| (Update, draft.as_str())).collect();
    mutations.push((Create, "Tag/a"));
    let mut lab = with(2, &mutations);
    lab.fail(1, no_credentials());
    lab.trace.clear();
    lab.fail(2, no_credentials());
    lab.check(&["e2 not applied"]);
    lab.apply(51);
    assert_eq!(lab.trace, ["e51 acknowledged v1"]);
}

#[test]
fn a_record_that_may_not_be_asked_for_is_no_news_each_time_its_change_meets_a_conflict() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.conflict(1, None);
    lab.found(1, Err(no_credentials()));
    lab.check(&[
        "send e1 update on v1",
        "ask e1",
        "paused: the server answered with status 401",
        "told Unauthorized e1 waits",
        "e1 not applied",
    ]);
    assert_eq!(lab.next_due(), CREDENTIALS_BACKOFF.first_ms / 2);
    lab.conflict(1, None);
    lab.found(1, Err(no_credentials()));
    lab.check(&["send e1 update on v1", "ask e1", "e1 not applied"]);
    assert_eq!(lab.next_due(), CREDENTIALS_BACKOFF.first_ms);
}

#[test]
fn a_wrong_setting_is_told_at_once() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.trace.clear();
    lab.fail(1, misconfigured());
    lab.next_due();
    lab.fail(1, misconfigured());
    lab.check(&[
        "told ConfigError e1 waits",
        "e1 not applied",
        "send e1 update on v1",
        "e1 not applied",
    ]);
}

#[test]
fn what_cannot_be_put_on_the_wire_is_parked() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.trace.clear();
    lab.feed(Input::Unsendable {
        seq: Seq(1),
        kind: ErrorKind::BadRecord,
        reason: "never holds".into(),
    });
    lab.check(&["e1 refused untyped", "told BadRecord e1 parked"]);
}

#[test]
fn while_paused_nothing_is_taken_but_answers_are_settled() {
    let mut lab = with(2, &[(Update, "Todo/a"), (Update, "Todo/b"), (Update, "Todo/c")]);
    lab.trace.clear();
    lab.pause();
    lab.apply(1);
    lab.fail(2, transient(PERHAPS));
    lab.check(&["e1 acknowledged v2", "e2 unknown"]);
    assert_eq!(lab.state.due_ms(), None, "nothing is tried while paused");
    // The way is new, so nothing is waited for.
    lab.resume();
    lab.check(&["ask e2", "send e3 update on v1"]);
}

#[test]
fn what_is_in_hand_is_not_taken_twice_by_an_outbox_that_forgot() {
    let mut lab = with(2, &[(Update, "Todo/a")]);
    lab.fail(1, transient(PERHAPS));
    lab.next_due();
    lab.pause();
    lab.trace.clear();
    lab.resume();
    lab.check(&[]);
    lab.found(1, Ok(Fetched::Found(remote(2, "mine"))));
    lab.check(&["e1 acknowledged v2"]);
}

#[test]
fn what_was_marked_but_not_sent_before_a_pause_is_not_applied() {
    let mut lab = lab(2);
    lab.put(mutation(1, Update, "Todo/a"));
    let effects = lab.state.step(0, &mut || 0, Input::Wake);
    assert!(
        matches!(effects[..], [Effect::Take { max: 2, .. }]),
        "{effects:?}"
    );
    let taken = lab.outbox.take_except(2, &BTreeSet::new());
    let effects = lab.state.step(0, &mut || 0, Input::Taken(taken));
    assert!(
        matches!(&effects[..], [Effect::Mark(seqs)] if *seqs == [Seq(1)]),
        "{effects:?}"
    );
    lab.pause();
    lab.mark(vec![Seq(1)]);
    let marked = lab.inputs.pop_front().expect("marked");
    lab.feed(marked);
    lab.check(&["e1 not applied"]);
    assert!(lab.stored[&Seq(1)].is_open());
}

#[test]
fn what_was_taken_before_a_pause_is_given_back() {
    let mut lab = lab(2);
    lab.put(mutation(1, Update, "Todo/a"));
    lab.state.step(0, &mut || 0, Input::Wake);
    let taken = lab.outbox.take_except(2, &BTreeSet::new());
    lab.state.step(0, &mut || 0, Input::Pause);
    lab.feed(Input::Taken(taken));
    lab.check(&[]);
    assert_eq!(lab.outbox.take(2).len(), 1, "it can be taken again");
}

#[test]
fn a_settlement_that_cannot_be_stored_is_tried_until_it_is() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.trace.clear();
    lab.disk_full = true;
    lab.fail(1, error("BadRequest"));
    lab.check(&["e1 refused BadRequest"]);
    assert_eq!(lab.next_due(), SETTLE_AGAIN_MS);
    lab.disk_full = false;
    lab.check(&["e1 refused BadRequest"]);
    lab.next_due();
    lab.check(&["e1 refused BadRequest", "told Unknown e1 parked"]);
}

#[test]
fn mutations_that_cannot_be_marked_are_not_sent() {
    let mut lab = lab(2);
    lab.disk_full = true;
    lab.put(mutation(1, Update, "Todo/a"));
    lab.feed(Input::Wake);
    lab.check(&[]);
    lab.disk_full = false;
    lab.next_due();
    lab.check(&["send e1 update on v1"]);
}

#[test]
fn a_mutation_that_no_longer_waits_is_left_alone() {
    let mut lab = lab(2);
    lab.put(mutation(1, Update, "Todo/a"));
    lab.stored.clear();
    lab.feed(Input::Wake);
    lab.check(&[]);
    assert!(lab.state.held.is_empty());
    // An outbox that lags behind offers a question that has been answered.
    let mut unknown = mutation(2, Update, "Todo/b");
    unknown.stage = MutationStage::Unknown;
    lab.outbox.put(&unknown);
    lab.stored.insert(Seq(2), mutation(2, Update, "Todo/b"));
    lab.feed(Input::Wake);
    lab.check(&[]);
    assert!(lab.state.held.is_empty());
}

#[test]
fn three_hundred_creates_take_ten_rounds_of_thirty_two() {
    let creates: Vec<String> = (1..=300).map(|number| format!("Todo/{number}")).collect();
    let mut lab = lab(32);
    for (index, key) in creates.iter().enumerate() {
        lab.put(mutation(index as u64 + 1, Create, key));
    }
    lab.feed(Input::Wake);
    let mut rounds = 0;
    while !lab.out.is_empty() {
        rounds += 1;
        assert!(
            lab.out.len() == 32 || rounds == 10,
            "{} on their way in round {rounds}",
            lab.out.len()
        );
        let round: Vec<Seq> = lab.out.keys().copied().collect();
        for seq in round {
            let id = lab.out[&seq].key.id.clone();
            lab.reply(
                seq.0,
                MutationReply::Applied(RemoteRecord {
                    id,
                    ..remote(1, "mine")
                }),
            );
        }
    }
    assert_eq!(rounds, 10);
    assert!(lab.outbox.is_empty() && lab.stored.is_empty());
    assert!(lab.state.unexpected.is_empty());
}

#[test]
fn a_lane_that_waits_for_its_settlement_is_not_free() {
    let mut lab = with(1, &[(Update, "Todo/a"), (Update, "Todo/b")]);
    lab.stuck = true;
    lab.trace.clear();
    lab.apply(1);
    lab.feed(Input::Wake);
    lab.check(&["e1 acknowledged v2"]);
    lab.feed(Input::Settled {
        seq: Seq(1),
        settled: Ok(()),
    });
    lab.check(&["send e2 update on v1"]);
}

#[test]
fn what_cannot_happen_is_counted_by_name() {
    let mut lab = with(1, &[(Update, "Todo/a")]);
    lab.decide(1, Ok(Resolution::AcceptRemote));
    lab.feed(Input::Settled {
        seq: Seq(9),
        settled: Ok(()),
    });
    lab.feed(Input::Marked {
        asked: vec![Seq(1)],
        marked: Ok(Vec::new()),
    });
    let counted = BTreeMap::from([
        (("sending", "Decided"), 1),
        (("not held", "Settled"), 1),
        (("sending", "Marked"), 1),
    ]);
    assert_eq!(lab.state.unexpected, counted);
    // What is in hand is not disturbed by it.
    lab.apply(1);
    assert!(lab.stored.is_empty());
}
