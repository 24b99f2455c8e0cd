use landfall_core::{FieldMap, Record};
use proptest::prelude::*;

use super::*;
use crate::testing::schema;

fn field(name: &str, op: Op) -> Predicate {
    Predicate::field(name, op)
}

fn eq(name: &str, value: impl Into<Value>) -> Predicate {
    field(name, Op::Eq(value.into()))
}

fn not(predicate: Predicate) -> Predicate {
    Predicate::Not(Box::new(predicate))
}

fn sync(predicate: &Predicate) -> Option<Json> {
    sync_filter(schema().model("Post").expect("a model"), predicate)
}

fn subscribe(predicate: &Predicate) -> Option<Json> {
    subscription_filter(schema().model("Post").expect("a model"), predicate)
}

fn check_condition(predicate: &Predicate) -> Result<Option<Json>, WireError> {
    condition(schema().model("Post").expect("a model"), &"p1".into(), predicate)
}

#[test]
fn a_lone_comparison_stands_in_an_and_group() {
    assert_eq!(sync(&Predicate::All), None);
    assert_eq!(
        sync(&field("title", Op::Contains("x".into()))),
        Some(json!({"and": [{"title": {"contains": "x"}}]}))
    );
    assert_eq!(
        sync(&not(eq("rating", 1))),
        Some(json!({"and": [{"not": {"rating": {"eq": 1}}}]}))
    );
}

#[test]
fn groups_keep_their_shape_and_lose_needless_levels() {
    let predicate = Predicate::Or(vec![
        field("rating", Op::Gt(3.into())),
        Predicate::And(vec![
            field("title", Op::BeginsWith("x".into())),
            not(eq("rating", 1)),
        ]),
        Predicate::And(vec![Predicate::Or(vec![eq("live", true)])]),
    ]);
    let expected = json!({"or": [
        {"rating": {"gt": 3}},
        {"and": [{"title": {"beginsWith": "x"}}, {"not": {"rating": {"eq": 1}}}]},
        {"live": {"eq": true}},
    ]});
    assert_eq!(sync(&predicate), Some(expected));
}

#[test]
fn in_becomes_alternatives() {
    assert_eq!(
        sync(&field("rating", Op::In(vec![1.into(), Value::Null, 2.into()]))),
        Some(json!({"or": [{"rating": {"eq": 1}}, {"rating": {"eq": 2}}]}))
    );
    assert_eq!(
        sync(&field("rating", Op::In(vec![7.into()]))),
        Some(json!({"and": [{"rating": {"eq": 7}}]}))
    );
    assert_eq!(
        sync(&field("rating", Op::In(Vec::new()))),
        Some(json!({"and": [{"id": {"eq": null}}]}))
    );
}

#[test]
fn absence_covers_stored_nulls_and_missing_attributes() {
    assert_eq!(
        sync(&eq("rating", Value::Null)),
        Some(json!({"or": [{"rating": {"attributeExists": false}}, {"rating": {"eq": null}}]}))
    );
    assert_eq!(
        sync(&field("rating", Op::Ne(Value::Null))),
        Some(json!({"and": [{"rating": {"attributeExists": true}}, {"rating": {"ne": null}}]}))
    );
    // An enum has no test for a missing attribute.
    assert_eq!(sync(&eq("status", Value::Null)), None);
    assert_eq!(sync(&not(field("status", Op::Ne(Value::Null)))), None);
}

#[test]
fn what_the_server_cannot_say_is_left_to_the_receiver() {
    let beyond_32_bits = eq("rating", 5_000_000_000_i64);
    assert_eq!(sync(&beyond_32_bits), None);
    assert_eq!(sync(&not(beyond_32_bits.clone())), None);
    let both = Predicate::And(vec![beyond_32_bits.clone(), eq("live", true)]);
    assert_eq!(sync(&both), Some(json!({"and": [{"live": {"eq": true}}]})));
    assert_eq!(sync(&not(both)), None);
    assert_eq!(sync(&Predicate::Or(vec![beyond_32_bits, eq("live", true)])), None);
    assert_eq!(sync(&eq("meta", "x")), None);
    assert_eq!(sync(&field("status", Op::BeginsWith("D".into()))), None);
}

