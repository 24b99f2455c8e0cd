//! Figures of the log: states of the past, and why a record is what it is.

use std::path::Path;

use landfall::history::open_for_inspection;
use landfall::{Op, Predicate, Query, RecordKey, Seq};

use super::figure::Figure;
use super::rows::{self, Scale, report, timed};

/// What a state of the past may take, in milliseconds for each million entries of the log.
const AS_OF_MS: f64 = 2_000.0;

/// What the reasons of one record may take, in milliseconds for each million entries of the log.
const WHY_MS: f64 = 200.0;

/// The times are held to what a person waits for, since nothing else can tell them.
pub(super) fn past(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let count = scale.rows_large;
    let mut store = rows::open(directory)?;
    rows::fill(&mut store, 0, count)?;
    drop(store);
    let (history, opening) = timed(|| open_for_inspection(directory).map_err(report))?;
    let (first, newest) = history.bounds();
    let query = Query {
        predicate: Predicate::field("rating", Op::Eq(7.into())),
        ..Query::all("Item")
    };
    let mut slowest = 0.0_f64;
    for seq in [Seq(u64::midpoint(first.0, newest.0)), newest] {
        let (found, elapsed) = timed(|| history.query(seq, &query).map_err(report))?;
        if found.is_empty() {
            return Err(miette::miette!("the past has no item of rating 7"));
        }
        slowest = slowest.max(elapsed.as_secs_f64() * 1e3);
    }
    let key = RecordKey::new("Item", rows::id(count / 2));
    let (record, why) = timed(|| history.record(&key).map_err(report))?;
    if record.steps.len() != 1 {
        return Err(miette::miette!("{key} has {} steps", record.steps.len()));
    }
    let millions = count as f64 / 1e6;
    let ms = |elapsed: std::time::Duration| elapsed.as_secs_f64() * 1e3;
    Ok(vec![
        Figure::cost(
            "open the log of a store",
            "ms",
            ms(opening),
            AS_OF_MS * millions,
            1.0,
        ),
        Figure::cost(
            "query as of the slowest entry",
            "ms",
            slowest,
            AS_OF_MS * millions,
            1.0,
        ),
        Figure::cost(
            "why a record is what it is",
            "ms",
            ms(why),
            WHY_MS * millions,
            1.0,
        ),
    ])
}
