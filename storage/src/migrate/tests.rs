//! What is carried over is what the steps say, and the log that was carried over says the same.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use landfall_core::{
    Acknowledged, Change, Checkpoint, Migration, Op, Predicate, RecordKey, SchemaParts, SyncCursor,
};

use super::*;
use crate::test_support::{
    all, append, arrived, assert_sound, built, everything, field, in_directory, options_with, post, put,
    put_fields, remote, remove, save, sent, shop_parts, snapshot,
};
use crate::{Disk, OnIncompatible, Query, Store, StoreOptions};

/// The shop in which posts are articles: their rating is a text called mark, their extra is gone, the language is
/// required, and a status that was a draft is old.
fn newer() -> SchemaParts {
    let mut parts = shop_parts();
    let article = &mut parts.models[1];
    article.name = "Article".into();
    article.plural_name = "Articles".into();
    article.fields.retain(|field| field.name != "extra");
    for old in &mut article.fields {
        if old.name == "rating" {
            *old = field("mark: String");
        }
    }
    article.fields.push(field("language: String!"));
    article.indexes.retain(|index| index.name != "byExtra");
    for name in article.indexes.iter_mut().flat_map(|index| &mut index.fields) {
        if name == "rating" {
            *name = "mark".into();
        }
    }
    parts.enums[0].values.retain(|value| value != "DRAFT");
    parts
}

fn steps() -> Migration {
    Migration::named("articles")
        .rename_model("Post", "Article")
        .rename_field("Article", "rating", "mark")
        .retype("Article", "mark")
        .remove_field("Article", "extra")
        .fill("Article", "language", "en")
        .convert("Article", "status", |status| {
            let is_draft = status.as_str() == Some("DRAFT");
            Ok(if is_draft { "OLD".into() } else { status.clone() })
        })
}

fn list(all: impl IntoIterator<Item = Migration>) -> Migrations {
    let mut migrations = Migrations::default();
    all.into_iter().for_each(|migration| migrations.push(migration));
    migrations
}

fn options(path: &Path, parts: SchemaParts) -> StoreOptions {
    options_with(Disk::Directory(path.to_owned()), built(parts))
}

fn open(path: &Path, parts: SchemaParts, migrations: &Migrations) -> Result<Store, StorageError> {
    Store::open_migrating(options(path, parts), migrations)
}

fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Blog", "id=b1 name=n");
    save(
        &mut store,
        "Post",
        "id=p1 title=a rating=3 status=DRAFT extra=x blogId=b1",
    );
    let seq = save(&mut store, "Post", "id=p2 title=b status=LIVE").seq;
    append(&mut store, sent(&post("p2"), seq)).unwrap();
    let ack = Acknowledged {
        key: post("p2"),
        mutation: seq,
        remote: remote(&post("p2"), 1, "id=p2 title=b status=LIVE rating=null extra=null"),
    };
    append(&mut store, Change::Acknowledged(ack)).unwrap();
    append(
        &mut store,
        arrived(&post("p3"), 4, "id=p3 title=c rating=9 status=OLD"),
    )
    .unwrap();
    save(&mut store, "Post", "id=p3 rating=8");
    let cursor = Checkpoint {
        model: "Post".into(),
        cursor: SyncCursor::default(),
    };
    append(&mut store, Change::Checkpoint(cursor)).unwrap();
    store
        .write(5, |txn| put(txn, "Post", "id=p4 title=gone").map(drop))
        .unwrap();
    store.write(5, |txn| remove(txn, &post("p4")).map(drop)).unwrap();
    directory
}

