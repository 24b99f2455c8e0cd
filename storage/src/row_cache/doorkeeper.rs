//! Lets in what is asked for a second time: most heads that are read once are not read again soon, and keeping them would
//! cost more than it saves.
//!
//! Owns [`Doorkeeper`]: bits by the hashes of keys, forgotten when many are set. It may take one key for another, which
//! costs a needless copy and nothing else.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Words of 64 bits: 8 KiB in all.
const WORDS: usize = 1_024;

/// Keys after which it forgets, a quarter of the bits: so few that seldom two share one.
const KEYS_MAX: u32 = 16_384;

#[derive(Debug)]
pub(super) struct Doorkeeper {
    words: Box<[AtomicU64]>,
    keys: AtomicU32,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            keys: AtomicU32::new(0),
        }
    }
}

impl Doorkeeper {
    /// Whether the key came by before; notes that it did now.
    pub(super) fn has_seen(&self, key: &[u8]) -> bool {
        let hash = crc32fast::hash(key);
        let bit = 1 << (hash % u64::BITS);
        let word = &self.words[(hash / u64::BITS) as usize % WORDS];
        if word.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return true;
        }
        if self.keys.fetch_add(1, Ordering::Relaxed) >= KEYS_MAX {
            self.keys.store(0, Ordering::Relaxed);
            self.words
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_counts_until_it_forgets() {
        let doorkeeper = Doorkeeper::default();
        let has_seen = |number: u32| doorkeeper.has_seen(format!("Item\0{number}").as_bytes());
        assert!(!has_seen(0));
        assert!(has_seen(0));
        let strangers = (1..KEYS_MAX).filter(|n| has_seen(*n)).count();
        assert!(strangers < KEYS_MAX as usize / 4, "{strangers} taken for others");
        assert!((KEYS_MAX..KEYS_MAX * 2).filter(|n| !has_seen(*n)).count() > 0);
        let again = (0..100).filter(|n| has_seen(*n)).count();
        assert!(
            again < 60,
            "old keys are forgotten, not {again} of 100 remembered"
        );
    }
}
