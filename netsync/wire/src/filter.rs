//! Predicates as GraphQL filters: for sync queries, for mutation conditions, for subscriptions.
//!
//! Owns what each of the server's three filter languages can say, and what is done about the rest.
//!
//! | use | must be | what cannot be said | `not` | `in` |
//! |---|---|---|---|---|
//! | sync query ([`sync_filter`]) | no stricter than the predicate | is left to the local predicate | kept | `or` of `eq` |
//! | condition ([`condition`]) | the predicate | is an error | kept | `or` of `eq` |
//! | subscription ([`subscription_filter`]) | no stricter than the predicate | is left to the local predicate | pushed down | kept if short |
//!
//! Invariants: 1. a sync or subscription filter never holds back a record that the predicate selects, so whoever
//! receives records tests the predicate again; 2. an absent field counts as null, whether the server stores a null or
//! nothing; 3. the root is an `and` or an `or` group, as stock clients send it.
//!
//! AppSync turns an equality on the partition field of an index into a query on that index if, and only if, it is the
//! first member of the root `and`. Such an equality is therefore put first, unless the index leaves out records whose
//! sort fields are null: then it is hidden in a group of its own, and the server scans.

mod operand;
mod subscription;

use landfall_core::{FieldName, ModelDef, Op, Predicate, RecordId, Value};
use serde_json::{Value as Json, json};

use self::operand::{Family, operand};
use crate::error::WireError;

pub use self::subscription::{
    FILTER_COMBINATIONS_MAX, FILTER_FIELDS_MAX, FILTER_IN_MAX, subscription_filter,
};

/// What a predicate becomes.
#[derive(Clone, Debug, PartialEq)]
enum Mapped {
    /// No test: everything passes.
    Everything(Fit),
    /// Nothing passes.
    Nothing,
    /// A test.
    Test(Json, Fit),
}

/// How a test relates to the predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It says the same, so its negation may be sent too.
    Exact,
    /// Something was left out, so more may pass; of its negation nothing is known.
    Wider,
}

impl Fit {
    fn and(self, other: Self) -> Self {
        if self == Self::Exact { other } else { self }
    }
}

/// Maps the predicate of a sync expression to the `filter` of a sync query; `None` to ask for everything.
pub fn sync_filter(def: &ModelDef, predicate: &Predicate) -> Option<Json> {
    let mapper = Mapper {
        def,
        purpose: Purpose::Sync,
    };
    match mapper.map(predicate) {
        Ok(Mapped::Everything(_)) | Err(_) => None,
        Ok(Mapped::Nothing) => Some(nothing(def)),
        Ok(Mapped::Test(json, _)) => Some(arrange_for_indexes(def, rooted(json))),
    }
}

/// Maps a condition to the `condition` of a mutation of the record `id`; `None` if there is nothing to check.
///
/// The server's condition input has no key fields; comparisons of these are decided here.
///
/// # Errors
/// [`WireError::ConditionNotExpressible`] if the server has no such comparison, and
/// [`WireError::ConditionNeverHolds`] if no record can pass and the server cannot be told so.
pub fn condition(def: &ModelDef, id: &RecordId, predicate: &Predicate) -> Result<Option<Json>, WireError> {
    let mapper = Mapper {
        def,
        purpose: Purpose::Condition { id },
    };
    match mapper.map(predicate)? {
        Mapped::Everything(_) => Ok(None),
        Mapped::Nothing => Err(WireError::ConditionNeverHolds {
            model: def.name.clone(),
        }),
        Mapped::Test(json, _) => Ok(Some(rooted(json))),
    }
}

enum Purpose<'a> {
    Sync,
    Condition { id: &'a RecordId },
}

struct Mapper<'a> {
    def: &'a ModelDef,
    purpose: Purpose<'a>,
}

