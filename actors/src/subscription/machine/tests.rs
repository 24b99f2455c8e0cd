use landfall_wire::{Frame, START_ACK_TIMEOUT_MS, ServerError};
use serde_json::json;

use super::*;
use crate::config::SyncSettings;
use crate::subscription::buffer::RECORDS_MAX;
use crate::subscription::feed::{SLOW_RETRY_MS, STABLE_MS};
use crate::subscription::testing::{Lab, high_ratings, record, record_with};

fn post() -> Lab {
    Lab::live(&["Post"], &SyncSettings::default())
}

fn connected(models: &[&str]) -> Lab {
    let mut lab = Lab::new(models, &SyncSettings::default());
    lab.step(Input::Connect);
    lab
}

const STARTS: [&str; 3] = ["start OnCreatePost", "start OnUpdatePost", "start OnDeletePost"];

fn unreachable() -> TransportError {
    TransportError::Unreachable {
        reason: "no route".into(),
    }
}

#[test]
fn everything_is_subscribed_in_order_before_anything_is_established() {
    let mut lab = Lab::new(&["Post", "Setting", "Blog"], &SyncSettings::default());
    lab.mute.push("OnDeleteBlog");
    lab.step(Input::Connect);
    assert_eq!(
        lab.log(),
        [
            "0 open 0.1",
            "start OnCreatePost",
            "start OnUpdatePost",
            "start OnDeletePost",
            "start OnCreateBlog",
            "start OnUpdateBlog",
            "start OnDeleteBlog",
        ]
    );
    assert_eq!(lab.reports(), [Outcome::Reached]);
    lab.acknowledge("OnDeleteBlog");
    assert_eq!(lab.log(), ["established"]);
}

#[test]
fn without_models_there_is_nothing_to_wait_for() {
    let mut lab = connected(&["Setting"]);
    assert_eq!(lab.log(), ["established"]);
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["drained"]);
    assert_eq!(lab.machine.due_ms(), None);
}

#[test]
fn what_arrives_before_the_drain_waits_and_is_stored_in_order() {
    let mut lab = Lab::new(&["Post", "Blog"], &SyncSettings::default());
    lab.mute.push("OnDeleteBlog");
    lab.step(Input::Connect);
    lab.data("OnCreatePost", &record("a", 1));
    lab.acknowledge("OnDeleteBlog");
    lab.data("OnUpdatePost", &record("b", 1));
    lab.data("OnCreateBlog", &record("c", 1));
    lab.data("OnDeletePost", &record_with("d", json!({ "_deleted": true })));
    assert_eq!(lab.log().last().unwrap(), "established");
    lab.stores = None;
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["store Post a b"]);
    lab.step(Input::Stored(Stored::Done));
    assert_eq!(lab.log(), ["store Blog c"]);
    lab.step(Input::Stored(Stored::Done));
    assert_eq!(
        lab.log(),
        ["store Post d"],
        "not drained before the last is stored"
    );
    lab.step(Input::Stored(Stored::Done));
    assert_eq!(lab.log(), ["drained"]);
    lab.data("OnCreatePost", &record("e", 1));
    lab.data("OnCreatePost", &record("f", 1));
    assert_eq!(lab.log(), ["store Post e"], "one batch at a time");
    lab.step(Input::Stored(Stored::Done));
    assert_eq!(lab.log(), ["store Post f"]);
}

#[test]
fn a_drain_that_comes_while_live_is_answered_all_the_same() {
    let mut lab = post();
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["drained"]);
}

#[test]
fn an_unauthorized_subscription_is_left_out_and_reported_once() {
    for error_type in ["Unauthorized", "OperationDisabled"] {
        let mut lab = Lab::new(&["Post"], &SyncSettings::default());
        lab.refuse("OnUpdatePost", error_type, "no", 2);
        lab.step(Input::Connect);
        let mut expected = vec!["0 open 0.1".to_owned()];
        expected.extend(STARTS.map(str::to_owned));
        expected.push(format!("Unauthorized Post onUpdate: {error_type}: no"));
        expected.push("established".to_owned());
        assert_eq!(lab.log(), expected);
        assert!(
            lab.machine.lines.iter().all(|line| !line.is_lacking()),
            "it is not polled for"
        );

        lab.cut();
        lab.pass_to(1_000);
        let log = lab.log();
        assert!(
            log.contains(&STARTS[1].to_owned()),
            "tried again with a new connection: {log:?}"
        );
        assert!(
            !log.iter().any(|line| line.starts_with("Unauthorized")),
            "reported once: {log:?}"
        );
    }
}

