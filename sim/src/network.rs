//! The network of a simulation: links between clients and the backend, with delay, loss and partitions.
//!
//! Owns [`Network`] and the simulated [`Transport`]. The backend runs in process; a request takes its way to it and
//! back in virtual time, and can be lost, refused or cut off on either. What a link suffers from is `network/link.rs`.

mod link;
mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use landfall::Schema;
use landfall_backend::{Backend, HttpCall, HttpReply};
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, Transport, TransportError};

use crate::clock::{SimClock, pass};
use crate::oracle::{Findings, ServerWatch};
use crate::random::Seed;
use crate::trace::{Arrow, TraceLog};
pub use link::{Link, LinkFaults, Rewrite, Trouble};

/// The key that clients of a simulation present.
pub const API_KEY: &str = "da2-simulation";

/// How many requests of one client are on their way at most before the simulation calls it a flood; the engine's own
/// bound is the number of its lanes and models.
pub(crate) const OPEN_REQUESTS_MAX: u64 = 200;

/// Errors by which mutations are answered that the service itself has failed.
pub(crate) const SERVICE_ERRORS: [&str; 2] = ["DeltaSyncWriteError", "MaxConflicts"];

/// A backend and the links to it.
#[derive(Clone)]
pub struct Network {
    pub(crate) backend: Arc<Backend>,
    pub(crate) clock: SimClock,
    pub(crate) trace: TraceLog,
    watch: Arc<Mutex<ServerWatch>>,
    findings: Findings,
    seed: Seed,
    ahead_ms: Arc<AtomicI64>,
    links: Arc<Mutex<BTreeMap<String, Arc<Link>>>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    /// A network around a backend.
    pub fn new(
        schema: Arc<Schema>,
        backend: Arc<Backend>,
        clock: SimClock,
        trace: TraceLog,
        seed: Seed,
    ) -> Self {
        let watch = ServerWatch::new(schema, Arc::clone(&backend));
        Self {
            backend,
            clock,
            trace,
            watch: Arc::new(Mutex::new(watch)),
            findings: Findings::default(),
            seed,
            ahead_ms: Arc::default(),
            links: Arc::default(),
        }
    }

