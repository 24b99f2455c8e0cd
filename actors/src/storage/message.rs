//! What is said to the [`StorageActor`](super::StorageActor), and what it answers.
//!
//! Owns [`StorageMessage`] and what it carries. What a message does is `write.rs` for commands, and the actor itself for the
//! rest.

use std::sync::Arc;

use landfall_core::{
    Decision, FieldMap, ModelName, Mutation, Origin, Quarantined, Record, RecordId, RecordKey, Refusal,
    RemoteRecord, Row, Seq, SyncCursor, SyncMetadata, WriteRefused,
};
use landfall_storage::{Compacted, Remade, Retention, StorageError, Trimmed, VisibleChange};
use tokio::sync::mpsc;

use super::recorded;
use crate::flight::Input;
use crate::port::{Message, Reply};

/// A run of the sync engine; raised by each start, stop and clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A write of the app.
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// Save a record.
    Save {
        /// The model.
        model: ModelName,
        /// Its values in slot order.
        values: Row,
        /// The encoded row that it was read from.
        base: landfall_core::Base,
        /// The server's metadata when it was read.
        seen: Option<SyncMetadata>,
        /// Condition on the stored record, checked here and by the server.
        condition: Option<landfall_core::Predicate>,
    },
    /// Save a record that was exported: as a save of one that the app made, but if it is new it keeps what else only the
    /// server writes.
    Import {
        /// The model.
        model: ModelName,
        /// Its values in slot order.
        values: Row,
        /// The encoded row of the stored record.
        base: landfall_core::Base,
        /// The server's metadata of the stored record.
        seen: Option<SyncMetadata>,
    },
    /// Delete a record and those that belong to it.
    Delete {
        /// The record.
        key: RecordKey,
        /// Condition on the stored record, checked here and by the server.
        condition: Option<landfall_core::Predicate>,
        /// Predicate that the record must still satisfy, checked here alone; if it does not, nothing happens.
        guard: Option<landfall_core::Predicate>,
    },
    /// Nothing is written, but the record must still be as it was read: what the other writes say depends on it.
    Expect {
        /// The record.
        key: RecordKey,
        /// The encoded row that it was read from; none if it was not there.
        row: landfall_core::Base,
    },
}

/// What a write of the app did: the answer of `Records::write`.
#[derive(Clone, Debug, Default)]
pub struct WriteDone {
    /// The record after a save, or as it was before a delete; `None` if there was nothing to delete.
    pub record: Option<Record>,
    /// The entry of the log that did it; `None` if nothing had to be written.
    pub entry: Option<Seq>,
    /// Everything else that a delete took along, children first.
    pub cascaded: Vec<Record>,
}

/// Why a write of the app failed. Nothing of it is in the store unless the outcome is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The rules refused it.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// The store failed.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// The deletes of one transaction would take along more records than it may hold.
    #[error(
        "deleting `{key}`, with what is deleted beside it, would take along more than {max} records that belong to them; delete \
         those in parts first, nothing was deleted"
    )]
    CascadeTooLarge {
        /// The record.
        key: RecordKey,
        /// The bound.
        max: usize,
    },
    /// A record is no longer as it was read. Everything may be read again and decided anew.
    #[error("`{key}` was changed since it was read; read it again and decide anew")]
    Changed {
        /// The record.
        key: RecordKey,
    },
    /// What was made cannot be taken back, since a record refers to it that would stay.
    #[error("`{by}` refers to `{key}` by now; undo or delete `{by}` first, nothing was changed")]
    StillNeeded {
        /// The record that was to be deleted.
        key: RecordKey,
        /// The record that refers to it.
        by: RecordKey,
    },
    /// The mutation may have been applied, so that an edit might be carried out on top of it.
    #[error(
        "nobody knows whether change {seq} was applied, so it cannot be edited: retry it, which asks the server first, or \
         discard it and save anew"
    )]
    MayBeApplied {
        /// The mutation.
        seq: Seq,
    },
    /// The mutation does not wait, or is not parked.
    #[error("mutation {seq} is not parked; only refused mutations can be retried, edited or discarded")]
    NotParked {
        /// The mutation.
        seq: Seq,
    },
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// What became of a mutation that was sent.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The server applied it.
    Acknowledged(RemoteRecord),
    /// The server's record had another version; decided so.
    Conflict {
        /// The server's record.
        remote: RemoteRecord,
        /// What is to be done.
        decision: Decision,
    },
    /// The server refused it for good.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The server's record, if it came along.
        remote: Option<RemoteRecord>,
    },
    /// It certainly was not applied.
    NotApplied,
    /// No answer will come.
    Unknown,
}

