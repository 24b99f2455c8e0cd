//! Models that sync one way only, or not at all, beside a store that syncs everything.

use std::time::Duration;

use landfall::{DataStore, DataStoreBuilder, Error, Model, ModelSync, TypedPredicate, WriteRefused};
use landfall_backend::{Backend, BackendConfig, ServerHandle, os_entropy};
use landfall_storage::kv::KvStore;

use crate::{Account, Blog, Post, Tag, account, schema};

/// The key that stores and backend share.
const API_KEY: &str = "da2-directions";

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn server() -> ServerHandle {
    let kv = KvStore::in_memory().unwrap();
    let config = BackendConfig::with_api_key(API_KEY);
    let backend = Backend::new(std::sync::Arc::clone(schema()), config, kv, os_entropy()).unwrap();
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    landfall_backend::serve(any_port, std::sync::Arc::new(backend))
        .await
        .unwrap()
}

async fn started(builder: DataStoreBuilder, server: &ServerHandle) -> DataStore {
    let store = builder.endpoint(server.endpoint(), API_KEY).open().await.unwrap();
    store.start().await.unwrap();
    assert!(
        tokio::time::timeout(PATIENCE, store.ready())
            .await
            .unwrap()
            .unwrap()
    );
    store
}

async fn sent(store: &DataStore) {
    assert!(store.outbox().drained_within(PATIENCE).await.unwrap());
}

fn count<M: Model>(store: &DataStore) -> u64 {
    store.count(TypedPredicate::<M>::all()).unwrap()
}

fn blog(name: &str) -> Blog {
    Blog::builder().name(name).build().unwrap()
}

fn tag(label: &str) -> Tag {
    Tag::builder().label(label).build().unwrap()
}

/// Waits until a store has so many blogs.
async fn until_blogs(store: &DataStore, wanted: u64) {
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut changes = store.observe(TypedPredicate::<Blog>::all()).await.unwrap();
        while count::<Blog>(store) < wanted {
            changes.next().await.unwrap().unwrap();
        }
    });
    waited.await.expect("the blogs arrive");
}

