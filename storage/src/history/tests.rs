use std::collections::BTreeSet;
use std::io::Cursor;

use landfall_core::{
    Acknowledged, Checkpoint, Conflict, Decision, MutationKind, MutationRef, Predicate, RecordKey,
    RecordState, Refusal, Refused, SyncCursor,
};
use proptest::prelude::*;

use super::*;
use crate::test_support::{
    append, arrived, everything, fields, in_directory, in_memory, lost, post, remote, remove, save, sent,
    shop, snapshot,
};
use crate::{Query, Txn};

mod damage;
mod redaction;
mod stories;

/// The log of a store as it is now.
pub(super) fn history(store: &Store) -> History {
    History::of_snapshot(snapshot(store)).expect("the disk is well")
}

/// What random tests do to a store; what does not fit is passed over, as the store refuses it.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Save(u8, u8),
    Remove(u8),
    Arrive(u8, u8, u8),
    Answer(u8, u8),
    Evict(u8),
    Checkpoint(u8),
}

pub(super) fn deeds(most: usize) -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (0..4_u8, any::<u8>()).prop_map(|(id, value)| Deed::Save(id, value)),
        1 => (0..4_u8).prop_map(Deed::Remove),
        3 => (0..4_u8, 1..6_u8, any::<u8>()).prop_map(|(id, version, value)| Deed::Arrive(id, version, value)),
        6 => (0..4_u8, 0..8_u8).prop_map(|(id, how)| Deed::Answer(id, how)),
        1 => (0..4_u8).prop_map(Deed::Evict),
        1 => any::<u8>().prop_map(Deed::Checkpoint),
    ];
    proptest::collection::vec(deed, 1..most)
}

pub(super) fn perform(store: &mut Store, deed: &Deed) {
    let name = |id: u8| format!("p{id}");
    match deed {
        Deed::Save(id, value) => {
            save_if_possible(store, &format!("id=p{id} title=t{value} rating={}", value % 7));
        }
        Deed::Remove(id) => {
            store
                .write(5, |txn| remove(txn, &post(&name(*id))))
                .expect("the disk is well");
        }
        Deed::Arrive(id, version, value) => {
            let text = format!("id=p{id} title=r{value} rating={}", value % 5);
            append(store, arrived(&post(&name(*id)), (*version).into(), &text)).expect("it always fits");
        }
        Deed::Answer(id, how) => answer(store, &post(&name(*id)), *how),
        Deed::Evict(id) => {
            let evicted = Change::Evicted(landfall_core::Evicted {
                key: post(&name(*id)),
                reason: "left the sync expression".into(),
                sync: None,
            });
            append(store, evicted).expect("it always fits");
        }
        Deed::Checkpoint(at) => {
            let cursor = SyncCursor {
                last_sync_ms: Some((*at).into()),
                ..SyncCursor::default()
            };
            let model = "Post".into();
            append(store, Change::Checkpoint(Checkpoint { model, cursor })).expect("it always fits");
        }
    }
}

