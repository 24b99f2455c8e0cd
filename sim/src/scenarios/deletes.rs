//! Scenarios about deleting.

use super::stage::Stage;
use crate::network::Trouble;

pub(super) async fn a_record_made_and_deleted_offline(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    anna.writes("note", "never mind").await;
    anna.deletes("Note", "note").await;
    stage.expect(anna.waiting() == 0, "nothing is left to be sent");
    anna.comes_online();
    stage.later(120).await;
    stage.expect(stage.versions("note") == 0, "the server never hears of it");
    stage.expect(
        anna.reads("note").is_none() && berta.reads("note").is_none(),
        "and it does not come back",
    );
}

pub(super) async fn a_record_made_again_after_its_delete(stage: Stage) {
    let (anna, _) = stage.people();
    anna.writes("note", "first life").await;
    stage.all_agree().await;
    anna.deletes("Note", "note").await;
    stage.all_agree().await;
    anna.writes("note", "second life").await;
    stage.later(120).await;
    // The server keeps a tombstone and refuses; what must not happen is that the app believes it was saved.
    let saved = stage.on_server("note").as_deref() == Some("second life");
    stage.expect(
        saved || anna.refused() == 1,
        "the app is told that the server refused",
    );
}

pub(super) async fn a_delete_while_everybody_is_away(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("note", "short-lived").await;
    stage.all_agree().await;
    berta.goes_offline();
    anna.deletes("Note", "note").await;
    // Longer than the delta table remembers.
    stage.later(45 * 60).await;
    berta.comes_online();
    stage.all_agree().await;
    stage.expect(
        berta.reads("note").is_none(),
        "Berta hears of the delete all the same",
    );
}

pub(super) async fn a_delete_whose_answer_is_lost(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("note", "going").await;
    stage.all_agree().await;
    let lost = Trouble::RepliesLost(1_000);
    anna.suffers(lost.clone());
    anna.deletes("Note", "note").await;
    stage.later(90).await;
    anna.client().link().take_off(&lost);
    stage.all_agree().await;
    stage.expect(
        anna.reads("note").is_none() && berta.reads("note").is_none(),
        "it is gone for everybody",
    );
    stage.expect(anna.refused() == 0, "and nobody is told that it failed");
    stage.expect(stage.versions("note") == 2, "it was deleted once");
}
