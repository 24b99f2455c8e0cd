//! Curves over the number of records: the same work here and in SQLite, in stores of a thousand to a million records.
//!
//! Owns what is measured and how often. SQLite writes ahead (WAL) and syncs every commit (synchronous FULL), with the page
//! cache that a store has by default. Everything is a rate, so that more is better; a size is measured turn about with its
//! counterpart, and the best of three counts.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use landfall::{DataStore, Model, ModelQuery, Query};
use landfall_storage::Reader;
use rusqlite::Connection;

use super::rows::{self, Item, id, item, per_second, report};
use super::scans::{fill_sqlite, get_sqlite, insert_sqlite, query_sqlite};

/// Numbers of records by default.
pub(super) const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// The same for a check that everything runs.
pub(super) const SIZES_QUICK: [usize; 3] = [200, 1_000, 5_000];

/// Savers that write at the same time.
pub(super) const SAVERS: usize = 64;

/// Rounds, of which the best counts.
const ROUNDS: usize = 3;

/// A rate over the number of records.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) points: Vec<Point>,
}

/// Rates at one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) rows: usize,
    pub(super) ours: f64,
    pub(super) sqlite: f64,
}

/// Names and units, in the order in which they are measured.
pub(super) const MEASURED: [(&str, &str); 6] = [
    ("get by id", "gets/s"),
    ("predicate scan", "queries/s"),
    ("indexed predicate", "queries/s"),
    ("sort + limit 10", "queries/s"),
    ("durable saves, one after another", "saves/s"),
    ("durable saves, 64 concurrent savers", "saves/s"),
];

/// How often things are done.
#[derive(Clone, Copy, Debug)]
struct Work {
    gets: usize,
    queries: usize,
    saves: usize,
}

impl Work {
    fn of(rows: usize, quick: bool) -> Self {
        if quick {
            return Self {
                gets: 200,
                queries: 2,
                saves: 64,
            };
        }
        Self {
            gets: 20_000,
            // A scan of a million takes most of a second.
            queries: (2_000_000 / rows.max(1)).clamp(2, 50),
            saves: 640,
        }
    }
}

/// Measures every curve at every size.
pub(super) fn measure(
    directory: &Path,
    quick: bool,
    progress: Option<&ProgressBar>,
) -> miette::Result<Vec<Curve>> {
    let sizes = if quick { SIZES_QUICK } else { SIZES };
    let mut curves: Vec<Curve> = MEASURED
        .iter()
        .map(|(name, unit)| Curve {
            name,
            unit,
            points: Vec::new(),
        })
        .collect();
    for rows in sizes {
        if let Some(progress) = progress {
            progress.set_message(format!("curves at {rows} records"));
        }
        let directory = directory.join(format!("curves-{rows}"));
        std::fs::create_dir_all(&directory).map_err(report)?;
        let rates = at_size(&directory, rows, Work::of(rows, quick))?;
        for (curve, (ours, sqlite)) in curves.iter_mut().zip(rates) {
            curve.points.push(Point { rows, ours, sqlite });
        }
        std::fs::remove_dir_all(&directory).map_err(report)?;
    }
    Ok(curves)
}

/// Rates here and in SQLite, in the order of [`MEASURED`].
fn at_size(directory: &Path, rows: usize, work: Work) -> miette::Result<Vec<(f64, f64)>> {
    let home = directory.join("store");
    let mut store = rows::open(&home)?;
    rows::fill(&mut store, 0, rows)?;
    let sqlite = fill_sqlite(&directory.join("floor.sqlite"), rows)?;
    sqlite
        .execute_batch("PRAGMA synchronous = FULL;")
        .map_err(report)?;
    let reader = store.reader();
    let ids: Vec<String> = (0..work.gets).map(|n| id(n.wrapping_mul(7_919) % rows)).collect();
    let mut rates = vec![best_of(
        ids.len(),
        || get_all(&reader, &ids),
        || get_all_sqlite(&sqlite, &ids),
    )?];
    for (query, sql) in queries() {
        rates.push(best_of(
            work.queries,
            || ask(&reader, &query, work.queries),
            || {
                for _ in 0..work.queries {
                    black_box(query_sqlite(&sqlite, sql)?);
                }
                Ok(())
            },
        )?);
    }
    drop((reader, store));
    rates.extend(saves(&home, &sqlite, rows, work.saves)?);
    Ok(rates)
}

