//! Which rows a base sync reads: the whole table, or the part of it that the filter demands outright.
//!
//! Owns the choice of the key or index. Amplify's template looks at the first two members of `and` only, and loses
//! predicates while it does; here every comparison that must hold is looked at, and the whole filter is applied to what
//! was read. Invariant: the rows are those of a scan with the same filter, in another order.

use landfall_core::{FieldType, Scalar, Value};

use crate::compile::{IndexPlan, KeyPlan, ModelPlan};
use crate::error::BackendError;
use crate::filter::{Comparison, Filter};
use crate::store::{KeyCondition, PageOf, PageRequest, Reading, SortCondition};

/// A way to the rows of a base sync.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access<'p> {
    /// The partition to read; `None` for a scan.
    narrowed: Option<Narrowed<'p>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Narrowed<'p> {
    /// `None` for the table's own key.
    index: Option<&'p IndexPlan>,
    condition: KeyCondition,
}

/// How much a condition on the sort key narrows; a key with none narrows least.
type Rank = u8;

impl<'p> Access<'p> {
    /// Chooses for a filter: the key whose partition it demands and whose sort field it narrows most, the table's own
    /// before an index, as it needs no second look-up. Rows come in the order of the key, so only keys are chosen whose
    /// fields `may_order_by` lets the caller order by.
    pub(super) fn choose(
        plan: &'p ModelPlan,
        filter: Option<&Filter>,
        may_order_by: impl Fn(&str) -> bool,
    ) -> Self {
        let mut demands = Vec::new();
        if let Some(filter) = filter {
            collect(filter, &mut demands);
        }
        let keys = std::iter::once((None, &plan.key))
            .chain(plan.indexes.iter().map(|index| (Some(index), &index.key)))
            .filter(|(_, key)| key.fields().all(|field| may_order_by(field)));
        let mut best: Option<(Rank, Narrowed<'p>)> = None;
        for (index, key) in keys {
            let Some((rank, condition)) = narrow(plan, key, &demands) else {
                continue;
            };
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                best = Some((rank, Narrowed { index, condition }));
            }
        }
        Self {
            narrowed: best.map(|(_, narrowed)| narrowed),
        }
    }

    /// What is read, in a word that page tokens are bound to and traces show: `scan`, `table` or the index's name.
    pub(super) fn name(&self) -> &str {
        match &self.narrowed {
            None => "scan",
            Some(narrowed) => narrowed.index.map_or("table", |index| index.name.as_str()),
        }
    }

    /// Whether less than the whole table is read.
    pub(super) fn is_query(&self) -> bool {
        self.narrowed.is_some()
    }

    /// Whether a part of the partition is read by its sort key.
    pub(super) fn is_sorted(&self) -> bool {
        self.narrowed
            .as_ref()
            .is_some_and(|narrowed| narrowed.condition.sort.is_some())
    }

    /// Reads a page.
    pub(super) fn read(
        &self,
        reading: &Reading<'_>,
        plan: &ModelPlan,
        request: &PageRequest<'_>,
    ) -> Result<PageOf, BackendError> {
        match &self.narrowed {
            None => reading.scan(plan, request),
            // Records without a sort value are in the partition, and a comparison of their sort value is false.
            Some(Narrowed { index, condition }) if condition.sort.is_none() => {
                reading.partition(plan, *index, &condition.partition, request)
            }
            Some(Narrowed { index, condition }) => reading.query(plan, *index, condition, request),
        }
    }
}

/// The comparisons that must hold for the filter to hold.
fn collect<'f>(filter: &'f Filter, demands: &mut Vec<(&'f str, &'f Comparison)>) {
    match filter {
        Filter::All(members) => members.iter().for_each(|member| collect(member, demands)),
        Filter::Compare(field, comparison) => demands.push((field, comparison)),
        // One member of an `or` is as good as another, but one alone decides.
        Filter::Any(members) if members.len() == 1 => collect(&members[0], demands),
        Filter::Any(_) | Filter::Not(_) => {}
    }
}

fn narrow(plan: &ModelPlan, key: &KeyPlan, demands: &[(&str, &Comparison)]) -> Option<(Rank, KeyCondition)> {
    let on = |field: &str| {
        let field = field.to_owned();
        demands
            .iter()
            .filter(move |(name, _)| *name == field)
            .map(|(_, comparison)| *comparison)
    };
    let partition = on(&key.partition).find_map(|comparison| match comparison {
        Comparison::Eq(value) if !value.is_null() => Some(value.clone()),
        _ => None,
    })?;
    // Several sort fields are joined to one text, which orders otherwise than they do.
    let sort = match key.sort.as_slice() {
        [only] if is_exact(plan, only) => on(only).filter_map(sort_condition).max_by_key(|(rank, _)| *rank),
        _ => None,
    };
    let (rank, sort) = sort.map_or((0, None), |(rank, sort)| (rank, Some(sort)));
    Some((rank, KeyCondition { partition, sort }))
}

/// Whether keys of the field sort exactly as its values compare; floats are rounded on their way into a key.
fn is_exact(plan: &ModelPlan, field: &str) -> bool {
    plan.attributes
        .get(field)
        .is_some_and(|def| def.ty != FieldType::Scalar(Scalar::Float))
}

fn sort_condition(comparison: &Comparison) -> Option<(Rank, SortCondition)> {
    let usable = |value: &Value| matches!(value, Value::String(_) | Value::Int(_)).then(|| value.clone());
    Some(match comparison {
        Comparison::Eq(value) => (4, SortCondition::Eq(usable(value)?)),
        Comparison::Between(low, high) => (3, SortCondition::Between(usable(low)?, usable(high)?)),
        Comparison::BeginsWith(text) => (2, SortCondition::BeginsWith(text.clone())),
        Comparison::Lt(value) => (1, SortCondition::Lt(usable(value)?)),
        Comparison::Le(value) => (1, SortCondition::Le(usable(value)?)),
        Comparison::Gt(value) => (1, SortCondition::Gt(usable(value)?)),
        Comparison::Ge(value) => (1, SortCondition::Ge(usable(value)?)),
        _ => return None,
    })
}
