//! Simulating an app of one's own: its schema, what its users do, what must be true for it.
//!
//! Owns [`App`] and [`explore`]. Faults, the settings of the server and those of the clients come from a plan, as in every
//! run, and the engine's own oracles look as well, except for those that keep account of single writes: only the app knows
//! what it was promised. What the app says about itself is reported as `APP`. Plans that fail are made small and told in
//! `app/explorer.rs`.
//!
//! Invariant: what a user does in a turn follows from the seed, the user and the turn's number, so that leaving one turn out
//! leaves the others as they were.

mod explorer;

use std::rc::Rc;
use std::sync::Arc;

use landfall::{DataStore, Error, Schema};

use crate::client::SimClient;
use crate::clock::{pass, within};
use crate::knobs::Knobs;
use crate::plan::{Action, ActionStep, ClientPlan, Plan, Profile, STEPS_MAX, generate_for};
use crate::random::{Seed, Stream};
use crate::run::{Outcome, RunOptions, configured_for, throw_faults_at, trace_for};
use crate::world::{Setup, World, in_virtual_time};

pub use explorer::{Explorer, Found};

/// Longest pause between two actions of a user, in virtual milliseconds.
const PAUSE_MS_MAX: u64 = 1_000;

/// How long a user waits for a store that is off, in virtual milliseconds.
const WAIT_MS: u64 = 200;

/// How long an action may take, in virtual milliseconds; it may wait for the server, and faults last for minutes.
const ACT_MS_MAX: u64 = 30 * 60 * 1_000;

/// An app under simulation: what its users do, and what must be true.
pub trait App {
    /// Does one thing on a user's device; called again and again with pauses between, each time a turn of the plan.
    ///
    /// Whatever is left to chance is drawn from `chance`, or the run cannot be repeated. A store that was closed by a
    /// crash or a disk that failed is no fault of the app's: such errors are passed over, all others are violations.
    fn act(&self, user: &str, store: &DataStore, chance: &Stream) -> impl Future<Output = Result<(), Error>>;

    /// What must be true on every device at any time; says what is not.
    ///
    /// # Errors
    /// What is not as it must be.
    fn always(&self, _user: &str, _store: &DataStore) -> Result<(), String> {
        Ok(())
    }

    /// What must be true on every device in the end, when all were repaired and agree; says what is not.
    ///
    /// # Errors
    /// What is not as it must be.
    fn finally(&self, _user: &str, _store: &DataStore) -> Result<(), String> {
        Ok(())
    }
}

/// How an app is explored.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// What everything follows from.
    pub seed: u64,
    /// Which kinds of faults there are.
    pub profile: Profile,
    /// Names of the users, each with a device: letters and digits, at most [`CLIENTS_MAX`](crate::CLIENTS_MAX) names.
    pub users: Vec<String>,
    /// Virtual time during which users act and things fail, in milliseconds. Of more turns than a plan holds
    /// ([`STEPS_MAX`], some four hours of three users) the last are left out.
    pub busy_ms: u64,
    /// How often each fault happens; the seed turns half of those of the profile off if nothing is said.
    pub knobs: Option<Knobs>,
    /// Whether everything is kept, in [`Outcome::recording`].
    pub record: bool,
}

impl Exploration {
    /// Three users, a minute, everything fails.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            profile: Profile::Chaos,
            users: ["anna", "berta", "carl"].map(str::to_owned).to_vec(),
            busy_ms: 60_000,
            knobs: None,
            record: false,
        }
    }
}

/// Runs an app under one seed. To have what fails made small and told, use an [`Explorer`].
///
/// # Panics
/// If the schema makes no backend, or the exploration no plan ([`Exploration::plan`]).
pub fn explore<A: App + 'static>(schema: &Arc<Schema>, app: A, exploration: &Exploration) -> Outcome {
    let options = RunOptions {
        record: exploration.record,
        ..RunOptions::default()
    };
    carry_out(schema, app, &exploration.plan(), options)
}

impl Exploration {
    /// The plan that the seed becomes.
    ///
    /// # Panics
    /// If the users' names are none, too many, not different, or not made of letters and digits; or if `busy_ms` is longer
    /// than a plan may last, or holds more faults than a plan may have.
    pub fn plan(&self) -> Plan {
        let wanted = Some(self.users.len());
        let mut plan = generate_for(self.seed, self.profile, self.knobs, self.busy_ms, wanted);
        for (client, name) in plan.clients.iter_mut().zip(&self.users) {
            client.name.clone_from(name);
        }
        // More users than can be drawn have the settings of an app that changed nothing.
        let drawn = plan.clients.len();
        let more = self.users.iter().skip(drawn);
        plan.clients.extend(more.map(|name| ClientPlan::plain(name)));
        plan.actions = self.turns();
        if let Err(error) = plan.check() {
            panic!("no plan holds this exploration: {error}");
        }
        plan
    }

