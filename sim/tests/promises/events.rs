//! What the Hub tells, in which order, and when a query counts as synced.

use landfall::{HubEvent, HubEvents, ModelQuery, QueryObserver};
use landfall_backend::BackendConfig;
use landfall_sim::{SimClient, pass};
use serde_json::{Value as Json, json};

use crate::support::{MINUTE_MS, Note, World, config, create, find, recount, simulate};

/// The names of all events so far; `outboxStatus` with what it says.
fn heard(events: &mut HubEvents) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(event) = events.try_next() {
        heard.push(match event {
            HubEvent::OutboxStatus { is_empty } => format!("outboxStatus {is_empty}"),
            HubEvent::NetworkStatus { active } => format!("networkStatus {active}"),
            event => event.name().to_owned(),
        });
    }
    heard
}

/// The sync of a start or of a reconnection, as Amplify's JavaScript client tells it, with Swift's `syncStarted` and the
/// progress that only this store tells.
const SYNC: [&str; 5] = [
    "syncQueriesStarted",
    "syncProgress",
    "modelSynced",
    "syncQueriesReady",
    "syncStarted",
];

#[test]
fn a_start_and_a_reconnection_tell_their_events_in_amplifys_order() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let mut events = anna.store().hub().await.unwrap();
        anna.store().stop().await.unwrap();
        assert_eq!(heard(&mut events), ["syncStopped"]);
        anna.store().start().await.unwrap();
        pass(MINUTE_MS).await;
        let start = [
            "localReady",
            "networkStatus true",
            "storageSubscribed",
            "subscriptionsEstablished",
            "outboxStatus true",
        ];
        assert_eq!(heard(&mut events), [&start[..], &SYNC[..], &["ready"]].concat());

        create(&anna, "sent", 1).await;
        pass(MINUTE_MS).await;
        let mut sent = heard(&mut events);
        // The message may come before the answer or after it.
        let message = sent.iter().position(|name| name == "subscriptionDataProcessed");
        sent.remove(message.expect("the store hears of its own change"));
        assert_eq!(
            sent,
            [
                "outboxMutationEnqueued",
                "outboxStatus false",
                "outboxMutationProcessed",
                "outboxStatus true",
            ]
        );

        anna.link().partition();
        pass(10 * MINUTE_MS).await;
        let mut offline = heard(&mut events);
        offline.retain(|name| name != "subscriptionFailed");
        assert_eq!(offline, ["networkStatus false"]);
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        let online = ["networkStatus true", "subscriptionsEstablished"];
        assert_eq!(
            heard(&mut events),
            [&online[..], &SYNC[..]].concat(),
            "ready is told once"
        );
    });
}

#[test]
fn a_start_without_a_network_tells_whether_changes_wait() {
    simulate(async {
        let world = World::new(config());
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        anna.store().stop().await.unwrap();
        anna.link().partition();
        let mut events = anna.store().hub().await.unwrap();
        for text in ["one", "two"] {
            create(&anna, text, 1).await;
        }
        let saved = ["outboxMutationEnqueued", "outboxStatus false"];
        assert_eq!(heard(&mut events), [saved, saved].concat(), "after each of them");
        anna.store().start().await.unwrap();
        pass(5 * MINUTE_MS).await;
        assert_eq!(
            heard(&mut events),
            [
                "localReady",
                "networkStatus false",
                "storageSubscribed",
                "outboxStatus false"
            ]
        );
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        let heard = heard(&mut events);
        let statuses: Vec<&String> = heard.iter().filter(|name| name.starts_with("outbox")).collect();
        assert_eq!(
            statuses,
            [
                "outboxMutationProcessed",
                "outboxStatus false",
                "outboxMutationProcessed",
                "outboxStatus true"
            ],
            "after each answer, and not once more with the connection: {heard:?}"
        );
        assert_eq!(heard.iter().filter(|name| *name == "ready").count(), 1);
    });
}