impl Mapper<'_> {
    fn map(&self, predicate: &Predicate) -> Result<Mapped, WireError> {
        match predicate {
            Predicate::All => Ok(Mapped::Everything(Fit::Exact)),
            Predicate::Field(field, op) => self.leaf(field, op),
            Predicate::And(members) => self.and(members),
            Predicate::Or(members) => self.or(members),
            // Whoever binds a condition or a sync expression refuses it before it comes here.
            Predicate::Related(..) => Ok(Mapped::Everything(Fit::Wider)),
            Predicate::Not(member) => Ok(match self.map(member)? {
                Mapped::Everything(Fit::Exact) => Mapped::Nothing,
                Mapped::Nothing => Mapped::Everything(Fit::Exact),
                Mapped::Test(json, Fit::Exact) => Mapped::Test(json!({ "not": json }), Fit::Exact),
                // What passes a test that is too wide may still fail the predicate.
                Mapped::Everything(Fit::Wider) | Mapped::Test(_, Fit::Wider) => {
                    Mapped::Everything(Fit::Wider)
                }
            }),
        }
    }

    fn and(&self, members: &[Predicate]) -> Result<Mapped, WireError> {
        let mut tests = Vec::new();
        let mut fit = Fit::Exact;
        for member in members {
            match self.map(member)? {
                Mapped::Everything(member_fit) => fit = fit.and(member_fit),
                Mapped::Nothing => return Ok(Mapped::Nothing),
                Mapped::Test(json, member_fit) => {
                    fit = fit.and(member_fit);
                    tests.push(json);
                }
            }
        }
        Ok(group("and", tests).map_or(Mapped::Everything(fit), |json| Mapped::Test(json, fit)))
    }

    fn or(&self, members: &[Predicate]) -> Result<Mapped, WireError> {
        let mut tests = Vec::new();
        let mut fit = Fit::Exact;
        for member in members {
            match self.map(member)? {
                Mapped::Everything(fit) => return Ok(Mapped::Everything(fit)),
                Mapped::Nothing => {}
                Mapped::Test(json, member_fit) => {
                    fit = fit.and(member_fit);
                    tests.push(json);
                }
            }
        }
        Ok(group("or", tests).map_or(Mapped::Nothing, |json| Mapped::Test(json, fit)))
    }

    fn leaf(&self, name: &FieldName, op: &Op) -> Result<Mapped, WireError> {
        if let Purpose::Condition { id } = self.purpose
            && let Some(position) = self.def.key.fields.iter().position(|key| key == name)
        {
            let value = id
                .parts()
                .get(position)
                .map(landfall_core::IdPart::to_value)
                .unwrap_or_default();
            let holds = op.test(&value.as_ref()) == Some(true);
            return Ok(if holds {
                Mapped::Everything(Fit::Exact)
            } else {
                Mapped::Nothing
            });
        }
        let mapped = self.def.field(name).and_then(|field| {
            let family = Family::of(field);
            match op {
                Op::Eq(Value::Null) => self.absent(name, family),
                Op::Ne(Value::Null) => self.present(name, family),
                Op::In(items) => one_of(name, family, field, items),
                op if has_null_operand(op) => Some(Mapped::Nothing),
                op if !family.filters(op) => None,
                op => Some(exactly(
                    json!({ name.as_str(): { op.name(): operand(field, op)? } }),
                )),
            }
        });
        match (mapped, &self.purpose) {
            (Some(mapped), _) => Ok(mapped),
            (None, Purpose::Sync) => Ok(Mapped::Everything(Fit::Wider)),
            (None, Purpose::Condition { .. }) => Err(WireError::ConditionNotExpressible {
                model: self.def.name.clone(),
                field: name.clone(),
                op: op.name(),
            }),
        }
    }

    /// A null that a create stored, or an attribute that an update removed: the server tells the two apart.
    fn absent(&self, name: &FieldName, family: Family) -> Option<Mapped> {
        let is_null = json!({ name.as_str(): { "eq": null } });
        if family.has_attribute_tests() {
            let missing = json!({ name.as_str(): { "attributeExists": false } });
            return Some(exactly(json!({ "or": [missing, is_null] })));
        }
        // Enums have no test for a missing attribute. A sync query must then ask for more than it wants; a
        // condition asks what stock clients ask.
        match self.purpose {
            Purpose::Sync => None,
            Purpose::Condition { .. } => family.compares_null().then(|| exactly(is_null)),
        }
    }

    fn present(&self, name: &FieldName, family: Family) -> Option<Mapped> {
        let is_set = json!({ name.as_str(): { "ne": null } });
        if family.has_attribute_tests() {
            let exists = json!({ name.as_str(): { "attributeExists": true } });
            return Some(exactly(json!({ "and": [exists, is_set] })));
        }
        // A missing attribute passes `ne` as well, so this lets more through than it says.
        let fit = match self.purpose {
            Purpose::Sync => Fit::Wider,
            Purpose::Condition { .. } => Fit::Exact,
        };
        family.compares_null().then_some(Mapped::Test(is_set, fit))
    }
}

fn one_of(
    name: &FieldName,
    family: Family,
    field: &landfall_core::FieldDef,
    items: &[Value],
) -> Option<Mapped> {
    let mut tests = Vec::new();
    for item in items.iter().filter(|item| !item.is_null()) {
        let op = Op::Eq(item.clone());
        if !family.filters(&op) {
            return None;
        }
        tests.push(json!({ name.as_str(): { "eq": operand(field, &op)? } }));
    }
    Some(group("or", tests).map_or(Mapped::Nothing, exactly))
}

