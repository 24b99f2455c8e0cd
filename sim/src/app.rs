//! Simulating an app of one's own: its schema, what its users do, what must be true for it.
//!
//! Owns [`App`] and [`explore`]. Faults, the settings of the server and those of the clients come from a plan, as in every run,
//! and the engine's own oracles look as well, except for those that keep account of single writes: only the app knows
//! what it was promised. What the app says about itself is reported as `APP`.

use std::rc::Rc;
use std::sync::Arc;

use landfall::{DataStore, Error, Schema};

use crate::client::SimClient;
use crate::clock::{pass, within};
use crate::knobs::Knobs;
use crate::plan::{ClientPlan, Profile, generate_for};
use crate::random::{Seed, Stream};
use crate::run::{Outcome, throw_faults_at};
use crate::trace::TraceLog;
use crate::world::{Setup, World, in_virtual_time};

/// Longest pause between two actions of a user, in virtual milliseconds.
const PAUSE_MS_MAX: u64 = 1_000;

/// How long a user waits for a store that is off, in virtual milliseconds.
const WAIT_MS: u64 = 200;

/// How long an action may take, in virtual milliseconds; it may wait for the server, and faults last for minutes.
const ACT_MS_MAX: u64 = 30 * 60 * 1_000;

/// An app under simulation: what its users do, and what must be true.
pub trait App {
    /// Does one thing on a user's device; called again and again with pauses between.
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
    /// Names of the users, each with a device.
    pub users: Vec<String>,
    /// Virtual time during which users act and things fail, in milliseconds.
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

/// Runs an app under one seed.
///
/// # Panics
/// If the schema makes no backend.
pub fn explore<A: App + 'static>(schema: &Arc<Schema>, app: A, exploration: &Exploration) -> Outcome {
    let trace = TraceLog::default();
    let users = exploration.users.len();
    let mut plan = generate_for(
        exploration.seed,
        exploration.profile,
        exploration.knobs,
        exploration.busy_ms,
        Some(users),
    );
    for (client, name) in plan.clients.iter_mut().zip(&exploration.users) {
        client.name.clone_from(name);
    }
    // More users than can be drawn have the settings of an app that changed nothing.
    let drawn = plan.clients.len();
    let more = exploration.users.iter().skip(drawn);
    plan.clients.extend(more.map(|name| ClientPlan::plain(name)));
    let setup = Setup {
        server: plan.server.clone(),
        clients: plan.clients.clone(),
        ..Setup::new(schema, Seed(exploration.seed), &[])
    };
    if exploration.record {
        trace.record();
    }
    let app = Rc::new(app);
    in_virtual_time(&trace, async {
        let world = World::new(&setup, &trace);
        if let Err(error) = world.boot().await {
            world.violated("E1", &format!("a new store does not open: {error}"));
        }
        let faults = throw_faults_at(&world, &plan);
        let users: Vec<_> = world
            .clients
            .iter()
            .map(|client| {
                let chance = Seed(exploration.seed).stream(&format!("user {}", client.name()));
                actix::spawn(live(
                    Rc::clone(&app),
                    world.clone(),
                    client.clone(),
                    chance,
                    exploration.busy_ms,
                ))
            })
            .collect();
        while world.now_ms() < exploration.busy_ms && !world.findings().is_violated() {
            pass(WAIT_MS).await;
            world.look_at_panics();
            check(&world, "always", |user, store| app.always(user, store));
        }
        faults.end();
        // Whoever is in the middle of something has the time to end it.
        pass(PAUSE_MS_MAX).await;
        let before = world.now_ms();
        if !world.findings().is_violated() {
            world.settle_but_run().await;
        }
        // Whoever still waits for an answer that will not come is found out.
        while users.iter().any(|user| !user.is_finished()) && !world.findings().is_violated() {
            pass(WAIT_MS).await;
        }
        if !world.findings().is_violated() {
            check(&world, "in the end", |user, store| app.finally(user, store));
        }
        crate::run::outcome(&world, &trace, &faults, before)
    })
}

async fn live<A: App>(app: Rc<A>, world: World, client: SimClient, chance: Stream, busy_ms: u64) {
    while world.now_ms() < busy_ms && !world.findings().is_violated() {
        pass(1 + chance.below(PAUSE_MS_MAX)).await;
        let Some(store) = client.running() else {
            pass(WAIT_MS).await;
            continue;
        };
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

fn check(world: &World, when: &str, holds: impl Fn(&str, &DataStore) -> Result<(), String>) {
    for client in &world.clients {
        let Some(store) = client.running() else { continue };
        if let Err(what) = holds(client.name(), &store) {
            world.violated("APP", &format!("{when}, {}: {what}", client.name()));
        }
    }
}
