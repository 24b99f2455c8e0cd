use std::sync::Arc;

use super::*;
use crate::entry::{Change, Edited, RecordBase, Write};
use crate::mutation::{MutationKind, Seq};
use crate::predicate::{Op, Predicate};
use crate::record::{FieldMap, RecordKey};
use crate::scalar::Scalar;
use crate::schema::{FieldDef, Schema};
use crate::test_support::{blog, blog_parts};

/// The blog with `Todo` turned into `Task`, its rating into a text and its note gone, and a new required field.
fn newer() -> Arc<Schema> {
    let mut parts = blog_parts();
    let todo = parts
        .models
        .iter_mut()
        .find(|model| &*model.name == "Todo")
        .expect("there");
    todo.name = "Task".into();
    todo.fields.retain(|field| field.name != "note");
    for field in &mut todo.fields {
        if field.name == "rating" {
            *field = FieldDef::scalar("mark", Scalar::String);
        }
    }
    todo.fields.push(FieldDef {
        required: true,
        ..FieldDef::scalar("place", Scalar::String)
    });
    Arc::new(Schema::build(parts).expect("sound"))
}

fn migration() -> Migration {
    Migration::named("tasks")
        .rename_model("Todo", "Task")
        .rename_field("Task", "rating", "mark")
        .retype("Task", "mark")
        .remove_field("Task", "note")
        .fill("Task", "place", "here")
}

fn carrier() -> Carrier {
    Carrier::new(&Arc::new(blog()), &newer(), &[&migration()]).expect("it fits")
}

fn fields(pairs: &[(&str, Value)]) -> FieldMap {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect()
}

fn write(kind: MutationKind, patch: FieldMap) -> Write {
    Write {
        key: RecordKey::new("Todo", "t1"),
        kind,
        patch,
        condition: None,
        base_version: None,
        queued: true,
        parents: vec![RecordKey::new("Blog", "b1")],
        group: Some(Seq(3)),
        at_end: false,
        took_along: None,
    }
}

#[test]
fn a_step_means_the_same_for_records_patches_and_entries() {
    let carrier = carrier();
    let todo = "Todo".into();
    let record = fields(&[("id", "t1".into()), ("rating", 4.into()), ("note", "n".into())]);
    let whole = carrier.fields(&todo, &record, true).expect("it fits");
    assert_eq!(
        whole,
        fields(&[
            ("id", "t1".into()),
            ("mark", "4".into()),
            ("place", "here".into())
        ])
    );
    let patch = fields(&[("rating", 5.into())]);
    assert_eq!(
        carrier.fields(&todo, &patch, false).expect("it fits"),
        fields(&[("mark", "5".into())])
    );
    let created = carrier.change(&Change::Write(write(MutationKind::Create, record)));
    let updated = carrier.change(&Change::Write(write(MutationKind::Update, patch)));
    match (created, updated) {
        (Ok(Some(Change::Write(created))), Ok(Some(Change::Write(updated)))) => {
            assert_eq!(
                (created.key.to_string().as_str(), created.patch),
                ("Task/t1", whole)
            );
            assert_eq!(updated.patch, fields(&[("mark", "5".into())]));
            assert_eq!(updated.parents, [RecordKey::new("Blog", "b1")]);
        }
        other => panic!("{other:?}"),
    }
    // What is not named stays as it is.
    let untouched = fields(&[("title", "t".into())]);
    assert_eq!(carrier.fields(&"Post".into(), &untouched, true), Ok(untouched));
    assert_eq!(carrier.touched().collect::<Vec<_>>(), ["Todo"]);
}

