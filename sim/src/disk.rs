//! A disk that loses what was not synced, tears what was being written, and fails when it is told to.
//!
//! Owns [`SimDisk`], the backend of a simulated store, and [`Platter`], what is on it beneath the system's cache. Knows
//! nothing of databases: it sees reads, writes, changes of length and syncs.
//!
//! Invariants: 1. the same seed and the same operations give the same bytes; 2. what a successful sync covered is
//! never lost, unless the disk was told to lie; 3. a program that was running when the power was cut can neither read
//! nor write any more.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_storage::{Disk, OpenBackend, StorageBackend};

/// What disks write as a whole.
pub const SECTOR: u64 = 512;

/// What a file system gives a file at a time; a full disk has none left to give.
const BLOCK: u64 = 4_096;

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

/// The bytes beneath the cache of the system: what is there for sure, and what is on its way.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    durable: Vec<u8>,
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
    fn lose(&mut self, dice: &mut Dice) {
        for op in std::mem::take(&mut self.unsynced) {
            if dice.toss() {
                apply(&mut self.durable, &op);
            }
        }
    }
}

/// Applies an operation. What would lie behind the end is not there: its length never got to the disk.
fn apply(bytes: &mut Vec<u8>, op: &DiskOp) {
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

fn index(offset: u64) -> usize {
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
    /// Set while the disk is full: how many blocks the file has.
    blocks_when_full: Option<u64>,
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
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            platter,
            cache: image,
            boot: 0,
            ops: 0,
            reads: 0,
            faults: Vec::new(),
            blocks_when_full: None,
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

    /// Has no operation fail any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.blocks_when_full = None;
        state.lies = false;
        state.cut_after = None;
    }

    /// Leaves no room on the disk, so that the file cannot grow and its unused parts cannot be written; until healed.
    pub fn fill(&self) {
        let mut state = self.state();
        state.blocks_when_full = Some((state.cache.len() as u64).div_ceil(BLOCK));
    }

    /// Ends what [`SimDisk::fill`] began; everything else that is to fail still does.
    pub fn empty_out(&self) {
        self.state().blocks_when_full = None;
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

    fn perform(&mut self, op: DiskOp) -> io::Result<()> {
        let number = self.ops;
        self.ops += 1;
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
        if let Some(kind) = fault.map(|fault| fault.kind) {
            self.spoil(&op, kind);
            return Err(match kind {
                FaultKind::Full => io::ErrorKind::StorageFull.into(),
                _ => io::Error::other(format!("simulated fault of operation {number}")),
            });
        }
        if self.lacks_room(&op) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if op == DiskOp::Sync && self.lies {
            return Ok(());
        }
        self.carry_out(op);
        Ok(())
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
        self.bell.notify_one();
        io::Error::other("the power was cut while the file was open")
    }

    fn carry_out(&mut self, op: DiskOp) {
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

    /// Whether an operation needs a block that a full disk cannot give. The file's own blocks can be written again.
    fn lacks_room(&self, op: &DiskOp) -> bool {
        let Some(blocks) = self.blocks_when_full else {
            return false;
        };
        match op {
            DiskOp::Write { offset, data } => (offset + data.len() as u64).div_ceil(BLOCK) > blocks,
            DiskOp::SetLen(length) => length.div_ceil(BLOCK) > blocks,
            DiskOp::Sync => false,
        }
    }
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
mod tests {
    use super::*;

    fn disk() -> (SimDisk, SimFile) {
        let disk = SimDisk::new(1);
        let file = disk.backend();
        file.set_len(4_096).expect("there is room");
        file.write(0, &[1; 2_048]).expect("healthy");
        file.sync_data().expect("healthy");
        file.write(1_024, &[2; 2_048]).expect("healthy");
        (disk, file)
    }

    fn bytes(disk: &SimDisk) -> [u8; 3] {
        let contents = disk.contents();
        [contents[0], contents[1_024], contents[3_000]]
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_chance_decides_on_the_rest() {
        for survival in Survival::ALL {
            let (disk, file) = disk();
            assert_eq!(bytes(&disk), [1, 2, 2], "readers see what was written");
            disk.cut_power(survival);
            let after = bytes(&disk);
            assert_eq!(after[0], 1);
            match survival {
                Survival::Nothing => assert_eq!(after, [1, 1, 0]),
                Survival::Everything => assert_eq!(after, [1, 2, 2]),
                Survival::Some | Survival::Torn => {}
            }
            assert!(
                file.read(0, &mut [0]).is_err() && file.write(0, &[9]).is_err(),
                "the program is gone"
            );
            assert!(disk.backend().read(0, &mut [0]).is_ok());
        }
    }

    #[test]
    fn torn_writes_are_torn_between_sectors_and_the_same_seed_tears_alike() {
        let torn = |seed: u64| {
            let mut platter = Platter::default();
            platter.take(&DiskOp::SetLen(8_192));
            platter.take(&DiskOp::Sync);
            platter.take(&DiskOp::Write {
                offset: 256,
                data: [7; 7_000].into(),
            });
            platter.image(Survival::Torn, &mut Dice::new(seed))
        };
        assert_eq!(torn(5), torn(5));
        assert_ne!(torn(5), torn(6));
        for sector in torn(5)[512..7_168].chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
        }
    }

    #[test]
    fn a_failed_sync_may_lose_what_a_later_one_does_not_bring_back() {
        let (disk, file) = disk();
        // Both halves are lost by chance sooner or later.
        disk.fail(Fault {
            at: disk.ops()..disk.ops() + 1,
            kind: FaultKind::SyncLost,
        });
        assert!(file.sync_data().is_err());
        file.sync_data().expect("later syncs succeed");
        assert_eq!(bytes(&disk), [1, 2, 2], "readers still see it");
        let lost = (0..64).any(|seed| {
            let disk = SimDisk::new(seed);
            let file = disk.backend();
            file.set_len(512).expect("there is room");
            file.sync_data().expect("healthy");
            file.write(0, &[3; 512]).expect("healthy");
            disk.fail(Fault {
                at: disk.ops()..disk.ops() + 1,
                kind: FaultKind::SyncLost,
            });
            assert!(file.sync_data().is_err());
            file.sync_data().expect("later syncs succeed");
            disk.cut_power(Survival::Everything);
            disk.contents()[0] == 0
        });
        assert!(lost);
    }

    #[test]
    fn faults_come_when_they_are_due_and_only_then() {
        let (disk, file) = disk();
        disk.fail(Fault {
            at: disk.ops() + 1..disk.ops() + 3,
            kind: FaultKind::Full,
        });
        assert!(file.write(0, &[5]).is_ok());
        assert!(
            file.write(0, &[6])
                .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        );
        assert!(file.set_len(9_000).is_err());
        assert!(file.write(0, &[7]).is_ok());
        disk.fail(Fault {
            at: disk.reads()..disk.reads() + 1,
            kind: FaultKind::Read,
        });
        assert!(file.read(0, &mut [0]).is_err());
        assert!(file.read(0, &mut [0]).is_ok());
    }

    #[test]
    fn a_full_disk_lets_a_file_write_where_it_already_is() {
        let (disk, file) = disk();
        disk.fill();
        assert!(file.write(0, &[5; 4_096]).is_ok());
        assert!(file.set_len(4_097).is_err());
        disk.heal();
        assert!(file.set_len(4_097).is_ok());
    }

    #[test]
    fn a_disk_that_lies_loses_what_it_was_asked_to_keep() {
        let (disk, file) = disk();
        disk.lie();
        file.sync_data().expect("so it says");
        disk.cut_power(Survival::Nothing);
        assert_eq!(bytes(&disk), [1, 1, 0]);
    }

    #[test]
    fn recorded_operations_make_the_same_disk_again() {
        let disk = SimDisk::new(1);
        disk.record();
        let file = disk.backend();
        file.set_len(1_000).expect("there is room");
        file.write(10, &[4; 100]).expect("healthy");
        file.sync_data().expect("healthy");
        let mut platter = Platter::default();
        for op in disk.recorded() {
            platter.take(&op);
        }
        assert_eq!(
            platter.image(Survival::Nothing, &mut Dice::new(0)),
            disk.contents()
        );
    }
}
