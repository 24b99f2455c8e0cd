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
fn what_a_full_disk_refuses_takes_no_room() {
    let (disk, file) = disk();
    file.set_len(16 * BLOCK).expect("there is room");
    disk.state().room = Some(2);
    let write = |block: u64, blocks: usize| file.write(block * BLOCK, &vec![5; blocks * BLOCK as usize]);
    for _ in 0..3 {
        assert!(write(4, 3).is_err_and(|error| error.kind() == io::ErrorKind::StorageFull));
    }
    assert!(write(4, 2).is_ok(), "two blocks are still there");
    assert!(write(6, 1).is_err());
    assert!(write(4, 2).is_ok(), "its own blocks can be written again");
    assert!(file.write(8 * BLOCK, &[0; 4_096]).is_ok(), "zeros take no room");
    assert!(write(8, 1).is_err(), "and give no claim to any");
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
