//! Scenarios about records that refer to each other.

use super::stage::{Person, Stage};
use crate::network::Trouble;

async fn item(person: &Person, id: &str, list: &str) {
    let foreign_key = person.foreign_key().unwrap_or_default();
    person
        .sets(
            "Item",
            id,
            &[("text", "an item".into()), (foreign_key.as_str(), list.into())],
        )
        .await;
}

pub(super) async fn parents_before_children(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.goes_offline();
    for list in 0..5 {
        anna.sets("List", &format!("list {list}"), &[("title", "offline".into())])
            .await;
        for number in 0..4 {
            item(&anna, &format!("item {list}.{number}"), &format!("list {list}")).await;
        }
    }
    anna.suffers(Trouble::RepliesLost(200));
    anna.client().link().take_off(&Trouble::Cut);
    stage.later(300).await;
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(anna.refused() == 0, "no child is refused for want of its parent");
    stage.expect(berta.items_of("list 3") == 4, "Berta finds all items of a list");
}

pub(super) async fn a_delete_takes_children_along(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.sets("List", "list", &[("title", "short".into())]).await;
    for number in 0..5 {
        item(&anna, &format!("item {number}"), "list").await;
    }
    stage.all_agree().await;
    anna.deletes("List", "list").await;
    stage.expect(anna.sees("Item") == 0, "the items are gone at once");
    stage.all_agree().await;
    stage.expect(
        stage.count("Item") == 0 && stage.count("List") == 0,
        "and on the server",
    );
    stage.expect(berta.items_of("list") == 0, "and for Berta");
}

pub(super) async fn a_child_of_a_refused_parent(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.sets("List", "list", &[("title", "by Berta".into())]).await;
    stage.all_agree().await;
    berta.deletes("List", "list").await;
    stage.all_agree().await;
    anna.sets("List", "list", &[("title", "by Anna".into())]).await;
    item(&anna, "item", "list").await;
    anna.writes("note", "unrelated").await;
    stage.later(60).await;
    stage.expect(anna.refused() == 1, "the parent is refused");
    stage.expect(stage.count("Item") == 0, "its child waits");
    stage.expect(stage.on_server("note").is_some(), "and nothing else does");
    anna.takes_back_what_was_refused().await;
    stage.later(60).await;
    stage.expect(
        anna.waiting() == 0,
        "once the parent is settled the child does not wait",
    );
}
