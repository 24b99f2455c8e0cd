//! The supervisor: what runs when, from start to stop.
//!
//! Owns the order: subscribe and wait for the acknowledgements, sync parents first, drain what subscriptions buffered,
//! start the outbox, ready. Also stop, clear and restart. What each part does is its own business; this file only
//! hears that it has got so far.
//!
//! The machine (`supervisor/machine.rs`) decides, this shell performs. Every start, stop and clear raises the epoch:
//! parts are made anew for each run, and what is left of an older run is ignored by `StorageActor`.

mod machine;

use std::sync::Arc;

use actix::prelude::*;

use landfall_core::Schema;
use landfall_storage::Reader;

use crate::actor;
use crate::config::SyncSettings;
use crate::endpoint::EndpointTrouble;
use crate::env::Env;
use crate::flight::Input as Said;
use crate::hub::{HubEvent, HubMessage};
use crate::mutation::{MutationMessage, MutationProcessor};
use crate::outbox::OutboxMessage;
use crate::port::{Handle, Message, Port, Reply};
use crate::reachability::{ReachabilityActor, ReachabilityMessage};
use crate::storage::{Epoch, StorageMessage, WriteError};
use crate::subscription::{SubscriptionMessage, SubscriptionProcessor};
use crate::sync::{SyncMessage, SyncProcessor};
use machine::{Effect, Input, Phase};

/// What every part of a run is made with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The world.
    pub env: Env,
    /// The models.
    pub schema: Arc<Schema>,
    /// Reads the store.
    pub reader: Reader,
    /// How to sync.
    pub settings: SyncSettings,
    /// The run.
    pub epoch: Epoch,
    /// The writer.
    pub storage: Port<StorageMessage>,
    /// The outbox.
    pub outbox: Port<OutboxMessage>,
    /// Where lifecycle events go.
    pub hub: Port<HubMessage>,
    /// Who is to hear how far a part has got.
    pub supervisor: Port<SupervisorMessage>,
    /// Who is to hear whether the server answers.
    pub reachability: Port<ReachabilityMessage>,
    /// What the app was told of the endpoint as a whole.
    pub endpoint: EndpointTrouble,
}

/// Messages to the [`Supervisor`].
#[derive(Debug)]
pub enum SupervisorMessage {
    /// From the app: start syncing. Answered once the parts run; the network is not waited for.
    Start {
        /// How to sync.
        settings: Box<SyncSettings>,
        /// Sent once started.
        reply: Reply<()>,
    },
    /// From the app: stop syncing. Answered once nothing of the run writes any more.
    Stop {
        /// Sent once stopped.
        reply: Reply<()>,
    },
    /// From the app: stop, and clear all data.
    Clear {
        /// Sent once cleared.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: is the store ready, or is it known that it cannot be now? Answered at the next such moment.
    AwaitReady {
        /// Whether it is ready.
        reply: Reply<bool>,
    },
    /// From the app: sync by these settings from here on; what runs is begun anew.
    Reconfigure {
        /// How to sync.
        settings: Box<SyncSettings>,
        /// Sent once they are in force.
        reply: Reply<()>,
    },
    /// From the app: fetch what has changed now. Answered once a sync that began after this is over; with `false` as
    /// soon as it is known that there is none, as without a network.
    SyncNow {
        /// Whether a sync is over.
        reply: Reply<bool>,
    },
    /// From the app: send local changes, or keep them.
    PausePush {
        /// Whether they are kept.
        paused: bool,
    },
    /// From the app: fetch and listen, or not.
    PausePull {
        /// Whether not.
        paused: bool,
    },
    /// From the app: treat the network as cut, or no longer so.
    ForceOffline {
        /// Whether it counts as cut.
        offline: bool,
    },
    /// From the owner: end everything at once, as a crash would.
    Halt,
    /// From `ReachabilityActor`: the server can be reached, or no longer.
    NetworkChanged {
        /// The run.
        epoch: Epoch,
        /// Whether it can be reached.
        online: bool,
    },
    /// From `SubscriptionProcessor`: every subscription is acknowledged, or left out for good reason.
    SubscriptionsEstablished {
        /// The run.
        epoch: Epoch,
    },
    /// From `SubscriptionProcessor`: something was missed while the subscriptions live on, or a sync was asked for.
    GapFound {
        /// The run.
        epoch: Epoch,
    },
    /// From `SubscriptionProcessor`: the connection was lost; there may be a gap. It is established again by itself,
    /// which is announced as before.
    SubscriptionsLost {
        /// The run.
        epoch: Epoch,
    },
    /// From `SubscriptionProcessor`: what was buffered is stored.
    BufferDrained {
        /// The run.
        epoch: Epoch,
    },
    /// From `SyncProcessor`: each model was synced or has failed for now.
    SyncFinished {
        /// The run.
        epoch: Epoch,
    },
}

impl Message for SupervisorMessage {
    const ACTOR: &'static str = "Supervisor";

    fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "Start",
            Self::Stop { .. } => "Stop",
            Self::Clear { .. } => "Clear",
            Self::AwaitReady { .. } => "AwaitReady",
            Self::Reconfigure { .. } => "Reconfigure",
            Self::SyncNow { .. } => "SyncNow",
            Self::PausePush { .. } => "PausePush",
            Self::PausePull { .. } => "PausePull",
            Self::ForceOffline { .. } => "ForceOffline",
            Self::Halt => "Halt",
            Self::NetworkChanged { .. } => "NetworkChanged",
            Self::SubscriptionsEstablished { .. } => "SubscriptionsEstablished",
            Self::GapFound { .. } => "GapFound",
            Self::SubscriptionsLost { .. } => "SubscriptionsLost",
            Self::BufferDrained { .. } => "BufferDrained",
            Self::SyncFinished { .. } => "SyncFinished",
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::NetworkChanged { epoch, online } => epoch.0 << 1 | u64::from(*online),
            Self::SubscriptionsEstablished { epoch }
            | Self::GapFound { epoch }
            | Self::SubscriptionsLost { epoch }
            | Self::BufferDrained { epoch }
            | Self::SyncFinished { epoch } => epoch.0,
            _ => 0,
        }
    }

    fn input(&self) -> Option<Said> {
        Some(match self {
            Self::Start { settings, .. } => Said::Start((&**settings).into()),
            Self::Reconfigure { settings, .. } => Said::Reconfigure((&**settings).into()),
            Self::Stop { .. } => Said::Stop,
            Self::Clear { .. } => Said::Clear,
            Self::AwaitReady { .. } => Said::AwaitReady,
            Self::SyncNow { .. } => Said::SyncNow,
            Self::PausePush { paused } => Said::PausePush(*paused),
            Self::PausePull { paused } => Said::PausePull(*paused),
            Self::ForceOffline { offline } => Said::ForceOffline(*offline),
            Self::Halt => Said::Halt,
            _ => return None,
        })
    }
}

/// Starts, stops and restarts the parts of the sync engine.
#[derive(Debug)]
pub struct Supervisor {
    env: Env,
    schema: Arc<Schema>,
    reader: Reader,
    storage: Port<StorageMessage>,
    outbox: Port<OutboxMessage>,
    hub: Port<HubMessage>,
    phase: Phase,
    epoch: Epoch,
    forced_offline: bool,
    parts: Option<Parts>,
    /// What the hub was told of this run that it is told once a run.
    told: Told,
    /// Whether the app keeps local changes from being sent. Outlives a run.
    push_paused: bool,
    /// Whether the app keeps the store from fetching and listening. Outlives a run.
    pull_paused: bool,
    awaiting_ready: Vec<Reply<bool>>,
    awaiting_sync: Vec<AwaitingSync>,
    /// Inputs that no phase expects, counted.
    unexpected: u64,
}

/// What is told once a run.
#[derive(Debug, Default)]
struct Told {
    storage: bool,
    outbox: bool,
    ready: bool,
}

/// Somebody who waits for a sync.
#[derive(Debug)]
struct AwaitingSync {
    reply: Reply<bool>,
    /// Whether a sync has begun since it was asked for.
    begun: bool,
}

