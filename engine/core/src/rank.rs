//! Ranks: the place of a record in a sort order, kept without the record.
//!
//! Owns [`Rank`], which windows of observed queries and cursors of pages are made of. Where the values come from
//! (the record itself or one that it refers to) is the caller's business.
//!
//! Invariant: ranks order as [`BoundSort::compare`] orders the records, with ties in the order of identifiers.

use std::cmp::Ordering;

use crate::predicate::FieldSource;
use crate::record::RecordId;
use crate::sort::{BoundSort, Direction, compare_keys};
use crate::value::Value;

/// The place of a record in a sort order.
#[derive(Clone, Debug)]
pub struct Rank {
    values: Vec<(Value, Direction)>,
    id: RecordId,
}

impl Rank {
    /// The place of a record whose sort keys have these values.
    pub fn new(values: Vec<(Value, Direction)>, id: RecordId) -> Self {
        Self { values, id }
    }

    /// The place of a record by sort keys of its own.
    pub fn of<S: FieldSource + ?Sized>(sort: &BoundSort, source: &S, id: RecordId) -> Self {
        let values = sort
            .keys()
            .iter()
            .map(|(key, direction)| (key.value(source), *direction))
            .collect();
        Self { values, id }
    }

    /// The values of the sort keys with their directions, most significant first.
    pub fn values(&self) -> &[(Value, Direction)] {
        &self.values
    }

    /// The record.
    pub fn id(&self) -> &RecordId {
        &self.id
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_keys(&self.values, &other.values).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sort::Sort;
    use crate::test_support::{blog_model, row};

    #[test]
    fn ranks_order_as_the_records_do() {
        let def = blog_model("Todo");
        let keys = [Sort::descending("rating"), Sort::ascending("title")];
        let sort = BoundSort::bind(&keys, &def).expect("fields of the model");
        let rows: Vec<_> = [
            "title=b rating=1",
            "title=a rating=2",
            "title=a",
            "title=a rating=1",
        ]
        .iter()
        .map(|text| row(&def, text))
        .collect();
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                let (left, right) = (
                    Rank::of(&sort, a, RecordId::text(i.to_string())),
                    Rank::of(&sort, b, RecordId::text(j.to_string())),
                );
                assert_eq!(
                    left.cmp(&right),
                    sort.compare(a, b).then(i.cmp(&j)),
                    "{i} and {j}"
                );
            }
        }
    }

    #[test]
    fn ties_keep_the_order_of_identifiers() {
        let rank = |id: &str| Rank::new(vec![(1.into(), Direction::Descending)], id.into());
        assert!(rank("a") < rank("b") && rank("a") == rank("a"));
    }
}
