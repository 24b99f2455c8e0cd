//! The naive store: maps of values, and answers by looking at every one of them. Written without the store's own rules.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use landfall::{Direction, Op, Predicate, Query, Sort, Value};

use super::schemas::{ModelSpec, models};

/// Values by field; nulls are not held.
pub(super) type Row = BTreeMap<String, Value>;

/// Records of a model by the values of their keys.
pub(super) type Rows = BTreeMap<Vec<String>, Row>;

/// A store of maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) version: usize,
    /// One for each model, in the order of `schemas::models`.
    pub(super) models: [Rows; 4],
}

/// What a record is named by: the place of its model and its key.
pub(super) type Name = (usize, Vec<String>);

const NULL: Value = Value::Null;

fn value<'r>(row: &'r Row, field: &str) -> &'r Value {
    row.get(field).unwrap_or(&NULL)
}

/// The order of two values that are not null, if they can be compared.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Float(b)) => (*a as f64).partial_cmp(b),
        (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::List(a), Value::List(b)) if a == b => Some(Ordering::Equal),
        _ => None,
    }
}

/// Three truth values: unknown is `None`.
fn compare(found: &Value, op: &Op) -> Option<bool> {
    let is = |operand: &Value, wanted: fn(Ordering) -> bool| order(found, operand).map(wanted);
    match op {
        Op::Eq(Value::Null) => Some(found.is_null()),
        Op::Ne(Value::Null) => Some(!found.is_null()),
        Op::Eq(operand) => is(operand, Ordering::is_eq),
        Op::Ne(operand) => is(operand, Ordering::is_ne),
        Op::Lt(operand) => is(operand, Ordering::is_lt),
        Op::Le(operand) => is(operand, Ordering::is_le),
        Op::Gt(operand) => is(operand, Ordering::is_gt),
        Op::Ge(operand) => is(operand, Ordering::is_ge),
        Op::Between(low, high) => all(&[is(low, Ordering::is_ge), is(high, Ordering::is_le)]),
        Op::BeginsWith(start) => match found {
            Value::String(text) => Some(text.starts_with(start.as_str())),
            _ => None,
        },
        Op::Contains(part) => holds(found, part),
        Op::NotContains(part) => holds(found, part).map(|holds| !holds),
        Op::In(items) if found.is_null() => {
            assert!(!items.is_empty(), "scripts ask for something");
            None
        }
        Op::In(items) => {
            let each: Vec<Option<bool>> = items.iter().map(|item| is(item, Ordering::is_eq)).collect();
            any(&each)
        }
    }
}

