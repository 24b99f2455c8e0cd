//! Scenarios about starting, stopping, clearing and failing disks.

use landfall::{Predicate, Query};

use super::stage::Stage;
use crate::network::Trouble;

pub(super) async fn clear_while_everything_is_busy(stage: Stage) {
    let (anna, berta) = stage.people();
    for number in 0..20 {
        berta.writes(&format!("note {number}"), "from Berta").await;
    }
    stage.all_agree().await;
    anna.suffers(Trouble::Slow(1_500));
    for round in 0..8 {
        anna.begins_to_write("mine", &format!("round {round}"));
        crate::clock::pass(round * 130).await;
        anna.client().clear().await;
    }
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(
        anna.sees("Note") >= 20,
        "after clearing everything is fetched again",
    );
}

pub(super) async fn stop_and_start_in_a_row(stage: Stage) {
    let (anna, berta) = stage.people();
    let store = anna.client().store();
    for _ in 0..10 {
        let stopping = store.stop();
        let starting = store.start();
        let (stopped, started) = futures_util::future::join(stopping, starting).await;
        stage.expect(stopped.is_ok() && started.is_ok(), "stop and start are answered");
        anna.writes("note", "between").await;
        stage.at_once().await;
    }
    store.start().await.unwrap_or(());
    stage.all_agree().await;
    stage.expect(
        anna.client().link().sockets() <= 1,
        "one engine runs, with one socket",
    );
    stage.expect(berta.reads("note").as_deref() == Some("between"), "and it syncs");
}

pub(super) async fn another_user_signs_in(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    anna.writes("secret", "of the first user").await;
    let store = anna.client().store();
    anna.client().clear().await;
    stage.expect(anna.sees("Note") == 0, "nothing of the first user can be read");
    stage.expect(anna.waiting() == 0, "nor will it be sent");
    let left = store
        .snapshot()
        .and_then(|snapshot| Ok(snapshot.log(0.., 1_000)?));
    let left = left.unwrap_or_default();
    stage.expect(
        !format!("{left:?}").contains("first user"),
        "nor is it in the log",
    );
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(berta.reads("secret").is_none(), "nobody ever sees it");
}

pub(super) async fn observers_go_on_after_a_restart_of_sync(stage: Stage) {
    let (anna, berta) = stage.people();
    let store = anna.client().store();
    let Ok(mut changes) = store.records().observe("Note", Predicate::All).await else {
        return stage.expect(false, "Anna can observe");
    };
    let Ok(mut result) = store.records().observe_query(Query::all("Note")).await else {
        return stage.expect(false, "Anna can observe a query");
    };
    store.stop().await.unwrap_or(());
    stage.later(5).await;
    store.start().await.unwrap_or(());
    berta.writes("note", "for the observer").await;
    stage.all_agree().await;
    let mut heard = false;
    while let Some(change) = changes.try_next() {
        heard |= change.is_ok_and(|change| change.element.get("text") == Some(&"for the observer".into()));
    }
    stage.expect(heard, "the observer hears of what happens after the restart");
    let mut newest = 0;
    while let Some(snapshot) = result.try_next() {
        newest = snapshot.map_or(0, |snapshot| snapshot.items.len());
    }
    stage.expect(newest == 1, "and so does the observed query");
}

pub(super) async fn a_full_disk(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("before", "there").await;
    anna.client().disk().fill();
    let mut refused = 0;
    for number in 0..400 {
        let text = format!("{number} {}", "x".repeat(4_000));
        if !anna.tries_to_write(&format!("note {number}"), &text).await {
            refused += 1;
        }
    }
    stage.expect(refused > 0, "the disk is full at some point, and saves say so");
    stage.expect(
        anna.reads("before").as_deref() == Some("there"),
        "what is there can be read",
    );
    anna.client().disk().empty_out();
    anna.writes("after", "there as well").await;
    stage.all_agree().await;
    stage.expect(
        berta.reads("after").as_deref() == Some("there as well"),
        "the store goes on by itself",
    );
}
