use std::collections::BTreeMap;

use landfall_core::{IdPart, Op, Predicate, RecordKey, Seq, Stage};
use serde_json::json;

use super::*;
use crate::testing::schema;

fn mutation(kind: MutationKind, model: &str, id: RecordId, patch: &[(&str, Value)]) -> Mutation {
    Mutation {
        seq: Seq(1),
        key: RecordKey::new(model, id),
        kind,
        patch: patch
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect(),
        condition: None,
        base_version: Some(RecordVersion(3)),
        stage: Stage::Queued,
        attempts: 0,
        conflict_rounds: 0,
        parents: Vec::new(),
        group: None,
        base: None,
    }
}

fn variables(mutation: &Mutation) -> Json {
    let schema = schema();
    let def = schema.model(mutation.model()).expect("a model");
    Json::Object(mutation_variables(&schema, def, mutation).expect("can be sent"))
}

#[test]
fn a_create_sends_what_was_set_and_no_version() {
    let patch = [
        ("title", Value::from("t")),
        ("rating", Value::Null),
        ("createdAt", Value::from("2026-11-21T00:00:00Z")),
    ];
    let create = mutation(MutationKind::Create, "Post", "p1".into(), &patch);
    assert_eq!(
        variables(&create),
        json!({"input": {"id": "p1", "title": "t", "rating": null}})
    );
}

#[test]
fn an_owner_that_is_null_is_left_out_of_a_create_but_not_of_an_update() {
    let patch = [("owner", Value::Null)];
    let create = mutation(MutationKind::Create, "Post", "p1".into(), &patch);
    assert_eq!(variables(&create), json!({"input": {"id": "p1"}}));
    let update = mutation(MutationKind::Update, "Post", "p1".into(), &patch);
    assert_eq!(
        variables(&update),
        json!({"input": {"id": "p1", "owner": null, "_version": 3}})
    );
}

#[test]
fn json_fields_travel_as_text_wherever_they_are() {
    let place = BTreeMap::from([
        ("lat".to_owned(), Value::Float(1.5)),
        ("extra".to_owned(), Value::from("x")),
        ("unheardOf".to_owned(), Value::Int(1)),
    ]);
    let patch = [
        ("meta", Value::from(&json!({"a": [1, null]}))),
        (
            "notes",
            Value::List(vec![
                Value::from("n"),
                Value::Null,
                Value::Int(7),
                Value::List(Vec::new()),
            ]),
        ),
        ("place", Value::Object(place)),
        ("tags", Value::List(vec![Value::from("a")])),
    ];
    let update = mutation(MutationKind::Update, "Post", "p1".into(), &patch);
    assert_eq!(
        variables(&update),
        json!({"input": {
            "id": "p1", "_version": 3, "tags": ["a"],
            "meta": "{\"a\":[1,null]}",
            "notes": ["\"n\"", null, "7", "[]"],
            "place": {"lat": 1.5, "extra": "\"x\""},
        }})
    );
}

#[test]
fn a_delete_sends_the_key_the_version_and_the_condition() {
    let id = RecordId::new(vec![
        IdPart::Text("o".into()),
        IdPart::Text("s".into()),
        IdPart::Int(2),
    ]);
    let mut delete = mutation(MutationKind::Delete, "Device", id, &[]);
    delete.condition = Some(Predicate::field("note", Op::Eq("x".into())));
    assert_eq!(
        variables(&delete),
        json!({
            "input": {"org": "o", "serial": "s", "rev": 2, "_version": 3},
            "condition": {"and": [{"note": {"eq": "x"}}]},
        })
    );
    delete.base_version = None;
    delete.condition = Some(Predicate::All);
    assert_eq!(
        variables(&delete),
        json!({"input": {"org": "o", "serial": "s", "rev": 2}})
    );
}

#[test]
fn sync_arguments_leave_out_what_is_not_given() {
    let base = SyncArguments {
        limit: 1_000,
        ..SyncArguments::default()
    };
    assert_eq!(Json::Object(base.to_variables()), json!({"limit": 1000}));
    let filter = json!({"and": []});
    let delta = SyncArguments {
        filter: Some(&filter),
        limit: 10,
        next_token: Some("t"),
        last_sync_ms: Some(1_700_000_000_000),
    };
    assert_eq!(
        Json::Object(delta.to_variables()),
        json!({"filter": {"and": []}, "limit": 10, "nextToken": "t", "lastSync": 1_700_000_000_000_i64})
    );
    assert_eq!(Json::Object(subscription_variables(None, None)), json!({}));
}

/// The argument of a subscription to a model with those rules.
fn owner_argument_of(rules: &[serde_json::Value]) -> Option<String> {
    let schema = schema();
    let mut def = landfall_core::ModelDef::clone(schema.model("Post").expect("a model"));
    def.auth = rules.to_vec();
    owner_argument(&def).map(str::to_owned)
}

#[test]
fn the_owner_is_named_where_only_the_owner_may_read() {
    let owner = |more: serde_json::Value| {
        let mut rule = json!({"allow": "owner"});
        let members = more.as_object().cloned().unwrap_or_default();
        rule.as_object_mut().expect("a rule").extend(members);
        rule
    };
    let of = |rules: &[serde_json::Value]| owner_argument_of(rules);
    assert_eq!(of(&[owner(json!({}))]).as_deref(), Some("owner"));
    assert_eq!(
        of(&[owner(json!({"ownerField": "section"}))]).as_deref(),
        Some("section")
    );
    assert_eq!(
        of(&[owner(json!({})), owner(json!({"ownerField": "section"}))]).as_deref(),
        Some("section"),
        "the last one counts"
    );
    assert_eq!(of(&[owner(json!({"operations": ["create", "update"]}))]), None);
    assert_eq!(
        of(&[owner(json!({"ownerField": "tags"}))]),
        None,
        "several owners"
    );
    assert_eq!(of(&[owner(json!({})), json!({"allow": "private"})]), None);
    assert_eq!(
        of(&[
            owner(json!({})),
            json!({"allow": "public", "operations": ["create"]})
        ])
        .as_deref(),
        Some("owner")
    );
    assert_eq!(of(&[json!({"allow": "groups", "groups": ["a"]})]), None);
}
