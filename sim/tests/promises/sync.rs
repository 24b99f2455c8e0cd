//! What the settings of sync promise: expressions, full syncs, pauses, polls.

use std::sync::Arc;
use std::time::Duration;

use landfall::{Leaving, Listen, Op, Predicate};
use landfall_backend::{BackendConfig, ConflictStrategy};
use landfall_sim::pass;

use crate::support::{MINUTE_MS, Note, World, config, create, find, recount, simulate, texts};

fn above_three() -> Predicate {
    Predicate::field("count", Op::Gt(3.into()))
}

#[test]
fn after_an_outage_longer_than_tombstones_live_nothing_is_left_over_but_what_waits() {
    simulate(async {
        let world = World::new(BackendConfig {
            base_ttl_minutes: 60,
            ..config()
        });
        // The server forgets what was deleted.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| {
            builder.sync_settings(|settings| settings.tombstone_life = Duration::from_secs(60 * 60))
        })
        .await
        .unwrap();
        bert.boot().await.unwrap();
        for text in ["edited", "gone", "stays"] {
            create(&bert, text, 1).await;
        }
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "edited gone stays");

        anna.link().partition();
        recount(&anna, "edited", 2).await;
        for text in ["edited", "gone"] {
            let note = find(&bert, text);
            bert.store().delete(&note).await.unwrap();
        }
        pass(3 * 60 * MINUTE_MS).await;
        world.backend.purge(world.clock.unix_ms()).unwrap();
        assert_eq!(
            world.backend.records("Note").unwrap().len(),
            1,
            "no tombstone is left"
        );
        assert_eq!(texts(&anna), "edited gone stays", "nobody has told");

        anna.link().repair();
        pass(10 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "edited stays", "what has an edit waiting stays");
        let parked = anna.store().outbox().parked(10).unwrap();
        assert_eq!(parked.len(), 1, "and the app decides about the edit");
    });
}

#[test]
fn a_full_sync_removes_what_the_server_forgot_without_a_trace() {
    simulate(async {
        let world = World::new(BackendConfig {
            base_ttl_minutes: 0,
            ..config()
        });
        // The server forgets what was deleted.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        // Nothing but the full sync each day tells anna of anything.
        anna.boot_with(|builder| builder.listen("Note", Listen::Off))
            .await
            .unwrap();
        bert.boot().await.unwrap();
        create(&bert, "gone", 1).await;
        create(&bert, "stays", 1).await;
        pass(2 * MINUTE_MS).await;
        assert!(anna.store().sync_now().await.unwrap());
        assert_eq!(texts(&anna), "gone stays");
        let note = find(&bert, "gone");
        bert.store().delete(&note).await.unwrap();
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "stays");
    });
}

#[test]
fn a_record_that_leaves_the_expression_leaves_the_store_at_once_and_comes_back() {
    simulate(async {
        let world = World::new(config());
        // Anna does not want all records.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| builder.sync_expression_for("Note", above_three()))
            .await
            .unwrap();
        bert.boot().await.unwrap();
        create(&bert, "a", 5).await;
        create(&bert, "b", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "a");
        recount(&bert, "a", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "", "heard by subscription");
        recount(&bert, "a", 6).await;
        recount(&bert, "b", 7).await;
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "a b");

        // What happens behind a cut is told by the delta sync.
        anna.link().partition();
        recount(&bert, "a", 1).await;
        pass(MINUTE_MS).await;
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "b");

        // After half an hour the server's list of changes has ended, and everything is fetched again.
        anna.link().partition();
        recount(&bert, "a", 8).await;
        recount(&bert, "b", 2).await;
        pass(40 * MINUTE_MS).await;
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "a");
    });
}

#[test]
fn a_record_with_a_change_waiting_leaves_the_store_when_the_change_is_through() {
    simulate(async {
        let world = World::new(BackendConfig {
            conflict: ConflictStrategy::OptimisticConcurrency,
            ..config()
        });
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| builder.sync_expression_for("Note", above_three()))
            .await
            .unwrap();
        bert.boot().await.unwrap();
        create(&bert, "a", 5).await;
        pass(MINUTE_MS).await;
        anna.store().pause_push().unwrap();
        let edited = Note::copy_of(&find(&anna, "a"), |note| note.text = "edited".to_owned());
        anna.store().save(edited).await.unwrap();
        recount(&bert, "a", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "edited", "the edit has yet to be sent");
        anna.store().resume_push().unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "");
        assert_eq!(texts(&bert), "edited", "nothing of it is lost");
    });
}

#[test]
fn updates_that_lead_out_can_be_left_to_the_next_sync() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| {
            builder
                .sync_expression_for("Note", above_three())
                .leaving(Leaving::WithNextSync)
        })
        .await
        .unwrap();
        bert.boot().await.unwrap();
        create(&bert, "a", 5).await;
        pass(MINUTE_MS).await;
        recount(&bert, "a", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "a", "the server kept quiet");
        assert!(anna.store().sync_now().await.unwrap());
        assert_eq!(texts(&anna), "");
    });
}

