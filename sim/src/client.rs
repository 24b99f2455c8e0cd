//! A client of a simulation: a store with its disk, its link, and its crashes.
//!
//! Owns [`SimClient`]. The store is the real one, with real actors and real redb; only disk, network, time and chance
//! are simulated.

use std::sync::Arc;

use landfall::{DataStore, DataStoreBuilder, Disk, Env, Error, Schedule, Schema};

use crate::clock::pass;
use crate::disk::SimDisk;
use crate::network::{Link, Network};
use crate::random::{Seed, Stream};

/// A store that can be crashed and started again.
#[derive(Debug)]
pub struct SimClient {
    name: String,
    schema: Arc<Schema>,
    network: Network,
    seed: Seed,
    disk: SimDisk,
    incarnation: u32,
    store: Option<DataStore>,
}

/// Holds each hop between actors for a moment, so that more orders are tried than the mailboxes' own.
#[derive(Debug)]
struct Turnstile {
    chance: Stream,
    hold_ms_max: u64,
}

impl Schedule for Turnstile {
    fn hold_ms(&self, _: &'static str) -> u64 {
        self.chance.below(self.hold_ms_max + 1)
    }
}

impl SimClient {
    /// A client that is switched off.
    pub fn new(name: &str, schema: Arc<Schema>, network: Network, seed: Seed) -> Self {
        let disk = SimDisk::new(seed.stream(&format!("disk {name}")).bits());
        Self {
            name: name.to_owned(),
            schema,
            network,
            seed,
            disk,
            incarnation: 0,
            store: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its link to the backend.
    pub fn link(&self) -> Arc<Link> {
        self.network.link(&self.name)
    }

    /// Its store.
    ///
    /// # Panics
    /// If it is switched off.
    pub fn store(&self) -> &DataStore {
        self.store.as_ref().expect("the client is switched on")
    }

    /// Opens the store and starts to sync.
    ///
    /// # Errors
    /// What opening or starting says.
    pub async fn boot(&mut self) -> Result<(), Error> {
        self.boot_with(|builder| builder).await
    }

    /// As [`boot`](Self::boot), with settings of the caller's.
    ///
    /// # Errors
    /// What opening or starting says.
    pub async fn boot_with(
        &mut self,
        set: impl FnOnce(DataStoreBuilder) -> DataStoreBuilder,
    ) -> Result<(), Error> {
        self.incarnation += 1;
        let of_this_life = format!("{} {}", self.name, self.incarnation);
        let turnstile = self.seed.stream(&format!("schedule {}", self.name));
        let env = Env {
            clock: Arc::new(self.network.clock),
            entropy: Arc::new(self.seed.stream(&of_this_life)),
            transport: Some(self.network.transport(&self.name)),
            trace: Arc::new(self.network.trace.of_client(&of_this_life)),
            // On every other seed messages pass at once, which is an order worth trying as well.
            schedule: Arc::new(Turnstile {
                hold_ms_max: turnstile.below(2) * turnstile.below(4),
                chance: turnstile,
            }),
        };
        let builder = DataStore::builder(&self.schema).disk(Disk::Custom(self.disk.opener()));
        let store = set(builder).open_in(env)?;
        store.start().await?;
        self.store = Some(store);
        Ok(())
    }

    /// Switches it off in good order.
    ///
    /// # Errors
    /// What stopping says.
    pub async fn shut_down(&mut self) -> Result<(), Error> {
        if let Some(store) = self.store.take() {
            store.stop().await?;
            store.halt();
            pass(10).await;
        }
        Ok(())
    }

    /// Takes the power away: what was not synced to disk may be gone.
    pub async fn crash(&mut self) {
        self.network
            .trace
            .note(self.network.clock.elapsed_ms(), &self.name, "crash");
        self.disk.crash();
        if let Some(store) = self.store.take() {
            store.halt();
        }
        // The actors end when they next look into their mailboxes.
        pass(10).await;
    }
}
