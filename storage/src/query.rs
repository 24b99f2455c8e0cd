//! Queries on a snapshot: which way to the records is shortest, and walking it.
//!
//! Owns [`Query`], the plan and its execution. Predicates are tested on encoded rows; only what is returned is decoded.
//!
//! Invariant: whatever the plan, the result is that of a full scan. Without sort keys records come in the order of
//! their identifiers; ties of a sort as well.

mod aggregate;
mod operand;
mod ordered;
mod plan;
mod related;
mod relation;
mod scan;
mod seek;
mod top;

use std::sync::Arc;

use redb::ReadableTable;

use landfall_core::{
    BoundPredicate, BoundSort, FieldSource, FieldType, ModelDef, ModelName, Op, Page, Predicate, Record,
    RecordId, Scalar, Slot, Sort, Value, keycode,
};

use crate::catalog::{Catalog, ModelEntry};
use crate::codec::head::HeadRef;
use crate::error::StorageError;
use crate::snapshot::{Snapshot, record, record_of};
use crate::tables::{INDEX, index_prefix, model_prefix, record_key_of};

pub use aggregate::{GROUPS_MAX, Group, Measure};
pub use ordered::{CURSOR_LEN_MAX, Cursor, Explanation, RecordPage};
use plan::KeyRange;
pub use plan::Plan;
pub use relation::Followed;
use seek::Way;
use top::Top;

/// Which records are wanted, in which order, and how many.
///
/// ```
/// use landfall_core::{Op, Page, Predicate, Sort};
/// use landfall_storage::Query;
///
/// let best = Query {
///     predicate: Predicate::field("rating", Op::Gt(3.into())),
///     sort: vec![Sort::descending("rating")],
///     page: Page::first(10),
///     ..Query::all("Post")
/// };
/// assert_eq!(best.page.offset(), 0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The model.
    pub model: ModelName,
    /// Which of its records.
    pub predicate: Predicate,
    /// In which order; by identifier if empty.
    pub sort: Vec<Sort>,
    /// Which part of them.
    pub page: Page,
}

impl Query {
    /// All records of a model.
    pub fn all(model: impl Into<ModelName>) -> Self {
        Self {
            model: model.into(),
            predicate: Predicate::All,
            sort: Vec::new(),
            page: Page::default(),
        }
    }
}

/// How many places from the first on a query has to know, whatever it skips.
fn wanted_of(query: &Query) -> usize {
    let end = |limit: usize| query.page.offset().saturating_add(limit);
    query.page.limit.map_or(usize::MAX, end)
}

/// A record that satisfies a predicate, as it is stored.
struct Found<'a> {
    key: &'a [u8],
    head: HeadRef<'a>,
    /// The bytes of the head, where they are kept by themselves.
    shared: Option<&'a Arc<[u8]>>,
}

