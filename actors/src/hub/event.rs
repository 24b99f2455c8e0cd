//! The lifecycle events with their names and payloads.
//!
//! Owns [`HubEvent`]. Who publishes them, and in which order, is the actors' business.
//!
//! Invariant: an identifier is a scalar, or a list if it has several parts, in every payload.

use serde_json::{Value as Json, json};

use landfall_core::{FieldMap, ModelName, MutationKind, Record, RecordKey, RecordVersion};

/// A lifecycle event (channel `datastore` of Amplify's Hub); `DataStore::hub` is the stream of them.
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
    /// Sync has ended, by `stop`, by `clear` or for new settings: nothing is kept up to date from here on. Ours.
    SyncStopped,
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
    /// The sync queries are through and local changes are sent; at each start, and whenever the server can be reached
    /// again. Swift: `syncStarted`.
    SyncStarted,
    /// The store is in sync and changes flow both ways; once for each start. Amplify: `ready`.
    Ready,
    /// A local change is queued for the server. Amplify: `outboxMutationEnqueued`.
    OutboxMutationEnqueued {
        /// What it does.
        kind: MutationKind,
        /// The record as the app sees it; as it was, for a delete.
        record: Record,
    },
    /// The server took a local change, or its record was taken in its place. Amplify: `outboxMutationProcessed`.
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
    /// A change is tried again that was parked because the server did not know its model's form: the model has synced
    /// since. Ours.
    OutboxMutationRetried {
        /// The record.
        key: RecordKey,
        /// What the change is to do.
        kind: MutationKind,
    },
    /// The server found that the condition of a change does not hold, or that what it creates is there; it is parked.
    /// Swift: `conditionalSaveFailed`.
    ConditionalSaveFailed {
        /// The record.
        key: RecordKey,
        /// What the change was to do.
        kind: MutationKind,
        /// The fields that it sets.
        patch: FieldMap,
    },
    /// Whether changes wait for the server: at each start, after each change that is queued, and after each answer.
    /// Amplify: `outboxStatus`.
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
        /// What the local change was to do.
        kind: MutationKind,
        /// Whether the server's record stands; otherwise the local change is sent again.
        accepted_remote: bool,
        /// Whether the server has deleted the record.
        deleted: bool,
        /// Fields of the local change that are given up: neither sent again nor the server's anyway.
        given_up: FieldMap,
    },
    /// A page held records along with errors. Amplify: `nonApplicableDataReceived`.
    NonApplicableDataReceived {
        /// The model.
        model: ModelName,
        /// The errors as the server sent them.
        errors: Vec<Json>,
    },
    /// What a subscription brought was taken in, or was known already. Android: `subscriptionDataProcessed`.
    SubscriptionDataProcessed {
        /// The server's record.
        record: Record,
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

/// What an event says about how models stand to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum SyncState<'a> {
    /// All that the server has of this model is here, and changes are heard of.
    InSync(&'a ModelName),
    /// Something of this model is missing.
    Behind(&'a ModelName),
    /// Nothing is heard of any model.
    AllBehind,
}

impl HubEvent {
    /// What it says about how models stand to the server, if it says something.
    #[doc(hidden)]
    pub fn sync_state(&self) -> Option<SyncState<'_>> {
        match self {
            Self::ModelSynced { model, .. } => Some(SyncState::InSync(model)),
            Self::ModelSyncFailed { model, .. } | Self::SyncTruncated { model, .. } => {
                Some(SyncState::Behind(model))
            }
            Self::LocalReady | Self::SyncStopped | Self::NetworkStatus { active: false } => {
                Some(SyncState::AllBehind)
            }
            Self::NetworkStatus { .. }
            | Self::StorageSubscribed
            | Self::SubscriptionsEstablished
            | Self::SyncQueriesStarted { .. }
            | Self::SyncProgress { .. }
            | Self::SyncQueriesReady
            | Self::SyncStarted
            | Self::Ready
            | Self::OutboxMutationEnqueued { .. }
            | Self::OutboxMutationProcessed { .. }
            | Self::OutboxMutationFailed { .. }
            | Self::OutboxMutationRetried { .. }
            | Self::ConditionalSaveFailed { .. }
            | Self::OutboxStatus { .. }
            | Self::OutboxPaused { .. }
            | Self::ConflictResolved { .. }
            | Self::NonApplicableDataReceived { .. }
            | Self::SubscriptionDataProcessed { .. }
            | Self::RecordQuarantined { .. }
            | Self::ServerWentBack { .. }
            | Self::SubscriptionFailed { .. }
            | Self::Lagged { .. } => None,
        }
    }

    /// Amplify's name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NetworkStatus { .. } => "networkStatus",
            Self::LocalReady => "localReady",
            Self::SyncStopped => "syncStopped",
            Self::StorageSubscribed => "storageSubscribed",
            Self::SubscriptionsEstablished => "subscriptionsEstablished",
            Self::SyncQueriesStarted { .. } => "syncQueriesStarted",
            Self::SyncProgress { .. } => "syncProgress",
            Self::ModelSynced { .. } => "modelSynced",
            Self::ModelSyncFailed { .. } => "modelSyncFailed",
            Self::SyncTruncated { .. } => "syncTruncated",
            Self::SyncQueriesReady => "syncQueriesReady",
            Self::SyncStarted => "syncStarted",
            Self::Ready => "ready",
            Self::OutboxMutationEnqueued { .. } => "outboxMutationEnqueued",
            Self::OutboxMutationProcessed { .. } => "outboxMutationProcessed",
            Self::OutboxMutationFailed { .. } => "outboxMutationFailed",
            Self::OutboxMutationRetried { .. } => "outboxMutationRetried",
            Self::ConditionalSaveFailed { .. } => "conditionalSaveFailed",
            Self::OutboxStatus { .. } => "outboxStatus",
            Self::OutboxPaused { .. } => "outboxPaused",
            Self::ConflictResolved { .. } => "conflictResolved",
            Self::NonApplicableDataReceived { .. } => "nonApplicableDataReceived",
            Self::SubscriptionDataProcessed { .. } => "subscriptionDataProcessed",
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
            | Self::SyncStopped
            | Self::StorageSubscribed
            | Self::SubscriptionsEstablished
            | Self::SyncQueriesReady
            | Self::SyncStarted
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
            Self::SubscriptionDataProcessed { record } => {
                json!({ "model": record.def().name, "element": record_json(record) })
            }
            Self::OutboxStatus { is_empty } => json!({ "isEmpty": is_empty }),
            Self::OutboxPaused { reason } => json!({ "reason": reason }),
            Self::NonApplicableDataReceived { model, errors } => {
                json!({ "modelName": model, "errors": errors })
            }
            Self::Lagged { lost } => json!({ "lost": lost }),
            Self::OutboxMutationFailed { .. }
            | Self::OutboxMutationRetried { .. }
            | Self::ConditionalSaveFailed { .. }
            | Self::ConflictResolved { .. }
            | Self::ServerWentBack { .. } => self.data_of_key(),
        }
    }

    /// The payload of an event about a record of which only the key is told.
    fn data_of_key(&self) -> Json {
        match self {
            Self::OutboxMutationFailed {
                key,
                kind,
                error_type,
                message,
            } => json!({
                "model": key.model,
                "id": key.id.to_json(),
                "operation": kind.op_type(),
                "errorType": error_type,
                "message": message,
            }),
            Self::OutboxMutationRetried { key, kind } => json!({
                "model": key.model,
                "id": key.id.to_json(),
                "operation": kind.op_type(),
            }),
            Self::ConditionalSaveFailed { key, kind, patch } => json!({
                "model": key.model,
                "id": key.id.to_json(),
                "operation": kind.op_type(),
                "element": fields_json(patch),
            }),
            Self::ConflictResolved {
                key,
                kind,
                accepted_remote,
                deleted,
                given_up,
            } => json!({
                "model": key.model,
                "id": key.id.to_json(),
                "operation": kind.op_type(),
                "acceptedRemote": accepted_remote,
                "deleted": deleted,
                "givenUp": fields_json(given_up),
            }),
            Self::ServerWentBack { key, known, found } => {
                json!({ "model": key.model, "id": key.id.to_json(), "known": known.0, "found": found.0 })
            }
            Self::NetworkStatus { .. }
            | Self::LocalReady
            | Self::SyncStopped
            | Self::StorageSubscribed
            | Self::SubscriptionsEstablished
            | Self::SyncQueriesStarted { .. }
            | Self::SyncProgress { .. }
            | Self::ModelSynced { .. }
            | Self::ModelSyncFailed { .. }
            | Self::SyncTruncated { .. }
            | Self::SyncQueriesReady
            | Self::SyncStarted
            | Self::Ready
            | Self::OutboxMutationEnqueued { .. }
            | Self::OutboxMutationProcessed { .. }
            | Self::OutboxStatus { .. }
            | Self::OutboxPaused { .. }
            | Self::NonApplicableDataReceived { .. }
            | Self::SubscriptionDataProcessed { .. }
            | Self::RecordQuarantined { .. }
            | Self::SubscriptionFailed { .. }
            | Self::Lagged { .. } => Json::Null,
        }
    }
}

