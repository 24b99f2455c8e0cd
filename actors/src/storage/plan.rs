//! What the writes of one command come to, decided before anything is written.
//!
//! Owns [`Plan`]: the order of cascades, and that later operations of a command see what earlier ones will do. The
//! decisions themselves are `landfall_core`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_core::{
    Base, Belonging, Change, FieldName, FieldType, ModelDef, ModelName, Predicate, Record, RecordId,
    RecordKey, RecordState, Row, SaveRequest, Schema, Seq, SyncMetadata, Value, Write, WriteRefused,
    decide_delete, decide_import, decide_save, keycode, planted,
};
use landfall_storage::{StorageError, Txn};

use super::write::Stop;
use super::{WriteError, WriteOp};

/// Records that the deletes of one command may take along; their mutations and entries are one transaction, all of it in memory.
const CASCADE_MAX: usize = 100_000;

/// What one operation of the app comes to.
pub(super) enum Step {
    /// Nothing is written; the record as it is, if there is one.
    Unchanged(Option<Record>),
    /// One write of a record whose state was read for it.
    Write(Box<(Write, RecordState)>),
    /// These writes, in order; the record that was asked for comes last.
    Writes(Vec<Write>),
}

/// A record that is saved: its values, what it was read from, the server's metadata then, and a condition.
type Saved = (Row, Base, Option<SyncMetadata>, Option<Predicate>);

/// How a save is decided.
type Rule = fn(&Schema, &ModelDef, &RecordState, SaveRequest) -> Result<Option<Write>, WriteRefused>;

/// Decisions of one command, made before anything is written. Later operations see the effect of earlier ones.
#[derive(Default)]
pub(super) struct Plan {
    group: Option<Seq>,
    /// Whether the command has one operation only.
    is_alone: bool,
    /// Whether it has a delete, whose cascade has to know of the saves beside it.
    deletes: bool,
    queue_changes: bool,
    decided: BTreeMap<RecordKey, RecordState>,
    /// Records that were saved, so that what belongs to what may be otherwise than the indexes say.
    saved: BTreeSet<RecordKey>,
    /// What the foreign keys of saved records have held, with those that held it; see [`place`]. Cascades look for children
    /// here, and a transaction may save as many records as it deletes.
    referring: BTreeMap<Vec<u8>, BTreeSet<RecordId>>,
    next: u64,
    /// Records that deletes have taken along so far, and how many they may.
    taken_along: usize,
    taken_along_max: usize,
    /// Set where the command takes something back: what it deletes, and that is all that may go.
    takes_back: Option<BTreeSet<RecordKey>>,
}

impl Plan {
    /// Decisions of a command of these operations, whose mutations belong together as this group, if they do.
    pub(super) fn new(group: Option<Seq>, ops: &[WriteOp], queue_changes: bool) -> Self {
        Self {
            group,
            is_alone: ops.len() == 1,
            deletes: ops.iter().any(|op| matches!(op, WriteOp::Delete { .. })),
            queue_changes,
            taken_along_max: CASCADE_MAX,
            ..Self::default()
        }
    }

    /// The same where these operations take back what was done before: a record that others refer to by now is not deleted,
    /// since what refers to it came since and would go along or be left without it.
    pub(super) fn taking_back(group: Option<Seq>, ops: &[WriteOp], queue_changes: bool) -> Self {
        let deleted = ops.iter().filter_map(|op| match op {
            WriteOp::Delete { key, .. } => Some(key.clone()),
            _ => None,
        });
        Self {
            takes_back: Some(deleted.collect()),
            ..Self::new(group, ops, queue_changes)
        }
    }

    /// Decides one operation.
    pub(super) fn decide(&mut self, txn: &Txn<'_>, op: WriteOp) -> Result<Step, Stop> {
        match op {
            WriteOp::Expect { key, row } => {
                let read = row.row().map(|row| txn.decode_row(&key.model, row)).transpose()?;
                if self.state(txn, &key)?.row == read {
                    Ok(Step::Unchanged(None))
                } else {
                    Err(Stop::Refused(WriteError::Changed { key }))
                }
            }
            WriteOp::Save {
                model,
                values,
                base,
                seen,
                condition,
            } => self.save(txn, &model, (values, base, seen, condition), decide_save),
            WriteOp::Import {
                model,
                values,
                base,
                seen,
            } => self.save(txn, &model, (values, base, seen, None), decide_import),
            WriteOp::Delete {
                key,
                condition,
                guard,
            } => {
                let def = txn.model(&key.model)?;
                let state = self.state(txn, &key)?;
                if let (Some(guard), Some(row)) = (&guard, &state.row)
                    && !guard.bind(&def).map_err(WriteRefused::from)?.matches(row)
                {
                    return Ok(Step::Unchanged(None));
                }
                let writes = self.delete(txn, def, key, condition)?;
                Ok(if writes.is_empty() {
                    Step::Unchanged(None)
                } else {
                    Step::Writes(writes)
                })
            }
        }
    }

