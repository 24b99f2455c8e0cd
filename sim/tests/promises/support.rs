//! What the tests of this folder share: a backend, clients, and notes.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use landfall::{ModelQuery, Schema};
use landfall_backend::{Backend, BackendConfig, SeededEntropy};
use landfall_sim::{API_KEY, ClientPlan, Network, Seed, SimClient, SimClock, TraceLog, pass};
use landfall_storage::kv::KvStore;

landfall::inline_schema!("type Note @model { text: String! count: Int }");

pub(crate) const MINUTE_MS: u64 = 60_000;

/// A backend, the time, and a network without faults.
pub(crate) struct World {
    pub(crate) backend: Arc<Backend>,
    pub(crate) clock: SimClock,
    pub(crate) network: Network,
}

impl World {
    pub(crate) fn new(config: BackendConfig) -> Self {
        Self::serving(schema(), config)
    }

    /// As [`Self::new`], with a server of another schema than the clients have.
    pub(crate) fn serving(schema: &Arc<Schema>, config: BackendConfig) -> Self {
        let clock = SimClock::start();
        let kv = KvStore::in_memory().expect("memory can be written to");
        let backend =
            Backend::new(Arc::clone(schema), config, kv, SeededEntropy::new(7)).expect("the schema is sound");
        let backend = Arc::new(backend);
        let ticking = Arc::clone(&backend);
        actix::spawn(async move {
            loop {
                pass(5_000).await;
                ticking.tick(clock.unix_ms());
            }
        });
        let network = Network::new(
            Arc::clone(schema),
            Arc::clone(&backend),
            clock,
            TraceLog::default(),
            Seed(7),
        );
        Self {
            backend,
            clock,
            network,
        }
    }

    pub(crate) fn client(&self, name: &str) -> SimClient {
        self.client_with(name, schema())
    }

    /// As [`Self::client`], with a schema of its own.
    pub(crate) fn client_with(&self, name: &str, schema: &Arc<Schema>) -> SimClient {
        SimClient::new(
            ClientPlan::plain(name),
            Arc::clone(schema),
            self.network.clone(),
            Seed(7),
            Rc::new(|builder| builder),
        )
    }
}

/// Runs a test on one thread, in virtual time.
pub(crate) fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO can always be made")
    };
    actix::System::with_tokio_rt(runtime).block_on(test)
}

pub(crate) fn config() -> BackendConfig {
    BackendConfig::with_api_key(API_KEY)
}

/// The texts of a client's notes, in alphabetical order.
pub(crate) fn texts(client: &SimClient) -> String {
    let notes = client
        .store()
        .query(ModelQuery::<Note>::all())
        .expect("the disk is well");
    let mut texts: Vec<String> = notes.into_iter().map(|note| note.text).collect();
    texts.sort();
    texts.join(" ")
}

pub(crate) fn find(client: &SimClient, text: &str) -> Note {
    let found = client
        .store()
        .query(Note::text().eq(text))
        .expect("the disk is well");
    found
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("there is no note `{text}`"))
}

pub(crate) async fn create(client: &SimClient, text: &str, count: i32) -> Note {
    let note = Note::builder()
        .text(text)
        .count(count)
        .build()
        .expect("it is valid");
    client.store().save(note).await.expect("it is saved")
}

pub(crate) async fn recount(client: &SimClient, text: &str, count: i32) {
    let note = find(client, text);
    let edited = Note::copy_of(&note, |note| note.count = Some(count));
    client.store().save(edited).await.expect("it is saved");
}
