use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use redb::{ReadableTable, TableHandle, WriteTransaction};

use landfall_core::{Change, Evicted, LogEntry, Migration, Opaque, Origin, RecordKey, SchemaChanged, Seq};

use super::*;
use crate::codec::entry::{decode, encode, verify};
use crate::history::{Filter, History, LiveLog, open_for_inspection};
use crate::tables::{DIGESTS, LOG};
use crate::test_support::{
    CachedDisk, append, arrived, assert_sound, built, field, in_directory, in_memory, options_with, post,
    shop_parts, snapshot,
};
use crate::{Migrations, Retention, Store, StoreOptions};

fn hashed(number: u32) -> Hashed {
    Hashed::of(&number.to_le_bytes())
}

/// A digest of a block that is about records of these numbers.
fn digest_of(block: u64, numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut records: Vec<Hashed> = numbers.map(hashed).collect();
    let (before, last, marks) = (3, 4, 0);
    let filter = &filter_of(&mut records);
    Digest {
        before,
        last,
        marks,
        filter,
    }
    .write(block)
}

#[test]
fn a_filter_has_every_record_and_hardly_another() {
    const RECORDS: u32 = 1_024;
    const OTHERS: u32 = 30_000;
    let bytes = digest_of(7, 0..RECORDS);
    assert!(bytes.len() < 1_400, "{}", bytes.len());
    let digest = Digest::read(7, &bytes).unwrap();
    assert!((0..RECORDS).all(|number| digest.may_have(Sought::Record(hashed(number)))));
    let others = (RECORDS..RECORDS + OTHERS).map(|number| Sought::Record(hashed(number)));
    let wrong = others.filter(|other| digest.may_have(*other)).count();
    assert!(
        (10..OTHERS as usize * 2 / 100).contains(&wrong),
        "{wrong} of {OTHERS}"
    );
    assert!(!digest.may_have(Sought::Marks));
    assert!(
        filter_of(&mut vec![hashed(1), hashed(1), hashed(1)]).len() <= 2,
        "each counts once"
    );
    let none = digest_of(7, 0..0);
    assert!(
        !Digest::read(7, &none)
            .unwrap()
            .may_have(Sought::Record(hashed(1)))
    );
}

#[test]
fn a_digest_that_was_altered_or_is_of_another_block_is_none() {
    let bytes = digest_of(7, 0..9);
    assert!(Digest::read(7, &bytes).is_some());
    assert!(Digest::read(8, &bytes).is_none());
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(Digest::read(7, &altered).is_none(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Digest::read(7, &bytes[..length]).is_none(), "{length} bytes");
    }
}

#[test]
fn each_entry_is_about_a_record_or_everything_or_nothing() {
    let told = |change: Change| {
        let entry = LogEntry {
            seq: Seq(9),
            at_ms: 1,
            origin: Origin::App,
            cause: None,
            change,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, &entry, 0);
        about(&bytes)
    };
    let opaque = |kind, version, payload: &[u8]| {
        let payload = payload.to_vec();
        Change::Opaque(Opaque {
            kind,
            version,
            payload,
        })
    };
    let of_p1 = About::Record(Hashed::of(&key_bytes(&post("p1"))));
    assert_eq!(told(arrived(&post("p1"), 1, "id=p1 title=a")), of_p1);
    assert_eq!(told(evicted("p1")), of_p1);
    assert_eq!(told(Change::Cleared), About::Marked);
    let changed = SchemaChanged {
        hash: built(shop_parts()).hash().clone(),
        introspection: "{}".to_owned(),
    };
    assert_eq!(told(Change::SchemaChanged(changed)), About::Marked);
    assert_eq!(told(opaque(6, 99, &[0xc0])), About::Marked, "of a newer program");
    assert_eq!(
        told(opaque(1, 1, &[0x93, 0xc1])),
        About::Marked,
        "no key can be read"
    );
    assert_eq!(told(opaque(999, 1, &[0xc0])), About::Nothing, "of no known kind");
    assert_eq!(about(b"no entry"), About::Marked);
}

fn evicted(id: &str) -> Change {
    Change::Evicted(Evicted {
        key: post(id),
        reason: "left the sync expression".into(),
        sync: None,
    })
}

fn history(store: &Store) -> History {
    History::of_snapshot(snapshot(store)).unwrap()
}

/// The blocks that have digests.
fn digested(store: &Store) -> Vec<u64> {
    let snapshot = snapshot(store);
    let table = of(snapshot.transaction()).unwrap();
    let blocks = table.into_iter().flat_map(|table| {
        let blocks: Vec<u64> = table
            .iter()
            .unwrap()
            .map(|item| item.unwrap().0.value())
            .collect();
        blocks
    });
    blocks.collect()
}