/// Records of the server to be stored in one transaction.
#[derive(Clone, Debug)]
pub struct RemoteBatch {
    /// Where they come from.
    pub origin: Origin,
    /// Their model.
    pub model: ModelName,
    /// The records; of one identifier the newest version wins, whatever the order.
    pub records: Vec<RemoteRecord>,
    /// Records that the sync expression does not select; they leave the store, unless something of them waits.
    pub outside: Vec<RemoteRecord>,
    /// Records that a full sync has not met.
    pub left_over: Option<Box<LeftOver>>,
    /// Records that could not be read.
    pub bad: Vec<Quarantined>,
    /// The records are as the server had them at this time of its clock or later: of what changed before, an older version
    /// is no late message. `None` if they may be late.
    pub as_of_ms: Option<i64>,
    /// How far sync of the model has got with them.
    pub cursor: Option<SyncCursor>,
}

/// Records that a full sync has not met, so that the server has them no longer or sync does not cover them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// The records; those of which something waits stay.
    pub ids: Vec<RecordId>,
    /// Those that changed at this time of the server's clock or later stay: the sync may have looked before.
    pub before_ms: i64,
    /// Records that the sync expression does not select, whenever they changed, each with what the server had said of it
    /// when that was found; one that is another by now stays.
    pub outside: Vec<(RecordId, SyncMetadata)>,
}

impl RemoteBatch {
    /// A batch of nothing.
    pub fn new(origin: Origin, model: ModelName) -> Self {
        Self {
            origin,
            model,
            records: Vec::new(),
            outside: Vec::new(),
            left_over: None,
            bad: Vec::new(),
            as_of_ms: None,
            cursor: None,
        }
    }
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteCounts {
    /// Records that appeared.
    pub new: u64,
    /// Records that changed.
    pub updated: u64,
    /// Records that went.
    pub deleted: u64,
}

/// Changes of one commit, in order, of all models.
pub type ChangeSet = Arc<[VisibleChange]>;

/// What an observer receives.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A commit that changed at least one of its models.
    Changes(ChangeSet),
    /// It was so far behind that commits are left out from here on, until it has received this. It goes on with those after
    /// that; what was left out is in every snapshot that is taken from now on.
    FellBehind,
}

