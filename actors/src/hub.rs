//! Hub: the lifecycle events that an app can listen to, with Amplify's names and payloads.
//!
//! Owns the [`Hub`] actor, which passes events on. It asks no one and decides nothing. The events are `hub/event.rs`.
//!
//! Invariants: 1. each listener hears the events in the order in which they were published, and one that falls
//! [`LISTENER_BACKLOG_MAX`] events behind loses the newest ones and is told how many; 2. what is kept for listeners that
//! have gone is taken away when the next one comes, also where nothing is ever published.

mod event;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{ActorContext, Context};
use tokio::sync::mpsc;

use landfall_core::ModelName;

use crate::actor;
use crate::env::Env;
use crate::flight::{Input, print_of};
use crate::port::{Handle, Message, Reply};
pub use event::{HubEvent, SyncState, record_json};

/// Events that wait for a slow listener: several syncs of a hundred models, and little memory.
pub const LISTENER_BACKLOG_MAX: usize = 4_096;

/// Messages to the [`Hub`].
#[derive(Debug)]
pub enum HubMessage {
    /// From any actor: pass this on. No reply.
    Publish(HubEvent),
    /// From `StorageActor`: pass on what a commit brought, in this order. No reply.
    PublishAll(Vec<HubEvent>),
    /// From the app: listen from here on.
    Listen {
        /// Where the listener's end goes.
        reply: Reply<Listening>,
    },
    /// From the owner: end at once.
    Halt,
}

impl Message for HubMessage {
    const ACTOR: &'static str = "Hub";

    fn name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "Publish",
            Self::PublishAll(_) => "PublishAll",
            Self::Listen { .. } => "Listen",
            Self::Halt => "Halt",
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Publish(event) => print_of(&event.name()),
            Self::PublishAll(events) => {
                let names = events.iter().map(HubEvent::name);
                print_of(&names.collect::<Vec<_>>())
            }
            Self::Listen { .. } | Self::Halt => 0,
        }
    }

    fn input(&self) -> Option<Input> {
        matches!(self, Self::Listen { .. }).then_some(Input::Listen)
    }
}

/// What a listener gets.
#[derive(Debug)]
pub struct Listening {
    /// Every event from here on.
    pub events: mpsc::Receiver<HubEvent>,
    /// Models that are in sync, now and later: synced since the last start, and nothing is known to be missing. Unlike the
    /// events it cannot overflow.
    pub synced: Synced,
}

/// Which models are in sync, as it is whenever it is asked.
#[derive(Debug)]
pub struct Synced {
    models: Arc<Mutex<BTreeSet<ModelName>>>,
    /// Holds one message if something has changed since it was last waited for.
    woken: mpsc::Receiver<()>,
}

impl Synced {
    /// Whether a model is in sync now.
    pub fn contains(&self, model: &ModelName) -> bool {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.contains(model)
    }

    /// Waits until the answer for any model has changed. Returns false once the hub is gone.
    pub async fn changed(&mut self) -> bool {
        self.woken.recv().await.is_some()
    }
}

/// Passes lifecycle events on to whoever listens.
#[derive(Debug)]
pub struct Hub {
    env: Env,
    listeners: Vec<Listener>,
    /// Models that are in sync, seen by whoever wants to know.
    synced: Arc<Mutex<BTreeSet<ModelName>>>,
    /// Those who wait for a change of that. One message each is enough: it says to look again. They are woken in the order in
    /// which they came; the order of tokio's `watch` is by chance, and a simulation has to be the same every time.
    woken: Vec<mpsc::Sender<()>>,
}

#[derive(Debug)]
struct Listener {
    sender: mpsc::Sender<HubEvent>,
    lost: u64,
}

impl Hub {
    /// A hub without listeners.
    pub fn new(env: Env) -> Self {
        Self {
            env,
            listeners: Vec::new(),
            synced: Arc::default(),
            woken: Vec::new(),
        }
    }
}

impl Hub {
    fn publish(&mut self, event: &HubEvent) {
        tracing::debug!(event = event.name(), "hub");
        if self.note_state(event) {
            self.woken.retain(|woken| {
                let sent = woken.try_send(());
                !matches!(sent, Err(mpsc::error::TrySendError::Closed(())))
            });
        }
        self.listeners.retain_mut(|listener| listener.hear(event));
    }
}

impl Hub {
    /// Lets somebody listen from here on.
    fn listen(&mut self) -> Listening {
        // An app may observe queries as long as it likes and never sync.
        self.listeners.retain(|listener| !listener.sender.is_closed());
        self.woken.retain(|woken| !woken.is_closed());
        let (sender, events) = mpsc::channel(LISTENER_BACKLOG_MAX);
        self.listeners.push(Listener { sender, lost: 0 });
        let (wakes, woken) = mpsc::channel(1);
        self.woken.push(wakes);
        let synced = Synced {
            models: Arc::clone(&self.synced),
            woken,
        };
        Listening { events, synced }
    }

    /// Takes in what an event says of models that are in sync. Returns whether that is news.
    fn note_state(&self, event: &HubEvent) -> bool {
        let Some(state) = event.sync_state() else {
            return false;
        };
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            SyncState::InSync(model) => synced.insert(model.clone()),
            SyncState::Behind(model) => synced.remove(model),
            SyncState::AllBehind => !std::mem::take(&mut *synced).is_empty(),
        }
    }
}

impl Handle for Hub {
    type Message = HubMessage;

    fn env(&self) -> &Env {
        &self.env
    }

    fn handle(&mut self, message: HubMessage, ctx: &mut Context<Self>) {
        match message {
            HubMessage::Publish(event) => self.publish(&event),
            HubMessage::PublishAll(events) => events.iter().for_each(|event| self.publish(event)),
            HubMessage::Listen { reply } => reply.send(self.listen()),
            HubMessage::Halt => ctx.stop(),
        }
    }
}

impl Listener {
    /// Passes one event on. Returns whether the listener is still there.
    fn hear(&mut self, event: &HubEvent) -> bool {
        if self.lost > 0 {
            match self.sender.try_send(HubEvent::Lagged { lost: self.lost }) {
                Ok(()) => self.lost = 0,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.lost += 1;
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

actor!(Hub);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{on_paused_time, paused_env};

    #[test]
    fn nothing_is_kept_for_listeners_that_have_gone_though_nothing_is_published() {
        on_paused_time(async {
            let mut hub = Hub::new(paused_env(None));
            let mut stays = hub.listen();
            for _ in 0..100 {
                // As an observed query does, which lets the events go at once.
                let Listening { synced, .. } = hub.listen();
                drop(synced);
            }
            let watches = hub.listen().synced;
            assert_eq!((hub.listeners.len(), hub.woken.len()), (2, 2));
            let model = ModelName::from("Post");
            hub.publish(&HubEvent::ModelSynced {
                model: model.clone(),
                is_full_sync: true,
                is_delta_sync: false,
                new: 0,
                updated: 0,
                deleted: 0,
            });
            // Whoever is left hears as before.
            assert!(stays.events.try_recv().is_ok() && stays.synced.changed().await);
            assert!(watches.contains(&model));
            assert_eq!((hub.listeners.len(), hub.woken.len()), (1, 2));
        });
    }
}
