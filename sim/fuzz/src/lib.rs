//! What the fuzz targets do with their input: anything may be refused, nothing may panic.
//!
//! Owns one function for each target. `cargo test` runs them on the corpora; `cargo fuzz` runs them on what it makes up.

use std::sync::OnceLock;

use landfall_sim::crash::script::{Step, run as write};
use landfall_sim::crash::{CACHE_BYTES, open};
use landfall_sim::disk::SimDisk;
use landfall_sim::{Plan, RunOptions, plan_schema, run};
use landfall_storage::history::{Filter, open_for_inspection};
use landfall_wire::{
    Frame, HttpResponse, ModelDocuments, RecordReader, SubscriptionKind, read_get, read_mutation,
    read_subscription, read_sync_page,
};

/// Most actions and faults of a plan that is run; longer ones are only read.
const STEPS_MAX: usize = 40;

/// Longest work of a plan that is run, in virtual milliseconds.
const BUSY_MS_MAX: u64 = 20_000;

/// A frame of the realtime connection: what can be read can be written, and reads the same.
pub fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(frame) = Frame::parse(text) {
        let again = Frame::parse(&frame.to_text());
        assert_eq!(
            again.ok(),
            Some(frame),
            "a frame changes when it is written and read"
        );
    }
}

/// The body of a reply, for every way in which replies are read.
pub fn reply(data: &[u8]) {
    let schema = plan_schema();
    let documents = ModelDocuments::build(schema, "Board").expect("the schema of plans has boards");
    let reader = RecordReader::new(schema, "Board").expect("the schema of plans has boards");
    let text = String::from_utf8_lossy(data);
    let response = HttpResponse::new(200, &*text);
    drop(read_sync_page(&reader, &documents.sync, &response));
    drop(read_get(&reader, &documents.get, &response));
    let subscription = documents.subscription(SubscriptionKind::Update);
    drop(read_subscription(&reader, subscription, &text));
    let update = documents.mutation(landfall::MutationKind::Update);
    drop(read_mutation(&reader, update, &response));
}

/// An exported log, damaged in any way.
pub fn log(data: &[u8]) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let path = folder.path().join("fuzzed.lflog");
    std::fs::write(&path, data).expect("there is room for a small file");
    if let Ok(history) = open_for_inspection(&path) {
        drop(history.list(&Filter::default(), 1_000));
        drop(history.check());
    }
}

/// The file of a store with some bytes changed: each three bytes of the input are a place and what is there. It opens or
/// it is refused; if it opens, it can be asked.
pub fn image(data: &[u8]) {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    let sound = SOUND.get_or_init(|| {
        let disk = SimDisk::new(1);
        let mut store = open(&disk, CACHE_BYTES).expect("the disk is well");
        for (id, text) in [("n1", "one"), ("n2", "two")] {
            write(&mut store, &[Step::Save(id.to_owned(), text.to_owned())]).expect("the disk is well");
        }
        drop(store);
        disk.contents()
    });
    let mut image = sound.clone();
    for change in data.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) * image.len()
            / (usize::from(u16::MAX) + 1);
        image[place] ^= change[2];
    }
    if let Ok(store) = open(&SimDisk::with_image(image, 1), CACHE_BYTES)
        && let Ok(snapshot) = store.reader().snapshot()
    {
        drop(snapshot.query(&landfall::Query::all("Note")));
        drop(snapshot.verify());
    }
}

/// A whole plan: it is refused, or it is run and keeps every promise, twice in the same way.
pub fn plan(data: &[u8]) {
    let Some(plan) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Plan::from_json(text).ok())
    else {
        return;
    };
    if plan.size() > STEPS_MAX || plan.busy_ms > BUSY_MS_MAX {
        return;
    }
    let outcome = run(&plan, RunOptions::default());
    assert!(outcome.is_well(), "{:#?}", outcome.violations);
    assert_eq!(outcome, run(&plan, RunOptions::default()), "it ran differently");
}
