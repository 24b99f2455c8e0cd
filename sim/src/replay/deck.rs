//! What the actors of a replay are given instead of a world.
//!
//! Owns [`Control`], which gives them seats, and the seats. In a strict replay a seat holds each step until `drive.rs` lets it
//! be taken, and everything that the actor does is compared with what the recording expects of it; in a free one it
//! only answers what the actor asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use landfall::flight::{Answer, Commit, Deck, Event, Failed, Fault, Flight, Input, Seat, SeatName};
use landfall::{Clock, Entropy, Env, Seq, Transport};

use super::Difference;
use super::free::Script;
use super::plan::Opening;
use super::transport::ReplayTransport;
use crate::clock::SimClock;

/// A frame as it arrives; nothing at the end.
pub(super) type FrameIn = Option<Result<String, Failed>>;

/// Directs a replay.
pub(super) struct Control {
    pub(super) clock: SimClock,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    /// Nothing in a strict replay.
    pub(super) script: Option<Script>,
    openings: BTreeMap<SeatName, Opening>,
    /// Whether the recording ends in the middle: what actors do after their last turn in it is then not known.
    is_cut: bool,
    pub(super) seats: BTreeMap<SeatName, SeatState>,
    pub(super) difference: Option<Difference>,
    /// Order number of what is being played.
    pub(super) at: u64,
    fallback: u64,
}

#[derive(Default)]
pub(super) struct SeatState {
    pub(super) waiting: Vec<Waiting>,
    pub(super) expected: VecDeque<Event>,
    pub(super) now_ms: u64,
    pub(super) wall_ms: i64,
    /// Whether what the actor does is not known to its end.
    pub(super) open_ended: bool,
    next_call: u64,
    pub(super) calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    pub(super) frames: BTreeMap<u64, mpsc::UnboundedSender<FrameIn>>,
    pub(super) sends: BTreeMap<u64, VecDeque<(u64, oneshot::Sender<Option<Failed>>)>>,
}

/// A step that waits for its turn.
pub(super) struct Waiting {
    pub(super) step: &'static str,
    pub(super) print: u64,
    pub(super) go: oneshot::Sender<()>,
}

impl Control {
    pub(super) fn strict(clock: SimClock, openings: BTreeMap<SeatName, Opening>, is_cut: bool) -> Self {
        Self::new(clock, openings, is_cut, None)
    }

    pub(super) fn free(clock: SimClock, script: Script) -> Self {
        Self::new(clock, BTreeMap::new(), false, Some(script))
    }

