//! The rows that are measured with, and how a store is filled with them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_core::{Change, Origin, RecordKey, Row, SaveRequest, decide_save};
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Store, StoreOptions};

landfall::include_schema!("src/bench/bench.graphql");

/// How many rows are measured with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Saves one after another; each is a wait for the disk.
    pub(super) saves: usize,
    /// Saves of each of 64 savers.
    pub(super) saves_of_each: usize,
    /// Reads by identifier.
    pub(super) gets: usize,
    /// Rows of the model that is scanned.
    pub(super) rows: usize,
    /// Rows of the large store.
    pub(super) rows_large: usize,
    /// Mutations of a single client of the backend; each of many makes a fifth.
    pub(super) mutations: usize,
    /// Times that each client of the backend syncs.
    pub(super) syncs: usize,
    /// Mutations that a thousand subscribers hear of.
    pub(super) told: usize,
    /// Rows of a first sync.
    pub(super) sync_rows: usize,
    /// Creates that are made offline.
    pub(super) drained: usize,
    /// Rows of the store beside the npm client, which takes a millisecond for each.
    pub(super) npm_rows: usize,
    /// Whether this is a check that everything runs, and no measurement.
    pub(super) quick: bool,
}

impl Scale {
    pub(super) const FULL: Self = Self {
        saves: 2_000,
        saves_of_each: 600,
        gets: 200_000,
        rows: 100_000,
        rows_large: 1_000_000,
        mutations: 2_000,
        syncs: 3,
        told: 60,
        sync_rows: 50_000,
        drained: 300,
        npm_rows: 10_000,
        quick: false,
    };
    pub(super) const QUICK: Self = Self {
        saves: 50,
        saves_of_each: 10,
        gets: 2_000,
        rows: 2_000,
        rows_large: 5_000,
        mutations: 50,
        syncs: 1,
        told: 3,
        sync_rows: 640,
        drained: 20,
        npm_rows: 256,
        quick: true,
    };
}

/// Rows in one transaction when a store is filled; what it holds in memory stays small.
const FILL_BATCH: usize = 10_000;

/// The item of that number. Numbers are spread, so that neighbours in one field are none in another.
pub(super) fn item(number: usize) -> Item {
    let spread = number.wrapping_mul(7_919) % 1_000_003;
    let made = Item::builder()
        .name(format!("item {number} of the benchmark"))
        .category(format!("category {}", spread % 1_000))
        .rating(i32::try_from(spread % 1_000).unwrap_or(0))
        .score(f64::from(u32::try_from(spread).unwrap_or(0)) / 1_000_003.0)
        .active(number.is_multiple_of(2))
        .note("a note of a sentence or so, as records have them")
        .build();
    let mut item = made.expect("every required field is set");
    item.id = id(number);
    item
}

/// The identifier of that number: the length of a UUID, in no order.
pub(super) fn id(number: usize) -> String {
    let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}-0000-4000-8000-{number:012x}", mixed >> 32)
}

pub(super) fn open(directory: &Path) -> miette::Result<Store> {
    let options = StoreOptions {
        disk: Disk::Directory(directory.to_owned()),
        schema: Arc::clone(schema()),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    Store::open(options).map_err(|error| miette::miette!("{error}"))
}

/// Fills a store with items `from..to`, many to a transaction, by the same steps as the storage actor.
pub(super) fn fill(store: &mut Store, from: usize, to: usize) -> miette::Result<()> {
    let schema = schema();
    let def = Arc::clone(schema.model("Item").expect("the schema has the model Item"));
    for start in (from..to).step_by(FILL_BATCH) {
        let end = (start + FILL_BATCH).min(to);
        let written = store.write(0, |txn| {
            for number in start..end {
                let values: Row = landfall::Model::to_values(&item(number));
                let key = RecordKey::new("Item", id(number));
                let state = txn.state(&key)?;
                let request = SaveRequest {
                    values,
                    base: None,
                    seen: None,
                    condition: None,
                    queued: true,
                    group: None,
                };
                let write = decide_save(schema, &def, &state, request);
                let write = write
                    .expect("the items fit their model")
                    .expect("each item is new");
                txn.append(Origin::App, None, Change::Write(write))?;
            }
            Ok(())
        });
        written.map_err(|error| miette::miette!("{error}"))?;
    }
    Ok(())
}

/// Runs `work` and says how long it took.
pub(super) fn timed<T>(work: impl FnOnce() -> miette::Result<T>) -> miette::Result<(T, Duration)> {
    let start = Instant::now();
    let value = work()?;
    Ok((value, start.elapsed()))
}

/// How many per second.
pub(super) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Any error as a report.
pub(super) fn report(error: impl std::fmt::Display) -> miette::Report {
    miette::miette!("{error}")
}
