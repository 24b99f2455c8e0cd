//! No leaks: after many rounds of start, stop and clear a store is as small as after the first.
//!
//! What is counted: connections and subscriptions at the server, requests on their way, holders of the store's clock
//! (each actor, timer and task has one), and what the actors do while nothing happens, which would grow with every
//! timer and listener that is left over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall::{Clock, DataStore, Disk, Env, Immediate, ModelQuery, Trace};
use landfall_sim::disk::SimDisk;
use landfall_sim::{Seed, WallClock, pass};

use crate::support::{MINUTE_MS, Note, World, config, schema, simulate};

/// Rounds of start, stop and clear.
const ROUNDS: usize = 60;

/// An hour without anything to do.
const IDLE_MS: u64 = 60 * MINUTE_MS;

/// Counts what actors handle.
#[derive(Default)]
struct Counting(AtomicU64);

impl Trace for Counting {
    fn handled(&self, _: u64, _: &'static str, _: &'static str) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A store, and what it holds on to.
struct Watched {
    world: World,
    store: DataStore,
    clock: Arc<dyn Clock>,
    handled: Arc<Counting>,
}

/// What is open and who is there.
#[derive(Debug, PartialEq, Eq)]
struct Size {
    /// Connections at the server, and subscriptions on them.
    server: (usize, usize),
    sockets: u64,
    holders: usize,
    /// Requests that were sent, and messages that actors handled, in an idle hour.
    idle: (u64, u64),
}

impl Watched {
    fn open() -> Self {
        let world = World::new(config());
        let clock: Arc<dyn Clock> = Arc::new(WallClock::new(world.clock, 0));
        let handled = Arc::new(Counting::default());
        let env = Env {
            clock: Arc::clone(&clock),
            entropy: Arc::new(Seed(7).stream("leaks")),
            transport: Some(world.network.transport("anna")),
            trace: Arc::clone(&handled) as Arc<dyn Trace>,
            schedule: Arc::new(Immediate),
            flight: landfall::flight::Flight::default(),
            meter: landfall_actors::Meter::default(),
        };
        let store = DataStore::builder(schema())
            .disk(Disk::Custom(SimDisk::new(7).opener()))
            .open_in(env)
            .expect("a new disk is well");
        Self {
            world,
            store,
            clock,
            handled,
        }
    }

    /// What is left when the last round has settled.
    async fn size(&self) -> Size {
        pass(10 * MINUTE_MS).await;
        let link = self.world.network.link("anna");
        let before = (link.requests_total(), self.handled.0.load(Ordering::SeqCst));
        pass(IDLE_MS).await;
        let after = (link.requests_total(), self.handled.0.load(Ordering::SeqCst));
        Size {
            server: self.world.backend.realtime_population(),
            sockets: link.sockets(),
            holders: Arc::strong_count(&self.clock),
            idle: (after.0 - before.0, after.1 - before.1),
        }
    }

    /// Starts, writes, listens, observes, and gives up all of it; every third time in the middle.
    async fn round(&self, number: usize) {
        let store = &self.store;
        store.start().await.expect("it runs");
        let mut events = store.hub().await.expect("it runs");
        let mut changes = store.observe(Note::text().ne("")).await.expect("it runs");
        let result = store
            .observe_query(ModelQuery::<Note>::all())
            .await
            .expect("it runs");
        if !number.is_multiple_of(3) {
            assert!(store.ready().await.expect("it runs"));
        }
        let note = Note::builder().text("round").build().expect("it is valid");
        store.save(note).await.expect("the disk is well");
        assert!(changes.next().await.is_some());
        if number % 3 == 1 {
            pass(MINUTE_MS).await;
        }
        drop((result, changes));
        if number.is_multiple_of(2) {
            store.clear().await.expect("it runs");
        }
        store.stop().await.expect("it runs");
        while events.try_next().is_some() {}
    }
}

#[test]
fn after_many_starts_stops_and_clears_nothing_is_left_over() {
    simulate(async {
        let watched = Watched::open();
        watched.round(0).await;
        watched.round(1).await;
        let stopped = watched.size().await;
        assert_eq!((stopped.server, stopped.sockets), ((0, 0), 0));
        assert_eq!(stopped.idle.0, 0, "who is stopped sends nothing: {stopped:?}");
        watched.store.start().await.expect("it runs");
        let started = watched.size().await;
        assert_eq!((started.server, started.sockets), ((1, 3), 1));
        for number in 0..ROUNDS {
            watched.round(number).await;
        }
        assert_eq!(watched.size().await, stopped, "stopped, after {ROUNDS} rounds");
        watched.store.start().await.expect("it runs");
        assert_eq!(watched.size().await, started, "started, after {ROUNDS} rounds");
        // And a store that is closed lets go of everything.
        watched.store.halt();
        let Watched {
            world, store, clock, ..
        } = watched;
        drop(store);
        pass(MINUTE_MS).await;
        assert_eq!(Arc::strong_count(&clock), 1, "nobody is left");
        assert_eq!(world.backend.realtime_population(), (0, 0));
    });
}