#[test]
fn a_live_subscription_whose_credentials_expire_is_started_again() {
    let mut lab = post();
    keep_alive_to(&mut lab, POLL_INTERVAL_MS);
    lab.fail("OnUpdatePost", "UnauthorizedException");
    lab.pass_to(POLL_INTERVAL_MS + 499);
    assert_eq!(
        lab.log(),
        ["Unauthorized Post onUpdate: UnauthorizedException: failed"],
        "alone, without a loss, and not polled for at once"
    );
    lab.pass_to(POLL_INTERVAL_MS + 500);
    assert_eq!(
        lab.log(),
        ["start OnUpdatePost", "gap"],
        "a sync fetches what it has missed"
    );
}

/// Lets time pass on a healthy connection.
fn keep_alive_to(lab: &mut Lab, until_ms: u64) {
    while lab.now_ms < until_ms {
        lab.pass_to(until_ms.min(lab.now_ms + 60_000));
        lab.frame(&Frame::KeepAlive);
    }
}

#[test]
fn a_refused_filter_is_dropped_for_good() {
    let mut lab = Lab::new(&["Post"], &high_ratings());
    lab.refuse(
        "OnCreatePost",
        "BadRequestException",
        "Filters exceed maximum attributes limit",
        1,
    );
    lab.step(Input::Connect);
    assert_eq!(
        lab.log(),
        [
            "0 open 0.1",
            "start OnCreatePost filtered",
            "start OnUpdatePost",
            "start OnDeletePost filtered",
            "start OnCreatePost",
            "established",
        ]
    );
    lab.cut();
    lab.pass_to(1_000);
    let starts: Vec<_> = lab
        .log()
        .into_iter()
        .filter(|line| line.starts_with("start"))
        .collect();
    assert_eq!(
        starts,
        [
            "start OnCreatePost",
            "start OnUpdatePost",
            "start OnDeletePost filtered"
        ]
    );
}

#[test]
fn a_filter_error_without_a_filter_is_no_loop() {
    let mut lab = Lab::new(&["Post"], &high_ratings());
    lab.refuse(
        "OnCreatePost",
        "BadRequestException",
        "Filters exceed maximum attributes limit",
        100,
    );
    lab.step(Input::Connect);
    let starts = lab
        .log()
        .iter()
        .filter(|line| line.starts_with("start OnCreatePost"))
        .count();
    assert_eq!(starts, 2);
}

#[test]
fn a_throttled_subscription_is_retried_alone_and_waited_for() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.refuse("OnDeletePost", "LimitExceededError", "Rate limit exceeded", 2);
    lab.step(Input::Connect);
    let complaint = "Transient Post onDelete: LimitExceededError: Rate limit exceeded";
    assert_eq!(lab.log()[1..], [STARTS[0], STARTS[1], STARTS[2], complaint]);
    lab.pass_to(499);
    assert_eq!(lab.log(), [""; 0]);
    lab.pass_to(1_499);
    assert_eq!(lab.log(), ["start OnDeletePost"], "complained of once");
    lab.pass_to(1_500);
    assert_eq!(lab.log(), ["start OnDeletePost", "established"]);
}

#[test]
fn a_permanent_failure_is_not_waited_for_but_polled() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.refuse(
        "OnDeletePost",
        "GraphQLValidationException",
        "Field 'onDeletePost' is undefined",
        100,
    );
    lab.step(Input::Connect);
    lab.step(Input::Drain);
    assert_eq!(lab.log()[5..], ["established", "drained"]);
    lab.pass_to(SLOW_RETRY_MS);
    assert_eq!(lab.log(), ["start OnDeletePost"]);
    lab.pass_to(POLL_INTERVAL_MS);
    let polls: Vec<_> = lab
        .log()
        .into_iter()
        .filter(|line| !line.starts_with("start"))
        .collect();
    assert_eq!(polls, ["gap"]);
}

