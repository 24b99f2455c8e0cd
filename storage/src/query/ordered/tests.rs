//! Queries over relations, and pages by cursor, find what looking at every record by hand would find.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use landfall_core::{Association, Op, Page, Predicate, PredicateError, RecordKey, Schema, Sort};

use super::*;
use crate::test_support::{
    all, built, names, options_with, put, relation, remove, save, shop_parts, snapshot, value,
};
use crate::{Disk, Store};

/// The shop, whose blogs know their posts and their newest order.
fn linked_shop() -> Schema {
    let mut parts = shop_parts();
    let to = |field: &str| names(&[field]);
    parts.models[0].fields.push(relation(
        "posts",
        "Post",
        Association::HasMany {
            associated_with: to("blogId"),
        },
    ));
    parts.models[0].fields.push(relation(
        "order",
        "Order",
        Association::HasOne {
            associated_with: to("blogId"),
            targets: Vec::new(),
        },
    ));
    built(parts)
}

fn store() -> Store {
    Store::open(options_with(Disk::Memory, linked_shop())).unwrap()
}

/// A blog, post or order, to be saved or removed.
#[derive(Clone, Debug)]
enum Step {
    Put(&'static str, String),
    Remove(&'static str, String),
}

fn step() -> impl Strategy<Value = Step> {
    let blog_id = || select(vec!["b1", "b2", "b3", "null"]);
    let rating = || select(vec!["null", "0", "1", "2"]);
    prop_oneof![
        2 => (1..4_u8, select(vec!["x", "y", "z"]))
            .prop_map(|(id, name)| Step::Put("Blog", format!("id=b{id} name={name}"))),
        6 => (0..9_u8, select(vec!["s", "t"]), rating(), blog_id()).prop_map(|(id, title, rating, blog)| {
            Step::Put("Post", format!("id=p{id} title={title} rating={rating} blogId={blog}"))
        }),
        1 => (0..3_u8, blog_id())
            .prop_map(|(id, blog)| Step::Put("Order", format!("customer=c number={id} blogId={blog}"))),
        1 => (1..4_u8).prop_map(|id| Step::Remove("Blog", format!("b{id}"))),
        1 => (0..9_u8).prop_map(|id| Step::Remove("Post", format!("p{id}"))),
    ]
}

fn take(store: &mut Store, step: &Step) {
    store
        .write(5, |txn| match step {
            Step::Put(model, fields) => put(txn, model, fields).map(drop),
            Step::Remove(model, id) => remove(txn, &RecordKey::new(*model, id.as_str())).map(drop),
        })
        .unwrap();
}

/// Predicates of posts, and of blogs inside them, and of posts inside these.
fn post_predicate(depth: u32) -> BoxedStrategy<Predicate> {
    let leaf = prop_oneof![
        select(vec!["null", "0", "1"]).prop_map(|v| Predicate::field("rating", Op::Eq(value(v)))),
        select(vec!["0", "1"]).prop_map(|v| Predicate::field("rating", Op::Lt(value(v)))),
        Just(Predicate::field("title", Op::In(vec!["s".into(), "q".into()]))),
        Just(Predicate::All),
    ];
    grouped(leaf.boxed(), depth, |depth| {
        blog_predicate(depth)
            .prop_map(|p| Predicate::related("blog", p))
            .boxed()
    })
}

fn blog_predicate(depth: u32) -> BoxedStrategy<Predicate> {
    let leaf = prop_oneof![
        select(vec!["x", "y"]).prop_map(|v| Predicate::field("name", Op::Eq(v.into()))),
        Just(Predicate::All),
    ];
    grouped(leaf.boxed(), depth, |depth| {
        prop_oneof![
            2 => post_predicate(depth).prop_map(|p| Predicate::related("posts", p)),
            1 => Just(Predicate::related("order", Predicate::All)),
        ]
        .boxed()
    })
}

fn grouped(
    leaf: BoxedStrategy<Predicate>,
    depth: u32,
    related: impl Fn(u32) -> BoxedStrategy<Predicate>,
) -> BoxedStrategy<Predicate> {
    if depth == 0 {
        return leaf;
    }
    let one = prop_oneof![1 => leaf, 2 => related(depth - 1)].boxed();
    prop_oneof![
        3 => one.clone(),
        1 => vec(one.clone(), 0..3).prop_map(Predicate::And),
        1 => vec(one.clone(), 0..3).prop_map(Predicate::Or),
        1 => one.prop_map(|p| Predicate::Not(Box::new(p))),
    ]
    .boxed()
}

/// What SQL says of a record, by looking at all others.
fn holds(snapshot: &Snapshot, predicate: &Predicate, record: &Record) -> Option<bool> {
    match predicate {
        Predicate::All => Some(true),
        Predicate::Field(field, op) => op.test(&record.get(field).unwrap().as_ref()),
        Predicate::And(members) => {
            let results: Vec<_> = members.iter().map(|m| holds(snapshot, m, record)).collect();
            match () {
                () if results.contains(&Some(false)) => Some(false),
                () if results.contains(&None) => None,
                () => Some(true),
            }
        }
        Predicate::Or(members) => {
            let results: Vec<_> = members.iter().map(|m| holds(snapshot, m, record)).collect();
            match () {
                () if results.contains(&Some(true)) => Some(true),
                () if results.contains(&None) => None,
                () => Some(false),
            }
        }
        Predicate::Not(member) => holds(snapshot, member, record).map(|holds| !holds),
        Predicate::Related(relation, other) => Some(
            others(snapshot, relation, record)
                .iter()
                .any(|theirs| holds(snapshot, other, theirs) == Some(true)),
        ),
    }
}

fn others(snapshot: &Snapshot, relation: &str, record: &Record) -> Vec<Record> {
    let (model, near, far) = match relation {
        "blog" => ("Blog", "blogId", "id"),
        "posts" => ("Post", "id", "blogId"),
        "order" => ("Order", "id", "blogId"),
        other => panic!("no relation {other}"),
    };
    let mine = record.get(near).unwrap();
    let theirs = all(snapshot, model);
    theirs
        .into_iter()
        .filter(|other| !mine.is_null() && other.get(far) == Some(mine))
        .collect()
}

fn sort_value(snapshot: &Snapshot, key: &Sort, record: &Record) -> Value {
    match key.field.split_once('.') {
        None => record.get(&key.field).unwrap().clone(),
        Some((relation, rest)) => others(snapshot, relation, record)
            .first()
            .map_or(Value::Null, |other| {
                let key = Sort {
                    field: rest.into(),
                    direction: key.direction,
                };
                sort_value(snapshot, &key, other)
            }),
    }
}

fn by_hand(snapshot: &Snapshot, query: &Query) -> Vec<Value> {
    let mut found: Vec<Record> = all(snapshot, &query.model)
        .into_iter()
        .filter(|record| holds(snapshot, &query.predicate, record) == Some(true))
        .collect();
    found.sort_by(|a, b| {
        query
            .sort
            .iter()
            .map(|key| {
                let order = sort_value(snapshot, key, a).cmp_total(&sort_value(snapshot, key, b));
                match key.direction {
                    Direction::Ascending => order,
                    Direction::Descending => order.reverse(),
                }
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    let limit = query.page.limit.unwrap_or(usize::MAX);
    found
        .iter()
        .skip(query.page.offset())
        .take(limit)
        .map(id)
        .collect()
}

fn id(record: &Record) -> Value {
    record.get("id").unwrap().clone()
}

fn post_query() -> impl Strategy<Value = Query> {
    let key = select(vec![
        "rating",
        "title",
        "blog.name",
        "blog.id",
        "blog.order.number",
    ]);
    let direction = select(vec![Direction::Ascending, Direction::Descending]);
    let sort = (key, direction).prop_map(|(field, direction)| Sort {
        field: field.into(),
        direction,
    });
    let page = (option::of(0..4_usize), 0..2_usize).prop_map(|(limit, page)| Page { limit, page });
    (post_predicate(3), vec(sort, 0..3), page).prop_map(|(predicate, sort, page)| Query {
        model: "Post".into(),
        predicate,
        sort,
        page,
    })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn relations_are_followed_as_if_row_by_row(steps in vec(step(), 0..40), queries in vec(post_query(), 1..6)) {
        let mut store = store();
        steps.iter().for_each(|step| take(&mut store, step));
        let snapshot = snapshot(&store);
        for query in &queries {
            let found: Vec<Value> = snapshot.query(query).unwrap().iter().map(id).collect();
            prop_assert_eq!(&found, &by_hand(&snapshot, query), "{:?}", query);
            let everything = Query { page: Page::default(), ..query.clone() };
            let many = by_hand(&snapshot, &everything).len();
            prop_assert_eq!(snapshot.count("Post", &query.predicate).unwrap(), many as u64);
            prop_assert_eq!(snapshot.exists("Post", &query.predicate).unwrap(), many > 0);
            snapshot.explanation(query).unwrap();
        }
    }

    /// The pages taken together are the result, and what stays in its place while others come and go is seen once.
    #[test]
    fn pages_by_cursor_see_what_stays_exactly_once(
        before in vec(step(), 0..30),
        meanwhile in vec(step(), 0..30),
        query in post_query(),
        size in 1..4_usize,
    ) {
        let mut store = store();
        before.iter().for_each(|step| take(&mut store, step));
        let query = Query { page: Page::first(size), ..query };
        let whole = Query { page: Page::default(), ..query.clone() };
        let mut stays: BTreeSet<String> = BTreeSet::new();
        let at_first = by_hand(&snapshot(&store), &whole);
        stays.extend(at_first.iter().map(ToString::to_string));
        let mut meanwhile = meanwhile.iter();
        let mut touched = BTreeSet::new();
        let mut seen = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = snapshot(&store).page_after(&query, cursor.as_ref()).unwrap();
            prop_assert!(page.records.len() <= size);
            seen.extend(page.records.iter().map(|record| id(record).to_string()));
            // Handed out and taken back as text, as a server would.
            cursor = page.next.map(|next| next.to_string().parse().unwrap());
            if cursor.is_none() {
                break;
            }
            for step in meanwhile.by_ref().take(2) {
                take(&mut store, step);
                touched.insert(match step {
                    Step::Put("Post", fields) => format!("{:?}", &fields[3..5]),
                    Step::Remove("Post", id) => format!("{id:?}"),
                    // What the order or the predicate depends on may have changed for any post.
                    _ => {
                        touched.extend(stays.iter().cloned());
                        continue;
                    }
                });
            }
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        for stays in stays.difference(&touched) {
            prop_assert_eq!(seen.iter().filter(|id| *id == stays).count(), 1, "{} in {:?}", stays, seen);
        }
        if touched.is_empty() {
            prop_assert_eq!(distinct.len(), seen.len());
            let all: Vec<String> = at_first.iter().map(ToString::to_string).collect();
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn the_other_ends_of_many_records_are_those_of_each(steps in vec(step(), 0..40), predicate in post_predicate(1)) {
        let mut store = store();
        steps.iter().for_each(|step| take(&mut store, step));
        let snapshot = snapshot(&store);
        let (posts, blogs) = (all(&snapshot, "Post"), all(&snapshot, "Blog"));
        let found = snapshot.related("Post", "blog", &posts, &Predicate::All).unwrap();
        for (post, found) in posts.iter().zip(found) {
            prop_assert_eq!(found, others(&snapshot, "blog", post));
        }
        let found = snapshot.related("Blog", "posts", &blogs, &predicate).unwrap();
        for (blog, found) in blogs.iter().zip(found) {
            let mut theirs = others(&snapshot, "posts", blog);
            theirs.retain(|post| holds(&snapshot, &predicate, post) == Some(true));
            prop_assert_eq!(found, theirs);
        }
    }
}

#[test]
fn a_relation_costs_one_query_of_the_other_model() {
    let mut store = store();
    for number in 0..5 {
        save(&mut store, "Blog", &format!("id=b{number} name=n{}", number % 2));
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title=t blogId=b{number}"),
        );
    }
    let query = Query {
        predicate: Predicate::related("blog", Predicate::field("name", Op::Eq("n0".into()))),
        ..Query::all("Post")
    };
    let explained = snapshot(&store).explanation(&query).unwrap();
    assert_eq!(
        explained.to_string(),
        "`Post.blog` by a scan of all records (3 found), then by 3 ranges of the index `relation blog`, sorted"
    );
    let by_id = Query {
        predicate: Predicate::related("posts", Predicate::field("rating", Op::Eq(Value::Null))),
        ..Query::all("Blog")
    };
    let explained = snapshot(&store).explanation(&by_id).unwrap();
    assert_eq!(
        (explained.plan.as_str(), explained.sorts),
        ("by 5 identifiers", false)
    );
}

#[test]
fn one_of_several_values_is_sought_and_not_scanned_for() {
    let mut store = store();
    for number in 0..9 {
        save(
            &mut store,
            "Post",
            &format!("id=p{number} title=t rating={}", number % 5),
        );
    }
    let snapshot = snapshot(&store);
    let explained = |predicate: Predicate| {
        let query = Query {
            predicate,
            ..Query::all("Post")
        };
        let found = snapshot.query(&query).unwrap().len();
        assert_eq!(snapshot.count("Post", &query.predicate).unwrap(), found as u64);
        (snapshot.explanation(&query).unwrap().to_string(), found)
    };
    let ratings =
        |values: &[&str]| Predicate::field("rating", Op::In(values.iter().map(|v| value(v)).collect()));
    assert_eq!(
        explained(ratings(&["1", "3", "1.0", "null"])),
        ("by 2 ranges of the index `byRating`, sorted".to_owned(), 4)
    );
    let ids = Predicate::field("id", Op::In(vec!["p7".into(), "p1".into(), "q".into()]));
    assert_eq!(explained(ids), ("by 3 identifiers".to_owned(), 2));
    assert_eq!(
        explained(ratings(&[])),
        ("not at all, since nothing can match".to_owned(), 0)
    );
    // An operand that equals no one integer is looked for among all.
    assert_eq!(explained(ratings(&["1.5", "3"])).0, "by a scan of all records");
}

#[test]
fn what_cannot_be_followed_is_refused_with_what_can() {
    let store = store();
    let snapshot = snapshot(&store);
    let refused = |predicate: Predicate, sort: &[Sort]| {
        let query = Query {
            predicate,
            sort: sort.to_vec(),
            ..Query::all("Blog")
        };
        match snapshot.query(&query) {
            Err(StorageError::BadQuery(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(Predicate::related("author", Predicate::All), &[]).to_string(),
        "`Blog` has no relation `author` to follow; its relations are posts, order"
    );
    assert!(matches!(
        refused(Predicate::All, &[Sort::ascending("posts.title")]),
        PredicateError::SortByMany { .. }
    ));
    let inner = Predicate::related("posts", Predicate::field("size", Op::Eq(1.into())));
    assert!(matches!(refused(inner, &[]), PredicateError::UnknownField { model, .. } if model == "Post"));
    let mut deep = Predicate::All;
    for _ in 0..40 {
        deep = Predicate::related("posts", Predicate::related("blog", deep));
    }
    assert_eq!(refused(deep, &[]), PredicateError::TooDeep);
    let def = Arc::clone(snapshot.schema().model("Post").unwrap());
    assert!(matches!(
        Predicate::related("blog", Predicate::All).bind(&def),
        Err(PredicateError::RelationNotFollowed { .. })
    ));
}

#[test]
fn a_cursor_belongs_to_its_query_and_altered_ones_are_refused() {
    let mut store = store();
    for number in 0..4 {
        save(&mut store, "Post", &format!("id=p{number} title=t"));
    }
    let snapshot = snapshot(&store);
    let query = Query {
        page: Page::first(2),
        ..Query::all("Post")
    };
    let page = snapshot.page_after(&query, None).unwrap();
    let cursor = page.next.unwrap();
    let refused = |query: &Query, cursor: &Cursor| {
        matches!(
            snapshot.page_after(query, Some(cursor)),
            Err(StorageError::BadCursor { .. })
        )
    };
    let sorted = Query {
        sort: vec![Sort::ascending("title")],
        ..query.clone()
    };
    assert!(refused(&sorted, &cursor));
    let larger = Query {
        page: Page::first(100),
        ..query.clone()
    };
    assert_eq!(
        snapshot.page_after(&larger, Some(&cursor)).unwrap().records.len(),
        2
    );
    assert!(refused(&Query::all("Post"), &cursor));
    for text in ["", "00", "zz", "9", "é1", &"ab".repeat(40)] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}
