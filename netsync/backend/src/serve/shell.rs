//! What every handler of a server shares.
//!
//! Owns [`Shell`] and [`Stop`]. Invariant: a shell is gone once all calls and sockets are, since each holds one.

use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast, mpsc};

use super::body::Budget;
use super::clock::Clock;
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::work::QueuedJob;
use crate::error::BackendError;
use crate::faults::FaultCommand;
use crate::service::Backend;

/// What every handler shares.
#[derive(Clone)]
pub(super) struct Shell {
    pub(super) backend: Arc<Backend>,
    pub(super) options: Arc<ServeOptions>,
    pub(super) clock: Arc<Clock>,
    pub(super) stop: Arc<Stop>,
    pub(super) jobs: mpsc::Sender<QueuedJob>,
    /// A place for each query that may run.
    pub(super) queries: Arc<Semaphore>,
    /// A place for each socket.
    pub(super) places: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    /// Room for the bodies of requests.
    pub(super) bodies: Arc<Budget>,
    /// Held by each realtime connection, so that the server knows when the last is gone.
    pub(super) alive: mpsc::Sender<()>,
}

impl Shell {
    /// A shell, and the channel that ends when all realtime connections have ended.
    pub(super) fn new(
        backend: Arc<Backend>,
        options: ServeOptions,
        jobs: mpsc::Sender<QueuedJob>,
    ) -> (Self, mpsc::Receiver<()>) {
        let (alive, sockets) = mpsc::channel(1);
        let shell = Self {
            backend,
            clock: Arc::default(),
            stop: Arc::new(Stop::new()),
            jobs,
            queries: Arc::new(Semaphore::new(
                options.queries_at_once.clamp(1, Semaphore::MAX_PERMITS),
            )),
            places: Arc::new(Semaphore::new(options.sockets_max.min(Semaphore::MAX_PERMITS))),
            metrics: Arc::default(),
            bodies: Arc::new(Budget::new(options.bodies_bytes_max)),
            options: Arc::new(options),
            alive,
        };
        (shell, sockets)
    }
}

/// Makes something go wrong, or puts it right.
///
/// # Errors
/// [`BackendError::NotInDevelopment`] unless this is a server to develop against; otherwise what the store says.
pub(super) fn inject(
    options: &ServeOptions,
    clock: &Clock,
    backend: &Backend,
    command: FaultCommand,
) -> Result<(), BackendError> {
    if !options.development {
        let what = "faults are injected";
        return Err(BackendError::NotInDevelopment { what });
    }
    tracing::info!(fault = %command, "injected");
    match command {
        FaultCommand::SetClock { unix_ms } => clock.set(unix_ms),
        FaultCommand::MoveClock { ms } => clock.shift(ms),
        _ => {}
    }
    backend.inject(clock.now_ms(), command)
}

/// The end of a server, in two steps.
#[derive(Debug)]
pub(super) struct Stop {
    finish: broadcast::Sender<()>,
    abort: broadcast::Sender<()>,
}

impl Stop {
    fn new() -> Self {
        Self {
            finish: broadcast::channel(1).0,
            abort: broadcast::channel(1).0,
        }
    }

    /// Nothing new is begun; what runs is finished.
    pub(super) fn finish(&self) {
        // Nobody listens any more if the server ended by itself.
        let _ = self.finish.send(());
    }

    /// What still runs is broken off.
    pub(super) fn abort(&self) {
        let _ = self.abort.send(());
    }

    pub(super) fn finished(&self) -> broadcast::Receiver<()> {
        self.finish.subscribe()
    }

    pub(super) fn aborted(&self) -> broadcast::Receiver<()> {
        self.abort.subscribe()
    }
}
