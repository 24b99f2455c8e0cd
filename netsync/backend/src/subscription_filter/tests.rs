use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(filter: serde_json::Value) -> Result<Option<SubscriptionFilter>, FilterRefused> {
    SubscriptionFilter::read(&JsonValue::from(filter), &Limits::default())
}

fn payload() -> JsonMap {
    let record = json!({"id": "p1", "rating": 4, "title": "hello", "status": null, "tags": ["x"]});
    JsonValue::from(record).as_object().unwrap().clone()
}

#[test]
fn operators_on_one_field_are_alternatives_and_fields_hold_together() {
    let cases = [
        (json!({"rating": {"gt": 1, "lt": 2}}), true), // gt OR lt, unlike in a query
        (json!({"rating": {"gt": 5, "lt": 2}}), false),
        (json!({"rating": {"eq": 4}, "title": {"beginsWith": "he"}}), true),
        (json!({"rating": {"eq": 4}, "title": {"beginsWith": "x"}}), false),
        (
            json!({"or": [{"rating": {"eq": 5}}, {"title": {"contains": "ell"}}]}),
            true,
        ),
        (
            json!({"and": [{"rating": {"in": [1, 4]}}, {"or": [{"id": {"eq": "p1"}}, {"id": {"eq": "p2"}}]}]}),
            true,
        ),
        (json!({"rating": {"notIn": [4]}}), false),
        (json!({"rating": {"between": [4, 9]}}), true),
        (json!({"tags": {"contains": "x"}}), true),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            read(filter.clone()).unwrap().unwrap().matches(&payload()),
            expected,
            "{filter}"
        );
    }
}

#[test]
fn a_field_that_the_mutation_did_not_select_never_matches() {
    for filter in [
        json!({"gone": {"eq": "a"}}),
        json!({"gone": {"ne": "a"}}),
        json!({"gone": {"notContains": "a"}}),
    ] {
        assert!(
            !read(filter.clone()).unwrap().unwrap().matches(&payload()),
            "{filter}"
        );
    }
    assert!(
        read(json!({"status": {"eq": null}}))
            .unwrap()
            .unwrap()
            .matches(&payload())
    );
}

#[test]
fn filters_outside_the_limits_are_refused_with_the_texts_that_clients_look_for() {
    let wide: serde_json::Map<_, _> = (0..6).map(|n| (format!("f{n}"), json!({"eq": n}))).collect();
    let many: Vec<_> = (0..11).map(|n| json!({"id": {"eq": n.to_string()}})).collect();
    let cases = [
        (json!(wide), "Filters exceed maximum attributes limit"),
        (json!({"or": many}), "Filters combination exceed maximum limit"),
        (
            json!({"and": [{"rating": {"gt": 1}}, {"rating": {"lt": 5}}]}),
            "filter uses same fieldName multiple time",
        ),
        (
            json!({"a": {"gt": 1, "lt": 5}, "b": {"gt": 1, "lt": 5}, "c": {"gt": 1, "lt": 5, "ne": 3}}),
            "Filters combination exceed maximum limit",
        ),
        (
            json!({"id": {"in": ["1", "2", "3", "4", "5", "6"]}}),
            "Filters exceed maximum values limit of in and notIn",
        ),
    ];
    for (filter, text) in cases {
        assert_eq!(
            read(filter.clone()).map_err(|refused| refused.to_string()),
            Err(text.to_owned()),
            "{filter}"
        );
    }
}

#[test]
fn ten_combinations_pass_and_nested_groups_cannot_blow_up() {
    let ten: Vec<_> = (0..10).map(|n| json!({"id": {"eq": n.to_string()}})).collect();
    assert!(read(json!({"or": ten})).unwrap().is_some());
    let mut nested = json!({"id": {"eq": "a", "ne": "b"}});
    for _ in 0..60 {
        nested = json!({"and": [nested, {"id": {"eq": "a", "ne": "b"}}]});
    }
    assert_eq!(read(nested), Err(FilterRefused::TooManyCombinations));
}

#[test]
fn a_filter_that_compares_nothing_lets_everything_pass() {
    for filter in [
        json!(null),
        json!({}),
        json!({"and": []}),
        json!({"rating": {"gt": null}}),
    ] {
        assert_eq!(read(filter.clone()), Ok(None), "{filter}");
    }
}

/// A filter as a tree, as the JSON of it is read.
#[derive(Clone, Debug)]
enum Tree {
    Compare(&'static str, Vec<(&'static str, i64)>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

impl Tree {
    fn json(&self) -> serde_json::Value {
        let members = |trees: &[Self]| trees.iter().map(Self::json).collect::<Vec<_>>();
        match self {
            Self::Compare(field, operators) => {
                let operators: serde_json::Map<_, _> = operators
                    .iter()
                    .map(|(operator, operand)| ((*operator).to_owned(), json!(operand)))
                    .collect();
                json!({ *field: operators })
            }
            Self::And(trees) => json!({ "and": members(trees) }),
            Self::Or(trees) => json!({ "or": members(trees) }),
        }
    }

    /// What the contract says, without unfolding anything.
    fn holds(&self, record: &JsonMap) -> bool {
        match self {
            Self::Compare(field, operators) => operators.iter().any(|(operator, operand)| {
                record
                    .get(*field)
                    .and_then(JsonValue::as_i64)
                    .is_some_and(|value| match *operator {
                        "eq" => value == *operand,
                        "ne" => value != *operand,
                        "lt" => value < *operand,
                        "ge" => value >= *operand,
                        other => panic!("{other} is not generated"),
                    })
            }),
            Self::And(trees) => trees.iter().all(|tree| tree.holds(record)),
            Self::Or(trees) => trees.iter().any(|tree| tree.holds(record)),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let field = proptest::sample::select(vec!["a", "b", "c"]);
    let operator = proptest::sample::select(vec!["eq", "ne", "lt", "ge"]);
    let operators = proptest::collection::btree_map(operator, 0..3_i64, 1..3);
    let leaf = (field, operators)
        .prop_map(|(field, operators)| Tree::Compare(field, operators.into_iter().collect()));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let trees = proptest::collection::vec(inner, 1..4);
        prop_oneof![trees.clone().prop_map(Tree::And), trees.prop_map(Tree::Or)]
    })
}

proptest! {
    #![proptest_config(crate::fixtures::random(512))]

    #[test]
    fn the_disjunctive_form_holds_exactly_where_the_filter_does(
        tree in tree(),
        values in proptest::collection::btree_map(proptest::sample::select(vec!["a", "b", "c"]), 0..3_i64, 0..4),
    ) {
        let record: JsonMap = values.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let limits = Limits { filter_combinations_max: 1_000, ..Limits::default() };
        match SubscriptionFilter::read(&JsonValue::from(tree.json()), &limits) {
            Ok(filter) => prop_assert_eq!(
                filter.expect("it compares something").matches(&record),
                tree.holds(&record)
            ),
            Err(FilterRefused::RepeatedField | FilterRefused::TooManyCombinations) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
