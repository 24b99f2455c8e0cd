//! Whatever way a query takes, it finds what a look at every record would find.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::Store;
use crate::test_support::{assert_sound, in_memory, post, put_fields, remove, save, snapshot, value};
use landfall_core::{Direction, FieldMap};

/// Few values of each field, so that they meet.
fn some_value(field: &str) -> BoxedStrategy<Value> {
    let texts: &[&str] = match field {
        "rating" => &["null", "-2", "-1", "0", "1", "2", "2147483647"],
        "score" => &[
            "null",
            "-1.5",
            "-0.0",
            "0.0",
            "1.0",
            "2.5",
            "3.0",
            "1000000000000.25",
        ],
        "live" => &["null", "true", "false"],
        "day" => &["null", "2026-01-01", "2026-01-02", "2026-11-21Z"],
        "status" => &["null", "DRAFT", "LIVE", "OLD"],
        "tags" => &["null", "[]", "[x]", "[x,y]", "[null]"],
        "extra" => &["null", "1", "1.5", "x", "[1]", "[2]", "true"],
        "blogId" => &["null", "b1", "b2"],
        _ => {
            return select(vec!["", "a", "ab", "a\0", "a\0b", "b", "aé", "\u{10ffff}"])
                .prop_map(Value::from)
                .boxed();
        }
    };
    select(texts.to_vec()).prop_map(value).boxed()
}

/// What a field may be compared with: its own values, and numbers of the other kind.
fn operand(field: &'static str) -> BoxedStrategy<Value> {
    let foreign: &[&str] = match field {
        "rating" => &["0.5", "-0.0", "2.0", "-100000000000000000000.0", "1.9"],
        "score" => &["0", "1", "3", "-1", "9007199254740993"],
        _ => return some_value(field),
    };
    prop_oneof![3 => some_value(field), 1 => select(foreign.to_vec()).prop_map(value)].boxed()
}

const FIELDS: [&str; 10] = [
    "id", "title", "rating", "score", "live", "day", "status", "tags", "extra", "blogId",
];

fn leaf() -> BoxedStrategy<Predicate> {
    let op = |field: &'static str| {
        let one = || {
            if field == "id" {
                key().prop_map(Value::from).boxed()
            } else {
                operand(field)
            }
        };
        prop_oneof![
            one().prop_map(Op::Eq),
            one().prop_map(Op::Ne),
            one().prop_map(Op::Lt),
            one().prop_map(Op::Le),
            one().prop_map(Op::Gt),
            one().prop_map(Op::Ge),
            (one(), one()).prop_map(|(a, b)| if a.cmp_total(&b).is_le() {
                Op::Between(a, b)
            } else {
                Op::Between(b, a)
            }),
            select(vec!["", "a", "ab", "a\0", "2026-01"])
                .prop_map(|prefix| Op::BeginsWith(prefix.to_owned())),
            one().prop_map(Op::Contains),
            vec(one(), 0..3).prop_map(Op::In),
        ]
        .prop_map(move |op| Predicate::field(field, op))
    };
    select(FIELDS.to_vec()).prop_flat_map(op).boxed()
}

fn predicate() -> impl Strategy<Value = Predicate> {
    prop_oneof![4 => leaf(), 1 => Just(Predicate::All)].prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..4).prop_map(Predicate::And),
            1 => vec(inner.clone(), 0..3).prop_map(Predicate::Or),
            1 => inner.prop_map(|member| Predicate::Not(Box::new(member))),
        ]
    })
}

fn query() -> impl Strategy<Value = Query> {
    let direction = select(vec![Direction::Ascending, Direction::Descending]);
    let sort = (select(FIELDS.to_vec()), direction).prop_map(|(field, direction)| Sort {
        field: field.into(),
        direction,
    });
    let page = (option::of(0..5_usize), 0..3_usize).prop_map(|(limit, page)| Page { limit, page });
    (predicate(), vec(sort, 0..3), page).prop_map(|(predicate, sort, page)| Query {
        model: "Post".into(),
        predicate,
        sort,
        page,
    })
}

fn key() -> impl Strategy<Value = String> {
    (0..12_u8).prop_map(|number| format!("p{number}"))
}

/// A save of some fields, or a delete.
fn write() -> impl Strategy<Value = (String, Option<FieldMap>)> {
    let some = select(FIELDS[2..].to_vec()).prop_flat_map(|field| (Just(field), some_value(field)));
    let fields = (some_value("title"), vec(some, 0..8)).prop_map(|(title, fields)| {
        let mut map: FieldMap = fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        map.insert("title".into(), title);
        map
    });
    (key(), option::weighted(0.85, fields))
}

