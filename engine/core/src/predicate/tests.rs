//! Tests of predicates: every operator on values, on null and negated, groups with SQL's three truth values, and
//! what does not fit a model.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::schema::{FieldType, Schema};
use crate::test_support::{blog_model, blog_parts, field, model, row, sdl, value};

/// A model with a field of each kind that operators tell apart.
fn sample() -> Arc<ModelDef> {
    let mut parts = blog_parts();
    let mut fields = sdl(
        "id: ID!, text: String, int: Int, float: Float, flag: Boolean, day: AWSDate, stamp: AWSTimestamp, json: AWSJSON, words: [String], numbers: [Float]",
    );
    fields.push(crate::test_support::typed(
        "status: PostStatus",
        FieldType::Enum("PostStatus".into()),
    ));
    fields.push(crate::test_support::typed(
        "place: Place",
        FieldType::NonModel("Place".into()),
    ));
    fields.push(field("blogId: ID"));
    fields.push(crate::test_support::belongs_to("blog", "Blog", &["blogId"]));
    parts.models.push(model("Sample", fields));
    Arc::clone(
        Schema::build(parts)
            .expect("a sound schema")
            .model("Sample")
            .expect("just added"),
    )
}

fn is(name: &str, op: Op) -> Predicate {
    Predicate::field(name, op)
}

fn not(predicate: Predicate) -> Predicate {
    Predicate::Not(Box::new(predicate))
}

/// True, false or unknown, found out by asking the predicate and its negation.
fn verdict(def: &ModelDef, predicate: &Predicate, record: &str) -> &'static str {
    let ask = |predicate: &Predicate| {
        let bound = predicate
            .bind(def)
            .unwrap_or_else(|error| panic!("{predicate:?}: {error}"));
        bound.matches(&row(def, record))
    };
    match (ask(predicate), ask(&not(predicate.clone()))) {
        (true, false) => "true",
        (false, true) => "false",
        (false, false) => "unknown",
        (true, true) => panic!("{predicate:?} and its negation both select `{record}`"),
    }
}

/// Checks one operator on several values of a field, and that a double negation changes nothing.
#[track_caller]
fn check(name: &str, op: &Op, expected: &[(&str, &str)]) {
    let def = sample();
    for (text, expected) in expected {
        let record = format!("{name}={text}");
        let predicate = is(name, op.clone());
        assert_eq!(
            verdict(&def, &predicate, &record),
            *expected,
            "{op:?} on `{record}`"
        );
        assert_eq!(
            verdict(&def, &not(not(predicate)), &record),
            *expected,
            "not not {op:?} on `{record}`"
        );
    }
}

const T: &str = "true";
const F: &str = "false";
const U: &str = "unknown";

#[test]
fn numbers_compare_as_numbers_and_null_is_unknown() {
    let v = |text: &str| value(text);
    check(
        "int",
        &Op::Eq(v("3")),
        &[("2", F), ("3", T), ("4", F), ("null", U)],
    );
    check(
        "int",
        &Op::Ne(v("3")),
        &[("2", T), ("3", F), ("4", T), ("null", U)],
    );
    check(
        "int",
        &Op::Lt(v("3")),
        &[("2", T), ("3", F), ("4", F), ("null", U)],
    );
    check(
        "int",
        &Op::Le(v("3")),
        &[("2", T), ("3", T), ("4", F), ("null", U)],
    );
    check(
        "int",
        &Op::Gt(v("3")),
        &[("2", F), ("3", F), ("4", T), ("null", U)],
    );
    check(
        "int",
        &Op::Ge(v("3")),
        &[("2", F), ("3", T), ("4", T), ("null", U)],
    );
    check(
        "int",
        &Op::Between(v("2"), v("3")),
        &[("1", F), ("2", T), ("3", T), ("4", F), ("null", U)],
    );
    check(
        "int",
        &Op::Between(v("3"), v("3")),
        &[("2", F), ("3", T), ("4", F)],
    );
    check(
        "int",
        &Op::In(vec![v("1"), v("3")]),
        &[("1", T), ("2", F), ("3", T), ("null", U)],
    );
    check("float", &Op::Gt(v("2.5")), &[("2.5", F), ("2.6", T), ("null", U)]);
    check("float", &Op::Eq(v("3")), &[("3.0", T), ("3.5", F)]);
    check("int", &Op::Lt(v("2.5")), &[("2", T), ("3", F)]);
    check(
        "stamp",
        &Op::Ge(v("1700000000123")),
        &[("1700000000122", F), ("1700000000123", T), ("null", U)],
    );
}

