//! The supervisor's machine: phases of a run, and what leads from one to the next.
//!
//! | phase | online | offline | subscribed | lost | synced | drained |
//! |---|---|---|---|---|---|---|
//! | waiting for network | subscribing | – | | | | |
//! | subscribing | – | waiting | syncing | – | | |
//! | syncing | – | waiting | syncing | subscribing | draining | |
//! | draining | – | waiting | syncing | subscribing | | running |
//! | running | – | waiting | resyncing | – | – | – |
//! | resyncing | – | waiting | resyncing | – | redraining | |
//! | redraining | – | waiting | resyncing | – | | running |
//!
//! A dash stays; an empty cell is unexpected. While running, a lost connection leaves the outbox at work: only the gap
//! has to be healed, by a delta sync once the subscriptions are back.

use std::fmt;

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing runs.
    Stopped,
    /// There is no server to sync with.
    LocalOnly,
    /// The server cannot be reached, or that is not yet known.
    WaitingForNetwork {
        /// Whether it is known.
        known: bool,
    },
    /// Subscriptions are being acknowledged.
    Subscribing,
    /// Models are being synced; subscriptions buffer.
    Syncing,
    /// What was buffered is being stored.
    Draining,
    /// Changes flow both ways.
    Running,
    /// As running, and a gap is being healed; subscriptions buffer.
    Resyncing,
    /// As running, and what was buffered meanwhile is being stored.
    Redraining,
}

/// What the machine hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Started,
    StartedLocally,
    Stopped,
    Online,
    Offline,
    Subscribed,
    Lost,
    Synced,
    Drained,
    /// Something of an older run.
    Stale,
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Subscribe,
    Unsubscribe,
    DrainBuffer,
    Sync,
    CancelSync,
    ResumeOutbox,
    PauseOutbox,
    AnnounceNetwork { active: bool },
    AnnounceSubscriptions,
    AnnounceReady,
    AnswerReady { ready: bool },
}

/// An input that the phase does not expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unexpected {
    phase: Phase,
    input: Input,
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} while {:?}", self.input, self.phase)
    }
}

impl Phase {
    /// Whether the store is ready; `None` while that is being found out.
    pub(super) fn readiness(self) -> Option<bool> {
        match self {
            Self::Running | Self::Resyncing | Self::Redraining => Some(true),
            Self::Stopped | Self::LocalOnly | Self::WaitingForNetwork { known: true } => Some(false),
            Self::WaitingForNetwork { known: false } | Self::Subscribing | Self::Syncing | Self::Draining => {
                None
            }
        }
    }
}

