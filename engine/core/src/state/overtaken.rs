//! The record on which a waiting mutation was made, which others may have changed since.
//!
//! What lies under a mutation is the server's record with the mutations before it on top. While nobody else writes, that
//! is what its author saw. As soon as something else brings another value, what the author saw is kept with the mutation
//! ([`Mutation::base`](crate::Mutation)), so that a conflict can be decided between three records and not two. Invariant:
//! the base of a mutation, or what lies under it if it has none, is the record on which it was made, as far as clients
//! write its fields.

use super::version::{value, writable};
use super::{RecordState, Row, apply_mutation, merge};
use crate::mutation::{Mutation, MutationKind, Seq};
use crate::names::FieldName;
use crate::record::{FieldMap, RemoteRecord};
use crate::schema::ModelDef;
use crate::value::Value;

/// What lies under each waiting mutation.
pub(super) type Views = Vec<(Seq, Option<Row>)>;

impl RecordState {
    /// What lies under each waiting mutation but `settled`; nothing under creates, which are made on nothing.
    pub(super) fn views(&self, def: &ModelDef, settled: Option<Seq>) -> Views {
        let is_asked = |seq: Seq, kind| Some(seq) != settled && kind != MutationKind::Create;
        // An answer to the only one that waits is the usual case, and needs no look.
        if !self.pending.iter().any(|m| is_asked(m.seq, m.kind)) {
            return Views::new();
        }
        let mut row = self.shadow.clone();
        let mut views = Views::with_capacity(self.pending.len());
        for mutation in &self.pending {
            if is_asked(mutation.seq, mutation.kind) {
                views.push((mutation.seq, row.clone()));
            }
            apply_mutation(&mut row, def, mutation.kind, &mutation.patch);
        }
        views
    }

    /// Keeps what the authors of the waiting mutations saw, where it lies under them no longer.
    pub(super) fn note_overtaken(&mut self, def: &ModelDef, before: &Views) {
        if before.is_empty() {
            return;
        }
        for (seq, now) in self.views(def, None) {
            let was = before.iter().find(|(of, _)| *of == seq);
            let mutation = self.pending.iter_mut().find(|mutation| mutation.seq == seq);
            let (Some((_, was)), Some(mutation)) = (was, mutation) else {
                continue;
            };
            // What there was of a record that is gone stays under it for as long as it is edited, but not under a delete.
            let stays = now.is_none() && mutation.kind == MutationKind::Update;
            if mutation.base.is_none() && !stays && differ(def, was.as_ref(), now.as_ref()) {
                mutation.base = Some(was.as_ref().map_or_else(FieldMap::new, |was| named(def, was)));
            }
        }
    }

    /// The newest mutation and what lies under it, if that is not the record on which it was made.
    pub(super) fn newest_overtaken(&self, def: &ModelDef) -> Option<(Mutation, Option<Row>)> {
        let newest = self.pending.last()?;
        newest.base.as_ref()?;
        let (_, under) = self.views(def, None).pop()?;
        Some((newest.clone(), under))
    }

    /// A write was folded into the newest mutation, which was `before` so. Whoever wrote it has seen what others have made
    /// of the fields that nothing of ours lay over.
    pub(super) fn see_again(&mut self, def: &ModelDef, before: (Mutation, Option<Row>), written: &FieldMap) {
        let (before, under) = before;
        let (Some(Mutation { base, kind, .. }), Some(mut seen)) = (self.pending.last_mut(), before.base)
        else {
            return;
        };
        let all = *kind == MutationKind::Delete;
        for name in writable(def) {
            let is_seen = !before.patch.contains_key(name) && (all || written.contains_key(name));
            match value(def, under.as_ref(), name) {
                _ if !is_seen => {}
                Value::Null => drop(seen.remove(name)),
                now => drop(seen.insert(name.clone(), now.clone())),
            }
        }
        *base = Some(seen);
    }

    /// What somebody has seen who decided a conflict with this record of the server; nothing if it is what lies under the
    /// mutations.
    pub(super) fn decided_on(&self, def: &ModelDef, remote: &RemoteRecord) -> Option<FieldMap> {
        let mut seen = self.shadow.clone()?;
        merge(&mut seen, def, &remote.fields);
        differ(def, self.shadow.as_ref(), Some(&seen)).then(|| named(def, &seen))
    }

    /// The record on which a waiting mutation was made; `None` for a create, and if nothing is known of it.
    pub fn base_of(&self, def: &ModelDef, mutation: Seq) -> Option<Row> {
        let waiting = self.pending.iter().find(|waiting| waiting.seq == mutation)?;
        if let Some(base) = &waiting.base {
            let mut row = vec![Value::Null; def.stored_len()];
            merge(&mut row, def, &waiting.key.id.to_fields(def));
            merge(&mut row, def, base);
            return Some(row);
        }
        let mut views = self.views(def, None).into_iter();
        views.find(|(seq, _)| *seq == mutation)?.1
    }
}

/// Whether two rows differ in a field that clients write; no row is one of nulls.
fn differ(def: &ModelDef, one: Option<&Row>, other: Option<&Row>) -> bool {
    writable(def).any(|name| value(def, one, name).cmp_total(value(def, other, name)).is_ne())
}

/// The fields of a row that are not null.
fn named(def: &ModelDef, row: &Row) -> FieldMap {
    let names = def.stored_fields().map(|field| field.name.clone());
    let fields = names.zip(row.iter().cloned());
    fields.filter(|(_, value)| !value.is_null()).collect()
}

/// The fields that clients write of which the server's record has another value than the record on which a change was
/// made: what others have changed. Everything that the server has if that record is not known; nothing of a tombstone.
pub fn changed_by_others(def: &ModelDef, base: Option<&Row>, remote: &RemoteRecord) -> Vec<FieldName> {
    if remote.sync.deleted {
        return Vec::new();
    }
    writable(def)
        .filter(|name| {
            // What the server's answer leaves out is as it was.
            let theirs = remote.fields.get(*name);
            theirs.is_some_and(|theirs| value(def, base, name).cmp_total(theirs).is_ne())
        })
        .cloned()
        .collect()
}
