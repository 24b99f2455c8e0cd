//! Filters of subscriptions: alternatives of a few comparisons each, without `not` and without null.
//!
//! Owns the expansion into alternatives and AppSync's limits on them. Whatever does not fit is left out, since the
//! receiver tests the predicate again; leaving out is better than a refused subscription.

use landfall_core::{FieldName, ModelDef, Op, Predicate, Value};
use serde_json::{Value as Json, json};

use super::operand::{Family, operand};

/// Most alternatives of a subscription filter after expansion; AppSync refuses more.
pub const FILTER_COMBINATIONS_MAX: usize = 10;

/// Most different fields in one alternative; AppSync refuses more.
pub const FILTER_FIELDS_MAX: usize = 5;

/// Most values of an `in` comparison; AppSync refuses longer lists.
pub const FILTER_IN_MAX: usize = 5;

/// Comparisons that must all hold, at most one of each field: AppSync refuses two of the same.
type Alternative = Vec<(FieldName, Json)>;

/// Maps the predicate of a sync expression to the `filter` of a subscription; `None` to subscribe to everything.
///
/// ```
/// # use landfall_core::{FieldDef, KeyDef, KeyKind, ModelParts, Op, Predicate, Scalar, Schema, SchemaParts, Value};
/// # let schema = Schema::build(SchemaParts {
/// #     models: vec![ModelParts {
/// #         name: "Post".into(), plural_name: "Posts".into(), syncable: true,
/// #         fields: vec![
/// #             FieldDef { required: true, ..FieldDef::scalar("id", Scalar::Id) },
/// #             FieldDef::scalar("rating", Scalar::Int),
/// #         ],
/// #         key: KeyDef { kind: KeyKind::Managed, fields: vec!["id".into()], declared: false },
/// #         indexes: vec![], timestamps: Default::default(), auth: vec![],
/// #     }],
/// #     ..Default::default()
/// # }).unwrap();
/// # let post = schema.model("Post").unwrap();
/// let low = Predicate::Not(Box::new(Predicate::field("rating", Op::Gt(Value::Int(3)))));
/// let filter = landfall_wire::subscription_filter(post, &low).unwrap();
/// assert_eq!(filter, serde_json::json!({ "and": [{ "rating": { "le": 3 } }] }));
/// ```
pub fn subscription_filter(def: &ModelDef, predicate: &Predicate) -> Option<Json> {
    let mut alternatives = expand(def, predicate, Polarity::Holds)?;
    for alternative in &mut alternatives {
        alternative.truncate(FILTER_FIELDS_MAX);
    }
    match alternatives.as_mut_slice() {
        // Nothing can match; the server cannot say so, and the local predicate refuses whatever comes.
        [] => None,
        [only] => Some(all_of(std::mem::take(only))),
        _ => {
            let any: Vec<Json> = alternatives.into_iter().map(all_of).collect();
            Some(json!({ "or": any }))
        }
    }
}

fn all_of(alternative: Alternative) -> Json {
    let tests: Vec<Json> = alternative
        .into_iter()
        .map(|(field, test)| json!({ field.as_str(): test }))
        .collect();
    json!({ "and": tests })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Polarity {
    Holds,
    Fails,
}

impl Polarity {
    fn flipped(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
        }
    }
}

/// The alternatives of a predicate; `None` if everything passes as far as the server can tell, empty if nothing does.
fn expand(def: &ModelDef, predicate: &Predicate, polarity: Polarity) -> Option<Vec<Alternative>> {
    match (predicate, polarity) {
        // The server cannot follow relations, so as far as it can tell everything passes.
        (Predicate::All, Polarity::Holds) | (Predicate::Related(..), _) => None,
        (Predicate::All, Polarity::Fails) => Some(Vec::new()),
        (Predicate::Not(member), _) => expand(def, member, polarity.flipped()),
        (Predicate::And(members), Polarity::Holds) | (Predicate::Or(members), Polarity::Fails) => {
            both(members.iter().map(|member| expand(def, member, polarity)))
        }
        (Predicate::Or(members), Polarity::Holds) | (Predicate::And(members), Polarity::Fails) => {
            either(members.iter().map(|member| expand(def, member, polarity)))
        }
        (Predicate::Field(name, op), Polarity::Holds) => leaf(def, name, op).map(|test| vec![vec![test]]),
        (Predicate::Field(name, op), Polarity::Fails) => expand(def, &negated(name, op)?, Polarity::Holds),
    }
}

fn either(members: impl Iterator<Item = Option<Vec<Alternative>>>) -> Option<Vec<Alternative>> {
    let mut any = Vec::new();
    for member in members {
        any.extend(member?);
        if any.len() > FILTER_COMBINATIONS_MAX {
            return None;
        }
    }
    Some(any)
}

fn both(members: impl Iterator<Item = Option<Vec<Alternative>>>) -> Option<Vec<Alternative>> {
    let mut all: Option<Vec<Alternative>> = None;
    for member in members.flatten() {
        let Some(found) = &all else {
            all = Some(member);
            continue;
        };
        // Too many alternatives: the member is left out, which lets more through.
        if found.len() * member.len() > FILTER_COMBINATIONS_MAX {
            continue;
        }
        let product = found
            .iter()
            .flat_map(|left| member.iter().map(move |right| merged(left, right)))
            .collect();
        all = Some(product);
    }
    all
}

fn merged(left: &Alternative, right: &Alternative) -> Alternative {
    let mut both = left.clone();
    for (field, test) in right {
        if !both.iter().any(|(known, _)| known == field) {
            both.push((field.clone(), test.clone()));
        }
    }
    both
}

fn leaf(def: &ModelDef, name: &FieldName, op: &Op) -> Option<(FieldName, Json)> {
    let field = def.field(name)?;
    let sayable = Family::of(field).subscribes(op)
        && match op {
            Op::In(items) => (1..=FILTER_IN_MAX).contains(&items.len()),
            _ => true,
        };
    // A null operand is no scalar, so `operand` refuses it: what null means to the server here is not documented.
    if sayable {
        Some((name.clone(), json!({ op.name(): operand(field, op)? })))
    } else {
        None
    }
}

/// The comparison that holds where `op` fails; `None` if there is none.
fn negated(name: &FieldName, op: &Op) -> Option<Predicate> {
    let leaf = |op: Op| Predicate::Field(name.clone(), op);
    Some(match op.clone() {
        Op::Eq(v) => leaf(Op::Ne(v)),
        Op::Ne(v) => leaf(Op::Eq(v)),
        Op::Lt(v) => leaf(Op::Ge(v)),
        Op::Le(v) => leaf(Op::Gt(v)),
        Op::Gt(v) => leaf(Op::Le(v)),
        Op::Ge(v) => leaf(Op::Lt(v)),
        Op::Between(low, high) => Predicate::Or(vec![leaf(Op::Lt(low)), leaf(Op::Gt(high))]),
        Op::Contains(v) => leaf(Op::NotContains(v)),
        Op::NotContains(v) => leaf(Op::Contains(v)),
        // One `ne` at most would survive per field, so the rest is left to the receiver.
        Op::In(items) => leaf(Op::Ne(items.iter().find(|item| **item != Value::Null)?.clone())),
        Op::BeginsWith(_) => return None,
    })
}
