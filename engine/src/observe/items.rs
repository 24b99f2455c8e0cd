//! The records of an observed query, kept up to date while changes come in.
//!
//! Owns [`Items`]. Invariant: after each change the items are what the query would find if it were run again.
//!
//! A query of one model is kept up to date from the changes alone (`window.rs`). One that follows relations is run
//! again when a record of any model that it involves changed, once for all changes that have come until then.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_core::{BoundPredicate, BoundSort, ModelDef, ModelName, Page, Rank, Record, RecordId};
use landfall_storage::{ChangeKind, Query, Reader, Snapshot, VisibleChange};

use super::window::{Filling, Window};
use crate::error::Error;

/// Records that satisfy a predicate, in the order of its sort keys.
#[derive(Debug)]
pub(super) enum Items {
    /// Kept up to date from the changes, but for pages of which too much has gone.
    Kept(Box<Kept>),
    /// Run again after changes.
    Asked(Box<Asked>),
}

#[derive(Debug)]
pub(super) struct Kept {
    def: Arc<ModelDef>,
    predicate: BoundPredicate,
    sort: BoundSort,
    window: Window<Record>,
}

#[derive(Debug)]
pub(super) struct Asked {
    query: Query,
    reader: Reader,
    models: Vec<ModelName>,
    records: Vec<Record>,
    total: usize,
    /// Whether something changed since it was asked.
    stale: bool,
}

impl Items {
    /// The result of a query in a snapshot.
    pub(super) fn new(
        def: &Arc<ModelDef>,
        query: Query,
        snapshot: &Snapshot,
        reader: &Reader,
    ) -> Result<Self, Error> {
        if query.follows_relations() {
            let mut asked = Asked {
                models: snapshot.models_of(&query)?,
                query,
                reader: reader.clone(),
                records: Vec::new(),
                total: 0,
                stale: false,
            };
            asked.ask(snapshot)?;
            return Ok(Self::Asked(Box::new(asked)));
        }
        let predicate = query.predicate.bind_for_query(def)?;
        let sort = BoundSort::bind(&query.sort, def)?;
        let mut filling = Filling::new(query.page);
        // One after another, in the order of the disk, since only those near the page are kept.
        snapshot.visit(&query.model, &query.predicate, |record| {
            if let Some(id) = record.id() {
                filling.put(Rank::of(&sort, record.values(), id), record);
            }
        })?;
        Ok(Self::Kept(Box::new(Kept {
            def: Arc::clone(def),
            predicate,
            sort,
            window: filling.finish(),
        })))
    }

    /// Takes one change in. Returns whether the result changed, or may have.
    pub(super) fn apply(&mut self, change: &VisibleChange) -> bool {
        match self {
            Self::Kept(kept) => kept.apply(change),
            Self::Asked(asked) => {
                let involved = asked.models.contains(&change.key.model);
                asked.stale |= involved;
                involved
            }
        }
    }

    /// Makes sure that the items are those of after the last change.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        if let Self::Asked(asked) = self
            && asked.stale
        {
            let snapshot = asked.reader.snapshot()?;
            asked.ask(&snapshot)?;
            // Only now: what could not be read is asked for again.
            asked.stale = false;
        }
        Ok(())
    }

    /// Whether the query has to be run again for its page to be known.
    pub(super) fn is_incomplete(&self) -> bool {
        match self {
            Self::Kept(kept) => kept.window.is_incomplete(),
            Self::Asked(_) => false,
        }
    }

    /// Records of the page that are news since this was last asked for, with those that have left it; `None` for all.
    pub(super) fn take_touched(&mut self) -> Option<BTreeSet<RecordId>> {
        match self {
            Self::Kept(kept) => kept.window.take_touched(),
            Self::Asked(_) => None,
        }
    }

    /// All of the page is news again.
    pub(super) fn touch_all(&mut self) {
        match self {
            Self::Kept(kept) => kept.window.touch_all(),
            // It always is.
            Self::Asked(_) => {}
        }
    }

    /// Whether a record is on the page.
    pub(super) fn shows(&self, id: &RecordId) -> bool {
        match self {
            Self::Kept(kept) => kept.window.shows(id),
            Self::Asked(asked) => asked
                .records
                .iter()
                .any(|record| record.id().as_ref() == Some(id)),
        }
    }

    /// Those of some records, or of all, that are on the page, in order, each with the one before it.
    pub(super) fn places_of(&self, ids: Option<&BTreeSet<RecordId>>) -> Vec<(Option<RecordId>, &Record)> {
        if let (Self::Kept(kept), Some(ids)) = (self, ids) {
            return kept.window.places_of(ids);
        }
        let mut before = None;
        let place = |record| (std::mem::replace(&mut before, Record::id(record)), record);
        self.page().map(place).collect()
    }

    /// The part of the result that the query asks for.
    pub(super) fn page(&self) -> Box<dyn Iterator<Item = &Record> + '_> {
        match self {
            Self::Kept(kept) => Box::new(kept.window.page()),
            Self::Asked(asked) => Box::new(asked.records.iter()),
        }
    }

    /// Number of records of the whole result.
    pub(super) fn total(&self) -> usize {
        match self {
            Self::Kept(kept) => kept.window.total(),
            Self::Asked(asked) => asked.total,
        }
    }
}

impl Kept {
    fn apply(&mut self, change: &VisibleChange) -> bool {
        if change.key.model != self.def.name {
            return false;
        }
        let total = self.window.total();
        let belongs = change.kind != ChangeKind::Delete && self.predicate.matches(change.record.values());
        let shown = if belongs {
            let rank = Rank::of(&self.sort, change.record.values(), change.key.id.clone());
            self.window.put(rank, change.record.clone())
        } else {
            self.window.remove(&change.key.id)
        };
        shown || total != self.window.total()
    }
}

impl Asked {
    fn ask(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let records = snapshot.query(&self.query)?;
        self.total = if self.query.page == Page::default() {
            records.len()
        } else {
            let count = snapshot.count(&self.query.model, &self.query.predicate)?;
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        self.records = records;
        Ok(())
    }
}
