//! The same for the rows of a backend: a power cut or a fault at every operation of the disk beneath a key-value store.
//!
//! The rows are known apart from the store. Each transaction leaves its number behind, so that what a crash left says
//! itself which transactions took effect. The single cases, and sweeps without a cache, are tests of `landfall-storage`.

use std::collections::{BTreeMap, BTreeSet};

use landfall_sim::disk::{Dice, DiskOp, Fault, FaultKind, Platter, SimDisk, Survival};
use landfall_storage::kv::{KvError, KvRange, KvRead, KvStore, KvTable};

use super::seed;

const ROWS: KvTable = KvTable::new("rows-1");

/// A row for each transaction that took effect.
const DONE: KvTable = KvTable::new("done-1");

/// Transactions of a script: the journal of a simulated disk is gone through several times.
const TRANSACTIONS: u64 = 20;

/// Puts, and removes where there is no value.
type Transaction = Vec<(u8, Option<Vec<u8>>)>;

/// Numbers of transactions that took effect.
type Took = BTreeSet<u64>;

fn script(dice: &mut Dice) -> Vec<Transaction> {
    let transaction = |dice: &mut Dice| {
        let steps = 1 + dice.below(3);
        (0..steps)
            .map(|_| {
                let key = u8::try_from(dice.below(10)).expect("small");
                let length = [400, 4_000, 30_000, 80_000][usize::try_from(dice.below(4)).expect("small")];
                let byte = u8::try_from(dice.below(256)).expect("a byte");
                let value = vec![byte; usize::try_from(dice.below(length)).expect("small")];
                (key, (dice.below(4) > 0).then_some(value))
            })
            .collect()
    };
    (0..TRANSACTIONS).map(|_| transaction(dice)).collect()
}

fn open(disk: &SimDisk) -> Result<KvStore, KvError> {
    let opener = disk.opener();
    KvStore::with_opener(move || opener())
}

fn run(store: &KvStore, number: u64, steps: &Transaction) -> Result<(), KvError> {
    store.write(|txn| {
        for (key, value) in steps {
            match value {
                Some(value) => txn.put(ROWS, &[*key], value)?,
                None => drop(txn.remove(ROWS, &[*key])?),
            }
        }
        txn.put(DONE, &number.to_be_bytes(), b"")
    })
}

/// Which transactions a store shows; its rows must be what they make.
fn shown(store: &KvStore, script: &[Transaction], what: &str) -> Result<Took, KvError> {
    let read = store.read()?;
    let took: Took = read
        .rows(DONE, &KvRange::all(), usize::MAX)?
        .into_iter()
        .map(|(key, _)| u64::from_be_bytes(key.try_into().expect("eight bytes")))
        .collect();
    let mut expected = BTreeMap::new();
    for (number, steps) in (0..).zip(script) {
        for (key, value) in steps.iter().filter(|_| took.contains(&number)) {
            match value {
                Some(value) => drop(expected.insert(vec![*key], value.clone())),
                None => drop(expected.remove([*key].as_slice())),
            }
        }
    }
    let rows: BTreeMap<_, _> = read
        .rows(ROWS, &KvRange::all(), usize::MAX)?
        .into_iter()
        .collect();
    assert!(rows == expected, "{what}: the rows are not those of {took:?}");
    Ok(took)
}

/// Opens what a power cut left.
fn left(image: Vec<u8>, script: &[Transaction], what: &str) -> Took {
    let disk = SimDisk::with_image(image, 3);
    let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    shown(&store, script, what).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn rows_that_were_acknowledged_survive_a_power_cut_before_any_operation() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(700));
    let script = script(&mut dice);
    let disk = SimDisk::new(dice.roll());
    disk.record();
    let store = open(&disk).expect("the disk is well");
    let mut acknowledged_at = Vec::new();
    for (number, steps) in (0..).zip(&script) {
        run(&store, number, steps).expect("the disk is well");
        acknowledged_at.push(disk.ops());
    }
    drop(store);
    let ops: Vec<DiskOp> = disk.recorded();
    let mut platter = Platter::default();
    for index in 0..=ops.len() {
        let acknowledged = acknowledged_at.iter().filter(|at| **at <= index as u64).count() as u64;
        for survival in Survival::ALL {
            if platter.is_synced() && survival != Survival::Nothing {
                continue;
            }
            let what = format!("power cut before operation {index} ({survival:?})");
            let took = left(platter.image(survival, &mut dice), &script, &what);
            let expected = |count: u64| (0..count).collect::<Took>();
            assert!(
                took == expected(acknowledged) || took == expected(acknowledged + 1),
                "{what}: {took:?} after {acknowledged} were acknowledged"
            );
        }
        if let Some(op) = ops.get(index) {
            platter.take(op);
        }
    }
}

#[test]
fn rows_get_over_a_fault_of_any_operation_and_the_truth_is_told_about_it() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(750));
    for kind in [
        FaultKind::Refused,
        FaultKind::Full,
        FaultKind::SyncLost,
        FaultKind::SyncForgotten,
        FaultKind::Halved,
        FaultKind::Read,
    ] {
        let script = script(&mut dice);
        let healthy = SimDisk::new(1);
        let store = open(&healthy).expect("the disk is well");
        for (number, steps) in (0..).zip(&script) {
            run(&store, number, steps).expect("the disk is well");
        }
        let count = if kind == FaultKind::Read {
            healthy.reads()
        } else {
            healthy.ops()
        };
        for at in 0..count {
            let what = format!("{kind:?} at {at}");
            let disk = SimDisk::new(dice.roll());
            disk.fail(Fault { at: at..at + 1, kind });
            fault(&disk, &script, &what);
        }
    }
}

/// Runs a script on a disk of which one operation fails.
fn fault(disk: &SimDisk, script: &[Transaction], what: &str) {
    // Whoever cannot open it tries again; nothing was acknowledged yet.
    let store = open(disk).or_else(|_| open(disk));
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (mut written, mut unknown) = (Took::new(), Took::new());
    for (number, steps) in (0..).zip(script) {
        match run(&store, number, steps) {
            Ok(()) => drop(written.insert(number)),
            Err(KvError::OutcomeUnknown { .. }) => drop(unknown.insert(number)),
            Err(KvError::Io { .. } | KvError::Full) => {}
            Err(error) => panic!("{what}: no fault of the disk is {error}"),
        }
    }
    disk.heal();
    let took = shown(&store, script, what).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        took.is_superset(&written),
        "{what}: {written:?} were written, {took:?} are there"
    );
    assert!(
        took.iter()
            .all(|number| written.contains(number) || unknown.contains(number)),
        "{what}: {took:?} are there, and one of them was refused"
    );
    let cut = left(disk.image(Survival::Nothing), script, what);
    assert!(
        cut.is_superset(&took),
        "{what}: {took:?} were seen, a power cut leaves {cut:?}"
    );
}
