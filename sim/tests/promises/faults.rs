//! Every fault of the network and the server, each alone: first those that plans have, then servers that are odd.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landfall::history::RemoteRecord;
use landfall::{HubEvent, HubEvents};
use landfall_sim::{Knobs, Link, Outcome, Profile, Rewrite, RunOptions, Trouble, generate_for, pass, run};
use serde_json::{Value as Json, json};

use crate::support::{MINUTE_MS, World, config, create, find, recount, simulate, texts};

/// Simulated time of each run, in milliseconds.
const BUSY_MS: u64 = 20_000;

/// Runs three clients under one kind of fault, as often as it can be; something must have been met by it.
fn suffer(knob: &str) {
    let mut knobs = Knobs::default();
    assert!(knobs.set(knob, 300), "there is a knob of that name");
    let id = landfall_sim::KNOBS.iter().find(|one| one.name == knob);
    let id = id.map(|knob| knob.id).expect("there is a knob of that name");
    let mut met = 0;
    for seed in 1..=2 {
        let plan = generate_for(seed, Profile::Remote, Some(knobs), BUSY_MS, Some(3));
        let Outcome {
            violations,
            effects,
            recent,
            story,
            ..
        } = run(&plan, RunOptions::default());
        let told = || format!("{knob}, seed {seed}: {}\n{}", recent.join("\n"), story.join("\n"));
        assert!(violations.is_empty(), "{violations:#?}\n{}", told());
        met += effects.get(id).copied().unwrap_or(0);
    }
    assert!(met > 0, "nothing was ever met by {knob}");
}

macro_rules! faults {
    ($($test:ident, $knob:literal;)*) => {
        $(
            #[test]
            fn $test() {
                suffer($knob);
            }
        )*

        #[test]
        fn every_fault_of_network_and_server_that_plans_have_is_here() {
            let here = [$($knob),*];
            let all = landfall_sim::KNOBS.iter().filter(|knob| knob.id.starts_with(['N', 'S']));
            for knob in all {
                assert!(here.contains(&knob.name), "{} {} has no test", knob.id, knob.name);
            }
        }
    };
}

faults! {
    n1_a_partition_heals, "partition";
    n2_lost_replies_change_nothing_twice, "replies_lost";
    n3_lost_requests_are_sent_again, "requests_lost";
    n4_links_that_fail_in_turn_heal_in_turn, "swizzle";
    n5_loss_at_random_loses_nothing, "loss";
    n6_bursts_of_loss_lose_nothing, "bursts";
    n7_frames_that_come_twice_count_once, "frames_doubled";
    n8_frames_that_overtake_each_other_put_nothing_back, "frames_reordered";
    n9_a_slow_link_is_waited_for, "slow";
    n10_a_narrow_link_is_waited_for, "narrow";
    n11_a_half_open_socket_is_noticed, "half_open";
    n12_lost_frames_beside_keep_alives_are_made_up_for, "frames_lost";
    n13_a_socket_that_breaks_in_any_state_is_replaced, "sockets_broken";
    n14_a_reply_that_is_lost_once_is_asked_for, "reply_lost_once";
    n15_replies_that_are_cut_off_are_no_answers, "garbled";
    n16_refused_connections_are_tried_again, "connect_refused";
    n17_an_offline_signal_that_lies_drops_nothing, "offline_signal";
    n18_a_captive_portal_is_no_server, "captive_portal";
    n19_a_storm_of_reconnections_settles, "storm";
    n22_a_server_that_hangs_is_given_up_and_asked_again, "hangs";
    s1_an_error_before_the_act_drops_nothing, "fails_before";
    s2_an_error_after_the_act_repeats_nothing, "fails_after";
    s3_throttling_is_waited_out, "throttled";
    s4_credentials_that_end_pause_and_drop_nothing, "unauthorized";
    s5_a_journal_that_fails_after_the_write_repeats_nothing, "journal_fails";
    s6_a_server_that_gives_up_is_asked_again, "max_conflicts";
    s11_messages_that_come_late_put_nothing_back, "fan_out_paused";
    s12_messages_that_never_come_are_made_up_for, "messages_dropped";
    s13_a_server_that_forgets_connections_is_noticed, "server_restart";
    s19_a_server_that_takes_no_changes_drops_none, "writes_fail";
    s20_a_server_that_answers_no_questions_doubles_nothing, "reads_fail";
}

