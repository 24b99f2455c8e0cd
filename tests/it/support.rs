//! What drives whole processes in tests: shells that speak the line protocol, and the server between them.
//!
//! Owns starting, talking to and ending processes, each with a deadline. Knows no scenario.

pub(crate) mod landfall;
pub(crate) mod line_client;
pub(crate) mod make;
pub(crate) mod npm;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod serve;
pub(crate) mod sparse;
#[cfg(unix)]
pub(crate) mod terminal;
