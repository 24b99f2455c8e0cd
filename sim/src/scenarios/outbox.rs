//! Scenarios about changes on their way to the server.

use super::stage::Stage;
use crate::network::{LinkFaults, Trouble};

pub(super) async fn a_hundred_creates_on_a_weak_network(stage: Stage) {
    let (anna, _) = stage.people();
    anna.client().link().set_faults(LinkFaults::ROUGH);
    anna.suffers(Trouble::RepliesLost(300));
    for number in 0..100 {
        anna.writes(&format!("note {number}"), "made on the train").await;
    }
    stage.later(600).await;
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(stage.count("Note") == 100, "all hundred notes reach the server");
    for number in 0..100 {
        stage.expect(
            stage.versions(&format!("note {number}")) == 1,
            "each is made once",
        );
    }
}

pub(super) async fn five_fast_updates(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("list", "0").await;
    stage.all_agree().await;
    for text in ["1", "2", "3", "4", "5"] {
        anna.writes("list", text).await;
        stage.at_once().await;
    }
    stage.all_agree().await;
    stage.expect(
        stage.on_server("list").as_deref() == Some("5"),
        "the last of five updates wins",
    );
    stage.expect(
        berta.reads("list").as_deref() == Some("5"),
        "and everybody sees it",
    );
}

pub(super) async fn the_third_update_while_a_restart_is_pending(stage: Stage) {
    let (anna, _) = stage.people();
    anna.writes("visit", "planned").await;
    stage.all_agree().await;
    anna.goes_offline();
    anna.writes("visit", "first").await;
    stage.later(2).await;
    anna.writes("visit", "second").await;
    anna.comes_online();
    // The engine has noticed nothing yet: its restart is pending.
    anna.writes("visit", "third").await;
    stage.all_agree().await;
    stage.expect(
        stage.on_server("visit").as_deref() == Some("third"),
        "the third update arrives",
    );
}

pub(super) async fn create_then_update_before_the_answer(stage: Stage) {
    let (anna, _) = stage.people();
    anna.suffers(Trouble::Slow(3_000));
    anna.writes("order", "created").await;
    stage.later(1).await;
    anna.writes("order", "updated").await;
    stage.expect(
        anna.reads("order").as_deref() == Some("updated"),
        "Anna sees her update at once",
    );
    stage.all_agree().await;
    stage.expect(
        stage.on_server("order").as_deref() == Some("updated"),
        "the update follows the create",
    );
    stage.expect(anna.refused() == 0, "nothing is refused");
}

pub(super) async fn an_update_between_answer_and_message(stage: Stage) {
    let (anna, _) = stage.people();
    anna.writes("note", "1").await;
    stage.all_agree().await;
    // Messages are held back while answers pass, then come all at once.
    stage.world().network.backend().faults().pause_fan_out();
    for text in ["2", "3", "4"] {
        anna.writes("note", text).await;
        stage.later(2).await;
        stage.expect(
            anna.reads("note").as_deref() == Some(text),
            "Anna never sees an older text",
        );
    }
    stage.world().network.backend().resume_fan_out();
    stage.later(2).await;
    stage.expect(
        anna.reads("note").as_deref() == Some("4"),
        "late messages change nothing",
    );
    stage.expect(
        stage.versions("note") == 4,
        "each update was made on the one before",
    );
}

pub(super) async fn server_errors_drop_nothing(stage: Stage) {
    let (anna, berta) = stage.people();
    for (status, note) in [(500, "a"), (503, "b"), (429, "c")] {
        let trouble = Trouble::Refused {
            status,
            per_mille: 1_000,
            retry_after_ms: None,
        };
        anna.suffers(trouble.clone());
        anna.writes(note, "kept").await;
        stage.later(120).await;
        stage.expect(anna.waiting() == 1, "the change waits");
        anna.client().link().take_off(&trouble);
        stage.all_agree().await;
        stage.expect(
            berta.reads(note).as_deref() == Some("kept"),
            "and arrives when the server is well",
        );
    }
}

pub(super) async fn a_refused_change_holds_back_only_its_own(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.writes("taken", "by Berta").await;
    stage.all_agree().await;
    berta.deletes("Note", "taken").await;
    stage.all_agree().await;
    anna.goes_offline();
    anna.writes("taken", "by Anna").await;
    anna.writes("other", "free").await;
    anna.comes_online();
    stage.later(60).await;
    stage.expect(
        anna.refused() == 1,
        "a create over a tombstone is refused and kept",
    );
    stage.expect(
        stage.on_server("other").as_deref() == Some("free"),
        "everything else goes on",
    );
    anna.tries_again().await;
    stage.later(60).await;
    stage.expect(anna.refused() == 1, "it can be tried again, and is refused again");
}

pub(super) async fn a_refused_change_can_be_taken_back(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.writes("taken", "by Berta").await;
    stage.all_agree().await;
    berta.deletes("Note", "taken").await;
    stage.all_agree().await;
    anna.writes("taken", "by Anna").await;
    stage.later(60).await;
    stage.expect(anna.refused() == 1, "the create is refused");
    anna.takes_back_what_was_refused().await;
    stage.all_agree().await;
    stage.expect(
        anna.reads("taken").is_none(),
        "what the server has is back, which is nothing",
    );
}

pub(super) async fn a_crash_between_save_and_send(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    for number in 0..10 {
        anna.writes(&format!("note {number}"), "saved").await;
        anna.loses_power(1).await;
        stage.expect(
            anna.sees("Note") == number + 1,
            "what was saved is there after the crash",
        );
        stage.expect(anna.waiting() == number + 1, "and waits for the server");
    }
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(berta.sees("Note") == 10, "and arrives");
}

pub(super) async fn a_crash_between_answer_and_note(stage: Stage) {
    let (anna, _) = stage.people();
    for number in 0..10 {
        let note = format!("note {number}");
        anna.writes(&note, "once").await;
        // The request is on its way, or its answer is.
        stage
            .world()
            .network
            .trace
            .note(stage.world().now_ms(), "scenario", "waiting for the answer");
        crate::clock::pass(15 + number * 7).await;
        anna.loses_power(2).await;
    }
    stage.all_agree().await;
    for number in 0..10 {
        stage.expect(
            stage.versions(&format!("note {number}")) == 1,
            "each create is applied once",
        );
    }
}

pub(super) async fn many_changes_go_in_parallel(stage: Stage) {
    let (anna, _) = stage.people();
    anna.goes_offline();
    for number in 0..200 {
        anna.writes(&format!("note {number}"), "offline").await;
    }
    anna.comes_online();
    anna.suffers(Trouble::Slow(400));
    let start = stage.world().now_ms();
    while anna.waiting() > 0 && stage.world().now_ms() < start + 600_000 {
        stage.later(1).await;
    }
    let seconds = (stage.world().now_ms() - start) / 1_000;
    stage.expect(
        seconds < 40,
        &format!("two hundred changes take far less than 200 round trips, not {seconds} s"),
    );
}

pub(super) async fn an_offline_signal_that_lies(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    let store = anna.client().store();
    store.set_online(true).unwrap_or(());
    anna.writes("note", "kept").await;
    stage.later(300).await;
    stage.expect(anna.waiting() == 1, "the change waits whatever the platform says");
    store.set_online(false).unwrap_or(());
    anna.comes_online();
    stage.later(60).await;
    store.set_online(true).unwrap_or(());
    stage.all_agree().await;
    stage.expect(berta.reads("note").as_deref() == Some("kept"), "and arrives");
}
