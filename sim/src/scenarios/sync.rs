//! Scenarios about fetching what others changed.

use super::stage::Stage;
use crate::network::Trouble;

pub(super) async fn starting_offline(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    anna.loses_power(1).await;
    berta.writes("note", "meanwhile").await;
    let store = anna.client().store();
    stage.later(90).await;
    stage.expect(
        store.ready().await.ok() == Some(false),
        "a store without a network does not say it is ready",
    );
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(
        anna.reads("note").as_deref() == Some("meanwhile"),
        "it syncs once there is one",
    );
}

pub(super) async fn a_first_sync_in_many_pages(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.goes_offline();
    berta.loses_power(1).await;
    for number in 0..60 {
        anna.writes(&format!("note {number}"), "early").await;
    }
    stage.later(30).await;
    let interruptions = Trouble::RepliesLost(300);
    berta.client().link().repair();
    berta.suffers(interruptions.clone());
    for _ in 0..5 {
        stage.later(5).await;
        berta.loses_power(1).await;
    }
    berta.client().link().take_off(&interruptions);
    stage.all_agree().await;
    stage.expect(berta.sees("Note") == 60, "all notes are there in the end");
}

pub(super) async fn back_after_the_delta_table_has_forgotten(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("old", "1").await;
    stage.all_agree().await;
    berta.goes_offline();
    anna.writes("old", "2").await;
    anna.writes("new", "1").await;
    stage.later(31 * 60).await;
    anna.writes("newest", "1").await;
    berta.comes_online();
    stage.all_agree().await;
    for (note, text) in [("old", "2"), ("new", "1"), ("newest", "1")] {
        stage.expect(berta.reads(note).as_deref() == Some(text), "Berta has caught up");
    }
}

pub(super) async fn a_wrong_clock(stage: Stage) {
    let (anna, berta) = stage.people();
    let hour = 3_600_000;
    for jump in [5 * hour, -10 * hour, 48 * hour, -100 * hour] {
        berta.client().clock().jump(jump);
        berta.goes_offline();
        let text = format!("at {jump}");
        anna.writes("note", &text).await;
        stage.later(30).await;
        berta.comes_online();
        stage.all_agree().await;
        stage.expect(
            berta.reads("note") == Some(text),
            "whatever the clock says, Berta is told",
        );
    }
}

pub(super) async fn a_failed_sync_is_no_success(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.goes_offline();
    anna.writes("note", "missed").await;
    stage.later(10).await;
    // The way is open, but the server answers no request for a while.
    berta.comes_online();
    let failing = Trouble::FailsAfter(1_000);
    berta.suffers(failing.clone());
    stage.later(120).await;
    stage.expect(berta.reads("note").is_none(), "nothing could be fetched");
    berta.client().link().take_off(&failing);
    stage.all_agree().await;
    stage.expect(
        berta.reads("note").as_deref() == Some("missed"),
        "the sync is made up for",
    );
}

pub(super) async fn changes_during_the_first_sync(stage: Stage) {
    let (anna, berta) = stage.people();
    for number in 0..40 {
        anna.writes(&format!("note {number}"), "before").await;
    }
    stage.all_agree().await;
    berta.client().clear().await;
    berta.suffers(Trouble::Slow(2_000));
    for number in 0..40 {
        anna.writes(&format!("note {number}"), "during").await;
        crate::clock::pass(150).await;
    }
    stage.all_agree().await;
    stage.expect(
        berta.reads("note 0").as_deref() == Some("during"),
        "what arrived during the sync is there",
    );
    stage.expect(
        berta.reads("note 39").as_deref() == Some("during"),
        "and what arrived after it",
    );
}
