//! Recorded runs, played again: each effect is as it was, and the end is the same.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use landfall::flight::{Event, Input, Recording};
use landfall::{DataStore, ModelQuery, ModelSync, RecordKey, Schema};
use landfall_sim::replay::{
    Compared, Edit, Go, Played, changed, comparable, input_json, play, play_comparing, what_if,
};
use landfall_sim::{
    Configure, Profile, RunOptions, Seed, Setup, TraceLog, World, generate, in_virtual_time, pass, run_with,
};
use serde_json::Value as Json;

landfall::inline_schema!("type Note @model { text: String! count: Int }");

/// Has each store that is opened record into a file of its own.
fn recording_into(home: &Path) -> (Configure, Rc<Cell<usize>>) {
    let (home, count) = (home.to_owned(), Rc::new(Cell::new(0)));
    let counting = Rc::clone(&count);
    let configure: Configure = Rc::new(move |builder| {
        counting.set(counting.get() + 1);
        builder.record(file(&home, counting.get()))
    });
    (configure, count)
}

fn file(home: &Path, number: usize) -> PathBuf {
    home.join(format!("{number}.flight"))
}

fn replayed(path: &Path) -> Played {
    let recording = Recording::open(path).expect("it was just recorded");
    assert_eq!(recording.gap(), None);
    let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
    assert_eq!(played.difference, None, "{}", path.display());
    played
}

async fn note(store: &DataStore, text: &str) -> Note {
    let note = Note::builder().text(text).build().expect("it is valid");
    store.save(note).await.expect("it is saved")
}

/// Two clients edit one record while one of them is offline; both close in good order.
fn conflict(home: &Path, schema: &Arc<Schema>) {
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let (configure, _) = recording_into(home);
        let setup = Setup {
            configure,
            ..Setup::new(schema, Seed(11), &["anna", "berta"])
        };
        let world = World::new(&setup, &trace);
        world.boot().await.expect("both open");
        pass(10_000).await;
        let (anna, berta) = (world.clients[0].store(), world.clients[1].store());
        let mut mine = note(&anna, "first").await;
        pass(10_000).await;
        let mut theirs = berta
            .query(ModelQuery::<Note>::all())
            .expect("it is read")
            .remove(0);
        world.clients[1].link().partition();
        theirs.text = "from berta".to_owned();
        berta.save(theirs).await.expect("it is saved");
        mine.text = "from anna".to_owned();
        anna.save(mine).await.expect("it is saved");
        pass(5_000).await;
        world.clients[1].link().repair();
        pass(120_000).await;
        anna.close().await;
        berta.close().await;
    });
}

#[test]
fn a_recorded_conflict_replays_to_the_same_end_on_both_sides() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    for number in [1, 2] {
        let played = replayed(&file(home.path(), number));
        assert!(played.reached_end && played.events > 50, "{played:?}");
    }
}

/// Both clients sync one way only, or not at all, and write all the same; what was refused is told.
fn one_way(home: &Path, sync: ModelSync) -> usize {
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let (recording, _) = recording_into(home);
        let opened = Rc::new(Cell::new(0));
        let configure: Configure = Rc::new(move |builder| {
            opened.set(opened.get() + 1);
            // Anna syncs both ways, so that there is something to be had from the server.
            let sync = if opened.get() == 1 { ModelSync::Both } else { sync };
            recording(builder).model_sync_named("Note", sync)
        });
        let setup = Setup {
            configure,
            ..Setup::new(schema(), Seed(12), &["anna", "berta"])
        };
        let world = World::new(&setup, &trace);
        world.boot().await.expect("both open");
        let (anna, berta) = (world.clients[0].store(), world.clients[1].store());
        let mut refused = 0;
        for (store, text) in [
            (&anna, "hers"),
            (&berta, "own"),
            (&anna, "hers too"),
            (&berta, "more"),
        ] {
            let note = Note::builder().text(text).build().expect("it is valid");
            refused += usize::from(store.save(note).await.is_err());
            pass(10_000).await;
        }
        anna.close().await;
        berta.close().await;
        refused
    })
}

#[test]
fn stores_that_sync_one_way_replay_that_way() {
    for (sync, refused) in [(ModelSync::Pull, 2), (ModelSync::Push, 0), (ModelSync::None, 0)] {
        let home = tempfile::tempdir().expect("there is room");
        assert_eq!(one_way(home.path(), sync), refused, "{sync:?}");
        for number in [1, 2] {
            let played = replayed(&file(home.path(), number));
            assert!(played.reached_end && played.events > 5, "{sync:?}: {played:?}");
        }
        let mut recording = Recording::open(&file(home.path(), 2)).expect("it was just recorded");
        assert_eq!(recording.head.directions[0].sync, sync);
        // Another way, it would not have gone so.
        recording.head.directions.clear();
        let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
        assert!(played.difference.is_some(), "{sync:?}: {played:?}");
    }
}