#[test]
fn everything_is_carried_over_and_the_log_says_the_same() {
    let directory = filled();
    let refused = open(directory.path(), newer(), &Migrations::default()).unwrap_err();
    assert!(
        matches!(refused, StorageError::SchemaIncompatible { .. }),
        "{refused}"
    );

    let store = open(directory.path(), newer(), &list([steps()])).unwrap();
    let snapshot = snapshot(&store);
    let shown: Vec<String> = all(&snapshot, "Article")
        .iter()
        .map(|record| {
            let of = |name: &str| record.get(name).unwrap().to_string();
            [of("id"), of("mark"), of("status"), of("language"), of("blogId")].join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#""p1" "3" "OLD" "en" "b1""#,
            r#""p2" null "LIVE" "en" null"#,
            r#""p3" "8" "OLD" "en" null"#,
        ]
    );
    assert_sound(&store);
    // Unsent work by its new names, and the server's record under it.
    let pending = snapshot.pending(Seq::ZERO, 10).unwrap();
    let told: Vec<String> = pending
        .iter()
        .map(|m| format!("{} {:?}", m.key, m.patch))
        .collect();
    assert_eq!(pending.len(), 3, "{told:?}");
    assert!(
        told[1].contains("Article/p1") && told[1].contains("mark") && !told[1].contains("extra"),
        "{told:?}"
    );
    assert_eq!(pending[2].patch, [("mark".into(), Value::from("8"))].into());
    let state = snapshot.state(&RecordKey::new("Article", "p3")).unwrap();
    assert_eq!(state.sync.unwrap().version.0, 4);
    let mark = snapshot.schema().model("Article").unwrap().slot("mark").unwrap();
    assert_eq!(state.shadow.unwrap()[mark.index()], "9".into());
    // Indexes are those of the new rows.
    let by_mark = Query {
        predicate: Predicate::field("mark", Op::Eq("8".into())),
        ..Query::all("Article")
    };
    assert_eq!(
        snapshot.explain(&by_mark).unwrap().to_string(),
        "by a range of the index `byRating`"
    );
    assert_eq!(snapshot.query(&by_mark).unwrap().len(), 1);
}

#[test]
fn a_store_goes_through_each_migration_once() {
    let directory = filled();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let counting = Migration::named("marks are loud").convert("Article", "mark", move |mark| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Value::from(format!("{}!", mark.as_str().unwrap_or_default())))
    });
    drop(open(directory.path(), newer(), &list([steps()])).unwrap());
    let renaming = || Migration::named("a name that was").rename_field("Article", "stars", "mark");
    // Nothing leads from the schema to itself but a conversion of values; what else is new is noted and not carried out.
    let migrations = || list([steps(), renaming(), counting.clone()]);
    drop(open(directory.path(), newer(), &migrations()).unwrap());
    let called = calls.load(Ordering::Relaxed);
    assert!(called > 0);
    let store = open(directory.path(), newer(), &migrations()).unwrap();
    let mark = all(&snapshot(&store), "Article")[0].get("mark").cloned();
    assert_eq!(mark, Some("3!".into()));
    drop(store);
    let mut newest = newer();
    newest.models[1].fields.push(field("size: Int!"));
    let sizes = Migration::named("sizes").fill("Article", "size", 1);
    let store = open(
        directory.path(),
        newest,
        &list([steps(), renaming(), counting, sizes]),
    )
    .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), called);
    assert_eq!(all(&snapshot(&store), "Article")[0].get("size"), Some(&1.into()));
    assert_sound(&store);
}

#[test]
fn several_versions_are_caught_up_with_in_one_go() {
    let directory = filled();
    let mut newest = newer();
    newest.models[1].fields.push(field("size: Int!"));
    let sizes = Migration::named("sizes").fill("Article", "size", 7);
    let progress = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&progress);
    let mut migrations = list([steps(), sizes]);
    migrations.on_progress(Arc::new(move |at| {
        assert!(at.done <= at.total);
        heard.fetch_max(at.done, Ordering::Relaxed);
    }));
    let store = open(directory.path(), newest, &migrations).unwrap();
    assert!(progress.load(Ordering::Relaxed) > 10);
    let article = &all(&snapshot(&store), "Article")[0];
    assert_eq!(
        (article.get("size"), article.get("mark")),
        (Some(&7.into()), Some(&"3".into()))
    );
    assert_sound(&store);
}

