use std::fs;

use landfall_core::SyncMetadata;
use proptest::prelude::*;

use super::*;
use crate::test_support::{
    append, arrived, assert_sound, everything, in_directory, options, post, remove, save, snapshot,
};
use crate::{Disk, Retention, Store};

/// Fills a store with records that came from the server, that wait, that changed and that went.
fn fill(store: &mut Store) {
    save(store, "Blog", "id=b1 name=n");
    for number in 0..40 {
        save(
            store,
            "Post",
            &format!("id=p{number} title=number-{number}-of-the-posts rating={number} blogId=b1"),
        );
    }
    append(
        store,
        arrived(&post("p50"), 7, "id=p50 title=from-the-server rating=5"),
    )
    .unwrap();
    store.write(5, |txn| remove(txn, &post("p3")).map(drop)).unwrap();
    save(store, "Post", "id=p4 title=changed");
}

fn file_in(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

/// What a store holds once it is opened.
fn opened(directory: &Path) -> String {
    let store = in_directory(directory);
    assert_sound(&store);
    everything(&store)
}

/// Positions at which some bytes lie in a file.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(wanted))
        .collect()
}

/// A store with something in it, and what it holds.
fn example() -> (tempfile::TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let mut store = in_directory(home.path());
    fill(&mut store);
    let before = everything(&store);
    drop(store);
    (home, before)
}

