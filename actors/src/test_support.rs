//! What the tests of this crate share: actors on paused time, and an environment whose chance is a counter.
//!
//! Owns the pretence that a test is alone in the world: time passes only when every actor waits for it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use landfall_storage::{Disk, InMemoryBackend, OpenBackend, StorageBackend};
use landfall_wire::Transport;
use tokio::sync::mpsc;

use crate::env::{Clock, Entropy, Env, Immediate, NoTrace};
use crate::port::{Envelope, Message, Port};

/// Time that passes only while nobody has anything to do.
pub(crate) struct SimTime {
    start: tokio::time::Instant,
}

impl SimTime {
    /// Begins at zero. Only within [`on_paused_time`].
    #[allow(clippy::disallowed_methods)] // Paused time is the test's, not the operating system's.
    pub(crate) fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// Lets milliseconds pass.
    pub(crate) async fn pass(ms: u64) {
        actix::clock::sleep(Duration::from_millis(ms)).await;
    }
}

impl Clock for SimTime {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a test takes less than an age")
    }

    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.now_ms()).expect("a test takes less than an age")
    }
}

/// Counts up; jitter and identifiers are then the same in every run.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Entropy for Counter {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// An environment whose time begins now. Only within [`on_paused_time`].
pub(crate) fn paused_env(transport: Option<Arc<dyn Transport>>) -> Env {
    Env {
        clock: Arc::new(SimTime::new()),
        entropy: Arc::new(Counter::default()),
        transport,
        trace: Arc::new(NoTrace),
        schedule: Arc::new(Immediate),
        flight: crate::flight::Flight::default(),
        meter: crate::meter::Meter::default(),
    }
}

/// Runs a test on one thread with actors and paused time.
pub(crate) fn on_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output needs nothing from the system")
    };
    actix::System::with_tokio_rt(runtime).block_on(test)
}

/// Stands where an actor would, and passes on what it is told and when.
struct Ear<M> {
    env: Env,
    heard: mpsc::UnboundedSender<(u64, M)>,
}

impl<M: Message + Unpin> Actor for Ear<M> {
    type Context = Context<Self>;
}

impl<M: Message + Unpin> Handler<Envelope<M>> for Ear<M> {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<M>, _: &mut Context<Self>) {
        // A test that has heard enough drops its end.
        self.heard
            .send((self.env.clock.now_ms(), envelope.into_message()))
            .unwrap_or(());
    }
}

/// A port, and the end at which a test hears what is told there.
pub(crate) fn ear<M: Message + Unpin>(env: &Env) -> (Port<M>, mpsc::UnboundedReceiver<(u64, M)>) {
    let (heard, told) = mpsc::unbounded_channel();
    (
        Port::new(
            &Ear {
                env: env.clone(),
                heard,
            }
            .start(),
            env.clone(),
        ),
        told,
    )
}

/// A disk whose bytes outlive its databases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platter(Arc<InMemoryBackend>);

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(&*self.0, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        StorageBackend::write(&*self.0, offset, data)
    }
}

impl Platter {
    pub(crate) fn disk(&self) -> Disk {
        let opened = self.clone();
        let open: OpenBackend = Arc::new(move || Ok(Box::new(opened.clone())));
        Disk::Custom(open)
    }

    /// Damages every place that holds these bytes.
    pub(crate) fn damage(&self, bytes: &[u8]) {
        let length = usize::try_from(self.len().expect("it has a length")).expect("small");
        let mut all = vec![0; length];
        StorageBackend::read(self, 0, &mut all).expect("it can be read");
        let places: Vec<usize> = (0..length).filter(|at| all[*at..].starts_with(bytes)).collect();
        assert!(!places.is_empty(), "it was written");
        for at in places {
            StorageBackend::write(self, at as u64, b"\xff").expect("it can be written");
        }
    }
}