#[test]
fn an_equality_on_a_complete_index_comes_first_and_loose_ends_are_grouped() {
    let predicate = Predicate::And(vec![
        field("rating", Op::Gt(1.into())),
        field("title", Op::BeginsWith("a".into())),
        eq("blogId", "b"),
        field("rating", Op::Lt(9.into())),
    ]);
    let expected = json!({"and": [
        {"blogId": {"eq": "b"}},
        {"title": {"beginsWith": "a"}},
        {"and": [{"rating": {"gt": 1}}, {"rating": {"lt": 9}}]},
    ]});
    assert_eq!(sync(&predicate), Some(expected));
}

#[test]
fn a_range_between_two_bounds_never_becomes_the_second_member() {
    let predicate = Predicate::And(vec![
        eq("blogId", "b"),
        field("title", Op::Between("a".into(), "f".into())),
    ]);
    let expected = json!({"and": [{"blogId": {"eq": "b"}}, {"and": [{"title": {"between": ["a", "f"]}}]}]});
    assert_eq!(sync(&predicate), Some(expected));
}

#[test]
fn an_index_that_lacks_records_is_kept_out_of_the_first_place() {
    // `bySection` sorts by the optional `rating`: records without one are not in it.
    let expected = json!({"and": [{"and": [{"section": {"eq": "s"}}]}]});
    assert_eq!(sync(&eq("section", "s")), Some(expected));
    let second = Predicate::And(vec![eq("live", true), eq("section", "s")]);
    assert_eq!(
        sync(&second),
        Some(json!({"and": [{"live": {"eq": true}}, {"section": {"eq": "s"}}]}))
    );
}

#[test]
fn conditions_decide_key_fields_by_themselves() {
    let rating = json!({"and": [{"rating": {"gt": 3}}]});
    let test = field("rating", Op::Gt(3.into()));
    assert_eq!(check_condition(&eq("id", "p1")), Ok(None));
    assert_eq!(
        check_condition(&Predicate::And(vec![eq("id", "p1"), test.clone()])),
        Ok(Some(rating.clone()))
    );
    assert_eq!(
        check_condition(&Predicate::Or(vec![eq("id", "other"), test.clone()])),
        Ok(Some(rating))
    );
    assert_eq!(
        check_condition(&Predicate::Or(vec![not(eq("id", "other")), test.clone()])),
        Ok(None)
    );
    let never = check_condition(&Predicate::And(vec![eq("id", "other"), test]));
    assert_eq!(
        never,
        Err(WireError::ConditionNeverHolds { model: "Post".into() })
    );
}

#[test]
fn a_condition_that_the_server_cannot_check_is_an_error() {
    let error = check_condition(&eq("place", "x")).expect_err("objects cannot be compared");
    assert_eq!(
        error.to_string(),
        "the server cannot check `eq` on `Post.place`; take the comparison out of the condition"
    );
    assert_eq!(
        check_condition(&eq("status", Value::Null)),
        Ok(Some(json!({"and": [{"status": {"eq": null}}]})))
    );
}

#[test]
fn subscription_filters_have_no_negation() {
    let predicate = not(Predicate::Or(vec![
        field("rating", Op::Between(2.into(), 4.into())),
        not(field("title", Op::Contains("x".into()))),
    ]));
    let expected = json!({"or": [
        {"and": [{"rating": {"lt": 2}}, {"title": {"contains": "x"}}]},
        {"and": [{"rating": {"gt": 4}}, {"title": {"contains": "x"}}]},
    ]});
    assert_eq!(subscribe(&predicate), Some(expected));
    assert_eq!(subscribe(&not(field("title", Op::BeginsWith("x".into())))), None);
    assert_eq!(subscribe(&eq("rating", Value::Null)), None);
}

#[test]
fn subscription_filters_name_a_field_once_and_stay_within_the_limits() {
    let range = Predicate::And(vec![
        field("rating", Op::Gt(1.into())),
        field("rating", Op::Lt(5.into())),
    ]);
    assert_eq!(subscribe(&range), Some(json!({"and": [{"rating": {"gt": 1}}]})));
    let any_of = |values: i32| field("rating", Op::In((0..values).map(Value::from).collect()));
    assert_eq!(
        subscribe(&any_of(5)),
        Some(json!({"and": [{"rating": {"in": [0, 1, 2, 3, 4]}}]}))
    );
    assert_eq!(subscribe(&any_of(6)), None);
    let alternatives = |count: i32| Predicate::Or((0..count).map(|n| eq("rating", n)).collect());
    assert_eq!(
        subscribe(&alternatives(10)).map(|json| json["or"].as_array().map(Vec::len)),
        Some(Some(10))
    );
    assert_eq!(subscribe(&alternatives(11)), None);
    let product = Predicate::And(vec![alternatives(4), Predicate::Or(vec![eq("live", true); 3])]);
    assert_eq!(
        subscribe(&product).map(|json| json["or"].as_array().map(Vec::len)),
        Some(Some(4))
    );
    let wide = ["title", "section", "owner", "blogId", "id", "live"].map(|name| eq(name, "x"));
    let filter = subscribe(&Predicate::And(wide.into()));
    assert_eq!(
        filter.map(|json| json["and"].as_array().map(Vec::len)),
        Some(Some(5))
    );
}

