//! What the flight recorder costs: the same work with and without it, in the same run.
//!
//! Owns the comparison of saves, and what a recorder may cost; that of sync is in `sync.rs`. The two take turns, round by
//! round, so that a machine that gets slower or faster does so to both; and they take turns at being first, since the
//! second finds the disk still busy with what the first has left to it.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall::DataStore;

use super::figure::Figure;
use super::rows::{self, Scale, item, per_second, report};

/// Rounds with and without; an even number, so that each is first as often as the other.
pub(super) const ROUNDS: usize = 4;

/// Without and with a recorder, in the order of a round.
pub(super) const fn turns(round: usize) -> [bool; 2] {
    let begins_with = round % 2 == 1;
    [begins_with, !begins_with]
}

/// Savers that write at the same time.
const SAVERS: usize = 64;

/// What is left of the speed with a recorder.
pub(super) const TARGET: f64 = 0.95;

pub(super) fn recording(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(report)?;
    runtime.block_on(async {
        let mut spent = [[Duration::ZERO; 2]; 2];
        let (each, of_each) = (scale.saves / ROUNDS, scale.saves_of_each / ROUNDS);
        for round in 0..ROUNDS {
            for recorded in turns(round) {
                let name = format!("{round}-{recorded}");
                let mut builder = DataStore::builder(rows::schema()).directory(directory.join(&name));
                if recorded {
                    builder = builder.record(directory.join(format!("{name}.flight")));
                }
                let store = builder.open().await.map_err(report)?;
                spent[0][usize::from(recorded)] += one_by_one(&store, each).await?;
                spent[1][usize::from(recorded)] += together(&store, each, of_each).await?;
                is_whole(&store)?;
                store.close().await;
            }
        }
        let rate = |saves: usize, spent: Duration| per_second(saves * ROUNDS, spent);
        let figure = |name, saves, [without, with]: [Duration; 2]| {
            Figure::rate(name, "saves/s", rate(saves, with), rate(saves, without), TARGET)
        };
        Ok(vec![
            figure("durable saves, recorded", each, spent[0]),
            figure("durable saves, 64 savers, recorded", SAVERS * of_each, spent[1]),
        ])
    })
}

/// Refuses to measure a recorder that left something out.
pub(super) fn is_whole(store: &DataStore) -> miette::Result<()> {
    match store.recording() {
        Some(told) if told.dropped > 0 || told.stopped => {
            Err(miette::miette!("the recorder could not keep up: {told:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

async fn one_by_one(store: &DataStore, saves: usize) -> miette::Result<Duration> {
    let start = Instant::now();
    for number in 0..saves {
        store.save(item(number)).await.map_err(report)?;
    }
    Ok(start.elapsed())
}

async fn together(store: &DataStore, from: usize, of_each: usize) -> miette::Result<Duration> {
    let start = Instant::now();
    let savers = (0..SAVERS).map(|saver| async move {
        for number in 0..of_each {
            let number = from + saver * of_each + number;
            store.save(item(number)).await.map_err(report)?;
        }
        miette::Result::<()>::Ok(())
    });
    futures_util::future::try_join_all(savers).await?;
    Ok(start.elapsed())
}