#[test]
fn a_subscription_that_goes_on_failing_holds_up_the_others_for_seconds_only() {
    let mut lab = post();
    lab.refuse("OnDeletePost", "LimitExceededError", "Rate limit exceeded", 100);
    lab.cut();
    lab.pass_to(250 + 1_499);
    let log = lab.log();
    assert!(!log.contains(&"established".to_owned()), "{log:?}");
    lab.pass_to(250 + 1_500);
    assert_eq!(lab.log(), ["start OnDeletePost", "established"]);
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["drained"]);

    lab.cut();
    lab.pass_to(lab.now_ms + 1_000);
    let log = lab.log();
    let deleted = log.iter().position(|line| *line == STARTS[2]);
    let established = log.iter().position(|line| line == "established");
    assert_eq!(
        established,
        deleted.map(|at| at + 1),
        "it is known by now, on whatever connection: {log:?}"
    );
}

#[test]
fn a_subscription_that_nobody_acknowledges_is_waited_for_so_often_and_the_latecomer_is_healed() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.mute.push("OnDeletePost");
    lab.step(Input::Connect);
    // Each try ends after as long as the server may take for its acknowledgement, and the next one waits a little.
    let given_up_ms = 3 * START_ACK_TIMEOUT_MS + 500 + 1_000;
    lab.pass_to(given_up_ms - 1);
    let log = lab.log();
    assert!(!log.contains(&"established".to_owned()), "{log:?}");
    assert_eq!(log.iter().filter(|line| *line == STARTS[2]).count(), 3, "{log:?}");
    lab.pass_to(given_up_ms);
    assert_eq!(lab.log(), ["established"]);
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["drained"]);
    lab.mute.clear();
    lab.pass_to(given_up_ms + 60_000);
    let log = lab.log();
    assert_eq!(
        log,
        ["start OnDeletePost", "gap"],
        "a sync fetches what it has missed"
    );
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["drained"]);
    assert_eq!(lab.machine.heal_due_ms(), None, "nothing is missing any more");
}

#[test]
fn a_connection_that_cannot_be_had_is_told_of_and_not_waited_for_after_some_tries() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.opening.extend(std::iter::repeat_with(unreachable).take(6));
    lab.step(Input::Connect);
    lab.pass_to(749);
    let log = lab.log();
    assert!(!log.contains(&"established".to_owned()), "{log:?}");
    lab.pass_to(750);
    assert_eq!(
        lab.log(),
        [
            "750 open 0.3",
            "close 0.3",
            "Transient  no realtime connection: the server cannot be reached: no route",
            "established",
        ]
    );
    lab.step(Input::Drain);
    // It is tried on as before, and told of once.
    lab.pass_to(40_000);
    let log = lab.log();
    let opened: Vec<&String> = log.iter().filter(|line| line.contains("open")).collect();
    assert_eq!(
        opened,
        [
            "1750 open 0.4",
            "3750 open 0.5",
            "7750 open 0.6",
            "15750 open 0.7"
        ]
    );
    assert!(!log.iter().any(|line| line.contains("Transient")), "{log:?}");
    assert_eq!(log.last().unwrap(), "gap", "a sync fetches what it has missed");
}

#[test]
fn past_the_deadline_sync_goes_on_without_a_connection() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    // Nobody answers.
    let mut at = |now_ms, input| lab.machine.step(now_ms, &mut || 0, input);
    let established = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Tell(Notice::Established)))
    };
    assert!(!established(&at(0, Input::Connect)));
    assert!(!established(&at(establish_max_ms(1) - 1, Input::TimerDue)));
    assert!(established(&at(establish_max_ms(1), Input::TimerDue)));
}

#[test]
fn many_models_have_longer_to_be_established() {
    assert_eq!(establish_max_ms(0), 60_000);
    assert_eq!(establish_max_ms(3), 60_000);
    assert_eq!(establish_max_ms(10), 200_000);
}