/// One step: the new phase and what is to be done.
pub(super) fn step(phase: Phase, input: Input) -> Result<(Phase, Vec<Effect>), Unexpected> {
    use Effect::{
        AnnounceNetwork, AnnounceReady, AnnounceSubscriptions, AnswerReady, CancelSync, DrainBuffer,
        PauseOutbox, ResumeOutbox, Subscribe, Sync, Unsubscribe,
    };
    let stay = Ok((phase, Vec::new()));
    let offline = || {
        let effects = vec![
            PauseOutbox,
            CancelSync,
            Unsubscribe,
            AnnounceNetwork { active: false },
            AnswerReady { ready: false },
        ];
        Ok((Phase::WaitingForNetwork { known: true }, effects))
    };
    match (phase, input) {
        (_, Input::Stopped) => Ok((Phase::Stopped, vec![AnswerReady { ready: false }])),
        (Phase::Stopped, Input::Started) => Ok((Phase::WaitingForNetwork { known: false }, Vec::new())),
        (Phase::Stopped, Input::StartedLocally) => Ok((Phase::LocalOnly, vec![AnswerReady { ready: false }])),
        (Phase::WaitingForNetwork { .. }, Input::Online) => Ok((
            Phase::Subscribing,
            vec![AnnounceNetwork { active: true }, Subscribe],
        )),
        (Phase::WaitingForNetwork { known: true }, Input::Offline) => stay,
        (
            Phase::WaitingForNetwork { known: false }
            | Phase::Subscribing
            | Phase::Syncing
            | Phase::Draining
            | Phase::Running
            | Phase::Resyncing
            | Phase::Redraining,
            Input::Offline,
        ) => offline(),
        (Phase::Subscribing | Phase::Syncing | Phase::Draining, Input::Subscribed) => {
            Ok((Phase::Syncing, vec![AnnounceSubscriptions, Sync]))
        }
        (Phase::Running, Input::Subscribed) if landfall_core::planted("gap-not-healed") => stay,
        (Phase::Running | Phase::Resyncing | Phase::Redraining, Input::Subscribed) => {
            Ok((Phase::Resyncing, vec![AnnounceSubscriptions, Sync]))
        }
        (Phase::Syncing | Phase::Draining, Input::Lost) => Ok((Phase::Subscribing, vec![CancelSync])),
        (Phase::Syncing, Input::Synced) => Ok((Phase::Draining, vec![DrainBuffer])),
        (Phase::Resyncing, Input::Synced) => Ok((Phase::Redraining, vec![DrainBuffer])),
        (Phase::Draining, Input::Drained) => Ok((
            Phase::Running,
            vec![ResumeOutbox, AnnounceReady, AnswerReady { ready: true }],
        )),
        (Phase::Redraining, Input::Drained) => Ok((Phase::Running, Vec::new())),
        (Phase::Subscribing | Phase::Running | Phase::Resyncing | Phase::Redraining, Input::Lost)
        | (Phase::Running, Input::Synced | Input::Drained)
        | (
            Phase::Subscribing
            | Phase::Syncing
            | Phase::Draining
            | Phase::Running
            | Phase::Resyncing
            | Phase::Redraining,
            Input::Online,
        ) => stay,
        (phase, input) => Err(Unexpected { phase, input }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(inputs: &[Input]) -> (Phase, Vec<Effect>) {
        let mut phase = Phase::Stopped;
        let mut all = Vec::new();
        for input in inputs {
            let (next, effects) = step(phase, *input).expect("expected");
            phase = next;
            all.extend(effects);
        }
        (phase, all)
    }

    #[test]
    fn a_start_subscribes_then_syncs_then_drains_then_sends() {
        let (phase, effects) = run(&[
            Input::Started,
            Input::Online,
            Input::Subscribed,
            Input::Synced,
            Input::Drained,
        ]);
        assert_eq!(phase, Phase::Running);
        assert_eq!(
            effects,
            [
                Effect::AnnounceNetwork { active: true },
                Effect::Subscribe,
                Effect::AnnounceSubscriptions,
                Effect::Sync,
                Effect::DrainBuffer,
                Effect::ResumeOutbox,
                Effect::AnnounceReady,
                Effect::AnswerReady { ready: true },
            ]
        );
    }

    #[test]
    fn a_lost_connection_while_running_is_healed_without_stopping_the_outbox() {
        let start = [
            Input::Started,
            Input::Online,
            Input::Subscribed,
            Input::Synced,
            Input::Drained,
        ];
        let (_, before) = run(&start);
        let healed = [
            &start[..],
            &[Input::Lost, Input::Subscribed, Input::Synced, Input::Drained],
        ]
        .concat();
        let (phase, effects) = run(&healed);
        assert_eq!(phase, Phase::Running);
        assert_eq!(
            effects[before.len()..],
            [Effect::AnnounceSubscriptions, Effect::Sync, Effect::DrainBuffer]
        );
    }

    #[test]
    fn going_offline_stops_everything_from_every_phase_and_online_begins_anew() {
        let all = [
            Input::Started,
            Input::Online,
            Input::Subscribed,
            Input::Synced,
            Input::Drained,
            Input::Subscribed,
        ];
        for count in 2..=all.len() {
            let (phase, effects) = run(&[&all[..count], &[Input::Offline]].concat());
            assert_eq!(phase, Phase::WaitingForNetwork { known: true });
            assert!(effects.contains(&Effect::PauseOutbox));
            assert!(
                step(phase, Input::Online)
                    .expect("expected")
                    .1
                    .contains(&Effect::Subscribe)
            );
        }
    }

    #[test]
    fn what_cannot_happen_is_named() {
        assert!(step(Phase::Stopped, Input::Online).is_err());
        assert!(step(Phase::Running, Input::Stale).is_err());
        assert!(step(Phase::Subscribing, Input::Synced).is_err());
    }
}