fn save_if_possible(store: &mut Store, text: &str) {
    store
        .write(5, |txn: &mut Txn<'_>| crate::test_support::put(txn, "Post", text))
        .expect("the disk is well");
}

fn answer(store: &mut Store, key: &RecordKey, how: u8) {
    let state = snapshot(store).state(key).expect("readable");
    let Some(head) = state.pending.first() else { return };
    let mutation = head.seq;
    let of = MutationRef {
        key: key.clone(),
        mutation,
    };
    let version = state.sync.map_or(1, |sync| sync.version.0 + 1);
    let remote = |text: &str| remote(key, version, text);
    let id = &key.id;
    let change = match how {
        0 | 1 => sent(key, mutation),
        2 => lost(key, mutation),
        3 => Change::NotApplied(of),
        4 => Change::Acknowledged(Acknowledged {
            key: key.clone(),
            mutation,
            remote: remote(&format!("id={id} title=acked rating=1")),
        }),
        5 => Change::Conflict(Conflict {
            key: key.clone(),
            mutation,
            remote: remote(&format!("id={id} title=theirs rating=2")),
            decision: Decision::AcceptRemote,
            given_up: fields("title=lost"),
        }),
        6 => Change::Conflict(Conflict {
            key: key.clone(),
            mutation,
            remote: remote(&format!("id={id} title=theirs rating=3")),
            decision: Decision::Retry {
                kind: MutationKind::Update,
                patch: fields("title=merged"),
            },
            given_up: fields(""),
        }),
        _ => Change::Refused(Refused {
            key: key.clone(),
            mutation,
            refusal: Refusal {
                error_type: Some("Unauthorized".into()),
                message: "not you".into(),
            },
            remote: None,
        }),
    };
    append(store, change).expect("the mutation waits");
}

pub(super) fn random_store(deeds: &[Deed]) -> Store {
    let mut store = in_memory();
    for deed in deeds {
        perform(&mut store, deed);
    }
    store
}

/// A store that got the first entries of another one through its ordinary entrance.
fn replayed(history: &History, to: Seq) -> Store {
    let mut store = in_memory();
    let first = Filter {
        last: Some(to),
        ..Filter::default()
    };
    history
        .entries(&first, |seq, entry| {
            let entry = entry.expect("readable");
            // A new store makes the entry of its schema by itself.
            if seq > store.head() {
                store
                    .write(entry.at_ms, |txn| {
                        txn.append(entry.origin, entry.cause, entry.change)
                    })
                    .expect("it fitted before");
            }
            ControlFlow::Continue(())
        })
        .expect("readable");
    store
}

fn states(past: &PastState) -> Vec<(RecordKey, RecordState)> {
    past.states().map(|(key, state)| (key, state.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_state_as_of_any_entry_is_that_of_a_store_that_got_no_more(deeds in deeds(40)) {
        let store = random_store(&deeds);
        let history = history(&store);
        let (first, last) = history.bounds();
        for seq in first.0..=last.0 {
            let naive = replayed(&history, Seq(seq));
            let naive = snapshot(&naive);
            let past = history.as_of(Seq(seq), &Scope::All).unwrap();
            for model in naive.schema().models() {
                let expected = naive.query(&Query::all(model.name.clone())).unwrap();
                let query = Query::all(model.name.clone());
                prop_assert_eq!(&history.query(Seq(seq), &query).unwrap(), &expected);
                prop_assert_eq!(past.query(&query).unwrap(), expected);
                let cursor = past.cursors().get(&model.name).cloned().unwrap_or_default();
                prop_assert_eq!(cursor, naive.cursor(&model.name).unwrap());
            }
            for (key, state) in past.states() {
                prop_assert_eq!(state, &naive.state(&key).unwrap());
            }
            let pending: Vec<_> = past.pending().into_iter().cloned().collect();
            prop_assert_eq!(&history.pending(Seq(seq)).unwrap(), &pending);
            prop_assert_eq!(pending, naive.pending(Seq::ZERO, usize::MAX).unwrap());
            let model = history.as_of(Seq(seq), &Scope::Model("Post".into())).unwrap();
            prop_assert_eq!(states(&model), states(&past));
            let some: BTreeSet<_> = [post("p1"), post("p3")].into();
            let records = history.as_of(Seq(seq), &Scope::Records(some.clone())).unwrap();
            let expected: Vec<_> = states(&past).into_iter().filter(|(key, _)| some.contains(key)).collect();
            prop_assert_eq!(states(&records), expected);
        }
    }

    #[test]
    fn a_difference_leads_from_one_state_to_the_other(deeds in deeds(40), a in any::<u64>(), b in any::<u64>()) {
        let history = history(&random_store(&deeds));
        let (first, last) = history.bounds();
        let at = |n: u64| Seq(first.0 - 1 + n % (last.0 + 2 - first.0));
        // Backwards as well.
        let (from, to) = (at(a), at(b));
        let difference = history.diff(from, to).unwrap();
        prop_assert_eq!((difference.from, difference.to), (from, to));
        let (before, after) = (
            history.as_of(from, &Scope::All).unwrap(),
            history.as_of(to, &Scope::All).unwrap(),
        );
        let touched: BTreeSet<_> = difference.records.iter().map(|record| record.key.clone()).collect();
        for (key, _) in before.states().chain(after.states()) {
            let (old, new) = (before.get(&key), after.get(&key));
            match difference.records.iter().find(|record| record.key == key) {
                None => prop_assert_eq!(old, new),
                Some(told) => {
                    prop_assert_eq!(told.visible, (old.is_some(), new.is_some()));
                    let mut fields = old.map(|record| record.to_fields()).unwrap_or_default();
                    for change in &told.fields {
                        fields.insert(change.field.clone(), change.after.clone().unwrap_or_default());
                    }
                    if let Some(new) = new {
                        for (name, value) in new.to_fields() {
                            prop_assert_eq!(fields.get(&name).cloned().unwrap_or_default(), value);
                        }
                    }
                }
            }
        }
        prop_assert!(from != to || touched.is_empty());
    }

    #[test]
    fn a_fork_is_the_store_as_it_was_and_goes_on(deeds in deeds(30), at in any::<u64>()) {
        let store = random_store(&deeds);
        let history = history(&store);
        let (first, last) = history.bounds();
        let seq = Seq(first.0 + at % (last.0 + 1 - first.0));
        let folder = tempfile::tempdir().unwrap();
        let made = history.fork(seq, folder.path()).unwrap();
        prop_assert_eq!(made, seq.0 + 1 - first.0);
        let taken = history.fork(seq, folder.path());
        let taken = matches!(taken, Err(StorageError::Exists { .. }));
        prop_assert!(taken);
        let forked = open_for_inspection(folder.path()).unwrap();
        prop_assert_eq!(forked.bounds(), (first, seq));
        prop_assert!(forked.check().unwrap().is_sound());
        drop(forked);
        let mut forked = in_directory(folder.path());
        let head = forked.head();
        prop_assert!(save(&mut forked, "Blog", "id=b1 name=n").seq > head);
        crate::test_support::assert_sound(&forked);
    }

    #[test]
    fn a_record_s_steps_end_where_the_store_is(deeds in deeds(40)) {
        let store = random_store(&deeds);
        let history = history(&store);
        for id in 0..4 {
            let key = post(&format!("p{id}"));
            let record = history.record(&key).unwrap();
            prop_assert_eq!(record.state(), snapshot(&store).state(&key).unwrap());
            for pair in record.steps.windows(2) {
                prop_assert_eq!(&pair[0].after, &pair[1].before);
            }
            // Every step has its sentence, and none of them is empty.
            let why = record.why(None);
            prop_assert_eq!(why.lines.len(), record.steps.len());
            prop_assert!(why.lines.iter().all(|line| line.text.ends_with('.')), "{:?}", why.lines);
            let field = record.why(Some("title"));
            prop_assert!(field.lines.len() <= why.lines.len());
        }
    }

    #[test]
    fn the_first_failure_is_where_trying_every_entry_finds_it(deeds in deeds(40), rule in 0..4_u8) {
        let history = history(&random_store(&deeds));
        let predicate = |op| Predicate::field("rating", op);
        let (rule, holds): (Rule, Box<dyn Fn(&[landfall_core::Record]) -> bool>) = match rule {
            0 => (
                Rule::Every(predicate(landfall_core::Op::Lt(5.into()))),
                Box::new(|all| all.iter().all(|r| r.get("rating").unwrap().as_int().is_some_and(|n| n < 5))),
            ),
            1 => (
                Rule::Count { of: Predicate::All, at_least: 0, at_most: 2 },
                Box::new(|all| all.len() <= 2),
            ),
            2 => (
                Rule::Count { of: predicate(landfall_core::Op::Eq(1.into())), at_least: 1, at_most: 3 },
                Box::new(|all| (1..=3).contains(&all.iter().filter(|r| r.get("rating").unwrap().as_int() == Some(1)).count())),
            ),
            _ => (
                Rule::Unique(vec!["rating".into()]),
                Box::new(|all| {
                    let ratings: Vec<_> = all.iter().filter_map(|r| r.get("rating").unwrap().as_int()).collect();
                    ratings.len() == ratings.iter().collect::<BTreeSet<_>>().len()
                }),
            ),
        };
        let (first, last) = history.bounds();
        let from = Seq(first.0 + 1);
        let expected = (from.0..=last.0).find(|seq| {
            let past = history.as_of(Seq(*seq), &Scope::Model("Post".into())).unwrap();
            !holds(&past.query(&Query::all("Post")).unwrap())
        });
        let invariant = Invariant { name: "rule".into(), model: "Post".into(), rule };
        let found = history.first_failure(&[invariant], from).unwrap();
        // Entries that are about other things cannot make it fail, and are not looked at.
        let found = found.map(|failure| failure.entry.seq.0);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_exported_log_says_what_the_store_says(deeds in deeds(40)) {
        let store = random_store(&deeds);
        let history = history(&store);
        let mut bytes = Vec::new();
        let done = history.export(&mut bytes, None).unwrap();
        prop_assert_eq!(done.bytes, bytes.len() as u64);
        let file = History::of_file(LogFile::open(Box::new(Cursor::new(bytes))).unwrap());
        prop_assert_eq!(file.bounds(), history.bounds());
        prop_assert!(file.check().unwrap().is_sound());
        prop_assert_eq!(file.stats().unwrap(), history.stats().unwrap());
        let (_, last) = history.bounds();
        let (ours, theirs) = (history.as_of(last, &Scope::All).unwrap(), file.as_of(last, &Scope::All).unwrap());
        prop_assert_eq!(states(&ours), states(&theirs));
        let folder = tempfile::tempdir().unwrap();
        file.fork(last, folder.path()).unwrap();
        let imported = open_for_inspection(folder.path()).unwrap();
        let mut again = Vec::new();
        imported.export(&mut again, None).unwrap();
        let again = History::of_file(LogFile::open(Box::new(Cursor::new(again))).unwrap());
        let all = |history: &History| history.list(&Filter::default(), usize::MAX).unwrap().entries.into_iter().map(|(_, entry)| entry.unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(all(&again), all(&history));
    }
}

#[test]
fn looking_at_a_store_leaves_its_file_as_it_was_even_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (live, crashed) = (folder.path().join("live"), folder.path().join("crashed"));
    let mut store = in_directory(&live);
    let mutation = save(&mut store, "Post", "id=p1 title=a").seq;
    append(&mut store, sent(&post("p1"), mutation)).unwrap();
    let said = everything(&store);
    // What is on disk while the store is open is what a crash leaves behind.
    std::fs::create_dir(&crashed).unwrap();
    let file = crashed.join(crate::FILE_NAME);
    std::fs::copy(live.join(crate::FILE_NAME), &file).unwrap();
    let beside = open_for_inspection(&live).unwrap();
    assert_eq!(
        beside.bounds().1,
        store.head(),
        "it is read although it is in use"
    );
    assert!(beside.check_entries().unwrap().is_sound());
    drop(beside);
    let before = std::fs::read(&file).unwrap();
    let history = open_for_inspection(&crashed).unwrap();
    assert_eq!(
        history.bounds().1,
        store.head(),
        "opening adds nothing to what is shown"
    );
    let past = history.as_of(store.head(), &Scope::All).unwrap();
    assert_eq!(
        past.state(&post("p1")),
        Some(&snapshot(&store).state(&post("p1")).unwrap()),
        "the mutation is still on its way"
    );
    let check = history.check().unwrap();
    assert!(check.is_sound() && check.projections.is_some(), "{check:?}");
    assert!(
        matches!(
            Store::open(crate::test_support::options(crate::Disk::Directory(
                crashed.clone()
            ))),
            Err(StorageError::Locked { .. })
        ),
        "nobody writes to it as long as it is looked at"
    );
    drop(history);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(everything(&store), said);
    in_directory(&crashed);
}

#[test]
fn a_log_is_followed_beside_its_writer_across_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = in_directory(folder.path());
    let mut log = LiveLog::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    let text = "x".repeat(3_000);
    for round in 0..40 {
        for number in 0..40 {
            save(&mut store, "Post", &format!("id=p{number} title={round}{text}"));
        }
        log.read_on(&Filter::default(), |seq, entry| {
            entry.unwrap();
            seen.push(seq);
        })
        .unwrap();
        assert_eq!(log.next(), store.head().next(), "round {round}");
    }
    // Some five megabytes: the journal of two began again several times.
    let all: Vec<Seq> = (1..=store.head().0).map(Seq).collect();
    assert_eq!(seen, all);
    let copy = LiveLog::open(folder.path()).unwrap().history().unwrap();
    let (ours, theirs) = (snapshot(&store), store.head());
    let past = copy.as_of(theirs, &Scope::All).unwrap();
    assert_eq!(past.state(&post("p7")), Some(&ours.state(&post("p7")).unwrap()));
}

#[test]
fn a_log_that_was_cleared_under_its_reader_is_told_or_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = in_directory(folder.path());
    save(&mut store, "Post", "id=p1 title=a");
    let mut log = LiveLog::open(folder.path()).unwrap();
    log.read_on(&Filter::default(), |_, _| {}).unwrap();
    append(&mut store, landfall_core::Change::Cleared).unwrap();
    store.scrub().unwrap();
    let mut kinds = Vec::new();
    let read = log.read_on(&Filter::default(), |_, entry| {
        kinds.push(entry.unwrap().change.name());
    });
    match read {
        Ok(_) => assert_eq!(kinds, ["cleared"]),
        Err(error) => assert!(matches!(error, StorageError::Trimmed { .. }), "{error}"),
    }
}

#[test]
fn places_without_a_store_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = open_for_inspection(&folder.path().join("nowhere"));
    assert!(
        matches!(missing, Err(StorageError::NoStore { .. })),
        "{missing:?}"
    );
    assert!(matches!(
        open_for_inspection(folder.path()),
        Err(StorageError::NoStore { .. })
    ));
    let letter = folder.path().join("letter");
    std::fs::write(&letter, "a letter to my aunt").unwrap();
    assert!(matches!(
        open_for_inspection(&letter),
        Err(StorageError::Foreign { .. })
    ));
    std::fs::write(&letter, "").unwrap();
    assert!(matches!(
        open_for_inspection(&letter),
        Err(StorageError::NoStore { .. })
    ));
    // A database of another program.
    let other = folder.path().join("other");
    drop(redb::Database::create(&other).unwrap());
    assert!(matches!(
        open_for_inspection(&other),
        Err(StorageError::Foreign { .. })
    ));
}

/// A blog and a post whose mutation was sent and lost.
fn small() -> History {
    let mut store = in_memory();
    save(&mut store, "Blog", "id=b1 name=n");
    let created = save(&mut store, "Post", "id=p1 title=a blogId=b1").seq;
    let key = post("p1");
    append(&mut store, sent(&key, created)).unwrap();
    store
        .write(900, |txn| {
            txn.append(Origin::Response, Some(created), lost(&key, created))
        })
        .unwrap();
    history(&store)
}

/// Changes the database of a closed store by hand.
pub(super) fn tamper(directory: &std::path::Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let disk = crate::Disk::Directory(directory.to_owned());
    let faults = Arc::new(crate::disk::Faults::default());
    let opened = disk.open(1024 * 1024, &faults).unwrap();
    let transaction = opened.database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(in_directory(folder.path()));
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(META).unwrap();
        let newer = 99_u32.to_le_bytes();
        table
            .insert(crate::tables::meta::FORMAT, newer.as_slice())
            .unwrap();
    });
    let error = open_for_inspection(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("has format 99") && error.contains("update Landfall"),
        "{error}"
    );
}

