//! What an observer is told, folded.
//!
//! Owns [`StreamFold`]: the records of a model as whoever listens to its changes has to believe they are.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{
    ChangeKind, DataStore, FieldMap, Observer, Predicate, Query, Record, RecordId, RecordKey, Seq,
};

use super::Fault;

/// How long an observer may be behind what readers see, in virtual milliseconds: longer than any fault of a disk.
///
/// While it is not known what became of a commit that the disk failed, readers may see it already, and observers are told
/// once it is known.
const BEHIND_MS_MAX: u64 = 3 * 60 * 1_000;

/// How closely is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At what has changed.
    Usual,
    /// At everything.
    Thorough,
    /// At everything, and for the last time: nothing may be behind any more.
    Last,
}

/// An observer of one model and what it was told.
pub(crate) struct StreamFold {
    model: String,
    observer: Observer<Record>,
    /// Changes up to here were in the records that it started from.
    start: Seq,
    newest: Seq,
    told: BTreeMap<RecordId, FieldMap>,
    /// Records of which it was behind when it was looked at, and since when.
    behind: BTreeMap<RecordId, u64>,
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
            behind: BTreeMap::new(),
        })
    }

    /// Listens to what came since, and compares it with what is there.
    pub(crate) fn check(
        &mut self,
        store: &DataStore,
        touched: &BTreeSet<RecordKey>,
        depth: Depth,
        now_ms: u64,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let of_model = touched.iter().filter(|key| *key.model == *self.model);
        let mut changed: BTreeSet<RecordId> = of_model.map(|key| key.id.clone()).collect();
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
            changed.insert(id.clone());
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
        changed.extend(self.behind.keys().cloned());
        let different = match depth {
            Depth::Usual => self.compare_some(store, &changed),
            Depth::Thorough | Depth::Last => self.compare_all(store),
        };
        let since = std::mem::take(&mut self.behind);
        for (id, what) in different {
            let since_ms = since.get(&id).copied().unwrap_or(now_ms);
            if depth == Depth::Last || now_ms.saturating_sub(since_ms) > BEHIND_MS_MAX {
                let key = RecordKey::new(self.model.as_str(), id.clone());
                faults.push(Fault::new("I10", &key, what));
            }
            self.behind.insert(id, since_ms);
        }
        faults
    }

    /// Where the observer believes something else than what is there; nothing if the disk cannot be read now.
    fn compare_all(&self, store: &DataStore) -> Vec<(RecordId, String)> {
        let Some(there) = records(store, &self.model) else {
            return Vec::new();
        };
        let all: BTreeSet<&RecordId> = there.keys().chain(self.told.keys()).collect();
        all.into_iter()
            .filter_map(|id| self.difference(id, there.get(id)))
            .collect()
    }

    /// The same of some records.
    fn compare_some(&self, store: &DataStore, ids: &BTreeSet<RecordId>) -> Vec<(RecordId, String)> {
        let compare = |id: &RecordId| {
            let there = store.records().get(self.model.as_str(), id).ok()?;
            self.difference(id, there.map(|record| record.to_fields()).as_ref())
        };
        ids.iter().filter_map(compare).collect()
    }

    fn difference(&self, id: &RecordId, there: Option<&FieldMap>) -> Option<(RecordId, String)> {
        let told = self.told.get(id);
        (there != told).then(|| {
            let what = format!("an observer believes that {id} is {told:?}, and it is {there:?}");
            (id.clone(), what)
        })
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
