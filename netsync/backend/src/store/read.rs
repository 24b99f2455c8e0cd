//! Reading records: one by key, pages by scan, by index, and of changes.
//!
//! Owns [`Reading`]. A page holds at most as many records as it evaluated; nothing else is kept in memory.

use std::ops::{Bound, ControlFlow};

use landfall_core::Value;
use landfall_storage::kv::{KvRange, KvRead, KvTable};

use super::key::{self, KeyCondition};
use super::{Store, tables};
use crate::compile::{IndexPlan, ModelPlan};
use crate::error::BackendError;
use crate::filter::Filter;
use crate::item::{Attributes, Item};

/// How much a page reads before it ends, in bytes as stored; DynamoDB's pages end at 1 MB as well.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// A way to read records: a snapshot or a transaction, at a time that decides which tombstones are gone.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) store: &'a Store,
    pub(crate) rows: &'a dyn KvRead,
    pub(crate) now_ms: i64,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PageOf {
    /// Those that the filter lets through.
    pub(crate) items: Vec<Item>,
    /// Key of the last row that was evaluated, if there are more rows behind it.
    pub(crate) next: Option<Vec<u8>>,
    /// How much was read for it, in bytes as stored, of rows that are there for the caller.
    pub(crate) bytes: usize,
    /// How much it passed over, in bytes as stored. It must not show in what the caller is answered.
    pub(crate) hidden: usize,
    /// Whether it ended before its end because passing over took too long; it is of no use then.
    pub(crate) gave_up: bool,
}

/// How many bytes of hidden rows are passed over before it is asked whether to go on.
pub(crate) const HIDDEN_ASKED_BYTES: usize = 256 * 1024;

/// How a page is read.
pub(crate) struct PageRequest<'a> {
    /// Key of the last row of the page before.
    pub(crate) after: Option<&'a [u8]>,
    /// Rows to evaluate, at least 1.
    pub(crate) limit: usize,
    /// Which rows there are for the caller; those that are not do not count as evaluated or read, so that neither the
    /// length of a page nor its token tells of them, up to a bound.
    pub(crate) visible: Option<&'a Filter>,
    /// The bound: how many bytes of rows that are not there for the caller are passed over before the page ends.
    pub(crate) hidden_bytes: usize,
    /// Asked every [`HIDDEN_ASKED_BYTES`] of them whether to go on. A bound on their bytes in sum would tell how many there are.
    pub(crate) goes_on: Option<&'a dyn Fn() -> bool>,
    /// Which of them to return.
    pub(crate) filter: Option<&'a Filter>,
    /// From the greatest key to the smallest.
    pub(crate) descending: bool,
}

impl Reading<'_> {
    /// The record with these key fields, live or tombstone.
    pub(crate) fn get(
        &self,
        plan: &ModelPlan,
        key_fields: &Attributes,
    ) -> Result<Option<Item>, BackendError> {
        let Some(key) = key::base_key(plan, key_fields) else {
            return Ok(None);
        };
        let item = self.base_row(&key)?;
        Ok(item.filter(|item| !self.store.is_gone(item, self.now_ms)))
    }

    /// A page of all records of a model.
    pub(crate) fn scan(&self, plan: &ModelPlan, request: &PageRequest<'_>) -> Result<PageOf, BackendError> {
        let range = KvRange::prefix(&tables::model_prefix(plan.name()));
        self.page(tables::BASE, range, request)
    }

    /// A page of the records that a key condition selects.
    pub(crate) fn query(
        &self,
        plan: &ModelPlan,
        index: Option<&IndexPlan>,
        condition: &KeyCondition,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        self.indexed(index, key::range(plan, index, condition), request)
    }

    /// A page of every record with this partition value, those without a sort value included.
    pub(crate) fn partition(
        &self,
        plan: &ModelPlan,
        index: Option<&IndexPlan>,
        partition: &Value,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        self.indexed(index, key::partition_range(plan, index, partition), request)
    }

    /// A page of changes at or after a time, in their order.
    pub(crate) fn changes(
        &self,
        plan: &ModelPlan,
        since_ms: i64,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        let from = Bound::Included(tables::delta_prefix(plan.name(), since_ms));
        let range = KvRange::between(from, KvRange::prefix(&tables::model_prefix(plan.name())).end());
        self.page(tables::DELTA, range, request)
    }

    fn indexed(
        &self,
        index: Option<&IndexPlan>,
        range: KvRange,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        let table = if index.is_some() {
            tables::INDEX
        } else {
            tables::BASE
        };
        self.page(table, range, request)
    }

    fn base_row(&self, key: &[u8]) -> Result<Option<Item>, BackendError> {
        let row = self.rows.get(tables::BASE, key)?;
        self.store.tally.read(usize::from(row.is_some()));
        row.map(|row| decode("base-1", &row)).transpose()
    }

    fn page(
        &self,
        table: KvTable,
        mut range: KvRange,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        if request.descending {
            range = range.descending();
        }
        if let Some(after) = request.after {
            range = range.after(after);
        }
        let mut page = PageOf::default();
        let (mut evaluated, mut last, mut fault) = (0, Vec::new(), None);
        let mut ask_at = HIDDEN_ASKED_BYTES;
        self.rows.scan(table, &range, &mut |key, value| {
            let full = evaluated == request.limit;
            let ends = page.bytes >= PAGE_BYTES_MAX || page.hidden > request.hidden_bytes;
            if ends || (full && request.visible.is_none()) {
                page.next = Some(std::mem::take(&mut last));
                return ControlFlow::Break(());
            }
            match self.row(table, value) {
                Ok((item, bytes)) => {
                    if request.visible.is_some_and(|visible| !visible.matches(&item)) {
                        page.hidden += bytes;
                        if page.hidden >= ask_at {
                            ask_at += HIDDEN_ASKED_BYTES;
                            page.gave_up = request.goes_on.is_some_and(|goes_on| !goes_on());
                        }
                        if page.gave_up {
                            return ControlFlow::Break(());
                        }
                        // Where the page ends by its bytes it goes on behind this row.
                        if !full {
                            last.clear();
                            last.extend_from_slice(key);
                        }
                        return ControlFlow::Continue(());
                    }
                    page.bytes += bytes;
                    if full {
                        page.next = Some(std::mem::take(&mut last));
                        return ControlFlow::Break(());
                    }
                    evaluated += 1;
                    last.clear();
                    last.extend_from_slice(key);
                    // Changes are told whatever became of the record since.
                    let gone = table != tables::DELTA && self.store.is_gone(&item, self.now_ms);
                    if !gone && request.filter.is_none_or(|filter| filter.matches(&item)) {
                        page.items.push(item);
                    }
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        self.store.tally.read(evaluated);
        fault.map_or(Ok(page), Err)
    }

    /// The record of a row, with its length: an index entry leads to a base row, other rows are records.
    fn row(&self, table: KvTable, value: &[u8]) -> Result<(Item, usize), BackendError> {
        if table == tables::DELTA {
            return Ok((decode("delta-1", value)?, value.len()));
        }
        if table == tables::BASE {
            return Ok((decode("base-1", value)?, value.len()));
        }
        let row = self
            .rows
            .get(tables::BASE, value)?
            .ok_or_else(|| BackendError::BadRow {
                table: "index-1",
                cause: "an entry names a record that is not there".to_owned(),
            })?;
        Ok((decode("base-1", &row)?, row.len()))
    }
}

pub(super) fn decode(table: &'static str, value: &[u8]) -> Result<Item, BackendError> {
    Item::decode(value).map_err(|cause| BackendError::BadRow { table, cause })
}