#[test]
fn projections_that_are_not_those_of_the_log_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = in_directory(folder.path());
    save(&mut store, "Post", "id=p1 title=a");
    drop(store);
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(crate::tables::RECORDS).unwrap();
        table.retain(|_, _| false).unwrap();
    });
    let history = open_for_inspection(folder.path()).unwrap();
    assert!(
        history.check_entries().unwrap().is_sound(),
        "the log itself is whole"
    );
    let check = history.check().unwrap();
    let differences = check.projections.as_ref().unwrap().differences.clone();
    assert!(
        !check.is_sound() && differences[0].contains("Post"),
        "{differences:?}"
    );
    let past = history.as_of(history.bounds().1, &Scope::All).unwrap();
    assert!(
        past.get(&post("p1")).is_some(),
        "the past depends on the log alone"
    );
}

#[test]
fn entries_are_found_by_what_they_are_about() {
    let history = small();
    let check = |filter: Filter, expected: &[u64]| {
        let listing = history.list(&filter, usize::MAX).unwrap();
        let found: Vec<u64> = listing.entries.iter().map(|(seq, _)| seq.0).collect();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(listing.matched, found.len() as u64);
        assert_eq!(listing.gaps, []);
    };
    let base = Filter::default;
    check(base(), &[1, 2, 3, 4, 5]);
    let model = Some("Blog".into());
    check(Filter { model, ..base() }, &[2]);
    let record = Some(post("p1"));
    check(Filter { record, ..base() }, &[3, 4, 5]);
    let kinds = vec!["sent".into(), "schema changed".into()];
    check(Filter { kinds, ..base() }, &[1, 4]);
    let origins = vec![Origin::Response];
    check(Filter { origins, ..base() }, &[5]);
    let (from_ms, to_ms) = (Some(6), Some(900));
    check(
        Filter {
            from_ms,
            to_ms,
            ..base()
        },
        &[5],
    );
    // The schema was taken on at 1,000.
    check(Filter { from_ms, ..base() }, &[1, 5]);
    let (first, last) = (Some(Seq(2)), Some(Seq(3)));
    check(
        Filter {
            first,
            last,
            ..base()
        },
        &[2, 3],
    );
    let newest = history.list(&base(), 2).unwrap();
    assert_eq!(
        (newest.matched, newest.entries.len(), newest.entries[0].0),
        (5, 2, Seq(4))
    );
}