/// The actors of one run.
#[derive(Debug)]
struct Parts {
    reachability: Port<ReachabilityMessage>,
    subscription: Port<SubscriptionMessage>,
    sync: Port<SyncMessage>,
    mutation: Port<MutationMessage>,
}

impl Supervisor {
    /// A supervisor of a store that is not syncing.
    pub fn new(
        env: Env,
        schema: Arc<Schema>,
        reader: Reader,
        storage: Port<StorageMessage>,
        outbox: Port<OutboxMessage>,
        hub: Port<HubMessage>,
    ) -> Self {
        Self {
            env,
            schema,
            reader,
            storage,
            outbox,
            hub,
            phase: Phase::Stopped,
            epoch: Epoch::default(),
            forced_offline: false,
            parts: None,
            told: Told::default(),
            push_paused: false,
            pull_paused: false,
            awaiting_ready: Vec::new(),
            awaiting_sync: Vec::new(),
            unexpected: 0,
        }
    }

    fn step(&mut self, input: Input) {
        match machine::step(self.phase, input) {
            Ok((phase, effects)) => {
                self.phase = phase;
                effects.into_iter().for_each(|effect| self.perform(effect));
                self.answer_syncs();
            }
            Err(unexpected) => {
                self.unexpected += 1;
                tracing::debug!(%unexpected, "ignored");
            }
        }
    }

    /// Answers those who wait for a sync that is over, or that will not be.
    fn answer_syncs(&mut self) {
        let (over, answer) = match self.phase {
            Phase::Running => (true, true),
            phase => (phase.readiness() == Some(false), false),
        };
        if !over {
            return;
        }
        for waiting in std::mem::take(&mut self.awaiting_sync) {
            if waiting.begun || !answer {
                waiting.reply.send(answer);
            } else {
                self.awaiting_sync.push(waiting);
            }
        }
    }

    fn sync_now(&mut self, reply: Reply<bool>) {
        let Some(parts) = &self.parts else {
            return reply.send(false);
        };
        parts.subscription.tell(SubscriptionMessage::Heal).unwrap_or(());
        self.awaiting_sync.push(AwaitingSync { reply, begun: false });
        self.answer_syncs();
    }

    fn pause_push(&mut self, paused: bool) {
        if std::mem::replace(&mut self.push_paused, paused) != paused && self.phase.is_sending() {
            self.perform(if paused {
                Effect::PauseOutbox
            } else {
                Effect::ResumeOutbox
            });
        }
    }

    fn pause_pull(&mut self, paused: bool) {
        if std::mem::replace(&mut self.pull_paused, paused) != paused {
            self.step(if paused {
                Input::PausePull
            } else {
                Input::ResumePull
            });
            if self.phase == Phase::Pushing {
                // There are no subscriptions after which it would be told.
                self.tell_outbox_status();
            }
        }
    }

    /// A part that is gone has stopped with its run, so what it would have been told no longer matters.
    fn perform(&mut self, effect: Effect) {
        if effect == Effect::Sync {
            self.awaiting_sync
                .iter_mut()
                .for_each(|waiting| waiting.begun = true);
        }
        let Some(parts) = &self.parts else {
            return self.publish(effect);
        };
        match effect {
            Effect::Subscribe => parts
                .subscription
                .tell(SubscriptionMessage::Connect)
                .unwrap_or(()),
            Effect::Unsubscribe => parts
                .subscription
                .tell(SubscriptionMessage::Disconnect)
                .unwrap_or(()),
            Effect::DrainBuffer => parts.subscription.tell(SubscriptionMessage::Drain).unwrap_or(()),
            Effect::Sync => parts.sync.tell(SyncMessage::Start).unwrap_or(()),
            Effect::CancelSync => parts.sync.tell(SyncMessage::Cancel).unwrap_or(()),
            Effect::ResumeOutbox if self.push_paused => {}
            Effect::ResumeOutbox => {
                let processor = parts.mutation.clone();
                self.outbox
                    .tell(OutboxMessage::Resume { processor })
                    .unwrap_or(());
            }
            Effect::PauseOutbox => {
                self.outbox.tell(OutboxMessage::Pause).unwrap_or(());
                parts.mutation.tell(MutationMessage::Pause).unwrap_or(());
            }
            announcement => self.publish(announcement),
        }
    }

