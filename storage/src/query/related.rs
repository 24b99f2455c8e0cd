//! What is at the other end of a relation, for many records at once.
//!
//! Owns [`Snapshot::related`]: one pass over the other model, whatever the number of records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_core::{BoundPredicate, Predicate, Record, RecordId, Slot, identifier_at};

use super::relation::hop;
use super::seek::Way;
use crate::error::StorageError;
use crate::snapshot::Snapshot;
use crate::tables::record_key_of;

impl Snapshot {
    /// For each of the records, those at the other end of a relation that satisfy a predicate, in the order of their
    /// identifiers. All records are of the given model; one that refers to nothing has none.
    ///
    /// # Errors
    /// [`StorageError::BadQuery`] if the model has no such relation; otherwise as [`Snapshot::query`].
    pub fn related(
        &self,
        model: &str,
        relation: &str,
        records: &[Record],
        predicate: &Predicate,
    ) -> Result<Vec<Vec<Record>>, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let hop = hop(self, &model.def, relation)?;
            let other = &hop.other.def;
            let near = |record: &Record| identifier_at(&hop.near, record.values());
            let wanted: BTreeSet<RecordId> = records.iter().filter_map(near).collect();
            let bound = self.resolve(hop.other, predicate)?;
            let mut found: BTreeMap<RecordId, Vec<Record>> = BTreeMap::new();
            if hop.far.is_empty() {
                for id in wanted {
                    let record = self.record_at(hop.other, &record_key_of(&other.name, &id))?;
                    if let Some(record) = record.filter(|record| bound.matches(record.values())) {
                        found.insert(id, vec![record]);
                    }
                }
            } else {
                found = self.referring_to(hop.other, &hop.far, wanted, bound)?;
            }
            let at = |record: &Record| near(record).and_then(|id| found.get(&id).cloned());
            Ok(records
                .iter()
                .map(|record| at(record).unwrap_or_default())
                .collect())
        })
    }

    /// Records whose fields hold one of the identifiers, by identifier.
    fn referring_to(
        &self,
        other: &crate::catalog::ModelEntry,
        far: &[Slot],
        wanted: BTreeSet<RecordId>,
        predicate: BoundPredicate,
    ) -> Result<BTreeMap<RecordId, Vec<Record>>, StorageError> {
        let all = BoundPredicate::And(vec![
            BoundPredicate::Among(far.to_vec(), Arc::new(wanted)),
            predicate,
        ]);
        let mut keys: Vec<(RecordId, Vec<u8>)> = Vec::new();
        self.each_row(other, &Way::choose(other, &all), &all, |key, row| {
            keys.extend(identifier_at(far, row).map(|id| (id, key.to_vec())));
            Ok(true)
        })?;
        keys.sort_by(|a, b| a.1.cmp(&b.1));
        let mut found: BTreeMap<RecordId, Vec<Record>> = BTreeMap::new();
        for (id, key) in keys {
            let record = self.record_at(other, &key)?;
            found.entry(id).or_default().extend(record);
        }
        Ok(found)
    }
}
