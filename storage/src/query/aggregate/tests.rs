//! Aggregates are those of the records that a query finds.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use landfall_core::{Op, Record};

use super::*;
use crate::Query;
use crate::test_support::{in_memory, put, save, snapshot, value};

fn measures() -> Vec<Measure> {
    let field = |name: &str| FieldName::from(name);
    vec![
        Measure::Count,
        Measure::Min(field("rating")),
        Measure::Max(field("score")),
        Measure::Sum(field("rating")),
        Measure::Sum(field("score")),
        Measure::Avg(field("rating")),
        Measure::Avg(field("score")),
        Measure::Min(field("title")),
        Measure::Max(field("live")),
    ]
}

/// The same by hand. Scores are multiples of a quarter, so that floats add up exactly.
fn by_hand(measure: &Measure, records: &[Record]) -> Value {
    let values = |field: &FieldName| -> Vec<Value> {
        let values = records.iter().map(|record| record.get(field).unwrap().clone());
        values.filter(|value| !value.is_null()).collect()
    };
    let number = |value: &Value| match value {
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
        other => panic!("{other}"),
    };
    match measure {
        Measure::Count => Value::Int(records.len() as i64),
        Measure::Min(field) => values(field)
            .into_iter()
            .min_by(Value::cmp_total)
            .unwrap_or_default(),
        Measure::Max(field) => values(field)
            .into_iter()
            .max_by(Value::cmp_total)
            .unwrap_or_default(),
        Measure::Sum(field) => {
            let values = values(field);
            match values.first() {
                None => Value::Null,
                Some(Value::Int(_)) => Value::Int(values.iter().filter_map(Value::as_int).sum()),
                Some(_) => Value::Float(values.iter().map(number).sum()),
            }
        }
        Measure::Avg(field) => {
            let values = values(field);
            if values.is_empty() {
                return Value::Null;
            }
            Value::Float(values.iter().map(number).sum::<f64>() / values.len() as f64)
        }
    }
}

fn post() -> impl Strategy<Value = String> {
    let rating = select(vec!["null", "-3", "0", "7", "2147483647"]);
    let score = select(vec!["null", "-1.25", "0.5", "3.0"]);
    let live = select(vec!["null", "true", "false"]);
    let status = select(vec!["null", "DRAFT", "LIVE"]);
    (0..12_u8, select(vec!["s", "t"]), rating, score, live, status).prop_map(
        |(id, title, rating, score, live, status)| {
            format!("id=p{id} title={title} rating={rating} score={score} live={live} status={status}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn aggregates_are_those_of_the_records_found(
        posts in vec(post(), 0..30),
        group_by in select(vec![None, Some("status"), Some("rating"), Some("live"), Some("title")]),
        least in select(vec!["-3", "0", "7", "9"]),
    ) {
        let mut store = in_memory();
        for post in &posts {
            store.write(5, |txn| put(txn, "Post", post)).unwrap();
        }
        let snapshot = snapshot(&store);
        for predicate in [Predicate::All, Predicate::field("rating", Op::Ge(value(least)))] {
            let query = Query { predicate: predicate.clone(), ..Query::all("Post") };
            let records = snapshot.query(&query).unwrap();
            let group_by = group_by.map(FieldName::from);
            let groups = snapshot.aggregate("Post", &predicate, group_by.as_ref(), &measures()).unwrap();
            let mut keys: Vec<Value> = match &group_by {
                None => vec![Value::Null],
                Some(field) => records.iter().map(|record| record.get(field).unwrap().clone()).collect(),
            };
            keys.sort_by(Value::cmp_total);
            keys.dedup();
            prop_assert_eq!(groups.iter().map(|group| group.key.clone()).collect::<Vec<_>>(), keys);
            for group in groups {
                let mut members = records.clone();
                if let Some(field) = &group_by {
                    members.retain(|record| record.get(field) == Some(&group.key));
                }
                let expected: Vec<Value> = measures().iter().map(|m| by_hand(m, &members)).collect();
                prop_assert_eq!(group.values, expected);
            }
        }
    }
}

#[test]
fn sums_neither_overflow_nor_forget_what_is_small() {
    let mut total = Total::default();
    for number in [i64::MAX, i64::MAX, i64::MIN] {
        total.add(&ValueRef::Int(number));
    }
    assert_eq!(total.sum(), Value::Int(i64::MAX - 1));
    total.add(&ValueRef::Int(i64::MAX));
    assert!(matches!(total.sum(), Value::Float(x) if x > 1.8e19));
    let mut total = Total::default();
    for number in [1e100, 1.0, -1e100] {
        total.add(&ValueRef::Float(number));
    }
    assert_eq!(total.sum(), Value::Float(1.0));
    let mut total = Total::default();
    for _ in 0..3 {
        total.add(&ValueRef::Float(f64::MAX));
    }
    assert_eq!(total.sum(), Value::Float(f64::MAX));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=t tags=[a]");
    let snapshot = snapshot(&store);
    let bad = |measure: Measure, group_by: Option<&str>| {
        let group_by = group_by.map(FieldName::from);
        match snapshot.aggregate("Post", &Predicate::All, group_by.as_ref(), &[measure]) {
            Err(StorageError::BadQuery(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        bad(Measure::Sum("title".into()), None),
        "`sum` does not work on `Post.title` of type String!"
    );
    assert_eq!(
        bad(Measure::Max("tags".into()), None),
        "`max` does not work on `Post.tags` of type [String]"
    );
    assert_eq!(
        bad(Measure::Count, Some("extra")),
        "`group by` does not work on `Post.extra` of type AWSJSON"
    );
    assert!(bad(Measure::Avg("blog".into()), None).starts_with("`Post` has no field `blog`"));
}
