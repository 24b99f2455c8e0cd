//! The records of an observed query, kept in order while changes come in.
//!
//! Owns [`Items`]. Invariant: after each change the items are what the query would find if it were run again.

use std::cmp::Ordering;
use std::sync::Arc;

use landfall_core::{BoundPredicate, BoundSort, ModelDef, ModelName, Page, Record, RecordId};
use landfall_storage::{ChangeKind, Query, VisibleChange};

use crate::error::Error;

/// Records that satisfy a predicate, in the order of its sort keys.
#[derive(Debug)]
pub(super) struct Items {
    def: Arc<ModelDef>,
    predicate: BoundPredicate,
    sort: BoundSort,
    page: Page,
    records: Vec<(RecordId, Record)>,
}

impl Items {
    pub(super) fn new(def: &Arc<ModelDef>, query: &Query) -> Result<Self, Error> {
        Ok(Self {
            predicate: query.predicate.bind(def)?,
            sort: BoundSort::bind(&query.sort, def)?,
            page: query.page,
            records: Vec::new(),
            def: Arc::clone(def),
        })
    }

    pub(super) fn model(&self) -> &ModelName {
        &self.def.name
    }

    /// Takes the first result, which is in order.
    pub(super) fn fill(&mut self, records: Vec<Record>) {
        self.records = records
            .into_iter()
            .filter_map(|record| Some((record.id()?, record)))
            .collect();
        // The store orders by encoded identifier; sorting by the identifier itself makes both the same.
        let sort = self.sort.clone();
        self.records.sort_by(|a, b| order(&sort, a, b));
    }

    /// Takes one change in. Returns whether the result changed.
    pub(super) fn apply(&mut self, change: &VisibleChange) -> bool {
        if change.key.model != self.def.name {
            return false;
        }
        let old = self.records.iter().position(|(id, _)| *id == change.key.id);
        if let Some(old) = old {
            self.records.remove(old);
        }
        let belongs = change.kind != ChangeKind::Delete && self.predicate.matches(change.record.values());
        if belongs {
            let item = (change.key.id.clone(), change.record.clone());
            let at = self
                .records
                .partition_point(|other| order(&self.sort, other, &item).is_lt());
            self.records.insert(at, item);
        }
        belongs || old.is_some()
    }

    /// The part of the result that the query asks for.
    pub(super) fn page(&self) -> impl Iterator<Item = &Record> {
        let limit = self.page.limit.unwrap_or(usize::MAX);
        self.records
            .iter()
            .map(|(_, record)| record)
            .skip(self.page.offset())
            .take(limit)
    }
}

fn order(sort: &BoundSort, a: &(RecordId, Record), b: &(RecordId, Record)) -> Ordering {
    sort.compare(a.1.values(), b.1.values())
        .then_with(|| a.0.cmp(&b.0))
}
