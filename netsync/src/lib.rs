//! The real network behind [`landfall_wire::Transport`]: HTTP, WebSocket, TLS and credentials.
//!
//! [`HttpTransport`] sends each request over a pooled connection and opens realtime sockets by an HTTP upgrade on the
//! same stack, so that both share proxies, trusted certificates and the rules for what counts as unreachable.
//!
//! # Runtime
//!
//! The futures of this crate must be polled on a tokio runtime with IO and time enabled; polled elsewhere they panic.
//! Any flavour of runtime will do, and building a transport needs none. The engine meets this by running its actors
//! on a tokio thread of its own, so that apps may use any async runtime they like.
//!
//! # Secrets
//!
//! Keys and tokens never appear in `Debug` output, errors, addresses or the log events of this crate. One thing is
//! beyond its reach: at level `TRACE` the `tungstenite` crate logs whole frames, and a `start` frame carries
//! credentials. Keep the target `tungstenite` above `TRACE` wherever logs are kept.

mod authorization;
mod endpoint;
mod error;
mod http;
mod present;
mod retry_after;
mod server_clock;
mod sigv4;
mod strategy;
#[cfg(test)]
mod testing;
mod tls;
mod tokens;
mod websocket;

pub use authorization::{
    Authorization, AwsCredentials, AwsCredentialsProvider, AwsCredentialsResult, Secret, TokenProvider,
    TokenResult,
};
pub use endpoint::{Endpoint, ProxyUse, Timeouts};
pub use error::NetsyncError;
pub use http::{HttpTransport, REPLY_BYTES_MAX};
pub use strategy::{AuthMode, AuthStrategy, MultiAuth};
pub use tokens::{CachedTokens, RENEW_BEFORE};
