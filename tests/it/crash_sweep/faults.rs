//! The disk fails, fills or lies, at every operation in turn; the store tells the truth about it and goes on.

use landfall_core::Change;
use landfall_sim::crash::script::{Rows, STEPS, Step, foresee, rows_of, run, script};
use landfall_sim::crash::{Boundary, open, recovered};
use landfall_sim::disk::{Dice, Fault, FaultKind, SimDisk, Survival};
use landfall_storage::{Query, Snapshot, StorageError, Store};

use super::seed;

/// What the caller of a transaction was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Written,
    NotWritten,
    Unknown,
}

/// Runs a script on a disk that fails in between; returns what the caller was told of each transaction.
fn run_on_faulty(disk: &SimDisk, script: &[Vec<Step>], cache_bytes: usize) -> (Store, Vec<Told>) {
    // Whoever cannot open a store tries again; nothing was acknowledged yet.
    let mut last = None;
    let mut tries = (0..100).filter_map(|_| open(disk, cache_bytes).map_err(|error| last = Some(error)).ok());
    let store = tries.next();
    let mut store = store.unwrap_or_else(|| panic!("the disk gets well again: {last:?}"));
    let told = script.iter().map(|steps| match run(&mut store, steps) {
        Ok(_) => Told::Written,
        Err(StorageError::OutcomeUnknown { .. }) => Told::Unknown,
        Err(StorageError::Io { .. } | StorageError::Full { .. }) => Told::NotWritten,
        Err(error) => panic!("no fault of the disk is {error}"),
    });
    let told = told.collect();
    (store, told)
}

/// Requires that the store holds what the caller was told, and goes on holding it after a power cut.
fn assert_told_the_truth(what: &str, store: &mut Store, disk: &SimDisk, script: &[Vec<Step>], told: &[Told]) {
    disk.heal();
    let last = [Step::Save("last".into(), "word".into())];
    run(store, &last).unwrap_or_else(|error| panic!("{what}: the disk is well again: {error}"));
    let snapshot = store
        .reader()
        .snapshot()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut candidates = vec![Rows::new()];
    for (steps, told) in script.iter().zip(told) {
        let unwritten = if *told == Told::Unknown {
            candidates.clone()
        } else {
            Vec::new()
        };
        if *told != Told::NotWritten {
            candidates.iter_mut().for_each(|rows| foresee(rows, steps));
        }
        candidates.extend(unwritten);
    }
    candidates.iter_mut().for_each(|rows| foresee(rows, &last));
    let rows = rows_of(&snapshot).expect("readable");
    assert!(
        candidates.contains(&rows),
        "{what}: told {told:?}, found {rows:?}"
    );
    assert_no_twice(what, &snapshot);
    let log = snapshot.log(.., usize::MAX).expect("readable");
    // What is acknowledged needs nothing that no sync covered.
    let cut = SimDisk::with_image(disk.image(Survival::Nothing), 7);
    let store = open(&cut, 1024 * 1024).unwrap_or_else(|error| panic!("{what}, then a power cut: {error}"));
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(
        rows_of(&snapshot).expect("readable"),
        rows,
        "{what}, then a power cut"
    );
    let found = snapshot
        .verify()
        .unwrap_or_else(|error| panic!("{what}, then a power cut: {error}"));
    assert_eq!(found.differences, [] as [String; 0], "{what}, then a power cut");
    assert!(
        snapshot.log(.., usize::MAX).expect("readable").starts_with(&log),
        "{what}, then a power cut"
    );
}

/// Every text is written by one save, so no two entries of the app may hold the same.
fn assert_no_twice(what: &str, snapshot: &Snapshot) {
    let mut seen = Vec::new();
    for entry in snapshot.log(.., usize::MAX).expect("readable") {
        if let Change::Write(write) = entry.change
            && let Some(text) = write.patch.get("text")
        {
            assert!(
                !seen.contains(text),
                "{what}: {} repeats an earlier write",
                entry.seq
            );
            seen.push(text.clone());
        }
    }
}

/// Has each operation of a script fail, `lasting` in a row, and requires that the store tells the truth and goes on.
///
/// Faults that last begin once the store is open: a program that gives up opening it forgets what a failed sync lost.
fn fault_at_every_operation(
    number: u64,
    kind: FaultKind,
    lasting: u64,
    cache_bytes: usize,
    step: usize,
) -> Vec<Told> {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(500 + number));
    let script = script(&mut dice);
    let healthy = SimDisk::new(1);
    drop(open(&healthy, cache_bytes).expect("the disk is well"));
    let first = if lasting == 1 || kind == FaultKind::Read {
        0
    } else {
        healthy.ops()
    };
    let healthy = SimDisk::new(1);
    let (store, told) = run_on_faulty(&healthy, &script, cache_bytes);
    assert!(told.iter().all(|told| *told == Told::Written));
    let count = if kind == FaultKind::Read {
        healthy.reads()
    } else {
        healthy.ops()
    };
    drop(store);
    let mut all = Vec::new();
    for at in (first..count).step_by(step) {
        let what = format!("script {number}, {kind:?} at {at} for {lasting}");
        let disk = SimDisk::new(dice.roll());
        disk.fail(Fault {
            at: at..at + lasting,
            kind,
        });
        let (mut store, told) = run_on_faulty(&disk, &script, cache_bytes);
        assert_told_the_truth(&what, &mut store, &disk, &script, &told);
        all.extend(told);
    }
    all
}