    /// When each user acts.
    fn turns(&self) -> Vec<ActionStep> {
        let most = STEPS_MAX / self.users.len().max(1);
        let turns_of = |(client, name): (usize, &String)| {
            let pauses = Seed(self.seed).stream(&format!("user {name}"));
            let mut at_ms = 0;
            let turn = move |turn| {
                at_ms += 1 + pauses.below(PAUSE_MS_MAX);
                let action = Action::Turn { turn };
                ActionStep {
                    at_ms,
                    client,
                    action,
                }
            };
            let busy_ms = self.busy_ms;
            (0..)
                .map(turn)
                .take_while(move |step| step.at_ms < busy_ms)
                .take(most)
        };
        let mut steps: Vec<ActionStep> = self.users.iter().enumerate().flat_map(turns_of).collect();
        steps.sort_by_key(|step| (step.at_ms, step.client));
        steps
    }
}

/// Carries a plan out with an app.
fn carry_out<A: App + 'static>(schema: &Arc<Schema>, app: A, plan: &Plan, options: RunOptions) -> Outcome {
    let setup = Setup {
        server: plan.server.clone(),
        clients: plan.clients.clone(),
        configure: configured_for(options, Rc::new(|builder| builder)),
        ..Setup::new(schema, Seed(plan.seed), &[])
    };
    let trace = trace_for(options);
    let app = Rc::new(app);
    in_virtual_time(&trace, async {
        let world = World::new(&setup, &trace);
        if let Some(invariant) = options.only {
            world.findings().only(invariant);
        }
        if let Err(error) = world.boot().await {
            world.violated("E1", &format!("a new store does not open: {error}"));
        }
        let faults = throw_faults_at(&world, plan);
        let users: Vec<_> = (0..world.clients.len())
            .map(|client| {
                actix::spawn(live(
                    Rc::clone(&app),
                    world.clone(),
                    client,
                    turns_of(plan, client),
                ))
            })
            .collect();
        let is_over = || world.findings().is_violated() || trace.is_over();
        while world.now_ms() < plan.busy_ms && !is_over() {
            pass(WAIT_MS).await;
            world.look_at_panics();
            check(&world, "always", |user, store| app.always(user, store));
        }
        faults.end();
        // Whoever is in the middle of something has the time to end it.
        pass(PAUSE_MS_MAX).await;
        let before = world.now_ms();
        if !is_over() {
            world.settle_but_run().await;
        }
        // Whoever still waits for an answer that will not come is found out.
        while users.iter().any(|user| !user.is_finished()) && !is_over() {
            pass(WAIT_MS).await;
        }
        world.look_at_panics();
        if !is_over() {
            check(&world, "in the end", |user, store| app.finally(user, store));
        }
        crate::run::outcome(&world, &trace, &faults, before)
    })
}

/// The turns of one user, and what is left to chance in each.
fn turns_of(plan: &Plan, client: usize) -> Turns {
    let steps = plan.actions.iter().filter(|step| step.client == client);
    let turn = |step: &ActionStep| match step.action {
        Action::Turn { turn } => Some((step.at_ms, turn)),
        _ => None,
    };
    Turns {
        seed: Seed(plan.seed),
        turns: steps.filter_map(turn).collect(),
        end_ms: plan.busy_ms,
    }
}

/// When a user acts.
struct Turns {
    seed: Seed,
    /// Time and number.
    turns: Vec<(u64, u32)>,
    end_ms: u64,
}

async fn live<A: App>(app: Rc<A>, world: World, client: usize, turns: Turns) {
    let client = world.clients[client].clone();
    for (at_ms, turn) in turns.turns {
        pass(at_ms.saturating_sub(world.now_ms())).await;
        let Some(store) = running(&world, &client, turns.end_ms).await else {
            return;
        };
        client.note(&format!("turn {turn}"));
        let chance = turns.seed.stream(&format!("turn {turn} of {}", client.name()));
        let done = within(ACT_MS_MAX, app.act(client.name(), &store, &chance)).await;
        // What it was told by now must be there from here on, whatever happens.
        client.judge().look();
        match done {
            Some(Ok(()) | Err(Error::Closed | Error::Storage(_))) => {}
            Some(Err(error)) => world.violated("APP", &format!("{}: {error}", client.name())),
            None => {
                let minutes = ACT_MS_MAX / 60_000;
                let what = format!("an action of {} did not end in {minutes} minutes", client.name());
                world.violated("E1", &what);
            }
        }
    }
}

/// The user's store, once it is on; `None` if the time is over before.
async fn running(world: &World, client: &SimClient, end_ms: u64) -> Option<DataStore> {
    loop {
        if world.now_ms() >= end_ms || world.findings().is_violated() {
            return None;
        }
        if let Some(store) = client.running() {
            return Some(store);
        }
        pass(WAIT_MS).await;
    }
}

fn check(world: &World, when: &str, holds: impl Fn(&str, &DataStore) -> Result<(), String>) {
    for client in &world.clients {
        let Some(store) = client.running() else { continue };
        if let Err(what) = holds(client.name(), &store) {
            world.violated("APP", &format!("{when}, {}: {what}", client.name()));
        }
    }
}
