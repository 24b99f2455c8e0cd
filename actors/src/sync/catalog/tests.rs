use landfall_core::{
    FieldDef, KeyDef, KeyKind, ModelParts, Op, Scalar, SchemaParts, SyncMetadata, Timestamps,
};
use landfall_core::{FieldName, RecordId, RecordVersion};
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
fn variables(settings: &SyncSettings) -> Json {
    let tickets = &mut super::super::model::Tickets::default();
    let question = Question {
        ticket: tickets.next(),
        model: "Post".into(),
        limit: 7,
        token: None,
        last_sync_ms: Some(5),
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
fn an_expression_is_sent_as_a_filter_and_kept_as_text() {
    let with = settings(high());
    assert_eq!(
        variables(&with),
        json!({ "filter": { "and": [{ "rating": { "gt": 3 } }] }, "limit": 7, "lastSync": 5 })
    );
    let text = subjects(&with)[0].expression.clone().expect("there is one");
    assert_eq!(
        serde_json::from_str::<Predicate>(&text).expect("it can be read back"),
        high()
    );
    // Everything is what is synced anyway.
    let everything = settings(Predicate::All);
    assert_eq!(variables(&everything), json!({ "limit": 7, "lastSync": 5 }));
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
fn records_outside_the_expression_are_left_out_but_not_tombstones_nor_what_cannot_be_judged() {
    let schema = schema();
    let def = schema.model("Post").unwrap();
    let expression = high().bind(def).unwrap();
    let admitted = |rating: Option<Value>, deleted| {
        let fields = rating
            .into_iter()
            .map(|rating| (FieldName::from("rating"), rating))
            .collect();
        let sync = SyncMetadata {
            version: RecordVersion(1),
            last_changed_at_ms: 1,
            deleted,
        };
        admits(
            &expression,
            def,
            &RemoteRecord {
                id: RecordId::text("a"),
                fields,
                sync,
            },
        )
    };
    assert!(admitted(Some(Value::Int(4)), false));
    assert!(!admitted(Some(Value::Int(3)), false));
    assert!(!admitted(Some(Value::Null), false), "null is not above anything");
    assert!(admitted(Some(Value::Int(3)), true));
    assert!(admitted(None, false));
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
    let page = catalog
        .read(&"Post".into(), &HttpResponse::new(200, body.to_string()))
        .expect("a page");
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
