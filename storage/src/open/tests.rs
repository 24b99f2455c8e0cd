use landfall_core::{
    Association, FieldDef, FieldType, ListDef, NonModelDef, Op, Predicate, SchemaParts, Seq,
};

use super::*;
use crate::test_support::{
    all, append, assert_sound, built, everything, field, in_directory, index, model, names, options,
    options_with, post, relation, save, sent, shop, shop_parts, snapshot,
};
use crate::{Disk, Query, Store};
use std::path::Path;

/// A directory with a store of the usual schema that holds a post, a blog, an order and something to send.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Blog", "id=b1 name=n");
    let seq = save(
        &mut store,
        "Post",
        "id=p1 title=a rating=3 status=LIVE tags=[x] blogId=b1 day=2026-01-02",
    )
    .seq;
    save(&mut store, "Order", "customer=c number=1 state=new");
    append(&mut store, sent(&post("p1"), seq)).unwrap();
    directory
}

fn open_with(path: &Path, parts: SchemaParts, incompatible: OnIncompatible) -> Result<Store, StorageError> {
    let disk = Disk::Directory(path.to_owned());
    Store::open(StoreOptions {
        incompatible,
        ..options_with(disk, built(parts))
    })
}

fn post_of(parts: &mut SchemaParts) -> &mut landfall_core::ModelParts {
    parts
        .models
        .iter_mut()
        .find(|model| &*model.name == "Post")
        .unwrap()
}

fn field_of<'a>(parts: &'a mut SchemaParts, name: &str) -> &'a mut FieldDef {
    post_of(parts)
        .fields
        .iter_mut()
        .find(|field| &*field.name == name)
        .unwrap()
}

#[test]
fn a_schema_that_adds_keeps_everything_and_builds_new_indexes() {
    let directory = filled();
    let mut parts = shop_parts();
    parts.models.push(model("Author", &["id: ID!", "name: String!"]));
    parts.enums[0].values.push("NEW".into());
    parts.non_models[0]
        .fields
        .insert("zip".into(), field("zip: String"));
    let post = post_of(&mut parts);
    // In the middle, so that the slots of the others move.
    post.fields.insert(1, field("subtitle: String"));
    post.fields.push(field("authorId: ID"));
    post.fields.push(relation(
        "author",
        "Author",
        Association::BelongsTo {
            targets: names(&["authorId"]),
        },
    ));
    post.indexes.push(index("byDay", &["day", "rating"]));
    field_of(&mut parts, "title").required = false;
    let mut store = open_with(directory.path(), parts.clone(), OnIncompatible::Refuse).unwrap();
    let record = snapshot(&store).get("Post", &"p1".into()).unwrap().unwrap();
    assert_eq!(record.get("title"), Some(&"a".into()));
    assert_eq!(record.get("subtitle"), Some(&landfall_core::Value::Null));
    assert_eq!(record.get("rating"), Some(&3.into()));
    let by_day = Query {
        predicate: Predicate::field("day", Op::Eq("2026-01-02".into())),
        ..Query::all("Post")
    };
    assert_eq!(
        snapshot(&store).explain(&by_day).unwrap().to_string(),
        "by a range of the index `byDay`"
    );
    assert_eq!(snapshot(&store).query(&by_day).unwrap().len(), 1);
    assert_eq!(snapshot(&store).pending_len().unwrap(), 3, "unsent work is kept");
    save(&mut store, "Post", "id=p1 subtitle=s status=NEW authorId=x");
    save(&mut store, "Author", "id=x name=n");
    assert_sound(&store);
    drop(store);
    let again = open_with(directory.path(), parts, OnIncompatible::Refuse).unwrap();
    assert_eq!(
        snapshot(&again)
            .get("Post", &"p1".into())
            .unwrap()
            .unwrap()
            .get("subtitle"),
        Some(&"s".into())
    );
    assert_sound(&again);
}