/// Writes to a store and to a map; returns both.
fn written(writes: &[(String, Option<FieldMap>)]) -> (Store, BTreeMap<RecordId, Vec<Value>>) {
    let mut store = in_memory();
    let mut model = BTreeMap::new();
    let def = std::sync::Arc::clone(store.schema().model("Post").unwrap());
    for batch in writes.chunks(7) {
        store
            .write(5, |txn| {
                for (id, fields) in batch {
                    let id = RecordId::text(id);
                    let Some(fields) = fields else {
                        remove(txn, &post(&id.to_string()))?;
                        model.remove(&id);
                        continue;
                    };
                    let mut fields = fields.clone();
                    fields.insert("id".into(), id.to_string().into());
                    put_fields(txn, "Post", &fields)?;
                    let row = model
                        .entry(id)
                        .or_insert_with(|| vec![Value::Null; def.stored_len()]);
                    for (name, value) in fields {
                        row[def.slot(&name).unwrap().index()] = value;
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    (store, model)
}

/// The same by looking at every record.
fn looked_up(query: &Query, def: &ModelDef, model: &BTreeMap<RecordId, Vec<Value>>) -> Vec<Vec<Value>> {
    let predicate = query.predicate.bind(def).unwrap();
    let mut rows: Vec<Vec<Value>> = model
        .values()
        .filter(|row| predicate.matches(*row))
        .cloned()
        .collect();
    let sort = BoundSort::bind(&query.sort, def).unwrap();
    rows.sort_by(|a, b| sort.compare(a, b));
    rows.into_iter()
        .skip(query.page.offset())
        .take(query.page.limit.unwrap_or(usize::MAX))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_finds_what_a_look_at_every_record_finds(
        writes in vec(write(), 0..60),
        queries in vec(query(), 24),
    ) {
        let (store, model) = written(&writes);
        let schema = store.schema();
        let def = schema.model("Post").unwrap();
        let snapshot = snapshot(&store);
        for query in &queries {
            if query.predicate.bind(def).is_err() {
                prop_assert!(matches!(snapshot.query(query), Err(StorageError::BadQuery(_))));
                continue;
            }
            let found: Vec<Vec<Value>> =
                snapshot.query(query).unwrap().into_iter().map(|record| record.into_parts().0).collect();
            let plan = snapshot.explain(query).unwrap();
            prop_assert_eq!(&found, &looked_up(query, def, &model), "{} for {:?}", plan, query);
            let all = Query { page: Page::default(), ..query.clone() };
            let count = snapshot.count("Post", &query.predicate).unwrap();
            prop_assert_eq!(count, looked_up(&all, def, &model).len() as u64);
        }
    }

    #[test]
    fn indexes_are_those_of_the_rows_after_any_writes(writes in vec(write(), 0..80)) {
        let (mut store, _) = written(&writes);
        // The entries made one by one are those that the log makes, and those that the rows make.
        assert_sound(&store);
        let one_by_one = index_entries(&store);
        prop_assert_eq!(&one_by_one, &store.index_from_rows());
        store.rebuild().unwrap();
        prop_assert_eq!(&one_by_one, &index_entries(&store));
    }
}

/// They are equal as numbers, but not in the order of an index.
#[test]
fn a_zero_that_changes_its_sign_changes_row_and_index_alike() {
    let fields = |score: f64| -> FieldMap {
        [
            ("title".into(), "a".into()),
            ("score".into(), Value::Float(score)),
        ]
        .into()
    };
    let writes = [-0.0, 0.0, -0.0].map(|score| ("p3".to_owned(), Some(fields(score))));
    for taken in 1..=writes.len() {
        let mut store = written(&writes[..taken]).0;
        assert_eq!(index_entries(&store), store.index_from_rows(), "{taken} writes");
    }
}

fn index_entries(store: &Store) -> Vec<Vec<u8>> {
    let snapshot = snapshot(store);
    let table = snapshot.transaction().open_table(INDEX).unwrap();
    table
        .iter()
        .unwrap()
        .map(|item| item.unwrap().0.value().to_vec())
        .collect()
}

fn plan_of(store: &Store, predicate: Predicate) -> String {
    snapshot(store)
        .explain(&Query {
            predicate,
            ..Query::all("Post")
        })
        .unwrap()
        .to_string()
}

#[test]
fn the_narrowest_way_is_taken() {
    let store = in_memory();
    let eq = |field: &str, operand: &str| Predicate::field(field, Op::Eq(value(operand)));
    for (predicate, plan) in [
        (eq("id", "p1"), "by identifier p1"),
        (eq("id", "p1").and(eq("rating", "1")), "by identifier p1"),
        (eq("rating", "1"), "by a range of the index `byRating`"),
        (eq("rating", "1.0"), "by a range of the index `byRating`"),
        (eq("rating", "1.5"), "by a range of the index `byRating`"),
        (
            eq("status", "LIVE").and(eq("rating", "1")),
            "by a range of the index `byStatus`",
        ),
        (eq("blogId", "b1"), "by a range of the index `relation blog`"),
        (
            Predicate::field("title", Op::BeginsWith("a".into())),
            "by a range of the index `byTitle`",
        ),
        (eq("day", "2026-01-01"), "by a scan of all records"),
        (eq("rating", "null"), "by a scan of all records"),
        (eq("extra", "1"), "by a scan of all records"),
        (eq("tags", "[x]"), "by a scan of all records"),
        (
            eq("rating", "1").or(eq("rating", "2")),
            "by a scan of all records",
        ),
        (
            Predicate::Not(Box::new(eq("rating", "1"))),
            "by a scan of all records",
        ),
        (Predicate::All, "by a scan of all records"),
    ] {
        assert_eq!(plan_of(&store, predicate.clone()), plan, "{predicate:?}");
    }
}

#[test]
fn composite_keys_are_found_by_all_of_their_parts() {
    let mut store = in_memory();
    for number in 1..4 {
        save(
            &mut store,
            "Order",
            &format!("customer=c number={number} state=new"),
        );
    }
    let both =
        Predicate::field("customer", Op::Eq("c".into())).and(Predicate::field("number", Op::Eq(2.into())));
    let query = |predicate| Query {
        predicate,
        ..Query::all("Order")
    };
    assert_eq!(
        snapshot(&store)
            .explain(&query(both.clone()))
            .unwrap()
            .to_string(),
        "by identifier c#2"
    );
    assert_eq!(snapshot(&store).query(&query(both)).unwrap().len(), 1);
    let one = Predicate::field("customer", Op::Eq("c".into()));
    assert_eq!(snapshot(&store).query(&query(one)).unwrap().len(), 3);
}

/// Orders of three customers, and three posts.
fn orders_and_posts() -> Store {
    let mut store = in_memory();
    for customer in ["a", "b", "c"] {
        for number in -1..3 {
            let fields = format!("customer={customer} number={number} state=new");
            save(&mut store, "Order", &fields);
        }
    }
    for id in ["p1", "p2", "q1"] {
        save(&mut store, "Post", &format!("id={id} title={id} rating=1"));
    }
    store
}

/// Checks by which plan records are found, and that the same ones are found page by page.
#[track_caller]
fn check_found(store: &Store, model: &str, predicate: Predicate, plan: &str, found: &str) {
    let snapshot = snapshot(store);
    let query = Query {
        predicate,
        ..Query::all(model)
    };
    assert_eq!(snapshot.explanation(&query).unwrap().plan, plan, "{query:?}");
    let ids = |records: &[Record]| -> String {
        let ids = records.iter().filter_map(Record::id);
        ids.map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(&snapshot.query(&query).unwrap()), found, "{query:?}");
    let by_one = Query {
        page: Page::first(1),
        ..query
    };
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.page_after(&by_one, after.as_ref()).unwrap();
        paged.extend(page.records);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids(&paged), found, "page by page: {by_one:?}");
}

fn eq(name: &str, value: impl Into<Value>) -> Predicate {
    Predicate::field(name, Op::Eq(value.into()))
}

const KEY_RANGE: &str = "by a range of identifiers";
const SCAN: &str = "by a scan of all records";

#[test]
fn a_composite_identifier_is_an_index_of_its_own() {
    let store = orders_and_posts();
    let field = Predicate::field;
    let b = || eq("customer", "b");
    let (range, ranges) = (KEY_RANGE, "by 2 ranges of identifiers");
    for (model, predicate, plan, found) in [
        ("Order", b(), range, "b#-1 b#0 b#1 b#2"),
        (
            "Order",
            b().and(field("number", Op::Gt(0.into()))),
            range,
            "b#1 b#2",
        ),
        ("Order", b().and(field("number", Op::Gt(9.into()))), range, ""),
        (
            "Order",
            b().and(field("number", Op::Lt(0.5.into()))),
            range,
            "b#-1 b#0",
        ),
        (
            "Order",
            field("customer", Op::Lt("b".into())),
            range,
            "a#-1 a#0 a#1 a#2",
        ),
        ("Order", b().and(eq("customer", "c")), range, ""),
        ("Order", eq("number", 1), SCAN, "a#1 b#1 c#1"),
        (
            "Order",
            field("customer", Op::In(vec!["c".into(), "a".into()])).and(eq("number", 2)),
            ranges,
            "a#2 c#2",
        ),
        (
            "Order",
            b().and(eq("number", 1))
                .or(eq("customer", "a").and(eq("number", 0))),
            "by 2 identifiers",
            "a#0 b#1",
        ),
        (
            "Order",
            eq("customer", "c").or(b()).or(eq("customer", "c")),
            ranges,
            "b#-1 b#0 b#1 b#2 c#-1 c#0 c#1 c#2",
        ),
        (
            "Order",
            b().or(eq("customer", "a")).and(eq("number", 1)),
            ranges,
            "a#1 b#1",
        ),
        (
            "Order",
            b().or(field("customer", Op::Gt("b".into()))),
            SCAN,
            "b#-1 b#0 b#1 b#2 c#-1 c#0 c#1 c#2",
        ),
        ("Order", b().or(eq("number", 1)), SCAN, "a#1 b#-1 b#0 b#1 b#2 c#1"),
    ] {
        check_found(&store, model, predicate, plan, found);
    }
}

#[test]
fn no_record_is_found_twice_where_one_beginning_of_identifiers_is_a_part_of_another() {
    let mut parts = crate::test_support::shop_parts();
    let fields = ["line: ID!", "stop: ID!", "run: Int!"];
    let mut call = crate::test_support::model("Call", &fields);
    call.key = landfall_core::KeyDef {
        kind: landfall_core::KeyKind::Composite,
        fields: crate::test_support::names(&["line", "stop", "run"]),
        declared: true,
    };
    parts.models.push(call);
    let mut opening = crate::test_support::options(crate::Disk::Memory);
    opening.schema = std::sync::Arc::new(crate::test_support::built(parts));
    let mut store = Store::open(opening).unwrap();
    for (line, stop, run) in [("a", "x", 1), ("a", "x", 2), ("a", "y", 1), ("b", "x", 1)] {
        save(&mut store, "Call", &format!("line={line} stop={stop} run={run}"));
    }
    let both = |line, stop| eq("line", line).and(eq("stop", stop));
    for (predicate, plan, found) in [
        (
            both("a", "x").or(both("b", "x")),
            "by 2 ranges of identifiers",
            "a#x#1 a#x#2 b#x#1",
        ),
        (
            both("a", "x").or(eq("line", "b")),
            "by 2 ranges of identifiers",
            "a#x#1 a#x#2 b#x#1",
        ),
        (
            both("a", "x").or(eq("line", "a")),
            "by a scan of all records",
            "a#x#1 a#x#2 a#y#1",
        ),
    ] {
        check_found(&store, "Call", predicate, plan, found);
    }
}

#[test]
fn an_identifier_is_an_index_of_its_own() {
    let store = orders_and_posts();
    let (field, range) = (Predicate::field, KEY_RANGE);
    for (model, predicate, plan, found) in [
        ("Post", field("id", Op::BeginsWith("p".into())), range, "p1 p2"),
        (
            "Post",
            field("id", Op::Between("p2".into(), "q".into())).and(eq("title", "p2")),
            "by a range of the index `byTitle`",
            "p2",
        ),
        (
            "Post",
            eq("id", "q1").or(eq("id", "p1")),
            "by 2 identifiers",
            "p1 q1",
        ),
        (
            "Post",
            eq("id", "q1").or(eq("id", "q1")),
            "by identifier q1",
            "q1",
        ),
        (
            "Post",
            eq("title", "q1").or(eq("title", "p1")).or(eq("title", "q1")),
            "by 2 ranges of the index `byTitle`",
            "p1 q1",
        ),
    ] {
        check_found(&store, model, predicate, plan, found);
    }
}

#[test]
fn a_page_of_a_sorted_query_holds_no_more_than_it_must() {
    let mut top = Top::new(BoundSort::default(), 3);
    for number in 0..100_u8 {
        top.offer(&[100 - number], &Vec::<Value>::new(), &[number], None);
    }
    let rows: Vec<_> = top.into_sorted().into_iter().map(|(row, _)| row).collect();
    assert_eq!(rows, [[99], [98], [97]]);
}

#[test]
fn a_reference_is_not_taken_for_the_beginning_of_another() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=t blogId=b1");
    save(&mut store, "Post", "id=p2 title=t blogId=b10");
    let found = store
        .write(5, |txn| {
            txn.referring(&"Post".into(), &["blogId"], &["b1".into()], usize::MAX)
        })
        .unwrap()
        .value;
    assert_eq!(found, [RecordId::text("p1")]);
}