/// What disks and processes suffer, each alone.
#[test]
fn every_fault_of_clients_and_users_meets_something() {
    // A file that has been written for seconds has room within itself; how a full disk is met is the scenario `a_full_disk`.
    let of_clients = landfall_sim::KNOBS
        .iter()
        .filter(|knob| knob.id.starts_with(['C', 'U']) && knob.name != "disk_full");
    of_clients.for_each(|knob| suffer(knob.name));
}

#[test]
fn who_says_that_there_are_new_credentials_does_not_wait() {
    simulate(async {
        let world = World::new(config());
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        let signed_out = Trouble::Refused {
            status: 401,
            per_mille: 1_000,
            retry_after_ms: None,
        };
        anna.link().put(signed_out.clone());
        create(&anna, "waits", 1).await;
        pass(30 * MINUTE_MS).await;
        anna.link().take_off(&signed_out);
        pass(5_000).await;
        let waits = || !anna.store().outbox().is_empty().unwrap();
        assert!(waits(), "it is tried every few minutes");
        anna.store().credentials_changed().await.unwrap();
        pass(5_000).await;
        assert!(!waits());
    });
}

/// Everything that networks and servers do, in one run after another.
#[test]
fn three_clients_under_every_fault_of_network_and_server_end_in_agreement() {
    for seed in 1..=4 {
        let knobs = Profile::Remote.knobs();
        let plan = generate_for(seed, Profile::Remote, Some(knobs), BUSY_MS, Some(3));
        let outcome = run(&plan, RunOptions::default());
        assert!(outcome.is_well(), "seed {seed}: {:#?}", outcome.violations);
    }
}

/// Rewrites each reply to an operation of that name.
fn rewrite(link: &Link, operation: &'static str, change: impl Fn(&mut Json) + Send + Sync + 'static) {
    let rewrite: Rewrite = Arc::new(move |asked: &str, reply: &mut Json| {
        if asked == operation {
            change(reply);
        }
    });
    link.rewrite(Some(rewrite));
}

/// The names of all events so far.
fn heard(events: &mut HubEvents) -> Vec<&'static str> {
    let mut heard = Vec::new();
    while let Some(event) = events.try_next() {
        heard.push(event.name());
    }
    heard
}

/// The items of a page.
fn items(reply: &mut Json) -> &mut Vec<Json> {
    let items = reply["data"]["syncNotes"]["items"].as_array_mut();
    items.expect("a page has items")
}