#[test]
fn an_edited_create_gets_what_a_step_adds_and_an_edited_update_does_not() {
    let edited = |whole| {
        let patch = fields(&[("rating", 4.into())]);
        let (key, mutation) = (RecordKey::new("Todo", "t1"), Seq(3));
        let parents = Vec::new();
        let edited = Edited {
            key,
            mutation,
            patch,
            parents,
            whole,
        };
        match carrier().change(&Change::Edited(edited)) {
            Ok(Some(Change::Edited(edited))) => edited.patch,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(edited(false), fields(&[("mark", "4".into())]));
    assert_eq!(
        edited(true),
        fields(&[("mark", "4".into()), ("place", "here".into())])
    );
}

#[test]
fn a_base_is_carried_over_whole() {
    let key = RecordKey::new("Todo", "t1");
    let base = RecordBase {
        key: key.clone(),
        row: Some(fields(&[
            ("id", "t1".into()),
            ("rating", 4.into()),
            ("note", "n".into()),
        ])),
        sync: None,
        own_since: None,
        shadow: None,
        pending: Vec::new(),
    };
    let Ok(Some(Change::Base(carried))) = carrier().change(&Change::Base(base)) else {
        panic!("it can be carried");
    };
    assert_eq!(carried.key, RecordKey::new("Task", "t1"));
    let row = fields(&[
        ("id", "t1".into()),
        ("mark", "4".into()),
        ("place", "here".into()),
    ]);
    assert_eq!(carried.row, Some(row));
    // And is the state that it was taken from.
    let schema = newer();
    let def = schema.model("Task").expect("there");
    let state = carried.state(def);
    assert_eq!(RecordBase::of(carried.key.clone(), def, &state), carried);
}

#[test]
fn values_that_cannot_be_converted_are_reported_with_their_place() {
    let migration = Migration::named("m").convert("Todo", "rating", |value| Err(format!("{value} is odd")));
    let old = Arc::new(blog());
    let carrier = Carrier::new(&old, &old, &[&migration]).expect("it fits");
    let fault = carrier.fields(&"Todo".into(), &fields(&[("rating", 3.into())]), false);
    assert_eq!(fault.expect_err("odd").to_string(), "`Todo.rating`: 3 is odd");
    // A result of the wrong type is a fault as well.
    let migration = Migration::named("m").convert("Todo", "title", |_| Ok(Value::Int(1)));
    let carrier = Carrier::new(&old, &old, &[&migration]).expect("it fits");
    let fault = carrier.fields(&"Todo".into(), &fields(&[("title", "t".into())]), false);
    assert!(
        fault
            .expect_err("no text")
            .to_string()
            .starts_with("`Todo.title`: ")
    );
}

#[test]
fn the_carried_schema_is_what_the_new_one_is_compared_with() {
    let carried = carrier().carried_schema().expect("sound");
    let task = carried.model("Task").expect("renamed");
    let names: Vec<String> = task
        .stored_fields()
        .map(|field| format!("{}: {field}", field.name))
        .collect();
    assert!(
        names.contains(&"mark: String".to_owned()) && names.contains(&"place: String!".to_owned()),
        "{names:?}"
    );
    assert!(carried.model("Todo").is_none() && task.field("note").is_none());
}

#[test]
fn conditions_follow_their_fields_or_stop_the_migration() {
    let old = Arc::new(blog());
    let migration = Migration::named("m")
        .rename_field("Todo", "title", "name")
        .retype("Todo", "rating");
    let carrier = Carrier::new(&old, &old, &[&migration]).expect("it fits");
    let mut mutation = crate::mutation::Mutation {
        seq: Seq(1),
        key: RecordKey::new("Todo", "t1"),
        kind: MutationKind::Update,
        patch: FieldMap::new(),
        condition: Some(Predicate::Not(Box::new(Predicate::field(
            "title",
            Op::Eq("t".into()),
        )))),
        base_version: None,
        stage: crate::mutation::Stage::Queued,
        attempts: 0,
        conflict_rounds: 0,
        parents: Vec::new(),
        group: None,
        base: None,
    };
    let carried = carrier.mutation(&mutation).expect("it fits").expect("kept");
    let renamed = Predicate::Not(Box::new(Predicate::field("name", Op::Eq("t".into()))));
    assert_eq!(carried.condition, Some(renamed));
    mutation.condition = Some(Predicate::field("rating", Op::Ne(Value::Null)));
    assert!(carrier.mutation(&mutation).is_ok());
    mutation.condition = Some(Predicate::field("rating", Op::Eq(1.into())));
    let fault = carrier
        .mutation(&mutation)
        .expect_err("the value means something else");
    assert!(
        fault.to_string().contains("let that change be sent first"),
        "{fault}"
    );
    // In the base of a trimmed log it may be long gone; if it still waits, it is asked for as such.
    let base = RecordBase {
        key: RecordKey::new("Todo", "t1"),
        row: None,
        sync: None,
        own_since: None,
        shadow: None,
        pending: vec![mutation],
    };
    let Ok(Some(Change::Base(carried))) = carrier.change(&Change::Base(base)) else {
        panic!("it can be carried");
    };
    assert_eq!(carried.pending[0].condition, Some(Predicate::All));
}

#[test]
fn steps_that_do_not_fit_say_why() {
    let old = Arc::new(blog());
    let refused = |migration: Migration| {
        let error = Carrier::new(&old, &old, &[&migration]).expect_err("it does not fit");
        error.to_string()
    };
    let text = refused(Migration::named("m").rename_model("Nobody", "Somebody"));
    assert!(text.starts_with(
        "the migration \"m\" does not fit the stored data: rename model `Nobody` to `Somebody`"
    ));
    assert!(
        text.contains("there is no model `Nobody` by then, only "),
        "{text}"
    );
    assert!(refused(Migration::named("m").rename_model("Todo", "Post")).contains("already"));
    assert!(refused(Migration::named("m").rename_field("Todo", "title", "rating")).contains("already"));
    assert!(refused(Migration::named("m").remove_field("Todo", "id")).contains("identifier"));
    assert!(refused(Migration::named("m").retype("Order", "number")).contains("identifier"));
    let gone = Migration::named("m")
        .remove_model("Todo")
        .fill("Todo", "title", "t");
    assert!(refused(gone).contains("there is no model `Todo` by then"));
}