    /// Tells the hub, in the order of Amplify's JavaScript client: `networkStatus`, `storageSubscribed`,
    /// `subscriptionsEstablished`, `outboxStatus`, then what the syncs tell. Without a network the outbox comes at once.
    fn publish(&mut self, effect: Effect) {
        match effect {
            Effect::AnnounceNetwork { active } => {
                self.tell_hub(HubEvent::NetworkStatus { active });
                if !std::mem::replace(&mut self.told.storage, true) {
                    self.tell_hub(HubEvent::StorageSubscribed);
                }
                if !active || self.pull_paused {
                    self.tell_outbox_status();
                }
            }
            Effect::AnnounceSubscriptions => {
                self.tell_hub(HubEvent::SubscriptionsEstablished);
                self.tell_outbox_status();
            }
            Effect::AnnounceReady => {
                self.tell_hub(HubEvent::SyncStarted);
                if !std::mem::replace(&mut self.told.ready, true) {
                    self.tell_hub(HubEvent::Ready);
                }
            }
            Effect::AnswerReady { ready } => {
                self.awaiting_ready.drain(..).for_each(|reply| reply.send(ready));
            }
            _ => {}
        }
    }

    fn tell_hub(&self, event: HubEvent) {
        self.hub.tell(HubMessage::Publish(event)).unwrap_or(());
    }

    /// Tells once a run whether changes wait. A store that cannot be read now is taken to have some.
    fn tell_outbox_status(&mut self) {
        if std::mem::replace(&mut self.told.outbox, true) {
            return;
        }
        let waiting = self
            .env
            .look(&self.reader)
            .and_then(|snapshot| snapshot.pending_len());
        let is_empty = waiting.is_ok_and(|waiting| waiting == 0);
        self.tell_hub(HubEvent::OutboxStatus { is_empty });
        self.outbox.tell(OutboxMessage::Told { is_empty }).unwrap_or(());
    }

    /// Makes the parts of a new run.
    fn run(&mut self, settings: SyncSettings, ctx: &mut actix::Context<Self>) {
        let supervisor = Port::new(&ctx.address(), self.env.clone());
        let of_run = |actor| self.env.of(actor, self.epoch.0);
        let reachability = ReachabilityActor::new(
            of_run("ReachabilityActor"),
            self.epoch,
            self.forced_offline,
            supervisor.clone(),
            settings.clone(),
        );
        let reachability = Port::new(&reachability.start(), self.env.clone());
        let context = Context {
            env: self.env.clone(),
            schema: Arc::clone(&self.schema),
            reader: self.reader.clone(),
            settings,
            epoch: self.epoch,
            storage: self.storage.clone(),
            outbox: self.outbox.clone(),
            hub: self.hub.clone(),
            supervisor,
            reachability: reachability.clone(),
            endpoint: EndpointTrouble::default(),
        };
        let for_actor = |actor| Context {
            env: of_run(actor),
            ..context.clone()
        };
        let subscription = SubscriptionProcessor::new(for_actor("SubscriptionProcessor")).start();
        let sync = SyncProcessor::new(for_actor("SyncProcessor")).start();
        let mutation = MutationProcessor::new(for_actor("MutationProcessor")).start();
        self.parts = Some(Parts {
            reachability,
            subscription: Port::new(&subscription, self.env.clone()),
            sync: Port::new(&sync, self.env.clone()),
            mutation: Port::new(&mutation, self.env.clone()),
        });
        self.told = Told::default();
    }

    /// Ends the run: its parts stop, and what they still send is of an older epoch.
    fn end_run(&mut self) {
        self.step(Input::Stopped);
        self.epoch = Epoch(self.epoch.0 + 1);
        if let Some(parts) = self.parts.take() {
            parts.reachability.tell(ReachabilityMessage::Stop).unwrap_or(());
            parts.subscription.tell(SubscriptionMessage::Stop).unwrap_or(());
            parts.sync.tell(SyncMessage::Stop).unwrap_or(());
            parts.mutation.tell(MutationMessage::Stop).unwrap_or(());
            self.tell_hub(HubEvent::SyncStopped);
        }
        self.outbox.tell(OutboxMessage::Pause).unwrap_or(());
    }

