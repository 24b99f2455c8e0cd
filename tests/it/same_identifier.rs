//! Two stores whose apps choose the same identifier, over real sockets.

use std::path::Path;
use std::time::Duration;

use landfall::{DataStore, HubEvent};

use crate::support::serve::{API_KEY, ServeProcess};

landfall::inline_schema!("type Profile @model { name: String! city: String age: Int }");

/// Ends a test that would wait for ever; far beyond what a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(server: &ServeProcess) -> DataStore {
    let builder = DataStore::builder(schema()).endpoint(&server.url, API_KEY);
    builder.open().await.expect("memory is always there")
}

fn profile(name: &str, city: Option<&str>, age: Option<i32>) -> Profile {
    let mut profile = Profile::builder().name(name).build().expect("complete");
    profile.id = "the only one".to_owned();
    profile.city = city.map(str::to_owned);
    profile.age = age;
    profile
}

async fn sync(store: &DataStore) {
    store.start().await.expect("the server is there");
    assert!(store.ready().await.expect("it runs"), "the server can be reached");
    let drained = store.outbox().drained_within(PATIENCE).await;
    assert!(drained.expect("it runs"), "everything is sent");
}

fn schema_file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("schema.graphql");
    let text =
        "type Profile @model @auth(rules: [{ allow: public }]) { name: String! city: String age: Int }";
    std::fs::write(&path, text).expect("the temporary folder is writable");
    path
}

#[tokio::test]
async fn the_second_create_of_an_identifier_is_a_conflict_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = ServeProcess::start(&schema_file(folder.path()), &[]);
    let (first, second) = (open(&server).await, open(&server).await);
    first
        .save(profile("first", Some("Lund"), None))
        .await
        .expect("memory");
    second
        .save(profile("second", None, Some(7)))
        .await
        .expect("memory");
    sync(&first).await;
    let mut events = second.hub().await.expect("it runs");
    sync(&second).await;

    let told = async {
        while let Some(event) = events.next().await {
            if let HubEvent::ConflictResolved { accepted_remote, .. } = event {
                return Some(accepted_remote);
            }
        }
        None
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert_eq!(told.expect("it is told"), Some(false));
    assert!(first.sync_now().await.expect("it runs"));
    for store in [&first, &second] {
        let profile = store
            .get::<Profile>("the only one")
            .expect("memory")
            .expect("it is there");
        assert_eq!(
            (profile.name.as_str(), profile.city.as_deref(), profile.age),
            ("first", Some("Lund"), Some(7)),
            "what the first has made stands, what only the second has is added"
        );
    }
}
