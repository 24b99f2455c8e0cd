//! What comes from outside, as data that can be written down and played again.
//!
//! Owns [`Input`] (what the app says to actors), [`Answer`] (what calls to the outside bring) and their translation from and
//! to the actors' own messages. Invariants: 1. no credentials: those that a transport gives are noted as given, never as they
//! are, an error's text loses the query of every address in it, and why there are no credentials is not noted at all;
//! 2. a setting that is added to [`SyncSettings`] does not compile until it is recorded here, or left out by name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use landfall_core::{Base, FieldMap, ModelName, Predicate, RecordKey, Resolution, Seq, SyncMetadata, Value};
use landfall_storage::StorageError;
use landfall_wire::{HttpResponse, TransportError};

use crate::config::{Leaving, Listen, SyncSettings};
use crate::storage::WriteOp;

/// Bytes, written as such.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'v> de::Visitor<'v> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: de::SeqAccess<'v>>(self, mut items: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// One thing that the app said to an actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Input {
    /// To the storage actor: carry these writes out.
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

/// The settings of sync, without the app's handlers: what those answer is recorded when they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingsInput {
    page_size: u32,
    records_max: u64,
    full_sync_interval: Duration,
    expressions: BTreeMap<ModelName, Predicate>,
    tombstone_life: Duration,
    delta_life: Duration,
    /// How each model listens: nothing for live, zero for off, else the time between polls.
    listening: BTreeMap<ModelName, Option<Duration>>,
    leaves_at_once: bool,
    models_in_parallel: u64,
    lanes: u64,
    conflict_timeout: Duration,
    // Recordings of before have neither; what is added goes to the end, since fields are told apart by their places.
    #[serde(default)]
    owner: Option<String>,
    #[serde(default = "one")]
    mutations_per_request: u64,
}

/// How many mutations a request has if nothing is said of it.
fn one() -> u64 {
    1
}

impl From<&SyncSettings> for SettingsInput {
    fn from(settings: &SyncSettings) -> Self {
        let SyncSettings {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening,
            owner,
            leaving,
            models_in_parallel,
            lanes,
            mutations_per_request,
            // What it answers is recorded when it does.
            conflict_handler: _,
            conflict_timeout,
            // Nothing comes back from it.
            error_handler: _,
        } = settings;
        let listening = listening.iter().map(|(model, listen)| {
            let every = match listen {
                Listen::Live => None,
                Listen::Polling(every) => Some((*every).max(Duration::from_millis(1))),
                Listen::Off => Some(Duration::ZERO),
            };
            (model.clone(), every)
        });
        Self {
            page_size: *page_size,
            records_max: *records_max,
            full_sync_interval: *full_sync_interval,
            expressions: expressions.clone(),
            tombstone_life: *tombstone_life,
            delta_life: *delta_life,
            listening: listening.collect(),
            leaves_at_once: *leaving == Leaving::AtOnce,
            models_in_parallel: *models_in_parallel as u64,
            lanes: *lanes as u64,
            conflict_timeout: *conflict_timeout,
            owner: owner.clone(),
            mutations_per_request: *mutations_per_request as u64,
        }
    }
}

impl From<SettingsInput> for SyncSettings {
    fn from(input: SettingsInput) -> Self {
        let SettingsInput {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening,
            leaves_at_once,
            models_in_parallel,
            lanes,
            conflict_timeout,
            owner,
            mutations_per_request,
        } = input;
        let listening = listening.into_iter().map(|(model, every)| {
            let listen = match every {
                None => Listen::Live,
                Some(Duration::ZERO) => Listen::Off,
                Some(every) => Listen::Polling(every),
            };
            (model, listen)
        });
        let handlers = Self::default();
        Self {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening: listening.collect(),
            owner,
            leaving: if leaves_at_once {
                Leaving::AtOnce
            } else {
                Leaving::WithNextSync
            },
            models_in_parallel: usize::try_from(models_in_parallel).unwrap_or(1),
            lanes: usize::try_from(lanes).unwrap_or(1),
            mutations_per_request: usize::try_from(mutations_per_request).unwrap_or(1),
            conflict_handler: handlers.conflict_handler,
            conflict_timeout,
            error_handler: handlers.error_handler,
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
fn without_queries(reason: &str) -> String {
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
            StorageError::Full => (FaultKind::Full, String::new()),
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
            FaultKind::Full => StorageError::Full,
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

    /// Settings of which none is the default, named one by one so that a new one has to be thought of.
    fn unusual() -> SyncSettings {
        let handlers = SyncSettings::default();
        SyncSettings {
            page_size: 7,
            records_max: 70,
            full_sync_interval: Duration::from_secs(1),
            expressions: BTreeMap::from([("A".into(), Predicate::All)]),
            tombstone_life: Duration::from_secs(2),
            delta_life: Duration::from_secs(3),
            listening: BTreeMap::from([
                ("A".into(), Listen::Off),
                ("B".into(), Listen::Polling(Duration::from_secs(4))),
                ("C".into(), Listen::Live),
            ]),
            owner: Some("anna".to_owned()),
            leaving: Leaving::WithNextSync,
            models_in_parallel: 5,
            lanes: 6,
            mutations_per_request: 8,
            conflict_handler: handlers.conflict_handler,
            conflict_timeout: Duration::from_secs(9),
            error_handler: handlers.error_handler,
        }
    }

    #[test]
    fn settings_survive_being_written_down() {
        let settings = unusual();
        let written = serde_json::to_value(SettingsInput::from(&settings)).unwrap();
        let usual = serde_json::to_value(SettingsInput::from(&SyncSettings::default())).unwrap();
        for (name, value) in written.as_object().unwrap() {
            assert_ne!(value, &usual[name], "{name} has its default");
        }
        let back = SyncSettings::from(serde_json::from_value::<SettingsInput>(written).unwrap());
        // All that can be compared.
        let shown = |settings: SyncSettings| {
            let SyncSettings {
                page_size,
                records_max,
                full_sync_interval,
                expressions,
                tombstone_life,
                delta_life,
                listening,
                owner,
                leaving,
                models_in_parallel,
                lanes,
                mutations_per_request,
                conflict_handler: _,
                conflict_timeout,
                error_handler: _,
            } = settings;
            (
                (page_size, records_max, full_sync_interval, expressions),
                (tombstone_life, delta_life, listening, owner, leaving),
                (models_in_parallel, lanes, mutations_per_request, conflict_timeout),
            )
        };
        assert_eq!(shown(back), shown(settings));
    }

    #[test]
    fn settings_of_before_there_were_owners_are_read() {
        let mut written = serde_json::to_value(SettingsInput::from(&unusual())).unwrap();
        let fields = written.as_object_mut().unwrap();
        assert!(fields.remove("owner").is_some() && fields.remove("mutations_per_request").is_some());
        let back = SyncSettings::from(serde_json::from_value::<SettingsInput>(written).unwrap());
        assert_eq!((back.owner, back.mutations_per_request, back.lanes), (None, 1, 6));
    }
}
