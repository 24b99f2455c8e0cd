//! A backend, a network and clients, in virtual time on one thread.
//!
//! Owns [`World`] and [`in_virtual_time`]. What happens in it is up to whoever made it: a plan (`run.rs`), a scripted
//! scenario (`scenarios.rs`) or an app's own workload (`workload.rs`).

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Once};

use landfall::{Error, Schema};
use landfall_backend::{Backend, BackendConfig, ConflictStrategy, HashKey, SeededEntropy};
use landfall_storage::kv::KvStore;

use crate::client::{Configure, SimClient};
use crate::clock::{SimClock, pass};
use crate::network::{API_KEY, Network};
use crate::oracle::{Fault, Findings, Violation, check_indexes, check_promises, differences};
use crate::plan::{ClientPlan, ServerPlan};
use crate::random::Seed;
use crate::trace::TraceLog;

/// Virtual time that the clients have to agree once everything is repaired, in milliseconds: several times the longest
/// backoff and the longest wait for a lost reply.
pub const HEAL_MS_MAX: u64 = 30 * 60 * 1_000;

/// How often agreement is looked for, in virtual milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// How often the backend's own clock is looked at, in virtual milliseconds.
const TICK_MS: u64 = 5_000;

/// Virtual time that is let pass between agreement and the last look, in milliseconds: longer than any message is held.
const CALM_MS: u64 = 10_000;

/// Virtual time that is let pass after everything was stopped, in milliseconds.
const AFTERMATH_MS: u64 = 60_000;

/// What a power cut at a disk operation is followed by: time off, and operations until it goes again.
pub(crate) type AfterCut = Rc<Cell<(u64, Option<u64>)>>;

/// A backend, a network and clients.
#[derive(Clone)]
pub struct World {
    /// The network, with the backend in it.
    pub network: Network,
    /// The clients, in the order in which they were given.
    pub clients: Vec<SimClient>,
    pub(crate) after_cuts: Vec<AfterCut>,
    panics: Rc<RefCell<usize>>,
    /// Whether the server lost messages in silence, which only the next connection makes up for.
    pub(crate) lost_in_silence: Rc<Cell<bool>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.clients).finish()
    }
}

thread_local! {
    /// What panicked on this thread; the actors' runtime swallows panics.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether a simulation runs on this thread.
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Has panics on threads with a simulation noted instead of printed.
fn note_panics() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if SIMULATING.get() {
                PANICS.with_borrow_mut(|panics| panics.push(info.to_string().replace('\n', " ")));
            } else {
                before(info);
            }
        }));
    });
}

/// Runs something in virtual time on this thread, from beginning to end.
///
/// What panics in an actor or a task meanwhile is noted, and [`World::look`] makes it a violation.
///
/// # Panics
/// If the runtime cannot be made, or the future itself panics; then everything that panicked is printed to standard error.
pub fn in_virtual_time<T, F>(trace: &TraceLog, work: F) -> T
where
    F: Future<Output = T>,
{
    note_panics();
    PANICS.with_borrow_mut(Vec::clear);
    let runner = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO can always be made")
    });
    SIMULATING.set(true);
    let work = || {
        let result = runner.block_on(async {
            let result = work.await;
            // Tearing down runs outside virtual time.
            trace.close();
            result
        });
        drop(runner);
        result
    };
    // Nothing of what the work has touched is used again if it panics.
    let result = catch_unwind(AssertUnwindSafe(work));
    SIMULATING.set(false);
    result.unwrap_or_else(|panic| {
        PANICS.with_borrow(|panics| panics.iter().for_each(|panic| eprintln!("{panic}")));
        resume_unwind(panic)
    })
}

/// What a world is made from.
#[derive(Clone)]
pub struct Setup {
    /// The schema.
    pub schema: Arc<Schema>,
    /// Where chance comes from.
    pub seed: Seed,
    /// How the server is set.
    pub server: ServerPlan,
    /// Who takes part.
    pub clients: Vec<ClientPlan>,
    /// Changes how each store is opened.
    pub configure: Configure,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Setup {
    /// A world of that schema, with an AppSync-like server and these clients.
    pub fn new(schema: &Arc<Schema>, seed: Seed, names: &[&str]) -> Self {
        Self {
            schema: Arc::clone(schema),
            seed,
            server: ServerPlan::default(),
            clients: names.iter().map(|name| ClientPlan::plain(name)).collect(),
            configure: Rc::new(|builder| builder),
        }
    }
}

impl World {
    /// A world in which all clients are off. To be made inside [`in_virtual_time`].
    ///
    /// # Panics
    /// If the schema makes no backend.
    pub fn new(setup: &Setup, trace: &TraceLog) -> Self {
        let mut world = Self::serving(&setup.schema, backend_config(&setup.server), setup.seed, trace);
        world.network.set_server_ahead(setup.server.clock_ahead_ms);
        for plan in &setup.clients {
            world.join(plan.clone(), &setup.schema, &setup.configure);
        }
        world
    }