fn fields_json(fields: &FieldMap) -> Json {
    let members = fields
        .iter()
        .map(|(name, value)| (name.to_string(), value.into()));
    Json::Object(members.collect())
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

#[cfg(test)]
mod tests {
    use landfall_core::{IdPart, RecordId};

    use super::*;

    #[test]
    fn identifiers_have_one_form_in_every_payload() {
        let several = RecordId::new(vec![IdPart::Text("a".to_owned()), IdPart::Int(2)]);
        for (id, expected) in [(RecordId::text("a"), json!("a")), (several, json!(["a", 2]))] {
            let key = RecordKey {
                model: "Note".into(),
                id,
            };
            let (kind, patch) = (MutationKind::Update, FieldMap::new());
            let events = [
                HubEvent::OutboxMutationFailed {
                    key: key.clone(),
                    kind,
                    error_type: None,
                    message: String::new(),
                },
                HubEvent::OutboxMutationRetried {
                    key: key.clone(),
                    kind,
                },
                HubEvent::ConditionalSaveFailed {
                    key: key.clone(),
                    kind,
                    patch: patch.clone(),
                },
                HubEvent::ConflictResolved {
                    key: key.clone(),
                    kind,
                    accepted_remote: true,
                    deleted: false,
                    given_up: patch,
                },
                HubEvent::ServerWentBack {
                    key,
                    known: RecordVersion(2),
                    found: RecordVersion(1),
                },
            ];
            for event in events {
                assert_eq!(event.data()["id"], expected, "{}", event.name());
            }
        }
    }
}
