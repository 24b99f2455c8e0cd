//! What the conflict and error handlers were given, kept for whoever asks.
//!
//! Owns [`Recorder`]. Keeps the newest [`RECORDS_MAX`] of each, and tells errors to whoever listens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use landfall::{ConflictHandler, ErrorHandler, Resolution, SyncConflict, SyncError};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

/// Handler calls that are kept; more than anybody reads.
const RECORDS_MAX: usize = 10_000;

/// Errors that wait for a listener; those beyond are kept, and not told.
const TOLD_MAX: usize = 1_000;

/// Records handler calls and decides conflicts as configured; clones record into the same lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<State>);

#[derive(Debug, Default)]
struct State {
    keep_local: AtomicBool,
    errors: Mutex<VecDeque<Json>>,
    conflicts: Mutex<VecDeque<Json>>,
    listener: Option<mpsc::Sender<SyncError>>,
}

impl Recorder {
    /// A recorder, and the errors as they come.
    pub(crate) fn with_listener() -> (Self, mpsc::Receiver<SyncError>) {
        let (listener, errors) = mpsc::channel(TOLD_MAX);
        let state = State {
            listener: Some(listener),
            ..State::default()
        };
        (Self(Arc::new(state)), errors)
    }

    /// Decides conflicts for the local change from here on, or for the server's record.
    pub(crate) fn keep_local(&self, keep_local: bool) {
        self.0.keep_local.store(keep_local, Ordering::Relaxed);
    }

    /// Whether it decides for the local change.
    #[cfg(test)]
    pub(super) fn keeps_local(&self) -> bool {
        self.0.keep_local.load(Ordering::Relaxed)
    }

    /// Errors since the last call.
    pub(crate) fn take_errors(&self) -> Vec<Json> {
        self.0
            .errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }

    /// Conflicts since the last call.
    pub(crate) fn take_conflicts(&self) -> Vec<Json> {
        self.0
            .conflicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }
}

fn keep(list: &Mutex<VecDeque<Json>>, item: Json) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    if list.len() == RECORDS_MAX {
        list.pop_front();
    }
    list.push_back(item);
}

impl ConflictHandler for Recorder {
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
        keep(
            &self.0.conflicts,
            json!({
                "model": conflict.key.model,
                "id": super::values::id_json_of(&conflict.key.id),
                "operation": conflict.kind.op_type(),
                "localModel": conflict.local,
                "base": conflict.base,
                "remoteModel": remote_json(&conflict.remote),
                "changed": conflict.changed,
                "overtaken": conflict.overtaken,
                "attempts": conflict.attempts,
            }),
        );
        let keep_local = self.0.keep_local.load(Ordering::Relaxed);
        Box::pin(std::future::ready(if keep_local {
            Resolution::KeepLocal
        } else {
            Resolution::AcceptRemote
        }))
    }
}

impl ErrorHandler for Recorder {
    fn handle(&self, error: SyncError) {
        keep(
            &self.0.errors,
            json!({
                "message": error.message,
                "errorType": error.kind.name(),
                "errorInfo": error.error_type,
                "process": error.process.name(),
                "operation": error.operation.map(landfall::MutationKind::verb),
                "model": error.model,
                "id": error.key.as_ref().map(|key| super::values::id_json_of(&key.id)),
                "localModel": error.local,
                "record": error.record,
                "base": error.base,
                "remoteModel": error.remote.as_ref().map(remote_json),
                "recoverySuggestion": error.suggestion,
            }),
        );
        if let Some(listener) = &self.0.listener {
            // Whoever does not keep up finds it in the list.
            listener.try_send(error).unwrap_or(());
        }
    }
}

fn remote_json(remote: &landfall_core::RemoteRecord) -> Json {
    let mut json = json!(remote.fields);
    json["_version"] = remote.sync.version.0.into();
    json["_lastChangedAt"] = remote.sync.last_changed_at_ms.into();
    json["_deleted"] = if remote.sync.deleted {
        true.into()
    } else {
        Json::Null
    };
    json
}
