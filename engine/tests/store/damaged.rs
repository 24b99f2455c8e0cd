//! What an app still sees of a store of which a part is damaged.
//!
//! Owns no damage of its own kind: which is found where is tested in `landfall-storage`.

use std::fs;

use landfall::{DataStore, Error};

use super::{account, schema};

#[tokio::test]
async fn a_waiting_change_that_cannot_be_read_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let open = || DataStore::builder(schema()).directory(directory.path()).open();
    let store = open().await.unwrap();
    for id in ["a", "fragile", "z"] {
        store.save(account(id, 1)).await.unwrap();
    }
    store.close().await;

    let file = directory.path().join(landfall_storage::FILE_NAME);
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"fragile"))
        .collect();
    assert!(!places.is_empty(), "it was written");
    places.into_iter().for_each(|at| bytes[at] = 0xff);
    fs::write(&file, bytes).unwrap();

    let store = open().await.unwrap();
    let metrics = store.metrics().unwrap();
    assert_eq!((metrics.waiting, metrics.queued), (3, 2));
    assert_eq!(store.outbox().parked(10).unwrap(), []);
    assert!(matches!(store.outbox().list(10), Err(Error::Storage(_))));
    store.close().await;
}
