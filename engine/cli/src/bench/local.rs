//! Figures of the embedded store beside other local stores: SQLite, and the npm client of Amplify DataStore.
//!
//! Owns what is compared and the targets. SQLite is measured by `curves.rs`, turn about with Landfall. The npm client keeps
//! its rows in memory here, since there is no browser, while every save of Landfall is on disk when it is answered; what
//! the client takes is measured inside its process.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall::{DataStore, ModelQuery, Query};
use serde_json::{Value as Json, json};

use super::curves::{self, MEASURED, SAVERS, ask, get_all, save_together};
use super::figure::Figure;
use super::npm;
use super::rows::{self, Item, Scale, id, per_second, report};

/// What is compared with SQLite, at each size: all but saves one after another, of which both only wait for the disk.
pub(super) const BESIDE_SQLITE: [&str; 5] = [
    MEASURED[0].0,
    MEASURED[1].0,
    MEASURED[2].0,
    MEASURED[3].0,
    MEASURED[5].0,
];

/// What is compared with the npm client.
pub(super) const BESIDE_NPM: [&str; 4] = [
    "saves, 64 at once, beside the npm client",
    "get by id, beside the npm client",
    "predicate scan, beside the npm client",
    "sort + limit 10, beside the npm client",
];

/// How many times faster than the npm client everything should be.
const TIMES_FASTER: f64 = 20.0;

/// How often the npm client makes each query.
const NPM_QUERIES: usize = 5;

/// How much more often Landfall does the same, which would else be over too soon to be measured.
const MORE_OFTEN: usize = 20;

/// Rates beside SQLite at each number of records. SQLite has one writer, so saves are compared with one transaction after
/// another.
pub(super) fn beside_sqlite(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let curves = curves::measure(directory, scale.quick, None)?;
    let compared = curves.iter().filter(|curve| BESIDE_SQLITE.contains(&curve.name));
    let figures = compared.flat_map(|curve| {
        curve.points.iter().map(|point| {
            let name = format!("{}, {} records", curve.name, point.rows);
            Figure::rate(name, curve.unit, point.ours, point.sqlite, 1.0)
        })
    });
    Ok(figures.collect())
}

/// Rates beside the npm client with the same rows.
pub(super) fn beside_npm(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let Some(driver) = npm::driver() else {
        return Ok(Vec::new());
    };
    let mut client = npm::Client::start(&driver, directory, None)?;
    let mut store = Ours::new(&directory.join("store"))?;
    let rows = scale.npm_rows;
    let [saves, gets, scan, sort] = BESIDE_NPM;
    let rate = |name: &str, unit, (ours, ours_took), (theirs, theirs_took)| {
        let (ours, theirs) = (per_second(ours, ours_took), per_second(theirs, theirs_took));
        Figure::rate(name, unit, ours, theirs, TIMES_FASTER)
    };
    let saved = (store.saves(rows)?, client.saves(0..rows, SAVERS)?);
    let mut figures = vec![rate(saves, "saves/s", (rows, saved.0), (rows, saved.1))];
    let times = rows / 10;
    let got = (store.gets(rows, times * MORE_OFTEN)?, client.gets(times)?);
    figures.push(rate(gets, "gets/s", (times * MORE_OFTEN, got.0), (times, got.1)));
    let queries: [(&str, Query, Json); 2] = [
        (
            scan,
            ModelQuery::from(Item::rating().gt(990)).into(),
            json!({"where": ["rating", "gt", 990]}),
        ),
        (
            sort,
            ModelQuery::<Item>::all()
                .sort(Item::score().desc())
                .limit(10)
                .into(),
            json!({"sort": [["score", "DESCENDING"]], "limit": 10}),
        ),
    ];
    for (name, query, theirs) in queries {
        let (theirs_took, found) = client.queries(&theirs, NPM_QUERIES)?;
        let times = NPM_QUERIES * MORE_OFTEN;
        let (ours_took, here) = store.queries(&query, times)?;
        if here != found {
            return Err(miette::miette!(
                "{name}: {here} records here, {found} in the npm client"
            ));
        }
        figures.push(rate(
            name,
            "queries/s",
            (times, ours_took),
            (NPM_QUERIES, theirs_took),
        ));
    }
    Ok(figures)
}

/// The store that is compared with the npm client.
struct Ours {
    runtime: tokio::runtime::Runtime,
    directory: std::path::PathBuf,
}

impl Ours {
    fn new(directory: &Path) -> miette::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(report)?;
        Ok(Self {
            runtime,
            directory: directory.to_owned(),
        })
    }

    /// How long durable saves of the first `rows` items take, 64 at once.
    fn saves(&mut self, rows: usize) -> miette::Result<Duration> {
        self.runtime.block_on(async {
            let builder = DataStore::builder(rows::schema()).directory(&self.directory);
            let store = builder.open().await.map_err(report)?;
            let begun = Instant::now();
            save_together(&store, 0, rows).await?;
            let elapsed = begun.elapsed();
            store.close().await;
            Ok(elapsed)
        })
    }

    /// How long so many reads by identifier take, of items `0..rows`.
    fn gets(&self, rows: usize, times: usize) -> miette::Result<Duration> {
        let store = rows::open(&self.directory)?;
        let ids: Vec<String> = (0..times)
            .map(|number| id(number.wrapping_mul(7_919) % rows))
            .collect();
        let begun = Instant::now();
        get_all(&store.reader(), &ids)?;
        Ok(begun.elapsed())
    }

    /// How long a query takes that is made so many times, and how many items it finds.
    fn queries(&self, query: &Query, times: usize) -> miette::Result<(Duration, usize)> {
        let store = rows::open(&self.directory)?;
        let reader = store.reader();
        let found = reader
            .snapshot()
            .and_then(|snapshot| snapshot.query(query))
            .map_err(report)?;
        let begun = Instant::now();
        ask(&reader, query, times)?;
        Ok((begun.elapsed(), found.len()))
    }
}