#[test]
fn what_cannot_be_carried_over_changes_nothing() {
    let directory = filled();
    let before = everything(&in_directory(directory.path()));
    let failing = Migration::named("m")
        .rename_model("Post", "Article")
        .convert("Article", "rating", |rating| match rating {
            Value::Int(8) => Err("eight is odd".to_owned()),
            other => Ok(Value::from(other.to_string())),
        })
        .rename_field("Article", "rating", "mark")
        .remove_field("Article", "extra")
        .convert("Article", "status", |_| Ok("OLD".into()))
        .fill("Article", "language", "en");
    let error = open(directory.path(), newer(), &list([failing])).unwrap_err();
    assert!(matches!(error, StorageError::MigrationFailed { .. }));
    assert!(error.to_string().contains("eight is odd"), "{error}");
    assert!(error.to_string().contains("`Article/p3`"), "{error}");
    // Steps that leave something out are told what.
    let error = open(
        directory.path(),
        newer(),
        &list([Migration::named("m").rename_model("Post", "Article")]),
    );
    match error {
        Err(StorageError::SchemaIncompatible { reasons }) => {
            assert!(
                reasons
                    .iter()
                    .any(|reason| reason.contains("`Article.rating` was removed")),
                "{reasons:?}"
            );
            assert!(
                !reasons.iter().any(|reason| reason.contains("model `Post`")),
                "{reasons:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    let misfit = open(
        directory.path(),
        newer(),
        &list([Migration::named("m").remove_model("Nobody")]),
    );
    assert!(matches!(misfit, Err(StorageError::MigrationMisfit(_))));
    assert_eq!(everything(&in_directory(directory.path())), before);
}

#[test]
fn a_rehearsal_says_what_would_be_done_and_does_nothing() {
    let directory = filled();
    let before = everything(&in_directory(directory.path()));
    let report = Store::rehearse(&options(directory.path(), newer()), &list([steps()])).unwrap();
    assert_eq!(
        (report.applied.as_slice(), report.records),
        (["articles".to_owned()].as_slice(), 3)
    );
    assert_eq!(report.mutations, 2);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains("model `Post` was removed"))
    );
    assert!(Store::rehearse(&options(directory.path(), newer()), &Migrations::default()).is_err());
    assert_eq!(everything(&in_directory(directory.path())), before);
}

/// The shop without the rating and the extra of posts, and the steps that take them away.
fn without_rating_and_extra() -> (SchemaParts, Migrations) {
    let mut parts = shop_parts();
    let post = &mut parts.models[1];
    post.fields
        .retain(|field| field.name != "rating" && field.name != "extra");
    post.indexes.retain(|index| {
        !index
            .fields
            .iter()
            .any(|name| name == "rating" || name == "extra")
    });
    let gone = Migration::named("less")
        .rename_field("Post", "rating", "mark")
        .remove_field("Post", "mark")
        .remove_field("Post", "extra");
    (parts, list([gone]))
}

#[test]
fn values_that_the_server_never_gets_are_told_by_field() {
    let directory = filled();
    let (parts, less) = without_rating_and_extra();
    let report = Store::rehearse(&options(directory.path(), parts), &less).unwrap();
    let told: Vec<String> = report.lost_values.iter().map(ToString::to_string).collect();
    // p2 is with the server; the edit of p3 sets its rating, the create of p1 both.
    assert_eq!(
        told,
        [
            "1 unsent change sets `Post.extra`, which the server never got",
            "2 unsent changes set `Post.rating`, which the server never got",
        ]
    );
    assert_eq!((report.mutations, report.waiting), (2, 3));
    let report = Store::rehearse(&options(directory.path(), newer()), &list([steps()])).unwrap();
    assert_eq!(
        report.lost_values,
        [LostValues {
            model: "Article".into(),
            field: "extra".into(),
            changes: 1
        }]
    );
    // Nothing is lost where nothing goes, and what waits is counted all the same.
    let report = Store::rehearse(&options(directory.path(), shop_parts()), &Migrations::default()).unwrap();
    assert_eq!((report.lost_values.len(), report.waiting), (0, 3));
}

