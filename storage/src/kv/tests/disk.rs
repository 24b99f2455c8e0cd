//! A simulated disk beneath a store of rows: what is on it for sure, what a power cut leaves, and how it fails.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::RowsDisk;
use crate::kv::{DiskBackend, KvError, KvStore};

/// What disks write as a whole.
const SECTOR: usize = 512;

/// What a file system gives a file at a time.
const BLOCK: usize = 4_096;

/// An operation that changes the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// What of the unsynced operations survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Any of them, whatever their order was.
    Some,
    /// Any sectors of any of them.
    Torn,
}

impl Survival {
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::Torn];
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does nothing.
    Refused,
    /// The same, because there is no room.
    Full,
    /// A write does half of its work.
    Halved,
    /// A sync brings some of what it covers to the disk; the rest never gets there, though it is still read. Nothing else fails.
    SyncLost,
    /// As before, and what is lost is no longer read either.
    SyncForgotten,
}

impl Fault {
    /// Whether only syncs fail in this way.
    pub(super) fn is_of_syncs(self) -> bool {
        matches!(self, Self::SyncLost | Self::SyncForgotten)
    }
}

/// Chance from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    fn toss(&mut self) -> bool {
        self.roll() >> 63 == 0
    }
}

/// The bytes that are on the disk for sure, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    durable: Vec<u8>,
    unsynced: Vec<Op>,
}

impl Platter {
    pub(super) fn of(durable: Vec<u8>) -> Self {
        Self {
            durable,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, op: &Op) {
        match op {
            Op::Sync => {
                for op in std::mem::take(&mut self.unsynced) {
                    apply(&mut self.durable, &op);
                }
            }
            op => self.unsynced.push(op.clone()),
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub(super) fn image(&self, survival: Survival, dice: &mut Dice) -> Vec<u8> {
        let mut image = self.durable.clone();
        for op in &self.unsynced {
            match (survival, op) {
                (Survival::Nothing, _) => {}
                (Survival::Torn, Op::Write(offset, data)) => {
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.toss() {
                            apply(&mut image, &Op::Write(offset + number * SECTOR, sector.to_vec()));
                        }
                    }
                }
                (Survival::Some | Survival::Torn, op) => {
                    if dice.toss() {
                        apply(&mut image, op);
                    }
                }
                (Survival::Everything, op) => apply(&mut image, op),
            }
        }
        image
    }
}

/// What lies behind the end is not there: its length never got to the disk.
fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => {
            let start = (*offset).min(bytes.len());
            let end = (start + data.len()).min(bytes.len());
            bytes[start..end].copy_from_slice(&data[..end - start]);
        }
        Op::SetLen(len) => bytes.resize(*len, 0),
        Op::Sync => {}
    }
}

/// A disk with one file; clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct TestDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    platter: Platter,
    /// What readers see.
    seen: Vec<u8>,
    done: Vec<Op>,
    /// Operations so far, failed ones included.
    count: usize,
    fails: Vec<(Range<usize>, Fault)>,
    reads_fail: bool,
    /// Blocks of the file since the disk is full.
    full_at: Option<usize>,
    dice: Dice,
}

impl TestDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self::with_image(Vec::new(), seed)
    }

    pub(super) fn with_image(image: Vec<u8>, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            platter: Platter::of(image.clone()),
            seen: image,
            done: Vec::new(),
            count: 0,
            fails: Vec::new(),
            reads_fail: false,
            full_at: None,
            dice: Dice(seed),
        })))
    }

    /// Opens a store on it.
    pub(super) fn open(&self) -> Result<KvStore, KvError> {
        let disk = self.clone();
        KvStore::with_opener(move || Ok(Box::new(disk.clone())))
    }

    /// The same without a cache: every read reaches the disk, and pages are written as soon as they are changed.
    pub(super) fn open_uncached(&self) -> Result<KvStore, KvError> {
        let disk = self.clone();
        let opener = RowsDisk::Opener(Box::new(move || Ok(Box::new(disk.clone()))));
        KvStore::with_cache(opener, 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn count(&self) -> usize {
        self.state().count
    }

    /// Has operations of those numbers fail, beside those that are to fail already.
    pub(super) fn fail(&self, at: Range<usize>, fault: Fault) {
        self.state().fails.push((at, fault));
    }

    pub(super) fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    pub(super) fn fill(&self) {
        let mut state = self.state();
        state.full_at = Some(state.seen.len().div_ceil(BLOCK));
    }

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.fails.clear();
        (state.full_at, state.reads_fail) = (None, false);
    }

    /// Puts other bytes in place of the file.
    pub(super) fn replace(&self, image: Vec<u8>) {
        let mut state = self.state();
        state.seen.clone_from(&image);
        state.platter = Platter::of(image);
    }

    /// The operations that were carried out so far.
    pub(super) fn done(&self) -> Vec<Op> {
        self.state().done.clone()
    }

    /// What a power cut would leave now.
    pub(super) fn image(&self, survival: Survival) -> Vec<u8> {
        let State { platter, dice, .. } = &mut *self.state();
        platter.image(survival, dice)
    }
}

impl State {
    fn perform(&mut self, op: Op) -> io::Result<()> {
        let number = self.count;
        self.count += 1;
        let is_sync = matches!(op, Op::Sync);
        let fails = self
            .fails
            .iter()
            .find(|(at, fault)| at.contains(&number) && (is_sync || !fault.is_of_syncs()));
        if let Some((_, fault)) = fails {
            let fault = *fault;
            self.spoil(&op, fault);
            if fault == Fault::Full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return Err(io::Error::other(format!("simulated fault of operation {number}")));
        }
        let reaches = match &op {
            Op::Write(offset, data) => offset + data.len(),
            Op::SetLen(len) => *len,
            Op::Sync => 0,
        };
        if self
            .full_at
            .is_some_and(|blocks| reaches.div_ceil(BLOCK) > blocks)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.carry_out(op);
        Ok(())
    }

    fn carry_out(&mut self, op: Op) {
        apply(&mut self.seen, &op);
        self.platter.take(&op);
        self.done.push(op);
    }

    fn spoil(&mut self, op: &Op, fault: Fault) {
        match (fault, op) {
            (Fault::Halved, Op::Write(offset, data)) => {
                self.carry_out(Op::Write(*offset, data[..data.len() / 2].to_vec()));
            }
            (Fault::SyncLost | Fault::SyncForgotten, Op::Sync) => {
                let State { platter, dice, .. } = self;
                platter.durable = platter.image(Survival::Some, dice);
                platter.unsynced.clear();
                if fault == Fault::SyncForgotten {
                    self.seen.clone_from(&self.platter.durable);
                }
            }
            _ => {}
        }
    }
}

impl DiskBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if state.reads_fail {
            return Err(io::Error::other("simulated fault of a read"));
        }
        let start = usize::try_from(offset).unwrap();
        let bytes = state
            .seen
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().perform(Op::SetLen(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state().perform(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.state().perform(Op::Write(offset, data.to_vec()))
    }
}