/// The JavaScript client takes null for zero: `lt 1`, `ge 0` and `between -1 1` select records without a value.
#[test]
fn null_is_not_zero() {
    for op in [
        Op::Lt(1.into()),
        Op::Ge(0.into()),
        Op::Between((-1).into(), 1.into()),
        Op::Eq(0.into()),
    ] {
        check("int", &op, &[("null", U)]);
    }
}

#[test]
fn eq_and_ne_null_ask_for_absence_and_presence() {
    for (name, present) in [
        ("int", "0"),
        ("text", "x"),
        ("flag", "false"),
        ("words", "[]"),
        ("json", "1"),
    ] {
        check(name, &Op::Eq(Value::Null), &[("null", T), (present, F)]);
        check(name, &Op::Ne(Value::Null), &[("null", F), (present, T)]);
    }
}

#[test]
fn every_other_comparison_with_null_is_unknown() {
    for op in [
        Op::Lt(Value::Null),
        Op::Le(Value::Null),
        Op::Gt(Value::Null),
        Op::Ge(Value::Null),
    ] {
        check("int", &op, &[("3", U), ("null", U)]);
    }
    check(
        "int",
        &Op::Between(Value::Null, Value::Null),
        &[("3", U), ("null", U)],
    );
    // Between is two comparisons: one that is false decides, whatever the other bound might be.
    check(
        "int",
        &Op::Between(Value::Null, 5.into()),
        &[("3", U), ("7", F), ("null", U)],
    );
}

#[test]
fn in_knows_sqls_null_among_the_items() {
    // As in SQLite.
    check("int", &Op::In(vec![]), &[("1", F), ("null", F)]);
    check("int", &Op::In(vec![Value::Null]), &[("1", U), ("null", U)]);
    check(
        "int",
        &Op::In(vec![1.into(), Value::Null]),
        &[("1", T), ("2", U), ("null", U)],
    );
}

#[test]
fn texts_compare_by_bytes_and_case_counts() {
    let v = |text: &str| value(text);
    check(
        "text",
        &Op::Eq(v("b")),
        &[("a", F), ("b", T), ("B", F), ("null", U)],
    );
    check("text", &Op::Ne(v("b")), &[("a", T), ("b", F), ("null", U)]);
    check(
        "text",
        &Op::Lt(v("b")),
        &[("a", T), ("b", F), ("B", T), ("null", U)],
    );
    check(
        "text",
        &Op::Between(v("a"), v("c")),
        &[("a", T), ("bb", T), ("c", T), ("ca", F), ("null", U)],
    );
    check(
        "text",
        &Op::In(vec![v("a"), v("c")]),
        &[("a", T), ("b", F), ("null", U)],
    );
    check(
        "text",
        &Op::BeginsWith("ab".into()),
        &[
            ("abc", T),
            ("ab", T),
            ("a", F),
            ("Abc", F),
            ("xab", F),
            ("null", U),
        ],
    );
    check(
        "text",
        &Op::Contains(v("b")),
        &[("abc", T), ("B", F), ("ac", F), ("null", U)],
    );
    check(
        "text",
        &Op::NotContains(v("b")),
        &[("abc", F), ("B", T), ("ac", T), ("null", U)],
    );
    check(
        "day",
        &Op::BeginsWith("2026-".into()),
        &[("2026-01-01", T), ("2025-01-01", F), ("null", U)],
    );
    check(
        "day",
        &Op::Ge("2026".into()),
        &[("2026-01-01", T), ("2025-12-31", F), ("null", U)],
    );
    check(
        "status",
        &Op::Eq(v("LIVE")),
        &[("LIVE", T), ("DRAFT", F), ("null", U)],
    );
    check(
        "status",
        &Op::Contains(v("RAF")),
        &[("LIVE", F), ("DRAFT", T), ("null", U)],
    );
}

#[test]
fn percent_and_underscore_mean_themselves() {
    check("text", &Op::BeginsWith("a%".into()), &[("a%b", T), ("ab", F)]);
    check("text", &Op::Contains("_".into()), &[("a_b", T), ("ab", F)]);
    check("text", &Op::NotContains("%".into()), &[("a%b", F), ("ab", T)]);
    check("text", &Op::Contains("".into()), &[("a", T), ("null", U)]);
}

