//! The power is cut before every operation of a script, and again while the store gets over it.

use landfall_core::Seq;
use landfall_sim::crash::script::{Step, rows_of, run, schema_with};
use landfall_sim::crash::{CrashSweep, Swept, cut_script, open, open_with};
use landfall_sim::disk::{Dice, Platter, SimDisk, Survival};
use landfall_storage::Retention;

use super::{number_from, rows_in, seed};

/// Scripts that are cut at every operation: as many as fit into a few seconds.
const CRASH_SCRIPTS: u64 = 3;

/// Says how many scripts are cut.
const SCRIPTS: &str = "LANDFALL_CRASH_SCRIPTS";

/// One recovery of so many is cut as well, unless a number of scripts was asked for: then every one is.
const DOUBLE_CRASH_SHARE: u64 = 8;

fn crash_at_every_operation(number: u64, cache_bytes: usize) {
    let sweep = CrashSweep {
        double_one_in: if number_from(SCRIPTS).is_some() {
            1
        } else {
            DOUBLE_CRASH_SHARE
        },
        thorough_one_in: 1,
        ..CrashSweep::of_seed(seed(), 0)
    };
    let mut swept = Swept::default();
    cut_script(&sweep, number, cache_bytes, &mut swept)
        .unwrap_or_else(|what| panic!("script {number}: {what}"));
    assert!(
        swept.operations > 0 && swept.images > swept.operations,
        "{swept:?}"
    );
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
fn a_store_is_made_however_often_the_power_goes_meanwhile() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(700));
    let make = |image: Vec<u8>, at: u64, what: &str| {
        let disk = SimDisk::with_image(image, at);
        disk.record();
        let store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(rows_in(&store).is_empty(), "{what}");
        disk.recorded()
    };
    let first = make(Vec::new(), dice.roll(), "an empty disk");
    let (mut twice, mut platter) = (0, Platter::default());
    for (index, op) in first.iter().enumerate() {
        for survival in [Survival::Some, Survival::Torn] {
            let what = format!("power cut before operation {index} of making a store ({survival:?})");
            let image = platter.image(survival, &mut dice);
            let mut again = Platter::of(image.clone());
            for (second, op) in make(image, dice.roll(), &what).iter().enumerate() {
                let what = format!("{what}, and before operation {second} of making it again");
                make(again.image(Survival::Some, &mut dice), dice.roll(), &what);
                twice += 1;
                again.take(op);
            }
        }
        platter.take(op);
    }
    assert!(twice > 50, "{twice} second cuts");
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
    let rows = rows_in(&store);
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
            assert_eq!(rows_of(&snapshot).expect("readable"), rows, "{what}");
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
    let rows = rows_of(&snapshot).expect("readable");
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
            assert_eq!(rows_in(&store), rows, "{what}");
        }
        platter.take(op);
    }
    assert!(
        seen.contains(&start) && seen.contains(&trimmed.start),
        "both sides of the moment were seen"
    );
}
