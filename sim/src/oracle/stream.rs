//! What an observer is told, folded.
//!
//! Owns [`StreamFold`]: the records of a model as whoever listens to its changes has to believe they are.

use std::collections::BTreeMap;

use landfall::{
    ChangeKind, DataStore, FieldMap, Observer, Predicate, Query, Record, RecordId, RecordKey, Seq,
};

use super::Fault;

/// An observer of one model and what it was told.
pub(crate) struct StreamFold {
    model: String,
    observer: Observer<Record>,
    /// Changes up to here were in the records that it started from.
    start: Seq,
    newest: Seq,
    told: BTreeMap<RecordId, FieldMap>,
}

impl StreamFold {
    /// Listens from here on; `None` if the store is gone.
    pub(crate) async fn open(store: &DataStore, model: &str) -> Option<Self> {
        let observer = store.records().observe(model, Predicate::All).await.ok()?;
        let snapshot = store.snapshot().ok()?;
        let (_, start) = snapshot.log_bounds().ok()?;
        let told = records(store, model)?;
        Some(Self {
            model: model.to_owned(),
            observer,
            start,
            newest: start,
            told,
        })
    }

    /// Listens to what came since, and compares it with what is there.
    pub(crate) fn check(&mut self, store: &DataStore) -> Vec<Fault> {
        let mut faults = Vec::new();
        while let Some(change) = self.observer.try_next() {
            let Ok(change) = change else { continue };
            let Some(id) = change.element.id() else { continue };
            if change.seq <= self.start {
                continue;
            }
            let key = RecordKey::new(self.model.as_str(), id.clone());
            if change.seq < self.newest {
                let what = format!(
                    "change {} of {key} was told after change {}",
                    change.seq, self.newest
                );
                faults.push(Fault::new("I10", &key, what));
            }
            self.newest = change.seq;
            let known = self.told.contains_key(&id);
            let fits = match change.kind {
                ChangeKind::Insert => !known,
                ChangeKind::Update | ChangeKind::Delete => known,
            };
            if !fits {
                let what = format!(
                    "an observer was told {:?} of {key}, which it {}",
                    change.kind,
                    if known { "knew" } else { "did not know" }
                );
                faults.push(Fault::new("I10", &key, what));
            }
            match change.kind {
                ChangeKind::Delete => self.told.remove(&id),
                ChangeKind::Insert | ChangeKind::Update => self.told.insert(id, change.element.to_fields()),
            };
        }
        faults.extend(self.compare(store));
        faults
    }

    fn compare(&self, store: &DataStore) -> Vec<Fault> {
        let Some(there) = records(store, &self.model) else {
            return Vec::new();
        };
        let all = there.keys().chain(self.told.keys());
        let different = all.filter(|id| there.get(*id) != self.told.get(*id));
        different
            .take(1)
            .map(|id| {
                let key = RecordKey::new(self.model.as_str(), id.clone());
                let what = format!(
                    "an observer believes that {key} is {:?}, and it is {:?}",
                    self.told.get(id),
                    there.get(id)
                );
                Fault::new("I10", &key, what)
            })
            .collect()
    }
}

fn records(store: &DataStore, model: &str) -> Option<BTreeMap<RecordId, FieldMap>> {
    let found = store.records().query(&Query::all(model)).ok()?;
    Some(
        found
            .into_iter()
            .filter_map(|record| Some((record.id()?, record.to_fields())))
            .collect(),
    )
}
