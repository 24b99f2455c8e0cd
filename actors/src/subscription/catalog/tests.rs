use serde_json::json;

use super::*;
use crate::subscription::testing::{high_ratings, record, record_with, schema};
use landfall_core::{ModelSync, Op, Predicate, Value};

fn catalog(settings: &SyncSettings) -> Catalog {
    Catalog::new(&schema(&["Post"]), settings)
}

fn feed(kind: SubscriptionKind) -> Feed {
    Feed {
        model: ModelIndex(0),
        kind,
    }
}

/// What a record that came with an update comes to.
fn reading(settings: &SyncSettings, record: &Json) -> String {
    let payload = json!({ "data": { "onUpdatePost": record } }).to_string();
    words(catalog(settings).read_data(feed(SubscriptionKind::Update), &payload))
}

fn words(reading: Reading) -> String {
    match reading {
        Reading::Apply(Item::Record(record)) => format!("apply {}", record.id),
        Reading::Apply(Item::Outside(record)) => format!("outside {}", record.id),
        Reading::Apply(Item::Bad(bad)) => format!("quarantine: {}", bad.reason),
        Reading::Nothing => "nothing".to_owned(),
        Reading::Incomplete(id) => format!("incomplete {id}"),
        Reading::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn records_are_tested_against_the_expression_whatever_the_server_filters() {
    assert_eq!(reading(&high_ratings(), &record("a", 4)), "apply a");
    assert_eq!(reading(&high_ratings(), &record("a", 3)), "outside a");
    assert_eq!(reading(&SyncSettings::default(), &record("a", 3)), "apply a");
    assert_eq!(
        reading(&high_ratings(), &record_with("a", json!({ "rating": null }))),
        "outside a"
    );
}

#[test]
fn what_is_only_pushed_is_not_subscribed() {
    let post = landfall_core::ModelName::from("Post");
    for (sync, subscribed) in [(ModelSync::Pull, 1), (ModelSync::Push, 0), (ModelSync::None, 0)] {
        let schema = schema(&["Post"])
            .with_model_sync([(&post, sync)])
            .expect("a model");
        let catalog = Catalog::new(&Arc::new(schema), &SyncSettings::default());
        assert_eq!(catalog.models_len(), subscribed, "{sync:?}");
    }
}

#[test]
fn a_tombstone_passes_the_expression() {
    assert_eq!(
        reading(
            &high_ratings(),
            &record_with("a", json!({ "rating": 1, "_deleted": true }))
        ),
        "apply a"
    );
}

#[test]
fn a_record_without_the_field_that_decides_is_incomplete() {
    let mut narrow = record("a", 4);
    narrow.as_object_mut().unwrap().remove("rating");
    assert_eq!(reading(&high_ratings(), &narrow), "incomplete a");
    assert_eq!(
        reading(&SyncSettings::default(), &narrow),
        "apply a",
        "no one asks for its rating"
    );
}

#[test]
fn what_is_wrong_with_a_record_decides_what_is_done() {
    let settings = SyncSettings::default();
    assert_eq!(
        reading(&settings, &record_with("a", json!({ "title": null }))),
        "incomplete a"
    );
    assert_eq!(
        reading(&settings, &record_with("a", json!({ "_version": null }))),
        "incomplete a"
    );
    assert!(reading(&settings, &record_with("a", json!({ "rating": "x" }))).starts_with("quarantine: "));
    assert_eq!(reading(&settings, &json!({ "title": "t" })), "unknown");
    assert_eq!(reading(&settings, &Json::Null), "unknown");
}

#[test]
fn the_answer_to_a_question_is_read_once_and_for_all() {
    let read = |status, body: Json| {
        words(catalog(&high_ratings()).read_get(ModelIndex(0), &HttpResponse::new(status, body.to_string())))
    };
    let found = |record: Json| json!({ "data": { "getPost": record } });
    assert_eq!(read(200, found(record("a", 4))), "apply a");
    assert_eq!(read(200, found(record("a", 1))), "outside a");
    assert_eq!(read(200, found(Json::Null)), "nothing");
    assert_eq!(
        read(
            200,
            found(json!({ "id": "a", "title": "t", "_version": 1, "_lastChangedAt": 1 }))
        ),
        "nothing"
    );
    assert!(read(200, found(record_with("a", json!({ "title": null })))).starts_with("quarantine: "));
    assert_eq!(read(500, json!({})), "unknown");
}

#[test]
fn a_filter_is_sent_only_if_wanted() {
    let catalog = catalog(&high_ratings());
    let start = |wanted| catalog.start_data(feed(SubscriptionKind::Create), wanted);
    assert!(start(Filter::AtServer).contains(r#""variables":{"filter":{"and":[{"rating":{"gt":3}}]}}"#));
    assert!(!start(Filter::AtReceiver).contains("filter"));
}

#[test]
fn updates_are_not_filtered_by_the_server_so_that_those_that_lead_out_are_heard() {
    let update = |settings: &SyncSettings| {
        let catalog = catalog(settings);
        let feed = feed(SubscriptionKind::Update);
        (
            catalog.has_filter(feed),
            catalog.start_data(feed, Filter::AtServer).contains("filter"),
        )
    };
    assert_eq!(update(&high_ratings()), (false, false));
    let quiet = SyncSettings {
        leaving: Leaving::WithNextSync,
        ..high_ratings()
    };
    assert_eq!(update(&quiet), (true, true));
}

#[test]
fn models_that_are_polled_or_not_listened_to_are_not_subscribed() {
    let settings = SyncSettings {
        listening: [
            ("Post".into(), Listen::Polling(std::time::Duration::from_secs(5))),
            ("Blog".into(), Listen::Off),
        ]
        .into(),
        ..SyncSettings::default()
    };
    let catalog = Catalog::new(&schema(&["Post", "Blog", "Comment"]), &settings);
    assert_eq!(catalog.models_len(), 1);
    assert_eq!(catalog.model(ModelIndex(0)).as_str(), "Comment");
}

#[test]
fn a_model_whose_expression_does_not_fit_is_left_out_alone() {
    let expression = Predicate::field("colour", Op::Eq(Value::Int(3)));
    let settings = SyncSettings {
        expressions: [("Post".into(), expression)].into(),
        ..SyncSettings::default()
    };
    let catalog = Catalog::new(&schema(&["Post", "Blog"]), &settings);
    assert_eq!(catalog.models_len(), 1);
    assert_eq!(catalog.model(ModelIndex(0)).as_str(), "Blog");
    assert_eq!(catalog.unfit()[0].kind, ErrorKind::ConfigError);
    assert!(
        catalog.unfit()[0].reason.contains("colour"),
        "{:?}",
        catalog.unfit()
    );
}

#[test]
fn the_owner_is_named_in_subscriptions_once_the_app_has_said_who_that_is() {
    let with_rule = |settings: &SyncSettings| {
        let schema = schema(&["Post"]);
        let mut parts = landfall_core::SchemaParts {
            models: Vec::new(),
            ..landfall_core::SchemaParts::default()
        };
        let def = schema.model("Post").unwrap();
        parts.models.push(landfall_core::ModelParts {
            name: def.name.clone(),
            plural_name: def.plural_name.clone(),
            syncable: true,
            fields: def.fields.values().cloned().collect(),
            key: def.key.clone(),
            indexes: Vec::new(),
            timestamps: landfall_core::Timestamps {
                created_at: None,
                updated_at: None,
            },
            auth: vec![json!({ "allow": "owner" })],
        });
        let schema = Arc::new(Schema::build(parts).unwrap());
        Catalog::new(&schema, settings).start_data(feed(SubscriptionKind::Create), Filter::AtServer)
    };
    assert!(!with_rule(&SyncSettings::default()).contains("owner: $owner"));
    let settings = SyncSettings {
        owner: Some("anna".to_owned()),
        ..SyncSettings::default()
    };
    let start: Json = serde_json::from_str(&with_rule(&settings)).unwrap();
    assert_eq!(start["variables"], json!({ "owner": "anna" }));
    assert!(
        start["query"]
            .as_str()
            .unwrap()
            .contains("onCreatePost(owner: $owner)"),
        "{start}"
    );
    let settings = SyncSettings {
        owner: Some("anna".to_owned()),
        ..high_ratings()
    };
    let start: Json = serde_json::from_str(&with_rule(&settings)).unwrap();
    assert_eq!(start["variables"]["owner"], "anna");
    assert!(start["variables"]["filter"].is_object(), "{start}");
}
