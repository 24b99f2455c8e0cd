//! The log trimmed by its policy, once the store is open.
//!
//! Owns [`Trimming`]. Verifying the log takes as long as reading it, so it happens on a thread of its own beside the app, and what goes
//! is taken away a part at a time, between which others write.
//!
//! Invariants: 1. the store is in use meanwhile; 2. nothing goes that the policy would not take away when the store was opened;
//! 3. the thread ends soon after the store is closed.
#![allow(clippy::disallowed_methods, reason = "a thread of a store is made here")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use landfall_actors::StorageMessage;
use landfall_core::Seq;
use landfall_storage::{Retention, Snapshot, StorageError};

use crate::assembly::Handles;
use crate::error::Error;

/// The log is trimmed when a store is opened once the entries that go are one in so many, or more.
const TRIMMED_SHARE: u64 = 4;

/// Most entries that go at once, since writes wait meanwhile: some tenths of a second.
const TRIMMED_AT_ONCE: u64 = 10_000;

/// The thread that trims the log of a store.
#[derive(Debug)]
pub(crate) struct Trimming {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Trimming {
    /// Begins, if there is a policy at all.
    pub(crate) fn begin(handles: &Handles, retention: Retention) -> Option<Self> {
        if retention == Retention::everything() {
            return None;
        }
        let handles = handles.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("landfall-trim".to_owned())
            .spawn(move || {
                let goes_on = || !heard.load(Ordering::Acquire);
                match trim(&handles, retention, &goes_on) {
                    Err(error) if goes_on() => {
                        // The app can do without it, and is told the same by the next call that meets what is wrong.
                        tracing::warn!(%error, "the log was not trimmed");
                    }
                    _ => {}
                }
            });
        match thread {
            Ok(thread) => Some(Self { is_over, thread }),
            Err(error) => {
                tracing::warn!(%error, "the log is not trimmed, since there is no thread for it");
                None
            }
        }
    }

    /// Says that the store is being closed.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Waits until it has ended; the actors of the store have to be gone, or to answer.
    pub(crate) fn join(self) {
        self.end();
        // If it panicked it has ended as well.
        self.thread.join().unwrap_or(());
    }
}

/// Whether so much of the log goes that it is worth verifying all of it.
pub(crate) fn is_due(snapshot: &Snapshot, retention: &Retention, now_ms: i64) -> Result<bool, StorageError> {
    Ok(due(snapshot, retention, now_ms)?.is_some())
}

/// The first entry of the log and the last that goes, if so much goes that it is worth verifying all of it.
fn due(snapshot: &Snapshot, retention: &Retention, now_ms: i64) -> Result<Option<(Seq, Seq)>, StorageError> {
    let going = snapshot.trimmable(retention, now_ms)?;
    let (start, end) = snapshot.log_bounds()?;
    let all = end.0 + 1 - start.0;
    let is_due = going > 0 && going.saturating_mul(TRIMMED_SHARE) >= all;
    Ok(is_due.then(|| (start, Seq(start.0 + going - 1))))
}

fn trim(handles: &Handles, retention: Retention, goes_on: &dyn Fn() -> bool) -> Result<(), Error> {
    let now_ms = handles.env.clock.wall_ms();
    let Some((start, last)) = due(&handles.reader.snapshot()?, &retention, now_ms)? else {
        return Ok(());
    };
    let proof = handles.reader.prove(goes_on)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StorageError::from)?;
    let mut through = start.0 - 1;
    while through < last.0 && goes_on() {
        through = last.0.min(through + TRIMMED_AT_ONCE);
        let part = Retention::everything().entries(0).through(Seq(through));
        let asked = handles.storage.ask(|reply| StorageMessage::Trim {
            retention: part,
            reply,
        });
        let trimmed = runtime.block_on(asked)??;
        if trimmed.start.0 <= through {
            // What waits for the server, or an entry of a kind that is not known, keeps what follows it.
            break;
        }
    }
    drop(proof);
    Ok(())
}
