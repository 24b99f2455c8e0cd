//! The first records of a sort order, kept while the others go by.
//!
//! Owns [`Top`]. Keeps only as many records as are wanted, so a limit on a large model needs little memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use landfall_core::{BoundSort, Direction, FieldSource, SyncMetadata, Value, compare_keys};

/// The smallest `wanted` records so far, by sort keys, then by record key.
pub(super) struct Top {
    sort: BoundSort,
    wanted: usize,
    heap: BinaryHeap<Candidate>,
}

struct Candidate {
    values: Vec<(Value, Direction)>,
    key: Vec<u8>,
    /// Kept, so that a record among the first is not looked up a second time.
    row: Vec<u8>,
    sync: Option<SyncMetadata>,
}

impl Top {
    pub(super) fn new(sort: BoundSort, wanted: usize) -> Self {
        Self {
            sort,
            wanted,
            heap: BinaryHeap::new(),
        }
    }

    /// Takes a record in if it is among the first ones.
    pub(super) fn offer(
        &mut self,
        key: &[u8],
        source: &impl FieldSource,
        row: &[u8],
        sync: Option<SyncMetadata>,
    ) {
        if self.heap.len() >= self.wanted {
            let worst = self
                .heap
                .peek()
                .expect("`wanted` is positive, so a full heap has a greatest element");
            // Compared before anything is copied: nearly all records of a large model end here.
            if self.compare(key, source, worst).is_ge() {
                return;
            }
            self.heap.pop();
        }
        let values = self
            .sort
            .keys()
            .iter()
            .map(|(key, direction)| (key.value(source), *direction))
            .collect();
        self.heap.push(Candidate {
            values,
            key: key.to_vec(),
            row: row.to_vec(),
            sync,
        });
    }

    fn compare(&self, key: &[u8], source: &impl FieldSource, other: &Candidate) -> Ordering {
        for ((key, direction), (value, _)) in self.sort.keys().iter().zip(&other.values) {
            let order = direction.apply(key.compare(source, &value.as_ref()));
            if order.is_ne() {
                return order;
            }
        }
        key.cmp(&other.key)
    }

    /// The records' rows and what the server says of them, in order.
    pub(super) fn into_sorted(self) -> Vec<(Vec<u8>, Option<SyncMetadata>)> {
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|candidate| (candidate.row, candidate.sync))
            .collect()
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_keys(&self.values, &other.values).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}
