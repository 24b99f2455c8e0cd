//! What the tests of this folder share: a backend, clients, and notes.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use landfall::{ModelQuery, Schema};
use landfall_backend::{Backend, BackendConfig};
use landfall_sim::{
    API_KEY, ClientPlan, Configure, Network, Seed, SimClient, SimClock, TraceLog, World as SimWorld,
    in_virtual_time,
};

landfall::inline_schema!("type Note @model { text: String! count: Int }");

pub(crate) const MINUTE_MS: u64 = 60_000;

/// Seed of everything that is left to chance here.
const SEED: Seed = Seed(7);

thread_local! {
    /// The worlds of the test that runs on this thread.
    static WORLDS: RefCell<Vec<Rc<RefCell<SimWorld>>>> = const { RefCell::new(Vec::new()) };
    static TRACE: RefCell<TraceLog> = RefCell::default();
}

/// A backend, the time, and a network without faults, in which every oracle looks.
pub(crate) struct World {
    pub(crate) backend: Arc<Backend>,
    pub(crate) clock: SimClock,
    pub(crate) network: Network,
    sim: Rc<RefCell<SimWorld>>,
}

impl World {
    pub(crate) fn new(config: BackendConfig) -> Self {
        Self::serving(schema(), config)
    }

    /// As [`Self::new`], with a server of another schema than the clients have.
    pub(crate) fn serving(schema: &Arc<Schema>, config: BackendConfig) -> Self {
        let sim = SimWorld::serving(schema, config, SEED, &TRACE.with_borrow(TraceLog::clone));
        let network = sim.network.clone();
        let sim = Rc::new(RefCell::new(sim));
        WORLDS.with_borrow_mut(|worlds| worlds.push(Rc::clone(&sim)));
        Self {
            backend: Arc::clone(network.backend()),
            clock: network.clock(),
            network,
            sim,
        }
    }

    pub(crate) fn client(&self, name: &str) -> SimClient {
        self.client_with(name, schema())
    }

    /// As [`Self::client`], with a schema of its own.
    pub(crate) fn client_with(&self, name: &str, schema: &Arc<Schema>) -> SimClient {
        let configure: Configure = Rc::new(|builder| builder);
        self.sim
            .borrow_mut()
            .join(ClientPlan::plain(name), schema, &configure)
    }

    /// Has violations of these invariants not count, which the test breaks itself.
    pub(crate) fn pardon(&self, invariants: &[&'static str]) {
        for invariant in invariants {
            self.network.findings().pardon(invariant);
        }
    }
}

/// Runs a test on one thread, in virtual time; no oracle may object, and nothing may panic.
pub(crate) fn simulate<T>(test: impl Future<Output = T>) -> T {
    WORLDS.with_borrow_mut(Vec::clear);
    let trace = TraceLog::default();
    TRACE.set(trace.clone());
    let result = in_virtual_time(&trace, async {
        let result = test.await;
        WORLDS.with_borrow(|worlds| worlds.iter().for_each(|world| world.borrow().look()));
        result
    });
    for world in WORLDS.take() {
        let violations = world.borrow().findings().violations();
        assert!(
            violations.is_empty(),
            "{violations:#?}\n{}",
            trace.recent().join("\n")
        );
    }
    result
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
