//! Single heads by their keys: what is read by identifier, directly or through an index.
//!
//! Owns [`Points`]: a map with a budget. When it is full, a hand goes round over the heads and takes out the first that
//! was not used since it came by the last time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexMap;

/// What a kept head takes besides its bytes and those of its key: the map's entry, two allocations, counters.
const OVERHEAD_BYTES: usize = 120;

#[derive(Debug)]
pub(super) struct Points {
    heads: IndexMap<Box<[u8]>, Point>,
    bytes: usize,
    bytes_max: usize,
    /// Where the search for a head that may go is to continue.
    hand: usize,
}

#[derive(Debug)]
struct Point {
    head: Arc<[u8]>,
    loaded_at: u64,
    used: AtomicBool,
}

impl Points {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            heads: IndexMap::new(),
            bytes: 0,
            bytes_max,
            hand: 0,
        }
    }

    pub(super) fn get(&self, key: &[u8], at_least: u64) -> Option<Arc<[u8]>> {
        let point = self.heads.get(key).filter(|point| point.loaded_at <= at_least)?;
        point.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&point.head))
    }

    pub(super) fn insert(&mut self, key: &[u8], head: &[u8], loaded_at: u64) {
        let size = size_of(key, head);
        // One that would push out half of the others is not worth its room.
        if size > self.bytes_max / 2 {
            return;
        }
        self.remove(key);
        while self.bytes + size > self.bytes_max && self.evict_one() {}
        let point = Point {
            head: Arc::from(head),
            loaded_at,
            used: AtomicBool::new(false),
        };
        self.heads.insert(Box::from(key), point);
        self.bytes += size;
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some((key, point)) = self.heads.swap_remove_entry(key) {
            self.bytes -= size_of(&key, &point.head);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// Takes out one head; goes round at most twice, since each that it passes counts as unused the next time.
    fn evict_one(&mut self) -> bool {
        while !self.heads.is_empty() {
            self.hand %= self.heads.len();
            let point = &self.heads[self.hand];
            if point.used.swap(false, Ordering::Relaxed) {
                self.hand += 1;
                continue;
            }
            if let Some((key, point)) = self.heads.swap_remove_index(self.hand) {
                self.bytes -= size_of(&key, &point.head);
            }
            return true;
        }
        false
    }
}

fn size_of(key: &[u8], head: &[u8]) -> usize {
    key.len() + head.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_budget_holds() {
        let mut points = Points::new(20 * (OVERHEAD_BYTES + 10));
        for number in 0..200_u8 {
            points.insert(&[number], &[number; 9], 1);
            assert!(points.bytes <= points.bytes_max);
            assert!(points.get(&[0], 1).is_some(), "used before each step, {number}");
        }
        assert_eq!(points.heads.len(), 20);
        assert!(points.get(&[50], 1).is_none());
        points.insert(&[1], &vec![0; points.bytes_max], 1);
        assert!(points.get(&[1], 1).is_none(), "too large to be kept");
        points.clear();
        assert_eq!((points.bytes, points.heads.len()), (0, 0));
    }

    #[test]
    fn a_head_from_the_future_is_not_shown() {
        let mut points = Points::new(1_000);
        points.insert(b"k", b"new", 7);
        assert!(points.get(b"k", 6).is_none());
        assert_eq!(points.get(b"k", 7).as_deref(), Some(b"new".as_slice()));
        points.insert(b"k", b"newer", 8);
        assert!(points.get(b"k", 7).is_none());
        assert_eq!(points.bytes, size_of(b"k", b"newer"));
    }
}