#[test]
fn the_store_gets_over_a_fault_of_any_operation_and_tells_the_truth_about_it() {
    let kinds = [
        FaultKind::Refused,
        FaultKind::Full,
        FaultKind::SyncLost,
        FaultKind::SyncForgotten,
        FaultKind::Halved,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let told = fault_at_every_operation(number as u64, kind, 1, 1024 * 1024, 1);
        assert!(
            !told.contains(&Told::Unknown),
            "after one fault the store finds the outcome out by itself"
        );
    }
}

#[test]
fn the_store_gets_over_faults_that_last_into_its_recovery() {
    let mut told = Vec::new();
    for (number, lasting) in [2, 3, 8, 20].into_iter().enumerate() {
        for kind in [FaultKind::Refused, FaultKind::SyncLost, FaultKind::Full] {
            told.extend(fault_at_every_operation(
                20 + number as u64,
                kind,
                lasting,
                1024 * 1024,
                5,
            ));
        }
    }
    for case in [Told::Written, Told::NotWritten, Told::Unknown] {
        assert!(told.contains(&case), "the sweep must have seen {case:?}");
    }
}

#[test]
fn the_store_gets_over_faults_of_pages_written_before_their_commit() {
    fault_at_every_operation(40, FaultKind::Refused, 1, 0, 5);
    fault_at_every_operation(41, FaultKind::SyncLost, 1, 0, 5);
}

#[test]
fn the_store_gets_over_a_fault_of_any_read() {
    fault_at_every_operation(50, FaultKind::Read, 1, 0, 7);
    fault_at_every_operation(51, FaultKind::Read, 3, 0, 7);
}

#[test]
fn a_full_disk_can_be_read_and_is_written_again_once_there_is_room() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(900));
    let script: Vec<Vec<Step>> = (0..6).flat_map(|_| script(&mut dice)).collect();
    for full_from in [1, script.len() / 3, script.len() / 2] {
        let disk = SimDisk::new(dice.roll());
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        let mut told = Vec::new();
        for (number, steps) in script.iter().enumerate() {
            if number == full_from {
                disk.fill();
            }
            told.push(match run(&mut store, steps) {
                Ok(_) => Told::Written,
                Err(StorageError::Full { .. }) => Told::NotWritten,
                Err(error) => panic!("a full disk is not {error}"),
            });
            let snapshot = store.reader().snapshot().expect("a full disk can be read");
            snapshot
                .query(&Query::all("Note"))
                .expect("a full disk can be read");
        }
        let what = format!("full from transaction {full_from} on");
        assert_told_the_truth(&what, &mut store, &disk, &script, &told);
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_not_trusted_blindly() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(950));
    let script = script(&mut dice);
    let mut opened = 0;
    for number in 0..60 {
        let disk = SimDisk::new(dice.roll());
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        let mut rows = Rows::new();
        let look = |store: &Store, rows: &Rows| {
            Boundary::of(store, &disk, rows).expect("the store does what the script says")
        };
        let mut boundaries = vec![look(&store, &rows)];
        let from = usize::try_from(dice.below(STEPS)).expect("small");
        for (number, steps) in script.iter().enumerate() {
            if number == from {
                disk.lie();
            }
            run(&mut store, steps).expect("so the disk says");
            foresee(&mut rows, steps);
            boundaries.push(look(&store, &rows));
        }
        disk.crash();
        disk.heal();
        // The promise is broken by the disk; what is left is whole, or is said to be damaged.
        match open(&disk, 1024 * 1024) {
            Ok(store) => {
                let found = recovered(&store, &boundaries, 0, true);
                found.unwrap_or_else(|what| panic!("lie {number}: {what}"));
                opened += 1;
            }
            Err(StorageError::Corrupt { .. }) => {}
            Err(error) => panic!("lie {number}: {error}"),
        }
    }
    assert!(opened > 0, "some of the lies did no harm");
}

#[test]
fn a_fault_while_the_log_is_trimmed_loses_nothing() {
    let script: Vec<Vec<Step>> = (0..30)
        .map(|number| vec![Step::Arrive(format!("r{}", number % 7), format!("t{number}."))])
        .collect();
    let keep = landfall_storage::Retention::everything().entries(5);
    let prepared = |disk: &SimDisk| {
        let mut store = open(disk, 1024 * 1024).expect("the disk is well");
        for steps in &script {
            run(&mut store, steps).expect("the disk is well");
        }
        store
    };
    let healthy = SimDisk::new(1);
    let mut store = prepared(&healthy);
    let first = healthy.ops();
    store.trim(&keep, 0).expect("the disk is well");
    let count = healthy.ops() - first;
    assert!(count > 2, "trimming writes");
    for kind in [
        FaultKind::Refused,
        FaultKind::Full,
        FaultKind::SyncLost,
        FaultKind::Halved,
    ] {
        for at in 0..count {
            let disk = SimDisk::new(at + 2);
            let mut store = prepared(&disk);
            let from = disk.ops() + at;
            disk.fail(Fault {
                at: from..from + 1,
                kind,
            });
            // Either is true: it is done, or it is not. What counts is that nothing else has changed.
            let trimmed = store.trim(&keep, 0);
            let what = format!("{kind:?} at {at} of trimming, told {trimmed:?}");
            let told = vec![Told::Written; script.len()];
            assert_told_the_truth(&what, &mut store, &disk, &script, &told);
        }
    }
}
