//! Crash images: the power goes before every operation of a script, with everything that can survive of it, and what is
//! left is opened.
//!
//! Owns [`sweep`] and [`cut_one`], which look for an image that does not open or that lost what was acknowledged. The scripts
//! and what must be found after each transaction are `crash/script.rs`, which knows it apart from the store.
//!
//! Invariants: 1. the same [`CrashSweep`] opens the same images; 2. an image is counted only if it was opened and
//! compared, and images that are certain to be alike count once.

pub mod script;

use std::sync::Arc;

use landfall_core::{LogEntry, Origin, Schema, Seq, Stage};
use landfall_storage::{OnIncompatible, Snapshot, StorageError, Store, StoreOptions};

use crate::disk::{Dice, DiskOp, Platter, SimDisk, Survival};
use script::{Rows, Step, foresee, rows_of, run, schema};

/// Page cache of the stores that are opened, in bytes.
pub const CACHE_BYTES: usize = 1024 * 1024;

/// Scripts of one seed have numbers below this, so that seeds share none.
const SCRIPTS_OF_A_SEED: u64 = 1_000_000;

/// One script in so many runs with a cache so small that pages are written before their commit.
const SMALL_CACHE_ONE_IN: u64 = 16;

/// What is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashSweep {
    /// Where scripts and what survives follow from.
    pub seed: u64,
    /// Number of the first script.
    pub script: u64,
    /// How many images are opened, up to the end of the script that reaches it.
    pub images: u64,
    /// One image in so many is cut a second time while it recovers; 0 for none.
    pub double_one_in: u64,
    /// Of one image in so many the whole log is replayed beside the store, and the store is written to; 0 for none.
    pub thorough_one_in: u64,
}

impl CrashSweep {
    /// A sweep of so many images.
    pub fn of_seed(seed: u64, images: u64) -> Self {
        Self {
            seed,
            script: 0,
            images,
            double_one_in: 16,
            thorough_one_in: 16,
        }
    }
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Scripts that were cut.
    pub scripts: u64,
    /// Operations of the disk before each of which the power was cut.
    pub operations: u64,
    /// Images that were opened and compared, those of second cuts included.
    pub images: u64,
    /// Of these, images of a second cut.
    pub second: u64,
}

impl Swept {
    /// Adds what another part of the same sweep came to.
    pub fn add(&mut self, other: Self) {
        self.scripts += other.scripts;
        self.operations += other.operations;
        self.images += other.images;
        self.second += other.second;
    }
}

/// An image that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("script {script} of seed {seed}, {what}")]
pub struct Lost {
    /// The seed.
    pub seed: u64,
    /// Number of the script.
    pub script: u64,
    /// Which image, and what is wrong with it.
    pub what: String,
}

/// Opens a store on a disk.
///
/// # Errors
/// What the store says.
pub fn open(disk: &SimDisk, cache_bytes: usize) -> Result<Store, StorageError> {
    open_with(disk, cache_bytes, schema())
}

/// Opens a store on a disk with another schema.
///
/// # Errors
/// What the store says.
pub fn open_with(disk: &SimDisk, cache_bytes: usize, schema: Arc<Schema>) -> Result<Store, StorageError> {
    Store::open(StoreOptions {
        disk: disk.disk(),
        schema,
        cache_bytes,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    })
}

/// What is to be found once a transaction is acknowledged.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// Operations of the disk until it was acknowledged.
    pub ops: u64,
    /// What the app sees.
    pub rows: Rows,
    /// What the log holds.
    pub log: Vec<LogEntry>,
}

impl Boundary {
    /// What a store holds now, which must be what the script says.
    ///
    /// # Errors
    /// What is not as the script says.
    pub fn of(store: &Store, disk: &SimDisk, rows: &Rows) -> Result<Self, String> {
        let snapshot = store.reader().snapshot().map_err(|error| error.to_string())?;
        let found = rows_of(&snapshot).map_err(|error| error.to_string())?;
        if found != *rows {
            return Err(format!("the store holds {found:?}, the script says {rows:?}"));
        }
        Ok(Self {
            ops: disk.ops(),
            rows: found,
            log: log_of(&snapshot)?,
        })
    }
}

/// The log without what opening the store appended.
fn log_of(snapshot: &Snapshot) -> Result<Vec<LogEntry>, String> {
    let mut log = snapshot.log(.., usize::MAX).map_err(|error| error.to_string())?;
    while log.last().is_some_and(|entry| entry.origin == Origin::Recovery) {
        log.pop();
    }
    Ok(log)
}