#[test]
fn a_store_is_the_same_when_it_is_made_again() {
    let (home, before) = example();
    let made = remake(home.path(), Extent::Everything).unwrap();
    assert_eq!((made.entries, made.newest), (45, Seq(45)));
    assert_eq!((made.records, made.lost, made.kept), (41, None, None));
    assert!(made.pending > 30, "{}", made.pending);
    assert_eq!(opened(home.path()), before);
    let file = file_in(home.path());
    assert_eq!(
        remake(&file, Extent::UpToDamage).unwrap().lost,
        None,
        "a file is named as well"
    );
    assert_eq!(opened(home.path()), before);
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_trimmed_store_goes_on_from_its_base() {
    let (home, _) = example();
    let mut store = in_directory(home.path());
    let trimmed = store.trim(&Retention::everything().entries(5), 0).unwrap();
    assert!(trimmed.entries > 0);
    let before = everything(&store);
    drop(store);
    let made = remake(home.path(), Extent::Everything).unwrap();
    assert_eq!((made.entries, made.newest), (45 - trimmed.entries, Seq(45)));
    assert_eq!(opened(home.path()), before);
}

#[test]
fn entries_that_are_only_in_the_journal_are_taken_over() {
    let home = tempfile::tempdir().unwrap();
    let (live, killed) = (home.path().join("live"), home.path().join("killed"));
    let mut store = in_directory(&live);
    fill(&mut store);
    fs::create_dir(&killed).unwrap();
    fs::copy(file_in(&live), file_in(&killed)).unwrap();
    assert_eq!(remake(&killed, Extent::Everything).unwrap().newest, Seq(45));
    assert_eq!(opened(&killed), everything(&store));
    let locked = remake(&live, Extent::Everything);
    assert!(matches!(locked, Err(StorageError::Locked { .. })), "{locked:?}");
    let nowhere = remake(&home.path().join("nowhere"), Extent::Everything);
    assert!(
        matches!(nowhere, Err(StorageError::NoStore { .. })),
        "{nowhere:?}"
    );
}

#[test]
fn damage_is_mended_from_the_log_and_damage_of_the_log_is_said() {
    let (home, before) = example();
    let file = file_in(home.path());
    let sound = fs::read(&file).unwrap();
    let (mut rows, mut logs) = (0, 0);
    for at in places(&sound, b"number-17-of-the-posts") {
        let mut damaged = sound.clone();
        damaged[at + 3] = 0xFF;
        fs::write(&file, &damaged).unwrap();
        let broken = {
            let store = in_directory(home.path());
            let read = snapshot(&store).query(&crate::Query::all("Post")).map(drop);
            drop(store);
            // Opening and closing writes as well.
            fs::write(&file, &damaged).unwrap();
            read
        };
        if let Err(error) = &broken {
            let text = error.to_string();
            assert!(text.contains(&file.display().to_string()), "{text}");
            let command = format!("`landfall data rebuild {}`", home.path().display());
            assert!(text.contains(&command), "{text}");
        }
        match remake(home.path(), Extent::Everything) {
            Ok(_) => {
                rows += usize::from(broken.is_err());
                assert_eq!(opened(home.path()), before);
            }
            Err(StorageError::LogDamaged {
                path,
                what,
                sound: whole,
            }) => {
                logs += 1;
                assert_eq!(path.as_ref(), Some(&file));
                let (first, last) = whole.expect("it is not the first entry");
                assert_eq!(first, Seq(1));
                assert!(what.contains(&last.next().to_string()), "{what}");
                assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was changed");
                let made = remake(home.path(), Extent::UpToDamage).unwrap();
                assert_eq!((made.newest, made.lost.as_ref()), (last, Some(&what)));
                let kept = made.kept.expect("what is given up is kept");
                assert_eq!(fs::read(kept).unwrap(), damaged);
                let store = in_directory(home.path());
                assert_eq!(store.head(), last);
                assert_sound(&store);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(rows > 0 && logs > 0, "both were met: {rows} and {logs}");
}

#[test]
fn a_damaged_file_that_is_kept_goes_with_the_next_opening_if_it_holds_what_was_cleared() {
    let home = tempfile::tempdir().unwrap();
    let mut store = in_directory(home.path());
    for number in 0..200 {
        save(&mut store, "Post", &format!("id=p{number} title=secret-{number}"));
    }
    // The process ends before it scrubs, and what comes after the clear is damaged.
    append(&mut store, Change::Cleared).unwrap();
    fill(&mut store);
    drop(store);
    let file = file_in(home.path());
    let mut bytes = fs::read(&file).unwrap();
    for at in places(&bytes, b"number-17-of-the-posts") {
        bytes[at + 3] = 0xFF;
    }
    fs::write(&file, &bytes).unwrap();
    let files_with_secrets = || {
        let files = fs::read_dir(home.path())
            .unwrap()
            .map(|file| file.unwrap().path());
        let holds = |path: &PathBuf| !places(&fs::read(path).unwrap(), b"secret-").is_empty();
        files.filter(holds).collect::<Vec<_>>()
    };
    let refused = remake(home.path(), Extent::Everything);
    assert!(
        matches!(refused, Err(StorageError::LogDamaged { .. })),
        "{refused:?}"
    );
    let made = remake(home.path(), Extent::UpToDamage).unwrap();
    assert!(made.lost.is_some() && made.kept_until_opened, "{made:?}");
    let kept = made.kept.expect("what is given up is kept until then");
    assert_eq!(files_with_secrets(), [kept]);
    let store = in_directory(home.path());
    assert_eq!(store.head(), made.newest);
    assert_sound(&store);
    assert_eq!(files_with_secrets(), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_cut_off_is_made_again_as_far_as_its_log_goes() {
    let (home, before) = example();
    let file = file_in(home.path());
    let sound = fs::read(&file).unwrap();
    let (mut whole, mut partial, mut nothing) = (0, 0, 0);
    for cut in (1..40).map(|part| sound.len() * part / 40) {
        fs::write(&file, &sound[..cut]).unwrap();
        let Err(refused) = Store::open(options(Disk::Directory(home.path().to_owned()))) else {
            // So little is left that it may be the beginning of a store which a crash kept from being made.
            continue;
        };
        let text = refused.to_string();
        assert!(text.contains(&file.display().to_string()), "{text}");
        fs::write(&file, &sound[..cut]).unwrap();
        match remake(home.path(), Extent::Everything) {
            Ok(_) => {
                whole += 1;
                assert_eq!(opened(home.path()), before, "cut at {cut}");
            }
            Err(StorageError::LogDamaged { sound: there, .. }) => {
                assert_eq!(fs::read(&file).unwrap().len(), cut, "nothing was changed");
                let made = remake(home.path(), Extent::UpToDamage);
                assert_eq!(made.is_ok(), there.is_some(), "cut at {cut}: {made:?}");
                partial += usize::from(made.is_ok());
                nothing += usize::from(made.is_err());
            }
            Err(StorageError::Foreign { .. }) => nothing += 1,
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    assert!(whole + partial + nothing > 10, "{whole} {partial} {nothing}");
    assert!(nothing > 0, "what has lost its database cannot be made again");
}

#[test]
fn a_file_with_damaged_headers_is_made_again() {
    let (home, before) = example();
    let file = file_in(home.path());
    let sound = fs::read(&file).unwrap();
    let database = places(&sound, crate::disk::DATABASE_MAGIC)[0];
    for at in [0, 5, 18, 24, database, database + 5] {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        fs::write(&file, &damaged).unwrap();
        let refused = Store::open(options(Disk::Directory(home.path().to_owned())));
        assert!(refused.is_err(), "byte {at}");
        fs::write(&file, &damaged).unwrap();
        match remake(home.path(), Extent::Everything) {
            Ok(_) => assert_eq!(opened(home.path()), before, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 48,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x0da_3a6e),
        ..ProptestConfig::default()
    })]

    /// Whatever bytes are overwritten: what is made again holds the log as far as it is whole, or nothing is changed.
    #[test]
    fn any_damage_is_mended_or_said(
        places in proptest::collection::vec((0_u64..1 << 32, any::<u8>()), 1..6),
        length in 1_usize..5_000,
    ) {
        let (home, before) = example();
        let file = file_in(home.path());
        let mut bytes = fs::read(&file).unwrap();
        for (place, byte) in places {
            let at = usize::try_from(place % bytes.len() as u64).unwrap();
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(byte);
        }
        fs::write(&file, &bytes).unwrap();
        match remake(home.path(), Extent::Everything) {
            Ok(made) if made.newest == Seq(45) => prop_assert_eq!(opened(home.path()), before),
            // Where the newest root of the database was hit, the one before it is all that is left.
            Ok(_) => prop_assert!(!opened(home.path()).is_empty()),
            Err(_) => prop_assert_eq!(fs::read(&file).unwrap(), bytes),
        }
    }
}

#[test]
fn a_store_that_is_open_is_made_again_under_its_readers() {
    let home = tempfile::tempdir().unwrap();
    let mut store = in_directory(home.path());
    fill(&mut store);
    let before = everything(&store);
    let reader = store.reader();
    store.tamper(|transaction| {
        let mut records = transaction.open_table(RECORDS).unwrap();
        let key = crate::tables::record_key(&post("p9"));
        records.insert(key.as_slice(), b"nonsense".as_slice()).unwrap();
    });
    let mut look = reader.snapshot().unwrap();
    look.forgo_cache();
    assert!(look.query(&crate::Query::all("Post")).is_err());
    drop(look);
    let made = store.remake().unwrap();
    assert_eq!((made.entries, made.records), (45, 41));
    assert_eq!(everything(&store), before);
    assert_sound(&store);
    save(&mut store, "Post", "id=late title=goes-on");
    let found = reader.snapshot().unwrap().get("Post", &"late".into()).unwrap();
    assert_eq!(found.and_then(|record| record.sync()), None::<SyncMetadata>);
    let after = everything(&store);
    drop(store);
    assert_eq!(opened(home.path()), after);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_store_elsewhere_is_made_again_in_place_and_a_damaged_log_is_refused() {
    let mut store = crate::test_support::in_memory();
    fill(&mut store);
    let before = everything(&store);
    assert_eq!(store.remake().unwrap().newest, Seq(45));
    assert_eq!(everything(&store), before);
    let home = tempfile::tempdir().unwrap();
    let mut store = in_directory(home.path());
    fill(&mut store);
    store.tamper(|transaction| {
        drop(transaction.open_table(LOG).unwrap().remove(20).unwrap());
    });
    match store.remake() {
        Err(StorageError::LogDamaged { path, sound, .. }) => {
            assert_eq!(path, Some(file_in(home.path())));
            assert_eq!(sound, Some((Seq(1), Seq(19))));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        snapshot(&store).get("Post", &"p9".into()).unwrap().is_some(),
        "it is as it was"
    );
}
