//! The machine of the [`MutationProcessor`](super::MutationProcessor): what is in hand, and what happens to it next.
//!
//! Owns the lanes. Pure. What an answer means is `verdict.rs`, whether anything may go out is `gate.rs`, and which changes
//! wait for other credentials is `pauses.rs`.
//!
//! | stage | its answer | becomes |
//! |---|---|---|
//! | marking | marked | sending; not waiting any more: given back |
//! | loading | loaded | fetching; settled meanwhile: given back |
//! | sending | replied, unsendable | settling, fetching, deciding |
//! | fetching | fetched, unsendable | settling, deciding, waiting, put off, given back |
//! | waiting, put off | deadline | given back, to be asked about again |
//! | deciding | decided | settling |
//! | settling | settled | done; not stored: resting |
//! | resting | deadline | settling |
//!
//! Waiting is what may have been sent so late that it is not carried out yet. What the server fails at again and again
//! rests before it is settled as not applied or unknown, so that it is not tried again at once; what it fails to tell the
//! outcome of is put off.
//!
//! Every other pair of stage and answer is unexpected and counted by name. The processor itself is fresh until its first
//! wake, then awake, and paused between a pause and the next wake. A wake in any of them is expected: the outbox wakes
//! with each commit. What a former run left on its way is of unknown outcome since this run began
//! (`StorageMessage::BeginEpoch`).
//!
//! Invariants: 1. a mutation is in one lane at most, whatever the outbox says; 2. at most `lanes` are in hand, beside
//! [`WAITING_MAX`] that wait or are put off; 3. what is in hand leaves it settled or given back; 4. one take is open at a time, and no wake
//! is forgotten; 5. what was marked sent but not handed to the transport before a pause is settled as not applied.

mod held;
mod later;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_core::{Errand, ModelDef, Mutation, Schema, Seq, Stage as MutationStage, Topic, planted};
use landfall_wire::{Failure, FailureCause, TransportError};

use super::decided::of_resolution;
use super::gate::{Closing, FAILURES_BEFORE_REPORT, Gate, is_told};
use super::pauses::Pauses;
use super::verdict::{self, Health, Purpose, Report, Verdict};
use crate::endpoint::Whole;
use crate::storage::Settlement;
use crate::sync::error_kind;
use held::{Held, Place, Stage};
#[cfg(test)]
pub(super) use later::LATE_MS;
pub(super) use step::{Effect, Input, Undecided};

/// How long a settlement waits that the store did not take. It cannot be given up: the server has spoken.
pub(super) const SETTLE_AGAIN_MS: u64 = 1_000;

/// Mutations that wait without taking a lane. Their records are held back as long, but not the others; four times as many as
/// there usually are lanes, so that even several outages within half a minute stop nothing else. More take lanes.
const WAITING_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Fresh,
    Awake,
    Paused,
}

/// What is in hand, and whether more may be taken.
#[derive(Debug)]
pub(super) struct State {
    schema: Arc<Schema>,
    lanes: usize,
    mode: Mode,
    gate: Gate,
    pauses: Pauses,
    held: BTreeMap<Seq, Held>,
    /// Whether the outbox has been asked and has not answered yet.
    asking: bool,
    /// Whether there may be work that was not asked for yet.
    hungry: bool,
    /// When sending began. What a former run sent was sent before.
    began_ms: u64,
    /// When mutations went out whose effect would be harmful twice, for as long as that may still come.
    sent_ms: BTreeMap<Seq, u64>,
    /// How many questions in a row the server failed at, about each mutation of unknown outcome.
    questions: BTreeMap<Seq, u32>,
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

/// What a step draws on.
struct Turn<'a> {
    now_ms: u64,
    random: &'a mut dyn FnMut() -> u64,
    effects: Vec<Effect>,
}

impl State {
    /// Nothing is in hand.
    pub(super) fn new(schema: Arc<Schema>, lanes: usize) -> Self {
        Self {
            schema,
            lanes,
            mode: Mode::Fresh,
            gate: Gate::new(lanes),
            pauses: Pauses::default(),
            held: BTreeMap::new(),
            asking: false,
            hungry: false,
            began_ms: 0,
            sent_ms: BTreeMap::new(),
            questions: BTreeMap::new(),
            unexpected: BTreeMap::new(),
        }
    }

