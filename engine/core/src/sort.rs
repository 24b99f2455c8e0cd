//! Sort orders and pages.
//!
//! Owns how records are ordered and cut. Nulls come first ascending; ties keep the order of identifiers.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::FieldName;
use crate::predicate::{FieldSource, PredicateError, unknown_field};
use crate::schema::{ComputedField, ModelDef, Slot};
use crate::value::{Value, ValueRef};

/// Direction of a sort key (Amplify's `SortDirection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Smallest first, nulls before everything.
    #[serde(rename = "ASCENDING")]
    Ascending,
    /// Largest first, nulls last.
    #[serde(rename = "DESCENDING")]
    Descending,
}

impl Direction {
    /// The order of two values in this direction, from their order in the ascending one.
    pub fn apply(self, ascending: Ordering) -> Ordering {
        match self {
            Self::Ascending => ascending,
            Self::Descending => ascending.reverse(),
        }
    }
}

/// The order of two records by the values of the same sort keys; equal if no key tells them apart.
pub fn compare_keys(a: &[(Value, Direction)], b: &[(Value, Direction)]) -> Ordering {
    let pairs = a.iter().zip(b);
    pairs
        .map(|((a, direction), (b, _))| direction.apply(a.cmp_total(b)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// One sort key.
///
/// ```
/// use landfall_core::{Direction, Sort};
///
/// let best_first = Sort::descending("rating");
/// assert_eq!((best_first.field.as_str(), best_first.direction), ("rating", Direction::Descending));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    /// The stored field, or a computed one; in a query also one of a related record, such as `blog.name`.
    pub field: FieldName,
    /// The direction.
    pub direction: Direction,
}

/// A page: `limit` records starting at record `page * limit`.
///
/// ```
/// use landfall_core::Page;
///
/// assert_eq!(Page::first(10).offset(), 0);
/// assert_eq!(Page { limit: Some(10), page: 2 }.offset(), 20);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Most records to return; `None` for all.
    pub limit: Option<usize>,
    /// Number of the page, from 0; needs a limit.
    pub page: usize,
}

/// Where a sort key finds its value.
#[derive(Clone, Debug, PartialEq)]
pub enum SortKey {
    /// In a row.
    Stored(Slot),
    /// It is computed.
    Computed(Arc<ComputedField>),
}

/// Sort keys resolved to slots, or to what computes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoundSort(Vec<(SortKey, Direction)>);

impl SortKey {
    /// Its value for a record.
    pub fn value<S: FieldSource + ?Sized>(&self, source: &S) -> Value {
        match self {
            Self::Stored(slot) => source.value_at(*slot).to_value(),
            Self::Computed(field) => field.value(source),
        }
    }

    /// The order of its value for a record and another value; a stored one is not copied for that.
    pub fn compare<S: FieldSource + ?Sized>(&self, source: &S, other: &ValueRef<'_>) -> Ordering {
        match self {
            Self::Stored(slot) => source.value_at(*slot).cmp_total(other),
            Self::Computed(field) => field.value(source).as_ref().cmp_total(other),
        }
    }
}

impl Sort {
    /// Smallest first.
    pub fn ascending(field: &str) -> Self {
        Self {
            field: field.into(),
            direction: Direction::Ascending,
        }
    }

    /// Largest first.
    pub fn descending(field: &str) -> Self {
        Self {
            field: field.into(),
            direction: Direction::Descending,
        }
    }
}

impl BoundSort {
    /// Resolves the keys against a model.
    ///
    /// # Errors
    /// [`PredicateError::UnknownField`] for the first key that is neither a stored field nor a computed one.
    pub fn bind(keys: &[Sort], def: &ModelDef) -> Result<Self, PredicateError> {
        keys.iter()
            .map(|key| {
                let computed = || def.computed(&key.field).cloned().map(SortKey::Computed);
                def.slot(&key.field)
                    .map(SortKey::Stored)
                    .or_else(computed)
                    .map(|found| (found, key.direction))
                    .ok_or_else(|| unknown_field(def, &key.field))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there is no key, so that records stay in identifier order.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> &[(SortKey, Direction)] {
        &self.0
    }

    /// Order of two records by the keys alone.
    pub fn compare<A: FieldSource + ?Sized, B: FieldSource + ?Sized>(&self, a: &A, b: &B) -> Ordering {
        for (key, direction) in &self.0 {
            let order = direction.apply(match key {
                SortKey::Stored(slot) => a.value_at(*slot).cmp_total(&b.value_at(*slot)),
                SortKey::Computed(field) => field.value(a).cmp_total(&field.value(b)),
            });
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Page {
    /// The first `limit` records.
    pub fn first(limit: usize) -> Self {
        Self {
            limit: Some(limit),
            page: 0,
        }
    }

    /// How many records come before the page.
    pub fn offset(&self) -> usize {
        self.limit.unwrap_or(0).saturating_mul(self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{blog_model, row, show_row};

    /// Sorts rows of `Todo` and writes them in order.
    fn sorted(keys: &[Sort], rows: &[&str]) -> Vec<String> {
        let def = blog_model("Todo");
        let sort = BoundSort::bind(keys, &def).expect("fields of the model");
        let mut rows: Vec<_> = rows.iter().map(|text| row(&def, text)).collect();
        rows.sort_by(|a, b| sort.compare(a, b));
        rows.iter().map(|values| show_row(&def, Some(values))).collect()
    }

    #[test]
    fn nulls_come_first_ascending_and_last_descending() {
        let rows = ["rating=2", "note=n", "rating=-1", "rating=10"];
        let expected = ["{note=n}", "{rating=-1}", "{rating=2}", "{rating=10}"];
        assert_eq!(sorted(&[Sort::ascending("rating")], &rows), expected);
        assert_eq!(
            sorted(&[Sort::descending("rating")], &rows),
            expected.into_iter().rev().collect::<Vec<_>>()
        );
    }

    #[test]
    fn later_keys_decide_among_equals_and_the_rest_keeps_its_order() {
        let rows = [
            "rating=1 title=b note=x",
            "title=a",
            "rating=1 title=a",
            "rating=1 title=b note=w",
        ];
        let keys = [Sort::descending("rating"), Sort::ascending("title")];
        let expected = [
            "{rating=1 title=a}",
            "{note=x rating=1 title=b}",
            "{note=w rating=1 title=b}",
            "{title=a}",
        ];
        assert_eq!(sorted(&keys, &rows), expected);
    }

    #[test]
    fn texts_sort_by_bytes_and_numbers_by_value() {
        assert_eq!(
            sorted(
                &[Sort::ascending("title")],
                &["title=b", "title=B", "title=ä", "title=aa", "title=a"]
            ),
            ["{title=B}", "{title=a}", "{title=aa}", "{title=b}", "{title=ä}"]
        );
        assert_eq!(
            sorted(
                &[Sort::ascending("rating")],
                &["rating=10", "rating=9.5", "rating=9"]
            ),
            ["{rating=9}", "{rating=9.5}", "{rating=10}"]
        );
    }

    #[test]
    fn without_keys_all_records_are_equal() {
        let def = blog_model("Todo");
        let sort = BoundSort::bind(&[], &def).expect("no key, no fault");
        assert!(sort.is_empty());
        assert_eq!(
            sort.compare(&row(&def, "title=a"), &row(&def, "title=b")),
            Ordering::Equal
        );
    }

    #[test]
    fn a_key_that_is_no_stored_field_is_refused() {
        let def = blog_model("Post");
        for name in ["size", "blog"] {
            let error = BoundSort::bind(&[Sort::ascending("title"), Sort::ascending(name)], &def);
            assert!(
                matches!(&error, Err(PredicateError::UnknownField { field, .. }) if *field == name),
                "{name}: {error:?}"
            );
        }
        let bound = BoundSort::bind(&[Sort::descending("title")], &def).expect("a stored field");
        assert_eq!(
            bound.keys(),
            [(
                SortKey::Stored(def.slot("title").expect("a slot")),
                Direction::Descending
            )]
        );
    }

    #[test]
    fn a_page_starts_after_the_pages_before_it() {
        assert_eq!(Page::default(), Page { limit: None, page: 0 });
        let cases = [
            (Page::first(10), 0),
            (
                Page {
                    limit: Some(10),
                    page: 3,
                },
                30,
            ),
            (Page { limit: None, page: 3 }, 0),
            (
                Page {
                    limit: Some(usize::MAX),
                    page: 3,
                },
                usize::MAX,
            ),
        ];
        for (page, offset) in cases {
            assert_eq!(page.offset(), offset, "{page:?}");
        }
    }
}
