//! The supervisor's machine: phases of a run, and what leads from one to the next.
//!
//! | phase | online | offline | subscribed, gap | lost | synced | drained | pull paused |
//! |---|---|---|---|---|---|---|---|
//! | waiting for network | subscribing, or pushing while the pull is paused | – | – | | | | – |
//! | subscribing | – | waiting | syncing | – | | | pushing |
//! | syncing | – | waiting | syncing | subscribing | draining | | pushing |
//! | draining | – | waiting | syncing | subscribing | | running | pushing |
//! | running | – | waiting | resyncing | – | – | – | pushing |
//! | resyncing | – | waiting | resyncing | – | redraining | | pushing |
//! | redraining | – | waiting | resyncing | – | | running | pushing |
//! | pushing | – | waiting | – | – | – | – | – |
//!
//! A dash stays; an empty cell is unexpected. While running, a lost connection leaves the outbox at work: only the gap
//! has to be healed, by a delta sync once the subscriptions are back. When the pull is resumed, pushing becomes
//! subscribing, and the outbox waits for the sync as after a start.

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
    /// Changes flow to the server only: the app has paused the other way.
    Pushing,
}

/// What the machine hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Started,
    StartedLocally,
    Stopped,
    Online,
    /// As `Online`, while the app has paused the pull.
    OnlineToPush,
    Offline,
    Subscribed,
    /// Something was missed, or somebody wants a sync.
    Gap,
    PausePull,
    ResumePull,
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
            Self::Stopped | Self::LocalOnly | Self::WaitingForNetwork { known: true } | Self::Pushing => {
                Some(false)
            }
            Self::WaitingForNetwork { known: false } | Self::Subscribing | Self::Syncing | Self::Draining => {
                None
            }
        }
    }
}

impl Phase {
    /// Whether the outbox is at work.
    pub(super) fn is_sending(self) -> bool {
        self.readiness() == Some(true) || self == Self::Pushing
    }
}

/// One step: the new phase and what is to be done.
pub(super) fn step(phase: Phase, input: Input) -> Result<(Phase, Vec<Effect>), Unexpected> {
    match steer(phase, input).or_else(|| go_on(phase, input)) {
        Some(next) => Ok(next),
        None if stays(phase, input) => Ok((phase, Vec::new())),
        None => Err(Unexpected { phase, input }),
    }
}

/// What the app and the network lead to.
fn steer(phase: Phase, input: Input) -> Option<(Phase, Vec<Effect>)> {
    use Effect::{
        AnnounceNetwork, AnswerReady, CancelSync, PauseOutbox, ResumeOutbox, Subscribe, Unsubscribe,
    };
    let not_ready = AnswerReady { ready: false };
    Some(match (phase, input) {
        (_, Input::Stopped) => (Phase::Stopped, vec![not_ready]),
        (Phase::Stopped, Input::Started) => (Phase::WaitingForNetwork { known: false }, Vec::new()),
        (Phase::Stopped, Input::StartedLocally) => (Phase::LocalOnly, vec![not_ready]),
        (Phase::WaitingForNetwork { .. }, Input::Online) => (
            Phase::Subscribing,
            vec![AnnounceNetwork { active: true }, Subscribe],
        ),
        (Phase::WaitingForNetwork { .. }, Input::OnlineToPush) => (
            Phase::Pushing,
            vec![AnnounceNetwork { active: true }, ResumeOutbox, not_ready],
        ),
        (
            Phase::WaitingForNetwork { known: false }
            | Phase::Subscribing
            | Phase::Syncing
            | Phase::Draining
            | Phase::Running
            | Phase::Resyncing
            | Phase::Redraining
            | Phase::Pushing,
            Input::Offline,
        ) => (
            Phase::WaitingForNetwork { known: true },
            vec![
                PauseOutbox,
                CancelSync,
                Unsubscribe,
                AnnounceNetwork { active: false },
                not_ready,
            ],
        ),
        (Phase::Subscribing | Phase::Syncing | Phase::Draining, Input::PausePull) => (
            Phase::Pushing,
            vec![CancelSync, Unsubscribe, ResumeOutbox, not_ready],
        ),
        (Phase::Running | Phase::Resyncing | Phase::Redraining, Input::PausePull) => {
            (Phase::Pushing, vec![CancelSync, Unsubscribe, not_ready])
        }
        (Phase::Pushing, Input::ResumePull) => (Phase::Subscribing, vec![PauseOutbox, Subscribe]),
        _ => return None,
    })
}

