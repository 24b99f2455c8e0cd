//! A disk that loses what was not synced, tears what was being written, and fails when it is told to.
//!
//! Owns [`SimDisk`], the backend of a simulated store, and how its operations fail. What is on it beneath the system's
//! cache, and what of that a power cut leaves, is `disk/platter.rs`. Knows nothing of databases: it sees reads, writes,
//! changes of length and syncs.
//!
//! Invariants: 1. the same seed and the same operations give the same bytes; 2. what a successful sync covered is
//! never lost, unless the disk was told to lie; 3. a program that was running when the power was cut can neither read
//! nor write any more.

mod platter;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_storage::{Disk, OpenBackend, StorageBackend};

use crate::trace::TraceLog;

pub use platter::{Dice, DiskOp, Platter, SECTOR, Survival};
use platter::{apply, index};

/// What a file system gives a file at a time; a full disk has none left to give.
const BLOCK: u64 = 4_096;

/// Most blocks that a disk has left that counts as full.
const ROOM_BLOCKS_MAX: u64 = 3;

/// Operations by which it is told how fast a file grows: a full disk has less left than as many more would take.
const GROWTH_OPS: usize = 16;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A write, a change of length or a sync reports an error and does nothing.
    Refused,
    /// The same, because the disk is full.
    Full,
    /// As [`FaultKind::Refused`]; and if it is a sync, some of what it was to bring to the disk never gets there,
    /// although readers still see it and later syncs succeed.
    SyncLost,
    /// As [`FaultKind::SyncLost`], but readers no longer see what is lost.
    SyncForgotten,
    /// A write does half of its work, then reports an error.
    Halved,
    /// A read reports an error.
    Read,
}

/// Operations that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Their numbers, from 0; those of reads are counted apart from the others.
    pub at: Range<u64>,
    /// How they fail.
    pub kind: FaultKind,
}

