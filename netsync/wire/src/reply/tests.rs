use landfall_core::{MutationKind, RecordVersion};
use serde_json::json;

use super::*;
use crate::document::{ModelDocuments, SubscriptionKind};
use crate::testing::schema;
use crate::transport::Delivery;

fn reader() -> RecordReader {
    RecordReader::new(&schema(), "Post").expect("a model")
}

fn documents() -> ModelDocuments {
    ModelDocuments::build(&schema(), "Post").expect("documents")
}

fn post(id: &str, version: u64) -> serde_json::Value {
    json!({"id": id, "title": "t", "rating": 1, "_version": version, "_lastChangedAt": 5, "_deleted": null})
}

fn ok(body: &serde_json::Value) -> HttpResponse {
    HttpResponse::new(200, body.to_string())
}

fn sync(body: &serde_json::Value) -> Result<SyncPage, Failure> {
    read_sync_page(&reader(), &documents().sync, &ok(body))
}

fn update(response: &HttpResponse) -> MutationReply {
    read_mutation(&reader(), documents().mutation(MutationKind::Update), response)
}

fn versions(page: &SyncPage) -> Vec<String> {
    page.items
        .iter()
        .map(|item| format!("{} {}", item.id, item.sync.version))
        .collect()
}

#[test]
fn a_page_holds_every_change_in_order() {
    let page = sync(&json!({"data": {"syncPosts": {
        "items": [post("p1", 2), post("p2", 1), post("p1", 3)], "nextToken": "n", "startedAt": 1_700_000_010_000_i64,
    }}}))
    .expect("a page");
    assert_eq!(versions(&page), ["p1 v2", "p2 v1", "p1 v3"]);
    assert_eq!(
        (page.next_token.as_deref(), page.started_at_ms),
        (Some("n"), Some(1_700_000_010_000))
    );
    assert_eq!((page.bad, page.errors), (vec![], vec![]));
}

#[test]
fn an_empty_page_may_have_a_successor_and_an_empty_token_is_none() {
    let page = |token: serde_json::Value| {
        sync(&json!({"data": {"syncPosts": {"items": [], "nextToken": token, "startedAt": 7.0}}}))
            .expect("a page")
    };
    assert_eq!(page(json!("n")).next_token.as_deref(), Some("n"));
    assert_eq!(page(json!("")).next_token, None);
    assert_eq!(page(json!(null)).started_at_ms, Some(7));
}

#[test]
fn a_null_item_is_set_aside_with_the_reason_that_the_server_gives() {
    let page = sync(&json!({
        "data": {"syncPosts": {"items": [post("p1", 1), null, null, {"id": "p4"}], "nextToken": null, "startedAt": 7}},
        "errors": [{
            "path": ["syncPosts", "items", 1, "_version"],
            "message": "Cannot return null for non-nullable type: 'Int' within parent 'Post'",
        }],
    }))
    .expect("a page");
    assert_eq!(versions(&page), ["p1 v1"]);
    let reasons: Vec<_> = page.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "is null: Cannot return null for non-nullable type: 'Int' within parent 'Post'",
            "is null, and no error says why",
            "is required; was the record written past the API?",
        ]
    );
    assert_eq!(page.bad[2].id, Some("p4".into()));
    assert_eq!(page.errors.len(), 1);
}

#[test]
fn a_field_that_was_withheld_is_unknown_rather_than_null() {
    let mut item = post("p1", 1);
    item["rating"] = json!(null);
    let page = sync(&json!({
        "data": {"syncPosts": {"items": [post("p0", 1), item], "nextToken": null, "startedAt": 7}},
        "errors": [{
            "path": ["syncPosts", "items", 1, "rating"], "errorType": "Unauthorized",
            "message": "Not Authorized to access rating on type Post",
        }],
    }))
    .expect("a page");
    let rating = |index: usize| page.items[index].fields.get("rating").cloned();
    assert_eq!((rating(0), rating(1)), (Some(Value::Int(1)), None));
}

#[test]
fn a_page_with_an_error_of_its_own_is_no_page() {
    let body = |path: serde_json::Value| {
        json!({
            "data": {"syncPosts": {"items": [post("p1", 1)], "nextToken": null, "startedAt": 7}},
            "errors": [{"path": path, "errorType": "Unauthorized", "message": "m"}],
        })
    };
    for path in [
        json!(null),
        json!(["syncPosts"]),
        json!(["syncPosts", "nextToken"]),
        json!(["syncPosts", "items", 9]),
    ] {
        let failure = sync(&body(path.clone())).expect_err("no page");
        assert_eq!(failure.class, FailureClass::Unauthorized, "{path}");
    }
    let nothing = sync(&json!({"data": {"syncPosts": null}})).expect_err("no page");
    assert_eq!(nothing.delivery(), Delivery::Unknown);
    assert!(sync(&json!({"data": {"syncPosts": {"items": null}}})).is_err());
}

