//! Carrying a plan out.
//!
//! Owns [`run`] and [`Outcome`]. The same plan gives the same run, line by line; the oracles look after every commit, and
//! a run ends at the first violation.

mod drive;
mod inject;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use crate::client::Configure;
use crate::clock::pass;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::random::Seed;
use crate::trace::{Recording, TraceLog};
use crate::world::{Setup, World, in_virtual_time};

landfall::include_schema!("src/scenario.graphql");

/// How often a run looks whether something was violated, in virtual milliseconds.
const LOOK_EVERY_MS: u64 = 250;

/// Virtual time that whoever is busy has to finish what it does, in milliseconds.
const FINISH_MS_MAX: u64 = 10 * 60 * 1_000;

pub use inject::PHASES;

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Whether each thing that happens is printed to standard error.
    pub echo: bool,
    /// Whether everything is kept for a timeline.
    pub record: bool,
    /// The line of the trace at which the run ends early; nothing is repaired or compared then.
    pub until: Option<u64>,
    /// The only invariant whose violation counts.
    pub only: Option<&'static str>,
    /// Whether the clients' stores are in memory alone, where no disk can fail; power cuts lose everything then.
    pub in_memory: bool,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Hash of everything that happened.
    pub trace_hash: String,
    /// Number of things that happened.
    pub trace_lines: u64,
    /// Virtual time that passed, in milliseconds.
    pub elapsed_ms: u64,
    /// Virtual time from the repair to agreement, in milliseconds.
    pub settled_ms: u64,
    /// Writes that the clients were told had succeeded.
    pub acknowledged: u64,
    /// Power cuts.
    pub crashes: u64,
    /// Faults that were brought about, by identifier.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often something was met by each: messages that were lost, operations that failed. What was brought about and is
    /// not here had no effect.
    pub effects: BTreeMap<&'static str, u64>,
    /// What the clients that they met were doing, one of [`PHASES`], by identifier.
    pub phases: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// What was seen that must be seen sometimes.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// What was not as it must be, the first thing first.
    pub violations: Vec<Violation>,
    /// The newest things that happened, oldest first.
    #[serde(skip)]
    pub recent: Vec<String>,
    /// What the log of the client says of the record that the first violation is about.
    #[serde(skip)]
    pub story: Vec<String>,
    /// Everything that happened, if it was kept.
    #[serde(skip)]
    pub recording: Option<Recording>,
}

impl Outcome {
    /// Whether nothing was violated.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty()
    }

    /// Identifier of the first invariant that was violated.
    pub fn invariant(&self) -> Option<&'static str> {
        self.violations.first().map(|violation| violation.invariant)
    }
}

/// The schema that plans work on.
pub fn plan_schema() -> &'static Arc<landfall::Schema> {
    schema()
}

/// Carries a plan out.
///
/// # Panics
/// If the runtime cannot be made.
pub fn run(plan: &Plan, options: RunOptions) -> Outcome {
    run_with(plan, options, Rc::new(|builder| builder))
}

/// As [`run`], with each store opened as `configure` says.
///
/// # Panics
/// If the runtime cannot be made.
pub fn run_with(plan: &Plan, options: RunOptions, configure: Configure) -> Outcome {
    let trace = trace_for(options);
    in_virtual_time(&trace, carry_out(plan, &trace, options, configure))
}

/// The trace of a run with these options.
pub(crate) fn trace_for(options: RunOptions) -> TraceLog {
    let trace = TraceLog::default();
    if options.echo {
        trace.echo();
    }
    if options.record {
        trace.record();
    }
    if let Some(until) = options.until {
        trace.end_at(until);
    }
    trace
}

/// How each store of a run with these options is opened.
pub(crate) fn configured_for(options: RunOptions, configure: Configure) -> Configure {
    Rc::new(move |builder| {
        let builder = configure(builder);
        if options.in_memory {
            builder.disk(landfall::Disk::Memory)
        } else {
            builder
        }
    })
}

