//! Faults that no plan has, because the oracles could not tell them from other writers: requests that arrive twice, a
//! server that hangs, records and models that are no longer for this client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use landfall::{HubEvent, ModelQuery, Query};
use landfall_backend::{BackendConfig, ConflictStrategy, FieldError};
use landfall_sim::{SimClient, Trouble, pass};
use serde_json::{Value as Json, json};

use crate::support::{MINUTE_MS, Note, World, config, create, find, recount, simulate, texts};

/// By when a request has arrived on a link without faults, and few more can have been sent; in milliseconds.
const ONE_REQUEST_MS: u64 = 50;

/// A request that arrives a second time does no harm: at once, with the answer to the second as the one that arrives;
/// and minutes later, when the record has moved on.
#[test]
fn n7_requests_that_arrive_twice_put_nothing_back() {
    let (merging, refusing) = (
        ConflictStrategy::Automerge,
        ConflictStrategy::OptimisticConcurrency,
    );
    // A server that refuses old versions refuses the second and has the client ask again, so only one is doubled.
    let cases = [
        (merging, 0, 1_000),
        (merging, 3 * MINUTE_MS, 1_000),
        (refusing, 0, ONE_REQUEST_MS),
        (refusing, 3 * MINUTE_MS, 1_000),
    ];
    for (conflict, later_ms, doubled_ms) in cases {
        simulate(async move {
            let world = World::new(BackendConfig { conflict, ..config() });
            let (anna, bert) = (world.client("anna"), world.client("bert"));
            anna.boot().await.unwrap();
            bert.boot().await.unwrap();
            pass(MINUTE_MS).await;
            let doubled = Trouble::RequestsDoubled {
                per_mille: 1_000,
                later_ms,
            };
            for step in 0..4 {
                anna.link().put(doubled.clone());
                match step {
                    0 => drop(create(&anna, "note", 1).await),
                    1 => recount(&anna, "note", 2).await,
                    2 => drop(create(&anna, "gone", 1).await),
                    _ => {
                        let gone = find(&anna, "gone");
                        anna.store().delete(&gone).await.unwrap();
                    }
                }
                pass(doubled_ms).await;
                anna.link().take_off(&doubled);
                recount_by(&bert, step).await;
            }
            pass(10 * MINUTE_MS).await;
            let told = format!("{conflict:?}, {later_ms} ms later");
            assert_eq!(anna.store().outbox().list(10).unwrap(), [], "{told}");
            let server = world.backend.records("Note").unwrap();
            let alive: Vec<_> = server.iter().filter(|record| !record.sync.deleted).collect();
            assert_eq!(alive.len(), 1, "{told}: {alive:#?}");
            assert_eq!(alive[0].fields.get("count"), Some(&103.into()), "{told}");
            for client in [&anna, &bert] {
                assert_eq!(texts(client), "note", "{told}");
                assert_eq!(find(client, "note").count, Some(103), "{told}");
            }
        });
    }
}

/// Somebody else changes the note after it has seen it.
async fn recount_by(client: &SimClient, step: i32) {
    pass(MINUTE_MS).await;
    recount(client, "note", 100 + step).await;
    pass(MINUTE_MS).await;
}

/// Nothing is refused and nothing is answered: what is local goes on at once, the app is told that it is offline, what
/// waits is sent when the server is back, and the server is not flooded meanwhile.
#[test]
fn n16_a_server_that_hangs_is_waited_for_and_holds_up_nothing_local() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "known", 1).await;
        pass(MINUTE_MS).await;
        anna.link().put(Trouble::Hangs);
        let before_ms = world.clock.elapsed_ms();
        anna.boot().await.unwrap();
        for number in 0..20 {
            create(&anna, &format!("n{number}"), number).await;
        }
        assert_eq!(anna.store().query(ModelQuery::<Note>::all()).unwrap().len(), 20);
        let took_ms = world.clock.elapsed_ms() - before_ms;
        assert!(took_ms < 1_000, "starting and saving took {took_ms} ms");
        pass(20 * MINUTE_MS).await;
        let requests = anna.link().requests_total();
        assert!(requests < 400, "{requests} requests in 20 minutes");
        assert_eq!(anna.store().outbox().len().unwrap(), 20, "nothing is dropped");
        assert_eq!(anna.store().outbox().parked(1).unwrap(), [], "or given up");
        anna.link().take_off(&Trouble::Hangs);
        pass(5 * MINUTE_MS).await;
        assert!(anna.store().outbox().is_empty().unwrap());
        assert_eq!(find(&anna, "known").count, Some(1));

        // The same while all is well: what was open hangs, too.
        anna.link().put(Trouble::Hangs);
        anna.link().kill_sockets();
        recount(&anna, "known", 2).await;
        create(&bert, "meanwhile", 1).await;
        pass(10 * MINUTE_MS).await;
        assert_eq!(find(&anna, "known").count, Some(2));
        assert_eq!(find(&bert, "known").count, Some(1));
        anna.link().take_off(&Trouble::Hangs);
        pass(5 * MINUTE_MS).await;
        assert_eq!(find(&bert, "known").count, Some(2));
        assert_eq!(find(&anna, "meanwhile").count, Some(1));
        let server = world.backend.records("Note").unwrap();
        let twice = server.iter().filter(|record| record.sync.version.0 > 2).count();
        assert_eq!((server.len(), twice), (22, 0), "each took effect once");
    });
}

