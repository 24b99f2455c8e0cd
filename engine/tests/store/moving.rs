//! Data that leaves a store and comes back: JSON lines, CSV, backups.

use std::sync::Arc;

use landfall::{DataStore, HubEvent, TransferError, TypedPredicate};
use landfall_backend::{Backend, BackendConfig, os_entropy};
use landfall_storage::kv::KvStore;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{Blog, Post, Status, block_on, in_memory, proptest_config};

async fn with_posts(rows: &[(String, Option<i32>, bool)]) -> DataStore {
    let store = in_memory().await;
    let blog = store
        .save(Blog::builder().name("B, \"quoted\"").build().unwrap())
        .await
        .unwrap();
    for (title, rating, linked) in rows {
        let mut post = Post::builder().title(title.as_str());
        if let Some(rating) = rating {
            post = post.rating(*rating).status(Status::Draft);
        }
        if *linked {
            post = post.blog(&blog);
        }
        store.save(post.build().unwrap()).await.unwrap();
    }
    store
}

fn posts(store: &DataStore) -> Vec<Post> {
    store.query(TypedPredicate::<Post>::all()).unwrap()
}

proptest! {
    #![proptest_config(proptest_config(24))]

    #[test]
    fn what_was_exported_is_imported(
        rows in vec(("[a-c,\"\r\n é]{0,6}", option::of(any::<i32>()), any::<bool>()), 0..12),
    ) {
        block_on(async {
            let store = with_posts(&rows).await;
            let (mut lines, mut csv) = (Vec::new(), Vec::new());
            let count = store.export_json_lines(&mut lines, |_| ()).unwrap();
            prop_assert_eq!(count, rows.len() as u64 + 1);
            store.export_csv("Post", &mut csv, |_| ()).unwrap();

            let by_lines = in_memory().await;
            prop_assert_eq!(by_lines.import_json_lines(lines.as_slice(), |_| ()).await.unwrap(), count);
            prop_assert_eq!(posts(&by_lines), posts(&store));
            prop_assert_eq!(by_lines.query(TypedPredicate::<Blog>::all()).unwrap(), store.query(TypedPredicate::<Blog>::all()).unwrap());
            let by_csv = in_memory().await;
            prop_assert_eq!(by_csv.import_csv("Post", csv.as_slice(), |_| ()).await.unwrap(), rows.len() as u64);
            prop_assert_eq!(posts(&by_csv), posts(&store));
            // Once more changes nothing, so nothing more waits for the server.
            let waiting = by_lines.outbox().len().unwrap();
            by_lines.import_json_lines(lines.as_slice(), |_| ()).await.unwrap();
            prop_assert_eq!(by_lines.outbox().len().unwrap(), waiting);
            for store in [store, by_lines, by_csv] {
                store.close().await;
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn an_import_says_which_line_does_not_fit() {
    let store = in_memory().await;
    for (text, line, reason) in [
        ("\n{\"model\":\"Post\"}\n", 2, "a line is"),
        (
            "{\"model\":\"Nobody\",\"fields\":{}}",
            1,
            "there is no model `Nobody`",
        ),
        (
            "{\"model\":\"Post\",\"fields\":{\"size\":1}}",
            1,
            "no field `size`",
        ),
        ("nonsense", 1, "expected"),
        (
            "{\"model\":\"Post\",\"fields\":{\"id\":\"p\"}}",
            1,
            "`title` is required",
        ),
    ] {
        match store.import_json_lines(text.as_bytes(), |_| ()).await {
            Err(TransferError::BadLine {
                line: found,
                reason: said,
            }) => {
                assert_eq!(found, line, "{text}");
                assert!(said.contains(reason), "{said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for (text, line) in [
        ("title,size\n", 1),
        ("title,rating\nx,much\n", 2),
        ("title,rating\nx\n", 2),
    ] {
        let failed = store.import_csv("Post", text.as_bytes(), |_| ()).await;
        assert!(
            matches!(failed, Err(TransferError::BadLine { line: found, .. }) if found == line),
            "{text}: {failed:?}"
        );
    }
    assert!(posts(&store).is_empty());
}

#[tokio::test]
async fn a_fault_in_a_batch_is_told_with_its_own_line_and_nothing_of_the_batch_is_saved() {
    let store = in_memory().await;
    let mut lines: Vec<String> = (0..40)
        .map(|n| format!("{{\"model\":\"Post\",\"fields\":{{\"id\":\"p{n}\",\"title\":\"t\"}}}}"))
        .collect();
    lines[36] = lines[36].replace("\"t\"", "7");
    let failed = store.import_json_lines(lines.join("\n").as_bytes(), |_| ()).await;
    assert!(
        matches!(&failed, Err(TransferError::BadLine { line: 37, reason }) if reason.contains("title")),
        "{failed:?}"
    );
    assert!(posts(&store).is_empty());
}

#[tokio::test]
async fn timestamps_that_were_exported_are_imported_and_not_sent() {
    const LINE: &str = r#"{"model":"Post","fields":{"id":"p1","title":"t","createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-02-02T00:00:00.000Z"}}"#;
    let store = in_memory().await;
    let import = |text: String| {
        let store = store.clone();
        async move { store.import_json_lines(text.as_bytes(), |_| ()).await.unwrap() }
    };
    assert_eq!(import(LINE.to_owned()).await, 1);
    let exported = |store: &DataStore| {
        let mut lines = Vec::new();
        store.export_json_lines(&mut lines, |_| ()).unwrap();
        String::from_utf8(lines).unwrap()
    };
    assert_eq!(exported(&store).trim_end(), LINE);
    let mut csv = Vec::new();
    store.export_csv("Post", &mut csv, |_| ()).unwrap();
    let by_csv = in_memory().await;
    by_csv.import_csv("Post", csv.as_slice(), |_| ()).await.unwrap();
    assert_eq!(exported(&by_csv).trim_end(), LINE);
    // Of a record that is there already, it stays as it is.
    import(LINE.replace("2026-01-01", "2020-01-01")).await;
    assert_eq!(exported(&store).trim_end(), LINE);
    assert_eq!(store.outbox().len().unwrap(), 1);
    assert_eq!(
        store.snapshot().unwrap().verify().unwrap().differences,
        [] as [String; 0]
    );
}

#[tokio::test]
async fn the_largest_records_come_back() {
    let store = in_memory().await;
    // Each byte takes six in JSON.
    let title = "\u{1}".repeat(9 << 20);
    store
        .save(Post::builder().title(title.as_str()).build().unwrap())
        .await
        .unwrap();
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    store.export_json_lines(&mut lines, |_| ()).unwrap();
    store.export_csv("Post", &mut csv, |_| ()).unwrap();
    assert!(lines.len() > 6 * title.len());
    let back = in_memory().await;
    assert_eq!(back.import_json_lines(lines.as_slice(), |_| ()).await.unwrap(), 1);
    assert_eq!(back.import_csv("Post", csv.as_slice(), |_| ()).await.unwrap(), 1);
    assert_eq!(posts(&back)[0].title.len(), title.len());
}

#[tokio::test]
async fn rows_of_a_spreadsheet_get_identifiers() {
    let store = in_memory().await;
    let text = "\u{feff}title,rating,status\r\nOne,5,ACTIVE\r\n\"Two, too\",,\r\n";
    let mut last = landfall::TransferProgress::default();
    assert_eq!(
        store
            .import_csv("Post", text.as_bytes(), |at| last = at)
            .await
            .unwrap(),
        2
    );
    assert_eq!((last.records, last.lines), (2, 3));
    let mut posts = posts(&store);
    posts.sort_by(|a, b| a.title.cmp(&b.title));
    assert_eq!(
        (posts[0].rating, posts[0].status),
        (Some(5), Some(Status::Active))
    );
    assert_eq!((posts[1].title.as_str(), posts[1].rating), ("Two, too", None));
    assert!(posts[0].id != posts[1].id && posts[0].id.len() > 10);
}

#[tokio::test]
async fn a_backup_is_made_while_the_store_is_written_to() {
    let home = tempfile::tempdir().unwrap();
    let store = with_posts(&[("one".to_owned(), Some(1), true)]).await;
    store.backup(home.path().join("copy"), |_| ()).unwrap();
    store
        .save(Post::builder().title("two").build().unwrap())
        .await
        .unwrap();
    landfall::restore(home.path().join("copy"), home.path().join("back"), |_| ()).unwrap();
    let back = DataStore::builder(crate::schema())
        .directory(home.path().join("back"))
        .open()
        .await
        .unwrap();
    assert_eq!(posts(&back).len(), 1);
    assert_eq!(back.outbox().len().unwrap(), 2);
    assert_eq!(back.statistics().unwrap().pending, 2);
    assert_eq!(
        back.snapshot().unwrap().verify().unwrap().differences,
        [] as [String; 0]
    );
    back.close().await;
}

/// A seed is a backup of a store that has synced and has nothing left to send.
#[tokio::test]
async fn a_store_that_begins_with_a_seed_fetches_only_what_came_after_it() {
    const KEY: &str = "da2-seed";
    let schema = crate::schema();
    let backend = Backend::new(
        Arc::clone(schema),
        BackendConfig::with_api_key(KEY),
        KvStore::in_memory().unwrap(),
        os_entropy(),
    )
    .unwrap();
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = landfall_backend::serve(any_port, Arc::new(backend))
        .await
        .unwrap();
    let builder = || DataStore::builder(schema).endpoint(server.endpoint(), KEY);
    // Starts a store and waits for the first sync of posts; returns whether it was a delta sync and how many were new.
    async fn synced(store: &DataStore) -> (bool, u64) {
        let mut events = store.hub().await.unwrap();
        store.start().await.unwrap();
        loop {
            if let HubEvent::ModelSynced {
                model,
                is_delta_sync,
                new,
                ..
            } = events.next().await.unwrap()
                && model == "Post"
            {
                return (is_delta_sync, new);
            }
        }
    }
    let save = async |store: &DataStore, title: &str| {
        store
            .save(Post::builder().title(title).build().unwrap())
            .await
            .unwrap();
        store.outbox().drained().await.unwrap();
    };
    let home = tempfile::tempdir().unwrap();
    let (seed, data) = (home.path().join("seed"), home.path().join("data"));
    let maker = builder().open().await.unwrap();
    assert_eq!(synced(&maker).await, (false, 0));
    for title in ["one", "two"] {
        save(&maker, title).await;
    }
    // The cursor of the seed is that of a sync, so one that has seen the posts.
    maker.stop().await.unwrap();
    assert!(synced(&maker).await.0);
    maker.backup(&seed, |_| ()).unwrap();
    save(&maker, "three").await;

    landfall::restore(&seed, &data, |_| ()).unwrap();
    let store = builder().directory(&data).open().await.unwrap();
    assert_eq!(posts(&store).len(), 2, "before the network is asked for anything");
    assert_eq!(synced(&store).await, (true, 1), "and then only for what is new");
    assert_eq!(posts(&store).len(), 3);
    for store in [maker, store] {
        store.close().await;
    }
    server.shutdown().await;
}
