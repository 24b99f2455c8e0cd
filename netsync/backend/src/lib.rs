//! A backend that speaks AWS AppSync's protocol with conflict detection: versioned records, base and delta sync,
//! automerge, subscriptions.
//!
//! [`Backend`] is a state machine without sockets or clocks: every entry point is given the time, so that a simulation
//! can run it in process. [`serve`] puts it behind HTTP and WebSocket.

mod auth;
mod compile;
mod config;
mod conflict;
mod entropy;
mod error;
mod execute;
mod faults;
mod filter;
#[cfg(test)]
mod fixtures;
mod hash;
mod http;
mod item;
mod json;
mod realtime;
mod serve;
mod service;
mod store;
mod subscription_filter;
mod switch_names;
mod sync;

pub use auth::{
    ApiKey, AuthMode, AuthSettings, Authorizer, AuthorizerAnswer, AuthorizerContext, AuthorizerFault,
    AuthorizerRequest, AuthorizerSettings, DevIssuer, IamCredential, IamRole, IamSettings, IamSigner,
    KeyFault, PatternFault, TokenIssuer, TokenKeys, TokenPattern, TokenRequest, Webhook,
};
pub use compile::CompiledSchema;
pub use config::{
    BackendConfig, BadLimit, ConditionOrder, DeltaBoundary, ExpiredTombstones, FutureLastSync, HigherVersion,
    IdleMerge, KindMismatch, LimitErrors, Limits, ListMerge, MergedUpdatedAt, NullInCreate, StartBeforeInit,
    Switches, TombstoneUpdate, UnknownStop, VersionInCreate,
};
pub use conflict::{
    ConflictCall, ConflictHandler, ConflictHandlers, ConflictResolver, ConflictStrategy, ConflictWebhook,
    HandlerFailed, Resolution, WEBHOOK_TIMEOUT,
};
pub use entropy::{Entropy, SeededEntropy};
pub use error::BackendError;
pub use execute::CallerGone;
pub use faults::{BadFault, FaultCommand, Faults, FieldError};
pub use hash::HashKey;
pub use http::{HttpCall, HttpReply};
pub use realtime::{ConnectionId, Doorbell, Out};
pub use serve::{ServeOptions, ServerHandle, TlsIdentity, os_entropy, serve, serve_on, serve_with};
pub use service::{Backend, DeltaRow, Job, Looked};
pub use store::PurgeReport;
pub use switch_names::BadSwitch;