/// The rules change: some records are not for this client any more. They leave its store with the next full sync, except
/// one with a change that waits; that change is refused, and the app is told with all of it.
#[test]
fn s4_records_that_become_invisible_leave_the_store_and_refused_work_is_kept() {
    simulate(async {
        let world = World::new(config());
        // The server keeps records from anna, and its refusals are put in on the way.
        world.pardon(&["I3", "I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        for text in ["open", "closed", "edited"] {
            create(&bert, text, 1).await;
        }
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "closed edited open");

        let closed = Arc::new(AtomicBool::new(true));
        let is_closed = Arc::clone(&closed);
        anna.link()
            .rewrite(Some(Arc::new(move |operation: &str, reply: &mut Json| {
                if !is_closed.load(Ordering::SeqCst) {
                    return;
                }
                match operation {
                    "SyncNotes" => {
                        let items = reply["data"]["syncNotes"]["items"].as_array_mut();
                        items.unwrap().retain(|item| item["text"] == "open");
                    }
                    "GetNote" if reply["data"]["getNote"]["text"] != "open" => *reply = denied("getNote"),
                    "UpdateNote" => *reply = denied("updateNote"),
                    _ => {}
                }
            })));
        // The server writes nothing of what it refuses.
        world
            .backend
            .faults()
            .fail_fields(u32::MAX, FieldError::MaxConflicts);
        let mut events = anna.store().hub().await.unwrap();
        recount(&anna, "edited", 2).await;
        pass(10 * MINUTE_MS).await;
        let parked = anna.store().outbox().parked(10).unwrap();
        assert_eq!(parked.len(), 1, "{parked:#?}");
        assert_eq!(
            parked[0].patch.get("count"),
            Some(&2.into()),
            "all of it is there"
        );
        let mut failed = 0;
        while let Some(event) = events.try_next() {
            if let HubEvent::OutboxMutationFailed { error_type, .. } = event {
                assert_eq!(error_type.as_deref(), Some("Unauthorized"));
                failed += 1;
            }
        }
        assert_eq!(failed, 1, "it is told once");
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "edited open", "what has an edit waiting stays");
        assert_eq!(find(&anna, "edited").count, Some(2));

        // Given up, it is as the server shows it: not there. With the old rules all are there again.
        anna.store().outbox().discard(parked[0].seq).await.unwrap();
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "open");
        closed.store(false, Ordering::SeqCst);
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "closed edited open");
        assert_eq!(find(&anna, "edited").count, Some(1));
    });
}

/// What AppSync answers where the rules deny a field.
fn denied(field: &str) -> Json {
    let kind = if field.starts_with("get") {
        "Query"
    } else {
        "Mutation"
    };
    let message = format!("Not Authorized to access {field} on type {kind}");
    json!({"data": {field: null}, "errors": [{"path": [field], "data": null, "errorType": "Unauthorized",
        "errorInfo": null, "locations": [{"line": 1, "column": 1, "sourceName": null}], "message": message}]})
}

mod with_drafts {
    landfall::inline_schema!(
        "type Note @model { text: String! count: Int } type Draft @model { text: String! }"
    );
}

/// The server's new schema has a model less. The others sync as before, the app is told about that one, and what was
/// written for it is kept.
#[test]
fn s15_a_model_that_the_server_no_longer_has_holds_up_no_other_and_loses_nothing() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (
            world.client_with("anna", with_drafts::schema()),
            world.client("bert"),
        );
        bert.boot().await.unwrap();
        create(&bert, "theirs", 1).await;
        pass(MINUTE_MS).await;
        anna.boot().await.unwrap();
        let mut events = anna.store().hub().await.unwrap();
        let draft = with_drafts::Draft::builder().text("kept").build().unwrap();
        anna.store().save(draft).await.unwrap();
        let note = with_drafts::Note::builder()
            .text("mine")
            .count(1)
            .build()
            .unwrap();
        anna.store().save(note).await.unwrap();
        assert!(
            anna.store().ready().await.unwrap(),
            "it is ready without that model"
        );
        pass(10 * MINUTE_MS).await;
        create(&bert, "live", 1).await;
        pass(10 * MINUTE_MS).await;
        assert_eq!(texts(&bert), "live mine theirs");
        let count = |model: &str| anna.store().records().query(&Query::all(model)).unwrap().len();
        assert_eq!((count("Note"), count("Draft")), (3, 1));
        let parked = anna.store().outbox().parked(10).unwrap();
        assert_eq!(parked.len(), 1, "{parked:#?}");
        assert_eq!(parked[0].patch.get("text"), Some(&"kept".into()));
        assert_eq!(anna.store().outbox().len().unwrap(), 1);
        let mut told = Vec::new();
        while let Some(event) = events.try_next() {
            match event {
                HubEvent::ModelSyncFailed { model, .. } => told.push(("sync", model.to_string())),
                HubEvent::SubscriptionFailed { model, .. } => told.push(("subscription", model.to_string())),
                HubEvent::OutboxMutationFailed { key, .. } => told.push(("change", key.model.to_string())),
                _ => {}
            }
        }
        assert!(told.iter().all(|(_, model)| model == "Draft"), "{told:?}");
        for what in ["sync", "change"] {
            assert!(told.iter().any(|(kind, _)| *kind == what), "{what}: {told:?}");
        }
        let requests = anna.link().requests_total();
        assert!(requests < 200, "{requests} requests for what cannot be had");
    });
}
