//! Random values, predicates, orders and pages that fit a version of the models.

use landfall::{Op, Page, Predicate, Query, Sort, Value};
use proptest::prelude::*;
use proptest::{collection, option, sample};

use super::schemas::{FieldSpec, Kind, ModelSpec, models};

/// A value of a field, now and then null.
pub(super) fn value(field: FieldSpec) -> BoxedStrategy<Value> {
    let some = some(field.kind);
    // A required field is null so rarely that most scripts get anywhere.
    let null = if field.required { 1 } else { 6 };
    prop_oneof![null => Just(Value::Null), 24 => some].boxed()
}

fn some(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Int => (-2..4_i64).prop_map(Value::Int).boxed(),
        Kind::Float => sample::select(vec![-1.5, 0.0, 0.25, 2.0, 1e300])
            .prop_map(Value::Float)
            .boxed(),
        Kind::Text => sample::select(vec!["", "a", "ab", "b", "1", "ä"])
            .prop_map(Value::from)
            .boxed(),
        Kind::Texts => collection::vec(sample::select(vec!["x", "y", "z"]).prop_map(Value::from), 0..3)
            .prop_map(Value::List)
            .boxed(),
    }
}

fn op(kind: Kind) -> BoxedStrategy<Op> {
    let presence = prop_oneof![Just(Op::Eq(Value::Null)), Just(Op::Ne(Value::Null))];
    if kind == Kind::Texts {
        let part = sample::select(vec!["x", "y", "w"]).prop_map(Value::from);
        let contains = (part, any::<bool>()).prop_map(|(part, not)| {
            if not {
                Op::NotContains(part)
            } else {
                Op::Contains(part)
            }
        });
        return prop_oneof![1 => presence, 4 => contains].boxed();
    }
    let one = some(kind);
    let compared = (0..6, one.clone()).prop_map(|(which, value)| match which {
        0 => Op::Eq(value),
        1 => Op::Ne(value),
        2 => Op::Lt(value),
        3 => Op::Le(value),
        4 => Op::Gt(value),
        _ => Op::Ge(value),
    });
    let between = (one.clone(), one.clone()).prop_map(|(a, b)| {
        if a.cmp_total(&b).is_gt() {
            Op::Between(b, a)
        } else {
            Op::Between(a, b)
        }
    });
    let item = prop_oneof![8 => one, 1 => Just(Value::Null)];
    let among = collection::vec(item, 1..4).prop_map(Op::In);
    if kind == Kind::Text {
        let part = (0..3, sample::select(vec!["", "a", "b"])).prop_map(|(which, part)| match which {
            0 => Op::BeginsWith(part.to_owned()),
            1 => Op::Contains(part.into()),
            _ => Op::NotContains(part.into()),
        });
        return prop_oneof![1 => presence, 4 => compared, 1 => between, 1 => among, 3 => part].boxed();
    }
    prop_oneof![1 => presence, 4 => compared, 1 => between, 1 => among].boxed()
}

/// Key fields can be asked for as well.
fn comparison(spec: &ModelSpec) -> BoxedStrategy<Predicate> {
    let fields = spec.fields.clone();
    let by_field = sample::select(fields)
        .prop_flat_map(|field| op(field.kind).prop_map(move |op| Predicate::field(field.name, op)));
    let key = spec.key[0];
    let by_key = (0..5_u8, any::<bool>()).prop_map(move |(number, many)| {
        let id = |number: u8| Value::from(format!("r{number}").as_str());
        if many {
            Predicate::field(key, Op::In(vec![id(number), id(number + 2)]))
        } else {
            Predicate::field(key, Op::Eq(id(number)))
        }
    });
    prop_oneof![6 => by_field, 1 => by_key].boxed()
}

/// A predicate of a model, through relations only if `following`.
pub(super) fn predicate(
    version: usize,
    model: usize,
    depth: u32,
    following: bool,
) -> BoxedStrategy<Predicate> {
    let spec = models(version).swap_remove(model);
    let leaf = prop_oneof![1 => Just(Predicate::All), 8 => comparison(&spec)].boxed();
    if depth == 0 {
        return leaf;
    }
    let inner = || predicate(version, model, depth - 1, following);
    let some = || collection::vec(inner(), 0..3);
    let groups = prop_oneof![
        some().prop_map(Predicate::And),
        some().prop_map(Predicate::Or),
        inner().prop_map(|member| Predicate::Not(Box::new(member))),
    ];
    let mut ways = vec![(3, leaf), (3, groups.boxed())];
    let place = |name: &str| models(version).iter().position(|spec| spec.name == name);
    let ends = [
        spec.parent.map(|(_, relation, model)| (relation, model)),
        spec.children.map(|(relation, model, _)| (relation, model)),
    ];
    for (relation, other) in ends.into_iter().flatten().filter(|_| following) {
        let other = place(other).expect("relations lead to models that there are");
        let through = predicate(version, other, depth - 1, following)
            .prop_map(move |other| Predicate::Related(relation.into(), Box::new(other)));
        ways.push((2, through.boxed()));
    }
    proptest::strategy::Union::new_weighted(ways).boxed()
}

fn sort(version: usize, model: usize) -> BoxedStrategy<Vec<Sort>> {
    let specs = models(version);
    let spec = &specs[model];
    let comparable = |spec: &ModelSpec| {
        let fields = spec.fields.iter().filter(|field| field.kind != Kind::Texts);
        fields.map(|field| field.name.to_owned()).collect::<Vec<_>>()
    };
    let mut fields = comparable(spec);
    if let Some((_, relation, parent)) = spec.parent {
        let parent = specs.iter().find(|spec| spec.name == parent);
        let parent = parent.expect("relations lead to models that there are");
        fields.extend(
            comparable(parent)
                .iter()
                .map(|field| format!("{relation}.{field}")),
        );
    }
    let key = (sample::select(fields), any::<bool>()).prop_map(|(field, down)| {
        if down {
            Sort::descending(&field)
        } else {
            Sort::ascending(&field)
        }
    });
    collection::vec(key, 0..3).boxed()
}

/// A query of any model.
pub(super) fn query(version: usize) -> BoxedStrategy<Query> {
    (0..4_usize)
        .prop_flat_map(move |model| {
            let name = models(version)[model].name;
            let page = (option::of(1..4_usize), 0..3_usize).prop_map(|(limit, page)| Page {
                limit,
                page: if limit.is_some() { page } else { 0 },
            });
            (predicate(version, model, 2, true), sort(version, model), page).prop_map(
                move |(predicate, sort, page)| Query {
                    model: name.into(),
                    predicate,
                    sort,
                    page,
                },
            )
        })
        .boxed()
}
