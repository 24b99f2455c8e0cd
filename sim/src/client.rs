//! A client of a simulation: a store with its disk, its link, its clock, and its crashes.
//!
//! Owns [`SimClient`]. The store is the real one, with real actors and real redb; only disk, network, time and chance
//! are simulated. Clones are the same client, so that whatever meets it can be done from anywhere.
//!
//! Invariants: 1. at most one incarnation runs; 2. whoever switches a client off also switches it on again, and what
//! goes wrong meanwhile (power, disk) is tried again until it is up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landfall::{DataStore, DataStoreBuilder, Disk, Env, Error, Schedule, Schema};

use crate::clock::{WallClock, pass, within};
use crate::disk::SimDisk;
use crate::network::{Link, Network};
use crate::oracle::{Bell, Judge};
use crate::plan::ClientPlan;
use crate::random::{Seed, Stream};
use crate::trace::ClientTrace;

/// How long a client whose store does not open waits before it tries again, in virtual milliseconds.
const OPEN_AGAIN_MS: u64 = 500;

/// How often opening is tried; beyond that the store is taken for broken. Every fault ends long before.
const OPENINGS_MAX: u32 = 2_000;

/// How long actors have to end, in virtual milliseconds: they do when they next look into their mailboxes.
const END_MS: u64 = 10;

/// How long a store has to answer a call, in virtual milliseconds; a disk or a network that hangs is given up long before.
pub(crate) const ANSWER_MS_MAX: u64 = 10 * 60 * 1_000;

/// Shortest time between two syncs of everything that a plan can set, in seconds.
const FULL_SYNC_S_MIN: u64 = 1;

/// Changes how each store of a client is opened.
pub type Configure = Rc<dyn Fn(landfall::DataStoreBuilder) -> landfall::DataStoreBuilder>;

/// A store that can be crashed and started again.
#[derive(Clone)]
pub struct SimClient(Rc<Inner>);

struct Inner {
    plan: ClientPlan,
    schema: Arc<Schema>,
    network: Network,
    seed: Seed,
    disk: SimDisk,
    clock: WallClock,
    slow_ms: Arc<AtomicU64>,
    slowed: Arc<AtomicU64>,
    incarnation: Cell<u32>,
    store: RefCell<Option<DataStore>>,
    /// Whether somebody is switching it off or on.
    busy: Cell<bool>,
    syncs: Cell<bool>,
    /// Calls that have not been answered.
    asked: Cell<u32>,
    configure: Configure,
    judge: Judge,
    crashes: Cell<u64>,
}

impl std::fmt::Debug for SimClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimClient({})", self.name())
    }
}

/// Somebody who waits for an answer; gone when the answer is there, or when nobody waits for it any more.
struct Asking(SimClient);

impl Asking {
    fn of(client: &SimClient) -> Self {
        client.0.asked.set(client.0.asked.get() + 1);
        Self(client.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.asked.set(self.0.0.asked.get().saturating_sub(1));
    }
}

/// Holds each hop between actors and each answer for a moment, so that more orders are tried than the mailboxes' own.
struct Turnstile {
    chance: Stream,
    hold_ms_max: u64,
    slow_ms: Arc<AtomicU64>,
    /// How many messages a slow disk has held.
    slowed: Arc<AtomicU64>,
}

impl Schedule for Turnstile {
    fn hold_ms(&self, actor: &'static str) -> u64 {
        let slow = self.slow_ms.load(Ordering::SeqCst);
        if slow > 0 && actor == "StorageActor" {
            self.slowed.fetch_add(1, Ordering::SeqCst);
        }
        let most = if actor == "StorageActor" {
            self.hold_ms_max + slow
        } else {
            self.hold_ms_max
        };
        self.draw(most)
    }

    fn hold_answer_ms(&self, _: &'static str) -> u64 {
        self.draw(self.hold_ms_max)
    }
}

impl Turnstile {
    fn draw(&self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.chance.below(most + 1) }
    }
}

/// Notes what a client's actors handle, and has the judge look after each commit.
struct Watching {
    trace: ClientTrace,
    judge: Bell,
}