#[test]
fn booleans_are_ordered_false_before_true() {
    check(
        "flag",
        &Op::Eq(true.into()),
        &[("true", T), ("false", F), ("null", U)],
    );
    check(
        "flag",
        &Op::Ne(true.into()),
        &[("true", F), ("false", T), ("null", U)],
    );
    check(
        "flag",
        &Op::Lt(true.into()),
        &[("true", F), ("false", T), ("null", U)],
    );
    check(
        "flag",
        &Op::Ge(false.into()),
        &[("true", T), ("false", T), ("null", U)],
    );
    check(
        "flag",
        &Op::In(vec![true.into()]),
        &[("true", T), ("false", F), ("null", U)],
    );
}

#[test]
fn lists_contain_elements_and_equal_as_a_whole() {
    check(
        "words",
        &Op::Contains("a".into()),
        &[("[a,b]", T), ("[ab]", F), ("[]", F), ("null", U)],
    );
    check(
        "words",
        &Op::NotContains("a".into()),
        &[("[a,b]", F), ("[ab]", T), ("[]", T), ("null", U)],
    );
    check(
        "words",
        &Op::Contains(Value::Null),
        &[("[a,null]", T), ("[a]", F), ("null", U)],
    );
    check(
        "words",
        &Op::Eq(value("[a,b]")),
        &[("[a,b]", T), ("[b,a]", F), ("[a]", F), ("null", U)],
    );
    check(
        "words",
        &Op::Ne(value("[a,b]")),
        &[("[a,b]", F), ("[b,a]", T), ("null", U)],
    );
    // Elements compare as the values of `eq` do: 3 and 3.0 are one number.
    check(
        "numbers",
        &Op::Contains(3.into()),
        &[("[1.5,3.0]", T), ("[2.5]", F)],
    );
}

#[test]
fn groups_follow_sqls_truth_tables() {
    let def = sample();
    let leaf = |truth: &str| match truth {
        T => is("int", Op::Eq(1.into())),
        F => is("int", Op::Eq(2.into())),
        _ => is("float", Op::Eq(1.into())),
    };
    let and = [(T, T, T), (T, F, F), (T, U, U), (F, F, F), (F, U, F), (U, U, U)];
    let or = [(T, T, T), (T, F, T), (T, U, T), (F, F, F), (F, U, U), (U, U, U)];
    for (a, b, expected) in and {
        for (a, b) in [(a, b), (b, a)] {
            let group = Predicate::And(vec![leaf(a), leaf(b)]);
            assert_eq!(verdict(&def, &group, "int=1"), expected, "{a} and {b}");
        }
    }
    for (a, b, expected) in or {
        for (a, b) in [(a, b), (b, a)] {
            let group = Predicate::Or(vec![leaf(a), leaf(b)]);
            assert_eq!(verdict(&def, &group, "int=1"), expected, "{a} or {b}");
        }
    }
    assert_eq!(verdict(&def, &Predicate::All, ""), T);
    assert_eq!(verdict(&def, &Predicate::And(vec![]), ""), T);
    assert_eq!(verdict(&def, &Predicate::Or(vec![]), ""), F);
    assert_eq!(verdict(&def, &not(not(not(leaf(T)))), "int=1"), F);
}

#[test]
fn joining_flattens_groups_of_one_kind() {
    let [a, b, c] = [1, 2, 3].map(|n| is("int", Op::Eq(n.into())));
    let all = |members: &[&Predicate]| Predicate::And(members.iter().map(|m| (*m).clone()).collect());
    let any = |members: &[&Predicate]| Predicate::Or(members.iter().map(|m| (*m).clone()).collect());
    assert_eq!(a.clone().and(b.clone()).and(c.clone()), all(&[&a, &b, &c]));
    assert_eq!(all(&[&a]).and(all(&[&b, &c])), all(&[&a, &b, &c]));
    assert_eq!(a.clone().and(any(&[&b, &c])), all(&[&a, &any(&[&b, &c])]));
    assert_eq!(Predicate::All.and(a.clone()), a);
    assert_eq!(a.clone().and(Predicate::All), a);
    assert_eq!(a.clone().or(b.clone()).or(c.clone()), any(&[&a, &b, &c]));
    assert_eq!(a.clone().or(all(&[&b, &c])), any(&[&a, &all(&[&b, &c])]));
}