/// Messages to the [`StorageActor`](super::StorageActor).
#[derive(Debug)]
pub enum StorageMessage {
    /// From the app: carry out these writes, all or none.
    Write {
        /// The writes, in order.
        ops: Vec<WriteOp>,
        /// Whether they are sent in order as well, as a group: one that the server refuses holds back those after it.
        /// Otherwise they have nothing but the commit in common.
        grouped: bool,
        /// One result a write.
        reply: Reply<Result<Vec<WriteDone>, WriteError>>,
    },
    /// From the app: the same, to take back what an entry did; the entries name it as their cause. Deletes take nothing along
    /// that is not among these writes.
    Undo {
        /// The entry, or the first of its transaction.
        entry: Seq,
        /// The writes, in order.
        ops: Vec<WriteOp>,
        /// One result a write.
        reply: Reply<Result<Vec<WriteDone>, WriteError>>,
    },
    /// From `MutationProcessor`: these mutations are about to be sent. Those that do not wait any more are left out of the
    /// answer.
    MarkSent {
        /// The run of the engine.
        epoch: Epoch,
        /// The mutations.
        mutations: Vec<Seq>,
        /// The mutations as they are to be sent.
        reply: Reply<Result<Vec<Mutation>, WriteError>>,
    },
    /// From `MutationProcessor`: this became of a mutation.
    Settle {
        /// The run of the engine.
        epoch: Epoch,
        /// The mutation.
        mutation: Seq,
        /// What became of it.
        settlement: Settlement,
        /// Whether the server's record that came along is one of those that sync; one that is not leaves the store
        /// once nothing of it waits.
        covered: bool,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From `SyncProcessor` and `SubscriptionProcessor`: store these records of the server.
    ApplyRemote {
        /// The run of the engine.
        epoch: Epoch,
        /// The records.
        batch: RemoteBatch,
        /// What they did.
        reply: Reply<Result<RemoteCounts, WriteError>>,
    },
    /// From `SyncProcessor`: the server knows these mutations' models now; those that are parked because it did not are
    /// tried again.
    RetryMismatched {
        /// The run of the engine.
        epoch: Epoch,
        /// The mutations.
        mutations: Vec<Seq>,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: send a parked mutation again.
    RetryParked {
        /// The mutation.
        mutation: Seq,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: change the fields that a parked mutation sets, and send it again.
    EditParked {
        /// The mutation.
        mutation: Seq,
        /// The fields that it sets from here on.
        patch: FieldMap,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: give a parked mutation up and bring the server's record back.
    DiscardParked {
        /// The mutation.
        mutation: Seq,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: hear of the changes of these models from here on.
    Observe {
        /// The models.
        models: Vec<ModelName>,
        /// Where the observer's end goes.
        reply: Reply<mpsc::Receiver<Observed>>,
    },
    /// From the supervisor: commands of older epochs no longer count, and the answers to what an older run sent will
    /// not come: those mutations are of unknown outcome from here on.
    BeginEpoch {
        /// The new run of the engine.
        epoch: Epoch,
        /// Sent once everything before it has its answer: it is on disk, or failed. If that commit fails too, the next
        /// settles what the older run has sent, before anything else.
        reply: Reply<()>,
    },
    /// From the supervisor: clear all data.
    Clear {
        /// The run of the engine from here on.
        epoch: Epoch,
        /// Sent after the commit.
        reply: Reply<Result<(), WriteError>>,
    },
    /// From the app: make the file anew without its free pages.
    Compact {
        /// Sent when the new file is in use.
        reply: Reply<Result<Compacted, WriteError>>,
    },
    /// From the app: make everything but the log again, from the log.
    Rebuild {
        /// Sent when it is done.
        reply: Reply<Result<Remade, WriteError>>,
    },
    /// From the app: take away the entries that a policy does not keep.
    Trim {
        /// What the log keeps.
        retention: Retention,
        /// Sent when it is done.
        reply: Reply<Result<Trimmed, WriteError>>,
    },
    /// From the actor itself: commit what has been collected.
    Commit,
    /// From the actor itself: find out what became of a commit of which the disk did not tell.
    FindOut,
    /// From the owner: end at once; what was not committed is as after a crash.
    Halt,
}

impl Message for StorageMessage {
    const ACTOR: &'static str = "StorageActor";

    fn name(&self) -> &'static str {
        match self {
            Self::Write { .. } => "Write",
            Self::Undo { .. } => "Undo",
            Self::MarkSent { .. } => "MarkSent",
            Self::Settle { .. } => "Settle",
            Self::ApplyRemote { .. } => "ApplyRemote",
            Self::RetryMismatched { .. } => "RetryMismatched",
            Self::RetryParked { .. } => "RetryParked",
            Self::EditParked { .. } => "EditParked",
            Self::DiscardParked { .. } => "DiscardParked",
            Self::Observe { .. } => "Observe",
            Self::BeginEpoch { .. } => "BeginEpoch",
            Self::Clear { .. } => "Clear",
            Self::Rebuild { .. } => "Rebuild",
            Self::Compact { .. } => "Compact",
            Self::Trim { .. } => "Trim",
            Self::Commit => "Commit",
            Self::FindOut => "FindOut",
            Self::Halt => "Halt",
        }
    }

    fn print(&self) -> u64 {
        recorded::print(self)
    }

    fn input(&self) -> Option<Input> {
        recorded::input(self)
    }
}
