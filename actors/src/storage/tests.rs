//! The actor on paused time, over a disk that fails on request.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use landfall_core::{
    Base, Change, FieldMap, MutationKind, Origin, Quarantined, RecordId, RecordKey, RecordVersion,
    RemoteRecord, Schema, SyncCursor, SyncKind, SyncMetadata, Value,
};
use landfall_storage::{
    CACHE_BYTES_DEFAULT, Disk, InMemoryBackend, OnIncompatible, OpenBackend, Reader, StorageBackend,
    StoreOptions,
};
use tokio::sync::mpsc;

use super::*;
use crate::flight::{Answer, Commit, Fault, Input, Seat};
use crate::subscription::high_ratings_of_posts;
use crate::test_support::{SimTime, on_paused_time, paused_env};

/// A disk that outlives its databases and fails on request.
#[derive(Clone, Debug, Default)]
struct Moody {
    bytes: Arc<InMemoryBackend>,
    mood: Arc<Mood>,
}

#[derive(Debug, Default)]
struct Mood {
    refuses_writes: AtomicBool,
    refuses_syncs: AtomicBool,
    /// Opening fails.
    gone: AtomicBool,
}

fn fault(of: &AtomicBool) -> io::Result<()> {
    if of.load(Ordering::SeqCst) {
        Err(io::Error::other("the disk fails"))
    } else {
        Ok(())
    }
}

impl StorageBackend for Moody {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(&*self.bytes, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        fault(&self.mood.refuses_writes)?;
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        fault(&self.mood.refuses_syncs)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        fault(&self.mood.refuses_writes)?;
        StorageBackend::write(&*self.bytes, offset, data)
    }
}

/// The actor, its store's reader, and its disk.
struct Lab {
    port: Port<StorageMessage>,
    reader: Reader,
    schema: Arc<Schema>,
    disk: Moody,
}

fn lab() -> Lab {
    lab_in(paused_env(None))
}

fn lab_in(env: Env) -> Lab {
    lab_on(Moody::default(), env)
}

fn lab_on(disk: Moody, env: Env) -> Lab {
    let (schema, _) = high_ratings_of_posts();
    let opened = disk.clone();
    let open: OpenBackend = Arc::new(move || {
        fault(&opened.mood.gone)?;
        Ok(Box::new(opened.clone()))
    });
    let options = StoreOptions {
        disk: Disk::Custom(open),
        schema: Arc::clone(&schema),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    let store = Store::open(options).expect("the disk is well");
    let reader = store.reader();
    let port = Port::new(&StorageActor::new(env.clone(), store, true).start(), env);
    Lab {
        port,
        reader,
        schema,
        disk,
    }
}

impl Lab {
    async fn save(&self, id: &str, title: &str) -> Result<(), WriteError> {
        let def = self.schema.model("Post").expect("it has posts");
        let mut values = vec![Value::Null; def.stored_len()];
        for (name, value) in [("id", id), ("title", title)] {
            let slot = def.slot(name).expect("posts have it");
            values[slot.index()] = value.into();
        }
        let save = WriteOp::Save {
            model: "Post".into(),
            values,
            base: Base::NONE,
            seen: None,
            condition: None,
        };
        let ops = vec![save];
        let written = self
            .port
            .ask(|reply| StorageMessage::Write {
                ops,
                grouped: true,
                reply,
            })
            .await;
        written.expect("the actor answers").map(drop)
    }

    /// Deletes a post if it has this title.
    async fn remove_if(&self, id: &str, title: &str) -> Result<(), WriteError> {
        let condition = landfall_core::Predicate::field("title", landfall_core::Op::Eq(title.into()));
        let remove = WriteOp::Delete {
            key: RecordKey::new("Post", id),
            condition: Some(condition),
            guard: None,
        };
        let ops = vec![remove];
        let written = self
            .port
            .ask(|reply| StorageMessage::Write {
                ops,
                grouped: true,
                reply,
            })
            .await;
        written.expect("the actor answers").map(drop)
    }

    async fn observe(&self) -> mpsc::Receiver<Observed> {
        let models = vec!["Post".into()];
        let observed = self
            .port
            .ask(|reply| StorageMessage::Observe { models, reply })
            .await;
        observed.expect("the actor answers")
    }

    async fn apply(&self, batch: RemoteBatch) -> RemoteCounts {
        let epoch = Epoch::default();
        let applied = self
            .port
            .ask(|reply| StorageMessage::ApplyRemote { epoch, batch, reply })
            .await;
        applied.expect("the actor answers").expect("the disk is well")
    }

    fn ids(&self) -> String {
        let snapshot = self.reader.snapshot().expect("the disk is well");
        let posts = snapshot
            .query(&landfall_storage::Query::all("Post"))
            .expect("a sound query");
        let ids: Vec<String> = posts
            .iter()
            .filter_map(landfall_core::Record::id)
            .map(|id| id.to_string())
            .collect();
        ids.join(" ")
    }

    fn kinds(&self) -> Vec<&'static str> {
        let snapshot = self.reader.snapshot().expect("the disk is well");
        let entries = snapshot.log(.., 1_000).expect("the log is sound");
        let of_records = entries.iter().map(|entry| &entry.change);
        of_records
            .filter(|change| !matches!(change, Change::SchemaChanged(_)))
            .map(Change::name)
            .collect()
    }
}