/// Names and operands of Amplify's operators, and the operator that they make.
#[test]
fn operators_are_found_by_amplifys_names() {
    let one = || vec![Value::Int(1)];
    let two = || vec![Value::Int(1), Value::Int(2)];
    let ops = [
        ("eq", one(), Op::Eq(1.into())),
        ("ne", one(), Op::Ne(1.into())),
        ("lt", one(), Op::Lt(1.into())),
        ("le", one(), Op::Le(1.into())),
        ("gt", one(), Op::Gt(1.into())),
        ("ge", one(), Op::Ge(1.into())),
        ("between", two(), Op::Between(1.into(), 2.into())),
        ("beginsWith", vec!["a".into()], Op::BeginsWith("a".into())),
        ("contains", one(), Op::Contains(1.into())),
        ("notContains", one(), Op::NotContains(1.into())),
        ("in", vec![Value::List(two())], Op::In(two())),
    ];
    for (name, operands, op) in ops {
        assert_eq!(op.name(), name);
        let mut too_many = operands.clone();
        too_many.push(Value::Int(9));
        assert_eq!(Op::from_name(name, operands), Some(op), "{name}");
        assert_eq!(
            Op::from_name(name, too_many),
            None,
            "{name} with too many operands"
        );
        assert_eq!(Op::from_name(name, vec![]), None, "{name} without operands");
    }
    assert_eq!(Op::from_name("between", one()), None);
    assert_eq!(Op::from_name("in", one()), None);
    assert_eq!(Op::from_name("beginsWith", one()), None);
    assert_eq!(Op::from_name("like", one()), None);
}

/// Checks a table of `field operator operands | error`; operands are a JSON list.
fn check_refused(table: &str) {
    let def = sample();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (comparison, expected) = line.split_once(" | ").expect("a comparison and an error");
        let mut parts = comparison.trim().splitn(3, ' ');
        let (Some(name), Some(op), Some(operands)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("`{comparison}` is no comparison");
        };
        let operands: Vec<Value> = serde_json::from_str(operands).expect("JSON");
        let wrong = is(name, Op::from_name(op, operands).expect("an operator"));
        for predicate in [
            wrong.clone(),
            not(wrong.clone()),
            Predicate::Or(vec![Predicate::All, wrong.clone()]),
        ] {
            let error = predicate.bind(&def).expect_err(line);
            assert_eq!(error.to_string(), expected, "{predicate:?}");
        }
    }
}

#[test]
fn what_does_not_fit_the_model_is_refused_with_the_way_out() {
    check_refused(
        r#"
        int beginsWith ["1"]    | `beginsWith` does not work on `Sample.int` of type Int
        words beginsWith ["1"]  | `beginsWith` does not work on `Sample.words` of type [String]
        float contains [1]      | `contains` does not work on `Sample.float` of type Float
        stamp notContains [1]   | `notContains` does not work on `Sample.stamp` of type AWSTimestamp
        json contains ["a"]     | `contains` does not work on `Sample.json` of type AWSJSON
        words lt ["a"]          | `lt` does not work on `Sample.words` of type [String]
        words in [[]]           | `in` does not work on `Sample.words` of type [String]
        place gt ["a"]          | `gt` does not work on `Sample.place` of type Place
        place beginsWith ["a"]  | `beginsWith` does not work on `Sample.place` of type Place
        flag between [0, 1]     | `Sample.flag` is compared with an integer (0), but takes true or false
        text contains [5]       | `Sample.text` is compared with an integer (5), but takes a text that is a part of it
        status eq ["DEAD"]      | `Sample.status` is compared with a string ("DEAD"), but takes one of DRAFT, LIVE
        status gt [5]           | `Sample.status` is compared with an integer (5), but takes one of DRAFT, LIVE
        status in [["LIVE", "DEAD"]] | `Sample.status` is compared with a string ("DEAD"), but takes one of DRAFT, LIVE
        status contains [5]     | `Sample.status` is compared with an integer (5), but takes a text that is a part of it
        words eq ["a"]          | `Sample.words` is compared with a string ("a"), but takes a list; `contains` looks for one element of it
        words eq [["a", 1]]     | `Sample.words` is compared with an integer (1), but takes a string
        words contains [1]      | `Sample.words` is compared with an integer (1), but takes a string
        numbers contains ["x"]  | `Sample.numbers` is compared with a string ("x"), but takes a finite number
        numbers eq [5]          | `Sample.numbers` is compared with an integer (5), but takes a list; `contains` looks for one element of it
        place eq [1]            | `Sample.place` is compared with an integer (1), but takes a whole object of type `Place`
        place ne [{}]           | `Sample.place` is compared with an object ({}), but takes a whole object of type `Place`, and `place.city` is required
        text in [["a", 1]]      | `Sample.text` is compared with an integer (1), but takes a string
        int between [3, 2]      | `between` on `Sample.int` has its bounds the wrong way round
        int eq ["x"]            | `Sample.int` is compared with a string ("x"), but takes an integer between -2147483648 and 2147483647
        "#,
    );
}

