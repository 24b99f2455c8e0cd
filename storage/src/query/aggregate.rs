//! Counts, sums, extremes and averages, over all records of a predicate or over groups of them.
//!
//! Owns [`Measure`], [`Group`] and the folding. Values are read from encoded rows; no record is decoded.
//!
//! Rules are SQL's: nulls take no part, an aggregate of nothing is null (a count is 0), nulls of the grouping field
//! are a group of their own. A sum of integers that exceeds 64 bits becomes a float.

use std::cmp::Ordering;

use landfall_core::{
    BoundPredicate, FieldName, FieldSource, ModelDef, Predicate, PredicateError, Slot, SortKey, Value,
    ValueRef,
};

use super::operand::Kind;
use super::seek::Way;
use crate::error::StorageError;
use crate::snapshot::Snapshot;

/// Groups that one aggregate may have; each is held in memory.
pub const GROUPS_MAX: usize = 1_000_000;

/// What is computed over the records of a group; `DataStore::aggregate` does so with types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Number of records.
    Count,
    /// Smallest value of a field.
    Min(FieldName),
    /// Largest value of a field.
    Max(FieldName),
    /// Sum of a numeric field.
    Sum(FieldName),
    /// Average of a numeric field, a float.
    Avg(FieldName),
}

/// What was computed over the records that share a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value that they share; null if the field is missing, or nothing was grouped by.
    pub key: Value,
    /// One result for each measure, in their order.
    pub values: Vec<Value>,
}

impl Measure {
    fn name(&self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Min(_) => "min",
            Self::Max(_) => "max",
            Self::Sum(_) => "sum",
            Self::Avg(_) => "avg",
        }
    }

    fn bind(&self, def: &ModelDef) -> Result<Option<Slot>, PredicateError> {
        let (field, numeric) = match self {
            Self::Count => return Ok(None),
            Self::Min(field) | Self::Max(field) => (field, false),
            Self::Sum(field) | Self::Avg(field) => (field, true),
        };
        let slot = bound(def, field)?;
        let fits = match Kind::of(def, slot) {
            Some(Kind::Int | Kind::Float) => true,
            Some(Kind::Bool | Kind::Text) => !numeric,
            None => false,
        };
        if fits {
            Ok(Some(slot))
        } else {
            Err(bad(def, slot, self.name()))
        }
    }
}

fn bound(def: &ModelDef, field: &FieldName) -> Result<Slot, PredicateError> {
    let bound = landfall_core::BoundSort::bind(&[landfall_core::Sort::ascending(field)], def)?;
    match bound.keys()[0].0 {
        SortKey::Stored(slot) => Ok(slot),
        SortKey::Computed(_) => Err(PredicateError::Computed {
            model: def.name.clone(),
            field: field.clone(),
        }),
    }
}

fn bad(def: &ModelDef, slot: Slot, op: &'static str) -> PredicateError {
    let field = def.stored_field(slot);
    PredicateError::BadOperator {
        model: def.name.clone(),
        field: field.name.clone(),
        op,
        ty: field.to_string(),
    }
}

/// A value while it is being folded.
#[derive(Clone, Debug)]
enum Folding {
    Count(u64),
    Extreme(Option<Value>, Ordering),
    Sum(Total),
    Average(Total),
}

/// A sum of numbers. Floats are added with what was lost to rounding kept beside them (Neumaier), so that the order
/// of the records hardly matters.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    count: u64,
    whole: i128,
    float: f64,
    lost: f64,
    has_float: bool,
}

impl Total {
    fn add(&mut self, value: &ValueRef<'_>) {
        match value {
            ValueRef::Int(number) => self.whole += i128::from(*number),
            ValueRef::Float(number) => {
                let sum = self.float + number;
                self.lost += if self.float.abs() >= number.abs() {
                    (self.float - sum) + number
                } else {
                    (number - sum) + self.float
                };
                self.float = sum;
                self.has_float = true;
            }
            _ => return,
        }
        self.count += 1;
    }

    #[allow(clippy::cast_precision_loss)] // Beyond 53 bits a float holds the magnitude, which is all it can.
    fn float(&self) -> f64 {
        let sum = self.float + self.lost;
        // Numbers too large for a float add up to infinity, of which the correction makes nonsense.
        let sum = if sum.is_finite() { sum } else { self.float };
        (self.whole as f64 + sum).clamp(f64::MIN, f64::MAX)
    }