#[test]
fn a_lost_socket_is_opened_again_and_everything_subscribed_anew() {
    let mut lab = post();
    lab.data("OnCreatePost", &record("a", 1));
    let before = lab.id_of("OnCreatePost");
    lab.reports();
    lab.cut();
    assert_eq!(lab.log(), ["store Post a", "close 0.1", "lost"]);
    assert_eq!(lab.reports(), [Outcome::Unreachable]);
    lab.pass_to(250);
    assert_eq!(
        lab.log(),
        ["250 open 0.2", STARTS[0], STARTS[1], STARTS[2], "established"]
    );
    assert_ne!(lab.id_of("OnCreatePost"), before);
    lab.data("OnCreatePost", &record("b", 1));
    assert_eq!(lab.log(), [""; 0], "held back until the gap is healed");
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["store Post b", "drained"]);
}

#[test]
fn a_drain_that_crosses_with_a_loss_has_no_effect() {
    let mut lab = connected(&["Post"]);
    lab.data("OnCreatePost", &record("a", 1));
    lab.mute.extend(["OnCreatePost", "OnUpdatePost", "OnDeletePost"]);
    lab.cut();
    lab.log();
    lab.step(Input::Drain);
    assert_eq!(lab.log(), [""; 0]);
    lab.mute.clear();
    lab.pass_to(60_000);
    assert_eq!(lab.log().last().unwrap(), "established");
    lab.step(Input::Drain);
    assert_eq!(
        lab.log(),
        ["store Post a", "drained"],
        "what had arrived was kept"
    );
}

#[test]
fn a_loss_while_draining_is_not_announced_as_drained() {
    let mut lab = connected(&["Post"]);
    lab.data("OnCreatePost", &record("a", 1));
    lab.stores = None;
    lab.step(Input::Drain);
    lab.cut();
    lab.log();
    lab.step(Input::Stored(Stored::Done));
    assert_eq!(lab.log(), [""; 0]);
}

#[test]
fn waits_grow_while_connections_break_and_start_anew_after_a_stable_one() {
    let mut lab = post();
    let mut opened = Vec::new();
    for _ in 0..4 {
        lab.cut();
        lab.log();
        let from_ms = lab.now_ms;
        lab.pass_to(from_ms + 30_000);
        let log = lab.log();
        let at: u64 = log[0].split(' ').next().unwrap().parse().unwrap();
        opened.push(at - from_ms);
    }
    assert_eq!(opened, [250, 500, 1_000, 2_000]);
    lab.pass_to(lab.now_ms + STABLE_MS);
    let from_ms = lab.now_ms;
    lab.cut();
    lab.log();
    lab.pass_to(from_ms + 250);
    assert_eq!(lab.log()[0], format!("{} open 0.6", from_ms + 250));
}

#[test]
fn a_silent_server_counts_as_lost() {
    let mut lab = post();
    lab.pass_to(200_000);
    lab.frame(&Frame::KeepAlive);
    lab.pass_to(499_999);
    assert_eq!(lab.log(), [""; 0]);
    lab.pass_to(500_000);
    assert_eq!(lab.log(), ["close 0.1", "lost"]);
}

#[test]
fn a_server_that_never_acknowledges_is_left_and_asked_again() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.greeting = Frame::KeepAlive;
    lab.step(Input::Connect);
    lab.pass_to(15_000);
    assert_eq!(lab.log(), ["0 open 0.1", "close 0.1"]);
    lab.greeting = Frame::ConnectionAck {
        connection_timeout_ms: None,
    };
    lab.pass_to(15_250);
    assert_eq!(lab.log().last().unwrap(), "established");
}

#[test]
fn a_socket_that_does_not_open_is_reported_and_tried_again() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.opening.extend([unreachable(), unreachable()]);
    lab.step(Input::Connect);
    lab.pass_to(1_000);
    let log = lab.log();
    assert_eq!(
        log[..5],
        [
            "0 open 0.1",
            "close 0.1",
            "250 open 0.2",
            "close 0.2",
            "750 open 0.3"
        ]
    );
    assert_eq!(log.last().unwrap(), "established");
    assert_eq!(
        lab.reports(),
        [Outcome::Unreachable, Outcome::Unreachable, Outcome::Reached]
    );
}

