use std::sync::Arc;

use landfall::DataStore;
use serde_json::{Value as Json, json};

use super::super::super::recorder::Recorder;
use super::super::super::values::Form;
use super::super::{Reply, Session};
use super::*;

async fn session() -> Session {
    let sdl = "type Post @model { title: String } type Tag @model { name: String }";
    let schema = Arc::new(landfall_codegen::parse_sdl("s.graphql", sdl).unwrap());
    let store = DataStore::builder(&schema).open().await.unwrap();
    let form = Form::new(&schema, std::collections::BTreeMap::new());
    Session::open(store, Recorder::default(), form).await.unwrap()
}

async fn answer(session: &mut Session, command: Json) -> Result<Json, Fault> {
    match session.carry_out(&command).await? {
        Reply::Answer(answer) => Ok(answer),
        Reply::Exit => panic!("nobody asked to leave"),
    }
}

async fn save(session: &mut Session, model: &str) {
    let command = json!({"op": "save", "model": model, "fields": {}});
    answer(session, command).await.unwrap();
}

async fn list(session: &mut Session, op: &str) -> Vec<Json> {
    match answer(session, json!({ "op": op })).await.unwrap() {
        Json::Array(list) => list,
        other => panic!("{op} answers with a list, not {other}"),
    }
}

#[tokio::test]
async fn all_that_a_script_did_without_asking_is_told() {
    let mut session = session().await;
    for model in ["Post", "Tag"] {
        let command = json!({"op": "observe", "model": model});
        answer(&mut session, command).await.unwrap();
    }
    for index in 0..1_500 {
        save(&mut session, if index % 2 == 0 { "Post" } else { "Tag" }).await;
    }
    let observed = list(&mut session, "observed").await;
    assert_eq!(observed.len(), 1_500);
    assert!(observed.iter().all(|change| change["op"] == "INSERT"));
    assert_eq!(list(&mut session, "observed").await, Vec::<Json>::new());
}

#[tokio::test]
async fn each_save_is_a_snapshot_of_its_own_and_the_first_is_from_before() {
    let mut session = session().await;
    let command = json!({"op": "observeQuery", "model": "Post"});
    answer(&mut session, command).await.unwrap();
    for _ in 0..3 {
        save(&mut session, "Post").await;
    }
    save(&mut session, "Tag").await;
    let snapshots = list(&mut session, "snapshots").await;
    let sizes: Vec<_> = snapshots
        .iter()
        .map(|snapshot| snapshot["items"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [0, 1, 2, 3]);
    assert!(snapshots.iter().all(|snapshot| snapshot["isSynced"] == false));
    assert_eq!(list(&mut session, "snapshots").await, Vec::<Json>::new());
}

#[tokio::test]
async fn what_was_heard_outlives_a_clear() {
    let mut session = session().await;
    let command = json!({"op": "observe", "model": "Post"});
    answer(&mut session, command).await.unwrap();
    save(&mut session, "Post").await;
    answer(&mut session, json!({"op": "clear"})).await.unwrap();
    save(&mut session, "Post").await;
    assert_eq!(
        list(&mut session, "observed").await.len(),
        1,
        "observers end with it"
    );
}

#[tokio::test]
async fn what_gives_way_is_told_with_its_number_before_what_came_after_it() {
    let mut session = session().await;
    session.ears.changes = Kept::new(3);
    session.ears.events = Kept::new(3);
    session.ears.results = Kept::new(3);
    for op in ["observe", "observeQuery"] {
        let command = json!({"op": op, "model": "Post"});
        answer(&mut session, command).await.unwrap();
    }
    list(&mut session, "hub").await;
    for _ in 0..5 {
        save(&mut session, "Post").await;
    }
    let fault = answer(&mut session, json!({"op": "observed"})).await.unwrap_err();
    assert!(fault.contains("the 2 oldest changes gave way"), "{fault}");
    assert_eq!(list(&mut session, "observed").await.len(), 3);
    let fault = answer(&mut session, json!({"op": "snapshots"}))
        .await
        .unwrap_err();
    assert!(fault.contains("oldest snapshots gave way"), "{fault}");
    let snapshots = list(&mut session, "snapshots").await;
    let newest = snapshots
        .last()
        .map(|snapshot| snapshot["items"].as_array().unwrap().len());
    assert_eq!(newest, Some(5), "the newest is kept whatever it holds");
    let events = list(&mut session, "hub").await;
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[0]["event"], "lagged");
    assert!(events[0]["data"]["lost"].as_u64() >= Some(2), "{events:?}");
}

#[tokio::test]
async fn waiting_for_an_event_takes_those_before_it_and_says_what_it_saw() {
    let mut session = session().await;
    for _ in 0..3 {
        save(&mut session, "Post").await;
    }
    let command = json!({"op": "waitHub", "event": "outboxMutationEnqueued"});
    assert_eq!(
        answer(&mut session, command).await.unwrap()["event"],
        "outboxMutationEnqueued"
    );
    let command = json!({"op": "waitHub", "event": "ready", "ms": 10});
    let fault = answer(&mut session, command.clone()).await.unwrap_err();
    assert!(fault.contains("no ready in time; seen were: "), "{fault}");
    assert!(fault.contains("outboxMutationEnqueued"), "{fault}");
    let fault = answer(&mut session, command).await.unwrap_err();
    assert_eq!(fault, "no ready in time; seen were: none");
    let store = session.store().clone();
    store.close().await;
    let command = json!({"op": "waitHub", "event": "ready"});
    let fault = answer(&mut session, command).await.unwrap_err();
    assert_eq!(fault, "the store is closed");
}
