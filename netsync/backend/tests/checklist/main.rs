//! The contract's checklist, one test per fact, through the public entry points alone.
//!
//! Facts of authorization, of HTTP and of the realtime protocol are shown where those are implemented; the generated
//! schema in `golden.rs`, readings that are switches in `switches.rs`.
#![allow(missing_docs, reason = "a test is named after the fact that it shows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod components;
mod conflicts;
mod cost;
mod documents;
mod races;
mod scalars;
#[path = "../support/mod.rs"]
mod support;
mod sync;