    /// A world without clients, whose backend is set in a way that no plan has. To be made inside [`in_virtual_time`].
    ///
    /// # Panics
    /// If the schema makes no backend.
    pub fn serving(schema: &Arc<Schema>, config: BackendConfig, seed: Seed, trace: &TraceLog) -> Self {
        let clock = SimClock::start();
        let kv = KvStore::in_memory().expect("memory can be written to");
        let entropy = SeededEntropy::new(seed.stream("backend").bits());
        let backend =
            Backend::new(Arc::clone(schema), config, kv, entropy).expect("the schema makes a backend");
        let network = Network::new(Arc::clone(schema), Arc::new(backend), clock, trace.clone(), seed);
        let ticking = network.clone();
        actix::spawn(async move {
            loop {
                pass(TICK_MS).await;
                ticking.backend().tick(ticking.server_ms());
            }
        });
        Self {
            network,
            clients: Vec::new(),
            after_cuts: Vec::new(),
            panics: Rc::default(),
            lost_in_silence: Rc::default(),
        }
    }

    /// One more client, which is off; its schema may be another than the server's.
    pub fn join(&mut self, plan: ClientPlan, schema: &Arc<Schema>, configure: &Configure) -> SimClient {
        let (network, seed) = (self.network.clone(), self.network.seed());
        let client = SimClient::new(plan, Arc::clone(schema), network, seed, Rc::clone(configure));
        let after: AfterCut = Rc::new(Cell::new((0, None)));
        actix::spawn(client.judge().clone().watch());
        actix::spawn(client.clone().survive(Rc::clone(&after)));
        self.after_cuts.push(after);
        self.clients.push(client.clone());
        client
    }

    /// Has every judge look at everything now, also at what panicked, without repairing anything or waiting for agreement.
    pub fn look(&self) {
        for client in &self.clients {
            client.judge().look_at_all();
            client.judge().check_told();
        }
        self.report_all(self.clients.iter().flat_map(check_indexes).collect());
        self.look_at_panics();
    }

    /// Switches all clients on.
    ///
    /// # Errors
    /// If one of them does not open.
    pub async fn boot(&self) -> Result<(), Error> {
        for client in &self.clients {
            client.boot_until_up().await?;
        }
        Ok(())
    }

    /// Virtual time since the start, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.network.clock.elapsed_ms()
    }

    /// What the oracles found so far.
    pub fn findings(&self) -> &Findings {
        self.network.findings()
    }

    /// Notes a line of the trace.
    pub fn note(&self, who: &str, what: &str) {
        self.network.trace.note(self.now_ms(), who, what);
    }

    /// Notes a violation of an invariant that is not a client's own.
    pub fn violated(&self, invariant: &'static str, what: &str) {
        self.findings().violated(Violation {
            invariant,
            at_ms: self.now_ms(),
            step: self.network.trace.len(),
            who: "all".to_owned(),
            key: None,
            what: what.to_owned(),
        });
    }

    /// Repairs everything: links, server, disks.
    pub async fn repair(&self) {
        self.note("scenario", "everything is repaired");
        *self.network.backend().faults() = landfall_backend::Faults::default();
        self.network.backend().resume_fan_out();
        for client in &self.clients {
            client.link().repair();
            client.disk().heal();
            client.slow_disk(0);
        }
        // Whoever is being switched off or on is so soon.
        for client in &self.clients {
            for _ in 0..HEAL_MS_MAX / LOOK_EVERY_MS {
                if client.running().is_some() {
                    break;
                }
                pass(LOOK_EVERY_MS).await;
            }
            client.resume().await;
            if self.lost_in_silence.get() {
                client.link().break_sockets();
            }
        }
    }

    /// Waits until every client holds what the backend holds and has nothing left to send. Returns the virtual time
    /// that it took, or what still differs.
    ///
    /// # Errors
    /// What still differs after [`HEAL_MS_MAX`].
    pub async fn agree(&self) -> Result<u64, Vec<String>> {
        let start = self.now_ms();
        loop {
            let mut found = Vec::new();
            for client in &self.clients {
                found = differences(client, self.network.backend());
                if !found.is_empty() {
                    break;
                }
            }
            if found.is_empty() {
                return Ok(self.now_ms() - start);
            }
            if self.now_ms() > start + HEAL_MS_MAX {
                return Err(found);
            }
            if self.findings().is_violated() {
                return Ok(self.now_ms() - start);
            }
            pass(LOOK_EVERY_MS).await;
            self.look_at_panics();
        }
    }

    /// Everything that must be true in the end; afterwards all clients are stopped.
    pub async fn settle(&self) {
        self.settle_but_run().await;
        if !self.findings().is_violated() {
            self.stop_all().await;
        }
        self.look_at_panics();
    }

