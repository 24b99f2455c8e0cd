//! The power is cut before every operation of the disk, and every operation fails in turn.

use super::disk::{Dice, Fault, Op, Platter, Survival, TestDisk};
use super::script::{Took, Transaction, run, script, shown};
use crate::kv::{KvError, KvStore};

/// Transactions of a script, enough for several checkpoints.
const COUNT: u64 = 22;

/// What was acknowledged after so many operations.
struct Boundary {
    ops: usize,
    took: Took,
}

/// How a store is opened.
type Open = fn(&TestDisk) -> Result<KvStore, KvError>;

/// Carries a script out on a healthy disk, and closes the store.
fn record(script: &[Transaction], seed: u64, open: Open) -> (Vec<Op>, Vec<Boundary>) {
    let disk = TestDisk::new(seed);
    let store = open(&disk).unwrap();
    let mut boundaries = vec![Boundary {
        ops: 0,
        took: Took::new(),
    }];
    for transaction in script {
        run(&store, transaction).unwrap();
        boundaries.push(Boundary {
            ops: disk.count(),
            took: shown(&store, script).unwrap(),
        });
    }
    drop(store);
    (disk.done(), boundaries)
}

/// Opens what a crash left: one of the states from the acknowledged one on.
fn look(image: Vec<u8>, script: &[Transaction], allowed: &[Boundary], what: &str) -> (Took, Vec<Op>) {
    let disk = TestDisk::with_image(image, 5);
    let store = disk.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let took = shown(&store, script).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        allowed.iter().any(|boundary| boundary.took == took),
        "{what}: found {took:?}, acknowledged {:?}",
        allowed[0].took
    );
    (took, disk.done())
}

/// Cuts the power at an operation of the recovery: the second recovery finds what the first one found.
fn cut_again(image: &[u8], ops: &[Op], script: &[Transaction], took: &Took, dice: &mut Dice, what: &str) {
    let mut platter = Platter::of(image.to_vec());
    let cut = dice.below(ops.len() + 1);
    ops[..cut].iter().for_each(|op| platter.take(op));
    for survival in Survival::ALL {
        let what = format!("{what}, then at {cut} of the recovery ({survival:?})");
        let found = Boundary {
            ops: 0,
            took: took.clone(),
        };
        look(platter.image(survival, dice), script, &[found], &what);
    }
}

fn cut_everywhere(seed: u64, open: Open, step: usize) -> usize {
    let mut dice = Dice(seed);
    let script = script(&mut dice, COUNT);
    let (ops, boundaries) = record(&script, seed, open);
    let mut platter = Platter::default();
    let mut images = 0;
    for index in 0..=ops.len() {
        let acknowledged = boundaries
            .iter()
            .rposition(|boundary| boundary.ops <= index)
            .unwrap();
        for survival in Survival::ALL {
            if survival != Survival::Nothing && platter.is_synced() || index % step != 0 {
                continue;
            }
            images += 1;
            let what = format!("seed {seed}, cut before operation {index} ({survival:?})");
            let image = platter.image(survival, &mut dice);
            let allowed = &boundaries[acknowledged..];
            let (took, ops) = look(image.clone(), &script, &allowed[..allowed.len().min(2)], &what);
            if dice.below(6) == 0 {
                cut_again(&image, &ops, &script, &took, &mut dice, &what);
            }
        }
        if let Some(op) = ops.get(index) {
            platter.take(op);
        }
    }
    images
}

#[test]
fn a_power_cut_before_any_operation_loses_nothing_that_was_acknowledged() {
    let images = cut_everywhere(1, TestDisk::open, 1) + cut_everywhere(2, TestDisk::open, 1);
    assert!(images > 300, "{images} images say little");
}

#[test]
fn a_power_cut_loses_nothing_either_if_pages_were_written_before_their_checkpoint() {
    let images = cut_everywhere(3, TestDisk::open_uncached, 7);
    assert!(images > 100, "{images} images say little");
}

/// What the caller of each transaction was told, by its number.
#[derive(Default)]
struct Told {
    written: Took,
    unknown: Took,
}

/// What is shown must be of what the caller was told, and no power cut may take it back.
fn assert_true(took: &Took, told: &Told, what: &str) {
    assert!(
        took.is_superset(&told.written),
        "{what}: {took:?} lacks an acknowledged one"
    );
    assert!(
        took.iter()
            .all(|number| told.written.contains(number) || told.unknown.contains(number)),
        "{what}: {took:?} holds one that was refused"
    );
}

