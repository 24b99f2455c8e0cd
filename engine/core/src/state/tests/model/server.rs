//! A tiny model of AppSync: one record with versions and a tombstone, automerge or optimistic concurrency.
//!
//! Written from the server's contract, not from the engine. Invariants: 1. no version is given twice within a life;
//! 2. each accepted write has a later change time than all before; 3. one attempt of a mutation, as told apart by its
//! sequence number and conflict round, takes effect at most once.

use std::collections::BTreeSet;

use crate::mutation::{Mutation, MutationKind, Seq};
use crate::names::FieldName;
use crate::predicate::Predicate;
use crate::record::{FieldMap, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::ModelDef;
use crate::value::Value;

/// How long a tombstone is kept: longer than the clocks of a server's machines are apart.
const TOMBSTONE_LIFE_MS: i64 = 120_000;

/// What the server does with an update on an old version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Merges it field by field and calls that a success.
    Automerge,
    /// Refuses it.
    Optimistic,
}

/// What a client sends.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) mutation: Seq,
    round: u32,
    kind: MutationKind,
    fields: FieldMap,
    version: Option<RecordVersion>,
    condition: Option<Predicate>,
}

/// An update or delete that was accepted because it named the version that the server had.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) mutation: Seq,
    pub(super) kind: MutationKind,
    pub(super) fields: FieldMap,
    /// The record's fields before.
    pub(super) before: FieldMap,
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Applied(RemoteRecord),
    /// The version does not match, and nothing was done.
    VersionMismatch(RemoteRecord),
    /// A condition, or the existence of the record, does not hold; or the request is refused for another reason.
    Refused(Option<RemoteRecord>),
}

/// The server's one record and what subscribers were told of it.
#[derive(Debug)]
pub(super) struct Server {
    strategy: Strategy,
    item: Option<RemoteRecord>,
    clock_ms: i64,
    /// Every frame that may still arrive, in the order in which it was sent.
    pub(super) frames: Vec<RemoteRecord>,
    took_effect: BTreeSet<(Seq, u32)>,
    /// Fields whose value another client wrote, wholly or in part.
    foreign: BTreeSet<FieldName>,
    /// The same before the last request.
    pub(super) foreign_before: BTreeSet<FieldName>,
    /// How many requests named another version than the record had, whatever became of them.
    pub(super) mismatches: u32,
    /// What must never happen and did.
    pub(super) broken: Option<String>,
}

impl Request {
    pub(super) fn of(mutation: &Mutation) -> Self {
        Self {
            mutation: mutation.seq,
            round: mutation.conflict_rounds,
            kind: mutation.kind,
            fields: mutation.patch.clone(),
            version: mutation.base_version,
            condition: mutation.condition.clone(),
        }
    }
}