#[test]
fn what_a_field_could_hold_or_a_part_of_it_is_compared() {
    for (name, op, operands) in [
        ("status", "eq", r#"["LIVE"]"#),
        ("status", "ne", "[null]"),
        ("status", "between", r#"["DRAFT", "LIVE"]"#),
        ("status", "beginsWith", r#"["L"]"#),
        ("status", "contains", r#"["RAF"]"#),
        ("words", "eq", r#"[["a", null]]"#),
        ("words", "ne", "[null]"),
        ("words", "contains", "[null]"),
        ("numbers", "contains", "[5]"),
        ("numbers", "eq", "[[]]"),
        ("place", "eq", r#"[{"city": "Bergen"}]"#),
        ("place", "eq", "[null]"),
        ("day", "ge", r#"["2026-1"]"#),
        ("json", "eq", r#"[{"any": ["thing"]}]"#),
    ] {
        let operands: Vec<Value> = serde_json::from_str(operands).expect("JSON");
        let predicate = is(name, Op::from_name(op, operands).expect("an operator"));
        assert!(predicate.bind(&sample()).is_ok(), "{predicate:?}");
    }
}

#[test]
fn an_unknown_field_is_refused_with_the_fields_that_there_are() {
    for name in ["size", "blog"] {
        let error = is(name, Op::Eq(1.into()))
            .bind(&sample())
            .expect_err("no stored field");
        assert_eq!(
            error.to_string(),
            format!(
                "`Sample` has no field `{name}` to compare; its fields are id, text, int, float, flag, day, stamp, \
                 json, words, numbers, status, place, blogId"
            )
        );
    }
}

#[test]
fn nesting_is_bounded() {
    let def = sample();
    let nested = |depth: usize| (0..depth).fold(Predicate::All, |inner, _| not(inner));
    assert!(nested(PREDICATE_DEPTH_MAX).bind(&def).is_ok());
    assert_eq!(
        nested(PREDICATE_DEPTH_MAX + 1).bind(&def),
        Err(PredicateError::TooDeep)
    );
}

#[test]
fn a_short_row_has_null_at_its_end() {
    let def = blog_model("Todo");
    let absent = is("title", Op::Eq(Value::Null)).bind(&def).expect("it fits");
    assert!(absent.matches(&[Value::from("t1")][..]));
}

/// Random predicates on one nullable number: leaves, groups and negations.
fn any_predicate() -> impl Strategy<Value = Predicate> {
    let number = || prop_oneof![1 => Just(Value::Null), 6 => (0..4_i64).prop_map(Value::Int)];
    let leaf = prop_oneof![
        number().prop_map(|n| is("int", Op::Eq(n))),
        number().prop_map(|n| is("int", Op::Lt(n))),
        number().prop_map(|n| is("int", Op::Ge(n))),
        prop::collection::vec(number(), 0..3).prop_map(|items| is("int", Op::In(items))),
        Just(Predicate::All),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::Or),
            inner.prop_map(not),
        ]
    })
}

/// Pushes negations down to the leaves, as a planner that uses an index would.
fn de_morgan(predicate: Predicate, negated: bool) -> Predicate {
    let all = |members: Vec<Predicate>| members.into_iter().map(|m| de_morgan(m, negated)).collect();
    match predicate {
        Predicate::Not(inner) => de_morgan(*inner, !negated),
        Predicate::And(members) if negated => Predicate::Or(all(members)),
        Predicate::And(members) => Predicate::And(all(members)),
        Predicate::Or(members) if negated => Predicate::And(all(members)),
        Predicate::Or(members) => Predicate::Or(all(members)),
        leaf if negated => not(leaf),
        leaf => leaf,
    }
}

proptest! {
    #![proptest_config(crate::test_support::proptest_config(512))]

    #[test]
    fn negations_can_be_pushed_down_without_changing_what_is_selected(predicate in any_predicate()) {
        let def = sample();
        let pushed = de_morgan(predicate.clone(), false);
        for record in ["int=0", "int=1", "int=2", "int=3", "int=null"] {
            prop_assert_eq!(verdict(&def, &predicate, record), verdict(&def, &pushed, record));
        }
    }
}
