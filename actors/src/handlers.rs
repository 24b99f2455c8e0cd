//! What the app decides and hears during sync: conflicts and errors.
//!
//! Owns the two handler traits, what they are given, and the defaults.

use futures_util::future::BoxFuture;

use landfall_core::{
    FieldMap, FieldName, ModelName, MutationKind, RecordKey, RecordVersion, RemoteRecord, Resolution, Value,
};

/// The version of a record that nobody has changed since it was made.
const FIRST_VERSION: RecordVersion = RecordVersion(1);

/// A local change that met a newer record on the server.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncConflict {
    /// The record.
    pub key: RecordKey,
    /// What the local change does.
    pub kind: MutationKind,
    /// The record as the app sees it; `None` if it deleted it.
    pub local: Option<FieldMap>,
    /// The record on which the local change was made, as its author saw it; `None` if it made the record, or if that is
    /// not known. What others have changed since is not in it.
    pub base: Option<FieldMap>,
    /// The server's record now; may be a tombstone.
    pub remote: RemoteRecord,
    /// Fields that the local change sets.
    pub changed: Vec<FieldName>,
    /// Fields that others have changed: what clients write of the server's record and is not as in `base`. All of it if
    /// there is no base; nothing if the server deleted the record.
    pub overtaken: Vec<FieldName>,
    /// How often this change has met a conflict, this time included; counted across restarts.
    pub attempts: u32,
}

/// Decides conflicts (Amplify's `conflictHandler`).
///
/// Called if the server refuses a change for its version (under AUTOMERGE that is a delete, under
/// OPTIMISTIC_CONCURRENCY any change), and, ours, if a create finds that the server has another record with its
/// identifier: another client was first, or has changed the record since it was made and before the answer to the create
/// was heard.
///
/// ```
/// use futures_util::future::BoxFuture;
/// use landfall_actors::{ConflictHandler, SyncConflict};
/// use landfall_core::Resolution;
///
/// struct NothingLost;
///
/// impl ConflictHandler for NothingLost {
///     fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
///         // It may take its time, for instance to ask the user.
///         Box::pin(async move {
///             if conflict.overtaken.is_empty() { Resolution::KeepLocal } else { Resolution::AcceptRemote }
///         })
///     }
/// }
/// ```
pub trait ConflictHandler: Send + Sync {
    /// Answers what is to be done. The change waits meanwhile, others go on.
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution>;
}

/// Decides conflicts by a function that answers at once.
///
/// ```
/// use landfall_actors::{DecideBy, SyncConflict};
/// use landfall_core::Resolution;
///
/// let handler = DecideBy(|conflict: SyncConflict| {
///     if conflict.attempts > 3 { Resolution::AcceptRemote } else { Resolution::KeepLocal }
/// });
/// # fn takes(_: impl landfall_actors::ConflictHandler) {}
/// # takes(handler);
/// ```
#[derive(Clone, Copy)]
pub struct DecideBy<F>(pub F);

impl<F> std::fmt::Debug for DecideBy<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecideBy")
    }
}

impl<F: Fn(SyncConflict) -> Resolution + Send + Sync> ConflictHandler for DecideBy<F> {
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
        Box::pin(std::future::ready((self.0)(conflict)))
    }
}

/// Hears of errors (Amplify's `errorHandler`).
///
/// ```
/// use landfall_actors::{ErrorHandler, ErrorKind, SyncError};
///
/// struct AskToSignIn;
///
/// impl ErrorHandler for AskToSignIn {
///     fn handle(&self, error: SyncError) {
///         if error.kind == ErrorKind::Unauthorized {
///             println!("{} {}", error.message, error.suggestion);
///         }
///     }
/// }
/// ```
pub trait ErrorHandler: Send + Sync {
    /// Called once for each error; must not block.
    fn handle(&self, error: SyncError);
}

