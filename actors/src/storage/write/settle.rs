//! What becomes of mutations: they are marked as sent, settled by what the server answered, or by the app if it refused.
//!
//! Owns that part of [`Batch`]'s commands, and what is settled without being asked for: mutations of which nobody will say
//! any more what became of them.
//!
//! Invariant: a mutation that the log says is on its way is in somebody's hands, or settled by the next commit.

use std::collections::BTreeSet;

use landfall_core::{
    Acknowledged, CONDITION_FAILED, Change, Conflict, Decision, FieldMap, Mutation, MutationKind,
    MutationRef, Origin, Record, RecordState, RecordVersion, Refusal, Refused, RemoteRecord, Sent, Seq,
    Stage, WriteRefused, decide_edit, given_up, planted, takes_back,
};
use landfall_storage::{OutboxChange, StorageError, Txn};

use super::{Batch, Stop};
use crate::hub::HubEvent;
use crate::storage::{Settlement, WriteError};

/// Why a record leaves that the server changed so that the sync expression no longer selects it.
pub(in crate::storage) const LEFT_EXPRESSION: &str = "left the sync expression";

impl Batch {
    /// Nobody waits for the answers to what an ended run has sent: they are of unknown outcome.
    pub(in crate::storage) fn settle_leftovers(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageError> {
        let settled_max = if planted("one-leftover-settled") {
            1
        } else {
            usize::MAX
        };
        for seq in txn.in_flight()?.into_iter().take(settled_max) {
            if let Some(mutation) = readable(txn, seq)? {
                self.settle_unasked(txn, mutation, Change::OutcomeUnknown)?;
            }
        }
        Ok(())
    }

    /// Whoever had marked these was told of an error and sent none of them, so they wait as before. Those whose mark is not
    /// in the log do so anyway.
    pub(in crate::storage) fn settle_unsent(
        &mut self,
        txn: &mut Txn<'_>,
        unsent: &BTreeSet<Seq>,
    ) -> Result<(), StorageError> {
        for seq in unsent {
            let mutation = readable(txn, *seq)?;
            if let Some(mutation) = mutation.filter(|mutation| mutation.stage == Stage::InFlight) {
                self.settle_unasked(txn, mutation, Change::NotApplied)?;
            }
        }
        Ok(())
    }

    fn settle_unasked(
        &mut self,
        txn: &mut Txn<'_>,
        mutation: Mutation,
        change: fn(MutationRef) -> Change,
    ) -> Result<(), StorageError> {
        // Each stands alone, like a command.
        self.of_command = 0;
        let seq = mutation.seq;
        let of = MutationRef {
            key: mutation.key,
            mutation: seq,
        };
        match self.append(txn, Origin::Outbox, Some(seq), change(of)) {
            Ok(_) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            // It waits as it is, such as one whose model has gone from the schema.
            Err(Stop::Refused(error)) => {
                tracing::warn!(%error, "a mutation that nobody will answer for cannot be settled");
                Ok(())
            }
        }
    }

    pub(super) fn mark_sent(&mut self, txn: &mut Txn<'_>, mutations: &[Seq]) -> Result<Vec<Mutation>, Stop> {
        let mut sent = Vec::with_capacity(mutations.len());
        for seq in mutations {
            let Some(mutation) = txn.mutation(*seq)? else {
                continue;
            };
            // One whose model has gone from the schema is left alone, and holds up no other.
            if mutation.stage != Stage::Queued || txn.model(mutation.model()).is_err() {
                continue;
            }
            let state = match txn.state(&mutation.key) {
                Ok(state) => state,
                // Something else of its record is damaged, such as a change that waits before it.
                Err(error @ StorageError::Corrupt { .. }) => {
                    tracing::warn!(%error, %seq, "a change of a damaged record is not sent");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let of = Sent {
                key: mutation.key,
                mutation: *seq,
                attempt: mutation.attempts + 1,
            };
            if planted("sent-not-noted") {
                sent.extend(txn.mutation(*seq)?);
                continue;
            }
            let told = self.append_to(txn, Some(state), Origin::Outbox, Some(*seq), Change::Sent(of))?;
            sent.extend(told.outbox.iter().find_map(|change| match change {
                OutboxChange::Put(mutation) if mutation.seq == *seq => Some(mutation.clone()),
                OutboxChange::Put(_) | OutboxChange::Removed(_) => None,
            }));
            self.marked.push(*seq);
        }
        Ok(sent)
    }

    pub(super) fn settle(
        &mut self,
        txn: &mut Txn<'_>,
        seq: Seq,
        settlement: Settlement,
        covered: bool,
    ) -> Result<(), Stop> {
        let Some(mutation) = txn.mutation(seq)? else {
            return Ok(());
        };
        // A settlement comes again if its commit was of unknown outcome. If that was stored after all, the mutation may have
        // been changed since, and what was settled says nothing of it any more.
        if !matches!(mutation.stage, Stage::InFlight | Stage::Unknown) {
            return Ok(());
        }
        let key = mutation.key.clone();
        let judged = match &settlement {
            Settlement::Acknowledged(remote) | Settlement::Conflict { remote, .. } => Some(remote.sync),
            Settlement::Refused { .. } | Settlement::NotApplied | Settlement::Unknown => None,
        };
        self.settle_one(txn, &mutation, settlement)?;
        if covered {
            return Ok(());
        }
        let state = txn.state(&key)?;
        // A newer record that is known already was judged when it came.
        if state.pending.is_empty() && state.row.is_some() && state.sync == judged {
            self.evict(txn, Origin::Response, Some(seq), key, LEFT_EXPRESSION, state.sync)?;
        }
        Ok(())
    }

    fn settle_one(
        &mut self,
        txn: &mut Txn<'_>,
        mutation: &Mutation,
        settlement: Settlement,
    ) -> Result<(), Stop> {
        let (seq, key) = (mutation.seq, mutation.key.clone());
        let of = MutationRef {
            key: key.clone(),
            mutation: seq,
        };
        match settlement {
            Settlement::Acknowledged(remote) => {
                self.processed(txn, mutation, &remote)?;
                self.note_taken_back(mutation, remote.sync.version, true);
                let change = Change::Acknowledged(Acknowledged {
                    key,
                    mutation: seq,
                    remote,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
                self.changes.outbox_status(txn.outbox_is_empty()?);
            }
            Settlement::Conflict { remote, decision } => {
                self.note_taken_back(mutation, remote.sync.version, false);
                let accepted_remote = decision == Decision::AcceptRemote;
                let given_up = given_up(mutation, &remote, &decision);
                self.changes.events.push(HubEvent::ConflictResolved {
                    key: key.clone(),
                    kind: mutation.kind,
                    accepted_remote,
                    deleted: remote.sync.deleted,
                    given_up: given_up.clone(),
                });
                if accepted_remote {
                    self.processed(txn, mutation, &remote)?;
                }
                let change = Change::Conflict(Conflict {
                    key,
                    mutation: seq,
                    remote,
                    decision,
                    given_up,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
                if accepted_remote {
                    self.changes.outbox_status(txn.outbox_is_empty()?);
                }
            }
            Settlement::Refused { refusal, remote } => {
                if let Some(remote) = &remote {
                    self.note_taken_back(mutation, remote.sync.version, false);
                }
                self.refused(mutation, &refusal);
                let change = Change::Refused(Refused {
                    key,
                    mutation: seq,
                    refusal,
                    remote,
                });
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::NotApplied => {
                let change = if planted("not-applied-means-acknowledged") {
                    Change::Discarded(of)
                } else {
                    Change::NotApplied(of)
                };
                self.append(txn, Origin::Response, Some(seq), change)?;
            }
            Settlement::Unknown => {
                self.append(txn, Origin::Outbox, Some(seq), Change::OutcomeUnknown(of))?;
            }
        }
        Ok(())
    }

    /// Tells the app if the server's answer to a mutation shows that the server went back.
    fn note_taken_back(&mut self, mutation: &Mutation, found: RecordVersion, applied: bool) {
        let known = mutation
            .base_version
            .filter(|_| takes_back(mutation, found, applied));
        if let Some(known) = known {
            self.changes.events.push(HubEvent::ServerWentBack {
                key: mutation.key.clone(),
                known,
                found,
            });
        }
    }

    fn refused(&mut self, mutation: &Mutation, refusal: &Refusal) {
        let (key, kind) = (mutation.key.clone(), mutation.kind);
        if refusal.error_type.as_deref() == Some(CONDITION_FAILED) {
            self.changes.events.push(HubEvent::ConditionalSaveFailed {
                key: key.clone(),
                kind,
                patch: mutation.patch.clone(),
            });
        }
        self.changes.events.push(HubEvent::OutboxMutationFailed {
            key,
            kind,
            error_type: refusal.error_type.clone(),
            message: refusal.message.clone(),
        });
    }

    fn processed(&mut self, txn: &Txn<'_>, mutation: &Mutation, remote: &RemoteRecord) -> Result<(), Stop> {
        let def = txn.model(mutation.model())?;
        let record = Record::from_fields(def, &remote.fields).with_sync(Some(remote.sync));
        self.changes.events.push(HubEvent::OutboxMutationProcessed {
            kind: mutation.kind,
            record,
        });
        Ok(())
    }

    /// Changes what a parked mutation sets, and has it sent again.
    pub(super) fn edit(&mut self, txn: &mut Txn<'_>, seq: Seq, patch: FieldMap) -> Result<(), Stop> {
        let mutation = parked(txn, seq)?;
        if mutation.may_be_applied() {
            return Err(Stop::Refused(WriteError::MayBeApplied { seq }));
        }
        let def = txn.model(mutation.model())?;
        let state = txn.state(&mutation.key)?;
        let edited = decide_edit(txn.schema(), &def, &state, &mutation, patch)?;
        // It keeps its place, so a create behind it would be sent after it. To wait for that one could go round in circles.
        for parent in &edited.parents {
            if !mutation.parents.contains(parent) && waits_behind(&txn.state(parent)?, seq) {
                let (key, parent) = (mutation.key, parent.clone());
                return Err(WriteRefused::ParentBehind { key, parent }.into());
            }
        }
        self.append(txn, Origin::App, Some(seq), Change::Edited(edited))?;
        Ok(())
    }

    pub(super) fn retry(&mut self, txn: &mut Txn<'_>, seq: Seq) -> Result<(), Stop> {
        let mutation = parked(txn, seq)?;
        self.try_again(txn, Origin::App, mutation)
    }

    /// Has those tried again that are still parked for the schema's sake; the others are left alone.
    pub(super) fn retry_mismatched(&mut self, txn: &mut Txn<'_>, mutations: &[Seq]) -> Result<(), Stop> {
        for seq in mutations {
            let Some(mutation) = txn.mutation(*seq)? else {
                continue;
            };
            if mutation.awaits_schema().is_none() || txn.model(mutation.model()).is_err() {
                continue;
            }
            self.changes.events.push(HubEvent::OutboxMutationRetried {
                key: mutation.key.clone(),
                kind: mutation.kind,
            });
            self.try_again(txn, Origin::Sync, mutation)?;
        }
        Ok(())
    }

    /// One that may have been applied is asked about first.
    fn try_again(&mut self, txn: &mut Txn<'_>, origin: Origin, mutation: Mutation) -> Result<(), Stop> {
        let may_be_applied = mutation.may_be_applied();
        let seq = mutation.seq;
        let of = MutationRef {
            key: mutation.key,
            mutation: seq,
        };
        let change = if may_be_applied {
            Change::OutcomeUnknown(of)
        } else {
            Change::Retried(of)
        };
        self.append(txn, origin, Some(seq), change)?;
        Ok(())
    }

    /// Gives a parked mutation up. What was built on a refused create goes with it.
    pub(super) fn discard(&mut self, txn: &mut Txn<'_>, seq: Seq) -> Result<(), Stop> {
        let mutation = parked(txn, seq)?;
        let of = MutationRef {
            key: mutation.key,
            mutation: seq,
        };
        self.append(txn, Origin::App, Some(seq), Change::Discarded(of))?;
        Ok(())
    }
}

/// A mutation that is to be settled without being asked for, which comes before what others ask for: one that is damaged
/// waits as it is, and holds up nobody.
fn readable(txn: &Txn<'_>, seq: Seq) -> Result<Option<Mutation>, StorageError> {
    match txn.mutation(seq) {
        Err(error @ StorageError::Corrupt { .. }) => {
            tracing::warn!(%error, %seq, "a mutation that nobody will answer for cannot be read");
            Ok(None)
        }
        read => read,
    }
}

/// Whether a create of the record waits behind that change.
fn waits_behind(state: &RecordState, seq: Seq) -> bool {
    let mut creates = state
        .pending
        .iter()
        .filter(|other| other.kind == MutationKind::Create);
    creates.any(|create| create.seq > seq)
}

fn parked(txn: &Txn<'_>, seq: Seq) -> Result<Mutation, Stop> {
    match txn.mutation(seq)? {
        Some(mutation) if matches!(mutation.stage, Stage::Parked(_)) => Ok(mutation),
        _ => Err(Stop::Refused(WriteError::NotParked { seq })),
    }
}
