//! Hub: the lifecycle events that an app can listen to, with Amplify's names and payloads.
//!
//! Owns [`HubEvent`] and the [`Hub`] actor, which passes events on. It asks no one and decides nothing.
//!
//! Invariant: each listener hears the events in the order in which they were published. A listener that falls
//! [`LISTENER_BACKLOG_MAX`] events behind loses the newest ones and is told how many.

use std::collections::BTreeSet;

use actix::{ActorContext, Context};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use landfall_core::{ModelName, MutationKind, Record, RecordKey, RecordVersion};

use crate::actor;
use crate::env::Env;
use crate::flight::{Input, print_of};
use crate::port::{Handle, Message, Reply};

/// Events that wait for a slow listener: several syncs of a hundred models, and little memory.
pub const LISTENER_BACKLOG_MAX: usize = 4_096;

/// A lifecycle event (channel `datastore` of Amplify's Hub).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HubEvent {
    /// Reachability of the endpoint changed. Amplify: `networkStatus`.
    NetworkStatus {
        /// Whether it can be reached.
        active: bool,
    },
    /// The store has been started: local data can be read and written, whatever the network does. Ours.
    LocalReady,
    /// Local changes are kept for the server from here on. Amplify: `storageSubscribed`.
    StorageSubscribed,
    /// Every subscription is acknowledged. Amplify: `subscriptionsEstablished`.
    SubscriptionsEstablished,
    /// Sync begins. Amplify: `syncQueriesStarted`.
    SyncQueriesStarted {
        /// The models to be synced.
        models: Vec<ModelName>,
    },
    /// A page of a model's sync is stored. Ours; Amplify hides it.
    SyncProgress {
        /// The model.
        model: ModelName,
        /// Records received for it in this sync.
        received: u64,
    },
    /// A model is synced. Amplify: `modelSynced`.
    ModelSynced {
        /// The model.
        model: ModelName,
        /// Whether everything was fetched.
        is_full_sync: bool,
        /// Whether only changes were fetched.
        is_delta_sync: bool,
        /// Records that appeared.
        new: u64,
        /// Records that changed.
        updated: u64,
        /// Records that went.
        deleted: u64,
    },
    /// A model could not be synced and will be tried again. Ours; Amplify reports it as synced.
    ModelSyncFailed {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// Sync of a model stopped at the record limit; the model is incomplete. Ours.
    SyncTruncated {
        /// The model.
        model: ModelName,
        /// Records received.
        received: u64,
    },
    /// Every model was synced or has failed. Amplify: `syncQueriesReady`.
    SyncQueriesReady,
    /// The store is in sync and changes flow both ways. Amplify: `ready`.
    Ready,
    /// A local change is queued for the server. Amplify: `outboxMutationEnqueued`.
    OutboxMutationEnqueued {
        /// What it does.
        kind: MutationKind,
        /// The record as the app sees it; as it was, for a delete.
        record: Record,
    },
    /// The server took a local change. Amplify: `outboxMutationProcessed`.
    OutboxMutationProcessed {
        /// What it did.
        kind: MutationKind,
        /// The record after it.
        record: Record,
    },
    /// The server refused a local change for good; it is parked. Android: `outboxMutationFailed`.
    OutboxMutationFailed {
        /// The record.
        key: RecordKey,
        /// What the change was to do.
        kind: MutationKind,
        /// AppSync's `errorType`, if it gave one.
        error_type: Option<String>,
        /// What the server said.
        message: String,
    },
    /// The outbox became empty or stopped being so. Amplify: `outboxStatus`.
    OutboxStatus {
        /// Whether nothing waits for the server.
        is_empty: bool,
    },
    /// Sending waits for the app to act, for instance for valid credentials. Ours.
    OutboxPaused {
        /// Why.
        reason: String,
    },
    /// A conflict was decided. Ours.
    ConflictResolved {
        /// The record.
        key: RecordKey,
        /// Whether the server's record stands; otherwise the local change is sent again.
        accepted_remote: bool,
    },
    /// A page held records along with errors. Amplify: `nonApplicableDataReceived`.
    NonApplicableDataReceived {
        /// The model.
        model: ModelName,
        /// The errors as the server sent them.
        errors: Vec<Json>,
    },
    /// A record of the server could not be read and was set aside. Ours.
    RecordQuarantined {
        /// The model.
        model: ModelName,
        /// What is wrong with it.
        reason: String,
    },
    /// The server has an older version of a record than it had told, or other content under the same version: it was
    /// restored from a backup, or is at fault. Its record of now is taken over. Ours.
    ServerWentBack {
        /// The record.
        key: RecordKey,
        /// The version that it had told.
        known: RecordVersion,
        /// The version that it has.
        found: RecordVersion,
    },
    /// A subscription failed and is retried alone. Ours.
    SubscriptionFailed {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// The listener was too slow and lost events. Ours.
    Lagged {
        /// How many.
        lost: u64,
    },
}

impl HubEvent {
    /// Amplify's name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NetworkStatus { .. } => "networkStatus",
            Self::LocalReady => "localReady",
            Self::StorageSubscribed => "storageSubscribed",
            Self::SubscriptionsEstablished => "subscriptionsEstablished",
            Self::SyncQueriesStarted { .. } => "syncQueriesStarted",
            Self::SyncProgress { .. } => "syncProgress",
            Self::ModelSynced { .. } => "modelSynced",
            Self::ModelSyncFailed { .. } => "modelSyncFailed",
            Self::SyncTruncated { .. } => "syncTruncated",
            Self::SyncQueriesReady => "syncQueriesReady",
            Self::Ready => "ready",
            Self::OutboxMutationEnqueued { .. } => "outboxMutationEnqueued",
            Self::OutboxMutationProcessed { .. } => "outboxMutationProcessed",
            Self::OutboxMutationFailed { .. } => "outboxMutationFailed",
            Self::OutboxStatus { .. } => "outboxStatus",
            Self::OutboxPaused { .. } => "outboxPaused",
            Self::ConflictResolved { .. } => "conflictResolved",
            Self::NonApplicableDataReceived { .. } => "nonApplicableDataReceived",
            Self::RecordQuarantined { .. } => "recordQuarantined",
            Self::ServerWentBack { .. } => "serverWentBack",
            Self::SubscriptionFailed { .. } => "subscriptionFailed",
            Self::Lagged { .. } => "lagged",
        }
    }

    /// Amplify's payload of the event as JSON; null for events without one.
    pub fn data(&self) -> Json {
        match self {
            Self::NetworkStatus { active } => json!({ "active": active }),
            Self::LocalReady
            | Self::StorageSubscribed
            | Self::SubscriptionsEstablished
            | Self::SyncQueriesReady
            | Self::Ready => Json::Null,
            Self::SyncQueriesStarted { models } => json!({ "models": models }),
            Self::SyncProgress { model, received } => json!({ "model": model, "received": received }),
            Self::ModelSynced {
                model,
                is_full_sync,
                is_delta_sync,
                new,
                updated,
                deleted,
            } => json!({
                "model": model,
                "isFullSync": is_full_sync,
                "isDeltaSync": is_delta_sync,
                "counts": { "new": new, "updated": updated, "deleted": deleted },
            }),
            Self::ModelSyncFailed { model, reason }
            | Self::RecordQuarantined { model, reason }
            | Self::SubscriptionFailed { model, reason } => json!({ "model": model, "reason": reason }),
            Self::SyncTruncated { model, received } => json!({ "model": model, "received": received }),
            Self::OutboxMutationEnqueued { kind, record }
            | Self::OutboxMutationProcessed { kind, record } => {
                json!({ "model": record.def().name, "operation": kind.op_type(), "element": record_json(record) })
            }
            Self::OutboxMutationFailed {
                key,
                kind,
                error_type,
                message,
            } => json!({
                "model": key.model,
                "id": key.id,
                "operation": kind.op_type(),
                "errorType": error_type,
                "message": message,
            }),
            Self::OutboxStatus { is_empty } => json!({ "isEmpty": is_empty }),
            Self::OutboxPaused { reason } => json!({ "reason": reason }),
            Self::ConflictResolved { key, accepted_remote } => {
                json!({ "model": key.model, "id": key.id, "acceptedRemote": accepted_remote })
            }
            Self::ServerWentBack { key, known, found } => {
                json!({ "model": key.model, "id": key.id, "known": known.0, "found": found.0 })
            }
            Self::NonApplicableDataReceived { model, errors } => {
                json!({ "modelName": model, "errors": errors })
            }
            Self::Lagged { lost } => json!({ "lost": lost }),
        }
    }
}