/// What the parts of a run lead to.
fn go_on(phase: Phase, input: Input) -> Option<(Phase, Vec<Effect>)> {
    use Effect::{
        AnnounceReady, AnnounceSubscriptions, AnswerReady, CancelSync, DrainBuffer, ResumeOutbox, Sync,
    };
    Some(match (phase, input) {
        (Phase::Running, Input::Gap | Input::Subscribed) if landfall_core::planted("gap-not-healed") => {
            (phase, Vec::new())
        }
        (Phase::Draining, Input::Drained) if landfall_core::planted("outbox-stays-paused") => {
            (Phase::Running, vec![AnnounceReady, AnswerReady { ready: true }])
        }
        (Phase::Syncing | Phase::Draining, Input::Gap) => (Phase::Syncing, vec![Sync]),
        (Phase::Running | Phase::Resyncing | Phase::Redraining, Input::Gap) => (Phase::Resyncing, vec![Sync]),
        (Phase::Subscribing | Phase::Syncing | Phase::Draining, Input::Subscribed) => {
            (Phase::Syncing, vec![AnnounceSubscriptions, Sync])
        }
        (Phase::Running | Phase::Resyncing | Phase::Redraining, Input::Subscribed) => {
            (Phase::Resyncing, vec![AnnounceSubscriptions, Sync])
        }
        (Phase::Syncing | Phase::Draining, Input::Lost) => (Phase::Subscribing, vec![CancelSync]),
        (Phase::Syncing, Input::Synced) => (Phase::Draining, vec![DrainBuffer]),
        (Phase::Resyncing, Input::Synced) => (Phase::Redraining, vec![DrainBuffer]),
        (Phase::Draining, Input::Drained) => (
            Phase::Running,
            vec![ResumeOutbox, AnnounceReady, AnswerReady { ready: true }],
        ),
        (Phase::Redraining, Input::Drained) => (Phase::Running, Vec::new()),
        _ => return None,
    })
}

/// Whether an input that leads nowhere is expected.
fn stays(phase: Phase, input: Input) -> bool {
    match phase {
        Phase::Stopped | Phase::LocalOnly => {
            matches!(input, Input::PausePull | Input::ResumePull | Input::Gap)
        }
        Phase::WaitingForNetwork { known } => match input {
            Input::PausePull | Input::ResumePull | Input::Gap => true,
            Input::Offline => known,
            _ => false,
        },
        // What the parts still say was under way when the pull was paused.
        Phase::Pushing => !matches!(input, Input::Started | Input::StartedLocally | Input::Stale),
        Phase::Subscribing => {
            matches!(
                input,
                Input::Lost | Input::Gap | Input::Online | Input::ResumePull
            )
        }
        Phase::Syncing | Phase::Draining => matches!(input, Input::Online | Input::ResumePull),
        Phase::Running => matches!(
            input,
            Input::Lost | Input::Synced | Input::Drained | Input::Online | Input::ResumePull
        ),
        Phase::Resyncing | Phase::Redraining => {
            matches!(input, Input::Lost | Input::Online | Input::ResumePull)
        }
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
    fn a_gap_is_healed_without_announcing_subscriptions_again() {
        let start = [
            Input::Started,
            Input::Online,
            Input::Subscribed,
            Input::Synced,
            Input::Drained,
        ];
        let (_, before) = run(&start);
        let (phase, effects) = run(&[&start[..], &[Input::Gap, Input::Synced, Input::Drained]].concat());
        assert_eq!(phase, Phase::Running);
        assert_eq!(effects[before.len()..], [Effect::Sync, Effect::DrainBuffer]);
    }

    #[test]
    fn a_paused_pull_leaves_the_outbox_at_work_and_resumes_with_a_sync() {
        let start = [
            Input::Started,
            Input::Online,
            Input::Subscribed,
            Input::Synced,
            Input::Drained,
        ];
        for count in 2..=start.len() {
            let (phase, effects) = run(&[&start[..count], &[Input::PausePull]].concat());
            assert_eq!((phase, phase.is_sending()), (Phase::Pushing, true));
            assert_eq!(phase.readiness(), Some(false), "it is not in sync");
            assert!(effects.contains(&Effect::ResumeOutbox) && effects.contains(&Effect::Unsubscribe));
        }
        let (phase, effects) = run(&[Input::Started, Input::OnlineToPush]);
        assert_eq!(phase, Phase::Pushing);
        assert!(!effects.contains(&Effect::Subscribe));
        let (phase, effects) = step(phase, Input::ResumePull).expect("expected");
        assert_eq!(phase, Phase::Subscribing);
        assert_eq!(effects, [Effect::PauseOutbox, Effect::Subscribe]);
    }

    #[test]
    fn what_cannot_happen_is_named() {
        assert!(step(Phase::Stopped, Input::Online).is_err());
        assert!(step(Phase::Running, Input::Stale).is_err());
        assert!(step(Phase::Subscribing, Input::Synced).is_err());
    }
}
