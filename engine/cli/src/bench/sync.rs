//! Figures of sync over loopback: a first sync, the way of offline changes to the server, and both beside the npm client
//! of Amplify DataStore.
//!
//! The floor of the first sync is a client that fetches and parses the same pages and writes the rows raw into redb
//! (`floor.rs`); that of the drain is one request after the other, over the same slow line (`line.rs`). The npm client is
//! measured with the same server and rows, where Node.js and the client are (`../npm.rs`); where they are not, these figures
//! are left out and the reason is told.

mod floor;
mod line;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::{DataStore, TypedPredicate};
use tokio::runtime::Runtime;

use super::backend::{KEY, create, mutate, runtime, serve};
use super::figure::Figure;
use super::npm;
use super::recording;
use super::rows::{self, Item, Scale, item, per_second, report};
use line::SlowLine;

/// Time that a request and its answer take on the slow line.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Clients that put the rows on the server, which is not measured.
const FILLERS: usize = 32;

/// A drain that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) const BASE_SYNC: [&str; 1] = ["base sync"];
pub(super) const DRAIN: [&str; 1] = ["drain of offline creates at 50 ms"];
pub(super) const RECORDED: [&str; 2] = ["base sync, recorded", "drain at 50 ms, recorded"];
pub(super) const BESIDE_NPM: [&str; 3] = [
    "drain at 50 ms beside the npm client",
    "base sync, a fifth of the rows, beside the npm client",
    "base sync, all rows, beside the npm client",
];

/// Rounded down to what the fillers make together.
fn whole(rows: usize) -> usize {
    rows / FILLERS * FILLERS
}

async fn fill(address: SocketAddr, from: usize, to: usize) -> miette::Result<()> {
    mutate(address, FILLERS, from, (to - from) / FILLERS, create).await?;
    Ok(())
}

/// Whether a store has a flight recorder.
#[derive(Clone, Copy)]
enum Recorder {
    Off,
    On,
}

impl Recorder {
    fn of(recorded: bool) -> Self {
        if recorded { Self::On } else { Self::Off }
    }
}

async fn open(
    address: SocketAddr,
    directory: &Path,
    rows: usize,
    recorder: Recorder,
) -> miette::Result<DataStore> {
    let mut builder = DataStore::builder(rows::schema())
        .directory(directory)
        .endpoint(format!("http://{address}/graphql"), KEY)
        .records_max(rows as u64 + 1);
    if let Recorder::On = recorder {
        builder = builder.record(directory.with_extension("flight"));
    }
    builder.open().await.map_err(report)
}

async fn start(store: &DataStore) -> miette::Result<()> {
    store.start().await.map_err(report)?;
    if store.ready().await.map_err(report)? {
        Ok(())
    } else {
        Err(miette::miette!("the store does not reach the server"))
    }
}

/// How long a new store takes until it holds all rows of the server.
async fn base_sync(
    address: SocketAddr,
    directory: &Path,
    rows: usize,
    recorder: Recorder,
) -> miette::Result<Duration> {
    let store = open(address, directory, rows, recorder).await?;
    let begun = Instant::now();
    start(&store).await?;
    let elapsed = begun.elapsed();
    let count = store.count(TypedPredicate::<Item>::all()).map_err(report)?;
    recording::is_whole(&store)?;
    store.close().await;
    if count == rows as u64 {
        Ok(elapsed)
    } else {
        Err(miette::miette!("{count} of {rows} rows came"))
    }
}

/// How long creates that were saved offline take to be applied by the server, from the moment that the network is back.
async fn drain(
    address: SocketAddr,
    directory: &Path,
    from: usize,
    creates: usize,
    recorder: Recorder,
) -> miette::Result<Duration> {
    let store = open(address, directory, from + creates, recorder).await?;
    start(&store).await?;
    store.set_online(false).map_err(report)?;
    for number in from..from + creates {
        store.save(item(number)).await.map_err(report)?;
    }
    let begun = Instant::now();
    store.set_online(true).map_err(report)?;
    let drained = store.outbox().drained_within(PATIENCE).await.map_err(report)?;
    let elapsed = begun.elapsed();
    recording::is_whole(&store)?;
    store.close().await;
    if drained {
        Ok(elapsed)
    } else {
        Err(miette::miette!("the outbox is not empty after {PATIENCE:?}"))
    }
}

/// The first sync of a store.
pub(super) fn first_sync(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let rows = whole(scale.sync_rows);
    let (value, floor) = runtime()?.block_on(async {
        let server = serve(&directory.join("backend")).await?;
        let address = server.local_addr;
        fill(address, 0, rows).await?;
        let value = base_sync(address, &directory.join("store"), rows, Recorder::Off).await?;
        let floor = floor::fetch(address, &directory.join("floor.redb"), rows).await?;
        server.shutdown().await;
        miette::Result::<(Duration, Duration)>::Ok((value, floor))
    })?;
    let figure = Figure::rate(
        BASE_SYNC[0],
        "rows/s",
        per_second(rows, value),
        per_second(rows, floor),
        0.6,
    );
    Ok(vec![figure])
}