/// How many entries of the log are read for a record.
fn read_for(history: &History, key: &RecordKey) -> u64 {
    let (first, last) = history.bounds();
    let stretches = history.stretches(Sought::record(key), first, last);
    stretches.iter().map(|(first, last)| last.0 + 1 - first.0).sum()
}

/// Appends that many entries about as many posts.
fn fill(store: &mut Store, from: u64, entries: u64) {
    let mut arrive = |number: u64| {
        let id = format!("p{number}");
        append(store, arrived(&post(&id), 1, &format!("id={id} title=a"))).unwrap();
    };
    (from..from + entries).for_each(&mut arrive);
}

/// Changes the database of a closed store by hand.
fn tamper(disk: &CachedDisk, change: impl FnOnce(&WriteTransaction)) {
    let opened = disk.disk().open(1 << 20, &Arc::default()).unwrap();
    let transaction = opened.database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn options(disk: &CachedDisk, more: usize) -> StoreOptions {
    let mut parts = shop_parts();
    parts.models[0]
        .fields
        .extend((0..more).map(|number| field(&format!("more{number}: String"))));
    options_with(disk.disk(), built(parts))
}

fn open(disk: &CachedDisk) -> Store {
    Store::open(options(disk, 0)).unwrap()
}

#[test]
fn full_blocks_get_digests_and_a_question_reads_few_of_them() {
    let mut store = in_memory();
    fill(&mut store, 0, BLOCK_LEN * 20);
    assert_eq!(digested(&store), (0..20).collect::<Vec<_>>());
    let history = history(&store);
    let of_one = read_for(&history, &post("p100"));
    assert!((BLOCK_LEN..BLOCK_LEN * 6).contains(&of_one), "{of_one}");
    assert_eq!(history.record(&post("p100")).unwrap().steps.len(), 1);
    assert!(history.record(&post("none")).unwrap().steps.is_empty());
    let filter = Filter {
        record: Some(post("p100")),
        ..Filter::default()
    };
    let listing = history.list(&filter, 9).unwrap();
    assert_eq!((listing.matched, listing.gaps.len()), (1, 0));
    assert_sound(&store);
}

#[test]
fn a_store_without_digests_gets_them_a_part_at_a_time() {
    let disk = CachedDisk::default();
    let blocks = made::MADE_AT_ONCE_MAX * 2 + 3;
    let mut store = open(&disk);
    fill(&mut store, 0, BLOCK_LEN * blocks);
    drop(store);
    tamper(&disk, |transaction| forget(transaction).unwrap());
    let mut store = open(&disk);
    assert!(digested(&store).is_empty());
    let mut had = vec![0];
    while had.last() < Some(&(blocks as usize)) {
        // Each clear of the way is a checkpoint, as a full journal is one now and then.
        fill(&mut store, 0, 1);
        let has = digested(&store).len();
        if *had.last().unwrap() != has {
            had.push(has);
        }
        assert!(history(&store).len() < BLOCK_LEN * (blocks + 400), "{had:?}");
    }
    let most = usize::try_from(made::MADE_AT_ONCE_MAX).unwrap();
    assert!(had.windows(2).all(|pair| pair[1] - pair[0] <= most), "{had:?}");
    assert_sound(&store);
}

/// Gives the post `p40` another name in the log of a closed store, as a program does that writes the log anew.
fn rename_in_log(transaction: &WriteTransaction) {
    let mut log = transaction.open_table(LOG).unwrap();
    let entries: Vec<(u64, Vec<u8>)> = log
        .iter()
        .unwrap()
        .map(|item| {
            item.map(|(seq, bytes)| (seq.value(), bytes.value().to_vec()))
                .unwrap()
        })
        .collect();
    let (mut old, mut check) = (0, 0);
    for (seq, bytes) in entries {
        old = verify(Seq(seq), &bytes, old).unwrap();
        let mut entry = decode(Seq(seq), &bytes).unwrap();
        if entry.change.key() == Some(&post("p40")) {
            entry.change = arrived(&post("new"), 1, "id=new title=a");
        }
        let mut anew = Vec::new();
        check = encode(&mut anew, &entry, check);
        log.insert(seq, anew.as_slice()).unwrap();
    }
}

#[test]
fn digests_of_another_log_are_not_believed_and_are_made_anew() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    // All of it in one transaction, which does not fit the journal.
    let fill_at_once = |store: &mut Store, from: u64, blocks: u64| {
        let arrive = |txn: &mut crate::Txn<'_>| {
            for number in from..from + BLOCK_LEN * blocks {
                let id = format!("p{number}");
                let long = "long".repeat(40);
                txn.append(
                    Origin::Sync,
                    None,
                    arrived(&post(&id), 1, &format!("id={id} title={long}")),
                )?;
            }
            Ok(())
        };
        store.write(5, arrive).unwrap();
    };
    fill_at_once(&mut store, 0, 40);
    fill_at_once(&mut store, 640, 40);
    drop(store);
    tamper(&disk, rename_in_log);
    let mut store = open(&disk);
    assert_eq!(digested(&store), (0..80).collect::<Vec<_>>());
    let told = history(&store).record(&post("new")).unwrap();
    assert_eq!(told.steps.len(), 1, "the digests say that there is none");
    // What comes before the entry that was renamed is as it was.
    assert!(read_for(&history(&store), &post("new")) > BLOCK_LEN * 75);
    let mut blocks = 80;
    for _ in 0..4 {
        fill_at_once(&mut store, 2_000, 30);
        blocks += 30;
    }
    assert_eq!(digested(&store), (0..blocks).collect::<Vec<_>>());
    assert!(read_for(&history(&store), &post("new")) < BLOCK_LEN * 15);
    assert_eq!(history(&store).record(&post("new")).unwrap().steps.len(), 1);
    let differences = snapshot(&store).verify().unwrap().differences;
    assert!(
        !differences.iter().any(|told| told.contains("digest")),
        "{differences:?}"
    );
}