fn exactly(json: Json) -> Mapped {
    Mapped::Test(json, Fit::Exact)
}

/// A comparison with null is unknown, and unknown selects nothing.
fn has_null_operand(op: &Op) -> bool {
    match op {
        Op::Eq(v) | Op::Ne(v) | Op::Lt(v) | Op::Le(v) | Op::Gt(v) | Op::Ge(v) => v.is_null(),
        Op::Between(low, high) => low.is_null() || high.is_null(),
        Op::Contains(_) | Op::NotContains(_) | Op::BeginsWith(_) | Op::In(_) => false,
    }
}

/// A group of tests; a single test stands for itself, none for `None`.
fn group(kind: &str, mut tests: Vec<Json>) -> Option<Json> {
    match tests.len() {
        0 => None,
        1 => Some(tests.remove(0)),
        _ => Some(json!({ kind: tests })),
    }
}

/// Puts a test that is no group into an `and` group.
fn rooted(json: Json) -> Json {
    if json.get("and").is_some() || json.get("or").is_some() {
        json
    } else {
        json!({ "and": [json] })
    }
}

/// A filter that no record passes: the form that the Android client sends.
fn nothing(def: &ModelDef) -> Json {
    let key = def.key.fields.first().map_or("id", FieldName::as_str);
    json!({ "and": [{ key: { "eq": null } }] })
}

/// Brings the members of the root `and` into the order that lets AppSync read an index, or keeps it from reading one
/// that lacks records.
///
/// The first member names the partition, the second may name the sort field; the rest goes into one group, because
/// AppSync merges loose members by name and loses one of two of the same name.
fn arrange_for_indexes(def: &ModelDef, root: Json) -> Json {
    let Json::Object(mut object) = root else {
        return root;
    };
    let Some(Json::Array(mut members)) = object.remove("and") else {
        return Json::Object(object);
    };
    let partition = members
        .iter()
        .position(|member| equality(member).is_some_and(|f| index_use(def, f) == IndexUse::Complete));
    let Some(partition) = partition else {
        let first_names_sparse_index = members
            .first()
            .and_then(equality)
            .is_some_and(|field| index_use(def, field) == IndexUse::Sparse);
        if first_names_sparse_index {
            let first = members.remove(0);
            members.insert(0, json!({ "and": [first] }));
        }
        return json!({ "and": members });
    };
    let first = members.remove(partition);
    let second = equality(&first).and_then(|field| {
        members
            .iter()
            .position(|member| reads_sort_field(def, field, member))
    });
    let second = second.map(|position| members.remove(position));
    let rest = (!members.is_empty()).then(|| json!({ "and": members }));
    let arranged: Vec<Json> = [Some(first), second, rest].into_iter().flatten().collect();
    json!({ "and": arranged })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IndexUse {
    None,
    /// Every index of the field holds every record that has the field.
    Complete,
    /// Some index of the field leaves out records with a null sort field.
    Sparse,
}

fn index_use(def: &ModelDef, field: &str) -> IndexUse {
    let keys = std::iter::once(&def.key.fields).chain(def.indexes.iter().map(|index| &index.fields));
    let mut found = IndexUse::None;
    for fields in keys.filter(|fields| fields.first().is_some_and(|first| first == field)) {
        let complete = fields[1..]
            .iter()
            .all(|name| def.field(name).is_some_and(|sort| sort.required));
        match (complete, found) {
            (true, IndexUse::None) => found = IndexUse::Complete,
            (true, _) => {}
            (false, _) => found = IndexUse::Sparse,
        }
    }
    found
}

/// The field of a test of the form `{field: {eq: value}}`.
fn equality(test: &Json) -> Option<&str> {
    let (field, comparison) = single(test)?;
    single(comparison)
        .filter(|(op, value)| *op == "eq" && !value.is_null())
        .map(|_| field)
}

/// Whether the test can narrow the index that starts with `partition` by its one sort field.
///
/// Not `between`: AppSync's resolver then refers to values that it never sets, and the query fails.
fn reads_sort_field(def: &ModelDef, partition: &str, test: &Json) -> bool {
    let Some((field, comparison)) = single(test) else {
        return false;
    };
    let Some((op, _)) = single(comparison) else {
        return false;
    };
    let keys = std::iter::once(&def.key.fields).chain(def.indexes.iter().map(|index| &index.fields));
    matches!(op, "eq" | "lt" | "le" | "gt" | "ge" | "beginsWith")
        && keys
            .into_iter()
            .any(|fields| fields.len() == 2 && fields[0] == *partition && fields[1] == *field)
}

fn single(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests;