/// Which boundary a store was found at: it must be sound, at one of them, and not before `acknowledged`. A thorough look
/// replays the log beside it.
///
/// # Errors
/// What is not as it must be.
pub fn recovered(
    store: &Store,
    boundaries: &[Boundary],
    acknowledged: usize,
    thorough: bool,
) -> Result<usize, String> {
    let in_words = |error: StorageError| error.to_string();
    let snapshot = store.reader().snapshot().map_err(in_words)?;
    if thorough {
        let found = snapshot.verify().map_err(in_words)?;
        if let Some(difference) = found.differences.first() {
            return Err(format!("the log does not replay to what is stored: {difference}"));
        }
    }
    let log = log_of(&snapshot)?;
    let at = boundaries.iter().rposition(|boundary| boundary.log == log);
    let Some(at) = at else {
        let last = log.last().map(|entry| entry.seq);
        return Err(format!("the log ends inside a transaction, at {last:?}"));
    };
    if at < acknowledged {
        return Err(format!(
            "transaction {acknowledged} was acknowledged, and the store ends after {at}"
        ));
    }
    let rows = rows_of(&snapshot).map_err(in_words)?;
    if rows != boundaries[at].rows {
        return Err(format!(
            "the store holds {rows:?}, and not {:?}",
            boundaries[at].rows
        ));
    }
    let pending = snapshot.pending(Seq::ZERO, usize::MAX).map_err(in_words)?;
    match pending.iter().find(|mutation| mutation.stage == Stage::InFlight) {
        Some(mutation) => Err(format!("{} is on its way though nobody sends", mutation.seq)),
        None => Ok(at),
    }
}

/// Cuts the power before every operation of script after script.
///
/// `progress` hears after each script how many images were opened.
///
/// # Errors
/// [`Lost`] at the first image that does not open, or that lost what was acknowledged.
pub fn sweep(sweep: &CrashSweep, progress: &mut dyn FnMut(u64)) -> Result<Swept, Lost> {
    let mut swept = Swept::default();
    let mut number = sweep.script;
    while swept.images < sweep.images {
        swept.add(cut_one(sweep, number)?);
        progress(swept.images);
        number += 1;
    }
    Ok(swept)
}

/// Cuts the power before every operation of the script of that number; how many images were asked for does not matter.
///
/// # Errors
/// [`Lost`] at the first image that does not open, or that lost what was acknowledged.
pub fn cut_one(sweep: &CrashSweep, number: u64) -> Result<Swept, Lost> {
    let cache_bytes = if number % SMALL_CACHE_ONE_IN == SMALL_CACHE_ONE_IN - 1 {
        0
    } else {
        CACHE_BYTES
    };
    let mut swept = Swept::default();
    cut_script(sweep, number, cache_bytes, &mut swept).map_err(|what| Lost {
        seed: sweep.seed,
        script: number,
        what,
    })?;
    Ok(swept)
}

/// Cuts the power before every operation of one script.
///
/// # Errors
/// Which image is not as it must be, and why.
pub fn cut_script(
    sweep: &CrashSweep,
    number: u64,
    cache_bytes: usize,
    swept: &mut Swept,
) -> Result<(), String> {
    let seed = sweep.seed.wrapping_mul(SCRIPTS_OF_A_SEED).wrapping_add(number);
    let mut dice = Dice::new(seed);
    let (ops, boundaries) = record(&script::script(&mut dice), cache_bytes, dice.roll())?;
    let mut platter = Platter::default();
    // Of what never survives, the image is the same until the next sync.
    let mut bare = None;
    let mut syncs = 0_u64;
    for index in 0..=ops.len() {
        let acknowledged = boundaries
            .iter()
            .rposition(|boundary| boundary.ops <= index as u64)
            .unwrap_or(0);
        for survival in Survival::ALL {
            let seen = bare == Some((syncs, acknowledged));
            match survival {
                Survival::Nothing if seen => continue,
                Survival::Nothing => bare = Some((syncs, acknowledged)),
                Survival::Everything | Survival::Some | Survival::Torn if platter.is_synced() => continue,
                Survival::Everything | Survival::Some | Survival::Torn => {}
            }
            let image = platter.image(survival, &mut dice);
            open_image(sweep, image, &boundaries, acknowledged, &mut dice, swept)
                .map_err(|what| format!("power cut before operation {index} ({survival:?}): {what}"))?;
        }
        if let Some(op) = ops.get(index) {
            syncs += u64::from(*op == DiskOp::Sync);
            platter.take(op);
        }
    }
    swept.scripts += 1;
    swept.operations += ops.len() as u64;
    Ok(())
}

