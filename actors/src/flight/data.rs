//! What comes from outside, as data that can be written down and played again.
//!
//! Owns [`Input`] (what the app says to actors), [`Answer`] (what calls to the outside bring) and their translation from and
//! to the actors' own messages. The settings of sync are in `settings.rs`.
//!
//! Invariant: no credentials. Those that a transport gives are noted as given, never as they are, an error's text loses the
//! query of every address in it, and why there are no credentials is not noted at all.

use std::fmt;

use serde::{Deserialize, Serialize};

use landfall_core::{Base, FieldMap, ModelName, Predicate, RecordKey, Resolution, Seq, SyncMetadata, Value};
use landfall_storage::StorageError;
use landfall_wire::{HttpResponse, TransportError};

use super::settings::SettingsInput;
use crate::storage::WriteOp;

/// Bytes, written as such.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One thing that the app said to an actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Input {
    /// To the storage actor: carry these writes out, and send them in order.
    Write(Vec<OpInput>),
    /// To the storage actor: send a parked mutation again.
    RetryParked(Seq),
    /// To the storage actor: change the fields of a parked mutation.
    EditParked(Seq, FieldMap),
    /// To the storage actor: give a parked mutation up.
    DiscardParked(Seq),
    /// To the storage actor: tell of changes.
    Observe,
    /// To the storage actor: make the projections again.
    Rebuild,
    /// To the storage actor: take old entries of the log away. A replay keeps them, but commits where this made it commit.
    Trim,
    /// To the storage actor, outbox or hub: end.
    Halt,
    /// To the supervisor: sync so.
    Start(SettingsInput),
    /// To the supervisor: begin anew with these settings.
    Reconfigure(SettingsInput),
    /// To the supervisor.
    Stop,
    /// To the supervisor.
    Clear,
    /// To the supervisor.
    AwaitReady,
    /// To the supervisor.
    SyncNow,
    /// To the supervisor.
    PausePush(bool),
    /// To the supervisor.
    PausePull(bool),
    /// To the supervisor.
    ForceOffline(bool),
    /// To the outbox: tell when nothing waits, or after so many milliseconds.
    Drained(Option<u64>),
    /// To the outbox: tell of changes.
    Watch,
    /// To the hub: tell of events.
    Listen,
    /// To the storage actor: carry these writes out, which take back what that entry did.
    Undo(Seq, Vec<OpInput>),
    /// Make the file anew without its free pages.
    Compact,
    /// To the storage actor: carry these writes out together, and send each by itself.
    WriteApart(Vec<OpInput>),
}

/// A write of the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OpInput {
    /// Save a record.
    Save {
        /// The model.
        model: ModelName,
        /// The values in slot order.
        values: Vec<Value>,
        /// The encoded row from which it was read.
        base: Option<Bytes>,
        /// The server's metadata when it was read.
        seen: Option<SyncMetadata>,
        /// The condition.
        condition: Option<Predicate>,
    },
    /// Save an imported record.
    Import {
        /// The model.
        model: ModelName,
        /// The values in slot order.
        values: Vec<Value>,
        /// The encoded row of the stored record.
        base: Option<Bytes>,
        /// The server's metadata of the stored record.
        seen: Option<SyncMetadata>,
    },
    /// Delete a record.
    Delete {
        /// The record.
        key: RecordKey,
        /// The condition.
        condition: Option<Predicate>,
        /// The guard.
        guard: Option<Predicate>,
    },
    /// The record must be as it was read.
    Expect {
        /// The record.
        key: RecordKey,
        /// The encoded row.
        row: Option<Bytes>,
    },
}

fn base_to(base: &Base) -> Option<Bytes> {
    base.row().map(|row| Bytes(row.to_vec()))
}

fn base_from(bytes: Option<Bytes>) -> Base {
    bytes.map_or(Base::NONE, |bytes| Base::of_row(bytes.0.into()))
}