fn heard(observer: &mut mpsc::Receiver<Observed>) -> String {
    let mut heard = Vec::new();
    while let Ok(message) = observer.try_recv() {
        let Observed::Changes(set) = message else {
            heard.push("behind".to_owned());
            continue;
        };
        heard.extend(set.iter().map(|change| change.key.id.to_string()));
    }
    heard.join(" ")
}

fn remote(id: &str, version: u64, rating: i64) -> RemoteRecord {
    RemoteRecord {
        id: RecordId::text(id),
        fields: FieldMap::from([
            ("id".into(), id.into()),
            ("title".into(), "t".into()),
            ("rating".into(), Value::Int(rating)),
        ]),
        sync: SyncMetadata {
            version: RecordVersion(version),
            last_changed_at_ms: i64::try_from(version).expect("versions are small"),
            deleted: false,
        },
    }
}

fn batch() -> RemoteBatch {
    RemoteBatch::new(Origin::Sync, "Post".into())
}

#[test]
fn observers_hear_of_a_commit_that_is_there_though_the_disk_did_not_say_so() {
    on_paused_time(async {
        let lab = lab();
        let mut observer = lab.observe().await;
        lab.save("a", "one").await.expect("the disk is well");
        assert_eq!(heard(&mut observer), "a");
        lab.disk.mood.refuses_syncs.store(true, Ordering::SeqCst);
        lab.disk.mood.gone.store(true, Ordering::SeqCst);
        let failed = lab.save("b", "one").await;
        assert!(
            matches!(&failed, Err(WriteError::Storage(error))
                if matches!(**error, StorageError::OutcomeUnknown { .. })),
            "{failed:?}"
        );
        assert_eq!(heard(&mut observer), "");
        lab.disk.mood.refuses_syncs.store(false, Ordering::SeqCst);
        lab.disk.mood.gone.store(false, Ordering::SeqCst);
        // Nobody writes: the actor looks by itself.
        SimTime::pass(2 * FIND_OUT_MS).await;
        assert_eq!((lab.ids().as_str(), heard(&mut observer).as_str()), ("a b", "b"));
        lab.save("c", "one").await.expect("the disk is well");
        assert_eq!(heard(&mut observer), "c", "and once only");
    });
}

#[test]
fn what_was_marked_in_a_commit_that_seemed_to_fail_waits_as_before() {
    on_paused_time(async {
        let lab = lab();
        lab.save("a", "one").await.expect("the disk is well");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        let seq = snapshot.pending(Seq::ZERO, 1).expect("the outbox")[0].seq;
        let mark = || {
            let (epoch, mutations) = (Epoch::default(), vec![seq]);
            lab.port.ask(move |reply| StorageMessage::MarkSent {
                epoch,
                mutations,
                reply,
            })
        };
        lab.disk.mood.refuses_syncs.store(true, Ordering::SeqCst);
        lab.disk.mood.gone.store(true, Ordering::SeqCst);
        let told = mark().await.expect("an answer");
        told.expect_err("who marked it was told of the disk, and sends nothing");
        lab.disk.mood.refuses_syncs.store(false, Ordering::SeqCst);
        lab.disk.mood.gone.store(false, Ordering::SeqCst);
        SimTime::pass(2 * FIND_OUT_MS).await;
        assert_eq!(lab.kinds(), ["write", "sent", "not applied"]);
        let marked = mark().await.expect("an answer").expect("the disk is well");
        assert_eq!(marked.len(), 1, "it can be sent");
        SimTime::pass(2 * FIND_OUT_MS).await;
        assert_eq!(
            lab.kinds(),
            ["write", "sent", "not applied", "sent"],
            "and that stays"
        );
    });
}

