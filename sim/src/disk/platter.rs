//! The bytes of a disk beneath the system's cache, and what of them a power cut leaves.
//!
//! Owns [`Platter`], [`Survival`] and the [`Dice`] that decide. Knows nothing of faults that are reported; those are
//! `disk.rs`.
//!
//! Invariants: 1. the same dice and the same operations give the same image; 2. what a sync covered is in every image.

use std::sync::Arc;

/// What disks write as a whole.
pub const SECTOR: u64 = 512;

/// An operation that changes the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Bytes were written.
    Write {
        /// Where.
        offset: u64,
        /// What.
        data: Arc<[u8]>,
    },
    /// The file was given this length.
    SetLen(u64),
    /// Everything before was to be brought to the disk.
    Sync,
}

/// What of the unsynced operations is on the disk after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// Some of them, by chance, whatever their order was.
    Some,
    /// Some sectors of some of them.
    Torn,
}

impl Survival {
    /// Every way to survive.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::Torn];
}

/// The bytes beneath the cache of the system: what is there for sure, and what is on its way.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    pub(super) durable: Vec<u8>,
    unsynced: Vec<DiskOp>,
}

impl Platter {
    /// A disk with these bytes, all of them durable.
    pub fn of(durable: Vec<u8>) -> Self {
        Self {
            durable,
            unsynced: Vec::new(),
        }
    }

    /// Takes an operation. A sync makes all before it durable.
    pub fn take(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Sync => {
                for op in std::mem::take(&mut self.unsynced) {
                    apply(&mut self.durable, &op);
                }
            }
            op => self.unsynced.push(op.clone()),
        }
    }

    /// Whether a power cut would lose nothing.
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// What is found after a power cut.
    pub fn image(&self, survival: Survival, dice: &mut Dice) -> Vec<u8> {
        let mut image = self.durable.clone();
        for op in &self.unsynced {
            match survival {
                Survival::Nothing => {}
                Survival::Everything => apply(&mut image, op),
                Survival::Some => {
                    if dice.toss() {
                        apply(&mut image, op);
                    }
                }
                Survival::Torn => tear(&mut image, op, dice),
            }
        }
        image
    }

    /// A sync fails: each unsynced operation reached the disk by chance, or never will.
    pub(super) fn lose(&mut self, dice: &mut Dice) {
        for op in std::mem::take(&mut self.unsynced) {
            if dice.toss() {
                apply(&mut self.durable, &op);
            }
        }
    }
}

/// Applies an operation. What would lie behind the end is not there: its length never got to the disk.
pub(super) fn apply(bytes: &mut Vec<u8>, op: &DiskOp) {
    match op {
        DiskOp::Write { offset, data } => put(bytes, *offset, data),
        DiskOp::SetLen(length) => bytes.resize(index(*length), 0),
        DiskOp::Sync => {}
    }
}

fn put(bytes: &mut [u8], offset: u64, data: &[u8]) {
    let start = index(offset).min(bytes.len());
    let end = (start + data.len()).min(bytes.len());
    bytes[start..end].copy_from_slice(&data[..end - start]);
}

fn tear(bytes: &mut Vec<u8>, op: &DiskOp, dice: &mut Dice) {
    let DiskOp::Write { offset, data } = op else {
        if dice.toss() {
            apply(bytes, op);
        }
        return;
    };
    let (mut at, end) = (*offset, *offset + data.len() as u64);
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if dice.toss() {
            put(bytes, at, &data[index(at - offset)..index(next - offset)]);
        }
        at = next;
    }
}

pub(super) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated disk fits in memory")
}

/// Chance from a seed (SplitMix64): the same on every machine, and without a dependency.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is positive; the bias of the remainder is far below what a test can see.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// Heads or tails.
    pub fn toss(&mut self) -> bool {
        self.roll() >> 63 == 0
    }
}
