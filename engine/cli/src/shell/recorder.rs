//! What the conflict and error handlers were given, kept for whoever asks.
//!
//! Owns [`Recorder`]. Keeps the newest [`RECORDS_MAX`] of each and says how many gave way to them, and tells errors to whoever
//! listens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use landfall::{ConflictHandler, ErrorHandler, Resolution, SyncConflict, SyncError};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::kept::Kept;
use super::values::Fault;

/// Handler calls of a kind that are kept; a script that leaves more of them unread has lost track of it.
const RECORDS_MAX: usize = 10_000;

/// Errors that wait for a listener; those beyond are kept, and not told.
const TOLD_MAX: usize = 1_000;

/// Records handler calls and decides conflicts as configured; clones record into the same lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<State>);

#[derive(Debug)]
struct State {
    keep_local: AtomicBool,
    errors: Mutex<Kept<Json>>,
    conflicts: Mutex<Kept<Json>>,
    listener: Option<mpsc::Sender<SyncError>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            keep_local: AtomicBool::default(),
            errors: Mutex::new(Kept::new(RECORDS_MAX)),
            conflicts: Mutex::new(Kept::new(RECORDS_MAX)),
            listener: None,
        }
    }
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
    ///
    /// # Errors
    /// How many are missing before them. It is told once, and they are there the next time.
    pub(crate) fn take_errors(&self) -> Result<Vec<Json>, Fault> {
        take(&self.0.errors, "errors")
    }

    /// Conflicts since the last call.
    ///
    /// # Errors
    /// As for [`take_errors`](Self::take_errors).
    pub(crate) fn take_conflicts(&self) -> Result<Vec<Json>, Fault> {
        take(&self.0.conflicts, "conflicts")
    }
}

/// What was kept; `op` is also what it is called.
fn take(kept: &Mutex<Kept<Json>>, op: &str) -> Result<Vec<Json>, Fault> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.complete(op, op)?;
    Ok(kept.take())
}

fn keep(kept: &Mutex<Kept<Json>>, item: Json) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(item, 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gave_way_is_told_before_what_was_kept() {
        let recorder = Recorder::default();
        assert_eq!(recorder.take_errors(), Ok(Vec::new()));
        for (kept, op) in [
            (&recorder.0.errors, "errors"),
            (&recorder.0.conflicts, "conflicts"),
        ] {
            for index in 0..RECORDS_MAX + 5 {
                keep(kept, index.into());
            }
            let fault = take(kept, op).unwrap_err();
            assert_eq!(
                fault,
                format!(
                    "the 5 oldest {op} gave way to newer ones, as they were not asked for; ask more often. Those that were \
                     kept come with the next `{op}`"
                )
            );
        }
        for list in [recorder.take_errors(), recorder.take_conflicts()] {
            let list = list.expect("what is missing is told once");
            assert_eq!((list.len(), &list[0]), (RECORDS_MAX, &json!(5)));
        }
    }
}
