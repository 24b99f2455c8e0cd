//! What the store should hold, computed another way: edits are kept one by one and never folded, and which server
//! record is the newest is told by the server's clock instead of by versions.
//!
//! Calls nothing of `state.rs` and nothing of `mutation.rs`.

use std::collections::BTreeMap;

use crate::entry::{Change, Decision, Write};
use crate::mutation::{MutationKind, Seq, Stage};
use crate::record::{FieldMap, RemoteRecord, SyncMetadata};
use crate::schema::ModelDef;
use crate::state::RecordState;

/// One write of the app, and the mutation that carries it.
#[derive(Clone, Debug)]
struct Edit {
    mutation: Seq,
    kind: MutationKind,
    patch: FieldMap,
}

/// The shadow model of one record.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    /// The newest server record heard of.
    server: Option<RemoteRecord>,
    /// The last live record before the tombstone, while edits that came before the tombstone wait.
    last_live: Option<FieldMap>,
    edits: Vec<Edit>,
    visible: Option<FieldMap>,
}

impl Oracle {
    /// Takes in a change and what it did to the state; says what is wrong with that.
    pub(super) fn check(
        &mut self,
        def: &ModelDef,
        seq: Seq,
        change: &Change,
        before: &RecordState,
        after: &RecordState,
    ) -> Result<(), String> {
        match change {
            Change::Write(write) => self.write(seq, write, before, after)?,
            Change::Acknowledged(ack) => {
                self.gone(ack.mutation);
                self.hear(&ack.remote);
            }
            Change::Conflict(conflict) => {
                self.hear(&conflict.remote);
                match &conflict.decision {
                    Decision::AcceptRemote => self.gone(conflict.mutation),
                    Decision::Retry { kind, patch } => self.replace(conflict.mutation, *kind, patch),
                }
            }
            Change::Refused(refused) => {
                if let Some(remote) = &refused.remote {
                    self.hear(remote);
                }
            }
            Change::Discarded(of) => self.given_up(of.mutation),
            Change::Remote(remote) => self.hear(&remote.remote),
            Change::Evicted(_) => *self = Self::default(),
            _ => {}
        }
        if self.edits_nothing_gone() {
            self.last_live = None;
        }
        self.visible = self.expected();
        self.compare(def, after)?;
        check_version(before.sync, after.sync, matches!(change, Change::Evicted(_)))
    }

    fn hear(&mut self, remote: &RemoteRecord) {
        let newest = self.server.as_ref().map(|known| known.sync.last_changed_at_ms);
        if newest.is_none_or(|at| remote.sync.last_changed_at_ms > at) {
            if remote.sync.deleted {
                self.last_live = self.live().or(self.last_live.take());
            }
            self.server = Some(remote.clone());
        }
    }

    fn write(
        &mut self,
        seq: Seq,
        write: &Write,
        before: &RecordState,
        after: &RecordState,
    ) -> Result<(), String> {
        let newest = before.pending.last();
        match after.pending.len().checked_sub(before.pending.len()) {
            Some(1) => self.edits.push(Edit {
                mutation: seq,
                kind: write.kind,
                patch: write.patch.clone(),
            }),
            Some(0) => {
                let into = newest.ok_or("a write was folded into nothing")?;
                if into.stage != Stage::Queued {
                    return Err(format!(
                        "a write was folded into {}, which is {}",
                        into.seq,
                        into.stage.name()
                    ));
                }
                // A delete goes to the end with all that was folded before.
                let mutation = if write.kind == MutationKind::Delete {
                    seq
                } else {
                    into.seq
                };
                for edit in self.edits.iter_mut().filter(|edit| edit.mutation == into.seq) {
                    edit.mutation = mutation;
                }
                self.edits.push(Edit {
                    mutation,
                    kind: write.kind,
                    patch: write.patch.clone(),
                });
            }
            _ => {
                let undone = newest.ok_or("a write cancelled nothing")?;
                if (undone.kind, write.kind) != (MutationKind::Create, MutationKind::Delete) {
                    return Err(format!(
                        "{} was cancelled by a write that does not undo it",
                        undone.seq
                    ));
                }
                if undone.stage != Stage::Queued {
                    return Err(format!(
                        "{} was cancelled although it is {}",
                        undone.seq,
                        undone.stage.name()
                    ));
                }
                self.gone(undone.seq);
            }
        }
        Ok(())
    }

    /// Whether nobody edits what the server deleted: the oldest mutation, as it is sent, is no update.
    fn edits_nothing_gone(&self) -> bool {
        let Some(head) = self.edits.first() else {
            return true;
        };
        let mut edits = self.edits.iter().filter(|edit| edit.mutation == head.mutation);
        !edits.all(|edit| edit.kind == MutationKind::Update)
    }

    /// Whatever was built on a create that is given up goes with it.
    fn given_up(&mut self, mutation: Seq) {
        let made = |edit: &Edit| edit.kind == MutationKind::Create;
        if let Some(place) = self
            .edits
            .iter()
            .position(|edit| edit.mutation == mutation && made(edit))
        {
            let behind = &self.edits[place + 1..];
            let built_on = behind.iter().position(made).unwrap_or(behind.len());
            self.edits.drain(place..=place + built_on);
        }
        self.gone(mutation);
    }

