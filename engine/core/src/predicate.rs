//! Predicates: which records a query, an observer, a condition or a sync expression means.
//!
//! Owns the tree and its evaluation with SQL's rules for null: a comparison with null is unknown, `not` of unknown is
//! unknown, and only true selects. `eq null` and `ne null` ask for absence and presence. Whether a comparison fits a field is
//! `predicate/check.rs`.

mod check;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::{FieldName, ModelName};
use crate::record::{IdPart, RecordId};
use crate::schema::{ComputedField, ModelDef, Slot};
use crate::value::{Value, ValueRef};

/// Deepest nesting of groups that is accepted.
pub const PREDICATE_DEPTH_MAX: usize = 64;

/// A condition on the fields of one model.
///
/// ```
/// use landfall_core::{Op, Predicate};
///
/// let good = Predicate::field("rating", Op::Gt(3.into()));
/// let by_ada = Predicate::related("author", Predicate::field("name", Op::Eq("Ada".into())));
/// assert!(!good.follows_relations());
/// assert!(good.and(by_ada).follows_relations());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// Every record (Amplify's `Predicates.ALL`).
    All,
    /// One field compared.
    Field(FieldName, Op),
    /// All of them hold; true if empty.
    And(Vec<Predicate>),
    /// One of them holds; false if empty.
    Or(Vec<Predicate>),
    /// It does not hold.
    Not(Box<Predicate>),
    /// Some record at the other end of the relation satisfies the predicate, which is one of that record's model.
    ///
    /// It is true or false, never unknown: without such a record it is false. Only queries and observers take it; a
    /// condition of a write and a sync expression are also checked by the server, which cannot.
    Related(FieldName, Box<Predicate>),
}

/// Comparison of a field (Amplify's operators).
///
/// ```
/// use landfall_core::{Op, Value};
///
/// let good = Op::Gt(3.into());
/// assert_eq!(good.test(&Value::from(4).as_ref()), Some(true));
/// assert_eq!(good.test(&Value::Null.as_ref()), None, "nobody knows");
/// assert_eq!(Op::from_name("gt", vec![3.into()]), Some(good));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Equal; with null: absent.
    Eq(Value),
    /// Not equal; with null: present.
    Ne(Value),
    /// Less than.
    Lt(Value),
    /// Less than or equal.
    Le(Value),
    /// Greater than.
    Gt(Value),
    /// Greater than or equal.
    Ge(Value),
    /// Between two bounds, both included.
    Between(Value, Value),
    /// Text that begins so; case-sensitive.
    BeginsWith(String),
    /// Text with this part, or list with this element; case-sensitive.
    Contains(Value),
    /// Text without this part, or list without this element.
    NotContains(Value),
    /// Equal to one of them.
    In(Vec<Value>),
}