/// Runs a script on a disk whose operations fail; looks after each transaction at what readers see.
fn run_on_faulty(disk: &TestDisk, open: Open, script: &[Transaction], what: &str) -> Told {
    let mut opened = (0..100).filter_map(|_| open(disk).ok());
    let store = opened
        .next()
        .unwrap_or_else(|| panic!("{what}: it does not open"));
    let mut told = Told::default();
    let mut failed_before = false;
    for (number, transaction) in (1..).zip(script) {
        let done = run(&store, transaction);
        let failed = done.is_err();
        match done {
            Ok(()) => drop(told.written.insert(number)),
            Err(KvError::OutcomeUnknown { .. }) => drop(told.unknown.insert(number)),
            Err(KvError::Io { .. } | KvError::Full) => {}
            Err(error) => panic!("{what}: no fault of the disk is {error}"),
        }
        let seen = shown(&store, script);
        if let Ok(seen) = &seen {
            assert_true(seen, &told, what);
        }
        if let (Ok(seen), true) = (seen, failed || failed_before) {
            let cut = TestDisk::with_image(disk.image(Survival::Nothing), 3);
            let store = cut
                .open()
                .unwrap_or_else(|error| panic!("{what}, then a cut: {error}"));
            let left = shown(&store, script).unwrap();
            assert!(
                left.is_superset(&seen),
                "{what}: readers saw {seen:?}, a cut leaves {left:?}"
            );
        }
        failed_before = failed;
    }
    disk.heal();
    let seen = shown(&store, script);
    let seen = seen.unwrap_or_else(|error| panic!("{what}: the disk can be read again: {error}"));
    assert_true(&seen, &told, what);
    let last = super::script::last();
    run(&store, &last).unwrap_or_else(|error| panic!("{what}: the disk is well again: {error}"));
    told.written.insert(super::script::LAST);
    let took = shown(&store, script).unwrap();
    assert_true(&took, &told, what);
    let cut = TestDisk::with_image(disk.image(Survival::Nothing), 3);
    assert_eq!(
        shown(&cut.open().unwrap(), script).unwrap(),
        took,
        "{what}, then a power cut"
    );
    told
}

/// Has each operation of a script fail in turn; returns how many commits had an unknown outcome.
fn fail_everywhere(seed: u64, fault: Fault, open: Open, step: usize) -> usize {
    let script = script(&mut Dice(seed), COUNT);
    let healthy = TestDisk::new(seed);
    drop(open(&healthy).unwrap());
    let opened = healthy.count();
    let healthy = TestDisk::new(seed);
    run_on_faulty(&healthy, open, &script, "healthy");
    let ops = healthy.done();
    let mut unknown = 0;
    // Faults that last begin once the store is open: a program that gives up opening it forgets what a failed sync lost.
    for (from, lasting, step) in [(0, 1, step), (opened, 4, 5 * step)] {
        for at in (from..ops.len()).step_by(step) {
            if lasting == 1 && fault.is_of_syncs() && !matches!(ops[at], Op::Sync) {
                continue;
            }
            let what = format!("seed {seed}, {fault:?} at {at} for {lasting}");
            let disk = TestDisk::new(seed);
            disk.fail(at..at + lasting, fault);
            unknown += run_on_faulty(&disk, open, &script, &what).unknown.len();
        }
    }
    unknown
}

#[test]
fn a_fault_of_any_operation_is_told_truly_and_got_over() {
    let unknown: usize = [
        (11, Fault::Refused),
        (12, Fault::Halved),
        (13, Fault::SyncLost),
        (14, Fault::SyncForgotten),
    ]
    .into_iter()
    .map(|(seed, fault)| fail_everywhere(seed, fault, TestDisk::open, 1))
    .sum();
    assert!(unknown > 50, "{unknown} commits of unknown outcome say little");
}

#[test]
fn a_fault_is_got_over_too_if_pages_were_written_before_their_checkpoint() {
    let unknown = fail_everywhere(15, Fault::SyncForgotten, TestDisk::open_uncached, 23)
        + fail_everywhere(16, Fault::Halved, TestDisk::open_uncached, 23);
    assert!(unknown > 5, "{unknown} commits of unknown outcome say little");
}