#[test]
fn observers_hear_nothing_of_a_commit_that_is_not_there() {
    on_paused_time(async {
        let lab = lab();
        let mut observer = lab.observe().await;
        lab.disk.mood.refuses_writes.store(true, Ordering::SeqCst);
        lab.disk.mood.gone.store(true, Ordering::SeqCst);
        lab.save("a", "one").await.expect_err("the disk fails");
        lab.disk.mood.refuses_writes.store(false, Ordering::SeqCst);
        lab.disk.mood.gone.store(false, Ordering::SeqCst);
        lab.save("b", "one").await.expect("the disk is well");
        SimTime::pass(2 * FIND_OUT_MS).await;
        assert_eq!((lab.ids().as_str(), heard(&mut observer).as_str()), ("b", "b"));
    });
}

#[test]
fn a_record_that_is_not_covered_leaves_unless_it_waits_or_the_message_is_old() {
    on_paused_time(async {
        let lab = lab();
        let arrive = |records: Vec<RemoteRecord>| RemoteBatch { records, ..batch() };
        let leave = |outside: Vec<RemoteRecord>| RemoteBatch { outside, ..batch() };
        lab.apply(arrive(vec![remote("a", 5, 9), remote("b", 5, 9)]))
            .await;
        lab.save("b", "mine").await.expect("the disk is well");

        let counts = lab.apply(leave(vec![remote("a", 4, 1)])).await;
        assert_eq!(
            (counts.deleted, lab.ids().as_str()),
            (0, "a b"),
            "an older version says nothing"
        );
        let outside = vec![remote("a", 6, 1), remote("b", 6, 1), remote("never here", 1, 1)];
        let counts = lab.apply(leave(outside)).await;
        assert_eq!((counts.deleted, lab.ids().as_str()), (1, "b"), "what waits stays");
        lab.apply(arrive(vec![remote("a", 5, 9)])).await;
        assert_eq!(lab.ids(), "b", "a late message does not bring it back");
        lab.apply(arrive(vec![remote("a", 6, 1)])).await;
        assert_eq!(lab.ids(), "a b", "the same version does, if sync covers it now");
    });
}

#[test]
fn what_a_full_sync_has_not_met_leaves_unless_it_waits_or_is_new() {
    on_paused_time(async {
        let lab = lab();
        let records = vec![remote("old", 5, 9), remote("edited", 5, 9), remote("new", 50, 9)];
        lab.apply(RemoteBatch { records, ..batch() }).await;
        lab.save("edited", "mine").await.expect("the disk is well");
        lab.save("unsent", "mine").await.expect("the disk is well");
        let ids = ["old", "edited", "new", "unsent", "nobody"]
            .map(RecordId::text)
            .to_vec();
        let cursor = SyncCursor::default().finished(None, SyncKind::Base, 60);
        let counts = lab
            .apply(RemoteBatch {
                left_over: Some(Box::new(LeftOver {
                    ids,
                    before_ms: 50,
                    outside: Vec::new(),
                })),
                cursor: Some(cursor.clone()),
                ..batch()
            })
            .await;
        assert_eq!(counts.deleted, 1);
        assert_eq!(lab.ids(), "edited new unsent");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        assert_eq!(snapshot.cursor(&"Post".into()).expect("a cursor"), cursor);
    });
}

#[test]
fn what_is_outside_of_the_expression_leaves_unless_it_waits_or_has_changed() {
    on_paused_time(async {
        let lab = lab();
        let records = ["out", "edited", "changed"].map(|id| remote(id, 5, 9)).to_vec();
        let as_found: Vec<_> = records
            .iter()
            .map(|record| (record.id.clone(), record.sync))
            .collect();
        lab.apply(RemoteBatch { records, ..batch() }).await;
        lab.save("edited", "mine").await.expect("the disk is well");
        let records = vec![remote("changed", 6, 9)];
        lab.apply(RemoteBatch { records, ..batch() }).await;
        let left_over = LeftOver {
            ids: Vec::new(),
            before_ms: 1,
            outside: as_found,
        };
        let left_over = Some(Box::new(left_over));
        let counts = lab.apply(RemoteBatch { left_over, ..batch() }).await;
        assert_eq!((counts.deleted, lab.ids().as_str()), (1, "changed edited"));
        let records = vec![remote("out", 5, 9)];
        lab.apply(RemoteBatch { records, ..batch() }).await;
        assert_eq!(
            lab.ids(),
            "changed edited out",
            "it is back once an expression selects it"
        );
    });
}

