//! What every handler of a server shares.
//!
//! Owns [`Shell`] and [`Stop`]. Invariant: a shell is gone once all calls and sockets are, since each holds one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, broadcast, mpsc};

use super::address::Addresses;
use super::body::Budget;
use super::clock::Clock;
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::work::QueuedJob;
use crate::error::BackendError;
use crate::faults::FaultCommand;
use crate::service::Backend;

/// Most mutations at once that have a conflict handler asked, each on a thread; further callers wait for a place, and those that
/// meet no conflict take none.
pub(super) const ASKING_JOBS_MAX: usize = 32;

/// Most callers at once that an authorizer judges, each on a thread; further callers wait for a place.
pub(super) const JUDGED_AT_ONCE_MAX: usize = 64;

/// Which part of the room for bodies those of one address may take: its fourth.
const ADDRESS_SHARE: usize = 4;

/// Most long bodies and messages that are parsed at once: as many as there are processors, as more would only take memory.
fn parsed_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

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
    /// A place for each mutation that waits for a conflict handler.
    pub(super) asking: Arc<Semaphore>,
    /// A place for each caller that an authorizer judges.
    judging: Arc<Semaphore>,
    /// A place for each long body or message that is parsed.
    pub(super) parsing: Arc<Semaphore>,
    /// A place for each socket.
    pub(super) places: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    /// Room for the bodies of requests whose senders are known.
    pub(super) bodies: Arc<Budget>,
    /// Room for the bodies of all others: a stranger must not take what callers need.
    pub(super) strangers: Arc<Budget>,
    /// Room for calls that were understood, until they are done.
    pub(super) calls: Arc<Budget>,
    /// Room for long replies that wait to be written.
    pub(super) replies: Arc<Budget>,
    /// How many sockets each address has.
    pub(super) addresses: Addresses,
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
            asking: Arc::new(Semaphore::new(ASKING_JOBS_MAX)),
            judging: Arc::new(Semaphore::new(JUDGED_AT_ONCE_MAX)),
            places: Arc::new(Semaphore::new(options.sockets_max.min(Semaphore::MAX_PERMITS))),
            metrics: Arc::default(),
            bodies: Arc::new(Budget::new(options.bodies_bytes_max)),
            strangers: Arc::new(Budget::new(options.strangers_bytes_max)),
            calls: Arc::new(Budget::new(options.calls_bytes_max)),
            replies: Arc::new(Budget::new(options.replies_bytes_max)),
            parsing: Arc::new(Semaphore::new(parsed_at_once())),
            addresses: Addresses::new(
                options.sockets_per_address_max,
                options.bodies_bytes_max / ADDRESS_SHARE,
                options.strangers_bytes_max / ADDRESS_SHARE,
            ),
            options: Arc::new(options),
            alive,
        };
        (shell, sockets)
    }

    /// Lets somebody in, at the time that it is; away from the event loop if it takes long to read, or if an authorizer
    /// has to be asked. Those who really ask have places of their own, so that nobody else waits for them. `None` if that died.
    pub(super) async fn admit<T: Send + 'static>(
        &self,
        asks: bool,
        long: bool,
        admit: impl FnOnce(&Backend, i64) -> T + Send + 'static,
    ) -> Option<T> {
        if !asks && !long {
            return Some(admit(&self.backend, self.clock.now_ms()));
        }
        // What is parsed takes some fifty times its length meanwhile, so that only a few are at a time.
        let places = if asks { &self.judging } else { &self.parsing };
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        let (backend, now_ms) = (Arc::clone(&self.backend), self.clock.now_ms());
        let admitting = tokio::task::spawn_blocking(move || {
            let admitted = admit(&backend, now_ms);
            drop(place);
            admitted
        });
        admitting.await.ok()
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
    finish: Step,
    abort: Step,
}

/// One step of the end. Whoever begins to listen after it was taken hears of it all the same.
#[derive(Debug)]
struct Step {
    is_taken: AtomicBool,
    told: broadcast::Sender<()>,
}

/// A step of the end that is waited for; `None` if it was taken already.
#[derive(Debug)]
pub(super) struct Stopped(Option<broadcast::Receiver<()>>);

impl Step {
    fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            told: broadcast::channel(1).0,
        }
    }

    fn take(&self) {
        self.is_taken.store(true, Ordering::SeqCst);
        // Nobody listens any more if the server ended by itself.
        let _ = self.told.send(());
    }

    fn awaited(&self) -> Stopped {
        // Listens first: what is taken between the two is heard twice, and not missed.
        let told = self.told.subscribe();
        Stopped((!self.is_taken.load(Ordering::SeqCst)).then_some(told))
    }
}

impl Stopped {
    /// Waits until the step is taken.
    pub(super) async fn wait(&mut self) {
        if let Some(told) = &mut self.0 {
            // Without a sender the server is gone, which is its end as well.
            let _ = told.recv().await;
            self.0 = None;
        }
    }
}

impl Stop {
    pub(super) fn new() -> Self {
        Self {
            finish: Step::new(),
            abort: Step::new(),
        }
    }

    /// Nothing new is begun; what runs is finished.
    pub(super) fn finish(&self) {
        self.finish.take();
    }

    /// What still runs is broken off.
    pub(super) fn abort(&self) {
        self.abort.take();
    }

    pub(super) fn finished(&self) -> Stopped {
        self.finish.awaited()
    }

    pub(super) fn aborted(&self) -> Stopped {
        self.abort.awaited()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use landfall_storage::kv::KvStore;

    use super::*;
    use crate::config::BackendConfig;
    use crate::fixtures;

    #[tokio::test]
    async fn only_so_many_are_parsed_at_once_and_none_on_the_event_loop() {
        let kv = KvStore::in_memory().unwrap();
        let backend = Backend::new(
            fixtures::blog(),
            BackendConfig::default(),
            kv,
            crate::serve::os_entropy(),
        );
        let (jobs, _queue) = mpsc::channel(1);
        let (shell, _sockets) = Shell::new(Arc::new(backend.unwrap()), ServeOptions::default(), jobs);
        let most = parsed_at_once();
        let (begun, (word, heard)) = (Arc::new(AtomicUsize::new(0)), std::sync::mpsc::channel::<()>());
        let heard = Arc::new(Mutex::new(heard));
        let event_loop = std::thread::current().id();
        let parse = || {
            let (begun, heard) = (Arc::clone(&begun), Arc::clone(&heard));
            shell.admit(false, true, move |_, _| {
                begun.fetch_add(1, Ordering::SeqCst);
                heard.lock().unwrap().recv().unwrap();
                std::thread::current().id()
            })
        };
        let all = futures_util::future::join_all((0..most + 3).map(|_| parse()));
        let watch = async {
            while begun.load(Ordering::SeqCst) < most {
                tokio::task::yield_now().await;
            }
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            let running = begun.load(Ordering::SeqCst);
            (0..most + 3).for_each(|_| word.send(()).unwrap());
            running
        };
        let (threads, running) = tokio::join!(all, watch);
        assert_eq!(running, most);
        assert!(
            threads
                .into_iter()
                .all(|thread| thread.is_some_and(|thread| thread != event_loop))
        );
    }
}