#[tokio::test]
async fn what_is_pulled_comes_what_is_pushed_goes() {
    let server = server().await;
    let office = started(DataStore::builder(schema()), &server).await;
    office.save(blog("first")).await.unwrap();
    office.save(tag("office")).await.unwrap();
    office.save(account("a", 1)).await.unwrap();
    sent(&office).await;

    let directed = DataStore::builder(schema())
        .model_sync::<Blog>(ModelSync::Pull)
        .model_sync::<Tag>(ModelSync::Push)
        .model_sync::<Account>(ModelSync::None);
    let field = started(directed, &server).await;
    assert_eq!(
        (
            count::<Blog>(&field),
            count::<Tag>(&field),
            count::<Account>(&field)
        ),
        (1, 0, 0)
    );

    field.save(tag("field")).await.unwrap();
    field.save(account("b", 2)).await.unwrap();
    // The tag may be at the server by now.
    assert!(field.outbox().len().unwrap() <= 1, "the account stays");
    sent(&field).await;
    assert!(office.sync_now().await.unwrap());
    assert_eq!((count::<Tag>(&office), count::<Account>(&office)), (2, 1));

    // What came live for one model would have come for the other as well, and a sync asks for neither.
    office.save(tag("later")).await.unwrap();
    office.save(blog("second")).await.unwrap();
    sent(&office).await;
    until_blogs(&field, 2).await;
    assert!(field.sync_now().await.unwrap());
    let labels: Vec<String> = field
        .query(TypedPredicate::<Tag>::all())
        .unwrap()
        .into_iter()
        .map(|tag| tag.label)
        .collect();
    assert_eq!(labels, ["field"], "nobody asks for what is only pushed");
    // The answer to what was sent is taken in.
    assert!(
        field.records().query(&landfall::Query::all("Tag")).unwrap()[0]
            .sync()
            .is_some()
    );
    field.close().await;
    office.close().await;
    server.shutdown().await;
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    match result {
        Err(Error::Refused(WriteRefused::PullOnly { model, .. })) => model == "Post",
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_only_pulled_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let open = |sync| {
        let builder = DataStore::builder(schema()).directory(directory.path());
        builder.model_sync::<Post>(sync).open()
    };
    let store = open(ModelSync::Both).await.unwrap();
    let parent = store.save(blog("B")).await.unwrap();
    let post = Post::builder().title("T").blog(&parent).build().unwrap();
    let post = store.save(post).await.unwrap();
    store.close().await;

    // What waited before still does, and no write gets through, not even one that takes the post along.
    let store = open(ModelSync::Pull).await.unwrap();
    assert_eq!(store.outbox().len().unwrap(), 2);
    let new = Post::builder().title("new").build().unwrap();
    assert!(refused(store.save(new.clone()).await));
    assert!(refused(
        store
            .save(Post::copy_of(&post, |post| post.rating = Some(1)))
            .await
    ));
    assert!(refused(store.delete(&post).await));
    assert!(refused(store.delete(&parent).await));
    assert!(refused(store.transaction(|tx| tx.save(&new)).await));
    assert_eq!((count::<Post>(&store), count::<Blog>(&store)), (1, 1));
    assert_eq!(store.save(blog("other")).await.unwrap().name, "other");
    store.close().await;

    let store = open(ModelSync::Push).await.unwrap();
    store.delete(&parent).await.unwrap();
    assert_eq!(count::<Post>(&store), 0);
    store.close().await;
}

/// What is written on a record that waits goes along with it: else the server's answer would undo it.
#[tokio::test]
async fn what_waits_is_sent_though_its_model_stays_here_now() {
    let server = server().await;
    let directory = tempfile::tempdir().unwrap();
    let builder = || DataStore::builder(schema()).directory(directory.path());
    let cents = |store: &DataStore, id: &str| store.get::<Account>(id).unwrap().map(|account| account.cents);
    let store = builder().open().await.unwrap();
    store.save(account("a", 1)).await.unwrap();
    store.close().await;

    let store = builder().local_only().open().await.unwrap();
    let a = store.get::<Account>("a").unwrap().unwrap();
    store
        .save(Account::copy_of(&a, |account| account.cents = 2))
        .await
        .unwrap();
    store.save(account("b", 1)).await.unwrap();
    assert_eq!(store.outbox().len().unwrap(), 1, "nobody waits for the other one");
    store.close().await;

    let local = started(builder().local_only_model::<Account>(), &server).await;
    sent(&local).await;
    assert_eq!((cents(&local, "a"), cents(&local, "b")), (Some(2), Some(1)));
    let a = local.get::<Account>("a").unwrap().unwrap();
    local
        .save(Account::copy_of(&a, |account| account.cents = 3))
        .await
        .unwrap();
    assert_eq!(local.outbox().len().unwrap(), 0, "from here on it stays");
    let office = started(DataStore::builder(schema()), &server).await;
    assert_eq!((cents(&office, "a"), cents(&office, "b")), (Some(2), None));
    local.close().await;
    office.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_store_that_only_pushes_is_ready_as_soon_as_it_sends() {
    let server = server().await;
    let mut builder = DataStore::builder(schema());
    for def in schema().models() {
        builder = builder.model_sync_named(def.name.clone(), ModelSync::Push);
    }
    let store = started(builder, &server).await;
    store.save(tag("one")).await.unwrap();
    sent(&store).await;
    let office = started(DataStore::builder(schema()), &server).await;
    assert_eq!(count::<Tag>(&office), 1);
    store.close().await;
    office.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_direction_needs_a_model() {
    let builder = DataStore::builder(schema()).model_sync_named("Nobody", ModelSync::Pull);
    let refused = builder.open().await.unwrap_err();
    assert!(
        refused.to_string().contains("there is no model `Nobody`"),
        "{refused}"
    );
}
