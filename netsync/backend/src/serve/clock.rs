//! The server's clock: the system's, moved by whoever set it.
//!
//! Owns the only reading of wall time in this crate. It may go back when the system's does; the store keeps times of
//! changes from going down.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// The time, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Clock {
    shift_ms: AtomicI64,
    /// For the one that keeps time; a move is not missed by it.
    moved: Notify,
    /// For all that wait for a time at the moment.
    jumped: Notify,
}

impl Clock {
    pub(super) fn now_ms(&self) -> i64 {
        system_ms().saturating_add(self.shift_ms.load(Ordering::Relaxed))
    }

    /// Sets the time; it goes on from there.
    pub(super) fn set(&self, unix_ms: i64) {
        self.shift_ms
            .store(unix_ms.saturating_sub(system_ms()), Ordering::Relaxed);
        self.moved.notify_one();
        self.jumped.notify_waiters();
    }

    /// Moves the time; it goes on from there.
    pub(super) fn shift(&self, ms: i64) {
        self.set(self.now_ms().saturating_add(ms));
    }

    /// Waits until the clock is set.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Waits until the clock is set to a time or beyond; that it gets there by itself others wait for.
    pub(super) async fn set_beyond(&self, unix_ms: i64) {
        loop {
            let mut jumped = std::pin::pin!(self.jumped.notified());
            // Before the look, so that no jump falls in between.
            jumped.as_mut().enable();
            if self.now_ms() >= unix_ms {
                return;
            }
            jumped.await;
        }
    }
}

/// Milliseconds since it was asked first, whatever clock was set.
pub(super) fn stopwatch_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGAN.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn system_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