    /// Has the writer ignore what an ended run still sends; answers once that is certain.
    fn begin_epoch(&self, reply: Reply<()>) {
        self.storage
            .tell(StorageMessage::BeginEpoch {
                epoch: self.epoch,
                reply,
            })
            .unwrap_or(());
    }

    fn start(&mut self, settings: SyncSettings, ctx: &mut actix::Context<Self>) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.tell_hub(HubEvent::LocalReady);
        if self.env.transport.is_some() {
            self.run(settings, ctx);
            self.step(Input::Started);
        } else {
            self.step(Input::StartedLocally);
        }
    }

    fn of_this_run(&self, epoch: Epoch, input: Input) -> Input {
        if epoch == self.epoch { input } else { Input::Stale }
    }
}

impl Handle for Supervisor {
    type Message = SupervisorMessage;

    fn env(&self) -> &Env {
        &self.env
    }

    fn handle(&mut self, message: SupervisorMessage, ctx: &mut actix::Context<Self>) {
        match message {
            SupervisorMessage::Start { settings, reply } => {
                if self.phase != Phase::Stopped {
                    return reply.send(());
                }
                self.start(*settings, ctx);
                self.begin_epoch(reply);
            }
            SupervisorMessage::Reconfigure { settings, reply } => {
                if self.phase == Phase::Stopped {
                    return reply.send(());
                }
                self.end_run();
                self.start(*settings, ctx);
                self.begin_epoch(reply);
            }
            SupervisorMessage::SyncNow { reply } => self.sync_now(reply),
            SupervisorMessage::PausePush { paused } => self.pause_push(paused),
            SupervisorMessage::PausePull { paused } => self.pause_pull(paused),
            SupervisorMessage::Stop { reply } => {
                self.end_run();
                self.begin_epoch(reply);
            }
            SupervisorMessage::Clear { reply } => {
                self.end_run();
                self.storage
                    .tell(StorageMessage::Clear {
                        epoch: self.epoch,
                        reply,
                    })
                    .unwrap_or(());
            }
            SupervisorMessage::AwaitReady { reply } => match self.phase.readiness() {
                Some(ready) => reply.send(ready),
                None => self.awaiting_ready.push(reply),
            },
            SupervisorMessage::ForceOffline { offline } => {
                self.forced_offline = offline;
                if let Some(parts) = &self.parts {
                    parts
                        .reachability
                        .tell(ReachabilityMessage::ForceOffline { offline })
                        .unwrap_or(());
                }
            }
            SupervisorMessage::Halt => {
                self.end_run();
                self.storage.tell(StorageMessage::Halt).unwrap_or(());
                self.outbox.tell(OutboxMessage::Halt).unwrap_or(());
                self.hub.tell(HubMessage::Halt).unwrap_or(());
                ctx.stop();
            }
            SupervisorMessage::NetworkChanged { epoch, online } => {
                let input = match online {
                    true if self.pull_paused => Input::OnlineToPush,
                    true => Input::Online,
                    false => Input::Offline,
                };
                self.step(self.of_this_run(epoch, input));
            }
            SupervisorMessage::SubscriptionsEstablished { epoch } => {
                self.step(self.of_this_run(epoch, Input::Subscribed));
            }
            SupervisorMessage::GapFound { epoch } => self.step(self.of_this_run(epoch, Input::Gap)),
            SupervisorMessage::SubscriptionsLost { epoch } => self.step(self.of_this_run(epoch, Input::Lost)),
            SupervisorMessage::BufferDrained { epoch } => self.step(self.of_this_run(epoch, Input::Drained)),
            SupervisorMessage::SyncFinished { epoch } => self.step(self.of_this_run(epoch, Input::Synced)),
        }
    }
}

actor!(Supervisor);