/// What kind of error it is (Amplify's `errorType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The endpoint or its settings cannot work.
    ConfigError,
    /// The model does not fit the server's schema.
    BadModel,
    /// A record does not fit its model.
    BadRecord,
    /// Credentials are missing, wrong or not enough.
    Unauthorized,
    /// It may pass by itself; the engine tries again.
    Transient,
    /// A change of the app was given up: an edit because the record was deleted on the server, or a delete because others
    /// have changed the record. The error has all of it. Ours; proposed for the originals as `LostUpdate`.
    LostUpdate,
    /// Anything else.
    Unknown,
}

/// During which part of sync it happened (Amplify's `process`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Fetching records.
    Sync,
    /// Sending local changes.
    Mutate,
    /// Listening for changes.
    Subscribe,
}

/// An error during sync, in Amplify's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncError {
    /// What kind it is.
    pub kind: ErrorKind,
    /// During what.
    pub process: Process,
    /// What happened.
    pub message: String,
    /// AppSync's `errorType`, if it gave one.
    pub error_type: Option<String>,
    /// The model, if it is about one.
    pub model: Option<ModelName>,
    /// The record, if it is about one.
    pub key: Option<RecordKey>,
    /// What the change was to do, if it is about one.
    pub operation: Option<MutationKind>,
    /// The fields that were sent, so that nothing is lost with the error.
    pub local: Option<FieldMap>,
    /// The server's record, if it came along.
    pub remote: Option<RemoteRecord>,
    /// The record as the app saw it with the change; of a change that met a conflict.
    pub record: Option<FieldMap>,
    /// The record on which the change was made, as in [`SyncConflict::base`]; of a change that met a conflict.
    pub base: Option<FieldMap>,
    /// What to do about it.
    pub suggestion: String,
}

impl ErrorKind {
    /// Amplify's name, such as `BadRecord`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigError => "ConfigError",
            Self::BadModel => "BadModel",
            Self::BadRecord => "BadRecord",
            Self::Unauthorized => "Unauthorized",
            Self::Transient => "Transient",
            Self::LostUpdate => "LostUpdate",
            Self::Unknown => "Unknown",
        }
    }
}

impl Process {
    /// Amplify's name, such as `mutate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Mutate => "mutate",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Applies the fields that were changed locally to the server's record, and decides between edits and deletes.
///
/// A record that was deleted stays so, and the edit that comes too late is told as [`ErrorKind::LostUpdate`]. A delete is
/// sent again unless it would take along what others have changed since: then their record stands, and the delete is told
/// in the same way.
///
/// A create sets every field and was made on nothing, so of a record that another client has made under the same
/// identifier it fills in what is missing and puts nothing back: what a field holds that both set is the server's. Once
/// somebody has changed that record nothing is filled in, since what it lacks may have been emptied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyLocalChanges;

impl ConflictHandler for ApplyLocalChanges {
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
        let resolution = match conflict.kind {
            // Nothing of the record would be left, so it waits for the app.
            MutationKind::Create if conflict.remote.sync.deleted => Resolution::KeepLocal,
            MutationKind::Create => Resolution::Merged(missing_there(&conflict)),
            MutationKind::Update if conflict.remote.sync.deleted => Resolution::AcceptRemote,
            MutationKind::Delete if !conflict.overtaken.is_empty() => Resolution::AcceptRemote,
            MutationKind::Update | MutationKind::Delete => Resolution::KeepLocal,
        };
        Box::pin(std::future::ready(resolution))
    }
}

/// The fields of the local change of which the server's record has no value.
///
/// Only a record that nobody has changed lacks them from the start. After that somebody may have emptied them, perhaps of
/// the very record that was made here.
fn missing_there(conflict: &SyncConflict) -> FieldMap {
    if conflict.remote.sync.version > FIRST_VERSION {
        return FieldMap::new();
    }
    let local = conflict.local.as_ref();
    let missing = conflict.changed.iter().filter(|name| {
        let theirs = conflict.remote.fields.get(*name);
        theirs.is_none_or(Value::is_null)
    });
    missing
        .filter_map(|name| Some((name.clone(), local?.get(name)?.clone())))
        .collect()
}