#[test]
fn s5_a_record_with_null_where_the_schema_forbids_it_is_set_aside_and_the_rest_stored() {
    simulate(async {
        let world = World::new(config());
        // The server keeps two records from anna.
        world.pardon(&["I7"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        for text in ["broken", "missing", "sound"] {
            create(&bert, text, 1).await;
        }
        pass(MINUTE_MS).await;
        rewrite(&anna.link(), "SyncNotes", |reply| {
            let page = items(reply);
            for item in page.iter_mut() {
                match item["text"].as_str() {
                    Some("broken") => item["text"] = Json::Null,
                    Some("missing") => *item = Json::Null,
                    _ => {}
                }
            }
        });
        anna.boot().await.unwrap();
        let mut events = anna.store().hub().await.unwrap();
        pass(MINUTE_MS).await;
        anna.store().sync_now().await.unwrap();
        assert_eq!(texts(&anna), "sound");
        anna.link().rewrite(None);
        drop(heard(&mut events));
        // Whatever was set aside comes with the next full sync, once it can be read.
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "broken missing sound");
    });
}

/// A conflict function may answer anything: an old version, another record, nothing.
#[test]
fn s7_odd_answers_to_a_mutation_lose_nothing() {
    let odd: [fn(&mut Json); 4] = [
        |record| record["_version"] = json!(1),
        |record| record["id"] = json!("somebody else"),
        |record| record["_deleted"] = json!(true),
        |record| *record = json!({}),
    ];
    for (number, change) in odd.into_iter().enumerate() {
        simulate(async move {
            let world = World::new(config());
            // The server says what it did not do.
            world.pardon(&["I5", "I8", "I12"]);
            let (anna, bert) = (world.client("anna"), world.client("bert"));
            anna.boot().await.unwrap();
            bert.boot().await.unwrap();
            create(&anna, "note", 1).await;
            pass(MINUTE_MS).await;
            recount(&anna, "note", 2).await;
            pass(MINUTE_MS).await;
            let once = AtomicU64::new(0);
            rewrite(&anna.link(), "UpdateNote", move |reply| {
                if once.fetch_add(1, Ordering::SeqCst) == 0 {
                    change(&mut reply["data"]["updateNote"]);
                }
            });
            recount(&anna, "note", 3).await;
            pass(2 * MINUTE_MS).await;
            anna.link().rewrite(None);
            // What the app is asked about, it sends again.
            for parked in anna.store().outbox().parked(10).unwrap() {
                anna.store().outbox().retry(parked.seq).await.unwrap();
            }
            pass(26 * 60 * MINUTE_MS).await;
            assert_eq!(anna.store().outbox().len().unwrap(), 0, "answer {number}");
            let server = world.backend.records("Note").unwrap();
            assert_eq!(server[0].fields.get("count"), Some(&3.into()), "answer {number}");
            for client in [&anna, &bert] {
                assert_eq!(
                    find(client, "note").count,
                    Some(3),
                    "answer {number}, {}",
                    client.name()
                );
            }
        });
    }
}

#[test]
fn s8_who_was_away_just_longer_than_the_delta_table_remembers_misses_nothing() {
    for minutes in [29, 31] {
        simulate(async move {
            let world = World::new(config());
            let (anna, bert) = (world.client("anna"), world.client("bert"));
            anna.boot().await.unwrap();
            bert.boot().await.unwrap();
            for text in ["changed", "gone"] {
                create(&bert, text, 1).await;
            }
            pass(MINUTE_MS).await;
            anna.link().partition();
            recount(&bert, "changed", 2).await;
            let gone = find(&bert, "gone");
            bert.store().delete(&gone).await.unwrap();
            pass(minutes * MINUTE_MS).await;
            anna.link().repair();
            pass(5 * MINUTE_MS).await;
            assert_eq!(texts(&anna), "changed", "after {minutes} minutes");
            assert_eq!(find(&anna, "changed").count, Some(2), "after {minutes} minutes");
        });
    }
}

#[test]
fn s9_a_server_whose_clock_goes_back_and_forth_is_followed_all_the_same() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        for (number, ahead_ms) in [(1, 3_600_000), (2, -3_600_000), (3, 0)] {
            world.network.set_server_ahead(ahead_ms);
            create(&bert, &format!("note{number}"), number).await;
            pass(MINUTE_MS).await;
            anna.link().break_sockets();
            create(&bert, &format!("other{number}"), number).await;
            pass(3 * MINUTE_MS).await;
        }
        assert_eq!(texts(&anna), "note1 note2 note3 other1 other2 other3");
        assert_eq!(texts(&bert), texts(&anna));
    });
}