    fn sum(&self) -> Value {
        match i64::try_from(self.whole) {
            _ if self.count == 0 => Value::Null,
            Ok(whole) if !self.has_float => Value::Int(whole),
            _ => Value::Float(self.float()),
        }
    }

    #[allow(clippy::cast_precision_loss)] // A store has fewer than 2^53 records.
    fn average(&self) -> Value {
        if self.count == 0 {
            Value::Null
        } else {
            Value::Float(self.float() / self.count as f64)
        }
    }
}

impl Folding {
    fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Count => Self::Count(0),
            Measure::Min(_) => Self::Extreme(None, Ordering::Less),
            Measure::Max(_) => Self::Extreme(None, Ordering::Greater),
            Measure::Sum(_) => Self::Sum(Total::default()),
            Measure::Avg(_) => Self::Average(Total::default()),
        }
    }

    fn take(&mut self, value: &ValueRef<'_>) {
        match self {
            Self::Count(count) => *count += 1,
            Self::Extreme(..) if value.is_null() => {}
            Self::Extreme(best, wanted) => {
                if best
                    .as_ref()
                    .is_none_or(|best| value.cmp_total(&best.as_ref()) == *wanted)
                {
                    *best = Some(value.to_value());
                }
            }
            Self::Sum(total) | Self::Average(total) => total.add(value),
        }
    }

    fn result(self) -> Value {
        match self {
            Self::Count(count) => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Self::Extreme(best, _) => best.unwrap_or_default(),
            Self::Sum(total) => total.sum(),
            Self::Average(total) => total.average(),
        }
    }
}

/// The grouping value, ordered as values are.
struct Key(Value);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_total(&other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl Snapshot {
    /// Computes measures over the records of a predicate, in groups of equal values of a field, or all together.
    ///
    /// Groups come in the order of their values. Without a grouping field there is always exactly one.
    ///
    /// # Errors
    /// [`StorageError::BadQuery`] for fields that do not exist or cannot be measured so, [`StorageError::TooManyGroups`],
    /// and as [`Snapshot::query`].
    pub fn aggregate(
        &self,
        model: &str,
        predicate: &Predicate,
        group_by: Option<&FieldName>,
        measures: &[Measure],
    ) -> Result<Vec<Group>, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let predicate = self.resolve(model, predicate)?;
            let slots = measures
                .iter()
                .map(|measure| measure.bind(&model.def))
                .collect::<Result<Vec<_>, _>>()?;
            let group_by = match group_by {
                Some(field) => {
                    let slot = bound(&model.def, field)?;
                    Kind::of(&model.def, slot).ok_or_else(|| bad(&model.def, slot, "group by"))?;
                    Some(slot)
                }
                None => None,
            };
            let fresh = || measures.iter().map(Folding::new).collect::<Vec<_>>();
            let mut groups = std::collections::BTreeMap::new();
            if group_by.is_none() {
                groups.insert(Key(Value::Null), fresh());
            }
            let way = Way::choose(model, &predicate);
            self.each_row(model, &way, &predicate, |_, row| {
                let key = Key(group_by.map_or(Value::Null, |slot| row.value_at(slot).to_value()));
                let full = groups.len() >= GROUPS_MAX;
                let folding = match groups.entry(key) {
                    std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
                    std::collections::btree_map::Entry::Vacant(_) if full => {
                        return Err(StorageError::TooManyGroups { max: GROUPS_MAX });
                    }
                    std::collections::btree_map::Entry::Vacant(place) => place.insert(fresh()),
                };
                for (folding, slot) in folding.iter_mut().zip(&slots) {
                    folding.take(&slot.map_or(ValueRef::Null, |slot| row.value_at(slot)));
                }
                Ok(true)
            })?;
            Ok(groups
                .into_iter()
                .map(|(Key(key), folding)| Group {
                    key,
                    values: folding.into_iter().map(Folding::result).collect(),
                })
                .collect())
        })
    }

    /// Whether there is a record that satisfies a predicate; stops at the first.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn exists(&self, model: &str, predicate: &Predicate) -> Result<bool, StorageError> {
        self.said(|| {
            let model = self.catalog().model(model)?;
            let predicate: BoundPredicate = self.resolve(model, predicate)?;
            let mut found = false;
            self.each_row(model, &Way::choose(model, &predicate), &predicate, |_, _| {
                found = true;
                Ok(false)
            })?;
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests;