#[test]
fn a_broken_record_is_logged_once_however_often_it_comes() {
    on_paused_time(async {
        let lab = lab();
        let bad = Quarantined {
            model: "Post".into(),
            reason: "no title".into(),
            json: "{}".into(),
        };
        for _ in 0..3 {
            let bad = vec![bad.clone()];
            lab.apply(RemoteBatch { bad, ..batch() }).await;
        }
        assert_eq!(lab.kinds(), ["quarantined"]);
    });
}

#[test]
fn a_broken_record_is_not_logged_again_by_the_next_process() {
    on_paused_time(async {
        let lab = lab();
        let bad = |reason: &str| Quarantined {
            model: "Post".into(),
            reason: reason.into(),
            json: "{}".into(),
        };
        lab.apply(RemoteBatch {
            bad: vec![bad("no title")],
            ..batch()
        })
        .await;
        // What a process knows when it begins.
        let mut known = quarantine::Known::default();
        known.recall(&lab.reader).expect("the disk is well");
        assert!(!known.is_news(&bad("no title")));
        assert!(known.is_news(&bad("no rating")));
    });
}

#[test]
fn a_server_that_went_back_is_followed_by_a_full_sync_and_reported() {
    on_paused_time(async {
        let lab = lab();
        let of_base = |records: Vec<RemoteRecord>, as_of_ms| RemoteBatch {
            records,
            as_of_ms,
            ..batch()
        };
        let records = vec![
            remote("back", 7, 9),
            remote("other", 7, 9),
            remote("mine", 7, 9),
            remote("late", 700, 9),
            remote("doubtful", 7, 9),
        ];
        lab.apply(of_base(records, None)).await;
        lab.save("mine", "waits").await.expect("the disk is well");
        let written = lab.kinds().len();

        // As a late message each of them says nothing.
        let older = || vec![remote("back", 3, 1), remote("mine", 3, 1), remote("late", 3, 1)];
        lab.apply(of_base(older(), None)).await;
        assert_eq!(lab.kinds().len(), written);

        // In a full sync that began at 600, only what changed since then may be missing.
        let mut records = older();
        let mut other = remote("other", 7, 2);
        other.sync.last_changed_at_ms = 5;
        records.push(other.clone());
        // Of the same change, with another value: nothing tells who is right, so it is set aside and told.
        records.push(remote("doubtful", 7, 2));
        lab.apply(of_base(records, Some(600))).await;
        assert_eq!(
            lab.kinds()[written..],
            ["evicted", "remote", "evicted", "remote", "quarantined"],
            "one that went back, one with other content, one in doubt; neither what waits nor what is new"
        );
        assert_eq!(lab.ids(), "back doubtful late mine other");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        let version = |id: &str| {
            let record = snapshot
                .get("Post", &RecordId::text(id))
                .expect("the disk is well");
            record.and_then(|record| record.sync()).map(|sync| sync.version.0)
        };
        assert_eq!((version("back"), version("late")), (Some(3), Some(700)));
        let same = vec![remote("back", 3, 1), other, remote("doubtful", 7, 2)];
        lab.apply(of_base(same, Some(600))).await;
        assert_eq!(lab.kinds().len(), written + 5, "and once only");
    });
}

#[test]
fn a_tombstone_with_an_earlier_time_ends_a_record_once_a_full_sync_shows_it() {
    on_paused_time(async {
        let lab = lab();
        let mut tombstone = remote("gone", 9, 1);
        tombstone.sync.deleted = true;
        tombstone.sync.last_changed_at_ms = 5;
        let heard = |as_of_ms| RemoteBatch {
            records: vec![tombstone.clone()],
            as_of_ms,
            ..batch()
        };
        lab.apply(RemoteBatch {
            records: vec![remote("gone", 7, 1)],
            ..batch()
        })
        .await;
        // A late message, which may be of a life before this one.
        lab.apply(heard(None)).await;
        assert_eq!(lab.ids(), "gone");
        // The record was changed while the sync went on: its tombstone may be of before.
        lab.apply(heard(Some(6))).await;
        assert_eq!(lab.ids(), "gone");
        lab.apply(heard(Some(600))).await;
        assert_eq!(lab.ids(), "");
    });
}