/// Why a predicate does not fit a model.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let json = serde_json::json!({ "version": 1, "models": { "Post": { "name": "Post", "pluralName": "Posts", "fields": {
/// #     "id": { "name": "id", "type": "ID", "isRequired": true },
/// #     "title": { "name": "title", "type": "String", "isRequired": true },
/// #     "rating": { "name": "rating", "type": "Int", "isRequired": false },
/// # } } } });
/// # let schema = landfall_core::schema_from_json(&json).map_err(|faults| format!("{faults:?}"))?;
/// use landfall_core::{Op, Predicate, PredicateError};
///
/// let post = schema.model("Post").ok_or("the schema has it")?;
/// let refused = Predicate::field("colour", Op::Eq("red".into())).bind(post);
/// assert!(matches!(refused, Err(PredicateError::UnknownField { .. })));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredicateError {
    /// The model has no such stored field.
    #[error("`{model}` has no field `{field}` to compare; its fields are {known}")]
    UnknownField {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// The fields that it has.
        known: String,
    },
    /// The operator does not work on the field's type.
    #[error("`{op}` does not work on `{model}.{field}` of type {ty}")]
    BadOperator {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// The operator.
        op: &'static str,
        /// The field's GraphQL type.
        ty: String,
    },
    /// The operand is not of the field's type.
    #[error("`{model}.{field}` is compared with {found}, but takes {expected}")]
    BadOperand {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
        /// What the operand is.
        found: String,
        /// What the field takes.
        expected: String,
    },
    /// Lower bound above upper bound.
    #[error("`between` on `{model}.{field}` has its bounds the wrong way round")]
    BoundsReversed {
        /// The model.
        model: ModelName,
        /// The field.
        field: FieldName,
    },
    /// A relation where only fields can be compared.
    #[error(
        "`{model}.{field}` is a relation, which only queries and observers can follow; compare a field of `{model}`"
    )]
    RelationNotFollowed {
        /// The model.
        model: ModelName,
        /// The relation.
        field: FieldName,
    },
    /// A computed field where the server compares as well, or where only what is stored is folded.
    #[error(
        "`{model}.{field}` is computed by the app, so only queries and observers can compare it or sort by it; name a \
         field that the model has"
    )]
    Computed {
        /// The model.
        model: ModelName,
        /// The computed field.
        field: FieldName,
    },
    /// A relation is followed that the model does not have.
    #[error("`{model}` has no relation `{field}` to follow; its relations are {known}")]
    UnknownRelation {
        /// The model.
        model: ModelName,
        /// The name.
        field: FieldName,
        /// The relations that it has.
        known: String,
    },
    /// A sort key leads to many records.
    #[error("`{model}.{field}` leads to many records, so there is no one value to sort by")]
    SortByMany {
        /// The model.
        model: ModelName,
        /// The relation.
        field: FieldName,
    },
    /// Groups nested too deeply.
    #[error("the predicate is nested deeper than {PREDICATE_DEPTH_MAX} groups")]
    TooDeep,
}

impl Op {
    /// Amplify's name of the operator, such as `beginsWith`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eq(_) => "eq",
            Self::Ne(_) => "ne",
            Self::Lt(_) => "lt",
            Self::Le(_) => "le",
            Self::Gt(_) => "gt",
            Self::Ge(_) => "ge",
            Self::Between(..) => "between",
            Self::BeginsWith(_) => "beginsWith",
            Self::Contains(_) => "contains",
            Self::NotContains(_) => "notContains",
            Self::In(_) => "in",
        }
    }

    /// The operator of that name with its operands; `None` if the name or the number of operands is wrong.
    pub fn from_name(name: &str, mut operands: Vec<Value>) -> Option<Self> {
        if name == "in" {
            return match (operands.pop(), operands.is_empty()) {
                (Some(Value::List(items)), true) => Some(Self::In(items)),
                _ => None,
            };
        }
        let last = operands.pop()?;
        if name == "between" {
            let first = operands.pop()?;
            return operands.is_empty().then_some(Self::Between(first, last));
        }
        if !operands.is_empty() {
            return None;
        }
        match (name, last) {
            ("eq", value) => Some(Self::Eq(value)),
            ("ne", value) => Some(Self::Ne(value)),
            ("lt", value) => Some(Self::Lt(value)),
            ("le", value) => Some(Self::Le(value)),
            ("gt", value) => Some(Self::Gt(value)),
            ("ge", value) => Some(Self::Ge(value)),
            ("beginsWith", Value::String(prefix)) => Some(Self::BeginsWith(prefix)),
            ("contains", value) => Some(Self::Contains(value)),
            ("notContains", value) => Some(Self::NotContains(value)),
            _ => None,
        }
    }

    /// Whether a value satisfies the comparison; `None` means unknown.
    pub fn test(&self, value: &ValueRef<'_>) -> Option<bool> {
        let order = |operand: &Value| value.partial_cmp_sql(&operand.as_ref());
        match self {
            Self::Eq(Value::Null) => Some(value.is_null()),
            Self::Ne(Value::Null) => Some(!value.is_null()),
            Self::Eq(operand) => order(operand).map(Ordering::is_eq),
            Self::Ne(operand) => order(operand).map(Ordering::is_ne),
            Self::Lt(operand) => order(operand).map(Ordering::is_lt),
            Self::Le(operand) => order(operand).map(Ordering::is_le),
            Self::Gt(operand) => order(operand).map(Ordering::is_gt),
            Self::Ge(operand) => order(operand).map(Ordering::is_ge),
            Self::Between(low, high) => {
                let bounds = [order(low).map(Ordering::is_ge), order(high).map(Ordering::is_le)];
                fold_sql(bounds.into_iter(), false)
            }
            Self::BeginsWith(prefix) => match value {
                ValueRef::Str(text) => Some(text.starts_with(prefix.as_str())),
                _ => None,
            },
            Self::Contains(part) => contains(value, part),
            Self::NotContains(part) => contains(value, part).map(|found| !found),
            // A null among the items might be any value, so it makes a miss unknown. Of nothing nothing is a part, not even
            // null.
            Self::In(items) if value.is_null() && !items.is_empty() => None,
            Self::In(items) => {
                let equal = |item: &Value| {
                    if item.is_null() {
                        None
                    } else {
                        Some(order(item).is_some_and(Ordering::is_eq))
                    }
                };
                fold_sql(items.iter().map(equal), true)
            }
        }
    }
}