#[test]
fn a_changed_expression_fetches_what_is_new_and_drops_what_is_not() {
    simulate(async {
        let world = World::new(config());
        // Anna does not want all records.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "high", 5).await;
        create(&bert, "low", 1).await;
        pass(2 * MINUTE_MS).await;
        let least = Arc::new(std::sync::atomic::AtomicI64::new(3));
        let asked = Arc::clone(&least);
        anna.boot_with(|builder| {
            builder.sync_expression_from("Note", move || {
                let least = asked.load(std::sync::atomic::Ordering::SeqCst);
                async move { Predicate::field("count", Op::Gt(least.into())) }
            })
        })
        .await
        .unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "high");
        least.store(0, std::sync::atomic::Ordering::SeqCst);
        anna.store().refresh_expressions().await.unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "high low");
        anna.store()
            .set_sync_expression(Note::count().lt(3))
            .await
            .unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "low");
        anna.store()
            .set_sync_expression(Note::count().gt(3))
            .await
            .unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "high", "it left with this very version");
    });
}

#[test]
fn a_changed_expression_drops_at_once_what_has_just_changed_unless_it_waits() {
    const SECONDS_MS: u64 = 1_000;
    simulate(async {
        let world = World::new(config());
        // Anna does not want all records.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| builder.sync_expression_for("Note", above_three()))
            .await
            .unwrap();
        bert.boot().await.unwrap();
        pass(2 * MINUTE_MS).await;
        create(&bert, "high", 5).await;
        create(&bert, "waits", 6).await;
        pass(10 * SECONDS_MS).await;
        assert_eq!(texts(&anna), "high waits");
        anna.store().pause_push().unwrap();
        recount(&anna, "waits", 7).await;
        anna.store()
            .set_sync_expression(Note::count().lt(3))
            .await
            .unwrap();
        pass(10 * SECONDS_MS).await;
        assert_eq!(texts(&anna), "waits", "its change has yet to be sent");
        anna.store().resume_push().unwrap();
        pass(10 * SECONDS_MS).await;
        assert_eq!(texts(&anna), "");
        anna.store()
            .set_sync_expression(Note::count().gt(3))
            .await
            .unwrap();
        pass(10 * SECONDS_MS).await;
        assert_eq!(texts(&anna), "high waits", "the server had them all the while");
    });
}

#[test]
fn push_and_pull_can_be_paused_each_alone() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let store = anna.store().clone();

        store.pause_push().unwrap();
        create(&anna, "mine", 1).await;
        create(&bert, "theirs", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(
            (texts(&anna), texts(&bert)),
            ("mine theirs".into(), "theirs".into())
        );
        assert!(
            !store
                .outbox()
                .drained_within(Duration::from_secs(60))
                .await
                .unwrap()
        );
        store.resume_push().unwrap();
        assert!(
            store
                .outbox()
                .drained_within(Duration::from_secs(60))
                .await
                .unwrap()
        );

        store.pause_pull().unwrap();
        create(&anna, "more", 1).await;
        create(&bert, "unheard", 1).await;
        pass(MINUTE_MS).await;
        assert_eq!(
            (texts(&anna), texts(&bert)),
            ("mine more theirs".into(), "mine more theirs unheard".into())
        );
        assert!(!store.sync_now().await.unwrap(), "nothing is fetched");
        store.resume_pull().unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "mine more theirs unheard");
    });
}

#[test]
fn a_polled_model_is_heard_of_without_subscriptions() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot_with(|builder| builder.listen("Note", Listen::Polling(Duration::from_secs(30))))
            .await
            .unwrap();
        bert.boot().await.unwrap();
        // Halfway between two polls.
        pass(MINUTE_MS + 15_000).await;
        create(&bert, "a", 1).await;
        pass(5_000).await;
        let early = texts(&anna);
        pass(MINUTE_MS).await;
        assert_eq!((early.as_str(), texts(&anna).as_str()), ("", "a"));
    });
}

#[test]
fn the_outbox_can_be_watched_and_lifecycle_calls_come_in_any_order() {
    simulate(async {
        let world = World::new(config());
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        let store = anna.store().clone();
        let mut watch = store.outbox().watch().await.unwrap();
        assert!(watch.next(10).await.unwrap().unwrap().is_empty());
        create(&anna, "a", 1).await;
        assert_eq!(watch.next(10).await.unwrap().unwrap().len(), 1);
        for round in 0..3 {
            store.start().await.unwrap();
            store.stop().await.unwrap();
            store.start().await.unwrap();
            store.clear().await.unwrap();
            store.stop().await.unwrap();
            store.clear().await.unwrap();
            store.start().await.unwrap();
            store.start().await.unwrap();
            create(&anna, &format!("round {round}"), 1).await;
            assert!(store.ready().await.unwrap());
            assert!(
                store
                    .outbox()
                    .drained_within(Duration::from_secs(60))
                    .await
                    .unwrap()
            );
        }
        let notes = world.backend.records("Note").unwrap();
        assert!(notes.len() >= 3, "{}", notes.len());
    });
}

#[test]
fn an_observed_query_is_synced_once_its_model_is_and_not_before() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.link().partition();
        anna.boot().await.unwrap();
        let mut observer = anna
            .store()
            .observe_query(landfall::ModelQuery::<Note>::all())
            .await
            .unwrap();
        let shown = observer.next().await.unwrap().unwrap();
        assert_eq!((shown.items.len(), shown.is_synced), (0, false));
        create(&anna, "mine", 1).await;
        let shown = observer.next().await.unwrap().unwrap();
        assert_eq!(
            (shown.items.len(), shown.is_synced),
            (1, false),
            "not while it is offline"
        );
        anna.link().repair();
        pass(5 * MINUTE_MS).await;
        let shown = observer.try_next().unwrap().unwrap();
        assert_eq!((shown.items.len(), shown.is_synced), (2, true));
    });
}
