//! What a recorder sees of the storage actor, and how a recording has a commit fail again.
//!
//! Owns the translation of the app's messages to inputs, and the faults of the disk that a replay brings back: one that
//! left nothing on disk fails the transaction before its commit, one of unknown outcome fails it as it turned out.

use landfall_core::{RecordKey, Seq};
use landfall_storage::{StorageError, Store, Written};

use super::{RemoteBatch, StorageMessage};
use crate::env::Env;
use crate::flight::{Commit, Fault, Input, OpInput, print_of};

/// The fingerprint of a message from another actor.
pub(super) fn print(message: &StorageMessage) -> u64 {
    match message {
        StorageMessage::MarkSent { epoch, mutations, .. }
        | StorageMessage::RetryMismatched { epoch, mutations, .. } => print_of(&(epoch.0, mutations)),
        StorageMessage::Settle {
            epoch,
            mutation,
            settlement,
            covered,
            ..
        } => print_of(&(epoch.0, mutation, settlement, covered)),
        StorageMessage::ApplyRemote { epoch, batch, .. } => print_of(&(epoch.0, gist(batch))),
        StorageMessage::BeginEpoch { epoch, .. } => epoch.0,
        StorageMessage::Write { .. }
        | StorageMessage::Undo { .. }
        | StorageMessage::RetryParked { .. }
        | StorageMessage::EditParked { .. }
        | StorageMessage::DiscardParked { .. }
        | StorageMessage::Clear { .. }
        | StorageMessage::Observe { .. }
        | StorageMessage::Rebuild { .. }
        | StorageMessage::Compact { .. }
        | StorageMessage::Trim { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => 0,
    }
}

/// What tells one batch from another; what it says of each record shows in the log.
fn gist(batch: &RemoteBatch) -> impl std::fmt::Debug {
    let versions: u64 = batch.records.iter().map(|record| record.sync.version.0).sum();
    (
        batch.model.clone(),
        (
            batch.records.len(),
            versions,
            batch.outside.len(),
            batch.bad.len(),
        ),
        batch
            .records
            .first()
            .map(|record| RecordKey::new(batch.model.clone(), record.id.clone())),
    )
}

/// What a message of the app says.
pub(super) fn input(message: &StorageMessage) -> Option<Input> {
    Some(match message {
        StorageMessage::Write { ops, grouped, .. } => {
            let writes = ops.iter().map(OpInput::from).collect();
            // One by itself is no group either way.
            if *grouped || ops.len() < 2 {
                Input::Write(writes)
            } else {
                Input::WriteApart(writes)
            }
        }
        StorageMessage::Undo { entry, ops, .. } => {
            Input::Undo(*entry, ops.iter().map(OpInput::from).collect())
        }
        StorageMessage::RetryParked { mutation, .. } => Input::RetryParked(*mutation),
        StorageMessage::EditParked { mutation, patch, .. } => Input::EditParked(*mutation, patch.clone()),
        StorageMessage::DiscardParked { mutation, .. } => Input::DiscardParked(*mutation),
        StorageMessage::Observe { .. } => Input::Observe,
        StorageMessage::Rebuild { .. } => Input::Rebuild,
        StorageMessage::Compact { .. } => Input::Compact,
        StorageMessage::Trim { .. } => Input::Trim,
        StorageMessage::MarkSent { .. }
        | StorageMessage::Settle { .. }
        | StorageMessage::ApplyRemote { .. }
        | StorageMessage::RetryMismatched { .. }
        | StorageMessage::Clear { .. }
        | StorageMessage::BeginEpoch { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => return None,
    })
}

/// What a recording says is to become of the commit that begins now.
pub(super) fn fault(env: &Env) -> Option<Fault> {
    env.flight.seat.as_ref()?.fault()
}

/// The error of a transaction that could not even begin.
pub(super) fn never_begins(fault: Option<&Fault>) -> Option<StorageError> {
    fault.filter(|fault| fault.carried.is_none()).map(Fault::error)
}

/// Fails the transaction where it failed: after so many commands, or before its commit, unless it is on disk after all.
pub(super) fn fail_at(fault: Option<&Fault>, carried: u32, is_last: bool) -> Result<(), StorageError> {
    match fault {
        Some(fault) if !fault.is_there() && (is_last || fault.carried == Some(carried)) => Err(fault.error()),
        _ => Ok(()),
    }
}

/// Tells the seat how the commit went; of one whose outcome was unknown the actor hears that, also if it is there.
pub(super) fn told(
    env: &Env,
    store: &Store,
    (base, carried): (Option<Seq>, u32),
    fault: Option<Fault>,
    written: Result<Written<()>, StorageError>,
) -> Result<Written<()>, StorageError> {
    let Some(seat) = &env.flight.seat else {
        return written;
    };
    let written = match (written, &fault) {
        (Ok(_), Some(fault)) => Err(fault.error()),
        (written, _) => written,
    };
    let (head, check) = store.head_and_check();
    let carried = base.map(|_| carried);
    let fault = fault.or_else(|| written.as_ref().err().map(|error| Fault::of(error, carried)));
    seat.committed(Commit {
        base,
        head,
        check,
        fault,
    });
    written
}
