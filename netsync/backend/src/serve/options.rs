//! What can be set on a server: the bounds of the shell around a backend.
//!
//! Owns [`ServeOptions`]. What callers may ask of the service itself is bounded by [`Limits`](crate::Limits).

use std::time::Duration;

use super::tls::TlsIdentity;

/// Settings of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Most sockets at once, realtime connections included; whoever comes then is answered 503 and closed.
    pub sockets_max: usize,
    /// Most sockets of one address at once (of IPv6 one network of 64 bits); further ones are closed without a word. Behind
    /// a proxy on another machine all sockets are that one's. Addresses of this machine are not bounded.
    pub sockets_per_address_max: usize,
    /// Most bytes of request bodies in memory at once; at the bound calls are answered 429 (`Rate exceeded`). Those of one
    /// address may take a fourth of it, unless it is this machine's.
    pub bodies_bytes_max: usize,
    /// The same for bodies of senders whose head does not prove who they are: those that sign their requests or show a token
    /// that an authorizer has not judged yet.
    pub strangers_bytes_max: usize,
    /// Most bytes that calls take in memory once they are understood, while they wait and run (parsed documents and variables);
    /// at the bound calls are answered 429.
    pub calls_bytes_max: usize,
    /// Most bytes of long replies that wait to be read; at the bound queries are answered 429, and mutations, which were
    /// run, that there is no room for their answers (`ResponseSizeExceeded`).
    pub replies_bytes_max: usize,
    /// Most queries that run at once; others wait, and their waiting counts as their running.
    pub queries_at_once: usize,
    /// How long a call may take, from its head to its reply; AppSync gives up after 30 seconds.
    pub request_time: Duration,
    /// How long a client may take for the head of a request or a TLS handshake, and be idle between two requests.
    pub head_time: Duration,
    /// How long a client may not read at all what it is sent before the socket is closed.
    pub stall_time: Duration,
    /// How long a shutdown waits for calls under way and for clients to say goodbye.
    pub shutdown_time: Duration,
    /// Time between two looks at what is due on realtime connections; keep-alives may be late by it.
    pub tick: Duration,
    /// Pages of which origins may call (`https://app.example.com`); by default those of any, as on AppSync.
    pub origins: Option<Vec<String>>,
    /// Whether pages of this machine alone may call, where `origins` names none: the key that everybody knows must not let
    /// every page in that a developer visits. Calls by other names of this machine than its addresses and `localhost` are
    /// refused as well.
    pub local_pages_only: bool,
    /// The certificate to show; without one the server speaks plain HTTP.
    pub tls: Option<TlsIdentity>,
    /// Whether `/metrics` is answered; it names the operations of the schema to whoever asks.
    pub metrics: bool,
    /// Whether this is a server to develop against: faults on demand, the tables to look at, a page to explore the API.
    /// Such a server listens on this machine only.
    pub development: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            sockets_max: 12_000,
            sockets_per_address_max: 1_024,
            bodies_bytes_max: 256 * 1024 * 1024,
            strangers_bytes_max: 32 * 1024 * 1024,
            calls_bytes_max: 512 * 1024 * 1024,
            replies_bytes_max: 256 * 1024 * 1024,
            queries_at_once: 64,
            request_time: Duration::from_secs(30),
            head_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
            shutdown_time: Duration::from_secs(10),
            tick: Duration::from_secs(1),
            origins: None,
            local_pages_only: false,
            tls: None,
            metrics: false,
            development: false,
        }
    }
}