#[test]
fn an_applied_mutation_returns_the_servers_record() {
    let MutationReply::Applied(record) = update(&ok(&json!({"data": {"updatePost": post("p1", 4)}}))) else {
        panic!("applied")
    };
    assert_eq!(record.sync.version, RecordVersion(4));
    let partly = json!({
        "data": {"updatePost": post("p1", 4)},
        "errors": [{"path": ["updatePost", "rating"], "errorType": "Unauthorized", "message": "m"}],
    });
    let MutationReply::Applied(record) = update(&ok(&partly)) else {
        panic!("applied")
    };
    assert_eq!(record.fields.get("rating"), None);
    let garbled = json!({"data": {"updatePost": {"id": "p1", "title": null}}});
    assert!(matches!(update(&ok(&garbled)), MutationReply::Unreadable(bad) if bad.id == Some("p1".into())));
}

#[test]
fn a_conflict_brings_the_servers_record_if_it_is_whole() {
    let body = |data: serde_json::Value| {
        json!({
            "data": {"updatePost": null},
            "errors": [{
                "path": ["updatePost"], "data": data, "errorType": "ConflictUnhandled", "errorInfo": null,
                "message": "Conflict resolver rejects mutation.",
            }],
        })
    };
    let MutationReply::Conflict {
        server: Some(server),
        failure,
    } = update(&ok(&body(post("p1", 7))))
    else {
        panic!("a conflict")
    };
    assert_eq!(server.sync.version, RecordVersion(7));
    assert_eq!(failure.error_type(), Some("ConflictUnhandled"));
    for data in [
        json!(null),
        json!({"id": "p1", "_version": 7, "_deleted": null}),
        json!("x"),
    ] {
        assert!(matches!(
            update(&ok(&body(data))),
            MutationReply::Conflict { server: None, .. }
        ));
    }
    let gone = json!({"id": "p1", "_version": 7, "_deleted": true, "_lastChangedAt": 5});
    let MutationReply::Conflict {
        server: Some(server), ..
    } = update(&ok(&body(gone)))
    else {
        panic!("a conflict")
    };
    assert!(server.sync.deleted);
}

#[test]
fn other_refusals_keep_their_class() {
    let body = |error_type: &str| json!({"data": {"updatePost": null}, "errors": [{"errorType": error_type, "message": "m", "path": ["updatePost"]}]});
    let condition = update(&ok(&body("ConditionalCheckFailedException")));
    assert!(matches!(
        condition,
        MutationReply::ConditionFailed { server: None, .. }
    ));
    let MutationReply::Failed(failure) = update(&ok(&body("DeltaSyncWriteError"))) else {
        panic!("failed")
    };
    assert_eq!(
        failure.delivery(),
        Delivery::Unknown,
        "the record may have been written"
    );
    let MutationReply::Failed(failure) = update(&HttpResponse::new(503, "")) else {
        panic!("failed")
    };
    assert_eq!(failure.delivery(), Delivery::Unknown);
    let MutationReply::Failed(failure) = update(&ok(&json!({"data": {"updatePost": null}}))) else {
        panic!("failed")
    };
    assert_eq!(
        failure.delivery(),
        Delivery::Unknown,
        "no answer is not a refusal"
    );
    let validation = json!({"data": null, "errors": [{"message": "Validation error of type WrongType"}]});
    let MutationReply::Failed(failure) = update(&ok(&validation)) else {
        panic!("failed")
    };
    assert_eq!(failure.class, FailureClass::Permanent);
}

#[test]
fn a_record_is_found_missing_or_refused() {
    let get = |body: serde_json::Value| read_get(&reader(), &documents().get, &ok(&body));
    assert!(matches!(
        get(json!({"data": {"getPost": post("p1", 1)}})),
        Ok(GetReply::Found(_))
    ));
    assert_eq!(get(json!({"data": {"getPost": null}})), Ok(GetReply::Missing));
    assert!(matches!(
        get(json!({"data": {"getPost": {"id": "p1"}}})),
        Ok(GetReply::Unreadable(_))
    ));
    let unauthorized =
        json!({"data": {"getPost": null}, "errors": [{"errorType": "Unauthorized", "message": "m"}]});
    assert_eq!(
        get(unauthorized).expect_err("refused").class,
        FailureClass::Unauthorized
    );
    assert!(get(json!({"data": null})).is_err());
}

#[test]
fn subscription_data_is_a_record_or_says_what_to_ask_for() {
    let documents = documents();
    let document = documents.subscription(SubscriptionKind::Create);
    let read = |payload: serde_json::Value| read_subscription(&reader(), document, &payload.to_string());
    assert!(matches!(
        read(json!({"data": {"onCreatePost": post("p1", 1)}})),
        SubscriptionData::Record(_)
    ));
    let narrow =
        json!({"data": {"onCreatePost": {"id": "p1", "title": null, "_version": 2, "_lastChangedAt": 5}}});
    let SubscriptionData::Bad(bad) = read(narrow) else {
        panic!("incomplete")
    };
    assert_eq!(
        (bad.id, bad.fault),
        (Some("p1".into()), BadRecordFault::Incomplete)
    );
    let withheld = json!({"data": {"onCreatePost": null}, "errors": [{"message": "m"}]});
    assert!(matches!(read(withheld), SubscriptionData::Withheld(errors) if errors.len() == 1));
    assert!(matches!(read(json!(null)), SubscriptionData::Withheld(errors) if errors.len() == 1));
}
