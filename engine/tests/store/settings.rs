//! Settings of a store: who uses it, what stays local, what new records start with.

use std::time::Duration;

use landfall::{DataStore, Error, Record, Retention, TypedPredicate, namespaces};

use crate::{Account, Blog, account, schema};

/// Models whose fields have defaults.
mod defaults {
    landfall::inline_schema!(
        "enum Level { LOW HIGH }
         type Task @model {
           title: String!
           level: Level @default(value: \"LOW\")
           points: Int! @default(value: \"3\")
           ratio: Float @default(value: \"0.5\")
           open: Boolean @default(value: \"true\")
         }"
    );
}

#[tokio::test]
async fn each_user_of_a_directory_has_data_and_outbox_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        DataStore::builder(schema())
            .directory(directory.path())
            .namespace(name)
            .open()
    };
    let ada = open("Ada").await.unwrap();
    ada.save(account("a", 1)).await.unwrap();
    ada.close().await;

    // Another one signs in: nothing of the first is seen, sent or wiped.
    let other = open("ada").await.unwrap();
    assert_eq!(other.count(TypedPredicate::<Account>::all()).unwrap(), 0);
    assert!(other.outbox().is_empty().unwrap());
    other.save(account("b", 2)).await.unwrap();
    other.clear().await.unwrap();
    other.close().await;

    let ada = open("Ada").await.unwrap();
    assert_eq!(ada.get::<Account>("a").unwrap().unwrap().cents, 1);
    assert_eq!(ada.outbox().len().unwrap(), 1);
    assert_eq!(namespaces(directory.path()).unwrap(), ["Ada", "ada"]);
    assert_eq!(
        namespaces(directory.path().join("nowhere")).unwrap(),
        [] as [&str; 0]
    );
    ada.close().await;
}

#[tokio::test]
async fn a_namespace_needs_a_directory_and_a_name() {
    let refused = DataStore::builder(schema()).namespace("a").open().await;
    assert!(matches!(refused, Err(Error::BadNamespace { .. })));
    let directory = tempfile::tempdir().unwrap();
    let refused = DataStore::builder(schema())
        .directory(directory.path())
        .namespace("")
        .open()
        .await;
    assert!(matches!(refused, Err(Error::BadNamespace { .. })));
}

#[tokio::test]
async fn a_local_model_is_kept_out_of_the_outbox() {
    let store = DataStore::builder(schema())
        .local_only_model::<Account>()
        .open()
        .await
        .unwrap();
    store.save(account("a", 1)).await.unwrap();
    store
        .save(Blog::builder().name("B").build().unwrap())
        .await
        .unwrap();
    let waiting = store.outbox().list(10).unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|mutation| mutation.key.model.as_str())
            .collect::<Vec<_>>(),
        ["Blog"]
    );
    assert_eq!(store.get::<Account>("a").unwrap().unwrap().cents, 1);
    let refused = DataStore::builder(schema())
        .local_only_model_named("Nobody")
        .open()
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("there is no model `Nobody`")
    );
}

#[tokio::test]
async fn new_records_start_with_their_defaults() {
    use defaults::{Level, Task};
    let store = DataStore::builder(defaults::schema()).open().await.unwrap();
    let task = Task::builder().title("T").build().unwrap();
    assert_eq!(
        (task.level, task.points, task.ratio),
        (Some(Level::Low), 3, Some(0.5))
    );
    let saved = store.save(task).await.unwrap();
    assert_eq!(saved.open, Some(true));
    let given = Task::builder()
        .title("T")
        .level(Level::High)
        .points(0)
        .build()
        .unwrap();
    assert_eq!((given.level, given.points), (Some(Level::High), 0));

    // Without types as well; and only a new record starts, an old one keeps what it was given.
    let mut record = Record::new(
        store.records().def("Task").unwrap(),
        vec!["t1".into(), "T".into()],
    );
    assert!(record.set("level", "HIGH".into()));
    let saved = store.records().save(record).await.unwrap();
    assert_eq!(
        (saved.get("level"), saved.get("points")),
        (Some(&"HIGH".into()), Some(&3.into()))
    );
    let task = store.get::<Task>("t1").unwrap().unwrap();
    let cleared = store
        .save(Task::copy_of(&task, |task| task.ratio = None))
        .await
        .unwrap();
    assert_eq!(cleared.ratio, None);
}

