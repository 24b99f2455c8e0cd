//! Scenarios in which two people change the same record.

use landfall::{FieldMap, MutationKind, Value};

use super::stage::{Person, Stage};
use crate::network::Trouble;

/// Anna and Berta, who share a board with a title and one field more.
async fn with_a_board(stage: &Stage, field: &str, value: Value) -> (Person, Person) {
    let (anna, berta) = stage.people();
    anna.sets("Board", "plan", &[("title", "draft".into()), (field, value)])
        .await;
    stage.all_agree().await;
    (anna, berta)
}

/// Anna and Berta, who share a note; Anna is where there is no network.
async fn with_a_note_and_anna_away(stage: &Stage) -> (Person, Person) {
    let (anna, berta) = stage.people();
    anna.writes("note", "shared").await;
    stage.all_agree().await;
    anna.goes_offline();
    (anna, berta)
}

pub(super) async fn two_people_edit_different_fields(stage: Stage) {
    let (anna, berta) = with_a_board(&stage, "stars", Value::Int(1)).await;
    anna.goes_offline();
    anna.sets("Board", "plan", &[("title", "final".into())]).await;
    berta.sets("Board", "plan", &[("stars", Value::Int(5))]).await;
    stage.later(10).await;
    anna.comes_online();
    stage.all_agree().await;
    for person in [anna, berta] {
        stage.expect(
            person.field("Board", "plan", "title") == Some("final".into()),
            "the title is Anna's",
        );
        stage.expect(
            person.field("Board", "plan", "stars") == Some(Value::Int(5)),
            "the stars are Berta's",
        );
    }
}

pub(super) async fn a_stale_copy_is_saved(stage: Stage) {
    let (anna, berta) = with_a_board(&stage, "stars", Value::Int(1)).await;
    let Some(mut copy) = anna.copy("Board", "plan") else {
        return stage.expect(false, "Anna has the board");
    };
    berta.sets("Board", "plan", &[("stars", Value::Int(4))]).await;
    stage.all_agree().await;
    copy.set("title", "final".into());
    anna.saves(copy).await;
    stage.all_agree().await;
    stage.expect(
        anna.field("Board", "plan", "stars") == Some(Value::Int(4)),
        "a stale copy undoes nothing",
    );
    stage.expect(
        berta.field("Board", "plan", "title") == Some("final".into()),
        "and its own change arrives",
    );
}

pub(super) async fn two_people_make_the_same_record(stage: Stage) {
    let (anna, berta) = stage.people();
    for person in [&anna, &berta] {
        person.goes_offline();
    }
    anna.sets("Board", "profile", &[("title", "by Anna".into())])
        .await;
    let by_berta = [("title", "by Berta".into()), ("stars", Value::Int(4))];
    berta.sets("Board", "profile", &by_berta).await;
    anna.comes_online();
    stage.later(30).await;
    berta.comes_online();
    stage.all_agree().await;
    for person in [&anna, &berta] {
        stage.expect(
            person.field("Board", "profile", "title") == Some("by Anna".into()),
            "who was first is not overwritten",
        );
        stage.expect(
            person.field("Board", "profile", "stars") == Some(Value::Int(4)),
            "what only the second had is there as well",
        );
        stage.expect(person.refused() == 0, "nothing waits for the app");
    }
}

pub(super) async fn a_lost_create_that_others_have_edited(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.suffers(Trouble::RepliesLost(1_000));
    anna.sets(
        "Board",
        "plan",
        &[("title", "draft".into()), ("stars", Value::Int(1))],
    )
    .await;
    stage.later(5).await;
    anna.goes_offline();
    anna.client().link().take_off(&Trouble::RepliesLost(1_000));
    stage.expect(anna.waiting() == 1, "Anna does not know what became of her board");
    berta.sets("Board", "plan", &[("title", "final".into())]).await;
    stage.later(10).await;
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(
        anna.field("Board", "plan", "title") == Some("final".into()),
        "what Berta wrote is not put back",
    );
    stage.expect(
        berta.field("Board", "plan", "stars") == Some(Value::Int(1)),
        "and nothing of Anna's is gone",
    );
}

pub(super) async fn lists_are_not_doubled(stage: Stage) {
    let tags = Value::List(vec!["red".into(), "round".into()]);
    let (anna, berta) = with_a_board(&stage, "tags", tags.clone()).await;
    anna.goes_offline();
    anna.sets("Board", "plan", &[("title", "by Anna".into())]).await;
    berta.sets("Board", "plan", &[("stars", Value::Int(3))]).await;
    stage.later(10).await;
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(
        berta.field("Board", "plan", "tags") == Some(tags),
        "tags that nobody changed are as they were",
    );
}

pub(super) async fn a_conflict_without_end(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.sets("Board", "plan", &[("title", "draft".into())]).await;
    stage.all_agree().await;
    let before = anna.requests();
    for number in 0..30 {
        anna.sets("Board", "plan", &[("title", format!("Anna {number}").into())])
            .await;
        berta
            .sets("Board", "plan", &[("title", format!("Berta {number}").into())])
            .await;
        stage.at_once().await;
    }
    stage.later(120).await;
    let requests = anna.requests() - before;
    stage.expect(anna.waiting() == 0 && berta.waiting() == 0, "the dispute ends");
    stage.expect(
        requests < 300,
        &format!("without a flood of requests, not {requests}"),
    );
}