#[test]
fn a_condition_that_the_server_finds_not_to_hold_is_told_with_what_was_to_be_saved() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.link().partition();
        let edited = Note::copy_of(&find(&anna, "note"), |note| note.text = "mine".to_owned());
        anna.store().save_if(edited, Note::count().eq(1)).await.unwrap();
        recount(&bert, "note", 2).await;
        pass(MINUTE_MS).await;
        let mut events = anna.store().hub().await.unwrap();
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        let mut failed = Vec::new();
        while let Some(event) = events.try_next() {
            if ["conditionalSaveFailed", "outboxMutationFailed"].contains(&event.name()) {
                failed.push((event.name(), event.data()));
            }
        }
        let [(first, saved), (second, parked)] = &failed[..] else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (*first, *second),
            ("conditionalSaveFailed", "outboxMutationFailed")
        );
        assert_eq!(saved["element"], json!({"text": "mine"}));
        assert_eq!(saved["operation"], "UPDATE");
        assert!(
            saved["id"].is_string() && saved["id"] == parked["id"],
            "{saved} {parked}"
        );
    });
}

#[test]
fn what_a_subscription_brought_is_told_with_the_record() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let mut events = anna.store().hub().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        let event = events.try_next().unwrap();
        assert_eq!(event.name(), "subscriptionDataProcessed");
        let data: Json = event.data();
        assert_eq!(
            (&data["model"], &data["element"]["text"]),
            (&json!("Note"), &json!("note"))
        );
        assert_eq!(data["element"]["_version"], 1);
    });
}

async fn watch(client: &SimClient) -> QueryObserver<Note> {
    let observed = client.store().observe_query(ModelQuery::<Note>::all()).await;
    observed.expect("nothing goes wrong here")
}

/// Whether a query counts as synced, to somebody who has watched it and to somebody who comes now.
async fn is_synced(watching: &mut QueryObserver<Note>, client: &SimClient, before: bool) -> (bool, bool) {
    let seen = watching
        .try_next()
        .map_or(before, |shown| shown.expect("nothing goes wrong here").is_synced);
    let fresh = watch(client)
        .await
        .try_next()
        .expect("nothing goes wrong here")
        .expect("nothing goes wrong here");
    (seen, fresh.is_synced)
}

#[test]
fn a_query_is_not_synced_while_nothing_keeps_it_so() {
    simulate(async {
        let world = World::new(config());
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let mut watching = watch(&anna).await;
        assert_eq!(is_synced(&mut watching, &anna, false).await, (true, true));

        anna.link().partition();
        pass(10 * MINUTE_MS).await;
        assert_eq!(
            is_synced(&mut watching, &anna, true).await,
            (false, false),
            "offline"
        );
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        assert_eq!(is_synced(&mut watching, &anna, false).await, (true, true));

        anna.store().stop().await.unwrap();
        pass(1_000).await;
        assert_eq!(
            is_synced(&mut watching, &anna, true).await,
            (false, false),
            "stopped"
        );
        anna.store().start().await.unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(is_synced(&mut watching, &anna, false).await, (true, true));

        create(&anna, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.store().clear().await.unwrap();
        let fresh = watch(&anna).await.try_next().unwrap().unwrap();
        assert_eq!((fresh.items.len(), fresh.is_synced), (0, false), "cleared");
    });
}

#[test]
fn a_query_is_not_synced_after_a_sync_that_failed_or_was_cut_off() {
    simulate(async {
        let world = World::new(BackendConfig { ..config() });
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let mut watching = watch(&anna).await;
        assert_eq!(is_synced(&mut watching, &anna, false).await, (true, true));
        let broken = std::sync::Arc::new(|asked: &str, reply: &mut Json| {
            if asked == "SyncNotes" {
                *reply = json!({"data": {"syncNotes": null}, "errors": [{
                    "path": ["syncNotes"], "errorType": "Unauthorized", "message": "not you",
                }]});
            }
        });
        anna.link().rewrite(Some(broken));
        anna.store().sync_now().await.unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(
            is_synced(&mut watching, &anna, true).await,
            (false, false),
            "failed"
        );
        anna.link().rewrite(None);
        anna.store().sync_now().await.unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(is_synced(&mut watching, &anna, false).await, (true, true));
        anna.shut_down().await.unwrap();

        for text in ["second", "third"] {
            create(&bert, text, 1).await;
        }
        pass(MINUTE_MS).await;
        let carl = world.client("carl");
        carl.boot_with(|builder| {
            builder
                .page_size(1)
                .sync_settings(|settings| settings.records_max = 2)
        })
        .await
        .unwrap();
        pass(MINUTE_MS).await;
        let fresh = watch(&carl).await.try_next().unwrap().unwrap();
        assert_eq!((fresh.items.len(), fresh.is_synced), (2, false), "cut off");
    });
}