#[test]
fn a_digest_that_is_behind_another_log_does_not_vouch_for_those_before_it() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    fill(&mut store, 0, BLOCK_LEN * 4);
    store.rebuild().unwrap();
    drop(store);
    let stale: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::default();
    tamper(&disk, |transaction| {
        let digests = transaction.open_table(DIGESTS).unwrap();
        let block = block_of(Seq(42));
        stale.replace(digests.get(block).unwrap().unwrap().value().to_vec());
    });
    tamper(&disk, rename_in_log);
    let mut store = open(&disk);
    store.rebuild().unwrap();
    drop(store);
    // Only the digest in the middle is of the log as it was.
    tamper(&disk, |transaction| {
        insert(transaction, (block_of(Seq(42)), stale.take())).unwrap();
    });
    let store = open(&disk);
    let history = history(&store);
    assert_eq!(history.record(&post("new")).unwrap().steps.len(), 1);
    assert!(
        read_for(&history, &post("none")) <= BLOCK_LEN * 3,
        "the others are believed"
    );
    assert_sound(&store);
}

#[test]
fn a_digest_that_hides_an_entry_or_makes_no_sense_is_found_and_made_anew() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    fill(&mut store, 0, BLOCK_LEN * 4);
    store.rebuild().unwrap();
    assert_sound(&store);
    drop(store);
    tamper(&disk, |transaction| {
        let mut digests = transaction.open_table(DIGESTS).unwrap();
        let bytes = digests.get(1).unwrap().unwrap().value().to_vec();
        let sound = Digest::read(1, &bytes).unwrap();
        let empty = Digest {
            filter: &[0],
            ..sound
        }
        .write(1);
        digests.insert(1, empty.as_slice()).unwrap();
        let bytes = digests.get(3).unwrap().unwrap().value().to_vec();
        let sound = Digest::read(3, &bytes).unwrap();
        let other = Digest {
            before: !sound.before,
            ..sound
        }
        .write(3);
        digests.insert(3, other.as_slice()).unwrap();
        digests.insert(2, b"garbage".as_slice()).unwrap();
    });
    let mut store = open(&disk);
    let at = |block: u64| format!("the digest of {} to {}", first_of(block), last_of(block));
    assert_eq!(
        snapshot(&store).verify().unwrap().differences,
        [
            format!("{} hides an entry", at(1)),
            format!("{} makes no sense", at(2)),
            format!("{} goes on from other entries than its block", at(3)),
        ]
    );
    assert_eq!(
        history(&store)
            .record(&post(&format!("p{}", BLOCK_LEN * 2 + 3)))
            .unwrap()
            .steps
            .len(),
        1,
        "garbage is no digest"
    );
    store.rebuild().unwrap();
    assert_sound(&store);
    assert_eq!(digested(&store), [0, 1, 2, 3]);
}

