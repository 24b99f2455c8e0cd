//! The backend behind HTTP and WebSocket.
//!
//! Owns sockets, the clock and the tasks; everything that answers is in `service.rs`. Mutations that arrive while a
//! commit is under way wait in a queue and are committed together.
//!
//! Paths: `/graphql` (POST, and GET for queries) and `/graphql/realtime` (WebSocket), as AppSync's custom domains have
//! them.
#![allow(
    clippy::disallowed_methods,
    reason = "this file is the shell around the real world: it reads the clock and spawns tasks for the machine"
)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::auth::SUBPROTOCOL;
use crate::entropy::SeededEntropy;
use crate::error::BackendError;
use crate::http::{HttpCall, HttpReply, Refusal, refuse};
use crate::realtime::{ConnectionId, Doorbell, Out};
use crate::service::{Backend, Job};

/// Most mutations in one commit: enough to share its cost, few enough that the first does not wait long for the last.
const BATCH_JOBS_MAX: usize = 256;

/// Most mutations that wait for a commit; further callers wait for a place.
const QUEUE_JOBS_MAX: usize = 1_024;

/// Time between two looks at what is due on realtime connections; keep-alives may be late by it.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two purges: an hour, as tombstones live for weeks.
const PURGE_TICKS: u64 = 3_600;

/// How long a realtime message may take to be written before the connection counts as dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server; it stops when told to, not when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    /// The address it listens on; the port is the real one where 0 was asked for.
    pub local_addr: SocketAddr,
    stop: broadcast::Sender<()>,
    server: JoinHandle<()>,
}

impl ServerHandle {
    /// Stops listening, closes realtime connections, and waits until the calls under way are answered.
    pub async fn shutdown(self) {
        // Nobody listens any more if the server ended by itself.
        let _ = self.stop.send(());
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server did not end in order");
        }
    }

    /// The base URL of the HTTP endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}/graphql", self.local_addr)
    }
}

/// Random bytes seeded by the operating system, for backends that are served to the world.
pub fn os_entropy() -> SeededEntropy {
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(8) {
        word.copy_from_slice(&RandomState::new().build_hasher().finish().to_ne_bytes());
    }
    SeededEntropy::from_seed(seed)
}