impl Server {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            item: None,
            clock_ms: 0,
            frames: Vec::new(),
            took_effect: BTreeSet::new(),
            foreign: BTreeSet::new(),
            foreign_before: BTreeSet::new(),
            mismatches: 0,
            broken: None,
        }
    }

    /// The record, tombstone included.
    pub(super) fn item(&self) -> Option<&RemoteRecord> {
        self.item.as_ref()
    }

    /// Whether that mutation ever took effect.
    pub(super) fn has_applied(&self, mutation: Seq) -> bool {
        self.took_effect
            .range((mutation, 0)..=(mutation, u32::MAX))
            .next()
            .is_some()
    }

    /// Handles a client's mutation. Says also what it accepted on the version that it named.
    pub(super) fn handle(&mut self, def: &ModelDef, request: &Request) -> (Answer, Option<Applied>) {
        self.foreign_before.clone_from(&self.foreign);
        let before = self
            .item
            .clone()
            .filter(|item| Some(item.sync.version) == request.version);
        let answer = self.decide(def, request);
        if matches!(answer, Answer::Applied(_)) && !self.took_effect.insert((request.mutation, request.round))
        {
            self.broken = Some(format!("{} took effect twice", request.mutation));
        }
        let applied = before
            .filter(|_| matches!(answer, Answer::Applied(_)))
            .map(|before| Applied {
                mutation: request.mutation,
                kind: request.kind,
                fields: request.fields.clone(),
                before: before.fields,
            });
        (answer, applied)
    }

    /// Another client writes on the newest version.
    pub(super) fn outside(&mut self, kind: MutationKind, fields: &FieldMap) {
        let writes = match (&self.item, kind) {
            (None, MutationKind::Create) => true,
            (Some(item), MutationKind::Update) => !item.sync.deleted,
            _ => false,
        };
        if writes {
            let before = self.item.as_ref().map(|item| &item.fields);
            let changed = fields.iter().filter(|(name, value)| {
                before
                    .and_then(|before| before.get(*name))
                    .unwrap_or(&Value::Null)
                    != *value
            });
            self.foreign.extend(changed.map(|(name, _)| name.clone()));
        }
        match (&self.item, kind) {
            (None, MutationKind::Create) => drop(self.put(fields.clone(), false)),
            (Some(item), MutationKind::Update) if !item.sync.deleted => {
                let fields = over(item.fields.clone(), fields);
                self.put(fields, false);
            }
            (Some(item), MutationKind::Delete) if !item.sync.deleted => {
                let fields = item.fields.clone();
                self.put(fields, true);
            }
            _ => {}
        }
    }

    /// The tombstone's time is over. It outlives every frame of its life but those of tombstones, which may come again.
    pub(super) fn purge(&mut self) {
        self.item = None;
        self.clock_ms += TOMBSTONE_LIFE_MS;
        self.foreign.clear();
        self.frames.retain(|frame| frame.sync.deleted);
    }

    fn decide(&mut self, def: &ModelDef, request: &Request) -> Answer {
        let item = match (&self.item, request.kind) {
            (None, MutationKind::Create) => return Answer::Applied(self.put(request.fields.clone(), false)),
            (None, _) => return Answer::Refused(None),
            (Some(item), MutationKind::Create) => return Answer::Refused(Some(item.clone())),
            (Some(item), _) => item.clone(),
        };
        if request.version != Some(item.sync.version) {
            self.mismatches += 1;
            let merges = self.strategy == Strategy::Automerge && request.kind == MutationKind::Update;
            if !merges || item.sync.deleted {
                return Answer::VersionMismatch(item);
            }
            let merged = automerge(&item.fields, &request.fields);
            for (name, value) in &merged {
                match (item.fields.get(name), value) {
                    (Some(old), value) if old == value => {}
                    // A list that was appended to still holds what others put there.
                    (Some(Value::List(_)), _) => drop(self.foreign.insert(name.clone())),
                    _ => drop(self.foreign.remove(name)),
                }
            }
            return Answer::Applied(self.put(merged, false));
        }
        let row: Vec<Value> = def
            .stored_fields()
            .map(|field| item.fields.get(&field.name).cloned().unwrap_or_default())
            .collect();
        let holds = request
            .condition
            .as_ref()
            .is_none_or(|c| c.bind(def).expect("it was checked").matches(&row));
        if !holds {
            return Answer::Refused(Some(item));
        }
        if request.kind == MutationKind::Update && item.sync.deleted {
            self.broken = Some(format!("{} names the version of a tombstone", request.mutation));
        }
        self.foreign.retain(|name| !request.fields.contains_key(name));
        match request.kind {
            MutationKind::Delete => Answer::Applied(self.put(item.fields, true)),
            // An update that names the version of a tombstone leaves it one.
            _ => Answer::Applied(self.put(over(item.fields, &request.fields), item.sync.deleted)),
        }
    }

    fn put(&mut self, mut fields: FieldMap, deleted: bool) -> RemoteRecord {
        fields.insert("id".into(), "t1".into());
        // Clients select every field, so absent ones arrive as null.
        for name in ["note", "rating", "tags", "title"] {
            fields.entry(name.into()).or_default();
        }
        self.clock_ms += 1;
        let version = self.item.as_ref().map_or(0, |item| item.sync.version.0) + 1;
        let sync = SyncMetadata {
            version: RecordVersion(version),
            last_changed_at_ms: self.clock_ms,
            deleted,
        };
        let record = RemoteRecord {
            id: "t1".into(),
            fields,
            sync,
        };
        self.frames.push(record.clone());
        self.item = Some(record.clone());
        record
    }
}

fn over(mut fields: FieldMap, patch: &FieldMap) -> FieldMap {
    fields.extend(patch.iter().map(|(name, value)| (name.clone(), value.clone())));
    fields
}

/// Scalars of the server stand, lists are appended, and what the server does not have is added.
fn automerge(stored: &FieldMap, incoming: &FieldMap) -> FieldMap {
    let mut merged = stored.clone();
    for (name, new) in incoming {
        match (merged.get_mut(name), new) {
            (Some(Value::List(items)), Value::List(more)) => items.extend(more.iter().cloned()),
            (Some(old), _) if !old.is_null() => {}
            _ => drop(merged.insert(name.clone(), new.clone())),
        }
    }
    merged
}
