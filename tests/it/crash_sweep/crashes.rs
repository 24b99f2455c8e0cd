//! The power is cut before every operation of a script, and again while the store gets over it.

use landfall_core::{LogEntry, Origin, Seq, Stage};
use landfall_sim::disk::{Dice, Platter, SimDisk, Survival};
use landfall_storage::{Retention, Snapshot, Store};

use super::script::{Rows, Step, foresee, open, open_with, rows_of, run, schema_with, script};
use super::{number_from, seed};

/// Scripts that are cut at every operation: as many as fit into a few seconds.
const CRASH_SCRIPTS: u64 = 3;

/// Says how many scripts are cut.
const SCRIPTS: &str = "LANDFALL_CRASH_SCRIPTS";

/// One recovery of so many is cut as well, unless a number of scripts was asked for: then every one is.
const DOUBLE_CRASH_SHARE: u64 = 8;

/// What is to be found once a transaction is acknowledged.
pub(super) struct Boundary {
    /// Operations of the disk until it was acknowledged.
    ops: u64,
    rows: Rows,
    log: Vec<LogEntry>,
}

/// The log without what opening the store appended.
fn log_of(snapshot: &Snapshot) -> Vec<LogEntry> {
    let mut log = snapshot.log(.., usize::MAX).expect("readable");
    while log.last().is_some_and(|entry| entry.origin == Origin::Recovery) {
        log.pop();
    }
    log
}

pub(super) fn boundary(store: &Store, disk: &SimDisk, rows: &Rows) -> Boundary {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(&rows_of(&snapshot), rows, "the store does what the script says");
    Boundary {
        ops: disk.ops(),
        rows: rows.clone(),
        log: log_of(&snapshot),
    }
}

/// Requires a sound store at one of the boundaries, and not before `acknowledged`. Returns which.
pub(super) fn assert_recovered(
    what: &str,
    store: &Store,
    boundaries: &[Boundary],
    acknowledged: usize,
) -> usize {
    let snapshot = store
        .reader()
        .snapshot()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = snapshot
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found.differences, [] as [String; 0], "{what}");
    let log = log_of(&snapshot);
    let at = boundaries.iter().rposition(|boundary| boundary.log == log);
    let at = at.unwrap_or_else(|| {
        panic!(
            "{what}: the log ends inside a transaction, at {:?}",
            log.last().map(|entry| entry.seq)
        )
    });
    assert!(
        at >= acknowledged,
        "{what}: acknowledged {acknowledged}, found {at}"
    );
    assert_eq!(rows_of(&snapshot), boundaries[at].rows, "{what}");
    for mutation in snapshot.pending(Seq::ZERO, usize::MAX).expect("readable") {
        let in_flight = mutation.stage == Stage::InFlight;
        assert!(
            !in_flight,
            "{what}: {} is on its way though nobody sends",
            mutation.seq
        );
    }
    at
}

/// Opens what a crash left, requires it to be sound, and that it goes on.
fn recover(what: &str, image: Vec<u8>, boundaries: &[Boundary], acknowledged: usize, dice: &mut Dice) {
    let disk = SimDisk::with_image(image.clone(), dice.roll());
    disk.record();
    let mut store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
    let at = assert_recovered(what, &store, boundaries, acknowledged);
    if number_from(SCRIPTS).is_some() || dice.below(DOUBLE_CRASH_SHARE) == 0 {
        let ops = disk.recorded();
        let cut = usize::try_from(dice.below(ops.len() as u64 + 1)).expect("small");
        let mut platter = Platter::of(image);
        ops[..cut].iter().for_each(|op| platter.take(op));
        for survival in Survival::ALL {
            let what = format!("{what}, then at operation {cut} of recovery ({survival:?})");
            let disk = SimDisk::with_image(platter.image(survival, dice), dice.roll());
            let store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
            let again = assert_recovered(&what, &store, boundaries, acknowledged);
            assert_eq!(again, at, "{what}: recovery neither loses nor finds anything");
        }
        return;
    }
    let steps = [Step::Save("after".into(), "the crash".into())];
    run(&mut store, &steps).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut rows = boundaries[at].rows.clone();
    foresee(&mut rows, &steps);
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(rows_of(&snapshot), rows, "{what}");
}