impl landfall::Trace for Watching {
    fn handled(&self, now_ms: u64, actor: &'static str, message: &'static str) {
        self.trace.handled(now_ms, actor, message);
        if message == "Commit" || message == "Clear" {
            self.judge.ring();
        }
    }
}

impl SimClient {
    /// A client that is switched off.
    pub fn new(
        plan: ClientPlan,
        schema: Arc<Schema>,
        network: Network,
        seed: Seed,
        configure: Configure,
    ) -> Self {
        let disk = SimDisk::new(seed.stream(&format!("disk {}", plan.name)).bits());
        disk.witnessed_by(&network.trace);
        let clock = WallClock::new(network.clock, plan.clock_ahead_ms);
        let judge = Judge::new(&plan.name, network.clone());
        Self(Rc::new(Inner {
            plan,
            schema,
            network,
            seed,
            disk,
            clock,
            slow_ms: Arc::default(),
            slowed: Arc::default(),
            incarnation: Cell::new(0),
            store: RefCell::new(None),
            busy: Cell::new(false),
            syncs: Cell::new(false),
            asked: Cell::new(0),
            configure,
            judge,
            crashes: Cell::new(0),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.plan.name
    }

    /// Its link to the backend.
    pub fn link(&self) -> Arc<Link> {
        self.0.network.link(self.name())
    }

    /// Its disk.
    pub fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    /// Its wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.0.clock
    }

    /// Who watches what its store does.
    pub fn judge(&self) -> &Judge {
        &self.0.judge
    }

    /// Whether it syncs, or would if it were switched on.
    pub(crate) fn syncs(&self) -> bool {
        self.0.syncs.get()
    }

    /// How many messages a slow disk has held.
    pub(crate) fn slowed(&self) -> u64 {
        self.0.slowed.load(Ordering::SeqCst)
    }

    /// Whether nobody is switching it off or on, so that whoever wants to can.
    pub(crate) fn can_be_switched(&self) -> bool {
        !self.0.busy.get() && self.0.store.borrow().is_some()
    }

    /// Notes that the power goes, and whether something is on its way.
    fn note_cut(&self) {
        self.0.crashes.set(self.0.crashes.get() + 1);
        let findings = self.0.network.findings();
        findings.seen("power cut");
        let pending = self.running().and_then(|store| store.outbox().list(1_000).ok());
        let is_out = |mutation: &landfall::Mutation| mutation.stage == landfall::Stage::InFlight;
        if pending.unwrap_or_default().iter().any(is_out) {
            findings.seen("power cut with changes under way");
        }
    }

    /// How often its power went.
    pub fn crashes(&self) -> u64 {
        self.0.crashes.get()
    }

    /// Its store; `None` while it is switched off.
    pub fn running(&self) -> Option<DataStore> {
        self.0.store.borrow().clone()
    }

    /// Its store.
    ///
    /// # Panics
    /// If it is switched off.
    pub fn store(&self) -> DataStore {
        self.running().expect("the client is switched on")
    }

    /// Has messages to the storage actor wait up to so many milliseconds, as a slow disk would.
    pub fn slow_disk(&self, ms: u64) {
        self.0.slow_ms.store(ms, Ordering::SeqCst);
    }

    /// Opens the store and starts to sync, once.
    ///
    /// # Errors
    /// What opening or starting says.
    pub async fn boot(&self) -> Result<(), Error> {
        self.boot_with(|builder| builder).await
    }

    /// As [`boot`](Self::boot), with settings of the caller's.
    ///
    /// # Errors
    /// What opening or starting says.
    pub async fn boot_with(
        &self,
        set: impl FnOnce(DataStoreBuilder) -> DataStoreBuilder,
    ) -> Result<(), Error> {
        let opened = self.answered("opening and starting", self.open_with(set)).await;
        opened.unwrap_or(Err(Error::Closed))
    }

    /// Waits for the answer to a call. Not to answer at all is a violation, and then there is none.
    pub(crate) async fn answered<T>(&self, call: &str, answer: impl Future<Output = T>) -> Option<T> {
        let asking = Asking::of(self);
        let answer = within(ANSWER_MS_MAX, answer).await;
        drop(asking);
        if answer.is_none() {
            let minutes = ANSWER_MS_MAX / 60_000;
            let what = format!("{call} was not answered in {minutes} minutes");
            self.0.judge.violated("E1", &what);
        }
        answer
    }

    /// Whether somebody waits for the answer to a call.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.asked.get() > 0
    }

    /// Tells the store to start to sync.
    async fn start(&self, store: &DataStore) -> Option<Result<(), Error>> {
        self.answered("start", store.start()).await
    }

    /// Tells the store to stop to sync; whether it says that it has.
    pub(crate) async fn stop(&self, store: &DataStore) -> bool {
        matches!(self.answered("stop", store.stop()).await, Some(Ok(())))
    }

    async fn open_with(&self, set: impl FnOnce(DataStoreBuilder) -> DataStoreBuilder) -> Result<(), Error> {
        let inner = &self.0;
        inner.incarnation.set(inner.incarnation.get() + 1);
        let of_this_life = format!("{} {}", self.name(), inner.incarnation.get());
        let turnstile = Turnstile {
            chance: inner.seed.stream(&format!("schedule {of_this_life}")),
            hold_ms_max: inner.plan.hold_ms_max,
            slow_ms: Arc::clone(&inner.slow_ms),
            slowed: Arc::clone(&inner.slowed),
        };
        let watching = Watching {
            trace: inner.network.trace.of_client(&of_this_life),
            judge: inner.judge.bell(),
        };
        let env = Env {
            clock: Arc::new(inner.clock.clone()),
            entropy: Arc::new(inner.seed.stream(&of_this_life)),
            transport: Some(inner.network.transport(self.name())),
            trace: Arc::new(watching),
            schedule: Arc::new(turnstile),
            flight: landfall::flight::Flight::default(),
            meter: landfall_actors::Meter::default(),
        };
        let boots = inner.disk.boots();
        let builder = DataStore::builder(&inner.schema)
            .disk(Disk::Custom(inner.disk.opener()))
            .page_size(inner.plan.page_size)
            .sync_settings(|settings| settings.mutations_per_request = inner.plan.mutations_per_request)
            .full_sync_interval(Duration::from_secs(inner.plan.full_sync_s.max(FULL_SYNC_S_MIN)))
            .error_handler(inner.judge.error_handler());
        let builder = if inner.plan.accepts_remote {
            builder.conflict_handler(landfall::AcceptRemote)
        } else {
            builder
        };
        let store = set((inner.configure)(builder)).open_in(env)?;
        if inner.disk.boots() != boots {
            store.halt();
            pass(END_MS).await;
            return Err(Error::Closed);
        }
        inner.judge.opened(&store).await;
        store.start().await?;
        inner.syncs.set(true);
        *inner.store.borrow_mut() = Some(store);
        inner.judge.bell().ring();
        Ok(())
    }

    /// Switches it off in good order.
    ///
    /// # Errors
    /// What stopping says.
    pub async fn shut_down(&self) -> Result<(), Error> {
        if let Some(store) = self.running() {
            let stopped = self.answered("stop", store.stop()).await;
            stopped.unwrap_or(Err(Error::Closed))?;
        }
        self.switch_off(false).await;
        Ok(())
    }

    /// Opens the store however often it takes.
    ///
    /// # Errors
    /// The last error, if it takes too often.
    pub async fn boot_until_up(&self) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            match self.boot().await {
                Ok(()) => return Ok(()),
                Err(error) if tries >= OPENINGS_MAX => return Err(error),
                Err(error) => {
                    tries += 1;
                    self.note(&format!("does not open: {error}"));
                    pass(OPEN_AGAIN_MS).await;
                }
            }
        }
    }

    /// Takes the power away and gives it back after a while; what was not synced to disk may be gone.
    ///
    /// Does nothing if the client is off, or is being switched off or on by somebody else.
    pub async fn crash(&self, off_ms: u64) {
        self.off_and_on(off_ms, None, true).await;
    }

    /// As [`SimClient::crash`], with the power going again after so many operations of the recovery.
    pub async fn crash_again(&self, off_ms: u64, again: Option<u64>) {
        self.off_and_on(off_ms, again, true).await;
    }

    /// Closes the store in good order and opens it again after a while.
    pub async fn restart(&self, off_ms: u64) {
        self.restart_with(off_ms, || ()).await;
    }

    /// As [`SimClient::restart`]; `closed` is called while it is closed.
    pub(crate) async fn restart_with(&self, off_ms: u64, closed: impl FnOnce()) {
        if let Some(store) = self.running() {
            // A disk that fails now is one of the faults of the run.
            self.stop(&store).await;
        }
        self.off_and_on_with(off_ms, None, false, closed).await;
    }

    async fn off_and_on(&self, off_ms: u64, again: Option<u64>, power: bool) {
        self.off_and_on_with(off_ms, again, power, || ()).await;
    }

    async fn off_and_on_with(&self, off_ms: u64, again: Option<u64>, power: bool, off: impl FnOnce()) {
        if self.0.busy.replace(true) {
            return;
        }
        self.switch_off(power).await;
        off();
        pass(off_ms).await;
        if let Some(operations) = again {
            self.0.disk.cut_power_after(operations);
        }
        if let Err(error) = self.boot_until_up().await {
            self.0
                .judge
                .violated("E1", &format!("the store does not open again: {error}"));
        }
        self.0.busy.set(false);
    }

    /// Ends the store, by a power cut or in good order.
    pub async fn switch_off(&self, power: bool) {
        self.note(if power { "crash" } else { "closed" });
        if power {
            self.note_cut();
            self.0.disk.crash();
        } else {
            // The process ends, the system goes on: nothing is lost, and whoever was still writing is cut off.
            self.0.disk.cut_power(crate::disk::Survival::Everything);
        }
        let store = self.0.store.borrow_mut().take();
        self.0.judge.closed();
        if let Some(store) = store {
            store.halt();
        }
        pass(END_MS).await;
    }

    /// Waits for power cuts at disk operations, and recovers from them; ends never.
    pub async fn survive(self, after: Rc<Cell<(u64, Option<u64>)>>) {
        loop {
            self.0.disk.power_went().await;
            self.note("power cut at a disk operation");
            self.note_cut();
            let (off_ms, again) = after.replace((0, None));
            // If it is being switched on right now, whoever does so tries again.
            self.off_and_on(off_ms, again, false).await;
        }
    }

    /// Stops syncing for a while.
    pub async fn stop_start(&self, ms: u64) {
        let Some(store) = self.running() else { return };
        if !self.0.syncs.replace(false) {
            return;
        }
        let incarnation = self.0.incarnation.get();
        if self.stop(&store).await {
            self.0.judge.stopped();
        }
        pass(ms).await;
        if self.0.incarnation.get() == incarnation && !self.0.syncs.get() {
            self.0.judge.started();
            self.0.syncs.set(true);
            self.start(&store).await;
        }
    }

    /// Syncs again, whatever kept it from doing so.
    pub async fn resume(&self) {
        let Some(store) = self.running() else { return };
        store.set_online(true).unwrap_or(());
        self.0.judge.started();
        self.0.syncs.set(true);
        self.start(&store).await;
    }

    /// Clears all data, as at sign-out, and starts to sync again.
    pub async fn clear(&self) {
        let Some(store) = self.running() else { return };
        if !self.0.syncs.get() {
            return;
        }
        self.0.judge.clearing();
        if matches!(self.answered("clear", store.clear()).await, Some(Ok(()))) {
            self.0.judge.bell().ring();
            pass(END_MS).await;
            self.start(&store).await;
        }
        self.0.judge.observe_anew(&store).await;
    }

    pub(crate) fn note(&self, what: &str) {
        let now_ms = self.0.network.clock.elapsed_ms();
        self.0.network.trace.note(now_ms, self.name(), what);
    }
}