#[test]
fn an_index_that_is_gone_is_taken_down() {
    let directory = filled();
    let mut parts = shop_parts();
    post_of(&mut parts)
        .indexes
        .retain(|index| index.name != "byRating");
    let store = open_with(directory.path(), parts, OnIncompatible::Refuse).unwrap();
    assert_sound(&store);
}

#[test]
fn taking_on_a_schema_is_an_entry_made_once() {
    let directory = filled();
    let head = in_directory(directory.path()).head();
    assert_eq!(in_directory(directory.path()).head(), head);
    let mut parts = shop_parts();
    post_of(&mut parts).fields.push(field("more: String"));
    let store = open_with(directory.path(), parts.clone(), OnIncompatible::Refuse).unwrap();
    assert_eq!(store.head(), head.next());
    let entry = snapshot(&store).log(store.head().0.., 1).unwrap().remove(0);
    let Change::SchemaChanged(changed) = entry.change else {
        panic!("{:?}", entry.change)
    };
    assert_eq!(&changed.hash, built(parts).hash());
}

/// The schema with one change.
fn changed(change: impl FnOnce(&mut SchemaParts)) -> SchemaParts {
    let mut parts = shop_parts();
    change(&mut parts);
    parts
}

/// The schema with one change of a field of `Post`.
fn with_field(name: &str, change: impl FnOnce(&mut FieldDef)) -> SchemaParts {
    changed(|parts| change(field_of(parts, name)))
}

/// Every change of the schema that stored data cannot survive, with the beginning of the reason.
fn incompatible() -> Vec<(&'static str, SchemaParts)> {
    let list = |elements_required| Some(ListDef { elements_required });
    let without_rating = |parts: &mut SchemaParts| {
        let post = post_of(parts);
        post.fields.retain(|field| &*field.name != "rating");
        post.indexes
            .retain(|index| !index.fields.contains(&"rating".into()));
    };
    let float = FieldType::Scalar(landfall_core::Scalar::Float);
    let must = || field("must: Int!");
    vec![
        (
            "model `Order` was removed",
            changed(|parts| drop(parts.models.pop())),
        ),
        ("`Post.rating` was removed", changed(without_rating)),
        (
            "`Post.rating` changed its type from Int to Float",
            with_field("rating", |f| f.ty = float),
        ),
        (
            "`Post.day` changed its type from AWSDate to [AWSDate]",
            with_field("day", |f| f.list = list(false)),
        ),
        (
            "`Post.rating` became required",
            with_field("rating", |f| f.required = true),
        ),
        (
            "`Post.tags` became required: [String] is now [String!]",
            with_field("tags", |f| f.list = list(true)),
        ),
        (
            "`Post.must` is new and required",
            changed(|parts| post_of(parts).fields.push(must())),
        ),
        (
            "the primary key of `Order` changed",
            changed(|parts| parts.models[2].key.fields.reverse()),
        ),
        (
            "enum `Status` lost the value OLD",
            changed(|parts| drop(parts.enums[0].values.pop())),
        ),
        (
            "`Place.city` was removed",
            changed(|parts| drop(parts.non_models[0].fields.shift_remove("city"))),
        ),
        (
            "`Place.lat` became required",
            changed(|parts| parts.non_models[0].fields[1].required = true),
        ),
        (
            "`Place.must` is new and required",
            changed(|parts| drop(parts.non_models[0].fields.insert("must".into(), must()))),
        ),
    ]
}

#[test]
fn what_a_schema_cannot_keep_is_said_before_anything_is_touched() {
    for (reason, parts) in incompatible() {
        let directory = filled();
        let before = everything(&in_directory(directory.path()));
        let refused = open_with(directory.path(), parts, OnIncompatible::Refuse);
        let Err(StorageError::SchemaIncompatible { reasons }) = refused else {
            panic!("{reason}: {refused:?}")
        };
        assert!(
            reasons.iter().any(|given| given.contains(reason)),
            "{reason}: {reasons:?}"
        );
        assert_eq!(everything(&in_directory(directory.path())), before, "{reason}");
    }
}