/// Lets the server's record stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptRemote;

impl ConflictHandler for AcceptRemote {
    fn decide(&self, _: SyncConflict) -> BoxFuture<'static, Resolution> {
        Box::pin(std::future::ready(Resolution::AcceptRemote))
    }
}

/// Writes errors to the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogErrors;

impl ErrorHandler for LogErrors {
    fn handle(&self, error: SyncError) {
        tracing::warn!(
            kind = error.kind.name(),
            process = error.process.name(),
            model = error.model.as_deref(),
            message = error.message,
            "sync error"
        );
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use landfall_core::{RecordId, SyncMetadata};

    use super::*;

    fn conflict(kind: MutationKind, local: &[(&str, &str)], remote: &[(&str, &str)]) -> SyncConflict {
        let fields = |of: &[(&str, &str)]| -> FieldMap {
            of.iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        SyncConflict {
            key: RecordKey::new("Note", "a"),
            kind,
            local: Some(fields(local)),
            base: None,
            remote: RemoteRecord {
                id: RecordId::text("a"),
                fields: fields(remote),
                sync: SyncMetadata {
                    version: RecordVersion(1),
                    last_changed_at_ms: 0,
                    deleted: false,
                },
            },
            changed: local.iter().map(|(name, _)| (*name).into()).collect(),
            overtaken: Vec::new(),
            attempts: 1,
        }
    }

    fn decided(conflict: SyncConflict) -> Resolution {
        let decision = ApplyLocalChanges.decide(conflict).now_or_never();
        decision.expect("it answers at once")
    }

    #[test]
    fn a_create_fills_in_what_another_record_lacks_and_puts_nothing_back() {
        let local = [("text", "mine"), ("note", "kept")];
        let resolution = decided(conflict(MutationKind::Create, &local, &[("text", "theirs")]));
        let expected = FieldMap::from([("note".into(), "kept".into())]);
        assert_eq!(resolution, Resolution::Merged(expected));
    }

    /// The first version was made here and its answer lost; then somebody emptied the note.
    #[test]
    fn a_create_does_not_fill_in_what_may_have_been_emptied_since() {
        let local = [("text", "mine"), ("note", "emptied since")];
        let mut met = conflict(MutationKind::Create, &local, &[("text", "mine")]);
        met.remote.fields.insert("note".into(), Value::Null);
        met.remote.sync.version = RecordVersion(2);
        assert_eq!(decided(met), Resolution::Merged(FieldMap::new()));
    }

    #[test]
    fn an_update_keeps_what_was_changed() {
        let resolution = decided(conflict(
            MutationKind::Update,
            &[("text", "mine")],
            &[("text", "theirs")],
        ));
        assert_eq!(resolution, Resolution::KeepLocal);
    }

    #[test]
    fn a_delete_gives_way_to_what_others_have_changed_and_to_nothing_else() {
        let untouched = conflict(MutationKind::Delete, &[], &[("text", "first")]);
        assert_eq!(decided(untouched.clone()), Resolution::KeepLocal);
        let edited = SyncConflict {
            overtaken: vec!["text".into()],
            ..untouched
        };
        assert_eq!(decided(edited), Resolution::AcceptRemote);
    }

    #[test]
    fn what_was_deleted_stays_so_but_a_record_that_was_made_here_waits() {
        let gone = |kind| {
            let mut met = conflict(kind, &[("text", "mine")], &[]);
            met.remote.sync.deleted = true;
            decided(met)
        };
        assert_eq!(gone(MutationKind::Update), Resolution::AcceptRemote);
        assert_eq!(gone(MutationKind::Create), Resolution::KeepLocal);
    }
}
