//! Several changes in one request that together are more than the server does at once: the real service in this process,
//! over real sockets, with bounds that a few records reach.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall::{DataStore, ErrorHandler, SyncError};
use landfall_backend::{Backend, BackendConfig, HttpCall, Limits, ServerHandle, os_entropy, serve};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};

landfall::inline_schema!("type Page @model { text: String! mark: Int }");

const KEY: &str = "da2-crowded";

/// Records of a run; they all go out in one request.
const RECORDS: usize = 8;

/// Length of a record's text.
const TEXT_BYTES: usize = 10_000;

/// Ends a test that would wait for ever; far beyond what a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the app is told of.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl ErrorHandler for Told {
    fn handle(&self, error: SyncError) {
        self.0.lock().expect("nobody panicked").push(error.message);
    }
}

async fn server(limits: Limits) -> (Arc<Backend>, ServerHandle) {
    let config = BackendConfig {
        limits,
        ..BackendConfig::with_api_key(KEY)
    };
    let sdl = "type Page @model @auth(rules: [{ allow: public }]) { text: String! mark: Int }";
    let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).expect("a sound schema");
    let kv = KvStore::in_memory().expect("memory");
    let backend = Backend::new(Arc::new(schema), config, kv, os_entropy()).expect("a sound schema");
    let backend = Arc::new(backend);
    let handle = serve(([127, 0, 0, 1], 0).into(), Arc::clone(&backend)).await;
    (backend, handle.expect("the loopback device is there"))
}

/// Version and mark of every record that the server has.
fn held(backend: &Backend) -> Vec<(u64, Option<i64>)> {
    let query = "{ syncPages(limit: 1000) { items { _version mark } } }";
    let call = HttpCall::post(KEY, json!({ "query": query }).to_string());
    let reply = backend.handle_http(i64::from(u32::MAX) * 1_000, &call);
    let body: Json = serde_json::from_slice(&reply.body).expect("JSON");
    let items = body["data"]["syncPages"]["items"].as_array();
    let items = items.unwrap_or_else(|| panic!("a page: {body}"));
    let of_item = |item: &Json| (item["_version"].as_u64().unwrap_or(0), item["mark"].as_i64());
    items.iter().map(of_item).collect()
}

/// Makes records and then marks them, each time all of them in one request; returns what the app was told.
async fn make_and_mark(server: &ServerHandle, backend: &Backend) -> Vec<String> {
    let told = Told::default();
    let store = DataStore::builder(schema())
        .endpoint(server.endpoint(), KEY)
        .sync_settings(|settings| {
            settings.mutations_per_request = 32;
            // A record is as much as the shorter of the bounds lets through in a page.
            settings.page_size = 1;
        })
        .error_handler(told.clone())
        .open()
        .await
        .expect("memory is always there");
    let text = "x".repeat(TEXT_BYTES);
    let mut pages = Vec::new();
    for _ in 0..RECORDS {
        let page = Page::builder().text(text.clone()).build().expect("complete");
        pages.push(store.save(page).await.expect("memory"));
    }
    sync(&store).await;
    assert_eq!(held(backend), [(1, None); RECORDS]);
    store.stop().await.expect("it runs");
    for page in pages {
        let marked = Page {
            mark: Some(7),
            ..page
        };
        store.save(marked).await.expect("memory");
    }
    sync(&store).await;
    let parked = store.outbox().parked(RECORDS).expect("memory");
    assert!(parked.is_empty(), "{parked:?}");
    store.close().await;
    told.0.lock().expect("nobody panicked").clone()
}

async fn sync(store: &DataStore) {
    store.start().await.expect("the server is there");
    assert!(store.ready().await.expect("it runs"), "the server can be reached");
    let drained = store.outbox().drained_within(PATIENCE).await;
    assert!(drained.expect("it runs"), "everything is sent");
}

async fn nothing_is_refused_and_nothing_is_done_twice(limits: Limits) {
    let (backend, server) = server(limits).await;
    let told = make_and_mark(&server, &backend).await;
    assert_eq!(told, [""; 0], "the app has nothing to do about it");
    // Each was written twice, and no more.
    assert_eq!(held(&backend), [(2, Some(7)); RECORDS]);
    server.shutdown().await;
}

/// What was answered no more was applied, or was never looked at.
#[tokio::test]
async fn an_answer_that_is_too_long_refuses_no_change() {
    let limits = Limits {
        answer_bytes_max: 3 * TEXT_BYTES,
        ..Limits::default()
    };
    nothing_is_refused_and_nothing_is_done_twice(limits).await;
}

#[tokio::test]
async fn a_request_that_writes_too_much_refuses_no_change() {
    let limits = Limits {
        written_bytes_max: 3 * TEXT_BYTES,
        ..Limits::default()
    };
    nothing_is_refused_and_nothing_is_done_twice(limits).await;
}
