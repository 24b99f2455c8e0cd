//! The free run: the actors go as they will, and the recording answers them.
//!
//! Owns [`Script`] and [`run`]. Inputs come at the times at which they came, requests are answered as they were, after the
//! same time; a request that was never made before finds no server. This is what inputs that were edited are tried in, since
//! the recorded order of steps need not be possible any more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use landfall::DataStore;
use landfall::flight::{Answer, Decided, Event, Failed, FailedKind, Noted, Recording, SeatName};

use super::deck::FrameIn;
use super::plan::seats;
use crate::clock::pass;

/// Time that is let pass after the last input, in virtual milliseconds, so that what follows from it happens.
const AFTERMATH_MS: u64 = 2_000;

/// Longest time that is let pass, in virtual milliseconds: a year. Inputs that come later, as those of no run do that anybody
/// recorded, are not played: the actors would have to live through all the time before.
const LONGEST_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// How long a request without a recorded answer takes to fail, in virtual milliseconds.
const NO_ANSWER_MS: u64 = 1_000;

/// What the recording has for actors that ask.
#[derive(Default)]
pub(super) struct Script {
    /// When the recording begins.
    pub(super) start_ms: u64,
    pub(super) start_wall_ms: i64,
    /// Calls that the recording has no answer to.
    pub(super) unanswered: u64,
    /// What actors did, at most [`TOLD_MAX`].
    pub(super) told: Vec<Told>,
    draws: BTreeMap<SeatName, VecDeque<u64>>,
    /// Answers with the time that each took, by what was asked; those to the same question in order.
    answers: BTreeMap<(String, String, u64), VecDeque<(u64, Answer)>>,
    /// What arrived over each socket, in the order in which the sockets were opened.
    sockets: VecDeque<Vec<Arriving>>,
    /// Frames that were sent over each socket so far.
    sent: BTreeMap<(SeatName, u64), watch::Sender<u64>>,
    made: BTreeMap<(SeatName, u64), (&'static str, u64)>,
}

/// One thing that happened in a free run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When, in virtual milliseconds from its beginning.
    pub at_ms: u64,
    /// The actor.
    pub actor: String,
    /// The step that it took, or the call that the recording has no answer to.
    pub what: String,
}

/// Most things that are told of a free run: more than anybody reads, and little enough to be held.
const TOLD_MAX: usize = 100_000;

/// A frame that arrives.
struct Arriving {
    /// When, from the beginning of the recording.
    at_ms: u64,
    /// How many frames had been sent over the socket by then. A server that answers within the millisecond would otherwise be
    /// heard before it was asked.
    behind: u64,
    frame: FrameIn,
}

/// How long a frame waits for those that went before it, in virtual milliseconds. With edited inputs some may never be sent.
const HELD_BACK_MS: u64 = 1_000;

impl Script {
    pub(super) fn of(events: &[Noted]) -> Self {
        let names = seats(events);
        let mut script = Self {
            start_ms: events.first().map_or(0, |noted| noted.at_ms),
            ..Self::default()
        };
        script.start_wall_ms = events
            .iter()
            .find_map(|noted| match &noted.event {
                Event::Seated { wall_ms, .. } => Some(*wall_ms),
                _ => None,
            })
            .unwrap_or_default();
        let mut asked: BTreeMap<(u32, u64), (&str, u64, u64)> = BTreeMap::new();
        // Each with the number of frames that were sent over it so far.
        let mut sockets: BTreeMap<(u32, u64), (usize, u64)> = BTreeMap::new();
        for noted in events {
            let Some(seat) = names.get(&noted.seat) else {
                continue;
            };
            match &noted.event {
                Event::Draw(bits) => script.draws.entry(seat.clone()).or_default().push_back(*bits),
                Event::Called { call, what, print } => {
                    asked.insert((noted.seat, *call), (&**what, *print, noted.at_ms));
                }
                Event::Answered { call, answer } => {
                    let Some((what, print, at_ms)) = asked.get(&(noted.seat, *call)) else {
                        continue;
                    };
                    if *answer == Answer::Connected {
                        sockets.insert((noted.seat, *call), (script.sockets.len(), 0));
                        script.sockets.push_back(Vec::new());
                    }
                    let question = (seat.actor.to_string(), (*what).to_owned(), *print);
                    let took_ms = noted.at_ms.saturating_sub(*at_ms);
                    let answers = script.answers.entry(question).or_default();
                    answers.push_back((took_ms, answer.clone()));
                }
                Event::Frame { call, frame } => {
                    if let Some((socket, behind)) = sockets.get(&(noted.seat, *call)) {
                        script.sockets[*socket].push(Arriving {
                            at_ms: noted.at_ms.saturating_sub(script.start_ms),
                            behind: *behind,
                            frame: frame.clone(),
                        });
                    }
                }
                Event::Sent { call, .. } => {
                    if let Some((_, sent)) = sockets.get_mut(&(noted.seat, *call)) {
                        *sent += 1;
                    }
                }
                _ => {}
            }
        }
        script
    }

