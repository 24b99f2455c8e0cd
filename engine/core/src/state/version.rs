//! Which version a waiting mutation names, so that no change of another writer is overwritten unseen.
//!
//! Owns the handing over of versions and [`RecordState::own_since`]; the rows are `state.rs`.
//!
//! A mutation made behind another one of its record names no version yet: it is made on whatever comes of the one
//! before it. Invariant: while it names none, no other writer is known to have changed a field that it writes since
//! its author read the record. As soon as one has, it is *pinned* to the version that the oldest waiting mutation was
//! made on, and the server notices the clash. An update never names the version of a tombstone.

use super::{RecordState, Row};
use crate::mutation::{Mutation, MutationKind, Stage};
use crate::names::FieldName;
use crate::planted::planted;
use crate::record::{FieldMap, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::{KeyKind, ModelDef};
use crate::value::Value;

/// Below every version that a server gives: the change was made on no version of the server's record.
pub(crate) const NEVER_SEEN: RecordVersion = RecordVersion(0);

/// A server record that is about to be taken over.
pub(super) struct Arrival<'a> {
    pub(super) remote: &'a RemoteRecord,
    /// The server's row before; `None` if there was none, a tombstone, or the row of an earlier life.
    pub(super) before: Option<&'a Row>,
    /// The server's row now; `None` for a tombstone.
    pub(super) now: Option<&'a Row>,
    /// Whether it replaces a live record by one of a new life.
    pub(super) new_life: bool,
    /// Whether it is certainly the effect of the oldest waiting mutation and of nothing else.
    pub(super) answers: bool,
}

impl RecordState {
    /// Brings `own_since` and the waiting mutations up to date with a server record that is about to be taken over.
    /// Returns whether it is the effect of the oldest of them and of nothing else.
    pub(super) fn take_note(&mut self, def: &ModelDef, arrival: &Arrival<'_>) -> bool {
        if arrival.answers || self.is_echo(def, arrival) {
            self.own_since = Some(match self.sync {
                Some(known) if !known.deleted => self.own_since.unwrap_or(known.version),
                _ => NEVER_SEEN,
            });
            return true;
        }
        let hidden = if arrival.new_life {
            self.pin(|_| true)
        } else {
            self.pin_unseen(def, arrival.before, arrival.now)
        };
        // What a waiting edit hides is not seen by whoever reads this version.
        self.own_since = hidden.then(|| above(arrival.remote.sync.version));
        false
    }

    /// A write that is made on an old version hides what its author has not seen from later readers as well.
    pub(super) fn note_write(&mut self, base: Option<RecordVersion>) {
        if let (Some(base), Some(known)) = (base, self.sync)
            && base < known.version
        {
            self.own_since = Some(above(known.version));
        }
    }

    /// Pins what would overwrite a change of the server's row that its author cannot have seen. Returns whether a
    /// waiting mutation, the oldest included, hides such a change from readers.
    pub(super) fn pin_unseen(&mut self, def: &ModelDef, before: Option<&Row>, now: Option<&Row>) -> bool {
        let Some(now) = now else {
            // The record is gone, which nobody who edits it has seen; a reader sees it as soon as the edits are gone.
            self.pin(|_| true);
            return false;
        };
        // Whoever built on a create has seen nothing of a record that another writer made.
        let made = self
            .pending
            .first()
            .is_some_and(|head| head.kind == MutationKind::Create);
        let before = before.filter(|_| !made);
        self.pin(|mutations| {
            let writes = mutations.last().expect("a mutation and those before it");
            written(def, writes).any(|name| {
                let theirs = value(def, Some(now), name);
                let seen = |value: &Value| value.cmp_total(theirs).is_eq();
                // A value that this store writes itself is no news, whoever wrote it first.
                !seen(value(def, before, name))
                    && !mutations.iter().filter_map(|m| m.patch.get(name)).any(seen)
            })
        })
    }

    /// Pins each mutation of the current life for which `clashes` holds; it is shown those before it as well.
    fn pin(&mut self, clashes: impl Fn(&[Mutation]) -> bool) -> bool {
        let stale = self
            .pending
            .first()
            .and_then(|head| head.base_version)
            .unwrap_or(NEVER_SEEN);
        let mut clash = false;
        for index in 0..self.pending.len() {
            // What waits behind a create that is yet to be sent edits a record that is yet to be made.
            if index > 0 && self.pending[index].kind == MutationKind::Create {
                break;
            }
            if clashes(&self.pending[..=index]) {
                clash = true;
                if index > 0 && !planted("clash-not-pinned") {
                    self.pending[index].base_version.get_or_insert(stale);
                }
            }
        }
        clash
    }

    /// Hands a version over to the oldest mutation, after the server applied the one before it.
    ///
    /// If that one is not `alone` in the server's record, the next was made on a record that never was: it keeps the
    /// old version.
    pub(super) fn hand_over_applied(&mut self, applied: &Mutation, remote: &RemoteRecord, alone: bool) {
        if let Some(next) = self.heir() {
            let old = applied.base_version.unwrap_or(NEVER_SEEN);
            next.base_version = Some(if alone && !remote.sync.deleted {
                remote.sync.version
            } else {
                old
            });
        }
        if alone && self.has(remote.sync) {
            // The subscription may have brought the same version before the answer did.
            let known = self.own_since.filter(|since| *since <= remote.sync.version);
            self.own_since = known.or(applied.base_version).or(Some(NEVER_SEEN));
        }
    }

