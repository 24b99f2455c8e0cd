//! What goes on beside the calls: commits, and the passing of time.
//!
//! Owns the queue of mutations: those that arrive while a commit is under way wait, and are committed together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::clock::Clock;
use crate::http::HttpReply;
use crate::service::{Backend, Job};

/// Most mutations in one commit: enough to share its cost, few enough that the first does not wait long for the last.
const BATCH_JOBS_MAX: usize = 256;

/// Most mutations that wait for a commit; further callers wait for a place.
pub(super) const QUEUE_JOBS_MAX: usize = 1_024;

/// Time between two purges, in milliseconds: an hour, as tombstones live for weeks.
const PURGE_MS: i64 = 3_600_000;

/// A mutation that waits for a commit.
pub(super) type QueuedJob = (Job, oneshot::Sender<HttpReply>);

/// Commits mutations, those that arrived during a commit together in the next.
pub(super) async fn write_jobs(
    clock: Arc<Clock>,
    backend: Arc<Backend>,
    mut queue: mpsc::Receiver<QueuedJob>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_JOBS_MAX).await > 0 {
        // Whoever was told that its call timed out, or went away, is not to find it done later.
        batch.retain(|(_, answer)| !answer.is_closed());
        let (jobs, answers): (Vec<Job>, Vec<oneshot::Sender<HttpReply>>) = batch.drain(..).unzip();
        if jobs.is_empty() {
            continue;
        }
        let (backend, clock) = (Arc::clone(&backend), Arc::clone(&clock));
        let replies = tokio::task::spawn_blocking(move || backend.run_mutations(clock.now_ms(), &jobs)).await;
        // A batch that died drops its senders, and its callers are told that the service failed.
        for (answer, reply) in answers.into_iter().zip(replies.unwrap_or_default()) {
            // A caller that went away needs no answer.
            let _ = answer.send(reply);
        }
    }
}

/// Sends keep-alives, ends old connections and purges now and then.
pub(super) async fn keep_time(
    clock: Arc<Clock>,
    backend: Arc<Backend>,
    mut stopped: broadcast::Receiver<()>,
    tick: Duration,
) {
    // An interval of nothing is refused by the timer.
    let mut ticks = tokio::time::interval(tick.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut purge_at_ms = clock.now_ms().saturating_add(PURGE_MS);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = clock.moved() => {}
            _ = stopped.recv() => return,
        }
        let now_ms = clock.now_ms();
        backend.tick(now_ms);
        // A clock that was set back must not put the purge off for ever.
        purge_at_ms = purge_at_ms.min(now_ms.saturating_add(PURGE_MS));
        if purge_at_ms <= now_ms {
            purge_at_ms = now_ms.saturating_add(PURGE_MS);
            let backend = Arc::clone(&backend);
            match tokio::task::spawn_blocking(move || backend.purge(now_ms)).await {
                Ok(Ok(report)) => tracing::info!(?report, "purged"),
                Ok(Err(error)) => tracing::error!(%error, "the purge failed"),
                Err(error) => tracing::error!(%error, "the purge died"),
            }
        }
    }
}
