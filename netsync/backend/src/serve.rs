//! The backend behind HTTP and WebSocket.
//!
//! Owns the start and the end of a server. The parts have files of their own: who is let in (`listen.rs`), calls
//! (`call.rs`), realtime connections (`socket.rs`), commits and the passing of time (`work.rs`). Everything that answers
//! is in `service.rs`.
//!
//! Paths: `/graphql` (POST, and GET for queries) and `/graphql/realtime` (WebSocket), as AppSync's custom domains have
//! them; `/health`; `/metrics` where the options say so.
//!
//! Invariants: 1. whatever strangers send, memory is bounded ([`ServeOptions`], [`Limits`](crate::Limits)); 2. a call
//! that was begun before a shutdown is answered, unless it outlasts [`ServeOptions::shutdown_time`].
#![allow(
    clippy::disallowed_methods,
    reason = "this module is the shell around the real world: it reads the clock and spawns tasks for the machine"
)]

mod address;
mod admin;
mod body;
mod browsers;
mod call;
mod clock;
mod listen;
mod metrics;
mod options;
mod page;
mod patience;
mod shell;
mod socket;
mod tls;
mod upkeep;
mod work;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{any, get};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::entropy::SeededEntropy;
use crate::error::BackendError;
use crate::faults::FaultCommand;
use crate::service::Backend;

pub use options::ServeOptions;
pub use tls::TlsIdentity;

use shell::{Shell, Stop};

/// A running server; it stops when told to, not when dropped.
pub struct ServerHandle {
    /// The address it listens on; the port is the real one where 0 was asked for.
    pub local_addr: SocketAddr,
    stop: Arc<Stop>,
    clock: Arc<clock::Clock>,
    options: Arc<ServeOptions>,
    backend: Arc<Backend>,
    server: JoinHandle<()>,
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// Stops listening, closes realtime connections, and waits until the calls under way are answered; what is not done
    /// after [`ServeOptions::shutdown_time`] is broken off.
    pub async fn shutdown(self) {
        self.stop.finish();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server did not end in order");
        }
    }

    /// The base URL of the HTTP endpoint.
    pub fn endpoint(&self) -> String {
        let scheme = if self.options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/graphql", self.local_addr)
    }

    /// Makes something go wrong, or puts it right.
    ///
    /// # Errors
    /// [`BackendError::NotInDevelopment`] unless [`ServeOptions::development`] is set; otherwise what the store says.
    pub fn inject(&self, command: FaultCommand) -> Result<(), BackendError> {
        shell::inject(&self.options, &self.clock, &self.backend, command)
    }

    /// Sets the server's clock, in milliseconds since 1970; it goes on from there. What is due by then happens at once.
    pub fn set_clock(&self, unix_ms: i64) {
        self.clock.set(unix_ms);
    }
}

/// Random bytes seeded by the operating system, for backends that are served to the world.
///
/// # Panics
/// If the operating system has none: keys that can be guessed are worse than no server.
pub fn os_entropy() -> SeededEntropy {
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .expect("the operating system has random bytes");
    SeededEntropy::from_seed(seed)
}

/// Serves a backend on an address until it is shut down, with the default options.
///
/// # Errors
/// [`BackendError::Listen`] if the address cannot be listened on.
pub async fn serve(address: SocketAddr, backend: Arc<Backend>) -> Result<ServerHandle, BackendError> {
    serve_with(address, backend, ServeOptions::default()).await
}

/// Serves a backend on an address until it is shut down.
///
/// # Errors
/// [`BackendError::Listen`] if the address cannot be listened on, [`BackendError::NotInDevelopment`] if a server to develop
/// against is to listen to other machines.
pub async fn serve_with(
    address: SocketAddr,
    backend: Arc<Backend>,
    options: ServeOptions,
) -> Result<ServerHandle, BackendError> {
    if options.development && !address.ip().is_loopback() {
        let what = "tables are shown and faults injected";
        return Err(BackendError::NotInDevelopment { what });
    }
    let failed = |error: std::io::Error| BackendError::Listen {
        address: address.to_string(),
        cause: error.to_string(),
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    serve_on(listener, backend, options).map_err(failed)
}

/// Serves a backend on a listener until it is shut down; must be called inside a tokio runtime. Whoever hands in the
/// listener answers for who can reach it.
///
/// # Errors
/// What the system says if the listener has no address.
pub fn serve_on(
    listener: TcpListener,
    backend: Arc<Backend>,
    options: ServeOptions,
) -> std::io::Result<ServerHandle> {
    let local_addr = listener.local_addr()?;
    backend.set_stopwatch(clock::stopwatch_ms);
    let (jobs, queue) = mpsc::channel(work::QUEUE_JOBS_MAX);
    let (shell, sockets) = Shell::new(Arc::clone(&backend), options, jobs);
    let (stop, clock, options) = (
        Arc::clone(&shell.stop),
        Arc::clone(&shell.clock),
        Arc::clone(&shell.options),
    );
    let writer = tokio::spawn(work::write_jobs(
        Arc::clone(&shell.clock),
        Arc::clone(&backend),
        Arc::clone(&shell.replies),
        queue,
    ));
    let timekeeper = tokio::spawn(work::keep_time(
        Arc::clone(&shell.clock),
        Arc::clone(&backend),
        stop.finished(),
        options.tick,
    ));
    let listening = listen::Listening {
        listener,
        options: Arc::clone(&options),
        stop: Arc::clone(&stop),
        places: Arc::clone(&shell.places),
        addresses: shell.addresses.clone(),
        sockets,
    };
    let routes = routes(shell);
    let server = tokio::spawn(async move {
        listening.run(routes).await;
        // The routes and the sockets held the only senders, so the writer ends once its queue is empty.
        if let Err(error) = writer.await {
            tracing::error!(%error, "the writer did not end in order");
        }
        timekeeper.abort();
    });
    Ok(ServerHandle {
        local_addr,
        stop,
        clock,
        options,
        backend,
        server,
    })
}

fn routes(shell: Shell) -> Router {
    let options = Arc::clone(&shell.options);
    // What is not the API itself is not for pages of other origins.
    let mut routes = Router::new()
        .route("/graphql", any(call::call))
        .route("/graphql/realtime", any(socket::upgrade))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&options),
            browsers::allow,
        ))
        .route("/health", get(upkeep::health))
        .fallback(call::not_found);
    if options.metrics {
        routes = routes.route("/metrics", get(upkeep::metrics));
    }
    if options.development {
        routes = routes.merge(admin::routes()).merge(page::routes());
    }
    routes.with_state(shell)
}

#[cfg(test)]
mod tests;
