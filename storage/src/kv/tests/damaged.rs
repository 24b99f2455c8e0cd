//! Damaged pages, at which the database panics: whoever meets one is told of damage, and the rows go on.

use super::disk::{Dice, Survival, TestDisk};
use super::*;
use crate::test_support::leaves_holding;

/// What tells the leaves of the rows and of the list of tables from those of the database's own.
const OURS: [&[u8]; 3] = [b"row-", b"letters-1", b"landfall journal-1"];

/// Bytes at the head of a leaf, in which it says how many rows it has and where they lie.
const HEAD: usize = 64;

/// Damaged files that are tried.
const SEEDS: u64 = 600;

/// A file with rows in several leaves of two tables, closed in order.
fn closed() -> Vec<u8> {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    for number in 0..120 {
        let key = format!("row-{number:03}");
        store
            .write(|txn| -> Result<(), KvError> {
                txn.put(LETTERS, key.as_bytes(), &[7; 100])?;
                txn.put(OTHERS, key.as_bytes(), b"small")
            })
            .unwrap();
    }
    drop(store);
    disk.image(Survival::Everything)
}

/// Whatever a call answers, damage is told in words that say so.
fn tolerated<T>(what: &str, seed: u64, answer: Result<T, KvError>) -> bool {
    match answer {
        Ok(_) => false,
        Err(KvError::Corrupt { .. } | KvError::OutcomeUnknown { .. } | KvError::Foreign { .. }) => true,
        Err(KvError::Io { cause }) if cause.contains("opened again") => true,
        Err(error) => panic!("{what} with seed {seed}: {error}"),
    }
}

#[test]
fn no_damaged_leaf_panics_whoever_calls() {
    let whole = closed();
    let leaves = leaves_holding(&whole, &OURS);
    assert!(leaves.len() >= 6, "{}", leaves.len());
    let mut damaged = 0;
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut image = whole.clone();
        for _ in 0..=dice.below(3) {
            let at = leaves[dice.below(leaves.len())] + dice.below(HEAD);
            image[at] ^= 1 << dice.below(8);
        }
        let disk = TestDisk::with_image(image, seed);
        let store = match disk.open() {
            Ok(store) => store,
            Err(error) => {
                damaged += u32::from(tolerated::<()>("opening", seed, Err(error)));
                continue;
            }
        };
        let mut hit = false;
        let mut look = |what: &str, answer: Result<(), KvError>| hit |= tolerated(what, seed, answer);
        for table in [LETTERS, OTHERS] {
            let read = |read: &dyn Fn(&KvSnapshot) -> Result<(), KvError>| {
                store.read().and_then(|snapshot| read(&snapshot))
            };
            look("a read", read(&|now| now.get(table, b"row-050").map(drop)));
            let all = KvRange::all();
            look("a scan", read(&|now| now.rows(table, &all, 1_000).map(drop)));
            let back = KvRange::prefix(b"row-").descending();
            look(
                "a scan back",
                read(&|now| now.rows(table, &back, 1_000).map(drop)),
            );
            look("counting", read(&|now| now.count(table).map(drop)));
            look("a put", store.write(|txn| txn.put(table, b"row-051", b"new")));
            look(
                "a remove",
                store.write(|txn| txn.remove(table, b"row-070").map(drop)),
            );
            look(
                "a scan inside a transaction",
                store.write(|txn| txn.rows(table, &KvRange::all(), 1_000).map(drop)),
            );
            look(
                "a failed transaction",
                store
                    .write(|txn| {
                        txn.put(table, b"row-000", b"new")?;
                        Err(KvError::Corrupt {
                            what: "as told".to_owned(),
                        })
                    })
                    .or_else(|error| match error {
                        KvError::Corrupt { what } if what == "as told" => Ok(()),
                        error => Err(error),
                    }),
            );
        }
        drop(store);
        damaged += u32::from(hit);
    }
    assert!(damaged > 100, "most of it is met: {damaged}");
}

#[test]
fn damage_that_the_caller_passes_over_is_not_built_on_and_the_rows_go_on() {
    let mut image = closed();
    let broken: Vec<usize> = leaves_holding(&image, &[b"row-050"]);
    assert!(!broken.is_empty());
    for at in broken {
        image[at + 2..at + 4].fill(0xFF);
    }
    let disk = TestDisk::with_image(image, 1);
    let store = disk.open().unwrap();
    let passed_over = store.write(|txn| -> Result<(), KvError> {
        txn.put(LETTERS, b"row-119", b"before")?;
        let met = txn.get(LETTERS, b"row-050");
        assert!(matches!(met, Err(KvError::Corrupt { .. })), "{met:?}");
        Ok(())
    });
    assert!(
        matches!(passed_over, Err(KvError::Corrupt { .. })),
        "{passed_over:?}"
    );
    let there = || store.read().unwrap().get(LETTERS, b"row-119").unwrap();
    assert_eq!(there(), Some(vec![7; 100]), "nothing of it was committed");
    store.write(|txn| txn.put(LETTERS, b"row-119", b"after")).unwrap();
    assert_eq!(there(), Some(b"after".to_vec()));
}

#[test]
fn a_panic_of_the_callers_is_no_damage_wherever_it_comes_from() {
    let disk = TestDisk::new(1);
    let store = disk.open().unwrap();
    put(&store, &["a", "b"]);
    let said = |work: &mut dyn FnMut()| {
        let panic = crate::panics::caught(work);
        panic.expect_err("it goes on")
    };
    let inside = said(&mut || {
        drop(store.write(|txn| -> Result<(), KvError> {
            txn.put(LETTERS, b"c", b"v")?;
            panic!("broken promise");
        }));
    });
    let visiting = said(&mut || {
        drop(
            store
                .read()
                .unwrap()
                .scan(LETTERS, &KvRange::all(), &mut |_, _| panic!("broken promise")),
        );
    });
    assert_eq!(
        (inside.as_str(), visiting.as_str()),
        ("broken promise", "broken promise")
    );
    let opened = disk.count();
    put(&store, &["d"]);
    assert!(disk.count() - opened < 4, "it was not opened again for that");
    assert_eq!(keys(&store.read().unwrap(), &KvRange::all(), 10), "a b d");
}
