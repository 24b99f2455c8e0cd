//! What goes on beside the calls: commits, and the passing of time.
//!
//! Owns the queue of mutations: those that arrive while a commit is under way wait, and are committed together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::body::{Budget, Place};
use super::call::hold_answer;
use super::clock::Clock;
use super::shell::Stopped;
use crate::service::{Backend, Job, Ran};

/// Most mutations in one commit: enough to share its cost, few enough that the first does not wait long for the last.
const BATCH_JOBS_MAX: usize = 256;

/// Most mutations that wait for a commit; further callers wait for a place.
pub(super) const QUEUE_JOBS_MAX: usize = 1_024;

/// Time between two purges, in milliseconds: an hour, as tombstones live for weeks.
const PURGE_MS: i64 = 3_600_000;

/// A mutation that waits for a commit, where its answer goes, and the room that it takes.
pub(super) type QueuedJob = (Job, oneshot::Sender<Ran>, Place);

/// Commits mutations, those that arrived during a commit together in the next.
pub(super) async fn write_jobs(
    clock: Arc<Clock>,
    backend: Arc<Backend>,
    replies: Arc<Budget>,
    mut queue: mpsc::Receiver<QueuedJob>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_JOBS_MAX).await > 0 {
        // Whoever was told that its call timed out, or went away, is not to find it done later.
        batch.retain(|(_, answer, _)| !answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let (mut jobs, mut answers, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        for (job, answer, room) in batch.drain(..) {
            jobs.push(job);
            answers.push(answer);
            rooms.push(room);
        }
        let (backend, clock, replies) = (Arc::clone(&backend), Arc::clone(&clock), Arc::clone(&replies));
        let committing = tokio::task::spawn_blocking(move || {
            commit(&clock, &backend, &replies, &jobs, answers);
            drop((jobs, rooms));
        });
        // A batch that died drops its senders, and its callers are told that the service failed.
        if let Err(error) = committing.await {
            tracing::error!(%error, "a commit died");
        }
    }
}

/// Commits mutations; the answers of each commit leave before the next begins.
fn commit(
    clock: &Clock,
    backend: &Backend,
    replies: &Arc<Budget>,
    jobs: &[Job],
    answers: Vec<oneshot::Sender<Ran>>,
) {
    let mut waiting = jobs.iter().zip(answers);
    let mut rest = jobs;
    while !rest.is_empty() {
        let ran = backend.run_commit(clock.now_ms(), rest);
        rest = rest.get(ran.len().max(1)..).unwrap_or_default();
        for (ran, (job, answer)) in ran.into_iter().zip(waiting.by_ref()) {
            let ran = match ran {
                Ran::Replied(reply) => Ran::Replied(hold_answer(reply, job.request_id(), replies)),
                Ran::MustAsk(_) => ran,
            };
            // A caller that went away needs no answer.
            let _ = answer.send(ran);
        }
    }
}

/// Sends keep-alives, ends old connections and purges now and then.
pub(super) async fn keep_time(
    clock: Arc<Clock>,
    backend: Arc<Backend>,
    mut stopped: Stopped,
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
            () = stopped.wait() => return,
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use landfall_storage::kv::KvStore;
    use serde_json::json;

    use super::*;
    use crate::config::{BackendConfig, Limits};
    use crate::fixtures;
    use crate::http::HttpCall;

    #[test]
    fn the_answers_of_a_commit_leave_before_the_next_begins() {
        let config = BackendConfig {
            limits: Limits {
                // Every answer closes its commit.
                commit_answers_bytes_max: 1,
                ..Limits::default()
            },
            ..BackendConfig::with_api_key("k")
        };
        let kv = KvStore::in_memory().unwrap();
        let backend = Backend::new(fixtures::blog(), config, kv, crate::serve::os_entropy()).unwrap();
        let (mut jobs, mut answers, mut answered) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..3 {
            let query = format!("mutation {{ createPost(input: {{id: \"{n}\", title: \"t\"}}) {{ id }} }}");
            let call = HttpCall::post("k", json!({"query": query}).to_string());
            jobs.push(backend.prepare(0, &call).unwrap());
            let (answer, receiver) = oneshot::channel();
            answers.push(answer);
            answered.push(receiver);
        }
        // At each commit, which of the jobs are answered.
        let seen: Arc<Mutex<Vec<Vec<bool>>>> = Arc::default();
        let (noted, answered) = (Arc::clone(&seen), Mutex::new(answered));
        let bell = Arc::new(move || {
            let answered = answered.lock().unwrap();
            let done = answered.iter().map(|answer| !answer.is_empty());
            noted.lock().unwrap().push(done.collect());
        });
        let key = [("x-api-key".to_owned(), "k".to_owned())];
        let listener = backend.open_connection(0, &key, None, bell);
        let data = json!({"query": "subscription { onCreatePost { id } }"}).to_string();
        let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": "k"}}});
        let start = json!({"id": "1", "type": "start", "payload": payload});
        backend.frame_in(0, listener, &start.to_string());
        seen.lock().unwrap().clear();
        let replies = Arc::new(Budget::new(1_000_000));
        commit(&Clock::default(), &backend, &replies, &jobs, answers);
        let expected = [[false, false, false], [true, false, false], [true, true, false]];
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