/// DynamoDB's reading of a filter: `None` is a missing attribute.
fn server_passes(filter: &Json, item: &serde_json::Map<String, Json>) -> bool {
    let members = filter.as_object().expect("a filter is an object");
    members.iter().all(|(name, test)| match name.as_str() {
        "and" => test
            .as_array()
            .expect("a list")
            .iter()
            .all(|member| server_passes(member, item)),
        "or" => test
            .as_array()
            .expect("a list")
            .iter()
            .any(|member| server_passes(member, item)),
        "not" => !server_passes(test, item),
        field => {
            let tests = test.as_object().expect("comparisons");
            tests
                .iter()
                .all(|(op, operand)| server_compares(item.get(field), op, operand))
        }
    })
}

fn server_compares(value: Option<&Json>, op: &str, operand: &Json) -> bool {
    let order = |operand: &Json| match (value, operand) {
        (Some(Json::Number(a)), Json::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Some(Json::String(a)), Json::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    };
    let same = |operand: &Json| order(operand).map_or(value == Some(operand), std::cmp::Ordering::is_eq);
    let contains = || match (value, operand) {
        (Some(Json::String(text)), Json::String(part)) => text.contains(part.as_str()),
        (Some(Json::Array(items)), part) => items.contains(part),
        _ => false,
    };
    match op {
        "attributeExists" => Json::Bool(value.is_some()) == *operand,
        "eq" => same(operand),
        "ne" => !same(operand),
        "lt" => order(operand).is_some_and(std::cmp::Ordering::is_lt),
        "le" => order(operand).is_some_and(std::cmp::Ordering::is_le),
        "gt" => order(operand).is_some_and(std::cmp::Ordering::is_gt),
        "ge" => order(operand).is_some_and(std::cmp::Ordering::is_ge),
        "between" => {
            order(&operand[0]).is_some_and(std::cmp::Ordering::is_ge)
                && order(&operand[1]).is_some_and(std::cmp::Ordering::is_le)
        }
        "in" => operand.as_array().expect("a list").iter().any(same),
        "contains" => contains(),
        "notContains" => !contains(),
        "beginsWith" => {
            matches!((value, operand), (Some(Json::String(text)), Json::String(start)) if text.starts_with(start.as_str()))
        }
        other => panic!("no such comparison: {other}"),
    }
}

fn text() -> impl Strategy<Value = Value> {
    "[ab]{0,2}".prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-2..4_i32).prop_map(Value::from),
        Just(Value::Float(1.5)),
        Just(Value::Int(1 << 40))
    ]
}

fn value_of(name: &'static str) -> BoxedStrategy<Value> {
    match name {
        "rating" => (-2..4_i32).prop_map(Value::from).boxed(),
        "score" => prop_oneof![Just(Value::Float(1.5)), Just(Value::Float(2.0))].boxed(),
        "live" => any::<bool>().prop_map(Value::from).boxed(),
        "status" => prop_oneof![Just(Value::from("DRAFT")), Just(Value::from("LIVE"))].boxed(),
        "tags" => proptest::collection::vec(text(), 0..3)
            .prop_map(Value::List)
            .boxed(),
        _ => text().boxed(),
    }
}

const FIELDS: [&str; 8] = [
    "id", "title", "rating", "score", "live", "status", "tags", "blogId",
];

/// Whether predicates compare with null, and records have nulls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Some,
    None,
}

