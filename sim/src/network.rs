//! The network of a simulation: links between clients and the backend, with delay, loss and partitions.
//!
//! Owns [`Network`], [`Link`] and the simulated [`Transport`]. The backend runs in process; a request takes its way to
//! it and back in virtual time, and can be cut off on either.

mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use landfall_backend::{Backend, HttpCall};
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, Transport, TransportError};

use crate::clock::{SimClock, pass};
use crate::random::{Seed, Stream};
use crate::trace::TraceLog;

/// The key that clients of a simulation present.
pub const API_KEY: &str = "da2-simulation";

/// How a link behaves. Probabilities are per mille, durations in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFaults {
    /// Shortest way, one direction.
    pub delay_ms_min: u64,
    /// Longest way, one direction.
    pub delay_ms_max: u64,
    /// Requests that are lost before the backend sees them.
    pub lost_request_per_mille: u32,
    /// Replies that are lost after the backend acted.
    pub lost_reply_per_mille: u32,
    /// Requests that the backend answers with a status of 500, 503 or 429 instead of acting.
    pub failed_per_mille: u32,
    /// How long a client waits for a reply that will not come.
    pub timeout_ms: u64,
}

impl LinkFaults {
    /// A link without faults.
    pub const CALM: Self = Self {
        delay_ms_min: 5,
        delay_ms_max: 40,
        lost_request_per_mille: 0,
        lost_reply_per_mille: 0,
        failed_per_mille: 0,
        timeout_ms: 30_000,
    };

    /// A link on a bad day.
    pub const ROUGH: Self = Self {
        delay_ms_min: 5,
        delay_ms_max: 900,
        lost_request_per_mille: 40,
        lost_reply_per_mille: 60,
        failed_per_mille: 30,
        timeout_ms: 30_000,
    };
}

/// A backend and the links to it.
#[derive(Clone)]
pub struct Network {
    pub(crate) backend: Arc<Backend>,
    pub(crate) clock: SimClock,
    pub(crate) trace: TraceLog,
    seed: Seed,
    links: Arc<Mutex<BTreeMap<String, Arc<Link>>>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

/// The way between one client and the backend.
#[derive(Debug)]
pub struct Link {
    name: String,
    cut: AtomicBool,
    /// Raised whenever open sockets break.
    broken: AtomicU64,
    changed: Notify,
    faults: Mutex<LinkFaults>,
    chance: Stream,
}

impl Network {
    /// A network around a backend.
    pub fn new(backend: Arc<Backend>, clock: SimClock, trace: TraceLog, seed: Seed) -> Self {
        Self {
            backend,
            clock,
            trace,
            seed,
            links: Arc::default(),
        }
    }

    /// The link of a client; made at first use.
    pub fn link(&self, client: &str) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(client.to_owned()).or_insert_with(|| {
            Arc::new(Link {
                name: client.to_owned(),
                cut: AtomicBool::new(false),
                broken: AtomicU64::new(0),
                changed: Notify::new(),
                faults: Mutex::new(LinkFaults::CALM),
                chance: self.seed.stream(&format!("link {client}")),
            })
        });
        Arc::clone(link)
    }

    /// A client's way to the backend.
    pub fn transport(&self, client: &str) -> Arc<dyn Transport> {
        Arc::new(SimTransport {
            network: self.clone(),
            link: self.link(client),
        })
    }

    pub(crate) fn note(&self, link: &Link, what: &str) {
        self.trace
            .note(self.clock.elapsed_ms(), &format!("{} network", link.name), what);
    }
}

impl Link {
    /// Cuts the link: nothing passes, and open sockets break.
    pub fn partition(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.break_sockets();
    }

    /// Repairs the link.
    pub fn repair(&self) {
        self.cut.store(false, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Breaks open sockets; requests still pass.
    pub fn break_sockets(&self) {
        self.broken.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Sets how the link behaves.
    pub fn set_faults(&self, faults: LinkFaults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.broken.load(Ordering::SeqCst)
    }

    /// Waits until sockets of that generation are broken.
    pub(crate) async fn broken_since(&self, generation: u64) {
        loop {
            let changed = self.changed.notified();
            if self.generation() != generation {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn faults(&self) -> LinkFaults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long one way takes this time.
    pub(crate) fn delay_ms(&self) -> u64 {
        let faults = self.faults();
        faults.delay_ms_min
            + self
                .chance
                .below(faults.delay_ms_max.saturating_sub(faults.delay_ms_min) + 1)
    }

    pub(crate) fn happens(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.chance.happens(per_mille)
    }
}

struct SimTransport {
    network: Network,
    link: Arc<Link>,
}

impl Transport for SimTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (network, link) = (self.network.clone(), Arc::clone(&self.link));
        Box::pin(async move { execute(&network, &link, request).await })
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let (network, link) = (self.network.clone(), Arc::clone(&self.link));
        Box::pin(async move { socket::connect(network, link).await })
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        let mut members = serde_json::Map::new();
        members.insert("host".to_owned(), "simulation".into());
        members.insert("x-api-key".to_owned(), API_KEY.into());
        Box::pin(std::future::ready(Ok(Credentials::new(members))))
    }

    fn endpoint(&self) -> &'static str {
        "simulation"
    }
}

pub(crate) fn unreachable() -> TransportError {
    TransportError::Unreachable {
        reason: "the link is cut".to_owned(),
    }
}

async fn interrupted(link: &Link) -> TransportError {
    pass(link.faults().timeout_ms).await;
    TransportError::Interrupted {
        reason: "no reply in time".to_owned(),
    }
}

async fn execute(
    network: &Network,
    link: &Link,
    request: HttpRequest,
) -> Result<HttpResponse, TransportError> {
    if link.is_cut() {
        network.note(link, &format!("{} not sent", request.operation));
        return Err(unreachable());
    }
    pass(link.delay_ms()).await;
    let faults = link.faults();
    if link.is_cut() || link.happens(faults.lost_request_per_mille) {
        network.note(link, &format!("{} lost", request.operation));
        return Err(interrupted(link).await);
    }
    if link.happens(faults.failed_per_mille) {
        let status = [500, 503, 429][usize::try_from(link.chance.below(3)).unwrap_or(0)];
        network.note(link, &format!("{} refused with {status}", request.operation));
        pass(link.delay_ms()).await;
        return Ok(HttpResponse::new(status, "{}"));
    }
    let call = HttpCall::post(API_KEY, request.body);
    let reply = network.backend.handle_http(network.clock.unix_ms(), &call);
    network.note(link, &format!("{} answered {}", request.operation, reply.status));
    if link.happens(faults.lost_reply_per_mille) || reply.lost {
        network.note(link, &format!("reply of {} lost", request.operation));
        return Err(interrupted(link).await);
    }
    pass(link.delay_ms()).await;
    if link.is_cut() {
        network.note(link, &format!("reply of {} cut off", request.operation));
        return Err(interrupted(link).await);
    }
    Ok(HttpResponse::new(reply.status, reply.body.to_vec()))
}