#[tokio::test]
async fn clear_leaves_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let store = DataStore::builder(schema())
        .directory(directory.path())
        .open()
        .await
        .unwrap();
    for number in 0..100 {
        store
            .save(Blog::builder().name(format!("secret {number}")).build().unwrap())
            .await
            .unwrap();
    }
    let holds_secret = || {
        let bytes = std::fs::read(directory.path().join("landfall.store")).unwrap();
        bytes.windows(6).any(|window| window == b"secret")
    };
    assert!(holds_secret());
    store.clear().await.unwrap();
    assert!(!holds_secret());
    store
        .save(Blog::builder().name("new").build().unwrap())
        .await
        .unwrap();
    assert_eq!(store.count(TypedPredicate::<Blog>::all()).unwrap(), 1);
    store.close().await;
}

#[tokio::test]
async fn the_log_is_trimmed_by_policy_when_opened_and_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let open = |retention| {
        let builder = DataStore::builder(schema())
            .directory(directory.path())
            .local_only();
        builder.retention(retention).open()
    };
    let store = open(Retention::everything()).await.unwrap();
    for number in 0..20 {
        store
            .save(Blog::builder().name(format!("b{number}")).build().unwrap())
            .await
            .unwrap();
    }
    let whole = store.statistics().unwrap().log_entries;
    let first = store.query(TypedPredicate::<Blog>::all()).unwrap().remove(0);
    store.close().await;

    // It is in use before its log is trimmed, and meanwhile.
    let store = open(Retention::everything().entries(5)).await.unwrap();
    assert_eq!(store.count(TypedPredicate::<Blog>::all()).unwrap(), 20);
    let trimmed = async {
        while store.statistics().unwrap().log_entries > 5 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), trimmed).await;
    waited.expect("the log is trimmed some time after opening");
    assert_eq!(store.statistics().unwrap().log_entries, 5);
    assert_eq!(store.count(TypedPredicate::<Blog>::all()).unwrap(), 20);
    let sound = store.snapshot().unwrap().verify().unwrap();
    assert_eq!((sound.entries, sound.differences), (5, Vec::new()));
    store.close().await;
    // Too few go to be worth it; whoever asks gets it.
    let store = open(Retention::everything().entries(4)).await.unwrap();
    assert_eq!(store.statistics().unwrap().log_entries, 5);
    let trimmed = store.trim(Retention::everything().entries(2)).await.unwrap();
    assert_eq!(trimmed.entries, 3);
    assert_eq!(trimmed.start.0, whole - 1);
    // Life goes on, and so does the log.
    let saved = store
        .save(Blog::copy_of(&first, |blog| blog.stars = Some(1)))
        .await
        .unwrap();
    let history = store.history_of::<Blog>(first.id.as_str()).unwrap();
    assert_eq!(history.latest().unwrap().get("stars"), Some(&1.into()));
    assert!(store.history().unwrap().is_trimmed().unwrap());
    store.close().await;

    let store = open(Retention::everything()).await.unwrap();
    assert_eq!(store.get::<Blog>(first.id.as_str()).unwrap(), Some(saved));
    assert_eq!(store.statistics().unwrap().log_entries, 3);
    store.close().await;
}

#[tokio::test]
async fn a_log_is_not_trimmed_past_what_waits_for_the_server() {
    let store = crate::in_memory().await;
    for number in 0..5 {
        store.save(account(&number.to_string(), number)).await.unwrap();
    }
    let trimmed = store.trim(Retention::everything().entries(1)).await.unwrap();
    let first = store.outbox().list(1).unwrap().remove(0);
    assert_eq!(trimmed.start, first.seq);
    assert_eq!(store.outbox().len().unwrap(), 5);
}
