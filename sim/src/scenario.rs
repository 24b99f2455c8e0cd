//! Scripted runs: a backend, some clients, faults, and what must be true in the end.
//!
//! Owns [`Report`] and the scenario [`three_clients`].

mod ledger;
mod workload;

use std::sync::Arc;

use landfall_backend::{Backend, BackendConfig, SeededEntropy};
use landfall_storage::kv::KvStore;

use crate::client::SimClient;
use crate::clock::{SimClock, pass};
use crate::network::{API_KEY, LinkFaults, Network};
use crate::random::Seed;
use crate::trace::TraceLog;
use ledger::Ledger;

landfall::include_schema!("src/scenario.graphql");

/// Virtual time that the clients have to agree once everything is repaired, in milliseconds: several times the longest
/// backoff and the longest wait for a lost reply.
const HEAL_MS_MAX: u64 = 30 * 60 * 1_000;

/// How often agreement is looked for, in virtual milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// How often the backend's own clock is looked at, in virtual milliseconds.
const TICK_MS: u64 = 5_000;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed that it followed from.
    pub seed: u64,
    /// Hash of everything that happened.
    pub trace_hash: String,
    /// Number of things that happened.
    pub trace_lines: u64,
    /// Virtual time that passed, in milliseconds.
    pub elapsed_ms: u64,
    /// Writes that the clients were told had succeeded.
    pub acknowledged: u64,
    /// Crashes.
    pub crashes: u64,
    /// Partitions.
    pub partitions: u64,
    /// What was not as it must be; empty if all was well.
    pub violations: Vec<String>,
    /// The newest things that happened, oldest first; for reading when something was violated.
    pub recent: Vec<String>,
}

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What everything follows from.
    pub seed: Seed,
    /// Virtual time during which clients work and things fail, in milliseconds.
    pub busy_ms: u64,
    /// Whether each thing that happens is printed to standard error.
    pub echo: bool,
}

/// Three clients work through partitions, lost requests and replies, refusals and crashes; then everything is repaired.
///
/// In the end all agree with the backend, nothing acknowledged is lost, nothing was applied twice, and each log replays
/// to what its store holds.
///
/// # Panics
/// If the runtime cannot be made, or the scenario's own schema is faulty.
pub fn three_clients(options: Options) -> Report {
    let trace = TraceLog::default();
    if options.echo {
        trace.echo();
    }
    let inside = trace.clone();
    let runner = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO can always be made")
    });
    runner.block_on(async move {
        let report = run(options, &inside).await;
        // Tearing down runs outside virtual time.
        inside.close();
        report
    })
}

async fn run(options: Options, trace: &TraceLog) -> Report {
    let seed = options.seed;
    let clock = SimClock::start();
    let kv = KvStore::in_memory().expect("memory can be written to");
    let config = BackendConfig::with_api_key(API_KEY);
    let entropy = SeededEntropy::new(seed.stream("backend").bits());
    let backend =
        Backend::new(Arc::clone(schema()), config, kv, entropy).expect("the scenario's schema is sound");
    let backend = Arc::new(backend);
    let network = Network::new(Arc::clone(&backend), clock, trace.clone(), seed);
    let ticking = Arc::clone(&backend);
    actix::spawn(async move {
        loop {
            pass(TICK_MS).await;
            ticking.tick(clock.unix_ms());
        }
    });
    let mut ledger = Ledger::default();
    let mut clients: Vec<SimClient> = ["anna", "berta", "carl"]
        .iter()
        .map(|name| SimClient::new(name, Arc::clone(schema()), network.clone(), seed))
        .collect();
    for client in &clients {
        client.link().set_faults(LinkFaults::ROUGH);
    }
    let worked = workload::work(&mut clients, seed, options.busy_ms, &mut ledger).await;
    for client in &clients {
        client.link().set_faults(LinkFaults::CALM);
        client.link().repair();
    }
    trace.note(clock.elapsed_ms(), "scenario", "everything is repaired");
    let agreed = heal(&clients, &backend, clock).await;
    let mut violations = worked;
    violations.extend(agreed);
    violations.extend(ledger.check(&backend));
    for client in &clients {
        violations.extend(check_replay(client));
    }
    Report {
        seed: seed.0,
        trace_hash: trace.hash(),
        trace_lines: trace.len(),
        elapsed_ms: clock.elapsed_ms(),
        acknowledged: ledger.acknowledged,
        crashes: ledger.crashes,
        partitions: ledger.partitions,
        violations,
        recent: trace.recent(),
    }
}

/// Waits until every client holds what the backend holds and has nothing left to send. Returns what still differs.
async fn heal(clients: &[SimClient], backend: &Backend, clock: SimClock) -> Vec<String> {
    let deadline = clock.elapsed_ms() + HEAL_MS_MAX;
    loop {
        let differences = ledger::differences(clients, backend);
        if differences.is_empty() || clock.elapsed_ms() > deadline {
            return differences;
        }
        pass(LOOK_EVERY_MS).await;
    }
}

fn check_replay(client: &SimClient) -> Vec<String> {
    let verified = client
        .store()
        .snapshot()
        .and_then(|snapshot| Ok(snapshot.verify()?));
    let found = match verified {
        Ok(verification) => verification.differences,
        Err(error) => vec![error.to_string()],
    };
    found
        .into_iter()
        .map(|difference| format!("{}: the log does not replay: {difference}", client.name()))
        .collect()
}
