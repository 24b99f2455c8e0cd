//! Figures of reading: by identifier, by predicate, sorted.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::{Model, ModelQuery};
use redb::{Database, ReadableDatabase, TableDefinition};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::rows::{self, Item, Scale, id, item, per_second, report};

/// How often each query is repeated; the median counts.
const REPEATS: usize = 15;

const ROWS: TableDefinition<&str, &[u8]> = TableDefinition::new("rows");

/// The same fields, for the floors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plain {
    id: String,
    name: String,
    category: String,
    rating: i32,
    score: f64,
    active: bool,
    note: Option<String>,
}

fn plain(number: usize) -> Plain {
    let item = item(number);
    Plain {
        id: item.id,
        name: item.name,
        category: item.category,
        rating: item.rating,
        score: item.score,
        active: item.active,
        note: item.note,
    }
}

/// The same as parameters of an insert.
fn values(number: usize) -> (String, String, String, i32, f64, bool, Option<String>) {
    let row = plain(number);
    (
        row.id,
        row.name,
        row.category,
        row.rating,
        row.score,
        row.active,
        row.note,
    )
}

/// Reads by identifier, decoded into a struct.
pub(super) fn get(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let mut store = rows::open(&directory.join("store"))?;
    rows::fill(&mut store, 0, scale.rows)?;
    let reader = store.reader();
    let raw = Database::create(directory.join("floor.redb")).map_err(report)?;
    let transaction = raw.begin_write().map_err(report)?;
    {
        let mut table = transaction.open_table(ROWS).map_err(report)?;
        for number in 0..scale.rows {
            let bytes = rmp_serde::to_vec(&plain(number)).map_err(report)?;
            table
                .insert(id(number).as_str(), bytes.as_slice())
                .map_err(report)?;
        }
    }
    transaction.commit().map_err(report)?;
    let ids: Vec<String> = (0..scale.gets)
        .map(|n| id(n.wrapping_mul(7_919) % scale.rows))
        .collect();
    let (mut ours, mut floor) = (Duration::MAX, Duration::MAX);
    // Turn about, so that a slow moment of the machine does not hit one side alone; the best of three counts.
    for _ in 0..3 {
        let start = Instant::now();
        for id in &ids {
            let snapshot = reader.snapshot().map_err(report)?;
            let record = snapshot.get(Item::NAME, &id.as_str().into()).map_err(report)?;
            let record = record.ok_or_else(|| miette::miette!("an item is missing"))?;
            black_box(Item::from_record(record).map_err(report)?);
        }
        ours = ours.min(start.elapsed());
        let start = Instant::now();
        for id in &ids {
            let transaction = raw.begin_read().map_err(report)?;
            let table = transaction.open_table(ROWS).map_err(report)?;
            let bytes = table.get(id.as_str()).map_err(report)?;
            let bytes = bytes.ok_or_else(|| miette::miette!("an item is missing"))?;
            black_box(rmp_serde::from_slice::<Plain>(bytes.value()).map_err(report)?);
        }
        floor = floor.min(start.elapsed());
    }
    let (value, floor) = (per_second(ids.len(), ours), per_second(ids.len(), floor));
    Ok(vec![Figure::rate(
        "get by id, typed",
        "gets/s",
        value,
        floor,
        0.6,
    )])
}

/// Scans of a whole model, of an index, and the first of a sort order, against SQLite.
pub(super) fn scans(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let mut store = rows::open(&directory.join("store"))?;
    rows::fill(&mut store, 0, scale.rows)?;
    let reader = store.reader();
    let sqlite = fill_sqlite(&directory.join("floor.sqlite"), scale.rows)?;
    let cases: [(&'static str, ModelQuery<Item>, &str); 3] = [
        (
            "predicate scan",
            ModelQuery::from(Item::rating().gt(990)),
            "SELECT * FROM item WHERE rating > 990",
        ),
        (
            "indexed predicate",
            ModelQuery::from(Item::category().eq("category 17")),
            "SELECT * FROM item WHERE category = 'category 17'",
        ),
        (
            "sort + limit 10",
            ModelQuery::all().sort(Item::score().desc()).limit(10),
            "SELECT * FROM item ORDER BY score DESC LIMIT 10",
        ),
    ];
    let mut figures = Vec::new();
    for (name, query, sql) in cases {
        let query = landfall::Query::from(query);
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            let start = Instant::now();
            // As `DataStore::query` does it.
            let items: Vec<Item> = reader
                .snapshot()
                .and_then(|snapshot| snapshot.query_map(&query, Item::from_record))
                .map_err(report)?
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(report)?;
            ours.push(start.elapsed());
            let start = Instant::now();
            let plain = query_sqlite(&sqlite, sql)?;
            floor.push(start.elapsed());
            if items.len() != plain.len() {
                return Err(miette::miette!(
                    "{name}: {} records here, {} in SQLite",
                    items.len(),
                    plain.len()
                ));
            }
        }
        let (ours, floor) = (median(ours), median(floor));
        figures.push(Figure::cost(
            name,
            "ms",
            ours.as_secs_f64() * 1e3,
            floor.as_secs_f64() * 1e3,
            1.0,
        ));
    }
    Ok(figures)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(super) fn fill_sqlite(path: &Path, rows: usize) -> miette::Result<Connection> {
    let mut connection = Connection::open(path).map_err(report)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA cache_size = -65536;
             CREATE TABLE item (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, category TEXT NOT NULL,
                rating INTEGER NOT NULL, score REAL NOT NULL, active INTEGER NOT NULL, note TEXT);
             CREATE INDEX by_category ON item (category);",
        )
        .map_err(report)?;
    let transaction = connection.transaction().map_err(report)?;
    {
        let mut insert = transaction
            .prepare("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)")
            .map_err(report)?;
        for number in 0..rows {
            insert.execute(values(number)).map_err(report)?;
        }
    }
    transaction.commit().map_err(report)?;
    Ok(connection)
}

pub(super) fn query_sqlite(connection: &Connection, sql: &str) -> miette::Result<Vec<Plain>> {
    let mut statement = connection.prepare_cached(sql).map_err(report)?;
    let rows = statement.query_map([], plain_of);
    rows.map_err(report)?.collect::<Result<_, _>>().map_err(report)
}

fn plain_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Plain> {
    Ok(Plain {
        id: row.get(0)?,
        name: row.get(1)?,
        category: row.get(2)?,
        rating: row.get(3)?,
        score: row.get(4)?,
        active: row.get(5)?,
        note: row.get(6)?,
    })
}

/// One row by its identifier.
pub(super) fn get_sqlite(connection: &Connection, id: &str) -> miette::Result<Plain> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM item WHERE id = ?")
        .map_err(report)?;
    statement.query_row([id], plain_of).map_err(report)
}

/// A new row in a transaction of its own.
pub(super) fn insert_sqlite(connection: &Connection, number: usize) -> miette::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)")
        .map_err(report)?;
    insert.execute(values(number)).map(drop).map_err(report)
}
