//! The cache against the database: whatever is written and read in between, a snapshot shows its own commit.

use std::sync::atomic::{AtomicBool, Ordering};

use landfall_core::{Op, Predicate, Record, RecordId, Value};
use proptest::prelude::*;

use crate::tables::record_key_of;
use crate::test_support::{in_memory, post, put, remove, snapshot};
use crate::{Query, Reader, Snapshot, Store};

/// What a test does to a store whose snapshots it keeps.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, u8)>),
    Remove(u8),
    Clear,
    Rebuild,
    Take,
    Drop(usize),
    Read(usize, u8),
    Scan(usize),
    ByIndex(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec((0..40_u8, 0..5_u8), 1..6).prop_map(Step::Write),
        2 => (0..40_u8).prop_map(Step::Remove),
        1 => Just(Step::Clear),
        1 => Just(Step::Rebuild),
        4 => Just(Step::Take),
        2 => any::<usize>().prop_map(Step::Drop),
        10 => (any::<usize>(), 0..40_u8).prop_map(|(n, id)| Step::Read(n, id)),
        6 => any::<usize>().prop_map(Step::Scan),
        3 => (any::<usize>(), 0..5_u8).prop_map(|(n, rating)| Step::ByIndex(n, rating)),
    ];
    prop::collection::vec(step, 1..120)
}

fn write(store: &mut Store, rows: &[(u8, u8)]) {
    let written = store.write(0, |txn| {
        for (id, rating) in rows {
            put(
                txn,
                "Post",
                &format!("id=p{id:02} title=t{rating} rating={rating}"),
            )?;
        }
        Ok(())
    });
    written.unwrap();
}

/// A snapshot with the cache, and one of the same commit without it.
struct Pair(Snapshot, Snapshot);

fn take(store: &Store) -> Pair {
    let mut plain = snapshot(store);
    plain.forgo_cache();
    Pair(snapshot(store), plain)
}

fn query(snapshot: &Snapshot, predicate: Predicate) -> Vec<Record> {
    let query = Query {
        predicate,
        ..Query::all("Post")
    };
    snapshot.query(&query).unwrap()
}

#[test]
fn what_is_asked_for_again_leaves_its_run() {
    let mut store = in_memory();
    write(&mut store, &[(1, 1), (2, 2), (3, 3)]);
    assert_eq!(query(&snapshot(&store), Predicate::All).len(), 3);
    let reader = snapshot(&store);
    let key = record_key_of(&"Post".into(), &RecordId::text("p02"));
    let stands_alone = || {
        let head = reader.head(&key).unwrap();
        head.expect("it was written").shared().is_some()
    };
    assert_eq!(
        [(); 3].map(|()| stands_alone()),
        [false, false, true],
        "the scan left it in a run, and it is kept by itself from the second time on"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_snapshot_shows_its_own_commit_whatever_is_kept(steps in steps()) {
        let mut store = in_memory();
        let mut held: Vec<Pair> = Vec::new();
        for step in steps {
            let pick = |n: usize| (!held.is_empty()).then(|| &held[n % held.len()]);
            match step {
                Step::Write(rows) => write(&mut store, &rows),
                Step::Remove(id) => drop(store.write(0, |txn| remove(txn, &post(&format!("p{id:02}")))).unwrap()),
                Step::Clear => drop(store.write(0, |txn| {
                    txn.append(landfall_core::Origin::App, None, landfall_core::Change::Cleared)
                }).unwrap()),
                Step::Rebuild => drop(store.rebuild().unwrap()),
                Step::Take => held.push(take(&store)),
                Step::Drop(n) => if !held.is_empty() { drop(held.remove(n % held.len())) },
                Step::Read(n, id) => if let Some(Pair(cached, plain)) = pick(n) {
                    let id = RecordId::from(format!("p{id:02}").as_str());
                    prop_assert_eq!(cached.get("Post", &id).unwrap(), plain.get("Post", &id).unwrap());
                },
                Step::Scan(n) => if let Some(Pair(cached, plain)) = pick(n) {
                    prop_assert_eq!(query(cached, Predicate::All), query(plain, Predicate::All));
                },
                Step::ByIndex(n, rating) => if let Some(Pair(cached, plain)) = pick(n) {
                    let wanted = || Predicate::field("rating", Op::Eq(Value::Int(rating.into())));
                    prop_assert_eq!(query(cached, wanted()), query(plain, wanted()));
                },
            }
        }
    }
}

/// Ratings of all posts as one snapshot shows them.
fn ratings(reader: &Reader) -> Vec<Value> {
    let snapshot = reader.snapshot().unwrap();
    let records = query(&snapshot, Predicate::All);
    let by_id = snapshot
        .get("Post", &"p07".into())
        .unwrap()
        .expect("it is never removed");
    let rating = |record: &Record| record.get("rating").cloned().unwrap_or(Value::Null);
    records.iter().chain([&by_id]).map(rating).collect()
}

#[test]
fn readers_beside_a_writer_see_whole_commits_and_never_go_back() {
    let mut store = in_memory();
    write(&mut store, &(0..30).map(|id| (id, 0)).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, done) = (store.reader(), &done);
            scope.spawn(move || {
                let mut last = -1;
                while !done.load(Ordering::Acquire) {
                    let seen = ratings(&reader);
                    let [Value::Int(first), rest @ ..] = seen.as_slice() else {
                        panic!("a rating is missing: {seen:?}");
                    };
                    assert!(
                        rest.iter().all(|value| *value == Value::Int(*first)),
                        "a torn commit: {seen:?}"
                    );
                    assert!(*first >= last, "{first} after {last}");
                    last = *first;
                }
            });
        }
        for commit in 1..=100_u8 {
            write(&mut store, &(0..30).map(|id| (id, commit)).collect::<Vec<_>>());
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn the_second_scan_and_the_third_read_come_from_memory() {
    let mut store = in_memory();
    write(&mut store, &(0..30).map(|id| (id, 1)).collect::<Vec<_>>());
    let view = |store: &Store| snapshot(store);
    let key = crate::tables::record_key(&post("p07"));
    let kept = |snapshot: &Snapshot| snapshot.cache().and_then(|cache| cache.head(&key)).is_some();
    assert!(!kept(&view(&store)));
    query(&view(&store), Predicate::All);
    assert!(kept(&view(&store)), "left behind by the scan");
    write(&mut store, &[(8, 2)]);
    assert!(!kept(&view(&store)), "the run around a changed record goes");
    for _ in 0..2 {
        assert!(view(&store).get("Post", &"p07".into()).unwrap().is_some());
    }
    assert!(kept(&view(&store)), "kept by itself the second time");
    write(&mut store, &[(9, 2)]);
    assert!(kept(&view(&store)));
    write(&mut store, &[(7, 2)]);
    assert!(!kept(&view(&store)));
}

#[test]
fn a_snapshot_that_a_commit_overtook_adds_nothing() {
    let mut store = in_memory();
    write(&mut store, &(0..30).map(|id| (id, 1)).collect::<Vec<_>>());
    let old = snapshot(&store);
    write(&mut store, &[(7, 2)]);
    for _ in 0..3 {
        query(&old, Predicate::All);
        old.get("Post", &"p07".into()).unwrap();
    }
    let key = crate::tables::record_key(&post("p07"));
    assert!(snapshot(&store).cache().unwrap().head(&key).is_none());
}