    /// Whether changes of a model go to the server.
    fn is_sent(&self, def: &ModelDef) -> bool {
        self.queue_changes && def.sync.pushes() && !planted("queued-not-written")
    }

    fn save(
        &mut self,
        txn: &Txn<'_>,
        model: &ModelName,
        (values, base, seen, condition): Saved,
        rule: Rule,
    ) -> Result<Step, Stop> {
        let def = &txn.model(model)?;
        let base = base.row().map(|row| txn.decode_row(model, row)).transpose()?;
        let mut request = SaveRequest {
            values,
            base,
            seen,
            condition,
            queued: self.is_sent(def),
            group: self.group,
        };
        let Some(id) = RecordId::of_values(def, &request.values) else {
            // Validation says which key field is missing.
            rule(txn.schema(), def, &RecordState::default(), request)?;
            unreachable!("validation refuses records without key fields");
        };
        let key = RecordKey {
            model: def.name.clone(),
            id,
        };
        refuse_if_pulled(def, &key)?;
        let state = self.state(txn, &key)?;
        request.queued |= is_waiting(&state);
        match rule(txn.schema(), def, &state, request)? {
            // Nothing comes after it that would have to know.
            Some(write) if self.is_alone => Ok(Step::Write(Box::new((write, state)))),
            Some(write) => {
                self.note(def, state, &write)?;
                if self.deletes {
                    self.note_saved(txn.schema(), def, &write.key);
                }
                Ok(Step::Writes(vec![write]))
            }
            None => {
                let RecordState { row, sync, .. } = state;
                let record = row.map(|row| txn.record(&def.name, row, sync)).transpose()?;
                Ok(Step::Unchanged(record))
            }
        }
    }

    /// Deletes what belongs to the record, then the record, depth first (as the originals do).
    ///
    /// The way down is kept on the heap: relations may be as deep as there are records.
    fn delete(
        &mut self,
        txn: &Txn<'_>,
        def: Arc<ModelDef>,
        key: RecordKey,
        condition: Option<landfall_core::Predicate>,
    ) -> Result<Vec<Write>, Stop> {
        let mut writes = Vec::new();
        let mut todo = vec![Visit::Enter(def, key.clone(), condition)];
        while let Some(visit) = todo.pop() {
            let (def, met, condition) = match visit {
                Visit::Enter(def, met, condition) => (def, met, condition),
                Visit::Leave(write, begun) => {
                    let took_along = u32::try_from(writes.len() - begun).ok();
                    writes.push(Write { took_along, ..write });
                    continue;
                }
            };
            let state = self.state(txn, &met)?;
            let queued = self.is_sent(&def) || is_waiting(&state);
            let (schema, group) = (txn.schema(), self.group);
            // Decided before its children are, so that a condition that fails leaves them alone as well.
            let decision = decide_delete(schema, &def, &state, met.clone(), condition, queued, group)?;
            let Some(write) = decision else {
                continue;
            };
            refuse_if_pulled(&def, &met)?;
            self.refuse_if_needed(txn, &def, &met)?;
            if met != key {
                let max = self.taken_along_max;
                if self.taken_along >= max {
                    return Err(Stop::Refused(WriteError::CascadeTooLarge { key, max }));
                }
                self.taken_along += 1;
            }
            // Noted before its children, so that records that refer to each other do not go round in circles.
            self.note(&def, state, &write)?;
            todo.push(Visit::Leave(write, writes.len()));
            let met_children = self.children(txn, &def, &met.id)?;
            for child in met_children
                .into_iter()
                .rev()
                .filter(|_| !planted("cascade-stops"))
            {
                todo.push(Visit::Enter(txn.model(&child.model)?, child, None));
            }
        }
        Ok(writes)
    }

    /// Records that belong to a record by has-one and has-many relations, by what earlier operations have made of them.
    fn children(&self, txn: &Txn<'_>, def: &ModelDef, id: &RecordId) -> Result<Vec<RecordKey>, Stop> {
        let values = values_of(id);
        // Enough to find that there are too many, whatever earlier operations have decided of them.
        let most = self.taken_along_max + 1 + self.decided.len();
        let mut found = Vec::new();
        for (field, association) in def.relations() {
            let Some(fields) = association.held_there() else {
                continue;
            };
            let FieldType::Model(model) = &field.ty else {
                continue;
            };
            found.extend(self.holding(txn, model, fields, &values, most)?);
        }
        Ok(found)
    }

