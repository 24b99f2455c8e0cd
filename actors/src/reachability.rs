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
use crate::env::Env;
use crate::flight::print_of;
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
    state: State,
    timer: Timer,
}

impl ReachabilityActor {
    /// An actor that probes as soon as it starts, unless it is `forced_offline`.
    pub fn new(env: Env, epoch: Epoch, forced_offline: bool, supervisor: Port<SupervisorMessage>) -> Self {
        Self {
            env,
            epoch,
            supervisor,
            state: State::new(forced_offline),
            timer: Timer::default(),
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
                    // A supervisor that is gone has no use for a verdict.
                    self.supervisor
                        .tell(SupervisorMessage::NetworkChanged { epoch, online })
                        .unwrap_or(());
                }
            }
        }
        arm(self, ctx, self.state.due_ms());
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
        let probing = answer.into_actor(self).map(move |result, _, ctx| {
            let outcome = Outcome::of_result(&result);
            tracing::debug!(
                ?outcome,
                error = result.err().map(tracing::field::display),
                "probed"
            );
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
            ReachabilityMessage::ForceOffline { offline } => self.step(Input::ForceOffline { offline }, ctx),
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
