//! Simulation: stores, network and backend on one thread, in virtual time, from one seed.
//!
//! The actors, the engine, redb and the backend are the real ones; time, chance, disks and the network are simulated. A
//! seed becomes a [`Plan`], which is data; the same plan gives the same run, line by line ([`Outcome::trace_hash`]). While
//! it runs, oracles that share no code with the engine look after every commit ([`INVARIANTS`]).
//!
//! ```
//! use landfall_sim::{Profile, RunOptions, generate, run};
//!
//! let plan = generate(1, Profile::Chaos, None, 10_000);
//! let outcome = run(&plan, RunOptions::default());
//! assert!(outcome.is_well(), "{:#?}", outcome.violations);
//! ```

mod app;
mod bugs;
mod client;
mod clock;
pub mod crash;
pub mod disk;
mod exhaust;
mod knobs;
#[cfg(feature = "planted-defects")]
mod mutants;
mod network;
mod oracle;
mod plan;
mod random;
pub mod replay;
mod report;
mod run;
mod scenarios;
mod shrink;
mod timeline;
mod trace;
mod world;

pub use app::{App, Exploration, Explorer, Found, explore};
pub use bugs::{Bug, BugBaseError, bugs_of};
pub use client::{Configure, SimClient};
pub use clock::{SimClock, WALL_START_MS, WallClock, pass};
pub use exhaust::{Counterexample, Explored, Scope, exhaust};
pub use knobs::{KNOBS, Knob, KnobError, Knobs};
#[cfg(feature = "planted-defects")]
pub use mutants::{AREAS, Area, Defect, Kill, defects, failing_plan, hunt, plant_defect, with_defect};
pub use network::{API_KEY, Link, LinkFaults, Network, Rewrite, Trouble};
pub use oracle::{Findings, INVARIANTS, Judge, SOMETIMES, ServerWatch, Violation};
pub use plan::{
    Action, ActionStep, BUSY_MS_MAX, CLIENTS_DRAWN_MAX, CLIENTS_MAX, ClientPlan, Fault, FaultStep,
    PLAN_FORMAT, Plan, PlanError, Profile, STEPS_MAX, ServerPlan, fault_scenario, generate, generate_for,
};
pub use random::{Seed, Stream};
pub use report::{EXIT_INVARIANT, EXIT_LIVENESS, EXIT_NONDETERMINISM, EXIT_PANIC, exit_code, report};
pub use run::{Outcome, PHASES, RunOptions, plan_schema, run, run_with};
pub use scenarios::{Person, Played, SCENARIOS, Scenario, Stage, play};
pub use shrink::{Shrunk, as_test, shrink};
pub use timeline::timeline;
pub use trace::{Arrow, ClientTrace, Line, Recording, TraceLog};
pub use world::{HEAL_MS_MAX, Setup, World, in_virtual_time};

/// The guide, so that its example is run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/SIMULATION.md")]
mod guide {}