impl From<&WriteOp> for OpInput {
    fn from(op: &WriteOp) -> Self {
        match op {
            WriteOp::Save {
                model,
                values,
                base,
                seen,
                condition,
            } => Self::Save {
                model: model.clone(),
                values: values.clone(),
                base: base_to(base),
                seen: *seen,
                condition: condition.clone(),
            },
            WriteOp::Import {
                model,
                values,
                base,
                seen,
            } => Self::Import {
                model: model.clone(),
                values: values.clone(),
                base: base_to(base),
                seen: *seen,
            },
            WriteOp::Delete {
                key,
                condition,
                guard,
            } => Self::Delete {
                key: key.clone(),
                condition: condition.clone(),
                guard: guard.clone(),
            },
            WriteOp::Expect { key, row } => Self::Expect {
                key: key.clone(),
                row: base_to(row),
            },
        }
    }
}

impl From<OpInput> for WriteOp {
    fn from(op: OpInput) -> Self {
        match op {
            OpInput::Save {
                model,
                values,
                base,
                seen,
                condition,
            } => Self::Save {
                model,
                values,
                base: base_from(base),
                seen,
                condition,
            },
            OpInput::Import {
                model,
                values,
                base,
                seen,
            } => Self::Import {
                model,
                values,
                base: base_from(base),
                seen,
            },
            OpInput::Delete {
                key,
                condition,
                guard,
            } => Self::Delete {
                key,
                condition,
                guard,
            },
            OpInput::Expect { key, row } => Self::Expect {
                key,
                row: base_from(row),
            },
        }
    }
}

/// What a call to the outside brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// A request was answered.
    Response {
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait.
        retry_after_ms: Option<u64>,
        /// The body.
        body: Bytes,
    },
    /// A socket is open.
    Connected,
    /// Credentials were given; which, is not noted.
    Authorized,
    /// The conflict handler has answered.
    Decided(Decided),
    /// Nothing came.
    Failed(Failed),
}

/// What a conflict handler did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Decided {
    /// The server's record stands.
    AcceptRemote,
    /// The local change is applied again.
    KeepLocal,
    /// These fields are.
    Merged(FieldMap),
    /// It panicked.
    Panicked,
    /// It did not answer in time.
    TookTooLong,
}

impl From<&Resolution> for Decided {
    fn from(resolution: &Resolution) -> Self {
        match resolution {
            Resolution::AcceptRemote => Self::AcceptRemote,
            Resolution::KeepLocal => Self::KeepLocal,
            Resolution::Merged(fields) => Self::Merged(fields.clone()),
        }
    }
}

/// An error of a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which it is.
    pub kind: FailedKind,
    /// Why; without the queries of addresses, and the same for all that are [`Unauthorized`](FailedKind::Unauthorized).
    pub reason: String,
}

/// Which error of a transport it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailedKind {
    /// The request certainly did not get through.
    Unreachable,
    /// It may have.
    Interrupted,
    /// There were no credentials.
    Unauthorized,
    /// The configuration cannot work.
    Misconfigured,
}

/// Why there were no credentials, as recordings have it. What really was said comes from the app's provider of tokens, or
/// from a server that was shown one, and either may quote what nobody is to read; no pattern finds that for sure.
const UNAUTHORIZED_REASON: &str =
    "why is left out while the run is recorded, since it may name what is secret";

impl From<&TransportError> for Failed {
    fn from(error: &TransportError) -> Self {
        let (kind, reason) = match error {
            TransportError::Unreachable { reason } => (FailedKind::Unreachable, reason),
            TransportError::Unauthorized { reason: _ } => {
                return Self {
                    kind: FailedKind::Unauthorized,
                    reason: UNAUTHORIZED_REASON.to_owned(),
                };
            }
            TransportError::Misconfigured { reason } => (FailedKind::Misconfigured, reason),
            TransportError::Interrupted { reason } => (FailedKind::Interrupted, reason),
            _ => return Self::unknown(error),
        };
        Self {
            kind,
            reason: without_queries(reason),
        }
    }
}

impl Failed {
    fn unknown(error: &TransportError) -> Self {
        Self {
            kind: FailedKind::Interrupted,
            reason: without_queries(&error.to_string()),
        }
    }
}

impl From<Failed> for TransportError {
    fn from(failed: Failed) -> Self {
        let reason = failed.reason;
        match failed.kind {
            FailedKind::Unreachable => Self::Unreachable { reason },
            FailedKind::Interrupted => Self::Interrupted { reason },
            FailedKind::Unauthorized => Self::Unauthorized { reason },
            FailedKind::Misconfigured => Self::Misconfigured { reason },
        }
    }
}