#[test]
fn every_loss_is_said_at_once() {
    let directory = filled();
    let mut parts = shop_parts();
    parts.models.pop();
    field_of(&mut parts, "rating").required = true;
    let refused = open_with(directory.path(), parts, OnIncompatible::Refuse).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("`Order` was removed") && text.contains("`Post.rating` became required"),
        "{text}"
    );
}

#[test]
fn a_wipe_on_request_starts_anew_with_the_new_schema() {
    for (reason, parts) in incompatible() {
        let directory = filled();
        let store = open_with(directory.path(), parts.clone(), OnIncompatible::Wipe).unwrap();
        for model in store.schema().models() {
            assert_eq!(all(&snapshot(&store), &model.name), [], "{reason}");
        }
        assert_eq!(snapshot(&store).pending_len().unwrap(), 0, "{reason}");
        let log = snapshot(&store).log(.., 100).unwrap();
        let kinds: Vec<&str> = log.iter().map(|entry| entry.change.name()).collect();
        assert_eq!(kinds, ["cleared", "schema changed"], "{reason}");
        assert_sound(&store);
        drop(store);
        open_with(directory.path(), parts, OnIncompatible::Refuse).unwrap();
    }
}

#[test]
fn a_wipe_leaves_nothing_of_the_past_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=confidential rating=3");
    // What a kill leaves behind, since a store that is closed in order has done with its journal.
    let killed = tempfile::tempdir().unwrap();
    let copy = killed.path().join(crate::FILE_NAME);
    std::fs::copy(directory.path().join(crate::FILE_NAME), &copy).unwrap();
    let journal_tells = || {
        let bytes = std::fs::read(&copy).unwrap();
        let database = bytes.windows(4).position(|window| window == b"redb").unwrap();
        bytes[..database]
            .windows(12)
            .any(|window| window == b"confidential")
    };
    assert!(journal_tells());
    let (_, parts) = incompatible()
        .into_iter()
        .find(|(reason, _)| reason.contains("rating"))
        .expect("some change is about ratings");
    drop(open_with(killed.path(), parts, OnIncompatible::Wipe).unwrap());
    assert!(!journal_tells());
}

#[test]
fn a_wipe_is_not_done_without_need() {
    let directory = filled();
    let mut parts = shop_parts();
    post_of(&mut parts).fields.push(field("more: String"));
    let store = open_with(directory.path(), parts, OnIncompatible::Wipe).unwrap();
    assert_eq!(all(&snapshot(&store), "Post").len(), 1);
}

#[test]
fn a_model_without_records_may_change_in_any_way() {
    for (reason, parts) in incompatible() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = in_directory(directory.path());
        save(&mut store, "Blog", "id=b1 name=kept");
        drop(store);
        let store = open_with(directory.path(), parts, OnIncompatible::Refuse)
            .unwrap_or_else(|e| panic!("{reason}: {e}"));
        assert_eq!(all(&snapshot(&store), "Blog").len(), 1, "{reason}");
        assert_sound(&store);
    }
}

#[test]
fn a_model_whose_records_are_all_gone_may_be_removed_though_the_log_speaks_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Order", "customer=c number=1 state=new");
    let key = landfall_core::RecordKey::new(
        "Order",
        landfall_core::RecordId::new(vec![
            landfall_core::IdPart::Text("c".into()),
            landfall_core::IdPart::Int(1),
        ]),
    );
    store
        .write(5, |txn| crate::test_support::remove(txn, &key))
        .unwrap();
    drop(store);
    let mut parts = shop_parts();
    parts.models.pop();
    let mut store = open_with(directory.path(), parts, OnIncompatible::Refuse).unwrap();
    assert_sound(&store);
    store.rebuild().unwrap();
    assert_sound(&store);
}

