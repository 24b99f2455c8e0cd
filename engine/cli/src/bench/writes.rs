//! Figures of writing: durable saves, replay.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall::DataStore;

use super::figure::Figure;
use super::floor::{self, Tables};
use super::rows::{self, Scale, item, per_second, report, timed};

/// Savers that write at the same time.
const SAVERS: usize = 64;

fn runtime() -> miette::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(report)
}

async fn open(directory: &Path) -> miette::Result<DataStore> {
    DataStore::builder(rows::schema())
        .directory(directory)
        .open()
        .await
        .map_err(report)
}

/// Durable saves, one after another.
pub(super) fn sequential(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let store_directory = directory.join("store");
    let elapsed = runtime()?.block_on(async {
        let store = open(&store_directory).await?;
        let start = Instant::now();
        for number in 0..scale.saves {
            store.save(item(number)).await.map_err(report)?;
        }
        let elapsed = start.elapsed();
        store.close().await;
        miette::Result::<Duration>::Ok(elapsed)
    })?;
    let saved = floor::rows_of(&store_directory)?;
    let path = directory.join("floor.redb");
    let ((), floor_elapsed) = timed(|| floor::write(&path, &saved, 1, Tables::All))?;
    let value = per_second(scale.saves, elapsed);
    let floor = per_second(saved.len(), floor_elapsed);
    Ok(vec![Figure::rate(
        "durable saves, one after another",
        "saves/s",
        value,
        floor,
        0.8,
    )])
}

/// Durable saves of many savers.
pub(super) fn concurrent(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let store_directory = directory.join("store");
    let total = SAVERS * scale.saves_of_each;
    let elapsed = runtime()?.block_on(async {
        let store = open(&store_directory).await?;
        let start = Instant::now();
        let savers = (0..SAVERS).map(|saver| {
            let store = store.clone();
            let of_each = scale.saves_of_each;
            async move {
                for number in 0..of_each {
                    store.save(item(saver * of_each + number)).await.map_err(report)?;
                }
                miette::Result::<()>::Ok(())
            }
        });
        futures_util::future::try_join_all(savers).await?;
        let elapsed = start.elapsed();
        store.close().await;
        miette::Result::<Duration>::Ok(elapsed)
    })?;
    let saved = floor::rows_of(&store_directory)?;
    let path = directory.join("floor.redb");
    let ((), floor_elapsed) = timed(|| floor::write(&path, &saved, SAVERS, Tables::All))?;
    let value = per_second(total, elapsed);
    let floor = per_second(saved.len(), floor_elapsed);
    Ok(vec![Figure::rate(
        "durable saves, 64 concurrent savers",
        "saves/s",
        value,
        floor,
        0.6,
    )])
}

/// Replay of the log into fresh projections.
pub(super) fn replay(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let store_directory = directory.join("store");
    let mut store = rows::open(&store_directory)?;
    rows::fill(&mut store, 0, scale.rows)?;
    let (entries, elapsed) = timed(|| store.rebuild().map_err(report))?;
    drop(store);
    let saved = floor::rows_of(&store_directory)?;
    let path = directory.join("floor.redb");
    let ((), floor_elapsed) = timed(|| floor::write(&path, &saved, usize::MAX, Tables::Projections))?;
    let value = entries as f64 / elapsed.as_secs_f64();
    let floor = per_second(saved.len(), floor_elapsed);
    Ok(vec![Figure::rate(
        "replay of the log",
        "entries/s",
        value,
        floor,
        0.4,
    )])
}