impl Snapshot {
    /// The records that a query asks for.
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], [`StorageError::BadQuery`] and the disk's faults.
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, StorageError> {
        self.query_map(query, |record| record)
    }

    /// What is made of each of the records that a query asks for, while it is found: whoever wants another form of them than
    /// [`Record`] need not have all of them in both.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn query_map<T>(
        &self,
        query: &Query,
        mut make: impl FnMut(Record) -> T,
    ) -> Result<Vec<T>, StorageError> {
        self.said(|| {
            if query.follows_relations() {
                return Ok(self.query_following(query)?.into_iter().map(make).collect());
            }
            let model = self.catalog().model(&query.model)?;
            let predicate = query.predicate.bind_for_query(&model.def)?;
            let sort = BoundSort::bind(&query.sort, &model.def)?;
            let way = Way::choose(model, &predicate);
            let [plan] = way.plans() else {
                let records = self.query_by_seeks(model, query, &way, &predicate)?;
                return Ok(records.into_iter().map(make).collect());
            };
            let offset = query.page.offset();
            let wanted = wanted_of(query);
            if wanted == 0 {
                return Ok(Vec::new());
            }
            if sort.is_empty() && plan.is_in_key_order() {
                let mut made = Vec::new();
                let mut seen = 0;
                self.walk(model, plan, &predicate, |found| {
                    seen += 1;
                    if seen > offset {
                        made.extend(record(model, &found.head, found.shared)?.map(&mut make));
                    }
                    Ok(seen < wanted)
                })?;
                return Ok(made);
            }
            let records = self.sorted(model, plan, &predicate, sort, offset, wanted)?;
            Ok(records.into_iter().map(make).collect())
        })
    }

    /// Hands out the records of a model that satisfy a predicate one after another, in no order that could be relied on.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn visit(
        &self,
        model: &str,
        predicate: &Predicate,
        mut each: impl FnMut(Record),
    ) -> Result<(), StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let predicate = self.resolve(model, predicate)?;
            for plan in Way::choose(model, &predicate).plans() {
                self.walk(model, plan, &predicate, |found| {
                    if let Some(record) = record(model, &found.head, None)? {
                        each(record);
                    }
                    Ok(true)
                })?;
            }
            Ok(())
        })
    }

    /// Number of records that satisfy a predicate.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn count(&self, model: &str, predicate: &Predicate) -> Result<u64, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let predicate = self.resolve(model, predicate)?;
            let mut count = 0;
            for plan in Way::choose(model, &predicate).plans() {
                self.walk(model, plan, &predicate, |_| {
                    count += 1;
                    Ok(true)
                })?;
            }
            Ok(count)
        })
    }

    /// How a query would be carried out.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn explain(&self, query: &Query) -> Result<Plan, StorageError> {
        let model = self.catalog().model(&query.model)?;
        let predicate = query.predicate.bind_for_query(&model.def)?;
        BoundSort::bind(&query.sort, &model.def)?;
        Ok(plan::choose(model, &predicate))
    }

    fn sorted(
        &self,
        model: &ModelEntry,
        plan: &Plan,
        predicate: &BoundPredicate,
        sort: BoundSort,
        offset: usize,
        wanted: usize,
    ) -> Result<Vec<Record>, StorageError> {
        let mut top = Top::new(sort, wanted);
        self.walk(model, plan, predicate, |found| {
            if let Some(row) = found.head.row {
                top.offer(found.key, &model.row(row)?, row, found.head.sync);
            }
            Ok(true)
        })?;
        let chosen = top.into_sorted().into_iter().skip(offset);
        chosen.map(|(row, sync)| record_of(model, &row, sync)).collect()
    }

    /// Calls `found` with each matching record until it returns `false`.
    fn walk(
        &self,
        model: &ModelEntry,
        plan: &Plan,
        predicate: &BoundPredicate,
        mut visit: impl FnMut(&Found<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut look_at =
            |key: &[u8], bytes: &[u8], shared: Option<&Arc<[u8]>>| -> Result<bool, StorageError> {
                let Some(row) = HeadRef::row_in(bytes)? else {
                    return Ok(true);
                };
                if predicate.matches(&model.row(row)?) {
                    let head = HeadRef::parse(bytes)?;
                    visit(&Found { key, head, shared })
                } else {
                    Ok(true)
                }
            };
        match plan {
            Plan::Key(id) => {
                let key = record_key_of(&model.def.name, id);
                if let Some(head) = self.head(&key)? {
                    look_at(&key, head.bytes(), head.shared())?;
                }
            }
            // A range that ends before it begins; the database need not be asked.
            Plan::Index { range, .. } if range.is_empty() => {}
            Plan::Index { name, range, exact } => {
                let index = self.transaction().open_table(INDEX)?;
                let prefix = index_prefix(&model.def.name, name);
                let columns = model
                    .indexes
                    .iter()
                    .find(|i| i.name == *name)
                    .map_or(0, |i| i.slots.len());
                let mut key = model_prefix(&model.def.name);
                let model_prefix_len = key.len();
                // Where every field of the index has the one value, all entries begin with the same bytes.
                let columns_len = exact.then(|| range.prefix_len());
                for item in index.range::<&[u8]>(range.bounds(&prefix).as_bounds())? {
                    let (entry, _) = item?;
                    let id = &entry.value()[prefix.len()..];
                    key.truncate(model_prefix_len);
                    key.extend_from_slice(match columns_len {
                        Some(len) => id
                            .get(len..)
                            .ok_or_else(|| StorageError::corrupt("an index entry is cut short"))?,
                        None => keycode::skip(id, columns)?,
                    });
                    let head = self.head(&key)?;
                    let head = head.ok_or_else(|| StorageError::corrupt("an index entry names no record"))?;
                    if !look_at(&key, head.bytes(), head.shared())? {
                        break;
                    }
                }
            }
            Plan::Keys(range) if range.is_empty() => {}
            Plan::Keys(range) => self.scan_within(model, range, &mut |key, head| look_at(key, head, None))?,
            Plan::Scan => self.scan(model, &mut |key, head| look_at(key, head, None))?,
        }
        Ok(())
    }
}