    pub(super) fn draw(&mut self, seat: &SeatName) -> Option<u64> {
        self.draws.get_mut(seat)?.pop_front()
    }

    pub(super) fn called(&mut self, seat: &SeatName, call: u64, what: &'static str, print: u64) {
        self.made.insert((seat.clone(), call), (what, print));
    }

    /// The answer to a call, after as long as it took.
    pub(super) fn answer(&mut self, seat: &SeatName, call: u64, now_ms: u64) -> BoxFuture<'static, Answer> {
        let (what, print) = self.made.remove(&(seat.clone(), call)).unwrap_or(("", 0));
        let question = (seat.actor.to_string(), what.to_owned(), print);
        let recorded = self.answers.get_mut(&question).and_then(VecDeque::pop_front);
        let (took_ms, answer) = recorded.unwrap_or_else(|| {
            self.unanswered += 1;
            self.tell(
                now_ms,
                seat,
                format!("{what}, to which the recording has no answer"),
            );
            (NO_ANSWER_MS, without_answer(what))
        });
        Box::pin(async move {
            pass(took_ms).await;
            answer
        })
    }

    /// A socket is open: what arrived over it arrives again, at its time.
    pub(super) fn opened(
        &mut self,
        seat: &SeatName,
        call: u64,
        elapsed_ms: u64,
        frames: mpsc::UnboundedSender<FrameIn>,
    ) {
        let arriving = self.sockets.pop_front().unwrap_or_default();
        let (sender, mut sent) = watch::channel(0);
        self.sent.insert((seat.clone(), call), sender);
        actix::spawn(async move {
            let mut now_ms = elapsed_ms;
            for Arriving { at_ms, behind, frame } in arriving {
                pass(at_ms.saturating_sub(now_ms)).await;
                now_ms = now_ms.max(at_ms);
                let asked = sent.wait_for(|sent| *sent >= behind);
                tokio::time::timeout(Duration::from_millis(HELD_BACK_MS), asked)
                    .await
                    .map(drop)
                    .unwrap_or(());
                if frames.send(frame).is_err() {
                    return;
                }
            }
            // An open socket on which nothing arrives.
            std::future::pending::<()>().await;
        });
    }
}

impl Script {
    /// Notes what happened.
    pub(super) fn tell(&mut self, at_ms: u64, seat: &SeatName, what: String) {
        if self.told.len() < TOLD_MAX {
            let actor = seat.actor.to_string();
            self.told.push(Told { at_ms, actor, what });
        }
    }

    /// A frame was sent over a socket.
    pub(super) fn sent(&mut self, seat: &SeatName, call: u64) {
        if let Some(sent) = self.sent.get(&(seat.clone(), call)) {
            sent.send_modify(|sent| *sent += 1);
        }
    }
}

fn without_answer(what: &str) -> Answer {
    match what {
        "Decide" => Answer::Decided(Decided::KeepLocal),
        "Authorize" => Answer::Authorized,
        _ => Answer::Failed(Failed {
            kind: FailedKind::Unreachable,
            reason: "the recording has no answer to this".to_owned(),
        }),
    }
}

/// Says to the actors what the app said, at the times at which it did, and waits for what follows.
pub(super) async fn run(store: &DataStore, recording: &Recording) {
    let names = seats(&recording.events);
    let start_ms = recording.events.first().map_or(0, |noted| noted.at_ms);
    let mut now_ms = 0;
    for noted in &recording.events {
        let at_ms = noted.at_ms.saturating_sub(start_ms);
        let (
            Event::Step {
                input: Some(input), ..
            },
            Some(seat),
        ) = (&noted.event, names.get(&noted.seat))
        else {
            continue;
        };
        if at_ms > LONGEST_MS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms))).await;
        now_ms = now_ms.max(at_ms);
        // A store that was halted hears nothing more, as then.
        store.inject(&seat.actor, input.clone()).unwrap_or(());
        tokio::task::yield_now().await;
    }
    let last_ms = recording
        .events
        .last()
        .map_or(0, |noted| noted.at_ms)
        .saturating_sub(start_ms)
        .min(LONGEST_MS);
    pass(last_ms.saturating_sub(now_ms).saturating_add(AFTERMATH_MS)).await;
}