#[test]
fn what_an_ended_run_has_sent_is_of_unknown_outcome_once_the_next_begins() {
    on_paused_time(async {
        let lab = lab();
        lab.save("a", "one").await.expect("the disk is well");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        let mutations = vec![snapshot.pending(Seq::ZERO, 1).expect("the outbox")[0].seq];
        assert_eq!(
            snapshot.pending(Seq::ZERO, 1).expect("the outbox")[0].kind,
            MutationKind::Create
        );
        let epoch = Epoch::default();
        let marked = lab
            .port
            .ask(|reply| StorageMessage::MarkSent {
                epoch,
                mutations,
                reply,
            })
            .await;
        assert_eq!(marked.expect("an answer").expect("the disk is well").len(), 1);
        let epoch = Epoch(1);
        lab.port
            .ask(|reply| StorageMessage::BeginEpoch { epoch, reply })
            .await
            .expect("an answer");
        assert_eq!(lab.kinds(), ["write", "sent", "outcome unknown"]);
        lab.port
            .ask(|reply| StorageMessage::BeginEpoch { epoch, reply })
            .await
            .expect("an answer");
        assert_eq!(lab.kinds().len(), 3, "and once only");
    });
}

#[test]
fn a_save_of_what_came_from_elsewhere_meanwhile_is_answered_with_the_record() {
    on_paused_time(async {
        let lab = lab();
        lab.save("p1", "old").await.unwrap();
        let read = || lab.reader.snapshot().unwrap().get("Post", &"p1".into()).unwrap();
        let stale = read().expect("it was saved");
        lab.save("p1", "new").await.unwrap();
        let (mut values, seen, base) = stale.into_parts();
        let title = lab
            .schema
            .model("Post")
            .and_then(|post| post.slot("title"))
            .unwrap();
        values[title.index()] = "new".into();
        let ops = vec![WriteOp::Save {
            model: "Post".into(),
            values,
            base,
            seen,
            condition: None,
        }];
        let written = lab
            .port
            .ask(|reply| StorageMessage::Write {
                ops,
                grouped: true,
                reply,
            })
            .await;
        let done = written.unwrap().unwrap().pop().and_then(|done| done.record);
        assert_eq!(
            done.as_ref().and_then(|record| record.get("title")),
            Some(&"new".into())
        );
        assert_eq!(
            lab.kinds().last(),
            Some(&"write"),
            "it is a change for the server"
        );
    });
}

impl Moody {
    /// Writes something else over every place that holds these bytes; returns how many there were.
    fn overwrite(&self, old: &[u8], new: &[u8]) -> usize {
        let length = usize::try_from(self.bytes.len().expect("it has a length")).expect("small");
        let mut all = vec![0; length];
        StorageBackend::read(&*self.bytes, 0, &mut all).expect("it can be read");
        let places: Vec<usize> = (0..length).filter(|at| all[*at..].starts_with(old)).collect();
        for at in &places {
            StorageBackend::write(&*self.bytes, *at as u64, new).expect("it can be written");
        }
        places.len()
    }
}