fn crash_at_every_operation(number: u64, cache_bytes: usize) {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(number));
    let script = script(&mut dice);
    let disk = SimDisk::new(dice.roll());
    disk.record();
    let mut store = open(&disk, cache_bytes).expect("the disk is well");
    let mut rows = Rows::new();
    let mut boundaries = vec![boundary(&store, &disk, &rows)];
    for steps in &script {
        run(&mut store, steps).expect("the disk is well");
        foresee(&mut rows, steps);
        boundaries.push(boundary(&store, &disk, &rows));
    }
    let before_close = disk.ops();
    drop(store);
    let ops = disk.recorded();
    assert!(ops.len() as u64 > before_close, "closing writes as well");
    let mut platter = Platter::default();
    for index in 0..=ops.len() {
        let acknowledged = boundaries
            .iter()
            .rposition(|boundary| boundary.ops <= index as u64)
            .unwrap_or(0);
        for survival in Survival::ALL {
            let what = format!("script {number}, power cut before operation {index} ({survival:?})");
            let image = platter.image(survival, &mut dice);
            recover(&what, image, &boundaries, acknowledged, &mut dice);
        }
        if let Some(op) = ops.get(index) {
            platter.take(op);
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for number in 0..number_from(SCRIPTS).unwrap_or(CRASH_SCRIPTS) {
        crash_at_every_operation(number, 1024 * 1024);
        if number % 10 == 9 {
            println!("{} scripts", number + 1);
        }
    }
}

#[test]
fn a_crash_loses_nothing_when_pages_are_written_before_their_commit() {
    crash_at_every_operation(1_000, 0);
}

#[test]
fn a_crash_while_a_new_schema_is_taken_on_loses_nothing() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(800));
    let disk = SimDisk::new(dice.roll());
    let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
    let steps: Vec<Step> = (0..40)
        .map(|n| Step::Save(format!("n{n}"), format!("t{n}.")))
        .collect();
    run(&mut store, &steps).expect("the disk is well");
    run(&mut store, &[Step::Send]).expect("the disk is well");
    let rows = rows_of(&store.reader().snapshot().expect("the disk is well"));
    drop(store);
    let mut platter = Platter::of(disk.contents());
    disk.record();
    drop(open_with(&disk, 1024 * 1024, schema_with(&["title"])).expect("a new field does no harm"));
    for (index, op) in disk.recorded().iter().enumerate() {
        for survival in Survival::ALL {
            let what = format!("power cut before operation {index} of taking on a schema ({survival:?})");
            let disk = SimDisk::with_image(platter.image(survival, &mut dice), dice.roll());
            let store = open_with(&disk, 1024 * 1024, schema_with(&["title"]));
            let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
            let snapshot = store.reader().snapshot().expect("the disk is well");
            assert_eq!(rows_of(&snapshot), rows, "{what}");
            let found = snapshot
                .verify()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.differences, [] as [String; 0], "{what}");
            let log = snapshot.log(.., usize::MAX).expect("readable");
            let count = |name: &str| log.iter().filter(|entry| entry.change.name() == name).count();
            assert_eq!(
                (count("schema changed"), count("outcome unknown")),
                (2, 1),
                "{what}"
            );
        }
        platter.take(op);
    }
}

#[test]
fn a_crash_while_the_log_is_trimmed_leaves_it_trimmed_or_as_it_was() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(850));
    let disk = SimDisk::new(dice.roll());
    let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
    for number in 0..30 {
        let steps = [Step::Arrive(format!("r{}", number % 7), format!("t{number}."))];
        run(&mut store, &steps).expect("the disk is well");
    }
    let snapshot = store.reader().snapshot().expect("the disk is well");
    let rows = rows_of(&snapshot);
    let (start, end) = snapshot.log_bounds().expect("readable");
    drop(snapshot);
    let mut platter = Platter::of(disk.contents());
    disk.record();
    let trimmed = store
        .trim(&Retention::everything().entries(5), 0)
        .expect("the disk is well");
    assert_eq!(trimmed.start, Seq(end.0 - 4));
    drop(store);
    let mut seen = Vec::new();
    for (index, op) in disk.recorded().iter().enumerate() {
        for survival in Survival::ALL {
            let what = format!("power cut before operation {index} of trimming ({survival:?})");
            let disk = SimDisk::with_image(platter.image(survival, &mut dice), dice.roll());
            let mut store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
            let snapshot = store.reader().snapshot().expect("the disk is well");
            let bounds = snapshot.log_bounds().expect("readable");
            assert!(
                bounds == (start, end) || bounds == (trimmed.start, end),
                "{what}: {bounds:?}"
            );
            seen.push(bounds.0);
            let found = snapshot
                .verify()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.differences, [] as [String; 0], "{what}");
            drop(snapshot);
            store.rebuild().unwrap_or_else(|error| panic!("{what}: {error}"));
            let snapshot = store.reader().snapshot().expect("the disk is well");
            assert_eq!(rows_of(&snapshot), rows, "{what}");
        }
        platter.take(op);
    }
    assert!(
        seen.contains(&start) && seen.contains(&trimmed.start),
        "both sides of the moment were seen"
    );
}
