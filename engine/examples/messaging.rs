//! Team messaging: two people react to and edit the same message offline, and nothing that they did is lost.
//!
//! The server refuses the change that comes second, and a conflict handler of the app merges: reactions of both sides
//! are kept, of two edits of the text the longer one wins.
//!
//! Run with `cargo run -p landfall --example messaging`.

mod support;

use futures_util::future::BoxFuture;
use landfall::{ConflictHandler, DataStore, FieldMap, Resolution, SyncConflict, TypedPredicate, Value};
use support::{API_KEY, Outcome, backend, sent, until};

landfall::inline_schema!(
    "type Channel @model { name: String! messages: [Message] @hasMany }
     type Message @model {
       text: String!
       reactions: [String!]
       channel: Channel @belongsTo
     }"
);

/// Merges messages field by field; of everything else the server's record stands.
struct MergeMessages;

impl ConflictHandler for MergeMessages {
    fn decide(&self, conflict: SyncConflict) -> BoxFuture<'static, Resolution> {
        Box::pin(std::future::ready(merge(&conflict)))
    }
}

fn merge(conflict: &SyncConflict) -> Resolution {
    let Some(local) = conflict
        .local
        .as_ref()
        .filter(|_| conflict.key.model == "Message")
    else {
        return Resolution::AcceptRemote;
    };
    let text = |fields: &FieldMap| match fields.get("text") {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let reactions = |fields: &FieldMap| match fields.get("reactions") {
        Some(Value::List(reactions)) => reactions.clone(),
        _ => Vec::new(),
    };
    let (ours, theirs) = (text(local), text(&conflict.remote.fields));
    let mut all = reactions(&conflict.remote.fields);
    all.extend(
        reactions(local)
            .into_iter()
            .filter(|own| !reactions(&conflict.remote.fields).contains(own)),
    );
    let longer = if ours.len() > theirs.len() { ours } else { theirs };
    Resolution::Merged(
        [
            ("text".into(), longer.into()),
            ("reactions".into(), Value::List(all)),
        ]
        .into(),
    )
}

async fn open(url: &str) -> Outcome<DataStore> {
    let store = DataStore::builder(schema())
        .endpoint(url, API_KEY)
        .conflict_handler(MergeMessages)
        .open()
        .await?;
    store.start().await?;
    Ok(store)
}

async fn change(store: &DataStore, id: &str, change: impl FnOnce(&mut Message)) -> Outcome {
    let message = store.get::<Message>(id)?.ok_or("the message is there")?;
    store.save(Message::copy_of(&message, change)).await?;
    Ok(())
}

/// Plays it through; returns the message as both have it in the end.
async fn play() -> Outcome<Message> {
    let server = backend(schema()).await?;
    let (ada, ben) = (open(&server.endpoint()).await?, open(&server.endpoint()).await?);
    let channel = ada.save(Channel::builder().name("harbour").build()?).await?;
    let message = Message::builder()
        .text("Fog until noon")
        .channel(&channel)
        .build()?;
    let id = ada.save(message).await?.id;
    until::<Message>(&ben, "Ben hears of the message", || {
        Ok(ben.get::<Message>(id.as_str())?.is_some())
    })
    .await?;
    println!("both have: Fog until noon");

    for store in [&ada, &ben] {
        store.set_online(false)?;
    }
    change(&ada, &id, |message| {
        message.reactions = Some(vec!["thanks".to_owned()]);
    })
    .await?;
    change(&ben, &id, |message| {
        message.text = "Fog until two, then clear".to_owned();
        message.reactions = Some(vec!["eyes".to_owned()]);
    })
    .await?;
    println!("offline, Ada reacts, Ben reacts and corrects the text");

    ada.set_online(true)?;
    sent(&ada).await?;
    ben.set_online(true)?;
    sent(&ben).await?;
    let merged = |store: &DataStore| -> Outcome<bool> {
        let found = store.get::<Message>(id.as_str())?;
        Ok(found.is_some_and(|m| m.reactions.is_some_and(|reactions| reactions.len() == 2)))
    };
    for store in [&ada, &ben] {
        until::<Message>(store, "both have the same", || merged(store)).await?;
    }
    let (at_ada, at_ben) = (ada.get::<Message>(id.as_str())?, ben.get::<Message>(id.as_str())?);
    let (Some(at_ada), Some(at_ben)) = (at_ada, at_ben) else {
        return Err("a message was lost".into());
    };
    assert_eq!(
        (&at_ada.text, &at_ada.reactions),
        (&at_ben.text, &at_ben.reactions)
    );
    let in_channel = ben.query(Message::channel().any(Channel::name().eq("harbour")))?;
    assert_eq!(in_channel.len(), 1);
    assert_eq!(ben.count(TypedPredicate::<Message>::all())?, 1);
    ada.close().await;
    ben.close().await;
    server.shutdown().await;
    Ok(at_ben)
}

#[tokio::main]
async fn main() -> Outcome {
    let message = play().await?;
    println!(
        "both have: {} {:?}",
        message.text,
        message.reactions.unwrap_or_default()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_both_did_offline_is_kept() {
        let message = play().await.expect("it plays through");
        assert_eq!(message.text, "Fog until two, then clear");
        let mut reactions = message.reactions.expect("there are some");
        reactions.sort();
        assert_eq!(reactions, ["eyes", "thanks"]);
    }
}
