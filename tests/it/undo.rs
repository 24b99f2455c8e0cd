//! `DataStore::undo`: what the app did is taken back as a whole, or not at all.

use landfall::history::{Filter, LogChange};
use landfall::{DataStore, Error, Model, MutationKind, Seq, TypedPredicate};

landfall::inline_schema!(
    "type Blog @model { name: String! posts: [Post] @hasMany }
     type Post @model { title: String! rating: Int blog: Blog @belongsTo }"
);

async fn open() -> DataStore {
    DataStore::builder(schema())
        .open()
        .await
        .expect("memory is always there")
}

/// The newest entry, which has to be a write.
fn newest(store: &DataStore) -> Seq {
    let history = store.history().expect("memory");
    let (_, newest) = history.bounds();
    let entry = history.entry(newest).expect("it is there");
    assert!(matches!(entry.change, LogChange::Write(_)), "{entry:?}");
    newest
}

fn post(title: &str) -> Post {
    Post::builder().title(title).rating(1).build().expect("complete")
}

fn count<M: Model>(store: &DataStore) -> u64 {
    store.count(TypedPredicate::<M>::all()).expect("memory")
}

#[tokio::test]
async fn a_create_an_update_and_a_delete_are_taken_back() {
    let store = open().await;
    let saved = store.save(post("first")).await.expect("saved");
    let created = newest(&store);
    let edit = Post::copy_of(&saved, |post| post.title = "second".to_owned());
    let edited = store.save(edit).await.expect("saved");
    let updated = newest(&store);

    let refused = store.undo(created).await;
    assert!(
        matches!(&refused, Err(Error::CannotUndo { reason, .. }) if reason.contains("was changed since")),
        "{refused:?}"
    );
    store.undo(updated).await.expect("undone");
    let read = |id: &str| store.get::<Post>(id).expect("memory");
    assert_eq!(read(&edited.id).expect("it is there").title, "first");
    store.delete(&edited).await.expect("deleted");
    let deleted = newest(&store);
    store.undo(deleted).await.expect("undone");
    assert_eq!(read(&edited.id).expect("it is back").title, "first");
    assert!(
        store
            .history()
            .expect("memory")
            .check()
            .expect("memory")
            .is_sound()
    );
}

#[tokio::test]
async fn another_field_that_was_changed_since_keeps_its_value() {
    let store = open().await;
    let saved = store.save(post("first")).await.expect("saved");
    let title = Post::copy_of(&saved, |post| post.title = "second".to_owned());
    let saved = store.save(title).await.expect("saved");
    let updated = newest(&store);
    let rating = Post::copy_of(&saved, |post| post.rating = Some(5));
    store.save(rating).await.expect("saved");
    let left = store.undo(updated).await.expect("undone");
    assert_eq!(left.len(), 1);
    let post = store
        .get::<Post>(saved.id.as_str())
        .expect("memory")
        .expect("there");
    assert_eq!((post.title.as_str(), post.rating), ("first", Some(5)));
}

#[tokio::test]
async fn the_writes_of_a_transaction_go_together() {
    let store = open().await;
    let blog = store
        .save(Blog::builder().name("notes").build().expect("complete"))
        .await
        .expect("saved");
    for title in ["one", "two"] {
        let post = Post::builder()
            .title(title)
            .blog(&blog)
            .build()
            .expect("complete");
        store.save(post).await.expect("saved");
    }
    // A delete takes along what belongs to the record, in one transaction.
    store.delete(&blog).await.expect("deleted");
    let deleted = newest(&store);
    assert_eq!(count::<Post>(&store), 0);
    let left = store.undo(deleted).await.expect("undone");
    assert_eq!(left.len(), 3);
    assert_eq!(count::<Post>(&store), 2);
    assert_eq!(count::<Blog>(&store), 1);
    let again = Filter {
        first: Some(deleted.next()),
        ..Filter::default()
    };
    let listing = store
        .history()
        .expect("memory")
        .list(&again, 100)
        .expect("memory");
    let mut groups = Vec::new();
    for (_, entry) in listing.entries {
        match entry.expect("readable").change {
            LogChange::Write(write) => {
                assert_eq!(write.kind, MutationKind::Create);
                groups.push(write.group);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(groups.len(), 3);
    assert!(
        groups[0].is_some() && groups.iter().all(|group| *group == groups[0]),
        "{groups:?}"
    );
}

#[tokio::test]
async fn what_is_no_write_cannot_be_undone() {
    let store = open().await;
    let refused = store.undo(Seq(1)).await;
    assert!(
        matches!(&refused, Err(Error::CannotUndo { reason, .. }) if reason.contains("schema changed")),
        "{refused:?}"
    );
    assert!(matches!(store.undo(Seq(9)).await, Err(Error::Storage(_))));
}