/// Carries a script out on a healthy disk: what the disk was asked for, and what is to be found when.
fn record(
    script: &[Vec<Step>],
    cache_bytes: usize,
    seed: u64,
) -> Result<(Vec<DiskOp>, Vec<Boundary>), String> {
    let disk = SimDisk::new(seed);
    disk.record();
    let mut store = open(&disk, cache_bytes).map_err(|error| error.to_string())?;
    let mut rows = Rows::new();
    let mut boundaries = vec![Boundary::of(&store, &disk, &rows)?];
    for steps in script {
        run(&mut store, steps).map_err(|error| error.to_string())?;
        foresee(&mut rows, steps);
        boundaries.push(Boundary::of(&store, &disk, &rows)?);
    }
    // Closing writes as well.
    drop(store);
    Ok((disk.recorded(), boundaries))
}

/// Opens what a crash left; it must be sound, and go on.
fn open_image(
    sweep: &CrashSweep,
    image: Vec<u8>,
    boundaries: &[Boundary],
    acknowledged: usize,
    dice: &mut Dice,
    swept: &mut Swept,
) -> Result<(), String> {
    let one_in = |dice: &mut Dice, many: u64| many > 0 && dice.below(many) == 0;
    swept.images += 1;
    if one_in(dice, sweep.double_one_in) {
        return cut_again(image, boundaries, acknowledged, dice, swept);
    }
    let disk = SimDisk::with_image(image, dice.roll());
    let mut store = open(&disk, CACHE_BYTES).map_err(|error| error.to_string())?;
    let thorough = one_in(dice, sweep.thorough_one_in);
    let at = recovered(&store, boundaries, acknowledged, thorough)?;
    if thorough {
        let steps = [Step::Save("after".into(), "the crash".into())];
        run(&mut store, &steps).map_err(|error| format!("it does not go on: {error}"))?;
        let mut rows = boundaries[at].rows.clone();
        foresee(&mut rows, &steps);
        Boundary::of(&store, &disk, &rows)?;
    }
    Ok(())
}

/// Cuts the power a second time, at some operation of the recovery.
fn cut_again(
    image: Vec<u8>,
    boundaries: &[Boundary],
    acknowledged: usize,
    dice: &mut Dice,
    swept: &mut Swept,
) -> Result<(), String> {
    let disk = SimDisk::with_image(image.clone(), dice.roll());
    disk.record();
    let store = open(&disk, CACHE_BYTES).map_err(|error| error.to_string())?;
    let at = recovered(&store, boundaries, acknowledged, true)?;
    let ops = disk.recorded();
    let cut = usize::try_from(dice.below(ops.len() as u64 + 1)).unwrap_or(0);
    let mut platter = Platter::of(image);
    ops[..cut].iter().for_each(|op| platter.take(op));
    for survival in Survival::ALL {
        if platter.is_synced() && survival != Survival::Nothing {
            continue;
        }
        swept.images += 1;
        swept.second += 1;
        let disk = SimDisk::with_image(platter.image(survival, dice), dice.roll());
        let again = open(&disk, CACHE_BYTES)
            .map_err(|error| error.to_string())
            .and_then(|store| recovered(&store, boundaries, acknowledged, false));
        match again {
            Ok(again) if again == at => {}
            Ok(again) => {
                return Err(format!(
                    "then at operation {cut} of its recovery ({survival:?}): after {again} instead of {at}"
                ));
            }
            Err(what) => {
                return Err(format!(
                    "then at operation {cut} of its recovery ({survival:?}): {what}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_images_open_and_lose_nothing_that_was_acknowledged() {
        let thorough = CrashSweep {
            double_one_in: 8,
            thorough_one_in: 1,
            ..CrashSweep::of_seed(1, 1_000)
        };
        let swept = sweep(&thorough, &mut |_| {}).unwrap_or_else(|lost| panic!("{lost}"));
        assert!(swept.images >= 1_000 && swept.second > 100, "{swept:?}");
        assert_eq!(
            sweep(&thorough, &mut |_| {}),
            Ok(swept),
            "the same seed sweeps the same"
        );
    }

    #[test]
    fn an_image_that_lost_something_is_found() {
        let mut dice = Dice::new(3);
        let (ops, boundaries) = record(&script::script(&mut dice), CACHE_BYTES, 3).expect("it is sound");
        let mut platter = Platter::default();
        let newest = boundaries.len() - 1;
        let upto = usize::try_from(boundaries[newest - 1].ops).expect("small");
        ops[..upto].iter().for_each(|op| platter.take(op));
        let disk = SimDisk::with_image(platter.image(Survival::Everything, &mut dice), 1);
        let store = open(&disk, CACHE_BYTES).expect("it is sound");
        assert!(
            recovered(&store, &boundaries, newest, true).is_err(),
            "the last transaction is missing"
        );
    }
}