#[test]
fn types_inside_types_count_for_the_models_that_hold_them() {
    let mut parts = shop_parts();
    let inner = FieldDef {
        ty: FieldType::Enum("Status".into()),
        ..field("mood: String")
    };
    parts.non_models.push(NonModelDef {
        name: "Inner".into(),
        fields: [(inner.name.clone(), inner)].into(),
    });
    let holder = FieldDef {
        ty: FieldType::NonModel("Inner".into()),
        ..field("inner: String")
    };
    parts.non_models[0].fields.insert("inner".into(), holder);
    post_of(&mut parts)
        .fields
        .retain(|field| &*field.name != "status");
    post_of(&mut parts)
        .indexes
        .retain(|index| index.name != "byStatus");
    let old = built(parts.clone());
    parts.enums[0].values.pop();
    let losses = schema_losses(&old, &built(parts));
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].models, ["Post"]);
    assert_eq!(losses[0].held_by, [("Post".into(), "place".into())]);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = filled();
    in_directory(directory.path()).tamper(|txn| {
        txn.open_table(META)
            .unwrap()
            .insert(meta::FORMAT, 2_u32.to_le_bytes().as_slice())
            .unwrap();
    });
    let refused = Store::open(options(Disk::Directory(directory.path().to_owned())));
    assert!(
        matches!(refused, Err(StorageError::TooNew { found: 2, known: 1 })),
        "{refused:?}"
    );
    let wiping = open_with(directory.path(), shop_parts(), OnIncompatible::Wipe);
    assert!(
        matches!(wiping, Err(StorageError::TooNew { .. })),
        "not even on request: {wiping:?}"
    );
}

#[test]
fn a_store_whose_own_notes_are_damaged_is_not_believed() {
    for key in [meta::FORMAT, meta::SCHEMA] {
        let directory = filled();
        in_directory(directory.path()).tamper(|txn| {
            txn.open_table(META)
                .unwrap()
                .insert(key, b"{".as_slice())
                .unwrap();
        });
        let refused = Store::open(options(Disk::Directory(directory.path().to_owned())));
        assert!(
            matches!(refused, Err(StorageError::Corrupt { .. })),
            "{key}: {refused:?}"
        );
    }
}

#[test]
fn somebody_elses_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(crate::FILE_NAME);
    let theirs: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("theirs");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(theirs).unwrap().insert("kept", 7).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(options(Disk::Directory(directory.path().to_owned())));
    assert!(
        matches!(refused, Err(StorageError::Foreign { .. })),
        "{refused:?}"
    );
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    assert_eq!(
        transaction.list_tables().unwrap().count(),
        1,
        "none of ours was made"
    );
    assert_eq!(
        transaction
            .open_table(theirs)
            .unwrap()
            .get("kept")
            .unwrap()
            .map(|v| v.value()),
        Some(7)
    );
}

#[test]
fn a_new_store_begins_with_its_schema() {
    let store = crate::test_support::in_memory();
    assert_eq!(store.head(), Seq(1));
    assert_eq!(store.schema().hash(), shop().hash());
    assert_eq!(store.reader().schema().hash(), shop().hash());
}

#[test]
fn a_store_whose_index_table_was_made_by_other_rules_gets_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = in_directory(directory.path());
    save(&mut store, "Post", "id=p1 title=t rating=7");
    drop(store);
    let damage = |forget: bool| {
        let inside = crate::database_of(directory.path()).unwrap();
        let database = redb::Database::builder().create_with_backend(inside).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.delete_table(crate::tables::INDEX).unwrap();
        transaction.open_table(crate::tables::INDEX).unwrap();
        if forget {
            transaction
                .open_table(META)
                .unwrap()
                .remove(meta::INDEXES)
                .unwrap();
        }
        transaction.commit().unwrap();
    };
    let difference = |store: &Store| crate::verify(&snapshot(store)).unwrap().differences;
    damage(false);
    assert!(
        !difference(&in_directory(directory.path())).is_empty(),
        "nobody looks"
    );
    damage(true);
    for _ in 0..2 {
        assert_eq!(difference(&in_directory(directory.path())), Vec::<String>::new());
    }
}