#[test]
fn values_that_the_server_never_gets_are_told_though_the_log_lost_the_change() {
    let directory = filled();
    let store = in_directory(directory.path());
    let copy = tempfile::tempdir().unwrap();
    let history = crate::history::History::of_snapshot(snapshot(&store)).unwrap();
    let edit = snapshot(&store)
        .pending(Seq::ZERO, 10)
        .unwrap()
        .into_iter()
        .find(|mutation| mutation.key == post("p3"))
        .unwrap();
    history.fork(edit.seq, copy.path()).unwrap();
    in_directory(copy.path()).tamper(|transaction| {
        transaction.open_table(LOG).unwrap().remove(edit.seq.0).unwrap();
    });
    // The log knows nothing of the edit, and does not know that it does not.
    let damaged = crate::history::open_for_inspection(copy.path()).unwrap();
    let by_the_log = damaged.pending(damaged.bounds().1).unwrap();
    assert!(by_the_log.iter().all(|mutation| mutation.key != post("p3")));
    drop(damaged);
    let (parts, steps) = without_rating_and_extra();
    let report = Store::rehearse(&options(copy.path(), parts), &steps).unwrap();
    let ratings = report.lost_values.iter().find(|lost| lost.field == "rating");
    assert_eq!(
        ratings.map(|lost| lost.changes),
        Some(2),
        "{:?}",
        report.lost_values
    );
}

#[test]
fn models_may_swap_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Blog", "id=x name=blog");
    save(&mut store, "Order", "customer=x number=1 state=new");
    drop(store);
    let mut parts = shop_parts();
    parts.models[0].name = "Order".into();
    parts.models[2].name = "Blog".into();
    parts.models.remove(1);
    let swap = Migration::named("swap")
        .rename_model("Blog", "Third")
        .rename_model("Order", "Blog")
        .rename_model("Third", "Order");
    let store = open(directory.path(), parts, &list([swap])).unwrap();
    let snapshot = snapshot(&store);
    assert_eq!(all(&snapshot, "Order")[0].get("name"), Some(&"blog".into()));
    assert_eq!(all(&snapshot, "Blog")[0].get("state"), Some(&"new".into()));
    assert_sound(&store);
}

#[test]
fn a_model_goes_once_nothing_of_it_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    let key = RecordKey::new(
        "Order",
        landfall_core::RecordId::new(vec![
            landfall_core::IdPart::Text("c".into()),
            landfall_core::IdPart::Int(1),
        ]),
    );
    let seq = save(&mut store, "Order", "customer=c number=1 state=new").seq;
    save(&mut store, "Blog", "id=b1 name=n");
    drop(store);
    let mut parts = shop_parts();
    parts.models.pop();
    let go = || list([Migration::named("no orders").remove_model("Order")]);
    let error = open(directory.path(), parts.clone(), &go()).unwrap_err();
    assert!(
        error.to_string().contains("let it be sent or discard it first"),
        "{error}"
    );
    let mut store = in_directory(directory.path());
    append(&mut store, sent(&key, seq)).unwrap();
    let ack = Acknowledged {
        remote: remote(&key, 1, "customer=c number=1 state=new"),
        key,
        mutation: seq,
    };
    append(&mut store, Change::Acknowledged(ack)).unwrap();
    drop(store);
    let store = open(directory.path(), parts, &go()).unwrap();
    assert_eq!(all(&snapshot(&store), "Blog").len(), 1);
    assert_sound(&store);
    drop(store);
    // Should the model come back one day, its old records do not.
    let mut store = in_directory(directory.path());
    store.rebuild().unwrap();
    assert!(all(&snapshot(&store), "Order").is_empty());
    assert_sound(&store);
}

#[test]
fn a_new_store_and_a_wiped_one_need_no_migration() {
    let directory = tempfile::tempdir().unwrap();
    let boom = || Migration::named("boom").convert("Article", "mark", |_| Err("never asked".to_owned()));
    drop(open(directory.path(), newer(), &list([boom()])).unwrap());
    let other = filled();
    let options = StoreOptions {
        incompatible: OnIncompatible::Wipe,
        ..options(other.path(), newer())
    };
    let store = Store::open(options).unwrap();
    assert!(all(&snapshot(&store), "Article").is_empty());
}