/// A simulated disk with one file; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    platter: Platter,
    /// What readers see.
    cache: Vec<u8>,
    /// Raised by each power cut; who opened the disk before it is gone.
    boot: u64,
    ops: u64,
    reads: u64,
    faults: Vec<Fault>,
    /// How the next syncs fail, and how many of them.
    syncs_fail: Option<(FaultKind, u64)>,
    /// Blocks that the file has been given: a file is given one when something is first written there, not when it is made
    /// longer or filled with zeros.
    given: BTreeSet<u64>,
    /// How many blocks each of the newest operations was given, at most [`GROWTH_OPS`] of them.
    growth: VecDeque<u64>,
    /// Set while the disk is full: how many more blocks it can give.
    room: Option<u64>,
    /// Operations that failed, were cut short, or never came to be because the power went, by kind.
    effects: BTreeMap<&'static str, u64>,
    /// Who hears of every operation that changes the disk.
    witness: Option<TraceLog>,
    lies: bool,
    journal: Option<Vec<DiskOp>>,
    /// Operations that still succeed before the power goes by itself.
    cut_after: Option<u64>,
    /// Rung when the power went by itself.
    bell: Arc<tokio::sync::Notify>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes after {} operations and {} reads",
            self.cache.len(),
            self.ops,
            self.reads
        )
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with_image(Vec::new(), seed)
    }

    /// A disk with these bytes.
    pub fn with_image(image: Vec<u8>, seed: u64) -> Self {
        let platter = Platter::of(image.clone());
        let given = (0..(image.len() as u64).div_ceil(BLOCK)).collect();
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            platter,
            cache: image,
            boot: 0,
            ops: 0,
            reads: 0,
            faults: Vec::new(),
            syncs_fail: None,
            given,
            growth: VecDeque::new(),
            room: None,
            effects: BTreeMap::new(),
            witness: None,
            lies: false,
            journal: None,
            cut_after: None,
            bell: Arc::default(),
        })))
    }

    /// What a store is opened on.
    pub fn disk(&self) -> Disk {
        Disk::Custom(self.opener())
    }

    /// Opens the file anew each time.
    pub fn opener(&self) -> OpenBackend {
        let disk = self.clone();
        Arc::new(move || Ok(Box::new(disk.backend())))
    }

    /// The file, opened by the program that runs now.
    pub fn backend(&self) -> SimFile {
        SimFile {
            boot: self.state().boot,
            disk: self.clone(),
        }
    }

    /// Operations so far that change the disk, failed ones included.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Reads so far, failed ones included.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Has operations fail, beside those that are to fail already.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Has the next syncs fail, however many other operations come in between.
    pub fn fail_syncs(&self, kind: FaultKind, times: u64) {
        self.state().syncs_fail = Some((kind, times));
    }

    /// Has no operation fail any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.syncs_fail = None;
        state.room = None;
        state.lies = false;
        state.cut_after = None;
    }

    /// Leaves hardly any room on the disk, until healed: the file cannot be made longer, and of its parts that were never
    /// written only a few blocks can be, as chance decides. There are fewer than the newest operations took, so that a file
    /// that grows meets the end whether little or much is written.
    pub fn fill(&self) {
        let mut state = self.state();
        let grown: u64 = state.growth.iter().sum();
        let room = state.dice.below(grown.clamp(1, ROOM_BLOCKS_MAX + 1));
        state.room = Some(room);
    }

    /// Ends what [`SimDisk::fill`] began; everything else that is to fail still does.
    pub fn empty_out(&self) {
        self.state().room = None;
    }

    /// How often operations of the store met that: `write`, `sync`, `read`, `full`, `power`.
    pub(crate) fn effects(&self, what: &str) -> u64 {
        self.state().effects.get(what).copied().unwrap_or(0)
    }

    /// Has the hash of a trace cover every operation from here on.
    pub(crate) fn witnessed_by(&self, trace: &TraceLog) {
        self.state().witness = Some(trace.clone());
    }

    /// Has syncs succeed without doing anything; until healed.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// Turns over one bit of what readers see and of what is durable.
    pub fn flip_bit(&self, offset: u64, bit: u8) {
        let mut state = self.state();
        let (offset, mask) = (index(offset), 1 << (bit % 8));
        let State { cache, platter, .. } = &mut *state;
        for bytes in [cache, &mut platter.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
    }

    /// Cuts the power: what survives is on the disk, and whoever had it open is gone.
    pub fn cut_power(&self, survival: Survival) {
        let image = self.image(survival);
        self.state().replace(image);
    }

    /// Cuts the power; chance decides what survives, and in which way.
    pub fn crash(&self) {
        let kinds = Survival::ALL.len() as u64;
        let survival = Survival::ALL[index(self.state().dice.below(kinds))];
        self.cut_power(survival);
    }

    /// Cuts the power in the middle of an operation, after so many that still succeed; chance decides what survives.
    pub fn cut_power_after(&self, operations: u64) {
        self.state().cut_after = Some(operations);
    }

    /// How often the power went so far; whoever opened the disk before is gone.
    pub fn boots(&self) -> u64 {
        self.state().boot
    }

    /// Waits until the power goes by itself; see [`SimDisk::cut_power_after`].
    pub async fn power_went(&self) {
        let bell = Arc::clone(&self.state().bell);
        bell.notified().await;
    }

    /// Puts other bytes in place of the file, such as those of a backup, while nobody has it open.
    pub fn restore(&self, image: Vec<u8>) {
        self.state().replace(image);
    }

    /// What readers see.
    pub fn contents(&self) -> Vec<u8> {
        self.state().cache.clone()
    }

    /// What a power cut would leave now.
    pub fn image(&self, survival: Survival) -> Vec<u8> {
        let mut state = self.state();
        let State { platter, dice, .. } = &mut *state;
        platter.image(survival, dice)
    }

    /// Keeps every operation from now on.
    pub fn record(&self) {
        self.state().journal = Some(Vec::new());
    }

    /// The operations since [`SimDisk::record`].
    pub fn recorded(&self) -> Vec<DiskOp> {
        self.state().journal.take().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, image: Vec<u8>) {
        self.boot += 1;
        self.cut_after = None;
        self.cache.clone_from(&image);
        self.platter = Platter::of(image);
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let number = self.reads;
        self.reads += 1;
        if self
            .faults
            .iter()
            .any(|fault| fault.kind == FaultKind::Read && fault.at.contains(&number))
        {
            self.met("read");
            return Err(io::Error::other(format!("simulated fault of read {number}")));
        }
        let start = index(offset);
        let bytes = self
            .cache
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn met(&mut self, what: &'static str) {
        *self.effects.entry(what).or_default() += 1;
    }

    /// Tells whoever hears of every operation.
    fn tell(&self, op: &DiskOp) {
        let Some(trace) = &self.witness else { return };
        match op {
            DiskOp::Write { offset, data } => {
                trace.mix(&offset.to_le_bytes());
                trace.mix(data);
            }
            DiskOp::SetLen(length) => trace.mix(&length.to_le_bytes()),
            DiskOp::Sync => trace.mix(b"sync"),
        }
    }

    fn perform(&mut self, op: DiskOp) -> io::Result<()> {
        let number = self.ops;
        self.ops += 1;
        self.tell(&op);
        if let Some(left) = &mut self.cut_after {
            if *left == 0 {
                return Err(self.lose_power(&op));
            }
            *left -= 1;
        }
        let fault = self
            .faults
            .iter()
            .find(|fault| fault.kind != FaultKind::Read && fault.at.contains(&number));
        let kind = fault.map(|fault| fault.kind);
        if let Some(kind) = kind.or_else(|| self.failing_sync(&op)) {
            self.met(if op == DiskOp::Sync { "sync" } else { "write" });
            self.spoil(&op, kind);
            return Err(match kind {
                FaultKind::Full => io::ErrorKind::StorageFull.into(),
                _ => io::Error::other(format!("simulated fault of operation {number}")),
            });
        }
        if self.lacks_room(&op) {
            self.met("full");
            return Err(io::ErrorKind::StorageFull.into());
        }
        if op == DiskOp::Sync && self.lies {
            return Ok(());
        }
        self.carry_out(op);
        Ok(())
    }

    /// How a sync fails, if it is one of those that are to fail.
    fn failing_sync(&mut self, op: &DiskOp) -> Option<FaultKind> {
        let (kind, left) = self.syncs_fail.filter(|_| *op == DiskOp::Sync)?;
        self.syncs_fail = (left > 1).then_some((kind, left - 1));
        Some(kind)
    }

    /// The power goes while an operation is under way.
    fn lose_power(&mut self, op: &DiskOp) -> io::Error {
        if *op != DiskOp::Sync {
            self.platter.take(op);
        }
        let kinds = Survival::ALL.len() as u64;
        let survival = Survival::ALL[index(self.dice.below(kinds))];
        let State { platter, dice, .. } = self;
        let image = platter.image(survival, dice);
        self.replace(image);
        self.met("power");
        self.bell.notify_one();
        io::Error::other("the power was cut while the file was open")
    }

    fn carry_out(&mut self, op: DiskOp) {
        let before = self.given.len();
        match &op {
            DiskOp::Write { offset, data } => self.given.extend(filled(*offset, data)),
            DiskOp::SetLen(length) => self.given.retain(|block| *block < length.div_ceil(BLOCK)),
            DiskOp::Sync => {}
        }
        if self.growth.len() == GROWTH_OPS {
            self.growth.pop_front();
        }
        self.growth
            .push_back(self.given.len().saturating_sub(before) as u64);
        apply(&mut self.cache, &op);
        self.platter.take(&op);
        if let Some(journal) = &mut self.journal {
            journal.push(op);
        }
    }

    /// What an operation does although it fails.
    fn spoil(&mut self, op: &DiskOp, kind: FaultKind) {
        match (kind, op) {
            (FaultKind::SyncLost | FaultKind::SyncForgotten, DiskOp::Sync) => {
                self.platter.lose(&mut self.dice);
                if kind == FaultKind::SyncForgotten {
                    self.cache.clone_from(&self.platter.durable);
                }
            }
            (FaultKind::Halved, DiskOp::Write { offset, data }) => {
                self.carry_out(DiskOp::Write {
                    offset: *offset,
                    data: data[..data.len() / 2].into(),
                });
            }
            _ => {}
        }
    }

    /// Whether an operation needs blocks that a full disk cannot give. The file's own blocks can be written again.
    fn lacks_room(&mut self, op: &DiskOp) -> bool {
        let Some(room) = &mut self.room else {
            return false;
        };
        match op {
            DiskOp::Write { offset, data } => {
                let given = &self.given;
                let needed = filled(*offset, data).filter(|block| !given.contains(block));
                match room.checked_sub(needed.count() as u64) {
                    Some(left) => {
                        *room = left;
                        false
                    }
                    // What is refused is given nothing.
                    None => true,
                }
            }
            DiskOp::SetLen(length) => length.div_ceil(BLOCK) > (self.cache.len() as u64).div_ceil(BLOCK),
            DiskOp::Sync => false,
        }
    }
}

/// The blocks in which a write puts something. Zeros alone take no room, as on file systems that compress: a file that
/// was filled with them beforehand has no claim to the blocks yet.
fn filled(offset: u64, data: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let end = offset + data.len() as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).filter(move |block| {
        let part = (block * BLOCK).max(offset)..((block + 1) * BLOCK).min(end);
        let part = &data[index(part.start - offset)..index(part.end - offset)];
        part.iter().any(|byte| *byte != 0)
    })
}

/// The file of a [`SimDisk`], as one program has it open.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    boot: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(io::Error::other("the power was cut while the file was open"))
        }
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.state()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state()?.perform(DiskOp::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.perform(DiskOp::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state()?.perform(DiskOp::Write {
            offset,
            data: data.into(),
        })
    }
}

#[cfg(test)]
mod tests;