    /// Records of a model whose fields hold these values, by what earlier operations have made of them; `most` of those that
    /// are stored. Some of them may be deleted by now.
    fn holding(
        &self,
        txn: &Txn<'_>,
        model: &ModelName,
        fields: &[FieldName],
        values: &[Value],
        most: usize,
    ) -> Result<Vec<RecordKey>, Stop> {
        let names: Vec<&str> = fields.iter().map(FieldName::as_str).collect();
        let stored = txn.referring(model, &names, values, most)?.into_iter();
        let key_of = |id: RecordId| RecordKey {
            model: model.clone(),
            id,
        };
        let mut found: Vec<RecordKey> = stored
            .map(key_of)
            .filter(|key| !self.saved.contains(key))
            .collect();
        // The index does not know yet where these belong.
        let child = txn.model(model)?;
        let holds = |row: &Row| {
            let mut pairs = names.iter().zip(values);
            pairs.all(|(name, value)| child.slot(name).is_some_and(|slot| row[slot.index()] == *value))
        };
        let refers = |key: &RecordKey| {
            let row = self.decided.get(key).and_then(|state| state.row.as_ref());
            row.is_some_and(holds)
        };
        let saved = self.referring.get(&place(model, fields, values.iter()));
        let saved = saved.into_iter().flatten().cloned().map(key_of);
        found.extend(saved.filter(refers));
        Ok(found)
    }

    /// Where something is taken back, refuses to delete a record that others refer to which stay, whether they would be
    /// deleted with it or not.
    fn refuse_if_needed(&self, txn: &Txn<'_>, def: &ModelDef, key: &RecordKey) -> Result<(), Stop> {
        let Some(deleted) = &self.takes_back else {
            return Ok(());
        };
        let is_gone = |key: &RecordKey| self.decided.get(key).is_some_and(|state| state.row.is_none());
        let values = values_of(&key.id);
        // One more than those that do not count.
        let most = 1 + deleted.len() + self.decided.len();
        for child in txn.schema().models() {
            let belongings = txn.schema().belongings(&child.name).iter();
            for Belonging { by, .. } in belongings.filter(|belonging| belonging.to == def.name) {
                let mut found = self.holding(txn, &child.name, by, &values, most)?.into_iter();
                if let Some(by) = found.find(|by| !deleted.contains(by) && !is_gone(by)) {
                    let key = key.clone();
                    return Err(Stop::Refused(WriteError::StillNeeded { key, by }));
                }
            }
        }
        Ok(())
    }

    /// Remembers where a saved record belongs by now.
    fn note_saved(&mut self, schema: &Schema, def: &ModelDef, key: &RecordKey) {
        self.saved.insert(key.clone());
        let Some(row) = self.decided.get(key).and_then(|state| state.row.as_ref()) else {
            return;
        };
        for Belonging { by, .. } in schema.belongings(&def.name) {
            let values = by
                .iter()
                .filter_map(|field| def.slot(field))
                .map(|slot| &row[slot.index()]);
            let at = place(&def.name, by, values);
            self.referring.entry(at).or_default().insert(key.id.clone());
        }
    }

    fn state(&self, txn: &Txn<'_>, key: &RecordKey) -> Result<RecordState, Stop> {
        match self.decided.get(key) {
            Some(state) => Ok(state.clone()),
            None => Ok(txn.state(key)?),
        }
    }

    /// Remembers what a record will be, for later operations of the same command.
    fn note(&mut self, def: &ModelDef, mut state: RecordState, write: &Write) -> Result<(), Stop> {
        self.next += 1;
        let seq = Seq(u64::MAX - self.next);
        state
            .apply(def, seq, &Change::Write(write.clone()))
            .map_err(StorageError::from)?;
        self.decided.insert(write.key.clone(), state);
        Ok(())
    }
}

/// The parts of an identifier as the fields hold them that refer to it.
fn values_of(id: &RecordId) -> Vec<Value> {
    id.parts().iter().map(landfall_core::IdPart::to_value).collect()
}

/// What stands for certain values in certain fields of a model.
fn place<'v>(model: &ModelName, fields: &[FieldName], values: impl Iterator<Item = &'v Value>) -> Vec<u8> {
    let mut place = model.as_bytes().to_vec();
    for field in fields {
        place.push(0);
        place.extend_from_slice(field.as_bytes());
    }
    place.push(0);
    values.for_each(|value| keycode::encode_value(&mut place, value));
    place
}

/// Whether a change of the record waits for the server. Then whatever follows waits behind it, even where changes are not
/// sent any more: the row is what lies under the waiting changes with them on top, so that what is in neither would go with
/// the next answer.
fn is_waiting(state: &RecordState) -> bool {
    !state.pending.is_empty()
}

/// What is only pulled is not written, neither by itself nor along with what it belongs to.
fn refuse_if_pulled(def: &ModelDef, key: &RecordKey) -> Result<(), Stop> {
    if def.is_writable() {
        return Ok(());
    }
    Err(WriteRefused::PullOnly {
        model: def.name.clone(),
        key: key.clone(),
    }
    .into())
}

/// A step of a cascade.
enum Visit {
    /// Decide what becomes of a record, then of what belongs to it.
    Enter(Arc<ModelDef>, RecordKey, Option<landfall_core::Predicate>),
    /// What belongs to the record is decided; now it goes itself. With it, how many writes there were before it was entered.
    Leave(Write, usize),
}

#[cfg(test)]
mod tests;