    /// When the machine wants to hear `TimerDue`.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let resting = self.held.values().filter_map(|held| match held.stage {
            Stage::Resting { until_ms, .. } | Stage::Waiting { until_ms } | Stage::PutOff { until_ms } => {
                Some(until_ms)
            }
            Stage::Marking
            | Stage::Loading
            | Stage::Sending(_)
            | Stage::Fetching(..)
            | Stage::Deciding(..)
            | Stage::Settling(..) => None,
        });
        let sending = self.gate.due_ms().into_iter().chain(self.pauses.due_ms());
        resting.chain(sending.filter(|_| self.mode == Mode::Awake)).min()
    }

    /// Takes an input; returns what is to be done, in this order.
    pub(super) fn step(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, input: Input) -> Vec<Effect> {
        let mut turn = Turn {
            now_ms,
            random,
            effects: Vec::new(),
        };
        let name = input.name();
        match input {
            Input::Wake => self.wake(turn.now_ms),
            Input::Pause if self.mode == Mode::Awake => self.mode = Mode::Paused,
            // Nothing is taken before the first wake anyway.
            Input::Pause => {}
            Input::TimerDue => self.timer(&mut turn),
            Input::Taken(errands) => self.taken(errands, &mut turn),
            Input::Marked { asked, marked } => self.marked(&asked, marked, name, &mut turn),
            Input::Loaded { seq, .. }
            | Input::Unsendable { seq, .. }
            | Input::Replied { seq, .. }
            | Input::Fetched { seq, .. }
            | Input::Decided { seq, .. }
            | Input::Settled { seq, .. } => self.answer(seq, input, &mut turn),
        }
        self.ask(&mut turn);
        turn.effects
    }

    fn wake(&mut self, now_ms: u64) {
        match self.mode {
            // Sending resumes because the server can be reached again.
            Mode::Paused => {
                self.gate.forgive();
                self.pauses.forgive();
                self.rouse(now_ms);
            }
            Mode::Fresh => self.began_ms = now_ms,
            Mode::Awake => {}
        }
        self.mode = Mode::Awake;
        self.hungry = true;
    }

    /// Asks for work if there may be some and it may go out.
    fn ask(&mut self, turn: &mut Turn<'_>) {
        if self.mode != Mode::Awake || self.asking || !self.hungry {
            return;
        }
        let room = self.room();
        if room == 0 {
            return;
        }
        self.asking = true;
        self.hungry = false;
        turn.effects.push(Effect::Take {
            max: self.gate.candidates(room).saturating_add(self.pauses.spare()),
            held_up: self.held_up(),
        });
    }

    /// What may not go for lack of credentials. What waits is not on its way to an answer that would tell whether they are there
    /// now, so the others go on without it.
    fn held_up(&self) -> BTreeSet<Topic> {
        let places = self.held.values().filter(|held| !held.waits());
        let places = places.map(|held| &held.place);
        self.pauses
            .held_up(&places.map(|place| (&place.topic, place.began)))
    }

    fn free(&self) -> usize {
        self.lanes.saturating_sub(self.in_lanes())
    }

    /// How many take a lane. What waits is not with the server and needs none.
    fn in_lanes(&self) -> usize {
        let waiting = self.held.values().filter(|held| held.waits()).count();
        self.held.len() - waiting.min(WAITING_MAX)
    }

    fn room(&self) -> usize {
        let out = self
            .held
            .values()
            // What waits is not with the server, and tells nothing of it.
            .filter(|held| held.place.round == self.gate.round() && !held.waits())
            .count();
        self.gate.room(out, self.free())
    }

    fn taken(&mut self, errands: Vec<(Seq, Errand, Topic)>, turn: &mut Turn<'_>) {
        self.asking = false;
        // An outbox that was resumed knows nothing of what is in hand already; and one that heard of a settlement first
        // hands out again what is to go once more. It can have that once the settlement is heard of here, too.
        let (in_hand, errands): (Vec<_>, Vec<_>) = errands
            .into_iter()
            .partition(|(seq, ..)| self.held.contains_key(seq));
        if !in_hand.is_empty() && !planted("in-hand-not-given-back") {
            let in_hand = in_hand.into_iter().map(|(seq, ..)| seq).collect();
            turn.effects.push(Effect::GiveBack(in_hand));
        }
        let topics: Vec<(Seq, Topic)> = errands
            .iter()
            .map(|(seq, _, topic)| (*seq, topic.clone()))
            .collect();
        let held_up = self.held_up();
        let candidates = self.pauses.admit(&topics, &held_up);
        let room = if self.mode == Mode::Awake { self.room() } else { 0 };
        let chosen = self.gate.choose(&candidates, room);
        let (mut to_mark, mut back) = (Vec::new(), Vec::new());
        for (seq, errand, topic) in errands {
            if !chosen.contains(&seq) {
                back.push(seq);
                continue;
            }
            let stage = match errand {
                Errand::Send => {
                    to_mark.push(seq);
                    Stage::Marking
                }
                Errand::Inquire => {
                    turn.effects.push(Effect::Load(seq));
                    Stage::Loading
                }
            };
            let place = self.place(topic);
            self.held.insert(seq, Held { stage, place });
        }
        if !to_mark.is_empty() {
            turn.effects.push(Effect::Mark(to_mark));
        }
        if !back.is_empty() {
            // There was more than could go; once there is room it is asked for again.
            self.hungry = true;
            turn.effects.push(Effect::GiveBack(back));
        }
    }

    fn marked(
        &mut self,
        asked: &[Seq],
        marked: Result<Vec<Mutation>, String>,
        name: &'static str,
        turn: &mut Turn<'_>,
    ) {
        let mut marked: BTreeMap<Seq, Mutation> = match marked {
            Ok(mutations) => mutations
                .into_iter()
                .map(|mutation| (mutation.seq, mutation))
                .collect(),
            Err(_) => {
                // None of them went out; the store needs the pause, not the server.
                let round = self.gate.round();
                self.gate.failed(None, round, None, turn.now_ms, turn.random);
                BTreeMap::new()
            }
        };
        let (mut back, mut sent) = (Vec::new(), Vec::new());
        for seq in asked {
            let held = self.held.get_mut(seq).map(|held| (&mut held.stage, &held.place));
            match (held, marked.remove(seq)) {
                (Some((stage @ Stage::Marking, _)), Some(mutation)) if self.mode == Mode::Awake => {
                    *stage = Stage::Sending(Box::new(mutation.clone()));
                    if mutation.writes_list() {
                        sent.push(*seq);
                    }
                    turn.effects.push(Effect::Send(Box::new(mutation)));
                }
                (Some((Stage::Marking, place)), Some(_)) => {
                    let (place, verdict) = (place.clone(), Verdict::Settle(Settlement::NotApplied, None));
                    self.rule(*seq, place, verdict, None, turn);
                }
                (Some((Stage::Marking, _)), None) => {
                    self.held.remove(seq);
                    back.push(*seq);
                }
                (held, _) => {
                    let stage = held.map_or("not held", |(stage, _)| stage.name());
                    *self.unexpected.entry((stage, name)).or_default() += 1;
                }
            }
        }
        if !back.is_empty() {
            turn.effects.push(Effect::GiveBack(back));
        }
        self.note_sent(sent, turn.now_ms);
    }

    /// Passes an answer on to the mutation that waits for it.
    fn answer(&mut self, seq: Seq, input: Input, turn: &mut Turn<'_>) {
        let Some(held) = self.held.remove(&seq) else {
            return *self.unexpected.entry(("not held", input.name())).or_default() += 1;
        };
        let place = held.place;
        match (held.stage, input) {
            (Stage::Loading, Input::Loaded { loaded, .. }) => self.loaded(seq, place, loaded, turn),
            (
                Stage::Sending(mutation) | Stage::Fetching(mutation, _),
                Input::Unsendable { kind, reason, .. },
            ) => {
                let verdict = verdict::unsendable(&mutation, reason, kind);
                self.rule(seq, place, verdict, Some(mutation), turn);
            }
            (Stage::Sending(mutation), Input::Replied { reply, .. }) => {
                let (verdict, health) = verdict::of_reply(self.def(&mutation), &mutation, *reply);
                let may_pass = health.may_pass();
                // What still has to be asked for is no success yet: it would hide that the questions fail.
                if is_through(&verdict) {
                    self.note(seq, &place, health, true, &mutation, turn);
                }
                self.conclude(seq, place, mutation, verdict, may_pass, turn);
            }
            (Stage::Fetching(mutation, purpose), Input::Fetched { fetched, .. }) => {
                self.fetched(seq, place, mutation, purpose, fetched, turn);
            }
            (
                Stage::Deciding(mutation, remote),
                Input::Decided {
                    resolution, known, ..
                },
            ) => {
                let verdict = of_resolution(&mutation, *remote, resolution, *known);
                self.rule(seq, place, verdict, Some(mutation), turn);
            }
            (Stage::Settling(_, report), Input::Settled { settled: Ok(()), .. }) => {
                turn.effects.extend(
                    report
                        .filter(|_| !planted("refusal-not-told"))
                        .map(Effect::Report),
                );
                self.hungry = true;
            }
            (Stage::Settling(..), Input::Settled { settled: Err(_), .. }) if planted("settle-forgotten") => {}
            (Stage::Settling(settlement, report), Input::Settled { settled: Err(_), .. }) => {
                let until_ms = turn.now_ms.saturating_add(SETTLE_AGAIN_MS);
                self.held.insert(
                    seq,
                    Held {
                        stage: Stage::Resting {
                            until_ms,
                            settlement,
                            report,
                        },
                        place,
                    },
                );
            }
            (stage, input) => {
                *self.unexpected.entry((stage.name(), input.name())).or_default() += 1;
                self.held.insert(seq, Held { stage, place });
            }
        }
    }

    /// Asks the server about a mutation whose outcome is still unknown.
    fn loaded(
        &mut self,
        seq: Seq,
        place: Place,
        loaded: Result<Option<Box<Mutation>>, String>,
        turn: &mut Turn<'_>,
    ) {
        match loaded.map(|mutation| mutation.filter(|found| found.stage == MutationStage::Unknown)) {
            Ok(Some(mutation)) => {
                return self.rule(seq, place, Verdict::Ask(Purpose::Outcome), Some(mutation), turn);
            }
            // The outbox will hear by itself of what has become of it.
            Ok(None) => {
                self.questions.remove(&seq);
            }
            Err(_) => {
                self.gate
                    .failed(Some(seq), place.round, None, turn.now_ms, turn.random);
            }
        }
        turn.effects.push(Effect::GiveBack(vec![seq]));
    }

    /// What goes out now.
    fn place(&self, topic: Topic) -> Place {
        Place {
            topic,
            round: self.gate.round(),
            began: self.pauses.begun(),
        }
    }

    fn def(&self, mutation: &Mutation) -> &ModelDef {
        let def = self.schema.model(mutation.model());
        // What the catalog has no documents for is answered with `Unsendable`, before any reply can come.
        def.expect("a reply is to a request, and requests are made for the schema's models only")
    }

    /// Carries a verdict out.
    fn rule(
        &mut self,
        seq: Seq,
        place: Place,
        verdict: Verdict,
        mutation: Option<Box<Mutation>>,
        turn: &mut Turn<'_>,
    ) {
        let (place, stage) = match (verdict, mutation) {
            (Verdict::Settle(settlement, report), _) => {
                turn.effects.push(Effect::Settle {
                    seq,
                    settlement: settlement.clone(),
                });
                (place, Stage::Settling(settlement, report))
            }
            (Verdict::Ask(purpose), Some(mutation)) => {
                turn.effects.push(Effect::Fetch(mutation.clone()));
                (self.place(place.topic), Stage::Fetching(mutation, purpose))
            }
            (Verdict::Decide(remote), Some(mutation)) => {
                turn.effects.push(Effect::Decide {
                    mutation: mutation.clone(),
                    remote: remote.clone(),
                });
                (place, Stage::Deciding(mutation, remote))
            }
            (Verdict::GiveBack | Verdict::Ask(_) | Verdict::Decide(_), _) => {
                self.held.remove(&seq);
                self.hungry = true;
                turn.effects.push(Effect::GiveBack(vec![seq]));
                return;
            }
        };
        self.held.insert(seq, Held { stage, place });
    }

    /// Takes note of how the server is. A mutation that is through has needed no credentials that were missing.
    fn note(
        &mut self,
        seq: Seq,
        place: &Place,
        health: Health,
        is_through: bool,
        mutation: &Mutation,
        turn: &mut Turn<'_>,
    ) {
        let Health::Refuses(closing, failure) = health else {
            self.gate.answered(place.round);
            if is_through {
                self.pauses.answered(&place.topic, place.began);
            }
            return;
        };
        let failures = match closing {
            Closing::Transient { retry_after_ms } => {
                self.gate
                    .failed(Some(seq), place.round, retry_after_ms, turn.now_ms, turn.random)
            }
            Closing::Credentials => {
                self.pauses
                    .denied(seq, &place.topic, place.began, turn.now_ms, turn.random)
            }
        };
        let Some(failures) = failures else {
            return;
        };
        let is_news = match closing {
            Closing::Credentials => failures == 1,
            Closing::Transient { .. } if is_misconfigured(&failure) => failures == 1,
            // Others are taken between the failures of this one.
            Closing::Transient { .. } if failures == 1 => {
                is_told(self.questions.get(&seq).copied().unwrap_or(mutation.attempts))
            }
            Closing::Transient { .. } => failures == FAILURES_BEFORE_REPORT,
        };
        if !is_news {
            return;
        }
        if closing == Closing::Credentials {
            turn.effects.push(Effect::AnnouncePaused {
                reason: failure.to_string(),
            });
        }
        turn.effects.push(Effect::Report(Report {
            kind: error_kind(&failure),
            message: failure.to_string(),
            error_type: failure.error_type().map(str::to_owned),
            whole: whole(closing, &failure),
            parked: false,
            mutation: Box::new(mutation.clone()),
            remote: None,
            known: Box::default(),
        }));
    }
}

fn is_through(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Ask(_))
}

/// What a failure for which changes wait says of the whole endpoint.
fn whole(closing: Closing, failure: &Failure) -> Option<Whole> {
    match closing {
        Closing::Credentials => Some(Whole::Credentials),
        Closing::Transient { .. } => Whole::of_failure(failure),
    }
}

fn is_misconfigured(failure: &Failure) -> bool {
    matches!(
        failure.cause,
        FailureCause::Transport(TransportError::Misconfigured { .. })
    )
}

#[cfg(test)]
mod tests;
