//! The machine of the [`SyncProcessor`](super::SyncProcessor): which model is synced when, and when a sync is over.
//!
//! Owns the order of models, how many go on at the same time, and the time of the next sync. Pure. What happens to one
//! model is `model.rs`.
//!
//! | phase | start | cancel | timer | answer to a model | every model settled |
//! |---|---|---|---|---|---|
//! | idle | syncing | - | ? | late, counted | |
//! | syncing | once more afterwards | idle | models that waited go on | goes on | resting, or syncing once more |
//! | resting | syncing | idle | models that waited or are polled go on; base sync due: syncing | goes on | |
//!
//! `-` has no effect, `?` is unexpected and counted by name, an empty cell cannot be.
//!
//! Models of a level begin when every model of the levels before is settled: synced, truncated, failed, or known to
//! fail again. The last kind is tried again for ever, also while resting, and holds nobody up. A start that comes while
//! a sync goes on may be about a gap that the sync has already passed by, so the sync runs once more; only the end of
//! that one is told the supervisor.
//!
//! Invariants: 1. at most `models_in_parallel` models have a question open; 2. a child's first page is asked for after
//! its parents are settled; 3. each start that is not cancelled is followed by one `Finished`, shared by those that
//! came while another waited; 4. after a cancel nothing more is handed to the store.

use std::collections::BTreeMap;

use landfall_core::{ModelName, RecordId, SyncAges, SyncCursor, SyncKind};
use landfall_storage::Listing;
use landfall_wire::{Failure, ServerError};

use super::catalog::Answer;
use super::doubts::Found;
use super::model::{ModelSync, Question, Subject, Ticket, Tickets, Turn};
use super::sweep::Portion;
use super::trouble::Trouble;
use crate::storage::{RemoteBatch, RemoteCounts};

/// Shortest time until the next sync of all models, so that neither a short interval nor a clock that is off makes
/// one sync follow the other.
pub(super) const FULL_SYNC_WAIT_MS_MIN: u64 = 60_000;

/// What bounds a sync.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) page_size: u32,
    pub(super) records_max: u64,
    pub(super) models_in_parallel: usize,
    pub(super) ages: SyncAges,
}

impl Limits {
    pub(super) fn interval_ms(&self) -> u64 {
        u64::try_from(self.ages.full_sync_interval.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What the machine hears.
#[derive(Debug)]
pub(super) enum Input {
    /// From the supervisor: sync every model.
    Start,
    /// From the supervisor: stop syncing until the next start.
    Cancel,
    /// The deadline has come.
    TimerDue,
    /// A model's cursor was read, and whether the store holds anything of the model.
    CursorRead {
        ticket: Ticket,
        model: ModelName,
        cursor: Result<(SyncCursor, bool), String>,
        wall_ms: i64,
    },
    /// A page came, or a failure.
    Answered {
        ticket: Ticket,
        model: ModelName,
        answer: Result<Answer, Box<Failure>>,
    },
    /// A portion of what the store holds of a model is listed, or could not be.
    Listed {
        ticket: Ticket,
        model: ModelName,
        listed: Result<Listing, String>,
    },
    /// The server answered what it has of a record, or will not.
    Inquired {
        ticket: Ticket,
        model: ModelName,
        found: Result<Found, Box<Failure>>,
    },
    /// A page is stored, or could not be.
    Stored {
        ticket: Ticket,
        model: ModelName,
        stored: Result<RemoteCounts, String>,
    },
}

impl Input {
    /// A name for traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Cancel => "Cancel",
            Self::TimerDue => "TimerDue",
            Self::CursorRead { .. } => "CursorRead",
            Self::Answered { answer: Ok(_), .. } => "Page",
            Self::Answered { answer: Err(_), .. } => "PageFailed",
            Self::Listed { .. } => "Listed",
            Self::Inquired { .. } => "Inquired",
            Self::Stored { stored: Ok(_), .. } => "PageStored",
            Self::Stored { stored: Err(_), .. } => "PageNotStored",
        }
    }
}

/// What the shell is to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Tell the hub that sync of these models begins.
    Begun { models: Vec<ModelName> },
    /// Read how far sync of a model has got.
    ReadCursor { ticket: Ticket, model: ModelName },
    /// Ask the server for a page.
    Ask(Question),
    /// List a portion of what the store holds of a model.
    List(Portion),
    /// Ask the server what it has of a record.
    Inquire {
        ticket: Ticket,
        model: ModelName,
        id: RecordId,
    },
    /// Store a page.
    Store { ticket: Ticket, batch: RemoteBatch },
    /// Tell the hub how many records of a model are stored.
    Progress { model: ModelName, received: u64 },
    /// Tell the app of errors that came along with records.
    NonApplicable {
        model: ModelName,
        errors: Vec<ServerError>,
    },
    /// Tell the hub that a model is synced.
    Synced {
        model: ModelName,
        kind: SyncKind,
        counts: RemoteCounts,
    },
    /// Tell the hub that a model has more records than one sync fetches.
    Truncated { model: ModelName, received: u64 },
    /// Tell the app that a full sync has left records in the store of which nobody knows whether the server has them,
    /// and how many if that is known.
    Kept { model: ModelName, records: Option<u64> },
    /// Tell the app that a model is not synced.
    Failed {
        model: ModelName,
        trouble: Trouble,
        tried_again: bool,
    },
    /// Tell the hub that every model is settled.
    Ready,
    /// Tell the supervisor so.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Syncing {
        /// Levels that may be worked on.
        level: usize,
        /// Whether the supervisor waits for the end.
        asked: bool,
        /// Whether to begin once more afterwards.
        again: bool,
    },
    Resting {
        /// When the next sync begins.
        next_ms: u64,
    },
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Syncing { .. } => "syncing",
            Self::Resting { .. } => "resting",
        }
    }
}

