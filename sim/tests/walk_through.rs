//! The run of the guide `docs/guides/finding-a-defect.md`: a store whose engine has a planted defect, recorded, and the
//! defect located by `bisect` and by `replay`.
//!
//! The guide's files are written by this test, with
//! `LANDFALL_WRITE_FIXTURES=1 cargo test -p landfall-sim --features planted-defects --test walk_through`, which never
//! overwrites; to make them anew, delete them first. That the guide's commands show what it says is tested without the
//! feature, by an engine that is sound (`tests/it/guides.rs`).
#![cfg(feature = "planted-defects")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall::flight::{Flight, Recording};
use landfall::history::{Invariant, LogChange, Rule, open_for_inspection};
use landfall::{DataStore, Disk, Env, Error, Immediate, NoTrace, Op, Predicate, Seq};
use landfall_core::plant;
use landfall_sim::replay::{Go, Played, play};
use landfall_sim::{Seed, SimClock, TraceLog, in_virtual_time, pass};

landfall::inline_schema!("type Sailing @model { name: String! seatsLeft: Int! }");

/// A save whose condition does not hold is carried out all the same.
const DEFECT: &str = "condition-ignored";

/// Time between two customers, in virtual milliseconds.
const CUSTOMER_EVERY_MS: u64 = 90_000;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../engine/examples")
        .join(name)
}

/// Sells seats if there are as many left. Returns whether they were sold.
async fn sell(store: &DataStore, id: &str, seats: i32) -> bool {
    pass(CUSTOMER_EVERY_MS).await;
    let sailing = store.get::<Sailing>(id).expect("memory").expect("it is on sale");
    let sold = Sailing::copy_of(&sailing, |sailing| sailing.seats_left -= seats);
    match store.save_if(sold, Sailing::seats_left().ge(seats)).await {
        Ok(_) => true,
        Err(Error::Refused(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

/// A morning at the ticket counter, recorded to `<folder>/counter.flight`, with its log in `<folder>/counter.lflog`.
/// Returns how many customers were turned away.
fn morning(folder: &Path) -> usize {
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let env = Env {
            clock: Arc::new(SimClock::start()),
            entropy: Arc::new(Seed(9).stream("counter")),
            transport: None,
            trace: Arc::new(NoTrace),
            schedule: Arc::new(Immediate),
            flight: Flight::default(),
            meter: landfall_actors::Meter::default(),
        };
        let builder = DataStore::builder(schema()).disk(Disk::Memory).local_only();
        let store = builder
            .record(folder.join("counter.flight"))
            .open_in(env)
            .expect("memory is always there");
        for (id, name, seats) in [("nine", "09:00 to Holm", 6), ("ten", "10:00 to Holm", 8)] {
            let mut sailing = Sailing::builder()
                .name(name)
                .seats_left(seats)
                .build()
                .expect("complete");
            sailing.id = id.to_owned();
            store.save(sailing).await.expect("saved");
        }
        let mut turned_away = 0;
        let customers = [
            ("nine", 2),
            ("ten", 4),
            ("nine", 3),
            ("nine", 2),
            ("ten", 1),
            ("nine", 1),
            ("ten", 2),
        ];
        for (id, seats) in customers {
            turned_away += usize::from(!sell(&store, id, seats).await);
        }
        let mut log = std::fs::File::create(folder.join("counter.lflog")).expect("there is room");
        store
            .history()
            .expect("memory")
            .export(&mut log, None)
            .expect("there is room");
        store.close().await;
        turned_away
    })
}

fn replayed(file: &Path) -> Played {
    let recording = Recording::open(file).expect("it is a recording");
    play(&recording, &mut |_| Go::On).expect("it can be begun")
}

/// The entry after which a sailing has fewer seats than none.
fn oversold(log: &Path) -> Option<Seq> {
    let rule = Rule::Every(Predicate::field("seatsLeft", Op::Ge(0.into())));
    let invariant = Invariant {
        name: "seats".into(),
        model: "Sailing".into(),
        rule,
    };
    let history = open_for_inspection(log).expect("it was exported");
    let failure = history
        .first_failure(&[invariant], Seq::ZERO)
        .expect("it can be read")?;
    assert!(matches!(failure.entry.change, LogChange::Write(_)), "{failure:?}");
    Some(failure.entry.seq)
}

#[test]
fn a_planted_defect_is_located_by_replay_and_by_bisect() {
    let folder = tempfile::tempdir().expect("there is room");
    plant(Some(DEFECT));
    assert_eq!(morning(folder.path()), 0, "nobody is turned away");
    let (flight, log) = (
        folder.path().join("counter.flight"),
        folder.path().join("counter.lflog"),
    );
    let same = replayed(&flight);
    plant(None);
    assert_eq!(same.difference, None, "the same engine does the same");
    assert!(same.reached_end);

    let first = oversold(&log).expect("more seats were sold than there are");
    let played = replayed(&flight);
    let difference = played.difference.expect("a sound engine refuses the sale");
    assert_eq!(difference.seat.actor, "StorageActor");
    assert_eq!(played.head.0.next(), first, "both point to the same moment");

    // A sound engine turns customers away, and sells what is there.
    let sound = tempfile::tempdir().expect("there is room");
    assert!(morning(sound.path()) > 0);
    assert_eq!(oversold(&sound.path().join("counter.lflog")), None);
    assert_eq!(replayed(&sound.path().join("counter.flight")).difference, None);

    if std::env::var_os("LANDFALL_WRITE_FIXTURES").is_some() {
        for (made, name) in [(&flight, "counter.flight"), (&log, "counter.lflog")] {
            let to = kept(name);
            if !to.exists() {
                std::fs::copy(made, to).expect("there is room");
            }
        }
    }
}

#[test]
fn the_recording_of_the_guide_is_of_the_planted_engine() {
    plant(Some(DEFECT));
    let played = replayed(&kept("counter.flight"));
    plant(None);
    assert_eq!(played.difference, None, "its files are to be made anew");
    assert!(played.reached_end);
    assert!(replayed(&kept("counter.flight")).difference.is_some());
}