async fn carry_out(plan: &Plan, trace: &TraceLog, options: RunOptions, configure: Configure) -> Outcome {
    let setup = Setup {
        schema: Arc::clone(schema()),
        seed: Seed(plan.seed),
        server: plan.server.clone(),
        clients: plan.clients.clone(),
        configure: configured_for(options, configure),
    };
    let world = World::new(&setup, trace);
    if let Some(invariant) = options.only {
        world.findings().only(invariant);
    }
    world.network.watch(|watch| watch.exclusive("Note"));
    let faults = inject::Faults::default();
    if let Err(error) = world.boot().await {
        world.violated("E1", &format!("a new store does not open: {error}"));
    }
    busy(plan, &world, &faults).await;
    let before = world.now_ms();
    if !world.findings().is_violated() && !trace.is_over() {
        world.settle().await;
    }
    world.look_at_panics();
    outcome(&world, trace, &faults, before)
}

/// Has a plan's faults happen at their times.
pub(crate) fn throw_faults_at(world: &World, plan: &Plan) -> inject::Faults {
    let faults = inject::Faults::default();
    inject::all(world, plan, &faults);
    faults
}

/// Lets the clients work and things fail, until the time is over or something is violated.
async fn busy(plan: &Plan, world: &World, faults: &inject::Faults) {
    inject::all(world, plan, faults);
    let users: Vec<_> = (0..world.clients.len())
        .map(|index| {
            let steps = plan.actions.iter().filter(|step| step.client == index);
            let user = drive::User::new(world.clients[index].clone(), index);
            let (waits, aside) = (user.waits(), user.aside());
            (waits, aside, actix::spawn(user.live(steps.cloned().collect())))
        })
        .collect();
    let end = plan.busy_ms;
    let over = || world.findings().is_violated() || world.network.trace.is_over();
    while world.now_ms() < end && !over() {
        pass(LOOK_EVERY_MS).await;
        world.look_at_panics();
    }
    let deadline = end + FINISH_MS_MAX;
    for (waits, aside, user) in users {
        // Who waits for the store is let wait until it answers, or is found not to.
        while !user.is_finished() && (waits.get() || world.now_ms() < deadline) && !over() {
            pass(LOOK_EVERY_MS).await;
        }
        user.abort();
        // What is written after agreement is not compared with the server any more.
        while aside.get() > 0 && world.now_ms() < deadline && !over() {
            pass(LOOK_EVERY_MS).await;
        }
    }
    faults.end();
}

/// What a world came to.
pub(crate) fn outcome(
    world: &World,
    trace: &TraceLog,
    faults: &inject::Faults,
    settled_from: u64,
) -> Outcome {
    let violations = world.findings().violations();
    let story = violations
        .first()
        .map_or_else(Vec::new, |violation| story(world, violation));
    let clients = &world.clients;
    let effects = faults.effects(world);
    if ["C3", "C5", "C7"].iter().any(|id| effects.contains_key(id)) {
        world.findings().seen("commit failed");
    }
    if effects.contains_key("C7") {
        world.findings().seen("disk full");
    }
    let outcome = Outcome {
        trace_hash: trace.hash(),
        trace_lines: trace.len(),
        elapsed_ms: world.now_ms(),
        settled_ms: world.now_ms().saturating_sub(settled_from),
        acknowledged: clients
            .iter()
            .map(|client| client.judge().ledger(|ledger| ledger.acknowledged()))
            .sum(),
        crashes: clients.iter().map(crate::client::SimClient::crashes).sum(),
        faults: faults.counts(),
        phases: faults.phases(),
        effects,
        sometimes: world.findings().sometimes(),
        violations,
        recent: trace.recent(),
        story,
        recording: trace.recording(),
    };
    world.findings().close();
    outcome
}

/// How the record that a violation is about came to be what it is: on the client, and on the server.
fn story(world: &World, violation: &Violation) -> Vec<String> {
    let Some(key) = violation.key.as_deref().and_then(|key| key.split_once('/')) else {
        return Vec::new();
    };
    let key = landfall::RecordKey::new(key.0, landfall::RecordId::text(key.1));
    let mut lines = Vec::new();
    for client in &world.clients {
        if client.name() == violation.who || violation.who == "all" {
            lines.push(format!("the log of {}:", client.name()));
            lines.extend(
                client
                    .judge()
                    .story(&key)
                    .into_iter()
                    .map(|line| format!("  {line}")),
            );
        }
    }
    lines.push("the server:".to_owned());
    lines.extend(
        world
            .network
            .watch(|watch| watch.story(&key))
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines
}

#[cfg(test)]
mod tests;
