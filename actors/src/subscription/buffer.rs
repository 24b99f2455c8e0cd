//! The subscription buffer: what has arrived and is not stored yet.
//!
//! Owns the gate that is closed while models are synced, the order of arrival and the batches in which records are
//! stored. Pure.
//!
//! | gate | arrives | drain | stored | close |
//! |---|---|---|---|---|
//! | closed | kept | draining | - | - |
//! | draining | kept, stored in turn | - | the next batch; after the last one live, announced | closed |
//! | live | kept, stored in turn | draining | the next batch | closed |
//!
//! Bounds: at most [`RECORDS_MAX`] records and [`BYTES_MAX`] bytes wait. What comes beyond that drops everything that
//! waits: once something is missing only a sync can tell what, and it brings the rest as well.
//!
//! Invariants: 1. at most one batch is on its way to the store; 2. records of a model are stored in the order in which
//! they arrived; 3. what a closed gate holds back is stored after it opens or dropped as a whole, never in part.

use std::collections::VecDeque;

use landfall_core::{ModelName, Origin, planted};

use super::catalog::Item;
use crate::storage::RemoteBatch;

/// Records that wait at most: two pages of a sync query. Beyond that a sync is quicker than storing them one by one.
pub(super) const RECORDS_MAX: usize = 2_000;

/// Bytes of payload that wait at most. Records of 240 KB each would otherwise add up to half a gigabyte.
pub(super) const BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Records of one batch; more would hold up the app's own writes, which wait for the same transaction.
pub(super) const BATCH_MAX: usize = 100;

/// Too much had arrived; nothing waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    /// Records that were dropped.
    pub(super) dropped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closed,
    Draining,
    Live,
}

#[derive(Debug)]
struct Arrival {
    model: ModelName,
    item: Item,
    bytes: usize,
}

/// What has arrived and is not stored yet.
#[derive(Debug)]
pub(super) struct Buffer {
    gate: Gate,
    waiting: VecDeque<Arrival>,
    bytes: usize,
    storing: bool,
}

impl Buffer {
    /// An empty buffer with a closed gate.
    pub(super) fn new() -> Self {
        Self {
            gate: Gate::Closed,
            waiting: VecDeque::new(),
            bytes: 0,
            storing: false,
        }
    }

    /// Keeps an arrival of so many bytes.
    pub(super) fn push(&mut self, model: ModelName, item: Item, bytes: usize) -> Result<(), Overflow> {
        if self.waiting.len() >= RECORDS_MAX || self.bytes.saturating_add(bytes) > BYTES_MAX {
            let dropped = self.waiting.len() + 1;
            self.waiting.clear();
            self.bytes = 0;
            return Err(Overflow { dropped });
        }
        if planted("buffer-forgotten") && self.gate == Gate::Closed {
            return Ok(());
        }
        self.bytes += bytes;
        self.waiting.push_back(Arrival { model, item, bytes });
        Ok(())
    }

    /// Keeps everything back from here on.
    pub(super) fn close(&mut self) {
        self.gate = Gate::Closed;
    }

    /// Lets everything through from here on; [`take_drained`](Self::take_drained) says once when the last is stored.
    pub(super) fn drain(&mut self) {
        self.gate = Gate::Draining;
    }

    /// Whether arrivals are stored as they come and nobody waits to hear so.
    pub(super) fn is_live(&self) -> bool {
        self.gate == Gate::Live
    }

    /// The next batch to be stored, once the one before is.
    pub(super) fn next_batch(&mut self) -> Option<RemoteBatch> {
        if self.storing || self.gate == Gate::Closed {
            return None;
        }
        let model = self.waiting.front()?.model.clone();
        let mut batch = RemoteBatch::new(Origin::Subscription, model);
        while batch.records.len() + batch.outside.len() + batch.bad.len() < BATCH_MAX
            && self
                .waiting
                .front()
                .is_some_and(|arrival| arrival.model == batch.model)
            && let Some(arrival) = self.waiting.pop_front()
        {
            self.bytes -= arrival.bytes;
            match arrival.item {
                Item::Record(record) => batch.records.push(record),
                // Versions tell what came first where one record is in both lists.
                Item::Outside(record) => batch.outside.push(record),
                Item::Bad(bad) => batch.bad.push(bad),
            }
        }
        planted("batch-loses-last").then(|| (batch.records.len() > 1).then(|| batch.records.pop()));
        self.storing = true;
        Some(batch)
    }