pub(super) async fn both_orders_of_reconnection(stage: Stage) {
    let (anna, berta) = stage.people();
    for (round, anna_first) in [(1, true), (2, false)] {
        let board = format!("board {round}");
        anna.sets("Board", &board, &[("title", "draft".into())]).await;
        stage.all_agree().await;
        anna.goes_offline();
        berta.goes_offline();
        anna.sets("Board", &board, &[("title", "Anna".into())]).await;
        berta.sets("Board", &board, &[("title", "Berta".into())]).await;
        let (first, second) = if anna_first {
            (&anna, &berta)
        } else {
            (&berta, &anna)
        };
        first.comes_online();
        stage.later(120).await;
        second.comes_online();
        stage.all_agree().await;
        let title = anna.field("Board", &board, "title");
        stage.expect(
            title.is_some() && title == berta.field("Board", &board, "title"),
            "both see one title",
        );
    }
}

pub(super) async fn an_edit_against_a_delete(stage: Stage) {
    let (anna, berta) = with_a_note_and_anna_away(&stage).await;
    anna.writes("note", "edited").await;
    berta.deletes("Note", "note").await;
    stage.later(10).await;
    stage.expect(
        anna.reads("note").as_deref() == Some("edited"),
        "Anna sees her edit while she is away",
    );
    anna.comes_online();
    stage.later(120).await;
    stage.expect(anna.waiting() == 0, "nothing waits: the deletion stands");
    for person in [&anna, &berta] {
        stage.expect(person.reads("note").is_none(), "the note is gone for both");
    }
    let lost = anna.lost();
    stage.expect(lost.len() == 1 && berta.lost().is_empty(), "Anna is told, once");
    stage.expect(
        lost.iter().all(|lost| {
            let has = |fields: &Option<FieldMap>, text: &str| text_of(fields.as_ref()) == Some(text.into());
            lost.operation == Some(MutationKind::Update)
                && has(&lost.local, "edited")
                && has(&lost.record, "edited")
                && has(&lost.base, "shared")
                && lost.remote.as_ref().is_some_and(|remote| remote.sync.deleted)
        }),
        "with what she wrote, on what, and the deletion",
    );
    let kept = anna.given_up();
    stage.expect(
        kept.iter()
            .any(|fields| text_of(Some(fields)) == Some("edited".into())),
        "and her log keeps what she wrote",
    );
    stage.all_agree().await;
}

pub(super) async fn an_edit_against_a_delete_where_edits_are_merged(stage: Stage) {
    an_edit_against_a_delete(stage).await;
}

pub(super) async fn a_delete_against_an_edit(stage: Stage) {
    let (anna, berta) = with_a_note_and_anna_away(&stage).await;
    anna.deletes("Note", "note").await;
    berta.writes("note", "edited").await;
    stage.later(10).await;
    stage.expect(
        anna.reads("note").is_none(),
        "Anna has deleted it as far as she knows",
    );
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(anna.waiting() == 0, "the delete does not wait for ever");
    for person in [&anna, &berta] {
        stage.expect(
            person.reads("note").as_deref() == Some("edited"),
            "a delete takes nothing along that whoever deleted had not seen",
        );
    }
    let lost = anna.lost();
    stage.expect(lost.len() == 1 && berta.lost().is_empty(), "Anna is told, once");
    stage.expect(
        lost.iter().all(|lost| {
            lost.operation == Some(MutationKind::Delete)
                && lost.record.is_none()
                && text_of(lost.base.as_ref()) == Some("shared".into())
                && text_of(lost.remote.as_ref().map(|remote| &remote.fields)) == Some("edited".into())
        }),
        "with what she deleted and what is there now",
    );
}

pub(super) async fn a_delete_against_an_edit_where_edits_are_refused(stage: Stage) {
    a_delete_against_an_edit(stage).await;
}

pub(super) async fn a_delete_against_an_edit_that_was_taken_back(stage: Stage) {
    let (anna, berta) = with_a_note_and_anna_away(&stage).await;
    anna.deletes("Note", "note").await;
    berta.sets("Note", "note", &[("text", "edited".into())]).await;
    stage.later(10).await;
    berta.sets("Note", "note", &[("text", "shared".into())]).await;
    stage.later(10).await;
    anna.comes_online();
    stage.all_agree().await;
    for person in [&anna, &berta] {
        stage.expect(
            person.reads("note").is_none(),
            "the note is as it was deleted, so the delete goes on",
        );
        stage.expect(person.lost().is_empty(), "and nothing is lost");
    }
    stage.expect(anna.waiting() == 0, "nothing waits");
}

fn text_of(fields: Option<&FieldMap>) -> Option<Value> {
    fields?.get("text").cloned()
}