    fn gone(&mut self, mutation: Seq) {
        self.edits.retain(|edit| edit.mutation != mutation);
    }

    fn replace(&mut self, mutation: Seq, kind: MutationKind, patch: &FieldMap) {
        let place = self.edits.iter().position(|edit| edit.mutation == mutation);
        self.gone(mutation);
        self.edits.insert(
            place.unwrap_or(0),
            Edit {
                mutation,
                kind,
                patch: patch.clone(),
            },
        );
    }

    /// The server's record, unless it is a tombstone.
    fn live(&self) -> Option<FieldMap> {
        self.server
            .as_ref()
            .filter(|record| !record.sync.deleted)
            .map(|record| record.fields.clone())
    }

    /// The server's record with the edits made on it one by one.
    fn expected(&self) -> Option<FieldMap> {
        let mut row = self.live();
        if row.is_none() {
            // Nothing to edit any more: until that is decided, the edits are shown on what there was.
            row.clone_from(&self.last_live);
        }
        for edit in &self.edits {
            match (edit.kind, &mut row) {
                (MutationKind::Create, _) => row = Some(edit.patch.clone()),
                (MutationKind::Delete, _) => row = None,
                (MutationKind::Update, Some(row)) => row.extend(edit.patch.clone()),
                (MutationKind::Update, None) => {}
            }
        }
        row
    }

    fn compare(&self, def: &ModelDef, state: &RecordState) -> Result<(), String> {
        let fail = |what: &str, expected: String, found: String| {
            Err(format!("{what} should be {expected}, but is {found}"))
        };
        let named = |row: Option<&Vec<crate::value::Value>>| {
            row.map(|row| {
                without_nulls(
                    def.stored_fields()
                        .map(|f| f.name.clone())
                        .zip(row.iter().cloned())
                        .collect(),
                )
            })
        };
        let (expected, found) = (self.visible.clone().map(without_nulls), named(state.row.as_ref()));
        if expected != found {
            return fail("the visible row", format!("{expected:?}"), format!("{found:?}"));
        }
        let waits = !self.edits.is_empty();
        let (expected, found) = (
            self.live()
                .or(self.last_live.clone())
                .filter(|_| waits)
                .map(without_nulls),
            named(state.shadow.as_ref()),
        );
        if expected != found {
            return fail(
                "the server's row kept aside",
                format!("{expected:?}"),
                format!("{found:?}"),
            );
        }
        let (expected, found) = (self.server.as_ref().map(|record| record.sync), state.sync);
        if expected != found {
            return fail(
                "the server's metadata",
                format!("{expected:?}"),
                format!("{found:?}"),
            );
        }
        let mut expected: Vec<Seq> = self.edits.iter().map(|edit| edit.mutation).collect();
        expected.dedup();
        let found: Vec<Seq> = state.pending.iter().map(|mutation| mutation.seq).collect();
        if expected != found {
            return fail("the queue", format!("{expected:?}"), format!("{found:?}"));
        }
        if let Some(head) = state.pending.first() {
            let version = head.base_version;
            if head.kind != MutationKind::Create && version.is_none() {
                return Err(format!("{} is the oldest and names no version", head.seq));
            }
            let tombstone = state.sync.filter(|sync| sync.deleted).map(|sync| sync.version);
            if head.kind == MutationKind::Update && version == tombstone {
                return Err(format!("{} names the version of a tombstone", head.seq));
            }
        }
        for mutation in &state.pending {
            self.compare_mutation(mutation.seq, mutation.kind, &mutation.patch)?;
        }
        Ok(())
    }

    /// A mutation carries all its edits: the last value of each field for a create or an update.
    fn compare_mutation(&self, seq: Seq, kind: MutationKind, patch: &FieldMap) -> Result<(), String> {
        let mut expected: BTreeMap<_, _> = BTreeMap::new();
        let mut first = None;
        let mut last = kind;
        for edit in self.edits.iter().filter(|edit| edit.mutation == seq) {
            first.get_or_insert(edit.kind);
            last = edit.kind;
            expected.extend(edit.patch.clone());
        }
        let expected_kind = if last == MutationKind::Delete {
            last
        } else {
            first.unwrap_or(last)
        };
        if last == MutationKind::Delete {
            expected.clear();
        }
        if kind != expected_kind || *patch != expected {
            return Err(format!(
                "{seq} should be {expected_kind:?} {expected:?}, but is {kind:?} {patch:?}"
            ));
        }
        Ok(())
    }
}

/// A version goes down only where a tombstone says that a life is over, or where the record was forgotten.
fn check_version(
    before: Option<SyncMetadata>,
    after: Option<SyncMetadata>,
    forgotten: bool,
) -> Result<(), String> {
    let fits = match (before, after) {
        (None, _) => true,
        (Some(_), None) => forgotten,
        (Some(before), Some(after)) => {
            after.version >= before.version
                || (before.deleted && after.last_changed_at_ms > before.last_changed_at_ms)
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!("the version went down from {before:?} to {after:?}"))
    }
}

fn without_nulls(fields: FieldMap) -> FieldMap {
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}
