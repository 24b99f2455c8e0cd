//! Stores that are to be recorded: which are, and what is left of a recording that is not made.

use std::time::Duration;

use landfall::flight::{Answer, Event, FailedKind, Recording};
use landfall::{
    Authorization, CachedTokens, DataStore, Error, ErrorHandler, ErrorKind, Retention, Secret, SyncError,
};
use tokio::sync::mpsc;

use crate::{Account, account, schema};

/// What nobody is to read.
const TOKEN: &str = "c2VjcmV0LXRva2Vu";

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells of each error.
struct Tell(mpsc::UnboundedSender<SyncError>);

impl ErrorHandler for Tell {
    fn handle(&self, error: SyncError) {
        // A test that is over does not listen.
        self.0.send(error).unwrap_or(());
    }
}

#[tokio::test]
async fn a_store_that_does_not_open_leaves_no_recording_in_the_way_of_the_next_attempt() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.flight");
    let open = |recorded: bool| {
        let builder = DataStore::builder(schema()).directory(home.path().join("store"));
        let builder = if recorded { builder.record(&file) } else { builder };
        builder.open()
    };
    let first = open(false).await.unwrap();
    assert!(matches!(open(true).await, Err(Error::Storage(_))), "it is locked");
    assert!(!file.exists());
    first.close().await;

    let second = open(true).await.unwrap();
    second.save(account("a", 1)).await.unwrap();
    second.close().await;
    let recorded = std::fs::read(&file).unwrap();
    assert!(Recording::open(&file).unwrap().is_closed());
    // A recording that was made is never written over.
    let refused = open(true).await.unwrap_err();
    assert!(matches!(refused, Error::CannotRecord { .. }));
    assert!(
        refused
            .to_string()
            .ends_with("run.flight is there already; choose another name or remove it"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), recorded);
}

#[tokio::test]
async fn a_store_whose_log_was_trimmed_is_not_recorded_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.flight");
    let builder = || {
        DataStore::builder(schema())
            .directory(home.path().join("store"))
            .local_only()
    };
    let store = builder().open().await.unwrap();
    for number in 0..5 {
        store.save(account(&number.to_string(), number)).await.unwrap();
    }
    store.trim(Retention::everything().entries(2)).await.unwrap();
    store.close().await;

    let store = builder().record(&file).open().await.unwrap();
    let report = store.recording().unwrap();
    assert!(report.stopped && report.events == 0, "{report:?}");
    store.save(account("more", 7)).await.unwrap();
    assert_eq!(
        store.get::<Account>("0").unwrap().map(|found| found.cents),
        Some(0)
    );
    store.close().await;
    assert!(!file.exists(), "nobody could play it");

    // What is trimmed while it is recorded was whole when it began.
    std::fs::remove_dir_all(home.path().join("store")).unwrap();
    let store = builder().record(&file).open().await.unwrap();
    store.save(account("a", 1)).await.unwrap();
    store.trim(Retention::everything().entries(1)).await.unwrap();
    store.close().await;
    assert!(Recording::open(&file).unwrap().is_closed());
}

async fn expired() -> Result<Secret, Box<dyn std::error::Error + Send + Sync>> {
    Err(format!("{TOKEN} has expired").into())
}

#[tokio::test]
async fn what_a_provider_of_tokens_says_of_them_is_not_recorded() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.flight");
    let (sender, mut errors) = mpsc::unbounded_channel();
    let store = DataStore::builder(schema())
        .endpoint_with(
            "http://127.0.0.1:9/graphql",
            Authorization::token_from(CachedTokens::new(expired)),
        )
        .error_handler(Tell(sender))
        .record(&file)
        .open()
        .await
        .unwrap();
    store.start().await.unwrap();
    let told = tokio::time::timeout(PATIENCE, errors.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.kind, ErrorKind::Unauthorized, "{told:?}");
    store.close().await;

    let bytes = std::fs::read(&file).unwrap();
    let found = bytes
        .windows(TOKEN.len())
        .any(|window| window == TOKEN.as_bytes());
    assert!(!found, "the token is in the file");
    let recording = Recording::open(&file).unwrap();
    let refused = recording.events.iter().any(|noted| {
        matches!(&noted.event, Event::Answered { answer: Answer::Failed(failed), .. }
            if failed.kind == FailedKind::Unauthorized)
    });
    assert!(refused, "{:?}", recording.events);
}