/// A realtime address carries credentials in its query, any address may have them before its host, and an error may name the
/// address.
pub(crate) fn without_queries(reason: &str) -> String {
    let words = reason.split_inclusive(char::is_whitespace).map(|word| {
        let Some((before, address)) = word.split_once("://") else {
            return word.to_owned();
        };
        let address_end = address.trim_end_matches(char::is_whitespace).len();
        let (address, blank) = address.split_at(address_end);
        let (address, query) = match address.split_once(['?', '#']) {
            Some((address, _)) => (address, "?…"),
            None => (address, ""),
        };
        let host_end = address.find('/').unwrap_or(address.len());
        let host = address[..host_end].rfind('@').map_or(0, |at| at + 1);
        format!("{before}://{}{query}{blank}", &address[host..])
    });
    words.collect()
}

impl Answer {
    /// The answer that a transport's result is.
    pub fn of_result(result: &Result<HttpResponse, TransportError>) -> Self {
        match result {
            Ok(response) => Self::Response {
                status: response.status,
                retry_after_ms: response.retry_after_ms,
                body: Bytes(response.body.clone()),
            },
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// A commit of the storage actor, as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The first entry that it would have made; nothing if it could not even begin.
    pub base: Option<Seq>,
    /// The newest entry then.
    pub head: Seq,
    /// Its check, which stands for the whole log up to it.
    pub check: u32,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// How a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of fault it was.
    pub kind: FaultKind,
    /// What the disk said.
    pub cause: String,
    /// Commands that had been carried out when it struck; nothing if the transaction could not begin.
    pub carried: Option<u32>,
    /// Whether the commit is on disk, as turned out later; of no meaning unless that was unknown.
    pub there: bool,
}

/// What kind of fault of the disk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FaultKind {
    /// Reading or writing failed.
    Io,
    /// The disk is full.
    Full,
    /// What was read contradicts itself.
    Corrupt,
    /// It is unknown what is on disk.
    Unknown,
}

impl Fault {
    /// The fault that an error is, which struck after so many commands.
    pub fn of(error: &StorageError, carried: Option<u32>) -> Self {
        let (kind, cause) = match error {
            StorageError::OutcomeUnknown { cause } => (FaultKind::Unknown, cause.clone()),
            StorageError::Full { .. } => (FaultKind::Full, String::new()),
            StorageError::Corrupt { what, .. } => (FaultKind::Corrupt, what.clone()),
            StorageError::Io { cause } => (FaultKind::Io, cause.clone()),
            other => (FaultKind::Io, other.to_string()),
        };
        Self {
            kind,
            cause,
            carried,
            there: false,
        }
    }

    /// The error that the fault was.
    pub fn error(&self) -> StorageError {
        let cause = self.cause.clone();
        match self.kind {
            FaultKind::Io => StorageError::Io { cause },
            FaultKind::Full => StorageError::Full { path: None },
            FaultKind::Corrupt => StorageError::Corrupt {
                path: None,
                what: cause,
            },
            FaultKind::Unknown => StorageError::OutcomeUnknown { cause },
        }
    }

    /// Whether the commit is on disk although it failed.
    pub fn is_there(&self) -> bool {
        self.kind == FaultKind::Unknown && self.there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_errors_lose_their_queries() {
        let reason = "cannot reach wss://a.example/graphql?header=c2VjcmV0&payload=e30= : timed out? yes";
        assert_eq!(
            without_queries(reason),
            "cannot reach wss://a.example/graphql?… : timed out? yes"
        );
        assert_eq!(
            without_queries("(https://me:pass@word@a.example:8/x@y) is not there\n"),
            "(https://a.example:8/x@y) is not there\n"
        );
    }

    #[test]
    fn why_there_were_no_credentials_is_not_recorded() {
        let said = TransportError::Unauthorized {
            reason: "the token eyJhbGciOi.c2VjcmV0 has expired".to_owned(),
        };
        let failed = Failed::from(&said);
        assert_eq!(failed.kind, FailedKind::Unauthorized);
        assert!(!format!("{failed:?}").contains("c2VjcmV0"), "{failed:?}");
        // The engine of a recorded run is told the same as that of its replay.
        let told = TransportError::from(failed.clone());
        assert!(matches!(told, TransportError::Unauthorized { .. }));
        assert_eq!(Failed::from(&told), failed);
    }
}