/// The shop whose places have these members, one of them of an enum of their own.
fn places(place: &[&str], moods: &[&str]) -> SchemaParts {
    let mut parts = shop_parts();
    parts.enums.push(landfall_core::EnumDef {
        name: "Mood".into(),
        values: moods.iter().map(ToString::to_string).collect(),
    });
    let fields = place.iter().map(|text| {
        let mut field = field(text);
        if field.name == "mood" {
            field.ty = landfall_core::FieldType::Enum("Mood".into());
        }
        (field.name.clone(), field)
    });
    parts.non_models[0].fields = fields.collect();
    parts
}

#[test]
fn objects_are_carried_over_to_a_type_that_lost_members_and_enum_values() {
    let old = || places(&["city: String", "zip: Int", "mood: String"], &["GOOD", "BAD"]);
    let new = || places(&["city: String!", "height: Int!", "mood: String"], &["GOOD"]);
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), old(), &Migrations::default()).unwrap();
    let place = |text: &str| Value::from(&serde_json::from_str::<serde_json::Value>(text).unwrap());
    for (id, of_post) in [
        ("p1", place(r#"{"city":"Ulm","zip":1,"mood":"BAD"}"#)),
        ("p2", Value::Null),
    ] {
        let fields = [
            ("id".into(), id.into()),
            ("title".into(), "t".into()),
            ("place".into(), of_post),
        ];
        let put = |txn: &mut crate::Txn<'_>| put_fields(txn, "Post", &fields.into()).map(drop);
        store.write(5, put).unwrap();
    }
    drop(store);
    let refused = open(directory.path(), new(), &Migrations::default())
        .unwrap_err()
        .to_string();
    for reason in [
        "`Place.zip` was removed",
        "`Place.height` is new",
        "lost the value BAD",
    ] {
        assert!(refused.contains(reason), "{refused}");
    }
    let carry = Migration::named("heights").convert("Post", "place", |place| {
        let Value::Object(mut members) = place.clone() else {
            return Err("no place".to_owned());
        };
        members.remove("zip");
        members.insert("height".into(), 3.into());
        members.insert("mood".into(), "GOOD".into());
        Ok(Value::Object(members))
    });
    let store = open(directory.path(), new(), &list([carry])).unwrap();
    assert_sound(&store);
    let found = all(&snapshot(&store), "Post");
    assert_eq!(
        found[0].get("place"),
        Some(&place(r#"{"city":"Ulm","height":3,"mood":"GOOD"}"#))
    );
    assert_eq!(found[1].get("place"), Some(&Value::Null));
    drop(store);
    // By the types alone as well, where no object is lost by it.
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), old(), &Migrations::default()).unwrap();
    save(&mut store, "Post", "id=p1 title=t");
    drop(store);
    let by_types = || list([Migration::named("types").retype("Post", "place")]);
    let mut store = open(directory.path(), new(), &by_types()).unwrap();
    save(&mut store, "Post", "id=p2 title=t");
    assert_sound(&store);
}

#[test]
fn a_type_stays_as_it_is_while_a_field_that_is_not_converted_holds_it() {
    let two = |place: &[&str]| {
        let mut parts = places(place, &["GOOD"]);
        let second = landfall_core::FieldDef {
            name: "second".into(),
            ty: landfall_core::FieldType::NonModel("Place".into()),
            ..field("second: String")
        };
        parts.models[1].fields.push(second);
        parts
    };
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(
        directory.path(),
        two(&["city: String", "zip: Int"]),
        &Migrations::default(),
    )
    .unwrap();
    save(&mut store, "Post", "id=p1 title=t");
    drop(store);
    let carry = Migration::named("one of two").retype("Post", "place");
    let refused = open(directory.path(), two(&["city: String"]), &list([carry])).unwrap_err();
    assert!(
        refused.to_string().contains("`Place.zip` was removed"),
        "{refused}"
    );
}

#[test]
fn a_conversion_of_values_is_gone_through_once_though_the_data_fits() {
    let directory = filled();
    let louder = || {
        list([Migration::named("louder").convert("Post", "title", |title| {
            let text = title.as_str().ok_or("no text")?;
            Ok(format!("{text}!").into())
        })])
    };
    let titles = |store: &Store| {
        let posts = all(&snapshot(store), "Post");
        let titles = posts
            .iter()
            .filter_map(|post| post.get("title")?.as_str().map(str::to_owned));
        titles.collect::<Vec<_>>()
    };
    let before = titles(&in_directory(directory.path()));
    let after: Vec<String> = before.iter().map(|title| format!("{title}!")).collect();
    let report = Store::rehearse(&options(directory.path(), shop_parts()), &louder()).unwrap();
    assert_eq!(
        (report.applied, report.skipped),
        (vec!["louder".to_owned()], vec![])
    );
    for _ in 0..2 {
        let store = open(directory.path(), shop_parts(), &louder()).unwrap();
        assert_eq!(titles(&store), after);
        assert_sound(&store);
    }
    let report = Store::rehearse(&options(directory.path(), shop_parts()), &louder()).unwrap();
    assert_eq!(
        (report.applied, report.skipped),
        (vec![], vec!["louder".to_owned()])
    );
}

#[test]
fn a_name_that_is_used_up_is_said_where_the_data_does_not_fit() {
    let directory = filled();
    let empty = || list([Migration::named("once")]);
    drop(open(directory.path(), shop_parts(), &empty()).unwrap());
    let again = list([Migration::named("once").remove_model("Post")]);
    let mut parts = shop_parts();
    parts.models.remove(1);
    let refused = open(directory.path(), parts, &again).unwrap_err().to_string();
    assert!(refused.contains("\"once\" was gone through before"), "{refused}");
}

#[test]
fn progress_ends_with_everything_done_though_not_every_model_is_touched() {
    let directory = filled();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let mut migrations = list([steps()]);
    migrations.on_progress(Arc::new(move |at| {
        hears.lock().unwrap().push((at.done, at.total));
    }));
    drop(open(directory.path(), newer(), &migrations).unwrap());
    let told = told.lock().unwrap().clone();
    // Of the migration, then of the indexes.
    let ends = told
        .windows(2)
        .filter(|pair| pair[1].0 < pair[0].0)
        .map(|pair| pair[0]);
    let ends: Vec<_> = ends.chain(told.last().copied()).collect();
    assert_eq!(ends.len(), 2, "{told:?}");
    assert!(ends.iter().all(|(done, total)| done == total), "{told:?}");
}

/// A write, an arrival or a delete of a post.
fn step() -> impl Strategy<Value = (u8, String, u8)> {
    let rating = select(vec!["null", "-1", "7"]);
    let status = select(vec!["null", "DRAFT", "LIVE"]);
    let fields = (select(vec!["s", "t"]), rating, status)
        .prop_map(|(title, rating, status)| format!("title={title} rating={rating} status={status} extra=e"));
    (0..5_u8, fields, 0..8_u8)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x1a2d_fa11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happened_before_is_carried_over(steps_taken in vec(step(), 0..30)) {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        for (version, (number, fields, what)) in (1..).zip(&steps_taken) {
            let id = format!("p{number}");
            let fields = format!("id={id} {fields}");
            match what {
                0 => drop(append(&mut store, arrived(&post(&id), version, &fields))),
                1 => drop(append(&mut store, arrived(&post(&id), version, "deleted"))),
                2 => drop(store.write(5, |txn| remove(txn, &post(&id)).map(drop))),
                _ => drop(store.write(5, |txn| put(txn, "Post", &fields).map(drop))),
            }
        }
        let before = all(&snapshot(&store), "Post");
        let waiting = snapshot(&store).pending_len().unwrap();
        drop(store);
        let store = open(directory.path(), newer(), &list([steps()])).unwrap();
        assert_sound(&store);
        let after = all(&snapshot(&store), "Article");
        prop_assert_eq!(before.len(), after.len());
        prop_assert_eq!(snapshot(&store).pending_len().unwrap(), waiting);
        for (old, new) in before.iter().zip(&after) {
            let mark = match old.get("rating").unwrap() {
                Value::Null => Value::Null,
                number => Value::from(number.to_string()),
            };
            prop_assert_eq!(new.get("mark"), Some(&mark));
            prop_assert_eq!(new.get("title"), old.get("title"));
            prop_assert_eq!(new.get("language"), Some(&"en".into()));
            prop_assert_eq!(new.sync(), old.sync());
            prop_assert!(new.get("status") != Some(&"DRAFT".into()));
        }
    }
}
