//! The real world: the system's clocks and its source of chance.
//!
//! The only place of the engine that reads them; everything else goes through `Env`.
#![allow(
    clippy::disallowed_methods,
    reason = "this file is the way to the operating system"
)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use landfall_actors::{Clock, Entropy};

/// The system's clocks.
#[derive(Debug)]
pub(crate) struct OsClock {
    start: Instant,
}

impl OsClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for OsClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The system's source of chance.
#[derive(Debug)]
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        // A random UUID has six bits that are fixed; turning one half lays random bits over them.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        high.rotate_left(32) ^ low
    }
}

/// A fresh identifier for a record that the app makes.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
