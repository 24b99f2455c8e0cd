//! What the actors of a replay are given instead of a world.
//!
//! Owns [`Control`], which gives them seats, and the seats. In a strict replay a seat holds each step until `drive.rs` lets
//! it be taken, and everything that the actor does is compared with what the recording expects of it; in a free one it
//! only answers what the actor asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use landfall::flight::{Answer, Commit, Deck, Event, Failed, Fault, Flight, Input, Prompt, Seat, SeatName};
use landfall::{Clock, Entropy, Env, Seq, Transport};

use super::Difference;
use super::free::{Script, Told};
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
    /// Order number of what is being played, and when that was.
    pub(super) at: u64,
    pub(super) at_ms: u64,
    /// What is compared.
    pub(super) compared: Compared,
    /// The steps that the recording has of each actor.
    pub(super) known_steps: BTreeMap<SeatName, BTreeSet<String>>,
    fallback: u64,
}

/// What a strict replay compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compared {
    /// Every effect of every step, messages between actors included.
    #[default]
    Everything,
    /// What reaches the outside: calls and the bodies of requests, frames, commits, and the end. Messages between actors and
    /// views of the store may be others; this is for recordings of a program that says these in another way.
    Outside,
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
    pub(super) sends: BTreeMap<u64, VecDeque<Sending>>,
}

/// A step that waits for its turn.
pub(super) struct Waiting {
    pub(super) step: &'static str,
    pub(super) print: u64,
    pub(super) prompt: Prompt,
    /// When it was offered, by the clock of the recording.
    pub(super) since_ms: u64,
    pub(super) go: oneshot::Sender<()>,
}

/// A frame that waits to be sent.
pub(super) struct Sending {
    pub(super) print: u64,
    pub(super) since_ms: u64,
    pub(super) done: oneshot::Sender<Option<Failed>>,
}

/// How long a step or a frame may wait when the replay ends, or its actor does, in milliseconds by the clock of the
/// recording: then it may have been under way. An actor that lives takes what is sent to it far sooner.
pub(super) const UNDER_WAY_MS: u64 = 500;

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
                at_ms: 0,
                compared: Compared::default(),
                known_steps: BTreeMap::new(),
                fallback: 0,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is compared, and which steps the recording has.
    pub(super) fn compare(&self, compared: Compared, steps: BTreeMap<SeatName, BTreeSet<String>>) {
        let mut state = self.lock();
        (state.compared, state.known_steps) = (compared, steps);
    }

    /// What a free run came to, besides its records: the calls without an answer, and what happened.
    pub(super) fn told(&self) -> (u64, Vec<Told>) {
        let script = &mut self.lock().script;
        script.as_mut().map_or_else(Default::default, |script| {
            (script.unanswered, std::mem::take(&mut script.told))
        })
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

    /// Whether a step is one that the recorded program did not have, and that may be taken at once.
    fn is_new(&self, seat: &SeatName, step: &str) -> bool {
        self.compared == Compared::Outside
            && self
                .known_steps
                .get(seat)
                .is_none_or(|known| !known.contains(step))
    }

    /// Whether a view or a draw is one that the recording does not have, and that does not matter.
    fn passes_over(&self, seat: &SeatName) -> bool {
        let next = self.seats.get(seat).and_then(|place| place.expected.front());
        self.compared == Compared::Outside && !next.is_some_and(is_inner)
    }

    /// Notes what actors were about to do for so long that the recording should have it. Called after each turn, so that a
    /// step whose actor has just stopped is known by when that was.
    pub(super) fn note_what_is_more(&mut self, at_end: bool) {
        if self.is_cut || self.compared == Compared::Outside {
            return;
        }
        let at_ms = self.at_ms;
        let is_long = |since_ms: u64| at_ms.saturating_sub(since_ms) >= UNDER_WAY_MS;
        let mut more = None;
        for (name, seat) in &mut self.seats {
            seat.waiting.retain(|waiting| {
                let is_over = at_end || waiting.go.is_closed();
                if is_over && waiting.prompt != Prompt::Timer && is_long(waiting.since_ms) {
                    let now = format!("also {} ({:016x})", waiting.step, waiting.print);
                    more.get_or_insert((name.clone(), now));
                }
                !waiting.go.is_closed()
            });
            let unsent = seat.sends.values().flatten();
            let unsent = unsent.filter(|sending| !sending.done.is_closed() && is_long(sending.since_ms));
            if at_end && let Some(sending) = unsent.into_iter().next() {
                let now = format!("also a frame that is sent ({:016x})", sending.print);
                more.get_or_insert((name.clone(), now));
            }
        }
        if let Some((seat, now)) = more {
            self.differs(&seat, "nothing of the kind".to_owned(), now);
        }
    }

    /// The next thing that the recording expects of an actor, if `fits` says that this is it.
    fn expect<T>(&mut self, seat: &SeatName, does: &str, fits: impl Fn(&Event) -> Option<T>) -> Option<T> {
        if self.compared == Compared::Outside {
            // Views and draws may be more or fewer.
            let place = self.seat(seat);
            while let Some(next) = place.expected.front()
                && is_inner(next)
                && fits(next).is_none()
            {
                place.expected.pop_front();
            }
        }
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

/// Whether an event is an actor's own affair, which nobody else sees.
pub(super) fn is_inner(event: &Event) -> bool {
    matches!(event, Event::Draw(_) | Event::Looked(_))
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
            if opening.is_none()
                && state.script.is_none()
                && !state.is_cut
                && state.compared == Compared::Everything
            {
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
            let passes_over = state.passes_over(&self.name);
            match &mut state.script {
                Some(script) => script.draw(&self.name),
                None if passes_over => None,
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
    fn turn(&self, step: &'static str, print: u64, prompt: Prompt) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.control.lock();
        if state.script.is_some() || state.is_new(&self.name, step) {
            return None;
        }
        let (go, turn) = oneshot::channel();
        let since_ms = state.at_ms;
        state.seat(&self.name).waiting.push(Waiting {
            step,
            print,
            prompt,
            since_ms,
            go,
        });
        Some(Box::pin(async move {
            if turn.await.is_err() {
                // The replay is over; the step is never taken.
                std::future::pending::<()>().await;
            }
        }))
    }

    fn taken(&self, step: &'static str, _: u64, _: Option<Input>) {
        let at_ms = self.control.clock.elapsed_ms();
        if let Some(script) = &mut self.control.lock().script {
            script.tell(at_ms, &self.name, step.to_owned());
        }
    }

    fn looked(&self, head: Option<Seq>) -> bool {
        let mut state = self.control.lock();
        if state.script.is_some() || state.passes_over(&self.name) {
            return true;
        }
        let does = format!("a look at the store at entry {}", head.unwrap_or_default());
        let is_lenient = state.compared == Compared::Outside;
        let seen = state.expect(&self.name, &does, |event| match event {
            Event::Looked(recorded) if is_lenient || recorded.is_none() || *recorded == head => {
                Some(recorded.is_some())
            }
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
                // The body of a request is what it is; what else is asked is printed as the program puts it.
                let is_told = state.compared == Compared::Outside && what != "Execute";
                state.expect(&self.name, &does, |event| match event {
                    Event::Called {
                        what: recorded,
                        print: of,
                        ..
                    } if recorded == what && (is_told || *of == print) => Some(()),
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
            return Some(script.answer(&self.name, call, self.control.clock.elapsed_ms()));
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
