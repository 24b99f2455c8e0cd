//! The machine of the [`ReachabilityActor`](super::ReachabilityActor): what is believed, what is told, when to probe.
//!
//! Pure. Of probes it knows when they are due and which one is awaited; sending them is the shell's.
//!
//! | belief | started | reached (report, probe) | unreachable (report) | unreachable (probe) | force | release |
//! |---|---|---|---|---|---|---|
//! | new | probe; unknown. Forced: told offline | ? | ? | ? | forced | - |
//! | unknown | ? | online, told at once | - | offline, told at once; probe later | forced | - |
//! | online | ? | - | probe, unless one is on its way | offline; probe later | forced | - |
//! | offline | ? | online | - | probe later | forced | - |
//! | forced | ? | - | - | - | - | probe; unknown |
//!
//! `-` has no effect, `?` is unexpected and counted by name. Forced is told at once. A change between online and offline
//! is told once it has lasted [`DEBOUNCE_MS`], and only if it differs from what was told last.
//!
//! Invariants: 1. at most one probe is awaited, and answers to others are ignored; 2. while offline, a probe is awaited
//! or due; 3. the same verdict is never told twice in a row.

use std::collections::BTreeMap;

use landfall_wire::{Backoff, BackoffPolicy};

use super::Outcome;

/// How long a change has to last before it is told: a handover between networks is no outage.
pub(super) const DEBOUNCE_MS: u64 = 250;

/// When an unreachable server is probed again. Half a minute is about as long as people wait before they ask why.
pub(super) const PROBE_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 100,
    longest_ms: 30_000,
    attempts_max: None,
};

/// What the machine hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The actor runs.
    Started,
    /// Someone used the transport.
    Report(Outcome),
    /// A probe came back.
    Probed {
        /// Which one.
        turn: u64,
        /// How it fared.
        outcome: Outcome,
    },
    /// The network counts as cut, or no longer so.
    ForceOffline {
        /// Whether it counts as cut.
        offline: bool,
    },
    /// The deadline has come.
    TimerDue,
}

impl Input {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Report(Outcome::Reached) => "reached",
            Self::Report(Outcome::Unreachable) => "unreachable",
            Self::Probed { .. } => "probed",
            Self::ForceOffline { offline: true } => "force",
            Self::ForceOffline { offline: false } => "release",
            Self::TimerDue => "timer",
        }
    }
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Send the probe of this number.
    Probe {
        /// Its number.
        turn: u64,
    },
    /// Tell the supervisor.
    Tell {
        /// Whether the server can be reached.
        online: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    New,
    Unknown,
    Online,
    Offline,
    Forced,
}

impl Belief {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Forced => "forced",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    Awaited,
    Due { at_ms: u64 },
}

/// What is believed, and what has been told.
#[derive(Debug)]
pub(super) struct State {
    forced_from_start: bool,
    belief: Belief,
    told: Option<bool>,
    /// When a change that has not been told yet will have lasted.
    tell_at_ms: Option<u64>,
    probe: Probe,
    turn: u64,
    backoff: Backoff,
    unexpected: BTreeMap<(&'static str, &'static str), u64>,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(forced_offline: bool) -> Self {
        Self {
            forced_from_start: forced_offline,
            belief: Belief::New,
            told: None,
            tell_at_ms: None,
            probe: Probe::None,
            turn: 0,
            backoff: Backoff::new(PROBE_BACKOFF),
            unexpected: BTreeMap::new(),
        }
    }

