//! Virtual time: the paused clock of the runtime, as every part of a simulation sees it.
//!
//! Owns [`SimClock`] and [`WallClock`]. The only place that asks the runtime for its time.
#![allow(
    clippy::disallowed_methods,
    reason = "this file is the simulated clock; the runtime's time is paused"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use landfall::Clock;

/// Where the wall clock of a simulation starts: 1 January 2026.
pub const WALL_START_MS: i64 = 1_767_225_600_000;

/// The clock of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    start: tokio::time::Instant,
}

impl SimClock {
    /// A clock that starts now; to be made inside the paused runtime.
    pub fn start() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        WALL_START_MS.saturating_add(i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX))
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.elapsed_ms()
    }

    fn wall_ms(&self) -> i64 {
        self.unix_ms()
    }
}

/// A client's clock: time passes as everywhere, but the clock on its wall may be wrong, and may be set.
#[derive(Clone, Debug)]
pub struct WallClock {
    time: SimClock,
    ahead_ms: Arc<AtomicI64>,
    /// Whether it has jumped since it was last read.
    jumped: Arc<AtomicBool>,
    /// How often it was read for the first time after a jump.
    noticed: Arc<AtomicU64>,
}

impl WallClock {
    /// A clock whose wall clock is so many milliseconds ahead.
    pub fn new(time: SimClock, ahead_ms: i64) -> Self {
        Self {
            time,
            ahead_ms: Arc::new(AtomicI64::new(ahead_ms)),
            jumped: Arc::default(),
            noticed: Arc::default(),
        }
    }

    /// How many jumps somebody could notice, because the clock was read after them.
    pub(crate) fn noticed(&self) -> u64 {
        self.noticed.load(Ordering::SeqCst)
    }

    /// Has the wall clock jump by so many milliseconds; back if negative.
    pub fn jump(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.jumped.store(true, Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        self.time.elapsed_ms()
    }

    fn wall_ms(&self) -> i64 {
        if self.jumped.swap(false, Ordering::SeqCst) {
            self.noticed.fetch_add(1, Ordering::SeqCst);
        }
        self.time
            .unix_ms()
            .saturating_add(self.ahead_ms.load(Ordering::SeqCst))
    }
}

/// Lets virtual time pass.
pub async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits for something, but not longer than so many virtual milliseconds; `None` if it takes longer.
pub(crate) async fn within<T>(ms: u64, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(ms), work).await.ok()
}