fn leaf(nulls: Nulls) -> impl Strategy<Value = Predicate> {
    let weight = if nulls == Nulls::Some { 1 } else { 0 };
    let operand = move |name: &'static str| match name {
        "rating" | "score" => prop_oneof![8 => number(), weight => Just(Value::Null)].boxed(),
        name => prop_oneof![8 => value_of(name), weight => Just(Value::Null)].boxed(),
    };
    (0..FIELDS.len(), 0..10_usize).prop_flat_map(move |(at, op)| {
        let name = FIELDS[at];
        (operand(name), operand(name), text()).prop_map(move |(first, second, part)| {
            let op = match op {
                0 => Op::Ne(first),
                1 => Op::Lt(first),
                2 => Op::Le(first),
                3 => Op::Gt(first),
                4 => Op::Ge(first),
                5 if first.cmp_total(&second).is_le() => Op::Between(first, second),
                5 | 6 => Op::In(vec![first, second]),
                7 => Op::Contains(part),
                8 => Op::NotContains(part),
                _ => Op::Eq(first),
            };
            Predicate::field(name, op)
        })
    })
}

fn predicate(nulls: Nulls) -> impl Strategy<Value = Predicate> {
    prop_oneof![9 => leaf(nulls), 1 => Just(Predicate::All)].prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Predicate::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Predicate::Or),
            inner.prop_map(|member| Predicate::Not(Box::new(member))),
        ]
    })
}

/// A record, and as the server stores it: what is null here is null or missing there.
fn record(nulls: Nulls) -> impl Strategy<Value = (FieldMap, serde_json::Map<String, Json>)> {
    let field = move |name: &'static str| {
        let is_null = if nulls == Nulls::Some && !matches!(name, "id" | "title") {
            0.3
        } else {
            0.0
        };
        (value_of(name), proptest::bool::weighted(is_null), any::<bool>()).prop_map(
            move |(value, is_null, is_missing)| (name, if is_null { Value::Null } else { value }, is_missing),
        )
    };
    FIELDS.map(field).prop_map(|fields| {
        let here = fields
            .iter()
            .map(|(name, value, _)| ((*name).into(), value.clone()))
            .collect();
        let there = fields
            .iter()
            .filter(|(_, value, is_missing)| !(value.is_null() && *is_missing))
            .map(|(name, value, _)| ((*name).to_owned(), Json::from(value)))
            .collect();
        (here, there)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_filter_holds_back_what_the_predicate_selects(predicate in predicate(Nulls::Some), (here, there) in record(Nulls::Some)) {
        let schema = schema();
        let def = schema.model("Post").expect("a model");
        let Ok(bound) = predicate.bind(def) else { return Ok(()) };
        let selected = bound.matches(Record::from_fields(def.clone(), &here).values());
        if selected {
            let filter = sync_filter(def, &predicate);
            prop_assert!(filter.as_ref().is_none_or(|filter| server_passes(filter, &there)), "{filter:?}");
            let filter = subscription_filter(def, &predicate);
            prop_assert!(filter.as_ref().is_none_or(|filter| server_passes(filter, &there)), "{filter:?}");
        }
    }

    #[test]
    fn a_condition_means_what_the_predicate_means(predicate in predicate(Nulls::None), (here, there) in record(Nulls::None)) {
        let schema = schema();
        let def = schema.model("Post").expect("a model");
        let Ok(bound) = predicate.bind(def) else { return Ok(()) };
        let holds = bound.matches(Record::from_fields(def.clone(), &here).values());
        let id = RecordId::of_fields(def, &here).expect("an identifier");
        match condition(def, &id, &predicate) {
            Ok(None) => prop_assert!(holds),
            Ok(Some(condition)) => prop_assert_eq!(server_passes(&condition, &there), holds, "{}", condition),
            Err(WireError::ConditionNeverHolds { .. }) => prop_assert!(!holds),
            Err(_) => {}
        }
    }

    #[test]
    fn a_subscription_filter_stays_within_the_limits(predicate in predicate(Nulls::Some)) {
        let schema = schema();
        let def = schema.model("Post").expect("a model");
        let Some(filter) = subscription_filter(def, &predicate) else { return Ok(()) };
        let one = vec![filter.clone()];
        let alternatives = filter["or"].as_array().unwrap_or(&one);
        prop_assert!(alternatives.len() <= FILTER_COMBINATIONS_MAX);
        for alternative in alternatives {
            let fields: Vec<_> = alternative["and"].as_array().expect("a group").iter().filter_map(single).map(|(f, _)| f).collect();
            let distinct: std::collections::BTreeSet<_> = fields.iter().collect();
            prop_assert!(fields.len() <= FILTER_FIELDS_MAX && distinct.len() == fields.len(), "{}", filter);
        }
    }
}
