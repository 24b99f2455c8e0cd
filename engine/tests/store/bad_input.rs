//! What nobody should hand to a store: a clear error or a right result, and a sound store afterwards.

use landfall::{
    DataStore, Error, ModelQuery, Op, Predicate, PredicateError, Query, RECORD_BYTES_MAX, Record, RecordId,
    RecordKey, TransferError, TypedPredicate, Value, WriteRefused,
};

use crate::{Blog, Post, account, in_memory, open};

/// Values of every scalar that has a calendar or a limit, and models that need each other.
#[allow(dead_code, reason = "the records of these tests are untyped")]
mod odd {
    landfall::inline_schema!(
        "type Odd @model {
           number: Float
           whole: Int
           day: AWSDate
           at: AWSDateTime
           time: AWSTime
           stamp: AWSTimestamp
           text: String
         }
         enum Shade { PALE DARK }
         type Spot { x: Int! y: Int }
         type Sketch @model { shade: Shade shades: [Shade] sizes: [Int] spot: Spot }
         type Egg @model { henId: ID! hen: Hen @belongsTo(fields: [\"henId\"]) }
         type Hen @model { eggId: ID! egg: Egg @belongsTo(fields: [\"eggId\"]) }
         type Place @model { x: String! @primaryKey(sortKeyFields: [\"y\"]) y: String! name: String }"
    );
}

fn assert_sound(store: &DataStore) {
    let found = store.snapshot().unwrap().verify().unwrap();
    assert_eq!(found.differences, [] as [String; 0]);
}

/// Saves a record of named values.
async fn save(store: &DataStore, model: &str, fields: &[(&str, Value)]) -> Result<Record, Error> {
    let mut record = Record::new(store.records().def(model)?, Vec::new());
    for (field, value) in fields {
        assert!(record.set(field, value.clone()), "{model} has no {field}");
    }
    store.records().save(record).await
}

fn nested(depth: usize) -> Predicate {
    let leaf = Predicate::field("rating", Op::Gt(Value::Int(1)));
    (0..depth).fold(leaf, |inner, level| {
        if level % 2 == 0 {
            Predicate::Not(Box::new(inner))
        } else {
            Predicate::And(vec![inner])
        }
    })
}

#[tokio::test]
async fn a_deep_predicate_is_refused_before_it_is_looked_into() {
    let store = in_memory().await;
    store
        .save(Post::builder().title("T").rating(2).build().unwrap())
        .await
        .unwrap();
    let ask = |depth| {
        let query = Query {
            predicate: nested(depth),
            ..Query::all("Post")
        };
        store.records().query(&query)
    };
    assert_eq!(ask(60).unwrap().len(), 1);
    // Much deeper ones do not get here: a test's stack does not suffice to drop them.
    for depth in [100, 1_000] {
        let refused = ask(depth);
        assert!(
            matches!(refused, Err(Error::BadPredicate(PredicateError::TooDeep))),
            "{depth}"
        );
        let counted = store.records().count("Post", &nested(depth));
        assert!(
            matches!(counted, Err(Error::BadPredicate(PredicateError::TooDeep))),
            "{depth}"
        );
        let observed = store.records().observe("Post", nested(depth)).await;
        assert!(observed.is_err(), "{depth}");
        let deleted = store.records().delete_where("Post", nested(depth)).await;
        assert!(deleted.is_err(), "{depth}");
    }
    // Through relations as well.
    let through = (0..100).fold(Predicate::All, |inner, level| {
        let relation = if level % 2 == 0 { "blog" } else { "posts" };
        Predicate::Related(relation.into(), Box::new(inner))
    });
    let query = Query {
        predicate: through,
        ..Query::all("Blog")
    };
    assert!(matches!(
        store.records().query(&query),
        Err(Error::BadPredicate(_))
    ));
    assert_sound(&store);
}

/// A slip of the pen must not pass for an empty answer, nor for a model of which nothing is to be synced.
#[tokio::test]
async fn an_operand_that_no_field_could_hold_is_refused_wherever_a_predicate_is_given() {
    let store = DataStore::builder(odd::schema()).open().await.unwrap();
    save(&store, "Sketch", &[("id", "s1".into()), ("shade", "DARK".into())])
        .await
        .unwrap();
    let wrong = [
        ("shade", Op::Eq("DEAD".into()), "one of PALE, DARK"),
        ("shade", Op::Gt(5.into()), "one of PALE, DARK"),
        ("shades", Op::Contains("DEAD".into()), "one of PALE, DARK"),
        ("sizes", Op::Contains("x".into()), "an integer"),
        ("sizes", Op::Eq(5.into()), "a list"),
        ("spot", Op::Eq(1.into()), "a whole object of type `Spot`"),
    ];
    for (field, op, expected) in wrong {
        let predicate = Predicate::field(field, op);
        let counted = store.records().count("Sketch", &predicate).unwrap_err();
        assert!(
            matches!(&counted, Error::BadPredicate(PredicateError::BadOperand { expected: found, .. }) if found.starts_with(expected)),
            "{predicate:?}: {counted}"
        );
        assert!(
            store
                .records()
                .observe("Sketch", predicate.clone())
                .await
                .is_err()
        );
        assert!(
            store
                .records()
                .delete_where("Sketch", predicate.clone())
                .await
                .is_err()
        );
        let set = store.set_sync_expression_for("Sketch", predicate.clone()).await;
        assert!(matches!(set, Err(Error::BadPredicate(_))), "{predicate:?}");
        let opened = DataStore::builder(odd::schema())
            .sync_expression_for("Sketch", predicate.clone())
            .open()
            .await;
        assert!(matches!(opened, Err(Error::BadPredicate(_))), "{predicate:?}");
    }
    let dark = Predicate::field("shade", Op::Eq("DARK".into()));
    assert_eq!(store.records().count("Sketch", &dark).unwrap(), 1);
    assert_sound(&store);
}

#[tokio::test]
async fn a_huge_record_is_kept_whole() {
    let directory = tempfile::tempdir().unwrap();
    let at_home = || {
        DataStore::builder(odd::schema())
            .directory(directory.path())
            .open()
    };
    let mut text = "0123456789abcdef".repeat(RECORD_BYTES_MAX / 16);
    let store = at_home().await.unwrap();
    let larger = [("id", "huge".into()), ("text", text.as_str().into())];
    match save(&store, "Odd", &larger).await {
        Err(Error::Refused(WriteRefused::Invalid(invalid))) => {
            assert!(
                invalid.to_string().contains("`text` makes the record"),
                "{invalid}"
            );
        }
        other => panic!("{:?}", other.map(drop)),
    }
    assert_eq!(store.records().count("Odd", &Predicate::All).unwrap(), 0);
    // What the identifier and the empty fields take.
    text.truncate(RECORD_BYTES_MAX - 1_000);
    save(
        &store,
        "Odd",
        &[("id", "huge".into()), ("text", text.as_str().into())],
    )
    .await
    .unwrap();
    save(&store, "Odd", &[("id", "small".into())]).await.unwrap();
    store.close().await;
    let store = at_home().await.unwrap();
    let found = store
        .records()
        .get("Odd", &RecordId::text("huge"))
        .unwrap()
        .unwrap();
    assert!(found.get("text") == Some(&text.as_str().into()));
    assert_sound(&store);
    store
        .records()
        .delete(RecordKey::new("Odd", "huge"))
        .await
        .unwrap();
    assert_eq!(store.records().count("Odd", &Predicate::All).unwrap(), 1);
    store.close().await;
}

#[tokio::test]
async fn thousands_of_children_go_with_their_parent() {
    let store = in_memory().await;
    let blog = store
        .save(Blog::builder().name("B").build().unwrap())
        .await
        .unwrap();
    let other = store
        .save(Blog::builder().name("other").build().unwrap())
        .await
        .unwrap();
    let post = |number: usize| {
        let of = if number.is_multiple_of(10) { &other } else { &blog };
        Post::builder()
            .title(format!("t{number}"))
            .blog(of)
            .build()
            .unwrap()
    };
    store.save_all((0..5_000).map(post).collect()).await.unwrap();
    let mut changes = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    store.delete(&blog).await.unwrap();
    assert_eq!(store.count(TypedPredicate::<Post>::all()).unwrap(), 500);
    assert_eq!(
        changes.next_set().await.unwrap().unwrap().len(),
        4_500,
        "one change set"
    );
    assert_sound(&store);
}

#[tokio::test]
async fn the_same_key_twice_is_the_same_record() {
    let store = in_memory().await;
    store
        .save_all(vec![account("a", 1), account("a", 2)])
        .await
        .unwrap();
    assert_eq!(store.query(ModelQuery::<crate::Account>::all()).unwrap().len(), 1);
    assert_eq!(store.get::<crate::Account>("a").unwrap().unwrap().cents, 2);
    let lines = "{\"model\":\"Account\",\"fields\":{\"id\":\"a\",\"cents\":3}}\n".repeat(3);
    store.import_json_lines(lines.as_bytes(), |_| ()).await.unwrap();
    assert_eq!(store.get::<crate::Account>("a").unwrap().unwrap().cents, 3);
    assert_eq!(store.count(TypedPredicate::<crate::Account>::all()).unwrap(), 1);
    assert_sound(&store);

    // Parts of a key that only differ in where one ends and the next begins are different keys.
    let places = open(odd::schema()).await;
    let keys = [
        ("a", "bc"),
        ("ab", "c"),
        ("a\0", "b"),
        ("a", "\0b"),
        ("a#b", "c"),
        ("a", "b#c"),
    ];
    for (x, y) in keys {
        let name = format!("{x}|{y}");
        save(
            &places,
            "Place",
            &[("x", x.into()), ("y", y.into()), ("name", name.as_str().into())],
        )
        .await
        .unwrap();
    }
    for (x, y) in keys {
        let id = RecordId::new(vec![
            landfall_core::IdPart::Text(x.into()),
            landfall_core::IdPart::Text(y.into()),
        ]);
        let found = places.records().get("Place", &id).unwrap().unwrap();
        assert_eq!(found.get("name"), Some(&format!("{x}|{y}").as_str().into()));
    }
    assert_eq!(places.records().count("Place", &Predicate::All).unwrap(), 6);
    let nameless = save(&places, "Place", &[("x", "".into()), ("y", "abc".into())]).await;
    assert!(
        matches!(nameless, Err(Error::Refused(WriteRefused::Invalid(_)))),
        "{nameless:?}"
    );
    assert_sound(&places);
}

#[tokio::test]
async fn models_that_need_each_other_can_be_saved_and_deleted() {
    let store = open(odd::schema()).await;
    let hen = [("id", "h".into()), ("eggId", "e".into())];
    let egg = [("id", "e".into()), ("henId", "h".into())];
    // The first is saved before the other is there; in one transaction or one after another.
    save(&store, "Hen", &hen).await.unwrap();
    save(&store, "Egg", &egg).await.unwrap();
    let found = store.records().query(&Query {
        predicate: Predicate::Related(
            "egg".into(),
            Box::new(Predicate::Related("hen".into(), Box::new(Predicate::All))),
        ),
        ..Query::all("Hen")
    });
    assert_eq!(found.unwrap().len(), 1);
    let nobody = save(&store, "Hen", &[("id", "alone".into())]).await;
    assert!(
        matches!(nobody, Err(Error::Refused(WriteRefused::Invalid(_)))),
        "{nobody:?}"
    );
    store.records().delete(RecordKey::new("Hen", "h")).await.unwrap();
    assert_sound(&store);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_with_their_line() {
    let store = in_memory().await;
    let mut lines = b"{\"model\":\"Account\",\"fields\":{\"id\":\"a\",\"cents\":1}}\n".to_vec();
    lines.extend_from_slice(b"{\"model\":\"Account\",\"fields\":{\"id\":\"\xff\xfe\",\"cents\":1}}\n");
    let refused = store.import_json_lines(lines.as_slice(), |_| ()).await;
    assert!(
        matches!(refused, Err(TransferError::BadLine { line: 2, .. })),
        "{refused:?}"
    );
    // Half of a pair of UTF-16.
    let half = "{\"model\":\"Account\",\"fields\":{\"id\":\"\\ud800\",\"cents\":1}}";
    let refused = store.import_json_lines(half.as_bytes(), |_| ()).await;
    assert!(
        matches!(refused, Err(TransferError::BadLine { line: 1, .. })),
        "{refused:?}"
    );
    let refused = store
        .import_csv("Account", b"id,cents\n\xc3\x28,1\n".as_slice(), |_| ())
        .await;
    assert!(
        matches!(refused, Err(TransferError::BadLine { line: 2, .. })),
        "{refused:?}"
    );
    assert_sound(&store);
}

#[tokio::test]
async fn what_is_no_number_is_no_value() {
    let store = open(odd::schema()).await;
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = save(
            &store,
            "Odd",
            &[("id", "n".into()), ("number", Value::Float(number))],
        )
        .await;
        assert!(
            matches!(refused, Err(Error::Refused(WriteRefused::Invalid(_)))),
            "{number}: {refused:?}"
        );
    }
    for number in [f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0] {
        let saved = save(
            &store,
            "Odd",
            &[("id", "n".into()), ("number", Value::Float(number))],
        )
        .await
        .unwrap();
        assert!(
            saved
                .get("number")
                .unwrap()
                .cmp_total(&Value::Float(number))
                .is_eq(),
            "{number}"
        );
    }
    // Asked for, it is refused or found nowhere, but never everywhere.
    for number in [f64::NAN, f64::INFINITY] {
        for op in [Op::Eq(Value::Float(number)), Op::Gt(Value::Float(number))] {
            let found = store.records().count("Odd", &Predicate::field("number", op));
            assert!(
                matches!(found, Ok(0) | Err(Error::BadPredicate(_))),
                "{number}: {found:?}"
            );
        }
    }
    for number in ["1e999", "NaN", "Infinity"] {
        let line = format!("{{\"model\":\"Odd\",\"fields\":{{\"id\":\"n\",\"number\":{number}}}}}");
        let refused = store.import_json_lines(line.as_bytes(), |_| ()).await;
        assert!(
            matches!(refused, Err(TransferError::BadLine { line: 1, .. })),
            "{number}: {refused:?}"
        );
    }
    let refused = save(
        &store,
        "Odd",
        &[("id", "n".into()), ("whole", Value::Int(i64::MAX))],
    )
    .await;
    assert!(
        matches!(refused, Err(Error::Refused(_))),
        "an Int of GraphQL has 32 bits: {refused:?}"
    );
    assert_sound(&store);
}

#[tokio::test]
async fn days_that_no_calendar_has_are_refused() {
    let store = open(odd::schema()).await;
    for (field, bad) in [
        ("day", "2023-02-29"),
        ("day", "2024-13-01"),
        ("day", "0000-00-00"),
        ("day", "2024-1-1"),
        ("day", "tomorrow"),
        ("at", "2024-02-30T00:00:00Z"),
        ("at", "2024-02-01T25:00:00Z"),
        ("at", "2024-02-01T10:00:00"),
        ("at", "2024-02-01T10:00:00+99:00"),
        ("time", "24:00:01"),
        ("time", "12:60:00"),
    ] {
        let refused = save(&store, "Odd", &[("id", "d".into()), (field, bad.into())]).await;
        match refused {
            Err(Error::Refused(WriteRefused::Invalid(invalid))) => {
                assert!(invalid.to_string().contains(field), "{field} {bad}: {invalid}");
            }
            other => panic!("{field} {bad}: {other:?}"),
        }
    }
    for (field, good) in [
        ("day", "2024-02-29"),
        ("at", "2024-02-29T23:59:59.999Z"),
        ("time", "23:59:59"),
    ] {
        save(&store, "Odd", &[("id", "d".into()), (field, good.into())])
            .await
            .unwrap();
    }
    assert_sound(&store);
}