/// A record as JSON: its stored fields, and the server's metadata once known.
pub fn record_json(record: &Record) -> Json {
    let mut json: serde_json::Map<String, Json> = record
        .def()
        .stored_fields()
        .zip(record.values())
        .map(|(field, value)| (field.name.to_string(), value.into()))
        .collect();
    if let Some(sync) = record.sync() {
        json.insert("_version".to_owned(), sync.version.0.into());
        json.insert("_lastChangedAt".to_owned(), sync.last_changed_at_ms.into());
        json.insert(
            "_deleted".to_owned(),
            if sync.deleted { true.into() } else { Json::Null },
        );
    }
    Json::Object(json)
}

/// Messages to the [`Hub`].
#[derive(Debug)]
pub enum HubMessage {
    /// From any actor: pass this on. No reply.
    Publish(HubEvent),
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
            Self::Listen { .. } => "Listen",
            Self::Halt => "Halt",
        }
    }

    fn print(&self) -> u64 {
        match self {
            Self::Publish(event) => print_of(&event.name()),
            _ => 0,
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
    /// Models that were synced since the last start.
    pub synced: BTreeSet<ModelName>,
}

/// Passes lifecycle events on to whoever listens.
#[derive(Debug)]
pub struct Hub {
    env: Env,
    listeners: Vec<Listener>,
    /// Models that were synced since the last start, for listeners that come later.
    synced: BTreeSet<ModelName>,
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
            synced: BTreeSet::new(),
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
            HubMessage::Publish(event) => {
                tracing::debug!(event = event.name(), "hub");
                match &event {
                    HubEvent::StorageSubscribed => self.synced.clear(),
                    HubEvent::ModelSynced { model, .. } => drop(self.synced.insert(model.clone())),
                    _ => {}
                }
                self.listeners.retain_mut(|listener| listener.hear(&event));
            }
            HubMessage::Listen { reply } => {
                let (sender, events) = mpsc::channel(LISTENER_BACKLOG_MAX);
                self.listeners.push(Listener { sender, lost: 0 });
                reply.send(Listening {
                    events,
                    synced: self.synced.clone(),
                });
            }
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