#[test]
fn a_clear_takes_all_digests_along_and_a_trim_those_of_what_it_trims() {
    let mut store = in_memory();
    fill(&mut store, 0, BLOCK_LEN * 6 + 3);
    assert_eq!(digested(&store), (0..6).collect::<Vec<_>>());
    store
        .trim(&Retention::everything().entries(BLOCK_LEN * 2), 5)
        .unwrap();
    assert_eq!(digested(&store), [4, 5]);
    assert_sound(&store);
    append(&mut store, Change::Cleared).unwrap();
    assert!(digested(&store).is_empty());
    fill(&mut store, 0, BLOCK_LEN * 2);
    assert_eq!(digested(&store), [6, 7], "the first is of what follows the clear");
    assert_sound(&store);
}

#[test]
fn a_migration_makes_digests_of_the_log_as_it_is_now() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    // More than are made after a checkpoint.
    let blocks = made::MADE_AT_ONCE_MAX + 4;
    fill(&mut store, 0, BLOCK_LEN * blocks);
    store.rebuild().unwrap();
    drop(store);
    let mut parts = shop_parts();
    parts.models[1].name = "Article".into();
    parts.models[1].plural_name = "Articles".into();
    let mut migrations = Migrations::default();
    migrations.push(Migration::named("articles").rename_model("Post", "Article"));
    let store = Store::open_migrating(options_with(disk.disk(), built(parts)), &migrations).unwrap();
    assert_eq!(digested(&store), (0..blocks).collect::<Vec<_>>());
    let history = history(&store);
    let key = RecordKey::new("Article", "p20");
    assert_eq!(history.record(&key).unwrap().steps.len(), 1);
    assert!(read_for(&history, &key) < history.len());
    assert_sound(&store);
}

#[test]
fn a_damaged_block_has_a_digest_that_has_it_read() {
    for damaged in [2, 4] {
        let disk = CachedDisk::default();
        let mut store = open(&disk);
        fill(&mut store, 0, BLOCK_LEN * 5);
        drop(store);
        // What the journal has comes to the log first.
        open(&disk).rebuild().unwrap();
        let gap = first_of(damaged).0 + 3;
        tamper(&disk, |transaction| {
            forget(transaction).unwrap();
            transaction.open_table(LOG).unwrap().remove(gap).unwrap();
        });
        let opened = disk.disk().open(1 << 20, &Arc::default()).unwrap();
        let due = Due::find(&*opened.database).unwrap();
        let transaction = opened.database.begin_write().unwrap();
        due.write(&transaction).unwrap();
        transaction.commit().unwrap();
        assert!(
            Due::find(&*opened.database).unwrap().is_nothing(),
            "it is tried once"
        );
        drop(opened);
        let store = open(&disk);
        assert_eq!(digested(&store), [0, 1, 2, 3, 4]);
        let told = history(&store).record(&post("none")).unwrap_err().to_string();
        assert!(
            told.contains(&format!("the log has a gap from e{gap} to e{gap}")),
            "{told}"
        );
    }
}

#[test]
fn a_backup_has_the_digests_but_for_those_of_what_was_trimmed() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    fill(&mut store, 0, BLOCK_LEN * 6);
    store.rebuild().unwrap();
    store
        .trim(&Retention::everything().entries(BLOCK_LEN * 2 + 3), 5)
        .unwrap();
    assert_eq!(digested(&store), [3, 4, 5]);
    drop(store);
    // As a version leaves it that knows of no digests.
    tamper(&disk, |transaction| {
        insert(transaction, (1, digest_of(1, 0..9))).unwrap();
    });
    let store = open(&disk);
    let folder = tempfile::tempdir().unwrap();
    snapshot(&store).backup(folder.path(), |_| ()).unwrap();
    assert_eq!(digested(&in_directory(folder.path())), [3, 4, 5]);
}

#[test]
fn digests_that_cannot_be_read_or_made_keep_nothing_from_being_done() {
    let disk = CachedDisk::default();
    let mut store = open(&disk);
    fill(&mut store, 0, BLOCK_LEN * 2);
    drop(store);
    tamper(&disk, |transaction| {
        forget(transaction).unwrap();
        let other: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new(DIGESTS.name());
        transaction.open_table(other).unwrap().insert("a", 1).unwrap();
    });
    let mut store = open(&disk);
    // Enough for several checkpoints.
    fill(&mut store, 0, 600);
    assert_eq!(store.digested, u64::MAX);
    assert_eq!(history(&store).record(&post("p500")).unwrap().steps.len(), 1);
    let found = snapshot(&store).verify().unwrap().differences;
    assert!(
        matches!(&found[..], [found] if found.contains("digests of the log cannot be read")),
        "{found:?}"
    );
    store.rebuild().unwrap();
    assert_sound(&store);
    assert!(read_for(&history(&store), &post("p500")) < 100);
}