    /// Hands a version over to the oldest mutation, after the one before it was given up.
    ///
    /// It names none only if no change of another writer clashes with it, so the newest version is safe; a tombstone
    /// has no version to go on from.
    pub(super) fn hand_over_dropped(&mut self, dropped: &Mutation) {
        let live = self.sync.filter(|sync| !sync.deleted).map(|sync| sync.version);
        if let Some(next) = self.heir() {
            next.base_version = live.or(dropped.base_version).or(Some(NEVER_SEEN));
        }
    }

    fn heir(&mut self) -> Option<&mut Mutation> {
        let next = self.pending.first_mut()?;
        (next.base_version.is_none() && next.kind != MutationKind::Create && !planted("no-hand-over"))
            .then_some(next)
    }

    /// Version of a waiting update that hides a value of the server from whoever reads the record now, among the
    /// fields that `fields` names. `None` if everything of other writers can be seen.
    pub(crate) fn hidden_since(
        &self,
        def: &ModelDef,
        fields: impl Fn(&FieldName) -> bool,
    ) -> Option<RecordVersion> {
        let newest = self.sync?.version;
        let server = self.server_row();
        let hides = |mutation: &&Mutation| {
            mutation.base_version.is_some_and(|base| base != newest)
                && mutation
                    .patch
                    .iter()
                    .any(|(name, ours)| fields(name) && value(def, server, name).cmp_total(ours).is_ne())
        };
        self.pending.iter().find(hides)?.base_version
    }

    /// Whether this version is known, and known to be made by this store.
    pub(super) fn is_own(&self, sync: SyncMetadata) -> bool {
        self.has(sync) && self.own_since.is_some_and(|since| since < sync.version)
    }

    /// Whether what arrives is the effect of the oldest mutation, whose answer is still on its way: the next version,
    /// with its values, and nothing else changed.
    fn is_echo(&self, def: &ModelDef, arrival: &Arrival<'_>) -> bool {
        let Some(head) = self.pending.first() else {
            return false;
        };
        let may_be = matches!(head.stage, Stage::InFlight | Stage::Unknown)
            && is_effect(head, arrival.remote)
            && match (head.kind, self.sync) {
                (MutationKind::Create, known) => known.is_none_or(|known| known.deleted),
                (_, known) => known.is_some_and(|known| Some(known.version) == head.base_version),
            };
        may_be
            && match (head.kind, arrival.now) {
                (MutationKind::Delete, now) => now.is_none(),
                (_, now) => now.is_some_and(|now| {
                    let before = arrival.before.filter(|_| head.kind == MutationKind::Update);
                    writable(def).all(|name| {
                        let expected = head.patch.get(name).unwrap_or_else(|| value(def, before, name));
                        value(def, Some(now), name).cmp_total(expected).is_eq()
                    })
                }),
            }
    }
}

fn above(version: RecordVersion) -> RecordVersion {
    RecordVersion(version.0.saturating_add(1))
}

/// Whether a server record may be what a mutation alone made of the version that it was made on.
///
/// Each accepted write takes the next version, so a later one has other writers' changes in it; that the values are
/// there is not enough, since automerge may have added ours to theirs.
pub(super) fn is_effect(mutation: &Mutation, remote: &RemoteRecord) -> bool {
    let base = match (mutation.kind, mutation.base_version) {
        (MutationKind::Create, _) => NEVER_SEEN,
        (_, Some(base)) => base,
        (_, None) => return false,
    };
    base.0.checked_add(1) == Some(remote.sync.version.0)
        && remote.sync.deleted == (mutation.kind == MutationKind::Delete)
        && super::is_subset(&mutation.patch, &remote.fields)
}

/// Whether nobody else can have made what a mutation makes: an identifier of this store's own making.
pub(super) fn is_only_ours(def: &ModelDef, mutation: &Mutation) -> bool {
    mutation.kind == MutationKind::Create && def.key.kind == KeyKind::Managed
}

/// The fields that a mutation writes: those of its patch, or all of them if it makes or removes the record.
fn written<'a>(def: &'a ModelDef, mutation: &'a Mutation) -> impl Iterator<Item = &'a FieldName> {
    let all = mutation.kind != MutationKind::Update;
    let some: &FieldMap = &mutation.patch;
    some.keys()
        .filter(move |_| !all)
        .chain(writable(def).filter(move |_| all))
}

/// The stored fields that clients write; the others change with every version.
pub(super) fn writable(def: &ModelDef) -> impl Iterator<Item = &FieldName> {
    let fields = def
        .stored_fields()
        .filter(|field| !field.read_only && !def.key.fields.contains(&field.name));
    fields.map(|field| &field.name)
}

/// The value of a field; null if there is no row or the model does not store the field.
pub(super) fn value<'a>(def: &ModelDef, row: Option<&'a Row>, name: &FieldName) -> &'a Value {
    let slot = def.slot(name);
    row.zip(slot)
        .map_or(&Value::Null, |(row, slot)| &row[slot.index()])
}