/// Serves a backend on an address until it is shut down.
///
/// # Errors
/// [`BackendError::Listen`] if the address cannot be listened on.
pub async fn serve(address: SocketAddr, backend: Arc<Backend>) -> Result<ServerHandle, BackendError> {
    let failed = |error: std::io::Error| BackendError::Listen {
        address: address.to_string(),
        cause: error.to_string(),
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    serve_on(listener, backend).map_err(failed)
}

/// Serves a backend on a listener until it is shut down; must be called inside a tokio runtime.
///
/// # Errors
/// What the system says if the listener has no address.
pub fn serve_on(listener: TcpListener, backend: Arc<Backend>) -> std::io::Result<ServerHandle> {
    let local_addr = listener.local_addr()?;
    let (stop, _) = broadcast::channel(1);
    let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
    let body_bytes_max = backend.config().limits.body_bytes_max;
    let shell = Shell {
        backend: Arc::clone(&backend),
        jobs,
        stop: stop.clone(),
        asking: Arc::new(Semaphore::new(ASKING_JOBS_MAX)),
    };
    let routes = Router::new()
        .route("/graphql", any(call))
        .route("/graphql/realtime", get(upgrade))
        // The service refuses bodies that are too long in its own words; this only keeps them out of memory.
        .layer(DefaultBodyLimit::max(body_bytes_max + 1))
        .layer(middleware::from_fn(allow_browsers))
        .with_state(shell);
    let writer = tokio::spawn(write_jobs(Arc::clone(&backend), queue));
    let clock = tokio::spawn(keep_time(backend, stop.subscribe()));
    let mut stopped = stop.subscribe();
    let server = tokio::spawn(async move {
        let until_stopped = async move {
            let _ = stopped.recv().await;
        };
        if let Err(error) = axum::serve(listener, routes)
            .with_graceful_shutdown(until_stopped)
            .await
        {
            tracing::error!(%error, "the server ended");
        }
        // The routes held the only senders, so the writer ends once its queue is empty.
        let _ = writer.await;
        clock.abort();
    });
    Ok(ServerHandle {
        local_addr,
        stop,
        server,
    })
}

/// What every handler shares.
#[derive(Clone)]
struct Shell {
    backend: Arc<Backend>,
    jobs: mpsc::Sender<QueuedJob>,
    stop: broadcast::Sender<()>,
    /// Places for mutations that wait for a conflict handler.
    asking: Arc<Semaphore>,
}

/// A mutation that waits for a commit.
type QueuedJob = (Job, oneshot::Sender<HttpReply>);

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn header_list(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

async fn call(
    State(shell): State<Shell>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::POST && method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let call = HttpCall {
        get: method == Method::GET,
        query,
        headers: header_list(&headers),
        body,
    };
    let reply = match shell.prepare(call).await {
        Ok(job) if job.is_mutation() => shell.write(job).await,
        Ok(job) => {
            let backend = Arc::clone(&shell.backend);
            tokio::task::spawn_blocking(move || backend.run_query(now_ms(), &job))
                .await
                .unwrap_or_else(|_| failed())
        }
        Err(reply) => *reply,
    };
    response(reply)
}

impl Shell {
    /// Lets a call in; away from the event loop if an authorizer may have to be waited for.
    async fn prepare(&self, call: HttpCall) -> Result<Job, Box<HttpReply>> {
        if !self.backend.may_block() {
            return self.backend.prepare(now_ms(), &call);
        }
        let backend = Arc::clone(&self.backend);
        tokio::task::spawn_blocking(move || backend.prepare(now_ms(), &call))
            .await
            .unwrap_or_else(|_| Err(Box::new(failed())))
    }

    /// Opens a realtime connection; away from the event loop if an authorizer may have to be waited for.
    async fn open(
        &self,
        headers: Vec<(String, String)>,
        query: Option<String>,
        bell: Doorbell,
    ) -> Option<ConnectionId> {
        if !self.backend.may_block() {
            return Some(
                self.backend
                    .open_connection(now_ms(), &headers, query.as_deref(), bell),
            );
        }
        let backend = Arc::clone(&self.backend);
        let open = move || backend.open_connection(now_ms(), &headers, query.as_deref(), bell);
        tokio::task::spawn_blocking(open).await.ok()
    }

    /// Handles a message; away from the event loop if an authorizer may have to be waited for.
    async fn frame(&self, id: ConnectionId, text: String) {
        if !self.backend.may_block() {
            return self.backend.frame_in(now_ms(), id, &text);
        }
        let backend = Arc::clone(&self.backend);
        let handled = tokio::task::spawn_blocking(move || backend.frame_in(now_ms(), id, &text)).await;
        if handled.is_err() {
            tracing::error!("a realtime message died");
        }
    }

    async fn write(&self, job: Job) -> HttpReply {
        if job.may_ask_handler() {
            return self.ask(job).await;
        }
        let (answer, answered) = oneshot::channel();
        if self.jobs.send((job, answer)).await.is_err() {
            return failed();
        }
        answered.await.unwrap_or_else(|_| failed())
    }
}

/// Most mutations at once that wait for a conflict handler, each on a thread; further callers wait for a place.
const ASKING_JOBS_MAX: usize = 32;

impl Shell {
    /// Runs a job beside the queue: others do not wait for its handler.
    async fn ask(&self, job: Job) -> HttpReply {
        let Ok(place) = Arc::clone(&self.asking).acquire_owned().await else {
            return failed();
        };
        let backend = Arc::clone(&self.backend);
        let run = move || {
            let replies = backend.run_mutations(now_ms(), std::slice::from_ref(&job));
            drop(place);
            replies.into_iter().next()
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(Some(reply)) => reply,
            _ => failed(),
        }
    }
}

/// The reply if a task died: the outcome is unknown.
fn failed() -> HttpReply {
    refuse(Refusal::Internal, "")
}

fn response(reply: HttpReply) -> Response {
    let mut response = if reply.lost {
        // The head goes out, the body breaks off: the caller knows no more than after a cut line.
        let cut =
            futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("the reply is lost")) });
        Body::from_stream(cut).into_response()
    } else {
        Body::from(reply.body).into_response()
    };
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Commits mutations, those that arrived during a commit together in the next.
async fn write_jobs(backend: Arc<Backend>, mut queue: mpsc::Receiver<QueuedJob>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_JOBS_MAX).await > 0 {
        let (jobs, answers): (Vec<Job>, Vec<oneshot::Sender<HttpReply>>) = batch.drain(..).unzip();
        let backend = Arc::clone(&backend);
        let replies = tokio::task::spawn_blocking(move || backend.run_mutations(now_ms(), &jobs)).await;
        // A batch that died drops its senders, and its callers are told that the service failed.
        for (answer, reply) in answers.into_iter().zip(replies.unwrap_or_default()) {
            // A caller that went away needs no answer.
            let _ = answer.send(reply);
        }
    }
}