fn holds(found: &Value, part: &Value) -> Option<bool> {
    match (found, part) {
        (Value::String(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (Value::List(items), part) => Some(items.contains(part)),
        _ => None,
    }
}

fn all(each: &[Option<bool>]) -> Option<bool> {
    if each.contains(&Some(false)) {
        Some(false)
    } else if each.contains(&None) {
        None
    } else {
        Some(true)
    }
}

fn any(each: &[Option<bool>]) -> Option<bool> {
    let not = |known: &Option<bool>| known.map(|known| !known);
    all(&each.iter().map(not).collect::<Vec<_>>()).map(|none| !none)
}

impl Naive {
    pub(super) fn spec(&self, model: usize) -> ModelSpec {
        models(self.version).swap_remove(model)
    }

    pub(super) fn place_of(&self, name: &str) -> usize {
        let specs = models(self.version);
        let place = specs.iter().position(|spec| spec.name == name);
        place.unwrap_or_else(|| panic!("scripts name models that there are, not {name}"))
    }

    /// Whether a row of a model satisfies a predicate.
    fn test(&self, model: usize, row: &Row, predicate: &Predicate) -> Option<bool> {
        match predicate {
            Predicate::All => Some(true),
            Predicate::Field(field, op) => compare(value(row, field), op),
            Predicate::And(members) => {
                let each: Vec<_> = members
                    .iter()
                    .map(|member| self.test(model, row, member))
                    .collect();
                all(&each)
            }
            Predicate::Or(members) => {
                let each: Vec<_> = members
                    .iter()
                    .map(|member| self.test(model, row, member))
                    .collect();
                any(&each)
            }
            Predicate::Not(member) => self.test(model, row, member).map(|holds| !holds),
            Predicate::Related(relation, other) => {
                let (place, rows) = self.ends(model, row, relation);
                Some(rows.iter().any(|row| self.test(place, row, other) == Some(true)))
            }
        }
    }

    /// What is at the other end of a relation.
    fn ends(&self, model: usize, row: &Row, relation: &str) -> (usize, Vec<&Row>) {
        let spec = self.spec(model);
        match (spec.parent, spec.children) {
            (Some((field, name, parent)), _) if name == relation => {
                let place = self.place_of(parent);
                let key = value(row, field).as_str().map(|id| vec![id.to_owned()]);
                let found = key.and_then(|key| self.models[place].get(&key));
                (place, found.into_iter().collect())
            }
            (_, Some((name, child, field))) if name == relation => {
                let place = self.place_of(child);
                let id = value(row, "id");
                let found = self.models[place].values().filter(|row| value(row, field) == id);
                (place, found.collect())
            }
            _ => panic!("scripts follow relations that there are, not {relation}"),
        }
    }

    pub(super) fn selects(&self, model: usize, row: &Row, predicate: &Predicate) -> bool {
        self.test(model, row, predicate) == Some(true)
    }

    /// All rows that a predicate selects, by key.
    pub(super) fn selected(&self, model: usize, predicate: &Predicate) -> Vec<(&Vec<String>, &Row)> {
        let rows = self.models[model].iter();
        rows.filter(|(_, row)| self.selects(model, row, predicate))
            .collect()
    }

    /// The value that a sort key leads to.
    fn sorted_by<'a>(&'a self, model: usize, row: &'a Row, sort: &Sort) -> &'a Value {
        match sort.field.split_once('.') {
            None => value(row, &sort.field),
            Some((relation, field)) => {
                let (_, rows) = self.ends(model, row, relation);
                rows.first().map_or(&NULL, |row| value(row, field))
            }
        }
    }

    /// The rows of a query in its order, without regard to its page.
    pub(super) fn ordered(&self, query: &Query) -> Vec<Row> {
        let model = self.place_of(&query.model);
        let mut rows = self.selected(model, &query.predicate);
        rows.sort_by(|(a_key, a), (b_key, b)| {
            for sort in &query.sort {
                let (a, b) = (self.sorted_by(model, a, sort), self.sorted_by(model, b, sort));
                let ascending = match (a.is_null(), b.is_null()) {
                    (false, false) => order(a, b).expect("values of one field can be compared"),
                    (a_null, b_null) => b_null.cmp(&a_null),
                };
                let directed = match sort.direction {
                    Direction::Ascending => ascending,
                    Direction::Descending => ascending.reverse(),
                };
                if directed.is_ne() {
                    return directed;
                }
            }
            a_key.cmp(b_key)
        });
        rows.into_iter().map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn answer(&self, query: &Query) -> Vec<Row> {
        let rows = self.ordered(query);
        let limit = query.page.limit.unwrap_or(rows.len());
        rows.into_iter()
            .skip(limit * query.page.page)
            .take(limit)
            .collect()
    }

    /// Takes a record and what belongs to it away; those that are gone, children first.
    pub(super) fn delete(&mut self, name: &Name) -> Vec<Name> {
        let (model, key) = name;
        let Some(row) = self.models[*model].get(key).cloned() else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        if let Some((_, child, field)) = self.spec(*model).children {
            let place = self.place_of(child);
            let id = value(&row, "id").clone();
            let children: Vec<_> = self.models[place]
                .iter()
                .filter(|(_, row)| value(row, field) == &id)
                .map(|(key, _)| (place, key.clone()))
                .collect();
            gone.extend(children.iter().flat_map(|child| self.delete(child)));
        }
        self.models[*model].remove(key);
        gone.push(name.clone());
        gone
    }
}