#[test]
fn runs_with_every_fault_replay_without_a_difference() {
    let (mut recordings, mut faults) = (0, 0);
    for seed in 1..=4 {
        let home = tempfile::tempdir().expect("there is room");
        let (configure, count) = recording_into(home.path());
        let plan = generate(seed, Profile::Chaos, None, 20_000);
        let outcome = run_with(&plan, RunOptions::default(), configure);
        assert!(outcome.is_well(), "seed {seed}: {:?}", outcome.violations);
        for number in 1..=count.get() {
            let path = file(home.path(), number);
            // A store that did not open has no recording that could be played.
            let Ok(recording) = Recording::open(&path) else {
                continue;
            };
            let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
            assert_eq!(played.difference, None, "seed {seed}, recording {number}");
            recordings += 1;
            let failed = |noted: &&landfall::flight::Noted| matches!(&noted.event, Event::Committed(commit) if commit.fault.is_some());
            faults += recording.events.iter().filter(failed).count();
        }
    }
    assert!(recordings > 8, "only {recordings} recordings");
    assert!(faults > 0, "no commit failed in any of them");
}

#[test]
fn a_recording_cut_by_a_crash_replays_up_to_the_cut() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    let path = file(home.path(), 2);
    let whole = std::fs::read(&path).expect("it is there");
    let all = replayed(&path).events;
    let mut recording = Recording::read(&mut &whole[..whole.len() - 9]).expect("its beginning is sound");
    assert!(recording.cut.is_some());
    // The file has few segments; the events themselves are cut as well.
    if recording.events.is_empty() {
        recording = Recording::read(&mut whole.as_slice()).expect("it is sound");
    }
    for keep in [1, 10, 60, recording.events.len() - 1] {
        let mut cut = recording.clone();
        cut.events.truncate(keep);
        let played = play(&cut, &mut |_| Go::On).expect("it can be begun");
        assert_eq!(played.difference, None, "cut behind {keep}");
        assert!(!played.reached_end && played.events < all);
    }
}

#[test]
fn a_replay_names_the_first_effect_that_differs() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    let mut recording = Recording::open(&file(home.path(), 1)).expect("it was just recorded");
    let commit = recording
        .events
        .iter_mut()
        .find_map(|noted| match &mut noted.event {
            Event::Committed(commit) if commit.head.0 > 2 => Some((noted.order, commit)),
            _ => None,
        });
    let (order, commit) = commit.expect("something was committed");
    commit.check ^= 1;
    let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
    let difference = played.difference.expect("the check is another one");
    assert_eq!(difference.seat.actor, "StorageActor");
    assert!(difference.order < order && difference.recorded.starts_with("a commit up to entry"));
    assert!(difference.now.starts_with("a commit up to entry"), "{difference}");
}

#[test]
fn a_replay_ends_at_what_the_recorder_dropped_and_says_so() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    let mut recording = Recording::open(&file(home.path(), 1)).expect("it was just recorded");
    let lost = recording.events.remove(40).order;
    let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
    assert_eq!((played.difference, played.gap), (None, Some((lost, 1))));
    assert!(played.last < lost);
}

/// Order numbers of the app's writes.
fn writes(recording: &Recording) -> Vec<u64> {
    let is_write = |event: &Event| {
        matches!(
            event,
            Event::Step {
                input: Some(Input::Write(_)),
                ..
            }
        )
    };
    let found = recording.events.iter().filter(|noted| is_write(&noted.event));
    found.map(|noted| noted.order).collect()
}

/// Where in a JSON value the text is, as a JSON pointer.
fn pointer_to(json: &Json, text: &str) -> Option<String> {
    let within = |name: String, inner: &Json| Some(format!("/{name}{}", pointer_to(inner, text)?));
    match json {
        Json::String(found) if found == text => Some(String::new()),
        Json::Array(items) => (0..)
            .zip(items)
            .find_map(|(at, inner): (usize, _)| within(at.to_string(), inner)),
        Json::Object(fields) => fields
            .iter()
            .find_map(|(name, inner)| within(name.clone(), inner)),
        _ => None,
    }
}