/// A page token that the server does not know any more, a page that is shorter than asked for, a record on two pages.
#[test]
fn s10_pages_that_shift_while_they_are_read_miss_nothing() {
    simulate(async {
        let mut config = config();
        config.limits.page_max = 2;
        config.switches.bad_limit = landfall_backend::BadLimit::Clamped;
        let world = World::new(config);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        for number in 1..=7 {
            create(&bert, &format!("n{number}"), number).await;
        }
        pass(MINUTE_MS).await;
        let page = AtomicU64::new(0);
        let twice = std::sync::Mutex::new(Json::Null);
        rewrite(&anna.link(), "SyncNotes", move |reply| {
            match page.fetch_add(1, Ordering::SeqCst) {
                0 => *twice.lock().unwrap() = items(reply)[0].clone(),
                1 => items(reply).push(twice.lock().unwrap().clone()),
                2 => {
                    *reply = json!({"data": {"syncNotes": null}, "errors": [{
                        "path": ["syncNotes"], "errorType": "DynamoDB:DynamoDbException",
                        "message": "Invalid nextToken: it has expired",
                    }]});
                }
                _ => {}
            }
        });
        anna.boot().await.unwrap();
        pass(10 * MINUTE_MS).await;
        assert_eq!(texts(&anna), "n1 n2 n3 n4 n5 n6 n7");
    });
}

