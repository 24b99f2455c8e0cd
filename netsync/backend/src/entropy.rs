//! Where identifiers come from.
//!
//! Owns [`Entropy`], its seeded form, and UUIDs made from it. Does not ask the operating system: the shell does
//! (`serve.rs`).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of random bytes that is handed in, so that the same seed gives the same identifiers.
pub trait Entropy: Send {
    /// Fills the buffer with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// Random bytes that follow from a seed.
#[derive(Clone, Debug)]
pub struct SeededEntropy(ChaCha8Rng);

impl SeededEntropy {
    /// The source of that seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The source of a seed of full length.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A random (version 4) UUID in its usual text form.
pub(crate) fn uuid_v4(entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_version_4_uuids() {
        let (mut one, mut two) = (SeededEntropy::new(7), SeededEntropy::new(7));
        let id = uuid_v4(&mut one);
        assert_eq!(id, uuid_v4(&mut two));
        assert_ne!(id, uuid_v4(&mut one));
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
    }
}
