//! What lies in the journal, and in the caches above it, is told apart from what is only like it.

use landfall_sim::crash::open;
use landfall_sim::crash::script::{Step, run};
use landfall_sim::disk::{Fault, FaultKind, SimDisk, Survival};

use super::rows_in;

/// A text that would be a frame of the journal with an entry far ahead, if bytes alone made one, at any position.
fn text_like_a_frame() -> String {
    let fake = (0_u64..).find_map(|number| {
        let mut frame = format!("z{number:07}aaaabbbb").into_bytes();
        frame.extend_from_slice(&24_u32.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        String::from_utf8(frame).ok()
    });
    let fake = fake.expect("some number gives a checksum that is text");
    (0..fake.len())
        .map(|shift| format!("{}{}", "x".repeat(shift % 2), fake.repeat(80)))
        .collect()
}

#[test]
fn nothing_that_a_record_holds_is_taken_for_a_part_of_the_journal() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
    for (id, text) in [
        ("n0", "x".repeat(10_000)),
        ("n1", text_like_a_frame()),
        // These fill the journal, so that it begins again in front of the text.
        ("n2", "x".repeat(30_000)),
        ("n3", "x".repeat(30_000)),
        ("n4", "short".to_owned()),
    ] {
        run(&mut store, &[Step::Save(id.into(), text)]).expect("the disk is well");
    }
    let killed = SimDisk::with_image(disk.image(Survival::Nothing), 2);
    drop(store);
    for (what, disk) in [("closed", &disk), ("killed", &killed)] {
        let store = open(disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
        let rows = rows_in(&store);
        assert_eq!(rows.len(), 5, "{what}");
    }
}

#[test]
fn what_a_program_left_in_the_systems_cache_is_on_disk_before_the_next_one_builds_on_it() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        run(&mut store, &[Step::Save("a".into(), "one".into())]).expect("the disk is well");
        let next = disk.ops();
        // The write succeeds, its sync fails and loses it beneath the cache, and then the program gives up.
        for (at, kind) in [
            (next + 1..next + 2, FaultKind::SyncLost),
            (next + 2..next + 1_000, FaultKind::Refused),
        ] {
            disk.fail(Fault { at, kind });
        }
        let told = run(&mut store, &[Step::Save("b".into(), "two".into())]);
        assert!(told.is_err(), "{told:?}");
        drop(store);
        disk.heal();
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well again");
        run(&mut store, &[Step::Save("c".into(), "three".into())]).expect("the disk is well again");
        let rows = rows_in(&store);
        let cut = SimDisk::with_image(disk.image(Survival::Nothing), 7);
        let store = open(&cut, 1024 * 1024).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = rows_in(&store);
        assert_eq!(found, rows, "seed {seed}");
    }
}
