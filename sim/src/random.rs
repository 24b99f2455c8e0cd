//! Chance in a simulation: independent streams that follow from one seed and a name.
//!
//! Owns [`Stream`]. Because streams are independent, leaving out one client's action leaves the choices of everybody
//! else as they were.

use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use landfall::Entropy;

/// Seed of a simulation: all that happens in it follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// A stream of random numbers; clones draw from the same one.
#[derive(Clone, Debug)]
pub struct Stream(Arc<Mutex<ChaCha8Rng>>);

impl Seed {
    /// The seed that the environment variable names, or this one.
    ///
    /// # Panics
    /// If the variable holds no number: a typing error must not pass for another seed.
    pub fn from_env_or(default: u64) -> Self {
        match std::env::var("LANDFALL_SEED") {
            Ok(text) => Self(text.parse().expect("LANDFALL_SEED is a whole number")),
            Err(_) => Self(default),
        }
    }

    /// The stream of that name.
    pub fn stream(self, name: &str) -> Stream {
        // FNV-1a spreads similar names over the whole range.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64 ^ self.0, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Stream(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(hash))))
    }
}

impl Stream {
    /// The next 64 bits.
    pub fn bits(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        // The bias of the remainder is far below what any scenario could notice.
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn happens(&self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(index).expect("there is something to pick from")
    }
}

impl Entropy for Stream {
    fn next_u64(&self) -> u64 {
        self.bits()
    }
}