/// The server gives one version to two writes, and tells one client of the one and the other client of the other. Content
/// that differs while the time of the write does not proves nothing, and leaves what the app may have written itself.
#[test]
fn s14_two_contents_of_one_version_are_reported_and_the_servers_own_is_kept() {
    simulate(async {
        let world = World::new(config());
        // The server says what it did not do.
        world.pardon(&["I12"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        rewrite(&anna.link(), "CreateNote", |reply| {
            let told = &mut reply["data"]["createNote"];
            let written_at = told["_lastChangedAt"].as_i64().unwrap();
            told["count"] = json!(99);
            told["_lastChangedAt"] = json!(written_at - 1);
        });
        create(&anna, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.link().rewrite(None);
        let mut events = anna.store().hub().await.unwrap();
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(find(&anna, "note").count, find(&bert, "note").count);
        assert!(heard(&mut events).contains(&"serverWentBack"), "it is reported");
        assert!(anna.store().outbox().is_empty().unwrap());
    });
}

/// The same with one time for both: nothing tells who is right, so what is here stays, and it is said.
#[test]
fn s14_two_contents_of_one_version_and_time_are_reported_and_nothing_is_lost() {
    simulate(async {
        let world = World::new(config());
        // The server says what it did not do.
        world.pardon(&["I12"]);
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        rewrite(&anna.link(), "CreateNote", |reply| {
            reply["data"]["createNote"]["count"] = json!(99);
        });
        create(&anna, "note", 1).await;
        pass(MINUTE_MS).await;
        anna.link().rewrite(None);
        let mut events = anna.store().hub().await.unwrap();
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(find(&anna, "note").count, Some(99));
        let told = heard(&mut events);
        assert_eq!(
            told.iter().filter(|name| **name == "recordQuarantined").count(),
            1,
            "{told:?}"
        );
    });
}

#[test]
fn s15_fields_and_types_that_a_newer_server_adds_are_passed_over() {
    simulate(async {
        let world = World::new(config());
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        pass(MINUTE_MS).await;
        rewrite(&anna.link(), "SyncNotes", |reply| {
            reply["data"]["syncNotes"]["total"] = json!(1);
            reply["extensions"] = json!({"traced": true});
            for item in items(reply) {
                item["colour"] = json!({"name": "red", "shades": [1, 2]});
                item["__typename"] = json!("NoteOfNextYear");
            }
        });
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        assert_eq!(texts(&anna), "note");
        recount(&anna, "note", 2).await;
        pass(MINUTE_MS).await;
        assert_eq!(find(&bert, "note").count, Some(2));
    });
}

#[test]
fn s17_a_record_that_is_slow_holds_up_no_other() {
    simulate(async {
        let world = World::new(config());
        let anna = world.client("anna");
        anna.boot().await.unwrap();
        pass(MINUTE_MS).await;
        anna.link().put(Trouble::Slow(20_000));
        create(&anna, "slow", 1).await;
        pass(100).await;
        anna.link().take_off(&Trouble::Slow(20_000));
        for number in 0..10 {
            create(&anna, &format!("quick{number}"), 1).await;
        }
        pass(2_000).await;
        let waiting = anna.store().outbox().list(100).unwrap();
        assert!(
            waiting.len() <= 1,
            "only the slow one is on its way: {waiting:#?}"
        );
        pass(MINUTE_MS).await;
        assert!(anna.store().outbox().is_empty().unwrap());
    });
}

/// The server was restored from a backup: what it had told is not true any more.
#[test]
fn s18_a_server_that_was_restored_from_a_backup_is_followed_and_reported() {
    simulate(async {
        let world = World::new(config());
        // The server forgets what it did.
        world.pardon(&["I5", "I7", "I8"]);
        let (anna, bert) = (world.client("anna"), world.client("bert"));
        anna.boot().await.unwrap();
        bert.boot().await.unwrap();
        create(&bert, "note", 1).await;
        create(&bert, "edited", 1).await;
        pass(MINUTE_MS).await;
        let of_backup: Vec<Json> = world.backend.records("Note").unwrap().iter().map(wire).collect();
        for count in 2..=5 {
            recount(&bert, "note", count).await;
            pass(MINUTE_MS).await;
        }
        assert_eq!(find(&anna, "note").count, Some(5));

        // From here on the server is as it was: full syncs show it.
        let mut events = anna.store().hub().await.unwrap();
        let backup = of_backup.clone();
        rewrite(&anna.link(), "SyncNotes", move |reply| {
            for item in items(reply) {
                if let Some(before) = backup.iter().find(|before| before["id"] == item["id"]) {
                    *item = before.clone();
                }
            }
        });
        pass(25 * 60 * MINUTE_MS).await;
        assert_eq!(find(&anna, "note").count, Some(1), "what the server has is shown");
        let mut told = Vec::new();
        while let Some(event) = events.try_next() {
            if let HubEvent::ServerWentBack { known, found, .. } = event {
                told.push((known.0, found.0));
            }
        }
        assert_eq!(told, [(5, 1)], "once, though every full sync shows it");
    });
}

/// What the server sends of a record.
fn wire(record: &RemoteRecord) -> Json {
    let mut json: serde_json::Map<String, Json> = record
        .fields
        .iter()
        .map(|(name, value)| (name.to_string(), value.into()))
        .collect();
    json.insert("_version".to_owned(), record.sync.version.0.into());
    json.insert("_lastChangedAt".to_owned(), record.sync.last_changed_at_ms.into());
    json.insert("_deleted".to_owned(), Json::Null);
    Json::Object(json)
}

/// A change that is made on a version that the server has taken back is a conflict, and is seen once it is applied.
#[test]
fn s18_a_change_made_on_a_version_that_was_taken_back_takes_effect() {
    simulate(async {
        // A server that merges lets its own value stand, whoever is right: here it refuses.
        let mut config = config();
        config.conflict = landfall_backend::ConflictStrategy::OptimisticConcurrency;
        let world = World::new(config);
        // The server forgets what it did.
        world.pardon(&["I5", "I7", "I8", "I12"]);
        let anna = world.client("anna");
        anna.boot_with(|builder| builder.full_sync_interval(Duration::from_secs(365 * 24 * 60 * 60)))
            .await
            .unwrap();
        create(&anna, "note", 1).await;
        pass(MINUTE_MS).await;
        // The client has been told of versions that the server does not have.
        rewrite(&anna.link(), "UpdateNote", |reply| {
            reply["data"]["updateNote"]["_version"] = json!(50);
        });
        recount(&anna, "note", 2).await;
        pass(MINUTE_MS).await;
        anna.link().rewrite(None);
        recount(&anna, "note", 3).await;
        pass(5 * MINUTE_MS).await;
        assert!(anna.store().outbox().is_empty().unwrap());
        let server = world.backend.records("Note").unwrap();
        assert_eq!(server[0].fields.get("count"), Some(&3.into()));
        assert_eq!(find(&anna, "note").count, Some(3));
    });
}
