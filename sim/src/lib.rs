//! Simulation: stores, network and backend on one thread, in virtual time, from one seed.
//!
//! The actors, the engine, redb and the backend are the real ones; time, chance, disks and the network are simulated. The
//! same seed gives the same run, line by line ([`Report::trace_hash`]).
//!
//! ```
//! use landfall_sim::{Options, Seed, three_clients};
//!
//! let report = three_clients(Options { seed: Seed(1), busy_ms: 10_000, echo: false });
//! assert!(report.violations.is_empty(), "{:#?}", report.violations);
//! ```

mod client;
mod clock;
pub mod disk;
mod network;
mod random;
mod scenario;
mod trace;

pub use client::SimClient;
pub use clock::{SimClock, WALL_START_MS, pass};
pub use network::{API_KEY, Link, LinkFaults, Network};
pub use random::{Seed, Stream};
pub use scenario::{Options, Report, three_clients};
pub use trace::{ClientTrace, TraceLog};