/// The form of a digest on disk. Whoever changes it changes the name of the table as well.
#[test]
fn the_form_of_a_digest_is_kept() {
    let bytes = digest_of(7, 0..2);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "03000000040000000077da0e539f94d0");
}

#[test]
fn a_copy_of_the_log_of_a_store_in_use_has_digests_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = in_directory(folder.path());
    fill(&mut store, 0, BLOCK_LEN * 10);
    let history = LiveLog::open(folder.path()).unwrap().history().unwrap();
    assert!(read_for(&history, &post("p40")) < BLOCK_LEN * 5);
    assert_eq!(history.record(&post("p40")).unwrap().steps.len(), 1);
    assert_eq!(history.record(&post("p159")).unwrap().steps.len(), 1);
    drop(store);
    let closed = open_for_inspection(folder.path()).unwrap();
    assert_eq!(told_of(&closed, 200), told_of(&history, 200));
}

/// What the log tells of some posts, in words, errors included.
fn told_of(history: &History, posts: u64) -> String {
    let (first, last) = history.bounds();
    let mut told = String::new();
    for key in (0..posts).map(|number| post(&format!("p{number}"))) {
        for to in [Seq(first.0.midpoint(last.0)), Seq(last.0.saturating_sub(1)), last] {
            let found = history
                .record_to(&key, to)
                .map(|record| (record.steps, record.def));
            told += &format!("{key} to {to}: {found:?}\n");
        }
        let filter = Filter {
            record: Some(key),
            ..Filter::default()
        };
        told += &format!("{:?}\n", history.list(&filter, 3).unwrap());
    }
    told + &format!(
        "{:?}",
        history.schema_at(last).map(|schema| schema.hash().clone())
    )
}

#[derive(Clone, Debug)]
enum Deed {
    Arrive(u8, u8),
    ArriveMany(u8, u8),
    Evict(u8),
    Unknown,
    Clear,
    Trim(u8),
    Reopen(bool),
    Rebuild,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (any::<u8>(), 1..9_u8).prop_map(|(id, version)| Deed::Arrive(id, version)),
        6 => (any::<u8>(), 9..90_u8).prop_map(|(id, many)| Deed::ArriveMany(id, many)),
        2 => any::<u8>().prop_map(Deed::Evict),
        1 => Just(Deed::Unknown),
        1 => Just(Deed::Clear),
        1 => any::<u8>().prop_map(Deed::Trim),
        2 => any::<bool>().prop_map(Deed::Reopen),
        1 => Just(Deed::Rebuild),
    ]
}

fn perform(mut store: Store, disk: &CachedDisk, fields: &mut usize, deed: &Deed) -> Store {
    match deed {
        Deed::Arrive(id, version) => {
            let change = arrived(
                &post(&format!("p{id}")),
                (*version).into(),
                &format!("id=p{id} title=a"),
            );
            append(&mut store, change).unwrap();
        }
        Deed::ArriveMany(id, many) => fill(&mut store, (*id).into(), (*many).into()),
        Deed::Evict(id) => drop(append(&mut store, evicted(&format!("p{id}"))).unwrap()),
        Deed::Unknown => {
            let payload = b"of the future".to_vec();
            append(
                &mut store,
                Change::Opaque(Opaque {
                    kind: 999,
                    version: 1,
                    payload,
                }),
            )
            .unwrap();
        }
        Deed::Clear => drop(append(&mut store, Change::Cleared).unwrap()),
        Deed::Trim(entries) => {
            store
                .trim(&Retention::everything().entries((*entries).into()), 5)
                .unwrap();
        }
        Deed::Reopen(with_more) => {
            drop(store);
            *fields += usize::from(*with_more);
            return Store::open(options(disk, *fields)).unwrap();
        }
        Deed::Rebuild => drop(store.rebuild().unwrap()),
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_a_log_tells_is_the_same_with_and_without_digests(deeds in vec(deed(), 1..40)) {
        let (disk, mut fields) = (CachedDisk::default(), 0);
        let mut store = open(&disk);
        for deed in &deeds {
            store = perform(store, &disk, &mut fields, deed);
        }
        assert_sound(&store);
        let with = told_of(&history(&store), 30);
        drop(store);
        tamper(&disk, |transaction| forget(transaction).unwrap());
        let store = Store::open(options(&disk, fields)).unwrap();
        prop_assert!(digested(&store).is_empty());
        prop_assert_eq!(told_of(&history(&store), 30), with);
    }
}