    /// When the machine wants to hear `TimerDue`.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let probe_ms = if let Probe::Due { at_ms } = self.probe {
            Some(at_ms)
        } else {
            None
        };
        probe_ms.into_iter().chain(self.tell_at_ms).min()
    }

    /// Takes an input; returns what is to be done, in this order.
    pub(super) fn step(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, input: Input) -> Vec<Effect> {
        use Outcome::{Reached, Unreachable};
        let mut effects = Vec::new();
        match (self.belief, input) {
            (Belief::New, Input::Started) if self.forced_from_start => self.force(&mut effects),
            (Belief::New, Input::Started) => self.ask(Belief::Unknown, &mut effects),
            (Belief::Forced, Input::ForceOffline { offline: false }) => {
                self.ask(Belief::Unknown, &mut effects);
            }
            (
                Belief::New | Belief::Unknown | Belief::Online | Belief::Offline,
                Input::ForceOffline { offline: true },
            ) => {
                self.force(&mut effects);
            }
            (Belief::New, Input::Report(_) | Input::Probed { .. }) | (_, Input::Started) => self.count(input),
            // The answer to a probe that something else has overtaken.
            (_, Input::Probed { turn, .. }) if turn != self.turn || self.probe != Probe::Awaited => {}
            (
                Belief::Unknown | Belief::Offline,
                Input::Report(Reached) | Input::Probed { outcome: Reached, .. },
            ) => {
                self.online(now_ms, &mut effects);
            }
            (Belief::Online, Input::Probed { outcome: Reached, .. }) => self.probe = Probe::None,
            (Belief::Online, Input::Report(Unreachable)) => {
                if self.probe == Probe::None {
                    self.ask(Belief::Online, &mut effects);
                }
            }
            (
                Belief::Unknown | Belief::Online | Belief::Offline,
                Input::Probed {
                    outcome: Unreachable, ..
                },
            ) => {
                self.offline(now_ms, random, &mut effects);
            }
            (_, Input::TimerDue) => self.timer(now_ms, &mut effects),
            (Belief::New, Input::ForceOffline { offline: false })
            | (Belief::Unknown | Belief::Offline, Input::Report(Unreachable))
            | (Belief::Online, Input::Report(Reached))
            | (Belief::Unknown | Belief::Online | Belief::Offline, Input::ForceOffline { offline: false })
            | (
                Belief::Forced,
                Input::Report(_) | Input::Probed { .. } | Input::ForceOffline { offline: true },
            ) => {}
        }
        effects
    }

    fn count(&mut self, input: Input) {
        *self
            .unexpected
            .entry((self.belief.name(), input.name()))
            .or_default() += 1;
    }

    /// Sends a probe in place of any other.
    fn ask(&mut self, belief: Belief, effects: &mut Vec<Effect>) {
        self.belief = belief;
        self.turn += 1;
        self.probe = Probe::Awaited;
        effects.push(Effect::Probe { turn: self.turn });
    }

    fn force(&mut self, effects: &mut Vec<Effect>) {
        self.belief = Belief::Forced;
        self.probe = Probe::None;
        self.backoff.reset();
        self.tell(effects);
    }

    fn online(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let first = self.belief == Belief::Unknown;
        self.belief = Belief::Online;
        self.probe = Probe::None;
        self.backoff.reset();
        self.changed(first, now_ms, effects);
    }

    fn offline(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64, effects: &mut Vec<Effect>) {
        let first = self.belief == Belief::Unknown;
        self.belief = Belief::Offline;
        let wait_ms = self
            .backoff
            .next(None, random)
            .unwrap_or(PROBE_BACKOFF.longest_ms);
        self.probe = Probe::Due {
            at_ms: now_ms.saturating_add(wait_ms),
        };
        self.changed(first, now_ms, effects);
    }

    fn changed(&mut self, first: bool, now_ms: u64, effects: &mut Vec<Effect>) {
        if first {
            self.tell(effects);
        } else if self.told == Some(self.belief == Belief::Online) {
            self.tell_at_ms = None;
        } else {
            // The change counts from its first moment, however often it is confirmed meanwhile.
            self.tell_at_ms.get_or_insert(now_ms.saturating_add(DEBOUNCE_MS));
        }
    }

    fn tell(&mut self, effects: &mut Vec<Effect>) {
        let online = self.belief == Belief::Online;
        self.tell_at_ms = None;
        if self.told != Some(online) {
            self.told = Some(online);
            effects.push(Effect::Tell { online });
        }
    }

    fn timer(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.tell_at_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.tell(effects);
        }
        if matches!(self.probe, Probe::Due { at_ms } if at_ms <= now_ms) {
            self.ask(self.belief, effects);
        }
    }
}

#[cfg(test)]
mod tests;
