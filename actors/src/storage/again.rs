//! Commands that can be carried out a second time, one by one, when their commit met damage.
//!
//! Owns [`spares`]. A damaged record, and a damaged page, fail the transaction that meets them, and with it the commands of
//! everybody who happens to be in the same commit; they are no part of it, so each gets a transaction of its own.
//!
//! Invariant: a command that was answered, such as one that the rules refused before anything was changed, is not carried out
//! again.

use super::StorageMessage;

/// Copies of commands that are committed together; none of a command that is alone, which nobody else is held up by.
///
/// Whoever asked gets the first answer that either of the two gives.
pub(super) fn spares(commands: &mut [StorageMessage]) -> Vec<StorageMessage> {
    if commands.len() < 2 {
        return Vec::new();
    }
    commands.iter_mut().filter_map(spare).collect()
}

fn spare(command: &mut StorageMessage) -> Option<StorageMessage> {
    Some(match command {
        StorageMessage::Write { ops, grouped, reply } => StorageMessage::Write {
            ops: ops.clone(),
            grouped: *grouped,
            reply: reply.twin(),
        },
        StorageMessage::Undo { entry, ops, reply } => StorageMessage::Undo {
            entry: *entry,
            ops: ops.clone(),
            reply: reply.twin(),
        },
        StorageMessage::MarkSent {
            epoch,
            mutations,
            reply,
        } => StorageMessage::MarkSent {
            epoch: *epoch,
            mutations: mutations.clone(),
            reply: reply.twin(),
        },
        StorageMessage::Settle {
            epoch,
            mutation,
            settlement,
            covered,
            reply,
        } => StorageMessage::Settle {
            epoch: *epoch,
            mutation: *mutation,
            settlement: settlement.clone(),
            covered: *covered,
            reply: reply.twin(),
        },
        StorageMessage::ApplyRemote { epoch, batch, reply } => StorageMessage::ApplyRemote {
            epoch: *epoch,
            batch: batch.clone(),
            reply: reply.twin(),
        },
        StorageMessage::RetryMismatched { .. }
        | StorageMessage::RetryParked { .. }
        | StorageMessage::EditParked { .. }
        | StorageMessage::DiscardParked { .. } => return spare_of_parked(command),
        StorageMessage::Clear { epoch, reply } => StorageMessage::Clear {
            epoch: *epoch,
            reply: reply.twin(),
        },
        StorageMessage::Observe { .. }
        | StorageMessage::BeginEpoch { .. }
        | StorageMessage::Rebuild { .. }
        | StorageMessage::Compact { .. }
        | StorageMessage::Trim { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => return None,
    })
}

fn spare_of_parked(command: &mut StorageMessage) -> Option<StorageMessage> {
    Some(match command {
        StorageMessage::RetryMismatched {
            epoch,
            mutations,
            reply,
        } => StorageMessage::RetryMismatched {
            epoch: *epoch,
            mutations: mutations.clone(),
            reply: reply.twin(),
        },
        StorageMessage::RetryParked { mutation, reply } => StorageMessage::RetryParked {
            mutation: *mutation,
            reply: reply.twin(),
        },
        StorageMessage::EditParked {
            mutation,
            patch,
            reply,
        } => StorageMessage::EditParked {
            mutation: *mutation,
            patch: patch.clone(),
            reply: reply.twin(),
        },
        StorageMessage::DiscardParked { mutation, reply } => StorageMessage::DiscardParked {
            mutation: *mutation,
            reply: reply.twin(),
        },
        StorageMessage::Write { .. }
        | StorageMessage::Undo { .. }
        | StorageMessage::MarkSent { .. }
        | StorageMessage::Settle { .. }
        | StorageMessage::ApplyRemote { .. }
        | StorageMessage::Clear { .. }
        | StorageMessage::Observe { .. }
        | StorageMessage::BeginEpoch { .. }
        | StorageMessage::Rebuild { .. }
        | StorageMessage::Compact { .. }
        | StorageMessage::Trim { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => return None,
    })
}

/// Whether the command has its answer already.
pub(super) fn is_answered(command: &StorageMessage) -> bool {
    match command {
        StorageMessage::Write { reply, .. } | StorageMessage::Undo { reply, .. } => reply.is_answered(),
        StorageMessage::MarkSent { reply, .. } => reply.is_answered(),
        StorageMessage::ApplyRemote { reply, .. } => reply.is_answered(),
        StorageMessage::Settle { reply, .. }
        | StorageMessage::RetryMismatched { reply, .. }
        | StorageMessage::RetryParked { reply, .. }
        | StorageMessage::EditParked { reply, .. }
        | StorageMessage::DiscardParked { reply, .. }
        | StorageMessage::Clear { reply, .. } => reply.is_answered(),
        StorageMessage::Observe { .. }
        | StorageMessage::BeginEpoch { .. }
        | StorageMessage::Rebuild { .. }
        | StorageMessage::Compact { .. }
        | StorageMessage::Trim { .. }
        | StorageMessage::Commit
        | StorageMessage::FindOut
        | StorageMessage::Halt => false,
    }
}
