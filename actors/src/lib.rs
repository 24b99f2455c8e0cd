//! The actors of Landfall: who does what while a store runs, and what they say to each other.
//!
//! An actor is a thin shell around a pure machine. The machine decides, `step(now, input) -> effects`; the shell performs
//! the effects. Actors share nothing: each has one message enum, and its [`Port`] is the only way to it. The one exception is
//! [`EndpointTrouble`], a note of what the app was told, which decides nothing but whether it is told again.
//!
//! ```text
//!     app ────────────── Start, Stop, Clear, AwaitReady ──────────────▶ Supervisor
//!      │                                                                    │  makes and stops the
//!      │                                                                    ▼  four parts of a run
//!      │            ┌───────────────────┬─────────────────────┬─────────────────────┐
//!      │    ReachabilityActor  SubscriptionProcessor     SyncProcessor      MutationProcessor
//!      │            │                   │                     │                │         │
//!      │       NetworkChanged    ApplyRemote           ApplyRemote      MarkSent, Settle │ Take, GiveBack
//!      │            ▼                   │                     │                │         ▼
//!      │        Supervisor              ▼                     ▼                ▼     OutboxActor
//!      └──── Write, Observe ──────▶ StorageActor: the only writer ─── Committed ────────▶ │
//!                                       │                                                 │ OutboxStatus
//!                                       └──────────── mutation events ──▶ Hub ◀───────────┘
//!                                                                          ▲
//!                                                 everybody's lifecycle events; the app listens
//! ```
//!
//! The order of a run is the supervisor's: network, subscriptions acknowledged, sync, what subscriptions buffered
//! meanwhile, outbox, ready. Each part tells the supervisor how far it has got, with the epoch of its run; what an
//! older run still sends is ignored. Whoever uses the [`Transport`](landfall_wire::Transport) reports to the
//! `ReachabilityActor` how it fared.
//!
//! Time, chance, identifiers and the way to the server come from [`Env`] alone, so that a simulator can run all of this
//! on one thread, in virtual time, from one seed.

mod config;
mod endpoint;
mod env;
pub mod flight;
mod handlers;
mod hub;
mod meter;
mod mutation;
mod outbox;
mod port;
mod reachability;
mod scope;
mod storage;
mod subscription;
mod supervisor;
mod sync;
#[cfg(test)]
mod test_support;
mod timer;

pub use config::{Leaving, Listen, SyncSettings};
pub use endpoint::EndpointTrouble;
pub use env::{Clock, Entropy, Env, Immediate, NoTrace, Schedule, Trace};
pub use handlers::{
    AcceptRemote, ApplyLocalChanges, ConflictHandler, DecideBy, ErrorHandler, ErrorKind, LogErrors, Process,
    SyncConflict, SyncError,
};
pub use hub::{Hub, HubEvent, HubMessage, LISTENER_BACKLOG_MAX, Listening, SyncState, Synced, record_json};
pub use meter::{Count, Meter};
pub use mutation::{MutationMessage, MutationProcessor};
pub use outbox::{HELD_BACK_MAX, OutboxActor, OutboxMessage, WINDOW_MAX};
pub use port::{Envelope, Gone, Handle, Message, Port, Reply, trace_message};
pub use reachability::{Outcome, ReachabilityActor, ReachabilityMessage};
pub use storage::{
    ChangeSet, Epoch, LeftOver, OBSERVER_BACKLOG_MAX, Observed, RemoteBatch, RemoteCounts, Settlement,
    StorageActor, StorageMessage, WRITE_BATCH_MAX, WriteDone, WriteError, WriteOp,
};
pub use subscription::{SubscriptionMessage, SubscriptionProcessor};
pub use supervisor::{Context, Supervisor, SupervisorMessage};
pub use sync::{SyncMessage, SyncProcessor};
