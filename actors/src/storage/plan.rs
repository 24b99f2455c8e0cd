//! What the writes of one command come to, decided before anything is written.
//!
//! Owns [`Plan`]: the order of cascades, and that later operations of a command see what earlier ones will do. The
//! decisions themselves are `landfall_core`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{
    Association, Change, FieldType, ModelDef, Record, RecordId, RecordKey, RecordState, SaveRequest, Seq,
    Value, Write, decide_delete, decide_save, planted,
};
use landfall_storage::{StorageError, Txn};

use super::write::Stop;
use super::{WriteError, WriteOp};

/// Records that one delete may take along; their mutations and entries are one transaction.
const CASCADE_MAX: usize = 100_000;

/// What one operation of the app comes to.
pub(super) enum Step {
    /// Nothing is written; the record as it is, if there is one.
    Unchanged(Option<Record>),
    /// These writes, in order; the record that was asked for comes last.
    Writes(Vec<Write>),
}

/// Decisions of one command, made before anything is written. Later operations see the effect of earlier ones.
#[derive(Default)]
pub(super) struct Plan {
    group: Option<Seq>,
    queue_changes: bool,
    decided: BTreeMap<RecordKey, RecordState>,
    next: u64,
}

impl Plan {
    /// Decisions of a command whose mutations belong together as this group, if they do.
    pub(super) fn new(group: Option<Seq>, queue_changes: bool) -> Self {
        Self {
            group,
            queue_changes,
            ..Self::default()
        }
    }

    /// Decides one operation.
    pub(super) fn decide(&mut self, txn: &Txn<'_>, op: WriteOp) -> Result<Step, Stop> {
        match op {
            WriteOp::Expect { key, row } => {
                let read = row.row().map(|row| txn.decode_row(row)).transpose()?;
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
            } => {
                let def = txn.model(&model)?;
                let base = base.row().map(|row| txn.decode_row(row)).transpose()?;
                let request = SaveRequest {
                    values,
                    base,
                    seen,
                    condition,
                    queued: self.queue_changes && def.syncable && !planted("queued-not-written"),
                    group: self.group,
                };
                self.save(txn, def, request)
            }
            WriteOp::Delete {
                key,
                condition,
                guard,
            } => {
                let def = txn.model(&key.model)?;
                let state = self.state(txn, &key)?;
                if let (Some(guard), Some(row)) = (&guard, &state.row)
                    && !guard
                        .bind(&def)
                        .map_err(landfall_core::WriteRefused::from)?
                        .matches(row)
                {
                    return Ok(Step::Unchanged(None));
                }
                let mut writes = Vec::new();
                self.delete(txn, &def, key, condition, &mut writes)?;
                Ok(if writes.is_empty() {
                    Step::Unchanged(None)
                } else {
                    Step::Writes(writes)
                })
            }
        }
    }

    fn save(&mut self, txn: &Txn<'_>, def: Arc<ModelDef>, request: SaveRequest) -> Result<Step, Stop> {
        let Some(id) = RecordId::of_values(&def, &request.values) else {
            // Validation says which key field is missing.
            decide_save(txn.schema(), &def, &RecordState::default(), request)?;
            unreachable!("validation refuses records without key fields");
        };
        let key = RecordKey {
            model: def.name.clone(),
            id,
        };
        let state = self.state(txn, &key)?;
        match decide_save(txn.schema(), &def, &state, request)? {
            Some(write) => {
                self.note(&def, state, &write)?;
                Ok(Step::Writes(vec![write]))
            }
            None => {
                let record = state.row.map(|row| Record::new(def, row).with_sync(state.sync));
                Ok(Step::Unchanged(record))
            }
        }
    }

    /// Deletes what belongs to the record, then the record, depth first (as the originals do).
    fn delete(
        &mut self,
        txn: &Txn<'_>,
        def: &ModelDef,
        key: RecordKey,
        condition: Option<landfall_core::Predicate>,
        writes: &mut Vec<Write>,
    ) -> Result<(), Stop> {
        let state = self.state(txn, &key)?;
        let queued = self.queue_changes && def.syncable && !planted("queued-not-written");
        // Decided first, so that a condition that fails leaves the children alone as well.
        let Some(write) = decide_delete(
            txn.schema(),
            def,
            &state,
            key.clone(),
            condition,
            queued,
            self.group,
        )?
        else {
            return Ok(());
        };
        if writes.len() >= CASCADE_MAX {
            return Err(Stop::Refused(WriteError::CascadeTooLarge {
                key,
                max: CASCADE_MAX,
            }));
        }
        // Noted before its children, so that records that refer to each other do not go round in circles.
        self.note(def, state, &write)?;
        for child in children(txn, def, &key.id)? {
            let child_def = txn.model(&child.model)?;
            self.delete(txn, &child_def, child, None, writes)?;
        }
        writes.push(write);
        Ok(())
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

/// Records that belong to a record by has-one and has-many relations.
fn children(txn: &Txn<'_>, def: &ModelDef, id: &RecordId) -> Result<Vec<RecordKey>, Stop> {
    let values: Vec<Value> = id.parts().iter().map(landfall_core::IdPart::to_value).collect();
    let mut found = Vec::new();
    for (field, association) in def.relations() {
        let fields = match association {
            Association::HasMany { associated_with } => associated_with,
            Association::HasOne {
                associated_with,
                targets,
            } if targets.is_empty() => associated_with,
            Association::HasOne { .. } | Association::BelongsTo { .. } => continue,
        };
        let FieldType::Model(model) = &field.ty else {
            continue;
        };
        let names: Vec<&str> = fields.iter().map(landfall_core::FieldName::as_str).collect();
        let ids = txn.referring(model, &names, &values)?;
        found.extend(ids.into_iter().map(|id| RecordKey {
            model: model.clone(),
            id,
        }));
    }
    Ok(found)
}