#[test]
fn a_damaged_record_fails_nobody_but_those_who_write_it() {
    on_paused_time(async {
        let first = lab();
        first.save("p1", "fragile").await.expect("the disk is well");
        first.save("p2", "sound").await.expect("the disk is well");
        first.port.tell(StorageMessage::Halt).expect("it runs");
        for _ in 0..100 {
            if matches!(first.reader.snapshot(), Err(StorageError::Closed)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(first.disk.overwrite(b"fragile", b"frag\xFFle") > 0);
        let lab = lab_on(first.disk.clone(), paused_env(None));
        let mut observer = lab.observe().await;
        // All of them are in one commit, some before the damage and some after it.
        let (before, damaged, refused, after) = tokio::join!(
            lab.save("p3", "new"),
            lab.save("p1", "again"),
            lab.remove_if("p2", "other"),
            lab.save("p4", "new"),
        );
        before.expect("it is no part of the damage");
        after.expect("it is no part of the damage");
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        match damaged {
            Err(WriteError::Storage(error)) => {
                assert!(matches!(*error, StorageError::Corrupt { .. }), "{error}");
            }
            other => panic!("a damaged record is not {other:?}"),
        }
        assert_eq!(heard(&mut observer), "p3 p4");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        let there = |id: &str| snapshot.get("Post", &landfall_core::RecordId::text(id));
        for id in ["p2", "p3", "p4"] {
            assert!(there(id).expect("it is sound").is_some(), "{id}");
        }
        assert!(there("p1").is_err());
    });
}

#[test]
fn whoever_waits_for_a_commit_that_cannot_begin_is_told_of_the_disk() {
    on_paused_time(async {
        let lab = lab();
        lab.save("p1", "kept").await.unwrap();
        let mood = &lab.disk.mood;
        for of in [&mood.refuses_writes, &mood.gone] {
            of.store(true, Ordering::SeqCst);
        }
        let refused =
            futures_util::future::join3(lab.save("p2", "a"), lab.save("p3", "b"), lab.save("p4", "c"));
        let (a, b, c) = refused.await;
        // The first finds out, the others cannot even begin.
        let again = lab.save("p5", "d").await;
        for refused in [a, b, c, again] {
            assert!(matches!(refused, Err(WriteError::Storage(_))), "{refused:?}");
        }
        for of in [&mood.refuses_writes, &mood.gone] {
            of.store(false, Ordering::SeqCst);
        }
        lab.save("p6", "well again").await.unwrap();
    });
}

/// The seat of a replay whose recording has the second commit fail once one command was carried out.
#[derive(Default)]
struct SecondCommitFails {
    commits: Mutex<Vec<Commit>>,
}

impl SecondCommitFails {
    fn commits(&self) -> Vec<Commit> {
        self.commits.lock().expect("nobody panics with it").clone()
    }
}

impl Seat for SecondCommitFails {
    fn taken(&self, _: &'static str, _: u64, _: Option<Input>) {}

    fn looked(&self, _: Option<Seq>) -> bool {
        true
    }

    fn fault(&self) -> Option<Fault> {
        (self.commits().len() == 1).then(|| Fault::of(&StorageError::Full { path: None }, Some(1)))
    }

    fn committed(&self, commit: Commit) {
        self.commits.lock().expect("nobody panics with it").push(commit);
    }

    fn called(&self, _: &'static str, _: u64) -> u64 {
        0
    }

    fn answered(&self, _: u64, _: Answer) {}
}

#[test]
fn a_commit_that_a_recording_has_fail_fails_for_everybody_and_leaves_nothing() {
    on_paused_time(async {
        let seat = Arc::new(SecondCommitFails::default());
        let mut env = paused_env(None);
        env.flight.seat = Some(seat.clone());
        let lab = lab_in(env);
        lab.save("p1", "kept").await.unwrap();
        let (a, b, c) =
            futures_util::future::join3(lab.save("p2", "a"), lab.save("p3", "b"), lab.save("p4", "c")).await;
        for refused in [a, b, c] {
            assert!(
                matches!(&refused, Err(WriteError::Storage(error)) if matches!(**error, StorageError::Full { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(lab.ids(), "p1");
        lab.save("p5", "well again").await.unwrap();
        let commits = seat.commits();
        assert_eq!(commits.len(), 3);
        assert_eq!(
            commits[1].fault,
            Some(Fault::of(&StorageError::Full { path: None }, Some(1)))
        );
        assert_eq!(commits[1].head, commits[0].head);
        assert_eq!((commits[2].base, &commits[2].fault), (commits[1].base, &None));
    });
}

#[test]
fn a_refusal_that_others_of_the_commit_brought_about_waits_for_the_commit() {
    on_paused_time(async {
        let lab = lab();
        lab.save("p1", "a").await.expect("the disk is well");
        lab.disk.mood.refuses_syncs.store(true, Ordering::SeqCst);
        // Both are in one commit: the second is refused because of what the first has done.
        let (saved, refused) = tokio::join!(lab.save("p1", "b"), lab.remove_if("p1", "a"));
        for failed in [saved, refused] {
            assert!(matches!(failed, Err(WriteError::Storage(_))), "{failed:?}");
        }
        lab.disk.mood.refuses_syncs.store(false, Ordering::SeqCst);
        let (saved, refused) = tokio::join!(lab.save("p1", "c"), lab.remove_if("p1", "a"));
        saved.expect("the disk is well");
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
    });
}

impl Moody {
    /// Makes the number of entries in the leaves that hold these bytes nonsense, at which the database panics.
    fn break_leaves(&self, holding: &[u8]) -> usize {
        const PAGE: usize = 4_096;
        const LEAF: u8 = 1;
        let length = usize::try_from(self.bytes.len().expect("it has a length")).expect("small");
        let mut all = vec![0; length];
        StorageBackend::read(&*self.bytes, 0, &mut all).expect("it can be read");
        let start = all
            .windows(4)
            .position(|window| window == b"redb")
            .expect("it has a database");
        let mut broken = 0;
        for at in (start..length.saturating_sub(PAGE)).step_by(PAGE) {
            let page = &all[at..at + PAGE];
            if page[0] == LEAF && page.windows(holding.len()).any(|window| window == holding) {
                StorageBackend::write(&*self.bytes, at as u64 + 2, &[0xFF; 2]).expect("it can be written");
                broken += 1;
            }
        }
        broken
    }
}

#[test]
fn a_damaged_page_fails_nobody_but_those_who_write_to_it() {
    on_paused_time(async {
        let first = lab();
        first.save("a1", "fragile").await.expect("the disk is well");
        for number in 10..60 {
            let title = "sound".repeat(60);
            first
                .save(&format!("p{number}"), &title)
                .await
                .expect("the disk is well");
        }
        first.port.tell(StorageMessage::Halt).expect("it runs");
        while !matches!(first.reader.snapshot(), Err(StorageError::Closed)) {
            tokio::task::yield_now().await;
        }
        assert!(first.disk.break_leaves(b"fragile") > 0);
        let lab = lab_on(first.disk.clone(), paused_env(None));
        let damaged = |written: Result<(), WriteError>| match written {
            Err(WriteError::Storage(error)) => {
                assert!(matches!(*error, StorageError::Corrupt { .. }), "{error}");
            }
            other => panic!("a damaged page is not {other:?}"),
        };
        let (before, hit, after) = tokio::join!(
            lab.save("z1", "new"),
            lab.save("a1", "again"),
            lab.save("z2", "new")
        );
        before.expect("it is no part of the damage");
        after.expect("it is no part of the damage");
        damaged(hit);
        // Also one that is alone in its commit is answered, and the store goes on.
        damaged(lab.save("a1", "again").await);
        lab.save("z3", "new").await.expect("it is no part of the damage");
        let snapshot = lab.reader.snapshot().expect("the disk is well");
        let there = |id: &str| snapshot.get("Post", &landfall_core::RecordId::text(id));
        for id in ["z1", "z2", "z3", "p59"] {
            assert!(there(id).expect("it is sound").is_some(), "{id}");
        }
        assert!(matches!(there("a1"), Err(StorageError::Corrupt { .. })));
    });
}

#[test]
fn whoever_clears_hears_that_the_bytes_are_not_gone() {
    on_paused_time(async {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (schema, _) = high_ratings_of_posts();
        let options = StoreOptions {
            disk: Disk::Directory(directory.path().to_owned()),
            schema: Arc::clone(&schema),
            cache_bytes: CACHE_BYTES_DEFAULT,
            incompatible: OnIncompatible::Refuse,
            now_ms: 0,
        };
        let store = Store::open(options).expect("the disk is well");
        let (reader, env) = (store.reader(), paused_env(None));
        let port = Port::new(&StorageActor::new(env.clone(), store, true).start(), env);
        let lab = Lab {
            port,
            reader,
            schema,
            disk: Moody::default(),
        };
        lab.save("p1", "secret").await.expect("the disk is well");
        let in_the_way = directory.path().join("landfall.unfinished");
        std::fs::create_dir(&in_the_way).expect("it can be made");
        let clear = || async {
            let epoch = Epoch::default();
            let cleared = lab.port.ask(|reply| StorageMessage::Clear { epoch, reply }).await;
            cleared.expect("the actor answers")
        };
        match clear().await {
            Err(WriteError::Storage(error)) => {
                assert!(matches!(*error, StorageError::Unscrubbed { .. }), "{error}");
            }
            other => panic!("its bytes are still there: {other:?}"),
        }
        assert_eq!(lab.ids(), "", "nobody is shown it any more");
        std::fs::remove_dir(&in_the_way).expect("it can be removed");
        clear().await.expect("nothing is in the way");
        let file = std::fs::read(directory.path().join(landfall_storage::FILE_NAME)).expect("it is there");
        assert!(!file.windows(6).any(|window| window == b"secret"));
    });
}