#[test]
fn a_refused_connection_is_reported_once_and_tried_slowly_while_syncs_stand_in() {
    let refuse = |lab: &mut Lab| {
        let errors = vec![ServerError {
            error_code: Some(401),
            ..ServerError::new("UnauthorizedException", "")
        }];
        lab.greeting = Frame::ConnectionError { errors };
    };
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    refuse(&mut lab);
    lab.step(Input::Connect);
    assert_eq!(
        lab.log(),
        [
            "0 open 0.1",
            "refused",
            "close 0.1",
            "Unauthorized  no realtime connection: the server refused the connection: UnauthorizedException",
            "established",
        ]
    );
    lab.step(Input::Drain);
    lab.pass_to(SLOW_RETRY_MS - 1);
    assert_eq!(lab.log(), ["drained"]);
    lab.pass_to(SLOW_RETRY_MS);
    assert_eq!(
        lab.log(),
        [
            format!("{SLOW_RETRY_MS} open 0.2"),
            "refused".into(),
            "close 0.2".into()
        ],
        "neither told nor lost again"
    );
}

#[test]
fn no_credentials_for_the_socket_is_a_refusal_and_no_outage() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.opening.push_back(TransportError::Unauthorized {
        reason: "logged out".into(),
    });
    lab.step(Input::Connect);
    let log = lab.log();
    assert!(
        log[2].starts_with("Unauthorized  no realtime connection: no valid credentials"),
        "{log:?}"
    );
    assert_eq!(lab.reports(), [Outcome::Reached]);
}

#[test]
fn an_overflow_is_healed_before_the_store_becomes_ready_but_not_for_ever() {
    let mut lab = connected(&["Post"]);
    let overflow =
        |lab: &mut Lab| (0..=RECORDS_MAX).for_each(|n| lab.data("OnCreatePost", &record(&n.to_string(), 1)));
    overflow(&mut lab);
    lab.data("OnCreatePost", &record("after", 1));
    lab.log();
    lab.step(Input::Drain);
    assert_eq!(lab.log(), ["gap"], "the supervisor syncs once more");
    overflow(&mut lab);
    lab.step(Input::Drain);
    assert_eq!(
        lab.log(),
        ["store Post 2000", "drained"],
        "what came after the overflow"
    );
    lab.pass_to(HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["gap"]);
}

#[test]
fn an_overflow_while_live_is_healed_too() {
    let mut lab = post();
    lab.stores = None;
    (0..RECORDS_MAX + 2).for_each(|n| lab.data("OnCreatePost", &record(&n.to_string(), 1)));
    assert_eq!(lab.log(), ["store Post 0"]);
    lab.pass_to(HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["gap"]);
}

#[test]
fn a_batch_that_cannot_be_stored_leaves_a_gap() {
    let mut lab = post();
    lab.stores = Some(Stored::Failed);
    lab.data("OnCreatePost", &record("a", 1));
    lab.pass_to(HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["store Post a", "gap"]);
}

#[test]
fn an_incomplete_record_is_asked_for() {
    let mut lab = post();
    lab.records
        .insert(landfall_core::RecordId::text("a"), record("a", 1));
    lab.data("OnUpdatePost", &record_with("a", json!({ "title": null })));
    assert_eq!(lab.log(), ["get GetPost a", "store Post a"]);
    assert!(!lab.machine.gap);
    // Without an answer only a sync can tell.
    lab.data("OnUpdatePost", &record_with("b", json!({ "title": null })));
    assert_eq!(lab.log(), ["get GetPost b"]);
    lab.pass_to(HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["gap"]);
}