/// The way of offline changes to the server.
pub(super) fn drains(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let creates = scale.drained;
    let (value, floor) = runtime()?.block_on(async {
        let server = serve(&directory.join("backend")).await?;
        let line = SlowLine::to(server.local_addr, ROUND_TRIP / 2).await?;
        let value = drain(line.address, &directory.join("store"), 0, creates, Recorder::Off).await?;
        let begun = Instant::now();
        mutate(line.address, 1, creates, creates, create).await?;
        let floor = begun.elapsed();
        line.close();
        server.shutdown().await;
        miette::Result::<(Duration, Duration)>::Ok((value, floor))
    })?;
    let figure = Figure::cost(DRAIN[0], "s", value.as_secs_f64(), floor.as_secs_f64(), 15.0);
    Ok(vec![figure])
}

/// What a flight recorder leaves of the speed of a first sync and of a drain.
pub(super) fn recorded(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let (rows, creates) = (whole(scale.sync_rows), scale.drained);
    let mut spent = [[Duration::ZERO; 2]; 2];
    runtime()?.block_on(async {
        let server = serve(&directory.join("synced")).await?;
        fill(server.local_addr, 0, rows).await?;
        for round in 0..recording::ROUNDS {
            for recorded in recording::turns(round) {
                let (at, recorder) = (usize::from(recorded), Recorder::of(recorded));
                let store = directory.join(format!("synced-{round}-{at}"));
                spent[0][at] += base_sync(server.local_addr, &store, rows, recorder).await?;
            }
        }
        server.shutdown().await;
        let server = serve(&directory.join("drained")).await?;
        let line = SlowLine::to(server.local_addr, ROUND_TRIP / 2).await?;
        for round in 0..recording::ROUNDS {
            for recorded in recording::turns(round) {
                let (at, recorder) = (usize::from(recorded), Recorder::of(recorded));
                let store = directory.join(format!("drained-{round}-{at}"));
                let from = (2 * round + at) * creates;
                spent[1][at] += drain(line.address, &store, from, creates, recorder).await?;
            }
        }
        line.close();
        server.shutdown().await;
        miette::Result::<()>::Ok(())
    })?;
    let figure = |name, unit, done, [without, with]: [Duration; 2]| {
        let rate = |spent| per_second(done * recording::ROUNDS, spent);
        Figure::rate(name, unit, rate(with), rate(without), recording::TARGET)
    };
    Ok(vec![
        figure(RECORDED[0], "rows/s", rows, spent[0]),
        figure(RECORDED[1], "creates/s", creates, spent[1]),
    ])
}

/// What both clients took for the same thing.
struct Both {
    landfall: Duration,
    npm: Duration,
}

impl Both {
    fn figure(&self, name: &'static str, target: f64) -> Figure {
        let (ours, theirs) = (self.landfall.as_secs_f64(), self.npm.as_secs_f64());
        Figure::cost(name, "s", ours, theirs, target)
    }
}

/// The npm client on the same server, with the same rows.
pub(super) fn beside_npm(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let Some(driver) = npm::driver() else {
        return Ok(Vec::new());
    };
    let runtime = runtime()?;
    let [drained, few, many] = BESIDE_NPM;
    Ok(vec![
        both_drain(&runtime, &driver, &directory.join("drain"), scale)?.figure(drained, 20.0),
        both_sync(&runtime, &driver, &directory.join("few"), scale.sync_rows / 5)?.figure(few, 5.0),
        both_sync(&runtime, &driver, &directory.join("many"), scale.sync_rows)?.figure(many, 5.0),
    ])
}

fn both_drain(runtime: &Runtime, driver: &Path, directory: &Path, scale: &Scale) -> miette::Result<Both> {
    std::fs::create_dir_all(directory).map_err(report)?;
    let creates = scale.drained;
    let (server, line, landfall) = runtime.block_on(async {
        let server = serve(&directory.join("backend")).await?;
        let line = SlowLine::to(server.local_addr, ROUND_TRIP / 2).await?;
        let landfall = drain(line.address, &directory.join("store"), 0, creates, Recorder::Off).await?;
        miette::Result::<_>::Ok((server, line, landfall))
    })?;
    // This thread waits for the other process; server and line go on, on the runtime's threads.
    let npm = npm::Client::start(driver, directory, Some(line.address))?.drain(creates)?;
    line.close();
    runtime.block_on(server.shutdown());
    Ok(Both { landfall, npm })
}

fn both_sync(runtime: &Runtime, driver: &Path, directory: &Path, rows: usize) -> miette::Result<Both> {
    std::fs::create_dir_all(directory).map_err(report)?;
    let rows = whole(rows);
    let (server, landfall) = runtime.block_on(async {
        let server = serve(&directory.join("backend")).await?;
        fill(server.local_addr, 0, rows).await?;
        let landfall = base_sync(server.local_addr, &directory.join("store"), rows, Recorder::Off).await?;
        miette::Result::<_>::Ok((server, landfall))
    })?;
    let npm = npm::Client::start(driver, directory, Some(server.local_addr))?.base_sync(rows)?;
    runtime.block_on(server.shutdown());
    Ok(Both { landfall, npm })
}
