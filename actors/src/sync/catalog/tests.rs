use landfall_core::{
    FieldDef, KeyDef, KeyKind, ModelParts, ModelSync, Op, Scalar, SchemaParts, Timestamps, Value,
};
use serde_json::json;

use super::*;

/// A post with a rating; and a setting, which does not sync.
fn schema() -> Arc<Schema> {
    let model = |name: &str| ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: name != "Setting",
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("rating", Scalar::Int),
        ],
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps {
            created_at: None,
            updated_at: None,
        },
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: vec![model("Post"), model("Setting")],
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).expect("the schema is sound"))
}

fn settings(expression: Predicate) -> SyncSettings {
    SyncSettings {
        expressions: [("Post".into(), expression)].into(),
        ..SyncSettings::default()
    }
}

fn high() -> Predicate {
    Predicate::field("rating", Op::Gt(Value::Int(3)))
}

fn subjects(settings: &SyncSettings) -> Vec<Subject> {
    Catalog::new(&schema(), settings).1.concat()
}

/// The variables of a request for the first page.
fn variables(settings: &SyncSettings, last_sync_ms: Option<i64>) -> Json {
    let tickets = &mut super::super::model::Tickets::default();
    let question = Question {
        ticket: tickets.next(),
        model: "Post".into(),
        limit: 7,
        token: None,
        last_sync_ms,
    };
    let request = Catalog::new(&schema(), settings)
        .0
        .request(&question)
        .expect("the model is synced");
    let body: Json = serde_json::from_str(&request.body).expect("a request is JSON");
    body["variables"].clone()
}

#[test]
fn only_syncable_models_are_listed() {
    let subjects = subjects(&SyncSettings::default());
    assert_eq!(
        subjects
            .iter()
            .map(|subject| subject.model.as_str())
            .collect::<Vec<_>>(),
        ["Post"]
    );
    assert_eq!(subjects[0].expression, None);
}

#[test]
fn what_is_only_pushed_is_not_asked_for() {
    let post = landfall_core::ModelName::from("Post");
    for (sync, asked) in [(ModelSync::Pull, 1), (ModelSync::Push, 0), (ModelSync::None, 0)] {
        let schema = schema().with_model_sync([(&post, sync)]).expect("a model");
        let (_, levels) = Catalog::new(&Arc::new(schema), &SyncSettings::default());
        assert_eq!(levels.len(), asked, "{sync:?}: a level without models is none");
    }
}

#[test]
fn an_expression_is_sent_as_a_filter_and_kept_as_text() {
    let with = settings(high());
    assert_eq!(
        variables(&with, None),
        json!({ "filter": { "and": [{ "rating": { "gt": 3 } }] }, "limit": 7 })
    );
    // What changed so that it no longer satisfies the expression is to be mentioned as well.
    assert_eq!(variables(&with, Some(5)), json!({ "limit": 7, "lastSync": 5 }));
    let text = subjects(&with)[0].expression.clone().expect("there is one");
    assert_eq!(
        serde_json::from_str::<Predicate>(&text).expect("it can be read back"),
        high()
    );
    // Everything is what is synced anyway.
    let everything = settings(Predicate::All);
    assert_eq!(
        variables(&everything, Some(5)),
        json!({ "limit": 7, "lastSync": 5 })
    );
    assert_eq!(subjects(&everything)[0].expression, None);
}

#[test]
fn an_expression_that_does_not_fit_leaves_its_model_out() {
    let unfit = subjects(&settings(Predicate::field("stars", Op::Gt(Value::Int(3)))))[0]
        .unfit
        .clone();
    let unfit = unfit.expect("the model has no such field");
    assert_eq!(unfit.kind, ErrorKind::ConfigError);
    assert!(unfit.reason.contains("stars"), "{}", unfit.reason);
}

#[test]
fn a_page_is_read_without_what_the_filter_should_have_held_back() {
    let (catalog, _) = Catalog::new(&schema(), &settings(high()));
    let item = |id: &str, rating| json!({ "id": id, "rating": rating, "_version": 1, "_lastChangedAt": 1 });
    let items = [
        item("a", 1),
        item("b", 5),
        json!({ "id": "c", "rating": "x", "_version": 1, "_lastChangedAt": 1 }),
    ];
    let body = json!({ "data": { "syncPosts": { "items": items, "nextToken": "t", "startedAt": 9 } } });
    let Answer { page, outside } = catalog
        .read(&"Post".into(), &HttpResponse::new(200, body.to_string()))
        .expect("a page");
    assert_eq!(outside.len(), 1);
    assert_eq!(
        page.items
            .iter()
            .map(|record| record.id.to_string())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(
        (page.bad.len(), page.next_token.as_deref(), page.started_at_ms),
        (1, Some("t"), Some(9))
    );
}