    fn new(
        clock: SimClock,
        openings: BTreeMap<SeatName, Opening>,
        is_cut: bool,
        script: Option<Script>,
    ) -> Self {
        Self {
            clock,
            state: Mutex::new(State {
                script,
                openings,
                is_cut,
                seats: BTreeMap::new(),
                difference: None,
                at: 0,
                fallback: 0,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.lock().script.as_ref().map_or(0, |script| script.unanswered)
    }

    pub(super) fn flight(self: &Arc<Self>, endpoint: Option<&str>) -> Flight {
        Flight {
            deck: Some(Arc::new(ReplayDeck {
                control: Arc::clone(self),
                endpoint: endpoint.map(str::to_owned),
            })),
            seat: None,
        }
    }
}

/// The clock of whoever is no actor.
impl Clock for Control {
    fn now_ms(&self) -> u64 {
        let start = self.lock().script.as_ref().map_or(0, |script| script.start_ms);
        start.saturating_add(self.clock.elapsed_ms())
    }

    fn wall_ms(&self) -> i64 {
        let start = self
            .lock()
            .script
            .as_ref()
            .map_or(0, |script| script.start_wall_ms);
        start.saturating_add(i64::try_from(self.clock.elapsed_ms()).unwrap_or(i64::MAX))
    }
}

/// What is drawn beyond the recording; only after a difference, or in a free run.
impl Entropy for Control {
    fn next_u64(&self) -> u64 {
        let mut state = self.lock();
        state.fallback = state.fallback.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.fallback
    }
}

impl State {
    /// Notes that something is not as it was; the first of these counts.
    pub(super) fn differs(&mut self, seat: &SeatName, recorded: String, now: String) {
        let order = self.at;
        self.difference.get_or_insert(Difference {
            order,
            seat: seat.clone(),
            recorded,
            now,
        });
    }

    pub(super) fn seat(&mut self, name: &SeatName) -> &mut SeatState {
        self.seats.entry(name.clone()).or_default()
    }

    /// The next thing that the recording expects of an actor, if `fits` says that this is it.
    fn expect<T>(
        &mut self,
        seat: &SeatName,
        does: &str,
        fits: impl FnOnce(&Event) -> Option<T>,
    ) -> Option<T> {
        let place = self.seat(seat);
        let next = place.expected.pop_front();
        if next.is_none() && place.open_ended {
            return None;
        }
        let found = next.as_ref().and_then(fits);
        if found.is_none() {
            let recorded = next.map_or_else(|| "nothing more of this step".to_owned(), |event| told(&event));
            self.differs(seat, recorded, does.to_owned());
        }
        found
    }
}

/// An event in words.
pub(super) fn told(event: &Event) -> String {
    match event {
        Event::Step { step, print, .. } => format!("{step} ({print:016x})"),
        Event::Draw(_) => "a random draw".to_owned(),
        Event::Looked(Some(head)) => format!("a look at the store at entry {head}"),
        Event::Looked(None) => "a look at the store that the disk refused".to_owned(),
        Event::Called { what, print, .. } => format!("a call {what} ({print:016x})"),
        Event::Committed(Commit {
            head,
            check,
            fault: None,
            ..
        }) => format!("a commit up to entry {head}, check {check:08x}"),
        Event::Committed(Commit {
            fault: Some(fault), ..
        }) => format!("a commit that failed ({})", fault.cause),
        other => other.name().to_owned(),
    }
}

struct ReplayDeck {
    control: Arc<Control>,
    endpoint: Option<String>,
}

impl Deck for ReplayDeck {
    fn board(&self, actor: &'static str, run: u64, env: &Env) -> Env {
        let name = SeatName {
            actor: actor.into(),
            run,
        };
        {
            let mut state = self.control.lock();
            let opening = state.openings.get(&name).cloned();
            if opening.is_none() && state.script.is_none() && !state.is_cut {
                state.differs(&name, "no such actor".to_owned(), format!("{actor} is made"));
            }
            let open_ended = state.is_cut && opening.as_ref().is_none_or(|opening| !opening.has_turns);
            let opening = opening.unwrap_or_default();
            let seat = SeatState {
                open_ended,
                expected: opening.nested,
                now_ms: opening.now_ms,
                wall_ms: opening.wall_ms,
                ..SeatState::default()
            };
            state.seats.insert(name.clone(), seat);
        }
        let seat = Arc::new(ReplaySeat {
            control: Arc::clone(&self.control),
            name,
        });
        let endpoint = self.endpoint.clone();
        let transport = endpoint.map(|endpoint| {
            Arc::new(ReplayTransport::new(Arc::clone(&seat), endpoint)) as Arc<dyn Transport>
        });
        env.seen_from(seat, transport)
    }
}

/// The seat of one actor.
pub(super) struct ReplaySeat {
    pub(super) control: Arc<Control>,
    pub(super) name: SeatName,
}

impl ReplaySeat {
    pub(super) fn is_free(&self) -> bool {
        self.control.lock().script.is_some()
    }
}

impl Clock for ReplaySeat {
    fn now_ms(&self) -> u64 {
        if self.is_free() {
            return self.control.now_ms();
        }
        self.control.lock().seat(&self.name).now_ms
    }

    fn wall_ms(&self) -> i64 {
        if self.is_free() {
            return self.control.wall_ms();
        }
        self.control.lock().seat(&self.name).wall_ms
    }
}

impl Entropy for ReplaySeat {
    fn next_u64(&self) -> u64 {
        let drawn = {
            let mut state = self.control.lock();
            match &mut state.script {
                Some(script) => script.draw(&self.name),
                None => state.expect(&self.name, "a random draw", |event| match event {
                    Event::Draw(bits) => Some(*bits),
                    _ => None,
                }),
            }
        };
        drawn.unwrap_or_else(|| self.control.next_u64())
    }
}

impl Seat for ReplaySeat {
    fn turn(&self, step: &'static str, print: u64) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.control.lock();
        if state.script.is_some() {
            return None;
        }
        let (go, turn) = oneshot::channel();
        state.seat(&self.name).waiting.push(Waiting { step, print, go });
        Some(Box::pin(async move {
            if turn.await.is_err() {
                // The replay is over; the step is never taken.
                std::future::pending::<()>().await;
            }
        }))
    }

    fn taken(&self, _: &'static str, _: u64, _: Option<Input>) {}

    fn looked(&self, head: Option<Seq>) -> bool {
        let mut state = self.control.lock();
        if state.script.is_some() {
            return true;
        }
        let does = format!("a look at the store at entry {}", head.unwrap_or_default());
        let seen = state.expect(&self.name, &does, |event| match event {
            Event::Looked(recorded) if recorded.is_none() || *recorded == head => Some(recorded.is_some()),
            _ => None,
        });
        seen.unwrap_or(true)
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.control.lock();
        let mut expected = state.seat(&self.name).expected.iter();
        expected.find_map(|event| match event {
            Event::Committed(commit) => Some(commit.fault.clone()),
            _ => None,
        })?
    }

    fn committed(&self, commit: Commit) {
        let mut state = self.control.lock();
        if state.script.is_some() {
            return;
        }
        let does = told(&Event::Committed(commit.clone()));
        state.expect(&self.name, &does, |event| match event {
            Event::Committed(recorded) if same_commit(recorded, &commit) => Some(()),
            _ => None,
        });
    }

    fn called(&self, what: &'static str, print: u64) -> u64 {
        let mut state = self.control.lock();
        let seat = state.seat(&self.name);
        seat.next_call += 1;
        let call = seat.next_call;
        match &mut state.script {
            Some(script) => script.called(&self.name, call, what, print),
            None => {
                let does = format!("a call {what} ({print:016x})");
                state.expect(&self.name, &does, |event| match event {
                    Event::Called {
                        what: recorded,
                        print: of,
                        ..
                    } if recorded == what && *of == print => Some(()),
                    _ => None,
                });
            }
        }
        call
    }

    fn answered(&self, _: u64, _: Answer) {}

    fn answer_of(&self, call: u64) -> Option<BoxFuture<'static, Answer>> {
        let mut state = self.control.lock();
        if let Some(script) = &mut state.script {
            return Some(script.answer(&self.name, call));
        }
        let (sender, receiver) = oneshot::channel();
        state.seat(&self.name).calls.insert(call, sender);
        Some(Box::pin(async move {
            match receiver.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        }))
    }
}

/// Whether two commits came to the same. What a failed one left is told by the next.
fn same_commit(recorded: &Commit, now: &Commit) -> bool {
    match (&recorded.fault, &now.fault) {
        (None, None) => recorded.head == now.head && recorded.check == now.check,
        (Some(recorded), Some(now)) => recorded.kind == now.kind,
        _ => false,
    }
}
