//! How a store fares, in numbers.
//!
//! Owns [`Metrics`] and what its numbers mean. What is counted where is `landfall-actors`'s.
//!
//! Invariant: the numbers say nothing of what is in a record.

use landfall_actors::{Count, Meter};
use landfall_core::{Seq, Stage};
use serde::Serialize;

use crate::datastore::DataStore;
use crate::error::Error;

/// Oldest waiting changes of which [`DataStore::metrics`] looks at the stage: some milliseconds of reading, and more
/// than a device that was away for a long time leaves.
pub const METRICS_OUTBOX_MAX: usize = 10_000;

/// How a store fares: what waits now, and what was counted since it was opened.
///
/// Counts only grow, so the difference of two snapshots is what happened between them; they begin with zero at each
/// opening. They are read one by one while the store goes on, so numbers that belong together may be apart by what
/// happened meanwhile. Serialized in camel case, for whatever collects metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Metrics {
    /// The newest entry of the log.
    pub newest: Seq,
    /// Changes in the outbox now, whatever their stage. One that cannot be read is counted here alone.
    pub waiting: u64,
    /// Those that may be sent, among the oldest [`METRICS_OUTBOX_MAX`].
    pub queued: u64,
    /// Those that were handed to the transport and not answered yet, among the oldest.
    pub in_flight: u64,
    /// Those of which the server is asked whether it applied them, among the oldest.
    pub unknown: u64,
    /// Those that the server refused and that wait for the app, among the oldest.
    pub parked: u64,

    /// Transactions of writes that are on disk. Each may hold the commands of many callers.
    pub commits: u64,
    /// Transactions that failed, or of which the disk did not say whether they are there.
    pub commits_failed: u64,
    /// Commands in the transactions that are on disk: writes of the app, answers and pages of the server.
    pub commands: u64,
    /// Most commands in one transaction.
    pub commands_max: u64,
    /// Transactions that took on as many commands as one may have (256), so that others waited for the next.
    pub commits_full: u64,
    /// Calls of the app that waited for a place, because as many as may (4,096) were waiting for the disk already.
    pub calls_held_back: u64,
    /// Entries that were added to the log.
    pub entries: u64,
    /// Writes of the app among them.
    pub writes: u64,

    /// Times that a change was handed to the transport.
    pub sent: u64,
    /// Those that were not the first time: after a conflict, an error of the network or a restart.
    pub sent_again: u64,
    /// Changes that the server applied.
    pub acknowledged: u64,
    /// Times that a change met another version of its record at the server.
    pub conflicts: u64,
    /// Changes that the server refused for good.
    pub refused: u64,
    /// Changes that certainly were not applied, such as when the server could not be reached, and wait again.
    pub not_applied: u64,
    /// Times that no answer came, so that it was not known whether a change was applied.
    pub outcome_unknown: u64,
    /// Refused changes that were tried again, by the app or once the server knew their schema.
    pub retried: u64,
    /// Refused changes that the app gave up.
    pub discarded: u64,

    /// Pages of sync queries that were stored.
    pub sync_pages: u64,
    /// Records on them.
    pub sync_records: u64,
    /// Times that records of subscriptions were stored.
    pub subscription_batches: u64,
    /// Records in those.
    pub subscription_records: u64,
    /// Records of the server that were news to the store, wherever they came from.
    pub records_taken: u64,
    /// Records that left the store because sync no longer covers them.
    pub evicted: u64,
    /// Records of the server that could not be read and were set aside.
    pub quarantined: u64,
    /// Frames that arrived over realtime sockets, of any kind.
    pub frames: u64,
    /// Realtime sockets that were opened; all but the first ones are reconnections.
    pub sockets_opened: u64,
    /// Realtime sockets that broke, or could not be opened.
    pub sockets_lost: u64,
    /// Commands of an ended run of sync that were ignored.
    pub stale: u64,

    /// Most sets of changes that waited for one observer. At 1,024 it falls behind and reads anew.
    pub observer_backlog_max: u64,
    /// Times that an observer fell behind.
    pub observers_behind: u64,
    /// Hub events that a listener lost because it was 4,096 behind.
    pub hub_events_lost: u64,
}

impl Metrics {
    fn counted(meter: &Meter) -> Self {
        let count = |count| meter.get(count);
        Self {
            commits: count(Count::Commits),
            commits_failed: count(Count::CommitsFailed),
            commands: count(Count::Commands),
            commands_max: count(Count::CommandsMax),
            commits_full: count(Count::CommitsFull),
            calls_held_back: count(Count::CallsHeldBack),
            entries: count(Count::Entries),
            writes: count(Count::Writes),
            sent: count(Count::Sent),
            sent_again: count(Count::SentAgain),
            acknowledged: count(Count::Acknowledged),
            conflicts: count(Count::Conflicts),
            refused: count(Count::Refused),
            not_applied: count(Count::NotApplied),
            outcome_unknown: count(Count::OutcomeUnknown),
            retried: count(Count::Retried),
            discarded: count(Count::Discarded),
            sync_pages: count(Count::SyncPages),
            sync_records: count(Count::SyncRecords),
            subscription_batches: count(Count::SubscriptionBatches),
            subscription_records: count(Count::SubscriptionRecords),
            records_taken: count(Count::RecordsTaken),
            evicted: count(Count::Evicted),
            quarantined: count(Count::Quarantined),
            frames: count(Count::Frames),
            sockets_opened: count(Count::SocketsOpened),
            sockets_lost: count(Count::SocketsLost),
            stale: count(Count::Stale),
            observer_backlog_max: count(Count::ObserverBacklogMax),
            observers_behind: count(Count::ObserversBehind),
            hub_events_lost: count(Count::HubEventsLost),
            ..Self::default()
        }
    }
}

impl DataStore {
    /// How the store fares: what waits now, and what was counted since it was opened.
    ///
    /// Reads numbers, and up to [`METRICS_OUTBOX_MAX`] waiting changes from a snapshot; asks no actor and waits for nothing,
    /// so it can be called every second, also on a store that is busy. See [`statistics`](Self::statistics) for what the
    /// store holds, and [`recording`](Self::recording) for the flight recorder.
    ///
    /// ```
    /// # landfall::inline_schema!("type Site @model { name: String! }");
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let before = store.metrics()?;
    /// store.save(Site::builder().name("reef").build()?).await?;
    /// let after = store.metrics()?;
    /// assert_eq!((after.writes - before.writes, after.queued), (1, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        let mut metrics = Metrics::counted(&self.inner.handles.env.meter);
        let snapshot = self.snapshot()?;
        metrics.newest = snapshot.log_bounds()?.1;
        metrics.waiting = snapshot.pending_len()?;
        for (_, read) in snapshot.pending_each(Seq::ZERO, METRICS_OUTBOX_MAX)? {
            let Ok(mutation) = read else { continue };
            let stage = match mutation.stage {
                Stage::Queued => &mut metrics.queued,
                Stage::InFlight => &mut metrics.in_flight,
                Stage::Unknown => &mut metrics.unknown,
                Stage::Parked(_) => &mut metrics.parked,
            };
            *stage += 1;
        }
        Ok(metrics)
    }
}