#[test]
fn a_change_that_the_server_withholds_leaves_a_gap() {
    let mut lab = post();
    lab.payload(
        "OnUpdatePost",
        &json!({ "data": { "onUpdatePost": null }, "errors": [{ "message": "no" }] }),
    );
    lab.pass_to(HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["gap"]);
    // The next gap waits its turn.
    lab.step(Input::Drain);
    lab.payload("OnUpdatePost", &json!({ "data": { "onUpdatePost": null } }));
    lab.pass_to(2 * HEAL_INTERVAL_MS - 1);
    assert_eq!(lab.log(), ["drained"]);
    lab.pass_to(2 * HEAL_INTERVAL_MS);
    assert_eq!(lab.log(), ["gap"]);
}

#[test]
fn going_offline_closes_and_what_still_comes_has_no_effect() {
    let mut lab = post();
    let socket = lab.socket();
    lab.step(Input::Disconnect);
    assert_eq!(lab.log(), ["close 0.1"]);
    assert_eq!(lab.machine.due_ms(), None);
    lab.step(Input::Frame(socket, Frame::KeepAlive.to_text()));
    lab.step(Input::Closed(socket, "closed".into()));
    lab.step(Input::Disconnect);
    assert_eq!(lab.log(), [""; 0]);
    assert!(lab.machine.unexpected().is_empty());
    lab.step(Input::Connect);
    assert_eq!(
        lab.log(),
        ["0 open 0.2", STARTS[0], STARTS[1], STARTS[2], "established"]
    );
}

#[test]
fn stopping_closes_and_is_the_last_word() {
    let mut lab = post();
    lab.stores = None;
    lab.data("OnCreatePost", &record("a", 1));
    lab.data("OnCreatePost", &record("b", 1));
    lab.step(Input::Stop);
    assert_eq!(lab.log(), ["store Post a", "close 0.1", "quit"]);
    lab.step(Input::Stored(Stored::Done));
    lab.step(Input::Connect);
    lab.step(Input::Stop);
    lab.pass_to(1_000_000);
    assert_eq!(lab.log(), [""; 0]);
}

#[test]
fn what_cannot_happen_is_named_and_counted() {
    let mut lab = post();
    lab.step(Input::Connect);
    lab.step(Input::Connect);
    lab.step(Input::Stored(Stored::Done));
    lab.step(Input::Opened(lab.socket()));
    lab.frame(&Frame::ConnectionInit);
    lab.cut();
    let counted: Vec<_> = lab.machine.unexpected().into_iter().collect();
    assert_eq!(
        counted,
        [
            (("established", "Connect"), 2),
            (("live", "connection_init"), 1),
            (("nothing is being stored", "Stored"), 1),
            (("open", "Opened"), 1),
        ]
    );
}

#[test]
fn more_models_than_one_connection_carries_have_several() {
    let names: Vec<String> = (0..67).map(|n| format!("Model{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut lab = connected(&names);
    let log = lab.log();
    assert_eq!(log[..2], ["0 open 0.1", "0 open 1.1"]);
    assert_eq!(
        log.iter().filter(|line| line.starts_with("start")).count(),
        67 * 3
    );
    assert_eq!(log.last().unwrap(), "established");
    assert_eq!(log.iter().filter(|line| *line == "established").count(), 1);
}

#[test]
fn a_refused_subscription_is_started_with_the_next_credentials_at_once() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.credentials = 3;
    lab.refuse("OnUpdatePost", "Unauthorized", "not you", 2);
    lab.step(Input::Connect);
    let log = lab.log();
    let starts = log.iter().filter(|line| *line == "start OnUpdatePost").count();
    assert_eq!(starts, 3, "{log:?}");
    assert_eq!(log.last().unwrap(), "established");
    assert!(
        !log.iter().any(|line| line.starts_with("Unauthorized")),
        "{log:?}"
    );
}

#[test]
fn when_all_credentials_are_refused_the_app_hears_what_the_server_said() {
    let mut lab = Lab::new(&["Post"], &SyncSettings::default());
    lab.credentials = 2;
    lab.refuse("OnUpdatePost", "Unauthorized", "not you", 9);
    lab.step(Input::Connect);
    let log = lab.log();
    let starts = log.iter().filter(|line| *line == "start OnUpdatePost").count();
    assert_eq!(starts, 2, "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.starts_with("Unauthorized Post") && line.contains("not you")),
        "{log:?}"
    );
}