    /// Sets how far the server's clock is ahead of the clients', in milliseconds.
    pub fn set_server_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::SeqCst);
    }

    /// The server's clock, in milliseconds since 1970.
    pub fn server_ms(&self) -> i64 {
        self.clock
            .unix_ms()
            .saturating_add(self.ahead_ms.load(Ordering::SeqCst))
    }

    /// The time.
    pub fn clock(&self) -> SimClock {
        self.clock
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The link of a client; made at first use.
    pub fn link(&self, client: &str) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links
            .entry(client.to_owned())
            .or_insert_with(|| Arc::new(Link::new(client, self.seed.stream(&format!("link {client}")))));
        Arc::clone(link)
    }

    /// A client's way to the backend.
    pub fn transport(&self, client: &str) -> Arc<dyn Transport> {
        Arc::new(SimTransport {
            network: self.clone(),
            link: self.link(client),
        })
    }

    /// What the oracles found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    pub(crate) fn note(&self, link: &Link, what: &str) {
        self.trace
            .note(self.clock.elapsed_ms(), &format!("{} network", link.name()), what);
    }

    /// What the server did, as the simulation saw it.
    pub(crate) fn watch<T>(&self, look: impl FnOnce(&mut ServerWatch) -> T) -> T {
        look(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct SimTransport {
    network: Network,
    link: Arc<Link>,
}

impl Transport for SimTransport {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (network, link) = (self.network.clone(), Arc::clone(&self.link));
        Box::pin(async move {
            link.begin_request();
            let result = execute(&network, &link, request).await;
            link.end_request();
            result
        })
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
    pass(link.base().timeout_ms).await;
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
    let mut arrow = Arrow::new(
        link.name(),
        request.operation.as_str(),
        network.clock.elapsed_ms(),
    );
    let result = travel(network, link, request, &mut arrow).await;
    network.trace.arrow(arrow);
    result
}

async fn travel(
    network: &Network,
    link: &Link,
    request: HttpRequest,
    arrow: &mut Arrow,
) -> Result<HttpResponse, TransportError> {
    pass(link.delay_ms()).await;
    if link.is_cut() || link.request_lost() || link.hangs() {
        network.note(link, &format!("{} lost", request.operation));
        return Err(interrupted(link).await);
    }
    if let Some(refusal) = link.refusal(request.operation.as_str()) {
        network.note(
            link,
            &format!("{} refused with {}", request.operation, refusal.status),
        );
        pass(link.delay_ms()).await;
        arrow.back(network.clock.elapsed_ms());
        return Ok(refusal);
    }
    let now_ms = network.server_ms();
    let call = HttpCall::post(API_KEY, request.body.clone());
    network.trace.mix(request.body.as_bytes());
    let mut reply = network.backend.handle_http(now_ms, &call);
    network.trace.mix(&reply.body);
    // Most replies are pages and records, in which nobody has to look.
    if reply.errors > 0 {
        for error in SERVICE_ERRORS {
            let mut parts = reply.body.windows(error.len());
            if parts.any(|part| part == error.as_bytes()) {
                link.met(error);
            }
        }
    }
    arrow.arrived(network.clock.elapsed_ms());
    network.note(link, &format!("{} answered {}", request.operation, reply.status));
    network.watch(|watch| {
        watch.saw(link.name(), request.operation.as_str(), &request.body, &reply);
    });
    if let Some(answer) = arrive_again(network, link, &request, call) {
        reply = answer;
    }
    if let Some(lost) = after_the_act(link, &request, &reply) {
        network.note(link, &format!("reply of {} {lost}", request.operation));
        return Err(interrupted(link).await);
    }
    pass(link.delay_ms()).await;
    if link.is_cut() {
        network.note(link, &format!("reply of {} cut off", request.operation));
        return Err(interrupted(link).await);
    }
    arrow.back(network.clock.elapsed_ms());
    if link.fails_after() {
        network.note(link, &format!("reply of {} replaced by 500", request.operation));
        return Ok(HttpResponse::new(500, "{}"));
    }
    let mut body = link.rewritten(request.operation.as_str(), reply.body.to_vec());
    pass(link.transfer_ms(network.clock.elapsed_ms(), request.body.len() + body.len())).await;
    if link.garbles() {
        network.note(link, &format!("reply of {} garbled", request.operation));
        body.truncate(body.len() / 2);
    }
    let operation = request.operation.as_str();
    network.watch(|watch| watch.told(link.name(), operation, &request.body, reply.status, &body));
    Ok(HttpResponse::new(reply.status, body))
}

/// Has a request reach the server a second time, if the link does so; the answer, if that is the one that arrives.
fn arrive_again(network: &Network, link: &Link, request: &HttpRequest, call: HttpCall) -> Option<HttpReply> {
    let later_ms = link.doubles_request()?;
    let (network, link) = (network.clone(), network.link(link.name()));
    let (operation, body) = (request.operation.clone(), request.body.clone());
    let arrive = move || {
        network.note(&link, &format!("{operation} arrived once more"));
        let reply = network.backend.handle_http(network.server_ms(), &call);
        network.watch(|watch| watch.saw_again(link.name(), operation.as_str(), &body, &reply));
        reply
    };
    if later_ms == 0 {
        return Some(arrive());
    }
    actix::spawn(async move {
        pass(later_ms).await;
        arrive();
    });
    None
}

/// Whether the reply is lost although the server acted, and why.
fn after_the_act(link: &Link, request: &HttpRequest, reply: &HttpReply) -> Option<&'static str> {
    if reply.lost || link.reply_lost() {
        return Some("lost");
    }
    let writes = ["Create", "Update", "Delete"]
        .iter()
        .any(|verb| request.operation.as_str().starts_with(verb));
    (writes && link.loses_this_reply()).then_some("lost once")
}