#[test]
fn an_edited_input_leads_to_another_end() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    let recording = Recording::open(&file(home.path(), 1)).expect("it was just recorded");
    let writes = writes(&recording);
    assert_eq!(writes.len(), 2);
    let same = what_if(&recording, &[]).expect("it can be begun");
    assert_eq!((changed(&same.without, &same.with).count(), same.drift), (0, 0));
    // The server of a recording goes on saying what it said, so the record comes from there all the same.
    let ends = what_if(&recording, &[Edit::Drop(writes[0])]).expect("the edit fits");
    assert_eq!((ends.without.len(), ends.with.len()), (1, 1), "{:?}", ends.with);
    let second = recording.events.iter().find(|noted| noted.order == writes[1]);
    let shown = second
        .and_then(|noted| input_json(&noted.event))
        .expect("it is an input");
    let place = pointer_to(&shown, "from anna").expect("she wrote so");
    let edit = Edit::Change(writes[1], place, Json::from("something else"));
    let ends = what_if(&recording, &[edit]).expect("the edit fits");
    let texts = |end: &BTreeMap<RecordKey, Json>| -> Vec<Json> {
        end.values().map(|record| record["text"].clone()).collect()
    };
    assert_eq!(texts(&ends.without), ["from anna"]);
    assert_eq!(texts(&ends.with), ["something else"]);
    assert!(ends.unanswered > 0, "the server was never asked for that");
    let error = what_if(&recording, &[Edit::Drop(100_000)]).expect_err("there is no such input");
    assert!(error.to_string().contains("event 100000 is no input"));
}

/// A recording as a program would have made it that does not take a step which this one takes.
fn without(recording: &Recording, order: u64) -> Recording {
    let mut other = recording.clone();
    other.events.retain(|noted| noted.order != order);
    for noted in other.events.iter_mut().filter(|noted| noted.order > order) {
        noted.order -= 1;
    }
    other
}

/// Messages to an actor in whose steps nothing else is recorded.
fn plain_steps(recording: &Recording, actor: &str, name: &str) -> Vec<u64> {
    let seats = recording.events.iter().filter_map(|noted| match &noted.event {
        Event::Seated { name, .. } if name.actor == actor => Some(noted.seat),
        _ => None,
    });
    let seats: Vec<u32> = seats.collect();
    let end = recording.events.last().expect("it is closed");
    let mut found = Vec::new();
    for (at, noted) in recording.events.iter().enumerate() {
        let is_it =
            matches!(&noted.event, Event::Step { step, .. } if step == name) && seats.contains(&noted.seat);
        let mut later = recording.events[at + 1..]
            .iter()
            .filter(|later| later.seat == noted.seat);
        // What is under way when the store is closed may be in the recording or not.
        if is_it && noted.at_ms + 2_000 < end.at_ms && later.next().is_some_and(|next| next.event.is_turn()) {
            found.push(noted.order);
        }
    }
    found
}

#[test]
fn what_the_program_does_beyond_the_recording_is_a_difference() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    for number in [1, 2] {
        let recording = Recording::open(&file(home.path(), number)).expect("it was just recorded");
        let mut tried = 0;
        for (actor, name) in [("Hub", "Publish"), ("ReachabilityActor", "Report")] {
            for order in plain_steps(&recording, actor, name) {
                let played = play(&without(&recording, order), &mut |_| Go::On).expect("it can be begun");
                let difference = played.difference.unwrap_or_else(|| {
                    panic!(
                        "{actor}.{name} of event {order} happens now and was not recorded, and nobody notices"
                    )
                });
                assert!(difference.now.contains(name), "{difference}");
                tried += 1;
            }
        }
        assert!(tried > 5, "only {tried} steps were left out");
    }
}

#[test]
fn a_recording_of_a_program_with_other_prints_is_compared_in_what_reaches_the_outside() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    for number in [1, 2] {
        let mut recording = Recording::open(&file(home.path(), number)).expect("it was just recorded");
        assert_eq!(comparable(&recording), Compared::Everything);
        // The other program says every message in another way, and sends one that this one does not know.
        recording.head.prints += 1;
        for noted in &mut recording.events {
            match &mut noted.event {
                Event::Step { print, .. } => *print ^= 1,
                Event::Called { what, print, .. } if what != "Execute" => *print ^= 1,
                _ => {}
            }
        }
        let left_out = plain_steps(&recording, "Hub", "Publish");
        let recording = without(&recording, left_out[left_out.len() / 2]);
        assert_eq!(comparable(&recording), Compared::Outside);
        let played = play(&recording, &mut |_| Go::On).expect("it can be begun");
        assert_eq!(played.difference, None, "recording {number}");
        assert!(played.reached_end);
        let strictly = play_comparing(&recording, Compared::Everything, &mut |_| Go::On);
        assert!(strictly.expect("it can be begun").difference.is_some());
        // What reaches the outside is compared all the same.
        for (at, noted) in recording.events.iter().enumerate() {
            let mut other = recording.clone();
            match &mut other.events[at].event {
                Event::Committed(commit) => commit.check ^= 1,
                Event::Called { what, print, .. } if what == "Execute" => *print ^= 1,
                Event::Sent { print, .. } => *print ^= 1,
                Event::End { state, .. } => *state ^= 1,
                _ => continue,
            }
            let played = play(&other, &mut |_| Go::On).expect("it can be begun");
            assert!(
                played.difference.is_some(),
                "{noted:?} was another, and nobody notices"
            );
        }
    }
}