/// Identifiers of visible records whose fields hold the parts of an identifier; see `Txn::referring`.
pub(crate) fn referring(
    catalog: &Catalog,
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    index: &impl ReadableTable<&'static [u8], ()>,
    model: &ModelName,
    fields: &[&str],
    (values, most): (&[Value], usize),
) -> Result<Vec<RecordId>, StorageError> {
    assert_eq!(
        fields.len(),
        values.len(),
        "a reference has one value for each of its fields"
    );
    let model = catalog.model(model)?;
    // An unknown field must not be passed over: without it the others would select too many records.
    Predicate::And(
        fields
            .iter()
            .map(|field| Predicate::field(field, Op::Ne(Value::Null)))
            .collect(),
    )
    .bind(&model.def)?;
    let slots: Vec<Slot> = fields.iter().filter_map(|field| model.def.slot(field)).collect();
    let values: Vec<Value> = slots
        .iter()
        .zip(values)
        .map(|(slot, value)| as_stored(&model.def, *slot, value))
        .collect();
    let mut ids = Vec::new();
    if slots.is_empty() || values.iter().any(Value::is_null) {
        return Ok(ids);
    }
    if let Some(found) = model.indexes.iter().find(|index| index.slots.starts_with(&slots)) {
        let prefix = index_prefix(&model.def.name, &found.name);
        let mut start = prefix.clone();
        for value in &values {
            keycode::encode_value(&mut start, value);
        }
        for item in index
            .range::<&[u8]>(KeyRange::default().bounds(&start).as_bounds())?
            .take(most)
        {
            let (entry, _) = item?;
            ids.push(keycode::decode_id(keycode::skip(
                &entry.value()[prefix.len()..],
                found.slots.len(),
            )?)?);
        }
        return Ok(ids);
    }
    let prefix = model_prefix(&model.def.name);
    for item in records.range::<&[u8]>(KeyRange::default().bounds(&prefix).as_bounds())? {
        let (key, head) = item?;
        let Some(row) = HeadRef::parse(head.value())?.row else {
            continue;
        };
        let row = model.row(row)?;
        if slots
            .iter()
            .zip(&values)
            .all(|(slot, value)| row.value_at(*slot).cmp_total(&value.as_ref()).is_eq())
        {
            ids.push(keycode::decode_id(&key.value()[prefix.len()..])?);
            if ids.len() >= most {
                break;
            }
        }
    }
    Ok(ids)
}

/// A part of an identifier as a field holds it that refers to it: identifiers keep floats as text.
fn as_stored(def: &ModelDef, slot: Slot, value: &Value) -> Value {
    match (&def.stored_field(slot).ty, value) {
        (FieldType::Scalar(Scalar::Float), Value::String(text)) => {
            text.parse().map_or(Value::Null, Value::Float)
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests;