/// Sends keep-alives, ends old connections and purges now and then.
async fn keep_time(backend: Arc<Backend>, mut stopped: broadcast::Receiver<()>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 1_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.recv() => return,
        }
        backend.tick(now_ms());
        if tick % PURGE_TICKS == 0 {
            let backend = Arc::clone(&backend);
            match tokio::task::spawn_blocking(move || backend.purge(now_ms())).await {
                Ok(Ok(report)) => tracing::info!(?report, "purged"),
                Ok(Err(error)) => tracing::error!(%error, "the purge failed"),
                Err(error) => tracing::error!(%error, "the purge died"),
            }
        }
    }
}

async fn upgrade(
    State(shell): State<Shell>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    socket: WebSocketUpgrade,
) -> Response {
    let headers = header_list(&headers);
    let longest = shell.backend.config().limits.frame_bytes_max;
    socket
        .protocols([SUBPROTOCOL])
        // One byte more than the service allows, so that it is the service that refuses.
        .max_message_size(longest + 1)
        .on_upgrade(move |socket| connection(shell, socket, headers, query))
}

/// Carries messages between a socket and its connection until either ends.
async fn connection(
    shell: Shell,
    mut socket: WebSocket,
    headers: Vec<(String, String)>,
    query: Option<String>,
) {
    let mut stopped = shell.stop.subscribe();
    let backend = &shell.backend;
    let bell = Arc::new(Notify::new());
    let ring = Arc::clone(&bell);
    let doorbell = Arc::new(move || ring.notify_one());
    let Some(id) = shell.open(headers, query, doorbell).await else {
        return;
    };
    loop {
        if !flush(&mut socket, backend.take_outgoing(id)).await {
            break;
        }
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => shell.frame(id, text.to_string()).await,
                // No client sends binary messages; to the service they are junk.
                Some(Ok(Message::Binary(_))) => backend.frame_in(now_ms(), id, ""),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            },
            () = bell.notified() => {}
            _ = stopped.recv() => {
                flush(&mut socket, vec![Out::Close { code: 1001, reason: "the server stops" }]).await;
                break;
            }
        }
    }
    backend.close_connection(id);
}

/// Writes what is to be sent; says whether the connection goes on.
async fn flush(socket: &mut WebSocket, outgoing: Vec<Out>) -> bool {
    for out in outgoing {
        let (message, last) = match out {
            Out::Frame(text) => (Message::Text(text.into()), false),
            Out::Close { code, reason } => (
                Message::Close(Some(CloseFrame {
                    code,
                    reason: reason.into(),
                })),
                true,
            ),
        };
        let sent = tokio::time::timeout(SEND_TIMEOUT, socket.send(message)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return false;
        }
    }
    true
}

/// Lets pages of any origin call, as developers serve their pages from somewhere else.
async fn allow_browsers(request: Request, next: Next) -> Response {
    let asked = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("*"),
    );
    if preflight {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = asked {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
    }
    response
}

#[cfg(test)]
mod tests;
