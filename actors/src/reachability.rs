//! ReachabilityActor: whether the server can be reached.
//!
//! Owns the verdict, the probes that it rests on and the switch that forces it. Asks the server with the cheapest
//! request there is, hears from the actors that use the transport how they fared, and tells the supervisor when the
//! verdict changes. It does not listen to the operating system: a network that is up and does not lead to the server
//! is of no use.
//!
//! The machine (`reachability/machine.rs`) decides, this shell performs.

mod machine;

use actix::prelude::*;

use landfall_wire::{Document, HttpResponse, TransportError, Variables};

use crate::actor;
use crate::config::SyncSettings;
use crate::env::Env;
use crate::flight::{print_of, without_queries};
use crate::handlers::{ErrorKind, Process, SyncError};
use crate::port::{Envelope, Handle, Message, Port};
use crate::storage::Epoch;
use crate::supervisor::SupervisorMessage;
use crate::timer::{Timed, Timer, arm};
use machine::{Effect, Input, State};

/// How someone who used the transport fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered, whatever it said.
    Reached,
    /// It did not.
    Unreachable,
}

impl Outcome {
    /// What an error of the transport says about the way to the server.
    ///
    /// Nothing was sent for lack of credentials or for a wrong setting, so nothing speaks against the network. Such
    /// an error must not look like being offline: those who need an answer from the server report it to the app.
    pub fn of_error(error: &TransportError) -> Self {
        match error {
            TransportError::Unauthorized { .. } | TransportError::Misconfigured { .. } => Self::Reached,
            _ => Self::Unreachable,
        }
    }

    /// What the result of a request says about the way to the server.
    pub fn of_result(result: &Result<HttpResponse, TransportError>) -> Self {
        match result {
            Ok(_) => Self::Reached,
            Err(error) => Self::of_error(error),
        }
    }
}

/// Messages to the [`ReachabilityActor`].
#[derive(Debug)]
pub enum ReachabilityMessage {
    /// From whoever used the transport: so it went. No reply; reports may come as often as requests are made.
    Report(Outcome),
    /// From the supervisor: treat the network as cut, or no longer so.
    ForceOffline {
        /// Whether it counts as cut.
        offline: bool,
    },
    /// From the supervisor: the run has ended.
    Stop,
    /// From the actor itself: a probe came back.
    Probed {
        /// Which one.
        turn: u64,
        /// How it fared.
        outcome: Outcome,
    },
}

impl Message for ReachabilityMessage {
    const ACTOR: &'static str = "ReachabilityActor";

    fn name(&self) -> &'static str {
        match self {
            Self::Report(Outcome::Reached) => "Report(Reached)",
            Self::Report(Outcome::Unreachable) => "Report(Unreachable)",
            Self::ForceOffline { .. } => "ForceOffline",
            Self::Stop => "Stop",
            Self::Probed { .. } => "Probed",
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Probed { .. } | Self::ForceOffline { .. } => print_of(self),
            _ => 0,
        }
    }
}

/// Knows whether the server can be reached.
#[derive(Debug)]
pub struct ReachabilityActor {
    env: Env,
    epoch: Epoch,
    supervisor: Port<SupervisorMessage>,
    settings: SyncSettings,
    state: State,
    timer: Timer,
    /// Why the last probe did not reach the server; told with the verdict that comes of it.
    reason: Option<String>,
}

impl ReachabilityActor {
    /// An actor that probes as soon as it starts, unless it is `forced_offline`.
    pub fn new(
        env: Env,
        epoch: Epoch,
        forced_offline: bool,
        supervisor: Port<SupervisorMessage>,
        settings: SyncSettings,
    ) -> Self {
        Self {
            env,
            epoch,
            supervisor,
            settings,
            state: State::new(forced_offline),
            timer: Timer::default(),
            reason: None,
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let entropy = &self.env.entropy;
        let effects = self
            .state
            .step(self.env.clock.now_ms(), &mut || entropy.next_u64(), input);
        for effect in effects {
            match effect {
                Effect::Probe { turn } => self.probe(turn, ctx),
                Effect::Tell { online } => {
                    let epoch = self.epoch;
                    if !online && let Some(reason) = self.reason.take() {
                        self.report(&reason);
                    }
                    // A supervisor that is gone has no use for a verdict.
                    self.supervisor
                        .tell(SupervisorMessage::NetworkChanged { epoch, online })
                        .unwrap_or(());
                }
            }
        }
        arm(self, ctx, self.state.due_ms());
    }

    /// Tells the app of an outage, once: a wrong address looks no other than a server that is down.
    fn report(&self, reason: &str) {
        let address = self.env.transport.as_ref().map(|transport| transport.endpoint());
        let address = without_queries(address.unwrap_or_default());
        let reason = without_queries(reason);
        self.settings.report(SyncError {
            kind: ErrorKind::Transient,
            process: Process::Sync,
            message: format!("the server at {address} cannot be reached: {reason}"),
            error_type: None,
            model: None,
            key: None,
            operation: None,
            local: None,
            remote: None,
            record: None,
            base: None,
            suggestion:
                "check the address and the network; changes wait, and are sent once the server answers"
                    .to_owned(),
        });
    }

    fn probe(&self, turn: u64, ctx: &mut Context<Self>) {
        let Some(transport) = &self.env.transport else {
            return ctx.notify(Envelope(ReachabilityMessage::Probed {
                turn,
                outcome: Outcome::Unreachable,
            }));
        };
        let document = Document::new("Probe", "__typename", "query Probe { __typename }");
        let answer = transport.execute(document.request(&Variables::new()));
        let probing = answer.into_actor(self).map(move |result, actor, ctx| {
            let outcome = Outcome::of_result(&result);
            let error = result.err().filter(|_| outcome == Outcome::Unreachable);
            actor.reason = error.map(|error| match error {
                TransportError::Unreachable { reason } | TransportError::Interrupted { reason } => reason,
                other => other.to_string(),
            });
            tracing::debug!(?outcome, reason = actor.reason.as_deref(), "probed");
            ctx.notify(Envelope(ReachabilityMessage::Probed { turn, outcome }));
        });
        ctx.spawn(probing);
    }
}

impl Handle for ReachabilityActor {
    type Message = ReachabilityMessage;

    fn env(&self) -> &Env {
        &self.env
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::Started, ctx);
    }

    fn handle(&mut self, message: ReachabilityMessage, ctx: &mut Context<Self>) {
        match message {
            ReachabilityMessage::Report(outcome) => self.step(Input::Report(outcome), ctx),
            ReachabilityMessage::ForceOffline { offline } => {
                // Whoever cuts the network knows why.
                self.reason = None;
                self.step(Input::ForceOffline { offline }, ctx);
            }
            ReachabilityMessage::Probed { turn, outcome } => self.step(Input::Probed { turn, outcome }, ctx),
            ReachabilityMessage::Stop => ctx.stop(),
        }
    }
}

impl Timed for ReachabilityActor {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn timer_due(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::TimerDue, ctx);
    }
}

actor!(ReachabilityActor);

#[cfg(test)]
mod tests;