fn queries() -> [(Query, &'static str); 3] {
    [
        (
            ModelQuery::from(Item::rating().gt(990)).into(),
            "SELECT * FROM item WHERE rating > 990",
        ),
        (
            ModelQuery::from(Item::category().eq("category 17")).into(),
            "SELECT * FROM item WHERE category = 'category 17'",
        ),
        (
            ModelQuery::<Item>::all()
                .sort(Item::score().desc())
                .limit(10)
                .into(),
            "SELECT * FROM item ORDER BY score DESC LIMIT 10",
        ),
    ]
}

/// Rates of both, each the best of its rounds, turn about.
fn best_of(
    count: usize,
    ours: impl Fn() -> miette::Result<()>,
    sqlite: impl Fn() -> miette::Result<()>,
) -> miette::Result<(f64, f64)> {
    let (mut best, mut floor) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        ours()?;
        best = best.min(start.elapsed());
        let start = Instant::now();
        sqlite()?;
        floor = floor.min(start.elapsed());
    }
    Ok((per_second(count, best), per_second(count, floor)))
}

pub(super) fn get_all(reader: &Reader, ids: &[String]) -> miette::Result<()> {
    for id in ids {
        let snapshot = reader.snapshot().map_err(report)?;
        let record = snapshot.get(Item::NAME, &id.as_str().into()).map_err(report)?;
        let record = record.ok_or_else(|| miette::miette!("an item is missing"))?;
        black_box(Item::from_record(record).map_err(report)?);
    }
    Ok(())
}

fn get_all_sqlite(sqlite: &Connection, ids: &[String]) -> miette::Result<()> {
    for id in ids {
        black_box(get_sqlite(sqlite, id)?);
    }
    Ok(())
}

pub(super) fn ask(reader: &Reader, query: &Query, times: usize) -> miette::Result<()> {
    for _ in 0..times {
        let snapshot = reader.snapshot().map_err(report)?;
        let records = snapshot.query(query).map_err(report)?;
        let items = records.into_iter().map(Item::from_record);
        black_box(items.collect::<Result<Vec<_>, _>>().map_err(report)?);
    }
    Ok(())
}

/// Durable saves of new records, one after another and of many savers; SQLite has one writer, so both are compared with
/// one transaction after another.
fn saves(home: &Path, sqlite: &Connection, rows: usize, saves: usize) -> miette::Result<Vec<(f64, f64)>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(report)?;
    let store = runtime.block_on(DataStore::builder(rows::schema()).directory(home).open());
    let store = store.map_err(report)?;
    let (mut alone, mut together, mut floor) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut next = rows;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        runtime.block_on(async {
            for number in next..next + saves {
                store.save(item(number)).await.map_err(report)?;
            }
            miette::Result::<()>::Ok(())
        })?;
        alone = alone.min(start.elapsed());
        let start = Instant::now();
        for number in next..next + saves {
            insert_sqlite(sqlite, number)?;
        }
        floor = floor.min(start.elapsed());
        next += saves;
        let start = Instant::now();
        runtime.block_on(save_together(&store, next, saves))?;
        together = together.min(start.elapsed());
        next += saves;
    }
    runtime.block_on(store.close());
    let floor = per_second(saves, floor);
    Ok(vec![
        (per_second(saves, alone), floor),
        (per_second(saves, together), floor),
    ])
}

pub(super) async fn save_together(store: &DataStore, from: usize, saves: usize) -> miette::Result<()> {
    let savers = (0..SAVERS).map(|saver| async move {
        for number in (from + saver..from + saves).step_by(SAVERS) {
            store.save(item(number)).await.map_err(report)?;
        }
        miette::Result::<()>::Ok(())
    });
    futures_util::future::try_join_all(savers).await.map(drop)
}