#[test]
fn an_entry_has_causes_and_effects() {
    let history = small();
    let last = history.entry(Seq(5)).unwrap();
    let causes: Vec<Seq> = history
        .causes(&last)
        .unwrap()
        .iter()
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(causes, [Seq(3)]);
    let effects: Vec<Seq> = history
        .led_to(Seq(3))
        .unwrap()
        .iter()
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(effects, [Seq(5)], "only what names it as its cause");
    assert!(matches!(history.entry(Seq(9)), Err(StorageError::NoEntry { .. })));
}

#[test]
fn the_past_is_read_with_the_schema_in_force_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = in_directory(folder.path());
    save(&mut store, "Order", "customer=c number=1 state=new");
    let before = store.head();
    drop(store);
    let mut parts = crate::test_support::shop_parts();
    for model in &mut parts.models {
        if model.name == "Blog" {
            model.fields.push(crate::test_support::field("motto: String"));
        }
    }
    let changed = crate::test_support::built(parts);
    let options =
        crate::test_support::options_with(crate::Disk::Directory(folder.path().to_owned()), changed);
    drop(Store::open(options).unwrap());
    let history = open_for_inspection(folder.path()).unwrap();
    let field = |seq: Seq| {
        let schema = history.schema_at(seq).unwrap();
        schema.model("Blog").unwrap().field("motto").is_some()
    };
    assert!(!field(before) && field(history.bounds().1));
    assert_eq!(history.schema_at(before).unwrap().hash(), shop().hash());
}

#[test]
fn a_cleared_store_begins_with_that() {
    let mut store = in_memory();
    save(&mut store, "Blog", "id=b1 name=n");
    append(&mut store, Change::Cleared).unwrap();
    save(&mut store, "Blog", "id=b2 name=m");
    let history = history(&store);
    let (first, last) = history.bounds();
    assert_eq!((first, last), (Seq(3), Seq(4)));
    assert!(matches!(history.entry(Seq(1)), Err(StorageError::Trimmed { .. })));
    let past = history.as_of(last, &Scope::All).unwrap();
    assert_eq!(past.states().count(), 1);
    let folder = tempfile::tempdir().unwrap();
    history.fork(last, folder.path()).unwrap();
    assert!(
        open_for_inspection(folder.path())
            .unwrap()
            .check()
            .unwrap()
            .is_sound()
    );
}