/// How far the sync of all models has got.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    phase: Phase,
    /// Every model with its level, parents first.
    models: Vec<(usize, ModelSync)>,
    tickets: Tickets,
    /// Answers that nobody waits for any more.
    late: u64,
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

impl State {
    /// Nothing is being synced. Levels hold parents before their children.
    pub(super) fn new(limits: Limits, levels: Vec<Vec<Subject>>) -> Self {
        let numbered = levels.into_iter().enumerate();
        let models = numbered.flat_map(|(level, subjects)| {
            subjects
                .into_iter()
                .map(move |subject| (level, ModelSync::new(subject)))
        });
        Self {
            limits,
            phase: Phase::Idle,
            models: models.collect(),
            tickets: Tickets::default(),
            late: 0,
            unexpected: BTreeMap::new(),
        }
    }

    /// Whether no sync goes on, and none is being waited for.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. })
    }

    /// When the machine wants to hear `TimerDue`.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let models = self.models.iter().filter_map(|(_, model)| model.due_ms());
        match self.phase {
            Phase::Idle => None,
            Phase::Syncing { .. } => models.min(),
            Phase::Resting { next_ms } => {
                let again = self.models.iter().filter_map(|(_, model)| model.again_ms());
                models.chain(again).chain([next_ms]).min()
            }
        }
    }

    /// Takes an input; returns what is to be done, in this order.
    pub(super) fn step(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let name = input.name();
        match (self.phase, input) {
            (Phase::Idle | Phase::Resting { .. }, Input::Start) => self.begin(true, &mut effects),
            (Phase::Syncing { level, asked, .. }, Input::Start) => {
                self.phase = Phase::Syncing {
                    level,
                    asked,
                    again: true,
                };
            }
            (_, Input::Cancel) => {
                self.phase = Phase::Idle;
                self.models.iter_mut().for_each(|(_, model)| model.cancel());
            }
            (Phase::Idle, Input::TimerDue) => {
                *self.unexpected.entry((self.phase.name(), name)).or_default() += 1;
            }
            (Phase::Resting { next_ms }, Input::TimerDue) if next_ms <= now_ms => {
                self.begin(false, &mut effects);
            }
            (Phase::Syncing { .. }, Input::TimerDue) => {
                self.models.iter_mut().for_each(|(_, model)| model.wake(now_ms));
            }
            (Phase::Resting { .. }, Input::TimerDue) => {
                for (_, model) in &mut self.models {
                    model.wake(now_ms);
                    model.wake_again(now_ms);
                }
            }
            (
                _,
                input @ (Input::CursorRead { .. }
                | Input::Answered { .. }
                | Input::Listed { .. }
                | Input::Inquired { .. }
                | Input::Stored { .. }),
            ) => {
                self.answer(now_ms, random, input, &mut effects);
            }
        }
        self.go_on(now_ms, random, &mut effects);
        effects
    }

    /// Passes an answer on to its model.
    fn answer(
        &mut self,
        now_ms: u64,
        random: &mut dyn FnMut() -> u64,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        let (Input::CursorRead { model, .. }
        | Input::Answered { model, .. }
        | Input::Listed { model, .. }
        | Input::Inquired { model, .. }
        | Input::Stored { model, .. }) = &input
        else {
            return;
        };
        let Some((_, asker)) = self.models.iter_mut().find(|(_, asker)| asker.model() == model) else {
            self.late += 1;
            return;
        };
        let mut turn = Turn {
            now_ms,
            random,
            limits: &self.limits,
            tickets: &mut self.tickets,
            effects,
        };
        let was_awaited = match input {
            Input::CursorRead {
                ticket,
                cursor,
                wall_ms,
                ..
            } => asker.planned(ticket, cursor, wall_ms, &mut turn),
            Input::Answered { ticket, answer, .. } => asker.answered(ticket, answer, &mut turn),
            Input::Listed { ticket, listed, .. } => asker.listed(ticket, listed, &mut turn),
            Input::Inquired { ticket, found, .. } => asker.inquired(ticket, found, &mut turn),
            Input::Stored { ticket, stored, .. } => asker.stored(ticket, stored, &mut turn),
            Input::Start | Input::Cancel | Input::TimerDue => true,
        };
        self.late += u64::from(!was_awaited);
    }

    /// Begins a sync of all models.
    fn begin(&mut self, asked: bool, effects: &mut Vec<Effect>) {
        self.phase = Phase::Syncing {
            level: 0,
            asked,
            again: false,
        };
        self.models.iter_mut().for_each(|(_, model)| model.queue());
        effects.push(Effect::Begun {
            models: self
                .models
                .iter()
                .map(|(_, model)| model.model().clone())
                .collect(),
        });
    }

    /// Lets models begin, levels follow each other and the sync end, as far as nothing has to be waited for.
    fn go_on(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, effects: &mut Vec<Effect>) {
        loop {
            let open = match self.phase {
                Phase::Idle => return,
                Phase::Syncing { level, .. } => level,
                Phase::Resting { .. } => usize::MAX,
            };
            self.fill(open, now_ms, random, effects);
            let Phase::Syncing { level, asked, again } = self.phase else {
                return;
            };
            if self
                .models
                .iter()
                .any(|(of, model)| *of <= level && !model.is_settled())
            {
                return;
            }
            if self.models.iter().any(|(of, _)| *of > level) {
                self.phase = Phase::Syncing {
                    level: level + 1,
                    asked,
                    again,
                };
                continue;
            }
            effects.push(Effect::Ready);
            if again {
                self.begin(true, effects);
                continue;
            }
            if asked {
                effects.push(Effect::Finished);
            }
            self.phase = Phase::Resting {
                next_ms: self.next_ms(now_ms),
            };
        }
    }

    /// Lets models of the open levels begin while there is room.
    fn fill(&mut self, open: usize, now_ms: u64, random: &mut dyn FnMut() -> u64, effects: &mut Vec<Effect>) {
        let busy = self.models.iter().filter(|(_, model)| model.is_busy()).count();
        let mut room = self.limits.models_in_parallel.saturating_sub(busy);
        for (level, model) in &mut self.models {
            if *level > open || !model.is_ready() {
                continue;
            }
            if room == 0 {
                return;
            }
            let mut turn = Turn {
                now_ms,
                random,
                limits: &self.limits,
                tickets: &mut self.tickets,
                effects,
            };
            model.begin(&mut turn);
            room -= usize::from(model.is_busy());
        }
    }

    /// When the first model is to be fetched whole again. Models that failed have no say: it is their server's turn.
    fn next_ms(&self, now_ms: u64) -> u64 {
        let due = self
            .models
            .iter()
            .filter_map(|(_, model)| model.full_due_ms())
            .min();
        let earliest = now_ms.saturating_add(FULL_SYNC_WAIT_MS_MIN);
        due.unwrap_or_else(|| now_ms.saturating_add(self.limits.interval_ms()))
            .max(earliest)
    }
}

#[cfg(test)]
mod tests;