fn contains(value: &ValueRef<'_>, part: &Value) -> Option<bool> {
    match (value, part) {
        (ValueRef::Str(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (ValueRef::Compound(list), part) => match list.as_ref() {
            Value::List(items) => Some(items.iter().any(|item| item.cmp_total(part).is_eq())),
            _ => None,
        },
        _ => None,
    }
}

impl Predicate {
    /// One field compared.
    ///
    /// ```
    /// use landfall_core::{Op, Predicate};
    ///
    /// assert_eq!(Predicate::field("rating", Op::Gt(3.into())), Predicate::Field("rating".into(), Op::Gt(3.into())));
    /// ```
    pub fn field(name: &str, op: Op) -> Self {
        Self::Field(name.into(), op)
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), Self::And(more)) => {
                all.extend(more);
                Self::And(all)
            }
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }

    /// At least one holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Or(mut any), other) => {
                any.push(other);
                Self::Or(any)
            }
            (this, other) => Self::Or(vec![this, other]),
        }
    }

    /// Some record at the other end of the relation satisfies the predicate.
    ///
    /// ```
    /// use landfall_core::{Op, Predicate};
    ///
    /// let by_ada = Predicate::related("author", Predicate::field("name", Op::Eq("Ada".into())));
    /// assert!(by_ada.follows_relations());
    /// ```
    pub fn related(relation: &str, other: Self) -> Self {
        Self::Related(relation.into(), Box::new(other))
    }

    /// Whether it follows a relation, so that more than the record itself is needed to test it.
    pub fn follows_relations(&self) -> bool {
        match self {
            Self::All | Self::Field(..) => false,
            Self::And(members) | Self::Or(members) => members.iter().any(Self::follows_relations),
            Self::Not(member) => member.follows_relations(),
            Self::Related(..) => true,
        }
    }

    /// Checks the predicate against a model and resolves its fields to slots: of a condition or a sync expression, which
    /// the server checks as well.
    ///
    /// # Errors
    /// The first field, operator or operand that does not fit; [`PredicateError::RelationNotFollowed`] for one that
    /// needs other records, [`PredicateError::Computed`] for one that the server does not have.
    pub fn bind(&self, def: &ModelDef) -> Result<BoundPredicate, PredicateError> {
        self.bind_at(def, Asker::AlsoServer, 0)
    }

    /// As [`bind`](Self::bind), of a query or an observer, which may also compare what is computed.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), but for [`PredicateError::Computed`].
    pub fn bind_for_query(&self, def: &ModelDef) -> Result<BoundPredicate, PredicateError> {
        self.bind_at(def, Asker::Query, 0)
    }

    fn bind_at(&self, def: &ModelDef, asker: Asker, depth: usize) -> Result<BoundPredicate, PredicateError> {
        if depth > PREDICATE_DEPTH_MAX {
            return Err(PredicateError::TooDeep);
        }
        let group = |members: &[Self]| -> Result<Vec<_>, PredicateError> {
            members.iter().map(|p| p.bind_at(def, asker, depth + 1)).collect()
        };
        Ok(match self {
            Self::All => BoundPredicate::All,
            Self::Field(name, op) => match (def.slot(name), def.computed(name), asker) {
                (Some(slot), ..) => {
                    check::check_op(def, def.stored_field(slot), op)?;
                    BoundPredicate::Field(slot, op.clone())
                }
                (None, Some(field), Asker::Query) => {
                    check::check_op(def, field.def(), op)?;
                    BoundPredicate::Computed(Arc::clone(field), op.clone())
                }
                (None, Some(_), Asker::AlsoServer) => {
                    return Err(PredicateError::Computed {
                        model: def.name.clone(),
                        field: name.clone(),
                    });
                }
                (None, None, _) => return Err(unknown_field(def, name)),
            },
            Self::And(members) => BoundPredicate::And(group(members)?),
            Self::Or(members) => BoundPredicate::Or(group(members)?),
            Self::Not(member) => BoundPredicate::Not(Box::new(member.bind_at(def, asker, depth + 1)?)),
            Self::Related(field, _) => {
                return Err(PredicateError::RelationNotFollowed {
                    model: def.name.clone(),
                    field: field.clone(),
                });
            }
        })
    }
}