/// Changes one number or text somewhere in the event, as a stranger might.
fn tamper(event: &Event, draw: u64) -> Option<Event> {
    fn leaves<'j>(json: &'j mut Json, found: &mut Vec<&'j mut Json>) {
        match json {
            Json::Array(items) => items.iter_mut().for_each(|item| leaves(item, found)),
            Json::Object(fields) => fields.values_mut().for_each(|field| leaves(field, found)),
            leaf => found.push(leaf),
        }
    }
    let mut json = serde_json::to_value(event).ok()?;
    let mut found = Vec::new();
    leaves(&mut json, &mut found);
    let at = usize::try_from(draw % found.len().max(1) as u64).ok()?;
    let leaf = found.into_iter().nth(at)?;
    *leaf = match (&*leaf, draw >> 32 & 3) {
        (Json::Number(_), 0) => Json::from(0),
        (Json::Number(number), 1) => Json::from(number.as_u64().unwrap_or(7).wrapping_add(1)),
        (Json::Number(_), _) => Json::from(u32::MAX),
        (Json::String(_), _) => Json::from("another"),
        (_, 0) => Json::Null,
        _ => Json::from(7),
    };
    serde_json::from_value(json).ok()
}

#[test]
fn tampered_recordings_end_with_a_difference_or_an_error_and_never_with_a_panic() {
    let home = tempfile::tempdir().expect("there is room");
    conflict(home.path(), schema());
    let recording = Recording::open(&file(home.path(), 1)).expect("it was just recorded");
    let (mut differences, mut draw) = (0, 1_u64);
    for round in 0..60 {
        draw = draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut edited = recording.clone();
        let at = usize::try_from((draw >> 16) % edited.events.len() as u64).expect("it is small");
        match round % 4 {
            0 => edited.events[at].seat ^= 1,
            1 => edited.events.swap(at, at / 2),
            _ => match tamper(&edited.events[at].event, draw) {
                Some(event) => edited.events[at].event = event,
                None => continue,
            },
        }
        if edited.events == recording.events {
            continue;
        }
        println!("round {round}: event {at} was {:?}", recording.events[at]);
        if let Ok(played) = play(&edited, &mut |_| Go::On) {
            differences += usize::from(played.difference.is_some());
        }
        drop(what_if(&edited, &[]));
    }
    assert!(differences > 20, "only {differences} differences");
}

#[test]
fn a_store_on_threads_of_its_own_replays_on_one() {
    let home = tempfile::tempdir().expect("there is room");
    let path = home.path().join("threads.flight");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs nothing");
    let report = runtime.block_on(async {
        let store = DataStore::builder(schema())
            .directory(home.path().join("store"))
            .record(&path)
            .open()
            .await
            .expect("it opens");
        store.start().await.expect("it starts");
        for round in 0..20 {
            let saves = (0..10).map(|number| {
                let store = store.clone();
                async move { note(&store, &format!("{round} {number}")).await }
            });
            futures_util::future::join_all(saves).await;
        }
        let drained = store.outbox().drained_within(Duration::from_millis(1)).await;
        assert!(!drained.expect("it is open"), "there is no server");
        let one = store
            .query(ModelQuery::<Note>::all())
            .expect("it is read")
            .remove(0);
        store.delete(&one).await.expect("it is deleted");
        let report = store.recording().expect("it records");
        store.close().await;
        report
    });
    assert!(
        report.events > 250 && report.dropped == 0 && !report.stopped,
        "{report:?}"
    );
    let played = replayed(&path);
    assert!(played.reached_end && played.events > 200, "{played:?}");
    let recording = Recording::open(&path).expect("it was just recorded");
    let edit = Edit::Drop(writes(&recording)[7]);
    let ends = what_if(&recording, &[edit]).expect("the edit fits");
    assert_eq!((ends.without.len(), ends.with.len()), (199, 198));
    assert_eq!(changed(&ends.without, &ends.with).count(), 1);
}
