//! What the author of each waiting mutation had seen, field by field, which tells whether the server let a change of
//! another writer be overwritten unseen.
//!
//! Computed from what the app can read, not from versions; shares no code with the rules.

use std::collections::BTreeMap;

use super::server::{Applied, Server};
use crate::entry::{Change, Decision};
use crate::mutation::{MutationKind, Seq};
use crate::names::FieldName;
use crate::record::FieldMap;
use crate::schema::ModelDef;
use crate::state::RecordState;
use crate::value::Value;

/// The values of each field that a reader has seen or knowingly overwritten.
pub(super) type Seen = BTreeMap<FieldName, Vec<Value>>;

/// What the authors of the waiting mutations had seen.
#[derive(Debug, Default)]
pub(super) struct Authors {
    seen: BTreeMap<Seq, Seen>,
    /// Whatever this store ever wrote: if another client writes the same, nobody can tell whose value it is.
    own: Seen,
}

impl Authors {
    /// What somebody sees who reads the record now. A value that is not sent yet stands for what its author had seen.
    pub(super) fn reader(&self, def: &ModelDef, state: &RecordState) -> Seen {
        let fields = def.stored_fields().enumerate();
        fields
            .map(|(slot, field)| {
                let mut values: Vec<Value> = state.row.iter().map(|row| row[slot].clone()).collect();
                let on_top = state
                    .pending
                    .iter()
                    .rfind(|m| m.kind == MutationKind::Create || m.patch.contains_key(&field.name));
                if let Some(under) = on_top.and_then(|m| self.seen.get(&m.seq)?.get(&field.name)) {
                    values.extend(under.clone());
                }
                (field.name.clone(), values)
            })
            .collect()
    }

    /// A write of somebody who had seen this went into a mutation.
    pub(super) fn wrote(&mut self, into: Seq, kind: MutationKind, patch: &FieldMap, seen: Seen) {
        for (name, value) in patch {
            self.own.entry(name.clone()).or_default().push(value.clone());
        }
        let known = self.seen.entry(into).or_default();
        for (name, values) in seen {
            match kind {
                MutationKind::Create => drop(known.insert(name, vec![Value::Null])),
                MutationKind::Update if !patch.contains_key(&name) => {}
                MutationKind::Update | MutationKind::Delete => drop(known.insert(name, values)),
            }
        }
    }

    /// Whoever decides to go on after a conflict has seen the server's record.
    pub(super) fn note(&mut self, change: &Change) {
        if let Change::Conflict(conflict) = change
            && matches!(conflict.decision, Decision::Retry { .. })
        {
            let known = self.seen.entry(conflict.mutation).or_default();
            for (name, value) in &conflict.remote.fields {
                known.entry(name.clone()).or_default().push(value.clone());
            }
        }
    }

    /// Says what the server let a mutation overwrite, on the version that it named, that its author had never seen.
    pub(super) fn check(&self, server: &Server, applied: &Applied) -> Result<(), String> {
        for name in &server.foreign_before {
            let theirs = applied.before.get(name).unwrap_or(&Value::Null);
            let overwritten = match applied.kind {
                MutationKind::Create => false,
                MutationKind::Update => applied.fields.get(name).is_some_and(|ours| ours != theirs),
                MutationKind::Delete => true,
            };
            let seen = self.seen.get(&applied.mutation).and_then(|seen| seen.get(name));
            let known = |values: Option<&Vec<Value>>| values.is_some_and(|values| values.contains(theirs));
            if overwritten && !known(seen) && !known(self.own.get(name)) {
                return Err(format!(
                    "{} overwrote {name}={theirs:?} of another writer, but had seen only {seen:?}",
                    applied.mutation
                ));
            }
        }
        Ok(())
    }
}