/// Who tests a predicate.
#[derive(Clone, Copy)]
enum Asker {
    /// A query of this store.
    Query,
    /// This store and the server.
    AlsoServer,
}

pub(crate) fn unknown_field(def: &ModelDef, field: &FieldName) -> PredicateError {
    let computed = def.computed.iter().map(|field| field.def());
    let fields = def.stored_fields().chain(computed);
    let known: Vec<&str> = fields.map(|f| f.name.as_str()).collect();
    PredicateError::UnknownField {
        model: def.name.clone(),
        field: field.clone(),
        known: known.join(", "),
    }
}

/// Where a bound predicate reads the fields of a record: values in memory, or an encoded row.
pub trait FieldSource {
    /// The value at a slot; null if the source has none there.
    fn value_at(&self, slot: Slot) -> ValueRef<'_>;
}

impl FieldSource for [Value] {
    fn value_at(&self, slot: Slot) -> ValueRef<'_> {
        self.get(slot.index()).map_or(ValueRef::Null, Value::as_ref)
    }
}

impl FieldSource for Vec<Value> {
    fn value_at(&self, slot: Slot) -> ValueRef<'_> {
        self.as_slice().value_at(slot)
    }
}

/// A predicate whose fields are resolved to slots of one model.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundPredicate {
    /// Every record.
    All,
    /// One field compared.
    Field(Slot, Op),
    /// All of them hold.
    And(Vec<BoundPredicate>),
    /// One of them holds.
    Or(Vec<BoundPredicate>),
    /// It does not hold.
    Not(Box<BoundPredicate>),
    /// The fields hold one of these identifiers; false if one of them is null.
    Among(Vec<Slot>, Arc<BTreeSet<RecordId>>),
    /// A computed field compared.
    Computed(Arc<ComputedField>, Op),
}

impl BoundPredicate {
    /// Whether the record is selected; unknown does not select.
    pub fn matches<S: FieldSource + ?Sized>(&self, source: &S) -> bool {
        self.test(source) == Some(true)
    }

    fn test<S: FieldSource + ?Sized>(&self, source: &S) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Field(slot, op) => op.test(&source.value_at(*slot)),
            // SQL's AND is false if one member is false, even if another is unknown; OR likewise with true.
            Self::And(members) => fold_sql(members.iter().map(|m| m.test(source)), false),
            Self::Or(members) => fold_sql(members.iter().map(|m| m.test(source)), true),
            Self::Not(member) => member.test(source).map(|holds| !holds),
            Self::Computed(field, op) => op.test(&field.value(source).as_ref()),
            Self::Among(slots, ids) => Some(identifier_at(slots, source).is_some_and(|id| ids.contains(&id))),
        }
    }
}

/// The identifier that fields hold; `None` if one of them is null.
pub fn identifier_at<S: FieldSource + ?Sized>(slots: &[Slot], source: &S) -> Option<RecordId> {
    slots
        .iter()
        .map(|slot| IdPart::from_value(&source.value_at(*slot).to_value()))
        .collect::<Option<Vec<_>>>()
        .map(RecordId::new)
}

fn fold_sql(results: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut unknown = false;
    for result in results {
        match result {
            Some(value) if value == decisive => return Some(decisive),
            Some(_) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(!decisive) }
}

#[cfg(test)]
mod tests;