    /// Everything that must be true in the end while clients go on: agreement, promises, logs, indexes.
    pub async fn settle_but_run(&self) {
        self.repair().await;
        self.give_up_refused().await;
        match self.agree().await {
            Ok(ms) => {
                self.note("scenario", &format!("agreed after {ms} ms"));
                // What is still on its way between actors arrives: a slow disk has held it, or observers are told only now.
                pass(CALM_MS).await;
                self.wait_for_answers().await;
            }
            Err(differences) => {
                let wedged = differences
                    .iter()
                    .any(|difference| difference.contains("still holds"));
                for difference in differences.iter().take(5) {
                    self.violated(if wedged { "E1" } else { "E2" }, difference);
                }
            }
        }
        self.check_end();
        self.look_at_panics();
    }

    fn check_end(&self) {
        let mut faults = Vec::new();
        for client in &self.clients {
            if client.running().is_some() {
                client.judge().look_last();
            }
            if self.findings().is_violated() {
                return;
            }
            faults.extend(check_promises(client, self.network.backend()));
            faults.extend(check_indexes(client));
            client.judge().check_told();
        }
        self.report_all(faults);
        if self.network.watch(|watch| watch.merges()) > 0 {
            self.findings().seen("merged");
        }
    }

    /// Whoever still waits for an answer that will not come is found out.
    async fn wait_for_answers(&self) {
        while self.clients.iter().any(SimClient::is_asked) && !self.findings().is_violated() {
            pass(LOOK_EVERY_MS).await;
        }
    }

    fn report_all(&self, faults: Vec<Fault>) {
        for fault in faults {
            self.findings().violated(Violation {
                invariant: fault.invariant,
                at_ms: self.now_ms(),
                step: self.network.trace.len(),
                who: "all".to_owned(),
                key: fault.key.map(|key| key.to_string()),
                what: fault.what,
            });
        }
    }

    /// The app of each client gives up what the server refused, until nothing refused is left.
    async fn give_up_refused(&self) {
        for _ in 0..HEAL_MS_MAX / LOOK_EVERY_MS {
            let mut waiting = false;
            for client in &self.clients {
                waiting |= discard_refused(client).await;
            }
            self.look_at_panics();
            if !waiting || self.findings().is_violated() {
                return;
            }
            pass(LOOK_EVERY_MS).await;
        }
    }

    async fn stop_all(&self) {
        for client in &self.clients {
            if let Some(store) = client.running() {
                client.stop(&store).await;
                client.judge().stopped();
            }
        }
        // Messages between actors may be held for some milliseconds, also the one that ends them.
        pass(LOOK_EVERY_MS).await;
        let requests: u64 = self
            .clients
            .iter()
            .map(|client| client.link().requests_total())
            .sum();
        pass(AFTERMATH_MS).await;
        let sockets: u64 = self.clients.iter().map(|client| client.link().sockets()).sum();
        let later: u64 = self
            .clients
            .iter()
            .map(|client| client.link().requests_total())
            .sum();
        if sockets > 0 || later > requests {
            let what = format!(
                "{sockets} sockets are open and {} requests were sent after all clients stopped",
                later - requests
            );
            self.violated("E6", &what);
        }
        for client in &self.clients {
            client.judge().look();
        }
    }

    /// Notes what panicked; the runtime of the actors swallows panics.
    pub(crate) fn look_at_panics(&self) {
        let mut seen = self.panics.borrow_mut();
        let new: Vec<String> = PANICS.with_borrow(|panics| panics.iter().skip(*seen).cloned().collect());
        *seen += new.len();
        for panic in new {
            self.violated("I22", &panic);
        }
    }
}

/// Gives up what the server refused. Returns whether something still waits.
pub(crate) async fn discard_refused(client: &SimClient) -> bool {
    let Some(store) = client.running() else {
        return true;
    };
    let pending = store.outbox().list(usize::MAX).unwrap_or_default();
    for mutation in &pending {
        if matches!(mutation.stage, landfall::Stage::Parked(_)) {
            client.judge().ledger(|ledger| ledger.release(&mutation.key));
            // It may have been given up together with one before it.
            let discard = async { store.outbox().discard(mutation.seq).await.unwrap_or(()) };
            client.answered("discard", discard).await;
        }
    }
    !pending.is_empty()
}

/// The configuration of a backend that is set so.
fn backend_config(server: &ServerPlan) -> BackendConfig {
    let mut config = BackendConfig::with_api_key(API_KEY);
    config.delta_ttl_minutes = server.delta_ttl_minutes;
    config.limits.page_max = server.page_max.max(1);
    config.switches.bad_limit = landfall_backend::BadLimit::Clamped;
    config.limits.keep_alive_ms = server.keep_alive_ms.max(1_000);
    config.limits.connection_timeout_ms = server.keep_alive_ms.max(1_000) * 3;
    config.token_key = Some(HashKey::default());
    if !server.automerge {
        config.conflict = ConflictStrategy::OptimisticConcurrency;
    }
    config
}