    /// The batch is stored, or never will be. Returns whether there was one.
    pub(super) fn stored(&mut self) -> bool {
        std::mem::take(&mut self.storing)
    }

    /// Whether draining has just come to its end.
    pub(super) fn take_drained(&mut self) -> bool {
        let drained = self.gate == Gate::Draining && self.waiting.is_empty() && !self.storing;
        if drained {
            self.gate = Gate::Live;
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::Quarantined;

    use super::*;

    fn bad(model: &str, number: usize) -> (ModelName, Item) {
        let json = number.to_string();
        (
            model.into(),
            Item::Bad(Quarantined {
                model: model.into(),
                reason: String::new(),
                json,
            }),
        )
    }

    fn push(buffer: &mut Buffer, model: &str, number: usize) -> Result<(), Overflow> {
        let (model, item) = bad(model, number);
        buffer.push(model, item, 10)
    }

    /// The batches in which everything is stored, such as `A 1 2`.
    fn batches(buffer: &mut Buffer) -> Vec<String> {
        let mut batches = Vec::new();
        while let Some(batch) = buffer.next_batch() {
            assert!(buffer.next_batch().is_none(), "one batch at a time");
            let numbers: Vec<_> = batch.bad.iter().map(|bad| bad.json.as_str()).collect();
            batches.push(format!("{} {}", batch.model, numbers.join(" ")));
            assert!(buffer.stored());
        }
        batches
    }

    #[test]
    fn a_closed_gate_holds_back_and_draining_keeps_the_order() {
        let mut buffer = Buffer::new();
        for (number, model) in ["A", "A", "B", "A"].into_iter().enumerate() {
            push(&mut buffer, model, number).unwrap();
        }
        assert!(buffer.next_batch().is_none());
        assert!(!buffer.take_drained());
        buffer.drain();
        assert!(!buffer.take_drained(), "something still waits");
        assert_eq!(batches(&mut buffer), ["A 0 1", "B 2", "A 3"]);
        assert!(!buffer.is_live());
        assert!(buffer.take_drained());
        assert!(buffer.is_live() && !buffer.take_drained(), "said once");
    }

    #[test]
    fn draining_ends_only_when_the_last_batch_is_stored() {
        let mut buffer = Buffer::new();
        push(&mut buffer, "A", 0).unwrap();
        buffer.drain();
        assert!(buffer.next_batch().is_some());
        assert!(!buffer.take_drained());
        assert!(buffer.stored() && !buffer.stored());
        assert!(buffer.take_drained());
    }

    #[test]
    fn batches_are_bounded() {
        let mut buffer = Buffer::new();
        for number in 0..=BATCH_MAX {
            push(&mut buffer, "A", number).unwrap();
        }
        buffer.drain();
        assert_eq!(batches(&mut buffer).len(), 2);
    }

    #[test]
    fn too_many_records_or_bytes_drop_everything() {
        let mut buffer = Buffer::new();
        for number in 0..RECORDS_MAX {
            push(&mut buffer, "A", number).unwrap();
        }
        assert_eq!(
            push(&mut buffer, "A", 0),
            Err(Overflow {
                dropped: RECORDS_MAX + 1
            })
        );
        let (model, item) = bad("A", 1);
        assert_eq!(buffer.push(model.clone(), item.clone(), BYTES_MAX), Ok(()));
        assert_eq!(buffer.push(model, item, 1), Err(Overflow { dropped: 2 }));
        buffer.drain();
        assert!(batches(&mut buffer).is_empty());
        assert!(buffer.take_drained());
    }
}
