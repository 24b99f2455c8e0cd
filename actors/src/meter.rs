//! Counting what a store does, for whoever watches many of them.
//!
//! Owns [`Meter`] and the list of what is counted. What the numbers mean to an app is `landfall::Metrics`'s.
//!
//! Invariants: 1. a number says nothing of what is in a record; 2. counting decides nothing: a run with a meter that
//! nobody reads is the same run. Each number costs one atomic addition, and all of them together a few hundred bytes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall_core::{Change, Origin};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Transactions of the storage actor that are on disk.
    Commits,
    /// Transactions that failed, or of which the disk did not say.
    CommitsFailed,
    /// Commands in all transactions.
    Commands,
    /// Most commands in one transaction; the largest, not a sum.
    CommandsMax,
    /// Transactions that took on as many commands as one may have, so that others had to wait for the next.
    CommitsFull,
    /// Entries of the log.
    Entries,
    /// Writes of the app.
    Writes,
    /// Mutations handed to the transport, each time.
    Sent,
    /// Those of them that had been handed over before.
    SentAgain,
    /// Mutations that the server applied.
    Acknowledged,
    /// Mutations that met another version of the record.
    Conflicts,
    /// Mutations that the server refused for good.
    Refused,
    /// Mutations that certainly were not applied and wait again.
    NotApplied,
    /// Mutations of which no answer will come.
    OutcomeUnknown,
    /// Refused mutations that were tried again, edited ones included.
    Retried,
    /// Refused mutations that were given up.
    Discarded,
    /// Records of the server that were news.
    RecordsTaken,
    /// Records that left because sync no longer covers them.
    Evicted,
    /// Records of the server that could not be read.
    Quarantined,
    /// Pages of sync queries that were stored.
    SyncPages,
    /// Records on them.
    SyncRecords,
    /// Times that records of subscriptions were stored, each of one frame or of several that came together.
    SubscriptionBatches,
    /// Records in those.
    SubscriptionRecords,
    /// Frames that arrived over realtime sockets, of any kind.
    Frames,
    /// Realtime sockets that were opened.
    SocketsOpened,
    /// Realtime sockets that ended without being closed by the store, or did not open.
    SocketsLost,
    /// Commands of an ended run that were ignored.
    Stale,
    /// Most change sets that waited for one observer; the largest, not a sum.
    ObserverBacklogMax,
    /// Times that an observer was told that it fell behind.
    ObserversBehind,
    /// Hub events that a slow listener did not get.
    HubEventsLost,
    /// Calls of the app that waited because as many as may were on their way.
    CallsHeldBack,
}

/// One more than the place of the last count.
const COUNTS: usize = Count::CallsHeldBack as usize + 1;

/// Where the actors of a store count. Clones count in the same place.
#[derive(Clone)]
pub struct Meter(Arc<[AtomicU64; COUNTS]>);

impl Default for Meter {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    /// Counts so many.
    pub fn add(&self, count: Count, many: u64) {
        if many > 0 {
            // Numbers of different counts need no order among each other.
            self.0[count as usize].fetch_add(many, Ordering::Relaxed);
        }
    }

    /// Keeps the larger number.
    pub fn raise(&self, count: Count, to: u64) {
        let number = &self.0[count as usize];
        if number.load(Ordering::Relaxed) < to {
            number.fetch_max(to, Ordering::Relaxed);
        }
    }

    /// The number so far.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// Counts a transaction that is on disk.
    pub(crate) fn add_tally(&self, tally: &Tally) {
        for (number, many) in self.0.iter().zip(tally.0) {
            if many > 0 {
                number.fetch_add(u64::from(many), Ordering::Relaxed);
            }
        }
    }
}

/// What one transaction will have counted once it is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Tally([u32; COUNTS]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; COUNTS])
    }
}

impl Tally {
    /// Counts so many.
    pub(crate) fn add(&mut self, count: Count, many: usize) {
        let number = &mut self.0[count as usize];
        *number = number.saturating_add(u32::try_from(many).unwrap_or(u32::MAX));
    }

    /// Counts records of the server that were stored together.
    pub(crate) fn remote(&mut self, origin: Origin, records: usize) {
        let (batches, of_them) = match origin {
            Origin::Subscription => (Count::SubscriptionBatches, Count::SubscriptionRecords),
            Origin::Sync => (Count::SyncPages, Count::SyncRecords),
            // What the server tells in other ways comes alone, and is counted as what it is.
            Origin::App | Origin::Outbox | Origin::Response | Origin::Recovery => return,
        };
        self.add(batches, 1);
        self.add(of_them, records);
    }

    /// Counts an entry that was appended.
    pub(crate) fn appended(&mut self, entry: OfEntry) {
        self.add(Count::Entries, 1);
        entry
            .counts
            .into_iter()
            .flatten()
            .for_each(|count| self.add(count, 1));
    }
}

/// What an entry counts as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfEntry {
    counts: [Option<Count>; 2],
}

impl OfEntry {
    pub(crate) fn of(change: &Change) -> Self {
        let count = match change {
            Change::Write(_) => Count::Writes,
            Change::Sent(_) => Count::Sent,
            Change::OutcomeUnknown(_) => Count::OutcomeUnknown,
            Change::NotApplied(_) => Count::NotApplied,
            Change::Acknowledged(_) => Count::Acknowledged,
            Change::Conflict(_) => Count::Conflicts,
            Change::Refused(_) => Count::Refused,
            Change::Retried(_) | Change::Edited(_) => Count::Retried,
            Change::Discarded(_) => Count::Discarded,
            Change::Remote(_) => Count::RecordsTaken,
            Change::Evicted(_) => Count::Evicted,
            Change::Quarantined(_) => Count::Quarantined,
            _ => return Self { counts: [None; 2] },
        };
        let again = matches!(change, Change::Sent(sent) if sent.attempt > 1);
        Self {
            counts: [Some(count), again.then_some(Count::SentAgain)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_in_the_same_place_and_the_largest_stays() {
        let meter = Meter::default();
        meter.clone().add(Count::Commits, 2);
        meter.add(Count::Commits, 1);
        assert_eq!(meter.get(Count::Commits), 3);
        for commands in [4, 9, 5] {
            meter.raise(Count::CommandsMax, commands);
        }
        assert_eq!(meter.get(Count::CommandsMax), 9);
        assert_eq!(meter.get(Count::CallsHeldBack), 0);
    }

    #[test]
    fn what_is_not_on_disk_is_not_counted() {
        let (meter, mut tally) = (Meter::default(), Tally::default());
        tally.appended(OfEntry::of(&Change::Cleared));
        assert_eq!(meter.get(Count::Entries), 0);
        meter.add_tally(&tally);
        assert_eq!(meter.get(Count::Entries), 1);
    }
}
